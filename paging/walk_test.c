/* test: with paging/ test/model/ */
/*
 * The walker against the naive processor, on random tables in every mode: outcome, error
 * code, frame, and the accessed and dirty bits that it leaves in memory.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/walk.h"
#include "test/model/world.h"

static const struct world_setup setup = {
    .gfns = 96, .spare = 4, .pairs = 64, .maxphys = 40, .gb1 = true
};

static uint64_t seed;

static uint64_t rnd(void)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void put(struct world *w, uint64_t gpa, uint64_t value, unsigned bytes)
{
    uint64_t mfn = w->mfn_of_page[w->memory.page_of[gpa >> 12]];

    mmu_write_memory(&w->memory, gpa, &value, bytes);
    memcpy(w->phys.base + mfn * 4096 + (gpa & 4095), &value, bytes);
}

static bool same_memory(const struct world *w)
{
    for (uint32_t page = 0; page < 8; page++)
        if (memcmp(w->memory.bytes + page * 4096, w->phys.base + w->mfn_of_page[page] * 4096,
                   4096) != 0)
            return false;
    return true;
}

static uint64_t some_entry(unsigned level, uint64_t child)
{
    uint64_t e = child << 12 | (rnd() & 0xfff);

    e |= rnd() % 8 ? 1 : 0;
    e |= rnd() % 2 ? 6 : 0;
    if (rnd() % 4 || level == 1)
        e &= ~UINT64_C(0x80);
    if (e & 0x80 && rnd() % 8)
        e &= rnd() % 2 ? UINT64_C(0x1fff) : UINT64_C(0xfff);
    if (rnd() % 8 == 0)
        e |= UINT64_C(1) << (12 + rnd() % 52);
    return e;
}

/* Frames 1 to 5 are the tables on the way, from the root down; 6 is a table in two places. */
static struct mmu_registers some_tables(struct world *w, uint64_t *va)
{
    static const struct {
        unsigned levels, bits, bytes;
        uint64_t cr4, efer;
    } kinds[] = {
        { 2, 10, 4, 0, 0 },
        { 3, 9, 8, 0x20, 0 },
        { 4, 9, 8, 0x20, 0x500 },
        { 5, 9, 8, 0x1020, 0x500 },
    };
    unsigned             kind = rnd() % 4, levels = kinds[kind].levels;
    struct mmu_registers regs = { .cr0 = 0x80000011 | (rnd() & 0x10000), .cr3 = 0x1000 };

    regs.cr4 = kinds[kind].cr4 | (rnd() & 0x300010);
    regs.efer = kinds[kind].efer | (rnd() & 0x800);
    *va = rnd();
    if (levels <= 3)
        *va &= 0xffffffff;
    else
        *va = (uint64_t)((int64_t)(*va << (levels == 4 ? 16 : 7)) >> (levels == 4 ? 16 : 7));
    for (unsigned l = levels; l >= 1; l--) {
        unsigned width = levels == 3 && l == 3 ? 2 : kinds[kind].bits;
        uint64_t index = *va >> (12 + kinds[kind].bits * (l - 1)) & ((1u << width) - 1);
        uint64_t table = rnd() % 16 ? levels - l + 1 : 6,
                 child = rnd() % 8 ? levels - l + 2 : rnd() % 100;
        uint64_t e = some_entry(l, child);

        if (levels == 3 && l == 3)
            e &= ~UINT64_C(0xfffff000000001e6);
        put(w, table << 12 | index * kinds[kind].bytes, e, kinds[kind].bytes);
    }
    return regs;
}

