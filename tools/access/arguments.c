#include "tools/access/arguments.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char arguments_help[] =
    "umbra-access DOM [OPTION]...\n"
    "\n"
    "Tells which of its pages a domain accesses, how, and from where. It runs in the control\n"
    "domain. DOM is a domain's number (xl list); $(xl domid NAME) is that of a name.\n"
    "\n"
    "  -w, --watch RANGE RIGHTS [ACTION]  pages of this range have these rights; what they\n"
    "                      forbid is told\n"
    "  --rules FILE        the same for each line RANGE RIGHTS [ACTION] of a file; # begins a\n"
    "                      comment. A later rule goes before an earlier one\n"
    "  --default RIGHTS [ACTION]          the same for all other pages\n"
    "  --map FILE          the kernel's symbols: System.map, or /proc/kallsyms of the guest\n"
    "  --count N           end after N events\n"
    "  --seconds N         end after N seconds\n"
    "  --summary           no lines, only the summary at the end\n"
    "  -h, --help          this\n"
    "\n"
    "RANGE   FIRST, FIRST-LAST or FIRST+COUNT: numbers of frames of 4 KiB (not addresses) as in\n"
    "        C. A PV guest's are the machine's. Or the name of a symbol of the map: the page\n"
    "        that it lies in, found by the guest's own tables.\n"
    "RIGHTS  what is allowed: n (nothing) r w rw x rx wx rwx; rx2rw (the first write makes it\n"
    "        rw, and is not told); n2rwx (the first access is told, and makes it rwx).\n"
    "ACTION  log     each access is told, and carried out; the rights stay\n"
    "        once    the first is told, then the page has all rights\n"
    "        count   as log, but in the summary only\n"
    "        pause   the first is told; the program ends, and the domain stays paused before\n"
    "                that access (xl unpause)\n"
    "\n"
    "Each event is a line: seconds, vCPU, access, frame, offset, the linear address if it is\n"
    "known, and the instruction's address with its symbol. `walk` is an access by the processor\n"
    "on its way through the guest's tables. One event is told of an instruction that accesses\n"
    "several pages watched. The end of the domain, Ctrl-C and SIGTERM end the program as\n"
    "--count does: all pages get all rights, and the summary is printed.\n"
    "\n"
    "    umbra-access 1 -w 0x1000-0x10ff rx -w jiffies rx once --map System.map --seconds 10\n"
    "\n"
    "Exit status: 0 well; 1 the domain or the hypervisor refused; 2 the command line, or a\n"
    "file that it names, is wrong.\n";

struct words {
    int    count, next;
    char **word;
};

