/*
 * What hypercalls answer to a guest without privileges: memory that is exchanged, all of it or
 * nothing; other domains; and the calls that are refused, not known, or harmless.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-calls";

#define FLAGS    (P | W | U | A | D)
#define MANY     600 /* frames that are exchanged in one call */
#define NOBODY   0x7ff4
#define ERROR(e) ((uint64_t)-XEN_##e)

static uint64_t page[512] __attribute__((aligned(4096)));
static uint64_t out[MANY] __attribute__((aligned(4096))), in[MANY];

static const uint64_t *m2p(void)
{
    return (const uint64_t *)MACH2PHYS_VIRT_START;
}

static uint64_t machine(const void *p)
{
    return pv_mfn(p) * PAGE + ((uint64_t)p & (PAGE - 1));
}

static uint64_t call(uint64_t nr, uint64_t a, const void *b, uint64_t c)
{
    return (uint64_t)pv_call(nr, a, (uint64_t)b, c, 0);
}

/* ---- exchange ---- */

static struct xen_memory_exchange exchange_of(uint64_t ins, unsigned in_order, uint64_t outs,
                                              unsigned out_order)
{
    struct xen_memory_exchange x = {
        .in = { .nr_extents = ins, .extent_order = in_order, .domid = DOMID_SELF },
        .out = { .nr_extents = outs, .extent_order = out_order, .domid = DOMID_SELF },
    };

    x.in.extent_start.p = (void *)in;
    x.out.extent_start.p = (void *)out;
    return x;
}

static uint64_t exchange(struct xen_memory_exchange *x)
{
    return call(__HYPERVISOR_memory_op, XENMEM_exchange, x, 0);
}

/* Frame numbers from the end of memory, which nothing maps; where new ones are to be seen. */
static void fill(unsigned count)
{
    const uint64_t *p2m = (const uint64_t *)pv_info->mfn_list;

    for (unsigned i = 0; i < count; i++) {
        out[i] = pv_info->nr_pages - 1 - i;
        in[i] = p2m[out[i]];
    }
}

/* The new frames become those of the p2m. */
static void adopt(unsigned count)
{
    uint64_t *p2m = (uint64_t *)pv_info->mfn_list;

    for (unsigned i = 0; i < count; i++) {
        uint64_t pfn = pv_info->nr_pages - 1 - i;

        pv_check(m2p()[out[i]], pfn, "the M2P of a new frame");
        pv_check(m2p()[in[i]] == pfn, false, "the M2P of an old frame");
        p2m[pfn] = out[i];
    }
}

static uint64_t reservation(void)
{
    domid_t self = DOMID_SELF;

    return call(__HYPERVISOR_memory_op, XENMEM_current_reservation, &self, 0);
}

static void check_exchange(void)
{
    struct xen_memory_exchange x = exchange_of(MANY, 0, MANY, 0);
    uint64_t                   pages = reservation(), entry = *pv_entry(page), first;

    fill(MANY);
    pv_check(exchange(&x), 0, "an exchange of many frames");
    pv_check(x.nr_exchanged, MANY, "how many were exchanged");
    adopt(MANY);
    pv_check(reservation(), pages, "the reservation afterwards");
    pv_check((uint64_t)pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)page,
                               out[MANY - 1] * PAGE | FLAGS, UVMF_INVLPG, 0),
             0, "mapping a new frame");
    for (unsigned i = 0; i < 512; i++)
        pv_check(page[i], 0, "what is in a new frame");
    pv_check((uint64_t)pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)page,
                               in[MANY - 1] * PAGE | FLAGS, UVMF_INVLPG, 0),
             ERROR(EINVAL), "mapping an old one");
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)page, entry, UVMF_INVLPG, 0), 0,
        "the page as it was");

    fill(8);
    first = out[0] = out[7]; /* numbers rise within a block */
    x = exchange_of(8, 0, 1, 3);
    pv_check(exchange(&x), 0, "eight frames for one block");
    pv_check(x.nr_exchanged, 8, "how many were exchanged");
    for (unsigned i = 0; i < 8; i++) {
        pv_check(m2p()[out[0] + i], first + i, "the M2P of a frame in a block");
        ((uint64_t *)pv_info->mfn_list)[first + i] = out[0] + i;
    }
    in[0] = out[0];
    for (unsigned i = 0; i < 8; i++)
        out[i] = pv_info->nr_pages - 1 - i;
    x = exchange_of(1, 3, 8, 0);
    pv_check(exchange(&x), 0, "a block for eight frames");
    in[0] = ~0ul;
    for (unsigned i = 1; i < 8; i++)
        in[i] = ~0ul >> 24;
    for (unsigned i = 0; i < 8; i++)
        ((uint64_t *)pv_info->mfn_list)[pv_info->nr_pages - 1 - i] = out[i];
    pv_check(reservation(), pages, "the reservation in the end");
}

