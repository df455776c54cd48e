#include "tools/access/listen.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <xenevtchn.h>

#include <xen/vm_event.h>

#include "tools/access/decide.h"

/* The macros of ring.h are written without our warnings in mind. */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wconversion"

#define PAGE 4096
#define LOOK 1.0 /* seconds between looks at whether the domain is still there */

volatile sig_atomic_t listen_ended;

struct listener {
    const struct guest       *guest;
    const struct arguments   *a;
    const struct symbols     *symbols;
    struct summary           *summary;
    xenevtchn_handle         *channel;
    xenevtchn_port_or_error_t port; /* ours */
    void                     *page;
    vm_event_back_ring_t      ring;
    double                    start;
    bool                      stop, failed, paused;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the ring ---- */

static bool attach(struct listener *l)
{
    uint32_t port;

    l->page = xc_monitor_enable(l->guest->xc, l->guest->domain, &port);
    if (!l->page)
        return guest_refused(l->guest, "listening");
    l->channel = xenevtchn_open(NULL, 0);
    l->port = l->channel ? xenevtchn_bind_interdomain(l->channel, l->guest->domain, port) : -1;
    if (l->port < 0)
        return guest_refused(l->guest, "its event channel");
    SHARED_RING_INIT((vm_event_sring_t *)l->page);
    BACK_RING_INIT(&l->ring, (vm_event_sring_t *)l->page, PAGE);
    return true;
}

static void detach(struct listener *l)
{
    if (l->channel) {
        if (l->port >= 0)
            xenevtchn_unbind(l->channel, (evtchn_port_t)l->port);
        xenevtchn_close(l->channel);
    }
    if (!l->page)
        return;
    if (xc_monitor_disable(l->guest->xc, l->guest->domain) != 0 && guest_runs(l->guest))
        guest_refused(l->guest, "listening no more");
    munmap(l->page, PAGE);
}

static bool take_request(struct listener *l, vm_event_request_t *request)
{
    if (!RING_HAS_UNCONSUMED_REQUESTS(&l->ring))
        return false;
    RING_COPY_REQUEST(&l->ring, l->ring.req_cons, request);
    l->ring.req_cons++;
    l->ring.sring->req_event = l->ring.req_cons + 1;
    return true;
}

static void answer(struct listener *l, const vm_event_request_t *request, uint32_t flags)
{
    vm_event_response_t response = {
        .version = VM_EVENT_INTERFACE_VERSION,
        .flags = (request->flags & VM_EVENT_FLAG_VCPU_PAUSED) | flags,
        .reason = request->reason,
        .vcpu_id = request->vcpu_id,
        .u.mem_access = request->u.mem_access,
    };

    *RING_GET_RESPONSE(&l->ring, l->ring.rsp_prod_pvt) = response;
    l->ring.rsp_prod_pvt++;
    RING_PUSH_RESPONSES(&l->ring);
}

/* ---- an event ---- */

static enum kind kind_of(uint32_t flags)
{
    if (flags & MEM_ACCESS_FAULT_IN_GPT)
        return KIND_WALK;
    if (flags & MEM_ACCESS_X)
        return KIND_FETCH;
    return flags & MEM_ACCESS_W ? KIND_WRITE : KIND_READ;
}

static void report(const struct listener *l, const vm_event_request_t *request)
{
    static const char *const          names[] = { "read", "write", "fetch", "walk" };
    const struct vm_event_mem_access *access = &request->u.mem_access;
    uint64_t                          rip = request->data.regs.x86.rip;
    char                              symbol[256];

    symbols_name(l->symbols, rip, symbol, sizeof(symbol));
    printf("%.6f vcpu %u %s gfn %#" PRIx64 " offset %#" PRIx64, now() - l->start, request->vcpu_id,
           names[kind_of(access->flags)], (uint64_t)access->gfn, (uint64_t)access->offset);
    if (access->flags & MEM_ACCESS_GLA_VALID)
        printf(" linear %#" PRIx64, (uint64_t)access->gla);
    printf(" rip %#" PRIx64 "%s%s\n", rip, *symbol ? " " : "", symbol);
}

static void access_event(struct listener *l, const vm_event_request_t *request)
{
    uint64_t        gfn = request->u.mem_access.gfn;
    int             found = rules_find(&l->a->rules, gfn);
    enum action     action = found < 0 ? l->a->default_action : l->a->rules.rule[found].action;
    bool            waits = request->flags & VM_EVENT_FLAG_VCPU_PAUSED;
    struct decision d = decide(action, waits);

    summary_add(l->summary, gfn, kind_of(request->u.mem_access.flags), request->data.regs.x86.rip);
    if (d.report && !l->a->summary_only)
        report(l, request);
    if (d.open)
        l->failed |= !guest_set_rights(l->guest, gfn, 1, RIGHTS_RWX);
    if (d.stop && !l->paused) {
        l->paused = xc_domain_pause(l->guest->xc, l->guest->domain) == 0;
        l->failed |= !l->paused && !guest_refused(l->guest, "pausing");
    }
    l->stop = d.stop || (l->a->count && l->summary->events >= l->a->count);
    answer(l, request, d.emulate ? VM_EVENT_FLAG_EMULATE : 0);
}

static void drain(struct listener *l, bool watch)
{
    vm_event_request_t request;
    bool               any = false;

    /* No more than a ring has: what comes meanwhile has an event of its own. */
    for (unsigned i = 0; i < RING_SIZE(&l->ring); i++) {
        if ((watch && (l->stop || l->failed)) || !take_request(l, &request))
            break;
        any = true;
        if (watch && request.reason == VM_EVENT_REASON_MEM_ACCESS)
            access_event(l, &request);
        else
            answer(l, &request, 0);
    }
    if (any)
        xenevtchn_notify(l->channel, (evtchn_port_t)l->port);
}

/* ---- from start to end ---- */

static bool set_rights(const struct listener *l)
{
    const struct rules *rules = &l->a->rules;

    if (l->a->has_default && !guest_set_default(l->guest, l->a->default_rights))
        return false;
    for (unsigned i = 0; i < rules->count; i++)
        if (!guest_set_rights(l->guest, rules->rule[i].first, rules->rule[i].count,
                              rules->rule[i].rights))
            return false;
    return true;
}

static void set_back(const struct listener *l)
{
    const struct rules *rules = &l->a->rules;

    if (!guest_runs(l->guest))
        return;
    if (l->a->has_default)
        guest_set_default(l->guest, RIGHTS_RWX);
    for (unsigned i = 0; i < rules->count; i++)
        guest_set_rights(l->guest, rules->rule[i].first, rules->rule[i].count, RIGHTS_RWX);
}

static bool wait_for_event(struct listener *l)
{
    struct pollfd             fd = { .fd = xenevtchn_fd(l->channel), .events = POLLIN };
    int                       ready = poll(&fd, 1, 200);
    xenevtchn_port_or_error_t port;

    if (ready < 0 && errno != EINTR)
        return guest_refused(l->guest, "waiting for its events");
    if (ready <= 0)
        return true;
    port = xenevtchn_pending(l->channel);
    if (port < 0 || xenevtchn_unmask(l->channel, (evtchn_port_t)port) != 0)
        return guest_refused(l->guest, "its event channel");
    return true;
}

static void run(struct listener *l)
{
    double looked = l->start;

    while (!l->stop && !l->failed && !listen_ended) {
        l->failed |= !wait_for_event(l);
        drain(l, true);
        if (l->a->seconds && now() - l->start >= (double)l->a->seconds)
            l->stop = true;
        if (now() - looked >= LOOK) {
            looked = now();
            l->stop |= !guest_runs(l->guest);
        }
    }
}

bool listen_to(const struct guest *g, const struct arguments *a, const struct symbols *symbols,
               struct summary *summary, double *seconds)
{
    struct listener l = { .guest = g, .a = a, .symbols = symbols, .summary = summary, .port = -1 };

    l.start = now();
    l.failed = !attach(&l) || !set_rights(&l);
    if (!l.failed) {
        printf("domain %u is watched\n", g->domain);
        run(&l);
    }
    *seconds = now() - l.start;
    if (l.page) {
        set_back(&l);
        if (l.port >= 0)
            drain(&l, false);
    }
    detach(&l);
    if (l.paused)
        printf("domain %u is paused: xl unpause %u lets it go on\n", g->domain, g->domain);
    return !l.failed || !guest_runs(g);
}
