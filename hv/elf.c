/* ELF64 kernels; see elf.h. Formats: System V ABI, chapters 4 and 5; Xen's elfnote.h. */
#include "hv/elf.h"

#include <string.h>

#include "hv/file.h"

struct elf_header {
    uint8_t  ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, program_offset, section_offset;
    uint32_t flags;
    uint16_t header_size, program_entry_size, program_count;
    uint16_t section_entry_size, section_count, section_names;
};
_Static_assert(sizeof(struct elf_header) == 64, "System V ABI, ELF header");

struct elf_program {
    uint32_t type, flags;
    uint64_t offset, virtual, physical, file_size, memory_size, align;
};
_Static_assert(sizeof(struct elf_program) == 56, "System V ABI, program header");

struct elf_note {
    uint32_t name_size, value_size, type;
};
_Static_assert(sizeof(struct elf_note) == 12, "System V ABI, note section");

enum {
    CLASS_64 = 2,      /* ident[4] */
    LITTLE_ENDIAN = 1, /* ident[5] */
    TYPE_EXECUTABLE = 2,
    MACHINE_X86_64 = 62,
    PROGRAM_LOAD = 1,
    PROGRAM_NOTE = 4,
    NOTE_PHYS32_ENTRY = 18, /* elfnote.h */
};

#define BZIMAGE_MAGIC_AT 0x202 /* Linux's setup header */

static enum elf_error check_header(const struct file *f, struct elf_header *header)
{
    if (f->size < 4 || memcmp(f->bytes, "\177ELF", 4) != 0) {
        if (within(f, BZIMAGE_MAGIC_AT, 4) && memcmp(f->bytes + BZIMAGE_MAGIC_AT, "HdrS", 4) == 0)
            return ELF_COMPRESSED;
        return ELF_NOT_ELF;
    }
    if (!take(f, 0, header, sizeof(*header)))
        return ELF_TRUNCATED;
    if (header->ident[4] != CLASS_64 || header->ident[5] != LITTLE_ENDIAN ||
        header->type != TYPE_EXECUTABLE || header->machine != MACHINE_X86_64 ||
        header->program_entry_size != sizeof(struct elf_program))
        return ELF_WRONG_MACHINE;
    if (!within(f, header->program_offset,
                (uint64_t)header->program_count * sizeof(struct elf_program)))
        return ELF_TRUNCATED;
    return ELF_OK;
}

static enum elf_error add_segment(const struct file *f, const struct elf_program *p,
                                  struct elf_image *image)
{
    uint64_t end;

    if (p->memory_size == 0)
        return ELF_OK;
    if (p->file_size > p->memory_size || __builtin_add_overflow(p->physical, p->memory_size, &end))
        return ELF_BAD_SEGMENT;
    if (!within(f, p->offset, p->file_size))
        return ELF_TRUNCATED;
    if (image->count == ELF_SEGMENTS_MAX)
        return ELF_TOO_MANY_SEGMENTS;
    image->segment[image->count++] =
        (struct elf_segment){ p->offset, p->file_size, p->physical, p->memory_size };
    if (p->physical < image->lowest)
        image->lowest = p->physical;
    if (end > image->end)
        image->end = end;
    return ELF_OK;
}

/* What follows a note's head is padded to the segment's alignment: 4 or, seldom, 8 bytes. */
static uint64_t padded(uint64_t size, uint64_t align)
{
    return (size + align - 1) & ~(align - 1);
}

/* Collects the notes of one segment, the first of a type. Anything that is cut off ends the search. */
static void find_notes(const struct file *f, const struct elf_program *p, struct elf_notes *notes)
{
    uint64_t align = p->align == 8 ? 8 : 4;
    uint64_t at = p->offset, end = p->offset + p->file_size;

    while (end - at >= sizeof(struct elf_note)) {
        struct elf_note note;
        uint64_t        name, value, next;

        if (!take(f, at, &note, sizeof(note)))
            return;
        /* Sums of a few 32-bit sizes and an offset in the file cannot overflow. */
        name = at + sizeof(note);
        value = at + padded(sizeof(note) + note.name_size, align);
        next = value + padded(note.value_size, align);
        if (value > end || note.value_size > end - value)
            return;
        if (note.type < ELF_NOTES_MAX && !elf_has_note(notes, note.type) && note.name_size == 4 &&
            memcmp(f->bytes + name, "Xen", 4) == 0 &&
            (note.value_size == 4 || note.value_size == 8)) {
            notes->present |= UINT32_C(1) << note.type;
            notes->value[note.type] = 0;
            /* both sides little-endian */
            memcpy(&notes->value[note.type], f->bytes + value, note.value_size);
        }
        if (next > end)
            return;
        at = next;
    }
}

