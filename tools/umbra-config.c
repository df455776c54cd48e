/*
 * Checks a domain's file with the hypervisor's own parser, before QEMU starts: umbra-config FILE
 *
 * Prints what the file says as lines `key value`, which the command `umbra` reads; no value
 * has a control character in it. Exit status 2 with a message FILE:LINE: WHAT if it is wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/config.h"

#define FILE_MAX (1u << 20)

static const char *const type_names[] = {
    [CONFIG_PVH] = "pvh",
    [CONFIG_MULTIBOOT] = "multiboot",
    [CONFIG_PV] = "pv",
};

static const char *paging_name(const struct config *config)
{
    if (config->type == CONFIG_PV)
        return "direct";
    switch (config->paging) {
    case CONFIG_PAGING_SHADOW:
        return "shadow";
    case CONFIG_PAGING_NESTED:
        return "nested";
    case CONFIG_PAGING_DEFAULT:
        break;
    }
    return "default";
}

/* The whole file; exits if that cannot be. */
static size_t read_file(const char *path, char *text)
{
    FILE  *file = fopen(path, "rb");
    size_t length;

    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    length = fread(text, 1, FILE_MAX, file);
    if (ferror(file)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    fclose(file);
    if (length == FILE_MAX) {
        fprintf(stderr, "%s: too long for a domain's file: at most 1 MiB\n", path);
        exit(2);
    }
    return length;
}

int main(int argc, char **argv)
{
    static char         text[FILE_MAX];
    struct config       config;
    struct config_error error;

    if (argc != 2 || strcmp(argv[1], "--help") == 0) {
        fprintf(argc == 2 ? stdout : stderr, "usage: umbra-config FILE\n");
        return argc == 2 ? 0 : 2;
    }
    if (!config_parse(text, read_file(argv[1], text), &config, &error)) {
        if (error.line)
            fprintf(stderr, "%s:%u: %s\n", argv[1], error.line, error.what);
        else
            fprintf(stderr, "%s: %s\n", argv[1], error.what);
        return 2;
    }
    printf("type %s\n", type_names[config.type]);
    printf("name %s\nkernel %s\nramdisk %s\nextra %s\n", config.name, config.kernel, config.ramdisk,
           config.extra);
    printf("memory %u\nvcpus %u\npaging %s\nshadow_memory %u\n", config.memory, config.vcpus,
           paging_name(&config), config.shadow_memory);
    return 0;
}
