/* test: with paging/ hv/ */
/* Domains from creation to destruction, and who of them has the CPU. */
#include "hv/domain_world.h"
#include "hv/domain_pool.h"
#include "hv/kind.h"
#include "hv/multiboot.h"

/* ---- building ---- */

static void a_domain_is_built_as_the_abi_says(void **state)
{
    struct domain                *d = create();
    struct hvm_start_info         info;
    struct hvm_modlist_entry      module;
    struct hvm_memmap_table_entry map[3];
    uint8_t                       text[0x800];
    char                          word[13];

    (void)state;
    assert_int_equal(d->state, DOMAIN_BUILDING);
    assert_int_equal(d->paging.kind, PAGING_SHADOW);
    peek(d, started.rbx, &info, sizeof(info));
    assert_int_equal(info.magic, XEN_HVM_START_MAGIC_VALUE);
    assert_int_equal(info.version, 1);
    assert_int_equal(info.memmap_entries, 3);
    peek(d, info.memmap_paddr, map, sizeof(map));
    assert_int_equal(map[0].size, 16u << 20);
    assert_int_equal(map[1].addr, PVH_ACPI);
    peek(d, info.cmdline_paddr, word, sizeof(word));
    assert_string_equal(word, "console=hvc0");
    assert_int_equal(info.nr_modules, 1);
    peek(d, info.modlist_paddr, &module, sizeof(module));
    assert_int_equal(module.size, 7);
    peek(d, module.paddr, word, 8);
    assert_string_equal(word, "ramdisk");
    peek(d, info.rsdp_paddr, word, 8);
    assert_memory_equal(word, "RSD PTR ", 8);
    peek(d, LOAD_AT, text, sizeof(text));
    assert_memory_equal(text, kernel + 0x800, sizeof(text));
    assert_int_equal(d->vcpu[0]->state, VCPU_RUNNABLE);
    assert_int_equal(d->vcpu[1]->state, VCPU_DOWN);
}

/* A header that says itself where its kernel goes: 0x800 bytes, and as much again that is zero. */
static void make_multiboot(void)
{
    const uint32_t header[] = { MULTIBOOT_HEADER_MAGIC,
                                MULTIBOOT_ADDRESSES,
                                0u - MULTIBOOT_HEADER_MAGIC - MULTIBOOT_ADDRESSES,
                                LOAD_AT,
                                LOAD_AT,
                                0,
                                LOAD_AT + 0x1000,
                                LOAD_AT + 0x40 };

    config.type = CONFIG_MULTIBOOT;
    config.vcpus = 1;
    strcpy(config.kernel, "kernel");
    memcpy(kernel + 0x800, header, sizeof(header));
}

static void a_multiboot_domain_has_devices_and_its_information(void **state)
{
    struct domain *d;
    uint32_t       info[7], module[2];
    char           word[32];

    (void)state;
    make_multiboot();
    d = create();
    assert_non_null(d->platform);
    assert_int_equal(started.rip, LOAD_AT + 0x40);
    assert_int_equal(started.rax, MULTIBOOT_LOADER_MAGIC);
    peek(d, started.rbx, info, sizeof(info));
    assert_int_equal(info[2], 15 * 1024);
    peek(d, info[4], word, 20);
    assert_string_equal(word, "kernel console=hvc0");
    assert_int_equal(info[5], 1);
    peek(d, info[6], module, sizeof(module));
    assert_int_equal(module[0], LOAD_AT + 0x1000);
    peek(d, module[0], word, 7);
    assert_memory_equal(word, "ramdisk", 7);
    peek(d, LOAD_AT, word, sizeof(word));
    assert_memory_equal(word, kernel + 0x800, sizeof(word));
}

static void a_status_is_a_failure_unless_the_file_knows_it(void **state)
{
    struct domain *d;

    (void)state;
    make_multiboot();
    config.exit_ok = 3;
    d = create();
    assert_false(domain_failed(d));
    domain_exit(d, 3);
    domain_exit(d, 4); /* it has ended */
    assert_false(domain_failed(d));
    assert_int_equal(d->state, DOMAIN_STOPPED);
    assert_non_null(strstr(lines, "guest exited with status 3\n"));
    d->exit_status = 4;
    assert_true(domain_failed(d));
    d->exit_status = 0;
    assert_false(domain_failed(d));
}

