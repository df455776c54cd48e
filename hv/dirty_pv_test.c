/* test: with paging/ hv/ */
/* Log-dirty of PV domains that were really built: what the hypervisor writes, and whose numbers. */
#include "hv/dirty.h"
#include "hv/domain_world.h"
#include "hv/grant.h"
#include "hv/kind.h"

#define SPOT   UINT64_C(0x2000) /* where the guest keeps its structures */
#define FLAGS  (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define PAGES  4096
#define ODD    UINT64_C(0x12345678) /* a number that no frame had */
#define MARKED 64

static uint64_t said[MARKED]; /* what the last round said, as it came */
static unsigned windows;

static int set_up_pv(void **state)
{
    (void)set_up(state);
    config.type = CONFIG_PV;
    config.vcpus = 1;
    config.paging = CONFIG_PAGING_DEFAULT;
    frozen = false;
    return 0;
}

static enum dirty_result to_the_end(struct domain *d, enum dirty_result (*step)(struct domain *d))
{
    enum dirty_result result = step(d);

    for (unsigned i = 0; result == DIRTY_AGAIN; i++) {
        assert_true(i < 10000);
        result = step(d);
    }
    return result;
}

static struct domain *logging(void)
{
    struct domain *d = create_running();

    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
    assert_int_equal(kind_of(d), PAGED_SHADOW);
    return d;
}

static void add_window(const struct dirty_round *round, uint64_t *count)
{
    assert_int_equal(round->first.raw % DIRTY_WINDOW_FRAMES, 0);
    for (unsigned i = 0; i < DIRTY_WINDOW_FRAMES; i++)
        if (round->bitmap[i / 64] >> i % 64 & 1 && (*count)++ < MARKED)
            said[*count - 1] = round->first.raw + i;
}

/* A whole round; how many frames it found. */
static uint64_t look(struct domain *d, uint64_t frames, bool clean, bool final)
{
    struct dirty_round round;
    enum dirty_result  result;
    uint64_t           count = 0;

    windows = 0;
    dirty_begin(d, &round, frames, clean, final);
    while ((result = dirty_step(d, &round)) != DIRTY_DONE) {
        assert_int_not_equal(result, DIRTY_REFUSED);
        if (result != DIRTY_WINDOW)
            continue;
        windows++;
        add_window(&round, &count);
    }
    assert_int_equal(round.found, count);
    return count;
}

static bool was_said(uint64_t pfn, uint64_t count)
{
    for (uint64_t i = 0; i < count && i < MARKED; i++)
        if (said[i] == pfn)
            return true;
    return false;
}

/* Just these pages have been written since the last time. */
#define ASSERT_WROTE(d, ...)                                                                       \
    do {                                                                                           \
        const uint64_t wanted[] = { __VA_ARGS__ };                                                 \
        uint64_t       count = look(d, dirty_frames(d), true, false);                              \
        for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)                          \
            assert_true(was_said(wanted[i], count));                                               \
        assert_int_equal(count, sizeof(wanted) / sizeof(wanted[0]));                               \
    } while (0)

#define ASSERT_WROTE_NOTHING(d) assert_int_equal(look(d, dirty_frames(d), true, false), 0)

/* The guest's own view: by its addresses, which are those of its numbers here. */
static void store(struct domain *d, uint64_t va, const void *from, size_t len)
{
    assert_true(pv_edge_copy_out(d->vcpu[0], va, from, len));
}

static struct pv_place place_of(struct domain *d, uint64_t va)
{
    struct pv_place place;

    assert_true(pv_walk(d->vcpu[0]->pv->direct.root[0], gva_of(va), 1, &place));
    return place;
}

static uint64_t mfn_at(struct domain *d, uint64_t pfn)
{
    return pte_frame(place_of(d, pfn << PAGE_SHIFT).entry);
}

static uint64_t table_pfn(struct domain *d, uint64_t va)
{
    return m2p[place_of(d, va).table.raw];
}

/* A batch of one. */
static void operate(struct domain *d, uint64_t nr)
{
    struct hypercall h = { .nr = nr, .arg = { SPOT, 1, 0, DOMID_SELF } };

    while (hypercall_run(d->vcpu[0], &h) == HYPERCALL_AGAIN)
        continue;
    while (!pv_drain(&d->vcpu[0]->pv->direct))
        continue;
    assert_int_equal(h.result, 0);
}

