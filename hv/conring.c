/* What the hypervisor has printed. See conring.h. */
#include "hv/conring.h"

static char     ring[CONRING_SIZE];
static uint32_t first, next;
static bool     changed;

void conring_put(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ring[next++ % CONRING_SIZE] = bytes[i];
    if (next - first > CONRING_SIZE)
        first = next - CONRING_SIZE;
    changed = changed || count != 0;
}

uint32_t conring_first(void)
{
    return first;
}

uint32_t conring_next(void)
{
    return next;
}

size_t conring_read(uint32_t *from, char *to, size_t count)
{
    size_t done = 0;

    if (next - *from > next - first) /* gone already, or not there yet */
        *from = first;
    while (done < count && *from != next)
        to[done++] = ring[(*from)++ % CONRING_SIZE];
    return done;
}

void conring_clear(uint32_t until)
{
    if (next - until <= next - first)
        first = until;
}

bool conring_changed(void)
{
    bool was = changed;

    changed = false;
    return was;
}
