#include "x86/traps.h"

#include <stddef.h>

#include "hv/machine.h"
#include "x86/apic.h"
#include "x86/cpu.h"
#include "x86/panic.h"
#include "x86/pv/pv.h"

struct ex_entry {
    uint64_t fault, fixup;
};

extern const struct ex_entry ex_table_start[], ex_table_end[];

static uint64_t ignored;

/* The table is short: the few instructions that may fault. */
static bool fix_up(struct trap_frame *frame)
{
    for (const struct ex_entry *e = ex_table_start; e < ex_table_end; e++)
        if (e->fault == frame->rip) {
            frame->rip = e->fixup;
            return true;
        }
    return false;
}

static void set_pending(uint32_t bit)
{
    __atomic_fetch_or(&this_cpu()->pending, bit, __ATOMIC_RELAXED);
}

void trap_interrupt(uint64_t vector)
{
    switch (vector) {
    case VECTOR_TIMER:
        set_pending(PENDING_TIMER);
        apic_eoi();
        break;
    case VECTOR_SERIAL:
        set_pending(PENDING_SERIAL);
        apic_eoi();
        break;
    case VECTOR_SELF:
        apic_eoi();
        break;
    default:
        ignored++;
        /* A spurious interrupt is not in service, and an EOI would end another one. */
        if (apic_in_service((uint8_t)vector))
            apic_eoi();
    }
}

/*
 * What a PV guest can bring about while we run: its breakpoint on memory that we touch for it, or
 * on the operand of a MOV SS before a SYSCALL; and its selectors' first use of its LDT.
 */
static bool of_guest(const struct trap_frame *frame)
{
    if (frame->vector == VECTOR_DB) {
        ignored++;
        return true;
    }
    return frame->vector == VECTOR_PF && pv_cpu_ldt_fault(read_cr2());
}

void trap_handle(struct trap_frame *frame)
{
    if (frame->vector >= VECTOR_PIC)
        trap_interrupt(frame->vector);
    else if (frame->vector == VECTOR_NMI)
        ignored++;
    else if (!of_guest(frame) && !fix_up(frame))
        panic_trap(frame);
}

void machine_take_interrupts(void)
{
    /* The instruction after STI is executed before any interrupt is taken. */
    __asm__ volatile("sti; nop; cli" ::: "memory");
}

uint64_t traps_ignored(void)
{
    return ignored;
}
