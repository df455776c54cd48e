/* A script of operations: as text, run in a process of its own, and made as short as it fails. */
#ifndef TEST_MODEL_SCRIPT_H
#define TEST_MODEL_SCRIPT_H

#include <stdio.h>

#include "test/model/world.h"

struct script {
    struct world_setup setup;
    struct op         *op;
    size_t             count, room;
};

void script_add(struct script *s, const struct op *op);
void script_print(const struct script *s, size_t first, FILE *to);
bool script_parse(struct script *s, FILE *from); /* false: says where on stderr */

struct script_result {
    bool   failed;
    size_t step; /* at which it failed, from 1 */
    char   why[512];
};

/* Runs it here. */
struct script_result script_run(const struct script *s);
/* Runs it in a child, so that a crash or a loop is a result too. */
struct script_result script_run_apart(const struct script *s, bool quiet);
/* Leaves out all that is not needed to fail, for at most so many seconds. */
void script_shrink(struct script *s, unsigned seconds);

#endif
