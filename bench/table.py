"""The tables of bench/results.md: costs for each operation, beside what others cost."""

import records

# (title, Umbra's run, the peers' records, kind)
SECTIONS = (
    ("shadow paging", "shadow", ("kvm-npt0", "xen-shadow"), "svm"),
    ("nested paging", "nested", ("kvm-npt1", "xen-hap"), "svm"),
    ("PV", "pv", ("xen-pv",), "pv"),
)
SHOWN = (4, 5, 10, 6, 7, 13, 8, 9, 3, 12)

# Bars, which are to be met, and what lies further: (entries, instructions) for an operation; of round trips: instructions.
BARS = {
    "shadow": {4: (40, 50000), 5: (60, 80000), 10: (2.05, 1300), 6: (2.05, 1400), 7: (2.05, 1400), 13: (3.1, 2000),
               8: (4.3, 9000), 9: (1.02, 700), 12: (220, 300000)},
    "pv": {4: (97, 150000), 5: (135.5, 250000), 10: (3.01, 1000), 6: (4.02, 1700), 8: (38.1, 15000),
           9: (8.05, 2000), 3: (2, 300), 12: (843, 550000)},
    "nested": {12: (36, 18000)},
}
STRETCH = {
    "shadow": {4: (34, 32000), 5: (50, 50000), 10: (2.01, 900), 6: (2.01, 900), 7: (2.01, 950), 13: (3.05, 1500),
               8: (4.15, 7000), 9: (1.01, 450), 12: (150, 150000)},
    "pv": {4: (97, 80000), 5: (135.5, 130000), 10: (3.01, 600), 6: (4.02, 1000), 8: (38.1, 9000),
           9: (8.05, 1200), 3: (2, 160), 12: (843, 300000)},
    "nested": {},
}
ROUND_TRIP_BARS = {"CPUID": 350, "VMMCALL": 300, "port": 400, "self-IPI and EOI": 1500, "CR0.WP twice": 1200,
                   "CR4.PGE twice": 1500}
# KVM of Linux 6.1 with its program in user space; from the guest's instruction to its next one.
ROUND_TRIP_PEERS = {"CPUID": 2875, "VMMCALL": 8575, "port": 1494, "self-IPI and EOI": 9302, "CR0.WP twice": 8814,
                    "CR4.PGE twice": 6793}


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value else "0"


def per_operation(regions, region, kind):
    """A Cost divided by the operations, or None."""
    if not regions or region not in regions:
        return None
    whole, count = records.cost(regions[region], kind), records.REGIONS[region][1]
    return records.Cost(whole.entries / count, whole.hypervisor / count, whole.guest / count)


def cell(cost):
    return f"{number(cost.entries)} / {number(cost.hypervisor)}" if cost else "-"


def ratio(cost, peers):
    """How many times the hypervisor's instructions the best peer takes."""
    best = min((peer.hypervisor for peer in peers if peer), default=None)
    if not cost or best is None or best < 50:  # a timer's tick now and then is not the operation's
        return "-"
    return f"{best / max(cost.hypervisor, 1):.1f}"


def verdict(cost, bar):
    """Entries are compared as they are shown: a timer's tick now and then is not the operation's."""
    if not cost or not bar:
        return "-"
    words = ["met" if is_met else "**missed**" for is_met in (round(cost.entries, 2) <= bar[0], cost.hypervisor <= bar[1])]
    return f"{number(bar[0])} {words[0]} / {number(bar[1])} {words[1]}"


def markdown(rows):
    head, *rest = rows
    return "\n".join(["| " + " | ".join(row) + " |" for row in [head]]
                     + ["|---" + "|--:" * (len(head) - 1) + "|"]
                     + ["| " + " | ".join(row) + " |" for row in rest])


def frames(regions, region, tables):
    """Frames that shadow paging used at the end of a region, beside those of the guest's own tables."""
    if not regions or region not in regions or not regions[region].memory:
        return "-"
    m = regions[region].memory
    return f"{m['shadow']} + {m['links']} + {m['snapshot']} / {tables.get(region, {}).get('tables', 0) // 4}"


def costs(runs, peers, names, tables):
    """The table. `runs`: records of Umbra's by kind, and bare; `peers`, `names`: by file; `tables`: the guest's, KiB."""
    head = ["operation", "bare"]
    for title, _, files, _ in SECTIONS:
        head += [f"Umbra {title}", *(f"{names[file]} {title}" for file in files), "ratio"]
    rows = [head + ["frames of shadows / guest's"]]
    for region in SHOWN:
        bare = per_operation(runs.get("bare"), region, "bare")
        row = [records.REGIONS[region][0], number(bare.guest) if bare else "-"]
        for _, run, files, kind in SECTIONS:
            ours = per_operation(runs.get(run), region, kind)
            theirs = [per_operation(peers[file], region, kind) for file in files]
            row += [cell(ours), *map(cell, theirs), ratio(ours, theirs)]
        rows.append(row + [frames(runs.get("shadow"), region, tables)])
    return markdown(rows)


def whole(runs, peers, names):
    """All that was executed, guest and hypervisor, as a multiple of the bare processor's."""
    columns = [(f"Umbra {title}", runs.get(run), kind) for title, run, _, kind in SECTIONS]
    columns += [(f"{names[file]} {title}", peers[file], kind) for title, _, files, kind in SECTIONS for file in files]
    rows = [["operation", *(name for name, _, _ in columns)]]
    for region in SHOWN:
        bare = per_operation(runs.get("bare"), region, "bare")
        row = [records.REGIONS[region][0]]
        for _, regions, kind in columns:
            one = per_operation(regions, region, kind)
            row.append(f"{(one.hypervisor + one.guest) / bare.guest:.3f}" if one and bare else "-")
        rows.append(row)
    return markdown(rows)


def bars(runs):
    columns = [(f"{title}: {what}", run, kind, aims[run]) for title, run, _, kind in SECTIONS
               for what, aims in (("bar", BARS), ("stretch", STRETCH)) if aims[run]]
    rows = [["operation", *(title for title, *_ in columns)]]
    for region in SHOWN:
        rows.append([records.REGIONS[region][0],
                     *(verdict(per_operation(runs.get(run), region, kind), aims.get(region))
                       for _, run, kind, aims in columns)])
    return markdown(rows)


def round_trips(trips):
    """`trips`: instructions by kind of paging and name."""
    rows = [["round trip", *(f"Umbra {kind}" for kind in trips), "KVM", "bar"]]
    for name in next(iter(trips.values())):
        bar = ROUND_TRIP_BARS.get(name)
        rows.append([name, *(number(trip[name]) for trip in trips.values()),
                     number(ROUND_TRIP_PEERS[name]) if name in ROUND_TRIP_PEERS else "-",
                     ", ".join([f"{bar}", *(f"{kind} {'met' if trip[name] <= bar else '**missed**'}"
                                            for kind, trip in trips.items())]) if bar else "-"])
    return markdown(rows)


def exits(regions, region):
    """What a region's exits were, and what each kind took, by Umbra's own counters."""
    rows = [["kind of exit", "count", "per operation", "instructions", "each"]]
    for kind, count, ticks in sorted(regions[region].exits, key=lambda e: -e[2]):
        rows.append([kind, f"{count:,}", number(count / records.REGIONS[region][1]), f"{ticks:,}",
                     number(ticks / count)])
    return markdown(rows)
