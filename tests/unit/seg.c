/* Segment register loads, limits and types, LDTR, TR, LAR, LSL, VERR, VERW, the I/O bitmap. */
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;

static void setup(unsigned cpl)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, cpl);
}

/* A load of `selector` whose descriptor is `raw`: the vector (-1: none), the error code being the selector or
 * 0. */
static void check_load(unsigned seg, u16 selector, u64 raw, int vector, const char *what)
{
    gdt_set(&t, selector, raw);
    int got = RAISED(t.v, seg_load(t.v, seg, selector));
    if (got != vector || (got >= 0 && t.v->exc.error != (selector & 0xfffcu))) {
        printf("# %s: vector %d error %#x, want %d\n", what, got, t.v->exc.error, vector);
        CHECK(false);
    }
}

static void test_data_loads(void)
{
    setup(0);
    struct vcpu *v = t.v;
    check_load(DS, SEL_FREE, descriptor(0x123456, 0xfff, 0x93), -1, "writable data");
    CHECK_EQ(v->seg[DS].base, 0x123456);
    CHECK_EQ(v->seg[DS].limit, 0xfff);
    check_load(DS, SEL_FREE, descriptor(0, 0xfff, 0x90 | SEG_G), -1, "read-only data, page limit");
    CHECK_EQ(v->seg[DS].limit, 0xffffff);
    CHECK_EQ(get(&t, GDT_AT + SEL_FREE + 5, 1), 0x91); /* accessed */
    check_load(DS, SEL_FREE, descriptor(0, 0xfff, 0x9a), -1, "readable code");
    check_load(DS, SEL_FREE, descriptor(0, 0xfff, 0x98), EXC_GP, "execute-only code");
    check_load(DS, SEL_FREE, descriptor(0, 0xfff, 0x82), EXC_GP, "an LDT");
    check_load(DS, SEL_FREE, descriptor(0, 0xfff, 0x13), EXC_NP, "absent");
    check_load(DS, SEL_FREE | 3, descriptor(0, 0xfff, 0x93), EXC_GP, "RPL > DPL");
    check_load(DS, SEL_FREE | 3, descriptor(0, 0xfff, 0x9e), -1, "conforming code, RPL > DPL");
    CHECK_RAISES(v, seg_load(v, DS, 0x1000), EXC_GP, 0x1000);
    CHECK_RAISES(v, seg_load(v, DS, SEL_DATA0 | 4), EXC_GP, SEL_DATA0 | 4); /* no LDT */
    CHECK_OK(v, seg_load(v, DS, 3));
    CHECK(v->seg[DS].attr & SEG_UNUSABLE);
    CHECK_RAISES(v, seg_linear(v, DS, 0, 1, MMU_READ), EXC_GP, 0);
    cpu_vm_destroy(&t);
}

static void test_ss_loads(void)
{
    setup(0);
    struct vcpu *v = t.v;
    check_load(SS, SEL_FREE, descriptor(0, 0xfff, 0x93), -1, "writable data");
    CHECK_EQ(v->stack_mask, 0xffff);
    check_load(SS, SEL_FREE, descriptor(0, 0xfff, 0x91), EXC_GP, "read-only data");
    check_load(SS, SEL_FREE, descriptor(0, 0xfff, 0x13), EXC_SS, "absent");
    check_load(SS, SEL_FREE | 1, descriptor(0, 0xfff, 0x93), EXC_GP, "RPL is not CPL");
    check_load(SS, SEL_FREE, descriptor(0, 0xfff, 0xf3), EXC_GP, "DPL is not CPL");
    CHECK_RAISES(v, seg_load(v, SS, 0), EXC_GP, 0);
    CHECK_EQ(v->seg[SS].selector, SEL_FREE);
    cpu_vm_destroy(&t);

    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_long(&t, 0);
    CHECK_OK(t.v, seg_load(t.v, SS, 0));
    CHECK_EQ(t.v->cpl, 0);
    CHECK_RAISES(t.v, seg_load(t.v, SS, 3), EXC_GP, 0);
    /* AMD family 17h and later: a null selector clears the base */
    t.v->seg[FS].base = 0x1234;
    CHECK_OK(t.v, seg_load(t.v, FS, 0));
    CHECK_EQ(t.v->seg[FS].base, 0);
    cpu_vm_destroy(&t);
}

