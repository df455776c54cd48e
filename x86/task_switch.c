/* See task_switch.h. */
#include "x86/task_switch.h"

#include "x86/hw/cpu.h"

/* A descriptor's attributes as a segment register has them: type, S, DPL, P; APM vol. 2, 4.7. */
enum {
    TYPE = 0x0f,
    TYPE_LDT = 0x02,
    TYPE_GATE = 0x05,
    TYPE_BUSY = 0x02,   /* of a TSS */
    TYPE_TSS_32 = 0x08, /* of a TSS */
    TYPE_ACCESSED = 0x01,
    TYPE_WRITABLE = 0x02,   /* of data; of code: readable */
    TYPE_CONFORMING = 0x04, /* of code */
    TYPE_CODE = 0x08,
    SEGMENT = 0x10, /* S: code or data */
    PRESENT = 0x80,
    BIG = 0x400,
    GRANULAR = 0x800,
};
#define TSS_AVAILABLE     0x01u /* the type of one without the bits BUSY and 32 */
#define ATTRIBUTES_V86    0xf3u
#define SELECTOR_LOCAL    4u
#define SELECTOR_RPL      3u
#define SELECTOR_ERROR    0xfffcu /* what an error code has of it */
#define DESCRIPTOR_BYTES  8u
#define DESCRIPTOR_TYPE   5u /* offset of the byte with type, S, DPL, P */
#define ERROR_EXT         1u
#define EFLAGS_VALID      0x003f7fd5u
#define DR7_LOCAL         0x55u
#define TASK_TRAP_T       1u
#define GENERAL_REGISTERS 8u

/* One switch, or one LTR, under way. */
struct work {
    struct task_cpu          *cpu;
    const struct task_memory *memory;
    struct task_result        result;
    uint32_t                  external; /* ERROR_EXT or 0 */
};

struct descriptor {
    uint64_t address; /* linear, where it stands */
    uint32_t low, high;
};

/* What a TSS says, whatever its width. */
struct state {
    bool     wide;
    uint32_t cr3, eip, eflags, gpr[GENERAL_REGISTERS];
    uint16_t segment[SEGMENTS], ldt, trap;
};

static bool raise(struct work *w, uint8_t vector, uint32_t error)
{
    w->result.outcome = TASK_EXCEPTION;
    w->result.vector = vector;
    w->result.error = error;
    return false;
}

static bool raise_selector(struct work *w, uint8_t vector, uint16_t selector)
{
    return raise(w, vector, (selector & SELECTOR_ERROR) | w->external);
}

/* ---- memory ---- */

static bool page_fault(struct work *w)
{
    w->result.outcome = TASK_PAGE_FAULT;
    return false;
}

static bool get(struct work *w, uint64_t linear, void *to, unsigned length, enum emu_access access)
{
    return w->memory->read(w->memory->context, linear, to, length, access) || page_fault(w);
}

static bool put(struct work *w, uint64_t linear, const void *from, unsigned length)
{
    return w->memory->write(w->memory->context, linear, from, length) || page_fault(w);
}

/* ---- descriptors ---- */

static uint16_t attributes_of(const struct descriptor *d)
{
    return (uint16_t)((d->high >> 8 & 0xff) | (d->high >> 12 & 0xf00));
}

static uint32_t base_of(const struct descriptor *d)
{
    return d->low >> 16 | (d->high & 0xff) << 16 | (d->high & 0xff000000);
}

static uint32_t limit_of(const struct descriptor *d)
{
    uint32_t limit = (d->low & 0xffff) | (d->high & 0xf0000);

    return attributes_of(d) & GRANULAR ? limit << 12 | 0xfff : limit;
}

static unsigned dpl_of(unsigned attributes)
{
    return attributes >> 5 & 3;
}

static bool is_tss(unsigned attributes)
{
    return (attributes & (SEGMENT | TYPE) & ~(unsigned)(TYPE_BUSY | TYPE_TSS_32)) == TSS_AVAILABLE;
}

