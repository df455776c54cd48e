/* Names of MSRs that only guests use: APM vol. 2, appendix A. */
#ifndef X86_HW_MSR_H
#define X86_HW_MSR_H

#define MSR_PERF_CTL0      0xc0010000u /* four to select, four to count: K7's */
#define MSR_PERF_CTR3      0xc0010007u
#define MSR_SYSCFG         0xc0010010u
#define MSR_HWCR           0xc0010015u
#define MSR_NB_CFG         0xc001001fu
#define MSR_BP_CFG         0xc0011028u
#define MSR_DE_CFG         0xc0011029u
#define DE_CFG_LFENCE      (1u << 1) /* LFENCE waits for all instructions before it */
#define MSR_XEN_HYPERCALLS 0x40000000u

#endif
