/* Branches. Near ones check the target and commit; far ones are cpu/flow.h's. Flow handlers: they set v->rip.
 */
#include "cpu/flow.h"
#include "engine/interp/alu.h"
#include "engine/interp/dispatch.h"
#include "engine/interp/push.h"

/* The target as wide as the operand size; #GP(0) if it lies outside the code segment. */
static u64 near_target(struct vcpu *v, const struct insn *insn, u64 rip)
{
    rip &= MASK(insn->opsize * 8) & v->rip_mask;
    if (v->code64 ? !is_canonical(rip) : rip > v->seg[CS].limit)
        cpu_raise_gp0(v);
    return rip;
}

static u64 relative_target(struct vcpu *v, const struct insn *insn)
{
    return near_target(v, insn, v->rip + insn->len + insn->imm);
}

static void branch_if(struct vcpu *v, const struct insn *insn, bool taken)
{
    v->rip = taken ? relative_target(v, insn) : interp_next_rip(v, insn);
}

void branch_jcc(struct vcpu *v, const struct insn *insn)
{
    branch_if(v, insn, flags_test(v->rflags, insn->opcode & 15));
}

void branch_jmp(struct vcpu *v, const struct insn *insn)
{
    v->rip = relative_target(v, insn);
}

void branch_jmp_ind(struct vcpu *v, const struct insn *insn)
{
    v->rip = near_target(v, insn, interp_read(v, insn, 0));
}

static void near_call(struct vcpu *v, const struct insn *insn, u64 target)
{
    stack_push_value(v, insn->opsize, interp_next_rip(v, insn));
    v->rip = target;
}

void branch_call(struct vcpu *v, const struct insn *insn)
{
    near_call(v, insn, relative_target(v, insn));
}

void branch_call_ind(struct vcpu *v, const struct insn *insn)
{
    near_call(v, insn, near_target(v, insn, interp_read(v, insn, 0)));
}

void branch_ret(struct vcpu *v, const struct insn *insn)
{
    u64 target = near_target(v, insn, stack_peek(v, 0, insn->opsize));
    u64 pop = insn->nopnds ? insn->imm & 0xffff : 0;
    stack_set(v, v->gpr[RSP] + insn->opsize + pop);
    v->rip = target;
}

/* The count is as wide as addresses are; it is left alone if the target faults. */
void branch_loop(struct vcpu *v, const struct insn *insn)
{
    u64 count = (v->gpr[RCX] - 1) & MASK(insn->adsize * 8);
    bool taken = count != 0;
    if (insn->id == INSN_LOOPE)
        taken = taken && (v->rflags & FLAG_ZF);
    else if (insn->id == INSN_LOOPNE)
        taken = taken && !(v->rflags & FLAG_ZF);
    branch_if(v, insn, taken);
    interp_gpr_write(v, RCX, insn->adsize, false, count);
}

void branch_jcxz(struct vcpu *v, const struct insn *insn)
{
    branch_if(v, insn, (v->gpr[RCX] & MASK(insn->adsize * 8)) == 0);
}

/* A far pointer: the operand, or in memory the offset and then the selector. */
static u16 far_pointer(struct vcpu *v, const struct insn *insn, u64 *offset)
{
    if (insn->opnd[0].kind == OPND_FAR) {
        *offset = insn->imm;
        return (u16)insn->imm2;
    }
    u64 lin = interp_mem_linear(v, insn, insn->opsize + 2u, MMU_READ);
    *offset = interp_load(v, lin, insn->opsize);
    return (u16)interp_load(v, lin + insn->opsize, 2);
}

void branch_jmp_far(struct vcpu *v, const struct insn *insn)
{
    u64 offset;
    u16 selector = far_pointer(v, insn, &offset);
    cpu_far_jump(v, selector, offset, insn->opsize, interp_next_rip(v, insn));
}

void branch_call_far(struct vcpu *v, const struct insn *insn)
{
    u64 offset;
    u16 selector = far_pointer(v, insn, &offset);
    cpu_far_call(v, selector, offset, insn->opsize, interp_next_rip(v, insn));
}

void branch_retf(struct vcpu *v, const struct insn *insn)
{
    cpu_far_return(v, insn->opsize, insn->nopnds ? (u16)insn->imm : 0);
}

void branch_int(struct vcpu *v, const struct insn *insn)
{
    cpu_int(v, (u8)insn->imm, interp_next_rip(v, insn));
}

void branch_int3(struct vcpu *v, const struct insn *insn)
{
    cpu_int3_into(v, EXC_BP, interp_next_rip(v, insn));
}

void branch_into(struct vcpu *v, const struct insn *insn)
{
    if (v->rflags & FLAG_OF)
        cpu_int3_into(v, EXC_OF, interp_next_rip(v, insn));
    else
        v->rip = interp_next_rip(v, insn);
}

void branch_int1(struct vcpu *v, const struct insn *insn)
{
    cpu_icebp(v, interp_next_rip(v, insn));
}

void branch_iret(struct vcpu *v, const struct insn *insn)
{
    cpu_iret(v, insn->opsize, interp_next_rip(v, insn));
}

void branch_syscall(struct vcpu *v, const struct insn *insn)
{
    cpu_syscall(v, interp_next_rip(v, insn));
}

void branch_sysret(struct vcpu *v, const struct insn *insn)
{
    cpu_sysret(v, insn->opsize);
}

void branch_sysenter(struct vcpu *v, const struct insn *insn)
{
    cpu_sysenter(v);
}

void branch_sysexit(struct vcpu *v, const struct insn *insn)
{
    cpu_sysexit(v, insn->opsize);
}

/* A fault with RIP at BOUND itself; both bounds are signed. */
void branch_bound(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize;
    u64 lin = interp_mem_linear(v, insn, 2 * size, MMU_READ);
    s64 lower = (s64)sign_extend(interp_load(v, lin, size), size * 8);
    s64 upper = (s64)sign_extend(interp_load(v, lin + size, size), size * 8);
    s64 index = (s64)sign_extend(interp_read(v, insn, 0), size * 8);
    if (index < lower || index > upper)
        cpu_raise(v, EXC_BR);
}
