/*
 * Multiboot kernels; see multiboot.h. Formats: Multiboot Specification 0.6.96, chapter 3;
 * System V ABI, chapters 4 and 5.
 */
#include "hv/multiboot.h"

#include <string.h>

#include "hv/file.h"

#define FOUR_GB UINT64_C(0x100000000)

struct header {
    uint32_t magic, flags, checksum;
    uint32_t header_at, load_at, load_end, bss_end, entry; /* with MULTIBOOT_ADDRESSES */
};
#define HEADER_SHORT 12

struct elf32_header {
    uint8_t  ident[16];
    uint16_t type, machine;
    uint32_t version, entry, program_offset, section_offset, flags;
    uint16_t header_size, program_entry_size, program_count;
    uint16_t section_entry_size, section_count, section_names;
};
_Static_assert(sizeof(struct elf32_header) == 52, "System V ABI, ELF header");

struct elf32_program {
    uint32_t type, offset, virtual, physical, file_size, memory_size, flags, align;
};
_Static_assert(sizeof(struct elf32_program) == 32, "System V ABI, program header");

enum {
    CLASS_32 = 1,      /* ident[4] */
    LITTLE_ENDIAN = 1, /* ident[5] */
    TYPE_EXECUTABLE = 2,
    MACHINE_386 = 3,
    PROGRAM_LOAD = 1,
};

/* The header lies on a multiple of 4 in the first 8 KiB: 3.1. */
static enum multiboot_error find_header(const struct file *f, struct header *h, uint64_t *at)
{
    bool magic = false;

    memset(h, 0, sizeof(*h));
    for (*at = 0; *at + HEADER_SHORT <= MULTIBOOT_SEARCH; *at += 4) {
        if (!take(f, *at, h, HEADER_SHORT))
            break;
        if (h->magic != MULTIBOOT_HEADER_MAGIC)
            continue;
        magic = true;
        if (h->magic + h->flags + h->checksum != 0)
            continue;
        if (h->flags & MULTIBOOT_MUST_KNOW &
            ~(MULTIBOOT_PAGE_ALIGN | MULTIBOOT_WANT_MEMORY | MULTIBOOT_WANT_VIDEO))
            return MULTIBOOT_UNKNOWN_FLAGS;
        if ((h->flags & MULTIBOOT_ADDRESSES) && !take(f, *at, h, sizeof(*h)))
            return MULTIBOOT_TRUNCATED;
        return MULTIBOOT_OK;
    }
    return magic ? MULTIBOOT_BAD_CHECKSUM : MULTIBOOT_NO_HEADER;
}

/* ---- what is loaded ---- */

static enum multiboot_error add_segment(const struct file *f, struct elf_segment s,
                                        struct elf_image *image)
{
    if (s.size == 0)
        return MULTIBOOT_OK;
    if (s.file_size > s.size || s.address + s.size > FOUR_GB)
        return MULTIBOOT_BAD_ADDRESSES;
    if (!within(f, s.offset, s.file_size))
        return MULTIBOOT_TRUNCATED;
    if (image->count == ELF_SEGMENTS_MAX)
        return MULTIBOOT_TOO_MANY_SEGMENTS;
    image->segment[image->count++] = s;
    if (s.address < image->lowest)
        image->lowest = s.address;
    if (s.address + s.size > image->end)
        image->end = s.address + s.size;
    return MULTIBOOT_OK;
}

/* The header itself says what goes where, whatever the file is: 3.1.3. */
static enum multiboot_error describe_addresses(const struct file *f, const struct header *h,
                                               uint64_t at, struct elf_image *image)
{
    struct elf_segment s = { .address = h->load_at };
    uint64_t           before = (uint64_t)h->header_at - h->load_at;

    if (h->header_at < h->load_at || before > at)
        return MULTIBOOT_BAD_ADDRESSES;
    s.offset = at - before;
    s.file_size = f->size - s.offset;
    if (h->load_end != 0) {
        if (h->load_end < h->load_at)
            return MULTIBOOT_BAD_ADDRESSES;
        s.file_size = h->load_end - h->load_at;
    }
    s.size = s.file_size;
    if (h->bss_end != 0) {
        if (h->bss_end < h->load_at + s.file_size)
            return MULTIBOOT_BAD_ADDRESSES;
        s.size = h->bss_end - h->load_at;
    }
    image->entry = h->entry;
    return add_segment(f, s, image);
}

/*
 * The entry of an ELF file is a virtual address. A kernel that is linked elsewhere than it is
 * loaded may have been given a physical one by its maker: then no segment holds it as linked.
 */
static void translate_entry(const struct elf32_program *p, uint32_t entry, struct elf_image *image,
                            bool *translated)
{
    if (*translated || entry < p->virtual || entry - p->virtual >= p->memory_size)
        return;
    image->entry = (uint64_t)p->physical + (entry - p->virtual);
    *translated = true;
}

static enum multiboot_error describe_elf(const struct file *f, struct elf_image *image)
{
    struct elf32_header header;
    bool                translated = false;

