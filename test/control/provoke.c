/*
 * Does in the control domain what no good tool does, for tests: listens to a domain and never answers, or dies in the
 * middle of it; keeps a domain's pages mapped while that is destroyed. `provoke` alone says how.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>

#include <xen/vm_event.h>

/* The macros of ring.h are written without our warnings in mind. */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wconversion"

#define PAGE    4096u
#define AT_ONCE 256u   /* frames of one map */
#define MOST    16384u /* frames in all */
#define LOWEST                                                                                     \
    0x4000u /* of a guest that has a map of its own: what it has above is not looked at */

static xc_interface         *xc;
static volatile sig_atomic_t ended;

static _Noreturn void fail(const char *what)
{
    printf("provoke: FAILED: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void end(int signal)
{
    (void)signal;
    ended = 1;
}

static uint32_t number(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 0);
}

/* ---- memory ---- */

static void say_free(void)
{
    xc_physinfo_t info;

    memset(&info, 0, sizeof(info));
    if (xc_physinfo(xc, &info) != 0)
        fail("physinfo");
    printf("%llu\n", (unsigned long long)info.free_pages);
}

static bool is_pv(uint32_t domain)
{
    xc_domaininfo_t info;

    if (xc_domain_getinfolist(xc, domain, 1, &info) != 1 || info.domain != domain)
        fail("no such domain");
    return !(info.flags & XEN_DOMINF_hvm_guest);
}

/* The pool of its tables, by the words that tools had for it before. That of a PV domain is not theirs. */
static void set_pool(uint32_t domain, const char *mib)
{
    unsigned int size = mib ? number(mib) : 0;

    if (mib && xc_shadow_control(xc, domain, XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION, &size, 0) < 0 &&
        !(is_pv(domain) && errno == EOPNOTSUPP))
        fail("SET_ALLOCATION");
    size = 0;
    if (xc_shadow_control(xc, domain, XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION, &size, 0) < 0)
        fail("GET_ALLOCATION");
    printf("provoke: the pool of domain %u has %u MiB\n", domain, size);
}

/* A PV guest's frames have numbers of the machine's. */
static unsigned long last_frame(uint32_t domain)
{
    unsigned long last = 0;

    if (is_pv(domain) ? xc_maximum_ram_page(xc, &last) != 0
                      : xc_domain_maximum_gpfn(xc, domain, &last) < 0)
        fail("its last frame");
    return last;
}

/* All of its frames that may be mapped so. */
static void map_all(uint32_t domain)
{
    xenforeignmemory_handle *memory = xenforeignmemory_open(NULL, 0);
    unsigned long            end_of = is_pv(domain) ? last_frame(domain) : LOWEST;
    unsigned                 count = 0, parts = 0;
    static void             *part[MOST];
    xen_pfn_t                number_of[AT_ONCE];
    int                      error[AT_ONCE];
    uint64_t                 sum = 0;

    if (!memory)
        fail("memory");
    for (unsigned long at = 0; at < end_of && count < MOST - AT_ONCE; at += AT_ONCE) {
        unsigned good = 0;

        for (unsigned i = 0; i < AT_ONCE; i++)
            number_of[i] = at + i;
        part[parts] = xenforeignmemory_map(memory, domain, PROT_READ, AT_ONCE, number_of, error);
        if (!part[parts])
            continue;
        for (unsigned i = 0; i < AT_ONCE; i++)
            if (error[i] == 0) {
                sum += *((volatile uint64_t *)part[parts] + i * PAGE / 8);
                good++;
            }
        count += good;
        if (good)
            parts++;
        else
            xenforeignmemory_unmap(memory, part[parts], AT_ONCE);
    }
    printf("provoke: %u frames of domain %u are mapped, sum %llx\n", count, domain,
           (unsigned long long)sum);
    while (!ended)
        pause();
    for (unsigned i = 0; i < parts; i++)
        xenforeignmemory_unmap(memory, part[i], AT_ONCE);
    printf("provoke: the frames of domain %u are mapped no more\n", domain);
    xenforeignmemory_close(memory);
}

/* ---- listening ---- */

struct listener {
    uint32_t                  domain;
    xenevtchn_handle         *channel;
    xenevtchn_port_or_error_t port;
    vm_event_back_ring_t      ring;
};

static void attach(struct listener *l)
{
    uint32_t port;
    void    *page = xc_monitor_enable(xc, l->domain, &port);

    l->channel = xenevtchn_open(NULL, 0);
    if (!page || !l->channel)
        fail("listening");
    l->port = xenevtchn_bind_interdomain(l->channel, l->domain, port);
    if (l->port < 0)
        fail("its channel");
    SHARED_RING_INIT((vm_event_sring_t *)page);
    BACK_RING_INIT(&l->ring, (vm_event_sring_t *)page, PAGE);
    printf("provoke: domain %u is listened to\n", l->domain);
}

/*
 * What it asks for is told, it does not wait for an answer; so are loads of CR3. Under steps, each instruction, and
 * then it waits at these loads as well.
 */
static void watch_events(const struct listener *l, bool step)
{
    if (xc_monitor_guest_request(xc, l->domain, true, false, true) != 0 ||
        xc_monitor_write_ctrlreg(xc, l->domain, VM_EVENT_X86_CR3, true, step, 0, false) != 0 ||
        (step && xc_monitor_singlestep(xc, l->domain, true) != 0))
        fail("its events");
}

/* What it writes is forbidden, whatever rights its frames had before. */
static void watch_writes(const struct listener *l)
{
    if (xc_set_mem_access(xc, l->domain, XENMEM_access_rx, ~0ull, 0) != 0 ||
        xc_set_mem_access(xc, l->domain, XENMEM_access_rx, 0, (uint32_t)last_frame(l->domain)) != 0)
        fail("its rights");
}

static bool answer(struct listener *l, uint32_t flags)
{
    vm_event_request_t  request;
    vm_event_response_t response;

    if (!RING_HAS_UNCONSUMED_REQUESTS(&l->ring))
        return false;
    RING_COPY_REQUEST(&l->ring, l->ring.req_cons, &request);
    l->ring.req_cons++;
    memset(&response, 0, sizeof(response));
    response.version = VM_EVENT_INTERFACE_VERSION;
    response.vcpu_id = request.vcpu_id;
    response.reason = request.reason;
    response.u = request.u;
    response.flags = (request.flags & VM_EVENT_FLAG_VCPU_PAUSED) | flags;
    if (request.reason == VM_EVENT_REASON_MEM_ACCESS)
        response.flags |= VM_EVENT_FLAG_EMULATE;
    *RING_GET_RESPONSE(&l->ring, l->ring.rsp_prod_pvt) = response;
    l->ring.rsp_prod_pvt++;
    RING_PUSH_RESPONSES(&l->ring);
    return true;
}

/* Nobody reads the ring: it fills. A guest that tells nothing by itself waits for the answer about a write then. */
static void keep_silent(uint32_t domain)
{
    struct listener l = { .domain = domain };
    unsigned        full, tries = 0;

    attach(&l);
    watch_events(&l, false);
    full = RING_SIZE(&l.ring);
    while (l.ring.sring->req_prod < full && tries++ < 20)
        usleep(100000);
    watch_writes(&l);
    while (l.ring.sring->req_prod == 0)
        usleep(100000);
    printf("provoke: %u requests of domain %u wait\n", l.ring.sring->req_prod, domain);
    for (;;)
        pause();
}

/*
 * It dies when it has answered so many: with the next request before it, or at once, when the vCPU is to make the one
 * step that the last answer is about.
 */
static void die_after(uint32_t domain, unsigned answers, bool at_once)
{
    struct listener l = { .domain = domain };
    unsigned        count = 0;

    attach(&l);
    watch_events(&l, true);
    watch_writes(&l);
    printf("provoke: it dies after %u answers\n", answers);
    while (count < answers)
        if (!answer(&l, count == 0 ? VM_EVENT_FLAG_TOGGLE_SINGLESTEP : 0))
            usleep(1000);
        else if (xenevtchn_notify(l.channel, (evtchn_port_t)l.port) == 0)
            count++;
    while (!at_once && !RING_HAS_UNCONSUMED_REQUESTS(&l.ring))
        usleep(1000);
    kill(getpid(), SIGKILL);
}

/* Between the two calls by which one listens. */
static void die_unbound(uint32_t domain)
{
    uint32_t port;

    if (!xc_monitor_enable(xc, domain, &port))
        fail("listening");
    printf("provoke: it dies before it binds port %u\n", port);
    kill(getpid(), SIGKILL);
}

int main(int argc, char **argv)
{
    const struct sigaction on_end = { .sa_handler = end };
    const char            *what = argc > 1 ? argv[1] : "";
    uint32_t               domain = argc > 2 ? number(argv[2]) : 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    xc = xc_interface_open(NULL, NULL, 0);
    if (!xc)
        fail("hypercalls");
    if (strcmp(what, "map") == 0)
        sigaction(SIGTERM, &on_end, NULL);
    if (argc == 2 && strcmp(what, "free") == 0)
        say_free();
    else if (argc == 3 && strcmp(what, "last") == 0)
        printf("%#lx\n", last_frame(domain));
    else if (argc == 3 && strcmp(what, "map") == 0)
        map_all(domain);
    else if (argc == 3 && strcmp(what, "silent") == 0)
        keep_silent(domain);
    else if (argc == 3 && strcmp(what, "unbound") == 0)
        die_unbound(domain);
    else if (argc == 4 && strcmp(what, "asked") == 0)
        die_after(domain, number(argv[3]), false);
    else if (argc == 4 && strcmp(what, "answered") == 0)
        die_after(domain, number(argv[3]), true);
    else if ((argc == 3 || argc == 4) && strcmp(what, "pool") == 0)
        set_pool(domain, argv[3]);
    else {
        printf("provoke free | last DOM | map DOM | silent DOM | unbound DOM | asked DOM ANSWERS | "
               "answered DOM ANSWERS | pool DOM [MIB]\n");
        return 2;
    }
    xc_interface_close(xc);
    return 0;
}
