/* A PC's clock and its memory; see dev_cmos.h. */
#include "x86/dev_cmos.h"

enum {
    SECONDS = 0x00,
    MINUTES = 0x02,
    HOURS = 0x04,
    WEEKDAY = 0x06, /* Sunday is 1 */
    DAY = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    STATUS_A = 0x0a,
    STATUS_B = 0x0b,
    STATUS_C = 0x0c,
    STATUS_D = 0x0d,
    BASE_KIB = 0x15, /* low byte, high byte; so are those below */
    ABOVE_1M_KIB = 0x17,
    ABOVE_1M_KIB_AGAIN = 0x30,
    CENTURY = 0x32,
    ABOVE_16M_64KIB = 0x34,
};

#define STATUS_A_RATE  0x26 /* 32768 Hz, and no update goes on */
#define STATUS_B_24    0x02
#define STATUS_D_VALID 0x80

#define DAY_S    86400u
#define MIB      (UINT64_C(1) << 20)
#define BASE_640 640u

struct date {
    unsigned year, month, day;
};

/*
 * Days since 1970 to a date of the Gregorian calendar. Years begin in March, so that a leap
 * day is the last of its year; 400 of them have 146097 days.
 */
static struct date date_of(uint64_t days)
{
    uint64_t since = days + 719468; /* 1 March of the year 0 */
    unsigned era_day = (unsigned)(since % 146097);
    unsigned year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    unsigned year_day = era_day - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * year_day + 2) / 153;
    unsigned day = year_day - (153 * month + 2) / 5 + 1;

    year += (unsigned)(since / 146097) * 400;
    return month < 10 ? (struct date){ year, month + 3, day }
                      : (struct date){ year + 1, month - 9, day };
}

static uint8_t bcd(uint64_t value)
{
    return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

static uint8_t byte_of(uint64_t value, unsigned high)
{
    if (value > 0xffff)
        value = 0xffff;
    return (uint8_t)(value >> 8 * high);
}

static uint8_t read_clock(uint8_t index, uint64_t seconds)
{
    uint64_t    days = seconds / DAY_S, rest = seconds % DAY_S;
    struct date date = date_of(days);

    switch (index) {
    case SECONDS:
        return bcd(rest % 60);
    case MINUTES:
        return bcd(rest / 60 % 60);
    case HOURS:
        return bcd(rest / 3600);
    case WEEKDAY:
        return bcd((days + 4) % 7 + 1); /* 1 January 1970 was a Thursday */
    case DAY:
        return bcd(date.day);
    case MONTH:
        return bcd(date.month);
    case YEAR:
        return bcd(date.year % 100);
    case CENTURY:
        return bcd(date.year / 100);
    default:
        return 0;
    }
}

uint8_t cmos_read(uint8_t index, uint64_t seconds, uint64_t memory)
{
    uint64_t above_1m = memory > MIB ? (memory - MIB) >> 10 : 0;
    uint64_t above_16m = memory > 16 * MIB ? (memory - 16 * MIB) >> 16 : 0;

    switch (index) {
    case STATUS_A:
        return STATUS_A_RATE;
    case STATUS_B:
        return STATUS_B_24;
    case STATUS_D:
        return STATUS_D_VALID;
    case BASE_KIB ... BASE_KIB + 1:
        return byte_of(BASE_640, index - BASE_KIB);
    case ABOVE_1M_KIB ... ABOVE_1M_KIB + 1:
        return byte_of(above_1m, index - ABOVE_1M_KIB);
    case ABOVE_1M_KIB_AGAIN ... ABOVE_1M_KIB_AGAIN + 1:
        return byte_of(above_1m, index - ABOVE_1M_KIB_AGAIN);
    case ABOVE_16M_64KIB ... ABOVE_16M_64KIB + 1:
        return byte_of(above_16m, index - ABOVE_16M_64KIB);
    default:
        return read_clock(index, seconds);
    }
}
