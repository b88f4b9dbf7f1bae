/*
 * A VM without a board for the interpreter's tests: 4 MiB of RAM at 0, up to four vCPUs, code from GUEST
 * blocks. Each program ends with HLT.
 */
#ifndef RING3_TESTS_INTERP_VM_H
#define RING3_TESTS_INTERP_VM_H

#include <pthread.h>
#include <stdlib.h>
#include "cpu/engine.h"
#include "cpu/exc.h"
#include "cpu/mmu.h"

/* The engine under test. */
#ifndef GUEST_ENGINE
#define GUEST_ENGINE interp_engine
#endif

/* Bytes of translated code, 0: the engine's default. */
#ifndef GUEST_CODE_CACHE
#define GUEST_CODE_CACHE 0
#endif

#define GUEST_CPUS_MAX 4
#define GUEST_RAM      MIB(4)
#define GUEST_CODE     0x10000u
#define GUEST_DATA     0x20000u
#define GUEST_STACK    0x30000u
#define GUEST_IDT      0x8000u
#define GUEST_GDT      0x9000u
#define GUEST_PML4     0x100000u

/* GUEST(name, 16|32|64, "assembler text") makes `name` .. `name_end`, the code's bytes. */
#define GUEST(name, bits, text)                                                                              \
    extern const u8 name[], name##_end[];                                                                    \
    __asm__(".pushsection .rodata\n.code" #bits "\n.global " #name "\n" #name ":\n" text "\n.global " #name  \
            "_end\n" #name "_end:\n.code64\n.popsection\n")

struct guest {
    pthread_mutex_t lock;
    struct vclock clock;
    struct vm vm;
    struct ram_block *ram;
    struct mem_region region;
    struct vcpu *cpu[GUEST_CPUS_MAX];
};

static struct guest *guest_create(unsigned cpus)
{
    struct error err = {0};
    struct guest *g = calloc(1, sizeof *g);
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&g->lock, &attr);
    clock_init(&g->clock);
    clock_start(&g->clock);
    mem_space_create(&g->vm.mem, &g->lock, NULL, &err);
    ram_block_create(&g->ram, "ram", GUEST_RAM, &err);
    g->region = (struct mem_region){.name = "ram", .size = GUEST_RAM, .kind = MEM_RAM, .block = g->ram};
    mem_map(g->vm.mem, &g->region);
    g->vm.clock = &g->clock;
    g->vm.machine_lock = &g->lock;
    g->vm.state = state_set_create();
    g->vm.engine = &GUEST_ENGINE;
    cpu_model_init(&g->vm.model, "host", cpus, &err);
    vm_init(&g->vm);
    mem_set_a20(g->vm.mem, true);
    g->vm.cpu_count = cpus;
    g->vm.code_cache = GUEST_CODE_CACHE;
    if (GUEST_ENGINE.vm_init)
        GUEST_ENGINE.vm_init(&g->vm, &err);
    for (unsigned i = 0; i < cpus; i++) {
        vcpu_create(&g->cpu[i], &g->vm, i, &err);
        GUEST_ENGINE.vcpu_init(g->cpu[i], &err);
    }
    if (err.code)
        printf("# %s\n", err.message);
    return g;
}

