"""What is told of the touches that the guest test/guests/watched.c says it has made, by the rights that its frames had."""

RIGHTS = {"n": 0, "r": 1, "w": 2, "rw": 3, "x": 4, "rx": 5, "wx": 6, "rwx": 7, "rx2rw": 5, "n2rwx": 0}
READ, WRITE, FETCH = 1, 2, 4
ARENA, USER, TABLES, ROOTS = range(0x1000, 0x1018), 0x1018, [0x3000, 0x3001, 0x3002], [0x108, 0x109, 0x10a]


def forbidden(rights, frame, need, walk=False, every=False):
    """What is told of an access, and what becomes of the rights: with `every` they stay as they are."""
    was = rights.get(frame, "rwx")
    missing = need & ~RIGHTS[was]
    if not missing:
        return []
    if was == "rx2rw" and missing == WRITE:
        rights[frame] = "rw"
        return []
    if not every or was == "n2rwx":
        rights[frame] = "rwx"
    return [(frame, {READ: "walk", WRITE: "A or D set"}[need] if walk else
             {READ: "read", WRITE: "write", FETCH: "fetch"}[need])]


def watched_touch(rights, words, roots, tables, every):
    """The same for one line of the guest watched."""
    way, frame, need, marks = words[0], int(words[1], 16), {"read": READ, "write": WRITE, "fetch": FETCH}[words[2]], int(words[3], 16)
    path = [roots[0], *tables] if way == "window" else roots
    told = forbidden(rights, tables[2], WRITE) if marks & 0x80 else []
    for table in path:
        told += forbidden(rights, table, READ)  # the guest looks at its tables itself
    for i, table in enumerate(path):
        told += forbidden(rights, table, WRITE, True) if marks >> i & 1 else []
    return told + forbidden(rights, frame, need, every=every)
