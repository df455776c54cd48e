/* Any text: the parser ends, stays within its buffers, and says something when it refuses. */
#include <string.h>

#include "hv/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config       config;
    struct config_error error;

    if (config_parse((const char *)data, size, &config, &error)) {
        if (!memchr(config.name, 0, sizeof(config.name)) ||
            !memchr(config.extra, 0, sizeof(config.extra)) || config.memory < 32 ||
            config.vcpus != 1)
            __builtin_trap();
    } else if (!error.what[0] || !memchr(error.what, 0, sizeof(error.what))) {
        __builtin_trap();
    }
    return 0;
}
