/*
 * profile - a QEMU TCG plugin that counts how often each instruction of the hypervisor runs.
 *
 *   qemu-system-x86_64 ... -plugin ./profile.so,out=FILE,host=LO-HI
 *
 * One line per instruction: virtual address, count, both hexadecimal. profile.py sums them
 * by function. A REP string instruction counts once per iteration.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The part of the plugin API, version 1, that is used here. */
typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct {
    const char *target_name;
    struct {
        int min, cur;
    } version;
} plugin_info;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int op, void *counter,
                                                uint64_t add);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *arg);
size_t                   qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t                 qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(plugin_id id, const plugin_info *info, int argc, char **argv);

static uint64_t    lo, hi, *count;
static const char *out;

static void on_translate(plugin_id id, struct qemu_plugin_tb *tb)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t                 va = qemu_plugin_insn_vaddr(insn);

        if (va >= lo && va < hi)
            qemu_plugin_register_vcpu_insn_exec_inline(insn, 0, &count[va - lo], 1);
    }
}

static void on_exit_(plugin_id id, void *arg)
{
    FILE *f = fopen(out, "w");

    (void)id, (void)arg;
    for (uint64_t i = 0; f && i < hi - lo; i++)
        if (count[i])
            fprintf(f, "%" PRIx64 " %" PRIx64 "\n", lo + i, count[i]);
    if (f)
        fclose(f);
}

EXPORT int qemu_plugin_install(plugin_id id, const plugin_info *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4))
            out = strdup(argv[i] + 4);
        else if (sscanf(argv[i], "host=%" SCNx64 "-%" SCNx64, &lo, &hi) != 2)
            return -1;
    }
    if (!out || hi <= lo || !(count = calloc(hi - lo, sizeof(*count))))
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit_, NULL);
    return 0;
}
