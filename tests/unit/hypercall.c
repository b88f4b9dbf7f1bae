/* Hypercalls: results, privilege, the IPI set, widths, and which instruction is whose. */
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;
static u32 sent[8], sent_count;

static bool take_ipi(void *apic, u32 id, u32 icr)
{
    sent[sent_count++ % 8] = id << 16 | (icr & 0xffff);
    return id != 2;
}

static const struct apic_ops apic = {.send_ipi = take_ipi};

static u64 call(u64 number, u64 a, u64 b, u64 c, u64 d)
{
    t.v->gpr[RAX] = number;
    t.v->gpr[RBX] = a;
    t.v->gpr[RCX] = b;
    t.v->gpr[RDX] = c;
    t.v->gpr[RSI] = d;
    cpu_hypercall(t.v);
    return t.v->gpr[RAX];
}

static void test_results(void)
{
    cpu_vm_create(&t, "x86-64-v2", 4);
    enter_long(&t, 0);
    CHECK_EQ(call(~0ull, 0, 0, 0, 0), (u64)-1000);
    CHECK_EQ(call(1, 0, 0, 0, 0), 0);
    CHECK_EQ(call(11, 0, 0, 0, 0), 0);
    CHECK_EQ(t.v->gpr[RBX] | t.v->gpr[RCX] | t.v->gpr[RDX] | t.v->gpr[RSI], 0);
    enter_long(&t, 3);
    CHECK_EQ(call(1, 0, 0, 0, 0), (u64)-1);
    enter_protected(&t, 0);
    t.v->efer = 0;
    cpu_mode_update(t.v);
    CHECK_EQ(call(0xffffffff, 0, 0, 0, 0), (u32)-1000);
    cpu_vm_destroy(&t);
}

static void test_send_ipi(void)
{
    cpu_vm_create(&t, "x86-64-v2", 4);
    enter_long(&t, 0);
    CHECK_EQ(call(10, 1, 0, 0, 0x40), (u64)-1000); /* no APIC is connected */
    t.v->apic_ops = &apic;
    sent_count = 0;
    CHECK_EQ(call(10, ~0ull, ~0ull, 1, 0x440), 2); /* CPUs 1 to 3; 2 does not take it; no others exist */
    CHECK_EQ(sent_count, 3);
    CHECK_EQ(sent[0], 1 << 16 | 0x440);
    CHECK_EQ(sent[2], 3 << 16 | 0x440);
    CHECK_EQ(call(10, 1, 0, 0xffffffff, 0x40), 0);
    CHECK_EQ(call(10, 1, 0, 0, 0x840), (u64)-22); /* logical */
    CHECK_EQ(call(10, 1, 0, 0, 0xc0040), (u64)-22);
    CHECK_EQ(sent_count, 3);
    t.v->apic_ops = NULL;
    cpu_vm_destroy(&t);
}

int main(void)
{
    TAP_RUN(test_results);
    TAP_RUN(test_send_ipi);
    return tap_done();
}
