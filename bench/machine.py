"""One run of a guest under the counter: on the bare processor, or under Umbra in one kind of paging."""

import os
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
BUILD = os.path.join(ROOT, "build")
OUT = os.path.join(BUILD, "bench")
COUNTER = os.path.join(OUT, "count.so")
IMAGE = os.path.join(BUILD, "umbra.elf64")
KERNEL = os.path.join(BUILD, "guest", "vmlinuz")
RAMDISK = os.path.join(OUT, "ramdisk.cpio")
KVM_RAMDISK = os.path.join(OUT, "kvm.cpio")
ROUND_TRIPS = os.path.join(BUILD, "test", "guests", "round-trips.elf")

CPU = "EPYC,-smap"
# The order of these words alone moves counts by 0.4 %.
WORDS = ("nokaslr norandmaps no_timer_check transparent_hugepage=never mitigations=off"
         " randomize_kstack_offset=off panic=-1 quiet")
# Nothing may depend on the time of day.
STEADY = ["-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
KINDS = ("shadow", "nested", "pv")
LIMIT = 900  # seconds


class Failed(Exception):
    """A run did not come to its end, or what it says contradicts itself."""


def symbols():
    """The image's symbols: name to address."""
    out = subprocess.run(["nm", IMAGE], capture_output=True, text=True, check=True).stdout
    return {words[2]: int(words[0], 16) for words in map(str.split, out.splitlines()) if len(words) == 3}


def counter(record, kind, profile=None):
    """The -plugin argument. `profile` is (file, number of a region)."""
    words = [COUNTER, f"out={record}"]
    if kind in KINDS:
        at = symbols()
        words += [f"host={at['text_start']:x}-{at['text_end']:x}", f"domains={at['domains']:x}",
                  f"phys={at['machine_phys']:x}", f"svm={at['svm_kind_names']:x}",
                  f"pv_names={at['pv_kind_names']:x}"]
    if profile:
        words += [f"profile={profile[0]}", f"region={profile[1]}"]
    return ",".join(words)


def config(name, kind, kernel, ramdisk=None, words=""):
    """Writes a domain's file and gives its name."""
    lines = [f'name = "{name}"', f'type = "{"pv" if kind == "pv" else "pvh"}"', f'kernel = "{kernel}"',
             "memory = 512", "vcpus = 1"]
    if ramdisk:
        lines += [f'ramdisk = "{ramdisk}"', f'extra = "console=hvc0 {WORDS}{words}"']
    if kind != "pv":
        lines.append(f'paging = "{kind}"')
    path = os.path.join(OUT, f"{name}-{kind}.cfg")
    with open(path, "w", encoding="ascii") as f:
        f.write("\n".join(lines) + "\n")
    return path


def under_umbra(kind, file, plugin=None):
    command = [os.path.join(ROOT, "umbra"), "run", "--batch", "--icount", "--limit", str(LIMIT), "--cpu", CPU,
               "--at-end", "exits; audit", "--qemu=" + " ".join(STEADY)]
    if plugin:
        command.append(f"--qemu=-plugin {plugin}")
    return command + [file]


def on_the_processor(plugin):
    return ["qemu-system-x86_64", "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-cpu", CPU,
            "-m", "512", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", *STEADY,
            "-plugin", plugin, "-kernel", KERNEL, "-initrd", RAMDISK, "-append", f"console=ttyS0 {WORDS}"]


def under_kvm(npt, plugin):
    """The outer Linux has KVM and QEMU in its ramdisk: kvm.py."""
    return ["qemu-system-x86_64", "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-cpu", CPU,
            "-m", "2048", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", *STEADY,
            "-plugin", plugin, "-kernel", KERNEL, "-initrd", KVM_RAMDISK, "-append",
            "console=ttyS0 nokaslr norandmaps no_timer_check mitigations=off randomize_kstack_offset=off panic=-1"
            f" quiet npt={npt}"]


class Run:
    """A run of Umbra's, of the bare processor's or of KVM's, beside others; its record grows by a line for each part of the workload."""

    def __init__(self, name, kind, profile=None):
        self.name = name
        self.record = os.path.join(OUT, f"{name}.cnt")
        self.log = os.path.join(OUT, f"{name}.log")
        if os.path.exists(self.record):
            os.unlink(self.record)
        plugin = counter(self.record, kind, profile)
        if kind == "bare":
            command = on_the_processor(plugin)
        elif kind.startswith("kvm-npt"):
            command = under_kvm(kind[-1], plugin)
        else:
            # Region 11 is the second half of a part.
            only = f" bench.only={10 if profile[1] == 11 else profile[1]}" if profile else ""
            command = under_umbra(kind, config(name if profile else "bench", kind, KERNEL, RAMDISK, only), plugin)
        self.started = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, cwd=ROOT)

    def parts_done(self):
        try:
            with open(self.record, encoding="ascii") as f:
                return sum(line.startswith("region") for line in f)
        except FileNotFoundError:
            return 0

    def seconds(self):
        return time.monotonic() - self.started

    def ended(self):
        """True when it has come to its end; raises Failed if that was a bad one."""
        status = self.process.poll()
        if status is None and self.seconds() > LIMIT + 30:
            self.stop()
            raise Failed(f"{self.name}: did not end within {LIMIT} seconds: see {self.log}")
        if status:
            raise Failed(f"{self.name}: ended with status {status}: see {self.log}")
        return status is not None

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def wait(runs, say):
    """Waits for all of the runs, and says how far they are."""
    done = dict.fromkeys(runs, 0)
    going = list(runs)
    try:
        while going:
            time.sleep(0.5)
            for run in list(going):
                if run.ended():
                    going.remove(run)
                    say(f"{run.name}: done, {run.seconds():.0f} s")
                elif run.parts_done() > done[run]:
                    done[run] = run.parts_done()
                    say(f"{run.name}: {done[run]} parts, {run.seconds():.0f} s")
    finally:
        for run in going:
            run.stop()


def round_trips(kind):
    """Instructions from the guest's instruction to its next one, by what it executes."""
    file = config("round-trips", kind, ROUND_TRIPS)
    done = subprocess.run(under_umbra(kind, file), capture_output=True, text=True, errors="replace", cwd=ROOT,
                          check=False)
    if done.returncode:
        raise Failed(f"round trips under {kind} paging: {done.stdout[-500:]}{done.stderr[-500:]}")
    trips = {}
    for line in done.stdout.splitlines():
        _, found, rest = line.partition("round-trips: ")
        name, colon, value = rest.rpartition(": ")
        if found and colon and value.strip().isdigit():
            trips[name] = int(value)
    return trips
