/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT as AMD has them (APM vol. 2 6.1, vol. 3): SYSCALL works in legacy and
 * compatibility mode too; SYSENTER and SYSEXIT are #UD in long mode. A vendor-Intel model follows the SDM.
 */
#include "cpu/desc.h"
#include "cpu/flow.h"

enum { CODE64 = 1, CODE32 = 2 };

/* The fixed flat segments that these instructions load without reading descriptors. */
static void load_flat_code(struct vcpu *v, u16 selector, unsigned dpl, unsigned kind)
{
    v->seg[CS] = (struct segreg){
        .limit = 0xffffffff,
        .selector = selector,
        .attr = (u16)(SEG_P | dpl << 5 | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED | SEG_G |
                      (kind == CODE64 ? SEG_L : SEG_DB)),
    };
}

static void load_flat_stack(struct vcpu *v, u16 selector, unsigned dpl)
{
    v->seg[SS] = (struct segreg){
        .limit = 0xffffffff,
        .selector = selector,
        .attr = (u16)(SEG_P | dpl << 5 | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G | SEG_DB),
    };
}

/* TF counts as it is when SYSCALL or SYSRET is done, so that no trap follows into a kernel that masks TF, and
 * one follows SYSRET back to a stepped program. */
static void step_as_now(struct vcpu *v)
{
    if (v->rflags & FLAG_TF)
        v->attention |= ATTN_STEP;
    else
        v->attention &= ~(u32)ATTN_STEP;
}

void cpu_syscall(struct vcpu *v, u64 next_rip)
{
    bool amd = v->vm->model.vendor == VENDOR_AMD;
    if (!(v->efer & EFER_SCE) || (!amd && !v->code64))
        cpu_raise_ud(v);
    u16 cs = v->msr.star >> 32 & 0xfffc;
    if (v->long_mode) {
        u64 target = v->code64 ? v->msr.lstar : v->msr.cstar;
        v->gpr[RCX] = next_rip;
        v->gpr[R11] = v->rflags & ~(u64)FLAG_RF;
        v->rflags = (v->rflags & ~v->msr.sfmask & ~(u64)FLAG_RF) | FLAG_R1;
        load_flat_code(v, cs, 0, CODE64);
        v->rip = target;
    } else {
        v->gpr[RCX] = next_rip & 0xffffffff;
        v->rflags &= ~(u64)(FLAG_IF | FLAG_RF | FLAG_VM);
        load_flat_code(v, cs, 0, CODE32);
        v->rip = v->msr.star & 0xffffffff;
    }
    load_flat_stack(v, (u16)(cs + 8), 0);
    cpu_mode_update(v);
    step_as_now(v);
}

void cpu_sysret(struct vcpu *v, unsigned opsize)
{
    bool amd = v->vm->model.vendor == VENDOR_AMD;
    if (!(v->efer & EFER_SCE) || !cpu_is_protected(v) || (!amd && !v->code64))
        cpu_raise_ud(v);
    if (v->cpl != 0)
        cpu_raise_gp0(v);
    u16 base = v->msr.star >> 48 & 0xfffc;
    if (v->long_mode) {
        /* Intel checks RCX here; AMD faults on the first fetch instead. */
        if (!amd && opsize == 8 && !is_canonical(v->gpr[RCX]))
            cpu_raise_gp0(v);
        if (v->code64)
            v->rflags = (v->gpr[R11] & FLAGS_ALL & ~(u64)(FLAG_VM | FLAG_RF)) | FLAG_R1;
        else
            v->rflags |= FLAG_IF;
        if (opsize == 8) {
            load_flat_code(v, (u16)(base + 16) | 3, 3, CODE64);
            v->rip = v->gpr[RCX];
        } else {
            load_flat_code(v, base | 3, 3, CODE32);
            v->rip = v->gpr[RCX] & 0xffffffff;
        }
    } else {
        v->rflags |= FLAG_IF;
        load_flat_code(v, base | 3, 3, CODE32);
        v->rip = v->gpr[RCX] & 0xffffffff;
    }
    load_flat_stack(v, (u16)(base + 8) | 3, 3);
    cpu_mode_update(v);
    step_as_now(v);
}

void cpu_sysenter(struct vcpu *v)
{
    bool amd = v->vm->model.vendor == VENDOR_AMD;
    if (v->long_mode && amd)
        cpu_raise_ud(v);
    if (cpu_is_real(v) || selector_is_null((u16)v->msr.sysenter_cs))
        cpu_raise_gp0(v);
    u16 cs = v->msr.sysenter_cs & 0xfffc;
    v->rflags &= ~(u64)(FLAG_VM | FLAG_IF | FLAG_RF);
    load_flat_code(v, cs, 0, v->long_mode ? CODE64 : CODE32);
    load_flat_stack(v, (u16)(cs + 8), 0);
    v->gpr[RSP] = v->long_mode ? v->msr.sysenter_esp : v->msr.sysenter_esp & 0xffffffff;
    v->rip = v->long_mode ? v->msr.sysenter_eip : v->msr.sysenter_eip & 0xffffffff;
    cpu_mode_update(v);
}

void cpu_sysexit(struct vcpu *v, unsigned opsize)
{
    bool amd = v->vm->model.vendor == VENDOR_AMD;
    if (v->long_mode && amd)
        cpu_raise_ud(v);
    if (!cpu_is_protected(v) || v->cpl != 0 || selector_is_null((u16)v->msr.sysenter_cs))
        cpu_raise_gp0(v);
    bool wide = opsize == 8;
    if (wide && (!is_canonical(v->gpr[RDX]) || !is_canonical(v->gpr[RCX])))
        cpu_raise_gp0(v);
    u16 base = v->msr.sysenter_cs & 0xfffc;
    u16 cs = (u16)(base + (wide ? 32 : 16)) | 3;
    load_flat_code(v, cs, 3, wide ? CODE64 : CODE32);
    load_flat_stack(v, (u16)(cs + 8), 3);
    v->gpr[RSP] = wide ? v->gpr[RCX] : v->gpr[RCX] & 0xffffffff;
    v->rip = wide ? v->gpr[RDX] : v->gpr[RDX] & 0xffffffff;
    cpu_mode_update(v);
}
