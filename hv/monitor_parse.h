/*
 * Taking the monitor's command lines apart. Pure: no state, no output, compiled hosted
 * for its test as well.
 *
 *     commands  = command { ";" command }
 *     command   = { word }, separated by blanks
 *     word      = a run of other characters, of which "..." may be parts
 *
 * Between double quotes blanks and ";" are characters like any other, and \" is a quote.
 * Every other escape is left as it is for whoever uses the word (monitor_unescape).
 */
#ifndef HV_MONITOR_PARSE_H
#define HV_MONITOR_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paging/frame.h"

#define MONITOR_WORDS_MAX 16

struct monitor_words {
    unsigned count;
    char    *word[MONITOR_WORDS_MAX];
};

enum monitor_split { MONITOR_SPLIT_OK, MONITOR_SPLIT_MANY, MONITOR_SPLIT_QUOTE };

/*
 * Cuts the first command off `*rest`, which points behind it afterwards; NULL when there
 * is none left. Writes a NUL over the ";".
 */
char *monitor_next(char **rest);

/* Splits one command into words, in place. MANY: too many words; QUOTE: one is not closed. */
must_check enum monitor_split monitor_split(char *command, struct monitor_words *words);

/* Which of `count` names `word` is, or is the only one to begin with it. */
enum { MONITOR_UNKNOWN = -1, MONITOR_AMBIGUOUS = -2 };
must_check int monitor_match(const char *word, const char *const *names, unsigned count);

/* A whole word as a number, decimal or 0x...; false if it is none or above 64 bits. */
must_check bool monitor_number(const char *word, uint64_t *value);

/* \n \r \t \e \\ \" \xHH become characters, in place. False: another escape, or half of one. */
must_check bool monitor_unescape(char *text, size_t *length);

bool monitor_same(const char *a, const char *b);

#endif
