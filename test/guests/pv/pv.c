/* What the bare PV guests share: see pv.h. */
#include "test/guests/pv/pv.h"

#define VECTORS 0x20
#define TI_INT3 3 /* dpl of the vectors that INT n of a program may use */

struct start_info *pv_info;
union pv_page      pv_shared_page __attribute__((aligned(4096)));
struct pv_fault    pv_fault;
uint64_t           pv_resume;
unsigned           pv_events;
bool               pv_failsafe_is_fine;
static bool        ending;

/* Where pv_visit comes back. */
static struct iret_context visit;
static uint64_t            visit_rsp;

void *memset(void *to, int byte, size_t length);
void *memset(void *to, int byte, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((volatile uint8_t *)to)[i] = (uint8_t)byte;
    return to;
}

void *memcpy(void *to, const void *from, size_t length);
void *memcpy(void *to, const void *from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}

/* A line goes out as a whole, or what others print comes into the middle of it. */
void pv_print(const char *text)
{
    static char   line[256];
    static size_t length;

    for (; *text != '\0'; text++) {
        line[length++] = *text;
        if (*text != '\n' && length < sizeof(line))
            continue;
        pv_call(__HYPERVISOR_console_io, CONSOLEIO_write, length, (uint64_t)line, 0);
        length = 0;
    }
}

void pv_print_hex(uint64_t value)
{
    char text[19] = "0x", *to = text + 2;

    for (int shift = 60; shift >= 0; shift -= 4)
        if (value >> shift || !shift)
            *to++ = "0123456789abcdef"[value >> shift & 15];
    *to = '\0';
    pv_print(text);
}

_Noreturn void pv_poweroff(void)
{
    struct sched_shutdown shutdown = { .reason = SHUTDOWN_poweroff };

    ending = true;
    pv_call(__HYPERVISOR_sched_op, SCHEDOP_shutdown, (uint64_t)&shutdown, 0, 0);
    for (;;)
        __asm__ volatile("ud2");
}

_Noreturn void pv_fail(const char *why, uint64_t got, uint64_t wanted)
{
    pv_print(pv_name);
    pv_print(": FAILED: ");
    pv_print(why);
    pv_print(": got ");
    pv_print_hex(got);
    pv_print(", wanted ");
    pv_print_hex(wanted);
    pv_print("\n");
    pv_poweroff();
}

uint64_t pv_number(const char *key, uint64_t otherwise)
{
    const char *said = (const char *)pv_info->cmd_line;
    uint64_t    value = 0;

    for (; *said != '\0'; said++) {
        const char *k = key, *s = said;

        while (*k != '\0' && *k == *s) {
            k++;
            s++;
        }
        if (*k != '\0')
            continue;
        for (; *s >= '0' && *s <= '9'; s++)
            value = value * 10 + (uint64_t)(*s - '0');
        return value;
    }
    return otherwise;
}

/* ---- traps ---- */

