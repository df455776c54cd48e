/* The naive processor on our tables: see hardware.h. Shares no code with paging/. */
#include "test/model/hardware.h"

#include <string.h>

#define NO_SUCH (~0u)

static struct hardware_outcome broken(struct hardware *h, const char *why)
{
    h->broken = why;
    return (struct hardware_outcome){ .kind = HARDWARE_BROKEN };
}

static void forget_all(struct hardware_asid *a)
{
    memset(a->tlb, 0, sizeof(a->tlb));
    memset(a->table, 0, sizeof(a->table));
    a->held = 0;
}

void hardware_enter(struct hardware *h, struct paging_hw hw, bool smep, bool smap)
{
    struct hardware_asid *a = &h->asid[hw.slot];
    bool installed = h->running && h->slot == hw.slot && a->used && a->serial == hw.serial;

    h->smep = smep;
    h->smap = smap;
    h->hw = hw;
    if (installed) {
        if (a->cr3 != hw.cr3)
            h->broken = "the root of a slot changed, its serial did not";
        return;
    }
    h->installs++;
    if (!a->used || a->serial != hw.serial || a->flushed_at < hw.lowered) {
        forget_all(a);
        a->used = true;
        a->serial = hw.serial;
        a->flushed_at = hw.lowered;
        h->full_flushes++;
    } else if (a->cr3 != hw.cr3) {
        h->broken = "the root of a kept slot changed, its serial did not";
    }
    a->cr3 = hw.cr3;
    h->running = true;
    h->slot = hw.slot;
}

/* Open addressing; a hole ends a chain, so removal puts the rest of the chain in again. */
static unsigned place(const struct hardware_asid *a, uint64_t page)
{
    unsigned i = (unsigned)((page * UINT64_C(0x9e3779b97f4a7c15)) >> 40) % HARDWARE_TLB;

    while (a->tlb[i].used && a->tlb[i].page != page)
        i = (i + 1) % HARDWARE_TLB;
    return i;
}

static void remember(struct hardware_asid *a, struct hardware_translation t)
{
    unsigned i = place(a, t.page);

    if (!a->tlb[i].used && ++a->held > HARDWARE_TLB / 4 * 3) {
        forget_all(a); /* too small a TLB is no error */
        a->held = 1;
        i = place(a, t.page);
    }
    a->tlb[i] = t;
}

/* INVLPG: the whole page that the address is in, whatever its size, and all upper levels. */
static void forget_page(struct hardware_asid *a, uint64_t va)
{
    static struct hardware_translation kept[HARDWARE_TLB];
    unsigned                           n = 0;
    bool                               any = false;

    for (unsigned i = 0; i < HARDWARE_TLB; i++) {
        const struct hardware_translation *t = &a->tlb[i];

        if (!t->used)
            continue;
        if (t->page >> t->order == va >> 12 >> t->order)
            any = true;
        else
            kept[n++] = *t;
    }
    memset(a->table, 0, sizeof(a->table));
    if (!any)
        return;
    memset(a->tlb, 0, sizeof(a->tlb));
    a->held = 0;
    while (n-- > 0)
        remember(a, kept[n]);
}

void hardware_flush(struct hardware *h, enum flush_kind kind, uint64_t va)
{
    struct hardware_asid *a = &h->asid[h->slot];

    if (!h->running || kind == FLUSH_NONE)
        return;
    if (kind == FLUSH_PAGE)
        forget_page(a, va);
    else
        forget_all(a);
}

/* Under the real CR0.WP = 1 and EFER.NXE = 1. */
bool hardware_allows(const struct hardware *h, const struct hardware_translation *t, unsigned acc)
{
    if ((acc & ACC_WRITE) && !t->writable)
        return false;
    if ((acc & ACC_FETCH) && t->no_execute)
        return false;
    if (acc & ACC_USER)
        return t->user;
    if (t->user && (acc & ACC_FETCH))
        return !h->smep;
    if (t->user && !(acc & ACC_AC))
        return !h->smap;
    return true;
}

