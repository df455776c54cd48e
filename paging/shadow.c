/* Tables of ours: their entries, references, life and death. Read shadow.h first. */
#include "shadow.h"

#include "direct.h"
#include "leaf.h"
#include "words.h"

uint8_t view_key(enum pt_format format, uint8_t view)
{
    if (format == PT_DIRECT)
        return 0;
    if (view & PT_VIEW_WP) /* SMEP and SMAP change our entries only where WP=0 drops U */
        view &= (uint8_t) ~(PT_VIEW_SMEP | PT_VIEW_SMAP);
    view &= (uint8_t) ~(format == PT_32 ? PT_VIEW_NX : PT_VIEW_PSE);
    return view;
}

/* ---- what was lowered ---- */

/*
 * The linear address of an entry when there is just one: each table on the way up has one
 * parent, and the way ends at a root of four or five levels.
 */
static bool entry_va(const struct paging_domain *d, mfn_t table, unsigned index, gva_t *va)
{
    unsigned level = shadow_of(d, table)->shadow.level, unused;
    uint64_t address = 0;

    for (;; level++) {
        const struct frame *f = shadow_of(d, table);
        rmap_t              up = f->shadow.parents;

        address |= (uint64_t)index << (PAGE_SHIFT + 9 * (level - 1));
        if (level == (f->shadow.format == PT_LA57 ? 5 : 4)) {
            if (f->shadow.format != PT_64 && f->shadow.format != PT_LA57)
                return false;
            break;
        }
        if (up == 0 || rmap_next(d->phys, up) != up)
            return false;
        table = rmap_table(up);
        index = rmap_index(up);
    }
    unused = 64 - PAGE_SHIFT - 9 * level;
    *va = gva_of((uint64_t)((int64_t)(address << unused) >> unused));
    return true;
}

void lower_at(struct change *c, rmap_t number)
{
    mfn_t    table = rmap_table(number);
    unsigned index = rmap_index(number);
    gva_t    va;

    if (shadow_of(c->d, table)->shadow.level != 1 || !entry_va(c->d, table, index, &va) ||
        (c->flush == FLUSH_PAGE && c->va.raw >> PAGE_SHIFT != va.raw >> PAGE_SHIFT)) {
        c->flush = FLUSH_ALL;
        return;
    }
    c->flush = FLUSH_PAGE;
    c->va = va;
}

/* ---- entries ---- */

static inline rmap_t *list_of(const struct paging_domain *d, unsigned level, pte_t e)
{
    struct frame *f = phys_frame(d->phys, mfn_of(pte_frame(e)));

    if (!entry_is_leaf(level, e))
        return &f->shadow.parents;
    return &mapped_of(d, f)->leaves[level - 1][pte_has(e, PTE_W)];
}

static inline void unlink_entry(struct paging_domain *d, unsigned level, rmap_t number, pte_t old)
{
    rmap_remove(d->phys, list_of(d, level, old), number);
    if (!entry_is_leaf(level, old))
        return;
    d->stats.leaves[level - 1]--;
    if (pte_has(old, PTE_W))
        mapped_of(d, phys_frame(d->phys, mfn_of(pte_frame(old))))->writable[level - 1]--;
}

static inline void link_entry(struct paging_domain *d, unsigned level, rmap_t number, pte_t new)
{
    rmap_add(d->phys, list_of(d, level, new), number);
    if (!entry_is_leaf(level, new))
        return;
    d->stats.leaves[level - 1]++;
    if (pte_has(new, PTE_W))
        mapped_of(d, phys_frame(d->phys, mfn_of(pte_frame(new))))->writable[level - 1]++;
}

/* Room for one more writable leaf: the oldest loses its W. */
void evict_writable(struct change *c, unsigned level, const struct mapped *m)
{
    if (m->writable[level - 1] < (level == 1 ? RMAP_WRITABLE_MAX : RMAP_LARGE_MAX))
        return;
    rmap_t oldest = rmap_prev(c->d->phys, m->leaves[level - 1][1]);
    pte_t  old = entry_get(c->d, rmap_table(oldest), rmap_index(oldest));

    c->d->stats.evicted++;
    entry_set(c, rmap_table(oldest), rmap_index(oldest), (pte_t){ old.raw & ~PTE_W });
}

