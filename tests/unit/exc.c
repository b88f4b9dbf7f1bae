/* Delivery through the vector table and the IDT, frames, error codes, double and triple faults, events
 * between instructions. */
#include "cpu/debug.h"
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;

static void gate64(unsigned vector, u16 selector, u64 offset, unsigned type, unsigned dpl, unsigned ist)
{
    put(&t, IDT_AT + vector * 16, 8, gate_descriptor(selector, (u32)offset, type, dpl, ist));
    put(&t, IDT_AT + vector * 16 + 8, 8, offset >> 32);
}

static void raise_now(u8 vector, bool has_error, u32 error)
{
    t.v->exc = (struct exception){.vector = vector, .has_error = has_error, .error = error};
}

static void test_real_mode(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    struct vcpu *v = t.v;
    put(&t, 0x21 * 4, 4, 0x12340056);
    segreg_load_real(v, CS, 0x1000);
    segreg_load_real(v, SS, 0x2000);
    v->rip = 0x10;
    v->gpr[RSP] = 0xabcd0000;
    v->rflags = FLAG_R1 | FLAG_IF | FLAG_TF | FLAG_CF;
    CHECK_OK(v, cpu_int(v, 0x21, 0x12));
    CHECK_EQ(v->seg[CS].base, 0x12340);
    CHECK_EQ(v->rip, 0x56);
    CHECK_EQ(v->gpr[RSP], 0xabcdfffa); /* only SP moves, and wraps */
    CHECK_EQ(get(&t, 0x2fffa, 2), 0x12);
    CHECK_EQ(get(&t, 0x2fffc, 2), 0x1000);
    CHECK_EQ(get(&t, 0x2fffe, 2), 0x303);
    CHECK_EQ(v->rflags, FLAG_R1 | FLAG_CF);
    v->idtr.limit = 0x21 * 4 + 2;
    CHECK_RAISES(v, cpu_int(v, 0x21, 0x12), EXC_GP, 0x21 * 8 + 2);
    cpu_vm_destroy(&t);
}

static void test_protected_frames(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 3);
    struct vcpu *v = t.v;
    v->rflags |= FLAG_IF | FLAG_TF;
    idt_set(&t, 0x80, gate_descriptor(SEL_CODE0, 0x5678, TYPE_INT32, 3, 0));
    CHECK_OK(v, cpu_int(v, 0x80, 0x1002));
    CHECK_EQ(v->cpl, 0);
    CHECK_EQ(v->rip, 0x5678);
    CHECK_EQ(v->seg[CS].selector, SEL_CODE0);
    CHECK_EQ(v->seg[SS].selector, SEL_DATA0);
    CHECK_EQ(v->rflags, FLAG_R1);
    CHECK_EQ(v->gpr[RSP], STACK0 - 20);
    static const u32 frame[] = {0x1002, SEL_CODE3, FLAG_R1 | FLAG_IF | FLAG_TF, STACK3, SEL_DATA3};
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(get(&t, STACK0 - 20 + i * 4, 4), frame[i]);
    cpu_vm_destroy(&t);

    /* A fault with an error code at the same level, a 16-bit trap gate; RF in the image. */
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    v = t.v;
    v->rflags |= FLAG_IF;
    idt_set(&t, EXC_GP, gate_descriptor(SEL_CODE0, 0x99995678, TYPE_TRAP16, 0, 0));
    raise_now(EXC_GP, true, 0x1234);
    CHECK(cpu_deliver_exception(v));
    CHECK_EQ(v->rip, 0x5678);
    CHECK(v->rflags & FLAG_IF);
    CHECK_EQ(get(&t, STACK0 - 8, 2), 0x1234);
    CHECK_EQ(get(&t, STACK0 - 6, 2), 0x1000);
    idt_set(&t, EXC_GP, gate_descriptor(SEL_CODE0, 0x5678, TYPE_INT32, 0, 0));
    raise_now(EXC_GP, true, 0x1234);
    CHECK(cpu_deliver_exception(v));
    CHECK_EQ(get(&t, v->gpr[RSP] + 12, 4), FLAG_R1 | FLAG_IF | FLAG_RF);
    cpu_vm_destroy(&t);
}

