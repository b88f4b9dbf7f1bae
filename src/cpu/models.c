/*
 * CPU models. x86-64-v2 and -v3 have the instructions of their psABI level, no more, so that a VM moves
 * between hosts; and the system features that kernels want, all of which are emulated and need nothing of the
 * host. `host` adds every instruction set that the host has and the engines implement.
 */
#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include "cpu/cpuid.h"
#include "cpu/vm.h"
#include "cpu/xstate.h"

const char *const cpu_model_names[] = {"x86-64-v2", "x86-64-v3", "host", NULL};

#define FEAT_END FEAT_COUNT

/* Emulated: paging, MSRs, APIC, TSC, system instructions, hints. In every model. */
static const u16 system_features[] = {
    FEAT_VME,
    FEAT_DE,
    FEAT_PSE,
    FEAT_TSC,
    FEAT_MSR,
    FEAT_PAE,
    FEAT_MCE,
    FEAT_CX8,
    FEAT_APIC,
    FEAT_SEP,
    FEAT_MTRR,
    FEAT_PGE,
    FEAT_MCA,
    FEAT_PAT,
    FEAT_PSE36,
    FEAT_CLFSH,
    FEAT_MONITOR,
    FEAT_PCID,
    FEAT_X2APIC,
    FEAT_TSC_DEADLINE,
    FEAT_HYPERVISOR,
    FEAT_FSGSBASE,
    FEAT_TSC_ADJUST,
    FEAT_SMEP,
    FEAT_ERMS,
    FEAT_INVPCID,
    FEAT_SMAP,
    FEAT_UMIP,
    FEAT_RDPID,
    FEAT_FSRM,
    FEAT_SYSCALL,
    FEAT_NX,
    FEAT_PDPE1GB,
    FEAT_RDTSCP,
    FEAT_LM,
    FEAT_CR8_LEGACY,
    FEAT_AMD_3DNOWPREFETCH,
    FEAT_TOPOEXT,
    FEAT_INVTSC,
    FEAT_WBNOINVD,
    FEAT_ARAT,
    /* True of a CPU whose engines do not speculate on the guest's behalf; they spare kernels their
       mitigations. */
    FEAT_SSB_NO,
    FEAT_BTC_NO,
    FEAT_SRSO_NO,
    FEAT_AUTOIBRS,
    FEAT_LFENCE_RDTSC,
    FEAT_NULL_SEL_CLR_BASE,
    FEAT_END,
};

/* Run on the host, or by it: psABI x86-64-v2 ... */
static const u16 v2_features[] = {
    FEAT_FPU,  FEAT_CMOV,   FEAT_MMX,    FEAT_FXSR,   FEAT_SSE,     FEAT_SSE2,   FEAT_SSE3, FEAT_SSSE3,
    FEAT_CX16, FEAT_SSE4_1, FEAT_SSE4_2, FEAT_POPCNT, FEAT_LAHF_LM, FEAT_MMXEXT, FEAT_END,
};

/* ... and what -v3 adds. */
static const u16 v3_features[] = {
    FEAT_FMA,  FEAT_MOVBE, FEAT_XSAVE, FEAT_AVX, FEAT_F16C,
    FEAT_BMI1, FEAT_AVX2,  FEAT_BMI2,  FEAT_ABM, FEAT_END,
};

/* With XSAVE, emulated. */
static const u16 xsave_features[] = {FEAT_XSAVEOPT, FEAT_XSAVEC, FEAT_XGETBV1, FEAT_XSAVES, FEAT_END};

/* Emulated, and too new for the psABI models: in `host`. */
static const u16 new_features[] = {FEAT_PKU, FEAT_PKS, FEAT_END};

/* What `host` may add. */
static const u16 host_features[] = {
    FEAT_PCLMULQDQ,
    FEAT_AES,
    FEAT_RDRAND,
    FEAT_AVX512F,
    FEAT_AVX512DQ,
    FEAT_RDSEED,
    FEAT_ADX,
    FEAT_AVX512IFMA,
    FEAT_CLFLUSHOPT,
    FEAT_CLWB,
    FEAT_AVX512CD,
    FEAT_SHA,
    FEAT_AVX512BW,
    FEAT_AVX512VL,
    FEAT_AVX512VBMI,
    FEAT_AVX512VBMI2,
    FEAT_GFNI,
    FEAT_VAES,
    FEAT_VPCLMULQDQ,
    FEAT_AVX512VNNI,
    FEAT_AVX512BITALG,
    FEAT_AVX512VPOPCNTDQ,
    FEAT_AVX512VP2INTERSECT,
    FEAT_AVX512FP16,
    FEAT_AVX_VNNI,
    FEAT_AVX512BF16,
    FEAT_SSE4A,
    FEAT_MISALIGNSSE,
    FEAT_END,
};

