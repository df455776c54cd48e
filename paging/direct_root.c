/*
 * A root in one go: what the request DIRECT_ROOT does for a table that is live and that nobody works on,
 * without an ASK between its two halves. Anything else is left to the request.
 */
#include "type_work.h"

bool direct_root_take(struct direct_vcpu *v, mfn_t mfn, bool user, mfn_t *old)
{
    const struct entry_need need = { .mfn = mfn, .want = TYPE_L4 };
    mfn_t                  *slot = &v->root[user];

    *old = *slot;
    if (v->running || v->pendings > 0 || v->broken || mfn_eq(mfn, *old) || !mfn_valid(mfn) ||
        !quick_take(v->domain->machine, &need, v->domain->id))
        return false;
    *slot = mfn;
    return true;
}

void direct_root_leave(struct direct_vcpu *v, mfn_t old)
{
    const struct entry_need need = { .mfn = old, .want = TYPE_L4 };

    if (mfn_valid(old) && !quick_drop(v, &need))
        pending_push(v, old, PENDING_FULL, MFN_NONE, 0);
}
