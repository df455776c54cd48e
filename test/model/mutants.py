#!/usr/bin/env python3
"""Plants small defects in the core, one at a time, and shows that the hosted tests catch each.

There are two lists, each with tests of its own: this folder's, of shadow and nested paging, and that of
test/direct, of page types.

mutants.py            plants all of both mutants.txt, two at a time; make mutants
mutants.py WORD...    only those that have all the words in their description
mutants.py --check    only looks whether all can be planted and doc/mutants.md lists them; part of make lint
mutants.py --write    writes doc/mutants.md

Exit status: 0 all caught, 1 one was not, 2 one cannot be planted or compiled, or a test fails without any.
The tests run from the quick ones to the long ones, and a defect's tests end at the first that fails.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SUITES = ("test/model", "test/direct")
TABLE = os.path.join(ROOT, "doc", "mutants.md")
CFLAGS = ["-std=gnu11", "-O1", "-g", "-w", "-I."]
THREADS = "/* test: threads */"
WORKERS = 2
LIMIT = 60  # seconds for one test: a defect may well be an endless loop
AT_LEAST = 40

HEAD = """# Mutants

Defects that `make mutants` plants in the core, one at a time; each must be caught by a unit test, by the random
worlds, or (page types) by going through all interleavings of small worlds. Written by `test/model/mutants.py --write`
from `test/model/mutants.txt` and `test/direct/mutants.txt`, which have the changes themselves; `make lint` complains
when they differ, or when the core has changed so that one cannot be planted any more.

The first column says what is endangered: an invariant of [model.md](model.md) or [direct.md](direct.md); *walk*,
faults of the guest's own as a processor gives them; *bound*, work that is limited; *trace*, what a refused request
may not leave; or the number of a public advisory against another hypervisor whose mistake was of this kind.