/* Useless without AVX-512's registers. */
static bool needs_avx512(enum cpu_feature f)
{
    switch (f) {
    case FEAT_AVX512F:
    case FEAT_AVX512DQ:
    case FEAT_AVX512IFMA:
    case FEAT_AVX512CD:
    case FEAT_AVX512BW:
    case FEAT_AVX512VL:
    case FEAT_AVX512VBMI:
    case FEAT_AVX512VBMI2:
    case FEAT_AVX512VNNI:
    case FEAT_AVX512BITALG:
    case FEAT_AVX512VPOPCNTDQ:
    case FEAT_AVX512VP2INTERSECT:
    case FEAT_AVX512FP16:
    case FEAT_AVX512BF16:
        return true;
    default:
        return false;
    }
}

static bool needs_avx(enum cpu_feature f)
{
    return f == FEAT_AVX || f == FEAT_AVX2 || f == FEAT_FMA || f == FEAT_F16C || f == FEAT_VAES ||
           f == FEAT_VPCLMULQDQ || f == FEAT_AVX_VNNI || needs_avx512(f);
}

static const struct {
    const char *name;
    u32 leaf;
    u32 subleaf;
    char reg;
    u8 bit;
} feature_bits[FEAT_COUNT] = {
#define FEATURE(id, name, leaf, subleaf, reg, bit) [FEAT_##id] = {name, leaf, subleaf, #reg[0], bit},
#include "cpu/decode/feature.def"
#undef FEATURE
};

/* XCR0 as the host's kernel has set it; 0 without OSXSAVE. */
static u64 host_xcr0(void)
{
    u32 a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & BIT(27)))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a | (u64)d << 32;
}

static bool host_has(enum cpu_feature f)
{
    u32 reg[4];
    if (needs_avx(f) && (host_xcr0() & (XCR0_X87SSE | XCR0_AVX)) != (XCR0_X87SSE | XCR0_AVX))
        return false;
    if (needs_avx512(f) && (host_xcr0() & XCR0_AVX512) != XCR0_AVX512)
        return false;
    if (!__get_cpuid_count(feature_bits[f].leaf, feature_bits[f].subleaf, &reg[0], &reg[1], &reg[2], &reg[3]))
        return false;
    /* MMXEXT is AMD's bit for what SSE has. */
    if (f == FEAT_MMXEXT)
        return true;
    return reg[feature_bits[f].reg - 'a'] >> feature_bits[f].bit & 1;
}

const char *cpu_feature_name(enum cpu_feature f)
{
    return feature_bits[f].name;
}

static bool list_has(const u16 *list, enum cpu_feature f)
{
    while (*list != FEAT_END && *list != f)
        list++;
    return *list == f;
}

bool cpu_feature_works(enum cpu_feature f)
{
    if (f == FEAT_BASE || f >= FEAT_COUNT)
        return false;
    if (list_has(system_features, f) || list_has(xsave_features, f) || list_has(new_features, f))
        return true;
    return (list_has(v2_features, f) || list_has(v3_features, f) || list_has(host_features, f)) &&
           host_has(f);
}

/* Adds features; those of `list` that the host must have and lacks are named in `missing`. */
static void add_all(struct cpu_model *model, const u16 *list, bool native, char *missing, size_t size)
{
    for (; *list != FEAT_END; list++) {
        if (!native || host_has(*list)) {
            model_add(model, *list);
        } else {
            size_t used = strlen(missing);
            snprintf(missing + used, size - used, "%s%s", used ? ", " : "", feature_bits[*list].name);
        }
    }
}

static bool host_has_all(const u16 *list)
{
    for (; *list != FEAT_END; list++)
        if (!host_has(*list))
            return false;
    return true;
}

static void add_host(struct cpu_model *model)
{
    bool avx512 = host_has(FEAT_AVX512F) && model_has(model, FEAT_AVX2);
    for (const u16 *f = host_features; *f != FEAT_END; f++)
        if (host_has(*f) && (avx512 || !needs_avx512(*f)) && (!needs_avx(*f) || model_has(model, FEAT_AVX)))
            model_add(model, *f);
    if (avx512)
        model->xcr0 |= XCR0_AVX512;
    for (const u16 *f = new_features; *f != FEAT_END; f++)
        if (*f != FEAT_PKU || model_has(model, FEAT_XSAVE))
            model_add(model, *f);
    if (model_has(model, FEAT_PKU))
        model->xcr0 |= XCR0_PKRU;
}

