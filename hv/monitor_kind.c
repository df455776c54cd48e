/* Monitor command `paging`: which kind a domain has, what was counted under each, and the change. */
#include "hv/kind.h"
#include "hv/monitor.h"
#include "hv/preempt.h"
#include "hv/print.h"

#define NS_PER_MS UINT64_C(1000000)

/* What an automatic choice between kinds would go by. */
static void show_account(const struct domain *d, enum kind kind)
{
    struct kind_account a = kind_account(d, kind);
    uint64_t            ms = a.ran / NS_PER_MS;
    uint64_t            permille = ms != 0 ? a.ticks * 1000 / (ms * machine_ticks_per_ms()) : 0;

    if (a.ran == 0 && a.exits == 0)
        return;
    print("%-8s %8lu.%03lu %10lu %10lu %6lu.%lu %% %10lu %10lu\n", kind_name(kind), ms / 1000,
          ms % 1000, a.exits, ms != 0 ? a.exits * 1000 / ms : 0, permille / 10, permille % 10,
          a.faults, a.walks);
}

static void show(const struct domain *d)
{
    print("%s, paging: %s, %lu change%s\n", d->name, kind_name(kind_of(d)), d->kind_changes,
          d->kind_changes == 1 ? "" : "s");
    print("%-8s %12s %10s %10s %10s %10s %10s\n", "kind", "seconds", "exits", "exits/s", "of time",
          "faults", "walks");
    for (unsigned kind = 0; kind < PAGED_KINDS; kind++)
        show_account(d, (enum kind)kind);
}

/* What is printed is the operator's; the change itself is work like any other. */
static bool change(struct domain *d, enum kind kind)
{
    const char *why = kind_refused(d, kind);

    if (why) {
        print("paging: %s cannot have %s paging: %s\n", d->name, kind_name(kind), why);
        return false;
    }
    preemption_ignore(this_cpu());
    switch (kind_change(d, kind)) {
    case KIND_NO_MEMORY:
        print("paging: the machine has no memory for shadows of %s's tables\n", d->name);
        return false;
    case KIND_CRASHED:
    case KIND_AGAIN:
        return false;
    case KIND_DONE:
        break;
    }
    return true;
}

bool monitor_paging(const struct monitor_words *w)
{
    enum kind kind = PAGED_KINDS;
    bool      other = w->count == 3 && monitor_same(w->word[2], "other");

    if (w->count > 3)
        return monitor_usage(w);
    if (w->count == 3 && !other && !kind_parse(w->word[2], &kind)) {
        print("paging: no such kind: %s; there are shadow, nested, direct, and other\n",
              w->word[2]);
        return false;
    }
    struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    if (w->count == 3 && other) /* again and again, most likely: it says nothing */
        return change(d, kind_other(d));
    if (w->count == 3 && !change(d, kind))
        return false;
    if (w->count == 3) {
        print("paging: %s has %s paging, change %lu\n", d->name, kind_name(kind), d->kind_changes);
        return true;
    }
    show(d);
    return true;
}
