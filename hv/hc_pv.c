/*
 * Hypercalls of PV guests about the processor: traps, callbacks, descriptors, segment bases, TS,
 * debug registers, and the return from all of these. xen.h, callback.h, arch-x86/xen-x86_64.h.
 */
#include "hv/hc_pv.h"

#include <string.h>

#define GDT_PER_FRAME (HC_GDT_ENTRIES_MAX / PV_GDT_FRAMES)
#define IO_PORTS      65536u
#define DR7_ALWAYS    UINT64_C(0x400)
#define DR7_LENGTHS   16                   /* first of the fields R/W and LEN of breakpoint 0 */
#define DR7_ALLOWED   UINT64_C(0xffff03ff) /* no GD, no reserved bits */

/* ---- traps and callbacks ---- */

/* arg[0]: a list that ends with address 0; 0: no traps at all. */
int64_t hc_set_trap_table(struct vcpu *v, struct hypercall *h)
{
    if (h->arg[0] == 0) {
        memset(v->pv->trap, 0, sizeof(v->pv->trap));
        return 0;
    }
    for (bool first = true;; first = false, h->arg[0] += sizeof(struct trap_info)) {
        struct trap_info t;

        if (!first && hc_preempt())
            return HC_AGAIN;
        if (!guest_copy_in(v, &t, h->arg[0], sizeof(t)))
            return -XEN_EFAULT;
        if (t.address == 0)
            return 0;
        if (!pv_address_ok(t.address, 1))
            return -XEN_EINVAL;
        v->pv->trap[t.vector] = (struct pv_trap){
            .address = t.address,
            .dpl = t.flags & 3,
            .masks = (t.flags & 4) != 0,
        };
    }
}

/* The place of a kind of callback; NULL: unknown. */
static struct pv_trap *callback_of(struct vcpu *v, uint16_t type)
{
    switch (type) {
    case CALLBACKTYPE_event:
        return &v->pv->callback[PV_CALLBACK_EVENT];
    case CALLBACKTYPE_failsafe:
        return &v->pv->callback[PV_CALLBACK_FAILSAFE];
    case CALLBACKTYPE_syscall:
        return &v->pv->callback[PV_CALLBACK_SYSCALL];
    case CALLBACKTYPE_syscall32:
        return &v->pv->callback[PV_CALLBACK_SYSCALL32];
    case CALLBACKTYPE_sysenter:
        return &v->pv->callback[PV_CALLBACK_SYSENTER];
    case CALLBACKTYPE_nmi:
        return &v->pv->callback[PV_CALLBACK_NMI];
    default:
        return NULL;
    }
}

static int64_t set_callback(struct vcpu *v, uint16_t type, uint16_t flags, uint64_t address)
{
    struct pv_trap *c = callback_of(v, type);

    if (c == NULL)
        return -XEN_ENOSYS;
    if (address != 0 && !pv_address_ok(address, 1))
        return -XEN_EINVAL;
    *c = (struct pv_trap){
        .address = address,
        .masks = type == CALLBACKTYPE_event || type == CALLBACKTYPE_nmi ||
                 (flags & CALLBACKF_mask_events) != 0,
    };
    if (type == CALLBACKTYPE_sysenter)
        pv_edge_sysenter_changed(v->pv);
    return 0;
}

/* arg[0]: command, arg[1]: its structure. */
int64_t hc_callback_op(struct vcpu *v, struct hypercall *h)
{
    struct callback_register   r;
    struct callback_unregister u;

    switch (h->arg[0]) {
    case CALLBACKOP_register:
        if (!guest_copy_in(v, &r, h->arg[1], sizeof(r)))
            return -XEN_EFAULT;
        return set_callback(v, r.type, r.flags, r.address);
    case CALLBACKOP_unregister:
        if (!guest_copy_in(v, &u, h->arg[1], sizeof(u)))
            return -XEN_EFAULT;
        if (callback_of(v, u.type) == NULL)
            return -XEN_ENOSYS;
        /* Without the others a guest does not get far. */
        return u.type == CALLBACKTYPE_nmi || u.type == CALLBACKTYPE_sysenter
                   ? set_callback(v, u.type, 0, 0)
                   : -XEN_EINVAL;
    default:
        return -XEN_ENOSYS;
    }
}

