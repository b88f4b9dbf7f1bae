/*
 * The engine's side: a VM whose only program is the sequence, in user mode. Every exception goes to a HLT of
 * its own at CPL 0, so that any engine can be under test: run returns VCPU_HALTED, RIP tells the vector, the
 * stack has the rest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "cpu/engine.h"
#include "cpu/xstate.h"
#include "tests/oracle/oracle.h"

/* Guest-physical layout. */
enum {
    PA_TABLES = 0x1000,  /* page tables, allocated upwards */
    PA_SYSTEM = 0x40000, /* GDT, TSS; at SYSTEM_BASE */
    PA_IDT = 0x41000,
    PA_STACK = 0x42000,
    PA_HANDLERS = 0x43000,
    PA_DATA = 0x50000,
    PA_RODATA = 0x52000,
    PA_CODE32 = 0x53000,
    PA_CODE64 = 0x54000,
    PA_FAR = 0x55000,
    RAM_SIZE = 0x100000,
};
#define SYSTEM_BASE   0xffff800000000000ull
#define HANDLER_STEP  16u
#define GUEST_GDT     (SYSTEM_BASE)
#define GUEST_TSS     (SYSTEM_BASE + 0x800)
#define GUEST_IDT     (SYSTEM_BASE + 0x1000)
#define STACK_TOP     (SYSTEM_BASE + 0x3000)
#define GUEST_HANDLER (SYSTEM_BASE + 0x3000)

enum { PTE_P = 1, PTE_RW = 2, PTE_US = 4 };
#define PTE_A_D 0x60u

struct subject {
    const struct engine_ops *engine;
    pthread_mutex_t lock;
    struct vclock clock;
    struct log log;
    struct state_set *state;
    struct vm vm;
    struct ram_block *ram;
    struct mem_region region;
    struct vcpu *v;
    u64 next_table;
};

static u8 *at(struct subject *s, u64 pa)
{
    return s->ram->hva + pa;
}

static void map_page(struct subject *s, u64 lin, u64 pa, u64 flags)
{
    u64 table = PA_TABLES;
    for (int shift = 39; shift > 12; shift -= 9) {
        u8 *entry = at(s, table + (lin >> shift & 511) * 8);
        if (!(load_le64(entry) & PTE_P)) {
            store_le64(entry, s->next_table | PTE_P | PTE_RW | PTE_US | PTE_A_D);
            s->next_table += PAGE_SIZE;
        }
        table = load_le64(entry) & PAGE_MASK & MASK(52);
    }
    store_le64(at(s, table + (lin >> 12 & 511) * 8), pa | flags | PTE_P | PTE_A_D);
}

static void build_memory(struct subject *s)
{
    static const struct {
        u64 lin, pa;
        unsigned pages, flags;
    } map[] = {
        {SYSTEM_BASE, PA_SYSTEM, 4, PTE_RW},          {DATA_BASE, PA_DATA, 2, PTE_RW | PTE_US},
        {RODATA_BASE, PA_RODATA, 1, PTE_US},          {CODE32_BASE, PA_CODE32, 1, PTE_RW | PTE_US},
        {CODE64_BASE, PA_CODE64, 1, PTE_RW | PTE_US}, {FAR_BASE, PA_FAR, 1, PTE_RW | PTE_US},
    };
    s->next_table = PA_TABLES + PAGE_SIZE;
    for (unsigned i = 0; i < ARRAY_LEN(map); i++)
        for (unsigned n = 0; n < map[i].pages; n++)
            map_page(s, map[i].lin + n * PAGE_SIZE, map[i].pa + n * PAGE_SIZE, map[i].flags);
    memset(at(s, PA_RODATA), 0x5a, PAGE_SIZE);
    /* The selectors are Linux's: 10h, 18h kernel; 23h, 2Bh, 33h user. */
    static const u64 gdt[] = {0,
                              0,
                              0x00af9b000000ffff,
                              0x00cf93000000ffff,
                              0x00cffb000000ffff,
                              0x00cff3000000ffff,
                              0x00affb000000ffff};
    memcpy(at(s, PA_SYSTEM), gdt, sizeof gdt);
    store_le64(at(s, PA_SYSTEM + 0x800 + 4), STACK_TOP); /* RSP0 */
    for (unsigned i = 0; i < 256; i++) {
        u64 handler = GUEST_HANDLER + i * HANDLER_STEP;
        u8 *gate = at(s, PA_IDT + i * 16);
        store_le64(gate, (handler & 0xffff) | 0x10 << 16 | 0x8e00ull << 32 | (handler >> 16 & 0xffff) << 48);
        store_le64(gate + 8, handler >> 32);
        *at(s, PA_HANDLERS + i * HANDLER_STEP) = 0xf4; /* hlt */
    }
}

