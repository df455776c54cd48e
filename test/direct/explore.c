#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEXES   2 /* entries of each frame that requests name: 0 and 1 */
#define DEPTH_MAX 600
#define TABLE     (1ul << 22) /* room for states; at most half of it is used */

#define DRAIN EXPLORE_MENU /* as a choice */

enum { IDLE, ACTING, WAITING };

/* All that makes a state: what is not here never changes. */
struct state {
    struct frame          frame[6];
    uint64_t              entry[6][INDEXES];
    struct direct_machine machine;
    struct direct_domain  domain;
    struct direct_vcpu    vcpu[2];
    struct tlb            tlb[2];
    mfn_t                 loaded[2][2];
    bool                  ticking[2];
    uint32_t              tick[2];
    uint8_t               mood[2], turns[2], choice[2], cuts, flushes;
    uint8_t               down; /* the teardown has come to its end */
    uint8_t               nothing[7];
};

struct explorer {
    const struct small_world *small;
    struct world              world;
    struct state              now;
    uint64_t                 *seen; /* two words a state, 0 is empty */
    unsigned long             limit;
    struct explored          *result;
    unsigned                  depth;
    char                      action[DEPTH_MAX][32];
};

/* ---- states ---- */

static void save(struct explorer *e)
{
    struct state *s = &e->now;
    struct world *w = &e->world;

    memcpy(s->frame, w->frame, e->small->frames * sizeof(s->frame[0]));
    for (unsigned f = 0; f < e->small->frames; f++)
        for (unsigned i = 0; i < INDEXES; i++)
            s->entry[f][i] = *world_entry(w, f, i);
    s->machine = w->machine;
    s->domain = w->domain[0];
    memcpy(s->vcpu, w->vcpu, sizeof(s->vcpu));
    memcpy(s->tlb, w->tlb, sizeof(s->tlb));
    memcpy(s->loaded, w->loaded, sizeof(s->loaded));
    memcpy(s->ticking, w->ticking, sizeof(s->ticking));
    memcpy(s->tick, w->tick, sizeof(s->tick));
}

static void restore(struct explorer *e, const struct state *s)
{
    struct world *w = &e->world;

    e->now = *s;
    memcpy(w->frame, s->frame, e->small->frames * sizeof(s->frame[0]));
    for (unsigned f = 0; f < e->small->frames; f++)
        for (unsigned i = 0; i < INDEXES; i++)
            *world_entry(w, f, i) = s->entry[f][i];
    w->machine = s->machine;
    w->domain[0] = s->domain;
    memcpy(w->vcpu, s->vcpu, sizeof(s->vcpu));
    memcpy(w->tlb, s->tlb, sizeof(s->tlb));
    memcpy(w->loaded, s->loaded, sizeof(s->loaded));
    memcpy(w->ticking, s->ticking, sizeof(s->ticking));
    memcpy(w->tick, s->tick, sizeof(s->tick));
}

/* Leaves out what no later step reads, so that equal states look equal. */
static void forget_leftovers(struct direct_vcpu *v)
{
    memset(&v->stack[v->depth], 0, (DIRECT_STACK_MAX - v->depth) * sizeof(v->stack[0]));
    memset(&v->pending[v->pendings], 0, (DIRECT_PENDING_MAX - v->pendings) * sizeof(v->pending[0]));
    if (v->phase != PHASE_ASK) {
        memset(&v->ask, 0, sizeof(v->ask));
        v->after_ask = 0;
    }
    if (!v->running) {
        memset(&v->job, 0, sizeof(v->job));
        memset(&v->seen, 0, sizeof(v->seen));
        memset(&v->request, 0, sizeof(v->request));
        v->phase = v->stage = v->level = 0;
        v->parking = v->progress = v->fresh = v->decided = v->flush_all = false;
        v->budget = 0;
        v->clock = 0;
        v->old = v->new = PTE_EMPTY;
    }
    if (v->phase != PHASE_PUT_SWAP && v->phase != PHASE_DOWN)
        v->clock = 0;
    if (v->stage < STAGE_ENTRY || v->decided)
        v->old = v->new = PTE_EMPTY;
    if (v->decided)
        v->stage = v->level = v->fresh = 0;
    else
        v->result = DIRECT_OK;
    if (v->job.job == JOB_NONE)
        memset(&v->job, 0, sizeof(v->job));
    v->budget = v->budget > 0;
    if (v->phase == PHASE_NEXT || v->phase == PHASE_VISIT || v->phase == PHASE_FRAME ||
        v->phase == PHASE_READ || v->phase == PHASE_PUT_READ || v->phase == PHASE_PUT_FRAME)
        memset(&v->seen, 0, sizeof(v->seen));
}

