/*
 * Hypercalls at random from a PV guest: numbers, operations, pointers, and what is at the pointers.
 * They work on a pool of pages, so that the guest lives on; its own tables, the hypervisor's frames and
 * wild numbers are among what they name. `seed=N` and `seconds=N` on the command line.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "pv-fuzz";

#define POOL  64
#define WORDS 64
#define FLAGS (P | W | U | A | D)
#define NS    1000000000ul
#define BATCH 256 /* calls between two looks at the clock */

static uint64_t pool[POOL][512] __attribute__((aligned(4096)));
static uint64_t area[WORDS] __attribute__((aligned(4096))); /* what calls are pointed to */
static uint64_t pool_at[POOL], leaf_at[POOL]; /* machine addresses: pages, and their entries */
static uint64_t dice, max;                    /* of the machine's frame numbers */
static uint64_t calls, succeeded;

static uint64_t roll(uint64_t below)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice % below;
}

static uint64_t now(void)
{
    volatile struct vcpu_time_info *t = &pv_shared.vcpu_info[0].time;
    uint64_t                        delta;
    uint32_t                        low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    delta = ((uint64_t)high << 32 | low) - t->tsc_timestamp;
    delta = t->tsc_shift < 0 ? delta >> -t->tsc_shift : delta << t->tsc_shift;
    return t->system_time + (uint64_t)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
}

static uint64_t frame(void)
{
    uint64_t mfn;

    switch (roll(16)) {
    case 0: /* levels 4 to 2: leaf tables may be written through a mapping, which would be the end */
        return pv_mfn((void *)(pv_info->pt_base + PAGE * roll(3)));
    case 1:
        return 0x200 + roll(256); /* the image of the hypervisor */
    case 2: /* somebody else's: what is ours, the pool aside, must not be written */
        mfn = roll(max);
        return ((const uint64_t *)MACH2PHYS_VIRT_START)[mfn] == ~0ul ? mfn : max + mfn;
    case 3:
        return dice | 1ul << 40;
    default:
        return pv_mfn(pool[roll(POOL)]);
    }
}

static uint64_t entry(void)
{
    static const uint64_t flags[] = { FLAGS, FLAGS, P | U, P | U | A, 0, P | W, 0x1ff, ~0xffful };

    return frame() * PAGE | flags[roll(8)];
}

/* A number that some call may mean something by. */
static uint64_t value(void)
{
    switch (roll(8)) {
    case 0:
        return roll(32);
    case 1:
        return frame();
    case 2:
        return entry();
    case 3:
        return (uint64_t)&area[roll(WORDS)];
    case 4:
        return (uint64_t)pool[roll(POOL)];
    case 5:
        return DOMID_SELF;
    case 6:
        return MACH2PHYS_VIRT_START + roll(1ul << 44);
    default:
        return dice;
    }
}

/*
 * Machine address of an entry that may be written: in the pool, or one that maps the pool. Those are
 * found beforehand, by the M2P as it is at the start: calls may change it.
 */
static uint64_t entry_address(void)
{
    return (roll(4) ? pool_at[roll(POOL)] + 8 * roll(512) : leaf_at[roll(POOL)]) +
           (roll(4) ? 0 : roll(4));
}

static void find_entries(void)
{
    for (unsigned i = 0; i < POOL; i++) {
        uint64_t *e = pv_entry(pool[i]);

        pool_at[i] = pv_mfn(pool[i]) * PAGE;
        leaf_at[i] = pv_mfn(e) * PAGE + ((uint64_t)e & (PAGE - 1));
    }
}

static void fill(uint64_t nr)
{
    for (unsigned i = 0; i < WORDS; i++)
        area[i] = value();
    if (nr == __HYPERVISOR_mmu_update) {
        for (unsigned i = 0; i < WORDS; i += 2) {
            area[i] = entry_address();
            area[i + 1] = entry();
        }
    } else if (nr == __HYPERVISOR_mmuext_op) {
        for (unsigned i = 0; i + 3 <= WORDS; i += 3) {
            area[i] = roll(20);
            area[i + 1] = roll(4) ? frame() : (uint64_t)pool[roll(POOL)];
            area[i + 2] = roll(2) ? frame() : roll(600);
            if (area[i] == MMUEXT_NEW_BASEPTR) /* a root of the pool's would be empty */
                area[i + 1] = 0x200 + roll(256);
        }
    } else if (nr == __HYPERVISOR_memory_op) {
        area[0] = (uint64_t)&area[32];
        area[1] = 1 + roll(3);
        area[2] = 0;
        area[3] = DOMID_SELF;
        for (unsigned i = 32; i < 40; i++)
            area[i] = roll(8) ? 0x200 + roll(256) : pv_mfn(pool[roll(POOL)]);
    }
}

