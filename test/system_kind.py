"""System tests of the kinds of paging: changed while a guest runs, and what a guest sees under each of them."""

import re

from launch import WORKED, bare, batch, config, judge, linux, multiboot, umbra
from outcome import Failure

MONITOR = r"^(?:umbra: |audit: |longest |paging: |kind +seconds|\w[\w-]*, paging: |shadow +\d|nested +\d|direct +\d)"
CLEAN = (r"^audit: 0 violations \(\d+ frames, \d+ shadows, \d+ entries\)$", r"^audit: 0 violations .* after destruction$")
ANY_TOGGLE_QUIRK = r"reserved-without-P \d+ accessed-on-fault \d+ gigabyte-accessed \d+ root-accessed \d+"
ANY_ROOT_QUIRK = r"changed-root-seen \d root-not-checked \d+"
HALVES = r"half-written \d+ half-written-tables \d+"
STRETCH = r"longest stretch [a-z ]+: \d{4,5} ticks"

# Bare kernels: what is run of each, the milliseconds between two changes, the least number of changes, quirks.
KERNELS = (
    ("toggles", "part=3/11", 20, 20, ANY_TOGGLE_QUIRK),
    ("modes", "", 5, 20, ANY_ROOT_QUIRK),
    ("real", "colour=green", 5, 20, None),
    ("table-writes", "part=1/3", 20, 20, HALVES),
    ("tasks", "here", 2, 10, None),
    ("board", "colour=green", 3, 5, None),
)


def changes(name, least):
    """The line of `paging DOM` says that its kind has changed so often or more."""
    return rf"^{name}, paging: \w+, (?:{'|'.join(number_at_least(least))}) changes$"


def number_at_least(n):
    """Patterns of decimal numbers that are n or more."""
    text = str(n)
    yield rf"[1-9]\d{{{len(text)},}}"
    yield text
    for i, digit in enumerate(text):
        if digit != "9":
            yield rf"{text[:i]}[{int(digit) + 1}-9]" + r"\d" * (len(text) - i - 1)


# How a domain of each kind comes and goes: keys of its file, milliseconds of the two clocks by which it is destroyed
# and made again, and how often that is in a second of the machine's time (--icount). A PV guest gets shadows of its
# tables when it is there.
COMES_AND_GOES = {
    "shadow": ({"type": "multiboot", "memory": 48, "paging": "shadow"}, (17, 29), 80, "multiboot/toggles"),
    "nested": ({"type": "multiboot", "memory": 48, "paging": "nested"}, (17, 29), 80, "multiboot/toggles"),
    "direct": ({"type": "pv", "memory": 32}, (61, 83), 25, "pv/pv-fuzz"),
    "shadowed": ({"type": "pv", "memory": 32}, (61, 83), 25, "pv/pv-fuzz"),
}


