"""System tests of listeners: Debian's xen-access in the control domain is asked about what other domains do."""

import re

from watched import ARENA, READ, ROOTS, TABLES, USER, WRITE, FETCH, forbidden, watched_touch

WINDOW = 1 << 39
IMAGE = range(0x100, 0x120)  # frames of the guest watched: its code, data and stack
RIGHTS = {"write": "rx", "exec": "rw"}
LINE = (r"PAGE ACCESS: ([r-])([w-])([x-]) for GFN ([0-9a-f]+) \(offset ([0-9a-f]+)\) gla ([0-9a-f]+) "
        r"\(valid: (.); fault in gpt: (.); fault with gla: (.)\) \(vcpu 0 \[(.)\]")
WHAT = {("r", "n"): "read", ("w", "n"): "write", ("x", "n"): "fetch", ("r", "y"): "walk", ("w", "y"): "A or D set"}


def places(touch, frame, what):
    """Linear addresses at which a touch may be told of: what it touches itself, or a table as the guest's kernel sees it."""
    if not touch or what == "write" and frame in TABLES:
        return {frame << 12}
    way, touched = touch.split()[0], int(touch.split()[1], 16)
    return {WINDOW + (touched - ARENA[0] << 12) if way == "window" else touched << 12}


def told(output, dom):
    """What xen-access has printed: frame, what, linear address without the offset (None: it is not known). What a hypercall was
    about to write is told by itself, and not waited for: the guest may come before the answer, so that is not one of them."""
    lines = []
    for r, w, x, gfn, _, gla, valid, in_walk, with_gla, waits in re.findall(rf"^(?:control\| )?watch {dom}: {LINE}", output, re.MULTILINE):
        letters = (r + w + x).replace("-", "")
        if (letters, in_walk) not in WHAT or in_walk == with_gla:
            return [f"{r}{w}{x} in walk: {in_walk}"]
        if waits != "p" and int(gfn, 16) in IMAGE:
            continue
        lines.append((int(gfn, 16), WHAT[letters, in_walk], int(gla, 16) & ~0xfff if valid == "y" else None))
    return lines


def compare(output, dom, name, how, rounds, touches, linear):
    """What the guest says it has touched, and what was told: the same, in the same order. Raises with a text."""
    known = [*ARENA, USER, *TABLES, *ROOTS]
    rights = {frame: RIGHTS[how] for frame in known}
    lines = told(output, dom)
    rest = [line[0] for line in lines if line[0] not in known]
    if not rest or len(set(rest)) != len(rest) or not set(rest) <= set(IMAGE):
        return f"frames of the guest's program: {[hex(frame) for frame in rest]}"
    lines = [line for line in lines if line[0] in known]
    for i in range(rounds):
        user = forbidden(rights, USER, WRITE) + forbidden(rights, USER, FETCH)
        groups = [("", user)] + [(text, watched_touch(rights, text.split(), ROOTS, TABLES, False))
                                 for text in re.findall(rf"^(?:{name}\| )?watched: round {i:#x} (.*)$", output, re.MULTILINE)]
        if len(groups) != touches + 1:
            return f"round {i}: {len(groups)} touches"
        for text, wanted in groups:
            got, lines = lines[:len(wanted)], lines[len(wanted):]
            if sorted(line[:2] for line in got) != sorted(wanted):
                return f"round {i}, {text}: {wanted} should be told, not {got}"
            for frame, what, gla in got:
                if (gla is not None) != linear or linear and frame != USER and gla not in places(text, frame, what):
                    return f"round {i}, {text}: {what} of {frame:#x} is told at {gla}"
    return f"{lines} were told as well" if lines else None


def listen_tests(umbra, judge, failure, bare, control):
    def watched(*guests):
        """Guests (how they are watched, their paging, rounds, touches), and all of them under one control domain."""
        def run():
            test = "listen-" + "-".join(f"{how}-{paging}" for how, paging, _, _ in guests)
            watch = ",".join(f"{how}:{dom}" for dom, (how, *_) in enumerate(guests, 1))
            files = [control(test, f"/watch.sh watch={watch}", memory=256)]
            for dom, (how, paging, rounds, touches) in enumerate(guests, 1):
                files.append(bare(test, "watched", name=f"guest{dom}", paging=paging, extra=f"{rounds} {touches} {dom} 1"))
            status, output = umbra(["run", "--batch", "--limit", "240", "--at-end", "audit", *files], 240)
            judge(status, output, 0, (r"^init: /watch\.sh ended with status 0$|^control\| init: /watch\.sh ended with status 0$",),
                  ("FAILED", r"audit: [1-9]\d* violations"))
            for dom, (how, paging, rounds, touches) in enumerate(guests, 1):
                if not re.search(rf"^(control\| )?watch {dom}: xen-access {how} ended with status 0$", output, re.MULTILINE):
                    raise failure(f"xen-access {how} of domain {dom} has not ended well\n{output[-6000:]}")
                wrong = compare(output, dom, f"guest{dom}", how, rounds, touches, paging != "nested")
                if wrong:
                    raise failure(f"domain {dom}, {how}, {paging}: {wrong}\n{output[-12000:]}")
        return run

    return (
        ("Debian's xen-access tells all that guests write or execute, and nothing else, under shadow and nested paging",
         watched(("write", "shadow", 2, 40), ("exec", "shadow", 2, 40), ("exec", "nested", 2, 40), ("write", "nested", 1, 12))),
    ), (
        ("Debian's xen-access tells all that a guest does, at length",
         watched(("write", "shadow", 12, 400), ("exec", "shadow", 12, 400), ("exec", "nested", 12, 400), ("write", "nested", 3, 30))),
    )
