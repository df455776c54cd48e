/*
 * Names of AMD's secure virtual machine: the VMCB, intercepts, exit codes.
 * APM vol. 2, chapter 15, appendices B and C.
 */
#ifndef X86_HW_SVM_H
#define X86_HW_SVM_H

#include <stddef.h>
#include <stdint.h>

/* CPUID that says what the processor offers: APM vol. 3, E.4.8 */
#define CPUID_EXTENDED     0x80000000u
#define CPUID_EXT_FEATURES 0x80000001u
#define CPUID_EXT1_ECX_SVM (1u << 2)
#define CPUID_SVM          0x8000000au
#define CPUID_SVM_EDX_NP   (1u << 0)

/* Intercepts, word 000h: reads of CRn in bit n, writes in bit 16 + n. Word 004h: DRn alike. */
#define SVM_CR_READ(n)  (1u << (n))
#define SVM_CR_WRITE(n) (1u << (16 + (n)))
#define SVM_DR_ALL      0xffffffffu

/* Intercepts, word 00Ch */
#define SVM_INTR        (1u << 0)
#define SVM_NMI         (1u << 1)
#define SVM_SMI         (1u << 2)
#define SVM_INIT        (1u << 3)
#define SVM_VINTR       (1u << 4)
#define SVM_LTR         (1u << 13)
#define SVM_RDPMC       (1u << 15)
#define SVM_CPUID       (1u << 18)
#define SVM_SWINT       (1u << 21)
#define SVM_INVD        (1u << 22)
#define SVM_HLT         (1u << 24)
#define SVM_INVLPG      (1u << 25)
#define SVM_INVLPGA     (1u << 26)
#define SVM_IOIO        (1u << 27)
#define SVM_MSR         (1u << 28)
#define SVM_TASK_SWITCH (1u << 29)
#define SVM_SHUTDOWN    (1u << 31)

/* Intercepts, word 010h */
#define SVM_VMRUN      (1u << 0)
#define SVM_VMMCALL    (1u << 1)
#define SVM_VMLOAD     (1u << 2)
#define SVM_VMSAVE     (1u << 3)
#define SVM_STGI       (1u << 4)
#define SVM_CLGI       (1u << 5)
#define SVM_SKINIT     (1u << 6)
#define SVM_ICEBP      (1u << 8)
#define SVM_WBINVD     (1u << 9)
#define SVM_MONITOR    (1u << 10)
#define SVM_MWAIT      (1u << 11)
#define SVM_MWAIT_COND (1u << 12)
#define SVM_XSETBV     (1u << 13)
#define SVM_RDPRU      (1u << 14)

/* TLB_CONTROL, 05Ch */
#define SVM_TLB_KEEP      0
#define SVM_TLB_FLUSH_ALL 1

/* Virtual interrupt, 060h */
#define SVM_V_IRQ          (1ull << 8)
#define SVM_V_PRIO_SHIFT   16
#define SVM_V_IGN_TPR      (1ull << 20)
#define SVM_V_INTR_MASKING (1ull << 24)

#define SVM_INTERRUPT_SHADOW 1ull

/* EVENTINJ and EXITINTINFO, APM vol. 2, 15.20 */
#define SVM_EVENT_VECTOR      0xffull
#define SVM_EVENT_TYPE        (7ull << 8)
#define SVM_EVENT_INTR        (0ull << 8)
#define SVM_EVENT_NMI         (2ull << 8)
#define SVM_EVENT_EXCEPTION   (3ull << 8)
#define SVM_EVENT_SOFT        (4ull << 8)
#define SVM_EVENT_ERROR       (1ull << 11)
#define SVM_EVENT_VALID       (1ull << 31)
#define SVM_EVENT_ERROR_SHIFT 32

#define SVM_NP_ENABLE 1ull

/* EXITINFO1 of a nested page fault, APM vol. 2, 15.25.6 */
#define SVM_NPF_PRESENT (1ull << 0)
#define SVM_NPF_WRITE   (1ull << 1)
#define SVM_NPF_FETCH   (1ull << 4)
#define SVM_NPF_WALK    (1ull << 33) /* the processor was walking the guest's tables */

