/*
 * The promises of paging that every kernel relies on, one after the other: what is mapped
 * is found, what is not mapped faults with the right error code and address, a change is
 * seen after INVLPG or a new CR3, rights are kept, accessed and dirty bits are set when they
 * must be and not before, and large pages are large. All of it with tables of the guest's
 * own, changed while they are in use.
 */
#include "test/guests/guest.h"

const char guest_name[] = "paging-basics";

#define VA    0x100000000ul    /* the first address after what start.S maps */
#define LARGE 0x140000000ul    /* a 2 MiB page */
#define BLOCK (32ul << 20)     /* 2 MiB of memory, otherwise unused */
#define FAR   0x7f8000000000ul /* the last top-level slot of the lower half */

#define PAGE_ALIGNED __attribute__((aligned(4096)))

static uint64_t PAGE_ALIGNED pd[512], table[512], page[2][512], pd_large[512];
static uint64_t PAGE_ALIGNED other_pml4[512], other_pdpt[512], other_pd[512], other_table[512];

static uint64_t frame_of(const uint64_t *what)
{
    return (uint64_t)what;
}

static void fault_is(bool went_well, uint64_t error, uint64_t address, const char *what)
{
    guest_check(went_well, false, what);
    guest_check(guest_fault.vector, VECTOR_PF, what);
    guest_check(guest_fault.error, error, what);
    guest_check(guest_fault.cr2, address, what);
}

static void set(uint64_t *slot, uint64_t entry, uint64_t address)
{
    *(volatile uint64_t *)slot = entry;
    guest_invlpg(address);
}

static uint64_t read(uint64_t address)
{
    uint64_t value = 0;

    if (!guest_load(address, &value))
        guest_fail("a read of a mapped page", guest_fault.error, ~0ul);
    return value;
}

static void not_present_faults(void)
{
    uint64_t value = 0;

    fault_is(guest_load(VA, &value), 0, VA, "a read without a directory");
    fault_is(guest_store(VA + 8, 1), PF_W, VA + 8, "a write without a directory");
    guest_pdpt[4] = frame_of(pd) | P | W;
    fault_is(guest_load(VA, &value), 0, VA, "a read without a table");
    pd[0] = frame_of(table) | P | W;
    fault_is(guest_load(VA, &value), 0, VA, "a read without a page");
    fault_is(guest_load(FAR, &value), 0, FAR, "a read without anything");
}

static void mapping_and_changing(void)
{
    page[0][0] = 1000;
    page[1][0] = 1001;
    table[0] = frame_of(page[0]) | P | W;
    guest_check(read(VA), 1000, "the first page");
    set(&table[0], frame_of(page[1]) | P | W, VA);
    guest_check(read(VA), 1001, "the second page at the same address");
    guest_check(guest_store(VA + 16, 55), true, "a write to a writable page");
    guest_check(page[1][2], 55, "what was written, seen from elsewhere");
    for (unsigned i = 0; i < 64; i++) {
        set(&table[0], frame_of(page[i & 1]) | P | W, VA);
        guest_check(read(VA), 1000 + (i & 1), "pages that change places");
    }
    set(&table[0], 0, VA);
    fault_is(guest_load(VA, &page[0][1]), 0, VA, "a page that was unmapped");
}

static void rights_are_kept(void)
{
    set(&table[1], frame_of(page[0]) | P, VA + PAGE);
    guest_check(read(VA + PAGE), 1000, "a read-only page");
    fault_is(guest_store(VA + PAGE, 9), PF_P | PF_W, VA + PAGE, "a write to a read-only page");
    guest_check(page[0][0], 1000, "what a refused write left");
    write_cr0(read_cr0() & ~CR0_WP);
    guest_check(guest_store(VA + PAGE + 24, 9), true, "a write to a read-only page without CR0.WP");
    guest_check(page[0][3], 9, "what it wrote");
    write_cr0(read_cr0() | CR0_WP);
    fault_is(guest_store(VA + PAGE, 9), PF_P | PF_W, VA + PAGE, "the same with CR0.WP again");
    set(&pd[0], frame_of(table) | P, VA + PAGE);
    set(&table[1], frame_of(page[0]) | P | W, VA + PAGE);
    fault_is(guest_store(VA + PAGE, 9), PF_P | PF_W, VA + PAGE,
             "a write where the directory says no");
    set(&pd[0], frame_of(table) | P | W, VA + PAGE);
    guest_check(guest_store(VA + PAGE + 24, 10), true, "a write where both say yes");
}

/* A page with a RET in it is called: with NX it may not be. */
static void no_execute(void)
{
    uint8_t *code = (uint8_t *)page[1];
    uint64_t target = VA + 2 * PAGE;
    bool     fine;

    code[0] = 0xc3;
    set(&table[2], frame_of(page[1]) | P, target);
    fine = GUEST_TRY("call *%0", , "r"(target));
    guest_check(fine, true, "calling an executable page");
    set(&table[2], frame_of(page[1]) | P | NX, target);
    guest_fault = (struct guest_fault){ ~0ul, 0, 0 };
    /* The fault comes after CALL has pushed, so what it pushed is taken off again. */
    __asm__ volatile("movq %%rsp, %%rbx; movq $1f, guest_resume; call *%0\n"
                     "1: movq %%rbx, %%rsp; movq $0, guest_resume" ::"r"(target)
                     : "rbx", "memory");
    fault_is(*(volatile uint64_t *)&guest_fault.vector == ~0ul, PF_P | PF_I, target,
             "calling a page with NX");
}

