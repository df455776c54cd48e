/*
 * Breakpoints and debug exceptions of a PV guest on the way to its kernel, for a listener that wants to be
 * told of them, and what it injects in their place. Without one they are bounced at once. And its writes to
 * registers, by instructions that are emulated and by hypercalls.
 */
#include "hv/guest.h"
#include "hv/vm_event.h"
#include "x86/cpu.h"
#include "x86/pv/pv.h"
#include "x86/traps.h"

#define EXCEPTIONS      32
#define INSN_LENGTH_MAX 15
#define NO_ERROR        UINT32_MAX
#define INT3            0xcc
#define INT_N           0xcd

static uint64_t gfn_at_rip(const struct pv_vcpu *pv)
{
    struct paging_view view;

    paging_view(domain_lock(pv->vcpu->domain), &pv->vcpu->paging, pv_step_rip(pv), &view);
    return view.mapped ? view.gpa >> PAGE_SHIFT : 0;
}

/* INT3 or INT 3, behind which RIP stands: it is a trap. 0: what was there is not there any more. */
static unsigned length_before_rip(struct pv_vcpu *pv)
{
    uint8_t bytes[INSN_BYTES_MAX];
    gva_t   rip = pv_step_rip(pv);

    if (pv_peek(pv, gva_of(rip.raw - 1), bytes) != 0 && bytes[0] == INT3)
        return 1;
    if (pv_peek(pv, gva_of(rip.raw - 2), bytes) >= 2 && bytes[0] == INT_N && bytes[1] == VECTOR_BP)
        return 2;
    return 0;
}

/* As of others, RIP stands before it until it is injected. */
bool pv_event_breakpoint(struct pv_vcpu *pv)
{
    unsigned length;

    if (!vm_event_wants(pv->vcpu->domain, VM_EVENT_BIT(SOFTWARE_BREAKPOINT)))
        return false;
    length = length_before_rip(pv);
    if (length == 0)
        return false;
    pv->regs.rip -= length;
    if (vm_event_breakpoint(pv->vcpu, gfn_at_rip(pv), length))
        return true;
    pv->regs.rip += length;
    return false;
}

bool pv_event_debug(struct pv_vcpu *pv, uint64_t dr6)
{
    const struct vm_event_debug what = { .pending_dbg = dr6 & DR6_CAUSES,
                                         .type = XEN_DMOP_EVENT_hw_exc };

    return vm_event_wants(pv->vcpu->domain, VM_EVENT_BIT(DEBUG_EXCEPTION)) &&
           vm_event_debug(pv->vcpu, gfn_at_rip(pv), &what);
}

/* ---- writes to registers ---- */

/* True: it is to be made now. */
static bool is_open(enum vm_event_gate gate)
{
    return gate == VM_EVENT_GATE_OPEN || gate == VM_EVENT_GATE_NONE;
}

static void end(struct vcpu *v, enum vm_event_gate gate)
{
    if (gate != VM_EVENT_GATE_ASKED)
        vm_event_written(v);
}

bool pv_event_write_control(struct pv_vcpu *pv, unsigned number, uint64_t value)
{
    enum vm_event_gate gate = VM_EVENT_GATE_NONE;
    uint64_t           old;
    bool               good;

    if (vm_event_is_on(pv->vcpu->domain) && (number == 0 || number == 4) &&
        pv_edge_get_control(pv, number, &old))
        gate = vm_event_write_cr(pv->vcpu, number == 0 ? VM_EVENT_X86_CR0 : VM_EVENT_X86_CR4, old,
                                 value);
    good = !is_open(gate) || pv_edge_set_control(pv, number, value);
    end(pv->vcpu, gate);
    return good;
}

bool pv_event_write_msr(struct pv_vcpu *pv, uint32_t msr, uint64_t value)
{
    enum vm_event_gate gate = VM_EVENT_GATE_NONE;
    uint64_t           old = 0; /* of one that there is not */
    bool               good;

    if (vm_event_wants(pv->vcpu->domain, VM_EVENT_BIT(MOV_TO_MSR))) {
        (void)!pv_read_msr(pv, msr, &old);
        gate = vm_event_write_msr(pv->vcpu, msr, old, value);
    }
    good = !is_open(gate) || pv_write_msr(pv, msr, value);
    end(pv->vcpu, gate);
    return good;
}

bool pv_edge_write_ts(struct pv_vcpu *pv, bool ts)
{
    uint64_t cr0 = 0;

    if (!vm_event_is_on(pv->vcpu->domain)) {
        pv_edge_set_ts(pv, ts);
        return true;
    }
    (void)!pv_edge_get_control(pv, 0, &cr0);
    (void)!pv_event_write_control(pv, 0, ts ? cr0 | CR0_TS : cr0 & ~(uint64_t)CR0_TS);
    return pv->vcpu->watch.gate != VM_EVENT_GATE_ASKED;
}

bool pv_edge_write_base(struct pv_vcpu *pv, enum pv_base which, uint64_t base)
{
    static const uint32_t msr_of[] = { [PV_BASE_FS] = MSR_FS_BASE,
                                       [PV_BASE_GS_KERNEL] = MSR_GS_BASE,
                                       [PV_BASE_GS_USER] = MSR_KERNEL_GS_BASE };

    if (!vm_event_is_on(pv->vcpu->domain))
        pv_edge_set_base(pv, which, base);
    else
        (void)!pv_event_write_msr(pv, msr_of[which], base);
    return pv->vcpu->watch.gate != VM_EVENT_GATE_ASKED;
}

/* ---- injected ---- */

static bool is_instruction(uint8_t type)
{
    return type == XEN_DMOP_EVENT_sw_int || type == XEN_DMOP_EVENT_sw_exc;
}

bool pv_vcpu_inject(struct vcpu *v, const struct machine_event *event)
{
    struct pv_vcpu *pv = v->pv;
    bool            exception =
        event->type == XEN_DMOP_EVENT_hw_exc || event->type == XEN_DMOP_EVENT_pri_sw_exc;

    if (pv->injected.due || event->length > INSN_LENGTH_MAX)
        return false;
    if (!is_instruction(event->type) &&
        (!exception || event->vector >= EXCEPTIONS || event->vector == VECTOR_NMI))
        return false;
    pv->injected = (struct pv_injected){ .due = true,
                                         .vector = event->vector,
                                         .type = event->type,
                                         .error = event->error,
                                         .cr2 = event->cr2 };
    if (event->type != XEN_DMOP_EVENT_hw_exc)
        pv->regs.rip += event->length;
    return true;
}

void pv_event_deliver(struct pv_vcpu *pv)
{
    const struct pv_injected e = pv->injected;
    uint64_t                 error = e.error == NO_ERROR ? 0 : e.error;

    pv->injected.due = false;
    if (is_instruction(e.type)) {
        pv_bounce_interrupt(pv, e.vector);
    } else if (e.vector == VECTOR_PF) {
        pv->fault_address = e.cr2;
        pv_bounce_page_fault(pv, e.cr2, error);
    } else {
        pv_bounce_exception(pv, e.vector, error);
    }
}
