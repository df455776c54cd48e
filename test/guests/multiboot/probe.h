/*
 * For kernels that test paging: enters any paging mode and tries accesses in it, as
 * supervisor and as user, and says what came of each.
 *
 * All C code has 32 bits. With four levels of tables it runs in compatibility mode, and only
 * an access to a 64-bit address is made by 64-bit code; so the same C is right in all modes.
 * The first 4 MiB are mapped as they are, for the supervisor, except the pages of the code and
 * the stack that user accesses use.
 */
#ifndef TEST_GUESTS_MULTIBOOT_PROBE_H
#define TEST_GUESTS_MULTIBOOT_PROBE_H

#include "test/guests/multiboot/kernel.h"

#define PTE_P   1ull
#define PTE_W   2ull
#define PTE_U   4ull
#define PTE_A   0x20ull
#define PTE_D   0x40ull
#define PTE_PS  0x80ull
#define PTE_G   0x100ull
#define PTE_PAT 0x1000ull /* in an entry that maps a large page */
#define PTE_NX  (1ull << 63)
#define PTE_ALL (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)

#define CR0_PE     (1u << 0)
#define CR0_WP     (1u << 16)
#define CR0_PG     (1u << 31)
#define CR4_PSE    (1u << 4)
#define CR4_PAE    (1u << 5)
#define CR4_PGE    (1u << 7)
#define CR4_OSFXSR (1u << 9)
#define CR4_LA57   (1u << 12)
#define CR4_SMEP   (1u << 20)
#define CR4_SMAP   (1u << 21)

#define MSR_EFER 0xc0000080u
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)

#define EFLAGS_ONE 2u
#define EFLAGS_AC  (1u << 18)

#define VECTOR_GP   13u
#define VECTOR_PF   14u
#define VECTOR_NONE (~0u)

#define ERROR_P    1u
#define ERROR_W    2u
#define ERROR_U    4u
#define ERROR_RSVD 8u
#define ERROR_I    16u

#define PAGE         4096u
#define LEVELS       5u
#define PAGING_MODES 5u /* the last only where the processor has it */

/* A paging mode in numbers: APM vol. 2, 5.2 and 5.3. */
struct paging_mode {
    const char *name;
    unsigned    number; /* below PAGING_MODES */
    unsigned    levels, entry_bytes, index_bits;
    unsigned    shift[LEVELS + 1];
    unsigned    large; /* bit L: PS in level L means a page */
    uint32_t    cr4;
    uint64_t    efer;
    uint64_t    window; /* an address whose low bits, below its top-level index, are 0 */
};

extern const struct paging_mode paging_2level, paging_pse, paging_pae, paging_long, paging_five;

/* Does the processor have five levels of tables? */
bool probe_has_five(void);

enum probe_access { PROBE_READ, PROBE_WRITE, PROBE_FETCH };

/* One access, and what came of it. The assembler part knows the order. */
struct probe {
    uint32_t access;  /* enum probe_access */
    uint32_t eflags;  /* of a supervisor's access */
    uint64_t address; /* is flushed first, unless `keep` says otherwise */
    uint32_t user, wide;
    uint32_t vector; /* of the exception, or VECTOR_NONE */
    uint32_t error;
    uint64_t cr2;
    uint32_t stack, armed;
    uint32_t value; /* written, or read; a function that is called finds it in EDX */
    uint32_t eip;
    uint32_t keep; /* the address is not flushed */
};
extern struct probe probe;

void probe_go(void); /* makes the access that `probe` describes */

/* Calls a function as supervisor; the vector of the exception that it meets, or VECTOR_NONE. */
uint32_t probe_call(void (*function)(void));

/* Prints a word and a number. */
void probe_print(const char *before, uint32_t value);

/* Once, with paging off. */
void probe_init(void);

/*
 * With paging off: tables of this mode's own. PROBE_TARGET is mapped at mode->window +
 * PROBE_TARGET by tables of its own, where all is granted.
 */
void probe_build(const struct paging_mode *mode);
/* With paging off: paging on with the tables as they are, CR0.WP and EFER.NXE. */
void probe_paging_on(const struct paging_mode *mode);
void probe_enter(const struct paging_mode *mode); /* both */
void probe_paging_off(void);
/* For who switches paging by himself: CR3, and what remains to be done after it. NULL: off. */
uint32_t probe_cr3(const struct paging_mode *mode);
void     probe_came(const struct paging_mode *mode);

/* The leaf entry that maps this address below 4 MiB. */
void *probe_home_entry(uint32_t address);
/* The table of this level on the way to the target. */
uint8_t *probe_table_of(const struct paging_mode *mode, unsigned level);
/* The entry of this level that leads to the target through the window. */
void    *probe_slot(unsigned level);
uint64_t probe_entry(unsigned level);
void     probe_set_entry(unsigned level, uint64_t value); /* by one instruction */
/* What that entry is when it grants everything: without its flags, and as a large page. */
uint64_t probe_next(unsigned level);
uint64_t probe_large(unsigned level);

#define PROBE_TARGET 0x2205000u /* the page that the window maps: has RET at its beginning */
extern uint32_t probe_target[]; /* the same page, for the supervisor */

static inline uint32_t read_cr0(void)
{
    uint32_t value;

    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}

static inline void write_cr0(uint32_t value)
{
    __asm__ volatile("mov %0, %%cr0" ::"r"(value) : "memory");
}

static inline uint32_t read_cr3(void)
{
    uint32_t value;

    __asm__ volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

static inline void write_cr3(uint32_t value)
{
    __asm__ volatile("mov %0, %%cr3" ::"r"(value) : "memory");
}

static inline uint32_t read_cr4(void)
{
    uint32_t value;

    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static inline void write_cr4(uint32_t value)
{
    __asm__ volatile("mov %0, %%cr4" ::"r"(value) : "memory");
}

static inline void invlpg(uint32_t address)
{
    __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
}

/* One 64-bit store, in an instruction that 32-bit code has. */
static inline void store64(void *at, uint64_t value)
{
    __asm__ volatile("movq %1, %%xmm0; movq %%xmm0, %0" : "=m"(*(uint64_t *)at) : "m"(value));
}

#endif
