/* The table of the monitor's commands, and how one is found and run. */
#include "hv/monitor.h"

#include "hv/preempt.h"
#include "hv/print.h"

static bool help(const struct monitor_words *w);

static const struct monitor_command commands[] = {
    { "help", "[COMMAND]", "lists the commands, or says what one does", help },
    { "domains", "", "lists the domains: state, vCPUs, memory, kind of paging, time used",
      monitor_domains },
    { "vcpu", "[DOM]", "shows the registers of a domain's vCPUs", monitor_vcpu },
    { "walk", "[DOM] ADDRESS", "walks an address through the guest's tables and ours",
      monitor_walk },
    { "shadow", "[DOM]", "counts what the paging of a domain did, and what is alive",
      monitor_shadow },
    { "pool", "[DOM [MIB]]", "shows the memory for a domain's tables of ours, or sets it",
      monitor_pool },
    { "blow", "DOM", "takes back all that a domain's tables of ours allow: it is built anew",
      monitor_blow },
    { "paging", "[DOM [KIND]]",
      "shows what a domain did under each kind of paging, or changes it; KIND may be `other`",
      monitor_paging },
    { "dirty", "DOM on|off|peek|clean [ranges]",
      "logs which frames a domain writes; shows how many or which; clean forgets them",
      monitor_dirty },
    { "access", "DOM [off | every | once | all RIGHTS | GFN [COUNT] RIGHTS]",
      "tells of accesses to frames that have not these rights: n r w rw x rx wx rwx rx2rw n2rwx "
      "default",
      monitor_access },
    { "exits", "[DOM]", "counts why a domain's vCPUs left the guest, and the ticks it took",
      monitor_exits },
    { "audit", "[DOM]", "checks the invariants of all domains or one, and of the frame table",
      monitor_audit },
    { "trace", "[N | on | off]", "shows the last N records of the trace (32), or switches it",
      monitor_trace },
    { "stretch", "[reset]", "shows the longest time without a preemption point", monitor_stretch },
    { "pause", "[DOM]", "stops a domain until it is unpaused", monitor_pause },
    { "unpause", "[DOM]", "lets a paused domain go on", monitor_unpause },
    { "destroy", "DOM", "ends a domain at once and frees its memory", monitor_destroy },
    { "create", "NAME", "makes the domain of a file that was given at boot, and lets it run",
      monitor_create },
    { "frames", "", "counts what the frames of the machine are used for", monitor_frames },
    { "key", "DOM TEXT...", "types text into a domain's console; \\n \\r \\t \\e \\xHH are keys",
      monitor_key },
    { "quit", "", "destroys all domains and leaves", monitor_quit },
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* The command that a word names; NULL after saying why there is none. */
static const struct monitor_command *find(const char *word)
{
    const char *names[NR_COMMANDS];

    for (unsigned i = 0; i < NR_COMMANDS; i++)
        names[i] = commands[i].name;
    int i = monitor_match(word, names, NR_COMMANDS);

    if (i == MONITOR_UNKNOWN)
        print("%s: unknown command; help lists them\n", word);
    if (i == MONITOR_AMBIGUOUS)
        print("%s: the beginning of more than one command; help lists them\n", word);
    return i < 0 ? NULL : &commands[i];
}

static bool help(const struct monitor_words *w)
{
    if (w->count > 2)
        return monitor_usage(w);
    if (w->count == 2) {
        const struct monitor_command *command = find(w->word[1]);

        if (command)
            print("%s %s\n    %s\n", command->name, command->usage, command->help);
        return command != NULL;
    }
    for (unsigned i = 0; i < NR_COMMANDS; i++)
        print("%-8s %-15s %s\n", commands[i].name, commands[i].usage, commands[i].help);
    print("DOM is a domain's name or number, and may be left out if there is only one.\n"
          "Commands may be shortened, and separated by `;`.\n");
    return true;
}

bool monitor_usage(const struct monitor_words *w)
{
    const struct monitor_command *command = find(w->word[0]);

    if (command)
        print("%s: wrong arguments: expected %s%s%s\n", command->name, command->name,
              command->usage[0] ? " " : "", command->usage);
    return false;
}

struct domain *monitor_domain(const struct monitor_words *w, unsigned i)
{
    struct domain *d;

    if (i < w->count) {
        d = domain_by_name(w->word[i]);
        if (!d)
            print("%s: no domain %s; domains lists them\n", w->word[0], w->word[i]);
        return d;
    }
    if (!domains)
        print("%s: there is no domain\n", w->word[0]);
    else if (domains->next)
        print("%s: which domain? domains lists them\n", w->word[0]);
    else
        return domains;
    return NULL;
}

const char *monitor_state_name(const struct domain *d)
{
    if (d->paused > 0 && d->state == DOMAIN_RUNNING)
        return "paused";
    switch (d->state) {
    case DOMAIN_BUILDING:
        return "building";
    case DOMAIN_RUNNING:
        return "running";
    case DOMAIN_STOPPED:
        return "stopped";
    case DOMAIN_CRASHED:
        return "crashed";
    case DOMAIN_DYING:
        return "dying";
    }
    return "?";
}

static bool run_one(char *command)
{
    struct monitor_words          words;
    const struct monitor_command *found;

    switch (monitor_split(command, &words)) {
    case MONITOR_SPLIT_OK:
        break;
    case MONITOR_SPLIT_MANY:
        print("monitor: more than %u words in a command\n", MONITOR_WORDS_MAX);
        return false;
    case MONITOR_SPLIT_QUOTE:
        print("monitor: a quote is not closed\n");
        return false;
    }
    if (words.count == 0)
        return true;
    found = find(words.word[0]);
    if (!found)
        return false;
    return found->run(&words);
}

bool monitor_run(char *text)
{
    bool  before = monitor_wants_quit(), ok = true;
    char *command;

    preemption_point(this_cpu(), "before a monitor command");
    /* Nothing behind a quit is run. */
    while (monitor_wants_quit() == before && (command = monitor_next(&text)) != NULL) {
        if (!run_one(command))
            ok = false;
    }
    preemption_ignore(this_cpu());
    return ok;
}
