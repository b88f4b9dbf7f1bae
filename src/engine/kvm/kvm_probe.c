/*
 * Can this KVM be trusted with a guest? A tiny one goes through real, protected and long mode and tells of
 * each by a write to a port; then it counts. A KVM that only emulates takes a thousand times as long for that
 * as a processor.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "base/bytes.h"
#include "engine/kvm/kvm_impl.h"
#include "mem/mem.h"

#define MEMORY   KIB(64)
#define CODE     0x1000
#define TABLES   0x4000 /* PML4, PDPT, PD: one 2 MiB page */
#define PORT     0x80
#define ROUND    20000 /* iterations between two writes */
#define ROUNDS   10
#define SLOW_NS  100 /* of one iteration */
#define PATIENCE 100000000ull

/* At CODE, entered in real mode with CS = DS = 0. */
__asm__(".pushsection .rodata\n"
        "kvm_probe_code:\n"
        ".code16\n"
        "  mov $1, %al\n"
        "  out %al, $0x80\n"
        "  lgdtl kvm_probe_gdtr - kvm_probe_code + 0x1000\n"
        "  mov %cr0, %eax\n"
        "  or $1, %al\n"
        "  mov %eax, %cr0\n"
        "  ljmpl $8, $(kvm_probe_32 - kvm_probe_code + 0x1000)\n"
        ".code32\n"
        "kvm_probe_32:\n"
        "  mov $24, %eax\n"
        "  mov %eax, %ds\n"
        "  mov %eax, %ss\n"
        "  mov $2, %al\n"
        "  out %al, $0x80\n"
        "  mov %cr4, %eax\n"
        "  or $0x20, %eax\n"
        "  mov %eax, %cr4\n"
        "  mov $0x4000, %eax\n"
        "  mov %eax, %cr3\n"
        "  mov $0xc0000080, %ecx\n"
        "  rdmsr\n"
        "  or $0x100, %eax\n"
        "  wrmsr\n"
        "  mov %cr0, %eax\n"
        "  or $0x80000000, %eax\n"
        "  mov %eax, %cr0\n"
        "  ljmpl $16, $(kvm_probe_64 - kvm_probe_code + 0x1000)\n"
        ".code64\n"
        "kvm_probe_64:\n"
        "  mov $3, %al\n"
        "1:\n"
        "  out %al, $0x80\n"
        "  mov $20000, %ecx\n"
        "2:\n"
        "  dec %rcx\n"
        "  jnz 2b\n"
        "  mov $4, %al\n"
        "  jmp 1b\n"
        ".balign 8\n"
        "kvm_probe_gdt:\n"
        "  .quad 0, 0x00cf9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff\n"
        "kvm_probe_gdtr:\n"
        "  .word 31\n"
        "  .long kvm_probe_gdt - kvm_probe_code + 0x1000\n"
        "kvm_probe_end:\n"
        ".popsection\n");
extern const u8 kvm_probe_code[], kvm_probe_end[];

struct prober {
    struct kvm_vm *k;
    u8 *memory;
    int cpu;
    struct kvm_run *run;
};

static u64 now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static void fill_memory(u8 *memory)
{
    memcpy(memory + CODE, kvm_probe_code, (size_t)(kvm_probe_end - kvm_probe_code));
    store_le64(memory + TABLES, (TABLES + 0x1000) | 3);
    store_le64(memory + TABLES + 0x1000, (TABLES + 0x2000) | 3);
    store_le64(memory + TABLES + 0x2000, 0x83);
}

/* CPUID as KVM has it: long mode must be there. */
static int set_registers(struct prober *p)
{
    struct kvm_vm *k = p->k;
    struct kvm_sregs s;
    struct kvm_regs r = {.rip = CODE, .rflags = 2};
    int rc = kvm_call(k, p->cpu, KVM_SET_CPUID2, k->supported);
    if (rc >= 0)
        rc = kvm_call(k, p->cpu, KVM_GET_SREGS, &s);
    if (rc < 0)
        return rc;
    s.cs.base = s.cs.selector = 0;
    rc = kvm_call(k, p->cpu, KVM_SET_SREGS, &s);
    return rc < 0 ? rc : kvm_call(k, p->cpu, KVM_SET_REGS, &r);
}