static bool wrong(char message[MESSAGE_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool wrong(char message[MESSAGE_MAX], const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vsnprintf(message, MESSAGE_MAX, format, list);
    va_end(list);
    return false;
}

/* The next word, if it is no option; NULL: there is none. */
static const char *take(struct words *w)
{
    return w->next < w->count && w->word[w->next][0] != '-' ? w->word[w->next++] : NULL;
}

/* Up to three words of a rule, as the line of a file would have them. */
static bool parse_watch(struct arguments *a, struct words *w, char message[MESSAGE_MAX])
{
    const char *word[3] = { "", "", "" };
    char        line[512], why[MESSAGE_MAX];

    for (int i = 0; i < 3; i++) {
        const char *next = take(w);
        if (!next)
            break;
        word[i] = next;
    }
    if (!*word[0])
        return wrong(message, "--watch needs RANGE RIGHTS [ACTION]");
    if (snprintf(line, sizeof(line), "%s %s %s", word[0], word[1], word[2]) >= (int)sizeof(line))
        return wrong(message, "--watch: this is too long");
    if (!rules_add(&a->rules, line, why))
        return wrong(message, "--watch %.64s: %.160s", word[0], why);
    return true;
}

static bool parse_default(struct arguments *a, struct words *w, char message[MESSAGE_MAX])
{
    const char  *rights = take(w), *action = rights ? take(w) : NULL;
    char         line[256], why[MESSAGE_MAX];
    struct rules one = { .count = 0 };

    if (!rights)
        return wrong(message, "--default needs RIGHTS [ACTION]");
    snprintf(line, sizeof(line), "0 %s %s", rights, action ? action : "");
    if (!rules_add(&one, line, why))
        return wrong(message, "--default: %.200s", why);
    if (strcmp(rights, "default") == 0)
        return wrong(message, "--default: the rights by default cannot be the default");
    a->has_default = true;
    a->default_rights = one.rule[0].rights;
    a->default_action = one.rule[0].action;
    return true;
}

static bool read_rules(struct arguments *a, const char *path, char message[MESSAGE_MAX])
{
    FILE *file = fopen(path, "r");
    char  line[1024], why[MESSAGE_MAX];
    bool  well = true;

    if (!file)
        return wrong(message, "%.160s: %s", path, strerror(errno));
    for (unsigned number = 1; well && fgets(line, sizeof(line), file); number++)
        if (!rules_add(&a->rules, line, why))
            well = wrong(message, "%.80s:%u: %.160s", path, number, why);
    if (well && ferror(file))
        well = wrong(message, "%.160s: %s", path, strerror(errno));
    fclose(file);
    return well;
}

static bool parse_number(struct words *w, const char *option, uint64_t *number,
                         char message[MESSAGE_MAX])
{
    const char *word = take(w);

    if (!word || !rules_parse_number(word, number) || *number == 0 || *number > UINT32_MAX)
        return wrong(message, "%s needs a number, 1 at least", option);
    return true;
}

static bool parse_option(struct arguments *a, struct words *w, const char *option,
                         char message[MESSAGE_MAX])
{
    const char *word;

    if (strcmp(option, "-w") == 0 || strcmp(option, "--watch") == 0)
        return parse_watch(a, w, message);
    if (strcmp(option, "--default") == 0)
        return parse_default(a, w, message);
    if (strcmp(option, "--count") == 0)
        return parse_number(w, option, &a->count, message);
    if (strcmp(option, "--seconds") == 0)
        return parse_number(w, option, &a->seconds, message);
    if (strcmp(option, "--summary") == 0)
        return a->summary_only = true;
    if (strcmp(option, "--rules") != 0 && strcmp(option, "--map") != 0)
        return wrong(message, "there is no option %.64s", option);
    word = take(w);
    if (!word)
        return wrong(message, "%s needs a file", option);
    if (strcmp(option, "--rules") == 0)
        return read_rules(a, word, message);
    a->map = word;
    return true;
}

static bool check(const struct arguments *a, char message[MESSAGE_MAX])
{
    if (a->rules.count == 0 && !a->has_default)
        return wrong(message, "nothing is to be watched: -w, --rules or --default say what");
    for (unsigned i = 0; i < a->rules.count; i++)
        if (a->rules.rule[i].symbol[0] && !a->map)
            return wrong(message, "%s is a symbol: --map says where it is",
                         a->rules.rule[i].symbol);
    return true;
}

bool arguments_parse(struct arguments *a, int argc, char **argv, char message[MESSAGE_MAX])
{
    struct words w = { .count = argc, .next = 1, .word = argv };
    const char  *domain;
    uint64_t     number;

    *a = (struct arguments){ .default_rights = RIGHTS_RWX };
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return a->help = true;
    domain = take(&w);
    if (!domain || !rules_parse_number(domain, &number) || number == 0 || number >= 0x7ff0)
        return wrong(message, "a domain's number comes first, 1 at least (xl list)");
    a->domain = (uint32_t)number;
    while (w.next < w.count) {
        const char *option = w.word[w.next++];
        if (!parse_option(a, &w, option, message))
            return false;
    }
    return check(a, message);
}
