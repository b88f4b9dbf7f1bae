/* Debug registers: execute, write, read/write and I/O breakpoints, their lengths, DR6, RF, GD, RF over
 * faults, LE/GE bits; CR4.DE. */
#include "guest.h"

extern ulong trap_resume_last;
static volatile u32 cells[8] __attribute__((aligned(32)));

static void arm(int n, ulong address, u32 type, u32 length)
{
    switch (n) {
    case 0:
        dr0_write(address);
        break;
    case 1:
        dr1_write(address);
        break;
    case 2:
        dr2_write(address);
        break;
    default:
        dr3_write(address);
        break;
    }
    dr6_write(0);
    dr7_write(0x400 | 1u << (n * 2) | type << (16 + n * 4) | length << (18 + n * 4));
}

static void disarm(void)
{
    dr7_write(0x400);
    dr6_write(0);
}

enum { EXEC = 0, WRITE = 1, IO = 2, ACCESS = 3 };

int main(void)
{
    /* execution: a fault before the instruction, with RF set in the frame */
    for (int n = 0; n < 4; n++) {
        asm volatile("" ::: "memory");
        ulong target;
        asm volatile("mov $1f, %0\n\tjmp 2f\n1:\tnop\n\tret\n2:" : "=r"(target));
        arm(n, target, EXEC, 0);
        TRY("call *%0", : "r"(target) : "memory");
        disarm();
        check_exception(DB, 0, "execution breakpoint in DR%d", n);
        check_eq(trap.ip, target, "execution breakpoint in DR%d: before the instruction", n);
        check_eq(trap.dr6 & (0xf000 | 1u << n), 1u << n, "execution breakpoint in DR%d: DR6", n);
    }
    /* RF from IRET lets one instruction pass */
    ulong target;
    asm volatile("mov $1f, %0\n\tjmp 2f\n1:\tincl %1\n\tnop\n\tret\n2:" : "=r"(target), "+m"(cells[0]));
    arm(0, target, EXEC, 0);
    cells[0] = 0;
    TRY("push $1f\n\tpushl %1\n\tpushl %2\n\tpushl %0\n\tiret\n1:",
        : "r"(target), "r"(2 | FL_RF), "i"(SEL_CODE)
        : "memory");
    disarm();
    check_no_fault("IRET with RF passes its breakpoint");
    check_eq(cells[0], 1, "and the instruction ran");

    /* data: a trap after the instruction; lengths and alignment */
    static const struct {
        u32 offset, length, type;
        int size;
        bool write, hit;
        u32 at;
        const char *name;
    } cases[] = {
        {4, 3, WRITE, 4, true, true, 4, "write watch of 4, write of 4"},
        {4, 3, WRITE, 1, true, true, 7, "write watch of 4, write of its last byte"},
        {4, 3, WRITE, 1, true, false, 8, "write watch of 4, write of the byte after"},
        {4, 3, WRITE, 4, false, false, 4, "write watch, read"},
        {4, 3, ACCESS, 4, false, true, 4, "access watch, read"},
        {4, 3, ACCESS, 4, true, true, 4, "access watch, write"},
        {5, 0, WRITE, 4, true, true, 4, "write watch of 1 inside a write of 4"},
        {5, 0, WRITE, 1, true, false, 4, "write watch of 1, write of the byte before"},
        {6, 1, WRITE, 4, true, true, 7, "write watch of 2, write of 4 that begins in it"},
        {7, 1, WRITE, 1, true, true, 6, "watch of 2 at an odd address covers the even one below"},
        {6, 3, WRITE, 1, true, true, 4, "watch of 4 at an unaligned address covers the aligned dword"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        ulong at = (ulong)cells + cases[i].at;
        arm(1, (ulong)cells + cases[i].offset, cases[i].type, cases[i].length);
        if (cases[i].size == 4 && cases[i].write)
            TRY("movl %%eax, (%0)", : "r"(at) : "memory");
        else if (cases[i].write)
            TRY("movb %%al, (%0)", : "r"(at) : "memory");
        else
            TRY("movl (%0), %%eax", : "r"(at) : "eax");
        disarm();
        if (cases[i].hit) {
            check_trap(DB, "%s", cases[i].name);
            check_eq(trap.dr6 & 0xf00f, 2, "%s: DR6", cases[i].name);
        } else {
            check_no_fault("%s: no hit", cases[i].name);
        }
    }
    cells[0] = 0;
    arm(2, (ulong)cells, WRITE, 3);
    TRY("movl $0x77, %0", "=m"(cells[0]));
    disarm();
    check_eq(cells[0], 0x77, "the write has happened when its trap comes");
    arm(2, (ulong)cells, WRITE, 3);
    TRY("push %0\n\tpop %1", : "r"(cells[1]), "m"(cells[0]) : "memory");
    disarm();
    check_trap(DB, "POP to memory");
    arm(2, (ulong)&cells[2], WRITE, 3);
    ulong edi = (ulong)cells, ecx = 8;
    TRY("cld\n\trep stosl", "+D"(edi), "+c"(ecx) : "a"(5) : "memory");
    disarm();
    check_exception(DB, 0, "REP STOS");
    check_eq(edi - (ulong)cells, 12, "REP STOS stops after the iteration that hits: EDI");
    check_eq(ecx, 5, "REP STOS stops after the iteration that hits: ECX");
    check(trap.ip != trap_resume_last, "REP STOS: EIP is still the instruction's");
    /* two at once */
    dr0_write((ulong)cells);
    dr1_write((ulong)cells);
    dr6_write(0);
    dr7_write(0x400 | 5 | 0xdu << 16 | 0xdu << 20);
    TRY("movl $1, %0", "=m"(cells[0]));
    check_eq(trap.dr6 & 0xf00f, 3, "two breakpoints on one write");
    /* matched but not enabled: DR6 may or may not show it, there is no exception */
    dr6_write(0);
    dr7_write(0x400 | 0xdu << 16);
    TRY("movl $1, %0", "=m"(cells[0]));
    check_no_fault("a breakpoint that is not enabled");
    disarm();
    /* local and global enable */
    dr0_write((ulong)cells);
    dr7_write(0x400 | 2 | 0xdu << 16);
    TRY("movl $1, %0", "=m"(cells[0]));
    disarm();
    check_trap(DB, "global enable");

    /* I/O breakpoints need CR4.DE */
    cr4_write(CR4_DE);
    arm(3, 0x80, IO, 0);
    TRY("outb %%al, $0x80", );
    disarm();
    check_trap(DB, "I/O breakpoint, OUT");
    check_eq(trap.dr6 & 0xf00f, 8, "I/O breakpoint: DR6");
    arm(3, 0x81, IO, 0);
    TRY("inw $0x80, %%ax", ::"eax");
    disarm();
    check_trap(DB, "I/O breakpoint on the second port of a word");
    arm(3, 0x80, IO, 0);
    TRY("outb %%al, $0x84", );
    disarm();
    check_no_fault("another port");
    cr4_write(0);

    /* GD: any access to a debug register faults, with BD; the handler finds GD clear */
    dr6_write(0);
    dr7_write(0x400 | 1u << 13);
    TRY("mov %%dr0, %%eax", ::"eax");
    check_fault(DB, 0, "GD: MOV from DR0");
    check_eq(trap.dr6 & 0x2000, 0x2000, "GD: DR6.BD");
    check_eq(dr7_read() & 1u << 13, 0, "GD is clear in the handler");
    dr7_write(0x400 | 1u << 13);
    TRY("mov %%eax, %%dr7", );
    check_fault(DB, 0, "GD: MOV to DR7");
    disarm();

    /* the processor never clears DR6 by itself */
    dr6_write(0);
    arm(0, (ulong)cells, WRITE, 3);
    TRY("movl $1, %0", "=m"(cells[0]));
    dr7_write(0x400);
    dr1_write((ulong)&cells[1]);
    dr7_write(0x400 | 4 | 0xdu << 20);
    TRY("movl $1, %0", "=m"(cells[1]));
    check((trap.dr6 & 2) != 0, "a second hit sets its bit");
    disarm();
    /* MOV SS holds back the trap of a data breakpoint until after the next instruction */
    u32 ss_image = SEL_DATA;
    arm(0, (ulong)&ss_image, ACCESS, 3);
    ulong trap_resume_at;
    TRY("movl $881f, %1\n\tmovw %0, %%ss\n\tnop\n\tnop", "+m"(ss_image), "=&r"(trap_resume_at));
    disarm();
    check(trap.vector == (ulong)-1 || (trap.vector == DB && trap.ip == trap_resume_at - 1),
          "data breakpoint on MOV SS: after the next instruction, or lost");
    return 0;
}
