/* test: with paging/ test/model/ */
/* test: wrap shadow_reserve pool_single */
/*
 * Short of memory: every request for memory of the pool fails in turn, and pools of every size
 * from nothing on. What began must then be done, or end the domain with the sentence that says
 * why; the audit is clean afterwards, and not a frame is lost when the domain is taken down.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/shadow.h"
#include "test/model/gen.h"

#define OPERATIONS 260

bool  __real_shadow_reserve(struct change *c, unsigned pairs);
bool  __wrap_shadow_reserve(struct change *c, unsigned pairs);
mfn_t __real_pool_single(struct pool *pool, enum frame_kind kind);
mfn_t __wrap_pool_single(struct pool *pool, enum frame_kind kind);

static unsigned requests, refused; /* the request of this number, from 1, is refused */

bool __wrap_shadow_reserve(struct change *c, unsigned pairs)
{
    if (++requests == refused)
        return false;
    return __real_shadow_reserve(c, pairs);
}

/* The copy of a table out of sync is asked for when memory has been reserved. */
mfn_t __wrap_pool_single(struct pool *pool, enum frame_kind kind)
{
    if (kind == FRAME_P2M && ++requests == refused)
        return MFN_NONE;
    return __real_pool_single(pool, kind);
}

static bool is_known(const char *failure)
{
    return strstr(failure, "out of memory for its shadow tables") != NULL ||
           strcmp(failure, "paging_domain_init: no memory") == 0;
}

static void assert_sound(struct world *w)
{
    struct audit audit = { 0 };

    w->failure[0] = '\0';
    if (w->vcpus != 0)
        paging_audit((struct paging_locked){ &w->domain }, &audit);
    assert_string_equal(audit.first, "");
    if (!world_finish(w))
        fail_msg("%s", w->failure);
}

/* What the guest was given is there. */
static void assert_map(const struct world *w)
{
    for (uint64_t gfn = 0; gfn < w->memory.gfns; gfn++) {
        struct p2m_entry e = p2m_get(&w->domain.p2m, gfn_of(gfn));

        assert_int_equal(e.type == P2M_RAM, w->memory.behind[gfn] == MMU_RAM);
        if (e.type == P2M_RAM)
            assert_int_equal(e.mfn.raw, w->mfn_of_page[w->memory.page_of[gfn]]);
    }
}

/* One life of a domain; how many operations it came to. */
static unsigned live(const struct world_setup *setup, uint64_t seed, unsigned modes)
{
    struct world *w = world_create(setup);
    struct gen    g = { .world = w, .modes = modes, .vcpus = 2, .seed = seed };
    unsigned      done = 0;
    struct op     op;

    while (done < OPERATIONS && w->failure[0] == '\0' && gen_next(&g, &op)) {
        if (op.kind == OP_IMPLICIT || op.kind == OP_POOL)
            continue;
        if (world_do(w, &op))
            done++;
    }
    if (w->failure[0] != '\0' && !is_known(w->failure))
        fail_msg("request %u refused, operation %u: %s", refused, done, w->failure);
    assert_true((w->failure[0] == '\0') == (done == OPERATIONS));
    if (w->failure[0] == '\0')
        assert_map(w);
    assert_sound(w);
    world_free(w);
    return done;
}

static const struct world_setup usual = {
    .gfns = 96, .spare = 16, .pairs = 100, .maxphys = 40, .large = true, .smp = true
};

static void fail_in_turn(const struct world_setup *setup, uint64_t seed, unsigned modes)
{
    unsigned crashes = 0;

    for (refused = 1;; refused++) {
        requests = 0;
        crashes += live(setup, seed, modes) < OPERATIONS;
        if (requests < refused)
            break; /* nothing was refused any more */
    }
    assert_true(refused > 50);
    assert_true(crashes > 20);
    refused = 0;
}

static void each_request_that_fails_under_four_levels_is_survived(void **state)
{
    (void)state;
    fail_in_turn(&usual, 1, GEN_64 | GEN_OFF);
}

static void each_request_that_fails_in_any_mode_is_survived(void **state)
{
    (void)state;
    fail_in_turn(&usual, 2, GEN_64 | GEN_OFF | GEN_PAE | GEN_32);
}

static void a_pool_of_any_size_ends_the_domain_or_is_enough(void **state)
{
    struct world_setup setup = usual;
    unsigned           crashed = 0;

    (void)state;
    setup.audit = 16;
    refused = 0;
    for (setup.pairs = 0; setup.pairs <= 40; setup.pairs++)
        for (uint64_t seed = 1; seed <= 3; seed++) {
            unsigned done = live(&setup, seed, GEN_64 | GEN_OFF | GEN_PAE | GEN_32);

            crashed += done < OPERATIONS;
            assert_true(done == OPERATIONS || setup.pairs < 26);
            assert_true(done == 0 || setup.pairs > 3);
        }
    assert_true(crashed >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_that_fails_under_four_levels_is_survived),
        cmocka_unit_test(each_request_that_fails_in_any_mode_is_survived),
        cmocka_unit_test(a_pool_of_any_size_ends_the_domain_or_is_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