static void assert_refused(const char *words)
{
    assert_null(domain_create(&config, &images, error, sizeof(error)));
    if (strstr(error, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error, words);
    assert_int_equal(alloc_free_count(), before);
    assert_null(domains);
}

static void what_cannot_be_built_is_given_back_with_a_sentence(void **state)
{
    config.vcpus = 9;
    assert_refused("vcpus=");
    set_up(state);
    config.memory = 4000;
    assert_refused("lower memory=");
    set_up(state);
    config.shadow_memory = 90;
    assert_refused("MiB");
    set_up(state);
    config.shadow_memory = 1;
    assert_refused("1 MiB are too few for its tables: write shadow_memory= with at least 2");
    set_up(state);
    images.kernel_size = 0x900;
    assert_refused("truncated");
    set_up(state);
    kernel[0] = 0;
    assert_refused("not an ELF");
    set_up(state);
    put(0x408, 17, 4);
    assert_refused("PHYS32_ENTRY");
    set_up(state);
    config.type = CONFIG_MULTIBOOT;
    assert_refused("no multiboot header");
    make_multiboot();
    images.ramdisk_size = 15u << 20;
    assert_refused("raise memory=");
    set_up(state);
    put(64 + 40, 17u << 20, 8);
    assert_refused("raise memory=");
    set_up(state);
    images.ramdisk_size = 15u << 20;
    assert_refused("raise memory=");
    set_up(state);
    images.ramdisk_size = SIZE_MAX;
    assert_refused("raise memory=");
    set_up(state);
    vcpus_fail_at = 1;
    assert_refused("vCPU 1");
}

/* ---- the pool ---- */

static uint64_t steps_to(struct domain *d, uint64_t frames, enum domain_pool_result last)
{
    for (unsigned steps = 1;; steps++) {
        uint32_t                was = d->paging.pool.total;
        enum domain_pool_result result = domain_pool_set(d, frames);
        uint32_t                is = d->paging.pool.total;

        assert_true(is > was ? is - was <= 128 : was - is <= 128);
        if (result != DOMAIN_POOL_AGAIN) {
            assert_int_equal(result, last);
            return steps;
        }
        assert_true(steps < 1000);
    }
}

static void the_pool_of_a_domain_that_lives_is_set_in_steps(void **state)
{
    struct domain *d = create();
    uint64_t       least = domain_pool_minimum(&d->config), free, own = d->paging.pool.total;

    (void)state;
    free = alloc_free_count() + own;
    assert_int_equal(least, 2 * 128 + 16 * 256 / 512 + 64);
    assert_true(steps_to(d, least - 1, DOMAIN_POOL_DONE) > 10); /* rounded up to a pair */
    assert_int_equal(d->paging.pool.total, least);
    assert_int_equal(alloc_free_count(), free - least);
    assert_int_equal(alloc_audit(), 0);
    assert_int_equal(steps_to(d, least - 2, DOMAIN_POOL_REFUSED), 1);
    assert_int_equal(d->paging.pool.total, least);
    assert_true(steps_to(d, 3000, DOMAIN_POOL_DONE) > 10);
    assert_int_equal(d->paging.pool.total, 3000);
    assert_int_equal(alloc_free_count(), free - 3000);
    assert_int_equal(domain_pool_resize(d, 4), DOMAIN_POOL_DONE);
    assert_int_equal(d->paging.pool.total, 1024);
    assert_int_equal(domain_pool_resize(d, 4097), DOMAIN_POOL_REFUSED);
    assert_int_equal(domain_pool_resize(d, UINT64_MAX / 256 + 1), DOMAIN_POOL_REFUSED);
}

static void a_pool_grows_no_further_than_there_is_memory(void **state)
{
    struct domain *d = create();
    uint64_t       all = alloc_free_count() + d->paging.pool.total;

    (void)state;
    assert_int_equal(domain_pool_resize(d, 4096), DOMAIN_POOL_NO_MEMORY);
    assert_true(alloc_free_count() < 8); /* frames without a neighbour may be left */
    assert_int_equal(alloc_free_count() + d->paging.pool.total, all);
    assert_int_equal(domain_pool_resize(d, 2), DOMAIN_POOL_DONE);
    assert_int_equal(alloc_free_count() + 512, all);
    assert_int_equal(alloc_audit(), 0);
}

/* What is broken up by the guest's map of its memory does not come back. */
static void a_pool_in_use_shrinks_as_far_as_it_can(void **state)
{
    struct domain *d = create();
    static mfn_t   held[8192];
    unsigned       count = 0;

    (void)state;
    while (d->paging.pool.free_pairs > 80)
        held[count++] = pool_pair(&d->paging.pool);
    assert_int_equal(domain_pool_resize(d, 2), DOMAIN_POOL_IN_USE);
    assert_true(d->paging.pool.free_pairs >= 20); /* enough for one operation */
    assert_true(d->paging.pool.free_pairs < 80);
    while (count > 0)
        pool_put_pair(&d->paging.pool, held[--count]);
}

/* The last frames are taken away one by one more: each allocation fails once. */
static void each_failing_allocation_is_survived(void **state)
{
    uint64_t needed;
    unsigned failures = 0;
    mfn_t   *held = calloc(FRAMES, sizeof(*held));
    uint64_t count = 0;

    (void)state;
    assert_non_null(held);
    config.memory = 1;
    put(64 + 24, 0x10000, 8);
    put(0x410, 0x10040, 8);
    config.shadow_memory = 2;
    config.vcpus = 1;
    needed = alloc_free_count();
    (void)create();
    while (!domain_destroy_step(domains))
        ;
    while (alloc_free_count() > 1100)
        held[count++] = alloc_frames(0, ALLOC_ANY);
    for (unsigned i = 0; i < 1100 && alloc_free_count() > 1; i++) {
        struct domain *d = domain_create(&config, &images, error, sizeof(error));

        if (d != NULL)
            while (!domain_destroy_step(d))
                ;
        failures += d == NULL;
        assert_int_equal(alloc_free_count() + count, needed);
        held[count++] = alloc_frames(0, ALLOC_ANY);
    }
    assert_true(failures > 10);
    while (count-- > 0)
        free_frames(held[count], 0);
    free(held);
}

/* ---- running ---- */

static struct domain *ran[64];
static unsigned       turns;

static void use_the_slice(struct vcpu *v)
{
    ran[turns++ % 64] = v->domain;
    now += SCHED_SLICE;
}

static void domains_take_turns(void **state)
{
    struct domain *a = create(), *b;
    unsigned       of_a = 0;

    (void)state;
    config.memory = 8;
    strcpy(config.name, "other");
    b = create();
    domain_unpause(a);
    domain_unpause(b);
    in_guest = use_the_slice;
    turns = 0;
    for (unsigned i = 0; i < 64; i++)
        sched_run();
    assert_int_equal(turns, 64);
    for (unsigned i = 0; i < 64; i++)
        of_a += ran[i] == a;
    assert_int_equal(of_a, 32);
    domain_crash(b, "because %d", 1);
    domain_crash(b, "again");
    assert_non_null(strstr(lines, "umbra: other crashed: because 1\n"));
    assert_null(strstr(lines, "again"));
    for (unsigned i = 0; i < 64; i++)
        sched_run();
    for (unsigned i = 0; i < 64; i++)
        assert_ptr_equal(ran[i], a);
    domain_destroy(b);
    for (unsigned i = 0; i < 64 && domain_by_name("other") != NULL; i++)
        sched_run();
    assert_null(domain_by_name("other"));
}

static void block_until_the_timer(struct vcpu *v)
{
    struct vcpu_set_singleshot_timer timer = { .timeout_abs_ns = now + 50000 };

    turns++;
    v->info->evtchn_upcall_pending = 0;
    v->info->evtchn_pending_sel = 0;
    v->domain->shared->evtchn_pending[0] = 0;
    poke(v->domain, AREA, &timer, sizeof(timer));
    assert_int_equal(call(v->domain, __HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, AREA),
                     0);
    assert_int_equal(call(v->domain, __HYPERVISOR_sched_op, SCHEDOP_block, 0, 0), 0);
}

static void a_timer_wakes_a_blocked_vcpu(void **state)
{
    struct domain          *d = create();
    struct evtchn_bind_virq bind = { .virq = VIRQ_TIMER };
    uint64_t                start;

    (void)state;
    poke(d, AREA, &bind, sizeof(bind));
    assert_int_equal(call(d, __HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, AREA, 0), 0);
    domain_unpause(d);
    in_guest = block_until_the_timer;
    turns = 0;
    start = now;
    for (unsigned i = 0; i < 10000 && turns < 10; i++)
        sched_run();
    assert_int_equal(turns, 10);
    assert_true(now - start >= 9 * 50000 && now - start < 12 * 50000);
    assert_true(d->vcpu[0]->runstate.time[RUNSTATE_blocked] >= 9 * 49000);
}

/* Paging is off, which shows in the format of the root: three levels of ours, or the direct tree. */
static void the_kind_of_paging_changes_for_all_vcpus(void **state)
{
    struct domain *d = create();

    (void)state;
    domain_unpause(d);
    assert_int_equal(kind_of(d), PAGED_SHADOW);
    assert_int_equal(kind_other(d), PAGED_NESTED);
    assert_null(kind_refused(d, PAGED_NESTED));
    assert_int_equal(kind_change(d, PAGED_SHADOW), KIND_DONE);
    assert_int_equal(kinds_set, 0); /* it is that already */
    assert_int_equal(kind_change(d, PAGED_NESTED), KIND_DONE);
    assert_int_equal(kinds_set, 2);
    assert_int_equal(kind_of(d), PAGED_NESTED);
    assert_int_equal(d->kind_changes, 1);
    assert_int_equal(full_flushes, 1);
    assert_int_equal(kind_change(d, kind_other(d)), KIND_DONE);
    assert_int_equal(kinds_set, 4);
    assert_int_equal(kind_of(d), PAGED_SHADOW);
}

static void what_is_counted_belongs_to_the_kind_that_was(void **state)
{
    struct domain *d = create();

    (void)state;
    domain_unpause(d);
    exits = 10; /* of each of two sorts, on each of two vCPUs */
    d->vcpu[0]->ran = 5;
    assert_int_equal(kind_account(d, PAGED_SHADOW).exits, 40);
    assert_int_equal(kind_change(d, PAGED_NESTED), KIND_DONE);
    exits = 13;
    d->vcpu[0]->ran = 9;
    d->paging.stats.faults += 2;
    assert_int_equal(kind_account(d, PAGED_SHADOW).exits, 40);
    assert_int_equal(kind_account(d, PAGED_NESTED).exits, 12);
    assert_int_equal(kind_account(d, PAGED_NESTED).ticks, 36);
    assert_int_equal(kind_account(d, PAGED_NESTED).ran, 4);
    assert_int_equal(kind_account(d, PAGED_NESTED).faults, 2);
    assert_int_equal(kind_change(d, PAGED_SHADOW), KIND_DONE);
    exits = 14;
    assert_int_equal(kind_account(d, PAGED_SHADOW).exits, 44);
    assert_int_equal(kind_account(d, PAGED_NESTED).exits, 12);
}

static void a_kind_that_cannot_be_had_is_refused(void **state)
{
    struct domain *d = create();
    enum kind      kind;

    (void)state;
    assert_non_null(kind_refused(d, PAGED_NESTED)); /* it does not run yet */
    domain_unpause(d);
    assert_non_null(kind_refused(d, PAGED_DIRECT));
    no_nested = true;
    assert_non_null(strstr(kind_refused(d, PAGED_NESTED), "no nested paging"));
    assert_int_equal(kind_other(d), PAGED_SHADOW);
    assert_int_equal(kind_default(&config), PAGED_SHADOW);
    no_nested = false;
    assert_int_equal(kind_default(&config), PAGED_NESTED);
    assert_true(kind_parse("nested", &kind));
    assert_int_equal(kind, PAGED_NESTED);
    assert_false(kind_parse("other", &kind));
}

static void a_domain_has_the_kind_that_its_file_says(void **state)
{
    struct domain *d;

    (void)state;
    config.paging = CONFIG_PAGING_DEFAULT;
    d = create();
    assert_int_equal(kind_of(d), PAGED_NESTED);
    while (!domain_destroy_step(d))
        ;
    no_nested = true;
    d = create();
    assert_int_equal(kind_of(d), PAGED_SHADOW);
    while (!domain_destroy_step(d))
        ;
    config.paging = CONFIG_PAGING_NESTED;
    assert_null(domain_create(&config, &images, error, sizeof(error)));
    assert_non_null(strstr(error, "no nested paging"));
}

static void power_off_and_crash_are_told_apart(void **state)
{
    struct domain        *d = create();
    struct sched_shutdown arg = { .reason = SHUTDOWN_soft_reset };

    (void)state;
    domain_unpause(d);
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_sched_op, SCHEDOP_shutdown, AREA, 0), -XEN_EOPNOTSUPP);
    assert_int_equal(d->state, DOMAIN_RUNNING);
    arg.reason = SHUTDOWN_poweroff;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_sched_op, SCHEDOP_shutdown, AREA, 0), 0);
    assert_int_equal(d->state, DOMAIN_STOPPED);
    assert_non_null(strstr(lines, "umbra: guest powered off\n"));
    domain_stop(d, SHUTDOWN_crash);
    assert_int_equal(d->state, DOMAIN_STOPPED);
}

