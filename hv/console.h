/*
 * The serial line, shared by everybody.
 *
 * Output. As long as there is one domain, what it writes goes out as it is. With several,
 * whole lines go out with the domain's name before them; a line that is not finished waits
 * in a bounded buffer for its rest, until that is full or nothing has come for a while. What
 * the hypervisor prints always begins on a line of its own.
 *
 * Input goes to one domain or to the monitor; three Ctrl-A in a row hand it on.
 */
#ifndef HV_CONSOLE_H
#define HV_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

struct domain;

/* ---- output ---- */

/* What print() prints. Works from the first instruction on. */
void console_output(const char *bytes, size_t count);

/* What a guest wrote, by whatever way. */
void console_guest_output(struct domain *d, const char *bytes, size_t count);

/* Prints what of this domain waits for the end of its line. */
void console_flush(struct domain *d);

/* From now on lines of guests are named, since there are several domains. */
void console_name_lines(void);

/* The domain goes: nothing of it is kept. Does nothing the second time. */
void console_forget(struct domain *d);

/* ---- input ---- */

/* The domain has ended: if it had the input, the next one that runs gets it. */
void console_ended(struct domain *d);

/* Hands the input to the first domain (the monitor if there is none), and says so if `announce`. */
void console_start(bool announce);

/*
 * Reads what has come from the line, a bounded amount, and gives it to whom it is for; runs
 * the monitor's commands. Part of the main loop, with no guest running.
 */
void console_poll(void);

#endif
