/* Words on the command line, as KEY=VALUE, that say what of a long test is run. */
#ifndef TEST_GUESTS_MULTIBOOT_WORDS_H
#define TEST_GUESTS_MULTIBOOT_WORDS_H

#include "test/guests/multiboot/kernel.h"

/* First, while the loader's information can be reached. */
void words_init(const struct multiboot_info *info);
/* The number that follows `key`, or 0. */
unsigned words_number(const char *key);
/* True if the list that follows `key` has this word, or there is no list. */
bool words_listed(const char *key, const char *word);
/* part=K/N: true for every N-th number from K on; for all if nothing is said. */
bool words_part(unsigned number);

#endif
