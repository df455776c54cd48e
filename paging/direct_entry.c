/* What a segment descriptor may say under direct paging. */
#include "types.h"

/* Bits of a descriptor: APM vol. 2, 4.8.1 to 4.8.3. */
#define DESCRIPTOR_CODE_DATA (UINT64_C(1) << 44) /* S: else a system descriptor */
#define DESCRIPTOR_DPL       (UINT64_C(3) << 45)
#define DESCRIPTOR_P         (UINT64_C(1) << 47)

bool descriptor_ok(uint64_t descriptor)
{
    /* Gates and task segments would lead into rings and tasks that are not the guest's. */
    return (descriptor & DESCRIPTOR_P) == 0 || (descriptor & DESCRIPTOR_CODE_DATA) != 0;
}

uint64_t descriptor_adjusted(uint64_t descriptor)
{
    if ((descriptor & DESCRIPTOR_P) != 0)
        descriptor |= DESCRIPTOR_DPL;
    return descriptor;
}
