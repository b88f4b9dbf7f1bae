/*
 * FXSAVE, XSAVE, XSAVEOPT, XSAVEC, XRSTOR: areas, headers, compaction, init and modified optimisation,
 * faults; XCR0; FNSAVE and FNSTENV.
 */
/* ## mode: x86_64 */
#include "guest.h"

static u8 area[4096] __attribute__((aligned(64))), other[4096] __attribute__((aligned(64)));
static u32 *words(u8 *p, u32 offset)
{
    return (u32 *)(p + offset);
}
static u64 *header(u8 *p)
{
    return (u64 *)(p + 512);
}

static void xsetbv(u64 v)
{
    asm volatile("xsetbv" ::"c"(0), "a"((u32)v), "d"((u32)(v >> 32)));
}
static u64 xgetbv(u32 n)
{
    u32 a, d;
    asm volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(n));
    return a | (u64)d << 32;
}
#define X(insn, p, mask)                                                                                     \
    TRY(insn " %0", "+m"(*(u8(*)[4096])(p)) : "a"((u32)(mask)), "d"((u32)((u64)(mask) >> 32)) : "memory")

static void set_xmm(u64 v)
{
    asm volatile("movq %0, %%xmm0\n\tmovq %0, %%xmm15" ::"r"(v));
}
static u64 get_xmm15(void)
{
    u64 v;
    asm volatile("movq %%xmm15, %0" : "=r"(v));
    return v;
}

static void check_fxsave(void)
{
    asm volatile("fninit\n\tfld1\n\tfldpi");
    set_xmm(0x1122334455667788);
    memset(area, 0xee, 512);
    TRY("fxsave64 %0", "=m"(area));
    check_no_fault("FXSAVE64");
    check_eq(*words(area, 0) & 0xffff, 0x37f, "FXSAVE: FCW");
    check_eq(area[4], 0xc0, "FXSAVE: abridged tag word, registers 6 and 7");
    check_eq(*words(area, 24), 0x1f80, "FXSAVE: MXCSR");
    check((*words(area, 28) & 0xffbf) == 0xffbf, "FXSAVE: MXCSR_MASK");
    check_eq(*words(area, 40) & 0xffff, 0x4000, "FXSAVE: ST0 is pi");
    check_eq(*(u64 *)(area + 160), 0x1122334455667788, "FXSAVE: XMM0");
    check_eq(*(u64 *)(area + 160 + 15 * 16), 0x1122334455667788, "FXSAVE: XMM15");
    check_eq(*words(area, 464), 0xeeeeeeee, "FXSAVE leaves the last 48 bytes to software");
    set_xmm(0);
    TRY("fxrstor64 %0", : "m"(area));
    check_eq(get_xmm15(), 0x1122334455667788, "FXRSTOR: XMM15");
    *words(area, 24) = 0x10000;
    TRY("fxrstor64 %0", : "m"(area));
    check_fault(GP, 0, "FXRSTOR with reserved MXCSR bits");
    *words(area, 24) = 0x1f80;
    TRY("fxsave64 8+%0", "=m"(area));
    check_fault(GP, 0, "FXSAVE to a misaligned address");
}

static void check_fnsave(void)
{
    static u8 env[112];
    asm volatile("fninit\n\tfld1\n\tfnstenv %0" : "=m"(env));
    check_eq(*words(env, 0) & 0xffff, 0x37f, "FNSTENV: FCW");
    check_eq(*words(env, 8) & 0xffff, 0x3fff, "FNSTENV: full tag word");
    u16 cw;
    asm volatile("fnstcw %0" : "=m"(cw));
    check_eq(cw & 0x3f, 0x3f, "FNSTENV masks all exceptions");
    asm volatile("fnsave %0" : "=m"(env));
    check_eq(*words(env, 28 + 8) & 0xffff, 0x3fff, "FNSAVE: ST0's exponent");
    u16 sw;
    asm volatile("fnstsw %0" : "=m"(sw));
    check_eq(sw, 0, "FNSAVE initialises the FPU");
    asm volatile("frstor %0\n\tfnstsw %1" ::"m"(env), "m"(sw));
    check_eq(sw & 0x3800, 0x3800, "FRSTOR: top of stack");
    asm volatile("fninit\n\tfld1\n\tfldz\n\tdata16 fnsave %0" : "=m"(env));
    check_eq(*(u16 *)(env + 4), 0x1fff, "16-bit FNSAVE: tag word at 4");
    check_eq(*(u16 *)(env + 14 + 8), 0, "16-bit FNSAVE: ST0 (zero) at 14");
    check_eq(*(u16 *)(env + 24 + 8), 0x3fff, "16-bit FNSAVE: ST1 (one) at 24");
}

