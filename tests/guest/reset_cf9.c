/* Port 0xcf9 starts the machine anew; the guest sees that in CMOS, which survives. */
/* ## exit: reset */
#include "guest.h"

int main(void)
{
    outb(0x70, 0x7e);
    bool again = inb(0x71) == 0x5a;
    outb(0x70, 0x7e);
    outb(0x71, again ? 0 : 0x5a);
    if (again) {
        check(true, "started again by port 0xcf9");
        check(!(flags_read() & FL_IF), "interrupts are off after the restart");
        return 0;
    }
    print("first start\n");
    outb(0xcf9, 2);
    outb(0xcf9, 6);
    delay_us(2000000);
    check(false, "started again by port 0xcf9");
    return 0;
}