static bool entry_is_loaded(const struct elf_image *image)
{
    for (unsigned i = 0; i < image->count; i++)
        if (image->entry >= image->segment[i].address &&
            image->entry - image->segment[i].address < image->segment[i].size)
            return true;
    return false;
}

static enum elf_error describe(const struct file *f, struct elf_image *image,
                               struct elf_notes *notes)
{
    struct elf_header header;
    enum elf_error    error = check_header(f, &header);

    *image = (struct elf_image){ .lowest = UINT64_MAX };
    *notes = (struct elf_notes){ 0 };
    if (error != ELF_OK)
        return error;
    image->entry = header.entry;
    for (unsigned i = 0; i < header.program_count; i++) {
        struct elf_program p;

        if (!take(f, header.program_offset + i * sizeof(p), &p, sizeof(p)))
            return ELF_TRUNCATED;
        if (p.type == PROGRAM_LOAD)
            error = add_segment(f, &p, image);
        else if (p.type == PROGRAM_NOTE && !within(f, p.offset, p.file_size))
            error = ELF_TRUNCATED;
        else if (p.type == PROGRAM_NOTE)
            find_notes(f, &p, notes);
        if (error != ELF_OK)
            return error;
    }
    return image->count == 0 ? ELF_NOTHING_TO_LOAD : ELF_OK;
}

enum elf_error elf_describe(const void *file, size_t size, uint64_t memory, struct elf_image *image)
{
    const struct file f = { file, size };
    struct elf_notes  notes;
    enum elf_error    error = describe(&f, image, &notes);

    if (error != ELF_OK)
        return error;
    if (!elf_has_note(&notes, NOTE_PHYS32_ENTRY))
        return ELF_NO_NOTE;
    image->entry = notes.value[NOTE_PHYS32_ENTRY];
    if (image->entry > UINT32_MAX || !entry_is_loaded(image))
        return ELF_BAD_ENTRY;
    return image->end <= memory ? ELF_OK : ELF_TOO_LARGE;
}

enum elf_error elf_describe_pv(const void *file, size_t size, uint64_t memory,
                               struct elf_image *image, struct elf_notes *notes)
{
    const struct file f = { file, size };
    enum elf_error    error = describe(&f, image, notes);

    if (error != ELF_OK)
        return error;
    return image->end <= memory ? ELF_OK : ELF_TOO_LARGE;
}

const char *elf_error_text(enum elf_error error)
{
    switch (error) {
    case ELF_OK:
        return "is good";
    case ELF_NOT_ELF:
        return "is not an ELF file: give an ELF kernel, or a bzImage to ./umbra run";
    case ELF_COMPRESSED:
        return "is still a bzImage: ./umbra run unpacks it, or give the vmlinux inside";
    case ELF_WRONG_MACHINE:
        return "is not a 64-bit x86 executable: give one that is";
    case ELF_TRUNCATED:
        return "is truncated, its headers point beyond its end: copy or unpack it again";
    case ELF_NOTHING_TO_LOAD:
        return "has no segment to load: give a linked kernel, not an object file";
    case ELF_TOO_MANY_SEGMENTS:
        return "has more than 16 segments to load: link it with fewer";
    case ELF_BAD_SEGMENT:
        return "has a segment whose sizes or addresses cannot be: link it again";
    case ELF_NO_NOTE:
        return "has no Xen PHYS32_ENTRY note: build it with CONFIG_PVH";
    case ELF_BAD_ENTRY:
        return "has an entry point outside of what is loaded: check its PHYS32_ENTRY note";
    case ELF_TOO_LARGE:
        return "does not fit into the domain's memory: raise memory=";
    }
    return "is wrong in an unknown way";
}