_Static_assert(DIRECT_SLOT_FIRST % WORDS_AT_ONCE == 0 && DIRECT_SLOTS % WORDS_AT_ONCE == 0,
               "the hypervisor's entries are groups of their own");

unsigned entry_next(const struct paging_domain *d, mfn_t table, unsigned index)
{
    const uint64_t *e = phys_ptr(d->phys, table);
    unsigned        slots = has_slots(d, shadow_of(d, table)) ? DIRECT_SLOT_FIRST : 512;

    for (; index % WORDS_AT_ONCE != 0; index++)
        if (e[index] != 0)
            return index;
    if (index < slots)
        index = words_used(e, index, slots);
    if (index == slots && slots < 512)
        index += DIRECT_SLOTS;
    if (index > slots)
        index = words_used(e, index, 512);
    while (index < 512 && e[index] == 0)
        index++;
    return index;
}

/* An entry above the leaf tables. */
static void set_upper(struct change *c, mfn_t table, unsigned index, pte_t new)
{
    struct paging_domain *d = c->d;
    struct frame         *f = shadow_of(d, table);
    unsigned              level = f->shadow.level;
    pte_t                *slot = &((pte_t *)phys_ptr(d->phys, table))[index];
    pte_t                 old = *slot;
    bool                  was = pte_has(old, PTE_P), is = pte_has(new, PTE_P);
    bool                  same_list = was && is && list_of(d, level, old) == list_of(d, level, new);

    if (is && !same_list && entry_is_leaf(level, new) && pte_has(new, PTE_W))
        evict_writable(c, level, mapped_of(d, phys_frame(d->phys, mfn_of(pte_frame(new)))));
    if (is && !entry_is_leaf(level, new))
        shadow_ref(d, mfn_of(pte_frame(new)));
    if (rights_lost(old, new) && f->shadow.state == SHADOW_LIVE)
        lower(c, f, rmap_of(table, index));
    if (was && !same_list)
        unlink_entry(d, level, rmap_of(table, index), old);
    if (was && is) {
        d->stats.merged += !entry_is_leaf(level, old) && entry_is_leaf(level, new);
        d->stats.split += entry_is_leaf(level, old) && !entry_is_leaf(level, new);
    }
    c->work++;
    __atomic_store_n(&slot->raw, new.raw, __ATOMIC_RELAXED);
    if (is && !same_list)
        link_entry(d, level, rmap_of(table, index), new);
    f->shadow.used = (uint16_t)(f->shadow.used + is - was);
    if (was && !entry_is_leaf(level, old))
        shadow_put(c, mfn_of(pte_frame(old)));
}

void entry_set(struct change *c, mfn_t table, unsigned index, pte_t new)
{
    struct frame *f = shadow_of(c->d, table);

    if (pte_eq(entry_get(c->d, table, index), new))
        return;
    if (f->shadow.level == 1)
        leaf_set(c, f, &((pte_t *)phys_ptr(c->d->phys, table))[index], rmap_of(table, index), new);
    else
        set_upper(c, table, index, new);
}

/* ---- references, life and death ---- */

void shadow_ref(const struct paging_domain *d, mfn_t table)
{
    shadow_of(d, table)->shadow.refs++;
}

static void chain_remove(const struct paging_domain *d, mfn_t table)
{
    const struct frame *f = shadow_of(d, table);

    if (f->shadow.format == PT_DIRECT || f->shadow.key == SHADOW_KEY_NONE)
        return;
    struct frame *guest = phys_frame(d->phys, mfn_of(f->shadow.key));
    uint32_t     *link = &guest->guest.shadows;

    while (*link != (uint32_t)table.raw)
        link = &d->phys->frame[*link].shadow.next;
    *link = f->shadow.next;
    if (guest->guest.shadows == 0)
        d->phys->watched[f->shadow.key / level_frames(2)]--;
    if (!d->slots) /* a PV domain's table is held by its type */
        direct_take_back(d->phys, mfn_of(f->shadow.key));
}

/* Mappings that become writable again when a frame is no table any more: the kernel's own, mostly. */
#define REOPENED_MAX 4

/*
 * A frame that was a table is nearly always written next, as what it is from now on: the fault is
 * saved. Each of its leaves gets W, if that is all that is missing to what it should say; nothing is
 * lost by that, here or elsewhere, so that it may be done at any time.
 */
