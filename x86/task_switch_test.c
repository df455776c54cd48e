/* test: with x86/task_switch.c x86/emulate_address.c */
/*
 * Task switches between tasks laid out by hand in a flat memory: what is saved, what is loaded,
 * what is refused and by which exception. Each access to memory is made to fail in turn, and the
 * guest that tries again must come to the same end.
 */
#include "x86/task_switch_test.h"

static struct task_request request_of(enum task_source source)
{
    return (struct task_request){ .source = source, .selector = NEW_TSS, .next_eip = 0x779 };
}

static struct task_result go(struct machine *m, enum task_source source)
{
    struct task_request r = request_of(source);

    return task_switch(&m->cpu, &m->callbacks, &r);
}

/* What a switch of any kind leaves in the old TSS, and finds in the new one. */
static void check_switched(const struct machine *m, const struct task_result *r)
{
    assert_int_equal(r->outcome, TASK_DONE);
    assert_true(r->in_new_task && m->entered);
    assert_int_equal(get(m, OLD + TASK_EIP, 4), 0x779);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(get(m, OLD + TASK_EAX + 4 * i, 4), 0x1000000 + i);
    for (unsigned i = 0; i < SEGMENTS; i++)
        assert_int_equal(get(m, OLD + TASK_ES + 4 * i, 4), 0x80 + 8 * i);
    assert_int_equal(get(m, OLD + TASK_CR3, 4), 0);
    assert_int_equal(get(m, OLD + TASK_LDT, 2), 0);
    assert_int_equal(m->cpu.rip, 0x1234);
    assert_int_equal(m->gpr[REG_RCX], 0x11111111);
    assert_int_equal(m->gpr[8], 0x1000008);
    assert_int_equal(m->cpu.dr7, 0x700);
    assert_true(m->has_cr3);
    assert_int_equal(m->cr3, 0xabcd000);
    assert_int_equal(m->cpu.cpl, 0);
    assert_int_equal(m->cpu.segment[SEG_CS].attributes, 0x49b);
    assert_int_equal(m->cpu.segment[SEG_FS].limit, 0xffff);
    assert_int_equal(m->cpu.segment[SEG_FS].base, 0x50);
    assert_int_equal(m->cpu.segment[SEG_GS].attributes, 0);
    assert_int_equal(type_of(m, SPARE), 0x93); /* accessed */
    assert_int_equal(m->cpu.segment[TASK_LDTR].base, LDT);
    assert_int_equal(m->cpu.segment[TASK_TR].selector, NEW_TSS);
    assert_int_equal(m->cpu.segment[TASK_TR].base, NEW);
    assert_int_equal(m->cpu.segment[TASK_TR].attributes, 0x8b);
    assert_int_equal(type_of(m, NEW_TSS), 0x8b);
}

static void a_jump_frees_the_old_tss_and_does_not_nest(void **state)
{
    struct machine     m;
    struct task_result r;

    (void)state;
    fresh(&m);
    r = go(&m, TASK_JMP);
    check_switched(&m, &r);
    assert_int_equal(type_of(&m, OLD_TSS), 0x89);
    assert_int_equal(get(&m, NEW + TASK_LINK, 2), 0);
    assert_int_equal(get(&m, OLD + TASK_EFLAGS, 4), RFLAGS_ALWAYS | RFLAGS_NT);
    assert_int_equal(m.cpu.rflags, 0x202);
}

static void a_call_keeps_the_old_tss_busy_links_back_and_sets_nt(void **state)
{
    struct machine     m;
    struct task_result r;

    (void)state;
    fresh(&m);
    r = go(&m, TASK_CALL);
    check_switched(&m, &r);
    assert_int_equal(type_of(&m, OLD_TSS), 0x8b);
    assert_int_equal(get(&m, NEW + TASK_LINK, 2), OLD_TSS);
    assert_int_equal(m.cpu.rflags, 0x202 | RFLAGS_NT);
}

