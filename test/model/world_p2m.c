/* Two worlds: what is behind guest frames changes. See world.h. */
#include "test/model/world.h"

#include <inttypes.h>

/* Until it is done. Guests go on in between, as far as the hypercall that changes it lets them. */
bool world_p2m_set(struct world *w, struct world_vcpu *v, uint64_t gfn, struct p2m_entry entry)
{
    for (unsigned calls = 0; calls < WORLD_AGAIN; calls++) {
        struct verdict d = paging_p2m_set((struct paging_locked){ &w->domain }, gfn_of(gfn), entry);

        if (d.kind != VERDICT_RETRY)
            return world_fail(w, "paging_p2m_set: verdict %d (%s)", (int)d.kind,
                              d.why ? d.why : "");
        if (v && !world_flush(w, v, d))
            return false;
        if (!d.again)
            return true;
        w->counts.again++;
        if (!world_audit(w))
            return false;
    }
    return world_fail(w, "paging_p2m_set does not come to an end");
}

/* A script that was shortened may ask for what cannot be: it is then left out. */
bool world_p2m_change(struct world *w, struct world_vcpu *v, const struct op *op)
{
    static const enum p2m_type types[] = { P2M_HOLE, P2M_RAM, P2M_ROM, P2M_DEVICE };
    struct mmu_memory         *m = &w->memory;
    uint64_t                   gfn = op->va;
    uint32_t                   page = (uint32_t)op->value;
    bool                       memory = op->acc == MMU_RAM || op->acc == MMU_ROM;
    struct p2m_entry           entry = { MFN_NONE, types[op->acc & 3], 0 };

    if (gfn >= m->gfns || page >= m->pages)
        return true;
    for (uint64_t other = 0; memory && other < m->gfns; other++) /* each page at most once */
        if (other != gfn && m->page_of[other] == page &&
            (m->behind[other] == MMU_RAM || m->behind[other] == MMU_ROM))
            return true;
    if (memory) {
        entry.mfn = mfn_of(w->mfn_of_page[page]);
        m->page_of[gfn] = page;
    }
    m->behind[gfn] = op->acc & 3;
    world_dirty_entered(w, gfn);
    return world_p2m_set(w, v, gfn, entry);
}

bool world_p2m_move(struct world *w, struct world_vcpu *v, const struct op *op)
{
    struct mmu_memory *m = &w->memory;
    struct verdict     d = { .again = true };

    if (op->va >= m->gfns || op->value >= m->gfns || m->behind[op->value] != MMU_HOLE ||
        (m->behind[op->va] != MMU_RAM && m->behind[op->va] != MMU_ROM))
        return true;
    m->page_of[op->value] = m->page_of[op->va];
    m->behind[op->value] = m->behind[op->va];
    m->behind[op->va] = MMU_HOLE;
    world_dirty_entered(w, op->value);
    for (unsigned calls = 0; d.again; calls++) {
        d = paging_p2m_move((struct paging_locked){ &w->domain }, gfn_of(op->va),
                            gfn_of(op->value));
        if (d.kind != VERDICT_RETRY || calls > WORLD_AGAIN)
            return world_fail(w, "paging_p2m_move: verdict %d (%s) after %u calls", (int)d.kind,
                              d.why ? d.why : "", calls);
        if (!world_flush(w, v, d))
            return false;
        w->counts.again += d.again;
    }
    return true;
}

/* The p2m maps the large block as one again, whatever has become of its parts. */
bool world_p2m_block(struct world *w, struct world_vcpu *v, const struct op *op)
{
    static const enum p2m_type types[] = { P2M_HOLE, P2M_RAM, P2M_ROM, P2M_DEVICE };
    struct mmu_memory         *m = &w->memory;
    bool                       memory = op->acc == MMU_RAM || op->acc == MMU_ROM;
    uint32_t                   first = w->setup.gfns + w->setup.spare;

    for (uint64_t gfn = 0; gfn < WORLD_LARGE && gfn < m->gfns; gfn++)
        if (m->page_of[gfn] >= first && (m->behind[gfn] == MMU_RAM || m->behind[gfn] == MMU_ROM))
            return true; /* a part of it is elsewhere */
    for (uint32_t i = 0; w->setup.large && i < 512; i++) {
        m->page_of[WORLD_LARGE + i] = memory ? first + i : m->page_of[WORLD_LARGE + i];
        m->behind[WORLD_LARGE + i] = op->acc & 3;
        world_dirty_entered(w, WORLD_LARGE + i);
    }
    return !w->setup.large || world_p2m_set(w, v, WORLD_LARGE,
                                            (struct p2m_entry){ memory ? mfn_of(512) : MFN_NONE,
                                                                types[op->acc & 3], 9 });
}
