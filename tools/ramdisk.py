#!/usr/bin/env python3
"""Makes a ramdisk for Linux: ramdisk.py OUT BUSYBOX [/path=FILE]...

An archive in cpio's "newc" format, written here rather than by cpio(1): a device node in it takes no root, and
two runs give the same bytes. Holds busybox with its applets as links, /dev/console, and the files given.
"""

import os
import stat
import subprocess
import sys


class Archive:
    def __init__(self):
        self.parts = []
        self.inode = 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        self.inode += 1
        path = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + path
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def bytes(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    out, busybox = sys.argv[1:3]
    files = dict(argument.split("=", 1) for argument in sys.argv[3:])
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    archive = Archive()

    made = {"bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"}
    for folder in sorted(made):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("dev/null", stat.S_IFCHR | 0o666, device=(1, 3))
    with open(busybox, "rb") as f:
        archive.add("bin/busybox", stat.S_IFREG | 0o755, f.read())
    for applet in sorted(set(applets) - {"busybox"}):
        archive.add(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    for path, file in files.items():
        parts = path.strip("/").split("/")
        for folder in ("/".join(parts[:i]) for i in range(1, len(parts))):
            if folder not in made:
                archive.add(folder, stat.S_IFDIR | 0o755)
                made.add(folder)
        with open(file, "rb") as f:
            archive.add(path.lstrip("/"), stat.S_IFREG | 0o755, f.read())

    data = archive.bytes()
    with open(out + ".new", "wb") as f:
        f.write(data)
    os.replace(out + ".new", out)


if __name__ == "__main__":
    main()
