"""bench/results.svg: for each operation a bar for each way to run it, drawn by gnuplot."""

import subprocess

import records
import table

BARS = (
    ("bare", "bare", "bare", "#7f7f7f"),
    ("Umbra nested", "nested", "svm", "#9ecae1"),
    ("Umbra shadow", "shadow", "svm", "#3182bd"),
    ("KVM shadow", "kvm-npt0", "svm", "#e6550d"),
    ("Xen shadow", "xen-shadow", "svm", "#fdae6b"),
    ("Umbra PV", "pv", "pv", "#31a354"),
    ("Xen PV", "xen-pv", "pv", "#a1d99b"),
)

SCRIPT = """
set terminal svg noenhanced size 1100,480 font "sans,12" background "white"
set output "{out}"
set title "Instructions of guest and hypervisor for each operation"
set style data histograms
set style histogram clustered gap 1.5
set style fill solid 1.0
set boxwidth 1.0
set logscale y
set format y "%.0s %c"
set yrange [100:*]
set grid ytics lc rgb "#dddddd"
set xtics rotate by -20 scale 0 font ",10"
set key outside right top
set datafile missing "-"
set datafile separator "\\t"
plot {plots}
"""


def data(runs):
    """A line for each operation: its name, then what each bar stands for, or a dash."""
    lines = ["\t".join(["operation", *(title for title, *_ in BARS)])]
    for region in table.SHOWN:
        costs = [table.per_operation(runs.get(run), region, kind) for _, run, kind, _ in BARS]
        lines.append("\t".join([records.REGIONS[region][0],
                                *(f"{c.guest + c.hypervisor:.1f}" if c else "-" for c in costs)]))
    return "\n".join(lines) + "\n"


def draw(runs, file, out):
    """`runs`: records by name, the peers' too; `file`: where the data goes; `out`: the picture."""
    with open(file, "w", encoding="ascii") as f:
        f.write(data(runs))
    plots = ", ".join(f'"{file}" skip 1 using {i + 2}{":xtic(1)" if i == 0 else ""} title "{title}" lc rgb "{colour}"'
                      for i, (title, _, _, colour) in enumerate(BARS))
    subprocess.run(["gnuplot"], input=SCRIPT.format(out=out, plots=plots), text=True, check=True)
