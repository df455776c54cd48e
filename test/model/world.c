/* Two worlds that must stay equal: see world.h. */
#include "test/model/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOMAIN_ID 7

bool world_fail(struct world *w, const char *format, ...)
{
    va_list args;

    if (w->failure[0] != '\0')
        return false;
    va_start(args, format);
    vsnprintf(w->failure, sizeof(w->failure), format, args);
    va_end(args);
    return false;
}

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

bool world_audit(struct world *w)
{
    struct audit a;

    memset(&a, 0, sizeof(a));
    paging_audit((struct paging_locked){ &w->domain }, &a);
    w->counts.audits++;
    if (a.violations != 0)
        return world_fail(w, "audit: %" PRIu64 " violations, the first: %.160s", a.violations,
                          a.first);
    return true;
}

static void create_memory(struct world *w)
{
    struct mmu_memory *m = &w->memory;
    unsigned           small = w->setup.gfns + w->setup.spare;

    m->pages = small + (w->setup.large ? 512u : 0);
    m->gfns = w->setup.large ? WORLD_LARGE + 512u : w->setup.gfns;
    m->bytes = must(calloc(m->pages, 4096));
    m->touched = must(calloc(m->pages, sizeof(*m->touched)));
    w->dirty = must(calloc(m->pages, sizeof(*w->dirty)));
    w->walked = must(calloc(m->pages, sizeof(*w->walked)));
    m->page_of = must(calloc(m->gfns, sizeof(*m->page_of)));
    m->behind = must(calloc(m->gfns, sizeof(*m->behind)));
    w->rights = must(malloc(m->gfns));
    memset(w->rights, ACCESS_DEFAULT, m->gfns);
    w->rights_default = ACCESS_ALL;
    m->past = w->past = past_create(m->pages);
    m->replaced = past_replaced;
    for (uint32_t gfn = 0; gfn < w->setup.gfns; gfn++) {
        m->page_of[gfn] = gfn;
        m->behind[gfn] = MMU_RAM;
    }
    for (uint32_t i = 0; w->setup.large && i < 512; i++) {
        m->page_of[WORLD_LARGE + i] = small + i;
        m->behind[WORLD_LARGE + i] = MMU_RAM;
    }
}

/* Frame 0 is unused, small pages lie scattered, then come the large block and the pool. */
static void create_machine(struct world *w)
{
    unsigned small = w->setup.gfns + w->setup.spare;

    w->phys.frames = WORLD_FRAMES;
    w->phys.base = must(aligned_alloc(4096, (size_t)WORLD_FRAMES * 4096));
    memset(w->phys.base, 0xaa, (size_t)WORLD_FRAMES * 4096);
    w->phys.frame = must(calloc(WORLD_FRAMES, sizeof(struct frame)));
    w->phys.watched = must(calloc(phys_blocks(WORLD_FRAMES), sizeof(*w->phys.watched)));
    for (unsigned i = 0; i < WORLD_FRAMES; i++)
        w->phys.frame[i].kind = FRAME_HV;
    w->phys.dirty = must(calloc(phys_words(WORLD_FRAMES), sizeof(*w->phys.dirty)));
    w->mfn_of_page = must(calloc(w->memory.pages, sizeof(uint64_t)));
    for (uint32_t page = 0; page < w->memory.pages; page++) {
        uint64_t mfn = page < small ? 2 + (uint64_t)page * 211 % 509 : 512 + (page - small);

        w->mfn_of_page[page] = mfn;
        w->phys.frame[mfn].kind = FRAME_GUEST;
        w->phys.frame[mfn].owner = DOMAIN_ID;
        memset(w->phys.base + mfn * 4096, 0, 4096);
    }
}

