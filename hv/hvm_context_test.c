/* test: with paging/ hv/ hv/pv_view.c */
/*
 * The control domain says how the vCPUs of a domain with a map of ours begin, by a list of records, and is told what
 * they are; whatever it says, and however far it comes, all of it is there or gone. Some of it is told and changed as
 * that of a PV guest's vCPU, too.
 */
#include "hv/hvm_world.h"

#define CONTEXT PAGE_OF(8) /* and the pages behind it */

#define DESCRIPTOR sizeof(struct hvm_save_descriptor)
#define HEADER     (DESCRIPTOR + sizeof(struct hvm_save_header))
#define REST                                                                                       \
    (3 * DESCRIPTOR + sizeof(struct hvm_hw_lapic) + sizeof(struct hvm_hw_lapic_regs) +             \
     sizeof(struct hvm_hw_mtrr))
#define CPU (DESCRIPTOR + sizeof(struct hvm_hw_cpu))

static uint8_t context[65536];

/* ---- how its vCPUs begin ---- */

static int64_t get_context(struct domain *d, uint32_t *size, bool place)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_gethvmcontext };
    int64_t           result;

    op.u.hvmcontext.size = *size;
    op.u.hvmcontext.buffer.p = place ? (void *)CONTEXT : NULL;
    result = domctl(control, d->id, &op);
    *size = op.u.hvmcontext.size;
    return result;
}

static int64_t set_context(struct domain *d, size_t size)
{
    struct xen_domctl op = { .cmd = XEN_DOMCTL_sethvmcontext };

    store(control, CONTEXT, context, size);
    op.u.hvmcontext.size = (uint32_t)size;
    op.u.hvmcontext.buffer.p = (void *)CONTEXT;
    return domctl(control, d->id, &op);
}

static size_t add(size_t at, uint16_t code, uint16_t instance, const void *what, size_t length)
{
    const struct hvm_save_descriptor s = { code, instance, (uint32_t)length };

    memcpy(context + at, &s, sizeof(s));
    memcpy(context + at + sizeof(s), what, length);
    return at + sizeof(s) + length;
}

static size_t add_header(size_t at)
{
    const struct hvm_save_header h = { .magic = HVM_FILE_MAGIC, .version = HVM_FILE_VERSION };

    return add(at, HVM_SAVE_CODE(HEADER), 0, &h, sizeof(h));
}

static size_t add_end(size_t at)
{
    return add(at, HVM_SAVE_CODE(END), 0, "", 0);
}

/* The record of this kind for this vCPU; NULL: there is none. */
static const uint8_t *find(size_t size, uint16_t code, uint16_t instance, size_t length)
{
    struct hvm_save_descriptor s;

    for (size_t at = 0; at < size; at += sizeof(s) + s.length) {
        memcpy(&s, context + at, sizeof(s));
        if (s.typecode != code || s.instance != instance)
            continue;
        assert_int_equal(s.length, length);
        return context + at + sizeof(s);
    }
    return NULL;
}

