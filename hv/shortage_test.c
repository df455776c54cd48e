/* test: with paging/ hv/ */
/* test: wrap alloc_frames alloc_bytes shadow_reserve pool_single */
/*
 * Short of memory: while a domain is made, and in each hypercall that needs memory, every
 * allocation fails in turn. What cannot be done is refused or ends the domain with a sentence;
 * the audit is clean, and all frames come back.
 */
#include "hv/domain_world.h"
#include "hv/kind.h"
#include "hv/multiboot.h"
#include "paging/shadow.h"

mfn_t __real_alloc_frames(unsigned order, enum alloc_zone zone);
mfn_t __wrap_alloc_frames(unsigned order, enum alloc_zone zone);
void *__real_alloc_bytes(size_t bytes);
void *__wrap_alloc_bytes(size_t bytes);
bool  __real_shadow_reserve(struct change *c, unsigned pairs);
bool  __wrap_shadow_reserve(struct change *c, unsigned pairs);
mfn_t __real_pool_single(struct pool *pool, enum frame_kind kind);
mfn_t __wrap_pool_single(struct pool *pool, enum frame_kind kind);

static unsigned requests, refused; /* the request of this number, from 1, is refused */

static bool refuse(void)
{
    return ++requests == refused;
}

mfn_t __wrap_alloc_frames(unsigned order, enum alloc_zone zone)
{
    return refuse() ? MFN_NONE : __real_alloc_frames(order, zone);
}

void *__wrap_alloc_bytes(size_t bytes)
{
    return refuse() ? NULL : __real_alloc_bytes(bytes);
}

bool __wrap_shadow_reserve(struct change *c, unsigned pairs)
{
    return !refuse() && __real_shadow_reserve(c, pairs);
}

mfn_t __wrap_pool_single(struct pool *pool, enum frame_kind kind)
{
    return refuse() ? MFN_NONE : __real_pool_single(pool, kind);
}

static void assert_sound(struct domain *d)
{
    struct audit audit;

    memset(&audit, 0, sizeof(audit));
    paging_audit(domain_lock(d), &audit);
    assert_string_equal(audit.first, "");
}

static void destroy(struct domain *d)
{
    while (!domain_destroy_step(d))
        ;
}

static void make_small(void)
{
    config.memory = 1;
    config.shadow_memory = 2;
    put(64 + 24, 0x10000, 8);
    put(0x410, 0x10040, 8);
}

/* Makes the domain again and again, until nothing is refused; how often it could not be made. */
static unsigned make_in_turn(void)
{
    unsigned failures = 0;

    for (refused = 1;; refused++) {
        struct domain *d;
        uint8_t        text[0x800];

        requests = 0;
        error[0] = '\0';
        d = domain_create(&config, &images, error, sizeof(error));
        failures += d == NULL;
        if (d != NULL) {
            peek(d, 0x10000, text, sizeof(text));
            assert_memory_equal(text, kernel + 0x800, sizeof(text));
            assert_sound(d);
            destroy(d);
        } else {
            assert_int_not_equal(error[0], '\0');
        }
        assert_null(domains);
        assert_int_equal(alloc_free_count(), before);
        assert_int_equal(alloc_audit(), 0);
        assert_int_equal(vcpus_made, 0);
        lines[0] = '\0';
        if (requests < refused)
            break;
    }
    refused = 0;
    return failures;
}

static void each_allocation_that_fails_while_a_pv_domain_is_made_is_survived(void **state)
{
    unsigned failures = 0;

    (void)state;
    config.type = CONFIG_PV;
    config.vcpus = 1;
    config.memory = 6;
    for (refused = 1;; refused++) {
        struct domain *d;

        requests = 0;
        error[0] = '\0';
        d = domain_create(&config, &images, error, sizeof(error));
        failures += d == NULL;
        if (d != NULL)
            destroy(d);
        else
            assert_int_not_equal(error[0], '\0');
        assert_null(domains);
        assert_int_equal(alloc_free_count(), before);
        lines[0] = '\0';
        if (requests < refused)
            break;
    }
    refused = 0;
    assert_true(failures > 1536); /* each frame is asked for by itself */
}

