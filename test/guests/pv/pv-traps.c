/*
 * Exceptions, events, callbacks and the iret hypercall: which frame is pushed, where, and what the
 * processor holds then; in the kernel and in a program with page tables of its own.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-traps";

#define CS_KERNEL 0xe030ul /* as the guest's kernel sees its own code segment in a frame */
#define CS_USER   0xe033ul
#define SS_FLAT   0xe02bul
#define IF        0x200ul
#define TF        0x100ul

#define PATTERN        0x1122334455667788ul
#define KERNEL_SP      ((uint64_t)&kernel_stack[sizeof(kernel_stack)])
#define USER_SP        ((uint64_t)&user_stack[sizeof(user_stack)])
#define MSR_FS         0xc0000100u
#define MSR_GS         0xc0000101u
#define MSR_GS_SWAPPED 0xc0000102u
#define CR0_TS_BIT     8ul

static uint8_t kernel_stack[4096] __attribute__((aligned(16)));
static uint8_t user_stack[4096] __attribute__((aligned(16)));

static uint8_t mask(void)
{
    return pv_shared.vcpu_info[0].evtchn_upcall_mask;
}

static void expect(uint64_t vector, uint64_t error, const char *what)
{
    pv_check(pv_fault.vector, vector, what);
    pv_check(pv_fault.error, error, what);
}

/* ---- exceptions of the kernel ---- */

static void check_exceptions(void)
{
    uint64_t value = 0;
    uint32_t low = 1;

    pv_check(PV_TRY("ud2", ), false, "ud2");
    expect(6, 0, "#UD");
    pv_check(pv_fault.at.cs & 0xffff, CS_KERNEL, "CS of the kernel in a frame");
    pv_check(pv_fault.at.ss, SS_FLAT, "SS of the kernel in a frame");
    pv_check(PV_TRY("divl %1", "+a"(low), "r"(0), "d"(0)), false, "a division by zero");
    expect(0, 0, "#DE");
    pv_check(PV_TRY("int3", ), false, "int3");
    expect(3, 0, "#BP");
    pv_check(PV_TRY("int $0x1f", ), false, "int 0x1f");
    expect(0x1f, 0, "the vector of INT n");
    pv_check(pv_load(0x8000000000000000ul, &value), false, "an address that is not canonical");
    expect(13, 0, "#GP");
    pv_check(pv_load(0x40000000, &value), false, "an address that is not mapped");
    expect(14, 0, "#PF of a read in the kernel");
    pv_check(pv_fault.cr2, 0x40000000, "CR2");
    pv_check(pv_store(0x40000008, 0), false, "a write to it");
    expect(14, 2, "#PF of a write in the kernel");
    pv_check(PV_TRY("pushfq; orq $0x100, (%%rsp); popfq; nop", ), false, "a single step");
    expect(1, 0, "#DB");
    pv_check(pv_fault.at.rflags & TF, TF, "TF in the frame of a single step");
    pv_check(PV_TRY("vmmcall", ), false, "VMMCALL");
    expect(6, 0, "#UD of VMMCALL");
    pv_check(PV_TRY("mov %0, %%ds", , "r"(0x1008)), false, "a selector of an empty descriptor");
    expect(13, 0x1008, "#GP of a selector");
    pv_check(PV_TRY("mov %0, %%ds", , "r"(0xe008)), false, "a selector of the hypervisor's");
    expect(13, 0xe008, "#GP of the hypervisor's selector");
    pv_check(PV_TRY("mov %0, %%ds", , "r"(0xe040)), false, "the TSS as a data segment");
}

/* ---- instructions that are carried out ---- */

static bool read_msr(uint32_t msr, uint64_t *value)
{
    uint32_t low = 0, high = 0;
    bool     fine = PV_TRY("rdmsr", ARGUMENTS("+a"(low), "+d"(high)), "c"(msr));

    *value = (uint64_t)high << 32 | low;
    return fine;
}

