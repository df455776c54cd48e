"""One run of a guest under the counter: on the bare processor, under Umbra in one kind of paging, under KVM or Xen."""

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
XEN = os.path.join(OUT, "xen")
XEN_RAMDISK = os.path.join(OUT, "xen.cpio")
CONTROL_KERNEL = os.path.join(BUILD, "control", "vmlinuz")
ROUND_TRIPS = os.path.join(BUILD, "test", "guests", "round-trips.elf")

CPU = "EPYC,-smap"
# The order of these words alone moves counts by 0.4 %.
WORDS = ("nokaslr norandmaps no_timer_check transparent_hugepage=never mitigations=off"
         " randomize_kstack_offset=off panic=-1 quiet")
# Nothing may depend on the time of day.
STEADY = ["-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
KINDS = ("shadow", "nested", "pv")
XEN_WORDS = {"xen-hap": "kind=pvh", "xen-pv": "kind=pv", "xen-traced": "kind=pvh traced"}
# All of Xen's code is here, its stubs for system calls too.
XEN_IMAGE = "ffff82d040000000-ffff82d080000000"
LIMIT = 900  # seconds
STILL = 60   # seconds after which a run is said to be going still


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
    elif kind.startswith("xen-"):
        words.append(f"host={XEN_IMAGE}")
    if profile:
        words += [f"profile={profile[0]}", f"region={profile[1]}"]
    return ",".join(words)


def write_words():
    """Writes the words of the guest's command line to a file and gives its name."""
    path = os.path.join(OUT, "words")
    with open(path, "w", encoding="ascii") as f:
        f.write(WORDS + "\n")
    return path


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


def emulated(plugin, memory, *more):
    """QEMU's command line; `memory`: MiB."""
    return ["qemu-system-x86_64", "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-cpu", CPU,
            "-m", str(memory), "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", *STEADY,
            "-plugin", plugin, *more]


def on_the_processor(plugin):
    return emulated(plugin, 512, "-kernel", KERNEL, "-initrd", RAMDISK, "-append", f"console=ttyS0 {WORDS}")


def under_kvm(npt, plugin):
    """The outer Linux has KVM and QEMU in its ramdisk: kvm.py."""
    return emulated(plugin, 2048, "-kernel", KERNEL, "-initrd", KVM_RAMDISK, "-append",
                    "console=ttyS0 nokaslr norandmaps no_timer_check mitigations=off randomize_kstack_offset=off"
                    f" panic=-1 quiet npt={npt}")


def under_xen(words, plugin):
    """The control domain has Xen's tools in its ramdisk, and does what these words say: xen.py. Xen idles by HLT, since
    QEMU lacks a kind of MWAIT that it says there is."""
    return emulated(plugin, 2048, "-kernel", XEN, "-append",
                    "com1=115200,8n1 console=com1 dom0_mem=640M,max:640M dom0_max_vcpus=1 cpuidle=no",
                    "-initrd", f"{CONTROL_KERNEL} console=hvc0 quiet run=/workload.sh {words},{XEN_RAMDISK}")


class Run:
    """A run of a guest, beside others; its record grows by a line for each part of the workload."""

    def __init__(self, name, kind, profile=None):
        self.name = name
        self.record = os.path.join(OUT, f"{name}.cnt")
        self.log = os.path.join(OUT, f"{name}.log")
        if os.path.exists(self.record):
            os.unlink(self.record)
        command = self.command(kind, counter(self.record, kind, profile), profile)
        self.started = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, cwd=ROOT)

    def command(self, kind, plugin, profile):
        if kind == "bare":
            return on_the_processor(plugin)
        if kind.startswith("kvm-npt"):
            return under_kvm(kind[-1], plugin)
        if kind.startswith("xen-"):
            return under_xen(XEN_WORDS[kind], plugin)
        # Region 11 is the second half of a part.
        only = f" bench.only={10 if profile[1] == 11 else profile[1]}" if profile else ""
        name = self.name if profile else "bench"
        return under_umbra(kind, config(name, kind, KERNEL, RAMDISK, only), plugin)

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
    said = dict.fromkeys(runs, 0)
    going = list(runs)
    try:
        while going:
            time.sleep(0.5)
            for run in list(going):
                parts, seconds = run.parts_done(), run.seconds()
                if run.ended():
                    going.remove(run)
                    say(f"{run.name}: done, {seconds:.0f} s")
                elif parts > done[run] or seconds > said[run] + STILL:
                    done[run], said[run] = parts, seconds
                    say(f"{run.name}: {parts} parts, {seconds:.0f} s")
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
