/*
 * Gathers and scatters: element by element, lowest first. Each completed element clears its mask bit before
 * the next one is tried, so that an instruction that faults can be restarted (SDM vol. 2, VPGATHERDD).
 */
#include <string.h>
#include "engine/interp/vector.h"

struct gather {
    unsigned count, data, index; /* elements, their bytes, an index's bytes */
    unsigned reg;                /* the data register */
};

static struct gather gather_of(const struct insn *insn, unsigned reg)
{
    struct gather g = {.data = insn->w ? 8 : 4, .index = insn->opcode & 1 ? 8 : 4, .reg = reg};
    g.count = (16u << insn->vl) / (g.data > g.index ? g.data : g.index);
    return g;
}

static u64 gather_linear(struct vcpu *v, const struct insn *insn, const struct gather *g, unsigned i,
                         enum mmu_access access)
{
    const u8 *p = v->fpu.zmm[insn->mem.index] + i * g->index;
    s64 index = g->index == 4 ? (s32)load_le32(p) : (s64)load_le64(p);
    u64 ea = interp_ea_reg(v, insn, insn->mem.base) + (u64)insn->mem.disp + ((u64)index << insn->mem.scale);
    return seg_linear(v, insn->mem.seg, ea & MASK(insn->adsize * 8), g->data, access);
}

static void gather_element(struct vcpu *v, const struct insn *insn, const struct gather *g, unsigned i)
{
    u8 value[16]; /* native_read is inlined for every operand size */
    native_read(v, gather_linear(v, insn, g, i, MMU_READ), value, g->data);
    memcpy(v->fpu.zmm[g->reg] + i * g->data, value, g->data);
}

static void gather_vex(struct vcpu *v, const struct insn *insn, const struct gather *g)
{
    u8 *mask = v->fpu.zmm[insn->opnd[2].reg];
    for (unsigned i = 0; i < g->count; i++) {
        if (mask[(i + 1) * g->data - 1] & 0x80)
            gather_element(v, insn, g, i);
        memset(mask + i * g->data, 0, g->data);
    }
    memset(mask, 0, 64);
}

static void gather_evex(struct vcpu *v, const struct insn *insn, const struct gather *g)
{
    u64 *k = &v->fpu.k[insn->aaa];
    unsigned length = 16u << insn->vl;
    for (unsigned i = 0; i < g->count; i++) {
        if (!(*k >> i & 1))
            continue;
        gather_element(v, insn, g, i);
        *k &= ~BIT(i);
        memset(v->fpu.zmm[g->reg] + length, 0,
               64 - length); /* with the first one: seen if a later one faults */
    }
    *k = 0;
}

void vector_gather(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    struct gather g = gather_of(insn, insn->opnd[0].reg);
    v->fpu.xinuse |= XCR0_FOR_EVEX;
    if (insn->encoding == ENC_VEX)
        gather_vex(v, insn, &g);
    else
        gather_evex(v, insn, &g);
    unsigned bytes = g.count * g.data;
    memset(v->fpu.zmm[g.reg] + bytes, 0, 64 - bytes);
}

void vector_scatter(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    struct gather g = gather_of(insn, insn->opnd[1].reg);
    u64 *k = &v->fpu.k[insn->aaa];
    for (unsigned i = 0; i < g.count; i++) {
        if (!(*k >> i & 1))
            continue;
        u64 lin = gather_linear(v, insn, &g, i, MMU_WRITE);
        native_probe_write(v, lin, g.data);
        native_write(v, lin, v->fpu.zmm[g.reg] + i * g.data, g.data);
        *k &= ~BIT(i);
    }
    *k = 0;
}
