/* Control, debug and model-specific registers, CPUID, time, interrupts, idling. ATTR_PRIVILEGED is checked by
 * the caller but for KIND_OWN_CPL (dispatch.def). */
#include "engine/interp/dispatch.h"
#include "engine/interp/operand.h"

void system_mov_cr(struct vcpu *v, const struct insn *insn)
{
    const struct opnd *dst = &insn->opnd[0], *src = &insn->opnd[1];
    unsigned n = dst->kind == OPND_CR ? dst->reg : src->reg;
    if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8)
        cpu_raise_ud(v);
    if (dst->kind == OPND_CR)
        cpu_write_cr(v, n, interp_gpr_read(v, src->reg, src->size, false));
    else
        interp_write(v, insn, 0, cpu_read_cr(v, n));
}

void system_mov_dr(struct vcpu *v, const struct insn *insn)
{
    const struct opnd *dst = &insn->opnd[0], *src = &insn->opnd[1];
    if (dst->kind == OPND_DR)
        cpu_write_dr(v, dst->reg, interp_gpr_read(v, src->reg, src->size, false));
    else
        interp_write(v, insn, 0, cpu_read_dr(v, src->reg));
}

void system_smsw(struct vcpu *v, const struct insn *insn)
{
    if (v->cpl > 0 && (v->cr4 & CR4_UMIP))
        cpu_raise_gp0(v);
    interp_write(v, insn, 0, v->cr0);
}

void system_lmsw(struct vcpu *v, const struct insn *insn)
{
    cpu_lmsw(v, (u16)interp_read(v, insn, 0));
}

void system_clts(struct vcpu *v, const struct insn *insn)
{
    cpu_clts(v);
}

/* What CLI and STI act on: FLAG_IF, or FLAG_VIF where that is virtualized; else #GP(0) (SDM vol.
 * 3 20.3, 20.4). */
static u64 interrupt_flag(struct vcpu *v)
{
    if (v->cpl <= cpu_iopl(v))
        return FLAG_IF;
    if (cpu_is_v86(v) ? !!(v->cr4 & CR4_VME) : v->cpl == 3 && (v->cr4 & CR4_PVI))
        return FLAG_VIF;
    cpu_raise_gp0(v);
}

void system_cli(struct vcpu *v, const struct insn *insn)
{
    cpu_set_flags(v, 0, interrupt_flag(v));
}

void system_sti(struct vcpu *v, const struct insn *insn)
{
    u64 flag = interrupt_flag(v);
    if (flag == FLAG_VIF && (v->rflags & FLAG_VIP))
        cpu_raise_gp0(v);
    bool was_clear = flag == FLAG_IF && !(v->rflags & FLAG_IF);
    cpu_set_flags(v, flag, flag);
    if (was_clear)
        v->attention |= ATTN_SHADOW_STI;
}

void system_hlt(struct vcpu *v, const struct insn *insn)
{
    cpu_halt(v);
}

/* Never faults on its address, not even a non-canonical one. */
void system_invlpg(struct vcpu *v, const struct insn *insn)
{
    u64 ea = interp_ea(v, insn);
    if (!v->code64)
        ea = (ea + v->seg[insn->mem.seg].base) & 0xffffffff;
    else if (insn->mem.seg >= FS)
        ea += v->seg[insn->mem.seg].base;
    if (is_canonical(ea))
        mmu_invlpg(v, ea);
}

void system_invpcid(struct vcpu *v, const struct insn *insn)
{
    u64 type = interp_read(v, insn, 0);
    u64 lin = interp_mem_linear(v, insn, 16, MMU_READ);
    u64 pcid = interp_load(v, lin, 8), target = interp_load(v, lin + 8, 8);
    cpu_invpcid(v, type, pcid, target);
}

/* At CPL > 0 these do not exist (APM vol. 3; MSR HWCR.MonMwaitUserEn is 0). */
void system_monitor(struct vcpu *v, const struct insn *insn)
{
    if (v->cpl > 0)
        cpu_raise_ud(v);
    if ((u32)v->gpr[RCX] != 0)
        cpu_raise_gp0(v);
    u64 ea = v->gpr[RAX] & MASK(insn->adsize * 8);
    u64 lin = seg_linear(v, insn->mem.seg, ea, 1, MMU_READ);
    mmu_probe(v, lin, 1, MMU_READ, v->mmu_index);
    v->monitor_gpa = mmu_translate(v, lin);
}