/* arg[0], arg[1], arg[2]: handlers of events, failsafe and system calls. */
int64_t hc_set_callbacks(struct vcpu *v, struct hypercall *h)
{
    static const uint16_t type[] = { CALLBACKTYPE_event, CALLBACKTYPE_failsafe,
                                     CALLBACKTYPE_syscall };

    for (unsigned i = 0; i < 3; i++)
        if (h->arg[i] != 0 && !pv_address_ok(h->arg[i], 1))
            return -XEN_EINVAL;
    for (unsigned i = 0; i < 3; i++) {
        int64_t result = set_callback(v, type[i], 0, h->arg[i]);

        if (result != 0)
            return result;
    }
    return 0;
}

/* What a listener is asked about comes again. */
static int64_t written(bool done)
{
    return done ? 0 : HC_AGAIN;
}

/* ---- descriptors ---- */

static bool same_frames(const mfn_t *a, const mfn_t *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!mfn_eq(a[i], b[i]))
            return false;
    return true;
}

/* Lets go of what calls before this one have got ready. */
static void forget_next(struct pv_vcpu *pv)
{
    while (pv->gdt_ready > 0)
        pv_put(pv, pv->gdt_next[--pv->gdt_ready], TYPE_SEGMENTS);
}

/* One frame more of the next GDT: 0, HC_AGAIN, or an error. */
static int64_t get_ready(struct pv_vcpu *pv, mfn_t mfn)
{
    const struct direct_request request = {
        .op = DIRECT_GET,
        .owner = &pv->vcpu->domain->pv->direct,
        .from = pv->vcpu->domain->id,
        .mfn = mfn,
        .kind = TYPE_SEGMENTS,
    };
    enum pv_result result = pv_request(&pv->direct, &request, NULL);

    if (result == PV_DONE)
        pv->gdt_next[pv->gdt_ready++] = mfn;
    return result == PV_DONE ? 0 : result == PV_AGAIN ? HC_AGAIN : -XEN_EINVAL;
}

/* The frames that are ready, and no others, become the GDT. */
static void exchange_gdt(struct pv_vcpu *pv, unsigned entries)
{
    for (unsigned i = 0; i < PV_GDT_FRAMES; i++) {
        mfn_t old = pv->gdt[i];

        pv->gdt[i] = i < pv->gdt_ready ? pv->gdt_next[i] : MFN_NONE;
        pv->gdt_next[i] = old;
    }
    pv->gdt_ready = 0;
    pv->gdt_entries = entries;
    pv_edge_load_tables(pv);
    for (unsigned i = 0; i < PV_GDT_FRAMES; i++)
        if (mfn_valid(pv->gdt_next[i]))
            pv_put(pv, pv->gdt_next[i], TYPE_SEGMENTS);
}

/*
 * The new frames are all held before the old ones are let go; a call that goes on finds those that it
 * holds already, unless the guest has changed its mind.
 */
int64_t hc_pv_set_gdt(struct pv_vcpu *pv, const mfn_t *wanted, unsigned entries)
{
    unsigned frames = (entries + GDT_PER_FRAME - 1) / GDT_PER_FRAME;
    int64_t  result = 0;

    if (pv->gdt_ready > frames || !same_frames(pv->gdt_next, wanted, pv->gdt_ready))
        forget_next(pv);
    for (bool first = true; pv->gdt_ready < frames && result == 0; first = false)
        result = first || !hc_preempt() ? get_ready(pv, wanted[pv->gdt_ready]) : HC_AGAIN;
    if (result == 0)
        exchange_gdt(pv, entries);
    else if (result != HC_AGAIN)
        forget_next(pv);
    return result;
}

