/*
 * Descriptor tables and stacks.
 *
 * A CPU has a main stack and one for each of NMI, #DF, #MC and #DB. Every stack is aligned to
 * STACK_SIZE, has a guard page at its bottom and a pointer to the CPU's record at its top,
 * so that this_cpu() works on each. The record itself stands at the top of the main stack.
 *
 * The GDT is a window that never moves; a PV vCPU's own descriptors are in its first pages
 * while it is loaded (doc/pv.md).
 *
 * There are two IDTs. The one with ISTs needs TR to be ours: it is in use from boot until
 * the first guest under SVM runs, and while a PV vCPU is loaded. After a #VMEXIT, TR, FS, GS and LDTR still are the guest's (APM
 * vol. 2, 15.5.1), so the plain one, whose gates never leave the stack in use, is in use
 * then. With it an overflow of the stack is a triple fault.
 */
#ifndef X86_DESC_H
#define X86_DESC_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/layout.h"

enum stack_kind { STACK_MAIN, STACK_NMI, STACK_DF, STACK_MC, STACK_DB, STACK_KINDS };

/* Slots of stacks per CPU, a power of two. */
#define STACKS_PER_CPU 8

struct cpu;

/* Fills both IDTs and loads the plain one; once, before anything may go wrong. */
void desc_init(void);

void desc_load_idt_with_ists(void);
void desc_load_idt_plain(void);

/*
 * Makes TR, LDTR and the IDT ours again, whatever a guest left in them. From now on an exception
 * or interrupt in ring 3 begins at `rsp0`, which is aligned to 16.
 */
void desc_load_ring0(uint64_t rsp0);

/* LDTR gets `entries` descriptors of the window's LDT, or none. */
void desc_load_ldt(unsigned entries);

/* Makes the boot stack fit for this_cpu(). */
void desc_init_boot_stack(void);

/*
 * Makes and maps the stacks of a CPU and its record, loads GDT and TSS on the CPU this runs
 * on. Returns the top of the main stack, to which the caller changes.
 */
uint64_t desc_init_cpu(uint32_t id);

/* True if an address lies in a stack that is mapped; the backtrace reads nothing else. */
bool desc_is_stack(uint64_t address);

/* True if an address lies in the guard page of a stack. */
bool desc_is_guard(uint64_t address);

/* Continues on another stack; `function` never returns. In entry.S. */
_Noreturn void stack_switch(uint64_t top, void (*function)(void));

#endif
