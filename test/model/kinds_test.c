/* test: with paging/ test/model/ */
/*
 * What a guest sees does not depend on the kind of paging: a run at random is recorded under shadow
 * paging, and the same operations are made under nested paging, and under both in turn. Each
 * access must end alike (where, with what error code, and what was found there), and in the end
 * memory must be the same, and with it the accessed and dirty bits.
 *
 * A guest that does not flush may see its tables as they were, under shadow paging only. So each
 * access is preceded by an INVLPG.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/model/gen.h"

#define OPERATIONS 6000
#define EVERY      37 /* operations between two changes of the kind */

/* One operation, and what the guest saw of it. */
struct seen {
    struct op           op;
    struct world_ending ending;
};

static struct seen *record;
static size_t       recorded;

static const struct world_setup setup = {
    .gfns = 96,
    .spare = 16,
    .pairs = 256,
    .maxphys = 40,
    .large = true,
    .gb1 = true,
    .audit = 64,
    .tlbs = 16,
};

static struct world *fresh(void)
{
    struct world *w = world_create(&setup);

    assert_string_equal(w->failure, "");
    return w;
}

static bool is_access(const struct op *op)
{
    return op->kind == OP_READ || op->kind == OP_WRITE || op->kind == OP_FETCH ||
           op->kind == OP_CMPXCHG;
}

static void make(struct world *w, const struct op *op)
{
    if (!world_do(w, op))
        fail_msg("operation %zu: %s", (size_t)w->step, w->failure);
}

static struct world_ending access_of(struct world *w, const struct op *op)
{
    struct op flush = { .kind = OP_INVLPG, .vcpu = op->vcpu, .length = 8, .va = op->va };

    make(w, &flush);
    make(w, op);
    return w->saw;
}

/* Left out: what is an operator's, and what a processor may do in two ways (implicit accesses). */
static bool is_left_out(const struct op *op)
{
    return op->kind == OP_KIND || op->kind == OP_GUARD || op->kind == OP_IMPLICIT ||
           op->kind == OP_RIGHTS;
}

static struct world *record_run(uint64_t seed, unsigned modes)
{
    struct world *w = fresh();
    struct gen    g = { .world = w, .modes = modes, .vcpus = 2, .seed = seed };

    recorded = 0;
    while (recorded < OPERATIONS) {
        struct seen *s = &record[recorded];

        *s = (struct seen){ 0 };
        assert_true(gen_next(&g, &s->op));
        if (is_left_out(&s->op))
            continue;
        if (is_access(&s->op))
            s->ending = access_of(w, &s->op);
        else
            make(w, &s->op);
        recorded++;
    }
    assert_int_equal(w->counts.stale, 0);
    assert_true(w->domain.stats.made > 100);
    return w;
}

static void change(struct world *w, enum paging_kind kind)
{
    struct op op = { .kind = OP_KIND, .length = 8, .value = kind == PAGING_NESTED };

    make(w, &op);
}

static void assert_same(const struct seen *s, const struct world_ending *now, size_t i)
{
    const struct world_ending *then = &s->ending;

    if (then->end != now->end || then->at != now->at || then->error != now->error ||
        then->old != now->old)
        fail_msg("operation %zu at %#llx: end %d at %#llx error %#x found %#llx, then end %d at "
                 "%#llx error %#x found %#llx",
                 i, (unsigned long long)s->op.va, (int)then->end, (unsigned long long)then->at,
                 then->error, (unsigned long long)then->old, (int)now->end,
                 (unsigned long long)now->at, now->error, (unsigned long long)now->old);
}

/*
 * PAE's root entries are latched anew by a change. A guest that has written them since it loaded CR3
 * sees that, so it is left in peace until it has loaded them.
 */
static bool roots_are_as_latched(const struct world *w)
{
    for (unsigned i = 0; i < w->vcpus; i++) {
        const struct mmu *naive = &w->vcpu[i].naive;
        uint64_t          now[4];

        mmu_read_memory(&w->memory, naive->regs.cr3 & 0xffffffe0, now, sizeof(now));
        if ((naive->regs.cr0 >> 31 & 1) && (naive->regs.cr4 >> 5 & 1) &&
            !(naive->regs.efer >> 10 & 1) && memcmp(now, naive->pdpte, sizeof(now)) != 0)
            return false;
    }
    return true;
}

/* `every`: operations between two changes, or more; 0: all under nested paging. */
static struct world *repeat(size_t every)
{
    struct world    *w = fresh();
    enum paging_kind kind = PAGING_NESTED;
    size_t           left = every;

    change(w, kind);
    for (size_t i = 0; i < recorded; i++) {
        if (every != 0 && left > 0)
            left--;
        if (every != 0 && left == 0 && roots_are_as_latched(w)) {
            kind = kind == PAGING_NESTED ? PAGING_SHADOW : PAGING_NESTED;
            change(w, kind);
            left = every;
        }
        if (is_access(&record[i].op)) {
            struct world_ending now = access_of(w, &record[i].op);

            assert_same(&record[i], &now, i);
        } else {
            make(w, &record[i].op);
        }
    }
    assert_true(w->counts.nested > OPERATIONS / 10);
    return w;
}

static void assert_same_memory(const struct world *a, const struct world *b)
{
    for (uint32_t page = 0; page < a->memory.pages; page++)
        assert_memory_equal(a->phys.base + a->mfn_of_page[page] * 4096,
                            b->phys.base + b->mfn_of_page[page] * 4096, 4096);
}

static void end(struct world *w)
{
    if (!world_check(w) || !world_finish(w))
        fail_msg("%s", w->failure);
    world_free(w);
}

static void compare(unsigned modes, uint64_t seed)
{
    struct world *shadow = record_run(seed, modes), *other;

    for (size_t every = 0; every <= EVERY; every += EVERY) {
        other = repeat(every);
        assert_same_memory(shadow, other);
        end(other);
    }
    end(shadow);
}

static void a_guest_of_four_levels_sees_the_same_under_all_kinds(void **state)
{
    (void)state;
    compare(GEN_64 | GEN_OFF, 1);
}

static void a_guest_of_five_levels_sees_the_same_under_all_kinds(void **state)
{
    (void)state;
    compare(GEN_LA57 | GEN_OFF, 2);
}

static void a_guest_of_all_modes_sees_the_same_under_all_kinds(void **state)
{
    (void)state;
    compare(GEN_64 | GEN_OFF | GEN_PAE | GEN_32, 3);
}

static int make_record(void **state)
{
    (void)state;
    record = calloc(OPERATIONS, sizeof(*record));
    return record == NULL;
}

static int free_record(void **state)
{
    (void)state;
    free(record);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_of_four_levels_sees_the_same_under_all_kinds),
        cmocka_unit_test(a_guest_of_five_levels_sees_the_same_under_all_kinds),
        cmocka_unit_test(a_guest_of_all_modes_sees_the_same_under_all_kinds),
    };

    return cmocka_run_group_tests(tests, make_record, free_record);
}
