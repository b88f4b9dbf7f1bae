/* Integer instructions: encoded again with the host's registers. */
#include "engine/jit/lower_alu.h"

/* Guest registers that live in memory, in scratch registers while an instruction runs. */
struct temps {
    unsigned count, room;
    u8 guest[2];
    bool load[2], store[2];
};

static const u8 temp_host[2] = {T0, T1};

/* The scratch register of `guest`, or HOST_NONE if there is none left. */
static unsigned temp_get(struct temps *x, const struct opnd *o)
{
    unsigned n = 0;
    while (n < x->count && x->guest[n] != o->reg)
        n++;
    if (n == x->room)
        return HOST_NONE;
    if (n == x->count) {
        x->guest[n] = o->reg;
        x->count++;
    }
    x->load[n] |= (o->access & ACCESS_R) || o->size < 4;
    x->store[n] |= (o->access & ACCESS_W) != 0;
    return temp_host[n];
}

/* AH..BH exist only without a REX prefix. */
static bool high_bytes_ok(const struct insn *insn, struct recode *r)
{
    bool high = false, rex = insn->w || insn_mem_opnd(insn) || insn->encoding != ENC_LEGACY;
    for (unsigned n = 0; n < insn->nopnds; n++) {
        const struct opnd *o = &insn->opnd[n];
        if (o->kind != OPND_GPR)
            continue;
        if (o->high)
            r->host[n] = o->reg + 4;
        high |= o->high;
        rex |= r->host[n] >= 8;
    }
    return !high || !rex;
}

static bool choose_registers(const struct insn *insn, struct recode *r, struct temps *x)
{
    for (unsigned n = 0; n < insn->nopnds; n++) {
        const struct opnd *o = &insn->opnd[n];
        if (o->kind == OPND_VEC || o->kind == OPND_KREG)
            r->host[n] = o->reg;
        if (o->kind != OPND_GPR)
            continue;
        r->host[n] = jit_host_of[o->reg];
        if (r->host[n] == HOST_NONE)
            r->host[n] = (u8)temp_get(x, o);
        if (r->host[n] == HOST_NONE)
            return false;
    }
    return high_bytes_ok(insn, r);
}

