/* A domain's paging from the first table to the last, and changes of its p2m. */
#include "dirty.h"
#include "shadow.h"

mfn_t direct_make_root(struct paging_domain *d)
{
    mfn_t root = pool_pair(&d->pool);

    if (mfn_valid(root)) {
        struct frame *f = shadow_of(d, root);

        f->shadow.format = PT_DIRECT;
        f->shadow.level = 4;
        f->shadow.refs = 1;
        f->shadow.generation = d->generation;
        d->stats.made++;
        d->stats.shadows++;
    }
    return root;
}

bool paging_domain_init(struct paging_domain *d, const struct phys *phys, uint16_t id,
                        enum paging_kind kind, struct pt_features features)
{
    d->phys = phys;
    d->id = id;
    d->kind = kind;
    d->features = features;
    for (unsigned format = 0; format < PT_FORMATS; format++)
        for (unsigned bits = 0; bits < 4; bits++)
            pt_mode_init(&d->mode[format][bits & 1][bits >> 1], (enum pt_format)format,
                         (uint8_t)((bits & 1 ? PT_VIEW_NX : 0) | (bits & 2 ? PT_VIEW_PSE : 0)),
                         features);
    d->direct = MFN_NONE;
    access_init(&d->access, &d->pool);
    if (!p2m_init(&d->p2m, &d->pool))
        return false;
    d->direct = direct_make_root(d);
    return mfn_valid(d->direct) || !p2m_reap(&d->p2m, 1); /* the root of the p2m is all there is */
}

void paging_vcpu_init(struct paging_domain *d, struct paging_vcpu *v, mfn_t pae)
{
    struct change c = { .d = d };

    *v = (struct paging_vcpu){
        .domain = d, .pae = pae, .next = d->vcpus, .guard.mfn = { MFN_NONE, MFN_NONE }
    };
    d->vcpus = v;
    if (d->kind == PAGING_NESTED)
        root_begin(&c, v);
}

/* The i-th frame of the block is memory, and *mfn says which. */
static bool memory_of(const struct paging_domain *d, gfn_t gfn, uint64_t i, mfn_t *mfn)
{
    struct p2m_entry old = p2m_get(&d->p2m, gfn_of(gfn.raw + i));

    *mfn = old.mfn;
    return p2m_is_memory(old.type);
}

/* The first frame of the block from the i-th on that has something behind it; its end if none has. */
static uint64_t next_there(const struct paging_domain *d, gfn_t gfn, unsigned order, uint64_t i)
{
    uint64_t end = UINT64_C(1) << order;

    for (uint64_t holes; i < end; i += holes) {
        holes = p2m_holes(&d->p2m, gfn_of(gfn.raw + i));
        if (holes == 0)
            return i;
    }
    return end;
}

/* Takes away what our tables and shadows say of the block. */
static bool forget_block(struct change *c, gfn_t gfn, unsigned order)
{
    mfn_t mfn;

    for (uint64_t i = next_there(c->d, gfn, order, 0); i < UINT64_C(1) << order;
         i = next_there(c->d, gfn, order, i + 1)) {
        if (!memory_of(c->d, gfn, i, &mfn))
            continue;
        bool own = is_own(c->d, phys_frame(c->d->phys, mfn));

        if ((own && !shadow_drop(c, mfn)) || !shadow_unmap(c, mfn))
            return false;
        guard_lift(c->d, mfn);
    }
    return true;
}

/* Nodes for so many changes of the p2m, and an empty root for every vCPU. */
static bool reserve(struct change *c, unsigned changes)
{
    unsigned pairs = 2 * changes;

    for (const struct paging_vcpu *v = c->d->vcpus; v; v = v->next)
        pairs++;
    return shadow_reserve(c, pairs);
}

/* vCPUs leave a root that was in the block, or may be in it now. */
static void leave_block(struct change *c, gfn_t gfn, unsigned order)
{
    mfn_t mfn;

    for (uint64_t i = next_there(c->d, gfn, order, 0); i < UINT64_C(1) << order;
         i = next_there(c->d, gfn, order, i + 1))
        if (memory_of(c->d, gfn, i, &mfn))
            root_detach(c, mfn);
    root_detach_outside(c);
}

/* What is behind these guest frames from now on is as good as written. */
static void enter_block(const struct paging_domain *d, const struct p2m_entry *entry)
{
    if (entry->type == P2M_RAM || entry->type == P2M_ROM)
        for (uint64_t i = 0; i < UINT64_C(1) << entry->order; i++)
            dirty_mark(d, mfn_of(entry->mfn.raw + i));
}

struct verdict paging_p2m_set(struct paging_locked p, gfn_t gfn, struct p2m_entry entry)
{
    struct paging_domain *d = p.domain;
    struct change         c = { .d = d };

    if (forget_block(&c, gfn, entry.order) && reserve(&c, 1)) {
        leave_block(&c, gfn, entry.order);
        if (p2m_set(&d->p2m, gfn, entry)) {
            enter_block(d, &entry);
            return verdict_of(&c, VERDICT_RETRY);
        }
    }
    return verdict_unready(&c);
}

struct verdict paging_p2m_move(struct paging_locked p, gfn_t from, gfn_t to)
{
    const struct p2m_entry hole = { .type = P2M_HOLE };
    struct paging_domain  *d = p.domain;
    struct p2m_entry       entry = p2m_find(&d->p2m, from);
    struct change          c = { .d = d };

    entry.order = 0;
    if (forget_block(&c, from, 0) && reserve(&c, 2)) {
        leave_block(&c, from, 0);
        if (p2m_set(&d->p2m, from, hole) && p2m_set(&d->p2m, to, entry)) {
            enter_block(d, &entry);
            return verdict_of(&c, VERDICT_RETRY);
        }
    }
    return verdict_unready(&c);
}
