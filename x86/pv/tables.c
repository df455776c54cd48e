/*
 * Writable page tables: a guest that writes a leaf table of its own by an instruction. The page is
 * mapped read-only, so this faults; the instruction is carried out here, and its one write becomes
 * one update of an entry, checked as mmu_update checks it.
 */
#include "x86/pv/pv.h"

#include <string.h>

#include "hv/guest.h"
#include "x86/cpu.h"
#include "x86/emulate.h"

#define ENTRY_BYTES 8u

struct table_write {
    struct pv_vcpu *pv;
    uint64_t        page; /* linear address of the table */
    mfn_t           table;
    enum pv_result  result;
};

static enum emu_status read_memory(void *context, uint64_t linear, void *to, unsigned length,
                                   enum emu_access access)
{
    const struct table_write *t = context;

    (void)access;
    return pv_edge_copy_in(t->pv->vcpu, to, linear, length) ? EMU_OK : EMU_FAULT;
}

/* The entry at an offset becomes `value`, if it still is `old`. */
static enum emu_status update(struct table_write *t, unsigned offset, uint64_t old, uint64_t value)
{
    const struct pv_domain     *d = t->pv->vcpu->domain->pv;
    const struct direct_request request = {
        .op = DIRECT_UPDATE,
        .owner = &t->pv->vcpu->domain->pv->direct,
        .from = d->direct.id,
        .flags = DIRECT_LEAF | DIRECT_EXPECT,
        .mfn = t->table,
        .index = offset / ENTRY_BYTES,
        .value = value,
        .expect = old,
    };
    enum direct_error error;

    t->result = pv_request(&t->pv->direct, &request, &error);
    if (t->result == PV_DONE)
        return EMU_OK;
    return t->result == PV_AGAIN || error == DIRECT_CHANGED ? EMU_RETRY : EMU_FAULT;
}

/* Where in the table it is; false: not within one entry of this table. */
static bool offset_of(const struct table_write *t, uint64_t linear, unsigned length,
                      unsigned *offset)
{
    *offset = (unsigned)(linear - t->page);
    return linear - t->page < PAGE_SIZE && length <= ENTRY_BYTES && (linear & (length - 1)) == 0 &&
           (length & (length - 1)) == 0;
}

static uint64_t entry_at(const struct table_write *t, unsigned offset)
{
    const uint64_t *entries = phys_ptr(&machine_phys, t->table);

    return __atomic_load_n(&entries[offset / ENTRY_BYTES], __ATOMIC_RELAXED);
}

static enum emu_status write_memory(void *context, uint64_t linear, const void *from,
                                    unsigned length)
{
    struct table_write *t = context;
    unsigned            offset;
    uint64_t            old, value;

    if (!offset_of(t, linear, length, &offset))
        return EMU_FAULT;
    old = value = entry_at(t, offset);
    memcpy((uint8_t *)&value + offset % ENTRY_BYTES, from, length);
    return update(t, offset, old, value);
}

/* A whole entry, which is what a guest nearly always exchanges. */
static enum emu_status exchange_entry(struct table_write *t, unsigned offset, uint64_t found,
                                      void *old, const void *desired, bool *done)
{
    uint64_t wanted, value;

    memcpy(&wanted, old, ENTRY_BYTES);
    memcpy(&value, desired, ENTRY_BYTES);
    *done = found == wanted;
    if (*done)
        return update(t, offset, found, value);
    memcpy(old, &found, ENTRY_BYTES);
    return EMU_OK;
}

static enum emu_status exchange_memory(void *context, uint64_t linear, void *old,
                                       const void *desired, unsigned length, bool *done)
{
    struct table_write *t = context;
    unsigned            offset;
    uint64_t            found, value;
    uint8_t            *part = (uint8_t *)&found;

    *done = false;
    if (!offset_of(t, linear, length, &offset))
        return EMU_FAULT;
    found = value = entry_at(t, offset);
    if (length == ENTRY_BYTES)
        return exchange_entry(t, offset, found, old, desired, done);
    part += offset % ENTRY_BYTES;
    *done = memcmp(part, old, length) == 0;
    if (!*done) {
        memcpy(old, part, length);
        return EMU_OK;
    }
    memcpy((uint8_t *)&value + offset % ENTRY_BYTES, desired, length);
    return update(t, offset, found, value);
}