/* Two words that name a state. */
static void name_state(const struct state *s, uint64_t name[2])
{
    const unsigned char *p = (const unsigned char *)s;
    uint64_t             word, a = 1, b = 0x1234567;

    _Static_assert(sizeof(*s) % sizeof(word) == 0, "whole words");
    for (size_t i = 0; i < sizeof(*s); i += sizeof(word)) {
        memcpy(&word, p + i, sizeof(word));
        a = (a ^ word) * UINT64_C(0x9fb21c651e98df25);
        b = (b + word) * UINT64_C(0xd6e8feb86659fd93);
        a ^= a >> 32;
        b ^= b >> 29;
    }
    name[0] = a | 1;
    name[1] = b;
}

/* True if this state has been seen; now it has. */
static bool seen_before(struct explorer *e)
{
    static struct state s;
    uint64_t            name[2];

    s = e->now;
    for (unsigned i = 0; i < 2; i++)
        forget_leftovers(&s.vcpu[i]);
    name_state(&s, name);
    for (uint64_t i = name[0];; i++) {
        uint64_t *slot = &e->seen[2 * (i % TABLE)];

        if (slot[0] == name[0] && slot[1] == name[1])
            return true;
        if (slot[0] != 0)
            continue;
        slot[0] = name[0];
        slot[1] = name[1];
        return false;
    }
}

/* ---- what can happen ---- */

static struct direct_request request(struct explorer *e, unsigned v)
{
    const struct choice  *c = &e->small->menu[v][e->now.choice[v]];
    struct direct_request r = { .op = DIRECT_DRAIN };

    if (e->now.choice[v] == DRAIN)
        return r;
    r = world_request(&e->world, c->op, c->frame);
    r.kind = c->op == DIRECT_UPDATE ? 0 : c->kind;
    r.index = c->op == DIRECT_UPDATE ? c->kind : 0;
    r.value = c->value;
    r.user = c->user;
    return r;
}

static bool begin(struct explorer *e, unsigned v)
{
    struct direct_request r = request(e, v);

    if (r.op == DIRECT_TEARDOWN)
        e->world.domain[0].dying = true;
    direct_begin(&e->world.vcpu[v], &r, 1000000);
    e->now.mood[v] = ACTING;
    return true;
}

static bool step(struct explorer *e, unsigned v)
{
    struct direct_vcpu   *vcpu = &e->world.vcpu[v];
    struct direct_verdict verdict;

    if (direct_step(vcpu) || vcpu->phase == PHASE_ASK)
        return true;
    verdict = direct_end(vcpu);
    e->now.mood[v] = verdict.status == DIRECT_AGAIN || verdict.unfinished ? WAITING : IDLE;
    if (verdict.unfinished)
        e->now.choice[v] = DRAIN;
    else if (verdict.status == DIRECT_DONE && vcpu->request.op == DIRECT_TEARDOWN)
        e->now.down = 1;
    return true;
}

static bool can_be_cut(const struct direct_vcpu *v)
{
    return (v->phase == PHASE_VISIT || v->phase == PHASE_NEXT) && v->progress && v->budget > 0;
}

/* A live table gets a shadow. */
static bool shadow(struct explorer *e, unsigned f)
{
    struct type type = type_read(&e->world.machine, mfn_of(f));

    if (!e->small->shadowed || f == 0 || !type_is_table(type.kind) || !type_is_live(type) ||
        e->world.frame[f].guest.shadows != 0)
        return false;
    e->world.frame[f].guest.shadows = 1;
    return true;
}

