/*
 * What the hypervisor needs of the processor and its board. x86/ provides it; nothing
 * here names a vendor.
 *
 * Interrupts are taken in two places only, with no lock held: machine_idle, and the moment
 * after a guest was left because of one. A handler only sets a bit in cpu->pending. The
 * rest of the hypervisor runs with interrupts off.
 */
#ifndef HV_MACHINE_H
#define HV_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paging/frame.h"
#include "paging/mode.h"

struct vcpu;
struct domain;

/* Work that waits for this CPU's main loop. */
enum {
    PENDING_TIMER = 1,   /* the alarm went off                    */
    PENDING_SERIAL = 2,  /* characters have come                  */
    PENDING_RESCHED = 4, /* somebody else should run, or the current vCPU may not go on */
};

struct cpu {
    uint32_t     pending; /* PENDING_*, set by handlers */
    uint32_t     id;
    struct vcpu *current;       /* the vCPU in or last in the guest on this CPU, or NULL */
    uint64_t     stretch_start; /* ticks at the last preemption point */
    uint64_t     stretch_max;   /* longest stretch of hypervisor work, in ticks... */
    const char  *stretch_what;  /* ...and what it was                           */
    uint64_t     entries;       /* VM entries made */
};

/* The CPU this runs on; found from the stack. */
struct cpu *this_cpu(void);

/* ---- time ---- */
uint64_t machine_ticks(void);          /* TSC */
uint64_t machine_ticks_per_ms(void);   /* measured at boot */
uint64_t machine_now(void);            /* nanoseconds since boot, never goes back */
uint64_t machine_wallclock(void);      /* seconds since 1970 at machine_now() == 0, from the RTC */
void     machine_alarm(uint64_t when); /* interrupt at this machine_now(); UINT64_MAX: never */
void     machine_idle(void);           /* wait for an interrupt, unless something is pending */

/*
 * Ticks to nanoseconds as pvclock does it: shift the ticks left by *shift (right if it is
 * negative), multiply by *mul, drop the low 32 bits. machine_now() counts with the same pair.
 */
void machine_tsc_scale(uint32_t *mul, int8_t *shift);

/* ---- the serial line ---- */
void machine_serial_put(char c);
int  machine_serial_get(void); /* -1 if nothing has come */

/* ---- the end ---- */
_Noreturn void machine_exit(unsigned status); /* isa-debug-exit, then halts for ever */
_Noreturn void machine_panic_registers(const char *message); /* backtrace and stop; see panic() */

/* ---- what the boot loader brought ---- */

/* A file given with the hypervisor. Its memory stays the hypervisor's. */
struct machine_module {
    const char *string; /* its command line: the file's name, then words */
    const void *data;
    size_t      size; /* bytes */
};
const char                  *machine_command_line(void); /* without the image's name */
unsigned                     machine_modules(void);      /* how many */
const struct machine_module *machine_module(unsigned i); /* i < machine_modules() */

/* The rest of the hypervisor; boot ends here, on CPU 0, with interrupts off. */
_Noreturn void hv_main(void);

/*
 * Checks of the platform itself, by name (command line word selftest=NAME): "panic" and
 * "stack" stop the machine on purpose, the others print what they found. False: not as it should
 * be, or no such name.
 */
bool machine_selftest(const char *name);

/* ---- memory ---- */
extern struct phys machine_phys; /* the direct map and the frame table */

/* ---- vCPUs ---- */

/* Makes the processor ready to run guests; false, after printing why, if it cannot. */
must_check bool machine_enable_guests(void);

/* True if others than PV guests can run: the processor has what they need. */
/* CPUID of this processor, in the order of the ABI's hw_cap: 1.EDX, 1.ECX, 80000001.EDX, .ECX, D/1.EAX,
 * 7.EBX, 7.ECX, 80000007.EDX. */
void machine_cpu_features(uint32_t caps[8]);

/* The i-th leaf of CPUID as guests see it, with its number; false: there are not so many. */
must_check bool machine_guest_cpuid(unsigned i, uint32_t *leaf, uint32_t *a, uint32_t *b,
                                    uint32_t *c, uint32_t *d);

bool machine_offers_hvm(void);

/*
 * How a vCPU starts: 32-bit protected mode, flat segments, paging off (the PVH entry); or in the
 * kernel of a PV guest, on its tables.
 */
struct machine_start {
    uint64_t rip, rax, rbx;
    uint64_t rsi, rsp; /* PV only */
};

/* What the processor offers to guests, as their CPUID says. */
struct pt_features machine_guest_features(void);

/* True if the processor can walk two levels of tables. */
bool machine_offers_nested(void);

/* How many vCPUs a domain may have: as many as can be started in it. */
unsigned machine_vcpus_max(void);

/*
 * The kind of paging of its domain has changed (hv/kind.c): the processor's side follows. The
 * vCPU has left the guest, and goes on as if nothing had happened.
 */
void machine_vcpu_set_kind(struct vcpu *v);

