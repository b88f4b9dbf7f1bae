/* LAR, LSL, VERR, VERW over all descriptor types and privileges; ARPL (APM 3, system instructions). */
#include "guest.h"

static const u32 lar_ok =
    0xffff0000u | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 9 | 1u << 11 | 1u << 12;
static const u32 lsl_ok = 0xffff0000u | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 9 | 1u << 11;

#define LAR_LIKE(name, insn)                                                                                 \
    static bool name(u16 sel, u32 *out)                                                                      \
    {                                                                                                        \
        u8 zf;                                                                                               \
        u32 v = *out;                                                                                        \
        asm volatile(insn " %2, %0\n\tsetz %1" : "+r"(v), "=q"(zf) : "r"((u32)sel) : "cc");                  \
        *out = v;                                                                                            \
        return zf;                                                                                           \
    }
LAR_LIKE(lar, "lar")
LAR_LIKE(lsl, "lsl")

static bool verr(u16 sel)
{
    u8 zf;
    asm volatile("verr %w1\n\tsetz %0" : "=q"(zf) : "r"(sel) : "cc");
    return zf;
}

static bool verw(u16 sel)
{
    u8 zf;
    asm volatile("verw %w1\n\tsetz %0" : "=q"(zf) : "r"(sel) : "cc");
    return zf;
}

int main(void)
{
    for (unsigned type = 0; type < 32; type++) {
        u32 v = 0xdeadbeef;
        bool code = type >= 24, data = type >= 16 && type < 24;

        gdt_set(SEL_FREE, 0x12345678, 0xabcde, (u8)(0x80 | type), FLAG_D | 1);
        bool ok = lar(SEL_FREE, &v);
        check_eq(ok, lar_ok >> type & 1, "LAR type %u: ZF", type);
        check_eq(v, ok ? (u32)(gdt[SEL_FREE >> 3] >> 32) & 0x00f0ff00 : 0xdeadbeef, "LAR type %u: value",
                 type);
        v = 0xdeadbeef;
        ok = lsl(SEL_FREE, &v);
        check_eq(ok, lsl_ok >> type & 1, "LSL type %u: ZF", type);
        check_eq(v, ok ? 0xabcde : 0xdeadbeef, "LSL type %u: value", type);
        check_eq(verr(SEL_FREE), data || (code && (type & 2)), "VERR type %u", type);
        check_eq(verw(SEL_FREE), data && (type & 2), "VERW type %u", type);
        check_eq(gdt[SEL_FREE >> 3] >> 40 & 0x1f, type, "type %u is not marked accessed", type);
    }
    u32 v = 0;
    gdt_set(SEL_FREE, 0, 0x12345, 0x93, FLAG_G);
    check(lsl(SEL_FREE, &v) && v == 0x12345fff, "LSL of a page-granular segment");
    gdt_set(SEL_FREE, 0, 0x12345, 0x13, 0);
    check(lar(SEL_FREE, &v) && !(v & 0x8000), "LAR of a not present segment");
    check(!lar(0, &v), "LAR of the null selector");
    check(!lsl(3, &v), "LSL of the null selector, RPL 3");
    check(!verr(0), "VERR of the null selector");
    check(!lar(0x400, &v), "LAR beyond the GDT");
    check(!verw(0x0c), "VERW of an LDT selector without LDT");
    u32 wide = 0xdeadbeef;
    gdt_set(SEL_FREE, 0, 0xabcde, 0x93, 0);
    asm volatile("lslw %w1, %w0" : "+r"(wide) : "r"(SEL_FREE));
    check_eq(wide, 0xdeadbcde, "LSL r16 writes the low 16 bits");
    wide = 0xdeadbeef;
    asm volatile("larw %w1, %w0" : "+r"(wide) : "r"(SEL_FREE));
    check_eq(wide, 0xdead9300, "LAR r16 writes the low 16 bits");

    /* privilege: max(CPL, RPL) <= DPL, except for conforming code */
    for (unsigned dpl = 0; dpl < 4; dpl++)
        for (unsigned rpl = 0; rpl < 4; rpl++) {
            gdt_set(SEL_FREE, 0, 0xfffff, (u8)(0x93 | DPL(dpl)), FLAG_G | FLAG_D);
            check_eq(lar((u16)(SEL_FREE | rpl), &v), dpl >= rpl, "LAR data DPL %u RPL %u", dpl, rpl);
            check_eq(lsl((u16)(SEL_FREE | rpl), &v), dpl >= rpl, "LSL data DPL %u RPL %u", dpl, rpl);
            check_eq(verr((u16)(SEL_FREE | rpl)), dpl >= rpl, "VERR data DPL %u RPL %u", dpl, rpl);
            gdt_set(SEL_FREE, 0, 0xfffff, (u8)(0x9f | DPL(dpl)), FLAG_G | FLAG_D);
            check_eq(lar((u16)(SEL_FREE | rpl), &v), 1, "LAR conforming DPL %u RPL %u", dpl, rpl);
            check_eq(verr((u16)(SEL_FREE | rpl)), 1, "VERR conforming DPL %u RPL %u", dpl, rpl);
        }
    gdt_set(SEL_FREE, 0, 0xfffff, 0x93, FLAG_G | FLAG_D);
    u32 zf = 9;
    USER("lar %1, %%ecx\n\tsetz %%al\n\tmovzbl %%al, %0", "=&a"(zf) : "r"(SEL_FREE) : "ecx");
    check_eq(zf, 0, "LAR from ring 3 of a DPL 0 segment");
    USER("verr %w1\n\tsetz %%al\n\tmovzbl %%al, %0", "=&a"(zf) : "r"(SEL_UDATA));
    check_eq(zf, 1, "VERR from ring 3 of a DPL 3 segment");

    for (unsigned dest = 0; dest < 4; dest++)
        for (unsigned source = 0; source < 4; source++) {
            u16 d = (u16)(0x120 | dest);
            u8 z;
            asm volatile("arpl %w2, %w0\n\tsetz %1" : "+r"(d), "=q"(z) : "r"((u16)source) : "cc");
            check_eq(d | (u32)z << 16, (dest < source ? 0x10120 | source : 0x120 | dest), "ARPL RPL %u by %u",
                     dest, source);
        }
    return 0;
}
