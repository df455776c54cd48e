/*
 * domctl: what saving and moving a domain takes beside its vCPUs: what its frames are, which of them were
 * written, and that a suspended one goes on (domctl.h).
 */
#include <string.h>

#include "hv/alloc.h"
#include "hv/dirty.h"
#include "hv/hc_control.h"
#include "hv/hc_foreign.h"
#include "hv/kind.h"
#include "hv/print.h"

#define FRAMES_MAX     1024 /* of one getpageframeinfo3 */
#define FRAMES_AT_ONCE 64
#define KIND_SHIFT     XEN_DOMCTL_PFINFO_LTAB_SHIFT
#define ZEROS_BYTES    512u /* of a bitmap, at once */
#define PER_MB         256  /* frames */

_Static_assert(TYPE_L4 == XEN_DOMCTL_PFINFO_L4TAB >> KIND_SHIFT, "a table of level n has kind n");

/* ---- what frames are ---- */

/* Frames that it shares with us are none of its memory: they are made anew for a domain that is restored. */
static bool is_shared(const struct domain *d, mfn_t mfn)
{
    for (unsigned i = 0; i < d->grant_frames; i++)
        if (mfn_eq(d->grant_mfn[i], mfn))
            return true;
    return mfn_eq(d->shared_mfn, mfn);
}

/* A table is one for as long as it has references, validated or not: it says machine frame numbers. */
static uint64_t pv_frame_info(const struct domain *d, mfn_t mfn)
{
    struct type t;

    if (!pv_owns(d, mfn) || is_shared(d, mfn))
        return XEN_DOMCTL_PFINFO_XTAB;
    t = type_read(&pv_machine, mfn);
    if (t.count == 0 || !type_is_table(t.kind))
        return XEN_DOMCTL_PFINFO_NOTAB;
    return (uint64_t)t.kind << KIND_SHIFT | (t.pinned ? XEN_DOMCTL_PFINFO_LPINTAB : 0);
}

/* A domain with a map of ours names its frames by that, and has no tables that we know. */
static uint64_t frame_info(const struct domain *d, uint64_t number)
{
    struct p2m_entry e;

    if (d->pv != NULL)
        return pv_frame_info(d, mfn_of(number));
    if (number >> (P2M_BITS - PAGE_SHIFT) != 0)
        return XEN_DOMCTL_PFINFO_XTAB;
    e = p2m_get(&d->paging.p2m, gfn_of(number));
    return e.type == P2M_RAM && !is_shared(d, e.mfn) ? XEN_DOMCTL_PFINFO_NOTAB
                                                     : XEN_DOMCTL_PFINFO_XTAB;
}

/* Each number becomes what is said of it, and the structure is about those that are left. */
int64_t domctl_getpageframeinfo3(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_getpageframeinfo3 *list = &op->u.getpageframeinfo3;
    xen_pfn_t                            words[FRAMES_AT_ONCE];

    if (list->num > FRAMES_MAX)
        return -XEN_E2BIG;
    for (bool first = true; list->num != 0; first = false) {
        uint64_t at = hc_address(list->array.p);
        unsigned some = list->num < FRAMES_AT_ONCE ? (unsigned)list->num : FRAMES_AT_ONCE;

        if (!first && hc_preempt())
            return HC_AGAIN;
        if (!guest_copy_in(v, words, at, some * sizeof(words[0])))
            return -XEN_EFAULT;
        for (unsigned i = 0; i < some; i++)
            words[i] = frame_info(d, words[i]);
        if (!guest_copy_out(v, at, words, some * sizeof(words[0])))
            return -XEN_EFAULT;
        list->num -= some;
        list->array.p = (xen_pfn_t *)(uintptr_t)(at + some * sizeof(words[0]));
    }
    return 0;
}

/* ---- what was written ---- */

/* A look that is not finished: whose it is, and how far it has come. */
struct dirty_look {
    uint64_t           bitmap, pages; /* as the caller has them */
    uint32_t           op, mode;
    uint64_t           cleared; /* bytes of the bitmap */
    bool               begun;
    struct dirty_round round;
};

void dirty_look_forget(struct domain *d)
{
    if (d->dirty_look != NULL)
        free_bytes(d->dirty_look, sizeof(*d->dirty_look));
    d->dirty_look = NULL;
}

/* The one that goes on, or a new one: 0, or an error. One is finished before another one begins. */
static int64_t look_of(struct domain *d, const struct xen_domctl_shadow_op *arg)
{
    struct dirty_look *l = d->dirty_look;

    if (l != NULL)
        return l->op == arg->op && l->mode == arg->mode && l->pages == arg->pages &&
                       l->bitmap == hc_address(arg->dirty_bitmap.p)
                   ? 0
                   : -XEN_EBUSY;
    if (!d->paging.dirty.on || arg->pages > UINT64_MAX - 7)
        return -XEN_EINVAL;
    l = alloc_bytes(sizeof(*l));
    if (l == NULL)
        return -XEN_ENOMEM;
    l->op = arg->op;
    l->mode = arg->mode;
    l->pages = arg->pages;
    l->bitmap = hc_address(arg->dirty_bitmap.p);
    d->dirty_look = l;
    return 0;
}

