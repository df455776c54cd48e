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


def folders_of(paths):
    """The folders in which these lie, each after the one that it lies in."""
    folders = set()
    for path in paths:
        while path := os.path.dirname(path):
            folders.add(path)
    return sorted(folders)


def make(out, busybox, files, links=()):
    """Writes the archive: busybox, the files (path to where it comes from), the links (path to what it says)."""
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    archive = Archive()
    files = {path.lstrip("/"): file for path, file in files.items()}
    links = {path.lstrip("/"): target for path, target in dict(links).items()}
    links.update((f"bin/{applet}", "busybox") for applet in set(applets) - {"busybox"} if f"bin/{applet}" not in links)

    for folder in sorted({"bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", *folders_of([*files, *links])}):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("dev/null", stat.S_IFCHR | 0o666, device=(1, 3))
    for path, target in sorted(links.items()):
        archive.add(path, stat.S_IFLNK | 0o777, target.encode())
    for path, file in {"bin/busybox": busybox, **files}.items():
        with open(file, "rb") as f:
            archive.add(path, stat.S_IFREG | 0o755, f.read())

    data = archive.bytes()
    with open(out + ".new", "wb") as f:
        f.write(data)
    os.replace(out + ".new", out)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    make(sys.argv[1], sys.argv[2], dict(argument.split("=", 1) for argument in sys.argv[3:]))


if __name__ == "__main__":
    main()
