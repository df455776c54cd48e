/*
 * The usual references in one swap: doc/direct.md, "In one go".
 *
 * Head and type word of a frame stand beside each other and are changed by one swap where both change.
 * That is what two swaps would do if nobody came between them, so nothing new can be seen. What is not
 * as usual returns false and has changed nothing: the machine then finds out, step by step.
 */
#ifndef PAGING_TYPE_WORDS_H
#define PAGING_TYPE_WORDS_H

#include "direct_entry.h"
#include "dirty.h"

struct words {
    uint64_t head, type;
};
_Static_assert(offsetof(struct frame, head) == 0 && offsetof(struct frame, guest.type) == 8,
               "beside each other, and aligned as the record is");

#define HEAD_IDENTITY   UINT64_C(0xffff00ff) /* kind and owner; not the block's order */
#define HEAD_REFS(refs) ((uint64_t)(refs) << 32)

/* In this order: what the second says may be younger than the first, which the swap finds out. */
static inline struct words words_read(const struct frame *f)
{
    struct words w;

    w.head = __atomic_load_n(&f->head, __ATOMIC_SEQ_CST);
    w.type = __atomic_load_n(&f->guest.type, __ATOMIC_SEQ_CST);
    return w;
}

/* CMPXCHG16B, AMD APM vol. 3: false if either word is not the old one any more. */
static inline bool words_swap(struct frame *f, struct words old, struct words new)
{
    bool equal;

    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(equal), "+m"(*(struct words *)(void *)f), "+a"(old.head),
                       "+d"(old.type)
                     : "b"(new.head), "c"(new.type)
                     : "memory");
    return equal;
}

static inline bool head_swap(struct frame *f, uint64_t old, uint64_t new)
{
    return __atomic_compare_exchange_n(&f->head, &old, new, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* Kind and owner of a frame of this domain's memory. */
static inline uint64_t head_identity(uint16_t owner)
{
    return FRAME_GUEST | (uint64_t)owner << 16;
}

/* It is memory of this domain, somebody holds it, and there is room for one more. */
static inline bool head_may_get(uint64_t head, uint16_t owner)
{
    return (head & (HEAD_IDENTITY | HEAD_REFS(REFS_MAX))) == head_identity(owner) &&
           (head & HEAD_REFS(REFS_DIRECT | REFS_LENT)) != 0;
}

/* There is a reference to be dropped, it is not the last one, and the frame needs no stamp for it. */
static inline bool head_may_put(uint64_t head)
{
    uint64_t refs = head & HEAD_REFS(REFS_ALLOCATED | REFS_COUNT);

    return (refs & HEAD_REFS(REFS_COUNT)) != 0 && refs != HEAD_REFS(1) &&
           (head & HEAD_REFS(REFS_LENT)) == 0;
}

static inline bool type_word_is_live_as(struct type t, uint8_t kind)
{
    const struct type mask = { .kind = TYPE_KIND_MASK, .validated = true };
    const struct type live = { .kind = kind & TYPE_KIND_MASK, .validated = true };

    return (t.word & mask.word) == live.word && t.count != 0;
}

/* A writable reference more of a frame that has none, and was no table since it was last flushed. */
static inline bool type_word_may_be_written(struct type t)
{
    return t.count == 0 && (t.kind == TYPE_WRITABLE || t.kind == TYPE_NONE);
}

/* A general reference more of a frame of this domain. */
static inline bool words_get_general(struct frame *f, uint16_t owner)
{
    uint64_t head = __atomic_load_n(&f->head, __ATOMIC_SEQ_CST);

    return head_may_get(head, owner) && head_swap(f, head, head + HEAD_REFS(1));
}

static inline bool words_put_general(struct direct_machine *m, mfn_t mfn)
{
    struct frame *f = phys_frame(m->phys, mfn);
    uint64_t      head = __atomic_load_n(&f->head, __ATOMIC_SEQ_CST);

    if (!head_may_put(head))
        return frame_put(m, mfn);
    return head_swap(f, head, head - HEAD_REFS(1));
}

/*
 * A general and a type reference more: of a live frame of this kind (which is not for a linear entry),
 * or of a writable one that was nothing else since it was last flushed.
 */
static inline bool words_get(struct frame *f, uint16_t owner, uint8_t kind)
{
    struct words old = words_read(f), new;
    struct type  type = { .word = old.type };

    if (!head_may_get(old.head, owner))
        return false;
    new.head = old.head + HEAD_REFS(1);
    if (type_word_is_live_as(type, kind) && type.count != TYPE_COUNT_MAX)
        new.type = old.type + 1;
    else if (kind == TYPE_WRITABLE && type_word_may_be_written(type))
        new.type = (struct type){ .kind = TYPE_WRITABLE, .validated = true, .count = 1 }.word;
    else
        return false;
    return words_swap(f, old, new);
}

/* One of each less, of a live frame of this kind; not the last type reference of a table. */
static inline bool words_put(struct direct_machine *m, mfn_t mfn, uint8_t kind)
{
    struct frame *f = phys_frame(m->phys, mfn);
    struct words  old = words_read(f), new;
    struct type   type = { .word = old.type };

    if (!type_word_is_live_as(type, kind) || (kind != TYPE_WRITABLE && type.count == 1))
        return false;
    type.word--;
    if (kind == TYPE_WRITABLE) /* the clock is read after the word */
        type = type_stamped(type, __atomic_load_n(&m->clock, __ATOMIC_SEQ_CST));
    if (!head_may_put(old.head)) /* the frame's last one */
        return type_swap(m, mfn, type_unpack(old.type), type) && frame_put(m, mfn);
    new.head = old.head - HEAD_REFS(1);
    new.type = type.word;
    return words_swap(f, old, new);
}

/* ---- of an entry; its frame is one of the machine's ---- */

static inline bool need_get(const struct direct_machine *m, const struct entry_need *need,
                            uint16_t owner)
{
    struct frame *f = phys_frame(m->phys, need->mfn);

    return need->want == TYPE_NONE ? words_get_general(f, owner) : words_get(f, owner, need->want);
}

/*
 * If the frame of a writable reference is another domain's than this one, what was written by way of it is marked
 * for that. A domain's own are marked where they are written.
 */
static inline void need_note_foreign(const struct direct_machine *m, const struct entry_need *need,
                                     uint16_t id)
{
    const struct frame *f = phys_frame(m->phys, need->mfn);

    if (need->want == TYPE_WRITABLE &&
        (__atomic_load_n(&f->head, __ATOMIC_RELAXED) & HEAD_IDENTITY) != head_identity(id))
        dirty_note(m->phys, need->mfn);
}

/* Noted before. */
static inline bool need_put(struct direct_machine *m, const struct entry_need *need)
{
    return need->want == TYPE_NONE ? words_put_general(m, need->mfn)
                                   : words_put(m, need->mfn, need->want);
}

#endif
