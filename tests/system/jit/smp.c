/*
 * What several CPUs must agree on: memory order (litmus tests), locked instructions, clocks, and the mappings
 * of a process while one of its threads changes them. See common.h for the arguments.
 */
#include <errno.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "common.h"

#define PAGE 4096

/* --- memory order: two or four threads, many small rounds --- */

enum { ROUNDS = 512, LINE = 64 };

/* Everything in cache lines of its own. */
struct round {
    _Alignas(LINE) volatile u32 x;
    _Alignas(LINE) volatile u32 y;
    _Alignas(LINE) volatile u32 r[4];
};

static struct round rounds[ROUNDS];
static atomic_int arrived;
static int parties;

/* All parties wait for each other; false when the test is over. */
static bool meet(int generation)
{
    atomic_fetch_add(&arrived, 1);
    for (int spin = 0; atomic_load(&arrived) < generation * parties; spin++) {
        if (atomic_load(&test_stop))
            return false;
        if (spin > 2000)
            sched_yield();
    }
    return true;
}

struct litmus {
    int threads;
    void (*step)(struct round *r, int who);
    const char *(*forbidden)(const struct round *r);
};

struct party {
    const struct litmus *litmus;
    int who;
    u64 count;
};

static void *take_part(void *argument)
{
    struct party *me = argument;
    pin(me->who);
    double end = now() + test_seconds;
    for (int generation = 1;;) {
        if (!meet(generation++))
            break;
        for (int i = 0; i < ROUNDS; i++)
            me->litmus->step(&rounds[i], me->who);
        if (!meet(generation++))
            break;
        if (me->who == 0) {
            for (int i = 0; i < ROUNDS; i++) {
                const char *what = me->litmus->forbidden(&rounds[i]);
                if (what)
                    wrong("%s: %u %u %u %u", what, rounds[i].r[0], rounds[i].r[1], rounds[i].r[2],
                          rounds[i].r[3]);
            }
            memset((void *)rounds, 0, sizeof rounds);
            me->count += ROUNDS;
            if (now() > end)
                atomic_store(&test_stop, true);
        }
        if (!meet(generation++))
            break;
    }
    return NULL;
}

static u64 run_litmus(const struct litmus *litmus)
{
    pthread_t thread[4];
    struct party party[4] = {{0}};
    memset((void *)rounds, 0, sizeof rounds);
    atomic_store(&arrived, 0);
    parties = litmus->threads;
    for (int i = 0; i < litmus->threads; i++) {
        party[i] = (struct party){litmus, i, 0};
        need(!pthread_create(&thread[i], NULL, take_part, &party[i]));
    }
    for (int i = 0; i < litmus->threads; i++)
        pthread_join(thread[i], NULL);
    return party[0].count;
}

/* Store buffering: with a fence, both threads cannot miss the other's store. */
static void buffering(struct round *r, int who)
{
    u32 got;
    if (who == 0)
        __asm__ volatile("movl $1, %1; mfence; movl %2, %0" : "=r"(got), "=m"(r->x) : "m"(r->y) : "memory");
    else
        __asm__ volatile("movl $1, %1; lock orl $0, -4(%%rsp); movl %2, %0"
                         : "=r"(got), "=m"(r->y)
                         : "m"(r->x)
                         : "memory");
    r->r[who] = got;
}

static const char *buffering_forbidden(const struct round *r)
{
    return r->r[0] == 0 && r->r[1] == 0 ? "both missed the other's store" : NULL;
}

/* The same with XCHG, which locks by itself. */
static void exchange(struct round *r, int who)
{
    u32 got, one = 1;
    if (who == 0)
        __asm__ volatile("xchgl %3, %1; movl %2, %0"
                         : "=r"(got), "+m"(r->x)
                         : "m"(r->y), "r"(one)
                         : "memory");
    else
        __asm__ volatile("xchgl %3, %1; movl %2, %0"
                         : "=r"(got), "+m"(r->y)
                         : "m"(r->x), "r"(one)
                         : "memory");
    r->r[who] = got;
}

