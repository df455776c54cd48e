/*
 * The order of locks. A lock may be taken only while holding locks of smaller numbers.
 *
 * One CPU runs the hypervisor today, with interrupts off: that CPU is the one big lock,
 * and every token of a lock (struct paging_locked) is made for free. With more CPUs each
 * of these becomes a lock of its own, in this order:
 */
#ifndef HV_LOCKS_H
#define HV_LOCKS_H

enum lock_order {
    LOCK_BIG = 0, /* today: everything; held whenever the hypervisor runs               */
    LOCK_DOMAINS, /* the list of domains; held while one is linked, unlinked or found   */
    LOCK_DOMAIN,  /* state, ports and grants of one domain; two domains: smaller id first */
    LOCK_PAGING,  /* shadows, p2m and pool of one domain; the token is paging_locked     */
    LOCK_TIMERS,  /* the list of timers of one CPU                                      */
    LOCK_SCHED,   /* states of vCPUs, and who runs next on one CPU                      */
    LOCK_ALLOC,   /* the free lists of the machine's memory                             */
    LOCK_PRINT,   /* the serial line: last, since everybody may want to say something   */
};

#endif
