"""System tests: the image under QEMU, started by the command that people use, with Debian's kernel and with the
bare guests of test/guests. Each is an entry of the table at the end: a sentence, what is run, the exit status,
and patterns that its output has or has not."""

import os
import random
import re
import struct

from launch import KERNEL, WORK, WORKED, bare, batch, command, config, judge, linux, multiboot, tail, umbra, write
from outcome import Failure
from system_access import access_tests, long_access_tests
from system_control import control_long_tests, control_tests
from system_kind import kind_tests
from system_listen import listen_tests
from system_multiboot import (FIVE_LEVELS, board, board_reference, first_tasks, kernel_alone, multiboot_without_header, on_qemu,
                              promises, promises_on_qemu, reference, tasks, tasks_on_qemu, toggles)
from system_pv import pv_long_tests, pv_tests
from system_terminal import interactive, terminal_is_restored, uart_session
from system_trouble import trouble_tests
from watched import READ, RIGHTS, forbidden, watched_touch


def watched(paging, before, rights="rx"):
    """All of Debian's memory may be read and fetched from, once it runs: each page that it then writes is told. Or read
    and written: each that it fetches from, which under nested paging nothing has to be stepped for."""
    def files():
        if paging == "pv":
            return [linux("access-pv", type="pv", paging=None)]
        return [linux(f"access-{paging}", paging=paging)]
    what, linear = "write" if rights == "rx" else "fetch", "" if paging == "nested" else r" \(linear 0x[0-9a-f]+\)"
    return batch(files, limit=300, options=(*before, "--at", "2", f"access linux all {rights}"), end="access linux; audit",
                 has=(*WORKED, rf"^access: linux vcpu 0: {what} at 0x[0-9a-f]+{linear}, rip 0x[0-9a-f]+; {rights}$",
                      rf"^access: linux: the default is {rights}, \d{{{4 if rights == 'rx' else 3},}} accesses told$"))


def minute(what, **keys):
    """Debian's kernel at fork, exec, mmap and mprotect for a minute, audited while it goes on."""
    return batch(lambda: [linux("minute-" + what.replace(" ", "-"), run="/work.sh work=60s", **keys)], has=WORKED, limit=400,
                 options=("--every", "1000", "audit"), end="shadow; audit")


def stretches(mib, what="", limit=300, options=()):
    """No work of the hypervisor takes longer than 100,000 instructions, however large the guest is."""
    return batch(lambda: [linux(f"stretch-{mib}{what}", memory=mib)], limit=limit, end="stretch; audit",
                 options=["--icount", *options],
                 has=(*WORKED, r"longest stretch [a-z ]+: \d{4,5} ticks", r"destruction took \d+ steps, the longest \d{1,5} ticks"))


def guest(name, paging, has=(), **more):
    return batch(lambda: [bare(f"guest-{paging}", name, paging=paging)],
                 has=(rf"{name}: ok$", r"audit: 0 violations", *has), has_not=("FAILED",), limit=60, **more)


def frames_of(text):
    """The set that a line of ranges of frames says, in hexadecimal."""
    found = set()
    for first, last in re.findall(r"(?:0x)?([0-9a-f]+)(?:-(?:0x)?([0-9a-f]+))?(?= |$)", text.strip(), re.MULTILINE):
        found.update(range(int(first, 16), int(last or first, 16) + 1))
    return found


def logged(output, name):
    """What each `dirty ... ranges` has printed, in order: sets of frames."""
    looks, ranges = [], ""
    for line in output.splitlines():
        if line.startswith(f"dirty: {name}:"):
            ranges += line.split(":", 2)[2]
        elif re.match(rf"dirty: {name} wrote (\d+) of ", line):
            looks.append(frames_of(ranges))
            ranges = ""
            if len(looks[-1]) != int(line.split()[3]):
                raise Failure(f"{len(looks[-1])} frames are listed, but: {line}")
    return looks


# Keys of a domain's file by the paging it begins with.
PAGED = {"shadow": {"paging": "shadow"}, "nested": {"paging": "nested"}, "pv": {"type": "pv", "paging": None}}


