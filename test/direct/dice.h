/* Random requests of a guest that is right often enough to get somewhere. */
#ifndef TEST_DIRECT_DICE_H
#define TEST_DIRECT_DICE_H

#include "world.h"

void     dice_seed(uint64_t seed);
unsigned dice(unsigned sides);
unsigned dice_index(void);
/* An entry: mostly one that suits a frame of this kind. */
uint64_t dice_entry(const struct world *w);
/* If not, no DIRECT_GET and DIRECT_PUT: the audit does not know of them. */
void dice_gives(bool gives);
/* If so, half of what is asked builds tables that lead to memory. */
void dice_builds(bool builds);
/* `given`: for each frame, how many references of DIRECT_GET are out. */
struct direct_request dice_request(struct world *w, const unsigned *given);
void                  dice_answered(const struct direct_request *r, bool done, unsigned *given);

#endif
