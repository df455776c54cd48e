/* test: with paging/ hv/ hv/pv_view.c */
/*
 * PV domains that are really built: what lies where, hypercalls that stop in the middle, and calls
 * at random, after which the page types are audited and every frame comes back.
 */
#include "hv/domain_world.h"
#include "hv/kind.h"

#define VIRT_BASE   UINT64_C(0xffffffff80000000)
#define LIST_VA     UINT64_C(0x8000000000)
#define FLAGS       (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define FUZZ_GUESTS 60
#define FUZZ_CALLS  500

static size_t   note_end;
static unsigned called[64], succeeded[64], used, switches;

static void put_note(uint32_t type, uint64_t value)
{
    put(note_end, 4, 4);
    put(note_end + 4, 8, 4);
    put(note_end + 8, type, 4);
    memcpy(kernel + note_end + 12, "Xen", 4);
    put(note_end + 16, value, 8);
    note_end += 24;
    put(120 + 32, note_end - 0x400, 8);
}

/* A kernel like Linux: high addresses, its ramdisk not mapped, its p2m elsewhere. */
static void like_linux(void)
{
    note_end = 0x400;
    put_note(XEN_ELFNOTE_VIRT_BASE, VIRT_BASE);
    put_note(XEN_ELFNOTE_ENTRY, VIRT_BASE + LOAD_AT + 0x40);
    put_note(XEN_ELFNOTE_INIT_P2M, LIST_VA);
    put_note(XEN_ELFNOTE_MOD_START_PFN, 1);
    put_note(XEN_ELFNOTE_HYPERCALL_PAGE, VIRT_BASE + LOAD_AT + 0x1000);
}

static int set_up_pv(void **state)
{
    (void)set_up(state);
    config.type = CONFIG_PV;
    config.vcpus = 1;
    config.paging = CONFIG_PAGING_DEFAULT;
    frozen = false;
    return 0;
}

static void audit(void)
{
    struct audit sum = { 0 };

    pv_audit(&sum);
    for (struct domain *d = domains; d != NULL; d = d->next)
        if (pv_is_shadowed(d))
            paging_audit(domain_lock(d), &sum);
    if (sum.violations != 0)
        fail_msg("%s", sum.first);
}

/* The guest's own view: by its addresses. */
static void look(struct domain *d, uint64_t va, void *to, size_t len)
{
    if (!pv_edge_copy_in(d->vcpu[0], to, va, len))
        fail_msg("%lx is not mapped", va);
}

static void store(struct domain *d, uint64_t va, const void *from, size_t len)
{
    if (!pv_edge_copy_out(d->vcpu[0], va, from, len))
        fail_msg("%lx cannot be written", va);
}

/* ---- building ---- */

static void a_guest_like_linux_finds_everything_in_its_place(void **state)
{
    struct domain    *d;
    struct start_info info;
    uint8_t           stub[4];
    char              ramdisk[7];

    (void)state;
    like_linux();
    d = create();
    assert_int_equal(started.rip, VIRT_BASE + LOAD_AT + 0x40);
    look(d, started.rsi, &info, sizeof(info));
    assert_string_equal(info.magic, "xen-3.0-x86_64");
    assert_int_equal(info.nr_pages, 4096);
    assert_int_equal(info.shared_info, d->shared_mfn.raw << PAGE_SHIFT);
    assert_int_equal(info.mfn_list, LIST_VA);
    assert_int_equal(info.nr_p2m_frames, 8 + 3);
    assert_int_equal(info.flags, SIF_MOD_START_PFN);
    assert_int_equal(info.mod_len, 7);
    assert_string_equal((char *)info.cmd_line, "console=hvc0");
    for (uint64_t pfn = 0; pfn < info.nr_pages; pfn++) {
        uint64_t mfn;

        look(d, LIST_VA + pfn * 8, &mfn, 8);
        assert_int_equal(m2p[mfn], pfn);
        if (pfn == info.mod_start)
            memcpy(ramdisk, phys_ptr(&machine_phys, mfn_of(mfn)), sizeof(ramdisk));
    }
    assert_memory_equal(ramdisk, "ramdisk", 7);
    look(d, VIRT_BASE + LOAD_AT + 0x1000, stub, sizeof(stub));
    assert_memory_equal(stub, "\x51\x41\x53\xb8", 4); /* push rcx, r11; mov eax */
    audit();
}

