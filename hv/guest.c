/* Guest memory by linear or guest-physical address, page by page. */
#include "hv/guest.h"

#include "hv/access.h"
#include "hv/pv.h"

#define ACC_HYPERCALL ACC_AC /* CPL 0; SMAP does not stop what the guest asked for */

struct piece {
    mfn_t    mfn;
    unsigned offset, len;
    bool     rom;
};

/* In 64-bit mode the bits above 47, with five levels those above 56, equal that one: APM, 5.3.1. */
static bool canonical(const struct vcpu *v, gva_t va)
{
    unsigned unused = v->paging.mode.format == PT_LA57 ? 7 : 16;

    return (uint64_t)((int64_t)(va.raw << unused) >> unused) == va.raw;
}

/* Translates the page that holds va; what the edge must flush for A and D is flushed. */
static struct guest_result reach_page(struct vcpu *v, gva_t va, size_t len, unsigned acc,
                                      struct piece *piece)
{
    if (!canonical(v, va))
        return (struct guest_result){ .status = GUEST_FAULT, .va = va };
    struct paging_reach r = access_reach(v, va, acc);
    size_t              rest = PAGE_SIZE - (va.raw & PAGE_MASK);

    verdict_flush(v->domain, &r.flush);
    if (r.kind == REACH_FAULT)
        return (struct guest_result){ .status = GUEST_FAULT, .va = va, .pfec = r.pfec };
    if (r.kind == REACH_DEVICE)
        return (struct guest_result){ .status = GUEST_DEVICE, .va = va, .gpa = r.gpa };
    *piece = (struct piece){
        .mfn = r.mfn,
        .offset = (unsigned)(va.raw & PAGE_MASK),
        .len = (unsigned)(len < rest ? len : rest),
        .rom = r.rom,
    };
    return (struct guest_result){ .status = GUEST_OK, .gpa = r.gpa };
}

/* A linear address outside 64-bit mode has 32 bits. */
static gva_t advance(const struct vcpu *v, gva_t va, size_t by)
{
    uint64_t raw = va.raw + by;

    return gva_of(machine_vcpu_is_64bit(v) ? raw : (uint32_t)raw);
}

/* Under direct paging the processor translates, and what it refuses is all that is known. */
static struct guest_result direct_result(bool done, gva_t va, size_t len)
{
    if (done)
        return (struct guest_result){ .status = GUEST_OK, .done = len };
    return (struct guest_result){ .status = GUEST_FAULT, .va = va };
}

struct guest_result guest_read(struct vcpu *v, gva_t va, void *to, size_t len, unsigned acc)
{
    size_t done = 0;

    if (v->pv != NULL)
        return direct_result(pv_edge_copy_in(v, to, va.raw, len), va, len);
    while (done < len) {
        struct piece        piece;
        struct guest_result r = reach_page(v, advance(v, va, done), len - done, acc, &piece);

        if (r.status != GUEST_OK) {
            r.done = done;
            return r;
        }
        __builtin_memcpy((uint8_t *)to + done,
                         (uint8_t *)phys_ptr(&machine_phys, piece.mfn) + piece.offset, piece.len);
        done += piece.len;
    }
    return (struct guest_result){ .status = GUEST_OK, .done = done };
}

static void write_piece(struct domain *d, const struct piece *piece, const void *from)
{
    if (piece->rom)
        return;
    struct verdict verdict =
        paging_write(domain_lock(d), piece->mfn, piece->offset, from, piece->len);

    verdict_flush(d, &verdict);
}

struct guest_result guest_write(struct vcpu *v, gva_t va, const void *from, size_t len,
                                unsigned acc)
{
    size_t done = 0;

    if (v->pv != NULL)
        return direct_result(pv_edge_copy_out(v, va.raw, from, len), va, len);
    acc |= ACC_WRITE;
    if ((va.raw & PAGE_MASK) + len > PAGE_SIZE) { /* the first byte waits for the last page */
        for (size_t at = PAGE_SIZE - (va.raw & PAGE_MASK); at < len; at += PAGE_SIZE) {
            struct piece        piece;
            struct guest_result r = reach_page(v, advance(v, va, at), len - at, acc, &piece);

            if (r.status == GUEST_FAULT)
                return r;
        }
    }
    while (done < len) {
        struct piece        piece;
        struct guest_result r = reach_page(v, advance(v, va, done), len - done, acc, &piece);

        if (r.status != GUEST_OK) {
            r.done = done;
            return r;
        }
        write_piece(v->domain, &piece, (const uint8_t *)from + done);
        done += piece.len;
    }
    return (struct guest_result){ .status = GUEST_OK, .done = done };
}

