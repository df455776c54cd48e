/* test: with paging/ test/direct/world.c test/direct/naive.c test/direct/dice.c */
/*
 * Random guests on direct paging. One at a time, with calls cut at random: what the naive model says
 * happens. Several at once, step by step: the audit finds nothing after any step, and in the end
 * everything is given back. SEED= and OPS= as usual.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dice.h"
#include "naive.h"
#include "world.h"

#define FRAMES 13

static unsigned long from_environment(const char *name, unsigned long otherwise)
{
    const char *value = getenv(name);

    return value ? strtoul(value, NULL, 0) : otherwise;
}

/* ---- one at a time, against the naive model ---- */

static struct naive naive;

static bool naively(const struct world *w, unsigned vcpu, const struct direct_request *r)
{
    int frame = mfn_valid(r->mfn) ? (int)r->mfn.raw : 0;

    (void)w;
    switch (r->op) {
    case DIRECT_UPDATE:
        return naive_update(&naive, frame, r->index, r->value, (r->flags & DIRECT_PRESERVE) != 0);
    case DIRECT_DESCRIPTOR:
        return naive_descriptor(&naive, frame, r->index, r->value);
    case DIRECT_ROOT:
        return naive_root(&naive, (int)vcpu, r->user, frame);
    case DIRECT_PIN:
        return naive_pin(&naive, frame, r->kind);
    case DIRECT_UNPIN:
        return naive_unpin(&naive, frame);
    case DIRECT_GET:
        return naive_get(&naive, frame, r->kind);
    case DIRECT_PUT:
        return naive_put(&naive, frame);
    case DIRECT_TEARDOWN:
    case DIRECT_DRAIN:
        break;
    }
    fail();
    return false;
}

static void same_frame(const struct world *w, unsigned frame)
{
    struct type type = type_read(&w->machine, mfn_of(frame));
    int         f = (int)frame, types = naive_count(&naive, f, 't');

    if (w->frame[frame].kind != FRAME_GUEST)
        return;
    if (type.count != (uint32_t)types ||
        (w->frame[frame].refs & REFS_COUNT) != (uint32_t)naive_count(&naive, f, 'g'))
        fail_msg("frame %u: type %u, %u type and %u general references; should be %d, %d and %d",
                 frame, type.kind, type.count, w->frame[frame].refs & REFS_COUNT, naive.type[frame],
                 types, naive_count(&naive, f, 'g'));
    if (types > 0) {
        assert_int_equal(type.kind, naive.type[frame]);
        assert_true(type.validated && !type.partial);
        if (type_is_table(type.kind))
            assert_int_equal(type.linear,
                             naive_linear_from(&naive, f) - naive_count(&naive, f, 'l'));
    }
    for (unsigned i = 0; i < DIRECT_ENTRIES; i++)
        if (*world_entry(w, frame, i) != naive.memory[frame][i])
            fail_msg("entry %u of frame %u is %llx, and should be %llx", i, frame,
                     (unsigned long long)*world_entry(w, frame, i),
                     (unsigned long long)naive.memory[frame][i]);
}

/* What happened: without it a run would prove nothing. */
static unsigned long done, pins, roots, linear, quiet, finished, handed_out;