static void extended(struct domain *d, unsigned cmd, uint64_t one, uint64_t two)
{
    const struct mmuext_op op = { .cmd = cmd, .arg1.mfn = one, .arg2.src_mfn = two };

    store(d, SPOT, &op, sizeof(op));
    operate(d, __HYPERVISOR_mmuext_op);
}

static void update(struct domain *d, uint64_t ptr, uint64_t value)
{
    const struct mmu_update u = { ptr, value };

    store(d, SPOT, &u, sizeof(u));
    operate(d, __HYPERVISOR_mmu_update);
}

static void map_at(struct domain *d, uint64_t va, uint64_t entry)
{
    assert_int_equal(call(d, __HYPERVISOR_update_va_mapping, va, entry, 0), 0);
}

/* ---- what is marked ---- */

static void requests_mark_what_they_write(void **state)
{
    struct domain *d = logging();
    uint64_t       here = UINT64_C(0x300) << PAGE_SHIFT, table = table_pfn(d, here);

    (void)state;
    assert_int_equal(look(d, dirty_frames(d), false, false), 0);
    map_at(d, here, mfn_at(d, 0x300) << PAGE_SHIFT | FLAGS);
    ASSERT_WROTE(d, table);
    update(d, mfn_at(d, 0x301) << PAGE_SHIFT | 8, 5); /* plain memory */
    ASSERT_WROTE(d, 0x301);
    extended(d, MMUEXT_CLEAR_PAGE, mfn_at(d, 0x302), 0);
    extended(d, MMUEXT_COPY_PAGE, mfn_at(d, 0x303), mfn_at(d, 0x304));
    ASSERT_WROTE(d, 0x302, 0x303);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(look(d, dirty_frames(d), false, false), 0);
}

/*
 * Who copies what was written copies what is a table: a frame counts as written when it becomes one, when it is none
 * any more, and when it is pinned or not, whether or not its entries of the kernel's get U and a bit of ours.
 */
static void what_becomes_a_table_counts_as_written(void **state)
{
    struct domain *d = create_running();
    uint64_t       page = UINT64_C(0x300) << PAGE_SHIFT, mfn = mfn_at(d, 0x300);
    const uint64_t entry = mfn_at(d, 0x301) << PAGE_SHIFT | PTE_P;
    const uint64_t plain = entry | PTE_U;

    (void)state;
    for (unsigned user = 0; user < 2; user++) {
        store(d, page, user == 0 ? &entry : &plain, 8);
        map_at(d, page, mfn << PAGE_SHIFT | (FLAGS & ~PTE_W));
        assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
        extended(d, MMUEXT_PIN_L1_TABLE, mfn, 0);
        ASSERT_WROTE(d, 0x300);
        extended(d, MMUEXT_UNPIN_TABLE, mfn, 0);
        ASSERT_WROTE(d, 0x300);
        assert_int_equal(to_the_end(d, dirty_off), DIRTY_DONE);
        map_at(d, page, mfn << PAGE_SHIFT | FLAGS);
    }
}

static void a_pin_alone_counts_as_written(void **state)
{
    struct domain *d = logging();
    uint64_t       table = table_pfn(d, UINT64_C(0x300) << PAGE_SHIFT), mfn = mfn_at(d, table);

    (void)state;
    assert_int_equal(type_read(&pv_machine, mfn_of(mfn)).kind, TYPE_L1);
    extended(d, MMUEXT_PIN_L1_TABLE, mfn, 0);
    ASSERT_WROTE(d, table);
    extended(d, MMUEXT_UNPIN_TABLE, mfn, 0);
    ASSERT_WROTE(d, table);
}

/* Neither is written when it comes under a table, nor when it goes. */
static void an_empty_table_counts_as_written(void **state)
{
    struct domain *d = create_running();
    uint64_t       root = mfn_at(d, 0x300), below = mfn_at(d, 0x301);

    (void)state;
    for (uint64_t pfn = 0x300; pfn < 0x302; pfn++)
        map_at(d, pfn << PAGE_SHIFT, 0);
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
    extended(d, MMUEXT_NEW_USER_BASEPTR, root, 0);
    ASSERT_WROTE(d, 0x300);
    update(d, root << PAGE_SHIFT, below << PAGE_SHIFT | FLAGS);
    ASSERT_WROTE(d, 0x300, 0x301);
    update(d, root << PAGE_SHIFT, 0);
    ASSERT_WROTE(d, 0x300, 0x301);
    extended(d, MMUEXT_NEW_USER_BASEPTR, 0, 0);
    ASSERT_WROTE(d, 0x300);
}

