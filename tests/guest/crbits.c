/* CR0, CR4, CR8, EFER in long mode: illegal bits and combinations, what is stored and what is ignored. */
/* ## mode: x86_64 */
/* ## tcg: skip TCG checks no bits of CR0, CR4 and EFER, and dies of some */
#include "guest.h"

#define PTE_U 4u

#define CR_CASE(n, value, vector, name)                                                                      \
    do {                                                                                                     \
        ulong old_ = cr##n##_read();                                                                         \
        TRY("mov %0, %%cr" #n, : "r"((ulong)(value)) : "memory");                                            \
        bool ok_ = check_fault(vector, 0, "%s", name);                                                       \
        if ((vector) == GP && ok_)                                                                           \
            check_eq(cr##n##_read(), old_, "%s: CR" #n " is unchanged", name);                               \
        cr##n##_write(old_);                                                                                 \
    } while (0)

#define EFER_CASE(value, vector, name)                                                                       \
    do {                                                                                                     \
        u64 old_ = rdmsr(MSR_EFER);                                                                          \
        TRY_WRMSR(MSR_EFER, value);                                                                          \
        check_fault(vector, 0, "%s", name);                                                                  \
        wrmsr(MSR_EFER, old_);                                                                               \
    } while (0)

int main(void)
{
    ulong cr0 = cr0_read(), cr4 = cr4_read();
    u64 efer = rdmsr(MSR_EFER);
    struct cpuid f1 = cpuid(1, 0), f7 = cpuid(7, 0);

    for (int i = 0; i < 2048; i++)
        pd[i] &= ~(u64)PTE_U; /* SMEP must not stop this code */
    cr3_write(cr3_read());
    check_eq(efer & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA, "EFER.LME and LMA in long mode");
    CR_CASE(0, cr0 & ~(ulong)CR0_PE, GP, "CR0: PG without PE");
    CR_CASE(0, (cr0 | CR0_NW) & ~(ulong)CR0_CD, GP, "CR0: NW without CD");
    CR_CASE(0, cr0 | CR0_NW | CR0_CD, -1, "CR0: NW with CD");
    CR_CASE(0, cr0 | 1ul << 32, GP, "CR0: bit 32");
    CR_CASE(0, cr0 | 1ul << 63, GP, "CR0: bit 63");
    CR_CASE(0, cr0 & ~0x10ul, -1, "CR0: ET cleared");
    cr0_write(cr0 & ~0x10ul);
    check_eq(cr0_read() & 0x10, 0x10, "CR0.ET reads as 1");
    cr0_write(cr0);

    CR_CASE(4, cr4 & ~(ulong)CR4_PAE, GP, "CR4: PAE cleared in long mode");
    CR_CASE(4, cr4 | 1ul << 32, GP, "CR4: bit 32");
    CR_CASE(4, cr4 | 1ul << 63, GP, "CR4: bit 63");
    CR_CASE(4, cr4 | 1ul << 15, GP, "CR4: bit 15");
    CR_CASE(4, cr4 | 1ul << 19, f7.c & 1u << 23 ? -1 : GP, "CR4: bit 19 (KL)");
    CR_CASE(4, cr4 | 1ul << 13, GP, "CR4: VMXE on an AMD CPU");
    CR_CASE(4, cr4 | CR4_SMEP, f7.b & 1u << 7 ? -1 : GP, "CR4: SMEP follows CPUID");
    CR_CASE(4, cr4 | CR4_UMIP, f7.c & 1u << 2 ? -1 : GP, "CR4: UMIP follows CPUID");
    CR_CASE(4, cr4 | CR4_FSGSBASE, f7.b & 1 ? -1 : GP, "CR4: FSGSBASE follows CPUID");
    CR_CASE(4, cr4 | CR4_PCIDE, f1.c & 1u << 17 ? -1 : GP, "CR4: PCIDE follows CPUID");
    CR_CASE(4, cr4 | CR4_OSXSAVE, f1.c & 1u << 26 ? -1 : GP, "CR4: OSXSAVE follows CPUID");
    CR_CASE(4, cr4 | CR4_LA57, GP, "CR4: LA57 cannot be changed in long mode");
    CR_CASE(4, cr4 | CR4_TSD | CR4_DE | CR4_PSE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | 0x40, -1,
            "CR4: the old bits");
    if (f1.c & 1u << 26) {
        cr4_write(cr4 | CR4_OSXSAVE);
        check(cpuid(1, 0).c & 1u << 27, "CPUID.OSXSAVE follows CR4.OSXSAVE");
        cr4_write(cr4);
        check(!(cpuid(1, 0).c & 1u << 27), "CPUID.OSXSAVE is clear without CR4.OSXSAVE");
    }
    u32 width = cpuid(0x80000008, 0).a & 0xff;
    TRY("mov %0, %%cr3", : "r"(cr3_read() | 1ul << 63));
    check_fault(GP, 0, "CR3: bit 63");
    if (width < 52) {
        TRY("mov %0, %%cr3", : "r"(cr3_read() | 1ul << width));
        check_fault(GP, 0, "CR3: bit MAXPHYADDR");
    }
    CR_CASE(2, 0x8000000000000000ul, -1, "CR2 takes any value");

    TRY("mov %0, %%cr8", : "r"(0x10ul));
    check_fault(GP, 0, "CR8: bit 4");
    TRY("mov %0, %%cr8", : "r"(0xful));
    check_no_fault("CR8: 15");
    ulong cr8;
    asm volatile("mov %%cr8, %0" : "=r"(cr8));
    check_eq(cr8, 15, "CR8 reads back");
    asm volatile("mov %0, %%cr8" ::"r"(0ul));
    for (int i = 0; i < 2048; i++)
        pd[i] |= PTE_U;
    cr3_write(cr3_read());
    USER("mov %%cr8, %%rax", ::"rax");
    check_fault(GP, 0, "CR8 in ring 3");
    /* AMD: LOCK MOV CR0 is MOV CR8 where CPUID says so */
    if (cpuid(0x80000001, 0).c & 1u << 4) {
        asm volatile("mov %0, %%cr8" ::"r"(5ul));
        TRY(".byte 0xf0, 0x0f, 0x20, 0xc0", "=a"(cr8));
        check_eq(cr8, 5, "LOCK MOV r, CR0 reads CR8");
        asm volatile("mov %0, %%cr8" ::"r"(0ul));
    } else {
        TRY(".byte 0xf0, 0x0f, 0x20, 0xc0", ::"rax");
        check_fault(UD, 0, "LOCK MOV r, CR0 without AltMovCr8");
    }
    /* the mod bits of MOV CR are ignored, operand size is 64 bits */
    ulong v;
    asm volatile(".byte 0x0f, 0x20, 0x00" : "=a"(v));
    check_eq(v, cr0, "MOV r, CR0 with mod 0");
    asm volatile("mov $-1, %%rax\n\t.byte 0x66, 0x0f, 0x20, 0xc0" : "=a"(v));
    check_eq(v, cr0, "MOV r, CR0 with an operand-size prefix is 64 bits");

    EFER_CASE(efer & ~(u64)EFER_LME, GP, "EFER: LME cleared with paging on");
    EFER_CASE(efer | 1ull << 32, GP, "EFER: bit 32");
    EFER_CASE(efer | 1ull << 1, GP, "EFER: bit 1");
    EFER_CASE(efer | 1ull << 9, GP, "EFER: bit 9");
    EFER_CASE(efer | EFER_SCE | EFER_NXE, -1, "EFER: SCE and NXE");
    EFER_CASE(efer & ~(u64)EFER_LMA, -1, "EFER: LMA is ignored on a write, or kept");
    check_eq(rdmsr(MSR_EFER) & EFER_LMA, EFER_LMA, "EFER.LMA cannot be cleared by WRMSR");

    /* debug registers: upper halves */
    TRY("mov %0, %%dr7", : "r"(1ul << 32));
    check_fault(GP, 0, "DR7: bit 32");
    TRY("mov %0, %%dr6", : "r"(1ul << 32));
    check_fault(GP, 0, "DR6: bit 32");
    dr6_write(0);
    check_eq(dr6_read(), 0xffff0ff0, "DR6: fixed bits");
    dr7_write(0);
    check_eq(dr7_read(), 0x400, "DR7: fixed bits");
    return 0;
}