/* arg[0]: frames, arg[1]: entries. */
int64_t hc_set_gdt(struct vcpu *v, struct hypercall *h)
{
    mfn_t wanted[PV_GDT_FRAMES];

    if (h->arg[1] > HC_GDT_ENTRIES_MAX)
        return -XEN_EINVAL;
    if (!guest_copy_in(v, wanted, h->arg[0],
                       (h->arg[1] + GDT_PER_FRAME - 1) / GDT_PER_FRAME * sizeof(wanted[0])))
        return -XEN_EFAULT;
    return hc_pv_set_gdt(v->pv, wanted, (unsigned)h->arg[1]);
}

/* arg[0]: machine address of a descriptor, arg[1]: what it becomes. */
int64_t hc_update_descriptor(struct vcpu *v, struct hypercall *h)
{
    const struct direct_request request = {
        .op = DIRECT_DESCRIPTOR,
        .owner = &v->domain->pv->direct,
        .from = v->domain->id,
        .mfn = mfn_of(h->arg[0] >> PAGE_SHIFT),
        .index = (unsigned)(h->arg[0] & PAGE_MASK) / 8,
        .value = h->arg[1],
    };

    if (h->arg[0] % 8 != 0)
        return -XEN_EINVAL;
    switch (pv_request(&v->pv->direct, &request, NULL)) {
    case PV_DONE:
        return 0;
    case PV_AGAIN:
        return HC_AGAIN;
    case PV_REFUSED:
        break;
    }
    return -XEN_EINVAL;
}

/* arg[0]: which, arg[1]: base, or selector. */
int64_t hc_set_segment_base(struct vcpu *v, struct hypercall *h)
{
    if (h->arg[0] == SEGBASE_GS_USER_SEL) {
        pv_edge_set_user_gs(v->pv, (uint16_t)h->arg[1]);
        return 0;
    }
    if (!pv_is_canonical(h->arg[1]))
        return -XEN_EINVAL;
    switch (h->arg[0]) {
    case SEGBASE_FS:
        return written(pv_edge_write_base(v->pv, PV_BASE_FS, h->arg[1]));
    case SEGBASE_GS_USER:
        return written(pv_edge_write_base(v->pv, PV_BASE_GS_USER, h->arg[1]));
    case SEGBASE_GS_KERNEL:
        return written(pv_edge_write_base(v->pv, PV_BASE_GS_KERNEL, h->arg[1]));
    default:
        return -XEN_EINVAL;
    }
}

/* ---- other registers ---- */

/* arg[0]: selector, which is always the flat one; arg[1]: where bounces from programs begin. */
int64_t hc_stack_switch(struct vcpu *v, struct hypercall *h)
{
    hc_pv_stack_switch(v->pv, h->arg[1]);
    return 0;
}

int64_t hc_fpu_taskswitch(struct vcpu *v, struct hypercall *h)
{
    return written(pv_edge_write_ts(v->pv, h->arg[0] != 0));
}

/* No breakpoint on a port: these need CR4.DE, and ports are not the guest's. */
static bool dr7_ok(uint64_t value)
{
    if ((value & ~DR7_ALLOWED) != 0)
        return false;
    for (unsigned i = 0; i < 4; i++)
        if ((value >> (DR7_LENGTHS + 4 * i) & 3) == 2)
            return false;
    return true;
}

int64_t hc_pv_debug_error(unsigned number, uint64_t value)
{
    if (number < 4 && !pv_address_ok(value, 8))
        return -XEN_EPERM;
    if (number == 6 && value >> 32 != 0)
        return -XEN_EPERM;
    return number == 7 && !dr7_ok(value & ~DR7_ALWAYS) ? -XEN_EPERM : 0;
}

