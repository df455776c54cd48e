/* test: with x86/task_switch.c x86/emulate_address.c */
/* What leads to a task, LTR, and accessed bits. */
#include "x86/task_switch_test.h"

static void what_leads_to_a_task_is_found(void **state)
{
    struct machine m;
    uint16_t       tss = 0;

    (void)state;
    fresh(&m);
#define BRANCH(selector) task_find_branch(&m.cpu, &m.callbacks, selector, &tss)
    assert_int_equal(BRANCH(NEW_TSS), TASK_FOUND);
    assert_int_equal(tss, NEW_TSS);
    tss = 0;
    assert_int_equal(BRANCH(GATE), TASK_FOUND);
    assert_int_equal(tss, NEW_TSS);
    assert_int_equal(BRANCH(OLD_TSS), TASK_NONE); /* busy */
    assert_int_equal(BRANCH(CODE), TASK_NONE);
    assert_int_equal(BRANCH(0), TASK_NONE);
    assert_int_equal(BRANCH(NOWHERE), TASK_NONE);
    assert_int_equal(BRANCH(GATE | 1), TASK_NONE); /* less privileged than its DPL */
    set_type(&m, GATE, 0xe5);
    assert_int_equal(BRANCH(GATE | 3), TASK_FOUND);
    set_type(&m, GATE, 0x65);
    assert_int_equal(BRANCH(GATE), TASK_NONE);
    put(&m, LDT, (uint64_t)NEW_TSS << 16 | 0x85ull << 40, 8);
    m.cpu.segment[TASK_LDTR] = (struct emu_segment){ LDTR, 0x82, 7, LDT };
    assert_int_equal(BRANCH(4), TASK_FOUND); /* by a gate in the LDT */
    m.cpu.segment[TASK_LDTR].attributes = 0;
    assert_int_equal(BRANCH(4), TASK_NONE);
    m.cpu.cpl = 1;
    assert_int_equal(BRANCH(NEW_TSS), TASK_NONE);
    m.failing = m.accesses + 1;
    assert_int_equal(BRANCH(NEW_TSS), TASK_FOUND_FAULT);

    fresh(&m);
#define EVENT(vector, software) task_find_event(&m.cpu, &m.callbacks, vector, software, &tss)
    assert_int_equal(EVENT(13, false), TASK_FOUND);
    assert_int_equal(EVENT(13, true), TASK_FOUND);
    assert_int_equal(EVENT(14, false), TASK_NONE);
    assert_int_equal(EVENT(16, false), TASK_NONE); /* behind the end */
    m.cpu.cpl = 3;
    assert_int_equal(EVENT(13, false), TASK_FOUND);
    assert_int_equal(EVENT(13, true), TASK_NONE);

    put(&m, OLD, 0x1230, 2);
    assert_int_equal(task_find_return(&m.cpu, &m.callbacks, &tss), TASK_FOUND);
    assert_int_equal(tss, 0x1230);
    m.cpu.rflags |= RFLAGS_VM;
    assert_int_equal(task_find_return(&m.cpu, &m.callbacks, &tss), TASK_NONE);
    m.cpu.rflags = RFLAGS_ALWAYS;
    assert_int_equal(task_find_return(&m.cpu, &m.callbacks, &tss), TASK_NONE);
}

