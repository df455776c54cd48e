/* Fetching code by a walk through our tables or the guest's. See fetch.h. */
#include "x86/svm/fetch.h"

#include "hv/guest.h"

#define TAG_NONE 2 /* no page's */

static gva_t code_address(const struct machine_vcpu *m, unsigned offset)
{
    uint64_t rip = m->vmcb->rip + offset;

    return gva_of(regs_is_64bit(m) ? rip : (uint32_t)(m->vmcb->cs.base + rip));
}

void fetch_forget(struct svm_asid *a, gva_t va)
{
    struct svm_code *slot = fetch_slot(a, va.raw);

    if (slot->tag >> PAGE_SHIFT == va.raw >> PAGE_SHIFT)
        slot->tag = TAG_NONE;
}

void fetch_forget_all(struct svm_asid *a)
{
    for (unsigned i = 0; i < SVM_CODE_PAGES; i++)
        a->code[i].tag = TAG_NONE;
}

/*
 * The page of code that our tables map at va, found as the processor finds it: long mode's four
 * or five levels, APM vol. 2, 5.3. NULL if they map none, or not for this fetch.
 */
static const uint8_t *mapped_page(const struct machine_vcpu *m, gva_t va, bool user)
{
    struct paging_hw hw = paging_hw(&m->vcpu->paging);
    uint64_t         entry = hw.cr3, rights = PTE_U;
    unsigned         shift = PAGE_SHIFT + 9 * hw.levels;

    if (hw.levels == 3)
        return NULL;
    do {
        const uint64_t *table = phys_ptr(&machine_phys, mfn_of((entry & PTE_FRAME) >> PAGE_SHIFT));

        shift -= 9;
        entry = __atomic_load_n(&table[va.raw >> shift & 511], __ATOMIC_RELAXED);
        if (!(entry & PTE_P) || (entry & PTE_NX))
            return NULL;
        rights &= entry;
    } while (shift > PAGE_SHIFT && !(entry & PTE_PS));
    if (user ? !rights : rights && (m->vmcb->cr4 & CR4_SMEP))
        return NULL;
    return machine_phys.base + (entry & PTE_FRAME & ~(((uint64_t)1 << shift) - 1)) +
           (va.raw & (((uint64_t)1 << shift) - 1) & ~PAGE_MASK);
}

/*
 * The page of code at va, by the guest's own tables; NULL if it cannot be fetched from. The guest has
 * fetched from it already, by the monitor's rights too.
 */
static const uint8_t *walked_page(struct machine_vcpu *m, gva_t va, bool user)
{
    struct vcpu        *v = m->vcpu;
    struct paging_reach r = paging_reach(domain_lock(v->domain), &v->paging, va,
                                         ACC_FETCH | ACC_OURS | (user ? ACC_USER : 0u));

    if (r.kind == REACH_FAULT)
        return NULL;
    verdict_flush(v->domain, &r.flush);
    return r.kind == REACH_RAM ? phys_ptr(&machine_phys, r.mfn) : NULL;
}

/* ---- nested paging: a walk is a function of the entries that it reads ---- */

static struct svm_walked *walked_slot(struct machine_vcpu *m, gva_t va)
{
    return &m->walked[va.raw >> PAGE_SHIFT & (SVM_WALKED - 1)];
}

static uint64_t tag_of(gva_t va, bool user)
{
    return (va.raw & ~PAGE_MASK) | (user ? SVM_CODE_USER : 0);
}

