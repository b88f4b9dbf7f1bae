/* Hardware task switches: what is saved and loaded, busy bits, NT, the back link, every kind of #TS. */
#include "cpu/debug.h"
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;
static struct vcpu *v;

enum { SEL_TSS2 = SEL_FREE, SEL_LDT = SEL_FREE + 8, TYPE_BYTE = 5 };

/* A new task at TSS2_AT: flat, CPL 0, EIP 5000h. */
static void setup(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    v = t.v;
    gdt_set(&t, SEL_TSS2, descriptor(TSS2_AT, 0x67, SEG_P | TYPE_TSS32));
    put(&t, TSS2_AT + 0x20, 4, 0x5000);
    put(&t, TSS2_AT + 0x24, 4, FLAG_R1 | FLAG_CF);
    for (unsigned i = 0; i < 8; i++)
        put(&t, TSS2_AT + 0x28 + i * 4, 4, i == RSP ? 0x28000 : 0x1000 + i);
    for (unsigned i = 0; i < SREG_COUNT; i++)
        put(&t, TSS2_AT + 0x48 + i * 4, 2, i == CS ? SEL_CODE0 : SEL_DATA0);
    for (unsigned i = 0; i < 8; i++)
        v->gpr[i] = i == RSP ? STACK0 : 0x2000 + i;
    v->rflags = FLAG_R1 | FLAG_ZF;
}

static u8 type_byte(u16 selector)
{
    return (u8)get(&t, GDT_AT + selector + TYPE_BYTE, 1);
}

static void check_loaded(void)
{
    CHECK_EQ(v->rip, 0x5000);
    CHECK_EQ(v->gpr[RAX], 0x1000);
    CHECK_EQ(v->gpr[RDI], 0x1007);
    CHECK_EQ(v->gpr[RSP], 0x28000);
    CHECK_EQ(v->seg[CS].selector, SEL_CODE0);
    CHECK_EQ(v->tr.selector, SEL_TSS2);
    CHECK_EQ(v->tr.base, TSS2_AT);
    CHECK(v->cr0 & CR0_TS);
}

static void test_jump(void)
{
    setup();
    CHECK_OK(v, cpu_far_jump(v, SEL_TSS2, 0, 4, 0x1007));
    check_loaded();
    CHECK_EQ(v->rflags, FLAG_R1 | FLAG_CF);
    CHECK_EQ(type_byte(SEL_TSS), 0x89); /* no longer busy */
    CHECK_EQ(type_byte(SEL_TSS2), 0x8b);
    CHECK_EQ(get(&t, TSS_AT + 0x20, 4), 0x1007);
    CHECK_EQ(get(&t, TSS_AT + 0x24, 4), FLAG_R1 | FLAG_ZF);
    CHECK_EQ(get(&t, TSS_AT + 0x28, 4), 0x2000);
    CHECK_EQ(get(&t, TSS_AT + 0x48 + CS * 4, 2), SEL_CODE0);
    CHECK_EQ(get(&t, TSS2_AT, 2), 0); /* no back link */
    cpu_vm_destroy(&t);
}

static void test_call_and_iret(void)
{
    setup();
    CHECK_OK(v, cpu_far_call(v, SEL_TSS2, 0, 4, 0x1007));
    check_loaded();
    CHECK_EQ(v->rflags, FLAG_R1 | FLAG_CF | FLAG_NT);
    CHECK_EQ(get(&t, TSS2_AT, 2), SEL_TSS);
    CHECK_EQ(type_byte(SEL_TSS), 0x8b);
    CHECK_EQ(type_byte(SEL_TSS2), 0x8b);
    CHECK_OK(v, cpu_iret(v, 4, 0x5003));
    CHECK_EQ(v->rip, 0x1007);
    CHECK_EQ(v->rflags, FLAG_R1 | FLAG_ZF);
    CHECK_EQ(v->gpr[RAX], 0x2000);
    CHECK_EQ(type_byte(SEL_TSS), 0x8b);
    CHECK_EQ(type_byte(SEL_TSS2), 0x89);
    CHECK_EQ(get(&t, TSS2_AT + 0x24, 4), FLAG_R1 | FLAG_CF); /* NT was cleared in the image */
    CHECK_EQ(get(&t, TSS2_AT + 0x20, 4), 0x5003);
    cpu_vm_destroy(&t);
}

