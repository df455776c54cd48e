#include "tools/access/summary.h"

#include <inttypes.h>
#include <stdlib.h>

#define LINES 64 /* pages that are printed; of the others only how many they are */

/* The place of a frame, or the free one that it would have. */
static struct page *place(struct page *page, size_t places, uint64_t gfn)
{
    size_t at = (size_t)(gfn * 0x9e3779b97f4a7c15ull >> 20) & (places - 1);

    while (page[at].total && page[at].gfn != gfn)
        at = (at + 1) & (places - 1);
    return &page[at];
}

static bool grow(struct summary *summary)
{
    size_t       places = summary->places ? summary->places * 2 : 1024;
    struct page *more = calloc(places, sizeof(*more));

    if (!more)
        return false;
    for (size_t i = 0; i < summary->places; i++)
        if (summary->page[i].total)
            *place(more, places, summary->page[i].gfn) = summary->page[i];
    free(summary->page);
    summary->page = more;
    summary->places = places;
    return true;
}

void summary_add(struct summary *summary, uint64_t gfn, enum kind kind, uint64_t rip)
{
    summary->events++;
    if (summary->taken * 2 >= summary->places && !grow(summary)) {
        summary->lost++;
        return;
    }
    struct page *page = place(summary->page, summary->places, gfn);
    if (!page->total)
        summary->taken++;
    page->gfn = gfn;
    page->rip = rip;
    page->total++;
    page->count[kind]++;
}

static int compare(const void *a, const void *b)
{
    const struct page *left = a, *right = b;

    if (left->total != right->total)
        return left->total > right->total ? -1 : 1;
    return left->gfn < right->gfn ? -1 : left->gfn > right->gfn;
}

/* The pages in the order in which they are printed; NULL for want of memory. */
static struct page *sorted(const struct summary *summary)
{
    struct page *all = calloc(summary->taken, sizeof(*all));
    size_t       count = 0;

    if (!all)
        return NULL;
    for (size_t i = 0; i < summary->places; i++)
        if (summary->page[i].total)
            all[count++] = summary->page[i];
    qsort(all, count, sizeof(*all), compare);
    return all;
}

void summary_print(const struct summary *summary, double seconds, const struct symbols *symbols,
                   FILE *out)
{
    struct page *all = summary->taken ? sorted(summary) : NULL;
    char         name[256];

    fprintf(out, "summary: %" PRIu64 " events on %zu pages in %.1f seconds, %.0f a second\n",
            summary->events, summary->taken, seconds,
            seconds > 0 ? (double)summary->events / seconds : 0);
    if (summary->lost)
        fprintf(out, "summary: %" PRIu64 " events are in no page's count: no memory\n",
                summary->lost);
    if (all)
        fprintf(out, "%12s %8s %8s %8s %8s  last from\n", "gfn", "read", "write", "fetch", "walk");
    for (size_t i = 0; all && i < summary->taken && i < LINES; i++) {
        symbols_name(symbols, all[i].rip, name, sizeof(name));
        fprintf(out, "%#12" PRIx64, all[i].gfn);
        for (int kind = 0; kind < KINDS; kind++)
            fprintf(out, " %8" PRIu64, all[i].count[kind]);
        fprintf(out, "  %#" PRIx64 "%s%s\n", all[i].rip, *name ? " " : "", name);
    }
    if (all && summary->taken > LINES)
        fprintf(out, "and %zu pages more\n", summary->taken - LINES);
    free(all);
}

void summary_free(struct summary *summary)
{
    free(summary->page);
    *summary = (struct summary){ 0 };
}
