/* Floating-point and vector state behind translated code: the same programs on the interpreter and on the
 * translator leave the same registers, the same pointers, the same exceptions. */
#include "cpu/xstate.h"
#include "tests/tap.h"
static const struct engine_ops *engine;
#define GUEST_ENGINE (*engine)
#include "tests/unit/interp_vm.h"

enum { INTERP, JIT, ENGINES };
static const struct engine_ops *const engines[ENGINES] = {&interp_engine, &jit_engine};
static struct guest *guests[ENGINES];

static void fpu_clean(struct vcpu *v)
{
    v->fpu = (struct fpu){.fcw = 0x37f, .mxcsr = 0x1f80, .host_mxcsr = 0x1f80};
    v->cr4 |= cpu_has(v, FEAT_XSAVE) ? CR4_OSXSAVE : 0;
    v->xcr0 = v->vm->model.xcr0;
    cpu_mode_update(v);
}

static void check_same(const struct vcpu *a, const struct vcpu *b)
{
    for (unsigned i = 0; i < 16; i++)
        CHECK_EQ(b->gpr[i], a->gpr[i]);
    CHECK_EQ(b->rip, a->rip);
    CHECK_EQ(b->cr2, a->cr2);
    const struct fpu *f = &a->fpu, *h = &b->fpu;
    CHECK(!memcmp(f->zmm, h->zmm, sizeof f->zmm));
    CHECK(!memcmp(f->k, h->k, sizeof f->k));
    for (unsigned i = 0; i < 8; i++)
        CHECK(!memcmp(f->st[i], h->st[i], 10));
    CHECK_EQ(h->fcw, f->fcw);
    CHECK_EQ(h->fsw, f->fsw);
    CHECK_EQ(h->ftw, f->ftw);
    CHECK_EQ(h->fop, f->fop);
    CHECK_EQ(h->fip, f->fip);
    CHECK_EQ(h->fdp, f->fdp);
    CHECK_EQ(h->fcs, f->fcs);
    CHECK_EQ(h->fds, f->fds);
    CHECK_EQ(h->mxcsr, f->mxcsr);
    CHECK_EQ(xstate_inuse_mxcsr(h), xstate_inuse_mxcsr(f));
    CHECK(!memcmp(guest_ptr(guests[INTERP], GUEST_DATA), guest_ptr(guests[JIT], GUEST_DATA), 0x3000));
}

static u32 test_cr0, test_cr4;

/* On both engines, several times (the translator's blocks are chained only then); returns where it ended. */
static int run_both(const u8 *code, const u8 *end, unsigned bits)
{
    int ended[ENGINES];
    for (unsigned n = 0; n < 3; n++) {
        for (unsigned i = 0; i < ENGINES; i++) {
            struct guest *g = guests[i];
            engine = engines[i];
            if (bits == 64)
                guest_mode64(g, g->cpu[0]);
            else
                guest_mode32(g, g->cpu[0]);
            memset(guest_ptr(g, GUEST_DATA), 0, 0x3000);
            g->cpu[0]->cr0 |= test_cr0;
            g->cpu[0]->cr4 |= CR4_OSFXSR | test_cr4;
            g->cpu[0]->cr2 = 0;
            fpu_clean(g->cpu[0]);
            guest_load(g, GUEST_CODE, code, end);
            ended[i] = guest_run(g->cpu[0]);
        }
        CHECK_EQ(ended[JIT], ended[INTERP]);
        check_same(guests[INTERP]->cpu[0], guests[JIT]->cpu[0]);
    }
    return ended[INTERP];
}
#define BOTH(bits, name) run_both(name, name##_end, bits)

/* How many of these instructions has the interpreter executed for the translator? */
static u64 stepped_since(u64 before)
{
    return guests[JIT]->cpu[0]->instructions - before;
}

GUEST(pointers, 64,
      "nop; mov $0x20000, %esi; mov $0x1000, %r10d; mov $0x20800, %r9d; mov $100, %ecx\n"
      "fninit; movl $7, (%rsi); 1: fildl (%rsi); fadd %st(0), %st; fldpi; fmulp; fstpt 16(%rsi); fldt "
      "16(%rsi)\n"
      "fcoml 64(%r9,%r10); fnstsw %ax; add %rax, %rbx; fstpl (%r9,%r10,2); dec %ecx; jnz 1b\n"
      "fnstenv 0x100(%rsi); fld1; fldz; fchs; fcomip; lea 0x40(%rsi), %rdi; fbstp 8(%rdi); fnstenv "
      "0x200(%rsi); hlt");
static void test_pointers(void)
{
    struct vcpu *v = guests[JIT]->cpu[0];
    u64 before = v->instructions;
    CHECK_EQ(BOTH(64, pointers), -1);
    CHECK(stepped_since(before) < 3 * 40);
    CHECK_EQ(v->fpu.fdp, 0x20048);
    CHECK_EQ(v->fpu.fop, 0x777); /* FBSTP [rdi + 8] */
}

