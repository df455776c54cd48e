/* test: with paging/ test/direct/world.c test/direct/naive.c test/direct/dice.c test/direct/shadowed.c */
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
#include "shadowed.h"
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
static unsigned long done, pins, roots, linear, quiet, finished, handed_out, made;

static struct shadowed shadowed;

/* An address that leads somewhere, if it is easily found. */
static uint64_t some_address(const struct world *w, mfn_t root)
{
    uint64_t va = dice(64) * 64;
    unsigned frame = (unsigned)root.raw;

    for (unsigned level = 4; level > 0; level--) {
        unsigned index = dice_index();

        for (unsigned i = 0; i < 8 && frame < w->frames && dice(8) != 0; i++)
            if ((*world_entry(w, frame, index) & PTE_P) == 0)
                index = dice_index();
        if (frame < w->frames)
            frame = (unsigned)pte_frame((pte_t){ *world_entry(w, frame, index) });
        va |= (uint64_t)index << (PAGE_SHIFT + 9 * (level - 1));
    }
    return (va >> 47 & 1) != 0 ? va | UINT64_C(0xffff) << 48 : va;
}

/* The hypervisor's entries, which the processor may walk and we do not: ours, in direct mode. */
static bool is_through_slots(uint64_t va)
{
    for (unsigned level = 1; level <= 4; level++)
        if ((va >> (PAGE_SHIFT + 9 * (level - 1)) & 511) - DIRECT_SLOT_FIRST < DIRECT_SLOTS)
            return true;
    return false;
}

static uint64_t last; /* address that was used: it is used again */

/* Somebody uses memory: it goes as the naive processor says. */
static void access(struct world *w, unsigned long seed)
{
    static const unsigned kinds[] = { 0, 0, ACC_WRITE, ACC_WRITE, ACC_FETCH };
    unsigned              vcpu = dice(w->vcpus), user = dice(2), acc = kinds[dice(5)], code;
    mfn_t                 root = w->vcpu[vcpu].root[user];
    uint64_t              va = last;
    struct outcome        o;
    int                   frame;

    if (mfn_valid(root) && dice(2) != 0)
        va = last = some_address(w, root);
    if (!mfn_valid(root) || (!shadowed.on && is_through_slots(va)))
        return;
    frame = naive_access(&naive, (int)root.raw, va, (acc & ACC_WRITE) != 0, (acc & ACC_FETCH) != 0,
                         &code);
    o = shadowed_access(&shadowed, vcpu, user != 0, va, acc);
    if (o.made ? o.frame != (unsigned)frame : frame != 0 || o.pfec != code)
        fail_msg("SEED=%lu: access %u to %llx under root %u, %s: %s %u, code %x; should be %d, %x",
                 seed, acc, (unsigned long long)va, (unsigned)root.raw,
                 shadowed.on ? "shadowed" : "direct", o.made ? "frame" : "fault", o.frame, o.pfec,
                 frame, code);
    made += o.made && shadowed.on;
}

static void request(struct world *w, struct direct_request r, unsigned *given, unsigned long seed)
{
    unsigned              vcpu = dice(2);
    bool                  expected = naively(w, vcpu, &r);
    struct direct_verdict v = world_do(w, vcpu, &r, dice(2) ? 100000 : dice(600));

    if ((v.status == DIRECT_DONE) != expected ||
        (v.status != DIRECT_DONE && v.status != DIRECT_REFUSED))
        fail_msg("SEED=%lu: %d of frame %llu index %u value %llx: status %d error %d, expected %d "
                 "%s",
                 seed, r.op, (unsigned long long)r.mfn.raw, r.index, (unsigned long long)r.value,
                 v.status, v.error, expected, v.why ? v.why : "");
    if (getenv("VERBOSE"))
        printf("op %d frame %d index %u value %llx kind %u: %d\n", r.op, (int)r.mfn.raw, r.index,
               (unsigned long long)r.value, r.kind, expected);
    dice_answered(&r, expected, given);
    done += expected;
    pins += expected && r.op == DIRECT_PIN;
    roots += expected && r.op == DIRECT_ROOT;
}