static void ltr_loads_and_marks_a_tss_that_is_free(void **state)
{
    static const struct {
        uint16_t selector;
        unsigned type;
        uint8_t  vector; /* 0: loaded */
        uint32_t error;
    } cases[] = {
        { NEW_TSS, 0x89, 0, 0 },
        { NEW_TSS | 3, 0x81, 0, 0 },
        { NEW_TSS, 0x8b, VECTOR_GP, NEW_TSS },
        { NEW_TSS, 0x82, VECTOR_GP, NEW_TSS },
        { NEW_TSS, 0x09, VECTOR_NP, NEW_TSS },
        { NEW_TSS | 4, 0x89, VECTOR_GP, NEW_TSS | 4 },
        { NOWHERE, 0x89, VECTOR_GP, NOWHERE },
        { 3, 0x89, VECTOR_GP, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine     m;
        struct task_result r;

        fresh(&m);
        set_type(&m, NEW_TSS, cases[i].type);
        r = task_load_register(&m.cpu, &m.callbacks, cases[i].selector, false);
        assert_int_equal(r.outcome, cases[i].vector ? TASK_EXCEPTION : TASK_DONE);
        assert_int_equal(r.vector, cases[i].vector);
        assert_int_equal(r.error, cases[i].error);
        assert_int_equal(type_of(&m, NEW_TSS), cases[i].type | (cases[i].vector ? 0 : 2));
        assert_int_equal(m.cpu.segment[TASK_TR].base, cases[i].vector ? OLD : NEW);
    }
}

static void ltr_in_long_mode_reads_a_base_of_64_bits(void **state)
{
    static const struct {
        unsigned type;
        uint32_t upper, limit;
        uint8_t  vector; /* 0: loaded */
    } cases[] = {
        { 0x89, 0xffff8000, GDT_LIMIT, 0 },
        { 0x89, 0x00007fff, GDT_LIMIT, 0 },
        { 0x89, 0x00008000, GDT_LIMIT, VECTOR_GP }, /* not canonical */
        { 0x81, 0, GDT_LIMIT, VECTOR_GP },          /* of 16 bits */
        { 0x8b, 0, GDT_LIMIT, VECTOR_GP },
        { 0x09, 0, GDT_LIMIT, VECTOR_NP },
        { 0x89, 0, NEW_TSS + 15, 0 },
        { 0x89, 0, NEW_TSS + 14, VECTOR_GP },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine     m;
        struct task_result r;

        fresh(&m);
        set_type(&m, NEW_TSS, cases[i].type);
        put(&m, GDT + NEW_TSS + 8, cases[i].upper, 8);
        m.cpu.segment[TASK_GDTR].limit = cases[i].limit;
        r = task_load_register(&m.cpu, &m.callbacks, NEW_TSS, true);
        assert_int_equal(r.outcome, cases[i].vector ? TASK_EXCEPTION : TASK_DONE);
        assert_int_equal(r.vector, cases[i].vector);
        assert_int_equal(r.error, cases[i].vector ? NEW_TSS : 0);
        assert_int_equal(m.cpu.segment[TASK_TR].base,
                         cases[i].vector ? OLD : (uint64_t)cases[i].upper << 32 | NEW);
    }
}

static void accessed_bits_are_set_in_code_and_data_only(void **state)
{
    struct machine m;

    (void)state;
    fresh(&m);
    assert_true(task_mark_accessed(&m.cpu, &m.callbacks, GDT + CODE + 4));
    assert_int_equal(type_of(&m, CODE), 0x9b);
    assert_false(task_mark_accessed(&m.cpu, &m.callbacks, GDT + CODE + 5));
    assert_false(task_mark_accessed(&m.cpu, &m.callbacks, GDT + NEW_TSS));
    assert_false(task_mark_accessed(&m.cpu, &m.callbacks, GDT + GDT_LIMIT + 1));
    assert_false(task_mark_accessed(&m.cpu, &m.callbacks, GDT - 1));
    put(&m, LDT, descriptor(0x10, 0x10, 0xf2), 8);
    assert_false(task_mark_accessed(&m.cpu, &m.callbacks, LDT + 5));
    m.cpu.segment[TASK_LDTR] = (struct emu_segment){ LDTR, 0x82, 7, LDT };
    assert_true(task_mark_accessed(&m.cpu, &m.callbacks, LDT + 5));
    assert_int_equal(m.memory[LDT + 5], 0xf3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_leads_to_a_task_is_found),
        cmocka_unit_test(ltr_loads_and_marks_a_tss_that_is_free),
        cmocka_unit_test(ltr_in_long_mode_reads_a_base_of_64_bits),
        cmocka_unit_test(accessed_bits_are_set_in_code_and_data_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
