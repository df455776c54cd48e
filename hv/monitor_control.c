/* Monitor commands that change what domains do. */
#include "hv/build.h"
#include "hv/console.h"
#include "hv/given.h"
#include "hv/monitor.h"
#include "hv/preempt.h"
#include "hv/print.h"
#include "hv/ring.h"

#define KEYS_MAX 512

static bool wants_quit;

bool monitor_wants_quit(void)
{
    return wants_quit;
}

bool monitor_pause(const struct monitor_words *w)
{
    if (w->count > 2)
        return monitor_usage(w);
    struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    if (d->state != DOMAIN_RUNNING || d->paused > 0) {
        print("pause: %s is %s already\n", d->name, monitor_state_name(d));
        return false;
    }
    domain_pause(d);
    return true;
}

bool monitor_unpause(const struct monitor_words *w)
{
    if (w->count > 2)
        return monitor_usage(w);
    struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    if (d->state != DOMAIN_RUNNING || d->paused == 0) {
        print("unpause: %s is not paused but %s\n", d->name, monitor_state_name(d));
        return false;
    }
    domain_unpause(d);
    return true;
}

bool monitor_destroy(const struct monitor_words *w)
{
    if (w->count != 2)
        return monitor_usage(w);
    struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    if (d->state == DOMAIN_DYING) {
        print("destroy: %s is dying already\n", d->name);
        return false;
    }
    ring_console_finish(d);
    domain_destroy(d);
    console_ended(d);
    return true;
}

/* The one of that name that is dying goes first: what comes after may need its memory. */
static void await_end(struct domain *d)
{
    bool gone;

    do {
        gone = domain_destroy_step(d);
        preemption_point(this_cpu(), "destruction");
    } while (!gone);
}

bool monitor_create(const struct monitor_words *w)
{
    struct domain *d;
    unsigned       n;

    if (w->count != 2)
        return monitor_usage(w);
    if (!given_find(w->word[1], &n)) {
        print("create: no file that was given at boot has the name %s\n", w->word[1]);
        return false;
    }
    d = domain_by_name(w->word[1]);
    if (d && d->state != DOMAIN_DYING) {
        print("create: %s is there: destroy it first\n", d->name);
        return false;
    }
    preemption_ignore(this_cpu());
    if (d)
        await_end(d);
    d = given_create(n);
    if (!d)
        return false;
    print("create: %s is domain %u; %lu frames were free\n", d->name, d->id, d->build_frames);
    domain_unpause(d);
    return true;
}

/* Puts the words from the third on together again, one blank between two; false if too long. */
static bool join(const struct monitor_words *w, char *text, size_t size)
{
    size_t at = 0;

    for (unsigned i = 2; i < w->count; i++) {
        for (const char *from = i > 2 ? " " : ""; *from && at < size; from++)
            text[at++] = *from;
        for (const char *from = w->word[i]; *from && at < size; from++)
            text[at++] = *from;
    }
    if (at == size)
        return false;
    text[at] = '\0';
    return true;
}

bool monitor_key(const struct monitor_words *w)
{
    char   text[KEYS_MAX];
    size_t length, done;

    if (w->count < 3)
        return monitor_usage(w);
    struct domain *d = monitor_domain(w, 1);

    if (!d)
        return false;
    if (!join(w, text, sizeof(text))) {
        print("key: expected less than %u characters\n", KEYS_MAX);
        return false;
    }
    if (!monitor_unescape(text, &length)) {
        print("key: unknown escape: expected \\n \\r \\t \\e \\\\ \\\" or \\xHH\n");
        return false;
    }
    done = d->state == DOMAIN_RUNNING ? ring_console_type(d, text, length) : 0;
    if (done < length)
        print("key: %s took only %lu of %lu characters\n", d->name, done, length);
    return done == length;
}

bool monitor_quit(const struct monitor_words *w)
{
    if (w->count != 1)
        return monitor_usage(w);
    wants_quit = true;
    return true;
}

void monitor_debug_key(char key)
{
    static const struct {
        char        key;
        const char *command;
    } keys[] = { { 'h', "help" }, { 'q', "domains" }, { 'e', "exits" }, { 's', "stretch" } };

    for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char   text[16]; /* a monitor command is taken apart in place */
        size_t n = 0;

        if (keys[i].key != key)
            continue;
        do
            text[n] = keys[i].command[n];
        while (keys[i].command[n++] != '\0');
        print("umbra: key '%c' stands for %s\n", key, keys[i].command);
        (void)monitor_run(text);
        return;
    }
    print("umbra: key '%c' is none of h (help), q (domains), e (exits), s (stretch)\n",
          key >= ' ' && key <= '~' ? key : '?');
}
