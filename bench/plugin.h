/*
 * The part of QEMU's plugin API, version 1, that the counter uses: Debian ships no header of it.
 * The names are QEMU's.
 */
#ifndef BENCH_PLUGIN_H
#define BENCH_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLUGIN_EXPORT         __attribute__((visibility("default")))
#define PLUGIN_CB_NO_REGS     0
#define PLUGIN_INLINE_ADD_U64 0

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef struct {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    union {
        struct {
            int smp_vcpus, max_vcpus;
        } system;
    };
} plugin_info;

typedef void (*plugin_callback)(unsigned vcpu, void *arg);

void   qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
                                             void (*run)(plugin_id, struct qemu_plugin_tb *));
void   qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, plugin_callback run,
                                              int flags, void *arg);
void   qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int operation,
                                                  void *counter, uint64_t add);
void   qemu_plugin_register_atexit_cb(plugin_id id, void (*run)(plugin_id, void *), void *arg);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void              *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t                   qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t                 qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void                    *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *insn);

#endif
