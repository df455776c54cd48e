/* The parser of the script. Each line is cut into a keyword and arguments, once, from the left. */
#include "hv/script.h"

#define NS_PER_MS     UINT64_C(1000000)
#define NS_PER_SECOND UINT64_C(1000000000)

/* Beyond a month nothing is meant seriously, and no sum of times can overflow below it. */
#define SECONDS_MAX UINT64_C(2678400)

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct script_text trim(struct script_text t)
{
    while (t.length > 0 && blank(t.start[0])) {
        t.start++;
        t.length--;
    }
    while (t.length > 0 && blank(t.start[t.length - 1]))
        t.length--;
    return t;
}

/* Cuts the first word off a trimmed text. */
static struct script_text cut_word(struct script_text *rest)
{
    struct script_text word = { rest->start, 0 };

    while (word.length < rest->length && !blank(word.start[word.length]))
        word.length++;
    *rest = trim((struct script_text){ rest->start + word.length, rest->length - word.length });
    return word;
}

static bool is(struct script_text word, const char *name)
{
    size_t i = 0;

    while (i < word.length && name[i] != '\0' && word.start[i] == name[i])
        i++;
    return i == word.length && name[i] == '\0';
}

/* A decimal number with at most nine digits of fraction, in units of `unit`; false if not. */
static bool number(struct script_text word, uint64_t unit, uint64_t max, uint64_t *value)
{
    uint64_t whole = 0, part = 0, scale = unit;
    size_t   i = 0, digits = 0;

    for (; i < word.length && word.start[i] != '.'; i++, digits++) {
        if (word.start[i] < '0' || word.start[i] > '9')
            return false;
        whole = whole * 10 + (uint64_t)(word.start[i] - '0');
        if (whole > max)
            return false;
    }
    if (i < word.length) {
        if (unit == 1)
            return false;
        for (i++; i < word.length; i++, digits++) {
            if (word.start[i] < '0' || word.start[i] > '9')
                return false;
            scale /= 10;
            part += scale * (uint64_t)(word.start[i] - '0');
        }
    }
    *value = whole * unit + part;
    return digits > 0;
}

/* Each returns NULL, or what is wrong. */
static const char *add_command(struct script *script, enum script_when when, uint64_t ns,
                               struct script_text text)
{
    if (text.length == 0)
        return "no commands: expected monitor commands separated by `;`";
    if (text.length >= SCRIPT_LINE_MAX)
        return "too long: expected less than 512 characters of commands";
    if (script->nr_commands == SCRIPT_COMMANDS_MAX)
        return "too many lines with commands: expected at most 32";
    script->command[script->nr_commands++] = (struct script_command){ when, ns, text };
    return NULL;
}

static const char *add_name(struct script *script, struct script_text rest)
{
    uint64_t n;

    if (!number(cut_word(&rest), 1, SCRIPT_NAMES_MAX - 1, &n))
        return "not a number of a configuration: expected name N FILE, N from 0 to 31";
    if (rest.length == 0)
        return "no file: expected name N FILE";
    script->name[n] = rest;
    return NULL;
}

static const char *parse_line(struct script *script, struct script_text rest)
{
    struct script_text key = cut_word(&rest);
    uint64_t           ns;

    if (is(key, "batch")) {
        if (rest.length > 0)
            return "something behind batch: expected nothing";
        script->batch = true;
        return NULL;
    }
    if (is(key, "name"))
        return add_name(script, rest);
    if (is(key, "end"))
        return add_command(script, SCRIPT_END, 0, rest);
    if (is(key, "at")) {
        if (!number(cut_word(&rest), NS_PER_SECOND, SECONDS_MAX, &ns))
            return "not a time: expected at SECONDS COMMANDS, like at 1.5 audit";
        return add_command(script, SCRIPT_AT, ns, rest);
    }
    if (is(key, "every")) {
        if (!number(cut_word(&rest), NS_PER_MS, SECONDS_MAX * 1000, &ns) || ns == 0)
            return "not an interval: expected every MILLISECONDS COMMANDS, like every 500 audit";
        return add_command(script, SCRIPT_EVERY, ns, rest);
    }
    return "unknown line: expected batch, name, end, at or every";
}

bool script_parse(const char *text, size_t length, struct script *script,
                  struct script_error *error)
{
    size_t   at = 0;
    unsigned line = 0;

    *script = (struct script){ 0 };
    while (at < length) {
        size_t end = at;

        while (end < length && text[end] != '\n')
            end++;
        struct script_text rest = trim((struct script_text){ text + at, end - at });

        line++;
        at = end + 1;
        if (rest.length == 0 || rest.start[0] == '#')
            continue;
        const char *what = parse_line(script, rest);

        if (what) {
            *error = (struct script_error){ line, what };
            return false;
        }
    }
    return true;
}

bool script_copy(struct script_text text, char *to, size_t size)
{
    size_t n = text.length < size ? text.length : size - 1;

    for (size_t i = 0; i < n; i++)
        to[i] = text.start[i];
    to[n] = '\0';
    return n == text.length;
}
