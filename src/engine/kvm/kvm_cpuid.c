/*
 * CPUID for KVM (4.46, 4.92): the model's leaves, each feature bit only if KVM can show it. What is left out
 * is named once in the log. The size and place of extended state (leaf 0Dh) are the host processor's: XSAVE
 * runs on it.
 */
#include <stdlib.h>
#include <string.h>
#include "cpu/ctrl.h"
#include "cpu/xstate.h"
#include "engine/kvm/kvm_impl.h"

#define BASIC_LAST    0x16u
#define EXTENDED_BASE 0x80000000u
#define EXTENDED_LAST 0x80000021u
#define HYPERVISOR    0x40000000u

#define F_X2APIC       BIT(21) /* 1:ECX */
#define F_TSC_DEADLINE BIT(24)
#define F_MONITOR      BIT(3)
#define F_HYPERVISOR   BIT(31)
#define F_OSXSAVE      BIT(27)
#define F_OSPKE        BIT(4) /* 7:ECX */

struct builder {
    struct vcpu *v;
    const struct kvm_vm *k;
    struct kvm_cpuid2 *out; /* with room for KVM_CPUID_MAX */
    bool report;
};

struct kvm_cpuid2 *kvm_cpuid_list(void)
{
    return calloc(1, sizeof(struct kvm_cpuid2) + KVM_CPUID_MAX * sizeof(struct kvm_cpuid_entry2));
}

static const struct kvm_cpuid_entry2 *supported(const struct kvm_vm *k, u32 leaf, u32 subleaf)
{
    for (u32 i = 0; i < k->supported->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &k->supported->entries[i];
        if (e->function == leaf && (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf))
            return e;
    }
    return NULL;
}

u32 kvm_cpuid_supported(const struct kvm_vm *k, u32 leaf, u32 subleaf, char reg)
{
    const struct kvm_cpuid_entry2 *e = supported(k, leaf, subleaf);
    if (!e)
        return 0;
    return reg == 'a' ? e->eax : reg == 'b' ? e->ebx : reg == 'c' ? e->ecx : e->edx;
}

static void add(struct builder *b, u32 leaf, u32 subleaf, u32 flags, const struct cpuid_regs *r)
{
    if (b->out->nent == KVM_CPUID_MAX)
        return;
    b->out->entries[b->out->nent++] = (struct kvm_cpuid_entry2){.function = leaf,
                                                                .index = subleaf,
                                                                .flags = flags,
                                                                .eax = r->eax,
                                                                .ebx = r->ebx,
                                                                .ecx = r->ecx,
                                                                .edx = r->edx};
}

/* `always`: bits that need nothing of KVM. */
static void mask(struct builder *b, u32 leaf, u32 subleaf, char reg, u32 *value, u32 always)
{
    u32 lost = *value & ~(kvm_cpuid_supported(b->k, leaf, subleaf, reg) | always);
    *value &= ~lost;
    if (lost && b->report)
        log_trace(b->v->vm->log, TRACE_CPU, "KVM cannot show the CPU model's CPUID %#x.%u E%cX bits %#x",
                  leaf, subleaf, reg - 'a' + 'A', lost);
}