/* Message passing: who sees the flag sees the data. Without fences. */
static void message(struct round *r, int who)
{
    u32 flag = 1, data = 1;
    if (who == 0)
        __asm__ volatile("movl $1, %0; movl $1, %1" : "=m"(r->x), "=m"(r->y) : : "memory");
    else
        __asm__ volatile("movl %2, %0; movl %3, %1"
                         : "=&r"(flag), "=&r"(data)
                         : "m"(r->y), "m"(r->x)
                         : "memory");
    r->r[2 * who] = flag;
    r->r[2 * who + 1] = data;
}

static const char *message_forbidden(const struct round *r)
{
    return r->r[2] == 1 && r->r[3] == 0 ? "the flag came before the data" : NULL;
}

/* Load buffering: a load cannot see a store that waits for the other thread's load. */
static void loads(struct round *r, int who)
{
    u32 got;
    if (who == 0)
        __asm__ volatile("movl %2, %0; movl $1, %1" : "=&r"(got), "=m"(r->x) : "m"(r->y) : "memory");
    else
        __asm__ volatile("movl %2, %0; movl $1, %1" : "=&r"(got), "=m"(r->y) : "m"(r->x) : "memory");
    r->r[who] = got;
}

static const char *loads_forbidden(const struct round *r)
{
    return r->r[0] == 1 && r->r[1] == 1 ? "both saw the other's later store" : NULL;
}

/* Independent reads of independent writes: all see stores in one order. */
static void independent(struct round *r, int who)
{
    u32 first, second;
    if (who == 0)
        __asm__ volatile("movl $1, %0" : "=m"(r->x) : : "memory");
    else if (who == 1)
        __asm__ volatile("movl $1, %0" : "=m"(r->y) : : "memory");
    else {
        if (who == 2)
            __asm__ volatile("movl %2, %0; movl %3, %1"
                             : "=&r"(first), "=&r"(second)
                             : "m"(r->x), "m"(r->y)
                             : "memory");
        else
            __asm__ volatile("movl %2, %0; movl %3, %1"
                             : "=&r"(first), "=&r"(second)
                             : "m"(r->y), "m"(r->x)
                             : "memory");
        r->r[who - 2] = first << 1 | second;
    }
}

static const char *independent_forbidden(const struct round *r)
{
    return r->r[0] == 2 && r->r[1] == 2 ? "two orders of the same stores" : NULL;
}

static u64 litmus_fence(void)
{
    return run_litmus(&(struct litmus){2, buffering, buffering_forbidden});
}

static u64 litmus_xchg(void)
{
    return run_litmus(&(struct litmus){2, exchange, buffering_forbidden});
}

static u64 litmus_message(void)
{
    return run_litmus(&(struct litmus){2, message, message_forbidden});
}

static u64 litmus_load(void)
{
    return run_litmus(&(struct litmus){2, loads, loads_forbidden});
}

static u64 litmus_iriw(void)
{
    return run_litmus(&(struct litmus){4, independent, independent_forbidden});
}

/* --- locked instructions: sums come out exactly, aligned or not, across cache lines and pages --- */

enum { ADDERS = 4 };

static u8 *shared;
static _Atomic u64 adds[ADDERS];

static bool add_pair(u64 *at, u64 n)
{
    u64 a = at[0], d = at[1];
    bool done;
    do {
        u64 b = a + n, c = d - n;
        __asm__ volatile("lock cmpxchg16b %1"
                         : "=@ccz"(done), "+m"(*(unsigned __int128 *)at), "+a"(a), "+d"(d)
                         : "b"(b), "c"(c)
                         : "memory");
    } while (!done);
    return a + d == 0;
}