| endangers | defect | in |
|---|---|---|
"""


class Broken(Exception):
    pass


class Mutant:
    def __init__(self, paragraph, suite):
        self.suite = suite
        self.guards, self.what = paragraph[0].split(": ", 1)
        self.file, _, self.function = paragraph[1].partition(" ")
        self.changes = []
        last = ""
        for line in paragraph[2:]:
            sign, text = line[:1], line[1:].strip()
            if sign not in ("-", "+") or (sign == "+" and not self.changes):
                raise Broken(f"{self.what}: not understood: {line}")
            if sign == "-" and last != "-":
                self.changes.append(["", ""])
            self.changes[-1][sign == "+"] += text + "\n"
            last = sign
        if not self.changes:
            raise Broken(f"{self.what}: changes nothing")

    def __str__(self):
        return f"{self.guards}: {self.what}"

    def area(self, text):
        """First and last place of the function, or of the file."""
        if not self.function:
            return 0, len(text)
        found = [m for m in re.finditer(rf"^\w[^;{{}}#]*?\b{self.function}\([^;{{}}]*\)\s*\n\{{.*?^\}}", text, re.M | re.S)]
        if len(found) != 1:
            raise Broken(f"{self}: {self.file} has no function {self.function}")
        return found[0].span()

    def planted(self):
        """The text of the file with the defect."""
        with open(os.path.join(ROOT, self.file), encoding="utf-8") as f:
            text = f.read()
        for old, new in self.changes:
            first, last = self.area(text)
            places = [i for i in range(first, last) if not text[i].isspace()]
            packed = "".join(text[i] for i in places)
            wanted = "".join(old.split())
            count = packed.count(wanted)
            if count != 1:
                raise Broken(f"{self}: {self.file} has {count} times what should go: {old.strip()}")
            at = packed.index(wanted)
            text = text[:places[at]] + new.strip() + text[places[at + len(wanted) - 1] + 1:]
        return text


def read_list(suite):
    with open(os.path.join(ROOT, suite, "mutants.txt"), encoding="utf-8") as f:
        lines = [line.rstrip("\n") for line in f]
    paragraphs, current = [], []
    for line in lines + [""]:
        if line.startswith("# "):
            continue
        if line.strip():
            current.append(line)
        elif current:
            paragraphs.append(current)
            current = []
    mutants = [Mutant(p, suite) for p in paragraphs]
    if len({m.what for m in mutants}) != len(mutants) or len(mutants) < AT_LEAST:
        raise Broken(f"{len(mutants)} mutants: fewer than {AT_LEAST}, or two of one name")
    return mutants


def table(mutants):
    return HEAD + "".join(f"| {m.guards} | {m.what} | `{m.file}` |\n" for m in mutants)


def check(mutants):
    for mutant in mutants:
        mutant.planted()
    with open(TABLE, encoding="utf-8") as f:
        if f.read() != table(mutants):
            raise Broken("doc/mutants.md differs from the list: test/model/mutants.py --write")


# ---- building ----

def sources(directory, tests):
    names = sorted(os.listdir(os.path.join(ROOT, directory)))
    return [os.path.join(directory, n) for n in names
            if n.endswith("_test.c") == tests and n.endswith(".c") and not n.endswith("_fuzz.c")]


def compile_one(tree, source, output):
    done = subprocess.run([os.environ.get("CC", "gcc"), *CFLAGS, "-c", "-o", output, source], cwd=tree, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Broken(f"{source} does not compile:\n{done.stdout}")


class Build:
    """Objects of the core, the model and the tests; of one with a defect only what it touches is compiled anew."""

    def __init__(self, directory, suite):
        self.directory, self.suite = directory, suite
        self.core = sources("paging", False)
        parts = sources(suite, False)
        self.programs = [s for s in parts if s.endswith(("/soak.c", "_main.c"))]
        self.model = [s for s in parts if s not in self.programs]
        tests = sources(suite, True) + (sources("paging", True) if suite == SUITES[0] else [])
        self.tests = [s for s in tests if "int main" in open(os.path.join(ROOT, s), encoding="utf-8").read()]
        self.all = self.core + self.model + self.tests + self.programs

    def object(self, source):
        return os.path.join(self.directory, source.replace("/", "_") + ".o")

    def make(self, tree, only=None):
        with ThreadPoolExecutor(WORKERS if only is None else 1) as pool:
            list(pool.map(lambda s: compile_one(tree, s, self.object(s)), only or self.all))


class Tree:
    """A copy of the core with one defect, and the programs made of it."""

    def __init__(self, build, directory, mutant=None):
        self.build, self.directory = build, directory
        self.mine = build
        if mutant is None:
            return
        text = mutant.planted()
        shutil.copytree(os.path.join(ROOT, "paging"), os.path.join(directory, "paging"))
        os.symlink(os.path.join(ROOT, "test"), os.path.join(directory, "test"))
        with open(os.path.join(directory, mutant.file), "w", encoding="utf-8") as f:
            f.write(text)
        self.mine = Build(directory, build.suite)
        self.anew = [mutant.file] if mutant.file.endswith(".c") else self.mine.all
        self.mine.make(directory, self.anew)

    def object(self, source):
        mine = self.mine.object(source)
        return mine if os.path.exists(mine) else self.build.object(source)

    def program(self, source):
        output = os.path.join(self.directory, os.path.basename(source)[:-2])
        if not os.path.exists(output):
            self.link(source, output)
        return output

    def link(self, source, output):
        with open(os.path.join(ROOT, source), encoding="utf-8") as f:
            text = f.read()
        wrapped = " ".join(re.findall(r"^/\* test: wrap (.*) \*/$", text, re.M)).split()
        parts = [source, *self.build.core, *self.build.model]
        if THREADS in text:
            tree = self.directory if os.path.isdir(os.path.join(self.directory, "paging")) else ROOT
            extra = [*CFLAGS, "-fsanitize=thread"]
            if self.build.suite == SUITES[0]:
                parts = parts[:-len(self.build.model)]
        else:
            tree, parts, extra = ROOT, [self.object(s) for s in parts], []
        subprocess.run([os.environ.get("CC", "gcc"), *extra, *(f"-Wl,--wrap={w}" for w in wrapped), "-o", output, *parts,
                        "-lcmocka", "-pthread"], cwd=tree, check=True)


# ---- the tests, quick ones first ----

def soaks():
    """Options of the random runs."""
    four, every = "--modes 64,off --vcpus 2", "--modes 64,32,pae,off"
    for seed in (1, 2, 3):
        yield f"--seed {seed} --ops 12000 {every} --tlbs 2 --audit 16"
        yield f"--seed {seed} --ops 20000 {every} --vcpus 2 --piece --tlbs 2 --audit 16"
        yield f"--seed {seed} --ops 12000 {four} --tlbs 2 --audit 16"
        yield f"--seed {seed} --ops 12000 {every} --vcpus 2 --smp --tlbs 2 --audit 16"
        yield f"--seed {seed} --ops 12000 {every} --pairs 80 --tlbs 4 --audit 16"
        yield f"--seed {seed} --ops 12000 {every} --pairs 30 --tlbs 4 --audit 16"
    yield f"--seed 4 --ops 60000 {every} --vcpus 2 --tlbs 4 --audit 32"
    yield "--seed 5 --ops 30000 --modes la57,64 --tlbs 4 --audit 32"


def detectors(build):
    if build.suite != SUITES[0]:
        yield "test/direct/words_test.c", []
        yield "test/direct/direct_test.c", []
        yield "test/direct/lent_test.c", []
        yield "test/direct/now_test.c", []
        yield "test/direct/shadowed_test.c", []
        yield "test/direct/explore_main.c", []
        for seed in (1, 100, 200):
            yield "test/direct/random_test.c", [f"SEED={seed}"]
        yield "test/direct/threads_test.c", []
        return
    threads = [t for t in build.tests if THREADS in open(os.path.join(ROOT, t), encoding="utf-8").read()]
    slow = ("walk_test.c", "shortage_test.c")
    for test in sorted(build.tests, key=lambda t: os.path.basename(t) in slow):
        if test not in threads:
            yield test, []
    for options in soaks():
        yield "test/model/soak.c", (options + " --shrink 0").split()
    for test in threads:  # compiled as a whole, with the sanitizer
        yield test, []


def run(program, arguments):
    """None if the program is content, else what it said. Arguments of the form NAME=VALUE go into its environment."""
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", **dict(a.split("=", 1) for a in arguments if "=" in a))
    child = subprocess.Popen([program, *(a for a in arguments if "=" not in a)], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True, env=environment)
    try:
        out, _ = child.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return f"no end within {LIMIT} seconds"
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)  # what it left behind
        except ProcessLookupError:
            pass
    if child.returncode == 0:
        return None
    for pattern in (r"^not ok \d+ - (\S+)", r"^soak: seed \d+ step \d+: (.*)"):
        match = re.search(pattern, out, re.M)
        if match:
            return match[1].replace("_", " ")
    return f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"


def caught(tree):
    """Which test catches the defect, and how; None if none does."""
    for source, arguments in detectors(tree.build):
        said = run(tree.program(source), arguments)
        if said is not None:
            return " ".join([os.path.basename(source)[:-2], *arguments]).removesuffix(" --shrink 0"), said
    return None


class Campaign:
    def __init__(self, mutants, directory):
        self.mutants, self.directory = mutants, directory
        self.lock, self.done, self.status = threading.Lock(), 0, 0
        self.builds = {suite: self.sound(suite) for suite in {m.suite for m in mutants}}

    def sound(self, suite):
        build = Build(os.path.join(self.directory, os.path.basename(suite)), suite)
        os.mkdir(build.directory)
        build.make(ROOT)
        found = caught(Tree(build, build.directory))
        if found:
            raise Broken(f"a test fails without any defect: {found[0]}: {found[1]}")
        return build

    def one(self, number):
        mutant = self.mutants[number]
        directory = os.path.join(self.directory, str(number))
        start = time.monotonic()
        os.mkdir(directory)
        try:
            found = caught(Tree(self.builds[mutant.suite], directory, mutant))
            said = f"caught by {found[0]}: {found[1][:90]}" if found else "SURVIVED"
            status = 0 if found else 1
        except Broken as e:
            said, status = f"BROKEN: {e}", 2
        shutil.rmtree(directory)
        with self.lock:
            self.done += 1
            self.status = max(self.status, status)
            print(f"[{self.done}/{len(self.mutants)}] {mutant} -- {said} ({time.monotonic() - start:.1f} s)", flush=True)
        return status

    def run(self):
        start = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            results = list(pool.map(self.one, range(len(self.mutants))))
        print(f"{results.count(0)} of {len(results)} mutants caught, in {time.monotonic() - start:.0f} s")
        return self.status


def main():
    try:
        mutants = [m for suite in SUITES for m in read_list(suite)]
        if sys.argv[1:] == ["--write"]:
            with open(TABLE, "w", encoding="utf-8") as f:
                f.write(table(mutants))
            return 0
        if sys.argv[1:] == ["--check"]:
            check(mutants)
            return 0
        for mutant in mutants:
            mutant.planted()
        chosen = [m for m in mutants if all(word in f"{m} {m.file} {m.suite}" for word in sys.argv[1:])]
        with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
            return Campaign(chosen, directory).run()
    except Broken as e:
        print(f"mutants: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
