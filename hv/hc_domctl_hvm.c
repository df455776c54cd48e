/*
 * domctl: what only domains with a map of ours have: a pool for our tables, and vCPUs whose state is a list of
 * records (domctl.h, hvm/save.h, arch-x86/hvm/save.h). How their memory comes, hc_memory.c says. Some of that
 * state may be told and changed as that of a PV guest's vCPU, too.
 */
#include <string.h>

#include "hv/alloc.h"
#include "hv/domain_pool.h"
#include "hv/hc_control.h"
#include "hv/time.h"

/* ---- the pool ---- */

int64_t domctl_get_mempool_size(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)v;
    if (d->pv != NULL)
        return -XEN_EOPNOTSUPP;
    op->u.paging_mempool.size = (uint64_t)d->paging.pool.total << PAGE_SHIFT;
    return 0;
}

/* What it must have, once it has all the memory that it may have. */
static uint64_t least(const struct domain *d)
{
    uint64_t most = d->max_pages < machine_phys.frames ? d->max_pages : machine_phys.frames;

    return domain_pool_least(d, most > d->pages ? most - d->pages : 0);
}

/*
 * The tools know how much Xen's tables take, and ask for less than ours may need: it gets the least then. Each
 * call that is made again finds less left to be done.
 */
int64_t domctl_set_pool(struct domain *d, uint64_t frames)
{
    if (d->pv != NULL)
        return -XEN_EOPNOTSUPP;
    if (frames < least(d))
        frames = least(d);
    switch (domain_pool_set(d, frames)) {
    case DOMAIN_POOL_DONE:
        return 0;
    case DOMAIN_POOL_AGAIN:
        return HC_AGAIN;
    case DOMAIN_POOL_NO_MEMORY:
        return -XEN_ENOMEM;
    case DOMAIN_POOL_IN_USE:
        return -XEN_EBUSY;
    case DOMAIN_POOL_REFUSED:
        break;
    }
    return -XEN_EINVAL;
}

int64_t domctl_set_mempool_size(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    uint64_t bytes = op->u.paging_mempool.size;

    (void)v;
    if ((bytes & PAGE_MASK) != 0 && d->pv == NULL)
        return -XEN_EINVAL;
    return domctl_set_pool(d, bytes >> PAGE_SHIFT);
}

/* ---- records ---- */

/* Any of them, for the size of the largest. */
union record {
    struct hvm_save_header   header;
    struct hvm_hw_cpu        cpu;
    struct hvm_hw_lapic      lapic;
    struct hvm_hw_lapic_regs lapic_regs;
    struct hvm_hw_mtrr       mtrr;
};

static void save_header(struct vcpu *none, union record *r)
{
    uint32_t leaf, b, c, d;

    (void)none;
    r->header = (struct hvm_save_header){ .magic = HVM_FILE_MAGIC,
                                          .version = HVM_FILE_VERSION,
                                          .gtsc_khz = (uint32_t)machine_ticks_per_ms() };
    for (unsigned i = 0; machine_guest_cpuid(i, &leaf, &r->header.cpuid, &b, &c, &d); i++)
        if (leaf == 1)
            return;
}

/* From which processor it comes is only told. */
static bool load_header(struct vcpu *none, const union record *r)
{
    (void)none;
    return r->header.magic == HVM_FILE_MAGIC && r->header.version == HVM_FILE_VERSION;
}

static void save_cpu(struct vcpu *v, union record *r)
{
    machine_vcpu_save(v, &r->cpu);
}

/* With its registers a vCPU is up. */
static bool load_cpu(struct vcpu *v, const union record *r)
{
    if (!machine_vcpu_load(v, &r->cpu))
        return false;
    if (v->state == VCPU_DOWN) {
        v->state = VCPU_RUNNABLE;
        time_runstate(v, RUNSTATE_runnable);
    }
    time_wallclock_write(v->domain);
    return true;
}

static void save_mtrr(struct vcpu *v, union record *r)
{
    machine_vcpu_save_mtrr(v, &r->mtrr);
}

static bool load_mtrr(struct vcpu *v, const union record *r)
{
    return machine_vcpu_load_mtrr(v, &r->mtrr);
}

static void save_lapic(struct vcpu *v, union record *r)
{
    machine_vcpu_save_lapic(v, &r->lapic);
}

static bool load_lapic(struct vcpu *v, const union record *r)
{
    return machine_vcpu_load_lapic(v, &r->lapic);
}

static void save_lapic_regs(struct vcpu *v, union record *r)
{
    machine_vcpu_save_lapic_regs(v, &r->lapic_regs);
}

static bool load_lapic_regs(struct vcpu *v, const union record *r)
{
    return machine_vcpu_load_lapic_regs(v, &r->lapic_regs);
}