static void iret_clears_nt_in_what_it_saves_and_wants_a_busy_tss(void **state)
{
    struct machine     m;
    struct task_result r;

    (void)state;
    fresh(&m);
    set_type(&m, NEW_TSS, 0x8b);
    r = go(&m, TASK_IRET);
    check_switched(&m, &r);
    assert_int_equal(type_of(&m, OLD_TSS), 0x89);
    assert_int_equal(get(&m, OLD + TASK_EFLAGS, 4), RFLAGS_ALWAYS);
    assert_int_equal(get(&m, NEW + TASK_LINK, 2), 0);
    assert_int_equal(m.cpu.rflags, 0x202);
}

static void an_event_pushes_its_error_code_and_saves_rf(void **state)
{
    struct machine      m;
    struct task_request request = request_of(TASK_EVENT);
    struct task_result  r;

    (void)state;
    fresh(&m);
    request.has_error = request.resume = true;
    request.error = 0xfedc;
    r = task_switch(&m.cpu, &m.callbacks, &request);
    check_switched(&m, &r);
    assert_int_equal(get(&m, OLD + TASK_EFLAGS, 4), RFLAGS_ALWAYS | RFLAGS_NT | RFLAGS_RF);
    assert_int_equal(get(&m, NEW + TASK_LINK, 2), OLD_TSS);
    assert_int_equal(m.gpr[REG_RSP], STACK - 4);
    assert_int_equal(get(&m, STACK - 4, 4), 0xfedc);
}

static void the_push_obeys_the_limit_of_the_new_stack(void **state)
{
    struct machine      m;
    struct task_request request = request_of(TASK_EVENT);
    struct task_result  r;

    (void)state;
    fresh(&m);
    request.has_error = request.external = true;
    put(&m, NEW + TASK_EAX + 4 * REG_RSP, 0x10002, 4);
    r = task_switch(&m.cpu, &m.callbacks, &request);
    assert_int_equal(r.outcome, TASK_EXCEPTION);
    assert_int_equal(r.vector, VECTOR_SS);
    assert_int_equal(r.error, 1);
    assert_true(r.in_new_task);
}

static void cr3_is_loaded_only_while_paging_is_on_and_from_32_bits(void **state)
{
    struct machine m;

    (void)state;
    fresh(&m);
    m.cpu.cr0 = CR0_PE;
    assert_int_equal(go(&m, TASK_JMP).outcome, TASK_DONE);
    assert_true(m.entered && !m.has_cr3);
    fresh(&m);
    m.cr3_is_bad = true;
    assert_int_equal(go(&m, TASK_JMP).vector, VECTOR_GP);
    assert_int_equal(m.cpu.rip, 0x1234);
    assert_int_equal(m.cpu.segment[SEG_SS].selector, DATA);
    assert_int_equal(m.cpu.segment[SEG_SS].limit, 0xffff);
}

static void tasks_of_16_bits_have_their_own_layout(void **state)
{
    struct machine     m;
    struct task_result r;

    (void)state;
    fresh(&m);
    put(&m, GDT + NEW_TSS, descriptor(NEW, 0x2b, 0x81), 8);
    memset(m.memory + NEW, 0, TASK_BYTES);
    put(&m, NEW + TASK16_IP, 0x4321, 2);
    put(&m, NEW + TASK16_FLAGS, 0x0202, 2);
    for (unsigned i = 0; i < 8; i++)
        put(&m, NEW + TASK16_AX + 2 * i, 0x1110 + i, 2);
    put(&m, NEW + 0x24, CODE, 2);
    put(&m, NEW + 0x26, DATA, 2);
    put(&m, NEW + 0x28, DATA, 2);
    put(&m, NEW + TASK16_LDT, LDTR, 2);
    put(&m, NEW + TASK16_BYTES, 0xffffffff, 4); /* of nobody's */
    r = go(&m, TASK_CALL);
    assert_int_equal(r.outcome, TASK_DONE);
    assert_false(m.has_cr3 || r.trap);
    assert_int_equal(m.cpu.rip, 0x4321);
    assert_int_equal(m.gpr[REG_RDI] & 0xffff, 0x1117);
    assert_int_equal(m.cpu.segment[TASK_LDTR].selector, LDTR);
    assert_int_equal(m.cpu.segment[SEG_FS].selector, 0);
    assert_int_equal(m.cpu.segment[TASK_TR].attributes, 0x83);

    m.gpr[REG_RBX] = 0xaaaa1234; /* and back */
    m.cpu.rflags |= RFLAGS_NT;
    put(&m, OLD + TASK_CS, CODE, 2);
    for (unsigned at = OLD + TASK_ES; at <= OLD + TASK_GS; at += 4)
        put(&m, at, at == OLD + TASK_CS ? CODE : DATA, 2);
    r = task_switch(
        &m.cpu, &m.callbacks,
        &(struct task_request){ .source = TASK_IRET, .selector = OLD_TSS, .next_eip = 0x9999 });
    assert_int_equal(r.outcome, TASK_DONE);
    assert_int_equal(get(&m, NEW + TASK16_IP, 2), 0x9999);
    assert_int_equal(get(&m, NEW + TASK16_FLAGS, 2), 0x0202);
    assert_int_equal(get(&m, NEW + TASK16_AX + 6, 2), 0x1234);
    assert_int_equal(get(&m, NEW + TASK16_ES + 6, 2), DATA);
    assert_int_equal(get(&m, NEW + TASK16_LDT, 2), LDTR);
    assert_int_equal(type_of(&m, NEW_TSS), 0x81);
}