/* Windows may come in any order and some again, so what they say is added to zeros. */
static int64_t clear_bitmap(struct vcpu *v, struct dirty_look *l)
{
    static const uint8_t zeros[ZEROS_BYTES];
    uint64_t             bytes = (l->pages + 7) / 8;

    for (bool first = true; l->bitmap != 0 && l->cleared < bytes; first = false) {
        uint64_t some = bytes - l->cleared < ZEROS_BYTES ? bytes - l->cleared : ZEROS_BYTES;

        if (!first && hc_preempt())
            return HC_AGAIN;
        if (!guest_copy_out(v, l->bitmap + l->cleared, zeros, some))
            return -XEN_EFAULT;
        l->cleared += some;
    }
    return 0;
}

static int64_t add_window(struct vcpu *v, const struct dirty_look *l)
{
    const uint64_t first = l->round.first.raw / 8, bytes = (l->pages + 7) / 8;
    uint8_t        window[sizeof(l->round.bitmap)];
    const uint8_t *found = (const uint8_t *)l->round.bitmap;
    uint64_t       some;

    if (l->bitmap == 0 || first >= bytes)
        return 0;
    some = bytes - first < sizeof(window) ? bytes - first : sizeof(window);
    if (!guest_copy_in(v, window, l->bitmap + first, some))
        return -XEN_EFAULT;
    for (uint64_t i = 0; i < some; i++)
        window[i] |= found[i];
    return guest_copy_out(v, l->bitmap + first, window, some) ? 0 : -XEN_EFAULT;
}

static int64_t go_round(struct vcpu *v, struct domain *d, struct dirty_look *l)
{
    bool    first = true;
    int64_t result = 0;

    if (!l->begun)
        dirty_begin(d, &l->round, l->pages < dirty_frames(d) ? l->pages : dirty_frames(d),
                    l->op == XEN_DOMCTL_SHADOW_OP_CLEAN,
                    (l->mode & XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL) != 0);
    l->begun = true;
    for (; result == 0; first = false) {
        if (!first && hc_preempt())
            return HC_AGAIN;
        switch (dirty_step(d, &l->round)) {
        case DIRTY_DONE:
            return 0;
        case DIRTY_AGAIN:
            break;
        case DIRTY_WINDOW:
            result = add_window(v, l);
            break;
        case DIRTY_REFUSED:
        case DIRTY_NO_MEMORY:
            result = -XEN_EINVAL;
            break;
        }
    }
    return result;
}

static int64_t look(struct vcpu *v, struct domain *d, struct xen_domctl_shadow_op *arg)
{
    int64_t result = look_of(d, arg);

    if (result == 0)
        result = clear_bitmap(v, d->dirty_look);
    else
        return result;
    if (result == 0)
        result = go_round(v, d, d->dirty_look);
    if (result == HC_AGAIN)
        return result;
    arg->stats.fault_count = (uint32_t)d->dirty_look->round.faults;
    arg->stats.dirty_count = (uint32_t)d->dirty_look->round.found;
    dirty_look_forget(d);
    return result;
}

static int64_t turn(struct domain *d, enum dirty_result (*step)(struct domain *d))
{
    for (bool first = true;; first = false) {
        if (!first && hc_preempt())
            return HC_AGAIN;
        switch (step(d)) {
        case DIRTY_DONE:
            return 0;
        case DIRTY_NO_MEMORY:
            return -XEN_ENOMEM;
        case DIRTY_REFUSED:
            return -XEN_EINVAL;
        case DIRTY_AGAIN:
        case DIRTY_WINDOW:
            break;
        }
    }
}

/*
 * Of switching paging's kind for a test nothing is offered. What was looked at by somebody who does not come
 * again is forgotten when the log ends.
 */
/*
 * What a control domain with a map of ours has there is held as what may be written, and becomes no table meanwhile
 * (hv/foreign.h): a PV guest that runs would not survive being read.
 */
static int64_t begin_log(const struct vcpu *v, struct domain *d)
{
    if (v->pv == NULL && d->pv != NULL) {
        print("umbra: %s cannot be moved while it runs: only a PV control domain moves PV domains; "
              "xl save stops it first\n",
              d->name);
        return -XEN_EOPNOTSUPP;
    }
    return turn(d, dirty_on);
}

int64_t domctl_shadow_op(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_shadow_op *arg = &op->u.shadow_op;

    if (d == v->domain)
        return -XEN_EINVAL;
    switch (arg->op) {
    case XEN_DOMCTL_SHADOW_OP_OFF:
        dirty_look_forget(d);
        return turn(d, dirty_off);
    case XEN_DOMCTL_SHADOW_OP_ENABLE:
        return arg->mode == XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY ? begin_log(v, d) : -XEN_EINVAL;
    case XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY:
        return begin_log(v, d);
    case XEN_DOMCTL_SHADOW_OP_PEEK:
    case XEN_DOMCTL_SHADOW_OP_CLEAN:
        if ((arg->mode & ~(uint32_t)XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL) != 0)
            return -XEN_EINVAL;
        return look(v, d, arg);
    case XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION:
        arg->mb = (uint32_t)((d->paging.pool.total + PER_MB - 1) / PER_MB);
        return 0;
    case XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION:
        return domctl_set_pool(d, (uint64_t)arg->mb * PER_MB);
    default:
        return -XEN_EINVAL;
    }
}

/* ---- going on ---- */

int64_t domctl_resumedomain(struct vcpu *v, struct domain *d, struct xen_domctl *op)
{
    (void)op;
    if (d == v->domain)
        return -XEN_EINVAL;
    return d->state == DOMAIN_RUNNING || domain_resume(d) ? 0 : -XEN_EINVAL;
}
