/* test: with paging/ test/model/ */
/*
 * Guards, one story each, in two worlds (test/model/world.h): a write that passes a guard unseen
 * fails the step, and so does a guarded frame that anything maps writable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "test/model/world.h"

#define ROOT  1
#define FLAGS 7 /* present, writable, user */

static const struct world_setup setup = {
    .smp = true,
    .gfns = 96,
    .spare = 4,
    .pairs = 128,
    .maxphys = 40,
    .audit = 1,
    .tlbs = 1,
};

static void step(struct world *w, struct op op)
{
    if (!world_do(w, &op))
        fail_msg("%s", w->failure);
}

static void store(struct world *w, unsigned vcpu, uint64_t va)
{
    step(w, (struct op){ .kind = OP_WRITE,
                         .vcpu = (uint8_t)vcpu,
                         .acc = ACC_WRITE,
                         .length = 8,
                         .va = va,
                         .value = 0x1234 });
}

/* Two guards of a vCPU: at an address, and so many bytes behind it. */
static void guard(struct world *w, unsigned vcpu, uint64_t va, uint64_t distance)
{
    step(w,
         (struct op){
             .kind = OP_GUARD, .vcpu = (uint8_t)vcpu, .length = 8, .va = va, .value = distance });
}

static void unguard(struct world *w, unsigned vcpu)
{
    step(w, (struct op){ .kind = OP_GUARD, .vcpu = (uint8_t)vcpu, .length = 1 });
}

static void poke(struct world *w, uint64_t gfn, unsigned index, uint64_t value)
{
    step(w,
         (struct op){ .kind = OP_POKE, .length = 8, .va = gfn << 12 | index * 8, .value = value });
}

static void set(struct world *w, unsigned vcpu, enum op_kind kind, uint64_t value)
{
    step(w,
         (struct op){ .kind = (uint8_t)kind, .vcpu = (uint8_t)vcpu, .length = 8, .value = value });
}

/* Virtual page i is guest frame i, by table 5, which is linked 2 MiB on as well. */
static void four_levels(struct world *w, unsigned vcpu)
{
    poke(w, ROOT, 0, 3 << 12 | FLAGS);
    poke(w, 3, 0, 4 << 12 | FLAGS);
    poke(w, 4, 0, 5 << 12 | FLAGS);
    poke(w, 4, 1, 5 << 12 | FLAGS);
    for (unsigned i = 0; i < setup.gfns; i++)
        poke(w, 5, i, (uint64_t)i << 12 | FLAGS);
    set(w, vcpu, OP_EFER, 0x900);
    set(w, vcpu, OP_CR4, 0x20);
    set(w, vcpu, OP_CR3, ROOT << 12);
    set(w, vcpu, OP_CR0, 0x80010011);
}

static struct frame *frame_of(struct world *w, uint64_t gfn)
{
    return &w->phys.frame[w->mfn_of_page[w->memory.page_of[gfn]]];
}

static void end(struct world *w)
{
    if (!world_check(w) || !world_finish(w))
        fail_msg("%s", w->failure);
    world_free(w);
}

static void every_write_to_a_guarded_page_is_emulated_and_to_others_none(void **state)
{
    struct world *w = world_create(&setup);

    (void)state;
    store(w, 0, 0x20000);
    store(w, 0, 0x21000);
    guard(w, 0, 0x20008, 103);
    for (unsigned i = 0; i < 3; i++)
        store(w, 0, 0x20100 + 8 * i);
    store(w, 0, 0x21000);
    assert_int_equal(w->counts.emulated, 3);
    assert_int_equal(w->counts.guarded, 3);
    unguard(w, 0);
    store(w, 0, 0x20000);
    assert_int_equal(w->counts.emulated, 3);
    assert_int_equal(frame_of(w, 0x20)->guest.guarded, 0);
    end(w);
}

static void the_second_byte_may_be_in_another_page(void **state)
{
    struct world *w = world_create(&setup);

    (void)state;
    guard(w, 0, 0x20ff0, 103);
    store(w, 0, 0x20000);
    store(w, 0, 0x21000);
    store(w, 0, 0x22000);
    assert_int_equal(w->counts.emulated, 2);
    end(w);
}

static void a_page_that_becomes_another_frame_is_guarded_there(void **state)
{
    struct world *w = world_create(&setup);

    (void)state;
    four_levels(w, 0);
    guard(w, 0, 0x20000, 103);
    store(w, 0, 0x20000);
    assert_int_equal(frame_of(w, 0x20)->guest.guarded, 1);
    poke(w, 5, 0x20, 0x30 << 12 | FLAGS);
    set(w, 0, OP_CR3, ROOT << 12);
    store(w, 0, 0x220000); /* the same entry of ours, by another way */
    store(w, 0, 0x20000);
    store(w, 0, 0x220000);
    assert_int_equal(frame_of(w, 0x30)->guest.guarded, 1);
    assert_int_equal(frame_of(w, 0x20)->guest.guarded, 0);
    end(w);
}

static void what_one_vcpu_guards_another_that_guards_it_too_does_not_write_unseen(void **state)
{
    struct world *w = world_create(&setup);

    (void)state;
    four_levels(w, 0);
    four_levels(w, 1);
    guard(w, 0, 0x20000, 8);
    guard(w, 1, 0x20000, 8);
    store(w, 0, 0x20000);
    store(w, 1, 0x20000);
    guard(w, 0, 0x31000, 8);
    store(w, 0, 0x31000); /* the first one's guard is elsewhere now */
    store(w, 0, 0x20000);
    assert_int_equal(frame_of(w, 0x20)->guest.guarded, 0);
    store(w, 1, 0x20000);
    assert_int_equal(frame_of(w, 0x20)->guest.guarded, 1);
    assert_int_equal(w->counts.guarded, 4);
    end(w);
}

static void a_frame_that_leaves_the_guest_is_guarded_by_nobody(void **state)
{
    struct world *w = world_create(&setup);
    struct frame *frame = frame_of(w, 0x20);

    (void)state;
    guard(w, 0, 0x20000, 8);
    store(w, 0, 0x20000);
    assert_int_equal(frame->guest.guarded, 1);
    step(w, (struct op){ .kind = OP_P2M, .length = 8, .va = 0x20, .acc = MMU_HOLE });
    assert_int_equal(frame->guest.guarded, 0);
    assert_false(mfn_valid(w->vcpu[0].core.guard.mfn[0]));
    end(w);
}

static void what_cannot_be_emulated_there_is_refused(void **state)
{
    struct world        *w = world_create(&setup);
    struct paging_locked lock = { &w->domain };
    mfn_t                mfn = mfn_of(w->mfn_of_page[w->memory.page_of[0x20]]);

    (void)state;
    guard(w, 0, 0x20000, 8);
    store(w, 0, 0x20000);
    assert_int_equal(paging_unshadow(lock, mfn).kind, VERDICT_CRASH);
    paging_guard_lift(lock, mfn);
    assert_int_equal(paging_unshadow(lock, mfn).kind, VERDICT_RETRY);
    end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_write_to_a_guarded_page_is_emulated_and_to_others_none),
        cmocka_unit_test(the_second_byte_may_be_in_another_page),
        cmocka_unit_test(a_page_that_becomes_another_frame_is_guarded_there),
        cmocka_unit_test(what_one_vcpu_guards_another_that_guards_it_too_does_not_write_unseen),
        cmocka_unit_test(a_frame_that_leaves_the_guest_is_guarded_by_nobody),
        cmocka_unit_test(what_cannot_be_emulated_there_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
