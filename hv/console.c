/*
 * The serial line, shared. Whoever's characters stand on the unfinished line under the
 * cursor owns that line; anybody else begins a new one first. See console.h.
 */
#include "hv/console.h"

#include "hv/alloc.h"
#include "hv/conring.h"
#include "hv/control.h"
#include "hv/domain.h"
#include "hv/monitor.h"
#include "hv/print.h"
#include "hv/ring.h"

#define LINE_MAX   512                 /* of a guest's unfinished line that is kept */
#define QUIET_NS   UINT64_C(100000000) /* until an unfinished line is shown */
#define POLL_MAX   16                  /* characters read from the line at a time */
#define CTRL(c)    ((c)&0x1f)
#define SWITCH_KEY CTRL('A')
#define SWITCH_RUN 3
#define DELETE     0x7f

/* What of a domain's output waits for its end of line, when lines are named. */
struct channel {
    struct domain  *domain;
    struct channel *next;
    struct timer    quiet;
    unsigned        used;
    char            line[LINE_MAX];
};

static struct channel *channels;
static bool            named;

/* The line under the cursor. */
static bool        dirty; /* something stands on it */
static const void *owner; /* a domain, or one of these two: */
static const char  owner_hypervisor[1], owner_prompt[1];

static struct domain *focus;       /* who has the input; NULL: the monitor */
static bool           announced;   /* somebody is at the terminal */
static unsigned       switch_keys; /* how many in a row have come */
static char           edit[256];   /* what is typed at the monitor's prompt */
static unsigned       edit_used;
static struct timer   redraw; /* of the prompt, after somebody has printed over it */

static void put(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        machine_serial_put(bytes[i]);
    if (count > 0)
        dirty = bytes[count - 1] != '\n';
}

static void put_text(const char *text)
{
    size_t n = 0;

    while (text[n] != '\0')
        n++;
    put(text, n);
}

/* Makes the line under the cursor belong to `who`. */
static void take_line(const void *who)
{
    if (dirty && owner != who)
        put("\n", 1);
    owner = who;
    if (announced && !focus && who != owner_prompt)
        timer_set(&redraw, machine_now() + QUIET_NS);
}

void console_output(const char *bytes, size_t count)
{
    take_line(owner_hypervisor);
    put(bytes, count);
    conring_put(bytes, count);
}

/* ---- guests' output ---- */

static void channel_flush(struct channel *ch)
{
    timer_cancel(&ch->quiet);
    if (ch->used == 0)
        return;
    take_line(ch->domain);
    if (!dirty) {
        put_text(ch->domain->name);
        put("| ", 2);
    }
    put(ch->line, ch->used);
    ch->used = 0;
}

static void channel_quiet(void *channel)
{
    channel_flush(channel);
}

/* The domain's channel, made when it first prints; NULL when memory is short. */
static struct channel *channel_of(struct domain *d)
{
    struct channel *ch = channels;

    while (ch && ch->domain != d)
        ch = ch->next;
    if (ch)
        return ch;
    ch = alloc_bytes(sizeof(*ch));
    if (!ch)
        return NULL;
    ch->domain = d;
    ch->quiet.run = channel_quiet;
    ch->quiet.arg = ch;
    ch->next = channels;
    channels = ch;
    return ch;
}

static void channel_put(struct channel *ch, char c)
{
    if (c == '\r') /* it would lead back over the name */
        return;
    ch->line[ch->used++] = c;
    if (c == '\n' || ch->used == LINE_MAX)
        channel_flush(ch);
}

void console_guest_output(struct domain *d, const char *bytes, size_t count)
{
    if (count == 0)
        return;
    if (!named) {
        take_line(d);
        put(bytes, count);
        return;
    }
    struct channel *ch = channel_of(d);

    for (size_t i = 0; ch && i < count; i++)
        channel_put(ch, bytes[i]);
    if (ch && ch->used > 0)
        timer_set(&ch->quiet, machine_now() + QUIET_NS);
}

