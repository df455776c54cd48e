/* Frames of other domains in a domain's map: see foreign.h. */
#include "hv/foreign.h"

#include "hv/alloc.h"
#include "hv/control.h"
#include "hv/guest.h"
#include "hv/hc.h"
#include "hv/pv.h"

#define BUCKETS          4096u
#define RECORDS_AT_ONCE  64u /* are made */
#define BUCKETS_PER_STEP 1024u
#define RECORDS_PER_STEP 128u  /* are given back */
#define MARKED_PER_STEP  512u  /* buckets and records, */
#define LOOKED_PER_STEP  4096u /* or frames and entries */

struct foreign {
    struct borrow   borrow;
    struct foreign *next;   /* of its bucket, or unused */
    uint32_t        places; /* of the map, at which it stands */
    uint16_t        owner;  /* domain */
    uint8_t kept; /* TYPE_WRITABLE: it is no table meanwhile, of a PV owner; else TYPE_NONE */
};

struct records {
    struct records *next;
    struct foreign  record[RECORDS_AT_ONCE];
};

struct foreign_uses {
    struct foreign *bucket[BUCKETS];
    struct foreign *unused;
    struct records *all;
    uint32_t        made;
    uint32_t        cursor; /* foreign_release: buckets before it are empty */
};

static struct foreign **bucket_of(struct foreign_uses *uses, mfn_t mfn)
{
    return &uses->bucket[mfn.raw % BUCKETS];
}

/* ---- records ---- */

static struct foreign *find(struct foreign_uses *uses, mfn_t mfn)
{
    struct foreign *f = *bucket_of(uses, mfn);

    while (f != NULL && !mfn_eq(f->borrow.mfn, mfn))
        f = f->next;
    return f;
}

static bool make_records(struct foreign_uses *uses)
{
    struct records *more;

    if (uses->made == FOREIGN_MAX)
        return false;
    more = alloc_bytes(sizeof(*more));
    if (more == NULL)
        return false;
    more->next = uses->all;
    uses->all = more;
    uses->made += RECORDS_AT_ONCE;
    for (unsigned i = 0; i < RECORDS_AT_ONCE; i++) {
        more->record[i].next = uses->unused;
        uses->unused = &more->record[i];
    }
    return true;
}

/* An unused record; NULL: there are enough, or memory is short. */
static struct foreign *take_record(struct domain *d)
{
    struct foreign *f;

    if (d->foreigns == NULL)
        d->foreigns = alloc_bytes(sizeof(*d->foreigns));
    if (d->foreigns == NULL || (d->foreigns->unused == NULL && !make_records(d->foreigns)))
        return NULL;
    f = d->foreigns->unused;
    d->foreigns->unused = f->next;
    return f;
}

/* ---- the frame ---- */

static bool has_types(const struct domain *owner)
{
    return owner != NULL && owner->pv != NULL;
}

/* Holds it as memory of its owner. A PV owner's is to be no table while it can be written here. */
static bool hold(struct foreign *f, struct foreign_frame frame)
{
    if (!has_types(frame.owner)) {
        f->kept = TYPE_NONE;
        direct_lend(&machine_phys, frame.mfn);
        return true;
    }
    f->kept = TYPE_WRITABLE;
    if (pv_keep(frame.owner, frame.mfn, f->kept))
        return true;
    f->kept = TYPE_NONE;
    return pv_keep(frame.owner, frame.mfn, f->kept);
}

static bool is_writable(const struct domain *owner, const struct foreign *f)
{
    return owner != NULL && (owner->pv == NULL || f->kept == TYPE_WRITABLE);
}

/* What its keeper was asked for earlier, which may be much, is done. One step more of it, if it is not. */
static bool is_settled(struct domain *owner)
{
    return !has_types(owner) || pv_drain(&owner->pv->keeper);
}

static void let_go(const struct foreign *f)
{
    struct domain *owner = domain_by_id(f->owner); /* it waits for its frames; NULL: DOMID_XEN */

    if (is_writable(owner, f))
        paging_dirty_mark(domain_lock(owner), f->borrow.mfn);
    if (has_types(owner))
        pv_let_go(owner, f->borrow.mfn, f->kept);
    else
        direct_take_back(&machine_phys, f->borrow.mfn);
}