/* The piece that cannot be exchanged is as it was; those before it are done. */
static void check_exchange_undo(void)
{
    struct xen_memory_exchange x = exchange_of(8, 0, 1, 3);
    uint64_t                   pages = reservation(), entry = *pv_entry(page), kept;
    unsigned                   bad;

    for (bad = 0; bad < 8; bad += 7) {
        fill(8);
        in[bad] = pv_mfn(page); /* it is mapped */
        pv_check(exchange(&x), ERROR(EINVAL), "an exchange with a frame that is mapped");
        pv_check(x.nr_exchanged, 0, "how many were exchanged");
        in[bad] = 0x200;
        pv_check(exchange(&x), ERROR(EINVAL), "with the hypervisor's frame");
        in[bad] = ~0ul;
        pv_check(exchange(&x), ERROR(EINVAL), "with a wild frame");
        in[bad] = in[4];
        pv_check(exchange(&x), ERROR(EINVAL), "with the same frame twice");
    }
    fill(8);
    kept = in[0];
    x.out.extent_start.p = (void *)(MACH2PHYS_VIRT_START + 64);
    pv_check(exchange(&x), ERROR(EFAULT), "new frames' numbers for the M2P");
    x.out.extent_start.p = (void *)0xffff830000200000ul;
    pv_check(exchange(&x), ERROR(EFAULT), "new frames' numbers for the hypervisor");
    x.out.extent_start.p = (void *)(~0ul - 7);
    pv_check(exchange(&x), ERROR(EFAULT), "new frames' numbers for the end of all addresses");
    x.out.extent_start.p = (void *)out;
    x.in.extent_start.p = (void *)0xffff830000200000ul;
    pv_check(exchange(&x), ERROR(EFAULT), "old frames' numbers from the hypervisor");
    x.in.extent_start.p = (void *)in;
    x.nr_exchanged = ~0ul / 2;
    pv_check(exchange(&x), ERROR(EINVAL), "a count that wraps");
    x.nr_exchanged = 3;
    pv_check(exchange(&x), ERROR(EINVAL), "a count within a piece");
    pv_check(reservation(), pages, "the reservation");
    pv_check(m2p()[kept], out[0], "the M2P of a frame that was not exchanged");
    pv_check((uint64_t)pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)page, kept * PAGE | FLAGS,
                               UVMF_INVLPG, 0),
             0, "mapping a frame that was not exchanged");
    pv_check(pv_store((uint64_t)page, 1), true, "writing it");
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)page, entry, UVMF_INVLPG, 0), 0,
        "the page as it was");
    x = exchange_of(1, 4, 1, 4);
    pv_check(exchange(&x), ERROR(EPERM), "blocks that are too large");
    x = exchange_of(3, 0, 2, 1);
    pv_check(exchange(&x), ERROR(EINVAL), "lists of different sizes");
    x = exchange_of(1ul << 63, 1, 0, 0);
    pv_check(exchange(&x), ERROR(EINVAL), "lists whose sizes wrap");
    x = exchange_of(1, 0, 1, 0);
    x.out.domid = NOBODY;
    pv_check(exchange(&x), ERROR(EINVAL), "lists of different domains");
    x.in.domid = NOBODY;
    pv_check(exchange(&x), ERROR(ESRCH), "lists of a domain that is not there");
    pv_check(call(__HYPERVISOR_memory_op, XENMEM_exchange, (void *)(~0ul - 7), 0), ERROR(EFAULT),
             "an exchange at the end of all addresses");
}

/* ---- other domains ---- */