/* EXITINFO1 of IOIO, APM vol. 2, 15.10.2 */
#define SVM_IO_IN         (1ull << 0)
#define SVM_IO_STRING     (1ull << 2)
#define SVM_IO_REP        (1ull << 3)
#define SVM_IO_SIZE_SHIFT 4 /* one of three bits: 8, 16, 32 bits */
#define SVM_IO_SIZE       7u
#define SVM_IO_PORT_SHIFT 16

/* Exit codes, APM vol. 2, appendix C */
enum {
    SVM_EXIT_CR_READ = 0x000,
    SVM_EXIT_CR_WRITE = 0x010,
    SVM_EXIT_DR_READ = 0x020,
    SVM_EXIT_DR_WRITE = 0x030,
    SVM_EXIT_EXCEPTION = 0x040,
    SVM_EXIT_INTR = 0x060,
    SVM_EXIT_NMI = 0x061,
    SVM_EXIT_SMI = 0x062,
    SVM_EXIT_INIT = 0x063,
    SVM_EXIT_VINTR = 0x064,
    SVM_EXIT_LTR = 0x06d,
    SVM_EXIT_RDPMC = 0x06f,
    SVM_EXIT_CPUID = 0x072,
    SVM_EXIT_SWINT = 0x075,
    SVM_EXIT_INVD = 0x076,
    SVM_EXIT_HLT = 0x078,
    SVM_EXIT_INVLPG = 0x079,
    SVM_EXIT_INVLPGA = 0x07a,
    SVM_EXIT_IOIO = 0x07b,
    SVM_EXIT_MSR = 0x07c,
    SVM_EXIT_TASK_SWITCH = 0x07d,
    SVM_EXIT_SHUTDOWN = 0x07f,
    SVM_EXIT_VMRUN = 0x080,
    SVM_EXIT_VMMCALL = 0x081,
    SVM_EXIT_VMLOAD = 0x082,
    SVM_EXIT_VMSAVE = 0x083,
    SVM_EXIT_STGI = 0x084,
    SVM_EXIT_CLGI = 0x085,
    SVM_EXIT_SKINIT = 0x086,
    SVM_EXIT_ICEBP = 0x088,
    SVM_EXIT_WBINVD = 0x089,
    SVM_EXIT_MONITOR = 0x08a,
    SVM_EXIT_MWAIT = 0x08b,
    SVM_EXIT_MWAIT_COND = 0x08c,
    SVM_EXIT_XSETBV = 0x08d,
    SVM_EXIT_RDPRU = 0x08e,
    SVM_EXIT_LOW_END = 0x090, /* first code that the small codes do not reach */
    SVM_EXIT_NPF = 0x400,
};
#define SVM_EXIT_INVALID (~UINT64_C(0))

/*
 * A segment register, APM vol. 2, table B-2: attributes are bits 55:52 and 47:40 of the
 * descriptor. May alias: the emulator looks at six of them in a row as its own type.
 */
struct __attribute__((may_alias)) svm_segment {
    uint16_t selector;
    uint16_t attributes;
    uint32_t limit;
    uint64_t base;
};
#define SVM_SEG_DPL_SHIFT 5
#define SVM_SEG_P         (1u << 7)
#define SVM_SEG_L         (1u << 9)
#define SVM_SEG_DB        (1u << 10)
#define SVM_SEG_G         (1u << 11)
#define SVM_SEG_CODE_FLAT 0xc9b /* 32-bit, execute and read, accessed, 4 KiB units, DPL 0 */
#define SVM_SEG_DATA_FLAT 0xc93 /* the same, read and write                                */
#define SVM_SEG_TSS_BUSY  0x08b
#define SVM_SEG_LDT       0x082

