/*
 * What a freestanding compiler calls, and the few functions of strings that are used. Blocks
 * are moved by string instructions, eight bytes a step: the processor does the rest.
 *
 * The empty assembler statements keep the compiler from seeing a known function in a loop
 * and calling it, that is: itself.
 */
#include <stdint.h>
#include <string.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    void  *d = to;
    size_t words = n / 8, rest = n % 8;

    __asm__ volatile("rep movsq\n\t"
                     "mov %3, %2\n\t"
                     "rep movsb"
                     : "+D"(d), "+S"(from), "+c"(words)
                     : "r"(rest)
                     : "memory");
    return to;
}

void *memset(void *to, int value, size_t n)
{
    void    *d = to;
    size_t   words = n / 8, rest = n % 8;
    uint64_t fill = (uint8_t)value * UINT64_C(0x0101010101010101);

    __asm__ volatile("rep stosq\n\t"
                     "mov %2, %1\n\t"
                     "rep stosb"
                     : "+D"(d), "+c"(words)
                     : "r"(rest), "a"(fill)
                     : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    const uint8_t *s = (const uint8_t *)from + n;
    uint8_t       *d = (uint8_t *)to + n;

    /* Upwards is safe unless the destination begins inside the source. */
    if ((uintptr_t)to - (uintptr_t)from >= n)
        return memcpy(to, from, n);
    while (n-- > 0) {
        *--d = *--s;
        __asm__ volatile("" ::: "memory");
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;

    for (; n > 0; n--, x++, y++) {
        if (*x != *y)
            return *x < *y ? -1 : 1;
        __asm__ volatile("");
    }
    return 0;
}

void *memchr(const void *p, int c, size_t n)
{
    uint8_t *s = (void *)(uintptr_t)p;

    for (; n > 0; n--, s++) {
        if (*s == (uint8_t)c)
            return s;
        __asm__ volatile("");
    }
    return NULL;
}

size_t strnlen(const char *s, size_t max)
{
    size_t n = 0;

    while (n < max && s[n] != '\0') {
        n++;
        __asm__ volatile("");
    }
    return n;
}

size_t strlen(const char *s)
{
    return strnlen(s, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (; n > 0; n--, a++, b++) {
        if (*a != *b)
            return (uint8_t)*a < (uint8_t)*b ? -1 : 1;
        if (*a == '\0')
            break;
        __asm__ volatile("");
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c)
            return (char *)(uintptr_t)s;
        if (*s == '\0')
            return NULL;
        __asm__ volatile("");
    }
}
