/*
 * Stories of pv-fuzz.c about structures that cannot be read or cannot be written, and about calls
 * that are made with the utmost care, since the guest lives by them. Part of that file.
 */
#ifndef TEST_GUESTS_PV_FUZZ_WRONG_H
#define TEST_GUESTS_PV_FUZZ_WRONG_H

/* Where nothing can be written; most of it cannot be read either. */
static uint64_t wrong_address(void)
{
    switch (roll(6)) {
    case 0:
        return MACH2PHYS_VIRT_START + 8 * roll(max);
    case 1:
        return 0xffff830000000000ul + roll(1ul << 40);
    case 2:
        return ~0ul - roll(64);
    case 3:
        return 1ul << 47 | dice >> 20;
    case 4:
        return 0x80000000ul + roll(1ul << 30);
    default:
        return 0x7ffffffffffful - roll(64);
    }
}

/* The area, in a page that can only be read; or nowhere. */
static uint64_t read_only_area(void)
{
    unsigned page = (unsigned)roll(POOL);

    if (roll(3) == 0 || !map_at(pool[page], pool_at[page] | FLAGS))
        return wrong_address();
    for (unsigned i = 0; i < WORDS; i++)
        (void)pv_store((uint64_t)&pool[page][i], area[i]);
    return map_at(pool[page], pool_at[page] | P | U | A) ? (uint64_t)pool[page] : wrong_address();
}

/* Structures that are right, as far as they can be read. */
static bool tell_wrong(void)
{
    static const struct {
        uint8_t nr, at; /* which argument is the structure's address */
        uint8_t ops;    /* of argument 0; 0: it is no operation */
    } calls_of[] = {
        { __HYPERVISOR_event_channel_op, 1, 14 }, { __HYPERVISOR_grant_table_op, 1, 13 },
        { __HYPERVISOR_memory_op, 1, 30 },        { __HYPERVISOR_xen_version, 1, 12 },
        { __HYPERVISOR_vcpu_op, 2, 14 },          { __HYPERVISOR_physdev_op, 1, 30 },
        { __HYPERVISOR_mmu_update, 2, 0 },        { __HYPERVISOR_mmuext_op, 2, 0 },
        { __HYPERVISOR_set_gdt, 0, 0 },           { __HYPERVISOR_multicall, 0, 0 },
    };
    unsigned i = (unsigned)roll(sizeof(calls_of) / sizeof(calls_of[0]));
    uint64_t arg[4] = { (uint64_t)area, 1, 0, DOMID_SELF };

    fill(calls_of[i].nr);
    if (calls_of[i].ops != 0) {
        arg[0] = roll(calls_of[i].ops);
        arg[1] = 0; /* vCPU */
        arg[2] = 1; /* count */
        for (unsigned word = 0; calls_of[i].nr != __HYPERVISOR_memory_op && word < 4; word++)
            area[word] = roll(2) ? DOMID_SELF : roll(4);
    }
    if (calls_of[i].nr == __HYPERVISOR_vcpu_op && arg[0] == VCPUOP_down)
        return false;
    if (calls_of[i].nr == __HYPERVISOR_multicall) {
        area[0] = __HYPERVISOR_xen_version;
        area[2] = roll(12);
        area[3] = wrong_address();
    }
    arg[calls_of[i].at] = roll(4) ? read_only_area() : wrong_address();
    return made(calls_of[i].nr, arg[0], arg[1], arg[2], arg[3]) < 0;
}

/* These would end the guest if they could read what they are told to. */
static bool tell_nowhere(void)
{
    uint64_t at = 0xffff830000000000ul + roll(1ul << 40);

    switch (roll(6)) {
    case 0:
        return made(__HYPERVISOR_sched_op, SCHEDOP_shutdown + roll(6), at, 0, 0) < 0;
    case 1:
        return made(__HYPERVISOR_set_trap_table, at, 0, 0, 0) < 0;
    case 2:
        return made(__HYPERVISOR_callback_op, roll(3), at, 0, 0) < 0;
    case 3:
        return made(__HYPERVISOR_console_io, roll(3), dice, at, 0) < 0;
    case 4:
        return made(__HYPERVISOR_set_callbacks, at, at, at, 0) < 0;
    default:
        return made(__HYPERVISOR_nmi_op, 0, at, 0, 0) < 0;
    }
}

static bool tell_callbacks(void)
{
    static const struct {
        uint16_t type;
        unsigned vector;
    } known[] = { { CALLBACKTYPE_event, VECTOR_EVENT },
                  { CALLBACKTYPE_failsafe, VECTOR_FAILSAFE },
                  { CALLBACKTYPE_syscall, VECTOR_SYSCALL },
                  { CALLBACKTYPE_syscall32, VECTOR_SYSCALL },
                  { CALLBACKTYPE_nmi, 2 },
                  { CALLBACKTYPE_sysenter, VECTOR_SYSENTER } };
    unsigned                   i = (unsigned)roll(6);
    struct callback_register   r = { .type = known[i].type,
                                     .flags = (uint16_t)roll(4),
                                     .address = (uint64_t)pv_vectors + known[i].vector * 16 };
    struct callback_unregister u = { .type = (uint16_t)(roll(4) ? known[i].type : dice) };

    if (roll(4) == 0)
        return made(__HYPERVISOR_callback_op, CALLBACKOP_unregister, (uint64_t)&u, 0, 0) == 0;
    if (roll(4) == 0)
        return made(__HYPERVISOR_set_callbacks, (uint64_t)pv_vectors + VECTOR_EVENT * 16,
                    (uint64_t)pv_vectors + VECTOR_FAILSAFE * 16,
                    (uint64_t)pv_vectors + VECTOR_SYSCALL * 16, 0) == 0;
    return made(__HYPERVISOR_callback_op, CALLBACKOP_register, (uint64_t)&r, 0, 0) == 0;
}

static bool tell_elsewhere(void)
{
    unsigned page = (unsigned)roll(POOL);
    uint64_t flags = roll(8);

    if (roll(2))
        return made(__HYPERVISOR_vm_assist, roll(3), roll(8), 0, 0) == 0;
    return made(__HYPERVISOR_update_va_mapping_otherdomain, (uint64_t)pool[page], good_entry(),
                flags, domain()) == 0;
}

#endif
