"""System tests of PV guests: Debian's kernel and bare ones, beside domains under SVM and on a processor without it."""

NO_SVM = ("--cpu", "qemu64,-svm")
BARE = {
    "pv-start": "a PV guest finds what it is promised at its start, and nothing of the hypervisor's",
    "pv-traps": "exceptions, events and callbacks of a PV guest come with the frames that the ABI has",
    "pv-tables": "a PV guest changes its page tables as it may, and all else is refused without a trace",
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
}
CLEAN = (r"^audit: 0 violations \(\d+ frames, 0 shadows, \d+ entries\)$", r"^audit: 0 violations .* after destruction$")


def pv_tests(batch, config, linux, bare, worked):
    def guest(test, name, **keys):
        return config(test, name, f"build/test/guests/pv/{name}.elf",
                      **{"type": "pv", "memory": 32, "extra": "colour=green", **keys})

    def debian(test, name="linux"):
        return linux(test, name=name, type="pv", paging=None)

    def one(name, options):
        test = "pv" if options else "pv-no-svm"
        return batch(lambda: [guest(test, name)], limit=60, has=(rf"^{name}: ok$", *CLEAN), has_not=("FAILED",),
                     options=options)

    def crash(how, said):
        return batch(lambda: [guest(f"pv-{how}", "pv-crash", extra=how)], status=1, limit=60,
                     has=(f"about to crash by {how}", f"pv-crash crashed: .*{said}"), has_not=("FAILED",))

    return (
        ("Debian boots as a PV guest, works its memory and powers off",
         batch(lambda: [debian("pv")], limit=180, has=(*worked, "direct paging"),
               end="domains; vcpu; exits; walk 0xffffffff82a03e98; audit")),
        ("Debian boots as a PV guest where there is no SVM",
         batch(lambda: [debian("pv-no-svm")], limit=180, has=(*worked, "only PV guests can run"), options=NO_SVM)),
        ("a PV guest and one under shadow paging run side by side and both power off",
         batch(lambda: [debian("pv-pair"), linux("pv-pair", name="shadowed")], limit=240,
               has=(r"linux.*memwork: ok", r"shadowed.*memwork: ok", "linux powered off", "shadowed powered off",
                    r"audit: 0 violations"))),
        ("the audit finds nothing while a PV guest works",
         batch(lambda: [debian("pv-audit")], limit=240, has=worked, options=("--every", "500", "audit"))),
        ("a guest that needs SVM is refused where there is none, and a PV guest runs",
         batch(lambda: [bare("pv-refused", "paging-basics"), guest("pv-refused", "pv-start")], status=1, limit=60,
               has=('paging-basics cannot be built: this machine runs PV guests only: write type="pv"', "pv-start: ok"),
               has_not=("FAILED",), options=NO_SVM)),
        ("the longest calls of a PV guest make room for others on the way",
         batch(lambda: [guest("pv-long", "pv-long", extra="")], limit=120, end="stretch; audit", options=("--icount",),
               has=(r"^pv-long: ok$", r"longest stretch [a-z ]+: \d{1,5} ticks .*, in \d{3,} entries",
                    r"destruction took \d+ steps, the longest \d{1,5} ticks", *CLEAN), has_not=("FAILED",))),
        *((what, one(name, ())) for name, what in BARE.items()),
        *((f"{what}, without SVM", one(name, NO_SVM)) for name, what in BARE.items()),
        *((f"a PV guest that crashes by {how} is ended", crash(how, said)) for how, said in CRASHES.items()),
        ("half a minute of hypercalls at random from a PV guest harms neither us nor the guest beside it",
         batch(lambda: [guest("pv-fuzz", "pv-fuzz", extra="seed=1 seconds=30"), debian("pv-fuzz")], limit=240,
               has=("pv-fuzz: ok", "linux.*memwork: ok", "linux powered off", "audit: 0 violations"),
               has_not=("FAILED",), options=("--every", "1000", "audit"))),
        ("a PV guest that crashes leaves the one beside it alone",
         batch(lambda: [guest("pv-beside", "pv-crash", extra="no-handler"), guest("pv-beside", "pv-traps")], status=1,
               limit=60, has=("pv-crash crashed", "pv-traps: ok", "pv-traps powered off"), has_not=("FAILED",))),
    )
