/*
 * Goes through every interleaving of steps of a small world, depth first over its states: which vCPU
 * makes the next step, which request it begins, where a call is cut, whether it is taken up again,
 * what a TLB loads, when it is flushed.
 */
#ifndef TEST_DIRECT_EXPLORE_H
#define TEST_DIRECT_EXPLORE_H

#include "world.h"

#define EXPLORE_MENU 6

/* One request of a menu; op, kind and so on as in struct direct_request. */
struct choice {
    enum direct_op op;
    uint8_t        frame;
    uint8_t        kind;  /* of a pin, or index of an update */
    uint64_t       value; /* of an update */
    bool           user;
};

struct small_world {
    const char *name;
    uint8_t     frames; /* with frame 0, which nobody has */
    struct {
        uint8_t  frame;
        uint16_t index;
        uint64_t value;
    } content[8];
    struct choice setup[4], menu[2][EXPLORE_MENU]; /* an op without a frame ends a list */
    uint8_t       turns[2], turns_long[2];         /* requests of each vCPU */
    uint8_t       cuts;                            /* calls that may be cut */
    uint8_t       flushes;                         /* by processors of their own accord */
    uint32_t      clock;                           /* 0: 1 */
    uint16_t      loads;                           /* frames that TLBs load, a bit for each */
    uint8_t       pool;                            /* a frame that is the domain's pool's */
    uint8_t       l1tf_limit;
    bool          shadowed; /* live tables may get shadows */
    bool          foreign;  /* vCPU 1 is another domain's */
};

struct explored {
    unsigned long states, ends;
    unsigned      deepest;
    char          why[256];    /* empty: nothing wrong */
    char          trace[4000]; /* what led there */
};

extern const struct small_world small_worlds[];
extern const unsigned           small_world_count;

/* Goes through all states, but at most `limit`. False: something is wrong. */
must_check bool explore(const struct small_world *small, bool thorough, unsigned long limit,
                        struct explored *result);

#endif
