#include "tools/access/guest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <xen/hvm/save.h>

#include "tools/access/walk.h"

#define PAGE     4096
#define EFER_LMA (1ull << 10)
#define CR4_LA57 (1ull << 12)
#define AT_ONCE  (1u << 20) /* frames of one call */
#define DEFAULT  (~0ull) /* in the place of a frame's number: all that have no rights of their own */

_Static_assert(XENMEM_access_n == 0 && XENMEM_access_rwx == RIGHTS_RWX &&
                   XENMEM_access_rx2rw == 8 && XENMEM_access_default == 10,
               "rights are the ABI's numbers");

static const char *advice(int error)
{
    switch (error) {
    case ESRCH:
        return "there is no such domain: xl list";
    case EPERM:
    case EACCES:
        return "only the control domain may do this";
    case EBUSY:
        return "another program listens to this domain: end it first";
    case ENOENT:
        return "is this the control domain, with its modules loaded?";
    case EOPNOTSUPP:
        return "this hypervisor cannot do that to this domain";
    default:
        return strerror(error);
    }
}

bool guest_refused(const struct guest *g, const char *what)
{
    int error = errno;

    fprintf(stderr, "umbra-access: domain %u: %s: %s (error %d)\n", g->domain, what, advice(error),
            error);
    return false;
}

static bool look(const struct guest *g, xc_domaininfo_t *info)
{
    int count = xc_domain_getinfolist(g->xc, g->domain, 1, info);

    if (count == 1 && info->domain == g->domain)
        return true;
    if (count >= 0)
        errno = ESRCH;
    return false;
}

bool guest_open(struct guest *g, uint32_t domain)
{
    xc_domaininfo_t info;

    *g = (struct guest){ .domain = domain };
    g->xc = xc_interface_open(NULL, NULL, 0);
    if (!g->xc)
        return guest_refused(g, "hypercalls");
    g->memory = xenforeignmemory_open(NULL, 0);
    if (!g->memory || !look(g, &info)) {
        guest_refused(g, g->memory ? "looking at it" : "foreign memory");
        guest_close(g);
        return false;
    }
    g->pv = !(info.flags & XEN_DOMINF_hvm_guest);
    g->shared_info = info.shared_info_frame;
    return true;
}

void guest_close(struct guest *g)
{
    if (g->memory)
        xenforeignmemory_close(g->memory);
    if (g->xc)
        xc_interface_close(g->xc);
    *g = (struct guest){ .domain = g->domain };
}

bool guest_runs(const struct guest *g)
{
    xc_domaininfo_t info;

    return look(g, &info) && !(info.flags & (XEN_DOMINF_dying | XEN_DOMINF_shutdown));
}

/* ---- where symbols are ---- */

static bool copy_from(const struct guest *g, uint64_t frame, size_t offset, void *to, size_t size)
{
    xen_pfn_t mfn = frame;
    uint8_t  *page = xenforeignmemory_map(g->memory, g->domain, PROT_READ, 1, &mfn, NULL);

    if (!page)
        return false;
    memcpy(to, page + offset, size);
    xenforeignmemory_unmap(g->memory, page, 1);
    return true;
}

static bool read_entry(void *from, uint64_t frame, unsigned index, uint64_t *entry)
{
    const struct guest *const *g = from;

    return copy_from(*g, frame, index * sizeof(*entry), entry, sizeof(*entry));
}

/* The root of the kernel's tables: a PV kernel tells tools of its own; of another, vCPU 0's. */
static bool find_root(const struct guest *g, uint64_t *root, unsigned *levels)
{
    struct hvm_hw_cpu cpu;
    uint64_t          cr3;

    *levels = 4;
    if (g->pv) {
        if (!copy_from(g, g->shared_info, offsetof(shared_info_t, arch.p2m_cr3), &cr3, sizeof(cr3)))
            return guest_refused(g, "mapping its shared_info");
        if (cr3 == 0) {
            fprintf(stderr,
                    "umbra-access: domain %u: its kernel has not told where its tables are "
                    "(p2m_cr3): it has just started, or is none of Linux\n",
                    g->domain);
            return false;
        }
        *root = (cr3 & 0xffffffff) >> 12 | (cr3 & 0xfff) << 20;
        return true;
    }
    if (xc_domain_hvm_getcontext_partial(g->xc, g->domain, HVM_SAVE_CODE(CPU), 0, &cpu,
                                         sizeof(cpu)) < 0)
        return guest_refused(g, "reading the registers of vCPU 0");
    if (!(cpu.msr_efer & EFER_LMA)) {
        fprintf(stderr,
                "umbra-access: domain %u: vCPU 0 is not in long mode: it has just started; "
                "frames can be named by number\n",
                g->domain);
        return false;
    }
    *root = (cpu.cr3 & 0x000ffffffffff000ull) >> 12;
    *levels = cpu.cr4 & CR4_LA57 ? 5 : 4;
    return true;
}

static bool resolve(const struct guest *g, struct rule *rule, const struct symbols *symbols,
                    uint64_t root, unsigned levels)
{
    unsigned level;
    uint64_t address;

    if (!symbols_address(symbols, rule->symbol, &address)) {
        fprintf(stderr, "umbra-access: the map has no symbol %s\n", rule->symbol);
        return false;
    }
    errno = 0;
    if (!walk(read_entry, &g, root, levels, address, &rule->first, &level)) {
        fprintf(stderr,
                "umbra-access: domain %u: %s (%#" PRIx64
                ") is not mapped (level %u of %u, root %#" PRIx64 ": %s): "
                "is it this kernel's map, and the kernel not moved (nokaslr)?\n",
                g->domain, rule->symbol, address, level, levels, root,
                errno ? strerror(errno) : "no entry");
        return false;
    }
    printf("%s: address %#" PRIx64 ", frame %#" PRIx64 "\n", rule->symbol, address, rule->first);
    return true;
}

bool guest_resolve(const struct guest *g, struct rules *rules, const struct symbols *symbols)
{
    uint64_t root = 0;
    unsigned levels = 0;

    for (unsigned i = 0; i < rules->count; i++) {
        if (!rules->rule[i].symbol[0])
            continue;
        if (levels == 0 && !find_root(g, &root, &levels))
            return false;
        if (!resolve(g, &rules->rule[i], symbols, root, levels))
            return false;
    }
    return true;
}

/* ---- rights ---- */

bool guest_set_rights(const struct guest *g, uint64_t first, uint64_t count, uint8_t rights)
{
    while (count) {
        uint32_t now = count < AT_ONCE ? (uint32_t)count : AT_ONCE;

        if (xc_set_mem_access(g->xc, g->domain, (xenmem_access_t)rights, first, now) != 0)
            return guest_refused(g, "setting rights of frames");
        first += now;
        count -= now;
    }
    return true;
}

bool guest_set_default(const struct guest *g, uint8_t rights)
{
    if (xc_set_mem_access(g->xc, g->domain, (xenmem_access_t)rights, DEFAULT, 0) != 0)
        return guest_refused(g, "setting the rights of all frames");
    return true;
}
