#!/usr/bin/env python3
"""Sums what profile.so counted by function: profile.py IMAGE.elf64 COUNTS [FUNCTION]

Prints the functions that ran most instructions, how often each was entered, and instructions per entry; with
FUNCTION, the counts of its instructions one by one.
"""
import bisect
import subprocess
import sys


def symbols(image):
    out = subprocess.run(["nm", image], capture_output=True, text=True, check=True).stdout
    table = [(int(a, 16), n) for a, t, n in (l.split() for l in out.splitlines() if len(l.split()) == 3) if t in "tT"]
    return sorted(table)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    table = symbols(sys.argv[1])
    starts = [a for a, _ in table]
    total, by, entered = 0, {}, {}
    for line in open(sys.argv[2], encoding="ascii"):
        address, count = (int(x, 16) for x in line.split())
        i = bisect.bisect_right(starts, address) - 1
        start, name = table[i]
        by[name] = by.get(name, 0) + count
        total += count
        if address == start:
            entered[name] = count
        if len(sys.argv) > 3 and name == sys.argv[3]:
            print(f"{address:x} {count}")
    for name, count in sorted(by.items(), key=lambda x: -x[1])[:45]:
        calls = entered.get(name, 0)
        print(f"{count:14,} {100 * count / total:5.1f} %  {calls:12,} x {count / calls if calls else 0:10.1f}  {name}")
    print(f"{total:14,} in all")


main()
