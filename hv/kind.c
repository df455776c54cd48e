/* The kind of paging of a domain, and its change while it runs: see kind.h. */
#include "hv/kind.h"

#include "hv/control.h"
#include "hv/guest.h"
#include "hv/monitor_parse.h"
#include "hv/preempt.h"
#include "hv/pv.h"

#define EXIT_KINDS 4096 /* more an edge cannot have */

static const char *const names[PAGED_KINDS] = {
    [PAGED_DIRECT] = "direct",
    [PAGED_SHADOW] = "shadow",
    [PAGED_NESTED] = "nested",
};

const char *kind_name(enum kind kind)
{
    return names[kind];
}

bool kind_parse(const char *word, enum kind *kind)
{
    for (unsigned i = 0; i < PAGED_KINDS; i++) {
        if (!monitor_same(word, names[i]))
            continue;
        *kind = (enum kind)i;
        return true;
    }
    return false;
}

enum kind kind_of(const struct domain *d)
{
    if (d->pv != NULL)
        return pv_is_shadowed(d) ? PAGED_SHADOW : PAGED_DIRECT;
    return d->paging.kind == PAGING_SHADOW ? PAGED_SHADOW : PAGED_NESTED;
}

enum kind kind_default(const struct config *config)
{
    if (config->type == CONFIG_PV)
        return PAGED_DIRECT;
    return machine_offers_nested() ? PAGED_NESTED : PAGED_SHADOW;
}

const char *kind_refused(const struct domain *d, enum kind kind)
{
    if (d->state == DOMAIN_DYING || d->state == DOMAIN_BUILDING)
        return "it is not there any more, or not yet";
    if (kind == PAGED_DIRECT && d->paging.access.active)
        return "accesses are told of, which needs shadow paging (access DOM off ends it)";
    if (d->pv != NULL && kind == PAGED_DIRECT && d->vm_event != NULL)
        return "somebody listens to it, which needs shadow paging";
    if (d->pv != NULL && kind == PAGED_DIRECT && d->paging.dirty.on)
        return "what it writes is logged, which needs shadow paging (dirty DOM off ends it)";
    if (d->pv != NULL && kind == PAGED_SHADOW && domain_is_control(d))
        return "the control domain maps memory of others by its own tables (type=\"pvh\" may have "
               "shadows)";
    if (d->pv != NULL && kind == PAGED_NESTED)
        return "a PV guest runs on its own tables or on shadows of them";
    if (d->pv != NULL)
        return kind == PAGED_DIRECT && pv_is_leaky(d)
                   ? "its tables name memory where nothing is present, which could leak (L1TF)"
                   : NULL;
    if (kind == PAGED_DIRECT)
        return "only a PV guest can run on its own tables";
    if (kind == PAGED_NESTED && !machine_offers_nested())
        return "this processor has no nested paging";
    return NULL;
}

enum kind kind_other(const struct domain *d)
{
    const enum kind now = kind_of(d);

    for (unsigned kind = 0; kind < PAGED_KINDS; kind++)
        if (kind != now && kind_refused(d, (enum kind)kind) == NULL)
            return (enum kind)kind;
    return now;
}

/* ---- what is counted ---- */

/* Since the domain was built. */
static struct kind_account totals(const struct domain *d)
{
    struct kind_account sum = { .faults = d->paging.stats.faults, .walks = d->paging.stats.walks };

    for (unsigned n = 0; n < d->nr_vcpus; n++) {
        const struct vcpu       *v = d->vcpu[n];
        struct machine_exit_stat one;

        if (v == NULL || !vcpu_has_edge(v))
            continue;
        sum.ran += v->ran;
        for (unsigned i = 0; i < EXIT_KINDS && machine_vcpu_exit_stat(v, i, &one); i++) {
            sum.exits += one.count;
            sum.ticks += one.ticks;
        }
    }
    return sum;
}

/* The account as it is when the counters stand at `now`. */
static struct kind_account with(struct kind_account account, const struct kind_account *since,
                                const struct kind_account *now)
{
    account.ran += now->ran - since->ran;
    account.exits += now->exits - since->exits;
    account.ticks += now->ticks - since->ticks;
    account.faults += now->faults - since->faults;
    account.walks += now->walks - since->walks;
    return account;
}

struct kind_account kind_account(const struct domain *d, enum kind kind)
{
    const struct kind_account now = totals(d);

    if (kind != kind_of(d))
        return d->kind_account[kind];
    return with(d->kind_account[kind], &d->kind_since, &now);
}

/* Before a change: what was counted since the last one belongs to the kind that ends. */
static void close_account(struct domain *d)
{
    const struct kind_account now = totals(d);
    struct kind_account      *account = &d->kind_account[kind_of(d)];

    *account = with(*account, &d->kind_since, &now);
    d->kind_since = now;
}

/* ---- the change ---- */

static enum kind_result change(struct domain *d, enum paging_kind kind)
{
    struct verdict verdict = paging_set_kind(domain_lock(d), kind);

    verdict_flush(d, &verdict);
    if (verdict.kind == VERDICT_CRASH) {
        domain_crash(d, "%s", verdict.why);
        return KIND_CRASHED;
    }
    if (verdict.again)
        return KIND_AGAIN;
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        if (vcpu_has_edge(d->vcpu[i]))
            machine_vcpu_set_kind(d->vcpu[i]);
    return KIND_DONE;
}

/* What shadows of a PV domain take is there while they are. */
static enum kind_result change_pv(struct domain *d, enum kind kind)
{
    enum pv_shadow_result result;

    if (kind == PAGED_DIRECT) {
        pv_shadow_off(d);
        return KIND_DONE;
    }
    result = pv_shadow_on_step(d);
    if (result == PV_SHADOW_NO_MEMORY)
        return KIND_NO_MEMORY;
    return result == PV_SHADOW_DONE ? KIND_DONE : KIND_AGAIN;
}

/* The guest was left for this: each processor does so before it can ask for such a change. */
enum kind_result kind_change_step(struct domain *d, enum kind kind)
{
    enum kind_result result;

    if (kind_of(d) == kind)
        return KIND_DONE;
    close_account(d);
    if (d->pv != NULL)
        result = change_pv(d, kind);
    else
        result = change(d, kind == PAGED_SHADOW ? PAGING_SHADOW : PAGING_NESTED);
    if (result == KIND_DONE)
        d->kind_changes++;
    return result;
}

enum kind_result kind_change(struct domain *d, enum kind kind)
{
    enum kind_result result;

    do {
        result = kind_change_step(d, kind);
        preemption_point(this_cpu(), "a change of the kind of paging");
    } while (result == KIND_AGAIN); /* each time less is left to be let go of */
    return result;
}
