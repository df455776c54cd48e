/* Checks of the SVM edge without a domain, asked for by name: "svm-guest" and "svm-nmi". */
#ifndef X86_SVM_SELFTEST_H
#define X86_SVM_SELFTEST_H

#include <stdbool.h>

/* Prints "umbra: NAME: ok", or what went wrong; false then, and if there is none of that name. */
bool svm_selftest(const char *name);

#endif
