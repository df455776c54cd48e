/*
 * Direct paging once more, naively: references are a list of who refers to what, validation is a
 * recursion, and nothing is ever half done. Shares no code with the core.
 */
#ifndef TEST_DIRECT_NAIVE_H
#define TEST_DIRECT_NAIVE_H

#include <stdbool.h>
#include <stdint.h>

#define NAIVE_FRAMES 16
#define NAIVE_REFS   65536

/* Types: 0 none, 1 to 4 tables, 5 segments, 6 writable. */
struct naive_ref {
    int  holder, index; /* frame and entry; or one of NAIVE_... */
    int  target;
    char kind; /* 'g' keeps the frame, 't' its type, 'l' is a linear entry's mark on top */
};

enum { NAIVE_PIN = -1, NAIVE_ROOT = -10, NAIVE_GIVEN = -100, NAIVE_BUSY = -200, NAIVE_OLD = -300 };

struct naive {
    int              frames;
    uint64_t         l1tf_limit;
    const uint64_t  *slots; /* 16 */
    int              type[NAIVE_FRAMES];
    bool             foreign[NAIVE_FRAMES]; /* not the guest's */
    bool             live[NAIVE_FRAMES];
    int              accepted[NAIVE_FRAMES]; /* entries of a table, from the first */
    uint64_t         memory[NAIVE_FRAMES][512];
    int              root[8][2]; /* 0: none */
    int              gifts;      /* of naive_get so far */
    int              refs;
    struct naive_ref ref[NAIVE_REFS];
};

int naive_count(const struct naive *n, int target, char kind);
int naive_linear_from(const struct naive *n, int holder);

/* Each answers whether it was carried out. */
bool naive_update(struct naive *n, int frame, unsigned index, uint64_t value, bool preserve);
bool naive_descriptor(struct naive *n, int frame, unsigned index, uint64_t value);
bool naive_pin(struct naive *n, int frame, int type);
bool naive_unpin(struct naive *n, int frame);
bool naive_root(struct naive *n, int vcpu, int user, int frame);
bool naive_get(struct naive *n, int frame, int type);
bool naive_put(struct naive *n, int frame);

/*
 * A program's access through a root: the frame that it reaches, or 0 and the error code of its
 * fault. A and D are set.
 */
int naive_access(struct naive *n, int root, uint64_t va, bool write, bool fetch, unsigned *code);

#endif
