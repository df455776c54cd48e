"""Takes the ELF kernel out of a Linux bzImage, on the host: a guest gets the kernel, not its decompressor.

The setup header is described in Linux's Documentation/x86/boot.rst: "HdrS" at 0x202, and from version 2.08 on
the place and length of the payload, counted from the end of the setup sectors. The build appends the unpacked
length as 4 bytes to every payload but gzip's, which ends with that anyway.
"""

import bz2
import lzma
import shutil
import struct
import subprocess
import zlib


class ImageError(Exception):
    """What is wrong with the image, as a sentence that goes on from its file name."""


def is_elf(data):
    return data[:4] == b"\x7fELF"


def is_bzimage(data):
    return data[0x202:0x206] == b"HdrS" and data[0x1fe:0x200] == b"\x55\xaa"


def payload_of(data):
    """The compressed payload, with the unpacked length that the build appended."""
    if len(data) < 0x250:
        raise ImageError(f"the bzImage is truncated: it ends at byte {len(data)}, within its header")
    version = struct.unpack_from("<H", data, 0x206)[0]
    if version < 0x208:
        raise ImageError(f"boot protocol {version >> 8}.{version & 255:02} does not say where the kernel is;"
                         " 2.08 is the first that does")
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = ((data[0x1f1] or 4) + 1) * 512 + offset
    if length < 8:
        raise ImageError(f"the bzImage is broken: its header gives the payload {length} bytes")
    if start + length > len(data):
        raise ImageError(f"the bzImage is truncated: its payload ends at byte {start + length},"
                         f" the file at byte {len(data)}")
    return data[start:start + length]


def with_program(program, package):
    def unpack(payload):
        if not shutil.which(program):
            raise ImageError(f"its kernel is packed with {program}, and that program is missing:"
                             f" apt-get install {package}")
        # The appended length is no part of the stream; its programs would take it for garbage.
        done = subprocess.run([program, "-d", "-c"], input=payload[:-4], capture_output=True, check=False)
        if done.returncode:
            raise ImageError(f"its payload does not unpack: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout
    return unpack


def with_module(make):
    def unpack(payload):
        try:
            return make().decompress(payload)
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as e:
            raise ImageError(f"its payload does not unpack: {e}") from e
    return unpack


FORMATS = (
    (b"\x1f\x8b", "gzip", with_module(lambda: zlib.decompressobj(wbits=31))),
    (b"\xfd7zXZ\0", "xz", with_module(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ))),
    (b"BZh", "bzip2", with_module(bz2.BZ2Decompressor)),
    (b"\x5d\0\0", "lzma", with_module(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE))),
    (b"\x02\x21\x4c\x18", "lz4", with_program("lz4", "lz4")),
    (b"\x28\xb5\x2f\xfd", "zstd", with_program("zstd", "zstd")),
)


def unpack(data):
    """The ELF kernel within a bzImage, or ImageError."""
    if not is_bzimage(data):
        raise ImageError("this is no bzImage: there is no HdrS at 0x202")
    payload = payload_of(data)
    for magic, _, decompress in FORMATS:
        if payload.startswith(magic):
            break
    else:
        known = ", ".join(name for _, name, _ in FORMATS)
        raise ImageError(f"its kernel is packed in a way unknown here (it begins with {payload[:4].hex(' ')});"
                         f" known: {known}")
    kernel = decompress(payload)
    length = struct.unpack("<I", payload[-4:])[0]
    if len(kernel) & 0xffffffff != length:
        raise ImageError(f"its payload is broken: {len(kernel)} bytes came out, {length} were announced")
    if not is_elf(kernel):
        raise ImageError("what its payload holds is no ELF kernel")
    return kernel
