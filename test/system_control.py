"""System tests of the control domain: Debian's generic kernel with Debian's Xen tools. `make control-image` makes what it needs."""

KERNEL = "build/control/vmlinuz"
RAMDISK = "build/control/ramdisk.cpio"
PVH_EXTRA = "console=hvc0 nr_cpus=1 pci=off swiotlb=noforce initcall_blacklist=cmos_init,serial8250_init"
EXTRA = PVH_EXTRA.replace("nr_cpus=1", "nr_cpus=1 acpi=off")
UP = (r"^Done setting up Dom0$", r"^init: the tools' daemons ended with status 0$")
END = (r"^umbra: control powered off$", r"^audit: 0 violations .* after destruction$")


CREATED = (*UP, r"^create: one that works its memory and ends$", r"^memwork: ok", r"^umbra: dom1 powered off$",
           r"^guest +2 +160 +1 +-[-b]p---", r"^guest +2 +0 +0 +[-r][-b]- ", r"^hello$",
           r"^init: /create\.sh ended with status 0$", *END)


def makers(batch, config):
    def control(test, script, **keys):
        return config(test, "control", KERNEL, **{"type": "pv", "control": 1, "ramdisk": RAMDISK, "memory": 512,
                                                  "extra": f"{EXTRA} run={script}", **keys})

    def create(test, **keys):
        return batch(lambda: [control(test, "/create.sh", **keys)], limit=400, has=CREATED,
                     has_not=(r"^create: .* is still there", r"^create: .* does not show"))

    return control, create


def long_control_tests(batch, config):
    """The control domain as a PVH guest, whose map of ours has the memory of those that it builds."""
    _, create = makers(batch, config)
    return tuple((f"PV guests are created by Debian's xl in a control domain under {paging} paging",
                  create(f"control-create-{paging}", type="pvh", paging=paging, extra=f"{PVH_EXTRA} run=/create.sh"))
                 for paging in ("nested", "shadow"))


def control_tests(batch, config):
    control, create = makers(batch, config)

    return (
        ("Debian's Xen tools find themselves in the control domain",
         batch(lambda: [control("control-tools", "/tools.sh")], limit=180,
               has=(*UP, r"^virt_caps +: pv hvm hap shadow gnttab-v1$", r"^xen_version +: 4\.17\.",
                    r"^Domain-0 +0 +512 +1 +r-----", r"^Domain-0 +0 +0 +0 +r-- .* all / all$",
                    r"^umbra: key 'q' stands for domains$", r'^name = "Domain-0"$',
                    r"^init: /tools\.sh ended with status 0$", *END))),
        ("PV guests are created, paused, asked and destroyed by Debian's xl",
         create("control-create-pv")),
        ("a domain that is not the control domain is not taken for one",
         batch(lambda: [config("control-two", "first", KERNEL, type="pv", control=1, memory=128),
                        config("control-two", "second", KERNEL, type="pv", control=1, memory=128)], status=1, limit=60,
               end=None, options=("--at", "0", "quit"),
               has=("second cannot be built: there is a control domain already",))),
    )
