/* A VM with one vCPU, 64 MiB of RAM, no devices and no engine, for tests of the CPU core; and guest data
 * builders. */
#ifndef RING3_TESTS_CPU_VM_H
#define RING3_TESTS_CPU_VM_H

#include <stdlib.h>
#include "cpu/ctrl.h"
#include "cpu/desc.h"
#include "cpu/exc.h"
#include "cpu/flow.h"
#include "cpu/mmu.h"
#include "cpu/msr.h"
#include "cpu/seg.h"
#include "tests/tap.h"

#define RAM_SIZE MIB(64)

struct cpu_vm {
    struct vm vm;
    struct vcpu *v;
    struct ram_block *ram;
    struct mem_region region;
    pthread_mutex_t lock;
    struct vclock clock;
    struct state_set *state;
};

static inline void cpu_vm_create(struct cpu_vm *t, const char *model, unsigned cpus)
{
    struct error err = {0};
    pthread_mutexattr_t attr;
    *t = (struct cpu_vm){.vm = {.machine_lock = &t->lock, .clock = &t->clock}};
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&t->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    clock_init(&t->clock);
    t->vm.state = t->state = state_set_create();
    int rc = mem_space_create(&t->vm.mem, &t->lock, NULL, &err);
    rc = rc ? rc : ram_block_create(&t->ram, "ram", RAM_SIZE, &err);
    rc = rc ? rc : cpu_model_init(&t->vm.model, model, cpus, &err);
    rc = rc ? rc : vm_init(&t->vm);
    if (!rc) {
        t->region = (struct mem_region){.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .block = t->ram};
        mem_map(t->vm.mem, &t->region);
    }
    for (unsigned i = 0; !rc && i < cpus; i++)
        rc = vcpu_create(&t->v, &t->vm, i, &err);
    if (rc) {
        printf("Bail out! %s\n", err.message);
        exit(1);
    }
    t->v = t->vm.cpu[0];
}

static inline void cpu_vm_destroy(struct cpu_vm *t)
{
    for (unsigned i = 0; i < VM_MAX_CPUS; i++)
        vcpu_destroy(t->vm.cpu[i]);
    state_set_destroy(t->state);
    vm_finish(&t->vm);
    mem_space_destroy(t->vm.mem);
    ram_block_destroy(t->ram);
    pthread_mutex_destroy(&t->lock);
}

/* Runs `stmt`; the vector that it raised, or -1. v->exc has the details. */
#define RAISED(v, stmt)                                                                                      \
    ({                                                                                                       \
        jmp_buf env_;                                                                                        \
        volatile int vector_ = -1;                                                                           \
        (v)->unwind = &env_;                                                                                 \
        if (setjmp(env_) == 0) {                                                                             \
            stmt;                                                                                            \
        } else {                                                                                             \
            vector_ = (v)->exc.vector;                                                                       \
        }                                                                                                    \
        (v)->unwind = NULL;                                                                                  \
        vector_;                                                                                             \
    })

#define CHECK_RAISES(v, stmt, vector, code)                                                                  \
    do {                                                                                                     \
        CHECK_EQ((unsigned)RAISED(v, stmt), (vector));                                                       \
        CHECK_EQ((v)->exc.error, (code));                                                                    \
    } while (0)
#define CHECK_OK(v, stmt) CHECK_EQ((unsigned)RAISED(v, stmt), ~0u)

static inline void put(struct cpu_vm *t, u64 gpa, unsigned size, u64 value)
{
    store_le(t->ram->hva + gpa, size, value);
}

static inline u64 get(struct cpu_vm *t, u64 gpa, unsigned size)
{
    return load_le(t->ram->hva + gpa, size);
}

/* A descriptor: attr as in enum seg_attr (bits 7:0 byte 5, 11:8 flags); limit in bytes or pages as it stands.
 */
static inline u64 descriptor(u32 base, u32 limit, u32 attr)
{
    return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xff) << 40 |
           (u64)(limit >> 16 & 15) << 48 | (u64)(attr >> 8 & 15) << 52 | (u64)(base >> 24) << 56;
}

static inline u64 gate_descriptor(u16 selector, u32 offset, unsigned type, unsigned dpl, unsigned count)
{
    return (offset & 0xffff) | (u64)selector << 16 | (u64)count << 32 | (u64)(0x80 | dpl << 5 | type) << 40 |
           (u64)(offset >> 16) << 48;
}

enum { ATTR_CODE = 0x9b, ATTR_DATA = 0x93, ATTR_BIG = SEG_G | SEG_DB };

/* Where the builders put things. */
enum {
    GDT_AT = 0x10000,
    IDT_AT = 0x11000,
    TSS_AT = 0x12000,
    TSS2_AT = 0x13000,
    LDT_AT = 0x14000,
    STACK0 = 0x20000,
    STACK3 = 0x30000,
    PT_AT = 0x100000
};

