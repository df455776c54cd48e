#include "tools/access/rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS     3
#define FRAME_END (1ull << 40) /* a guest's physical address has at most 52 bits */

static const char *const rights_names[] = { "n",  "r",   "w",     "rw",    "x",      "rx",
                                            "wx", "rwx", "rx2rw", "n2rwx", "default" };
static const char *const action_names[] = {
    [ACTION_LOG] = "log",
    [ACTION_ONCE] = "once",
    [ACTION_COUNT] = "count",
    [ACTION_PAUSE] = "pause",
};

static int find_word(const char *word, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, names[i]) == 0)
            return (int)i;
    return -1;
}

bool rules_parse_rights(const char *word, uint8_t *rights)
{
    int found = find_word(word, rights_names, sizeof(rights_names) / sizeof(rights_names[0]));

    if (found >= 0)
        *rights = (uint8_t)found;
    return found >= 0;
}

bool rules_parse_number(const char *word, uint64_t *number)
{
    char *end;

    if (!isdigit((unsigned char)*word))
        return false;
    errno = 0;
    *number = strtoull(word, &end, 0);
    return errno == 0 && *end == '\0';
}

/* FIRST, FIRST-LAST, FIRST+COUNT; a word that begins with no digit is a symbol. */
static bool parse_range(char *word, struct rule *rule, char message[MESSAGE_MAX])
{
    char     sign, *mark = word + strcspn(word, "+-");
    uint64_t second = 1;

    if (!isdigit((unsigned char)*word)) {
        if (strlen(word) >= SYMBOL_MAX) {
            snprintf(message, MESSAGE_MAX, "a symbol has less than %d characters", SYMBOL_MAX);
            return false;
        }
        strcpy(rule->symbol, word);
        return true;
    }
    sign = *mark;
    *mark = '\0';
    if (!rules_parse_number(word, &rule->first) ||
        (sign != '\0' && !rules_parse_number(mark + 1, &second))) {
        snprintf(message, MESSAGE_MAX,
                 "a range is FIRST, FIRST-LAST, FIRST+COUNT (frame numbers), or a symbol");
        return false;
    }
    if (rule->first >= FRAME_END || second >= FRAME_END || (sign == '-' && second < rule->first) ||
        (sign == '+' && second == 0)) {
        snprintf(message, MESSAGE_MAX, "this range has no frames, or such that no guest has");
        return false;
    }
    rule->count = sign == '-' ? second - rule->first + 1 : second;
    return true;
}

/* Words of a line, in place; one more than there may be tells of too many. */
static unsigned split(char *text, char *word[WORDS + 1])
{
    char    *rest;
    unsigned count = 0;

    text[strcspn(text, "#\r\n")] = '\0';
    for (char *next = strtok_r(text, " \t", &rest); next && count <= WORDS;
         next = strtok_r(NULL, " \t", &rest))
        word[count++] = next;
    return count;
}

bool rules_add(struct rules *rules, const char *line, char message[MESSAGE_MAX])
{
    char        text[512], *word[WORDS + 1];
    struct rule rule = { .count = 1, .action = ACTION_LOG };
    unsigned    count;

    if (snprintf(text, sizeof(text), "%s", line) >= (int)sizeof(text)) {
        snprintf(message, MESSAGE_MAX, "a line has less than %zu characters", sizeof(text));
        return false;
    }
    count = split(text, word);
    if (count == 0)
        return true;
    if (count == 1 || count > WORDS) {
        snprintf(message, MESSAGE_MAX, "a rule is RANGE RIGHTS [ACTION], not %s words",
                 count == 1 ? "fewer" : "more");
        return false;
    }
    if (!parse_range(word[0], &rule, message))
        return false;
    if (!rules_parse_rights(word[1], &rule.rights)) {
        snprintf(message, MESSAGE_MAX,
                 "rights are n r w rw x rx wx rwx rx2rw n2rwx or default, not %.32s", word[1]);
        return false;
    }
    if (count == WORDS) {
        int found = find_word(word[2], action_names, 4);
        if (found < 0) {
            snprintf(message, MESSAGE_MAX, "an action is log, once, count or pause, not %.32s",
                     word[2]);
            return false;
        }
        rule.action = (enum action)found;
    }
    if (rules->count == RULES_MAX) {
        snprintf(message, MESSAGE_MAX, "there are more than %d rules", RULES_MAX);
        return false;
    }
    rules->rule[rules->count++] = rule;
    return true;
}

int rules_find(const struct rules *rules, uint64_t gfn)
{
    for (int i = (int)rules->count - 1; i >= 0; i--)
        if (gfn >= rules->rule[i].first && gfn - rules->rule[i].first < rules->rule[i].count)
            return i;
    return -1;
}