static void check_xcr0(void)
{
    struct cpuid d0 = cpuid(0xd, 0);
    check_eq(xgetbv(0), 1, "XCR0 after reset");
    check((d0.a & 3) == 3, "CPUID: x87 and SSE can be saved");
    static const u64 bad[] = {0, 2, 5, 1ull << 62 | 1, 1ull << 63 | 3};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        TRY("xsetbv", : "c"(0), "a"((u32)bad[i]), "d"((u32)(bad[i] >> 32)));
        check_fault(GP, 0, "XSETBV 0x%llx", (unsigned long long)bad[i]);
    }
    TRY("xsetbv", : "c"(1), "a"(3), "d"(0));
    check_fault(GP, 0, "XSETBV of XCR1");
    TRY("xgetbv", : "c"(2) : "rax", "rdx");
    check_fault(GP, 0, "XGETBV of XCR2");
    xsetbv(1);
    TRY("vxorps %%ymm0, %%ymm0, %%ymm0", );
    check_fault(UD, 0, "AVX without XCR0.AVX");
    xsetbv(3);
    TRY("vxorps %%xmm0, %%xmm0, %%xmm0", );
    check_fault(UD, 0, "VEX without XCR0.AVX, XMM registers");
    USER("xsetbv", : "c"(0), "a"(3), "d"(0));
    check_fault(GP, 0, "XSETBV in ring 3");
    USER("xgetbv", : "c"(0) : "rax", "rdx");
    check_no_fault("XGETBV in ring 3");
    check_eq(cpuid(0xd, 0).b, 576, "CPUID D.0 EBX: size for x87 and SSE");
}