/* A gate of this type with a null selector: #GP(0) if the type is one, else #GP of the vector. */
static void check_gate_type(unsigned type)
{
    bool ok = type == 5 || type == 6 || type == 7 || type == 14 || type == 15;
    idt_set(&t, 0x30, gate_descriptor(0, 0, type, 3, 0));
    CHECK_RAISES(t.v, cpu_int(t.v, 0x30, 0), EXC_GP, ok ? 0 : 0x30 * 8 + 2);
}

/* Every way in which a gate is refused, for INT n (EXT = 0) and an external interrupt (EXT = 1, ends in #DF
 * here). */
static void test_gate_errors(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 3);
    struct vcpu *v = t.v;
    u64 good = gate_descriptor(SEL_CODE0, 0x5678, TYPE_INT32, 3, 0);
    u32 code = 0x30 * 8 + 2;
    idt_set(&t, 0x30, good & ~BIT(47));
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_NP, code);
    idt_set(&t, 0x30, gate_descriptor(SEL_CODE0, 0x5678, TYPE_INT32, 2, 0));
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_GP, code);
    CHECK_RAISES(v, cpu_int3_into(v, 0x30, 0), EXC_GP, code);
    for (unsigned type = 0; type < 16; type++)
        check_gate_type(type);
    idt_set(&t, 0x30, gate_descriptor(0x1000, 0, TYPE_INT32, 3, 0));
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_GP, 0x1000);
    idt_set(&t, 0x30, gate_descriptor(SEL_DATA0, 0, TYPE_INT32, 3, 0));
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_GP, SEL_DATA0);
    gdt_set(&t, SEL_FREE, descriptor(0, 0xfffff, (ATTR_CODE & ~SEG_P) | ATTR_BIG));
    idt_set(&t, 0x30, gate_descriptor(SEL_FREE, 0, TYPE_INT32, 3, 0));
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_NP, SEL_FREE);
    gdt_set(&t, SEL_FREE, descriptor(0, 0x100, ATTR_CODE | SEG_DB));
    idt_set(&t, 0x30, gate_descriptor(SEL_FREE, 0x101, TYPE_INT32, 3, 0));
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_GP, 0);
    v->idtr.limit = 0x30 * 8 + 6;
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_GP, code);
    v->idtr.limit = 0xfff;
    /* The stack of the TSS. */
    idt_set(&t, 0x30, good);
    put(&t, TSS_AT + 8, 4, 0);
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_TS, 0);
    put(&t, TSS_AT + 8, 4, SEL_DATA3);
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_TS, SEL_DATA3 & ~3);
    gdt_set(&t, SEL_FREE, descriptor(0, 0xfffff, 0x13));
    put(&t, TSS_AT + 8, 4, SEL_FREE);
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_SS, SEL_FREE);
    gdt_set(&t, SEL_FREE, descriptor(0, 0xff, 0x93 | SEG_DB)); /* ESP0 is above its limit */
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_SS, SEL_FREE);
    v->tr.limit = 8;
    CHECK_RAISES(v, cpu_int(v, 0x30, 0), EXC_TS, SEL_TSS);
    CHECK_EQ(v->cpl, 3);
    CHECK_EQ(v->gpr[RSP], STACK3);
    CHECK_EQ(v->rip, 0x1000);
    cpu_vm_destroy(&t);
}

static void test_ext_bit(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    idt_set(&t, EXC_NP, gate_descriptor(SEL_CODE0, 0x5678, TYPE_INT32, 0, 0));
    idt_set(&t, 0x30, gate_descriptor(SEL_CODE0, 0x5678, TYPE_INT32, 0, 0) & ~BIT(47));
    CHECK(cpu_deliver_interrupt(v, 0x30));
    CHECK_EQ(v->rip, 0x5678);
    CHECK_EQ(get(&t, v->gpr[RSP], 4), 0x30 * 8 + 3);
    CHECK_EQ(v->ext, 0);
    cpu_vm_destroy(&t);
}