static int setup(struct prober *p)
{
    struct kvm_vm *k = p->k;
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
                                                 .userspace_addr = (u64)(uintptr_t)p->memory};
    fill_memory(p->memory);
    k->fd = kvm_call(k, k->dev, KVM_CREATE_VM, NULL);
    if (k->fd < 0)
        return k->fd;
    int rc = kvm_call(k, k->fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)KVM_TSS_ADDRESS);
    if (rc >= 0)
        rc = kvm_call(k, k->fd, KVM_SET_USER_MEMORY_REGION, &region);
    if (rc < 0)
        return rc;
    p->cpu = kvm_call(k, k->fd, KVM_CREATE_VCPU, NULL);
    if (p->cpu < 0)
        return p->cpu;
    p->run = k->sys->map(k->sys->opaque, p->cpu, k->run_size);
    return p->run ? set_registers(p) : -ENOMEM;
}

/* The next byte written to the port, or -errno. */
static int next_report(struct prober *p)
{
    int rc;
    do
        rc = kvm_call(p->k, p->cpu, KVM_RUN, NULL);
    while (rc == -EINTR || rc == -EAGAIN);
    if (rc < 0)
        return rc;
    const struct kvm_run *run = p->run;
    if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT || run->io.data_offset >= p->k->run_size)
        return -EIO;
    return ((const u8 *)run)[run->io.data_offset];
}

static int measure(struct prober *p, struct error *err)
{
    u64 start = now_ns(), spent = 0;
    unsigned rounds = 0;
    for (; rounds < ROUNDS && spent < PATIENCE; rounds++) {
        if (next_report(p) != 4)
            return error_set(err, EIO,
                             "on this host's KVM a tiny guest stopped in long mode (exit reason %u)",
                             p->run->exit_reason);
        spent = now_ns() - start;
    }
    u64 each = spent / ((u64)rounds * ROUND);
    if (each >= SLOW_NS)
        return error_set(err, ENOTSUP,
                         "this host's KVM emulates instead of using hardware (%llu ns an instruction)",
                         (unsigned long long)each / 2);
    return 0;
}

static int run(struct prober *p, bool speed, struct error *err)
{
    static const char *const modes[] = {"real", "protected", "long"};
    int rc = setup(p);
    if (rc < 0)
        return error_set(err, -rc, "this host's KVM cannot set up a tiny guest: %s", strerror(-rc));
    for (unsigned mode = 0; mode < ARRAY_LEN(modes); mode++)
        if (next_report(p) != (int)mode + 1)
            return error_set(err, EIO,
                             "on this host's KVM a tiny guest did not get through %s mode (exit reason %u)",
                             modes[mode], p->run->exit_reason);
    if (!speed)
        return 0;
    return measure(p, err);
}
int kvm_probe_guest(const struct kvm_sys *sys, bool speed, struct error *err)
{
    struct kvm_vm k;
    int rc = kvm_device_open(&k, sys, err);
    if (rc)
        return rc;
    struct prober p = {.k = &k, .cpu = -1};
    p.memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p.memory == MAP_FAILED)
        rc = error_set(err, ENOMEM, "no memory for a probe of KVM");
    else
        rc = run(&p, speed, err);
    if (p.run)
        sys->unmap(sys->opaque, p.run, k.run_size);
    if (p.cpu >= 0)
        sys->close(sys->opaque, p.cpu);
    kvm_device_close(&k);
    if (p.memory != MAP_FAILED)
        munmap(p.memory, MEMORY);
    return rc;
}
