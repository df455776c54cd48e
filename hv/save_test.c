/* test: with paging/ hv/ hv/pv_view.c */
/*
 * The control domain saves and restores a domain by the calls that Debian's tools make: what is in a vCPU, what
 * frames are, and where the M2P is.
 */
#include "hv/hc_pv.h"
#include "hv/made_world.h"

#define OTHERS PAGE_OF(12) /* a context that is asked for, and the page behind it */
#define FLAGS  (PTE_P | PTE_U | PTE_A | PTE_D)
#define MANY   200 /* frames that are asked about at once */

static int64_t told(struct domain *d, struct vcpu_guest_context *c)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_getvcpucontext };
    int64_t           result;

    op.u.vcpucontext.ctxt.p = (void *)OTHERS;
    result = domctl(control, d->id, &op);
    if (result == 0)
        look(control, OTHERS, c, sizeof(*c));
    return result;
}

static struct type type_of(uint64_t mfn)
{
    return type_read(&pv_machine, mfn_of(mfn));
}

/* As a vCPU that ran: with a program's root, descriptors and all registers. */
static struct vcpu_guest_context used_context(void)
{
    struct vcpu_guest_context c = context();
    uint64_t                 *words = (uint64_t *)&c.user_regs;

    for (unsigned i = 0; i < 15; i++)
        words[i] = 0x100 + i;
    c.user_regs.rflags = 0x246;
    c.user_regs.cs = 0xe033;
    c.user_regs.ss = 0xe02b;
    c.user_regs.ds = 0x2b, c.user_regs.es = 0x33, c.user_regs.fs = 0x3b, c.user_regs.gs = 0x43;
    c.user_regs.entry_vector = c.user_regs.error_code = 0;
    memset(&c.fpu_ctxt, 0x11, sizeof(c.fpu_ctxt));
    memset((char *)&c.fpu_ctxt + 24, 0, 4);
    c.flags = VGCF_i387_valid | VGCF_in_kernel | VGCF_online | VGCF_syscall_disables_events;
    for (unsigned i = 0; i < 256; i++)
        c.trap_ctxt[i] =
            (struct trap_info){ (uint8_t)i, i % 8, 0xe033, i % 3 == 0 ? 0 : 0x1000 + i };
    c.ldt_base = 0x7000, c.ldt_ents = 12;
    c.gdt_frames[0] = frames[2], c.gdt_frames[1] = frames[3], c.gdt_ents = 600;
    c.kernel_ss = 0xe02b;
    c.ctrlreg[1] = frames[1] << PAGE_SHIFT;
    c.ctrlreg[4] = 0x10620;
    c.debugreg[0] = 0x4000, c.debugreg[6] = 0, c.debugreg[7] = 2;
    c.event_callback_eip = 0x5000, c.failsafe_callback_eip = 0x6000,
    c.syscall_callback_eip = 0x7000;
    c.vm_assist = 1;
    c.fs_base = 0x123456, c.gs_base_user = UINT64_C(0x7fff00000000);
    return c;
}

/* ---- what is in a vCPU ---- */

static void a_vcpu_is_told_as_it_was_set(void **state)
{
    struct domain            *d = filled();
    struct vcpu_guest_context c = used_context(), again;

    (void)state;
    assert_int_equal(told(d, &again), -XEN_ENODATA);
    assert_int_equal(begin(d, &c), 0);
    assert_int_equal(told(d, &again), 0);
    assert_memory_equal(&again.user_regs, &c.user_regs, sizeof(c.user_regs));
    assert_memory_equal(again.trap_ctxt, c.trap_ctxt, sizeof(c.trap_ctxt));
    assert_memory_equal(&again, &c, sizeof(c));
    assert_int_equal(type_of(frames[1]).kind, TYPE_L4);
    assert_int_equal(type_of(frames[2]).kind, TYPE_SEGMENTS);
    assert_int_equal(type_of(frames[3]).kind, TYPE_SEGMENTS);
    assert_int_equal(type_of(frames[4]).count, 0);
    audit();
    c.gdt_frames[1] = 0, c.gdt_ents = 512; /* once more before it runs: what it had is given up */
    c.ctrlreg[1] = 0;
    assert_int_equal(begin(d, &c), 0);
    assert_int_equal(type_of(frames[3]).count, 0);
    assert_int_equal(type_of(frames[1]).count, 0);
    audit();
}

