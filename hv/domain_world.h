/*
 * A machine that is an array, for tests of whole domains. Core, allocator, builder and
 * handlers are the real ones; the processor, the console and the ring are a few recorders.
 * After each test every frame must be back.
 */
#ifndef HV_DOMAIN_WORLD_H
#define HV_DOMAIN_WORLD_H

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
#include "hv/monitor.h"
#include "hv/print.h"
#include "hv/pv.h"
#include "hv/pvh.h"
#include "hv/ring.h"
#include "hv/sched.h"
#include "hv/trace.h"

#define FRAMES  UINT64_C(24576) /* 96 MiB */
#define KERNEL  4096
#define LOAD_AT 0x100000u
#define AREA    UINT64_C(0x200000) /* where the guest of these tests keeps its structures */
#define WILD    UINT64_C(0x7fffff000000)

struct phys machine_phys;
bool        trace_enabled;

static struct cpu cpu;
static uint64_t   now, alarm_at, before;
static char       out[65536], lines[65536];
static size_t     out_count;
static unsigned   vcpus_made, vcpus_fail_at, rings;
static bool       interrupt;
static void (*in_guest)(struct vcpu *v);
static uint8_t              kernel[KERNEL];
static struct machine_start started; /* how the last vCPU that was made starts */
static struct config        config;
static struct domain_images images;
static char                 error[200];

#include "hv/domain_world_pv.h"

/* ---- the recorders ---- */

struct cpu *this_cpu(void)
{
    return &cpu;
}
uint64_t machine_ticks(void)
{
    return now * 2;
}
uint64_t machine_ticks_per_ms(void)
{
    return 2000000;
}
uint64_t machine_now(void)
{
    return now;
}
uint64_t machine_wallclock(void)
{
    return UINT64_C(0x165432100);
}
void machine_alarm(uint64_t when)
{
    alarm_at = when;
}
void machine_idle(void)
{
    now += 1000;
}
void machine_tsc_scale(uint32_t *mul, int8_t *shift)
{
    *mul = UINT32_C(1) << 31;
    *shift = 0;
}
bool machine_vcpu_has_interrupt(const struct vcpu *v)
{
    (void)v;
    return interrupt;
}
uint64_t machine_vcpu_tsc_offset(const struct vcpu *v)
{
    (void)v;
    return 7;
}
bool machine_vcpu_is_64bit(const struct vcpu *v)
{
    (void)v;
    return true;
}
static unsigned full_flushes;

void vcpu_flush(struct domain *d, const struct verdict *verdict)
{
    (void)d;
    full_flushes += verdict->flush == FLUSH_ALL;
}
void console_flush(struct domain *d)
{
    (void)d;
}
void console_forget(struct domain *d)
{
    (void)d;
}
void ring_console_notify(struct domain *d)
{
    (void)d;
}

static char debug_key;

void monitor_debug_key(char key)
{
    debug_key = key;
}

static uint32_t guest_cpuid[] = { 0, 1, 7, 0x80000001 }; /* leaves; each says 0xf0 + its place */

bool machine_guest_cpuid(unsigned i, uint32_t *leaf, uint32_t *a, uint32_t *b, uint32_t *c,
                         uint32_t *d)
{
    if (i >= sizeof(guest_cpuid) / sizeof(guest_cpuid[0]))
        return false;
    *leaf = guest_cpuid[i];
    *a = *b = *c = *d = 0xf0 + i;
    return true;
}

void machine_cpu_features(uint32_t caps[8])
{
    for (unsigned i = 0; i < 8; i++)
        caps[i] = i + 1;
}

bool machine_offers_hvm(void)
{
    return true;
}

static bool     no_nested;
static unsigned kinds_set; /* vCPUs told of a change */
static uint64_t exits;     /* of each vCPU */

bool machine_offers_nested(void)
{
    return !no_nested;
}

static unsigned vcpus_max = DOMAIN_VCPUS_MAX;

unsigned machine_vcpus_max(void)
{
    return vcpus_max;
}

void machine_vcpu_set_kind(struct vcpu *v)
{
    assert_int_equal(v->domain->paging.kind,
                     paging_hw(&v->paging).levels == 4 ? PAGING_NESTED : PAGING_SHADOW);
    kinds_set++;
}

/* The edge's side of a vCPU, under HVM: what was loaded into it. */
struct machine_vcpu {
    struct hvm_hw_cpu        cpu;
    struct hvm_hw_lapic      lapic;
    struct hvm_hw_lapic_regs lapic_regs;
    struct hvm_hw_mtrr       mtrr;
};
static bool refuses; /* what is loaded */

void machine_vcpu_save(struct vcpu *v, struct hvm_hw_cpu *to)
{
    *to = v->machine->cpu;
}
void machine_vcpu_save_lapic(const struct vcpu *v, struct hvm_hw_lapic *lapic)
{
    *lapic = v->machine->lapic;
}
void machine_vcpu_save_lapic_regs(const struct vcpu *v, struct hvm_hw_lapic_regs *regs)
{
    *regs = v->machine->lapic_regs;
}
void machine_vcpu_save_mtrr(const struct vcpu *v, struct hvm_hw_mtrr *mtrr)
{
    *mtrr = v->machine->mtrr;
}
bool machine_vcpu_load(struct vcpu *v, const struct hvm_hw_cpu *from)
{
    if (!refuses)
        v->machine->cpu = *from;
    return !refuses;
}
bool machine_vcpu_load_lapic(struct vcpu *v, const struct hvm_hw_lapic *lapic)
{
    if (!refuses)
        v->machine->lapic = *lapic;
    return !refuses;
}
bool machine_vcpu_load_lapic_regs(struct vcpu *v, const struct hvm_hw_lapic_regs *regs)
{
    if (!refuses)
        v->machine->lapic_regs = *regs;
    return !refuses;
}
bool machine_vcpu_load_mtrr(struct vcpu *v, const struct hvm_hw_mtrr *mtrr)
{
    if (!refuses)
        v->machine->mtrr = *mtrr;
    return !refuses;
}

