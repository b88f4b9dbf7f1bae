/* The second half of decoding: memory operand, displacement, operands, immediates. */
#include "cpu/decode/decoder.h"

enum { SEG_SS = 2, SEG_DS = 3 };

static unsigned vector_bytes(const struct insn *insn)
{
    return 16u << (insn->evex_b && insn->modrm >= 0xc0 ? 2 : insn->vl);
}

/* Bytes of a vector register or vector memory operand that is a fraction of the vector length. */
static unsigned fraction(const struct insn *insn, unsigned shift, bool memory)
{
    unsigned bytes = vector_bytes(insn) >> shift;
    return memory || bytes > 16 ? bytes : 16;
}

/* The sizes that depend on nothing but whether the operand is memory. */
static const struct {
    u16 reg, memory;
} fixed_sizes[] = {
    [SZ_b] = {1, 1},    [SZ_w] = {2, 2},     [SZ_d] = {4, 4},     [SZ_q] = {8, 8},      [SZ_dq] = {16, 16},
    [SZ_qq] = {32, 32}, [SZ_oq] = {64, 64},  [SZ_t] = {10, 10},   [SZ_fx] = {512, 512}, [SZ_d_b] = {4, 1},
    [SZ_d_w] = {4, 2},  [SZ_dq_b] = {16, 1}, [SZ_dq_w] = {16, 2}, [SZ_dq_d] = {16, 4},  [SZ_dq_q] = {16, 8},
    [SZ_vx_d] = {4, 4}, [SZ_vh_d] = {4, 4},  [SZ_vy_d] = {4, 4},  [SZ_vx_q] = {8, 8},   [SZ_vh_q] = {8, 8},
    [SZ_vy_q] = {8, 8},
};

/* The sizes that follow the vector length. */
static unsigned vector_size(const struct insn *insn, unsigned size, bool memory)
{
    switch (size) {
    case SZ_x:
        return vector_bytes(insn);
    case SZ_h:
        return fraction(insn, 1, memory);
    case SZ_f:
        return fraction(insn, 2, memory);
    case SZ_e:
        return fraction(insn, 3, memory);
    case SZ_x_h:
        return fraction(insn, memory ? 1 : 0, memory);
    case SZ_x_f:
        return fraction(insn, memory ? 2 : 0, memory);
    case SZ_x_e:
        return fraction(insn, memory ? 3 : 0, memory);
    case SZ_x_dup:
        return memory && !insn->vl ? 8 : vector_bytes(insn);
    default:
        return 0;
    }
}

static unsigned operand_size(const struct decoder *d, unsigned size, bool memory)
{
    const struct insn *insn = d->insn;
    bool long_mode = d->bits == DECODE_64;
    if (size < ARRAY_LEN(fixed_sizes) && fixed_sizes[size].reg)
        return memory ? fixed_sizes[size].memory : fixed_sizes[size].reg;
    switch (size) {
    case SZ_v:
        return insn->opsize;
    case SZ_z:
        return insn->opsize == 8 ? 4 : insn->opsize;
    case SZ_y:
        return long_mode && insn->w ? 8 : 4;
    case SZ_n:
        return long_mode ? 8 : 4;
    case SZ_p:
        return 2 + insn->opsize;
    case SZ_s:
        return long_mode ? 10 : 6;
    case SZ_a:
        return 2 * insn->opsize;
    case SZ_adr:
        return insn->adsize;
    case SZ_v_w:
        return memory ? 2 : insn->opsize;
    case SZ_y_b:
        return memory ? 1 : long_mode && insn->w ? 8 : 4;
    case SZ_y_w:
        return memory ? 2 : long_mode && insn->w ? 8 : 4;
    case SZ_env:
        return insn->opsize == 2 ? 14 : 28;
    case SZ_fpu:
        return insn->opsize == 2 ? 94 : 108;
    default:
        return vector_size(insn, size, memory);
    }
}

/* The index register of a gather: as wide as the vector, half of it, or twice it. */
static unsigned vsib_bytes(const struct insn *insn, unsigned size)
{
    unsigned bytes = vector_bytes(insn);
    switch (size) {
    case SZ_vh_d:
    case SZ_vh_q:
        return bytes > 16 ? bytes / 2 : 16;
    case SZ_vy_d:
    case SZ_vy_q:
        return bytes < 64 ? bytes * 2 : 64;
    default:
        return bytes;
    }
}