/* The page that a walk which was kept leads to, if it would lead there now; else NULL. */
static inline const uint8_t *walked_before(struct machine_vcpu *m, gva_t va, bool user)
{
    const struct svm_walked *w = walked_slot(m, va);
    const struct vcpu       *v = m->vcpu;
    uint64_t differs = (w->tag ^ tag_of(va, user)) | (w->lowered ^ v->domain->paging.lowered) |
                       (w->cr3 ^ v->paging.regs.cr3) | (w->rules ^ m->fetch_rules);

    if (differs != 0 || w->page == NULL)
        return NULL;
#define ENTRY(i) (__atomic_load_n(w->entry[i], __ATOMIC_RELAXED) ^ w->value[i])
    _Static_assert(PT_LEVELS_MAX == 5, "as many as there are levels");
    differs = ENTRY(0) | ENTRY(1) | ENTRY(2) | ENTRY(3) | ENTRY(4);
#undef ENTRY
    return differs == 0 ? w->page : NULL;
}

const uint8_t *fetch_walked(struct machine_vcpu *m)
{
    gva_t          va = gva_of(m->vmcb->rip);
    unsigned       at = (unsigned)(va.raw & PAGE_MASK);
    const uint8_t *page;

    if (!regs_is_64bit(m) || at > PAGE_SIZE - INSN_BYTES_MAX)
        return NULL;
    page = walked_before(m, va, m->vmcb->cpl == 3);
    return page ? page + at : NULL;
}

static bool is_page(struct paging_reach r, const uint8_t *page)
{
    return r.kind == REACH_RAM && phys_ptr(&machine_phys, r.mfn) == page;
}

static void keep_walk(struct machine_vcpu *m, gva_t va, bool user, const uint8_t *page)
{
    struct domain            *d = m->vcpu->domain;
    struct paging_locked      lock = domain_lock(d);
    struct svm_walked        *w = walked_slot(m, va);
    const struct paging_regs *regs = &m->vcpu->paging.regs;
    struct paging_view        view;
    unsigned                  levels = 0;

    paging_view(lock, &m->vcpu->paging, va, &view);
    *w = (struct svm_walked){ .cr3 = regs->cr3,
                              .rules = m->fetch_rules,
                              .lowered = d->paging.lowered };
    for (unsigned i = 0; i < PT_LEVELS_MAX; i++)
        w->entry[i] = &w->value[i]; /* where there is no level */
    for (unsigned i = 0; i < view.count; i++) {
        struct paging_reach r;

        if (view.level[i].gpa == UINT64_MAX)
            continue;
        r = paging_reach_gpa(lock, view.level[i].gpa);
        if (r.kind != REACH_RAM)
            return;
        w->entry[levels] =
            (const uint64_t *)phys_ptr(&machine_phys, r.mfn) + (r.gpa & PAGE_MASK) / 8;
        w->value[levels++] = view.level[i].guest;
    }
    w->tag = tag_of(va, user);
    /* Another vCPU may have changed them between the walk and the look. */
    if (view.mapped && is_page(paging_reach_gpa(lock, view.gpa), page))
        w->page = page;
}

static const uint8_t *nested_page(struct machine_vcpu *m, gva_t va, bool user)
{
    const uint8_t *page = walked_before(m, va, user);

    if (page)
        return page;
    page = walked_page(m, va, user);
    if (page && regs_is_64bit(m))
        keep_walk(m, va, user, page);
    return page;
}

unsigned fetch_code(struct machine_vcpu *m, uint8_t *to, unsigned offset, unsigned want)
{
    gva_t          va = code_address(m, offset);
    unsigned       at = (unsigned)(va.raw & PAGE_MASK);
    bool           user = m->vmcb->cpl == 3;
    const uint8_t *page = m->nested ? NULL : mapped_page(m, va, user);

    if (m->nested && offset == 0)
        page = nested_page(m, va, user);
    else if (!page)
        page = walked_page(m, va, user);
    else if (m->running->asid)
        *fetch_slot(m->running, va.raw) = (struct svm_code){
            .tag = (va.raw & ~PAGE_MASK) | (user ? SVM_CODE_USER : 0),
            .page = page,
        };
    if (!page)
        return 0;
    if (want > PAGE_SIZE - at)
        want = (unsigned)PAGE_SIZE - at;
    __builtin_memcpy(to, page + at, want);
    return want;
}
