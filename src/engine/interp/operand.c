/* Operands wherever they lie, and atomic read-modify-write of guest memory. */
#include "engine/interp/operand.h"

u64 interp_load(struct vcpu *v, u64 lin, unsigned size)
{
    switch (size) {
    case 1:
        return mmu_read(v, lin, 1);
    case 2:
        return mmu_read(v, lin, 2);
    case 4:
        return mmu_read(v, lin, 4);
    default:
        return mmu_read(v, lin, 8);
    }
}

void interp_store(struct vcpu *v, u64 lin, unsigned size, u64 value)
{
    switch (size) {
    case 1:
        mmu_write(v, lin, 1, value);
        break;
    case 2:
        mmu_write(v, lin, 2, value);
        break;
    case 4:
        mmu_write(v, lin, 4, value);
        break;
    default:
        mmu_write(v, lin, 8, value);
    }
}

u64 interp_read(struct vcpu *v, const struct insn *insn, unsigned n)
{
    const struct opnd *o = &insn->opnd[n];
    switch (o->kind) {
    case OPND_GPR:
        return interp_gpr_read(v, o->reg, o->size, o->high);
    case OPND_MEM:
        return interp_load(v, interp_mem_linear(v, insn, o->size, MMU_READ), o->size);
    case OPND_SEG:
        return v->seg[o->reg].selector;
    case OPND_IMM2:
        return insn->imm2;
    default:
        return insn->imm;
    }
}

void interp_write(struct vcpu *v, const struct insn *insn, unsigned n, u64 value)
{
    const struct opnd *o = &insn->opnd[n];
    if (o->kind == OPND_MEM)
        interp_store(v, interp_mem_linear(v, insn, o->size, MMU_WRITE), o->size, value);
    else
        interp_gpr_write(v, o->reg, o->size, o->high, value);
}

#define RMW_ATOMIC(bits)                                                                                     \
    static u64 rmw_atomic_##bits(u##bits *p, rmw_fn fn, u64 operand, u64 *flags)                             \
    {                                                                                                        \
        u##bits old = __atomic_load_n(p, __ATOMIC_RELAXED), new;                                             \
        u64 in = *flags;                                                                                     \
        do {                                                                                                 \
            *flags = in;                                                                                     \
            new = (u##bits)fn(old, operand, flags);                                                          \
        } while (!__atomic_compare_exchange_n(p, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));     \
        return old;                                                                                          \
    }
RMW_ATOMIC(8)
RMW_ATOMIC(16)
RMW_ATOMIC(32)
RMW_ATOMIC(64)

static u64 rmw_host(void *p, unsigned size, bool locked, rmw_fn fn, u64 operand, u64 *flags)
{
    if (!locked) {
        u64 old = load_le(p, size);
        store_le(p, size, fn(old, operand, flags));
        return old;
    }
    switch (size) {
    case 1:
        return rmw_atomic_8(p, fn, operand, flags);
    case 2:
        return rmw_atomic_16(p, fn, operand, flags);
    case 4:
        return rmw_atomic_32(p, fn, operand, flags);
    default:
        return rmw_atomic_64(p, fn, operand, flags);
    }
}

/* Not plain RAM in one page. What is raised inside an exclusive section ends it. */
static u64 rmw_split(struct vcpu *v, u64 lin, unsigned size, bool locked, rmw_fn fn, u64 operand, u64 *flags)
{
    mmu_probe(v, lin, size, MMU_WRITE, v->mmu_index);
    if (locked)
        vm_exclusive_begin(v);
    u64 old = interp_load(v, lin, size);
    interp_store(v, lin, size, fn(old, operand, flags));
    if (locked)
        vm_exclusive_end(v);
    return old;
}

u64 interp_rmw(struct vcpu *v, u64 lin, unsigned size, bool locked, rmw_fn fn, u64 operand, u64 *flags)
{
    void *p = mmu_rmw_ptr(v, lin, size);
    if (likely(p))
        return rmw_host(p, size, locked, fn, operand, flags);
    return rmw_split(v, lin, size, locked, fn, operand, flags);
}

u64 interp_modify(struct vcpu *v, const struct insn *insn, unsigned n, rmw_fn fn, u64 operand, u64 *flags)
{
    const struct opnd *o = &insn->opnd[n];
    if (o->kind == OPND_MEM)
        return interp_rmw(v, interp_mem_linear(v, insn, o->size, MMU_WRITE), o->size, insn_locked(insn), fn,
                          operand, flags);
    u64 old = interp_gpr_read(v, o->reg, o->size, o->high);
    interp_gpr_write(v, o->reg, o->size, o->high, fn(old, operand, flags));
    return old;
}

#define CMPXCHG_HOST(bits)                                                                                   \
    case bits / 8: {                                                                                         \
        u##bits old = (u##bits)expected[0];                                                                  \
        bool equal = __atomic_compare_exchange_n((u##bits *)p, &old, (u##bits)desired[0], false,             \
                                                 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                        \
        expected[0] = old;                                                                                   \
        return equal;                                                                                        \
    }

/* Locked or not: an unlocked CMPXCHG may be atomic too. */
static bool cmpxchg_host(void *p, unsigned size, u64 expected[2], const u64 desired[2])
{
    switch (size) {
        CMPXCHG_HOST(8)
        CMPXCHG_HOST(16)
        CMPXCHG_HOST(32)
        CMPXCHG_HOST(64)
    default: {
        bool equal;
        __asm__ volatile("lock cmpxchg16b %1"
                         : "=@ccz"(equal), "+m"(*(u128 *)p), "+a"(expected[0]), "+d"(expected[1])
                         : "b"(desired[0]), "c"(desired[1])
                         : "memory");
        return equal;
    }
    }
}

bool interp_cmpxchg(struct vcpu *v, u64 lin, unsigned size, bool locked, u64 expected[2],
                    const u64 desired[2])
{
    void *p = mmu_rmw_ptr(v, lin, size);
    if (likely(p))
        return cmpxchg_host(p, size, expected, desired);
    mmu_probe(v, lin, size, MMU_WRITE, v->mmu_index);
    if (locked)
        vm_exclusive_begin(v);
    unsigned part = MIN(size, 8u);
    u64 old[2] = {interp_load(v, lin, part), size == 16 ? interp_load(v, lin + 8, 8) : 0};
    bool equal = old[0] == (expected[0] & MASK(part * 8)) && (size != 16 || old[1] == expected[1]);
    const u64 *stored = equal ? desired : old;
    interp_store(v, lin, part, stored[0]);
    if (size == 16)
        interp_store(v, lin + 8, 8, stored[1]);
    if (locked)
        vm_exclusive_end(v);
    expected[0] = old[0];
    expected[1] = old[1];
    return equal;
}
