/*
 * Fuzz target: elf_describe must survive any file, and what it accepts must be such that a
 * loader that trusts it stays inside file and memory.
 */
#include <stdlib.h>

#include "hv/elf.h"

#define MEMORY (UINT64_C(256) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct elf_image image;

    if (elf_describe(data, size, MEMORY, &image) != ELF_OK)
        return 0;
    require(image.count >= 1 && image.count <= ELF_SEGMENTS_MAX);
    for (unsigned i = 0; i < image.count; i++) {
        const struct elf_segment *s = &image.segment[i];

        require(s->file_size <= s->size && s->file_size <= size);
        require(s->offset <= size - s->file_size);
        require(s->size <= MEMORY && s->address <= MEMORY - s->size);
    }
    require(image.entry < MEMORY);
    return 0;
}
