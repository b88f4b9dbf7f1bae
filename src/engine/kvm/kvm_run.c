/* The run loop: what goes in with KVM_RUN, and what comes out (5). */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include "base/bytes.h"
#include "cpu/ctrl.h"
#include "cpu/exc.h"
#include "cpu/mmu.h"
#include "engine/kvm/kvm_impl.h"
#include "mem/mem.h"

/* What the loop does after an exit. */
enum next { NEXT_RUN, NEXT_HALTED, NEXT_SHUTDOWN, NEXT_FAILED };

/* --- before the first entry --- */

/* The guest's TSC runs at TSC_HZ where the hardware can scale it, else at the host's rate (CPUID leaf 15h
 * tells). */
static int set_tsc_rate(struct vcpu *v, struct error *err)
{
    struct kvm_cpu *c = v->engine;
    if (c->vm->tsc_scales && kvm_cpu_call(c, KVM_SET_TSC_KHZ, (void *)(uintptr_t)(TSC_HZ / 1000)) >= 0) {
        c->tsc_khz = TSC_HZ / 1000;
        return 0;
    }
    int khz = kvm_cpu_call(c, KVM_GET_TSC_KHZ, NULL);
    if (khz <= 0)
        return error_set(err, ENOTSUP, "KVM does not know how fast the time-stamp counter runs");
    c->tsc_khz = (u64)khz;
    return 0;
}

static int prepare(struct vcpu *v, struct error *err)
{
    struct kvm_cpu *c = v->engine;
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, SIGRTMIN);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    int rc = set_tsc_rate(v, err);
    if (!rc)
        rc = kvm_cpuid_set(v, err);
    if (rc)
        return rc;
    pthread_mutex_lock(v->vm->machine_lock);
    kvm_memory_sync(c->vm);
    pthread_mutex_unlock(v->vm->machine_lock);
    c->prepared = true;
    return 0;
}

/* --- failures --- */

static enum next fail(struct vcpu *v, const char *what, u64 number)
{
    struct kvm_cpu *c = v->engine;
    log_warn(v->vm->log, "cpu%u: KVM cannot go on: %s (%#llx)", v->index, what, (unsigned long long)number);
    if (c->ahead)
        kvm_pull(v);
    v->activity = ACTIVITY_SHUTDOWN; /* until a reset */
    return NEXT_FAILED;
}

static enum next internal_error(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    switch (c->run->internal.suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
        return fail(v, "it cannot emulate the instruction", c->run->internal.suberror);
    case KVM_INTERNAL_ERROR_SIMUL_EX:
        return fail(v, "exceptions upon one another", c->run->internal.suberror);
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
        return fail(v, "an event could not be delivered", c->run->internal.suberror);
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
        return fail(v, "the processor left for an unknown reason", c->run->internal.suberror);
    default:
        return fail(v, "internal error", c->run->internal.suberror);
    }
}

/* --- interrupts --- */

/* In: what the local APIC has for the CPU. */
static bool inject(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    u32 events = atomic_load(&v->events);
    c->run->request_interrupt_window = 0;
    if (events & EVENT_NMI) {
        if (atomic_fetch_and(&v->events, ~(u32)(EVENT_NMI | EVENT_NMI_AGAIN)) & EVENT_NMI_AGAIN)
            atomic_fetch_or(&v->events, EVENT_NMI);
        if (kvm_cpu_call(c, KVM_NMI, NULL) < 0)
            return false;
    }
    if (!(events & EVENT_INTR) || !v->apic_ops)
        return true;
    if (!c->run->ready_for_interrupt_injection || !c->run->if_flag) {
        c->run->request_interrupt_window = 1;
        return true;
    }
    pthread_mutex_lock(v->vm->machine_lock);
    int vector = v->apic_ops->ack(v->apic);
    bool more = atomic_load(&v->events) & EVENT_INTR;
    pthread_mutex_unlock(v->vm->machine_lock);
    c->run->request_interrupt_window = more;
    if (vector < 0)
        return true;
    struct kvm_interrupt irq = {.irq = (u32)vector};
    c->run->ready_for_interrupt_injection = 0;
    return kvm_cpu_call(c, KVM_INTERRUPT, &irq) >= 0;
}

/* The task priority and the APIC's base live in both. */
static void share_apic_in(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    c->run->cr8 = c->cr8 = cpu_read_cr(v, 8);
}

static void share_apic_out(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    if (c->run->cr8 != c->cr8 && v->apic_ops) {
        pthread_mutex_lock(v->vm->machine_lock);
        v->apic_ops->cr8_write(v->apic, (u8)c->run->cr8);
        pthread_mutex_unlock(v->vm->machine_lock);
    }
    if (c->run->apic_base != c->apic_base)
        kvm_apic_base_set(v, c->run->apic_base);
}

/* --- exits --- */

static void do_io(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    struct kvm_run *run = c->run;
    unsigned size = run->io.size;
    u64 end = run->io.data_offset + (u64)run->io.count * size;
    c->io++;
    if (end > c->vm->run_size || (size != 1 && size != 2 && size != 4))
        return;
    u8 *data = (u8 *)run + run->io.data_offset;
    for (u32 i = 0; i < run->io.count; i++, data += size) {
        if (run->io.direction == KVM_EXIT_IO_IN)
            store_le(data, size, port_read(v->vm->mem, run->io.port, size));
        else
            port_write(v->vm->mem, run->io.port, size, load_le(data, size));
    }
}

