/* Which arithmetic flags the code ahead may read. */
#include "cpu/mmu.h"
#include "engine/jit/lower.h"
#include "engine/lockstep/lockstep.h"

bool code_decode(struct vcpu *v, u64 rip, struct insn *insn)
{
    u8 bytes[INSN_MAX_LEN];
    unsigned have = 0;
    for (; have < INSN_MAX_LEN; have++) {
        u64 lin = v->code64 ? rip + have : (v->seg[CS].base + rip + have) & 0xffffffff;
        u64 gpa = mmu_translate(v, lin);
        if (gpa == ~0ull)
            break;
        struct mem_page page = mem_lookup(v->vm->mem, gpa);
        if (page.kind != MEM_RAM && page.kind != MEM_ROM)
            break;
        bytes[have] = page.hva[gpa & ~PAGE_MASK];
    }
    return insn_decode(insn, bytes, have, v->decode_mode) == DECODE_OK;
}

/* A search along direct branches. */
struct search {
    struct vcpu *v;
    unsigned budget; /* instructions still to be looked at */
};

#define DEPTH 4

/* Those of `flags` that may be read from `rip` on. */
static u32 live_from(struct search *s, u64 rip, u32 flags, unsigned depth)
{
    u32 live = 0;
    struct insn insn;
    while (flags) {
        if (!s->budget || !code_decode(s->v, rip, &insn))
            return live | flags;
        s->budget--;
        const struct insn_info *info = insn.info;
        u32 read = live_is_counted(&insn) ? 0 : info->flags_read;
        live |= flags & read;
        flags &= ~(read | (info->flags_write & ~info->flags_undef));
        u64 next = (rip + insn.len) & s->v->rip_mask;
        u64 target = (next + insn.imm) & s->v->rip_mask;
        if (insn.id == INSN_JMP || insn.id == INSN_CALL) {
            rip = target;
        } else if (insn.id == INSN_JCC) {
            if (depth == DEPTH)
                return live | flags;
            live |= live_from(s, target, flags, depth + 1);
            flags &= ~live;
            rip = next;
        } else if (info->klass == CLASS_BRANCH || (info->attrs & ATTR_ENDS_BLOCK)) {
            return live | flags;
        } else {
            rip = next;
        }
    }
    return live;
}

u32 flags_live(struct vcpu *v, u32 flags)
{
    struct search s = {.v = v, .budget = 200};
    return live_from(&s, v->rip, flags, 0);
}