static void check_others(void)
{
    struct mmu_update u = { machine(&page[0]), 0x55 };
    struct mmuext_op  op = { .cmd = MMUEXT_TLB_FLUSH_LOCAL };

    pv_check((uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)&u, 1, 0, NOBODY), ERROR(ESRCH),
             "frames of a domain that is not there");
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)&u, 1, 0,
                               (uint64_t)(NOBODY + 1) << 16 | DOMID_SELF),
             ERROR(ESRCH), "tables of a domain that is not there");
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)&u, 1, 0,
                               (uint64_t)(DOMID_SELF + 1) << 16 | DOMID_SELF),
             0, "tables of our own, said so");
    pv_check(page[0], 0x55, "what was updated");
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmuext_op, (uint64_t)&op, 1, 0, NOBODY), ERROR(ESRCH),
             "an operation for a domain that is not there");
    pv_check((uint64_t)pv_call(__HYPERVISOR_update_va_mapping_otherdomain, (uint64_t)page,
                               *pv_entry(page), 0, NOBODY),
             ERROR(ESRCH), "a mapping for a domain that is not there");
    pv_check((uint64_t)pv_call(__HYPERVISOR_update_va_mapping_otherdomain, (uint64_t)page,
                               *pv_entry(page), 0, DOMID_SELF),
             0, "a mapping for ourselves");
    if (pv_number("beside=", 0) == 0)
        return;
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)&u, 1, 0, pv_number("beside=", 0)),
        ERROR(EPERM), "frames of another domain");
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmu_update, (uint64_t)&u, 1, 0,
                               (pv_number("beside=", 0) + 1) << 16 | DOMID_SELF),
             ERROR(EPERM), "tables of another domain");
    pv_check(
        (uint64_t)pv_call(__HYPERVISOR_mmuext_op, (uint64_t)&op, 1, 0, pv_number("beside=", 0)),
        ERROR(EPERM), "an operation for another domain");
    pv_check((uint64_t)pv_call(__HYPERVISOR_update_va_mapping_otherdomain, (uint64_t)page,
                               *pv_entry(page), 0, pv_number("beside=", 0)),
             ERROR(EPERM), "a mapping for another domain");
}

/* ---- what is refused, not known, or harmless ---- */

static void check_callbacks(void)
{
    static const uint16_t      kept[] = { CALLBACKTYPE_event, CALLBACKTYPE_failsafe,
                                          CALLBACKTYPE_syscall, CALLBACKTYPE_syscall32 };
    struct callback_register   r = { .type = CALLBACKTYPE_nmi, .address = 0x100000 };
    struct callback_unregister u = { .type = CALLBACKTYPE_nmi };

    pv_check(call(__HYPERVISOR_callback_op, CALLBACKOP_register, &r, 0), 0, "an NMI callback");
    pv_check(call(__HYPERVISOR_callback_op, CALLBACKOP_unregister, &u, 0), 0, "without it");
    for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        u.type = kept[i];
        pv_check(call(__HYPERVISOR_callback_op, CALLBACKOP_unregister, &u, 0), ERROR(EINVAL),
                 "without a callback that must be");
    }
    r.type = u.type = 99;
    pv_check(call(__HYPERVISOR_callback_op, CALLBACKOP_register, &r, 0), ERROR(ENOSYS),
             "a wild one");
    pv_check(call(__HYPERVISOR_callback_op, CALLBACKOP_unregister, &u, 0), ERROR(ENOSYS),
             "as wild");
    r = (struct callback_register){ .type = CALLBACKTYPE_nmi, .address = 0xffff830000000000ul };
    pv_check(call(__HYPERVISOR_callback_op, CALLBACKOP_register, &r, 0), ERROR(EINVAL),
             "a callback in the hypervisor");
    pv_check(call(__HYPERVISOR_callback_op, 7, &r, 0), ERROR(ENOSYS), "an unknown command");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_callbacks, (uint64_t)pv_vectors + 0x1000, 1ul << 47,
                               0, 0),
             ERROR(EINVAL), "a failsafe callback in the middle of nowhere");
}

