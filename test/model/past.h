/*
 * What the guest's memory said before: a processor may use a translation that its tables gave
 * at some moment since the last flush that covers the address. APM vol. 2, 5.5.2; SDM vol. 3A,
 * 4.10.4.3.
 *
 * Time counts writes and flushes. Each word of eight bytes, aligned, has the values that were
 * replaced, with the time; each processor has the time of its last flush of everything, and of
 * the pages that it flushed one by one since.
 */
#ifndef TEST_MODEL_PAST_H
#define TEST_MODEL_PAST_H

#include <stdbool.h>
#include <stdint.h>

#define PAST_VALUES 64 /* of one word that are looked at, the latest */

struct past_value {
    uint64_t value, until; /* the time at which it was replaced */
    unsigned word;
};

struct past_page {
    struct past_value *value; /* [count], the oldest first */
    unsigned           count, room;
};

struct past {
    struct past_page *page; /* [pages] */
    uint32_t          pages;
    uint64_t          now;
};

/* The flushes of one processor. */
struct past_flushes {
    uint64_t all; /* time of the last flush of everything */
    struct {
        uint64_t page, time; /* linear address >> 12 */
    } * one;                 /* [count], since then */
    unsigned count, room;
};

struct past *past_create(uint32_t pages);
void         past_free(struct past *past);

/* Word `word` of this page is about to be replaced; its value was `value`. `past`: struct past. */
void past_replaced(void *past, uint32_t page, unsigned word, uint64_t value);

/* Values that were replaced after `since`, the latest first, at most PAST_VALUES; how many. */
unsigned past_values(const struct past *past, uint32_t page, unsigned word, uint64_t since,
                     uint64_t values[PAST_VALUES]);

/* Since when this word has had, under `mask`, the value it has now; 0: always, as far as known. */
uint64_t past_since(const struct past *past, uint32_t page, unsigned word, uint64_t now,
                    uint64_t mask);

/* Forgets what was replaced at `before` or earlier. */
void past_forget(struct past *past, uint64_t before);

void past_flush_all(struct past *past, struct past_flushes *flushes);
void past_flush_page(struct past *past, struct past_flushes *flushes, uint64_t va);
/* The time of the last flush that covers this address. */
uint64_t past_flushed(const struct past_flushes *flushes, uint64_t va);

#endif
