/*
 * Fetching the bytes at RIP, by the guest's own rights, and a small cache of translations of
 * pages of code. The bytes themselves are read anew each time.
 *
 * Under shadow paging the processor fetches through our tables, so what they say at RIP now is
 * what it may execute; only if they say nothing are the guest's walked. A walk through ours is kept
 * with the entries that it read, from the root's down: while they say the same it would end the
 * same, in whichever root, since a table that is linked is none else's. So nothing has to be
 * forgotten when something is flushed, and the kernel's half is found by all processes. The key has
 * the address, user or supervisor, and the number of levels; CR4.SMEP was asked when it was made,
 * and by the processor at its own fetch. APM vol. 2, 5.3.
 *
 * Under nested paging the guest flushes unseen. There a walk through its tables is kept with the
 * entries that it read and the control registers: while they are the same, it would end the same.
 * What it went through was mapped for the processor, which had just fetched from it; if a frame of it
 * leaves the p2m, that counts as a loss of rights.
 */
#ifndef X86_SVM_FETCH_H
#define X86_SVM_FETCH_H

#include "x86/svm/svm.h"

#define SVM_CODE_USER   1 /* in a tag */
#define SVM_CODE_NONE   2 /* no page's */
#define SVM_CODE_LEVELS 2 /* where their number begins */

/* With CR0.WP and without it the guest runs on other tables of ours: a kernel that toggles it finds both. */
static inline struct svm_code *fetch_slot(struct machine_vcpu *m, uint64_t linear)
{
    _Static_assert(CR0_WP >> PAGE_SHIFT == SVM_CODE_PAGES / 2, "WP is the index' upper bit");
    return &m->code[((linear ^ m->cpu.cr0) >> PAGE_SHIFT) & (SVM_CODE_PAGES - 1)];
}

static inline uint64_t fetch_tag(uint64_t linear, bool user, unsigned levels)
{
    return (linear & ~PAGE_MASK) | (user ? SVM_CODE_USER : 0) | levels << SVM_CODE_LEVELS;
}

/* The entry of a root of four or five levels that leads to this address. */
static inline const uint64_t *fetch_top(const struct paging_hw *hw, uint64_t linear)
{
    const uint64_t *table = (const void *)(machine_phys.base + hw->cr3);

    return &table[linear >> (PAGE_SHIFT - 9 + 9 * hw->levels) & 511];
}

/*
 * The next 15 bytes of code in guest memory, which may change at any time: copy them once. NULL
 * if they have to be fetched by fetch_code.
 */
static inline const uint8_t *fetch_cached(struct machine_vcpu *m)
{
    const struct vmcb     *b = m->vmcb;
    uint64_t               rip = b->rip, differs;
    const struct svm_code *slot = fetch_slot(m, rip);

    if (!regs_is_64bit(m) || (rip & PAGE_MASK) > PAGE_SIZE - INSN_BYTES_MAX ||
        slot->tag != fetch_tag(rip, b->cpl == 3, m->hw.levels))
        return NULL;
    differs = __atomic_load_n(fetch_top(&m->hw, rip), __ATOMIC_RELAXED) ^ slot->value[0];
#define ENTRY(i) (__atomic_load_n(slot->entry[i], __ATOMIC_RELAXED) ^ slot->value[i])
    _Static_assert(PT_LEVELS_MAX == 5, "as many as there are levels");
    differs |= ENTRY(1) | ENTRY(2) | ENTRY(3) | ENTRY(4);
#undef ENTRY
    return differs == 0 ? slot->page + (rip & PAGE_MASK) : NULL;
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

/* Nothing is known of this vCPU's code. */
void fetch_init(struct machine_vcpu *m);

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
