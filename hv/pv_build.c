/* Building a PV guest; see pv_build.h. Structures: xen.h, elfnote.h. */
#include "hv/pv_build.h"

#include <string.h>

#include "hv/alloc.h"
#include "hv/control.h"
#include "hv/print.h"

#define MAP_ALIGN   (UINT64_C(4) << 20)
#define MAP_SLACK   (UINT64_C(512) << 10)
#define TABLE_SHIFT 9
#define ENTRIES     512u
#define TABLE_FLAGS (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define STUB_BYTES  32 /* of the hypercall page, for each call */
#define LEVELS      4u

static uint64_t frames_of(uint64_t bytes)
{
    return (bytes + PAGE_MASK) >> PAGE_SHIFT;
}

/* ---- the plan ---- */

/* How many tables of this level map the addresses [va, va + bytes). */
static uint64_t tables_of(uint64_t va, uint64_t bytes, unsigned level)
{
    unsigned shift = PAGE_SHIFT + TABLE_SHIFT * level;

    if (level == LEVELS)
        return 1;
    return ((va + bytes - 1) >> shift) - (va >> shift) + 1;
}

static struct pv_range take(uint64_t *next, uint64_t count)
{
    struct pv_range r = { *next, count };

    *next += count;
    return r;
}

/* Tables lie in what they map: their number is what it takes to map it with so many tables. */
static bool plan_tables(struct pv_plan *p, uint64_t first)
{
    uint64_t count = LEVELS, wanted = 0;

    for (;; count = wanted) {
        uint64_t bytes = ((first + count + 1) << PAGE_SHIFT) + MAP_SLACK;

        bytes = (bytes + MAP_ALIGN - 1) & ~(MAP_ALIGN - 1);
        if (p->virt_base % MAP_ALIGN != 0 || !pv_address_ok(p->virt_base, bytes))
            return false;
        p->mapped = bytes >> PAGE_SHIFT;
        wanted = 0;
        for (unsigned level = 1; level <= LEVELS; level++)
            wanted += tables_of(p->virt_base, bytes, level);
        if (wanted <= count)
            break;
    }
    p->tables = take(&first, count);
    p->stack = first;
    return true;
}

static bool plan_places(struct pv_plan *p, uint64_t ramdisk_bytes)
{
    uint64_t next = frames_of(p->image.end), list = frames_of(p->pages * sizeof(uint64_t));

    p->ramdisk_unmapped = elf_has_note(&p->notes, XEN_ELFNOTE_MOD_START_PFN) &&
                          p->notes.value[XEN_ELFNOTE_MOD_START_PFN] != 0;
    p->list_apart = elf_has_note(&p->notes, XEN_ELFNOTE_INIT_P2M);
    if (!p->ramdisk_unmapped)
        p->ramdisk = take(&next, frames_of(ramdisk_bytes));
    if (!p->list_apart) {
        p->list = take(&next, list);
        p->list_va = p->virt_base + (p->list.first << PAGE_SHIFT);
    }
    p->start_info = next++;
    p->store = next++;
    p->console = next++;
    if (!plan_tables(p, next))
        return false;
    next = p->mapped;
    if (p->ramdisk_unmapped)
        p->ramdisk = take(&next, frames_of(ramdisk_bytes));
    if (p->list_apart) {
        uint64_t tables = 0;

        p->list_va = p->notes.value[XEN_ELFNOTE_INIT_P2M];
        for (unsigned level = 1; level < LEVELS; level++)
            tables += tables_of(p->list_va, list << PAGE_SHIFT, level);
        p->list = take(&next, list);
        p->list_tables = take(&next, tables);
    }
    p->needed = next;
    return true;
}

