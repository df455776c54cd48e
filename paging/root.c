/*
 * Roots: what a vCPU runs on, and the ones it has run on lately.
 *
 * A four- or five-level guest has one top table of ours. Everything else runs on a PAE root
 * of four entries: the quarters of a 32-bit directory, the four latched entries of a PAE
 * guest, or the first 4 GiB of the direct tree when paging is off.
 */
#include "shadow.h"

/* CR0, CR4 and EFER bits: APM vol. 2, 3.1. */
#define CR0_WP   (UINT64_C(1) << 16)
#define CR0_PG   (UINT64_C(1) << 31)
#define CR4_PSE  (UINT64_C(1) << 4)
#define CR4_PAE  (UINT64_C(1) << 5)
#define CR4_PGE  (UINT64_C(1) << 7)
#define CR4_LA57 (UINT64_C(1) << 12)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_NXE (UINT64_C(1) << 11)

#define CR3_PAE UINT64_C(0xffffffe0) /* where the four root entries of PAE are */

static enum pt_format format_of(const struct paging_regs *r)
{
    if (!(r->cr0 & CR0_PG))
        return PT_DIRECT;
    if (!(r->cr4 & CR4_PAE))
        return PT_32;
    if (!(r->efer & EFER_LMA))
        return PT_PAE;
    return r->cr4 & CR4_LA57 ? PT_LA57 : PT_64;
}

static uint8_t view_of(const struct paging_regs *r)
{
    return (uint8_t)((r->cr0 & CR0_WP ? PT_VIEW_WP : 0) | (r->efer & EFER_NXE ? PT_VIEW_NX : 0) |
                     (r->cr4 & CR4_SMEP ? PT_VIEW_SMEP : 0) |
                     (r->cr4 & CR4_SMAP ? PT_VIEW_SMAP : 0) | (r->cr4 & CR4_PSE ? PT_VIEW_PSE : 0));
}

/* Most changes of a view leave the rest of a mode, which is long, as it is. */
static void set_mode(const struct paging_domain *d, struct pt_mode *mode, enum pt_format format,
                     uint8_t view)
{
    if (mode->format == format && mode->view == view && mode->entry_bytes != 0)
        return;
    if (mode->entry_bytes == 0 || mode->format != format ||
        mode_of(d, format, mode->view) != mode_of(d, format, view))
        *mode = *mode_of(d, format, view);
    mode->view = view;
}

/* ---- slots ---- */

static void slot_release(struct change *c, struct paging_root *r)
{
    for (unsigned i = 0; i < r->count; i++)
        if (mfn_valid(r->table[i]))
            shadow_put(c, r->table[i]);
    r->used = r->empty = false;
    r->count = 0;
}

static bool slot_names(const struct paging_root *r, mfn_t table)
{
    for (unsigned i = 0; r->used && i < r->count; i++)
        if (mfn_eq(r->table[i], table))
            return true;
    return false;
}

void root_forget(struct change *c, mfn_t table)
{
    for (struct paging_vcpu *v = c->d->vcpus; v; v = v->next)
        for (unsigned i = 0; i < PAGING_ROOTS; i++)
            if (i != v->current && slot_names(&v->root[i], table))
                slot_release(c, &v->root[i]);
}

void root_release_all(struct change *c, struct paging_vcpu *v)
{
    for (unsigned i = 0; i < PAGING_ROOTS; i++)
        if (v->root[i].used)
            slot_release(c, &v->root[i]);
}

void root_leave(struct change *c, mfn_t table)
{
    for (struct paging_vcpu *v = c->d->vcpus; v; v = v->next)
        for (unsigned i = 0; i < PAGING_ROOTS; i++)
            if (slot_names(&v->root[i], table))
                slot_release(c, &v->root[i]);
}

/* Empties a table in use, as far as it may now; true if there was something in it. */
static bool unhook(struct change *c, mfn_t table)
{
    bool any = false;

    for (unsigned i = 0; shadow_of(c->d, table)->shadow.used > 0 && c->work < CHANGE_BUDGET;) {
        i = entry_next(c->d, table, i);
        entry_set(c, table, i, PTE_EMPTY);
        any = true;
    }
    return any;
}

static bool unhook_vcpu(struct change *c, struct paging_vcpu *v)
{
    const struct paging_root *r = &v->root[v->current];
    bool                      any = false;

    for (unsigned i = 0; i < PAGING_ROOTS; i++) {
        if (i == v->current || !v->root[i].used)
            continue;
        slot_release(c, &v->root[i]);
        any = true;
    }
    for (unsigned i = 0; r->used && i < r->count; i++)
        any = (mfn_valid(r->table[i]) && unhook(c, r->table[i])) || any;
    return any;
}

