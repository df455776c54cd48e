"""Runs the hosted tests, which are programs made with cmocka, and the fuzz targets, and counts what they say."""

import os
import re
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


def fuzz(program, seconds):
    def run():
        corpus = program + ".corpus"
        os.makedirs(corpus, exist_ok=True)
        done = subprocess.run([program, f"-max_total_time={seconds}", "-print_final_stats=1",
                               f"-artifact_prefix={program}-", corpus],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=seconds + LIMIT, check=False)
        if done.returncode:
            raise Failure(last_lines(done.stdout))
    return run


SOAKS = (
    ("random four-level guests", "--ops 30000 --modes 64,off"),
    ("random guests of all modes", "--ops 30000 --modes 64,32,pae,off"),
    ("two vCPUs side by side", "--ops 60000 --modes 64,32,pae,off --vcpus 2 --smp --audit 16"),
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