static void what_runs_stays_on_its_tables(void **state)
{
    struct domain            *d = filled();
    struct vcpu_guest_context c = used_context(), again;

    (void)state;
    assert_int_equal(begin(d, &c), 0);
    domain_unpause(d);
    domain_stop(d, SHUTDOWN_suspend);
    c.user_regs.rax = 1;
    c.event_callback_eip = 0x5500;
    assert_int_equal(begin(d, &c), 0);
    assert_int_equal(told(d, &again), 0);
    assert_memory_equal(&again, &c, sizeof(c));
    for (unsigned i = 0; i < 6; i++) {
        struct vcpu_guest_context other = c;

        if (i == 0)
            other.ctrlreg[3] = frames[5] << PAGE_SHIFT;
        else if (i == 1)
            other.ctrlreg[1] = 0;
        else if (i == 2)
            other.gdt_frames[1] = frames[5];
        else if (i == 3)
            other.gdt_ents = 512;
        else if (i == 4)
            other.ldt_base = 0x8000;
        else
            other.ldt_ents = 13;
        other.user_regs.rax = 99;
        assert_int_equal(begin(d, &other), -XEN_EOPNOTSUPP);
        assert_int_equal(d->vcpu[0]->pv->regs.rax, 1);
    }
    audit();
}

static void descriptors_that_cannot_be_are_refused(void **state)
{
    struct domain            *d = filled();
    struct vcpu_guest_context c = used_context();

    (void)state;
    c.gdt_frames[1] = frames[0]; /* its root */
    assert_int_equal(begin(d, &c), -XEN_EINVAL);
    assert_int_equal(type_of(frames[2]).count, 0);
    c.gdt_frames[1] = control->shared_mfn.raw;
    assert_int_equal(begin(d, &c), -XEN_EINVAL);
    c.gdt_frames[1] = UINT64_MAX;
    assert_int_equal(begin(d, &c), -XEN_EINVAL);
    c.gdt_ents = HC_GDT_ENTRIES_MAX + 1;
    assert_int_equal(begin(d, &c), -XEN_EINVAL);
    assert_int_equal(d->vcpu[0]->state, VCPU_DOWN);
    c = used_context();
    c.ctrlreg[1] = frames[2] << PAGE_SHIFT; /* which cannot be segments then */
    assert_int_equal(begin(d, &c), -XEN_EINVAL);
    c = used_context();
    c.ctrlreg[4] = WILD;
    assert_int_equal(begin(d, &c), -XEN_EINVAL);
    audit();
}

static void a_program_may_run(void **state)
{
    struct domain            *d = filled();
    struct vcpu_guest_context c = used_context(), again;

    (void)state;
    c.flags &= ~(uint64_t)VGCF_in_kernel;
    assert_int_equal(begin(d, &c), 0);
    assert_false(d->vcpu[0]->pv->kernel);
    assert_int_equal(told(d, &again), 0);
    assert_int_equal(again.flags, c.flags);
}

static void who_may_not_be_asked_about_is_told(void **state)
{
    struct domain        *d = filled(), *hvm = other(CONFIG_PVH);
    struct xen_domctl     op;
    static const unsigned calls[] = {
        XEN_DOMCTL_getvcpucontext,      XEN_DOMCTL_setvcpucontext,  XEN_DOMCTL_get_ext_vcpucontext,
        XEN_DOMCTL_set_ext_vcpucontext, XEN_DOMCTL_getvcpuextstate, XEN_DOMCTL_setvcpuextstate,
        XEN_DOMCTL_get_vcpu_msrs,       XEN_DOMCTL_set_vcpu_msrs
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        op = (struct xen_domctl){ .cmd = calls[i] };
        assert_int_equal(domctl(control, control->id, &op), -XEN_EINVAL);
        op = (struct xen_domctl){ .cmd = calls[i] };
        if (i >= 2) /* the first two are of every guest */
            assert_int_equal(domctl(control, hvm->id, &op), -XEN_EOPNOTSUPP);
        op = (struct xen_domctl){ .cmd = calls[i] };
        op.u.vcpucontext.vcpu = 1; /* the number stands first in each of them */
        assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
    }
}

