/* CPU models, and CPUID's agreement with itself. */
#include "cpu/xstate.h"
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;

static struct cpuid_regs q(u32 leaf, u32 subleaf)
{
    return cpuid_query(t.v, leaf, subleaf);
}

static void test_models(void)
{
    struct cpu_model m;
    struct error err = {0};
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2", 1, &err), 0);
    CHECK(model_has(&m, FEAT_SSE4_2) && !model_has(&m, FEAT_AVX) && !model_has(&m, FEAT_XSAVE));
    CHECK(!model_has(&m, FEAT_HTT));
    CHECK_EQ(cpu_model_init(&m, "z80", 1, &err), -EINVAL);
    CHECK(strstr(err.message, "x86-64-v3") != NULL);
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2", 0, &err), -EINVAL);
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2", 65, &err), -EINVAL);
    for (unsigned i = 0; cpu_model_names[i]; i++) {
        int rc = cpu_model_init(&m, cpu_model_names[i], 4, &err);
        CHECK(rc == 0 || rc == -ENOTSUP);
        if (rc == 0) {
            CHECK_STR(m.name, cpu_model_names[i]);
            CHECK_EQ(m.xcr0 & XCR0_AVX, model_has(&m, FEAT_AVX) ? XCR0_AVX : 0);
            CHECK_EQ(m.xcr0 & XCR0_AVX512, model_has(&m, FEAT_AVX512F) ? XCR0_AVX512 : 0);
            CHECK_EQ(!!(m.xcr0 & XCR0_PKRU), model_has(&m, FEAT_PKU));
            CHECK(!model_has(&m, FEAT_LA57) && !model_has(&m, FEAT_SVM));
        }
    }
    CHECK_EQ(cpu_model_init(&m, NULL, 1, &err), 0);
}

static void test_edits(void)
{
    struct cpu_model m;
    struct error err = {0};
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2,-pcid,-sse4_1,vendor=GenuineIntel", 2, &err), 0);
    CHECK(!model_has(&m, FEAT_PCID) && !model_has(&m, FEAT_SSE4_1) && model_has(&m, FEAT_INVPCID));
    CHECK_EQ(m.vendor, VENDOR_INTEL);
    CHECK_STR(m.name, "x86-64-v2");
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2,-pcid,+pcid", 1, &err), 0);
    CHECK(model_has(&m, FEAT_PCID));
    /* What rests on a feature goes with it. */
    if (cpu_model_init(&m, "host,-xsave", 1, &err) == 0) {
        CHECK(!model_has(&m, FEAT_PKU) && model_has(&m, FEAT_PKS));
        CHECK(!model_has(&m, FEAT_AVX2) && !model_has(&m, FEAT_XSAVES) && !model_has(&m, FEAT_AVX512BW));
        CHECK_EQ(m.xcr0, XCR0_X87SSE);
    }
    if (cpu_model_init(&m, "host,-avx2", 1, &err) == 0)
        CHECK(!model_has(&m, FEAT_AVX512VL) && !(m.xcr0 & XCR0_AVX512));
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2,+svm", 1, &err), -ENOTSUP);
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2,+pci", 1, &err), -EINVAL);
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2,+pcidx", 1, &err), -EINVAL);
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2,", 1, &err), -EINVAL);
    CHECK_EQ(cpu_model_init(&m, "x86-64-v2,vendor=Zilog", 1, &err), -EINVAL);
}

static void test_names(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    char text[49] = {0};
    struct cpuid_regs r = q(0, 0);
    CHECK(r.eax >= 0xd && r.eax < 0x20);
    memcpy(text, &r.ebx, 4);
    memcpy(text + 4, &r.edx, 4);
    memcpy(text + 8, &r.ecx, 4);
    CHECK_STR(text, "AuthenticAMD");
    r = q(0x40000000, 0);
    memcpy(text, &r.ebx, 4);
    memcpy(text + 4, &r.ecx, 4);
    memcpy(text + 8, &r.edx, 4);
    CHECK_STR(text, "ring3");
    for (unsigned i = 0; i < 3; i++) {
        r = q(0x80000002 + i, 0);
        memcpy(text + 16 * i, &r, 16);
    }
    CHECK_STR(text, "ring3 virtual CPU (x86-64-v2)");
    CHECK_EQ(q(1, 0).eax, 0x00830f10);
    CHECK_EQ(q(0x80000001, 0).eax, q(1, 0).eax);
    r = q(q(0, 0).eax + 1, 0);
    CHECK_EQ(r.eax | r.ebx | r.ecx | r.edx, 0);
    r = q(q(0x80000000, 0).eax + 1, 0);
    CHECK_EQ(r.eax | r.ebx | r.ecx | r.edx, 0);
    cpu_vm_destroy(&t);
}

