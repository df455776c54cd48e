/*
 * A PV guest that runs on shadows of its tables: doc/pv.md, "Shadow mode". In ring 3 the processor
 * is on a root of ours, which holds the hypervisor's slots as the guest's roots do; outside of it,
 * on the hypervisor's own. Since both changes take all out of its TLB, nothing else is flushed for
 * what the core lowers, and no root can go while the processor is on it.
 *
 * The guest's memory is reached by a walk of its kernel's tables and the direct map.
 */
#include "x86/pv/pv.h"

#include "hv/access.h"
#include "hv/guest.h"
#include "x86/cpu.h"
#include "x86/hw/cpuid.h"
#include "x86/mm.h"

/* As a guest's processor would have it: four levels, with W and NX obeyed. Ring 3 is the user. */
static struct paging_regs regs_of(mfn_t root)
{
    return (struct paging_regs){
        .cr0 = CR0_PE | CR0_PG | CR0_WP,
        .cr3 = root.raw << PAGE_SHIFT,
        .cr4 = CR4_PAE,
        .efer = EFER_LME | EFER_LMA | EFER_NXE,
    };
}

/* The core walks this root from now on. */
static void walk_from(struct vcpu *v, mfn_t root)
{
    const struct paging_regs regs = regs_of(root);

    if (v->paging.regs.cr3 != regs.cr3)
        paging_note_regs(domain_lock(v->domain), &v->paging, &regs);
}

bool pv_shadow_ready(struct pv_vcpu *pv)
{
    struct domain     *d = pv->vcpu->domain;
    mfn_t              root = pv->direct.root[!pv->kernel];
    struct paging_regs regs = regs_of(root);
    struct verdict     verdict;

    if (paging_runs_on(&pv->vcpu->paging, root)) {
        walk_from(pv->vcpu, root);
        return true;
    }
    verdict = paging_set_regs(domain_lock(d), &pv->vcpu->paging, &regs);
    if (verdict.kind == VERDICT_CRASH)
        domain_crash(d, "%s", verdict.why);
    return verdict.kind == VERDICT_RETRY && !verdict.again;
}

void pv_shadow_enter(struct pv_vcpu *pv)
{
    write_cr3(paging_hw(&pv->vcpu->paging).cr3);
    pv_enter(pv);
    mm_load_root();
}

bool pv_shadow_fault(struct pv_vcpu *pv, uint64_t address, uint64_t *error)
{
    const struct fault fault = {
        .va = gva_of(address),
        .acc =
            ACC_USER | (*error & PFEC_W ? ACC_WRITE : 0u) | (*error & PFEC_FETCH ? ACC_FETCH : 0u),
        .present = (*error & PFEC_P) != 0,
    };
    struct verdict verdict;

    if (!pv_address_ok(address, 1))
        return false;
    verdict = paging_fault(domain_lock(pv->vcpu->domain), &pv->vcpu->paging, &fault);
    switch (verdict.kind) {
    case VERDICT_RETRY:
        if (verdict.step)
            pv_step_open(pv);
        else if (pv->step.open)
            pv_step_close(pv);
        return true;
    case VERDICT_INJECT:
        *error = verdict.pfec;
        return false;
    case VERDICT_ACCESS: /* the instruction is made again */
        access_tell(pv->vcpu, &verdict, fault.va, pv->regs.rip);
        return true;
    case VERDICT_EMULATE: /* a table that its tables make writable, and a frame that is not its own: */
    case VERDICT_DEVICE: /* its tables have been checked */
    case VERDICT_CRASH:
        break;
    }
    domain_crash(pv->vcpu->domain, "%s",
                 verdict.why ? verdict.why : "its tables do not say what they were checked for");
    return true;
}

unsigned pv_peek(struct pv_vcpu *pv, gva_t va, uint8_t bytes[INSN_BYTES_MAX])
{
    unsigned want = INSN_BYTES_MAX, rest = (unsigned)(PAGE_SIZE - (va.raw & PAGE_MASK));

    if (!pv_address_ok(va.raw, 1))
        return 0;
    if (rest < want && !pv_address_ok(va.raw + rest, 1))
        want = rest;
    return step_peek(pv->vcpu, va, bytes, want);
}

/* Copies within one page, as its kernel's tables allow. */
static bool copy_piece(struct vcpu *v, void *to, const void *from, uint64_t va, unsigned len)
{
    unsigned             acc = to ? ACC_USER : ACC_USER | ACC_WRITE;
    struct paging_locked lock = domain_lock(v->domain);
    struct paging_reach  r = access_reach(v, gva_of(va), acc);
    unsigned             offset = (unsigned)(va & PAGE_MASK);
    struct verdict       verdict;

    if (r.kind != REACH_RAM)
        return false;
    if (to) {
        __builtin_memcpy(to, (uint8_t *)phys_ptr(&machine_phys, r.mfn) + offset, len);
        return true;
    }
    verdict = paging_write(lock, r.mfn, offset, from, len);
    verdict_flush(v->domain, &verdict);
    return true;
}

bool pv_shadow_copy(struct vcpu *v, void *to, const void *from, uint64_t va, size_t len)
{
    walk_from(v, v->pv->direct.root[0]);
    for (size_t done = 0, n; done < len; done += n) {
        size_t rest = PAGE_SIZE - ((va + done) & PAGE_MASK);

        n = len - done < rest ? len - done : rest;
        if (!copy_piece(v, to ? (uint8_t *)to + done : NULL,
                        from ? (const uint8_t *)from + done : NULL, va + done, (unsigned)n))
            return false;
    }
    return true;
}

/* ---- L1TF ---- */

#define VENDOR_INTEL 0x756e6547u /* "Genu" in EBX of leaf 0 */
#define RDCL_NO      UINT64_C(1) /* of MSR_ARCH_CAPS: not affected */

/* The word `l1tf` on the hypervisor's command line. */
static bool is_asked_for(void)
{
    static const char name[] = "l1tf";

    for (const char *at = machine_command_line(); *at != '\0';) {
        size_t n = 0;

        while (at[n] != '\0' && at[n] != ' ')
            n++;
        if (n == sizeof(name) - 1 && __builtin_memcmp(at, name, n) == 0)
            return true;
        at += n + (at[n] == ' ');
    }
    return false;
}

static bool is_affected(void)
{
    if (cpuid(LEAF_VENDOR, 0).ebx != VENDOR_INTEL)
        return false;
    return !(cpuid(LEAF_STRUCTURED, 0).edx & F7D_ARCH_CAPS) || !(rdmsr(MSR_ARCH_CAPS) & RDCL_NO);
}

uint64_t pv_edge_l1tf_limit(void)
{
    return is_asked_for() || is_affected() ? machine_phys.frames : 0;
}