static void create_domain(struct world *w)
{
    struct pt_features features = { (uint8_t)w->setup.maxphys, w->setup.gb1, true };

    pool_init(&w->domain.pool, &w->phys, DOMAIN_ID);
    for (unsigned i = 0; i < w->setup.pairs; i++)
        pool_add(&w->domain.pool, mfn_of(1026 + 2 * (uint64_t)i));
    if (!paging_domain_init(&w->domain, &w->phys, DOMAIN_ID, PAGING_SHADOW, features)) {
        world_fail(w, "paging_domain_init: no memory");
        return;
    }
    for (uint64_t gfn = 0; gfn < w->setup.gfns; gfn++)
        (void)!world_p2m_set(w, NULL, gfn,
                             (struct p2m_entry){ mfn_of(w->mfn_of_page[gfn]), P2M_RAM, 0 });
    if (w->setup.large)
        (void)!world_p2m_set(w, NULL, WORLD_LARGE, (struct p2m_entry){ mfn_of(512), P2M_RAM, 9 });
}

struct world *world_create(const struct world_setup *setup)
{
    struct world *w = must(calloc(1, sizeof(*w)));

    w->setup = *setup;
    create_memory(w);
    create_machine(w);
    create_domain(w);
    if (w->failure[0] != '\0') /* nothing runs in a domain that could not be made */
        return w;
    w->vcpus = WORLD_VCPUS;
    w->last_vcpu = ~0u;
    for (unsigned i = 0; i < w->vcpus; i++) {
        struct world_vcpu *v = &w->vcpu[i];
        struct verdict     d;

        v->naive = (struct mmu){ .memory = &w->memory,
                                 .maxphys = setup->maxphys,
                                 .gb1 = setup->gb1,
                                 .pdpte_may_be_accessed = true };
        v->naive.regs = (struct mmu_registers){ .cr0 = 0x11 };
        v->hardware.phys = &w->phys;
        v->hardware.owner = DOMAIN_ID;
        paging_vcpu_init(&w->domain, &v->core, mfn_of(1024 + i));
        d = paging_set_regs((struct paging_locked){ &w->domain }, &v->core,
                            &(struct paging_regs){ .cr0 = 0x11 });
        if (d.kind != VERDICT_RETRY)
            world_fail(w, "the first paging_set_regs: verdict %d (%s)", (int)d.kind,
                       d.why ? d.why : "");
    }
    return w;
}

void world_free(struct world *w)
{
    past_free(w->past);
    for (unsigned i = 0; i < w->vcpus; i++)
        free(w->vcpu[i].flushes.one);
    free(w->memory.bytes);
    free(w->memory.touched);
    free(w->memory.page_of);
    free(w->memory.behind);
    free(w->rights);
    free(w->mfn_of_page);
    free(w->phys.base);
    free(w->phys.frame);
    free(w->phys.watched);
    free(w->phys.dirty);
    free(w->dirty);
    free(w->walked);
    free(w);
}

bool world_finish(struct world *w)
{
    const struct pool *pool = &w->domain.pool;
    unsigned           calls = 0;

    while (!paging_domain_reap((struct paging_locked){ &w->domain }, 256))
        if (++calls > 100000)
            return world_fail(w, "paging_domain_reap does not come to an end");
    if (pool_free_frames(pool) != pool->total)
        return world_fail(w, "after the reap %u of %u frames of the pool are free",
                          pool_free_frames(pool), pool->total);
    for (uint32_t page = 0; page < w->memory.pages; page++) {
        const struct frame *f = &w->phys.frame[w->mfn_of_page[page]];
        bool                mapped = false;

        for (unsigned i = 0; i < LEAF_SIZES; i++)
            mapped = mapped || f->guest.mapped.leaves[i][0] || f->guest.mapped.leaves[i][1] ||
                     f->guest.mapped.writable[i];
        if (mapped || f->guest.shadows || f->guest.mapped.blocked || f->refs ||
            w->phys.watched[w->mfn_of_page[page] / 512])
            return world_fail(w, "after the reap mfn %#" PRIx64 " is still in use",
                              w->mfn_of_page[page]);
    }
    return true;
}