bool root_unhook(struct change *c)
{
    bool any = false;

    for (struct paging_vcpu *v = c->d->vcpus; v; v = v->next)
        any = unhook_vcpu(c, v) || any;
    any = unhook(c, c->d->direct) || any;
    c->d->stats.unhooked += any;
    return any;
}

static struct paging_root *slot_oldest(struct paging_vcpu *v)
{
    struct paging_root *oldest = NULL;

    for (unsigned i = 0; i < PAGING_ROOTS; i++) {
        struct paging_root *r = &v->root[i];

        if (!r->used)
            return r;
        if (i != v->current && (!oldest || r->stamp < oldest->stamp))
            oldest = r;
    }
    return oldest;
}

/* ---- finding and making ---- */

/* What identifies a root. */
struct wanted {
    uint8_t  format, view; /* key view */
    mfn_t    guest[4];     /* the top table, or the four below latched entries */
    unsigned count;
};

static mfn_t memory_at(const struct paging_domain *d, uint64_t gfn)
{
    struct p2m_entry e = p2m_get(&d->p2m, gfn_of(gfn));

    return e.type == P2M_RAM ? e.mfn : MFN_NONE;
}

static struct wanted wanted_of(const struct paging_domain *d, const struct paging_regs *r,
                               const uint64_t pdpte[4])
{
    enum pt_format format = format_of(r);
    struct wanted  w = {
         .format = (uint8_t)format,
         .view = view_key(format, view_of(r)),
         .guest = { MFN_NONE, MFN_NONE, MFN_NONE, MFN_NONE },
         .count = 4,
    };

    switch (format) {
    case PT_DIRECT:
        break;
    case PT_32:
        w.guest[0] = memory_at(d, (uint32_t)r->cr3 >> PAGE_SHIFT);
        break;
    case PT_PAE:
        for (unsigned i = 0; i < 4; i++)
            if ((pdpte[i] & PTE_P) &&
                !walk_latched_is_reserved(mode_of(d, PT_PAE, view_of(r)), pdpte[i]))
                w.guest[i] = memory_at(d, (pdpte[i] & PTE_FRAME) >> PAGE_SHIFT);
        break;
    default:
        w.guest[0] = memory_at(d, (r->cr3 & PTE_FRAME) >> PAGE_SHIFT);
        w.count = 1;
    }
    return w;
}

/*
 * The root in use is for the same tables as long as CR3 is, unless registers were only noted: a
 * change of the p2m empties it. If CR3 alone is written, which is most, all else is as it was.
 */
static struct wanted wanted_next(const struct paging_vcpu *v, const struct paging_regs *r,
                                 const uint64_t pdpte[4])
{
    const struct paging_root *now = &v->root[v->current];
    const struct paging_regs *was = &v->regs;
    enum pt_format            format = format_of(r);

    if (v->noted || !now->used || now->empty)
        return wanted_of(v->domain, r, pdpte);
    if (r->cr3 == was->cr3 && now->format == format && format != PT_PAE)
        return (struct wanted){
            .format = (uint8_t)format,
            .view = view_key(format, view_of(r)),
            .guest = { now->guest[0], MFN_NONE, MFN_NONE, MFN_NONE },
            .count = now->count,
        };
    if (now->count != 1 || ((r->cr0 ^ was->cr0) | (r->cr4 ^ was->cr4) | (r->efer ^ was->efer)) != 0)
        return wanted_of(v->domain, r, pdpte);
    return (struct wanted){
        .format = now->format,
        .view = now->view,
        .guest = { memory_at(v->domain, (r->cr3 & PTE_FRAME) >> PAGE_SHIFT), MFN_NONE, MFN_NONE,
                   MFN_NONE },
        .count = 1,
    };
}

static bool slot_is(const struct paging_root *r, const struct wanted *w)
{
    return mfn_eq(r->guest[0], w->guest[0]) && r->used && !r->empty && r->format == w->format &&
           r->view == w->view && mfn_eq(r->guest[1], w->guest[1]) &&
           mfn_eq(r->guest[2], w->guest[2]) && mfn_eq(r->guest[3], w->guest[3]);
}

static mfn_t top_table(struct change *c, const struct wanted *w)
{
    uint8_t     level = w->format == PT_LA57 ? 5 : 4;
    struct role role = { w->format, level, w->view, 0 };

    if (!mfn_valid(w->guest[0]))
        return shadow_get_empty(c, w->format, level);
    bool  is_new = !mfn_valid(shadow_find(c->d, w->guest[0], role));
    mfn_t table = shadow_get(c, w->guest[0], role);

    if (!mfn_valid(table))
        return table;
    if (is_new)
        root_prelink(c, table, w->guest[0]);
    shadow_pin(c, table);
    return table;
}

