/* Fetching code by a walk through our tables or the guest's. See fetch.h. */
#include "x86/svm/fetch.h"

#include "hv/guest.h"

static gva_t code_address(const struct machine_vcpu *m, unsigned offset)
{
    uint64_t rip = m->vmcb->rip + offset;

    return gva_of(regs_is_64bit(m) ? rip : (uint32_t)(m->vmcb->cs.base + rip));
}

void fetch_init(struct machine_vcpu *m)
{
    for (unsigned i = 0; i < SVM_CODE_PAGES; i++)
        m->code[i].tag = SVM_CODE_NONE;
}

/*
 * The page of code that our tables map at va, found as the processor finds it: long mode's four
 * or five levels, APM vol. 2, 5.3. NULL if they map none, or not for this fetch.
 */
static const uint8_t *mapped_page(struct machine_vcpu *m, gva_t va, bool user)
{
    struct paging_hw hw = paging_hw(&m->vcpu->paging);
    struct svm_code *slot = fetch_slot(m, va.raw);
    const uint64_t  *at = fetch_top(&hw, va.raw);
    uint64_t         entry, rights = PTE_U, offset;
    unsigned         shift = PAGE_SHIFT + 9 * hw.levels, i = 0;

    slot->tag = SVM_CODE_NONE;
    if (hw.levels == 3)
        return NULL;
    for (;; i++) {
        shift -= 9;
        slot->entry[i] = at;
        slot->value[i] = entry = __atomic_load_n(at, __ATOMIC_RELAXED);
        if (!(entry & PTE_P) || (entry & PTE_NX))
            return NULL;
        rights &= entry;
        if (shift == PAGE_SHIFT || (entry & PTE_PS))
            break;
        at = phys_ptr(&machine_phys, mfn_of((entry & PTE_FRAME) >> PAGE_SHIFT));
        at += va.raw >> (shift - 9) & 511;
    }
    if (user ? !rights : rights && (m->vmcb->cr4 & CR4_SMEP))
        return NULL;
    while (++i < PT_LEVELS_MAX) /* where there is no level */
        slot->entry[i] = &slot->value[i];
    offset = va.raw & ((UINT64_C(1) << shift) - 1) & ~PAGE_MASK;
    slot->page = machine_phys.base + ((entry & PTE_FRAME) >> shift << shift) + offset;
    slot->tag = fetch_tag(va.raw, user, hw.levels);
    return slot->page;
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

/* The page that a walk which was kept leads to, if it would lead there now; else NULL. */
static inline const uint8_t *walked_before(struct machine_vcpu *m, gva_t va, bool user)
{
    const struct svm_walked *w = walked_slot(m, va);
    const struct vcpu       *v = m->vcpu;
    uint64_t                 differs = (w->tag ^ fetch_tag(va.raw, user, 0)) |
                       (w->lowered ^ v->domain->paging.lowered) | (w->cr3 ^ v->paging.regs.cr3) |
                       (w->rules ^ m->fetch_rules);

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
    w->tag = fetch_tag(va.raw, user, 0);
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
    if (!page)
        return 0;
    if (want > PAGE_SIZE - at)
        want = (unsigned)PAGE_SIZE - at;
    __builtin_memcpy(to, page + at, want);
    return want;
}
