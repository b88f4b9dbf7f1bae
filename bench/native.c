/*
 * What one vector or x87 instruction costs in the interpreter: unrolled loops of it, in a VM without a board,
 * less the cost of the loop with NOPs. bench/README.md has the command and figures.
 */
#include <time.h>
#include "cpu/xstate.h"
#include "tests/unit/interp_vm.h"

#define UNROLL 64u
#define ROUNDS 20000u

static const struct subject {
    const char *name;
    const u8 *bytes;
    unsigned len;
} subjects[] = {
#define SUBJECT(name, bytes)                                                                                 \
    {                                                                                                        \
        name, (const u8 *)(bytes), sizeof(bytes) - 1                                                         \
    }
    SUBJECT("nop", "\x90"),
    SUBJECT("movaps xmm, xmm", "\x0f\x28\xca"),
    SUBJECT("paddd xmm, xmm", "\x66\x0f\xfe\xca"),
    SUBJECT("movups xmm, [mem]", "\x0f\x10\x0e"),
    SUBJECT("movups [mem], xmm", "\x0f\x11\x0e"),
    SUBJECT("addsd xmm, xmm", "\xf2\x0f\x58\xca"),
    SUBJECT("addsd xmm, [mem]", "\xf2\x0f\x58\x0e"),
    SUBJECT("ucomisd xmm, xmm", "\x66\x0f\x2e\xca"),
    SUBJECT("movd eax, xmm", "\x66\x0f\x7e\xc8"),
    SUBJECT("vpaddd ymm, ymm, ymm", "\xc5\xed\xfe\xcb"),
    SUBJECT("paddd mm, mm", "\x0f\xfe\xca"),
    SUBJECT("fld1; fstp st(0)", "\xd9\xe8\xdd\xd8"),
    SUBJECT("fadd st, st(1)", "\xd8\xc1"),
    SUBJECT("fld m64; fstp m64", "\xdd\x06\xdd\x1e"),
    SUBJECT("fxsave [mem]", "\x0f\xae\x06"),
    SUBJECT("vpaddd zmm, zmm, zmm", "\x62\xf1\x6d\x48\xfe\xcb"),
    SUBJECT("vpaddd zmm17{k1}, zmm18, [mem]", "\x62\xe1\x6d\x41\xfe\x0e"),
    SUBJECT("vpgatherdd ymm, [mem + ymm]", "\xc5\xf5\x76\xc9\xc4\xe2\x75\x90\x04\x16"),
    SUBJECT("xsave [mem] (x87, sse, avx)", "\x0f\xae\x26"),
    SUBJECT("xsavec [mem]; xrstor [mem]", "\x0f\xc7\x26\x0f\xae\x2e"),
    SUBJECT("xsaves [mem]; xrstors [mem]", "\x0f\xc7\x2e\x0f\xc7\x1e"),
    SUBJECT("paddd xmm; xsaves; xrstors", "\x66\x0f\xfe\xca\x0f\xc7\x2e\x0f\xc7\x1e"),
};

static double seconds_of(struct guest *g, const struct subject *s)
{
    static const u8 head[] = "\x48\xc7\xc1"; /* mov rcx, imm32 */
    struct vcpu *v = g->cpu[0];
    u8 code[2048], *p = code;
    struct timespec t0, t1;
    memcpy(p, head, 3);
    store_le32(p + 3, ROUNDS);
    p += 7;
    u8 *loop = p;
    for (unsigned i = 0; i < UNROLL; i++, p += s->len)
        memcpy(p, s->bytes, s->len);
    memcpy(p, "\x48\xff\xc9\x0f\x85", 5); /* dec rcx; jnz loop */
    store_le32(p + 5, (u32)(loop - (p + 9)));
    p[9] = 0xf4;
    guest_mode64(g, v);
    v->cr0 &= ~(u64)(CR0_EM | CR0_TS);
    v->cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
    v->xcr0 = g->vm.model.xcr0;
    v->fpu.fcw = 0x37f;
    v->fpu.fsw = 0;
    v->fpu.ftw = 0xff;
    v->fpu.mxcsr = 0x1f80;
    if (s->bytes[0] == 0xd9 || s->bytes[0] == 0xdd)
        v->fpu.ftw = 0;
    guest_load(g, GUEST_CODE, code, p + 10);
    v->gpr[RSI] = GUEST_DATA;
    v->gpr[RAX] = XCR0_X87SSE | XCR0_AVX; /* XSAVE's mask */
    v->fpu.k[1] = 0x5a5a;
    memset(v->fpu.zmm, s->bytes[0] == 0xc5 ? 0 : 0x11, sizeof v->fpu.zmm);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t0);
    if (guest_run(v) != -1)
        printf("# %s: exception %u\n", s->name, v->exc.vector);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t1);
    return (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
}

int main(void)
{
    struct guest *g = guest_create(1);
    double nop = seconds_of(g, &subjects[0]);
    for (unsigned i = 0; i < ARRAY_LEN(subjects); i++) {
        double best = 1e9;
        for (unsigned run = 0; run < 5; run++) {
            double s = seconds_of(g, &subjects[i]);
            best = s < best ? s : best;
        }
        if (!i)
            nop = best;
        printf("%-32s %6.1f ns (less a nop: %.1f)\n", subjects[i].name, best * 1e9 / (UNROLL * ROUNDS),
               (best - nop) * 1e9 / (UNROLL * ROUNDS));
    }
    guest_destroy(g);
    return 0;
}