/* Selectors of the flat GDT. */
enum {
    SEL_CODE0 = 0x08,
    SEL_DATA0 = 0x10,
    SEL_CODE3 = 0x1b,
    SEL_DATA3 = 0x23,
    SEL_TSS = 0x28,
    SEL_TSS_HIGH = 0x30,
    SEL_CODE64 = 0x38,
    SEL_CODE64_3 = 0x43,
    SEL_FREE = 0x48
};

static inline void gdt_set(struct cpu_vm *t, u16 selector, u64 value)
{
    put(t, GDT_AT + (selector & ~7u), 8, value);
}

static inline void idt_set(struct cpu_vm *t, unsigned vector, u64 value)
{
    put(t, IDT_AT + vector * 8, 8, value);
}

/* A segment register loaded by hand. */
static inline void seg_set(struct vcpu *v, unsigned n, u16 selector, u64 base, u32 limit, u16 attr)
{
    v->seg[n] = (struct segreg){base, limit, selector, attr};
}

static inline void flat_gdt(struct cpu_vm *t)
{
    gdt_set(t, SEL_CODE0, descriptor(0, 0xfffff, ATTR_CODE | ATTR_BIG));
    gdt_set(t, SEL_DATA0, descriptor(0, 0xfffff, ATTR_DATA | ATTR_BIG));
    gdt_set(t, SEL_CODE3, descriptor(0, 0xfffff, ATTR_CODE | ATTR_BIG | SEG_DPL));
    gdt_set(t, SEL_DATA3, descriptor(0, 0xfffff, ATTR_DATA | ATTR_BIG | SEG_DPL));
    gdt_set(t, SEL_CODE64, descriptor(0, 0xfffff, ATTR_CODE | SEG_G | SEG_L));
    gdt_set(t, SEL_CODE64_3, descriptor(0, 0xfffff, ATTR_CODE | SEG_G | SEG_L | SEG_DPL));
    gdt_set(t, SEL_TSS, descriptor(TSS_AT, 0x1fff, SEG_P | TYPE_TSS32_BUSY));
    gdt_set(t, SEL_TSS_HIGH, 0);
    t->v->gdtr = (struct dtable){GDT_AT, 0xfff};
    t->v->idtr = (struct dtable){IDT_AT, 0xfff};
    t->v->tr = (struct segreg){TSS_AT, 0x1fff, SEL_TSS, SEG_P | TYPE_TSS32_BUSY};
    t->v->ldtr = (struct segreg){.attr = SEG_UNUSABLE};
}

/* Flat 32-bit protected mode, no paging, at `cpl`. */
static inline void enter_protected(struct cpu_vm *t, unsigned cpl)
{
    struct vcpu *v = t->v;
    flat_gdt(t);
    v->cr0 = CR0_PE | CR0_ET | CR0_NE;
    u16 dpl = (u16)(cpl << 5), sel = cpl ? SEL_DATA3 : SEL_DATA0;
    for (unsigned i = 0; i < SREG_COUNT; i++)
        seg_set(v, i, sel, 0, 0xffffffff, ATTR_DATA | ATTR_BIG | dpl);
    seg_set(v, CS, cpl ? SEL_CODE3 : SEL_CODE0, 0, 0xffffffff, ATTR_CODE | ATTR_BIG | dpl);
    v->gpr[RSP] = cpl ? STACK3 : STACK0;
    v->rip = 0x1000;
    put(t, TSS_AT + 4, 4, STACK0);
    put(t, TSS_AT + 8, 4, SEL_DATA0);
    cpu_mode_update(v);
    mmu_flush_all(v);
}

/* 4-level tables at PT_AT: identity for the first GiB with 2 MiB pages, but 4 KiB pages for the first 2 MiB,
 * all present, writable, user. */
enum { PML4_AT = PT_AT, PDPT_AT = PT_AT + 0x1000, PD_AT = PT_AT + 0x2000, PTAB_AT = PT_AT + 0x3000 };

static inline void identity_tables(struct cpu_vm *t)
{
    put(t, PML4_AT, 8, PDPT_AT | 7);
    put(t, PDPT_AT, 8, PD_AT | 7);
    put(t, PD_AT, 8, PTAB_AT | 7);
    for (u64 i = 1; i < 512; i++)
        put(t, PD_AT + i * 8, 8, i << 21 | 0x87);
    for (u64 i = 0; i < 512; i++)
        put(t, PTAB_AT + i * 8, 8, i << 12 | 7);
}

static inline void enter_long(struct cpu_vm *t, unsigned cpl)
{
    struct vcpu *v = t->v;
    enter_protected(t, cpl);
    identity_tables(t);
    v->cr0 |= CR0_PG | CR0_WP;
    v->cr4 = CR4_PAE;
    v->cr3 = PML4_AT;
    v->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
    u16 dpl = (u16)(cpl << 5);
    seg_set(v, CS, cpl ? SEL_CODE64_3 : SEL_CODE64, 0, 0xffffffff, ATTR_CODE | SEG_G | SEG_L | dpl);
    put(t, TSS_AT + 4, 8, STACK0);
    cpu_mode_update(v);
    mmu_map_changed(v);
}

#endif
