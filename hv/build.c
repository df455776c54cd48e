/*
 * Building a domain: its memory, the pool of its tables, vCPUs, ports, and what pvh.c puts
 * into the memory. Whatever goes wrong, what was built is taken away by the same steps as a
 * domain that has lived (destroy.c).
 */
#include "hv/build.h"

#include <string.h>

#include "hv/alloc.h"
#include "hv/control.h"
#include "hv/domain_pool.h"
#include "hv/evtchn.h"
#include "hv/kind.h"
#include "hv/multiboot.h"
#include "hv/print.h"
#include "hv/pv_build.h"
#include "hv/pvh.h"
#include "hv/ring.h"
#include "hv/time.h"

#define FRAMES_PER_MB 256
#define FRAMES_SPARE  256 /* for the structures beside memory and pool */

static uint16_t last_id;

struct failure {
    char  *text;
    size_t size;
};

#define FAIL(f, ...) (format_string((f)->text, (f)->size, __VA_ARGS__), false)

/* ---- memory ---- */

/* Makes frames fresh from the allocator the domain's, each a block of its own. */
static void own(struct domain *d, mfn_t first, unsigned order)
{
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++)
        *phys_frame(&machine_phys, mfn_of(first.raw + i)) =
            (struct frame){ .kind = FRAME_GUEST, .owner = d->id };
    d->pages += UINT64_C(1) << order;
}

static void clear(mfn_t first, unsigned order)
{
    memset(phys_ptr(&machine_phys, first), 0, PAGE_SIZE << order);
}

mfn_t domain_alloc_block(struct domain *d, unsigned order)
{
    mfn_t mfn = alloc_frames(order, ALLOC_ANY);

    if (mfn_valid(mfn))
        own(d, mfn, order);
    return mfn;
}

mfn_t domain_alloc_frame(struct domain *d)
{
    mfn_t mfn = domain_alloc_block(d, 0);

    if (mfn_valid(mfn))
        clear(mfn, 0);
    return mfn;
}

/* Puts one block of 2^order frames behind the gfn. */
static bool populate_block(struct domain *d, gfn_t gfn, unsigned order)
{
    struct p2m_entry entry = { .type = P2M_RAM, .order = (uint8_t)order };

    entry.mfn = domain_alloc_block(d, order);
    if (!mfn_valid(entry.mfn))
        return false;
    clear(entry.mfn, order);
    return p2m_set(&d->paging.p2m, gfn, entry);
}

/* One block behind the gfn, of the largest size that fits and that there is; 0: there is none. */
static uint64_t populate_some(struct domain *d, uint64_t gfn, uint64_t count)
{
    for (unsigned level = LEAF_SIZES; level > 0; level--) {
        uint64_t frames = level_frames(level);

        if (gfn % frames == 0 && count >= frames &&
            populate_block(d, gfn_of(gfn), level_order(level)))
            return frames;
    }
    return 0;
}

/* RAM from `first` on. */
static bool populate(struct domain *d, uint64_t first, uint64_t count)
{
    for (uint64_t done = 0, some; done < count; done += some) {
        some = populate_some(d, first + done, count - done);
        if (some == 0)
            return false;
    }
    return true;
}

/* What it is told when it asks what memory there is. */
static void tell_map(struct domain *d)
{
    struct hvm_memmap_table_entry map[PVH_MAP_MAX] = {
        { .size = (uint64_t)d->config.memory << 20, .type = XEN_HVM_MEMMAP_TYPE_RAM },
    };
    unsigned count = d->config.type == CONFIG_PV ? 1 : pvh_memory_map(d, map);

    for (unsigned i = 0; i < count; i++)
        d->map[i] = (struct domain_range){ map[i].addr, map[i].size, map[i].type };
    d->map_entries = count;
}

static bool build_memory(struct domain *d, struct failure *f)
{
    const uint64_t special[] = { PVH_STORE_GFN, PVH_CONSOLE_GFN, PVH_MONITOR_GFN };
    bool           done;

    done = populate(d, 0, pvh_low_ram(d) >> PAGE_SHIFT) &&
           populate(d, UINT64_C(1) << (32 - PAGE_SHIFT), pvh_high_ram(d) >> PAGE_SHIFT) &&
           populate(d, PVH_ACPI >> PAGE_SHIFT, PVH_ACPI_PAGES);
    for (unsigned i = 0; i < sizeof(special) / sizeof(special[0]); i++)
        done = done && populate(d, special[i], 1);
    if (!done)
        return FAIL(f,
                    "memory ran out while %u MiB were made ready: lower memory=, raise "
                    "shadow_memory=, or give the machine more",
                    d->config.memory);
    d->store_frame = p2m_get(&d->paging.p2m, gfn_of(PVH_STORE_GFN)).mfn;
    d->console_frame = p2m_get(&d->paging.p2m, gfn_of(PVH_CONSOLE_GFN)).mfn;
    direct_hold(&machine_phys, d->store_frame);
    d->max_pages = d->pages + DOMAIN_GRANT_FRAMES;
    return true;
}

