/* Creating virtual machines and vCPUs, and the engine's table. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "engine/kvm/kvm_impl.h"
#include "mem/mem.h"

#define API_VERSION 12

static const struct {
    long extension;
    const char *name;
} needed[] = {
    {KVM_CAP_USER_MEMORY, "user memory"},
    {KVM_CAP_SET_TSS_ADDR, "a TSS address"},
    {KVM_CAP_EXT_CPUID, "extended CPUID"},
    {KVM_CAP_VCPU_EVENTS, "vCPU events"},
    {KVM_CAP_DEBUGREGS, "debug registers"},
    {KVM_CAP_XSAVE, "XSAVE"},
    {KVM_CAP_XCRS, "XCR0"},
    {KVM_CAP_READONLY_MEM, "read-only memory"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exits"},
    {KVM_CAP_MP_STATE, "MP states"},
};

static int open_error(int code, struct error *err)
{
    if (code == ENOENT || code == ENODEV || code == ENXIO)
        return error_set(
            err, code,
            "there is no /dev/kvm: the host has no virtualization hardware, or its module is not "
            "loaded (modprobe kvm_amd or kvm_intel)");
    if (code == EACCES || code == EPERM)
        return error_set(
            err, code,
            "this user may not open /dev/kvm: join its group (sudo usermod -aG kvm $USER, then log "
            "in again)");
    return error_set(err, code, "/dev/kvm cannot be opened: %s", strerror(code));
}

static int check_device(struct kvm_vm *k, struct error *err)
{
    int version = kvm_call(k, k->dev, KVM_GET_API_VERSION, NULL);
    if (version != API_VERSION)
        return error_set(err, ENOTSUP,
                         "/dev/kvm has API version %d, ring3 needs %d: update the host's kernel", version,
                         API_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (!kvm_has(k, needed[i].extension))
            return error_set(err, ENOTSUP, "this host's KVM has no %s: update the host's kernel",
                             needed[i].name);
    int size = kvm_call(k, k->dev, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (size < (int)sizeof(struct kvm_run))
        return error_set(err, ENOTSUP, "this host's KVM shares %d bytes with a vCPU, which is too little",
                         size);
    k->run_size = (size_t)size;
    k->supported->nent = KVM_CPUID_MAX;
    int rc = kvm_call(k, k->dev, KVM_GET_SUPPORTED_CPUID, k->supported);
    if (rc < 0)
        return error_set(err, -rc, "KVM does not say what it supports: %s", strerror(-rc));
    return 0;
}

int kvm_device_open(struct kvm_vm *k, const struct kvm_sys *sys, struct error *err)
{
    *k = (struct kvm_vm){.sys = sys, .dev = -1, .fd = -1, .generation = ~0ull};
    k->supported = kvm_cpuid_list();
    if (!k->supported)
        return error_set(err, ENOMEM, "no memory for KVM's CPUID");
    k->dev = sys->open(sys->opaque);
    int rc = k->dev < 0 ? open_error(-k->dev, err) : check_device(k, err);
    if (rc)
        kvm_device_close(k);
    return rc;
}

static void close_fd(const struct kvm_vm *k, int *fd)
{
    if (*fd >= 0)
        k->sys->close(k->sys->opaque, *fd);
    *fd = -1;
}

void kvm_device_close(struct kvm_vm *k)
{
    close_fd(k, &k->fd);
    close_fd(k, &k->dev);
    free(k->supported);
    k->supported = NULL;
}

/* XSAVE's layout is the host processor's: vendors differ. */
static void find_xstate(struct kvm_vm *k)
{
    for (u32 i = 0; i < k->supported->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &k->supported->entries[i];
        if (e->function == 0xd && e->index >= 2 && e->index < ARRAY_LEN(k->xstate_len)) {
            k->xstate_len[e->index] = e->eax;
            k->xstate_offset[e->index] = e->ebx;
        }
    }
}

/* MSRs that KVM does not know, or whose values it refuses, are for cpu's table. */
static void enable_msr_exits(struct kvm_vm *k)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
                                 .args = {KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL}};
    k->msr_exits = kvm_has(k, KVM_CAP_X86_USER_SPACE_MSR) && kvm_call(k, k->fd, KVM_ENABLE_CAP, &cap) >= 0;
}

