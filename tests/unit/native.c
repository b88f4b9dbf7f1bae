/* Native stubs: code memory, faults of the host, enables. What instructions compute is the oracle's subject
 * (tests/oracle). */
#include <stdio.h>
#include "engine/interp/stub.h"
#include "tests/tap.h"
#include "tests/unit/interp_vm.h"

GUEST(divide_zero, 64, "divss %xmm1, %xmm0; hlt");
GUEST(x87_divide_zero, 64, "fld1; fldz; .byte 0xd8, 0xf9; fwait; hlt");
GUEST(add_vectors, 64, "paddd %xmm1, %xmm0; hlt");
GUEST(save_restore, 64, "xor %edx, %edx; mov $7, %eax; xsave (%rsi); xrstor (%rdi); hlt");

static struct guest *start(const u8 *code, const u8 *end)
{
    struct guest *g = guest_create(1);
    struct vcpu *v = g->cpu[0];
    guest_mode64(g, v);
    guest_load(g, GUEST_CODE, code, end);
    v->cr4 |= CR4_OSXSAVE;
    v->xcr0 = g->vm.model.xcr0;
    v->fpu.mxcsr = 0x1f80;
    v->fpu.fcw = 0x37f;
    v->fpu.ftw = 0;
    return g;
}

/* Code is never writable and executable at one address. */
static void test_code_is_not_writable(void)
{
    struct guest *g = start(add_vectors, add_vectors_end);
    CHECK_EQ(guest_run(g->cpu[0]), -1);
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned seen = 0, executable = 0;
    for (char line[512]; maps && fgets(line, sizeof line, maps);) {
        if (!strstr(line, "ring3-stubs"))
            continue;
        char *rights = strchr(line, ' ') + 1;
        seen++;
        executable += rights[2] == 'x';
        CHECK(!(rights[1] == 'w' && rights[2] == 'x'));
    }
    if (maps)
        fclose(maps);
    CHECK_EQ(seen, 2);
    CHECK_EQ(executable, 1);
    guest_destroy(g);
}

/* #XM leaves the destination alone and the flag in MXCSR; without OSXMMEXCPT it is #UD; masked, it is a
 * result. */
static void test_simd_exception(void)
{
    static const float one = 1;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct guest *g = start(divide_zero, divide_zero_end);
        struct vcpu *v = g->cpu[0];
        memcpy(v->fpu.zmm[0], &one, 4);
        v->fpu.mxcsr = kind == 2 ? 0x1f80 : 0x1f80 & ~0x200;
        if (kind == 1)
            v->cr4 &= ~(u64)CR4_OSXMMEXCPT;
        CHECK_EQ(guest_run(v), kind == 0 ? EXC_XM : kind == 1 ? EXC_UD : -1);
        CHECK_EQ(load_le32(v->fpu.zmm[0]), kind == 2 ? 0x7f800000 : 0x3f800000);
        CHECK_EQ(v->fpu.mxcsr & 0x3f, 4);
        guest_destroy(g);
    }
}

/* An unmasked x87 exception is reported by the next waiting instruction. */
static void test_x87_exception(void)
{
    struct guest *g = start(x87_divide_zero, x87_divide_zero_end);
    g->cpu[0]->fpu.fcw = 0x37b;
    CHECK_EQ(guest_run(g->cpu[0]), EXC_MF);
    CHECK_EQ(g->cpu[0]->fpu.fsw & 0x8084, 0x8084);
    guest_destroy(g);
}

static void test_enables(void)
{
    static const struct {
        u64 cr0, cr4_off;
        int vector;
    } cases[] = {{0, 0, -1},
                 {CR0_TS, 0, EXC_NM},
                 {CR0_EM, 0, EXC_UD},
                 {CR0_EM | CR0_TS, 0, EXC_UD},
                 {0, CR4_OSFXSR, EXC_UD}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct guest *g = start(add_vectors, add_vectors_end);
        g->cpu[0]->cr0 |= cases[i].cr0;
        g->cpu[0]->cr4 &= ~cases[i].cr4_off;
        CHECK_EQ(guest_run(g->cpu[0]), cases[i].vector);
        guest_destroy(g);
    }
}

/* More stubs than the cache holds: PSHUFD with every immediate and many registers; the oldest still work
 * after it. */
static void test_cache_overflow(void)
{
    struct guest *g = guest_create(1);
    struct vcpu *v = g->cpu[0];
    u32 generation = v->native->generation;
    for (unsigned n = 0; n < 2 * STUB_MAX; n++) {
        u8 code[] = {0x66, 0x0f, 0x70, (u8)(0xc0 | (n >> 8 & 63)), (u8)n, 0xf4};
        unsigned from = n >> 8 & 7, to = n >> 11 & 7;
        guest_mode64(g, v);
        guest_load(g, GUEST_CODE, code, code + sizeof code);
        for (unsigned i = 0; i < 4; i++)
            store_le32(v->fpu.zmm[from] + 4 * i, 0x11 * i + n);
        if (guest_run(v) != -1 || load_le32(v->fpu.zmm[to]) != 0x11 * (n & 3) + n) {
            CHECK(!"a shuffle went wrong");
            break;
        }
    }
    CHECK(v->native->generation != generation);
    guest_destroy(g);
}

/* XRSTOR of a header with a reserved bit is #GP(0), and nothing is loaded. */
static void test_xrstor_header(void)
{
    for (unsigned bad = 0; bad < 2; bad++) {
        struct guest *g = start(save_restore, save_restore_end);
        struct vcpu *v = g->cpu[0];
        u8 *area = guest_ptr(g, GUEST_DATA);
        memset(area, 0, 4096);
        store_le32(area + 24, 0x1f80);
        area[520 + 8] = bad; /* header byte 16 */
        v->gpr[RSI] = GUEST_DATA + 4096;
        v->gpr[RDI] = GUEST_DATA;
        v->fpu.zmm[3][5] = 77;
        CHECK_EQ(guest_run(v), bad ? EXC_GP : -1);
        CHECK_EQ(v->fpu.zmm[3][5], bad ? 77 : 0);
        CHECK_EQ(area[4096 + 160 + 3 * 16 + 5], 77);
        guest_destroy(g);
    }
}

int main(void)
{
    TAP_RUN(test_code_is_not_writable);
    TAP_RUN(test_simd_exception);
    TAP_RUN(test_x87_exception);
    TAP_RUN(test_enables);
    TAP_RUN(test_cache_overflow);
    TAP_RUN(test_xrstor_header);
    return tap_done();
}