static bool build_shared(struct domain *d)
{
    d->shared_mfn = domain_alloc_frame(d);
    if (!mfn_valid(d->shared_mfn))
        return false;
    direct_hold(&machine_phys, d->shared_mfn);
    d->shared = phys_ptr(&machine_phys, d->shared_mfn);
    return true;
}

/* ---- the pool of our own tables ---- */

/* What its file says, else what there is. */
static enum kind kind_wanted(const struct config *config)
{
    switch (config->paging) {
    case CONFIG_PAGING_SHADOW:
        return PAGED_SHADOW;
    case CONFIG_PAGING_NESTED:
        return PAGED_NESTED;
    case CONFIG_PAGING_DEFAULT:
        break;
    }
    return kind_default(config);
}

static bool build_pool(struct domain *d, uint64_t frames, struct failure *f)
{
    enum paging_kind kind = kind_wanted(&d->config) == PAGED_SHADOW ? PAGING_SHADOW : PAGING_NESTED;

    if (!domain_pool_fill(d, frames))
        return FAIL(f, "no memory is left for its tables: lower shadow_memory= or memory=");
    if (!paging_domain_init(&d->paging, &machine_phys, d->id, kind, machine_guest_features()))
        return FAIL(f, "its tables do not fit into %llu KiB: raise shadow_memory=",
                    (unsigned long long)frames * 4);
    d->paging_ready = true;
    return true;
}

/* A PV guest's memory has no map of ours, and its tables are its own. */
static void no_map(struct domain *d)
{
    d->paging.phys = &machine_phys;
    d->paging.id = d->id;
    pool_init(&d->paging.pool, &machine_phys, d->id);
}

/*
 * What every domain begins with, whoever fills it: a pool of so many frames for our tables, unless it has
 * its own; the page that it shares with us; its ports.
 */
static bool build_empty(struct domain *d, uint64_t pool, struct failure *f)
{
    bool shared;

    if (d->config.type == CONFIG_PV) {
        no_map(d);
        shared = pv_domain_create(d) && pv_build_shared(d);
    } else {
        if (!build_pool(d, pool, f))
            return false;
        shared = build_shared(d);
    }
    if (!shared)
        return FAIL(f, "no memory is left for shared_info: give the machine more");
    return evtchn_init(d) || FAIL(f, "no memory is left for its ports: lower memory=");
}

/* ---- vCPUs and ports ---- */

static bool build_paging(struct vcpu *v)
{
    mfn_t pae = alloc_frames(0, ALLOC_LOW_4G);

    if (mfn_valid(pae))
        paging_vcpu_init(&v->domain->paging, &v->paging, pae);
    return mfn_valid(pae);
}

static bool build_vcpu(struct domain *d, struct failure *f)
{
    struct vcpu *v = alloc_bytes(sizeof(*v));

    if (v == NULL)
        return FAIL(f, "no memory is left for vCPU %u: lower vcpus= or memory=", d->nr_vcpus);
    v->domain = d;
    if (d->pv != NULL ? !pv_vcpu_create(v) : !build_paging(v)) {
        free_bytes(v, sizeof(*v));
        return FAIL(f, "no memory below 4 GiB is left for vCPU %u: lower vcpus=", d->nr_vcpus);
    }
    v->id = d->nr_vcpus;
    v->state = VCPU_DOWN;
    v->info = &d->shared->vcpu_info[v->id];
    v->info_mfn = d->shared_mfn;
    time_vcpu_init(v);
    d->vcpu[d->nr_vcpus++] = v;
    return true;
}

static bool build_vcpus(struct domain *d, struct failure *f)
{
    _Static_assert(DOMAIN_VCPUS_MAX <= XEN_LEGACY_MAX_VCPUS, "a vcpu_info for each");
    while (d->nr_vcpus < d->config.vcpus)
        if (!build_vcpu(d, f))
            return false;
    return true;
}

