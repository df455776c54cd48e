#include "shadowed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct pt_features FEATURES = { .maxphys = 40, .gb1 = false, .nx = true };

#define CR0  (UINT64_C(1) << 31 | UINT64_C(1) << 16 | 1) /* PG, WP, PE */
#define CR4  (UINT64_C(1) << 5)                          /* PAE */
#define EFER (UINT64_C(1) << 10 | UINT64_C(1) << 11)     /* LMA, NXE */

static struct paging_locked lock(struct shadowed *s)
{
    return (struct paging_locked){ &s->paging };
}

void shadowed_flush(struct shadowed *s, unsigned vcpu)
{
    memset(s->tlb[vcpu], 0, sizeof(s->tlb[vcpu]));
}

/* What a verdict asks for, on all processors. */
static void flush(struct shadowed *s, const struct verdict *v)
{
    for (unsigned cpu = 0; cpu < s->w->vcpus; cpu++) {
        if (v->flush == FLUSH_ALL)
            shadowed_flush(s, cpu);
        for (unsigned i = 0; v->flush == FLUSH_PAGE && i < SHADOWED_TLB; i++)
            if (s->tlb[cpu][i].va >> PAGE_SHIFT == v->va.raw >> PAGE_SHIFT)
                s->tlb[cpu][i].used = false;
    }
}

static void obey(struct shadowed *s, unsigned vcpu, const struct direct_ask *ask)
{
    struct verdict v = { .flush = FLUSH_NONE };

    switch (ask->kind) {
    case DIRECT_ASK_UNSHADOW:
        v = paging_pv_unshadow(lock(s), ask->mfn);
        s->unshadows++;
        break;
    case DIRECT_ASK_FOLLOW:
        v = paging_pv_follow(lock(s), ask->mfn, ask->index);
        s->follows++;
        break;
    case DIRECT_ASK_LOAD: /* it leaves ring 3's root at once, and gets another at its next entry */
        shadowed_flush(s, vcpu);
        break;
    case DIRECT_ASK_FLUSH:
        for (unsigned cpu = 0; cpu < s->w->vcpus; cpu++)
            if ((ask->cpus >> cpu & 1) != 0)
                shadowed_flush(s, cpu);
        break;
    }
    flush(s, &v);
}

void shadowed_init(struct shadowed *s, struct world *w)
{
    uint64_t all = WORLD_FRAMES + WORLD_POOL;
    uint8_t *memory = aligned_alloc(PAGE_SIZE, all * PAGE_SIZE);

    if (!memory)
        abort();
    memset(s, 0, sizeof(*s));
    memset(memory, 0xa5, all * PAGE_SIZE); /* the pool's frames are not clear */
    memcpy(memory, w->memory, w->frames * PAGE_SIZE);
    free(w->memory);
    w->memory = memory;
    w->phys = (struct phys){ memory, all, w->frame, s->watched, w->phys.dirty };
    w->shadowed = s;
    w->obey = obey;
    s->w = w;
    pool_init(&s->paging.pool, &w->phys, w->domain[0].id);
    for (unsigned i = WORLD_FRAMES; i < all; i += 2)
        pool_add(&s->paging.pool, mfn_of(i));
}

/* ---- switching ---- */

static void begin(struct shadowed *s)
{
    if (!paging_pv_init(&s->paging, &s->w->phys, s->w->domain[0].id, FEATURES, s->w->machine.slots))
        abort();
    for (unsigned i = 0; i < s->w->vcpus; i++) {
        paging_vcpu_init(&s->paging, &s->vcpu[i], MFN_NONE);
        shadowed_flush(s, i);
    }
    s->on = true;
    s->w->domain[0].shadowed = true;
}

static void leave(struct shadowed *s)
{
    paging_pv_leave(lock(s));
    s->on = false;
    s->emptying = true;
    for (unsigned i = 0; i < s->w->vcpus; i++)
        shadowed_flush(s, i);
}

bool shadowed_end(struct shadowed *s, unsigned budget)
{
    if (s->on)
        leave(s);
    if (s->emptying)
        s->emptying = !paging_domain_reap(lock(s), budget);
    return !s->emptying;
}

