/*
 * The hypervisor's main program: domains are made from the modules, run until the last one
 * has stopped, looked at by the commands for the end, and taken away again; then the frame
 * table must be as it was before.
 *
 * A module's string is its file's name and then what it is:
 *     config N             the text of domain N's file
 *     kernel N [N...]      the kernel of these domains, an ELF file
 *     ramdisk N [N...]     their ramdisk
 *     script               see script.h
 */
#include "hv/alloc.h"
#include "hv/build.h"
#include "hv/console.h"
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

static struct config configs[SCRIPT_NAMES_MAX];

/* ---- the words of modules and of the command line ---- */

/* The next word of a text; false at its end. */
static bool next_word(const char **at, struct script_text *word)
{
    while (**at == ' ')
        (*at)++;
    *word = (struct script_text){ *at, 0 };
    while (**at != ' ' && **at != '\0') {
        (*at)++;
        word->length++;
    }
    return word->length > 0;
}

static bool word_is(struct script_text word, const char *name)
{
    char text[32];

    return script_copy(word, text, sizeof(text)) && monitor_same(text, name);
}

static bool word_number(struct script_text word, uint64_t *n)
{
    char text[24];

    return script_copy(word, text, sizeof(text)) && monitor_number(text, n);
}

/* True if the module has this role, for domain `n`; a negative `n` asks for the role alone. */
static bool module_is(const struct machine_module *m, const char *role, int n)
{
    const char        *at = m->string;
    struct script_text word;
    uint64_t           number;

    if (!next_word(&at, &word))
        return false;
    if (!next_word(&at, &word) || !word_is(word, role))
        return false;
    if (n < 0)
        return true;
    while (next_word(&at, &word)) {
        if (word_number(word, &number) && number == (uint64_t)n)
            return true;
    }
    return false;
}

/* The first such module, NULL if there is none. */
static const struct machine_module *module_find(const char *role, int n)
{
    for (unsigned i = 0; i < machine_modules(); i++) {
        if (module_is(machine_module(i), role, n))
            return machine_module(i);
    }
    return NULL;
}

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

    while (next_word(&at, &word)) {
        struct script_text head = { word.start, sizeof(key) - 1 };
        char               name[32];

        if (word.length < head.length || !word_is(head, key))
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
    const struct machine_module *m = module_find("script", -1);
    struct script_error          error;

    if (m && !script_parse(m->data, m->size, &script, &error)) {
        print("umbra: script:%u: %s\n", error.line, error.what);
        machine_exit(EXIT_CONFIG);
    }
}

/* What the file of domain `n` is called in messages. */
static void config_name(unsigned n, const struct machine_module *m, char *name, size_t size)
{
    const char        *at = m->string;
    struct script_text text = script.name[n];

    if (text.length == 0)
        (void)next_word(&at, &text);
    (void)script_copy(text, name, size);
}

/* Reads all configurations; how many. Does not return if one is wrong. */
static unsigned read_configs(void)
{
    const struct machine_module *m;
    struct config_error          error;
    char                         file[128];
    unsigned                     n = 0;

    for (; n < SCRIPT_NAMES_MAX && (m = module_find("config", (int)n)) != NULL; n++) {
        config_name(n, m, file, sizeof(file));
        if (!config_parse(m->data, m->size, &configs[n], &error)) {
            if (error.line > 0)
                print("umbra: %s:%u: %s\n", file, error.line, error.what);
            else
                print("umbra: %s: %s\n", file, error.what);
            machine_exit(EXIT_CONFIG);
        }
        for (unsigned i = 0; i < n; i++) {
            if (!monitor_same(configs[i].name, configs[n].name))
                continue;
            print("umbra: %s: name \"%s\": another domain has it: expected a name of its own\n",
                  file, configs[n].name);
            machine_exit(EXIT_CONFIG);
        }
    }
    if (n == 0) {
        print("umbra: no domain: expected a module with the words config 0\n");
        machine_exit(EXIT_CONFIG);
    }
    return n;
}

/* A domain that cannot be built is a failure of its own; the others are made. */
static void create_domain(unsigned n)
{
    const struct machine_module *kernel = module_find("kernel", (int)n);
    const struct machine_module *ramdisk = module_find("ramdisk", (int)n);
    struct domain_images         images = { 0 };
    char                         error[160] = "its kernel was not given with it";
    struct domain               *d = NULL;

    if (ramdisk) {
        images.ramdisk = ramdisk->data;
        images.ramdisk_size = ramdisk->size;
    }
    if (kernel) {
        images.kernel = kernel->data;
        images.kernel_size = kernel->size;
        d = domain_create(&configs[n], &images, error, sizeof(error));
    }
    if (!d) {
        print("umbra: %s cannot be built: %s\n", configs[n].name, error);
        failed = true;
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
        preemption_point(this_cpu(), "the console");
    }
    unschedule();
}

/* ---- the end ---- */

static void destroy_all(void)
{
    struct cpu *cpu = this_cpu();
    uint64_t    say = machine_now() + NS_PER_SECOND, steps = 0;

    cpu->stretch_max = 0;
    preemption_ignore(cpu);
    while (domains) {
        struct domain *d = domains;

        if (d->state != DOMAIN_DYING)
            domain_destroy(d);
        while (!domain_destroy_step(d)) {
            steps++;
            preemption_point(cpu, "destruction");
            if (machine_now() < say)
                continue;
            print("umbra: destroying %s: %lu frames are free\n", d->name, alloc_free_count());
            say = machine_now() + NS_PER_SECOND;
            preemption_ignore(cpu);
        }
        preemption_point(cpu, "destruction");
    }
    print("umbra: destruction took %lu steps, the longest %lu ticks\n", steps, cpu->stretch_max);
}

/* All that the domains had must be back; `before` frames were free when there was none. */
static void audit_machine(uint64_t before)
{
    uint64_t violations = alloc_audit(), free = alloc_free_count();
    uint64_t strays = 0, shadows = 0, entries = 0;

    for (uint64_t i = 0; i < machine_phys.frames; i++) {
        const struct frame *frame = &machine_phys.frame[i];

        strays += frame->kind > FRAME_HV;
        shadows += frame->kind == FRAME_SHADOW;
        entries += frame->kind == FRAME_SHADOW ? frame->shadow.used : 0;
    }
    if (strays > 0)
        print("umbra: %lu frames still belong to a domain that is gone\n", strays);
    if (free != before)
        print("umbra: %lu frames are free, and %lu were before there was a domain\n", free, before);
    violations += strays + (free > before ? free - before : before - free);
    print("audit: %lu violations (%lu frames, %lu shadows, %lu entries) after destruction\n",
          violations, machine_phys.frames, shadows, entries);
    if (violations > 0)
        failed = true;
}

_Noreturn static void finish(uint64_t free_before)
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
    audit_machine(free_before);
    machine_exit(failed || monitor_found_violations() ? EXIT_CRASHED : EXIT_WELL);
}

void hv_main(void)
{
    uint64_t free_before;
    unsigned count;

    banner();
    run_selftest();
    if (!machine_enable_guests())
        machine_exit(EXIT_CONFIG);
    read_script();
    count = read_configs();
    if (count > 1)
        console_name_lines();
    free_before = alloc_free_count();
    for (unsigned n = 0; n < count; n++)
        create_domain(n);
    run();
    finish(free_before);
}