/* Where the descriptor is that a selector names; false: behind the end of its table. */
static bool locate(const struct task_cpu *cpu, uint16_t selector, uint32_t *address)
{
    const struct emu_segment *table =
        &cpu->segment[selector & SELECTOR_LOCAL ? TASK_LDTR : TASK_GDTR];
    bool usable = !(selector & SELECTOR_LOCAL) || (table->attributes & PRESENT);

    *address = (uint32_t)table->base + (selector & 0xfff8u);
    return usable && (selector | 7u) <= table->limit;
}

static bool is_null(uint16_t selector)
{
    return (selector & SELECTOR_ERROR) == 0;
}

static bool read_descriptor(const struct task_memory *memory, uint64_t address,
                            struct descriptor *d)
{
    uint32_t raw[2];

    if (!memory->read(memory->context, address, raw, DESCRIPTOR_BYTES, EMU_READ))
        return false;
    *d = (struct descriptor){ address, raw[0], raw[1] };
    return true;
}

/* The descriptor, or the exception: `vector` with the selector, if it is null or nowhere. */
static bool find(struct work *w, uint16_t selector, uint8_t vector, struct descriptor *d)
{
    uint32_t address;

    if (is_null(selector) || !locate(w->cpu, selector, &address))
        return raise_selector(w, vector, selector);
    return read_descriptor(w->memory, address, d) || page_fault(w);
}

/* Changes bits in the byte that has the type; the others are what they were when it was read. */
static bool write_type(struct work *w, const struct descriptor *d, unsigned set, unsigned clear)
{
    uint8_t byte = (uint8_t)((d->high >> 8 & ~clear) | set);

    return put(w, d->address + DESCRIPTOR_TYPE, &byte, 1);
}

static bool is_writable(struct work *w, const struct descriptor *d)
{
    uint8_t byte;

    return get(w, d->address + DESCRIPTOR_TYPE, &byte, 1, EMU_MODIFY);
}

static void set_segment(struct emu_segment *s, uint16_t selector, const struct descriptor *d,
                        unsigned more)
{
    *s = (struct emu_segment){ selector, (uint16_t)(attributes_of(d) | more), limit_of(d),
                               base_of(d) };
}

/* ---- what leads to a task ---- */

/* A task gate, or a TSS that is not busy, which this privilege may use. */
static bool leads_to_task(const struct descriptor *d, unsigned privilege, uint16_t selector,
                          uint16_t *tss)
{
    unsigned a = attributes_of(d);

    if (dpl_of(a) < privilege || !(a & PRESENT))
        return false;
    if ((a & (SEGMENT | TYPE)) == TYPE_GATE)
        *tss = (uint16_t)(d->low >> 16);
    else if (is_tss(a) && !(a & TYPE_BUSY))
        *tss = selector;
    else
        return false;
    return true;
}

enum task_found task_find_branch(const struct task_cpu *cpu, const struct task_memory *memory,
                                 uint16_t selector, uint16_t *tss)
{
    unsigned          rpl = selector & SELECTOR_RPL;
    struct descriptor d;
    uint32_t          address;

    if (is_null(selector) || !locate(cpu, selector, &address))
        return TASK_NONE;
    if (!read_descriptor(memory, address, &d))
        return TASK_FOUND_FAULT;
    return leads_to_task(&d, rpl > cpu->cpl ? rpl : cpu->cpl, selector, tss) ? TASK_FOUND
                                                                             : TASK_NONE;
}

enum task_found task_find_event(const struct task_cpu *cpu, const struct task_memory *memory,
                                uint8_t vector, bool software, uint16_t *tss)
{
    const struct emu_segment *idt = &cpu->segment[TASK_IDTR];
    struct descriptor         d;

    if (vector * DESCRIPTOR_BYTES + 7 > idt->limit)
        return TASK_NONE;
    if (!read_descriptor(memory, (uint32_t)idt->base + vector * DESCRIPTOR_BYTES, &d))
        return TASK_FOUND_FAULT;
    if ((attributes_of(&d) & (SEGMENT | TYPE)) != TYPE_GATE)
        return TASK_NONE;
    return leads_to_task(&d, software ? cpu->cpl : 0, 0, tss) ? TASK_FOUND : TASK_NONE;
}

