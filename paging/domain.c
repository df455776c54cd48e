/* A domain's paging from the first table to the last, and changes of its p2m. */
#include "shadow.h"

#define NO_MEMORY "out of memory for its shadow tables: give it more (shadow_memory)"

/* An empty pair, as the root of the direct tree; it lives as long as the domain. */
static mfn_t make_direct_root(struct paging_domain *d)
{
    mfn_t root = pool_pair(&d->pool);

    if (mfn_valid(root)) {
        struct frame *f = shadow_of(d, root);

        f->shadow.format = PT_DIRECT;
        f->shadow.level = 4;
        f->shadow.refs = 1;
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
    d->direct = make_direct_root(d);
    return mfn_valid(d->direct) && p2m_init(&d->p2m, &d->pool);
}

void paging_vcpu_init(struct paging_domain *d, struct paging_vcpu *v, mfn_t pae)
{
    *v = (struct paging_vcpu){ .domain = d, .pae = pae, .next = d->vcpus };
    d->vcpus = v;
    if (d->kind != PAGING_NESTED)
        return;
    v->root[0] = (struct paging_root){
        .used = true,
        .format = PT_DIRECT,
        .count = 1,
        .serial = ++v->serials,
        .guest = { MFN_NONE, MFN_NONE, MFN_NONE, MFN_NONE },
        .table = { d->direct },
    };
    shadow_ref(d, d->direct);
}

/* Nobody runs any more: every table loses what keeps it, the rest is the reaper's. */
static void let_go(struct paging_domain *d)
{
    struct change c = { .d = d };

    for (struct paging_vcpu *v = d->vcpus; v; v = v->next) {
        for (unsigned i = 0; i < PAGING_ROOTS; i++) {
            struct paging_root *r = &v->root[i];

            for (unsigned t = 0; r->used && t < r->count; t++)
                if (mfn_valid(r->table[t]))
                    shadow_put(&c, r->table[t]);
            r->used = false;
        }
    }
    while (d->unsynced.head != 0)
        shadow_drop(&c, mfn_of(shadow_of(d, mfn_of(d->unsynced.head))->shadow.key));
    while (d->idle.head != 0)
        shadow_drop(&c, mfn_of(shadow_of(d, mfn_of(d->idle.head))->shadow.key));
    while (d->roots.head != 0)
        shadow_unpin(&c, mfn_of(d->roots.head));
    if (mfn_valid(d->direct))
        shadow_put(&c, d->direct);
    d->direct = MFN_NONE;
    d->all_dead = true;
}

bool paging_domain_reap(struct paging_locked p, unsigned budget)
{
    struct paging_domain *d = p.domain;

    if (!d->all_dead)
        let_go(d);
    return shadow_reap(d, budget) && p2m_reap(&d->p2m, budget / 64 + 1);
}

bool paging_work(struct paging_locked p, unsigned budget)
{
    return shadow_reap(p.domain, budget);
}

static struct verdict p2m_failed(const struct change *c)
{
    struct verdict verdict = verdict_of(c, VERDICT_CRASH);

    verdict.why = NO_MEMORY;
    return verdict;
}

struct verdict paging_p2m_set(struct paging_locked p, gfn_t gfn, struct p2m_entry entry)
{
    struct paging_domain *d = p.domain;
    struct change         c = { .d = d };

    for (uint64_t i = 0; i < UINT64_C(1) << entry.order; i++) {
        struct p2m_entry old = p2m_get(&d->p2m, gfn_of(gfn.raw + i));

        if (old.type != P2M_RAM && old.type != P2M_ROM)
            continue;
        if (!root_detach(&c, old.mfn))
            return p2m_failed(&c);
        shadow_drop(&c, old.mfn);
        shadow_unmap(&c, old.mfn);
    }
    if (!shadow_reserve(&c, 2) || !p2m_set(&d->p2m, gfn, entry) || !root_refresh(&c))
        return p2m_failed(&c);
    return verdict_of(&c, VERDICT_RETRY);
}
