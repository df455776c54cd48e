/* Monitor commands about paging: the walk side by side, counters, the pool, the audit. */
#include "hv/alloc.h"
#include "hv/census.h"
#include "hv/domain_pool.h"
#include "hv/guest.h"
#include "hv/kind.h"
#include "hv/monitor.h"
#include "hv/print.h"
#include "hv/pv.h"

#define NOWHERE UINT64_MAX /* an address of an entry that there is not */

/* Cache control, which the core does not look at: APM vol. 2, 5.4.1. */
#define BIT_PWT (UINT64_C(1) << 3)
#define BIT_PCD (UINT64_C(1) << 4)

static bool found_violations;

bool monitor_found_violations(void)
{
    return found_violations;
}

/* ---- walk ---- */

/* The flags of an entry in words, as APM vol. 2, 5.4 names them. */
static void spell_flags(uint64_t entry, unsigned level, char *text, size_t size)
{
    static const struct {
        uint64_t    bit;
        const char *name;
    } flags[] = {
        { PTE_P, "P" }, { PTE_W, "W" }, { PTE_U, "U" }, { BIT_PWT, "PWT" }, { BIT_PCD, "PCD" },
        { PTE_A, "A" }, { PTE_D, "D" }, { PTE_G, "G" }, { PTE_PS, "PS" },   { PTE_NX, "NX" },
    };
    size_t at = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]) && at < size; i++) {
        const char *name = flags[i].bit == PTE_PS && level == 1 ? "PAT" : flags[i].name;

        if (entry & flags[i].bit)
            at += (size_t)format_string(text + at, size - at, "%s%s", at ? " " : "", name);
    }
}

/* One entry: where it is, and what it says. */
static void spell_entry(uint64_t address, uint64_t entry, unsigned level, char *text, size_t size)
{
    char flags[48];

    spell_flags(entry, level, flags, sizeof(flags));
    if (address == NOWHERE)
        (void)format_string(text, size, "-");
    else if (entry == 0)
        (void)format_string(text, size, "%lx: empty", address);
    else
        (void)format_string(text, size, "%lx: %016lx %s", address, entry,
                            flags[0] ? flags : "not present");
}

static void show_walk(const struct domain *d, const struct vcpu *v, uint64_t address,
                      const struct paging_view *view)
{
    print("%s vcpu %u, address %lx, paging: %s\n", d->name, v->id, address, kind_name(kind_of(d)));
    print("level %-52s ours\n", "guest");
    for (unsigned i = 0; i < view->count && i < PT_LEVELS_MAX; i++) {
        const struct paging_level_view *l = &view->level[i];
        char                            guest[80], ours[80];

        spell_entry(l->gpa, l->guest, l->level, guest, sizeof(guest));
        spell_entry(l->ma, l->ours, l->level, ours, sizeof(ours));
        print("%5u %-52s %s\n", l->level, guest, ours);
    }
    if (view->mapped)
        print("the guest maps it to %lx\n", view->gpa);
    else
        print("the guest does not map it\n");
}

bool monitor_walk(const struct monitor_words *w)
{
    struct paging_view view = { 0 };
    uint64_t           address;

    if (w->count < 2 || w->count > 3 || !monitor_number(w->word[w->count - 1], &address))
        return monitor_usage(w);
    /* Without a domain's name there is no word for monitor_domain to look at. */
    struct domain *d = monitor_domain(w, w->count == 3 ? 1 : w->count);

    if (!d)
        return false;
    const struct vcpu *v = d->nr_vcpus > 0 ? d->vcpu[0] : NULL;

    if (d->state == DOMAIN_DYING || d->state == DOMAIN_BUILDING || !v) {
        print("walk: %s has no tables\n", d->name);
        return false;
    }
    if (v->pv && !pv_is_shadowed(d))
        pv_view(v, gva_of(address), &view);
    else
        paging_view(domain_lock(d), &v->paging, gva_of(address), &view);
    show_walk(d, v, address, &view);
    return true;
}

/* ---- counters ---- */

bool monitor_shadow(const struct monitor_words *w)
{
    if (w->count > 2)
        return monitor_usage(w);
    const struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    const struct paging_stats *s = &d->paging.stats;
    const struct {
        const char *name;
        uint64_t    value;
    } rows[] = {
        { "tables alive", s->shadows },
        { "leaves of 4 KiB alive", s->leaves[0] },
        { "leaves of 2 MiB alive", s->leaves[1] },
        { "leaves of 1 GiB alive", s->leaves[2] },
        { "faults", s->faults },
        { "faults reflected to the guest", s->reflected },
        { "faults fixed", s->fixed },
        { "faults emulated", s->emulated },
        { "faults on devices", s->devices },
        { "faults that were spurious", s->spurious },
        { "roots found", s->root_hits },
        { "roots made", s->root_misses },
        { "tables made", s->made },
        { "tables freed", s->freed },
        { "writes to guest tables", s->writes },
        { "tables let out of sync", s->unsynced },
        { "tables synchronised", s->synced },
        { "entries then found changed", s->changed },
        { "frames write-protected", s->protected_frames },
        { "leaf entries withdrawn", s->withdrawn },
        { "tables unshadowed", s->unshadowed },
        { "leaf entries evicted", s->evicted },
        { "tables merged into a leaf", s->merged },
        { "large leaves split", s->split },
        { "roots reclaimed", s->reclaimed },
        { "tables unhooked", s->unhooked },
        { "tables used again after a blow", s->freshened },
        { "losses of rights", d->paging.lowered },
        { "generation", d->paging.generation },
    };

    print("%s, paging: %s\n", d->name, kind_name(kind_of(d)));
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        print("%-30s %12lu\n", rows[i].name, rows[i].value);
    return true;
}