/* The real SMEP and SMAP are the guest's, but off while it has paging off. */
void world_enter(struct world *w, struct world_vcpu *v)
{
    struct paging_hw            hw = paging_hw(&v->core);
    const struct mmu_registers *regs = &v->naive.regs;
    bool                        paging = (regs->cr0 >> 31 & 1) && w->domain.kind == PAGING_SHADOW;

    if ((hw.slot != v->slot || hw.serial != v->serial) && v->core.clock == v->clock)
        world_fail(w, "the root is another one, and the clock of roots stands still");
    v->slot = hw.slot, v->serial = hw.serial, v->clock = v->core.clock;
    hardware_enter(&v->hardware, hw, paging && (regs->cr4 >> 20 & 1),
                   paging && (regs->cr4 >> 21 & 1));
    if (hw.levels == 3 && hw.cr3 >> 32)
        world_fail(w, "a PAE root above 4 GiB");
}

bool world_flush(struct world *w, struct world_vcpu *v, struct verdict verdict)
{
    if (w->domain.lowered < w->max_lowered)
        return world_fail(w, "the lowering counter went back");
    if (verdict.flush == FLUSH_NONE && w->domain.lowered != w->max_lowered)
        return world_fail(w, "rights were lowered, and the verdict asks for no flush");
    w->max_lowered = w->domain.lowered;
    for (unsigned i = 0; i < w->vcpus; i++)
        if (&w->vcpu[i] == v || w->setup.smp)
            hardware_flush(&w->vcpu[i].hardware, verdict.flush, verdict.va.raw);
    return true;
}

static bool compare_page(struct world *w, uint32_t page)
{
    const uint8_t *naive = w->memory.bytes + (uint64_t)page * 4096;
    const uint8_t *ours = w->phys.base + w->mfn_of_page[page] * 4096;

    if (memcmp(naive, ours, 4096) == 0)
        return true;
    for (unsigned i = 0; i < 512; i++) {
        uint64_t a, b;

        memcpy(&a, naive + i * 8, 8);
        memcpy(&b, ours + i * 8, 8);
        if (a != b)
            return world_fail(w,
                              "memory differs: page %u (mfn %#" PRIx64
                              ") word %u: processor %#" PRIx64 ", ours %#" PRIx64,
                              page, w->mfn_of_page[page], i, a, b);
    }
    return true;
}

static bool compare_memory(struct world *w, bool all)
{
    for (uint32_t page = 0; page < w->memory.pages; page++) {
        if (!all && !w->memory.touched[page])
            continue;
        w->memory.touched[page] = false;
        if (!compare_page(w, page))
            return false;
    }
    return true;
}

static bool check_tlbs(struct world *w)
{
    for (unsigned i = 0; i < w->vcpus; i++)
        if (!world_check_translations(w, &w->vcpu[i]))
            return false;
    return true;
}

bool world_check(struct world *w)
{
    return compare_memory(w, true) && check_tlbs(w) && world_audit(w);
}

/*
 * LMA follows LME and PG. A shortened script may ask for what raises #GP before the core sees
 * it; it is then left out: false. APM vol. 2, 3.1 and 14.6.
 */
static bool make_valid(struct mmu_registers *regs, const struct mmu_registers *old)
{
    bool paging = regs->cr0 >> 31 & 1, lme = regs->efer >> 8 & 1, pae = regs->cr4 >> 5 & 1;
    bool was_long = old->efer >> 10 & 1;

    regs->efer = (regs->efer & ~UINT64_C(0x400)) | (uint64_t)(paging && lme) << 10;
    if (paging && lme && !pae)
        return false;
    if ((old->cr0 >> 31 & 1) && lme != (old->efer >> 8 & 1))
        return false;
    return !(was_long && paging && ((old->cr4 ^ regs->cr4) >> 12 & 1));
}

/* The register write in the core: not finished at once if there is much to synchronise. */
static bool install(struct world *w, struct world_vcpu *v, const struct mmu_registers *regs,
                    struct verdict *d)
{
    struct paging_regs r = { regs->cr0, regs->cr3, regs->cr4, regs->efer };

