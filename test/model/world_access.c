/* One access of a guest in both worlds: the loop of the edge, and the comparison. */
#include "test/model/world.h"

#include <inttypes.h>
#include <string.h>

struct mmu_access world_naive_access(unsigned acc)
{
    return (struct mmu_access){
        .write = acc & ACC_WRITE,
        .user = acc & ACC_USER,
        .fetch = acc & ACC_FETCH,
        .ac = acc & ACC_AC,
    };
}

static const char *end_name(enum world_end e)
{
    static const char *const names[] = { "memory", "#PF", "device", "refused" };

    return names[e];
}

uint64_t world_new_value(const struct op *op, uint64_t found)
{
    uint64_t mask = op->length == 8 ? ~UINT64_C(0) : (UINT64_C(1) << op->length * 8) - 1;

    if (op->kind == OP_CMPXCHG && ((found ^ op->old) & mask))
        return found; /* the processor writes in any case */
    return op->value;
}

/* The write of an instruction in the naive world, at an address that is memory. */
static void naive_write(struct world *w, const struct op *op, struct world_ending *e)
{
    uint64_t value;

    if (!(op->acc & ACC_WRITE))
        return;
    mmu_read_memory(&w->memory, e->at, &e->old, op->length);
    value = world_new_value(op, e->old);
    mmu_write_memory(&w->memory, e->at, &value, op->length);
}

static struct world_ending naive_access(struct world *w, struct world_vcpu *v, const struct op *op)
{
    struct mmu_outcome  o = mmu_access(&v->naive, op->va, world_naive_access(op->acc));
    struct world_ending e = { .end = WORLD_MEMORY, .at = o.gpa };
    enum mmu_behind     behind;

    if (!o.ok)
        return (struct world_ending){ .end = WORLD_FAULT, .error = o.error };
    behind = mmu_behind(&w->memory, o.gpa);
    if (behind != MMU_RAM && (behind != MMU_ROM || (op->acc & ACC_WRITE))) {
        e.end = WORLD_DEVICE;
        return e;
    }
    naive_write(w, op, &e);
    return e;
}

static bool is_at_guard(const struct world_vcpu *v, uint64_t va)
{
    for (unsigned i = 0; v->guarded && i < PAGING_GUARDS; i++)
        if (v->core.guard.va[i].raw >> 12 == va >> 12)
            return true;
    return false;
}

/*
 * The hardware let the write through: it must not have hit a table that is in sync, nor have been
 * made where this vCPU has a guard.
 */
bool world_write_directly(struct world *w, const struct world_vcpu *v, const struct op *op,
                          struct world_ending *e)
{
    uint64_t            mfn = e->at >> 12, value;
    uint8_t            *p = w->phys.base + e->at;
    const struct frame *frame = &w->phys.frame[mfn];

    if (w->domain.kind == PAGING_SHADOW && frame->guest.shadows != 0 && !frame->guest.unsynced)
        return world_fail(w, "a write went unseen into a shadowed table: mfn %#" PRIx64, mfn);
    if (is_at_guard(v, op->va))
        return world_fail(w, "a write went unseen past a guard: mfn %#" PRIx64, mfn);
    memcpy(&e->old, p, op->length);
    value = world_new_value(op, e->old);
    memcpy(p, &value, op->length);
    return true;
}

/* As the edge writes an entry: stored or exchanged. */
static struct verdict write_entry(struct world *w, mfn_t mfn, unsigned offset, uint64_t value)
{
    const uint8_t      *at = (uint8_t *)phys_ptr(&w->phys, mfn) + offset;
    bool                swap = value & 8;
    uint64_t            was, old = value;
    struct paging_flush flush;

    memcpy(&was, at, sizeof(was));
    flush = paging_write_entry((struct paging_locked){ &w->domain }, mfn, offset, &old, swap);
    if (old != (swap ? was : value))
        (void)!world_fail(w, "an entry that is written is given as %#" PRIx64, old);
    return (struct verdict){ VERDICT_RETRY, flush.kind, .va = flush.va };
}

