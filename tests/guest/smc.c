/* Self-modifying code: the next instruction, code on another page, through an alias mapping, a loop that
 * patches itself, code written by REP MOVSB, and an instruction that overwrites itself. */
#include "guest.h"

static u8 code[8192] PAGE_ALIGNED;
static u32 directory[1024] PAGE_ALIGNED;
typedef u32 (*function)(void);

static void put_return(u8 *at, u32 value) /* mov eax, value; ret */
{
    at[0] = 0xb8;
    memcpy(at + 1, &value, 4);
    at[5] = 0xc3;
}

int main(void)
{
    function f = (function)code;
    bool ok = true;

    for (u32 i = 0; i < 1000; i++) {
        put_return(code, i * 3);
        ok = ok && f() == i * 3;
    }
    check(ok, "a function rewritten a thousand times");
    for (u32 i = 0; i < 256; i++) {
        code[1] = (u8)i;
        ok = ok && (f() & 0xff) == i;
    }
    check(ok, "one byte of its immediate");

    /* the very next instruction */
    u32 v;
    asm volatile("movl $0x11111111, 1f+1\n1:\tmov $0x22222222, %%eax\n\tmov %%eax, %0"
                 : "=r"(v)::"eax", "memory");
    check_eq(v, 0x11111111, "a write to the next instruction");
    /* a few instructions ahead, in the same straight line, in a loop */
    u32 sum = 0;
    asm volatile("xor %%ecx, %%ecx\n2:\tmov %%ecx, 1f+1\n\tnop\n\tnop\n1:\tmov $0x12345678, %%eax\n\tadd "
                 "%%eax, %0\n\tinc %%ecx\n\tcmp $100, %%ecx\n\tjne 2b"
                 : "+r"(sum)::"eax", "ecx", "memory");
    check_eq(sum, 4950, "a loop that patches its own immediate");
    /* an instruction that overwrites itself still does what it was; afterwards it is new */
    put_return(code + 64, 1);
    static const u8 self[] = {0xc7, 0x05, 0, 0, 0, 0, 0x90, 0x90, 0x90,
                              0x90, 0xb8, 5, 0, 0, 0, 0xc3}; /* mov dword [self], nops; mov eax, 5; ret */
    memcpy(code + 64, self, sizeof(self));
    ulong self_at = (ulong)code + 64;
    memcpy(code + 66, &self_at, 4);
    v = ((function)(code + 64))();
    check(v == 5 && code[64] == 0x90 && code[67] == 0x90, "an instruction that overwrites itself");

    /* REP MOVSB over the code that follows it */
    static u8 template[] = {0xb8, 9, 0, 0, 0};
    ulong si = (ulong) template, di = (ulong)code, cx = 5;
    asm volatile("cld\n\trep movsb\n9:\tmov $8, %%eax\n\tmov %%eax, %0"
                 : "=&b"(v), "+S"(si), "+D"(di), "+c"(cx)::"eax", "memory");
    check_eq(v, 8, "REP MOVSB elsewhere");
    ulong target;
    si = (ulong) template;
    asm volatile("mov $9f, %%edi\n\tmov $5, %%ecx\n\tcld\n\trep movsb\n9:\tmov $8, %%eax\n\tmov %%eax, %0"
                 : "=&b"(v), "+S"(si)::"eax", "ecx", "edi", "memory");
    check_eq(v, 9, "REP MOVSB over the next instruction");
    /* an instruction that crosses a page boundary, its second half rewritten */
    u8 *cross = code + 4096 - 3;
    ok = true;
    for (u32 i = 0; i < 100; i++) {
        put_return(cross, 0x01010101 * i);
        ok = ok && ((function)cross)() == 0x01010101 * i;
        code[4096] = (u8)~i;
        ok = ok && (((function)cross)() >> 16 & 0xff) == (u8)~i;
    }
    check(ok, "an instruction across two pages, either half rewritten");

    /* through another linear address */
    for (u32 i = 0; i < 1024; i++)
        directory[i] = i << 22 | 0x83;
    directory[0x300] = 0x83; /* 0xc0000000: physical 0 */
    cr4_write(CR4_PSE);
    cr3_write((ulong)directory);
    cr0_write(cr0_read() | CR0_PG);
    target = (ulong)code + 0xc0000000;
    ok = true;
    for (u32 i = 0; i < 500; i++) {
        put_return((u8 *)target, i);
        ok = ok && f() == i;
        put_return(code, ~i);
        ok = ok && ((function)target)() == ~i;
    }
    check(ok, "written through one address, run through another");
    /* another physical page under the same address */
    static u8 other[4096] PAGE_ALIGNED;
    static u32 table[1024] PAGE_ALIGNED;
    put_return(code, 1);
    put_return(other, 2);
    directory[0x301] = (u32)table | 7;
    ok = true;
    for (int i = 0; i < 100; i++) {
        table[0] = (i & 1 ? (u32)other : (u32)code) | 3;
        invlpg((void *)0xc0400000);
        ok = ok && ((function)0xc0400000)() == (i & 1 ? 2u : 1u);
    }
    check(ok, "other code mapped at the same address");
    return 0;
}
