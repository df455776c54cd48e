/* Comparing tables: every word and half of a word counts, and the registers used are put back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "words.h"

#define WORDS 512

typedef unsigned differ_fn(const uint64_t *now, const uint64_t *then, unsigned from, unsigned end);

/* Nothing here but the function's own instructions touches XMM registers. */
__attribute__((noinline, no_sanitize("address", "undefined"),
               target("general-regs-only"))) static unsigned
by_sse(const uint64_t *now, const uint64_t *then, unsigned from, unsigned end)
{
    return words_differ_sse(now, then, from, end);
}

static differ_fn *const ways[] = { words_differ, by_sse, words_differ_plain };

struct tables {
    _Alignas(4096) uint64_t now[WORDS], then[WORDS];
};

static struct tables *same(void)
{
    struct tables *t = aligned_alloc(4096, sizeof(*t));

    assert_non_null(t);
    for (unsigned i = 0; i < WORDS; i++)
        t->now[i] = t->then[i] = i * UINT64_C(0x9e3779b97f4a7c15);
    return t;
}

static void the_group_of_any_bit_that_differs_is_found(void **state)
{
    struct tables *t = same();

    (void)state;
    for (unsigned way = 0; way < sizeof(ways) / sizeof(*ways); way++) {
        assert_int_equal(ways[way](t->now, t->then, 0, WORDS), WORDS);
        for (unsigned i = 0; i < WORDS; i++) {
            for (unsigned bit = 0; bit < 64; bit += 9) {
                t->now[i] ^= UINT64_C(1) << bit;
                assert_int_equal(ways[way](t->now, t->then, 0, WORDS), i - i % WORDS_AT_ONCE);
                t->now[i] ^= UINT64_C(1) << bit;
            }
        }
    }
    free(t);
}

static void the_first_group_within_the_bounds_is_found(void **state)
{
    struct tables *t = same();

    (void)state;
    for (unsigned i = 0; i < WORDS; i += 7 * WORDS_AT_ONCE)
        t->now[i + 5] = ~t->then[i + 5];
    for (unsigned way = 0; way < sizeof(ways) / sizeof(*ways); way++) {
        assert_int_equal(ways[way](t->now, t->then, 0, WORDS), 0);
        assert_int_equal(ways[way](t->now, t->then, 16, WORDS), 112);
        assert_int_equal(ways[way](t->now, t->then, 112, 128), 112);
        assert_int_equal(ways[way](t->now, t->then, 128, 224), 224);
        assert_int_equal(ways[way](t->now, t->then, 128, 240), 224);
        assert_int_equal(ways[way](t->now, t->then, 464, WORDS), WORDS);
    }
    assert_int_equal(words_differ(t->now, t->then, WORDS, WORDS), WORDS);
    free(t);
}

static void a_group_that_is_not_empty_is_found(void **state)
{
    struct tables *t = same();

    (void)state;
    memset(t->now, 0, sizeof(t->now));
    assert_int_equal(words_used(t->now, 0, WORDS), WORDS);
    assert_int_equal(words_used_plain(t->now, 0, WORDS), WORDS);
    for (unsigned i = 0; i < WORDS; i++) {
        t->now[i] = UINT64_C(1) << i % 64;
        assert_int_equal(words_used(t->now, 0, WORDS), i - i % WORDS_AT_ONCE);
        assert_int_equal(words_used_plain(t->now, 0, WORDS), i - i % WORDS_AT_ONCE);
        assert_int_equal(words_used(t->now, i - i % WORDS_AT_ONCE + WORDS_AT_ONCE, WORDS), WORDS);
        t->now[i] = 0;
    }
    free(t);
}

static void the_registers_of_the_guest_are_put_back(void **state)
{
    struct tables *t = same();
    uint64_t       before[4] = { 0x0123456789abcdef, 0xfedcba9876543210, 0x0f0f0f0f0f0f0f0f, 42 };
    uint64_t       after[4];
    const void    *arguments[] = { t->now, t->then };

    (void)state;
    __asm__ volatile("mov %%rsp, %%rbx\n\t"
                     "sub $256, %%rsp\n\t" /* below the red zone */
                     "and $-64, %%rsp\n\t"
                     "movups (%[before]), %%xmm0\n\t"
                     "movups 16(%[before]), %%xmm1\n\t"
                     "mov (%[arguments]), %%rdi\n\t"
                     "mov 8(%[arguments]), %%rsi\n\t"
                     "xor %%edx, %%edx\n\t"
                     "mov $512, %%ecx\n\t"
                     "call *%[function]\n\t"
                     "movups %%xmm0, (%[after])\n\t"
                     "movups %%xmm1, 16(%[after])\n\t"
                     "mov %%rbx, %%rsp"
                     :
                     : [before] "r"(before), [arguments] "r"(arguments), [function] "r"(by_sse),
                       [after] "r"(after)
                     : "memory", "cc", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10",
                       "r11", "xmm0", "xmm1");
    assert_memory_equal(before, after, sizeof(after));
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_group_of_any_bit_that_differs_is_found),
        cmocka_unit_test(the_first_group_within_the_bounds_is_found),
        cmocka_unit_test(a_group_that_is_not_empty_is_found),
        cmocka_unit_test(the_registers_of_the_guest_are_put_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
