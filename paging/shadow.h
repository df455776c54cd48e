/*
 * Our tables: shadows of the guest's tables and direct tables. Internal to the core.
 *
 * A table of ours is known by its role: which guest table (or which guest-physical block) it
 * stands for, as what level of what format, and by which rules (view). The shadows of one
 * guest table are chained from the record of its frame: few, and found without a search.
 * Direct tables map guest-physical memory as it is; they form one tree per domain, which is
 * its own index. It serves a guest with paging off, nested paging, and the inside of a
 * guest's large pages.
 *
 * Life: made (live) -> no more references -> dead: off its chain, in the queue -> reaped:
 * its entries are taken off the reverse map, the frames go back to the pool.
 */
#ifndef PAGING_SHADOW_H
#define PAGING_SHADOW_H

#include "borrow.h"
#include "paging.h"
#include "rmap.h"
#include "types.h"
#include "walk.h"

enum shadow_state { SHADOW_LIVE, SHADOW_DEAD };

struct role {
    uint8_t format, level, view, part;
};

#define SHADOW_KEY_NONE (~UINT64_C(0)) /* stands for a table that is not in memory */

/* What one operation of the core has changed, and what must be flushed for it. */
struct change {
    struct paging_domain *d;
    enum flush_kind       flush;
    gva_t                 va;
    unsigned              work;  /* entries changed */
    bool                  again; /* stopped when that was too much: to be called again */
};

/*
 * Entries that an operation changes before it lets others go first. Each is some hundred
 * instructions; what cannot stop in the middle (a path of tables, the writable leaves of a
 * frame) comes on top.
 */
#define CHANGE_BUDGET 96

/*
 * Asked before each step of what may take long. True: the operation returns false to its
 * caller, all the way up, and the verdict says `again`. What was done stays done.
 */
static inline bool must_stop(struct change *c)
{
    if (c->work < CHANGE_BUDGET)
        return false;
    c->again = true;
    return true;
}

static inline struct frame *shadow_of(const struct paging_domain *d, mfn_t table)
{
    return phys_frame(d->phys, table);
}

/*
 * Of an older generation: nothing that is in use leads to it, so that it allows nothing, and it
 * does not follow the guest's table. Before it is used again it is freshened. (blow.c)
 */
static inline bool is_stale(const struct paging_domain *d, const struct frame *shadow)
{
    return shadow->shadow.generation != d->generation;
}

static inline pte_t entry_get(const struct paging_domain *d, mfn_t table, unsigned index)
{
    return ((const pte_t *)phys_ptr(d->phys, table))[index];
}

/* What frame_is_protected asks of the domain's own under shadow paging. */
static inline bool own_is_protected(const struct frame *f)
{
    return (f->guest.shadows != 0 && !f->guest.unsynced) || f->guest.guarded;
}

/*
 * Is a frame of the guest's one that it must not write without us? Under nested paging there is
 * none: shadows that are left from before are stale, and go (kind.c). What others have of their
 * frames stops nobody else.
 */
static inline bool frame_is_protected(const struct paging_domain *d, const struct frame *f)
{
    return d->kind == PAGING_SHADOW && is_own(d, f) && own_is_protected(f);
}

/* A table of the guest's that follows each write to it. */
static inline bool is_synced_table(const struct paging_domain *d, const struct frame *f)
{
    return is_own(d, f) && f->guest.shadows != 0 && !f->guest.unsynced;
}

/* A root of a PV domain holds the hypervisor's own entries too: they are none of ours. */
static inline bool has_slots(const struct paging_domain *d, const struct frame *shadow)
{
    return d->slots != NULL && shadow->shadow.level == 4 && shadow->shadow.format == PT_64;
}

static inline bool is_slot(const struct paging_domain *d, const struct frame *shadow,
                           unsigned index)
{
    return index - DIRECT_SLOT_FIRST < DIRECT_SLOTS && has_slots(d, shadow);
}

/* The first entry from `index` on that is ours and not empty; 512 if there is none. */
unsigned entry_next(const struct paging_domain *d, mfn_t table, unsigned index);

static inline bool entry_is_leaf(unsigned level, pte_t e)
{
    return level == 1 || pte_has(e, PTE_PS);
}

static inline const struct pt_mode *mode_of(const struct paging_domain *d, unsigned format,
                                            uint8_t view)
{
    return &d->mode[format][!!(view & PT_VIEW_NX)][!!(view & PT_VIEW_PSE)];
}

/* The rules that make a difference to what our entries say; the rest is the hardware's to enforce. */
uint8_t view_key(enum pt_format format, uint8_t view);

/*
 * The one function that changes an entry of ours: keeps the reverse map, the counts and
 * the references, notes what must be flushed, and lets a child die that nobody needs.
 */
void entry_set(struct change *c, mfn_t table, unsigned index, pte_t new);

/*
 * Makes sure that `pairs` tables can be made. False: not yet if c->again, else never: the
 * domain cannot go on. What the caller looked up before does not survive. (reclaim.c)
 */