/* The record of a frame, made if there is none. NULL: *error says why. */
static struct foreign *begin(struct domain *d, struct foreign_frame frame, int64_t *error)
{
    struct foreign *f = d->foreigns != NULL ? find(d->foreigns, frame.mfn) : NULL;

    if (f != NULL)
        return f;
    f = take_record(d);
    *error = -XEN_ENOMEM;
    if (f == NULL)
        return NULL;
    f->owner = frame.owner != NULL ? frame.owner->id : DOMID_XEN;
    f->places = 0;
    if (!hold(f, frame)) {
        f->next = d->foreigns->unused;
        d->foreigns->unused = f;
        *error = -XEN_EINVAL;
        return NULL;
    }
    paging_borrow(&machine_phys, &f->borrow, d->id, frame.mfn);
    f->next = *bucket_of(d->foreigns, frame.mfn);
    *bucket_of(d->foreigns, frame.mfn) = f;
    return f;
}

/* The frame stands at no place of the map, and no table of ours has it. */
static void end(struct foreign_uses *uses, struct foreign *f)
{
    struct foreign **link = bucket_of(uses, f->borrow.mfn);

    while (*link != f)
        link = &(*link)->next;
    *link = f->next;
    paging_give_back(&machine_phys, &f->borrow);
    let_go(f);
    f->next = uses->unused;
    uses->unused = f;
}

/* ---- the map ---- */

static bool is_of_m2p(uint64_t mfn)
{
    uint64_t frames = 0;
    mfn_t    first = pv_edge_m2p_frames(&frames);

    return mfn - first.raw < frames;
}

int64_t foreign_find(struct domain *owner, uint64_t number, struct foreign_frame *f)
{
    struct p2m_entry entry;

    *f = (struct foreign_frame){ .owner = owner, .mfn = mfn_of(number) };
    if (owner == NULL)
        return is_of_m2p(number) ? 0 : -XEN_EINVAL;
    if (owner->pv != NULL)
        return pv_owns(owner, f->mfn) ? 0 : -XEN_EINVAL;
    if (number >> (P2M_BITS - PAGE_SHIFT) != 0)
        return -XEN_EINVAL;
    entry = p2m_get(&owner->paging.p2m, gfn_of(number));
    f->mfn = entry.mfn;
    return entry.type == P2M_RAM ? 0 : -XEN_EINVAL;
}

int64_t foreign_map(struct domain *d, gfn_t gfn, struct foreign_frame frame)
{
    int64_t         result = foreign_unmap(d, gfn);
    struct foreign *f;

    if (result == 0 && frame.owner == d)
        result = -XEN_EINVAL; /* its own memory has its places already */
    if (result != 0)
        return result;
    if (!is_settled(frame.owner))
        return HC_AGAIN;
    f = begin(d, frame, &result);
    if (f == NULL)
        return result;
    result =
        hc_memory_replace(d, gfn,
                          (struct p2m_entry){
                              .mfn = frame.mfn,
                              .type = is_writable(frame.owner, f) ? P2M_FOREIGN : P2M_FOREIGN_ROM,
                          });
    if (result == 0)
        f->places++;
    else if (f->places == 0)
        end(d->foreigns, f);
    return result;
}

int64_t foreign_unmap(struct domain *d, gfn_t gfn)
{
    const struct p2m_entry entry = p2m_get(&d->paging.p2m, gfn);
    struct foreign        *f;
    struct verdict         verdict;

    if (!p2m_is_foreign(entry.type))
        return 0;
    f = find(d->foreigns, entry.mfn);
    if (!is_settled(domain_by_id(f->owner)))
        return HC_AGAIN;
    verdict = paging_borrow_unmap(domain_lock(d), &f->borrow);
    verdict_flush(d, &verdict);
    if (verdict.again || hc_memory_withdraw(d, gfn, entry.mfn) != 0)
        return HC_AGAIN;
    if (--f->places == 0)
        end(d->foreigns, f);
    return 0;
}

