/* Paravirtual domains: requests to the page-type machine, frames, beginning and end. See pv.h. */
#include "hv/pv.h"

#include <string.h>

#include "hv/alloc.h"
#include "hv/build.h"
#include "hv/control.h"
#include "hv/hc.h"
#include "hv/kind.h"
#include "hv/print.h"

#define CPUS             1 /* that run the hypervisor */
#define COLLECT_AT_ONCE  64
#define TABLE_INDEX_MASK 511u

struct direct_machine pv_machine;

/* ---- what the page-type machine asks for ---- */

/* Flushes this CPU's TLB, and notes by the clock that it did. */
static void flush(void)
{
    uint32_t clock = direct_flush_begin(&pv_machine);

    pv_edge_flush();
    direct_flush_end(&pv_machine, this_cpu()->id, clock);
    if (clock == 0)
        direct_clock_restart(&pv_machine);
}

/* The vCPU that a request is for; NULL for the keeper. */
static struct pv_vcpu *vcpu_of(struct direct_vcpu *v)
{
    const struct pv_domain *d = (const struct pv_domain *)v->domain;

    if (v == &d->keeper)
        return NULL;
    return (struct pv_vcpu *)((uint8_t *)v - offsetof(struct pv_vcpu, direct));
}

static struct domain *domain_of(const struct direct_vcpu *v)
{
    struct domain *d = domain_by_id(v->domain->id);

    BUG_ON(d == NULL);
    return d;
}

static void obey(struct direct_vcpu *v, const struct direct_ask *ask)
{
    struct pv_vcpu *pv = vcpu_of(v);

    switch (ask->kind) {
    case DIRECT_ASK_FLUSH:
        flush();
        return;
    case DIRECT_ASK_LOAD:
        /* A program's root is loaded when one runs next. */
        if (pv != NULL && mfn_eq(ask->mfn, pv->direct.root[!pv->kernel]))
            pv_edge_load_root(pv);
        return;
    case DIRECT_ASK_UNSHADOW:
    case DIRECT_ASK_FOLLOW:
        pv_shadow_obey(domain_of(v), ask);
        return;
    }
}

/* Its own tables cannot say what is wanted, but shadows of them could. */
static enum pv_result refused(struct direct_vcpu *v, enum direct_error error)
{
    struct domain *d = domain_of(v);

    if (error != DIRECT_L1TF || domain_is_control(d)) /* that one cannot have any */
        return PV_REFUSED;
    if (kind_change_step(d, PAGED_SHADOW) == KIND_NO_MEMORY) {
        domain_crash(d, "it needs shadows of its tables, and the machine has no memory for them");
        return PV_REFUSED;
    }
    return PV_AGAIN;
}

/* One call of the machine's, and what it asks for on the way. */
static enum pv_result call(struct direct_vcpu *v, const struct direct_request *request,
                           unsigned budget, enum direct_error *error)
{
    struct direct_verdict verdict = direct_do_steps(v, request, budget);

    while (verdict.status == DIRECT_ASK) {
        obey(v, &verdict.ask);
        verdict = direct_do_steps(v, request, budget);
    }
    if (error != NULL)
        *error = verdict.error;
    switch (verdict.status) {
    case DIRECT_DONE:
        if (verdict.flush_all)
            flush();
        return PV_DONE;
    case DIRECT_AGAIN:
        return PV_AGAIN;
    case DIRECT_REFUSED:
        return refused(v, verdict.error);
    case DIRECT_ASK:
    case DIRECT_BROKEN:
        break;
    }
    panic("page types: %s", verdict.why != NULL ? verdict.why : "no answer");
}

enum pv_result pv_request(struct direct_vcpu *v, const struct direct_request *request,
                          enum direct_error *error)
{
    enum pv_result result;

    if (direct_at_once(v, request, PV_BUDGET))
        return PV_DONE;
    do
        result = call(v, request, PV_BUDGET, error);
    while (result == PV_AGAIN && !hc_preempt());
    return result;
}

bool pv_root_now(struct pv_vcpu *pv, mfn_t mfn, bool user)
{
    mfn_t old;

    if (!direct_root_take(&pv->direct, mfn, user, &old))
        return false;
    if (user != pv->kernel) /* a program's root is loaded when one runs next */
        pv_edge_load_root(pv);
    direct_root_leave(&pv->direct, old);
    return true;
}

bool pv_request_now(struct direct_vcpu *v, const struct direct_request *request)
{
    enum pv_result result = PV_DONE;

    if (!direct_at_once(v, request, PV_BUDGET_NOW))
        do
            result = call(v, request, PV_BUDGET_NOW, NULL);
        while (result == PV_AGAIN);
    while (!pv_drain(v))
        continue;
    return result == PV_DONE;
}

