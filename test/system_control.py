"""System tests of the control domain: Debian's generic kernel with Debian's Xen tools. `make control-image` makes what it needs."""

from launch import batch, config

KERNEL = "build/control/vmlinuz"
RAMDISK = "build/control/ramdisk.cpio"
PVH_EXTRA = "console=hvc0 nr_cpus=1 pci=off swiotlb=noforce initcall_blacklist=cmos_init,serial8250_init"
EXTRA = PVH_EXTRA.replace("nr_cpus=1", "nr_cpus=1 acpi=off")
UP = (r"^(?:control\| )?Done setting up Dom0$", r"^(?:control\| )?init: the tools' daemons ended with status 0$")
END = (r"^umbra: control powered off$", r"^audit: 0 violations .* after destruction$")


# What /tools.sh finds.
TOOLS = (*UP, r"virt_caps +: pv hvm hap shadow gnttab-v1$", r"xen_version +: 4\.17\.",
         r"Domain-0 +0 +512 +1 +r-----", r"Domain-0 +0 +0 +0 +r-- .* all / all$",
         r"umbra: key 'q' stands for domains$", r'name = "Domain-0"$')

GUESTS = "guests of each kind are created, paused, asked, saved, restored, shut down and destroyed by Debian's xl"


def control_domain(test, script, **keys):
    """The file of a control domain that runs a script."""
    return config(test, "control", KERNEL, **{
        "type": "pv", "control": 1, "ramdisk": RAMDISK, "memory": 512, "extra": f"{EXTRA} run={script}", **keys})


def control_tests(long=False):
    def guests(work, test="control-create", extra=EXTRA, **keys):
        """What /create.sh does, and what is said of it: of a guest of each kind, and of one more that works if that is wanted."""
        kinds = ("pv", "nested", "shadow")
        has = [rf"^{kind} +\d+ +16\d +1 +-[-b]p---" for kind in kinds]
        has += [rf"^{kind} +\d+ +0 +0 +[-r][-b]- " for kind in kinds]
        has += [rf"^hello from {kind}$" for kind in kinds]
        has += [r"^umbra: dom\d+ is suspended$", r"^hello from shadow\n(.*\n)*?hello from shadow$"]
        if work:
            has += [rf"^create: {kind}-works\n(.*\n)*?memwork: ok" for kind in kinds]
        run = "/create.sh" + (f" work={work}" if work else "")
        return batch(lambda: [control_domain(test + work, run, extra=f"{extra} run={run}", **keys)], limit=600,
                     options=("--every", "5000", "audit") if work else (),
                     has=(*UP, *has, r"^umbra: dom\d+ powered off$", r"^init: /create\.sh ended with status 0$", *END),
                     has_not=(r"^create: .* is still there", r"^create: .* does not show", r"^\(null\)"))

    if long:
        return (("guests of each kind work in their memory for Debian's xl, and come and go", guests("long")),
                *((f"guests of each kind are created by Debian's xl in a control domain under {paging} paging",
                   guests("", f"control-create-{paging}", PVH_EXTRA, type="pvh", paging=paging))
                  for paging in ("nested", "shadow")))
    return (
        (GUESTS, guests("")),
        ("a domain that is not the control domain is not taken for one",
         batch(lambda: [config("control-two", "first", KERNEL, type="pv", control=1, memory=128),
                        config("control-two", "second", KERNEL, type="pv", control=1, memory=128)], status=1, limit=60,
               end=None, options=("--at", "0", "quit"),
               has=("second cannot be built: there is a control domain already",))),
    )


def control_long_tests():
    def saved(kind, becomes, extra=EXTRA, moved=True, **keys):
        """What /save.sh does with a guest of this kind, and what is said of it; its last restoration gives it another."""
        test = "-".join(["control-save", kind, *keys.values()])
        last = 3 if moved else 2
        return batch(lambda: [control_domain(test, "/save.sh", extra=f"{extra} run=/save.sh work={kind}", **keys)],
                     limit=900, options=("--memory", "1400"),
                     has=(*UP, r"^umbra: dom1 is suspended$",
                          r"^umbra: dom2 is suspended$", r"^umbra: dom2 goes on$",
                          *((r"^Migration successful\.$",) if moved else ()), rf"^umbra: dom{last} powered off$", r"^memwork: ok",
                          rf"^save: from a file, and it is destroyed\n(.*\n)*? +{last + 1} dom{last + 1} +\w+ +vcpus: 1 .* paging: {becomes} ",
                          r"(?s)" + ".*".join(["save: it counts on"] * last),
                          r"^init: /save\.sh ended with status 0$", *END),
                     has_not=(r"^save: it does not", r"^save: it is still there", r"^xc: error", r"^libxl: error",
                              r"dom\d+ goes on[\s\S]*dom\d+ goes on"))

    return (
        ("a PV guest is saved, restored, moved while it runs, and goes on counting by Debian's xl", saved("pv", "direct")),
        *((f"a PV guest is saved and restored from a control domain under {paging} paging",
           saved("pv-resting", "direct", PVH_EXTRA, moved=False, type="pvh", paging=paging)) for paging in ("nested", "shadow")),
        *((f"a PVH guest under {kind} paging is saved, restored, moved while it runs, and goes on counting by Debian's xl",
           saved(kind, becomes)) for kind, becomes in (("nested", "shadow"), ("shadow", "nested"))),
    )
