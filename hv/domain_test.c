/* test: with hv/build.c hv/destroy.c hv/pvh.c hv/elf.c hv/acpi.c hv/domain.c hv/evtchn.c hv/shared.c hv/time.c hv/timer.c hv/sched.c hv/alloc.c hv/format.c hv/guest.c hv/hypercall.c hv/hc_console.c hv/hc_event.c hv/hc_grant.c hv/hc_hvm.c hv/hc_memory.c hv/hc_sched.c hv/hc_vcpu.c hv/hc_version.c paging/audit.c paging/domain.c paging/fault.c paging/mode.c paging/p2m.c paging/pool.c paging/reach.c paging/rmap.c paging/root.c paging/rules.c paging/shadow.c paging/sync.c paging/view.c paging/walk.c */
/*
 * Domains from creation to destruction, and their hypercalls, on a machine that is an array.
 * Core, allocator, builder and handlers are the real ones; the processor, the console and
 * the ring are a few recorders. After each test every frame must be back.
 */
#include "hv/build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/alloc.h"
#include "hv/console.h"
#include "hv/evtchn.h"
#include "hv/hc.h"
#include "hv/print.h"
#include "hv/pvh.h"
#include "hv/ring.h"
#include "hv/sched.h"
#include "hv/trace.h"

#define FRAMES     UINT64_C(24576) /* 96 MiB */
#define KERNEL     4096
#define LOAD_AT    0x100000u
#define AREA       UINT64_C(0x200000) /* where the guest of these tests keeps its structures */
#define WILD       UINT64_C(0x7fffff000000)

struct phys machine_phys;
bool        trace_enabled;

static struct cpu cpu;
static uint64_t   now, alarm_at, before;
static char       out[65536], lines[65536];
static size_t     out_count;
static unsigned   vcpus_made, vcpus_fail_at, rings;
static bool       interrupt;
static void     (*in_guest)(struct vcpu *v);
static uint8_t    kernel[KERNEL];
static struct config config;
static struct domain_images images;
static char       error[200];

/* ---- the recorders ---- */

struct cpu *this_cpu(void) { return &cpu; }
uint64_t machine_ticks(void) { return now * 2; }
uint64_t machine_now(void) { return now; }
uint64_t machine_wallclock(void) { return UINT64_C(0x165432100); }
void machine_alarm(uint64_t when) { alarm_at = when; }
void machine_idle(void) { now += 1000; }
void machine_tsc_scale(uint32_t *mul, int8_t *shift) { *mul = UINT32_C(1) << 31; *shift = 0; }
bool machine_vcpu_has_interrupt(const struct vcpu *v) { (void)v; return interrupt; }
uint64_t machine_vcpu_tsc_offset(const struct vcpu *v) { (void)v; return 7; }
bool machine_vcpu_is_64bit(const struct vcpu *v) { (void)v; return true; }
void vcpu_flush(struct domain *d, const struct verdict *verdict) { (void)d; (void)verdict; }
void console_flush(struct domain *d) { (void)d; }
void console_forget(struct domain *d) { (void)d; }
void ring_console_notify(struct domain *d) { (void)d; }

struct pt_features machine_guest_features(void)
{
    return (struct pt_features){ .maxphys = 40, .nx = true };
}

bool machine_vcpu_create(struct vcpu *v, const struct machine_start *start)
{
    const struct paging_regs regs = { .cr0 = 0x11 };

    (void)start;
    if (vcpus_made == vcpus_fail_at)
        return false;
    vcpus_made++;
    v->machine = malloc(1);
    return paging_set_regs(domain_lock(v->domain), &v->paging, &regs).kind == VERDICT_RETRY;
}

void machine_vcpu_destroy(struct vcpu *v)
{
    vcpus_made--;
    free(v->machine);
}

void machine_vcpu_run(struct vcpu *v)
{
    assert_true(vcpu_may_run(v));
    vcpu_before_entry(v);
    in_guest(v);
}

bool ring_console_init(struct domain *d, mfn_t page, unsigned port)
{
    (void)d;
    (void)port;
    phys_frame(&machine_phys, page)->refs++;
    rings++;
    return true;
}