/* ---- all of them ---- */

/*
 * What is not the owner's is not marked. A table may be in the middle of being checked: what it has no references on
 * yet is marked for nothing.
 */
static void mark_by_table(struct domain *owner, mfn_t table)
{
    const uint64_t *word = phys_ptr(&machine_phys, table);

    for (unsigned i = 0; i < DIRECT_ENTRIES; i++) {
        const pte_t entry = { __atomic_load_n(&word[i], __ATOMIC_SEQ_CST) };

        if (pte_has(entry, PTE_P | PTE_W) && pte_frame(entry) < machine_phys.frames)
            paging_dirty_mark(domain_lock(owner), mfn_of(pte_frame(entry)));
    }
}

/* A PV domain has no records of what it maps but its last tables themselves, wherever they are. */
static bool mark_by_tables(const struct domain *d, struct domain *owner, uint32_t *cursor)
{
    for (unsigned left = LOOKED_PER_STEP; left != 0 && *cursor < machine_phys.frames; left--) {
        const mfn_t mfn = mfn_of((*cursor)++);
        struct type t;

        if (!pv_owns(d, mfn))
            continue;
        t = type_read(&pv_machine, mfn);
        if (t.kind != TYPE_L1 || t.count == 0)
            continue;
        mark_by_table(owner, mfn);
        left -= left > DIRECT_ENTRIES ? DIRECT_ENTRIES : left - 1;
    }
    return *cursor == machine_phys.frames;
}

bool foreign_mark_written(struct domain *owner, uint32_t *cursor)
{
    const struct domain *d = control_domain();

    if (d != NULL && d->pv != NULL)
        return mark_by_tables(d, owner, cursor);
    if (d == NULL || d->foreigns == NULL)
        return true;
    for (unsigned left = MARKED_PER_STEP; left != 0 && *cursor < BUCKETS; left--, ++*cursor) {
        for (const struct foreign *f = d->foreigns->bucket[*cursor]; f != NULL; f = f->next) {
            if (f->owner == owner->id && is_writable(owner, f))
                paging_dirty_mark(domain_lock(owner), f->borrow.mfn);
            left -= left > 1;
        }
    }
    return *cursor == BUCKETS;
}

void foreign_each(const struct domain *d, void (*tell)(void *arg, mfn_t mfn, bool typed), void *arg)
{
    for (unsigned i = 0; d->foreigns != NULL && i < BUCKETS; i++)
        for (const struct foreign *f = d->foreigns->bucket[i]; f != NULL; f = f->next)
            tell(arg, f->borrow.mfn, f->kept == TYPE_WRITABLE);
}

/* Empties a bucket as far as `left` goes; false: something is left in it. */
static bool release_bucket(struct foreign_uses *uses, unsigned *left)
{
    struct foreign *f;

    while ((f = uses->bucket[uses->cursor]) != NULL) {
        const struct domain *owner = domain_by_id(f->owner);

        if (*left == 0 || (has_types(owner) && direct_unfinished(&owner->pv->keeper)))
            return false; /* in the middle of a table, which is work enough */
        --*left;
        end(uses, f);
    }
    return true;
}

bool foreign_release(struct domain *d)
{
    struct foreign_uses *uses = d->foreigns;
    unsigned             left = RECORDS_PER_STEP;

    if (uses == NULL)
        return true;
    for (unsigned i = 0; i < BUCKETS_PER_STEP && uses->cursor < BUCKETS; i++, uses->cursor++)
        if (!release_bucket(uses, &left))
            return false;
    if (uses->cursor < BUCKETS)
        return false;
    for (unsigned i = 0; i < RECORDS_PER_STEP && uses->all != NULL; i++) {
        struct records *gone = uses->all;

        uses->all = gone->next;
        free_bytes(gone, sizeof(*gone));
    }
    if (uses->all != NULL)
        return false;
    free_bytes(uses, sizeof(*uses));
    d->foreigns = NULL;
    return true;
}
