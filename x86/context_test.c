/* test: with x86/context.c x86/control.c x86/lapic.c */
/* Records of a vCPU's state: what is refused, and that what was saved is what is loaded. */
#include "x86/context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "x86/hw/cpu.h"

static const struct control_policy policy = {
    .cr4_valid = CR4_PAE | CR4_PGE | CR4_LA57,
    .efer_valid = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
    .maxphys = 40,
};

static struct hvm_hw_cpu first_cpu(void)
{
    return (struct hvm_hw_cpu){ .cr0 = CR0_PE | CR0_ET, .cs_arbytes = 0xc9b, .ss_arbytes = 0xc93 };
}

static struct hvm_hw_cpu long_cpu(void)
{
    return (struct hvm_hw_cpu){
        .cr0 = CR0_PE | CR0_ET | CR0_PG | CR0_WP,
        .cr3 = 0x1234000,
        .cr4 = CR4_PAE,
        .msr_efer = EFER_LME | EFER_LMA | EFER_NXE,
        .cs_arbytes = 0xa9b,
    };
}

static void registers_become_what_writing_them_would_make_of_them(void **state)
{
    struct hvm_hw_cpu  c = first_cpu();
    struct paging_regs r;

    (void)state;
    assert_true(context_regs(&policy, &c, &r));
    assert_int_equal(r.cr0, CR0_PE | CR0_ET);
    assert_int_equal(r.efer | r.cr3 | r.cr4, 0);
    c = long_cpu();
    c.gs_base = UINT64_C(0xffff800000000000);
    assert_true(context_regs(&policy, &c, &r));
    c.gs_base = UINT64_C(0xff00000000000000);
    c.cr4 |= CR4_LA57;
    assert_true(context_regs(&policy, &c, &r));
    assert_int_equal(r.cr0, c.cr0);
    assert_int_equal(r.cr3, c.cr3);
    assert_int_equal(r.cr4, c.cr4);
    assert_int_equal(r.efer, c.msr_efer);
}

static void registers_that_no_processor_can_have_are_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 15; i++) {
        struct hvm_hw_cpu  c = long_cpu();
        struct paging_regs r;

        if (i == 0)
            c.cr0 = CR0_PG; /* without PE */
        else if (i == 1)
            c.cr0 |= UINT64_C(1) << 32;
        else if (i == 2)
            c.cr0 |= CR0_NW; /* without CD */
        else if (i == 3)
            c.cr3 = UINT64_C(1) << 40;
        else if (i == 4)
            c.cr4 |= UINT64_C(1) << 40;
        else if (i == 5)
            c.cr4 = 0; /* long mode without PAE */
        else if (i == 6)
            c.msr_efer &= ~EFER_LMA;
        else if (i == 7)
            c.msr_efer &= ~EFER_LME;
        else if (i == 8)
            c.msr_efer |= UINT64_C(1) << 12; /* SVME */
        else if (i == 9)
            c.cs_arbytes = 0xe9b; /* L and D */
        else if (i == 10)
            c.gs_arbytes = 0x10000;
        else if (i == 11)
            c.fs_base = UINT64_C(1) << 47;
        else if (i == 12)
            c.msr_lstar = UINT64_C(0xff00000000000000);
        else if (i == 13)
            c.sysenter_eip = UINT64_C(1) << 63;
        else
            c.cr0 &= ~CR0_PG; /* and LMA all the same */
        assert_false(context_regs(&policy, &c, &r));
    }
}