static void test_task_gate(void)
{
    setup();
    idt_set(&t, EXC_GP, gate_descriptor(SEL_TSS2, 0, TYPE_TASK_GATE, 0, 0));
    v->exc = (struct exception){.vector = EXC_GP, .has_error = true, .error = 0x77};
    CHECK(cpu_deliver_exception(v));
    CHECK_EQ(v->rip, 0x5000);
    CHECK_EQ(v->gpr[RSP], 0x28000 - 4);
    CHECK_EQ(get(&t, 0x28000 - 4, 4), 0x77);
    CHECK_EQ(get(&t, TSS_AT + 0x20, 4), 0x1000); /* a fault: the instruction itself */
    CHECK(v->rflags & FLAG_NT);
    CHECK_EQ(get(&t, TSS2_AT, 2), SEL_TSS);
    cpu_vm_destroy(&t);
}

static void test_16bit(void)
{
    setup();
    gdt_set(&t, SEL_TSS2, descriptor(TSS2_AT, 0x2b, SEG_P | TYPE_TSS16));
    put(&t, TSS2_AT + 0x0e, 2, 0x5000);
    put(&t, TSS2_AT + 0x10, 2, FLAG_R1 | FLAG_CF);
    for (unsigned i = 0; i < 8; i++)
        put(&t, TSS2_AT + 0x12 + i * 2, 2, i == RSP ? 0x8000 : 0x1000 + i);
    for (unsigned i = 0; i < 4; i++)
        put(&t, TSS2_AT + 0x22 + i * 2, 2, i == CS ? SEL_CODE0 : SEL_DATA0);
    put(&t, TSS2_AT + 0x2a, 2, 0);
    v->cr3 = 0x123000;
    CHECK_OK(v, cpu_far_jump(v, SEL_TSS2, 0, 4, 0x1007));
    CHECK_EQ(v->rip, 0x5000);
    CHECK_EQ(v->gpr[RSP], 0x8000);
    CHECK_EQ(v->gpr[RSI], 0x1006);
    CHECK(v->seg[FS].attr & SEG_UNUSABLE);
    CHECK_EQ(v->cr3, 0x123000);                  /* has none */
    CHECK_EQ(get(&t, TSS_AT + 0x20, 4), 0x1007); /* the old TSS is 32-bit */
    cpu_vm_destroy(&t);
}

static void test_refused_before(void)
{
    setup();
    gdt_set(&t, SEL_TSS2, descriptor(TSS2_AT, 0x66, SEG_P | TYPE_TSS32));
    CHECK_RAISES(v, cpu_far_jump(v, SEL_TSS2, 0, 4, 0), EXC_TS, SEL_TSS2);
    gdt_set(&t, SEL_TSS2, descriptor(TSS2_AT, 0x67, TYPE_TSS32));
    CHECK_RAISES(v, cpu_far_jump(v, SEL_TSS2, 0, 4, 0), EXC_NP, SEL_TSS2);
    gdt_set(&t, SEL_TSS2, descriptor(TSS2_AT, 0x67, SEG_P | TYPE_TSS32_BUSY));
    CHECK_RAISES(v, cpu_far_jump(v, SEL_TSS2, 0, 4, 0), EXC_GP, SEL_TSS2);
    gdt_set(&t, SEL_TSS2, descriptor(TSS2_AT, 0x67, SEG_P | TYPE_TSS32));
    CHECK_RAISES(v, cpu_far_jump(v, SEL_TSS2 | 3, 0, 4, 0), EXC_GP, SEL_TSS2);
    v->rflags |= FLAG_NT; /* IRET wants a busy TSS: #TS */
    put(&t, TSS_AT, 2, SEL_TSS2);
    CHECK_RAISES(v, cpu_iret(v, 4, 0), EXC_TS, SEL_TSS2);
    put(&t, TSS_AT, 2, SEL_TSS2 | 4);
    CHECK_RAISES(v, cpu_iret(v, 4, 0), EXC_TS, SEL_TSS2 | 4);
    put(&t, TSS_AT, 2, 0);
    CHECK_RAISES(v, cpu_iret(v, 4, 0), EXC_TS, 0);
    CHECK_EQ(v->tr.selector, SEL_TSS);
    CHECK_EQ(v->rip, 0x1000);
    CHECK_EQ(type_byte(SEL_TSS), 0x8b);
    cpu_vm_destroy(&t);
}

/* After the commit point: the exception belongs to the new task. */
static void check_refused_after(unsigned offset, u16 value, u64 raw, unsigned vector, u16 error)
{
    setup();
    gdt_set(&t, SEL_LDT, raw);
    put(&t, TSS2_AT + offset, 2, value);
    CHECK_RAISES(v, cpu_far_jump(v, SEL_TSS2, 0, 4, 0x1007), vector, error);
    CHECK_EQ(v->tr.selector, SEL_TSS2);
    CHECK_EQ(v->rip, 0x5000);
    CHECK_EQ(v->gpr[RAX], 0x1000);
    CHECK_EQ(v->cpl, 0);
    cpu_vm_destroy(&t);
}