void ring_console_destroy(struct domain *d)
{
    if (mfn_valid(d->console_frame) && rings > 0 && d->ports != NULL)
        rings--;
}

void console_guest_output(struct domain *d, const char *bytes, size_t count)
{
    (void)d;
    assert_true(out_count + count <= sizeof(out));
    memcpy(out + out_count, bytes, count);
    out_count += count;
}

void print(const char *fmt, ...)
{
    size_t  length = strlen(lines);
    va_list args;

    va_start(args, fmt);
    (void)format_string_va(lines + length, sizeof(lines) - length, fmt, args);
    va_end(args);
}

void panic(const char *fmt, ...)
{
    fail_msg("%s", fmt);
    abort();
}

void trace_write(enum trace_kind kind, const struct vcpu *v, uint64_t a, uint64_t b, uint64_t c)
{
    (void)kind;
    (void)v;
    (void)a;
    (void)b;
    (void)c;
}

/* ---- making things ---- */

static void put(size_t at, uint64_t value, size_t bytes)
{
    memcpy(kernel + at, &value, bytes);
}

static void make_kernel(void)
{
    memset(kernel, 0, sizeof(kernel));
    memcpy(kernel, "\177ELF\2\1\1", 7);
    put(16, 2, 2);
    put(18, 62, 2);
    put(32, 64, 8);
    put(54, 56, 2);
    put(56, 2, 2);
    put(64, 1, 4); /* PT_LOAD */
    put(64 + 8, 0x800, 8);
    put(64 + 24, LOAD_AT, 8);
    put(64 + 32, 0x800, 8);
    put(64 + 40, 0x5000, 8);
    put(120, 4, 4); /* PT_NOTE */
    put(120 + 8, 0x400, 8);
    put(120 + 32, 24, 8);
    put(0x400, 4, 4);
    put(0x404, 8, 4);
    put(0x408, 18, 4);
    memcpy(kernel + 0x40c, "Xen", 4);
    put(0x410, LOAD_AT + 0x40, 8);
    memset(kernel + 0x800, 0x90, 0x800);
}

static int set_up(void **state)
{
    (void)state;
    make_kernel();
    memset(&config, 0, sizeof(config));
    strcpy(config.name, "guest");
    strcpy(config.extra, "console=hvc0");
    config.memory = 16;
    config.vcpus = 2;
    config.paging = CONFIG_PAGING_SHADOW;
    images = (struct domain_images){ kernel, sizeof(kernel), "ramdisk", 7 };
    vcpus_made = rings = 0;
    vcpus_fail_at = UINT32_MAX;
    out_count = 0;
    lines[0] = '\0';
    now = 5000;
    cpu = (struct cpu){ 0 };
    interrupt = false;
    before = alloc_free_count();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    while (domains != NULL) {
        struct domain *d = domains;

        while (!domain_destroy_step(d))
            ;
    }
    assert_int_equal(alloc_audit(), 0);
    assert_int_equal(alloc_free_count(), before);
    assert_int_equal(vcpus_made, 0);
    assert_true(timers_next() == UINT64_MAX);
    return 0;
}

static struct domain *create(void)
{
    struct domain *d = domain_create(&config, &images, error, sizeof(error));

    if (d == NULL)
        fail_msg("%s", error);
    return d;
}

static void poke(struct domain *d, uint64_t gpa, const void *from, size_t len)
{
    assert_true(guest_phys_write(d, gpa, from, len));
}

static void peek(struct domain *d, uint64_t gpa, void *to, size_t len)
{
    assert_true(guest_phys_read(d, gpa, to, len));
}

static int64_t call(struct domain *d, uint64_t nr, uint64_t a, uint64_t b, uint64_t c)
{
    struct hypercall h = { .nr = nr, .arg = { a, b, c } };

    for (unsigned i = 0; hypercall_run(d->vcpu[0], &h) == HYPERCALL_AGAIN; i++)
        assert_true(i < 10000);
    return h.result;
}

/* ---- building ---- */

