/* The fields that follow from others: how code is decoded, the CPL, stack and RIP widths, what needs
 * attention. */
#include "cpu/cpu.h"
#include "cpu/debug.h"

static unsigned decode_mode(const struct vcpu *v)
{
    unsigned mode = v->code64 ? DECODE_64 : v->seg[CS].attr & SEG_DB ? DECODE_32 : DECODE_16;
    if (!cpu_is_protected(v))
        mode |= DECODE_REAL;
    if (v->vm->model.vendor == VENDOR_AMD)
        mode |= DECODE_AMD;
    return mode;
}

static unsigned mmu_index(const struct vcpu *v)
{
    bool ac = v->rflags & FLAG_AC;
    if (v->cpl == 3)
        return ac && (v->cr0 & CR0_AM) ? MMU_USER_ALIGN : MMU_USER;
    return ac ? MMU_KERNEL_AC : MMU_KERNEL;
}

static void update_attention(struct vcpu *v)
{
    u32 derived = ATTN_TRAP | ATTN_RF | ATTN_BREAKPOINT;
    u32 set = 0;
    if (v->rflags & FLAG_TF)
        set |= ATTN_TRAP;
    if (v->rflags & FLAG_RF)
        set |= ATTN_RF;
    if (unlikely(v->dr[7] & 0xff) && debug_any_exec(v))
        set |= ATTN_BREAKPOINT;
    v->attention = (v->attention & ~derived) | set;
    u32 mask = EVENT_INIT | EVENT_SIPI | EVENT_KICK | EVENT_TLB_FLUSH | EVENT_EXCLUSIVE;
    if (v->rflags & FLAG_IF)
        mask |= EVENT_INTR;
    if (!v->nmi_blocked)
        mask |= EVENT_NMI;
    v->event_mask = mask;
}

void cpu_mode_update(struct vcpu *v)
{
    v->long_mode = v->efer & EFER_LMA;
    v->code64 = v->long_mode && (v->seg[CS].attr & SEG_L);
    v->cpl = cpu_is_real(v) ? 0 : cpu_is_v86(v) ? 3 : v->seg[SS].attr >> 5 & 3;
    v->stack32 = !v->code64 && (v->seg[SS].attr & SEG_DB);
    v->stack_mask = v->code64 ? ~0ull : v->stack32 ? 0xffffffff : 0xffff;
    v->rip_mask = v->code64 ? ~0ull : v->seg[CS].attr & SEG_DB ? 0xffffffff : 0xffff;
    v->decode_mode = (u8)decode_mode(v);
    v->mmu_index = (u8)mmu_index(v);
    update_attention(v);
}

void cpu_set_flags(struct vcpu *v, u64 value, u64 mask)
{
    u64 old = v->rflags;
    v->rflags = (old & ~mask) | (value & mask) | FLAG_R1;
    if ((old ^ v->rflags) & (FLAG_TF | FLAG_IF | FLAG_RF | FLAG_VM | FLAG_AC))
        cpu_mode_update(v);
}
