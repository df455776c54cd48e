/* A vCPU's state in records: what a processor of ours can have. See context.h. */
#include "x86/context.h"

#include "x86/hw/cpu.h"

#define AR_L                (1u << 9) /* of a segment's attributes, as the ABI has them */
#define AR_DB               (1u << 10)
#define AR_VALID            0xfffu
#define EXCEPTIONS          32u
#define REGISTERS           0x40u
#define XAPIC_SHIFT         24 /* of an ID in its register */
#define NOT_VECTORS         0xffffu
#define LAPIC_OFF_SOFTWARE  1u
#define LAPIC_OFF           2u
#define MTRR_ALL_WRITE_BACK (UINT64_C(1) << 11 | 6) /* on, and that is the default type */

/* Kinds of event, which are those of EVENTINJ, and a vector: APM vol. 2, 15.20. */
enum { EVENT_INTERRUPT = 0, EVENT_NMI = 2, EVENT_EXCEPTION = 3, EVENT_SOFTWARE = 4 };

/* ---- paging ---- */

/* As WRMSR and loads of descriptors leave them; a processor that is given others may keep them. */
static bool bases_ok(const struct hvm_hw_cpu *cpu)
{
    const unsigned bits = (cpu->cr4 & CR4_LA57) != 0 ? 57 : 48;
    const uint64_t bases[] = { cpu->cs_base,   cpu->ds_base,      cpu->es_base,     cpu->fs_base,
                               cpu->gs_base,   cpu->ss_base,      cpu->tr_base,     cpu->ldtr_base,
                               cpu->gdtr_base, cpu->idtr_base,    cpu->shadow_gs,   cpu->msr_lstar,
                               cpu->msr_cstar, cpu->sysenter_esp, cpu->sysenter_eip };

    for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
        if ((uint64_t)((int64_t)(bases[i] << (64 - bits)) >> (64 - bits)) != bases[i])
            return false;
    return true;
}

bool context_regs(const struct control_policy *policy, const struct hvm_hw_cpu *cpu,
                  struct paging_regs *regs)
{
    const uint32_t attributes[] = { cpu->cs_arbytes, cpu->ds_arbytes,  cpu->es_arbytes,
                                    cpu->fs_arbytes, cpu->gs_arbytes,  cpu->ss_arbytes,
                                    cpu->tr_arbytes, cpu->ldtr_arbytes };