static void a_domain_is_built_as_the_abi_says(void **state)
{
    struct domain                *d = create();
    struct hvm_start_info         info;
    struct hvm_modlist_entry      module;
    struct hvm_memmap_table_entry map[3];
    uint8_t                       text[0x800];
    char                          word[13];
    const uint64_t                at = (16u << 20) - 2 * PAGE_SIZE;

    (void)state;
    assert_int_equal(d->state, DOMAIN_BUILDING);
    assert_int_equal(d->paging.kind, PAGING_SHADOW);
    peek(d, at, &info, sizeof(info));
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
    images.kernel_size = 0x900;
    assert_refused("truncated");
    set_up(state);
    kernel[0] = 0;
    assert_refused("not an ELF");
    set_up(state);
    put(0x408, 17, 4);
    assert_refused("PHYS32_ENTRY");
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

/* The last frames are taken away one by one more: each allocation fails once. */
static void each_failing_allocation_is_survived(void **state)
{
    uint64_t  needed;
    unsigned  failures = 0;
    mfn_t    *held = calloc(FRAMES, sizeof(*held));
    uint64_t  count = 0;

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

/* ---- hypercalls ---- */

static void wild_pointers_are_efault_everywhere(void **state)
{
    static const struct { uint64_t nr, a, b, c; } calls[] = {
        { __HYPERVISOR_memory_op, XENMEM_add_to_physmap, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_memory_map, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_decrease_reservation, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_populate_physmap, WILD, 0 },
        { __HYPERVISOR_memory_op, XENMEM_current_reservation, WILD, 0 },
        { __HYPERVISOR_multicall, WILD, 1, 0 },
        { __HYPERVISOR_xen_version, XENVER_extraversion, WILD, 0 },
        { __HYPERVISOR_xen_version, XENVER_get_features, WILD, 0 },
        { __HYPERVISOR_console_io, CONSOLEIO_write, 10, WILD },
        { __HYPERVISOR_grant_table_op, GNTTABOP_query_size, WILD, 1 },
        { __HYPERVISOR_grant_table_op, GNTTABOP_setup_table, WILD, 1 },
        { __HYPERVISOR_grant_table_op, GNTTABOP_set_version, WILD, 1 },
        { __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, WILD },
        { __HYPERVISOR_vcpu_op, VCPUOP_register_runstate_memory_area, 0, WILD },
        { __HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, WILD },
        { __HYPERVISOR_vcpu_op, VCPUOP_set_periodic_timer, 0, WILD },
        { __HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0, WILD },
        { __HYPERVISOR_sched_op, SCHEDOP_shutdown, WILD, 0 },
        { __HYPERVISOR_sched_op, SCHEDOP_poll, WILD, 0 },
        { __HYPERVISOR_event_channel_op, EVTCHNOP_send, WILD, 0 },
        { __HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, WILD, 0 },
        { __HYPERVISOR_hvm_op, HVMOP_get_param, WILD, 0 },
        { __HYPERVISOR_hvm_op, HVMOP_set_param, WILD, 0 },
    };
    struct domain *d = create();

    (void)state;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (call(d, calls[i].nr, calls[i].a, calls[i].b, calls[i].c) != -XEN_EFAULT)
            fail_msg("call %zu", i);
    assert_int_equal(d->state, DOMAIN_BUILDING);
}

static void unknown_calls_are_enosys_and_counted(void **state)
{
    struct domain *d = create();

    (void)state;
    assert_int_equal(call(d, 63, 0, 0, 0), -XEN_ENOSYS);
    assert_int_equal(call(d, 64, 0, 0, 0), -XEN_ENOSYS);
    assert_int_equal(call(d, UINT64_MAX, 0, 0, 0), -XEN_ENOSYS);
    assert_int_equal(call(d, __HYPERVISOR_physdev_op, 0, 0, 0), -XEN_ENOSYS);
    assert_int_equal(d->hypercalls_unknown, 4);
    assert_int_equal(call(d, __HYPERVISOR_event_channel_op, EVTCHNOP_init_control, AREA, 0),
                     -XEN_ENOSYS);
    assert_int_equal(call(d, __HYPERVISOR_xen_version, XENVER_version, 0, 0), 4 << 16 | 17);
}

static void shared_info_goes_where_the_guest_wants_it(void **state)
{
    struct domain            *d = create();
    struct xen_add_to_physmap arg = { .domid = DOMID_SELF, .space = XENMAPSPACE_shared_info,
                                      .gpfn = 1 };
    uint64_t                  pages = d->pages, free = alloc_free_count();
    uint32_t                  seconds[3];

    (void)state;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0), 0);
    peek(d, PAGE_SIZE + offsetof(struct shared_info, wc_sec), seconds, sizeof(seconds));
    assert_int_equal(seconds[0], 0x65432100);
    assert_int_equal(seconds[2], 1);
    /* The frame that was there is free again; a second place takes the first away. */
    assert_int_equal(d->pages, pages - 1);
    assert_int_equal(alloc_free_count(), free + 1);
    arg.gpfn = 0x100001;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0), 0);
    assert_int_equal(p2m_get(&d->paging.p2m, gfn_of(1)).type, P2M_HOLE);
    arg.gpfn = UINT64_C(1) << 28;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0), -XEN_EINVAL);
    arg.domid = 77;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_add_to_physmap, AREA, 0), -XEN_ESRCH);
}

