/* APM vol. 2, chapter 16 (local APIC); data sheets of the 82093AA (IOAPIC) and the 8259A. */
#include "x86/apic.h"

#include <stddef.h>

#include "hv/print.h"
#include "x86/cpu.h"
#include "x86/mm.h"
#include "x86/traps.h"

#define APIC_BASE_ENABLE (1u << 11) /* 16.3.1 */
#define APIC_BASE_X2APIC (1u << 10)
#define APIC_BASE_FRAME  UINT64_C(0x000ffffffffff000)
#define CPUID_APIC       (1u << 9) /* CPUID 1 EDX */

/* Offsets of registers, table 16-2. */
enum {
    APIC_ID = 0x020,
    APIC_TPR = 0x080,
    APIC_EOI = 0x0b0,
    APIC_SPURIOUS = 0x0f0,
    APIC_ISR = 0x100, /* eight of 32 bits, 16 bytes apart */
    APIC_ICR = 0x300, /* the low half */
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
};

#define ICR_TO_SELF          (1u << 18) /* 16.5 */
#define ICR_ASSERT           (1u << 14)
#define APIC_SOFTWARE_ENABLE (1u << 8)  /* of the spurious register, 16.4.7 */
#define LVT_MASKED           (1u << 16) /* 16.4 */
#define LVT_NMI              (4u << 8)
#define DIVIDE_BY_16         3u /* 16.4.1 */

#define IOAPIC_ADDRESS  0xfec00000
#define IOAPIC_SELECT   0x00
#define IOAPIC_WINDOW   0x10
#define IOAPIC_VERSION  1
#define IOAPIC_REDIRECT 0x10 /* two registers per pin */
#define IOAPIC_MASKED   (1u << 16)
#define SERIAL_PIN      4 /* COM1 on PCs; edge, active high, fixed delivery: all zero bits */

#define PIC1 0x20
#define PIC2 0xa0

static volatile uint8_t *apic, *ioapic;

static uint32_t read_register(volatile uint8_t *base, uint32_t offset)
{
    return *(volatile uint32_t *)(base + offset);
}

static void write_register(volatile uint8_t *base, uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)(base + offset) = value;
}

static uint32_t ioapic_read(uint32_t index)
{
    write_register(ioapic, IOAPIC_SELECT, index);
    return read_register(ioapic, IOAPIC_WINDOW);
}

static void ioapic_write(uint32_t index, uint32_t value)
{
    write_register(ioapic, IOAPIC_SELECT, index);
    write_register(ioapic, IOAPIC_WINDOW, value);
}

/* 8259A: the four initialisation words, then all lines masked. */
static void init_pics(void)
{
    static const struct {
        uint16_t command;
        uint8_t  vector, wiring;
    } pic[] = {
        { PIC1, VECTOR_PIC, 1 << 2 }, /* the second one hangs on line 2 */
        { PIC2, VECTOR_PIC + 8, 2 },
    };

    for (size_t i = 0; i < sizeof(pic) / sizeof(pic[0]); i++) {
        outb(pic[i].command, 0x11);
        outb(pic[i].command + 1, pic[i].vector);
        outb(pic[i].command + 1, pic[i].wiring);
        outb(pic[i].command + 1, 0x01);
        outb(pic[i].command + 1, 0xff);
    }
}

static void init_local(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);

    if (!(cpuid(1, 0).edx & CPUID_APIC) || (base & APIC_BASE_X2APIC))
        panic("the local APIC is absent or in x2APIC mode; xAPIC is needed");
    wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
    apic = mm_map_device(base & APIC_BASE_FRAME, PAGE_SIZE);
    write_register(apic, APIC_SPURIOUS, APIC_SOFTWARE_ENABLE | VECTOR_SPURIOUS);
    write_register(apic, APIC_LVT_LINT0, LVT_MASKED);
    write_register(apic, APIC_LVT_LINT1, LVT_NMI);
    write_register(apic, APIC_LVT_ERROR, LVT_MASKED | VECTOR_SPURIOUS);
    write_register(apic, APIC_TIMER_DIVIDE, DIVIDE_BY_16);
    write_register(apic, APIC_TIMER_INITIAL, 0);
    write_register(apic, APIC_LVT_TIMER, VECTOR_TIMER); /* one-shot */
    write_register(apic, APIC_TPR, 0);
}

static void init_io(void)
{
    uint32_t pins;

    ioapic = mm_map_device(IOAPIC_ADDRESS, PAGE_SIZE);
    pins = (ioapic_read(IOAPIC_VERSION) >> 16 & 0xff) + 1;
    for (uint32_t pin = 0; pin < pins; pin++)
        ioapic_write(IOAPIC_REDIRECT + 2 * pin, IOAPIC_MASKED);
    /* The destination has the place that the ID has in its register. */
    ioapic_write(IOAPIC_REDIRECT + 2 * SERIAL_PIN + 1, read_register(apic, APIC_ID));
    ioapic_write(IOAPIC_REDIRECT + 2 * SERIAL_PIN, VECTOR_SERIAL);
}

void apic_init(void)
{
    init_pics();
    init_local();
    init_io();
}

void apic_eoi(void)
{
    write_register(apic, APIC_EOI, 0);
}

void apic_interrupt_self(uint8_t vector)
{
    write_register(apic, APIC_ICR, ICR_TO_SELF | ICR_ASSERT | vector);
}

bool apic_in_service(uint8_t vector)
{
    uint32_t offset = APIC_ISR + vector / 32u * 16;

    return read_register(apic, offset) >> (vector % 32u) & 1;
}

void apic_timer_start(uint32_t count)
{
    write_register(apic, APIC_TIMER_INITIAL, count);
}

uint32_t apic_timer_left(void)
{
    return read_register(apic, APIC_TIMER_CURRENT);
}