/* Calls that would end the guest by what it asks for itself. */
static bool ends_it(uint64_t nr, uint64_t op)
{
    return nr == __HYPERVISOR_iret || nr == __HYPERVISOR_sched_op || nr == __HYPERVISOR_multicall ||
           nr == __HYPERVISOR_set_trap_table || nr == __HYPERVISOR_console_io ||
           nr == __HYPERVISOR_update_va_mapping_otherdomain || nr == __HYPERVISOR_set_callbacks ||
           nr == __HYPERVISOR_callback_op || (nr == __HYPERVISOR_vcpu_op && op == VCPUOP_down);
}

static void one_call(void)
{
    static const uint64_t often[] = { __HYPERVISOR_mmu_update,        __HYPERVISOR_mmuext_op,
                                      __HYPERVISOR_update_va_mapping, __HYPERVISOR_memory_op,
                                      __HYPERVISOR_update_descriptor, __HYPERVISOR_set_gdt };
    uint64_t              nr = roll(3) ? often[roll(6)] : roll(80), arg[4];

    for (unsigned i = 0; i < 4; i++)
        arg[i] = value();
    fill(nr);
    if (roll(4))
        arg[0] = (uint64_t)area;
    if (nr == __HYPERVISOR_mmu_update || nr == __HYPERVISOR_mmuext_op) {
        arg[0] = roll(16) ? (uint64_t)area : dice | 1ul << 47;
        arg[1] = roll(8) ? 1 + roll(8) : 8 + roll(14);
        arg[2] = 0;
        arg[3] = roll(8) ? DOMID_SELF : arg[3];
    } else if (nr == __HYPERVISOR_update_va_mapping) {
        arg[0] = (uint64_t)pool[roll(POOL)];
        arg[1] = entry();
    } else if (nr == __HYPERVISOR_memory_op) {
        arg[0] = roll(2) ? roll(30) : roll(2) * 6;
        arg[1] = (uint64_t)area;
    } else if (nr == __HYPERVISOR_update_descriptor) {
        arg[0] = entry_address();
    } else if (nr == __HYPERVISOR_set_gdt) {
        arg[1] = roll(1600);
        for (unsigned i = 0; i < 4; i++)
            area[i] = frame();
    } else if (nr == __HYPERVISOR_vcpu_op || nr == __HYPERVISOR_event_channel_op) {
        arg[0] = roll(20);
        arg[1] = nr == __HYPERVISOR_vcpu_op ? roll(2) : (uint64_t)area;
        arg[2] = (uint64_t)area;
    }
    if (ends_it(nr, arg[0]))
        return;
    calls++;
    succeeded += pv_call(nr, arg[0], arg[1], arg[2], arg[3]) >= 0;
    pv_shared.vcpu_info[0].evtchn_upcall_mask = 1;
}

/* Instructions that write tables; most of them fault. */
static void one_write(void)
{
    (void)pv_store((uint64_t)pool[roll(POOL)] + roll(PAGE - 8), entry());
    if (roll(4) == 0)
        (void)PV_TRY("mov %w0, %%fs", , "r"((uint32_t)roll(1 << 16)));
}

void pv_main(void)
{
    uint64_t end = now() + pv_number("seconds=", 5) * NS;

    pv_failsafe_is_fine = true; /* the GDT may go while its selectors are loaded */
    find_entries();
    max = (uint64_t)pv_call(__HYPERVISOR_memory_op, XENMEM_maximum_ram_page, 0, 0, 0);
    dice = pv_number("seed=", 1) * 0x9e3779b97f4a7c15ul + 1;
    do
        for (unsigned i = 0; i < BATCH; i++) {
            one_call();
            one_write();
        }
    while (now() < end);
    pv_print("pv-fuzz: hypercalls ");
    pv_print_hex(calls);
    pv_print(", of which succeeded ");
    pv_print_hex(succeeded);
    pv_print("\n");
    pv_check(succeeded > calls / 20, true, "hypercalls that did something");
}
