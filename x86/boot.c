/*
 * From start.S to hv_main: reads what the boot loader hands over, makes our own address
 * space, stacks and descriptors, and starts the devices the hypervisor itself needs. What
 * the loader says is trusted: it runs before us with every right.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hv/alloc.h"
#include "hv/machine.h"
#include "hv/print.h"
#include "x86/apic.h"
#include "x86/cpu.h"
#include "x86/desc.h"
#include "x86/memmap.h"
#include "x86/mm.h"
#include "x86/multiboot.h"
#include "x86/time.h"
#include "x86/uart.h"

#define MODULES_MAX      32
#define COMMAND_LINE_MAX 4096
#define STRING_MAX       4096 /* a module's command line */

void boot_main(uint32_t magic, uint32_t information);

static char                  command_line[COMMAND_LINE_MAX];
static struct machine_module module[MODULES_MAX];
static unsigned              modules;

const char *machine_command_line(void)
{
    return command_line;
}

unsigned machine_modules(void)
{
    return modules;
}

const struct machine_module *machine_module(unsigned i)
{
    return &module[i];
}

/* Copies the command line behind its first word, which is the image's name. */
static void read_command_line(const struct multiboot_info *info)
{
    const char *text;
    size_t      length;

    if (!(info->flags & MULTIBOOT_HAS_COMMAND_LINE))
        return;
    text = mm_direct(info->command_line);
    while (*text != '\0' && *text != ' ')
        text++;
    while (*text == ' ')
        text++;
    length = strlen(text);
    if (length >= COMMAND_LINE_MAX)
        panic("the command line is longer than %u bytes", COMMAND_LINE_MAX - 1);
    memcpy(command_line, text, length + 1);
}

static void read_memory_map(const struct multiboot_info *info)
{
    const uint8_t *map = mm_direct(info->map_address);

    if (!(info->flags & MULTIBOOT_HAS_MEMORY_MAP))
        panic("the boot loader gives no memory map");
    /* Firmware may list a place twice, and what is not RAM wins: two rounds. */
    for (unsigned round = 0; round < 2; round++)
        for (uint32_t at = 0; at + sizeof(struct multiboot_range) <= info->map_length;) {
            struct multiboot_range r;

            memcpy(&r, map + at, sizeof(r));
            if (round == 0 && r.type == MULTIBOOT_RAM)
                memmap_add(r.base, r.base + r.length);
            if (round == 1 && r.type != MULTIBOOT_RAM)
                memmap_remove(r.base, r.base + r.length);
            at += r.size + (uint32_t)sizeof(r.size);
        }
    if (!memmap_complete())
        print("umbra: the memory map has too many parts; some memory is not used\n");
}

/* Strings and modules are used where they are; nothing else may come there. */
static void read_modules(const struct multiboot_info *info)
{
    const struct multiboot_module *list = mm_direct(info->modules_address);

    if (!(info->flags & MULTIBOOT_HAS_MODULES))
        return;
    if (info->modules_count > MODULES_MAX)
        panic("more than %u modules", MODULES_MAX);
    for (unsigned i = 0; i < info->modules_count; i++) {
        const char *string = mm_direct(list[i].string);

        if (list[i].end < list[i].start)
            panic("module %u ends before it begins", i);
        memmap_reserve(list[i].start, list[i].end);
        memmap_reserve(list[i].string, list[i].string + strnlen(string, STRING_MAX) + 1);
        module[i] = (struct machine_module){
            .string = string,
            .data = mm_direct(list[i].start),
            .size = list[i].end - list[i].start,
        };
    }
    modules = info->modules_count;
}

static void read_information(const struct multiboot_info *info)
{
    read_memory_map(info);
    memmap_reserve(mm_image_physical(image_start), mm_image_physical(image_end));
    read_command_line(info);
    read_modules(info);
}

/* On the main stack, with everything mapped that will be. */
static void boot_on_main_stack(void)
{
    desc_load_idt_with_ists();
    apic_init();
    time_init();
    uart_enable_interrupt();
    print("umbra: %lu MiB of memory, %lu MiB free, TSC %lu kHz, %u modules\n", memmap_bytes() >> 20,
          alloc_free_count() >> 8, machine_ticks_per_ms(), modules);
    hv_main();
}

void boot_main(uint32_t magic, uint32_t information)
{
    desc_init_boot_stack();
    uart_init();
    desc_init();
    if (magic != MULTIBOOT_LOADER_MAGIC)
        panic("not started by a multiboot loader (magic %08x)", magic);
    read_information(mm_direct(information));
    mm_init();
    mm_init_frames();
    stack_switch(desc_init_cpu(0), boot_on_main_stack);
}
