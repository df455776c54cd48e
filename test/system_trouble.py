"""System tests of listeners that go at the wrong time, and of domains that are destroyed while others use them: what
test/control/trouble.sh does in the control domain, by Debian's xen-access, umbra-access and test/control/provoke.c."""

from launch import bare, batch, linux
from system_control import TOOLS, control_domain

CRASHED = r"^umbra: {name} crashed: access to 0x[0-9a-f]+ is forbidden, and the listener that it needs is not there"
LOADED = (r"^(\S+\| )?memwork: ok \(\d+ rounds\)$", r"/work\.sh ended with status 0$")
KILLED = ("xen-access", "umbra-access")
MIDDLE = ["unbound", *(f"{how} {count}" for how in ("asked", "answered") for count in (1, 2, 7))]


def said(dom, how):
    """What the script says of a domain, as patterns."""
    def line(text):
        return rf"^(control\| )?trouble: [\d.]+ {text}$"

    ended = rf"of domain {dom} ended with status"
    has = [line(rf"{name} {ended} 137") for name in KILLED] if how in ("killed", "brief", "ends") else []
    if how == "killed":
        has += [line(rf"provoke of domain {dom}, {what}, ended with status 137, then umbra-access with 0")
                for what in MIDDLE]
        has += [rf"(?:umbra-access {ended} 0\n(?:.*\n)*?.*){{3}}",
                line(rf"umbra-access of domain {dom} that pauses it ended with status 0"), line(rf"domain {dom} is --p---")]
    if how in ("killed", "brief"):
        has += [line(rf"xl destroy {ended} 0"), rf"trouble: [\d.]+ domain {dom} is --p--d while it is mapped\n"
                rf"(?:.*\n)*?.*provoke {ended} 137\n(?:.*\n)*?.*domain {dom} is --p--d while it is mapped\n"
                rf"(?:.*\n)*?.*the frames of domain {dom} are mapped no more\n(?:.*\n)*?.*domain {dom} is gone, [1-9]\d{{3}}"]
    if how == "needed":
        has += [line(rf"xen-access {ended} 137"), line(rf"domain {dom} is ---sc-"), CRASHED.format(name=f"guest{dom}")]
    if how == "dies":
        has += [line(rf"umbra-access of domain {dom} that was destroyed ended with status 0")]
    return has


# What is said of xl, by the words with which the script is asked for it.
OWN = {
    "tools": TOOLS,
    "vcpus": (r"trouble: [\d.]+ xl create with 2 vCPUs ended with status [1-9]\n(?:.*\n)*?.*domain creation fail: Operation not supported$",
              r"trouble: [\d.]+ xl create with 8 vCPUs ended with status [1-9]\n(?:.*\n)*?.*domain creation fail: Operation not supported$",
              r"^control\| umbra: a domain with 2 vCPUs is refused: write vcpus=1$",
              r"^control\| umbra: a domain with 8 vCPUs is refused: write vcpus=1$"),
    "pool": (r"provoke: the pool of domain \d+ has 24 MiB$",),
}
POOL = r"provoke: the pool of domain 1 has 3 MiB$"


def trouble_tests():
    def trouble(guests, limit, own=(), has=()):
        """These guests, (how, paging, what Debian is to do there or None), go through it one after the other."""
        work = ",".join([f"{word}:0" for word in own] + [f"{how}:{dom}" for dom, (how, _, _) in enumerate(guests, 1)])
        test = f"trouble-{guests[0][0]}-{guests[0][1]}-{len(guests)}"
        hows = {how for how, _, _ in guests}

        def one(dom, paging, work):
            kind = {"type": "pv", "paging": None} if paging == "pv" else {"paging": paging}
            if work:
                return linux(test, name=f"guest{dom}", run=f"/work.sh work={work}", memory=96, **kind)
            return bare(test, "pv/pv-restless" if paging == "pv" else "restless", name=f"guest{dom}", memory=32, **kind)

        def files():
            return [control_domain(test, f"/trouble.sh work={work}"),
                    *(one(dom, paging, work) for dom, (_, paging, work) in enumerate(guests, 1))]

        return batch(files, status=1 if "needed" in hows else 0, limit=limit,
                     has=(*has, *(pattern for word in own for pattern in OWN[word]), r"^(control\| )?init: /trouble\.sh ended with status 0$",
                          r"^audit: 0 violations .* after destruction$",
                          *(pattern for dom, (how, _, _) in enumerate(guests, 1) for pattern in said(dom, how)),
                          *(LOADED if "ends" in hows else ())),
                     has_not=("FAILED", *(() if "needed" in hows else (r"guest\d+ crashed",))))

    kinds = ("shadow", "nested", "pv")
    return (
        ("Debian's Xen tools find themselves; a listener is killed, and a domain destroyed with its ring full and its pages mapped",
         trouble([("brief", "shadow", None)], 240, own=("tools", "vcpus"))),
    ), (
        *((f"listeners go at any time, and a domain is destroyed while it is used, under {paging} paging",
           trouble([("killed", paging, None)], 500, own=("pool",), has=(POOL,) if paging != "pv" else ())) for paging in kinds),
        ("domains die while they are watched, or since they need a listener that was killed",
         trouble([(how, paging, None) for how in ("needed", "dies") for paging in kinds], 400)),
        *((f"Debian works its memory under {paging} paging while its listeners are killed",
           trouble([("ends", paging, "20s")], 500)) for paging in kinds),
    )