int64_t hc_set_debugreg(struct vcpu *v, struct hypercall *h)
{
    uint64_t number = h->arg[0], value = h->arg[1];
    int64_t  result;

    if (number > 7)
        return -XEN_EINVAL;
    if (number == 4 || number == 5)
        return -XEN_ENODEV;
    result = hc_pv_debug_error((unsigned)number, value);
    if (result == 0)
        pv_edge_set_debug(v->pv, (unsigned)number, number == 7 ? value & ~DR7_ALWAYS : value);
    return result;
}

int64_t hc_get_debugreg(struct vcpu *v, struct hypercall *h)
{
    if (h->arg[0] > 7)
        return -XEN_EINVAL;
    if (h->arg[0] == 4 || h->arg[0] == 5)
        return -XEN_ENODEV;
    return (int64_t)pv_edge_get_debug(v->pv, (unsigned)h->arg[0]);
}

int64_t hc_nmi_op(struct vcpu *v, struct hypercall *h)
{
    struct {
        uint64_t handler, unused;
    } r;

    if (h->arg[0] > 1) /* register and unregister: nmi.h */
        return -XEN_ENOSYS;
    if (h->arg[0] == 1)
        return set_callback(v, CALLBACKTYPE_nmi, 0, 0);
    if (!guest_copy_in(v, &r, h->arg[1], sizeof(r)))
        return -XEN_EFAULT;
    return set_callback(v, CALLBACKTYPE_nmi, 0, r.handler);
}

/* There are no ports and no interrupts of devices. */
int64_t hc_physdev_op(struct vcpu *v, struct hypercall *h)
{
    struct physdev_set_iopl     iopl;
    struct physdev_set_iobitmap bitmap;

    switch (h->arg[0]) {
    case PHYSDEVOP_set_iopl:
        if (!guest_copy_in(v, &iopl, h->arg[1], sizeof(iopl)))
            return -XEN_EFAULT;
        return iopl.iopl <= 3 ? 0 : -XEN_EINVAL;
    case PHYSDEVOP_set_iobitmap:
        if (!guest_copy_in(v, &bitmap, h->arg[1], sizeof(bitmap)))
            return -XEN_EFAULT;
        return bitmap.nr_ports <= IO_PORTS ? 0 : -XEN_EINVAL;
    default:
        return -XEN_ENOSYS;
    }
}

/* ---- the return to where a bounce came from ---- */

/* The vCPU's registers, and its mask of events, become what the frame says. */
static void load_frame(struct pv_vcpu *pv, const struct iret_context *c)
{
    struct pv_regs *r = &pv->regs;

    r->rip = c->rip;
    r->cs = hc_selector(c->cs);
    r->rflags = hc_rflags(c->rflags);
    r->rsp = c->rsp;
    r->ss = hc_selector(c->ss);
    if ((c->flags & VGCF_in_syscall) == 0) {
        r->r11 = c->r11;
        r->rcx = c->rcx;
    } else { /* as SYSRET leaves them */
        r->r11 = r->rflags;
        r->rcx = r->rip;
    }
    r->rax = c->rax; /* any value: it is no result */
    hc_return_mask(pv, c->rflags);
}

/* What stands at the guest's RSP: arch-x86/xen-x86_64.h, struct iret_context. */
int64_t hc_iret(struct vcpu *v, struct hypercall *h)
{
    struct pv_vcpu     *pv = v->pv;
    struct iret_context c;

    (void)h;
    if (!guest_copy_in(v, &c, pv->regs.rsp, sizeof(c))) {
        domain_crash(v->domain, "the iret hypercall's frame at %lx cannot be read", pv->regs.rsp);
        return 0;
    }
    if ((c.cs & 3) == 3) {
        if (!mfn_valid(pv->direct.root[1])) {
            domain_crash(v->domain, "a return to a program that has no page tables");
            return 0;
        }
        pv_edge_toggle(pv);
    }
    load_frame(pv, &c);
    return 0;
}