static void one_at_a_time(unsigned long seed, unsigned long operations)
{
    static struct world w;
    unsigned            given[FRAMES] = { 0 };

    dice_seed(seed);
    memset(&naive, 0, sizeof(naive));
    naive.frames = FRAMES;
    naive.l1tf_limit = seed % 3 == 0 ? 6 : 0;
    world_init(&w, FRAMES, 2, naive.l1tf_limit);
    w.frame[FRAMES - 1].kind = FRAME_POOL; /* of the domain, and not its memory */
    naive.foreign[FRAMES - 1] = true;
    w.frame[FRAMES - 2].owner = w.domain[1].id; /* somebody else's */
    naive.foreign[FRAMES - 2] = true;
    naive.slots = &w.machine.slots[0].raw;
    for (unsigned long i = 0; i < operations; i++) {
        struct direct_request r = dice_request(&w, given);
        unsigned              vcpu = dice(2);
        bool                  expected = naively(&w, vcpu, &r);
        struct direct_verdict v = world_do(&w, vcpu, &r, dice(2) ? 100000 : dice(600));

        if ((v.status == DIRECT_DONE) != expected ||
            (v.status != DIRECT_DONE && v.status != DIRECT_REFUSED))
            fail_msg(
                "SEED=%lu operation %lu: %d of frame %llu index %u value %llx: status %d error %d, "
                "expected %d %s",
                seed, i, r.op, (unsigned long long)r.mfn.raw, r.index, (unsigned long long)r.value,
                v.status, v.error, expected, v.why ? v.why : "");
        if (getenv("VERBOSE"))
            printf("%lu: op %d frame %d index %u value %llx kind %u: %d\n", i, r.op, (int)r.mfn.raw,
                   r.index, (unsigned long long)r.value, r.kind, expected);
        dice_answered(&r, expected, given);
        done += expected;
        pins += expected && r.op == DIRECT_PIN;
        roots += expected && r.op == DIRECT_ROOT;
        for (unsigned frame = 1; frame < FRAMES; frame++) {
            same_frame(&w, frame);
            linear += type_read(&w.machine, mfn_of(frame)).count > 0 &&
                      type_read(&w.machine, mfn_of(frame)).linear > 0;
        }
    }
    world_free(&w);
}

static void calls_cut_anywhere_do_what_the_naive_model_says(void **state)
{
    unsigned long seed = from_environment("SEED", 1), operations = from_environment("OPS", 1500);

    (void)state;
    for (unsigned long i = 0; i < 4; i++)
        one_at_a_time(seed + i, operations);
    assert_true(done > operations / 2 && pins > operations / 50 && roots > operations / 100);
    assert_true(linear > 0);
}

/* ---- several at once ---- */

static struct {
    bool                  busy;
    struct direct_request request;
} actor[WORLD_VCPUS];

static void processors_do_something(struct world *w)
{
    unsigned cpu = dice(w->vcpus), frame = 1 + dice(FRAMES - 2);

    switch (dice(6)) {
    case 0:
        (void)!world_load_leaf(w, cpu, frame, true);
        break;
    case 1:
        (void)!world_load_table(w, cpu, frame);
        break;
    case 2: /* the guest writes as its TLB lets it */
        if ((w->tlb[cpu].writable >> frame & 1) != 0)
            *world_entry(w, frame, dice_index()) = dice_entry(w);
        break;
    case 3:
        if (!w->ticking[cpu])
            world_flush_begin(w, cpu);
        break;
    case 4:
        if (w->ticking[cpu] && w->tick[cpu] != 0)
            world_flush_end(w, cpu);
        break;
    default: /* walks, and so sets A and D */
        if (type_is_table(type_read(&w->machine, mfn_of(frame)).kind) &&
            type_is_live(type_read(&w->machine, mfn_of(frame)))) {
            uint64_t *e = world_entry(w, frame, dice_index());

            if ((*e & PTE_P) != 0)
                *e |= PTE_A | (dice(2) ? PTE_D : 0);
        }
    }
}

/* Freed frames come back as new ones. */
static void allocator_does_something(struct world *w)
{
    mfn_t mfn = direct_freed(&w->machine);

    if (!mfn_valid(mfn)) {
        if (dice(50) == 0)
            (void)!direct_release(&w->domain[0], mfn_of(1 + dice(FRAMES - 2)));
        return;
    }
    for (unsigned cpu = 0; cpu < w->vcpus; cpu++) {
        if ((direct_stale_cpus(&w->machine, mfn) >> cpu & 1) != 0) {
            world_flush_begin(w, cpu);
            world_flush_end(w, cpu);
        }
        assert_int_equal((w->tlb[cpu].writable | w->tlb[cpu].read) >> mfn.raw & 1, 0);
    }
    direct_allocate(&w->domain[0], mfn);
    handed_out++;
}

