/*
 * Faults of generated code: SIGFPE, SIGILL, SIGSEGV and SIGBUS that the host raises inside code which a
 * thread has announced are turned into a jump to that code's recovery address.
 *
 * The signal handlers are the process's, installed once and never removed; what was installed before is
 * called for faults that are not ours. This file's statics and its thread-local pointer are the one exception
 * to "no mutable globals": a signal handler has nothing else to start from.
 */
#ifndef RING3_ENGINE_INTERP_HOST_FAULT_H
#define RING3_ENGINE_INTERP_HOST_FAULT_H

#include "base/error.h"
#include "base/types.h"

struct host_fault_scope {
    const u8 *lo, *hi;   /* code of the thread that may fault */
    const u8 *resume;    /* where it continues, with all other registers as they were */
    volatile int signal; /* the signal, set by the handler */
};

/* The scope of the running thread, NULL when none. Set it around the call of generated code. */
extern __thread struct host_fault_scope *host_fault_current;

/* Installs the handlers (the first call of a process does). Returns 0 or -errno. */
int host_fault_install(struct error *err);

#endif
