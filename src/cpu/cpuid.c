/*
 * The CPUID instruction (SDM vol. 2A CPUID; AMD APM vol. 3 appendix E). One package, one thread per core, one
 * core per CPU; the APIC ID is the CPU's index. Feature bits come from the model; a few depend on the state.
 */
#include "base/bytes.h"
#include "cpu/cpuid.h"
#include "cpu/ctrl.h"
#include "cpu/msr.h"
#include "cpu/xstate.h"

#define MAX_BASIC    0x16u
#define MAX_EXTENDED 0x80000021u
#define HYPERVISOR   0x40000000u

static u32 text4(const char *s)
{
    return load_le32(s);
}

static u32 signature(const struct cpu_model *m)
{
    u32 family = m->family > 15 ? (m->family - 15) << 20 | 15 << 8 : m->family << 8;
    return family | (m->model >> 4) << 16 | (m->model & 15) << 4 | m->stepping;
}

/* Bits of an APIC ID that number the CPU in its package. */
static unsigned id_bits(const struct cpu_model *m)
{
    unsigned bits = 0;
    while (1u << bits < m->cpu_count)
        bits++;
    return bits;
}

static struct cpuid_regs features(const struct cpu_model *m, u32 leaf, u32 subleaf)
{
    return (struct cpuid_regs){
        model_feature_bits(m, leaf, subleaf, 'a'),
        model_feature_bits(m, leaf, subleaf, 'b'),
        model_feature_bits(m, leaf, subleaf, 'c'),
        model_feature_bits(m, leaf, subleaf, 'd'),
    };
}

static struct cpuid_regs vendor(const struct cpu_model *m, u32 max)
{
    const char *name = m->vendor == VENDOR_AMD ? "AuthenticAMD" : "GenuineIntel";
    return (struct cpuid_regs){max, text4(name), text4(name + 8), text4(name + 4)};
}

/* CPUID.1:EDX.APIC follows the enable bit of APIC_BASE. */
static bool apic_enabled(const struct vcpu *v)
{
    u64 base = 0;
    if (!v->apic_ops)
        return false;
    pthread_mutex_lock(v->vm->machine_lock);
    bool ok = v->apic_ops->msr_read(v->apic, MSR_APIC_BASE, &base);
    pthread_mutex_unlock(v->vm->machine_lock);
    return ok && (base & BIT(11));
}

static struct cpuid_regs leaf_1(const struct vcpu *v)
{
    const struct cpu_model *m = &v->vm->model;
    struct cpuid_regs r = features(m, 1, 0);
    r.eax = signature(m);
    r.ebx = 8 << 8 | (m->cpu_count & 0xff) << 16 | v->index << 24; /* CLFLUSH: 8 quadwords */
    if (v->cr4 & CR4_OSXSAVE)
        r.ecx |= 1u << 27;
    if (!apic_enabled(v))
        r.edx &= ~(1u << 9);
    return r;
}

static struct cpuid_regs leaf_7(const struct vcpu *v, u32 subleaf)
{
    struct cpuid_regs r = features(&v->vm->model, 7, subleaf);
    if (subleaf == 0) {
        r.eax = 1;
        if (v->cr4 & CR4_PKE)
            r.ecx |= 1u << 4;
    }
    return r;
}

/* Extended topology: thread, core. */
static struct cpuid_regs leaf_b(const struct vcpu *v, u32 subleaf)
{
    const struct cpu_model *m = &v->vm->model;
    struct cpuid_regs r = {.ecx = subleaf & 0xff, .edx = v->index};
    if (subleaf == 0) {
        r.ebx = 1;
        r.ecx |= 1 << 8;
    } else if (subleaf == 1) {
        r.eax = id_bits(m);
        r.ebx = m->cpu_count;
        r.ecx |= 2 << 8;
    }
    return r;
}

static struct cpuid_regs leaf_d(const struct vcpu *v, u32 subleaf)
{
    const struct cpu_model *m = &v->vm->model;
    if (!model_has(m, FEAT_XSAVE))
        return (struct cpuid_regs){0};
    if (subleaf == 0)
        return (struct cpuid_regs){(u32)m->xcr0, xstate_size(v->xcr0), xstate_size(m->xcr0),
                                   (u32)(m->xcr0 >> 32)};
    if (subleaf == 1) {
        struct cpuid_regs r = features(m, 0xd, 1);
        r.ebx = xstate_compact_size(v->xcr0 | v->msr.xss);
        r.ecx = (u32)XSS_SUPPORTED;
        return r;
    }
    if (subleaf >= XSTATE_COUNT || !(m->xcr0 >> subleaf & 1))
        return (struct cpuid_regs){0};
    struct xstate_layout l = xstate_layout(subleaf);
    return (struct cpuid_regs){l.size, l.offset, 0, 0};
}

