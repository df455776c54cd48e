/*
 * domctl: a domain is made, piece by piece: an empty one, its vCPUs, how these begin (domctl.h,
 * arch-x86/xen.h). Its memory comes by memory_op, what is in it by foreign mappings.
 */
#include <string.h>

#include "hv/alloc.h"
#include "hv/build.h"
#include "hv/domain_pool.h"
#include "hv/hc_control.h"
#include "hv/hc_foreign.h"
#include "hv/time.h"

#define RFLAGS_IF      UINT64_C(0x200)
#define RFLAGS_ALWAYS  UINT64_C(2)
#define RFLAGS_OF_USER UINT64_C(0x254dd5) /* what ring 3 may set: no IOPL, VM, VIF, VIP */
#define DR7_ENABLES    UINT64_C(0xff)
#define MXCSR_OFFSET   24
#define MXCSR_KNOWN    UINT32_C(0xffff)

_Static_assert(sizeof(struct vcpu_guest_context) == 5168, "arch-x86/xen.h");

/* ---- an empty one ---- */

/* A guest with a processor of its own: a local APIC is all of a board that it gets. */
static int64_t wanted_hvm(const struct xen_domctl_createdomain *c, struct config *config)
{
    bool nested = (c->flags & XEN_DOMCTL_CDF_hap) != 0;

    if (c->arch.emulation_flags != XEN_X86_EMU_LAPIC)
        return -XEN_EINVAL;
    if (!machine_offers_hvm() || (nested && !machine_offers_nested()))
        return -XEN_EOPNOTSUPP;
    config->type = CONFIG_PVH;
    config->paging = nested ? CONFIG_PAGING_NESTED : CONFIG_PAGING_SHADOW;
    return 0;
}

/* What the hypervisor cannot do is refused, and so is what it would only ignore; oos_off is a hint. */
static int64_t wanted(const struct xen_domctl_createdomain *c, struct config *config)
{
    uint32_t known = XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap | XEN_DOMCTL_CDF_oos_off;

    if ((c->flags & ~known) != 0 || c->iommu_opts != 0 || c->vmtrace_size != 0 ||
        c->cpupool_id != 0 || c->max_vcpus == 0 || c->max_vcpus > DOMAIN_VCPUS_MAX ||
        c->arch.misc_flags != 0 || XEN_DOMCTL_GRANT_version(c->grant_opts) != 1)
        return -XEN_EINVAL;
    *config = (struct config){ .type = CONFIG_PV, .vcpus = c->max_vcpus };
    if ((c->flags & XEN_DOMCTL_CDF_hvm) != 0)
        return wanted_hvm(c, config);
    return c->max_vcpus != 1 || c->flags != 0 || c->arch.emulation_flags != 0 ? -XEN_EINVAL : 0;
}

/* A number that is given must be free; 0 and what is no number ask for any. */
int64_t domctl_createdomain(struct vcpu *v, struct domain *none, struct xen_domctl *op)
{
    struct config  config;
    int64_t        result = wanted(&op->u.createdomain, &config);
    uint16_t       id = op->domain < DOMID_FIRST_RESERVED ? op->domain : 0;
    struct domain *d;

    (void)v;
    (void)none;
    if (result != 0)
        return result;
    if (id != 0 && domain_by_id(id) != NULL)
        return -XEN_EEXIST;
    d = domain_create_empty(&config, id);
    if (d == NULL)
        return -XEN_ENOMEM;
    memcpy(d->handle, op->u.createdomain.handle, sizeof(d->handle));
    op->domain = d->id;
    return 0;
}

/* The pool of tables grows to what so many need, then they come one by one. */
int64_t domctl_max_vcpus(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    if (op->u.max_vcpus.max != d->config.vcpus || d->state != DOMAIN_BUILDING)
        return -XEN_EINVAL;
    if (d->pv == NULL) {
        enum domain_pool_result pool = domain_pool_grow(d, domain_pool_least(d, 0));

        if (pool != DOMAIN_POOL_DONE)
            return pool == DOMAIN_POOL_AGAIN ? HC_AGAIN : -XEN_ENOMEM;
    }
    if (!domain_create_vcpu(d))
        return -XEN_ENOMEM;
    return d->nr_vcpus < d->config.vcpus ? HC_AGAIN : 0;
}

/* The TSC is never emulated, which is what these modes allow. */
int64_t domctl_settscinfo(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    (void)d;
    return op->u.tsc_info.tsc_mode == 0 || op->u.tsc_info.tsc_mode == 2 ? 0 : -XEN_EINVAL;
}