/* The i-th table behind a PAE root. */
static mfn_t quarter(struct change *c, const struct wanted *w, unsigned i)
{
    struct role role = { w->format, 2, w->view, 0 };

    switch (w->format) {
    case PT_DIRECT:
        return direct_get(c, gfn_of((uint64_t)i << 18), 2, true);
    case PT_32:
        role.part = (uint8_t)i;
        return mfn_valid(w->guest[0]) ? shadow_get(c, w->guest[0], role)
                                      : shadow_get_empty(c, w->format, 2);
    default:
        return mfn_valid(w->guest[i]) ? shadow_get(c, w->guest[i], role) : MFN_NONE;
    }
}

static uint64_t *pdptes_of(const struct paging_vcpu *v, const struct paging_root *r)
{
    return (uint64_t *)phys_ptr(v->domain->phys, v->pae) + 4 * (r - v->root);
}

/* False: it must stop, and the slot is unused. */
static bool slot_fill(struct change *c, struct paging_vcpu *v, struct paging_root *r,
                      const struct wanted *w)
{
    *r = (struct paging_root){
        .used = true,
        .format = w->format,
        .view = w->view,
        .count = (uint8_t)w->count,
        .guest = { w->guest[0], w->guest[1], w->guest[2], w->guest[3] },
        .table = { MFN_NONE, MFN_NONE, MFN_NONE, MFN_NONE },
        .serial = ++v->serials,
    };
    for (unsigned i = 0; i < w->count; i++) {
        r->table[i] = w->count == 1 ? top_table(c, w) : quarter(c, w, i);
        if (c->again) {
            slot_release(c, r);
            return false;
        }
        if (mfn_valid(r->table[i]))
            shadow_ref(c->d, r->table[i]);
        if (w->count == 4)
            pdptes_of(v, r)[i] = mfn_valid(r->table[i]) ? r->table[i].raw << PAGE_SHIFT | PTE_P : 0;
    }
    return true;
}

static void make_current(struct change *c, struct paging_vcpu *v, unsigned slot)
{
    if (v->root[v->current].empty) /* it was for lack of this one */
        slot_release(c, &v->root[v->current]);
    v->root[slot].stamp = ++v->clock;
    v->previous = v->current;
    v->current = slot;
}

/* The slot that has the root which is wanted; PAGING_ROOTS: none. The one in use is likely. */
static unsigned slot_find(const struct paging_vcpu *v, const struct wanted *w)
{
    unsigned i = 0;

    if (slot_is(&v->root[v->current], w))
        return v->current;
    while (i < PAGING_ROOTS && !slot_is(&v->root[i], w))
        i++;
    return i;
}

/* Makes the root that is wanted current; false if memory for it is short, or it must stop. */
static bool root_install(struct change *c, struct paging_vcpu *v, const struct wanted *w)
{
    unsigned slot = slot_find(v, w);

    if (slot < PAGING_ROOTS) {
        if (slot != v->current) {
            if (!unsync_idle_all(c))
                return false;
            c->d->stats.root_hits++;
            make_current(c, v, slot);
        }
        if (w->count == 1 && mfn_valid(w->guest[0]))
            shadow_pin(c, v->root[slot].table[0]);
        return true;
    }
    /* A register write has synchronised them already, a fault on an empty root has not. */
    if (!unsync_idle_all(c) || !shadow_reserve(c, ROOT_PAIRS))
        return false;
    struct paging_root *r = slot_oldest(v);

    if (r->used)
        slot_release(c, r);
    c->d->stats.root_misses++;
    if (!slot_fill(c, v, r, w))
        return false;
    make_current(c, v, (unsigned)(r - v->root));
    return true;
}

/* ---- events ---- */

/* APM vol. 2, 5.2.3. */
bool root_latch(struct paging_vcpu *v, const struct paging_regs *r, uint64_t pdpte[4])
{
    const struct paging_domain *d = v->domain;
    mfn_t                       table = memory_at(d, (r->cr3 & CR3_PAE) >> PAGE_SHIFT);
    const struct pt_mode       *mode = mode_of(d, PT_PAE, view_of(r));
    unsigned                    first = (unsigned)(r->cr3 & CR3_PAE & PAGE_MASK) / 8;
    bool                        good = true;

    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = mfn_valid(table) ? walk_read(d->phys, mode, table, first + i).raw : UINT64_MAX;
        good = good && !walk_latched_is_reserved(mode, pdpte[i]);
    }
    return good;
}