void pv_emulator_segments(struct pv_vcpu *pv, struct emu_segment segment[SEGMENTS])
{
    for (unsigned i = 0; i < SEGMENTS; i++)
        segment[i] = (struct emu_segment){ .selector = 3, .attributes = 0xcf3, .limit = ~0u };
    segment[SEG_CS].attributes = 0xafb; /* 64-bit code */
    segment[SEG_FS].base = pv_edge_get_base(pv, PV_BASE_FS);
    segment[SEG_GS].base = pv_edge_get_base(pv, pv->kernel ? PV_BASE_GS_KERNEL : PV_BASE_GS_USER);
}

static bool execute(struct table_write *t, const struct insn *insn)
{
    struct pv_regs         *r = &t->pv->regs;
    struct emu_segment      segment[SEGMENTS];
    const struct emu_memory memory = { t, read_memory, write_memory, exchange_memory };
    struct emu_cpu          cpu = {
                 .rip = r->rip,
                 .rflags = r->rflags,
                 .cr0 = CR0_PE | CR0_PG | CR0_WP,
                 .cr4 = CR4_PAE,
                 .efer = EFER_LME | EFER_LMA,
                 .cpl = 3,
                 .segment = segment,
    };
    struct emu_result result;

    pv_emulator_segments(t->pv, segment);
    pv_registers_get(r, cpu.gpr);
    result = emulate(insn, &cpu, &memory, 1);
    if (result.outcome == EMU_MEMORY && result.status == EMU_RETRY)
        return true;
    if (result.outcome != EMU_DONE && result.outcome != EMU_PARTIAL)
        return false;
    pv_registers_set(r, cpu.gpr);
    r->rip = cpu.rip;
    r->rflags = cpu.rflags;
    if (result.single_step)
        pv_bounce_exception(t->pv, VECTOR_DB, 0);
    return true;
}

/* ---- a whole entry, stored or exchanged ---- */

static uint64_t operand_address(const struct insn *insn, struct pv_regs *r)
{
    const struct insn_operand *op = &insn->operand[0];
    uint64_t                   at = (uint64_t)op->value;

    if (op->base == REG_RIP)
        at += r->rip + insn->length;
    else if (op->base != REG_NONE)
        at += *pv_register(r, op->base);
    if (op->index != REG_NONE)
        at += *pv_register(r, op->index) * op->scale;
    return at;
}

/* MOV or XCHG of a register and the eight bytes at that address: what guests nearly always write tables by. */
static bool is_plain(const struct insn *insn, struct pv_regs *r, uint64_t address)
{
    const struct insn_operand *to = &insn->operand[0], *from = &insn->operand[1];

    return (insn->kind == INSN_XCHG || (insn->kind == INSN_MOV && !insn->lock)) &&
           to->type == OPERAND_MEMORY && to->bytes == ENTRY_BYTES &&
           from->type == OPERAND_REGISTER && !insn->own_base && insn->address_bytes == 8 &&
           (r->rflags & RFLAGS_TF) == 0 && address % ENTRY_BYTES == 0 &&
           operand_address(insn, r) == address;
}

static bool carry_out(struct table_write *t, const struct insn *insn, uint64_t address)
{
    struct pv_regs *r = &t->pv->regs;
    uint64_t       *reg = pv_register(r, insn->operand[1].number);
    unsigned        offset = (unsigned)(address - t->page);
    uint64_t        old = entry_at(t, offset);
    enum emu_status status = update(t, offset, old, *reg);

    if (status != EMU_OK)
        return status == EMU_RETRY;
    if (insn->kind == INSN_XCHG)
        *reg = old;
    r->rip += insn->length;
    r->rflags &= ~RFLAGS_RF;
    return true;
}

bool pv_table_write(struct pv_vcpu *pv, uint64_t address)
{
    struct table_write t = { .pv = pv, .page = address & ~PAGE_MASK };
    struct pv_place    place;
    const struct insn *insn;
    uint8_t            bytes[INSN_BYTES_MAX];
    unsigned           length;

    if (!pv->kernel || !pv_address_ok(address, 1) ||
        !pv_walk(pv->direct.root[0], gva_of(address), 1, &place) || !pte_has(place.entry, PTE_P) ||
        pte_has(place.entry, PTE_W))
        return false;
    t.table = mfn_of(pte_frame(place.entry));
    if (type_unpack(phys_frame(&machine_phys, t.table)->guest.type).kind != TYPE_L1)
        return false;
    length = pv_fetch(pv, bytes);
    insn = pv_instruction(bytes, length);
    if (!insn)
        return false;
    return is_plain(insn, &pv->regs, address) ? carry_out(&t, insn, address) : execute(&t, insn);
}
