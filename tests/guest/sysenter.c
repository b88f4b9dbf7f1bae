/* SYSENTER and SYSEXIT in 32-bit mode: flat segments, the MSRs, the faults. */
#include "guest.h"

extern char sysenter_entry[];
extern volatile u32 seen[8];
volatile u32 seen[8];
asm("sysenter_entry:\n\tmov %cs, %eax\n\tmov %eax, seen\n\tmov %ss, %eax\n\tmov %eax, seen+4\n\tmov %esp, "
    "seen+8\n\tpushf\n\tpop %eax\n\t"
    "mov %eax, seen+12\n\tsysexit\n");
static u8 stack[4096];

int main(void)
{
    if (!(cpuid(1, 0).d & 1u << 11)) {
        check(true, "CPUID says that there is no SYSENTER");
        return 0;
    }
    ulong cs, ss, esp;
    wrmsr(0x174, 0);
    USER("sysenter", ::"eax", "ecx", "edx", "memory");
    check_fault(GP, 0, "SYSENTER with SYSENTER_CS = 0");
    wrmsr(0x174, SEL_CODE);
    wrmsr(0x175, (u32)(stack + sizeof(stack)));
    wrmsr(0x176, (u32)sysenter_entry);
    user_flags = 2 | FL_IOPL | FL_IF | FL_CF;
    USER("mov %%esp, %%ecx\n\tmov $1f, %%edx\n\tsysenter\n1:\tmov %%cs, %0\n\tmov %%ss, %1\n\tmov %%esp, %2",
         "=&b"(cs), "=&S"(ss), "=&D"(esp)::"eax", "ecx", "edx", "memory");
    user_flags = 2;
    check_no_fault("SYSENTER and SYSEXIT");
    check_eq(seen[0], SEL_CODE, "SYSENTER: CS");
    check_eq(seen[1], SEL_DATA, "SYSENTER: SS is CS + 8");
    check_eq(seen[2], (u32)(stack + sizeof(stack)), "SYSENTER: ESP");
    check_eq(seen[3] & (FL_IF | FL_IOPL | FL_CF), FL_IOPL | FL_CF, "SYSENTER clears IF and leaves the rest");
    check_eq(cs & 0xffff, SEL_CODE + 16 + 3, "SYSEXIT: CS is SYSENTER_CS + 16, RPL 3");
    check_eq(ss & 0xffff, SEL_CODE + 24 + 3, "SYSEXIT: SS is SYSENTER_CS + 24, RPL 3");
    check_eq(esp, trap_sp, "SYSEXIT: ESP from ECX");
    USER("sysexit", );
    check_fault(GP, 0, "SYSEXIT in ring 3");
    wrmsr(0x174, 0);
    TRY("sysexit", );
    check_fault(GP, 0, "SYSEXIT with SYSENTER_CS = 0");
    wrmsr(0x174, SEL_CODE);
    return 0;
}
