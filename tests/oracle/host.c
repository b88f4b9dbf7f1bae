/* Running a sequence on the host: all registers loaded, all registers captured, faults by signal. */
#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include "base/bytes.h"
#include "tests/oracle/oracle.h"

#define AREA_SIZE    4096
#define EXIT_POINTER 0xc00 /* in the code page */

/* Shared with the assembly below by offset. */
struct frame {
    u64 gpr[16];           /* 0 */
    u64 rflags;            /* 128 */
    u64 host_rsp;          /* 136 */
    u64 target;            /* 144: where the last jump of the entry goes */
    u64 far_offset;        /* 152: m16:32 of 32-bit code */
    u64 rfbm;              /* 160 */
    u64 host_fs, guest_fs; /* 168, 176 */
    u64 out_rflags;        /* 184 */
    u64 out_gpr[16];       /* 192 */
    u64 running;           /* 320 */
    u64 pad[7];
    u8 area[AREA_SIZE];     /* 384 */
    u8 out_area[AREA_SIZE]; /* 4480 */
};
_Static_assert(offsetof(struct frame, area) == 384, "assembly offsets");
_Static_assert(offsetof(struct frame, out_area) == 4480, "assembly offsets");

struct frame oracle_frame __attribute__((aligned(64), visibility("hidden")));
void *oracle_chain __attribute__((visibility("hidden")));

void oracle_enter(void);
extern const u8 oracle_jump64[], oracle_jump32[], oracle_exit[], oracle_fault_exit[];
void oracle_signal(int signo, siginfo_t *info, void *context);
void oracle_signal_c(int signo, siginfo_t *info, void *context);

__asm__(".text\n"
        ".globl oracle_enter, oracle_exit, oracle_fault_exit, oracle_jump32, oracle_jump64, oracle_signal\n"
        "oracle_enter:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "  mov %rsp, 136+oracle_frame(%rip)\n"
        "  mov 160+oracle_frame(%rip), %eax\n"
        "  xor %edx, %edx\n"
        "  lea 384+oracle_frame(%rip), %rcx\n"
        "  xrstor64 (%rcx)\n"
        "  movb $1, 320+oracle_frame(%rip)\n"
        "  mov 176+oracle_frame(%rip), %rax\n"
        "  wrfsbase %rax\n"
        "  push 128+oracle_frame(%rip)\n"
        "  popfq\n"
        "  mov 0+oracle_frame(%rip), %rax\n"
        "  mov 8+oracle_frame(%rip), %rcx\n"
        "  mov 16+oracle_frame(%rip), %rdx\n"
        "  mov 24+oracle_frame(%rip), %rbx\n"
        "  mov 32+oracle_frame(%rip), %rsp\n"
        "  mov 40+oracle_frame(%rip), %rbp\n"
        "  mov 48+oracle_frame(%rip), %rsi\n"
        "  mov 56+oracle_frame(%rip), %rdi\n"
        "  mov 64+oracle_frame(%rip), %r8\n"
        "  mov 72+oracle_frame(%rip), %r9\n"
        "  mov 80+oracle_frame(%rip), %r10\n"
        "  mov 88+oracle_frame(%rip), %r11\n"
        "  mov 96+oracle_frame(%rip), %r12\n"
        "  mov 104+oracle_frame(%rip), %r13\n"
        "  mov 112+oracle_frame(%rip), %r14\n"
        "  mov 120+oracle_frame(%rip), %r15\n"
        "  jmp *144+oracle_frame(%rip)\n"
        "oracle_jump32:\n"
        "  ljmp *152+oracle_frame(%rip)\n"
        "oracle_exit:\n"
        "  mov %rax, 192+oracle_frame(%rip)\n"
        "  mov %rcx, 200+oracle_frame(%rip)\n"
        "  mov %rdx, 208+oracle_frame(%rip)\n"
        "  mov %rbx, 216+oracle_frame(%rip)\n"
        "  mov %rsp, 224+oracle_frame(%rip)\n"
        "  mov %rbp, 232+oracle_frame(%rip)\n"
        "  mov %rsi, 240+oracle_frame(%rip)\n"
        "  mov %rdi, 248+oracle_frame(%rip)\n"
        "  mov %r8, 256+oracle_frame(%rip)\n"
        "  mov %r9, 264+oracle_frame(%rip)\n"
        "  mov %r10, 272+oracle_frame(%rip)\n"
        "  mov %r11, 280+oracle_frame(%rip)\n"
        "  mov %r12, 288+oracle_frame(%rip)\n"
        "  mov %r13, 296+oracle_frame(%rip)\n"
        "  mov %r14, 304+oracle_frame(%rip)\n"
        "  mov %r15, 312+oracle_frame(%rip)\n"
        "  mov 136+oracle_frame(%rip), %rsp\n"
        "  pushfq\n"
        "  pop %rax\n"
        "  mov %rax, 184+oracle_frame(%rip)\n"
        "  push $0x202\n"
        "  popfq\n"
        "  mov 168+oracle_frame(%rip), %rax\n"
        "  wrfsbase %rax\n"
        "  mov 160+oracle_frame(%rip), %eax\n"
        "  xor %edx, %edx\n"
        "  lea 4480+oracle_frame(%rip), %rcx\n"
        "  xsave64 (%rcx)\n"
        "oracle_fault_exit:\n"
        "  movb $0, 320+oracle_frame(%rip)\n"
        "  fninit\n"
        "  push $0x1f80\n"
        "  ldmxcsr (%rsp)\n"
        "  pop %rax\n"
        "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  ret\n"
        /* The handler must not touch thread-local storage, or be caught by the sequence's AC, before this. */
        "oracle_signal:\n"
        "  cmpb $0, 320+oracle_frame(%rip)\n"
        "  jne 1f\n"
        "  jmp *oracle_chain(%rip)\n"
        "1: pushfq\n"
        "  andq $~0x40000, (%rsp)\n"
        "  popfq\n"
        "  mov 168+oracle_frame(%rip), %rax\n"
        "  wrfsbase %rax\n"
        "  jmp oracle_signal_c\n");

