/* What the files of src/machine share. */
#ifndef RING3_MACHINE_INTERNAL_H
#define RING3_MACHINE_INTERNAL_H

#include <pthread.h>

#include "devices/reset.h"
#include "machine/board.h"
#include "machine/machine.h"

/*
 * Life: CREATED -> (machine_run) RUNNING -> a request -> vCPUs parked -> reset and RUNNING again, or the end.
 * A request is made by whoever notices (a device, a timer, a vCPU thread) under the machine lock; the loop
 * thread carries it out.
 */
enum machine_request { REQUEST_NONE, REQUEST_RESET_CPUS, REQUEST_RESET, REQUEST_END };

struct machine {
    struct machine_config config;
    struct log log;
    struct loop *loop;
    struct vm vm;
    struct board board;
    struct timer timeout;
    struct mem_listener listener;
    bool paused;   /* machine lock */
    bool vm_ready; /* vm_init was done */

    enum machine_request request; /* machine lock */
    struct machine_result result; /* machine lock; valid with REQUEST_END */
    _Atomic(bool) quit;           /* machine_quit was called */

    /* vCPU threads (threads.c): each runs while `go` and parks otherwise. */
    pthread_t threads[VM_MAX_CPUS];
    unsigned thread_count;
    pthread_mutex_t park_lock;
    pthread_cond_t park_cond;
    unsigned parked;
    bool go, leave;
};

/* Asks the loop thread to act. [machine lock] The first request to end wins; a reset never replaces it, nor
 * one of the processors alone one of the system. */
void machine_request_reset(struct machine *m, enum reset_kind kind);
void machine_request_end(struct machine *m, enum machine_end end, u32 value);
void machine_request_failure(struct machine *m, const char *why);

/* vCPU threads: created parked; let go; told to park; parked again (returns when all stand still); joined. */
int threads_create(struct machine *m, struct error *err);
void threads_release(struct machine *m);
void threads_stop(struct machine *m);
void threads_park(struct machine *m);
void threads_join(struct machine *m);

#endif
