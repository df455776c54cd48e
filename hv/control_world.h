/* The machine of domain_world.h with a control domain in it, whose memory lies where it is mapped. */
#ifndef HV_CONTROL_WORLD_H
#define HV_CONTROL_WORLD_H

#include "hv/conring.h"
#include "hv/control.h"
#include "hv/domain_world.h"

#define PAGE_OF(n) (UINT64_C(0x200000) + (n)*PAGE_SIZE) /* of a PV guest's memory */

static struct domain *control;

static inline int set_up_control_as(void **state, enum config_type type, enum config_paging paging)
{
    (void)set_up(state);
    config.type = type;
    config.vcpus = 1;
    config.paging = paging;
    config.memory = 8;
    config.control = 1;
    frozen = false;
    control = create();
    domain_unpause(control);
    return 0;
}

static inline int set_up_control(void **state)
{
    return set_up_control_as(state, CONFIG_PV, CONFIG_PAGING_DEFAULT);
}

/* Another domain, which may nothing. */
static struct domain *other(enum config_type type)
{
    struct domain *d;

    strcpy(config.name, "other");
    config.type = type;
    config.paging = type == CONFIG_PVH ? CONFIG_PAGING_SHADOW : CONFIG_PAGING_DEFAULT;
    config.control = 0;
    config.memory = 32;
    d = create();
    domain_unpause(d);
    return d;
}

/* By the addresses of its kernel. */
static void look(struct domain *d, uint64_t va, void *to, size_t len)
{
    assert_true(guest_copy_in(d->vcpu[0], to, va, len));
}

static void store(struct domain *d, uint64_t va, const void *from, size_t len)
{
    assert_true(guest_copy_out(d->vcpu[0], va, from, len));
}

/* A call with one structure, which goes to the guest and comes back. */
static int64_t call_with(struct domain *d, uint64_t nr, uint64_t op, void *arg, size_t size)
{
    int64_t result;

    store(d, PAGE_OF(0), arg, size);
    result = nr == __HYPERVISOR_sysctl || nr == __HYPERVISOR_domctl
                 ? call(d, nr, PAGE_OF(0), 0, 0)
                 : call(d, nr, op, PAGE_OF(0), 1);
    look(d, PAGE_OF(0), arg, size);
    return result;
}

static inline int64_t sysctl(struct domain *d, struct xen_sysctl *op)
{
    op->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    return call_with(d, __HYPERVISOR_sysctl, 0, op, sizeof(*op));
}

static inline int64_t domctl(struct domain *d, uint16_t id, struct xen_domctl *op)
{
    op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op->domain = id;
    return call_with(d, __HYPERVISOR_domctl, 0, op, sizeof(*op));
}

/* What a domain maps of others goes here. */
#define WINDOW PAGE_OF(9)

/* The entry of WINDOW becomes `value`, with a frame of domain `id`. */
static inline int64_t map_window(struct domain *who, uint16_t id, uint64_t value, uint64_t command)
{
    struct pv_place   place;
    struct mmu_update u;
    struct hypercall  h = { .nr = __HYPERVISOR_mmu_update, .arg = { PAGE_OF(0), 1, 0, id } };

    assert_true(pv_walk(who->vcpu[0]->pv->direct.root[0], gva_of(WINDOW), 1, &place));
    u = (struct mmu_update){ (place.table.raw << PAGE_SHIFT | place.index * 8) | command, value };
    store(who, PAGE_OF(0), &u, sizeof(u));
    while (hypercall_run(who->vcpu[0], &h) == HYPERCALL_AGAIN)
        ;
    return h.result;
}

/* The frame behind an address of a PV guest's. */
static inline mfn_t frame_at(struct domain *d, uint64_t va)
{
    struct pv_place place;

    assert_true(pv_walk(d->vcpu[0]->pv->direct.root[0], gva_of(va), 1, &place));
    return mfn_of(pte_frame(place.entry));
}

/* Steps of its destruction, as many as make sense; true: it is gone. */
static inline bool destroy_some(struct domain *d)
{
    uint16_t id = d->id;

    for (unsigned i = 0; i < 20000 && domain_by_id(id) != NULL; i++) {
        now += 1000000;
        (void)!domain_destroy_step(d);
    }
    return domain_by_id(id) == NULL;
}

/* The M2P, of so many pieces of 2 MiB, which is there from here on and must not be held when it goes. */
#define M2P_EXTENTS 2

static inline void lend_m2p(void)
{
    m2p_first = alloc_frames(10, ALLOC_ANY).raw;
    m2p_count = M2P_EXTENTS * 512;
    for (uint64_t i = 0; i < m2p_count; i++) {
        *phys_frame(&machine_phys, mfn_of(m2p_first + i)) =
            (struct frame){ .kind = FRAME_GUEST, .owner = DOMID_XEN };
        direct_lend(&machine_phys, mfn_of(m2p_first + i));
    }
    memcpy(phys_ptr(&machine_phys, mfn_of(m2p_first)), "the M2P", 8);
}

static inline void take_m2p_back(void)
{
    for (uint64_t i = 0; i < m2p_count; i++) {
        direct_take_back(&machine_phys, mfn_of(m2p_first + i));
        assert_int_equal(phys_frame(&machine_phys, mfn_of(m2p_first + i))->refs, 0);
        *phys_frame(&machine_phys, mfn_of(m2p_first + i)) = (struct frame){ .kind = FRAME_HV };
    }
    phys_frame(&machine_phys, mfn_of(m2p_first))->order = 10;
    free_frames(mfn_of(m2p_first), 10);
    m2p_count = 0;
}

static inline void audit(void)
{
    struct audit sum = { 0 };

    pv_audit(&sum);
    for (struct domain *d = domains; d != NULL; d = d->next)
        if (d->pv == NULL && d->state != DOMAIN_DYING)
            paging_audit(domain_lock(d), &sum);
    if (sum.violations != 0)
        fail_msg("%s", sum.first);
}

#define CONTROL(name) cmocka_unit_test_setup_teardown(name, set_up_control, tear_down)

#endif