GUEST(pointers32, 32,
      "nop; mov $0x20000, %esi; mov $0x2000, %ecx; movl $7, (%esi); fninit; 1: fildl (%esi); fsqrt\n"
      "fstpt %ss:-0x1ff0(%ecx,%esi); loop 2f; 2: fnsave 0x100(%esi); frstor 0x100(%esi); fld1; fnstenv "
      "0x200(%esi); hlt");
static void test_pointers32(void)
{
    CHECK_EQ(BOTH(32, pointers32), -1);
}

/* An exception that is masked at first: pending from FLDCW on, reported by the next waiting instruction. */
GUEST(
    unmask, 64,
    "nop; mov $0x20000, %esi; movw $0x37f, (%rsi); movw $0x37b, 2(%rsi); fldcw (%rsi); fld1; fldz; fdivrp\n"
    "mov $3, %ecx; 1: fnstcw 4(%rsi); dec %ecx; jnz 1b; fldcw 2(%rsi); fnstsw 8(%rsi); inc %eax; fld1; hlt");
GUEST(unmasked, 64,
      "nop; mov $0x20000, %esi; movw $0x37b, 2(%rsi); fldcw 2(%rsi); fld1; fldz; fdivrp; fnop; hlt");
static void test_unmasked(void)
{
    CHECK_EQ(BOTH(64, unmask), 16);
    CHECK_EQ(guests[JIT]->cpu[0]->gpr[RAX], 1);
    CHECK_EQ(load_le16(guest_ptr(guests[JIT], GUEST_DATA + 8)) & 0x8084, 0x8084);
    CHECK_EQ(BOTH(64, unmasked), 16);
}

/* Rounding and precision are changed by FLDCW, and count at once. */
GUEST(rounding, 64,
      "nop; mov $0x20000, %esi; movw $0xf7f, (%rsi); movw $0x7f, 2(%rsi); fninit; mov $50, %ecx\n"
      "1: fldpi; fldcw (%rsi); fistl 8(%rsi); fldcw 2(%rsi); fsqrt; fstpt 16(%rsi); addq $1, 40(%rsi); dec "
      "%ecx\n"
      "jnz 1b; fnstcw 4(%rsi); hlt");
static void test_rounding(void)
{
    CHECK_EQ(BOTH(64, rounding), -1);
    CHECK_EQ(load_le32(guest_ptr(guests[JIT], GUEST_DATA + 8)), 3);
}

GUEST(task_switched, 64, "nop; mov $1, %ecx; fld1; hlt");
GUEST(mmx_only, 64, "nop; mov $1, %ecx; paddd %mm0, %mm1; hlt");
GUEST(sse_only, 64, "nop; mov $1, %ecx; paddd %xmm0, %xmm1; hlt");
GUEST(wait_only, 64, "nop; mov $1, %ecx; fwait; hlt");
static void test_enables(void)
{
    test_cr0 = CR0_TS;
    CHECK_EQ(BOTH(64, task_switched), 7);
    CHECK_EQ(BOTH(64, mmx_only), 7);
    CHECK_EQ(BOTH(64, sse_only), 7);
    CHECK_EQ(BOTH(64, wait_only), -1);
    test_cr0 = CR0_TS | CR0_MP;
    CHECK_EQ(BOTH(64, wait_only), 7);
    test_cr0 = CR0_EM;
    CHECK_EQ(BOTH(64, task_switched), 7);
    CHECK_EQ(BOTH(64, mmx_only), 6);
    CHECK_EQ(BOTH(64, sse_only), 6);
    test_cr0 = 0;
    CHECK_EQ(BOTH(64, task_switched), -1);
}

/* MMX, x87 and SSE take turns; in between the interpreter (CPUID) and a page fault's handler look at memory.
 */
GUEST(mixed, 64,
      "nop; mov $0x20000, %esi; fninit; mov $20, %edi\n"
      "1: movd %edi, %mm1; paddd %mm1, %mm2; movq2dq %mm2, %xmm3; paddd %xmm3, %xmm4; cvtpi2ps %mm2, %xmm5\n"
      "xor %eax, %eax; cpuid; movq %mm2, 8(%rsi); emms; fildl 8(%rsi); mulps %xmm5, %xmm5; fstps 24(%rsi)\n"
      "xor %eax, %eax; cpuid; cvttps2pi %xmm5, %mm7; movdq2q %xmm4, %mm6; pmovmskb %mm7, %edx; dec %edi; jnz "
      "1b\n"
      "fxsave 0x400(%rsi); fld1; mov $0x800000, %eax; movups %xmm4, (%rax)");
static void test_mixed(void)
{
    CHECK_EQ(BOTH(64, mixed), 14);
}

/* Opmasks and registers 16..31 live in the host while a loop runs, CPUID (the interpreter's) in the middle.
 */
