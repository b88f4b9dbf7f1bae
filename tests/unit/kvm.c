/* The KVM engine against a made-up KVM: every failure, every exit, signals at any point, state both ways. */
#include <errno.h>
#include "engine/kvm/kvm_impl.h"

static struct kvm_sys fake_sys;
static int fake_vm_init(struct vm *vm, struct error *err)
{
    return kvm_vm_create(vm, &fake_sys, err);
}

/* The engine's table, with the fake in place of the host's KVM. */
static const struct engine_ops fake_engine = {
    .name = "kvm",
    .vm_init = fake_vm_init,
    .vm_finish = kvm_vm_destroy,
    .vcpu_init = kvm_cpu_create,
    .vcpu_finish = kvm_cpu_destroy,
    .run = kvm_run_vcpu,
    .kick = kvm_kick,
};
#define GUEST_ENGINE fake_engine
#include "tests/tap.h"
#include "tests/unit/interp_vm.h"

enum { FD_DEV = 100, FD_VM, FD_CPU };
#define RUN_SIZE 8192

struct fake {
    int open_code;         /* < 0: open fails */
    int version;           /* of the API */
    long missing;          /* a capability, 0: none */
    unsigned long failing; /* a request; 0: none */
    int code;              /* with which it fails */
    unsigned slots, deleted, runs, completions;
    /* What KVM_RUN does, one after the other. */
    void (*script[8])(struct fake *f);
    unsigned at;
    struct vcpu *kicked; /* by a script */
    struct kvm_run *run;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
    u32 xsave[1024];
    struct kvm_debugregs debug;
    struct kvm_xcrs xcrs;
    u64 tsc;
    u32 injected;
};

static int fake_open(void *opaque)
{
    const struct fake *f = opaque;
    return f->open_code < 0 ? f->open_code : FD_DEV;
}

static int fake_close(void *opaque, int fd)
{
    return 0;
}

static void *fake_map(void *opaque, int fd, size_t size)
{
    struct fake *f = opaque;
    f->run = calloc(1, RUN_SIZE);
    f->run->ready_for_interrupt_injection = f->run->if_flag = 1;
    f->run->apic_base = 0xfee00900;
    return f->run;
}

static void fake_unmap(void *opaque, void *p, size_t size)
{
    free(p);
}

/* Says that everything is there. */
static int supported(struct kvm_cpuid2 *list)
{
    static const u32 leaves[] = {1, 7, 0xd, 0x80000001};
    list->nent = 0;
    for (size_t i = 0; i < ARRAY_LEN(leaves); i++)
        list->entries[list->nent++] =
            (struct kvm_cpuid_entry2){.function = leaves[i], .eax = ~0u, .ebx = ~0u, .ecx = ~0u, .edx = ~0u};
    list->entries[list->nent++] = (struct kvm_cpuid_entry2){
        .function = 0xd, .index = 2, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .eax = 256, .ebx = 576};
    return 0;
}

static int fake_msrs(struct fake *f, bool set, struct kvm_msrs *m)
{
    for (u32 i = 0; i < m->nmsrs; i++) {
        if (m->entries[i].index != 0x10)
            continue;
        if (set)
            f->tsc = m->entries[i].data;
        else
            m->entries[i].data = f->tsc;
    }
    return (int)m->nmsrs;
}

static int fake_run(struct fake *f)
{
    if (__atomic_load_n(&f->run->immediate_exit, __ATOMIC_SEQ_CST)) {
        f->completions++;
        return -EINTR;
    }
    f->runs++;
    if (f->at == ARRAY_LEN(f->script) || !f->script[f->at]) {
        f->run->exit_reason = KVM_EXIT_HLT;
        f->run->if_flag = 1;
        return 0;
    }
    f->run->exit_reason = KVM_EXIT_INTR;
    f->script[f->at++](f);
    return f->run->exit_reason == KVM_EXIT_INTR ? -EINTR : 0;
}