static u64 access_bytes(struct vcpu *v, u64 gpa, unsigned len, bool write, u64 value)
{
    if (write)
        mem_write_bytes(v->vm->mem, gpa, &value, len);
    else
        mem_read_bytes(v->vm->mem, gpa, &value, len);
    return value;
}

static void do_mmio(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    struct kvm_run *run = c->run;
    u64 gpa = run->mmio.phys_addr;
    unsigned len = run->mmio.len;
    bool write = run->mmio.is_write;
    c->mmio++;
    if (!len || len > sizeof run->mmio.data)
        return;
    u64 value = 0;
    memcpy(&value, run->mmio.data, len);
    if ((gpa & PAGE_MASK) == v->apic_page)
        value = mmu_apic_access(v, gpa, len, write, value);
    else if (len & (len - 1)) /* a part of an access across a page's end */
        value = access_bytes(v, gpa, len, write, value);
    else if (write)
        mem_write(v->vm->mem, gpa, len, value);
    else
        value = mem_read(v->vm->mem, gpa, len);
    if (!write)
        memcpy(run->mmio.data, &value, len);
}

/* An MSR that is not KVM's. */
static void do_msr(struct vcpu *v, bool write)
{
    struct kvm_cpu *c = v->engine;
    struct kvm_run *run = c->run;
    u64 value = run->msr.data;
    c->msrs++;
    bool ok = write ? msr_write(v, run->msr.index, value) : msr_read(v, run->msr.index, &value);
    run->msr.error = !ok;
    run->msr.data = value;
}

static enum next do_halt(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    c->halts++;
    /* What a wake-up depends on. */
    v->rflags = (v->rflags & ~(u64)FLAG_IF) | (c->run->if_flag ? FLAG_IF : 0);
    v->nmi_blocked = false;
    cpu_halt(v);
    return NEXT_HALTED;
}

static enum next handle_exit(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    c->exits++;
    c->incomplete = true;
    share_apic_out(v);
    switch (c->run->exit_reason) {
    case KVM_EXIT_IO:
        do_io(v);
        return NEXT_RUN;
    case KVM_EXIT_MMIO:
        do_mmio(v);
        return NEXT_RUN;
    case KVM_EXIT_HLT:
        return do_halt(v);
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        c->windows++;
        return NEXT_RUN;
    case KVM_EXIT_INTR:
    case KVM_EXIT_SET_TPR:
        return NEXT_RUN;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        do_msr(v, c->run->exit_reason == KVM_EXIT_X86_WRMSR);
        return NEXT_RUN;
    case KVM_EXIT_SHUTDOWN:
        kvm_pull(v);
        v->activity = ACTIVITY_SHUTDOWN;
        return NEXT_SHUTDOWN;
    case KVM_EXIT_FAIL_ENTRY:
        return fail(v, "the processor refuses the guest's state",
                    c->run->fail_entry.hardware_entry_failure_reason);
    case KVM_EXIT_INTERNAL_ERROR:
        return internal_error(v);
    default:
        return fail(v, "an exit that ring3 does not know", c->run->exit_reason);
    }
}

/* --- the loop --- */

static enum next enter(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    share_apic_in(v);
    if (!inject(v))
        return fail(v, "it does not take an interrupt", 0);
    c->ahead = true;
    int rc = kvm_cpu_call(c, KVM_RUN, NULL);
    c->incomplete = false;
    if (rc == -EINTR || rc == -EAGAIN)
        return NEXT_RUN;
    if (rc < 0)
        return fail(v, strerror(-rc), (u64)-rc);
    return handle_exit(v);
}

/* A kick between the look at the events and KVM_RUN makes that return at once: immediate_exit (5). */
static enum vcpu_exit loop(struct vcpu *v)
{
    static const enum vcpu_exit exits[] = {
        [NEXT_HALTED] = VCPU_HALTED, [NEXT_SHUTDOWN] = VCPU_SHUTDOWN, [NEXT_FAILED] = VCPU_FAILED};
    struct kvm_cpu *c = v->engine;
    for (;;) {
        enum cpu_pending pending;
        __atomic_store_n(&c->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        if (!cpu_handle_requests(v, &pending))
            return vcpu_exit_of(pending);
        if (v->activity == ACTIVITY_SHUTDOWN)
            return VCPU_SHUTDOWN;
        if (v->activity != ACTIVITY_RUNNING && cpu_is_asleep(v))
            return VCPU_HALTED;
        enum next next = c->vm->failed              ? fail(v, "it does not take the memory map", 0)
                         : c->stale && !kvm_push(v) ? fail(v, "it does not take the registers", 0)
                                                    : enter(v);
        if (next != NEXT_RUN)
            return exits[next];
    }
}

enum vcpu_exit kvm_run_vcpu(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    struct error err = {0};
    if (!c->prepared && prepare(v, &err)) {
        log_warn(v->vm->log, "cpu%u: %s", v->index, err.message);
        return VCPU_FAILED;
    }
    vcpu_enter(v);
    c->thread = pthread_self();
    atomic_store(&c->inside, true);
    enum vcpu_exit exit = loop(v);
    atomic_store(&c->inside, false);
    vcpu_leave(v);
    return exit;
}

void kvm_kick(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    if (!c || !c->run)
        return;
    __atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (atomic_load(&c->inside) && !pthread_equal(c->thread, pthread_self()))
        pthread_kill(c->thread, SIGRTMIN);
}
