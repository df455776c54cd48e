/*
 * count - a plugin of QEMU's that counts what a hypervisor costs: VM entries, instructions of host
 * and guest, and some privileged ones, for each region that the workload marks (event.h).
 *
 *   qemu-system-x86_64 -icount shift=0,sleep=off ... -plugin ./count.so,out=FILE[,OPTION=...]
 *
 *   out=FILE     where the records go: a line for each pass of a region
 *   host=LO-HI   hexadecimal; what runs at these virtual addresses is counted in class "hv"
 *   profile=FILE region=N   how often each instruction within host= ran during region N
 *   domains=A svm=A pv_names=A phys=A   variables of Umbra, whose own counters are printed: own.h
 *
 * mode: host until VMRUN; guest from there until the instruction behind that VMRUN runs, at the same
 *     virtual address and the same place in memory. VMRUN itself counts as the host's. Entries are
 *     VMRUNs; a PV guest is entered by class hv's IRETs and SYSRETs, which are counted as such.
 * class: "hv" within host=, else "user" (the lower half of the addresses) or "kern".
 * An instruction that faults and is restarted counts once for each attempt.
 *
 * Counters are added to without locks, by translated code where that is possible: one vCPU only.
 * Records do not depend on the time a run took, so two runs can be compared byte by byte.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/event.h"
#include "bench/own.h"
#include "bench/plugin.h"

#define VMRUN_LENGTH 3
#define REGIONS      256

enum { HOST, GUEST, MODES };
enum { CLASS_USER, CLASS_KERN, CLASS_HV, CLASSES };
static const char *const mode_names[MODES] = { "host", "guest" };
static const char *const class_names[CLASSES] = { "user", "kern", "hv" };

struct counts {
    uint64_t cell[MODES][CLASSES][EVENTS];
    uint64_t entries;
};

/* An instruction that needs a call. It lives as long as the code that was made of it may. */
struct site {
    bool     is_vmrun, may_return; /* may follow a VMRUN */
    unsigned begins, ends;         /* regions, or 0 */
    uint64_t va;
    void    *place; /* in QEMU's own memory, where the guest's lies */
    unsigned class, event;
};

static uint64_t      live[CLASSES][EVENTS];    /* added to, whatever the mode */
static uint64_t      settled[CLASSES][EVENTS]; /* live[] when it was last attributed */
static struct counts total;
static unsigned      mode;
static uint64_t      resume_va; /* behind the VMRUN that was last executed */
static const void   *resume_place;

static struct {
    bool          open;
    unsigned      passes;
    struct counts start;
    struct own    own;
} regions[REGIONS];

static FILE       *out;
static uint64_t    hv_low, hv_high;
static const char *profile_name;
static unsigned    profile_region;
static uint64_t   *ran, *ran_before, *ran_within; /* by address, from hv_low on */

/* ---- counting ---- */

/* All since the last call was done in the present mode. */
static void settle(void)
{
    for (unsigned c = 0; c < CLASSES; c++)
        for (unsigned e = 0; e < EVENTS; e++) {
            total.cell[mode][c][e] += live[c][e] - settled[c][e];
            settled[c][e] = live[c][e];
        }
}

/* Counters that are 0 are left out. */
static void print_counts(const struct counts *start)
{
    fprintf(out, " vcpu=0 entries=%" PRIu64, total.entries - start->entries);
    for (unsigned m = 0; m < MODES; m++) {
        uint64_t sum = 0;

        for (unsigned c = 0; c < CLASSES; c++)
            sum += total.cell[m][c][EVENT_INSN] - start->cell[m][c][EVENT_INSN];
        fprintf(out, " %s=%" PRIu64, mode_names[m], sum);
        for (unsigned c = 0; c < CLASSES; c++)
            for (unsigned e = 0; e < EVENTS; e++) {
                uint64_t count = total.cell[m][c][e] - start->cell[m][c][e];

                if (count)
                    fprintf(out, " %s.%s.%s=%" PRIu64, mode_names[m], class_names[c],
                            event_names[e], count);
            }
    }
    fputc('\n', out);
}

static void profile_begin(void)
{
    memcpy(ran_before, ran, (hv_high - hv_low) * sizeof(*ran));
}

static void profile_end(void)
{
    for (uint64_t i = 0; i < hv_high - hv_low; i++)
        ran_within[i] += ran[i] - ran_before[i];
}

static void region_begin(unsigned region)
{
    settle();
    regions[region].open = true;
    regions[region].start = total;
    regions[region].own = own_read();
    if (region == profile_region)
        profile_begin();
}

static void region_end(unsigned region)
{
    struct own own;

    if (!regions[region].open)
        return;
    settle();
    regions[region].open = false;
    fprintf(out, "region id=%u pass=%u", region, ++regions[region].passes);
    print_counts(&regions[region].start);
    own = own_read();
    own_print(out, region, &regions[region].own, &own);
    fflush(out);
    if (region == profile_region)
        profile_end();
}

/* ---- before an instruction or a block runs ---- */

static void on_site(unsigned vcpu, void *arg)
{
    const struct site *s = arg;

    (void)vcpu;
    if (s->may_return && mode == GUEST && resume_va == s->va &&
        (resume_place == s->place || (s->va & 0xfff) < VMRUN_LENGTH)) {
        settle();
        mode = HOST;
    }
    if (s->ends) /* neither marker counts */
        region_end(s->ends);
    live[s->class][EVENT_INSN]++;
    if (s->event != EVENT_INSN)
        live[s->class][s->event]++;
    if (s->begins)
        region_begin(s->begins);
    if (s->is_vmrun) {
        settle();
        total.entries++;
        mode = GUEST;
        resume_va = s->va + VMRUN_LENGTH;
        resume_place = (const char *)s->place + VMRUN_LENGTH;
    }
}

