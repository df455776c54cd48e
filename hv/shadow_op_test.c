/* test: with paging/ hv/ hv/pv_view.c */
/* The control domain asks what a domain has written, by XEN_DOMCTL_shadow_op: of either kind, in pieces. */
#include "hv/control_world.h"
#include "hv/kind.h"

#define BITMAP PAGE_OF(4)
#define PAGES  UINT64_C(40000) /* more than the domain has: the rest is zeros */
#define BYTES  (PAGES / 8)
#define GFN    UINT64_C(0x333)
#define FLAGS  (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)

static uint8_t                           bitmap[BYTES];
static struct xen_domctl_shadow_op_stats stats;

static struct xen_domctl shadow(uint32_t what, uint32_t mode)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_shadow_op };

    op.u.shadow_op.op = what;
    op.u.shadow_op.mode = mode;
    op.u.shadow_op.pages = PAGES;
    op.u.shadow_op.dirty_bitmap.p = (void *)BITMAP;
    return op;
}

static int64_t ask(struct domain *d, uint32_t what)
{
    struct xen_domctl op = shadow(what, 0);
    int64_t           result;

    memset(bitmap, 0xff, sizeof(bitmap));
    store(control, BITMAP, bitmap, sizeof(bitmap));
    result = domctl(control, d->id, &op);
    look(control, BITMAP, bitmap, sizeof(bitmap));
    stats = op.u.shadow_op.stats;
    if (result == 0)
        assert_int_equal(op.u.shadow_op.pages, PAGES);
    return result;
}

static unsigned marked(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < BYTES; i++)
        count += (unsigned)__builtin_popcount(bitmap[i]);
    return count;
}

static bool is_marked(uint64_t frame)
{
    return bitmap[frame / 8] >> frame % 8 & 1;
}

static void settle(struct domain *d)
{
    for (unsigned i = 0; i < 10000 && !domains_work_step(); i++)
        ;
    assert_int_equal(kind_of(d), d->pv != NULL ? PAGED_DIRECT : PAGED_SHADOW);
}

static void what_is_written_is_told_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct domain *d = i == 0 ? other(CONFIG_PVH) : other(CONFIG_PV);
        uint64_t       frame;

        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_CLEAN), -XEN_EINVAL);
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_OFF), -XEN_EINVAL);
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY), 0);
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY), -XEN_EINVAL);
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_CLEAN), 0);
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_CLEAN), 0);
        assert_int_equal(marked(), 0);
        if (d->pv != NULL) {
            frame = pv_m2p_get(frame_at(d, PAGE_OF(5)));
            paging_dirty_mark(domain_lock(d), frame_at(d, PAGE_OF(5)));
        } else {
            frame = GFN;
            poke(d, GFN << PAGE_SHIFT, "guest's", 8);
        }
        for (unsigned peek = 0; peek < 2; peek++) {
            assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_PEEK), 0);
            assert_int_equal(marked(), 1);
            assert_true(is_marked(frame));
            assert_int_equal(stats.dirty_count, 1);
        }
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_CLEAN), 0);
        assert_int_equal(marked(), 1);
        assert_true(is_marked(frame));
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_CLEAN), 0);
        assert_int_equal(marked(), 0);
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_OFF), 0);
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_PEEK), -XEN_EINVAL);
        settle(d);
        domain_destroy(d);
        while (!domain_destroy_step(d))
            ;
    }
}

/* Its frames are looked at in the machine's order: windows alternate, and what each of them says stays. */
static void windows_that_come_again_are_added_up(void **state)
{
    struct domain        *d = other(CONFIG_PV);
    static const uint64_t pfns[] = { 5, 5000, 6, 10001, 7 };
    mfn_t                 mfn = frame_at(d, PAGE_OF(5));

    (void)state;
    assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY), 0);
    assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_CLEAN), 0);
    for (unsigned i = 0; i < 5; i++)
        pv_m2p_set(d, mfn_of(mfn.raw + i), pfns[i]);
    assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_CLEAN), 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(phys_frame(&machine_phys, mfn_of(mfn.raw + i))->owner, d->id);
        assert_true(is_marked(pfns[i]));
    }
    assert_int_equal(marked(), 5);
}

static void the_last_round_has_what_is_shared(void **state)
{
    struct domain    *d = other(CONFIG_PVH);
    struct xen_domctl op = shadow(XEN_DOMCTL_SHADOW_OP_CLEAN, XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL);

    (void)state;
    assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY), 0);
    op.u.shadow_op.pages = 0x200000;
    op.u.shadow_op.dirty_bitmap.p = NULL; /* only the numbers */
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.shadow_op.stats.dirty_count, 2); /* console and xenstore */
    op = shadow(XEN_DOMCTL_SHADOW_OP_CLEAN, 2);
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
    assert_int_equal(domctl(control, control->id, &op), -XEN_EINVAL);
}