static void default_segment(struct decoder *d, bool stack)
{
    if (d->segment == MEM_NO_REG)
        d->insn->mem.seg = stack ? SEG_SS : SEG_DS;
}

/* SDM vol. 2, table 2-1. */
static void read_memory16(struct decoder *d)
{
    static const u8 bases[8] = {3, 3, 5, 5, 6, 7, 5, 3};
    static const u8 indexes[8] = {6, 7, 6, 7, MEM_NO_REG, MEM_NO_REG, MEM_NO_REG, MEM_NO_REG};
    struct insn_mem *mem = &d->insn->mem;
    unsigned mod = d->insn->modrm >> 6, rm = d->insn->modrm & 7;
    mem->base = bases[rm];
    mem->index = indexes[rm];
    if (mod == 0 && rm == 6) {
        mem->base = MEM_NO_REG;
        mem->disp = (s64)signed_field(decoder_read(d, 2), 2);
    } else if (mod == 1) {
        mem->disp = (s64)signed_field(decoder_read(d, 1), 1);
    } else if (mod == 2) {
        mem->disp = (s64)signed_field(decoder_read(d, 2), 2);
    }
    default_segment(d, mem->base == 5);
}

static void read_sib(struct decoder *d, bool vsib)
{
    struct insn_mem *mem = &d->insn->mem;
    u8 sib = decoder_u8(d);
    unsigned index = (sib >> 3 & 7) | d->x;
    mem->scale = sib >> 6;
    if (vsib)
        mem->index = index | d->v2;
    else if (index != 4)
        mem->index = index;
    else
        mem->scale = 0;
    mem->base = (sib & 7) | d->b;
    if ((sib & 7) == 5 && d->insn->modrm < 0x40)
        mem->base = MEM_NO_REG;
}

/* SDM vol. 2, tables 2-2 and 2-3. `scale` is what an EVEX disp8 is multiplied by. */
static void read_memory(struct decoder *d, bool vsib, unsigned scale)
{
    struct insn_mem *mem = &d->insn->mem;
    unsigned mod = d->insn->modrm >> 6, rm = d->insn->modrm & 7;
    mem->vsib = vsib;
    if (vsib && rm != 4)
        d->bad = true;
    if (d->insn->adsize == 2) {
        if (vsib)
            d->bad = true;
        read_memory16(d);
        if (mod == 1)
            mem->disp *= (s64)scale;
        return;
    }
    if (rm == 4)
        read_sib(d, vsib);
    else if (rm == 5 && mod == 0)
        mem->base = d->bits == DECODE_64 ? MEM_REG_RIP : MEM_NO_REG;
    else
        mem->base = rm | d->b;
    if (mod == 1)
        mem->disp = (s64)signed_field(decoder_read(d, 1), 1) * (s64)scale;
    else if (mod == 2 || (mem->base == MEM_NO_REG || mem->base == MEM_REG_RIP))
        mem->disp = (s64)signed_field(decoder_read(d, 4), 4);
    default_segment(d, mem->base == 4 || mem->base == 5);
}

/* EVEX disp8*N: N is the size of the memory access, or of the element (SDM vol. 2, 2.7.5). */
static unsigned displacement_scale(const struct decoder *d, unsigned bytes)
{
    if (d->insn->encoding != ENC_EVEX)
        return 1;
    if (d->insn->mem.broadcast)
        return d->insn->mem.broadcast;
    if (d->form->match & DISP_EL)
        return d->form->info.element;
    return bytes ? bytes : 1;
}

static void memory_operand(struct decoder *d, struct opnd *opnd, unsigned source, unsigned size)
{
    struct insn *insn = d->insn;
    opnd->kind = OPND_MEM;
    opnd->size = operand_size(d, size, true);
    if (insn->encoding == ENC_EVEX && insn->evex_b)
        insn->mem.broadcast = d->form->match & BC2   ? 2
                              : d->form->match & BC4 ? 4
                              : d->form->match & BC8 ? 8
                                                     : 0;
    bool vsib = source == SRC_VM;
    if (vsib)
        insn->mem.vsib_size = vsib_bytes(insn, size);
    read_memory(d, vsib, displacement_scale(d, opnd->size));
    if (insn->mem.broadcast)
        opnd->size = insn->mem.broadcast;
}

