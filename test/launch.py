"""How a system test starts domains by the command that people use, and judges what came of it."""

import os
import re
import subprocess

from outcome import Failure

WORK = "build/test/system"
KERNEL = "build/guest/vmlinuz"
RAMDISK = "build/guest/ramdisk.cpio"
VERSION = r"^(linux: )?6\.\d+\.\d+-\d+-cloud-amd64$"
MODULE = b"Is here: 12\n"
COLOUR = "colour=green"

# What Debian prints when it has booted, worked its memory, and powered off, and we after it.
WORKED = (VERSION, r"memwork: ok \(\d+ rounds\)$", r"/work\.sh ended with status 0$", r"linux powered off",
          r"^audit: 0 violations \(\d+ frames, \d+ shadows, \d+ entries\)$",
          r"^audit: 0 violations .* after destruction$")


def write(name, data):
    path = os.path.join(WORK, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb" if isinstance(data, bytes) else "w") as f:
        f.write(data)
    return path


def config(test, name, kernel, **keys):
    """A domain's file, with what every test wants and what this one says more."""
    said = {"name": name, "type": "pvh", "kernel": kernel, "memory": 64, **keys}
    text = "".join(f"{key} = {value}\n" if isinstance(value, int) else f'{key} = "{value}"\n'
                   for key, value in said.items() if value is not None)
    return write(f"{test}-{name}.cfg", text)


def linux(test, name="linux", run="/work.sh", **keys):
    extra = "console=hvc0 earlyprintk=xen" + (f" run={run}" if run else "")
    return config(test, name, KERNEL, ramdisk=RAMDISK, extra=extra, **{"memory": 512, "paging": "shadow", **keys})


def bare(test, guest, name=None, **keys):
    return config(test, name or guest, f"build/test/guests/{guest}.elf", **{"paging": "shadow", **keys})


def multiboot(test, kernel, **keys):
    return config(test, kernel, f"build/test/guests/multiboot/{kernel}.elf",
                  **{"type": "multiboot", "paging": "shadow", "ramdisk": write(f"{test}.module", MODULE),
                     "extra": COLOUR, **keys})


def umbra(arguments, limit):
    """Status and output of ./umbra; it is given a little more than its own limit."""
    try:
        done = subprocess.run(["./umbra", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=limit + 30, check=False)
    except subprocess.TimeoutExpired as e:
        raise Failure(f"./umbra is still there after {limit + 30} seconds\n{tail(e.stdout or b'')}") from e
    return done.returncode, done.stdout.decode(errors="replace").replace("\r", "")


def tail(output, count=60):
    text = output.decode(errors="replace") if isinstance(output, bytes) else output
    return "\n".join(text.replace("\r", "").splitlines()[-count:])


def judge(status, output, wanted_status, has=(), has_not=()):
    for pattern in has:
        if not re.search(pattern, output, re.MULTILINE):
            raise Failure(f"the output has no match of {pattern!r} (status {status})\n{tail(output)}")
    for pattern in has_not:
        match = re.search(pattern, output, re.MULTILINE)
        if match:
            raise Failure(f"the output has {match[0]!r}, which matches {pattern!r}\n{tail(output)}")
    if status != wanted_status:
        raise Failure(f"exit status {status}, expected {wanted_status}\n{tail(output)}")


def batch(files, status=0, has=(), has_not=(), limit=120, end="audit", options=()):
    """A test that runs these domains in batch. `files` is called when the test runs: it makes them."""
    def run():
        arguments = ["run", "--batch", "--limit", str(limit), *options]
        if end:
            arguments += ["--at-end", end]
        got, output = umbra(arguments + files(), limit)
        # What runs to its end is audited, and so is the frame table when all is destroyed.
        clean = has_not + ((r"audit: [1-9]\d* violations", r"hypervisor panicked") if end else ())
        judge(got, output, status, has, clean)
    return run


def command(arguments, status, has=(), has_not=()):
    """A test of the command itself."""
    def run():
        got, output = umbra(arguments() if callable(arguments) else arguments, 60)
        judge(got, output, status, has, has_not)
    return run