static void callbacks_of_32_bits_are_told_and_set(void **state)
{
    struct domain    *d = filled();
    struct xen_domctl op = { .cmd = XEN_DOMCTL_set_ext_vcpucontext };

    (void)state;
    op.u.ext_vcpucontext.size = sizeof(op.u.ext_vcpucontext);
    op.u.ext_vcpucontext.syscall32_callback_eip = 0x1234;
    op.u.ext_vcpucontext.sysenter_callback_eip = 0x5678;
    op.u.ext_vcpucontext.sysenter_disables_events = 1;
    assert_int_equal(domctl(control, d->id, &op), 0);
    op = (struct xen_domctl){ .cmd = XEN_DOMCTL_get_ext_vcpucontext };
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.ext_vcpucontext.size, sizeof(op.u.ext_vcpucontext));
    assert_int_equal(op.u.ext_vcpucontext.syscall32_callback_eip, 0x1234);
    assert_int_equal(op.u.ext_vcpucontext.sysenter_callback_eip, 0x5678);
    assert_int_equal(op.u.ext_vcpucontext.sysenter_disables_events, 1);
    assert_int_equal(op.u.ext_vcpucontext.syscall32_disables_events, 0);
    op.cmd = XEN_DOMCTL_set_ext_vcpucontext;
    op.u.ext_vcpucontext.sysenter_callback_eip = PV_RESERVED_START;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
    op.u.ext_vcpucontext.sysenter_callback_eip = 0;
    op.u.ext_vcpucontext.size = 8;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
    assert_int_equal(d->vcpu[0]->pv->callback[PV_CALLBACK_SYSENTER].address, 0x5678);
}

static void of_xsave_and_msrs_there_is_nothing(void **state)
{
    struct domain    *d = filled();
    struct xen_domctl op = { .cmd = XEN_DOMCTL_getvcpuextstate };

    (void)state;
    op.u.vcpuextstate.xfeature_mask = op.u.vcpuextstate.size = 77;
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.vcpuextstate.xfeature_mask, 0);
    assert_int_equal(op.u.vcpuextstate.size, 0);
    op.cmd = XEN_DOMCTL_setvcpuextstate;
    assert_int_equal(domctl(control, d->id, &op), 0);
    op.u.vcpuextstate.size = 576;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
    op = (struct xen_domctl){ .cmd = XEN_DOMCTL_get_vcpu_msrs };
    op.u.vcpu_msrs.msr_count = 9;
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.vcpu_msrs.msr_count, 0);
    op.cmd = XEN_DOMCTL_set_vcpu_msrs;
    assert_int_equal(domctl(control, d->id, &op), 0);
    op.u.vcpu_msrs.msr_count = 1;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
}

/* ---- what frames are ---- */

static int64_t info(uint16_t id, uint64_t *words, uint64_t count)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_getpageframeinfo3 };
    int64_t           result;

    store(control, LIST, words, count * 8);
    op.u.getpageframeinfo3.num = count;
    op.u.getpageframeinfo3.array.p = (void *)LIST;
    result = domctl(control, id, &op);
    look(control, LIST, words, count * 8);
    return result;
}

