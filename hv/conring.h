/*
 * What the hypervisor has printed, the last of it: the control domain reads it by XEN_SYSCTL_readconsole and
 * is told by VIRQ_CON_RING. Characters have numbers from 0 on, modulo 2^32; the last CONRING_SIZE are kept.
 */
#ifndef HV_CONRING_H
#define HV_CONRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONRING_SIZE 16384u

/* Appends. Works from the first instruction on. */
void conring_put(const char *bytes, size_t count);

/* The oldest character that is kept, and the next that comes. */
uint32_t conring_first(void);
uint32_t conring_next(void);

/* Copies up to `count` characters from number `from` on, which is moved past them; how many. */
size_t conring_read(uint32_t *from, char *to, size_t count);

/* Forgets what came before this number. */
void conring_clear(uint32_t until);

/* True once after something was appended. */
bool conring_changed(void);

#endif