/* The kernel's addresses become guest-physical: PADDR_OFFSET is what they are too large by. */
static bool plan_image(struct pv_plan *p)
{
    uint64_t offset = elf_has_note(&p->notes, XEN_ELFNOTE_PADDR_OFFSET)
                          ? p->notes.value[XEN_ELFNOTE_PADDR_OFFSET]
                          : 0;

    p->virt_base =
        elf_has_note(&p->notes, XEN_ELFNOTE_VIRT_BASE) ? p->notes.value[XEN_ELFNOTE_VIRT_BASE] : 0;
    if (p->image.lowest < offset)
        return false;
    for (unsigned i = 0; i < p->image.count; i++)
        p->image.segment[i].address -= offset;
    p->image.lowest -= offset;
    p->image.end -= offset;
    if (elf_has_note(&p->notes, XEN_ELFNOTE_ENTRY))
        p->image.entry = p->notes.value[XEN_ELFNOTE_ENTRY];
    return true;
}

/* The mapped ranges lie where a guest may map, and in different entries of the root. */
static bool addresses_ok(const struct pv_plan *p)
{
    uint64_t mapped = p->mapped << PAGE_SHIFT, list = p->list.count << PAGE_SHIFT;
    unsigned shift = PAGE_SHIFT + TABLE_SHIFT * (LEVELS - 1);

    if ((p->list_va & PAGE_MASK) != 0 || !pv_address_ok(p->list_va, list))
        return false;
    if (!p->list_apart)
        return true;
    return p->list_va >> shift > (p->virt_base + mapped - 1) >> shift ||
           (p->list_va + list - 1) >> shift < p->virt_base >> shift;
}

bool pv_plan(struct pv_plan *plan, const struct config *config, const struct domain_images *images,
             char *error, size_t error_size)
{
    uint64_t       memory = (uint64_t)config->memory << 20;
    enum elf_error wrong;

    *plan = (struct pv_plan){ .pages = memory >> PAGE_SHIFT };
    /* Kernels of this kind may give addresses with an offset: the size is checked below. */
    wrong = elf_describe_pv(images->kernel, images->kernel_size, UINT64_MAX, &plan->image,
                            &plan->notes);
    if (wrong != ELF_OK || !plan_image(plan)) {
        format_string(error, error_size, "the kernel %s",
                      elf_error_text(wrong != ELF_OK ? wrong : ELF_BAD_SEGMENT));
        return false;
    }
    if (plan->image.end > memory) {
        format_string(error, error_size, "the kernel %s", elf_error_text(ELF_TOO_LARGE));
        return false;
    }
    if (!plan_places(plan, images->ramdisk_size) || !addresses_ok(plan)) {
        format_string(error, error_size,
                      "the kernel's VIRT_BASE or INIT_P2M note names addresses that are not a "
                      "guest's: give a kernel for 64-bit PV");
        return false;
    }
    if (plan->needed > plan->pages) {
        format_string(error, error_size, "kernel, ramdisk and tables need %llu KiB: raise memory=",
                      (unsigned long long)plan->needed * 4);
        return false;
    }
    return true;
}

void pv_plan_done(struct pv_plan *plan)
{
    if (plan->mfn != NULL)
        free_bytes(plan->mfn, plan->pages * sizeof(uint64_t));
    plan->mfn = NULL;
}

/* ---- memory ---- */

static void *page_of(const struct pv_plan *p, uint64_t pfn)
{
    return phys_ptr(&machine_phys, mfn_of(p->mfn[pfn]));
}

static void copy_in(const struct pv_plan *p, uint64_t address, const void *from, uint64_t size)
{
    const uint8_t *bytes = from;

    while (size != 0) {
        uint64_t offset = address & PAGE_MASK;
        uint64_t piece = PAGE_SIZE - offset < size ? PAGE_SIZE - offset : size;

        memcpy((uint8_t *)page_of(p, address >> PAGE_SHIFT) + offset, bytes, piece);
        address += piece;
        bytes += piece;
        size -= piece;
    }
}

