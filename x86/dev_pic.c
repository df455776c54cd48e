/* A pair of 8259A; see dev_pic.h. ICW and OCW: the data sheet's initialisation and operation
 * command words. */
#include "x86/dev_pic.h"

#define CASCADE  2 /* the line of the first that the second hangs on */
#define SPURIOUS 7

#define ICW1         0x10
#define ICW1_ICW4    0x01
#define ICW1_SINGLE  0x02
#define ICW4_AUTO    0x02
#define ICW4_NESTED  0x10
#define OCW3         0x08
#define OCW3_READ    0x02 /* bit 0 says which register */
#define OCW3_ISR     0x01
#define OCW3_POLL    0x04
#define OCW3_SPECIAL 0x40 /* bit 5 says whether on or off */
#define OCW3_MASK    0x20

/* OCW2, bits 7 to 5 */
enum {
    OCW2_ROTATE_AUTO_OFF,
    OCW2_EOI,
    OCW2_NOTHING,
    OCW2_EOI_LINE,
    OCW2_ROTATE_AUTO_ON,
    OCW2_ROTATE_EOI,
    OCW2_SET_PRIORITY,
    OCW2_ROTATE_EOI_LINE,
};

#define ELCR_VALID_1 0xf8 /* timer, keyboard and cascade are edges always */
#define ELCR_VALID_2 0xde /* so are the clock and the coprocessor */

/* How far the line is from the highest priority: 0 is that; 8 if no bit is set. */
static unsigned priority(const struct pic_chip *c, uint8_t lines)
{
    unsigned p = 0;

    if (lines == 0)
        return 8;
    while (!(lines >> ((c->lowest + 1 + p) & 7) & 1))
        p++;
    return p;
}

static unsigned line_of(const struct pic_chip *c, unsigned p)
{
    return (c->lowest + 1 + p) & 7;
}

/* The line that is to be served now, -1 if there is none. */
static int served_next(const struct pic_chip *c, bool first)
{
    unsigned request = priority(c, c->irr & (uint8_t)~c->imr);
    unsigned service = priority(c, c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr);

    /* The second one's lines have priorities among them that the first does not see. */
    if (request == service && request < 8 && first && c->special_nested &&
        line_of(c, request) == CASCADE)
        return CASCADE;
    return request < service ? (int)line_of(c, request) : -1;
}

static void set_chip_line(struct pic_chip *c, unsigned line, bool up)
{
    uint8_t bit = (uint8_t)(1u << line);

    if (c->elcr & bit)
        c->irr = up ? c->irr | bit : c->irr & (uint8_t)~bit;
    else if (up && !(c->line & bit))
        c->irr |= bit;
    c->line = up ? c->line | bit : c->line & (uint8_t)~bit;
}

/*
 * The second one's output is a line of the first, and drops its request with it: the first
 * must not remember an edge whose cause was masked meanwhile.
 */
static void update_cascade(struct pic *pic)
{
    bool up = served_next(&pic->chip[1], false) >= 0;

    if (!up)
        pic->chip[0].irr &= (uint8_t) ~(1u << CASCADE);
    set_chip_line(&pic->chip[0], CASCADE, up);
}

void pic_init(struct pic *pic)
{
    *pic = (struct pic){ .chip = {
                             { .base = 0x08, .imr = 0xb8, .lowest = 7 },
                             { .base = 0x70, .imr = 0x8f, .lowest = 7 },
                         } };
}

void pic_set_line(struct pic *pic, unsigned line, bool up)
{
    set_chip_line(&pic->chip[line >> 3 & 1], line & 7, up);
    update_cascade(pic);
}

bool pic_masked(const struct pic *pic, unsigned line)
{
    if (line & 8)
        return (pic->chip[1].imr >> (line & 7) & 1) || (pic->chip[0].imr >> CASCADE & 1);
    return pic->chip[0].imr >> (line & 7) & 1;
}

bool pic_pending(const struct pic *pic)
{
    return served_next(&pic->chip[0], true) >= 0;
}

/* The line goes into service; with automatic EOI it has left again already. */
static void serve(struct pic_chip *c, unsigned line)
{
    uint8_t bit = (uint8_t)(1u << line);

    if (!(c->elcr & bit))
        c->irr &= (uint8_t)~bit;
    if (!c->auto_eoi)
        c->isr |= bit;
    else if (c->rotate_auto)
        c->lowest = (uint8_t)line;
}

/* The vector that this chip puts out: that of line 7 if there is nothing to be served. */
static unsigned acknowledge_chip(struct pic_chip *c, bool first)
{
    int line = served_next(c, first);

    if (line < 0)
        return SPURIOUS;
    serve(c, (unsigned)line);
    return (unsigned)line;
}

