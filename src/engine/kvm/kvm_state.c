/* Registers: general, segments, control, debug, events (4.11 - 4.14, 4.31, 4.43). */
#include <string.h>
#include "cpu/ctrl.h"
#include "cpu/exc.h"
#include "cpu/msr.h"
#include "engine/kvm/kvm_impl.h"

static bool call(struct vcpu *v, unsigned long request, void *arg, const char *what)
{
    int rc = kvm_cpu_call(v->engine, request, arg);
    if (rc < 0)
        log_warn(v->vm->log, "cpu%u: KVM refuses %s: %s", v->index, what, strerror(-rc));
    return rc >= 0;
}

/* --- general registers: in KVM's order --- */

/* clang-format off */
#define GPRS(X)                                                                                              \
    X(rax, RAX) X(rbx, RBX) X(rcx, RCX) X(rdx, RDX) X(rsi, RSI) X(rdi, RDI) X(rsp, RSP) X(rbp, RBP)          \
    X(r8, R8) X(r9, R9) X(r10, R10) X(r11, R11) X(r12, R12) X(r13, R13) X(r14, R14) X(r15, R15)
/* clang-format on */

static bool regs_pull(struct vcpu *v)
{
    struct kvm_regs r;
    if (!call(v, KVM_GET_REGS, &r, "to show registers"))
        return false;
#define X(field, n) v->gpr[n] = r.field;
    GPRS(X)
#undef X
    v->rip = r.rip;
    v->rflags = (r.rflags & FLAGS_ALL) | FLAG_R1;
    return true;
}

static bool regs_push(struct vcpu *v)
{
    struct kvm_regs r = {.rip = v->rip, .rflags = v->rflags};
#define X(field, n) r.field = v->gpr[n];
    GPRS(X)
#undef X
    return call(v, KVM_SET_REGS, &r, "registers");
}

/* --- segments --- */

static struct segreg seg_from(const struct kvm_segment *s)
{
    struct segreg out = {.base = s->base, .limit = s->limit, .selector = s->selector};
    out.attr = (u16)(s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->avl << 8 | s->l << 9 |
                     s->db << 10 | s->g << 11);
    if (s->unusable)
        out.attr |= SEG_UNUSABLE;
    return out;
}

/* The granularity bit must agree with the limit: a limit that is not so many pages has none. */
static struct kvm_segment seg_to(const struct segreg *s)
{
    bool unusable = s->attr & SEG_UNUSABLE;
    return (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = s->attr & SEG_TYPE,
        .s = s->attr >> 4 & 1,
        .dpl = s->attr >> 5 & 3,
        .present = !unusable && (s->attr & SEG_P),
        .avl = s->attr >> 8 & 1,
        .l = s->attr >> 9 & 1,
        .db = s->attr >> 10 & 1,
        .g = s->limit > 0xfffff || (s->attr & SEG_G && (s->limit & 0xfff) == 0xfff),
        .unusable = unusable,
    };
}

/* clang-format off */
#define SEGS(X)                                                                                              \
    X(es, seg[ES]) X(cs, seg[CS]) X(ss, seg[SS]) X(ds, seg[DS]) X(fs, seg[FS]) X(gs, seg[GS])                \
    X(ldt, ldtr) X(tr, tr)
/* clang-format on */

void kvm_apic_base_set(struct vcpu *v, u64 base)
{
    struct kvm_cpu *c = v->engine;
    u64 now = 0;
    c->apic_base = base;
    if (msr_read(v, MSR_APIC_BASE, &now) && now != base && !msr_write(v, MSR_APIC_BASE, base))
        log_warn(v->vm->log, "cpu%u: the local APIC cannot be at %#llx", v->index, (unsigned long long)base);
}

static bool sregs_pull(struct vcpu *v)
{
    struct kvm_sregs s;
    if (!call(v, KVM_GET_SREGS, &s, "to show system registers"))
        return false;
#define X(theirs, ours) v->ours = seg_from(&s.theirs);
    SEGS(X)
#undef X
    v->gdtr = (struct dtable){s.gdt.base, s.gdt.limit};
    v->idtr = (struct dtable){s.idt.base, s.idt.limit};
    v->cr0 = s.cr0 | CR0_ET;
    v->cr2 = s.cr2;
    v->cr3 = s.cr3;
    v->cr4 = s.cr4;
    v->efer = s.efer;
    kvm_apic_base_set(v, s.apic_base);
    return true;
}

/* Without a local APIC: as it is after power-on. */
static u64 apic_base(struct vcpu *v)
{
    u64 base;
    return msr_read(v, MSR_APIC_BASE, &base) ? base : 0xfee00000 | BIT(11) | (v->index ? 0 : BIT(8));
}

