/* MSRs: what exists, what is stored, what faults. */
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;

static bool wr(u32 msr, u64 value)
{
    return msr_write(t.v, msr, value);
}

static u64 rd(u32 msr)
{
    u64 value = 0xbad;
    CHECK(msr_read(t.v, msr, &value));
    return value;
}

static void test_storage(void)
{
    cpu_vm_create(&t, "x86-64-v3", 1);
    static const struct {
        u32 msr;
        u64 value;
    } c[] = {{MSR_SYSENTER_CS, 0x10},
             {MSR_SYSENTER_ESP, 0xffff880000001000},
             {MSR_SYSENTER_EIP, 0x1234},
             {MSR_STAR, 0x0023001000000000},
             {MSR_LSTAR, 0xffffffff81000000},
             {MSR_CSTAR, 0xffffffff82000000},
             {MSR_SFMASK, 0x47700},
             {MSR_KERNEL_GS_BASE, 0xffff888000000000},
             {MSR_TSC_AUX, 0x1003},
             {MSR_PAT, 0x0407050600070106},
             {MSR_MTRR_DEF_TYPE, 0xc06},
             {MSR_MTRR_FIX64K, 0x0606060606060606},
             {MSR_MTRR_FIX4K + 7, 0x0505050505050505},
             {MSR_MTRR_PHYS, 0xc0000000},
             {MSR_MTRR_PHYS + 15, 0xffc0000800},
             {MSR_MC0_CTL, ~0ull},
             {MSR_MC0_CTL + 12, 0xff},
             {MSR_MCG_CTL, ~0ull},
             {MSR_FS_BASE, 0x7f0000001000},
             {MSR_GS_BASE, 0xffff888000001000},
             {MSR_HWCR, 0x1000010},
             {MSR_SYSCFG, 0x740000}};
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        CHECK(wr(c[i].msr, c[i].value));
        CHECK_EQ(rd(c[i].msr), c[i].value);
        CHECK(msr_name(t.v, c[i].msr) != NULL);
    }
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) /* no two share a place */
        CHECK_EQ(rd(c[i].msr), c[i].value);
    CHECK_EQ(t.v->seg[FS].base, 0x7f0000001000);
    CHECK(msr_check_values(t.v, &t.v->msr) == NULL);
    cpu_vm_destroy(&t);
}

static void test_faults(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    static const struct {
        u32 msr;
        u64 value;
    } bad[] = {{MSR_LSTAR, BIT(47)},
               {MSR_CSTAR, BIT(63)},
               {MSR_KERNEL_GS_BASE, BIT(48)},
               {MSR_FS_BASE, BIT(47)},
               {MSR_GS_BASE, BIT(62)},
               {MSR_PAT, 0x0007040600070402},
               {MSR_PAT, 8},
               {MSR_MTRR_DEF_TYPE, 0x1c06},
               {MSR_MTRR_DEF_TYPE, 2},
               {MSR_MTRR_FIX16K, 0x03},
               {MSR_MTRR_PHYS, BIT(40)},
               {MSR_MTRR_PHYS, 0x7},
               {MSR_MTRR_PHYS + 1, 0x400},
               {MSR_MTRR_CAP, 0x508},
               {MSR_MCG_CAP, 0},
               {MSR_MC0_CTL + 1, 1},
               {MSR_EFER, BIT(1)},
               {MSR_EFER, BIT(12)},
               {MSR_PATCH_LEVEL, 1},
               {0x12345678, 0},
               {MSR_TSC_DEADLINE, 0},
               {0x800, 0},
               {MSR_XSS, 0},
               {0xc0010117, 0},
               {MSR_MTRR_PHYS + 16, 0},
               {MSR_MC0_CTL + 16, 0}};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        if (wr(bad[i].msr, bad[i].value)) {
            printf("# %#x took %#llx\n", bad[i].msr, (unsigned long long)bad[i].value);
            CHECK(false);
        }
    u64 x;
    CHECK(!msr_read(t.v, 0x12345678, &x));
    CHECK(!msr_read(t.v, MSR_PATCH_LOADER, &x));
    CHECK(!msr_read(t.v, 0x48, &x)); /* SPEC_CTRL is not advertised */
    CHECK(msr_read(t.v, MSR_MTRR_CAP, &x));
    CHECK_EQ(x, 0x508);
    CHECK(wr(MSR_MC0_CTL + 1, 0));
    CHECK(wr(MSR_MC0_CTL + 2, 0x1234567890) && rd(MSR_MC0_CTL + 2) == 0x1234567890);
    CHECK(wr(MSR_MC0_CTL + 3, ~0ull) && rd(MSR_MC0_CTL + 3) == ~0ull);
    CHECK(wr(MSR_HWCR, BIT(18))); /* McStatusWrEn */
    CHECK(wr(MSR_MC0_CTL + 1, 1));
    CHECK(!wr(MSR_MTRR_FIX16K, 0x18));
    CHECK(wr(MSR_SYSCFG, BIT(19))); /* MtrrFixDramModEn */
    CHECK(wr(MSR_MTRR_FIX16K, 0x18));
    cpu_vm_destroy(&t);
}