static void gpr_operand(struct decoder *d, struct opnd *opnd, unsigned reg, unsigned bytes)
{
    opnd->kind = OPND_GPR;
    opnd->reg = reg;
    opnd->size = bytes;
    if (bytes == 1 && reg >= 4 && reg < 8 && !d->insn->rex && d->insn->encoding == ENC_LEGACY) {
        opnd->reg = reg - 4;
        opnd->high = true;
    }
}

static void immediate_operand(struct decoder *d, struct opnd *opnd, unsigned source, unsigned bytes)
{
    opnd->kind = OPND_IMM;
    opnd->size = bytes;
    u64 value = decoder_read(d, bytes);
    d->insn->imm = source == SRC_IS ? signed_field(value, bytes) : value;
}

static void branch_operand(struct decoder *d, struct opnd *opnd, unsigned size)
{
    opnd->kind = OPND_REL;
    opnd->size = size == SZ_b ? 1 : d->insn->opsize == 2 ? 2 : 4;
    d->insn->imm = signed_field(decoder_read(d, opnd->size), opnd->size);
}

/* Control registers 0, 2, 3, 4, 8; debug registers 0..7. */
static void control_operand(struct decoder *d, struct opnd *opnd, unsigned source)
{
    unsigned reg = (d->insn->modrm >> 3 & 7) | d->r;
    opnd->kind = source == SRC_C ? OPND_CR : OPND_DR;
    opnd->reg = reg;
    if (source == SRC_C ? !(0x11d >> reg & 1) : reg > 7)
        d->bad = true;
}

static void segment_operand(struct decoder *d, struct opnd *opnd)
{
    unsigned reg = d->insn->modrm >> 3 & 7;
    opnd->kind = OPND_SEG;
    opnd->reg = reg;
    if (reg > 5 || (reg == 1 && opnd->access == ACCESS_W))
        d->bad = true;
}

static void fixed_operand(struct opnd *opnd, unsigned kind, unsigned reg, unsigned bytes)
{
    opnd->kind = kind;
    opnd->reg = reg;
    opnd->size = bytes;
}

/* An operand that ModRM.rm names: memory if mod < 3. */
static void rm_operand(struct decoder *d, struct opnd *opnd, unsigned source, unsigned size)
{
    unsigned rm = d->insn->modrm & 7;
    bool memory = d->insn->modrm < 0xc0 && !(d->form->match & NOMOD);
    if (memory) {
        if (source == SRC_R || source == SRC_N || source == SRC_U || source == SRC_KR || source == SRC_STI)
            d->bad = true;
        else
            memory_operand(d, opnd, source, size);
        return;
    }
    unsigned bytes = operand_size(d, size, false);
    switch (source) {
    case SRC_E:
    case SRC_R:
        gpr_operand(d, opnd, rm | d->b, bytes);
        break;
    case SRC_STI:
        fixed_operand(opnd, OPND_ST, rm, 10);
        break;
    case SRC_Q:
    case SRC_N:
        fixed_operand(opnd, OPND_MMX, rm, 8);
        break;
    case SRC_W:
    case SRC_U:
        fixed_operand(opnd, OPND_VEC, rm | d->b | d->x2, bytes < 16 ? 16 : bytes);
        break;
    case SRC_KE:
    case SRC_KR:
        fixed_operand(opnd, OPND_KREG, rm, 8);
        break;
    default:
        d->bad = true;
    }
}

static unsigned vvvv_register(const struct decoder *d)
{
    return d->bits == DECODE_64 ? d->vvvv : d->vvvv & 7; /* elsewhere its top bit is ignored */
}

/* An operand that vvvv names. */
static void vvvv_operand(struct decoder *d, struct opnd *opnd, unsigned source, unsigned size)
{
    unsigned reg = vvvv_register(d), bytes = operand_size(d, size, false);
    if (source == SRC_B) {
        gpr_operand(d, opnd, reg & 15, bytes);
    } else if (source == SRC_H) {
        fixed_operand(opnd, OPND_VEC, reg, bytes);
    } else {
        fixed_operand(opnd, OPND_KREG, reg & 7, 8);
        if (reg > 7)
            d->bad = true;
    }
}

