/*
 * What a TLB and our tables may hold: what the guest's tables say now, or what a leaf table of
 * the guest said at some moment since the guest's last flush that covers the address.
 *
 * The architecture would let the upper levels be old as well; the core does not make use of
 * that, so they must be current here. Nothing may be older than the last flush, and the leaf
 * must have said so while those upper levels led to it: a table that is entered in a new place
 * is seen there as it is.
 */
#include "test/model/world.h"

#include <inttypes.h>

static bool reaches(const struct world *w, const struct mmu_outcome *o, unsigned acc, uint64_t mfn)
{
    enum mmu_behind behind = mmu_behind(&w->memory, o->gpa);

    return (behind == MMU_RAM || (behind == MMU_ROM && !(acc & ACC_WRITE))) &&
           mfn == w->mfn_of_page[w->memory.page_of[o->gpa >> 12]];
}

#define LEADS_TO      UINT64_C(0x000ffffffffff081) /* of an upper entry: P, PS and the frame */
#define PAGE_SIZE_BIT UINT64_C(0x80) /* ignored by a 32-bit directory without CR4.PSE */

/* Since when a value of the leaf counts: the last flush, or a change of what leads to it. */
static uint64_t since(const struct world *w, const struct world_vcpu *v, uint64_t va,
                      const uint64_t at[5], unsigned levels)
{
    bool     narrow = !(v->naive.regs.cr4 >> 5 & 1);
    uint64_t leads_to =
        narrow && !(v->naive.regs.cr4 >> 4 & 1) ? LEADS_TO & ~PAGE_SIZE_BIT : LEADS_TO;
    uint64_t time = past_flushed(&v->flushes, va), now;

    for (unsigned i = 0; i + 1 < levels; i++) {
        uint64_t mask = narrow ? (leads_to & 0xffffffff) << (at[i] & 4) * 8 : leads_to;
        uint64_t changed;

        if (mmu_behind(&w->memory, at[i]) != MMU_RAM)
            continue;
        mmu_read_memory(&w->memory, at[i] & ~UINT64_C(7), &now, 8);
        changed = past_since(w->past, w->memory.page_of[at[i] >> 12], (unsigned)(at[i] & 4095) / 8,
                             now, mask);
        time = changed > time ? changed : time;
    }
    return time;
}

enum world_justified world_justify(const struct world *w, const struct world_vcpu *v, uint64_t va,
                                   unsigned acc, uint64_t mfn, uint64_t *gpa)
{
    struct mmu_access  access = world_naive_access(acc);
    struct mmu_outcome o = mmu_peek(&v->naive, va, access);
    uint64_t           path[5], values[PAST_VALUES];
    unsigned           levels;
    bool               are_set;

    *gpa = o.gpa;
    if (o.ok && mmu_bits_set(&v->naive, va, access) && reaches(w, &o, acc, mfn))
        return WORLD_NOW;
    levels = v->naive.regs.cr0 >> 31 & 1 ? mmu_path(&v->naive, va, path) : 0;
    if (levels == 0 || mmu_behind(&w->memory, path[levels - 1]) != MMU_RAM)
        return WORLD_NEVER;

    uint64_t leaf = path[levels - 1];
    unsigned n = past_values(w->past, w->memory.page_of[leaf >> 12], (unsigned)(leaf & 4095) / 8,
                             since(w, v, va, path, levels), values);

    for (unsigned i = 0; i < n; i++) {
        o = mmu_peek_leaf(&v->naive, va, access, values[i], &are_set);
        *gpa = o.gpa;
        if (o.ok && are_set && reaches(w, &o, acc, mfn))
            return WORLD_PAST;
    }
    return WORLD_NEVER;
}

/* Why a translation is wrong, when nothing justifies it. */
static bool unjustified(struct world *w, const struct world_vcpu *v, const char *where, uint64_t va,
                        unsigned acc, uint64_t mfn)
{
    struct mmu_access  access = world_naive_access(acc);
    struct mmu_outcome o = mmu_peek(&v->naive, va, access);

    if (!o.ok)
        return world_fail(w, "%s allows access %#x at %#" PRIx64 ", the guest: #PF %#x", where, acc,
                          va, o.error);
    if (!mmu_bits_set(&v->naive, va, access))
        return world_fail(w, "%s allows access %#x at %#" PRIx64 " without A or D set", where, acc,
                          va);
    return world_fail(w,
                      "%s maps %#" PRIx64 " to mfn %#" PRIx64 " for access %#x, should be gpa "
                      "%#" PRIx64 " (behind it %d)",
                      where, va, mfn, acc, o.gpa, (int)mmu_behind(&w->memory, o.gpa));
}

