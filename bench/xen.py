"""Xen under the counter: Debian's, with Debian's kernel and the stock tools as its control domain, runs the workload.

The control domain's ramdisk is that of `make control` but for what it runs: examples/control-init starts the tools, and
xen-run.sh has them make the guest. Both kinds of guests are what Debian's Xen can do; it has no shadow paging.
"""

import glob
import gzip
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
import machine  # noqa: E402
import records  # noqa: E402

NAMES = ("xen-hap", "xen-pv")
TRACED = "xen-traced"
ROOT = os.path.join(machine.BUILD, "control", "root")
HERE = os.path.join(machine.ROOT, "bench")
OTHER_ENTRIES = 0.001  # of getpid's region, those that are neither a system call's nor a hypercall's, as a part
GETPID = records.SHORT["getpid"]


def make_files():
    """The hypervisor, as QEMU loads it, and the control domain's ramdisk."""
    found = glob.glob(os.path.join(ROOT, "boot", "xen-*.gz"))
    if len(found) != 1:
        raise machine.Failed(f"there are {len(found)} files xen-*.gz in {ROOT}/boot, not one")
    with gzip.open(found[0]) as packed, open(machine.XEN, "wb") as out:
        shutil.copyfileobj(packed, out)
    files = {"/init": os.path.join(machine.ROOT, "examples", "control-init"),
             "/workload.sh": os.path.join(HERE, "xen-run.sh"), "/workload.xl": os.path.join(HERE, "workload.xl"),
             "/words": machine.write_words(), "/vmlinuz": machine.KERNEL, "/workload.cpio": machine.RAMDISK}
    subprocess.run([os.path.join(machine.ROOT, "tools", "control-ramdisk.py"), machine.XEN_RAMDISK, "/bin/busybox", ROOT,
                    "xentrace", *(f"{to}={file}" for to, file in files.items())], check=True)


def said_in(run, pattern, what):
    with open(run.log, encoding="utf-8", errors="replace") as f:
        found = re.findall(pattern, f.read())
    if not found:
        raise machine.Failed(f"{run.name}: no line says {what}: {run.log}")
    return found[-1]


def version(run):
    return said_in(run, r"Xen version (\S+) ", "the version of Xen")


def check_getpid(run, regions):
    """A PV guest: no entry in a region of system calls alone that none of their SYSCALLs or hypercalls asked for."""
    region = regions[GETPID]
    entries = records.entries(region, "pv")
    asked = region.total(("host",), ("user", "kern"), "syscall")
    if abs(entries - asked) > OTHER_ENTRIES * entries:
        raise machine.Failed(f"{run.name}: {entries} entries in region {GETPID}, which has {asked} SYSCALLs")


def check_trace(run):
    """The entries that were counted are those of which Xen's own trace has a record."""
    own, lost = map(int, said_in(run, r"Xen entries=(\d+) lost=(\d+) done=1", "how many entries Xen traced"))
    counted = records.total(run.record)["entries"]
    if lost or own != counted:
        raise machine.Failed(f"{run.name}: {counted} entries were counted; Xen traced {own}, and lost {lost} records")
