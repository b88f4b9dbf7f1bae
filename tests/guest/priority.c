/* Which exception wins when one instruction deserves several (SDM 3, table 6-2; APM 2, 8.5). */
#include "apic.h"

static u32 directory[1024] PAGE_ALIGNED, table[1024] PAGE_ALIGNED;
static u8 pages[2][4096] PAGE_ALIGNED;
#define VA 0xc0000000u

int main(void)
{
    for (u32 i = 0; i < 1024; i++)
        directory[i] = i << 22 | 0x87;
    directory[0x300] = (u32)table | 7;
    table[0] = (u32)pages[0] | 7;
    cr4_write(CR4_PSE);
    cr3_write((ulong)directory);
    cr0_write(cr0_read() | CR0_PG);
    memset(pages[0], 0x90, 4096);

    /* an execution breakpoint before everything that its instruction does: fetch fault on its second page
     * apart */
    dr0_write(VA + 0x100);
    pages[0][0x100] = 0x0f; /* ud2 */
    pages[0][0x101] = 0x0b;
    pages[0][0x102] = 0xc3;
    dr6_write(0);
    dr7_write(0x401);
    TRY("call *%0", : "r"(VA + 0x100) : "memory");
    dr7_write(0x400);
    check_exception(DB, 0, "execution breakpoint before #UD");
    /* #UD before #NM, #GP(0) and operand faults */
    cr0_write(cr0_read() | CR0_TS);
    TRY(".byte 0xf0\n\tfnop", );
    check_exception(UD, 0, "LOCK before an x87 instruction with TS: #UD");
    TRY("flds (%0)", : "r"(VA + 0x1000));
    check_exception(NM, 0, "#NM before the operand's #PF");
    asm volatile("clts\n\tfninit");
    TRY(".byte 0xf0\n\tmovl %%eax, (%0)", : "r"(VA + 0x1000) : "memory");
    if (!tcg_cannot("LOCK MOV to an absent page: #UD before #PF", "LOCK is looked at too late"))
        check_exception(UD, 0, "LOCK MOV to an absent page: #UD before #PF");
    USER("lgdt (%0)", : "r"(VA + 0x1000));
    check_exception(GP, 0, "LGDT in ring 3 from an absent page: #GP before #PF");
    USER("movl %%cs:(%0), %%eax\n\tmovl %%eax, %%cs:(%0)", : "r"(VA + 0x200) : "eax");
    if (!tcg_cannot("segment before page", "no segment checks")) {
        check_exception(GP, 0, "write through CS: #GP");
        gdt_set(SEL_FREE, 0, 0xfff, 0xf3, FLAG_D);
        USER("mov %0, %%fs\n\tmovl %%fs:(%1), %%eax", : "r"(SEL_FREE | 3), "r"(VA + 0x1000) : "eax");
        check_exception(GP, 0, "beyond the segment limit on an absent page: #GP before #PF");
        /* alignment check comes after the page fault */
        cr0_write(cr0_read() | CR0_AM);
        user_flags = 2 | FL_AC;
        USER("movl (%0), %%eax", : "r"(VA + 0x1001) : "eax");
        check(trap.vector == PF || trap.vector == AC, "misaligned on an absent page: #PF or #AC");
        user_flags = 2;
        cr0_write(cr0_read() & ~(ulong)CR0_AM);
    }
    /* a fetch across pages: the opcode is there, its operand is not */
    pages[0][0xffe] = 0x0f;
    pages[0][0xfff] = 0x0b; /* ud2, complete */
    TRY("call *%0", : "r"(VA + 0xffe) : "memory");
    check_exception(UD, 0, "UD2 that ends at the page's end: no fetch beyond");
    pages[0][0xfff] = 0x0f; /* 0f + something on the absent page */
    TRY("call *%0", : "r"(VA + 0xfff) : "memory");
    check_exception(PF, 0, "an opcode that goes on on an absent page: #PF");
    for (int i = 0; i < 15; i++)
        pages[0][0xff1 + i] = 0x66;
    TRY("call *%0", : "r"(VA + 0xff1) : "memory");
    check(trap.vector == GP || trap.vector == PF,
          "15 prefixes up to the page's end: #PF, or #GP for the length");
    /* division by zero after the operand is read */
    TRY("divl (%0)", : "r"(VA + 0x1000), "a"(1), "d"(0));
    check_exception(PF, 0, "DIV of an absent operand: #PF before #DE");
    /* a data breakpoint on an instruction that faults is not reported */
    dr0_write(VA + 0xffe);
    dr6_write(0);
    dr7_write(0x401 | 0x5u << 16);
    TRY("movl %%eax, (%0)", : "r"(VA + 0xffe) : "memory");
    dr7_write(0x400);
    check_exception(PF, 2, "a data breakpoint and a fault: the fault");
    /* IN and OUT: permission before the access; INS: the port is read only when memory can be written */
    USER("insb", : "d"(0x60), "D"(VA + 0x1000) : "memory");
    check_exception(GP, 0, "INSB in ring 3 to an absent page: #GP before #PF");
    outb(0x3f8 + 7, 0x42);
    TRY("insb", : "d"(0x3ff), "D"(VA + 0x1000) : "memory");
    check_exception(PF, 2, "INSB to an absent page");
    /* POP: the destination faults, ESP is as before */
    TRY("push %%eax\n\t" HERE "popl (%0)", : "r"(VA + 0x1000) : "memory");
    check_fault(PF, 2, "POP to an absent page");
    check_eq(trap.sp, trap_sp - 4, "POP that faults leaves ESP");
    TRY("xchg %%eax, (%0)", : "r"(VA + 0x1000) : "memory", "eax");
    check_exception(PF, 2, "XCHG with an absent page: a write");
    TRY("cmpxchg %%ecx, (%0)", : "r"(VA + 0x1000) : "memory", "eax");
    check_exception(PF, 2, "CMPXCHG with an absent page: a write, even if it would not match");
    TRY("bts %%ecx, (%0)", : "r"(VA + 0x1000), "c"(3) : "memory");
    check_exception(PF, 2, "BTS with an absent page: a write");
    TRY("bt %%ecx, (%0)", : "r"(VA + 0x1000), "c"(3) : "memory");
    check_exception(PF, 0, "BT with an absent page: a read");
    TRY("incl (%0)", : "r"(VA + 0x1000) : "memory");
    check_exception(PF, 2, "INC of an absent page: a write");
    TRY("cmpl $0, (%0)", : "r"(VA + 0x1000) : "memory");
    check_exception(PF, 0, "CMP with an absent page: a read");
    return 0;
}