static void *add(void *argument)
{
    int who = (int)(intptr_t)argument;
    u64 n = 0;
    pin(who);
    for (; !atomic_load(&test_stop); n++) {
        u32 one = 1, got;
        u64 wide = 1;
        __asm__ volatile("lock addq %1, %0" : "+m"(*(u64 *)shared) : "r"(wide));
        __asm__ volatile("lock incl %0" : "+m"(*(u32 *)(shared + 61)));
        __asm__ volatile("lock xaddq %1, %0" : "+m"(*(u64 *)(shared + PAGE - 4)), "+r"(wide));
        __asm__ volatile("lock subw %w1, %0" : "+m"(*(uint16_t *)(shared + 256)) : "r"(one));
        u32 old = *(volatile u32 *)(shared + 320);
        do
            got = old;
        while (!__atomic_compare_exchange_n((u32 *)(shared + 320), &old, got + 3, false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_SEQ_CST));
        if (!add_pair((u64 *)(shared + 384), n))
            wrong("cmpxchg16b saw half of another's store");
        /* a lock in memory that protects two plain words */
        u8 bit;
        do
            __asm__ volatile("lock btsl $5, %1" : "=@ccc"(bit), "+m"(*(u32 *)(shared + 512)) : : "memory");
        while (bit);
        volatile u32 *plain = (u32 *)(shared + 576);
        if (plain[0] != plain[1])
            wrong("a lock let two in");
        plain[0]++;
        plain[1]++;
        __asm__ volatile("lock btrl $5, %0" : "+m"(*(u32 *)(shared + 512)) : : "memory");
    }
    atomic_store(&adds[who], n);
    return NULL;
}

static u64 locked(void)
{
    pthread_t thread[ADDERS];
    u64 sum = 0, at4092;
    shared = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(shared != MAP_FAILED);
    for (int i = 0; i < ADDERS; i++)
        need(!pthread_create(&thread[i], NULL, add, (void *)(intptr_t)i));
    usleep((useconds_t)(test_seconds * 1e6));
    atomic_store(&test_stop, true);
    for (int i = 0; i < ADDERS; i++) {
        pthread_join(thread[i], NULL);
        sum += adds[i];
    }
    u32 at61;
    memcpy(&at61, shared + 61, 4);
    memcpy(&at4092, shared + PAGE - 4, 8);
    if (*(u64 *)shared != sum)
        wrong("lock add: %llu of %llu", (unsigned long long)*(u64 *)shared, (unsigned long long)sum);
    if (at61 != (u32)sum)
        wrong("lock inc across cache lines: %u of %u", at61, (u32)sum);
    if (at4092 != sum)
        wrong("lock xadd across pages: %llu of %llu", (unsigned long long)at4092, (unsigned long long)sum);
    if (*(uint16_t *)(shared + 256) != (uint16_t)-sum)
        wrong("lock sub");
    if (*(u32 *)(shared + 320) != (u32)sum * 3)
        wrong("lock cmpxchg");
    if (*(u32 *)(shared + 576) != (u32)sum || *(u32 *)(shared + 580) != (u32)sum)
        wrong("plain additions under a lock");
    munmap(shared, 2 * PAGE);
    return sum;
}

/* --- clocks: never backwards, from whichever CPU they are read --- */

static pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
static u64 last_tsc, last_clock;

static u64 tsc_ordered(void)
{
    u32 low, high;
    __asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
    return (u64)high << 32 | low;
}