static void compare(struct world *w, uint64_t start, unsigned *ok)
{
    struct world_vcpu   *v = &w->vcpu[0];
    uint64_t             va;
    struct mmu_registers regs = some_tables(w, &va);
    unsigned             acc = rnd() & 15, marks;
    struct walk          walk;
    struct mmu_outcome   want;

    if ((acc & ACC_FETCH) && (acc & ACC_WRITE))
        acc &= ~(unsigned)ACC_WRITE;
    if (!mmu_write_registers(&v->naive, &regs, true))
        return;
    paging_note_regs((struct paging_locked){ &w->domain }, &v->core,
                     &(struct paging_regs){ regs.cr0, regs.cr3, regs.cr4, regs.efer });
    walk_guest(&v->core, gva_of(va), acc, &walk);
    want = mmu_access(&v->naive, va, world_naive_access(acc));
    if ((walk.status == WALK_OK) != want.ok ||
        (want.ok ? walk.gfn.raw != want.gpa >> 12 : walk_pfec(&v->core, &walk, acc) != want.error))
        fail_msg("SEED=%" PRIu64 ": status %d, want ok %d error %#x gpa %#" PRIx64, start,
                 (int)walk.status, want.ok, want.error, want.gpa);
    *ok += want.ok;
    for (unsigned tries = 0; want.ok && !walk_mark(&v->core, &walk, acc, &marks); tries++) {
        assert_true(tries < 8);
        walk_guest(&v->core, gva_of(va), acc, &walk);
    }
    if (!same_memory(w))
        fail_msg("SEED=%" PRIu64 ": accessed and dirty bits differ", start);
}

static void it_agrees_with_the_naive_processor_on_random_tables(void **state)
{
    const char   *from = getenv("SEED");
    unsigned      rounds = from ? 1 : 200000, ok = 0;
    uint64_t      first = from ? strtoull(from, NULL, 0) : 1;
    struct world *w = world_create(&setup);

    (void)state;
    assert_string_equal(w->failure, "");
    for (unsigned n = 0; n < rounds; n++) {
        seed = (first + n) * 1000003;
        for (uint64_t page = 0; page < 8; page++) {
            memset(w->memory.bytes + page * 4096, 0, 4096);
            memset(w->phys.base + w->mfn_of_page[page] * 4096, 0, 4096);
        }
        compare(w, first + n, &ok);
    }
    assert_true(from != NULL || ok > rounds / 20); /* or the generator makes nothing but garbage */
    while (!paging_domain_reap((struct paging_locked){ &w->domain }, 100000))
        ;
    world_free(w);
}

/* Somebody else changed the entry between the walk and the mark. */
static void an_entry_that_changed_meanwhile_is_not_marked(void **state)
{
    struct world      *w = world_create(&setup);
    struct world_vcpu *v = &w->vcpu[0];
    struct paging_regs regs = { 0x80010011, 0x1000, 0x20, 0x500 };
    unsigned           marks;
    struct walk        walk;
    uint64_t           found;

    (void)state;
    for (uint64_t t = 1; t <= 4; t++)
        put(w, t << 12, (t + 1) << 12 | 7, 8);
    paging_note_regs((struct paging_locked){ &w->domain }, &v->core, &regs);
    walk_guest(&v->core, gva_of(0), ACC_WRITE, &walk);
    assert_int_equal(walk.status, WALK_OK);
    put(w, 4 << 12, 9 << 12 | 7, 8);
    assert_false(walk_mark(&v->core, &walk, ACC_WRITE, &marks));
    memcpy(&found, w->phys.base + w->mfn_of_page[4] * 4096, 8);
    assert_int_equal(found, 9 << 12 | 7);
    walk_guest(&v->core, gva_of(0), ACC_WRITE, &walk);
    assert_true(walk_mark(&v->core, &walk, ACC_WRITE, &marks));
    memcpy(&found, w->phys.base + w->mfn_of_page[4] * 4096, 8);
    assert_int_equal(found, 9 << 12 | 0x67);
    assert_int_equal(marks, 2); /* the upper levels had A already */
    assert_true(walk_mark(&v->core, &walk, ACC_WRITE, &marks));
    assert_int_equal(marks, 0);
    while (!paging_domain_reap((struct paging_locked){ &w->domain }, 100000))
        ;
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_agrees_with_the_naive_processor_on_random_tables),
        cmocka_unit_test(an_entry_that_changed_meanwhile_is_not_marked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
