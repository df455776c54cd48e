/* Event channels; see evtchn.h. */
#include "hv/evtchn.h"

#include "hv/alloc.h"
#include "hv/ring.h"
#include "hv/shared.h"
#include "hv/trace.h"
#include "hv/vm_event.h"

/* Ports closed at a time: each takes some hundred instructions. */
#define CLOSED_AT_ONCE 128

#define PORTS_BYTES (DOMAIN_PORTS_MAX * sizeof(struct evtchn_port))
#define VIRQS       (sizeof(((struct vcpu *)NULL)->virq_port) / sizeof(uint16_t))

_Static_assert(DOMAIN_PORTS_MAX <= 64 * 64, "the two-level ABI has 4096 ports");
_Static_assert(DOMAIN_PORTS_MAX <= UINT16_MAX, "ports are kept in 16 bits");

/* ---- the bits in guest memory ---- */

static unsigned pending_word(unsigned port)
{
    return (unsigned)offsetof(struct shared_info, evtchn_pending) + port / 64 * 8;
}

static unsigned mask_word(unsigned port)
{
    return (unsigned)offsetof(struct shared_info, evtchn_mask) + port / 64 * 8;
}

static bool bit_of(const struct domain *d, unsigned word, unsigned port)
{
    return (shared_word(d->shared_mfn, word) >> (port % 64) & 1) != 0;
}

/* vcpu_info lies within one page of the direct map. */
static unsigned info_offset(const struct vcpu *v, size_t field)
{
    return (unsigned)(((uintptr_t)v->info & PAGE_MASK) + field);
}

void evtchn_upcall(struct vcpu *v)
{
    const uint8_t yes = 1;

    shared_write(v->domain, v->info_mfn,
                 info_offset(v, offsetof(struct vcpu_info, evtchn_upcall_pending)), &yes, 1);
    vcpu_kick(v);
}

/* The port is pending and not masked: tell its vCPU in which word to look. */
static void select_word(struct domain *d, unsigned port)
{
    struct vcpu *v = d->vcpu[d->ports[port].vcpu];

    if (!shared_bit_set(d, v->info_mfn,
                        info_offset(v, offsetof(struct vcpu_info, evtchn_pending_sel)), port / 64))
        evtchn_upcall(v);
}

/* SCHEDOP_poll waits for masked ports too. It looks again when it wakes. */
static void wake_pollers(struct domain *d)
{
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        if (d->vcpu[i]->poll)
            vcpu_kick(d->vcpu[i]);
}

static void raise(struct domain *d, unsigned port)
{
    if (d->ports[port].ours) {
        vm_event_answered(d);
        return;
    }
    trace(TRACE_EVENT, d->vcpu[d->ports[port].vcpu], port, 0, 0);
    if (shared_bit_set(d, d->shared_mfn, pending_word(port), port % 64))
        return;
    if (!bit_of(d, mask_word(port), port))
        select_word(d, port);
    wake_pollers(d);
}

bool evtchn_pending(const struct domain *d, unsigned port)
{
    return port < DOMAIN_PORTS_MAX && bit_of(d, pending_word(port), port);
}

/* ---- ports ---- */

static struct evtchn_port *port_of(const struct domain *d, unsigned port)
{
    if (d->ports == NULL || port >= DOMAIN_PORTS_MAX || d->ports[port].kind == EVTCHN_FREE ||
        d->ports[port].kind == EVTCHN_RESERVED)
        return NULL;
    return &d->ports[port];
}

/* The same for what the domain itself does with it. */
static struct evtchn_port *own_port(const struct domain *d, unsigned port)
{
    struct evtchn_port *p = port_of(d, port);

    return p != NULL && !p->ours ? p : NULL;
}

static enum evtchn_result take(struct domain *d, enum evtchn_kind kind, unsigned vcpu,
                               unsigned *port)
{
    if (d->ports == NULL)
        return EVTCHN_INVALID;
    for (unsigned i = 1; i < DOMAIN_PORTS_MAX; i++) {
        if (d->ports[i].kind != EVTCHN_FREE)
            continue;
        d->ports[i] = (struct evtchn_port){ .kind = (uint8_t)kind, .vcpu = (uint8_t)vcpu };
        if (i >= d->ports_end)
            d->ports_end = i + 1;
        *port = i;
        return EVTCHN_OK;
    }
    return EVTCHN_FULL;
}

bool evtchn_init(struct domain *d)
{
    d->ports = alloc_bytes(PORTS_BYTES);
    if (d->ports == NULL)
        return false;
    d->ports[0].kind = EVTCHN_RESERVED;
    d->ports_end = 1;
    return true;
}

bool evtchn_destroy(struct domain *d)
{
    if (d->ports == NULL)
        return true;
    if (!evtchn_reset(d))
        return false;
    free_bytes(d->ports, PORTS_BYTES);
    d->ports = NULL;
    return true;
}