static void test_refused_after(void)
{
    u64 absent_data = descriptor(0, 0xfffff, 0x13 | ATTR_BIG),
        absent_code = descriptor(0, 0xfffff, 0x1b | ATTR_BIG);
    check_refused_after(0x60, SEL_LDT, descriptor(0, 0xff, 0x02), EXC_TS, SEL_LDT);
    check_refused_after(0x60, SEL_DATA0, 0, EXC_TS, SEL_DATA0);
    check_refused_after(0x60, SEL_LDT | 4, 0, EXC_TS, SEL_LDT | 4);
    check_refused_after(0x4c, 0, 0, EXC_TS, 0);
    check_refused_after(0x4c, SEL_DATA0, 0, EXC_TS, SEL_DATA0);
    check_refused_after(0x4c, SEL_LDT, absent_code, EXC_NP, SEL_LDT);
    check_refused_after(0x50, 0, 0, EXC_TS, 0);
    check_refused_after(0x50, SEL_DATA3, 0, EXC_TS, SEL_DATA3 & ~3);
    check_refused_after(0x50, SEL_LDT, absent_data, EXC_SS, SEL_LDT);
    check_refused_after(0x54, SEL_LDT, absent_data, EXC_NP, SEL_LDT);
    check_refused_after(0x54, 0x2000, 0, EXC_TS, 0x2000);
    check_refused_after(0x58, SEL_TSS, 0, EXC_TS, SEL_TSS);
}

static void test_trap_bit_and_v86(void)
{
    setup();
    put(&t, TSS2_AT + 0x64, 2, 1);
    v->dr[7] |= 0x155;
    CHECK_OK(v, cpu_far_jump(v, SEL_TSS2, 0, 4, 0x1007));
    CHECK_EQ(v->db_pending, DR6_BT);
    CHECK(v->attention & ATTN_DB_PENDING);
    CHECK_EQ(v->dr[7] & 0x155, 0); /* local breakpoints end */
    cpu_vm_destroy(&t);

    setup();
    put(&t, TSS2_AT + 0x24, 4, FLAG_R1 | FLAG_VM);
    for (unsigned i = 0; i < SREG_COUNT; i++)
        put(&t, TSS2_AT + 0x48 + i * 4, 2, 0x1000 + i);
    CHECK_OK(v, cpu_far_jump(v, SEL_TSS2, 0, 4, 0x1007));
    CHECK(cpu_is_v86(v));
    CHECK_EQ(v->cpl, 3);
    CHECK_EQ(v->seg[CS].base, 0x10010);
    cpu_vm_destroy(&t);
}

static void test_cr3_and_ldt(void)
{
    setup();
    /* 32-bit paging, identity: two directories, one in each task. */
    for (unsigned i = 0; i < 16; i++) {
        put(&t, PT_AT + i * 4, 4, i << 22 | 0x83);
        put(&t, PT_AT + 0x1000 + i * 4, 4, i << 22 | 0x83);
    }
    gdt_set(&t, SEL_LDT, descriptor(LDT_AT, 0xf, 0x82));
    put(&t, LDT_AT + 8, 8, descriptor(0x5550, 0xfffff, 0x93));
    put(&t, TSS2_AT + 0x1c, 4, PT_AT + 0x1000);
    put(&t, TSS2_AT + 0x60, 2, SEL_LDT);
    put(&t, TSS2_AT + 0x48 + FS * 4, 2, 8 | 4);
    v->cr3 = PT_AT;
    v->cr4 = CR4_PSE;
    v->cr0 |= CR0_PG;
    mmu_flush_all(v);
    CHECK_OK(v, cpu_far_jump(v, SEL_TSS2, 0, 4, 0x1007));
    check_loaded();
    CHECK_EQ(v->cr3, PT_AT + 0x1000);
    CHECK_EQ(v->ldtr.base, LDT_AT);
    CHECK_EQ(v->seg[FS].base, 0x5550);
    cpu_vm_destroy(&t);
}

int main(void)
{
    TAP_RUN(test_jump);
    TAP_RUN(test_call_and_iret);
    TAP_RUN(test_task_gate);
    TAP_RUN(test_16bit);
    TAP_RUN(test_refused_before);
    TAP_RUN(test_refused_after);
    TAP_RUN(test_trap_bit_and_v86);
    TAP_RUN(test_cr3_and_ldt);
    return tap_done();
}
