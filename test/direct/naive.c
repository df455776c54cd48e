#include "naive.h"

#include <stdlib.h>

/* The bits of an entry, from the manual. */
enum { P = 1, W = 2, U = 4, PWT = 8, PCD = 16, A = 32, D = 64, PAT_OR_PS = 128, G = 256 };
#define KERNEL   (1ull << 52)
#define FRAME(e) ((int)((e) >> 12 & 0xffffffffffull))

static void add(struct naive *n, int holder, int index, int target, char kind)
{
    if (n->refs == NAIVE_REFS)
        abort();
    n->ref[n->refs++] = (struct naive_ref){ holder, index, target, kind };
}

int naive_count(const struct naive *n, int target, char kind)
{
    int count = 0;

    for (int i = 0; i < n->refs; i++)
        count += n->ref[i].target == target && n->ref[i].kind == kind;
    return count;
}

int naive_linear_from(const struct naive *n, int holder)
{
    int count = 0;

    for (int i = 0; i < n->refs; i++)
        count += n->ref[i].holder == holder && n->ref[i].kind == 'l';
    return count;
}

static void let_go(struct naive *n, int holder, int index);

/* Nothing refers to the frame by its type any more. */
static void untyped(struct naive *n, int frame)
{
    bool table = n->type[frame] >= 1 && n->type[frame] <= 4;

    n->live[frame] = false;
    for (int i = n->accepted[frame] - 1; table && i >= 0; i--) {
        uint64_t *e = &n->memory[frame][i];

        if (n->type[frame] == 4 && i >= 256 && i < 272)
            continue;
        if (n->type[frame] == 1 && (*e & P) != 0 && (*e & KERNEL) != 0)
            *e &= ~(uint64_t)U & ~KERNEL;
        let_go(n, frame, i);
    }
}

/* Removes what this entry (or pin, or root) refers to. */
static void let_go(struct naive *n, int holder, int index)
{
    for (int i = 0; i < n->refs; i++) {
        struct naive_ref r = n->ref[i];

        if (r.holder != holder || r.index != index)
            continue;
        n->ref[i] = n->ref[--n->refs];
        if (r.kind == 't' && naive_count(n, r.target, 't') == 0)
            untyped(n, r.target);
        i = -1; /* the list has changed */
    }
}

static bool entry_add(struct naive *n, int frame, int index, uint64_t e);

/* The frame is of this type afterwards, or nothing has changed. */
static bool typed(struct naive *n, int frame, int type)
{
    int i;

    if (naive_count(n, frame, 't') > 0)
        return n->type[frame] == type && n->live[frame];
    n->type[frame] = type;
    add(n, NAIVE_BUSY, frame, frame, 't');
    if (type == 5) {
        for (i = 0; i < 512; i++)
            if ((n->memory[frame][i] >> 47 & 1) != 0 && (n->memory[frame][i] >> 44 & 1) == 0)
                break;
        for (int k = 0; i == 512 && k < 512; k++)
            if ((n->memory[frame][k] >> 47 & 1) != 0)
                n->memory[frame][k] |= 3ull << 45;
    } else if (type >= 1 && type <= 4) {
        for (i = 0; i < 512; i++)
            if (!(type == 4 && i >= 256 && i < 272) && !entry_add(n, frame, i, n->memory[frame][i]))
                break;
        for (int k = 0; i == 512 && type == 4 && k < 16; k++)
            n->memory[frame][256 + k] = n->slots[k];
        /* Entries have U from when they are accepted; leaves get it taken away again. */
        for (int k = 0; k < i && (i == 512 || type > 1); k++)
            if (!(type == 4 && k >= 256 && k < 272) && (n->memory[frame][k] & (P | U)) == P)
                n->memory[frame][k] |= type > 1 ? U : U | KERNEL;
    } else {
        i = 512;
    }
    n->live[frame] = i == 512;
    n->accepted[frame] = i;
    if (i < 512) {
        let_go(n, NAIVE_BUSY, frame);
        return false;
    }
    return true;
}

/* The placeholder of a validation, after the real reference has been added. */
static void settle(struct naive *n, int frame)
{
    let_go(n, NAIVE_BUSY, frame);
}

static bool refer(struct naive *n, int holder, int index, int frame, int type)
{
    if (frame <= 0 || frame >= n->frames || n->foreign[frame])
        return false;
    if (type != 0 && !typed(n, frame, type))
        return false;
    add(n, holder, index, frame, 'g');
    if (type != 0) {
        add(n, holder, index, frame, 't');
        settle(n, frame);
    }
    return true;
}

/* What the entry says is permitted, leaving aside what it leads to. */
static bool bits_ok(const struct naive *n, int level, uint64_t e)
{
    if ((e & P) == 0)
        return FRAME(e) == 0 || (uint64_t)FRAME(e) >= n->l1tf_limit;
    if ((e & (PWT | PCD | PAT_OR_PS)) != 0)
        return false;
    return level == 1 || (e & G) == 0;
}

static bool entry_add(struct naive *n, int frame, int index, uint64_t e)
{
    int level = n->type[frame], target = FRAME(e);

    if (!bits_ok(n, level, e))
        return false;
    if ((e & P) == 0)
        return true;
    if (level == 1)
        return refer(n, frame, index, target, (e & W) != 0 ? 6 : 0);
    if (target == frame)
        return (e & W) == 0;
    if (target > 0 && target < n->frames && !n->foreign[target] &&
        naive_count(n, target, 't') > 0 && n->type[target] == level) {
        /* Linear: read-only, one step deep. */
        if ((e & W) != 0 || !n->live[target] || naive_linear_from(n, target) > 0 ||
            naive_count(n, frame, 'l') > 0)
            return false;
        add(n, frame, index, target, 'g');
        add(n, frame, index, target, 't');
        add(n, frame, index, target, 'l');
        return true;
    }
    return refer(n, frame, index, target, level - 1);
}