/* A table that has shadows is unpinned, and unlinked wherever it is found: it may be none any more. */
static void let_go(struct world *w, unsigned *given, unsigned long seed)
{
    unsigned              f = 1 + dice(FRAMES - 3);
    struct direct_request r = world_request(w, DIRECT_UNPIN, f);

    if (w->frame[f].guest.shadows == 0)
        return;
    request(w, r, given, seed);
    for (unsigned t = 1; t < FRAMES - 2; t++) {
        struct type type = type_read(&w->machine, mfn_of(t));

        for (r.index = 0; type_is_live(type) && r.index < DIRECT_ENTRIES; r.index++) {
            r = (struct direct_request){ .op = DIRECT_UPDATE,
                                         .owner = r.owner,
                                         .from = r.from,
                                         .mfn = mfn_of(t),
                                         .index = r.index };
            if ((*world_entry(w, t, r.index) & PTE_P) != 0 &&
                pte_frame(table_read(&w->machine, r.mfn, r.index)) == f)
                request(w, r, given, seed);
        }
    }
}

/* The domain is switched at any moment, to what it is not or back before that is done. */
static void switch_mode(struct world *w, unsigned long limit)
{
    (void)!shadowed_switch(&shadowed, dice(2) != 0, dice(200));
    naive.l1tf_limit = w->domain[0].shadowed ? 0 : limit;
}

static void same(struct world *w, unsigned long seed)
{
    for (unsigned frame = 1; frame < FRAMES; frame++) {
        same_frame(w, frame);
        linear += type_read(&w->machine, mfn_of(frame)).count > 0 &&
                  type_read(&w->machine, mfn_of(frame)).linear > 0;
    }
    if (!shadowed_sound(&shadowed))
        fail_msg("SEED=%lu: %s", seed, shadowed.why);
}

static void one_at_a_time(unsigned long seed, unsigned long operations, bool switched)
{
    static struct world w;
    unsigned            given[FRAMES] = { 0 };
    unsigned long       limit = seed % 3 == 0 ? 6 : 0;

    dice_seed(seed);
    memset(&naive, 0, sizeof(naive));
    naive.frames = FRAMES;
    naive.l1tf_limit = limit;
    world_init(&w, FRAMES, 2, limit);
    w.machine.quick = seed % 2;
    w.machine.wide = seed / 2 % 2;
    w.frame[FRAMES - 1].kind = FRAME_POOL; /* of the domain, and not its memory */
    naive.foreign[FRAMES - 1] = true;
    w.frame[FRAMES - 2].owner = w.domain[1].id; /* somebody else's */
    naive.foreign[FRAMES - 2] = true;
    naive.slots = &w.machine.slots[0].raw;
    shadowed_init(&shadowed, &w);
    dice_builds(switched);
    last = 0;
    for (unsigned long i = 0; i < operations; i++) {
        if (switched && dice(30) == 0)
            switch_mode(&w, limit);
        (void)!shadowed_work(&shadowed, dice(30));
        for (unsigned n = dice(8); n > 0; n--)
            access(&w, seed);
        request(&w, dice_request(&w, given), given, seed);
        if (switched && dice(10) == 0)
            let_go(&w, given, seed);
        same(&w, seed);
    }
    world_free(&w);
}

static void calls_cut_anywhere_do_what_the_naive_model_says(void **state)
{
    unsigned long seed = from_environment("SEED", 1), operations = from_environment("OPS", 1500);

    (void)state;
    for (unsigned long i = 0; i < 4; i++)
        one_at_a_time(seed + i, operations, false);
    assert_true(done > operations / 2 && pins > operations / 50 && roots > operations / 100);
    assert_true(linear > 0);
}

static void a_switch_to_shadows_and_back_changes_nothing_for_the_guest(void **state)
{
    unsigned long   seed = from_environment("SEED", 1), operations = from_environment("OPS", 1500);
    struct shadowed sum = { 0 };

    (void)state;
    made = 0;
    for (unsigned long i = 0; i < 6; i++) {
        one_at_a_time(seed + i, operations, true);
        sum.switches += shadowed.switches;
        sum.fixed += shadowed.fixed;
        sum.reflected += shadowed.reflected;
        sum.follows += shadowed.follows;
        sum.unshadows += shadowed.unshadows;
        sum.remembered_used += shadowed.remembered_used;
    }
    if (getenv("VERBOSE"))
        printf("switches %lu fixed %lu reflected %lu follows %lu unshadows %lu remembered %lu made "
               "%lu\n",
               sum.switches, sum.fixed, sum.reflected, sum.follows, sum.unshadows,
               sum.remembered_used, made);
    assert_true(sum.switches > operations / 100 && made > operations / 20);
    assert_true(sum.reflected > operations / 20 && sum.fixed > operations / 20);
    assert_true(sum.follows > operations / 20 && sum.unshadows > operations / 100);
    assert_true(sum.remembered_used > operations / 100);
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
    mfn_t mfn = MFN_NONE;

    (void)!shadowed_work(&shadowed, dice(30));
    if (mfn_valid(direct_freed_first(&w->machine)) &&
        !paging_pv_knows(&w->phys, direct_freed_first(&w->machine)))
        mfn = direct_freed(&w->machine);
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
    assert_int_equal(w->frame[mfn.raw].guest.shadows, 0);
    assert_int_equal(w->frame[mfn.raw].guest.mapped.leaves[0][0] |
                         w->frame[mfn.raw].guest.mapped.leaves[0][1],
                     0);
    direct_allocate(&w->domain[0], mfn);
    handed_out++;
}

