"""System tests of PV guests: Debian's kernel and bare ones, beside domains under SVM and on a processor without it."""

from launch import WORKED, bare, batch, config, linux
from system_kind import changes

NO_SVM = ("--cpu", "qemu64,-svm")
INTEL = ("--cpu", "qemu64,-svm,vendor=GenuineIntel")
BARE = {
    "pv-start": "a PV guest finds what it is promised at its start, and nothing of the hypervisor's",
    "pv-traps": "exceptions, events and callbacks of a PV guest come with the frames that the ABI has",
    "pv-tables": "a PV guest changes its page tables as it may, and all else is refused without a trace",
    "pv-attacks": "attacks of a PV guest that have worked elsewhere are refused, and change nothing",
    "pv-calls": "memory of a PV guest is exchanged all or not at all, and what it may not ask is refused as the ABI says",
    "pv-descriptors": "a PV guest's descriptor tables are checked, and stay in ring 3",
}
# What a guest does, and what is said of it.
CRASHES = {
    "no-handler": "an exception at 10.*, and its kernel has no handler for it",
    "wild-stack": "its kernel's stack .* cannot be written",
    "hypervisor-stack": "its kernel's stack .* cannot be written",
    "m2p-stack": "its kernel's stack .* cannot be written",
    "read-only-stack": "its kernel's stack .* cannot be written",
    "no-root": "a return to a program that has no page tables",
    "empty-root": "its kernel's stack .* cannot be written",
    "no-frame": "the iret hypercall's frame at .* cannot be read",
    "two-traps": "a debug exception came inside of another, whose place is lost",
}
CLEAN = (r"^audit: 0 violations \(\d+ frames, 0 shadows, \d+ entries\)$", r"^audit: 0 violations .* after destruction$")
SHADOWED = (r"^audit: 0 violations \(\d+ frames, [1-9]\d* shadows, \d+ entries\)$",
            r"^audit: 0 violations .* after destruction$")
LEAK = "its tables name memory where nothing is present, which could leak"


def pv_switched(count, milliseconds, run="/work.sh", limit=300):
    """Debian works as a PV guest, and again and again it gets shadows of its tables and loses them."""
    return batch(lambda: [linux(f"pv-switched-{count}", type="pv", paging=None, run=run)], limit=limit,
                 has=(*WORKED, changes("linux", count)), end="paging; shadow; exits; audit",
                 options=("--every", str(milliseconds), "paging linux other" + ("; audit" if count > 20 else "")))


def stepping(guest, *rights):
    """Each instruction of a round is stepped, since rights that it needs are missing and stay so."""
    options = ["--at", "0.5", "paging stepped shadow"]
    for i, right in enumerate(rights, 1):
        options += ["--at", f"{i}.7", f"access stepped every; access stepped all {right}",
                    "--at", f"{i + 1}.5", "access stepped; access stepped off"]
    return batch(lambda: [guest(f"pv-stepped-{len(rights)}", "pv-stepped", name="stepped", extra=f"rounds={len(rights) + 1}")], limit=120,
                 has=("^stepped: ok$", *(rf"^access: stepped: the default is {right}, 1\d{{4}} accesses told$" for right in rights),
                      *SHADOWED), has_not=("FAILED",), options=("--icount", *options))


def makers():
    """Files of PV guests, and the test of some of them that make calls at random beside a Debian."""
    def guest(test, kernel, name=None, **keys):
        return config(test, name or kernel, f"build/test/guests/pv/{kernel}.elf",
                      **{"type": "pv", "memory": 32, "extra": "colour=green", **keys})

    def debian(test, name="linux"):
        return linux(test, name=name, type="pv", paging=None)

    def fuzzer(test, name, words):
        return guest(test, "pv-fuzz", name=name, extra=words)

    def fuzz(files, fuzzers, limit):
        return batch(files, limit=limit, has_not=("FAILED",), options=("--every", "1000", "audit"),
                     has=(*(rf"fuzzer{n}.*pv-fuzz: ok" for n in ([""] if fuzzers == 1 else range(1, fuzzers + 1))),
                          "linux.*memwork: ok", "linux powered off", r"^audit: 0 violations .* after destruction$"))

    return guest, debian, fuzzer, fuzz


