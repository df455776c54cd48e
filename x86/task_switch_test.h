/* Two tasks laid out by hand in a flat memory, for the tests of task switches. Included once. */
#ifndef X86_TASK_SWITCH_TEST_H
#define X86_TASK_SWITCH_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "x86/hw/cpu.h"
#include "x86/task_switch.h"

#define GDT       0x100u
#define GDT_LIMIT 0xffu
#define LDT       0x300u
#define IDT       0x400u
#define OLD       0x1000u /* where the TSSs are */
#define NEW       0x2000u
#define STACK     0x3000u

enum { CODE = 0x08, DATA = 0x10, OLD_TSS = 0x18, NEW_TSS = 0x20, GATE = 0x28, LDTR = 0x30 };
enum { SPARE = 0x38, USER_CODE = 0x43, USER_DATA = 0x4b, NOWHERE = 0x200 };

struct machine {
    uint8_t            memory[0x4000];
    uint64_t           gpr[16];
    struct task_cpu    cpu;
    struct task_memory callbacks;
    unsigned           accesses, failing; /* this access, counted from 1, is a page fault */
    uint32_t           read_only;         /* this byte, 0 for none */
    bool               entered, has_cr3, cr3_is_bad;
    uint32_t           cr3;
};

static bool fails(struct machine *m)
{
    return ++m->accesses == m->failing;
}

static bool protects(const struct machine *m, uint64_t linear, unsigned length)
{
    return m->read_only && m->read_only - linear < length;
}

static bool read(void *context, uint64_t linear, void *to, unsigned length, enum emu_access access)
{
    struct machine *m = context;

    assert_true(access == EMU_READ || access == EMU_MODIFY);
    assert_true(linear + length <= sizeof(m->memory));
    if (fails(m) || (access == EMU_MODIFY && protects(m, linear, length)))
        return false;
    memcpy(to, m->memory + linear, length);
    return true;
}

static bool write(void *context, uint64_t linear, const void *from, unsigned length)
{
    struct machine *m = context;

    assert_true(linear + length <= sizeof(m->memory));
    if (fails(m) || protects(m, linear, length))
        return false;
    memcpy(m->memory + linear, from, length);
    return true;
}

static bool enter(void *context, const uint32_t *cr3)
{
    struct machine *m = context;

    m->entered = true;
    m->has_cr3 = cr3 != NULL;
    m->cr3 = cr3 ? *cr3 : 0;
    return !m->cr3_is_bad;
}

static void put(struct machine *m, uint32_t at, uint64_t value, unsigned bytes)
{
    memcpy(m->memory + at, &value, bytes);
}

static inline uint32_t get(const struct machine *m, uint32_t at, unsigned bytes)
{
    uint32_t value = 0;

    memcpy(&value, m->memory + at, bytes);
    return value;
}

static uint64_t descriptor(uint32_t base, uint32_t limit, unsigned type)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40;
}

static unsigned type_of(const struct machine *m, unsigned selector)
{
    return m->memory[GDT + (selector & 0xf8) + 5];
}

static void set_type(struct machine *m, unsigned selector, unsigned type)
{
    m->memory[GDT + (selector & 0xf8) + 5] = (uint8_t)type;
}

static void fill_new(struct machine *m)
{
    put(m, NEW + TASK_CR3, 0xabcd000, 4);
    put(m, NEW + TASK_EIP, 0x1234, 4);
    put(m, NEW + TASK_EFLAGS, 0xffc00202, 4); /* and some that do not exist */
    for (unsigned i = 0; i < 8; i++)
        put(m, NEW + TASK_EAX + 4 * i, 0x11111111 * i, 4);
    put(m, NEW + TASK_EAX + 4 * REG_RSP, STACK, 4);
    put(m, NEW + TASK_CS, CODE, 2);
    put(m, NEW + TASK_SS, DATA, 2);
    put(m, NEW + TASK_ES, DATA, 2);
    put(m, NEW + 0x54, DATA, 2);
    put(m, NEW + 0x58, SPARE, 2);
    put(m, NEW + TASK_GS, 0, 2);
    put(m, NEW + TASK_LDT, LDTR, 2);
}

static void fresh(struct machine *m)
{
    *m = (struct machine){ .callbacks = { m, read, write, enter } };
    m->cpu = (struct task_cpu){ .gpr = m->gpr, .rip = 0x777, .dr7 = 0x755 };
    m->cpu.rflags = RFLAGS_ALWAYS | RFLAGS_NT | RFLAGS_RF;
    m->cpu.cr0 = CR0_PE | CR0_PG;
    for (unsigned i = 0; i < 16; i++)
        m->gpr[i] = 0x1000000 + i;
    for (unsigned i = 0; i < SEGMENTS; i++)
        m->cpu.segment[i].selector = (uint16_t)(0x80 + 8 * i);
    m->cpu.segment[TASK_GDTR] = (struct emu_segment){ .limit = GDT_LIMIT, .base = GDT };
    m->cpu.segment[TASK_IDTR] = (struct emu_segment){ .limit = 0x7f, .base = IDT };
    m->cpu.segment[TASK_TR] = (struct emu_segment){ OLD_TSS, 0x8b, 0x67, OLD };
    put(m, GDT + CODE, descriptor(0, 0xffff, 0x9a) | 1ull << 54, 8);
    put(m, GDT + DATA, descriptor(0, 0xffff, 0x93) | 1ull << 54, 8);
    put(m, GDT + OLD_TSS, descriptor(OLD, 0x67, 0x8b), 8);
    put(m, GDT + NEW_TSS, descriptor(NEW, 0x67, 0x89), 8);
    put(m, GDT + GATE, (uint64_t)NEW_TSS << 16 | 0x85ull << 40, 8);
    put(m, GDT + LDTR, descriptor(LDT, 7, 0x82), 8);
    put(m, GDT + SPARE, descriptor(0x50, 0xf, 0x92) | 1ull << 55, 8);
    put(m, GDT + (USER_CODE & ~3u), descriptor(0, 0xffff, 0xfb) | 1ull << 54, 8);
    put(m, GDT + (USER_DATA & ~3u), descriptor(0, 0xffff, 0xf3) | 1ull << 54, 8);
    put(m, IDT + 8 * 13, (uint64_t)NEW_TSS << 16 | 0x85ull << 40, 8);
    put(m, IDT + 8 * 14, (uint64_t)CODE << 16 | 0x8eull << 40, 8);
    fill_new(m);
}

#endif