/* ---- the pool ---- */

static void show_pool(const struct domain *d)
{
    const struct pool *pool = &d->paging.pool;

    print("%s: pool of %u frames, %u free (%u pairs, %u singles), never fewer than %u\n", d->name,
          pool->total, pool_free_frames(pool), pool->free_pairs, pool->free_singles, pool->low);
}

/* The operator waits for the end of it, and so do all domains; says why if it was not reached. */
static bool set_pool(struct domain *d, uint64_t mb)
{
    switch (domain_pool_resize(d, mb)) {
    case DOMAIN_POOL_REFUSED:
        print("pool: %s needs at least %lu MiB, and at most %u: not %lu\n", d->name,
              (domain_pool_least(d, 0) + 255) / 256, DOMAIN_POOL_MB_MAX, mb);
        return false;
    case DOMAIN_POOL_NO_MEMORY:
        print("pool: the machine has no more memory to give\n");
        return false;
    case DOMAIN_POOL_IN_USE:
        print("pool: the rest is in use: the map of %s's memory, mostly\n", d->name);
        return false;
    case DOMAIN_POOL_AGAIN:
    case DOMAIN_POOL_DONE:
        break;
    }
    return true;
}

bool monitor_pool(const struct monitor_words *w)
{
    uint64_t mb = 0;
    bool     done = true;

    if (w->count > 3 || (w->count == 3 && !monitor_number(w->word[2], &mb)))
        return monitor_usage(w);
    struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    if (w->count == 3) {
        if (d->state == DOMAIN_DYING || d->state == DOMAIN_BUILDING) {
            print("pool: %s is %s\n", d->name, monitor_state_name(d));
            return false;
        }
        done = set_pool(d, mb);
    }
    show_pool(d);
    return done;
}

/* ---- blow ---- */

bool monitor_blow(const struct monitor_words *w)
{
    struct verdict verdict;

    if (w->count != 2)
        return monitor_usage(w);
    struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    if (d->state == DOMAIN_DYING || d->state == DOMAIN_BUILDING) {
        print("blow: %s is %s\n", d->name, monitor_state_name(d));
        return false;
    }
    if (d->pv && !pv_is_shadowed(d)) {
        print("blow: %s runs on its own tables\n", d->name);
        return false;
    }
    do {
        verdict = paging_blow(domain_lock(d));
        verdict_flush(d, &verdict);
    } while (verdict.again); /* each time less is left to be reclaimed */
    if (verdict.kind == VERDICT_CRASH) {
        domain_crash(d, "%s", verdict.why);
        return false;
    }
    print("blow: %s begins generation %lu of its tables\n", d->name, d->paging.generation);
    return true;
}

/* ---- audit ---- */

/* Adds one domain's audit to the sum; the first violation of all is kept, with its name. */
static void audit_domain(struct domain *d, struct audit *sum)
{
    struct audit one = { 0 };

    if (d->state == DOMAIN_DYING || d->state == DOMAIN_BUILDING || (d->pv && !pv_is_shadowed(d)))
        return;
    paging_audit(domain_lock(d), &one);
    if (one.violations > 0 && sum->violations == 0)
        (void)format_string(sum->first, sizeof(sum->first), "%s: %s", d->name, one.first);
    sum->violations += one.violations;
    sum->frames += one.frames;
    sum->shadows += one.shadows;
    sum->entries += one.entries;
}

bool monitor_frames(const struct monitor_words *w)
{
    struct census census;

    if (w->count != 1)
        return monitor_usage(w);
    census = census_take();
    census_show(&census);
    return true;
}

bool monitor_audit(const struct monitor_words *w)
{
    struct audit sum = { 0 };
    uint64_t     wrong;

    if (w->count > 2)
        return monitor_usage(w);
    if (w->count == 2) {
        struct domain *d = monitor_domain(w, 1);

        if (!d)
            return false;
        audit_domain(d, &sum);
        if (d->pv)
            pv_audit(&sum);
    } else {
        for (struct domain *d = domains; d; d = d->next)
            audit_domain(d, &sum);
        pv_audit(&sum);
    }
    wrong = alloc_audit();
    if (wrong > 0 && sum.violations == 0)
        (void)format_string(sum.first, sizeof(sum.first),
                            "free lists and frame table contradict each other in %lu places",
                            wrong);
    sum.violations += wrong;
    print("audit: %lu violations (%lu frames, %lu shadows, %lu entries)\n", sum.violations,
          sum.frames, sum.shadows, sum.entries);
    if (sum.violations > 0) {
        print("audit: first: %s\n", sum.first);
        found_violations = true;
    }
    return sum.violations == 0;
}
