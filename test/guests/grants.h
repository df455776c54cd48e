/* What pv-grant's two guests agree on, and grants.c's. */
#ifndef TEST_GUESTS_GRANTS_H
#define TEST_GUESTS_GRANTS_H

/* References. */
enum {
    GRANTS_WORD = 8,  /* the page with the word by which they take turns */
    GRANTS_READABLE,  /* read-only */
    GRANTS_TABLE,     /* a page table of the lender's */
    GRANTS_NOBODYS,   /* no frame of the lender's */
    GRANTS_ELSEWHERE, /* for another domain */
    GRANTS_TRANSFER,
    GRANTS_GOING,  /* which the lender gives back while it is mapped */
    GRANTS_COPIED, /* to be copied to in the end */
};

/* Values of the word, in this order. */
enum { GRANTS_READY = 1, GRANTS_MAPPED, GRANTS_CHANGED, GRANTS_CHECKED, GRANTS_PAGE };

#define GRANTS_PATTERN 0x6772616e74ul

#endif