static void tables_are_told_from_other_frames(void **state)
{
    struct domain            *d = filled();
    struct vcpu_guest_context c = used_context();
    struct mmuext_op          pin = { .cmd = MMUEXT_PIN_L2_TABLE };
    struct hypercall      h = { .nr = __HYPERVISOR_mmuext_op, .arg = { PAGE_OF(0), 1, 0, d->id } };
    uint64_t              words[] = { frames[0],
                                      frames[1],
                                      frames[2],
                                      frames[4],
                                      frames[5],
                                      d->shared_mfn.raw,
                                      control->shared_mfn.raw,
                                      machine_phys.frames,
                                      UINT64_MAX };
    static const uint64_t said[] = { XEN_DOMCTL_PFINFO_L4TAB,
                                     XEN_DOMCTL_PFINFO_L4TAB,
                                     0,
                                     XEN_DOMCTL_PFINFO_L2TAB | XEN_DOMCTL_PFINFO_LPINTAB,
                                     0,
                                     XEN_DOMCTL_PFINFO_XTAB,
                                     XEN_DOMCTL_PFINFO_XTAB,
                                     XEN_DOMCTL_PFINFO_XTAB,
                                     XEN_DOMCTL_PFINFO_XTAB };

    (void)state;
    assert_int_equal(begin(d, &c), 0);
    pin.arg1.mfn = frames[4];
    store(control, PAGE_OF(0), &pin, sizeof(pin));
    assert_int_equal(hypercall_run(control->vcpu[0], &h), HYPERCALL_DONE);
    assert_int_equal(h.result, 0);
    assert_int_equal(info(d->id, words, 9), 0);
    assert_memory_equal(words, said, sizeof(said));
    pin.cmd = MMUEXT_UNPIN_TABLE; /* what was a table is none any more */
    store(control, PAGE_OF(0), &pin, sizeof(pin));
    h = (struct hypercall){ .nr = __HYPERVISOR_mmuext_op, .arg = { PAGE_OF(0), 1, 0, d->id } };
    assert_int_equal(hypercall_run(control->vcpu[0], &h), HYPERCALL_DONE);
    assert_int_equal(h.result, 0);
    words[0] = frames[4];
    assert_int_equal(info(d->id, words, 1), 0);
    assert_int_equal(words[0], XEN_DOMCTL_PFINFO_NOTAB);
}

static void frames_behind_a_map_have_no_tables(void **state)
{
    struct domain *d = other(CONFIG_PVH);
    uint64_t       words[] = { 0x333, 0xfffff, UINT64_MAX };

    (void)state;
    assert_int_equal(info(d->id, words, 3), 0);
    assert_int_equal(words[0], XEN_DOMCTL_PFINFO_NOTAB);
    assert_int_equal(words[1], XEN_DOMCTL_PFINFO_XTAB);
    assert_int_equal(words[2], XEN_DOMCTL_PFINFO_XTAB);
}

/* It stops for others after each piece, and no frame is taken for what was said of another. */
static void many_frames_are_told_in_pieces(void **state)
{
    struct domain    *d = filled();
    struct xen_domctl op = { .cmd = XEN_DOMCTL_getpageframeinfo3, .domain = d->id };
    struct hypercall  h = { .nr = __HYPERVISOR_domctl, .arg = { PAGE_OF(0) } };
    uint64_t          words[MANY];
    unsigned          calls = 1;

    (void)state;
    op.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op.u.getpageframeinfo3.num = MANY;
    op.u.getpageframeinfo3.array.p = (void *)LIST;
    for (unsigned i = 0; i < MANY; i++)
        words[i] = i % 3 == 0 ? d->shared_mfn.raw : frames[i % MEMORY];
    store(control, LIST, words, sizeof(words));
    store(control, PAGE_OF(0), &op, sizeof(op));
    cpu.pending = PENDING_RESCHED;
    for (; hypercall_run(control->vcpu[0], &h) == HYPERCALL_AGAIN; calls++)
        assert_true(calls < MANY);
    cpu.pending = 0;
    assert_int_equal(h.result, 0);
    assert_int_equal(calls, (MANY + 63) / 64);
    look(control, LIST, words, sizeof(words));
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(words[i], i % 3 == 0 ? XEN_DOMCTL_PFINFO_XTAB : XEN_DOMCTL_PFINFO_NOTAB);
    op.u.getpageframeinfo3.num = 1025;
    assert_int_equal(domctl(control, d->id, &op), -XEN_E2BIG);
    op.u.getpageframeinfo3.num = 2;
    op.u.getpageframeinfo3.array.p = (void *)WILD;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EFAULT);
}

