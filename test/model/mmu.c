/*
 * The naive processor. See mmu.h. Each walk is written out level by level on purpose: it is
 * to be compared with the manual by eye, not to be short.
 */
#include "test/model/mmu.h"

#include <string.h>

#define BIT(n)          (UINT64_C(1) << (n))
#define BITS(high, low) ((BIT((high) - (low)) * 2 - 1) << (low))

/* APM vol. 2, 3.1: the bits of the control registers that matter here. */
#define WP   BIT(16)
#define CD   BIT(30)
#define NW   BIT(29)
#define PG   BIT(31)
#define PSE  BIT(4)
#define PAE  BIT(5)
#define PGE  BIT(7)
#define LA57 BIT(12)
#define SMEP BIT(20)
#define SMAP BIT(21)
#define LMA  BIT(10)
#define NXE  BIT(11)

/* One walk that is going on: entries used so far and what they grant together. */
struct walk {
    const struct mmu *mmu;
    struct mmu_access access;
    uint64_t          at[5]; /* guest-physical addresses of the entries used */
    uint64_t          value[5];
    unsigned          used;
    bool              writable, user, no_execute; /* of the page */
    uint64_t          gpa, size;
    uint32_t          error;
    bool              at_leaf; /* the last entry used is one for a page of 4 KiB */
    const uint64_t   *leaf;    /* not NULL: the eight bytes around that entry */
};

enum mmu_behind mmu_behind(const struct mmu_memory *memory, uint64_t gpa)
{
    uint64_t gfn = gpa >> 12;

    return gfn < memory->gfns ? memory->behind[gfn] : MMU_HOLE;
}

void mmu_read_memory(const struct mmu_memory *memory, uint64_t gpa, void *to, unsigned bytes)
{
    enum mmu_behind behind = memory->at ? MMU_HOLE : mmu_behind(memory, gpa);
    const uint8_t  *from = memory->at ? memory->at(memory->context, gpa) : NULL;

    memset(to, 0xff, bytes);
    if (from != NULL)
        memcpy(to, from, bytes);
    if (behind == MMU_RAM || behind == MMU_ROM)
        memcpy(to, memory->bytes + (uint64_t)memory->page_of[gpa >> 12] * 4096 + (gpa & 4095),
               bytes);
}

/* What a write replaces goes into the past. */
static void remember(const struct mmu_memory *memory, uint32_t page, unsigned offset,
                     const void *from, unsigned bytes)
{
    const uint8_t *now = memory->bytes + (uint64_t)page * 4096;

    if (memory->replaced == NULL || memcmp(now + offset, from, bytes) == 0)
        return;
    for (unsigned word = offset / 8; word <= (offset + bytes - 1) / 8; word++) {
        uint64_t value;

        memcpy(&value, now + (size_t)word * 8, 8);
        memory->replaced(memory->past, page, word, value);
    }
}

bool mmu_write_memory(struct mmu_memory *memory, uint64_t gpa, const void *from, unsigned bytes)
{
    if (memory->at != NULL) {
        uint8_t *to = memory->at(memory->context, gpa);

        if (to != NULL)
            memcpy(to, from, bytes);
        return to != NULL;
    }
    if (mmu_behind(memory, gpa) != MMU_RAM)
        return false;
    uint32_t page = memory->page_of[gpa >> 12];

    remember(memory, page, (unsigned)(gpa & 4095), from, bytes);
    memcpy(memory->bytes + (uint64_t)page * 4096 + (gpa & 4095), from, bytes);
    memory->touched[page] = true;
    return true;
}

static void read_table(const struct mmu *mmu, uint64_t gpa, void *to, unsigned bytes)
{
    memset(to, 0xff, bytes);
    if (mmu->rom_holds_tables || mmu->memory->at || mmu_behind(mmu->memory, gpa) != MMU_ROM)
        mmu_read_memory(mmu->memory, gpa, to, bytes);
}

/* Reads the entry at `gpa` of a table and remembers that the walk used it. */
static uint64_t entry8(struct walk *w, uint64_t gpa)
{
    uint64_t e;

    read_table(w->mmu, gpa, &e, 8);
    w->at[w->used] = gpa;
    w->value[w->used++] = e;
    return e;
}

static uint64_t entry4(struct walk *w, uint64_t gpa)
{
    uint32_t e;

    read_table(w->mmu, gpa, &e, 4);
    w->at[w->used] = gpa;
    w->value[w->used++] = e;
    return e;
}

/* The same for the entries of the last level. */
static uint64_t last8(struct walk *w, uint64_t gpa)
{
    uint64_t e = entry8(w, gpa);

    w->at_leaf = true;
    if (w->leaf != NULL)
        e = w->value[w->used - 1] = *w->leaf;
    return e;
}