/* Stubs of push, mov $number, syscall, pop, ret; that for iret is entered by a jump and stays. */
void pv_hypercall_page(void *page)
{
    static const uint8_t head[] = { 0x51, 0x41, 0x53, 0xb8 }; /* push rcx, r11; mov eax */
    static const uint8_t end[] = { 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3 }; /* syscall; pops; ret */
    static const uint8_t iret[] = { 0x51,
                                    0x41,
                                    0x53,
                                    0x50,
                                    0xb8, /* and push rax */
                                    __HYPERVISOR_iret,
                                    0,
                                    0,
                                    0,
                                    0x0f,
                                    0x05 };

    for (uint32_t nr = 0; nr < PAGE_SIZE / STUB_BYTES; nr++) {
        uint8_t *stub = (uint8_t *)page + nr * STUB_BYTES;

        memset(stub, 0xcc, STUB_BYTES);
        if (nr == __HYPERVISOR_iret) {
            memcpy(stub, iret, sizeof(iret));
            continue;
        }
        memcpy(stub, head, sizeof(head));
        memcpy(stub + sizeof(head), &nr, sizeof(nr));
        memcpy(stub + sizeof(head) + sizeof(nr), end, sizeof(end));
    }
}

static void fill_hypercall_page(const struct pv_plan *p)
{
    uint64_t pfn;

    if (!elf_has_note(&p->notes, XEN_ELFNOTE_HYPERCALL_PAGE))
        return;
    pfn = (p->notes.value[XEN_ELFNOTE_HYPERCALL_PAGE] - p->virt_base) >> PAGE_SHIFT;
    if (pfn < p->image.lowest >> PAGE_SHIFT || pfn >= frames_of(p->image.end))
        return; /* nowhere in the kernel: it will find out */
    pv_hypercall_page(page_of(p, pfn));
}

bool pv_build_shared(struct domain *d)
{
    d->shared_mfn = pv_allocate(d, PV_PFN_NONE);
    if (!mfn_valid(d->shared_mfn) || !pv_hold(d, d->shared_mfn))
        return false;
    d->shared = phys_ptr(&machine_phys, d->shared_mfn);
    for (unsigned i = 0; i < XEN_LEGACY_MAX_VCPUS; i++)
        d->shared->vcpu_info[i].evtchn_upcall_mask = 1;
    return true;
}

bool pv_build_memory(struct domain *d, struct pv_plan *p, const struct domain_images *images)
{
    p->mfn = alloc_bytes(p->pages * sizeof(uint64_t));
    if (p->mfn == NULL)
        return false;
    for (uint64_t pfn = 0; pfn < p->pages; pfn++) {
        mfn_t mfn = pv_allocate(d, pfn);

        if (!mfn_valid(mfn))
            return false;
        p->mfn[pfn] = mfn.raw;
    }
    d->store_frame = mfn_of(p->mfn[p->store]);
    d->console_frame = mfn_of(p->mfn[p->console]);
    if (!pv_hold(d, d->store_frame) || !pv_hold(d, d->console_frame))
        return false;
    d->max_pages = d->pages + DOMAIN_GRANT_FRAMES;
    for (unsigned i = 0; i < p->image.count; i++) {
        const struct elf_segment *s = &p->image.segment[i];

        copy_in(p, s->address, (const uint8_t *)images->kernel + s->offset, s->file_size);
    }
    copy_in(p, p->ramdisk.first << PAGE_SHIFT, images->ramdisk, images->ramdisk_size);
    fill_hypercall_page(p);
    return true;
}

/* ---- tables ---- */

static bool within(struct pv_range r, uint64_t pfn)
{
    return pfn - r.first < r.count;
}

static void map(struct pv_plan *p, uint64_t va, uint64_t pfn)
{
    bool     table = within(p->tables, pfn) || within(p->list_tables, pfn);
    uint64_t at = p->l4;

    for (unsigned level = LEVELS;; level--) {
        unsigned index = (unsigned)(va >> (PAGE_SHIFT + TABLE_SHIFT * (level - 1))) % ENTRIES;
        pte_t   *e = (pte_t *)page_of(p, at) + index;

        if (level == 1) {
            *e = pte_make(mfn_of(p->mfn[pfn]), TABLE_FLAGS & ~(table ? PTE_W : 0));
            return;
        }
        if (!pte_has(*e, PTE_P)) {
            at = p->table_next++;
            *e = pte_make(mfn_of(p->mfn[at]), TABLE_FLAGS);
            continue;
        }
        /* The builder's own tables are few, and their frames' numbers are in the M2P. */
        at = pv_edge_m2p()[pte_frame(*e)];
    }
}