static struct cpuid_regs basic(const struct vcpu *v, u32 leaf, u32 subleaf)
{
    const struct cpu_model *m = &v->vm->model;
    switch (leaf) {
    case 0:
        return vendor(m, MAX_BASIC);
    case 1:
        return leaf_1(v);
    case 5: /* MONITOR: 64-byte lines; MWAIT's ECX[0] works; no C-states, so that kernels idle with HLT */
        return model_has(m, FEAT_MONITOR) ? (struct cpuid_regs){64, 64, 3, 0} : (struct cpuid_regs){0};
    case 6:
        return features(m, 6, 0);
    case 7:
        return leaf_7(v, subleaf);
    case 0xb:
        return leaf_b(v, subleaf);
    case 0xd:
        return leaf_d(v, subleaf);
    case 0x15: /* TSC = crystal * EBX / EAX */
        return (struct cpuid_regs){1, 1, (u32)TSC_HZ, 0};
    case 0x16: /* MHz: base, maximum, bus */
        return (struct cpuid_regs){TSC_HZ / 1000000, TSC_HZ / 1000000, 100, 0};
    default:
        return (struct cpuid_regs){0};
    }
}

static struct cpuid_regs ext_1(const struct vcpu *v)
{
    const struct cpu_model *m = &v->vm->model;
    struct cpuid_regs r = features(m, 0x80000001, 0);
    r.eax = signature(m);
    /* AMD repeats leaf 1's EDX, but for SYSENTER, SSE and the like. */
    if (m->vendor == VENDOR_AMD)
        r.edx |= leaf_1(v).edx & 0x0183f3ff;
    return r;
}

static struct cpuid_regs brand(const struct cpu_model *m, unsigned part)
{
    char text[49] = {0};
    memcpy(text, m->brand, sizeof text - 1);
    const char *s = text + part * 16;
    return (struct cpuid_regs){text4(s), text4(s + 4), text4(s + 8), text4(s + 12)};
}

/* Deterministic cache parameters: level, type (1 data, 2 code, 3 both), ways, KiB; private or shared by all.
 */
static struct cpuid_regs cache_leaf(const struct vcpu *v, u32 subleaf)
{
    static const struct {
        u8 level, type, ways;
        u16 kib;
        bool shared;
    } cache[] = {{1, 1, 8, 32, false}, {1, 2, 8, 32, false}, {2, 3, 8, 512, false}, {3, 3, 16, 16384, true}};
    if (subleaf >= ARRAY_LEN(cache))
        return (struct cpuid_regs){0};
    u32 sharers = cache[subleaf].shared ? v->vm->model.cpu_count : 1;
    u32 sets = cache[subleaf].kib * 1024u / 64 / cache[subleaf].ways;
    return (struct cpuid_regs){
        .eax = cache[subleaf].type | cache[subleaf].level << 5 | 1 << 8 | (sharers - 1) << 14,
        .ebx = (cache[subleaf].ways - 1u) << 22 | 63,
        .ecx = sets - 1,
        .edx = subleaf == 3 ? 1 : 0, /* WBINVD does not reach the others' */
    };
}

static struct cpuid_regs ext_8(const struct vcpu *v)
{
    const struct cpu_model *m = &v->vm->model;
    struct cpuid_regs r = features(m, 0x80000008, 0);
    r.eax = PHYS_BITS | 48 << 8;
    r.ecx = (m->cpu_count - 1) | id_bits(m) << 12;
    return r;
}

static struct cpuid_regs extended(const struct vcpu *v, u32 leaf, u32 subleaf)
{
    const struct cpu_model *m = &v->vm->model;
    switch (leaf) {
    case 0x80000000:
        return vendor(m, MAX_EXTENDED);
    case 0x80000001:
        return ext_1(v);
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        return brand(m, leaf - 0x80000002);
    case 0x80000005: /* L1: 64-entry TLBs; 32 KiB, 8 ways, 64-byte lines */
        return (struct cpuid_regs){0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140};
    case 0x80000006: /* L2 TLB; L2: 512 KiB, 8 ways; L3: 16 MiB, 16 ways */
        return (struct cpuid_regs){0x48006400, 0x68006400, 0x02006140, 32u << 18 | 8 << 12 | 1 << 8 | 64};
    case 0x80000007:
    case 0x8000000a:
    case 0x80000021:
        return features(m, leaf, 0);
    case 0x80000008:
        return ext_8(v);
    case 0x8000001d:
        return cache_leaf(v, subleaf);
    case 0x8000001e: /* topology: one thread per core, node 0 of 1 */
        return (struct cpuid_regs){v->index, v->index & 0xff, 0, 0};
    default:
        return (struct cpuid_regs){0};
    }
}

struct cpuid_regs cpuid_query(const struct vcpu *v, u32 leaf, u32 subleaf)
{
    if (leaf <= MAX_BASIC)
        return basic(v, leaf, subleaf);
    if (leaf >= 0x80000000 && leaf <= MAX_EXTENDED)
        return extended(v, leaf, subleaf);
    if (leaf == HYPERVISOR && model_has(&v->vm->model, FEAT_HYPERVISOR)) {
        static const char name[12] = "ring3";
        return (struct cpuid_regs){HYPERVISOR, text4(name), text4(name + 4), text4(name + 8)};
    }
    /* Intel answers an unknown leaf with the highest basic one, AMD with zeros. */
    if (v->vm->model.vendor == VENDOR_INTEL && leaf >> 30 != 1)
        return basic(v, MAX_BASIC, subleaf);
    return (struct cpuid_regs){0};
}