struct subject *subject_create(const struct engine_ops *engine, const struct cpu_model *model)
{
    struct error err = {0};
    struct subject *s = calloc(1, sizeof *s);
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&s->lock, &attr);
    clock_init(&s->clock);
    s->engine = engine;
    s->vm.machine_lock = &s->lock;
    s->vm.clock = &s->clock;
    s->vm.engine = engine;
    s->vm.model = *model;
    if (mem_space_create(&s->vm.mem, &s->lock, NULL, &err) < 0 ||
        ram_block_create(&s->ram, "ram", RAM_SIZE, &err) < 0)
        goto fail;
    s->region = (struct mem_region){.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .block = s->ram};
    mem_map(s->vm.mem, &s->region);
    s->vm.cpu_count = 1;
    if (vm_init(&s->vm) < 0 || (engine->vm_init && engine->vm_init(&s->vm, &err) < 0) ||
        vcpu_create(&s->v, &s->vm, 0, &err) < 0 || engine->vcpu_init(s->v, &err) < 0)
        goto fail;
    clock_start(&s->clock);
    build_memory(s);
    return s;
fail:
    fprintf(stderr, "oracle: %s\n", err.message);
    subject_destroy(s);
    return NULL;
}

void subject_destroy(struct subject *s)
{
    if (!s)
        return;
    if (s->v)
        s->engine->vcpu_finish(s->v);
    vcpu_destroy(s->v);
    if (s->engine->vm_finish)
        s->engine->vm_finish(&s->vm);
    vm_finish(&s->vm);
    mem_space_destroy(s->vm.mem);
    ram_block_destroy(s->ram);
    free(s);
}

static void load_system_state(struct vcpu *v, const struct cpu_model *model, bool code32)
{
    v->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    v->cr3 = PA_TABLES;
    v->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_DE;
    if (model_has(model, FEAT_XSAVE))
        v->cr4 |= CR4_OSXSAVE;
    /* What the host's kernel has on: the model may have more (protection keys). */
    v->xcr0 = model_has(model, FEAT_XSAVE) ? model->xcr0 & host_xcr0() : 1;
    v->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    v->gdtr = (struct dtable){GUEST_GDT, 0x7ff};
    v->idtr = (struct dtable){GUEST_IDT, 0xfff};
    v->tr = (struct segreg){GUEST_TSS, 0x67, 0x40, SEG_P | 0xb};
    v->ldtr = (struct segreg){.attr = SEG_UNUSABLE};
    u16 data = SEG_P | SEG_S | SEG_DPL | 3 | SEG_G | SEG_DB;
    for (unsigned i = 0; i < SREG_COUNT; i++)
        v->seg[i] = (struct segreg){0, 0xffffffff, 0x2b, data};
    v->seg[CS] = (struct segreg){0, 0xffffffff, code32 ? 0x23 : 0x33,
                                 SEG_P | SEG_S | SEG_DPL | 0xb | SEG_G | (code32 ? SEG_DB : SEG_L)};
    v->seg[FS].selector = v->seg[GS].selector = 0;
}

