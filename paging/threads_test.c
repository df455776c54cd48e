/* test: with paging/ */
/* test: threads */
/*
 * Two vCPUs and a stranger, under ThreadSanitizer.
 *
 * The core is called under the domain's lock, here a real one: the two vCPUs use memory through
 * our tables, take faults, write tables, flush and change roots, each call and each walk of our
 * tables inside the lock, since a vCPU is not in the guest while our tables change. What no lock
 * keeps away are the guest's tables: somebody writes them at any moment, protected or not, as
 * another processor with an old TLB entry or a device would. So everything that the core reads
 * there it must read once and whole, and A and D must be set without losing what was written
 * meanwhile: the stranger counts in the bits that the processor ignores, and the sum must be right.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paging/paging.h"

#define FRAMES  512
#define PAE     2  /* two frames of the hypervisor's for the vCPUs */
#define GUEST   8  /* first frame of the guest's */
#define PAGES   48 /* the guest has so many */
#define POOL    64
#define STEPS   40000
#define COUNTED 16 /* entries in which the stranger counts */
#define INNER   UINT64_C(0x67)
#define ONE     (UINT64_C(1) << 52) /* of the count in an entry: 11 bits, APM vol. 2, 5.4 */
#define COUNT   (UINT64_C(0x7ff) << 52)

/* Guest frames: two roots that share the rest, and two leaf tables. */
enum { ROOT_A = 1, ROOT_B, LEVEL_3, LEVEL_2, COUNTING, WRITTEN, DATA };

static _Alignas(4096) uint8_t memory[FRAMES * PAGE_SIZE];
static struct frame         frames[FRAMES];
static uint16_t             watched[(FRAMES + 511) / 512];
static uint64_t             dirty[(FRAMES + 63) / 64];
static const struct phys    phys = { memory, FRAMES, frames, watched, dirty };
static struct paging_domain domain;
static struct paging_vcpu   vcpu[2];
static pthread_mutex_t      mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t             counted[COUNTED];
static bool                 stop;

static uint64_t *entry_at(uint64_t gfn, unsigned index)
{
    return (uint64_t *)(void *)(memory + (GUEST + gfn) * PAGE_SIZE) + index;
}

static struct paging_locked take(void)
{
    pthread_mutex_lock(&mutex);
    return (struct paging_locked){ &domain };
}

static void leave(void)
{
    pthread_mutex_unlock(&mutex);
}

static uint64_t rnd(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ z >> 29;
}

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* ---- the stranger ---- */

static void count_up(unsigned i)
{
    uint64_t *entry = entry_at(COUNTING, i);
    uint64_t  old = __atomic_load_n(entry, __ATOMIC_RELAXED), next;

    do
        next = ((old + ONE) & COUNT) | (old & ~COUNT & ~UINT64_C(0x60));
    while (
        !__atomic_compare_exchange_n(entry, &old, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    counted[i]++;
}

static void *stranger(void *unused)
{
    uint64_t seed = 99;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        uint64_t dice = rnd(&seed);
        uint64_t entry = (DATA + dice % 16) << 12 | (dice >> 16 & INNER);

        count_up((unsigned)(dice >> 32) % COUNTED);
        if (dice % 8 == 0)
            __atomic_store_n(entry_at(WRITTEN, (unsigned)(dice >> 40) % 32), entry,
                             __ATOMIC_RELAXED);
        if (dice % 64 == 1)
            __atomic_store_n(entry_at(LEVEL_2, 2),
                             (dice >> 50 & 1 ? WRITTEN : COUNTING) << 12 | INNER, __ATOMIC_RELAXED);
    }
    return unused;
}

/* ---- the vCPUs ---- */

/* May the processor do this by our tables? They are four levels here. */
static bool allowed(const struct paging_vcpu *v, uint64_t va, bool write, uint64_t *mfn)
{
    uint64_t e = paging_hw(v).cr3, rights = 2;

    for (unsigned shift = 39; shift >= 12; shift -= 9) {
        e = *(uint64_t *)(void *)(memory + (e & PTE_FRAME) + (va >> shift & 511) * 8);
        if (!(e & 1))
            return false;
        rights &= e;
    }
    *mfn = (e & PTE_FRAME) >> 12;
    return !write || rights != 0;
}

static void write_table(struct paging_locked p, struct paging_vcpu *v, uint64_t va, uint64_t value)
{
    struct paging_reach r = paging_reach(p, v, gva_of(va), ACC_WRITE);

    if (r.kind == REACH_RAM)
        require(paging_write(p, r.mfn, (unsigned)(va & PAGE_MASK), &value, 8).kind ==
                VERDICT_RETRY);
}

static void use(struct paging_vcpu *v, uint64_t va, bool write, uint64_t value)
{
    const struct fault f = { gva_of(va), write ? ACC_WRITE : 0, false };

    for (unsigned tries = 0; tries < 8; tries++) {
        struct paging_locked p = take();
        struct verdict       verdict = { .kind = VERDICT_RETRY };
        uint64_t             mfn;
        bool                 done = allowed(v, va, write, &mfn);

        if (done && write)
            __atomic_store_n((uint64_t *)(void *)(memory + mfn * PAGE_SIZE + (va & PAGE_MASK)),
                             value, __ATOMIC_RELAXED);
        if (!done)
            verdict = paging_fault(p, v, &f);
        if (verdict.kind == VERDICT_EMULATE)
            write_table(p, v, va, value);
        leave();
        require(verdict.kind != VERDICT_CRASH);
        if (done || verdict.kind != VERDICT_RETRY)
            return;
    }
}

static struct verdict install(struct paging_locked p, struct paging_vcpu *v, bool on, uint64_t root)
{
    const struct paging_regs regs = { on ? 0x80010011 : 0x11, root << 12, 0x20,
                                      on ? 0xd00 : 0x900 };
    struct verdict           verdict;

    do
        verdict = paging_set_regs(p, v, &regs);
    while (verdict.again);
    return verdict;
}

static void something_else(struct paging_vcpu *v, uint64_t dice)
{
    struct paging_locked p = take();

    if (dice % 8 < 3)
        require(install(p, v, true, dice >> 8 & 1 ? ROOT_A : ROOT_B).kind == VERDICT_RETRY);
    else if (dice % 8 < 6)
        require(paging_invlpg(p, v, gva_of((dice >> 8) % 64 << 12)).kind == VERDICT_RETRY);
    else if (dice % 8 < 7)
        require(paging_unshadow(p, mfn_of(GUEST + LEVEL_3 + (dice >> 8) % 4)).kind ==
                VERDICT_RETRY);
    else
        (void)!paging_work(p, 64);
    leave();
}

static void *run(void *arg)
{
    struct paging_vcpu *v = arg;
    uint64_t            seed = (uint64_t)(v - vcpu);

    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t dice = rnd(&seed);
        uint64_t page = dice >> 8 & 31, part = dice >> 13 & 3;

        if (dice % 16 == 0)
            something_else(v, dice >> 16);
        else if (dice % 16 < 4) /* through its mapping, entries that the stranger leaves alone */
            use(v, (3 << 21) + (WRITTEN << 12) + (32 + page) * 8, true,
                (DATA + (dice >> 20) % 16) << 12 | INNER);
        else /* at an entry of a table that nobody writes */
            use(v, part << 21 | page << 12 | 0x800, dice >> 16 & 1, dice);
    }
    return NULL;
}