static bool build_ports(struct domain *d, struct failure *f)
{
    struct xenstore_domain_interface *store = phys_ptr(&machine_phys, d->store_frame);
    unsigned                          store_port, console_port;

    /* The control domain serves xenstore itself, and its console is console_io. */
    if (domain_is_control(d))
        return true;
    if (evtchn_alloc_unbound(d, 0, &store_port) != EVTCHN_OK ||
        evtchn_bind_console(d, &console_port) != EVTCHN_OK ||
        !ring_console_init(d, d->console_frame, console_port))
        return FAIL(f, "no memory is left for its ports and its console: lower memory=");
    store->connection = XENSTORE_RECONNECT; /* nobody is there yet: the guest is to wait */
    if (d->pv == NULL)
        d->hvm_param[HVM_PARAM_MONITOR_RING_PFN] = PVH_MONITOR_GFN;
    d->hvm_param[HVM_PARAM_STORE_PFN] = PVH_STORE_GFN;
    d->hvm_param[HVM_PARAM_STORE_EVTCHN] = store_port;
    d->hvm_param[HVM_PARAM_CONSOLE_PFN] = PVH_CONSOLE_GFN;
    d->hvm_param[HVM_PARAM_CONSOLE_EVTCHN] = console_port;
    return true;
}

/* The machine's side of those that have none yet. */
static bool create_edges(struct domain *d, const struct machine_start *start, struct failure *f)
{
    for (unsigned i = 0; i < d->nr_vcpus; i++)
        if (d->vcpu[i]->machine == NULL && !machine_vcpu_create(d->vcpu[i], start))
            return FAIL(f, "no memory is left for the machine's side of vCPU %u: lower vcpus=", i);
    return true;
}

static bool start_vcpus(struct domain *d, const struct machine_start *start, struct failure *f)
{
    if (!create_edges(d, start, f))
        return false;
    d->vcpu[0]->state = VCPU_RUNNABLE; /* the others wait to be started by the guest */
    time_runstate(d->vcpu[0], RUNSTATE_runnable);
    return true;
}

/* ---- all of it ---- */

static bool check(const struct config *config, const struct domain_images *images,
                  struct failure *f)
{
    uint64_t needed, available = alloc_free_count();

    if (config->vcpus == 0 || config->vcpus > DOMAIN_VCPUS_MAX)
        return FAIL(f, "%u vCPUs were asked for: write vcpus= with 1 to %d", config->vcpus,
                    DOMAIN_VCPUS_MAX);
    if (config->memory == 0)
        return FAIL(f, "it has no memory: write memory= in MiB");
    if (domain_by_name(config->name) != NULL)
        return FAIL(f, "a domain of this name or number exists: choose another name=");
    if (config->control != 0 && domain_by_id(CONTROL_ID) != NULL)
        return FAIL(f, "there is a control domain already: leave control= out");
    if (images->kernel == NULL)
        return FAIL(f, "it has no kernel: write kernel=");
    if (domain_pool_wanted(config) < domain_pool_minimum(config))
        return FAIL(f, "%u MiB are too few for its tables: write shadow_memory= with at least %u",
                    config->shadow_memory, pool_minimum_mb(config->memory, config->vcpus));
    if (config->type == CONFIG_PV && config->vcpus != 1)
        return FAIL(f, "a PV guest has one vCPU: write vcpus=1");
    if (config->type != CONFIG_PV && !machine_offers_hvm())
        return FAIL(f, "this machine runs PV guests only: write type=\"pv\"");
    if (config->paging == CONFIG_PAGING_NESTED && !machine_offers_nested())
        return FAIL(f, "this processor has no nested paging: write paging=\"shadow\"");
    needed = (uint64_t)config->memory * FRAMES_PER_MB + domain_pool_wanted(config) + FRAMES_SPARE;
    if (needed > available)
        return FAIL(f,
                    "it needs %llu MiB with its tables, %llu MiB are free: lower memory= or "
                    "give the machine more",
                    (unsigned long long)(needed / FRAMES_PER_MB + 1),
                    (unsigned long long)(available / FRAMES_PER_MB));
    return true;
}

static uint16_t new_id(void)
{
    do {
        last_id = last_id + 1u < DOMID_FIRST_RESERVED ? (uint16_t)(last_id + 1) : 1;
    } while (domain_by_id(last_id) != NULL); /* there is not memory for so many domains */
    return last_id;
}

/* `id`: the number it gets; 0: any that is free, or the control domain's. */
static struct domain *new_domain(const struct config *config, uint16_t id, uint64_t free_before)
{
    struct domain  *d = alloc_bytes(sizeof(*d));
    struct domain **link = &domains;

