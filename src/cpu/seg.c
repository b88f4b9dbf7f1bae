/* Effective to linear addresses, segment register loads, LLDT, LTR, LAR, LSL, VERR, VERW, the I/O bitmap. */
#include "cpu/desc.h"

static _Noreturn void raise_segment(struct vcpu *v, unsigned seg)
{
    cpu_raise_error(v, seg == SS ? EXC_SS : EXC_GP, 0);
}

/* Type rules (SDM vol. 3 5.5): real and virtual-8086 mode have none. */
static bool type_allows(const struct vcpu *v, const struct segreg *seg, enum mmu_access access)
{
    if (access == MMU_EXEC || !cpu_is_protected(v))
        return true;
    if (access == MMU_WRITE)
        return (seg->attr & (SEG_CODE | SEG_WRITABLE)) == SEG_WRITABLE;
    return (seg->attr & (SEG_CODE | SEG_WRITABLE)) != SEG_CODE;
}

u64 seg_linear_slow(struct vcpu *v, unsigned n, u64 off, unsigned size, enum mmu_access access)
{
    const struct segreg *seg = &v->seg[n];
    if (v->code64) {
        u64 lin = n >= FS ? off + seg->base : off;
        if (!is_canonical(lin) || !is_canonical(lin + size - 1))
            raise_segment(v, n);
        return lin;
    }
    if ((seg->attr & SEG_UNUSABLE) || !type_allows(v, seg, access) || !segreg_contains(seg, off, size))
        raise_segment(v, n);
    return (seg->base + off) & 0xffffffff;
}

static _Noreturn void raise_selector(struct vcpu *v, u8 vector, u16 selector)
{
    cpu_raise_error(v, vector, selector_error(selector));
}

static void load_ss(struct vcpu *v, u16 selector)
{
    unsigned rpl = selector & 3;
    if (selector_is_null(selector)) {
        if (!v->code64 || v->cpl == 3 || rpl != v->cpl)
            cpu_raise_gp0(v);
        segreg_set_null(&v->seg[SS], selector, v->cpl);
        return;
    }
    struct desc d;
    desc_load(v, selector, EXC_GP, &d);
    if (rpl != v->cpl || desc_dpl(&d) != v->cpl || !desc_is_writable_data(&d))
        raise_selector(v, EXC_GP, selector);
    if (!desc_present(&d))
        raise_selector(v, EXC_SS, selector);
    desc_set_accessed(v, &d);
    desc_to_segreg(&d, rpl, &v->seg[SS]);
}

static void load_data(struct vcpu *v, unsigned n, u16 selector)
{
    /* NullSelectorClearsBase, as on AMD family 17h and later. */
    if (selector_is_null(selector)) {
        segreg_set_null(&v->seg[n], selector, 0);
        return;
    }
    struct desc d;
    desc_load(v, selector, EXC_GP, &d);
    unsigned type = desc_type(&d), dpl = desc_dpl(&d);
    if (!desc_is_segment(&d) || (type & (SEG_CODE | SEG_WRITABLE)) == SEG_CODE)
        raise_selector(v, EXC_GP, selector);
    bool conforming = (type & SEG_CODE) && desc_is_conforming(&d);
    if (!conforming && ((selector & 3u) > dpl || v->cpl > dpl))
        raise_selector(v, EXC_GP, selector);
    if (!desc_present(&d))
        raise_selector(v, EXC_NP, selector);
    desc_set_accessed(v, &d);
    desc_to_segreg(&d, selector & 3, &v->seg[n]);
}

void seg_load(struct vcpu *v, unsigned n, u16 selector)
{
    if (!cpu_is_protected(v)) {
        segreg_load_real(v, n, selector);
    } else if (n == SS) {
        load_ss(v, selector);
    } else {
        load_data(v, n, selector);
        return;
    }
    if (n == SS)
        cpu_mode_update(v);
}

void cpu_lldt(struct vcpu *v, u16 selector)
{
    if (selector_is_null(selector)) {
        segreg_set_null(&v->ldtr, selector, 0);
        return;
    }
    struct desc d;
    if (selector & 4)
        raise_selector(v, EXC_GP, selector);
    desc_load(v, selector, EXC_GP, &d);
    if (desc_is_segment(&d) || desc_type(&d) != TYPE_LDT)
        raise_selector(v, EXC_GP, selector);
    if (v->long_mode)
        desc_load_high(v, EXC_GP, &d);
    if (!desc_present(&d))
        raise_selector(v, EXC_NP, selector);
    if (v->long_mode && !is_canonical(desc_base(&d)))
        raise_selector(v, EXC_GP, selector);
    desc_to_segreg(&d, selector & 3, &v->ldtr);
}