static void accessed_and_dirty(void)
{
    volatile uint64_t *slot = &table[3];
    uint64_t           va = VA + 3 * PAGE, value = 0;

    guest_pdpt[4] &= ~A;
    pd[0] &= ~A;
    set(&table[3], frame_of(page[0]) | P | W, va);
    write_cr3(read_cr3());
    guest_check(*slot & (A | D), 0, "A and D before any access");
    (void)read(va);
    guest_check(*slot & (A | D), A, "A and D after a read");
    guest_check(*(volatile uint64_t *)&pd[0] & A, A, "A in the directory");
    guest_check(*(volatile uint64_t *)&guest_pdpt[4] & A, A, "A above the directory");
    guest_check(*(volatile uint64_t *)&pd[0] & D, 0, "D in an entry that is no leaf");
    guest_check(guest_store(va, 1), true, "a write");
    guest_check(*slot & (A | D), A | D, "A and D after a write");
    set(&table[3], frame_of(page[0]) | P | W, va);
    (void)read(va);
    guest_check(*slot & (A | D), A, "A and D after they were cleared and a read");
    guest_check(guest_store(va, 2), true, "a write");
    guest_check(*slot & (A | D), A | D, "D after it was cleared and a write");
    set(&table[3], frame_of(page[0]) | P, va);
    fault_is(guest_store(va, 3), PF_P | PF_W, va, "a write that is refused");
    guest_check(*slot & D, 0, "D after a write that was refused");
    set(&table[3], frame_of(page[0]), va);
    fault_is(guest_load(va, &value), 0, va, "a read of what is not present");
    guest_check(*slot & (A | D), 0, "A and D of what is not present");
}

static void large_pages(void)
{
    volatile uint64_t *memory = (volatile uint64_t *)BLOCK;
    volatile uint64_t *slot = &pd_large[0];

    guest_pdpt[5] = frame_of(pd_large) | P | W;
    *slot = BLOCK | P | W | PS;
    for (unsigned i = 0; i < 512; i += 73) {
        memory[i * 512] = 7000 + i;
        guest_check(read(LARGE + i * PAGE), 7000 + i, "a place in a large page");
    }
    guest_check(*slot & (A | D), A, "A and D of a large page after reads");
    guest_check(guest_store(LARGE + 100 * PAGE + 8, 31), true, "a write to a large page");
    guest_check(memory[100 * 512 + 1], 31, "what was written to a large page");
    guest_check(*slot & (A | D), A | D, "A and D of a large page after a write");
    set(&pd_large[0], BLOCK | P | PS, LARGE);
    fault_is(guest_store(LARGE + PAGE, 1), PF_P | PF_W, LARGE + PAGE,
             "a write to a large read-only page");

    /* The same addresses by small pages, all but one of them as before. */
    for (unsigned i = 0; i < 512; i++)
        other_table[i] = (BLOCK + i * PAGE) | P | W;
    other_table[73] = frame_of(page[0]) | P | W;
    set(&pd_large[0], frame_of(other_table) | P | W, LARGE);
    write_cr3(read_cr3());
    guest_check(read(LARGE + 146 * PAGE), 7146, "a small page in the place of a large one");
    guest_check(read(LARGE + 73 * PAGE + 16), page[0][2], "a small page that is another one");
}

/* Two address spaces that differ in one page; CR3 alone changes between them. */
static void address_spaces(void)
{
    uint64_t first = read_cr3();

    for (unsigned i = 0; i < 512; i++) {
        other_pml4[i] = guest_pml4[i];
        other_pdpt[i] = guest_pdpt[i];
    }
    other_pml4[0] = frame_of(other_pdpt) | P | W;
    other_pdpt[4] = frame_of(other_pd) | P | W;
    other_pd[0] = frame_of(other_table) | P | W;
    other_table[0] = frame_of(page[1]) | P | W;
    set(&table[0], frame_of(page[0]) | P | W, VA);
    page[0][5] = 500;
    page[1][5] = 501;
    for (unsigned i = 0; i < 16; i++) {
        guest_check(read(VA + 40), 500, "the first address space");
        write_cr3(frame_of(other_pml4));
        guest_check(read(VA + 40), 501, "the second address space");
        write_cr3(first);
    }
    /* An entry of tables that are not in use right now: no flush is needed but the CR3 load. */
    other_table[0] = frame_of(page[0]) | P | W;
    write_cr3(frame_of(other_pml4));
    guest_check(read(VA + 40), 500, "the second address space, changed from the first");
    write_cr3(first);
}

void guest_main(const struct hvm_start_info *info)
{
    (void)info;
    not_present_faults();
    mapping_and_changing();
    rights_are_kept();
    no_execute();
    accessed_and_dirty();
    large_pages();
    address_spaces();
}