    if (d == NULL)
        return NULL;
    d->id = config->control != 0 ? CONTROL_ID : id != 0 ? id : new_id();
    d->state = DOMAIN_BUILDING;
    d->paused = 1;
    d->config = *config;
    memcpy(d->name, config->name, sizeof(d->name));
    d->build_frames = free_before;
    d->shared_mfn = d->console_frame = d->store_frame = MFN_NONE;
    d->shared_gfn = GFN_NONE;
    for (unsigned i = 0; i < DOMAIN_GRANT_FRAMES; i++) {
        d->grant_mfn[i] = MFN_NONE;
        d->grant_gfn[i] = GFN_NONE;
    }
    for (unsigned i = 0; i < DOMAIN_LIMBO_MAX; i++)
        d->limbo[i] = MFN_NONE;
    d->block = MFN_NONE;
    while (*link != NULL && (*link)->id < d->id)
        link = &(*link)->next;
    d->next = *link;
    *link = d;
    return d;
}

static bool load(struct domain *d, const struct domain_images *images, struct machine_start *start,
                 struct failure *f)
{
    switch (d->config.type) {
    case CONFIG_PVH:
        return pvh_load(d, images, start, f->text, f->size);
    case CONFIG_PV:
        break; /* it has a way of its own: build_pv */
    case CONFIG_MULTIBOOT:
        if (!machine_platform_create(d))
            return FAIL(f, "no memory is left for its devices: lower memory=");
        return multiboot_load(d, images, start, f->text, f->size);
    }
    __builtin_unreachable();
}

static bool build_pv_planned(struct domain *d, const struct domain_images *images,
                             struct pv_plan *plan, struct failure *f)
{
    struct machine_start start;

    if (!pv_plan(plan, &d->config, images, f->text, f->size))
        return false;
    if (!pv_build_memory(d, plan, images))
        return FAIL(f,
                    "memory ran out while %u MiB were made ready: lower memory=, or give the "
                    "machine more",
                    d->config.memory);
    if (!build_vcpus(d, f) || !build_ports(d, f))
        return false;
    if (!pv_build_start(d, plan, images, &start))
        return FAIL(f, "its first page tables were refused: check the notes of its kernel");
    return start_vcpus(d, &start, f);
}

static bool build_pv(struct domain *d, const struct domain_images *images, struct failure *f)
{
    struct pv_plan plan = { 0 };
    bool           done;

    print("umbra: %s: building, %u MiB, %u vCPU, direct paging\n", d->name, d->config.memory,
          d->config.vcpus);
    done = build_empty(d, 0, f) && build_pv_planned(d, images, &plan, f);
    pv_plan_done(&plan);
    if (done)
        time_wallclock_write(d);
    return done;
}

static bool build(struct domain *d, const struct domain_images *images, struct failure *f)
{
    struct machine_start start = { 0 };

    if (d->config.type == CONFIG_PV)
        return build_pv(d, images, f);
    print("umbra: %s: building, %u MiB, %llu KiB for its tables, %u vCPU%s, %s paging\n", d->name,
          d->config.memory, (unsigned long long)domain_pool_wanted(&d->config) * 4, d->config.vcpus,
          d->config.vcpus == 1 ? "" : "s", kind_name(kind_wanted(&d->config)));
    if (!build_empty(d, domain_pool_wanted(&d->config), f) || !build_memory(d, f) ||
        !build_vcpus(d, f) || !build_ports(d, f) || !load(d, images, &start, f) ||
        !start_vcpus(d, &start, f))
        return false;
    time_wallclock_write(d);
    return true;
}

struct domain *domain_create(const struct config *config, const struct domain_images *images,
                             char *error, size_t error_size)
{
    struct failure f = { error, error_size };
    uint64_t       free_before = alloc_free_count();
    struct domain *d;

    if (!check(config, images, &f))
        return NULL;
    d = new_domain(config, 0, free_before);
    if (d == NULL) {
        (void)FAIL(&f, "no memory is left for a domain: give the machine more");
        return NULL;
    }
    tell_map(d);
    if (build(d, images, &f))
        return d;
    while (!domain_destroy_step(d))
        ;
    return NULL;
}

struct domain *domain_create_empty(const struct config *config, uint16_t id)
{
    struct domain *d = new_domain(config, id, alloc_free_count());
    struct failure f = { NULL, 0 }; /* what fails is told by the result alone */

    if (d == NULL)
        return NULL;
    (void)format_string(d->name, sizeof(d->name), "dom%u", d->id);
    memcpy(d->config.name, d->name, sizeof(d->config.name));
    if (build_empty(d, pool_minimum(0, 1), &f)) {
        d->max_pages = d->pages + DOMAIN_GRANT_FRAMES;
        return d;
    }
    while (!domain_destroy_step(d))
        ;
    return NULL;
}

bool domain_create_vcpu(struct domain *d)
{
    const struct machine_start nowhere = { 0 };
    struct failure             f = { NULL, 0 };

    if (d->nr_vcpus < d->config.vcpus && !build_vcpu(d, &f))
        return false;
    return d->pv != NULL || create_edges(d, &nowhere, &f);
}
