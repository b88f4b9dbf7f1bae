/* Model-specific registers that KVM keeps (4.18, 4.19): those that it knows of this list. */
#include <string.h>
#include "cpu/msr.h"
#include "engine/kvm/kvm_impl.h"

#define FIELD(name) offsetof(struct vcpu, msr.name)
#define MSRS_MAX    64

static const struct {
    u32 number;
    u16 count;
    size_t field; /* of `count` u64s in struct vcpu */
} table[] = {
    {MSR_STAR, 1, FIELD(star)},
    {MSR_LSTAR, 1, FIELD(lstar)},
    {MSR_CSTAR, 1, FIELD(cstar)},
    {MSR_SFMASK, 1, FIELD(sfmask)},
    {MSR_KERNEL_GS_BASE, 1, FIELD(kernel_gs_base)},
    {MSR_TSC_AUX, 1, FIELD(tsc_aux)},
    {MSR_SYSENTER_CS, 1, FIELD(sysenter_cs)},
    {MSR_SYSENTER_ESP, 1, FIELD(sysenter_esp)},
    {MSR_SYSENTER_EIP, 1, FIELD(sysenter_eip)},
    {MSR_PAT, 1, FIELD(pat)},
    {MSR_MISC_ENABLE, 1, FIELD(misc_enable)},
    {MSR_TSC_ADJUST, 1, FIELD(tsc_adjust)},
    {MSR_MTRR_DEF_TYPE, 1, FIELD(mtrr_def_type)},
    {MSR_MTRR_FIX64K, 1, FIELD(mtrr_fixed[0])},
    {MSR_MTRR_FIX16K, 2, FIELD(mtrr_fixed[1])},
    {MSR_MTRR_FIX4K, 8, FIELD(mtrr_fixed[3])},
};

/* KVM's list, and where its values belong. */
struct msr_list {
    _Alignas(8) u8 space[sizeof(struct kvm_msrs) + MSRS_MAX * sizeof(struct kvm_msr_entry)];
    struct kvm_msrs *kvm; /* in `space` */
    u64 *field[MSRS_MAX]; /* NULL: a variable range's, or the TSC */
};

static void list_add(struct msr_list *list, u32 number, u64 *field)
{
    list->kvm->entries[list->kvm->nmsrs] =
        (struct kvm_msr_entry){.index = number, .data = field ? *field : 0};
    list->field[list->kvm->nmsrs++] = field;
}

static void list_fill(struct msr_list *list, struct vcpu *v)
{
    memset(list, 0, sizeof *list);
    list->kvm = (struct kvm_msrs *)(void *)list->space;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        for (unsigned n = 0; n < table[i].count; n++)
            list_add(list, table[i].number + n, (u64 *)(void *)((u8 *)v + table[i].field) + n);
    for (unsigned n = 0; n < ARRAY_LEN(v->msr.mtrr_base); n++) {
        list_add(list, MSR_MTRR_PHYS + 2 * n, &v->msr.mtrr_base[n]);
        list_add(list, MSR_MTRR_PHYS + 2 * n + 1, &v->msr.mtrr_mask[n]);
    }
}

/* KVM stops at the first register that it does not have; each is asked for by itself then. */
static bool one(struct vcpu *v, unsigned long request, struct kvm_msr_entry *entry)
{
    _Alignas(8) u8 space[sizeof(struct kvm_msrs) + sizeof *entry] = {0};
    struct kvm_msrs *list = (struct kvm_msrs *)(void *)space;
    list->nmsrs = 1;
    list->entries[0] = *entry;
    int rc = kvm_cpu_call(v->engine, request, list);
    *entry = list->entries[0];
    return rc == 1;
}

bool kvm_msrs_pull(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    struct msr_list list;
    list_fill(&list, v);
    int rc = kvm_cpu_call(c, KVM_GET_MSRS, list.kvm);
    for (u32 i = 0; i < list.kvm->nmsrs; i++)
        if ((int)i < rc || one(v, KVM_GET_MSRS, &list.kvm->entries[i]))
            *list.field[i] = list.kvm->entries[i].data;
    struct kvm_msr_entry tsc = {.index = MSR_TSC};
    if (!one(v, KVM_GET_MSRS, &tsc))
        return false;
    v->tsc_offset = (s64)(tsc.data - clock_now(v->vm->clock));
    return true;
}

/* A register that KVM has not is one whose every value but the present one it would refuse: not an error. */
bool kvm_msrs_push(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    struct msr_list list;
    list_fill(&list, v);
    int rc = kvm_cpu_call(c, KVM_SET_MSRS, list.kvm);
    if (rc < 0)
        return false;
    for (u32 i = (u32)rc; i < list.kvm->nmsrs; i++)
        if (!one(v, KVM_SET_MSRS, &list.kvm->entries[i]))
            log_trace(v->vm->log, TRACE_CPU, "cpu%u: KVM does not take %#llx in MSR %#x", v->index,
                      (unsigned long long)list.kvm->entries[i].data, list.kvm->entries[i].index);
    struct kvm_msr_entry tsc = {.index = MSR_TSC, .data = cpu_tsc(v)};
    return one(v, KVM_SET_MSRS, &tsc);
}
