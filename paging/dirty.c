/*
 * Log-dirty: switched on and off, and the bits taken.
 *
 *   off ── on: old bits go, our tables are blown ──► on: nothing is writable, no bit is set
 *    ▲                                                │  a write to a frame without a bit faults,
 *    └──────────── off: our tables are blown ─────────┘  sets the bit, and the frame is writable
 *
 * Taking a bit (clean) makes the frame read-only by the reverse map, which knows the leaves of all
 * kinds of tables alike; what the verdict asks for is flushed before the bits are handed out, so
 * that whoever reads the page after he has seen its bit reads what was written.
 *
 * Switching is blowing (blow.c), O(vCPUs): what was writable is asked for again, and what is made
 * then obeys rules.c: no W without a bit, and no W in a large leaf. After off, large leaves come back.
 * The state is the domain's and the frames', so it does not matter by what kind of tables it runs.
 */
#include "dirty.h"

#include "shadow.h"

/* Looking up so many pieces of the p2m, or words, takes as long as changing an entry. */
#define LOOKS_PER_WORK 8
#define WORK_PER_WORD  2 /* of forgetting 64 marks */

/* Guest frames that are one piece of memory, or are none. */
struct piece {
    mfn_t    mfn; /* MFN_NONE: no memory */
    uint64_t frames;
};

static struct piece piece_at(const struct paging_domain *d, gfn_t gfn, gfn_t end)
{
    uint64_t most = end.raw - gfn.raw;

    if (d->p2m.identity) /* all of the machine, of which some is the domain's */
        return (struct piece){ mfn_of(gfn.raw), most };

    struct p2m_entry e = p2m_find(&d->p2m, gfn);
    uint64_t         size = UINT64_C(1) << e.order, rest = size - (gfn.raw & (size - 1));

    return (struct piece){ e.type == P2M_RAM || e.type == P2M_ROM ? e.mfn : MFN_NONE,
                           rest < most ? rest : most };
}

/* What is marked of others is none of this domain's business. */
static bool is_its_own(const struct paging_domain *d, mfn_t mfn)
{
    const struct frame *f = phys_frame(d->phys, mfn);

    return f->kind == FRAME_GUEST && f->owner == d->id;
}

/* Bits of so many frames from this one on, at most 64, wherever in a word they begin. */
static uint64_t bits_from(const struct phys *phys, mfn_t first, uint64_t frames)
{
    uint64_t        word = first.raw / 64;
    unsigned        shift = first.raw % 64;
    const uint64_t *p = &phys->dirty[word];
    uint64_t        bits = __atomic_load_n(p, __ATOMIC_RELAXED) >> shift;

    if (shift != 0 && frames > 64 - shift)
        bits |= __atomic_load_n(p + 1, __ATOMIC_RELAXED) << (64 - shift);
    return frames < 64 ? bits & ((UINT64_C(1) << frames) - 1) : bits;
}

static void take_frame(struct change *c, struct dirty_fetch *f, gfn_t gfn, mfn_t mfn)
{
    uint64_t withdrawn = c->d->stats.withdrawn, at = gfn.raw - f->first.raw;

    if (!is_its_own(c->d, mfn))
        return;
    if (f->bitmap)
        f->bitmap[at / 64] |= UINT64_C(1) << at % 64;
    f->found++;
    if (!f->clean)
        return;
    dirty_set(c->d->phys, mfn, false);
    shadow_protect(c, mfn);
    c->work += 1 + (unsigned)(c->d->stats.withdrawn - withdrawn);
}

/* Up to 64 frames of a piece; false: it must stop among them. */
static bool take_word(struct change *c, struct dirty_fetch *f, mfn_t mfn, uint64_t frames)
{
    gfn_t first = f->next;

    for (uint64_t bits = bits_from(c->d->phys, mfn, frames); bits != 0; bits &= bits - 1) {
        unsigned i = (unsigned)__builtin_ctzll(bits);

        f->next.raw = first.raw + i;
        if (must_stop(c))
            return false;
        take_frame(c, f, f->next, mfn_of(mfn.raw + i));
    }
    f->next.raw = first.raw + frames;
    return true;
}

/* A look takes an eighth of what changing an entry does. */
static void look(struct change *c, unsigned *looks)
{
    if (++*looks % LOOKS_PER_WORK == 0)
        c->work++;
}

struct verdict paging_dirty_fetch(struct paging_locked p, struct dirty_fetch *f)
{
    struct change c = { .d = p.domain };
    unsigned      looks = 0;

    while (f->next.raw < f->end.raw && !must_stop(&c)) {
        struct piece piece = piece_at(p.domain, f->next, f->end);

        look(&c, &looks);
        if (!mfn_valid(piece.mfn)) {
            f->next.raw += piece.frames;
            continue;
        }
        for (uint64_t i = 0; i < piece.frames; i += 64) {
            uint64_t frames = piece.frames - i < 64 ? piece.frames - i : 64;

            look(&c, &looks);
            if (must_stop(&c) || !take_word(&c, f, mfn_of(piece.mfn.raw + i), frames))
                break;
        }
    }
    return verdict_of(&c, VERDICT_RETRY);
}

static void forget_word(struct change *c, mfn_t mfn, uint64_t frames)
{
    uint64_t bits = bits_from(c->d->phys, mfn, frames);

    if (frames > LOOKS_PER_WORK)
        c->work += bits == 0 ? 1 : WORK_PER_WORD;
    for (; bits != 0; bits &= bits - 1) {
        mfn_t one = mfn_of(mfn.raw + (unsigned)__builtin_ctzll(bits));

        if (is_its_own(c->d, one))
            dirty_set(c->d->phys, one, false);
    }
}

/* Bits that a former log has left behind go before this one begins: nobody sets any meanwhile. */
static bool forget_all(struct change *c)
{
    gfn_t   *cursor = &c->d->dirty.cursor;
    gfn_t    end = gfn_of(c->d->p2m.identity ? c->d->phys->frames : c->d->p2m.end);
    unsigned looks = 0;

    while (cursor->raw < end.raw && !must_stop(c)) {
        struct piece piece = piece_at(c->d, *cursor, end);
        uint64_t     frames = piece.frames;

        look(c, &looks);
        if (mfn_valid(piece.mfn)) {
            frames = frames < 64 ? frames : 64;
            forget_word(c, piece.mfn, frames);
        }
        cursor->raw += frames;
    }
    return !c->again;
}

struct verdict paging_dirty_on(struct paging_locked p)
{
    struct paging_domain *d = p.domain;
    struct change         c = { .d = d };
    struct verdict        verdict;

    if (d->dirty.on)
        return verdict_of(&c, VERDICT_RETRY);
    if (!forget_all(&c))
        return verdict_of(&c, VERDICT_RETRY);
    verdict = paging_blow(p);
    if (verdict.kind == VERDICT_RETRY && !verdict.again)
        d->dirty = (struct paging_dirty){ .on = true };
    return verdict;
}

struct verdict paging_dirty_off(struct paging_locked p)
{
    struct paging_domain *d = p.domain;
    struct verdict        verdict;

    if (!d->dirty.on)
        return (struct verdict){ .kind = VERDICT_RETRY };
    verdict = paging_blow(p);
    if (verdict.kind == VERDICT_RETRY && !verdict.again)
        d->dirty.on = false;
    return verdict;
}

void paging_dirty_mark(struct paging_locked p, mfn_t mfn)
{
    dirty_mark(p.domain, mfn);
}
