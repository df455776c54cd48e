/* Scripts: see script.h. */
#include "test/model/script.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const names[OP_KINDS] = {
    [OP_READ] = "read",         [OP_WRITE] = "write",       [OP_FETCH] = "fetch",
    [OP_CMPXCHG] = "cmpxchg",   [OP_CR0] = "cr0",           [OP_CR3] = "cr3",
    [OP_CR4] = "cr4",           [OP_EFER] = "efer",         [OP_INVLPG] = "invlpg",
    [OP_P2M] = "p2m",           [OP_UNSHADOW] = "unshadow", [OP_WORK] = "work",
    [OP_POKE] = "poke",         [OP_REACH] = "reach",       [OP_VIEW] = "view",
    [OP_IMPLICIT] = "implicit", [OP_POOL] = "pool",         [OP_GUARD] = "guard",
    [OP_BLOW] = "blow",         [OP_KIND] = "kind",         [OP_BLOCK] = "block",
    [OP_DIRTY] = "dirty",       [OP_MOVE] = "move",         [OP_RIGHTS] = "rights",
};

#define SETUP "setup gfns=%u spare=%u pairs=%u maxphys=%u large=%u gb1=%u smp=%u audit=%u tlbs=%u\n"

void script_add(struct script *s, const struct op *op)
{
    if (s->count == s->room) {
        s->room = s->room * 2 + 1024;
        s->op = realloc(s->op, s->room * sizeof(*s->op));
        if (s->op == NULL)
            abort();
    }
    s->op[s->count++] = *op;
}

void script_print(const struct script *s, size_t first, FILE *to)
{
    const struct world_setup *u = &s->setup;

    fprintf(to, SETUP, u->gfns, u->spare, u->pairs, u->maxphys, u->large, u->gb1, u->smp, u->audit,
            u->tlbs);
    for (size_t i = first; i < s->count; i++) {
        const struct op *o = &s->op[i];

        fprintf(to,
                "%s vcpu=%u acc=%s%s%s%s.%u len=%u va=%#" PRIx64 " value=%#" PRIx64 " old=%#" PRIx64
                "\n",
                names[o->kind], o->vcpu, o->acc & ACC_WRITE ? "w" : "",
                o->acc & ACC_USER ? "u" : "", o->acc & ACC_FETCH ? "f" : "",
                o->acc & ACC_AC ? "a" : "", o->acc, o->length, o->va, o->value, o->old);
    }
}

static bool parse_op(const char *line, struct op *op)
{
    char     name[16];
    unsigned vcpu, acc, length;

    if (sscanf(line,
               "%15s vcpu=%u acc=%*[wufa.]%u len=%u va=%" SCNx64 " value=%" SCNx64 " old=%" SCNx64,
               name, &vcpu, &acc, &length, &op->va, &op->value, &op->old) != 7)
        return false;
    op->vcpu = (uint8_t)vcpu;
    op->acc = (uint8_t)acc;
    op->length = (uint8_t)length;
    for (op->kind = 0; op->kind < OP_KINDS; op->kind++)
        if (strcmp(name, names[op->kind]) == 0)
            return length >= 1 && length <= 8;
    return false;
}

bool script_parse(struct script *s, FILE *from)
{
    char                line[256];
    unsigned            number = 0, large, gb1, smp;
    struct world_setup *u = &s->setup;
    struct op           op;

    while (fgets(line, sizeof(line), from) != NULL) {
        number++;
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (sscanf(line, SETUP, &u->gfns, &u->spare, &u->pairs, &u->maxphys, &large, &gb1, &smp,
                   &u->audit, &u->tlbs) == 9) {
            u->large = large;
            u->gb1 = gb1;
            u->smp = smp;
        } else if (parse_op(line, &op)) {
            script_add(s, &op);
        } else {
            fprintf(stderr, "line %u: no operation: %s", number, line);
            return false;
        }
    }
    return true;
}

struct script_result script_run(const struct script *s)
{
    struct script_result result = { .failed = false };
    struct world        *w = world_create(&s->setup);

    for (size_t i = 0; i < s->count && world_do(w, &s->op[i]); i++)
        continue;
    if (w->failure[0] != '\0' || !world_check(w) || !world_finish(w)) {
        result.failed = true;
        result.step = w->step;
        memcpy(result.why, w->failure, sizeof(result.why));
    }
    world_free(w);
    return result;
}

struct script_result script_run_apart(const struct script *s, bool quiet)
{
    struct script_result *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct script_result result;
    pid_t                child;
    int                  status = 0;

    if (shared == MAP_FAILED)
        abort();
    child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);

        if (quiet && null >= 0)
            dup2(null, 2);
        alarm(30);
        strcpy(shared->why, "it crashed or did not end");
        shared->failed = true;
        *shared = script_run(s);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        abort();
    result = *shared;
    munmap(shared, sizeof(*shared));
    return result;
}

/* Is it still failing without these? */
static bool try_without(struct script *s, size_t first, size_t count)
{
    struct script less = { .setup = s->setup, .count = s->count - count };

    less.op = malloc((less.count + 1) * sizeof(*less.op));
    if (less.op == NULL)
        abort();
    memcpy(less.op, s->op, first * sizeof(*s->op));
    memcpy(less.op + first, s->op + first + count, (s->count - first - count) * sizeof(*s->op));

    struct script_result r = script_run_apart(&less, true);

    if (r.failed) {
        if (r.step > 0 && r.step < less.count)
            less.count = r.step;
        memcpy(s->op, less.op, less.count * sizeof(*s->op));
        s->count = less.count;
    }
    free(less.op);
    return r.failed;
}

void script_shrink(struct script *s, unsigned seconds)
{
    time_t end = time(NULL) + (time_t)seconds;
    size_t chunk = s->count / 2;

    for (; chunk > 0; chunk = chunk == 1 ? 0 : (chunk + 1) / 2) {
        bool again = true;

        while (again) {
            again = false;
            for (size_t i = 0; i + chunk <= s->count;) {
                if (time(NULL) >= end)
                    return;
                if (try_without(s, i, chunk))
                    again = chunk <= 2; /* what is left may now do without more */
                else
                    i += chunk;
            }
        }
    }
}
