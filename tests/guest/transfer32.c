/* Far JMP, CALL and RET in 32-bit protected mode: direct, conforming, through call gates, with a change of
 * privilege. */
#include "guest.h"

struct far {
    u32 offset;
    u16 sel;
} __attribute__((packed));

extern volatile u32 seen[16];
volatile u32 seen[16];

static void jump_to(u16 sel, const char *name, int vector, ulong error)
{
    struct far f;
    /* the target just lands at the end of the TRY */
    TRY("movl $881f, %0\n\tmovw %1, 4+%0\n\t" HERE "ljmp *%0", "=m"(f) : "r"(sel) : "memory");
    asm volatile("ljmp %0, $1f\n1:" ::"i"(SEL_CODE));
    check_fault(vector, error, "far JMP: %s", name);
}

static void check_jumps(void)
{
    static const struct {
        u8 access;
        u16 rpl;
        int vector;
        bool with_sel;
        const char *name;
    } cases[] = {
        {0x9b, 0, -1, 0, "nonconforming code DPL 0"},
        {0x99, 0, -1, 0, "execute-only code"},
        {0x9f, 0, -1, 0, "conforming code DPL 0"},
        {0x9f, 3, -1, 0, "conforming code DPL 0 with RPL 3"},
        {0x9b, 1, GP, 1, "nonconforming code DPL 0 with RPL 1"},
        {0xbb, 0, GP, 1, "nonconforming code DPL 1"},
        {0xbf, 0, GP, 1, "conforming code DPL 1"},
        {0x93, 0, GP, 1, "data"},
        {0x1b, 0, NP, 1, "not present code"},
        {0x1f, 0, NP, 1, "not present conforming code"},
        {0x3b, 0, GP, 1, "not present code DPL 1: privilege first"},
        {0x82, 0, GP, 1, "LDT"},
        {0x80, 0, GP, 1, "type 0"},
        {0x8e, 0, GP, 1, "interrupt gate"},
        {0x8f, 0, GP, 1, "trap gate"},
        {0x8b, 0, GP, 1, "busy TSS"},
        {0x09, 0, NP, 1, "not present TSS"},
        {0x0c, 0, NP, 1, "not present call gate"},
        {0x05, 0, NP, 1, "not present task gate"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        gdt_set(SEL_FREE, 0, 0xfffff, cases[i].access, (cases[i].access & 0x10) ? FLAG_G | FLAG_D : 0);
        jump_to(SEL_FREE | cases[i].rpl, cases[i].name, cases[i].vector, cases[i].with_sel ? SEL_FREE : 0);
    }
    jump_to(0, "null selector", GP, 0);
    jump_to(3, "null selector with RPL 3", GP, 0);
    jump_to(0x400, "beyond the GDT", GP, 0x400);
    jump_to(0x14, "LDT selector without LDT", GP, 0x14);
    gdt_set(SEL_FREE, 0, 0xfffff, 0x9a, FLAG_G | FLAG_D);
    jump_to(SEL_FREE, "code, accessed bit clear", -1, 0);
    check_eq(gdt[SEL_FREE >> 3] >> 40 & 0xff, 0x9b, "far JMP sets the accessed bit");
}

/* The gate's target: notes CS, the stack, parameters, and returns. */
extern char gate_entry[], gate_entry16[], gate_goal[];
asm("gate_goal:\n\tmovl $1, seen\n\tjmp *trap_resume\n"
    "gate_entry:\n\t"
    "mov %cs, %eax\n\tmovl %eax, seen\n\tmov %ss, %eax\n\tmovl %eax, seen+4\n\tmovl %esp, seen+8\n\t"
    "movl (%esp), %eax\n\tmovl %eax, seen+12\n\tmovl 4(%esp), %eax\n\tmovl %eax, seen+16\n\t"
    "movl 8(%esp), %eax\n\tmovl %eax, seen+20\n\tmovl 12(%esp), %eax\n\tmovl %eax, seen+24\n\t"
    "movl 16(%esp), %eax\n\tmovl %eax, seen+28\n\tmovl 20(%esp), %eax\n\tmovl %eax, seen+32\n\t"
    "cmpw $0, want_params\n\tjne 1f\n\tlret\n"
    "1:\tlret $8\n"
    "gate_entry16:\n\t"
    "movl %esp, seen+8\n\tmovl (%esp), %eax\n\tmovl %eax, seen+12\n\tmovl 4(%esp), %eax\n\tmovl %eax, "
    "seen+16\n\t"
    "lretw\n");
extern volatile u16 want_params;
volatile u16 want_params;

static void check_call_gates(void)
{
    extern char stack0_top[];
    ulong sp_before, sp_after;

    /* same privilege: no stack switch, no parameters copied */
    gdt[SEL_FREE >> 3] = gate32(SEL_CODE, (u32)gate_entry, 0x8c, 2);
    want_params = 0;
    TRY("mov %%esp, %0\n\tlcall %2, $0\n\tmov %%esp, %1", "=&b"(sp_before), "=&S"(sp_after)
        : "i"(SEL_FREE)
        : "eax", "memory");
    check_no_fault("CALL gate from ring 0");
    check_eq(sp_after, sp_before, "CALL gate from ring 0: ESP restored");
    check_eq(seen[2], sp_before - 8, "CALL gate from ring 0 pushes CS:EIP only");
    check_eq(seen[0], SEL_CODE, "CALL gate from ring 0: CS");
    gdt[SEL_FREE >> 3] = gate32(SEL_CODE, (u32)gate_goal, 0x8c, 0);
    seen[0] = 0;
    TRY("ljmp %0, $0", : "i"(SEL_FREE) : "memory");
    check_no_fault("JMP through a call gate of the same privilege");
    check_eq(seen[0], 1, "JMP through a call gate arrives");

    /* from ring 3: the gate's DPL and RPL */
    USER("lcall %0, $0", : "i"(SEL_FREE | 3) : "eax", "memory");
    check_fault(GP, SEL_FREE, "CALL gate with DPL 0 from ring 3");
    gdt[SEL_FREE >> 3] = gate32(SEL_CODE, (u32)gate_entry, 0xec, 0);
    USER("mov %%esp, %%ebx\n\tlcall %2, $0\n\tmov %%esp, %%esi", "=&b"(sp_before), "=&S"(sp_after)
         : "i"(SEL_FREE | 3)
         : "eax", "memory");
    check_no_fault("CALL gate from ring 3");
    check_eq(seen[0], SEL_CODE, "CALL gate from ring 3: CS is the gate's with RPL 0");
    check_eq(seen[1], SEL_DATA, "CALL gate from ring 3: SS from the TSS");
    check_eq(seen[2], (ulong)stack0_top - 16, "CALL gate from ring 3: ESP from the TSS less SS ESP CS EIP");
    check_eq(seen[4], SEL_UCODE32, "CALL gate from ring 3: pushed CS");
    check_eq(seen[5], sp_before, "CALL gate from ring 3: pushed ESP");
    check_eq(seen[6], SEL_UDATA, "CALL gate from ring 3: pushed SS");
    check_eq(sp_after, sp_before, "RETF to ring 3 restores ESP");
    check_eq(trap.cs, SEL_UCODE32, "RETF to ring 3: back in ring 3");

    /* parameters are copied; RETF n pops them from both stacks */
    gdt[SEL_FREE >> 3] = gate32(SEL_CODE, (u32)gate_entry, 0xec, 2);
    want_params = 1;
    USER("mov %%esp, %%ebx\n\tpush $0x1111\n\tpush $0x2222\n\tlcall %2, $0\n\tmov %%esp, %%esi",
         "=&b"(sp_before), "=&S"(sp_after)
         : "i"(SEL_FREE | 3)
         : "eax", "memory");
    check_no_fault("CALL gate with two parameters");
    check_eq(seen[2], (ulong)stack0_top - 24, "CALL gate with parameters: ESP");
    check_eq(seen[5], 0x2222, "CALL gate: last parameter on top");
    check_eq(seen[6], 0x1111, "CALL gate: first parameter below");
    check_eq(seen[7], sp_before - 8, "CALL gate with parameters: pushed ESP");
    check_eq(sp_after, sp_before, "RETF 8 releases the parameters of the outer stack too");
    want_params = 0;

    /* 16-bit gate: 16-bit pushes, offset truncated; target below 64 KiB needed: a code segment with a base */
    gdt_set(SEL_FREE + 8, (ulong)gate_entry16 & ~0xffffu, 0xfffff, 0x9b, FLAG_G | FLAG_D);
    gdt[SEL_FREE >> 3] = gate32(SEL_FREE + 8, (u32)gate_entry16 & 0xffff, 0xe4, 0);
    seen[2] = 0;
    USER("lcall %0, $0x12345678", : "i"(SEL_FREE | 3) : "eax", "memory");
    check_eq(seen[2], (ulong)stack0_top - 8, "16-bit CALL gate pushes four words");
    check_eq(seen[3] >> 16, SEL_UCODE32, "16-bit CALL gate: pushed CS");

    /* what can be wrong with the gate's target */
    static const struct {
        u16 sel;
        u8 access;
        int vector;
        const char *name;
    } bad[] = {
        {SEL_FREE + 8, 0x93, GP, "target is data"},
        {SEL_FREE + 8, 0x1b, NP, "target not present"},
        {SEL_FREE + 8, 0x8b, GP, "target is a TSS"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        gdt_set(SEL_FREE + 8, 0, 0xfffff, bad[i].access, FLAG_G | FLAG_D);
        gdt[SEL_FREE >> 3] = gate32(SEL_FREE + 8, (u32)gate_entry, 0xec, 0);
        USER("lcall %0, $0", : "i"(SEL_FREE | 3) : "eax", "memory");
        check_fault(bad[i].vector, SEL_FREE + 8, "CALL gate: %s", bad[i].name);
    }
    gdt[SEL_FREE >> 3] = gate32(0, (u32)gate_entry, 0xec, 0);
    USER("lcall %0, $0", : "i"(SEL_FREE | 3) : "eax", "memory");
    check_fault(GP, 0, "CALL gate: null target");
    gdt[SEL_FREE >> 3] = gate32(SEL_CODE, (u32)gate_entry, 0x6c, 0);
    USER("lcall %0, $0", : "i"(SEL_FREE | 3) : "eax", "memory");
    check_fault(NP, SEL_FREE, "CALL gate: not present");
    gdt[SEL_FREE >> 3] = gate32(SEL_CODE, (u32)gate_entry, 0xec, 0);
    USER("ljmp %0, $0", : "i"(SEL_FREE | 3) : "eax", "memory");
    check_fault(GP, SEL_CODE, "JMP through a call gate to an inner ring");
    gdt_set(SEL_FREE + 8, 0, 0xfffff, 0xfb, FLAG_G | FLAG_D);
    gdt[SEL_FREE >> 3] = gate32(SEL_FREE + 8, (u32)gate_entry, 0xec, 0);
    TRY("lcall %0, $0", : "i"(SEL_FREE) : "eax", "memory");
    check_fault(GP, SEL_FREE + 8, "CALL gate to an outer ring");

    /* a conforming target: CPL stays 3, no stack switch */
    gdt_set(SEL_FREE + 8, 0, 0xfffff, 0x9f, FLAG_G | FLAG_D);
    USER("mov %%esp, %%ebx\n\tlcall %1, $0", "=&b"(sp_before) : "i"(SEL_FREE | 3) : "eax", "memory");
    check_no_fault("CALL gate to conforming code");
    check_eq(seen[0], (SEL_FREE + 8) | 3, "CALL gate to conforming code: RPL of CS is 3");
    check_eq(seen[1], SEL_UDATA, "CALL gate to conforming code: same stack");

    /* The new stack's selector, from the TSS: ring 1's, since the exception itself needs ring 0's. */
    static const struct {
        u16 ss;
        u8 access;
        int vector;
        ulong error;
        const char *name;
    } stacks[] = {
        {0, 0, TS, 0, "null"},
        {(SEL_FREE + 8) | 1, 0xf3, TS, SEL_FREE + 8, "DPL 3"},
        {(SEL_FREE + 8) | 1, 0x93, TS, SEL_FREE + 8, "DPL 0"},
        {SEL_FREE + 8, 0xb3, TS, SEL_FREE + 8, "RPL 0"},
        {(SEL_FREE + 8) | 1, 0xbb, TS, SEL_FREE + 8, "code"},
        {(SEL_FREE + 8) | 1, 0xb1, TS, SEL_FREE + 8, "read-only"},
        {(SEL_FREE + 8) | 1, 0x33, SS, SEL_FREE + 8, "not present"},
        {0x401, 0, TS, 0x400, "beyond the GDT"},
    };
    gdt_set(SEL_FREE + 16, 0, 0xfffff, 0xbb, FLAG_G | FLAG_D);
    gdt[SEL_FREE >> 3] = gate32(SEL_FREE + 16, (u32)gate_entry, 0xec, 0);
    tss.esp1 = (u32)stack0_top - 4096;
    for (unsigned i = 0; i < ARRAY_SIZE(stacks); i++) {
        gdt_set(SEL_FREE + 8, 0, 0xfffff, stacks[i].access, FLAG_G | FLAG_D);
        tss.ss1 = stacks[i].ss;
        USER("lcall %0, $0", : "i"(SEL_FREE | 3) : "eax", "memory");
        check_fault(stacks[i].vector, stacks[i].error, "CALL gate to ring 1, SS1 in the TSS: %s",
                    stacks[i].name);
    }
    gdt_set(SEL_FREE + 8, 0, 0xfffff, 0xb3, FLAG_G | FLAG_D);
    tss.ss1 = (SEL_FREE + 8) | 1;
    USER("lcall %0, $0", : "i"(SEL_FREE | 3) : "eax", "memory");
    check_no_fault("CALL gate to ring 1 and back");
    check_eq(seen[0], (SEL_FREE + 16) | 1, "CALL gate to ring 1: CS");
    check_eq(seen[1], (SEL_FREE + 8) | 1, "CALL gate to ring 1: SS");
    /* a TSS too short to hold SS1:ESP1 */
    gdt_set(SEL_TSS2, (ulong)&tss, 15, 0x89, 0);
    asm volatile("ltr %w0" ::"r"(SEL_TSS2));
    USER("lcall %0, $0", : "i"(SEL_FREE | 3) : "eax", "memory");
    check_fault(TS, SEL_TSS2, "CALL gate to ring 1, TSS limit too small");
    gdt_set(SEL_TSS, (ulong)&tss, sizeof(tss) - 1, 0x89, 0);
    asm volatile("ltr %w0" ::"r"(SEL_TSS));
}

static void far_return(u16 sel, const char *name, int vector, ulong error)
{
    TRY("push %0\n\tpush $881f\n\t" HERE "lret", : "r"((u32)sel) : "memory");
    asm volatile("ljmp %0, $1f\n1:" ::"i"(SEL_CODE));
    check_fault(vector, error, "RETF: %s", name);
}

static void check_returns(void)
{
    static const struct {
        u8 access;
        u16 rpl;
        int vector;
        const char *name;
    } cases[] = {
        {0x9b, 0, -1, "nonconforming DPL 0"},
        {0x9f, 0, -1, "conforming DPL 0"},
        {0xfb, 0, GP, "nonconforming DPL 3, RPL 0"},
        {0xff, 0, GP, "conforming DPL 3, RPL 0"},
        {0x93, 0, GP, "data"},
        {0x1b, 0, NP, "not present"},
        {0x8c, 0, GP, "a call gate"},
        {0x9b, 3, GP, "nonconforming DPL 0, RPL 3"},
        {0x8b, 0, GP, "a TSS"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        gdt_set(SEL_FREE, 0, 0xfffff, cases[i].access, FLAG_G | FLAG_D);
        far_return(SEL_FREE | cases[i].rpl, cases[i].name, cases[i].vector,
                   cases[i].vector < 0 ? 0 : SEL_FREE);
    }
    far_return(0, "null", GP, 0);
    far_return(0x400, "beyond the GDT", GP, 0x400);

    /* to ring 3: the stack selector's checks */
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
        {SEL_FREE | 3, 0xf3, VEC_DONE, 0, "SS good"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(stacks); i++) {
        gdt_set(SEL_FREE, 0, 0xfffff, stacks[i].access, FLAG_G | FLAG_D);
        TRY("push %0\n\tpush trap_sp\n\tpush %1\n\tpush $1f\n\t" HERE "lret\n1:\tint $0x80",
            : "r"((u32)stacks[i].ss), "i"(SEL_UCODE32)
            : "memory");
        if (stacks[i].vector == VEC_DONE)
            check(trap.vector == VEC_DONE && trap.cs == SEL_UCODE32 && trap.ss == (SEL_FREE | 3),
                  "RETF to ring 3: %s", stacks[i].name);
        else
            check_fault(stacks[i].vector, stacks[i].error, "RETF to ring 3: %s", stacks[i].name);
    }
    /* data segments that ring 3 may not have become null */
    ulong ds = 1, es = 1, fs = 1, gs = 1;
    asm volatile("mov %0, %%fs\n\tmov %1, %%gs" ::"r"(SEL_DATA), "r"(SEL_UDATA));
    USER("mov %%ds, %0\n\tmov %%es, %1\n\tmov %%fs, %2\n\tmov %%gs, %3", "=&a"(ds), "=&b"(es), "=&c"(fs),
         "=&d"(gs));
    check_eq(ds & 0xffff, SEL_UDATA, "IRET to ring 3 keeps a ring 3 DS");
    check_eq(fs & 0xffff, 0, "IRET to ring 3 makes a ring 0 FS null");
    check_eq(gs & 0xffff, SEL_UDATA, "IRET to ring 3 keeps a ring 3 GS");
    asm volatile("mov %0, %%fs\n\tmov %0, %%gs" ::"r"(3));
    USER("mov %%fs, %0\n\tmov %%gs, %1", "=&a"(fs), "=&b"(gs));
    check_eq(fs & 0xffff, 0, "IRET to ring 3 makes null selector 3 in FS 0");
    check_eq(gs & 0xffff, 0, "IRET to ring 3 makes null selector 3 in GS 0");
    /* to an inner ring: never */
    USER("push %0\n\tpush $1f\n\t" HERE "lret\n1:", : "i"(SEL_CODE) : "memory");
    check_fault(GP, SEL_CODE, "RETF from ring 3 to ring 0");
}

int main(void)
{
    check_jumps();
    check_call_gates();
    check_returns();
    return 0;
}
