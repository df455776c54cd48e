#!/usr/bin/env python3
"""make profile REGION=fork KIND=shadow: where the hypervisor's instructions go in one region of the workload.

profile.py REGION KIND [FUNCTION]. First the exits by kind, from Umbra's own counters; then the functions that ran most
instructions, how often each was entered, and instructions for each time. With FUNCTION: how often each of its
instructions ran. REP instructions count once for each iteration here.
"""

import bisect
import os
import subprocess
import sys

sys.dont_write_bytecode = True
import machine  # noqa: E402
import records  # noqa: E402
import table  # noqa: E402

SHOWN = 45


def functions():
    """The functions of the image: sorted (address, name)."""
    out = subprocess.run(["nm", machine.IMAGE], capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in out.splitlines()]
    return sorted((int(w[0], 16), w[2]) for w in found if len(w) == 3 and w[1] in "tT")


def by_function(path, names, wanted):
    """Instructions and entries by name, and counts by address within `wanted`."""
    starts = [address for address, _ in names]
    counts, entered, inside = {}, {}, []
    with open(path, encoding="ascii") as f:
        for line in f:
            address, count = (int(word, 16) for word in line.split())
            start, name = names[bisect.bisect_right(starts, address) - 1]
            counts[name] = counts.get(name, 0) + count
            if address == start:
                entered[name] = count
            if name == wanted:
                inside.append((address, count))
    return counts, entered, inside


def main():
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in records.SHORT or sys.argv[2] not in machine.KINDS:
        print(__doc__, f"REGION: {' '.join(records.SHORT)}", f"KIND: {' '.join(machine.KINDS)}", sep="\n")
        return 2
    region, kind = records.SHORT[sys.argv[1]], sys.argv[2]
    wanted = sys.argv[3] if len(sys.argv) == 4 else None
    profile = os.path.join(machine.OUT, f"{kind}-{sys.argv[1]}.profile")
    names = functions()  # the image may be built anew meanwhile
    run = machine.Run(f"profile-{kind}-{sys.argv[1]}", kind, (profile, region))
    try:
        machine.wait([run], lambda message: print(f"profile: {message}", file=sys.stderr, flush=True))
    except machine.Failed as e:
        print(f"profile: {e}", file=sys.stderr)
        return 1
    counts, entered, inside = by_function(profile, names, wanted)
    whole, operations = sum(counts.values()), records.REGIONS[region][1]
    regions = records.read(run.record)
    print(table.exits(regions, region), "\n")
    print("the core:", " ".join(f"{name} {value / operations:,.2f}" for name, value in regions[region].paging.items()
                                if name != "id"), "for each operation\n")
    print(f"{'instructions':>14}    all   per operation {'times':>12}   {'each':>10}  function")
    for name, count in sorted(counts.items(), key=lambda item: -item[1])[:SHOWN]:
        times = entered.get(name, 0)
        print(f"{count:14,} {100 * count / whole:5.1f} % {count / operations:15,.1f} {times:12,} x"
              f" {count / times if times else 0:10.1f}  {name}")
    print(f"{whole:14,} in all, {whole / operations:,.1f} per operation")
    for address, count in inside:
        print(f"{address:x} {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
