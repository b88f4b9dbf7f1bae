/* Disassembly of chosen encodings, and the facts that are easier to state than to derive. No other decoder
 * involved. */
#include "../tap.h"
#include "cpu/decode/decode.h"

static unsigned parse_hex(const char *text, u8 *bytes)
{
    unsigned n = 0, value;
    int used;
    while (sscanf(text, " %2x%n", &value, &used) == 1) {
        bytes[n++] = value;
        text += used;
    }
    return n;
}

static const struct {
    unsigned mode;
    const char *bytes, *text;
} lines[] = {
    {DECODE_64, "90", "nop"},
    {DECODE_64, "f3 90", "pause"},
    {DECODE_64, "41 90", "xchg r8d, eax"},
    {DECODE_64, "f3 41 90", "xchg r8d, eax"},
    {DECODE_64, "48 83 c4 10", "add rsp, 0x10"},
    {DECODE_64, "48 83 ec 80", "sub rsp, 0xffffffffffffff80"},
    {DECODE_32, "83 c0 ff", "add eax, 0xffffffff"},
    {DECODE_32, "66 83 c0 ff", "add ax, 0xffff"},
    {DECODE_64, "f0 00 44 8b 10", "lock add byte ptr [rbx+rcx*4+0x10], al"},
    {DECODE_64, "0f 84 00 01 00 00", "je 0x1106"},
    {DECODE_64, "73 00", "jae 0x1002"},
    {DECODE_64, "0f 4f c1", "cmovg eax, ecx"},
    {DECODE_64, "0f 97 c0", "seta al"},
    {DECODE_64, "eb fe", "jmp 0x1000"},
    {DECODE_64, "e8 fb ff ff ff", "call 0x1000"},
    {DECODE_64 | DECODE_AMD, "66 e9 10 00", "jmp 0x1014"},
    {DECODE_64, "65 48 8b 04 25 28 00 00 00", "mov rax, qword ptr gs:[0x28]"},
    {DECODE_64, "8b 05 10 00 00 00", "mov eax, dword ptr [0x1016]"},
    {DECODE_64, "8a e0", "mov ah, al"},
    {DECODE_64, "40 8a e0", "mov spl, al"},
    {DECODE_64, "f3 48 a5", "rep movsq"},
    {DECODE_64, "f2 ae", "repne scasb"},
    {DECODE_64, "f3 65 a6", "repe gs cmpsb"},
    {DECODE_16, "6d", "insw"},
    {DECODE_64, "98", "cwde"},
    {DECODE_64, "48 98", "cdqe"},
    {DECODE_64, "48 99", "cqo"},
    {DECODE_16, "66 cf", "iretd"},
    {DECODE_64, "48 cf", "iretq"},
    {DECODE_64, "e3 00", "jrcxz 0x1002"},
    {DECODE_64, "67 e3 00", "jecxz 0x1003"},
    {DECODE_16, "ea 34 12 cd ab", "jmp 0xabcd:0x1234"},
    {DECODE_16, "8b 42 fe", "mov ax, word ptr [bp+si-0x2]"},
    {DECODE_16, "8b 46 02", "mov ax, word ptr [bp+0x2]"},
    {DECODE_16, "3e 8b 46 02", "mov ax, word ptr ds:[bp+0x2]"},
    {DECODE_64, "48 a1 88 77 66 55 44 33 22 11", "mov rax, qword ptr [0x1122334455667788]"},
    {DECODE_64, "0f 22 e0", "mov cr4, rax"},
    {DECODE_64, "44 0f 20 c0", "mov rax, cr8"},
    {DECODE_64, "48 b8 88 77 66 55 44 33 22 11", "mov rax, 0x1122334455667788"},
    {DECODE_64, "d9 c1", "fld st(1)"},
    {DECODE_64, "de c1", "faddp st(1), st(0)"},
    {DECODE_64, "0f ae 00", "fxsave [rax]"},
    {DECODE_64, "48 0f ae 20", "xsave64 [rax]"},
    {DECODE_64, "0f 6f c1", "movq mm0, mm1"},
    {DECODE_64, "66 0f 6f 00", "movdqa xmm0, xmmword ptr [rax]"},
    {DECODE_64, "f2 0f 10 00", "movsd xmm0, qword ptr [rax]"},
    {DECODE_64, "c5 fd 6f 00", "vmovdqa ymm0, ymmword ptr [rax]"},
    {DECODE_64, "c4 e2 e9 92 04 08", "vgatherdpd xmm0, qword ptr [rax+xmm1], xmm2"},
    {DECODE_64, "62 f1 7c 5b 58 48 02", "vaddps zmm1{k3}, zmm0, dword ptr [rax+0x8]{1to16}"},
    {DECODE_64, "62 f1 7c cb 58 48 02", "vaddps zmm1{k3}{z}, zmm0, zmmword ptr [rax+0x80]"},
    {DECODE_64, "62 f1 7c 38 58 c8", "vaddps zmm1, zmm0, zmm0, {rd-sae}"},
    {DECODE_64, "f3 0f 1e fa", "endbr64"},
};

