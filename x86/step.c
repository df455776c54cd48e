/* See step.h. */
#include "x86/step.h"

#include "hv/guest.h"
#include "x86/decode.h"

static enum step_class class_of_second(uint8_t opcode)
{
    switch (opcode) {
    case 0x05:
        return STEP_SYSCALL;
    case 0x07:
        return STEP_SYSRET;
    case 0x21:
    case 0x23:
        return STEP_MOV_DR;
    default:
        return STEP_PLAIN;
    }
}

unsigned step_prefixes(const uint8_t *bytes, unsigned count, bool is_64bit)
{
    unsigned i = 0;

    for (; i < count; i++) {
        uint8_t b = bytes[i];
        bool    prefix = b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 ||
                      (b & 0xe7) == 0x26 || b == 0x64 || b == 0x65;

        if (!prefix && !(is_64bit && (b & 0xf0) == 0x40))
            break;
    }
    return i;
}

enum step_class step_class_of(const uint8_t *bytes, unsigned count, bool is_64bit)
{
    unsigned i = step_prefixes(bytes, count, is_64bit);

    if (i == count)
        return STEP_PLAIN;
    switch (bytes[i]) {
    case 0x17:
        return is_64bit ? STEP_PLAIN : STEP_HOLDS;
    case 0x8e:
        return i + 1 < count && (bytes[i + 1] >> 3 & 7) == SEG_SS ? STEP_HOLDS : STEP_PLAIN;
    case 0x9c:
        return STEP_PUSHF;
    case 0x9d:
    case 0xcf:
        return STEP_LOADS_FLAGS;
    case 0x0f:
        return i + 1 < count ? class_of_second(bytes[i + 1]) : STEP_PLAIN;
    default:
        return STEP_PLAIN;
    }
}

/* One page's part of them. */
static unsigned peek_page(struct vcpu *v, gva_t va, uint8_t *to, unsigned want)
{
    unsigned            offset = (unsigned)(va.raw & PAGE_MASK);
    struct paging_view  view;
    struct paging_reach r;

    if (want > PAGE_SIZE - offset)
        want = (unsigned)PAGE_SIZE - offset;
    paging_view(domain_lock(v->domain), &v->paging, va, &view);
    if (!view.mapped)
        return 0;
    r = paging_reach_gpa(domain_lock(v->domain), view.gpa);
    if (r.kind != REACH_RAM)
        return 0;
    __builtin_memcpy(to, (const uint8_t *)phys_ptr(&machine_phys, r.mfn) + offset, want);
    return want;
}

unsigned step_peek(struct vcpu *v, gva_t va, uint8_t *to, unsigned want)
{
    unsigned have = peek_page(v, va, to, want);

    if (have != 0 && have < want)
        have += peek_page(v, gva_of(va.raw + have), to + have, want - have);
    return have;
}

uint64_t step_causes(uint64_t dr6, uint64_t dr7)
{
    uint64_t hit = dr6 & DR6_CAUSES;

    for (unsigned i = 0; i < 4; i++)
        if (!(dr7 >> 2 * i & 3))
            hit &= ~(1ul << i);
    return hit;
}
