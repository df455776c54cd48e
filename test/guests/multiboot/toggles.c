/*
 * Every combination of the bits of one entry, at each level in turn, with all other levels
 * granting everything; the rights at all levels together; accessed and dirty at all levels
 * together: under each setting of CR0.WP, EFER.NXE, CR4.SMEP and SMAP with EFLAGS.AC, by reads,
 * writes and fetches of supervisor and user, in all modes. What came of it is compared with
 * what the manual says (expect.h), and summed up in a line per mode, step and setting, so that
 * runs on different machines can be compared. Words on the command line:
 *
 *     modes=2-level,2-level-pse,pae,4-level  steps=entry,reserved,rights,marks  part=K/N
 *     detail=LINE
 *
 * choose what is run, of that every N-th line from the K-th on, or print each case of a line.
 *
 * Where QEMU 7.2's emulation is known to differ from the manual, the outcome is taken for
 * what it should be, and counted (struct quirks); the counts are printed last.
 */
#include "test/guests/multiboot/expect.h"
#include "test/guests/multiboot/words.h"

const char kernel_name[] = "toggles";

#define SETTINGS 24u /* WP, NXE, SMEP: 8; times without SMAP, with it, with it and AC */
#define WHERE    0x20u

struct step {
    const char *name;
    bool        each_level; /* once for each level */
    /* Runs one line. */
    void (*run)(unsigned level);
};

/* How QEMU's processor differs; doc/caveats.md says more. */
static struct quirks {
    uint32_t reserved_without_p; /* P is missing in the error code of a fault by reserved bits */
    uint32_t accessed_on_fault;  /* A was set above the entry that refused the access... */
    uint32_t gigabyte_accessed;  /* ...or in that entry, which is a page of 1 GiB */
    uint32_t root_accessed;      /* A was set in a root entry of PAE */
} quirks;

static const struct paging_mode *mode;
static struct rules              rules;
static unsigned                  line, detail;
static uint32_t                  cases, faults, hash, wrong;

/* ---- one case ---- */

static void print_hex(const char *before, uint64_t value)
{
    char     digits[20];
    unsigned i = sizeof(digits) - 1;

    digits[i] = 0;
    do
        digits[--i] = "0123456789abcdef"[value & 15];
    while (value >>= 4);
    kernel_print(before);
    kernel_print(digits + i);
}

struct outcome {
    uint32_t vector, error;
    bool     right_address; /* CR2 */
    bool     right_place;   /* what was read or written is the target's */
    uint64_t entry[LEVELS + 1];
};

static uint64_t address(void)
{
    return (mode->window | PROBE_TARGET) + (probe.access == PROBE_FETCH ? 0 : WHERE);
}

static struct outcome act(void)
{
    struct outcome o = { 0 };
    uint32_t       before = cases * 0x01000193u;

    probe_target[WHERE / 4] = before;
    probe.value = probe.access == PROBE_WRITE ? ~before : 0;
    probe.address = address();
    probe.eflags = EFLAGS_ONE | (rules.ac ? EFLAGS_AC : 0);
    probe_go();
    o.vector = probe.vector;
    o.error = o.vector == VECTOR_NONE ? 0 : probe.error;
    o.right_address = o.vector == VECTOR_NONE || probe.cr2 == probe.address;
    if (probe.access == PROBE_WRITE)
        before = o.vector == VECTOR_NONE ? ~before : before;
    o.right_place =
        probe_target[WHERE / 4] == before &&
        (probe.access != PROBE_READ || o.vector != VECTOR_NONE || probe.value == before);
    for (unsigned l = 1; l <= mode->levels; l++)
        o.entry[l] = probe_entry(l);
    return o;
}

