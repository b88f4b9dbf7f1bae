/* The devices for tests: pc-testdev's ports, interrupt lines and memory; the PCI configuration mechanism and
 * the host bridge. */
#include "apic.h"

static volatile u32 irqs;
static void on_irq(struct regs *r)
{
    irqs++;
    pic_eoi((int)r->vector - 0x20);
}

static u32 pci_read(u32 device, u32 reg)
{
    outl(0xcf8, 0x80000000 | device << 11 | reg);
    return inl(0xcfc);
}

int main(void)
{
    outl(0xe0, 0x12345678);
    check_eq(inl(0xe0), 0x12345678, "port 0xe0 echoes a dword");
    outw(0xe0, 0xabcd);
    check_eq(inw(0xe0), 0xabcd, "a word");
    outb(0xe0, 0x5a);
    check_eq(inb(0xe0), 0x5a, "a byte");

    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_LINT0, 0x700);
    trap_handle(0x25, on_irq);
    pic_init(0xdf, 0xff);
    outb(0x2005, 0);
    irq_on();
    outb(0x2005, 1);
    wait_for(&irqs, 1, 100000);
    irq_off();
    check_eq(irqs, 1, "port 0x2005 raises IRQ 5");
    outb(0x2005, 0);
    outb(0x21, 0xff);

    volatile u32 *memory = (volatile u32 *)0xff000000;
    memory[0] = 0xdeadbeef;
    check_eq(memory[0], 0xdeadbeef, "memory at 0xff000000");
    check_eq(*(volatile u8 *)0xff000001, 0xbe, "and its bytes");
    memory[1] = 7;
    asm volatile("lock addl $3, %0" : "+m"(memory[1]));
    check_eq(memory[1], 10, "a locked instruction on device memory");
    *(volatile u64 *)0xff000010 = 0x1122334455667788;
    check_eq(memory[5], 0x11223344, "memory at 0xff000014");
    /* REP MOVS to and from it */
    static u32 from[4] = {1, 2, 3, 4}, to[4];
    memcpy((void *)0xff000020, from, 16);
    memcpy(to, (void *)0xff000020, 16);
    check(memcmp(from, to, 16) == 0, "REP MOVSB to and from device memory");

    /* PCI */
    outl(0xcf8, 0x80000000);
    check_eq(inl(0xcf8), 0x80000000, "the configuration address reads back");
    u32 id = pci_read(0, 0);
    check(id != 0xffffffff && (id & 0xffff) != 0, "a host bridge at 0:0.0 (%x)", id);
    check_eq(pci_read(0, 8) >> 16, 0x0600, "its class");
    check_eq(pci_read(17, 0), 0xffffffff, "nobody at 0:17.0");
    outl(0xcf8, 0);
    check_eq(inl(0xcfc), 0xffffffff, "configuration data with the enable bit clear");
    /* nobody decodes these */
    check_eq(inb(0x2f0), 0xff, "an unused port reads as ones");
    check_eq(*(volatile u32 *)0xfe000000, 0xffffffff, "an unused address reads as ones");
    *(volatile u32 *)0xfe000000 = 1;
    check(true, "and may be written");
    return 0;
}