/* When a PAE guest's root entries are read anew: APM vol. 2, 5.2.3 and 3.1.2. */
static bool latches(const struct paging_vcpu *v, const struct paging_regs *r)
{
    const uint64_t cr4 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP;

    return format_of(&v->regs) != PT_PAE || v->cr3_loaded || r->cr3 != v->regs.cr3 ||
           ((r->cr4 ^ v->regs.cr4) & cr4) != 0 || ((r->cr0 ^ v->regs.cr0) & CR0_PG) != 0;
}

struct verdict paging_set_regs(struct paging_locked p, struct paging_vcpu *v,
                               const struct paging_regs *regs)
{
    struct paging_domain *d = p.domain;
    struct change         c = { .d = d };
    enum pt_format        format = format_of(regs);
    uint64_t              pdpte[4] = { v->pdpte[0], v->pdpte[1], v->pdpte[2], v->pdpte[3] };

    v->events++;
    if (!resync_all(&c)) /* whatever is written there flushes everything */
        return verdict_of(&c, VERDICT_RETRY);
    if (format == PT_PAE && latches(v, regs) && !root_latch(v, regs, pdpte))
        return verdict_of(&c, VERDICT_INJECT);
    if (d->kind == PAGING_SHADOW) {
        struct wanted w = wanted_next(v, regs, pdpte);

        if (!root_install(&c, v, &w)) /* until it is, the guest goes on with what it had */
            return verdict_unready(&c);
    }
    __builtin_memcpy(v->pdpte, pdpte, sizeof(pdpte));
    v->regs = *regs;
    set_mode(d, &v->mode, format, view_of(regs));
    v->cr3_loaded = false;
    v->noted = false;
    return verdict_of(&c, VERDICT_RETRY);
}

/* All that makes a root, but CR3 and CR0.WP, is the same. */
static bool is_alike(const struct paging_regs *a, const struct paging_regs *b)
{
    const uint64_t cr4 = CR4_PSE | CR4_PAE | CR4_LA57 | CR4_SMEP | CR4_SMAP;

    return (((a->cr0 ^ b->cr0) & CR0_PG) | ((a->cr4 ^ b->cr4) & cr4) |
            ((a->efer ^ b->efer) & (EFER_LMA | EFER_NXE))) == 0;
}

static bool slot_has(const struct paging_root *r, mfn_t guest, uint8_t format, uint8_t view)
{
    return mfn_eq(r->guest[0], guest) && r->used && !r->empty && r->format == format &&
           r->view == view;
}

/* Which slot has a root like this one for that table; PAGING_ROOTS: none. */
static unsigned slot_seek(const struct paging_vcpu *v, mfn_t guest, uint8_t format, uint8_t view)
{
    unsigned i = 0;

    while (i < PAGING_ROOTS && !slot_has(&v->root[i], guest, format, view))
        i++;
    return i;
}

/* Goes to a root of one table that the vCPU has already, most likely the one it came from. */
static inline bool go_to(struct change *c, struct paging_vcpu *v, uint64_t cr3, uint8_t view_bits)
{
    const struct paging_root *now = &v->root[v->current], *to = &v->root[v->previous];
    unsigned                  slot = v->previous;
    uint8_t                   view = now->view;
    mfn_t                     guest = now->guest[0];

    if (cr3 != v->regs.cr3)
        guest = memory_at(c->d, (cr3 & PTE_FRAME) >> PAGE_SHIFT);
    else if (view_bits == 0)
        to = now, slot = v->current;
    if (view_bits != 0)
        view = view_key((enum pt_format)now->format, v->mode.view ^ view_bits);
    if (v->noted || !now->used || now->empty || !mfn_valid(guest))
        return false;
    if (!slot_has(to, guest, now->format, view)) {
        slot = slot_seek(v, guest, now->format, view);
        if (slot == PAGING_ROOTS)
            return false;
        to = &v->root[slot];
    }
    if (slot != v->current) {
        c->d->stats.root_hits++;
        make_current(c, v, slot);
    }
    shadow_pin(c, to->table[0]);
    return true;
}

bool paging_set_regs_quickly(struct paging_locked p, struct paging_vcpu *v,
                             const struct paging_regs *regs)
{
    struct change c = { .d = p.domain };
    uint8_t       view_bits = (regs->cr0 ^ v->regs.cr0) & CR0_WP ? PT_VIEW_WP : 0;

    if (!is_alike(&v->regs, regs) || c.d->unsynced.head != 0 || v->root[v->current].count != 1 ||
        v->mode.format == PT_PAE ||
        (c.d->kind == PAGING_SHADOW && !go_to(&c, v, regs->cr3, view_bits)))
        return false;
    v->events++;
    v->regs = *regs;
    v->mode.view ^= view_bits;
    v->cr3_loaded = false;
    return true;
}