static unsigned shift_of(unsigned level)
{
    return 12 + 9 * (level - 1);
}

/* The lowest cached upper level for this address. */
static const struct hardware_table *cached_table(const struct hardware_asid *a, uint64_t va)
{
    const struct hardware_table *best = NULL;

    for (unsigned i = 0; i < HARDWARE_TABLES; i++) {
        const struct hardware_table *t = &a->table[i];

        if (t->used && t->prefix == va >> shift_of(t->level + 1u) &&
            (best == NULL || t->level < best->level))
            best = t;
    }
    return best;
}

static void cache_table(struct hardware_asid *a, struct hardware_table table)
{
    unsigned free = NO_SUCH;

    for (unsigned i = 0; i < HARDWARE_TABLES; i++) {
        const struct hardware_table *t = &a->table[i];

        if (!t->used)
            free = i;
        else if (t->level == table.level && t->prefix == table.prefix)
            return;
    }
    if (free != NO_SUCH)
        a->table[free] = table;
}

static uint64_t *entry_at(const struct hardware *h, uint64_t mfn, unsigned index)
{
    return (uint64_t *)(void *)(h->phys->base + mfn * 4096 + index * 8u);
}

/* A table of ours must be a table of ours. */
static bool is_table(const struct hardware *h, uint64_t mfn)
{
    return mfn < h->phys->frames && h->phys->frame[mfn].kind == FRAME_SHADOW;
}

static struct hardware_outcome found(struct hardware *h, uint64_t va, unsigned acc, uint64_t *entry,
                                     struct hardware_translation *t, unsigned level)
{
    uint64_t span = (UINT64_C(1) << (shift_of(level) - 12)) - 1;
    uint64_t mfn = ((*entry >> 12) & UINT64_C(0xffffffffff) & ~span) | (va >> 12 & span);

    if (level > 1 && (*entry >> 13 & (span >> 1)) != 0)
        return broken(h, "a large leaf of ours is not aligned");
    t->page = va >> 12;
    t->mfn = mfn;
    t->order = (uint8_t)(shift_of(level) - 12);
    if (mfn >= h->phys->frames || h->phys->frame[mfn].kind != FRAME_GUEST ||
        h->phys->frame[mfn].owner != h->owner)
        return broken(h, "a leaf of ours maps what is not the domain's memory");
    if (*entry & UINT64_C(0x100))
        return broken(h, "G is set in a leaf of ours");
    if (!hardware_allows(h, t, acc))
        return (struct hardware_outcome){ HARDWARE_FAULT, .present = true };
    *entry |= acc & ACC_WRITE ? 0x60u : 0x20u;
    t->dirty = *entry & 0x40;
    t->used = true;
    h->large += level > 1;
    remember(&h->asid[h->slot], *t);
    return (struct hardware_outcome){ HARDWARE_OK, .mfn = mfn };
}

static struct hardware_outcome walk(struct hardware *h, uint64_t va, unsigned acc)
{
    struct hardware_asid        *a = &h->asid[h->slot];
    struct hardware_translation  t = { .writable = true, .user = true };
    const struct hardware_table *start = cached_table(a, va);
    uint64_t                     table = h->hw.cr3 >> 12;
    unsigned                     level = h->hw.levels;

