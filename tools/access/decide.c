#include "tools/access/decide.h"

struct decision decide(enum action action, bool waits)
{
    struct decision d = { .report = action != ACTION_COUNT };

    switch (action) {
    case ACTION_LOG:
    case ACTION_COUNT:
        d.emulate = waits;
        break;
    case ACTION_ONCE:
        d.open = true;
        break;
    case ACTION_PAUSE:
        d.stop = true;
        break;
    }
    return d;
}