/* ---- the M2P ---- */

static int64_t map(struct domain *who, uint16_t id, uint64_t value)
{
    return map_window(who, id, value, MMU_NORMAL_PT_UPDATE);
}

static void the_m2p_is_found_and_read(void **state)
{
    struct xen_machphys_mfn_list list = { .max_extents = 9 };
    uint64_t                     words[3] = { 0, 0, 77 };
    char                         text[8];

    (void)state;
    lend_m2p();
    list.extent_start.p = (void *)LIST;
    store(control, LIST, words, sizeof(words));
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_machphys_mfn_list, &list, sizeof(list)),
        0);
    assert_int_equal(list.nr_extents, M2P_EXTENTS);
    look(control, LIST, words, sizeof(words));
    assert_int_equal(words[0], m2p_first);
    assert_int_equal(words[1], m2p_first + 512);
    assert_int_equal(words[2], 77);
    list.max_extents = 1;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_machphys_mfn_list, &list, sizeof(list)),
        0);
    assert_int_equal(list.nr_extents, 1);

    assert_int_equal(map(control, DOMID_XEN, words[0] << PAGE_SHIFT | FLAGS), 0);
    look(control, WINDOW, text, 8);
    assert_string_equal(text, "the M2P");
    audit();
    assert_int_equal(map(control, DOMID_SELF, 0), 0);
    audit();
    take_m2p_back();
}

static void nobody_writes_the_m2p_nor_maps_what_else_is_ours(void **state)
{
    struct domain               *d = other(CONFIG_PV);
    struct xen_machphys_mfn_list list = { .max_extents = 9 };
    struct hypercall             h = { .nr = __HYPERVISOR_mmuext_op };
    struct mmuext_op             pin = { .cmd = MMUEXT_PIN_L4_TABLE };
    struct mmu_update            update = { m2p_first << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 1 };

    (void)state;
    lend_m2p();
    assert_int_equal(map(control, DOMID_XEN, m2p_first << PAGE_SHIFT | FLAGS | PTE_W), -XEN_EINVAL);
    assert_int_equal(map(control, DOMID_XEN, (m2p_first + m2p_count) << PAGE_SHIFT | FLAGS),
                     -XEN_EINVAL);
    assert_int_equal(map(control, DOMID_XEN, d->shared_mfn.raw << PAGE_SHIFT | FLAGS), -XEN_EINVAL);
    assert_int_equal(map(control, DOMID_XEN, control->shared_mfn.raw << PAGE_SHIFT | FLAGS),
                     -XEN_EINVAL);
    assert_int_equal(map(control, DOMID_SELF, m2p_first << PAGE_SHIFT | FLAGS), -XEN_EINVAL);
    assert_int_equal(map(control, DOMID_XEN, m2p_first << PAGE_SHIFT | FLAGS), 0);
    /* It does not become writable where it stands. */
    assert_int_equal(map(control, DOMID_SELF, m2p_first << PAGE_SHIFT | FLAGS | PTE_W),
                     -XEN_EINVAL);
    assert_int_equal(map(control, DOMID_XEN, m2p_first << PAGE_SHIFT | FLAGS | PTE_W), -XEN_EINVAL);
    assert_int_equal(map(control, DOMID_SELF, 0), 0);
    assert_int_equal(map(d, DOMID_XEN, m2p_first << PAGE_SHIFT | FLAGS), -XEN_ESRCH);
    assert_int_equal(
        call_with(d, __HYPERVISOR_memory_op, XENMEM_machphys_mfn_list, &list, sizeof(list)),
        -XEN_EPERM);
    pin.arg1.mfn = m2p_first;
    store(control, PAGE_OF(0), &pin, sizeof(pin));
    h.arg[0] = PAGE_OF(0), h.arg[1] = 1, h.arg[3] = DOMID_XEN;
    assert_int_equal(hypercall_run(control->vcpu[0], &h), HYPERCALL_DONE);
    assert_int_equal(h.result, -XEN_EINVAL);
    update.ptr = m2p_first << PAGE_SHIFT | MMU_MACHPHYS_UPDATE;
    store(control, PAGE_OF(0), &update, sizeof(update));
    h = (struct hypercall){ .nr = __HYPERVISOR_mmu_update, .arg = { PAGE_OF(0), 1, 0, DOMID_XEN } };
    assert_int_equal(hypercall_run(control->vcpu[0], &h), HYPERCALL_DONE);
    assert_int_equal(h.result, -XEN_EINVAL);
    audit();
    take_m2p_back();
}

