/*
 * Umbra's counters from outside. All addresses are those of the image and of the direct map, which
 * are linear (x86/layout.h): one known place gives all others. The memory is the first block of
 * QEMU's, which begins at physical address 0.
 */
#include "bench/own.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hv/pv.h"
#include "x86/layout.h"
#include "x86/svm/svm.h"

#define MEMORY_MAX UINT64_C(0x80000000) /* behind it QEMU's first block may end */

static uint64_t       domains_at, phys_at, svm_names_at, pv_names_at;
static const uint8_t *memory; /* physical address 0 */

bool own_option(const char *option)
{
    return sscanf(option, "domains=%" SCNx64, &domains_at) == 1 ||
           sscanf(option, "phys=%" SCNx64, &phys_at) == 1 ||
           sscanf(option, "svm=%" SCNx64, &svm_names_at) == 1 ||
           sscanf(option, "pv_names=%" SCNx64, &pv_names_at) == 1;
}

void own_place(uint64_t va, const void *place)
{
    if (!memory && place && va >= LAYOUT_IMAGE)
        memory = (const uint8_t *)place - (va - LAYOUT_IMAGE);
}

/* Where QEMU has what is at an address of Umbra's. */
static const void *at(uint64_t va)
{
    uint64_t physical = va >= LAYOUT_IMAGE ? va - LAYOUT_IMAGE : va - LAYOUT_DIRECT;

    if (physical >= MEMORY_MAX) {
        fprintf(stderr, "count: 0x%" PRIx64 " is no address of the hypervisor's\n", va);
        exit(1);
    }
    return memory + physical;
}

#define AT(pointer) ((const __typeof__(*(pointer)) *)at((uint64_t)(pointer)))

static void read_kind(struct own *own, unsigned i, uint64_t names, uint64_t count, uint64_t ticks)
{
    const char *const *table = at(names);

    own->name[i] = AT(table[i]);
    own->count[i] = count;
    own->ticks[i] = ticks;
}

static void read_frames(struct own *own)
{
    const struct phys *phys = at(phys_at);

    for (uint64_t i = 0; i < phys->frames; i++) {
        unsigned kind = AT(&phys->frame[i])->kind;

        if (kind < OWN_FRAMES)
            own->frames[kind]++;
    }
}

struct own own_read(void)
{
    _Static_assert(KINDS <= OWN_KINDS && PV_KINDS <= OWN_KINDS, "own.h");
    _Static_assert(FRAME_SNAPSHOT < OWN_FRAMES, "own.h");
    struct own                  own = { .valid = false };
    const struct domain        *d;
    const struct vcpu          *v;
    const struct machine_vcpu  *m;
    const struct pv_vcpu       *pv;
    const struct domain *const *first;

    if (!memory || !domains_at)
        return own;
    first = at(domains_at);
    if (!*first)
        return own;
    d = AT(*first);
    v = AT(d->vcpu[0]);
    pv = v->pv ? AT(v->pv) : NULL;
    m = v->machine ? AT(v->machine) : NULL;
    for (unsigned i = 0; pv && i < PV_KINDS; i++)
        read_kind(&own, i, pv_names_at, pv->stat[i].count, pv->stat[i].ticks);
    for (unsigned i = 0; m && i < KINDS; i++)
        read_kind(&own, i, svm_names_at, m->stat[i].count, m->stat[i].ticks);
    own.paging = d->paging.stats;
    read_frames(&own);
    own.valid = true;
    return own;
}

/* What the core did, but for what there was none of. */
static void print_paging(FILE *out, unsigned region, const struct paging_stats *before,
                         const struct paging_stats *after)
{
    static const struct {
        const char *name;
        size_t      offset;
    } rows[] = {
        { "faults", offsetof(struct paging_stats, faults) },
        { "reflected", offsetof(struct paging_stats, reflected) },
        { "fixed", offsetof(struct paging_stats, fixed) },
        { "emulated", offsetof(struct paging_stats, emulated) },
        { "spurious", offsetof(struct paging_stats, spurious) },
        { "root_hits", offsetof(struct paging_stats, root_hits) },
        { "root_misses", offsetof(struct paging_stats, root_misses) },
        { "made", offsetof(struct paging_stats, made) },
        { "freed", offsetof(struct paging_stats, freed) },
        { "writes", offsetof(struct paging_stats, writes) },
        { "protected", offsetof(struct paging_stats, protected_frames) },
        { "withdrawn", offsetof(struct paging_stats, withdrawn) },
        { "unshadowed", offsetof(struct paging_stats, unshadowed) },
        { "evicted", offsetof(struct paging_stats, evicted) },
        { "reclaimed", offsetof(struct paging_stats, reclaimed) },
        { "unhooked", offsetof(struct paging_stats, unhooked) },
        { "unsynced", offsetof(struct paging_stats, unsynced) },
        { "synced", offsetof(struct paging_stats, synced) },
        { "changed", offsetof(struct paging_stats, changed) },
        { "merged", offsetof(struct paging_stats, merged) },
        { "split", offsetof(struct paging_stats, split) },
    };

    fprintf(out, "paging id=%u", region);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t was = *(const uint64_t *)((const char *)before + rows[i].offset);
        uint64_t is = *(const uint64_t *)((const char *)after + rows[i].offset);

        if (is != was)
            fprintf(out, " %s=%" PRIu64, rows[i].name, is - was);
    }
    fputc('\n', out);
}

void own_print(FILE *out, unsigned region, const struct own *before, const struct own *after)
{
    if (!before->valid || !after->valid)
        return;
    for (unsigned i = 0; i < OWN_KINDS; i++) {
        uint64_t count = after->count[i] - before->count[i];

        if (count)
            fprintf(out, "exit id=%u count=%" PRIu64 " ticks=%" PRIu64 " kind=%s\n", region, count,
                    after->ticks[i] - before->ticks[i], after->name[i]);
    }
    print_paging(out, region, &before->paging, &after->paging);
    fprintf(out,
            "memory id=%u shadow=%" PRIu64 " links=%" PRIu64 " snapshot=%" PRIu64 " p2m=%" PRIu64
            " pool=%" PRIu64 "\n",
            region, after->frames[FRAME_SHADOW], after->frames[FRAME_LINKS],
            after->frames[FRAME_SNAPSHOT], after->frames[FRAME_P2M], after->frames[FRAME_POOL]);
}
