#!/usr/bin/env python3
"""Prints the symbols of a Linux kernel as its System.map has them: kallsyms.py VMLINUZ > System.map

A kernel that is built with its symbols (CONFIG_KALLSYMS) has them packed in its data: offsets, the base that they are
from, how many names, the names as strings of tokens, where each 256th name begins (markers); then the tokens and where
each begins. Nothing says where these are: the tokens are found by the digits among them, the rest by what it must be.
That is the order of Linux 6.1. Addresses are those of a kernel that is not moved (nokaslr).
"""

import struct
import sys

sys.dont_write_bytecode = True
import bzimage  # noqa: E402

DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
EVERY = 256  # names of one marker
KERNEL = 0xffffffff80000000


class Missing(Exception):
    """What is not found, as a sentence that goes on from the file's name."""


def aligned(place):
    return (place + 7) & ~7


def tokens_at(data):
    """Where the tokens begin, and the 256 of them: an index behind them says the same."""
    found = data.find(DIGITS)
    while found >= 0:
        start = found
        for _ in range(ord("0")):
            start = data.rfind(b"\0", 0, start - 1) + 1
        tokens = data[start:start + 65536].split(b"\0", 256)[:256]
        places = [sum(len(token) + 1 for token in tokens[:i]) for i in range(256)]
        index = aligned(start + places[255] + len(tokens[255]) + 1)
        if struct.pack("<256H", *(place & 0xffff for place in places)) == data[index:index + 512]:
            return start, tokens
        found = data.find(DIGITS, found + 1)
    raise Missing("has no table of tokens: a kernel without symbols, or one of another form")


def names_from(data, start, count, tokens):
    """So many names, and where each begins; behind the last, where that ends."""
    names, places = [], [start]
    for _ in range(count):
        length = data[start]
        start += 1
        if length & 0x80:  # two bytes
            length = length & 0x7f | data[start] << 7
            start += 1
        names.append(b"".join(tokens[token] for token in data[start:start + length]).decode(errors="replace"))
        start += length
        places.append(start)
    return names, places


def counts_before(data, end):
    """Places that may have the number of names: after the base, which is a page of the kernel's half."""
    words = struct.unpack_from(f"<{end // 8}Q", data)
    for i in range(len(words) - 1, 0, -1):
        if words[i - 1] >= KERNEL and words[i - 1] % 4096 == 0 and 0 < words[i] < 1 << 24:
            yield i * 8, words[i - 1], words[i]


def symbols(data):
    """(address, type, name) of each."""
    end, tokens = tokens_at(data)
    for place, base, count in counts_before(data, end):
        try:
            names, places = names_from(data, place + 8, count, tokens)
        except IndexError:
            continue
        markers = [name - places[0] for name in places[:-1:EVERY]]
        if data.startswith(struct.pack(f"<{len(markers)}I", *markers), aligned(places[-1])):
            break
    else:
        raise Missing("has no names that its markers agree with")
    offsets = struct.unpack_from(f"<{count}i", data, place - 8 - aligned(4 * count))
    for offset, name in zip(offsets, names):
        yield (offset if offset >= 0 else base - 1 - offset), name[0], name[1:]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        with open(sys.argv[1], "rb") as file:
            data = file.read()
        for address, kind, name in symbols(data if bzimage.is_elf(data) else bzimage.unpack(data)):
            print(f"{address:016x} {kind} {name}")
    except (OSError, Missing, bzimage.ImageError, struct.error) as e:
        sys.exit(f"kallsyms.py: {sys.argv[1]}: {e}")


if __name__ == "__main__":
    main()