static uint64_t last4(struct walk *w, uint64_t gpa)
{
    uint64_t e = entry4(w, gpa);

    w->at_leaf = true;
    if (w->leaf != NULL)
        e = w->value[w->used - 1] = (uint32_t)(*w->leaf >> (gpa & 4) * 8);
    return e;
}

static bool fault_absent(struct walk *w)
{
    w->error = 0;
    return false;
}

static bool fault_reserved(struct walk *w)
{
    w->error = 1 | 8;
    return false;
}

/* "All levels must grant": R/W and U/S; "any level may deny": NX. APM vol. 2, 5.6. */
static void combine(struct walk *w, uint64_t entry)
{
    if (!(entry & BIT(1)))
        w->writable = false;
    if (!(entry & BIT(2)))
        w->user = false;
    if (entry & BIT(63))
        w->no_execute = true;
}

static bool page(struct walk *w, uint64_t base, uint64_t size, uint64_t va)
{
    w->size = size;
    w->gpa = base + va % size;
    return true;
}

/* Bits that every 8-byte entry must have clear: address bits the processor lacks, NX if off. */
static uint64_t reserved8(const struct mmu *mmu)
{
    uint64_t bits = 0;

    if (mmu->maxphys < 52)
        bits |= BITS(51, mmu->maxphys);
    if (!(mmu->regs.efer & NXE))
        bits |= BIT(63);
    return bits;
}

/* From the PML4 down: APM vol. 2, 5.3.3 and 5.3.4. */
static bool walk_from_pml4(struct walk *w, uint64_t pml4, uint64_t va)
{
    uint64_t reserved = reserved8(w->mmu);

    /* PML4E: bit 7 must be zero. */
    uint64_t pml4e = entry8(w, pml4 + ((va >> 39) & 511) * 8);

    if (!(pml4e & 1))
        return fault_absent(w);
    if (pml4e & reserved)
        return fault_reserved(w);
    if (pml4e & BIT(7))
        return fault_reserved(w);
    if (w->mmu->bit8_is_zero && (pml4e & BIT(8)))
        return fault_reserved(w);
    combine(w, pml4e);

    /* PDPE: with bit 7 it is a page of 1 GiB, where there are any. */
    uint64_t pdpe = entry8(w, (pml4e & BITS(51, 12)) + ((va >> 30) & 511) * 8);

    if (!(pdpe & 1))
        return fault_absent(w);
    if (pdpe & reserved)
        return fault_reserved(w);
    if (pdpe & BIT(7)) {
        if (!w->mmu->gb1)
            return fault_reserved(w);
        if (pdpe & BITS(29, 13))
            return fault_reserved(w);
        combine(w, pdpe);
        return page(w, pdpe & BITS(51, 30), BIT(30), va);
    }
    if (w->mmu->bit8_is_zero && (pdpe & BIT(8)))
        return fault_reserved(w);
    combine(w, pdpe);

    /* PDE: with bit 7 it is a page of 2 MiB. */
    uint64_t pde = entry8(w, (pdpe & BITS(51, 12)) + ((va >> 21) & 511) * 8);

    if (!(pde & 1))
        return fault_absent(w);
    if (pde & reserved)
        return fault_reserved(w);
    if (pde & BIT(7)) {
        if (pde & BITS(20, 13))
            return fault_reserved(w);
        combine(w, pde);
        return page(w, pde & BITS(51, 21), BIT(21), va);
    }
    combine(w, pde);

    /* PTE: bit 7 selects the memory type. */
    uint64_t pte = last8(w, (pde & BITS(51, 12)) + ((va >> 12) & 511) * 8);

    if (!(pte & 1))
        return fault_absent(w);
    if (pte & reserved)
        return fault_reserved(w);
    combine(w, pte);
    return page(w, pte & BITS(51, 12), 4096, va);
}

static bool walk_4level(struct walk *w, uint64_t va)
{
    return walk_from_pml4(w, w->mmu->regs.cr3 & BITS(51, 12), va);
}

/* SDM vol. 3A, 4.5: as four levels, below one more whose entries never map a page. */
static bool walk_5level(struct walk *w, uint64_t va)
{
    uint64_t pml5e = entry8(w, (w->mmu->regs.cr3 & BITS(51, 12)) + ((va >> 48) & 511) * 8);

    if (!(pml5e & 1))
        return fault_absent(w);
    if (pml5e & reserved8(w->mmu))
        return fault_reserved(w);
    if (pml5e & BIT(7))
        return fault_reserved(w);
    if (w->mmu->bit8_is_zero && (pml5e & BIT(8)))
        return fault_reserved(w);
    combine(w, pml5e);
    return walk_from_pml4(w, pml5e & BITS(51, 12), va);
}