/* Every feature of the model shows at its place, and nothing else does. */
static void test_feature_bits(void)
{
    cpu_vm_create(&t, NULL, 1);
    static const struct {
        u16 id;
        u32 leaf, subleaf;
        char reg;
        u8 bit;
    } bits[] = {
#define FEATURE(id, name, leaf, subleaf, reg, bit) {FEAT_##id, leaf, subleaf, #reg[0], bit},
#include "cpu/decode/feature.def"
#undef FEATURE
    };
    for (unsigned i = 0; i < ARRAY_LEN(bits); i++) {
        if (bits[i].id == FEAT_APIC || bits[i].id == FEAT_OSXSAVE || bits[i].id == FEAT_OSPKE)
            continue; /* follow the state */
        struct cpuid_regs r = q(bits[i].leaf, bits[i].subleaf);
        u32 reg[] = {r.eax, r.ebx, r.ecx, r.edx};
        CHECK_EQ(reg[bits[i].reg - 'a'] >> bits[i].bit & 1,
                 model_has(&t.vm.model, (enum cpu_feature)bits[i].id));
    }
    CHECK_EQ(q(0x80000001, 0).edx & 0x0183f3ff, q(1, 0).edx & 0x0183f3ff);
    CHECK(!(q(1, 0).edx & BIT(9))); /* no APIC is connected */
    t.v->cr4 |= CR4_OSXSAVE;
    CHECK(q(1, 0).ecx & BIT(27));
    cpu_vm_destroy(&t);
}

static void test_topology(void)
{
    cpu_vm_create(&t, "x86-64-v2", 6);
    for (unsigned i = 0; i < 6; i++) {
        t.v = t.vm.cpu[i];
        CHECK_EQ(q(1, 0).ebx >> 24, i);
        CHECK_EQ(q(1, 0).ebx >> 16 & 0xff, 6);
        CHECK_EQ(q(0xb, 0).edx, i);
        CHECK_EQ(q(0x8000001e, 0).eax, i);
    }
    CHECK_EQ(q(0xb, 0).eax, 0);
    CHECK_EQ(q(0xb, 0).ebx, 1);
    CHECK_EQ(q(0xb, 0).ecx, 0x100);
    CHECK_EQ(q(0xb, 1).eax, 3);
    CHECK_EQ(q(0xb, 1).ebx, 6);
    CHECK_EQ(q(0xb, 1).ecx, 0x201);
    CHECK_EQ(q(0xb, 2).ecx, 2);
    CHECK_EQ(q(0xb, 2).ebx, 0);
    CHECK_EQ(q(0x80000008, 0).ecx, 3 << 12 | 5);
    CHECK_EQ(q(0x80000008, 0).eax, 48 << 8 | PHYS_BITS);
    CHECK(q(1, 0).edx & BIT(28));
    /* Caches: size = ways * line * sets. */
    static const u32 kib[] = {32, 32, 512, 16384};
    for (unsigned i = 0; i < 4; i++) {
        struct cpuid_regs r = q(0x8000001d, i);
        CHECK_EQ(((r.ebx >> 22) + 1) * ((r.ebx & 0xfff) + 1) * (r.ecx + 1), kib[i] << 10);
        CHECK_EQ((r.eax >> 14 & 0xfff) + 1, i == 3 ? 6 : 1);
    }
    CHECK_EQ(q(0x8000001d, 4).eax & 31, 0);
    cpu_vm_destroy(&t);
}

/* The standard format's size, from the subleaves. */
static u32 xsave_end(u64 all)
{
    u32 end = 576;
    for (unsigned i = 2; i < 64; i++) {
        struct cpuid_regs r = q(0xd, i);
        CHECK_EQ(r.eax != 0, all >> i & 1);
        if (r.eax && r.ebx + r.eax > end)
            end = r.ebx + r.eax;
    }
    return end;
}

static void test_xsave_leaf(void)
{
    cpu_vm_create(&t, NULL, 1);
    struct vcpu *v = t.v;
    if (cpu_has(v, FEAT_XSAVE)) {
        u64 all = t.vm.model.xcr0;
        CHECK_EQ(q(0xd, 0).eax, all);
        CHECK_EQ(q(0xd, 0).ebx, 576); /* XCR0 = 1 after reset */
        CHECK_EQ(q(0xd, 0).ecx, xsave_end(all));
        CHECK_OK(v, cpu_xsetbv(v, 0, all));
        CHECK_EQ(q(0xd, 0).ebx, xsave_end(all));
        CHECK_RAISES(v, cpu_xsetbv(v, 0, all & ~1ull), EXC_GP, 0);
        CHECK_RAISES(v, cpu_xsetbv(v, 0, 5), EXC_GP, 0);
        CHECK_RAISES(v, cpu_xsetbv(v, 0, all | BIT(62)), EXC_GP, 0);
        CHECK_RAISES(v, cpu_xsetbv(v, 1, all), EXC_GP, 0);
    }
    cpu_vm_destroy(&t);
    cpu_vm_create(&t, "x86-64-v2", 1);
    CHECK_EQ(q(0xd, 0).eax, 0);
    CHECK_RAISES(t.v, cpu_write_cr(t.v, 4, CR4_OSXSAVE), EXC_GP, 0);
    cpu_vm_destroy(&t);
}

int main(void)
{
    TAP_RUN(test_models);
    TAP_RUN(test_edits);
    TAP_RUN(test_names);
    TAP_RUN(test_feature_bits);
    TAP_RUN(test_topology);
    TAP_RUN(test_xsave_leaf);
    return tap_done();
}
