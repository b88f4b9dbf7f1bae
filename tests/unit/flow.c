/* Far jumps, calls, returns, gates, IRET, SYSCALL and SYSENTER families. */
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;
static struct vcpu *v;

static void setup(unsigned cpl)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, cpl);
    v = t.v;
}

static void setup_long(unsigned cpl)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_long(&t, cpl);
    v = t.v;
}

static void test_real_mode(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    v = t.v;
    v->gpr[RSP] = 0x100;
    CHECK_OK(v, cpu_far_jump(v, 0x1234, 0x10005, 2, 0));
    CHECK_EQ(v->seg[CS].base, 0x12340);
    CHECK_EQ(v->rip, 5);
    CHECK_RAISES(v, cpu_far_jump(v, 0x1234, 0x10005, 4, 0), EXC_GP, 0);
    CHECK_OK(v, cpu_far_call(v, 0x2000, 0x10, 2, 9));
    CHECK_EQ(v->gpr[RSP], 0xfc);
    CHECK_OK(v, cpu_far_return(v, 2, 6));
    CHECK_EQ(v->seg[CS].selector, 0x1234);
    CHECK_EQ(v->rip, 9);
    CHECK_EQ(v->gpr[RSP], 0x106);
    cpu_vm_destroy(&t);
}

/* JMP to a code segment: {attr, RPL, vector}. The error code is the selector. */
static void check_direct(u32 attr, unsigned rpl, int vector)
{
    gdt_set(&t, SEL_FREE, descriptor(0, 0xfffff, attr | ATTR_BIG));
    u64 rip = v->rip;
    int got = RAISED(v, cpu_far_jump(v, (u16)(SEL_FREE | rpl), 0x5555, 4, 0));
    if (got != vector || (got >= 0 && (v->exc.error != SEL_FREE || v->rip != rip))) {
        printf("# attr %#x rpl %u: vector %d, want %d\n", attr, rpl, got, vector);
        CHECK(false);
    }
}

static void test_direct_jumps(void)
{
    setup(0);
    check_direct(0x9a, 0, -1);
    check_direct(0x9a, 3, EXC_GP);
    check_direct(0xfa, 0, EXC_GP); /* DPL 3 from CPL 0 */
    check_direct(0x1a, 0, EXC_NP);
    check_direct(0x9e, 3, -1); /* conforming */
    CHECK_EQ(v->seg[CS].selector, SEL_FREE);
    check_direct(0xfe, 0, EXC_GP); /* conforming, DPL 3 > CPL */
    check_direct(0x92, 0, EXC_GP);
    CHECK_RAISES(v, cpu_far_jump(v, 3, 0, 4, 0), EXC_GP, 0);
    gdt_set(&t, SEL_FREE, descriptor(0, 0xff, 0x9a | SEG_DB));
    CHECK_RAISES(v, cpu_far_jump(v, SEL_FREE, 0x100, 4, 0), EXC_GP, 0);
    CHECK_EQ(get(&t, GDT_AT + SEL_FREE + 5, 1), 0x9a); /* not accessed */
    cpu_vm_destroy(&t);
    setup(3);
    check_direct(0x9e, 3, -1);
    CHECK_EQ(v->cpl, 3);
    CHECK_EQ(v->seg[CS].selector & 3, 3);
    check_direct(0xfa, 0, -1);
    check_direct(0x9a, 3, EXC_GP);
    cpu_vm_destroy(&t);
}