bool pv_drain(struct direct_vcpu *v)
{
    const struct direct_request request = { .op = DIRECT_DRAIN };

    if (direct_unfinished(v) && pv_request(v, &request, NULL) != PV_DONE)
        return false;
    return !direct_unfinished(v);
}

/* A request of the keeper's: it never leaves one unfinished. */
static bool keep(struct pv_domain *d, enum direct_op op, mfn_t mfn, uint8_t kind)
{
    const struct direct_request request = {
        .op = op,
        .owner = &d->direct,
        .from = d->direct.id,
        .mfn = mfn,
        .kind = kind,
    };

    return pv_request_now(&d->keeper, &request);
}

bool pv_get(struct pv_vcpu *v, mfn_t mfn, uint8_t kind)
{
    return keep(v->vcpu->domain->pv, DIRECT_GET, mfn, kind);
}

void pv_put(struct pv_vcpu *v, mfn_t mfn, uint8_t kind)
{
    bool done = keep(v->vcpu->domain->pv, DIRECT_PUT, mfn, kind);

    BUG_ON(!done);
}

bool pv_hold(struct domain *d, mfn_t mfn)
{
    struct pv_domain *pv = d->pv;

    if (pv->helds == PV_HELD_MAX || !keep(pv, DIRECT_GET, mfn, TYPE_WRITABLE))
        return false;
    pv->held[pv->helds++] = mfn;
    return true;
}

bool pv_unhold(struct domain *d, mfn_t mfn)
{
    struct pv_domain *pv = d->pv;

    for (unsigned i = 0; i < pv->helds; i++)
        if (mfn_eq(pv->held[i], mfn)) {
            pv->held[i] = pv->held[--pv->helds];
            return keep(pv, DIRECT_PUT, mfn, TYPE_WRITABLE);
        }
    return false;
}

bool pv_keep(struct domain *d, mfn_t mfn, uint8_t kind)
{
    return keep(d->pv, DIRECT_GET, mfn, kind);
}

bool pv_owns(const struct domain *d, mfn_t mfn)
{
    return mfn.raw < machine_phys.frames && frame_is_held(&pv_machine, mfn, d->id);
}

void pv_let_go(struct domain *d, mfn_t mfn, uint8_t kind)
{
    bool done = keep(d->pv, DIRECT_PUT, mfn, kind);

    BUG_ON(!done);
}

/* ---- frames ---- */

void pv_m2p_set(struct domain *d, mfn_t mfn, uint64_t pfn)
{
    __atomic_store_n(&pv_edge_m2p()[mfn.raw], pfn, __ATOMIC_RELAXED);
    paging_dirty_mark(domain_lock(d), mfn);
    if (pfn < PV_PFN_MAX && pfn >= d->pv->pfn_end)
        d->pv->pfn_end = pfn + 1;
}

uint64_t pv_m2p_get(mfn_t mfn)
{
    return __atomic_load_n(&pv_edge_m2p()[mfn.raw], __ATOMIC_RELAXED);
}

void pv_forget(mfn_t mfn)
{
    if (pv_machine.phys != NULL && direct_stale_cpus(&pv_machine, mfn) != 0)
        flush();
}

bool pv_take(struct domain *d, mfn_t mfn)
{
    return direct_steal(&d->pv->direct, mfn) == DIRECT_OK;
}

void pv_put_back(struct domain *d, mfn_t mfn)
{
    pv_forget(mfn);
    direct_allocate(&d->pv->direct, mfn);
}

static void give_up(struct domain *d, mfn_t mfn)
{
    pv_forget(mfn);
    pv_m2p_set(d, mfn, PV_PFN_NONE);
    domain_free_frame(d, mfn);
}

bool pv_collect(void)
{
    for (unsigned i = 0; i < COLLECT_AT_ONCE; i++) {
        mfn_t          mfn = direct_freed_first(&pv_machine);
        struct domain *owner;

        if (!mfn_valid(mfn))
            return true;
        /* A dead table's entry is still on its list: the reaper comes to it. */
        if (paging_pv_knows(&machine_phys, mfn))
            return false;
        mfn = direct_freed(&pv_machine);
        owner = domain_by_id(phys_frame(&machine_phys, mfn)->owner);
        BUG_ON(owner == NULL);
        give_up(owner, mfn);
    }
    return false;
}

mfn_t pv_allocate_block(struct domain *d, uint64_t pfn, unsigned order)
{
    mfn_t first;

    (void)!pv_collect();
    first = domain_alloc_block(d, order);
    if (mfn_valid(first))
        memset(phys_ptr(&machine_phys, first), 0, PAGE_SIZE << order);
    for (uint64_t i = 0; mfn_valid(first) && i < UINT64_C(1) << order; i++) {
        direct_allocate(&d->pv->direct, mfn_of(first.raw + i));
        pv_m2p_set(d, mfn_of(first.raw + i), pfn == PV_PFN_NONE ? pfn : pfn + i);
    }
    return first;
}

