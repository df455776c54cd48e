/*
 * grant_table_op: copying between frames of the caller's and frames that others have granted, of
 * guests of any kind. Nothing stays behind: what a copy needs it holds while it goes on.
 */
#include <string.h>

#include "hv/grant.h"
#include "hv/hc_grant.h"
#include "hv/pv.h"

#define CHUNK 256

/* Where bytes come from or go to. */
struct side {
    struct domain      *d;
    bool                granted, readonly, kept; /* kept: as writable memory of a PV guest's */
    uint32_t            ref;
    struct grant_active what;
};

static void close_side(const struct side *s)
{
    if (s->kept)
        pv_let_go(s->d, s->what.mfn, TYPE_WRITABLE);
    if (s->granted)
        grant_end(s->d, s->ref, s->readonly);
}

/* A frame of the caller's own, by its number. */
static int16_t open_own(struct side *s, uint64_t frame)
{
    struct p2m_entry entry;

    s->what = (struct grant_active){ .frame = frame, .mfn = mfn_of(frame) };
    if (s->d->pv != NULL) /* also to read: so that it is there */
        return pv_owns(s->d, s->what.mfn) ? GNTST_okay : GNTST_bad_page;
    if (frame >> (P2M_BITS - PAGE_SHIFT) != 0)
        return GNTST_bad_page;
    entry = p2m_get(&s->d->paging.p2m, gfn_of(frame));
    s->what.mfn = entry.mfn;
    return entry.type == P2M_RAM ? GNTST_okay : GNTST_bad_page;
}

static int16_t open_side(struct vcpu *v, const struct gnttab_copy_ptr *p, bool granted,
                         struct side *s)
{
    int16_t status;

    s->d = p->domid == DOMID_SELF ? v->domain : domain_by_id(p->domid);
    s->ref = p->u.ref;
    if (s->d == NULL)
        return GNTST_bad_domain;
    if (!granted && s->d != v->domain)
        return GNTST_permission_denied;
    status = granted ? grant_begin(s->d, s->ref, v->domain, s->readonly, &s->what)
                     : open_own(s, p->u.gmfn);
    if (status != GNTST_okay)
        return status;
    s->granted = granted;
    if (s->readonly || s->d->pv == NULL)
        return GNTST_okay;
    s->kept = pv_keep(s->d, s->what.mfn, TYPE_WRITABLE);
    if (s->kept)
        return GNTST_okay;
    close_side(s);
    return GNTST_bad_page;
}

/*
 * Into a guest's page, by its own number as long as it has it: then its tables are followed, should it
 * be one.
 */
static bool write_side(const struct side *s, unsigned offset, const void *from, size_t count)
{
    struct p2m_entry entry;

    if (s->d->pv == NULL) {
        entry = p2m_get(&s->d->paging.p2m, gfn_of(s->what.frame));
        if (entry.type != P2M_HOLE && mfn_eq(entry.mfn, s->what.mfn))
            return guest_phys_write(s->d, (s->what.frame << PAGE_SHIFT) + offset, from, count);
    }
    memcpy((uint8_t *)phys_ptr(&machine_phys, s->what.mfn) + offset, from, count);
    paging_dirty_mark(domain_lock(s->d), s->what.mfn);
    return true;
}

static bool copy_bytes(const struct side *from, const struct side *to, const struct gnttab_copy *op)
{
    uint8_t buffer[CHUNK];

    for (size_t done = 0, count; done < op->len; done += count) {
        count = op->len - done < CHUNK ? op->len - done : CHUNK;
        memcpy(buffer,
               (const uint8_t *)phys_ptr(&machine_phys, from->what.mfn) + op->source.offset + done,
               count);
        if (!write_side(to, op->dest.offset + (unsigned)done, buffer, count))
            return false;
    }
    return true;
}

static int16_t copy(struct vcpu *v, const struct gnttab_copy *op)
{
    struct side from = { .readonly = true }, to = { .readonly = false };
    int16_t     status;

    if (op->source.offset + op->len > PAGE_SIZE || op->dest.offset + op->len > PAGE_SIZE)
        return GNTST_bad_copy_arg;
    status = open_side(v, &op->source, (op->flags & GNTCOPY_source_gref) != 0, &from);
    if (status != GNTST_okay)
        return status;
    status = open_side(v, &op->dest, (op->flags & GNTCOPY_dest_gref) != 0, &to);
    if (status == GNTST_okay) {
        if (!copy_bytes(&from, &to, op))
            status = GNTST_bad_page;
        close_side(&to);
    }
    close_side(&from);
    return status;
}

int64_t hc_grant_copy(struct vcpu *v, uint64_t va)
{
    struct gnttab_copy op;

    if (!guest_copy_in(v, &op, va, sizeof(op)))
        return -XEN_EFAULT;
    op.status = copy(v, &op);
    return guest_copy_out(v, va + offsetof(struct gnttab_copy, status), &op.status,
                          sizeof(op.status))
               ? 0
               : -XEN_EFAULT;
}