GUEST(evex, 64,
      "nop; mov $0x20000, %esi; mov $100, %edi; mov $0x5a5a, %eax; kmovd %eax, %k3; vpternlogd $255, %zmm20, "
      "%zmm20, %zmm20\n"
      "1: vpaddd %zmm20, %zmm21, %zmm21{%k3}; vpbroadcastd %edi, %zmm5; vpcmpud $1, %zmm21, %zmm5, %k4; "
      "kmovd %k4, %ebx\n"
      "vmovdqu32 %zmm21, 1(%rsi){%k4}; vaddps 0x40(%rsi){1to16}, %zmm5, %zmm6{%k3}{z}; vcompressps %zmm5, "
      "0x100(%rsi){%k3}\n"
      "vmovdqa64 %zmm21, 0x200(%rsi); vcvtsi2sd %rdi, %xmm30, %xmm31; vsqrtsd {rz-sae}, %xmm31, %xmm30, "
      "%xmm29; dec %edi; jnz 1b\n"
      "xor %eax, %eax; cpuid; kortestd %k3, %k4; setz %al; vzeroupper; hlt");
/* The page behind is missing: masked-off elements do not touch it, the last one does. */
GUEST(masked, 64,
      "nop; mov $0x3fffd0, %esi; mov $0xfff, %eax; kmovd %eax, %k1; vpbroadcastd %eax, %zmm17; mov $3, %ecx\n"
      "1: vmovdqu32 %zmm17, (%rsi){%k1}; vmovdqu32 (%rsi), %zmm18{%k1}{z}; dec %ecx; jnz 1b; inc %edx\n"
      "2: vmovdqa32 (%rsi), %zmm18{%k1}; nop; hlt");
GUEST(
    masked_fault, 64,
    "nop; mov $0x3fffd0, %esi; mov $0x1fff, %eax; kmovd %eax, %k1; vpbroadcastd %eax, %zmm17; shl $20, %ebx\n"
    "vmovdqu32 (%rsi), %zmm18{%k1}{z}; hlt");
static void test_evex(void)
{
    struct vcpu *v = guests[JIT]->cpu[0];
    if (!cpu_has(v, FEAT_AVX512BW))
        return;
    u64 before = v->instructions;
    CHECK_EQ(BOTH(64, evex), -1);
    CHECK(stepped_since(before) < 3 * 40);
    CHECK_EQ(BOTH(64, masked), 13);
    CHECK_EQ(v->gpr[RDX], 1);
    CHECK_EQ(BOTH(64, masked_fault), 14);
    CHECK_EQ(v->cr2, 0x400000);
}

/* Operands across a page's end: read in a copy, not by the interpreter; flags live over them. */
GUEST(across, 64,
      "nop; mov $0x20ffb, %esi; mov $200, %ecx; fninit; movabs $0x3ff0000000000000, %rax; mov %rax, (%rsi)\n"
      "1: stc; movups (%rsi), %xmm1; fldl (%rsi); adc $0, %ebx; stc; addpd %xmm1, %xmm2; fiaddl -2(%rsi); "
      "pshufd $1, 5(%rsi,%rdx), %xmm3\n"
      ".byte 0x90; adc $0, %edi; fstpl 64(%rsi); movd %mm1, %r8d; emms; cvtsd2si (%rsi), %r9; ucomisd "
      "(%rsi), %xmm1\n"
      "setc %dl; movzbl %dl, %edx; xor %edx, %edx; movss 3(%rsi), %xmm4; movq -4(%rsi), %mm2; emms; dec "
      "%ecx; jnz 1b\n"
      "mov $0x3ffffc, %esi; inc %edx; movss (%rsi), %xmm5; movups (%rsi), %xmm6; hlt");
GUEST(across32, 32,
      "nop; mov $0x20ffb, %esi; mov $200, %ecx; 1: add $1, %eax; movups (%esi), %xmm1; fildll (%esi); "
      "fistpll 64(%esi)\n"
      "dec %ecx; jnz 1b; mov $0xfffffffc, %esi; movss (%esi), %xmm2; movq (%esi), %xmm3; hlt");
static void test_across(void)
{
    struct vcpu *v = guests[JIT]->cpu[0];
    u64 before = v->instructions;
    CHECK_EQ(BOTH(64, across), 14);
    CHECK_EQ(v->cr2, 0x400000);
    CHECK_EQ(v->gpr[RBX], 200);
    CHECK_EQ(v->gpr[RDI], 200);
    CHECK(stepped_since(before) < 3 * (2 * 200 + 40));
    before = v->instructions;
    BOTH(32, across32);
    CHECK(stepped_since(before) < 3 * 40);
}

int main(void)
{
    for (unsigned i = 0; i < ENGINES; i++) {
        engine = engines[i];
        guests[i] = guest_create(1);
    }
    TAP_RUN(test_pointers);
    TAP_RUN(test_pointers32);
    TAP_RUN(test_unmasked);
    TAP_RUN(test_rounding);
    TAP_RUN(test_enables);
    TAP_RUN(test_mixed);
    TAP_RUN(test_evex);
    TAP_RUN(test_across);
    for (unsigned i = 0; i < ENGINES; i++) {
        engine = engines[i];
        guest_destroy(guests[i]);
    }
    return tap_done();
}