mfn_t pv_allocate(struct domain *d, uint64_t pfn)
{
    return pv_allocate_block(d, pfn, 0);
}

/* ---- tables ---- */

bool pv_walk(mfn_t root, gva_t va, unsigned level, struct pv_place *place)
{
    place->table = root;
    for (unsigned l = 4;; l--) {
        const pte_t *table = phys_ptr(&machine_phys, place->table);

        place->index = (unsigned)(va.raw >> (PAGE_SHIFT + 9 * (l - 1))) & TABLE_INDEX_MASK;
        place->entry.raw = __atomic_load_n(&table[place->index].raw, __ATOMIC_RELAXED);
        if (l == level)
            return true;
        if (!pte_has(place->entry, PTE_P))
            return false;
        place->table = mfn_of(pte_frame(place->entry));
    }
}

bool pv_map_foreign(struct pv_vcpu *v, const struct pv_place *place, uint64_t value, uint16_t from)
{
    const struct direct_request request = {
        .op = DIRECT_UPDATE,
        .owner = &v->vcpu->domain->pv->direct,
        .from = from,
        .flags = DIRECT_LEAF | DIRECT_EXPECT,
        .mfn = place->table,
        .index = place->index,
        .value = value,
        .expect = place->entry.raw,
    };
    bool done = pv_request_now(&v->direct, &request);

    if (done && pte_has(place->entry, PTE_P))
        flush();
    return done;
}

/* ---- beginning ---- */

bool pv_domain_create(struct domain *d)
{
    struct pv_domain *pv = alloc_bytes(sizeof(*pv));

    if (pv == NULL)
        return false;
    if (pv_machine.phys == NULL) {
        direct_machine_init(&pv_machine, &machine_phys, CPUS, pv_edge_l1tf_limit(),
                            pv_edge_slots());
        pv_machine.quick = true;
        pv_machine.wide = true; /* no vCPU has CR0.TS set: there was none before */
    }
    pv->ring = MFN_NONE;
    direct_domain_init(&pv->direct, &pv_machine, d->id);
    direct_vcpu_init(&pv->keeper, &pv->direct);
    d->pv = pv;
    return true;
}

bool pv_vcpu_create(struct vcpu *v)
{
    struct pv_vcpu *pv = alloc_bytes(sizeof(*pv));

    if (pv == NULL)
        return false;
    pv->vcpu = v;
    direct_vcpu_init(&pv->direct, &v->domain->pv->direct);
    for (unsigned i = 0; i < PV_GDT_FRAMES; i++)
        pv->gdt[i] = MFN_NONE;
    for (unsigned i = 0; i < PV_LDT_FRAMES; i++)
        pv->ldt_frame[i] = MFN_NONE;
    v->pv = pv;
    return true;
}

/* ---- the end ---- */

static void drop_list(struct pv_vcpu *v, mfn_t *frame, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (mfn_valid(frame[i]))
            pv_put(v, frame[i], TYPE_SEGMENTS);
        frame[i] = MFN_NONE;
    }
}

static void drop_references(struct domain *d)
{
    struct pv_domain *pv = d->pv;

    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        struct pv_vcpu *v = d->vcpu[i]->pv;

        if (v == NULL)
            continue;
        drop_list(v, v->gdt, PV_GDT_FRAMES);
        drop_list(v, v->gdt_next, v->gdt_ready);
        v->gdt_ready = 0;
        drop_list(v, v->ldt_frame, PV_LDT_FRAMES);
    }
    while (pv->helds > 0) {
        bool done = keep(pv, DIRECT_PUT, pv->held[--pv->helds], TYPE_WRITABLE);

        BUG_ON(!done);
    }
}

bool pv_domain_release_step(struct domain *d)
{
    struct pv_domain     *pv = d->pv;
    struct direct_request request = { .op = DIRECT_TEARDOWN, .owner = &pv->direct };
    enum pv_result        result;

    if (!pv->direct.dying) {
        if (!pv_shadow_release_step(d))
            return false;
        for (unsigned i = 0; i < d->nr_vcpus; i++)
            machine_vcpu_destroy(d->vcpu[i]); /* its descriptors leave the processor */
        drop_references(d);
        pv->direct.dying = true;
        return false;
    }
    if (!pv_collect())
        return false;
    do
        result = pv_request(&pv->keeper, &request, NULL);
    while (result == PV_AGAIN && !hc_long());
    BUG_ON(result == PV_REFUSED);
    return result == PV_DONE && pv_collect();
}

void pv_vcpu_destroy(struct vcpu *v)
{
    if (v->pv == NULL)
        return;
    free_bytes(v->pv, sizeof(*v->pv));
    v->pv = NULL;
}

void pv_domain_destroy(struct domain *d)
{
    if (d->pv == NULL)
        return;
    free_bytes(d->pv, sizeof(*d->pv));
    d->pv = NULL;
}
