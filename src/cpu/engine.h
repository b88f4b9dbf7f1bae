/* The engine interface: who executes guest instructions. One const table per engine. */
#ifndef RING3_CPU_ENGINE_H
#define RING3_CPU_ENGINE_H

#include "cpu/cpu.h"

enum vcpu_exit {
    VCPU_HALTED,   /* HLT or MWAIT: nothing to do until an event */
    VCPU_SHUTDOWN, /* triple fault */
    VCPU_KICKED,   /* someone wanted the thread back */
    VCPU_DEBUG,    /* a debugger's stop (single step of the VMM) */
    VCPU_FAILED,   /* the engine cannot go on; the message is in engine_stats/log */
};

struct engine_ops {
    const char *name;
    const char *help;                /* one line */
    int (*probe)(struct error *err); /* can it work on this host? */
    int (*trust)(struct error *err); /* ... and well enough to be chosen unasked? NULL: then too */
    int (*vm_init)(struct vm *vm, struct error *err);
    void (*vm_finish)(struct vm *vm);
    int (*vcpu_init)(struct vcpu *v, struct error *err);
    void (*vcpu_finish)(struct vcpu *v);
    /*
     * Runs guest code on the calling thread until there is a reason to return. The machine lock is not held.
     * Begins with cpu_handle_events: a vCPU that is halted or waits for SIPI gives VCPU_HALTED again unless
     * an event has woken it, one in shutdown VCPU_SHUTDOWN, and EVENT_KICK (which is cleared) VCPU_KICKED.
     * The caller's loop is: run; on VCPU_HALTED vcpu_wait; again.
     */
    enum vcpu_exit (*run)(struct vcpu *v);
    /* Makes a running vCPU look at v->events soon. Any thread. May be NULL if it polls. */
    void (*kick)(struct vcpu *v);
    /* The memory map changed. [machine lock] */
    void (*memory_changed)(struct vm *vm);
    /* Brings v's fields up to date from the engine; tells it that they were changed. Not running. NULL: they
     * are the engine's own. */
    void (*get_state)(struct vcpu *v);
    void (*set_state)(struct vcpu *v);
    /* Forget writable mappings so that new writes are logged; the machine then collects. Not running. */
    void (*dirty_log_start)(struct vm *vm);
    /* Counters as text, for --stats. */
    void (*stats)(const struct vcpu *v, void (*line)(void *opaque, const char *text), void *opaque);
};

extern const struct engine_ops interp_engine;
extern const struct engine_ops jit_engine;
extern const struct engine_ops kvm_engine;
extern const struct engine_ops lockstep_engine;

#endif
