#!/usr/bin/env python3
"""make bench: what Umbra costs, counted; tables to the terminal and to bench/results.md, a picture to results.svg.

The workload (work.c) runs on the bare processor and under Umbra in each kind of paging, each of these twice, two at a
time. With the argument "peers", KVM and Xen are measured before, in two kinds each, twice too. The figures count only if
the counter's own checks hold; if one does not, the exit status is 1 and nothing is written.
"""

import datetime
import os
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import kvm  # noqa: E402
import machine  # noqa: E402
import picture  # noqa: E402
import records  # noqa: E402
import table  # noqa: E402
import xen  # noqa: E402

HERE = os.path.dirname(os.path.realpath(__file__))
RESULTS = os.path.join(HERE, "results.md")
PICTURE = os.path.join(HERE, "results.svg")
PEERS = os.path.join(HERE, "peers")
CLOCK_DIFFERENCE = 0.001  # between the guest's TSC and the counter, as a part of the whole

STARTED = time.monotonic()


def say(message):
    print(f"bench: {time.monotonic() - STARTED:4.0f} s: {message}", flush=True)


# ---- checks ----

def check_loop(name, regions, kind):
    modes = ("host",) if kind in ("bare", "pv", "xen-pv") else ("guest",)
    found = regions[records.LOOP].total(modes, ("user",), "insn")
    if found != records.LOOP_COUNT:
        raise machine.Failed(f"{name}: {found} instructions were counted in a loop of {records.LOOP_COUNT}")


def check_entries(name, regions, kind):
    for region in regions.values():
        own, counted = sum(count for _, count, _ in region.exits), records.entries(region, kind)
        if own != counted:
            raise machine.Failed(f"{name}: region {region.counts['id']}: {counted} entries were counted, and Umbra"
                                 f" counted {own} exits")


def check_clock(name, regions, said):
    for number, region in regions.items():
        counted = region.counts["host"] + region.counts["guest"]
        if abs(counted - said[number]["ticks"]) > CLOCK_DIFFERENCE * counted:
            raise machine.Failed(f"{name}: region {number}: {counted} instructions were counted, and by the guest's"
                                 f" clock it took {said[number]['ticks']}")


def check_same(name, one, other):
    for a, b in zip(records.lines(one), records.lines(other), strict=True):
        if a != b:
            raise machine.Failed(f"{name}: two runs differ:\n  {a}  {b}")


def checked(run, kind):
    """The record of a run that has ended, if it can be believed."""
    regions, said = records.read(run.record), records.of_workload(run.log)
    if set(regions) != set(records.REGIONS):
        raise machine.Failed(f"{run.name}: the record has regions {sorted(regions)}")
    for number, (_, operations) in records.REGIONS.items():
        if said.get(number, {}).get("operations") != operations:
            raise machine.Failed(f"{run.name}: region {number} should have had {operations} operations: {run.log}")
    check_loop(run.name, regions, kind)
    check_clock(run.name, regions, said)
    if kind in machine.KINDS:
        check_entries(run.name, regions, kind)
    return regions, said


# ---- the runs ----

def measure():
    """Records by kind, and what the workload said under shadow paging."""
    kinds = ("bare", *machine.KINDS)
    runs, said = {}, {}
    for number, (a, b) in enumerate(((kinds[0], kinds[1]), (kinds[2], kinds[3]),
                                     (kinds[1], kinds[0]), (kinds[3], kinds[2]))):
        second = number // 2
        say(f"step {number + 1} of 5: {a} and {b}{', again' if second else ''}")
        pair = {kind: machine.Run(f"{kind}-{second}", kind) for kind in (a, b)}
        machine.wait(list(pair.values()), say)
        for kind, run in pair.items():
            runs[kind], said[kind] = checked(run, kind)
            if second:
                check_same(kind, run.record.replace(f"{kind}-1", f"{kind}-0"), run.record)
    say("step 5 of 5: round trips")
    trips = {kind: machine.round_trips(kind) for kind in ("shadow", "nested")}
    return runs, said["shadow"], trips


PEER_STEPS = (kvm.NAMES, xen.NAMES, kvm.NAMES, xen.NAMES)


def check_peer(kind, run, regions):
    """What a peer counts itself, or what must follow from what it does."""
    if kind in kvm.NAMES:
        kvm.check_exits(run)
    elif kind == "xen-pv":
        xen.check_getpid(run, regions)


def name_of_peer(kind, run):
    if kind in kvm.NAMES:
        return f"KVM {kernel_version()[1]}"
    return f"Xen {xen.version(run)}"


