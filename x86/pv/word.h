/*
 * Single words of a guest's memory by the processor's own translation, while the guest's tables are in
 * CR3. Whoever uses them has seen that the address is none of the hypervisor's.
 */
#ifndef X86_PV_WORD_H
#define X86_PV_WORD_H

#include "x86/traps.h"

/* Stores a word at a guest's address; goes to the label `fault` if it cannot. */
#define PV_STORE(at, word)                                                                         \
    __asm__ goto("1: movq %0, %1\n\t" EX_TABLE("1b", "%l[fault]")::"r"(word), "m"(*(at))           \
                 : "memory"                                                                        \
                 : fault)

/* Reads a word of any size at a guest's address into `word`; goes to `fault` if it cannot. */
#define PV_LOAD(at, word)                                                                          \
    __asm__ goto("1: mov %1, %0\n\t" EX_TABLE("1b", "%l[fault]")                                   \
                 : "=r"(word)                                                                      \
                 : "m"(*(at))                                                                      \
                 :                                                                                 \
                 : fault)

#endif