static bool sregs_push(struct vcpu *v)
{
    struct kvm_sregs s = {
        .gdt = {.base = v->gdtr.base, .limit = v->gdtr.limit},
        .idt = {.base = v->idtr.base, .limit = v->idtr.limit},
        .cr0 = v->cr0,
        .cr2 = v->cr2,
        .cr3 = v->cr3,
        .cr4 = v->cr4,
        .efer = v->efer,
        .cr8 = cpu_read_cr(v, 8),
        .apic_base = apic_base(v),
    };
#define X(theirs, ours) s.theirs = seg_to(&v->ours);
    SEGS(X)
#undef X
    return call(v, KVM_SET_SREGS, &s, "system registers (an entry on a bad state)");
}

/* --- debug registers, what is pending --- */

static bool debug_pull(struct vcpu *v)
{
    struct kvm_debugregs d;
    if (!call(v, KVM_GET_DEBUGREGS, &d, "to show debug registers"))
        return false;
    memcpy(v->dr, d.db, sizeof d.db);
    v->dr[6] = d.dr6;
    v->dr[7] = d.dr7;
    return true;
}

static bool debug_push(struct vcpu *v)
{
    struct kvm_debugregs d = {.dr6 = v->dr[6], .dr7 = v->dr[7]};
    memcpy(d.db, v->dr, sizeof d.db);
    return call(v, KVM_SET_DEBUGREGS, &d, "debug registers");
}

#define SHADOWS ((u32)(ATTN_SHADOW_STI | ATTN_SHADOW_MOVSS))

/* What KVM has taken from us but not delivered: it can be delivered by our own code now. */
static void finish_injection(struct vcpu *v, const struct kvm_vcpu_events *e)
{
    if (e->nmi.injected || e->nmi.pending)
        vcpu_post(v, EVENT_NMI);
    if (e->exception.injected || e->exception.pending) {
        v->exc = (struct exception){.vector = e->exception.nr,
                                    .has_error = e->exception.has_error_code,
                                    .error = e->exception.error_code,
                                    .cr2 = v->cr2};
        cpu_mode_update(v);
        cpu_deliver_exception(v);
    } else if (e->interrupt.injected) {
        cpu_mode_update(v);
        cpu_deliver_interrupt(v, e->interrupt.nr);
    }
}

static bool events_pull(struct vcpu *v)
{
    struct kvm_vcpu_events e;
    if (!call(v, KVM_GET_VCPU_EVENTS, &e, "to show events"))
        return false;
    v->nmi_blocked = e.nmi.masked;
    v->attention &= ~SHADOWS;
    if (e.interrupt.shadow & KVM_X86_SHADOW_INT_STI)
        v->attention |= ATTN_SHADOW_STI;
    if (e.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS)
        v->attention |= ATTN_SHADOW_MOVSS;
    finish_injection(v, &e);
    return true;
}

static bool events_push(struct vcpu *v)
{
    struct kvm_vcpu_events e = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
                                .nmi.masked = v->nmi_blocked};
    if (v->attention & ATTN_SHADOW_STI)
        e.interrupt.shadow |= KVM_X86_SHADOW_INT_STI;
    if (v->attention & ATTN_SHADOW_MOVSS)
        e.interrupt.shadow |= KVM_X86_SHADOW_INT_MOV_SS;
    v->attention &= ~SHADOWS;
    return call(v, KVM_SET_VCPU_EVENTS, &e, "events");
}

static bool xcr_pull(struct vcpu *v)
{
    struct kvm_xcrs x = {0};
    if (!(v->cr4 & CR4_OSXSAVE) || !cpu_has(v, FEAT_XSAVE))
        return true;
    if (!call(v, KVM_GET_XCRS, &x, "to show XCR0"))
        return false;
    for (u32 i = 0; i < x.nr_xcrs; i++)
        if (x.xcrs[i].xcr == 0)
            v->xcr0 = x.xcrs[i].value;
    return true;
}

static bool xcr_push(struct vcpu *v)
{
    struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = v->xcr0}}};
    return !cpu_has(v, FEAT_XSAVE) || call(v, KVM_SET_XCRS, &x, "XCR0");
}

/* With immediate_exit the instruction of the last exit is completed, and no other begun. */
static void complete(struct kvm_cpu *c)
{
    if (!c->incomplete)
        return;
    c->incomplete = false;
    __atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    kvm_cpu_call(c, KVM_RUN, NULL);
}

bool kvm_pull(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    complete(c);
    bool ok =
        regs_pull(v) && sregs_pull(v) && debug_pull(v) && xcr_pull(v) && kvm_fpu_pull(v) && kvm_msrs_pull(v);
    c->ahead = false;
    if (ok) {
        cpu_mode_update(v);
        ok = events_pull(v);
        cpu_mode_update(v);
    }
    c->stale = true;
    return ok;
}

/* System registers first: others are checked against them. MSRs follow the CPUID that was set. */
bool kvm_push(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    bool ok = sregs_push(v) && xcr_push(v) && kvm_fpu_push(v) && kvm_msrs_push(v) && regs_push(v) &&
              debug_push(v) && events_push(v);
    c->stale = !ok;
    return ok;
}