static void test_call_gate_inner(void)
{
    setup(3);
    gdt_set(&t, SEL_FREE, gate_descriptor(SEL_CODE0, 0x777, TYPE_CALL32, 3, 2));
    put(&t, STACK3, 4, 0x11);
    put(&t, STACK3 + 4, 4, 0x22);
    CHECK_OK(v, cpu_far_call(v, SEL_FREE | 3, 0xdead, 4, 0x1007));
    CHECK_EQ(v->cpl, 0);
    CHECK_EQ(v->rip, 0x777);
    CHECK_EQ(v->gpr[RSP], STACK0 - 24);
    static const u32 frame[] = {0x1007, SEL_CODE3, 0x11, 0x22, STACK3, SEL_DATA3};
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(get(&t, STACK0 - 24 + i * 4, 4), frame[i]);
    v->seg[ES] = (struct segreg){0, 0xffffffff, SEL_DATA0, ATTR_DATA};
    CHECK_OK(v, cpu_far_return(v, 4, 8));
    CHECK_EQ(v->cpl, 3);
    CHECK_EQ(v->gpr[RSP], STACK3 + 8);
    CHECK_EQ(v->rip, 0x1007);
    CHECK(v->seg[ES].attr & SEG_UNUSABLE); /* privileged segments are nulled */
    CHECK(!(v->seg[DS].attr & SEG_UNUSABLE));
    /* Refusals. */
    gdt_set(&t, SEL_FREE, gate_descriptor(SEL_CODE0, 0, TYPE_CALL32, 2, 0));
    CHECK_RAISES(v, cpu_far_call(v, SEL_FREE | 3, 0, 4, 0), EXC_GP, SEL_FREE);
    gdt_set(&t, SEL_FREE, gate_descriptor(SEL_CODE0, 0, TYPE_CALL32, 3, 0) & ~BIT(47));
    CHECK_RAISES(v, cpu_far_call(v, SEL_FREE | 3, 0, 4, 0), EXC_NP, SEL_FREE);
    gdt_set(&t, SEL_FREE, gate_descriptor(0, 0, TYPE_CALL32, 3, 0));
    CHECK_RAISES(v, cpu_far_call(v, SEL_FREE | 3, 0, 4, 0), EXC_GP, 0);
    gdt_set(&t, SEL_FREE, gate_descriptor(SEL_DATA0, 0, TYPE_CALL32, 3, 0));
    CHECK_RAISES(v, cpu_far_call(v, SEL_FREE | 3, 0, 4, 0), EXC_GP, SEL_DATA0);
    gdt_set(&t, SEL_FREE, gate_descriptor(SEL_CODE0, 0, TYPE_CALL32, 3, 0)); /* JMP may not go inwards */
    CHECK_RAISES(v, cpu_far_jump(v, SEL_FREE | 3, 0, 4, 0), EXC_GP, SEL_CODE0);
    put(&t, TSS_AT + 8, 4, SEL_DATA3);
    CHECK_RAISES(v, cpu_far_call(v, SEL_FREE | 3, 0, 4, 0), EXC_TS, SEL_DATA3 & ~3);
    CHECK_EQ(v->cpl, 3);
    cpu_vm_destroy(&t);
}

static void test_call_gate_16(void)
{
    setup(0);
    gdt_set(&t, SEL_FREE, gate_descriptor(SEL_CODE0, 0x99990777, TYPE_CALL16, 0, 0));
    CHECK_OK(v, cpu_far_call(v, SEL_FREE, 0, 4, 0x1007));
    CHECK_EQ(v->rip, 0x777);
    CHECK_EQ(v->gpr[RSP], STACK0 - 4);
    CHECK_EQ(get(&t, STACK0 - 4, 4), 0x1007 | SEL_CODE0 << 16);
    cpu_vm_destroy(&t);
}

static void test_call_gate_64(void)
{
    setup_long(3);
    gdt_set(&t, SEL_FREE, gate_descriptor(SEL_CODE64, 0x777, TYPE_CALL32, 3, 0));
    gdt_set(&t, SEL_FREE + 8, 0x1234);
    CHECK_OK(v, cpu_far_call(v, SEL_FREE | 3, 0, 4, 0x1007));
    CHECK_EQ(v->rip, 0x123400000777);
    CHECK_EQ(v->cpl, 0);
    CHECK_EQ(v->seg[SS].selector, 0);
    CHECK_EQ(v->gpr[RSP], STACK0 - 32);
    CHECK_EQ(get(&t, STACK0 - 32, 8), 0x1007);
    CHECK_EQ(get(&t, STACK0 - 8, 8), SEL_DATA3);
    CHECK_OK(v, cpu_far_return(v, 8, 0));
    CHECK_EQ(v->cpl, 3);
    gdt_set(&t, SEL_FREE + 8, 0x10000000000);
    CHECK_RAISES(v, cpu_far_call(v, SEL_FREE | 3, 0, 4, 0), EXC_GP, SEL_FREE);
    gdt_set(&t, SEL_FREE + 8, 0);
    gdt_set(&t, SEL_FREE, gate_descriptor(SEL_CODE0, 0x777, TYPE_CALL32, 3, 0));
    CHECK_RAISES(v, cpu_far_call(v, SEL_FREE | 3, 0, 4, 0), EXC_GP, SEL_CODE0);
    gdt_set(&t, SEL_FREE, gate_descriptor(SEL_CODE64, 0x777, TYPE_CALL16, 3, 0));
    CHECK_RAISES(v, cpu_far_call(v, SEL_FREE | 3, 0, 4, 0), EXC_GP, SEL_FREE);
    gdt_set(&t, SEL_FREE, descriptor(0, 0xfffff, ATTR_CODE | SEG_DPL | SEG_L | SEG_DB));
    CHECK_RAISES(v, cpu_far_jump(v, SEL_FREE | 3, 0, 4, 0), EXC_GP, SEL_FREE);
    cpu_vm_destroy(&t);
}

