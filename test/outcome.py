"""What a test can come to, and how it is reported.

Four outcomes, not two: success; skip, this machine lacks what the test needs; failure, the subject is wrong;
error, the test itself is broken and says nothing about its subject. Errors count as failed.
"""

import hashlib
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor


class Skip(Exception):
    pass


class Failure(Exception):
    pass


class Passed:
    """What has passed with the source as it is now, so that long tests go on where they were stopped."""

    def __init__(self, path):
        self.path = path
        digest = hashlib.sha256()
        for folder, folders, files in os.walk("."):
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in ("build", "doc", "corpus"))
            for name in sorted(files):
                if not name.endswith(".md"):
                    with open(os.path.join(folder, name), "rb") as f:
                        digest.update(name.encode() + hashlib.sha256(f.read()).digest())
        self.digest = digest.hexdigest()[:16]
        try:
            with open(path, encoding="utf-8") as f:
                lines = [line.rstrip("\n").split(" ", 1) for line in f]
        except FileNotFoundError:
            lines = []
        self.names = {name for of, name in lines if of == self.digest}

    def add(self, name):
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(f"{self.digest} {name}\n")


class Report:
    def __init__(self):
        self.passed = self.failed = 0
        self.skips = []
        self.lock = threading.Lock()

    def add(self, outcome, name, detail="", seconds=None, quiet=False):
        took = f" ({seconds:.1f} s)" if seconds is not None else ""
        text = f"{outcome:8}{name}{took}\n"
        if outcome not in ("success", "skip"):
            text += "".join(f"        | {line}\n" for line in detail.splitlines())
        with self.lock:
            if outcome == "success":
                self.passed += 1
            elif outcome == "skip":
                self.skips.append(f"{name}: {detail}")
            else:
                self.failed += 1
            if not (quiet and outcome == "success"):
                sys.stdout.write(text)
                sys.stdout.flush()

    def run(self, tests, workers, passed=None):
        """
        Runs (name, function) pairs; the function returns, or raises Skip or Failure; all else is an error.
        What `passed` has is not run again.
        """
        def one(test):
            name, function = test
            start = time.monotonic()
            if passed and name in passed.names:
                self.add("success", f"{name} (before)")
                return
            try:
                function()
                outcome, detail = "success", ""
            except Skip as e:
                outcome, detail = "skip", str(e)
            except Failure as e:
                outcome, detail = "failure", str(e)
            except Exception as e:  # pylint: disable=broad-except
                outcome, detail = "error", f"{type(e).__name__}: {e}"
            self.add(outcome, name, detail, time.monotonic() - start)
            if passed and outcome == "success":
                passed.add(name)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, tests))

    def close(self):
        """Prints the skips and the last line; the status to exit with."""
        for skip in self.skips:
            print(f"skipped: {skip}")
        skipped = f", {len(self.skips)} skipped" if self.skips else ""
        print(f"{self.passed} passed, {self.failed} failed{skipped}")
        sys.stdout.flush()
        return 1 if self.failed or not self.passed else 0