static bool emulate_bytes(struct world *w, struct world_vcpu *v, const struct op *op,
                          struct paging_reach r, struct world_ending *e)
{
    struct paging_locked p = { &w->domain };
    unsigned             offset = (unsigned)(op->va & 4095);
    struct verdict       d;

    if (w->phys.frame[r.mfn.raw].guest.shadows != 0)
        w->counts.tables_written++;
    if (op->kind == OP_CMPXCHG) {
        uint64_t old = op->old;
        bool     done = false;

        d = paging_cmpxchg(p, r.mfn, offset, &old, &op->value, op->length, &done);
        if (done) /* what was there was equal */
            old = op->old;
        memcpy(&e->old, &old, op->length);
    } else if (op->length == 8 && offset % 8 == 0) {
        d = write_entry(w, r.mfn, offset, op->value);
    } else {
        d = paging_write(p, r.mfn, offset, &op->value, op->length);
    }
    if (d.kind != VERDICT_RETRY)
        return world_fail(w, "emulated write: verdict %d (%s)", (int)d.kind, d.why ? d.why : "");
    return world_flush(w, v, d);
}

/* What the edge does for an instruction that it executes itself. */
bool world_emulate(struct world *w, struct world_vcpu *v, const struct op *op,
                   enum verdict_kind kind, struct world_ending *e)
{
    struct paging_reach r;

    do { /* rights that have changed by this do not forbid it again */
        r = paging_reach((struct paging_locked){ &w->domain }, &v->core, gva_of(op->va), op->acc);
        if (!world_flush(w, v, r.flush) ||
            (r.kind == REACH_ACCESS && !world_refused(w, v, op, &r.flush)))
            return false;
    } while (r.kind == REACH_ACCESS && (r.flush.promoted || r.flush.again));
    switch (r.kind) {
    case REACH_ACCESS:
        *e = (struct world_ending){ .end = WORLD_ACCESS };
        return true;
    case REACH_FAULT:
        *e = (struct world_ending){ .end = WORLD_FAULT, .error = r.pfec };
        return true;
    case REACH_DEVICE:
        *e = (struct world_ending){ .end = WORLD_DEVICE, .at = r.gpa };
        return true;
    case REACH_RAM:
        break;
    }
    *e = (struct world_ending){ .end = WORLD_MEMORY, .at = r.gpa };
    if ((op->acc & ACC_WRITE) && r.rom) {
        e->end = WORLD_DEVICE;
        return true;
    }
    if (kind == VERDICT_DEVICE)
        return world_fail(w, "verdict DEVICE, but paging_reach finds memory at %#" PRIx64, r.gpa);
    if (!(op->acc & ACC_WRITE))
        return world_fail(w, "verdict EMULATE for what is no write");
    if (r.mfn.raw >= w->phys.frames || w->phys.frame[r.mfn.raw].kind != FRAME_GUEST)
        return world_fail(w, "paging_reach gives mfn %#" PRIx64 ", not the guest's", r.mfn.raw);
    return emulate_bytes(w, v, op, r, e);
}

/* The frame that a verdict names is the one behind its address. */
static bool is_behind(const struct world *w, struct verdict d)
{
    return mmu_behind(&w->memory, d.gpa) == MMU_RAM &&
           d.mfn.raw == w->mfn_of_page[w->memory.page_of[d.gpa >> 12]];
}

/* The edge stores a whole entry where the verdict says, without another walk. */
static bool stores_at_once(const struct world *w, const struct op *op, struct verdict d)
{
    return d.kind == VERDICT_EMULATE && w->domain.kind == PAGING_SHADOW && op->kind == OP_WRITE &&
           op->length == 8 && op->va % 8 == 0 && (op->value & 16);
}

static bool carry_out(struct world *w, struct world_vcpu *v, const struct op *op, struct verdict d,
                      struct world_ending *e)
{
    if (!stores_at_once(w, op, d))
        return world_emulate(w, v, op, d.kind, e);
    *e = (struct world_ending){ .end = WORLD_MEMORY, .at = d.gpa };
    return !is_behind(w, d) || emulate_bytes(w, v, op, (struct paging_reach){ .mfn = d.mfn }, e);
}

