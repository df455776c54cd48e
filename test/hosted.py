"""Runs the hosted tests, which are programs made with cmocka, and the fuzz targets, and counts what they say."""

import os
import re
import shutil
import subprocess

from outcome import Failure

LIMIT = 300
LINE = re.compile(r"^(ok|not ok) (\d+) - (\S+)(.*)$")


def last_lines(text, count=40):
    lines = text.splitlines()
    return "\n".join(lines[-count:])


def run_hosted(report, program):
    """Adds one result for each test of the program; one that dies before its end is an error more."""
    name = program.split("build/test/")[-1]
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", ASAN_OPTIONS="detect_leaks=1:abort_on_error=0")
    try:
        done = subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=LIMIT, env=environment, check=False)
    except subprocess.TimeoutExpired as e:
        report.add("error", f"{name} ends", f"not within {LIMIT} seconds\n{last_lines(str(e.stdout or ''))}")
        return
    except OSError as e:
        report.add("error", f"{name} can be run", str(e))
        return
    counted = failed = 0
    for line in done.stdout.splitlines():
        match = LINE.match(line)
        if not match:
            continue
        counted += 1
        test = f"{name}: {match[3].replace('_', ' ')}"
        if "# SKIP" in match[4].upper():
            report.add("skip", test, "it says so itself")
        elif match[1] == "ok":
            report.add("success", test, quiet=True)
        else:
            failed += 1
            report.add("failure", test, last_lines(done.stdout))
    planned = re.search(r"^1\.\.(\d+)$", done.stdout, re.MULTILINE)
    if not planned or int(planned[1]) != counted or (done.returncode and not failed):
        report.add("error", f"{name} runs all its tests",
                   f"status {done.returncode} after {counted} tests\n{last_lines(done.stdout)}")
    elif not failed:
        print(f"success {name}: {counted} tests", flush=True)


# The longest input that is worth its time.
LONGEST = {"world_fuzz": 4096}


def target(program):
    return os.path.basename(program)


def corpus(program):
    return os.path.join("test/corpus", target(program))


def replay_tests(programs):
    """What is in test/corpus, once more."""
    def one(program):
        def run():
            done = subprocess.run([program, corpus(program)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, errors="replace", timeout=LIMIT, check=False)
            if done.returncode or not re.search(r"^[1-9]\d* files replayed$", done.stdout, re.MULTILINE):
                raise Failure(last_lines(done.stdout))
        return run

    return [(f"{target(p)} finds nothing in its corpus", one(p)) for p in programs]


def fuzz_libfuzzer(program, seconds):
    def run():
        found = program + ".corpus"
        os.makedirs(found, exist_ok=True)
        done = subprocess.run([program, f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=60",
                               f"-max_len={LONGEST.get(target(program), 65536)}",
                               f"-artifact_prefix={program}-", found, corpus(program)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=seconds + LIMIT, check=False)
        if done.returncode:
            raise Failure(last_lines(done.stdout))
    return run


def fuzz_afl(program, seconds):
    def run():
        found = program + ".found"
        shutil.rmtree(found, ignore_errors=True)
        quiet = ("AFL_NO_UI", "AFL_SKIP_CPUFREQ", "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES", "AFL_NO_AFFINITY")
        done = subprocess.run(["afl-fuzz", "-V", str(seconds), "-t", "20000", "-m", "none", "-i", corpus(program),
                               "-o", found, program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=seconds + LIMIT, check=False,
                              env=dict(os.environ, **{name: "1" for name in quiet}))
        finds = [os.path.join(folder, f) for folder, _, files in os.walk(found)
                 for f in files if os.path.basename(folder) in ("crashes", "hangs") and f.startswith("id")]
        if finds:
            again = subprocess.run([program, finds[0]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   errors="replace", timeout=LIMIT, check=False)
            raise Failure("\n".join(finds) + "\n" + last_lines(again.stdout))
        if done.returncode or not os.path.exists(os.path.join(found, "default", "fuzzer_stats")):
            raise RuntimeError(last_lines(done.stdout))
    return run


def fuzz_tests(programs, seconds):
    """Two at a time, so that all together take `seconds`: half of that for the worlds under either fuzzer."""
    worlds = [p for p in programs if target(p) == "world_fuzz"]
    others = [p for p in programs if p not in worlds]
    each = [(p, max(1, seconds // 2)) for p in worlds] + [(p, max(1, seconds // len(others))) for p in others]
    return [(f"{target(p)} finds nothing in {s} s under {'AFL++' if '/afl/' in p else 'libFuzzer'}",
             (fuzz_afl if "/afl/" in p else fuzz_libfuzzer)(p, s)) for p, s in each]


def long_tests(soak, fuzzers, operations, seconds):
    def worlds():
        done = subprocess.run([soak, "--seed", "1", "--ops", str(operations), "--modes", "64,32,pae,off,la57"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=max(LIMIT, operations // 5000), check=False)
        if done.returncode or f"{operations} operations, the worlds agree" not in done.stdout:
            raise Failure(last_lines(done.stdout))

    return fuzz_tests(fuzzers, seconds) + [(f"{operations} random operations agree (seed 1)", worlds)]


def merge_tests(programs):
    """Adds to test/corpus what was found in build/ and shows something new."""
    def one(program):
        def run():
            afl = os.path.join(program.replace("/fuzz/", "/afl/", 1) + ".found", "default", "queue")
            folders = [f for f in (program + ".corpus", afl) if os.path.isdir(f)]
            os.makedirs(corpus(program), exist_ok=True)
            done = subprocess.run([program, "-merge=1", f"-max_len={LONGEST.get(target(program), 65536)}",
                                   corpus(program), *folders], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, errors="replace", timeout=LIMIT, check=False)
            if done.returncode:
                raise Failure(last_lines(done.stdout))
        return run

    return [(f"the corpus of {target(p)} is up to date", one(p)) for p in programs]


SOAKS = (
    ("random four-level guests", "--ops 30000 --modes 64,off"),
    ("random guests of all modes", "--ops 30000 --modes 64,32,pae,off"),
    ("random five-level guests", "--ops 30000 --modes la57,64"),
    ("two vCPUs side by side", "--ops 60000 --modes 64,32,pae,off --vcpus 2 --smp --audit 16"),
    ("guests whose memory is in one piece", "--ops 30000 --vcpus 2 --piece"),
    ("a pool that is too small", "--ops 20000 --pairs 80"),
)


def soak_tests(program):
    """The core beside the naive processor: random runs (SEED=), then the scripts that once failed."""
    seed = os.environ.get("SEED", "1")

    def one(arguments):
        def run():
            done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, errors="replace", timeout=LIMIT, check=False)
            if done.returncode or "the worlds agree" not in done.stdout:
                raise Failure(last_lines(done.stdout))
        return run

    scripts = sorted(os.path.join("test/model/scripts", f) for f in os.listdir("test/model/scripts"))
    return ([(f"{name} see what a processor shows (seed {seed})", one(["--seed", seed, *options.split()]))
             for name, options in SOAKS] +
            [(f"{os.path.basename(f)} agrees", one(["--replay", f])) for f in scripts])
