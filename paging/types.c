/* The words of direct paging: packing, general references, frames coming and going, the TLB clock. */
#include "direct.h"

/* Bits of the type word. What a frame is now decides how the 32 bits in the middle are read. */
#define WORD_COUNT     0 /* 26 bits */
#define WORD_STAMP     26
#define WORD_CURSOR    26 /* 11 bits */
#define WORD_HALF      37
#define WORD_LINEAR    38 /* 16 bits, signed */
#define WORD_KIND      58 /* 3 bits */
#define WORD_VALIDATED 61
#define WORD_PARTIAL   62
#define WORD_PINNED    63

static uint64_t field(uint64_t word, unsigned first, unsigned bits)
{
    return word >> first & ((UINT64_C(1) << bits) - 1);
}

static bool has_stamp(const struct type *t)
{
    return t->count == 0 || t->kind == TYPE_WRITABLE;
}

struct type type_unpack(uint64_t word)
{
    struct type t = {
        .kind = (uint8_t)field(word, WORD_KIND, 3),
        .count = (uint32_t)field(word, WORD_COUNT, 26),
        .validated = field(word, WORD_VALIDATED, 1) != 0,
        .partial = field(word, WORD_PARTIAL, 1) != 0,
        .pinned = field(word, WORD_PINNED, 1) != 0,
    };

    if (has_stamp(&t)) {
        t.stamp = (uint32_t)field(word, WORD_STAMP, 32);
        return t;
    }
    t.cursor = (uint16_t)field(word, WORD_CURSOR, 11);
    t.half = field(word, WORD_HALF, 1) != 0;
    t.linear = (int16_t)(uint16_t)field(word, WORD_LINEAR, 16);
    return t;
}

uint64_t type_pack(struct type t)
{
    uint64_t word = (uint64_t)t.count << WORD_COUNT | (uint64_t)t.kind << WORD_KIND |
                    (uint64_t)t.validated << WORD_VALIDATED | (uint64_t)t.partial << WORD_PARTIAL |
                    (uint64_t)t.pinned << WORD_PINNED;

    if (has_stamp(&t))
        return word | (uint64_t)t.stamp << WORD_STAMP;
    return word | (uint64_t)t.cursor << WORD_CURSOR | (uint64_t)t.half << WORD_HALF |
           (uint64_t)(uint16_t)t.linear << WORD_LINEAR;
}

static bool swap(uint64_t *word, uint64_t *old, uint64_t new)
{
    return __atomic_compare_exchange_n(word, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

bool type_swap(const struct direct_machine *m, mfn_t mfn, struct type old, struct type new)
{
    uint64_t expected = type_pack(old);

    return swap(&phys_frame(m->phys, mfn)->guest.type, &expected, type_pack(new));
}

/* ---- type references in one swap ---- */

#define COUNT_MASK ((UINT64_C(1) << WORD_STAMP) - 1)
#define STAMP_MASK (UINT64_C(0xffffffff) << WORD_STAMP)
#define VALIDATED  (UINT64_C(1) << WORD_VALIDATED)

static uint64_t *type_word(const struct direct_machine *m, mfn_t mfn)
{
    return &phys_frame(m->phys, mfn)->guest.type;
}

static bool is_live_as(uint64_t word, uint8_t kind)
{
    return (word & VALIDATED) != 0 && (word & COUNT_MASK) != 0 && field(word, WORD_KIND, 3) == kind;
}

uint8_t type_kind(const struct direct_machine *m, mfn_t mfn)
{
    return (uint8_t)field(__atomic_load_n(type_word(m, mfn), __ATOMIC_SEQ_CST), WORD_KIND, 3);
}

bool type_quick_get(const struct direct_machine *m, mfn_t mfn, uint8_t kind)
{
    uint64_t old = __atomic_load_n(type_word(m, mfn), __ATOMIC_SEQ_CST), was;

    if (is_live_as(old, kind))
        return (old & COUNT_MASK) != TYPE_COUNT_MAX && swap(type_word(m, mfn), &old, old + 1);
    was = field(old, WORD_KIND, 3);
    if (kind != TYPE_WRITABLE || (old & COUNT_MASK) != 0 ||
        (was != TYPE_WRITABLE && was != TYPE_NONE))
        return false;
    return swap(type_word(m, mfn), &old, (uint64_t)TYPE_WRITABLE << WORD_KIND | VALIDATED | 1);
}

bool type_quick_put(const struct direct_machine *m, mfn_t mfn, uint8_t kind)
{
    uint64_t old = __atomic_load_n(type_word(m, mfn), __ATOMIC_SEQ_CST), new;

    do {
        if (!is_live_as(old, kind) || (kind != TYPE_WRITABLE && (old & COUNT_MASK) == 1))
            return false;
        new = old - 1;
        if (kind == TYPE_WRITABLE) { /* the clock is read after the word */
            uint64_t clock = __atomic_load_n(&m->clock, __ATOMIC_SEQ_CST);

            new = (new & ~STAMP_MASK) | clock << WORD_STAMP;
        }
    } while (!swap(type_word(m, mfn), &old, new));
    return true;
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

    __atomic_store_n(&f->guest.type, type_pack((struct type){ .stamp = now }), __ATOMIC_SEQ_CST);
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

bool frame_put(struct direct_machine *m, mfn_t mfn)
{
    struct frame *f = phys_frame(m->phys, mfn);
    union head    old = head_read(f), new;

    do {
        new = old;
        if ((old.refs & REFS_COUNT) == 0)
            return false;
        new.refs--;
        if ((new.refs & ~(REFS_DIRECT | REFS_LENT)) == 0)
            new.refs = 0;
    } while (!swap(&f->head, &old.word, new.word));
    if (new.refs != 0)
        return true;
    /* A type reference never stands alone; asked when nobody can take one any more. */
    if (type_read(m, mfn).count != 0)
        return false;
    if ((old.refs & REFS_DIRECT) != 0)
        list_freed(m, mfn);
    else
        stamp_freed(m, f); /* back from a loan: its owner has it */
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

    /* What the record said before, of a shadow for instance, means nothing here. */
    f->guest = (__typeof__(f->guest)){ .type = type_pack((struct type){ 0 }) };
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
    return clock_stale(m, type_read(m, mfn).stamp);
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
