/* Command lines into commands, words, numbers. See monitor_parse.h for the grammar. */
#include "hv/monitor_parse.h"

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Steps over one character of source, an escaped quote inside quotes being one. */
static const char *step(const char *at, bool *quoted)
{
    if (*quoted && at[0] == '\\' && (at[1] == '"' || at[1] == '\\'))
        return at + 2;
    if (*at == '"')
        *quoted = !*quoted;
    return at + 1;
}

char *monitor_next(char **rest)
{
    char *start = *rest;
    bool  quoted = false;
    char *at = start;

    if (*at == '\0')
        return NULL;
    while (*at != '\0' && (quoted || *at != ';'))
        at = start + (step(at, &quoted) - start);
    *rest = at;
    if (*at == ';') {
        *at = '\0';
        *rest = at + 1;
    }
    return start;
}

/* One word: copies it onto itself without its quotes. Returns where it ended, NULL if open. */
static char *word_close(char *at)
{
    char *out = at;
    bool  quoted = false;

    while (*at != '\0' && (quoted || !blank(*at))) {
        if (quoted && at[0] == '\\' && at[1] == '"') {
            *out++ = '"';
            at += 2;
        } else if (quoted && at[0] == '\\' && at[1] == '\\') {
            *out++ = *at++; /* both stay: they are monitor_unescape's */
            *out++ = *at++;
        } else if (*at == '"') {
            quoted = !quoted;
            at++;
        } else {
            *out++ = *at++;
        }
    }
    bool more = *at != '\0';

    *out = '\0';
    return quoted ? NULL : at + (more ? 1 : 0);
}

enum monitor_split monitor_split(char *command, struct monitor_words *words)
{
    char *at = command;

    words->count = 0;
    for (;;) {
        while (blank(*at))
            at++;
        if (*at == '\0')
            return MONITOR_SPLIT_OK;
        if (words->count == MONITOR_WORDS_MAX)
            return MONITOR_SPLIT_MANY;
        words->word[words->count++] = at;
        at = word_close(at);
        if (!at)
            return MONITOR_SPLIT_QUOTE;
    }
}

bool monitor_same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static bool begins(const char *name, const char *prefix)
{
    while (*prefix != '\0' && *name == *prefix) {
        name++;
        prefix++;
    }
    return *prefix == '\0';
}

int monitor_match(const char *word, const char *const *names, unsigned count)
{
    int found = MONITOR_UNKNOWN;

    for (unsigned i = 0; i < count; i++) {
        if (monitor_same(names[i], word))
            return (int)i;
        if (*word != '\0' && begins(names[i], word))
            found = found == MONITOR_UNKNOWN ? (int)i : MONITOR_AMBIGUOUS;
    }
    return found;
}

/* The value of a digit, or 16. */
static unsigned digit(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F')
        return (unsigned)(c - 'A') + 10;
    return 16;
}

bool monitor_number(const char *word, uint64_t *value)
{
    unsigned base = word[0] == '0' && (word[1] == 'x' || word[1] == 'X') ? 16 : 10;
    uint64_t n = 0;

    if (base == 16)
        word += 2;
    if (*word == '\0')
        return false;
    for (; *word != '\0'; word++) {
        unsigned d = digit(*word);

        if (d >= base || n > (UINT64_MAX - d) / base)
            return false;
        n = n * base + d;
    }
    *value = n;
    return true;
}

bool monitor_unescape(char *text, size_t *length)
{
    static const char letters[] = "nrte\\\"", meant[] = "\n\r\t\033\\\"";
    char             *out = text;

    for (const char *at = text; *at != '\0'; at++) {
        if (*at != '\\') {
            *out++ = *at;
            continue;
        }
        at++;
        if (*at == 'x') {
            if (digit(at[1]) == 16 || digit(at[2]) == 16)
                return false;
            *out++ = (char)(digit(at[1]) << 4 | digit(at[2]));
            at += 2;
            continue;
        }
        unsigned i = 0;

        while (letters[i] != '\0' && letters[i] != *at)
            i++;
        if (letters[i] == '\0')
            return false;
        *out++ = meant[i];
    }
    *length = (size_t)(out - text);
    return true;
}