static bool check_translation(struct world *w, const struct world_vcpu *v, const char *where,
                              const struct hardware_translation *t)
{
    static const unsigned kinds[] = {
        0,
        ACC_WRITE,
        ACC_FETCH,
        ACC_AC,
        ACC_WRITE | ACC_AC,
        ACC_USER,
        ACC_USER | ACC_WRITE,
        ACC_USER | ACC_FETCH,
    };
    uint64_t va = t->page << 12, gpa;

    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        unsigned            acc = kinds[i];
        const struct frame *f = &w->phys.frame[t->mfn];

        if (!hardware_allows(&v->hardware, t, acc) || ((acc & ACC_WRITE) && !t->dirty))
            continue;
        if (world_justify(w, v, va, acc, t->mfn, &gpa) == WORLD_NEVER)
            return unjustified(w, v, where, va, acc, t->mfn);
        if (~world_rights(w, gpa >> 12) & (acc & ACC_FETCH   ? ACCESS_FETCH
                                           : acc & ACC_WRITE ? ACCESS_WRITE
                                                             : ACCESS_READ))
            return world_fail(w, "%s allows access %#x at gpa %#" PRIx64 ", the monitor does not",
                              where, acc, gpa);
        if ((acc & ACC_WRITE) && f->guest.shadows != 0 && !f->guest.unsynced)
            return world_fail(w, "S1: %s allows writes at %#" PRIx64 " to a shadowed table", where,
                              va);
        if ((acc & ACC_WRITE) && !world_dirty_told(w, gpa >> 12))
            return world_fail(w, "D1: %s allows writes at %#" PRIx64 " that log-dirty would miss",
                              where, va);
    }
    return true;
}

static bool check_tables_at(struct world *w, struct world_vcpu *v, uint64_t va)
{
    struct hardware_translation t;

    w->counts.table_checks++;
    if (!hardware_look(&v->hardware, paging_hw(&v->core), va, &t))
        return true;
    if (t.mfn >= w->phys.frames || w->phys.frame[t.mfn].kind != FRAME_GUEST)
        return world_fail(w, "our table maps %#" PRIx64 " to what is not the guest's", va);
    return check_translation(w, v, "T1: our table", &t);
}

bool world_check_translations(struct world *w, struct world_vcpu *v)
{
    const struct hardware *h = &v->hardware;

    if (!h->running)
        return true;
    if (w->domain.kind == PAGING_NESTED)
        return world_check_nested(w, v);
    w->counts.tlb_checks++;
    for (unsigned i = 0; i < HARDWARE_TLB; i++) {
        const struct hardware_translation *t = &h->asid[h->slot].tlb[i];

        if (t->used && !check_translation(w, v, "T1: the TLB", t))
            return false;
    }
    for (unsigned i = 0; i < WORLD_SEEN && i < v->seen_count; i++)
        if (!check_tables_at(w, v, v->seen[i]))
            return false;
    return true;
}

/* What nobody can use any more goes, now and then. */
static void forget(struct world *w)
{
    uint64_t oldest = w->past->now;

    for (unsigned i = 0; i < w->vcpus; i++)
        if ((w->vcpu[i].naive.regs.cr0 >> 31 & 1) && w->vcpu[i].flushes.all < oldest)
            oldest = w->vcpu[i].flushes.all;
    past_forget(w->past, oldest);
}

bool world_flushed_all(struct world *w, struct world_vcpu *v)
{
    past_flush_all(w->past, &v->flushes);
    forget(w);
    return world_check_translations(w, v);
}

/* T2 at the page itself and beside it. */
bool world_flushed_page(struct world *w, struct world_vcpu *v, uint64_t va)
{
    const struct hardware_translation *t;

    past_flush_page(w->past, &v->flushes, va);
    if (w->domain.kind == PAGING_NESTED)
        return true;
    t = hardware_cached(&v->hardware, va);
    if (t != NULL && !check_translation(w, v, "T2: the TLB", t))
        return false;
    return check_tables_at(w, v, va) && check_tables_at(w, v, va + 4096);
}
