/* The IDT in 32-bit protected mode: gate types, presence, DPL, limit, targets; the IDT and EXT bits of error
 * codes. */
#include "guest.h"

#define VEC          0x40
#define IDT_ERROR(v) ((v)*8 + 2)
extern char trap_stubs[];

static ulong entry(int vector)
{
    return (ulong)trap_stubs + (ulong)vector * 16;
}

int main(void)
{
    /* software interrupts through every gate type */
    static const struct {
        u8 access;
        int vector;
        const char *name;
    } gates[] = {
        {0x8e, VEC, "interrupt gate 32"},
        {0x8f, VEC, "trap gate 32"},
        {0x0e, NP, "not present gate"},
        {0x80, GP, "type 0"},
        {0x89, GP, "TSS descriptor"},
        {0x8c, GP, "call gate"},
        {0x84, GP, "call gate 16"},
        {0x93, GP, "data segment"},
        {0x9e, GP, "S=1 with a gate's type"},
        {0x82, GP, "LDT"},
        {0x0c, GP, "not present call gate: type first"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(gates); i++) {
        idt_set(VEC, SEL_CODE, entry(VEC), gates[i].access, 0);
        TRY("int %0", : "i"(VEC));
        if (gates[i].vector == VEC)
            check_trap(VEC, "INT n through %s", gates[i].name);
        else
            check_fault(gates[i].vector, IDT_ERROR(VEC), "INT n through %s", gates[i].name);
    }
    /* IF: cleared by interrupt gates, left by trap gates; TF, NT, RF, VM cleared by both */
    idt_set(VEC, SEL_CODE, entry(VEC), 0x8e, 0);
    static volatile ulong inner_flags;
    extern volatile ulong seen_flags;
    extern char flags_entry[];
    asm(".pushsection .text.handlers,\"ax\"\nflags_entry:\n\tpushf\n\tpopl seen_flags\n\tiret\n.popsection\n"
        ".pushsection .bss\n.globl seen_flags\nseen_flags: .skip 4\n.popsection");
    for (int trap_gate = 0; trap_gate < 2; trap_gate++) {
        idt_set(VEC, SEL_CODE, (ulong)flags_entry, trap_gate ? 0x8f : 0x8e, 0);
        TRY("pushl %0\n\tpopf\n\tint %1\n\tpushf\n\tpopl %2\n\tpushl $2\n\tpopf",
            : "i"(FL_NT | FL_IF | 2 | FL_AC), "i"(VEC), "m"(inner_flags)
            : "memory");
        check_eq(seen_flags & (FL_IF | FL_NT | FL_TF), trap_gate ? FL_IF : 0, "%s gate: flags inside",
                 trap_gate ? "trap" : "interrupt");
        check_eq(seen_flags & FL_AC, FL_AC, "%s gate keeps AC", trap_gate ? "trap" : "interrupt");
    }
    asm volatile("pushl $2\n\tpopf");

    /* the gate's DPL counts for INT n, INT3, INTO; not for exceptions, hardware interrupts or ICEBP */
    idt_set(VEC, SEL_CODE, entry(VEC), 0x8e, 0);
    USER("int %0", : "i"(VEC));
    check_fault(GP, IDT_ERROR(VEC), "INT n from ring 3, gate DPL 0");
    idt_set(BP, SEL_CODE, entry(BP), 0x8e, 0);
    USER("int3", );
    check_fault(GP, IDT_ERROR(BP), "INT3 from ring 3, gate DPL 0");
    idt_set(OF, SEL_CODE, entry(OF), 0x8e, 0);
    USER("movb $0x7f, %%al\n\taddb $1, %%al\n\t" HERE "into", ::"eax");
    check_fault(GP, IDT_ERROR(OF), "INTO from ring 3, gate DPL 0");
    USER("ud2", );
    check_fault(UD, 0, "UD2 from ring 3, gate DPL 0");
    USER("int $13", );
    check_fault(GP, IDT_ERROR(13), "INT 13 from ring 3");
    USER(".byte 0xf1", );
    check_exception(DB, 0, "ICEBP from ring 3, gate DPL 0");
    idt_reset(BP);
    idt_reset(OF);

    /* targets */
    static const struct {
        u8 access;
        int vector;
        const char *name;
    } targets[] = {
        {0x93, GP, "data"},       {0x1b, NP, "not present code"},
        {0xfb, GP, "code DPL 3"}, {0x9f, VEC, "conforming code"},
        {0x8b, GP, "TSS"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
        gdt_set(SEL_FREE, 0, 0xfffff, targets[i].access, FLAG_G | FLAG_D);
        idt_set(VEC, SEL_FREE, entry(VEC), 0x8e, 0);
        TRY("int %0", : "i"(VEC));
        asm volatile("ljmp %0, $1f\n1:" ::"i"(SEL_CODE));
        if (targets[i].vector == VEC)
            check_trap(VEC, "INT n to %s", targets[i].name);
        else
            check_fault(targets[i].vector, SEL_FREE, "INT n to %s", targets[i].name);
    }
    idt_set(VEC, 0, entry(VEC), 0x8e, 0);
    TRY("int %0", : "i"(VEC));
    check_fault(GP, 0, "INT n to a null selector");
    idt_set(VEC, 0x400, entry(VEC), 0x8e, 0);
    TRY("int %0", : "i"(VEC));
    check_fault(GP, 0x400, "INT n to a selector beyond the GDT");
    if (!tcg_cannot("INT n to an offset beyond the code limit", "no limit checks")) {
        gdt_set(SEL_FREE, (ulong)entry(VEC), 3, 0x9b, FLAG_D);
        idt_set(VEC, SEL_FREE, 0x10, 0x8e, 0);
        TRY("int %0", : "i"(VEC));
        check_fault(GP, 0, "INT n to an offset beyond the code limit");
    }

    /* an exception (not INT n) through a bad gate: EXT is set. #UD with a bad gate gives #GP or #NP. */
    idt_set(UD, SEL_CODE, entry(UD), 0x0e, 0);
    TRY("ud2", );
    check_fault(NP, IDT_ERROR(UD) | 1, "#UD through a not present gate: EXT");
    idt_set(UD, SEL_CODE, entry(UD), 0x80, 0);
    TRY("ud2", );
    check_fault(GP, IDT_ERROR(UD) | 1, "#UD through a bad gate: EXT");
    gdt_set(SEL_FREE, 0, 0xfffff, 0x93, FLAG_G | FLAG_D);
    idt_set(UD, SEL_FREE, entry(UD), 0x8e, 0);
    TRY("ud2", );
    check_fault(GP, SEL_FREE | 1, "#UD through a gate to data: EXT");
    idt_reset(UD);

    /* INT n beyond the IDT limit, also when only the gate's last byte is */
    struct table_ptr small = {VEC * 8 + 6, idt_ptr.base};
    idt_set(VEC, SEL_CODE, entry(VEC), 0x8e, 0);
    asm volatile("lidt %0" ::"m"(small));
    TRY("int %0", : "i"(VEC));
    check_fault(GP, IDT_ERROR(VEC), "INT n, the gate's last byte beyond the limit");
    TRY("int $0xff", );
    check_fault(GP, IDT_ERROR(0xff), "INT n beyond the IDT limit");
    small.limit++;
    asm volatile("lidt %0" ::"m"(small));
    TRY("int %0", : "i"(VEC));
    check_trap(VEC, "INT n, the gate's last byte at the limit");
    asm volatile("lidt %0" ::"m"(idt_ptr));

    /* 16-bit gates push words: a 16-bit interrupt gate with a handler that expects that */
    extern char gate16_entry[];
    extern volatile u16 gate16_frame[3];
    asm(".pushsection .text.handlers,\"ax\"\ngate16_entry:\n\tmov (%esp), %eax\n\tmov %eax, "
        "gate16_frame\n\tmov 4(%esp), %ax\n\t"
        "mov %ax, gate16_frame+4\n\tiretw\n.popsection\n.pushsection .bss\n.globl "
        "gate16_frame\ngate16_frame: .skip 8\n.popsection");
    gdt_set(SEL_FREE, (ulong)gate16_entry & ~0xfffful, 0xfffff, 0x9b, FLAG_G | FLAG_D);
    gdt_set(SEL_FREE + 8, 0x100000, 0xfffff, 0x9b,
            FLAG_G | FLAG_D); /* so that the return address fits in a word */
    idt_set(VEC, SEL_FREE, (ulong)gate16_entry & 0xffff, 0x86, 0);
    ulong sp0, sp1;
    TRY("mov %%esp, %0\n\tljmp %3, $(1f - 0x100000)\n1:\tint %2\n\tmov %%esp, %1\n\tljmp %4, $1f\n1:",
        "=&b"(sp0), "=&S"(sp1)
        : "i"(VEC), "i"(SEL_FREE + 8), "i"(SEL_CODE)
        : "eax", "memory");
    check_no_fault("16-bit interrupt gate and 16-bit IRET");
    check_eq(sp1, sp0, "16-bit interrupt gate: ESP restored");
    check_eq(gate16_frame[1], SEL_FREE + 8, "16-bit interrupt gate pushes CS as the second word");

    /* a fault from ring 3 with a bad SS0: #TS with EXT for exceptions, without for INT n; needs a task gate
       or another stack, so ring 1 is the inner ring here */
    gdt_set(SEL_FREE, 0, 0xfffff, 0xbb, FLAG_G | FLAG_D);
    tss.ss1 = 0;
    tss.esp1 = (u32)tss.esp0 - 2048;
    idt_set(VEC, SEL_FREE, entry(VEC), 0xee, 0);
    USER("int %0", : "i"(VEC));
    check_fault(TS, 0, "INT n to ring 1 with a null SS1");
    tss.ss1 = SEL_DATA | 1;
    USER("int %0", : "i"(VEC));
    check_fault(TS, SEL_DATA, "INT n to ring 1 with an SS1 of DPL 0");
    idt_set(UD, SEL_FREE, entry(UD), 0x8e, 0);
    USER("ud2", );
    check_fault(TS, SEL_DATA | 1, "#UD to ring 1 with an SS1 of DPL 0: EXT");
    idt_reset(UD);
    return 0;
}
