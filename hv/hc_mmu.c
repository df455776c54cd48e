/*
 * What a PV guest asks of its page tables: mmu_update, update_va_mapping, mmuext_op. Each update is
 * one request to the page-type machine; a batch stops where others are to have their turn, and its
 * arguments say what is left (xen.h).
 */
#include "hv/control.h"
#include "hv/hc.h"
#include "hv/hc_foreign.h"
#include "hv/hc_pv.h"
#include "hv/vm_event.h"

#include <string.h>

#define PREEMPTED  (UINT32_C(1) << 31) /* of the count: it goes on, and *pdone says since when */
#define CMD_MASK   UINT64_C(3)
#define ENTRY_MASK UINT64_C(7) /* of an entry's address: not the address's */
#define UPDATES    16u         /* that are read, and made, without a look at others */

/* One operation of a batch, with frames of the domain `from`, or of DOMID_XEN (NULL): 0, HC_AGAIN or an error. */
typedef int64_t operation(struct vcpu *v, struct domain *from, const void *op);

int64_t hc_pv_request(struct direct_vcpu *v, const struct direct_request *r)
{
    enum direct_error error;

    switch (pv_request(v, r, &error)) {
    case PV_DONE:
        return 0;
    case PV_AGAIN:
        return HC_AGAIN;
    case PV_REFUSED:
        break;
    }
    return error == DIRECT_OVERFLOW ? -XEN_EBUSY : -XEN_EINVAL;
}

/* The guest's own tables and own frames. */
static int64_t request(struct vcpu *v, struct direct_request r)
{
    r.owner = &v->domain->pv->direct;
    r.from = v->domain->id;
    return hc_pv_request(&v->pv->direct, &r);
}

/* ---- batches ---- */

/*
 * The low half says whose frames are mapped: the caller's, or for the control domain anybody's, and DOMID_XEN's. The high
 * one, if it is not 0, says whose tables are changed, plus 1: the caller's.
 */
static int64_t whose(struct vcpu *v, uint32_t foreign, struct domain **from)
{
    int64_t result = 0;

    *from = NULL;
    if (foreign >> 16 != 0)
        result = hc_own_domain(v, (uint16_t)((foreign >> 16) - 1));
    if (result != 0 || (domain_is_control(v->domain) && (uint16_t)foreign == DOMID_XEN))
        return result;
    return hc_target(v, (uint16_t)foreign, from);
}

/* So many are done, after `before` in the calls that it goes on from. */
static int64_t end_batch(struct vcpu *v, struct hypercall *h, size_t size, uint32_t count,
                         uint32_t before, int64_t result)
{
    before += count;
    if (h->arg[2] != 0 && !guest_copy_out(v, h->arg[2], &before, sizeof(before)))
        return -XEN_EFAULT;
    if (result == HC_AGAIN) {
        h->arg[0] += count * size;
        h->arg[1] = (((uint32_t)h->arg[1] & ~PREEMPTED) - count) | PREEMPTED;
    }
    return result;
}

/* arg[0]: operations, arg[1]: how many, arg[2]: where the number done goes, arg[3]: whose frames. */
static int64_t batch(struct vcpu *v, struct hypercall *h, size_t size, operation *run)
{
    uint32_t       left = (uint32_t)h->arg[1] & ~PREEMPTED, done = 0, i;
    struct domain *from;
    int64_t        result;

    result = whose(v, (uint32_t)h->arg[3], &from);
    if (result != 0)
        return result;
    if (((uint32_t)h->arg[1] & PREEMPTED) != 0 && h->arg[2] != 0 &&
        !guest_copy_in(v, &done, h->arg[2], sizeof(done)))
        return -XEN_EFAULT;
    for (i = 0; i < left && result == 0; i += result == 0) {
        uint8_t op[sizeof(struct mmuext_op)];

        if (i != 0 && hc_preempt())
            result = HC_AGAIN;
        else if (!guest_copy_in(v, op, h->arg[0] + i * size, size))
            result = -XEN_EFAULT;
        else
            result = run(v, from, op);
    }
    return end_batch(v, h, size, i, done, result);
}

