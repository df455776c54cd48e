/* Putting a multiboot kernel into a domain; see multiboot.h. */
#include "hv/multiboot.h"

#include "hv/print.h"
#include "hv/pvh.h"

static bool too_large(const struct domain *d, const struct multiboot_image *image,
                      uint64_t ramdisk_size, char *error, size_t error_size)
{
    (void)format_string(error, error_size,
                        "kernel (up to %llu KiB) and ramdisk (%llu KiB) do not "
                        "fit into %u MiB: raise memory=",
                        (unsigned long long)(image->image.end >> 10),
                        (unsigned long long)(ramdisk_size >> 10), d->config.memory);
    return false;
}

static void load_info(const struct domain *d, const struct multiboot_places *places,
                      uint64_t ramdisk_size)
{
    uint8_t                page[PAGE_SIZE];
    struct multiboot_facts facts = {
        .low = pvh_low_ram(d),
        .high = pvh_high_ram(d),
        .ramdisk_size = ramdisk_size,
        .kernel = d->config.kernel,
        .ramdisk = d->config.ramdisk,
        .extra = d->config.extra,
    };

    multiboot_info(places, &facts, page);
    pvh_copy_in(d, places->info, page, sizeof(page));
}

bool multiboot_load(struct domain *d, const struct domain_images *images,
                    struct machine_start *start, char *error, size_t error_size)
{
    uint64_t                low = pvh_low_ram(d), ramdisk_size = 0;
    struct multiboot_image  image;
    struct multiboot_places places;
    enum multiboot_error    result =
        multiboot_describe(images->kernel, images->kernel_size, low, &image);

    if (result != MULTIBOOT_OK) {
        (void)format_string(error, error_size, "the kernel %s", multiboot_error_text(result));
        return false;
    }
    if (images->ramdisk != NULL)
        ramdisk_size = images->ramdisk_size;
    if (!multiboot_place(&image, low, ramdisk_size, &places))
        return too_large(d, &image, ramdisk_size, error, error_size);
    for (unsigned i = 0; i < image.image.count; i++) {
        const struct elf_segment *s = &image.image.segment[i];

        pvh_copy_in(d, s->address, (const uint8_t *)images->kernel + s->offset, s->file_size);
    }
    if (ramdisk_size != 0)
        pvh_copy_in(d, places.ramdisk, images->ramdisk, ramdisk_size);
    load_info(d, &places, ramdisk_size);
    start->rip = image.image.entry;
    start->rax = MULTIBOOT_LOADER_MAGIC;
    start->rbx = places.info;
    print("umbra: %s: multiboot kernel %llx-%llx, entry %llx, ramdisk %llx+%llx, info %llx\n",
          d->name, (unsigned long long)image.image.lowest, (unsigned long long)image.image.end,
          (unsigned long long)image.image.entry, (unsigned long long)places.ramdisk,
          (unsigned long long)ramdisk_size, (unsigned long long)places.info);
    return true;
}
