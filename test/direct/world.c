#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pte_t SLOTS[DIRECT_SLOTS] = { { 0xabcdef000 | PTE_P }, { 0x123456000 | PTE_P } };

/* Only ever set here, so it is no part of a world's state. */
static uint64_t dirty[(WORLD_FRAMES + WORLD_POOL + 63) / 64];

void world_init(struct world *w, unsigned frames, unsigned vcpus, uint64_t l1tf_limit)
{
    memset(w, 0, sizeof(*w));
    w->memory = aligned_alloc(PAGE_SIZE, frames * PAGE_SIZE);
    if (!w->memory)
        abort();
    memset(w->memory, 0, frames * PAGE_SIZE);
    w->phys = (struct phys){ w->memory, frames, w->frame, NULL, dirty };
    w->frames = frames;
    direct_machine_init(&w->machine, &w->phys, vcpus, l1tf_limit, SLOTS);
    for (unsigned i = 0; i < WORLD_DOMAINS; i++)
        direct_domain_init(&w->domain[i], &w->machine, (uint16_t)(i + 1));
    for (unsigned i = 1; i < frames; i++)
        direct_allocate(&w->domain[0], mfn_of(i));
    w->vcpus = vcpus;
    /* Their stamps are young, so that only what is right needs no flush. */
    for (unsigned i = 0; i < vcpus; i++) {
        world_flush_begin(w, i);
        world_flush_end(w, i);
    }
    for (unsigned i = 0; i < vcpus; i++) {
        direct_vcpu_init(&w->vcpu[i], &w->domain[0]);
        w->loaded[i][0] = w->loaded[i][1] = MFN_NONE;
    }
}

void world_free(struct world *w)
{
    free(w->memory);
}

uint64_t *world_entry(const struct world *w, unsigned frame, unsigned index)
{
    return (uint64_t *)(w->memory + frame * PAGE_SIZE) + index;
}

struct direct_request world_request(struct world *w, enum direct_op op, unsigned frame)
{
    return (struct direct_request){
        .op = op, .owner = &w->domain[0], .from = w->domain[0].id, .mfn = mfn_of(frame)
    };
}

void world_flush_begin(struct world *w, unsigned cpu)
{
    w->tick[cpu] = direct_flush_begin(&w->machine);
    w->ticking[cpu] = true;
}

void world_flush_end(struct world *w, unsigned cpu)
{
    memset(&w->tlb[cpu], 0, sizeof(w->tlb[cpu]));
    direct_flush_end(&w->machine, cpu, w->tick[cpu]);
    w->ticking[cpu] = false;
    w->tick[cpu] = 0;
}

static void flush(struct world *w, unsigned cpu)
{
    bool     ticking = w->ticking[cpu];
    uint32_t tick = w->tick[cpu];

    world_flush_begin(w, cpu);
    if (w->tick[cpu] == 0) {
        for (unsigned i = 0; i < w->vcpus; i++) {
            w->tick[i] = 0;
            world_flush_end(w, i);
        }
        direct_clock_restart(&w->machine);
        return;
    }
    world_flush_end(w, cpu);
    /* A flush that had begun before is still to be ended. */
    w->ticking[cpu] = ticking;
    w->tick[cpu] = tick;
}

void world_carry_out(struct world *w, const struct direct_vcpu *v)
{
    unsigned self = (unsigned)(v - w->vcpu);

    if (w->shadowed)
        w->obey(w->shadowed, self, &v->ask);
    switch (v->ask.kind) {
    case DIRECT_ASK_FLUSH:
        for (unsigned i = 0; i < w->vcpus; i++)
            if ((v->ask.cpus >> i & 1) != 0)
                flush(w, i);
        return;
    case DIRECT_ASK_UNSHADOW:
    case DIRECT_ASK_FOLLOW:
        if (!w->shadowed && v->ask.kind == DIRECT_ASK_UNSHADOW)
            w->frame[v->ask.mfn.raw].guest.shadows = 0;
        return;
    case DIRECT_ASK_LOAD:
        w->loaded[self][v->request.user] = v->ask.mfn;
        flush(w, self);
        return;
    }
}

/* As the hypervisor asks for it, if the machine may do what is usual in one go. */
static bool root_in_one_go(struct world *w, unsigned vcpu, const struct direct_request *r)
{
    struct direct_vcpu *v = &w->vcpu[vcpu];
    mfn_t               old;

    if (r->op != DIRECT_ROOT || r->owner != v->domain ||
        !direct_root_take(v, r->mfn, r->user, &old))
        return false;
    w->loaded[vcpu][r->user] = r->mfn;
    flush(w, vcpu);
    direct_root_leave(v, old);
    return true;
}

