/*
 * Three levels: a root of 512 entries, inner nodes of 512, leaves of 8192 values of four bits. An entry of
 * the root is 0 (nothing of their own for all frames below) or an inner node; one of an inner node is 0, a
 * value for all frames below, or a leaf. A value is the type plus 1, so that memory full of zeros says
 * "nothing of its own".
 */
#include "access.h"

#include "pte.h"

#define ENTRY_NODE  (UINT64_C(1) << 0)
#define ENTRY_VALUE 4 /* bits 7:4 */

#define INNER_ORDER (ACCESS_LEAF_ORDER + 9)
#define GFN_BITS    (INNER_ORDER + 9)
#define PER_WORD    16 /* values in 64 bits */
#define VALUES_ONE  UINT64_C(0x1111111111111111)

static uint64_t *node_at(const struct access *a, uint64_t entry)
{
    return phys_ptr(a->pool->phys, mfn_of((entry & PTE_FRAME) >> PAGE_SHIFT));
}

static uint64_t *root_at(const struct access *a)
{
    return phys_ptr(a->pool->phys, a->root);
}

static unsigned root_index(gfn_t gfn)
{
    return (unsigned)(gfn.raw >> INNER_ORDER) & 511;
}

static unsigned inner_index(gfn_t gfn)
{
    return (unsigned)(gfn.raw >> ACCESS_LEAF_ORDER) & 511;
}

static unsigned value_of(enum access_type type)
{
    return type == ACCESS_DEFAULT ? 0 : (unsigned)type + 1;
}

static enum access_type type_of(const struct access *a, unsigned value)
{
    return value == 0 ? (enum access_type)a->fallback : (enum access_type)(value - 1);
}

void access_init(struct access *a, struct pool *pool)
{
    *a = (struct access){ .pool = pool, .root = MFN_NONE, .fallback = ACCESS_ALL };
}

/* The entry that decides about the block of 8192 frames around this one: a value or a leaf. */
static uint64_t entry_of(const struct access *a, gfn_t gfn)
{
    if (!mfn_valid(a->root) || gfn.raw >> GFN_BITS != 0)
        return 0;
    uint64_t entry = root_at(a)[root_index(gfn)];

    return entry & ENTRY_NODE ? node_at(a, entry)[inner_index(gfn)] : entry;
}

enum access_type access_find(const struct access *a, gfn_t gfn)
{
    uint64_t entry = entry_of(a, gfn);

    if (entry & ENTRY_NODE) {
        unsigned i = (unsigned)(gfn.raw & (ACCESS_LEAF_GFNS - 1));

        return type_of(a, (unsigned)(node_at(a, entry)[i / PER_WORD] >> i % PER_WORD * 4 & 15));
    }
    return type_of(a, (unsigned)(entry >> ENTRY_VALUE & 15));
}

static bool words_are(const uint64_t *words, unsigned count, uint64_t word)
{
    for (unsigned i = 0; i < count; i++)
        if (words[i] != word)
            return false;
    return true;
}

bool access_is_uniform(const struct access *a, gfn_t gfn, unsigned order)
{
    uint64_t size = UINT64_C(1) << order, first = gfn.raw & ~(size - 1);
    uint64_t entry;

    if (!a->active || order == 0)
        return true;
    entry = entry_of(a, gfn_of(first));
    for (uint64_t next = first + ACCESS_LEAF_GFNS; next < first + size; next += ACCESS_LEAF_GFNS)
        if ((entry & ENTRY_NODE) || entry_of(a, gfn_of(next)) != entry)
            return false;
    if (!(entry & ENTRY_NODE))
        return true;
    const uint64_t *words = node_at(a, entry) + (first & (ACCESS_LEAF_GFNS - 1)) / PER_WORD;

    return words_are(words, (unsigned)(size / PER_WORD), (words[0] & 15) * VALUES_ONE);
}

/* Makes the entry a node with `word` in each place; false: no memory. */
static bool make_node(struct access *a, uint64_t *entry, uint64_t word)
{
    mfn_t     node = pool_single(a->pool, FRAME_P2M);
    uint64_t *words;

    if (!mfn_valid(node))
        return false;
    words = phys_ptr(a->pool->phys, node);
    for (unsigned i = 0; word != 0 && i < 512; i++)
        words[i] = word;
    *entry = node.raw << PAGE_SHIFT | ENTRY_NODE;
    return true;
}

