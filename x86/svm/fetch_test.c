/* test: with x86/svm/fetch.c */
/*
 * Pages of code that were found before, by tables of ours: what may change without their being looked
 * for again, and what may not. QEMU's guests seldom change what maps the code that runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hv/guest.h"
#include "x86/svm/fetch.h"

/* Frames of the machine: two roots, the tables below them, two pages of code. */
enum { ROOT, OTHER_ROOT, TABLE_3, TABLE_2, TABLE_1, CODE, OTHER_CODE, FRAMES };

#define RIP   0xffffffff81234040ul
#define FLAGS (PTE_P | PTE_W | PTE_A | PTE_D)

static uint8_t             memory[FRAMES * PAGE_SIZE];
static struct domain       domain;
static struct vmcb         vmcb;
static struct vcpu         vcpu;
static struct machine_vcpu machine;
static unsigned            walks; /* through the guest's tables */

struct phys machine_phys = { .base = memory };

struct paging_reach paging_reach(struct paging_locked p, struct paging_vcpu *v, gva_t va,
                                 unsigned acc)
{
    (void)p, (void)v, (void)va, (void)acc;
    walks++;
    return (struct paging_reach){ .kind = REACH_FAULT };
}

struct paging_reach paging_reach_gpa(struct paging_locked p, uint64_t gpa)
{
    (void)p, (void)gpa;
    fail();
    return (struct paging_reach){ .kind = REACH_DEVICE };
}

void paging_view(struct paging_locked p, const struct paging_vcpu *v, gva_t va,
                 struct paging_view *view)
{
    (void)p, (void)v, (void)va, (void)view;
    fail();
}

void vcpu_flush(struct domain *d, const struct verdict *verdict)
{
    (void)d, (void)verdict;
}

unsigned insn_plain_slowly(struct machine_vcpu *m, enum insn_kind kind)
{
    (void)m, (void)kind;
    return 0;
}

static uint64_t *entry(unsigned table, unsigned level)
{
    uint64_t *entries = (uint64_t *)(void *)(memory + table * PAGE_SIZE);

    return &entries[RIP >> (PAGE_SHIFT + 9 * (level - 1)) & 511];
}

static uint64_t to(unsigned frame)
{
    return (uint64_t)frame << PAGE_SHIFT | FLAGS;
}

static void run_on(unsigned root)
{
    vcpu.paging.root[0].table[0] = mfn_of(root);
    machine.hw = paging_hw(&vcpu.paging);
}

static int fresh(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    memset(&machine, 0, sizeof(machine));
    memset(&vcpu, 0, sizeof(vcpu));
    vcpu.domain = &domain;
    vcpu.paging.domain = &domain.paging;
    vcpu.paging.root[0] = (struct paging_root){ .used = true, .format = PT_64, .count = 1 };
    vmcb = (struct vmcb){ .efer = EFER_LMA, .rip = RIP };
    vmcb.cs.attributes = SVM_SEG_L;
    machine.vmcb = &vmcb;
    machine.vcpu = &vcpu;
    fetch_init(&machine);
    run_on(ROOT);
    *entry(ROOT, 4) = to(TABLE_3);
    *entry(TABLE_3, 3) = to(TABLE_2);
    *entry(TABLE_2, 2) = to(TABLE_1);
    *entry(TABLE_1, 1) = to(CODE);
    memset(memory + CODE * PAGE_SIZE, 1, PAGE_SIZE);
    memset(memory + OTHER_CODE * PAGE_SIZE, 2, PAGE_SIZE);
    walks = 0;
    return 0;
}

/* The byte at RIP; 0: it cannot be fetched. */
static unsigned fetched(void)
{
    uint8_t bytes[INSN_BYTES_MAX] = { 0 };

    return fetch(&machine, bytes) ? bytes[0] : 0;
}