    if (w->step % 4 != 0 &&
        paging_set_regs_quickly((struct paging_locked){ &w->domain }, &v->core, &r)) {
        *d = (struct verdict){ .kind = VERDICT_RETRY };
        w->counts.quick++;
        return true;
    }
    for (unsigned calls = 0; calls < WORLD_AGAIN; calls++) {
        *d = paging_set_regs((struct paging_locked){ &w->domain }, &v->core, &r);
        w->counts.idle += w->domain.idle.count != 0;
        if (!d->again)
            return true;
        w->counts.again++;
        world_enter(w, v); /* on the old root */
        if (!world_flush(w, v, *d))
            return false;
    }
    return world_fail(w, "paging_set_regs does not come to an end");
}

/* Under nested paging the edge finds CR3 at the next exit. */
static bool load_unseen(struct world *w, struct world_vcpu *v)
{
    const struct mmu_registers *regs = &v->naive.regs;

    paging_note_regs((struct paging_locked){ &w->domain }, &v->core,
                     &(struct paging_regs){ regs->cr0, regs->cr3, regs->cr4, regs->efer });
    return world_flushed_all(w, v);
}

static bool set_registers(struct world *w, struct world_vcpu *v, const struct op *op)
{
    struct mmu_registers regs = v->naive.regs;
    struct verdict       d;
    bool                 ok;

    if (op->kind == OP_CR0) {
        regs.cr0 = op->value;
    } else if (op->kind == OP_CR3) {
        regs.cr3 = op->value;
    } else if (op->kind == OP_CR4) {
        regs.cr4 = op->value;
    } else {
        regs.efer = op->value;
    }
    if (!make_valid(&regs, &v->naive.regs))
        return true;
    ok = mmu_write_registers(&v->naive, &regs, op->kind == OP_CR3);
    if (op->kind == OP_CR3 && w->domain.kind == PAGING_NESTED)
        return !ok || load_unseen(w, v);
    v->core.cr3_loaded = op->kind == OP_CR3;
    if (!install(w, v, &regs, &d))
        return false;
    if (!ok)
        w->counts.general_protection++;
    if (d.kind != (ok ? VERDICT_RETRY : VERDICT_INJECT))
        return world_fail(w, "paging_set_regs: verdict %d (%s), should be %s", (int)d.kind,
                          d.why ? d.why : "", ok ? "RETRY" : "#GP");
    /* The new root is installed first: what is flushed concerns the running ASID. */
    world_enter(w, v);
    return world_flush(w, v, d) && (!ok || world_flushed_all(w, v));
}

static bool invlpg(struct world *w, struct world_vcpu *v, const struct op *op)
{
    world_enter(w, v);
    if (w->domain.kind == PAGING_NESTED)
        return world_flushed_page(w, v, op->va);
    if (!v->hardware.hw.intercept_invlpg && !(op->value & 1)) {
        hardware_flush(&v->hardware, FLUSH_PAGE, op->va);
        return world_flushed_page(w, v, op->va);
    }
    w->counts.invlpg_seen++;
    for (unsigned calls = 0; calls < WORLD_AGAIN; calls++) {
        struct verdict d =
            paging_invlpg((struct paging_locked){ &w->domain }, &v->core, gva_of(op->va));

        if (d.kind != VERDICT_RETRY)
            return world_fail(w, "paging_invlpg: verdict %d", (int)d.kind);
        if (!world_flush(w, v, d))
            return false;
        w->counts.idle += w->domain.idle.count != 0;
        if (!d.again)
            return world_flushed_page(w, v, op->va);
        w->counts.again++;
    }
    return world_fail(w, "paging_invlpg does not come to an end");
}

static bool view(struct world *w, struct world_vcpu *v, const struct op *op)
{
    struct paging_view view;
    struct mmu_outcome o = mmu_peek(&v->naive, op->va, (struct mmu_access){ .ac = true });

    paging_view((struct paging_locked){ &w->domain }, &v->core, gva_of(op->va), &view);
    if (view.count > PT_LEVELS_MAX)
        return world_fail(w, "paging_view: %u levels", view.count);
    if (o.ok && (!view.mapped || view.gpa != o.gpa))
        return world_fail(w, "paging_view: mapped %d gpa %#" PRIx64 ", should be %#" PRIx64,
                          view.mapped, view.gpa, o.gpa);
    if (!o.ok && !(o.error & 1) && view.mapped)
        return world_fail(w, "paging_view: mapped, but it is not");
    return compare_memory(w, true);
}