bool naive_update(struct naive *n, int frame, unsigned index, uint64_t value, bool preserve)
{
    uint64_t *e;
    int       level = n->type[frame];

    if (frame <= 0 || frame >= n->frames || n->foreign[frame] || index >= 512)
        return false;
    e = &n->memory[frame][index];
    if (naive_count(n, frame, 't') == 0 || level == 6) {
        /* Written as memory: whatever it was last, it is writable now. */
        n->type[frame] = 6;
        *e = value;
        return true;
    }
    if (level == 5 || (level == 4 && index >= 256 && index < 272) || !bits_ok(n, level, value))
        return false;
    if (level > 1 && (value & (P | W)) == (P | W) && FRAME(value) == frame)
        return false;
    if ((value & P) != 0 && FRAME(value) >= n->frames)
        return false;
    if ((value & P) != 0 && (value & U) == 0)
        value |= level > 1 ? U : U | KERNEL;
    if (preserve && (value & P) != 0)
        value |= *e & (A | D);
    /* As long as it leads to the same frame with the same right to write, nothing is counted. */
    if ((*e & value & P) != 0 && FRAME(*e) == FRAME(value) && ((*e ^ value) & W) == 0) {
        *e = value;
        return true;
    }
    for (int i = 0; i < n->refs; i++)
        if (n->ref[i].holder == frame && n->ref[i].index == (int)index)
            n->ref[i].index = NAIVE_OLD;
    if (!entry_add(n, frame, (int)index, value)) {
        for (int i = 0; i < n->refs; i++)
            if (n->ref[i].holder == frame && n->ref[i].index == NAIVE_OLD)
                n->ref[i].index = (int)index;
        return false;
    }
    *e = value;
    let_go(n, frame, NAIVE_OLD);
    return true;
}

bool naive_descriptor(struct naive *n, int frame, unsigned index, uint64_t value)
{
    bool present = (value >> 47 & 1) != 0;

    if (frame <= 0 || frame >= n->frames || n->foreign[frame] || index >= 512)
        return false;
    if (present && (value >> 44 & 1) == 0)
        return false;
    if (naive_count(n, frame, 't') > 0 && n->type[frame] != 6) {
        if (n->type[frame] != 5)
            return false;
        n->memory[frame][index] = present ? value | 3ull << 45 : value;
        return true;
    }
    n->type[frame] = 6;
    n->memory[frame][index] = value;
    return true;
}

static bool pinned(const struct naive *n, int frame)
{
    for (int i = 0; i < n->refs; i++)
        if (n->ref[i].holder == NAIVE_PIN && n->ref[i].index == frame)
            return true;
    return false;
}

bool naive_pin(struct naive *n, int frame, int type)
{
    if (frame <= 0 || frame >= n->frames || pinned(n, frame))
        return false;
    return refer(n, NAIVE_PIN, frame, frame, type);
}

bool naive_unpin(struct naive *n, int frame)
{
    if (frame <= 0 || frame >= n->frames || !pinned(n, frame))
        return false;
    let_go(n, NAIVE_PIN, frame);
    return true;
}

bool naive_root(struct naive *n, int vcpu, int user, int frame)
{
    int slot = NAIVE_ROOT - 2 * vcpu - user;

    if (frame == 0 && !user)
        return false;
    if (frame == n->root[vcpu][user])
        return true;
    if (frame != 0 && !refer(n, slot, frame, frame, 4))
        return false;
    if (n->root[vcpu][user] != 0)
        let_go(n, slot, n->root[vcpu][user]);
    n->root[vcpu][user] = frame;
    return true;
}

bool naive_get(struct naive *n, int frame, int type)
{
    return refer(n, NAIVE_GIVEN, ++n->gifts, frame, type);
}

bool naive_put(struct naive *n, int frame)
{
    for (int i = 0; i < n->refs; i++) {
        if (n->ref[i].holder == NAIVE_GIVEN && n->ref[i].target == frame && n->ref[i].kind == 't') {
            let_go(n, NAIVE_GIVEN, n->ref[i].index);
            return true;
        }
    }
    return false;
}

int naive_access(struct naive *n, int root, uint64_t va, bool write, bool fetch, unsigned *code)
{
    const uint64_t nx = 1ull << 63;
    uint64_t      *way[4];
    int            frame = root;

    *code = 4u + (write ? 2u : 0u) + (fetch ? 16u : 0u);
    for (int i = 0; i < 4; i++) {
        if (frame <= 0 || frame >= n->frames || n->foreign[frame]) {
            *code += 9; /* what is not the guest's reads as all ones: reserved bits */
            return 0;
        }
        way[i] = &n->memory[frame][va >> (39 - 9 * i) & 511];
        if ((*way[i] & P) == 0)
            return 0;
        frame = FRAME(*way[i]);
    }
    for (int i = 0; i < 4; i++) {
        if ((*way[i] & U) == 0 || (write && (*way[i] & W) == 0) || (fetch && (*way[i] & nx) != 0)) {
            *code += 1;
            return 0;
        }
    }
    for (int i = 0; i < 4; i++)
        *way[i] |= i == 3 && write ? A | D : A;
    return frame;
}
