/*
 * The monitor's console: commands that look at domains and change what they do. A command
 * is typed at the prompt, or comes from the script at a time or at the end.
 */
#ifndef HV_MONITOR_H
#define HV_MONITOR_H

#include "hv/domain.h"
#include "hv/monitor_parse.h"

struct monitor_command {
    const char *name;
    const char *usage;                          /* the arguments: "DOM ADDRESS" */
    const char *help;                           /* one line */
    bool (*run)(const struct monitor_words *w); /* w->word[0] is the name */
};

/*
 * Runs commands separated by ";", in the main loop, with no guest running. Writes over the
 * text. Every one is run; true if all succeeded.
 */
bool monitor_run(char *commands);

/* Someone said quit. */
bool monitor_wants_quit(void);

/* Some audit has found violations, whoever asked for it. */
bool monitor_found_violations(void);

/*
 * For the commands. The domain that word `i` names, or the only one there is if that word
 * is missing; else says what is wrong and returns NULL.
 */
struct domain *monitor_domain(const struct monitor_words *w, unsigned i);

/* Says that the words are wrong and how they should be. Always false. */
bool monitor_usage(const struct monitor_words *w);

const char *monitor_state_name(const struct domain *d);

/* The commands, by file. monitor_show.c: */
bool monitor_domains(const struct monitor_words *w);
bool monitor_vcpu(const struct monitor_words *w);
bool monitor_exits(const struct monitor_words *w);
bool monitor_trace(const struct monitor_words *w);
bool monitor_stretch(const struct monitor_words *w);
/* monitor_memory.c: */
bool monitor_walk(const struct monitor_words *w);
bool monitor_shadow(const struct monitor_words *w);
bool monitor_pool(const struct monitor_words *w);
bool monitor_blow(const struct monitor_words *w);
bool monitor_audit(const struct monitor_words *w);
bool monitor_frames(const struct monitor_words *w);
/* monitor_kind.c: */
bool monitor_paging(const struct monitor_words *w);
/* monitor_access.c: */
bool monitor_access(const struct monitor_words *w);

/* monitor_dirty.c: */
bool monitor_dirty(const struct monitor_words *w);
/* monitor_control.c: */
bool monitor_pause(const struct monitor_words *w);
bool monitor_unpause(const struct monitor_words *w);
bool monitor_destroy(const struct monitor_words *w);
bool monitor_create(const struct monitor_words *w);
bool monitor_key(const struct monitor_words *w);
bool monitor_quit(const struct monitor_words *w);

/* A key of XEN_SYSCTL_debug_keys, pressed by the control domain: some stand for commands. */
void monitor_debug_key(char key);

#endif
