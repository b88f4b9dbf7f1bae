/*
 * The unit tests' few lines of TAP. A test file has functions `static void test_x(void)`, checks with
 * CHECK / CHECK_EQ / CHECK_STR, and a main of `TAP_RUN(test_x); ... return tap_done();`.
 */
#ifndef RING3_TESTS_TAP_H
#define RING3_TESTS_TAP_H

#include <stdio.h>
#include <string.h>

static int tap_count, tap_failures, tap_case_failures;

#define CHECK(cond)                                                                                          \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            printf("# %s:%d: failed: %s\n", __FILE__, __LINE__, #cond);                                      \
            tap_case_failures++;                                                                             \
        }                                                                                                    \
    } while (0)

#define CHECK_EQ(got, want)                                                                                  \
    do {                                                                                                     \
        unsigned long long got_ = (unsigned long long)(got), want_ = (unsigned long long)(want);             \
        if (got_ != want_) {                                                                                 \
            printf("# %s:%d: %s is %#llx, want %#llx\n", __FILE__, __LINE__, #got, got_, want_);             \
            tap_case_failures++;                                                                             \
        }                                                                                                    \
    } while (0)

#define CHECK_STR(got, want)                                                                                 \
    do {                                                                                                     \
        const char *got_ = (got), *want_ = (want);                                                           \
        if (strcmp(got_, want_) != 0) {                                                                      \
            printf("# %s:%d: %s is \"%s\", want \"%s\"\n", __FILE__, __LINE__, #got, got_, want_);           \
            tap_case_failures++;                                                                             \
        }                                                                                                    \
    } while (0)

#define TAP_RUN(fn)                                                                                          \
    do {                                                                                                     \
        tap_case_failures = 0;                                                                               \
        fn();                                                                                                \
        tap_count++;                                                                                         \
        tap_failures += tap_case_failures != 0;                                                              \
        printf("%sok %d - %s\n", tap_case_failures ? "not " : "", tap_count, #fn);                           \
        fflush(stdout);                                                                                      \
    } while (0)

static inline int tap_done(void)
{
    printf("1..%d\n", tap_count);
    return tap_failures != 0;
}

#endif