/* Of a vCPU; false: number n is not possible now. Numbers from 0, at most VCPU_ACTIONS. */
#define VCPU_ACTIONS (4 + EXPLORE_MENU)
static bool vcpu_acts(struct explorer *e, unsigned v, unsigned n)
{
    struct direct_vcpu *vcpu = &e->world.vcpu[v];
    uint8_t             mood = e->now.mood[v];
    bool                asked = mood == ACTING && vcpu->phase == PHASE_ASK;

    switch (n) {
    case 0:
        return mood == ACTING && !asked && step(e, v);
    case 1:
        if (asked) {
            world_carry_out(&e->world, vcpu);
            return begin(e, v);
        }
        return false;
    case 2:
        if (mood != ACTING || asked || !can_be_cut(vcpu) || e->now.cuts == 0)
            return false;
        e->now.cuts--;
        vcpu->budget = 0;
        return true;
    case 3: /* goes on with its request */
        return mood == WAITING && begin(e, v);
    default:
        n -= 4;
        if (mood == ACTING || e->now.turns[v] == 0 || e->small->menu[v][n].frame == 0)
            return false;
        e->now.turns[v]--;
        e->now.choice[v] = (uint8_t)n;
        return begin(e, v);
    }
}

static bool loads(struct explorer *e, unsigned cpu, unsigned n)
{
    unsigned f = n / 2;

    if ((e->small->loads >> f & 1) == 0)
        return false;
    return n % 2 == 0 ? world_load_leaf(&e->world, cpu, f, true)
                      : world_load_table(&e->world, cpu, f);
}

static bool flushes(struct explorer *e, unsigned cpu)
{
    if (!e->world.ticking[cpu]) {
        if (e->now.flushes == 0)
            return false;
        e->now.flushes--;
        world_flush_begin(&e->world, cpu);
        /* At the wrap all flush before anything else. */
        if (e->world.tick[cpu] != 0)
            return true;
        for (unsigned i = 0; i < 2; i++) {
            e->world.tick[i] = 0;
            world_flush_end(&e->world, i);
        }
        direct_clock_restart(&e->world.machine);
        return true;
    }
    world_flush_end(&e->world, cpu);
    return true;
}

/* Does the n-th thing that could happen; false: not now. */
#define ACTIONS (2 * (VCPU_ACTIONS + 1) + 2 * 2 * 6 + 6)
static bool act(struct explorer *e, unsigned n)
{
    char *name = e->action[e->depth];

    if (n < 2 * VCPU_ACTIONS) {
        const struct direct_vcpu *v = &e->world.vcpu[n / VCPU_ACTIONS];

        snprintf(name, 32, "v%u:%u phase %u/%u", n / VCPU_ACTIONS, n % VCPU_ACTIONS, v->phase,
                 v->stage);
        return vcpu_acts(e, n / VCPU_ACTIONS, n % VCPU_ACTIONS);
    }
    n -= 2 * VCPU_ACTIONS;
    if (n < 2) {
        snprintf(name, 32, "cpu%u flushes", n);
        return flushes(e, n);
    }
    n -= 2;
    if (n < 24) {
        snprintf(name, 32, "cpu%u loads %s %u", n / 12, n % 2 ? "table" : "leaf", n % 12 / 2);
        return n % 12 / 2 < e->small->frames && loads(e, n / 12, n % 12);
    }
    n -= 24;
    snprintf(name, 32, "shadow of %u", n);
    return n < e->small->frames && shadow(e, n);
}

/*
 * The next step of the vCPU touches nothing that another one could see or change at this moment: no
 * order of it and anything else makes a difference, so that only it is looked at.
 */
static bool is_private(const struct explorer *e, unsigned v)
{
    const struct direct_vcpu *vcpu = &e->world.vcpu[v];

    if (e->now.mood[v] != ACTING)
        return false;
    switch ((enum direct_phase)vcpu->phase) {
    case PHASE_NEXT:
        return true;
    case PHASE_REQUEST:
        return vcpu->stage == STAGE_BEGIN && vcpu->request.op != DIRECT_ROOT && !e->small->foreign;
    case PHASE_VISIT: /* a busy table is its own */
        return true;
    case PHASE_FRAME: /* all frames are held, unless the domain is taken down */
    case PHASE_PUT_FRAME:
    case PHASE_EXTRA:
    case PHASE_PARK_FRAME:
        return !e->small->foreign;
    default:
        return false;
    }
}

/* ---- the search ---- */

static bool wrong(struct explorer *e, const char *what)
{
    struct explored *r = e->result;
    size_t           at = 0;

    snprintf(r->why, sizeof(r->why), "%s", what);
    for (unsigned i = 0; i <= e->depth && i < DEPTH_MAX && at + 40 < sizeof(r->trace); i++)
        at += (size_t)snprintf(r->trace + at, sizeof(r->trace) - at, "%s, ", e->action[i]);
    return false;
}

