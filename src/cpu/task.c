/*
 * Hardware task switches, 16- and 32-bit TSS (SDM vol. 3 chapter 7, table 7-1).
 *
 * 1. Checks of the new TSS and of all memory that will be touched raise in the old task, nothing changed.
 * 2. Commit: busy bits, the old TSS, the back link, TR, CR0.TS, CR3, general registers, selectors.
 * 3. Descriptors of LDTR and the segments are checked and loaded in the new task: what raises now raises
 * there.
 */
#include "cpu/ctrl.h"
#include "cpu/debug.h"
#include "cpu/desc.h"
#include "cpu/flow.h"

/* The dynamic part of a TSS, of either size. Segments in enum sreg order. */
struct task_state {
    u32 cr3, eip, eflags;
    u32 gpr[8];
    u16 seg[SREG_COUNT];
    u16 ldt;
    bool trap;
};

struct tss_layout {
    u8 size; /* of a register slot */
    u8 eip, eflags, gpr, seg, seg_count, ldt;
    u8 min_limit;
};

static const struct tss_layout layout16 = {2, 0x0e, 0x10, 0x12, 0x22, 4, 0x2a, 0x2b};
static const struct tss_layout layout32 = {4, 0x20, 0x24, 0x28, 0x48, 6, 0x60, 0x67};

#define TSS32_CR3  0x1c
#define TSS32_TRAP 0x64

static const struct tss_layout *layout_of(unsigned type)
{
    return type & 8 ? &layout32 : &layout16;
}

static u32 tss_read(struct vcpu *v, u64 base, unsigned offset, unsigned size)
{
    return (u32)mmu_read_system(v, lin_wrap(v, base + offset), size);
}

static void tss_write(struct vcpu *v, u64 base, unsigned offset, unsigned size, u64 value)
{
    mmu_write_system(v, lin_wrap(v, base + offset), size, value);
}

static void state_read(struct vcpu *v, u64 base, const struct tss_layout *l, struct task_state *t)
{
    *t = (struct task_state){0};
    t->eip = tss_read(v, base, l->eip, l->size);
    t->eflags = tss_read(v, base, l->eflags, l->size);
    for (unsigned i = 0; i < 8; i++)
        t->gpr[i] = tss_read(v, base, l->gpr + i * l->size, l->size);
    for (unsigned i = 0; i < l->seg_count; i++)
        t->seg[i] = (u16)tss_read(v, base, l->seg + i * l->size, 2);
    t->ldt = (u16)tss_read(v, base, l->ldt, 2);
    if (l->size == 4) {
        t->cr3 = tss_read(v, base, TSS32_CR3, 4);
        t->trap = tss_read(v, base, TSS32_TRAP, 2) & 1;
    }
}

static void state_write(struct vcpu *v, u64 base, const struct tss_layout *l, u64 eip, u64 eflags)
{
    tss_write(v, base, l->eip, l->size, eip);
    tss_write(v, base, l->eflags, l->size, eflags);
    for (unsigned i = 0; i < 8; i++)
        tss_write(v, base, l->gpr + i * l->size, l->size, v->gpr[i]);
    for (unsigned i = 0; i < l->seg_count; i++)
        tss_write(v, base, l->seg + i * l->size, 2, v->seg[i].selector);
}

/* Step 1: the descriptor. */
static void tss_check(struct vcpu *v, u16 selector, enum task_switch_reason reason, struct desc *d)
{
    u8 vector = reason == TASK_IRET ? EXC_TS : EXC_GP;
    if (selector_is_null(selector) || (selector & 4))
        cpu_raise_error(v, vector, selector_error(selector));
    desc_load(v, selector, vector, d);
    unsigned type = desc_type(d), busy = reason == TASK_IRET ? TYPE_BUSY : 0;
    if (desc_is_segment(d) || (type != (TYPE_TSS16 | busy) && type != (TYPE_TSS32 | busy)))
        cpu_raise_error(v, vector, selector_error(selector));
    if (!desc_present(d))
        cpu_raise_error(v, EXC_NP, selector_error(selector));
    if (desc_limit(d) < layout_of(type)->min_limit)
        cpu_raise_error(v, EXC_TS, selector_error(selector));
}

/* Steps 1 and 2 for the TSSes themselves. */
static void tss_exchange(struct vcpu *v, struct desc *d, enum task_switch_reason reason, u64 next_rip,
                         struct task_state *t)
{
    const struct tss_layout *old = layout_of(v->tr.attr), *new = layout_of(desc_type(d));
    bool nested = reason == TASK_CALL || reason == TASK_GATE;
    u64 base = desc_base(d);
    struct desc old_desc;
    bool unbusy = !nested && desc_fetch(v, v->tr.selector & 0xfffc, &old_desc);

    mmu_probe(v, lin_wrap(v, v->tr.base + old->eip), old->ldt - old->eip, MMU_WRITE, MMU_KERNEL);
    state_read(v, base, new, t);
    if (nested)
        mmu_probe(v, lin_wrap(v, base), 2, MMU_WRITE, MMU_KERNEL);
    mmu_probe(v, d->lin, 8, MMU_WRITE, MMU_KERNEL);