static void what_is_told_of_vcpus_begins_and_ends_as_it_should(void **state)
{
    struct domain                *d = filled(true);
    const struct hvm_save_header *header = (const void *)(context + DESCRIPTOR);
    uint32_t                      size = 0, less;

    (void)state;
    assert_int_equal(get_context(d, &size, false), 0);
    assert_int_equal(size, HEADER + 2 * REST + DESCRIPTOR);
    less = size - 1;
    assert_int_equal(get_context(d, &less, true), -XEN_ENOSPC);
    d->vcpu[1]->machine->mtrr.msr_pat_cr = 1234;
    size = sizeof(context);
    assert_int_equal(get_context(d, &size, true), 0);
    assert_int_equal(size, HEADER + 2 * REST + DESCRIPTOR);
    look(control, CONTEXT, context, size);
    assert_int_equal(context[0], HVM_SAVE_CODE(HEADER));
    assert_int_equal(header->magic, HVM_FILE_MAGIC);
    assert_int_equal(header->version, HVM_FILE_VERSION);
    assert_int_equal(header->cpuid, 0xf1);
    assert_int_equal(context[size - DESCRIPTOR], HVM_SAVE_CODE(END));
    assert_null(find(size, HVM_SAVE_CODE(CPU), 0, sizeof(struct hvm_hw_cpu)));
    assert_non_null(find(size, HVM_SAVE_CODE(LAPIC), 1, sizeof(struct hvm_hw_lapic)));
    assert_non_null(find(size, HVM_SAVE_CODE(LAPIC_REGS), 1, sizeof(struct hvm_hw_lapic_regs)));
    assert_int_equal(((const struct hvm_hw_mtrr *)(const void *)find(size, HVM_SAVE_CODE(MTRR), 1,
                                                                     sizeof(struct hvm_hw_mtrr)))
                         ->msr_pat_cr,
                     1234);
    d->vcpu[1]->state = VCPU_RUNNABLE;
    d->vcpu[1]->machine->cpu.rip = 0x5678;
    size = sizeof(context);
    assert_int_equal(get_context(d, &size, true), 0);
    assert_int_equal(size, HEADER + CPU + 2 * REST + DESCRIPTOR);
    look(control, CONTEXT, context, size);
    assert_int_equal(((const struct hvm_hw_cpu *)(const void *)find(size, HVM_SAVE_CODE(CPU), 1,
                                                                    sizeof(struct hvm_hw_cpu)))
                         ->rip,
                     0x5678);
    assert_null(find(size, HVM_SAVE_CODE(CPU), 0, 0));
}

static void one_record_may_be_asked_for(void **state)
{
    struct domain    *d = filled(true);
    struct xen_domctl op = { .cmd = XEN_DOMCTL_gethvmcontext_partial };
    struct hvm_hw_cpu first;

    (void)state;
    op.u.hvmcontext_partial.type = HVM_SAVE_CODE(CPU);
    assert_int_equal(domctl(control, d->id, &op), -XEN_ENOENT);
    d->vcpu[0]->state = VCPU_RUNNABLE;
    d->vcpu[0]->machine->cpu.rip = 0x1234;
    assert_int_equal(domctl(control, d->id, &op), 0);
    assert_int_equal(op.u.hvmcontext_partial.bufsz, sizeof(first));
    op.u.hvmcontext_partial.buffer.p = (void *)CONTEXT;
    assert_int_equal(domctl(control, d->id, &op), 0);
    look(control, CONTEXT, &first, sizeof(first));
    assert_int_equal(first.rip, 0x1234);
    op.u.hvmcontext_partial.bufsz = sizeof(first) - 1;
    assert_int_equal(domctl(control, d->id, &op), -XEN_ENOSPC);
    op.u.hvmcontext_partial.instance = 2;
    assert_int_equal(domctl(control, d->id, &op), -XEN_ENOENT);
    op.u.hvmcontext_partial.type = HVM_SAVE_CODE(PIT);
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
}

static void a_vcpu_begins_as_it_is_told(void **state)
{
    struct domain    *d = filled(true);
    struct hvm_hw_cpu first = { .rip = 0x100000 };
    size_t size = add_end(add(add_header(0), HVM_SAVE_CODE(CPU), 0, &first, sizeof(first)));

    (void)state;
    refuses = true;
    assert_int_equal(set_context(d, size), -XEN_EINVAL);
    assert_int_equal(d->vcpu[0]->state, VCPU_DOWN);
    refuses = false;
    assert_int_equal(set_context(d, size), 0);
    assert_int_equal(d->vcpu[0]->machine->cpu.rip, 0x100000);
    assert_int_equal(d->vcpu[0]->state, VCPU_RUNNABLE);
    assert_int_equal(d->vcpu[1]->state, VCPU_DOWN);
    assert_int_equal(set_context(d, size), 0); /* twice is as good */
    domain_unpause(d);
    cpu.pending = 0;
    assert_true(vcpu_may_run(d->vcpu[0]));
    assert_int_equal(set_context(d, size), -XEN_EOPNOTSUPP); /* it has run */
}

