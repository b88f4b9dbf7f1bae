/*
 * Descriptors, and the checks and commits that far transfers share (SDM vol. 3 chapters 3, 5, 6). The
 * functions that raise take the vector for a selector that is out of bounds or of the wrong kind: #GP, or #TS
 * in a task switch.
 */
#ifndef RING3_CPU_DESC_H
#define RING3_CPU_DESC_H

#include "cpu/exc.h"
#include "cpu/mmu.h"
#include "cpu/seg.h"

struct desc {
    u64 raw;
    u64 high; /* second half of a 16-byte system descriptor: desc_load_high */
    u64 lin;  /* where it is */
    u16 selector;
};

/* System types. */
enum desc_type {
    TYPE_TSS16 = 1,
    TYPE_LDT = 2,
    TYPE_TSS16_BUSY = 3,
    TYPE_CALL16 = 4,
    TYPE_TASK_GATE = 5,
    TYPE_INT16 = 6,
    TYPE_TRAP16 = 7,
    TYPE_TSS32 = 9,
    TYPE_TSS32_BUSY = 11,
    TYPE_CALL32 = 12,
    TYPE_INT32 = 14,
    TYPE_TRAP32 = 15,
    TYPE_BUSY = 2, /* the bit that makes a TSS busy */
};

static inline unsigned desc_type(const struct desc *d)
{
    return d->raw >> 40 & 15;
}
static inline bool desc_is_segment(const struct desc *d) /* S */
{
    return d->raw >> 44 & 1;
}
static inline unsigned desc_dpl(const struct desc *d)
{
    return d->raw >> 45 & 3;
}
static inline bool desc_present(const struct desc *d)
{
    return d->raw >> 47 & 1;
}
static inline bool desc_is_code(const struct desc *d)
{
    return desc_is_segment(d) && (desc_type(d) & SEG_CODE);
}
static inline bool desc_is_conforming(const struct desc *d)
{
    return desc_type(d) & SEG_EXPAND_DOWN;
}
static inline bool desc_is_writable_data(const struct desc *d)
{
    return desc_is_segment(d) && (desc_type(d) & (SEG_CODE | SEG_WRITABLE)) == SEG_WRITABLE;
}
static inline bool desc_l(const struct desc *d)
{
    return d->raw >> 53 & 1;
}
static inline bool desc_db(const struct desc *d)
{
    return d->raw >> 54 & 1;
}
static inline u32 desc_limit(const struct desc *d)
{
    u32 limit = (u32)((d->raw & 0xffff) | (d->raw >> 32 & 0xf0000));
    return d->raw >> 55 & 1 ? limit << 12 | 0xfff : limit;
}
static inline u64 desc_base(const struct desc *d) /* with the high half, if it was loaded */
{
    return (d->raw >> 16 & 0xffffff) | (d->raw >> 32 & 0xff000000) | d->high << 32;
}
/* Gates. */
static inline u16 gate_selector(const struct desc *d)
{
    return (u16)(d->raw >> 16);
}
static inline u64 gate_offset(const struct desc *d)
{
    return (d->raw & 0xffff) | (d->raw >> 32 & 0xffff0000) | d->high << 32;
}

/* The selector as an error code: without RPL. */
static inline u16 selector_error(u16 selector)
{
    return selector & 0xfffc;
}
static inline bool selector_is_null(u16 selector)
{
    return selector < 4;
}

/* Linear addresses of tables and segments are 32 bits wide outside long mode. */
static inline u64 lin_wrap(const struct vcpu *v, u64 lin)
{
    return v->long_mode ? lin : lin & 0xffffffff;
}

/* Reads the descriptor; false if the selector is outside its table (a null selector reads GDT entry 0). May
 * raise #PF. */