static void roots_and_descriptors_are_marked_when_ours_go_into_them(void **state)
{
    struct domain *d = create_running();
    const uint64_t data = UINT64_C(0x00cf92000000ffff); /* of ring 0: its DPL is raised */
    uint64_t       root = mfn_at(d, 0x300), segments = mfn_at(d, 0x301);

    (void)state;
    store(d, (UINT64_C(0x301) << PAGE_SHIFT) + 8, &data, sizeof(data));
    for (uint64_t pfn = 0x300; pfn < 0x302; pfn++)
        map_at(d, pfn << PAGE_SHIFT, 0);
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
    extended(d, MMUEXT_PIN_L4_TABLE, root, 0);
    ASSERT_WROTE(d, 0x300);
    assert_true(pv_keep(d, mfn_of(segments), TYPE_SEGMENTS));
    ASSERT_WROTE(d, 0x301);
    pv_let_go(d, mfn_of(segments), TYPE_SEGMENTS);
    ASSERT_WROTE_NOTHING(d);
}

static uint64_t reserve(struct domain *d, unsigned op, uint64_t word)
{
    struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };

    r.extent_start.p = (void *)(SPOT + 0x100);
    store(d, SPOT + 0x100, &word, sizeof(word));
    store(d, SPOT, &r, sizeof(r));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, op, SPOT, 0), 1);
    assert_true(pv_edge_copy_in(d->vcpu[0], &word, SPOT + 0x100, sizeof(word)));
    return word;
}

static void a_frame_that_comes_is_written(void **state)
{
    struct domain *d = logging();
    uint64_t       page = UINT64_C(0x300) << PAGE_SHIFT, mfn = mfn_at(d, 0x300);
    uint64_t       table = table_pfn(d, page);

    (void)state;
    map_at(d, page, 0);
    (void)reserve(d, XENMEM_decrease_reservation, mfn);
    ASSERT_WROTE(d, table);
    mfn = reserve(d, XENMEM_populate_physmap, 0x300);
    ASSERT_WROTE(d, 0x300);
    map_at(d, page, mfn << PAGE_SHIFT | FLAGS);
    ASSERT_WROTE(d, table);
}

/* ---- by whose numbers ---- */

static void pages_go_by_the_numbers_that_the_guest_gives_them(void **state)
{
    struct domain *d = logging();
    uint64_t       a = mfn_at(d, 0x300), b = mfn_at(d, 0x301), c = mfn_at(d, 0x302);

    (void)state;
    assert_int_equal(dirty_frames(d), PAGES);
    update(d, a << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, ODD);
    assert_int_equal(dirty_frames(d), 0x1000);
    update(d, a << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 0x8001);
    update(d, b << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 0x8001); /* two have the same */
    update(d, c << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 0x303);
    assert_int_equal(dirty_frames(d), 0x8002);
    assert_int_equal(look(d, 0x8001, true, false), 1); /* what is beyond is left for later */
    assert_true(was_said(0x303, 1));
    assert_int_equal(look(d, 0x8002, true, false) >= 1, true);
    assert_true(was_said(0x8001, 2));
    assert_int_equal(look(d, 0x8002, true, false), 0);
}

/* Neither is one, and nothing is overwritten by it. */
static void a_word_that_is_no_number_is_passed_by(void **state)
{
    static const uint64_t words[] = { UINT64_MAX, UINT64_MAX - 1, PV_PFN_MAX, PV_PFN_MAX + 0x300,
                                      UINT64_C(1) << 63 };
    struct domain        *d = logging();

    (void)state;
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        update(d, mfn_at(d, 0x300) << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, words[i]);
        assert_int_equal(dirty_frames(d), PAGES);
        assert_int_equal(look(d, UINT64_MAX, true, false), 0);
    }
    update(d, mfn_at(d, 0x300) << PAGE_SHIFT | MMU_MACHPHYS_UPDATE, 0x300);
    ASSERT_WROTE(d, 0x300);
}