    h->walks++;
    if (start != NULL) {
        table = start->mfn;
        level = start->level;
        t.writable = start->writable;
        t.user = start->user;
        t.no_execute = start->no_execute;
    } else if (level == 3) {
        uint64_t pdpte = *entry_at(h, table, (unsigned)(h->hw.cr3 >> 3 & 0x1fc) + (va >> 30 & 3));

        if (!(pdpte & 1))
            return (struct hardware_outcome){ HARDWARE_FAULT, .present = false };
        if (pdpte & UINT64_C(0xfff00000000001e6) & ~UINT64_C(0x20))
            return broken(h, "reserved bits in a PDPTE of ours");
        table = pdpte >> 12 & UINT64_C(0xffffffffff);
        level = 2;
    }
    for (;; level--) {
        if (!is_table(h, table))
            return broken(h, "a table of ours leads to a frame that is none");
        uint64_t *entry = entry_at(h, table, va >> shift_of(level) & 511);

        if (!(*entry & 1))
            return (struct hardware_outcome){ HARDWARE_FAULT, .present = false };
        if ((*entry & (h->hw.levels == 3 ? UINT64_C(0x7ff0000000000000) : 0)) ||
            (level >= 4 && (*entry & 0x80)))
            return broken(h, "reserved bits in an entry of ours");
        t.writable = t.writable && (*entry & 2);
        t.user = t.user && (*entry & 4);
        t.no_execute = t.no_execute || (*entry >> 63);
        if (level == 1 || (*entry & 0x80))
            return found(h, va, acc, entry, &t, level);
        *entry |= 0x20;
        table = *entry >> 12 & UINT64_C(0xffffffffff);
        cache_table(a, (struct hardware_table){ .used = true,
                                                .writable = t.writable,
                                                .user = t.user,
                                                .no_execute = t.no_execute,
                                                .level = (uint8_t)(level - 1),
                                                .prefix = va >> shift_of(level),
                                                .mfn = table });
    }
}

struct hardware_outcome hardware_access(struct hardware *h, uint64_t va, unsigned acc)
{
    struct hardware_asid              *a = &h->asid[h->slot];
    const struct hardware_translation *t = &a->tlb[place(a, va >> 12)];
    struct hardware_outcome            o;

    if (h->broken != NULL)
        return broken(h, h->broken);
    if (t->used && !hardware_allows(h, t, acc)) {
        forget_page(a, va);
        return (struct hardware_outcome){ HARDWARE_FAULT, .present = true };
    }
    if (t->used && (t->dirty || !(acc & ACC_WRITE))) {
        h->hits++;
        return (struct hardware_outcome){ HARDWARE_OK, .mfn = t->mfn };
    }
    o = walk(h, va, acc);
    if (o.kind == HARDWARE_FAULT)
        forget_page(a, va);
    return o;
}

const struct hardware_translation *hardware_cached(const struct hardware *h, uint64_t va)
{
    const struct hardware_asid *a = &h->asid[h->slot];
    unsigned                    i = place(a, va >> 12);

    return h->running && a->tlb[i].used ? &a->tlb[i] : NULL;
}

/* D in our leaf is no promise: a write through it goes through whatever D says. */
bool hardware_look(const struct hardware *h, struct paging_hw hw, uint64_t va,
                   struct hardware_translation *t)
{
    uint64_t table = hw.cr3 >> 12;
    unsigned level = hw.levels;

    *t = (struct hardware_translation){ .writable = true, .user = true, .page = va >> 12 };
    if (level == 3) {
        uint64_t pdpte = *entry_at(h, table, (unsigned)(hw.cr3 >> 3 & 0x1fc) + (va >> 30 & 3));

        if (!(pdpte & 1))
            return false;
        table = pdpte >> 12 & UINT64_C(0xffffffffff);
        level = 2;
    }
    for (;; level--) {
        if (!is_table(h, table))
            return false;
        uint64_t entry = *entry_at(h, table, va >> shift_of(level) & 511);

        if (!(entry & 1))
            return false;
        t->writable = t->writable && (entry & 2);
        t->user = t->user && (entry & 4);
        t->no_execute = t->no_execute || (entry >> 63);
        if (level == 1 || (entry & 0x80)) {
            uint64_t span = (UINT64_C(1) << (shift_of(level) - 12)) - 1;

            t->mfn = ((entry >> 12) & UINT64_C(0xffffffffff) & ~span) | (va >> 12 & span);
            t->order = (uint8_t)(shift_of(level) - 12);
            t->used = t->dirty = true;
            return true;
        }
        table = entry >> 12 & UINT64_C(0xffffffffff);
    }
}