must_check bool shadow_reserve(struct change *c, unsigned pairs);

#define FAULT_PAIRS 12 /* most that one access can need: a path, and a path of direct tables */

/* The live shadow of a guest table in this role; MFN_NONE if there is none. */
mfn_t shadow_find(const struct paging_domain *d, mfn_t guest, struct role role);

/*
 * Finds and freshens, or makes; reserved before. A frame that becomes a table loses its writable
 * leaves first. MFN_NONE if that must stop in the middle.
 */
mfn_t shadow_get(struct change *c, mfn_t guest, struct role role);

/* Empties a table of an older generation, which is then of this one; false: it must stop. (blow.c) */
must_check bool shadow_freshen(struct change *c, mfn_t table);

/* An empty pair, as the root of the direct tree; MFN_NONE if there is no memory. */
must_check mfn_t direct_make_root(struct paging_domain *d);

/* A table of ours that stands for none of the guest's and stays empty: for a CR3 outside memory. */
mfn_t shadow_get_empty(struct change *c, enum pt_format format, unsigned level);

/* The direct table of this level for the block that holds gfn; makes it if `make`. */
mfn_t direct_get(struct change *c, gfn_t gfn, unsigned level, bool make);

void shadow_ref(const struct paging_domain *d, mfn_t table);
void shadow_put(struct change *c, mfn_t table);

/* Keeps a root although nobody uses it now; the least recently used goes first. */
void shadow_pin(struct change *c, mfn_t table);
void shadow_unpin(struct change *c, mfn_t table);

/* Takes dead tables apart while the budget lasts; true if none is left. (reclaim.c) */
must_check bool shadow_reap(struct paging_domain *d, unsigned *budget);

/*
 * Begins a new generation of our tables: what there was is stale, and the direct tree is empty.
 * False: no memory for that, or not yet; nothing is done. Each vCPU gets new roots (root_begin),
 * for which there is memory now. (blow.c)
 */
must_check bool generation_begin(struct change *c);

/* Takes the write permission out of all leaves that map a frame, large ones included. */
void shadow_protect(struct change *c, mfn_t mfn);

/* Takes away all leaves that map a frame, and lets nobody make one meanwhile. */
must_check bool shadow_unmap(struct change *c, mfn_t mfn);

/* Clears all entries of ours that point at this table. */
must_check bool shadow_unlink(struct change *c, mfn_t table);

/* Lets go of all shadows of the table in a frame, wherever they are linked. */
must_check bool shadow_drop(struct change *c, mfn_t mfn);

/*
 * A shadow that no table in use leads to, of a PV domain: it stands for no table any more. Dead
 * tables may still lead to it; it dies with the last of them.
 */
void shadow_orphan(struct change *c, mfn_t table);

/* ---- sync.c ---- */

/* Follows the guest's entry `index` of the table that this shadow stands for. */
void sync_entry(struct change *c, mfn_t shadow, unsigned index);

/*
 * What an entry of a leaf table should say; PTE_EMPTY if the table is dead, stale, or out of sync, and
 * must not be changed by who has not to do with it.
 */
must_check pte_t sync_leaf(const struct paging_domain *d, mfn_t shadow, unsigned ours);

/* The guest's table in this frame was written: all its shadows follow. */
void sync_written(struct change *c, mfn_t guest, unsigned offset, unsigned len);

/* A walk has set A and D at the levels in `changed`: shadows that read those bits otherwise follow. */
void sync_marked(struct change *c, const struct walk *w, const struct pt_mode *mode,
                 unsigned changed);

/* ---- unsync.c: tables that the guest writes freely until it flushes ---- */

static inline bool is_unsynced(const struct frame *shadow)
{
    return shadow->shadow.snapshot != 0;
}

/*
 * An entry of ours follows guest entry `index`, which is `e`, although the table is out of
 * sync: the copy must say so too, or the entry could change back unnoticed.
 */
void unsync_note(const struct paging_domain *d, mfn_t shadow, unsigned index, pte_t e);

/*
 * The table is out of sync, and one of its entries is needed: those around it which have changed are
 * followed as well, 16 at most, or 32 narrow ones.
 */
void unsync_catch_up(struct change *c, mfn_t shadow, unsigned index);

/* A write to a table is executed for the guest: it is remembered for unsync_wanted. */
static inline void unsync_note_write(struct paging_vcpu *v, gva_t va, mfn_t guest)
{
    v->last_write.event = v->events;
    v->last_write.mfn = guest;
    v->last_write.offset = (unsigned)(va.raw & PAGE_MASK);
    v->domain->stats.emulated++;
}