static const int signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGTRAP};

static struct {
    unsigned offset[10]; /* of XSAVE components */
    unsigned area_size;
    u8 *data, *far, *code32, *code64;
    u8 fault;
    u32 error;
    u64 cr2, rip;
} host;

void oracle_signal_c(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < 16; i++)
        oracle_frame.out_gpr[i] = (u64)g[order[i]];
    oracle_frame.out_rflags = (u64)g[REG_EFL];
    host.rip = (u64)g[REG_RIP];
    host.fault = (u8)g[REG_TRAPNO];
    host.error = (u32)g[REG_ERR];
    host.cr2 = (u64)g[REG_CR2];
    memcpy(oracle_frame.out_area, uc->uc_mcontext.fpregs, host.area_size);
    g[REG_RIP] = (greg_t)(uintptr_t)oracle_fault_exit;
    g[REG_RSP] = (greg_t)oracle_frame.host_rsp;
    g[REG_EFL] = 0x202;
    g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | 0x33;
}

static u8 *map_at(u64 base, size_t size, int prot)
{
    void *p = mmap((void *)base, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE,
                   -1, 0);
    return p == (void *)base ? p : NULL;
}

static int map_memory(void)
{
    host.data = map_at(DATA_BASE, DATA_SIZE, PROT_READ | PROT_WRITE);
    u8 *readonly = map_at(RODATA_BASE, PAGE_SIZE, PROT_READ | PROT_WRITE);
    host.code32 = map_at(CODE32_BASE, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
    host.code64 = map_at(CODE64_BASE, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
    host.far = map_at(FAR_BASE, PAGE_SIZE, PROT_READ | PROT_WRITE);
    if (!host.data || !readonly || !host.code32 || !host.code64 || !host.far) {
        fprintf(stderr, "oracle: the fixed addresses are not free: %s\n", strerror(errno));
        return -1;
    }
    memset(readonly, 0x5a, PAGE_SIZE);
    return mprotect(readonly, PAGE_SIZE, PROT_READ);
}

static int install_signals(void)
{
    static u8 stack[65536] __attribute__((aligned(64)));
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction sa = {.sa_sigaction = oracle_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK}, old;
    if (sigaltstack(&alt, NULL) < 0)
        return -1;
    /* The engine's handler (installed before: SIGFPE and others) gets what happens outside a run. */
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        if (sigaction(signals[i], &sa, &old) < 0)
            return -1;
        if (signals[i] == SIGFPE)
            oracle_chain = (void *)old.sa_sigaction;
    }
    return 0;
}

u64 host_xcr0(void)
{
    return oracle_frame.rfbm;
}

int host_init(void)
{
    if (!(getauxval(AT_HWCAP2) & 2)) {
        printf("# skipped: this host does not let programs write FS.base (FSGSBASE)\n0 passed, 0 failed\n");
        exit(0);
    }
    u32 lo, hi, eax, ebx, ecx, edx;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    oracle_frame.rfbm = lo & 0xe7;
    for (unsigned i = 2; i < 10; i++) {
        __cpuid_count(0xd, i, eax, ebx, ecx, edx);
        host.offset[i] = ebx;
    }
    __cpuid_count(0xd, 0, eax, ebx, ecx, edx);
    host.area_size = MIN(ebx, (u32)AREA_SIZE);
    __asm__ volatile("rdfsbase %0" : "=r"(oracle_frame.host_fs));
    /* 32-bit code has flat data segments; 64-bit code does not care. */
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0x2b));
    if (map_memory() < 0)
        return -1;
    return install_signals();
}