/* As it is saved and restored: one that has run, and another that was never anything. */
static void what_is_told_of_one_is_taken_by_another(void **state)
{
    struct domain *from = filled(true), *to = filled(false);
    uint32_t       size = sizeof(context);

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct machine_vcpu *m = from->vcpu[i]->machine;

        memset(m, (int)(i + 1), sizeof(*m));
    }
    from->vcpu[0]->state = VCPU_BLOCKED;
    domain_unpause(from);
    domain_stop(from, SHUTDOWN_suspend);
    assert_int_equal(get_context(from, &size, true), 0);
    look(control, CONTEXT, context, size);
    assert_int_equal(set_context(to, size), 0);
    assert_memory_equal(to->vcpu[0]->machine, from->vcpu[0]->machine, sizeof(struct machine_vcpu));
    assert_int_equal(to->vcpu[0]->state, VCPU_RUNNABLE);
    assert_int_equal(to->vcpu[1]->state, VCPU_DOWN); /* as it was: of it there are only parts */
    assert_int_equal(to->vcpu[1]->machine->cpu.rip, 0);
    assert_memory_equal(&to->vcpu[1]->machine->lapic_regs, &from->vcpu[1]->machine->lapic_regs,
                        sizeof(struct hvm_hw_lapic_regs));
}

/* A list of records with some bits of it turned: none of it may do harm. */
static void random_contexts_are_refused_or_taken(void **state)
{
    struct domain *d = filled(true);
    static uint8_t good[sizeof(context)];
    uint32_t       size = sizeof(context);
    uint64_t       dice = 4711;
    unsigned       taken = 0, refused = 0;

    (void)state;
    d->vcpu[0]->state = VCPU_RUNNABLE;
    assert_int_equal(get_context(d, &size, true), 0);
    look(control, CONTEXT, good, size);
    for (unsigned i = 0; i < 4000; i++) {
        int64_t result;

        memcpy(context, good, size);
        for (unsigned n = 0; n < 1 + i % 8; n++) {
            dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
            context[(dice >> 32) % ((i & 8) != 0 ? size : HEADER + DESCRIPTOR)] ^=
                (uint8_t)(1u << (dice >> 61));
        }
        result = set_context(d, (i & 7) == 7 ? (dice >> 40) % (size + 1) : size);
        if (result == 0)
            taken++;
        else
            refused++;
        assert_true(result == 0 || result == -XEN_EINVAL);
        assert_int_equal(d->vcpu[1]->state != VCPU_DOWN && d->vcpu[1]->state != VCPU_RUNNABLE, 0);
    }
    assert_true(taken > 100 && refused > 100);
    audit();
}

static void a_wild_context_is_refused(void **state)
{
    struct domain           *d = filled(true);
    const struct hvm_hw_mtrr mtrr = { .msr_pat_cr = 99 };
    struct hvm_save_header   header = { .magic = HVM_FILE_MAGIC, .version = 2 };
    struct xen_domctl        op = { .cmd = XEN_DOMCTL_sethvmcontext };
    size_t                   size = add_header(0), good;

    (void)state;
    good = add_end(add(size, HVM_SAVE_CODE(MTRR), 1, &mtrr, sizeof(mtrr)));
    assert_int_equal(set_context(d, good - DESCRIPTOR), -XEN_EINVAL); /* no end */
    assert_int_equal(set_context(d, good - DESCRIPTOR - 1), -XEN_EINVAL);
    assert_int_equal(set_context(d, 0), -XEN_EINVAL);
    (void)add_end(add(size, HVM_SAVE_CODE(MTRR), 2, &mtrr, sizeof(mtrr)));
    assert_int_equal(set_context(d, good), -XEN_EINVAL); /* no such vCPU */
    (void)add_end(add(size, HVM_SAVE_CODE(PIT), 0, &mtrr, sizeof(mtrr)));
    assert_int_equal(set_context(d, good), -XEN_EINVAL);
    (void)add_end(add(size, HVM_SAVE_CODE(MTRR), 0, &mtrr, sizeof(mtrr) - 8));
    assert_int_equal(set_context(d, good), -XEN_EINVAL);
    (void)add_end(add(add_header(size), HVM_SAVE_CODE(MTRR), 0, &mtrr, sizeof(mtrr)));
    assert_int_equal(set_context(d, good + HEADER), -XEN_EINVAL); /* a header in the middle */
    (void)add_end(add(0, HVM_SAVE_CODE(MTRR), 0, &mtrr, sizeof(mtrr)));
    assert_int_equal(set_context(d, good), -XEN_EINVAL); /* none at all */
    (void)add_end(add(0, HVM_SAVE_CODE(HEADER), 0, &header, sizeof(header)));
    assert_int_equal(set_context(d, good), -XEN_EINVAL);
    assert_int_equal(d->vcpu[0]->machine->mtrr.msr_pat_cr, 0);
    assert_int_equal(d->vcpu[1]->machine->mtrr.msr_pat_cr, 99); /* what had no end was taken */

    (void)add_end(add(add_header(0), HVM_SAVE_CODE(MTRR), 0, &mtrr, sizeof(mtrr)));
    assert_int_equal(set_context(d, good), 0);
    assert_int_equal(d->vcpu[0]->machine->mtrr.msr_pat_cr, 99);
    op.u.hvmcontext.size = (uint32_t)good;
    op.u.hvmcontext.buffer.p = (void *)WILD;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EFAULT);
    op.u.hvmcontext.size = UINT32_MAX;
    assert_int_equal(domctl(control, d->id, &op), -XEN_EINVAL);
}

