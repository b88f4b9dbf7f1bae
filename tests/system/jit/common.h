/*
 * What the test programs that run inside a guest have in common: PROGRAM SECONDS [NAME...] runs each of its
 * tests (or those named) for that many seconds and ends with "NAME ok COUNT" or "NAME WRONG reason" lines and
 * status 0 or 1.
 */
#ifndef TESTS_SYSTEM_JIT_COMMON_H
#define TESTS_SYSTEM_JIT_COMMON_H

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

static double test_seconds;
static const char *test_name;
static atomic_bool test_stop;
static atomic_int test_wrong;

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Says what is wrong (the first few times) and makes the program fail. */
__attribute__((format(printf, 1, 2))) static inline void wrong(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (atomic_fetch_add(&test_wrong, 1) < 5)
        printf("%s WRONG %s\n", test_name, text);
    atomic_store(&test_stop, true);
}

#define need(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            printf("%s WRONG cannot: %s (%m)\n", test_name, #condition);                                     \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

/* On CPU `n`, counted round those that exist. */
static inline void pin(int n)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)n % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &set);
    sched_setaffinity(0, sizeof set, &set); /* a CPU may have gone offline: then anywhere */
}

static inline void serialize(void)
{
    u32 a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

static inline u64 next_random(u64 *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

struct test {
    const char *name;
    u64 (*run)(void); /* until the time is over: returns how often it did what it does */
};

static inline int test_main(int argc, char **argv, const struct test *tests, int count)
{
    test_seconds = argc > 1 ? atof(argv[1]) : 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    int bad = 0;
    for (int i = 0; i < count; i++) {
        bool chosen = argc < 3;
        for (int k = 2; k < argc; k++)
            chosen = chosen || !strcmp(argv[k], tests[i].name);
        if (!chosen)
            continue;
        test_name = tests[i].name;
        atomic_store(&test_stop, false);
        atomic_store(&test_wrong, 0);
        u64 done = tests[i].run();
        if (atomic_load(&test_wrong))
            bad = 1;
        else if (done)
            printf("%s ok %llu\n", tests[i].name, (unsigned long long)done);
        else
            bad = 1, printf("%s WRONG nothing was done\n", tests[i].name);
    }
    return bad;
}

#endif
