#include "dice.h"

static _Thread_local uint64_t state = 1;
static bool                   gives = true, builds;

void dice_seed(uint64_t seed)
{
    state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* xorshift64* */
unsigned dice(unsigned sides)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return sides ? (unsigned)((state * UINT64_C(0x2545f4914f6cdd1d) >> 33) % sides) : 0;
}

void dice_gives(bool does)
{
    gives = does;
}

void dice_builds(bool does)
{
    builds = does;
}

unsigned dice_index(void)
{
    static const unsigned indexes[] = { 0, 1, 2, 255, 256, 511 };

    return indexes[dice(6)];
}

/* What the guest means a frame to be: 1 and 2 are L4 tables, ... 7 and 8 L1, 9 segments, the rest data. */
static uint8_t meant(unsigned frame)
{
    if (frame >= 1 && frame <= 8)
        return (uint8_t)(TYPE_L4 - (frame - 1) / 2);
    return frame == 9 ? TYPE_SEGMENTS : TYPE_WRITABLE;
}

static unsigned any_frame(const struct world *w)
{
    return dice(50) == 0 ? (unsigned)w->frames + dice(2) : 1 + dice((unsigned)w->frames - 1);
}

static uint64_t odd_bits(void)
{
    static const uint64_t bits[] = { PTE_PS, PTE_G, UINT64_C(8), UINT64_C(16), PTE_P, PTE_W };

    return dice(12) == 0 ? bits[dice(6)] : 0;
}

static uint64_t harmless_bits(void)
{
    static const uint64_t bits[] = {
        0, PTE_A, PTE_A | PTE_D, PTE_NX, UINT64_C(1) << 9, PTE_KERNEL
    };

    return bits[dice(6)];
}

static uint64_t entry_for(const struct world *w, uint8_t kind)
{
    unsigned frame;
    uint64_t flags = PTE_P;

    if (dice(5) == 0)
        return dice(8) == 0 ? ENTRY(any_frame(w), 0) : 0;
    if (kind == TYPE_L1) {
        frame = dice(4) != 0 ? 9 + dice(4) : any_frame(w);
        if (frame < 9 && dice(4) != 0)
            return ENTRY(frame, RO);
        flags |= dice(2) ? PTE_W : 0;
    } else if (kind >= TYPE_L2 && kind <= TYPE_L4 && dice(5) == 0) {
        return ENTRY(1 + 2u * (unsigned)(TYPE_L4 - kind) + dice(2), RO); /* linear, or itself */
    } else if (kind >= TYPE_L2 && kind <= TYPE_L4 && dice(10) != 0) {
        frame = 3 + 2 * (unsigned)(TYPE_L4 - kind) + dice(2);
        flags |= dice(4) ? PTE_W : 0;
    } else {
        frame = any_frame(w);
    }
    return (ENTRY(frame, flags) | (dice(3) ? PTE_U : 0) | harmless_bits()) ^ odd_bits();
}

uint64_t dice_entry(const struct world *w)
{
    return entry_for(w, (uint8_t)(1 + dice(4)));
}

static uint64_t descriptor(void)
{
    static const uint64_t descriptors[] = {
        0,
        UINT64_C(0x00af9b000000ffff), /* code, DPL 0 */
        UINT64_C(0x00cff3000000ffff), /* data, DPL 3 */
        UINT64_C(0x00008b0000000067), /* a task */
        UINT64_C(0x00000b0000000067), /* the same, not present */
    };

    return descriptors[dice(8) == 0 ? 3 : dice(5)];
}

static struct direct_request update(struct world *w)
{
    struct direct_request r = world_request(w, DIRECT_UPDATE, any_frame(w));

    r.index = dice(100) == 0 ? DIRECT_ENTRIES : dice_index();
    if (meant((unsigned)r.mfn.raw) == TYPE_SEGMENTS) {
        r.op = DIRECT_DESCRIPTOR;
        r.value = descriptor();
        return r;
    }
    r.flags = dice(4) == 0 ? DIRECT_PRESERVE : 0;
    r.value = entry_for(w, meant((unsigned)r.mfn.raw));
    /* The same with other flags: the quick way. */
    if (dice(4) == 0 && r.mfn.raw < w->frames && r.index < DIRECT_ENTRIES)
        r.value = table_read(&w->machine, r.mfn, r.index).raw ^
                  (dice(2) ? harmless_bits() : odd_bits() | (dice(2) ? PTE_W : 0));
    return r;
}

/* A table of the next level, or memory, below a table that is meant to be one; or a root. */
static struct direct_request build(struct world *w)
{
    unsigned              frame = 1 + 2 * dice(4) + (dice(4) == 0), level = meant(frame);
    struct direct_request r = world_request(w, DIRECT_UPDATE, frame);

    if (dice(8) == 0) {
        r = world_request(w, DIRECT_ROOT, 1 + dice(2));
        r.user = dice(2) != 0;
        return r;
    }
    r.index = dice(2);
    if (dice(3) == 0)
        r.value = 0;
    else if (level == TYPE_L1)
        r.value = ENTRY(9 + dice(2), dice(4) ? RW : RO);
    else
        r.value = ENTRY(3 + 2 * (TYPE_L4 - level) + (dice(4) == 0), RW);
    return r;
}

struct direct_request dice_request(struct world *w, const unsigned *given)
{
    struct direct_request r;

    if (builds && dice(2) != 0)
        return build(w);

    switch (dice(16)) {
    case 0:
    case 1:
        r = world_request(w, DIRECT_PIN, any_frame(w));
        r.kind = dice(8) != 0 ? meant((unsigned)r.mfn.raw) : (uint8_t)(1 + dice(4));
        if (!type_is_table(r.kind))
            r.kind = TYPE_L2;
        return r;
    case 2:
    case 3:
        return world_request(w, DIRECT_UNPIN, any_frame(w));
    case 4:
        r = world_request(w, DIRECT_ROOT, dice(4) != 0 ? 1 + dice(2) : any_frame(w));
        r.user = dice(2) != 0;
        if (dice(4) == 0)
            r.mfn = MFN_NONE;
        return r;
    case 5:
        if (!gives)
            break;
        r = world_request(w, DIRECT_GET, any_frame(w));
        r.kind = dice(2) ? TYPE_SEGMENTS : TYPE_WRITABLE;
        return r;
    case 6:
    case 7:
        for (unsigned i = 1; gives && i < w->frames; i++) {
            if (given[i] > 0) {
                r = world_request(w, DIRECT_PUT, i);
                r.kind = TYPE_SEGMENTS; /* whichever it was: the frame knows */
                return r;
            }
        }
        break;
    default:
        break;
    }
    return update(w);
}

void dice_answered(const struct direct_request *r, bool done, unsigned *given)
{
    if (done && r->op == DIRECT_GET)
        given[r->mfn.raw]++;
    if (done && r->op == DIRECT_PUT)
        given[r->mfn.raw]--;
}
