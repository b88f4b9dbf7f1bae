/*
 * How long an interrupt waits while the CPU runs loops of each kind: the best of some tries, because the host
 * may be busy. The timer's own delay counts too.
 */
/* ## mode: x86_64 */
/* ## timeout: 60 */
#include "apic.h"

static volatile u32 ticks;
static volatile u64 last;

static void on_tick(struct regs *r)
{
    last = rdtsc();
    ticks++;
    lapic_eoi();
}

static u8 area[1 << 16];

/* About 2 ms of each, or until the interrupt has come. */
static void spin_jump(void)
{
    asm volatile("1:\tcmpl $0, %0\n\tje 1b" ::"m"(ticks));
}
static void spin_pause(void)
{
    asm volatile("1:\tpause\n\tcmpl $0, %0\n\tje 1b" ::"m"(ticks));
}
static void spin_call(void)
{
    asm volatile("jmp 2f\n1:\tret\n2:\tcall 1b\n\tcall 1b\n\tcmpl $0, %0\n\tje 2b" ::"m"(ticks));
}
static void spin_indirect(void)
{
    ulong to;
    asm volatile("lea 1f(%%rip), %0\n1:\tcmpl $0, %1\n\tjne 2f\n\tjmp *%0\n2:" : "=&r"(to) : "m"(ticks));
}
/* Interrupts are on for one instruction's shadow only. */
static void spin_sti(void)
{
    asm volatile("1:\tcli\n\tsti\n\tnop\n\tcmpl $0, %0\n\tje 1b" ::"m"(ticks));
}
static void spin_popf(void)
{
    asm volatile("1:\tpushf\n\tcli\n\tpopf\n\tcmpl $0, %0\n\tje 1b" ::"m"(ticks));
}
static void spin_string(void)
{
    while (!ticks) {
        ulong n = sizeof area;
        void *to = area;
        asm volatile("rep stosb" : "+c"(n), "+D"(to) : "a"(0) : "memory");
    }
}
static void spin_system(void)
{
    while (!ticks)
        (void)cr3_read();
}
static void spin_halt(void)
{
    while (!ticks)
        asm volatile("hlt");
}

/* From the deadline to the handler, in ns. */
static u64 latency_of(void (*spin)(void))
{
    u64 best = ~0ull;
    for (u32 i = 0; i < 40 && best > 60000; i++) {
        ticks = 0;
        u64 deadline = rdtsc() + 300ull * tsc_per_us();
        wrmsr(0x6e0, deadline);
        spin();
        u64 late = (last - deadline) * 1000 / tsc_per_us();
        if (late < best)
            best = late;
    }
    return best;
}

int main(void)
{
    static const struct {
        const char *name;
        void (*spin)(void);
    } kind[] = {
        {"a loop of one block", spin_jump},
        {"PAUSE", spin_pause},
        {"calls and returns", spin_call},
        {"indirect jumps", spin_indirect},
        {"CLI, STI", spin_sti},
        {"PUSHF, CLI, POPF", spin_popf},
        {"REP STOSB", spin_string},
        {"system instructions", spin_system},
        {"HLT", spin_halt},
    };
    if (!(cpuid(1, 0).c & 1u << 24)) {
        skip("interrupt latency", "no TSC deadline");
        return 0;
    }
    tsc_per_us();
    lapic_enable();
    trap_handle(0x41, on_tick);
    lapic_write(LAPIC_LVT_TIMER, 0x40041);
    irq_on();
    for (u32 i = 0; i < sizeof kind / sizeof kind[0]; i++) {
        u32 ns = (u32)latency_of(kind[i].spin);
        print("# %s: %u ns\n", kind[i].name, ns);
        check_range(ns, 0, 200000, "%s", kind[i].name);
    }
    return 0;
}