static void vcpu_does_something(struct world *w, unsigned vcpu, unsigned *given)
{
    struct direct_vcpu   *v = &w->vcpu[vcpu];
    struct direct_verdict verdict;

    if (!actor[vcpu].busy) {
        actor[vcpu].request = dice_request(w, given);
        actor[vcpu].busy = true;
        if (actor[vcpu].request.op == DIRECT_PUT)
            given[actor[vcpu].request.mfn.raw]--;
    }
    if (!v->running || v->phase == PHASE_ASK) {
        if (v->phase == PHASE_ASK && v->running)
            world_carry_out(w, v);
        direct_begin(v, &actor[vcpu].request, dice(2) ? 1 + dice(3) : dice(600));
    }
    if (direct_step(v))
        return;
    if (v->phase == PHASE_ASK && !v->broken)
        return;
    verdict = direct_end(v);
    if (verdict.status == DIRECT_AGAIN) /* a hostile guest comes with something else */
        actor[vcpu].busy = actor[vcpu].request.op == DIRECT_PUT || dice(8) != 0;
    else {
        actor[vcpu].busy = false;
        finished += verdict.status == DIRECT_DONE;
        if (verdict.status == DIRECT_DONE && actor[vcpu].request.op == DIRECT_GET)
            given[actor[vcpu].request.mfn.raw]++;
    }
}

static void check(struct world *w, unsigned long seed, unsigned long step)
{
    if (!world_sound(w))
        fail_msg("SEED=%lu step %lu: %s", seed, step, w->why);
}

static void side_by_side(unsigned long seed, unsigned long steps)
{
    static struct world   w;
    unsigned              given[FRAMES] = { 0 };
    struct direct_verdict verdict;
    struct direct_request r;
    unsigned              freed = 0;

    dice_seed(seed);
    dice_gives(false);
    memset(actor, 0, sizeof(actor));
    world_init(&w, FRAMES, 3, seed % 3 == 0 ? 6 : 0);
    w.machine.clock = seed % 4 == 0 ? 0xfffffff0 : 1;
    for (unsigned long i = 0; i < steps; i++) {
        switch (dice(8)) {
        case 0:
            processors_do_something(&w);
            break;
        case 1:
            allocator_does_something(&w);
            break;
        default:
            vcpu_does_something(&w, dice(3), given);
        }
        check(&w, seed, i);
        quiet += world_quiet(&w);
    }
    /* What is under way comes to its end; then the domain does. */
    for (unsigned i = 0; i < 3; i++) {
        while (w.vcpu[i].running || direct_unfinished(&w.vcpu[i])) {
            vcpu_does_something(&w, i, given);
            check(&w, seed, steps);
        }
        w.loaded[i][0] = w.loaded[i][1] = MFN_NONE;
    }
    dice_gives(true);
    assert_true(world_quiet(&w));
    w.domain[0].dying = true;
    r = world_request(&w, DIRECT_TEARDOWN, 0);
    verdict = world_do(&w, 0, &r, dice(40));
    assert_int_equal(verdict.status, DIRECT_DONE);
    check(&w, seed, steps);
    while (mfn_valid(direct_freed(&w.machine)))
        freed++;
    for (unsigned i = 1; i < FRAMES; i++)
        if (w.frame[i].refs != 0 || type_read(&w.machine, mfn_of(i)).count != 0)
            fail_msg("SEED=%lu frame %u is not free in the end", seed, i);
    assert_int_equal(freed, FRAMES - 1);
    world_free(&w);
}

static void vcpus_side_by_side_break_nothing_at_any_step(void **state)
{
    unsigned long seed = from_environment("SEED", 1), steps = from_environment("STEPS", 6000);

    (void)state;
    for (unsigned long i = 0; i < 8; i++)
        side_by_side(seed + i, steps);
    assert_true(quiet > 0 && finished > steps / 20 && handed_out > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_cut_anywhere_do_what_the_naive_model_says),
        cmocka_unit_test(vcpus_side_by_side_break_nothing_at_any_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
