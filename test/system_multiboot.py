"""Kernels that need a board, under us and on the one that QEMU emulates: they compare with the manual by themselves,
and both with each other."""

import re
import shutil
import struct
import subprocess

from launch import COLOUR, MODULE, batch, config, judge, multiboot, umbra, write
from outcome import Failure, Skip

CPU = "EPYC,-monitor,check=off"
FIVE_LEVELS = CPU + ",+la57"

# A line of toggles sums up all cases of one mode, step and setting.
TOGGLED = r"^\d+ (?:2-level|2-level-pse|pae|4-level|5-level) .*: \d+ cases, \d+ faults, [0-9a-f]+$"

TASKS = (r"^tasks: paging is off$", r"^tasks: two levels$", r"^tasks: three levels$", r"^tasks: ok$")
FIRST_TASKS = [f"first={kind}{paging}"
               for kind in ("jmp", "jmp-memory", "jmp-gate", "call", "call-gate", "int", "iret", "exception", "step")
               for paging in ("", " paging")]


def board(paging):
    return batch(lambda: [multiboot(f"board-{paging}", "board", paging=paging)], limit=60,
                 has=(r"^board: ok$", r"^umbra: board exited with status 0$", r"audit: 0 violations"),
                 has_not=("FAILED", "no x2APIC"))


def on_qemu(kernel, words, limit, cpu=CPU):
    """Output of a multiboot kernel on the board that QEMU emulates, without us."""
    if not shutil.which("qemu-system-x86_64"):
        raise Skip("there is no qemu-system-x86_64")
    done = subprocess.run(
        ["qemu-system-x86_64", "-accel", "tcg", "-cpu", cpu, "-m", "64", "-display", "none",
         "-nodefaults", "-no-reboot", "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
         "-kernel", f"build/test/guests/multiboot/{kernel}.elf", "-append", words],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False)
    output = done.stdout.decode(errors="replace").replace("\r", "")
    judge(done.returncode, output, 1, (rf"^{kernel}: ok$",))
    return output


def toggles(paging, words, quirks, limit=120, cpu=CPU):
    """All combinations of bits in an entry: what the manual says, and the same as on QEMU, line by line."""
    def run():
        name = "toggles-" + re.sub(r"\W+", "-", f"{paging} {words}")
        wanted = re.findall(TOGGLED, on_qemu("toggles", words, limit, cpu), re.MULTILINE)
        status, output = umbra(["run", "--batch", "--cpu", cpu, "--limit", str(limit), "--at-end", "audit",
                                multiboot(name, "toggles", paging=paging, extra=words)], limit)
        judge(status, output, 0, (r"^toggles: ok$", f"^quirks: {quirks}$", r"audit: 0 violations"),
              ("DIFFERENT", r"audit: [1-9]\d* violations"))
        got = re.findall(TOGGLED, output, re.MULTILINE)
        if not wanted:
            raise RuntimeError("nothing was run: this test shows nothing")
        for ours, theirs in zip(got, wanted):
            if ours != theirs:
                raise Failure(f"under {paging} paging: {ours}\non QEMU's processor: {theirs}")
        if len(got) != len(wanted):
            raise Failure(f"{len(got)} lines under {paging} paging, {len(wanted)} on QEMU's processor")
    return run


def promises(kernel, paging, quirks, words="", limit=120, cpu=CPU, has=()):
    """A multiboot kernel that compares with the manual by itself."""
    return batch(lambda: [multiboot(f"{kernel}-{paging}", kernel, paging=paging, extra=words)], limit=limit,
                 has=(rf"^{kernel}: ok$", f"^quirks: {quirks}$", r"audit: 0 violations", *has), has_not=("FAILED",),
                 options=("--cpu", cpu))


def kernel_alone(kernel, paging, limit=120):
    """The same, of one that knows no differences."""
    return batch(lambda: [multiboot(f"{kernel}-{paging}", kernel, paging=paging)], limit=limit,
                 has=(rf"^{kernel}: ok$", r"audit: 0 violations"), has_not=("FAILED",))


def promises_on_qemu(kernel, quirks, cpu=CPU, has=()):
    def run():
        judge(0, on_qemu(kernel, "", 60, cpu), 0, (f"^quirks: {quirks}$", *has))
    return run


def tasks(paging, words):
    return batch(lambda: [multiboot(f"tasks-{paging}", "tasks", paging=paging, extra=words)], limit=60,
                 has=(*TASKS, r"audit: 0 violations"), has_not=("FAILED",))


def first_tasks(paging):
    """Each kind of task switch as the first, TR never having been loaded: a domain each, all at once. And CPL 3,
    which stops QEMU when it runs this by itself."""
    words = [*FIRST_TASKS, "user"]
    names = [re.sub(r"\W", "-", w) for w in words]
    return batch(lambda: [config(f"tasks-{paging}", name, "build/test/guests/multiboot/tasks.elf", type="multiboot",
                                 memory=32, paging=paging, extra=w) for name, w in zip(names, words)],
                 has=(*(rf"^umbra: {name} exited with status 0$" for name in names), r"audit: 0 violations"),
                 has_not=("FAILED",))


def tasks_on_qemu():
    judge(0, on_qemu("tasks", "", 60), 0, TASKS)
    for words in FIRST_TASKS:
        on_qemu("tasks", words, 60)


def multiboot_without_header():
    with open("build/test/guests/multiboot/status.elf", "rb") as f:
        return f.read().replace(struct.pack("<I", 0x1badb002), bytes(4))


def reference(name):
    """The guest on the processor that QEMU emulates, without us: is the test itself right?"""
    def run():
        if not shutil.which("qemu-system-x86_64"):
            raise Skip("there is no qemu-system-x86_64")
        done = subprocess.run(
            ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "EPYC,-svm,check=off", "-m", "64", "-display", "none",
             "-nodefaults", "-no-reboot", "-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
             "-kernel", f"build/test/guests/{name}.elf"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
            check=False)
        judge(done.returncode, done.stdout.decode(errors="replace"), 1, (rf"^{name}: ok$",))
    return run


def board_reference():
    """The multiboot kernel on the board that QEMU emulates: is the test itself right?"""
    done = subprocess.run(
        ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "EPYC,-svm,check=off", "-m", "64", "-display", "none",
         "-nodefaults", "-no-reboot", "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
         "-kernel", "build/test/guests/multiboot/board.elf", "-append", COLOUR,
         "-initrd", write("board-reference.module", MODULE)], stdin=subprocess.DEVNULL, capture_output=True,
        timeout=60, check=False)
    judge(done.returncode, done.stdout.decode(errors="replace").replace("\r", ""), 1, (r"^board: ok$",))
