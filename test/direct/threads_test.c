/* test: with paging/ test/direct/world.c test/direct/dice.c */
/* test: threads */
/*
 * Direct paging by real threads, under ThreadSanitizer: three vCPUs make random requests at once, a
 * fourth thread gives frames back and hands out freed ones. No lock is taken anywhere. Now and then
 * all of them stop, and the audit looks; in the end everything is given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "dice.h"
#include "world.h"

#define FRAMES 13
#define VCPUS  3
#define ROUNDS 30
#define CALLS  2000 /* of each thread in a round */

static struct world      w;
static pthread_barrier_t barrier;
static unsigned long     done[VCPUS], refused[VCPUS], again[VCPUS], handed_out;

/* A test can only fail from the thread that began it. */
static void stop(const char *why)
{
    print_error("%s\n", why);
    abort();
}

/* Between two barriers only one thread runs. */
static void audit(bool mine)
{
    pthread_barrier_wait(&barrier);
    if (mine && !world_sound(&w))
        stop(w.why);
    pthread_barrier_wait(&barrier);
}

/* These processors have no TLB: only the clock moves. */
static void carry_out(const struct direct_vcpu *v)
{
    if (v->ask.kind != DIRECT_ASK_FLUSH)
        return;
    for (unsigned cpu = 0; cpu < VCPUS; cpu++)
        if ((v->ask.cpus >> cpu & 1) != 0)
            direct_flush_end(&w.machine, cpu, direct_flush_begin(&w.machine));
}

static enum direct_status call(unsigned vcpu, const struct direct_request *r)
{
    struct direct_vcpu   *v = &w.vcpu[vcpu];
    struct direct_verdict verdict;
    struct direct_store   store;
    mfn_t                 old;

    if (r->op == DIRECT_ROOT && r->owner == v->domain && dice(4) != 0 &&
        direct_root_take(v, r->mfn, r->user, &old)) {
        direct_root_leave(v, old);
        return DIRECT_DONE;
    }
    if (dice(4) != 0 && world_store(v, r, &store) && direct_update_now(v, &store, 1, 64) == 1)
        return DIRECT_DONE;
    verdict = direct_do(v, r, dice(2) ? 1 + dice(3) : dice(600));
    while (verdict.status == DIRECT_ASK) {
        carry_out(v);
        verdict = direct_do(v, r, dice(600));
    }
    if (verdict.status == DIRECT_BROKEN)
        stop(verdict.why);
    return verdict.status;
}

static void *vcpu_runs(void *argument)
{
    unsigned              vcpu = (unsigned)((struct direct_vcpu *)argument - w.vcpu);
    struct direct_request drain = { .op = DIRECT_DRAIN };
    const unsigned        none[FRAMES] = { 0 };

    dice_seed(vcpu + 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < CALLS; i++) {
            struct direct_request r = dice_request(&w, none);
            enum direct_status    status = call(vcpu, &r);

            for (unsigned n = 0; n < 50 && status == DIRECT_AGAIN; n++, again[vcpu]++)
                status = call(vcpu, &r);
            done[vcpu] += status == DIRECT_DONE;
            refused[vcpu] += status == DIRECT_REFUSED;
        }
        while (direct_unfinished(&w.vcpu[vcpu]))
            (void)!call(vcpu, &drain);
        audit(vcpu == 0);
    }
    return NULL;
}

static void *allocator_runs(void *argument)
{
    (void)argument;
    dice_seed(1000);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < CALLS / 4; i++) {
            mfn_t mfn = direct_freed(&w.machine);

            if (mfn_valid(mfn)) {
                direct_allocate(&w.domain[0], mfn);
                handed_out++;
            } else if (dice(50) == 0) {
                (void)!direct_release(&w.domain[0], mfn_of(1 + dice(FRAMES - 1)));
            }
        }
        audit(false);
    }
    return NULL;
}

static void vcpus_need_no_lock(void **state)
{
    pthread_t             thread[VCPUS + 1];
    struct direct_request r;

    (void)state;
    world_init(&w, FRAMES, VCPUS, 0);
    w.machine.quick = true;
    w.machine.wide = true;
    dice_gives(false);
    assert_int_equal(pthread_barrier_init(&barrier, NULL, VCPUS + 1), 0);
    for (unsigned i = 0; i < VCPUS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, vcpu_runs, &w.vcpu[i]), 0);
    assert_int_equal(pthread_create(&thread[VCPUS], NULL, allocator_runs, NULL), 0);
    for (unsigned i = 0; i <= VCPUS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    pthread_barrier_destroy(&barrier);
    print_message("done %lu, refused %lu, again %lu, frames handed out %lu\n", done[0], refused[0],
                  again[0], handed_out);
    for (unsigned i = 0; i < VCPUS; i++)
        assert_true(done[i] > CALLS && refused[i] > CALLS);
    assert_true(handed_out > 0); /* how many depends on who runs when */

    w.domain[0].dying = true;
    r = world_request(&w, DIRECT_TEARDOWN, 0);
    assert_int_equal(world_do(&w, 0, &r, 100).status, DIRECT_DONE);
    for (unsigned i = 1; i < FRAMES; i++)
        assert_int_equal(w.frame[i].refs, 0);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vcpus_need_no_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
