/* test: with x86/pv/step.c x86/step.c x86/decode.c */
/*
 * One instruction of a PV guest stepped, against the same instruction by itself: a processor of a
 * page's length executes it both ways, and the guest must not find a difference.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hv/access.h"
#include "hv/guest.h"
#include "x86/cpu.h"
#include "x86/pv/pv.h"
#include "x86/traps.h"

#define RESET   0xffff0ff0ul
#define CODE    0x1000ul
#define STACK   0x2800ul
#define CS64    0xe033u
#define CS32    0xe023u
#define SS      0xe02bu
#define FLAT64  0x00affb000000ffff
#define FLAT32  0x00cffb000000ffff
#define DATA    0x00cff3000000ffff
#define DATA16  0x008ff3000000ffff
#define BASE    0x300u
#define BASED   (DATA | (uint64_t)BASE << 16)
#define SS_BASE 0x0fu
#define NO_EXIT 0xffffu

static struct domain    domain;
static struct pv_domain pv_domain;
static struct vcpu      vcpu;
static struct pv_vcpu   pv;
static uint8_t          memory[4 * PAGE_SIZE];
static char             order[200]; /* what was asked of others */
static bool             rights_asked, muted_excused;

struct phys machine_phys = { .base = memory };

static void say(const char *what, uint64_t value)
{
    snprintf(order + strlen(order), sizeof(order) - strlen(order), "%s %lx;", what,
             (unsigned long)value);
}

uint64_t pv_cpu_descriptor(uint16_t selector)
{
    return selector == CS64 ? FLAT64 : selector == CS32 ? FLAT32 : selector == SS ? DATA : BASED;
}

unsigned pv_peek(struct pv_vcpu *v, gva_t va, uint8_t bytes[INSN_BYTES_MAX])
{
    (void)v;
    if (va.raw + INSN_BYTES_MAX > sizeof(memory))
        return 0;
    memcpy(bytes, memory + va.raw, INSN_BYTES_MAX);
    return INSN_BYTES_MAX;
}

/* step_peek is not called: pv_peek above is. */
void paging_view(struct paging_locked p, const struct paging_vcpu *v, gva_t va,
                 struct paging_view *view)
{
    (void)p, (void)v, (void)va, (void)view;
    fail();
}

struct paging_reach paging_reach_gpa(struct paging_locked p, uint64_t gpa)
{
    (void)p, (void)gpa;
    fail();
    return (struct paging_reach){ .kind = REACH_FAULT };
}

void access_stepped(struct vcpu *v, gva_t rip)
{
    (void)v;
    say("stepped to", rip.raw);
}

void access_close(struct vcpu *v, uint64_t rip)
{
    (void)v, (void)rip;
    say("close", 0);
}

struct paging_reach access_reach(struct vcpu *v, gva_t va, unsigned acc)
{
    (void)v;
    rights_asked |= !(acc & ACC_OURS);
    return (struct paging_reach){ .kind = va.raw < sizeof(memory) ? REACH_RAM : REACH_FAULT,
                                  .mfn = mfn_of(va.raw >> PAGE_SHIFT) };
}

struct verdict paging_write(struct paging_locked p, mfn_t mfn, unsigned offset, const void *from,
                            unsigned len)
{
    (void)p;
    memcpy(memory + mfn.raw * PAGE_SIZE + offset, from, len);
    return (struct verdict){ .kind = VERDICT_RETRY };
}

void vcpu_flush(struct domain *d, const struct verdict *verdict)
{
    (void)d, (void)verdict;
}

void pv_emulate_muted(struct pv_vcpu *v)
{
    muted_excused = v->vcpu->paging.excused;
    say("muted", 0);
}

