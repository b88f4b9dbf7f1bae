/* CPU models: what CPUID says, and which instructions and registers therefore exist. */
#ifndef RING3_CPU_CPUID_H
#define RING3_CPU_CPUID_H

#include "base/error.h"
#include "cpu/decode/feature.h"

enum cpu_vendor { VENDOR_INTEL, VENDOR_AMD };

struct cpu_model {
    char name[24];
    enum cpu_vendor vendor;
    u32 family, model, stepping;
    char brand[49];
    u64 features[(FEAT_COUNT + 63) / 64]; /* bit per enum cpu_feature */
    u64 xcr0;                             /* the XCR0 bits that may be set */
    unsigned cpu_count;
};

struct cpuid_regs {
    u32 eax, ebx, ecx, edx;
};

static inline bool model_has(const struct cpu_model *model, enum cpu_feature f)
{
    return f == FEAT_BASE || (model->features[f / 64] >> (f % 64) & 1);
}

static inline void model_add(struct cpu_model *model, enum cpu_feature f)
{
    model->features[f / 64] |= BIT(f % 64);
}

static inline void model_remove(struct cpu_model *model, enum cpu_feature f)
{
    model->features[f / 64] &= ~BIT(f % 64);
}

/*
 * Fills `model` from a name: "x86-64-v2", "x86-64-v3" or "host" (NULL: v3 where the host can, else v2), which
 * edits may follow: "host,-pcid,vendor=GenuineIntel" (see cpu_model_edit). Fails with a
 * sentence that lists the known models, or the features that this host lacks. A feature is in a model only
 * if the engines implement it and, for instructions that run natively, the host has it.
 */
int cpu_model_init(struct cpu_model *model, const char *spec, unsigned cpu_count, struct error *err);

/*
 * Applies ",+FEATURE", ",-FEATURE", ",vendor=AuthenticAMD" and ",vendor=GenuineIntel", in their order.
 * Features have the names of feature.def, written with '-', '_' or '.'. Fails at an unknown word, and at a
 * feature that cannot be had here.
 */
int cpu_model_edit(struct cpu_model *model, const char *edits, struct error *err);

/* A feature's name; and whether a model may have it: the engines have it, and the host where it must. */
const char *cpu_feature_name(enum cpu_feature f);
bool cpu_feature_works(enum cpu_feature f);

/* The names of the models, for --help: NULL-terminated. */
extern const char *const cpu_model_names[];

/* The feature bits of one CPUID register ('a'..'d') that this model has. */
u32 model_feature_bits(const struct cpu_model *model, u32 leaf, u32 subleaf, char reg);

struct vcpu;
/* CPUID as this vCPU executes it (dynamic bits: OSXSAVE, APIC, APIC id, XSAVE sizes). */
struct cpuid_regs cpuid_query(const struct vcpu *v, u32 leaf, u32 subleaf);

#endif
