/*
 * A domain's file, in xl.cfg syntax. One parser, built twice: the tool checks the files
 * before QEMU starts, the hypervisor reads them as modules. No allocation, no libc.
 */
#ifndef HV_CONFIG_H
#define HV_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_NAME_MAX  32
#define CONFIG_PATH_MAX  256
#define CONFIG_EXTRA_MAX 1024

enum config_type { CONFIG_PVH, CONFIG_MULTIBOOT, CONFIG_PV };
enum config_paging { CONFIG_PAGING_DEFAULT, CONFIG_PAGING_SHADOW, CONFIG_PAGING_NESTED };

struct config {
    char               name[CONFIG_NAME_MAX];
    enum config_type   type;
    char               kernel[CONFIG_PATH_MAX];
    char               ramdisk[CONFIG_PATH_MAX]; /* empty: none */
    char               extra[CONFIG_EXTRA_MAX];  /* kernel command line */
    uint32_t           memory;                   /* MiB */
    uint32_t           vcpus;
    enum config_paging paging;
    uint32_t           shadow_memory; /* MiB for our own tables, 0: default */
    uint32_t           exit_ok;       /* an exit status that means success, as 0 does */
    uint32_t           control;       /* 1: the control domain */
};

struct config_error {
    unsigned line; /* from 1; 0 if it is about the file as a whole */
    char     what[192];
};

/* False: `error` says where, what was wrong, and what was expected. */
bool config_parse(const char *text, size_t length, struct config *config,
                  struct config_error *error);

#endif
