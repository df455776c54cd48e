/*
 * The pair of 8259A interrupt controllers of a PC (Intel's data sheet 231468), whose second
 * hangs on line 2 of the first. A pure machine: lines and register accesses in, one line to
 * the processor out.
 *
 * The request register keeps an edge until it is acknowledged or the controller is
 * initialised, also when the line falls before: what came while a line was masked is not
 * lost. Lines that ELCR makes level-triggered request as long as they are up.
 */
#ifndef X86_DEV_PIC_H
#define X86_DEV_PIC_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/frame.h"

#define PIC_LINES 16

struct pic_chip {
    uint8_t irr, isr, imr;
    uint8_t line;   /* as the lines are now */
    uint8_t elcr;   /* level-triggered lines */
    uint8_t base;   /* vector of line 0 */
    uint8_t lowest; /* the line of the lowest priority; rotation moves it */
    uint8_t step;   /* of the initialisation: 0 none, 2 to 4 the word that comes next */
    bool    single, wants_icw4;
    bool    auto_eoi, rotate_auto, special_mask, special_nested;
    bool    read_isr, poll;
};

struct pic {
    struct pic_chip chip[2];
};

/* As a PC's firmware leaves it: vectors 8 and 70h, timer and keyboard not masked. */
void pic_init(struct pic *pic);

/* Ports: `which` is 0 for those at 20h and 1 for those at a0h; `port` is 0 or 1. */
uint8_t pic_read(struct pic *pic, unsigned which, unsigned port);
void    pic_write(struct pic *pic, unsigned which, unsigned port, uint8_t value);
uint8_t pic_read_elcr(const struct pic *pic, unsigned which);
void    pic_write_elcr(struct pic *pic, unsigned which, uint8_t value);

void pic_set_line(struct pic *pic, unsigned line, bool up);
/* Is the line masked at all that lies on its way? */
must_check bool pic_masked(const struct pic *pic, unsigned line);

/* The line to the processor, and what the processor does when it takes the interrupt. */
must_check bool pic_pending(const struct pic *pic);
uint8_t         pic_acknowledge(struct pic *pic);

#endif
