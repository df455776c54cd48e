/*
 * The random driver of the paging core.
 *
 *   soak [--seed N] [--ops N] [--runs N] [--modes 64,off,pae,32,la57] [--pairs N] [--gfns N]
 *        [--vcpus N] [--smp] [--audit N] [--tlbs N] [--save FILE]
 *        [--shrink SECONDS]
 *   soak --replay FILE
 *
 * On failure it prints the seed and the step, and a script made as short as it still fails.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/model/gen.h"
#include "test/model/script.h"

struct options {
    uint64_t           seed, ops, runs;
    unsigned           modes, vcpus, shrink;
    bool               piece;
    struct world_setup setup;
    const char        *save, *replay;
};

static const struct world_setup usual = {
    .gfns = 96,
    .spare = 16,
    .pairs = 256,
    .maxphys = 40,
    .large = true,
    .gb1 = true,
    .audit = 64,
    .tlbs = 8,
};

static uint64_t large(const struct world *w)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < w->vcpus; i++)
        n += w->vcpu[i].hardware.large;
    return n;
}

static void print_counts(const struct world *w, FILE *to)
{
    const struct world_counts *c = &w->counts;
    const struct paging_stats *s = &w->domain.stats;
    uint64_t                   hits = 0;

    for (unsigned i = 0; i < w->vcpus; i++)
        hits += w->vcpu[i].hardware.hits;
    fprintf(to,
            "  accesses: %" PRIu64 " succeeded, #PF: %" PRIu64 " absent %" PRIu64 " denied %" PRIu64
            " fetch %" PRIu64 " reserved; #GP %" PRIu64 "\n",
            c->succeeded, c->absent, c->denied, c->fetch_denied, c->reserved,
            c->general_protection);
    fprintf(to,
            "  core: %" PRIu64 " retried %" PRIu64 " injected %" PRIu64 " emulated %" PRIu64
            " device; %" PRIu64 " writes to tables; TLB hits %" PRIu64 "\n",
            c->retried, c->injected, c->emulated, c->devices, c->tables_written, hits);
    fprintf(to,
            "  stats: made %" PRIu64 " freed %" PRIu64 " protected %" PRIu64 " unshadowed %" PRIu64
            " evicted %" PRIu64 " reclaimed %" PRIu64 " unhooked %" PRIu64 "; audits %" PRIu64
            " TLB checks %" PRIu64 "; pool low %u of %u, %" PRIu64 " pairs taken out\n",
            s->made, s->freed, s->protected_frames, s->unshadowed, s->evicted, s->reclaimed,
            s->unhooked, c->audits, c->tlb_checks, w->domain.pool.low, w->domain.pool.total,
            c->pairs_taken);
    fprintf(to,
            "  log-dirty: %" PRIu64 " operations, %" PRIu64 " pages found written\n"
            "  blown %" PRIu64 " times, %" PRIu64 " tables used again\n"
            "  out of sync: %" PRIu64 " let go (%u at once) %" PRIu64 " synchronised %" PRIu64
            " entries changed; %" PRIu64 " stale accesses; idle after %" PRIu64 " flushes, %" PRIu64
            " took several calls; %" PRIu64 " INVLPG intercepted; %" PRIu64 " writes past guards\n",
            c->ops[OP_DIRTY], c->logged, c->ops[OP_BLOW], s->freshened, s->unsynced,
            c->most_unsynced, s->synced, s->changed, c->stale, c->idle, c->again, c->invlpg_seen,
            c->guarded);
    fprintf(to,
            "  kind of paging changed %" PRIu64 " times, %" PRIu64
            " accesses under nested, %" PRIu64 " nested faults\n",
            c->kinds, c->nested, c->nested_faults);
    fprintf(to,
            "  rights: %" PRIu64 " accesses refused, %" PRIu64 " walks; %" PRIu64
            " promoted, %" PRIu64 " opened for one instruction, %" PRIu64
            " walks told afterwards\n",
            c->refused, c->refused_walks, c->promoted, c->stepped, c->told);
    fprintf(to,
            "  large leaves: %" PRIu64 " translations, %" PRIu64 " tables merged, %" PRIu64
            " leaves split\n",
            large(w), s->merged, s->split);
}

/* A run that saw too little of something proves nothing. */
static bool strong(const struct world *w, const struct options *o)
{
    const struct world_counts *c = &w->counts;
    const struct paging_stats *s = &w->domain.stats;
    uint64_t                   n = w->step;
    const struct {
        uint64_t    count, wanted;
        const char *what;
    } wants[] = {
        { c->succeeded, n / 8, "accesses that succeed" },
        { c->absent, n / 200, "faults on absent entries" },
        { c->denied, n / 400, "faults on rights" },
        { c->fetch_denied, n / 2000, "faults of fetches on rights" },
        { c->reserved, n / 1000, "faults on reserved bits" },
        { c->emulated, n / 200, "emulated writes" },
        { c->tables_written, n / 400, "emulated writes to tables" },
        { c->devices, n / 1000, "accesses to devices" },
        { c->retried, n / 40, "faults that were fixed" },
        { c->ops[OP_CR3], n / 400, "loads of CR3" },
        { c->quick, n / 500, "register writes to a root there was" },
        { c->linked, o->modes & (GEN_64 | GEN_LA57) ? n / 300 : 0,
          "walks from where our links end" },
        { c->ops[OP_P2M] + c->ops[OP_MOVE], n / 1000, "changes of the p2m" },
        { s->made, n / 400, "shadows made" },
        { s->unsynced, n / 1000, "tables let out of sync" },
        { s->synced, n / 1000, "tables synchronised" },
        { s->changed, n / 500, "entries changed meanwhile" },
        { c->stale, n / 10000, "accesses by what tables said before" },
        { c->idle, o->setup.pairs > WORLD_POOL + 10 ? n / 20000 : 0,
          "register writes that left idle tables" },
        { c->invlpg_seen, n / 2000, "INVLPGs intercepted" },
        { c->guarded, n / 40000, "writes past guards, all seen" },
        { c->ops[OP_BLOW], n / 2000, "blows" },
        { c->ops[OP_DIRTY], n / 2000, "operations of log-dirty" },
        { c->logged, n / 200, "pages that log-dirty found written" },
        { s->freshened, n / 2000, "tables used again after a blow" },
        { c->kinds, n / 5000, "changes of the kind of paging" },
        { c->nested, n / 100, "accesses under nested paging" },
        { c->pairs_taken, o->setup.pairs > WORLD_POOL ? n / 20000 : 0,
          "pairs taken out of the pool" },
        { c->refused, n / 6000, "accesses refused by the monitor" },
        { c->refused_walks, n / 12000, "walks refused by the monitor" },
        { c->promoted, n / 60000, "rights promoted" },
        { c->stepped, n / 100000, "frames opened for one instruction" },
        { c->told, n / 200000, "walks that have written" },
        { large(w), o->setup.large ? n / 5000 : 0, "translations by large leaves" },
        { s->merged, o->setup.large ? n / 40000 : 0, "tables merged into a large leaf" },
        { s->split, o->setup.large ? n / 40000 : 0, "large leaves split" },
        { s->reclaimed + s->unhooked, o->setup.pairs <= 100 ? n / 20000 : 0,
          "reclaims under pressure" },
    };
    bool good = true;

    if (n < 20000 || o->modes == GEN_OFF)
        return true;
    for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++) {
        if (wants[i].count >= wants[i].wanted)
            continue;
        fprintf(stderr, "soak: weak generator: %" PRIu64 " %s, wanted %" PRIu64 "\n",
                wants[i].count, wants[i].what, wants[i].wanted);
        good = false;
    }
    return good;
}

