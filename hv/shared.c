/* Words shared with a guest; see shared.h. */
#include "hv/shared.h"

#include "hv/guest.h"

static uint64_t *word_at(mfn_t mfn, unsigned offset)
{
    uint8_t *page = phys_ptr(&machine_phys, mfn);

    return (uint64_t *)(void *)(page + offset);
}

void shared_apply(struct domain *d, const struct verdict *verdict)
{
    if (verdict->flush != FLUSH_NONE)
        vcpu_flush(d, verdict);
    if (verdict->kind == VERDICT_CRASH)
        domain_crash(d, "%s", verdict->why != NULL ? verdict->why : "its paging cannot go on");
}

void shared_write(struct domain *d, mfn_t mfn, unsigned offset, const void *bytes, unsigned len)
{
    struct verdict verdict = paging_write(domain_lock(d), mfn, offset, bytes, len);

    shared_apply(d, &verdict);
}

/* The page is a table as well: let its shadows see what is in memory now. */
static void follow(struct domain *d, mfn_t mfn, unsigned offset)
{
    uint64_t now;

    if (phys_frame(&machine_phys, mfn)->guest.shadows == 0)
        return;
    now = shared_word(mfn, offset);
    shared_write(d, mfn, offset, &now, sizeof(now));
}

uint64_t shared_word(mfn_t mfn, unsigned offset)
{
    return __atomic_load_n(word_at(mfn, offset), __ATOMIC_SEQ_CST);
}

bool shared_bit_set(struct domain *d, mfn_t mfn, unsigned offset, unsigned bit)
{
    uint64_t mask = UINT64_C(1) << bit;
    uint64_t old = __atomic_fetch_or(word_at(mfn, offset), mask, __ATOMIC_SEQ_CST);

    paging_dirty_mark(domain_lock(d), mfn);
    follow(d, mfn, offset);
    return (old & mask) != 0;
}

bool shared_bit_clear(struct domain *d, mfn_t mfn, unsigned offset, unsigned bit)
{
    uint64_t mask = UINT64_C(1) << bit;
    uint64_t old = __atomic_fetch_and(word_at(mfn, offset), ~mask, __ATOMIC_SEQ_CST);

    paging_dirty_mark(domain_lock(d), mfn);
    follow(d, mfn, offset);
    return (old & mask) != 0;
}