static void a_page_is_found_again_without_a_walk(void **state)
{
    (void)state;
    assert_null(fetch_cached(&machine));
    assert_int_equal(fetched(), 1);
    assert_ptr_equal(fetch_cached(&machine), memory + CODE * PAGE_SIZE + (RIP & PAGE_MASK));
    vmcb.rip += PAGE_SIZE - INSN_BYTES_MAX - (RIP & PAGE_MASK);
    assert_non_null(fetch_cached(&machine));
    vmcb.rip++; /* it may go on in the next page */
    assert_null(fetch_cached(&machine));
}

static void by_another_root_that_leads_there(void **state)
{
    (void)state;
    assert_int_equal(fetched(), 1);
    run_on(OTHER_ROOT);
    assert_null(fetch_cached(&machine));
    assert_int_equal(fetched(), 0);
    run_on(ROOT);
    assert_int_equal(fetched(), 1);
    *entry(OTHER_ROOT, 4) = to(TABLE_3);
    run_on(OTHER_ROOT);
    assert_non_null(fetch_cached(&machine));
}

static void with_wp_and_without_both_are_kept(void **state)
{
    (void)state;
    machine.cpu.cr0 = CR0_WP;
    assert_int_equal(fetched(), 1);
    *entry(OTHER_ROOT, 4) = to(TABLE_3) & ~PTE_D; /* another table of ours, as it were */
    run_on(OTHER_ROOT);
    machine.cpu.cr0 = 0;
    assert_int_equal(fetched(), 1);
    assert_non_null(fetch_cached(&machine));
    run_on(ROOT);
    machine.cpu.cr0 = CR0_WP;
    assert_non_null(fetch_cached(&machine));
}

static void but_not_when_an_entry_on_the_way_has_changed(void **state)
{
    static const unsigned table[] = { TABLE_1, TABLE_2, TABLE_3, ROOT };

    (void)state;
    for (unsigned level = 1; level <= 4; level++) {
        uint64_t *e = entry(table[level - 1], level), was = *e;

        assert_int_equal(fetched(), 1);
        assert_non_null(fetch_cached(&machine));
        *e = 0;
        assert_null(fetch_cached(&machine));
        assert_int_equal(fetched(), 0);
        assert_int_equal(walks, level); /* the guest's own tables may know more */
        *e = was;
    }
    assert_int_equal(fetched(), 1);
    *entry(TABLE_1, 1) = to(OTHER_CODE);
    assert_int_equal(fetched(), 2);
}

static void nor_for_the_user_what_is_the_supervisors(void **state)
{
    (void)state;
    assert_int_equal(fetched(), 1);
    vmcb.cpl = 3;
    assert_null(fetch_cached(&machine));
    assert_int_equal(fetched(), 0);
}

static void nor_with_another_number_of_levels(void **state)
{
    (void)state;
    assert_int_equal(fetched(), 1);
    vcpu.paging.root[0].format = PT_LA57;
    run_on(ROOT);
    assert_null(fetch_cached(&machine));
}

static void a_large_leaf_is_one_entry_less(void **state)
{
    (void)state;
    *entry(TABLE_2, 2) = FLAGS | PTE_PS;
    vmcb.rip = (RIP & ~((UINT64_C(1) << 21) - 1)) + CODE * PAGE_SIZE + 0x40;
    assert_int_equal(fetched(), 1);
    assert_ptr_equal(fetch_cached(&machine), memory + CODE * PAGE_SIZE + 0x40);
    *entry(TABLE_2, 2) |= PTE_NX;
    assert_null(fetch_cached(&machine));
    assert_int_equal(fetched(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_page_is_found_again_without_a_walk, fresh),
        cmocka_unit_test_setup(by_another_root_that_leads_there, fresh),
        cmocka_unit_test_setup(with_wp_and_without_both_are_kept, fresh),
        cmocka_unit_test_setup(but_not_when_an_entry_on_the_way_has_changed, fresh),
        cmocka_unit_test_setup(nor_for_the_user_what_is_the_supervisors, fresh),
        cmocka_unit_test_setup(nor_with_another_number_of_levels, fresh),
        cmocka_unit_test_setup(a_large_leaf_is_one_entry_less, fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
