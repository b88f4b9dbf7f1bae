/* CPUID, the TSC family, RDPID, MONITOR/MWAIT: what is advertised works and what is not is refused. */
/* ## mode: x86_64 */
#include "apic.h"

static volatile u32 irqs;
static void on_irq(struct regs *r)
{
    irqs++;
    lapic_eoi();
}

/* feature present: the instruction runs; absent: #UD */
#define FEATURE(present, name, insn, ops...)                                                                 \
    do {                                                                                                     \
        TRY(insn, ops);                                                                                      \
        if (present)                                                                                         \
            check_no_fault(name " is advertised and runs");                                                  \
        else                                                                                                 \
            check_fault(UD, 0, name " is not advertised and is refused");                                    \
    } while (0)

int main(void)
{
    struct cpuid l0 = cpuid(0, 0), l1 = cpuid(1, 0), l7 = cpuid(7, 0), e1 = cpuid(0x80000001, 0),
                 e8 = cpuid(0x80000008, 0);
    static u8 buffer[64] __attribute__((aligned(64)));

    check(l0.a >= 7, "basic leaves up to 7");
    check(cpuid(0x80000000, 0).a >= 0x80000008, "extended leaves up to 0x80000008");
    u32 vendor[4] = {l0.b, l0.d, l0.c, 0};
    check(memcmp(vendor, "AuthenticAMD", 12) == 0 || memcmp(vendor, "GenuineIntel", 12) == 0,
          "a vendor that is known (%s)", (char *)vendor);
    check(e1.d & 1u << 29, "long mode");
    check((l1.d & 0x07808101) == 0x07808101, "FPU, CX8, CMOV, MMX, FXSR, SSE, SSE2");
    check_range(e8.a & 0xff, 36, 52, "physical address bits");
    check((e8.a >> 8 & 0xff) == (l7.c & 1u << 16 ? 57 : 48), "linear address bits");
    check_eq(l1.b >> 8 & 0xff, 8, "CLFLUSH line of 64 bytes");
    struct cpuid same = cpuid(1, 5);
    check(same.a == l1.a, "leaf 1 ignores ECX");
    u64 rbx;
    asm volatile("mov $-1, %%rbx\n\tmov $-1, %%rcx\n\tmov $-1, %%rdx\n\txor %%eax, %%eax\n\tcpuid\n\tor "
                 "%%rcx, %%rbx\n\tor %%rdx, %%rbx\n\tor %%rax, %%rbx"
                 : "=b"(rbx)::"rax", "rcx", "rdx");
    check_eq(rbx >> 32, 0, "CPUID clears the upper halves");

    u64 a = rdtsc(), b = rdtsc();
    check(b > a, "the TSC runs");
    if (e1.d & 1u << 27) {
        u32 lo, hi, aux;
        wrmsr(0xc0000103, 0x1234);
        asm volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux));
        check_eq(aux, 0x1234, "RDTSCP: TSC_AUX");
        check((lo | (u64)hi << 32) > b, "RDTSCP goes on from RDTSC");
    }
    if (l7.c & 1u << 22) {
        u64 aux = (u64)-1;
        wrmsr(0xc0000103, 0x4321);
        asm volatile("rdpid %0" : "=r"(aux));
        check_eq(aux, 0x4321, "RDPID: TSC_AUX, zero-extended");
    }
    u64 before = rdtsc();
    if (l7.b & 2) {
        wrmsr(0x3b, 0x1000000000ull);
        check_range(rdtsc() - before, 0x1000000000ull, 0x1200000000ull, "TSC_ADJUST moves the TSC");
        wrmsr(0x3b, 0);
    }

    cr4_write(cr4_read() | CR4_OSFXSR | (l7.b & 1 ? CR4_FSGSBASE : 0));
    FEATURE(e1.d & 1u << 27, "RDTSCP", "rdtscp", ::"rax", "rcx", "rdx");
    FEATURE(l7.c & 1u << 22, "RDPID", "rdpid %%rax", ::"rax");
    FEATURE(l1.c & 1u << 0, "SSE3", "haddps %%xmm0, %%xmm0", );
    FEATURE(l1.c & 1u << 9, "SSSE3", "pshufb %%xmm0, %%xmm0", );
    FEATURE(l1.c & 1u << 19, "SSE4.1", "pmulld %%xmm0, %%xmm0", );
    FEATURE(l1.c & 1u << 20, "SSE4.2", "crc32b %%al, %%eax", ::"rax");
    FEATURE(l1.c & 1u << 25, "AES", "aesenc %%xmm0, %%xmm0", );
    FEATURE(l1.c & 1u << 1, "PCLMUL", "pclmulqdq $0, %%xmm0, %%xmm0", );
    FEATURE(l1.c & 1u << 22, "MOVBE", "movbe %0, %%eax", : "m"(buffer) : "rax");
    FEATURE(l1.c & 1u << 30, "RDRAND", "rdrand %%eax", ::"rax");
    FEATURE(l7.b & 1u << 18, "RDSEED", "rdseed %%eax", ::"rax");
    FEATURE(l7.b & 1u << 19, "ADX", "adcx %%eax, %%ecx", ::"rcx");
    FEATURE(l7.b & 1u << 29, "SHA", "sha1msg1 %%xmm0, %%xmm0", );
    FEATURE(l7.b & 1u << 23, "CLFLUSHOPT", "clflushopt %0", "+m"(buffer));
    FEATURE(l7.b & 1u << 24, "CLWB", "clwb %0", "+m"(buffer));
    FEATURE(l7.b & 1u << 0, "FSGSBASE", "rdfsbase %%rax", ::"rax");
    FEATURE(l7.b & 1u << 20, "SMAP", "clac", );
    FEATURE(l7.b & 1u << 10, "INVPCID", "invpcid %0, %1", : "m"(buffer), "r"(2ul));
    FEATURE(e1.c & 1u << 6, "SSE4A", "extrq $0, $0, %%xmm0", );
    FEATURE(e8.b & 1u << 0, "CLZERO", "mov %0, %%rax\n\t" HERE ".byte 0x0f, 0x01, 0xfc",
            : "r"(buffer)
            : "rax", "memory");
    FEATURE(l1.c & 1u << 3, "MONITOR", "monitor", : "a"(buffer), "c"(0), "d"(0));
    TRY("vmsave", : "a"(0x7000));
    check_fault(UD, 0, "VMSAVE without EFER.SVME");
    TRY("vmrun", : "a"(0x7000));
    check_fault(UD, 0, "VMRUN without EFER.SVME");
    FEATURE(l1.c & 1u << 13, "CMPXCHG16B", "cmpxchg16b %0", "+m"(buffer)::"rax", "rdx");

    if (l1.c & 8 && !tcg_cannot("MONITOR and MWAIT", "MWAIT sleeps on")) {
        lapic_enable();
        trap_handle(0x40, on_irq);
        /* a store before MWAIT: it does not wait; an interrupt ends it */
        TRY("monitor\n\tmovl $1, %0\n\t xor %%eax, %%eax\n\tmwait", "+m"(*(u32 *)buffer)
            : "a"(buffer), "c"(0), "d"(0));
        check_no_fault("MWAIT after a store to the monitored line goes on");
        lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
        lapic_write(LAPIC_LVT_TIMER, 0x40);
        irq_on();
        lapic_write(LAPIC_TIMER_INITIAL, 1000000);
        for (int i = 0; i < 100 && irqs == 0; i++)
            asm volatile("monitor\n\txor %%eax, %%eax\n\tmwait" ::"a"(buffer), "c"(0), "d"(0));
        irq_off();
        wait_for(&irqs, 1, 1);
        check_eq(irqs, 1, "an interrupt ends MWAIT");
        TRY("monitor", : "a"(buffer), "c"(1), "d"(0));
        check_fault(GP, 0, "MONITOR with ECX not 0");
        TRY("mwait", : "a"(0), "c"(4));
        check_fault(GP, 0, "MWAIT with reserved bits in ECX");
        USER("monitor", : "a"(buffer), "c"(0), "d"(0));
        check_fault(UD, 0, "MONITOR in ring 3");
        USER("mwait", : "a"(0), "c"(0));
        check_fault(UD, 0, "MWAIT in ring 3");
    }
    return 0;
}
