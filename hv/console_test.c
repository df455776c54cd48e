/* test: with hv/console.c hv/conring.c */
/*
 * The shared serial line, seen from the terminal: what guests, the hypervisor and the
 * monitor's prompt look like together, and who gets what is typed. The machine, the timers,
 * the rings and the monitor are recorders at the head of this file.
 */
#include "hv/console.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/alloc.h"
#include "hv/conring.h"
#include "hv/control.h"
#include "hv/domain.h"
#include "hv/monitor.h"
#include "hv/print.h"
#include "hv/ring.h"

static char          line[65536]; /* what is on the terminal */
static size_t        used;
static const char   *input = "";    /* what is typed */
static char          typed[2][256]; /* what the guests got */
static char          commands[512]; /* what the monitor got */
static bool          quit;
static struct timer *timers[8];
static uint64_t      now;
static struct cpu    cpu;
static size_t        allocated;

static struct domain a = { .id = 1, .name = "a", .state = DOMAIN_RUNNING };
static struct domain b = { .id = 2, .name = "b", .state = DOMAIN_RUNNING };
struct domain       *domains;

/* ---- the recorders ---- */

void machine_serial_put(char c)
{
    assert_true(used + 1 < sizeof(line));
    line[used++] = c;
    line[used] = '\0';
}

int machine_serial_get(void)
{
    return *input ? (unsigned char)*input++ : -1;
}

uint64_t machine_now(void)
{
    return now;
}

struct cpu *this_cpu(void)
{
    return &cpu;
}

void *alloc_bytes(size_t bytes)
{
    allocated += bytes;
    return calloc(1, bytes);
}

void free_bytes(void *p, size_t bytes)
{
    allocated -= bytes;
    free(p);
}

void timer_cancel(struct timer *timer)
{
    for (size_t i = 0; i < 8; i++) {
        if (timers[i] == timer)
            timers[i] = NULL;
    }
}

void timer_set(struct timer *timer, uint64_t when)
{
    size_t i = 0;

    timer_cancel(timer);
    timer->when = when;
    while (timers[i])
        i++;
    timers[i] = timer;
}

/* Lets a second pass. */
static void wait(void)
{
    now += 1000000000;
    for (size_t i = 0; i < 8; i++) {
        struct timer *timer = timers[i];

        if (!timer || timer->when > now)
            continue;
        timers[i] = NULL;
        timer->run(timer->arg);
    }
}

bool machine_platform_type(struct domain *d, char c)
{
    return ring_console_type(d, &c, 1) == 1;
}

size_t ring_console_type(struct domain *d, const char *bytes, size_t count)
{
    strncat(typed[d == &b], bytes, count);
    return count;
}

static char to_control[16];

size_t control_type(struct domain *d, const char *bytes, size_t count)
{
    assert_true(domain_is_control(d));
    strncat(to_control, bytes, count);
    return count;
}

bool monitor_run(char *text)
{
    strcat(commands, text);
    strcat(commands, "|");
    quit = strcmp(text, "quit") == 0;
    if (strcmp(text, "say") == 0)
        print("said\n");
    return true;
}

bool monitor_wants_quit(void)
{
    return quit;
}

void print(const char *fmt, ...)
{
    char    text[256];
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);

    va_end(args);
    console_output(text, (size_t)n);
}

static void type(const char *text)
{
    input = text;
    console_poll();
}

static void guest(struct domain *d, const char *text)
{
    console_guest_output(d, text, strlen(text));
}

/* What is on the terminal since the last time. */
#define SHOWN(want)                                                                                \
    do {                                                                                           \
        assert_string_equal(line, want);                                                           \
        used = 0;                                                                                  \
        line[0] = '\0';                                                                            \
    } while (0)

/* ---- tests, in the order in which a machine's life goes: the console's state goes on ---- */

static void before_all_else_the_hypervisor_can_print(void **state)
{
    (void)state;
    print("umbra: hello\n");
    SHOWN("umbra: hello\n");
}

static void one_domain_is_shown_as_it_is(void **state)
{
    (void)state;
    domains = &a;
    console_start(true);
    SHOWN("*** input to a (Ctrl-A three times to switch)\n");
    guest(&a, "one\r\ntwo\rthree \033[m$ ");
    SHOWN("one\r\ntwo\rthree \033[m$ ");
    print("umbra: begins anew\n");
    SHOWN("\numbra: begins anew\n");
    guest(&a, "more\n");
    print("umbra: no empty line\n");
    SHOWN("more\numbra: no empty line\n");
}

static void three_ctrl_a_lead_to_the_monitor_and_back(void **state)
{
    (void)state;
    type("ab\r");
    assert_string_equal(typed[0], "ab\r");
    type("\001x\001\001y");
    assert_string_equal(typed[0], "ab\r\001x\001\001y");
    SHOWN("");
    type("\001\001\001");
    SHOWN("*** input to the monitor (Ctrl-A three times to switch)\numbra> ");
    type("nonsne\b\bense\r");
    assert_string_equal(commands, "nonsense|");
    SHOWN("nonsne\b \b\b \bense\numbra> ");
    type("say\n");
    SHOWN("say\nsaid\numbra> ");
    type("oops\025ok\r");
    assert_string_equal(commands, "nonsense|say|ok|");
    SHOWN("oops\numbra> ok\numbra> ");
    type("\001\001\001");
    SHOWN("\n*** input to a (Ctrl-A three times to switch)\n");
    type("z");
    assert_string_equal(typed[0], "ab\r\001x\001\001yz");
}

