/* What has to be asked of the processor itself, since CPUID does not tell. */
#ifndef X86_SVM_PROBE_H
#define X86_SVM_PROBE_H

#include "paging/frame.h"

struct probe_result {
    bool     intercepted; /* the switch ended the guest's turn, as it should */
    bool     escaped;     /* it was made, and the real CR3 is the one in the guest's TSS */
    bool     selector_right, cr3_kept; /* of an exit: what APM vol. 2, 15.14.1 promises */
    uint64_t exitcode;
};

/* Runs a guest of a few instructions that switches tasks. SVM is enabled, no guest is loaded. */
must_check struct probe_result probe_task_switch(void);

#endif