static void a_context_is_not_for_everybody(void **state)
{
    static const uint32_t cmds[] = { XEN_DOMCTL_gethvmcontext, XEN_DOMCTL_gethvmcontext_partial,
                                     XEN_DOMCTL_sethvmcontext };
    struct domain        *d = filled(false), *stranger = other(CONFIG_PV);

    (void)state;
    for (unsigned i = 0; i < sizeof(cmds) / sizeof(cmds[0]); i++) {
        struct xen_domctl op = { .cmd = cmds[i] };

        op.u.hvmcontext.size = 100;
        assert_int_equal(domctl(stranger, d->id, &op), -XEN_EPERM);
        assert_int_equal(domctl(control, stranger->id, &op), -XEN_EINVAL);
        assert_int_equal(domctl(control, 999, &op), -XEN_ESRCH);
    }
}

/* ---- as a PV guest's vCPU ---- */

static int64_t vcpu_context(struct domain *who, struct domain *d, uint32_t cmd, uint32_t number)
{
    struct xen_domctl op = { .cmd = cmd };

    op.u.vcpucontext.vcpu = number;
    op.u.vcpucontext.ctxt.p = (void *)CONTEXT;
    return domctl(who, d->id, &op);
}

static int64_t change(struct domain *d, const struct vcpu_guest_context *c)
{
    store(control, CONTEXT, c, sizeof(*c));
    return vcpu_context(control, d, XEN_DOMCTL_setvcpucontext, 0);
}

static void registers_are_told_as_those_of_a_pv_guest(void **state)
{
    struct domain            *d = filled(true), *stranger = other(CONFIG_PV);
    struct vcpu_guest_context c;
    struct hvm_hw_cpu        *regs = &d->vcpu[0]->machine->cpu;

    (void)state;
    assert_int_equal(vcpu_context(control, d, XEN_DOMCTL_getvcpucontext, 0), -XEN_ENODATA);
    assert_int_equal(vcpu_context(control, d, XEN_DOMCTL_getvcpucontext, 2), -XEN_EINVAL);
    assert_int_equal(vcpu_context(stranger, d, XEN_DOMCTL_getvcpucontext, 0), -XEN_EPERM);
    for (size_t i = 0; i < sizeof(*regs); i++)
        ((uint8_t *)regs)[i] = (uint8_t)(i / 8);
    regs->cs_sel = 0x33;
    d->vcpu[0]->state = VCPU_RUNNABLE;
    assert_int_equal(vcpu_context(control, d, XEN_DOMCTL_getvcpucontext, 0), 0);
    look(control, CONTEXT, &c, sizeof(c));
    assert_int_equal(c.flags, VGCF_i387_valid | VGCF_online);
    assert_int_equal(c.user_regs.rax, regs->rax);
    assert_int_equal(c.user_regs.rdi, regs->rdi);
    assert_int_equal(c.user_regs.rsp, regs->rsp);
    assert_int_equal(c.user_regs.r8, regs->r8);
    assert_int_equal(c.user_regs.r15, regs->r15);
    assert_int_equal(c.user_regs.rip, regs->rip);
    assert_int_equal(c.user_regs.rflags, regs->rflags);
    assert_int_equal(c.user_regs.cs, 0x33);
    assert_int_equal(c.user_regs.gs, (uint16_t)regs->gs_sel);
    assert_int_equal(c.ctrlreg[0], regs->cr0);
    assert_int_equal(c.ctrlreg[3], regs->cr3);
    assert_int_equal(c.debugreg[7], regs->dr7);
    assert_memory_equal(&c.fpu_ctxt, regs->fpu_regs, sizeof(regs->fpu_regs));
    regs->cs_sel = 0x10;
    assert_int_equal(vcpu_context(control, d, XEN_DOMCTL_getvcpucontext, 0), 0);
    look(control, CONTEXT, &c, sizeof(c));
    assert_int_equal(c.flags, VGCF_i387_valid | VGCF_online | VGCF_in_kernel);
}

