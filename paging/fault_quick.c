/*
 * The two faults that are most frequent, in one go: the guest's own, and a write to a table of the
 * guest's that stays in sync. Both end at the entry below a way that is kept (way.h), and need nothing
 * of ours changed. Whatever else is found on the way leaves it before anything has changed, and
 * paging_fault does the same steps and the others: read fault.c first.
 */
#include "way.h"

static inline enum paging_quick own(struct paging_vcpu *v, const struct fault *f,
                                    enum walk_status status, struct paging_quick_fault *q)
{
    struct paging_stats *stats = &v->domain->stats;

    v->events++;
    stats->faults++;
    stats->walks++;
    stats->reflected++;
    q->pfec = walk_error(v, status, f->acc);
    return PAGING_QUICK_INJECT;
}

/* A write to guest frame `gfn`, which the guest's tables permit, A and D set. */
static __attribute__((noinline)) enum paging_quick write_to(struct paging_vcpu *v,
                                                            const struct fault *f, gfn_t gfn,
                                                            struct paging_quick_fault *q)
{
    struct paging_domain  *d = v->domain;
    const struct p2m_entry e = p2m_get(&d->p2m, gfn);

    if (e.type != P2M_RAM || !is_synced_table(d, phys_frame(d->phys, e.mfn)))
        return PAGING_QUICK_NOT;
    v->events++; /* which is what it counts by */
    if (unsync_wanted(v, e.mfn, (unsigned)(f->va.raw & PAGE_MASK))) {
        v->events--;
        return PAGING_QUICK_NOT;
    }
    d->stats.faults++;
    d->stats.walks++;
    unsync_note_write(v, f->va, e.mfn);
    q->gpa = gfn.raw << PAGE_SHIFT | (f->va.raw & PAGE_MASK);
    q->mfn = e.mfn;
    return PAGING_QUICK_WRITE;
}

/* The guest frame behind an address whose entry is that of a page of 2 MiB. */
static inline gfn_t large_gfn(pte_t e, gva_t va)
{
    return gfn_of((pte_frame(e) & ~UINT64_C(511)) | (va.raw >> PAGE_SHIFT & 511));
}

enum paging_quick paging_fault_quickly(struct paging_locked p, struct paging_vcpu *v,
                                       const struct fault *f, struct paging_quick_fault *q)
{
    const struct paging_domain *d = p.domain;
    const struct paging_way    *way = way_kept(v, f->va);
    const struct pt_level      *level;
    const pte_t                *table;
    pte_t                       e;

    if (!way || d->open.count != 0 || d->access.active || !(v->mode.view & PT_VIEW_WP))
        return PAGING_QUICK_NOT;
    level = &v->mode.level[way->level];
    table = phys_ptr(d->phys, mfn_of(shadow_of(d, mfn_of(way->table))->shadow.key));
    e.raw = __atomic_load_n(&table[f->va.raw >> level->shift & 511].raw, __ATOMIC_RELAXED);
    if (!pte_has(e, PTE_P))
        return own(v, f, WALK_NOT_PRESENT, q);
    if ((e.raw & level->rsvd[pte_has(e, PTE_PS)]) || (way->level > 1 && !pte_has(e, PTE_PS)))
        return PAGING_QUICK_NOT;
    if (walk_denied(v->mode.view, walk_rights(way->rights, e), f->acc))
        return own(v, f, WALK_DENIED, q);
    if (!f->present || !(f->acc & ACC_WRITE) || !pte_has(e, PTE_A | PTE_D))
        return PAGING_QUICK_NOT;
    return write_to(v, f, way->level > 1 ? large_gfn(e, f->va) : gfn_of(pte_frame(e)), q);
}