static void reopen(struct change *c, mfn_t mfn)
{
    struct paging_domain *d = c->d;
    const struct mapped  *m = &phys_frame(d->phys, mfn)->guest.mapped;

    if (d->kind != PAGING_SHADOW || d->slots)
        return;
    for (unsigned n = 0; m->leaves[0][0] != 0 && n < REOPENED_MAX; n++) {
        rmap_t e = m->leaves[0][0];
        pte_t  old = entry_get(d, rmap_table(e), rmap_index(e));
        pte_t  all = { old.raw | PTE_W };

        if (m->writable[0] >= RMAP_WRITABLE_MAX ||
            !pte_eq(sync_leaf(d, rmap_table(e), rmap_index(e)), all))
            return;
        entry_set(c, rmap_table(e), rmap_index(e), all);
    }
}

void shadow_put(struct change *c, mfn_t table)
{
    struct paging_domain *d = c->d;
    struct frame         *f = shadow_of(d, table);

    if (--f->shadow.refs > 0)
        return;
    chain_remove(d, table);
    f->shadow.state = SHADOW_DEAD;
    f->shadow.cursor = 0;
    list_push(d->phys, &d->dead, table);
    if (f->shadow.format != PT_DIRECT && f->shadow.key != SHADOW_KEY_NONE)
        reopen(c, mfn_of(f->shadow.key));
}

static bool drop_all(struct change *c, mfn_t mfn, const struct role *keep);

static mfn_t make(struct change *c, uint64_t key, struct role role)
{
    struct paging_domain *d = c->d;
    mfn_t                 table = pool_pair(&d->pool);

    if (!mfn_valid(table))
        return table;
    struct frame *f = shadow_of(d, table);

    f->shadow.key = key;
    f->shadow.format = role.format;
    f->shadow.level = role.level;
    f->shadow.view = role.view;
    f->shadow.part = role.part;
    f->shadow.generation = d->generation;
    if (has_slots(d, f))
        __builtin_memcpy((pte_t *)phys_ptr(d->phys, table) + DIRECT_SLOT_FIRST, d->slots,
                         DIRECT_SLOTS * sizeof(pte_t));
    d->stats.made++;
    d->stats.shadows++;
    return table;
}

mfn_t shadow_find(const struct paging_domain *d, mfn_t guest, struct role role)
{
    uint32_t s = phys_frame(d->phys, guest)->guest.shadows;

    for (; s != 0; s = d->phys->frame[s].shadow.next) {
        const struct frame *f = &d->phys->frame[s];

        if (f->shadow.level == role.level && f->shadow.format == role.format &&
            f->shadow.view == role.view && f->shadow.part == role.part && f->owner == d->id)
            return mfn_of(s);
    }
    return MFN_NONE;
}

/*
 * Roles that one guest table may have before those of other formats and views go; a path in
 * one format and view needs at most six of one frame.
 */
#define ROLES_MAX 12

static unsigned roles(const struct paging_domain *d, mfn_t guest)
{
    unsigned n = 0;

    for (uint32_t s = phys_frame(d->phys, guest)->guest.shadows; s != 0;
         s = d->phys->frame[s].shadow.next)
        n++;
    return n;
}

/*
 * A PV domain's table may become none any more while a shadow of it is made: who makes one enters
 * it first and looks then, and the type machine looks at what is entered after it has changed the
 * type. So one of them sees the other.
 */
static bool still_table(struct change *c, mfn_t guest, mfn_t table)
{
    const uint64_t *word = &phys_frame(c->d->phys, guest)->guest.type;

    if (!c->d->slots || type_is_live(type_unpack(__atomic_load_n(word, __ATOMIC_SEQ_CST))))
        return true;
    shadow_orphan(c, table);
    c->again = true;
    return false;
}

mfn_t shadow_get(struct change *c, mfn_t guest, struct role role)
{
    struct paging_domain *d = c->d;
    mfn_t                 table = shadow_find(d, guest, role);
    struct frame         *f = phys_frame(d->phys, guest);

    if (mfn_valid(table))
        return shadow_freshen(c, table) ? table : MFN_NONE;
    if (f->guest.unsynced && !shadow_drop(c, guest)) /* what is out of sync has one role */
        return MFN_NONE;
    if (roles(d, guest) >= ROLES_MAX && !drop_all(c, guest, &role))
        return MFN_NONE;
    table = make(c, guest.raw, role);
    if (!mfn_valid(table))
        return table;
    shadow_of(d, table)->shadow.next = f->guest.shadows;
    if (f->guest.shadows == 0) {
        shadow_protect(c, guest);
        d->phys->watched[guest.raw / level_frames(2)]++;
    }
    __atomic_store_n(&f->guest.shadows, (uint32_t)table.raw, __ATOMIC_SEQ_CST);
    if (!d->slots)
        direct_hold(d->phys, guest);
    return still_table(c, guest, table) ? table : MFN_NONE;
}