static void model_identify(struct cpu_model *model, unsigned cpu_count)
{
    /* AMD family 17h, model 31h (Zen 2): new enough for NullSelectorClearsBase, older quirks do not apply. */
    model->vendor = VENDOR_AMD;
    model->family = 0x17;
    model->model = 0x31;
    model->stepping = 0;
    model->cpu_count = cpu_count;
    snprintf(model->brand, sizeof model->brand, "ring3 virtual CPU (%s)", model->name);
}

static int model_init(struct cpu_model *model, const char *name, unsigned cpu_count, struct error *err)
{
    bool v3_works = host_has_all(v2_features) && host_has_all(v3_features);
    if (!name)
        name = v3_works ? "x86-64-v3" : "x86-64-v2";
    bool host = strcmp(name, "host") == 0, v3 = strcmp(name, "x86-64-v3") == 0 || (host && v3_works);
    if (!host && !v3 && strcmp(name, "x86-64-v2") != 0)
        return error_set(err, EINVAL, "unknown CPU model '%s': the models are x86-64-v2, x86-64-v3 and host",
                         name);
    if (cpu_count < 1 || cpu_count > VM_MAX_CPUS)
        return error_set(err, EINVAL, "%u CPUs are not possible: give a number from 1 to %u", cpu_count,
                         VM_MAX_CPUS);

    char missing[256] = "";
    *model = (struct cpu_model){.xcr0 = XCR0_X87SSE};
    snprintf(model->name, sizeof model->name, "%s", name);
    add_all(model, system_features, false, missing, sizeof missing);
    add_all(model, v2_features, true, missing, sizeof missing);
    if (v3) {
        add_all(model, v3_features, true, missing, sizeof missing);
        add_all(model, xsave_features, false, missing, sizeof missing);
        model->xcr0 |= XCR0_AVX;
    }
    if (missing[0])
        return error_set(err, ENOTSUP,
                         "this host's CPU cannot run the CPU model '%s': it lacks %s; try --cpu %s", name,
                         missing, v3 ? "x86-64-v2" : "host");
    if (host)
        add_host(model);
    if (cpu_count > 1) {
        model_add(model, FEAT_HTT);
        model_add(model, FEAT_CMP_LEGACY);
    }
    model_identify(model, cpu_count);
    return 0;
}

/* XCR0 and the features agree: no vector state without XSAVE, no AVX-512 without AVX2, and so on. */
static void model_settle(struct cpu_model *model)
{
    if (!model_has(model, FEAT_XSAVE)) {
        model_remove(model, FEAT_AVX);
        for (const u16 *f = xsave_features; *f != FEAT_END; f++)
            model_remove(model, *f);
        model_remove(model, FEAT_PKU);
    }
    if (!model_has(model, FEAT_AVX))
        model_remove(model, FEAT_AVX2);
    if (!model_has(model, FEAT_AVX2))
        model_remove(model, FEAT_AVX512F);
    for (unsigned f = 1; f < FEAT_COUNT; f++)
        if ((needs_avx(f) && !model_has(model, FEAT_AVX)) ||
            (needs_avx512(f) && !model_has(model, FEAT_AVX512F)))
            model_remove(model, f);
    model->xcr0 = XCR0_X87SSE;
    if (model_has(model, FEAT_AVX))
        model->xcr0 |= XCR0_AVX;
    if (model_has(model, FEAT_AVX512F))
        model->xcr0 |= XCR0_AVX512;
    if (model_has(model, FEAT_PKU))
        model->xcr0 |= XCR0_PKRU;
}

int cpu_model_init(struct cpu_model *model, const char *spec, unsigned cpu_count, struct error *err)
{
    char name[sizeof model->name] = "";
    size_t len = spec ? strcspn(spec, ",") : 0;
    if (len >= sizeof name)
        len = sizeof name - 1;
    memcpy(name, spec ? spec : "", len);
    int rc = model_init(model, spec ? name : NULL, cpu_count, err);
    if (rc < 0 || !spec)
        return rc;
    rc = cpu_model_edit(model, spec + strcspn(spec, ","), err);
    model_settle(model);
    return rc;
}

u32 model_feature_bits(const struct cpu_model *model, u32 leaf, u32 subleaf, char reg)
{
    u32 bits = 0;
    for (unsigned f = 1; f < FEAT_COUNT; f++)
        if (feature_bits[f].leaf == leaf && feature_bits[f].subleaf == subleaf &&
            feature_bits[f].reg == reg && model_has(model, (enum cpu_feature)f))
            bits |= 1u << feature_bits[f].bit;
    return bits;
}