static void report(struct script *s, const struct options *o, uint64_t seed)
{
    struct script_result r;
    FILE                *save = o->save != NULL ? fopen(o->save, "w") : NULL;

    fprintf(stderr, "last operations:\n");
    script_print(s, s->count > 12 ? s->count - 12 : 0, stderr);
    s->setup.audit = s->setup.tlbs = 1;
    if (script_run_apart(s, true).failed) {
        script_shrink(s, o->shrink);
    } else {
        s->setup = o->setup; /* more checks hide it */
        script_shrink(s, o->shrink);
    }
    r = script_run_apart(s, false);
    fprintf(stderr, "# seed %" PRIu64 ", as short as it fails (%zu operations): step %zu: %s\n",
            seed, s->count, r.step, r.why);
    script_print(s, 0, stderr);
    if (save != NULL) {
        script_print(s, 0, save);
        fclose(save);
    }
}

/* What the child that runs leaves behind, however it ends. */
struct trace {
    size_t    count;
    uint64_t  step;
    bool      good, weak;
    char      why[512];
    struct op op[];
};

static void run_here(const struct options *o, uint64_t seed, struct trace *t)
{
    struct world *w = world_create(&o->setup);
    struct gen    g = {
           .world = w, .modes = o->modes, .vcpus = o->vcpus, .piece = o->piece, .seed = seed
    };

    strcpy(t->why, "it crashed or did not end");
    while (t->count < o->ops && gen_next(&g, &t->op[t->count]) && world_do(w, &t->op[t->count++]))
        continue;
    t->good = w->failure[0] == '\0' && world_check(w) && world_finish(w);
    memcpy(t->why, w->failure, sizeof(t->why));
    printf("soak: seed %" PRIu64 ": %" PRIu64 " operations%s%s\n", seed, w->step,
           t->good ? ", the worlds agree" : ": ", w->failure);
    print_counts(w, stdout);
    t->weak = t->good && !strong(w, o);
    world_free(w);
    fflush(stdout);
}