void system_mwait(struct vcpu *v, const struct insn *insn)
{
    if (v->cpl > 0)
        cpu_raise_ud(v);
    if ((u32)v->gpr[RCX] & ~1u)
        cpu_raise_gp0(v);
    cpu_mwait(v, (u32)v->gpr[RCX]);
}

static void write_edx_eax(struct vcpu *v, u64 value)
{
    v->gpr[RAX] = (u32)value;
    v->gpr[RDX] = value >> 32;
}

static u64 read_edx_eax(const struct vcpu *v)
{
    return v->gpr[RDX] << 32 | (u32)v->gpr[RAX];
}

void system_rdmsr(struct vcpu *v, const struct insn *insn)
{
    u64 value;
    if (!msr_read(v, (u32)v->gpr[RCX], &value))
        cpu_raise_gp0(v);
    write_edx_eax(v, value);
}

void system_wrmsr(struct vcpu *v, const struct insn *insn)
{
    if (!msr_write(v, (u32)v->gpr[RCX], read_edx_eax(v)))
        cpu_raise_gp0(v);
}

static void check_tsd(struct vcpu *v)
{
    if (v->cpl > 0 && (v->cr4 & CR4_TSD))
        cpu_raise_gp0(v);
}

void system_rdtsc(struct vcpu *v, const struct insn *insn)
{
    check_tsd(v);
    write_edx_eax(v, cpu_tsc(v));
}

void system_rdtscp(struct vcpu *v, const struct insn *insn)
{
    check_tsd(v);
    write_edx_eax(v, cpu_tsc(v));
    v->gpr[RCX] = (u32)v->msr.tsc_aux;
}

void system_rdpid(struct vcpu *v, const struct insn *insn)
{
    interp_write(v, insn, 0, (u32)v->msr.tsc_aux);
}

/* There are no counters: every index is out of range. */
void system_rdpmc(struct vcpu *v, const struct insn *insn)
{
    cpu_raise_gp0(v);
}

void system_cpuid(struct vcpu *v, const struct insn *insn)
{
    struct cpuid_regs r = cpuid_query(v, (u32)v->gpr[RAX], (u32)v->gpr[RCX]);
    v->gpr[RAX] = r.eax;
    v->gpr[RBX] = r.ebx;
    v->gpr[RCX] = r.ecx;
    v->gpr[RDX] = r.edx;
}

void system_xgetbv(struct vcpu *v, const struct insn *insn)
{
    if (!(v->cr4 & CR4_OSXSAVE))
        cpu_raise_ud(v);
    write_edx_eax(v, cpu_xgetbv(v, (u32)v->gpr[RCX]));
}

void system_xsetbv(struct vcpu *v, const struct insn *insn)
{
    if (!(v->cr4 & CR4_OSXSAVE))
        cpu_raise_ud(v);
    if (v->cpl > 0)
        cpu_raise_gp0(v);
    cpu_xsetbv(v, (u32)v->gpr[RCX], read_edx_eax(v));
}

void system_stac(struct vcpu *v, const struct insn *insn)
{
    if (v->cpl > 0)
        cpu_raise_ud(v);
    cpu_set_flags(v, FLAG_AC, FLAG_AC);
}

void system_clac(struct vcpu *v, const struct insn *insn)
{
    if (v->cpl > 0)
        cpu_raise_ud(v);
    cpu_set_flags(v, 0, FLAG_AC);
}

/* Each vendor's CPUs know their own of the two. */
void system_hypercall(struct vcpu *v, const struct insn *insn)
{
    bool amd = v->vm->model.vendor == VENDOR_AMD;
    if (insn->id != (amd ? INSN_VMMCALL : INSN_VMCALL))
        cpu_raise_ud(v);
    cpu_hypercall(v);
}

/* Protection keys: ECX must be 0, and for WRPKRU EDX too. */
static void check_pkru(struct vcpu *v)
{
    if (!(v->cr4 & CR4_PKE))
        cpu_raise_ud(v);
    if ((u32)v->gpr[RCX] != 0)
        cpu_raise_gp0(v);
}

void system_rdpkru(struct vcpu *v, const struct insn *insn)
{
    check_pkru(v);
    write_edx_eax(v, v->fpu.pkru);
}

void system_wrpkru(struct vcpu *v, const struct insn *insn)
{
    check_pkru(v);
    if ((u32)v->gpr[RDX] != 0)
        cpu_raise_gp0(v);
    cpu_set_pkru(v, (u32)v->gpr[RAX]);
}