static void test_text(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(lines); i++) {
        u8 bytes[16];
        char buf[160];
        struct insn insn;
        unsigned n = parse_hex(lines[i].bytes, bytes);
        CHECK_EQ(insn_decode(&insn, bytes, n, lines[i].mode), DECODE_OK);
        CHECK_EQ(insn.len, n);
        CHECK_STR(insn_format(buf, sizeof buf, &insn, 0x1000), lines[i].text);
    }
}

static enum decode_status status_of(const char *text, unsigned mode)
{
    u8 bytes[32];
    struct insn insn;
    return insn_decode(&insn, bytes, parse_hex(text, bytes), mode);
}

static void test_limits(void)
{
    CHECK_EQ(status_of("", DECODE_64), DECODE_NEED_MORE);
    CHECK_EQ(status_of("66 66 66 66 66 66 66 66 66 66 66 66 66 66", DECODE_64), DECODE_NEED_MORE);
    CHECK_EQ(status_of("66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", DECODE_64), DECODE_OK);
    CHECK_EQ(status_of("66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", DECODE_64), DECODE_TOO_LONG);
    CHECK_EQ(status_of("66 66 66 66 66 66 66 66 66 66 66 66 66 66 b0 90", DECODE_64), DECODE_TOO_LONG);
    CHECK_EQ(status_of("c4 c1", DECODE_REAL | DECODE_16), DECODE_UD);
    CHECK_EQ(status_of("c4 07", DECODE_REAL | DECODE_16), DECODE_OK);
    CHECK_EQ(status_of("c5 fd 6f c1", DECODE_32), DECODE_OK);
    CHECK_EQ(status_of("c5 fd 6f c1", DECODE_32 | DECODE_REAL), DECODE_UD);
    CHECK_EQ(status_of("06", DECODE_64), DECODE_UD);
    CHECK_EQ(status_of("f0 01 c0", DECODE_64), DECODE_UD);
    CHECK_EQ(status_of("f0 39 00", DECODE_64), DECODE_UD);
    CHECK_EQ(status_of("0f 0d c0", DECODE_64), DECODE_OK);
    CHECK_EQ(status_of("0f 0d c0", DECODE_64 | DECODE_AMD), DECODE_UD);
    CHECK_EQ(status_of("90", DECODE_BITS), DECODE_UD);
}

static void test_gpr_use(void)
{
    static const struct {
        const char *bytes;
        u16 read, written;
    } uses[] = {
        {"48 01 d8", 1 << 0 | 1 << 3, 1 << 0},                         /* add rax, rbx */
        {"b8 00 00 00 00", 0, 1 << 0},                                 /* mov eax, 0 */
        {"b0 00", 1 << 0, 1 << 0},                                     /* mov al, 0 keeps the rest */
        {"b4 00", 1 << 0, 1 << 0},                                     /* mov ah, 0 is rax */
        {"8b 44 8b 10", 1 << 1 | 1 << 3, 1 << 0},                      /* mov eax, [rbx+rcx*4+16] */
        {"50", 1 << 0 | 1 << 4, 1 << 4},                               /* push rax */
        {"48 f7 e3", 1 << 0 | 1 << 3, 1 << 0 | 1 << 2},                /* mul rbx */
        {"66 f7 e3", 1 << 0 | 1 << 2 | 1 << 3, 1 << 0 | 1 << 2},       /* mul bx keeps rdx's upper part */
        {"a5", 1 << 6 | 1 << 7, 1 << 6 | 1 << 7},                      /* movsd */
        {"f3 a5", 1 << 1 | 1 << 6 | 1 << 7, 1 << 1 | 1 << 6 | 1 << 7}, /* rep movsd */
        {"0f a2", 1 << 0 | 1 << 1, 0xf},                               /* cpuid */
    };
    for (unsigned i = 0; i < ARRAY_LEN(uses); i++) {
        u8 bytes[16];
        struct insn insn;
        u16 read, written;
        unsigned n = parse_hex(uses[i].bytes, bytes);
        CHECK_EQ(insn_decode(&insn, bytes, n, DECODE_64), DECODE_OK);
        insn_gpr_use(&insn, &read, &written);
        CHECK_EQ(read, uses[i].read);
        CHECK_EQ(written, uses[i].written);
    }
}

int main(void)
{
    TAP_RUN(test_text);
    TAP_RUN(test_limits);
    TAP_RUN(test_gpr_use);
    return tap_done();
}