/* ---- mmu_update ---- */

static int64_t machphys_update(struct domain *d, mfn_t mfn, uint64_t pfn)
{
    if (d == NULL || d->pv == NULL || !pv_keep(d, mfn, TYPE_NONE))
        return -XEN_EINVAL;
    pv_m2p_set(d, mfn, pfn);
    pv_let_go(d, mfn, TYPE_NONE);
    return 0;
}

static int64_t one_update(struct vcpu *v, struct domain *from, const void *op)
{
    struct mmu_update     u;
    struct direct_request r = { .op = DIRECT_UPDATE };

    __builtin_memcpy(&u, op, sizeof(u));
    r.mfn = mfn_of(u.ptr >> PAGE_SHIFT);
    r.index = (unsigned)(u.ptr & PAGE_MASK & ~ENTRY_MASK) / 8;
    r.value = u.val;
    switch (u.ptr & CMD_MASK) {
    case MMU_PT_UPDATE_PRESERVE_AD:
        r.flags = DIRECT_PRESERVE;
        break;
    case MMU_MACHPHYS_UPDATE:
        return machphys_update(from, r.mfn, u.val);
    }
    if (from == v->domain)
        return request(v, r);
    return hc_foreign_update(v, from, &r, (u.ptr & CMD_MASK) != MMU_PT_UPDATE_NO_TRANSLATE);
}

_Static_assert(sizeof(struct direct_store) == sizeof(struct mmu_update) &&
                   offsetof(struct direct_store, value) == offsetof(struct mmu_update, val),
               "the guest's list is the core's");
_Static_assert(MMU_NORMAL_PT_UPDATE == 0 && MMU_PT_UPDATE_PRESERVE_AD == DIRECT_AT_PRESERVE,
               "the commands of two kinds are what the core wants in an address");

/* What the core is asked for at once. */
static bool is_plain(const struct direct_store *u)
{
    return (u->at & ENTRY_MASK & ~DIRECT_AT_PRESERVE) == 0;
}

int64_t hc_mmu_update_own(struct vcpu *v, const struct direct_store *u)
{
    if (__builtin_expect(is_plain(u) && direct_update_now(&v->pv->direct, u, 1, PV_BUDGET) == 1, 1))
        return 0;
    return one_update(v, v->domain, u);
}

/* The next of a list, at most so many, with the caller's own frames. Gives how many were done. */
static int64_t some_updates(struct vcpu *v, uint64_t va, uint32_t left, uint32_t *done)
{
    struct direct_store list[UPDATES];
    uint32_t            count = left < UPDATES ? left : UPDATES, plain = 0;
    int64_t             result;

    *done = 0;
    if (!guest_copy_in(v, list, va, count * sizeof(list[0]))) {
        count = 1; /* those before one that cannot be read are made */
        if (!guest_copy_in(v, list, va, sizeof(list[0])))
            return -XEN_EFAULT;
    }
    while (plain < count && is_plain(&list[plain]))
        plain++;
    *done = direct_update_now(&v->pv->direct, list, plain, PV_BUDGET);
    if (*done == count)
        return 0;
    result = one_update(v, v->domain, &list[*done]);
    *done += result == 0;
    return result;
}

/* As a batch goes. */
static int64_t own_updates(struct vcpu *v, struct hypercall *h)
{
    uint32_t left = (uint32_t)h->arg[1] & ~PREEMPTED, before = 0, i = 0;
    int64_t  result = 0;

    if (((uint32_t)h->arg[1] & PREEMPTED) != 0 && h->arg[2] != 0 &&
        !guest_copy_in(v, &before, h->arg[2], sizeof(before)))
        return -XEN_EFAULT;
    while (i < left && result == 0) {
        uint32_t some = 0;

        if (i != 0 && hc_preempt())
            result = HC_AGAIN;
        else
            result = some_updates(v, h->arg[0] + i * sizeof(struct mmu_update), left - i, &some);
        i += some;
    }
    return end_batch(v, h, sizeof(struct mmu_update), i, before, result);
}

