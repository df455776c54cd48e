/*
 * domctl: what is in a vCPU, told and set; of a PV guest (domctl.h, arch-x86/xen.h, arch-x86/xen-x86_64.h).
 *
 * Before its domain has run a vCPU is given all of it: tables, descriptors, registers. These are what a
 * kernel begins with, or what a vCPU had where it was saved. Later registers and handlers may be set, but
 * it stays on the tables that it has. PV guests have no XSAVE, and no MSRs beside what the structure has.
 * Of another guest's vCPU the structure tells less than there is: hc_domctl_hvm.c.
 */
#include <string.h>

#include "hv/alloc.h"
#include "hv/hc_control.h"
#include "hv/hc_foreign.h"
#include "hv/hc_pv.h"
#include "hv/time.h"
#include "hv/vm_event.h"

#define RFLAGS_IF      UINT64_C(0x200)
#define RFLAGS_ALWAYS  UINT64_C(2)
#define RFLAGS_OF_USER UINT64_C(0x254dd5) /* what ring 3 may set: no IOPL, VM, VIF, VIP */
#define CR0_TS         UINT64_C(8)
#define MXCSR_OFFSET   24
#define MXCSR_KNOWN    UINT32_C(0xffff)
#define LDT_ENTRIES    8192u
#define TRAP_MASKS     4 /* of trap_info.flags, beside the DPL */

_Static_assert(sizeof(struct vcpu_guest_context) == 5168, "arch-x86/xen.h");

/* ---- what may be ---- */

static bool handler_ok(uint64_t address)
{
    return address == 0 || pv_address_ok(address, 1);
}

static bool handlers_ok(const struct vcpu_guest_context *c)
{
    for (unsigned i = 0; i < PV_VECTORS; i++)
        if (!handler_ok(c->trap_ctxt[i].address))
            return false;
    return handler_ok(c->event_callback_eip) && handler_ok(c->failsafe_callback_eip) &&
           handler_ok(c->syscall_callback_eip);
}

static bool debug_ok(const struct vcpu_guest_context *c)
{
    for (unsigned i = 0; i < 8; i++)
        if (i != 4 && i != 5 && hc_pv_debug_error(i, c->debugreg[i]) != 0)
            return false;
    return true;
}

/* All that is refused is refused before anything is changed, tables and descriptors aside. */
static int64_t check(const struct vcpu *target, const struct vcpu_guest_context *c)
{
    bool bases = pv_is_canonical(c->fs_base) && pv_is_canonical(c->gs_base_kernel) &&
                 pv_is_canonical(c->gs_base_user);
    bool ldt = c->ldt_ents <= LDT_ENTRIES && (c->ldt_base & PAGE_MASK) == 0 &&
               pv_address_ok(c->ldt_base, c->ldt_ents * 8);

    if (!handlers_ok(c) || !debug_ok(c) || !bases || !ldt || c->gdt_ents > HC_GDT_ENTRIES_MAX ||
        (c->vm_assist & ~(uint64_t)hc_vm_assists(target)) != 0)
        return -XEN_EINVAL;
    /* A program runs on its own root. */
    return (c->flags & VGCF_in_kernel) == 0 && c->ctrlreg[1] == 0 ? -XEN_EINVAL : 0;
}

/* ---- what is set ---- */

static void set_registers(struct pv_vcpu *pv, const struct cpu_user_regs *r)
{
    struct pv_regs *to = &pv->regs;

    to->r15 = r->r15, to->r14 = r->r14, to->r13 = r->r13, to->r12 = r->r12;
    to->r11 = r->r11, to->r10 = r->r10, to->r9 = r->r9, to->r8 = r->r8;
    to->rdi = r->rdi, to->rsi = r->rsi, to->rbp = r->rbp, to->rbx = r->rbx;
    to->rdx = r->rdx, to->rcx = r->rcx, to->rax = r->rax;
    to->rip = r->rip, to->rsp = r->rsp;
    to->cs = (uint16_t)(r->cs | 3);
    to->ss = (uint16_t)(r->ss | 3);
    to->rflags = (r->rflags & RFLAGS_OF_USER) | RFLAGS_IF | RFLAGS_ALWAYS;
    pv->selector[PV_DS] = r->ds, pv->selector[PV_ES] = r->es;
    pv->selector[PV_FS] = r->fs, pv->selector[PV_GS] = r->gs;
}