#define MOVE(set, field)                                                                                     \
    do {                                                                                                     \
        if (set)                                                                                             \
            memcpy(&f->field, arg, sizeof f->field);                                                         \
        else                                                                                                 \
            memcpy(arg, &f->field, sizeof f->field);                                                         \
        return 0;                                                                                            \
    } while (0)

static int fake_ioctl(void *opaque, int fd, unsigned long request, void *arg)
{
    struct fake *f = opaque;
    if (f->failing && request == f->failing)
        return -f->code;
    switch (request) {
    case KVM_GET_API_VERSION:
        return f->version;
    case KVM_CHECK_EXTENSION:
        return (long)(intptr_t)arg != f->missing;
    case KVM_GET_VCPU_MMAP_SIZE:
        return RUN_SIZE;
    case KVM_GET_SUPPORTED_CPUID:
        return supported(arg);
    case KVM_CREATE_VM:
        return FD_VM;
    case KVM_CREATE_VCPU:
        return FD_CPU;
    case KVM_SET_USER_MEMORY_REGION:
        f->slots += ((struct kvm_userspace_memory_region *)arg)->memory_size != 0;
        f->deleted += ((struct kvm_userspace_memory_region *)arg)->memory_size == 0;
        return 0;
    case KVM_INTERRUPT:
        f->injected = ((struct kvm_interrupt *)arg)->irq;
        return 0;
    case KVM_RUN:
        return fake_run(f);
    case KVM_SET_REGS:
    case KVM_GET_REGS:
        MOVE(request == KVM_SET_REGS, regs);
    case KVM_SET_SREGS:
    case KVM_GET_SREGS:
        MOVE(request == KVM_SET_SREGS, sregs);
    case KVM_SET_VCPU_EVENTS:
    case KVM_GET_VCPU_EVENTS:
        MOVE(request == KVM_SET_VCPU_EVENTS, events);
    case KVM_SET_XSAVE:
    case KVM_GET_XSAVE:
        MOVE(request == KVM_SET_XSAVE, xsave);
    case KVM_SET_DEBUGREGS:
    case KVM_GET_DEBUGREGS:
        MOVE(request == KVM_SET_DEBUGREGS, debug);
    case KVM_SET_XCRS:
    case KVM_GET_XCRS:
        MOVE(request == KVM_SET_XCRS, xcrs);
    case KVM_SET_MSRS:
    case KVM_GET_MSRS:
        return fake_msrs(f, request == KVM_SET_MSRS, arg);
    default:
        return 0;
    }
}

static void fake_init(struct fake *f)
{
    *f = (struct fake){.version = 12};
    fake_sys = (struct kvm_sys){fake_open, fake_close, fake_ioctl, fake_map, fake_unmap, f};
}

/* --- what can be wrong with /dev/kvm --- */

static void expect_refusal(struct fake *f, int code, const char *word)
{
    struct vm vm = {0};
    struct error err = {0};
    CHECK_EQ(kvm_vm_create(&vm, &fake_sys, &err), -code);
    if (!strstr(err.message, word))
        printf("# the message is: %s\n", err.message);
    CHECK(strstr(err.message, word) != NULL);
    CHECK(vm.engine_vm == NULL);
}

static void test_refusals(void)
{
    struct fake f;
    fake_init(&f);
    f.open_code = -ENOENT;
    expect_refusal(&f, ENOENT, "there is no /dev/kvm");
    f.open_code = -EACCES;
    expect_refusal(&f, EACCES, "group");
    f.open_code = -EMFILE;
    expect_refusal(&f, EMFILE, "cannot be opened");
    fake_init(&f);
    f.version = 11;
    expect_refusal(&f, ENOTSUP, "API version 11");
    fake_init(&f);
    f.missing = KVM_CAP_IMMEDIATE_EXIT;
    expect_refusal(&f, ENOTSUP, "immediate exits");
    static const unsigned long requests[] = {KVM_GET_SUPPORTED_CPUID, KVM_CREATE_VM, KVM_SET_TSS_ADDR,
                                             KVM_SET_IDENTITY_MAP_ADDR};
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        fake_init(&f);
        f.failing = requests[i];
        f.code = EBUSY;
        expect_refusal(&f, EBUSY, "KVM");
    }
}

