/* test: with paging/ hv/ */
/* Log-dirty of a domain that was really built: rounds, windows, what is refused. */
#include "hv/dirty.h"
#include "hv/domain_world.h"

#define FAR UINT64_C(0x100000) /* gfn in another window than all others */

static uint64_t said[FAR / 64 + 64]; /* what the last round said */

static enum dirty_result to_the_end(struct domain *d, enum dirty_result (*step)(struct domain *d))
{
    enum dirty_result result = step(d);

    for (unsigned i = 0; result == DIRTY_AGAIN; i++) {
        assert_true(i < 10000);
        result = step(d);
    }
    return result;
}

/* A whole round; how many frames it found. */
static uint64_t look(struct domain *d, uint64_t frames, bool clean, bool final)
{
    struct dirty_round round;
    enum dirty_result  result;
    uint64_t           windows = 0;

    memset(said, 0, sizeof(said));
    dirty_begin(d, &round, frames, clean, final);
    while ((result = dirty_step(d, &round)) != DIRTY_DONE) {
        assert_int_not_equal(result, DIRTY_REFUSED);
        if (result == DIRTY_AGAIN)
            continue;
        assert_int_equal(round.first.raw, windows++ * DIRTY_WINDOW_FRAMES);
        memcpy(said + round.first.raw / 64, round.bitmap, sizeof(round.bitmap));
    }
    assert_int_equal(windows, (frames + DIRTY_WINDOW_FRAMES - 1) / DIRTY_WINDOW_FRAMES);
    return round.found;
}

static bool was_said(uint64_t gfn)
{
    return said[gfn / 64] >> gfn % 64 & 1;
}

static void written_pages_are_told_until_they_are_cleaned(void **state)
{
    struct domain *d = create_running();
    const uint64_t word = 1;

    (void)state;
    poke(d, 0x300 << PAGE_SHIFT, &word, 8);
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
    assert_int_equal(look(d, dirty_frames(d), false, false), 0);
    poke(d, 0x301 << PAGE_SHIFT, &word, 8);
    poke(d, (0x402 << PAGE_SHIFT) - 4, &word, 8); /* two pages */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(look(d, dirty_frames(d), i != 0, false), 3);
        assert_true(was_said(0x301) && was_said(0x401) && was_said(0x402));
    }
    assert_int_equal(look(d, dirty_frames(d), true, false), 0);
}

/* Windows far apart, and a round that ends within one. */
static void a_round_is_about_as_many_frames_as_it_is_asked_for(void **state)
{
    struct domain            *d = create_running();
    struct xen_add_to_physmap arg = { .domid = DOMID_SELF, .gpfn = FAR };

    (void)state;
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0), 0);
    assert_int_equal(dirty_frames(d), FAR + 1);
    assert_int_equal(look(d, AREA >> PAGE_SHIFT, false, false), 0);
    assert_int_equal(look(d, (AREA >> PAGE_SHIFT) + 1, false, false), 1);
    assert_int_equal(look(d, FAR, true, false), 1);
    assert_int_equal(look(d, dirty_frames(d), true, false), 1);
    assert_true(was_said(FAR));
    assert_int_equal(look(d, 0, true, false), 0);
}

/* vcpu_info is written without a mark. */
static void the_last_round_has_what_the_hypervisor_shares(void **state)
{
    struct domain                 *d = create_running();
    struct vcpu_register_vcpu_info reg = { .mfn = 0x300 };

    (void)state;
    poke(d, AREA, &reg, sizeof(reg));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 1, AREA), 0);
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
    assert_int_equal(look(d, dirty_frames(d), true, false), 0);
    d->vcpu[1]->info->evtchn_upcall_mask = 1;
    assert_int_equal(look(d, dirty_frames(d), true, false), 0);
    (void)look(d, dirty_frames(d), true, true);
    assert_true(was_said(0x300));
    assert_int_equal(look(d, dirty_frames(d), true, false), 0);
}

static void what_cannot_be_is_refused(void **state)
{
    struct domain     *d = create();
    struct dirty_round round;

    (void)state;
    assert_int_equal(dirty_on(d), DIRTY_REFUSED); /* it is being built */
    domain_unpause(d);
    assert_int_equal(dirty_off(d), DIRTY_REFUSED);
    dirty_begin(d, &round, 16, true, true);
    assert_int_equal(dirty_step(d, &round), DIRTY_REFUSED);
    assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
    assert_int_equal(dirty_on(d), DIRTY_REFUSED);
    dirty_begin(d, &round, 16, true, true);
    assert_int_equal(to_the_end(d, dirty_off), DIRTY_DONE);
    assert_int_equal(dirty_step(d, &round), DIRTY_REFUSED); /* in the middle of a round */
    domain_destroy(d);
    assert_int_equal(dirty_on(d), DIRTY_REFUSED);
}

/* A domain that ends while it logs leaves nothing behind for those who get its memory. */
static void a_log_ends_with_its_domain(void **state)
{
    const uint64_t word = 1;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct domain *d = create_running();

        assert_int_equal(to_the_end(d, dirty_on), DIRTY_DONE);
        assert_int_equal(look(d, dirty_frames(d), false, false), 0);
        for (uint64_t gfn = 0; gfn < 0x300; gfn++)
            poke(d, gfn << PAGE_SHIFT, &word, 8);
        assert_int_equal(look(d, dirty_frames(d), false, false), 0x300);
        while (!domain_destroy_step(d))
            ;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(written_pages_are_told_until_they_are_cleaned),
        TEST(a_round_is_about_as_many_frames_as_it_is_asked_for),
        TEST(the_last_round_has_what_the_hypervisor_shares),
        TEST(what_cannot_be_is_refused),
        TEST(a_log_ends_with_its_domain),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
