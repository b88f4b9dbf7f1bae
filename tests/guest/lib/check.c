/* Output on COM1, checks, and the guest's end. */
#include <stdarg.h>
#include "guest.h"

static u32 passed, failed;
ulong want_vector, want_error, want_value, got_value;
const char *want_name;
static volatile u32 print_lock;

static char held[32768];
static u32 held_count;
static bool holding;

static void put_char(char c)
{
    if (holding && held_count < sizeof(held)) {
        held[held_count++] = c;
        return;
    }
    while (!(inb(0x3f8 + 5) & 0x20))
        ;
    outb(0x3f8, (u8)c);
}

void print_hold(bool on)
{
    holding = false;
    for (u32 i = 0; i < held_count; i++)
        put_char(held[i]);
    held_count = 0;
    holding = on;
}

static void put_number(u64 v, unsigned base)
{
    char digits[24];
    int n = 0;

    if (base == 16) {
        do {
            digits[n++] = "0123456789abcdef"[v & 15];
            v >>= 4;
        } while (v != 0);
    } else {
        u32 small = (u32)v; /* no 64-bit division in i386 images */
        do {
            digits[n++] = (char)('0' + small % 10);
            small /= 10;
        } while (small != 0);
    }
    while (n > 0)
        put_char(digits[--n]);
}

static void put_formatted(const char *f, va_list ap)
{
    for (; *f != 0; f++) {
        if (*f != '%') {
            put_char(*f);
            continue;
        }
        int longs = 0;
        while (*++f == 'l')
            longs++;
        if (*f == 's') {
            for (const char *s = va_arg(ap, const char *); *s != 0; s++)
                put_char(*s);
        } else if (*f == 'c') {
            put_char((char)va_arg(ap, int));
        } else if (*f == 'd' || *f == 'u' || *f == 'x') {
            u64 v = longs == 2 ? va_arg(ap, u64) : longs == 1 ? va_arg(ap, ulong) : va_arg(ap, u32);
            if (*f == 'd' && longs == 0 && (int)v < 0) {
                put_char('-');
                v = (u32) - (int)v;
            }
            put_number(v, *f == 'x' ? 16 : 10);
        } else {
            put_char(*f);
        }
    }
}

static void lock(void)
{
    while (__atomic_exchange_n(&print_lock, 1, __ATOMIC_ACQUIRE) != 0)
        cpu_pause();
}

static void unlock(void)
{
    __atomic_store_n(&print_lock, 0, __ATOMIC_RELEASE);
}

void print(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    put_formatted(format, ap);
    va_end(ap);
}

/* Prints the verdict and the name; the caller adds the details of a failure and ends the line. */
static bool verdict(bool ok, const char *format, va_list ap)
{
    print(ok ? "ok " : "not ok ");
    put_formatted(format, ap);
    if (ok)
        passed++;
    else
        failed++;
    if (failed == 500) {
        print("\nmore than enough failures\n");
        guest_exit();
    }
    return ok;
}

bool check(bool ok, const char *format, ...)
{
    va_list ap;

    lock();
    va_start(ap, format);
    verdict(ok, format, ap);
    va_end(ap);
    print("\n");
    unlock();
    return ok;
}

bool check_eq(u64 got, u64 want, const char *format, ...)
{
    va_list ap;

    lock();
    va_start(ap, format);
    if (!verdict(got == want, format, ap))
        print(": got 0x%llx, want 0x%llx", (unsigned long long)got, (unsigned long long)want);
    va_end(ap);
    print("\n");
    unlock();
    return got == want;
}

bool check_range(u64 got, u64 low, u64 high, const char *format, ...)
{
    bool ok = got >= low && got <= high;
    va_list ap;

    lock();
    va_start(ap, format);
    if (!verdict(ok, format, ap))
        print(": got 0x%llx, want 0x%llx to 0x%llx", (unsigned long long)got, (unsigned long long)low,
              (unsigned long long)high);
    va_end(ap);
    print("\n");
    unlock();
    return ok;
}

void skip(const char *name, const char *reason)
{
    print("skip %s: %s\n", name, reason);
}

bool tcg_cannot(const char *name, const char *reason)
{
    struct cpuid id = cpuid(0x40000000, 0);

    if (!(cpuid(1, 0).c >> 31) || id.b != 0x54474354 || id.c != 0x43544743) /* "TCGTCGTCGTCG" */
        return false;
    skip(name, reason);
    return true;
}

static void print_trap(ulong want_v, ulong want_e)
{
    print(": got vector %d error 0x%lx ip 0x%lx cs 0x%lx cr2 0x%lx, want vector %d error 0x%lx ip 0x%lx",
          (int)trap.vector, trap.error, trap.ip, trap.cs, trap.cr2, (int)want_v, want_e, (ulong)trap_insn);
}

static bool fault_is(ulong vector, ulong error, bool with_ip)
{
    if (trap.vector != vector)
        return false;
    if (vector == (ulong)-1)
        return true;
    return trap.error == error && (!with_ip || trap.ip == trap_insn);
}

#define CHECK_TRAP(ok, v, e)                                                                                 \
    do {                                                                                                     \
        bool ok_ = (ok);                                                                                     \
        va_list ap;                                                                                          \
        va_start(ap, format);                                                                                \
        if (!verdict(ok_, format, ap))                                                                       \
            print_trap(v, e);                                                                                \
        va_end(ap);                                                                                          \
        print("\n");                                                                                         \
        return ok_;                                                                                          \
    } while (0)

bool check_fault(int vector, ulong error, const char *format, ...)
{
    CHECK_TRAP(fault_is((ulong)vector, error, true), (ulong)vector, error);
}

bool check_exception(int vector, ulong error, const char *format, ...)
{
    CHECK_TRAP(fault_is((ulong)vector, error, false), (ulong)vector, error);
}

bool check_no_fault(const char *format, ...)
{
    CHECK_TRAP(trap.vector == (ulong)-1 || trap.vector == VEC_DONE, (ulong)-1, 0);
}

extern ulong trap_resume_last;
bool check_trap(int vector, const char *format, ...)
{
    CHECK_TRAP(trap.vector == (ulong)vector && trap.ip == trap_resume_last, (ulong)vector, 0);
}

/* What the assembly macros call. */
void check_fault_wanted(void);
void check_trap_wanted(void);
void check_value_wanted(void);
void check_fault_wanted(void)
{
    check_fault((int)want_vector, want_error, "%s", want_name);
}
void check_trap_wanted(void)
{
    check_trap((int)want_vector, "%s", want_name);
}
void check_value_wanted(void)
{
    check_eq(got_value, want_value, "%s", want_name);
}

void guest_exit(void)
{
    print_hold(false);
    print("done: %u passed, %u failed\n", passed, failed);
    for (;;)
        outb(0xf4, failed != 0 || passed == 0 ? 2 : 0);
}

void guest_die(const char *why)
{
    print("not ok the guest ran to its end: %s\n", why);
    failed++;
    guest_exit();
}

void *memset(void *p, int c, size_t n)
{
    void *d = p;
    asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return p;
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *d = to;
    asm volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n)::"memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;
    for (; n > 0; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}
