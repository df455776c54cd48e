/*
 * Kernels in the form of the Multiboot Specification, version 1: which bytes of the file go
 * where, and the information structure that the kernel is started with.
 *
 * multiboot.c is pure: bytes in, a description out, so that it is tested and fuzzed on the
 * host; multiboot_load.c puts the description into a domain. The kernel comes from whoever
 * writes the domain's file and is not trusted. What lies where in the guest's memory:
 *
 *     0 ..       RAM, and RAM behind a0000 to fffff too, but the memory map leaves that out,
 *                since kernels write to the screen there
 *     9e000      the information page: the highest page below the memory that a BIOS keeps for
 *                itself that the kernel leaves free, never page 0; if there is none, the end
 *                of low RAM
 *     kernel     where its headers say
 *     ramdisk    the one module, at the first page behind the kernel, not below 1 MiB
 *     4 GiB ..   the rest of the RAM
 */
#ifndef HV_MULTIBOOT_H
#define HV_MULTIBOOT_H

#include "hv/build.h"
#include "hv/elf.h"

#define MULTIBOOT_HEADER_MAGIC UINT32_C(0x1badb002)
#define MULTIBOOT_LOADER_MAGIC UINT32_C(0x2badb002) /* in EAX */
#define MULTIBOOT_SEARCH       8192                 /* the header lies in the first 8 KiB */

/* Header flags, 3.1.2; those of bits 0 to 15 that are not known must be refused. */
#define MULTIBOOT_PAGE_ALIGN  (UINT32_C(1) << 0)
#define MULTIBOOT_WANT_MEMORY (UINT32_C(1) << 1)
#define MULTIBOOT_WANT_VIDEO  (UINT32_C(1) << 2)
#define MULTIBOOT_ADDRESSES   (UINT32_C(1) << 16)
#define MULTIBOOT_MUST_KNOW   UINT32_C(0xffff)

#define MULTIBOOT_HOLE     UINT64_C(0xa0000) /* screen and ROMs on a PC */
#define MULTIBOOT_HOLE_END UINT64_C(0x100000)
#define MULTIBOOT_INFO_TOP UINT64_C(0x9e000)

enum multiboot_error {
    MULTIBOOT_OK,
    MULTIBOOT_NO_HEADER,
    MULTIBOOT_BAD_CHECKSUM,
    MULTIBOOT_UNKNOWN_FLAGS,
    MULTIBOOT_NOT_ELF,   /* and no addresses in the header */
    MULTIBOOT_NOT_ELF32, /* an ELF file, but not a 32-bit little-endian x86 program */
    MULTIBOOT_TRUNCATED,
    MULTIBOOT_NOTHING_TO_LOAD,
    MULTIBOOT_TOO_MANY_SEGMENTS,
    MULTIBOOT_BAD_ADDRESSES, /* sizes or addresses that cannot be */
    MULTIBOOT_BAD_ENTRY,     /* outside what is loaded */
    MULTIBOOT_TOO_LARGE,     /* for the memory */
};

/* The segments, their bounds and the entry are as in struct elf_image, all below 4 GiB. */
struct multiboot_image {
    struct elf_image image;
    uint32_t         flags;
};

/*
 * Checks the whole file and fills `image`, which is only good after MULTIBOOT_OK. `memory` is
 * the number of bytes of RAM from guest-physical 0 that may be used, at most 4 GiB.
 */
must_check enum multiboot_error multiboot_describe(const void *file, size_t size, uint64_t memory,
                                                   struct multiboot_image *image);

/* A clause that continues "the kernel ...", saying what is wrong and what to do. */
const char *multiboot_error_text(enum multiboot_error error);

/* Where things go that are not the kernel's. */
struct multiboot_places {
    uint64_t info;    /* a page */
    uint64_t ramdisk; /* page-aligned; 0 if there is none */
};

/* False: they do not fit beside the kernel into `low` bytes of RAM. */
must_check bool multiboot_place(const struct multiboot_image *image, uint64_t low,
                                uint64_t ramdisk_size, struct multiboot_places *places);

/* What the information page says. */
struct multiboot_facts {
    uint64_t    low, high; /* bytes of RAM from 0, and from 4 GiB */
    uint64_t    ramdisk_size;
    const char *kernel, *ramdisk; /* names of their files; the first words of command lines */
    const char *extra;            /* the rest of the kernel's command line */
};

/* The information page; it is pointed to by EBX, and all it points to but the module is in it. */
void multiboot_info(const struct multiboot_places *places, const struct multiboot_facts *facts,
                    uint8_t page[PAGE_SIZE]);

/* ---- multiboot_load.c ---- */

/*
 * Fills the domain's memory, which is there and zero, with kernel, ramdisk and information,
 * and says how its first vCPU starts. False: `error` says why not.
 */
must_check bool multiboot_load(struct domain *d, const struct domain_images *images,
                               struct machine_start *start, char *error, size_t error_size);

#endif