/* A table that has shadows loses an entry that leads to it; without one, a pin. */
static struct direct_request unlink_request(struct world *w, const unsigned *given)
{
    struct direct_request r = world_request(w, DIRECT_UNPIN, 1);

    for (unsigned i = 0; i < FRAMES && w->frame[r.mfn.raw].guest.shadows == 0; i++)
        r.mfn = mfn_of(1 + dice(FRAMES - 3));
    if (w->frame[r.mfn.raw].guest.shadows == 0)
        return dice_request(w, given);
    for (unsigned t = 1; t < 9; t++) {
        for (unsigned i = 0; i < 3; i++) {
            uint64_t e = *world_entry(w, t, i);

            if ((e & PTE_P) != 0 && pte_frame((pte_t){ e }) == r.mfn.raw) {
                r.op = DIRECT_UPDATE;
                r.mfn = mfn_of(t);
                r.index = i;
                return r;
            }
        }
    }
    return r;
}

static void vcpu_does_something(struct world *w, unsigned vcpu, unsigned *given)
{
    struct direct_vcpu   *v = &w->vcpu[vcpu];
    struct direct_verdict verdict;

    if (!actor[vcpu].busy) {
        actor[vcpu].request = dice(4) == 0 ? unlink_request(w, given) : dice_request(w, given);
        actor[vcpu].busy = true;
        if (actor[vcpu].request.op == DIRECT_PUT)
            given[actor[vcpu].request.mfn.raw]--;
    }
    if (!v->running || v->phase == PHASE_ASK) {
        if (v->phase == PHASE_ASK && v->running)
            world_carry_out(w, v);
        direct_begin(v, &actor[vcpu].request,
                     dice(shadowed.on ? 8 : 2) == 0 ? 1 + dice(3) : dice(600));
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

/* A table has changed, and its shadows are just about to follow. */
static bool follows(const struct world *w)
{
    for (unsigned i = 0; i < w->vcpus; i++)
        if (w->vcpu[i].running && w->vcpu[i].phase == PHASE_ASK &&
            w->vcpu[i].ask.kind == DIRECT_ASK_FOLLOW)
            return true;
    return false;
}

static void check(struct world *w, unsigned long seed, unsigned long step)
{
    if (!world_sound(w))
        fail_msg("SEED=%lu step %lu: %s", seed, step, w->why);
    if (!follows(w) && !shadowed_sound(&shadowed))
        fail_msg("SEED=%lu step %lu: %s", seed, step, shadowed.why);
}

/* A vCPU that waits for no answer uses memory; now and then the domain is switched. */
static void shadows_do_something(struct world *w)
{
    static const unsigned kinds[] = { 0, ACC_WRITE, ACC_FETCH };
    unsigned              vcpu = dice(w->vcpus), user = dice(2), count = dice(8);
    mfn_t                 root = w->vcpu[vcpu].root[user];

    if (dice(200) == 0)
        (void)!shadowed_switch(&shadowed, dice(2) != 0, dice(200));
    for (unsigned i = 0; i < count && shadowed.on && mfn_valid(root) && !w->vcpu[vcpu].running; i++)
        made +=
            shadowed_access(&shadowed, vcpu, user != 0, some_address(w, root), kinds[dice(3)]).made;
}

/* What is under way comes to its end; then the domain does. */
static void end(struct world *w, unsigned long seed, unsigned *given)
{
    struct direct_verdict verdict;
    struct direct_request r;
    unsigned              freed = 0;

    for (unsigned i = 0; i < 3; i++) {
        while (w->vcpu[i].running || direct_unfinished(&w->vcpu[i])) {
            vcpu_does_something(w, i, given);
            check(w, seed, 0);
        }
        w->loaded[i][0] = w->loaded[i][1] = MFN_NONE;
    }
    dice_gives(true);
    while (!shadowed_end(&shadowed, 20))
        check(w, seed, 0);
    assert_true(world_quiet(w));
    w->domain[0].dying = true;
    r = world_request(w, DIRECT_TEARDOWN, 0);
    verdict = world_do(w, 0, &r, dice(40));
    assert_int_equal(verdict.status, DIRECT_DONE);
    check(w, seed, 0);
    while (mfn_valid(direct_freed(&w->machine)))
        freed++;
    for (unsigned i = 1; i < FRAMES; i++)
        if (w->frame[i].refs != 0 || type_read(&w->machine, mfn_of(i)).count != 0)
            fail_msg("SEED=%lu frame %u is not free in the end", seed, i);
    assert_int_equal(freed, FRAMES - 1);
}

/* Tables that lead to memory, as the guest's kernel has them at first. */
static void build(struct world *w)
{
    struct direct_request r = world_request(w, DIRECT_ROOT, 1);

    for (unsigned level = 4; level > 1; level--)
        for (unsigned i = 0; i < 2; i++)
            *world_entry(w, 9 - 2 * level, i) = ENTRY(11 - 2 * level + i, RW);
    for (unsigned i = 0; i < 3; i++)
        *world_entry(w, 7, i) = *world_entry(w, 8, i) = ENTRY(9 + i % 2, RW);
    for (unsigned vcpu = 0; vcpu < w->vcpus; vcpu++) {
        assert_int_equal(world_do(w, vcpu, &r, 10000).status, DIRECT_DONE);
        r.user = !r.user;
    }
}

static void side_by_side(unsigned long seed, unsigned long steps, bool switched)
{
    static struct world w;
    unsigned            given[FRAMES] = { 0 };

    dice_seed(seed);
    dice_gives(false);
    memset(actor, 0, sizeof(actor));
    world_init(&w, FRAMES, 3, seed % 3 == 0 ? 6 : 0);
    w.machine.quick = seed % 2;
    w.machine.wide = seed / 2 % 2;
    w.machine.clock = seed % 4 == 0 ? 0xfffffff0 : 1;
    shadowed_init(&shadowed, &w);
    dice_builds(switched);
    if (switched)
        build(&w);
    for (unsigned long i = 0; i < steps; i++) {
        switch (dice(8)) {
        case 0:
            processors_do_something(&w);
            break;
        case 1:
            allocator_does_something(&w);
            break;
        case 2:
        case 3:
            if (switched)
                shadows_do_something(&w);
            break;
        default:
            vcpu_does_something(&w, dice(3), given);
        }
        check(&w, seed, i);
        quiet += world_quiet(&w);
    }
    end(&w, seed, given);
    world_free(&w);
}

static void vcpus_side_by_side_break_nothing_at_any_step(void **state)
{
    unsigned long seed = from_environment("SEED", 1), steps = from_environment("STEPS", 6000);

    (void)state;
    for (unsigned long i = 0; i < 8; i++)
        side_by_side(seed + i, steps, false);
    assert_true(quiet > 0 && finished > steps / 20 && handed_out > 8);
}

static void vcpus_side_by_side_and_shadows_break_nothing_at_any_step(void **state)
{
    unsigned long seed = from_environment("SEED", 1), steps = from_environment("STEPS", 10000);
    unsigned long switches = 0, asked = 0;

    (void)state;
    made = 0;
    for (unsigned long i = 0; i < 8; i++) {
        side_by_side(seed + i, steps, true);
        switches += shadowed.switches;
        asked += shadowed.unshadows;
    }
    if (getenv("VERBOSE"))
        printf("switches %lu made %lu unshadows %lu\n", switches, made, asked);
    assert_true(switches > 8 && made > steps / 100 && asked > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_cut_anywhere_do_what_the_naive_model_says),
        cmocka_unit_test(a_switch_to_shadows_and_back_changes_nothing_for_the_guest),
        cmocka_unit_test(vcpus_side_by_side_break_nothing_at_any_step),
        cmocka_unit_test(vcpus_side_by_side_and_shadows_break_nothing_at_any_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
