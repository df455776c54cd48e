/*
 * Shadow mode for the small machine: its domain is switched between its own tables and shadows of
 * them, its vCPUs access memory through either, and processors remember what they have used until
 * they are told to flush it.
 */
#ifndef TEST_DIRECT_SHADOWED_H
#define TEST_DIRECT_SHADOWED_H

#include "paging/shadow.h"
#include "world.h"

#define SHADOWED_TLB 16 /* translations that a processor remembers */

/* A translation that a processor remembers, for the root that it has now. */
struct remembered {
    bool     used, writable, fetched, user;
    uint64_t va;
    unsigned frame;
};

struct shadowed {
    struct world        *w;
    struct paging_domain paging;
    struct paging_vcpu   vcpu[WORLD_VCPUS];
    bool                 on, emptying;
    struct remembered    tlb[WORLD_VCPUS][SHADOWED_TLB];
    unsigned             next[WORLD_VCPUS];
    struct {
        bool  user;
        mfn_t root;
    } on_root[WORLD_VCPUS]; /* that the processor's translations are of */
    uint16_t      watched[1];
    unsigned long switches, faults, fixed, reflected, follows, unshadows, remembered_used;
    char          why[200];
};

/* An access of a program: whether it is made, to which frame; else the error code of its fault. */
struct outcome {
    bool     made;
    unsigned frame;
    uint32_t pfec;
};

/* Gives the world room for our tables. Free with shadowed_free, before world_free. */
void shadowed_init(struct shadowed *s, struct world *w);

/* Begins to switch; true when it has come to its end. To shadows it takes one call. */
must_check bool shadowed_switch(struct shadowed *s, bool on, unsigned budget);

/* No vCPU runs any more: takes its shadows away; true when none are left. */
must_check bool shadowed_end(struct shadowed *s, unsigned budget);

/* An access through the vCPU's root (`user`: its second one), which it has. */
struct outcome shadowed_access(struct shadowed *s, unsigned vcpu, bool user, uint64_t va,
                               unsigned acc);

/* A processor forgets all. */
void shadowed_flush(struct shadowed *s, unsigned vcpu);

/* Freed frames may go back to the allocator: no dead table knows them. */
must_check bool shadowed_work(struct shadowed *s, unsigned budget);

/* The audit of shadows; false with `why`. */
must_check bool shadowed_sound(struct shadowed *s);

#endif