static void guard(struct world_vcpu *v, const struct op *op)
{
    gva_t va[PAGING_GUARDS] = { gva_of(op->va), gva_of(op->va + op->value) };

    if (v->core.domain->kind == PAGING_NESTED)
        return;
    v->guarded = op->length != 1;
    paging_guard_set((struct paging_locked){ v->core.domain }, &v->core, v->guarded ? va : NULL);
}

/* What cannot ask for a flush must not need one. */
static bool nothing_lowered(struct world *w)
{
    if (w->domain.lowered == w->max_lowered)
        return true;
    return world_fail(w, "background work lowered rights");
}

/* One processor for all: the vCPU whose event this is has run on it last. */
static void schedule(struct world *w, const struct world_vcpu *v)
{
    unsigned self = (unsigned)(v - w->vcpu);

    if (w->setup.smp || w->last_vcpu == self)
        return;
    if (w->last_vcpu != ~0u)
        w->vcpu[w->last_vcpu].hardware.running = false;
    w->last_vcpu = self;
}

static bool perform(struct world *w, struct world_vcpu *v, const struct op *op)
{
    switch ((enum op_kind)op->kind) {
    case OP_READ:
    case OP_WRITE:
    case OP_FETCH:
    case OP_CMPXCHG:
    case OP_IMPLICIT:
        return world_access(w, v, op);
    case OP_CR0:
    case OP_CR3:
    case OP_CR4:
    case OP_EFER:
        return set_registers(w, v, op);
    case OP_INVLPG:
        return invlpg(w, v, op);
    case OP_P2M:
        return world_p2m_change(w, v, op);
    case OP_MOVE:
        return world_p2m_move(w, v, op);
    case OP_BLOCK:
        return world_p2m_block(w, v, op);
    case OP_UNSHADOW:
        return world_unshadow(w, v, op);
    case OP_WORK:
        (void)!paging_work((struct paging_locked){ &w->domain }, (unsigned)op->value);
        return nothing_lowered(w);
    case OP_POKE:
        return world_poke(w, v, op);
    case OP_REACH:
        return world_reach(w, v, op);
    case OP_VIEW:
        return view(w, v, op);
    case OP_POOL:
        return world_resize_pool(w, v, op->value);
    case OP_GUARD:
        guard(v, op);
        return true;
    case OP_BLOW:
        return world_blow(w, v);
    case OP_KIND:
        return world_set_kind(w, v, op->value ? PAGING_NESTED : PAGING_SHADOW);
    case OP_DIRTY:
        return world_dirty(w, v, op);
    case OP_RIGHTS:
        return world_set_rights(w, v, op);
    case OP_KINDS:
        break;
    }
    return world_fail(w, "no such operation: %u", op->kind);
}

bool world_do(struct world *w, const struct op *op)
{
    const struct world_setup *s = &w->setup;

    if (w->failure[0] != '\0')
        return false;
    w->step++;
    w->counts.ops[op->kind % OP_KINDS]++;
    if (w->domain.unsynced.count > w->counts.most_unsynced)
        w->counts.most_unsynced = w->domain.unsynced.count;
    schedule(w, &w->vcpu[op->vcpu % w->vcpus]);
    if (!perform(w, &w->vcpu[op->vcpu % w->vcpus], op) || w->failure[0] != '\0')
        return false;
    world_dirty_note(w);
    if (!compare_memory(w, w->step % 64 == 0))
        return false;
    if (s->tlbs != 0 && w->step % s->tlbs == 0 && !check_tlbs(w))
        return false;
    return s->audit == 0 || w->step % s->audit != 0 || world_audit(w);
}