/* What Intel's registers refuse and AMD's take. */
static void test_intel(void)
{
    cpu_vm_create(&t, "x86-64-v2,vendor=GenuineIntel", 1);
    CHECK(!wr(MSR_MC0_CTL, 0xff) && wr(MSR_MC0_CTL, ~0ull) && wr(MSR_MC0_CTL, ~BIT(10)) &&
          wr(MSR_MC0_CTL, 0));
    CHECK(!wr(MSR_TSC_AUX, BIT(32)));
    cpu_vm_destroy(&t);
}

/* The table is searched by halves: a row out of order hides its neighbours. */
static void test_every_row_is_found(void)
{
    static const u32 numbers[] = {
        0,          1,          0x10,       0x1b,       0x3b,       0x8b,       0xfe,       0x174,
        0x175,      0x176,      0x179,      0x17a,      0x17b,      0x1a0,      0x1d9,      0x1db,
        0x1de,      0x200,      0x20f,      0x250,      0x258,      0x259,      0x268,      0x26f,
        0x277,      0x2ff,      0x400,      0x40f,      0x6e0,      0x800,      0x8ff,      0xc0000080,
        0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103,
        0xc0010000, 0xc0010007, 0xc0010010, 0xc0010015, 0xc0010016, 0xc0010019, 0xc001001a, 0xc001001d,
        0xc001001f, 0xc0010020, 0xc0010055, 0xc0010058, 0xc0011022, 0xc0011029};
    cpu_vm_create(&t, "x86-64-v2", 1);
    for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
        if (!msr_name(t.v, numbers[i])) {
            printf("# %#x is not found\n", numbers[i]);
            CHECK(false);
        }
    cpu_vm_destroy(&t);
}

static void test_tsc(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    clock_set(&t.clock, 1000);
    CHECK_EQ(rd(MSR_TSC), 1000);
    CHECK(wr(MSR_TSC, 5000));
    CHECK_EQ(rd(MSR_TSC), 5000);
    CHECK_EQ(rd(MSR_TSC_ADJUST), 4000);
    CHECK(wr(MSR_TSC_ADJUST, 0));
    CHECK_EQ(rd(MSR_TSC), 1000);
    CHECK(wr(MSR_TSC_ADJUST, -200ull));
    CHECK_EQ(rd(MSR_TSC), 800);
    cpu_vm_destroy(&t);
}

static void test_efer(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    CHECK(wr(MSR_EFER, EFER_LME | EFER_SCE | EFER_NXE | EFER_LMA)); /* LMA is ignored */
    CHECK_EQ(rd(MSR_EFER), EFER_LME | EFER_SCE | EFER_NXE);
    /* LME with paging, but not PAE: #GP on MOV CR0 */
    CHECK_RAISES(v, cpu_write_cr(v, 0, v->cr0 | CR0_PG), EXC_GP, 0);
    identity_tables(&t);
    v->cr3 = PML4_AT;
    CHECK_OK(v, cpu_write_cr(v, 4, CR4_PAE));
    CHECK_OK(v, cpu_write_cr(v, 0, v->cr0 | CR0_PG));
    CHECK_EQ(rd(MSR_EFER), EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE);
    CHECK(v->long_mode && !v->code64);
    CHECK(!wr(MSR_EFER, EFER_SCE)); /* LME cannot change while paging is on */
    CHECK_OK(v, cpu_write_cr(v, 0, v->cr0 & ~(u64)CR0_PG));
    CHECK(!v->long_mode);
    CHECK(wr(MSR_EFER, 0));
    cpu_vm_destroy(&t);
}