static bool write_msr(uint32_t msr, uint64_t value)
{
    return PV_TRY("wrmsr", , "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static void check_privileged(void)
{
    uint64_t value = 0, cell = PATTERN;

    pv_check(write_msr(MSR_FS, (uint64_t)&cell), true, "writing the FS base");
    __asm__ volatile("movq %%fs:0, %0" : "=r"(value));
    pv_check(value, PATTERN, "a read through FS");
    pv_check(read_msr(MSR_FS, &value), true, "reading the FS base");
    pv_check(value, (uint64_t)&cell, "the FS base");
    pv_check(write_msr(MSR_FS, 0x8000000000000000ul), false, "an FS base that is not canonical");
    expect(13, 0, "#GP of WRMSR");
    pv_check(write_msr(MSR_GS, (uint64_t)&cell), true, "writing the GS base");
    __asm__ volatile("movq %%gs:0, %0" : "=r"(value));
    pv_check(value, PATTERN, "a read through GS");
    pv_check(write_msr(MSR_GS_SWAPPED, 0x1234), true, "writing the program's GS base");
    pv_check(write_msr(0xc0000082, 0x1000), false, "writing LSTAR");
    pv_check(read_msr(0xc0000082, &value), false, "reading LSTAR");
    pv_check(PV_TRY("movq %%cr0, %0", "=r"(value)), true, "reading CR0");
    pv_check(value & 0x80000001, 0x80000001, "CR0");
    pv_check(PV_TRY("movq %%cr3, %0", "=r"(value)), true, "reading CR3");
    pv_check(value, pv_mfn((void *)pv_info->pt_base) * PAGE, "CR3");
    pv_check(PV_TRY("lgdt %0", , "m"(cell)), false, "LGDT");
    expect(13, 0, "#GP of LGDT");
    pv_check(PV_TRY("mov %0, %%cr3", , "r"(0x1000ul)), false, "writing CR3");
    pv_check(PV_TRY("swapgs", ), false, "SWAPGS");
    pv_check(PV_TRY("wbinvd", ), true, "WBINVD");
}

static void check_ts(void)
{
    uint64_t cr0;

    pv_call(__HYPERVISOR_fpu_taskswitch, 1, 0, 0, 0);
    __asm__ volatile("movq %%cr0, %0" : "=r"(cr0));
    pv_check(cr0 & CR0_TS_BIT, CR0_TS_BIT, "CR0.TS after fpu_taskswitch");
    pv_check(PV_TRY("fninit", ), false, "FNINIT with TS set");
    expect(7, 0, "#NM");
    pv_check(PV_TRY("fninit", ), true, "FNINIT after #NM, which clears TS");
    pv_call(__HYPERVISOR_fpu_taskswitch, 1, 0, 0, 0);
    pv_check(PV_TRY("clts; fninit", ), true, "FNINIT after CLTS");
}

/* The iret hypercall loads RAX, whatever its value. */
static void check_rax(void)
{
    static const uint64_t values[] = { 0, 1, ~0ul, 1ul << 63, (uint64_t)-XEN_ENOSYS };

    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint64_t rax = values[i];

        pv_check(PV_TRY("int3", "+a"(rax), ), false, "INT3");
        pv_check(rax, values[i], "RAX after the iret hypercall");
    }
}

/* ---- events ---- */

static void check_events(void)
{
    struct evtchn_bind_ipi bind = { .vcpu = 0 };
    struct evtchn_send     send;
    unsigned               before = pv_events;

    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, (uint64_t)&bind, 0, 0),
        0, "bind_ipi");
    send.port = bind.port;
    pv_check(mask(), 1, "the mask at first");
    pv_call(__HYPERVISOR_event_channel_op, EVTCHNOP_send, (uint64_t)&send, 0, 0);
    pv_check(pv_events, before, "events that came though they are masked");
    pv_shared.vcpu_info[0].evtchn_upcall_mask = 0;
    pv_call(__HYPERVISOR_xen_version, XENVER_version, 0, 0, 0);
    pv_check(pv_events, before + 1, "events after they were let through");
    pv_check(mask(), 0, "the mask after the handler");
    for (unsigned i = 0; i < 64; i++)
        pv_shared.evtchn_pending[i] = 0;

    /* The frame of an event says that they were not masked, and the handler runs with them masked. */
    pv_fault.vector = ~0ul;
    __asm__ volatile("movq $1f, pv_resume\n\tsyscall\n1:"
                     :
                     : "a"(__HYPERVISOR_event_channel_op), "D"(EVTCHNOP_send), "S"(&send)
                     : "memory", "rcx", "r11", "rdx", "r8", "r9", "r10");
    pv_check(pv_fault.vector, VECTOR_EVENT, "what came after the send");
    pv_check(pv_fault.mask, 1, "the mask in the handler");
    pv_check(pv_fault.at.cs >> 32 & 0xff, 0, "the mask that the frame says");
    pv_check(pv_fault.at.rflags & IF, IF, "IF in the frame");
    pv_shared.vcpu_info[0].evtchn_upcall_pending = 0;
    pv_shared.vcpu_info[0].evtchn_upcall_mask = 1;

    /* Masked: an exception's frame has IF clear, and its own handler does not change the mask. */
    pv_check(PV_TRY("ud2", ), false, "ud2 with events masked");
    pv_check(pv_fault.at.rflags & IF, 0, "IF in a frame with events masked");
    pv_check(pv_fault.at.cs >> 32 & 0xff, 1, "the mask in a frame with events masked");
}