    if (unbusy)
        desc_set_busy(v, &old_desc, false);
    u64 eflags = v->rflags;
    if (reason == TASK_IRET)
        eflags &= ~(u64)FLAG_NT;
    state_write(v, v->tr.base, old, next_rip, eflags);
    if (nested) {
        tss_write(v, base, 0, 2, v->tr.selector);
        t->eflags |= FLAG_NT;
    }
    if (reason != TASK_IRET)
        desc_set_busy(v, d, true);
    desc_to_segreg(d, d->selector & 3, &v->tr);
    v->tr.attr |= TYPE_BUSY;
}

/* Step 2 for the registers: segments are not usable yet, but SS carries the new CPL. */
static void state_load(struct vcpu *v, const struct task_state *t, bool wide)
{
    v->cr0 |= CR0_TS;
    v->dr[7] &= ~0x155ull; /* local breakpoints, LE */
    v->rip = t->eip;
    v->rflags = (t->eflags & FLAGS_ALL) | FLAG_R1;
    for (unsigned i = 0; i < 8; i++)
        v->gpr[i] = t->gpr[i];
    unsigned cpl = v->rflags & FLAG_VM ? 3 : t->seg[CS] & 3;
    for (unsigned i = 0; i < SREG_COUNT; i++)
        segreg_set_null(&v->seg[i], t->seg[i], cpl);
    segreg_set_null(&v->ldtr, t->ldt, 0);
    cpu_mode_update(v);
    if (wide && (v->cr0 & CR0_PG))
        cpu_load_task_cr3(v, t->cr3);
}

static void load_ldt(struct vcpu *v, u16 selector)
{
    struct desc d;
    if (selector_is_null(selector))
        return;
    if (selector & 4)
        cpu_raise_error(v, EXC_TS, selector_error(selector));
    desc_load(v, selector, EXC_TS, &d);
    if (desc_is_segment(&d) || desc_type(&d) != TYPE_LDT || !desc_present(&d))
        cpu_raise_error(v, EXC_TS, selector_error(selector));
    desc_to_segreg(&d, selector & 3, &v->ldtr);
}

static void load_cs(struct vcpu *v, u16 selector)
{
    struct desc d;
    unsigned rpl = selector & 3;
    if (selector_is_null(selector))
        cpu_raise_error(v, EXC_TS, 0);
    desc_load(v, selector, EXC_TS, &d);
    if (!desc_is_code(&d) || (desc_is_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
        cpu_raise_error(v, EXC_TS, selector_error(selector));
    if (!desc_present(&d))
        cpu_raise_error(v, EXC_NP, selector_error(selector));
    desc_set_accessed(v, &d);
    desc_to_segreg(&d, rpl, &v->seg[CS]);
}

static void load_data(struct vcpu *v, unsigned n, u16 selector)
{
    struct desc d;
    if (selector_is_null(selector))
        return;
    desc_load(v, selector, EXC_TS, &d);
    unsigned type = desc_type(&d), dpl = desc_dpl(&d);
    bool conforming = (type & SEG_CODE) && desc_is_conforming(&d);
    if (!desc_is_segment(&d) || (type & (SEG_CODE | SEG_WRITABLE)) == SEG_CODE ||
        (!conforming && (v->cpl > dpl || (selector & 3u) > dpl)))
        cpu_raise_error(v, EXC_TS, selector_error(selector));
    if (!desc_present(&d))
        cpu_raise_error(v, EXC_NP, selector_error(selector));
    desc_set_accessed(v, &d);
    desc_to_segreg(&d, selector & 3, &v->seg[n]);
}

/* Step 3. */
static void segments_load(struct vcpu *v, const struct task_state *t)
{
    load_ldt(v, t->ldt);
    if (cpu_is_v86(v)) {
        for (unsigned i = 0; i < SREG_COUNT; i++)
            segreg_load_real(v, i, t->seg[i]);
        cpu_mode_update(v);
    } else {
        static const u8 data[] = {DS, ES, FS, GS};
        load_cs(v, t->seg[CS]);
        tss_check_ss(v, t->seg[SS], t->seg[CS] & 3, &v->seg[SS]);
        cpu_mode_update(v);
        for (unsigned i = 0; i < ARRAY_LEN(data); i++)
            load_data(v, data[i], t->seg[data[i]]);
    }
}

void cpu_task_switch(struct vcpu *v, u16 selector, enum task_switch_reason reason, u64 next_rip,
                     bool has_error, u32 error)
{
    cpu_meet_world(v); /* what raises behind the commit point has no way back */
    struct desc d;
    struct task_state t;
    tss_check(v, selector, reason, &d);
    bool wide = desc_type(&d) & 8;
    tss_exchange(v, &d, reason, next_rip, &t);
    state_load(v, &t, wide);
    log_trace(v->vm->log, TRACE_CPU, "cpu%u: task switch to %#x", v->index, selector);

    segments_load(v, &t);
    if (has_error) {
        struct stack s;
        stack_current(v, &s);
        stack_push(v, &s, wide ? 4 : 2, error);
        stack_commit(v, &s);
    }
    if (t.trap) {
        v->db_pending |= DR6_BT;
        v->attention |= ATTN_DB_PENDING;
    }
    if (v->rip > v->seg[CS].limit)
        cpu_raise_gp0(v);
}
