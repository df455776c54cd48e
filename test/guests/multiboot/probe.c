/* Paging modes and accesses in them: see probe.h. */
#include "test/guests/multiboot/probe.h"

#define SEL_CODE      0x08u
#define SEL_DATA      0x10u
#define SEL_CODE64    0x18u
#define SEL_USER_DATA 0x2bu
#define SEL_TSS       0x38u
#define TSS_AVAILABLE 0x89u
#define GDT_ENTRIES   10u
#define DONE          0x40u
#define EXCEPTIONS    32u
#define HOME          (4u << 20) /* mapped as it is */
#define GATE          0x8e00u
#define GATE_USER     0xee00u
#define GRANTED       (PTE_P | PTE_W | PTE_A | PTE_D)

struct gate32 {
    uint16_t offset_low, selector, flags, offset_high;
};

struct gate64 {
    struct gate32 low;
    uint32_t      high, zero;
};

struct table_pointer {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

/* Tables by level; where a leaf table maps 2 MiB only, the first of home's is table 0. */
struct path {
    uint8_t table[LEVELS + 1][PAGE];
};

extern uint8_t probe_vectors32[], probe_vectors64[], probe_done32[], probe_done64[];
extern uint8_t probe_user_code[], probe_user_stack[], trap_stack_top[];
void           probe_ltr64(void);
_Noreturn void probe_unexpected(void);

const struct paging_mode paging_2level = {
    .number = 0,
    .name = "2-level",
    .levels = 2,
    .entry_bytes = 4,
    .index_bits = 10,
    .shift = { 0, 12, 22 },
    .window = 0x40000000,
};
const struct paging_mode paging_pse = {
    .number = 1,
    .name = "2-level-pse",
    .levels = 2,
    .entry_bytes = 4,
    .index_bits = 10,
    .shift = { 0, 12, 22 },
    .large = 1u << 2,
    .cr4 = CR4_PSE,
    .window = 0x40000000,
};
const struct paging_mode paging_pae = {
    .number = 2,
    .name = "pae",
    .levels = 3,
    .entry_bytes = 8,
    .index_bits = 9,
    .shift = { 0, 12, 21, 30 },
    .large = 1u << 2,
    .cr4 = CR4_PAE,
    .window = 0x40000000,
};
const struct paging_mode paging_long = {
    .number = 3,
    .name = "4-level",
    .levels = 4,
    .entry_bytes = 8,
    .index_bits = 9,
    .shift = { 0, 12, 21, 30, 39 },
    .large = 1u << 2 | 1u << 3,
    .cr4 = CR4_PAE,
    .efer = EFER_LME,
    .window = 0x28000000000,
};

const struct paging_mode paging_five = {
    .number = 4,
    .name = "5-level",
    .levels = 5,
    .entry_bytes = 8,
    .index_bits = 9,
    .shift = { 0, 12, 21, 30, 39, 48 },
    .large = 1u << 2 | 1u << 3,
    .cr4 = CR4_PAE | CR4_LA57,
    .efer = EFER_LME,
    .window = 0x42000000000000,
};

struct probe    probe;
static uint64_t gdt[GDT_ENTRIES] = {
    0,
    0x00cf9b000000ffff, /* 32-bit code */
    0x00cf93000000ffff, /* data */
    0x00af9b000000ffff, /* 64-bit code */
    0x00cffb000000ffff, /* the same for users: 32-bit code, */
    0x00cff3000000ffff, /* data, */
    0x00affb000000ffff, /* 64-bit code */
};
static struct gate32             idt32[DONE + 1];
static struct gate64             idt64[DONE + 1];
static uint32_t                  tss32[26], tss64[26];
static const struct paging_mode *mode; /* that we are in */

/* Of each mode its own. */
static struct path homes[PAGING_MODES] __attribute__((aligned(PAGE)));
static struct path windows[PAGING_MODES] __attribute__((aligned(PAGE)));
uint32_t           probe_target[PAGE / 4] __attribute__((aligned(PAGE)));

void *memcpy(void *to, const void *from, size_t length);
void *memcpy(void *to, const void *from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}

/* ---- tables ---- */

static unsigned index_of(const struct paging_mode *m, unsigned level, uint64_t address)
{
    return (unsigned)(address >> m->shift[level]) & ((1u << m->index_bits) - 1);
}

static void put(const struct paging_mode *m, void *table, unsigned index, uint64_t value)
{
    if (m->entry_bytes == 4)
        ((uint32_t *)table)[index] = (uint32_t)value;
    else
        ((uint64_t *)table)[index] = value;
}

uint8_t *probe_table_of(const struct paging_mode *m, unsigned level)
{
    return level == m->levels ? homes[m->number].table[level] : windows[m->number].table[level];
}

static void *slot_of(const struct paging_mode *m, unsigned level)
{
    return probe_table_of(m, level) + index_of(m, level, m->window | PROBE_TARGET) * m->entry_bytes;
}

void *probe_slot(unsigned level)
{
    return slot_of(mode, level);
}

uint64_t probe_entry(unsigned level)
{
    const volatile uint32_t *slot = slot_of(mode, level);

    return slot[0] | (mode->entry_bytes == 8 ? (uint64_t)slot[1] << 32 : 0);
}

void probe_set_entry(unsigned level, uint64_t value)
{
    if (mode->entry_bytes == 4)
        store((uint32_t)slot_of(mode, level), (uint32_t)value);
    else
        store64(slot_of(mode, level), value);
}

uint64_t probe_next(unsigned level)
{
    return level == 1 ? PROBE_TARGET : (uint32_t)windows[mode->number].table[level - 1];
}

uint64_t probe_large(unsigned level)
{
    return PROBE_TARGET & ~((1ull << mode->shift[level]) - 1);
}

/* The rights of PAE's root entries are reserved bits: APM vol. 2, 5.2.3. */
static uint64_t inner_rights(const struct paging_mode *m, unsigned level, uint64_t rights)
{
    return m->levels == 3 && level == 3 ? PTE_P : rights;
}

void *probe_home_entry(uint32_t address)
{
    uint8_t *leaf = homes[mode->number].table[address >> mode->shift[2] ? 0 : 1];

    return leaf + index_of(mode, 1, address) * mode->entry_bytes;
}

static void map_home(const struct paging_mode *m, uint32_t address, uint32_t frame)
{
    bool user = address == (uint32_t)probe_user_code || address == (uint32_t)probe_user_stack;

    put(m, probe_home_entry(address), 0, frame | GRANTED | (user ? PTE_U : 0));
}

/* In one instruction, since these may be tables that something follows. */
static void clear(struct path *path)
{
    uint32_t *at = (uint32_t *)(void *)path, count = sizeof(*path) / 4;

    __asm__ volatile("rep stosl" : "+D"(at), "+c"(count) : "a"(0) : "memory");
}

void probe_build(const struct paging_mode *m)
{
    struct path *home = &homes[m->number];

    mode = m;
    clear(home);
    clear(&windows[m->number]);
    for (unsigned l = m->levels; l > 1; l--)
        put(m, home->table[l], 0,
            (uint32_t)home->table[l - 1] | inner_rights(m, l, GRANTED | PTE_U));
    if (m->shift[2] < 22)
        put(m, home->table[2], 1, (uint32_t)home->table[0] | GRANTED | PTE_U);
    for (uint32_t address = 0; address < HOME; address += PAGE)
        map_home(m, address, address == (uint32_t)probe_target ? PROBE_TARGET : address);
    for (unsigned l = m->levels; l > 0; l--)
        put(m, slot_of(m, l), 0, probe_next(l) | inner_rights(m, l, PTE_ALL));
}

/* ---- modes ---- */

bool probe_has_five(void)
{
    return cpuid(0).eax >= 7 && cpuid(7).ecx & 1u << 16;
}

static void load_tables(const void *idt, uint16_t size, bool wide)
{
    struct table_pointer pointer = { (uint16_t)(size - 1), (uint32_t)idt };

    gdt[SEL_TSS / 8] = gdt[SEL_TSS / 8 + 1] = 0;
    gdt[SEL_TSS / 8 + (wide ? 1 : 0)] =
        (sizeof(tss32) - 1) | (uint64_t)((uint32_t)(wide ? tss64 : tss32) & 0xffffff) << 16 |
        (uint64_t)TSS_AVAILABLE << 40 | (uint64_t)((uint32_t)(wide ? tss64 : tss32) >> 24) << 56;
    gdt[SEL_TSS / 8 + 2] = 0;
    __asm__ volatile("lidt %0" ::"m"(pointer));
    if (wide)
        probe_ltr64();
    else
        __asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
}

uint32_t probe_cr3(const struct paging_mode *m)
{
    return (uint32_t)homes[m->number].table[m->levels];
}

void probe_came(const struct paging_mode *m)
{
    bool wide = m && m->efer;

    if (m)
        mode = m;
    load_tables(wide ? (const void *)idt64 : idt32, wide ? sizeof(idt64) : sizeof(idt32), wide);
    probe.wide = wide;
}

void probe_paging_on(const struct paging_mode *m)
{
    write_cr4(m->cr4 | CR4_OSFXSR);
    write_cr3(probe_cr3(m));
    wrmsr(MSR_EFER, m->efer | EFER_NXE);
    write_cr0(read_cr0() | CR0_PG | CR0_WP);
    probe_came(m);
}

void probe_enter(const struct paging_mode *m)
{
    probe_build(m);
    probe_paging_on(m);
}

void probe_paging_off(void)
{
    write_cr0(read_cr0() & ~CR0_PG);
    wrmsr(MSR_EFER, 0);
    write_cr4(CR4_OSFXSR);
    probe_came(NULL);
}

/* ---- exceptions ---- */

static void set_gate(unsigned vector, const uint8_t *at32, const uint8_t *at64, uint16_t flags)
{
    uint32_t a = (uint32_t)at32, b = (uint32_t)at64;

    idt32[vector] = (struct gate32){ (uint16_t)a, SEL_CODE, flags, (uint16_t)(a >> 16) };
    idt64[vector].low = (struct gate32){ (uint16_t)b, SEL_CODE64, flags, (uint16_t)(b >> 16) };
}

void probe_init(void)
{
    struct table_pointer pointer = { sizeof(gdt) - 1, (uint32_t)gdt };

    for (unsigned i = 0; i < EXCEPTIONS; i++)
        set_gate(i, probe_vectors32 + 16 * i, probe_vectors64 + 16 * i, GATE);
    set_gate(DONE, probe_done32, probe_done64, GATE_USER);
    tss32[1] = (uint32_t)trap_stack_top; /* ESP0, SS0: APM vol. 2, 12.2.2 */
    tss32[2] = SEL_DATA;
    tss64[1] = (uint32_t)trap_stack_top; /* RSP0: 12.2.5 */
    __asm__ volatile(
        "lgdt %0; ljmp %1, $1f\n1: mov %2, %%ss; mov %3, %%ds; mov %3, %%es" ::"m"(pointer),
        "i"(SEL_CODE), "r"(SEL_DATA), "r"(SEL_USER_DATA)
        : "memory");
    probe_paging_off();
    probe.eflags = EFLAGS_ONE;
    __builtin_memset((void *)PROBE_TARGET, 0, PAGE);
    store(PROBE_TARGET, 0xc3); /* RET */
}

void probe_print(const char *before, uint32_t value)
{
    char     digits[12];
    unsigned i = sizeof(digits) - 1;

    digits[i] = 0;
    do
        digits[--i] = (char)('0' + value % 10);
    while (value /= 10);
    kernel_print(before);
    kernel_print(digits + i);
}

_Noreturn void probe_unexpected(void)
{
    kernel_print("an exception at the address that was got, of the vector that was wanted: ");
    kernel_fail("none is expected", probe.eip, probe.vector);
}

uint32_t probe_call(void (*function)(void))
{
    uint32_t wide = probe.wide, user = probe.user;

    probe.access = PROBE_FETCH;
    probe.address = (uint32_t)function;
    probe.wide = probe.user = 0;
    probe.eflags = EFLAGS_ONE;
    probe_go();
    probe.wide = wide;
    probe.user = user;
    return probe.vector;
}