static void test_long_mode(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_long(&t, 3);
    struct vcpu *v = t.v;
    gate64(EXC_PF, SEL_CODE64, 0x123456789000, TYPE_INT32, 0, 0);
    v->gpr[RSP] = 0x30008;
    v->exc = (struct exception){.vector = EXC_PF, .has_error = true, .error = 5, .cr2 = 0xdead000};
    CHECK(cpu_deliver_exception(v));
    CHECK_EQ(v->cr2, 0xdead000);
    CHECK_EQ(v->rip, 0x123456789000);
    CHECK_EQ(v->cpl, 0);
    CHECK_EQ(v->seg[SS].selector, 0);
    CHECK_EQ(v->gpr[RSP], STACK0 - 48);
    static const u64 frame[] = {5, 0x1000, SEL_CODE64_3, FLAG_R1 | FLAG_RF, 0x30008, SEL_DATA3};
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(get(&t, STACK0 - 48 + i * 8, 8), frame[i]);
    /* Same level: RSP is aligned. IST: another stack, SS unchanged. */
    v->gpr[RSP] = 0x1fff9;
    gate64(0x40, SEL_CODE64, 0x4000, TYPE_INT32, 0, 0);
    CHECK(cpu_deliver_interrupt(v, 0x40));
    CHECK_EQ(v->gpr[RSP], 0x1fff0 - 40);
    CHECK_EQ(get(&t, 0x1fff0 - 16, 8), 0x1fff9);
    put(&t, TSS_AT + 0x24 + 2 * 8, 8, 0x29008);
    gate64(EXC_NMI, SEL_CODE64, 0x4000, TYPE_INT32, 0, 3);
    CHECK(cpu_deliver_nmi(v));
    CHECK_EQ(v->gpr[RSP], 0x29000 - 40);
    CHECK(v->nmi_blocked);
    CHECK(!(v->event_mask & EVENT_NMI));
    CHECK_OK(v, cpu_iret(v, 8, 0));
    CHECK(!v->nmi_blocked);
    CHECK_EQ(v->gpr[RSP], 0x1fff0 - 40);
    /* Refusals. */
    gate64(0x41, SEL_CODE0, 0x4000, TYPE_INT32, 0, 0); /* not a 64-bit segment */
    CHECK_RAISES(v, cpu_int(v, 0x41, 0), EXC_GP, SEL_CODE0);
    gate64(0x41, SEL_CODE64, BIT(47), TYPE_INT32, 0, 0);
    CHECK_RAISES(v, cpu_int(v, 0x41, 0), EXC_GP, 0);
    gate64(0x41, SEL_CODE64, 0, TYPE_INT16, 0, 0);
    CHECK_RAISES(v, cpu_int(v, 0x41, 0), EXC_GP, 0x41 * 8 + 2);
    put(&t, TSS_AT + 0x24, 8, BIT(47));
    gate64(0x41, SEL_CODE64, 0, TYPE_INT32, 0, 1);
    CHECK_RAISES(v, cpu_int(v, 0x41, 0), EXC_SS, 0);
    cpu_vm_destroy(&t);
}

/* {first, second} -> what is delivered; 0xff: shutdown. Both gates but the delivered one are absent or fault.
 */