/* CR0 and CR4 rules that are no MSR's. */
static void test_control_registers(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    CHECK_RAISES(v, cpu_write_cr(v, 0, CR0_PG), EXC_GP, 0);
    CHECK_RAISES(v, cpu_write_cr(v, 0, CR0_PE | CR0_NW), EXC_GP, 0);
    CHECK_RAISES(v, cpu_write_cr(v, 0, CR0_PE | BIT(32)), EXC_GP, 0);
    CHECK_OK(v, cpu_write_cr(v, 0, CR0_PE | CR0_NW | CR0_CD));
    CHECK_EQ(v->cr0, CR0_PE | CR0_NW | CR0_CD | CR0_ET);
    CHECK_RAISES(v, cpu_write_cr(v, 4, CR4_LA57), EXC_GP, 0);
    CHECK_RAISES(v, cpu_write_cr(v, 4, CR4_PKE), EXC_GP, 0);
    CHECK_RAISES(v, cpu_write_cr(v, 4, BIT(13)), EXC_GP, 0);
    CHECK_RAISES(v, cpu_write_cr(v, 4, CR4_PCIDE), EXC_GP, 0); /* not in long mode */
    CHECK_RAISES(v, cpu_write_cr(v, 5, 0), EXC_UD, 0);
    cpu_lmsw(v, 0);
    CHECK(v->cr0 & CR0_PE); /* LMSW cannot clear it */
    cpu_lmsw(v, CR0_TS);
    CHECK(v->cr0 & CR0_TS);
    cpu_clts(v);
    CHECK(!(v->cr0 & CR0_TS));
    cpu_vm_destroy(&t);

    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_long(&t, 0);
    v = t.v;
    CHECK_RAISES(v, cpu_write_cr(v, 4, 0), EXC_GP, 0);                     /* PAE */
    CHECK_RAISES(v, cpu_write_cr(v, 0, v->cr0 & ~(u64)CR0_PG), EXC_GP, 0); /* in 64-bit code */
    CHECK_RAISES(v, cpu_write_cr(v, 3, BIT(40)), EXC_GP, 0);
    CHECK_RAISES(v, cpu_write_cr(v, 3, PML4_AT | BIT(63)), EXC_GP, 0);
    CHECK_OK(v, cpu_write_cr(v, 3, PML4_AT | 0x18));
    CHECK_RAISES(v, cpu_write_cr(v, 4, CR4_PAE | CR4_PCIDE), EXC_GP, 0); /* CR3[11:0] is not 0 */
    CHECK_OK(v, cpu_write_cr(v, 3, PML4_AT));
    CHECK_OK(v, cpu_write_cr(v, 4, CR4_PAE | CR4_PCIDE));
    CHECK_RAISES(v, cpu_write_cr(v, 8, 16), EXC_GP, 0);
    /* Debug registers */
    CHECK_OK(v, cpu_write_dr(v, 6, 0));
    CHECK_EQ(cpu_read_dr(v, 6), 0xffff0ff0);
    CHECK_OK(v, cpu_write_dr(v, 7, 0xdc00));
    CHECK_EQ(v->dr[7], 0x400);
    CHECK_RAISES(v, cpu_write_dr(v, 7, BIT(32)), EXC_GP, 0);
    CHECK_EQ(cpu_read_dr(v, 4), 0xffff0ff0);
    CHECK_OK(v, cpu_write_cr(v, 4, CR4_PAE | CR4_DE));
    CHECK_RAISES(v, cpu_read_dr(v, 5), EXC_UD, 0);
    CHECK_OK(v, cpu_write_dr(v, 7, BIT(13)));
    CHECK_RAISES(v, cpu_read_dr(v, 0), EXC_DB, 0);
    CHECK_EQ(v->exc.dr6, BIT(13));
    cpu_vm_destroy(&t);
}

int main(void)
{
    TAP_RUN(test_storage);
    TAP_RUN(test_every_row_is_found);
    TAP_RUN(test_faults);
    TAP_RUN(test_intel);
    TAP_RUN(test_tsc);
    TAP_RUN(test_efer);
    TAP_RUN(test_control_registers);
    return tap_done();
}
