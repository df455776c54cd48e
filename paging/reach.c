/* How the hypervisor reads and writes guest memory. Every write to a table is followed by its shadows. */
#include "leaf.h"

struct paging_reach paging_reach(struct paging_locked p, struct paging_vcpu *v, gva_t va,
                                 unsigned acc)
{
    struct paging_domain *d = p.domain;
    struct change         c = { .d = d };

    for (unsigned tries = 0;; tries++) {
        const struct fault f = { .va = va, .acc = acc };
        struct verdict     refusal;
        struct walk        w;
        unsigned           marks;

        walk_guest(v, va, acc, &w);
        d->stats.walks++;
        if (d->access.active && !(acc & ACC_OURS) && !permit(&c, v, &f, &w, &refusal))
            return (struct paging_reach){ .kind = REACH_ACCESS, .flush = refusal };
        if (w.status != WALK_OK)
            return (struct paging_reach){ .kind = REACH_FAULT,
                                          .pfec = walk_pfec(v, &w, acc),
                                          .flush = verdict_of(&c, VERDICT_RETRY) };
        struct p2m_entry e = p2m_get(&d->p2m, w.gfn);
        bool             memory = p2m_is_memory(e.type);

        /* Another vCPU may be changing the tables as fast as they are read: give up politely. */
        if (!walk_mark(v, &w, acc, &marks) && tries < 16)
            continue;
        sync_marked(&c, &w, &v->mode, marks);
        return (struct paging_reach){
            .kind = memory ? REACH_RAM : REACH_DEVICE,
            .gpa = w.gfn.raw << PAGE_SHIFT | (va.raw & PAGE_MASK),
            .mfn = e.mfn,
            .rom = p2m_is_rom(e.type),
            .flush = verdict_of(&c, VERDICT_RETRY),
        };
    }
}

struct paging_reach paging_reach_gpa(struct paging_locked p, uint64_t gpa)
{
    struct p2m_entry e = p2m_get(&p.domain->p2m, gfn_of(gpa >> PAGE_SHIFT));
    bool             memory = p2m_is_memory(e.type);

    return (struct paging_reach){
        .kind = memory ? REACH_RAM : REACH_DEVICE,
        .gpa = gpa,
        .mfn = e.mfn,
        .rom = p2m_is_rom(e.type),
    };
}

/*
 * A top table that no vCPU runs on and that is written again and again is no table any more:
 * its process has ended, and the page is used for something else. And what is written but was
 * not used since our tables were blown does not have to be followed.
 */
#define WRITES_OF_THE_LIVING 2

static bool is_abandoned(const struct paging_domain *d, mfn_t mfn)
{
    for (uint32_t s = phys_frame(d->phys, mfn)->guest.shadows; s != 0;) {
        struct frame *f = &d->phys->frame[s];

        if (!is_stale(d, f) && (f->shadow.parents != 0 || !f->shadow.pinned ||
                                ++f->shadow.writes < WRITES_OF_THE_LIVING))
            return false;
        s = f->shadow.next;
    }
    return !root_in_use(d, mfn);
}

static void followed(struct change *c, mfn_t mfn, unsigned offset, unsigned len)
{
    struct paging_domain *d = c->d;

    d->stats.writes++;
    if (!is_abandoned(d, mfn) || !shadow_drop(c, mfn))
        sync_written(c, mfn, offset, len);
}

static struct verdict written(struct paging_domain *d, mfn_t mfn, unsigned offset, unsigned len)
{
    struct change c = { .d = d };

    dirty_mark(d, mfn);
    if (is_own(d, phys_frame(d->phys, mfn)) && phys_frame(d->phys, mfn)->guest.shadows != 0)
        followed(&c, mfn, offset, len);
    return verdict_of(&c, VERDICT_RETRY);
}

/* Its only role is that of a leaf table whose entries correspond to ours one to one: no table can come or go. */
static bool is_plain_leaf(const struct paging_domain *d, const struct frame *shadow)
{
    return shadow->shadow.next == 0 && shadow->shadow.level == 1 &&
           shadow->shadow.format != PT_32 && !is_stale(d, shadow);
}

struct paging_flush paging_write_entry(struct paging_locked p, mfn_t mfn, uint64_t offset,
                                       uint64_t *value, bool swap)
{
    struct paging_domain *d = p.domain;
    const struct frame   *f = phys_frame(d->phys, mfn);
    uint64_t             *entry = (uint64_t *)phys_ptr(d->phys, mfn) + offset / 8;
    struct change         c = { .d = d };

    if (swap)
        *value = __atomic_exchange_n(entry, *value, __ATOMIC_RELAXED);
    else
        __atomic_store_n(entry, *value, __ATOMIC_RELAXED);
    dirty_mark(d, mfn);
    if (is_own(d, f) && f->guest.shadows != 0) {
        mfn_t shadow = mfn_of(f->guest.shadows);

        if (is_plain_leaf(d, shadow_of(d, shadow))) {
            struct leaf_table t = leaf_table_of(d, shadow);

            d->stats.writes++;
            leaf_follow(&c, &t, (unsigned)(offset / 8));
        } else {
            followed(&c, mfn, (unsigned)offset, 8);
        }
    }
    return (struct paging_flush){ c.flush, c.va };
}

