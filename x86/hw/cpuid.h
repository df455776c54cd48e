/* Names of CPUID leaves and feature bits: APM vol. 3, appendix E; Intel SDM vol. 2, CPUID. */
#ifndef X86_HW_CPUID_H
#define X86_HW_CPUID_H

#define LEAF_VENDOR        0x00000000u
#define LEAF_FEATURES      0x00000001u
#define LEAF_STRUCTURED    0x00000007u
#define LEAF_HYPERVISOR    0x40000000u
#define LEAF_EXT           0x80000000u
#define LEAF_EXT_FEATURES  0x80000001u
#define LEAF_EXT_BRAND     0x80000002u /* and the two that follow */
#define LEAF_EXT_CACHE_L1  0x80000005u
#define LEAF_EXT_CACHE_L2  0x80000006u
#define LEAF_EXT_POWER     0x80000007u
#define LEAF_EXT_ADDRESSES 0x80000008u

/* 1, ECX */
#define F1C_SSE3       (1u << 0)
#define F1C_PCLMULQDQ  (1u << 1)
#define F1C_SSSE3      (1u << 9)
#define F1C_CX16       (1u << 13)
#define F1C_SSE41      (1u << 19)
#define F1C_SSE42      (1u << 20)
#define F1C_X2APIC     (1u << 21)
#define F1C_MOVBE      (1u << 22)
#define F1C_POPCNT     (1u << 23)
#define F1C_AES        (1u << 25)
#define F1C_RDRAND     (1u << 30)
#define F1C_HYPERVISOR (1u << 31)

/* 1, EDX; those marked are in 80000001h, EDX, too */
#define F1D_FPU     (1u << 0) /* both */
#define F1D_VME     (1u << 1) /* both */
#define F1D_DE      (1u << 2) /* both */
#define F1D_PSE     (1u << 3) /* both */
#define F1D_TSC     (1u << 4) /* both */
#define F1D_MSR     (1u << 5) /* both */
#define F1D_PAE     (1u << 6) /* both */
#define F1D_CX8     (1u << 8) /* both */
#define F1D_APIC    (1u << 9) /* both */
#define F1D_SEP     (1u << 11)
#define F1D_PGE     (1u << 13) /* both */
#define F1D_CMOV    (1u << 15) /* both */
#define F1D_PAT     (1u << 16) /* both */
#define F1D_PSE36   (1u << 17) /* both */
#define F1D_CLFLUSH (1u << 19)
#define F1D_MMX     (1u << 23) /* both */
#define F1D_FXSR    (1u << 24) /* both */
#define F1D_SSE     (1u << 25)
#define F1D_SSE2    (1u << 26)

/* 7, EBX and EDX */
#define F7B_FSGSBASE   (1u << 0)
#define F7B_SMEP       (1u << 7)
#define F7B_ERMS       (1u << 9)
#define F7B_RDSEED     (1u << 18)
#define F7B_ADX        (1u << 19)
#define F7B_SMAP       (1u << 20)
#define F7B_CLFLUSHOPT (1u << 23)
#define F7B_CLWB       (1u << 24)
#define F7B_SHA        (1u << 29)
#define F7C_LA57       (1u << 16)
#define F7D_ARCH_CAPS  (1u << 29) /* Intel SDM vol. 2: MSR_ARCH_CAPS is there */
#define F7D_FSRM       (1u << 4)

/* 80000001h, ECX and EDX */
#define FEC_LAHF     (1u << 0)
#define FEC_ABM      (1u << 5)
#define FEC_SSE4A    (1u << 6)
#define FEC_MISALIGN (1u << 7)
#define FEC_PREFETCH (1u << 8)
#define FED_SYSCALL  (1u << 11)
#define FED_NX       (1u << 20)
#define FED_MMXEXT   (1u << 22)
#define FED_GB1      (1u << 26)
#define FED_LM       (1u << 29)

/* 80000007h, EDX */
#define FPD_INVARIANT_TSC (1u << 8)

/* 6, EAX */
#define F6A_ARAT (1u << 2)

#endif