/* ---- around it ---- */

static void the_highest_frame_is_what_the_guest_says(void **state)
{
    struct domain    *d = made(), *hvm = other(CONFIG_PVH);
    struct xen_domctl op = { .cmd = XEN_DOMCTL_createdomain };
    domid_t           id = d->id;

    (void)state;
    d->shared->arch.max_pfn = 0x1234; /* fewer than the machine has */
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_maximum_gpfn, &id, sizeof(id)), 0x1233);
    d->shared->arch.max_pfn = UINT64_MAX;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_maximum_gpfn, &id, sizeof(id)), 0);
    id = hvm->id;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_maximum_gpfn, &id, sizeof(id)),
        (int64_t)hvm->paging.p2m.end - 1);
    op.u.createdomain.flags = XEN_DOMCTL_CDF_hvm; /* one without memory */
    op.u.createdomain.arch.emulation_flags = XEN_X86_EMU_LAPIC;
    op.u.createdomain.max_vcpus = 1;
    op.u.createdomain.grant_opts = 1;
    assert_int_equal(domctl(control, 0, &op), 0);
    id = op.domain;
    assert_int_equal(
        call_with(control, __HYPERVISOR_memory_op, XENMEM_maximum_gpfn, &id, sizeof(id)), 0);
}

static void what_is_suspended_is_told_and_resumed(void **state)
{
    struct domain    *d = other(CONFIG_PVH);
    struct xen_domctl op = { .cmd = XEN_DOMCTL_resumedomain };

    (void)state;
    assert_int_equal(domctl(control, control->id, &op), -XEN_EINVAL);
    domain_stop(d, SHUTDOWN_suspend);
    op = (struct xen_domctl){ .cmd = XEN_DOMCTL_getdomaininfo };
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.getdomaininfo.flags & XEN_DOMINF_shutdown, XEN_DOMINF_shutdown);
    assert_int_equal(op.u.getdomaininfo.flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask,
                     SHUTDOWN_suspend);
    op = (struct xen_domctl){ .cmd = XEN_DOMCTL_resumedomain };
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(d->state, DOMAIN_RUNNING);
    op = (struct xen_domctl){ .cmd = XEN_DOMCTL_getdomaininfo };
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.getdomaininfo.flags & XEN_DOMINF_shutdown, 0);
    domain_stop(d, SHUTDOWN_poweroff);
    op = (struct xen_domctl){ .cmd = XEN_DOMCTL_resumedomain };
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(a_vcpu_is_told_as_it_was_set),
        CONTROL(what_runs_stays_on_its_tables),
        CONTROL(descriptors_that_cannot_be_are_refused),
        CONTROL(a_program_may_run),
        CONTROL(who_may_not_be_asked_about_is_told),
        CONTROL(callbacks_of_32_bits_are_told_and_set),
        CONTROL(of_xsave_and_msrs_there_is_nothing),
        CONTROL(tables_are_told_from_other_frames),
        CONTROL(frames_behind_a_map_have_no_tables),
        CONTROL(many_frames_are_told_in_pieces),
        CONTROL(the_m2p_is_found_and_read),
        CONTROL(nobody_writes_the_m2p_nor_maps_what_else_is_ours),
        CONTROL(the_highest_frame_is_what_the_guest_says),
        CONTROL(what_is_suspended_is_told_and_resumed),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
