/*
 * What the processor holds while a PV vCPU is loaded, and the calls of hv/pv.h that change it.
 * APM vol. 2: 3.1.1 (CR0.TS), 3.1.3 (CR4.FSGSBASE), 4.5 (segment bases), 6.1.1 (SYSCALL), 13.1 (debug registers).
 */
#include "x86/pv/pv.h"

#include "hv/print.h"
#include "x86/cpu.h"
#include "x86/desc.h"
#include "x86/mm.h"
#include "x86/pv/word.h"

#define STAR_VALUE                                                                                 \
    ((uint64_t)(SELECTOR_USER_CS32) << 48 | (uint64_t)SELECTOR_CODE << 32) /* 6.1.1 */
/* Cleared by SYSCALL: whatever would change how its entry runs. */
#define SFMASK_VALUE                                                                               \
    (RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | 3ul << 12)
#define SELECTOR_TI    4u
#define SELECTOR_INDEX 0xfff8u
#define DR7_ENABLES    UINT64_C(0xff)
#define DR7_RESET      UINT64_C(0x400)
#define DR6_RESET      UINT64_C(0xffff0ff0)

/* What GS points to at SYSCALL's entry: entry.S. */
struct entry_words {
    uint64_t top;     /* behind the registers of the vCPU that is loaded */
    uint64_t scratch; /* the guest's RSP for a moment */
};

static struct {
    struct entry_words words;
    struct pv_vcpu    *loaded;  /* whose state is in the processor */
    struct pv_vcpu    *running; /* whose root is in CR3... */
    struct pv_vcpu    *direct;  /* ...unless it is NULL here: then our own is, it runs on shadows */
} cpu;

void pv_syscall(void);
void pv_syscall32(void);
void pv_sysenter(void);

void pv_cpu_init(void)
{
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
}

/* ---- roots and TLB ---- */

static uint64_t root_of(const struct pv_vcpu *pv, bool kernel)
{
    return pv->direct.root[!kernel].raw << PAGE_SHIFT;
}

/* Of ours one is loaded for each entry. */
void pv_edge_load_root(struct pv_vcpu *pv)
{
    if (cpu.direct == pv)
        write_cr3(root_of(pv, pv->kernel));
}

/* Who runs from now on, or still does after its domain's mode has changed. */
static void set_running(struct pv_vcpu *pv)
{
    cpu.running = pv;
    cpu.direct = pv != NULL && !pv_is_shadowed(pv->vcpu->domain) ? pv : NULL;
}

void pv_edge_mode_changed(const struct domain *d)
{
    if (cpu.running == NULL || cpu.running->vcpu->domain != d)
        return;
    set_running(cpu.running);
    mm_load_root();
    pv_edge_load_root(cpu.running);
}

/* Without CR4.PGE a load of CR3 takes everything out. */
void pv_edge_flush(void)
{
    write_cr3(read_cr3());
}

void pv_edge_flush_address(gva_t va)
{
    __asm__ volatile("invlpg (%0)" ::"r"(va.raw) : "memory");
}

void pv_cpu_begin(struct pv_vcpu *pv)
{
    set_running(pv);
    pv_edge_load_root(pv);
}

void pv_cpu_end(void)
{
    set_running(NULL);
    mm_load_root();
}

const pte_t *pv_edge_slots(void)
{
    return mm_slots();
}

uint64_t *pv_edge_m2p(void)
{
    return mm_m2p();
}

mfn_t pv_edge_m2p_frames(uint64_t *count)
{
    return mm_m2p_frames(count);
}

/* ---- selectors ---- */

