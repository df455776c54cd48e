/* The control domain: who it is, its virqs, what is typed for it. See control.h. */
#include "hv/control.h"

#include "hv/conring.h"
#include "hv/evtchn.h"

#define TYPED_MAX 1024u

/* A circle. There is one control domain, so there is one of these. */
static struct {
    uint32_t first, count;
    char     bytes[TYPED_MAX];
} typed;

struct domain *control_domain(void)
{
    struct domain *d = domain_by_id(CONTROL_ID);

    return d != NULL && domain_is_control(d) && d->state == DOMAIN_RUNNING ? d : NULL;
}

void control_raise(unsigned virq)
{
    struct domain *d = control_domain();

    if (d != NULL && d->nr_vcpus != 0)
        evtchn_raise_virq(d->vcpu[0], virq);
}

void control_tell(void)
{
    if (conring_changed())
        control_raise(VIRQ_CON_RING);
}

size_t control_type(struct domain *d, const char *bytes, size_t count)
{
    if (d->state != DOMAIN_RUNNING)
        return 0;
    if (count > TYPED_MAX - typed.count)
        count = TYPED_MAX - typed.count;
    for (size_t i = 0; i < count; i++)
        typed.bytes[(typed.first + typed.count++) % TYPED_MAX] = bytes[i];
    if (count != 0)
        control_raise(VIRQ_CONSOLE);
    return count;
}

size_t control_typed(struct domain *d, char *bytes, size_t count)
{
    size_t taken = 0;

    for (; domain_is_control(d) && taken < count && typed.count != 0; taken++, typed.count--) {
        bytes[taken] = typed.bytes[typed.first];
        typed.first = (typed.first + 1) % TYPED_MAX;
    }
    return taken;
}