static bool has_error(uint64_t vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static struct pv_return *return_of(struct pv_frame *frame)
{
    unsigned at = has_error(frame->vector) ? 1 : frame->vector == VECTOR_FAILSAFE ? 4 : 0;

    return (struct pv_return *)&frame->rest[at];
}

static void unexpected(const struct pv_frame *frame, const struct pv_return *at)
{
    pv_print(pv_name);
    pv_print(": exception at ");
    pv_print_hex(at->rip);
    pv_print(", error code ");
    pv_print_hex(frame->error);
    pv_print(", CR2 ");
    pv_print_hex(pv_shared.vcpu_info[0].arch.cr2);
    pv_print("\n");
    pv_fail("an exception that no test expects", frame->vector, 0);
}

/* Answers where the iret hypercall finds what to load. */
uint64_t pv_trap(struct pv_frame *frame)
{
    static struct iret_context back;
    struct pv_return          *at = return_of(frame);
    uint8_t                    mask = pv_shared.vcpu_info[0].evtchn_upcall_mask;

    if (frame->vector == VECTOR_EVENT && pv_resume == 0) {
        pv_events++;
        pv_shared.vcpu_info[0].evtchn_upcall_pending = 0;
        pv_shared.vcpu_info[0].evtchn_pending_sel = 0;
    } else if (frame->vector == VECTOR_FAILSAFE && pv_failsafe_is_fine) {
        /* It has null selectors now, and goes on. */
    } else if (pv_resume == 0 || ending) {
        unexpected(frame, at);
    } else {
        pv_fault = (struct pv_fault){
            .vector = frame->vector,
            .error = frame->error,
            .cr2 = pv_shared.vcpu_info[0].arch.cr2,
            .at = *at,
            .selector = { frame->rest[0], frame->rest[1], frame->rest[2], frame->rest[3] },
            .mask = mask,
            .frame = (uint64_t)&frame->pushed_rcx,
        };
        at->rip = pv_resume;
        at->rflags &= ~0x100ul; /* TF: a single step is one */
        pv_resume = 0;
        if (visit_rsp != 0) { /* wherever it was, the kernel goes on where it left off */
            at->cs = 0xe030;
            at->ss = 0xe02b;
            at->rsp = visit_rsp;
            at->rflags = 0x202;
            visit_rsp = 0;
        }
    }
    back = (struct iret_context){
        .rax = frame->rax,
        .r11 = frame->pushed_r11,
        .rcx = frame->pushed_rcx,
        .rip = at->rip,
        .cs = (uint16_t)at->cs,
        .rflags = at->rflags,
        .rsp = at->rsp,
        .ss = at->ss,
    };
    return (uint64_t)&back;
}

void pv_visit(uint64_t rip, uint64_t cs, uint64_t rflags, uint64_t rsp, uint64_t ss, uint64_t flags)
{
    visit = (struct iret_context){
        .flags = flags,
        .rip = rip,
        .cs = cs,
        .rflags = rflags,
        .rsp = rsp,
        .ss = ss,
        .rcx = 0x1111,
        .r11 = 0x2222,
        .rax = 0x3333,
    };
    __asm__ volatile("pushq %%rbx\n\t"
                     "pushq %%rbp\n\t"
                     "pushq %%r12\n\t"
                     "pushq %%r13\n\t"
                     "pushq %%r14\n\t"
                     "pushq %%r15\n\t"
                     "movq %%rsp, %0\n\t"
                     "movq $1f, pv_resume\n\t"
                     "leaq %1, %%rdi\n\t"
                     "jmp pv_run\n\t"
                     "1:\n\t"
                     "popq %%r15\n\t"
                     "popq %%r14\n\t"
                     "popq %%r13\n\t"
                     "popq %%r12\n\t"
                     "popq %%rbp\n\t"
                     "popq %%rbx"
                     : "=m"(visit_rsp)
                     : "m"(visit)
                     : "memory", "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
}

/* ---- tables ---- */

static uint64_t *p2m(void)
{
    return (uint64_t *)pv_info->mfn_list;
}

uint64_t pv_mfn(const void *p)
{
    return p2m()[(uint64_t)p / PAGE];
}

void *pv_page_of(uint64_t mfn)
{
    return (void *)(((const uint64_t *)MACH2PHYS_VIRT_START)[mfn] * PAGE);
}

uint64_t *pv_entry(const void *p)
{
    uint64_t *table = (uint64_t *)pv_info->pt_base;

    for (unsigned shift = 39;; shift -= 9) {
        uint64_t *entry = &table[(uint64_t)p >> shift & 511];

        if (shift == 12)
            return entry;
        table = pv_page_of(*entry >> 12 & 0xffffffffff);
    }
}

int64_t pv_protect(void *p, bool writable)
{
    uint64_t entry = pv_mfn(p) * PAGE | P | U | A | D | (writable ? W : 0);

    return pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)p, entry, UVMF_INVLPG, 0);
}

int64_t pv_update(uint64_t machine_address, uint64_t value)
{
    struct mmu_update update = { .ptr = machine_address, .val = value };
    uint32_t          done = 0;
    int64_t           result =
        pv_call(__HYPERVISOR_mmu_update, (uint64_t)&update, 1, (uint64_t)&done, DOMID_SELF);

    pv_check(done, result == 0, "the number of updates done");
    return result;
}

int64_t pv_mmuext(unsigned cmd, uint64_t one, uint64_t two)
{
    struct mmuext_op op = { .cmd = cmd };

    op.arg1.linear_addr = one;
    op.arg2.src_mfn = two;
    return pv_call(__HYPERVISOR_mmuext_op, (uint64_t)&op, 1, 0, DOMID_SELF);
}

/* ---- the beginning ---- */

static void set_traps(void)
{
    static struct trap_info        table[VECTORS + 2];
    const struct callback_register callbacks[] = {
        { .type = CALLBACKTYPE_event,
          .address = (uint64_t)pv_vectors + VECTOR_EVENT * VECTOR_SIZE },
        { .type = CALLBACKTYPE_failsafe,
          .address = (uint64_t)pv_vectors + VECTOR_FAILSAFE * VECTOR_SIZE },
        { .type = CALLBACKTYPE_syscall,
          .flags = CALLBACKF_mask_events,
          .address = (uint64_t)pv_vectors + VECTOR_SYSCALL * VECTOR_SIZE },
    };

    for (unsigned i = 0; i < VECTORS; i++)
        table[i] = (struct trap_info){ .vector = (uint8_t)i,
                                       .flags = i == 3 ? TI_INT3 : 0,
                                       .cs = 0xe033,
                                       .address = (uint64_t)pv_vectors + i * VECTOR_SIZE };
    pv_check((uint64_t)pv_call(__HYPERVISOR_set_trap_table, (uint64_t)table, 0, 0, 0), 0,
             "set_trap_table");
    for (unsigned i = 0; i < 3; i++)
        pv_check((uint64_t)pv_call(__HYPERVISOR_callback_op, CALLBACKOP_register,
                                   (uint64_t)&callbacks[i], 0, 0),
                 0, "callback_op");
}

void pv_begin(struct start_info *info)
{
    pv_info = info;
    pv_check((uint64_t)pv_call(__HYPERVISOR_update_va_mapping, (uint64_t)&pv_shared,
                               info->shared_info | P | W | U, UVMF_INVLPG, 0),
             0, "the mapping of shared_info");
    set_traps();
    pv_main();
    pv_print(pv_name);
    pv_print(": ok\n");
    pv_poweroff();
}
