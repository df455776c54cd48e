/* Instructions by their bytes: APM vol. 3, appendix A. Only what the counter wants to know. */
#include "bench/event.h"

#include <stdbool.h>
#include <string.h>

const char *const event_names[EVENTS] = {
    [EVENT_INSN] = "insn",       [EVENT_VMRUN] = "vmrun",     [EVENT_VMMCALL] = "vmmcall",
    [EVENT_VMLOAD] = "vmload",   [EVENT_VMSAVE] = "vmsave",   [EVENT_CLGI] = "clgi",
    [EVENT_INVLPGA] = "invlpga", [EVENT_INVLPG] = "invlpg",   [EVENT_INVPCID] = "invpcid",
    [EVENT_WRCR0] = "wrcr0",     [EVENT_WRCR3] = "wrcr3",     [EVENT_WRCR4] = "wrcr4",
    [EVENT_IRET] = "iret",       [EVENT_SYSCALL] = "syscall", [EVENT_SYSRET] = "sysret",
    [EVENT_HLT] = "hlt",         [EVENT_IO] = "io",           [EVENT_CPUID] = "cpuid",
    [EVENT_WRMSR] = "wrmsr",     [EVENT_RDMSR] = "rdmsr",     [EVENT_RDTSC] = "rdtsc",
    [EVENT_PAUSE] = "pause",     [EVENT_REP] = "rep",         [EVENT_REPBYTES] = "repbytes",
};

/* What stands before the opcode, and what remains behind it. */
struct prefixes {
    bool           repeat, f3, operand_size, wide;
    const uint8_t *rest;
    size_t         length;
};

static bool is_legacy_prefix(uint8_t byte)
{
    static const uint8_t list[] = {
        0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3
    };

    return memchr(list, byte, sizeof(list)) != NULL;
}

static struct prefixes prefixes_of(const uint8_t *bytes, size_t length)
{
    struct prefixes p = { .rest = bytes, .length = length };

    for (; p.length > 0 && is_legacy_prefix(*p.rest); p.rest++, p.length--) {
        p.repeat |= *p.rest == 0xf2 || *p.rest == 0xf3;
        p.f3 |= *p.rest == 0xf3;
        p.operand_size |= *p.rest == 0x66;
    }
    if (p.length > 0 && (*p.rest & 0xf0) == 0x40) { /* REX; W is its bit 3 */
        p.wide = *p.rest & 8;
        p.rest++;
        p.length--;
    }
    return p;
}

static enum event one_byte(const struct prefixes *p)
{
    switch (p->rest[0]) {
    case 0xcf:
        return EVENT_IRET;
    case 0xf4:
        return EVENT_HLT;
    case 0x90:
        return p->f3 ? EVENT_PAUSE : EVENT_INSN;
    case 0x6c ... 0x6f:
    case 0xe4 ... 0xe7:
    case 0xec ... 0xef:
        return EVENT_IO;
    default:
        return EVENT_INSN;
    }
}

/* Group 7: 0f 01 */
static enum event group_7(uint8_t modrm)
{
    switch (modrm) {
    case 0xd8:
        return EVENT_VMRUN;
    case 0xd9:
        return EVENT_VMMCALL;
    case 0xda:
        return EVENT_VMLOAD;
    case 0xdb:
        return EVENT_VMSAVE;
    case 0xdd:
        return EVENT_CLGI;
    case 0xdf:
        return EVENT_INVLPGA;
    default:
        return (modrm >> 3 & 7) == 7 && modrm < 0xc0 ? EVENT_INVLPG : EVENT_INSN;
    }
}

static enum event mov_to_cr(uint8_t modrm)
{
    switch (modrm >> 3 & 7) {
    case 0:
        return EVENT_WRCR0;
    case 3:
        return EVENT_WRCR3;
    case 4:
        return EVENT_WRCR4;
    default:
        return EVENT_INSN;
    }
}

static enum event two_bytes(const struct prefixes *p)
{
    uint8_t third = p->length > 2 ? p->rest[2] : 0;

    switch (p->rest[1]) {
    case 0x01:
        return group_7(third);
    case 0x05:
        return EVENT_SYSCALL;
    case 0x07:
        return EVENT_SYSRET;
    case 0x22:
        return mov_to_cr(third);
    case 0x30:
        return EVENT_WRMSR;
    case 0x31:
        return EVENT_RDTSC;
    case 0x32:
        return EVENT_RDMSR;
    case 0x38:
        return third == 0x82 && p->operand_size ? EVENT_INVPCID : EVENT_INSN;
    case 0xa2:
        return EVENT_CPUID;
    default:
        return EVENT_INSN;
    }
}

enum event event_of(const uint8_t *bytes, size_t length)
{
    struct prefixes p = prefixes_of(bytes, length);

    if (p.length == 0)
        return EVENT_INSN;
    return p.length > 1 && p.rest[0] == 0x0f ? two_bytes(&p) : one_byte(&p);
}

unsigned event_rep_bytes(const uint8_t *bytes, size_t length)
{
    struct prefixes p = prefixes_of(bytes, length);
    unsigned        operand = p.wide ? 8 : p.operand_size ? 2 : 4;

    if (!p.repeat || p.length != 1)
        return 0;
    switch (p.rest[0]) {
    case 0x6c:
    case 0x6e:
    case 0xa4:
    case 0xa6:
    case 0xaa:
    case 0xac:
    case 0xae:
        return 1;
    case 0x6d:
    case 0x6f:
        return p.operand_size ? 2 : 4; /* ports have no more than 32 bits */
    case 0xa5:
    case 0xa7:
    case 0xab:
    case 0xad:
    case 0xaf:
        return operand;
    default:
        return 0;
    }
}

unsigned event_marker(const uint8_t *bytes, size_t length, enum marker which)
{
    const uint8_t begin[] = { 0x0f, 0x18, 0x80 }, *displacement = bytes + sizeof(begin);

    if (length != 7 || memcmp(bytes, begin, sizeof(begin)) != 0)
        return 0;
    if (displacement[3] != 0x50 || displacement[2] != which || displacement[1] != 0)
        return 0;
    return displacement[0];
}
