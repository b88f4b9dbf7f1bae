/* A fault, a fault in its handler's place, a fault in #DF's place: shutdown. */
/* ## exit: crash */
#include "guest.h"

int main(void)
{
    struct table_ptr none = {0, 0};

    check(true, "alive before the triple fault");
    asm volatile("lidt %0\n\tud2" ::"m"(none));
    check(false, "alive after the triple fault");
    return 0;
}
