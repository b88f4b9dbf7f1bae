/* Descriptor tables: reading, caching, the accessed and busy bits. */
#include "cpu/desc.h"

/* Base and limit of the selector's table; false for an LDT that is not there. */
static bool table_of(struct vcpu *v, u16 selector, u64 *base, u32 *limit)
{
    if (!(selector & 4)) {
        *base = v->gdtr.base;
        *limit = v->gdtr.limit;
        return true;
    }
    *base = v->ldtr.base;
    *limit = v->ldtr.limit;
    return !(v->ldtr.attr & SEG_UNUSABLE);
}

bool desc_fetch(struct vcpu *v, u16 selector, struct desc *d)
{
    u64 base;
    u32 limit;
    *d = (struct desc){.selector = selector};
    if (!table_of(v, selector, &base, &limit) || (selector | 7u) > limit)
        return false;
    d->lin = lin_wrap(v, base + (selector & 0xfff8));
    d->raw = mmu_read_system(v, d->lin, 8);
    return true;
}

void desc_load(struct vcpu *v, u16 selector, u8 vector, struct desc *d)
{
    if (!desc_fetch(v, selector, d))
        cpu_raise_error(v, vector, selector_error(selector));
}

void desc_load_high(struct vcpu *v, u8 vector, struct desc *d)
{
    u64 base;
    u32 limit;
    if (!table_of(v, d->selector, &base, &limit) || (d->selector & 0xfff8u) + 15 > limit)
        cpu_raise_error(v, vector, selector_error(d->selector));
    u64 high = mmu_read_system(v, d->lin + 8, 8);
    if (high >> 40 & 0x1f)
        cpu_raise_error(v, vector, selector_error(d->selector));
    d->high = high & 0xffffffff;
}

void desc_to_segreg(const struct desc *d, unsigned rpl, struct segreg *seg)
{
    seg->base = desc_base(d);
    seg->limit = desc_limit(d);
    seg->selector = (u16)((d->selector & 0xfffc) | rpl);
    seg->attr = (u16)((d->raw >> 40 & 0xff) | (d->raw >> 44 & 0xf00));
}

void segreg_set_null(struct segreg *seg, u16 selector, unsigned dpl)
{
    *seg = (struct segreg){.selector = selector, .attr = (u16)(SEG_UNUSABLE | dpl << 5)};
}

/* Changes bits of the type byte of a descriptor, atomically against other CPUs. */
static void type_change(struct vcpu *v, struct desc *d, u8 set, u8 clear)
{
    u64 lin = lin_wrap(v, d->lin + 5);
    _Atomic(u8) *type = mmu_rmw_ptr_as(v, lin, 1, MMU_KERNEL);
    if (type) {
        if (set)
            atomic_fetch_or(type, set);
        if (clear)
            atomic_fetch_and(type, (u8)~clear);
    } else {
        u64 old = mmu_read_system(v, lin, 1);
        mmu_write_system(v, lin, 1, (old | set) & ~(u64)clear);
    }
    d->raw = (d->raw | (u64)set << 40) & ~((u64)clear << 40);
}

void desc_set_accessed(struct vcpu *v, struct desc *d)
{
    if (!(desc_type(d) & SEG_ACCESSED))
        type_change(v, d, SEG_ACCESSED, 0);
}

void desc_set_busy(struct vcpu *v, struct desc *d, bool busy)
{
    type_change(v, d, busy ? TYPE_BUSY : 0, busy ? 0 : TYPE_BUSY);
}

/* SDM vol. 3 5.3. Expand-down: valid is what lies above the limit. */
bool segreg_contains(const struct segreg *seg, u64 off, unsigned size)
{
    u64 last = off + size - 1;
    bool expand_down = (seg->attr & (SEG_S | SEG_CODE | SEG_EXPAND_DOWN)) == (SEG_S | SEG_EXPAND_DOWN);
    if (!expand_down)
        return last <= seg->limit && last >= off;
    u64 top = seg->attr & SEG_DB ? 0xffffffff : 0xffff;
    return off > seg->limit && last <= top && last >= off;
}

void segreg_load_real(struct vcpu *v, unsigned n, u16 selector)
{
    struct segreg *seg = &v->seg[n];
    seg->selector = selector;
    seg->base = (u64)selector << 4;
    if (cpu_is_v86(v)) {
        seg->limit = 0xffff;
        seg->attr = SEG_P | SEG_DPL | SEG_S | SEG_WRITABLE | SEG_ACCESSED;
    } else {
        /* Real mode changes the base only: limit and size stay (SDM vol. 3 20.1.1, "unreal mode"). */
        if (seg->attr & SEG_UNUSABLE)
            seg->limit = 0xffff;
        seg->attr = (seg->attr & (SEG_DB | SEG_G | SEG_AVL)) | SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED |
                    (n == CS ? SEG_CODE : 0);
    }
}

void seg_drop_privileged(struct vcpu *v, unsigned cpl)
{
    static const u8 data[] = {ES, DS, FS, GS};
    for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
        struct segreg *seg = &v->seg[data[i]];
        unsigned dpl = seg->attr >> 5 & 3;
        /* a null selector loses its RPL (SDM vol. 2A IRET, RETURN-TO-OUTER-PRIVILEGE-LEVEL) */
        if (seg->attr & SEG_UNUSABLE)
            seg->selector = 0;
        bool conforming = (seg->attr & (SEG_CODE | SEG_EXPAND_DOWN)) == (SEG_CODE | SEG_EXPAND_DOWN);
        if ((seg->attr & SEG_UNUSABLE) || conforming || dpl >= cpl)
            continue;
        /* 64-bit code goes on with the base it had: the selector becomes null, nothing is loaded. */
        *seg = (struct segreg){.base = v->long_mode ? seg->base : 0, .attr = SEG_UNUSABLE};
    }
}
