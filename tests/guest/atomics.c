/*
 * Locked instructions on four CPUs: every increment counts, also when the operand crosses a line or a
 * page; CMPXCHG8B/16B; XCHG without LOCK; store buffering and message passing as x86 allows them;
 * cross-modifying code.
 */
/* ## cpus: 4 */
/* ## mode: x86_64 */
/* ## timeout: 60 */
#include "apic.h"

enum { ROUNDS = 20000 };
static volatile u64 plain __attribute__((aligned(64)));
static volatile u8 lines[128] __attribute__((aligned(64)));
static volatile u8 page_pair[8192] PAGE_ALIGNED;
static volatile u64 wide[2] __attribute__((aligned(16))), eight, bits[4];
static volatile u32 spin, guarded, arrived, finished;
static volatile u32 broken;
static u8 patched[64] __attribute__((aligned(64)));

static void barrier(u32 n)
{
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    while (arrived < n)
        cpu_pause();
}

static void work(int cpu)
{
    volatile u64 *across = (volatile u64 *)(page_pair + 4092);

    barrier(4);
    for (u32 i = 0; i < ROUNDS; i++) {
        asm volatile("lock incq %0" : "+m"(plain));
        asm volatile("lock incl %0" : "+m"(*(volatile u32 *)(lines + 62)));
        asm volatile("lock addq $1, %0" : "+m"(*across));
        asm volatile("lock btcq %1, %0" : "+m"(bits[cpu]) : "r"((u64)(i & 63)));
        u64 one = 1;
        asm volatile("lock xaddq %0, %1" : "+r"(one), "+m"(eight));
        u64 lo = wide[0], hi = wide[1];
        bool won;
        do {
            u64 nlo = lo + 1, nhi = hi + (nlo == 0) + 0x100000000ull;
            asm volatile("lock cmpxchg16b %1\n\tsetz %0"
                         : "=q"(won), "+m"(*(volatile __uint128_t *)wide), "+a"(lo), "+d"(hi)
                         : "b"(nlo), "c"(nhi));
        } while (!won);
        while (__atomic_exchange_n(&spin, 1, __ATOMIC_SEQ_CST))
            cpu_pause();
        guarded++;
        __atomic_store_n(&spin, 0, __ATOMIC_RELEASE);
    }
    __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
}

/* Message passing: data, then flag; the reader must see the data. CPU 1 writes, CPU 2 reads. */
static volatile u32 data __attribute__((aligned(64))), flag __attribute__((aligned(64)));
static void messages(int cpu)
{
    barrier(8);
    if (cpu == 1) {
        for (u32 i = 1; i <= ROUNDS; i++) {
            data = i;
            flag = i;
        }
    } else if (cpu == 2) {
        for (u32 seen = 0; seen < ROUNDS;) {
            seen = flag;
            if (data < seen)
                broken++;
        }
    }
    __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
}

/* Cross-modifying code: CPU 0 rewrites an immediate while CPU 3 runs it; CPU 3 must see only values that were
 * written, never going back. */
static void modify(int cpu)
{
    barrier(12);
    u32 (*f)(void) = (u32(*)(void))(ulong)patched;
    if (cpu == 0) {
        for (u32 i = 1; i <= ROUNDS; i++)
            *(volatile u32 *)(patched + 4) = i;
    } else if (cpu == 3) {
        for (u32 last = 0; last < ROUNDS;) {
            u32 now = f();
            if (now < last || now > ROUNDS)
                broken++;
            last = now;
            if (broken > 100)
                break;
        }
    }
    __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
}

static void all(int cpu)
{
    work(cpu);
    messages(cpu);
    modify(cpu);
}

int main(void)
{
    /* nop nop nop mov eax, imm32 (aligned) ret */
    static const u8 f[] = {0x90, 0x90, 0x90, 0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(patched, f, sizeof(f));
    check_eq((u64)smp_start(all, 4), 4, "four CPUs");
    work(0);
    wait_for(&finished, 4, 30000000);
    check_eq(plain, 4 * ROUNDS, "LOCK INC m64");
    check_eq(*(volatile u32 *)(lines + 62), 4 * ROUNDS, "LOCK INC across a cache line");
    check_eq(*(volatile u64 *)(page_pair + 4092), 4 * ROUNDS, "LOCK ADD across a page");
    check_eq(eight, 4 * ROUNDS, "LOCK XADD");
    check_eq(wide[0], 4 * ROUNDS, "LOCK CMPXCHG16B, low half");
    check_eq(wide[1], 4ull * ROUNDS << 32, "LOCK CMPXCHG16B, high half");
    check_eq(guarded, 4 * ROUNDS, "a spin lock of XCHG and a plain store");
    u64 want = 0;
    for (u32 i = 0; i < ROUNDS; i++)
        want ^= 1ull << (i & 63);
    check(bits[0] == want && bits[1] == want && bits[2] == want && bits[3] == want, "LOCK BTC");
    messages(0);
    wait_for(&finished, 8, 30000000);
    check_eq(broken, 0, "message passing: stores are seen in order");
    modify(0);
    check(wait_for(&finished, 12, 30000000), "cross-modifying code is seen");
    check_eq(broken, 0, "cross-modifying code: only values that were written, in order");
    return 0;
}
