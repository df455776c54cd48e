/*
 * An ELF64 kernel with Xen's notes, described: which bytes of the file go where in guest
 * memory, and where a PVH guest begins. The file is not trusted: each offset and size is
 * checked against it before it is used.
 */
#ifndef HV_ELF_H
#define HV_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_SEGMENTS_MAX 16
#define ELF_NOTES_MAX    32 /* types below this are looked at */

struct elf_segment {
    uint64_t offset, file_size; /* in the file */
    uint64_t address, size;     /* guest-physical; what the file does not give is zero */
};

struct elf_image {
    unsigned           count;
    struct elf_segment segment[ELF_SEGMENTS_MAX];
    uint64_t           lowest, end; /* guest-physical: first byte, and first one after */
    uint64_t           entry;       /* guest-physical, below 4 GiB: the PHYS32_ENTRY note */
};

enum elf_error {
    ELF_OK,
    ELF_NOT_ELF,
    ELF_COMPRESSED,    /* a Linux bzImage, which holds the ELF file packed */
    ELF_WRONG_MACHINE, /* not a 64-bit little-endian x86 program */
    ELF_TRUNCATED,
    ELF_NOTHING_TO_LOAD,
    ELF_TOO_MANY_SEGMENTS,
    ELF_BAD_SEGMENT, /* sizes or addresses that cannot be */
    ELF_NO_NOTE,     /* no PHYS32_ENTRY */
    ELF_BAD_ENTRY,   /* outside what is loaded */
    ELF_TOO_LARGE,   /* for the memory */
};

/*
 * Checks the whole file and fills `image`, which is only good after ELF_OK. `memory` is the
 * number of bytes of RAM from guest-physical 0 that may be used.
 */
enum elf_error elf_describe(const void *file, size_t size, uint64_t memory,
                            struct elf_image *image);

/* Xen's notes by which a PV kernel says how it wants to be built: elfnote.h. */
struct elf_notes {
    uint32_t present; /* a bit for each type */
    uint64_t value[ELF_NOTES_MAX];
};

static inline bool elf_has_note(const struct elf_notes *notes, unsigned type)
{
    return notes->present >> type & 1;
}

/*
 * The same for a PV kernel: its numeric notes are collected, the entry is not looked for in what is
 * loaded, and addresses are as the program headers have them. The file's own entry point is in
 * image->entry.
 */
enum elf_error elf_describe_pv(const void *file, size_t size, uint64_t memory,
                               struct elf_image *image, struct elf_notes *notes);

/* A clause that continues "the kernel ...", saying what is wrong and what to do. */
const char *elf_error_text(enum elf_error error);

#endif
