/* What a boot loader hands over: Multiboot Specification 0.6.96, sections 3.2 and 3.3. */
#ifndef X86_MULTIBOOT_H
#define X86_MULTIBOOT_H

#define MULTIBOOT_HEADER_MAGIC 0x1badb002
#define MULTIBOOT_LOADER_MAGIC 0x2badb002

/* Header flags: modules on page boundaries, and memory information. */
#define MULTIBOOT_HEADER_FLAGS 0x00000003

#ifndef __ASSEMBLY__
#include <stddef.h>
#include <stdint.h>

enum {
    MULTIBOOT_HAS_COMMAND_LINE = 1 << 2,
    MULTIBOOT_HAS_MODULES = 1 << 3,
    MULTIBOOT_HAS_MEMORY_MAP = 1 << 6,
};

struct multiboot_info {
    uint32_t flags;
    uint32_t mem_lower, mem_upper;
    uint32_t boot_device;
    uint32_t command_line;
    uint32_t modules_count, modules_address;
    uint32_t symbols[4];
    uint32_t map_length, map_address;
};
_Static_assert(offsetof(struct multiboot_info, map_address) == 48, "Multiboot 3.3");

struct multiboot_module {
    uint32_t start, end; /* physical; end is the first byte behind */
    uint32_t string;
    uint32_t reserved;
};

enum { MULTIBOOT_RAM = 1 };

/* `size` counts the bytes behind itself; the next entry follows those. */
struct multiboot_range {
    uint32_t size;
    uint64_t base, length;
    uint32_t type;
} __attribute__((packed));

#endif
#endif
