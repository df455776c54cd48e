#!/usr/bin/env python3
"""Runs tests and ends with a line `N passed, N failed`: run.py GROUP [ARGUMENT...] [GROUP ...]

Groups: hosted PROGRAM..., corpus PROGRAM..., soak PROGRAM, lint, fuzz PROGRAM... (TIME= seconds in all), merge PROGRAM...,
system [PATTERN...] (only tests whose name has the pattern), long SOAK-PROGRAM FUZZ-PROGRAM... (OPS=, TIME=: what takes
minutes each; what has passed with the same source is not run again).
"""

import os
import subprocess
import sys

sys.dont_write_bytecode = True
import hosted  # noqa: E402
import system  # noqa: E402
from outcome import Failure, Passed, Report  # noqa: E402

GROUPS = ("hosted", "corpus", "soak", "lint", "fuzz", "merge", "system", "long")
WORKERS = 2


def lint():
    done = subprocess.run(["make", "--no-print-directory", "-j2", "lint-quick"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=600, check=False)
    if done.returncode:
        raise Failure(hosted.last_lines(done.stdout, 60))


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    groups = []
    for argument in sys.argv[1:]:
        if argument in GROUPS:
            groups.append((argument, []))
        elif groups:
            groups[-1][1].append(argument)
        else:
            sys.exit(__doc__)
    if not groups:
        sys.exit(__doc__)

    report = Report()
    for group, arguments in groups:
        print(f"== {group}", flush=True)
        if group == "hosted":
            for program in arguments:
                hosted.run_hosted(report, program)
        elif group == "soak":
            report.run(hosted.soak_tests(arguments[0]), WORKERS)
        elif group == "lint":
            report.run([("compilers, linters and the layers have no complaint", lint)], 1)
        elif group == "fuzz":
            report.run(hosted.fuzz_tests(arguments, int(os.environ.get("TIME", "120"))), WORKERS)
        elif group == "corpus":
            report.run(hosted.replay_tests(arguments), WORKERS)
        elif group == "merge":
            report.run(hosted.merge_tests(arguments), WORKERS)
        elif group == "long":
            report.run(hosted.long_tests(arguments[0], arguments[1:], int(os.environ["OPS"]), int(os.environ["TIME"])) +
                       system.long_tests(), WORKERS, Passed("build/long-passed"))
        else:
            report.run(system.tests(arguments), WORKERS)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
