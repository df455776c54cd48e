/* test: with paging/ test/model/ */
/*
 * Fuzz target: the two worlds of world.h, with the fuzzer's bytes for the generator's choices.
 * The first two bytes say what world it is. A difference is printed with the script that leads
 * to it, which soak --replay repeats.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "test/model/gen.h"
#include "test/model/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct world_setup setup_of(uint8_t choice)
{
    static const unsigned pairs[] = { 256, 128, 60, 30 };

    return (struct world_setup){
        .gfns = 96,
        .spare = 16,
        .pairs = pairs[choice >> 4 & 3],
        .maxphys = choice & 0x40 ? 52 : 40,
        .large = choice & 1,
        .gb1 = choice & 2,
        .smp = choice & 4,
        .audit = 16,
        .tlbs = 4,
    };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;

    struct script s = { .setup = setup_of(data[0]) };
    struct world *w = world_create(&s.setup);
    struct gen    g = { .world = w,
                        .modes = data[1] & 31 ? data[1] & 31 : 31,
                        .vcpus = data[0] & 8 ? 2 : 1,
                        .bytes = data + 2,
                        .left = size - 2 };
    struct op     op;

    while (gen_next(&g, &op)) {
        script_add(&s, &op);
        if (!world_do(w, &op))
            break;
    }
    if (w->failure[0] != '\0' || !world_check(w) || !world_finish(w)) {
        fprintf(stderr, "soak: step %" PRIu64 ": %s\n", w->step, w->failure);
        script_print(&s, 0, stderr);
        abort();
    }
    world_free(w);
    free(s.op);
    return 0;
}
