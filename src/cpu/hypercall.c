/*
 * Hypercalls, with the numbers and the register convention of KVM
 * (Documentation/virt/kvm/x86/hypercalls.rst): number in RAX, arguments in RBX, RCX, RDX, RSI, result in RAX,
 * nothing else changed. A VM on KVM's own engine has them whatever CPUID says, so the software engines answer
 * them alike. CPUID does not offer them.
 */
#include <sched.h>
#include "cpu/ctrl.h"

enum {
    HC_VAPIC_POLL_IRQ = 1,
    HC_SEND_IPI = 10,
    HC_SCHED_YIELD = 11,
};

/* Results, negated. */
enum { HC_EPERM = 1, HC_EINVAL = 22, HC_ENOSYS = 1000 };

#define ICR_LOGICAL_DEST 0x800u
#define ICR_SHORTHAND    0xc0000u

/* An IPI to the APICs min + i for each bit i of `bits`: how many took it. */
static u64 send_to_set(struct vcpu *v, u64 bits, u64 min, u32 icr)
{
    u64 taken = 0;
    for (unsigned i = 0; i < 64; i++)
        if ((bits >> i & 1) && min + i < v->vm->cpu_count)
            taken += v->apic_ops->send_ipi(v->apic, (u32)(min + i), icr);
    return taken;
}

/* A 128-bit set of APIC IDs (64 bits outside 64-bit mode) that begins at arg[2]; arg[3] as written to the
 * ICR. */
static s64 send_ipi(struct vcpu *v, const u64 arg[4])
{
    u32 icr = (u32)arg[3], min = (u32)arg[2];
    if (icr & (ICR_LOGICAL_DEST | ICR_SHORTHAND))
        return -HC_EINVAL;
    if (!v->apic_ops || !v->apic_ops->send_ipi)
        return -HC_ENOSYS;
    cpu_meet_world(v);
    pthread_mutex_lock(v->vm->machine_lock);
    u64 taken = send_to_set(v, arg[0], min, icr);
    taken += send_to_set(v, arg[1], (u64)min + (v->code64 ? 64 : 32), icr);
    pthread_mutex_unlock(v->vm->machine_lock);
    return (s64)taken;
}

void cpu_hypercall(struct vcpu *v)
{
    u64 mask = v->code64 ? ~0ull : 0xffffffff;
    u64 number = v->gpr[RAX] & mask;
    const u64 arg[4] = {v->gpr[RBX] & mask, v->gpr[RCX] & mask, v->gpr[RDX] & mask, v->gpr[RSI] & mask};
    s64 result = -HC_ENOSYS;
    if (v->cpl != 0) {
        result = -HC_EPERM;
    } else if (number == HC_VAPIC_POLL_IRQ) {
        result = 0;
    } else if (number == HC_SEND_IPI) {
        result = send_ipi(v, arg);
    } else if (number == HC_SCHED_YIELD) {
        sched_yield();
        result = 0;
    }
    v->gpr[RAX] = (u64)result & mask;
}
