/* Monitor commands that show domains, vCPUs, exits, the trace, and the longest stretch. */
#include "hv/kind.h"
#include "hv/machine.h"
#include "hv/monitor.h"
#include "hv/print.h"
#include "hv/trace.h"

#define NS_PER_MS   UINT64_C(1000000)
#define TRACE_SHOWN 32   /* records, if not said otherwise */
#define EXIT_KINDS  4096 /* more an edge cannot have */

static void show_domain(const struct domain *d)
{
    uint64_t ran = 0;

    for (unsigned i = 0; i < d->nr_vcpus; i++)
        ran += d->vcpu[i] ? d->vcpu[i]->ran : 0;
    uint64_t ms = ran / NS_PER_MS;

    print("%3u %-16s %-8s vcpus: %u  memory: %lu MiB  paging: %s  time: %lu.%03lu s\n", d->id,
          d->name, monitor_state_name(d), d->nr_vcpus, d->pages >> (20 - PAGE_SHIFT),
          kind_name(kind_of(d)), ms / 1000, ms % 1000);
    if (d->state == DOMAIN_CRASHED)
        print("    crashed: %s\n", d->why);
}

bool monitor_domains(const struct monitor_words *w)
{
    if (w->count > 1)
        return monitor_usage(w);
    for (const struct domain *d = domains; d; d = d->next)
        show_domain(d);
    if (!domains)
        print("there is no domain\n");
    return true;
}

bool monitor_vcpu(const struct monitor_words *w)
{
    static const char *const names[] = { "down", "runnable", "blocked", "watched" };

    if (w->count > 2)
        return monitor_usage(w);
    const struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        const struct vcpu *v = d->vcpu[i];

        if (!v || !vcpu_has_edge(v))
            continue;
        print("%s vcpu %u: %s, domain %s\n", d->name, v->id, names[v->state],
              monitor_state_name(d));
        machine_vcpu_show(v);
    }
    return true;
}

/* Adds up the i-th kind of exit over all vCPUs; false when there is no such kind. */
static bool exit_sum(const struct domain *d, unsigned i, struct machine_exit_stat *sum)
{
    bool any = false;

    *sum = (struct machine_exit_stat){ 0 };
    for (unsigned n = 0; n < d->nr_vcpus; n++) {
        struct machine_exit_stat one;

        if (!d->vcpu[n] || !vcpu_has_edge(d->vcpu[n]) ||
            !machine_vcpu_exit_stat(d->vcpu[n], i, &one))
            continue;
        any = true;
        sum->name = one.name;
        sum->count += one.count;
        sum->ticks += one.ticks;
    }
    return any;
}

static void show_exit(const char *name, uint64_t count, uint64_t ticks)
{
    print("%-20s %12lu %16lu %12lu\n", name, count, ticks, count ? ticks / count : 0);
}

bool monitor_exits(const struct monitor_words *w)
{
    struct machine_exit_stat sum;
    uint64_t                 count = 0, ticks = 0;

    if (w->count > 2)
        return monitor_usage(w);
    const struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    print("%-20s %12s %16s %12s\n", "exit", "count", "ticks", "ticks each");
    for (unsigned i = 0; i < EXIT_KINDS && exit_sum(d, i, &sum); i++) {
        if (sum.count == 0)
            continue;
        show_exit(sum.name, sum.count, sum.ticks);
        count += sum.count;
        ticks += sum.ticks;
    }
    show_exit("all", count, ticks);
    return true;
}

/* ---- the trace ---- */

static void show_record(const struct trace_record *r, uint64_t now)
{
    uint64_t us = (now - r->ticks) * 1000 / machine_ticks_per_ms();
    char     who[16] = "-";
    char     text[128];
    size_t   at = 0;
    uint64_t word[3] = { r->a, r->b, r->c };

    if (r->domain != TRACE_NOBODY)
        (void)format_string(who, sizeof(who), "d%uv%u", r->domain, r->vcpu);
    text[0] = '\0';
    for (unsigned i = 0; i < 3; i++) {
        const char *name = trace_word_name(r->kind, i);
        int         n;

        if (!name)
            continue;
        n = format_string(text + at, sizeof(text) - at, " %s %lx", name, word[i]);
        if (n < 0 || (size_t)n >= sizeof(text) - at)
            break;
        at += (size_t)n;
    }
    print("-%lu.%06lu s %-8s %-9s%s\n", us / 1000000, us % 1000000, who, trace_kind_name(r->kind),
          text);
}

/* Oldest first, so that it reads downwards. */
static void show_trace(uint64_t wanted)
{
    unsigned count = trace_count();
    uint64_t now = machine_ticks();
    bool     was = trace_enabled;

    trace_enabled = false; /* printing must not push out what is printed */
    for (unsigned i = wanted < count ? (unsigned)wanted : count; i > 0; i--) {
        struct trace_record r = trace_newest(i - 1);

        show_record(&r, now);
    }
    trace_enabled = was;
    if (count == 0)
        print("the trace is empty, and %s\n", was ? "on" : "off");
}

bool monitor_trace(const struct monitor_words *w)
{
    uint64_t wanted = TRACE_SHOWN;

    if (w->count > 2)
        return monitor_usage(w);
    if (w->count == 2 && monitor_same(w->word[1], "on")) {
        trace_enabled = true;
        return true;
    }
    if (w->count == 2 && monitor_same(w->word[1], "off")) {
        trace_enabled = false;
        return true;
    }
    if (w->count == 2 && !monitor_number(w->word[1], &wanted))
        return monitor_usage(w);
    show_trace(wanted);
    return true;
}

bool monitor_stretch(const struct monitor_words *w)
{
    struct cpu *cpu = this_cpu();

    if (w->count > 2)
        return monitor_usage(w);
    if (w->count == 2) {
        if (!monitor_same(w->word[1], "reset"))
            return monitor_usage(w);
        cpu->stretch_max = 0;
        return true;
    }
    print("longest stretch without a preemption point: %lu ticks (%lu us, %s), in %lu entries\n",
          cpu->stretch_max, cpu->stretch_max * 1000 / machine_ticks_per_ms(),
          cpu->stretch_what ? cpu->stretch_what : "nothing", cpu->entries);
    return true;
}