/* --- the run loop --- */

static struct guest *start(struct fake *f)
{
    struct guest *g = guest_create(1);
    guest_mode64(g, g->cpu[0]);
    return g;
}

static u64 port_value, port_last, mmio_last;

static u64 port_in(void *dev, u64 offset, unsigned size)
{
    return port_value++;
}

static void port_out(void *dev, u64 offset, unsigned size, u64 value)
{
    port_last = value;
}

static void mmio_out(void *dev, u64 offset, unsigned size, u64 value)
{
    mmio_last = offset << 32 | value;
}

static const struct io_ops port_ops = {.read = port_in, .write = port_out};
static const struct io_ops mmio_ops = {.write = mmio_out};

static void exit_io(struct fake *f, unsigned direction, unsigned size, unsigned count)
{
    f->run->exit_reason = KVM_EXIT_IO;
    f->run->io.direction = (u8)direction;
    f->run->io.size = (u8)size;
    f->run->io.port = 0x70;
    f->run->io.count = count;
    f->run->io.data_offset = 4096;
}

static void script_in(struct fake *f)
{
    exit_io(f, KVM_EXIT_IO_IN, 2, 3);
}

static void script_out(struct fake *f)
{
    const u8 *data = (const u8 *)f->run + 4096;
    CHECK_EQ(load_le64(data), 0x000700060005);
    exit_io(f, KVM_EXIT_IO_OUT, 1, 2);
    ((u8 *)f->run)[4097] = 0x5a;
}

static void script_wild_io(struct fake *f)
{
    exit_io(f, KVM_EXIT_IO_OUT, 4, 0x10000000);
}

static void script_mmio(struct fake *f)
{
    f->run->exit_reason = KVM_EXIT_MMIO;
    f->run->mmio.phys_addr = 0xe0000010;
    f->run->mmio.len = 4;
    f->run->mmio.is_write = 1;
    store_le32(f->run->mmio.data, 0x1234);
}

static void test_io(void)
{
    struct fake f;
    fake_init(&f);
    struct guest *g = start(&f);
    struct port_region port = {.name = "t", .base = 0x70, .count = 8, .ops = &port_ops};
    struct mem_region mmio = {
        .name = "t", .gpa = 0xe0000000, .size = 0x1000, .kind = MEM_IO, .ops = &mmio_ops};
    port_map(g->vm.mem, &port);
    mem_map(g->vm.mem, &mmio);
    port_value = 5;
    f.script[0] = script_in;
    f.script[1] = script_out;
    f.script[2] = script_wild_io;
    f.script[3] = script_mmio;
    CHECK_EQ(kvm_run_vcpu(g->cpu[0]), VCPU_HALTED);
    CHECK_EQ(f.runs, 5);
    CHECK_EQ(f.slots, 1);
    CHECK_EQ(port_last, 0x5a);
    CHECK_EQ(mmio_last, 0x1000001234);
    CHECK_EQ(g->cpu[0]->activity, ACTIVITY_HALTED);
    CHECK(g->cpu[0]->rflags & FLAG_IF);
    guest_destroy(g);
}

static void script_fail_entry(struct fake *f)
{
    f->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
    f->run->fail_entry.hardware_entry_failure_reason = 0x80000021;
    f->regs.rip = 0x4321;
}

static void script_internal(struct fake *f)
{
    f->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
    f->run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    f->regs.rip = 0x4321;
}

static void script_unknown(struct fake *f)
{
    f->run->exit_reason = 9999;
    f->regs.rip = 0x4321;
}

static void script_shutdown(struct fake *f)
{
    f->run->exit_reason = KVM_EXIT_SHUTDOWN;
    f->regs.rip = 0x4321;
}

