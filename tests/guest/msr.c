/*
 * RDMSR and WRMSR: unknown numbers, non-canonical bases, reserved bits, read-only ones; what a 64-bit
 * kernel relies on.
 */
/* ## mode: x86_64 */
#include "guest.h"

static void unknown(u32 msr)
{
    u32 a = 0x1234, d = 0x5678;
    TRY("rdmsr", "+a"(a), "+d"(d) : "c"(msr));
    check_fault(GP, 0, "RDMSR of unknown 0x%x", msr);
    check(a == 0x1234 && d == 0x5678, "RDMSR of unknown 0x%x leaves EDX:EAX", msr);
    TRY_WRMSR(msr, 0);
    check_fault(GP, 0, "WRMSR of unknown 0x%x", msr);
}

static void holds(u32 msr, u64 value, const char *name)
{
    u64 old = rdmsr(msr);
    TRY_WRMSR(msr, value);
    check_no_fault("WRMSR %s", name);
    check_eq(rdmsr(msr), value, "%s holds its value", name);
    wrmsr(msr, old);
}

static void refuses(u32 msr, u64 value, const char *name)
{
    u64 old = rdmsr(msr);
    TRY_WRMSR(msr, value);
    check_fault(GP, 0, "WRMSR %s", name);
    check_eq(rdmsr(msr), old, "WRMSR %s changes nothing", name);
    wrmsr(msr, old);
}

int main(void)
{
    static const u32 unknowns[] = {0x2,        0x1234,     0x4b564d99, 0x7fffffff, 0x80000000,
                                   0xbfffffff, 0xc0000090, 0xc0012345, 0xffffffff};
    for (unsigned i = 0; i < ARRAY_SIZE(unknowns); i++)
        unknown(unknowns[i]);

    static const struct {
        u32 msr;
        const char *name;
    } bases[] = {{MSR_FS_BASE, "FS.base"},
                 {MSR_GS_BASE, "GS.base"},
                 {MSR_KERNEL_GS_BASE, "KernelGSbase"},
                 {MSR_LSTAR, "LSTAR"},
                 {MSR_CSTAR, "CSTAR"}};
    for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
        holds(bases[i].msr, 0x00007fffffffffffull, bases[i].name);
        holds(bases[i].msr, 0xffff800000000000ull, bases[i].name);
        refuses(bases[i].msr, 0x0000800000000000ull, bases[i].name);
        refuses(bases[i].msr, 0x8000000000000000ull, bases[i].name);
    }
    holds(MSR_STAR, 0x0123456789abcdefull, "STAR");
    holds(MSR_SFMASK, 0x00047700, "SFMASK");
    holds(0x174, 0x10, "SYSENTER_CS");
    holds(0x175, 0x123456, "SYSENTER_ESP");
    holds(0x176, 0x654321, "SYSENTER_EIP");
    holds(0xc0000103, 0x12345678, "TSC_AUX");

    /* the TSC: writable, runs on from there */
    u64 t = rdtsc();
    wrmsr(0x10, t + 0x100000000ull);
    check_range(rdtsc() - t, 0x100000000ull, 0x180000000ull, "WRMSR TSC moves the TSC");
    wrmsr(0x10, t);

    /* APIC base: BSP, enabled, at 0xfee00000 */
    u64 base = rdmsr(MSR_APICBASE);
    check_eq(base & 0xfffff900, 0xfee00900, "APIC_BASE: enabled, BSP, 0xfee00000");
    refuses(MSR_APICBASE, base | 1, "APIC_BASE with bit 0");
    refuses(MSR_APICBASE, base | 1ull << 63, "APIC_BASE with bit 63");

    /* PAT: reserved types */
    check_eq(rdmsr(0x277), 0x0007040600070406ull, "PAT after reset");
    holds(0x277, 0x0706050400070106ull, "PAT");
    refuses(0x277, 0x02, "PAT with type 2");
    refuses(0x277, 0x0300000000000000ull, "PAT with type 3");
    refuses(0x277, 0x08, "PAT with type 8");
    /* MTRRs */
    if (cpuid(1, 0).d & 1u << 12) {
        u64 cap = rdmsr(0xfe);
        check((cap & 0xff) >= 1, "MTRRcap counts variable ranges");
        TRY_WRMSR(0xfe, cap);
        check_fault(GP, 0, "MTRRcap is read-only");
        holds(0x200, 0x80000006, "MTRRphysBase0");
        holds(0x250, 0x0606060606060606ull, "MTRRfix64K_00000");
    }
    USER("rdmsr", : "c"(MSR_EFER) : "rax", "rdx");
    check_fault(GP, 0, "RDMSR in ring 3");
    return 0;
}
