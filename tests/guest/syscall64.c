/*
 * SYSCALL and SYSRET in 64-bit and compatibility mode: selectors, RCX, R11, SFMASK, privileges;
 * SWAPGS; FSGSBASE.
 */
/* ## mode: x86_64 */
#include "guest.h"

extern char entry64[], entry32[];
extern volatile ulong seen[16];
volatile ulong seen[16];
/* Both entries note what they got and go home through the trap library (interrupts from ring 0 keep the
 * stack). */
asm("entry64:\n\tmov %rcx, seen\n\tmov %r11, seen+8\n\tpushf\n\tpop seen+16\n\tmov %cs, %eax\n\tmov %eax, "
    "seen+24\n\t"
    "mov %ss, %eax\n\tmov %eax, seen+32\n\tmov %rsp, seen+40\n\tmov seen+48, %eax\n\tcmp $0, %eax\n\tjne "
    "1f\n\tsysretq\n"
    "1:\tsysretl\n"
    "entry32:\n\tmov %rcx, seen\n\tmov %r11, seen+8\n\tmov %cs, %eax\n\tmov %eax, seen+24\n\tsysretl\n");

int main(void)
{
    ulong rcx, r11, cs, ss, rsp0;

    wrmsr(MSR_STAR, (u64)(SEL_UCODE32 & ~3) << 48 | (u64)SEL_CODE << 32);
    wrmsr(MSR_LSTAR, (ulong)entry64);
    wrmsr(MSR_CSTAR, (ulong)entry32);
    wrmsr(MSR_SFMASK, 0);
    USER("syscall", ::"rcx", "r11", "rax", "memory");
    check_fault(UD, 0, "SYSCALL without EFER.SCE");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);

    user_flags = 2 | FL_CF | FL_AC;
    seen[6] = 0;
    USER("mov %%rsp, %0\n\tsyscall\n1:\tmov %%rcx, %1\n\tmov %%r11, %2\n\tmov %%cs, %3\n\tmov %%ss, %4",
         "=&b"(rsp0), "=&S"(rcx), "=&D"(r11), "=&d"(cs), "=&r"(ss)::"rcx", "r11", "rax", "memory");
    check_no_fault("SYSCALL and SYSRET, 64-bit");
    check_eq(seen[0], rcx, "RCX holds the return address in the kernel and after");
    check_eq(seen[1] & (FL_CF | FL_AC | 2), FL_CF | FL_AC | 2, "R11 holds the flags");
    check_eq(seen[2] & (FL_CF | FL_AC), FL_CF | FL_AC, "SFMASK 0 leaves the flags");
    check_eq(seen[3] & 0xffff, SEL_CODE, "SYSCALL: CS");
    check_eq(seen[4] & 0xffff, SEL_CODE + 8, "SYSCALL: SS");
    check_eq(seen[5], rsp0, "SYSCALL leaves RSP");
    check_eq(cs & 0xffff, SEL_UCODE64, "SYSRET q: CS");
    check_eq(ss & 0xffff, SEL_UDATA, "SYSRET q: SS");

    wrmsr(MSR_SFMASK, FL_CF | FL_IF | FL_DF | FL_TF | FL_AC);
    ulong after;
    user_flags = 2 | FL_CF | FL_AC | FL_IOPL;
    USER("std\n\tstc\n\tsyscall\n\tpushf\n\tpop %0\n\tcld", "=&b"(after)::"rcx", "r11", "rax", "memory");
    check_eq(seen[2] & (FL_CF | FL_DF | FL_AC), 0, "SFMASK clears what it names");
    check_eq(seen[2] & FL_IOPL, FL_IOPL, "SFMASK leaves the rest");
    check_eq(after & (FL_CF | FL_DF | FL_AC | FL_IOPL), FL_CF | FL_DF | FL_AC | FL_IOPL,
             "SYSRET restores the flags from R11");
    user_flags = 2;

    /* SYSRET to compatibility mode, SYSCALL from it (AMD) */
    wrmsr(MSR_SFMASK, 0);
    seen[6] = 1;
    USER("syscall\n\t.code32\n\tmov %%cs, %k0\n\tmov $0x12345678, %%ecx\n\tint $0x80\n\t.code64",
         "=&b"(cs)::"rcx", "r11", "rax", "memory");
    check_no_fault("SYSRET l to compatibility mode");
    check_eq(cs & 0xffff, SEL_UCODE32, "SYSRET l: CS");
    check_eq(trap.ss, SEL_UDATA, "SYSRET l: SS");
    seen[3] = 0;
    USER32("syscall\n\tmov %%cs, %k0", "=&b"(cs)::"rcx", "r11", "rax", "memory");
    check_no_fault("SYSCALL from compatibility mode");
    check_eq(seen[3] & 0xffff, SEL_CODE, "SYSCALL from compatibility mode arrives at CSTAR in 64-bit mode");
    seen[6] = 0;
    USER("sysretq", ::"memory");
    check_fault(GP, 0, "SYSRET in ring 3");

    /* R11 with bits that SYSRET must not set */
    TRY("mov %0, %%r11\n\tmov $1f, %%ecx\n\tsysretq\n1:\tpushf\n\tpop %%rbx\n\tint $0x80",
        : "r"((ulong)(2 | FL_VM | FL_RF | FL_NT | 0x8028))
        : "rbx", "rcx", "r11", "memory");
    check_eq(trap.flags & (FL_VM | FL_NT | 0x8028), FL_NT, "SYSRET ignores VM and the fixed bits");

    /* SWAPGS */
    wrmsr(MSR_GS_BASE, 0x1111);
    wrmsr(MSR_KERNEL_GS_BASE, 0xffff800000002222ull);
    asm volatile("swapgs");
    check(rdmsr(MSR_GS_BASE) == 0xffff800000002222ull && rdmsr(MSR_KERNEL_GS_BASE) == 0x1111,
          "SWAPGS exchanges the bases");
    asm volatile("swapgs");
    USER("swapgs", );
    check_fault(GP, 0, "SWAPGS in ring 3");
    USER32(".byte 0x0f, 0x01, 0xf8", );
    check_fault(UD, 0, "SWAPGS in compatibility mode");

    if (!(cpuid(7, 0).b & 1)) {
        skip("FSGSBASE", "not in CPUID");
        return 0;
    }
    cr4_write(cr4_read() | CR4_FSGSBASE);
    ulong v;
    USER("wrfsbase %1\n\trdfsbase %0", "=&a"(v) : "r"(0x123456789abcul));
    check_eq(v, 0x123456789abc, "WRFSBASE and RDFSBASE in ring 3");
    check_eq(rdmsr(MSR_FS_BASE), 0x123456789abc, "WRFSBASE writes FS.base");
    USER("wrgsbase %k1\n\trdgsbase %0", "=&a"(v) : "r"(0xfffffffful));
    check_eq(v, 0xffffffff, "WRGSBASE r32 zero-extends");
    USER("wrfsbase %0", : "r"(0x8000000000000000ul));
    check_fault(GP, 0, "WRFSBASE of a non-canonical address");
    USER32(".byte 0xf3, 0x0f, 0xae, 0xc0", );
    check_fault(UD, 0, "RDFSBASE in compatibility mode");
    /* loading a selector replaces the base, a null selector too or not (AMD leaves it) */
    wrmsr(MSR_FS_BASE, 0x5555);
    asm volatile("mov %0, %%fs" ::"r"(SEL_DATA));
    check_eq(rdmsr(MSR_FS_BASE), 0, "MOV FS loads the descriptor's base");
    return 0;
}
