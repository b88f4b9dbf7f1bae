/* A20: port 92 and the i8042 gate it; with A20 off, 1 MiB wraps to 0. The image itself is above 1 MiB, so the
 * code that runs with A20 off runs at 0x7000 and touches only even megabytes. */
#include "guest.h"

extern char wrap_start[], wrap_end[];
/* in: AL what to write to port 0x92 first; out: EAX the dword at 0x180500 then; A20 is on again at the end.
   Reads only below 1 MiB and at 0x180500, with the stack at 0x6ff0. */
asm("wrap_start:\n\tmov %esp, %ebx\n\tmov $0x6ff0, %esp\n\toutb %al, $0x92\n\tmov 0x180500, %ecx\n\tmovl "
    "$0x55667788, 0x180504\n\t"
    "mov $2, %al\n\toutb %al, $0x92\n\tmov %ecx, %eax\n\tmov %ebx, %esp\n\tret\nwrap_end:\n");

/* The same with the i8042's commands: AL is 0xdd (A20 off) or 0xdf (on). */
extern char kbc_start[], kbc_end[];
asm("kbc_start:\n\tmov %esp, %ebx\n\tmov $0x6ff0, %esp\n\toutb %al, $0x64\n1:\tinb $0x64, %al\n\ttest $2, "
    "%al\n\tjnz 1b\n\t"
    "mov 0x180500, %ecx\n\tmov $0xdf, %al\n\toutb %al, $0x64\n1:\tinb $0x64, %al\n\ttest $2, %al\n\tjnz "
    "1b\n\t"
    "mov %ecx, %eax\n\tmov %ebx, %esp\n\tret\nkbc_end:\n");

static u32 wrap(u8 port92)
{
    u32 v;
    asm volatile("call *%1" : "=a"(v) : "r"(0x7000), "a"(port92) : "ebx", "ecx", "memory");
    return v;
}

static void kbc_wait(void)
{
    for (int i = 0; i < 100000 && (inb(0x64) & 2); i++)
        ;
}

int main(void)
{
    volatile u32 *low = (volatile u32 *)0x80500, *high = (volatile u32 *)0x180500;
    u32 saved0 = high[0], saved1 = high[1];

    memcpy((void *)0x7000, wrap_start, (size_t)(wrap_end - wrap_start));
    check_eq(inb(0x92) & 2, 2, "A20 is on at start");
    low[0] = 0x11223344;
    low[1] = 0;
    high[0] = 0x99aabbcc;
    check_eq(low[0], 0x11223344, "A20 on: 1 MiB is not 0");
    check_eq(wrap(2), 0x99aabbcc, "A20 on: read above 1 MiB");
    high[1] = saved1;
    u32 off = wrap(0);
    check_eq(off, 0x11223344, "port 92: A20 off, a read at 1.5 MiB + 0x500 comes from 0.5 MiB + 0x500");
    check_eq(low[1], 0x55667788, "A20 off: a write at 1.5 MiB + 0x504 goes to 0.5 MiB + 0x504");
    check_eq(high[0], 0x99aabbcc, "A20 on again: memory at 1 MiB is unharmed");
    check_eq(inb(0x92) & 2, 2, "port 92 reads A20's state");
    kbc_wait();
    memcpy((void *)0x7000, kbc_start, (size_t)(kbc_end - kbc_start));
    check_eq(wrap(0xdf), 0x99aabbcc, "i8042 command 0xdf: A20 on");
    check_eq(wrap(0xdd), 0x11223344, "i8042 command 0xdd: A20 off");
    check_eq(inb(0x92) & 2, 2, "one A20 gate: port 92 shows what the i8042 did");
    high[0] = saved0;
    high[1] = saved1;
    /* the i8042's output port, bit 1, shows the gate */
    kbc_wait();
    outb(0x64, 0xd0);
    for (int i = 0; i < 100000 && !(inb(0x64) & 1); i++)
        ;
    check_eq(inb(0x60) & 2, 2, "i8042 output port: A20 on");
    return 0;
}