/* The same for an update that can be one of a list. */
static bool update_in_one_go(struct world *w, unsigned vcpu, const struct direct_request *r,
                             unsigned budget)
{
    struct direct_store store;

    return world_store(&w->vcpu[vcpu], r, &store) &&
           direct_update_now(&w->vcpu[vcpu], &store, 1, budget) == 1;
}

bool world_store(const struct direct_vcpu *v, const struct direct_request *r,
                 struct direct_store *store)
{
    store->at = r->mfn.raw << PAGE_SHIFT | r->index * sizeof(uint64_t) |
                ((r->flags & DIRECT_PRESERVE) != 0 ? DIRECT_AT_PRESERVE : 0);
    store->value = r->value;
    return r->op == DIRECT_UPDATE && r->owner == v->domain && r->from == v->domain->id &&
           (r->flags & ~DIRECT_PRESERVE) == 0 && r->mfn.raw < UINT64_MAX >> PAGE_SHIFT &&
           r->index < DIRECT_ENTRIES;
}

struct direct_verdict world_do(struct world *w, unsigned vcpu, const struct direct_request *r,
                               unsigned budget)
{
    struct direct_vcpu   *v = &w->vcpu[vcpu];
    struct direct_verdict verdict = { .status = DIRECT_AGAIN };

    if (root_in_one_go(w, vcpu, r) || update_in_one_go(w, vcpu, r, budget)) {
        if (direct_unfinished(v))
            world_drain(w, vcpu, budget);
        return (struct direct_verdict){ .status = DIRECT_DONE };
    }
    /* Every call gets somewhere, however small its budget. */
    for (unsigned calls = 0; calls < 100000; calls++) {
        verdict = direct_do(v, r, budget);

        if (verdict.status == DIRECT_ASK)
            world_carry_out(w, v);
        else if (verdict.status != DIRECT_AGAIN)
            break;
    }
    if (verdict.unfinished)
        world_drain(w, vcpu, budget);
    return verdict;
}

void world_drain(struct world *w, unsigned vcpu, unsigned budget)
{
    struct direct_request r = { .op = DIRECT_DRAIN };

    if (world_do(w, vcpu, &r, budget).status != DIRECT_DONE)
        abort();
}

/* ---- TLBs ---- */

static bool has_entry(const struct world *w, unsigned table, unsigned frame, uint64_t flags)
{
    for (unsigned i = 0; i < DIRECT_ENTRIES; i++) {
        pte_t e = { *world_entry(w, table, i) };

        if (pte_has(e, flags) && pte_frame(e) == frame)
            return true;
    }
    return false;
}

/* It may walk frame `t` at this level: it is a live table, or was one when it was remembered. */
static bool walks(const struct world *w, unsigned cpu, unsigned t, unsigned level)
{
    struct type type = type_read(&w->machine, mfn_of(t));

    return (w->tlb[cpu].table[level] >> t & 1) != 0 || (type.kind == level && type_is_live(type));
}

bool world_load_leaf(struct world *w, unsigned cpu, unsigned frame, bool writable)
{
    uint16_t *has = writable ? &w->tlb[cpu].writable : &w->tlb[cpu].read;

    for (unsigned t = 1; (*has >> frame & 1) == 0 && t < w->frames; t++) {
        if (!walks(w, cpu, t, TYPE_L1) || !has_entry(w, t, frame, writable ? PTE_P | PTE_W : PTE_P))
            continue;
        *has = (uint16_t)(*has | 1u << frame);
        return true;
    }
    return false;
}

/*
 * A live one, wherever it is linked; or one below what is remembered. Linear entries are left out:
 * what is walked through them is read only.
 */
static bool leads(const struct world *w, unsigned cpu, unsigned frame, unsigned level)
{
    struct type type = type_read(&w->machine, mfn_of(frame));

    if (type.kind == level && type_is_live(type))
        return true;
    for (unsigned t = 1; level < TYPE_L4 && type.kind != level + 1 && t < w->frames; t++)
        if ((w->tlb[cpu].table[level + 1] >> t & 1) != 0 && has_entry(w, t, frame, PTE_P))
            return true;
    return false;
}

bool world_load_table(struct world *w, unsigned cpu, unsigned frame)
{
    for (unsigned level = TYPE_L1; level <= TYPE_L4; level++) {
        uint16_t *has = &w->tlb[cpu].table[level];

        if ((*has >> frame & 1) == 0 && leads(w, cpu, frame, level)) {
            *has = (uint16_t)(*has | 1u << frame);
            return true;
        }
    }
    return false;
}