static void store(uint8_t *to, const void *bytes, unsigned len)
{
    bool aligned = ((uintptr_t)to & (len - 1)) == 0;

    switch (aligned ? len : 0) {
    case 2: {
        uint16_t word;
        __builtin_memcpy(&word, bytes, sizeof(word));
        __atomic_store_n((uint16_t *)(void *)to, word, __ATOMIC_RELAXED);
        break;
    }
    case 4: {
        uint32_t word;
        __builtin_memcpy(&word, bytes, sizeof(word));
        __atomic_store_n((uint32_t *)(void *)to, word, __ATOMIC_RELAXED);
        break;
    }
    case 8: {
        uint64_t word;
        __builtin_memcpy(&word, bytes, sizeof(word));
        __atomic_store_n((uint64_t *)(void *)to, word, __ATOMIC_RELAXED);
        break;
    }
    default:
        __builtin_memcpy(to, bytes, len);
    }
}

struct verdict paging_write(struct paging_locked p, mfn_t mfn, unsigned offset, const void *bytes,
                            unsigned len)
{
    if (len == 0 || offset + len > PAGE_SIZE)
        return (struct verdict){ .kind = VERDICT_RETRY };
    store((uint8_t *)phys_ptr(p.domain->phys, mfn) + offset, bytes, len);
    return written(p.domain, mfn, offset, len);
}

#define EXCHANGE(type)                                                                             \
    do {                                                                                           \
        type expected, desired;                                                                    \
        __builtin_memcpy(&expected, old, sizeof(type));                                            \
        __builtin_memcpy(&desired, new, sizeof(type));                                             \
        equal = __atomic_compare_exchange_n((type *)(void *)to, &expected, desired, false,         \
                                            __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                   \
        __builtin_memcpy(old, &expected, sizeof(type));                                            \
    } while (0)

static bool exchange16(uint8_t *to, void *old, const void *new)
{
    uint64_t expected[2], desired[2];
    bool     equal;

    __builtin_memcpy(expected, old, 16);
    __builtin_memcpy(desired, new, 16);
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(equal), "+m"(*(uint8_t(*)[16])to), "+a"(expected[0]),
                       "+d"(expected[1])
                     : "b"(desired[0]), "c"(desired[1])
                     : "memory");
    __builtin_memcpy(old, expected, 16);
    return equal;
}

/* An operand that is not aligned is exchanged in two steps: no other vCPU runs meanwhile. */
static bool exchange_unaligned(uint8_t *to, void *old, const void *new, unsigned len)
{
    bool equal = __builtin_memcmp(to, old, len) == 0;

    if (equal)
        __builtin_memcpy(to, new, len);
    else
        __builtin_memcpy(old, to, len);
    return equal;
}

static bool exchange(uint8_t *to, void *old, const void *new, unsigned len)
{
    bool aligned = ((uintptr_t)to & (len - 1)) == 0, equal = false;

    switch (aligned ? len : 0) {
    case 1:
        EXCHANGE(uint8_t);
        return equal;
    case 2:
        EXCHANGE(uint16_t);
        return equal;
    case 4:
        EXCHANGE(uint32_t);
        return equal;
    case 8:
        EXCHANGE(uint64_t);
        return equal;
    case 16:
        return exchange16(to, old, new);
    default:
        return exchange_unaligned(to, old, new, len);
    }
}

struct verdict paging_cmpxchg(struct paging_locked p, mfn_t mfn, unsigned offset, void *old,
                              const void *new, unsigned len, bool *done)
{
    *done = false;
    if (len == 0 || len > 16 || offset + len > PAGE_SIZE)
        return (struct verdict){ .kind = VERDICT_RETRY };
    *done = exchange((uint8_t *)phys_ptr(p.domain->phys, mfn) + offset, old, new, len);
    if (!*done) {
        dirty_mark(p.domain, mfn); /* a processor writes what it has found, and sets D */
        return (struct verdict){ .kind = VERDICT_RETRY };
    }
    return written(p.domain, mfn, offset, len);
}

struct verdict paging_unshadow(struct paging_locked p, mfn_t mfn)
{
    struct change c = { .d = p.domain };

    if (is_own(p.domain, phys_frame(p.domain->phys, mfn)) &&
        phys_frame(p.domain->phys, mfn)->guest.guarded) {
        struct verdict verdict = verdict_of(&c, VERDICT_CRASH);

        verdict.why = "it writes the page of its task-state segment in a way that cannot be "
                      "emulated";
        return verdict;
    }
    if (root_in_use(p.domain, mfn)) {
        struct verdict verdict = verdict_of(&c, VERDICT_CRASH);

        verdict.why = "it writes the root of its page tables with an instruction that cannot be "
                      "emulated";
        return verdict;
    }
    if (is_own(p.domain, phys_frame(p.domain->phys, mfn)))
        (void)!shadow_drop(&c, mfn); /* the write comes again, and so do we if this was not all */
    return verdict_of(&c, VERDICT_RETRY);
}

struct verdict paging_overwrite(struct paging_locked p, mfn_t mfn, bool *forgotten)
{
    const struct frame *f = phys_frame(p.domain->phys, mfn);
    struct change       c = { .d = p.domain };

    *forgotten = is_own(p.domain, f) && f->guest.shadows != 0 && !f->guest.guarded &&
                 !root_in_use(p.domain, mfn);
    if (*forgotten)
        (void)!shadow_drop(&c, mfn);
    return verdict_of(&c, VERDICT_RETRY);
}
