/*
 * What is watched: rules, each a range of frames or a kernel symbol's page, the rights that the guest
 * keeps there, and what becomes of an access that they forbid. A later rule goes before an earlier one.
 */
#ifndef TOOLS_ACCESS_RULES_H
#define TOOLS_ACCESS_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RULES_MAX   256
#define SYMBOL_MAX  128
#define MESSAGE_MAX 256
#define RIGHTS_RWX  7 /* numbers of rights are the ABI's: xenmem_access_t */

enum action {
    ACTION_LOG,   /* each access is told, and the rights stay */
    ACTION_ONCE,  /* the first access is told, and the page has all rights */
    ACTION_COUNT, /* as log, in the summary only */
    ACTION_PAUSE, /* the first access is told, and the domain stays paused */
};

struct rule {
    char        symbol[SYMBOL_MAX]; /* "": the frames are known */
    uint64_t    first, count;       /* guest frame numbers */
    uint8_t     rights;
    enum action action;
};

struct rules {
    struct rule rule[RULES_MAX];
    unsigned    count;
};

/*
 * Adds the rule that a line has: RANGE RIGHTS [ACTION]. A line of spaces or with a comment (#) only adds
 * none. False, with what is wrong, if it cannot be read.
 */
bool rules_add(struct rules *rules, const char *line, char message[MESSAGE_MAX]);

/* The number of rights of this name; false: there are none such. */
bool rules_parse_rights(const char *word, uint8_t *rights);

/* The rule about a frame, by its index; -1: none. */
int rules_find(const struct rules *rules, uint64_t gfn);

/* A number as in C, without a sign, and nothing behind it. */
bool rules_parse_number(const char *word, uint64_t *number);

#endif