/* ---- refused returns ---- */

static void check_failsafe(void)
{
    pv_visit((uint64_t)pv_vectors, 0x1000, 0x202, KERNEL_SP, SS_FLAT, 0);
    pv_check(pv_fault.vector, VECTOR_FAILSAFE, "a return to a code segment that does not exist");
    pv_check(pv_fault.at.cs & 0xffff, 0x1000, "CS in the frame of the failsafe callback");
    pv_check(pv_fault.at.rip, (uint64_t)pv_vectors, "RIP in it");
    pv_visit((uint64_t)pv_vectors, CS_KERNEL, 0x202, KERNEL_SP, 0x1003, 0);
    pv_check(pv_fault.vector, VECTOR_FAILSAFE, "a return to a stack segment that does not exist");
    pv_visit((uint64_t)pv_vectors, 0xe008, 0x202, KERNEL_SP, SS_FLAT, 0);
    pv_check(pv_fault.vector, VECTOR_FAILSAFE, "a return to the hypervisor's code segment");
    pv_visit((uint64_t)pv_vectors, CS_KERNEL, 0x202, KERNEL_SP, 0xe010, 0);
    pv_check(pv_fault.vector, VECTOR_FAILSAFE, "a return to the hypervisor's stack segment");
    pv_visit(0x8000000000000000ul, CS_KERNEL, 0x202, KERNEL_SP, SS_FLAT, 0);
    pv_check(pv_fault.vector == VECTOR_FAILSAFE || pv_fault.vector == 13, true,
             "a return to an address that is not canonical");
}

/* ---- a program ---- */

/* Code that runs in the guest's user mode. */
extern const char user_syscall[], user_syscall_end[], user_fault[], user_int3[], user_int31[],
    user_hlt[], user_ud[], user_sysenter[];
__asm__(".text\n"
        "user_syscall: syscall\n"
        "user_syscall_end: ud2\n"
        "user_fault: movq 0x40000000, %rax\n"
        "user_int3: int3\n"
        "user_int31: int $0x1f\n"
        "user_hlt: hlt\n"
        "user_ud: ud2\n"
        "user_sysenter: sysenter\n");

/* A root for programs: the kernel's first entry, and nothing else. */
static uint64_t user_root[512] __attribute__((aligned(4096)));

static void make_user_root(void)
{
    const uint64_t *kernel = (const uint64_t *)pv_info->pt_base;

    user_root[0] = kernel[0];
    pv_check((uint64_t)pv_protect(user_root, false), 0, "making a table read-only");
    pv_check((uint64_t)pv_mmuext(MMUEXT_PIN_L4_TABLE, pv_mfn(user_root), 0), 0, "pinning it");
    pv_check((uint64_t)pv_mmuext(MMUEXT_NEW_USER_BASEPTR, pv_mfn(user_root), 0), 0,
             "making it the user's root");
}

static void visit_user(const char *code, uint64_t flags)
{
    pv_visit((uint64_t)code, CS_USER, 0x202, USER_SP, SS_FLAT, flags);
}

/* Every bounce from a program begins at the kernel's stack. */
static void from_user(uint64_t vector, uint64_t error, const char *what)
{
    expect(vector, error, what);
    pv_check(pv_fault.at.cs & 0xffff, CS_USER, "CS of a program in a frame");
    pv_check(pv_fault.at.rsp, USER_SP, "RSP of a program in a frame");
    pv_check(pv_fault.frame >= KERNEL_SP - 96 && pv_fault.frame < KERNEL_SP, true,
             "where the frame is");
}

