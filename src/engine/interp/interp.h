/*
 * The interpreter's inside: what an instruction's handler may rely on and must keep.
 *
 *  1. A handler executes one instruction. While it runs, v->rip is the instruction's own address, so that
 * whatever it raises is reported there. It raises before it changes anything ("commit last").
 *  2. A plain handler does not touch v->rip: the caller moves it to the next instruction when the handler
 * returns. A flow handler (branches, REP strings, far transfers; marked in dispatch.def) sets v->rip itself,
 * on every path.
 *  3. A handler is chosen once, when the instruction is decoded. Its CPU feature and ATTR_PROTECTED have been
 * checked by then (interp_ud takes the place of what the CPU lacks), and ATTR_PRIVILEGED just before the
 * call. Everything that depends on CR0, CR4, XCR0 or CPL is the handler's check, at every execution.
 *  4. `insn` lives in a decode cache: it is valid during the call only, and may be the same object next time.
 *  5. Memory is reached by interp_mem_linear + mmu_*: segment checks first (#GP, #SS), then paging (#PF),
 * then the commit.
 */
#ifndef RING3_ENGINE_INTERP_INTERP_H
#define RING3_ENGINE_INTERP_INTERP_H

#include "cpu/cpu.h"
#include "cpu/ctrl.h"
#include "cpu/exc.h"
#include "cpu/mmu.h"
#include "cpu/seg.h"

/* The interpreter's data of one vCPU: for every engine that falls back to it. finish accepts a vCPU without.
 */
int interp_init(struct vcpu *v, struct error *err);
void interp_finish(struct vcpu *v);

typedef void (*interp_handler)(struct vcpu *v, const struct insn *insn);

/* Executes exactly one instruction, or one bounded batch of iterations of a REP string, with what is due
 * right after it (single step, data breakpoints). Faults are delivered. Events are not looked at. For the
 * translator's fallback. Returns false on shutdown (triple fault). */
bool interp_step(struct vcpu *v);
/* Likewise about `count` instructions (1: exactly) at the run loop's speed: until one of them raises, changes
 * the mode of decoding or the rights, or makes cpu_handle_events due. */
bool interp_steps(struct vcpu *v, unsigned count);

/* Likewise exactly `count`, or up to one that raises, changes the mode of decoding or the rights, or makes
 * cpu_handle_events due. */
bool interp_steps_exactly(struct vcpu *v, unsigned count);

/* Likewise at least one, and on until RIP is `rip` or about `limit` are done. Counted in v->instructions. */
bool interp_steps_to(struct vcpu *v, u64 rip, unsigned limit);
/* To be called by what longjmps out of the interpreter (cpu_watch.world). */
void interp_leave(struct vcpu *v);

/* #UD: the handler of what this CPU does not have. */
void interp_ud(struct vcpu *v, const struct insn *insn);

static inline u64 interp_next_rip(const struct vcpu *v, const struct insn *insn)
{
    return (v->rip + insn->len) & v->rip_mask;
}

/* What a register number or MEM_NO_REG / MEM_REG_RIP adds to an address. */
static inline u64 interp_ea_reg(const struct vcpu *v, const struct insn *insn, unsigned reg)
{
    if (reg < 16)
        return v->gpr[reg];
    return reg == MEM_REG_RIP ? v->rip + insn->len : 0;
}

/* The offset that the memory operand names, wrapped to the address size; without its index register (VSIB
 * adds its own), and with it. */
static inline u64 interp_ea_base(const struct vcpu *v, const struct insn *insn)
{
    u64 ea = interp_ea_reg(v, insn, insn->mem.base) + (u64)insn->mem.disp;
    return ea & MASK(insn->adsize * 8);
}

static inline u64 interp_ea(const struct vcpu *v, const struct insn *insn)
{
    u64 ea = interp_ea_reg(v, insn, insn->mem.base) + (u64)insn->mem.disp;
    ea += interp_ea_reg(v, insn, insn->mem.index) << insn->mem.scale;
    return ea & MASK(insn->adsize * 8);
}

/* The linear address of `size` bytes of the memory operand, segment-checked for `access`; raises #GP(0) or
 * #SS(0). */
static inline u64 interp_mem_linear(struct vcpu *v, const struct insn *insn, unsigned size,
                                    enum mmu_access access)
{
    return seg_linear(v, insn->mem.seg, interp_ea(v, insn), size, access);
}

/* General registers by number and size (1, 2, 4, 8); `high` is AH, CH, DH, BH. Reads are zero-extended,
 * writes of 4 bytes clear the upper half, shorter ones keep the rest. */
static inline u64 interp_gpr_read(const struct vcpu *v, unsigned reg, unsigned size, bool high)
{
    u64 value = v->gpr[reg] >> (high ? 8 : 0);
    return value & MASK(size * 8);
}

static inline void interp_gpr_write(struct vcpu *v, unsigned reg, unsigned size, bool high, u64 value)
{
    u8 *p = (u8 *)&v->gpr[reg] + high;
    switch (size) {
    case 1:
        *p = (u8)value;
        break;
    case 2:
        store_le16(p, (u16)value);
        break;
    case 4:
        v->gpr[reg] = (u32)value;
        break;
    default:
        v->gpr[reg] = value;
    }
}

/* Linear memory of 1, 2, 4 or 8 bytes where the size is not a constant: one access, as the guest's own. */
u64 interp_load(struct vcpu *v, u64 lin, unsigned size);
void interp_store(struct vcpu *v, u64 lin, unsigned size, u64 value);

/* Operand `n`, whatever it is (GPR, memory, immediate, segment register): read zero-extended from its size
 * (immediates: to 64 bits as decoded), and written. */
u64 interp_read(struct vcpu *v, const struct insn *insn, unsigned n);
void interp_write(struct vcpu *v, const struct insn *insn, unsigned n, u64 value);

#endif