enum task_found task_find_return(const struct task_cpu *cpu, const struct task_memory *memory,
                                 uint16_t *tss)
{
    if (!(cpu->rflags & RFLAGS_NT) || (cpu->rflags & RFLAGS_VM))
        return TASK_NONE;
    return memory->read(memory->context, (uint32_t)cpu->segment[TASK_TR].base + TASK_LINK, tss, 2,
                        EMU_READ)
               ? TASK_FOUND
               : TASK_FOUND_FAULT;
}

/* ---- before the switch ---- */

static bool nests(const struct task_request *r)
{
    return r->source == TASK_CALL || r->source == TASK_EVENT;
}

/* The incoming TSS: APM vol. 2, 12.4, and for IRET Intel SDM vol. 2, IRET, TASK-RETURN. */
static bool check_incoming(struct work *w, const struct task_request *r, struct descriptor *d)
{
    bool     returns = r->source == TASK_IRET;
    uint8_t  vector = returns ? VECTOR_TS : VECTOR_GP;
    unsigned a;

    if (r->selector & SELECTOR_LOCAL)
        return raise_selector(w, vector, r->selector);
    if (!find(w, r->selector, vector, d))
        return false;
    a = attributes_of(d);
    if (!is_tss(a) || !(a & TYPE_BUSY) == returns)
        return raise_selector(w, vector, r->selector);
    if (!(a & PRESENT))
        return raise_selector(w, VECTOR_NP, r->selector);
    if (limit_of(d) < (a & TYPE_TSS_32 ? TASK_BYTES - 1u : TASK16_BYTES - 1u))
        return raise_selector(w, VECTOR_TS, r->selector);
    return true;
}