int64_t domctl_gettscinfo(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    (void)d;
    op->u.tsc_info = (struct xen_domctl_tsc_info){ .tsc_mode = 2,
                                                   .gtsc_khz = (uint32_t)machine_ticks_per_ms(),
                                                   .elapsed_nsec = machine_now() };
    return 0;
}

/* ---- how a PV guest's vCPU begins ---- */

static bool canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static bool handler_ok(uint64_t address)
{
    return address == 0 || pv_address_ok(address, 1);
}

/* All that is refused is refused before anything is changed. */
static int64_t check(const struct vcpu_guest_context *c)
{
    if ((c->flags & VGCF_in_kernel) == 0 || c->gdt_ents != 0 || c->ldt_ents != 0 ||
        c->ctrlreg[1] != 0)
        return -XEN_EOPNOTSUPP; /* of one that ran elsewhere */
    if ((c->debugreg[7] & DR7_ENABLES) != 0)
        return -XEN_EINVAL;
    for (unsigned i = 0; i < PV_VECTORS; i++)
        if (!handler_ok(c->trap_ctxt[i].address))
            return -XEN_EINVAL;
    if (!handler_ok(c->event_callback_eip) || !handler_ok(c->failsafe_callback_eip) ||
        !handler_ok(c->syscall_callback_eip) || !canonical(c->fs_base) ||
        !canonical(c->gs_base_kernel) || !canonical(c->gs_base_user))
        return -XEN_EINVAL;
    return 0;
}

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
                                        .masks = (c->trap_ctxt[i].flags & 4) != 0 };
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

/* Its root is validated first, in pieces: what a call that is made again finds done is quick. */
static int64_t begin(struct domain *d, struct vcpu *target, const struct vcpu_guest_context *c)
{
    const struct machine_start start = { .rip = c->user_regs.rip };
    struct direct_request      r = { .op = DIRECT_ROOT };
    struct pv_vcpu            *pv = target->pv;
    int64_t                    result = check(c);

    if (result != 0)
        return result;
    r.owner = &d->pv->direct;
    r.from = d->id;
    r.mfn = mfn_of(c->ctrlreg[3] >> PAGE_SHIFT);
    result = hc_pv_request(&pv->direct, &r);
    if (result != 0)
        return result;
    if (!machine_vcpu_create(target, &start))
        return -XEN_ENOMEM;
    set_registers(pv, &c->user_regs);
    set_handlers(pv, c);
    set_fpu(pv, c);
    pv->kernel_sp = c->kernel_sp;
    pv_edge_set_base(pv, PV_BASE_FS, c->fs_base);
    pv_edge_set_base(pv, PV_BASE_GS_KERNEL, c->gs_base_kernel);
    pv_edge_set_base(pv, PV_BASE_GS_USER, c->gs_base_user);
    if ((c->flags & VGCF_online) != 0 && target->state == VCPU_DOWN) {
        target->state = VCPU_RUNNABLE;
        time_runstate(target, RUNSTATE_runnable);
    }
    time_wallclock_write(d);
    return 0;
}

int64_t domctl_setvcpucontext(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_vcpucontext *arg = &op->u.vcpucontext;
    struct vcpu_guest_context           *c;
    int64_t                              result = -XEN_EFAULT;

    if (arg->vcpu >= d->nr_vcpus)
        return -XEN_EINVAL;
    if (d->pv == NULL || d->state != DOMAIN_BUILDING)
        return -XEN_EOPNOTSUPP;
    c = alloc_bytes(sizeof(*c));
    if (c == NULL)
        return -XEN_ENOMEM;
    if (guest_copy_in(v, c, hc_address(arg->ctxt.p), sizeof(*c)))
        result = begin(d, d->vcpu[arg->vcpu], c);
    free_bytes(c, sizeof(*c));
    return result;
}

/* The page of hypercalls, for kernels that have one. */
int64_t domctl_hypercall_init(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    mfn_t mfn = mfn_of(op->u.hypercall_init.gmfn);

    (void)v;
    if (d->pv == NULL)
        return -XEN_EOPNOTSUPP; /* it asks by an MSR */
    if (!pv_keep(d, mfn, TYPE_WRITABLE))
        return -XEN_EINVAL;
    pv_hypercall_page(phys_ptr(&machine_phys, mfn));
    pv_let_go(d, mfn, TYPE_WRITABLE);
    return 0;
}