/* A crash of the core must not take the script with it: a child runs. */
static bool run_once(const struct options *o, uint64_t seed)
{
    size_t        size = sizeof(struct trace) + (o->ops + 1) * sizeof(struct op);
    struct trace *t = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct script s = { .setup = o->setup };
    bool          good;
    pid_t         child;

    if (t == MAP_FAILED)
        abort();
    fflush(stdout);
    child = fork();
    if (child == 0) {
        run_here(o, seed, t);
        exit(0);
    }
    if (child < 0 || waitpid(child, NULL, 0) != child)
        abort();
    good = t->good && !t->weak;
    if (!t->good) {
        fprintf(stderr, "soak: seed %" PRIu64 " step %zu: %s\n", seed, t->count, t->why);
        for (size_t i = 0; i < t->count; i++)
            script_add(&s, &t->op[i]);
        report(&s, o, seed);
        free(s.op);
    }
    munmap(t, size);
    return good;
}

static unsigned modes_of(const char *text)
{
    static const struct {
        const char *name;
        unsigned    flag;
    } names[] = {
        { "64", GEN_64 },
        { "off", GEN_OFF },
        { "pae", GEN_PAE },
        { "32", GEN_32 },
        { "la57", GEN_LA57 },
        { "all", GEN_OFF | GEN_64 | GEN_PAE | GEN_32 }, /* our tables have four levels at most */
    };
    unsigned modes = 0;

    while (*text != '\0') {
        size_t length = strcspn(text, ",");
        bool   known = false;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (strlen(names[i].name) == length && strncmp(text, names[i].name, length) == 0) {
                modes |= names[i].flag;
                known = true;
            }
        if (!known) {
            fprintf(stderr, "soak: unknown mode: %s\n", text);
            exit(2);
        }
        text += length + (text[length] == ',');
    }
    return modes;
}

static void parse_number(struct options *o, const char *name, const char *text)
{
    uint64_t value = strtoull(text, NULL, 0);
    const struct {
        const char *name;
        uint64_t   *wide;
        unsigned   *narrow;
    } numbers[] = {
        { "--seed", &o->seed, NULL },
        { "--ops", &o->ops, NULL },
        { "--runs", &o->runs, NULL },
        { "--pairs", NULL, &o->setup.pairs },
        { "--gfns", NULL, &o->setup.gfns },
        { "--vcpus", NULL, &o->vcpus },
        { "--audit", NULL, &o->setup.audit },
        { "--tlbs", NULL, &o->setup.tlbs },
        { "--maxphys", NULL, &o->setup.maxphys },
        { "--shrink", NULL, &o->shrink },
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (strcmp(name, numbers[i].name) == 0) {
            if (numbers[i].wide != NULL)
                *numbers[i].wide = value;
            else
                *numbers[i].narrow = (unsigned)value;
            return;
        }
    fprintf(stderr, "soak: unknown option %s\n", name);
    exit(2);
}

static void parse_options(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];

        if (strcmp(name, "--smp") == 0) {
            o->setup.smp = true;
        } else if (strcmp(name, "--no-large") == 0) {
            o->setup.large = false;
        } else if (strcmp(name, "--piece") == 0) {
            o->piece = true;
        } else if (i + 1 >= argc) {
            fprintf(stderr, "soak: %s needs a value\n", name);
            exit(2);
        } else if (strcmp(name, "--modes") == 0) {
            o->modes = modes_of(argv[++i]);
        } else if (strcmp(name, "--save") == 0) {
            o->save = argv[++i];
        } else if (strcmp(name, "--replay") == 0) {
            o->replay = argv[++i];
        } else {
            parse_number(o, name, argv[++i]);
        }
    }
    if (o->setup.pairs > 500 || o->setup.gfns > 256 || o->setup.gfns < 80 ||
        o->vcpus > WORLD_VCPUS || o->vcpus == 0 || o->modes == 0) {
        fprintf(stderr, "soak: 80 to 256 gfns, at most 500 pairs, 1 or 2 vcpus, some mode\n");
        exit(2);
    }
}

static int replay(const char *file)
{
    struct script        s = { .setup = usual };
    FILE                *from = fopen(file, "r");
    struct script_result r;

    if (from == NULL || !script_parse(&s, from)) {
        fprintf(stderr, "soak: cannot read %s\n", file);
        return 2;
    }
    fclose(from);
    r = script_run(&s);
    if (r.failed)
        fprintf(stderr, "soak: step %zu: %s\n", r.step, r.why);
    else
        printf("soak: %zu operations, the worlds agree\n", s.count);
    free(s.op);
    return r.failed;
}

int main(int argc, char **argv)
{
    struct options o = {
        .seed = 1,
        .ops = 50000,
        .runs = 1,
        .modes = GEN_64 | GEN_OFF,
        .vcpus = 1,
        .shrink = 60,
        .setup = usual,
    };
    bool good = true;

    parse_options(&o, argc, argv);
    if (o.replay != NULL)
        return replay(o.replay);
    for (uint64_t i = 0; i < o.runs && good; i++)
        good = run_once(&o, o.seed + i);
    return !good;
}