    if (f->size < 4 || memcmp(f->bytes, "\177ELF", 4) != 0)
        return MULTIBOOT_NOT_ELF;
    if (!take(f, 0, &header, sizeof(header)))
        return MULTIBOOT_TRUNCATED;
    if (header.ident[4] != CLASS_32 || header.ident[5] != LITTLE_ENDIAN ||
        header.type != TYPE_EXECUTABLE || header.machine != MACHINE_386 ||
        header.program_entry_size != sizeof(struct elf32_program))
        return MULTIBOOT_NOT_ELF32;
    image->entry = header.entry;
    for (unsigned i = 0; i < header.program_count; i++) {
        struct elf32_program p;
        enum multiboot_error error;

        if (!take(f, header.program_offset + (uint64_t)i * sizeof(p), &p, sizeof(p)))
            return MULTIBOOT_TRUNCATED;
        if (p.type != PROGRAM_LOAD)
            continue;
        error = add_segment(
            f, (struct elf_segment){ p.offset, p.file_size, p.physical, p.memory_size }, image);
        if (error != MULTIBOOT_OK)
            return error;
        translate_entry(&p, header.entry, image, &translated);
    }
    return MULTIBOOT_OK;
}

static bool entry_is_loaded(const struct elf_image *image)
{
    for (unsigned i = 0; i < image->count; i++)
        if (image->entry >= image->segment[i].address &&
            image->entry - image->segment[i].address < image->segment[i].size)
            return true;
    return false;
}

enum multiboot_error multiboot_describe(const void *file, size_t size, uint64_t memory,
                                        struct multiboot_image *image)
{
    const struct file    f = { file, size };
    struct header        h;
    uint64_t             at;
    enum multiboot_error error = find_header(&f, &h, &at);

    *image = (struct multiboot_image){ .image.lowest = UINT64_MAX, .flags = h.flags };
    if (error != MULTIBOOT_OK)
        return error;
    if (h.flags & MULTIBOOT_ADDRESSES)
        error = describe_addresses(&f, &h, at, &image->image);
    else
        error = describe_elf(&f, &image->image);
    if (error != MULTIBOOT_OK)
        return error;
    if (image->image.count == 0)
        return MULTIBOOT_NOTHING_TO_LOAD;
    if (!entry_is_loaded(&image->image))
        return MULTIBOOT_BAD_ENTRY;
    return image->image.end <= memory ? MULTIBOOT_OK : MULTIBOOT_TOO_LARGE;
}

const char *multiboot_error_text(enum multiboot_error error)
{
    switch (error) {
    case MULTIBOOT_OK:
        return "is good";
    case MULTIBOOT_NO_HEADER:
        return "has no multiboot header (version 1) in its first 8 KiB: link it to the front";
    case MULTIBOOT_BAD_CHECKSUM:
        return "has a multiboot header whose checksum is wrong: magic, flags and checksum must "
               "add up to 0";
    case MULTIBOOT_UNKNOWN_FLAGS:
        return "wants of its loader what is not known here: set of flags 0 to 15 only 0, 1 and 2";
    case MULTIBOOT_NOT_ELF:
        return "is neither an ELF file nor has addresses in its multiboot header: set flag 16";
    case MULTIBOOT_NOT_ELF32:
        return "is not a 32-bit x86 executable: objcopy -O elf32-i386 makes one of it";
    case MULTIBOOT_TRUNCATED:
        return "is truncated, its headers point beyond its end: copy or build it again";
    case MULTIBOOT_NOTHING_TO_LOAD:
        return "has no segment to load: give a linked kernel, not an object file";
    case MULTIBOOT_TOO_MANY_SEGMENTS:
        return "has more than 16 segments to load: link it with fewer";
    case MULTIBOOT_BAD_ADDRESSES:
        return "has sizes or addresses that cannot be: link it again";
    case MULTIBOOT_BAD_ENTRY:
        return "has an entry point outside of what is loaded: check its linker script";
    case MULTIBOOT_TOO_LARGE:
        return "does not fit into the domain's memory: raise memory=, or link it lower";
    }
    return "is wrong in an unknown way";
}

/* ---- where the rest goes ---- */

static bool page_is_free(const struct elf_image *image, uint64_t page)
{
    for (unsigned i = 0; i < image->count; i++)
        if (image->segment[i].address < page + PAGE_SIZE &&
            page < image->segment[i].address + image->segment[i].size)
            return false;
    return true;
}

bool multiboot_place(const struct multiboot_image *image, uint64_t low, uint64_t ramdisk_size,
                     struct multiboot_places *places)
{
    uint64_t behind = (image->image.end + PAGE_MASK) & ~(uint64_t)PAGE_MASK;

    *places = (struct multiboot_places){ .info = MULTIBOOT_INFO_TOP };
    if (behind < MULTIBOOT_HOLE_END)
        behind = MULTIBOOT_HOLE_END;
    if (ramdisk_size != 0) {
        places->ramdisk = behind;
        if (behind > low || ramdisk_size > low - behind)
            return false;
        behind = (behind + ramdisk_size + PAGE_MASK) & ~(uint64_t)PAGE_MASK;
    }
    while (places->info != 0 && !page_is_free(&image->image, places->info))
        places->info -= PAGE_SIZE;
    if (places->info == 0) {
        places->info = low - PAGE_SIZE;
        if (behind > places->info)
            return false;
    }
    return true;
}

