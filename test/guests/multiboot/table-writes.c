/*
 * Page tables written by every form of instruction that writes memory: in the middle of a
 * table, at odd addresses, across the end of one table into the next, where the next is
 * read-only or absent so that the write faults half-way, by supervisor and by user. Each
 * instruction is also run on plain memory that has the same bytes; memory, registers, flags and
 * exceptions must come out the same, and the entries must then do what they say. part=K/N on the
 * command line runs every N-th instruction from the K-th on.
 */
#include "test/guests/multiboot/expect.h"
#include "test/guests/multiboot/forms.h"
#include "test/guests/multiboot/words.h"

const char kernel_name[] = "table-writes";

#define PAGES    8u /* that entries lead to, from FIRST on */
#define FIRST    0x2203000u
#define MAGIC(p) (0x51000000u | (p))
#define AROUND   32u   /* bytes that are looked at before and after */
#define CALM     2800u /* offset of an entry that leads nowhere */

/* Where it is written, and what is done to the second page there. */
static const struct place {
    uint32_t at, second; /* 0: as it is; else the flags that it loses */
} places[] = {
    { 512, 0 },  { 520, 0 },  { 1027, 0 }, { 2046, 0 }, { 4080, 0 },      { 4088, 0 },
    { 4092, 0 }, { 4094, 0 }, { 4095, 0 }, { 4093, 2 }, { 4094, 1 },      { 4095, 1 },
    { 4090, 2 }, { 4089, 1 }, { 4088, 2 }, { 4080, 1 }, { 8192 - 64, 0 },
};

static const struct rules *rules;
static const char         *form_name;

static const struct paging_mode *mode;
static uint8_t                   before[sizeof(form_plain)] __attribute__((aligned(4)));
static uint32_t                  half_written, half_written_tables;

static _Noreturn void fail(const char *what, uint32_t at, uint32_t got, uint32_t wanted)
{
    static char place[] = " at 0000 ";

    for (unsigned i = 0; i < 4; i++)
        place[4 + i] = "0123456789abcdef"[at >> (12 - 4 * i) & 15];
    kernel_print(mode->name);
    kernel_print(probe.user ? ", user, " : ", supervisor, ");
    kernel_print(form_name);
    kernel_print(place);
    kernel_print("\n");
    kernel_fail(what, got, wanted);
}

/* The byte at this place of a table whose entries lead to pages in turn, with these flags. */
static uint8_t pattern(uint32_t at, uint32_t turn, uint32_t flags)
{
    uint32_t entry = at / mode->entry_bytes, byte = at % mode->entry_bytes;
    uint32_t value = (FIRST + PAGE + PAGE * ((entry + turn) & 3)) | flags;

    return byte < 4 ? (uint8_t)(value >> (8 * byte)) : 0;
}

/* ---- the tables, and what memory around them may be reached ---- */

static uint64_t entry_at(uint32_t at)
{
    uint64_t entry = 0;

    __builtin_memcpy(&entry, form_tables + at, mode->entry_bytes);
    return entry;
}

static uint64_t window_of(uint32_t at)
{
    uint64_t base = (mode->window | PROBE_TARGET) & ~((1ull << mode->shift[2]) - 1);

    return base + (uint64_t)(at / mode->entry_bytes) * PAGE;
}

static void home_flags(uint32_t address, uint64_t set, uint64_t clear)
{
    uint8_t *entry = probe_home_entry(address);
    uint64_t value = 0;

    __builtin_memcpy(&value, entry, mode->entry_bytes);
    value = (value & ~clear) | set;
    if (mode->entry_bytes == 4)
        store((uint32_t)entry, (uint32_t)value);
    else
        store64(entry, value);
    invlpg(address);
}

static void enter(const struct paging_mode *which)
{
    mode = which;
    probe_build(mode);
    for (uint32_t a = (uint32_t)forms_first; a < (uint32_t)forms_last; a += PAGE) {
        uint64_t value = a | PTE_ALL;

        __builtin_memcpy(probe_home_entry(a), &value, mode->entry_bytes);
    }
    __builtin_memset(form_tables, 0, sizeof(form_tables));
    for (unsigned i = 0; i < 2; i++) {
        uint64_t value = (uint32_t)(form_tables + i * PAGE) | PTE_ALL;

        __builtin_memcpy((uint8_t *)probe_slot(2) + i * mode->entry_bytes, &value,
                         mode->entry_bytes);
    }
    probe_paging_on(mode);
}