static void fresh(const char *code, size_t length, uint64_t flags)
{
    pv_domain = (struct pv_domain){ .mode = PV_SHADOWED };
    domain.pv = &pv_domain;
    vcpu = (struct vcpu){ .domain = &domain, .pv = &pv };
    pv = (struct pv_vcpu){ .vcpu = &vcpu, .kernel = true };
    pv.regs = (struct pv_regs){ .rip = CODE,
                                .cs = CS64,
                                .ss = SS,
                                .rsp = STACK,
                                .rflags = flags,
                                .rcx = 0x1111,
                                .r11 = 0x2222 };
    memset(memory, 0x90, sizeof(memory));
    memcpy(memory + CODE, code, length);
    order[0] = '\0';
    rights_asked = false;
}

/* ---- a processor ---- */

struct processor {
    bool     holds; /* the trap behind MOV SS */
    uint64_t dr6;
};

static uint64_t pop(unsigned bytes)
{
    uint64_t value = 0, at = pv.regs.rsp;

    if (pv.regs.cs == CS32 && pv.regs.ss == SS_BASE)
        at += BASE;
    memcpy(&value, memory + at, bytes);
    pv.regs.rsp += bytes;
    return value;
}

static void push(uint64_t value, unsigned bytes)
{
    uint64_t at;

    pv.regs.rsp -= bytes;
    at = pv.regs.rsp + (pv.regs.cs == CS32 && pv.regs.ss == SS_BASE ? BASE : 0);
    memcpy(memory + at, &value, bytes);
}

/* Executes what is at RIP; the vector of what leads out of ring 3, or NO_EXIT. */
static uint64_t execute(const struct processor *p, bool *behind_mov_ss)
{
    struct pv_regs *r = &pv.regs;
    const uint8_t  *code = memory + r->rip;
    unsigned        word = r->cs == CS64 ? 8 : 4;

    *behind_mov_ss = false;
    switch (code[0]) {
    case 0x8e: /* MOV SS, EAX */
        r->rip += 2;
        *behind_mov_ss = p->holds;
        return NO_EXIT;
    case 0x9c:
        push(r->rflags, word);
        r->rip++;
        return NO_EXIT;
    case 0x9d:
        r->rflags = pop(word);
        r->rip++;
        return NO_EXIT;
    case 0x48: /* IRETQ */
        r->rip = pop(8);
        r->cs = pop(8);
        r->rflags = pop(8);
        r->rsp = pop(8);
        return NO_EXIT;
    case 0x0f:
        if (code[1] == 0x0b)
            return VECTOR_UD;
        r->rip += 2;
        if (code[1] == 0x34)
            return PV_VECTOR_SYSENTER;
        r->rcx = r->rip;
        r->r11 = r->rflags; /* from which the entry has RFLAGS */
        return PV_VECTOR_SYSCALL;
    case 0xcc:
        r->rip++;
        return VECTOR_BP;
    case 0xf4:
        return VECTOR_GP;
    case 0xa1:
        return VECTOR_PF;
    default:
        r->rip++;
        return NO_EXIT;
    }
}

/* Until something leads out, or `end` is reached. */
static uint64_t runs(struct processor *p, uint64_t end)
{
    for (;;) {
        bool     trap = pv.regs.rflags & RFLAGS_TF, behind;
        uint64_t vector = execute(p, &behind);

        if (vector == NO_EXIT && behind)
            continue; /* together with the one before it */
        if (vector == NO_EXIT && trap) {
            p->dr6 |= DR6_BS;
            return VECTOR_DB;
        }
        if (vector != NO_EXIT || pv.regs.rip == end)
            return vector;
    }
}

struct seen {
    struct pv_regs regs;
    uint8_t        memory[sizeof(memory)];
    uint64_t       vector, dr6;
};

static void look(struct seen *s, uint64_t vector, uint64_t dr6)
{
    s->regs = pv.regs;
    s->regs.vector = 0;
    s->vector = vector;
    s->dr6 = vector == VECTOR_DB ? dr6 : 0;
    memcpy(s->memory, memory, sizeof(memory));
}

struct instruction {
    const char *code;
    size_t      length;
    uint16_t    cs, ss;
    uint64_t    loaded[4]; /* what is on the stack */
};