/* Allocates the processor's side of a vCPU; false when memory is short. */
must_check bool machine_vcpu_create(struct vcpu *v, const struct machine_start *start);
void            machine_vcpu_destroy(struct vcpu *v);

/*
 * Runs the guest until vcpu_may_run(v) says no: its time is over, it blocked, its domain
 * stopped, or something is pending for this CPU.
 */
void machine_vcpu_run(struct vcpu *v);

/*
 * The devices of a PC board, for domains whose kernel expects them. Without them (PVH) the
 * domain's `platform` is NULL. Created before the vCPUs; false when memory is short.
 */
must_check bool machine_platform_create(struct domain *d);
void            machine_platform_destroy(struct domain *d); /* does nothing without them */
/* A character typed at the serial line; false: there is no room, and it is lost. */
bool machine_platform_type(struct domain *d, char c);

/* True when the vCPU has an interrupt of its own making (local APIC) to take. */
bool machine_vcpu_has_interrupt(const struct vcpu *v);

/* Guest TSC minus the machine's. */
uint64_t machine_vcpu_tsc_offset(const struct vcpu *v);

/* CPL and mode of the guest right now, for hypercalls. */
bool machine_vcpu_is_64bit(const struct vcpu *v);

/* True if the processor itself walks two levels of tables for it: never under shadow paging. */
bool machine_vcpu_uses_nested(const struct vcpu *v);

/* ---- a vCPU's state as the ABI's records have it: xen/arch-x86/hvm/save.h. Not of a PV domain's ---- */
struct hvm_hw_cpu;
struct hvm_hw_lapic;
struct hvm_hw_lapic_regs;
struct hvm_hw_mtrr;

/* While it is not in the guest. */
void machine_vcpu_save(struct vcpu *v, struct hvm_hw_cpu *cpu);
void machine_vcpu_save_lapic(const struct vcpu *v, struct hvm_hw_lapic *lapic);
void machine_vcpu_save_lapic_regs(const struct vcpu *v, struct hvm_hw_lapic_regs *regs);
void machine_vcpu_save_mtrr(const struct vcpu *v, struct hvm_hw_mtrr *mtrr);

/*
 * The other way, before its domain has run. False, and nothing has changed: its processor cannot have this
 * state, or memory is short. The local APIC's registers come after its base, which sets them anew.
 */
must_check bool machine_vcpu_load(struct vcpu *v, const struct hvm_hw_cpu *cpu);
must_check bool machine_vcpu_load_lapic(struct vcpu *v, const struct hvm_hw_lapic *lapic);
must_check bool machine_vcpu_load_lapic_regs(struct vcpu *v, const struct hvm_hw_lapic_regs *regs);
must_check bool machine_vcpu_load_mtrr(struct vcpu *v, const struct hvm_hw_mtrr *mtrr);

/* ---- what a listener sees of a vCPU, and does to it: hv/vm_event.h ---- */
struct vm_event_regs_x86;

/* Its registers, while it is not in the guest. */
void machine_vcpu_event_regs(const struct vcpu *v, struct vm_event_regs_x86 *regs);
/* General registers, RIP and the flags, as far as a program could set them. */
void machine_vcpu_event_set_regs(struct vcpu *v, const struct vm_event_regs_x86 *regs);
/* What it does next, one instruction or the delivery of an event, the monitor's rights permit. */
void machine_vcpu_excuse(struct vcpu *v, bool without_writing);
/* Each instruction from now on is told (access_stepped), or no more. */
void machine_vcpu_single_step(struct vcpu *v, bool on);

/* What its domain's listener wants to be told of has changed: the processor's side follows. */
void machine_vcpu_watch(struct vcpu *v);
/* True if writes to this MSR come to the hypervisor; those of a PV guest do, all of them. */
must_check bool machine_msr_is_seen(uint32_t msr);
/*
 * An exception (below 32) or a software interrupt of so many bytes is what it finds next; `error` has none
 * if it is ~0. False: another event stands there already, or there is no such.
 */
struct machine_event {
    uint8_t  vector, type; /* XEN_DMOP_EVENT_* */
    uint8_t  length;       /* of a software interrupt's instruction */
    uint32_t error;
    uint64_t cr2; /* of a page fault */
};
must_check bool machine_vcpu_inject(struct vcpu *v, const struct machine_event *event);

/* Prints registers (monitor command `vcpu`). */
void machine_vcpu_show(const struct vcpu *v);

/* ---- exits by kind, for the monitor ---- */
struct machine_exit_stat {
    const char *name;
    uint64_t    count, ticks; /* ticks spent in the hypervisor for it */
};
/* The i-th kind of exit of this vCPU; false when there is no such kind. */
bool machine_vcpu_exit_stat(const struct vcpu *v, unsigned i, struct machine_exit_stat *stat);

/* Functions whose names the backtrace and the monitor print. */
const char *machine_symbol(uint64_t address, uint64_t *offset);

#endif