static void events_are_those_that_a_processor_delivers(void **state)
{
    static const struct {
        uint32_t event;
        bool     good;
    } cases[] = {
        { 0, true },           { 0x30, false },       { 0x80000030, true },  { 0x80000202, true },
        { 0x80000203, false }, { 0x8000030e, true },  { 0x80000b0e, true },  { 0x80000302, false },
        { 0x80000320, false }, { 0x80000480, true },  { 0x80000100, false }, { 0x80000780, false },
        { 0x80000830, false }, { 0x80001030, false }, { 0xc0000030, false },
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (context_event_ok(cases[i].event) != cases[i].good)
            fail_msg("%x", cases[i].event);
}

/* ---- the local APIC ---- */

#define NOW UINT64_C(1000000)

static void put(struct lapic *apic, unsigned reg, uint64_t value)
{
    struct lapic_effect effect;

    assert_true(lapic_put(apic, reg, value, NOW, &effect));
}

/* One with something in each register. */
static struct lapic busy_apic(bool x2)
{
    struct lapic apic;

    lapic_init(&apic, 6, false);
    if (x2)
        assert_true(lapic_set_base(&apic, apic.base | LAPIC_BASE_X2APIC));
    else
        apic.ldr = 0x40000000, apic.dfr = LAPIC_DFR_CLUSTER;
    put(&apic, LAPIC_SVR, LAPIC_SVR_ENABLE | 0xff);
    put(&apic, LAPIC_TPR, 0x20);
    put(&apic, LAPIC_ICR, UINT64_C(0x500000031));
    put(&apic, LAPIC_LVT_TIMER, LAPIC_LVT_PERIODIC | 0x40);
    put(&apic, LAPIC_LVT_LINT1, LAPIC_LVT_NMI);
    put(&apic, LAPIC_DIVIDE, 0x3);
    put(&apic, LAPIC_INITIAL_COUNT, 1000);
    lapic_raise(&apic, 0x31);
    lapic_raise_level(&apic, 0x81);
    lapic_raise(&apic, 0x91);
    lapic_accept(&apic, 0x91);
    apic.esr_latched = 0x40;
    return apic;
}

static struct lapic saved_and_loaded(const struct lapic *apic, uint64_t at, uint64_t then)
{
    struct hvm_hw_lapic      head;
    struct hvm_hw_lapic_regs regs;
    struct lapic             again;

    context_lapic_save(apic, &head);
    context_lapic_save_regs(apic, at, &regs);
    lapic_init(&again, apic->id, (apic->base & LAPIC_BASE_BSP) != 0);
    assert_true(context_lapic_load(&again, &head));
    assert_true(context_lapic_load_regs(&again, then, &regs));
    return again;
}

static void an_apic_that_is_loaded_is_the_one_that_was_saved(void **state)
{
    (void)state;
    for (unsigned x2 = 0; x2 < 2; x2++) {
        struct lapic apic = busy_apic(x2 != 0), again = saved_and_loaded(&apic, NOW, NOW);

        assert_memory_equal(&again, &apic, sizeof(apic));
    }
}

static void its_timer_goes_on_from_where_it_was(void **state)
{
    struct lapic apic = busy_apic(true), again = saved_and_loaded(&apic, NOW + 4000, 5 * NOW);

    (void)state;
    assert_int_equal(apic.due, NOW + 16 * 1000);
    assert_int_equal(again.due, 5 * NOW + 16 * 1000 - 4000);
    assert_int_equal(again.initial, 1000);
    lapic_timer_expired(&again, again.due);
    assert_int_equal(again.due, again.start + 16 * 1000);
    put(&apic, LAPIC_INITIAL_COUNT, 0);
    again = saved_and_loaded(&apic, NOW, NOW);
    assert_true(again.due == UINT64_MAX);
}

/* It was due, but nobody had looked at it yet. */
static void an_interrupt_of_its_timer_is_not_lost(void **state)
{
    struct lapic apic = busy_apic(false), again;
    uint8_t      vector;

    (void)state;
    again = saved_and_loaded(&apic, NOW + 20 * 1000, 5 * NOW);
    assert_int_equal(again.due, 5 * NOW + 12 * 1000);
    lapic_accept(&again, 0x81);
    put(&again, LAPIC_EOI, 0); /* of 0x91, then of 0x81 */
    put(&again, LAPIC_EOI, 0);
    assert_true(lapic_pending(&again, &vector));
    assert_int_equal(vector, 0x40);
    put(&apic, LAPIC_LVT_TIMER, 0x41);
    again = saved_and_loaded(&apic, NOW + 16 * 1000, 5 * NOW);
    assert_true(again.due == UINT64_MAX);
    assert_int_equal(again.irr[2] & 2, 2);
}

/* Whatever is said, what was refused has changed nothing, and what was taken is an APIC that can be saved. */
static void random_bytes_are_refused_or_taken(void **state)
{
    static const unsigned wilder[] = { LAPIC_SVR, LAPIC_TPR,           LAPIC_LVT_TIMER,
                                       LAPIC_ICR, LAPIC_INITIAL_COUNT, LAPIC_CURRENT_COUNT,
                                       LAPIC_IRR, LAPIC_ISR + 3,       LAPIC_DIVIDE,
                                       LAPIC_TMR, LAPIC_ESR,           LAPIC_ID,
                                       LAPIC_LDR, LAPIC_DFR,           LAPIC_LVT_LINT0,
                                       LAPIC_EOI };
    uint64_t              dice = 12345;
    unsigned              taken = 0, refused = 0;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct lapic             apic = busy_apic(i & 1), before = apic, again;
        struct hvm_hw_lapic_regs regs;

        context_lapic_save_regs(&apic, NOW, &regs);
        for (unsigned n = 0; n < 1 + i % 4; n++) {
            uint32_t value;

            dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
            value = (uint32_t)(dice >> 16) >> (dice >> 48) % 32;
            memcpy(regs.data + wilder[(dice >> 56) % 16] * 16, &value, sizeof(value));
        }
        if (!context_lapic_load_regs(&apic, NOW, &regs)) {
            assert_memory_equal(&apic, &before, sizeof(apic));
            refused++;
            continue;
        }
        again = saved_and_loaded(&apic, NOW, NOW);
        assert_memory_equal(&again, &apic, sizeof(apic));
        assert_int_equal((apic.irr[0] | apic.isr[0] | apic.tmr[0]) & 0xffff, 0);
        taken++;
    }
    assert_true(taken > 1000 && refused > 1000);
}