    *regs = (struct paging_regs){ 0 };
    for (unsigned i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
        if ((attributes[i] & ~AR_VALID) != 0)
            return false;
    if (!bases_ok(cpu) || !control_write_efer(policy, regs, cpu->msr_efer & ~EFER_LMA) ||
        !control_write_cr4(policy, regs, cpu->cr4) || !control_write_cr3(policy, regs, cpu->cr3) ||
        !control_write_cr0(regs, cpu->cr0, false))
        return false;
    if ((regs->efer & EFER_LMA) != 0 && (cpu->cs_arbytes & (AR_L | AR_DB)) == (AR_L | AR_DB))
        return false;
    return regs->efer == cpu->msr_efer;
}

bool context_event_ok(uint32_t event)
{
    union {
        uint32_t word;
        struct {
            uint32_t vector : 8, type : 3, error : 1, reserved : 19, valid : 1;
        };
    } e = { .word = event };

    if (!e.valid)
        return event == 0;
    if (e.reserved != 0 || (e.error && e.type != EVENT_EXCEPTION))
        return false;
    switch (e.type) {
    case EVENT_INTERRUPT:
    case EVENT_SOFTWARE:
        return true;
    case EVENT_NMI:
        return e.vector == VECTOR_NMI;
    case EVENT_EXCEPTION:
        return e.vector < EXCEPTIONS && e.vector != VECTOR_NMI;
    default:
        return false;
    }
}

/* ---- the local APIC ---- */

static bool is_x2apic(const struct lapic *apic)
{
    return (apic->base & LAPIC_BASE_X2APIC) != 0;
}

void context_lapic_save(const struct lapic *apic, struct hvm_hw_lapic *to)
{
    *to = (struct hvm_hw_lapic){ .apic_base_msr = apic->base };
    if ((apic->base & LAPIC_BASE_ENABLE) == 0)
        to->disabled |= LAPIC_OFF;
    if ((apic->svr & LAPIC_SVR_ENABLE) == 0)
        to->disabled |= LAPIC_OFF_SOFTWARE;
    to->timer_divisor = lapic_divisor(apic);
}

/* What follows from the registers, which come later, is not looked at. */
bool context_lapic_load(struct lapic *apic, const struct hvm_hw_lapic *from)
{
    const uint64_t mode = LAPIC_BASE_X2APIC | LAPIC_BASE_ENABLE;

    if (((from->apic_base_msr ^ apic->base) & ~mode) != 0 ||
        (from->apic_base_msr & mode) == LAPIC_BASE_X2APIC || from->tdt_msr != 0)
        return false;
    lapic_init(apic, apic->id, (apic->base & LAPIC_BASE_BSP) != 0);
    apic->base = from->apic_base_msr;
    return true;
}

static void put(struct hvm_hw_lapic_regs *to, unsigned reg, uint32_t value)
{
    __builtin_memcpy(to->data + reg * 16, &value, sizeof(value));
}

static uint32_t get(const struct hvm_hw_lapic_regs *from, unsigned reg)
{
    uint32_t value;

    __builtin_memcpy(&value, from->data + reg * 16, sizeof(value));
    return value;
}

/* A count that has run out has asked for its interrupt: nobody looks at it again. */
void context_lapic_save_regs(const struct lapic *of, uint64_t now, struct hvm_hw_lapic_regs *to)
{
    struct lapic        a = *of;
    const struct lapic *apic = &a;

    lapic_timer_expired(&a, now);
    *to = (struct hvm_hw_lapic_regs){ { 0 } };
    for (unsigned reg = 0; reg < REGISTERS; reg++) {
        uint64_t value;

        if (lapic_get(apic, reg, now, &value))
            put(to, reg, (uint32_t)value);
    }
    put(to, LAPIC_ICR_HIGH, (uint32_t)(apic->icr >> 32));
    if (is_x2apic(apic))
        return;
    put(to, LAPIC_ID, apic->id << XAPIC_SHIFT);
    put(to, LAPIC_LDR, apic->ldr);
    put(to, LAPIC_DFR, apic->dfr);
}

static bool load_requests(struct lapic *apic, const struct hvm_hw_lapic_regs *from)
{
    for (unsigned i = 0; i < 8; i++) {
        apic->isr[i] = get(from, LAPIC_ISR + i);
        apic->tmr[i] = get(from, LAPIC_TMR + i);
        apic->irr[i] = get(from, LAPIC_IRR + i);
    }
    return ((apic->isr[0] | apic->tmr[0] | apic->irr[0]) & NOT_VECTORS) == 0;
}

/* Its count goes on from where it was. */
static bool load_timer(struct lapic *apic, uint64_t now, const struct hvm_hw_lapic_regs *from)
{
    uint32_t            initial = get(from, LAPIC_INITIAL_COUNT);
    uint32_t            left = get(from, LAPIC_CURRENT_COUNT);
    struct lapic_effect effect;

    if (left > initial || !lapic_put(apic, LAPIC_DIVIDE, get(from, LAPIC_DIVIDE), now, &effect) ||
        !lapic_put(apic, LAPIC_INITIAL_COUNT, left, now, &effect))
        return false;
    apic->initial = initial;
    return true;
}

static bool load_ids(struct lapic *apic, const struct hvm_hw_lapic_regs *from)
{
    uint32_t dfr = get(from, LAPIC_DFR);

    if (is_x2apic(apic)) /* what is logical follows from it */
        return get(from, LAPIC_ID) == apic->id;
    apic->ldr = get(from, LAPIC_LDR);
    apic->dfr = dfr;
    return get(from, LAPIC_ID) == apic->id << XAPIC_SHIFT &&
           (apic->ldr & ((1u << XAPIC_SHIFT) - 1)) == 0 &&
           (dfr == LAPIC_DFR_FLAT || dfr == LAPIC_DFR_CLUSTER);
}

bool context_lapic_load_regs(struct lapic *apic, uint64_t now, const struct hvm_hw_lapic_regs *from)
{
    struct lapic        a = *apic;
    struct lapic_effect effect;

    lapic_init(&a, apic->id, (apic->base & LAPIC_BASE_BSP) != 0);
    a.base = apic->base;
    if ((a.base & LAPIC_BASE_ENABLE) == 0) {
        *apic = a; /* one that is off has no registers */
        return true;
    }
    if (!load_ids(&a, from) || !load_requests(&a, from) ||
        !lapic_put(&a, LAPIC_SVR, get(from, LAPIC_SVR), now, &effect) ||
        !lapic_put(&a, LAPIC_TPR, get(from, LAPIC_TPR), now, &effect))
        return false;
    for (unsigned reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
        if (!lapic_put(&a, reg, get(from, reg), now, &effect))
            return false;
    a.esr_latched = get(from, LAPIC_ESR);
    a.icr = (uint64_t)get(from, LAPIC_ICR_HIGH) << 32 | get(from, LAPIC_ICR);
    if (a.esr_latched > 0xff || (a.icr & ~LAPIC_ICR_VALID) != 0 || !load_timer(&a, now, from))
        return false;
    *apic = a;
    return true;
}

/* ---- memory types ---- */

void context_mtrr_save(uint64_t pat, struct hvm_hw_mtrr *to)
{
    *to = (struct hvm_hw_mtrr){ .msr_pat_cr = pat, .msr_mtrr_def_type = MTRR_ALL_WRITE_BACK };
}

bool context_mtrr_ok(const struct hvm_hw_mtrr *from)
{
    struct hvm_hw_mtrr ours;

    context_mtrr_save(from->msr_pat_cr, &ours);
    return __builtin_memcmp(&ours, from, sizeof(ours)) == 0;
}