bool paging_runs_on(const struct paging_vcpu *v, mfn_t guest)
{
    const struct paging_root *r = &v->root[v->current];

    for (unsigned i = 0; r->used && i < 4; i++)
        if (mfn_eq(r->guest[i], guest))
            return true;
    return false;
}

bool root_in_use(const struct paging_domain *d, mfn_t guest)
{
    for (const struct paging_vcpu *v = d->vcpus; v; v = v->next)
        if (paging_runs_on(v, guest))
            return true;
    return false;
}

/* ---- vCPUs lose their roots ---- */

/* What the current slot, which is unused, holds until the root that is wanted is found. */
static void stand_in(struct change *c, struct paging_vcpu *v)
{
    struct paging_root *r = &v->root[v->current];
    /* One that can have no root of PAE has four levels, whether it has run or not. */
    enum pt_format format = mfn_valid(v->pae) ? format_of(&v->regs) : PT_64;

    *r = (struct paging_root){
        .used = true,
        .empty = true,
        .format = (uint8_t)format,
        .count = format == PT_64 || format == PT_LA57 ? 1 : 4,
        .guest = { MFN_NONE, MFN_NONE, MFN_NONE, MFN_NONE },
        .table = { MFN_NONE, MFN_NONE, MFN_NONE, MFN_NONE },
        .stamp = ++v->clock,
        .serial = ++v->serials,
    };
    if (r->count == 1) {
        r->table[0] = shadow_get_empty(c, format, format == PT_LA57 ? 5 : 4);
        shadow_ref(c->d, r->table[0]);
    } else {
        __builtin_memset(pdptes_of(v, r), 0, 4 * sizeof(uint64_t));
    }
}

void root_empty(struct change *c, struct paging_vcpu *v)
{
    c->flush = FLUSH_ALL;
    c->d->lowered++;
    slot_release(c, &v->root[v->current]);
    stand_in(c, v);
}

/* The one root under nested paging. */
static void run_nested(struct paging_vcpu *v)
{
    v->root[v->current] = (struct paging_root){
        .used = true,
        .format = PT_DIRECT,
        .count = 1,
        .guest = { MFN_NONE, MFN_NONE, MFN_NONE, MFN_NONE },
        .table = { v->domain->direct, MFN_NONE, MFN_NONE, MFN_NONE },
        .stamp = ++v->clock,
        .serial = ++v->serials,
    };
    shadow_ref(v->domain, v->domain->direct);
}

void root_begin(struct change *c, struct paging_vcpu *v)
{
    for (unsigned i = 0; i < PAGING_ROOTS; i++)
        if (v->root[i].used)
            slot_release(c, &v->root[i]);
    if (c->d->kind == PAGING_NESTED)
        run_nested(v);
    else
        stand_in(c, v);
}

void root_detach(struct change *c, mfn_t guest)
{
    for (struct paging_vcpu *v = c->d->vcpus; v; v = v->next)
        if (paging_runs_on(v, guest))
            root_empty(c, v);
}

/* What a root's tables are is asked of the registers, since the root knows memory only. */
static bool lies_outside(const struct paging_vcpu *v)
{
    const struct paging_root *r = &v->root[v->current];

    if (!r->used || r->empty || r->format == PT_DIRECT)
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (r->format == PT_PAE ? (v->pdpte[i] & PTE_P) && !mfn_valid(r->guest[i])
                                : i == 0 && !mfn_valid(r->guest[i]))
            return true;
    return false;
}

void root_detach_outside(struct change *c)
{
    for (struct paging_vcpu *v = c->d->vcpus; v; v = v->next)
        if (lies_outside(v))
            root_empty(c, v);
}

struct verdict root_restore(struct change *c, struct paging_vcpu *v)
{
    struct wanted w = wanted_of(c->d, &v->regs, v->pdpte);

    return root_install(c, v, &w) ? verdict_of(c, VERDICT_RETRY) : verdict_unready(c);
}

void paging_note_regs(struct paging_locked p, struct paging_vcpu *v, const struct paging_regs *regs)
{
    v->noted = true;
    v->regs = *regs;
    set_mode(p.domain, &v->mode, format_of(regs), view_of(regs));
    if (v->mode.format == PT_PAE)
        (void)root_latch(v, regs, v->pdpte);
}
