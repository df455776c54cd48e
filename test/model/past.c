/* What the guest's memory said before: see past.h. */
#include "test/model/past.h"

#include <stdlib.h>

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

struct past *past_create(uint32_t pages)
{
    struct past *past = must(calloc(1, sizeof(*past)));

    past->page = must(calloc(pages, sizeof(*past->page)));
    past->pages = pages;
    return past;
}

void past_free(struct past *past)
{
    for (uint32_t i = 0; i < past->pages; i++)
        free(past->page[i].value);
    free(past->page);
    free(past);
}

void past_replaced(void *to, uint32_t page, unsigned word, uint64_t value)
{
    struct past      *past = to;
    struct past_page *p = &past->page[page];

    if (p->count == p->room) {
        p->room = p->room * 2 + 16;
        p->value = must(realloc(p->value, p->room * sizeof(*p->value)));
    }
    p->value[p->count++] = (struct past_value){ value, ++past->now, word };
}

unsigned past_values(const struct past *past, uint32_t page, unsigned word, uint64_t since,
                     uint64_t values[PAST_VALUES])
{
    const struct past_page *p = &past->page[page];
    unsigned                n = 0;

    for (unsigned i = p->count; i > 0 && p->value[i - 1].until > since && n < PAST_VALUES; i--)
        if (p->value[i - 1].word == word)
            values[n++] = p->value[i - 1].value;
    return n;
}

uint64_t past_since(const struct past *past, uint32_t page, unsigned word, uint64_t now,
                    uint64_t mask)
{
    const struct past_page *p = &past->page[page];

    for (unsigned i = p->count; i > 0; i--)
        if (p->value[i - 1].word == word && ((p->value[i - 1].value ^ now) & mask) != 0)
            return p->value[i - 1].until;
    return 0;
}

void past_forget(struct past *past, uint64_t before)
{
    for (uint32_t i = 0; i < past->pages; i++) {
        struct past_page *p = &past->page[i];
        unsigned          n = 0;

        for (unsigned k = 0; k < p->count; k++)
            if (p->value[k].until > before)
                p->value[n++] = p->value[k];
        p->count = n;
    }
}

void past_flush_all(struct past *past, struct past_flushes *flushes)
{
    flushes->all = ++past->now;
    flushes->count = 0;
}

void past_flush_page(struct past *past, struct past_flushes *flushes, uint64_t va)
{
    unsigned i = 0;

    while (i < flushes->count && flushes->one[i].page != va >> 12)
        i++;
    if (i == flushes->room) {
        flushes->room = flushes->room * 2 + 16;
        flushes->one = must(realloc(flushes->one, flushes->room * sizeof(*flushes->one)));
    }
    if (i == flushes->count)
        flushes->count++;
    flushes->one[i].page = va >> 12;
    flushes->one[i].time = ++past->now;
}

uint64_t past_flushed(const struct past_flushes *flushes, uint64_t va)
{
    for (unsigned i = 0; i < flushes->count; i++)
        if (flushes->one[i].page == va >> 12)
            return flushes->one[i].time;
    return flushes->all;
}