void console_flush(struct domain *d)
{
    for (struct channel *ch = channels; ch; ch = ch->next) {
        if (ch->domain == d)
            channel_flush(ch);
    }
}

void console_name_lines(void)
{
    named = true;
}

void console_forget(struct domain *d)
{
    if (focus == d)
        focus = NULL;
    for (struct channel **at = &channels; *at; at = &(*at)->next) {
        struct channel *ch = *at;

        if (ch->domain != d)
            continue;
        channel_flush(ch);
        *at = ch->next;
        free_bytes(ch, sizeof(*ch));
        break;
    }
    /* Another domain may get this one's address. */
    if (owner == d)
        take_line(owner_hypervisor);
}

/* ---- input ---- */

static void show_prompt(void)
{
    take_line(owner_prompt);
    put_text("umbra> ");
    put(edit, edit_used);
}

static void redraw_prompt(void *unused)
{
    (void)unused;
    if (!focus && owner != owner_prompt)
        show_prompt();
}

static void set_focus(struct domain *d)
{
    focus = d;
    edit_used = 0;
    if (announced)
        print("*** input to %s (Ctrl-A three times to switch)\n", d ? d->name : "the monitor");
    if (!d)
        show_prompt();
}

/* The first of this domain and those behind it in the list that can take input. */
static struct domain *first_live(struct domain *d)
{
    while (d && d->state != DOMAIN_RUNNING)
        d = d->next;
    return d;
}

void console_start(bool announce)
{
    announced = announce;
    redraw.run = redraw_prompt;
    focus = first_live(domains);
    if (announce)
        set_focus(focus);
}

void console_ended(struct domain *d)
{
    struct domain *other = first_live(domains);

    console_flush(d);
    if (focus == d && other)
        set_focus(other);
}

static void prompt_enter(void)
{
    char     line[sizeof(edit) + 1];
    unsigned used = edit_used;

    for (unsigned i = 0; i < used; i++)
        line[i] = edit[i];
    line[used] = '\0';
    edit_used = 0;
    put("\n", 1);
    (void)monitor_run(line);
    if (!focus && !monitor_wants_quit())
        show_prompt();
}

static void prompt_key(char c)
{
    if (owner != owner_prompt)
        show_prompt();
    if (c == '\r' || c == '\n') {
        prompt_enter();
    } else if (c == '\b' || c == DELETE) {
        if (edit_used > 0) {
            edit_used--;
            put("\b \b", 3);
        }
    } else if (c == CTRL('U') || c == CTRL('C')) {
        edit_used = 0;
        put("\n", 1);
        show_prompt();
    } else if (c >= ' ' && edit_used < sizeof(edit)) {
        edit[edit_used++] = c;
        put(&c, 1);
    }
}

static void deliver(char c)
{
    if (!focus)
        prompt_key(c);
    else if (domain_is_control(focus))
        (void)control_type(focus, &c, 1); /* lost if nobody reads, as on any line */
    else if (focus->platform)
        (void)machine_platform_type(focus, c);
    else
        (void)ring_console_type(focus, &c, 1);
}

static void key(char c)
{
    if (c == SWITCH_KEY) {
        if (++switch_keys == SWITCH_RUN) {
            switch_keys = 0;
            set_focus(first_live(focus ? focus->next : domains));
        }
        return;
    }
    for (; switch_keys > 0; switch_keys--)
        deliver(SWITCH_KEY); /* they were meant for the reader after all */
    deliver(c);
}

void console_poll(void)
{
    uint32_t *pending = &this_cpu()->pending;

    __atomic_fetch_and(pending, ~(uint32_t)PENDING_SERIAL, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < POLL_MAX; i++) {
        int c = machine_serial_get();

        if (c < 0)
            return;
        key((char)c);
        if (monitor_wants_quit())
            return;
    }
    __atomic_fetch_or(pending, PENDING_SERIAL, __ATOMIC_SEQ_CST); /* there may be more */
}