/* The VMCB: control area (table B-1) and state save area (table B-2). */
struct vmcb {
    uint32_t           intercept_cr;         /* 000h */
    uint32_t           intercept_dr;         /* 004h */
    uint32_t           intercept_exceptions; /* 008h */
    uint32_t           intercept_misc1;      /* 00Ch */
    uint32_t           intercept_misc2;      /* 010h */
    uint32_t           intercept_misc3;      /* 014h */
    uint8_t            pad0[0x040 - 0x018];
    uint64_t           iopm;        /* 040h */
    uint64_t           msrpm;       /* 048h */
    uint64_t           tsc_offset;  /* 050h */
    uint32_t           asid;        /* 058h */
    uint8_t            tlb_control; /* 05Ch */
    uint8_t            pad1[3];
    uint64_t           int_ctl;          /* 060h */
    uint64_t           interrupt_shadow; /* 068h */
    uint64_t           exitcode;         /* 070h */
    uint64_t           exitinfo1;        /* 078h */
    uint64_t           exitinfo2;        /* 080h */
    uint64_t           exitintinfo;      /* 088h */
    uint64_t           np_enable;        /* 090h */
    uint8_t            pad2[0x0a8 - 0x098];
    uint64_t           eventinj; /* 0A8h */
    uint64_t           ncr3;     /* 0B0h */
    uint64_t           lbr_virt; /* 0B8h */
    uint64_t           clean;    /* 0C0h */
    uint8_t            pad3[0x400 - 0x0c8];
    struct svm_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr; /* 400h */
    uint8_t            pad4[0x4cb - 0x4a0];
    uint8_t            cpl; /* 4CBh */
    uint8_t            pad5[4];
    uint64_t           efer; /* 4D0h */
    uint8_t            pad6[0x548 - 0x4d8];
    uint64_t           cr4; /* 548h */
    uint64_t           cr3;
    uint64_t           cr0;
    uint64_t           dr7;
    uint64_t           dr6;
    uint64_t           rflags;
    uint64_t           rip; /* 578h */
    uint8_t            pad7[0x5d8 - 0x580];
    uint64_t           rsp; /* 5D8h */
    uint8_t            pad8[0x5f8 - 0x5e0];
    uint64_t           rax; /* 5F8h */
    uint64_t           star;
    uint64_t           lstar;
    uint64_t           cstar;
    uint64_t           sfmask;
    uint64_t           kernel_gs_base; /* 620h */
    uint64_t           sysenter_cs;
    uint64_t           sysenter_esp;
    uint64_t           sysenter_eip;
    uint64_t           cr2; /* 640h */
    uint8_t            pad9[0x668 - 0x648];
    uint64_t           g_pat; /* 668h */
    uint8_t            pad10[0x1000 - 0x670];
};
_Static_assert(offsetof(struct vmcb, iopm) == 0x040, "APM table B-1");
_Static_assert(offsetof(struct vmcb, asid) == 0x058, "APM table B-1");
_Static_assert(offsetof(struct vmcb, tlb_control) == 0x05c, "APM table B-1");
_Static_assert(offsetof(struct vmcb, int_ctl) == 0x060, "APM table B-1");
_Static_assert(offsetof(struct vmcb, exitcode) == 0x070, "APM table B-1");
_Static_assert(offsetof(struct vmcb, exitintinfo) == 0x088, "APM table B-1");
_Static_assert(offsetof(struct vmcb, eventinj) == 0x0a8, "APM table B-1");
_Static_assert(offsetof(struct vmcb, ncr3) == 0x0b0, "APM table B-1");
_Static_assert(offsetof(struct vmcb, clean) == 0x0c0, "APM table B-1");
_Static_assert(offsetof(struct vmcb, es) == 0x400, "APM table B-2");
_Static_assert(offsetof(struct vmcb, tr) == 0x490, "APM table B-2");
_Static_assert(offsetof(struct vmcb, cpl) == 0x4cb, "APM table B-2");
_Static_assert(offsetof(struct vmcb, efer) == 0x4d0, "APM table B-2");
_Static_assert(offsetof(struct vmcb, cr4) == 0x548, "APM table B-2");
_Static_assert(offsetof(struct vmcb, rip) == 0x578, "APM table B-2");
_Static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "APM table B-2");
_Static_assert(offsetof(struct vmcb, rax) == 0x5f8, "APM table B-2");
_Static_assert(offsetof(struct vmcb, kernel_gs_base) == 0x620, "APM table B-2");
_Static_assert(offsetof(struct vmcb, cr2) == 0x640, "APM table B-2");
_Static_assert(offsetof(struct vmcb, g_pat) == 0x668, "APM table B-2");
_Static_assert(sizeof(struct vmcb) == 0x1000, "a page");

/* MSR permission map, APM vol. 2, 15.11: two bits per MSR, read then write, in ranges of 2 KiB. */
#define SVM_MSRPM_BYTES       0x2000u
#define SVM_MSRPM_RANGE_BYTES 0x800u
#define SVM_MSRPM_RANGE_MSRS  0x2000u
#define SVM_MSRPM_BASE_1      0xc0000000u
#define SVM_IOPM_BYTES        0x3000u

#endif
