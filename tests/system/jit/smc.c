/* Userspace that rewrites code: its own, and what another CPU is executing. See common.h for the arguments.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/wait.h>

#include "common.h"

#define PAGE 4096

typedef u32 (*function)(void);

static u8 *code_page(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(at != MAP_FAILED);
    return at;
}

static void sync_core(void)
{
    static bool registered;
    if (!registered) {
        need(!syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0));
        registered = true;
    }
    need(!syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0));
}

/* mov eax, n; ret; nop; nop */
static u64 code_return(u32 n)
{
    return 0xb8 | (u64)n << 8 | (u64)0x9090c3 << 40;
}

/* --- on one CPU --- */

/* A store right before the code that it changes, in one straight line: no jump between. */
static u64 own_ahead(void)
{
    u8 *page = code_page(PAGE);
    /* mov [rip+1], edi (its end is the mov's opcode b8); mov eax, imm32; ret */
    static const u8 body[] = {0x89, 0x3d, 1, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(page + 64, body, sizeof body);
    u32 (*f)(u32) = (u32(*)(u32))(page + 64);
    u64 count = 0;
    for (double end = now() + test_seconds; now() < end && !test_stop;)
        for (u32 i = 0; i < 200; i++, count++) {
            u32 want = (u32)count * 2654435761u;
            u32 got = f(want);
            if (got != want)
                wrong("returned %#x, not %#x", got, want);
        }
    munmap(page, PAGE);
    return count;
}

/* A function rewritten before every call, beside one that stays; calls in between make it hot. */
static u64 own_rewrite(void)
{
    u8 *page = code_page(PAGE);
    u64 keep = code_return(77);
    memcpy(page + 1024, &keep, 8);
    u64 count = 0, state = 88172645463325252u;
    for (double end = now() + test_seconds; now() < end && !test_stop; count++) {
        u32 at = (u32)(next_random(&state) % 100) * 8, n = (u32)next_random(&state);
        u64 code = code_return(n);
        memcpy(page + at, &code, 8);
        __asm__ volatile("" : : : "memory");
        for (int k = 0; k < 3; k++) {
            u32 got = ((function)(page + at))();
            if (got != n)
                wrong("returned %#x, not %#x", got, n);
        }
        if (((function)(page + 1024))() != 77)
            wrong("the neighbour returned something else");
    }
    munmap(page, PAGE);
    return count;
}

/* Written through one mapping, executed through another, as runtimes with W^X do. */
static u64 own_dual(void)
{
    int fd = memfd_create("code", 0);
    need(fd >= 0 && !ftruncate(fd, 4 * PAGE));
    u8 *w = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    u8 *x = mmap(NULL, 4 * PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    need(w != MAP_FAILED && x != MAP_FAILED);
    u64 count = 0, state = 1234567;
    for (double end = now() + test_seconds; now() < end && !test_stop; count++) {
        /* anywhere: across cache lines and pages too */
        u32 at = (u32)(next_random(&state) % (4 * PAGE - 8)), n = (u32)next_random(&state);
        u64 code = code_return(n);
        memcpy(w + at, &code, 8);
        serialize();
        u32 got = ((function)(x + at))();
        if (got != n)
            wrong("at %#x: returned %#x, not %#x", at, got, n);
    }
    munmap(w, 4 * PAGE);
    munmap(x, 4 * PAGE);
    close(fd);
    return count;
}

/* Pages of code that are mapped, protected, filled, executed and unmapped again, at few addresses. */
static u64 own_remap(void)
{
    u8 *base = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(base != MAP_FAILED);
    u64 count = 0, state = 99;
    for (double end = now() + test_seconds; now() < end && !test_stop; count++) {
        u8 *at = base + next_random(&state) % 15 * PAGE;
        need(mmap(at, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
             at);
        u32 n = (u32)next_random(&state), offset = (u32)(next_random(&state) % (2 * PAGE - 8));
        u64 code = code_return(n);
        memcpy(at + offset, &code, 8);
        need(!mprotect(at, 2 * PAGE, PROT_READ | PROT_EXEC));
        u32 got = ((function)(at + offset))();
        if (got != n)
            wrong("returned %#x, not %#x", got, n);
    }
    munmap(base, 16 * PAGE);
    return count;
}

/* A child's copy of the code is its own. */
static u64 own_fork(void)
{
    u8 *page = code_page(PAGE);
    u64 count = 0;
    for (double end = now() + test_seconds; now() < end && !test_stop; count++) {
        u32 n = (u32)count;
        u64 code = code_return(n), other = code_return(~n);
        memcpy(page, &code, 8);
        if (((function)page)() != n)
            wrong("the parent before");
        pid_t child = fork();
        need(child >= 0);
        if (!child) {
            bool ok = ((function)page)() == n;
            memcpy(page, &other, 8);
            _exit(ok && ((function)page)() == ~n ? 0 : 1);
        }
        if (((function)page)() != n)
            wrong("the parent after");
        int status;
        need(waitpid(child, &status, 0) == child);
        if (status)
            wrong("the child: status %#x", (u32)status);
        if (((function)page)() != n)
            wrong("the parent at the end");
    }
    munmap(page, PAGE);
    return count;
}

/* --- across CPUs: a writer and two executors --- */

static u8 *site;
static _Atomic u32 published; /* what the executors must see from now on, if they serialize */
static atomic_int executed;
static u64 (*executor_count)[8];

enum { EXECUTORS = 2 };

/* Values only grow, and are never behind what had been published before the call. */
static void *execute(void *argument)
{
    int index = (int)(intptr_t)argument;
    pin(index + 1);
    u32 last = 0;
    u64 count = 0;
    while (!test_stop) {
        u32 least = atomic_load(&published);
        if (count % 4 == 0)
            serialize();
        else
            least = last;
        u32 got = ((function)site)();
        if ((int)(got - last) < 0)
            wrong("%#x after %#x", got, last);
        if ((int)(got - least) < 0)
            wrong("%#x, where %#x had been published", got, least);
        last = got;
        count++;
        atomic_fetch_add(&executed, 1);
    }
    executor_count[index][0] = count;
    return NULL;
}

static u64 with_executors(void (*change)(u32 n))
{
    static u64 counts[EXECUTORS][8];
    executor_count = counts;
    pthread_t thread[EXECUTORS];
    site = code_page(PAGE) + 128;
    u64 code = code_return(0);
    memcpy(site, &code, 8);
    atomic_store(&published, 0);
    pin(0);
    for (int i = 0; i < EXECUTORS; i++)
        need(!pthread_create(&thread[i], NULL, execute, (void *)(intptr_t)i));
    u64 count = 0;
    for (double end = now() + test_seconds; now() < end && !test_stop; count++) {
        change((u32)count + 1);
        atomic_store(&published, (u32)count + 1);
        int before = atomic_load(&executed);
        for (int spin = 0; spin < 1000 && atomic_load(&executed) == before; spin++)
            __asm__ volatile("pause");
    }
    atomic_store(&test_stop, true);
    for (int i = 0; i < EXECUTORS; i++) {
        pthread_join(thread[i], NULL);
        if (!counts[i][0])
            wrong("executor %d has done nothing", i);
    }
    munmap(site - 128, PAGE);
    return count;
}

static void change_store(u32 n)
{
    __atomic_store_n((u64 *)site, code_return(n), __ATOMIC_SEQ_CST);
}

static u64 cross_store(void)
{
    return with_executors(change_store);
}

static void change_barrier(u32 n)
{
    change_store(n);
    sync_core();
}

static u64 cross_barrier(void)
{
    return with_executors(change_barrier);
}

/* INT3 into the first byte, the rest, the first byte: what kernels do. */
static _Atomic u32 trap_value;

static void on_trap(int sig, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    if ((u8 *)c->uc_mcontext.gregs[REG_RIP] != site + 1) {
        wrong("SIGTRAP at %#llx", c->uc_mcontext.gregs[REG_RIP]);
        return;
    }
    c->uc_mcontext.gregs[REG_RAX] = atomic_load(&trap_value);
    c->uc_mcontext.gregs[REG_RIP] = (greg_t)(site + 5);
}

static void change_int3(u32 n)
{
    atomic_store((_Atomic u8 *)site, 0xcc);
    sync_core();
    memcpy(site + 1, &n, 4);
    sync_core();
    atomic_store(&trap_value, n);
    atomic_store((_Atomic u8 *)site, 0xb8);
    sync_core();
}

static u64 cross_int3(void)
{
    struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &trap, NULL);
    atomic_store(&trap_value, 0);
    return with_executors(change_int3);
}

/* Another page of code at the same address. */
static int pages_fd;
static u8 *pages;

static void change_map(u32 n)
{
    u8 *page = site - 128;
    u64 code = code_return(n);
    memcpy(pages + n % 64 * PAGE + 128, &code, 8);
    need(mmap(page, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, pages_fd, n % 64 * PAGE) == page);
}

static u64 cross_map(void)
{
    pages_fd = memfd_create("pages", 0);
    need(pages_fd >= 0 && !ftruncate(pages_fd, 64 * PAGE));
    pages = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, pages_fd, 0);
    need(pages != MAP_FAILED);
    /* between MAP_FIXED's unmapping and mapping an executor may fault: it tries again */
    u64 count = with_executors(change_map);
    munmap(pages, 64 * PAGE);
    close(pages_fd);
    return count;
}

/* Not executable for a while, with other code afterwards. */
static void change_protect(u32 n)
{
    u8 *page = site - 128;
    u64 code = code_return(n);
    need(!mprotect(page, PAGE, PROT_READ | PROT_WRITE));
    memcpy(site, &code, 8);
    need(!mprotect(page, PAGE, PROT_READ | PROT_EXEC));
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    if ((u8 *)info->si_addr < site - 128 || (u8 *)info->si_addr >= site - 128 + PAGE) {
        wrong("SIGSEGV at %p", info->si_addr);
        _exit(1);
    }
    sched_yield();
}

static u64 cross_protect(void)
{
    return with_executors(change_protect);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"own-ahead", own_ahead},         {"own-rewrite", own_rewrite}, {"own-dual", own_dual},
        {"own-remap", own_remap},         {"own-fork", own_fork},       {"cross-store", cross_store},
        {"cross-barrier", cross_barrier}, {"cross-int3", cross_int3},   {"cross-map", cross_map},
        {"cross-protect", cross_protect},
    };
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &fault, NULL);
    return test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
