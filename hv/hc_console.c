/* console_io: text for the domain's console, in pieces; and what was typed at the control domain's. */
#include "hv/console.h"
#include "hv/control.h"
#include "hv/hc.h"

#define CHUNK 128

/* What was typed; how many characters. What the guest cannot take is lost. */
static int64_t read_typed(struct vcpu *v, uint32_t most, uint64_t va)
{
    char   buffer[CHUNK];
    size_t count = control_typed(v->domain, buffer, most < CHUNK ? most : CHUNK);

    return guest_copy_out(v, va, buffer, count) ? (int64_t)count : -XEN_EFAULT;
}

/* arg[0]: command, arg[1]: bytes, arg[2]: where. */
int64_t hc_console_io(struct vcpu *v, struct hypercall *h)
{
    char buffer[CHUNK];

    if (h->arg[0] == CONSOLEIO_read) /* other domains' input goes to the console ring */
        return domain_is_control(v->domain) ? read_typed(v, (uint32_t)h->arg[1], h->arg[2]) : 0;
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