static void memory_is_given_back_and_taken_again(void **state)
{
    struct domain                *d = create();
    struct xen_memory_reservation arg = { .nr_extents = 200, .domid = DOMID_SELF };
    uint64_t                      list[200], pages = d->pages;

    (void)state;
    for (unsigned i = 0; i < 200; i++)
        list[i] = 0x400 + i;
    arg.extent_start.p = (void *)(uintptr_t)(AREA + PAGE_SIZE);
    poke(d, AREA, &arg, sizeof(arg));
    poke(d, AREA + PAGE_SIZE, list, sizeof(list));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_decrease_reservation, AREA, 0), 200);
    assert_int_equal(d->pages, pages - 200);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_decrease_reservation, AREA, 0), 0);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_populate_physmap, AREA, 0), 200);
    assert_int_equal(d->pages, pages);
    for (unsigned i = 0; i < 200; i++)
        list[i] = 0x200000 + i; /* beyond what it may have */
    poke(d, AREA + PAGE_SIZE, list, sizeof(list));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_populate_physmap, AREA, 0),
                     DOMAIN_GRANT_FRAMES - 1 + 1 - 1);
}

static void registered_vcpu_info_outlives_its_page_in_the_map(void **state)
{
    struct domain                 *d = create();
    struct vcpu_register_vcpu_info reg = { .mfn = 0x300, .offset = 0xfc8 };
    struct xen_remove_from_physmap gone = { .domid = DOMID_SELF, .gpfn = 0x300 };

    (void)state;
    poke(d, AREA, &reg, sizeof(reg));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA), -XEN_EINVAL);
    reg.offset = 0xfbc;
    poke(d, AREA, &reg, sizeof(reg));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA), -XEN_EINVAL);
    reg.offset = 0xfc0;
    reg.mfn = UINT64_MAX;
    poke(d, AREA, &reg, sizeof(reg));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA), -XEN_EINVAL);
    reg.mfn = 0x300;
    poke(d, AREA, &reg, sizeof(reg));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA), 0);
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, AREA), -XEN_EINVAL);
    vcpu_before_entry(d->vcpu[0]);
    assert_int_equal(d->vcpu[0]->info->time.system_time, now);
    assert_int_equal(d->vcpu[0]->info->time.tsc_timestamp, now * 2 + 7);
    assert_int_equal(d->vcpu[0]->info->time.version % 2, 0);

    poke(d, AREA, &gone, sizeof(gone));
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, AREA, 0), 0);
    assert_int_equal(phys_frame(&machine_phys, d->vcpu[0]->info_mfn)->kind, FRAME_GUEST);
    assert_int_equal(call(d, __HYPERVISOR_memory_op, XENMEM_remove_from_physmap, AREA, 0),
                     -XEN_ENOENT);
}