def log_dirty(paging, rounds, writes, seed):
    """The pages that a guest has written, round by round, are those that log-dirty tells; under nested paging it may
    tell of page tables too. In each round it is peeked at, taken, and then empty. Under "either" kind of paging, it
    changes in the middle of them. A "pv" guest gets shadows of its tables for the time, and has none then."""
    def guest(name):
        if paging == "pv":
            return config(name, name, "build/test/guests/pv/pv-log-dirty.elf", type="pv", memory=32,
                          extra=f"rounds={rounds} writes={writes} seed={seed}")
        return bare(name, "log-dirty", name=name, paging="shadow" if paging == "either" else paging,
                    extra=f"{rounds} {writes} {seed}")

    def run():
        name = f"log-dirty-{paging}-{rounds}"
        kinds = {"pv": "direct, 2", "either": f"shadow, {4 * rounds}"}.get(paging, rf"{paging}, 0")
        change = [word for i in range(rounds) for ms in ("0003", "0008", "0015", "0030")
                  for word in ("--at", f"{i + 1}.{ms}", f"paging {name} other")] if paging == "either" else []
        commands = [("0.5", f"dirty {name} on")]
        for i in range(rounds):
            looks = "; ".join(f"dirty {name} {what} ranges" for what in ("peek", "clean", "clean"))
            commands.append((f"{i + 1}.5", looks))
        commands.append((f"{rounds}.8", f"dirty {name} off; paging {name}"))
        status, output = umbra(
            ["run", "--batch", "--limit", "300", "--icount", *change, *(word for at in commands for word in ("--at", *at)),
             "--at-end", "stretch; audit", guest(name)], 300)
        judge(status, output, 0, (r"^(pv-)?log-dirty: ok$", r"^audit: 0 violations", rf"^{name}, paging: {kinds} changes$",
                                  r"longest stretch [a-z ]+: \d{1,5} ticks"),
              ("FAILED", r"audit: [1-9]\d* violations"))
        own, tables = (frames_of(re.search(rf"^log-dirty: {what} (.*)$", output, re.MULTILINE)[1])
                       for what in ("own", "tables"))
        wrote = [frames_of(text) for text in re.findall(r"^log-dirty: round 0x[0-9a-f]+ wrote(.*)$", output, re.MULTILINE)]
        looks = logged(output, name)
        if len(wrote) != rounds or len(looks) != 3 * rounds:
            raise Failure(f"{len(wrote)} rounds, {len(looks)} looks\n{tail(output)}")
        for i, pages in enumerate(wrote):
            peeked, taken, again = looks[3 * i:3 * i + 3]
            more = taken - own - pages - (tables if paging in ("nested", "either") else set())
            less = pages - own - taken
            if len(pages) < writes / 3 or more or less or peeked != taken or again:
                raise Failure(f"round {i}: {len(pages)} pages were written; {sorted(map(hex, less))} are missing, "
                              f"{sorted(map(hex, more))} too many; {len(peeked)} peeked at, {len(again)} after cleaning")
    return run


def watched_pages(paging, rounds, touches, seed, step_all=False, every=False):
    """A guest touches pages with all kinds of rights, tables among them, in a known order: what is told is just that.
    With `step_all` it must not write its root tables, so that under nested paging each instruction is stepped; with `every` the
    rights stay, and each access is told."""
    def run():
        name = f"{paging}{rounds}"
        dice, given, options = random.Random(seed), [], []
        tables, roots = [0x3000, 0x3001, 0x3002], [0x108, 0x109, 0x10a]
        for i in range(rounds):
            rights = {frame: dice.choice(list(RIGHTS)) for frame in range(0x1000, 0x1018)}
            for table in tables:  # a shadow that is there already is no walk: only nested paging reads a table for certain
                rights[table] = dice.choice([right for right, bits in RIGHTS.items() if bits & READ or paging == "nested"])
            if every:
                rights.update({table: "rwx" for table in tables})
            if step_all:
                rights.update({root: dice.choice(["r", "rx"]) for root in roots})
            given.append(rights)
            commands = [f"access {name} 0x{gfn:x} {right}" for gfn, right in rights.items()]
            for first in range(0, len(commands), 12):
                options += ["--at", f"{i}.8", "; ".join([*commands[first:first + 12], *([f"access {name} every"] if every else [])])]
            options += ["--at", f"{i + 1}.4", "audit", "--at", f"{i + 1}.45", f"access {name} off"]
            if paging == "either":
                options += [word for ms in ("0002", "0010") for word in ("--at", f"{i + 1}.{ms}", f"paging {name} other")]
        status, output = umbra(["run", "--batch", "--limit", "300", "--icount", *options, "--at-end", "stretch; audit",
                                bare(name, "watched", name=name, paging="nested" if paging == "either" else paging,
                                     extra=f"{rounds} {touches} {seed}")], 300)
        judge(status, output, 0, (r"^watched: ok$", rf"^watched: roots {' '.join(map(hex, roots))}$",
                                  r"longest stretch [a-z ]+: \d{1,5} ticks"), ("FAILED", r"audit: [1-9]\d* violations"))
        lines = [(int(at, 16) >> 12, what) for what, at in
                 re.findall(rf"^access: {name} vcpu 0: (.*) at (0x[0-9a-f]+)", output, re.MULTILINE)]
        for i, rights in enumerate(given):
            hard = [told for table in tables for told in forbidden(rights, table, READ, True)]
            groups = [("a program", hard)] + [(text, watched_touch(rights, text.split(), roots, tables, every)) for text in re.findall(
                rf"^watched: round {i:#x} (.*)$", output, re.MULTILINE)]
            if len(groups) != touches + 1:
                raise Failure(f"round {i}: {len(groups)} touches\n{tail(output)}")
            for text, told in groups:
                got, lines = lines[:len(told)], lines[len(told):]
                if sorted(got) != sorted(told):
                    raise Failure(f"round {i}, {text}: {told} should be told, not {got}; {rights} {groups[0]}\n{tail(output, 250)}")
        if lines:
            raise Failure(f"{lines} were told as well\n{tail(output)}")
    return run


