"""System tests of the monitor's rights over all of a guest's memory: what it costs to set them, and that guests bear it."""

import re

from launch import WORKED, bare, judge, linux, umbra
from outcome import Failure

SETS = 1000


def set_again_and_again(paging, rx, off):
    """
    Debian works its memory while all of it is set to rx and back, again and again, for a thousand times at least: one
    every so many ms, the other by a clock of its own.
    """
    pv = paging == "pv"

    def run():
        file = linux(f"access-sets-{paging}", run="/work.sh work=60s", memory=128, type="pv" if pv else "pvh",
                     paging=None if pv else paging)
        before = ("--at", "0.01", "paging linux shadow") if pv else ()
        status, output = umbra(["run", "--batch", "--limit", "500", *before, "--every", str(rx), "access linux all rx",
                                "--every", str(off), "access linux off", "--at-end", "access linux; audit", file], 500)
        judge(status, output, 0, (*WORKED, r"^audit: 0 violations .* after destruction$"), (r"audit: [1-9]\d* violations",))
        sets = len(re.findall(r"^access: linux: all rx, in \d+ ticks$", output, re.MULTILINE))
        if sets < SETS:
            raise Failure(f"all rights were set {sets} times, not {SETS}")
    return run


def default_costs_the_same():
    """A new default takes as many instructions for 8 GiB as for 256 MiB: what is printed is counted under --icount."""
    def cost(paging, mib):
        file = bare(f"access-cost-{paging}-{mib}", "watched", paging=paging, memory=mib, extra="2 0 1")
        status, output = umbra(["run", "--batch", "--icount", "--limit", "150", "--at", "0.5", "access watched all rx; access watched all rwx",
                                "--at-end", "access watched; audit", file], 150)
        judge(status, output, 0, (r"^watched: ok$", r"^audit: 0 violations .* after destruction$"), (r"audit: [1-9]\d* violations",))
        return [int(ticks) for ticks in re.findall(r"^access: watched: all rw?x, in (\d+) ticks$", output, re.MULTILINE)]

    def run():
        for paging in ("shadow", "nested"):
            small, large = cost(paging, 256), cost(paging, 8192)
            if len(small) != 2 or len(large) != 2 or max(large) > 1.1 * max(small) + 1000:
                raise Failure(f"under {paging} paging a default costs {small} with 256 MiB and {large} with 8 GiB")
    return run


def access_tests():
    return (("a new default of rights costs the same for 256 MiB and for 8 GiB",
             default_costs_the_same()),)


def long_access_tests():
    return tuple((f"all memory of a working guest is set to rx and back a thousand times under {paging} paging",
                  set_again_and_again(paging, *how))
                 for paging, how in (("shadow", (70, 30)), ("nested", (70, 30)), ("pv", (70, 30))))