bool desc_fetch(struct vcpu *v, u16 selector, struct desc *d);
/* The same, raising vector(selector). */
void desc_load(struct vcpu *v, u16 selector, u8 vector, struct desc *d);
/* The second half of a system descriptor in long mode: raises vector(selector) if it is outside the table or
 * its type bits are not 0. */
void desc_load_high(struct vcpu *v, u8 vector, struct desc *d);

/* The cached form. The selector is stored with RPL = `rpl`. */
void desc_to_segreg(const struct desc *d, unsigned rpl, struct segreg *seg);
/* A null selector's; DPL = `dpl` (SS keeps the CPL there). */
void segreg_set_null(struct segreg *seg, u16 selector, unsigned dpl);

/* Sets the accessed bit in memory and in `d`, or changes TYPE_BUSY of a TSS; atomic. May raise #PF. */
void desc_set_accessed(struct vcpu *v, struct desc *d);
void desc_set_busy(struct vcpu *v, struct desc *d, bool busy);

/* Does [off, off + size) lie in the segment? */
bool segreg_contains(const struct segreg *seg, u64 off, unsigned size);

/* Real and virtual-8086 mode. */
void segreg_load_real(struct vcpu *v, unsigned seg, u16 selector);

/* Null data segments that CPL `cpl` must not see (RET, IRET to an outer level). */
void seg_drop_privileged(struct vcpu *v, unsigned cpl);

/* A stack under construction: pushes and pops move `sp`, nothing else, until stack_commit. */
struct stack {
    struct segreg ss;
    u64 sp, mask;
    u32 error; /* error code of #SS */
    u8 index;  /* enum mmu_index */
    bool flat; /* 64-bit mode: no limit, canonical addresses */
};
void stack_current(struct vcpu *v, struct stack *s);
/* The stack of segment `ss` at `sp` for code at `cpl`; `to64`: the target code segment is 64-bit. */
void stack_other(struct vcpu *v, struct stack *s, const struct segreg *ss, u64 sp, unsigned cpl, bool to64);
void stack_push(struct vcpu *v, struct stack *s, unsigned size, u64 value);
u64 stack_pop(struct vcpu *v, struct stack *s, unsigned size);
/* Loads RSP (not SS) under the stack's mask. */
void stack_commit(struct vcpu *v, const struct stack *s);

/* SS:(E/R)SP for `cpl` from the TSS; raises #TS. In long mode only `*sp`, and `ist` 1..7 picks an IST slot.
 */
void tss_read_stack(struct vcpu *v, unsigned cpl, u16 *ss, u64 *sp);
u64 tss_read_rsp(struct vcpu *v, unsigned cpl, unsigned ist);
/* Checks a stack segment taken from the TSS for `cpl`: raises #TS / #SS; sets accessed. */
void tss_check_ss(struct vcpu *v, u16 selector, unsigned cpl, struct segreg *out);

/* Raises unless `rip` may be executed in the code segment `d`: #GP(0). */
void code_check_target(struct vcpu *v, const struct desc *d, u64 rip);
/* L and D both set (long mode): raises #GP(selector). */
void code_check_mode(struct vcpu *v, const struct desc *d);
/* Loads CS:RIP; the CPL follows SS. Call cpu_mode_update when all is loaded. */
void code_commit(struct vcpu *v, const struct desc *d, unsigned cpl, u64 rip);

/*
 * Returns (RET far, IRET): the popped CS (raises #GP, #NP), the popped SS for `cpl` (raises #GP, #SS), and
 * the commit of a return to an outer level: `pop_bytes` are released on the outer stack, privileged data
 * segments are nulled.
 */
void return_check_cs(struct vcpu *v, u16 selector, struct desc *cs);
void return_check_ss(struct vcpu *v, u16 selector, unsigned cpl, bool to64, struct segreg *ss);
void return_commit_outer(struct vcpu *v, const struct desc *cs, unsigned cpl, u64 rip,
                         const struct segreg *ss, u64 rsp, unsigned opsize, u16 pop_bytes);

#endif
