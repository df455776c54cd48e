/*
 * The hypervisor's main program: domains are made from the modules, run until the last one
 * has stopped, looked at by the commands for the end, and taken away again; then the frame
 * table must be as it was before.
 *
 * What the modules are is in given.h.
 */
#include "hv/alloc.h"
#include "hv/build.h"
#include "hv/census.h"
#include "hv/console.h"
#include "hv/control.h"
#include "hv/given.h"
#include "hv/monitor.h"
#include "hv/preempt.h"
#include "hv/print.h"
#include "hv/ring.h"
#include "hv/sched.h"
#include "hv/script.h"

/* What machine_exit tells the host's tool. */
enum {
    EXIT_WELL = 0x10,
    EXIT_CRASHED = 0x11, /* a domain crashed, a command of the script or an audit failed */
    EXIT_CONFIG = 0x12,
};

#define NS_PER_SECOND UINT64_C(1000000000)
#define MIB_FRAMES    (UINT64_C(1) << (20 - PAGE_SHIFT))

static struct script script;
static bool          failed; /* the exit status is EXIT_CRASHED */

/* A command of the script that waits for its time. */
static struct scheduled {
    struct timer                 timer;
    const struct script_command *command;
} scheduled[SCRIPT_COMMANDS_MAX];

/* ---- start ---- */

static void banner(void)
{
    uint64_t frames = 0;

    for (uint64_t i = 0; i < machine_phys.frames; i++)
        frames += machine_phys.frame[i].kind != FRAME_ABSENT;
    print("umbra: 1 processor, %lu MiB of memory in %lu frames, %lu of them free\n",
          frames / MIB_FRAMES, frames, alloc_free_count());
}

static void run_selftest(void)
{
    static const char  key[] = "selftest=";
    const char        *at = machine_command_line();
    struct script_text word;

    while (given_word(&at, &word)) {
        struct script_text head = { word.start, sizeof(key) - 1 };
        char               name[32];

        if (word.length < head.length || !given_word_is(head, key))
            continue;
        word.start += head.length;
        word.length -= head.length;
        if (!script_copy(word, name, sizeof(name))) {
            print("umbra: %s: expected the name of a test\n", key);
            machine_exit(EXIT_CONFIG);
        }
        machine_exit(machine_selftest(name) ? EXIT_WELL : EXIT_CRASHED);
    }
}

static void read_script(void)
{
    const struct machine_module *m = given_module("script", -1);
    struct script_error          error;

    if (m && !script_parse(m->data, m->size, &script, &error)) {
        print("umbra: script:%u: %s\n", error.line, error.what);
        machine_exit(EXIT_CONFIG);
    }
}

/* ---- commands at times ---- */

static void run_commands(const struct script_command *command)
{
    char text[SCRIPT_LINE_MAX];

    /* The parser has refused what is too long. */
    if (!script_copy(command->text, text, sizeof(text)) || !monitor_run(text))
        failed = true;
}

static void run_scheduled(void *arg)
{
    struct scheduled *s = arg;

    /* Counted from when it was due, but what could not be made in time is left out. */
    if (s->command->when == SCRIPT_EVERY) {
        uint64_t now = machine_now();
        uint64_t next = s->timer.when + s->command->ns;

        timer_set(&s->timer, next > now ? next : now + s->command->ns);
    }
    run_commands(s->command);
}

static void schedule(void)
{
    uint64_t start = machine_now();

    for (unsigned i = 0; i < script.nr_commands; i++) {
        struct scheduled *s = &scheduled[i];

        s->command = &script.command[i];
        s->timer.run = run_scheduled;
        s->timer.arg = s;
        if (s->command->when != SCRIPT_END)
            timer_set(&s->timer, start + s->command->ns);
    }
}

static void unschedule(void)
{
    for (unsigned i = 0; i < script.nr_commands; i++)
        timer_cancel(&scheduled[i].timer);
}

/* ---- running ---- */

/* Looks after domains that have ended; true when none is left that goes on. */
static bool all_ended(void)
{
    bool all = true;

    for (struct domain *d = domains; d; d = d->next) {
        if (domain_failed(d))
            failed = true;
        if (d->state == DOMAIN_DYING)
            continue; /* it may wait for what one that has ended still holds: the end finds it */
        if (d->state != DOMAIN_STOPPED && d->state != DOMAIN_CRASHED) {
            all = false;
            continue;
        }
        ring_console_finish(d);
        console_ended(d);
    }
    return all;
}

static void run(void)
{
    for (struct domain *d = domains; d; d = d->next)
        domain_unpause(d);
    console_start(!script.batch);
    schedule();
    preemption_ignore(this_cpu()); /* nobody could run before */
    while (!all_ended() && !monitor_wants_quit()) {
        sched_run();
        preemption_point(this_cpu(), "scheduling");
        console_poll();
        control_tell();
        preemption_point(this_cpu(), "the console");
    }
    unschedule();
}

/* ---- the end ---- */

/* Step by step for all at once: one may wait for what another one still holds of its. */
static void destroy_all(void)
{
    struct cpu *cpu = this_cpu();
    uint64_t    say = machine_now() + NS_PER_SECOND, steps = 0;

    cpu->stretch_max = 0;
    preemption_ignore(cpu);
    for (struct domain *d = domains; d != NULL; d = d->next) {
        domain_destroy(d);
        preemption_point(cpu, "destruction");
    }
    while (domains != NULL) {
        for (struct domain *d = domains, *next; d != NULL; d = next) {
            next = d->next;
            steps += !domain_destroy_step(d);
            preemption_point(cpu, "destruction");
        }
        if (domains == NULL || machine_now() < say)
            continue;
        print("umbra: destroying %s: %lu frames are free\n", domains->name, alloc_free_count());
        say = machine_now() + NS_PER_SECOND;
        preemption_ignore(cpu);
    }
    print("umbra: destruction took %lu steps, the longest %lu ticks\n", steps, cpu->stretch_max);
}

/* All that the domains had must be back: each frame is used for what it was before. */
static void audit_machine(const struct census *before)
{
    struct census after = census_take();
    uint64_t      violations = alloc_audit() + census_compare(before, &after);

    print("audit: %lu violations (%lu frames, %lu shadows, %lu entries) after destruction\n",
          violations, machine_phys.frames, after.frames[FRAME_SHADOW], after.entries);
    if (violations > 0)
        failed = true;
}

_Noreturn static void finish(const struct census *before)
{
    /* Whoever quits leaves domains behind that would still run. */
    for (struct domain *d = domains; d; d = d->next) {
        if (d->state == DOMAIN_RUNNING)
            domain_pause(d);
        ring_console_finish(d);
    }
    for (unsigned i = 0; i < script.nr_commands; i++) {
        if (script.command[i].when == SCRIPT_END)
            run_commands(&script.command[i]);
    }
    destroy_all();
    audit_machine(before);
    machine_exit(failed || monitor_found_violations() ? EXIT_CRASHED : EXIT_WELL);
}

void hv_main(void)
{
    struct census before;
    unsigned      count;

    banner();
    run_selftest();
    if (!machine_enable_guests())
        machine_exit(EXIT_CONFIG);
    read_script();
    count = given_read(&script);
    if (count > 1)
        console_name_lines();
    before = census_take();
    for (unsigned n = 0; n < count; n++)
        failed = given_create(n) == NULL || failed; /* the others are made all the same */
    run();
    finish(&before);
}
