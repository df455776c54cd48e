/*
 * The script: what the host's tool asks of the hypervisor besides domains. A module of text
 * with one thing a line:
 *
 *     batch                 nobody is at the terminal
 *     name N FILE           what the file of configuration N is called, for messages
 *     end COMMANDS          monitor commands for when every domain has stopped
 *     at SECONDS COMMANDS   once, so long after the start; a decimal fraction is allowed
 *     every MS COMMANDS     again and again
 *
 * Empty lines and lines that begin with # say nothing. Pure: the texts stay in the module.
 */
#ifndef HV_SCRIPT_H
#define HV_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paging/frame.h"

#define SCRIPT_COMMANDS_MAX 32
#define SCRIPT_NAMES_MAX    32
#define SCRIPT_LINE_MAX     512 /* of the commands of a line */

enum script_when { SCRIPT_AT, SCRIPT_EVERY, SCRIPT_END };

struct script_text {
    const char *start; /* not terminated */
    size_t      length;
};

struct script_command {
    enum script_when   when;
    uint64_t           ns; /* after the start, or between two */
    struct script_text text;
};

struct script {
    bool                  batch;
    unsigned              nr_commands;
    struct script_command command[SCRIPT_COMMANDS_MAX];
    struct script_text    name[SCRIPT_NAMES_MAX]; /* by N; length 0: not given */
};

struct script_error {
    unsigned    line; /* from 1 */
    const char *what; /* what was wrong and what was expected */
};

/* False: `error` says where and why, and the script is not to be used. */
must_check bool script_parse(const char *text, size_t length, struct script *script,
                             struct script_error *error);

/* Copies a text and ends it; false, with as much as fits, if it is too long. */
bool script_copy(struct script_text text, char *to, size_t size);

#endif