/* Each ends, once, with the registers at hand. */
static void test_failures(void)
{
    static void (*const scripts[])(struct fake *) = {script_fail_entry, script_internal, script_unknown,
                                                     script_shutdown};
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct fake f;
        fake_init(&f);
        struct guest *g = start(&f);
        f.script[0] = scripts[i];
        enum vcpu_exit want = scripts[i] == script_shutdown ? VCPU_SHUTDOWN : VCPU_FAILED;
        CHECK_EQ(kvm_run_vcpu(g->cpu[0]), want);
        CHECK_EQ(g->cpu[0]->rip, 0x4321);
        CHECK_EQ(kvm_run_vcpu(g->cpu[0]), VCPU_SHUTDOWN);
        CHECK_EQ(f.runs, 1);
        guest_destroy(g);
    }
}

/* Refused on the way in: no entry, a failure. */
static void test_refused_state(void)
{
    static const unsigned long requests[] = {
        KVM_SET_REGS,   KVM_SET_SREGS,       KVM_SET_XSAVE, KVM_SET_DEBUGREGS,
        KVM_SET_CPUID2, KVM_SET_VCPU_EVENTS, KVM_SET_MSRS,  KVM_SET_USER_MEMORY_REGION};
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct fake f;
        fake_init(&f);
        struct guest *g = start(&f);
        f.failing = requests[i];
        f.code = EINVAL;
        CHECK_EQ(kvm_run_vcpu(g->cpu[0]), VCPU_FAILED);
        CHECK_EQ(f.runs, 0);
        guest_destroy(g);
    }
    struct fake f;
    fake_init(&f);
    struct guest *g = start(&f);
    f.failing = KVM_RUN;
    f.code = EFAULT;
    CHECK_EQ(kvm_run_vcpu(g->cpu[0]), VCPU_FAILED);
    guest_destroy(g);
}

/* --- kicks and interrupts --- */

static void script_kick(struct fake *f)
{
    vcpu_post(f->kicked, EVENT_KICK);
}

static void script_kick_in_io(struct fake *f)
{
    script_in(f);
    vcpu_post(f->kicked, EVENT_KICK);
}

static void test_kicks(void)
{
    struct fake f;
    fake_init(&f);
    struct guest *g = start(&f);
    f.kicked = g->cpu[0];
    vcpu_post(g->cpu[0], EVENT_KICK);
    CHECK_EQ(kvm_run_vcpu(g->cpu[0]), VCPU_KICKED);
    CHECK_EQ(f.runs, 0);
    f.script[0] = script_kick;
    f.script[1] = script_kick_in_io;
    CHECK_EQ(kvm_run_vcpu(g->cpu[0]), VCPU_KICKED);
    CHECK_EQ(f.runs, 1);
    CHECK_EQ(kvm_run_vcpu(g->cpu[0]), VCPU_KICKED);
    CHECK_EQ(f.completions, 0);
    /* The IN is only half done: its registers are right once KVM has been in again. */
    CHECK(kvm_pull(g->cpu[0]));
    CHECK_EQ(f.completions, 1);
    CHECK_EQ(kvm_run_vcpu(g->cpu[0]), VCPU_HALTED);
    guest_destroy(g);
}

static int apic_vector;
static int apic_ack(void *apic)
{
    int vector = apic_vector;
    apic_vector = -1;
    vcpu_clear(apic, EVENT_INTR);
    return vector;
}
static bool apic_msr_read(void *apic, u32 msr, u64 *value)
{
    *value = 0xfee00900;
    return msr == 0x1b;
}
static bool apic_msr_write(void *apic, u32 msr, u64 value)
{
    return true;
}
static u64 apic_page(void *apic)
{
    return 0xfee00000;
}
static u8 apic_cr8_read(void *apic)
{
    return 0;
}
static const struct apic_ops apic_ops = {.ack = apic_ack,
                                         .msr_read = apic_msr_read,
                                         .msr_write = apic_msr_write,
                                         .page = apic_page,
                                         .cr8_read = apic_cr8_read};