static void a_multicall_runs_all_its_calls(void **state)
{
    struct domain         *d = create();
    struct multicall_entry entry[300];
    char                   text[1500];

    (void)state;
    memset(entry, 0, sizeof(entry));
    memset(text, 'x', sizeof(text));
    poke(d, AREA + (1u << 20), text, sizeof(text));
    for (unsigned i = 0; i < 300; i++) {
        entry[i].op = i == 7 ? __HYPERVISOR_multicall : __HYPERVISOR_xen_version;
        entry[i].args[0] = XENVER_pagesize;
    }
    entry[3] = (struct multicall_entry){ .op = __HYPERVISOR_console_io };
    entry[3].args[0] = CONSOLEIO_write;
    entry[3].args[1] = sizeof(text);
    entry[3].args[2] = AREA + (1u << 20);
    poke(d, AREA, entry, sizeof(entry));
    assert_int_equal(call(d, __HYPERVISOR_multicall, AREA, 300, 0), 0);
    peek(d, AREA, entry, sizeof(entry));
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal((int64_t)entry[i].result, i == 7   ? -XEN_EINVAL
                                                   : i == 3 ? 0 : (int64_t)PAGE_SIZE);
    assert_int_equal(out_count, sizeof(text));
}

static void params_can_be_read_but_only_the_callback_set(void **state)
{
    struct domain       *d = create();
    struct xen_hvm_param arg = { .domid = DOMID_SELF, .index = HVM_PARAM_CONSOLE_PFN };
    uint8_t              vector = 0;

    (void)state;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_hvm_op, HVMOP_get_param, AREA, 0), 0);
    peek(d, AREA, &arg, sizeof(arg));
    assert_int_equal(arg.value, 0xfefff);
    assert_int_equal(call(d, __HYPERVISOR_hvm_op, HVMOP_set_param, AREA, 0), -XEN_EPERM);
    arg.index = UINT32_MAX;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_hvm_op, HVMOP_get_param, AREA, 0), -XEN_EINVAL);
    arg.index = HVM_PARAM_CALLBACK_IRQ;
    arg.value = UINT64_C(2) << 56 | 0xf3;
    poke(d, AREA, &arg, sizeof(arg));
    assert_int_equal(call(d, __HYPERVISOR_hvm_op, HVMOP_set_param, AREA, 0), 0);
    assert_false(vcpu_upcall(d->vcpu[0], &vector));
    evtchn_upcall(d->vcpu[0]);
    assert_true(vcpu_upcall(d->vcpu[0], &vector));
    assert_int_equal(vector, 0xf3);
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
    assert_int_equal(call(v->domain, __HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, AREA), 0);
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

static void power_off_and_crash_are_told_apart(void **state)
{
    struct domain        *d = create();
    struct sched_shutdown arg = { .reason = SHUTDOWN_suspend };

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

static int machine_up(void **state)
{
    (void)state;
    machine_phys.frames = FRAMES;
    machine_phys.base = aligned_alloc(PAGE_SIZE, FRAMES << PAGE_SHIFT);
    machine_phys.frame = calloc(FRAMES, sizeof(struct frame));
    if (machine_phys.base == NULL || machine_phys.frame == NULL)
        return -1;
    alloc_add(&machine_phys, mfn_of(1), FRAMES - 1);
    return 0;
}

static int machine_down(void **state)
{
    (void)state;
    free(machine_phys.base);
    free(machine_phys.frame);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_domain_is_built_as_the_abi_says),
        TEST(what_cannot_be_built_is_given_back_with_a_sentence),
        TEST(each_failing_allocation_is_survived),
        TEST(wild_pointers_are_efault_everywhere),
        TEST(unknown_calls_are_enosys_and_counted),
        TEST(shared_info_goes_where_the_guest_wants_it),
        TEST(memory_is_given_back_and_taken_again),
        TEST(registered_vcpu_info_outlives_its_page_in_the_map),
        TEST(a_multicall_runs_all_its_calls),
        TEST(params_can_be_read_but_only_the_callback_set),
        TEST(domains_take_turns),
        TEST(a_timer_wakes_a_blocked_vcpu),
        TEST(power_off_and_crash_are_told_apart),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