static void test_double_fault(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    idt_set(&t, EXC_DF, gate_descriptor(SEL_CODE0, 0xdf00, TYPE_INT32, 0, 0));
    /* #GP whose gate is absent (#NP): #DF with error 0 */
    raise_now(EXC_GP, true, 0);
    CHECK(cpu_deliver_exception(v));
    CHECK_EQ(v->rip, 0xdf00);
    CHECK_EQ(get(&t, v->gpr[RSP], 4), 0);
    CHECK_EQ(get(&t, v->gpr[RSP] + 12, 4) & FLAG_RF, 0); /* an abort */
    /* #UD (benign) whose gate is bad: the second, here #GP, is served */
    idt_set(&t, EXC_GP, gate_descriptor(SEL_CODE0, 0x9900, TYPE_INT32, 0, 0));
    raise_now(EXC_UD, false, 0);
    CHECK(cpu_deliver_exception(v));
    CHECK_EQ(v->rip, 0x9900);
    CHECK_EQ(get(&t, v->gpr[RSP], 4), EXC_UD * 8 + 3);
    /* #PF, then #NP: #DF; #NP then #PF would be served in turn */
    v->rip = 0x1000;
    v->exc = (struct exception){.vector = EXC_PF, .has_error = true, .cr2 = 5};
    CHECK(cpu_deliver_exception(v));
    CHECK_EQ(v->rip, 0xdf00);
    CHECK_EQ(v->cr2, 5);
    /* and with no #DF gate: shutdown */
    idt_set(&t, EXC_DF, 0);
    v->exc = (struct exception){.vector = EXC_PF, .has_error = true, .cr2 = 5};
    CHECK(!cpu_deliver_exception(v));
    CHECK_EQ(v->activity, ACTIVITY_SHUTDOWN);
    CHECK_EQ(cpu_handle_events(v), PENDING_SHUTDOWN);
    cpu_vm_destroy(&t);
}

static void test_v86(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    v->rflags |= FLAG_VM | FLAG_IF;
    for (unsigned i = 0; i < SREG_COUNT; i++)
        segreg_load_real(v, i, (u16)(0x2000 + i * 0x100));
    v->gpr[RSP] = 0x800;
    cpu_mode_update(v);
    CHECK_EQ(v->cpl, 3);
    idt_set(&t, 0x21, gate_descriptor(SEL_CODE0, 0x5678, TYPE_INT32, 3, 0));
    CHECK_RAISES(v, cpu_int(v, 0x21, 0x12), EXC_GP, 0); /* IOPL < 3 */
    CHECK_OK(v, cpu_int3_into(v, 0x21, 0x12));
    CHECK_EQ(v->gpr[RSP], STACK0 - 36);
    static const u32 frame[] = {0x12,   0x2100, FLAG_R1 | FLAG_VM | FLAG_IF, 0x800, 0x2200, 0x2000, 0x2300,
                                0x2400, 0x2500};
    for (unsigned i = 0; i < 9; i++)
        CHECK_EQ(get(&t, STACK0 - 36 + i * 4, 4), frame[i]);
    CHECK(v->seg[GS].attr & SEG_UNUSABLE);
    CHECK(!cpu_is_v86(v));
    CHECK_OK(v, cpu_iret(v, 4, 0)); /* and back */
    CHECK(cpu_is_v86(v));
    CHECK_EQ(v->seg[DS].base, 0x23000);
    CHECK_EQ(v->gpr[RSP], 0x800);
    CHECK_EQ(v->rip, 0x12);
    /* VME: the redirection bitmap sends INT 21h to the 8086 table; VIF stands for IF. */
    v->cr4 |= CR4_VME;
    put(&t, TSS_AT + 0x66, 2, 0x88);
    put(&t, 0x21 * 4, 4, 0x30000040);
    CHECK_OK(v, cpu_int(v, 0x21, 0x14));
    CHECK_EQ(v->seg[CS].selector, 0x3000);
    CHECK_EQ(v->rip, 0x40);
    CHECK_EQ(get(&t, 0x22000 + 0x7fe, 2), FLAG_R1 | FLAG_IOPL); /* VIF = 0 shows as IF = 0, IOPL as 3 */
    CHECK(v->rflags & FLAG_IF);
    v->rflags |= FLAG_VIF;
    CHECK_OK(v, cpu_iret(v, 2, 0));
    CHECK_EQ(v->rip, 0x14);
    CHECK(!(v->rflags & FLAG_VIF));
    put(&t, TSS_AT + 0x88 - 32 + 4, 1, 2); /* bit 21h: the IDT, where IOPL counts */
    CHECK_RAISES(v, cpu_int(v, 0x21, 0x14), EXC_GP, 0);
    cpu_vm_destroy(&t);
}