def map_changes(paging, rounds):
    """add_to_physmap and all the others, bounded."""
    return batch(lambda: [bare(f"physmap-{paging}-{rounds}", "physmap", paging=paging, extra=f"{rounds} {rounds}")],
                 limit=300, options=["--icount"], end="stretch; audit", has_not=("FAILED",),
                 has=(r"^physmap: ok$", r"^audit: 0 violations", r"longest stretch [a-z ]+: \d{1,5} ticks"))


def selftest(name, status, has, has_not=()):
    return command(["run", "--batch", "--limit", "60", "--append", f"selftest={name}"], status, has, has_not)


# ---- broken kernels ----

def unpacked_kernel():
    """The ELF that ./umbra keeps of Debian's kernel."""
    import sys
    sys.path.insert(0, "tools")
    import bzimage
    with open(KERNEL, "rb") as f:
        return bzimage.unpack(f.read())


def kernel_file(test, data, **keys):
    return config(test, test, write(f"{test}.bin", data), **{"paging": "shadow", **keys})


def without_note():
    """A bare guest whose note has another name."""
    with open("build/test/guests/paging-basics.elf", "rb") as f:
        data = f.read()
    note = struct.pack("<III", 4, 4, 18) + b"Xen\0"
    if data.count(note) != 1:
        raise RuntimeError("the bare guest has no such note: this test is out of date")
    return data.replace(note, note[:12] + b"Zen\0")


def broken_kernel(name, make, message, **keys):
    """It is refused with a reason, and a domain beside it runs as if nothing were."""
    return batch(lambda: [kernel_file(name, make(), **keys), bare(name, "paging-basics", name="healthy")],
                 status=1, has=(message, r"paging-basics: ok$", "healthy powered off"), end="domains", limit=60)


def two_with_one_killed():
    """Two domains, of which one panics; the other's output is complete."""
    return [linux("beside", run="/crash.sh", name="crash"), linux("beside", name="linux")]


def tests(patterns):
    """The pairs (name, function) whose name has one of the patterns; all but the long ones without patterns."""
    os.makedirs(WORK, exist_ok=True)
    chosen = [test for test in TESTS if not patterns or any(p in test[0] for p in patterns)]
    chosen += [test for test in LONG_TESTS if any(p in test[0] for p in patterns)]
    if not chosen:
        raise SystemExit(f"no test has one of {patterns} in its name")
    return chosen


def long_tests():
    os.makedirs(WORK, exist_ok=True)
    return list(LONG_TESTS)


# What is known of QEMU 7.2's processor (doc/caveats.md) shows where it walks the guest's tables; not where we do.
NO_TOGGLE_QUIRK = "reserved-without-P 0 accessed-on-fault 0 gigabyte-accessed 0 root-accessed 0"
SOME_TOGGLE_QUIRK = r"reserved-without-P \d+ accessed-on-fault \d+ gigabyte-accessed \d+ root-accessed \d+"
SOME_ROOT_QUIRK = r"changed-root-seen [02] root-not-checked (?:0|30)"  # all or none: a later QEMU may be right
HALVES = r"half-written \d+ half-written-tables \d+"