/* Each call is one step. What stands between them is the domain's, and no other look comes between. */
static void a_look_goes_on_in_pieces(void **state)
{
    struct domain    *d = other(CONFIG_PVH);
    struct xen_domctl op = shadow(XEN_DOMCTL_SHADOW_OP_CLEAN, 0), other_op;
    struct hypercall  h = { .nr = __HYPERVISOR_domctl, .arg = { PAGE_OF(0) } };
    unsigned          calls = 1;

    (void)state;
    assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY), 0);
    poke(d, GFN << PAGE_SHIFT, "guest's", 8);
    op.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op.domain = d->id;
    memset(bitmap, 0xff, sizeof(bitmap));
    store(control, BITMAP, bitmap, sizeof(bitmap));
    for (;; calls++) {
        assert_true(calls < 1000);
        store(control, PAGE_OF(0), &op, sizeof(op));
        cpu.pending = PENDING_RESCHED;
        if (hypercall_run(control->vcpu[0], &h) != HYPERCALL_AGAIN)
            break;
        cpu.pending = 0;
        other_op = shadow(XEN_DOMCTL_SHADOW_OP_PEEK, 0);
        assert_int_equal(domctl(control, d->id, &other_op), -XEN_EBUSY);
    }
    cpu.pending = 0;
    assert_int_equal(h.result, 0);
    assert_true(calls > 8);
    assert_null(d->dirty_look);
    look(control, BITMAP, bitmap, sizeof(bitmap));
    assert_int_equal(marked(), 1);
    assert_true(is_marked(GFN));
    /* One that does not come again is forgotten when the log ends, or with its domain. */
    for (unsigned i = 0; i < 2; i++) {
        store(control, PAGE_OF(0), &op, sizeof(op));
        cpu.pending = PENDING_RESCHED;
        assert_int_equal(hypercall_run(control->vcpu[0], &h), HYPERCALL_AGAIN);
        cpu.pending = 0;
        assert_non_null(d->dirty_look);
        if (i == 0) {
            assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_OFF), 0);
            assert_null(d->dirty_look);
            assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY), 0);
        }
    }
}

static void a_bitmap_that_is_not_there_ends_the_look(void **state)
{
    struct domain    *d = other(CONFIG_PVH);
    struct xen_domctl op = shadow(XEN_DOMCTL_SHADOW_OP_CLEAN, 0);

    (void)state;
    assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY), 0);
    op.u.shadow_op.dirty_bitmap.p = (void *)WILD;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EFAULT);
    assert_null(d->dirty_look);
    op.u.shadow_op.dirty_bitmap.p = (void *)BITMAP;
    op.u.shadow_op.pages = UINT64_MAX;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
    op.u.shadow_op.pages = UINT64_MAX / 2;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EFAULT);
    assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_CLEAN), 0);
    assert_int_equal(ask(d, 99), -XEN_EINVAL);
    op = shadow(XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION, 0);
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.shadow_op.mb, (d->paging.pool.total + 255) / 256);
}

/* By an entry that comes and goes in the usual way, and by one that the machine takes step by step. */
static void what_the_control_domain_writes_is_marked(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct domain    *d = other(i % 2 == 0 ? CONFIG_PVH : CONFIG_PV);
        uint64_t          named = d->pv != NULL ? frame_at(d, PAGE_OF(5)).raw : GFN;
        uint64_t          frame = d->pv != NULL ? pv_m2p_get(mfn_of(named)) : GFN;
        struct hypercall  h = { .nr = __HYPERVISOR_mmu_update };
        struct pv_place   place;
        struct mmu_update u;

        pv_machine.quick = i < 2;
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY), 0);
        assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_CLEAN), 0);
        assert_true(pv_walk(control->vcpu[0]->pv->direct.root[0], gva_of(WINDOW), 1, &place));
        for (unsigned step = 0; step < 4; step++) { /* read-only first, then to be written */
            uint64_t flags = step < 2 ? FLAGS & ~PTE_W : FLAGS;

            u.ptr = place.table.raw << PAGE_SHIFT | place.index * 8;
            u.val = step % 2 == 0 ? named << PAGE_SHIFT | flags : 0;
            store(control, PAGE_OF(0), &u, sizeof(u));
            h.arg[0] = PAGE_OF(0), h.arg[1] = 1;
            h.arg[3] = step % 2 == 0 ? d->id : DOMID_SELF;
            while (hypercall_run(control->vcpu[0], &h) == HYPERCALL_AGAIN)
                ;
            assert_int_equal(h.result, 0);
            if (step == 2)
                store(control, WINDOW, "control", 8);
            assert_int_equal(ask(d, XEN_DOMCTL_SHADOW_OP_PEEK), 0);
            assert_int_equal(marked(), step == 3);
        }
        assert_true(is_marked(frame));
        audit();
        pv_machine.quick = true;
        domain_destroy(d);
        while (!domain_destroy_step(d))
            ;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(what_is_written_is_told_once),
        CONTROL(windows_that_come_again_are_added_up),
        CONTROL(the_last_round_has_what_is_shared),
        CONTROL(a_look_goes_on_in_pieces),
        CONTROL(a_bitmap_that_is_not_there_ends_the_look),
        CONTROL(what_the_control_domain_writes_is_marked),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