static void push_frame(u64 rsp, unsigned size, const u64 *values, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        put(&t, rsp + i * size, size, values[i]);
    v->gpr[RSP] = rsp;
}

static void test_iret_protected(void)
{
    setup(0);
    static const u64 outer[] = {
        0x4444, SEL_CODE3, FLAG_IF | FLAG_IOPL | FLAG_CF | FLAG_RF | FLAG_ID | FLAG_R1, 0x33330, SEL_DATA3};
    push_frame(STACK0 - 20, 4, outer, 5);
    CHECK_OK(v, cpu_iret(v, 4, 0));
    CHECK_EQ(v->cpl, 3);
    CHECK_EQ(v->rip, 0x4444);
    CHECK_EQ(v->gpr[RSP], 0x33330);
    CHECK_EQ(v->rflags, outer[2]);
    /* From CPL 3, IOPL and (IOPL 0) IF stay. */
    v->rflags = FLAG_R1;
    static const u64 same[] = {0x5555, SEL_CODE3, FLAG_IF | FLAG_IOPL | FLAG_VIF | FLAG_AC | FLAG_R1};
    push_frame(STACK3 - 12, 4, same, 3);
    CHECK_OK(v, cpu_iret(v, 4, 0));
    CHECK_EQ(v->rflags, FLAG_R1 | FLAG_AC);
    static const u64 inward[] = {0x5555, SEL_CODE0, FLAG_R1};
    push_frame(STACK3 - 12, 4, inward, 3);
    CHECK_RAISES(v, cpu_iret(v, 4, 0), EXC_GP, SEL_CODE0);
    cpu_vm_destroy(&t);

    setup(0);
    static const u64 bad_ss[] = {0x4444, SEL_CODE3, FLAG_R1, 0x33330, SEL_DATA0};
    push_frame(STACK0 - 20, 4, bad_ss, 5);
    CHECK_RAISES(v, cpu_iret(v, 4, 0), EXC_GP, SEL_DATA0);
    CHECK_EQ(v->gpr[RSP], STACK0 - 20);
    static const u64 null_ss[] = {0x4444, SEL_CODE3, FLAG_R1, 0x33330, 3};
    push_frame(STACK0 - 20, 4, null_ss, 5);
    CHECK_RAISES(v, cpu_iret(v, 4, 0), EXC_GP, 0);
    static const u64 null_cs[] = {0x4444, 0, FLAG_R1};
    push_frame(STACK0 - 20, 4, null_cs, 3);
    CHECK_RAISES(v, cpu_iret(v, 4, 0), EXC_GP, 0);
    cpu_vm_destroy(&t);
}

static void test_iret_long(void)
{
    setup_long(0);
    static const u64 same[] = {0x4444, SEL_CODE64, FLAG_R1 | FLAG_NT, 0x28008, 0};
    push_frame(STACK0 - 40, 8, same, 5);
    CHECK_OK(v, cpu_iret(v, 8, 0)); /* a null SS is fine, RSP is always popped */
    CHECK_EQ(v->gpr[RSP], 0x28008);
    CHECK_RAISES(v, cpu_iret(v, 8, 0), EXC_GP, 0); /* NT */
    v->rflags = FLAG_R1;
    static const u64 compat[] = {0x4444, SEL_CODE3, FLAG_R1, 0x33330, SEL_DATA3};
    push_frame(STACK0 - 40, 8, compat, 5);
    CHECK_OK(v, cpu_iret(v, 8, 0));
    CHECK(v->long_mode && !v->code64 && v->cpl == 3);
    CHECK_EQ(v->decode_mode & DECODE_BITS, DECODE_32);
    cpu_vm_destroy(&t);
    setup_long(0);
    static const u64 high[] = {BIT(47), SEL_CODE64_3, FLAG_R1, 0x33330, SEL_DATA3};
    push_frame(STACK0 - 40, 8, high, 5);
    CHECK_RAISES(v, cpu_iret(v, 8, 0), EXC_GP, 0);
    static const u64 null3[] = {0x4444, SEL_CODE64_3, FLAG_R1, 0x33330, 3};
    push_frame(STACK0 - 40, 8, null3, 5);
    CHECK_RAISES(v, cpu_iret(v, 8, 0), EXC_GP, 0); /* a null SS at CPL 3 */
    CHECK_EQ(v->cpl, 0);
    cpu_vm_destroy(&t);
}