static void a_guest_without_notes_has_its_list_and_ramdisk_mapped(void **state)
{
    struct domain    *d = create();
    struct start_info info;
    char              ramdisk[7];
    uint64_t          first, entry;
    struct pv_place   place;

    (void)state;
    look(d, started.rsi, &info, sizeof(info));
    assert_int_equal(info.flags, 0);
    look(d, info.mod_start, ramdisk, sizeof(ramdisk));
    assert_memory_equal(ramdisk, "ramdisk", 7);
    look(d, info.mfn_list, &first, sizeof(first));
    assert_int_equal(m2p[first], 0);
    look(d, info.pt_base, &entry, sizeof(entry));
    assert_false(pv_edge_copy_out(d->vcpu[0], info.pt_base, &entry, sizeof(entry)));
    for (unsigned i = 0; i < info.nr_pt_frames; i++) {
        assert_true(pv_walk(d->vcpu[0]->pv->direct.root[0], gva_of(info.pt_base + i * PAGE_SIZE), 1,
                            &place));
        assert_false(pte_has(place.entry, PTE_W));
    }
    audit();
}

static void refused(const char *why)
{
    assert_null(domain_create(&config, &images, error, sizeof(error)));
    if (strstr(error, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error, why);
    assert_int_equal(alloc_free_count(), before);
}

static void notes_that_cannot_be_are_refused(void **state)
{
    static const uint64_t wrong[] = { UINT64_C(0xffff800000000000), UINT64_C(0xffff87ffffc00000),
                                      UINT64_C(0x7fffffc00000),     UINT64_C(0xffffffffffc00000),
                                      UINT64_C(0x800000000000),     0x1000 };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        note_end = 0x400;
        put_note(XEN_ELFNOTE_VIRT_BASE, wrong[i]);
        config.memory = wrong[i] == UINT64_C(0x7fffffc00000) ? 17 : 16;
        images.ramdisk_size = 0;
        if (wrong[i] == UINT64_C(0x7fffffc00000) || wrong[i] == UINT64_C(0xffff87ffffc00000) ||
            wrong[i] == UINT64_C(0xffffffffffc00000))
            put(64 + 24, 4 << 20, 8); /* more than 4 MiB are mapped */
        refused("VIRT_BASE or INIT_P2M");
        put(64 + 24, LOAD_AT, 8);
    }
    like_linux();
    put(0x400 + 2 * 24 + 16, UINT64_C(0xffff830000000000), 8);
    refused("VIRT_BASE or INIT_P2M");
    put(0x400 + 2 * 24 + 16, VIRT_BASE, 8); /* the list where the kernel is */
    refused("VIRT_BASE or INIT_P2M");
    put(0x400 + 2 * 24 + 16, UINT64_MAX - 7, 8);
    refused("VIRT_BASE or INIT_P2M");
    like_linux();
    put_note(XEN_ELFNOTE_PADDR_OFFSET, LOAD_AT + 1);
    refused("the kernel has a segment");
    like_linux();
    put(64 + 40, UINT64_C(15) << 20, 8);
    refused("raise memory=");
}

/* ---- hypercalls that stop ---- */

static void a_batch_goes_on_where_it_stopped(void **state)
{
    struct domain    *d = create();
    struct start_info info;
    struct mmu_update update[3];
    uint64_t          list, mfn, va = 0x2000, got[3];
    uint32_t          done = 0;
    struct hypercall  h;
    unsigned          stops = 0;

    (void)state;
    look(d, started.rsi, &info, sizeof(info));
    list = info.mfn_list;
    look(d, list + 8, &mfn, 8);
    for (unsigned i = 0; i < 3; i++)
        update[i] = (struct mmu_update){ mfn << PAGE_SHIFT | 8 * i, 100 + i };
    store(d, va, update, sizeof(update));
    cpu.pending = PENDING_TIMER; /* others want their turn after each */
    h = (struct hypercall){ .nr = __HYPERVISOR_mmu_update,
                            .arg = { va, 3, va + 0x100, DOMID_SELF } };
    while (hypercall_run(d->vcpu[0], &h) == HYPERCALL_AGAIN)
        stops++;
    assert_int_equal(h.result, 0);
    assert_int_equal(stops, 2);
    look(d, va + 0x100, &done, sizeof(done));
    assert_int_equal(done, 3);
    look(d, 0x1000, got, sizeof(got));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(got[i], 100 + i);
}

