/* IRET in protected mode: same ring, outer ring, its faults, the flags that each privilege may change, NT
 * without a task. */
#include "guest.h"

/* Builds an IRET frame for the same ring and returns the flags that IRET left. */
static ulong iret_flags(ulong flags)
{
    ulong after;

    TRY("pushl %1\n\tpushl %2\n\tpushl $1f\n\tiret\n1:\tpushf\n\tpopl %0\n\tpushl $2\n\tpopf", "=r"(after)
        : "r"(flags), "i"(SEL_CODE)
        : "memory");
    return after;
}

static void iret_to(u16 cs, u32 flags, int vector, ulong error, const char *name)
{
    TRY("pushl %0\n\tpushl %1\n\tpushl $881f\n\t" HERE "iret", : "r"(flags), "r"((u32)cs) : "memory");
    asm volatile("ljmp %0, $1f\n1:\n\tpushl $2\n\tpopf" ::"i"(SEL_CODE));
    check_fault(vector, error, "IRET: %s", name);
}

int main(void)
{
    check_eq(iret_flags(2 | FL_CF | FL_ZF | FL_DF | FL_OF), 2 | FL_CF | FL_ZF | FL_DF | FL_OF,
             "IRET loads the status flags");
    check_eq(iret_flags(0xffffffff & ~(ulong)(FL_VM | FL_TF | FL_IF | FL_NT | FL_VIP | FL_VIF | FL_RF)),
             0x243cd7, "IRET in ring 0 loads IOPL, AC, ID; bits 3, 5, 15 and 22-31 stay 0, bit 1 stays 1");
    check_eq(iret_flags(0), 2, "IRET keeps bit 1 set");
    check_eq(iret_flags(2 | FL_IOPL) & FL_IOPL, FL_IOPL, "IRET in ring 0 sets IOPL");

    static const struct {
        u8 access;
        u16 rpl;
        int vector;
        const char *name;
    } codes[] = {
        {0x9b, 0, -1, "code DPL 0"},
        {0x9f, 0, -1, "conforming DPL 0"},
        {0xfb, 0, GP, "code DPL 3, RPL 0"},
        {0xff, 0, GP, "conforming DPL 3, RPL 0"},
        {0x93, 0, GP, "data"},
        {0x1b, 0, NP, "not present"},
        {0x8b, 0, GP, "TSS"},
        {0x9b, 3, GP, "code DPL 0, RPL 3"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
        gdt_set(SEL_FREE, 0, 0xfffff, codes[i].access, FLAG_G | FLAG_D);
        iret_to(SEL_FREE | codes[i].rpl, 2, codes[i].vector, codes[i].vector < 0 ? 0 : SEL_FREE,
                codes[i].name);
    }
    iret_to(0, 2, GP, 0, "null CS");
    iret_to(0x400, 2, GP, 0x400, "CS beyond the GDT");

    static const struct {
        u16 ss;
        u8 access;
        int vector;
        ulong error;
        const char *name;
    } stacks[] = {
        {3, 0, GP, 0, "null SS"},
        {SEL_FREE, 0xf3, GP, SEL_FREE, "SS RPL 0"},
        {SEL_FREE | 3, 0x93, GP, SEL_FREE, "SS DPL 0"},
        {SEL_FREE | 3, 0xfb, GP, SEL_FREE, "SS is code"},
        {SEL_FREE | 3, 0xf1, GP, SEL_FREE, "SS is read-only"},
        {SEL_FREE | 3, 0x73, SS, SEL_FREE, "SS not present"},
        {0x403, 0, GP, 0x400, "SS beyond the GDT"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(stacks); i++) {
        gdt_set(SEL_FREE, 0, 0xfffff, stacks[i].access, FLAG_G | FLAG_D);
        TRY("pushl %0\n\tpushl trap_sp\n\tpushl $2\n\tpushl %1\n\tpushl $881f\n\t" HERE "iret",
            : "r"((u32)stacks[i].ss), "i"(SEL_UCODE32)
            : "memory");
        check_fault(stacks[i].vector, stacks[i].error, "IRET to ring 3: %s", stacks[i].name);
    }
    USER("pushl $2\n\tpushl %0\n\tpushl $1f\n\t" HERE "iret\n1:", : "i"(SEL_CODE) : "memory");
    check_fault(GP, SEL_CODE, "IRET from ring 3 to ring 0");
    /* ring 3 cannot change IOPL, and IF only with IOPL 3; VM is ignored there */
    ulong after;
    USER("pushl %1\n\tpushl %2\n\tpushl $1f\n\tiret\n1:\tpushf\n\tpopl %0", "=&r"(after)
         : "i"(2 | FL_IF | FL_IOPL | FL_CF), "i"(SEL_UCODE32)
         : "memory");
    check_eq(after & (FL_IF | FL_IOPL | FL_CF), FL_CF, "IRET in ring 3 with IOPL 0 leaves IF and IOPL");
    user_flags = 2 | FL_IOPL;
    USER("pushl %1\n\tpushl %2\n\tpushl $1f\n\tiret\n1:\tpushf\n\tpopl %0", "=&r"(after)
         : "i"(2 | FL_IF), "i"(SEL_UCODE32)
         : "memory");
    check_eq(after & (FL_IF | FL_IOPL), FL_IF | FL_IOPL, "IRET in ring 3 with IOPL 3 loads IF, not IOPL");
    user_flags = 2;
    if (!tcg_cannot("IRET in ring 3 ignores VM", "does not look at the CPL")) {
        USER("pushl %1\n\tpushl %2\n\tpushl $1f\n\tiret\n1:\tpushf\n\tpopl %0", "=&r"(after)
             : "i"(2 | FL_VM), "i"(SEL_UCODE32)
             : "memory");
        check(trap.vector == VEC_DONE && !(after & FL_VM), "IRET in ring 3 ignores VM");
    }
    /* 16-bit IRET leaves the upper flags */
    u32 kept;
    gdt_set(SEL_FREE, 0x100000, 0xffff, 0x9b, 0);
    asm volatile(
        "pushl %1\n\tpopf\n\tmovl $1f - 0x100000, %%eax\n\tpushw $3\n\tpushw %2\n\tpushw %%ax\n\tiretw\n"
        ".code16\n1:\tljmpl %3, $2f\n.code32\n2:\tpushf\n\tpopl %0\n\tpushl $2\n\tpopf"
        : "=r"(kept)
        : "i"(2 | FL_AC | FL_ID), "i"(SEL_FREE), "i"(SEL_CODE)
        : "eax", "memory");
    check_eq(kept, 3 | FL_AC | FL_ID, "IRETW loads the low 16 flags and keeps the upper ones");
    /* NT with an impossible back link: #TS with the link's selector */
    tss.link = SEL_DATA;
    TRY("pushl %0\n\tpopf\n\t" HERE "iret", : "i"(2 | FL_NT) : "memory");
    check_fault(TS, SEL_DATA, "IRET with NT, the back link is no TSS");
    tss.link = 0x0c;
    TRY("pushl %0\n\tpopf\n\t" HERE "iret", : "i"(2 | FL_NT) : "memory");
    check_fault(TS, 0x0c, "IRET with NT, the back link is in the LDT");
    gdt_set(SEL_FREE, (ulong)&tss, 0x67, 0x89, 0);
    tss.link = SEL_FREE;
    TRY("pushl %0\n\tpopf\n\t" HERE "iret", : "i"(2 | FL_NT) : "memory");
    check_fault(TS, SEL_FREE, "IRET with NT, the back link's TSS is not busy");
    /* RF: set in the frame of faults, clear for traps and interrupts (SDM 3, 17.3.1.1) */
    TRY("ud2", );
    check_eq(trap.flags & FL_RF, FL_RF, "a fault's saved EFLAGS have RF");
    TRY("int3", );
    check_eq(trap.flags & FL_RF, 0, "a trap's saved EFLAGS have no RF");
    return 0;
}