static bool memory_size_ok(unsigned size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

bool lower_aligned(struct translation *t, unsigned i, unsigned align)
{
    const struct insn *insn = &t->insn[i];
    const struct opnd *m = insn_mem_opnd(insn);
    struct temps x = {.room = m ? 1 : 2};
    struct recode r = {0};
    if (m && !address_is_simple(t, i))
        return false;
    if (!emit_can_recode(insn) || !choose_registers(insn, &r, &x))
        return false;
    const u8 *from = t->e.p;
    if (m) {
        struct address a = address_of(t, i);
        lower_access_recode(t, i, &a, m->size, align, m->access & ACCESS_W, &r);
    }
    for (unsigned n = 0; n < x.count && n < ARRAY_LEN(temp_host); n++)
        if (x.load[n])
            lower_read(t, temp_host[n], x.guest[n]);
    emit_recode(&t->e, insn, &r);
    for (unsigned n = 0; n < x.count && n < ARRAY_LEN(temp_host); n++)
        if (x.store[n])
            lower_write(t, x.guest[n], temp_host[n]);
    if (x.count < 2)
        lower_t1_kept(t, i, from);
    return true;
}

void lower_operand_t1(struct translation *t, unsigned i)
{
    struct temps x = {0};
    struct recode r = {0};
    choose_registers(&t->insn[i], &r, &x);
    r.mem = T1;
    emit_recode(&t->e, &t->insn[i], &r);
}

bool lower_same(struct translation *t, unsigned i)
{
    const struct opnd *m = insn_mem_opnd(&t->insn[i]);
    return (!m || memory_size_ok(m->size)) && lower_aligned(t, i, 1);
}

/* A bit offset in a register reaches beyond the memory operand. */
bool lower_bit_test(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    if (insn->opnd[0].kind == OPND_MEM && insn->opnd[1].kind == OPND_GPR)
        return false;
    return lower_same(t, i);
}

/* With a register as destination vendors differ (cpu model and host may too). */
bool lower_cmpxchg(struct translation *t, unsigned i)
{
    return t->insn[i].opnd[0].kind == OPND_MEM && lower_same(t, i);
}

/* CMPXCHG8B, CMPXCHG16B: rAX, rDX, rBX, rCX are the host's. The wide one demands alignment. */
bool lower_cmpxchg_pair(struct translation *t, unsigned i)
{
    return lower_aligned(t, i, t->insn[i].id == INSN_CMPXCHG16B ? 16 : 1);
}

/* 8 or 16 bits: the rest of the register stays. */
static void mov_narrow(struct emitter *e, const struct opnd *o, u64 value)
{
    unsigned host = jit_host_of[o->reg];
    if (o->size == 2)
        emit_u8(e, 0x66);
    if (host == HOST_NONE) {
        emit_u8(e, 0x65); /* mov gs:[...], imm */
        emit_u8(e, o->size == 2 ? 0xc7 : 0xc6);
        EMIT(e, "\x04\x25");
        emit_u32(e, AT_GPR(o->reg));
    } else {
        if (!o->high)
            emit_u8(e, 0x40 | host >> 3);
        emit_u8(e, (o->size == 2 ? 0xb8 : o->high ? 0xb4 : 0xb0) | (host & 7));
    }
    emit_bytes(e, &value, o->size);
}

static bool mov_immediate(struct translation *t, const struct insn *insn)
{
    const struct opnd *o = &insn->opnd[0];
    if (o->size < 4) {
        mov_narrow(&t->e, o, insn->imm);
        return true;
    }
    u64 value = o->size == 4 ? (u32)insn->imm : insn->imm;
    unsigned host = jit_host_of[o->reg];
    emit_mov_imm(&t->e, host == HOST_NONE ? T0 : host, value);
    if (host == HOST_NONE)
        lower_write(t, o->reg, T0);
    return true;
}

/* A0..A3: rAX and an address without ModRM. */
static bool mov_offset(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    bool store = insn->opcode >= 0xa2;
    unsigned size = insn->opnd[0].size;
    struct address a = address_of(t, i);
    if (!address_is_simple(t, i))
        return false;
    s32 disp = lower_access(t, i, &a, size, store, TAIL_STEP);
    if (size == 2)
        emit_u8(&t->e, 0x66);
    emit_u8(&t->e, size == 8 ? 0x49 : 0x41); /* mov rax, [r11 + disp], or back */
    emit_u8(&t->e, (store ? 0x88 : 0x8a) | (size > 1));
    emit_operand(&t->e, RAX, T1, disp);
    return true;
}

bool lower_mov(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    if (insn->map == 0 && (insn->opcode & 0xf0) == 0xb0)
        return mov_immediate(t, insn);
    if (insn->map == 0 && (insn->opcode & 0xfc) == 0xa0)
        return mov_offset(t, i);
    return lower_same(t, i);
}

/* 90h + r has no ModRM: by way of the scratch registers. */
bool lower_xchg(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    if (insn->opcode < 0x90 || insn->map)
        return lower_same(t, i);
    unsigned a = insn->opnd[0].reg, size = insn->opnd[0].size;
    if (size < 4)
        return false;
    lower_read(t, T0, a);
    lower_read(t, T1, RAX);
    if (size == 4) {
        EMIT(&t->e, "\x45\x89\xd2\x45\x89\xdb"); /* mov r10d, r10d; mov r11d, r11d */
    }
    lower_write(t, a, T1);
    lower_write(t, RAX, T0);
    return true;
}

bool lower_bswap(struct translation *t, unsigned i)
{
    const struct opnd *o = &t->insn[i].opnd[0];
    if (o->size < 4)
        return false;
    unsigned host = jit_host_of[o->reg];
    if (host == HOST_NONE)
        lower_read(t, host = T0, o->reg);
    unsigned rex = (o->size == 8) << 3 | host >> 3;
    if (rex)
        emit_u8(&t->e, 0x40 | rex);
    emit_u8(&t->e, 0x0f);
    emit_u8(&t->e, 0xc8 | (host & 7));
    lower_write(t, o->reg, host);
    return true;
}

static bool is_mapped(unsigned guest)
{
    return guest >= 16 || jit_host_of[guest] != HOST_NONE;
}

bool lower_lea(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    const struct opnd *o = &insn->opnd[0];
    struct address a = address_of(t, i);
    if (o->size < 4 || t->insn[i].adsize == 2)
        return false;
    unsigned host = jit_host_of[o->reg];
    /* Loading a part of the address into the destination could overwrite the other part. */
    if (host == HOST_NONE || !is_mapped(a.base) || !is_mapped(a.index))
        host = T0;
    lower_ea(t, i, &a, host, a.wide && o->size == 8);
    lower_write(t, o->reg, host);
    return true;
}
