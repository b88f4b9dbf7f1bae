/* Which instructions are lowered, and the one way that suits most: the same instruction with other registers.
 */
#include "engine/jit/lower.h"
#include "engine/jit/lower_alu.h"
#include "engine/jit/lower_system.h"
#include "engine/jit/lower_vector.h"

static bool lower_nothing(struct translation *t, unsigned i)
{
    return true;
}

static const lower_fn table[INSN_COUNT] = {
#define SAME(id) [INSN_##id] = lower_same,
    /* clang-format off */
    SAME(ADD) SAME(OR) SAME(ADC) SAME(SBB) SAME(AND) SAME(SUB) SAME(XOR) SAME(CMP) SAME(TEST) SAME(INC) SAME(DEC) SAME(NEG)
    SAME(NOT) SAME(ROL) SAME(ROR) SAME(RCL) SAME(RCR) SAME(SHL) SAME(SHR) SAME(SAR) SAME(SHLD) SAME(SHRD) SAME(MUL) SAME(IMUL)
    SAME(MOVZX) SAME(MOVSX) SAME(MOVSXD) SAME(CMOVCC) SAME(SETCC) SAME(XADD) SAME(BSF) SAME(BSR) SAME(TZCNT) SAME(LZCNT)
    SAME(POPCNT) SAME(CBW) SAME(CWD) SAME(SAHF) SAME(LAHF) SAME(CMC) SAME(CLC) SAME(STC) SAME(PAUSE) SAME(LFENCE)
    SAME(MFENCE) SAME(SFENCE) SAME(MOVBE) SAME(CRC32) SAME(MOVNTI) SAME(ADCX) SAME(ADOX) SAME(ANDN) SAME(BLSR) SAME(BLSMSK)
    SAME(BLSI) SAME(BZHI) SAME(PEXT) SAME(PDEP) SAME(MULX) SAME(BEXTR) SAME(SHLX) SAME(SARX) SAME(SHRX) SAME(RORX)
                                    /* clang-format on */
                                    [INSN_BT] = lower_bit_test,
    [INSN_BTS] = lower_bit_test,
    [INSN_BTR] = lower_bit_test,
    [INSN_BTC] = lower_bit_test,
    [INSN_CMPXCHG] = lower_cmpxchg,
    [INSN_CMPXCHG8B] = lower_cmpxchg_pair,
    [INSN_CMPXCHG16B] = lower_cmpxchg_pair,
    [INSN_MOV] = lower_mov,
    [INSN_XCHG] = lower_xchg,
    [INSN_BSWAP] = lower_bswap,
    [INSN_LEA] = lower_lea,
    [INSN_NOP] = lower_nothing,
    [INSN_PREFETCH] = lower_nothing,
    [INSN_PREFETCHW] = lower_nothing,
    [INSN_PREFETCHT0] = lower_nothing,
    [INSN_PREFETCHT1] = lower_nothing,
    [INSN_PREFETCHT2] = lower_nothing,
    [INSN_PREFETCHNTA] = lower_nothing,
    [INSN_ENDBR64] = lower_nothing,
    [INSN_ENDBR32] = lower_nothing,
    [INSN_PUSH] = lower_push,
    [INSN_POP] = lower_pop,
    [INSN_LEAVE] = lower_leave,
    [INSN_CALL] = lower_call,
    [INSN_CALL_IND] = lower_call_ind,
    [INSN_JMP] = lower_jmp,
    [INSN_JMP_IND] = lower_jmp_ind,
    [INSN_JCC] = lower_jcc,
    [INSN_RET] = lower_ret,
    [INSN_CLI] = lower_cli,
    [INSN_STI] = lower_sti,
    [INSN_CLD] = lower_direction,
    [INSN_STD] = lower_direction,
    [INSN_PUSHF] = lower_pushf,
    [INSN_POPF] = lower_popf,
    [INSN_MOV_CR] = lower_mov_cr,
    [INSN_MOV_SEG] = lower_mov_seg,
    [INSN_RDFSBASE] = lower_read_base,
    [INSN_RDGSBASE] = lower_read_base,
    [INSN_WRFSBASE] = lower_write_base,
    [INSN_WRGSBASE] = lower_write_base,
    [INSN_SYSCALL] = lower_syscall,
    [INSN_SYSRET] = lower_sysret,
    [INSN_SWAPGS] = lower_swapgs,
    [INSN_STAC] = lower_ac,
    [INSN_CLAC] = lower_ac,
    [INSN_DIV] = lower_div,
    [INSN_IDIV] = lower_div,
};

/* Executed twice, they differ. */
static bool is_repeatable(const struct insn *insn)
{
    return insn->id != INSN_RDTSC && insn->id != INSN_RDTSCP && insn->id != INSN_RDRAND &&
           insn->id != INSN_RDSEED;
}

lower_fn lower_find(const struct translation *t, unsigned i)
{
    const struct vcpu *v = t->j->v;
    const struct insn *insn = &t->insn[i];
    const struct insn_info *info = insn->info;
    if (!cpu_has(v, info->feature) || !cpu_has(v, info->feature2))
        return NULL;
    if (t->j->checker && !is_repeatable(insn))
        return NULL;
    /* The interpreter's yields to the CPU that is waited for. */
    if (insn->id == INSN_PAUSE && v->vm->cpu_count > 1)
        return NULL;
    if (!table[insn->id] && vector_is_native(insn, t->b->mode))
        return lower_vector;
    if (!table[insn->id] && x87_is_native(insn, t->b->mode))
        return lower_x87;
    return table[insn->id];
}
