/*
 * x87: the state goes to the host, the instruction runs there, the state comes back. The last-instruction and
 * last-operand pointers are kept here (SDM vol. 1 8.1.8), so that they do not depend on the host.
 */
#include <string.h>
#include "engine/interp/native_check.h"

void x87_reset(struct vcpu *v)
{
    struct fpu *f = &v->fpu;
    f->fcw = 0x37f;
    x87_set_top(f, 0);
    f->fsw = 0;
    f->ftw = 0;
    f->fop = f->fcs = f->fds = 0;
    f->fip = f->fdp = 0;
}

void x87_update_summary(struct vcpu *v)
{
    struct fpu *f = &v->fpu;
    f->fsw &= (u16) ~(FSW_ES | FSW_B);
    if (f->fsw & ~f->fcw & FSW_EXCEPTIONS)
        f->fsw |= FSW_ES | FSW_B;
}

static void ferr_set(struct vcpu *v, bool level)
{
    struct vm *vm = v->vm;
    if (!vm->ferr.set)
        return;
    if (vm->machine_lock)
        pthread_mutex_lock(vm->machine_lock);
    irq_set(&vm->ferr, level);
    if (vm->machine_lock)
        pthread_mutex_unlock(vm->machine_lock);
}

void native_x87_pending(struct vcpu *v)
{
    if (v->cr0 & CR0_NE)
        cpu_raise(v, EXC_MF);
    ferr_set(v, true);
}

/* To and from the FXSAVE image that the stub works on; MXCSR in it is the host's, the XMM part is scratch. */
static void image_fill(const struct fpu *f, u8 *image)
{
    store_le16(image, f->fcw);
    store_le16(image + 2, f->fsw);
    store_le16(image + 4, f->ftw);
    memset(image + 6, 0, 18);
    store_le32(image + 24, 0x1f80);
    memcpy(image + 32, f->st, sizeof f->st);
}

static void image_take(struct fpu *f, const u8 *image)
{
    f->fcw = load_le16(image);
    f->fsw = load_le16(image + 2);
    f->ftw = image[4];
    memcpy(f->st, image + 32, sizeof f->st);
}

/*
 * With CR0.NE = 0 a pending exception is FERR#'s business, and the instruction runs as with IGNNE# asserted:
 * everything masked, so that the host does not fault on it.
 */
static void image_mask(const struct fpu *f, u8 *image)
{
    store_le16(image, f->fcw | FSW_EXCEPTIONS);
    store_le16(image + 2, f->fsw & (u16) ~(FSW_ES | FSW_B));
}

/* FLDCW: the one waiting instruction that runs here and writes the control word. */
static bool loads_control_word(const struct insn *insn)
{
    return (insn->opcode & 0xff) == 0xd9 && insn->modrm < 0xc0 && (insn->modrm >> 3 & 7) == 5;
}

static void pointers_update(struct vcpu *v, const struct insn *insn, bool memory)
{
    struct fpu *f = &v->fpu;
    f->fop = (u16)((insn->opcode & 7) << 8 | insn->modrm);
    f->fip = v->rip;
    f->fcs = v->seg[CS].selector;
    if (memory) {
        f->fdp = interp_ea(v, insn);
        f->fds = v->seg[insn->mem.seg].selector;
    }
}

/* A store whose exception is not masked leaves memory alone; an inexact one is still stored. */
static bool store_happened(const struct fpu *f)
{
    return !(f->fsw & ~f->fcw & (FSW_EXCEPTIONS & ~0x20));
}

void x87_execute(struct vcpu *v, const struct insn *insn)
{
    struct native *n = v->native;
    native_check_x87(v);
    if (!(insn->info->attrs & ATTR_X87_NOWAIT))
        native_check_pending(v);
    const struct opnd *mem = insn->modrm < 0xc0 ? insn_mem_opnd(insn) : NULL;
    bool store = mem && (mem->access & ACCESS_W);
    u64 lin = 0;
    if (store) {
        lin = native_operand(v, insn, mem->size, MMU_WRITE);
        native_probe_write(v, lin, mem->size);
    } else if (mem) {
        native_read(v, native_operand(v, insn, mem->size, MMU_READ), n->bounce, mem->size);
    }
    bool ignored = !(insn->info->attrs & ATTR_X87_NOWAIT) && (v->fpu.fsw & FSW_ES);
    u16 fcw = v->fpu.fcw;
    image_fill(&v->fpu, n->fx);
    if (unlikely(ignored))
        image_mask(&v->fpu, n->fx);
    if (unlikely(!stub_run(n, stub_of(n, insn, STUB_X87), v)))
        native_raise_host_fault(v);
    image_take(&v->fpu, n->fx);
    if (unlikely(ignored)) {
        if (!loads_control_word(insn))
            v->fpu.fcw = fcw;
        x87_update_summary(v);
    }
    if (!(insn->info->attrs & ATTR_X87_CONTROL))
        pointers_update(v, insn, mem);
    v->fpu.xinuse |= BIT(XSTATE_X87);
    if (store && store_happened(&v->fpu))
        native_write(v, lin, n->bounce, mem->size);
}

void x87_fwait(struct vcpu *v, const struct insn *insn)
{
    if ((v->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        cpu_raise(v, EXC_NM);
    native_check_pending(v);
}

void x87_fninit(struct vcpu *v, const struct insn *insn)
{
    native_check_x87(v);
    x87_reset(v);
    ferr_set(v, false);
}

void x87_fnclex(struct vcpu *v, const struct insn *insn)
{
    native_check_x87(v);
    v->fpu.fsw &= 0x7f00;
    ferr_set(v, false);
}

/* FNENI, FNDISI, FNSETPM: of the 8087 and 80287, nothing since. */
void x87_nop(struct vcpu *v, const struct insn *insn)
{
    native_check_x87(v);
}

static void store_word(struct vcpu *v, const struct insn *insn, u16 value)
{
    native_check_x87(v);
    if (insn->opnd[0].kind == OPND_GPR)
        interp_gpr_write(v, RAX, 2, false, value);
    else
        mmu_write(v, interp_mem_linear(v, insn, 2, MMU_WRITE), 2, value);
}

void x87_fnstsw(struct vcpu *v, const struct insn *insn)
{
    store_word(v, insn, v->fpu.fsw);
}

void x87_fnstcw(struct vcpu *v, const struct insn *insn)
{
    store_word(v, insn, v->fpu.fcw);
}

void x87_fldcw(struct vcpu *v, const struct insn *insn)
{
    native_check_x87(v);
    native_check_pending(v);
    v->fpu.fcw = x87_control_value((u16)mmu_read(v, interp_mem_linear(v, insn, 2, MMU_READ), 2));
    x87_update_summary(v);
    v->fpu.xinuse |= BIT(XSTATE_X87);
}