static void test_shadows_and_traps(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    idt_set(&t, EXC_DB, gate_descriptor(SEL_CODE0, 0x100, TYPE_INT32, 0, 0));
    idt_set(&t, EXC_NMI, gate_descriptor(SEL_CODE0, 0x200, TYPE_INT32, 0, 0));
    /* TF: armed before an instruction, taken after it. */
    cpu_set_flags(v, FLAG_TF, FLAG_TF);
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x1000);
    v->rip = 0x1001;
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x100);
    CHECK_EQ(v->dr[6], 0xffff0ff0 | DR6_BS);
    CHECK_EQ(get(&t, v->gpr[RSP], 4), 0x1001);
    CHECK_EQ(v->attention, 0);
    /* MOV SS holds a data breakpoint and NMI back for one instruction. */
    v->db_pending = 1;
    v->attention |= ATTN_DB_PENDING | ATTN_SHADOW_MOVSS;
    vcpu_post(v, EVENT_NMI);
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x100);
    v->rip = 0x1100;
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x200); /* #DB first, then the NMI from its handler's first instruction */
    CHECK_EQ(v->dr[6] & 0xf, 1);
    CHECK_EQ(get(&t, v->gpr[RSP], 4), 0x100);
    /* A second NMI waits for IRET. */
    vcpu_post(v, EVENT_NMI);
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x200);
    CHECK_OK(v, cpu_iret(v, 4, 0));
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x200);
    cpu_vm_destroy(&t);
}

/* A data breakpoint hit by MOV SS and held back is reported by the ICEBP that follows: one #DB. */
static void test_icebp_takes_held_traps(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    idt_set(&t, EXC_DB, gate_descriptor(SEL_CODE0, 0x100, TYPE_INT32, 0, 0));
    v->db_pending = 2;
    v->attention |= ATTN_DB_PENDING | ATTN_SHADOW_MOVSS;
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x1000);
    CHECK_OK(v, cpu_icebp(v, 0x1001));
    CHECK_EQ(v->rip, 0x100);
    CHECK_EQ(v->dr[6] & 0xf, 2);
    CHECK_EQ(get(&t, v->gpr[RSP], 4), 0x1001);
    u64 sp = v->gpr[RSP];
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x100);
    CHECK_EQ(v->gpr[RSP], sp);
    cpu_vm_destroy(&t);
}

static void test_exec_breakpoint(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    idt_set(&t, EXC_DB, gate_descriptor(SEL_CODE0, 0x100, TYPE_INT32, 0, 0));
    cpu_write_dr(v, 2, 0x1000);
    cpu_write_dr(v, 7, 1 << 4);
    CHECK(v->attention & ATTN_BREAKPOINT);
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x100);
    CHECK_EQ(v->dr[6] & 0xf, 4);
    CHECK_EQ(get(&t, v->gpr[RSP], 4), 0x1000);
    CHECK_EQ(get(&t, v->gpr[RSP] + 8, 4) & FLAG_RF, 0);
    put(&t, v->gpr[RSP] + 8, 4, FLAG_R1 | FLAG_RF);
    CHECK_OK(v, cpu_iret(v, 4, 0));
    CHECK(v->rflags & FLAG_RF);
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN); /* RF: once over it */
    CHECK_EQ(v->rip, 0x1000);
    CHECK(!(v->rflags & FLAG_RF));
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->rip, 0x100);
    cpu_vm_destroy(&t);
}

