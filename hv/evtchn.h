/*
 * Event channels, the two-level ABI: a port has a pending and a mask bit in shared_info, a
 * vCPU has a word that says in which words of them to look, and a byte that asks for the
 * upcall. Bits live in guest memory and are only hints to the guest: what a port is bound
 * to is kept here.
 */
#ifndef HV_EVTCHN_H
#define HV_EVTCHN_H

#include "hv/domain.h"

enum evtchn_kind {
    EVTCHN_FREE,
    EVTCHN_RESERVED,    /* port 0 */
    EVTCHN_UNBOUND,     /* waits for a domain to bind to it */
    EVTCHN_INTERDOMAIN, /* the other end is a port of a domain */
    EVTCHN_VIRQ,
    EVTCHN_IPI,
    EVTCHN_CONSOLE, /* the other end is the hypervisor's, as the far end of the console ring */
};

struct evtchn_port {
    uint8_t  kind; /* enum evtchn_kind */
    uint8_t  vcpu; /* who is told */
    bool     ours; /* the hypervisor is told instead, and the domain can do nothing with it */
    uint16_t virq;
    uint16_t remote_domain; /* of UNBOUND: who may bind; of INTERDOMAIN: whose port it is */
    uint16_t remote_port;
};

enum evtchn_result {
    EVTCHN_OK,
    EVTCHN_INVALID, /* no such port, or of a kind that cannot do this */
    EVTCHN_FULL,    /* no port is free */
    EVTCHN_EXISTS,  /* the virq has a port already */
    EVTCHN_NO_VCPU,
    EVTCHN_NO_DOMAIN,
};

/* What EVTCHNOP_status reports; `status` is EVTCHNSTAT_*. */
struct evtchn_report {
    uint32_t status, vcpu;
    uint16_t remote_domain;
    uint32_t remote_port;
    uint32_t virq;
};

/* Ports of a new domain; false if memory is short. */
must_check bool evtchn_init(struct domain *d);
/* Closes some ports; when all are closed it gives the table back, and returns true from then on. */
must_check bool evtchn_destroy(struct domain *d);

must_check enum evtchn_result evtchn_alloc_unbound(struct domain *d, uint16_t remote,
                                                   unsigned *port);
must_check enum evtchn_result evtchn_bind_interdomain(struct domain *d, uint16_t remote,
                                                      unsigned remote_port, unsigned *port);
must_check enum evtchn_result evtchn_bind_virq(struct domain *d, unsigned vcpu, unsigned virq,
                                               unsigned *port);
must_check enum evtchn_result evtchn_bind_ipi(struct domain *d, unsigned vcpu, unsigned *port);
/* A port whose other end is the hypervisor's console. */
must_check enum evtchn_result evtchn_bind_console(struct domain *d, unsigned *port);

/*
 * A port for another domain to bind to, by which it is connected with the hypervisor: what it sends are
 * answers to the events of this domain (hv/vm_event.h), and when it closes its end, nobody listens.
 */
must_check enum evtchn_result evtchn_alloc_ours(struct domain *d, uint16_t remote, unsigned *port);
void                          evtchn_close_ours(struct domain *d, unsigned port);
must_check bool               evtchn_is_bound(const struct domain *d, unsigned port);
/* Raises the other end of such a port, if there is one. */
void evtchn_notify_far(struct domain *d, unsigned port);

must_check enum evtchn_result evtchn_bind_vcpu(struct domain *d, unsigned port, unsigned vcpu);
must_check enum evtchn_result evtchn_close(struct domain *d, unsigned port);
must_check enum evtchn_result evtchn_send(struct domain *d, unsigned port);
must_check enum evtchn_result evtchn_unmask(struct domain *d, unsigned port);
must_check enum evtchn_result evtchn_status(const struct domain *d, unsigned port,
                                            struct evtchn_report *report);
/* Closes some ports; true if none is left. */
must_check bool evtchn_reset(struct domain *d);

/* True if the port's pending bit is set now; false for a port that is no port. */
bool evtchn_pending(const struct domain *d, unsigned port);

/* From the hypervisor's side: a port of the guest's is raised, or a virq of a vCPU. */
void evtchn_notify_guest(struct domain *d, unsigned port);
void evtchn_raise_virq(struct vcpu *v, unsigned virq);

/* The vCPU is to look at its events: what registering a new vcpu_info needs. */
void evtchn_upcall(struct vcpu *v);

#endif