static void place(const struct instruction *i, uint64_t flags)
{
    fresh(i->code, i->length, flags);
    pv.regs.cs = i->cs != 0 ? i->cs : CS64;
    pv.regs.ss = i->ss != 0 ? i->ss : SS;
    memcpy(memory + STACK, i->loaded, sizeof(i->loaded));
}

static void same_both_ways(const struct instruction *i, uint64_t flags, bool holds)
{
    static struct seen stepped, alone;
    struct processor   p = { .holds = holds, .dr6 = RESET }, q = p;
    uint64_t           vector;

    place(i, flags);
    pv_step_open(&pv);
    assert_true(pv_step_ready(&pv));
    assert_true(pv.regs.rflags & RFLAGS_TF);
    vector = pv.regs.vector = runs(&p, ~0ul);
    if (!pv_step_disarm(&pv, &p.dr6))
        vector = NO_EXIT;
    look(&stepped, vector, p.dr6);
    assert_false(rights_asked || pv.step.armed);

    place(i, flags);
    vector = runs(&q, stepped.regs.rip);
    look(&alone, vector, q.dr6);
    assert_memory_equal(&stepped.regs, &alone.regs, sizeof(alone.regs));
    assert_memory_equal(stepped.memory, alone.memory, sizeof(memory));
    assert_true(stepped.vector == alone.vector && stepped.dr6 == alone.dr6);
}

