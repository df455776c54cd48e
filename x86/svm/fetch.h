/*
 * Fetching the bytes at RIP, by the guest's own rights, and a small cache of translations of
 * pages of code. The bytes themselves are read anew each time.
 *
 * Under shadow paging the processor fetches through our tables, so what they say at RIP now is
 * what it may execute; only if they say nothing are the guest's walked. A translation found in
 * ours is kept as long as a TLB could hold it, by the rules that keep our TLBs right: whoever
 * takes it out of the tables, or any of its rights, has it flushed. It stands in the record of an
 * ASID and goes with a flush of its page, with a full one, and when the ASID is taken anew, as
 * happens when anything was lowered while another root ran. The key has the address, user or
 * supervisor, and by the ASID the root with its rules of CR0.WP, EFER.NXE and CR4.SMEP. APM vol. 2,
 * 5.5.
 *
 * Under nested paging the guest flushes unseen. There a walk through its tables is kept with the
 * entries that it read and the control registers: while they are the same, it would end the same.
 * What it went through was mapped for the processor, which had just fetched from it; if a frame of it
 * leaves the p2m, that counts as a loss of rights.
 */
#ifndef X86_SVM_FETCH_H
#define X86_SVM_FETCH_H

#include "x86/svm/svm.h"

#define SVM_CODE_USER 1 /* in a tag */

static inline struct svm_code *fetch_slot(struct svm_asid *a, uint64_t linear)
{
    return &a->code[linear >> PAGE_SHIFT & (SVM_CODE_PAGES - 1)];
}

/*
 * The next 15 bytes of code in guest memory, which may change at any time: copy them once. NULL
 * if they have to be fetched by fetch_code.
 */
static inline const uint8_t *fetch_cached(const struct machine_vcpu *m)
{
    const struct vmcb     *b = m->vmcb;
    uint64_t               rip = b->rip;
    uint64_t               tag = (rip & ~PAGE_MASK) | (b->cpl == 3 ? SVM_CODE_USER : 0);
    const struct svm_code *slot;

    if (!regs_is_64bit(m) || (rip & PAGE_MASK) > PAGE_SIZE - INSN_BYTES_MAX)
        return NULL;
    slot = fetch_slot(m->running, rip);
    return slot->tag == tag ? slot->page + (rip & PAGE_MASK) : NULL;
}

/* What a fetch in 64-bit mode depends on of the control registers, but for CR3: no two bits are at one place. */
static inline uint64_t fetch_rules_of(const struct paging_regs *r)
{
    _Static_assert((CR0_PG & (CR4_PAE | CR4_LA57 | CR4_SMEP | EFER_LMA | EFER_NXE)) == 0 &&
                       ((CR4_PAE | CR4_LA57 | CR4_SMEP) & (EFER_LMA | EFER_NXE)) == 0,
                   "a bit that means two things");
    return (r->cr0 & CR0_PG) | (r->cr4 & (CR4_PAE | CR4_LA57 | CR4_SMEP)) |
           (r->efer & (EFER_LMA | EFER_NXE));
}

/* The same under nested paging, by a walk that was kept. */
must_check const uint8_t *fetch_walked(struct machine_vcpu *m);

/* The same under either. */
static inline const uint8_t *fetch_known(struct machine_vcpu *m)
{
    return m->nested ? fetch_walked(m) : fetch_cached(m);
}

/*
 * At most `want` bytes (1 to 15) of code from RIP + offset, as many as their page has; 0 if they
 * cannot be fetched.
 */
unsigned fetch_code(struct machine_vcpu *m, uint8_t *to, unsigned offset, unsigned want);

/* The translations of this page of code, or of all, in an ASID are no longer good. */
void fetch_forget(struct svm_asid *a, gva_t va);
void fetch_forget_all(struct svm_asid *a);

/* The first bytes at RIP, at most 15: how many there are. */
static inline unsigned fetch(struct machine_vcpu *m, uint8_t bytes[INSN_BYTES_MAX])
{
    const uint8_t *code = fetch_cached(m);

    if (!code)
        return fetch_code(m, bytes, 0, INSN_BYTES_MAX);
    __builtin_memcpy(bytes, code, INSN_BYTES_MAX);
    return INSN_BYTES_MAX;
}

/*
 * Length of an instruction that has no operands, if these bytes are its form without prefixes,
 * which is nearly always the one; 0: they are not. None of them has a byte 0.
 */
static inline unsigned insn_plain_length(enum insn_kind kind, uint32_t bytes)
{
    switch (kind) {
    case INSN_CPUID:
        return (uint16_t)bytes == 0xa20f ? 2 : 0;
    case INSN_RDMSR:
        return (uint16_t)bytes == 0x320f ? 2 : 0;
    case INSN_WRMSR:
        return (uint16_t)bytes == 0x300f ? 2 : 0;
    case INSN_HLT:
        return (uint8_t)bytes == 0xf4 ? 1 : 0;
    case INSN_VMMCALL:
        return (bytes & 0xffffff) == 0xd9010f ? 3 : 0;
    default:
        return 0;
    }
}

/*
 * Length of the instruction at RIP if it is of this kind, else 0: the guest changed it
 * meanwhile, and it must run again. For those that have no operands.
 */
must_check static inline unsigned insn_plain(struct machine_vcpu *m, enum insn_kind kind)
{
    const uint8_t *code = fetch_known(m);
    unsigned       length = 0;
    uint32_t       bytes;

    if (code) {
        __builtin_memcpy(&bytes, code, sizeof(bytes));
        length = insn_plain_length(kind, bytes);
    }
    return length ? length : insn_plain_slowly(m, kind);
}

/* MOV to or from a control register. */
struct insn_cr {
    bool     write;
    unsigned number, gpr, length;
};

/*
 * Is it one at RIP, without prefixes but one that names R8 to R15 (REX.B alone)? 0F 20 and 0F 22;
 * the operand is a register whatever ModRM.mod is: APM vol. 3, MOV CRn.
 */
must_check static inline bool insn_plain_cr(struct machine_vcpu *m, struct insn_cr *cr)
{
    const uint8_t *code = fetch_known(m);
    uint32_t       bytes;
    bool           rex;

    if (!code)
        return false;
    __builtin_memcpy(&bytes, code, sizeof(bytes));
    rex = (uint8_t)bytes == 0x41 && regs_is_64bit(m);
    if (rex)
        bytes >>= 8;
    if ((bytes & 0xfdff) != 0x200f)
        return false;
    cr->write = bytes & 0x200;
    cr->number = bytes >> 19 & 7;
    cr->gpr = (bytes >> 16 & 7) + (rex ? 8 : 0);
    cr->length = 3u + rex;
    return true;
}

#endif