/* True if the table may go out of sync, and it pays: see unsync.c. */
must_check bool unsync_wanted(const struct paging_vcpu *v, mfn_t guest, unsigned offset);
/* Lets the guest write the table; without memory for the copy it loses its shadows instead. */
void unsync(struct change *c, mfn_t guest);
/* Brings the table's shadows in line again and protects it. */
must_check bool resync(struct change *c, mfn_t guest);
/* All tables of the domain, as for a full flush. */
must_check bool resync_all(struct change *c);
/* Unlinks all tables that are out of sync: whoever needs one again synchronises it first. */
must_check bool unsync_idle_all(struct change *c);
/* All of them become idle at once: nobody can use tables of an older generation. */
void unsync_blow(struct paging_domain *d);
/* Takes a shadow that nobody uses off the list; its copy goes. */
void unsync_forget(struct change *c, mfn_t shadow);

/* True if this table of ours is out of sync, or one below it may be. */
static inline bool unsync_below(const struct paging_domain *d, mfn_t table)
{
    const struct frame *f = shadow_of(d, table);

    return is_unsynced(f) || (f->shadow.level > 1 && f->shadow.used > 0 && d->unsynced.head != 0);
}

void list_push(const struct phys *phys, struct shadow_list *list, mfn_t table);
void list_remove(const struct phys *phys, struct shadow_list *list, mfn_t table);

/* ---- permit.c ---- */

#define ACCESS_PAIRS 2 /* most that the tree of rights can need for one frame */

/*
 * Do the monitor's rights permit this access, whose walk ended so? False: *verdict says what is to
 * be done instead. Asked before anything has changed.
 */
must_check bool permit(struct change *c, const struct paging_vcpu *v, const struct fault *f,
                       const struct walk *w, struct verdict *verdict);
/*
 * Opens the frame to this instruction if the hardware must be allowed more than the rights, for an
 * access that has them. False: *verdict says why not now.
 */
must_check bool permit_open(struct change *c, const struct paging_vcpu *v, const struct fault *f,
                            gfn_t gfn, mfn_t mfn, struct verdict *verdict);
/* enum access_type that is open beyond a frame's rights. */
must_check unsigned permit_opened(const struct paging_domain *d, gfn_t gfn);
/* All frames that are open are closed: no vCPU runs any more. */
void permit_close_all(struct paging_domain *d);

/* ---- guard.c ---- */

/* True if some vCPU has this frame under guard. */
must_check bool guard_is_at(const struct paging_domain *d, mfn_t mfn);
/* Nobody has it under guard any more. */
void guard_lift(const struct paging_domain *d, mfn_t mfn);

/* ---- prelink.c ---- */

/* Fills the top table, which is new, for the guest's: as far as others have built what it names. */
void root_prelink(struct change *c, mfn_t table, mfn_t guest);

/* ---- root.c ---- */

#define ROOT_PAIRS 8 /* most tables of ours that a new root can need */

/* True if some vCPU runs on a shadow of the table in this frame. */
must_check bool root_in_use(const struct paging_domain *d, mfn_t guest);
/*
 * Puts a vCPU on an empty root until its next fault (root_restore) or write to a control register.
 * The slot it is in is used for that. Takes a pair, reserved before.
 */
void root_empty(struct change *c, struct paging_vcpu *v);
/* The same for all vCPUs that run on a shadow of the table in this frame... */
void root_detach(struct change *c, mfn_t guest);
/* ...and for those whose root lies outside of memory, as far as is known. */
void root_detach_outside(struct change *c);
/*
 * All roots that a vCPU keeps go. What it gets instead is what the domain's kind of paging begins
 * with: the direct tree, or an empty root for which a pair was reserved.
 */
void root_begin(struct change *c, struct paging_vcpu *v);
/* The entries that a PAE guest's CR3 leads to are read anew; false if one has reserved bits. */
bool root_latch(struct paging_vcpu *v, const struct paging_regs *regs, uint64_t pdpte[4]);
/* The verdict on a fault on an empty root: the right one is installed, and the fault comes again. */
must_check struct verdict root_restore(struct change *c, struct paging_vcpu *v);

/* Forgets every root slot that names this table and is not in use. */
void root_forget(struct change *c, mfn_t table);
/* The same, those in use too: a PV vCPU outside of the guest runs on no table of ours. */
void root_leave(struct change *c, mfn_t table);
/* All that a vCPU has, which will not run on any of them again. */
void root_release_all(struct change *c, struct paging_vcpu *v);
/* Empties roots in use, so that what hangs below them can be reaped; true if it found work. */
must_check bool root_unhook(struct change *c);

static inline struct verdict verdict_of(const struct change *c, enum verdict_kind kind)
{
    return (struct verdict){ .kind = kind, .flush = c->flush, .va = c->va, .again = c->again };
}

/* What was begun is not done: not yet, or there is no memory for it. */
static inline struct verdict verdict_unready(const struct change *c)
{
    struct verdict verdict = verdict_of(c, c->again ? VERDICT_RETRY : VERDICT_CRASH);

    verdict.why = "out of memory for its shadow tables: give it more (shadow_memory)";
    return verdict;
}

#endif
