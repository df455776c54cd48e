"""System tests of the control domain: Debian's generic kernel with Debian's Xen tools. `make control-image` makes what it needs."""

KERNEL = "build/control/vmlinuz"
RAMDISK = "build/control/ramdisk.cpio"
EXTRA = "console=hvc0 nr_cpus=1 acpi=off pci=off swiotlb=noforce initcall_blacklist=cmos_init,serial8250_init"
UP = (r"^Done setting up Dom0$", r"^init: the tools' daemons ended with status 0$")
END = (r"^umbra: control powered off$", r"^audit: 0 violations .* after destruction$")


def control_tests(batch, config):
    def control(test, script, **keys):
        return config(test, "control", KERNEL, **{"type": "pv", "control": 1, "ramdisk": RAMDISK, "memory": 512,
                                                  "extra": f"{EXTRA} run={script}", **keys})

    return (
        ("Debian's Xen tools find themselves in the control domain",
         batch(lambda: [control("control-tools", "/tools.sh")], limit=180,
               has=(*UP, r"^virt_caps +: pv hvm hap shadow gnttab-v1$", r"^xen_version +: 4\.17\.",
                    r"^Domain-0 +0 +512 +1 +r-----", r"^Domain-0 +0 +0 +0 +r-- .* all / all$",
                    r"^umbra: key 'q' stands for domains$", r'^name = "Domain-0"$',
                    r"^init: /tools\.sh ended with status 0$", *END))),
        ("PV guests are created, paused, asked and destroyed by Debian's xl",
         batch(lambda: [control("control-create-pv", "/create.sh")], limit=300,
               has=(*UP, r"^create: one that works its memory and ends$", r"^memwork: ok", r"^umbra: dom1 powered off$",
                    r"^guest +2 +160 +1 +-[-b]p---", r"^guest +2 +0 +0 +[-r][-b]- ", r"^hello$",
                    r"^init: /create\.sh ended with status 0$", *END),
               has_not=(r"^create: .* is still there", r"^create: .* does not show"))),
        ("a domain that is not the control domain is not taken for one",
         batch(lambda: [config("control-two", "first", KERNEL, type="pv", control=1, memory=128),
                        config("control-two", "second", KERNEL, type="pv", control=1, memory=128)], status=1, limit=60,
               end=None, options=("--at", "0", "quit"),
               has=("second cannot be built: there is a control domain already",))),
    )