/* ---- from beginning to end ---- */

static void build(void)
{
    struct paging_locked p = { &domain };

    for (unsigned i = 0; i < FRAMES; i++)
        frames[i] = (struct frame){ .kind = i < GUEST ? FRAME_HV : FRAME_GUEST, .owner = 5 };
    pool_init(&domain.pool, &phys, 5);
    for (unsigned i = POOL; i < FRAMES; i += 2)
        pool_add(&domain.pool, mfn_of(i));
    require(paging_domain_init(&domain, &phys, 5, PAGING_SHADOW,
                               (struct pt_features){ 40, true, true }));
    for (unsigned i = 0; i < PAGES; i++)
        require(paging_p2m_set(p, gfn_of(i), (struct p2m_entry){ mfn_of(GUEST + i), P2M_RAM, 0 })
                    .kind == VERDICT_RETRY);
    *entry_at(ROOT_A, 0) = *entry_at(ROOT_B, 0) = LEVEL_3 << 12 | INNER;
    *entry_at(LEVEL_3, 0) = LEVEL_2 << 12 | INNER;
    *entry_at(LEVEL_2, 0) = *entry_at(LEVEL_2, 2) = COUNTING << 12 | INNER;
    *entry_at(LEVEL_2, 1) = WRITTEN << 12 | INNER;
    *entry_at(LEVEL_2, 3) = (DATA + 20) << 12 | INNER; /* maps the tables, and stays */
    for (unsigned i = 0; i < 64; i++) {
        *entry_at(COUNTING, i) = (DATA + i % 16) << 12 | 7;
        *entry_at(DATA + 20, i) = i << 12 | INNER;
    }
    for (unsigned i = 0; i < 2; i++) {
        paging_vcpu_init(&domain, &vcpu[i], mfn_of(PAE + i));
        require(install(p, &vcpu[i], true, ROOT_A).kind == VERDICT_RETRY);
    }
}

/* What was written behind our back is no fault of the core's: all shadows go, the rest is audited. */
static void take_down(void)
{
    struct paging_locked p = { &domain };
    struct audit         audit = { 0 };

    for (unsigned i = 0; i < 2; i++)
        require(install(p, &vcpu[i], false, 0).kind == VERDICT_RETRY);
    for (unsigned i = 0; i < PAGES; i++)
        while (paging_unshadow(p, mfn_of(GUEST + i)).again)
            ;
    paging_audit(p, &audit);
    assert_string_equal(audit.first, "");
    while (!paging_domain_reap(p, 1000))
        ;
    assert_int_equal(pool_free_frames(&domain.pool), domain.pool.total);
}

static void guest_memory_may_change_at_any_moment(void **state)
{
    pthread_t thread[3];

    (void)state;
    build();
    assert_int_equal(pthread_create(&thread[2], NULL, stranger, NULL), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, run, &vcpu[i]), 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread[2], NULL);
    for (unsigned i = 0; i < COUNTED; i++)
        assert_int_equal(*entry_at(COUNTING, i) >> 52 & 0x7ff, counted[i] & 0x7ff);
    assert_true(domain.stats.fixed > 1000);
    assert_true(domain.stats.emulated > 100);
    assert_true(domain.stats.synced > 10);
    take_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_memory_may_change_at_any_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
