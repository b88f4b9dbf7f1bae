/*
 * What the vCPUs of one VM share: memory, clock, CPU model, one another. The machine owns it.
 */
#ifndef RING3_CPU_VM_H
#define RING3_CPU_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/log.h"
#include "cpu/cpuid.h"
#include "loop/clock.h"
#include "mem/irq.h"
#include "mem/mem.h"
#include "state/state.h"

#define VM_MAX_CPUS 64

struct vcpu;
struct engine_ops;

struct vm {
    struct mem_space *mem;
    struct vclock *clock;
    struct log *log;
    struct state_set *state;
    pthread_mutex_t *machine_lock; /* recursive; never held while guest code runs or an exception is raised */
    const struct engine_ops *engine;
    void *engine_vm; /* the engine's own per-VM data */
    u64 code_cache;  /* bytes of translated code that all vCPUs together may have; 0: the engine's default */
    struct cpu_model model;
    struct irq_line
        ferr; /* FERR#: an unmasked x87 exception while CR0.NE = 0 (IRQ 13). Not connected: ignored */
    struct vcpu *cpu[VM_MAX_CPUS];
    unsigned cpu_count;

    /* The exclusive section (exclusive.c): one vCPU runs while all others stand outside guest code. */
    pthread_mutex_t exclusive_lock;
    pthread_cond_t exclusive_cond;
    _Atomic(u32) running; /* vCPUs between vcpu_enter and vcpu_leave, and not parked */
    _Atomic(bool) exclusive_wanted;
    struct vcpu *exclusive_owner; /* [exclusive_lock] */
};

/* The caller has set mem, clock, log, state, machine_lock, engine and model, and zeroed the rest; it posts
 * EVENT_TLB_FLUSH to every vCPU when the memory map or A20 changes. A failed vm_init has undone itself. */
int vm_init(struct vm *vm);
void vm_finish(struct vm *vm);

/*
 * Stops every other vCPU at an instruction boundary until vm_exclusive_end. For what must be atomic against
 * all guest code: locked accesses that cross a page, code patching. Called on a vCPU's own thread, inside
 * vcpu_enter ... vcpu_leave, without locks. Raising inside the section ends it. Begin may let another section
 * run first, so what was read before it must be read again.
 */
void vm_exclusive_begin(struct vcpu *self);
void vm_exclusive_end(struct vcpu *self);

#endif