def measure_peers():
    """The records of KVM and Xen, anew, to where that of Xen's shadow paging is, which stays as it is."""
    say("peers: ramdisks")
    kvm.make_ramdisk(machine.KVM_RAMDISK)
    xen.make_files()
    for step, kinds in enumerate(PEER_STEPS):
        second = kinds in PEER_STEPS[:step]
        say(f"peers: step {step + 1} of {len(PEER_STEPS) + 1}: {' and '.join(kinds)}{', again' if second else ''}")
        runs = {kind: machine.Run(f"{kind}-{second:d}", kind) for kind in kinds}
        machine.wait(list(runs.values()), say)
        for kind, run in runs.items():
            check_peer(kind, run, checked(run, kind)[0])
            if second:
                check_same(kind, run.record.replace(f"{kind}-1", f"{kind}-0"), run.record)
                write_peer(kind, run)
    say(f"peers: step {len(PEER_STEPS) + 1} of {len(PEER_STEPS) + 1}: entries as Xen traces them")
    traced = machine.Run(xen.TRACED, xen.TRACED)
    machine.wait([traced], say)
    xen.check_trace(traced)


def write_peer(kind, run):
    path = os.path.join(PEERS, f"{kind}.cnt")
    with open(path, "w", encoding="ascii") as f:
        f.write(f"peer name={name_of_peer(kind, run)} by=make bench PEERS=1\n")
        f.writelines(records.lines(run.record))
    say(f"{kind}: written to {os.path.relpath(path)}")


def peers():
    """Records of the peers, and what they are called with how they came to be, by file."""
    files = {file[:-4]: os.path.join(PEERS, file) for file in sorted(os.listdir(PEERS)) if file.endswith(".cnt")}
    return ({name: records.read(path) for name, path in files.items()},
            {name: records.who(path) for name, path in files.items()})


# ---- what is written ----

def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)
    return done.stdout.splitlines()[0].strip() if done.stdout else "unknown"


def commit():
    """What was measured; what is written here is no part of that."""
    changed = first_line("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":!results.md",
                         ":!results.svg", ":!peers")
    return first_line("git", "describe", "--always") + ("" if changed == "unknown" else "-dirty")


def kernel_version():
    """Of the guest's kernel: the name of its package, and the version, as in 6.1.0-56-cloud-amd64 and 6.1.192."""
    with open(machine.KERNEL, "rb") as f:
        data = f.read(0x10000)
    at = int.from_bytes(data[0x20e:0x210], "little") + 0x200  # the boot protocol's kernel_version
    text = data[at:data.index(b"\0", at)].decode("ascii", "replace")
    version = re.search(r"Debian ([0-9.]+)", text)
    return text.split(" ")[0], version[1] if version else "unknown"


def sources(names):
    """Sentences about the peers' records."""
    by = {}
    for name, way in sorted({names[file] for _, _, files, _ in table.SECTIONS for file in files}):
        by.setdefault(way, []).append(name)
    return " ".join(f"{' and '.join(who)}: measured by `{way}`." if way.startswith("make") else
                    f"{' and '.join(who)}: {way}." for way, who in by.items())


INTRODUCTION = """# What Umbra costs

Written by `make bench` on {date}, at commit {commit}. {qemu}; guest: Linux {kernel}, one vCPU, 512 MiB; {gcc}.
Each figure is per operation: VM entries / instructions of the hypervisor. `ratio` is how many times Umbra's
instructions the best of the others takes. [doc/performance.md](../doc/performance.md) says what counts as an
instruction, and what it means. {sources} A dash: not measured.

Checked in this run: a loop of {loop:,} instructions counts as so many in every kind; VM entries equal Umbra's own count of
exits in every region; the guest's clock agrees; two runs are identical in every region.
"""


def report(runs, said, trips):
    others, whose = peers()
    names = {file: name for file, (name, _) in whose.items()}
    parts = [INTRODUCTION.format(
        date=datetime.date.today().isoformat(), commit=commit(),
        qemu=first_line("qemu-system-x86_64", "--version"), kernel=kernel_version()[0], gcc=first_line("gcc", "--version"),
        loop=records.LOOP_COUNT, sources=sources(whose))]
    parts += ["## Costs\n", table.costs(runs, others, names, said),
              "\nThe last column, at the end of each region: frames of our tables + their reverse map + snapshots, beside"
              "\nthe frames of the guest's own tables (its `PageTables`, which leaves out the kernel's).",
              "\n## Bars, and what lies further\n",
              "A bar is to be met; the column behind it says how far one could go. Entries / instructions, each met or"
              " missed.\n", table.bars(runs),
              "\n## Round trips\n",
              "Instructions of all who take part, from the guest's instruction to its next one.\n",
              table.round_trips(trips),
              "\n## All that was executed, guest and hypervisor, as a multiple of the bare processor's\n",
              table.whole(runs, others, names)]
    for kind in machine.KINDS:
        for region in (4, 12):
            parts += [f"\n## Exits: {records.REGIONS[region][0]}, {kind}\n", table.exits(runs[kind], region)]
    return "\n".join(parts) + "\n"


def main():
    try:
        if sys.argv[1:] == ["peers"]:
            measure_peers()
        runs, said, trips = measure()
    except machine.Failed as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    text = report(runs, said, trips)
    picture.draw({**peers()[0], **runs}, os.path.join(machine.OUT, "results.dat"), PICTURE)
    print(text)
    with open(RESULTS, "w", encoding="utf-8") as f:
        f.write(text)
    say(f"written to {os.path.relpath(RESULTS)} and {os.path.relpath(PICTURE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