/* An operand that ModRM.reg or an immediate's high half names. */
static void reg_operand(struct decoder *d, struct opnd *opnd, unsigned source, unsigned size)
{
    unsigned reg = (d->insn->modrm >> 3 & 7) | d->r, bytes = operand_size(d, size, false);
    switch (source) {
    case SRC_G:
        gpr_operand(d, opnd, reg, bytes);
        if (d->r2)
            d->bad = true;
        break;
    case SRC_S:
        segment_operand(d, opnd);
        opnd->size = 2;
        break;
    case SRC_C:
    case SRC_D:
        control_operand(d, opnd, source);
        opnd->size = bytes;
        break;
    case SRC_P:
        fixed_operand(opnd, OPND_MMX, reg & 7, 8);
        break;
    case SRC_V:
        fixed_operand(opnd, OPND_VEC, reg | d->r2, bytes);
        break;
    case SRC_L:
        d->insn->imm = decoder_u8(d);
        fixed_operand(opnd, OPND_VEC, d->insn->imm >> 4 & (d->bits == DECODE_64 ? 15 : 7), bytes);
        break;
    case SRC_KG:
        fixed_operand(opnd, OPND_KREG, reg & 7, 8);
        if (d->r || d->r2)
            d->bad = true;
        break;
    default:
        d->bad = true;
    }
}

/* An operand that is fixed, or named by the opcode. */
static void opcode_operand(struct decoder *d, struct opnd *opnd, unsigned source, unsigned size)
{
    unsigned bytes = operand_size(d, size, false);
    switch (source) {
    case SRC_Z:
        gpr_operand(d, opnd, (d->insn->opcode & 7) | d->b, bytes);
        break;
    case SRC_A:
        fixed_operand(opnd, OPND_GPR, 0, bytes);
        break;
    case SRC_CL:
        fixed_operand(opnd, OPND_GPR, 1, bytes);
        break;
    case SRC_DX:
        fixed_operand(opnd, OPND_GPR, 2, 2);
        break;
    case SRC_1:
        fixed_operand(opnd, OPND_IMM, 0, 1);
        d->insn->imm = 1;
        break;
    case SRC_SREG:
        fixed_operand(opnd, OPND_SEG, size, 2);
        break;
    case SRC_ST0:
        fixed_operand(opnd, OPND_ST, 0, 10);
        break;
    case SRC_XMM0:
        fixed_operand(opnd, OPND_VEC, 0, 16);
        break;
    default:
        d->bad = true;
    }
}

/* An operand in the bytes after the opcode and the memory operand. */
static void bytes_operand(struct decoder *d, struct opnd *opnd, unsigned source, unsigned size)
{
    struct insn *insn = d->insn;
    unsigned bytes = operand_size(d, size, false);
    switch (source) {
    case SRC_IZ:
    case SRC_IS:
    case SRC_IV:
        immediate_operand(d, opnd, source, bytes);
        break;
    case SRC_I2:
        fixed_operand(opnd, OPND_IMM2, 0, 1);
        insn->imm2 = decoder_u8(d);
        break;
    case SRC_J:
        branch_operand(d, opnd, size);
        break;
    case SRC_O:
        fixed_operand(opnd, OPND_MEM, 0, bytes);
        insn->mem.disp = (s64)decoder_read(d, insn->adsize);
        break;
    case SRC_AP:
        fixed_operand(opnd, OPND_FAR, 0, 2 + insn->opsize);
        insn->imm = decoder_read(d, insn->opsize);
        insn->imm2 = decoder_read(d, 2);
        break;
    default:
        d->bad = true;
    }
}

void decoder_operands(struct decoder *d)
{
    struct insn *insn = d->insn;
    const u16 *specs = d->form->opnds;
    unsigned n = 0;
    /* Bytes are consumed in the table's order: an operand from immediate bytes stands after the memory
     * operand. */
    for (; n < OPERANDS_MAX && specs[n]; n++) {
        struct opnd *opnd = &insn->opnd[n];
        unsigned source = SPEC_SOURCE(specs[n]), size = SPEC_SIZE(specs[n]);
        opnd->access = SPEC_ACCESS(specs[n]);
        if (source >= SRC_VVVV)
            vvvv_operand(d, opnd, source, size);
        else if (source >= SRC_REG)
            reg_operand(d, opnd, source, size);
        else if (source >= SRC_RM)
            rm_operand(d, opnd, source, size);
        else if (source >= SRC_BYTES)
            bytes_operand(d, opnd, source, size);
        else
            opcode_operand(d, opnd, source, size);
    }
    insn->nopnds = n;
}