static void set_handlers(struct pv_vcpu *pv, const struct vcpu_guest_context *c)
{
    for (unsigned i = 0; i < PV_VECTORS; i++)
        pv->trap[i] = (struct pv_trap){ .address = c->trap_ctxt[i].address,
                                        .dpl = c->trap_ctxt[i].flags & 3,
                                        .masks = (c->trap_ctxt[i].flags & TRAP_MASKS) != 0 };
    pv->callback[PV_CALLBACK_EVENT] =
        (struct pv_trap){ .address = c->event_callback_eip, .masks = true };
    pv->callback[PV_CALLBACK_FAILSAFE] =
        (struct pv_trap){ .address = c->failsafe_callback_eip,
                          .masks = (c->flags & VGCF_failsafe_disables_events) != 0 };
    pv->callback[PV_CALLBACK_SYSCALL] =
        (struct pv_trap){ .address = c->syscall_callback_eip,
                          .masks = (c->flags & VGCF_syscall_disables_events) != 0 };
}

static void set_fpu(struct pv_vcpu *pv, const struct vcpu_guest_context *c)
{
    uint32_t mxcsr;

    if ((c->flags & VGCF_i387_valid) == 0)
        return;
    memcpy(pv->fpu, &c->fpu_ctxt, sizeof(pv->fpu));
    memcpy(&mxcsr, pv->fpu + MXCSR_OFFSET, sizeof(mxcsr));
    mxcsr &= MXCSR_KNOWN; /* loading others would be our fault */
    memcpy(pv->fpu + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
}

static void set_all(struct vcpu *target, const struct vcpu_guest_context *c)
{
    struct pv_vcpu *pv = target->pv;

    set_registers(pv, &c->user_regs);
    vm_event_written(target); /* it is at another instruction */
    set_handlers(pv, c);
    set_fpu(pv, c);
    pv->kernel = (c->flags & VGCF_in_kernel) != 0;
    pv->kernel_sp = c->kernel_sp;
    pv_edge_set_base(pv, PV_BASE_FS, c->fs_base);
    pv_edge_set_base(pv, PV_BASE_GS_KERNEL, c->gs_base_kernel);
    pv_edge_set_base(pv, PV_BASE_GS_USER, c->gs_base_user);
    pv_edge_set_ts(pv, (c->ctrlreg[0] & CR0_TS) != 0);
    for (unsigned i = 0; i < 8; i++)
        if (i != 4 && i != 5)
            pv_edge_set_debug(pv, i, c->debugreg[i]);
    target->domain->vm_assist = (uint32_t)c->vm_assist;
    if ((c->flags & VGCF_online) != 0 && target->state == VCPU_DOWN) {
        target->state = VCPU_RUNNABLE;
        time_runstate(target, RUNSTATE_runnable);
    }
}

/* The root is validated first, in pieces: what a call that is made again finds done is quick. */
static int64_t set_root(struct domain *d, struct pv_vcpu *pv, uint64_t cr3, bool user)
{
    struct direct_request r = { .op = DIRECT_ROOT, .user = user };

    r.owner = &d->pv->direct;
    r.from = d->id;
    r.mfn = user && cr3 == 0 ? MFN_NONE : mfn_of(cr3 >> PAGE_SHIFT);
    return hc_pv_request(&pv->direct, &r);
}

static int64_t set_tables(struct domain *d, struct pv_vcpu *pv, const struct vcpu_guest_context *c)
{
    mfn_t   gdt[PV_GDT_FRAMES];
    int64_t result = set_root(d, pv, c->ctrlreg[3], false);

    if (result == 0)
        result = set_root(d, pv, c->ctrlreg[1], true);
    if (result != 0)
        return result;
    for (unsigned i = 0; i < PV_GDT_FRAMES; i++)
        gdt[i] = mfn_of(c->gdt_frames[i]);
    pv->ldt = gva_of(c->ldt_base);
    pv->ldt_entries = (unsigned)c->ldt_ents;
    return hc_pv_set_gdt(pv, gdt, (unsigned)c->gdt_ents);
}

static int64_t begin(struct domain *d, struct vcpu *target, const struct vcpu_guest_context *c)
{
    const struct machine_start start = { .rip = c->user_regs.rip };
    int64_t                    result = set_tables(d, target->pv, c);

    if (result != 0)
        return result;
    if (!machine_vcpu_create(target, &start))
        return -XEN_ENOMEM;
    if (!pv_edge_set_control(target->pv, 4, c->ctrlreg[4]))
        return -XEN_EINVAL;
    set_all(target, c);
    time_wallclock_write(d);
    return 0;
}

/* ---- what is told ---- */

static void get_registers(const struct pv_vcpu *pv, struct cpu_user_regs *r)
{
    const struct pv_regs *from = &pv->regs;

    r->r15 = from->r15, r->r14 = from->r14, r->r13 = from->r13, r->r12 = from->r12;
    r->r11 = from->r11, r->r10 = from->r10, r->r9 = from->r9, r->r8 = from->r8;
    r->rdi = from->rdi, r->rsi = from->rsi, r->rbp = from->rbp, r->rbx = from->rbx;
    r->rdx = from->rdx, r->rcx = from->rcx, r->rax = from->rax;
    r->rip = from->rip, r->rsp = from->rsp, r->rflags = from->rflags;
    r->cs = (uint16_t)from->cs, r->ss = (uint16_t)from->ss;
    r->ds = pv->selector[PV_DS], r->es = pv->selector[PV_ES];
    r->fs = pv->selector[PV_FS], r->gs = pv->selector[PV_GS];
}

static uint64_t get_handlers(const struct pv_vcpu *pv, struct vcpu_guest_context *c)
{
    uint64_t flags = 0;

    for (unsigned i = 0; i < PV_VECTORS; i++)
        c->trap_ctxt[i] = (struct trap_info){
            .vector = (uint8_t)i,
            .flags = (uint8_t)(pv->trap[i].dpl | (pv->trap[i].masks ? TRAP_MASKS : 0)),
            .cs = FLAT_KERNEL_CS,
            .address = pv->trap[i].address,
        };
    c->event_callback_eip = pv->callback[PV_CALLBACK_EVENT].address;
    c->failsafe_callback_eip = pv->callback[PV_CALLBACK_FAILSAFE].address;
    c->syscall_callback_eip = pv->callback[PV_CALLBACK_SYSCALL].address;
    if (pv->callback[PV_CALLBACK_FAILSAFE].masks)
        flags |= VGCF_failsafe_disables_events;
    if (pv->callback[PV_CALLBACK_SYSCALL].masks)
        flags |= VGCF_syscall_disables_events;
    return flags;
}

static uint64_t root_of(const struct pv_vcpu *pv, bool user)
{
    mfn_t root = pv->direct.root[user];

    return mfn_valid(root) ? root.raw << PAGE_SHIFT : 0;
}

static void get_tables(const struct pv_vcpu *pv, struct vcpu_guest_context *c)
{
    for (unsigned i = 0; i < PV_GDT_FRAMES; i++)
        c->gdt_frames[i] = mfn_valid(pv->gdt[i]) ? pv->gdt[i].raw : 0;
    c->gdt_ents = pv->gdt_entries;
    c->ldt_base = pv->ldt.raw;
    c->ldt_ents = pv->ldt_entries;
    c->ctrlreg[1] = root_of(pv, true);
    c->ctrlreg[3] = root_of(pv, false);
}

static void get_all(struct vcpu *target, struct vcpu_guest_context *c)
{
    struct pv_vcpu *pv = target->pv;

    memset(c, 0, sizeof(*c));
    c->flags = VGCF_i387_valid | get_handlers(pv, c);
    if (pv->kernel)
        c->flags |= VGCF_in_kernel;
    if (target->state != VCPU_DOWN)
        c->flags |= VGCF_online;
    get_registers(pv, &c->user_regs);
    get_tables(pv, c);
    memcpy(&c->fpu_ctxt, pv->fpu, sizeof(pv->fpu));
    c->kernel_ss = FLAT_KERNEL_SS;
    c->kernel_sp = pv->kernel_sp;
    c->fs_base = pv_edge_get_base(pv, PV_BASE_FS);
    c->gs_base_kernel = pv_edge_get_base(pv, PV_BASE_GS_KERNEL);
    c->gs_base_user = pv_edge_get_base(pv, PV_BASE_GS_USER);
    for (unsigned i = 0; i < 8; i++) {
        if (i != 4 && i != 5)
            c->debugreg[i] = pv_edge_get_debug(pv, i);
        if (i != 1 && i != 3 && !pv_edge_get_control(pv, i, &c->ctrlreg[i]))
            c->ctrlreg[i] = 0;
    }
    c->vm_assist = target->domain->vm_assist;
}

/* It stays on the tables that it is on, and so do its descriptors. */
static int64_t change(struct vcpu *target, const struct vcpu_guest_context *c)
{
    struct vcpu_guest_context *now = alloc_bytes(sizeof(*now));
    bool                       same;

    if (now == NULL)
        return -XEN_ENOMEM;
    memset(now, 0, sizeof(*now));
    get_tables(target->pv, now);
    same = now->ctrlreg[1] == c->ctrlreg[1] && now->ctrlreg[3] == c->ctrlreg[3] &&
           now->gdt_ents == c->gdt_ents && now->ldt_base == c->ldt_base &&
           now->ldt_ents == c->ldt_ents &&
           memcmp(now->gdt_frames, c->gdt_frames, sizeof(c->gdt_frames)) == 0;
    free_bytes(now, sizeof(*now));
    if (!same)
        return -XEN_EOPNOTSUPP;
    if (!pv_edge_set_control(target->pv, 4, c->ctrlreg[4]))
        return -XEN_EINVAL;
    set_all(target, c);
    return 0;
}

/* ---- the calls ---- */

/* Whose context it is, of a guest that is not the caller. */
static int64_t target_of(struct vcpu *v, struct domain *d, uint32_t number, struct vcpu **target)
{
    if (d == v->domain || number >= d->config.vcpus)
        return -XEN_EINVAL;
    if (number >= d->nr_vcpus)
        return -XEN_ESRCH;
    *target = d->vcpu[number];
    return 0;
}

/* Of a PV guest only. */
static int64_t pv_target_of(struct vcpu *v, struct domain *d, uint32_t number, struct vcpu **target)
{
    int64_t result = target_of(v, d, number, target);

    return result == 0 && d->pv == NULL ? -XEN_EOPNOTSUPP : result;
}

static int64_t pv_set(struct domain *d, struct vcpu *target, const struct vcpu_guest_context *c)
{
    int64_t result = check(target, c);

    if (result != 0)
        return result;
    return d->state == DOMAIN_BUILDING ? begin(d, target, c) : change(target, c);
}

int64_t domctl_setvcpucontext(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_vcpucontext *arg = &op->u.vcpucontext;
    struct vcpu_guest_context           *c;
    struct vcpu                         *target;
    int64_t                              result = target_of(v, d, arg->vcpu, &target);

    if (result != 0)
        return result;
    c = alloc_bytes(sizeof(*c));
    if (c == NULL)
        return -XEN_ENOMEM;
    result = -XEN_EFAULT;
    if (guest_copy_in(v, c, hc_address(arg->ctxt.p), sizeof(*c)))
        result = d->pv != NULL ? pv_set(d, target, c) : hvm_vcpu_change(target, c);
    free_bytes(c, sizeof(*c));
    return result;
}

int64_t domctl_getvcpucontext(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_vcpucontext *arg = &op->u.vcpucontext;
    struct vcpu_guest_context           *c;
    struct vcpu                         *target;
    int64_t                              result = target_of(v, d, arg->vcpu, &target);

    if (result != 0)
        return result;
    if (d->pv != NULL ? !mfn_valid(target->pv->direct.root[0]) : target->state == VCPU_DOWN)
        return -XEN_ENODATA;
    c = alloc_bytes(sizeof(*c));
    if (c == NULL)
        return -XEN_ENOMEM;
    if (d->pv != NULL)
        get_all(target, c);
    else
        hvm_vcpu_tell(target, c);
    if (!guest_copy_out(v, hc_address(arg->ctxt.p), c, sizeof(*c)))
        result = -XEN_EFAULT;
    free_bytes(c, sizeof(*c));
    return result;
}

/* ---- what the structure has no room for ---- */

int64_t domctl_get_ext_vcpucontext(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_ext_vcpucontext *e = &op->u.ext_vcpucontext;
    const uint32_t                     number = e->vcpu;
    struct vcpu                       *target;
    const struct pv_trap              *callback;
    int64_t                            result = pv_target_of(v, d, number, &target);

    if (result != 0)
        return result;
    callback = target->pv->callback;
    memset(e, 0, sizeof(*e));
    e->vcpu = number;
    e->size = sizeof(*e);
    e->syscall32_callback_eip = callback[PV_CALLBACK_SYSCALL32].address;
    e->syscall32_callback_cs = FLAT_KERNEL_CS;
    e->syscall32_disables_events = callback[PV_CALLBACK_SYSCALL32].masks;
    e->sysenter_callback_eip = callback[PV_CALLBACK_SYSENTER].address;
    e->sysenter_callback_cs = FLAT_KERNEL_CS;
    e->sysenter_disables_events = callback[PV_CALLBACK_SYSENTER].masks;
    return 0;
}

/* Of machine checks a guest hears nothing, so what is said about them does not matter. */
int64_t domctl_set_ext_vcpucontext(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_ext_vcpucontext *e = &op->u.ext_vcpucontext;
    struct vcpu                             *target;
    int64_t                                  result = pv_target_of(v, d, e->vcpu, &target);

    if (result != 0)
        return result;
    if (e->size < offsetof(struct xen_domctl_ext_vcpucontext, mcg_cap) ||
        !handler_ok(e->syscall32_callback_eip) || !handler_ok(e->sysenter_callback_eip))
        return -XEN_EINVAL;
    target->pv->callback[PV_CALLBACK_SYSCALL32] = (struct pv_trap){
        .address = e->syscall32_callback_eip,
        .masks = e->syscall32_disables_events != 0,
    };
    target->pv->callback[PV_CALLBACK_SYSENTER] = (struct pv_trap){
        .address = e->sysenter_callback_eip,
        .masks = e->sysenter_disables_events != 0,
    };
    pv_edge_sysenter_changed(target->pv);
    return 0;
}

/* There is no XSAVE: no bit of the mask, and no bytes. */
int64_t domctl_vcpuextstate(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_vcpuextstate *e = &op->u.vcpuextstate;
    struct vcpu                    *target;
    int64_t                         result = pv_target_of(v, d, e->vcpu, &target);

    if (result != 0)
        return result;
    if (op->cmd == XEN_DOMCTL_setvcpuextstate)
        return e->size == 0 ? 0 : -XEN_EINVAL;
    e->xfeature_mask = 0;
    e->size = 0;
    return 0;
}

int64_t domctl_vcpu_msrs(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_vcpu_msrs *m = &op->u.vcpu_msrs;
    struct vcpu                 *target;
    int64_t                      result = pv_target_of(v, d, m->vcpu, &target);

    if (result != 0)
        return result;
    if (op->cmd == XEN_DOMCTL_set_vcpu_msrs)
        return m->msr_count == 0 ? 0 : -XEN_EINVAL;
    m->msr_count = 0;
    return 0;
}