bool shadowed_switch(struct shadowed *s, bool on, unsigned budget)
{
    if (s->emptying) {
        s->emptying = !paging_domain_reap(lock(s), budget);
        return !s->emptying && !on;
    }
    if (on == s->on || (!on && s->w->domain[0].leaky))
        return true;
    s->switches++;
    if (on) {
        begin(s);
        return true;
    }
    leave(s);
    s->w->domain[0].shadowed = false;
    return false;
}

bool shadowed_work(struct shadowed *s, unsigned budget)
{
    if (s->emptying)
        s->emptying = !paging_domain_reap(lock(s), budget);
    return s->emptying ? false : !s->on || paging_work(lock(s), budget);
}

/* ---- accesses ---- */

static unsigned index_at(uint64_t va, unsigned level)
{
    return (unsigned)(va >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
}

static uint32_t code_of(unsigned acc, uint32_t present)
{
    return present | PFEC_U | (acc & ACC_WRITE ? PFEC_W : 0u) | (acc & ACC_FETCH ? PFEC_FETCH : 0u);
}

/* A processor's walk from this root, in ring 3; it sets A and D where it is permitted. */
static struct outcome walk(const struct shadowed *s, mfn_t root, uint64_t va, unsigned acc)
{
    const uint64_t p = 1, rw = 2, us = 4, a = 32, d = 64, nx = UINT64_C(1) << 63;
    uint64_t      *e[5], rights = rw | us;
    unsigned       frame = (unsigned)root.raw;

    for (unsigned level = 4; level > 0; level--) {
        if (frame >= s->w->phys.frames) /* the hypervisor's, or nothing: not ours to look at */
            return (struct outcome){ .pfec = code_of(acc, PFEC_P | PFEC_RSVD) };
        e[level] = (uint64_t *)(s->w->memory + frame * PAGE_SIZE) + index_at(va, level);
        if ((*e[level] & p) == 0)
            return (struct outcome){ .pfec = code_of(acc, 0) };
        rights = (rights & (*e[level] | nx)) | (*e[level] & nx);
        frame = (unsigned)(*e[level] << 12 >> 24);
    }
    if ((rights & us) == 0 || ((acc & ACC_WRITE) != 0 && (rights & rw) == 0) ||
        ((acc & ACC_FETCH) != 0 && (rights & nx) != 0))
        return (struct outcome){ .pfec = code_of(acc, PFEC_P) };
    for (unsigned level = 4; level > 0; level--)
        *e[level] |= a;
    *e[1] |= acc & ACC_WRITE ? d : 0;
    return (struct outcome){ .made = true, .frame = frame };
}

static void remember(struct shadowed *s, unsigned vcpu, bool user, uint64_t va, unsigned acc,
                     unsigned frame)
{
    s->tlb[vcpu][s->next[vcpu]++ % SHADOWED_TLB] = (struct remembered){
        .used = true,
        .user = user,
        .va = va & ~PAGE_MASK,
        .frame = frame,
        .writable = (acc & ACC_WRITE) != 0,
        .fetched = (acc & ACC_FETCH) != 0,
    };
}

/* A translation that allows this access already; NULL: none. */
static struct remembered *recall(struct shadowed *s, unsigned vcpu, uint64_t va, unsigned acc)
{
    for (unsigned i = 0; i < SHADOWED_TLB; i++) {
        struct remembered *t = &s->tlb[vcpu][i];

        if (t->used && t->va == (va & ~PAGE_MASK) && (t->writable || !(acc & ACC_WRITE)) &&
            (t->fetched || !(acc & ACC_FETCH)))
            return t;
    }
    return NULL;
}

/* As before each entry of a vCPU: the root of ours that it needs. */
static void install(struct shadowed *s, unsigned vcpu, bool user)
{
    mfn_t                    root = s->w->vcpu[vcpu].root[user];
    const struct paging_regs regs = { CR0, root.raw << PAGE_SHIFT, CR4, EFER };

    if (s->on_root[vcpu].user != user || !mfn_eq(s->on_root[vcpu].root, root))
        shadowed_flush(s, vcpu);
    s->on_root[vcpu].user = user;
    s->on_root[vcpu].root = root;
    for (unsigned i = 0; s->on && !paging_runs_on(&s->vcpu[vcpu], root); i++) {
        struct verdict v = paging_set_regs(lock(s), &s->vcpu[vcpu], &regs);

        flush(s, &v);
        if (v.kind != VERDICT_RETRY || i > 1000)
            abort();
    }
}

struct outcome shadowed_access(struct shadowed *s, unsigned vcpu, bool user, uint64_t va,
                               unsigned acc)
{
    struct fault             f = { .va = gva_of(va), .acc = acc | ACC_USER };
    const struct remembered *known;
    struct outcome           found;

    install(s, vcpu, user);
    known = s->on ? recall(s, vcpu, va, acc) : NULL;
    if (known) {
        s->remembered_used++;
        return (struct outcome){ .made = true, .frame = known->frame };
    }
    for (unsigned i = 0; i < 1000; i++) {
        mfn_t root = s->w->vcpu[vcpu].root[user];

        found =
            walk(s, s->on ? mfn_of(paging_hw(&s->vcpu[vcpu]).cr3 >> PAGE_SHIFT) : root, va, acc);
        if (found.made) {
            remember(s, vcpu, user, va, acc, found.frame);
            return found;
        }
        if (!s->on)
            return found;
        s->faults++;
        struct verdict v = paging_fault(lock(s), &s->vcpu[vcpu], &f);

        flush(s, &v);
        if (v.kind == VERDICT_INJECT) {
            s->reflected++;
            return (struct outcome){ .pfec = v.pfec };
        }
        if (v.kind != VERDICT_RETRY)
            break;
        s->fixed++;
        install(s, vcpu, user);
    }
    snprintf(s->why, sizeof(s->why), "an access to %llx comes to no end", (unsigned long long)va);
    return (struct outcome){ .pfec = ~0u };
}

/* ---- the audit ---- */

/* What a processor remembers is what the guest's tables say now. */
static bool is_current(const struct shadowed *s, unsigned vcpu, const struct remembered *t)
{
    unsigned frame = (unsigned)s->on_root[vcpu].root.raw;

    for (unsigned level = 4; level > 0; level--) {
        uint64_t e;

        if (frame >= s->w->frames)
            return false;
        e = *world_entry(s->w, frame, index_at(t->va, level));
        if ((e & 1) == 0 || (e & 32) == 0 || (t->writable && (e & 2) == 0) ||
            (t->fetched && (e >> 63) != 0) || (level == 1 && t->writable && (e & 64) == 0))
            return false;
        frame = (unsigned)(e << 12 >> 24);
    }
    return frame == t->frame;
}

static bool tlb_sound(struct shadowed *s, unsigned vcpu)
{
    for (unsigned i = 0; i < SHADOWED_TLB; i++) {
        const struct remembered *t = &s->tlb[vcpu][i];

        if (t->used && !is_current(s, vcpu, t)) {
            snprintf(s->why, sizeof(s->why), "T1: processor %u remembers what is no more: %llx",
                     vcpu, (unsigned long long)t->va);
            return false;
        }
    }
    return true;
}

bool shadowed_sound(struct shadowed *s)
{
    struct audit audit = { 0 };

    if (s->why[0] != 0)
        return false;
    if (!s->on && !s->emptying) {
        for (unsigned f = 0; f < s->w->frames; f++)
            if (s->w->frame[f].kind == FRAME_GUEST && s->w->frame[f].guest.shadows != 0)
                snprintf(s->why, sizeof(s->why), "a shadow of frame %u is left", f);
        if (s->watched[0] != 0 || pool_free_frames(&s->paging.pool) != WORLD_POOL)
            snprintf(s->why, sizeof(s->why), "a frame of the pool is lost");
        return s->why[0] == 0;
    }
    if (!s->on)
        return true;
    paging_audit(lock(s), &audit);
    if (audit.violations != 0) {
        snprintf(s->why, sizeof(s->why), "%s", audit.first);
        return false;
    }
    for (unsigned i = 0; i < s->w->vcpus; i++)
        if (!tlb_sound(s, i))
            return false;
    return true;
}