/* In the order in which they are written; END comes behind all of them. */
static const struct record_kind {
    uint16_t code;
    uint32_t length;
    void (*save)(struct vcpu *v, union record *r);
    bool (*load)(struct vcpu *v, const union record *r);
    bool each; /* one for each vCPU, and not one of the domain */
    bool up;   /* one that is down has none */
} kinds[] = {
    { HVM_SAVE_CODE(HEADER), HVM_SAVE_LENGTH(HEADER), save_header, load_header, false, false },
    { HVM_SAVE_CODE(CPU), HVM_SAVE_LENGTH(CPU), save_cpu, load_cpu, true, true },
    { HVM_SAVE_CODE(LAPIC), HVM_SAVE_LENGTH(LAPIC), save_lapic, load_lapic, true, false },
    { HVM_SAVE_CODE(LAPIC_REGS), HVM_SAVE_LENGTH(LAPIC_REGS), save_lapic_regs, load_lapic_regs,
      true, false },
    { HVM_SAVE_CODE(MTRR), HVM_SAVE_LENGTH(MTRR), save_mtrr, load_mtrr, true, false },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

#define DESCRIPTOR sizeof(struct hvm_save_descriptor)
/* What is larger has a record twice. */
#define CONTEXT_MAX (DOMAIN_VCPUS_MAX * KINDS * (DESCRIPTOR + sizeof(union record)))

static const struct record_kind *kind_of_code(uint32_t code)
{
    for (unsigned i = 0; i < KINDS; i++)
        if (kinds[i].code == code)
            return &kinds[i];
    return NULL;
}

static unsigned instances(const struct domain *d, const struct record_kind *k)
{
    return k->each ? d->nr_vcpus : 1;
}

static bool has_record(const struct domain *d, const struct record_kind *k, unsigned instance)
{
    return instance < instances(d, k) && !(k->up && d->vcpu[instance]->state == VCPU_DOWN);
}

static size_t put_descriptor(uint8_t *to, uint16_t code, unsigned instance, uint32_t length)
{
    const struct hvm_save_descriptor s = { code, (uint16_t)instance, length };

    if (to != NULL)
        memcpy(to, &s, sizeof(s));
    return sizeof(s);
}

/* One record, with its descriptor; returns its size. NULL: only that. */
static size_t put(const struct domain *d, uint8_t *to, const struct record_kind *k,
                  unsigned instance)
{
    union record r;
    size_t       at = put_descriptor(to, k->code, instance, k->length);

    if (to != NULL) {
        memset(&r, 0, sizeof(r));
        k->save(k->each ? d->vcpu[instance] : NULL, &r);
        memcpy(to + at, &r, k->length);
    }
    return at + k->length;
}

/* All of them. */
static size_t put_all(const struct domain *d, uint8_t *to)
{
    size_t at = 0;

    for (unsigned i = 0; i < KINDS; i++)
        for (unsigned n = 0; n < instances(d, &kinds[i]); n++)
            if (has_record(d, &kinds[i], n))
                at += put(d, to != NULL ? to + at : NULL, &kinds[i], n);
    return at + put_descriptor(to != NULL ? to + at : NULL, HVM_SAVE_CODE(END), 0, 0);
}

/* ---- out ---- */

/* Without a place for it only its size is told. */
int64_t domctl_gethvmcontext(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_hvmcontext *arg = &op->u.hvmcontext;
    size_t                        size = put_all(d, NULL);
    uint8_t                      *bytes;
    bool                          good;

    if (d == v->domain || d->pv != NULL)
        return -XEN_EINVAL;
    if (hc_address(arg->buffer.p) == 0) {
        arg->size = (uint32_t)size;
        return 0;
    }
    if (arg->size < size)
        return -XEN_ENOSPC;
    bytes = alloc_bytes(size);
    if (bytes == NULL)
        return -XEN_ENOMEM;
    arg->size = (uint32_t)put_all(d, bytes);
    good = guest_copy_out(v, hc_address(arg->buffer.p), bytes, size);
    free_bytes(bytes, size);
    return good ? 0 : -XEN_EFAULT;
}

/* One record, without its descriptor. */
int64_t domctl_gethvmcontext_partial(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_hvmcontext_partial *arg = &op->u.hvmcontext_partial;
    const struct record_kind             *k = kind_of_code(arg->type);
    uint8_t                               bytes[DESCRIPTOR + sizeof(union record)];

    if (d == v->domain || d->pv != NULL || k == NULL)
        return -XEN_EINVAL;
    if (!has_record(d, k, arg->instance))
        return -XEN_ENOENT;
    if (hc_address(arg->buffer.p) == 0) {
        arg->bufsz = k->length;
        return 0;
    }
    if (arg->bufsz < k->length)
        return -XEN_ENOSPC;
    (void)put(d, bytes, k, arg->instance);
    arg->bufsz = k->length;
    return guest_copy_out(v, hc_address(arg->buffer.p), bytes + DESCRIPTOR, k->length)
               ? 0
               : -XEN_EFAULT;
}

/* ---- in ---- */

/* What comes before a record that is refused has been taken. */
static int64_t load(struct domain *d, const uint8_t *bytes, size_t size)
{
    struct hvm_save_descriptor s;
    const struct record_kind  *k;
    union record               r;

    for (size_t at = 0; size - at >= DESCRIPTOR; at += s.length) {
        memcpy(&s, bytes + at, sizeof(s));
        at += DESCRIPTOR;
        if (s.typecode == HVM_SAVE_CODE(END))
            return s.length == 0 ? 0 : -XEN_EINVAL;
        k = kind_of_code(s.typecode);
        /* The header is the first, and only that. */
        if (k == NULL || (k == &kinds[0]) != (at == DESCRIPTOR) || s.length != k->length ||
            s.length > size - at || s.instance >= instances(d, k))
            return -XEN_EINVAL;
        memcpy(&r, bytes + at, s.length);
        if (!k->load(k->each ? d->vcpu[s.instance] : NULL, &r))
            return -XEN_EINVAL;
    }
    return -XEN_EINVAL; /* it has no end */
}

/* How vCPUs begin, before their domain has run. */
int64_t domctl_sethvmcontext(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_hvmcontext *arg = &op->u.hvmcontext;
    uint8_t                            *bytes;
    int64_t                             result = -XEN_EFAULT;

    if (d == v->domain || d->pv != NULL || arg->size < DESCRIPTOR || arg->size > CONTEXT_MAX)
        return -XEN_EINVAL;
    if (d->state != DOMAIN_BUILDING)
        return -XEN_EOPNOTSUPP;
    bytes = alloc_bytes(arg->size);
    if (bytes == NULL)
        return -XEN_ENOMEM;
    if (guest_copy_in(v, bytes, hc_address(arg->buffer.p), arg->size))
        result = load(d, bytes, arg->size);
    free_bytes(bytes, arg->size);
    return result;
}

/* ---- as a PV guest's ---- */

#define EACH_SELECTOR(what) what(cs) what(ss) what(ds) what(es) what(fs) what(gs)
/* Those that may be changed. */
#define EACH_REGISTER(what)                                                                        \
    what(rax) what(rbx) what(rcx) what(rdx) what(rsi) what(rdi) what(rbp) what(rsp) what(r8)       \
        what(r9) what(r10) what(r11) what(r12) what(r13) what(r14) what(r15) what(rip)             \
            what(rflags)

void hvm_vcpu_tell(struct vcpu *v, struct vcpu_guest_context *c)
{
    struct hvm_hw_cpu cpu;

    machine_vcpu_save(v, &cpu);
    memset(c, 0, sizeof(*c));
    c->flags = VGCF_i387_valid | VGCF_online | ((cpu.cs_sel & 3) == 0 ? VGCF_in_kernel : 0);
#define TELL(r) c->user_regs.r = cpu.r;
    EACH_REGISTER(TELL)
#undef TELL
#define TELL(s) c->user_regs.s = (uint16_t)cpu.s##_sel;
    EACH_SELECTOR(TELL)
#undef TELL
    memcpy(&c->fpu_ctxt, cpu.fpu_regs, sizeof(cpu.fpu_regs));
    c->ctrlreg[0] = cpu.cr0, c->ctrlreg[2] = cpu.cr2;
    c->ctrlreg[3] = cpu.cr3, c->ctrlreg[4] = cpu.cr4;
    c->debugreg[0] = cpu.dr0, c->debugreg[1] = cpu.dr1, c->debugreg[2] = cpu.dr2;
    c->debugreg[3] = cpu.dr3, c->debugreg[6] = cpu.dr6, c->debugreg[7] = cpu.dr7;
    c->vm_assist = v->domain->vm_assist;
}

/* Its return code of a call that suspended it is what the tools change. */
int64_t hvm_vcpu_change(struct vcpu *v, const struct vcpu_guest_context *c)
{
    struct vm_event_regs_x86   regs = { 0 };
    struct vcpu_guest_context *now;
    bool                       same;

    if (v->domain->state == DOMAIN_BUILDING || v->state == VCPU_DOWN)
        return -XEN_EOPNOTSUPP;
    now = alloc_bytes(sizeof(*now));
    if (now == NULL)
        return -XEN_ENOMEM;
    hvm_vcpu_tell(v, now);
#define TAKE(r) regs.r = now->user_regs.r = c->user_regs.r;
    EACH_REGISTER(TAKE)
#undef TAKE
    same = memcmp(now, c, sizeof(*now)) == 0;
    free_bytes(now, sizeof(*now));
    if (!same)
        return -XEN_EOPNOTSUPP;
    machine_vcpu_event_set_regs(v, &regs);
    return 0;
}
