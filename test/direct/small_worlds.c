/* The small worlds that are explored, each made for a kind of mistake. */
#include "explore.h"

#define PIN(f, level)                                                                              \
    {                                                                                              \
        DIRECT_PIN, f, TYPE_L##level, 0, false                                                     \
    }
#define UNPIN(f)                                                                                   \
    {                                                                                              \
        DIRECT_UNPIN, f, 0, 0, false                                                               \
    }
#define SET(f, index, value)                                                                       \
    {                                                                                              \
        DIRECT_UPDATE, f, index, value, false                                                      \
    }
#define LOAD(f)                                                                                    \
    {                                                                                              \
        DIRECT_ROOT, f, 0, 0, false                                                                \
    }
#define LOAD_USER(f)                                                                               \
    {                                                                                              \
        DIRECT_ROOT, f, 0, 0, true                                                                 \
    }

const struct small_world small_worlds[] = {
    {
        .name = "a page that is mapped, written and unmapped becomes a table",
        .frames = 3,
        .setup = { PIN(1, 1) },
        .menu = { { SET(1, 0, ENTRY(2, RW)), SET(1, 0, 0) },
                  { PIN(2, 1), SET(1, 1, ENTRY(2, RW)), SET(1, 1, 0) } },
        .turns = { 1, 2 },
        .turns_long = { 3, 2 },
        .flushes = 1,
        .loads = 1 << 2,
    },
    {
        .name = "the same when the TLB clock wraps",
        .frames = 3,
        .setup = { PIN(1, 1) },
        .menu = { { SET(1, 0, ENTRY(2, RW)), SET(1, 0, 0) }, { PIN(2, 1), UNPIN(2) } },
        .turns = { 1, 2 },
        .turns_long = { 3, 3 },
        .flushes = 2,
        .clock = 0xfffffffe,
        .loads = 1 << 2,
    },
    {
        .name = "a table that was linked becomes a page that is written",
        .frames = 4,
        .content = { { 1, 0, ENTRY(2, RW) }, { 3, 0, ENTRY(2, RW) } },
        .setup = { PIN(1, 2) },
        .menu = { { SET(1, 0, 0), SET(1, 0, ENTRY(2, RW)) },
                  { PIN(3, 1), SET(2, 0, ENTRY(2, RW)), UNPIN(3) } },
        .turns = { 1, 2 },
        .turns_long = { 3, 3 },
        .loads = 1 << 2,
    },
    {
        .name = "a writable mapping comes and goes while another one is dropped",
        .frames = 3,
        .content = { { 1, 0, ENTRY(2, RW) } },
        .setup = { PIN(1, 1) },
        .menu = { { SET(1, 0, 0), PIN(2, 1) }, { SET(1, 1, ENTRY(2, RW)), SET(1, 1, 0) } },
        .turns = { 2, 2 },
        .turns_long = { 3, 3 },
        .flushes = 1,
        .loads = 1 << 2,
    },
    {
        .name = "two map a former table writable",
        .frames = 4,
        .content = { { 1, 0, ENTRY(2, RW) } },
        .setup = { PIN(1, 2), PIN(3, 1) },
        .menu = { { SET(1, 0, 0), SET(3, 0, ENTRY(2, RW)) }, { SET(3, 1, ENTRY(2, RW)) } },
        .turns = { 2, 1 },
        .turns_long = { 2, 2 },
        .loads = 1 << 2,
    },
    {
        .name = "tables of two levels, cut anywhere",
        .frames = 4,
        .content = { { 1, 0, ENTRY(2, RW) },
                     { 1, 1, ENTRY(3, RW) },
                     { 2, 0, ENTRY(3, RO) },
                     { 3, 0, ENTRY(2, RO) } },
        .menu = { { PIN(1, 2), UNPIN(1), PIN(2, 1) },
                  { PIN(1, 2), UNPIN(1), UNPIN(2), PIN(3, 1) } },
        .turns = { 1, 1 },
        .turns_long = { 2, 2 },
        .cuts = 2,
    },
    {
        .name = "tables of three levels, cut anywhere",
        .frames = 5,
        .content = { { 1, 0, ENTRY(2, RW) },
                     { 1, 1, ENTRY(2, RW) },
                     { 2, 0, ENTRY(3, RW) },
                     { 3, 0, ENTRY(4, RW) },
                     { 3, 1, ENTRY(4, RO) } },
        .menu = { { PIN(1, 3), UNPIN(1) }, { PIN(2, 2), UNPIN(2), UNPIN(1) } },
        .turns = { 1, 1 },
        .turns_long = { 2, 2 },
        .cuts = 3,
    },
    {
        .name = "tables that are refused are undone, cut anywhere",
        .frames = 4,
        .content = { { 1, 0, ENTRY(2, RW) },
                     { 1, 1, ENTRY(2, RW | PTE_PS) },
                     { 2, 0, ENTRY(3, RW) },
                     { 3, 0, ENTRY(1, RO) } },
        .menu = { { PIN(1, 3), SET(1, 1, 0), PIN(3, 1) }, { PIN(2, 2), UNPIN(2), PIN(1, 3) } },
        .turns = { 1, 1 },
        .turns_long = { 2, 2 },
        .cuts = 2,
    },
    {
        .name = "an entry that asks for shadow paging is no progress",
        .frames = 4,
        .content = { { 1, 0, ENTRY(2, RW) },
                     { 1, 1, ENTRY(3, RW) },
                     { 2, 0, ENTRY(3, RO) },
                     { 3, 0, ENTRY(2, 0) } },
        .menu = { { PIN(1, 2), UNPIN(1) }, { PIN(2, 1), SET(3, 0, 0) } },
        .turns = { 1, 1 },
        .turns_long = { 2, 3 },
        .cuts = 2,
        .l1tf_limit = 4,
    },
    {
        .name = "linear entries go one step deep",
        .frames = 4,
        .setup = { PIN(1, 2), PIN(2, 2), PIN(3, 2) },
        .menu = { { SET(1, 0, ENTRY(2, RO)), SET(1, 0, 0), SET(3, 0, ENTRY(1, RO)) },
                  { SET(2, 0, ENTRY(3, RO)), SET(2, 0, 0), UNPIN(2) } },
        .turns = { 1, 2 },
        .turns_long = { 3, 3 },
        .cuts = 1,
    },
    {
        .name = "linear entries are found and taken down with their tables",
        .frames = 4,
        .content = { { 1, 0, ENTRY(2, RO) }, { 1, 1, ENTRY(3, RW) }, { 2, 0, ENTRY(3, RW) } },
        .setup = { PIN(2, 2) },
        .menu = { { PIN(1, 2), UNPIN(1), UNPIN(2) },
                  { SET(2, 1, ENTRY(1, RO)), UNPIN(2), PIN(1, 2) } },
        .turns = { 1, 1 },
        .turns_long = { 2, 2 },
        .cuts = 2,
    },
    {
        .name = "an update and the last reference of its table",
        .frames = 4,
        .content = { { 1, 0, ENTRY(2, RW) }, { 2, 0, ENTRY(3, RW) } },
        .setup = { PIN(1, 2) },
        .menu = { { SET(2, 0, ENTRY(3, RO)), SET(2, 1, ENTRY(3, RW)), SET(1, 0, 0) },
                  { UNPIN(1), PIN(1, 2) } },
        .turns = { 1, 2 },
        .turns_long = { 3, 2 },
        .cuts = 1,
    },
    {
        .name = "two updates of one entry",
        .frames = 4,
        .setup = { PIN(1, 1) },
        .menu = { { SET(1, 0, ENTRY(2, RW)), SET(1, 0, ENTRY(3, RW)) },
                  { SET(1, 0, ENTRY(2, RO)), SET(1, 0, 0), PIN(2, 1) } },
        .turns = { 1, 1 },
        .turns_long = { 3, 2 },
        .loads = 1 << 2,
    },
    {
        .name = "what the quick way may not change",
        .frames = 4,
        .content = { { 1, 0, ENTRY(1, RO) }, { 1, 1, ENTRY(2, RO) }, { 2, 0, ENTRY(3, RO) } },
        .setup = { PIN(1, 2), PIN(3, 1) },
        .menu = { { SET(1, 0, ENTRY(1, RW)), SET(1, 1, ENTRY(2, RO | PTE_PS)),
                    SET(2, 0, ENTRY(3, RW)), SET(1, 1, ENTRY(2, RW)) },
                  { UNPIN(3), SET(2, 0, ENTRY(3, RO | 8)) } },
        .turns = { 2, 1 },
        .turns_long = { 3, 2 },
    },
    {
        .name = "frames of the pool are not the guest's",
        .frames = 4,
        .setup = { PIN(1, 1) },
        .menu = { { SET(1, 0, ENTRY(3, RO)), SET(1, 0, ENTRY(3, RW)), PIN(3, 1) },
                  { SET(3, 0, ENTRY(2, RW)), UNPIN(3) } },
        .turns = { 2, 1 },
        .turns_long = { 2, 2 },
        .pool = 3,
    },
    {
        .name = "roots are left before they are released",
        .frames = 4,
        .content = { { 1, 0, ENTRY(3, RW) }, { 2, 0, ENTRY(3, RW) } },
        .menu = { { LOAD(1), LOAD(2), LOAD_USER(1) }, { LOAD(2), PIN(1, 4), UNPIN(1) } },
        .turns = { 2, 1 },
        .turns_long = { 3, 2 },
        .cuts = 1,
    },
    {
        .name = "only live tables have shadows",
        .frames = 4,
        .content = { { 1, 0, ENTRY(2, RW) }, { 2, 0, ENTRY(3, RW) } },
        .setup = { PIN(1, 2) },
        .menu = { { UNPIN(1), SET(2, 0, 0), PIN(2, 1) }, { SET(1, 0, 0), PIN(1, 2) } },
        .turns = { 1, 1 },
        .turns_long = { 2, 2 },
        .cuts = 1,
        .shadowed = true,
    },
    {
        .name = "a domain dies while another one pins its tables",
        .frames = 4,
        .content = { { 1, 0, ENTRY(2, RW) }, { 2, 0, ENTRY(3, RW) } },
        .setup = { PIN(2, 1) },
        .menu = { { { DIRECT_TEARDOWN, 1, 0, 0, false } }, { PIN(1, 2), UNPIN(2), UNPIN(1) } },
        .turns = { 1, 1 },
        .turns_long = { 1, 2 },
        .cuts = 2,
        .foreign = true,
    },
};

const unsigned small_world_count = sizeof(small_worlds) / sizeof(small_worlds[0]);
