/* One thread per vCPU: run the engine, wait while halted, park when told. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/internal.h"

/* Stands still while the machine does not run; false when the thread is to end. */
static bool thread_park(struct machine *m)
{
    pthread_mutex_lock(&m->park_lock);
    m->parked++;
    pthread_cond_broadcast(&m->park_cond);
    while (!m->go && !m->leave)
        pthread_cond_wait(&m->park_cond, &m->park_lock);
    m->parked--;
    bool stay = !m->leave;
    pthread_mutex_unlock(&m->park_lock);
    return stay;
}

static bool thread_must_park(struct machine *m)
{
    pthread_mutex_lock(&m->park_lock);
    bool must = !m->go;
    pthread_mutex_unlock(&m->park_lock);
    return must;
}

static void dump_line(void *opaque, const char *text)
{
    struct log *log = opaque;
    fprintf(log->out, "%s%s\n", text, log->crlf ? "\r" : "");
}

static void report_crash(struct machine *m, struct vcpu *v)
{
    loop_lock(m->loop);
    if (m->request != REQUEST_NONE) { /* it had asked for a reset, and went on for a moment */
        loop_unlock(m->loop);
        return;
    }
    log_write(&m->log, "crash", "CPU %u: triple fault; its registers:", v->index);
    vcpu_dump(v, dump_line, &m->log);
    machine_request_end(m, MACHINE_CRASHED, 0);
    loop_unlock(m->loop);
}

/* Runs guest code until the thread must park. */
static void thread_run(struct machine *m, struct vcpu *v)
{
    while (!thread_must_park(m)) {
        switch (m->vm.engine->run(v)) {
        case VCPU_SHUTDOWN:
            report_crash(m, v);
            vcpu_wait(v); /* until the kick that parks it */
            break;
        case VCPU_FAILED:
            loop_lock(m->loop);
            machine_request_failure(m, "the engine cannot run this guest any further");
            loop_unlock(m->loop);
            vcpu_wait(v);
            break;
        case VCPU_HALTED:
            vcpu_wait(v);
            break;
        case VCPU_KICKED:
        case VCPU_DEBUG:
            break;
        }
    }
}

struct thread_start {
    struct machine *m;
    struct vcpu *v;
};

static void *thread_main(void *arg)
{
    struct thread_start start = *(struct thread_start *)arg;
    free(arg);
    char name[16];
    snprintf(name, sizeof name, "vcpu%u", start.v->index);
    pthread_setname_np(pthread_self(), name);
    while (thread_park(start.m))
        thread_run(start.m, start.v);
    return NULL;
}

int threads_create(struct machine *m, struct error *err)
{
    /* Signals are for the loop thread, but for those that a thread causes itself. */
    static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t all, old;
    sigfillset(&all);
    for (size_t i = 0; i < ARRAY_LEN(synchronous); i++)
        sigdelset(&all, synchronous[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = 0;
    for (unsigned i = 0; i < m->vm.cpu_count && !rc; i++) {
        struct thread_start *start = malloc(sizeof *start);
        if (!start) {
            rc = ENOMEM;
            break;
        }
        *start = (struct thread_start){m, m->vm.cpu[i]};
        rc = pthread_create(&m->threads[i], NULL, thread_main, start);
        if (rc)
            free(start);
        else
            m->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!rc)
        return 0;
    threads_join(m);
    return error_set(err, rc,
                     "cannot start a thread for each of %u CPUs: %s; use fewer CPUs or raise ulimit -u",
                     m->vm.cpu_count, strerror(rc));
}

void threads_release(struct machine *m)
{
    pthread_mutex_lock(&m->park_lock);
    m->go = true;
    pthread_cond_broadcast(&m->park_cond);
    pthread_mutex_unlock(&m->park_lock);
}

void threads_stop(struct machine *m)
{
    pthread_mutex_lock(&m->park_lock);
    m->go = false;
    pthread_mutex_unlock(&m->park_lock);
    for (unsigned i = 0; i < m->thread_count; i++)
        vcpu_post(m->vm.cpu[i], EVENT_KICK);
}

void threads_park(struct machine *m)
{
    threads_stop(m);
    pthread_mutex_lock(&m->park_lock);
    while (m->parked < m->thread_count)
        pthread_cond_wait(&m->park_cond, &m->park_lock);
    pthread_mutex_unlock(&m->park_lock);
    for (unsigned i = 0; i < m->thread_count; i++)
        vcpu_clear(m->vm.cpu[i], EVENT_KICK);
}

void threads_join(struct machine *m)
{
    pthread_mutex_lock(&m->park_lock);
    m->leave = true;
    pthread_cond_broadcast(&m->park_cond);
    pthread_mutex_unlock(&m->park_lock);
    for (unsigned i = 0; i < m->thread_count; i++)
        pthread_join(m->threads[i], NULL);
    m->thread_count = 0;
}