/* ---- one instruction at one place ---- */

struct result {
    uint32_t vector, error, address; /* of the exception */
    uint32_t registers[FORM_RESULTS];
};

static struct result run(const struct form *form, uint8_t *memory, uint32_t at)
{
    struct result r;
    uint32_t      wide = probe.wide;

    __builtin_memset(form_result, 0, sizeof(form_result));
    probe.access = PROBE_FETCH;
    probe.address = form->code;
    probe.wide = form->wide;
    probe.value = (uint32_t)memory + at;
    probe_go();
    probe.wide = wide;
    r.vector = probe.vector;
    r.error = r.vector == VECTOR_NONE ? 0 : probe.error;
    r.address = r.vector == VECTOR_PF ? (uint32_t)probe.cr2 - (uint32_t)memory : 0;
    __builtin_memcpy(r.registers, form_result, sizeof(r.registers));
    r.registers[0] &= form->flags & ~FORM_SEVERAL;
    return r;
}

static void compare(const struct result *got, const struct result *wanted, uint32_t at)
{
    if (got->vector != wanted->vector)
        fail("the exception", at, got->vector, wanted->vector);
    if (got->error != wanted->error)
        fail("its error code", at, got->error, wanted->error);
    if (got->address != wanted->address)
        fail("CR2", at, got->address, wanted->address);
    for (unsigned i = 0; i < FORM_RESULTS; i++)
        if (got->registers[i] != wanted->registers[i])
            fail(i ? "a register" : "flags", at, got->registers[i], wanted->registers[i]);
}

/* The bytes from here on, within the two pages. */
static uint32_t first_of(uint32_t at)
{
    return (at < AROUND ? 0 : at - AROUND) & ~7u;
}

static uint32_t last_of(uint32_t at)
{
    return at + AROUND > sizeof(form_tables) ? sizeof(form_tables) : (at + AROUND) & ~7u;
}

/* Reads and writes what the entry maps; entries that lead elsewhere are left alone. */
static void use_entry(uint32_t at)
{
    uint64_t           value = entry_at(at), entry[LEVELS + 1] = { 0, value };
    uint64_t           frame = value & 0xffffffffff000ull;
    uint32_t           page = (uint32_t)(frame - FIRST) / PAGE;
    struct expectation e;

    for (unsigned l = 2; l <= mode->levels; l++)
        entry[l] = PTE_ALL;
    for (unsigned i = 0; i < 2; i++) {
        probe.access = i ? PROBE_WRITE : PROBE_READ;
        e = expect(mode, rules, entry, (enum probe_access)probe.access, probe.user);
        if (!e.fault && (frame < FIRST || frame >= FIRST + PAGES * PAGE))
            return;
        probe.address = window_of(at);
        probe.value = i ? MAGIC(page) : 0;
        probe_go();
        if (probe.vector != (e.fault ? VECTOR_PF : VECTOR_NONE))
            fail("an access by the entry that was written", at, probe.vector, (uint32_t)value);
        if (!e.fault && probe.value != MAGIC(page))
            fail("what is read by that entry", at, probe.value, MAGIC(page));
        if (e.fault && (probe.error | ERROR_P) != (e.error | ERROR_P))
            fail("the error code of that access", at, probe.error, e.error);
        if (entry_at(at) != e.entry[1])
            fail("the entry after that access", at, (uint32_t)entry_at(at), (uint32_t)e.entry[1]);
        entry[1] = e.entry[1];
    }
}

/*
 * An instruction that faults has written nothing. QEMU 7.2 executes a store of 16 bytes as two,
 * of which the first may be done: that is taken back, and true is returned.
 */
static bool undo_half(uint8_t *memory, uint32_t at)
{
    bool undone = false;

    for (uint32_t i = first_of(at); i < last_of(at); i += 4) {
        uint32_t was = load((uint32_t)before + i);

        if (load((uint32_t)memory + i) == was)
            continue;
        undone = true;
        store((uint32_t)memory + i, was);
    }
    return undone;
}