/* Takes away from the outcome how QEMU is known to differ, and nothing else. */
static void canonical(struct outcome *o, const uint64_t *entry, const struct expectation *e)
{
    if (mode->levels == 3 && !(entry[3] & PTE_A) && (o->entry[3] & PTE_A)) {
        o->entry[3] &= ~PTE_A;
        quirks.root_accessed++;
    }
    if (!e->fault)
        return;
    if (o->vector == VECTOR_PF && (e->error & ERROR_RSVD) && !(o->error & ERROR_P) &&
        (o->error & ERROR_RSVD)) {
        o->error |= ERROR_P;
        quirks.reserved_without_p++;
    }
    for (unsigned l = e->level; l <= mode->levels; l++) {
        bool gigabyte = l == e->level && l == 3 && mode->levels >= 4 && (entry[3] & PTE_PS);

        if ((l == e->level && !gigabyte) || (entry[l] & PTE_A) || !(o->entry[l] & PTE_A))
            continue;
        o->entry[l] &= ~PTE_A;
        if (gigabyte)
            quirks.gigabyte_accessed++;
        else
            quirks.accessed_on_fault++;
    }
}

static bool agrees(const struct outcome *o, const struct expectation *e)
{
    for (unsigned l = 1; l <= mode->levels; l++)
        if (o->entry[l] != e->entry[l])
            return false;
    return o->vector == (e->fault ? VECTOR_PF : VECTOR_NONE) &&
           o->error == (e->fault ? e->error : 0) && o->right_address && o->right_place;
}

static void mix(uint64_t value)
{
    for (unsigned i = 0; i < 64; i += 16)
        hash = (hash ^ hash >> 15 ^ (uint32_t)(value >> i & 0xffff)) * 0x01000193u;
}

static void print_case(const char *before, const uint64_t *entry, const struct outcome *o,
                       const struct expectation *e)
{
    static const char *const access[] = { "read", "write", "fetch" };

    kernel_print(before);
    kernel_print(probe.user ? "user " : "supervisor ");
    kernel_print(access[probe.access]);
    for (unsigned l = mode->levels; l > 0; l--)
        print_hex(l == mode->levels ? ", entries " : " ", entry[l]);
    print_hex(": vector ", o->vector);
    print_hex(" error ", o->error);
    print_hex(o->right_address ? " CR2 " : " wrong CR2 ", probe.cr2);
    kernel_print(o->right_place ? "" : ", the wrong place");
    for (unsigned l = mode->levels; l > 0; l--)
        print_hex(l == mode->levels ? ", entries " : " ", o->entry[l]);
    print_hex(e->fault ? "; wanted: fault with error " : "; wanted: no fault ", e->error);
    for (unsigned l = mode->levels; l > 0; l--)
        print_hex(l == mode->levels ? ", entries " : " ", e->entry[l]);
    kernel_print("\n");
}

/* All accesses with these entries. */
static void try_entries(const uint64_t *entry)
{
    for (unsigned i = 0; i < 6; i++) {
        struct expectation e;
        struct outcome     o;

        for (unsigned l = mode->levels; l > 0; l--)
            if (probe_entry(l) != entry[l])
                probe_set_entry(l, entry[l]);
        probe.access = i % 3;
        probe.user = i >= 3;
        e = expect(mode, &rules, entry, (enum probe_access)probe.access, probe.user);
        o = act();
        canonical(&o, entry, &e);
        cases++;
        faults += o.vector != VECTOR_NONE;
        mix((uint64_t)o.vector << 32 | o.error);
        mix(o.right_address | (uint64_t)o.right_place << 1);
        for (unsigned l = mode->levels; l > 0; l--)
            mix(o.entry[l] ^ entry[l]);
        if (!agrees(&o, &e) && wrong++ < 20)
            print_case("DIFFERENT: ", entry, &o, &e);
        else if (detail)
            print_case("", entry, &o, &e);
    }
}

/* ---- steps ---- */

static uint64_t root_or(unsigned level, uint64_t flags)
{
    return mode->levels == 3 && level == 3 ? PTE_P : flags;
}

/* PAE's root entries have no bits to toggle: they are checked when CR3 is loaded. */
static unsigned top_level(void)
{
    return mode->levels == 3 ? 2 : mode->levels;
}

static void all_granted(uint64_t *entry)
{
    for (unsigned l = 1; l <= mode->levels; l++)
        entry[l] = probe_next(l) | root_or(l, PTE_ALL);
}

