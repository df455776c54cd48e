/* Monitor command about the monitor's rights. */
#include "hv/access.h"
#include "hv/monitor.h"
#include "hv/preempt.h"
#include "hv/print.h"
#include "hv/vm_event.h"

static bool show(const struct domain *d)
{
    print("access: %s: the default is %s, %lu accesses told\n", d->name,
          access_name((enum access_type)d->paging.access.fallback), d->access_told);
    return true;
}

/* GFN RIGHTS, or GFN COUNT RIGHTS. */
static bool set(struct domain *d, const struct monitor_words *w, enum access_type type)
{
    uint64_t first, count = 1;

    if (!monitor_number(w->word[2], &first) ||
        (w->count == 5 && !monitor_number(w->word[3], &count)))
        return monitor_usage(w);
    if (first >= access_frames(d) || count > access_frames(d) - first) {
        print("access: %s's frame numbers end before 0x%lx\n", d->name, access_frames(d));
        return false;
    }
    return access_change(d, gfn_of(first), count, type);
}

/* It takes as long for any size of the domain, which it says. */
static bool set_default(struct domain *d, enum access_type type)
{
    uint64_t start = machine_ticks();

    if (!access_change_default(d, type))
        return false;
    print("access: %s: all %s, in %lu ticks\n", d->name, access_name(type),
          machine_ticks() - start);
    return true;
}

bool monitor_access(const struct monitor_words *w)
{
    enum access_type type;

    if (w->count < 2 || w->count > 5)
        return monitor_usage(w);
    struct domain *d = monitor_domain(w, 1);
    const char    *why = d ? access_refused(d) : NULL;

    if (!d)
        return false;
    if (w->count == 2)
        return show(d);
    if (why) {
        print("access: %s: %s\n", d->name, why);
        return false;
    }
    if (vm_event_is_on(d)) {
        print("access: %s: a listener watches it\n", d->name);
        return false;
    }
    d->access_by_operator = true;
    preemption_ignore(this_cpu()); /* the operator waits for the end of it */
    if (w->count == 3 && monitor_same(w->word[2], "off")) {
        access_end(d);
        return true;
    }
    if (w->count == 3 && (monitor_same(w->word[2], "every") || monitor_same(w->word[2], "once"))) {
        d->access_every = monitor_same(w->word[2], "every"); /* or one to each frame */
        return true;
    }
    if (w->count == 3)
        return monitor_usage(w);
    if (!access_by_name(w->word[w->count - 1], &type)) {
        print("access: no such rights: %s; help access lists them\n", w->word[w->count - 1]);
        return false;
    }
    if (monitor_same(w->word[2], "all"))
        return w->count == 4 && type != ACCESS_DEFAULT ? set_default(d, type) : monitor_usage(w);
    return set(d, w, type);
}
