/* The words of direct paging: general references, frames coming and going, the TLB clock. */
#include "direct.h"
#include "type_words.h"

static bool swap(uint64_t *word, uint64_t *old, uint64_t new)
{
    return __atomic_compare_exchange_n(word, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* ---- general references ---- */

/* The head of a record as a value of its own. */
union head {
    struct {
        uint8_t  kind, order;
        uint16_t owner;
        uint32_t refs;
    };
    uint64_t word;
};

static union head head_read(const struct frame *f)
{
    return (union head){ .word = __atomic_load_n(&f->head, __ATOMIC_SEQ_CST) };
}

static bool is_held(union head head, uint16_t owner)
{
    return head.kind == FRAME_GUEST && head.owner == owner &&
           (head.refs & (REFS_DIRECT | REFS_LENT)) != 0;
}

bool frame_is_held(const struct direct_machine *m, mfn_t mfn, uint16_t owner)
{
    return is_held(head_read(phys_frame(m->phys, mfn)), owner);
}

enum direct_error frame_get(const struct direct_machine *m, mfn_t mfn, uint16_t owner)
{
    struct frame *f;
    union head    old;

    if (mfn.raw >= m->phys->frames)
        return DIRECT_INVALID;
    f = phys_frame(m->phys, mfn);
    old = head_read(f);
    for (;;) {
        union head new = old;

        if (!is_held(old, owner))
            return DIRECT_INVALID;
        if ((old.refs & REFS_COUNT) >= REFS_MAX)
            return DIRECT_OVERFLOW;
        new.refs++;
        if (swap(&f->head, &old.word, new.word))
            return DIRECT_OK;
    }
}

/* Nobody holds it: its type is forgotten, the stamp says until when a TLB may have known it. */
static void stamp_freed(struct direct_machine *m, struct frame *f)
{
    uint32_t now = __atomic_load_n(&m->clock, __ATOMIC_SEQ_CST);

    __atomic_store_n(&f->guest.type, type_stamped((struct type){ 0 }, now).word, __ATOMIC_SEQ_CST);
}

static void list_freed(struct direct_machine *m, mfn_t mfn)
{
    struct frame *f = phys_frame(m->phys, mfn);
    uint32_t      first = __atomic_load_n(&m->freed, __ATOMIC_SEQ_CST);

    stamp_freed(m, f);
    do
        f->guest.freed = first;
    while (!__atomic_compare_exchange_n(&m->freed, &first, (uint32_t)mfn.raw, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}

/*
 * Of a lent frame. Its owner has it back with the last reference, whoever drops that, and may lend it
 * again at once: so each mapping that goes is stamped by the swap that drops its reference.
 */
static bool put_lent(const struct direct_machine *m, struct frame *f)
{
    for (;;) {
        const struct words old = words_read(f);
        union head         head = { .word = old.head };
        struct type        type = type_unpack(old.type);

        if ((head.refs & REFS_COUNT) == 0)
            return false;
        if (--head.refs == REFS_LENT)
            head.refs = 0;
        if (type.count == 0 || type.kind == TYPE_WRITABLE) /* the clock is read after the word */
            type = type_stamped(type, __atomic_load_n(&m->clock, __ATOMIC_SEQ_CST));
        if (words_swap(f, old, (struct words){ head.word, type.word }))
            return head.refs != 0 || type.count == 0; /* a type reference never stands alone */
    }
}

bool frame_put(struct direct_machine *m, mfn_t mfn)
{
    struct frame *f = phys_frame(m->phys, mfn);
    union head    old = head_read(f), new;

    if ((old.refs & REFS_LENT) != 0)
        return put_lent(m, f);
    do {
        new = old;
        if ((old.refs & REFS_COUNT) == 0)
            return false;
        new.refs--;
        if ((new.refs & ~REFS_DIRECT) == 0)
            new.refs = 0;
    } while (!swap(&f->head, &old.word, new.word));
    if (new.refs != 0)
        return true;
    /* A type reference never stands alone; asked when nobody can take one any more. */
    if (type_read(m, mfn).count != 0)
        return false;
    list_freed(m, mfn);
    return true;
}

bool frame_take_allocated(const struct direct_machine *m, mfn_t mfn, uint16_t owner)
{
    struct frame *f = phys_frame(m->phys, mfn);
    union head    old = head_read(f), new;

    do {
        new = old;
        if (!is_held(old, owner) || (old.refs & REFS_ALLOCATED) == 0)
            return false;
        /* It becomes an ordinary reference, which the caller drops. */
        new.refs = (old.refs & ~REFS_ALLOCATED) + 1;
    } while (!swap(&f->head, &old.word, new.word));
    return true;
}

/* ---- frames ---- */

void direct_allocate(const struct direct_domain *d, mfn_t mfn)
{
    struct frame *f = phys_frame(d->machine->phys, mfn);
    union head head = { .kind = FRAME_GUEST, .owner = d->id, .refs = REFS_ALLOCATED | REFS_DIRECT };

    /*
     * What the record said before, of a shadow for instance, means nothing here. Who still looks at
     * its words by an entry of long ago may read the type, and cannot swap it.
     */
    __atomic_store_n(&f->guest.type, 0, __ATOMIC_SEQ_CST);
    __builtin_memset((uint8_t *)&f->guest + sizeof(f->guest.type), 0,
                     sizeof(f->guest) - sizeof(f->guest.type));
    __atomic_store_n(&f->head, head.word, __ATOMIC_SEQ_CST);
}

enum direct_error direct_release(const struct direct_domain *d, mfn_t mfn)
{
    if (mfn.raw >= d->machine->phys->frames || !frame_take_allocated(d->machine, mfn, d->id))
        return DIRECT_INVALID;
    return frame_put(d->machine, mfn) ? DIRECT_OK : DIRECT_INVALID;
}

enum direct_error direct_steal(const struct direct_domain *d, mfn_t mfn)
{
    struct direct_machine *m = d->machine;
    union head             old, new;
    struct frame          *f;

    if (mfn.raw >= m->phys->frames)
        return DIRECT_INVALID;
    f = phys_frame(m->phys, mfn);
    old = head_read(f);
    do {
        if (!is_held(old, d->id) || (old.refs & REFS_ALLOCATED) == 0)
            return DIRECT_INVALID;
        if ((old.refs & REFS_COUNT) != 0)
            return DIRECT_TYPED;
        new = old;
        new.refs = 0;
    } while (!swap(&f->head, &old.word, new.word));
    stamp_freed(m, f);
    return DIRECT_OK;
}

static void add_hold(struct frame *f, uint32_t flag)
{
    union head old = head_read(f), new;

    do {
        new = old;
        new.refs = (old.refs + 1) | flag;
    } while (!swap(&f->head, &old.word, new.word));
}

void direct_lend(const struct phys *phys, mfn_t mfn)
{
    add_hold(phys_frame(phys, mfn), REFS_LENT);
}

void direct_hold(const struct phys *phys, mfn_t mfn)
{
    add_hold(phys_frame(phys, mfn), 0);
}

void direct_take_back(const struct phys *phys, mfn_t mfn)
{
    struct frame *f = phys_frame(phys, mfn);
    union head    old = head_read(f), new;

    do {
        new = old;
        new.refs--;
        if (new.refs == REFS_LENT)
            new.refs = 0;
    } while (!swap(&f->head, &old.word, new.word));
}

bool direct_is_lent(const struct phys *phys, mfn_t mfn)
{
    return (head_read(phys_frame(phys, mfn)).refs & REFS_LENT) != 0;
}

uint32_t direct_holds(const struct phys *phys, mfn_t mfn)
{
    return head_read(phys_frame(phys, mfn)).refs & REFS_COUNT;
}

mfn_t direct_freed_first(const struct direct_machine *m)
{
    uint32_t first = __atomic_load_n(&m->freed, __ATOMIC_SEQ_CST);

    return first != 0 ? mfn_of(first) : MFN_NONE;
}

mfn_t direct_freed(struct direct_machine *m)
{
    uint32_t first = __atomic_load_n(&m->freed, __ATOMIC_SEQ_CST), next;

    /* Only one CPU takes frames off at a time, so `freed` of the first cannot change meanwhile. */
    do {
        if (first == 0)
            return MFN_NONE;
        next = phys_frame(m->phys, mfn_of(first))->guest.freed;
    } while (!__atomic_compare_exchange_n(&m->freed, &first, next, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    return mfn_of(first);
}

/* ---- TLB clock ---- */

uint64_t clock_stale(const struct direct_machine *m, uint32_t stamp)
{
    uint32_t now = __atomic_load_n(&m->clock, __ATOMIC_SEQ_CST);
    uint64_t stale = 0;

    for (unsigned cpu = 0; cpu < m->cpus; cpu++) {
        uint32_t flushed = __atomic_load_n(&m->cpu_clock[cpu], __ATOMIC_SEQ_CST);

        if (now == 0 || (flushed <= stamp && stamp <= now))
            stale |= UINT64_C(1) << cpu;
    }
    return stale;
}

uint64_t direct_stale_cpus(const struct direct_machine *m, mfn_t mfn)
{
    return clock_stale(m, type_stamp(type_read(m, mfn)));
}

uint32_t direct_flush_begin(struct direct_machine *m)
{
    uint32_t now = __atomic_load_n(&m->clock, __ATOMIC_SEQ_CST);

    /* It stays at 0 until everyone has flushed. */
    while (now != 0 && !__atomic_compare_exchange_n(&m->clock, &now, now + 1, false,
                                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        continue;
    return now == 0 ? 0 : now + 1;
}

void direct_flush_end(struct direct_machine *m, unsigned cpu, uint32_t clock)
{
    __atomic_store_n(&m->cpu_clock[cpu], clock, __ATOMIC_SEQ_CST);
}

void direct_clock_restart(struct direct_machine *m)
{
    __atomic_store_n(&m->clock, 1, __ATOMIC_SEQ_CST);
}

void direct_machine_init(struct direct_machine *m, const struct phys *phys, unsigned cpus,
                         uint64_t l1tf_limit, const pte_t *slots)
{
    *m =
        (struct direct_machine){ .phys = phys, .clock = 1, .cpus = cpus, .l1tf_limit = l1tf_limit };
    for (unsigned i = 0; i < DIRECT_SLOTS; i++)
        m->slots[i] = slots[i];
}