/* The entry with these flags; where they make it a large page, its address is one's. */
static uint64_t entry_with(unsigned level, uint64_t flags)
{
    bool large = level > 1 && expect_page(mode, &rules, level, flags);

    return (large ? probe_large(level) : probe_next(level)) | flags;
}

/* P, W, U, A, D, PS (which is PAT in a leaf), NX and a reserved bit, in all combinations. */
static void run_entry(unsigned level)
{
    uint64_t entry[LEVELS + 1];

    all_granted(entry);
    for (unsigned i = 0; i < (mode->entry_bytes == 8 ? 256u : 128u); i++) {
        uint64_t flags = (i & 1 ? PTE_P : 0) | (i & 2 ? PTE_W : 0) | (i & 4 ? PTE_U : 0) |
                         (i & 8 ? PTE_A : 0) | (i & 16 ? PTE_D : 0) | (i & 32 ? PTE_PS : 0);

        if (mode->entry_bytes == 8)
            flags |= (i & 64 ? PTE_NX : 0) | (i & 128 ? 1ull << 51 : 0);
        else if (i & 64) /* only a page of 4 MiB has a bit that must be 0 */
            flags |= level == 2 && expect_page(mode, &rules, 2, flags) ? 1u << 21 : PTE_G;
        entry[level] = entry_with(level, flags);
        try_entries(entry);
    }
}

/* Each other bit alone: reserved ones, and those that mean nothing here. */
static void run_reserved(unsigned level)
{
    uint64_t entry[LEVELS + 1];

    all_granted(entry);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t flags = PTE_P | PTE_W | PTE_U | PTE_A | (i & 1 ? PTE_PS : 0) | (i & 2 ? PTE_D : 0);
        bool     large = level > 1 && expect_page(mode, &rules, level, flags);
        uint64_t plain = entry_with(level, flags);

        /* Bits 3 and 4 are how the page is cached, 8 to 11 are global and the guest's own. */
        for (unsigned bit = 3; bit < mode->entry_bytes * 8; bit++) {
            uint64_t with = plain | 1ull << bit;
            bool     reserved = expect_reserved(mode, &rules, level, with) & 1ull << bit;
            bool     address = bit >= (large ? mode->shift[level] : 12) && bit < 52;

            if (mode->entry_bytes == 4 && large && bit >= 13 && bit < 21)
                address = true;
            if (with == plain || (bit >= 5 && bit <= 7) || (address && !reserved && bit != 12))
                continue;
            if (bit == 12 && !large)
                continue;
            entry[level] = with;
            try_entries(entry);
        }
    }
}

/* W, U and NX at all levels together. */
static void run_rights(unsigned level)
{
    unsigned top = top_level(), each = mode->entry_bytes == 8 ? 3 : 2;
    uint64_t entry[LEVELS + 1];

    (void)level;
    all_granted(entry);
    for (unsigned i = 0; i < 1u << (each * top); i++) {
        for (unsigned l = 1; l <= top; l++) {
            unsigned bits = i >> (each * (l - 1)) & ((1u << each) - 1);

            entry[l] = probe_next(l) | PTE_P | PTE_A | PTE_D | (bits & 1 ? PTE_W : 0) |
                       (bits & 2 ? PTE_U : 0) | (bits & 4 ? PTE_NX : 0);
        }
        try_entries(entry);
    }
}

/* A and D at all levels together, where the leaf grants writes and where it does not. */
static void run_marks(unsigned level)
{
    unsigned top = top_level();
    uint64_t entry[LEVELS + 1];

    (void)level;
    all_granted(entry);
    for (unsigned i = 0; i < 2u << (2 * top); i++) {
        for (unsigned l = 1; l <= top; l++) {
            unsigned bits = i >> (2 * l - 1) & 3;

            entry[l] = probe_next(l) | PTE_P | PTE_W | PTE_U | (bits & 1 ? PTE_A : 0) |
                       (bits & 2 ? PTE_D : 0);
        }
        if (i & 1)
            entry[1] &= ~PTE_W;
        try_entries(entry);
    }
}