/*
 * A shadow may leave a table to the guest for a while when it is written often. One entry
 * changed between two flushes is not often: what is written next is seen at once.
 */
static void calm_down(void)
{
    for (unsigned i = 0; i < 2; i++) {
        uint32_t at = (uint32_t)form_tables + i * PAGE + CALM;

        store(at, load(at) ^ 1u << 9);
        invlpg(at);
    }
}

static void test_place(const struct form *form, const struct place *p, bool calm)
{
    uint32_t      at = p->at;
    struct result got, wanted;

    for (uint32_t i = first_of(at); i < last_of(at); i += 4) {
        uint32_t word = 0;

        for (uint32_t k = 0; k < 4; k++)
            word |= (uint32_t)pattern(i + k, 0, PTE_P | PTE_U) << (8 * k);
        store((uint32_t)form_tables + i, word);
        store((uint32_t)form_plain + i, word);
    }
    for (uint32_t i = 0; i < sizeof(form_value); i++)
        form_value[i] = pattern(at + i, 1, PTE_P | PTE_U | PTE_W);
    for (uint32_t i = first_of(at); i < last_of(at); i += mode->entry_bytes)
        use_entry(i); /* so that there is something to be undone */
    for (uint32_t i = first_of(at); i < last_of(at); i += 4)
        store((uint32_t)form_plain + i, load((uint32_t)form_tables + i));
    __builtin_memcpy(before + first_of(at), form_plain + first_of(at), last_of(at) - first_of(at));
    if (calm)
        calm_down();
    if (p->second) {
        home_flags((uint32_t)form_plain + PAGE, 0, p->second);
        home_flags((uint32_t)form_tables + PAGE, 0, p->second);
    }
    wanted = run(form, form_plain, at);
    got = run(form, form_tables, at);
    if (p->second) {
        home_flags((uint32_t)form_plain + PAGE, p->second, 0);
        home_flags((uint32_t)form_tables + PAGE, p->second, 0);
    }
    compare(&got, &wanted, at);
    if (got.vector != VECTOR_NONE && !(form->flags & FORM_SEVERAL)) {
        half_written += undo_half(form_plain, at);
        half_written_tables += undo_half(form_tables, at);
    }
    for (uint32_t i = first_of(at); i < last_of(at); i += 4)
        if (load((uint32_t)form_tables + i) != load((uint32_t)form_plain + i))
            fail("memory", i, load((uint32_t)form_tables + i), load((uint32_t)form_plain + i));
    for (uint32_t i = first_of(at); i < last_of(at); i += mode->entry_bytes)
        use_entry(i);
}

static unsigned test_mode(const struct paging_mode *which)
{
    unsigned count = 0;

    enter(which);
    for (const struct form *form = forms; form < forms_end; form++) {
        if ((form->wide && mode->levels < 4) || !words_part((unsigned)(form - forms)))
            continue;
        form_name = (const char *)form->name;
        for (unsigned way = 0; way < 4; way++)
            for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i += way & 2 ? 1 : 2) {
                probe.user = way & 1;
                test_place(form, &places[i], way & 2);
                count++;
            }
    }
    probe.user = 0;
    probe_paging_off();
    return count;
}

void kernel_main(const struct multiboot_info *info)
{
    static const struct paging_mode *const modes[] = { &paging_2level, &paging_pae, &paging_long };
    static struct rules                    all = { .wp = true, .nx = true };

    words_init(info);
    all.physical_bits = cpuid(0x80000008).eax & 0xff;
    all.gigabyte_pages = cpuid(0x80000001).edx & 1u << 26;
    rules = &all;
    probe_init();
    for (uint32_t p = 0; p < PAGES; p++)
        store(FIRST + p * PAGE, MAGIC(p));
    for (unsigned i = 0; i < 3; i++) {
        unsigned count = test_mode(modes[i]);

        kernel_print(modes[i]->name);
        probe_print(" ", count);
        kernel_print(" writes\n");
    }
    probe_print("quirks: half-written ", half_written);
    probe_print(" half-written-tables ", half_written_tables);
    kernel_print("\n");
}