/* The frames of some pages of the guest's, which are mapped nowhere then. */
static void unmapped_frames(struct domain *d, uint64_t first, uint64_t *mfn, unsigned count)
{
    struct start_info info;

    look(d, started.rsi, &info, sizeof(info));
    look(d, info.mfn_list + first * 8, mfn, count * 8);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(call(d, __HYPERVISOR_update_va_mapping, (first + i) * PAGE_SIZE, 0, 0), 0);
}

static enum hypercall_outcome set_gdt_once(struct domain *d, const uint64_t *mfn, unsigned frames,
                                           struct hypercall *h)
{
    *h = (struct hypercall){ .nr = __HYPERVISOR_set_gdt, .arg = { 0x2000, frames * 512 } };
    store(d, 0x2000, mfn, frames * 8);
    return hypercall_run(d->vcpu[0], h);
}

static uint64_t map_writable(struct domain *d, uint64_t va, uint64_t mfn)
{
    return (uint64_t)call(d, __HYPERVISOR_update_va_mapping, va, mfn << PAGE_SHIFT | FLAGS, 0);
}

static void a_gdt_of_which_some_frames_are_ready_may_become_another(void **state)
{
    struct domain   *d = create();
    struct hypercall h;
    uint64_t         mfn[3], swapped[2];
    unsigned         stops = 0;

    (void)state;
    unmapped_frames(d, 0x10, mfn, 3);
    cpu.pending = PENDING_TIMER; /* others want their turn after each step */
    while (d->vcpu[0]->pv->gdt_ready == 0)
        assert_int_equal(set_gdt_once(d, mfn, 2, &h), HYPERCALL_AGAIN);
    audit();
    assert_int_equal(map_writable(d, 0x10000, mfn[0]), (uint64_t)-XEN_EINVAL);
    swapped[0] = mfn[2];
    swapped[1] = mfn[1];
    while (set_gdt_once(d, swapped, 2, &h) == HYPERCALL_AGAIN)
        stops++;
    assert_int_equal(h.result, 0);
    assert_true(stops > 2);
    assert_int_equal(map_writable(d, 0x10000, mfn[0]), 0);
    assert_int_equal(map_writable(d, 0x11000, mfn[1]), (uint64_t)-XEN_EINVAL);
    assert_int_equal(d->vcpu[0]->pv->gdt[0].raw, mfn[2]);
    assert_int_equal(d->vcpu[0]->pv->gdt[1].raw, mfn[1]);
    while (set_gdt_once(d, mfn, 2, &h) == HYPERCALL_AGAIN && d->vcpu[0]->pv->gdt_ready < 1)
        continue;
    swapped[0] = mfn[0];
    swapped[1] = FRAMES; /* a frame that is not there */
    while (set_gdt_once(d, swapped, 2, &h) == HYPERCALL_AGAIN)
        continue;
    assert_int_equal(h.result, -XEN_EINVAL);
    assert_int_equal(d->vcpu[0]->pv->gdt_ready, 0);
    assert_int_equal(d->vcpu[0]->pv->gdt[0].raw, mfn[2]);
    audit();
    while (set_gdt_once(d, mfn, 2, &h) == HYPERCALL_AGAIN && d->vcpu[0]->pv->gdt_ready < 1)
        continue; /* and the domain ends in the middle */
}

