/* Names of the processor's architecture: registers, MSRs, vectors. APM vol. 2, chapters 3, 5, 8 and appendix A. */
#ifndef X86_HW_CPU_H
#define X86_HW_CPU_H

/* CR0, APM vol. 2, 3.1.1 */
#define CR0_PE (1ul << 0)
#define CR0_MP (1ul << 1)
#define CR0_EM (1ul << 2)
#define CR0_TS (1ul << 3)
#define CR0_ET (1ul << 4)
#define CR0_NE (1ul << 5)
#define CR0_WP (1ul << 16)
#define CR0_AM (1ul << 18)
#define CR0_NW (1ul << 29)
#define CR0_CD (1ul << 30)
#define CR0_PG (1ul << 31)

/* CR4, APM vol. 2, 3.1.3 */
#define CR4_VME        (1ul << 0)
#define CR4_PVI        (1ul << 1)
#define CR4_TSD        (1ul << 2)
#define CR4_DE         (1ul << 3)
#define CR4_PSE        (1ul << 4)
#define CR4_PAE        (1ul << 5)
#define CR4_MCE        (1ul << 6)
#define CR4_PGE        (1ul << 7)
#define CR4_PCE        (1ul << 8)
#define CR4_OSFXSR     (1ul << 9)
#define CR4_OSXMMEXCPT (1ul << 10)
#define CR4_UMIP       (1ul << 11)
#define CR4_LA57       (1ul << 12)
#define CR4_FSGSBASE   (1ul << 16)
#define CR4_PCIDE      (1ul << 17)
#define CR4_OSXSAVE    (1ul << 18)
#define CR4_SMEP       (1ul << 20)
#define CR4_SMAP       (1ul << 21)
#define CR4_PKE        (1ul << 22)

/* EFER, APM vol. 2, 3.1.7 */
#define EFER_SCE   (1ul << 0)
#define EFER_LME   (1ul << 8)
#define EFER_LMA   (1ul << 10)
#define EFER_NXE   (1ul << 11)
#define EFER_SVME  (1ul << 12)
#define EFER_LMSLE (1ul << 13)
#define EFER_FFXSR (1ul << 14)

/* Offset of XMM0 in what FXSAVE writes: APM vol. 2, 11.4.4 */
#define FXSAVE_XMM 160

/* RFLAGS, APM vol. 2, 3.1.6 */
#define RFLAGS_CF     (1ul << 0)
#define RFLAGS_ALWAYS (1ul << 1)
#define RFLAGS_PF     (1ul << 2)
#define RFLAGS_AF     (1ul << 4)
#define RFLAGS_ZF     (1ul << 6)
#define RFLAGS_SF     (1ul << 7)
#define RFLAGS_TF     (1ul << 8)
#define RFLAGS_IF     (1ul << 9)
#define RFLAGS_DF     (1ul << 10)
#define RFLAGS_OF     (1ul << 11)
#define RFLAGS_NT     (1ul << 14)
#define RFLAGS_RF     (1ul << 16)
#define RFLAGS_VM     (1ul << 17)
#define RFLAGS_AC     (1ul << 18)

/* Vectors, APM vol. 2, 8.2 */
enum {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_OF = 4,
    VECTOR_BR = 5,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_AC = 17,
    VECTOR_MC = 18,
    VECTOR_XM = 19,
};

/* MSRs, APM vol. 2, appendix A */
#define MSR_TSC            0x00000010
#define MSR_APIC_BASE      0x0000001b
#define MSR_BIOS_SIGN_ID   0x0000008b
#define MSR_MTRRCAP        0x000000fe
#define MSR_ARCH_CAPS      0x0000010a /* Intel SDM vol. 4, 2.1 */
#define MSR_SYSENTER_CS    0x00000174
#define MSR_SYSENTER_ESP   0x00000175
#define MSR_SYSENTER_EIP   0x00000176
#define MSR_MCG_CAP        0x00000179
#define MSR_DEBUGCTL       0x000001d9
#define MSR_PAT            0x00000277
#define MSR_X2APIC_FIRST   0x00000800
#define MSR_X2APIC_LAST    0x000008ff
#define MSR_EFER           0xc0000080
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_CSTAR          0xc0000083
#define MSR_SFMASK         0xc0000084
#define MSR_FS_BASE        0xc0000100
#define MSR_GS_BASE        0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX        0xc0000103
#define MSR_VM_CR          0xc0010114
#define MSR_VM_HSAVE_PA    0xc0010117
#define VM_CR_SVMDIS       (1ul << 4)

/* What PAT holds after reset, and what the hypervisor keeps in it: APM vol. 2, 7.8.2 */
#define PAT_RESET 0x0007040600070406ul

#endif