static void test_limits(void)
{
    setup(0);
    struct vcpu *v = t.v;
    seg_set(v, ES, 8, 0x10000, 0xff, 0x93);
    CHECK_EQ(seg_linear(v, ES, 0xfc, 4, MMU_READ), 0x100fc);
    CHECK_RAISES(v, seg_linear(v, ES, 0xfd, 4, MMU_READ), EXC_GP, 0);
    CHECK_RAISES(v, seg_linear(v, ES, 0xffffffff, 2, MMU_READ), EXC_GP, 0);
    seg_set(v, SS, 8, 0, 0xff, 0x93);
    CHECK_RAISES(v, seg_linear(v, SS, 0x100, 1, MMU_WRITE), EXC_SS, 0);
    seg_set(v, ES, 8, 0, 0xff, 0x97); /* expand-down, 16 bits */
    CHECK_RAISES(v, seg_linear(v, ES, 0xff, 1, MMU_READ), EXC_GP, 0);
    CHECK_EQ(seg_linear(v, ES, 0x100, 4, MMU_READ), 0x100);
    CHECK_EQ(seg_linear(v, ES, 0xfffc, 4, MMU_READ), 0xfffc);
    CHECK_RAISES(v, seg_linear(v, ES, 0xfffd, 4, MMU_READ), EXC_GP, 0);
    seg_set(v, ES, 8, 0, 0xff, 0x97 | SEG_DB);
    CHECK_EQ(seg_linear(v, ES, 0xfffffff0, 4, MMU_READ), 0xfffffff0);
    seg_set(v, ES, 8, 0xfffff000, 0xffffffff, 0x93); /* linear addresses wrap */
    CHECK_EQ(seg_linear(v, ES, 0x2000, 1, MMU_READ), 0x1000);
    seg_set(v, ES, 8, 0, 0xff, 0x91);
    CHECK_RAISES(v, seg_linear(v, ES, 0, 1, MMU_WRITE), EXC_GP, 0);
    seg_set(v, ES, 8, 0, 0xff, 0x99);
    CHECK_RAISES(v, seg_linear(v, ES, 0, 1, MMU_READ), EXC_GP, 0);
    seg_set(v, ES, 8, 0, 0xff, 0x9b);
    CHECK_OK(v, seg_linear(v, ES, 0, 1, MMU_READ));
    CHECK_RAISES(v, seg_linear(v, ES, 0, 1, MMU_WRITE), EXC_GP, 0);
    cpu_vm_destroy(&t);

    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_long(&t, 3);
    v = t.v;
    v->seg[GS].base = 0xffff800000000000;
    CHECK_EQ(seg_linear(v, GS, 8, 8, MMU_READ), 0xffff800000000008);
    CHECK_RAISES(v, seg_linear(v, DS, 0x7fffffffffff, 2, MMU_READ), EXC_GP, 0);
    CHECK_RAISES(v, seg_linear(v, SS, BIT(47), 1, MMU_READ), EXC_SS, 0);
    CHECK_EQ(seg_linear(v, DS, 0x7fffffffffff, 1, MMU_READ), 0x7fffffffffff);
    cpu_vm_destroy(&t);
}

static void test_real_mode_keeps_limits(void)
{
    setup(0);
    struct vcpu *v = t.v;
    CHECK_OK(v, cpu_write_cr(v, 0, v->cr0 & ~(u64)CR0_PE));
    CHECK_OK(v, seg_load(v, DS, 0x1234));
    CHECK_EQ(v->seg[DS].base, 0x12340);
    CHECK_EQ(seg_linear(v, DS, 0x100000, 4, MMU_WRITE), 0x112340); /* unreal mode */
    seg_set(v, DS, 0, 0, 0xffff, 0x93);
    CHECK_RAISES(v, seg_linear(v, DS, 0xffff, 2, MMU_WRITE), EXC_GP, 0);
    cpu_vm_destroy(&t);
}

