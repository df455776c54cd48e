/*
 * The PV console's other end. See ring.h for what is trusted.
 *
 * A guest that writes without end gets RING_BUDGET characters taken at each kick, in its
 * own time, and what is left is taken by a timer, so that others come in between.
 */
#include "hv/ring.h"

#include "hv/alloc.h"
#include "hv/console.h"
#include "hv/domain.h"
#include "hv/evtchn.h"
#include "hv/print.h"

#define RING_BUDGET  256
#define RING_TYPED   1024              /* characters that wait for the guest to take more */
#define RING_WAIT_NS UINT64_C(2000000) /* until what is left of a flood is looked at again */

struct ring_console {
    struct ring  ring;
    unsigned     port;
    bool         off; /* the guest broke it */
    struct timer rest;
    uint32_t     typed_first, typed_count; /* a circle: */
    char         typed[RING_TYPED];
};

struct ring_moved ring_take(struct ring *ring, char *to, size_t size)
{
    uint32_t prod = __atomic_load_n(&ring->page->out_prod, __ATOMIC_ACQUIRE);
    uint32_t filled = prod - ring->out_cons;

    if (filled > sizeof(ring->page->out))
        return (struct ring_moved){ .hostile = true, .guest = prod };
    size_t count = filled < size ? filled : size;

    for (size_t i = 0; i < count; i++)
        to[i] =
            __atomic_load_n(&ring->page->out[MASK_XENCONS_IDX(ring->out_cons + i, ring->page->out)],
                            __ATOMIC_RELAXED);
    ring->out_cons += (uint32_t)count;
    /* The characters are read before the guest may write over them. */
    __atomic_store_n(&ring->page->out_cons, ring->out_cons, __ATOMIC_RELEASE);
    return (struct ring_moved){ .count = count, .more = count < filled, .guest = prod };
}

struct ring_moved ring_give(struct ring *ring, const char *from, size_t count)
{
    uint32_t cons = __atomic_load_n(&ring->page->in_cons, __ATOMIC_ACQUIRE);
    uint32_t filled = ring->in_prod - cons;

    if (filled > sizeof(ring->page->in))
        return (struct ring_moved){ .hostile = true, .guest = cons };
    size_t room = sizeof(ring->page->in) - filled;

    if (count > room)
        count = room;
    for (size_t i = 0; i < count; i++)
        __atomic_store_n(&ring->page->in[MASK_XENCONS_IDX(ring->in_prod + i, ring->page->in)],
                         from[i], __ATOMIC_RELAXED);
    ring->in_prod += (uint32_t)count;
    /* The guest sees the characters before it sees that they are there. */
    __atomic_store_n(&ring->page->in_prod, ring->in_prod, __ATOMIC_RELEASE);
    return (struct ring_moved){ .count = count, .guest = cons };
}

/* Never touches the page again. */
static void switch_off(struct domain *d, const char *which, struct ring_moved moved, uint32_t ours)
{
    struct ring_console *c = d->console;

    c->off = true;
    c->typed_count = 0;
    timer_cancel(&c->rest);
    print("umbra: %s: console off: the guest's index %s is %u while ours is %u\n", d->name, which,
          moved.guest, ours);
}

/* Moves waiting characters into the ring; true if the guest is to be told. */
static bool feed(struct domain *d)
{
    struct ring_console *c = d->console;
    bool                 tell = false;

    while (c->typed_count > 0) {
        uint32_t run = RING_TYPED - c->typed_first; /* to the end of the circle */

        if (run > c->typed_count)
            run = c->typed_count;
        struct ring_moved moved = ring_give(&c->ring, c->typed + c->typed_first, run);

        if (moved.hostile) {
            switch_off(d, "in_cons", moved, c->ring.in_prod);
            return false;
        }
        if (moved.count == 0)
            break;
        c->typed_first = (c->typed_first + (uint32_t)moved.count) % RING_TYPED;
        c->typed_count -= (uint32_t)moved.count;
        tell = true;
    }
    return tell;
}

/* Moves in both directions, within the budget. */
static void serve(struct domain *d)
{
    struct ring_console *c = d->console;
    char                 bytes[RING_BUDGET];
    struct ring_moved    moved = ring_take(&c->ring, bytes, sizeof(bytes));

    if (moved.hostile) {
        switch_off(d, "out_prod", moved, c->ring.out_cons);
        return;
    }
    if (moved.count > 0)
        console_guest_output(d, bytes, moved.count);
    if (moved.more)
        timer_set(&c->rest, machine_now() + RING_WAIT_NS);
    bool fed = feed(d);

    if (fed || moved.count > 0)
        evtchn_notify_guest(d, c->port);
}

static void serve_rest(void *domain)
{
    struct domain *d = domain;

    if (!d->console->off)
        serve(d);
}

bool ring_console_init(struct domain *d, mfn_t page, unsigned port)
{
    struct ring_console *c = alloc_bytes(sizeof(*c));

    if (!c)
        return false;
    c->ring.page = phys_ptr(&machine_phys, page);
    c->port = port;
    c->rest.run = serve_rest;
    c->rest.arg = d;
    d->console = c;
    return true;
}

void ring_console_notify(struct domain *d)
{
    if (d->console && !d->console->off)
        serve(d);
}

size_t ring_console_type(struct domain *d, const char *bytes, size_t count)
{
    struct ring_console *c = d->console;

    if (!c || c->off)
        return 0;
    if (count > RING_TYPED - c->typed_count)
        count = RING_TYPED - c->typed_count;
    for (size_t i = 0; i < count; i++)
        c->typed[(c->typed_first + c->typed_count++) % RING_TYPED] = bytes[i];
    if (feed(d))
        evtchn_notify_guest(d, c->port);
    return count;
}

void ring_console_finish(struct domain *d)
{
    struct ring_console *c = d->console;
    size_t               left = c ? sizeof(c->ring.page->out) : 0;

    /* One ring full at most: no vCPU runs, but the page may be shared. */
    while (left > 0 && !c->off) {
        char              bytes[RING_BUDGET];
        struct ring_moved moved = ring_take(&c->ring, bytes, sizeof(bytes));

        if (moved.hostile)
            switch_off(d, "out_prod", moved, c->ring.out_cons);
        console_guest_output(d, bytes, moved.count);
        left = moved.more ? left - moved.count : 0;
    }
    console_flush(d);
}

void ring_console_destroy(struct domain *d)
{
    struct ring_console *c = d->console;

    console_forget(d);
    if (!c)
        return;
    d->console = NULL;
    timer_cancel(&c->rest);
    free_bytes(c, sizeof(*c));
}