static void iret_loads_any_value_of_rax(void **state)
{
    struct domain            *d = create();
    struct pv_vcpu           *pv = d->vcpu[0]->pv;
    const struct iret_context c = { .rax = UINT64_C(1) << 63,
                                    .rip = 0x1234,
                                    .cs = 0xe030,
                                    .rflags = 0x40000 | 0x3202,
                                    .rsp = 0x8888,
                                    .ss = 0xe028 };
    struct hypercall          h = { .nr = __HYPERVISOR_iret };

    (void)state;
    store(d, 0x2000, &c, sizeof(c));
    pv->regs.rsp = 0x2000;
    assert_int_equal(hypercall_run(d->vcpu[0], &h), HYPERCALL_DONE);
    assert_int_equal(pv->regs.rax, UINT64_C(1) << 63);
    assert_int_equal(pv->regs.rip, 0x1234);
    assert_int_equal(pv->regs.cs, 0xe033);
    assert_int_equal(pv->regs.ss, 0xe02b);
    assert_int_equal(pv->regs.rflags, 0x40202); /* no IOPL */
    assert_int_equal(d->vcpu[0]->info->evtchn_upcall_mask, 0);
    assert_true(pv->kernel);
}

static void a_page_that_we_write_is_never_a_table(void **state)
{
    struct domain                 *d = create();
    struct start_info              info;
    struct vcpu_register_vcpu_info where = { .offset = 64 };
    struct mmuext_op               op = { .cmd = MMUEXT_PIN_L1_TABLE };
    uint64_t                       mfn;

    (void)state;
    look(d, started.rsi, &info, sizeof(info));
    look(d, info.mfn_list + 8, &mfn, 8);
    where.mfn = mfn;
    store(d, 0x2000, &where, sizeof(where));
    assert_int_equal(call(d, __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, 0x2000), 0);
    /* Its only mapping goes, so that nothing but our reference keeps it from being a table. */
    assert_int_equal(call(d, __HYPERVISOR_update_va_mapping, 0x1000, 0, 0), 0);
    op.arg1.mfn = mfn;
    store(d, 0x2000, &op, sizeof(op));
    {
        struct hypercall h = { .nr = __HYPERVISOR_mmuext_op, .arg = { 0x2000, 1, 0, DOMID_SELF } };

        assert_int_equal(hypercall_run(d->vcpu[0], &h), HYPERCALL_DONE);
        assert_int_equal(h.result, -XEN_EINVAL);
    }
    audit();
}

/* ---- at random ---- */

static uint64_t dice;

static uint64_t roll(uint64_t below)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice % below;
}

/* A number that a call may mean something by. */
static uint64_t some_value(struct domain *d)
{
    switch (roll(8)) {
    case 0:
        return roll(32);
    case 1:
        return 0x1000 * roll(1024);
    case 2:
        return 0x2000 + 8 * roll(512);
    case 3:
        return d->vcpu[0]->pv->direct.root[0].raw + roll(16) - 8;
    case 4:
        return (d->vcpu[0]->pv->direct.root[0].raw + roll(4096) - 2048) << PAGE_SHIFT |
               (roll(2) ? FLAGS : PTE_P | PTE_U) | (roll(4) ? 0 : 8 * roll(512));
    case 5:
        return DOMID_SELF;
    case 6:
        return UINT64_C(0xffff800000000000) + roll(1 << 30);
    default:
        return dice;
    }
}

/* Most often a frame of the domain's, sometimes its root or anything. */
static uint64_t some_frame(struct domain *d)
{
    if (roll(16) == 0)
        return roll(FRAMES + 2);
    if (roll(8) == 0)
        return d->vcpu[0]->pv->direct.root[0].raw;
    for (;;) {
        uint64_t            mfn = roll(FRAMES);
        const struct frame *f = phys_frame(&machine_phys, mfn_of(mfn));

        if (f->kind == FRAME_GUEST && f->owner == d->id)
            return mfn;
    }
}

static uint64_t some_entry(struct domain *d)
{
    static const uint64_t flags[] = {
        0, FLAGS, PTE_P | PTE_U, FLAGS, PTE_P | PTE_U | PTE_A, PTE_P
    };

    return some_frame(d) << PAGE_SHIFT | flags[roll(6)];
}

