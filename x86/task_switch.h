/*
 * Task switches, made by hand: APM vol. 2, 12.2 (TSS, task gates), 12.4 (switching), 8.2.11 (#TS);
 * Intel SDM vol. 3, 8.3 and table 8-1, where the APM says less.
 *
 * Outside of long mode (but for LTR), CR0.PE set. Registers are changed where they stand; memory is reached by
 * callbacks, by linear address, as implicit accesses of the supervisor. Until the outgoing state is
 * in its TSS nothing but accessed bits has changed, and a fault lets the guest begin again; from
 * then on an exception belongs to the new task.
 */
#ifndef X86_TASK_SWITCH_H
#define X86_TASK_SWITCH_H

#include "x86/emulate.h"

/* A TSS of 32 bits, APM vol. 2, figure 12-6. Segments are in the order of SEG_*, 4 bytes each. */
enum {
    TASK_LINK = 0x00,
    TASK_CR3 = 0x1c,
    TASK_EIP = 0x20,
    TASK_EFLAGS = 0x24,
    TASK_EAX = 0x28,
    TASK_ES = 0x48,
    TASK_CS = 0x4c,
    TASK_SS = 0x50,
    TASK_GS = 0x5c,
    TASK_LDT = 0x60,
    TASK_TRAP = 0x64,
    TASK_BYTES = 0x68,
};

/* One of 16 bits: 2 bytes each; ES, CS, SS and DS only. */
enum {
    TASK16_IP = 0x0e,
    TASK16_FLAGS = 0x10,
    TASK16_AX = 0x12,
    TASK16_ES = 0x22,
    TASK16_LDT = 0x2a,
    TASK16_BYTES = 0x2c,
};

/* Behind the six that hold segments, in the order of the VMCB. */
enum { TASK_GDTR = SEGMENTS, TASK_LDTR, TASK_IDTR, TASK_TR, TASK_REGISTERS };

struct task_cpu {
    uint64_t          *gpr; /* 16 */
    uint64_t           rip, rflags, dr7;
    uint64_t           cr0; /* the guest's; TS is set by the callback `enter` */
    uint8_t            cpl;
    struct emu_segment segment[TASK_REGISTERS];
};

struct task_memory {
    void *context;
    /* False: a page fault, of which the callback keeps the details. At most TASK_BYTES bytes. */
    bool (*read)(void *context, uint64_t linear, void *to, unsigned length, enum emu_access access);
    bool (*write)(void *context, uint64_t linear, const void *from, unsigned length);
    /* Sets CR0.TS, and loads CR3 unless `cr3` is NULL; false: that is #GP(0), and CR3 stays. */
    bool (*enter)(void *context, const uint32_t *cr3);
};

enum task_source { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };

struct task_request {
    enum task_source source;
    uint16_t         selector;  /* of the incoming TSS */
    uint32_t         next_eip;  /* where the outgoing task goes on one day */
    bool             resume;    /* RF in the EFLAGS that are saved */
    bool             external;  /* an event that is no INT instruction: EXT in error codes */
    bool             has_error; /* of the event: an error code goes onto the new stack */
    uint32_t         error;
};

enum task_outcome {
    TASK_DONE,
    TASK_EXCEPTION,  /* inject it */
    TASK_PAGE_FAULT, /* a callback said false */
};

struct task_result {
    enum task_outcome outcome;
    bool              in_new_task; /* the switch has been made, whatever happened then */
    bool              trap;        /* DONE: T is set in the new TSS: set DR6.BT, inject #DB */
    uint8_t           vector;
    uint32_t          error;
};

struct task_result task_switch(struct task_cpu *cpu, const struct task_memory *memory,
                               const struct task_request *request);

enum task_found { TASK_FOUND, TASK_NONE, TASK_FOUND_FAULT };

/*
 * Does a far JMP or CALL to this selector, the delivery of this vector, an IRET with NT set, lead
 * to a task, by a gate or not? FOUND gives the selector of the TSS, unchecked. NONE: what happens
 * is no task switch, be it an exception. FAULT: a callback said so.
 */
enum task_found task_find_branch(const struct task_cpu *cpu, const struct task_memory *memory,
                                 uint16_t selector, uint16_t *tss);
enum task_found task_find_event(const struct task_cpu *cpu, const struct task_memory *memory,
                                uint8_t vector, bool software, uint16_t *tss);
enum task_found task_find_return(const struct task_cpu *cpu, const struct task_memory *memory,
                                 uint16_t *tss);

/* LTR, at CPL 0: APM vol. 3. `long_mode`: descriptors of TSSs have 16 bytes, APM vol. 2, 4.8.3. */
struct task_result task_load_register(struct task_cpu *cpu, const struct task_memory *memory,
                                      uint16_t selector, bool long_mode);

/*
 * What writes into a page of descriptors besides: the accessed bit of the one that holds `linear`.
 * Sets it, and says whether it did; false: no code or data descriptor of the GDT or LDT is there, or it has it already.
 */
bool task_mark_accessed(const struct task_cpu *cpu, const struct task_memory *memory,
                        uint32_t linear);

#endif