/* What a listener has done to vCPUs. */
static struct {
    unsigned             excused, muted, stepping, set, watched, injected;
    uint64_t             rip;
    struct machine_event event;
} listened;

void machine_vcpu_watch(struct vcpu *v)
{
    (void)v;
    listened.watched++;
}

bool machine_msr_is_seen(uint32_t msr)
{
    return msr != 0xc0000082;
}

bool machine_vcpu_inject(struct vcpu *v, const struct machine_event *event)
{
    (void)v;
    listened.event = *event;
    return listened.injected++ == 0;
}

void machine_vcpu_event_regs(const struct vcpu *v, struct vm_event_regs_x86 *regs)
{
    regs->rip = 0x1000 + v->id;
    regs->gs_sel = 0x77;
}

void machine_vcpu_event_set_regs(struct vcpu *v, const struct vm_event_regs_x86 *regs)
{
    listened.set++;
    listened.rip = regs->rip;
    if (v->machine != NULL) {
        v->machine->cpu.rax = regs->rax;
        v->machine->cpu.rip = regs->rip;
    }
}

void machine_vcpu_excuse(struct vcpu *v, bool without_writing)
{
    (void)v;
    listened.excused++;
    listened.muted += without_writing;
}

void machine_vcpu_single_step(struct vcpu *v, bool on)
{
    (void)v;
    listened.stepping += on ? 1 : ~0u;
}

bool machine_vcpu_exit_stat(const struct vcpu *v, unsigned i, struct machine_exit_stat *stat)
{
    (void)v;
    *stat = (struct machine_exit_stat){ "exit", exits, 3 * exits };
    return i < 2;
}

struct pt_features machine_guest_features(void)
{
    return (struct pt_features){ .maxphys = 40, .nx = true };
}

bool machine_vcpu_create(struct vcpu *v, const struct machine_start *start)
{
    const struct paging_regs regs = { .cr0 = 0x11 };

    started = *start;
    if (vcpus_made == vcpus_fail_at)
        return false;
    if (v->pv != NULL) {
        v->pv->kernel = true;
        return true;
    }
    vcpus_made++;
    v->machine = calloc(1, sizeof(*v->machine));
    return paging_set_regs(domain_lock(v->domain), &v->paging, &regs).kind == VERDICT_RETRY;
}

void machine_vcpu_destroy(struct vcpu *v)
{
    if (v->machine == NULL)
        return;
    vcpus_made--;
    free(v->machine);
}

bool machine_platform_create(struct domain *d)
{
    d->platform = malloc(1);
    return true;
}

void machine_platform_destroy(struct domain *d)
{
    free(d->platform);
    d->platform = NULL;
}

void machine_vcpu_run(struct vcpu *v)
{
    assert_true(vcpu_may_run(v));
    vcpu_before_entry(v);
    in_guest(v);
}

bool ring_console_init(struct domain *d, mfn_t page, unsigned port)
{
    (void)port;
    if (d->pv == NULL) /* else its frames have counts of their own */
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
    flushes = 0;
    no_nested = refuses = false;
    vcpus_max = DOMAIN_VCPUS_MAX;
    kinds_set = full_flushes = 0;
    exits = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    while (domains != NULL) {
        struct domain *d = domains;

        for (unsigned steps = 0; !domain_destroy_step(d); steps++)
            if (steps == 1000000)
                fail_msg("domain %u cannot end: something still holds its memory", d->id);
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

static inline struct domain *create_running(void)
{
    struct domain *d = create();

    domain_unpause(d);
    assert_int_equal(d->state, DOMAIN_RUNNING);
    return d;
}

__attribute__((unused)) static void poke(struct domain *d, uint64_t gpa, const void *from,
                                         size_t len)
{
    assert_true(guest_phys_write(d, gpa, from, len));
}

__attribute__((unused)) static void peek(struct domain *d, uint64_t gpa, void *to, size_t len)
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

static int machine_up(void **state)
{
    (void)state;
    machine_phys.frames = FRAMES;
    machine_phys.base = aligned_alloc(PAGE_SIZE, FRAMES << PAGE_SHIFT);
    machine_phys.frame = calloc(FRAMES, sizeof(struct frame));
    machine_phys.watched = calloc(phys_blocks(FRAMES), sizeof(uint16_t));
    machine_phys.dirty = calloc(phys_words(FRAMES), sizeof(uint64_t));
    if (machine_phys.base == NULL || machine_phys.frame == NULL || machine_phys.watched == NULL ||
        machine_phys.dirty == NULL)
        return -1;
    alloc_add(&machine_phys, mfn_of(1), FRAMES - 1);
    return 0;
}

static int machine_down(void **state)
{
    (void)state;
    free(machine_phys.base);
    free(machine_phys.frame);
    free(machine_phys.watched);
    free(machine_phys.dirty);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
