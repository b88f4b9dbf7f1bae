/* Data movement, conditional moves, flag bits, hints and fences. */
#include <sched.h>
#include <sys/random.h>
#include "engine/interp/alu.h"
#include "engine/interp/dispatch.h"
#include "engine/interp/operand.h"

/* MOV, MOVZX (operands are read zero-extended), MOVNTI. */
void move_mov(struct vcpu *v, const struct insn *insn)
{
    interp_write(v, insn, 0, interp_read(v, insn, 1));
}

void move_movsx(struct vcpu *v, const struct insn *insn)
{
    interp_write(v, insn, 0, sign_extend(interp_read(v, insn, 1), insn->opnd[1].size * 8));
}

void move_movbe(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opnd[0].size;
    interp_write(v, insn, 0, __builtin_bswap64(interp_read(v, insn, 1)) >> (64 - size * 8));
}

/* 64 bytes to ES:reg, aligned; one write as far as the guest can tell. */
void move_movdir64b(struct vcpu *v, const struct insn *insn)
{
    u8 block[64];
    u64 dst = interp_read(v, insn, 0);
    u64 to = seg_linear(v, ES, dst, 64, MMU_WRITE);
    if (to & 63)
        cpu_raise_gp0(v);
    mmu_read_bytes(v, interp_mem_linear(v, insn, 64, MMU_READ), block, 64);
    mmu_write_bytes(v, to, block, 64);
}

void move_lea(struct vcpu *v, const struct insn *insn)
{
    interp_write(v, insn, 0, interp_ea(v, insn));
}

static u64 exchange(u64 old, u64 new, u64 *flags)
{
    return new;
}

/* With memory always locked. */
void move_xchg(struct vcpu *v, const struct insn *insn)
{
    unsigned m = insn->opnd[1].kind == OPND_MEM ? 1 : 0, r = 1 - m;
    u64 flags = 0, value = interp_read(v, insn, r), old;
    if (insn->opnd[m].kind == OPND_MEM) {
        unsigned size = insn->opnd[m].size;
        old = interp_rmw(v, interp_mem_linear(v, insn, size, MMU_WRITE), size, true, exchange, value, &flags);
    } else {
        old = interp_read(v, insn, m);
        interp_write(v, insn, m, value);
    }
    interp_write(v, insn, r, old);
}

void move_xlat(struct vcpu *v, const struct insn *insn)
{
    u64 ea = (v->gpr[RBX] + (u8)v->gpr[RAX]) & MASK(insn->adsize * 8);
    interp_gpr_write(v, RAX, 1, false, mmu_read(v, seg_linear(v, insn->mem.seg, ea, 1, MMU_READ), 1));
}

/* The source is read in any case, and a 32-bit destination's upper half cleared. */
void move_cmovcc(struct vcpu *v, const struct insn *insn)
{
    u64 value = interp_read(v, insn, 1);
    if (!flags_test(v->rflags, insn->opcode & 15))
        value = interp_read(v, insn, 0);
    interp_write(v, insn, 0, value);
}

void move_setcc(struct vcpu *v, const struct insn *insn)
{
    interp_write(v, insn, 0, flags_test(v->rflags, insn->opcode & 15));
}

void move_lahf(struct vcpu *v, const struct insn *insn)
{
    interp_gpr_write(v, RAX, 1, true, (v->rflags & 0xd5) | FLAG_R1);
}

void move_sahf(struct vcpu *v, const struct insn *insn)
{
    v->rflags = (v->rflags & ~0xd5ull) | (v->gpr[RAX] >> 8 & 0xd5);
}

void move_salc(struct vcpu *v, const struct insn *insn)
{
    interp_gpr_write(v, RAX, 1, false, v->rflags & FLAG_CF ? 0xff : 0);
}

void move_clc(struct vcpu *v, const struct insn *insn)
{
    v->rflags &= ~(u64)FLAG_CF;
}

void move_stc(struct vcpu *v, const struct insn *insn)
{
    v->rflags |= FLAG_CF;
}

void move_cmc(struct vcpu *v, const struct insn *insn)
{
    v->rflags ^= FLAG_CF;
}

void move_cld(struct vcpu *v, const struct insn *insn)
{
    v->rflags &= ~(u64)FLAG_DF;
}

void move_std(struct vcpu *v, const struct insn *insn)
{
    v->rflags |= FLAG_DF;
}

void move_nop(struct vcpu *v, const struct insn *insn) {}

/* A guest that waits for another CPU: where vCPUs share host CPUs, let the other one run. */
void move_pause(struct vcpu *v, const struct insn *insn)
{
    if (v->vm->cpu_count > 1)
        sched_yield();
    else
        __builtin_ia32_pause();
}

void move_fence(struct vcpu *v, const struct insn *insn)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* No NV memory reports errors: CF = 1 (APM vol. 3). */
void move_mcommit(struct vcpu *v, const struct insn *insn)
{
    v->rflags = (v->rflags & ~(u64)FLAGS_ARITH) | FLAG_CF;
}

/* The one door through which randomness enters the machine. */
static bool entropy_read(void *buf, size_t len)
{
    return getrandom(buf, len, 0) == (ssize_t)len;
}

/* CF = 1: a value; CF = 0: none now, and the destination 0. */
void move_rdrand(struct vcpu *v, const struct insn *insn)
{
    u64 value = 0;
    cpu_meet_world(v);
    bool ok = entropy_read(&value, sizeof value);
    interp_write(v, insn, 0, ok ? value : 0);
    v->rflags = (v->rflags & ~(u64)FLAGS_ARITH) | (ok ? FLAG_CF : 0);
}

/* Checked as a load of one byte; the caches are the host's. */
void move_clflush(struct vcpu *v, const struct insn *insn)
{
    mmu_probe(v, interp_mem_linear(v, insn, 1, MMU_READ), 1, MMU_READ, v->mmu_index);
}

void move_clzero(struct vcpu *v, const struct insn *insn)
{
    static const u8 zeros[64];
    u64 ea = v->gpr[RAX] & MASK(insn->adsize * 8) & ~63ull;
    mmu_write_bytes(v, seg_linear(v, insn->mem.seg <= GS ? insn->mem.seg : DS, ea, 64, MMU_WRITE), zeros, 64);
}
