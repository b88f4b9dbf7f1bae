/*
 * Rows of the benchmark guest that exercise its kernel: system ROW AMOUNT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void want(int good, const char *what)
{
    if (!good)
        fail(what);
}

static void null_call(int amount)
{
    for (int i = 0; i < amount; i++)
        syscall(SYS_getppid);
}

static void clock_read(int amount)
{
    struct timespec t;
    for (int i = 0; i < amount; i++)
        clock_gettime(CLOCK_MONOTONIC, &t);
}

static void read_write(int amount)
{
    char byte[64];
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
    want(zero >= 0 && null >= 0, "open");
    for (int i = 0; i < amount; i++)
        want(read(zero, byte, sizeof byte) == sizeof byte && write(null, byte, sizeof byte) == sizeof byte,
             "read");
}

static void file_read(int amount)
{
    static char data[65536];
    int fd = open("/bench/text", O_RDONLY);
    want(fd >= 0, "/bench/text");
    for (int i = 0; i < amount; i++)
        want(pread(fd, data, sizeof data, (off_t)(i % 100) * (off_t)sizeof data) == sizeof data, "pread");
}

static void file_stat(int amount)
{
    struct stat s;
    for (int i = 0; i < amount; i++)
        want(stat("/usr/lib/python3.11/os.py", &s) == 0, "stat");
}

static void file_create(int amount)
{
    char name[64];
    for (int i = 0; i < amount; i++) {
        snprintf(name, sizeof name, "/tmp/create-%d", i % 50);
        int fd = open(name, O_CREAT | O_RDWR, 0600);
        want(fd >= 0 && write(fd, name, sizeof name) == sizeof name && close(fd) == 0, "create");
        if (i % 50 >= 25)
            want(unlink(name) == 0, "unlink");
    }
}

static void pipe_self(int amount)
{
    int fd[2];
    char data[512] = "";
    want(pipe(fd) == 0, "pipe");
    for (int i = 0; i < amount; i++)
        want(write(fd[1], data, sizeof data) == sizeof data && read(fd[0], data, sizeof data) == sizeof data,
             "pipe");
}

/* Two processes wake each other: two context switches a round. */
static void ping_pong(int amount, int a[2], int b[2])
{
    char byte = 0;
    pid_t pid = fork();
    want(pid >= 0, "fork");
    for (int i = 0; i < amount; i++)
        if (pid == 0)
            want(read(a[0], &byte, 1) == 1 && write(b[1], &byte, 1) == 1, "pong");
        else
            want(write(a[1], &byte, 1) == 1 && read(b[0], &byte, 1) == 1, "ping");
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
}

static void context_switch(int amount)
{
    int a[2], b[2];
    want(pipe(a) == 0 && pipe(b) == 0, "pipe");
    ping_pong(amount, a, b);
}

static void socket_switch(int amount)
{
    int s[2];
    want(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0, "socketpair");
    ping_pong(amount, (int[]){s[1], s[0]}, (int[]){s[0], s[1]});
}

static void fork_wait(int amount)
{
    for (int i = 0; i < amount; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        want(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork");
    }
}

/* A parent with much memory: page tables are copied, pages shared until the child writes. */
static void fork_copy(int amount)
{
    enum { SIZE = 24 << 20 };
    char *data = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    want(data != MAP_FAILED && madvise(data, SIZE, MADV_NOHUGEPAGE) == 0, "mmap");
    memset(data, 1, SIZE);
    for (int i = 0; i < amount; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (unsigned at = 0; at < SIZE; at += 8 * PAGE)
                data[at]++;
            _exit(0);
        }
        want(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork");
    }
}

static void fork_exec(int amount)
{
    char *const arguments[] = {"true", NULL}, *const none[] = {NULL};
    for (int i = 0; i < amount; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execve("/bin/true", arguments, none);
            _exit(127);
        }
        want(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork");
    }
}

static void *map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    want(p != MAP_FAILED, "mmap");
    return p;
}

static void mmap_munmap(int amount)
{
    for (int i = 0; i < amount; i++) {
        char *p = map(16 * PAGE);
        p[0] = p[8 * PAGE] = 1;
        want(munmap(p, 16 * PAGE) == 0, "munmap");
    }
}

/* Anonymous memory, page by page. */
static void page_fault(int amount)
{
    enum { SIZE = 8 << 20 };
    for (int i = 0; i < amount; i++) {
        char *p = map(SIZE);
        want(madvise(p, SIZE, MADV_NOHUGEPAGE) == 0, "madvise");
        for (unsigned at = 0; at < SIZE; at += PAGE)
            p[at] = 1;
        want(munmap(p, SIZE) == 0, "munmap");
    }
}

/* A file in the page cache, mapped and read. */
static void file_map(int amount)
{
    enum { SIZE = 4 << 20 };
    int fd = open("/bench/text", O_RDONLY);
    unsigned sum = 0;
    for (int i = 0; i < amount; i++) {
        volatile const char *p = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
        want(p != MAP_FAILED, "mmap");
        for (unsigned at = 0; at < SIZE; at += PAGE)
            sum += (unsigned char)p[at];
        want(munmap((void *)p, SIZE) == 0, "munmap");
    }
    printf("%u\n", sum);
}