mfn_t shadow_get_empty(struct change *c, enum pt_format format, unsigned level)
{
    return make(c, SHADOW_KEY_NONE, (struct role){ (uint8_t)format, (uint8_t)level, 0, 0 });
}

mfn_t direct_get(struct change *c, gfn_t gfn, unsigned level, bool make_it)
{
    struct paging_domain *d = c->d;
    mfn_t                 table = d->direct;

    for (unsigned l = 4; l > level; l--) {
        unsigned index = (unsigned)(gfn.raw >> 9 * (l - 1)) & 511;
        pte_t    e = entry_get(d, table, index);
        uint64_t span = level_frames(l) - 1;

        if (!pte_has(e, PTE_P) || entry_is_leaf(l, e)) {
            if (!make_it)
                return MFN_NONE;
            mfn_t child =
                make(c, gfn.raw & ~span, (struct role){ PT_DIRECT, (uint8_t)(l - 1), 0, 0 });

            if (!mfn_valid(child))
                return child;
            e = pte_make(child, PTE_P | PTE_W | PTE_U | PTE_A | PTE_D);
            entry_set(c, table, index, e);
        }
        table = mfn_of(pte_frame(e));
    }
    return table;
}

/* ---- roots that are kept ---- */

void list_push(const struct phys *phys, struct shadow_list *list, mfn_t table)
{
    struct frame *f = phys_frame(phys, table);

    f->shadow.list_prev = 0;
    f->shadow.list_next = list->head;
    if (list->head != 0)
        phys->frame[list->head].shadow.list_prev = (uint32_t)table.raw;
    else
        list->tail = (uint32_t)table.raw;
    list->head = (uint32_t)table.raw;
    list->count++;
}

void list_remove(const struct phys *phys, struct shadow_list *list, mfn_t table)
{
    const struct frame *f = phys_frame(phys, table);

    if (f->shadow.list_prev != 0)
        phys->frame[f->shadow.list_prev].shadow.list_next = f->shadow.list_next;
    else
        list->head = f->shadow.list_next;
    if (f->shadow.list_next != 0)
        phys->frame[f->shadow.list_next].shadow.list_prev = f->shadow.list_prev;
    else
        list->tail = f->shadow.list_prev;
    list->count--;
}

void shadow_pin(struct change *c, mfn_t table)
{
    struct paging_domain *d = c->d;
    struct frame         *f = shadow_of(d, table);

    f->shadow.writes = 0;
    if (d->roots.head == table.raw)
        return;
    /* Two that take turns stay where they are: near enough. */
    if (f->shadow.pinned && d->phys->frame[d->roots.head].shadow.list_next == table.raw)
        return;
    if (f->shadow.pinned) {
        list_remove(d->phys, &d->roots, table);
    } else {
        f->shadow.pinned = 1;
        f->shadow.refs++;
    }
    list_push(d->phys, &d->roots, table);
}

void shadow_unpin(struct change *c, mfn_t table)
{
    struct frame *f = shadow_of(c->d, table);

    if (!f->shadow.pinned)
        return;
    list_remove(c->d->phys, &c->d->roots, table);
    f->shadow.pinned = 0;
    shadow_put(c, table);
}

/* ---- by the reverse map ---- */

/*
 * The lists of leaves of this level which map the frame: those of the first frame of the aligned block
 * around it; NULL if that is not guest memory, or nothing of the domain's, and so has none.
 */
static struct mapped *block_of(const struct paging_domain *d, mfn_t mfn, unsigned level)
{
    struct frame *f = phys_frame(d->phys, mfn_of(mfn.raw & ~(level_frames(level) - 1)));

    return f->kind == FRAME_GUEST ? mapped_of(d, f) : NULL;
}

