/*
 * Works until it is ended, for the tests of listeners that go: writes to and fetches from pages, loads CR3, and has
 * the hypervisor write into its pages. What is in the pages is looked at each time.
 */
#include "test/guests/guest.h"

const char guest_name[] = "restless";

#define ARENA  0x1000ul /* its first frame */
#define FRAMES 24ul
#define PAUSE  10000000ul /* ns */

static struct vcpu_runstate_info runstate(struct vcpu_runstate_info *at)
{
    guest_check(
        (uint64_t)guest_hypercall(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0, (uint64_t)at),
        0, "VCPUOP_get_runstate_info");
    return *at;
}

static void one_page(uint64_t frame, uint64_t round)
{
    volatile uint64_t         *page = (volatile uint64_t *)((ARENA + frame) * PAGE);
    struct vcpu_runstate_info *told = (struct vcpu_runstate_info *)((ARENA + frame) * PAGE + 512);

    guest_check(page[0], round << 8 | 0xc3, "a page's first word");
    page[0] = (round + 1) << 8 | 0xc3; /* RET */
    ((void (*)(void))((ARENA + frame) * PAGE))();
    told->state = 77;
    guest_check((uint64_t)runstate(told).state, RUNSTATE_running, "its state");
    (void)guest_hypercall(__HYPERVISOR_hvm_op, HVMOP_guest_request_vm_event, 0, 0);
}

void guest_main(const struct hvm_start_info *info)
{
    struct vcpu_runstate_info now;
    uint64_t                  cr3;

    (void)info;
    for (uint64_t i = 0; i < FRAMES; i++)
        *(volatile uint64_t *)((ARENA + i) * PAGE) = 0xc3;
    guest_print("restless: begins\n");
    for (uint64_t round = 0;; round++) {
        for (uint64_t i = 0; i < FRAMES; i++) {
            one_page(i, round);
            __asm__ volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "=r"(cr3) : : "memory");
        }
        guest_wait_until(runstate(&now).state_entry_time + PAUSE);
    }
}
