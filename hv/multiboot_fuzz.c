/*
 * Fuzz target: multiboot_describe must survive any file, and what it accepts must be such that
 * a loader that trusts it stays inside file and memory, with nothing on top of the kernel.
 */
#include <stdlib.h>

#include "hv/multiboot.h"

#define MEMORY (UINT64_C(256) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct multiboot_image  image;
    struct multiboot_places at;
    uint64_t                ramdisk = size > 0 ? (uint64_t)data[0] << 21 : 0;

    if (multiboot_describe(data, size, MEMORY, &image) != MULTIBOOT_OK)
        return 0;
    require(image.image.count >= 1 && image.image.count <= ELF_SEGMENTS_MAX);
    if (!multiboot_place(&image, MEMORY, ramdisk, &at))
        at = (struct multiboot_places){ .info = MEMORY };
    require(at.info >= PAGE_SIZE);
    for (unsigned i = 0; i < image.image.count; i++) {
        const struct elf_segment *s = &image.image.segment[i];

        require(s->file_size <= s->size && s->file_size <= size);
        require(s->offset <= size - s->file_size);
        require(s->size <= MEMORY && s->address <= MEMORY - s->size);
        require(s->address + s->size <= at.info || s->address >= at.info + PAGE_SIZE);
        require(!at.ramdisk || s->address + s->size <= at.ramdisk);
    }
    require(image.image.entry < MEMORY);
    return 0;
}
