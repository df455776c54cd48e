/* Monitor command about log-dirty. */
#include "hv/dirty.h"
#include "hv/monitor.h"
#include "hv/preempt.h"
#include "hv/print.h"

/* Guest frames in a row, printed as they come, some to a line. */
struct ranges {
    const struct domain *d;
    bool                 wanted;
    gfn_t                first, end; /* end 0: none is open */
    unsigned             in_line;
};

#define RANGES_IN_LINE 8

static void close_range(struct ranges *r)
{
    if (r->end.raw == 0)
        return;
    if (r->in_line == 0)
        print("dirty: %s:", r->d->name);
    if (r->end.raw == r->first.raw + 1)
        print(" %lx", r->first.raw);
    else
        print(" %lx-%lx", r->first.raw, r->end.raw - 1);
    r->end = gfn_of(0);
    if (++r->in_line == RANGES_IN_LINE) {
        print("\n");
        r->in_line = 0;
    }
}

static void add_window(struct ranges *r, const struct dirty_round *round)
{
    for (uint64_t i = 0; r->wanted && i < DIRTY_WINDOW_FRAMES; i++) {
        uint64_t gfn = round->first.raw + i;

        if (!(round->bitmap[i / 64] >> i % 64 & 1))
            continue;
        if (r->end.raw != gfn) {
            close_range(r);
            r->first = gfn_of(gfn);
        }
        r->end = gfn_of(gfn + 1);
    }
}

/* The operator waits for the end of it, and so do all domains. */
static bool turn(struct domain *d, enum dirty_result (*step)(struct domain *d), const char *refused)
{
    enum dirty_result result;

    do {
        result = step(d);
        preemption_point(this_cpu(), "switching log-dirty");
    } while (result == DIRTY_AGAIN);
    if (result == DIRTY_NO_MEMORY)
        refused = "cannot have shadows of its tables: the machine has no memory for them";
    if (result == DIRTY_REFUSED || result == DIRTY_NO_MEMORY)
        print("dirty: %s %s\n", d->name, refused);
    return result == DIRTY_DONE;
}

static bool look(struct domain *d, bool clean, bool with_ranges)
{
    struct dirty_round round;
    struct ranges      ranges = { .d = d, .wanted = with_ranges };
    enum dirty_result  result;

    dirty_begin(d, &round, dirty_frames(d), clean, false);
    do {
        result = dirty_step(d, &round);
        preemption_point(this_cpu(), "looking at what was written");
        if (result == DIRTY_WINDOW)
            add_window(&ranges, &round);
        preemption_ignore(this_cpu()); /* what is printed, the operator waits for */
    } while (result == DIRTY_AGAIN || result == DIRTY_WINDOW);
    if (result == DIRTY_REFUSED) {
        print("dirty: %s does not log what it writes: dirty %s on\n", d->name, d->name);
        return false;
    }
    close_range(&ranges);
    print("%sdirty: %s wrote %lu of %lu frames, %lu faults\n", ranges.in_line != 0 ? "\n" : "",
          d->name, round.found, round.frames, round.faults);
    return true;
}

bool monitor_dirty(const struct monitor_words *w)
{
    bool with_ranges = w->count == 4 && monitor_same(w->word[3], "ranges");

    if (w->count < 3 || w->count > 4 || (w->count == 4 && !with_ranges))
        return monitor_usage(w);
    struct domain *d = monitor_domain(w, 1);
    const char    *what = w->word[2];

    if (!d)
        return false;
    if (d->state == DOMAIN_DYING || d->state == DOMAIN_BUILDING) {
        print("dirty: %s is %s\n", d->name, monitor_state_name(d));
        return false;
    }
    if (monitor_same(what, "on") && !with_ranges)
        return turn(d, dirty_on, "logs what it writes already");
    if (monitor_same(what, "off") && !with_ranges)
        return turn(d, dirty_off, "does not log what it writes");
    if (monitor_same(what, "peek") || monitor_same(what, "clean"))
        return look(d, monitor_same(what, "clean"), with_ranges);
    return monitor_usage(w);
}