static void guest_destroy(struct guest *g)
{
    for (unsigned i = 0; i < GUEST_CPUS_MAX; i++) {
        if (!g->cpu[i])
            continue;
        GUEST_ENGINE.vcpu_finish(g->cpu[i]);
        vcpu_destroy(g->cpu[i]);
    }
    if (GUEST_ENGINE.vm_finish)
        GUEST_ENGINE.vm_finish(&g->vm);
    vm_finish(&g->vm);
    mem_unmap(g->vm.mem, &g->region);
    state_set_destroy(g->vm.state);
    mem_space_destroy(g->vm.mem);
    ram_block_destroy(g->ram);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static inline void *guest_ptr(struct guest *g, u64 gpa)
{
    return g->ram->hva + gpa;
}

/* As a device writes: an engine that has translated what was there hears of it. */
static inline void guest_load(struct guest *g, u64 gpa, const u8 *code, const u8 *end)
{
    mem_write_bytes(g->vm.mem, gpa, code, (size_t)(end - code));
}

/* Every vector's handler: the 64-bit or 32-bit gate leads to a HLT of its own, at GUEST_IDT + 1000h + vector.
 */
static void guest_idt(struct guest *g, unsigned bits)
{
    u8 *idt = guest_ptr(g, GUEST_IDT), *halts = guest_ptr(g, 0x7000);
    memset(halts, 0xf4, 256);
    memset(idt, 0, 4096);
    for (unsigned i = 0; i < 32; i++) {
        u64 to = 0x7000 + i;
        if (bits == 64) {
            store_le64(idt + 16 * i, (to & 0xffff) | 8 << 16 | 0x8eull << 40 | (to >> 16 & 0xffff) << 48);
            store_le64(idt + 16 * i + 8, 0);
        } else {
            store_le64(idt + 8 * i, (to & 0xffff) | 8 << 16 | 0x8eull << 40 | (to >> 16 & 0xffff) << 48);
        }
    }
}

static void guest_segment(struct segreg *s, u16 selector, u16 attr)
{
    *s = (struct segreg){.limit = 0xffffffff, .selector = selector, .attr = attr};
}

static void guest_segments(struct guest *g, struct vcpu *v, bool code64)
{
    u8 *gdt = guest_ptr(g, GUEST_GDT);
    store_le64(gdt + 8, code64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull);
    store_le64(gdt + 16, 0x00cf93000000ffffull);
    v->gdtr = (struct dtable){.base = GUEST_GDT, .limit = 0x17};
    v->idtr = (struct dtable){.base = GUEST_IDT, .limit = 0xfff};
    guest_segment(&v->seg[CS], 8,
                  SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED | SEG_G | (code64 ? SEG_L : SEG_DB));
    for (unsigned i = 0; i < SREG_COUNT; i++)
        if (i != CS)
            guest_segment(&v->seg[i], 16, SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G | SEG_DB);
}

static void guest_registers(struct vcpu *v)
{
    memset(v->gpr, 0, sizeof v->gpr);
    v->gpr[RSP] = GUEST_STACK;
    v->rip = GUEST_CODE;
    v->rflags = FLAG_R1;
    v->activity = ACTIVITY_RUNNING;
    v->attention = 0;
    cpu_mode_update(v);
    mmu_flush_all(v);
}

/* 64-bit mode, the first 4 MiB identity-mapped in 4 KiB pages; page_entry changes one. */
static void guest_mode64(struct guest *g, struct vcpu *v)
{
    u8 *pml4 = guest_ptr(g, GUEST_PML4);
    store_le64(pml4, (GUEST_PML4 + 0x1000) | 7);
    store_le64(pml4 + 0x1000, (GUEST_PML4 + 0x2000) | 7);
    store_le64(pml4 + 0x2000, (GUEST_PML4 + 0x3000) | 7);
    store_le64(pml4 + 0x2008, (GUEST_PML4 + 0x4000) | 7);
    for (u64 i = 0; i < 1024; i++)
        store_le64(pml4 + 0x3000 + i * 8, i << 12 | 7);
    guest_idt(g, 64);
    guest_segments(g, v, true);
    v->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    v->cr3 = GUEST_PML4;
    v->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    v->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    guest_registers(v);
}

static inline void guest_page(struct guest *g, struct vcpu *v, u64 lin, u64 entry)
{
    store_le64(guest_ptr(g, GUEST_PML4 + 0x3000 + (lin >> 12) * 8), entry);
    mmu_flush_all(v);
}

static inline void guest_mode32(struct guest *g, struct vcpu *v)
{
    guest_idt(g, 32);
    guest_segments(g, v, false);
    v->cr0 = CR0_PE | CR0_ET | CR0_NE;
    v->cr4 = 0;
    v->efer = 0;
    guest_registers(v);
}

/* Real mode at 1000:0000 (the code's address); the stack is SS = 0. */
static inline void guest_mode16(struct guest *g, struct vcpu *v)
{
    v->cr0 = CR0_ET;
    v->cr4 = 0;
    v->efer = 0;
    v->idtr = (struct dtable){.base = 0, .limit = 0x3ff};
    for (unsigned i = 0; i < SREG_COUNT; i++)
        v->seg[i] = (struct segreg){.limit = 0xffff, .attr = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED};
    v->seg[CS] = (struct segreg){.base = GUEST_CODE,
                                 .selector = GUEST_CODE >> 4,
                                 .limit = 0xffff,
                                 .attr = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED};
    u8 *ivt = guest_ptr(g, 0);
    memset(guest_ptr(g, 0x7000), 0xf4, 256);
    for (unsigned i = 0; i < 32; i++)
        store_le32(ivt + 4 * i, 0x7000 + i);
    guest_registers(v);
    v->rip = 0;
    v->gpr[RSP] = 0xf000;
}

/* Runs until HLT; the exception's vector if it ended in an exception's handler, -1 if in the program, -2 if
 * the CPU shut down. */
static inline int guest_run(struct vcpu *v)
{
    enum vcpu_exit why = GUEST_ENGINE.run(v);
    u64 lin = v->rip + v->seg[CS].base - 1;
    if (why != VCPU_HALTED)
        return -2;
    return lin >= 0x7000 && lin < 0x7100 ? (int)(lin - 0x7000) : -1;
}

#define RUN(g, v, mode, name)                                                                                \
    ({                                                                                                       \
        guest_mode##mode(g, v);                                                                              \
        guest_load(g, GUEST_CODE, name, name##_end);                                                         \
        guest_run(v);                                                                                        \
    })

#endif
