/* A file of somebody's in memory. What is wanted of it is looked for in its bounds, and taken once. */
#ifndef HV_FILE_H
#define HV_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct file {
    const uint8_t *bytes;
    size_t         size;
};

static inline bool within(const struct file *f, uint64_t offset, uint64_t size)
{
    return offset <= f->size && size <= f->size - offset;
}

/* Copies `size` bytes to `to`; false: the file ends before. */
static inline bool take(const struct file *f, uint64_t offset, void *to, size_t size)
{
    if (!within(f, offset, size))
        return false;
    memcpy(to, f->bytes + offset, size);
    return true;
}

#endif
