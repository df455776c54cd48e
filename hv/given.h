/*
 * What was given with the hypervisor at boot: the files of domains with their kernels, from which
 * domains are made then and later. A module's string is its file's name and then what it is:
 *
 *     config N             the text of domain N's file
 *     kernel N [N...]      the kernel of these domains, an ELF file
 *     ramdisk N [N...]     their ramdisk
 *     script               see script.h
 */
#ifndef HV_GIVEN_H
#define HV_GIVEN_H

#include "hv/domain.h"
#include "hv/script.h"

/* The next word of a text; false at its end. And whether a word is this one. */
must_check bool given_word(const char **at, struct script_text *word);
must_check bool given_word_is(struct script_text word, const char *name);

/*
 * The first module with this role, for domain `n`; a negative `n` asks for the role alone. NULL:
 * there is none.
 */
const struct machine_module *given_module(const char *role, int n);

/* Reads the files of all domains; how many. Does not return if one is wrong. */
unsigned given_read(const struct script *script);

/* The number of the file that says this name; false: there is none. */
must_check bool given_find(const char *name, unsigned *n);

/* Makes domain `n`, paused; NULL after saying why it cannot be built. */
must_check struct domain *given_create(unsigned n);

#endif