int64_t hc_mmu_update(struct vcpu *v, struct hypercall *h)
{
    if ((uint32_t)h->arg[3] == DOMID_SELF)
        return own_updates(v, h);
    return batch(v, h, sizeof(struct mmu_update), one_update);
}

/* ---- update_va_mapping ---- */

/* arg[0]: address, arg[1]: the entry, arg[2]: what to flush then. */
int64_t hc_update_va_mapping(struct vcpu *v, struct hypercall *h)
{
    struct pv_place place;
    int64_t         result;

    if (!pv_address_ok(h->arg[0], 1) ||
        !pv_walk(v->pv->direct.root[0], gva_of(h->arg[0]), 1, &place))
        return -XEN_EINVAL;
    result = request(v, (struct direct_request){
                            .op = DIRECT_UPDATE,
                            .mfn = place.table,
                            .index = place.index,
                            .value = h->arg[1],
                        });
    if (result != 0)
        return result;
    if ((h->arg[2] & UVMF_FLUSHTYPE_MASK) == UVMF_TLB_FLUSH)
        pv_edge_flush();
    else if ((h->arg[2] & UVMF_FLUSHTYPE_MASK) == UVMF_INVLPG)
        pv_edge_flush_address(gva_of(h->arg[0]));
    return 0;
}

int64_t hc_update_va_mapping_otherdomain(struct vcpu *v, struct hypercall *h)
{
    int64_t result = hc_own_domain(v, (uint16_t)h->arg[3]);

    return result != 0 ? result : hc_update_va_mapping(v, h);
}

/* ---- mmuext_op ---- */

/* For programs 0 means none; no other number does. */
static int64_t set_root(struct vcpu *v, uint64_t mfn, bool user)
{
    if (!mfn_valid(mfn_of(mfn)))
        return -XEN_EINVAL;
    if (pv_root_now(v->pv, mfn_of(mfn), user))
        return 0;
    return request(v, (struct direct_request){
                          .op = DIRECT_ROOT,
                          .mfn = user && mfn == 0 ? MFN_NONE : mfn_of(mfn),
                          .user = user,
                      });
}

/* CR3 of the kernel, of whose writes a listener may want to be told. */
static int64_t write_root(struct vcpu *v, uint64_t mfn)
{
    int64_t result = 0;

    if (!vm_event_is_on(v->domain))
        return set_root(v, mfn, false);
    switch (vm_event_write_cr(v, VM_EVENT_X86_CR3, v->pv->direct.root[0].raw << PAGE_SHIFT,
                              mfn << PAGE_SHIFT)) {
    case VM_EVENT_GATE_ASKED:
        return HC_AGAIN;
    case VM_EVENT_GATE_SHUT:
        break;
    case VM_EVENT_GATE_OPEN:
    case VM_EVENT_GATE_NONE:
        result = set_root(v, mfn, false);
        break;
    }
    if (result != HC_AGAIN)
        vm_event_written(v);
    return result;
}

static int64_t pin(struct vcpu *v, uint64_t mfn, unsigned level)
{
    return request(v, (struct direct_request){
                          .op = DIRECT_PIN,
                          .mfn = mfn_of(mfn),
                          .kind = (uint8_t)level,
                      });
}

/* Clears a page or copies one: both are the guest's memory, and neither becomes a table meanwhile. */
static int64_t write_page(struct vcpu *v, uint64_t to, uint64_t from, bool clear)
{
    int64_t result = -XEN_EINVAL;

    if (!pv_get(v->pv, mfn_of(to), TYPE_WRITABLE))
        return -XEN_EINVAL;
    if (clear) {
        memset(phys_ptr(&machine_phys, mfn_of(to)), 0, PAGE_SIZE);
        result = 0;
    } else if (pv_get(v->pv, mfn_of(from), TYPE_NONE)) {
        memmove(phys_ptr(&machine_phys, mfn_of(to)), phys_ptr(&machine_phys, mfn_of(from)),
                PAGE_SIZE);
        pv_put(v->pv, mfn_of(from), TYPE_NONE);
        result = 0;
    }
    paging_dirty_mark(domain_lock(v->domain), mfn_of(to));
    pv_put(v->pv, mfn_of(to), TYPE_WRITABLE);
    return result;
}

