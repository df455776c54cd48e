/* Words on the command line: see words.h. */
#include "test/guests/multiboot/words.h"

static char command_line[256];

static bool begins(const char *text, const char *word)
{
    while (*word)
        if (*text++ != *word++)
            return false;
    return true;
}

/* What follows `key` on the command line, or NULL. */
static const char *argument(const char *key)
{
    for (const char *at = command_line; *at; at++) {
        const char *end = at;

        while (begins(at, key)) {
            while (*end != '=')
                end++;
            return end + 1;
        }
    }
    return NULL;
}

bool words_listed(const char *key, const char *word)
{
    const char *at = argument(key);

    if (!at)
        return true;
    for (; *at && *at != ' '; at++) {
        const char *end = at, *w = word;

        while (*w && *end == *w)
            end++, w++;
        if (!*w && (*end == ',' || *end == ' ' || !*end))
            return true;
        while (*at && *at != ',' && *at != ' ')
            at++;
        if (*at != ',')
            return false;
    }
    return false;
}

static unsigned number(const char **text)
{
    unsigned value = 0;

    for (; **text >= '0' && **text <= '9'; ++*text)
        value = value * 10 + (unsigned)(**text - '0');
    return value;
}

unsigned words_number(const char *key)
{
    const char *at = argument(key);

    return at ? number(&at) : 0;
}

bool words_part(unsigned which)
{
    const char *at = argument("part=");
    unsigned    first, of;

    if (!at)
        return true;
    first = number(&at);
    at += *at == '/';
    of = number(&at);
    return of == 0 || which % of == first % of;
}

void words_init(const struct multiboot_info *info)
{
    const char *text = (const char *)info->command_line;

    for (unsigned i = 0; i < sizeof(command_line) - 1 && text[i]; i++)
        command_line[i] = text[i];
}