/* A PV domain that cannot have shadows goes on without, and gives back what was taken for them. */
static void each_allocation_that_fails_while_a_pv_domain_gets_shadows_is_survived(void **state)
{
    unsigned failures = 0;

    (void)state;
    config.type = CONFIG_PV;
    config.vcpus = 1;
    config.memory = 6;
    struct domain *d = create();
    uint64_t       free = alloc_free_count();

    for (refused = 1;; refused++) {
        enum kind_result result;

        requests = 0;
        result = kind_change(d, PAGED_SHADOW);
        assert_true(result == KIND_DONE || result == KIND_NO_MEMORY);
        assert_true(pv_is_shadowed(d) == (result == KIND_DONE));
        failures += result == KIND_NO_MEMORY;
        if (pv_is_shadowed(d))
            pv_shadow_off(d);
        while (!pv_shadow_work(d))
            continue;
        assert_int_equal(alloc_free_count(), free);
        if (requests < refused)
            break;
    }
    refused = 0;
    assert_true(failures > 700);
    destroy(d);
    assert_int_equal(alloc_free_count(), before);
}

static void each_allocation_that_fails_while_a_domain_is_made_is_survived(void **state)
{
    (void)state;
    make_small();
    assert_true(make_in_turn() > 300);
    config.paging = CONFIG_PAGING_NESTED;
    assert_true(make_in_turn() > 300);
}

/* ---- hypercalls ---- */

static int64_t physmap(struct domain *d, unsigned space, uint64_t index, uint64_t gfn)
{
    struct xen_add_to_physmap arg = {
        .domid = DOMID_SELF, .space = space, .idx = index, .gpfn = gfn
    };

    poke(d, AREA, &arg, sizeof(arg));
    return call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0);
}

static int64_t reservation(struct domain *d, unsigned operation, uint64_t first, uint64_t count)
{
    struct xen_memory_reservation arg = { .domid = DOMID_SELF, .nr_extents = count };

    for (uint64_t i = 0; i < count; i++) {
        uint64_t gfn = first + i;

        poke(d, AREA + 0x1000 + i * 8, &gfn, sizeof(gfn));
    }
    set_xen_guest_handle(arg.extent_start, (xen_pfn_t *)(AREA + 0x1000));
    poke(d, AREA, &arg, sizeof(arg));
    return call(d, __HYPERVISOR_memory_op, operation, AREA, 0);
}

/* What a guest asks for that takes memory; how much of it was refused, or the domain crashed. */
static unsigned ask(struct domain *d)
{
    const uint64_t far = UINT64_C(1) << 20;
    unsigned       less = 0;

    less += physmap(d, XENMAPSPACE_shared_info, 0, far) != 0;
    if (d->state != DOMAIN_CRASHED)
        less += physmap(d, XENMAPSPACE_grant_table, 1, far + 0x40000) != 0;
    if (d->state != DOMAIN_CRASHED)
        less += reservation(d, XENMEM_decrease_reservation, 0x300, 20) != 20;
    if (d->state != DOMAIN_CRASHED)
        less += reservation(d, XENMEM_populate_physmap, far + 0x80000, 10) != 10;
    return less;
}

static void each_allocation_that_fails_in_a_hypercall_is_survived(void **state)
{
    unsigned crashed = 0, less = 0;

    (void)state;
    config.memory = 4;
    config.shadow_memory = 2;
    for (unsigned n = 1;; n++) {
        struct domain *d;
        unsigned       short_of;

        refused = 0;
        d = create();
        requests = 0;
        refused = n;
        lines[0] = '\0';
        short_of = ask(d);
        if (d->state == DOMAIN_CRASHED) {
            crashed++;
            assert_non_null(strstr(lines, "out of memory"));
        } else {
            less += short_of;
            assert_true((short_of == 0) == (requests < n));
        }
        refused = 0;
        assert_sound(d);
        destroy(d);
        assert_int_equal(alloc_free_count(), before);
        assert_int_equal(alloc_audit(), 0);
        if (requests < n)
            break;
    }
    assert_true(crashed > 10);
    assert_true(less > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_allocation_that_fails_while_a_domain_is_made_is_survived),
        TEST(each_allocation_that_fails_while_a_pv_domain_is_made_is_survived),
        TEST(each_allocation_that_fails_while_a_pv_domain_gets_shadows_is_survived),
        TEST(each_allocation_that_fails_in_a_hypercall_is_survived),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
