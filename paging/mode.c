/* The modes' numbers. */
#include "mode.h"

/* Bits hi down to lo. */
static uint64_t bits(unsigned hi, unsigned lo)
{
    return ~UINT64_C(0) >> (63 - hi) & ~((UINT64_C(1) << lo) - 1);
}

/* What must be zero in a 64-bit entry of any kind: APM vol. 2, 5.3 and 5.4. */
static uint64_t reserved_high(enum pt_format format, bool nx, struct pt_features features)
{
    uint64_t high = features.maxphys < 52 ? bits(51, features.maxphys) : 0;

    if (!nx)
        high |= PTE_NX;
    if (format == PT_PAE)
        high |= bits(62, 52);
    return high;
}

static void init_long(struct pt_mode *mode, struct pt_features features)
{
    uint64_t high = reserved_high(mode->format, mode->view & PT_VIEW_NX, features);

    for (uint8_t l = 1; l <= mode->levels; l++) {
        struct pt_level *level = &mode->level[l];

        level->shift = (uint8_t)(PAGE_SHIFT + (l - 1) * 9);
        level->bits = 9;
        level->rsvd[0] = high;
        level->rsvd[1] = high | (l == 1 ? 0 : PTE_PS);
        if (l == 2 || (l == 3 && mode->format != PT_PAE && features.gb1)) {
            level->may_leaf = true;
            level->rsvd[1] = high | bits(level->shift - 1u, 13);
        }
    }
    if (mode->format == PT_PAE) { /* checked when they are latched: APM vol. 2, 5.2.3 */
        mode->level[3].bits = 2;
        mode->level[3].rsvd[0] = mode->level[3].rsvd[1] =
            high | PTE_NX | bits(8, 5) | PTE_U | PTE_W;
    }
}

/* Bits 20:13 of a 4 MiB entry are address bits 39:32: APM vol. 2, 5.2.2. */
static void init_32(struct pt_mode *mode, struct pt_features features)
{
    unsigned high = features.maxphys < 40 ? features.maxphys : 40; /* address bits there are */

    for (uint8_t l = 1; l <= 2; l++) {
        mode->level[l].shift = (uint8_t)(PAGE_SHIFT + (l - 1) * 10);
        mode->level[l].bits = 10;
    }
    if (mode->view & PT_VIEW_PSE) {
        mode->level[2].may_leaf = true;
        mode->level[2].rsvd[1] = bits(21, 13 + (high - 32));
    }
}

void pt_mode_init(struct pt_mode *mode, enum pt_format format, uint8_t view,
                  struct pt_features features)
{
    static const uint8_t levels[PT_FORMATS] = {
        [PT_DIRECT] = 0, [PT_32] = 2, [PT_PAE] = 3, [PT_64] = 4, [PT_LA57] = 5,
    };

    *mode = (struct pt_mode){
        .format = (uint8_t)format,
        .view = view,
        .levels = levels[format],
        .entry_bytes = format == PT_32 ? 4 : 8,
    };
    if (format == PT_32)
        init_32(mode, features);
    else if (format != PT_DIRECT)
        init_long(mode, features);
}