static void test_ldt_and_tr(void)
{
    setup(0);
    struct vcpu *v = t.v;
    gdt_set(&t, SEL_FREE, descriptor(LDT_AT, 0xf, 0x82));
    put(&t, LDT_AT + 8, 8, descriptor(0x777000, 0xf, 0x93));
    CHECK_OK(v, cpu_lldt(v, SEL_FREE));
    CHECK_OK(v, seg_load(v, ES, 8 | 4));
    CHECK_EQ(v->seg[ES].base, 0x777000);
    CHECK_RAISES(v, seg_load(v, ES, 0x10 | 4), EXC_GP, 0x14);
    CHECK_RAISES(v, cpu_lldt(v, SEL_FREE | 4), EXC_GP, SEL_FREE | 4);
    CHECK_RAISES(v, cpu_lldt(v, SEL_DATA0), EXC_GP, SEL_DATA0);
    gdt_set(&t, SEL_FREE, descriptor(LDT_AT, 0xf, 0x02));
    CHECK_RAISES(v, cpu_lldt(v, SEL_FREE), EXC_NP, SEL_FREE);
    CHECK_OK(v, cpu_lldt(v, 0));
    CHECK_RAISES(v, seg_load(v, ES, 8 | 4), EXC_GP, 12);

    gdt_set(&t, SEL_FREE, descriptor(TSS2_AT, 0x67, 0x89));
    CHECK_OK(v, cpu_ltr(v, SEL_FREE));
    CHECK_EQ(get(&t, GDT_AT + SEL_FREE + 5, 1), 0x8b); /* busy */
    CHECK_EQ(v->tr.base, TSS2_AT);
    CHECK_RAISES(v, cpu_ltr(v, SEL_FREE), EXC_GP, SEL_FREE);
    CHECK_RAISES(v, cpu_ltr(v, 0), EXC_GP, 0);
    gdt_set(&t, SEL_FREE, descriptor(TSS2_AT, 0x67, 0x09));
    CHECK_RAISES(v, cpu_ltr(v, SEL_FREE), EXC_NP, SEL_FREE);
    gdt_set(&t, SEL_FREE, descriptor(TSS2_AT, 0x67, 0x81)); /* 16-bit */
    CHECK_OK(v, cpu_ltr(v, SEL_FREE));
    cpu_vm_destroy(&t);

    /* Long mode: 16 bytes, no 16-bit TSS, a canonical base. */
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_long(&t, 0);
    v = t.v;
    gdt_set(&t, SEL_FREE, descriptor(TSS2_AT, 0x67, 0x89));
    gdt_set(&t, SEL_FREE + 8, 0xffff8000);
    CHECK_OK(v, cpu_ltr(v, SEL_FREE));
    CHECK_EQ(v->tr.base, 0xffff800000000000 | TSS2_AT);
    gdt_set(&t, SEL_FREE, descriptor(TSS2_AT, 0x67, 0x89));
    gdt_set(&t, SEL_FREE + 8, 0x8000);
    CHECK_RAISES(v, cpu_ltr(v, SEL_FREE), EXC_GP, SEL_FREE);
    gdt_set(&t, SEL_FREE + 8, 0x10000000000); /* type bits in the second half */
    CHECK_RAISES(v, cpu_ltr(v, SEL_FREE), EXC_GP, SEL_FREE);
    gdt_set(&t, SEL_FREE + 8, 0);
    gdt_set(&t, SEL_FREE, descriptor(TSS2_AT, 0x67, 0x81));
    CHECK_RAISES(v, cpu_ltr(v, SEL_FREE), EXC_GP, SEL_FREE);
    gdt_set(&t, 0xff8, descriptor(TSS2_AT, 0x67, 0x89)); /* the second half is outside the GDT */
    CHECK_RAISES(v, cpu_ltr(v, 0xff8), EXC_GP, 0xff8);
    cpu_vm_destroy(&t);
}

/* System types that LAR and LSL accept. */
static void test_lar_lsl(void)
{
    static const struct {
        u16 lar, lsl;
    } want[2] = {{0x1a3e, 0x0a0e}, {0x1a04, 0x0a04}}; /* legacy, long: bit per type */
    for (unsigned lm = 0; lm < 2; lm++) {
        cpu_vm_create(&t, "x86-64-v2", 1);
        if (lm)
            enter_long(&t, 0);
        else
            enter_protected(&t, 0);
        for (unsigned type = 0; type < 16; type++) {
            u32 rights = 0, limit = 0;
            gdt_set(&t, SEL_FREE, descriptor(0, 0x1234, 0x80 | type));
            CHECK_EQ(cpu_lar(t.v, SEL_FREE, &rights), want[lm].lar >> type & 1);
            CHECK_EQ(cpu_lsl(t.v, SEL_FREE, &limit), want[lm].lsl >> type & 1);
            CHECK_EQ(rights, want[lm].lar >> type & 1 ? 0x8000 | type << 8 : 0);
            CHECK_EQ(limit, want[lm].lsl >> type & 1 ? 0x1234 : 0);
        }
        cpu_vm_destroy(&t);
    }
    setup(3);
    u32 x;
    CHECK(!cpu_lar(t.v, SEL_DATA0, &x));
    CHECK(cpu_lar(t.v, SEL_DATA3, &x));
    CHECK_EQ(x, 0xc0f300);
    CHECK(cpu_lsl(t.v, SEL_DATA3, &x));
    CHECK_EQ(x, 0xffffffff);
    CHECK(!cpu_lar(t.v, 0, &x));
    CHECK(!cpu_lar(t.v, 0x2000, &x));
    gdt_set(&t, SEL_FREE, descriptor(0, 0, 0x9e));
    CHECK(cpu_lar(t.v, SEL_FREE | 3, &x)); /* conforming */
    cpu_vm_destroy(&t);
}

