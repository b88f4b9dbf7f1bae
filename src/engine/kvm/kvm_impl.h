/*
 * The KVM engine: the host's virtualization hardware executes the guest (Documentation/virt/kvm/api.rst of
 * Linux; section numbers in the files are its).
 *
 * Interrupt chips are all ours ("userspace irqchip"): the local APIC's page is MMIO, HLT leaves the kernel,
 * interrupts are queued with KVM_INTERRUPT when the guest can take them.
 *
 * Where the registers are: `ahead` says that KVM's are newer than the fields of struct vcpu, `stale` that
 * they are older. kvm_pull and kvm_push bring one side up to date; while a vCPU runs back and forth neither
 * is needed. Never both.
 *
 * Threads: a struct kvm_cpu belongs to its vCPU's thread, but for kvm_kick. Memory slots are changed with the
 * machine lock held.
 */
#ifndef RING3_ENGINE_KVM_KVM_IMPL_H
#define RING3_ENGINE_KVM_KVM_IMPL_H

#include <linux/kvm.h>
#include <pthread.h>
#include "cpu/cpu.h"
#include "cpu/engine.h"
#include "engine/kvm/kvm_sys.h"

/* Where Intel hosts keep three pages of their own (4.26, 4.41): in the hole below the firmware. */
#define KVM_IDENTITY_MAP 0xfeffc000ull
#define KVM_TSS_ADDRESS  0xfeffd000ull

#define KVM_SLOTS_MAX 512
#define KVM_CPUID_MAX 256

/* A stretch of guest memory that KVM knows; size 0: none. */
struct kvm_slot {
    u64 gpa, size;
    u8 *hva;
    bool readonly;
};

struct kvm_vm {
    const struct kvm_sys *sys;
    struct vm *vm;
    int dev, fd; /* /dev/kvm; the virtual machine */
    size_t run_size;
    bool tsc_scales;                       /* the guest's TSC can run at TSC_HZ */
    bool msr_exits;                        /* MSRs that KVM does not know come to us */
    u32 xstate_offset[64], xstate_len[64]; /* where the host's XSAVE puts each component */
    struct kvm_cpuid2 *supported;          /* what KVM can show; with room for KVM_CPUID_MAX */
    struct kvm_slot slot[KVM_SLOTS_MAX];
    u64 generation; /* of the map that the slots show; ~0: none yet. [machine lock] */
    bool failed;    /* the slots do not show the map: nothing may run */
};

struct kvm_cpu {
    struct kvm_vm *vm;
    int fd;
    struct kvm_run *run;
    bool ahead, stale, prepared;
    bool incomplete;      /* the last exit's instruction ends with the next KVM_RUN (5: KVM_EXIT_IO, ...) */
    _Atomic(bool) inside; /* in, or on its way into, KVM_RUN */
    pthread_t thread;     /* of `inside` */
    u64 tsc_khz;
    u64 cr8, apic_base;                        /* as KVM was told, or has told, last */
    u64 exits, io, mmio, halts, windows, msrs; /* counters */
};

static inline int kvm_call(const struct kvm_vm *k, int fd, unsigned long request, void *arg)
{
    return k->sys->ioctl(k->sys->opaque, fd, request, arg);
}

static inline int kvm_cpu_call(const struct kvm_cpu *c, unsigned long request, void *arg)
{
    return kvm_call(c->vm, c->fd, request, arg);
}

/* An extension's value, 0 if there is none (4.4). */
static inline int kvm_has(const struct kvm_vm *k, long extension)
{
    int rc = k->sys->ioctl(k->sys->opaque, k->dev, KVM_CHECK_EXTENSION, (void *)extension);
    return rc < 0 ? 0 : rc;
}

/* kvm.c: opens /dev/kvm and checks that it has what the engine needs, without a virtual machine yet. */
int kvm_device_open(struct kvm_vm *k, const struct kvm_sys *sys, struct error *err);
void kvm_device_close(struct kvm_vm *k);
int kvm_vm_create(struct vm *vm, const struct kvm_sys *sys, struct error *err);
void kvm_vm_destroy(struct vm *vm);
int kvm_cpu_create(struct vcpu *v, struct error *err);
void kvm_cpu_destroy(struct vcpu *v);

/* kvm_memory.c: makes the slots show the map. [machine lock] */
void kvm_memory_sync(struct kvm_vm *k);

/* kvm_cpuid.c: an empty list with room for KVM_CPUID_MAX, or NULL; free() it. */
struct kvm_cpuid2 *kvm_cpuid_list(void);
/* Tells KVM what CPUID says: the model's, less what KVM cannot do (which the log names). */
int kvm_cpuid_set(struct vcpu *v, struct error *err);
/* Does KVM show this CPUID bit? */
u32 kvm_cpuid_supported(const struct kvm_vm *k, u32 leaf, u32 subleaf, char reg);

/* kvm_state.c: registers from KVM to struct vcpu, and back. False: KVM refused; it is in the log. */
bool kvm_pull(struct vcpu *v);
bool kvm_push(struct vcpu *v);
/* Where KVM says that the guest has put its local APIC. */
void kvm_apic_base_set(struct vcpu *v, u64 base);

/* kvm_msr.c */
bool kvm_msrs_pull(struct vcpu *v);
bool kvm_msrs_push(struct vcpu *v);

/* kvm_fpu.c */
bool kvm_fpu_pull(struct vcpu *v);
bool kvm_fpu_push(struct vcpu *v);

/* kvm_run.c */
enum vcpu_exit kvm_run_vcpu(struct vcpu *v);
void kvm_kick(struct vcpu *v);

/* kvm_probe.c: does a tiny guest get through real, protected and long mode, and (`speed`) fast enough? */
int kvm_probe_guest(const struct kvm_sys *sys, bool speed, struct error *err);

#endif
