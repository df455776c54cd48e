/* Output on the console, and the two ways to stop: panic (our bug) and domain_crash (the guest's). */
#ifndef HV_PRINT_H
#define HV_PRINT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* %c %s %d %i %u %x %X %p %% with -, 0, width, .precision, h, hh, l, ll, z. Returns the length it would have. */
int format_string(char *out, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int format_string_va(char *out, size_t size, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));

/* Prints on the console as the hypervisor. A line of the hypervisor's own starts with "umbra: ". */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

_Noreturn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Our bug; stays in release builds. Never on anything a guest can influence. */
#define BUG_ON(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!!(cond), 0))                                                         \
            panic("bug: %s at %s:%d", #cond, __FILE__, __LINE__);                                  \
    } while (0)

#endif
