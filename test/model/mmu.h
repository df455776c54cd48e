/*
 * A naive x86 memory management unit: the second opinion on the paging core.
 *
 * Written from the manuals' prose, one function per paging mode, every level spelled out,
 * and sharing nothing with paging/, not even headers. It has no TLB: each access walks.
 * Sources: AMD APM vol. 2, chapter 5 and 8.4.2; Intel SDM vol. 3A, chapter 4.
 *
 * Where the manuals leave a choice, this processor sets accessed and dirty bits only when
 * the access succeeds, and reads of a table where there is no memory give all ones.
 */
#ifndef TEST_MODEL_MMU_H
#define TEST_MODEL_MMU_H

#include <stdbool.h>
#include <stdint.h>

enum mmu_behind {
    MMU_HOLE, /* nothing: reads as all ones, writes are lost */
    MMU_RAM,
    MMU_ROM, /* memory that keeps its contents */
    MMU_DEVICE,
};

/* The memory as the guest sees it. Pages have numbers; which gfn shows which can change. */
struct mmu_memory {
    uint8_t  *bytes; /* [pages * 4096] */
    uint32_t  pages;
    bool     *touched; /* [pages]: written since somebody cleared it */
    uint64_t  gfns;    /* beyond them there is nothing */
    uint32_t *page_of; /* [gfns], where behind says RAM or ROM */
    uint8_t  *behind;  /* [gfns], enum mmu_behind */

    /* If not NULL, instead of all this: where a byte is; NULL if nowhere. Within a page. */
    uint8_t *(*at)(void *context, uint64_t gpa);
    void *context;

    /* Told of each aligned word of eight bytes before it is replaced, if not NULL. */
    void (*replaced)(void *past, uint32_t page, unsigned word, uint64_t value);
    void *past;
};

struct mmu_registers {
    uint64_t cr0, cr3, cr4, efer;
};

struct mmu {
    struct mmu_memory   *memory;
    struct mmu_registers regs;
    uint64_t             pdpte[4]; /* latched */
    unsigned             maxphys;
    bool                 gb1;          /* 1 GiB pages are offered */
    bool                 bit8_is_zero; /* AMD: G must be 0 in PML4E and in a PDPE that is no page */
    bool                 pdpte_may_be_accessed; /* A in a PDPTE is not reserved */
    bool                 rom_holds_tables;      /* else a table in ROM reads as all ones */
};

struct mmu_access {
    bool write, user, fetch, ac;
};

struct mmu_outcome {
    bool     ok;
    uint32_t error; /* of the #PF */
    uint64_t gpa;
    uint64_t size; /* of the page, bytes */
};

/* One access. Sets accessed and dirty bits when it succeeds. */
struct mmu_outcome mmu_access(struct mmu *mmu, uint64_t va, struct mmu_access access);

/* What it would be, changing nothing. */
struct mmu_outcome mmu_peek(const struct mmu *mmu, uint64_t va, struct mmu_access access);

/* True if the leaf and all above have A, and the leaf D: no bit would have to be set. */
bool mmu_bits_set(const struct mmu *mmu, uint64_t va, struct mmu_access access);

/* One entry that a walk uses. */
struct mmu_step {
    uint64_t gpa;
    bool     marks; /* A, or at the last one D for a write, would have to be set */
};

/* The entries that a walk uses, from the top, until it ends, well or not; how many. */
unsigned mmu_steps(const struct mmu *mmu, uint64_t va, struct mmu_access access,
                   struct mmu_step step[5]);

/*
 * Where the entries are that this address is translated by, from the top; how many. 0 if the
 * walk ends before it comes to an entry for a page of 4 KiB, which is the last.
 */
unsigned mmu_path(const struct mmu *mmu, uint64_t va, uint64_t gpa[5]);

/*
 * What the outcome would be if the aligned eight bytes around that last entry were `word`:
 * upper levels are as they are. *are_set as mmu_bits_set says it.
 */
struct mmu_outcome mmu_peek_leaf(const struct mmu *mmu, uint64_t va, struct mmu_access access,
                                 uint64_t word, bool *are_set);

/*
 * Writes the registers. False is #GP(0), and then nothing changed: PDPTEs with reserved
 * bits. `cr3_written` says that MOV CR3 did it, which latches them in any case.
 */
bool mmu_write_registers(struct mmu *mmu, const struct mmu_registers *regs, bool cr3_written);

/* Latches the root entries of PAE anew, whatever is in them: those with reserved bits fault in use. */
void mmu_latch(struct mmu *mmu);

/* Memory by guest-physical address, within one page. A write that is lost returns false. */
void mmu_read_memory(const struct mmu_memory *memory, uint64_t gpa, void *to, unsigned bytes);
bool mmu_write_memory(struct mmu_memory *memory, uint64_t gpa, const void *from, unsigned bytes);

enum mmu_behind mmu_behind(const struct mmu_memory *memory, uint64_t gpa);

#endif