static void build_tables(struct pv_plan *p)
{
    p->l4 = p->tables.first;
    p->table_next = p->l4 + 1;
    for (uint64_t pfn = 0; pfn < p->mapped && pfn < p->pages; pfn++)
        map(p, p->virt_base + (pfn << PAGE_SHIFT), pfn);
    if (!p->list_apart)
        return;
    p->table_next = p->list_tables.first;
    for (uint64_t i = 0; i < p->list.count; i++)
        map(p, p->list_va + (i << PAGE_SHIFT), p->list.first + i);
}

/* ---- start_info ---- */

static uint64_t address_of(const struct pv_plan *p, uint64_t pfn)
{
    return p->virt_base + (pfn << PAGE_SHIFT);
}

static void build_start_info(const struct domain *d, const struct pv_plan *p,
                             const struct domain_images *images)
{
    struct start_info *s = page_of(p, p->start_info);

    _Static_assert(sizeof(*s) <= PAGE_SIZE, "it is one page");
    memcpy(s->magic, "xen-3.0-x86_64", sizeof("xen-3.0-x86_64"));
    s->nr_pages = p->pages;
    s->shared_info = d->shared_mfn.raw << PAGE_SHIFT;
    /* Nobody serves xenstore, or itself does. Linux waits for ever for an answer where it is given a port. */
    s->store_mfn = 0;
    s->store_evtchn = 0;
    if (domain_is_control(d)) { /* its console is console_io, and it has no screen */
        s->flags = SIF_PRIVILEGED | SIF_INITDOMAIN;
    } else {
        s->console.domU.mfn = d->console_frame.raw;
        s->console.domU.evtchn = (uint32_t)d->hvm_param[HVM_PARAM_CONSOLE_EVTCHN];
    }
    s->pt_base = address_of(p, p->tables.first);
    s->nr_pt_frames = p->tables.count;
    s->mfn_list = p->list_va;
    if (p->list_apart) {
        s->first_p2m_pfn = p->list.first;
        s->nr_p2m_frames = p->list.count + p->list_tables.count;
    }
    if (images->ramdisk != NULL) {
        s->mod_start = p->ramdisk_unmapped ? p->ramdisk.first : address_of(p, p->ramdisk.first);
        s->mod_len = images->ramdisk_size;
        s->flags |= p->ramdisk_unmapped ? SIF_MOD_START_PFN : 0;
    }
    _Static_assert(sizeof(s->cmd_line) >= sizeof(d->config.extra), "xen.h");
    memcpy(s->cmd_line, d->config.extra, sizeof(d->config.extra));
}

/* The same requests that a guest makes. */
static bool validate(struct domain *d, mfn_t root)
{
    struct pv_vcpu       *pv = d->vcpu[0]->pv;
    struct direct_request request = {
        .op = DIRECT_PIN, .owner = &d->pv->direct, .from = d->id, .kind = TYPE_L4, .mfn = root
    };

    if (!pv_request_now(&pv->direct, &request))
        return false;
    request.op = DIRECT_ROOT;
    return pv_request_now(&pv->direct, &request);
}

bool pv_build_start(struct domain *d, struct pv_plan *p, const struct domain_images *images,
                    struct machine_start *start)
{
    build_start_info(d, p, images);
    copy_in(p, p->list.first << PAGE_SHIFT, p->mfn, p->pages * sizeof(uint64_t));
    build_tables(p);
    *start = (struct machine_start){
        .rip = p->image.entry,
        .rsi = address_of(p, p->start_info),
        .rsp = address_of(p, p->stack + 1),
    };
    print("umbra: %s: kernel %llx-%llx, entry %llx, ramdisk %llx+%llx, mapped %llx+%llx\n", d->name,
          (unsigned long long)p->image.lowest, (unsigned long long)p->image.end,
          (unsigned long long)p->image.entry, (unsigned long long)p->ramdisk.first << PAGE_SHIFT,
          (unsigned long long)images->ramdisk_size, (unsigned long long)p->virt_base,
          (unsigned long long)p->mapped << PAGE_SHIFT);
    return validate(d, mfn_of(p->mfn[p->l4]));
}
