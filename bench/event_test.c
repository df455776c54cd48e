/* Instructions by their bytes, as the counter sees them. */
#include "bench/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/marker.h"

#define BYTES(...) { __VA_ARGS__ }, sizeof((uint8_t[]){ __VA_ARGS__ })

static void each_instruction_is_the_event_that_it_is(void **state)
{
    static const struct {
        uint8_t    bytes[8];
        size_t     length;
        enum event event;
    } cases[] = {
        { BYTES(0x0f, 0x01, 0xd8), EVENT_VMRUN },
        { BYTES(0x0f, 0x01, 0xd9), EVENT_VMMCALL },
        { BYTES(0x0f, 0x01, 0xdf), EVENT_INVLPGA },
        { BYTES(0x0f, 0x01, 0x38), EVENT_INVLPG },       /* (%rax) */
        { BYTES(0x41, 0x0f, 0x01, 0x3f), EVENT_INVLPG }, /* (%r15) */
        { BYTES(0x0f, 0x01, 0xf8), EVENT_INSN },         /* SWAPGS */
        { BYTES(0x0f, 0x01, 0x10), EVENT_INSN },         /* LGDT */
        { BYTES(0x0f, 0x22, 0xc0), EVENT_WRCR0 },
        { BYTES(0x0f, 0x22, 0xd8), EVENT_WRCR3 },
        { BYTES(0x41, 0x0f, 0x22, 0xe0), EVENT_WRCR4 },
        { BYTES(0x0f, 0x20, 0xd8), EVENT_INSN }, /* reads CR3 */
        { BYTES(0x0f, 0x22, 0xd0), EVENT_INSN }, /* CR2 */
        { BYTES(0x0f, 0x05), EVENT_SYSCALL },
        { BYTES(0x48, 0x0f, 0x07), EVENT_SYSRET },
        { BYTES(0x48, 0xcf), EVENT_IRET },
        { BYTES(0xf3, 0x90), EVENT_PAUSE },
        { BYTES(0x90), EVENT_INSN },
        { BYTES(0xf4), EVENT_HLT },
        { BYTES(0xee), EVENT_IO },
        { BYTES(0xf3, 0x6e), EVENT_IO },
        { BYTES(0x0f, 0xa2), EVENT_CPUID },
        { BYTES(0x66, 0x0f, 0x38, 0x82, 0x00), EVENT_INVPCID },
        { BYTES(0x0f, 0x38, 0x82, 0x00), EVENT_INSN },
        { BYTES(0x0f, 0x30), EVENT_WRMSR },
        { BYTES(0x0f), EVENT_INSN }, /* cut off */
        { BYTES(0x66), EVENT_INSN },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (event_of(cases[i].bytes, cases[i].length) != cases[i].event)
            fail_msg("case %zu: %s instead of %s", i,
                     event_names[event_of(cases[i].bytes, cases[i].length)],
                     event_names[cases[i].event]);
}

static void an_iteration_of_a_string_instruction_handles_so_many_bytes(void **state)
{
    static const struct {
        uint8_t  bytes[8];
        size_t   length;
        unsigned handled;
    } cases[] = {
        { BYTES(0xf3, 0xaa), 1 },       { BYTES(0xf3, 0x66, 0xab), 2 },
        { BYTES(0xf3, 0xab), 4 },       { BYTES(0xf3, 0x48, 0xab), 8 },
        { BYTES(0xf3, 0x48, 0xa5), 8 }, { BYTES(0xf2, 0xae), 1 },
        { BYTES(0xf3, 0x48, 0xa7), 8 }, { BYTES(0xf3, 0x48, 0x6f), 4 },
        { BYTES(0x48, 0xab), 0 }, /* without a repeat prefix */
        { BYTES(0xf3, 0x90), 0 },       { BYTES(0xf3, 0x0f, 0x6f, 0x00), 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (event_rep_bytes(cases[i].bytes, cases[i].length) != cases[i].handled)
            fail_msg("case %zu: %u bytes", i, event_rep_bytes(cases[i].bytes, cases[i].length));
}

static void a_marker_is_a_prefetch_with_its_displacement(void **state)
{
    uint8_t  bytes[7] = { 0x0f, 0x18, 0x80 };
    uint32_t displacement = MARKER_BEGIN_AT(7);

    (void)state;
    memcpy(bytes + 3, &displacement, sizeof(displacement));
    assert_int_equal(event_marker(bytes, 7, MARKER_BEGIN), 7);
    assert_int_equal(event_marker(bytes, 7, MARKER_END), 0);
    assert_int_equal(event_marker(bytes, 6, MARKER_BEGIN), 0);
    displacement = MARKER_END_AT(255);
    memcpy(bytes + 3, &displacement, sizeof(displacement));
    assert_int_equal(event_marker(bytes, 7, MARKER_END), 255);
    bytes[4] = 1; /* no number of a region */
    assert_int_equal(event_marker(bytes, 7, MARKER_END), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_instruction_is_the_event_that_it_is),
        cmocka_unit_test(an_iteration_of_a_string_instruction_handles_so_many_bytes),
        cmocka_unit_test(a_marker_is_a_prefetch_with_its_displacement),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