/* Our links say all that the guest's entries say, so that its walk need not begin at the root. */
static bool may_begin_below(const struct world *w, const struct paging_vcpu *v)
{
    const struct paging_root *root = &v->root[v->current];

    return w->domain.kind == PAGING_SHADOW && !w->domain.access.active && root->count == 1 &&
           !root->empty && root->format != PT_DIRECT && (v->mode.view & PT_VIEW_WP);
}

/* As the edge asks for it: what can be done at once first. */
static struct verdict verdict_on(struct world *w, struct world_vcpu *v, const struct fault *f)
{
    struct paging_locked      lock = { &w->domain };
    struct paging_quick_fault q;

    switch (paging_fault_quickly(lock, &v->core, f, &q)) {
    case PAGING_QUICK_INJECT:
        return (struct verdict){ .kind = VERDICT_INJECT, .va = f->va, .pfec = q.pfec };
    case PAGING_QUICK_WRITE:
        return (struct verdict){ .kind = VERDICT_EMULATE, .gpa = q.gpa, .mfn = q.mfn };
    case PAGING_QUICK_NOT:
        break;
    }
    return paging_fault(lock, &v->core, f);
}

/* One verdict of the core on a fault. *again: run the instruction again. */
static bool handle_fault(struct world *w, struct world_vcpu *v, const struct op *op, bool present,
                         struct world_ending *e, bool *again, bool *unfinished)
{
    unsigned       acc = op->kind == OP_IMPLICIT ? ACC_AC : op->acc; /* as the edge sees it */
    struct fault   f = { gva_of(op->va), acc, present };
    bool           linked = may_begin_below(w, &v->core);
    struct verdict d = verdict_on(w, v, &f);

    *again = false;
    *unfinished = d.again;
    v->stepping |= d.step;
    w->counts.stepped += d.step;
    w->counts.linked += linked;
    if (!world_flush(w, v, d))
        return false;
    switch (d.kind) {
    case VERDICT_RETRY:
        w->counts.retried++;
        *again = true;
        return true;
    case VERDICT_INJECT:
        w->counts.injected++;
        if (d.va.raw != op->va)
            return world_fail(w, "inject with cr2 %#" PRIx64, d.va.raw);
        *e = (struct world_ending){ .end = WORLD_FAULT, .error = d.pfec };
        return true;
    case VERDICT_EMULATE:
    case VERDICT_DEVICE:
        if (d.kind == VERDICT_EMULATE && is_at_guard(v, op->va))
            w->counts.guarded++;
        if (d.kind == VERDICT_EMULATE)
            w->counts.emulated++;
        else
            w->counts.devices++;
        if (!carry_out(w, v, op, d, e))
            return false;
        if (d.kind == VERDICT_EMULATE && !is_behind(w, d))
            return world_fail(w, "verdict EMULATE names mfn %#" PRIx64 " for gpa %#" PRIx64,
                              d.mfn.raw, d.gpa);
        if ((e->end == WORLD_MEMORY || e->end == WORLD_DEVICE) && e->at != d.gpa)
            return world_fail(w, "verdict's gpa %#" PRIx64 ", paging_reach's %#" PRIx64, d.gpa,
                              e->at);
        return true;
    case VERDICT_ACCESS:
        *again = *unfinished = d.promoted;
        *e = (struct world_ending){ .end = WORLD_ACCESS };
        return world_refused(w, v, op, &d);
    case VERDICT_CRASH:
        return world_fail(w, "verdict CRASH: %s", d.why ? d.why : "(no reason)");
    }
    return world_fail(w, "verdict %d", (int)d.kind);
}

static bool enter(struct world *w, struct world_vcpu *v)
{
    if (v->guarded &&
        !world_flush(w, v, paging_guard((struct paging_locked){ &w->domain }, &v->core)))
        return false;
    world_enter(w, v);
    return true;
}

static bool core_access(struct world *w, struct world_vcpu *v, const struct op *op,
                        struct world_ending *e)
{
    unsigned unfinished = 0;