/* All instructions, with the guest's own TF and without it. */
static void the_guest_finds_no_difference(void **state)
{
    static const struct instruction cases[] = {
        { .code = "\x90", .length = 1 },
        { .code = "\x9c", .length = 1 },
        { .code = "\x9c", .length = 1, .cs = CS32 },
        { .code = "\x9c", .length = 1, .cs = CS32, .ss = SS_BASE },
        { .code = "\x9d", .length = 1, .loaded = { RFLAGS_TF | RFLAGS_CF } },
        { .code = "\x9d", .length = 1, .loaded = { RFLAGS_CF } },
        { .code = "\x9d", .length = 1, .cs = CS32, .loaded = { RFLAGS_TF } },
        { .code = "\x48\xcf", .length = 2, .loaded = { 0x1200, CS64, RFLAGS_TF, STACK } },
        { .code = "\x48\xcf", .length = 2, .loaded = { 0x1200, CS64, RFLAGS_CF, STACK } },
        { .code = "\x0f\x05", .length = 2 },
        { .code = "\x0f\x34", .length = 2 },
        { .code = "\x0f\x0b", .length = 2 },
        { .code = "\xcc", .length = 1 },
        { .code = "\xf4", .length = 1 },
        { .code = "\xa1", .length = 1 },
        { .code = "\x8e\xd0\x90", .length = 3 },
        { .code = "\x8e\xd0\x9c", .length = 3 },
        { .code = "\x8e\xd0\x9d", .length = 3, .loaded = { RFLAGS_TF } },
        { .code = "\x8e\xd0\x0f\x05", .length = 4 },
        { .code = "\x8e\xd0\xcc", .length = 3 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (unsigned how = 0; how < 4; how++)
            same_both_ways(&cases[i], how & 1 ? RFLAGS_TF | RFLAGS_ALWAYS : RFLAGS_ALWAYS, how & 2);
}

/* ---- what else comes as #DB ---- */

static void debug_exceptions_of_the_guests_own_are_told_from_ours(void **state)
{
    static const struct {
        uint64_t flags, dr7, dr6, left;
        bool     own;
    } cases[] = {
        { 0, 0, RESET | DR6_BS, RESET, false },
        { RFLAGS_TF, 0, RESET | DR6_BS, RESET | DR6_BS, true },
        { 0, 1, RESET | DR6_BS | 1, RESET | 1, true },  /* a breakpoint on data */
        { 0, 0, RESET | DR6_BS | 1, RESET | 1, false }, /* which is off */
        { RFLAGS_TF, 1, RESET | DR6_BS | 1, RESET | DR6_BS | 1, true },
        { 0, 1, RESET | 1, RESET | 1, true }, /* on the instruction itself */
        { 0, 0, RESET, RESET, true },         /* INT1 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t dr6 = cases[i].dr6;

        fresh("\x90", 1, cases[i].flags);
        pv.dr[7] = cases[i].dr7;
        pv_step_open(&pv);
        assert_true(pv_step_ready(&pv));
        pv.regs.rip++;
        pv.regs.vector = VECTOR_DB;
        assert_int_equal(pv_step_disarm(&pv, &dr6), cases[i].own);
        assert_true(dr6 == cases[i].left && pv.regs.rflags == cases[i].flags);
    }
}

/* ---- from one step to the next ---- */

static void ends(uint64_t vector)
{
    uint64_t dr6 = vector == VECTOR_DB ? RESET | DR6_BS : 0;

    pv.regs.vector = vector;
    (void)!pv_step_disarm(&pv, &dr6);
}

static void an_excuse_lasts_until_the_instruction_is_executed(void **state)
{
    (void)state;
    fresh("\x90", 1, 0);
    pv_vcpu_excuse(&vcpu, false);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(pv_step_wanted(&pv) && pv_step_ready(&pv) && pv.step.first);
        ends(i == 0 ? VECTOR_PF : VECTOR_TIMER); /* of ours, and for others */
        assert_true(vcpu.paging.excused && pv.step.open);
        pv_step_close(&pv); /* others run */
        assert_true(vcpu.paging.excused && pv.step.open && pv.step.first);
    }
    assert_true(pv_step_ready(&pv));
    ends(VECTOR_DB);
    pv_step_over(&pv);
    assert_false(vcpu.paging.excused || pv.step.open || pv.step.first || pv.step.due);
    assert_false(pv_step_wanted(&pv));
    assert_string_equal(order, "close 0;close 0;close 0;");
}

static void each_instruction_is_told_before_the_next_while_that_is_wanted(void **state)
{
    (void)state;
    fresh("\x90", 1, 0);
    pv_vcpu_single_step(&vcpu, true);
    assert_true(pv_step_ready(&pv) && !pv.step.first);
    ends(VECTOR_TIMER);
    assert_true(pv_step_ready(&pv)); /* it was not executed */
    pv.regs.rip++;
    ends(VECTOR_DB);
    vcpu.paging.excused = true;
    pv_step_over(&pv);
    assert_true(pv.step.open && !pv.step.first && !vcpu.paging.excused);
    assert_false(pv_step_ready(&pv));
    assert_string_equal(order, "close 0;stepped to 1001;");
    assert_true(pv_step_ready(&pv));
    ends(VECTOR_UD);
    pv_step_over(&pv);
    pv_vcpu_single_step(&vcpu, false);
    assert_false(pv_step_wanted(&pv));
}

static void what_is_to_write_nothing_is_carried_out_and_not_run(void **state)
{
    (void)state;
    fresh("\x90", 1, 0);
    pv_vcpu_excuse(&vcpu, true);
    assert_true(pv_step_wanted(&pv));
    assert_false(pv_step_ready(&pv));
    assert_true(muted_excused && pv.regs.rflags == 0);
    assert_string_equal(order, "muted 0;close 0;");
    assert_false(pv_step_wanted(&pv) || vcpu.paging.excused);
}

static void a_domain_without_shadows_is_not_stepped(void **state)
{
    (void)state;
    fresh("\x90", 1, 0);
    pv_vcpu_excuse(&vcpu, false);
    pv_domain.mode = PV_ON_ITS_OWN;
    assert_true(pv_step_ready(&pv));
    assert_false(pv.step.armed || pv.step.open || vcpu.paging.excused);
    assert_true(pv.regs.rflags == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_guest_finds_no_difference),
        cmocka_unit_test(debug_exceptions_of_the_guests_own_are_told_from_ours),
        cmocka_unit_test(an_excuse_lasts_until_the_instruction_is_executed),
        cmocka_unit_test(each_instruction_is_told_before_the_next_while_that_is_wanted),
        cmocka_unit_test(what_is_to_write_nothing_is_carried_out_and_not_run),
        cmocka_unit_test(a_domain_without_shadows_is_not_stepped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