static void load_state(struct subject *s, const struct sequence *q)
{
    struct vcpu *v = s->v;
    const struct machine_state *m = &q->initial;
    memcpy(v->gpr, m->gpr, sizeof v->gpr);
    v->rip = m->rip;
    v->rflags = m->rflags | FLAG_IF;
    v->cr2 = 0;
    load_system_state(v, &s->vm.model, q->code32);
    v->seg[FS].base = m->fs_base;
    struct fpu *f = &v->fpu;
    memcpy(f->zmm, m->vector.zmm, sizeof f->zmm);
    memcpy(f->k, m->vector.k, sizeof f->k);
    memcpy(f->st, m->vector.st, sizeof f->st);
    f->fcw = m->vector.fcw;
    f->fsw = m->vector.fsw;
    f->ftw = m->vector.ftw;
    f->fop = m->vector.fop;
    f->fip = m->vector.fip;
    f->fdp = m->vector.fdp;
    f->fcs = f->fds = 0;
    f->mxcsr = m->vector.mxcsr;
    f->xinuse = ~0ull;
    v->activity = ACTIVITY_RUNNING;
    v->attention = 0;
    cpu_mode_update(v);
    if (s->engine->set_state)
        s->engine->set_state(v);
}

/* The interrupt frame on the kernel stack: [error] RIP CS RFLAGS RSP SS. */
static void take_frame(struct subject *s, const struct sequence *q, unsigned count, struct outcome *out)
{
    struct vcpu *v = s->v;
    u64 vector = (v->rip - GUEST_HANDLER - 1) / HANDLER_STEP;
    const u8 *frame = at(s, PA_SYSTEM + (v->gpr[RSP] - SYSTEM_BASE));
    bool has_error = STACK_TOP - v->gpr[RSP] == 48;
    out->fault = (u8)vector;
    out->error = has_error ? load_le32(frame) : 0;
    out->cr2 = v->cr2;
    frame += has_error ? 8 : 0;
    out->state.rip = load_le64(frame);
    out->state.rflags = load_le64(frame + 16);
    out->state.gpr[RSP] = load_le64(frame + 24);
    if (vector == 6 && out->state.rip == sequence_base(q) + q->start[count])
        out->fault = NO_FAULT;
}

static void write_code(struct subject *s, const struct sequence *q, unsigned count)
{
    /* As a device writes: an engine that has translated what was there hears of it. */
    u64 pa = q->code32 ? PA_CODE32 : PA_CODE64;
    mem_write_bytes(s->vm.mem, pa, q->code, q->start[count]);
    mem_write_bytes(s->vm.mem, pa + q->start[count], "\x0f\x0b", 2); /* ud2 */
}

void subject_run(struct subject *s, const struct generator *g, const struct sequence *q, unsigned count,
                 struct outcome *out)
{
    struct vcpu *v = s->v;
    memcpy(at(s, PA_DATA), g->pool + q->pool, DATA_SIZE);
    if (q->has_area)
        memset(at(s, PA_DATA + AREA_OFFSET + 512), 0, 64);
    memcpy(at(s, PA_FAR), g->pool + q->pool + DATA_SIZE, PAGE_SIZE);
    write_code(s, q, count);
    load_state(s, q);
    out->dead_flags_vary = s->engine == &jit_engine;
    enum vcpu_exit why = s->engine->run(v);
    if (s->engine->get_state)
        s->engine->get_state(v);
    memcpy(out->state.gpr, v->gpr, sizeof v->gpr);
    if (why == VCPU_HALTED && v->rip - GUEST_HANDLER < PAGE_SIZE) {
        take_frame(s, q, count, out);
    } else {
        out->fault = 0xfe; /* shutdown or worse: never equal */
        out->state.rip = v->rip;
        out->state.rflags = v->rflags;
    }
    const struct fpu *f = &v->fpu;
    struct vector_state *vs = &out->state.vector;
    memcpy(vs->zmm, f->zmm, sizeof vs->zmm);
    memcpy(vs->k, f->k, sizeof vs->k);
    memcpy(vs->st, f->st, sizeof vs->st);
    vs->fcw = f->fcw;
    vs->fsw = f->fsw;
    vs->ftw = f->ftw;
    vs->fop = f->fop;
    vs->fip = f->fip;
    vs->fdp = f->fdp;
    vs->mxcsr = f->mxcsr;
    out->data = at(s, PA_DATA);
    out->far = at(s, PA_FAR);
}