/* ---- the information page ---- */

/* 3.3; what is not named here is not there, and says so by its flag. */
struct info {
    uint32_t flags, mem_lower, mem_upper, boot_device, command_line;
    uint32_t modules_count, modules_at;
    uint32_t symbols[4];
    uint32_t map_length, map_at;
    uint32_t drives_length, drives_at, config_table, loader_name;
    uint32_t apm_table, vbe[4], framebuffer[6];
};
_Static_assert(offsetof(struct info, map_length) == 44 && offsetof(struct info, loader_name) == 64,
               "Multiboot Specification, 3.3");

#define INFO_MEMORY       (UINT32_C(1) << 0)
#define INFO_COMMAND_LINE (UINT32_C(1) << 2)
#define INFO_MODULES      (UINT32_C(1) << 3)
#define INFO_MAP          (UINT32_C(1) << 6)
#define INFO_LOADER_NAME  (UINT32_C(1) << 9)

struct module {
    uint32_t start, end, string, zero;
};

/* The size does not count itself. */
struct region {
    uint32_t size;
    uint64_t address, length;
    uint32_t type;
} __attribute__((packed));
_Static_assert(sizeof(struct region) == 24, "Multiboot Specification, 3.3");

#define REGION_RAM      1
#define REGION_RESERVED 2
#define REGIONS_MAX     6

struct info_page {
    struct info   info;
    struct module module;
    struct region map[REGIONS_MAX];
    char          loader[16];
    char          ramdisk[CONFIG_PATH_MAX];
    char          command_line[CONFIG_PATH_MAX + CONFIG_EXTRA_MAX];
};
_Static_assert(sizeof(struct info_page) <= PAGE_SIZE, "it is one page");

static void add_region(struct info_page *page, uint64_t from, uint64_t to, uint32_t type)
{
    unsigned i = page->info.map_length / (uint32_t)sizeof(struct region);

    if (to <= from || i == REGIONS_MAX)
        return;
    page->map[i] =
        (struct region){ sizeof(struct region) - sizeof(uint32_t), from, to - from, type };
    page->info.map_length += (uint32_t)sizeof(struct region);
}

/* Appends as much as there is room for, and a zero byte. */
static void append(char *to, size_t room, const char *from)
{
    size_t at = 0;

    while (to[at] != '\0')
        at++;
    while (*from != '\0' && at + 1 < room)
        to[at++] = *from++;
    to[at] = '\0';
}

/* What lies between the end of low RAM and 4 GiB: the devices' place. */
#define DEVICES_START UINT64_C(0xf0000000)

static void describe_memory(struct info_page *page, const struct multiboot_facts *facts)
{
    page->info.mem_lower = (uint32_t)(MULTIBOOT_HOLE >> 10);
    page->info.mem_upper = (uint32_t)((facts->low - MULTIBOOT_HOLE_END) >> 10);
    add_region(page, 0, MULTIBOOT_HOLE, REGION_RAM);
    add_region(page, MULTIBOOT_HOLE, MULTIBOOT_HOLE_END, REGION_RESERVED);
    add_region(page, MULTIBOOT_HOLE_END, facts->low, REGION_RAM);
    add_region(page, DEVICES_START, FOUR_GB, REGION_RESERVED);
    add_region(page, FOUR_GB, FOUR_GB + facts->high, REGION_RAM);
}

void multiboot_info(const struct multiboot_places *places, const struct multiboot_facts *facts,
                    uint8_t bytes[PAGE_SIZE])
{
    struct info_page page;
    uint32_t         at = (uint32_t)places->info;

    memset(&page, 0, sizeof(page));
    page.info.flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MODULES | INFO_MAP | INFO_LOADER_NAME;
    describe_memory(&page, facts);
    page.info.map_at = at + (uint32_t)offsetof(struct info_page, map);
    page.info.modules_at = at + (uint32_t)offsetof(struct info_page, module);
    if (facts->ramdisk_size != 0) {
        page.info.modules_count = 1;
        page.module.start = (uint32_t)places->ramdisk;
        page.module.end = (uint32_t)(places->ramdisk + facts->ramdisk_size);
        page.module.string = at + (uint32_t)offsetof(struct info_page, ramdisk);
        append(page.ramdisk, sizeof(page.ramdisk), facts->ramdisk);
    }
    page.info.command_line = at + (uint32_t)offsetof(struct info_page, command_line);
    append(page.command_line, sizeof(page.command_line), facts->kernel);
    if (facts->extra[0] != '\0') {
        append(page.command_line, sizeof(page.command_line), " ");
        append(page.command_line, sizeof(page.command_line), facts->extra);
    }
    page.info.loader_name = at + (uint32_t)offsetof(struct info_page, loader);
    append(page.loader, sizeof(page.loader), "Umbra");
    memset(bytes, 0, PAGE_SIZE);
    memcpy(bytes, &page, sizeof(page));
}