static void a_suspended_domain_goes_on(void **state)
{
    struct domain        *d = create_running();
    struct vcpu          *v = d->vcpu[0];
    struct sched_shutdown arg = { .reason = SHUTDOWN_suspend };

    (void)state;
    assert_false(domain_resume(d));
    timer_set(&v->singleshot, now + 1000);
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_sched_op, SCHEDOP_shutdown, AREA, 0), 0);
    assert_int_equal(d->state, DOMAIN_STOPPED);
    assert_true(domain_is_suspended(d));
    assert_int_equal(v->runstate.state, RUNSTATE_offline);
    assert_false(vcpu_may_run(v));
    assert_int_equal(timers_next(), now + 1000);
    assert_non_null(strstr(lines, "umbra: guest is suspended\n"));
    assert_true(domain_resume(d));
    assert_int_equal(d->state, DOMAIN_RUNNING);
    assert_int_equal(d->stop, 0);
    assert_int_equal(v->runstate.state, RUNSTATE_runnable);
    assert_int_equal(d->vcpu[1]->runstate.state, RUNSTATE_offline);
    cpu.pending = 0;
    assert_true(vcpu_may_run(v));
    vcpu_block(v);
    domain_stop(d, SHUTDOWN_suspend);
    assert_true(domain_resume(d));
    assert_int_equal(v->runstate.state, RUNSTATE_blocked);
    domain_stop(d, SHUTDOWN_suspend);
    domain_crash(d, "its memory is gone");
    assert_int_equal(d->state, DOMAIN_CRASHED);
    assert_false(domain_resume(d));
    assert_true(timers_next() == UINT64_MAX);
}