static uint32_t word(const uint8_t *at, unsigned bytes)
{
    return at[0] | (uint32_t)at[1] << 8 |
           (bytes == 4 ? (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24 : 0);
}

static void unpack_32(const uint8_t *tss, struct state *s)
{
    s->cr3 = word(tss + TASK_CR3, 4);
    s->eip = word(tss + TASK_EIP, 4);
    s->eflags = word(tss + TASK_EFLAGS, 4) & EFLAGS_VALID;
    for (unsigned i = 0; i < GENERAL_REGISTERS; i++)
        s->gpr[i] = word(tss + TASK_EAX + 4 * i, 4);
    for (unsigned i = 0; i < SEGMENTS; i++)
        s->segment[i] = (uint16_t)word(tss + TASK_ES + 4 * i, 2);
    s->ldt = (uint16_t)word(tss + TASK_LDT, 2);
    s->trap = (uint16_t)word(tss + TASK_TRAP, 2);
}

static void unpack_16(const uint8_t *tss, struct state *s)
{
    s->eip = word(tss + TASK16_IP, 2);
    s->eflags = word(tss + TASK16_FLAGS, 2) & EFLAGS_VALID;
    for (unsigned i = 0; i < GENERAL_REGISTERS; i++)
        s->gpr[i] = word(tss + TASK16_AX + 2 * i, 2);
    for (unsigned i = 0; i <= SEG_DS; i++)
        s->segment[i] = (uint16_t)word(tss + TASK16_ES + 2 * i, 2);
    s->ldt = (uint16_t)word(tss + TASK16_LDT, 2);
}

static bool read_incoming(struct work *w, const struct task_request *r, const struct descriptor *d,
                          struct state *s)
{
    uint8_t  tss[TASK_BYTES];
    uint16_t link;

    *s = (struct state){ .wide = attributes_of(d) & TYPE_TSS_32 };
    if (!get(w, base_of(d), tss, s->wide ? TASK_BYTES : TASK16_BYTES, EMU_READ))
        return false;
    if (nests(r) && !get(w, base_of(d) + TASK_LINK, &link, sizeof(link), EMU_MODIFY))
        return false;
    if (s->wide)
        unpack_32(tss, s);
    else
        unpack_16(tss, s);
    return r->source == TASK_IRET || is_writable(w, d);
}

/* The outgoing state as its TSS has it; where it begins, and how long it is. */
struct outgoing {
    uint32_t address;
    unsigned length;
    uint8_t  bytes[TASK_LDT - TASK_EIP];
};

static void pack(const struct task_cpu *cpu, const struct task_request *r, struct outgoing *out)
{
    const struct emu_segment *tr = &cpu->segment[TASK_TR];
    bool                      wide = tr->attributes & TYPE_TSS_32;
    unsigned                  width = wide ? 4 : 2, segments = wide ? SEGMENTS : SEG_DS + 1u;
    uint32_t                  words[2 + GENERAL_REGISTERS + SEGMENTS];
    uint64_t                  flags = cpu->rflags & ~RFLAGS_RF;

    if (r->source == TASK_IRET)
        flags &= ~RFLAGS_NT;
    words[0] = r->next_eip;
    words[1] = (uint32_t)(flags | (r->resume ? RFLAGS_RF : 0));
    for (unsigned i = 0; i < GENERAL_REGISTERS; i++)
        words[2 + i] = (uint32_t)cpu->gpr[i];
    for (unsigned i = 0; i < segments; i++)
        words[2 + GENERAL_REGISTERS + i] = cpu->segment[i].selector;
    out->address = (uint32_t)tr->base + (uint32_t)(wide ? TASK_EIP : TASK16_IP);
    out->length = width * (2 + GENERAL_REGISTERS + segments);
    for (unsigned i = 0; i < out->length; i++)
        out->bytes[i] = (uint8_t)(words[i / width] >> i % width * 8);
}

/*
 * The outgoing task's descriptor, to be marked free: found is false when TR does not name a busy
 * TSS, as before the first LTR.
 */
static bool find_outgoing(struct work *w, bool *found, struct descriptor *d)
{
    uint16_t selector = w->cpu->segment[TASK_TR].selector;
    uint32_t address;

    *found = false;
    if (is_null(selector) || (selector & SELECTOR_LOCAL) || !locate(w->cpu, selector, &address))
        return true;
    if (!read_descriptor(w->memory, address, d))
        return page_fault(w);
    *found = is_tss(attributes_of(d)) && (attributes_of(d) & TYPE_BUSY);
    return !*found || is_writable(w, d);
}

/* ---- the switch ---- */

/* All that is written has been looked at for writing: only another processor can make it fail. */
static bool leave(struct work *w, const struct task_request *r, const struct descriptor *incoming)
{
    uint16_t          old = w->cpu->segment[TASK_TR].selector;
    struct outgoing   out;
    struct descriptor d;
    uint8_t           before[sizeof(out.bytes)];
    bool              busy = false;

    pack(w->cpu, r, &out);
    if (!get(w, out.address, before, out.length, EMU_MODIFY) ||
        (!nests(r) && !find_outgoing(w, &busy, &d)))
        return false;
    if (!put(w, out.address, out.bytes, out.length) || (busy && !write_type(w, &d, 0, TYPE_BUSY)))
        return false;
    if (nests(r) && !put(w, base_of(incoming) + TASK_LINK, &old, sizeof(old)))
        return false;
    return r->source == TASK_IRET || write_type(w, incoming, TYPE_BUSY, 0);
}

/* The registers of the new task, but for what descriptors say: selectors stand there alone. */
static void take_registers(struct work *w, const struct task_request *r, const struct state *s)
{
    struct task_cpu *cpu = w->cpu;

    cpu->rip = s->eip;
    cpu->rflags = s->eflags | RFLAGS_ALWAYS | (nests(r) ? RFLAGS_NT : 0);
    cpu->dr7 &= ~(uint64_t)DR7_LOCAL;
    for (unsigned i = 0; i < GENERAL_REGISTERS; i++)
        cpu->gpr[i] = s->gpr[i];
    cpu->cpl = cpu->rflags & RFLAGS_VM ? 3 : s->segment[SEG_CS] & SELECTOR_RPL;
    for (unsigned i = 0; i < SEGMENTS; i++)
        cpu->segment[i] = (struct emu_segment){ .selector = s->segment[i] };
    cpu->segment[TASK_LDTR] = (struct emu_segment){ .selector = s->ldt };
}

static bool load_ldt(struct work *w, uint16_t selector)
{
    struct descriptor d;

    if (is_null(selector))
        return true;
    if (selector & SELECTOR_LOCAL)
        return raise_selector(w, VECTOR_TS, selector);
    if (!find(w, selector, VECTOR_TS, &d))
        return false;
    if ((attributes_of(&d) & (SEGMENT | TYPE)) != TYPE_LDT || !(attributes_of(&d) & PRESENT))
        return raise_selector(w, VECTOR_TS, selector);
    set_segment(&w->cpu->segment[TASK_LDTR], selector, &d, 0);
    return true;
}

/* Type and privilege as the segment register asks for them: Intel SDM vol. 3, table 8-1. */
static bool suits(const struct task_cpu *cpu, unsigned number, uint16_t selector, unsigned a)
{
    unsigned rpl = selector & SELECTOR_RPL, dpl = dpl_of(a);
    bool     code = a & TYPE_CODE;

    if (!(a & SEGMENT))
        return false;
    switch (number) {
    case SEG_CS:
        return code && (a & TYPE_CONFORMING ? dpl <= rpl : dpl == rpl);
    case SEG_SS:
        return !code && (a & TYPE_WRITABLE) && dpl == cpu->cpl && rpl == cpu->cpl;
    default:
        if (code && !(a & TYPE_WRITABLE))
            return false;
        return (code && (a & TYPE_CONFORMING)) || (dpl >= cpu->cpl && dpl >= rpl);
    }
}

static bool load_segment(struct work *w, unsigned number)
{
    struct emu_segment *s = &w->cpu->segment[number];
    uint16_t            selector = s->selector;
    struct descriptor   d;

    if (is_null(selector) && number != SEG_CS && number != SEG_SS)
        return true;
    if (!find(w, selector, VECTOR_TS, &d))
        return false;
    if (!suits(w->cpu, number, selector, attributes_of(&d)))
        return raise_selector(w, VECTOR_TS, selector);
    if (!(attributes_of(&d) & PRESENT))
        return raise_selector(w, number == SEG_SS ? VECTOR_SS : VECTOR_NP, selector);
    if (!(attributes_of(&d) & TYPE_ACCESSED) && !write_type(w, &d, TYPE_ACCESSED, 0))
        return false;
    set_segment(s, selector, &d, TYPE_ACCESSED);
    return true;
}

static bool load_segments(struct work *w)
{
    static const uint8_t order[SEGMENTS] = { SEG_CS, SEG_SS, SEG_DS, SEG_ES, SEG_FS, SEG_GS };

    for (unsigned i = 0; i < SEGMENTS; i++) {
        struct emu_segment *s = &w->cpu->segment[order[i]];

        if (w->cpu->rflags & RFLAGS_VM)
            *s = (struct emu_segment){ s->selector, ATTRIBUTES_V86, 0xffff, s->selector * 16u };
        else if (!load_segment(w, order[i]))
            return false;
    }
    return true;
}

/* The event's error code, in the width of the new TSS, on the new task's stack. */
static bool push_error(struct work *w, uint32_t error, bool wide)
{
    struct emu_cpu cpu = { .cr0 = CR0_PE, .rflags = w->cpu->rflags, .segment = w->cpu->segment };
    bool           big = w->cpu->segment[SEG_SS].attributes & BIG;
    unsigned       bytes = wide ? 4 : 2;
    uint64_t      *rsp = &w->cpu->gpr[REG_RSP];
    uint64_t       mask = big ? UINT32_MAX : UINT16_MAX, top = (*rsp - bytes) & mask;
    struct emu_address at = emu_linear(&cpu, SEG_SS, top, bytes, EMU_WRITE);

    if (!at.ok)
        return raise(w, VECTOR_SS, w->external);
    if (!put(w, (uint32_t)at.linear, &error, bytes))
        return false;
    *rsp = (*rsp & ~mask) | top;
    return true;
}

/* From here on the guest is in the new task, and so are its exceptions. */
static bool arrive(struct work *w, const struct task_request *r, const struct descriptor *incoming,
                   const struct state *s)
{
    struct task_cpu *cpu = w->cpu;
    bool             loads = s->wide && (cpu->cr0 & CR0_PG), entered;

    w->result.in_new_task = true;
    set_segment(&cpu->segment[TASK_TR], r->selector, incoming, TYPE_BUSY);
    take_registers(w, r, s);
    entered = w->memory->enter(w->memory->context, loads ? &s->cr3 : NULL);
    if (!load_ldt(w, s->ldt) || !load_segments(w))
        return false;
    if (!entered) /* only now: with its segments the task can handle it */
        return raise(w, VECTOR_GP, w->external);
    if (r->has_error && !push_error(w, r->error, s->wide))
        return false;
    if (s->eip > cpu->segment[SEG_CS].limit)
        return raise(w, VECTOR_GP, w->external);
    w->result.trap = s->trap & TASK_TRAP_T;
    return true;
}

struct task_result task_switch(struct task_cpu *cpu, const struct task_memory *memory,
                               const struct task_request *request)
{
    struct work w = { .cpu = cpu, .memory = memory, .external = request->external ? ERROR_EXT : 0 };
    struct descriptor incoming;
    struct state      s;

    if (check_incoming(&w, request, &incoming) && read_incoming(&w, request, &incoming, &s) &&
        leave(&w, request, &incoming) && arrive(&w, request, &incoming, &s))
        w.result.outcome = TASK_DONE;
    return w.result;
}

/* ---- LTR, and accessed bits ---- */

/*
 * The descriptor for LTR, and in long mode the upper half of its base, which is in 8 bytes more.
 * Linear addresses have 64 bits there.
 */
static bool find_for_ltr(struct work *w, uint16_t selector, bool long_mode, struct descriptor *d,
                         uint64_t *base)
{
    const struct emu_segment *gdt = &w->cpu->segment[TASK_GDTR];
    unsigned                  last = (selector | 7u) + (long_mode ? DESCRIPTOR_BYTES : 0);
    uint64_t                  address = gdt->base + (selector & 0xfff8u);
    uint32_t                  upper[2] = { 0, 0 };

    if ((selector & SELECTOR_LOCAL) || is_null(selector) || last > gdt->limit)
        return raise_selector(w, VECTOR_GP, selector);
    if (!read_descriptor(w->memory, long_mode ? address : (uint32_t)address, d) ||
        (long_mode && !w->memory->read(w->memory->context, address + DESCRIPTOR_BYTES, upper,
                                       sizeof(upper), EMU_READ)))
        return page_fault(w);
    *base = base_of(d) | (uint64_t)upper[0] << 32;
    return true;
}

static bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

struct task_result task_load_register(struct task_cpu *cpu, const struct task_memory *memory,
                                      uint16_t selector, bool long_mode)
{
    struct work       w = { .cpu = cpu, .memory = memory };
    struct descriptor d;
    uint64_t          base;
    unsigned          a;

    if (!find_for_ltr(&w, selector, long_mode, &d, &base))
        return w.result;
    a = attributes_of(&d);
    if (!is_tss(a) || (a & TYPE_BUSY) || (long_mode && !(a & TYPE_TSS_32)) || !is_canonical(base)) {
        (void)raise_selector(&w, VECTOR_GP, selector);
    } else if (!(a & PRESENT)) {
        (void)raise_selector(&w, VECTOR_NP, selector);
    } else if (write_type(&w, &d, TYPE_BUSY, 0)) {
        set_segment(&cpu->segment[TASK_TR], selector, &d, TYPE_BUSY);
        cpu->segment[TASK_TR].base = base;
        w.result.outcome = TASK_DONE;
    }
    return w.result;
}

static bool holds(const struct emu_segment *table, uint32_t linear)
{
    return linear - (uint32_t)table->base <= table->limit;
}

bool task_mark_accessed(const struct task_cpu *cpu, const struct task_memory *memory,
                        uint32_t linear)
{
    const struct emu_segment *gdt = &cpu->segment[TASK_GDTR], *ldt = &cpu->segment[TASK_LDTR];
    struct descriptor         d;
    uint8_t                   byte;
    uint32_t                  base;

    if (holds(gdt, linear))
        base = (uint32_t)gdt->base;
    else if ((ldt->attributes & PRESENT) && holds(ldt, linear))
        base = (uint32_t)ldt->base;
    else
        return false;
    if (!read_descriptor(memory, base + ((linear - base) & ~7u), &d))
        return false;
    byte = (uint8_t)(d.high >> 8);
    if (!(byte & SEGMENT) || !(byte & PRESENT) || (byte & TYPE_ACCESSED))
        return false;
    byte |= TYPE_ACCESSED;
    return memory->write(memory->context, d.address + DESCRIPTOR_TYPE, &byte, 1);
}
