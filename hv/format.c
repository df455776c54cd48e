/*
 * Formatted text, as C11 7.21.6.1 has it, for the conversions and flags that print.h names.
 * Output that does not fit is cut, and always ended by a zero byte. An unknown conversion is
 * put out as it stands, and the rest of the format with it, since its argument is unknown.
 */
#include <stdbool.h>

#include "hv/print.h"

struct output {
    char  *out;
    size_t size;   /* of out, 0 allowed */
    size_t length; /* what it would be */
};

struct conversion {
    bool     left;    /* flag - */
    bool     zero;    /* flag 0 */
    bool     precise; /* a precision is given */
    unsigned width;
    unsigned precision;
    unsigned bytes; /* size of an integer argument */
};

/* Wider fields are a mistake in a format, not something to print. */
#define WIDTH_MAX 1024u

static void put(struct output *o, char c)
{
    if (o->length + 1 < o->size)
        o->out[o->length] = c;
    o->length++;
}

static void pad(struct output *o, char c, size_t count)
{
    while (count-- > 0)
        put(o, c);
}

static void put_text(struct output *o, const struct conversion *c, const char *s, size_t length)
{
    size_t blanks = c->width > length ? c->width - length : 0;

    if (!c->left)
        pad(o, ' ', blanks);
    for (size_t i = 0; i < length; i++)
        put(o, s[i]);
    if (c->left)
        pad(o, ' ', blanks);
}

static void put_string(struct output *o, const struct conversion *c, const char *s)
{
    size_t length = 0;

    if (s == NULL)
        s = "(null)";
    while ((!c->precise || length < c->precision) && s[length] != '\0')
        length++;
    put_text(o, c, s, length);
}

/* `prefix` is put before the digits and the zeros that fill up: a sign, or 0x, or nothing. */
static void put_number(struct output *o, const struct conversion *c, uint64_t value, unsigned base,
                       const char *letters, const char *prefix)
{
    char   digits[20]; /* of 2^64 - 1 in base 10 */
    size_t count = 0, zeros = 0, blanks = 0, used = 0;

    while (value != 0) {
        digits[count++] = letters[value % base];
        value /= base;
    }
    while (prefix[used] != '\0')
        used++;
    if (!c->precise && count == 0)
        zeros = 1;
    if (c->precise && c->precision > count)
        zeros = c->precision - count;
    used += zeros + count;
    if (c->width > used)
        blanks = c->width - used;
    if (c->zero && !c->left && !c->precise) {
        zeros += blanks;
        blanks = 0;
    }
    if (!c->left)
        pad(o, ' ', blanks);
    for (; *prefix != '\0'; prefix++)
        put(o, *prefix);
    pad(o, '0', zeros);
    while (count > 0)
        put(o, digits[--count]);
    if (c->left)
        pad(o, ' ', blanks);
}

static unsigned parse_number(const char **fmt)
{
    unsigned n = 0;

    for (; **fmt >= '0' && **fmt <= '9'; (*fmt)++)
        if (n < WIDTH_MAX)
            n = n * 10 + (unsigned)(**fmt - '0');
    return n < WIDTH_MAX ? n : WIDTH_MAX;
}

static unsigned parse_size(const char **fmt)
{
    if (**fmt == 'h') {
        (*fmt)++;
        if (**fmt != 'h')
            return sizeof(short);
        (*fmt)++;
        return sizeof(char);
    }
    if (**fmt == 'z') {
        (*fmt)++;
        return sizeof(size_t);
    }
    if (**fmt != 'l')
        return sizeof(int);
    (*fmt)++;
    if (**fmt == 'l')
        (*fmt)++;
    return sizeof(long);
}

/* From behind the % to the conversion's letter. */
static struct conversion parse(const char **fmt)
{
    struct conversion c = { 0 };

    for (; **fmt == '-' || **fmt == '0'; (*fmt)++)
        *(**fmt == '-' ? &c.left : &c.zero) = true;
    c.width = parse_number(fmt);
    if (**fmt == '.') {
        (*fmt)++;
        c.precise = true;
        c.precision = parse_number(fmt);
    }
    c.bytes = parse_size(fmt);
    return c;
}

static uint64_t to_unsigned(uint64_t value, unsigned bytes)
{
    unsigned unused = 64 - bytes * 8;

    return value << unused >> unused;
}

static int64_t to_signed(uint64_t value, unsigned bytes)
{
    unsigned unused = 64 - bytes * 8;

    return (int64_t)(value << unused) >> unused;
}

static void put_signed(struct output *o, const struct conversion *c, int64_t value)
{
    uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;

    put_number(o, c, magnitude, 10, "0123456789", value < 0 ? "-" : "");
}

int format_string_va(char *out, size_t size, const char *fmt, va_list args)
{
    struct output o = { out, size, 0 };

    while (*fmt != '\0') {
        const char       *percent = fmt;
        struct conversion c;
        char              letter;

        if (*fmt++ != '%') {
            put(&o, *percent);
            continue;
        }
        c = parse(&fmt);
        letter = *fmt;
        if (letter == 'c') {
            put_text(&o, &c, &(char){ (char)va_arg(args, int) }, 1);
        } else if (letter == 's') {
            put_string(&o, &c, va_arg(args, const char *));
        } else if (letter == 'p') {
            put_number(&o, &c, (uint64_t)va_arg(args, void *), 16, "0123456789abcdef", "0x");
        } else if (letter == '%') {
            put(&o, '%');
        } else if (letter == 'd' || letter == 'i' || letter == 'u' || letter == 'x' ||
                   letter == 'X') {
            uint64_t raw = c.bytes > sizeof(int) ? va_arg(args, uint64_t) : va_arg(args, unsigned);

            if (letter == 'd' || letter == 'i')
                put_signed(&o, &c, to_signed(raw, c.bytes));
            else
                put_number(&o, &c, to_unsigned(raw, c.bytes), letter == 'u' ? 10 : 16,
                           letter == 'X' ? "0123456789ABCDEF" : "0123456789abcdef", "");
        } else {
            for (; *percent != '\0'; percent++)
                put(&o, *percent);
            break;
        }
        fmt++;
    }
    if (size > 0)
        out[o.length < size ? o.length : size - 1] = '\0';
    return (int)o.length;
}

int format_string(char *out, size_t size, const char *fmt, ...)
{
    va_list args;
    int     length;

    va_start(args, fmt);
    length = format_string_va(out, size, fmt, args);
    va_end(args);
    return length;
}
