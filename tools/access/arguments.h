/* The command line of umbra-access, and its help. */
#ifndef TOOLS_ACCESS_ARGUMENTS_H
#define TOOLS_ACCESS_ARGUMENTS_H

#include "tools/access/rules.h"

struct arguments {
    bool         help, summary_only;
    uint32_t     domain;
    struct rules rules;
    bool         has_default;
    uint8_t      default_rights;
    enum action  default_action;
    const char  *map;            /* NULL: no symbols */
    uint64_t     count, seconds; /* 0: without end */
};

extern const char arguments_help[];

/*
 * Reads the command line, and the files of rules that it names. False, with a message that begins with
 * FILE:LINE for what stands in a file, if it is wrong.
 */
bool arguments_parse(struct arguments *a, int argc, char **argv, char message[MESSAGE_MAX]);

#endif