/* Each page in another window than the one before it in the machine: none is lost, each is told once. */
static void windows_may_come_in_any_order(void **state)
{
    struct domain *d = logging();
    uint64_t       count;

    (void)state;
    for (uint64_t i = 0; i < 16; i++)
        update(d, mfn_at(d, 0x300 + i) << PAGE_SHIFT | MMU_MACHPHYS_UPDATE,
               (i * 5 % 4) * DIRTY_WINDOW_FRAMES + 0x200 + i);
    for (unsigned clean = 0; clean < 2; clean++) {
        count = look(d, dirty_frames(d), clean, false);
        assert_int_equal(count, 16);
        assert_true(windows >= 4 && windows <= 16);
        for (uint64_t i = 0; i < 16; i++)
            assert_true(was_said((i * 5 % 4) * DIRTY_WINDOW_FRAMES + 0x200 + i, count));
    }
    assert_int_equal(look(d, dirty_frames(d), true, false), 0);
}

/* ---- others ---- */

static void what_another_domain_writes_is_known_when_it_lets_go(void **state)
{
    struct domain         *d = create_running(), other = { .id = 7 };
    struct grant_entry_v1 *table;
    struct grant_active    what;

    (void)state;
    assert_true(grant_grow(d, 1));
    table = phys_ptr(&machine_phys, d->grant_mfn[0]);
    table[9] = (struct grant_entry_v1){ GTF_permit_access, other.id, (uint32_t)mfn_at(d, 0x300) };
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
    assert_int_equal(grant_begin(d, 9, &other, true, &what), GNTST_okay);
    grant_end(d, 9, true);
    assert_int_equal(look(d, dirty_frames(d), true, false), 0);
    assert_int_equal(grant_begin(d, 9, &other, false, &what), GNTST_okay);
    assert_int_equal(look(d, dirty_frames(d), true, false), 0);
    (void)look(d, dirty_frames(d), true, true);
    assert_true(was_said(0x300, MARKED)); /* the last round does not wait for that */
    grant_end(d, 9, false);
    ASSERT_WROTE(d, 0x300);
}

/* ---- shadows ---- */

static void shadows_are_there_while_they_are_needed(void **state)
{
    struct domain *d = logging();

    (void)state;
    assert_non_null(kind_refused(d, PAGED_DIRECT));
    assert_int_equal(kind_other(d), PAGED_SHADOW);
    assert_int_equal(to_the_end(d, dirty_off), DIRTY_DONE);
    assert_int_equal(kind_of(d), PAGED_DIRECT);
    assert_int_equal(dirty_off(d), DIRTY_REFUSED);
    while (!pv_shadow_work(d))
        continue;
    assert_int_equal(kind_change(d, PAGED_SHADOW), KIND_DONE);
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
    assert_int_equal(to_the_end(d, dirty_off), DIRTY_DONE);
    assert_int_equal(kind_of(d), PAGED_SHADOW); /* they were there before */
}

static void without_memory_for_them_nothing_is_logged(void **state)
{
    struct domain *d = create_running();
    mfn_t          first = MFN_NONE, mfn;

    (void)state;
    while (mfn_valid(mfn = alloc_frames(0, ALLOC_ANY))) {
        *(uint64_t *)phys_ptr(&machine_phys, mfn) = first.raw;
        first = mfn;
    }
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_NO_MEMORY);
    for (; mfn_valid(first); first = mfn) {
        mfn = mfn_of(*(const uint64_t *)phys_ptr(&machine_phys, first));
        free_frames(first, 0);
    }
    assert_int_equal(kind_of(d), PAGED_DIRECT);
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_pv, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_mark_what_they_write),
        TEST(what_becomes_a_table_counts_as_written),
        TEST(a_pin_alone_counts_as_written),
        TEST(an_empty_table_counts_as_written),
        TEST(roots_and_descriptors_are_marked_when_ours_go_into_them),
        TEST(a_frame_that_comes_is_written),
        TEST(pages_go_by_the_numbers_that_the_guest_gives_them),
        TEST(a_word_that_is_no_number_is_passed_by),
        TEST(windows_may_come_in_any_order),
        TEST(what_another_domain_writes_is_known_when_it_lets_go),
        TEST(shadows_are_there_while_they_are_needed),
        TEST(without_memory_for_them_nothing_is_logged),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