void cpu_ltr(struct vcpu *v, u16 selector)
{
    struct desc d;
    if (selector_is_null(selector))
        cpu_raise_gp0(v);
    if (selector & 4)
        raise_selector(v, EXC_GP, selector);
    desc_load(v, selector, EXC_GP, &d);
    unsigned type = desc_type(&d);
    if (desc_is_segment(&d) || !(type == TYPE_TSS32 || (type == TYPE_TSS16 && !v->long_mode)))
        raise_selector(v, EXC_GP, selector);
    if (v->long_mode)
        desc_load_high(v, EXC_GP, &d);
    if (!desc_present(&d))
        raise_selector(v, EXC_NP, selector);
    if (v->long_mode && !is_canonical(desc_base(&d)))
        raise_selector(v, EXC_GP, selector);
    desc_set_busy(v, &d, true);
    desc_to_segreg(&d, selector & 3, &v->tr);
}

/* Do CPL and RPL let one look at the descriptor? */
static bool visible(const struct vcpu *v, const struct desc *d)
{
    if (desc_is_code(d) && desc_is_conforming(d))
        return true;
    return v->cpl <= desc_dpl(d) && (d->selector & 3u) <= desc_dpl(d);
}

bool cpu_lar(struct vcpu *v, u16 selector, u32 *rights)
{
    /* System types that LAR accepts: legacy, long mode. */
    static const u16 valid[2] = {
        1u << TYPE_TSS16 | 1u << TYPE_LDT | 1u << TYPE_TSS16_BUSY | 1u << TYPE_CALL16 | 1u << TYPE_TASK_GATE |
            1u << TYPE_TSS32 | 1u << TYPE_TSS32_BUSY | 1u << TYPE_CALL32,
        1u << TYPE_LDT | 1u << TYPE_TSS32 | 1u << TYPE_TSS32_BUSY | 1u << TYPE_CALL32,
    };
    struct desc d;
    if (selector_is_null(selector) || !desc_fetch(v, selector, &d))
        return false;
    if (!desc_is_segment(&d) && !(valid[v->long_mode] >> desc_type(&d) & 1))
        return false;
    if (!visible(v, &d))
        return false;
    *rights = d.raw >> 32 & 0x00f0ff00;
    return true;
}

bool cpu_lsl(struct vcpu *v, u16 selector, u32 *limit)
{
    static const u16 valid[2] = {
        1u << TYPE_TSS16 | 1u << TYPE_LDT | 1u << TYPE_TSS16_BUSY | 1u << TYPE_TSS32 | 1u << TYPE_TSS32_BUSY,
        1u << TYPE_LDT | 1u << TYPE_TSS32 | 1u << TYPE_TSS32_BUSY,
    };
    struct desc d;
    if (selector_is_null(selector) || !desc_fetch(v, selector, &d))
        return false;
    if (!desc_is_segment(&d) && !(valid[v->long_mode] >> desc_type(&d) & 1))
        return false;
    if (!visible(v, &d))
        return false;
    *limit = desc_limit(&d);
    return true;
}

bool cpu_verr(struct vcpu *v, u16 selector)
{
    struct desc d;
    if (selector_is_null(selector) || !desc_fetch(v, selector, &d) || !desc_is_segment(&d))
        return false;
    return (desc_type(&d) & (SEG_CODE | SEG_WRITABLE)) != SEG_CODE && visible(v, &d);
}

bool cpu_verw(struct vcpu *v, u16 selector)
{
    struct desc d;
    if (selector_is_null(selector) || !desc_fetch(v, selector, &d))
        return false;
    return desc_is_writable_data(&d) && visible(v, &d);
}

void cpu_check_io(struct vcpu *v, u16 port, unsigned size)
{
    if (cpu_is_real(v) || (!cpu_is_v86(v) && v->cpl <= cpu_iopl(v)))
        return;
    /* The I/O map base is at 66h of a 32- or 64-bit TSS; two bytes are read, so that a span can cross. */
    if ((v->tr.attr & SEG_UNUSABLE) || !(v->tr.attr & 8) || v->tr.limit < 0x67)
        cpu_raise_gp0(v);
    u32 offset = (u32)mmu_read_system(v, lin_wrap(v, v->tr.base + 0x66), 2) + port / 8;
    if (offset + 1 > v->tr.limit)
        cpu_raise_gp0(v);
    u64 map = mmu_read_system(v, lin_wrap(v, v->tr.base + offset), 2);
    if (map >> (port & 7) & MASK(size))
        cpu_raise_gp0(v);
}
