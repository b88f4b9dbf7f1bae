/* IN, OUT, INS, OUTS: permission, breakpoints, then the port space. */
#include "engine/interp/dispatch.h"
#include "engine/interp/strings.h"

static u64 input(struct vcpu *v, u16 port, unsigned size)
{
    cpu_meet_world(v);
    u64 value = port_read(v->vm->mem, port, size);
    debug_check_io(v, port, size);
    return value;
}

static void output(struct vcpu *v, u16 port, unsigned size, u64 value)
{
    cpu_meet_world(v);
    port_write(v->vm->mem, port, size, value);
    debug_check_io(v, port, size);
}

void io_in(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opnd[0].size;
    u16 port = (u16)interp_read(v, insn, 1);
    cpu_check_io(v, port, size);
    interp_write(v, insn, 0, input(v, port, size));
}

void io_out(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opnd[1].size;
    u16 port = (u16)interp_read(v, insn, 0);
    cpu_check_io(v, port, size);
    output(v, port, size, interp_read(v, insn, 1));
}

/* Ports are 4 bytes wide at most, whatever REX.W says. */
static unsigned port_size(const struct insn *insn)
{
    return MIN(insn->opsize, 4u);
}

static void advance(struct vcpu *v, const struct insn *insn, unsigned reg)
{
    u64 delta = v->rflags & FLAG_DF ? -(u64)port_size(insn) : port_size(insn);
    interp_gpr_write(v, reg, insn->adsize, false, v->gpr[reg] + delta);
}

/* The memory is known to be writable before the port is read: nothing read is lost. */
static u64 ins(struct vcpu *v, const struct insn *insn, u64 count, bool *more)
{
    unsigned size = port_size(insn);
    u16 port = (u16)v->gpr[RDX];
    cpu_check_io(v, port, size);
    u64 lin = seg_linear(v, ES, string_offset(v, insn, RDI), size, MMU_WRITE);
    mmu_probe(v, lin, size, MMU_WRITE, v->mmu_index);
    interp_store(v, lin, size, input(v, port, size));
    advance(v, insn, RDI);
    return 1;
}

static u64 outs(struct vcpu *v, const struct insn *insn, u64 count, bool *more)
{
    unsigned size = port_size(insn);
    u16 port = (u16)v->gpr[RDX];
    cpu_check_io(v, port, size);
    u64 lin = seg_linear(v, insn->mem.seg, string_offset(v, insn, RSI), size, MMU_READ);
    output(v, port, size, interp_load(v, lin, size));
    advance(v, insn, RSI);
    return 1;
}

void io_ins(struct vcpu *v, const struct insn *insn)
{
    string_repeat(v, insn, ins);
}

void io_outs(struct vcpu *v, const struct insn *insn)
{
    string_repeat(v, insn, outs);
}