static void of_one_that_is_suspended_general_registers_are_changed(void **state)
{
    struct domain            *d = filled(false);
    struct vcpu_guest_context c;
    struct hvm_hw_cpu         first = { .rip = 0x100000, .rax = 0, .cr3 = 0x5000 };

    (void)state;
    assert_int_equal(
        set_context(d, add_end(add(add_header(0), HVM_SAVE_CODE(CPU), 0, &first, sizeof(first)))),
        0);
    assert_int_equal(vcpu_context(control, d, XEN_DOMCTL_getvcpucontext, 0), 0);
    look(control, CONTEXT, &c, sizeof(c));
    c.user_regs.rax = 1;
    assert_int_equal(change(d, &c), -XEN_EOPNOTSUPP); /* it has not run */
    domain_unpause(d);
    domain_stop(d, SHUTDOWN_suspend);
    assert_int_equal(vcpu_context(control, d, XEN_DOMCTL_setvcpucontext, 1), -XEN_EOPNOTSUPP);
    assert_int_equal(change(d, &c), 0);
    assert_int_equal(d->vcpu[0]->machine->cpu.rax, 1);
    assert_int_equal(d->vcpu[0]->machine->cpu.rip, 0x100000);
    for (unsigned i = 0; i < 5; i++) {
        struct vcpu_guest_context other = c;

        other.user_regs.rax = 99;
        if (i == 0)
            other.ctrlreg[3] ^= 0x1000;
        else if (i == 1)
            other.user_regs.cs ^= 8;
        else if (i == 2)
            other.flags ^= VGCF_online;
        else if (i == 3)
            other.kernel_sp = 8;
        else
            other.fpu_ctxt.x[5] ^= 1;
        assert_int_equal(change(d, &other), -XEN_EOPNOTSUPP);
        assert_int_equal(d->vcpu[0]->machine->cpu.rax, 1);
    }
}

/* ---- the end ---- */

static void a_half_made_domain_goes_away(void **state)
{
    struct xen_domctl end = { .cmd = XEN_DOMCTL_destroydomain };
    uint64_t          before_it = alloc_free_count();

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        bool           nested = i & 1;
        struct domain *d = i < 2 ? made(nested) : filled(nested);

        if (i >= 4)
            assert_int_equal(set_context(d, add_end(add(add_header(0), HVM_SAVE_CODE(CPU), 0,
                                                        &(struct hvm_hw_cpu){ .rip = 1 },
                                                        sizeof(struct hvm_hw_cpu)))),
                             0);
        if (i >= 6)
            assert_int_equal(simple(control, d, XEN_DOMCTL_unpausedomain, 0), 0);
        assert_int_equal(domctl(control, d->id, &end), 0);
        while (!domain_destroy_step(d))
            ;
        assert_int_equal(alloc_free_count(), before_it);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(what_is_told_of_vcpus_begins_and_ends_as_it_should),
        CONTROL(one_record_may_be_asked_for),
        CONTROL(a_vcpu_begins_as_it_is_told),
        CONTROL(what_is_told_of_one_is_taken_by_another),
        CONTROL(random_contexts_are_refused_or_taken),
        CONTROL(a_wild_context_is_refused),
        CONTROL(a_context_is_not_for_everybody),
        CONTROL(registers_are_told_as_those_of_a_pv_guest),
        CONTROL(of_one_that_is_suspended_general_registers_are_changed),
        CONTROL(a_half_made_domain_goes_away),
    };

    return cmocka_run_group_tests(tests, machine_up, machine_down);
}
