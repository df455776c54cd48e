/* Formatted output to the console, and the panic that ends everything. */
#include "hv/print.h"

#include "hv/console.h"
#include "hv/machine.h"

/* Longer output is cut, and says so. */
#define LINE_MAX  512
#define CUT_SHORT " [...]\n"

void print(const char *fmt, ...)
{
    char    line[LINE_MAX];
    va_list args;
    int     length;

    va_start(args, fmt);
    length = format_string_va(line, sizeof(line), fmt, args);
    va_end(args);
    if (length < (int)sizeof(line)) {
        console_output(line, (size_t)length);
        return;
    }
    console_output(line, sizeof(line) - 1);
    console_output(CUT_SHORT, sizeof(CUT_SHORT) - 1);
}

void panic(const char *fmt, ...)
{
    /* On no stack, since what is left of it may be little; the machine stops here anyway. */
    static char text[LINE_MAX];
    static char message[LINE_MAX];
    va_list     args;

    va_start(args, fmt);
    format_string_va(text, sizeof(text), fmt, args);
    va_end(args);
    format_string(message, sizeof(message), "umbra: panic: %s", text);
    machine_panic_registers(message);
}
