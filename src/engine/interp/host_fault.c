/* The process's signal handlers for faults in generated code: see host_fault.h. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include "engine/interp/host_fault.h"

static const int fault_signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS};

static pthread_once_t install_once = PTHREAD_ONCE_INIT;
static int install_result;
static struct sigaction previous[ARRAY_LEN(fault_signals)];

__thread struct host_fault_scope *host_fault_current;

/* What was there before us decides; the default action is taken by returning to the faulting instruction. */
static void chain(int signo, siginfo_t *info, void *context)
{
    unsigned i = 0;
    while (fault_signals[i] != signo)
        i++;
    const struct sigaction *old = &previous[i];
    if (old->sa_flags & SA_SIGINFO)
        old->sa_sigaction(signo, info, context);
    else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN)
        old->sa_handler(signo);
    else
        sigaction(signo, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    struct host_fault_scope *scope = host_fault_current;
    const u8 *rip = (const u8 *)uc->uc_mcontext.gregs[REG_RIP];
    if (!scope || rip < scope->lo || rip >= scope->hi) {
        chain(signo, info, context);
        return;
    }
    scope->signal = signo;
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)scope->resume;
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < ARRAY_LEN(fault_signals); i++)
        if (sigaction(fault_signals[i], &action, &previous[i]) < 0 && !install_result)
            install_result = errno;
}

int host_fault_install(struct error *err)
{
    pthread_once(&install_once, install);
    if (install_result)
        return error_set(err, install_result, "signal handlers could not be installed");
    return 0;
}