static void protect(int amount)
{
    char *p = map(8 * PAGE);
    for (int i = 0; i < amount; i++) {
        p[PAGE] = p[5 * PAGE] = (char)i;
        want(mprotect(p, 8 * PAGE, PROT_READ) == 0 && p[PAGE] == (char)i, "mprotect");
        want(mprotect(p, 8 * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
    }
}

static volatile int seen;

static void on_signal(int number)
{
    seen++;
}

static void signal_raise(int amount)
{
    pid_t self = getpid();
    struct sigaction action = {.sa_handler = on_signal};
    want(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
    for (int i = 0; i < amount; i++)
        kill(self, SIGUSR1);
    printf("%d\n", seen);
}

static sigjmp_buf back;

static void on_fault(int number)
{
    siglongjmp(back, 1);
}

static void signal_fault(int amount)
{
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    volatile int i = 0;
    volatile char *nothing = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    want(sigaction(SIGSEGV, &action, NULL) == 0, "sigaction");
    for (; i < amount; i++)
        if (!sigsetjmp(back, 0))
            *nothing = 1;
    printf("%d\n", i);
}

struct baton {
    int word;
    int amount;
};

static void baton_pass(struct baton *b, int mine)
{
    for (int i = 0; i < b->amount; i++) {
        while (__atomic_load_n(&b->word, __ATOMIC_ACQUIRE) != mine)
            syscall(SYS_futex, &b->word, FUTEX_WAIT_PRIVATE, !mine, NULL, NULL, 0);
        __atomic_store_n(&b->word, !mine, __ATOMIC_RELEASE);
        syscall(SYS_futex, &b->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void *baton_thread(void *opaque)
{
    baton_pass(opaque, 1);
    return NULL;
}

static void futex_switch(int amount)
{
    struct baton b = {0, amount};
    pthread_t thread;
    want(pthread_create(&thread, NULL, baton_thread, &b) == 0, "pthread_create");
    baton_pass(&b, 0);
    pthread_join(thread, NULL);
}

static void *nothing_thread(void *opaque)
{
    return opaque;
}

static void thread_create(int amount)
{
    for (int i = 0; i < amount; i++) {
        pthread_t thread;
        want(pthread_create(&thread, NULL, nothing_thread, NULL) == 0, "pthread_create");
        pthread_join(thread, NULL);
    }
}

struct shared {
    pthread_mutex_t lock;
    int amount;
    uint64_t under_lock, atomic;
};

static void *mutex_thread(void *opaque)
{
    struct shared *s = opaque;
    for (int i = 0; i < s->amount; i++) {
        pthread_mutex_lock(&s->lock);
        s->under_lock += (uint64_t)i;
        pthread_mutex_unlock(&s->lock);
        for (int j = 0; j < 8; j++)
            __atomic_fetch_add(&s->atomic, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

/* Two threads, one lock, one counter: with two CPUs the cache line and the futex are fought for. */
static void mutex_fight(int amount)
{
    struct shared s = {.lock = PTHREAD_MUTEX_INITIALIZER, .amount = amount};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        want(pthread_create(&thread[i], NULL, mutex_thread, &s) == 0, "pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    printf("%llu %llu\n", (unsigned long long)s.under_lock, (unsigned long long)s.atomic);
}

static void epoll_loop(int amount)
{
    int fd[2], poller = epoll_create1(0);
    char byte = 0;
    struct epoll_event event = {.events = EPOLLIN};
    want(pipe(fd) == 0 && epoll_ctl(poller, EPOLL_CTL_ADD, fd[0], &event) == 0, "epoll");
    for (int i = 0; i < amount; i++)
        want(write(fd[1], &byte, 1) == 1 && epoll_wait(poller, &event, 1, -1) == 1 &&
                 read(fd[0], &byte, 1) == 1,
             "epoll");
}

static void yield(int amount)
{
    pid_t pid = fork();
    for (int i = 0; i < amount; i++)
        sched_yield();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(int amount);
    } rows[] = {
        {"null", null_call},      {"clock", clock_read},      {"read-write", read_write},
        {"file-read", file_read}, {"stat", file_stat},        {"create", file_create},
        {"pipe", pipe_self},      {"switch", context_switch}, {"socket", socket_switch},
        {"fork", fork_wait},      {"fork-copy", fork_copy},   {"fork-exec", fork_exec},
        {"mmap", mmap_munmap},    {"page-fault", page_fault}, {"file-map", file_map},
        {"mprotect", protect},    {"signal", signal_raise},   {"segv", signal_fault},
        {"futex", futex_switch},  {"thread", thread_create},  {"mutex", mutex_fight},
        {"epoll", epoll_loop},    {"yield", yield},
    };
    for (size_t i = 0; argc == 3 && i < sizeof rows / sizeof *rows; i++)
        if (strcmp(argv[1], rows[i].name) == 0) {
            rows[i].run(atoi(argv[2]));
            return 0;
        }
    fprintf(stderr, "usage: system ROW AMOUNT\n");
    return 2;
}