uint8_t pic_acknowledge(struct pic *pic)
{
    struct pic_chip *c = &pic->chip[0];
    unsigned         line = acknowledge_chip(c, true);

    if (line == CASCADE) {
        /* The request is the second one's output, which may stay up for another line. */
        c = &pic->chip[1];
        line = acknowledge_chip(c, false);
        pic->chip[0].line &= (uint8_t) ~(1u << CASCADE);
    }
    update_cascade(pic);
    return (uint8_t)(c->base + line);
}

/* ---- ports ---- */

static void end_of_interrupt(struct pic_chip *c, unsigned line, bool rotate)
{
    c->isr &= (uint8_t) ~(1u << line);
    if (rotate)
        c->lowest = (uint8_t)line;
}

static void command(struct pic_chip *c, uint8_t value)
{
    unsigned top = priority(c, c->isr), line = value & 7;

    switch (value >> 5) {
    case OCW2_ROTATE_AUTO_OFF:
    case OCW2_ROTATE_AUTO_ON:
        c->rotate_auto = value >> 5 == OCW2_ROTATE_AUTO_ON;
        break;
    case OCW2_EOI:
    case OCW2_ROTATE_EOI:
        if (top < 8)
            end_of_interrupt(c, line_of(c, top), value >> 5 == OCW2_ROTATE_EOI);
        break;
    case OCW2_EOI_LINE:
    case OCW2_ROTATE_EOI_LINE:
        end_of_interrupt(c, line, value >> 5 == OCW2_ROTATE_EOI_LINE);
        break;
    case OCW2_SET_PRIORITY:
        c->lowest = (uint8_t)line;
        break;
    default:
        break;
    }
}

/* The lines are looked at anew: level-triggered ones that are up request again. */
static void initialise(struct pic_chip *c, uint8_t icw1)
{
    uint8_t line = c->line, elcr = c->elcr, base = c->base;

    *c = (struct pic_chip){
        .line = line,
        .elcr = elcr,
        .base = base,
        .irr = line & elcr,
        .lowest = 7,
        .step = 2,
        .single = icw1 & ICW1_SINGLE,
        .wants_icw4 = icw1 & ICW1_ICW4,
    };
}

static void write_command(struct pic_chip *c, uint8_t value)
{
    if (value & ICW1) {
        initialise(c, value);
    } else if (value & OCW3) {
        if (value & OCW3_POLL)
            c->poll = true;
        if (value & OCW3_READ)
            c->read_isr = value & OCW3_ISR;
        if (value & OCW3_SPECIAL)
            c->special_mask = value & OCW3_MASK;
    } else {
        command(c, value);
    }
}

static void write_data(struct pic_chip *c, uint8_t value)
{
    switch (c->step) {
    case 2:
        c->base = value & 0xf8;
        c->step = !c->single ? 3 : c->wants_icw4 ? 4 : 0;
        break;
    case 3: /* the wiring is what it is */
        c->step = c->wants_icw4 ? 4 : 0;
        break;
    case 4:
        c->auto_eoi = value & ICW4_AUTO;
        c->special_nested = value & ICW4_NESTED;
        c->step = 0;
        break;
    default:
        c->imr = value;
        break;
    }
}

void pic_write(struct pic *pic, unsigned which, unsigned port, uint8_t value)
{
    struct pic_chip *c = &pic->chip[which & 1];

    if (port & 1)
        write_data(c, value);
    else
        write_command(c, value);
    update_cascade(pic);
}

/* A poll is an acknowledgement by the processor's own hand; it does not go down the cascade. */
static uint8_t poll(struct pic *pic, unsigned which)
{
    struct pic_chip *c = &pic->chip[which];
    int              line = served_next(c, which == 0);

    c->poll = false;
    if (line < 0)
        return 0;
    serve(c, (unsigned)line);
    update_cascade(pic);
    return (uint8_t)(0x80 | line);
}

uint8_t pic_read(struct pic *pic, unsigned which, unsigned port)
{
    struct pic_chip *c = &pic->chip[which & 1];

    if (c->poll)
        return poll(pic, which & 1);
    if (port & 1)
        return c->imr;
    return c->read_isr ? c->isr : c->irr;
}

uint8_t pic_read_elcr(const struct pic *pic, unsigned which)
{
    return pic->chip[which & 1].elcr;
}

void pic_write_elcr(struct pic *pic, unsigned which, uint8_t value)
{
    pic->chip[which & 1].elcr = value & (which & 1 ? ELCR_VALID_2 : ELCR_VALID_1);
}
