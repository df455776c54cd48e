/*
 * Works until it is ended, for the tests of listeners that go: writes to and fetches from pages, loads CR3, and has
 * the hypervisor write into them. What is in the pages is looked at each time.
 */
#include "test/guests/pv/pv.h"

const char pv_name[] = "restless";

#define ARENA  0x300ul /* its first frame; the builder has mapped it */
#define FRAMES 24ul
#define PAUSE  10000000ul /* ns */

static struct vcpu_runstate_info runstate(struct vcpu_runstate_info *at)
{
    pv_check((uint64_t)pv_call(__HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0, (uint64_t)at, 0),
             0, "VCPUOP_get_runstate_info");
    return *at;
}

static void one_page(uint64_t frame, uint64_t round)
{
    volatile uint64_t         *page = (volatile uint64_t *)((ARENA + frame) * PAGE);
    struct vcpu_runstate_info *told = (struct vcpu_runstate_info *)((ARENA + frame) * PAGE + 512);

    pv_check(page[0], round << 8 | 0xc3, "a page's first word");
    page[0] = (round + 1) << 8 | 0xc3; /* RET */
    ((void (*)(void))((ARENA + frame) * PAGE))();
    told->state = 77;
    pv_check((uint64_t)runstate(told).state, RUNSTATE_running, "its state");
    (void)pv_call(__HYPERVISOR_hvm_op, HVMOP_guest_request_vm_event, 0, 0, 0);
    pv_check((uint64_t)pv_mmuext(MMUEXT_NEW_BASEPTR, pv_mfn((void *)pv_info->pt_base), 0), 0,
             "loading CR3");
}

void pv_main(void)
{
    struct vcpu_runstate_info now;
    struct sched_poll         poll = { .nr_ports = 0 };

    for (uint64_t i = 0; i < FRAMES; i++)
        *(volatile uint64_t *)((ARENA + i) * PAGE) = 0xc3;
    pv_print("restless: begins\n");
    for (uint64_t round = 0;; round++) {
        for (uint64_t i = 0; i < FRAMES; i++)
            one_page(i, round);
        poll.timeout = runstate(&now).state_entry_time + PAUSE;
        (void)pv_call(__HYPERVISOR_sched_op, SCHEDOP_poll, (uint64_t)&poll, 0, 0);
    }
}