static void check_vcpus(void)
{
    struct sched_remote_shutdown remote = { .domain_id = NOBODY };
    struct sched_watchdog        dog = { 0 };
    struct physdev_set_iopl      iopl = { .iopl = 1 };

    pv_check((uint64_t)pv_call(__HYPERVISOR_vcpu_op, VCPUOP_is_up, 0, 0, 0), 1, "the vCPU is up");
    pv_check((uint64_t)pv_call(__HYPERVISOR_vcpu_op, VCPUOP_is_up, 1, 0, 0), ERROR(ENOENT),
             "another");
    pv_check((uint64_t)pv_call(__HYPERVISOR_vcpu_op, VCPUOP_is_up, ~0ul, 0, 0), ERROR(ENOENT),
             "wild");
    pv_check((uint64_t)pv_call(__HYPERVISOR_vcpu_op, VCPUOP_initialise, 0, (uint64_t)page, 0),
             ERROR(EEXIST), "initialising what runs");
    pv_check((uint64_t)pv_call(__HYPERVISOR_vcpu_op, VCPUOP_up, 0, 0, 0), 0, "up again");
    pv_check((uint64_t)pv_call(__HYPERVISOR_vcpu_op, 99, 0, 0, 0), ERROR(ENOSYS), "an unknown one");
    pv_check(call(__HYPERVISOR_sched_op, SCHEDOP_remote_shutdown, &remote, 0), ERROR(EPERM),
             "shutting another down");
    pv_check(call(__HYPERVISOR_sched_op, SCHEDOP_watchdog, &dog, 0), ERROR(ENOSYS), "a watchdog");
    pv_check(call(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, &iopl, 0), 0, "IOPL");
    iopl.iopl = 4;
    pv_check(call(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, &iopl, 0), ERROR(EINVAL),
             "one too high");
    pv_check(call(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, (void *)(~0ul - 3), 0),
             ERROR(EFAULT), "one that cannot be read");
    pv_check(call(__HYPERVISOR_physdev_op, PHYSDEVOP_map_pirq, page, 0), ERROR(ENOSYS),
             "an interrupt");
}

/* Each call of the control domain, of whomever it is. */
static void check_control(void)
{
    const struct xen_hvm_param param = { .domid = DOMID_SELF };

    for (uint32_t cmd = 0; cmd < 100; cmd++) {
        struct xen_sysctl s = { .cmd = cmd, .interface_version = XEN_SYSCTL_INTERFACE_VERSION };
        struct xen_domctl d = { .cmd = cmd,
                                .interface_version = XEN_DOMCTL_INTERFACE_VERSION,
                                .domain = cmd % 2 != 0 ? DOMID_SELF : 0 };

        pv_check((uint64_t)pv_call(__HYPERVISOR_sysctl, (uint64_t)&s, 0, 0, 0), ERROR(EPERM),
                 "a call about the machine");
        pv_check((uint64_t)pv_call(__HYPERVISOR_domctl, (uint64_t)&d, 0, 0, 0), ERROR(EPERM),
                 "a call about a domain");
    }
    pv_check((uint64_t)pv_call(__HYPERVISOR_platform_op, (uint64_t)page, 0, 0, 0), ERROR(EPERM),
             "a call about the firmware");
    pv_check((uint64_t)pv_call(__HYPERVISOR_dm_op, DOMID_SELF, 0, 0, 0), ERROR(EPERM),
             "a call about a device model's domain");
    pv_check(call(__HYPERVISOR_hvm_op, HVMOP_set_param, &param, 0), ERROR(EINVAL),
             "a parameter, which it has not");
    pv_check(call(__HYPERVISOR_memory_op, XENMEM_machine_memory_map, page, 0), ERROR(EPERM),
             "the machine's memory map");
    pv_check((uint64_t)pv_call(__HYPERVISOR_console_io, CONSOLEIO_read, 100, (uint64_t)page, 0), 0,
             "what is typed for others");
}

/* What differs in RBX, RBP and R12 to R15 after a call. */
static uint64_t changes(uint64_t nr, uint64_t a, uint64_t b, uint64_t c)
{
    register uint64_t r10 __asm__("r10") = DOMID_SELF;

    __asm__ volatile("pushq %%rbp\n\t"
                     "movq $0x1b, %%rbx\n\tmovq $0x2b, %%rbp\n\tmovq $0x3b, %%r12\n\t"
                     "movq $0x4b, %%r13\n\tmovq $0x5b, %%r14\n\tmovq $0x6b, %%r15\n\t"
                     "syscall\n\t"
                     "xorq $0x1b, %%rbx\n\txorq $0x2b, %%rbp\n\txorq $0x3b, %%r12\n\t"
                     "xorq $0x4b, %%r13\n\txorq $0x5b, %%r14\n\txorq $0x6b, %%r15\n\t"
                     "movq %%rbx, %%rax\n\torq %%rbp, %%rax\n\torq %%r12, %%rax\n\t"
                     "orq %%r13, %%rax\n\torq %%r14, %%rax\n\torq %%r15, %%rax\n\t"
                     "popq %%rbp"
                     : "+a"(nr), "+D"(a), "+S"(b), "+d"(c), "+r"(r10)
                     :
                     : "memory", "cc", "rcx", "r11", "r8", "r9", "rbx", "r12", "r13", "r14", "r15");
    return nr;
}