static void what_powered_off_does_not_go_on(void **state)
{
    struct domain *d = create_running();

    (void)state;
    domain_stop(d, SHUTDOWN_poweroff);
    assert_false(domain_is_suspended(d));
    assert_false(domain_resume(d));
    assert_int_equal(d->state, DOMAIN_STOPPED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_domain_is_built_as_the_abi_says),
        TEST(a_multiboot_domain_has_devices_and_its_information),
        TEST(a_status_is_a_failure_unless_the_file_knows_it),
        TEST(what_cannot_be_built_is_given_back_with_a_sentence),
        TEST(the_pool_of_a_domain_that_lives_is_set_in_steps),
        TEST(a_pool_grows_no_further_than_there_is_memory),
        TEST(a_pool_in_use_shrinks_as_far_as_it_can),
        TEST(each_failing_allocation_is_survived),
        TEST(domains_take_turns),
        TEST(a_timer_wakes_a_blocked_vcpu),
        TEST(the_kind_of_paging_changes_for_all_vcpus),
        TEST(what_is_counted_belongs_to_the_kind_that_was),
        TEST(a_kind_that_cannot_be_had_is_refused),
        TEST(a_domain_has_the_kind_that_its_file_says),
        TEST(power_off_and_crash_are_told_apart),
        TEST(a_suspended_domain_goes_on),
        TEST(what_powered_off_does_not_go_on),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
