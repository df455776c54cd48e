/*
 * A guest that gets its hypercalls wrong in every way that costs nothing to try: numbers
 * and sub-operations that do not exist, and pointers to nowhere, to the non-canonical
 * middle, to the end of what is mapped, and to a page that is read-only. Each is answered
 * by an error, nothing is written, and the guest goes on.
 */
#include "test/guests/guest.h"

const char guest_name[] = "bad-hypercall";

#define UNMAPPED      0x7f0000000000ul /* no entry in the top-level table */
#define NON_CANONICAL 0x8000000000000000ul
#define MAPPED_END    0x100000000ul

static const uint64_t wild[] = { UNMAPPED, NON_CANONICAL, MAPPED_END, MAPPED_END - 1, ~0ul, ~7ul };
#define WILD (sizeof(wild) / sizeof(wild[0]))

static void unknown_numbers(void)
{
    static const uint64_t numbers[] = { 3, 11, 63, 64, 999, 0xffffffff, 0x100000000, ~0ul };

    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        guest_check((uint64_t)guest_hypercall(numbers[i], 1, 2, 3), (uint64_t)-XEN_ENOSYS,
                    "an unknown hypercall");
}

static void unknown_operations(void)
{
    static const uint64_t calls[] = { __HYPERVISOR_xen_version, __HYPERVISOR_sched_op,
                                      __HYPERVISOR_event_channel_op };
    uint64_t              argument[8] = { 0 };

    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        guest_check((uint64_t)guest_hypercall(calls[i], 55, (uint64_t)argument, 0),
                    (uint64_t)-XEN_ENOSYS, "an unknown operation of a hypercall");
}

static void wild_pointers(void)
{
    static const struct {
        uint64_t nr, a;
        bool     in_c; /* the pointer is the third argument, not the second */
    } calls[] = {
        { __HYPERVISOR_xen_version, XENVER_extraversion, false },
        { __HYPERVISOR_xen_version, XENVER_get_features, false },
        { __HYPERVISOR_memory_op, XENMEM_add_to_physmap, false },
        { __HYPERVISOR_sched_op, SCHEDOP_shutdown, false },
        { __HYPERVISOR_sched_op, SCHEDOP_poll, false },
        { __HYPERVISOR_event_channel_op, EVTCHNOP_send, false },
        { __HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, false },
        { __HYPERVISOR_hvm_op, HVMOP_get_param, false },
        { __HYPERVISOR_hvm_op, HVMOP_set_param, false },
        { __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, true },
        { __HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, true },
    };

    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        for (unsigned w = 0; w < WILD; w++) {
            int64_t result = calls[i].in_c ? guest_hypercall(calls[i].nr, calls[i].a, 0, wild[w])
                                           : guest_hypercall(calls[i].nr, calls[i].a, wild[w], 0);

            if (result != -XEN_EFAULT) {
                guest_print("bad-hypercall: call ");
                guest_print_hex(calls[i].nr);
                guest_print(" operation ");
                guest_print_hex(calls[i].a);
                guest_print(" with pointer ");
                guest_print_hex(wild[w]);
                guest_print("\n");
                guest_fail("a wild pointer", (uint64_t)result, (uint64_t)-XEN_EFAULT);
            }
        }
}

/* Results go to memory that the guest itself could write, or nowhere. */
static void read_only_pointer(void)
{
    static uint64_t __attribute__((aligned(PAGE))) table[512], page[512];
    uint64_t va = MAPPED_END; /* the first address after what start.S maps */
    static uint64_t __attribute__((aligned(PAGE))) pd[512];

    pd[0] = (uint64_t)table | P | W;
    guest_pdpt[4] = (uint64_t)pd | P | W;
    table[0] = (uint64_t)page | P;
    page[0] = 0x1122334455667788;
    guest_check((uint64_t)guest_hypercall(__HYPERVISOR_xen_version, XENVER_extraversion, va, 0),
                (uint64_t)-XEN_EFAULT, "a result for a read-only page");
    guest_check(page[0], 0x1122334455667788, "the content of a read-only page");
    table[0] |= W;
    guest_invlpg(va);
    guest_check((uint64_t)guest_hypercall(__HYPERVISOR_xen_version, XENVER_extraversion, va, 0), 0,
                "the same page when it is writable");
    guest_check(page[0] == 0x1122334455667788, false, "the result in a writable page");
}

static void vcpu_that_is_not_there(void)
{
    uint64_t argument[8] = { 0 };

    guest_check(guest_hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 77,
                                (uint64_t)argument) < 0,
                true, "an operation on a vCPU that does not exist");
}

void guest_main(const struct hvm_start_info *info)
{
    (void)info;
    unknown_numbers();
    unknown_operations();
    wild_pointers();
    read_only_pointer();
    vcpu_that_is_not_there();
}