static void check_program(void)
{
    uint64_t cell = PATTERN, value;

    make_user_root();
    pv_check((uint64_t)pv_call(__HYPERVISOR_stack_switch, SS_FLAT, KERNEL_SP, 0, 0), 0,
             "stack_switch");
    visit_user(user_syscall, 0);
    from_user(VECTOR_SYSCALL, 0, "a system call");
    pv_check(pv_fault.at.rip, (uint64_t)user_syscall_end, "RIP after a system call");
    pv_check(pv_fault.mask, 1, "the mask in the system call's handler");
    pv_shared.vcpu_info[0].evtchn_upcall_mask = 1;
    visit_user(user_fault, 0);
    from_user(14, 4, "#PF of a program");
    visit_user(user_int3, 0);
    from_user(3, 0, "INT3 of a program");
    visit_user(user_int31, 0);
    from_user(13, 0x1f * 8 + 2, "INT n of a program, which the kernel does not allow");
    visit_user(user_hlt, 0);
    from_user(13, 0, "HLT of a program");
    visit_user(user_ud, 0);
    from_user(6, 0, "UD2 of a program");

    /* The program's GS base is its own. */
    pv_check(write_msr(MSR_GS, (uint64_t)&cell), true, "the kernel's GS base");
    pv_call(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER, 0x5678, 0, 0);
    visit_user(user_ud, 0);
    __asm__ volatile("movq %%gs:0, %0" : "=r"(value));
    pv_check(value, PATTERN, "the kernel's GS after a program");
    pv_check(read_msr(MSR_GS_SWAPPED, &value), true, "reading the program's GS base");
    pv_check(value, 0x5678, "the program's GS base");
}

static bool is_intel(void)
{
    uint32_t eax = 0, ebx, ecx, edx;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
    return ebx == 0x756e6547; /* "Genu" */
}

/* AMD's has no SYSENTER in long mode; Intel's forgets where it came from. */
static void check_sysenter(void)
{
    struct callback_register r = { .type = CALLBACKTYPE_sysenter,
                                   .flags = CALLBACKF_mask_events,
                                   .address =
                                       (uint64_t)pv_vectors + VECTOR_SYSENTER * VECTOR_SIZE };

    visit_user(user_sysenter, 0);
    from_user(is_intel() ? 13 : 6, 0, "SYSENTER without a handler");
    pv_check((uint64_t)pv_call(__HYPERVISOR_callback_op, CALLBACKOP_register, (uint64_t)&r, 0, 0),
             0, "a handler for SYSENTER");
    if (is_intel()) {
        static const uint64_t flags[] = { 0x202, 0x202 | TF, 0x4202, 0x40202 };

        for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
            pv_shared.vcpu_info[0].evtchn_upcall_mask = 0;
            pv_visit((uint64_t)user_sysenter, CS_USER, flags[i], USER_SP, SS_FLAT, 0);
            expect(VECTOR_SYSENTER, 0, "SYSENTER");
            pv_check(pv_fault.at.cs & 0xffff, 3, "CS after SYSENTER");
            pv_check(pv_fault.at.rip | pv_fault.at.rsp, 0, "RIP and RSP after SYSENTER");
            pv_check(pv_fault.at.rflags, flags[i], "RFLAGS after SYSENTER");
            pv_check(pv_fault.frame >= KERNEL_SP - 96 && pv_fault.frame < KERNEL_SP, true,
                     "where its frame is");
            pv_check(pv_fault.mask, 1, "the mask in the handler of SYSENTER");
            pv_shared.vcpu_info[0].evtchn_upcall_mask = 1;
        }
    }
    pv_check((uint64_t)pv_call(__HYPERVISOR_callback_op, CALLBACKOP_unregister, (uint64_t)&r, 0, 0),
             0, "no handler for SYSENTER");
    visit_user(user_sysenter, 0);
    from_user(is_intel() ? 13 : 6, 0, "SYSENTER without a handler again");
}

/* A breakpoint on data, in the kernel and while the hypervisor writes for it. */
static void check_debug(void)
{
    static volatile uint64_t watched;

    pv_check((uint64_t)pv_call(__HYPERVISOR_set_debugreg, 0, 0xffff830000000000ul, 0, 0),
             (uint64_t)-XEN_EPERM, "a breakpoint in the hypervisor");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_debugreg, 0, (uint64_t)&watched, 0, 0), 0, "DR0");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_debugreg, 7, 0x20001, 0, 0), (uint64_t)-XEN_EPERM,
             "a breakpoint on ports");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_debugreg, 7, 0x90001, 0, 0), 0, "DR7");
    pv_check(PV_TRY("movq $1, %0", "=m"(watched)), false, "a write to what is watched");
    expect(1, 0, "#DB of a breakpoint");
    pv_check((uint64_t)pv_call(__HYPERVISOR_get_debugreg, 6, 0, 0, 0) & 1, 1, "DR6");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_debugreg, 7, 0, 0, 0), 0, "no breakpoint");
    pv_check(PV_TRY("movq $1, %0", "=m"(watched)), true, "a write to what was watched");
}

void pv_main(void)
{
    check_exceptions();
    check_privileged();
    check_ts();
    check_rax();
    check_events();
    check_failsafe();
    check_program();
    check_sysenter();
    check_debug();
}