    for (unsigned i = 0; i <= WORLD_RETRIES + unfinished && i < WORLD_AGAIN; i++) {
        bool again, more;

        if (!enter(w, v))
            return false;
        struct hardware_outcome o = hardware_access(&v->hardware, op->va, op->acc);

        switch (o.kind) {
        case HARDWARE_BROKEN:
            return world_fail(w, "hardware: %s", v->hardware.broken);
        case HARDWARE_OK:
            *e = (struct world_ending){ .end = WORLD_MEMORY,
                                        .at = o.mfn << 12 | (op->va & 4095),
                                        .is_machine = true,
                                        .faults = i };
            return !(op->acc & ACC_WRITE) || world_write_directly(w, v, op, e);
        case HARDWARE_FAULT:
            if (!handle_fault(w, v, op, o.present, e, &again, &more))
                return false;
            unfinished += more;
            w->counts.again += more;
            e->faults = i + 1;
            if (!again)
                return true;
        }
    }
    return world_fail(w, "%u times RETRY for one access", WORLD_RETRIES + 1);
}

static void count(struct world *w, const struct world_ending *naive, unsigned acc)
{
    if (naive->end != WORLD_FAULT)
        w->counts.succeeded++;
    else if (naive->error & 8)
        w->counts.reserved++;
    else if (!(naive->error & 1))
        w->counts.absent++;
    else if (acc & ACC_FETCH)
        w->counts.fetch_denied++;
    else
        w->counts.denied++;
}

static bool same_end(struct world *w, const struct world_ending *naive,
                     const struct world_ending *core)
{
    if (naive->end != core->end)
        return world_fail(
            w, "processor: %s (error %#x, gpa %#" PRIx64 "); ours: %s (error %#x, at %#" PRIx64 ")",
            end_name(naive->end), naive->error, naive->at, end_name(core->end), core->error,
            core->at);
    if (naive->end == WORLD_FAULT) {
        if (naive->error != core->error)
            return world_fail(w, "error code: processor %#x, ours %#x", naive->error, core->error);
        return true;
    }
    if (core->is_machine) {
        uint32_t page = w->memory.page_of[naive->at >> 12];
        uint64_t want = w->mfn_of_page[page] << 12 | (naive->at & 4095);

        if (core->at != want)
            return world_fail(
                w, "machine address %#" PRIx64 ", should be %#" PRIx64 " (gpa %#" PRIx64 ")",
                core->at, want, naive->at);
    } else if (core->at != naive->at) {
        return world_fail(w, "gpa %#" PRIx64 ", should be %#" PRIx64, core->at, naive->at);
    }
    return true;
}

/*
 * The access went through without a fault: it set no bits, and its translation must be what the
 * guest's tables say, or said since the last flush.
 */
static bool follow_translation(struct world *w, struct world_vcpu *v, const struct op *op,
                               struct world_ending *naive, const struct world_ending *core)
{
    *naive = (struct world_ending){ .end = WORLD_MEMORY };
    switch (world_justify(w, v, op->va, op->acc, core->at >> 12, &naive->at)) {
    case WORLD_NOW:
        break;
    case WORLD_PAST:
        w->counts.stale++;
        break;
    case WORLD_NEVER:
        return world_fail(w,
                          "access %#x at %#" PRIx64 " reaches mfn %#" PRIx64
                          " unseen, which the guest's tables do not allow%s",
                          op->acc, op->va, core->at >> 12,
                          past_flushed(&v->flushes, op->va) != 0 ? ", nor did since the flush"
                                                                 : "");
    }
    if (!world_permitted(w, v, op, false, &naive->at))
        return false;
    naive_write(w, op, naive);
    return true;
}

/*
 * An access to GDT, LDT, IDT or TSS counts as a supervisor's without AC, whatever EFLAGS says.
 * Ours may learn only from a second fault that it is one, and has set A by then, which the
 * processor is free to do as well. Where it would have been a device nobody can tell: left out.
 */
static bool skip_implicit(const struct world *w, const struct world_vcpu *v, const struct op *op)
{
    struct mmu_outcome with = mmu_peek(&v->naive, op->va, (struct mmu_access){ .ac = true });

    return op->acc != 0 || (with.ok && mmu_behind(&w->memory, with.gpa) != MMU_RAM);
}