#define LOAD_SELECTOR(name)                                                                        \
    static bool load_##name(uint16_t selector)                                                     \
    {                                                                                              \
        uint32_t ok = 0;                                                                           \
                                                                                                   \
        __asm__ volatile("1: mov %w1, %%" #name "\n\t"                                             \
                         "movl $1, %0\n\t"                                                         \
                         "2:\n\t" EX_TABLE("1b", "2b")                                             \
                         : "+r"(ok)                                                                \
                         : "r"((uint32_t)selector)                                                 \
                         : "memory");                                                              \
        if (!ok)                                                                                   \
            __asm__ volatile("mov %w0, %%" #name ::"r"(0) : "memory");                             \
        return ok;                                                                                 \
    }
LOAD_SELECTOR(ds) /* load_ds load_es load_fs load_gs: false if it had to be null instead */
LOAD_SELECTOR(es)
LOAD_SELECTOR(fs)
LOAD_SELECTOR(gs)
#undef LOAD_SELECTOR

void pv_cpu_selectors(uint16_t selector[PV_SELECTORS])
{
    uint32_t ds, es, fs, gs;

    __asm__ volatile("mov %%ds, %0\n\tmov %%es, %1\n\tmov %%fs, %2\n\tmov %%gs, %3"
                     : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
    selector[PV_DS] = (uint16_t)ds;
    selector[PV_ES] = (uint16_t)es;
    selector[PV_FS] = (uint16_t)fs;
    selector[PV_GS] = (uint16_t)gs;
}

void pv_cpu_clear_selectors(void)
{
    uint64_t fs = rdmsr(MSR_FS_BASE), gs = rdmsr(MSR_GS_BASE);
    bool     null = load_ds(0) && load_es(0) && load_fs(0) && load_gs(0);

    BUG_ON(!null);
    wrmsr(MSR_FS_BASE, fs);
    wrmsr(MSR_GS_BASE, gs);
}

static void fsgsbase_load(bool on)
{
    uint64_t now = read_cr4(), wanted = on ? now | CR4_FSGSBASE : now & ~CR4_FSGSBASE;

    if (now != wanted)
        write_cr4(wanted);
}

void pv_cpu_set_fsgsbase(struct pv_vcpu *pv, bool on)
{
    pv->fsgsbase = on;
    if (cpu.loaded == pv)
        fsgsbase_load(on);
}

static void selectors_load(struct pv_vcpu *pv)
{
    const uint16_t *s = pv->selector;
    bool            all = load_ds(s[PV_DS]);

    all &= load_es(s[PV_ES]);
    all &= load_fs(s[PV_FS]);
    all &= load_gs(s[PV_GS]);
    pv->selectors_refused |= !all;
    wrmsr(MSR_FS_BASE, pv->fs_base);
    wrmsr(MSR_GS_BASE, pv->kernel ? pv->gs_kernel : pv->gs_user);
}

static void selectors_save(struct pv_vcpu *pv)
{
    uint64_t gs = rdmsr(MSR_GS_BASE);

    pv_cpu_selectors(pv->selector);
    pv->fs_base = rdmsr(MSR_FS_BASE);
    if (pv->kernel)
        pv->gs_kernel = gs;
    else
        pv->gs_user = gs;
    pv_cpu_clear_selectors();
}

/* ---- segment bases ---- */

static uint32_t live_msr(const struct pv_vcpu *pv, enum pv_base which)
{
    if (cpu.loaded != pv)
        return 0;
    if (which == PV_BASE_FS)
        return MSR_FS_BASE;
    return (which == PV_BASE_GS_KERNEL) == pv->kernel ? MSR_GS_BASE : 0;
}

static uint64_t *stored_base(struct pv_vcpu *pv, enum pv_base which)
{
    if (which == PV_BASE_FS)
        return &pv->fs_base;
    return which == PV_BASE_GS_KERNEL ? &pv->gs_kernel : &pv->gs_user;
}

uint64_t pv_edge_get_base(struct pv_vcpu *pv, enum pv_base which)
{
    uint32_t msr = live_msr(pv, which);

    return msr != 0 ? rdmsr(msr) : *stored_base(pv, which);
}

void pv_edge_set_base(struct pv_vcpu *pv, enum pv_base which, uint64_t base)
{
    uint32_t msr = live_msr(pv, which);

    *stored_base(pv, which) = base;
    if (msr != 0)
        wrmsr(msr, base);
}

void pv_edge_set_user_gs(struct pv_vcpu *pv, uint16_t selector)
{
    uint64_t base = rdmsr(MSR_GS_BASE);

    BUG_ON(cpu.loaded != pv);
    /* In ring 3 no other RPL makes a difference. Null has four, and the guest reads the one it chose. */
    if (selector > 3)
        selector |= 3;
    if (!load_gs(selector))
        pv->gs_user = 0;
    else
        pv->gs_user = rdmsr(MSR_GS_BASE);
    wrmsr(MSR_GS_BASE, base);
}

void pv_edge_toggle(struct pv_vcpu *pv)
{
    uint64_t base = rdmsr(MSR_GS_BASE);

    BUG_ON(cpu.loaded != pv || cpu.running != pv);
    if (pv->kernel) {
        pv->gs_kernel = base;
        wrmsr(MSR_GS_BASE, pv->gs_user);
    } else {
        pv->gs_user = base;
        wrmsr(MSR_GS_BASE, pv->gs_kernel);
    }
    pv->kernel = !pv->kernel;
    pv_edge_load_root(pv);
}

/* ---- descriptor tables ---- */

static void tables_load(const struct pv_vcpu *pv)
{
    uint32_t id = this_cpu()->id;

    for (unsigned i = 0; i < PV_GDT_FRAMES; i++)
        mm_window_set(id, i, pv ? pv->gdt[i] : MFN_NONE);
    for (unsigned i = 0; i < PV_LDT_FRAMES; i++)
        mm_window_set(id, WINDOW_LDT_PAGE + i, pv ? pv->ldt_frame[i] : MFN_NONE);
    pv_edge_flush();
    desc_load_ldt(pv ? pv->ldt_entries : 0);
}

void pv_edge_load_tables(struct pv_vcpu *pv)
{
    if (cpu.loaded == pv)
        tables_load(pv);
}

bool pv_cpu_ldt_offset(uint64_t address, uint64_t *offset)
{
    *offset =
        address - (LAYOUT_WINDOW + (this_cpu()->id * WINDOW_PAGES + WINDOW_LDT_PAGE) * PAGE_SIZE);
    return *offset < PV_LDT_FRAMES * PAGE_SIZE;
}

bool pv_cpu_ldt_fault(uint64_t address)
{
    struct pv_vcpu *pv = cpu.loaded;
    struct pv_place place;
    uint64_t        offset;
    unsigned        page;
    mfn_t           mfn;

    if (pv == NULL || !pv_cpu_ldt_offset(address, &offset) || offset / 8 >= pv->ldt_entries)
        return false;
    page = (unsigned)(offset >> PAGE_SHIFT);
    if (mfn_valid(pv->ldt_frame[page]) ||
        !pv_walk(pv->direct.root[0], gva_of(pv->ldt.raw + offset), 1, &place) ||
        !pte_has(place.entry, PTE_P))
        return false;
    mfn = mfn_of(pte_frame(place.entry));
    if (!pv_get(pv, mfn, TYPE_SEGMENTS))
        return false;
    pv->ldt_frame[page] = mfn;
    mm_window_set(this_cpu()->id, WINDOW_LDT_PAGE + page, mfn);
    return true;
}

static size_t copy(void *to, const void *from, size_t len);

uint64_t pv_cpu_descriptor(uint16_t selector)
{
    uint64_t page = this_cpu()->id * WINDOW_PAGES + (selector & SELECTOR_TI ? WINDOW_LDT_PAGE : 0);
    uint64_t at = LAYOUT_WINDOW + page * PAGE_SIZE + (selector & SELECTOR_INDEX), descriptor;

    return copy(&descriptor, (const void *)at, sizeof(descriptor)) == 0 ? descriptor
                                                                        : 0; /* NOLINT */
}

/* ---- FPU and debug registers ---- */

/* The core is told, which uses registers of 128 bits where it may. */
static void set_ts(bool ts)
{
    write_cr0(ts ? read_cr0() | CR0_TS : read_cr0() & ~CR0_TS);
    pv_machine.wide = !ts;
}

void pv_cpu_save_fpu(struct pv_vcpu *pv)
{
    BUG_ON(cpu.loaded != pv);
    set_ts(false);
    __asm__ volatile("fxsave64 %0" : "=m"(pv->fpu));
    pv_edge_set_ts(pv, pv->ts);
}

void pv_cpu_load_fpu(const struct pv_vcpu *pv)
{
    BUG_ON(cpu.loaded != pv);
    set_ts(false);
    __asm__ volatile("fxrstor64 %0" ::"m"(pv->fpu));
    set_ts(pv->ts);
}

void pv_edge_set_ts(struct pv_vcpu *pv, bool ts)
{
    pv->ts = ts;
    if (cpu.loaded == pv)
        set_ts(ts);
}

static void debug_load(const struct pv_vcpu *pv)
{
    __asm__ volatile("mov %0, %%dr0" ::"r"(pv->dr[0]));
    __asm__ volatile("mov %0, %%dr1" ::"r"(pv->dr[1]));
    __asm__ volatile("mov %0, %%dr2" ::"r"(pv->dr[2]));
    __asm__ volatile("mov %0, %%dr3" ::"r"(pv->dr[3]));
    __asm__ volatile("mov %0, %%dr7" ::"r"(pv->dr[7] | DR7_RESET));
}

static void debug_off(void)
{
    __asm__ volatile("mov %0, %%dr7" ::"r"(DR7_RESET));
}

void pv_edge_set_debug(struct pv_vcpu *pv, unsigned number, uint64_t value)
{
    pv->dr[number] = value;
    if (cpu.loaded != pv)
        return;
    if (pv->dr[7] & DR7_ENABLES)
        debug_load(pv);
    else
        debug_off();
}

uint64_t pv_edge_get_debug(const struct pv_vcpu *pv, unsigned number)
{
    if (number == 6)
        return pv->dr[6] | DR6_RESET;
    return number == 7 ? pv->dr[7] | DR7_RESET : pv->dr[number];
}

/* Without a handler it is #GP: Intel SDM vol. 2B, SYSENTER. AMD's has none in long mode. */
void pv_edge_sysenter_changed(struct pv_vcpu *pv)
{
    bool handled = pv->callback[PV_CALLBACK_SYSENTER].address != 0;

    if (cpu.loaded == pv)
        wrmsr(MSR_SYSENTER_CS, handled ? SELECTOR_CODE : 0);
}

/* ---- all of it ---- */

void pv_cpu_unload(void)
{
    struct pv_vcpu *pv = cpu.loaded;

    if (!pv)
        return;
    BUG_ON(cpu.running);
    selectors_save(pv);
    set_ts(false);
    __asm__ volatile("fxsave64 %0" : "=m"(pv->fpu));
    debug_off();
    cpu.loaded = NULL;
    tables_load(NULL);
}

void pv_cpu_load(struct pv_vcpu *pv)
{
    if (cpu.loaded == pv)
        return;
    pv_cpu_unload();
    desc_load_ring0((uint64_t)(&pv->regs + 1));
    cpu.words.top = (uint64_t)(&pv->regs + 1);
    wrmsr(MSR_KERNEL_GS_BASE, (uint64_t)&cpu.words);
    wrmsr(MSR_STAR, STAR_VALUE);
    wrmsr(MSR_LSTAR, (uint64_t)pv_syscall);
    wrmsr(MSR_CSTAR, (uint64_t)pv_syscall32);
    wrmsr(MSR_SFMASK, SFMASK_VALUE);
    wrmsr(MSR_SYSENTER_ESP, cpu.words.top);
    wrmsr(MSR_SYSENTER_EIP, (uint64_t)pv_sysenter);
    cpu.loaded = pv;
    pv_edge_sysenter_changed(pv);
    tables_load(pv);
    __asm__ volatile("fxrstor64 %0" ::"m"(pv->fpu));
    pv_edge_set_ts(pv, pv->ts);
    fsgsbase_load(pv->fsgsbase);
    if (pv->dr[7] & DR7_ENABLES)
        debug_load(pv);
    selectors_load(pv);
}

/* ---- guest memory ---- */

/* How many bytes were not copied, because an address in one of the two is not mapped so. */
static size_t copy(void *to, const void *from, size_t len)
{
    __asm__ volatile("1: rep movsb\n\t"
                     "2:\n\t" EX_TABLE("1b", "2b")
                     : "+D"(to), "+S"(from), "+c"(len)::"memory");
    return len;
}

/* The kernel's root is in CR3 for the copy, though a program of the guest runs. */
static bool copy_as_kernel(const struct vcpu *v, void *to, const void *from, size_t len)
{
    const struct pv_vcpu *pv = v->pv;
    bool                  done;

    if (!pv->kernel)
        write_cr3(root_of(pv, true));
    done = copy(to, from, len) == 0;
    if (!pv->kernel)
        write_cr3(root_of(pv, false));
    return done;
}

static bool may_copy(const struct vcpu *v, uint64_t va, size_t len)
{
    return cpu.running == v->pv && pv_address_ok(va, len);
}

#define WORDS_MAX (3 * sizeof(uint64_t))

/*
 * Two or three words for the guest's kernel, whose root is in CR3: true if they have been copied. What is
 * not canonical is refused by the processor. False: nothing that was read is of use.
 */
static inline bool words_in(const struct vcpu *v, uint8_t *to, uint64_t va, size_t len)
{
    const uint64_t *from = (const uint64_t *)va; /* NOLINT: the guest's address */
    uint64_t        word = 0;

    if (cpu.direct != v->pv || !v->pv->kernel ||
        va - (PV_RESERVED_START - WORDS_MAX) < PV_RESERVED_END - PV_RESERVED_START + WORDS_MAX ||
        (len != WORDS_MAX && len != WORDS_MAX - sizeof(word)))
        return false;
    PV_LOAD(from, word);
    __builtin_memcpy(to, &word, sizeof(word));
    PV_LOAD(from + 1, word);
    __builtin_memcpy(to + sizeof(word), &word, sizeof(word));
    if (len == WORDS_MAX) {
        PV_LOAD(from + 2, word);
        __builtin_memcpy(to + 2 * sizeof(word), &word, sizeof(word));
    }
    return true;
fault:
    return false;
}

bool pv_edge_copy_in(struct vcpu *v, void *to, uint64_t va, size_t len)
{
    if (words_in(v, to, va, len))
        return true;
    if (!may_copy(v, va, len))
        return false;
    if (pv_is_shadowed(v->domain))
        return pv_shadow_copy(v, to, NULL, va, len);
    return copy_as_kernel(v, to, (const void *)va, len); /* NOLINT: the guest's address */
}

bool pv_edge_copy_out(struct vcpu *v, uint64_t va, const void *from, size_t len)
{
    if (!may_copy(v, va, len))
        return false;
    if (pv_is_shadowed(v->domain))
        return pv_shadow_copy(v, NULL, from, va, len);
    return copy_as_kernel(v, (void *)va, from, len); /* NOLINT: the guest's address */
}
