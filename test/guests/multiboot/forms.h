/*
 * Instructions that write memory, each a function that supervisor and user can call. They find
 * in EDX where to write, load what they need from form_value, and leave their registers and
 * flags in form_result.
 */
#ifndef TEST_GUESTS_MULTIBOOT_FORMS_H
#define TEST_GUESTS_MULTIBOOT_FORMS_H

#include "test/guests/multiboot/kernel.h"

#define FORM_RESULTS 7u
#define FORM_SEVERAL 0x80000000u /* several writes: an exception may leave some of them done */

struct form {
    uint32_t name, code; /* addresses */
    uint32_t wide;       /* 64-bit code */
    uint32_t flags;      /* those of EFLAGS that it defines or leaves; and FORM_SEVERAL */
};

extern const struct form forms[], forms_end[];
/* On pages that users reach, from forms_first to forms_last, the two tables among them. */
extern uint8_t  forms_first[], forms_last[];
extern uint8_t  form_value[32];
extern uint8_t  form_tables[2 * 4096]; /* what is written to: page tables... */
extern uint8_t  form_plain[2 * 4096];  /* ...and memory */
extern uint32_t form_result[FORM_RESULTS];

#endif
