/* An instruction breakpoint behind a load of SS: Intel's processors suppress it (SDM vol. 3 18.3.1.1). */
/* ## cpu: x86-64-v3,vendor=GenuineIntel */
/* ## tcg: skip it has one behaviour for all vendors */
#include "guest.h"

static volatile u32 hits;

static void on_debug(struct regs *r)
{
    hits++;
    r->flags |= 0x10000; /* RF */
}

int main(void)
{
    ulong ss, at;
    trap_handle(DB, on_debug);
    dr7_write(0x402); /* a global execution breakpoint in DR0 */
    asm volatile("mov $1f, %1\n\tmov %1, %%dr0\n\tmov %%ss, %0\n\tmov %0, %%ss\n1:\tnop"
                 : "=&r"(ss), "=&r"(at));
    check_eq(hits, 0, "a breakpoint behind MOV SS is suppressed");
    asm volatile("mov $1f, %1\n\tmov %1, %%dr0\n\tpush %%ss\n\tpop %%ss\n1:\tnop" : "=&r"(ss), "=&r"(at));
    check_eq(hits, 0, "and behind POP SS");
    asm volatile("mov $1f, %1\n\tmov %1, %%dr0\n\tmov %%ss, %0\n\tmov %0, %%ss\n\tnop\n1:\tnop"
                 : "=&r"(ss), "=&r"(at));
    check_eq(hits, 1, "but not one instruction later");
    dr7_write(0x400);
    return 0;
}
