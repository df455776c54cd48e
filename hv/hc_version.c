/* Who we are: xen_version; and vm_assist, which turns on small agreements. */
#include <string.h>

#include "hv/control.h"
#include "hv/hc_pv.h"

#define VERSION_MAJOR 4
#define VERSION_MINOR 17

_Static_assert(sizeof(xen_extraversion_t) == 16, "version.h");

static int64_t out(struct vcpu *v, uint64_t va, const void *from, size_t len)
{
    return guest_copy_out(v, va, from, len) ? 0 : -XEN_EFAULT;
}

/* A text in a field of the ABI's size, the rest zeros. */
static int64_t out_text(struct vcpu *v, uint64_t va, const char *text, size_t field)
{
    char   buffer[1024] = { 0 };
    size_t length = strlen(text);

    if (length >= field)
        length = field - 1;
    memcpy(buffer, text, length);
    buffer[length] = '\0';
    return out(v, va, buffer, field);
}

static int64_t features(struct vcpu *v, uint64_t va)
{
    struct xen_feature_info info;

    if (!guest_copy_in(v, &info, va, sizeof(info)))
        return -XEN_EFAULT;
    if (info.submap_idx >= XENFEAT_NR_SUBMAPS)
        return -XEN_EINVAL;
    if (v->pv != NULL) {
        info.submap = UINT32_C(1) << XENFEAT_mmu_pt_update_preserve_ad |
                      UINT32_C(1) << XENFEAT_gnttab_map_avail_bits |
                      UINT32_C(1) << XENFEAT_pae_pgdir_above_4gb;
    } else {
        info.submap = UINT32_C(1) << XENFEAT_writable_page_tables |
                      UINT32_C(1) << XENFEAT_auto_translated_physmap |
                      UINT32_C(1) << XENFEAT_hvm_callback_vector |
                      UINT32_C(1) << XENFEAT_hvm_safe_pvclock;
    }
    if (domain_is_control(v->domain))
        info.submap |= UINT32_C(1) << XENFEAT_dom0;
    return out(v, va, &info, sizeof(info));
}

static int64_t compile_info(struct vcpu *v, uint64_t va)
{
    struct xen_compile_info info;

    memset(&info, 0, sizeof(info));
    memcpy(info.compiler, __VERSION__,
           sizeof(__VERSION__) < sizeof(info.compiler) ? sizeof(__VERSION__)
                                                       : sizeof(info.compiler) - 1);
    memcpy(info.compile_by, "umbra", sizeof("umbra"));
    return out(v, va, &info, sizeof(info));
}

int64_t hc_xen_version(struct vcpu *v, struct hypercall *h)
{
    struct xen_platform_parameters platform = { .virt_start = UINT64_C(0xffff800000000000) };
    xen_domain_handle_t            handle = { 0 };
    uint64_t                       va = h->arg[1];

    switch (h->arg[0]) {
    case XENVER_version:
        return VERSION_MAJOR << 16 | VERSION_MINOR;
    case XENVER_extraversion:
        return out_text(v, va, ".0-umbra", sizeof(xen_extraversion_t));
    case XENVER_compile_info:
        return compile_info(v, va);
    case XENVER_capabilities:
        return out_text(v, va, "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ",
                        sizeof(xen_capabilities_info_t));
    case XENVER_changeset:
        return out_text(v, va, "", sizeof(xen_changeset_info_t));
    case XENVER_platform_parameters:
        return out(v, va, &platform, sizeof(platform));
    case XENVER_get_features:
        return features(v, va);
    case XENVER_pagesize:
        return PAGE_SIZE;
    case XENVER_guest_handle:
        handle[14] = (uint8_t)(v->domain->id >> 8);
        handle[15] = (uint8_t)v->domain->id;
        return out(v, va, &handle, sizeof(handle));
    case XENVER_commandline:
        return out_text(v, va, "", sizeof(xen_commandline_t));
    case XENVER_build_id:
        return -XEN_ENODATA;
    default:
        return -XEN_ENOSYS;
    }
}

/* What a guest of its kind may turn on. For a PV guest all but the last are always so. */
uint32_t hc_vm_assists(const struct vcpu *v)
{
    uint32_t pv = UINT32_C(1) << VMASST_TYPE_4gb_segments |
                  UINT32_C(1) << VMASST_TYPE_writable_pagetables |
                  UINT32_C(1) << VMASST_TYPE_pae_extended_cr3;

    return (v->pv != NULL ? pv : 0) | UINT32_C(1) << VMASST_TYPE_runstate_update_flag;
}

int64_t hc_vm_assist(struct vcpu *v, struct hypercall *h)
{
    uint32_t bit;

    if (h->arg[1] > 31 || (hc_vm_assists(v) >> h->arg[1] & 1) == 0)
        return -XEN_EINVAL;
    bit = UINT32_C(1) << h->arg[1];
    switch (h->arg[0]) {
    case VMASST_CMD_enable:
        v->domain->vm_assist |= bit;
        return 0;
    case VMASST_CMD_disable:
        v->domain->vm_assist &= ~bit;
        return 0;
    default:
        return -XEN_ENOSYS;
    }
}