/* An operand that crosses a page: compared and written in two pieces, no vCPU in between. */
static struct guest_result cmpxchg_crossing(struct vcpu *v, gva_t va, void *old, const void *new,
                                            unsigned len, unsigned acc, bool *done)
{
    uint8_t             found[16];
    struct guest_result r = guest_read(v, va, found, len, acc | ACC_WRITE);

    if (r.status != GUEST_OK)
        return r;
    *done = __builtin_memcmp(found, old, len) == 0;
    if (*done)
        return guest_write(v, va, new, len, acc);
    __builtin_memcpy(old, found, len);
    return r;
}

struct guest_result guest_cmpxchg(struct vcpu *v, gva_t va, void *old, const void *new,
                                  unsigned len, unsigned acc, bool *done)
{
    struct piece piece;

    *done = false;
    if (len > 16 || v->pv != NULL) /* a PV guest's instructions exchange for themselves */
        return (struct guest_result){ .status = GUEST_DEVICE, .va = va };
    if ((va.raw & PAGE_MASK) + len > PAGE_SIZE)
        return cmpxchg_crossing(v, va, old, new, len, acc, done);
    struct guest_result r = reach_page(v, va, len, acc | ACC_WRITE, &piece);

    if (r.status != GUEST_OK)
        return r;
    if (piece.rom) { /* the compare goes on, the write is lost */
        const uint8_t *p = (const uint8_t *)phys_ptr(&machine_phys, piece.mfn) + piece.offset;

        *done = __builtin_memcmp(p, old, len) == 0;
        __builtin_memcpy(old, p, len);
        return r;
    }
    struct verdict verdict =
        paging_cmpxchg(domain_lock(v->domain), piece.mfn, piece.offset, old, new, len, done);

    verdict_flush(v->domain, &verdict);
    return r;
}

bool guest_copy_in(struct vcpu *v, void *to, uint64_t va, size_t len)
{
    if (v->pv != NULL)
        return pv_edge_copy_in(v, to, va, len);
    return guest_read(v, gva_of(va), to, len, ACC_HYPERCALL).status == GUEST_OK;
}

bool guest_copy_out(struct vcpu *v, uint64_t va, const void *from, size_t len)
{
    if (v->pv != NULL)
        return pv_edge_copy_out(v, va, from, len);
    return guest_write(v, gva_of(va), from, len, ACC_HYPERCALL).status == GUEST_OK;
}

static bool phys_copy(struct domain *d, uint64_t gpa, void *to, const void *from, size_t len)
{
    for (size_t done = 0; done < len;) {
        struct paging_reach r = paging_reach_gpa(domain_lock(d), gpa + done);
        unsigned            offset = (unsigned)((gpa + done) & PAGE_MASK);
        size_t              rest = PAGE_SIZE - offset, n = len - done < rest ? len - done : rest;

        if (r.kind != REACH_RAM)
            return false;
        if (to) {
            __builtin_memcpy((uint8_t *)to + done,
                             (uint8_t *)phys_ptr(&machine_phys, r.mfn) + offset, n);
        } else {
            struct piece piece = { r.mfn, offset, (unsigned)n, r.rom };

            write_piece(d, &piece, (const uint8_t *)from + done);
        }
        done += n;
    }
    return true;
}

bool guest_phys_read(struct domain *d, uint64_t gpa, void *to, size_t len)
{
    return phys_copy(d, gpa, to, NULL, len);
}

bool guest_phys_write(struct domain *d, uint64_t gpa, const void *from, size_t len)
{
    return phys_copy(d, gpa, NULL, from, len);
}
