/*
 * The parser of a domain's file.
 *
 * A file is a sequence of statements `key = value`, ended by a newline or ';', with comments
 * from '#' to the end of the line. A value is a string in double or single quotes, a number
 * (decimal, or hexadecimal after 0x), or a list in brackets, which no key takes so far. What
 * a key takes is said by the table `keys`; nothing is accepted that has no effect.
 *
 * Built twice, for the host and for the image: neither libc nor the hypervisor is needed.
 * The text is untrusted and need not end with a zero byte: it is read through peek() only.
 */
#include "hv/config.h"

#include "paging/pool.h"

struct parser {
    const char          *text;
    size_t               length, at;
    unsigned             line;
    struct config       *config;
    struct config_error *error;
    size_t               said; /* length of error->what */
};

enum value_kind { VALUE_STRING, VALUE_NUMBER, VALUE_LIST };

struct value {
    enum value_kind kind;
    uint64_t        number;
    size_t          length;
    char            string[CONFIG_EXTRA_MAX];
};

/* ---- what went wrong ---- */

static void say(struct parser *p, const char *words)
{
    while (*words && p->said < sizeof(p->error->what) - 1)
        p->error->what[p->said++] = *words++;
    p->error->what[p->said] = '\0';
}

static void say_number(struct parser *p, uint64_t number)
{
    char   digits[24];
    size_t i = sizeof(digits) - 1;

    digits[i] = '\0';
    do {
        digits[--i] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    say(p, digits + i);
}

/* Starts the message about this line. Always false, for the caller to return. */
static bool wrong(struct parser *p, unsigned line, const char *words)
{
    p->error->line = line;
    p->said = 0;
    say(p, words);
    return false;
}

/* ---- characters ---- */

#define END (-1)

static int peek(const struct parser *p)
{
    return p->at < p->length ? (unsigned char)p->text[p->at] : END;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_word(int c)
{
    return is_letter(c) || is_digit(c) || c == '_';
}

static bool same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static void copy(char *to, const char *from)
{
    while ((*to++ = *from++))
        ;
}

static void skip_blanks(struct parser *p)
{
    while (peek(p) == ' ' || peek(p) == '\t' || peek(p) == '\r')
        p->at++;
}

/* To the next statement, over what separates them. */
static void skip_separators(struct parser *p)
{
    for (;; p->at++) {
        int c = peek(p);

        if (c == '#') {
            while (peek(p) != '\n' && peek(p) != END)
                p->at++;
            c = peek(p);
        }
        if (c == '\n')
            p->line++;
        else if (c != ' ' && c != '\t' && c != '\r' && c != ';')
            return;
    }
}

/* ---- values ---- */

static bool parse_string(struct parser *p, struct value *value)
{
    int quote = peek(p), c;

    value->kind = VALUE_STRING;
    value->length = 0;
    for (p->at++; (c = peek(p)) != quote; p->at++) {
        if (c == END || c == '\n') {
            wrong(p, p->line, "the string has no end: expected ");
            say(p, quote == '"' ? "\"" : "'");
            return false;
        }
        if (c == '\\') {
            p->at++;
            c = peek(p);
            if (c != '\\' && c != '"' && c != '\'')
                return wrong(p, p->line, "a backslash in a string goes before \\, \" or ' only");
        }
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return wrong(p, p->line, "a control character in a string");
        if (value->length + 1 >= sizeof(value->string)) {
            wrong(p, p->line, "the string is too long: at most ");
            say_number(p, sizeof(value->string) - 1);
            say(p, " characters");
            return false;
        }
        value->string[value->length++] = (char)c;
    }
    p->at++;
    value->string[value->length] = '\0';
    return true;
}

/* The value of a digit of any base, or something that is too large for all of them. */
static unsigned digit_of(int c)
{
    if (is_digit(c))
        return (unsigned)(c - '0');
    if (is_letter(c))
        return (unsigned)((c | 0x20) - 'a') + 10;
    return 0xff;
}

static bool parse_number(struct parser *p, struct value *value)
{
    unsigned base = 10;
    size_t   start = p->at;

    value->kind = VALUE_NUMBER;
    value->number = 0;
    if (peek(p) == '0') {
        p->at++;
        if (peek(p) == 'x' || peek(p) == 'X') {
            base = 16;
            start = ++p->at;
        } else if (is_digit(peek(p))) {
            /* xl reads it as octal, which few people mean. */
            return wrong(p, p->line,
                         "a number may not begin with 0: write it in decimal, or with 0x");
        }
    }
    for (; digit_of(peek(p)) < base; p->at++) {
        unsigned digit = digit_of(peek(p));

        if (value->number > (UINT64_MAX - digit) / base)
            return wrong(p, p->line, "the number is too large");
        value->number = value->number * base + digit;
    }
    if (p->at == start || is_word(peek(p)))
        return wrong(p, p->line,
                     "this is no number: expected decimal digits, or 0x and hexadecimal ones");
    return true;
}

/* No key takes a list: where it ends is all that matters, so that the key can say what it wants. */
static bool parse_value(struct parser *p, struct value *value)
{
    int c = peek(p);

    if (c == '"' || c == '\'')
        return parse_string(p, value);
    if (is_digit(c))
        return parse_number(p, value);
    if (c == '[') {
        value->kind = VALUE_LIST;
        return true;
    }
    if (c == END || c == '\n' || c == '#' || c == ';')
        return wrong(p, p->line, "there is no value after =");
    return wrong(p, p->line, "expected a \"string\" or a number after =");
}

/* ---- keys ---- */

struct key {
    const char *name;
    bool (*set)(struct parser *p, const struct key *key, const struct value *value);
    size_t      offset;      /* of the member of struct config */
    uint64_t    least, most; /* of a number's value, of a string's length */
    const char *unit;
    const char *note; /* why there is no more, or NULL */
};

static bool wants(struct parser *p, const struct key *key, const char *what)
{
    wrong(p, p->line, "\"");
    say(p, key->name);
    say(p, "\" must be ");
    say(p, what);
    return false;
}

static bool is_string(struct parser *p, const struct key *key, const struct value *value)
{
    return value->kind == VALUE_STRING || wants(p, key, "a string, in quotes");
}

static bool set_number(struct parser *p, const struct key *key, const struct value *value)
{
    uint32_t *member = (uint32_t *)(void *)((char *)p->config + key->offset);

    if (value->kind == VALUE_NUMBER && value->number >= key->least && value->number <= key->most) {
        *member = (uint32_t)value->number;
        return true;
    }
    wants(p, key, "a number");
    say(p, key->unit);
    say(p, ", without quotes, ");
    say_number(p, key->least);
    if (key->most != key->least) {
        say(p, " to ");
        say_number(p, key->most);
    }
    if (value->kind == VALUE_NUMBER) {
        say(p, ", not ");
        say_number(p, value->number);
    }
    if (key->note) {
        say(p, ": ");
        say(p, key->note);
    }
    return false;
}

static bool set_string(struct parser *p, const struct key *key, const struct value *value)
{
    if (!is_string(p, key, value))
        return false;
    if (value->length < key->least)
        return wants(p, key, "something: the string is empty");
    if (value->length > key->most) {
        wants(p, key, "at most ");
        say_number(p, key->most);
        say(p, " characters long");
        return false;
    }
    copy((char *)p->config + key->offset, value->string);
    return true;
}

/* Monitor commands take a name or a number, so a name is not to look like a number. */
static bool set_name(struct parser *p, const struct key *key, const struct value *value)
{
    bool fine = value->kind == VALUE_STRING && is_letter((unsigned char)value->string[0]);

    for (size_t i = 0; fine && i < value->length; i++) {
        int c = (unsigned char)value->string[i];

        fine = is_word(c) || c == '-' || c == '.';
    }
    if (!fine)
        return wants(p, key,
                     "a string that begins with a letter and has only letters, digits, "
                     "_, - and . in it");
    return set_string(p, key, value);
}

static bool set_type(struct parser *p, const struct key *key, const struct value *value)
{
    if (value->kind == VALUE_STRING && same(value->string, "pvh"))
        p->config->type = CONFIG_PVH;
    else if (value->kind == VALUE_STRING && same(value->string, "multiboot"))
        p->config->type = CONFIG_MULTIBOOT;
    else if (value->kind == VALUE_STRING && same(value->string, "pv"))
        p->config->type = CONFIG_PV;
    else
        return wants(p, key, "\"pvh\", \"pv\" or \"multiboot\": no other type is supported so far");
    return true;
}

static bool set_paging(struct parser *p, enum config_paging paging)
{
    if (p->config->paging != CONFIG_PAGING_DEFAULT && p->config->paging != paging)
        return wrong(p, p->line,
                     "\"hap\" and \"paging\" contradict each other: hap=1 is paging=\"nested\", "
                     "hap=0 is paging=\"shadow\"");
    p->config->paging = paging;
    return true;
}

static bool set_paging_word(struct parser *p, const struct key *key, const struct value *value)
{
    if (value->kind == VALUE_STRING && same(value->string, "shadow"))
        return set_paging(p, CONFIG_PAGING_SHADOW);
    if (value->kind == VALUE_STRING && same(value->string, "nested"))
        return set_paging(p, CONFIG_PAGING_NESTED);
    return wants(p, key, "\"shadow\" or \"nested\"");
}

static bool set_hap(struct parser *p, const struct key *key, const struct value *value)
{
    if (value->kind != VALUE_NUMBER || value->number > 1)
        return wants(p, key, "0 (shadow paging) or 1 (nested paging)");
    return set_paging(p, value->number ? CONFIG_PAGING_NESTED : CONFIG_PAGING_SHADOW);
}

/* The longest string that fits into a member, its zero byte aside. */
#define ROOM(member) (sizeof(((struct config *)0)->member) - 1)
#define STRING(key, member, least)                                                                 \
    {                                                                                              \
        key, set_string, offsetof(struct config, member), least, ROOM(member), NULL, NULL          \
    }

/* By name, for the message that lists them. */
static const struct key keys[] = {
    STRING("cmdline", extra, 0),
    { "control", set_number, offsetof(struct config, control), 0, 1, "", NULL },
    { "exit_ok", set_number, offsetof(struct config, exit_ok), 0, UINT32_MAX, "", NULL },
    STRING("extra", extra, 0),
    { "hap", set_hap, 0, 0, 0, NULL, NULL },
    STRING("kernel", kernel, 1),
    { "memory", set_number, offsetof(struct config, memory), 32, 65536, " of MiB", NULL },
    { "name", set_name, offsetof(struct config, name), 1, ROOM(name), NULL, NULL },
    { "paging", set_paging_word, 0, 0, 0, NULL, NULL },
    STRING("ramdisk", ramdisk, 1),
    { "shadow_memory", set_number, offsetof(struct config, shadow_memory), 1, 4096, " of MiB",
      NULL },
    { "type", set_type, 0, 0, 0, NULL, NULL },
    { "vcpus", set_number, offsetof(struct config, vcpus), 1, 1, "", "only 1 is supported so far" },
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static const char *const needed[] = { "name", "type", "kernel", "memory" };

static bool unknown_key(struct parser *p, const char *name)
{
    wrong(p, p->line, "unknown key \"");
    say(p, name);
    say(p, "\" (known:");
    for (size_t k = 0; k < KEYS; k++) {
        say(p, k ? ", " : " ");
        say(p, keys[k].name);
    }
    say(p, ")");
    return false;
}

/* The key that stands here, or NULL with the error said. */
static const struct key *parse_key(struct parser *p)
{
    char   name[33];
    size_t length = 0;

    while (is_word(peek(p))) {
        if (length < sizeof(name) - 1)
            name[length++] = (char)peek(p);
        p->at++;
    }
    name[length] = '\0';
    if (!length) {
        wrong(p, p->line, "expected the name of a key, as in name = \"value\"");
        return NULL;
    }
    for (size_t k = 0; k < KEYS; k++)
        if (same(keys[k].name, name))
            return &keys[k];
    unknown_key(p, name);
    return NULL;
}

/* Notes where the key was given, unless it was before, itself or its other name. */
static bool first_time(struct parser *p, const struct key *key, unsigned *given)
{
    for (size_t k = 0; k < KEYS; k++) {
        /* The keys without a member of their own stand at offset 0 and differ by their setter. */
        if (!given[k] || keys[k].set != key->set || keys[k].offset != key->offset)
            continue;
        wrong(p, p->line, "\"");
        say(p, key->name);
        say(p, &keys[k] == key ? "\" was given before, on line " : "\" says the same as \"");
        if (&keys[k] != key) {
            say(p, keys[k].name);
            say(p, "\" on line ");
        }
        say_number(p, given[k]);
        return false;
    }
    given[key - keys] = p->line;
    return true;
}

static bool parse_statement(struct parser *p, unsigned *given, struct value *value)
{
    const struct key *key = parse_key(p);
    int               c;

    if (!key)
        return false;
    skip_blanks(p);
    if (peek(p) != '=') {
        wrong(p, p->line, "expected = after \"");
        say(p, key->name);
        say(p, "\"");
        return false;
    }
    p->at++;
    skip_blanks(p);
    if (!parse_value(p, value) || !first_time(p, key, given) || !key->set(p, key, value))
        return false;
    skip_blanks(p);
    c = peek(p);
    if (c != END && c != '\n' && c != ';' && c != '#')
        return wrong(p, p->line, "expected the end of the line after the value");
    return true;
}

/* Nothing is accepted that has no effect. */
static bool nothing_idle(struct parser *p, const unsigned *given)
{
    for (size_t k = 0; k < KEYS; k++) {
        bool tables = same(keys[k].name, "paging") || same(keys[k].name, "hap") ||
                      same(keys[k].name, "shadow_memory");

        if (given[k] && tables && p->config->type == CONFIG_PV)
            return wrong(
                p, given[k],
                "\"paging\", \"hap\" and \"shadow_memory\" do not go with type=\"pv\": such "
                "a guest runs on its own tables");
        if (given[k] && same(keys[k].name, "exit_ok") && p->config->type != CONFIG_MULTIBOOT)
            return wrong(p, given[k],
                         "\"exit_ok\" goes with type=\"multiboot\" only: other domains have no "
                         "exit status");
        if (given[k] && same(keys[k].name, "control") && p->config->control != 0 &&
            p->config->type == CONFIG_MULTIBOOT)
            return wrong(p, given[k], "\"control\" goes with type=\"pv\" or \"pvh\"");
    }
    return true;
}

/* The line of a key that was given; 0: it was not. */
static unsigned line_of(const unsigned *given, const char *name)
{
    for (size_t k = 0; k < KEYS; k++)
        if (same(keys[k].name, name))
            return given[k];
    return 0;
}

/* Checked when memory and vCPUs are known, in whatever order they stand. */
static bool pool_large_enough(struct parser *p, const unsigned *given)
{
    const struct config *c = p->config;
    uint32_t             least = pool_minimum_mb(c->memory, c->vcpus);

    if (c->shadow_memory == 0 || c->shadow_memory >= least)
        return true;
    wrong(p, line_of(given, "shadow_memory"), "\"shadow_memory\" must be at least ");
    say_number(p, least);
    say(p, " MiB for ");
    say_number(p, c->memory);
    say(p, " MiB of memory, not ");
    say_number(p, c->shadow_memory);
    return false;
}

static bool nothing_missing(struct parser *p, const unsigned *given)
{
    for (size_t n = 0; n < sizeof(needed) / sizeof(needed[0]); n++)
        for (size_t k = 0; k < KEYS; k++)
            if (!given[k] && same(keys[k].name, needed[n])) {
                wrong(p, 0, "the key \"");
                say(p, needed[n]);
                say(p, "\" is missing");
                return false;
            }
    return true;
}

bool config_parse(const char *text, size_t length, struct config *config,
                  struct config_error *error)
{
    struct parser p = {
        .text = text, .length = length, .line = 1, .config = config, .error = error
    };
    unsigned     given[KEYS] = { 0 };
    struct value value;

    *config = (struct config){ .vcpus = 1 };
    *error = (struct config_error){ 0 };
    for (skip_separators(&p); peek(&p) != END; skip_separators(&p))
        if (!parse_statement(&p, given, &value))
            return false;
    return nothing_missing(&p, given) && nothing_idle(&p, given) && pool_large_enough(&p, given);
}