static void virtual_8086_mode_needs_no_descriptors(void **state)
{
    struct machine m;

    (void)state;
    fresh(&m);
    put(&m, NEW + TASK_EFLAGS, 0x20202, 4);
    put(&m, NEW + TASK_CS, 0xf000, 2);
    assert_int_equal(go(&m, TASK_JMP).outcome, TASK_DONE);
    assert_int_equal(m.cpu.cpl, 3);
    assert_int_equal(m.cpu.segment[SEG_CS].base, 0xf0000);
    assert_int_equal(m.cpu.segment[SEG_CS].attributes, 0xf3);
    assert_int_equal(m.cpu.segment[SEG_SS].limit, 0xffff);
}

static void t_in_the_new_tss_is_a_trap(void **state)
{
    struct machine m;

    (void)state;
    fresh(&m);
    put(&m, NEW + TASK_TRAP, 1, 2);
    assert_true(go(&m, TASK_JMP).trap);
    fresh(&m);
    put(&m, NEW + TASK_TRAP, 0xfffe, 2);
    assert_false(go(&m, TASK_JMP).trap);
}

/* Refused before anything has happened: a change of one byte or of the selector. */
static void refusals_leave_all_as_it_was(void **state)
{
    static const struct {
        enum task_source source;
        uint16_t         selector;
        unsigned         at, byte; /* in memory */
        uint8_t          vector;
        uint32_t         error;
        bool             external;
    } cases[] = {
        { TASK_JMP, NEW_TSS, GDT + NEW_TSS + 5, 0x8b, VECTOR_GP, NEW_TSS, false },
        { TASK_EVENT, NEW_TSS, GDT + NEW_TSS + 5, 0x8b, VECTOR_GP, NEW_TSS | 1, true },
        { TASK_IRET, NEW_TSS, GDT + NEW_TSS + 5, 0x89, VECTOR_TS, NEW_TSS, false },
        { TASK_CALL, NEW_TSS, GDT + NEW_TSS + 5, 0x09, VECTOR_NP, NEW_TSS, false },
        { TASK_IRET, NEW_TSS, GDT + NEW_TSS + 5, 0x0b, VECTOR_NP, NEW_TSS, false },
        { TASK_CALL, NEW_TSS, GDT + NEW_TSS + 5, 0x99, VECTOR_GP, NEW_TSS, false },
        { TASK_CALL, NEW_TSS, GDT + NEW_TSS + 5, 0x82, VECTOR_GP, NEW_TSS, false },
        { TASK_CALL, NEW_TSS, GDT + NEW_TSS, 0x66, VECTOR_TS, NEW_TSS, false },
        { TASK_JMP, NEW_TSS | 3, GDT + NEW_TSS, 0x66, VECTOR_TS, NEW_TSS, false },
        { TASK_JMP, NEW_TSS | 4, 0, 0, VECTOR_GP, NEW_TSS | 4, false },
        { TASK_IRET, NEW_TSS | 4, 0, 0, VECTOR_TS, NEW_TSS | 4, false },
        { TASK_IRET, 0, 0, 0, VECTOR_TS, 0, false },
        { TASK_CALL, NOWHERE, 0, 0, VECTOR_GP, NOWHERE, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine      m, before;
        struct task_request request = request_of(cases[i].source);
        struct task_result  r;

        fresh(&m);
        m.memory[cases[i].at] = (uint8_t)cases[i].byte;
        request.selector = cases[i].selector;
        request.external = cases[i].external;
        before = m;
        r = task_switch(&m.cpu, &m.callbacks, &request);
        assert_int_equal(r.outcome, TASK_EXCEPTION);
        assert_int_equal(r.vector, cases[i].vector);
        assert_int_equal(r.error, cases[i].error);
        assert_false(r.in_new_task || m.entered);
        assert_memory_equal(m.memory, before.memory, sizeof(m.memory));
        assert_memory_equal(m.cpu.segment, before.cpu.segment, sizeof(m.cpu.segment));
        assert_int_equal(m.cpu.rip, 0x777);
    }
}

/* What the new task's segments are checked for: Intel SDM vol. 3, table 8-1. */
static void bad_segments_are_exceptions_of_the_new_task(void **state)
{
    static const struct {
        unsigned at; /* in the new TSS */
        uint16_t selector;
        unsigned changed, type; /* of a descriptor; 0: none */
        uint8_t  vector;
        uint32_t error;
    } cases[] = {
        { TASK_LDT, LDTR | 4, 0, 0, VECTOR_TS, LDTR | 4 },
        { TASK_LDT, DATA, 0, 0, VECTOR_TS, DATA },
        { TASK_LDT, LDTR, LDTR, 0x02, VECTOR_TS, LDTR },
        { TASK_LDT, NOWHERE, 0, 0, VECTOR_TS, NOWHERE },
        { TASK_CS, 0, 0, 0, VECTOR_TS, 0 },
        { TASK_CS, DATA, 0, 0, VECTOR_TS, DATA },
        { TASK_CS, CODE | 1, 0, 0, VECTOR_TS, CODE },
        { TASK_CS, CODE, CODE, 0x1b, VECTOR_NP, CODE },
        { TASK_CS, CODE, CODE, 0x8b, VECTOR_TS, CODE },
        { TASK_CS, CODE, CODE, 0xfe, VECTOR_TS, CODE }, /* conforming, but less privileged */
        { TASK_SS, 0, 0, 0, VECTOR_TS, 0 },
        { TASK_SS, DATA | 3, 0, 0, VECTOR_TS, DATA },
        { TASK_SS, CODE, 0, 0, VECTOR_TS, CODE },
        { TASK_SS, SPARE, SPARE, 0x90, VECTOR_TS, SPARE },
        { TASK_SS, SPARE, SPARE, 0xf2, VECTOR_TS, SPARE },
        { TASK_SS, SPARE, SPARE, 0x12, VECTOR_SS, SPARE },
        { TASK_ES, SPARE, SPARE, 0x98, VECTOR_TS, SPARE }, /* code that cannot be read */
        { TASK_ES, SPARE | 3, 0, 0, VECTOR_TS, SPARE },
        { TASK_ES, SPARE, SPARE, 0x12, VECTOR_NP, SPARE },
        { TASK_GS, OLD_TSS, 0, 0, VECTOR_TS, OLD_TSS },
        { TASK_GS, NOWHERE, 0, 0, VECTOR_TS, NOWHERE },
        { TASK_GS, 12, LDTR, 0x82, VECTOR_TS, 12 }, /* behind the end of the new LDT */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine     m;
        struct task_result r;

        fresh(&m);
        put(&m, NEW + cases[i].at, cases[i].selector, 2);
        if (cases[i].changed)
            set_type(&m, cases[i].changed, cases[i].type);
        r = go(&m, TASK_JMP);
        assert_int_equal(r.outcome, TASK_EXCEPTION);
        assert_int_equal(r.vector, cases[i].vector);
        assert_int_equal(r.error, cases[i].error);
        assert_true(r.in_new_task && m.entered);
        assert_int_equal(m.cpu.rip, 0x1234);
        assert_int_equal(m.cpu.segment[TASK_TR].selector, NEW_TSS);
        assert_int_equal(get(&m, OLD + TASK_EIP, 4), 0x779);
    }
}

static void good_segments_of_all_kinds_are_loaded(void **state)
{
    static const struct {
        unsigned at;
        uint16_t selector;
        unsigned type;
    } cases[] = {
        { TASK_ES, SPARE, 0x9a },     /* code that can be read */
        { TASK_ES, SPARE | 3, 0x9e }, /* conforming: privilege does not count */
        { TASK_ES, SPARE, 0x90 },     /* data that cannot be written */
        { TASK_ES, SPARE | 3, 0xf2 }, { TASK_GS, 3, 0x92 }, /* null, whatever its RPL */
        { TASK_CS, SPARE, 0x9c },
    };
    struct machine m;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fresh(&m);
        put(&m, NEW + cases[i].at, cases[i].selector, 2);
        put(&m, NEW + 0x58, 0, 2);
        set_type(&m, SPARE, cases[i].type);
        assert_int_equal(go(&m, TASK_JMP).outcome, TASK_DONE);
    }
    fresh(&m); /* a task of the user's */
    put(&m, NEW + TASK_CS, USER_CODE, 2);
    put(&m, NEW + TASK_SS, USER_DATA, 2);
    put(&m, NEW + TASK_ES, USER_DATA, 2);
    put(&m, NEW + 0x54, 0, 2);
    put(&m, NEW + 0x58, 4, 2);
    put(&m, LDT, descriptor(0x10, 0x10, 0xf2), 8);
    assert_int_equal(go(&m, TASK_JMP).outcome, TASK_DONE);
    assert_int_equal(m.cpu.cpl, 3);
    assert_int_equal(m.cpu.segment[SEG_FS].base, 0x10);
}