/* Somebody has taken it, and waits for the flush. */
static bool is_awaited(const struct world *w, unsigned frame)
{
    for (unsigned i = 0; i < w->vcpus; i++) {
        const struct direct_vcpu *v = &w->vcpu[i];

        if (v->phase != PHASE_ASK || v->ask.kind != DIRECT_ASK_FLUSH)
            continue;
        if (v->after_ask == PHASE_TAKEN ? v->job.mfn.raw == frame
                                        : v->stack[v->depth - 1].table.raw == frame)
            return true;
    }
    return false;
}

static bool wrong(struct world *w, const char *what, unsigned frame)
{
    snprintf(w->why, sizeof(w->why), "%s %u", what, frame);
    return false;
}

/* What a processor may find in a live table, in words of its own: not those of the core. */
static bool entry_sound(const struct world *w, unsigned table, unsigned level, uint64_t e)
{
    const uint64_t p = 1, rw = 2, us = 4, pwt = 8, pcd = 16, ps_or_pat = 128;
    uint64_t       frame = e << 12 >> 24;
    struct type    to;

    if ((e & p) == 0)
        return true;
    if ((e & us) == 0 || (e & (pwt | pcd | ps_or_pat)) != 0 || frame >= w->frames)
        return false;
    to = type_read(&w->machine, mfn_of(frame));
    if (level == 1)
        return (e & rw) == 0 || (to.kind == TYPE_WRITABLE && to.count > 0);
    if (frame == table)
        return (e & rw) == 0;
    return type_is_live(to) && (to.kind + 1u == level || (to.kind == level && (e & rw) == 0));
}

static bool table_sound(struct world *w, unsigned frame)
{
    struct type type = type_read(&w->machine, mfn_of(frame));

    if (!type_is_table(type.kind) || !type_is_live(type))
        return true;
    for (unsigned i = 0; i < DIRECT_ENTRIES; i++)
        if ((type.kind != TYPE_L4 || i < 256 || i > 271) &&
            !entry_sound(w, frame, type.kind, *world_entry(w, frame, i)))
            return wrong(w, "P3: a processor finds what may not be, in table", frame);
    return true;
}

static bool tlb_sound(struct world *w, unsigned cpu, unsigned frame)
{
    const struct tlb *tlb = &w->tlb[cpu];
    struct type       type = type_read(&w->machine, mfn_of(frame));
    unsigned          bit = 1u << frame;

    if (w->frame[frame].kind != FRAME_GUEST)
        return ((tlb->writable | tlb->read) & bit) == 0 ||
               wrong(w, "P2: a TLB reaches what is not a guest's, frame", frame);
    if (type.count == 0 || is_awaited(w, frame))
        return true;
    if (type.kind != TYPE_WRITABLE && (tlb->writable & bit) != 0)
        return wrong(w, "P2: a TLB may write the table in frame", frame);
    for (unsigned level = TYPE_L1; level <= TYPE_L4; level++)
        if (level != type.kind && (tlb->table[level] & bit) != 0)
            return wrong(w, "P2: a processor walks as a table of another kind frame", frame);
    return true;
}

bool world_sound(struct world *w)
{
    struct direct_domain *domains[WORLD_DOMAINS] = { &w->domain[0], &w->domain[1] };
    struct direct_tally   tally[WORLD_FRAMES] = { { 0 } };
    struct direct_window  window = { mfn_of(0), w->frames, tally };
    struct direct_audit   audit = { 0 };

    for (unsigned i = 0; i < w->vcpus; i++) {
        if (w->vcpu[i].broken) {
            snprintf(w->why, sizeof(w->why), "broken: %s", w->vcpu[i].broken);
            return false;
        }
        for (unsigned u = 0; u < 2; u++) {
            mfn_t root = w->loaded[i][u];

            if (mfn_valid(root) && (type_read(&w->machine, root).kind != TYPE_L4 ||
                                    !type_is_live(type_read(&w->machine, root))))
                return wrong(w, "P2: a processor runs on a root that is no table, frame",
                             (unsigned)root.raw);
        }
    }
    direct_audit(&w->machine, domains, WORLD_DOMAINS, &window, &audit);
    if (audit.violations != 0) {
        snprintf(w->why, sizeof(w->why), "%s", audit.first);
        return false;
    }
    for (unsigned frame = 1; frame < w->frames; frame++)
        if (!table_sound(w, frame))
            return false;
    for (unsigned cpu = 0; cpu < w->vcpus; cpu++)
        for (unsigned frame = 1; frame < w->frames; frame++)
            if (!tlb_sound(w, cpu, frame))
                return false;
    return true;
}

bool world_quiet(const struct world *w)
{
    for (unsigned i = 0; i < w->vcpus; i++)
        if (w->vcpu[i].running || direct_unfinished(&w->vcpu[i]))
            return false;
    return true;
}