bool world_access(struct world *w, struct world_vcpu *v, const struct op *op)
{
    struct world_ending core = { .end = WORLD_FAULT }, naive;

    if (op->kind == OP_IMPLICIT && skip_implicit(w, v, op))
        return true;
    v->seen[v->seen_count++ % WORLD_SEEN] = op->va;
    v->told_count = 0;
    v->stepped = false;
    if (w->domain.kind == PAGING_NESTED ? !world_nested_access(w, v, op, &core)
                                        : !core_access(w, v, op, &core))
        return false;
    if (v->stepping && !world_step_done(w, v))
        return false;
    if (core.end ==
        WORLD_ACCESS) /* and nothing has happened, but for A and D under nested paging */
        return !core.marked || (world_permitted(w, v, op, true, NULL) &&
                                (mmu_access(&v->naive, op->va, world_naive_access(op->acc)), true));
    if (core.faults == 0) {
        if (!follow_translation(w, v, op, &naive, &core))
            return false;
    } else { /* after a fault it goes by what the tables say now */
        struct mmu_outcome o = mmu_peek(&v->naive, op->va, world_naive_access(op->acc));

        if (!world_permitted(w, v, op, true, o.ok ? &o.gpa : NULL))
            return false;
        if (op->kind == OP_IMPLICIT && w->domain.kind == PAGING_SHADOW)
            (void)mmu_access(&v->naive, op->va, (struct mmu_access){ .ac = true });
        naive = naive_access(w, v, op);
    }
    count(w, &naive, op->acc);
    if (!same_end(w, &naive, &core))
        return false;
    if (op->kind == OP_CMPXCHG && naive.end == WORLD_MEMORY && naive.old != core.old)
        return world_fail(w, "compare and exchange found %#" PRIx64 ", should be %#" PRIx64,
                          core.old, naive.old);
    w->saw = (struct world_ending){
        .end = core.end,
        .at = core.end == WORLD_FAULT ? 0 : naive.at, /* a machine address stands for it */
        .error = core.error,
        .old = op->kind == OP_CMPXCHG ? core.old : 0,
    };
    return true;
}

bool world_reach(struct world *w, struct world_vcpu *v, const struct op *op)
{
    struct mmu_outcome  o = mmu_peek(&v->naive, op->va, world_naive_access(op->acc));
    struct paging_reach r =
        paging_reach((struct paging_locked){ &w->domain }, &v->core, gva_of(op->va), op->acc);
    enum mmu_behind behind;

    if (!world_flush(w, v, r.flush))
        return false;
    if (r.kind == REACH_ACCESS)
        return r.flush.kind == VERDICT_RETRY || world_refused(w, v, op, &r.flush);
    if (!world_permitted(w, v, op, true, o.ok ? &o.gpa : NULL))
        return false;
    (void)mmu_access(&v->naive, op->va, world_naive_access(op->acc));
    if (!o.ok) {
        if (r.kind != REACH_FAULT || r.pfec != o.error)
            return world_fail(w, "paging_reach: kind %d error %#x, should be #PF %#x", (int)r.kind,
                              r.pfec, o.error);
        return true;
    }
    behind = mmu_behind(&w->memory, o.gpa);
    if (r.kind == REACH_FAULT || r.gpa != o.gpa)
        return world_fail(w,
                          "paging_reach: kind %d error %#x gpa %#" PRIx64 ", should be %#" PRIx64,
                          (int)r.kind, r.pfec, r.gpa, o.gpa);
    if ((r.kind == REACH_RAM) != (behind == MMU_RAM || behind == MMU_ROM))
        return world_fail(w, "paging_reach: kind %d, behind it is %d", (int)r.kind, (int)behind);
    if (r.kind == REACH_RAM && (r.rom != (behind == MMU_ROM) ||
                                r.mfn.raw != w->mfn_of_page[w->memory.page_of[o.gpa >> 12]]))
        return world_fail(w, "paging_reach: mfn %#" PRIx64 " rom %d", r.mfn.raw, r.rom);
    return true;
}