static int64_t set_ldt(struct vcpu *v, uint64_t address, uint64_t entries)
{
    struct pv_vcpu *pv = v->pv;
    mfn_t           old[PV_LDT_FRAMES];

    if ((address & PAGE_MASK) != 0 || entries > PV_LDT_FRAMES * PAGE_SIZE / 8 ||
        !pv_address_ok(address, entries * 8))
        return -XEN_EINVAL;
    for (unsigned i = 0; i < PV_LDT_FRAMES; i++) {
        old[i] = pv->ldt_frame[i];
        pv->ldt_frame[i] = MFN_NONE;
    }
    pv->ldt = gva_of(address);
    pv->ldt_entries = (unsigned)entries;
    pv_edge_load_tables(pv);
    for (unsigned i = 0; i < PV_LDT_FRAMES; i++)
        if (mfn_valid(old[i]))
            pv_put(pv, old[i], TYPE_SEGMENTS);
    return 0;
}

/* One CPU runs all vCPUs, and each flushes when it is loaded. */
bool hc_pv_flush(uint32_t cmd, uint64_t address)
{
    switch (cmd) {
    case MMUEXT_INVLPG_LOCAL:
    case MMUEXT_INVLPG_MULTI:
    case MMUEXT_INVLPG_ALL:
        if (pv_address_ok(address, 1))
            pv_edge_flush_address(gva_of(address));
        return true;
    case MMUEXT_TLB_FLUSH_LOCAL:
    case MMUEXT_TLB_FLUSH_MULTI:
    case MMUEXT_TLB_FLUSH_ALL:
        pv_edge_flush();
        return true;
    default:
        return false;
    }
}

static int64_t flush(const struct mmuext_op *op)
{
    switch (op->cmd) {
    case MMUEXT_FLUSH_CACHE:
    case MMUEXT_FLUSH_CACHE_GLOBAL:
        return 0; /* no device looks past the caches */
    default:
        return hc_pv_flush(op->cmd, op->arg1.linear_addr) ? 0 : -XEN_ENOSYS;
    }
}

static int64_t one_operation(struct vcpu *v, struct domain *of, const void *bytes)
{
    struct mmuext_op op;

    __builtin_memcpy(&op, bytes, sizeof(op));
    if (of != v->domain)
        return hc_foreign_operation(of, &op);
    if (v->pv == NULL)
        return -XEN_EINVAL; /* its own tables are its own business */
    switch (op.cmd) {
    case MMUEXT_PIN_L1_TABLE:
    case MMUEXT_PIN_L2_TABLE:
    case MMUEXT_PIN_L3_TABLE:
    case MMUEXT_PIN_L4_TABLE:
        return pin(v, op.arg1.mfn, op.cmd - MMUEXT_PIN_L1_TABLE + 1);
    case MMUEXT_UNPIN_TABLE:
        return request(v,
                       (struct direct_request){ .op = DIRECT_UNPIN, .mfn = mfn_of(op.arg1.mfn) });
    case MMUEXT_NEW_BASEPTR:
        return write_root(v, op.arg1.mfn);
    case MMUEXT_NEW_USER_BASEPTR:
        return set_root(v, op.arg1.mfn, true);
    case MMUEXT_SET_LDT:
        return set_ldt(v, op.arg1.linear_addr, op.arg2.nr_ents);
    case MMUEXT_CLEAR_PAGE:
    case MMUEXT_COPY_PAGE:
        return write_page(v, op.arg1.mfn, op.arg2.src_mfn, op.cmd == MMUEXT_CLEAR_PAGE);
    default:
        return flush(&op);
    }
}

int64_t hc_mmuext_op(struct vcpu *v, struct hypercall *h)
{
    h->arg[3] = (uint16_t)h->arg[3];
    return batch(v, h, sizeof(struct mmuext_op), one_operation);
}

int64_t hc_mmuext_op_of_others(struct vcpu *v, struct hypercall *h)
{
    return domain_is_control(v->domain) ? hc_mmuext_op(v, h) : -XEN_ENOSYS;
}
