/*
 * The trace ring. One processor writes it with interrupts off, so that a plain counter
 * will do; the counter never wraps in practice and its low bits are the slot.
 */
#include "hv/trace.h"

#include "hv/domain.h"
#include "hv/machine.h"

_Static_assert((TRACE_RECORDS & (TRACE_RECORDS - 1)) == 0, "the slot is a mask of the counter");

bool trace_enabled;

static struct trace_record records[TRACE_RECORDS];
static uint64_t            written;

static const struct trace_shape {
    const char *name, *word[3];
} shapes[TRACE_KINDS] = {
    [TRACE_EXIT] = { "exit", { "code", "rip", "info" } },
    [TRACE_FAULT] = { "fault", { "va", "acc", "rip" } },
    [TRACE_VERDICT] = { "verdict", { "kind", "gpa", "pfec" } },
    [TRACE_INJECT] = { "inject", { "vector", "error", "cr2" } },
    [TRACE_HYPERCALL] = { "hypercall", { "nr", "arg", "result" } },
    [TRACE_EVENT] = { "event", { "port", NULL, NULL } },
    [TRACE_SWITCH] = { "switch", { "waited", NULL, NULL } },
    [TRACE_DOMAIN] = { "domain", { "id", "state", NULL } },
};

void trace_write(enum trace_kind kind, const struct vcpu *v, uint64_t a, uint64_t b, uint64_t c)
{
    records[written++ & (TRACE_RECORDS - 1)] = (struct trace_record){
        .ticks = machine_ticks(),
        .a = a,
        .b = b,
        .c = c,
        .domain = v ? v->domain->id : TRACE_NOBODY,
        .vcpu = v ? (uint8_t)v->id : 0,
        .kind = (uint8_t)kind,
    };
}

unsigned trace_count(void)
{
    return written < TRACE_RECORDS ? (unsigned)written : TRACE_RECORDS;
}

struct trace_record trace_newest(unsigned i)
{
    return records[(written - 1 - i) & (TRACE_RECORDS - 1)];
}

const char *trace_kind_name(enum trace_kind kind)
{
    return shapes[kind].name;
}

const char *trace_word_name(enum trace_kind kind, unsigned i)
{
    return shapes[kind].word[i];
}
