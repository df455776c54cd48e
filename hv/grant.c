/* Grant tables: the frames of a table, and the uses of its entries. See grant.h. */
#include "hv/grant.h"

#include "hv/abi.h"
#include "hv/alloc.h"
#include "hv/build.h"
#include "hv/print.h"
#include "hv/pv.h"

#define TRIES            4   /* to mark an entry that its owner writes at the same time */
#define RELEASE_PER_STEP 256 /* handles looked at */

/* Flags and domain of an entry, as one word that is compared and swapped. */
union mark {
    struct {
        uint16_t flags;
        uint16_t domain;
    };
    uint32_t word;
};

bool grant_grow(struct domain *d, unsigned frames)
{
    if (frames > DOMAIN_GRANT_FRAMES)
        return false;
    while (d->grant_frames < frames) {
        mfn_t mfn = d->pv != NULL ? pv_allocate(d, PV_PFN_NONE) : domain_alloc_frame(d);

        if (!mfn_valid(mfn))
            return false;
        /* It stays while the domain lives. */
        if (d->pv == NULL)
            direct_hold(&machine_phys, mfn);
        else if (!pv_hold(d, mfn))
            return false;
        d->grant_mfn[d->grant_frames++] = mfn;
    }
    return true;
}

static bool have_uses(struct domain *d)
{
    if (d->grants == NULL)
        d->grants = alloc_bytes(sizeof(*d->grants));
    return d->grants != NULL;
}

/* ---- the entry, as the guest has it ---- */

static struct grant_entry_v1 *shared_entry(const struct domain *d, uint32_t ref)
{
    struct grant_entry_v1 *frame = phys_ptr(&machine_phys, d->grant_mfn[ref / GRANTS_PER_FRAME]);

    return &frame[ref % GRANTS_PER_FRAME];
}

static uint32_t *mark_of(const struct domain *d, uint32_t ref)
{
    return (uint32_t *)(void *)shared_entry(d, ref);
}

/* Cache attributes are refused: all memory is write-back. */
static bool permits(union mark m, uint16_t user, bool readonly)
{
    return (m.flags & (GTF_type_mask | GTF_sub_page | GTF_PWT | GTF_PCD | GTF_PAT)) ==
               GTF_permit_access &&
           m.domain == user && (readonly || (m.flags & GTF_readonly) == 0);
}