enum evtchn_result evtchn_alloc_unbound(struct domain *d, uint16_t remote, unsigned *port)
{
    enum evtchn_result result = take(d, EVTCHN_UNBOUND, 0, port);

    if (result == EVTCHN_OK)
        d->ports[*port].remote_domain = remote;
    return result;
}

enum evtchn_result evtchn_bind_interdomain(struct domain *d, uint16_t remote, unsigned remote_port,
                                           unsigned *port)
{
    struct domain      *other = domain_by_id(remote);
    struct evtchn_port *far;
    enum evtchn_result  result;

    if (other == NULL)
        return EVTCHN_NO_DOMAIN;
    far = port_of(other, remote_port);
    if (far == NULL || far->kind != EVTCHN_UNBOUND || far->remote_domain != d->id)
        return EVTCHN_INVALID;
    result = take(d, EVTCHN_INTERDOMAIN, 0, port);
    if (result != EVTCHN_OK)
        return result;
    d->ports[*port].remote_domain = remote;
    d->ports[*port].remote_port = (uint16_t)remote_port;
    far->kind = EVTCHN_INTERDOMAIN;
    far->remote_port = (uint16_t)*port;
    /* What was sent before anybody listened must not be lost. */
    raise(d, *port);
    return EVTCHN_OK;
}

/* VIRQs that each vCPU has of its own: xen.h marks them "V.". */
static bool virq_is_per_vcpu(unsigned virq)
{
    return virq == VIRQ_TIMER || virq == VIRQ_DEBUG || virq == VIRQ_XENOPROF || virq == VIRQ_XENPMU;
}

enum evtchn_result evtchn_bind_virq(struct domain *d, unsigned vcpu, unsigned virq, unsigned *port)
{
    enum evtchn_result result;

    if (virq >= VIRQS)
        return EVTCHN_INVALID;
    if (vcpu >= d->nr_vcpus)
        return EVTCHN_NO_VCPU;
    if (!virq_is_per_vcpu(virq) && vcpu != 0)
        return EVTCHN_INVALID;
    if (d->vcpu[vcpu]->virq_port[virq] != 0)
        return EVTCHN_EXISTS;
    result = take(d, EVTCHN_VIRQ, vcpu, port);
    if (result != EVTCHN_OK)
        return result;
    d->ports[*port].virq = (uint16_t)virq;
    d->vcpu[vcpu]->virq_port[virq] = (uint16_t)*port;
    return EVTCHN_OK;
}

enum evtchn_result evtchn_bind_ipi(struct domain *d, unsigned vcpu, unsigned *port)
{
    return vcpu < d->nr_vcpus ? take(d, EVTCHN_IPI, vcpu, port) : EVTCHN_NO_VCPU;
}

enum evtchn_result evtchn_bind_console(struct domain *d, unsigned *port)
{
    return take(d, EVTCHN_CONSOLE, 0, port);
}

enum evtchn_result evtchn_bind_vcpu(struct domain *d, unsigned port, unsigned vcpu)
{
    struct evtchn_port *p = own_port(d, port);

    if (vcpu >= d->nr_vcpus)
        return EVTCHN_NO_VCPU;
    if (p == NULL || p->kind == EVTCHN_IPI)
        return EVTCHN_INVALID;
    if (p->kind == EVTCHN_VIRQ && virq_is_per_vcpu(p->virq))
        return EVTCHN_INVALID;
    p->vcpu = (uint8_t)vcpu;
    return EVTCHN_OK;
}

/* The other end of a channel that goes becomes unbound: the domain may bind to it again. */
static void let_go(struct domain *d, unsigned port)
{
    struct domain      *other = domain_by_id(d->ports[port].remote_domain);
    struct evtchn_port *far = other != NULL ? port_of(other, d->ports[port].remote_port) : NULL;

    if (far == NULL || far->kind != EVTCHN_INTERDOMAIN || far->remote_domain != d->id ||
        far->remote_port != port)
        return;
    far->kind = EVTCHN_UNBOUND;
    far->remote_domain = d->id;
    far->remote_port = 0;
    if (far->ours)
        vm_event_disable(other);
}

static void close_port(struct domain *d, unsigned port)
{
    struct evtchn_port *p = &d->ports[port];

    if (p->kind == EVTCHN_INTERDOMAIN)
        let_go(d, port);
    if (p->kind == EVTCHN_VIRQ) /* one of the whole domain is listed with vCPU 0, whoever is told */
        d->vcpu[virq_is_per_vcpu(p->virq) ? p->vcpu : 0]->virq_port[p->virq] = 0;
    *p = (struct evtchn_port){ .kind = EVTCHN_FREE };
    if (mfn_valid(d->shared_mfn))
        (void)shared_bit_clear(d, d->shared_mfn, pending_word(port), port % 64);
}

