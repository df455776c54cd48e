#!/usr/bin/env python3
"""Makes the control domain's ramdisk: control-ramdisk.py OUT BUSYBOX ROOT [PROGRAM | /path=FILE]...

ROOT has Debian's packages unpacked: of these come the programs of the Xen tools named here, and those given, the
libraries that they need, and the kernel's modules for them. The files given are added.
"""

import glob
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import ramdisk  # noqa: E402

BIN = "usr/lib/xen-4.17/bin"
PROGRAMS = [f"{BIN}/{name}" for name in ("xl", "xenstored", "xenconsoled", "xenconsole", "xen-init-dom0", "xen-access",
                                         "xenctx", "xen-hvmctx", "lsevtchn", "libxl-save-helper")]
XENSTORE = "usr/bin/xenstore"
XENSTORE_LINKS = ("chmod", "exists", "list", "ls", "read", "rm", "watch", "write")
LATER = ["libgcc_s.so.1"]  # loaded when a thread is cancelled
MODULES = ("xen-privcmd", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs")
LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
LOADER = "lib64/ld-linux-x86-64.so.2"


def needed(path):
    said = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", said)


def library(root, name):
    for folder in LIBRARIES:
        if os.path.exists(os.path.join(root, folder, name)):
            return f"{folder}/{name}"
    sys.exit(f"control-ramdisk.py: none of the packages has {name}: add its package to packages.txt")


def closure(root, programs):
    """The programs, and all libraries that they need, as paths below the root."""
    files, todo = set(), list(programs) + [library(root, name) for name in LATER]
    while todo:
        path = todo.pop()
        if path in files:
            continue
        files.add(path)
        todo += [library(root, name) for name in needed(os.path.join(root, path)) if not name.startswith("ld-linux")]
    return files


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    out, busybox, root = sys.argv[1:4]
    given = dict(argument.split("=", 1) for argument in sys.argv[4:] if "=" in argument)
    more = [f"{BIN}/{argument}" for argument in sys.argv[4:] if "=" not in argument]
    paths = sorted(closure(root, [*PROGRAMS, *more, XENSTORE]) | {LOADER})  # two runs give the same bytes
    files = {f"/{path}": os.path.join(root, path) for path in paths}
    for module in MODULES:
        found = glob.glob(os.path.join(root, "lib/modules/*/kernel/drivers/xen", "**", f"{module}.ko"), recursive=True)
        if len(found) != 1:
            sys.exit(f"control-ramdisk.py: the kernel's package has {len(found)} modules {module}.ko, not one")
        files[f"/lib/modules/{module}.ko"] = found[0]
    files.update(given)
    links = {f"/bin/xenstore-{name}": "/" + XENSTORE for name in XENSTORE_LINKS}
    ramdisk.make(out, busybox, files, links)


if __name__ == "__main__":
    main()
