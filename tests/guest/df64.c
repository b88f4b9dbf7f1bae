/*
 * #DF in long mode, on an IST stack; IST selection for other vectors; interrupt stack frames (APM 2,
 * 8.9).
 */
/* ## mode: x86_64 */
#include "guest.h"

extern char trap_stubs[], ist_top[];
static u8 ist2[4096] __attribute__((aligned(16)));

int main(void)
{
    /* no IST: the frame is on the current stack, aligned down to 16 */
    for (unsigned shift = 0; shift < 16; shift += 4) {
        ulong sp;
        TRY("sub %1, %%rsp\n\tmov %%rsp, %0\n\tud2", "=&b"(sp) : "r"((ulong)shift) : "memory");
        check_exception(UD, 0, "#UD with RSP %% 16 lowered by %u", shift);
        check_eq(trap.sp, sp, "the frame holds the old RSP");
        check_eq(trap.ss, SEL_DATA, "the frame holds SS without a change of privilege too");
    }
    /* IST 2 */
    tss.ist[1] = (ulong)ist2 + sizeof(ist2);
    idt_set(UD, SEL_CODE, (ulong)trap_stubs + UD * 16, 0x8e, 2);
    memset(ist2, 0, sizeof(ist2));
    TRY("ud2", );
    check_exception(UD, 0, "#UD on IST 2");
    u64 *frame = (u64 *)(ist2 + sizeof(ist2));
    check_eq(frame[-5], trap_insn, "IST stack: RIP");
    check_eq(frame[-4], SEL_CODE, "IST stack: CS");
    check_eq(frame[-2], trap_sp, "IST stack: RSP");
    check_eq(frame[-1], SEL_DATA, "IST stack: SS");
    tss.ist[1] = (ulong)ist2 + sizeof(ist2) - 7;
    TRY("ud2", );
    check_eq(frame[-2 - 2], trap_sp, "an IST pointer is aligned down to 16");
    USER("ud2", );
    check_exception(UD, 0, "#UD from ring 3 on IST 2");
    idt_reset(UD);

    /* non-canonical stack: #SS pushing the frame, again for #SS: #DF on its IST */
    TRY("mov %0, %%rsp\n\tud2", : "r"(0x8000000000000000ul) : "memory");
    check_exception(DF, 0, "#UD with a non-canonical RSP");
    idt_set(GP, SEL_CODE, (ulong)trap_stubs + GP * 16, 0x0e, 0);
    TRY("mov %w0, %%ds", : "r"(0x3f0) : "memory");
    check_exception(DF, 0, "#GP then #NP");
    idt_set(GP, SEL_CODE, 0x8000000000000000ul, 0x8e, 0);
    TRY("mov %w0, %%ds", : "r"(0x3f0) : "memory");
    check_exception(DF, 0, "#GP to a non-canonical handler: #GP");
    idt_reset(GP);
    idt_set(UD, SEL_CODE, (ulong)trap_stubs + UD * 16, 0x0e, 0);
    TRY("ud2", );
    check_exception(NP, UD * 8 + 3, "benign #UD then #NP: the #NP is delivered, with EXT");
    idt_set(UD, SEL_CODE, 0x8000000000000000ul, 0x8e, 0);
    TRY("ud2", );
    check(trap.vector == GP && trap.error <= 1 && trap.ip == trap_insn,
          "#UD to a non-canonical handler: #GP at the instruction");
    /* a gate's selector must be 64-bit code */
    idt_set(UD, SEL_CODE32, (ulong)trap_stubs + UD * 16, 0x8e, 0);
    TRY("ud2", );
    check_exception(GP, SEL_CODE32 | 1, "#UD through a gate to 32-bit code");
    idt_reset(UD);
    /* only 64-bit interrupt and trap gates exist */
    static const u8 types[] = {0x85, 0x86, 0x87, 0x8c, 0x89};
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        idt_set(0x40, SEL_CODE, (ulong)trap_stubs + 0x40 * 16, types[i], 0);
        TRY("int $0x40", );
        check_fault(GP, 0x40 * 8 + 2, "INT n through gate type 0x%x", types[i] & 0x1f);
    }
    /* a page fault on the new stack is a double fault only when it comes on top of another contributory one
     */
    pd[2047] = 0;
    invlpg((void *)0xffe00000);
    TRY("mov %0, %%rsp\n\tud2", : "r"(0xffe01000ul) : "memory");
    check_exception(DF, 0, "#UD, #PF on its stack, #PF on that one's");
    check_eq(trap.cr2, 0xffe01000 - 8, "CR2 is the second fault's address");
    return 0;
}