/* The same of registers: what is taken can be told and taken again. */
static void random_registers_are_refused_or_taken(void **state)
{
    uint64_t dice = 54321;
    unsigned taken = 0, refused = 0;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct hvm_hw_cpu  c = (i & 1) ? long_cpu() : first_cpu();
        struct paging_regs r;

        for (unsigned n = 0; n < 1 + i % 3; n++) {
            size_t at;

            dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
            at = (dice >> 32) % sizeof(c);
            ((uint8_t *)&c)[at] ^= (uint8_t)(1u << (dice >> 60) % 8);
        }
        if (!context_regs(&policy, &c, &r)) {
            refused++;
            continue;
        }
        taken++;
        assert_int_equal(r.efer, c.msr_efer);
        assert_int_equal(r.cr4 & ~policy.cr4_valid, 0);
        assert_int_equal(r.cr0 >> 32, 0);
        assert_true((r.cr0 & CR0_PG) == 0 || (r.cr0 & CR0_PE) != 0);
        assert_int_equal((r.efer & EFER_LMA) != 0,
                         (r.efer & EFER_LME) != 0 && (r.cr0 & CR0_PG) != 0);
    }
    assert_true(taken > 1000 && refused > 1000);
}

static void what_follows_is_told(void **state)
{
    struct lapic        apic = busy_apic(true);
    struct hvm_hw_lapic head;

    (void)state;
    context_lapic_save(&apic, &head);
    assert_int_equal(head.disabled, 0);
    assert_int_equal(head.timer_divisor, 16);
    assert_int_equal(head.apic_base_msr, apic.base);
    put(&apic, LAPIC_SVR, 0xff);
    context_lapic_save(&apic, &head);
    assert_int_equal(head.disabled, 1);
    lapic_init(&apic, 0, true);
    assert_true(lapic_set_base(&apic, LAPIC_BASE_ADDRESS | LAPIC_BASE_BSP));
    context_lapic_save(&apic, &head);
    assert_int_equal(head.disabled, 3);
}

static void a_base_that_cannot_be_is_refused(void **state)
{
    static const uint64_t bases[] = {
        LAPIC_BASE_ADDRESS | LAPIC_BASE_X2APIC,
        LAPIC_BASE_ADDRESS | LAPIC_BASE_ENABLE | LAPIC_BASE_BSP,
        0xfee01000 | LAPIC_BASE_ENABLE,
        LAPIC_BASE_ADDRESS | LAPIC_BASE_ENABLE | 1,
    };
    struct lapic apic = busy_apic(false), before = apic;

    (void)state;
    for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        const struct hvm_hw_lapic head = { .apic_base_msr = bases[i] };

        assert_false(context_lapic_load(&apic, &head));
    }
    assert_false(context_lapic_load(
        &apic, &(struct hvm_hw_lapic){ .apic_base_msr = apic.base, .tdt_msr = 1 }));
    assert_memory_equal(&apic, &before, sizeof(apic));
}