static void test_syscall(void)
{
    setup_long(3);
    v->msr.star = (u64)0x23 << 48 | (u64)SEL_CODE0 << 32 | 0x7000;
    v->msr.lstar = 0xffffffff81000000;
    v->msr.cstar = 0xffffffff82000000;
    v->msr.sfmask = FLAG_IF | FLAG_TF;
    v->rflags = FLAG_R1 | FLAG_IF | FLAG_CF | FLAG_RF;
    cpu_syscall(v, 0x1002);
    CHECK_EQ(v->rip, 0xffffffff81000000);
    CHECK_EQ(v->gpr[RCX], 0x1002);
    CHECK_EQ(v->gpr[R11], FLAG_R1 | FLAG_IF | FLAG_CF);
    CHECK_EQ(v->rflags, FLAG_R1 | FLAG_CF);
    CHECK_EQ(v->cpl, 0);
    CHECK(v->code64);
    CHECK_EQ(v->seg[CS].selector, SEL_CODE0);
    CHECK_EQ(v->seg[SS].selector, SEL_CODE0 + 8);
    CHECK_OK(v, cpu_sysret(v, 4)); /* to compatibility mode */
    CHECK_EQ(v->cpl, 3);
    CHECK(!v->code64);
    CHECK_EQ(v->seg[CS].selector, 0x23);
    CHECK_EQ(v->rflags, FLAG_R1 | FLAG_IF | FLAG_CF);
    cpu_syscall(v, 0x2002);
    CHECK_EQ(v->rip, 0xffffffff82000000); /* AMD: CSTAR */
    CHECK_OK(v, cpu_sysret(v, 8));
    CHECK(v->code64);
    CHECK_EQ(v->seg[CS].selector, 0x33);
    CHECK_EQ(v->seg[SS].selector, 0x2b);
    CHECK_RAISES(v, cpu_sysret(v, 8), EXC_GP, 0); /* CPL 3 */
    CHECK_RAISES(v, cpu_sysenter(v), EXC_UD, 0);  /* AMD, long mode */
    v->efer &= ~(u64)EFER_SCE;
    CHECK_RAISES(v, cpu_syscall(v, 0), EXC_UD, 0);
    cpu_vm_destroy(&t);

    setup(3); /* legacy mode */
    v->efer = EFER_SCE;
    v->msr.star = (u64)0x1b << 48 | (u64)SEL_CODE0 << 32 | 0x7000;
    v->rflags |= FLAG_IF;
    cpu_syscall(v, 0x1002);
    CHECK_EQ(v->rip, 0x7000);
    CHECK_EQ(v->gpr[RCX], 0x1002);
    CHECK(!(v->rflags & FLAG_IF));
    CHECK_EQ(v->cpl, 0);
    CHECK_OK(v, cpu_sysret(v, 4));
    CHECK_EQ(v->rip, 0x1002);
    CHECK_EQ(v->seg[CS].selector, 0x1b);
    CHECK_EQ(v->seg[SS].selector, 0x23);
    CHECK(v->rflags & FLAG_IF);
    CHECK_RAISES(v, cpu_sysenter(v), EXC_GP, 0); /* SYSENTER_CS is null */
    v->msr.sysenter_cs = SEL_CODE0;
    v->msr.sysenter_esp = 0x88880;
    v->msr.sysenter_eip = 0x9999;
    CHECK_OK(v, cpu_sysenter(v));
    CHECK_EQ(v->rip, 0x9999);
    CHECK_EQ(v->gpr[RSP], 0x88880);
    CHECK_EQ(v->cpl, 0);
    v->gpr[RCX] = 0x1230;
    v->gpr[RDX] = 0x4560;
    CHECK_OK(v, cpu_sysexit(v, 4));
    CHECK_EQ(v->rip, 0x4560);
    CHECK_EQ(v->gpr[RSP], 0x1230);
    CHECK_EQ(v->seg[CS].selector, 0x1b);
    CHECK_EQ(v->seg[SS].selector, 0x23);
    CHECK_RAISES(v, cpu_sysexit(v, 4), EXC_GP, 0);
    cpu_vm_destroy(&t);
}

int main(void)
{
    TAP_RUN(test_real_mode);
    TAP_RUN(test_direct_jumps);
    TAP_RUN(test_call_gate_inner);
    TAP_RUN(test_call_gate_16);
    TAP_RUN(test_call_gate_64);
    TAP_RUN(test_iret_protected);
    TAP_RUN(test_iret_long);
    TAP_RUN(test_syscall);
    return tap_done();
}