def pv_long_tests():
    """
    A long boot under shadow paging, many switches, and hypercalls at random for minutes, in slices: from one
    guest, and from two that grant each other pages.
    """
    guest, debian, fuzzer, fuzz = makers()

    def pair(seed):
        test = f"pv-fuzz-pair-{seed}"
        return fuzz(lambda: [fuzzer(test, "fuzzer1", f"seed={seed} seconds=60 self=1 peer=2"),
                             fuzzer(test, "fuzzer2", f"seed={seed + 100} seconds=60 self=2 peer=1"), debian(test)], 2, 300)

    return (
        ("Debian's PV guest works under shadow paging from its first instruction",
         batch(lambda: [linux("pv-shadowed", type="pv", paging=None)], limit=500,
               has=(*WORKED, "linux has shadow paging, change 1"), options=("--at", "0", "paging linux shadow"),
               end="walk 0xffffffff82a03e98; pool; audit")),
        ("a PV guest does not notice that each of its instructions is stepped, whatever right is missing",
         stepping(guest, "r", "w", "rw", "x", "wx")),
        ("a PV guest is switched to shadow paging and back a hundred times in a minute's work",
         pv_switched(100, 400, run="/work.sh work=60s", limit=500)),
        ("a PV guest and one under shadow paging run side by side and both power off",
         batch(lambda: [debian("pv-pair"), linux("pv-pair", name="shadowed")], limit=240,
               has=(r"linux.*memwork: ok", r"shadowed.*memwork: ok", "linux powered off", "shadowed powered off",
                    r"audit: 0 violations"))),
        ("the audit finds nothing while a PV guest works",
         batch(lambda: [debian("pv-audit")], limit=240, has=WORKED, options=("--every", "500", "audit"))),
        ("five minutes of hypercalls at random from a PV guest harm neither us nor the guest beside it",
         fuzz(lambda: [fuzzer("pv-fuzz-5", "fuzzer", "seed=2 seconds=300"), debian("pv-fuzz-5")], 1, 540)),
        *((f"a minute of hypercalls at random from two PV guests harms neither us nor the guest beside them, seed {seed}",
           pair(seed)) for seed in range(3, 8)),
    )


