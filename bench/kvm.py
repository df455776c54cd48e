"""KVM under the counter: an outer Linux on the emulated processor, with Debian's modules and QEMU, runs the workload.

All that it needs is on the machine already: the guest kernel's package has the modules, and QEMU is what emulates.
"""

import glob
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import machine  # noqa: E402
import records  # noqa: E402

MODULES = os.path.join(machine.BUILD, "debian", "root", "lib", "modules")
INIT = os.path.join(machine.ROOT, "bench", "kvm-init.sh")
FIRMWARE = ("/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/kvmvapic.bin", "/usr/share/qemu/linuxboot_dma.bin")
NAMES = ("kvm-npt0", "kvm-npt1")
OTHER_EXITS = 0.001  # between KVM's count of exits, of which some lead to no new VMRUN, and ours, as a part


def libraries(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def module(name):
    found = glob.glob(os.path.join(MODULES, "*", "kernel", "**", name), recursive=True)
    if not found:
        raise machine.Failed(f"{name} is not in the package of the guest's kernel: remove {machine.KERNEL}, and make"
                             " fetches both")
    return found[0]


def make_ramdisk(path):
    """The outer Linux's: its init, KVM's modules, QEMU with all it needs, and the inner guest's files."""
    qemu = "/usr/bin/qemu-system-x86_64"
    files = {"/init": INIT, "/words": machine.write_words(), "/vmlinuz": machine.KERNEL,
             "/workload.cpio": machine.RAMDISK, qemu: qemu}
    for name in ("irqbypass.ko", "kvm.ko", "kvm-amd.ko"):
        files["/" + name] = module(name)
    for library in libraries(qemu):
        files[library] = library
    for firmware in FIRMWARE:
        files["/usr/share/qemu/" + os.path.basename(firmware)] = firmware
    subprocess.run([os.path.join(machine.ROOT, "tools", "ramdisk.py"), path, "/bin/busybox",
                    *(f"{to}={os.path.realpath(file)}" for to, file in files.items())], check=True)


def exits_by_kvm(log):
    with open(log, encoding="utf-8", errors="replace") as f:
        found = re.findall(r"KVM exits=(\d+) done=1", f.read())
    return int(found[-1]) if found else None


def check_exits(run):
    """The entries that were counted are KVM's own count of exits."""
    entries, own = records.total(run.record)["entries"], exits_by_kvm(run.log)
    if own is None or abs(entries - own) > OTHER_EXITS * own:
        raise machine.Failed(f"{run.name}: {entries} entries were counted, and KVM counted {own} exits: {run.log}")