/* SDM vol. 3A, 4.4.1. */
static bool pdpte_good(const struct mmu *mmu, uint64_t pdpte)
{
    if (!(pdpte & 1))
        return true;
    if (pdpte & (BIT(1) | BIT(2) | BIT(6) | BIT(7) | BIT(8)))
        return false;
    if ((pdpte & BIT(5)) && !mmu->pdpte_may_be_accessed)
        return false;
    return !(pdpte >> mmu->maxphys);
}

/* SDM vol. 3A, 4.4: four latched entries without rights, then two levels. */
static bool walk_pae(struct walk *w, uint64_t va)
{
    uint64_t reserved = reserved8(w->mmu) | BITS(62, 52);
    uint64_t pdpte = w->mmu->pdpte[(va >> 30) & 3];

    if (!(pdpte & 1))
        return fault_absent(w);
    if (!pdpte_good(w->mmu, pdpte)) /* loaded by a processor that does not check it then */
        return fault_reserved(w);

    uint64_t pde = entry8(w, (pdpte & BITS(51, 12)) + ((va >> 21) & 511) * 8);

    if (!(pde & 1))
        return fault_absent(w);
    if (pde & reserved)
        return fault_reserved(w);
    if (pde & BIT(7)) {
        if (pde & BITS(20, 13))
            return fault_reserved(w);
        combine(w, pde);
        return page(w, pde & BITS(51, 21), BIT(21), va);
    }
    combine(w, pde);

    uint64_t pte = last8(w, (pde & BITS(51, 12)) + ((va >> 12) & 511) * 8);

    if (!(pte & 1))
        return fault_absent(w);
    if (pte & reserved)
        return fault_reserved(w);
    combine(w, pte);
    return page(w, pte & BITS(51, 12), 4096, va);
}

/* APM vol. 2, 5.2.1; SDM vol. 3A, 4.3. Bits 20:13 of a 4 MiB page are address bits 39:32. */
static bool walk_2level(struct walk *w, uint64_t va)
{
    uint64_t pde = entry4(w, (w->mmu->regs.cr3 & BITS(31, 12)) + ((va >> 22) & 1023) * 4);

    if (!(pde & 1))
        return fault_absent(w);
    if ((pde & BIT(7)) && (w->mmu->regs.cr4 & PSE)) {
        unsigned width = w->mmu->maxphys < 40 ? w->mmu->maxphys : 40;
        uint64_t base = (pde & BITS(31, 22)) | ((pde >> 13) & 0xff) << 32;

        if (pde & BIT(21))
            return fault_reserved(w);
        if (base >> width)
            return fault_reserved(w);
        combine(w, pde);
        return page(w, base, BIT(22), va);
    }
    combine(w, pde);

    uint64_t pte = last4(w, (pde & BITS(31, 12)) + ((va >> 12) & 1023) * 4);

    if (!(pte & 1))
        return fault_absent(w);
    combine(w, pte);
    return page(w, pte & BITS(31, 12), 4096, va);
}

/* APM vol. 2, 5.6: is the access allowed on the page that was found? */
static bool allowed(const struct walk *w)
{
    const struct mmu_registers *regs = &w->mmu->regs;

    if (w->access.user) {
        if (!w->user)
            return false;
        if (w->access.write && !w->writable)
            return false;
        if (w->access.fetch && w->no_execute)
            return false;
        return true;
    }
    if (w->access.fetch) {
        if (w->no_execute)
            return false;
        if (w->user && (regs->cr4 & SMEP))
            return false;
        return true;
    }
    if (w->user && (regs->cr4 & SMAP) && !w->access.ac)
        return false;
    if (w->access.write && !w->writable && (regs->cr0 & WP))
        return false;
    return true;
}

/* The bits of the error code that say what the access was: APM vol. 2, 8.4.2. */
static uint32_t error_of_access(const struct walk *w)
{
    const struct mmu_registers *regs = &w->mmu->regs;
    uint32_t                    error = 0;

    if (w->access.write)
        error |= 2;
    if (w->access.user)
        error |= 4;
    if (w->access.fetch && (((regs->cr4 & PAE) && (regs->efer & NXE)) || (regs->cr4 & SMEP)))
        error |= 16;
    return error;
}

static bool walk(struct walk *w, uint64_t va)
{
    const struct mmu_registers *regs = &w->mmu->regs;
    bool                        found;

    if (!(regs->cr0 & PG)) {
        w->size = 4096;
        w->gpa = va & 0xffffffff;
        return true;
    }
    w->writable = w->user = true;
    if (regs->efer & LMA)
        found = regs->cr4 & LA57 ? walk_5level(w, va) : walk_4level(w, va);
    else if (regs->cr4 & PAE)
        found = walk_pae(w, va);
    else
        found = walk_2level(w, va);
    if (found && !allowed(w)) {
        w->error = 1;
        found = false;
    }
    w->error |= error_of_access(w);
    return found;
}

