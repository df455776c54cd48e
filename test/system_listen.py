"""System tests of listeners: Debian's xen-access in the control domain is asked about what other domains do."""

import re

from launch import bare, judge, umbra
from outcome import Failure
from system_control import PVH_EXTRA, control_domain
from watched import ARENA, FETCH, READ, ROOTS, TABLES, USER, WRITE, forbidden, watched_touch

WINDOW, PAGE = 1 << 39, 1 << 12
IMAGE = range(0x100, 0x120)  # frames of the HVM guest watched: its code, data and stack
PV_ARENA = 0x300  # of the PV guest's
RIGHTS = {"write": "rx", "exec": "rw"}
LINE = (r"PAGE ACCESS: ([r-])([w-])([x-]) for GFN ([0-9a-f]+) \(offset ([0-9a-f]+)\) gla ([0-9a-f]+) "
        r"\(valid: (.); fault in gpt: (.); fault with gla: (.)\) \(vcpu 0 \[(.)\]")
WHAT = {("r", "n"): "read", ("w", "n"): "write", ("x", "n"): "fetch", ("r", "y"): "walk", ("w", "y"): "A or D set"}


def told(output, dom):
    """What xen-access has printed: frame, what, linear address without the offset (None: it is not known), and whether the
    guest waited: it does not for what a hypercall is about to write, and may come to that page itself before the answer."""
    lines = []
    for r, w, x, gfn, _, gla, valid, in_walk, with_gla, waits in re.findall(rf"^(?:control\| )?watch {dom}: {LINE}", output, re.MULTILINE):
        what = WHAT.get(((r + w + x).replace("-", ""), in_walk)) if in_walk != with_gla else None
        lines.append((int(gfn, 16), what, int(gla, 16) // PAGE * PAGE if valid == "y" else None, waits == "p"))
    return lines


# Of the instructions that the guest watched makes once at first, unwatched, and then at the beginning of each round.
EVENTS = {
    "breakpoint": [r"Breakpoint: rip=[0-9a-f]{16}, gfn=10\d \(vcpu 0\)"] * 2,
    "debug": [r"Debug exception: rip=[0-9a-f]{16}, vcpu 0. Type: 3. Length: 0. Pending dbg 0x00004000"] * 2,
    "cpuid": [r"CPUID executed: rip=[0-9a-f]{16}, vcpu 0. Insn length: 2 0x1 0x0: EAX=.*"],
    "write_ctrlreg_cr4": [r"Control register written: rip=[0-9a-f]{16}, vcpu 0: reg=CR4, old_value=0{13}0a0, new_value=0{13}4a0",
                          r"Control register written: rip=[0-9a-f]{16}, vcpu 0: reg=CR4, old_value=0{13}4a0, new_value=0{13}0a0"],
}


# The same of pv-watched, which makes them in each round.
PV_EVENTS = {
    "breakpoint": [r"Breakpoint: rip=[0-9a-f]{16}, gfn=[0-9a-f]+ \(vcpu 0\)"] * 2,
    "debug": [r"Debug exception: rip=[0-9a-f]{16}, vcpu 0. Type: 3. Length: 0. Pending dbg 0x00004000"],
    "cpuid": [r"CPUID executed: rip=[0-9a-f]{16}, vcpu 0. Insn length: 7 0x40000000 0x0: EAX=.*"],
    "write_ctrlreg_cr4": [r"Control register written: rip=[0-9a-f]{16}, vcpu 0: reg=CR4, old_value=0{13}620, new_value=0{11}10620",
                          r"Control register written: rip=[0-9a-f]{16}, vcpu 0: reg=CR4, old_value=0{11}10620, new_value=0{13}620"],
}


def compare_events(output, dom, events, rounds):
    """Each of these events was told, in their order, and nothing else. Else what is wrong."""
    lines = re.findall(rf"^(?:control\| )?watch {dom}: ((?:Breakp|Debug e|CPUID e|Control r|PAGE|Single|UNKN).*)$", output, re.MULTILINE)
    wanted = events * rounds
    if len(lines) != len(wanted) or not all(re.fullmatch(pattern, line) for pattern, line in zip(wanted, lines)):
        return f"{lines} were told, and not {wanted}"
    return None


def said(output, name):
    """All that a guest has printed, without ends of lines: the console ends one early if nothing comes for a while."""
    return "".join(re.findall(rf"^{name}\| (.*)$", output, re.MULTILINE))


def touches_of(text, round):
    """What a guest says of a round, as (way, frame, access, marks) in words."""
    found = re.findall(rf"watched: round {round:#x} ?(direct|window) ?(0x[0-9a-f]+) ?(read|write|fetch) ?(0x[0-9a-f]+)", text)
    return [" ".join(words) for words in found]


class Hvm:
    """The guest test/guests/watched.c: which frames are touched, and what of its lines is told, and at which addresses."""
    program = staticmethod(lambda frame: frame in IMAGE)

    def __init__(self, output, name):
        self.known = [*ARENA, USER, *TABLES, *ROOTS]

    def before(self, rights):
        return forbidden(rights, USER, WRITE) + forbidden(rights, USER, FETCH)

    def touch(self, rights, text):
        return watched_touch(rights, text.split(), ROOTS, TABLES, False)

    def places(self, text, frame, what):
        if frame == USER:
            return USER * PAGE, WINDOW + (USER - ARENA[0]) * PAGE
        if what == "write" and frame in TABLES:  # by the guest itself, which sees it there
            return (frame * PAGE,)
        way, touched = text.split()[0], int(text.split()[1], 16)
        return (WINDOW + (touched - ARENA[0]) * PAGE if way == "window" else touched * PAGE,)


class Pv:
    """The same of test/guests/pv/pv-watched.c, which says where its frames are: by the machine's numbers."""
    program = staticmethod(lambda frame: True)

    def __init__(self, output, name):
        places = re.search(r"watched: frames([ 0-9a-fx]+)tables([ 0-9a-fx]+)watched:", said(output, name)).groups()
        self.frames, self.tables = ([int(word, 16) for word in re.findall("0x[0-9a-f]+", words)] for words in places)
        self.known = self.frames + self.tables

    def before(self, rights):
        return []

    def touch(self, rights, text):
        _, frame, need, marks = text.split()
        marked = [table for i, table in enumerate(self.tables) if int(marks, 16) >> i & 1]
        walk = [line for table in marked for line in forbidden(rights, table, WRITE, True)]
        return walk + forbidden(rights, int(frame, 16), {"read": READ, "write": WRITE, "fetch": FETCH}[need])

    def places(self, text, frame, what):
        i = self.frames.index(int(text.split()[1], 16))
        return (WINDOW + i * PAGE if text.startswith("window") else (PV_ARENA + i) * PAGE,)


def compare(output, dom, guest, how, rounds, touches, linear):
    """What the guest says it has touched, and what was told: the same, in the same order. Else what is wrong."""
    name = f"guest{dom}"
    rights = {frame: RIGHTS[how] for frame in guest.known}
    lines = told(output, dom)
    rest = [frame for frame, _, _, waited in lines if frame not in guest.known and waited]
    if not rest or len(set(rest)) != len(rest) or not all(guest.program(frame) for frame in rest):
        return f"frames of the guest's program: {[hex(frame) for frame in rest]}"
    lines = [line for line in lines if line[0] in guest.known]
    for i in range(rounds):
        groups = [("", guest.before(rights))]
        groups += [(text, guest.touch(rights, text)) for text in touches_of(said(output, name), i)]
        if len(groups) != touches + 1:
            return f"round {i}: {len(groups)} touches"
        for text, wanted in groups:
            got, lines = lines[:len(wanted)], lines[len(wanted):]
            if sorted(line[:2] for line in got) != sorted(wanted):
                return f"round {i}, {text}: {wanted} should be told, not {got}"
            for frame, what, gla, waited in got:
                if not waited or (gla is not None) != linear or linear and gla not in guest.places(text, frame, what):
                    return f"round {i}, {text}: {what} of {frame:#x} is told at {gla}, {waited}"
    return f"{lines} were told as well" if lines else None


def read_rules():
    """Rights and actions by frame, of the rules that umbra-access is given for an HVM guest."""
    rights, actions = {}, {}
    with open("examples/control-access.map", encoding="ascii") as file:
        symbol = ARENA[0] + (int(re.search(r"(\w+) D page_in_window", file.read())[1], 16) - WINDOW) // PAGE
    with open("examples/control-access.rules", encoding="ascii") as file:
        for words in (line.split("#")[0].split() for line in file):
            if words:
                words[0] = re.sub("page_in_window", lambda _: hex(symbol), words[0])
                first, sign, second = re.fullmatch(r"(\w+)(?:([-+])(\w+))?", words[0]).groups()
                first, second = int(first, 0), int(second or "1", 0)
                for frame in range(first, second + 1 if sign == "-" else first + second):
                    rights[frame], actions[frame] = words[1], (words[2:] or ["log"])[0]
    return rights, actions


def read_pv_rules(guest):
    """The same for a PV guest, whose frames have names."""
    with open("examples/control-access-pv.rules", encoding="ascii") as file:
        rules = [line.split() for line in file if line.startswith("page_")]
    frames = [guest.frames[int(name.removeprefix("page_"))] for name, *_ in rules]
    return dict(zip(frames, [right for _, right, *_ in rules])), dict(zip(frames, [(action or ["log"])[0] for _, _, *action in rules]))


def compare_rules(output, dom, guest, rounds, touches, linear):
    """What the guest says it has touched, and what umbra-access has printed and counted by those rules."""
    rights, actions = read_pv_rules(guest) if isinstance(guest, Pv) else read_rules()
    touched = [text for i in range(rounds) for text in touches_of(said(output, f"guest{dom}"), i)]
    lines = [(int(gfn, 16), what, int(gla, 16) // PAGE * PAGE if gla else None) for what, gfn, gla in re.findall(
        rf"^(?:control\| )?watch {dom}: [\d.]+ vcpu 0 (\w+) gfn (\w+) offset \w+(?: linear (\w+))? rip 0x[1-9a-f]\w*(?: \S+)?$", output, re.MULTILINE)]
    counts, events = {}, 0
    if len(touched) != rounds * touches:
        return f"the guest says {len(touched)} touches"
    for text in touched:
        frame, need = int(text.split()[1], 16), {"read": READ, "write": WRITE, "fetch": FETCH}[text.split()[2]]
        for _, what in forbidden(rights, frame, need, every=actions[frame] in ("log", "count")):
            events += 1
            counts.setdefault(frame, {"read": 0, "write": 0, "fetch": 0, "walk": 0})[what] += 1
            if actions[frame] == "count":
                continue
            if not lines or lines[0][:2] != (frame, what) or (lines[0][2] is None) == linear or \
                    linear and lines[0][2] not in guest.places(text, frame, what):
                return f"{text}: {what} of {frame:#x} should be told, not {lines[:1]}"
            lines.pop(0)
    if lines:
        return f"{lines} were told as well"
    summary = re.findall(rf"^(?:control\| )?watch {dom}: +(0x\w+) +(\d+) +(\d+) +(\d+) +(\d+)  0x\w+(?: \S+)?$", output, re.MULTILINE)
    summary = {int(gfn, 16): dict(zip(("read", "write", "fetch", "walk"), map(int, numbers))) for gfn, *numbers in summary}
    if summary != counts or not re.search(rf"watch {dom}: summary: {events} events on {len(counts)} pages in ", output):
        return f"the summary is {summary}, and not {counts}"
    return None


def listen_tests():
    def one(test, dom, paging, rounds, touches):
        if paging == "pv":
            return bare(test, "pv/pv-watched", name=f"guest{dom}", type="pv", paging=None,
                        extra=f"rounds={rounds} touches={touches} seed={dom}")
        return bare(test, "watched", name=f"guest{dom}", paging=paging, extra=f"{rounds} {touches} {dom} 1")

    def watched(*guests, listener=None):
        """Guests (how they are watched, their paging, rounds, touches), and all of them under one control domain: a PV domain, or
        one under a kind of paging."""
        def run():
            test = f"listen-{listener or 'pv'}-" + "-".join(f"{how}-{paging}" for how, paging, _, _ in guests)
            watch = ",".join(f"{how}:{dom}" for dom, (how, *_) in enumerate(guests, 1))
            script = f"/watch.sh watch={watch}"
            kind = {"type": "pvh", "paging": listener, "extra": f"{PVH_EXTRA} run={script}"} if listener else {}
            files = [control_domain(test, script, memory=256, **kind)]
            files += [one(test, dom, paging, rounds, touches) for dom, (_, paging, rounds, touches) in enumerate(guests, 1)]
            status, output = umbra(["run", "--batch", "--limit", "480", "--at-end", "audit", *files], 480)
            judge(status, output, 0, (r"^(control\| )?init: /watch\.sh ended with status 0$",), ("FAILED", r"audit: [1-9]\d* violations"))
            for dom, (how, paging, rounds, touches) in enumerate(guests, 1):
                if not re.search(rf"^(control\| )?watch {dom}: xen-access {how} ended with status 0$", output, re.MULTILINE):
                    raise Failure(f"xen-access {how} of domain {dom} has not ended well\n{output[-6000:]}")
                if "watched: ok" not in said(output, f"guest{dom}"):
                    raise Failure(f"guest{dom} has not ended well\n{output[-6000:]}")
                guest = (Pv if paging == "pv" else Hvm)(output, f"guest{dom}")
                if how.startswith("rules"):
                    wrong = compare_rules(output, dom, guest, rounds, touches, paging != "nested")
                elif how in EVENTS:
                    wrong = compare_events(output, dom, (PV_EVENTS if paging == "pv" else EVENTS)[how], rounds)
                else:
                    wrong = compare(output, dom, guest, how, rounds, touches, paging != "nested")
                if wrong:
                    raise Failure(f"domain {dom}, {how}, {paging}: {wrong}\n{output[-12000:]}")
        return run

    return (
        ("Debian's xen-access tells all that guests write or execute, and nothing else, under all kinds of paging, and umbra-access by its rules",
         watched(("write", "shadow", 2, 40), ("exec", "shadow", 2, 40), ("exec", "nested", 2, 40), ("write", "nested", 1, 12),
                 ("write", "pv", 2, 40), ("exec", "pv", 2, 40), ("rules", "shadow", 2, 100), ("rules", "nested", 2, 100), ("rules-pv", "pv", 2, 100))),
        ("Debian's xen-access tells breakpoints, debug exceptions, CPUID and writes to CR4, which the guest does not notice",
         watched(("breakpoint", "shadow", 2, 1), ("breakpoint", "nested", 2, 1), ("debug", "shadow", 2, 1), ("debug", "nested", 2, 1),
                 ("breakpoint", "pv", 2, 1), ("debug", "pv", 2, 1), ("cpuid", "pv", 2, 1), ("write_ctrlreg_cr4", "pv", 2, 1),
                 ("cpuid", "nested", 2, 1), ("write_ctrlreg_cr4", "shadow", 2, 1), ("write_ctrlreg_cr4", "nested", 2, 1))),
    ), (
        ("Debian's xen-access tells all that guests do at length",
         watched(("write", "shadow", 12, 400), ("exec", "shadow", 12, 400), ("exec", "nested", 12, 400), ("write", "nested", 3, 30),
                 ("write", "pv", 12, 400), ("exec", "pv", 12, 400))),
        ("guests of all kinds are listened to from a control domain under nested paging",
         watched(("write", "pv", 2, 40), ("rules-pv", "pv", 2, 100), ("exec", "shadow", 2, 40), ("exec", "nested", 2, 40), listener="nested")),
        ("umbra-access tells and counts by its rules what guests access at length",
         watched(("rules", "shadow", 12, 400), ("rules", "nested", 12, 400), ("rules-pv", "pv", 12, 400))),
    )