static void eip_beyond_its_segment_is_an_exception_of_the_new_task(void **state)
{
    struct machine     m;
    struct task_result r;

    (void)state;
    fresh(&m);
    put(&m, NEW + TASK_EIP, 0x10000, 4);
    r = go(&m, TASK_JMP);
    assert_int_equal(r.outcome, TASK_EXCEPTION);
    assert_int_equal(r.vector, VECTOR_GP);
    assert_int_equal(r.error, 0);
    assert_true(r.in_new_task);
}

static void before_the_first_ltr_no_descriptor_is_freed(void **state)
{
    struct machine m;

    (void)state;
    fresh(&m);
    m.cpu.segment[TASK_TR].selector = 0;
    set_type(&m, 0, 0x8b);
    assert_int_equal(go(&m, TASK_JMP).outcome, TASK_DONE);
    assert_int_equal(type_of(&m, 0), 0x8b);
    fresh(&m);
    m.cpu.segment[TASK_TR].selector = CODE;
    assert_int_equal(go(&m, TASK_JMP).outcome, TASK_DONE);
    assert_int_equal(type_of(&m, CODE), 0x9b);
}

/* Each access is a page fault in turn; until the switch is made the guest begins again. */
static void a_page_fault_on_the_way_lets_the_guest_begin_again(void **state)
{
    (void)state;
    for (enum task_source source = TASK_JMP; source <= TASK_EVENT; source++) {
        struct machine whole;
        unsigned       early = 0, late = 0;

        fresh(&whole);
        set_type(&whole, NEW_TSS, source == TASK_IRET ? 0x8b : 0x89);
        assert_int_equal(go(&whole, source).outcome, TASK_DONE);
        for (unsigned n = 1; n <= whole.accesses; n++) {
            struct machine     m;
            struct task_result r;

            fresh(&m);
            set_type(&m, NEW_TSS, source == TASK_IRET ? 0x8b : 0x89);
            m.failing = n;
            r = go(&m, source);
            assert_int_equal(r.outcome, TASK_PAGE_FAULT);
            assert_int_equal(r.in_new_task, m.entered);
            if (m.entered) {
                late++;
                continue;
            }
            early++;
            assert_int_equal(m.cpu.rip, 0x777);
            /* The last write is the one that marks it busy: it cannot have been made already. */
            assert_int_equal(go(&m, source).outcome, TASK_DONE);
            assert_memory_equal(m.memory, whole.memory, sizeof(m.memory));
            assert_memory_equal(m.cpu.segment, whole.cpu.segment, sizeof(m.cpu.segment));
        }
        assert_true(early >= 6 && late >= 6);
    }
}

