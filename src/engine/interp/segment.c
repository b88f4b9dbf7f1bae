/* Segment registers, descriptor tables, segment queries and bases. The rules are cpu/seg.h's. */
#include "engine/interp/dispatch.h"
#include "engine/interp/operand.h"

void segment_mov(struct vcpu *v, const struct insn *insn)
{
    const struct opnd *dst = &insn->opnd[0];
    if (dst->kind != OPND_SEG) {
        interp_write(v, insn, 0, v->seg[insn->opnd[1].reg].selector);
        return;
    }
    seg_load(v, dst->reg, (u16)interp_read(v, insn, 1));
    if (dst->reg == SS)
        v->attention |= ATTN_SHADOW_MOVSS;
}

/* LDS, LES, LSS, LFS, LGS: the selector stands behind the offset. */
void segment_load_far(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize, seg = DS;
    switch (insn->id) {
    case INSN_LES:
        seg = ES;
        break;
    case INSN_LSS:
        seg = SS;
        break;
    case INSN_LFS:
        seg = FS;
        break;
    case INSN_LGS:
        seg = GS;
        break;
    }
    u64 lin = interp_mem_linear(v, insn, size + 2, MMU_READ);
    u64 offset = interp_load(v, lin, size);
    seg_load(v, seg, (u16)interp_load(v, lin + size, 2));
    interp_gpr_write(v, insn->opnd[0].reg, size, false, offset);
}

/* User-mode instruction prevention (SDM vol. 3 2.5, CR4.UMIP). */
static void check_umip(struct vcpu *v)
{
    if (v->cpl > 0 && (v->cr4 & CR4_UMIP))
        cpu_raise_gp0(v);
}

/* The base takes 8 bytes in 64-bit mode, else 4. */
static void store_table(struct vcpu *v, const struct insn *insn, const struct dtable *table)
{
    unsigned size = v->code64 ? 8 : 4;
    check_umip(v);
    u64 lin = interp_mem_linear(v, insn, size + 2, MMU_WRITE);
    mmu_probe(v, lin, size + 2, MMU_WRITE, v->mmu_index);
    interp_store(v, lin, 2, table->limit);
    interp_store(v, lin + 2, size, table->base);
}

/* A 16-bit operand size loads 24 bits of base. */
static void load_table(struct vcpu *v, const struct insn *insn, struct dtable *table)
{
    unsigned size = v->code64 ? 8 : 4;
    u64 lin = interp_mem_linear(v, insn, size + 2, MMU_READ);
    u16 limit = (u16)interp_load(v, lin, 2);
    u64 base = interp_load(v, lin + 2, size);
    if (!v->code64 && insn->opsize == 2)
        base &= 0xffffff;
    if (!is_canonical(base))
        cpu_raise_gp0(v);
    *table = (struct dtable){.base = base, .limit = limit};
}

void segment_sgdt(struct vcpu *v, const struct insn *insn)
{
    store_table(v, insn, &v->gdtr);
}

void segment_sidt(struct vcpu *v, const struct insn *insn)
{
    store_table(v, insn, &v->idtr);
}

void segment_lgdt(struct vcpu *v, const struct insn *insn)
{
    load_table(v, insn, &v->gdtr);
}

void segment_lidt(struct vcpu *v, const struct insn *insn)
{
    load_table(v, insn, &v->idtr);
}

void segment_sldt(struct vcpu *v, const struct insn *insn)
{
    check_umip(v);
    interp_write(v, insn, 0, v->ldtr.selector);
}

void segment_str(struct vcpu *v, const struct insn *insn)
{
    check_umip(v);
    interp_write(v, insn, 0, v->tr.selector);
}

void segment_lldt(struct vcpu *v, const struct insn *insn)
{
    cpu_lldt(v, (u16)interp_read(v, insn, 0));
}

void segment_ltr(struct vcpu *v, const struct insn *insn)
{
    cpu_ltr(v, (u16)interp_read(v, insn, 0));
}

static void set_zf(struct vcpu *v, bool zf)
{
    v->rflags = (v->rflags & ~(u64)FLAG_ZF) | (zf ? FLAG_ZF : 0);
}

void segment_lar(struct vcpu *v, const struct insn *insn)
{
    u32 rights;
    bool valid = cpu_lar(v, (u16)interp_read(v, insn, 1), &rights);
    if (valid)
        interp_write(v, insn, 0, rights);
    set_zf(v, valid);
}

void segment_lsl(struct vcpu *v, const struct insn *insn)
{
    u32 limit;
    bool valid = cpu_lsl(v, (u16)interp_read(v, insn, 1), &limit);
    if (valid)
        interp_write(v, insn, 0, limit);
    set_zf(v, valid);
}

void segment_verr(struct vcpu *v, const struct insn *insn)
{
    set_zf(v, cpu_verr(v, (u16)interp_read(v, insn, 0)));
}

void segment_verw(struct vcpu *v, const struct insn *insn)
{
    set_zf(v, cpu_verw(v, (u16)interp_read(v, insn, 0)));
}

static u64 raise_rpl(u64 old, u64 rpl, u64 *flags)
{
    if ((old & 3) >= rpl)
        return old;
    *flags |= FLAG_ZF;
    return (old & ~3ull) | rpl;
}

void segment_arpl(struct vcpu *v, const struct insn *insn)
{
    u64 flags = v->rflags & ~(u64)FLAG_ZF;
    interp_modify(v, insn, 0, raise_rpl, interp_read(v, insn, 1) & 3, &flags);
    v->rflags = flags;
}

static struct segreg *based_segment(struct vcpu *v, const struct insn *insn)
{
    if (!(v->cr4 & CR4_FSGSBASE))
        cpu_raise_ud(v);
    return &v->seg[insn->id == INSN_RDFSBASE || insn->id == INSN_WRFSBASE ? FS : GS];
}

void segment_rdbase(struct vcpu *v, const struct insn *insn)
{
    interp_write(v, insn, 0, based_segment(v, insn)->base);
}

void segment_wrbase(struct vcpu *v, const struct insn *insn)
{
    struct segreg *s = based_segment(v, insn);
    u64 base = interp_read(v, insn, 0);
    if (!is_canonical(base))
        cpu_raise_gp0(v);
    s->base = base;
}

void segment_swapgs(struct vcpu *v, const struct insn *insn)
{
    u64 base = v->seg[GS].base;
    v->seg[GS].base = v->msr.kernel_gs_base;
    v->msr.kernel_gs_base = base;
}