UNKNOWN_KEY = 'name = "a"\ntype = "pvh"\ncolour = 3\n'

LISTEN_TESTS, LONG_LISTEN_TESTS = listen_tests()
TROUBLE_TESTS, LONG_TROUBLE_TESTS = trouble_tests()
KIND_TESTS, LONG_KIND_TESTS = kind_tests()


def logged_debian(kinds):
    return ((f"Debian works its memory while what it writes is logged and taken every 100 ms under {paging} paging",
             batch(lambda paging=paging: [linux(f"logged-{paging}", memory=128, **PAGED[paging])], limit=240,
                   end="shadow; paging linux; dirty linux off; audit",
                   options=("--at", "0.01", "dirty linux on", "--every", "100", "dirty linux clean", "--every", "3000", "audit"),
                   has=(*WORKED, r"^dirty: linux wrote [1-9]\d\d+ of \d+ frames, [1-9]\d* faults",
                        "^linux, paging: " + {"pv": "shadow, 1 change$"}.get(paging, f"{paging}, 0 changes$"))))
            for paging in kinds)


TESTS = (
    *control_tests(),  # the longest first, so that nobody waits for them in the end
    *LISTEN_TESTS,
    *TROUBLE_TESTS,

    ("the command explains itself", command(["--help"], 0, ("usage: umbra", "exit status:"))),
    ("a wrong option is a wrong command line", command(["run", "--colour"], 2, ("--colour", "usage: umbra"))),
    ("a limit that is no number is a wrong command line", command(["run", "--limit", "soon", "a"], 2, ("--limit: 'soon' is not a number of seconds",))),
    ("a run without a configuration is a wrong command line", command(["run"], 2, ("no configuration",))),
    ("a configuration that is not there is said so",
     command(["run", "nowhere.cfg"], 2, (r"nowhere\.cfg: No such file",))),
    ("an unknown key is named with its file and line",
     command(lambda: ["run", write("unknown-key.cfg", UNKNOWN_KEY)], 2,
             (r'unknown-key\.cfg:3: unknown key "colour" \(known: .*kernel.*\)',))),
    ("a value of the wrong type is named with its file and line, and what was expected",
     command(lambda: ["run", write("wrong-type.cfg", 'memory = "much"\n')], 2,
             (r'wrong-type\.cfg:1: "memory" must be a number of MiB, .*32 to 65536',))),
    ("a kernel that is not there is said so",
     command(lambda: ["run", config("no-kernel", "a", "build/nowhere")], 2, ('kernel "build/nowhere": no such file',))),
    ("a bzImage that is truncated is refused before anything starts",
     command(lambda: ["run", kernel_file("short-bzimage", open(KERNEL, "rb").read()[:9000000], memory=512)], 2,
             ("the bzImage is truncated",))),
    ("a kernel that is none is said so before it is run",
     command(lambda: ["check", config("text-kernel", "a", "README.md")], 2, ("text-kernel-a.cfg: .*README.md is neither an ELF kernel",))),
    ("two domains of one name are refused",
     command(lambda: ["run", linux("same-name-a"), linux("same-name-b")], 2, ('the name "linux" is taken',))),
    ("the examples are all accepted",
     command(lambda: ["check", *(f"examples/{f}" for f in sorted(os.listdir("examples")) if f.endswith(".cfg"))], 0)),

    ("paging-basics is right about the processor", reference("paging-basics")),

    ("Debian boots under shadow paging, works its memory and powers off",
     batch(lambda: ["examples/linux-shadow.cfg"], has=(*WORKED, "paging: shadow", r"np_enable 0 "),
           end="domains; vcpu; shadow; audit")),
    ("Debian works its memory while the pool for its tables shrinks and grows",
     batch(lambda: [linux("set-pool", memory=128)], end="audit", limit=240,
           options=("--every", "100", "pool linux 1", "--every", "170", "pool linux 9", "--every", "3000", "audit"),
           has=(*WORKED, r"^linux: pool of 256 frames", r"^linux: pool of 2304 frames"))),
    ("Debian works its memory while all tables of ours are blown again and again",
     batch(lambda: [linux("blow", memory=128)], end="shadow; audit", limit=240,
           options=("--every", "400", "blow 1", "--every", "6000", "audit"),
           has=(*WORKED, r"^blow: linux begins generation \d\d+ of its tables",
                r"^tables used again after a blow +[1-9]\d\d"))),
    ("what an operator forbids Debian to write is told, and it goes on, under shadow paging", watched("shadow", ())),
    ("what an operator forbids Debian to fetch is told, and it goes on, under nested paging", watched("nested", (), "rw")),
    *((f"accesses that are forbidden are told once each, in their order, under {paging} paging", watched_pages(paging, 4, 60, 3))
      for paging in ("shadow", "nested", "either")),
    ("accesses that are forbidden are told, with each instruction stepped", watched_pages("nested", 2, 30, 4, True)),
    *((f"accesses that are forbidden are told each time, and go on, under {paging} paging",
       watched_pages(paging, 4, 40, 5, every=True)) for paging in ("shadow", "nested")),
    *((f"log-dirty tells the pages that a guest has written under {paging} paging", log_dirty(paging, 3, 200, 1))
      for paging in ("shadow", "nested", "either", "pv")),
    *logged_debian(("shadow",)),
    ("a pool below the least is named with its file and line, and what was expected",
     command(lambda: ["run", linux("small-pool", memory=512, shadow_memory=1)], 2,
             (r'small-pool-linux\.cfg:\d+: "shadow_memory" must be at least 2 MiB for 512 MiB of memory, not 1',))),
    ("Debian boots under nested paging, works its memory and powers off",
     batch(lambda: [linux("nested", paging="nested")], has=(*WORKED, "paging: nested"), end="domains; audit")),
    ("the longest stretch of work is bounded with 256 MiB", stretches(256)),
    ("a person uses a domain over its console, and the monitor", interactive),
    ("a session that is killed leaves the terminal as it was", terminal_is_restored),
    ("the audit finds nothing while a domain works",
     batch(lambda: [linux("audit-often")], has=WORKED, options=("--every", "1000", "audit"), limit=240)),
    ("the limit ends a run that goes on",
     batch(lambda: [linux("limit", run=None)], status=124, has=("the limit of 5 seconds was reached",), limit=5,
           end=None)),

    ("paging keeps its promises under shadow paging", guest("paging-basics", "shadow")),
    ("paging keeps its promises under nested paging", guest("paging-basics", "nested")),
    ("reserved bits are faults under shadow paging (not under nested: T1 of doc/caveats.md)",
     guest("reserved-bits", "shadow")),
    ("a page table where there is no memory is a fault under shadow paging", guest("table-outside", "shadow")),
    *((f"a guest changes its memory's map while it uses it under {paging} paging", map_changes(paging, 10))
      for paging in ("shadow", "nested")),
    ("a guest changes its memory's map while what it writes is logged and its kind of paging changes",
     batch(lambda: [bare("physmap-all", "physmap", extra="60 5")], limit=120, end="audit",
           options=("--icount", "--at", "0.001", "dirty physmap on", "--every", "20", "dirty physmap clean; audit",
                    "--every", "30", "paging physmap other"),
           has=(r"^physmap: ok$", r"^dirty: physmap wrote [1-9]\d* of", r"^audit: 0 violations"), has_not=("FAILED",))),
    ("wrong hypercalls are errors under shadow paging", guest("bad-hypercall", "shadow")),
    ("wrong hypercalls are errors under nested paging", guest("bad-hypercall", "nested")),
    ("nothing is there outside of memory, under shadow paging", guest("bad-memory", "shadow")),
    ("nothing is there outside of memory, under nested paging", guest("bad-memory", "nested")),
    ("registers, ports and instructions that are not offered are not there",
     guest("bad-msr", "shadow", has=("the machine is still there",))),
    ("a triple fault crashes its domain and no other",
     batch(lambda: [bare("triple", "triple-fault"), bare("triple", "paging-basics")], status=1, limit=60,
           has=("about to fault", "triple-fault crashed: ", "paging-basics: ok$", "paging-basics powered off",
                "audit: 0 violations"), has_not=("FAILED",))),

    ("a kernel that is no ELF file is refused, and no other",
     broken_kernel("not-elf", lambda: b"this is no kernel\n" * 1000, "not-elf cannot be built: .*not an ELF file")),
    ("a kernel that is truncated is refused, and no other",
     broken_kernel("truncated", lambda: unpacked_kernel()[:20000000], "truncated cannot be built: .*truncated",
                   memory=512)),
    ("a kernel without the PVH note is refused, and no other",
     broken_kernel("no-note", without_note, "no-note cannot be built: .*no Xen PHYS32_ENTRY note")),
    ("a kernel that is too large for its memory is refused, and no other",
     broken_kernel("large", unpacked_kernel, "large cannot be built: .*does not fit into", memory=32)),

    ("the multiboot kernel is right about the board", board_reference),
    ("a multiboot kernel finds its board under shadow paging", board("shadow")),
    ("a multiboot kernel finds its board under nested paging", board("nested")),
    ("a status that is not 0 is a failure",
     batch(lambda: [multiboot("status", "status")], status=1, limit=60,
           has=("about to exit", "^umbra: status exited with status 3$"), has_not=("still here",))),
    ("a status that the file calls a success is one",
     batch(lambda: [multiboot("status-ok", "status", exit_ok=3)], limit=60,
           has=("^umbra: status exited with status 3$",))),
    ("a status that the file does not call a success is none",
     batch(lambda: [multiboot("status-other", "status", exit_ok=4)], status=1, limit=60)),
    ("a reset ends the domain",
     batch(lambda: [multiboot("reset", "reset")], limit=60, has=("about to reset", "^umbra: reset rebooted$"),
           has_not=("FAILED",))),
    ("a kernel without a multiboot header is refused, and no other",
     broken_kernel("no-header", multiboot_without_header, "no-header cannot be built: .*no multiboot header",
                   type="multiboot")),
    ("a person types to a multiboot kernel", uart_session),

    ("every 11th setting of the bits of an entry does what it should under shadow paging",
     toggles("shadow", "part=3/11", NO_TOGGLE_QUIRK)),
    ("every 11th setting of the bits of an entry does what it should under nested paging",
     toggles("nested", "part=3/11", SOME_TOGGLE_QUIRK)),
    ("paging modes follow each other on QEMU", promises_on_qemu("modes", SOME_ROOT_QUIRK)),
    ("paging modes follow each other under shadow paging",
     promises("modes", "shadow", "changed-root-seen 0 root-not-checked 0")),
    ("paging modes follow each other under nested paging",
     promises("modes", "nested", SOME_ROOT_QUIRK)),
    ("five levels of tables beside all other modes on QEMU",
     promises_on_qemu("modes", SOME_ROOT_QUIRK, FIVE_LEVELS, has=("^modes: 5$",))),
    ("five levels of tables beside all other modes under shadow paging",
     promises("modes", "shadow", "changed-root-seen 0 root-not-checked 0", cpu=FIVE_LEVELS, has=("^modes: 5$",))),
    ("five levels of tables beside all other modes under nested paging",
     promises("modes", "nested", SOME_ROOT_QUIRK, cpu=FIVE_LEVELS, has=("^modes: 5$",))),
    ("every 11th setting of the bits of an entry in five levels does what it should under shadow paging",
     toggles("shadow", "part=3/11 modes=5-level steps=entry", NO_TOGGLE_QUIRK, cpu=FIVE_LEVELS)),
    ("real mode is left and entered on QEMU", lambda: on_qemu("real", "", 60)),
    ("real mode is left and entered under shadow paging", kernel_alone("real", "shadow")),
    ("real mode is left and entered under nested paging", kernel_alone("real", "nested")),
    ("all instructions write page tables on QEMU",
     promises_on_qemu("table-writes", HALVES)),
    ("every 3rd instruction writes page tables under shadow paging",
     promises("table-writes", "shadow", HALVES, words="part=1/3")),

    ("task switches on QEMU, of all kinds", tasks_on_qemu),
    ("task switches of all kinds under shadow paging", tasks("shadow", "exact")),
    ("task switches of all kinds under nested paging", tasks("nested", "here")),
    ("the first task switch of all without LTR, of each kind, under shadow paging", first_tasks("shadow")),
    ("the first task switch of all without LTR, of each kind, under nested paging", first_tasks("nested")),

    *pv_tests(),
    *KIND_TESTS,

    ("a panic prints registers and functions and ends the machine",
     selftest("panic", 1, ("the hypervisor panicked", r"(?i)rip", r"test_panic"))),
    ("a stack overflow is told as such", selftest("stack", 1, ("the hypervisor panicked", "(?i)stack"))),
    ("nothing in the hypervisor is both writable and executable", selftest("wx", 0, (r"W\^X: ok",), ("FAILED",))),
    ("an NMI in the exit path of a guest with TR at 0 is taken", selftest("svm-nmi", 0, (r"svm-nmi: ok",), ("FAILED",))),
    ("a guest of a few instructions is entered and left", selftest("svm-guest", 0, (r"svm-guest: ok",), ("FAILED",))),
    ("whether task switches are intercepted is known", selftest("svm-task", 0, (r"svm-task: ok",), ("FAILED",))),
)