/* One register of those saved is another; false: it was refused, and nothing has changed. */
static bool loads_with(bool x2, unsigned reg, uint32_t value)
{
    struct lapic             apic = busy_apic(x2), before = apic;
    struct hvm_hw_lapic_regs regs;
    bool                     loaded;

    context_lapic_save_regs(&apic, NOW, &regs);
    memcpy(regs.data + reg * 16, &value, sizeof(value));
    loaded = context_lapic_load_regs(&apic, NOW, &regs);
    if (!loaded)
        assert_memory_equal(&apic, &before, sizeof(apic));
    return loaded;
}

static void registers_that_an_apic_cannot_have_are_refused(void **state)
{
    static const struct {
        unsigned reg;
        uint32_t value;
    } cases[] = {
        { LAPIC_ID, 7 },      { LAPIC_SVR, 0x400 },          { LAPIC_TPR, 0x100 },
        { LAPIC_ISR, 1 },     { LAPIC_TMR, 0x8000 },         { LAPIC_IRR, 2 },
        { LAPIC_ESR, 0x100 }, { LAPIC_ICR, 1u << 13 },       { LAPIC_LVT_TIMER, 1u << 20 },
        { LAPIC_DIVIDE, 4 },  { LAPIC_CURRENT_COUNT, 1001 },
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (loads_with(true, cases[i].reg, cases[i].value) ||
            loads_with(false, cases[i].reg, cases[i].value))
            fail_msg("%x", cases[i].reg);
    assert_true(loads_with(true, LAPIC_LDR, 5)); /* it follows from the ID there */
    assert_false(loads_with(false, LAPIC_LDR, 5));
    assert_true(loads_with(true, LAPIC_DFR, 5));
    assert_false(loads_with(false, LAPIC_DFR, 5));
    assert_true(loads_with(true, LAPIC_VERSION, 5)); /* nobody writes it */
}

static void an_apic_that_is_off_has_no_registers(void **state)
{
    struct lapic             apic = busy_apic(false), off;
    struct hvm_hw_lapic_regs regs;

    (void)state;
    context_lapic_save_regs(&apic, NOW, &regs);
    assert_true(
        context_lapic_load(&apic, &(struct hvm_hw_lapic){ .apic_base_msr = LAPIC_BASE_ADDRESS }));
    off = apic;
    assert_true(context_lapic_load_regs(&apic, NOW, &regs));
    assert_memory_equal(&apic, &off, sizeof(apic));
    assert_false(lapic_requested(&apic));
}

static void all_memory_is_write_back(void **state)
{
    struct hvm_hw_mtrr m;

    (void)state;
    context_mtrr_save(0x123, &m);
    assert_int_equal(m.msr_pat_cr, 0x123);
    assert_int_equal(m.msr_mtrr_def_type, 0x806);
    assert_true(context_mtrr_ok(&m));
    m.msr_mtrr_def_type = 6;
    assert_false(context_mtrr_ok(&m));
    m.msr_mtrr_def_type = 0x806;
    m.msr_mtrr_var[3] = 1;
    assert_false(context_mtrr_ok(&m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_become_what_writing_them_would_make_of_them),
        cmocka_unit_test(registers_that_no_processor_can_have_are_refused),
        cmocka_unit_test(events_are_those_that_a_processor_delivers),
        cmocka_unit_test(an_apic_that_is_loaded_is_the_one_that_was_saved),
        cmocka_unit_test(its_timer_goes_on_from_where_it_was),
        cmocka_unit_test(an_interrupt_of_its_timer_is_not_lost),
        cmocka_unit_test(random_bytes_are_refused_or_taken),
        cmocka_unit_test(random_registers_are_refused_or_taken),
        cmocka_unit_test(what_follows_is_told),
        cmocka_unit_test(a_base_that_cannot_be_is_refused),
        cmocka_unit_test(registers_that_an_apic_cannot_have_are_refused),
        cmocka_unit_test(an_apic_that_is_off_has_no_registers),
        cmocka_unit_test(all_memory_is_write_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