static void *read_clocks(void *argument)
{
    int who = (int)(intptr_t)argument;
    u64 n = 0;
    for (; !atomic_load(&test_stop); n++) {
        if (n % 64 == 0)
            pin(who + (int)(n / 64));
        pthread_mutex_lock(&clock_lock);
        u64 tsc = tsc_ordered();
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        u64 clock = (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
        if (tsc < last_tsc)
            wrong("the TSC went back by %llu", (unsigned long long)(last_tsc - tsc));
        if (clock < last_clock)
            wrong("CLOCK_MONOTONIC went back by %llu", (unsigned long long)(last_clock - clock));
        last_tsc = tsc;
        last_clock = clock;
        pthread_mutex_unlock(&clock_lock);
    }
    atomic_store(&adds[who], n);
    return NULL;
}

static u64 clocks(void)
{
    pthread_t thread[ADDERS];
    u64 sum = 0;
    for (int i = 0; i < ADDERS; i++)
        need(!pthread_create(&thread[i], NULL, read_clocks, (void *)(intptr_t)i));
    usleep((useconds_t)(test_seconds * 1e6));
    atomic_store(&test_stop, true);
    for (int i = 0; i < ADDERS; i++) {
        pthread_join(thread[i], NULL);
        sum += adds[i];
    }
    return sum;
}

/* --- mappings: what munmap, mprotect and mmap have done, every CPU sees when they return --- */

enum phase { FREE, GONE, READ_ONLY, FIRST, SECOND };

static _Atomic u32 phase; /* low bits: enum phase; above: a serial number */
static u8 *window;        /* one page that changes, and its neighbour that does not */
static _Thread_local sigjmp_buf escape;
static _Thread_local volatile bool armed;

static void on_fault(int sig)
{
    if (!armed) {
        signal(SIGSEGV, SIG_DFL);
        return;
    }
    siglongjmp(escape, 1);
}

static void *look(void *argument)
{
    int who = (int)(intptr_t)argument;
    pin(who + 1);
    for (volatile u64 n = 0; !atomic_load(&test_stop); n++) {
        volatile bool store = n & 1;
        volatile u32 before = atomic_load(&phase);
        volatile u32 got = 0;
        volatile bool faulted = true;
        armed = true;
        if (!sigsetjmp(escape, 1)) {
            u32 *at = (u32 *)window + 16 * (n % 64) + 1;
            if (store)
                *(volatile u32 *)at = 0xdead;
            else
                got = *(volatile u32 *)(at - 1);
            faulted = false;
        }
        armed = false;
        if (atomic_load(&phase) != before)
            continue;
        switch (before & 7) {
        case GONE:
            if (!faulted)
                wrong("an access to what was unmapped");
            break;
        case READ_ONLY:
            if (store && !faulted)
                wrong("a store to what is read-only");
            if (!store && faulted)
                wrong("no load from what is read-only");
            break;
        case FIRST:
        case SECOND:
            if (faulted)
                wrong("a fault in what is mapped");
            if (!store && !faulted && got != (before & 7) * 1000)
                wrong("another page's data: %u", got);
            break;
        }
        if (*(volatile u32 *)(window + PAGE) != 7)
            wrong("the neighbour");
    }
    return NULL;
}

static void enter(enum phase to)
{
    static u32 serial;
    atomic_store(&phase, ++serial << 3 | to);
    if (to == FREE)
        return;
    for (int i = 0; i < 50; i++)
        __asm__ volatile("pause");
    if (serial % 8 == 0)
        sched_yield();
}

static void change_mappings(int fd, u64 round)
{
    enter(FREE);
    off_t offset = round & 1 ? PAGE : 0;
    need(mmap(window, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset) == window);
    enter(round & 1 ? SECOND : FIRST);
    enter(FREE);
    need(!mprotect(window, PAGE, PROT_READ));
    enter(READ_ONLY);
    enter(FREE);
    if (round & 2)
        need(!mprotect(window, PAGE, PROT_NONE));
    else
        need(!munmap(window, PAGE));
    enter(GONE);
}

static u64 mappings(void)
{
    enum { LOOKERS = 3 };
    pthread_t thread[LOOKERS];
    int fd = memfd_create("two", 0);
    need(fd >= 0 && !ftruncate(fd, 2 * PAGE));
    u8 *both = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    window = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(both != MAP_FAILED && window != MAP_FAILED);
    for (u32 i = 0; i < 64; i++) {
        ((u32 *)both)[16 * i] = FIRST * 1000;
        ((u32 *)(both + PAGE))[16 * i] = SECOND * 1000;
    }
    *(u32 *)(window + PAGE) = 7;
    struct sigaction fault = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &fault, NULL);
    sigaction(SIGBUS, &fault, NULL);
    atomic_store(&phase, FREE);
    pin(0);
    for (int i = 0; i < LOOKERS; i++)
        need(!pthread_create(&thread[i], NULL, look, (void *)(intptr_t)i));
    u64 round = 0;
    for (double end = now() + test_seconds; now() < end && !atomic_load(&test_stop); round++)
        change_mappings(fd, round);
    atomic_store(&test_stop, true);
    for (int i = 0; i < LOOKERS; i++)
        pthread_join(thread[i], NULL);
    mmap(window, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    munmap(window, 2 * PAGE);
    munmap(both, 2 * PAGE);
    close(fd);
    return round;
}

/* MADV_DONTNEED: who reads after it sees zeros or what was written since, never what was there before. */
static _Atomic u64 dropped;

static void *read_and_check(void *argument)
{
    int who = (int)(intptr_t)argument;
    pin(who + 1);
    while (!atomic_load(&test_stop)) {
        u64 least = atomic_load(&dropped);
        u64 got = *(volatile u64 *)(window + 8 * 0);
        if (got && got < least)
            wrong("data from before it was dropped: %llu, %llu", (unsigned long long)got,
                  (unsigned long long)least);
    }
    return NULL;
}

static u64 drop(void)
{
    pthread_t thread[3];
    window = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(window != MAP_FAILED);
    atomic_store(&dropped, 0);
    pin(0);
    for (int i = 0; i < 3; i++)
        need(!pthread_create(&thread[i], NULL, read_and_check, (void *)(intptr_t)i));
    u64 n = 1;
    for (double end = now() + test_seconds; now() < end && !atomic_load(&test_stop); n++) {
        *(volatile u64 *)window = n;
        need(!madvise(window, PAGE, MADV_DONTNEED));
        atomic_store(&dropped, n + 1);
    }
    atomic_store(&test_stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    munmap(window, PAGE);
    return n;
}

/* --- futexes: a storm of sleepers and wakers on one mutex and one condition --- */

static pthread_mutex_t storm_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t storm_turn = PTHREAD_COND_INITIALIZER;
static u64 turns, turn_of[16];

static void *storm(void *argument)
{
    u64 who = (u64)(intptr_t)argument;
    pthread_mutex_lock(&storm_lock);
    while (!atomic_load(&test_stop)) {
        while (turns % 16 != who && !atomic_load(&test_stop))
            pthread_cond_wait(&storm_turn, &storm_lock);
        if (atomic_load(&test_stop))
            break;
        turn_of[who]++;
        turns++;
        pthread_cond_broadcast(&storm_turn);
    }
    pthread_cond_broadcast(&storm_turn);
    pthread_mutex_unlock(&storm_lock);
    return NULL;
}

static u64 futexes(void)
{
    pthread_t thread[16];
    turns = 0;
    memset(turn_of, 0, sizeof turn_of);
    for (int i = 0; i < 16; i++)
        need(!pthread_create(&thread[i], NULL, storm, (void *)(intptr_t)i));
    usleep((useconds_t)(test_seconds * 1e6));
    pthread_mutex_lock(&storm_lock);
    atomic_store(&test_stop, true);
    pthread_cond_broadcast(&storm_turn);
    pthread_mutex_unlock(&storm_lock);
    for (int i = 0; i < 16; i++)
        pthread_join(thread[i], NULL);
    for (u64 i = 0; i < 16; i++)
        if (turn_of[i] != turns / 16 + (i < turns % 16))
            wrong("thread %llu had %llu of %llu turns", (unsigned long long)i, (unsigned long long)turn_of[i],
                  (unsigned long long)turns);
    return turns;
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"litmus-fence", litmus_fence},
        {"litmus-xchg", litmus_xchg},
        {"litmus-message", litmus_message},
        {"litmus-load", litmus_load},
        {"litmus-iriw", litmus_iriw},
        {"locked", locked},
        {"clocks", clocks},
        {"mappings", mappings},
        {"drop", drop},
        {"futexes", futexes},
    };
    return test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