static int create_machine(struct kvm_vm *k, struct error *err)
{
    u64 identity = KVM_IDENTITY_MAP;
    do
        k->fd = kvm_call(k, k->dev, KVM_CREATE_VM, NULL);
    while (k->fd == -EINTR);
    if (k->fd < 0)
        return error_set(
            err, -k->fd,
            "KVM cannot create a virtual machine: %s (is another hypervisor using the hardware?)",
            strerror(-k->fd));
    int rc = kvm_call(k, k->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    if (rc >= 0)
        rc = kvm_call(k, k->fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)KVM_TSS_ADDRESS);
    if (rc < 0)
        return error_set(err, -rc, "KVM refuses its own pages: %s", strerror(-rc));
    k->tsc_scales = kvm_has(k, KVM_CAP_TSC_CONTROL);
    enable_msr_exits(k);
    find_xstate(k);
    return 0;
}

/* The kick's signal has only to interrupt KVM_RUN. */
static void kick_signal(int sig) {}

static int install_signal(struct error *err)
{
    struct sigaction action = {.sa_handler = kick_signal};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGRTMIN, &action, NULL) < 0)
        return error_set(err, errno, "no signal for kicks: %s", strerror(errno));
    return 0;
}

int kvm_vm_create(struct vm *vm, const struct kvm_sys *sys, struct error *err)
{
    struct kvm_vm *k = calloc(1, sizeof *k);
    if (!k)
        return error_set(err, ENOMEM, "no memory for a virtual machine");
    int rc = kvm_device_open(k, sys, err);
    if (rc) {
        free(k);
        return rc;
    }
    k->vm = vm;
    rc = create_machine(k, err);
    if (!rc)
        rc = install_signal(err);
    if (rc) {
        kvm_device_close(k);
        free(k);
        return rc;
    }
    vm->engine_vm = k;
    return 0;
}

void kvm_vm_destroy(struct vm *vm)
{
    struct kvm_vm *k = vm->engine_vm;
    if (!k)
        return;
    kvm_device_close(k);
    free(k);
    vm->engine_vm = NULL;
}

int kvm_cpu_create(struct vcpu *v, struct error *err)
{
    struct kvm_vm *k = v->vm->engine_vm;
    struct kvm_cpu *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, ENOMEM, "no memory for CPU %u", v->index);
    *c = (struct kvm_cpu){.vm = k, .stale = true};
    c->fd = kvm_call(k, k->fd, KVM_CREATE_VCPU, (void *)(uintptr_t)v->index);
    if (c->fd < 0) {
        int code = -c->fd;
        free(c);
        return error_set(err, code, "KVM cannot create CPU %u: %s", v->index, strerror(code));
    }
    v->engine = c;
    c->run = k->sys->map(k->sys->opaque, c->fd, k->run_size);
    if (!c->run) {
        kvm_cpu_destroy(v);
        return error_set(err, ENOMEM, "KVM does not share CPU %u with this process", v->index);
    }
    return 0;
}

void kvm_cpu_destroy(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    if (!c)
        return;
    if (c->run)
        c->vm->sys->unmap(c->vm->sys->opaque, c->run, c->vm->run_size);
    close_fd(c->vm, &c->fd);
    free(c);
    v->engine = NULL;
}

static int probe(struct error *err)
{
    return kvm_probe_guest(&kvm_sys_host, false, err);
}

static int trust(struct error *err)
{
    return kvm_probe_guest(&kvm_sys_host, true, err);
}

static int vm_init_kvm(struct vm *vm, struct error *err)
{
    return kvm_vm_create(vm, &kvm_sys_host, err);
}

static void memory_changed(struct vm *vm)
{
    kvm_memory_sync(vm->engine_vm);
}

static void get_state(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    if (c && c->ahead)
        kvm_pull(v);
}

static void set_state(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    if (!c)
        return;
    c->ahead = false;
    c->stale = true;
}

static void stats(const struct vcpu *v, void (*line)(void *opaque, const char *text), void *opaque)
{
    const struct kvm_cpu *c = v->engine;
    char text[200];
    snprintf(text, sizeof text,
             "cpu%u: %llu exits: %llu port I/O, %llu MMIO, %llu halts, %llu interrupt windows, %llu MSRs",
             v->index, (unsigned long long)c->exits, (unsigned long long)c->io, (unsigned long long)c->mmio,
             (unsigned long long)c->halts, (unsigned long long)c->windows, (unsigned long long)c->msrs);
    line(opaque, text);
}

const struct engine_ops kvm_engine = {
    .name = "kvm",
    .help = "runs on the host's virtualization hardware",
    .probe = probe,
    .trust = trust,
    .vm_init = vm_init_kvm,
    .vm_finish = kvm_vm_destroy,
    .vcpu_init = kvm_cpu_create,
    .vcpu_finish = kvm_cpu_destroy,
    .run = kvm_run_vcpu,
    .kick = kvm_kick,
    .memory_changed = memory_changed,
    .get_state = get_state,
    .set_state = set_state,
    .stats = stats,
};
