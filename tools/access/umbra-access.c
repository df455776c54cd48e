/*
 * umbra-access: tells which of its pages a domain accesses, how, and from where; see doc/access.md, or
 * --help. What it says is on its standard output; why it cannot, on the other one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/access/listen.h"

static void end(int signal)
{
    (void)signal;
    listen_ended = 1;
}

static void catch_signals(void)
{
    const struct sigaction action = { .sa_handler = end };

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

static bool read_map(struct symbols *symbols, const char *path, char message[MESSAGE_MAX])
{
    FILE *file = fopen(path, "r");
    bool  read;

    if (!file) {
        snprintf(message, MESSAGE_MAX, "%.160s: %s", path, strerror(errno));
        return false;
    }
    read = symbols_read(symbols, file);
    fclose(file);
    if (!read)
        snprintf(message, MESSAGE_MAX, "%.160s has no lines ADDRESS TYPE NAME", path);
    return read;
}

static bool watch(struct arguments *a, const struct symbols *symbols)
{
    struct guest   guest;
    struct summary summary = { .events = 0 };
    double         seconds = 0;
    bool           well;

    if (!guest_open(&guest, a->domain))
        return false;
    well = guest_resolve(&guest, &a->rules, symbols);
    if (well) {
        well = listen_to(&guest, a, symbols, &summary, &seconds);
        summary_print(&summary, seconds, symbols, stdout);
    }
    summary_free(&summary);
    guest_close(&guest);
    return well;
}

int main(int argc, char **argv)
{
    static struct arguments a;
    struct symbols          symbols = { .count = 0 };
    char                    message[MESSAGE_MAX];
    bool                    well;

    if (!arguments_parse(&a, argc, argv, message) ||
        (!a.help && a.map && !read_map(&symbols, a.map, message))) {
        fprintf(stderr, "umbra-access: %s\numbra-access --help tells more\n", message);
        return 2;
    }
    if (a.help) {
        fputs(arguments_help, stdout);
        return 0;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    catch_signals();
    well = watch(&a, &symbols);
    symbols_free(&symbols);
    return well ? 0 : 1;
}