/* All that will be written is looked at before the first write: nothing is half done. */
static void a_page_that_cannot_be_written_is_found_before_anything_is(void **state)
{
    static const struct {
        enum task_source source;
        uint32_t         at;
    } cases[] = {
        { TASK_JMP, OLD + TASK_EIP },         { TASK_JMP, OLD + TASK_GS + 3 },
        { TASK_JMP, GDT + OLD_TSS + 5 },      { TASK_JMP, GDT + NEW_TSS + 5 },
        { TASK_CALL, OLD + TASK_GS },         { TASK_CALL, NEW + TASK_LINK },
        { TASK_CALL, NEW + TASK_LINK + 1 },   { TASK_CALL, GDT + NEW_TSS + 5 },
        { TASK_EVENT, NEW + TASK_LINK },      { TASK_EVENT, GDT + NEW_TSS + 5 },
        { TASK_IRET, OLD + TASK_EFLAGS + 1 }, { TASK_IRET, GDT + OLD_TSS + 5 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct machine m, before;

        fresh(&m);
        set_type(&m, NEW_TSS, cases[i].source == TASK_IRET ? 0x8b : 0x89);
        m.read_only = cases[i].at;
        before = m;
        assert_int_equal(go(&m, cases[i].source).outcome, TASK_PAGE_FAULT);
        assert_false(m.entered);
        assert_memory_equal(m.memory, before.memory, sizeof(m.memory));
    }
}

static void the_last_byte_of_a_descriptor_must_be_within_the_table(void **state)
{
    struct machine m;

    (void)state;
    fresh(&m);
    m.cpu.segment[TASK_GDTR].limit = USER_DATA | 7;
    assert_int_equal(go(&m, TASK_JMP).outcome, TASK_DONE);
    fresh(&m);
    m.cpu.segment[TASK_GDTR].limit = (NEW_TSS | 7) - 1;
    assert_int_equal(go(&m, TASK_JMP).vector, VECTOR_GP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_jump_frees_the_old_tss_and_does_not_nest),
        cmocka_unit_test(a_call_keeps_the_old_tss_busy_links_back_and_sets_nt),
        cmocka_unit_test(iret_clears_nt_in_what_it_saves_and_wants_a_busy_tss),
        cmocka_unit_test(an_event_pushes_its_error_code_and_saves_rf),
        cmocka_unit_test(the_push_obeys_the_limit_of_the_new_stack),
        cmocka_unit_test(cr3_is_loaded_only_while_paging_is_on_and_from_32_bits),
        cmocka_unit_test(tasks_of_16_bits_have_their_own_layout),
        cmocka_unit_test(virtual_8086_mode_needs_no_descriptors),
        cmocka_unit_test(t_in_the_new_tss_is_a_trap),
        cmocka_unit_test(refusals_leave_all_as_it_was),
        cmocka_unit_test(bad_segments_are_exceptions_of_the_new_task),
        cmocka_unit_test(good_segments_of_all_kinds_are_loaded),
        cmocka_unit_test(eip_beyond_its_segment_is_an_exception_of_the_new_task),
        cmocka_unit_test(before_the_first_ltr_no_descriptor_is_freed),
        cmocka_unit_test(a_page_fault_on_the_way_lets_the_guest_begin_again),
        cmocka_unit_test(a_page_that_cannot_be_written_is_found_before_anything_is),
        cmocka_unit_test(the_last_byte_of_a_descriptor_must_be_within_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
