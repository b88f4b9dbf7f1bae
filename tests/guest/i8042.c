/* The i8042: self test, command byte, output port, A20 commands, keyboard reset and identification, IRQ 1,
 * disable. */
#include "apic.h"

static volatile u32 irqs;
static volatile u8 got;

static bool can_write(void)
{
    for (int i = 0; i < 10000; i++) {
        if (!(inb(0x64) & 2))
            return true;
        delay_us(10);
    }
    return false;
}

/* The next byte from the output buffer, or -1. */
static int reply(void)
{
    for (int i = 0; i < 20000; i++) {
        if (inb(0x64) & 1)
            return inb(0x60);
        delay_us(10);
    }
    return -1;
}

static void command(u8 c)
{
    can_write();
    outb(0x64, c);
}
static void data(u8 d)
{
    can_write();
    outb(0x60, d);
}

static void on_irq(struct regs *r)
{
    got = inb(0x60);
    irqs++;
    pic_eoi(1);
}

int main(void)
{
    tsc_per_us();
    command(0xad); /* keyboard off */
    command(0xa7); /* auxiliary device off */
    for (int i = 0; i < 32 && (inb(0x64) & 1); i++)
        inb(0x60);
    command(0xaa);
    check_eq((u64)reply(), 0x55, "self test");
    command(0x60);
    data(0x74);
    command(0x20);
    check_eq((u64)reply(), 0x74, "the command byte reads back");
    command(0xab);
    check_eq((u64)reply(), 0, "keyboard interface test");
    command(0xd0);
    int port = reply();
    check(port >= 0 && (port & 3) == 3, "output port: no reset, A20 on (0x%x)", (u32)port);
    command(0xd2);
    data(0xa5);
    check_eq((u64)reply(), 0xa5, "command 0xd2 echoes into the output buffer");
    check(inb(0x64) & 4, "status: system flag after the self test");
    command(0xae);

    /* the keyboard */
    data(0xff);
    int ack = reply(), bat = reply();
    check(ack == 0xfa && bat == 0xaa, "keyboard reset: 0x%x 0x%x", (u32)ack, (u32)bat);
    data(0xf2);
    ack = reply();
    int id1 = reply(), id2 = reply();
    check(ack == 0xfa && id1 == 0xab && (id2 == 0x83 || id2 == 0x41),
          "keyboard identifies itself (0x%x 0x%x 0x%x)", (u32)ack, (u32)id1, (u32)id2);
    data(0xee);
    check_eq((u64)reply(), 0xee, "keyboard echo");
    data(0xf5);
    check_eq((u64)reply(), 0xfa, "keyboard: stop scanning");

    /* IRQ 1 with bit 0 of the command byte */
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_LINT0, 0x700);
    trap_handle(0x21, on_irq);
    pic_init(0xfd, 0xff);
    command(0x60);
    data(0x45);
    irq_on();
    command(0xd2);
    data(0x77);
    check(wait_for(&irqs, 1, 1000000), "a byte in the output buffer raises IRQ 1");
    check_eq(got, 0x77, "and it is the byte");
    command(0x60);
    data(0x44);
    irqs = 0;
    command(0xd2);
    data(0x78);
    delay_us(5000);
    check_eq(irqs, 0, "without bit 0 of the command byte it does not");
    check_eq((u64)reply(), 0x78, "but the byte is there");
    irq_off();
    outb(0x21, 0xff);
    return 0;
}
