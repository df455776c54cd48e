/* Page translation by the manual's prose: APM vol. 2, chapter 5. See expect.h. */
#include "test/guests/multiboot/expect.h"

static uint64_t from_to(unsigned low, unsigned high)
{
    uint64_t bits = 0;

    for (unsigned i = low; i <= high; i++)
        bits |= 1ull << i;
    return bits;
}

/* Only these may be a page: 5.2.2 (4 MiB, with CR4.PSE), 5.2.4 and 5.3.4 (2 MiB), 5.3.5 (1 GiB). */
bool expect_page(const struct paging_mode *mode, const struct rules *rules, unsigned level,
                 uint64_t entry)
{
    if (level == 1)
        return true;
    if (!(entry & PTE_PS))
        return false;
    if (mode->entry_bytes == 4)
        return mode->cr4 & CR4_PSE;
    return level == 2 || (level == 3 && mode->levels >= 4 && rules->gigabyte_pages);
}

uint64_t expect_reserved(const struct paging_mode *mode, const struct rules *rules, unsigned level,
                         uint64_t entry)
{
    bool     large = level > 1 && expect_page(mode, rules, level, entry);
    uint64_t reserved = 0;

    if (mode->entry_bytes == 4) { /* address bits 39:32 stand in 20:13, and 21 is 0: 5.2.2 */
        unsigned high = rules->physical_bits < 40 ? rules->physical_bits : 40;

        return large ? from_to(13 + high - 32, 21) : 0;
    }
    if (rules->physical_bits < 52)
        reserved |= from_to(rules->physical_bits, 51);
    if (!rules->nx)
        reserved |= PTE_NX;
    if (mode->levels == 3)
        reserved |= from_to(52, 62);
    if (large)
        return reserved | from_to(13, mode->shift[level] - 1);
    return level > 1 ? reserved | PTE_PS : reserved;
}

/* Are the rights of the translation enough? 5.6. */
static bool allowed(const struct rules *r, bool w, bool u, bool nx, enum probe_access access,
                    bool user)
{
    if (access == PROBE_FETCH && nx)
        return false;
    if (user)
        return u && (access != PROBE_WRITE || w);
    if (access == PROBE_FETCH)
        return !(u && r->smep);
    if (u && r->smap && !r->ac)
        return false;
    return access != PROBE_WRITE || w || !r->wp;
}

/* 8.4.2: the error code of a page fault. */
static struct expectation fault(struct expectation e, uint32_t error)
{
    e.fault = true;
    e.error |= error;
    return e;
}

/* A in all that was used, D where a page was written; PAE's root entries have neither: 5.4.2. */
static void mark(const struct paging_mode *mode, struct expectation *e, enum probe_access access)
{
    for (unsigned l = e->level; l <= mode->levels; l++)
        if (!(mode->levels == 3 && l == 3))
            e->entry[l] |= PTE_A;
    if (access == PROBE_WRITE)
        e->entry[e->level] |= PTE_D;
}

struct expectation expect(const struct paging_mode *mode, const struct rules *rules,
                          const uint64_t *entry, enum probe_access access, bool user)
{
    bool               w = true, u = true, nx = false;
    bool               says_fetch = (mode->entry_bytes == 8 && rules->nx) || rules->smep;
    struct expectation e = { .level = mode->levels };

    for (unsigned l = 1; l <= mode->levels; l++)
        e.entry[l] = entry[l];
    e.error = (user ? ERROR_U : 0) | (access == PROBE_WRITE ? ERROR_W : 0) |
              (access == PROBE_FETCH && says_fetch ? ERROR_I : 0);
    for (;; e.level--) {
        uint64_t now = entry[e.level];

        if (!(now & PTE_P))
            return fault(e, 0);
        if (!(mode->levels == 3 && e.level == 3)) { /* PAE's root entries: checked at MOV CR3 */
            if (now & expect_reserved(mode, rules, e.level, now))
                return fault(e, ERROR_P | ERROR_RSVD);
            w = w && (now & PTE_W);
            u = u && (now & PTE_U);
            nx = nx || (mode->entry_bytes == 8 && (now & PTE_NX));
        }
        if (expect_page(mode, rules, e.level, now) && !(mode->levels == 3 && e.level == 3))
            break;
    }
    if (!allowed(rules, w, u, nx, access, user))
        return fault(e, ERROR_P);
    mark(mode, &e, access);
    return e;
}