static void test_halt_init_sipi(void)
{
    cpu_vm_create(&t, "x86-64-v2", 2);
    struct vcpu *v = t.vm.cpu[1];
    CHECK_EQ(v->activity, ACTIVITY_WAIT_SIPI);
    CHECK_EQ(cpu_handle_events(v), PENDING_HALTED);
    struct cpu_port port = vcpu_port(v);
    port.nmi(port.cpu);
    CHECK(!vcpu_has_wakeup(v));
    port.sipi(port.cpu, 0x9a);
    CHECK(vcpu_has_wakeup(v));
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    port.sipi(port.cpu, 0x11); /* dropped while running */
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->activity, ACTIVITY_RUNNING);
    port.init(port.cpu);
    CHECK_EQ(cpu_handle_events(v), PENDING_HALTED);
    CHECK_EQ(v->activity, ACTIVITY_WAIT_SIPI);
    /* INIT and SIPI in one go: INIT first. A SIPI before an INIT is lost. */
    port.init(port.cpu);
    port.sipi(port.cpu, 0x20);
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    CHECK_EQ(v->seg[CS].base, 0x20000);
    CHECK_EQ(v->seg[CS].selector, 0x2000);
    CHECK_EQ(v->rip, 0);
    cpu_halt(v);
    CHECK_EQ(cpu_handle_events(v), PENDING_HALTED);
    port.set_intr(port.cpu, true);
    CHECK(!vcpu_has_wakeup(v)); /* IF = 0 */
    cpu_set_flags(v, FLAG_IF, FLAG_IF);
    CHECK(vcpu_has_wakeup(v));
    vcpu_post(v, EVENT_KICK);
    CHECK_EQ(cpu_handle_events(v), PENDING_KICKED);
    CHECK_EQ(cpu_handle_events(v), PENDING_RUN);
    v->monitor_gpa = 0;
    cpu_mwait(v, 0);
    vcpu_clear(v, EVENT_INTR);
    CHECK_EQ(cpu_handle_events(v), PENDING_HALTED);
    vcpu_wait(v); /* ends by itself */
    CHECK_EQ(v->activity, ACTIVITY_RUNNING);
    cpu_vm_destroy(&t);
}

struct exclusive_test {
    struct vcpu *v;
    u64 *counter;
};

static void *exclusive_thread(void *arg)
{
    struct exclusive_test *x = arg;
    for (unsigned i = 0; i < 2000; i++) {
        vcpu_enter(x->v);
        vm_exclusive_begin(x->v);
        u64 old = *(volatile u64 *)x->counter;
        for (volatile int spin = 0; spin < 20; spin = spin + 1)
            ;
        *(volatile u64 *)x->counter = old + 1;
        vm_exclusive_end(x->v);
        cpu_handle_events(x->v);
        vcpu_leave(x->v);
    }
    return NULL;
}

/* Three CPUs that all want to be alone, and one that sleeps: no deadlock, no lost update. */
static void test_exclusive(void)
{
    cpu_vm_create(&t, "x86-64-v2", 4);
    u64 counter = 0;
    pthread_t thread[3];
    struct exclusive_test x[3];
    for (unsigned i = 0; i < 3; i++) {
        x[i] = (struct exclusive_test){t.vm.cpu[i], &counter};
        pthread_create(&thread[i], NULL, exclusive_thread, &x[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    CHECK_EQ(counter, 6000);
    /* A raise inside the section ends it. */
    vcpu_enter(t.v);
    CHECK_RAISES(t.v, (vm_exclusive_begin(t.v), cpu_raise_gp0(t.v)), EXC_GP, 0);
    CHECK(!t.v->exclusive && !t.vm.exclusive_owner);
    vcpu_leave(t.v);
    cpu_vm_destroy(&t);
}

static void *wait_thread(void *arg)
{
    vcpu_wait(arg);
    return NULL;
}

static void test_wakeup_race(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    struct vcpu *v = t.v;
    for (unsigned i = 0; i < 2000; i++) {
        pthread_t thread;
        cpu_halt(v);
        pthread_create(&thread, NULL, wait_thread, v);
        vcpu_post(v, EVENT_NMI);
        pthread_join(thread, NULL); /* hangs if the post is lost */
        vcpu_clear(v, EVENT_NMI);
    }
    CHECK(!atomic_load(&v->sleeping));
    cpu_vm_destroy(&t);
}

int main(void)
{
    TAP_RUN(test_real_mode);
    TAP_RUN(test_protected_frames);
    TAP_RUN(test_gate_errors);
    TAP_RUN(test_ext_bit);
    TAP_RUN(test_long_mode);
    TAP_RUN(test_double_fault);
    TAP_RUN(test_v86);
    TAP_RUN(test_shadows_and_traps);
    TAP_RUN(test_icebp_takes_held_traps);
    TAP_RUN(test_exec_breakpoint);
    TAP_RUN(test_halt_init_sipi);
    TAP_RUN(test_exclusive);
    TAP_RUN(test_wakeup_race);
    return tap_done();
}