struct mmu_outcome mmu_peek(const struct mmu *mmu, uint64_t va, struct mmu_access access)
{
    struct walk w = { .mmu = mmu, .access = access };

    if (!walk(&w, va))
        return (struct mmu_outcome){ .error = w.error };
    return (struct mmu_outcome){ .ok = true, .gpa = w.gpa, .size = w.size };
}

static bool bits_set(const struct walk *w)
{
    for (unsigned i = 0; i < w->used; i++)
        if (!(w->value[i] & BIT(5)))
            return false;
    return w->used == 0 || !w->access.write || (w->value[w->used - 1] & BIT(6));
}

bool mmu_bits_set(const struct mmu *mmu, uint64_t va, struct mmu_access access)
{
    struct walk w = { .mmu = mmu, .access = access };

    return walk(&w, va) && bits_set(&w);
}

unsigned mmu_steps(const struct mmu *mmu, uint64_t va, struct mmu_access access,
                   struct mmu_step step[5])
{
    struct walk w = { .mmu = mmu, .access = access };

    (void)walk(&w, va);
    for (unsigned i = 0; i < w.used; i++) {
        uint64_t bits = i == w.used - 1 && access.write ? BIT(5) | BIT(6) : BIT(5);

        step[i] = (struct mmu_step){ w.at[i], (w.value[i] & bits) != bits };
    }
    return w.used;
}

unsigned mmu_path(const struct mmu *mmu, uint64_t va, uint64_t gpa[5])
{
    struct walk w = { .mmu = mmu };

    (void)walk(&w, va);
    if (!w.at_leaf)
        return 0;
    memcpy(gpa, w.at, w.used * sizeof(*gpa));
    return w.used;
}

struct mmu_outcome mmu_peek_leaf(const struct mmu *mmu, uint64_t va, struct mmu_access access,
                                 uint64_t word, bool *are_set)
{
    struct walk w = { .mmu = mmu, .access = access, .leaf = &word };

    *are_set = false;
    if (!walk(&w, va))
        return (struct mmu_outcome){ .error = w.error };
    *are_set = bits_set(&w);
    return (struct mmu_outcome){ .ok = true, .gpa = w.gpa, .size = w.size };
}

struct mmu_outcome mmu_access(struct mmu *mmu, uint64_t va, struct mmu_access access)
{
    struct walk w = { .mmu = mmu, .access = access };

    if (!walk(&w, va))
        return (struct mmu_outcome){ .error = w.error };
    for (unsigned i = 0; i < w.used; i++) {
        bool    leaf = i == w.used - 1;
        uint8_t low, bits = (uint8_t)(leaf && access.write ? 0x60 : 0x20);

        /* Both bits are in the lowest byte. One entry may serve at two levels: read it again. */
        mmu_read_memory(mmu->memory, w.at[i], &low, 1);
        if ((low & bits) != bits) {
            low |= bits;
            mmu_write_memory(mmu->memory, w.at[i], &low, 1);
        }
    }
    return (struct mmu_outcome){ .ok = true, .gpa = w.gpa, .size = w.size };
}

bool mmu_write_registers(struct mmu *mmu, const struct mmu_registers *regs, bool cr3_written)
{
    uint64_t cr0 = mmu->regs.cr0 ^ regs->cr0, cr4 = mmu->regs.cr4 ^ regs->cr4;
    bool     is_pae = (regs->cr0 & PG) && (regs->cr4 & PAE) && !(regs->efer & LMA);
    uint64_t pdpte[4];

    if (is_pae && (cr3_written || (cr0 & (PG | CD | NW)) || (cr4 & (PAE | PGE | PSE | SMEP)))) {
        for (unsigned i = 0; i < 4; i++) {
            read_table(mmu, (regs->cr3 & BITS(31, 5)) + i * 8, &pdpte[i], 8);
            if (!pdpte_good(mmu, pdpte[i]))
                return false;
        }
        memcpy(mmu->pdpte, pdpte, sizeof(pdpte));
    }
    mmu->regs = *regs;
    return true;
}

void mmu_latch(struct mmu *mmu)
{
    const struct mmu_registers *regs = &mmu->regs;

    for (unsigned i = 0; i < 4 && (regs->cr0 & PG) && (regs->cr4 & PAE) && !(regs->efer & LMA); i++)
        read_table(mmu, (regs->cr3 & BITS(31, 5)) + i * 8, &mmu->pdpte[i], 8);
}
