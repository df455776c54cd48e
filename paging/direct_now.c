/*
 * Updates of leaf entries in one go, several of them while their table is held: what quick_update does
 * for each, but for the domain's own tables and frames only, and without a request. Nearly all that a guest
 * asks of its tables is this, so it is written for few instructions.
 */
#include "type_words.h"
#include "type_work.h"

#define LEAF_FRAME(e) mfn_of(pte_frame(e))

/* The references of a present leaf entry, if its frame is `owner`'s. False: nothing has changed. */
static inline bool leaf_get(const struct phys *phys, pte_t e, uint16_t owner)
{
    struct frame *f = phys_frame(phys, LEAF_FRAME(e));

    return pte_has(e, PTE_W) ? words_get(f, owner, TYPE_WRITABLE) : words_get_general(f, owner);
}

/* They are dropped, of an entry of `table`: at once, or they are on the list. */
static inline void leaf_put(struct direct_vcpu *v, pte_t e, mfn_t table)
{
    struct direct_machine *m = v->domain->machine;
    struct entry_need      need = {
             .mfn = LEAF_FRAME(e),
             .writable = pte_has(e, PTE_W),
             .want = pte_has(e, PTE_W) ? TYPE_WRITABLE : TYPE_NONE,
    };

    need_note_foreign(m, &need, v->domain->id);
    if (!(need.writable ? words_put(m, need.mfn, TYPE_WRITABLE) : words_put_general(m, need.mfn)))
        pending_push(v, need.mfn, need.writable ? PENDING_FULL : PENDING_GENERAL, table, TYPE_L1);
}

/* Where it is seldom. */
static __attribute__((noinline, cold)) void leaf_let_go(struct direct_vcpu *v, pte_t e, mfn_t table)
{
    leaf_put(v, e, table);
}

static inline void table_put(struct direct_vcpu *v, mfn_t table)
{
    if (!words_put(v->domain->machine, table, TYPE_L1))
        pending_push(v, table, PENDING_FULL, MFN_NONE, 0); /* it was unpinned meanwhile */
}

/* The leaf table at this address, held; MFN_NONE: it is none. */
static inline mfn_t table_get(struct direct_vcpu *v, const struct phys *phys, uint64_t at)
{
    mfn_t table = mfn_of(at >> PAGE_SHIFT);

    if (table.raw >= phys->frames || !words_get(phys_frame(phys, table), v->domain->id, TYPE_L1))
        return MFN_NONE;
    return table;
}

/* The table has shadows, which follow before the old entry goes: the machine has it from here. */
static __attribute__((noinline, cold)) enum quick goes_on(struct direct_vcpu        *v,
                                                          const struct direct_store *u,
                                                          unsigned budget, pte_t old, pte_t new)
{
    const struct direct_request r = {
        .op = DIRECT_UPDATE,
        .owner = v->domain,
        .from = v->domain->id,
        .flags = (u->at & DIRECT_AT_PRESERVE) != 0 ? DIRECT_PRESERVE : 0,
        .mfn = mfn_of(u->at >> PAGE_SHIFT),
        .index = (unsigned)(u->at & PAGE_MASK) / sizeof(pte_t),
        .value = u->value,
    };

    request_stored(v, &r, budget, TYPE_L1, old, new);
    v->goes_on = true;
    return QUICK_GOES_ON;
}

/* In a table that is held. What is not as usual, refusals too, is left to the machine. */
static inline enum quick store(struct direct_vcpu *v, const struct phys *phys, mfn_t table,
                               const struct direct_store *u, unsigned budget)
{
    const struct direct_machine *m = v->domain->machine;
    uint64_t *at = &table_entry(m, table, (unsigned)(u->at & PAGE_MASK) / sizeof(pte_t))->raw;
    pte_t     old = { __atomic_load_n(at, __ATOMIC_SEQ_CST) }, found = old, new = { u->value };
    bool      get = pte_has(new, PTE_P), put;

    if (get) {
        if ((new.raw & ~ENTRY_LEAF_MAY) != 0 || pte_frame(new) >= phys->frames)
            return QUICK_NOT;
        new = entry_adjusted(TYPE_L1, new);
        if ((u->at & DIRECT_AT_PRESERVE) != 0)
            new.raw |= old.raw &(PTE_A | PTE_D);
    } else if (entry_is_vulnerable(m, new)) {
        return QUICK_NOT;
    }
    put = pte_has(old, PTE_P);
    if (put && ((old.raw ^ new.raw) & ~ENTRY_ALIKE) == 0)
        get = put = false; /* they need the same */
    if (get && !leaf_get(phys, new, v->domain->id))
        return QUICK_NOT;
    if (__builtin_expect(!__atomic_compare_exchange_n(at, &found.raw, new.raw, false,
                                                      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST),
                         0)) {
        if (get)
            leaf_let_go(v, new, table);
        return QUICK_NOT;
    }
    if (__builtin_expect(phys_frame(phys, table)->guest.shadows != 0, 0))
        return goes_on(v, u, budget, old, new);
    dirty_note(phys, table);
    if (put)
        leaf_put(v, old, table);
    return QUICK_DONE;
}

unsigned direct_update_now(struct direct_vcpu *v, const struct direct_store *list, unsigned count,
                           unsigned budget)
{
    const struct phys *phys = v->domain->machine->phys;
    mfn_t              table = MFN_NONE;
    unsigned           done = 0;
    enum quick         quick = QUICK_DONE;

    if (!v->domain->machine->quick || v->running)
        return 0;
    while (done < count && v->pendings == 0) {
        if (list[done].at >> PAGE_SHIFT != table.raw) {
            if (mfn_valid(table))
                table_put(v, table);
            table = v->pendings == 0 ? table_get(v, phys, list[done].at) : MFN_NONE;
            if (!mfn_valid(table))
                return done;
        }
        quick = store(v, phys, table, &list[done], budget);
        if (quick != QUICK_DONE)
            break;
        done++;
    }
    if (mfn_valid(table) && quick != QUICK_GOES_ON)
        table_put(v, table);
    return done;
}