int main(void)
{
    cr4_write(cr4_read() | CR4_OSFXSR);
    check_fxsave();
    check_fnsave();
    if (!(cpuid(1, 0).c & 1u << 26)) {
        skip("XSAVE", "not in CPUID");
        return 0;
    }
    cr4_write(cr4_read() | CR4_OSXSAVE);
    check_xcr0();
    struct cpuid d1 = cpuid(0xd, 1);
    bool avx = (cpuid(0xd, 0).a & 4) && (cpuid(1, 0).c & 1u << 28);
    xsetbv(avx ? 7 : 3);
    asm volatile("fninit");
    if (avx) {
        struct cpuid d2 = cpuid(0xd, 2);
        check(d2.a == 256 && d2.b == 576, "CPUID D.2: the upper halves of YMM, 256 bytes at 576");
        check_eq(cpuid(0xd, 0).b, 832, "CPUID D.0 EBX: size with AVX");
        TRY("vxorps %%ymm0, %%ymm0, %%ymm0", );
        check_no_fault("AVX with XCR0.AVX");
    }
    /* XSAVE: header, mask */
    set_xmm(0xabcdef);
    memset(area, 0xee, sizeof(area));
    header(area)[0] = 0;
    X("xsave64", area, 3);
    check_no_fault("XSAVE");
    check_eq(header(area)[0] & 2, 2, "XSAVE: XSTATE_BV has SSE");
    check_eq(*(u64 *)(area + 160), 0xabcdef, "XSAVE: XMM0");
    memset(area, 0xee, sizeof(area));
    header(area)[0] = 4;
    X("xsave64", area, 1);
    check_eq(header(area)[0] & 4, 4, "XSAVE leaves XSTATE_BV bits that were not asked for");
    check_eq(*(u64 *)(area + 160), 0xeeeeeeeeeeeeeeee, "XSAVE does not write what was not asked for");

    /* XRSTOR: from memory, or the initial state */
    memset(area, 0, sizeof(area));
    *words(area, 0) = 0x37f;
    *words(area, 24) = 0x1f80;
    *(u64 *)(area + 160 + 15 * 16) = 0x5555;
    header(area)[0] = 2;
    X("xrstor64", area, 3);
    check_no_fault("XRSTOR");
    check_eq(get_xmm15(), 0x5555, "XRSTOR loads what XSTATE_BV names");
    header(area)[0] = 0;
    X("xrstor64", area, 2);
    check_eq(get_xmm15(), 0, "XRSTOR initialises what XSTATE_BV does not name");
    set_xmm(0x77);
    header(area)[0] = 3;
    X("xrstor64", area, 1);
    check_eq(get_xmm15(), 0x77, "XRSTOR leaves what was not asked for");
    /* faults */
    header(area)[0] = 1ull << 10 | 1;
    X("xrstor64", area, 7);
    check_fault(GP, 0, "XRSTOR: XSTATE_BV beyond XCR0");
    header(area)[0] = 1;
    header(area)[1] = 1;
    X("xrstor64", area, 7);
    check_fault(GP, 0, "XRSTOR: XCOMP_BV without bit 63");
    header(area)[1] = 0;
    header(area)[3] = 1;
    X("xrstor64", area, 7);
    check(trap.vector == GP || trap.vector == (ulong)-1, "XRSTOR: later header bytes");
    header(area)[3] = 0;
    *words(area, 24) = 0x80000000;
    header(area)[0] = 2;
    X("xrstor64", area, 2);
    check_fault(GP, 0, "XRSTOR: reserved MXCSR bits");
    *words(area, 24) = 0x1f80;
    X("xsave64", area + 16, 3);
    check_fault(GP, 0, "XSAVE to an address that is not a multiple of 64");
    cr0_write(cr0_read() | CR0_TS);
    X("xsave64", area, 3);
    check_fault(NM, 0, "XSAVE with CR0.TS");
    asm volatile("clts");

    if (d1.a & 1) {
        /* XSAVEOPT: init state is not written but its bit is clear */
        header(area)[0] = 0;
        X("xrstor64", area, 7);
        memset(other, 0xee, sizeof(other));
        header(other)[0] = 7;
        X("xsaveopt64", other, 2);
        check_eq(header(other)[0] & 2, 0, "XSAVEOPT: initial SSE state clears XSTATE_BV");
        check_eq(*(u64 *)(other + 160), 0xeeeeeeeeeeeeeeee, "XSAVEOPT does not write initial state");
        set_xmm(0x99);
        X("xsaveopt64", other, 2);
        check(header(other)[0] & 2 && *(u64 *)(other + 160) == 0x99, "XSAVEOPT writes what was changed");
    } else {
        skip("XSAVEOPT", "not in CPUID");
    }
    if (d1.a & 2) {
        header(area)[0] = 0;
        header(area)[1] = 0;
        X("xrstor64", area, 7);
        set_xmm(0x1234);
        memset(other, 0xee, sizeof(other));
        memset(header(other), 0, 64); /* XSAVEC writes the first 16 bytes only, XRSTOR wants the rest 0 */
        X("xsavec64", other, avx ? 6 : 2);
        check_no_fault("XSAVEC");
        check_eq(header(other)[0], 2, "XSAVEC: XSTATE_BV");
        check_eq(header(other)[1], 1ull << 63 | (avx ? 6 : 2), "XSAVEC: XCOMP_BV");
        check_eq(*(u64 *)(other + 160), 0x1234, "XSAVEC: XMM0");
        check_eq(*words(other, 0), 0xeeeeeeee, "XSAVEC: x87 not asked for, not written");
        set_xmm(0);
        X("xrstor64", other, 2);
        check_no_fault("XRSTOR of a compacted area");
        check_eq(get_xmm15(), 0x1234, "XRSTOR of a compacted area: XMM15");
        header(other)[0] = 1 | 2;
        X("xrstor64", other, 3);
        check_fault(GP, 0, "XRSTOR compacted: XSTATE_BV names what XCOMP_BV does not");
        header(other)[0] = 2;
        header(other)[1] |= 1ull << 40;
        X("xrstor64", other, 3);
        check_fault(GP, 0, "XRSTOR compacted: XCOMP_BV beyond XCR0");
    } else {
        skip("XSAVEC", "not in CPUID");
    }
    if (d1.a & 4) {
        set_xmm(1);
        check_eq(xgetbv(1) & 2, 2, "XGETBV 1: SSE is in use");
    } else {
        TRY("xgetbv", : "c"(1) : "rax", "rdx");
        check_fault(GP, 0, "XGETBV 1 without the feature");
    }
    return 0;
}