static const struct step steps[] = {
    { "entry", true, run_entry },
    { "reserved", true, run_reserved },
    { "rights", false, run_rights },
    { "marks", false, run_marks },
};

/* ---- lines ---- */

static void set_rules(unsigned setting)
{
    rules.wp = setting & 1;
    rules.nx = setting & 2;
    rules.smep = setting & 4;
    rules.smap = setting >= 8;
    rules.ac = setting >= 16;
    write_cr0((read_cr0() & ~CR0_WP) | (rules.wp ? CR0_WP : 0));
    wrmsr(MSR_EFER, (rdmsr(MSR_EFER) & ~EFER_NXE) | (rules.nx ? EFER_NXE : 0));
    write_cr4((read_cr4() & ~(CR4_SMEP | CR4_SMAP)) | (rules.smep ? CR4_SMEP : 0) |
              (rules.smap ? CR4_SMAP : 0));
}

/* What the machine does not offer is left out. */
static bool possible(unsigned setting)
{
    struct registers features = cpuid(0x80000001), structured = cpuid(7);

    return !((setting & 2) && !(features.edx & 1u << 20)) &&
           !((setting & 4) && !(structured.ebx & 1u << 7)) &&
           !(setting >= 8 && !(structured.ebx & 1u << 20));
}

static bool chosen(void)
{
    return detail ? line == detail : words_part(line);
}

static void run_line(const struct step *step, unsigned level, unsigned setting)
{
    uint64_t entry[LEVELS + 1];

    set_rules(setting);
    cases = faults = 0;
    hash = 0x811c9dc5u;
    step->run(level);
    all_granted(entry);
    for (unsigned l = 1; l <= mode->levels; l++)
        probe_set_entry(l, entry[l]);
    probe_print("", line);
    kernel_print(" ");
    kernel_print(mode->name);
    kernel_print(" ");
    kernel_print(step->name);
    if (step->each_level)
        probe_print(" level ", level);
    kernel_print(rules.wp ? " wp" : "");
    kernel_print(rules.nx ? " nx" : "");
    kernel_print(rules.smep ? " smep" : "");
    kernel_print(rules.smap ? rules.ac ? " smap ac" : " smap" : "");
    probe_print(": ", cases);
    probe_print(" cases, ", faults);
    print_hex(" faults, ", hash);
    kernel_print("\n");
}

static void run_mode(const struct paging_mode *which)
{
    bool here = words_listed("modes=", which->name) || detail;

    mode = which;
    if (here)
        probe_enter(mode);
    for (unsigned s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
        bool wanted = here && (words_listed("steps=", steps[s].name) || detail);

        for (unsigned level = steps[s].each_level ? top_level() : 1; level > 0; level--)
            for (unsigned setting = 0; setting < SETTINGS; setting++) {
                line++;
                if (wanted && chosen() && possible(setting))
                    run_line(&steps[s], level, setting);
            }
    }
    if (here)
        probe_paging_off();
}

void kernel_main(const struct multiboot_info *info)
{
    static const struct paging_mode *const modes[] = { &paging_2level, &paging_pse, &paging_pae,
                                                       &paging_long, &paging_five };

    words_init(info);
    detail = words_number("detail=");
    rules.physical_bits = cpuid(0x80000008).eax & 0xff;
    rules.gigabyte_pages = cpuid(0x80000001).edx & 1u << 26;
    probe_print("physical address bits: ", rules.physical_bits);
    kernel_print("\n");
    probe_init();
    for (unsigned i = 0; i < PAGING_MODES; i++)
        if (modes[i] != &paging_five || probe_has_five())
            run_mode(modes[i]);
    probe_print("quirks: reserved-without-P ", quirks.reserved_without_p);
    probe_print(" accessed-on-fault ", quirks.accessed_on_fault);
    probe_print(" gigabyte-accessed ", quirks.gigabyte_accessed);
    probe_print(" root-accessed ", quirks.root_accessed);
    kernel_print("\n");
    if (wrong)
        kernel_fail("cases that are not as the manual says", wrong, 0);
}
