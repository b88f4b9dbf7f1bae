#include "cli/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "machine/machine.h"

static const int quit_signals[] = {SIGINT, SIGTERM, SIGHUP};
static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGQUIT};

static struct {
    int fd;
    struct termios saved, raw_mode;
    atomic_bool raw;   /* saved and raw_mode are valid, and the terminal is ours to restore */
    atomic_int caught; /* the quit signal */
    _Atomic(struct machine *) machine;
} process;

/* A process in the background may not change its terminal (SIGTTOU would stop it), and has no need to. */
static bool terminal_is_ours(void)
{
    pid_t foreground = tcgetpgrp(process.fd);
    return foreground == -1 || foreground == getpgrp();
}

static void terminal_set(const struct termios *settings)
{
    if (atomic_load(&process.raw) && terminal_is_ours())
        tcsetattr(process.fd, TCSANOW, settings);
}

void terminal_restore(void)
{
    terminal_set(&process.saved);
    atomic_store(&process.raw, false);
}

int terminal_make_raw(int fd, struct error *err)
{
    if (tcgetattr(fd, &process.saved) < 0)
        return error_set(err, errno,
                         "cannot read the terminal's settings: %s; use --console file:PATH or none",
                         strerror(errno));
    process.fd = fd;
    process.raw_mode = process.saved;
    cfmakeraw(&process.raw_mode);
    atomic_store(&process.raw, true);
    if (tcsetattr(fd, TCSANOW, &process.raw_mode) < 0) {
        int code = errno;
        atomic_store(&process.raw, false);
        return error_set(err, code, "cannot make the terminal raw: %s; use --console file:PATH or none",
                         strerror(code));
    }
    return 0;
}

static void on_quit(int sig)
{
    int saved_errno = errno, none = 0;
    terminal_set(&process.saved);
    struct machine *machine = atomic_load(&process.machine);
    if (!machine || !atomic_compare_exchange_strong(&process.caught, &none, sig)) {
        signal(sig, SIG_DFL); /* nothing runs yet, or asked twice: do not wait for anything */
        raise(sig);
        return;
    }
    machine_quit(machine);
    errno = saved_errno;
}

/* An engine's handler may have come after ours and passed on to us what is no fault of the guest's code: the
 * default is put back here, not by SA_RESETHAND. */
static void on_crash(int sig)
{
    terminal_set(&process.saved);
    signal(sig, SIG_DFL);
    raise(sig);
}

static void on_stop(int sig)
{
    int saved_errno = errno;
    terminal_set(&process.saved);
    raise(SIGSTOP);
    errno = saved_errno;
}

static void on_continue(int sig)
{
    int saved_errno = errno;
    /* In the background the terminal is somebody else's; `fg` sends another SIGCONT. */
    if (!atomic_load(&process.caught))
        terminal_set(&process.raw_mode);
    errno = saved_errno;
}

static void handle(int sig, void (*handler)(int sig))
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaction(sig, &sa, NULL);
}

void signals_install(void)
{
    for (size_t i = 0; i < ARRAY_LEN(quit_signals); i++)
        handle(quit_signals[i], on_quit);
    for (size_t i = 0; i < ARRAY_LEN(crash_signals); i++)
        handle(crash_signals[i], on_crash);
    handle(SIGTSTP, on_stop);
    handle(SIGCONT, on_continue);
}

void signals_set_machine(struct machine *machine)
{
    atomic_store(&process.machine, machine);
}

int signals_caught(void)
{
    return atomic_load(&process.caught);
}

int descriptor_reopen(int fd, int flags)
{
    struct stat st;
    char path[32];

    if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(fd))))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}