/* ---- when code is translated ---- */

static bool is_hv(uint64_t va)
{
    return va >= hv_low && va < hv_high;
}

static unsigned class_of(uint64_t va)
{
    if (is_hv(va))
        return CLASS_HV;
    return va >> 63 ? CLASS_KERN : CLASS_USER;
}

/*
 * VMRUN ends its block, so what follows it begins one. The bytes before it are read where QEMU has
 * them, unless they lie in another page: then the address alone decides.
 */
static bool may_follow_vmrun(uint64_t va, const uint8_t *place)
{
    static const uint8_t vmrun[VMRUN_LENGTH] = { 0x0f, 0x01, 0xd8 };

    if ((va & 0xfff) < VMRUN_LENGTH)
        return true;
    return place && memcmp(place - VMRUN_LENGTH, vmrun, VMRUN_LENGTH) == 0;
}

static struct site site_of(struct qemu_plugin_insn *insn, bool first)
{
    const uint8_t *bytes = qemu_plugin_insn_data(insn);
    size_t         length = qemu_plugin_insn_size(insn);
    struct site    s = {
           .va = qemu_plugin_insn_vaddr(insn),
           .place = qemu_plugin_insn_haddr(insn),
           .begins = event_marker(bytes, length, MARKER_BEGIN),
           .ends = event_marker(bytes, length, MARKER_END),
           .event = event_of(bytes, length),
    };

    s.class = class_of(s.va);
    s.is_vmrun = s.event == EVENT_VMRUN;
    s.may_return = first && may_follow_vmrun(s.va, s.place);
    return s;
}

static void add(struct qemu_plugin_insn *insn, uint64_t *counter, uint64_t what)
{
    qemu_plugin_register_vcpu_insn_exec_inline(insn, PLUGIN_INLINE_ADD_U64, counter, what);
}

static void translate_insn(struct qemu_plugin_insn *insn, bool first)
{
    struct site s = site_of(insn, first), *kept;
    unsigned    rep = event_rep_bytes(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn));

    if (is_hv(s.va)) {
        own_place(s.va, s.place);
        if (ran)
            add(insn, &ran[s.va - hv_low], 1);
    }
    if (rep) {
        add(insn, &live[s.class][EVENT_REP], 1);
        add(insn, &live[s.class][EVENT_REPBYTES], rep);
    }
    if (!s.is_vmrun && !s.may_return && !s.begins && !s.ends) {
        add(insn, &live[s.class][EVENT_INSN], 1);
        if (s.event != EVENT_INSN)
            add(insn, &live[s.class][s.event], 1);
        return;
    }
    kept = malloc(sizeof(*kept));
    if (!kept)
        abort();
    *kept = s;
    qemu_plugin_register_vcpu_insn_exec_cb(insn, on_site, PLUGIN_CB_NO_REGS, kept);
}

static void on_translate(plugin_id id, struct qemu_plugin_tb *tb)
{
    size_t count = qemu_plugin_tb_n_insns(tb);

    (void)id;
    for (size_t i = 0; i < count; i++)
        translate_insn(qemu_plugin_tb_get_insn(tb, i), i == 0);
}

/* ---- beginning and end ---- */

static void write_profile(void)
{
    FILE *f = fopen(profile_name, "w");

    if (!f) {
        perror(profile_name);
        return;
    }
    for (uint64_t i = 0; i < hv_high - hv_low; i++)
        if (ran_within[i])
            fprintf(f, "%" PRIx64 " %" PRIx64 "\n", hv_low + i, ran_within[i]);
    fclose(f);
}

static void on_exit_(plugin_id id, void *arg)
{
    static const struct counts zero;

    (void)id, (void)arg;
    settle();
    fprintf(out, "total");
    print_counts(&zero);
    fclose(out);
    if (ran)
        write_profile();
}

static bool take_option(const char *option)
{
    if (!strncmp(option, "out=", 4))
        return (out = fopen(option + 4, "w")) != NULL;
    if (!strncmp(option, "profile=", 8))
        return (profile_name = strdup(option + 8)) != NULL;
    return sscanf(option, "host=%" SCNx64 "-%" SCNx64, &hv_low, &hv_high) == 2 ||
           sscanf(option, "region=%u", &profile_region) == 1 || own_option(option);
}

static bool profile_ready(void)
{
    size_t size = hv_high - hv_low;

    if (!profile_name)
        return true;
    ran = calloc(size, sizeof(*ran));
    ran_before = calloc(size, sizeof(*ran));
    ran_within = calloc(size, sizeof(*ran));
    return size && profile_region && ran && ran_before && ran_within;
}

PLUGIN_EXPORT int qemu_plugin_version = 1;
PLUGIN_EXPORT int qemu_plugin_install(plugin_id id, const plugin_info *info, int argc, char **argv);

int qemu_plugin_install(plugin_id id, const plugin_info *info, int argc, char **argv)
{
    if (strcmp(info->target_name, "x86_64") || !info->system_emulation ||
        info->system.smp_vcpus != 1) {
        fprintf(stderr, "count: an x86-64 machine with one vCPU is what it is for\n");
        return -1;
    }
    for (int i = 0; i < argc; i++)
        if (!take_option(argv[i])) {
            fprintf(stderr, "count: cannot make use of %s\n", argv[i]);
            return -1;
        }
    if (!out || !profile_ready()) {
        fprintf(stderr, "count: out= is missing, or host= or region= for a profile\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit_, NULL);
    return 0;
}