static void test_verr_verw(void)
{
    setup(0);
    static const struct {
        u8 attr;
        bool r, w;
    } c[] = {{0x90, true, false}, {0x92, true, true},   {0x98, false, false},
             {0x9a, true, false}, {0x82, false, false}, {0x12, true, true}};
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        gdt_set(&t, SEL_FREE, descriptor(0, 0, c[i].attr));
        CHECK_EQ(cpu_verr(t.v, SEL_FREE), c[i].r);
        CHECK_EQ(cpu_verw(t.v, SEL_FREE), c[i].w);
    }
    gdt_set(&t, SEL_FREE, descriptor(0, 0, 0x92));
    CHECK(!cpu_verr(t.v, SEL_FREE | 3));
    CHECK(!cpu_verw(t.v, SEL_FREE | 1));
    CHECK(!cpu_verw(t.v, 0));
    cpu_vm_destroy(&t);
}

static void test_io_bitmap(void)
{
    setup(3);
    struct vcpu *v = t.v;
    put(&t, TSS_AT + 0x66, 2, 0x68);
    put(&t, TSS_AT + 0x68 + 4, 1, 0x80); /* port 27h */
    CHECK_OK(v, cpu_check_io(v, 0x26, 1));
    CHECK_RAISES(v, cpu_check_io(v, 0x26, 2), EXC_GP, 0);
    CHECK_RAISES(v, cpu_check_io(v, 0x27, 1), EXC_GP, 0);
    CHECK_RAISES(v, cpu_check_io(v, 0x24, 4), EXC_GP, 0);
    CHECK_OK(v, cpu_check_io(v, 0x28, 4));
    v->tr.limit = 0x68 + 5; /* both bytes must be inside */
    CHECK_OK(v, cpu_check_io(v, 0x20, 1));
    CHECK_RAISES(v, cpu_check_io(v, 0x28, 1), EXC_GP, 0);
    v->rflags |= FLAG_IOPL;
    CHECK_OK(v, cpu_check_io(v, 0x27, 1));
    v->rflags |= FLAG_VM; /* virtual-8086 mode: the bitmap, whatever IOPL */
    CHECK_RAISES(v, cpu_check_io(v, 0x27, 1), EXC_GP, 0);
    v->tr.attr = SEG_P | TYPE_TSS16_BUSY;
    CHECK_RAISES(v, cpu_check_io(v, 0x20, 1), EXC_GP, 0);
    cpu_vm_destroy(&t);
}

/* A return outwards: selectors of inner data become null; in long mode the bases stay. */
static void test_drop_privileged(void)
{
    for (unsigned lma = 0; lma < 2; lma++) {
        setup(0);
        struct vcpu *v = t.v;
        if (lma)
            enter_long(&t, 0);
        seg_set(v, GS, SEL_DATA0, 0x400000, 0xffffffff, ATTR_DATA | ATTR_BIG);
        seg_set(v, FS, SEL_DATA3, 0x500000, 0xffffffff, ATTR_DATA | ATTR_BIG | SEG_DPL);
        seg_drop_privileged(v, 3);
        CHECK_EQ(v->seg[GS].selector, 0);
        CHECK(v->seg[GS].attr & SEG_UNUSABLE);
        CHECK_EQ(v->seg[GS].base, lma ? 0x400000 : 0);
        CHECK_EQ(v->seg[FS].selector, SEL_DATA3);
        CHECK_EQ(v->seg[FS].base, 0x500000);
        cpu_vm_destroy(&t);
    }
}

int main(void)
{
    TAP_RUN(test_data_loads);
    TAP_RUN(test_ss_loads);
    TAP_RUN(test_limits);
    TAP_RUN(test_real_mode_keeps_limits);
    TAP_RUN(test_ldt_and_tr);
    TAP_RUN(test_lar_lsl);
    TAP_RUN(test_verr_verw);
    TAP_RUN(test_io_bitmap);
    TAP_RUN(test_drop_privileged);
    return tap_done();
}