enum evtchn_result evtchn_close(struct domain *d, unsigned port)
{
    if (own_port(d, port) == NULL)
        return EVTCHN_INVALID;
    close_port(d, port);
    return EVTCHN_OK;
}

enum evtchn_result evtchn_alloc_ours(struct domain *d, uint16_t remote, unsigned *port)
{
    enum evtchn_result result = evtchn_alloc_unbound(d, remote, port);

    if (result == EVTCHN_OK)
        d->ports[*port].ours = true;
    return result;
}

void evtchn_close_ours(struct domain *d, unsigned port)
{
    struct evtchn_port *p = port_of(d, port);

    if (p == NULL || !p->ours)
        return;
    p->ours = false;
    close_port(d, port);
}

bool evtchn_is_bound(const struct domain *d, unsigned port)
{
    const struct evtchn_port *p = port_of(d, port);

    return p != NULL && p->kind == EVTCHN_INTERDOMAIN;
}

bool evtchn_reset(struct domain *d)
{
    for (unsigned n = 0; n < CLOSED_AT_ONCE && d->ports_end > 1; n++)
        (void)!evtchn_close(d, --d->ports_end);
    return d->ports_end <= 1;
}

/* ---- raising ---- */

void evtchn_notify_far(struct domain *d, unsigned port)
{
    const struct evtchn_port *p = port_of(d, port);
    struct domain            *far;

    if (p == NULL || p->kind != EVTCHN_INTERDOMAIN)
        return;
    far = domain_by_id(p->remote_domain);
    if (far != NULL && port_of(far, p->remote_port) != NULL)
        raise(far, p->remote_port);
}

enum evtchn_result evtchn_send(struct domain *d, unsigned port)
{
    const struct evtchn_port *p = own_port(d, port);
    struct domain            *other;

    if (p == NULL)
        return EVTCHN_INVALID;
    switch ((enum evtchn_kind)p->kind) {
    case EVTCHN_INTERDOMAIN:
        other = domain_by_id(p->remote_domain);
        if (other != NULL && port_of(other, p->remote_port) != NULL)
            raise(other, p->remote_port);
        return EVTCHN_OK;
    case EVTCHN_IPI:
        raise(d, port);
        return EVTCHN_OK;
    case EVTCHN_CONSOLE:
        ring_console_notify(d);
        return EVTCHN_OK;
    case EVTCHN_UNBOUND:
        return EVTCHN_OK; /* nobody is there to hear it */
    case EVTCHN_FREE:
    case EVTCHN_RESERVED:
    case EVTCHN_VIRQ:
        break;
    }
    return EVTCHN_INVALID;
}

enum evtchn_result evtchn_unmask(struct domain *d, unsigned port)
{
    if (own_port(d, port) == NULL)
        return EVTCHN_INVALID;
    if (shared_bit_clear(d, d->shared_mfn, mask_word(port), port % 64) && evtchn_pending(d, port))
        select_word(d, port);
    return EVTCHN_OK;
}

void evtchn_notify_guest(struct domain *d, unsigned port)
{
    if (port_of(d, port) != NULL)
        raise(d, port);
}

void evtchn_raise_virq(struct vcpu *v, unsigned virq)
{
    if (virq < VIRQS && v->virq_port[virq] != 0)
        raise(v->domain, v->virq_port[virq]);
}

enum evtchn_result evtchn_status(const struct domain *d, unsigned port,
                                 struct evtchn_report *report)
{
    const struct evtchn_port *p = port_of(d, port);

    *report = (struct evtchn_report){ .status = EVTCHNSTAT_closed };
    if (p == NULL)
        return port < DOMAIN_PORTS_MAX ? EVTCHN_OK : EVTCHN_INVALID;
    report->vcpu = p->vcpu;
    switch ((enum evtchn_kind)p->kind) {
    case EVTCHN_FREE:
    case EVTCHN_RESERVED:
        break;
    case EVTCHN_UNBOUND:
        report->status = EVTCHNSTAT_unbound;
        report->remote_domain = p->remote_domain;
        break;
    case EVTCHN_CONSOLE: /* to the guest, as if its console's other end were domain 0 */
    case EVTCHN_INTERDOMAIN:
        report->status = EVTCHNSTAT_interdomain;
        report->remote_domain = p->remote_domain;
        report->remote_port = p->remote_port;
        break;
    case EVTCHN_VIRQ:
        report->status = EVTCHNSTAT_virq;
        report->virq = p->virq;
        break;
    case EVTCHN_IPI:
        report->status = EVTCHNSTAT_ipi;
        break;
    }
    return EVTCHN_OK;
}