# Only by name, and in `make test-long`: each is a slice, so that it goes on where it was stopped.
LONG_TESTS = (
    *access_tests(),
    *long_access_tests(),
    *control_tests(long=True),
    *logged_debian(("nested", "pv")),
    ("Debian works its memory under nested paging while all tables of ours are blown again and again",
     batch(lambda: [linux("blow-nested", memory=128, paging="nested")], end="audit", limit=240,
           options=("--every", "400", "blow 1", "--every", "6000", "audit"),
           has=(*WORKED, r"^blow: linux begins generation \d\d+ of its tables"))),
    ("the longest stretch of work is bounded with 8192 MiB", stretches(8192)),
    ("Debian works its memory with the least pool for its tables",
     batch(lambda: [linux("least-pool", memory=128, shadow_memory=1)], end="pool; shadow; audit",
           has=(*WORKED, r"^linux: pool of 256 frames", r"never fewer than \d{1,2}$"))),
    ("a domain that panics leaves the one beside it alone",
     batch(two_with_one_killed, status=1, limit=240,
           has=(r"crash crashed: ", r"linux.*memwork: ok", r"linux.*/work\.sh ended with status 0",
                "linux powered off", "audit: 0 violations"), has_not=("crash: still here",))),
    ("two domains run side by side and both power off",
     batch(lambda: [linux("pair"), linux("pair", name="second")], limit=240,
           has=(r"linux.*memwork: ok", r"second.*memwork: ok", "linux powered off", "second powered off",
                r"audit: 0 violations"))),
    *((f"the longest stretch of work is bounded with {mib} MiB while what is written is logged",
       stretches(mib, "-logged", 600, ("--at", "0.01", "dirty linux on", "--every", "100", "dirty linux clean")))
      for mib in (256, 8192)),
    *((f"a guest changes its memory's map at length under {paging} paging", map_changes(paging, 1000))
      for paging in ("shadow", "nested")),
    *((f"log-dirty tells the pages that a guest has written in {rounds} rounds of {writes} under {paging} paging",
       log_dirty(paging, rounds, writes, seed))
      for paging, most in (("shadow", 20000), ("nested", 20000), ("pv", 2000))
      for rounds, writes, seed in ((25, 1000, 2), (8, most, 3))),
    *((f"all bits of an entry in {mode} mode, {step}, under shadow paging",
       toggles("shadow", f"modes={mode} steps={step}", NO_TOGGLE_QUIRK, limit=400))
      for mode in ("2-level", "2-level-pse", "pae", "4-level") for step in ("entry", "reserved", "rights", "marks")),
    *((f"all bits of an entry in 5-level mode, {step}, under shadow paging",
       toggles("shadow", f"modes=5-level steps={step}", NO_TOGGLE_QUIRK, limit=400, cpu=FIVE_LEVELS))
      for step in ("entry", "reserved", "rights", "marks")),
    *((f"a minute's work of Debian's is right {what}", minute(what, **keys))
      for what, keys in (("with the usual pool", {}), ("with the least pool", {"memory": 128, "shadow_memory": 1}))),
    ("all bits of an entry: every instruction writes one under shadow paging",
     promises("table-writes", "shadow", HALVES, limit=300)),
    ("all bits of an entry in all modes under nested paging", toggles("nested", "", SOME_TOGGLE_QUIRK, limit=300)),
    ("what an operator forbids a PV guest to write is told, and it goes on",
     watched("pv", ("--at", "1", "paging linux shadow"))),
    *LONG_KIND_TESTS,
    *LONG_LISTEN_TESTS,
    *LONG_TROUBLE_TESTS,
    *pv_long_tests(),
    *control_long_tests(),
)