/* Nothing is under way: nothing may be left when the domain is taken down. */
static bool comes_to_its_end(struct explorer *e)
{
    struct world         *w = &e->world;
    struct direct_request r = world_request(w, DIRECT_TEARDOWN, 0);
    unsigned              freed = 0, guests = 0;

    e->result->ends++;
    w->domain[0].dying = true;
    if (e->now.down == 0 && world_do(w, 0, &r, 100).status != DIRECT_DONE)
        return wrong(e, "the teardown does not come to its end");
    for (unsigned f = 1; f < e->small->frames; f++) {
        guests += w->frame[f].kind == FRAME_GUEST;
        if (w->frame[f].kind == FRAME_GUEST && w->frame[f].refs != 0)
            return wrong(e, "a frame is not free after the teardown");
    }
    while (mfn_valid(direct_freed(&w->machine)))
        freed++;
    return freed == guests || wrong(e, "the list of freed frames is not complete");
}

static bool visit(struct explorer *e)
{
    struct state *here;
    bool          good = true, stuck = true;
    unsigned      first = 0, end = ACTIONS;

    save(e);
    if (seen_before(e))
        return true;
    e->result->states++;
    if (e->depth > e->result->deepest)
        e->result->deepest = e->depth;
    if (e->depth + 1 >= DEPTH_MAX || e->result->states >= e->limit)
        return wrong(e, "too many states for this world");
    here = malloc(sizeof(*here));
    if (!here)
        abort();
    *here = e->now;
    for (unsigned v = 0; v < 2 && end == ACTIONS; v++) {
        if (is_private(e, v)) {
            first = v * VCPU_ACTIONS;
            end = first + VCPU_ACTIONS;
        }
    }
    for (unsigned n = first; n < end && good; n++) {
        if (!act(e, n))
            continue;
        stuck = false;
        if (world_sound(&e->world)) {
            e->depth++;
            good = visit(e);
            e->depth--;
        } else {
            good = wrong(e, e->world.why);
        }
        restore(e, here);
    }
    if (good && stuck && !world_quiet(&e->world))
        good = wrong(e, "nothing can happen, and something is unfinished");
    if (good && here->mood[0] == IDLE && here->mood[1] == IDLE && world_quiet(&e->world)) {
        good = comes_to_its_end(e);
        restore(e, here);
    }
    free(here);
    return good;
}

static bool prepare(struct explorer *e)
{
    const struct small_world *small = e->small;
    struct world             *w = &e->world;

    world_init(w, small->frames, 2, small->l1tf_limit);
    if (small->foreign) {
        w->vcpu[1].domain = &w->domain[1];
        w->domain[0].vcpus = &w->vcpu[0];
        w->vcpu[0].next = NULL;
        w->domain[1].vcpus = &w->vcpu[1];
        w->vcpu[1].next = NULL;
    }
    if (small->clock != 0)
        w->machine.clock = small->clock;
    if (small->pool != 0)
        w->frame[small->pool].kind = FRAME_POOL;
    for (unsigned i = 0; i < 8; i++)
        *world_entry(w, small->content[i].frame, small->content[i].index) = small->content[i].value;
    for (unsigned i = 0; i < 4; i++) {
        struct direct_request r = world_request(w, small->setup[i].op, small->setup[i].frame);

        r.kind = small->setup[i].kind;
        if (small->setup[i].frame != 0 && world_do(w, 0, &r, 1000).status != DIRECT_DONE)
            return wrong(e, "the setup is refused");
    }
    return world_sound(w) || wrong(e, w->why);
}

bool explore(const struct small_world *small, bool thorough, unsigned long limit,
             struct explored *result)
{
    struct explorer *e = calloc(1, sizeof(*e));
    bool             good;

    *result = (struct explored){ 0 };
    if (!e)
        abort();
    e->small = small;
    e->limit = limit < TABLE / 2 ? limit : TABLE / 2;
    e->result = result;
    e->seen = calloc(2 * TABLE, sizeof(uint64_t));
    if (!e->seen)
        abort();
    e->now.cuts = small->cuts;
    e->now.flushes = small->flushes;
    memcpy(e->now.turns, thorough ? small->turns_long : small->turns, 2);
    good = prepare(e) && visit(e);
    world_free(&e->world);
    free(e->seen);
    free(e);
    return good;
}
