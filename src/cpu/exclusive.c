/*
 * struct vm's life, and the exclusive section: one vCPU runs while every other one that is inside vcpu_enter
 * ... vcpu_leave waits at an instruction boundary. Sleeping vCPUs are outside and need not be asked.
 */
#include "cpu/engine.h"
#include "cpu/vm.h"

int vm_init(struct vm *vm)
{
    int rc = pthread_mutex_init(&vm->exclusive_lock, NULL);
    if (rc)
        return -rc;
    rc = pthread_cond_init(&vm->exclusive_cond, NULL);
    if (rc) {
        pthread_mutex_destroy(&vm->exclusive_lock);
        return -rc;
    }
    atomic_init(&vm->running, 0);
    atomic_init(&vm->exclusive_wanted, false);
    vm->exclusive_owner = NULL;
    return 0;
}

void vm_finish(struct vm *vm)
{
    pthread_cond_destroy(&vm->exclusive_cond);
    pthread_mutex_destroy(&vm->exclusive_lock);
}

/* [exclusive_lock] Counts the vCPU in once no section of another runs. */
static void enter_locked(struct vm *vm)
{
    while (vm->exclusive_owner)
        pthread_cond_wait(&vm->exclusive_cond, &vm->exclusive_lock);
    atomic_fetch_add(&vm->running, 1);
}

static void leave_locked(struct vm *vm)
{
    atomic_fetch_sub(&vm->running, 1);
    if (vm->exclusive_owner)
        pthread_cond_broadcast(&vm->exclusive_cond);
}

void vcpu_enter(struct vcpu *v)
{
    struct vm *vm = v->vm;
    pthread_mutex_lock(&vm->exclusive_lock);
    enter_locked(vm);
    vcpu_clear(v, EVENT_EXCLUSIVE);
    pthread_mutex_unlock(&vm->exclusive_lock);
}

void vcpu_leave(struct vcpu *v)
{
    struct vm *vm = v->vm;
    pthread_mutex_lock(&vm->exclusive_lock);
    leave_locked(vm);
    pthread_mutex_unlock(&vm->exclusive_lock);
}

void vm_exclusive_begin(struct vcpu *self)
{
    struct vm *vm = self->vm;
    pthread_mutex_lock(&vm->exclusive_lock);
    if (vm->exclusive_owner) {
        /* Stand aside for the section that is wanted already: it waits for us. */
        leave_locked(vm);
        enter_locked(vm);
    }
    vm->exclusive_owner = self;
    atomic_store(&vm->exclusive_wanted, true);
    for (unsigned i = 0; i < vm->cpu_count; i++)
        if (vm->cpu[i] && vm->cpu[i] != self)
            vcpu_post(vm->cpu[i], EVENT_EXCLUSIVE);
    while (atomic_load(&vm->running) > 1)
        pthread_cond_wait(&vm->exclusive_cond, &vm->exclusive_lock);
    self->exclusive = true;
    pthread_mutex_unlock(&vm->exclusive_lock);
}

void vm_exclusive_end(struct vcpu *self)
{
    struct vm *vm = self->vm;
    pthread_mutex_lock(&vm->exclusive_lock);
    self->exclusive = false;
    vm->exclusive_owner = NULL;
    atomic_store(&vm->exclusive_wanted, false);
    for (unsigned i = 0; i < vm->cpu_count; i++)
        if (vm->cpu[i])
            vcpu_clear(vm->cpu[i], EVENT_EXCLUSIVE);
    pthread_cond_broadcast(&vm->exclusive_cond);
    pthread_mutex_unlock(&vm->exclusive_lock);
}