static void the_prompt_comes_back_after_others_have_printed(void **state)
{
    (void)state;
    type("\001\001\001aud");
    SHOWN("*** input to the monitor (Ctrl-A three times to switch)\numbra> aud");
    guest(&a, "tick\n");
    SHOWN("\ntick\n");
    wait();
    SHOWN("umbra> aud");
    print("umbra: news\n");
    type("it\r");
    SHOWN("\numbra: news\numbra> audit\numbra> ");
    wait();
    SHOWN("");
    type("\001\001\001");
    SHOWN("\n*** input to a (Ctrl-A three times to switch)\n");
    wait();
    SHOWN("");
}

static void several_domains_are_named_line_by_line(void **state)
{
    (void)state;
    a.next = &b;
    console_name_lines();
    guest(&a, "hel");
    guest(&b, "other\r\n\r\n");
    guest(&a, "lo\n");
    SHOWN("b| other\nb| \na| hello\n");
    guest(&a, "login: ");
    SHOWN("");
    wait();
    SHOWN("a| login: ");
    guest(&a, "root\n");
    SHOWN("root\n");
    guest(&a, "$ ");
    wait();
    guest(&b, "noise\n");
    guest(&a, "ls\n");
    SHOWN("a| $ \nb| noise\na| ls\n");
}

static void a_line_without_end_is_bounded(void **state)
{
    char   want[3000] = "a| ";
    size_t at = 3;

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        guest(&a, "x");
        want[at++] = 'x';
    }
    assert_in_range(used, 1000, 2003);
    guest(&a, "\n");
    want[at++] = '\n';
    want[at] = '\0';
    SHOWN(want);
}

static void who_ends_hands_the_input_on(void **state)
{
    (void)state;
    guest(&a, "last words");
    a.state = DOMAIN_STOPPED;
    console_ended(&a);
    SHOWN("a| last words\n*** input to b (Ctrl-A three times to switch)\n");
    console_ended(&a);
    SHOWN("");
    type("q");
    assert_string_equal(typed[1], "q");
    type("\001\001\001");
    SHOWN("*** input to the monitor (Ctrl-A three times to switch)\numbra> ");
    type("\001\001\001");
    SHOWN("\n*** input to b (Ctrl-A three times to switch)\n");
}

static void what_the_control_domain_gets_is_not_in_a_ring(void **state)
{
    (void)state;
    b.config.control = 1;
    type("x");
    b.config.control = 0;
    assert_string_equal(to_control, "x");
    assert_string_equal(typed[1], "q");
}

static void what_the_hypervisor_prints_is_kept_and_nothing_else(void **state)
{
    uint32_t at = conring_next();
    char     kept[32] = { 0 };

    (void)state;
    guest(&b, "not this\n");
    print("umbra: this\n");
    assert_int_equal(conring_read(&at, kept, sizeof(kept)), 12);
    assert_string_equal(kept, "umbra: this\n");
    SHOWN("b| not this\numbra: this\n");
}

static void reading_is_bounded_and_goes_on(void **state)
{
    char   many[201];
    size_t before = strlen(typed[1]);

    (void)state;
    memset(many, 'm', 200);
    many[200] = '\0';
    cpu.pending = PENDING_SERIAL | PENDING_TIMER;
    input = many;
    for (unsigned i = 0; cpu.pending & PENDING_SERIAL; i++) {
        assert_true(i < 20);
        console_poll();
        assert_true(i > 0 || *input);
    }
    assert_int_equal(strlen(typed[1]) - before, 200);
    assert_int_equal(cpu.pending, PENDING_TIMER);
}

static void a_long_command_is_cut_not_overrun(void **state)
{
    (void)state;
    commands[0] = '\0';
    type("\001\001\001");
    for (unsigned i = 0; i < 1000; i++)
        type("c");
    type("\r");
    assert_in_range(strlen(commands), 100, 300);
    type("\001\001\001");
    used = 0;
    line[0] = '\0';
}

static void what_is_forgotten_leaves_nothing(void **state)
{
    (void)state;
    guest(&b, "half a line");
    console_forget(&b);
    SHOWN("b| half a line\n");
    wait(); /* the focus was b's: now it is the monitor's */
    SHOWN("umbra> ");
    console_forget(&b);
    console_forget(&a);
    SHOWN("");
    assert_int_equal(allocated, 0);
    type("quit\rmore");
    assert_string_equal(input, "more");
    SHOWN("quit\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_all_else_the_hypervisor_can_print),
        cmocka_unit_test(one_domain_is_shown_as_it_is),
        cmocka_unit_test(three_ctrl_a_lead_to_the_monitor_and_back),
        cmocka_unit_test(the_prompt_comes_back_after_others_have_printed),
        cmocka_unit_test(several_domains_are_named_line_by_line),
        cmocka_unit_test(a_line_without_end_is_bounded),
        cmocka_unit_test(who_ends_hands_the_input_on),
        cmocka_unit_test(what_the_control_domain_gets_is_not_in_a_ring),
        cmocka_unit_test(what_the_hypervisor_prints_is_kept_and_nothing_else),
        cmocka_unit_test(reading_is_bounded_and_goes_on),
        cmocka_unit_test(a_long_command_is_cut_not_overrun),
        cmocka_unit_test(what_is_forgotten_leaves_nothing),
    };

    return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}
