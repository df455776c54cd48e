/*
 * The usual case of direct paging in one go: references to frames that nobody works on, and updates of
 * leaf tables.
 * What is done here is what the steps of the machine would do, in their order, each a swap of its
 * own; where one is in the way, what was taken is given back, and the machine begins from the start.
 */
#include "type_words.h"
#include "type_work.h"

bool quick_take(struct direct_machine *m, const struct entry_need *need, uint16_t owner)
{
    return m->quick && need->error == DIRECT_OK && need->mfn.raw < m->phys->frames &&
           need_get(m, need, owner);
}

bool quick_drop(struct direct_vcpu *v, const struct entry_need *need)
{
    struct direct_machine *m = v->domain->machine;

    need_note_foreign(m, need, v->domain->id);
    return m->quick && need_put(m, need);
}

/* The kind cannot change while its reference is held. A linear entry is counted in its own table too. */
static bool release(struct direct_vcpu *v, const struct direct_pending *what)
{
    struct entry_need need = { .mfn = what->mfn, .want = TYPE_NONE };

    if (what->mode == PENDING_CLEAN)
        return false;
    if (what->mode == PENDING_FULL)
        need.want = type_read(v->domain->machine, what->mfn).kind;
    return (need.want <= TYPE_L1 || need.want != what->level) && quick_drop(v, &need);
}

void quick_release(struct direct_vcpu *v)
{
    while (v->pendings > 0 && !v->broken && release(v, &v->pending[v->pendings - 1]))
        v->pendings--;
}

static bool has_shadows(const struct direct_machine *m, mfn_t table)
{
    return phys_frame(m->phys, table)->guest.shadows != 0;
}

/* Dropped in one go; else it is on the list. */
static inline __attribute__((always_inline)) void drop(struct direct_vcpu      *v,
                                                       const struct entry_need *need, mfn_t table,
                                                       uint8_t level)
{
    struct direct_machine *m = v->domain->machine;

    need_note_foreign(m, need, v->domain->id);
    if (!need_put(m, need))
        pending_push(v, need->mfn, need->want == TYPE_NONE ? PENDING_GENERAL : PENDING_FULL, table,
                     level);
}

/* The same where it is seldom. */
static __attribute__((noinline)) void let_go(struct direct_vcpu *v, const struct entry_need *need,
                                             mfn_t table, uint8_t level)
{
    drop(v, need, table, level);
}

/* An update of an entry of a table that is held. */
struct change {
    mfn_t    table;
    unsigned index;
    uint64_t value, expect;
    unsigned flags; /* of the request */
    uint16_t from;  /* whose frame the new entry names */
};

struct stored {
    pte_t old, new;
};

/*
 * The table has no shadows. Anything else than the usual is left to the machine, refusals too; and what
 * remains to be done where an entry above level 1 was present.
 */
static inline __attribute__((always_inline)) enum quick entry(struct direct_vcpu *v,
                                                              struct change c, uint8_t level,
                                                              struct stored *s)
{
    struct direct_machine *m = v->domain->machine;
    uint64_t              *at = &table_entry(m, c.table, c.index)->raw;
    pte_t                  old = { __atomic_load_n(at, __ATOMIC_SEQ_CST) }, found = old;
    pte_t                  value = { c.value }, new = entry_adjusted(level, value);
    struct entry_need      need = entry_need(m, c.table, level, c.index, value);
    bool                   fresh;

    if ((c.flags & DIRECT_PRESERVE) != 0 && pte_has(new, PTE_P))
        new.raw |= old.raw &(PTE_A | PTE_D);
    fresh = !entry_is_alike(old, new);
    if (need.error != DIRECT_OK || entry_is_reserved(level, c.index) ||
        ((c.flags & DIRECT_EXPECT) != 0 && old.raw != c.expect) ||
        (fresh && !need.nothing && !need_get(m, &need, c.from)))
        return QUICK_NOT;
    if (!__atomic_compare_exchange_n(at, &found.raw, new.raw, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST)) {
        if (fresh && !need.nothing)
            let_go(v, &need, c.table, level);
        return QUICK_NOT;
    }
    /* Shadows that it has since a moment ago follow before the old one goes. */
    if (has_shadows(m, c.table) || (level > TYPE_L1 && pte_has(old, PTE_P))) {
        *s = (struct stored){ old, new };
        return QUICK_GOES_ON;
    }
    dirty_note(m->phys, c.table);
    if (fresh && pte_has(old, PTE_P)) {
        need = entry_need(m, c.table, level, c.index, old);
        drop(v, &need, c.table, level);
    }
    return QUICK_DONE;
}

/* A table of this level, if it is live. */
static inline __attribute__((always_inline)) enum quick table_update(struct direct_vcpu          *v,
                                                                     const struct direct_request *r,
                                                                     unsigned budget, uint8_t level)
{
    const struct direct_machine *m = v->domain->machine;
    const struct entry_need      table = { .mfn = r->mfn, .want = level };
    const struct change          c = {
                 .table = r->mfn,
                 .index = r->index,
                 .value = r->value,
                 .expect = r->expect,
                 .flags = r->flags,
                 .from = level == TYPE_L1 ? r->from : r->owner->id,
    };
    enum quick    quick = QUICK_NOT;
    struct stored s = { { 0 }, { 0 } };

    if (!words_get(phys_frame(m->phys, r->mfn), r->owner->id, level))
        return QUICK_NOT;
    v->budget = budget;
    if (!has_shadows(m, r->mfn))
        quick = entry(v, c, level, &s);
    if (quick == QUICK_GOES_ON) { /* the table is on the list of what is to be released */
        request_stored(v, r, budget, level, s.old, s.new);
        return quick;
    }
    drop(v, &table, MFN_NONE, 0); /* if it was unpinned meanwhile, this is its end */
    return quick;
}

/* What is no table. */
static enum quick memory_update(struct direct_vcpu *v, const struct direct_request *r)
{
    const struct direct_machine *m = v->domain->machine;
    const struct entry_need      memory = { .mfn = r->mfn, .want = TYPE_WRITABLE };

    if ((r->flags & (DIRECT_LEAF | DIRECT_EXPECT)) != 0 || !need_get(m, &memory, r->owner->id))
        return QUICK_NOT;
    __atomic_store_n(&table_entry(m, r->mfn, r->index)->raw, r->value, __ATOMIC_SEQ_CST);
    dirty_note(m->phys, r->mfn);
    let_go(v, &memory, MFN_NONE, 0);
    return QUICK_DONE;
}

enum quick quick_update(struct direct_vcpu *v, const struct direct_request *r, unsigned budget)
{
    const struct direct_machine *m = v->domain->machine;
    uint8_t                      kind;

    if (!m->quick || v->pendings > 0 || r->index >= DIRECT_ENTRIES || r->mfn.raw >= m->phys->frames)
        return QUICK_NOT;
    kind = type_read(m, r->mfn).kind;
    if (kind == TYPE_L1)
        return table_update(v, r, budget, TYPE_L1);
    if ((r->flags & DIRECT_LEAF) == 0 && type_is_table(kind))
        return table_update(v, r, budget, kind);
    return memory_update(v, r);
}