static void area_build(const struct vector_state *vs, u8 *area)
{
    u64 rfbm = oracle_frame.rfbm;
    memset(area, 0, 576);
    store_le16(area, vs->fcw);
    store_le16(area + 2, vs->fsw);
    area[4] = vs->ftw;
    store_le16(area + 6, vs->fop);
    store_le64(area + 8, vs->fip);
    store_le64(area + 16, vs->fdp);
    store_le32(area + 24, vs->mxcsr);
    memcpy(area + 32, vs->st, 128);
    store_le64(area + 512, rfbm);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(area + 160 + 16 * i, vs->zmm[i], 16);
        if (rfbm & 4)
            memcpy(area + host.offset[2] + 16 * i, vs->zmm[i] + 16, 16);
        if (rfbm & 0x40) {
            memcpy(area + host.offset[6] + 32 * i, vs->zmm[i] + 32, 32);
            memcpy(area + host.offset[7] + 64 * i, vs->zmm[16 + i], 64);
        }
    }
    if (rfbm & 0x20)
        memcpy(area + host.offset[5], vs->k, 64);
}

/* A component that is not in XSTATE_BV (signal frames) is in its initial state. */
static void area_take(struct vector_state *vs, const u8 *area)
{
    u64 bv = load_le64(area + 512);
    memset(vs, 0, sizeof *vs);
    vs->fcw = bv & 1 ? load_le16(area) : 0x37f;
    vs->mxcsr = load_le32(area + 24);
    if (bv & 1) {
        vs->fsw = load_le16(area + 2);
        vs->ftw = area[4];
        vs->fop = load_le16(area + 6);
        vs->fip = load_le64(area + 8);
        vs->fdp = load_le64(area + 16);
        memcpy(vs->st, area + 32, 128);
    }
    for (unsigned i = 0; i < 16; i++) {
        if (bv & 2)
            memcpy(vs->zmm[i], area + 160 + 16 * i, 16);
        if (bv & 4)
            memcpy(vs->zmm[i] + 16, area + host.offset[2] + 16 * i, 16);
        if (bv & 0x40)
            memcpy(vs->zmm[i] + 32, area + host.offset[6] + 32 * i, 32);
        if (bv & 0x80)
            memcpy(vs->zmm[16 + i], area + host.offset[7] + 64 * i, 64);
    }
    if (bv & 0x20)
        memcpy(vs->k, area + host.offset[5], 64);
}

/* After the sequence: jmp *[rip] to oracle_exit, from 32-bit code by way of a far jump. */
static void write_code(const struct sequence *s, unsigned count)
{
    unsigned len = s->start[count];
    u8 *code = s->code32 ? host.code32 : host.code64, *p = code + len;
    memcpy(code, s->code, len);
    if (s->code32) {
        *p++ = 0xea;
        store_le32(p, (u32)CODE32_BASE + 0x800);
        store_le16(p + 4, 0x33);
        p = code + 0x800;
    }
    memcpy(p, "\xff\x25", 2);
    store_le32(p + 2, (u32)(code + EXIT_POINTER - (p + 6)));
    store_le64(code + EXIT_POINTER, (u64)(uintptr_t)oracle_exit); /* aligned: AC may be set */
}

void host_run(const struct generator *g, const struct sequence *s, unsigned count, struct outcome *out)
{
    struct frame *f = &oracle_frame;
    memcpy(host.data, g->pool + s->pool, DATA_SIZE);
    if (s->has_area)
        memset(host.data + AREA_OFFSET + 512, 0, 64);
    memcpy(host.far, g->pool + s->pool + DATA_SIZE, PAGE_SIZE);
    write_code(s, count);
    memcpy(f->gpr, s->initial.gpr, sizeof f->gpr);
    f->rflags = s->initial.rflags | FLAG_IF;
    f->guest_fs = s->initial.fs_base;
    f->target = (u64)(uintptr_t)(s->code32 ? oracle_jump32 : (const u8 *)CODE64_BASE);
    f->far_offset = CODE32_BASE | 0x23ull << 32;
    area_build(&s->initial.vector, f->area);
    host.fault = NO_FAULT;
    host.error = 0;
    host.cr2 = 0;
    host.rip = sequence_base(s) + s->start[count];
    oracle_enter();
    memcpy(out->state.gpr, f->out_gpr, sizeof f->out_gpr);
    out->state.rflags = f->out_rflags;
    out->state.rip = host.rip;
    out->fault = host.fault;
    out->error = host.error;
    out->cr2 = host.cr2;
    area_take(&out->state.vector, f->out_area);
    out->data = host.data;
    out->far = host.far;
}