def kind_tests():
    def comes_and_goes(kind, count, part=0):
        """A domain is destroyed in the middle of its work and made again, so many times: each time as many frames are
        free as there were, and at the end each is used for what it was before. Parts differ in their clocks."""
        keys, clocks, rate, guest = COMES_AND_GOES[kind]

        def run():
            test = f"comes-and-goes-{kind}-{part}"
            again = f"destroy {kind}; create {kind}" + ("; paging shadowed shadow" if kind == "shadowed" else "")
            options = [word for ms in clocks for word in ("--every", str(ms + part), again)]
            status, output = umbra(["run", "--batch", "--icount", "--limit", "400", *options, "--at", str(count / rate + 0.2),
                                    "quit", "--at-end", "frames; audit",
                                    config(test, kind, f"build/test/guests/{guest}.elf",
                                           extra=f"seed={part} seconds=1000" if "pv" in guest else "", **keys)], 400)
            judge(status, output, 0, CLEAN, ("FAILED", "DIFFERENT", "crashed", "frames are "))
            if kind == "shadowed" and output.count("paging: shadowed has shadow paging") < count:
                raise RuntimeError("they had no shadows: this test shows nothing")
            free = re.findall(rf"^create: {kind} is domain \d+; (\d+) frames were free$", output, re.MULTILINE)
            if len(free) < count:
                raise RuntimeError(f"only {len(free)} domains were made: this test shows nothing")
            if len(set(free)) != 1:
                raise Failure(f"the number of free frames has changed: {sorted(set(free))}")
        return run

    def switched(test, ms=100, least=50, end="", has=(), run="/work.sh", options=(), limit=240, **keys):
        return batch(lambda: [linux(test, run=run, **keys)], limit=limit, end=f"{end}paging linux; audit",
                     has=(*WORKED, changes("linux", least), *has),
                     options=("--every", str(ms), "paging linux other", *options))

    def kernel(name, words, ms, least, quirks):
        said = (f"^quirks: {quirks}$",) if quirks else ()
        return batch(lambda: [multiboot(f"switched-{name}", name, extra=words)], limit=150, end=f"paging {name}; audit",
                     has=(rf"^{name}: ok$", *said, changes(name, least), *CLEAN), has_not=("FAILED", "DIFFERENT"),
                     options=("--every", str(ms), f"paging {name} other"))

    def seen(name, words, paging, ms):
        """What a bare kernel said, without what is known to be different on the processor (the quirks)."""
        test = f"same-{name}-{paging}-{ms}"
        options = ["--every", str(ms), f"paging {name} other"] if ms else []
        status, output = umbra(["run", "--batch", "--limit", "150", "--at-end", "audit", *options,
                                multiboot(test, name, paging=paging, extra=words)], 150)
        judge(status, output, 0, (rf"^{name}: ok$", *CLEAN), ("FAILED", "DIFFERENT"))
        return [line for line in output.splitlines() if not re.match(MONITOR, line) and not line.startswith("quirks: ")]

    def same(name, words, ms):
        """It sees the same faults, error codes, A and D bits under each kind: it counts and prints them."""
        def run():
            shadow = seen(name, words, "shadow", 0)
            if not any(line.startswith(name) for line in shadow):
                raise RuntimeError("the kernel said nothing: this test shows nothing")
            for other in (seen(name, words, "nested", 0), seen(name, words, "nested", ms)):
                for ours, theirs in zip(shadow + [""], other + [""]):
                    if ours != theirs:
                        raise Failure(f"under shadow paging: {ours}\notherwise: {theirs}")
        return run

    tests = (
        ("Debian works its memory while its kind of paging changes every 100 ms",
         switched("kinds", memory=128, options=("--every", "3000", "audit"))),
        ("the longest stretch of work is bounded while the kind of paging changes, with 256 MiB",
         switched("kinds-stretch", memory=256, end="stretch; ", has=(STRETCH,), options=("--icount",), limit=300,
                  ms=20)),
        *((f"{name} is right while its kind of paging changes every {ms} ms", kernel(name, words, ms, least, quirks))
          for name, words, ms, least, quirks in KERNELS if name != "toggles"),
        *((f"{name} sees the same under shadow paging, nested paging, and changes between them", same(name, words, ms))
          for name, words, ms, _, _ in KERNELS if name in ("toggles", "tasks")),
        *((f"30 domains of {kind} paging come and go, and leave nothing behind", comes_and_goes(kind, 30))
          for kind in COMES_AND_GOES),
        ("a domain is made again when it has ended, and refused while it is there or if no file has its name",
         batch(lambda: [bare("kind-create", "paging-basics")], status=1, limit=60,
               end="create nowhere; create paging-basics; destroy paging-basics; create paging-basics; domains; audit",
               has=("create: no file that was given at boot has the name nowhere",
                    "create: paging-basics is there: destroy it first",
                    r"create: paging-basics is domain 2; \d+ frames were free", r"^ +2 paging-basics +running", *CLEAN))),
        ("a kind of paging that a domain cannot have is refused",
         batch(lambda: [bare("kind-direct", "paging-basics")], status=1, limit=60, end="paging paging-basics direct",
               has=("paging-basics cannot have direct paging: only a PV guest can run on its own tables",))),
        ("nested paging is what a domain has whose file says nothing",
         batch(lambda: [bare("kind-default", "paging-basics", paging=None)], limit=60, end="domains; shadow; audit",
               has=("nested paging$", "paging: nested", r"^leaves of 2 MiB alive +[1-9]", "paging-basics: ok$"))),
        ("shadow paging is what it has where the processor has no other",
         batch(lambda: [bare("kind-no-npt", "paging-basics", paging=None)], limit=60, end="domains; audit",
               has=("nested paging: no", "paging: shadow", "paging-basics: ok$"),
               options=("--cpu", "EPYC,-monitor,check=off,-npt"))),
        ("nested paging where the processor has none is refused, with what to do",
         batch(lambda: [bare("kind-refused", "paging-basics", paging="nested")], status=1, limit=60, end="domains",
               has=('cannot be built: this processor has no nested paging: write paging="shadow"',),
               options=("--cpu", "EPYC,-monitor,check=off,-npt"))),
    )
    long_tests = (
        ("a minute's work of Debian's is right while its kind of paging changes every 100 ms",
         switched("kinds-minute", run="/work.sh work=60s", least=300, limit=500, options=("--every", "2000", "audit"))),
        ("a minute's work of Debian's is right with the least pool while its kind of paging changes every 100 ms",
         switched("kinds-least", run="/work.sh work=60s", memory=128, shadow_memory=1, least=300, limit=500,
                  options=("--every", "2000", "audit"))),
        ("the longest stretch of work is bounded while the kind of paging changes, with 8192 MiB",
         switched("kinds-stretch-8192", memory=8192, end="stretch; ", has=(STRETCH,), options=("--icount",), limit=500,
                  ms=20)),
        *((f"{name} is right from end to end while its kind of paging changes every {ms} ms",
           kernel(name, "", ms, least, quirks))
          for name, _, ms, least, quirks in KERNELS if name in ("toggles", "table-writes")),
        *((f"1000 domains of {kind} paging come and go, and leave nothing behind: part {part} of 4",
           comes_and_goes(kind, 250, part)) for kind in COMES_AND_GOES for part in (1, 2, 3, 4)),
        *((f"{name}: what it sees is the same under all kinds of paging", same(name, words, ms))
          for name, words, ms, _, _ in KERNELS if name not in ("toggles", "tasks")),
    )
    return tests, long_tests