/* What the calls look for at 0x2000; words at random for those that are not known here. */
static void fill_page(struct domain *d, uint64_t nr)
{
    uint64_t words[32];

    for (unsigned i = 0; i < 32; i++)
        words[i] = some_value(d);
    if (nr == __HYPERVISOR_mmu_update) {
        for (unsigned i = 0; i < 32; i += 2) {
            words[i] = some_frame(d) << PAGE_SHIFT | 8 * roll(512) | (roll(4) ? 0 : roll(4));
            words[i + 1] = some_entry(d);
        }
    } else if (nr == __HYPERVISOR_mmuext_op) {
        for (unsigned i = 0; i + 3 <= 32; i += 3) {
            words[i] = roll(18);
            words[i + 1] = roll(4) ? some_frame(d) : 0x1000 * roll(1024);
            words[i + 2] = roll(2) ? some_frame(d) : roll(512);
        }
    } else if (nr == __HYPERVISOR_memory_op) {
        words[0] = 0x2080;
        words[1] = 1 + roll(3);
        words[2] = 0;
        words[3] = DOMID_SELF;
        for (unsigned i = 16; i < 24; i++)
            words[i] = some_frame(d);
    } else if (nr == __HYPERVISOR_set_gdt) {
        for (unsigned i = 0; i < 32; i++)
            words[i] = some_frame(d);
    } else if (nr == __HYPERVISOR_vcpu_op) {
        words[0] = some_frame(d);
        words[1] = 8 * roll(520);
    }
    (void)!pv_edge_copy_out(d->vcpu[0], 0x2000, words, sizeof(words));
}

/* Arguments with which the call goes further than to its first check. */
static void aim(struct domain *d, struct hypercall *h)
{
    switch (h->nr) {
    case __HYPERVISOR_mmu_update:
    case __HYPERVISOR_mmuext_op:
        h->arg[0] = 0x2000;
        h->arg[1] = 1 + roll(4);
        h->arg[2] = roll(2) ? 0 : 0x20f8;
        h->arg[3] = DOMID_SELF;
        break;
    case __HYPERVISOR_update_va_mapping:
        h->arg[0] = 0x1000 * (3 + roll(1024));
        h->arg[1] = some_entry(d);
        break;
    case __HYPERVISOR_memory_op:
        h->arg[0] = roll(3) ? roll(2) * 6 + (roll(2) ? 1 : 0) : roll(30);
        h->arg[1] = 0x2000;
        break;
    case __HYPERVISOR_set_gdt:
        h->arg[0] = 0x2000;
        h->arg[1] = roll(3) * 512;
        break;
    case __HYPERVISOR_vcpu_op:
        h->arg[0] = 3 + roll(13); /* not the call that puts it down */
        h->arg[1] = 0;
        h->arg[2] = 0x2000;
        break;
    default:
        break;
    }
}

static void one_call(struct domain *d)
{
    static const uint8_t nrs[] = {
        __HYPERVISOR_mmu_update,       __HYPERVISOR_mmuext_op,      __HYPERVISOR_update_va_mapping,
        __HYPERVISOR_set_gdt,          __HYPERVISOR_memory_op,      __HYPERVISOR_update_descriptor,
        __HYPERVISOR_multicall,        __HYPERVISOR_grant_table_op, __HYPERVISOR_vcpu_op,
        __HYPERVISOR_event_channel_op,
    };
    struct hypercall h = { .nr = roll(3) ? nrs[roll(sizeof(nrs))] : roll(64) };

    if (h.nr == __HYPERVISOR_sched_op || h.nr == __HYPERVISOR_iret)
        return; /* these end it */
    for (unsigned i = 0; i < 6; i++)
        h.arg[i] = some_value(d);
    if (h.nr == __HYPERVISOR_multicall)
        h.arg[1] = roll(4);
    if (h.nr == __HYPERVISOR_console_io)
        h.arg[1] = roll(16);
    if (roll(2))
        h.arg[0] = 0x2000;
    if (roll(8))
        aim(d, &h);
    fill_page(d, h.nr);
    out_count = 0;
    for (unsigned i = 0; i < 1000 && hypercall_run(d->vcpu[0], &h) == HYPERCALL_AGAIN; i++) {
        cpu.pending = (uint32_t)roll(2);
    }
    called[h.nr]++;
    succeeded[h.nr] += h.result >= 0;
    while (!pv_drain(&d->vcpu[0]->pv->direct))
        continue;
}