/* Whatever way a call goes, the registers that it does not use are kept. */
static void check_registers(void)
{
    static const struct {
        uint64_t nr, a, b, c;
    } calls[] = {
        { __HYPERVISOR_stack_switch, 0, 0x1000, 0 },
        { __HYPERVISOR_set_segment_base, SEGBASE_GS_USER, 0x1000, 0 },
        { __HYPERVISOR_set_segment_base, SEGBASE_GS_USER, 1ul << 47, 0 },
        { __HYPERVISOR_set_segment_base, SEGBASE_FS, 0x1000, 0 },
        { __HYPERVISOR_fpu_taskswitch, 0, 0, 0 },
        { __HYPERVISOR_mmu_update, 0, 0, 0 },
        { __HYPERVISOR_mmu_update, 0xffff830000000000ul, 1, 0 },
        { __HYPERVISOR_mmuext_op, (uint64_t)-16, 1, 0 },
        { __HYPERVISOR_update_va_mapping, 0, 0, 0 },
        { __HYPERVISOR_update_descriptor, 0, 0, 0 },
        { __HYPERVISOR_xen_version, 0, 0, 0 },
        { __HYPERVISOR_sched_op, 0, 0, 0 },
        { __HYPERVISOR_multicall, 0, 0, 0 },
        { 63, 0, 0, 0 },
    };

    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        pv_check(changes(calls[i].nr, calls[i].a, calls[i].b, calls[i].c), 0,
                 "registers after a call");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER, 1ul << 47, 0, 0),
             ERROR(EINVAL), "a GS base that is not canonical");
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmu_update, 0xffff830000000000ul, 1, 0, DOMID_SELF),
             ERROR(EFAULT), "updates in the hypervisor");
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmuext_op, MACH2PHYS_VIRT_START - 8, 1, 0, DOMID_SELF),
             ERROR(EFAULT), "operations that end in the hypervisor");
    pv_check((uint64_t)pv_call(__HYPERVISOR_mmu_update, 0x0000800000000000ul, 1, 0, DOMID_SELF),
             ERROR(EFAULT), "updates at no address");
}

/* Numbers that nobody has. */
static void check_unknown(void)
{
    static const uint8_t none[] = { 11,
                                    __HYPERVISOR_xsm_op,
                                    __HYPERVISOR_kexec_op,
                                    __HYPERVISOR_tmem_op,
                                    __HYPERVISOR_xenpmu_op,
                                    __HYPERVISOR_arch_0,
                                    55,
                                    63 };

    for (unsigned i = 0; i < sizeof(none); i++)
        pv_check((uint64_t)pv_call(none[i], 0, (uint64_t)page, 0, 0), ERROR(ENOSYS),
                 "a call that nobody has");
    pv_check((uint64_t)pv_call(__HYPERVISOR_vm_assist, VMASST_CMD_enable,
                               VMASST_TYPE_writable_pagetables, 0, 0),
             0, "writable page tables");
    pv_check((uint64_t)pv_call(__HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_4gb_segments,
                               0, 0),
             0, "4 GiB segments");
    pv_check((uint64_t)pv_call(__HYPERVISOR_vm_assist, VMASST_CMD_enable, 31, 0, 0), ERROR(EINVAL),
             "an assist that is not there");
    pv_check((uint64_t)pv_call(__HYPERVISOR_vm_assist, 7, VMASST_TYPE_4gb_segments, 0, 0),
             ERROR(ENOSYS), "an unknown command");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_debugreg, 0, 0xffff830000000000ul, 0, 0),
             ERROR(EPERM), "a breakpoint in the hypervisor");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_debugreg, 7, 0x20001, 0, 0), ERROR(EPERM),
             "a breakpoint on a port");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_debugreg, 7, 0x2000, 0, 0), ERROR(EPERM),
             "the breakpoint on debug registers");
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_debugreg, 4, 0, 0, 0), ERROR(ENODEV), "DR4");
    pv_check((uint64_t)pv_call(__HYPERVISOR_get_debugreg, 8, 0, 0, 0), ERROR(EINVAL), "DR8");
}

void pv_main(void)
{
    check_exchange();
    check_exchange_undo();
    check_others();
    check_callbacks();
    check_vcpus();
    check_control();
    check_registers();
    check_unknown();
}