/* The list of writable leaves becomes part of the list of read-only ones as a whole. */
static void protect_level(struct change *c, struct mapped *m, unsigned level)
{
    struct paging_domain *d = c->d;
    rmap_t                first = m->leaves[level - 1][1], e = first;

    if (first == 0)
        return;
    do {
        pte_t *slot = &((pte_t *)phys_ptr(d->phys, rmap_table(e)))[rmap_index(e)];

        lower(c, shadow_of(d, rmap_table(e)), e);
        __atomic_store_n(&slot->raw, slot->raw & ~PTE_W, __ATOMIC_RELAXED);
        e = rmap_next(d->phys, e);
    } while (e != first);
    rmap_join(d->phys, &m->leaves[level - 1][0], &m->leaves[level - 1][1]);
    d->stats.protected_frames++;
    d->stats.withdrawn += m->writable[level - 1];
    m->writable[level - 1] = 0;
}

/* The leaves are at most RMAP_WRITABLE_MAX, and RMAP_LARGE_MAX of each larger size. */
void shadow_protect(struct change *c, mfn_t mfn)
{
    for (unsigned level = 1; level <= LEAF_SIZES; level++) {
        struct mapped *m = block_of(c->d, mfn, level);

        if (m)
            protect_level(c, m, level);
    }
}

static void set_blocked(struct paging_domain *d, mfn_t mfn, bool blocked)
{
    struct mapped *m = mapped_of(d, phys_frame(d->phys, mfn));

    d->blocked += (uint32_t)blocked - m->blocked;
    m->blocked = blocked;
}

static bool clear_list(struct change *c, const rmap_t *list)
{
    while (*list != 0) {
        rmap_t e = *list;

        if (must_stop(c))
            return false;
        entry_set(c, rmap_table(e), rmap_index(e), PTE_EMPTY);
    }
    return true;
}

bool shadow_unmap(struct change *c, mfn_t mfn)
{
    set_blocked(c->d, mfn, true);
    for (unsigned level = 1; level <= LEAF_SIZES; level++) {
        const struct mapped *m = block_of(c->d, mfn, level);

        if (m &&
            !(clear_list(c, &m->leaves[level - 1][0]) && clear_list(c, &m->leaves[level - 1][1])))
            return false;
    }
    set_blocked(c->d, mfn, false);
    return true;
}

bool shadow_unlink(struct change *c, mfn_t table)
{
    const struct frame *f = shadow_of(c->d, table);

    while (f->shadow.parents != 0) {
        rmap_t e = f->shadow.parents;

        if (must_stop(c))
            return false;
        entry_set(c, rmap_table(e), rmap_index(e), PTE_EMPTY);
    }
    return true;
}

/* One shadow, except that a vCPU which runs on it keeps it. */
static bool drop_one(struct change *c, mfn_t table)
{
    if (!shadow_unlink(c, table))
        return false;
    if (is_unsynced(shadow_of(c->d, table)))
        unsync_forget(c, table);
    shadow_unpin(c, table);
    root_forget(c, table);
    return true;
}

void shadow_orphan(struct change *c, mfn_t table)
{
    struct frame *f = shadow_of(c->d, table);

    f->shadow.refs++; /* it dies at the end, and only if nothing leads to it */
    shadow_unpin(c, table);
    root_leave(c, table);
    chain_remove(c->d, table);
    f->shadow.key = SHADOW_KEY_NONE;
    f->shadow.generation = c->d->generation - 1; /* stale: it allows nothing, and follows nothing */
    shadow_put(c, table);
}

/* All shadows of a guest table; those of one format and view stay if `keep` is given. */
static bool drop_all(struct change *c, mfn_t mfn, const struct role *keep)
{
    struct paging_domain *d = c->d;
    bool                  done = true;

    for (uint32_t s = phys_frame(d->phys, mfn)->guest.shadows, next; done && s != 0; s = next) {
        struct frame *f = &d->phys->frame[s];

        f->shadow.refs++; /* stays on the chain until we have read its successor */
        if (!keep || f->shadow.format != keep->format || f->shadow.view != keep->view)
            done = drop_one(c, mfn_of(s));
        next = f->shadow.next;
        shadow_put(c, mfn_of(s));
    }
    return done;
}

bool shadow_drop(struct change *c, mfn_t mfn)
{
    if (!drop_all(c, mfn, NULL))
        return false;
    phys_frame(c->d->phys, mfn)->guest.unsynced = 0;
    c->d->stats.unshadowed++;
    return true;
}
