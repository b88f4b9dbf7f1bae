/*
 * Keyboard controller command 0xfe starts the machine anew; the guest sees that in CMOS, which
 * survives.
 */
/* ## exit: reset */
#include "guest.h"

int main(void)
{
    outb(0x70, 0x7e);
    bool again = inb(0x71) == 0x5a;
    outb(0x70, 0x7e);
    outb(0x71, again ? 0 : 0x5a);
    if (again) {
        check(true, "started again by keyboard controller command 0xfe");
        check(!(flags_read() & FL_IF), "interrupts are off after the restart");
        return 0;
    }
    print("first start\n");
    while (inb(0x64) & 2)
        ;
    outb(0x64, 0xfe);
    delay_us(2000000);
    check(false, "started again by keyboard controller command 0xfe");
    return 0;
}