static void script_closed(struct fake *f)
{
    f->run->exit_reason = KVM_EXIT_SET_TPR;
    f->run->if_flag = 0;
    f->run->ready_for_interrupt_injection = 0;
    apic_vector = 0x31;
    vcpu_post(f->kicked, EVENT_INTR);
}

static void script_window(struct fake *f)
{
    CHECK_EQ(f->run->request_interrupt_window, 1);
    CHECK_EQ(f->injected, 0);
    f->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
    f->run->if_flag = f->run->ready_for_interrupt_injection = 1;
}

static void test_interrupts(void)
{
    struct fake f;
    fake_init(&f);
    struct guest *g = start(&f);
    f.kicked = g->cpu[0];
    vcpu_connect_apic(g->cpu[0], &apic_ops, g->cpu[0]);
    apic_vector = -1;
    f.script[0] = script_closed;
    f.script[1] = script_window;
    CHECK_EQ(kvm_run_vcpu(g->cpu[0]), VCPU_HALTED);
    CHECK_EQ(f.injected, 0x31);
    CHECK_EQ(f.runs, 3);
    guest_destroy(g);
}

/* --- state --- */

static void test_state(void)
{
    struct fake f;
    fake_init(&f);
    struct guest *g = start(&f);
    struct vcpu *v = g->cpu[0];
    struct kvm_cpu *c = v->engine;
    for (unsigned i = 0; i < 16; i++)
        v->gpr[i] = 0x1111 * i;
    for (unsigned i = 0; i < 16; i++)
        memset(v->fpu.zmm[i], (int)i + 1, 32);
    v->fpu.st[2][3] = 0x77;
    v->fpu.ftw = 4;
    v->fpu.mxcsr = 0x1fa0;
    v->fpu.xinuse = 7;
    v->seg[FS].base = 0x123456789000;
    v->seg[DS].attr |= SEG_UNUSABLE;
    v->cr2 = 0x5000;
    v->nmi_blocked = true;
    v->attention = ATTN_SHADOW_STI;
    v->dr[1] = 0x1000;
    struct vcpu before = *v;
    CHECK(kvm_push(v));
    CHECK_EQ(f.regs.r11, 0x1111 * 11);
    CHECK_EQ(f.sregs.fs.base, 0x123456789000);
    CHECK_EQ(f.sregs.ds.unusable, 1);
    CHECK_EQ(f.events.interrupt.shadow, KVM_X86_SHADOW_INT_STI);
    CHECK(!c->stale);
    memset(v->gpr, 0, sizeof v->gpr);
    memset(&v->fpu, 0, sizeof v->fpu);
    memset(v->seg, 0, sizeof v->seg);
    v->cr2 = v->dr[1] = 0;
    v->nmi_blocked = false;
    CHECK(kvm_pull(v));
    CHECK(memcmp(v->gpr, before.gpr, sizeof v->gpr) == 0);
    CHECK(memcmp(v->fpu.zmm, before.fpu.zmm, sizeof v->fpu.zmm) == 0);
    CHECK(memcmp(v->fpu.st, before.fpu.st, sizeof v->fpu.st) == 0);
    CHECK_EQ(v->fpu.mxcsr, 0x1fa0);
    CHECK_EQ(v->fpu.ftw, 4);
    CHECK_EQ(v->seg[FS].base, 0x123456789000);
    CHECK(v->seg[DS].attr & SEG_UNUSABLE);
    CHECK_EQ(v->cr2, 0x5000);
    CHECK_EQ(v->dr[1], 0x1000);
    CHECK(v->nmi_blocked);
    CHECK(v->attention & ATTN_SHADOW_STI);
    CHECK(c->stale);
    guest_destroy(g);
}

int main(void)
{
    TAP_RUN(test_refusals);
    TAP_RUN(test_io);
    TAP_RUN(test_failures);
    TAP_RUN(test_refused_state);
    TAP_RUN(test_kicks);
    TAP_RUN(test_interrupts);
    TAP_RUN(test_state);
    return tap_done();
}
