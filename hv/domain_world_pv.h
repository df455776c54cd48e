/* The PV edge of the machine in domain_world.h: a processor that walks tables, and recorders. */
#ifndef HV_DOMAIN_WORLD_PV_H
#define HV_DOMAIN_WORLD_PV_H

#include "hv/pv.h"

static uint64_t m2p[FRAMES];
static unsigned flushes;
static uint64_t bases[3];
static bool     frozen; /* the guest's memory cannot be reached: no vCPU is loaded */

const pte_t *pv_edge_slots(void)
{
    static const pte_t slots[DIRECT_SLOTS] = { [0] = { 0x1007 }, [15] = { 0x2003 } };

    return slots;
}
uint64_t *pv_edge_m2p(void)
{
    return m2p;
}
/* It is an array here: these frames stand for it. */
static uint64_t m2p_first = 1, m2p_count;

mfn_t pv_edge_m2p_frames(uint64_t *count)
{
    *count = m2p_count;
    return mfn_of(m2p_first);
}
static uint64_t controls[8];

bool pv_edge_get_control(struct pv_vcpu *v, unsigned number, uint64_t *value)
{
    (void)v;
    *value = controls[number];
    return number == 0 || number == 4;
}
bool pv_edge_set_control(struct pv_vcpu *v, unsigned number, uint64_t value)
{
    (void)v;
    controls[number] = value;
    return value != WILD;
}
void pv_edge_flush(void)
{
    flushes++;
}
void pv_edge_flush_address(gva_t va)
{
    (void)va;
    flushes++;
}
uint64_t pv_edge_l1tf_limit(void)
{
    return 0;
}
void pv_edge_mode_changed(const struct domain *d)
{
    (void)d;
    flushes++;
}
void pv_edge_load_root(struct pv_vcpu *v)
{
    (void)v;
    flushes++;
}
void pv_edge_load_tables(struct pv_vcpu *v)
{
    (void)v;
}
void pv_edge_toggle(struct pv_vcpu *v)
{
    v->kernel = !v->kernel;
}
uint64_t pv_edge_get_base(struct pv_vcpu *v, enum pv_base which)
{
    (void)v;
    return bases[which];
}
void pv_edge_set_base(struct pv_vcpu *v, enum pv_base which, uint64_t base)
{
    (void)v;
    bases[which] = base;
}
void pv_edge_set_user_gs(struct pv_vcpu *v, uint16_t selector)
{
    (void)v;
    (void)selector;
}
void pv_edge_set_ts(struct pv_vcpu *v, bool ts)
{
    v->ts = ts;
}
bool pv_edge_write_base(struct pv_vcpu *v, enum pv_base which, uint64_t base)
{
    pv_edge_set_base(v, which, base);
    return true;
}
bool pv_edge_write_ts(struct pv_vcpu *v, bool ts)
{
    v->ts = ts;
    return true;
}
void pv_edge_sysenter_changed(struct pv_vcpu *v)
{
    (void)v;
}
void pv_edge_set_debug(struct pv_vcpu *v, unsigned number, uint64_t value)
{
    v->dr[number] = value;
}
uint64_t pv_edge_get_debug(const struct pv_vcpu *v, unsigned number)
{
    return v->dr[number];
}

/* Where a byte of the guest's is, as its kernel's tables have it; NULL: it may not go there. */
static uint8_t *pv_reach(struct vcpu *v, uint64_t va, bool write)
{
    struct pv_place place;

    if (frozen || !pv_address_ok(va, 1) || !pv_walk(v->pv->direct.root[0], gva_of(va), 1, &place) ||
        !pte_has(place.entry, PTE_P) || (write && !pte_has(place.entry, PTE_W)))
        return NULL;
    return (uint8_t *)phys_ptr(&machine_phys, mfn_of(pte_frame(place.entry))) + (va & PAGE_MASK);
}

bool pv_edge_copy_in(struct vcpu *v, void *to, uint64_t va, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const uint8_t *from = pv_reach(v, va + i, false);

        if (from == NULL)
            return false;
        ((uint8_t *)to)[i] = *from;
    }
    return true;
}

bool pv_edge_copy_out(struct vcpu *v, uint64_t va, const void *from, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t *to = pv_reach(v, va + i, true);

        if (to == NULL)
            return false;
        *to = ((const uint8_t *)from)[i];
    }
    return true;
}

#endif