/* One guest's life; it may destroy its own tables, and then nothing it calls can be read. */
/* Its kernel uses memory, on shadows of its tables. */
static void use(struct domain *d)
{
    struct paging_vcpu *v = &d->vcpu[0]->paging;
    mfn_t               root = d->vcpu[0]->pv->direct.root[0];
    struct paging_regs  regs = { .cr0 = 0x80010001, .cr4 = 0x20, .efer = 0xc00 };
    struct fault        f = { .acc = ACC_USER | (roll(2) ? ACC_WRITE : 0u) };
    struct verdict      verdict;

    regs.cr3 = root.raw << PAGE_SHIFT;
    f.va = gva_of(roll(0x500) << PAGE_SHIFT);
    while (!paging_runs_on(v, root)) {
        verdict = paging_set_regs(domain_lock(d), v, &regs);
        assert_int_equal(verdict.kind, VERDICT_RETRY);
    }
    do
        verdict = paging_fault(domain_lock(d), v, &f);
    while (verdict.kind == VERDICT_RETRY && verdict.again);
    assert_true(verdict.kind == VERDICT_RETRY || verdict.kind == VERDICT_INJECT);
    used += verdict.kind == VERDICT_RETRY;
}

/* It is switched to shadows or back, step by step, and stays so for a while. */
static void switch_mode(struct domain *d)
{
    enum kind kind = roll(2) ? PAGED_SHADOW : PAGED_DIRECT;

    if (roll(32) == 0 || d->pv->mode == PV_FILLING)
        switches += kind_change_step(d, kind) == KIND_DONE;
    (void)!pv_shadow_work(d);
    for (unsigned i = 0; i < 4 && pv_is_shadowed(d); i++)
        use(d);
}

static void live(void)
{
    struct domain *d = create();

    for (unsigned i = 0; i < FUZZ_CALLS && d->state == DOMAIN_BUILDING; i++) {
        switch_mode(d);
        one_call(d);
        lines[0] = '\0';
        if (i % 64 == 0)
            audit();
    }
    audit();
    while (!domain_destroy_step(d))
        continue;
    assert_int_equal(alloc_free_count(), before);
}

static void calls_at_random_break_nothing(void **state)
{
    const char *seed = getenv("SEED");

    (void)state;
    dice = seed != NULL ? strtoull(seed, NULL, 0) : 88172645463325252u;
    print_message("seed %lu\n", dice);
    note_end = 0x400;
    put_note(XEN_ELFNOTE_MOD_START_PFN, 1);
    config.memory = 5;
    put(64 + 40, 0x1000, 8);
    for (unsigned i = 0; i < FUZZ_GUESTS; i++)
        live();
    for (unsigned nr = 0; nr < 64; nr++)
        if (succeeded[nr] != 0)
            print_message("hypercall %u: %u of %u succeeded\n", nr, succeeded[nr], called[nr]);
    assert_true(succeeded[__HYPERVISOR_mmu_update] > 100);
    assert_true(succeeded[__HYPERVISOR_mmuext_op] > 100);
    assert_true(succeeded[__HYPERVISOR_memory_op] > 100);
    assert_true(succeeded[__HYPERVISOR_update_va_mapping] > 100);
    print_message("%u switches, %u pages used under shadow paging\n", switches, used);
    assert_true(switches > FUZZ_GUESTS && used > FUZZ_GUESTS);
}

#define TEST_PV(name) cmocka_unit_test_setup_teardown(name, set_up_pv, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_PV(a_guest_like_linux_finds_everything_in_its_place),
        TEST_PV(a_guest_without_notes_has_its_list_and_ramdisk_mapped),
        TEST_PV(notes_that_cannot_be_are_refused),
        TEST_PV(a_batch_goes_on_where_it_stopped),
        TEST_PV(a_gdt_of_which_some_frames_are_ready_may_become_another),
        TEST_PV(iret_loads_any_value_of_rax),
        TEST_PV(a_page_that_we_write_is_never_a_table),
        TEST_PV(calls_at_random_break_nothing),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