/* The owner sees by the flags that the entry is used, and how. */
static int16_t mark(const struct domain *d, uint32_t ref, uint16_t user, bool readonly)
{
    uint32_t  *at = mark_of(d, ref);
    union mark old = { .word = __atomic_load_n(at, __ATOMIC_SEQ_CST) };

    for (unsigned i = 0; i < TRIES; i++) {
        union mark new = old;

        if (!permits(old, user, readonly))
            return GNTST_general_error;
        new.flags |= GTF_reading | (readonly ? 0 : GTF_writing);
        if (__atomic_compare_exchange_n(at, &old.word, new.word, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            return GNTST_okay;
    }
    return GNTST_general_error;
}

static void unmark(const struct domain *d, uint32_t ref, uint16_t flags)
{
    const union mark gone = { .flags = flags };

    if (d->state == DOMAIN_DYING)
        return; /* its table may be gone, and nobody reads it */
    __atomic_fetch_and(mark_of(d, ref), ~gone.word, __ATOMIC_SEQ_CST);
}

/* ---- the frame ---- */

/* Holds the frame that an entry names: as memory of its owner, whatever becomes of it there. */
static bool hold(struct domain *d, struct grant_active *a)
{
    struct p2m_entry entry;

    if (d->pv != NULL) {
        a->mfn = mfn_of(a->frame);
        return pv_keep(d, a->mfn, TYPE_NONE);
    }
    if (a->frame >> (P2M_BITS - PAGE_SHIFT) != 0)
        return false;
    entry = p2m_get(&d->paging.p2m, gfn_of(a->frame));
    if (entry.type != P2M_RAM)
        return false;
    a->mfn = entry.mfn;
    direct_lend(&machine_phys, a->mfn);
    return true;
}

static void let_go(struct domain *d, const struct grant_active *a)
{
    if (d->pv != NULL)
        pv_let_go(d, a->mfn, TYPE_NONE);
    else
        direct_take_back(&machine_phys, a->mfn);
}

/* ---- uses ---- */

int16_t grant_begin(struct domain *d, uint32_t ref, const struct domain *user, bool readonly,
                    struct grant_active *what)
{
    struct grant_active *a;
    int16_t              status;

    if (d->state == DOMAIN_DYING)
        return GNTST_bad_domain;
    if (ref >= d->grant_frames * GRANTS_PER_FRAME)
        return GNTST_bad_gntref;
    if (!have_uses(d))
        return GNTST_no_space;
    a = &d->grants->active[ref];
    if (a->readers + a->writers != 0 && a->user != user->id)
        return GNTST_general_error;
    if (a->readers == UINT16_MAX || a->writers == UINT16_MAX)
        return GNTST_no_space;
    status = mark(d, ref, user->id, readonly);
    if (status != GNTST_okay)
        return status;
    if (a->readers + a->writers == 0) {
        /* What it says from now on means nothing until the last use has ended. */
        a->frame = __atomic_load_n(&shared_entry(d, ref)->frame, __ATOMIC_SEQ_CST);
        a->user = user->id;
        if (!hold(d, a)) {
            unmark(d, ref, GTF_reading | GTF_writing);
            return GNTST_bad_page;
        }
    }
    if (readonly)
        a->readers++;
    else
        a->writers++;
    d->grants->lent++;
    *what = *a;
    return GNTST_okay;
}

void grant_end(struct domain *d, uint32_t ref, bool readonly)
{
    struct grant_active *a = &d->grants->active[ref];

    BUG_ON((readonly ? a->readers : a->writers) == 0);
    if (readonly)
        a->readers--;
    else
        a->writers--;
    if (!readonly) /* the user's tables do not say what it has written */
        paging_dirty_mark(domain_lock(d), a->mfn);
    d->grants->lent--;
    if (a->writers == 0)
        unmark(d, ref, GTF_writing);
    if (a->readers + a->writers == 0) {
        let_go(d, a);
        unmark(d, ref, GTF_reading);
    }
}

void grant_mark_written(struct domain *d)
{
    for (unsigned i = 0; d->grants != NULL && i < GRANTS_MAX; i++)
        if (d->grants->active[i].writers != 0)
            paging_dirty_mark(domain_lock(d), d->grants->active[i].mfn);
}

/* ---- handles ---- */

unsigned grant_handle(struct domain *d)
{
    unsigned handle = 0;

    if (!have_uses(d))
        return GRANT_MAPS_MAX;
    while (handle < GRANT_MAPS_MAX && d->grants->map[handle].used)
        handle++;
    return handle;
}

bool grant_release(struct domain *d)
{
    struct grant_uses *uses = d->grants;

    if (uses == NULL)
        return true;
    for (unsigned i = 0; i < RELEASE_PER_STEP && d->grant_cursor < GRANT_MAPS_MAX;
         i++, d->grant_cursor++) {
        struct grant_map    *m = &uses->map[d->grant_cursor];
        const struct domain *owner;

        if (!m->used)
            continue;
        owner = domain_by_id(m->domain);
        if (owner->pv != NULL && direct_unfinished(&owner->pv->keeper))
            return false; /* its own end is in the middle of a table, which is work enough */
        m->used = false;
        paging_give_back(&machine_phys, &m->borrow); /* the domain has no tables any more */
        grant_end(domain_by_id(m->domain), m->ref, m->readonly);
    }
    return d->grant_cursor == GRANT_MAPS_MAX;
}

void grant_destroy(struct domain *d)
{
    if (d->grants == NULL)
        return;
    free_bytes(d->grants, sizeof(*d->grants));
    d->grants = NULL;
}