static void drop_node(struct access *a, uint64_t *entry)
{
    pool_put_single(a->pool, mfn_of((*entry & PTE_FRAME) >> PAGE_SHIFT));
    *entry = 0;
}

/* The entry for a block of 8192 frames, with the nodes above it; NULL: no memory. */
static uint64_t *entry_make(struct access *a, gfn_t gfn)
{
    uint64_t *entry;

    if (!mfn_valid(a->root)) {
        a->root = pool_single(a->pool, FRAME_P2M);
        if (!mfn_valid(a->root))
            return NULL;
    }
    entry = &root_at(a)[root_index(gfn)];
    if (!(*entry & ENTRY_NODE) && !make_node(a, entry, 0))
        return NULL;
    return &node_at(a, *entry)[inner_index(gfn)];
}

/* Values [first, end) of a leaf. */
static void fill(uint64_t *words, unsigned first, unsigned end, unsigned value)
{
    for (unsigned i = first; i < end;) {
        if (i % PER_WORD == 0 && end - i >= PER_WORD) {
            words[i / PER_WORD] = value * VALUES_ONE;
            i += PER_WORD;
            continue;
        }
        uint64_t *word = &words[i / PER_WORD];
        unsigned  shift = i % PER_WORD * 4;

        *word = (*word & ~(UINT64_C(15) << shift)) | (uint64_t)value << shift;
        i++;
    }
}

/* Frames of one block of 8192, `count` from `first` on; false: no memory. */
static bool set_in_block(struct access *a, gfn_t first, uint64_t count, unsigned value)
{
    unsigned  i = (unsigned)(first.raw & (ACCESS_LEAF_GFNS - 1));
    uint64_t *entry, was = entry_of(a, first);

    if (!(was & ENTRY_NODE) && (was >> ENTRY_VALUE & 15) == value)
        return true;
    entry = entry_make(a, first);
    if (!entry)
        return false;
    if (count == ACCESS_LEAF_GFNS) {
        if (*entry & ENTRY_NODE)
            drop_node(a, entry);
        *entry = (uint64_t)value << ENTRY_VALUE;
        return true;
    }
    if (!(*entry & ENTRY_NODE) && !make_node(a, entry, (*entry >> ENTRY_VALUE & 15) * VALUES_ONE))
        return false;
    fill(node_at(a, *entry), i, i + (unsigned)count, value);
    return true;
}

uint64_t access_set(struct access *a, gfn_t first, uint64_t count, enum access_type type,
                    unsigned budget, bool *full)
{
    uint64_t done = 0;

    *full = false;
    while (done < count && budget-- > 0) {
        gfn_t    gfn = gfn_of(first.raw + done);
        uint64_t some = ACCESS_LEAF_GFNS - (gfn.raw & (ACCESS_LEAF_GFNS - 1));

        if (some > count - done)
            some = count - done;
        if (gfn.raw >> GFN_BITS != 0) /* no frame can be there: there is nothing to note */
            return count;
        if (!set_in_block(a, gfn, some, value_of(type))) {
            *full = true;
            break;
        }
        if (type != ACCESS_DEFAULT && type != ACCESS_ALL)
            a->active = true;
        done += some;
    }
    return done;
}

void access_set_default(struct access *a, enum access_type type)
{
    a->fallback = (uint8_t)type;
    if (type != ACCESS_ALL)
        a->active = true;
}

/* Frees all leaves of an inner node that the budget allows; true when it has none. */
static bool reap_inner(struct access *a, uint64_t *inner, unsigned *budget)
{
    for (unsigned i = 0; i < 512; i++) {
        if (!(inner[i] & ENTRY_NODE))
            continue;
        if (*budget == 0)
            return false;
        --*budget;
        drop_node(a, &inner[i]);
    }
    return true;
}

bool access_reap(struct access *a, unsigned budget)
{
    a->active = false;
    a->fallback = ACCESS_ALL;
    if (!mfn_valid(a->root))
        return true;
    for (unsigned i = 0; i < 512; i++) {
        uint64_t *entry = &root_at(a)[i];

        if (!(*entry & ENTRY_NODE))
            continue;
        if (!reap_inner(a, node_at(a, *entry), &budget) || budget == 0)
            return false;
        budget--;
        drop_node(a, entry);
    }
    pool_put_single(a->pool, a->root);
    a->root = MFN_NONE;
    return true;
}
