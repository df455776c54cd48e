"""The counter's records, read: for each region what guest and hypervisor executed."""

import dataclasses
import re

# By the numbers of bench/work.c: name, and operations in a run of its own amounts.
REGIONS = {
    1: ("a known loop", 10000001),
    2: ("spin", 4000000),
    3: ("getpid", 200000),
    4: ("fork + _exit + wait", 400),
    5: ("fork + exec + wait", 300),
    6: ("mmap + touch + munmap, per page", 32768),
    7: ("COW fault on a file page", 8192),
    8: ("mprotect pair on 16 pages", 2000),
    9: ("context switch (pipe)", 10000),
    10: ("first touch of a page", 65536),
    11: ("random access in 256 MiB", 1000000),
    12: ("sh -c true", 100),
    13: ("anonymous COW, per page", 4096),
}
LOOP, LOOP_COUNT = 1, 10000001
# Names for a command line.
SHORT = {"loop": 1, "spin": 2, "getpid": 3, "fork": 4, "exec": 5, "mmap": 6, "file": 7, "mprotect": 8, "pipe": 9,
         "touch": 10, "walk": 11, "shell": 12, "copy": 13}
REP_BYTES = 16  # what a REP instruction moves, stores or compares counts as one instruction for so many bytes
CLASSES = ("user", "kern", "hv")


def words_of(line):
    """The words KEY=VALUE of a line; the last may have spaces in it."""
    found = {}
    last = None
    for word in line.split():
        if "=" in word:
            last, value = word.split("=", 1)
            found[last] = value
        elif last:
            found[last] += " " + word
    return found


@dataclasses.dataclass
class Region:
    counts: dict  # as in the record
    exits: list   # Umbra's own: (kind, count, instructions)
    memory: dict  # Umbra's own: frames by use
    paging: dict  # Umbra's own: what the core did

    def total(self, modes, classes, event):
        return sum(self.counts.get(f"{m}.{c}.{event}", 0) for m in modes for c in classes)

    def executed(self, modes, classes):
        """Instructions, with REP instructions counted by what they handled."""
        insn, rep, handled = (self.total(modes, classes, e) for e in ("insn", "rep", "repbytes"))
        return insn - rep + handled / REP_BYTES


def read(path):
    """Regions by number."""
    regions = {}
    with open(path, encoding="ascii") as f:
        for line in f:
            kind, found = line.split(" ", 1)[0], words_of(line)
            if kind == "region" and found["vcpu"] == "0":
                counts = {k: int(v) for k, v in found.items()}
                regions[counts["id"]] = Region(counts, [], {}, {})
            elif kind == "exit":
                regions[int(found["id"])].exits.append((found["kind"], int(found["count"]), int(found["ticks"])))
            elif kind in ("memory", "paging"):
                getattr(regions[int(found["id"])], kind).update({k: int(v) for k, v in found.items()})
    return regions


def total(path):
    """The counts of the whole run, from the machine's start on."""
    with open(path, encoding="ascii") as f:
        return {k: int(v) for line in f if line.startswith("total ") for k, v in words_of(line).items()}


def who(path):
    """What a peer of a record is called, and how the record came to be."""
    with open(path, encoding="ascii") as f:
        found = re.match(r"peer name=(.*) by=(.*)\n", f.readline())
    return (found[1], found[2]) if found else ("unknown", "unknown")


def lines(path):
    """What must be the same in two runs: all that belongs to a region."""
    with open(path, encoding="ascii") as f:
        return [line for line in f if not line.startswith("total")]


def entries(region, kind):
    """Times that the guest was entered; a PV guest, by IRET or SYSRET, which is seen even if it is left at once."""
    if kind == "pv":
        return sum(region.total(("host",), ("hv",), event) for event in ("iret", "sysret"))
    return region.counts["entries"]


@dataclasses.dataclass
class Cost:
    entries: float
    hypervisor: float  # instructions
    guest: float


def cost(region, kind):
    """What a region cost under a kind of hypervisor: "bare", "pv", or any other, which uses VMRUN."""
    if kind == "bare":
        return Cost(0, 0, region.executed(("host",), CLASSES))
    if kind == "pv":
        return Cost(entries(region, kind), region.executed(("host",), ("hv",)),
                    region.executed(("host",), ("user", "kern")))
    return Cost(entries(region, kind), region.executed(("host",), CLASSES), region.executed(("guest",), CLASSES))


def of_workload(log):
    """What the workload printed itself, by region: operations, ticks, tables (KiB)."""
    found = {}
    with open(log, encoding="utf-8", errors="replace") as f:
        for line in f:
            _, marked, rest = line.partition("BENCH id=")
            if marked:
                values = {k: int(v) for k, v in words_of("id=" + rest).items()}
                found[values["id"]] = values
    return found
