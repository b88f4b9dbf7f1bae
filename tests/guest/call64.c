/*
 * Far transfers in long mode: call gates (64-bit, 16 bytes), far JMP and RET between modes, IRET, gate
 * checks.
 */
/* ## mode: x86_64 */
#include "guest.h"

extern char gate_entry64[], stack0_top[];
extern volatile ulong seen[8];
volatile ulong seen[8];
asm("gate_entry64:\n\tmov %cs, %eax\n\tmov %eax, seen\n\tmov %ss, %eax\n\tmov %eax, seen+8\n\tmov %rsp, "
    "seen+16\n\t"
    "mov (%rsp), %rax\n\tmov %rax, seen+24\n\tmov 8(%rsp), %rax\n\tmov %rax, seen+32\n\t"
    "mov 16(%rsp), %rax\n\tmov %rax, seen+40\n\tmov 24(%rsp), %rax\n\tmov %rax, seen+48\n\tlretq\n");

static void call_gate(u16 selector, ulong offset, u8 access)
{
    gdt[SEL_FREE >> 3] = gate32(selector, (u32)offset, access, 0);
    gdt[(SEL_FREE >> 3) + 1] = offset >> 32;
}

struct far32 {
    u32 offset;
    u16 sel;
} __attribute__((packed));

int main(void)
{
    struct far32 gate3 = {0, SEL_FREE | 3}, gate0 = {0, SEL_FREE};
    ulong rsp0, rsp1;

    call_gate(SEL_CODE, (ulong)gate_entry64, 0xec);
    USER("mov %%rsp, %0\n\tlcall *%2\n\tmov %%rsp, %1", "=&b"(rsp0), "=&S"(rsp1)
         : "m"(gate3)
         : "rax", "memory");
    check_no_fault("CALL gate from ring 3");
    check_eq(seen[0] & 0xffff, SEL_CODE, "CALL gate: CS");
    check_eq(seen[1] & 0xffff, 0, "CALL gate: SS is null in 64-bit mode");
    check_eq(seen[2], (ulong)stack0_top - 32, "CALL gate: RSP0 less four quadwords");
    check_eq(seen[4], SEL_UCODE64, "CALL gate: pushed CS");
    check_eq(seen[5], rsp0, "CALL gate: pushed RSP");
    check_eq(seen[6], SEL_UDATA, "CALL gate: pushed SS");
    check_eq(rsp1, rsp0, "RETF: RSP again");
    check_eq(trap.cs, SEL_UCODE64, "RETF: ring 3 again");
    TRY("mov %%rsp, %0\n\tlcall *%2\n\tmov %%rsp, %1", "=&b"(rsp0), "=&S"(rsp1)
        : "m"(gate0)
        : "rax", "memory");
    check_no_fault("CALL gate from ring 0");
    check_eq(seen[2], rsp0 - 16, "CALL gate from ring 0 pushes CS:RIP as quadwords");
    static struct far32 gate_low[1] = {{0, SEL_FREE | 3}};
    USER32("lcall *(%k1)\n\tmov %%cs, %k0", "=&b"(rsp0) : "r"(&gate_low[0]) : "rax", "memory");
    check_no_fault("CALL gate from compatibility mode");
    check_eq(seen[4], SEL_UCODE32, "CALL gate from compatibility mode: pushed CS");

    static const struct {
        u16 sel;
        u8 code_access, code_flags, gate_access;
        int vector;
        u16 error;
        const char *name;
    } bad[] = {
        {SEL_CODE, 0, 0, 0x8c, GP, SEL_FREE, "gate DPL 0 from ring 3"},
        {SEL_CODE, 0, 0, 0x6c, NP, SEL_FREE, "gate not present"},
        {SEL_CODE32, 0, 0, 0xec, GP, SEL_CODE32, "target 32-bit code"},
        {SEL_DATA, 0, 0, 0xec, GP, SEL_DATA, "target data"},
        {SEL_FREE + 16, 0x9b, FLAG_G | FLAG_L | FLAG_D, 0xec, GP, SEL_FREE + 16, "target with L and D"},
        {SEL_FREE + 16, 0x1b, FLAG_G | FLAG_L, 0xec, NP, SEL_FREE + 16, "target not present"},
        {0, 0, 0, 0xec, GP, 0, "target null"},
        {SEL_CODE, 0, 0, 0xe4, GP, SEL_FREE, "16-bit call gate type"},
        {SEL_CODE, 0, 0, 0xe5, GP, SEL_FREE, "task gate type"},
        {SEL_CODE, 0, 0, 0xee, GP, SEL_FREE, "interrupt gate type"},
        {SEL_CODE, 0, 0, 0xe9, GP, SEL_FREE, "TSS type"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        if (bad[i].code_access)
            gdt[(SEL_FREE + 16) >> 3] = descriptor(0, 0xfffff, bad[i].code_access, bad[i].code_flags);
        call_gate(bad[i].sel, (ulong)gate_entry64, bad[i].gate_access);
        USER("lcall *%0", : "m"(gate3) : "rax", "memory");
        check_fault(bad[i].vector, bad[i].error, "CALL gate: %s", bad[i].name);
    }
    call_gate(SEL_CODE, 0x8000000000000000ul, 0xec);
    USER("lcall *%0", : "m"(gate3) : "rax", "memory");
    check(trap.vector == GP, "CALL gate: non-canonical target");
    call_gate(SEL_CODE, (ulong)gate_entry64, 0xec);
    gdt[(SEL_FREE >> 3) + 1] |= 0x1full << 40;
    USER("lcall *%0", : "m"(gate3) : "rax", "memory");
    check_fault(GP, SEL_FREE, "CALL gate: type bits in the upper half");

    /* far JMP between 64-bit and compatibility code, and IRET */
    static const struct {
        u8 access, flags;
        int vector;
        const char *name;
    } codes[] = {
        {0x9b, FLAG_G | FLAG_L, -1, "64-bit code"},
        {0x9b, FLAG_G | FLAG_L | FLAG_D, GP, "code with L and D"},
        {0x93, FLAG_G, GP, "data"},
        {0x1b, FLAG_L, NP, "not present code"},
        {0xfb, FLAG_L, GP, "code DPL 3"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
        gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, codes[i].access, codes[i].flags);
        TRY("mov $881f, %%eax\n\tmov %%eax, %0\n\t" HERE "ljmp *%0", "+m"(gate0)::"rax", "memory");
        check_fault(codes[i].vector, codes[i].vector < 0 ? 0 : SEL_FREE, "far JMP: %s", codes[i].name);
        struct far32 home = {0, SEL_CODE};
        asm volatile("mov $1f, %%eax\n\tmov %%eax, %0\n\tljmp *%0\n1:" : "+m"(home)::"rax");
        TRY("pushq %0\n\tpushq $881f\n\t" HERE "lretq", : "r"((ulong)SEL_FREE) : "memory");
        check_fault(codes[i].vector, codes[i].vector < 0 ? 0 : SEL_FREE, "RETF: %s", codes[i].name);
        asm volatile("mov $1f, %%eax\n\tmov %%eax, %0\n\tljmp *%0\n1:" : "+m"(home)::"rax");
    }
    /* into 32-bit code in ring 0 and back; registers' upper halves survive or not, the lower ones do */
    u32 ran = 0;
    struct far32 to32 = {0, SEL_CODE32}, to64 = {0, SEL_CODE};
    asm volatile(
        "mov $1f, %%eax\n\tmov %%eax, %1\n\tmov $2f, %%eax\n\tmov %%eax, %2\n\tlea %2, %%ecx\n\tljmp "
        "*%1\n\t.code32\n"
        "1:\tmov $0x1234, %%ebx\n\tdec %%ebx\n\tinc %%ebx\n\tljmp *(%%ecx)\n\t.code64\n2:\tmov %%ebx, %0"
        : "=r"(ran), "+m"(to32), "+m"(to64)::"rax", "rbx", "rcx");
    check_eq(ran, 0x1234, "far JMP to 32-bit code in ring 0 and back");

    /* IRET in long mode always pops five quadwords, and faults with NT */
    TRY("pushf\n\torq %0, (%%rsp)\n\tpopf\n\t" HERE "iretq", : "i"(FL_NT));
    check_fault(GP, 0, "IRET with NT in long mode");
    ulong ss;
    TRY("mov %%rsp, %%rbx\n\tpushq $0\n\tpushq %%rbx\n\tpushq $2\n\tpushq %1\n\tpushq $1f\n\tiretq\n1:\tmov "
        "%%ss, %0",
        "=&r"(ss)
        : "i"(SEL_CODE)
        : "rbx", "memory");
    check_no_fault("IRET to 64-bit ring 0 with a null SS");
    check_eq(ss & 0xffff, 0, "the null SS");
    asm volatile("mov %0, %%ss" ::"r"(SEL_DATA));
    TRY("pushq $3\n\tpushq trap_sp\n\tpushq $2\n\tpushq %0\n\tpushq $1f\n\t" HERE "iretq\n1:",
        : "i"(SEL_UCODE64)
        : "memory");
    check_fault(GP, 0, "IRET to ring 3 with a null SS");
    TRY("mov %w0, %%ss", : "r"(0));
    check_no_fault("MOV SS, null in 64-bit ring 0");
    asm volatile("mov %0, %%ss" ::"r"(SEL_DATA));
    TRY("mov %w0, %%ss", : "r"(3));
    check_fault(GP, 0, "MOV SS, null with RPL 3 in ring 0");
    /* segment bases: zero for CS DS ES SS, whatever the descriptor says */
    gdt[SEL_FREE >> 3] = descriptor(0x1000, 0, 0x93, 0);
    static volatile u32 cell = 77;
    u32 v;
    asm volatile("mov %2, %%ds\n\tmov %1, %0\n\tmov %3, %%ds"
                 : "=&r"(v)
                 : "m"(cell), "r"(SEL_FREE), "r"(SEL_DATA));
    check_eq(v, 77, "64-bit mode ignores DS.base and DS.limit");
    asm volatile("mov %2, %%fs\n\tmov %%fs:-0x1000+%1, %0" : "=&r"(v) : "m"(cell), "r"(SEL_FREE));
    check_eq(v, 77, "64-bit mode uses FS.base and ignores FS.limit");
    gdt[SEL_FREE >> 3] = descriptor(0, 0xfff, 0xf3, FLAG_D);
    USER32("mov %0, %%fs\n\t" HERE32 "mov %%fs:(%1), %%eax", : "r"(SEL_FREE | 3), "r"(0x1000) : "rax");
    check_fault(GP, 0, "compatibility mode checks FS.limit");
    return 0;
}
