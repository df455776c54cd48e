/*
 * The Xen ABI, wrapped once: Debian's libxen-dev has the headers, and the sizes that a
 * guest's binary relies on are asserted here. Nothing else includes <xen/...>.
 */
#ifndef HV_ABI_H
#define HV_ABI_H

#include <stddef.h>
#include <stdint.h>

/* Else the headers give the interface of Xen 3.0. */
#define __XEN_INTERFACE_VERSION__ 0x00040e00
/* And not what only the tools of a control domain may ask for. */
#define __XEN_TOOLS__

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <xen/xen.h>

#include <xen/arch-x86/cpuid.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/callback.h>
#include <xen/domctl.h>
#include <xen/elfnote.h>
#include <xen/event_channel.h>
#include <xen/features.h>
#include <xen/grant_table.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/hvm/save.h>
#include <xen/io/console.h>
#include <xen/io/xs_wire.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/sched.h>
#include <xen/sysctl.h>
#include <xen/vcpu.h>
#include <xen/version.h>
#include <xen/vm_event.h>
#pragma GCC diagnostic pop

_Static_assert(sizeof(struct vcpu_info) == 64, "xen.h");
_Static_assert(sizeof(struct vcpu_time_info) == 32, "xen.h");
_Static_assert(sizeof(struct shared_info) <= 4096, "xen.h");
_Static_assert(sizeof(struct hvm_start_info) == 56, "start_info.h");
_Static_assert(sizeof(struct hvm_modlist_entry) == 32, "start_info.h");
_Static_assert(sizeof(struct hvm_memmap_table_entry) == 24, "start_info.h");

_Static_assert(sizeof(struct hvm_save_descriptor) == 8, "hvm/save.h");
_Static_assert(sizeof(struct hvm_hw_cpu) == 1032, "arch-x86/hvm/save.h");
_Static_assert(sizeof(struct hvm_hw_mtrr) == 240, "arch-x86/hvm/save.h");

/* Negative errno of the ABI: <xen/errno.h> is written for inclusion under a macro. */
enum {
#define XEN_ERRNO(name, value) XEN_##name = value,
#include <xen/errno.h>
#undef XEN_ERRNO
};

#endif