static struct cpuid_regs leaf_regs(struct builder *b, u32 leaf, u32 subleaf)
{
    struct cpuid_regs r = cpuid_query(b->v, leaf, subleaf);
    switch (leaf) {
    case 1:
        mask(b, 1, 0, 'c', &r.ecx, F_HYPERVISOR | F_OSXSAVE);
        mask(b, 1, 0, 'd', &r.edx, 0);
        r.ecx &= ~(u32)(F_X2APIC | F_TSC_DEADLINE | F_MONITOR); /* the local APIC's are ours; HLT idles */
        r.edx |= BIT(9);                                        /* KVM follows APIC_BASE */
        break;
    case 7:
        if (subleaf == 0) {
            mask(b, 7, 0, 'b', &r.ebx, 0);
            mask(b, 7, 0, 'c', &r.ecx, F_OSPKE);
            mask(b, 7, 0, 'd', &r.edx, 0);
        } else {
            mask(b, 7, subleaf, 'a', &r.eax, 0);
        }
        break;
    case 0x80000001:
        mask(b, leaf, 0, 'c', &r.ecx, 0);
        mask(b, leaf, 0, 'd', &r.edx, kvm_cpuid_supported(b->k, 1, 0, 'd'));
        break;
    case 0x80000008:
        mask(b, leaf, 0, 'b', &r.ebx, 0);
        break;
    case 0x80000021:
        mask(b, leaf, 0, 'a', &r.eax, 0);
        break;
    case 0x8000000a:
        r = (struct cpuid_regs){0};
        break;
    case 0x15:
    case 0x16: {
        struct kvm_cpu *c = b->v->engine;
        if (leaf == 0x15)
            r = (struct cpuid_regs){1, 1, (u32)(c->tsc_khz * 1000), 0};
        else
            r = (struct cpuid_regs){(u32)(c->tsc_khz / 1000), (u32)(c->tsc_khz / 1000), 100, 0};
        break;
    }
    default:
        break;
    }
    return r;
}

/* The components that both the model and KVM have; the places are the host's. */
static void add_xstate(struct builder *b)
{
    const struct kvm_vm *k = b->k;
    u64 xcr0 = b->v->vm->model.xcr0 &
               (kvm_cpuid_supported(k, 0xd, 0, 'a') | (u64)kvm_cpuid_supported(k, 0xd, 0, 'd') << 32);
    u32 size = XSTATE_FIRST;
    if (!cpu_has(b->v, FEAT_XSAVE) || !(kvm_cpuid_supported(k, 1, 0, 'c') & BIT(26)))
        return;
    for (unsigned i = 2; i < ARRAY_LEN(k->xstate_len); i++)
        if (xcr0 >> i & 1)
            size = MAX(size, k->xstate_offset[i] + k->xstate_len[i]);
    struct cpuid_regs r = {(u32)xcr0, size, size, (u32)(xcr0 >> 32)};
    add(b, 0xd, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, &r);
    r = cpuid_query(b->v, 0xd, 1);
    mask(b, 0xd, 1, 'a', &r.eax, 0);
    add(b, 0xd, 1, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, &r);
    for (unsigned i = 2; i < ARRAY_LEN(k->xstate_len); i++) {
        r = (struct cpuid_regs){k->xstate_len[i], k->xstate_offset[i], kvm_cpuid_supported(k, 0xd, i, 'c'),
                                0};
        if (xcr0 >> i & 1)
            add(b, 0xd, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, &r);
    }
}

static void add_leaf(struct builder *b, u32 leaf)
{
    unsigned subleaves = leaf == 4 || leaf == 0x8000001d ? 5 : leaf == 7 ? 2 : leaf == 0xb ? 3 : 0;
    if (leaf == 0xd) {
        add_xstate(b);
        return;
    }
    for (unsigned i = 0; i < MAX(subleaves, 1); i++) {
        struct cpuid_regs r = leaf_regs(b, leaf, i);
        add(b, leaf, i, subleaves ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0, &r);
    }
}

int kvm_cpuid_set(struct vcpu *v, struct error *err)
{
    struct kvm_cpu *c = v->engine;
    struct builder b = {.v = v, .k = c->vm, .report = v->index == 0};
    b.out = kvm_cpuid_list();
    if (!b.out)
        return error_set(err, ENOMEM, "no memory for KVM's CPUID");
    for (u32 leaf = 0; leaf <= BASIC_LAST; leaf++)
        add_leaf(&b, leaf);
    add_leaf(&b, HYPERVISOR);
    for (u32 leaf = EXTENDED_BASE; leaf <= EXTENDED_LAST; leaf++)
        add_leaf(&b, leaf);
    int rc = kvm_cpu_call(c, KVM_SET_CPUID2, b.out);
    free(b.out);
    if (rc < 0)
        return error_set(err, -rc, "KVM refuses the CPU model \"%s\": %s; try --cpu host", v->vm->model.name,
                         strerror(-rc));
    return 0;
}