def pv_tests():
    guest, debian, fuzzer, fuzz = makers()

    def one(name, options):
        test = "pv" if options else "pv-no-svm"
        return batch(lambda: [guest(test, name)], limit=60, has=(rf"^{name}: ok$", *CLEAN), has_not=("FAILED",),
                     options=options)

    def shadowed(name):
        return batch(lambda: [guest("pv-shadowed", name)], limit=60, end="shadow; audit",
                     has=(rf"^{name}: ok$", f"{name} has shadow paging, change 1", *SHADOWED), has_not=("FAILED",),
                     options=("--at", "0", f"paging {name} shadow"))

    def leaky(test, has, **keys):
        return batch(lambda: [guest(test, "pv-l1tf")], limit=60, has=("^pv-l1tf: ok$", *has), has_not=("FAILED",), **keys)

    def crash(how, said):
        return batch(lambda: [guest(f"pv-{how}", "pv-crash", extra=how)], status=1, limit=60,
                     has=(f"about to crash by {how}", f"pv-crash crashed: .*{said}"), has_not=("FAILED",))

    def pv_lender(test):
        return guest(test, "pv-grant", name="lender", extra="lend=2")

    def lender_of(paging):
        return lambda test: bare(test, "grants", name="lender", paging=paging)

    def grants(what, lender, user=None, options=(), has=()):
        """One guest lends pages, a guest beside it uses them (a PV guest if none is named), and each tries to get more
        from the other."""
        def pv_user(test):
            return guest(test, "pv-grant", name="user", extra="use=1" + " kind=1" * (lender is not pv_lender))
        return batch(lambda: [lender(f"grant-{what}"), (user or pv_user)(f"grant-{what}")], limit=60,
                     has=(r"user.*grant(-user)?: ok$", r"lender.*grants?: ok$", r"^audit: 0 violations .* after destruction$", *has),
                     has_not=("FAILED",), options=("--every", "300", "audit", *options))

    def user_of(paging):
        return lambda test: bare(test, "grant-user", name="user", paging=paging)

    return (
        ("Debian boots as a PV guest, works its memory and powers off",
         batch(lambda: [debian("pv")], limit=180, has=(*WORKED, "direct paging"),
               end="domains; vcpu; exits; walk 0xffffffff82a03e98; audit")),
        ("Debian boots as a PV guest where there is no SVM",
         batch(lambda: [debian("pv-no-svm")], limit=180, has=(*WORKED, "only PV guests can run"), options=NO_SVM)),
        ("a guest that needs SVM is refused where there is none, and a PV guest runs",
         batch(lambda: [bare("pv-refused", "paging-basics"), guest("pv-refused", "pv-start")], status=1, limit=60,
               has=('paging-basics cannot be built: this machine runs PV guests only: write type="pv"', "pv-start: ok"),
               has_not=("FAILED",), options=NO_SVM)),
        ("the longest calls of a PV guest make room for others on the way",
         batch(lambda: [guest("pv-long", "pv-long", extra="")], limit=120, end="stretch; audit", options=("--icount",),
               has=(r"^pv-long: ok$", r"longest stretch [a-z ]+: \d{1,5} ticks .*, in \d{3,} entries",
                    r"destruction took \d+ steps, the longest \d{1,5} ticks", *CLEAN), has_not=("FAILED",))),
        ("a PV guest asks nothing of the domain beside it",
         batch(lambda: [guest("pv-other", "pv-calls", extra="beside=2"), guest("pv-other", "pv-traps")], limit=60,
               has=("pv-calls: ok", "pv-traps: ok", "audit: 0 violations"), has_not=("FAILED",))),
        ("a PV guest's grants are used by another as they were given",
         grants("pv", pv_lender)),
        *((f"the grants of a guest under {paging} paging are used by a PV guest as they were given",
           grants(paging, lender_of(paging))) for paging in ("shadow", "nested")),
        ("a PV guest's grants are used by another as they were given, both on shadows of their tables",
         grants("shadowed", pv_lender, options=("--at", "0", "paging user shadow; paging lender shadow"),
                has=("paging: user has shadow paging, change 1",))),
        ("a PV guest's grants are used by another as they were given, while both log what they write",
         grants("logged", pv_lender, options=("--at", "0", "dirty user on; dirty lender on",
                                              "--every", "20", "dirty user clean; dirty lender clean"))),
        *((f"a PV guest's grants are used by a guest under {paging} paging as they were given",
           grants(f"pv-to-{paging}", pv_lender, user_of(paging))) for paging in ("shadow", "nested")),
        *((f"the grants of a guest under {lends} paging are used by one under {uses} paging as they were given",
           grants(f"{lends}-to-{uses}", lender_of(lends), user_of(uses)))
          for lends, uses in (("shadow", "nested"), ("nested", "shadow"))),
        ("grants are used as they were given while the kind of the user's paging changes every 3 ms",
         grants("changing", lender_of("shadow"), user_of("shadow"), ("--every", "3", "paging user other"))),
        *((what, one(name, ())) for name, what in BARE.items()),
        *((f"{what}, without SVM", one(name, NO_SVM)) for name, what in BARE.items()),
        ("SYSENTER of a PV guest comes with the frame that the ABI has, on a processor that has it",
         one("pv-traps", INTEL)),
        *((f"{what}, under shadow paging", shadowed(name)) for name, what in BARE.items()),
        ("a PV guest does not notice that each of its instructions is stepped", stepping(guest, "n")),
        ("a PV guest has entries that are not present and name memory",
         leaky("pv-l1tf", ("pv-l1tf, paging: direct, 0 changes", *CLEAN), end="paging; audit")),
        ("where such entries could leak, a PV guest gets shadow paging and keeps it",
         leaky("pv-l1tf-forced", (f"cannot have direct paging: {LEAK}", "pv-l1tf, paging: shadow, 1 change", *SHADOWED),
               status=1, end="paging; paging pv-l1tf direct; audit",
               options=("--append", "l1tf"))),
        ("a PV guest is switched to shadow paging and back while it works, and notices nothing",
         pv_switched(10, 300)),
        *((f"a PV guest that crashes by {how} is ended", crash(how, said)) for how, said in CRASHES.items()),
        ("half a minute of hypercalls at random from a PV guest harms neither us nor the guest beside it",
         fuzz(lambda: [fuzzer("pv-fuzz", "fuzzer", "seed=1 seconds=30"), debian("pv-fuzz")], 1, 240)),
        ("hypercalls at random from a PV guest make room for others on the way",
         batch(lambda: [fuzzer("pv-fuzz-long", "fuzzer", "seed=7 seconds=1")], limit=200, end="stretch; audit",
               options=("--icount",), has=("pv-fuzz: ok", r"longest stretch [a-z ]+: \d{1,5} ticks .*, in \d{5,} entries",
                                           *CLEAN), has_not=("FAILED",))),
        ("a PV guest that crashes leaves the one beside it alone",
         batch(lambda: [guest("pv-beside", "pv-crash", extra="no-handler"), guest("pv-beside", "pv-traps")], status=1,
               limit=60, has=("pv-crash crashed", "pv-traps: ok", "pv-traps powered off"), has_not=("FAILED",))),
    )
