/* console_io: text for the domain's console, in pieces. */
#include "hv/console.h"
#include "hv/hc.h"

#define CHUNK 128

/* arg[0]: command, arg[1]: bytes, arg[2]: where. */
int64_t hc_console_io(struct vcpu *v, struct hypercall *h)
{
    char buffer[CHUNK];

    if (h->arg[0] == CONSOLEIO_read)
        return 0; /* input goes to the console ring */
    if (h->arg[0] != CONSOLEIO_write)
        return -XEN_ENOSYS;
    h->arg[1] = (uint32_t)h->arg[1];
    for (bool first = true; h->arg[1] != 0; first = false) {
        size_t count = h->arg[1] < CHUNK ? (size_t)h->arg[1] : CHUNK;

        if (!first && hc_preempt())
            return HC_AGAIN;
        if (!guest_copy_in(v, buffer, h->arg[2], count))
            return -XEN_EFAULT;
        console_guest_output(v->domain, buffer, count);
        h->arg[1] -= count;
        h->arg[2] += count;
    }
    return 0;
}
