/* String instructions: page faults in the middle, restart, registers; direction; 16-bit addressing wrap;
 * overlap; INS/OUTS; REP with interrupts. */
#include "apic.h"

static u32 directory[1024] PAGE_ALIGNED, table[1024] PAGE_ALIGNED;
static u8 pages[2][4096] PAGE_ALIGNED;
#define VA 0xc0000000u

static volatile u32 irqs;
static volatile ulong ip_low, ip_high, count_seen;
static void on_irq(struct regs *r)
{
    irqs++;
    if (r->ip >= ip_low && r->ip < ip_high)
        count_seen = r->cx;
    lapic_eoi();
}

static struct regs at_fault;
static void on_pf(struct regs *r)
{
    at_fault = *r;
    table[1] = (u32)pages[1] | 3;
    invlpg((void *)(VA + 4096));
}

static void faults_in_the_middle(void)
{
    ulong si, di, cx;

    /* STOSB upward into an absent page: 16 bytes done, restartable */
    table[1] = 0;
    invlpg((void *)(VA + 4096));
    di = VA + 4096 - 16;
    cx = 100;
    TRY("cld\n\t" HERE "rep stosb", "+D"(di), "+c"(cx) : "a"(0x55) : "memory");
    check_fault(PF, 2, "REP STOSB into an absent page");
    check_eq(di, VA + 4096, "REP STOSB: EDI at the fault");
    check_eq(cx, 84, "REP STOSB: ECX at the fault");
    check_eq(trap.cr2, VA + 4096, "REP STOSB: CR2");
    check_eq(trap.flags & FL_RF, FL_RF, "REP STOSB: RF in the saved flags");
    check(pages[0][4095] == 0x55 && pages[0][4080] == 0x55, "REP STOSB: the first 16 bytes are written");
    /* the handler maps the page and returns: it goes on */
    trap_handle(PF, on_pf);
    di = VA + 4096 - 16;
    cx = 100;
    asm volatile("cld\n\trep stosb" : "+D"(di), "+c"(cx) : "a"(0x66) : "memory");
    trap_handle(PF, NULL);
    check_eq(at_fault.cx, 84, "the handler saw ECX in the middle");
    check(di == VA + 4096 + 84 && cx == 0 && pages[1][83] == 0x66 && pages[1][84] != 0x66,
          "REP STOSB went on after the fault");

    /* MOVSL: the destination straddles; dwords that do not fit are not written */
    table[1] = 0;
    invlpg((void *)(VA + 4096));
    memset(pages[0], 0, 4096);
    static u8 source[64];
    memset(source, 0x11, sizeof(source));
    si = (ulong)source;
    di = VA + 4096 - 10;
    cx = 8;
    TRY("cld\n\t" HERE "rep movsl", "+S"(si), "+D"(di), "+c"(cx)::"memory");
    check_fault(PF, 2, "REP MOVSL across into an absent page");
    check(cx == 6 && si == (ulong)source + 8 && di == VA + 4096 - 2, "REP MOVSL: registers at the fault");
    check(pages[0][4093] == 0x11 && pages[0][4094] == 0, "REP MOVSL: nothing of the third dword is written");
    /* downwards */
    table[1] = (u32)pages[1] | 3;
    table[0] = 0;
    invlpg((void *)VA);
    di = VA + 4096 + 11;
    cx = 5;
    TRY("std\n\t" HERE "rep stosl", "+D"(di), "+c"(cx) : "a"(0) : "memory");
    asm volatile("cld");
    check_fault(PF, 2, "REP STOSL downwards into an absent page");
    check(cx == 2 && di == VA + 4096 - 1, "REP STOSL downwards: registers at the fault (ecx %lu)", cx);
    table[0] = (u32)pages[0] | 3;
    table[1] = 0;
    invlpg((void *)VA);
    invlpg((void *)(VA + 4096));
    /* SCASB and CMPSB read; a fault keeps the flags of the last completed comparison out of sight but the
     * registers right */
    memset(pages[0], 7, 4096);
    di = VA + 4096 - 4;
    cx = 10;
    TRY("cld\n\t" HERE "repe scasb", "+D"(di), "+c"(cx) : "a"(7));
    check_fault(PF, 0, "REPE SCASB into an absent page");
    check(cx == 6 && di == VA + 4096, "REPE SCASB: registers at the fault");
    si = VA + 4096 - 3;
    di = (ulong)pages[0];
    cx = 10;
    TRY("cld\n\t" HERE "repe cmpsb", "+S"(si), "+D"(di), "+c"(cx));
    check_fault(PF, 0, "REPE CMPSB into an absent page");
    check(cx == 7 && si == VA + 4096 && di == (ulong)pages[0] + 3, "REPE CMPSB: registers at the fault");
    si = VA + 4096;
    di = (ulong)pages[0];
    TRY("movsb", "+S"(si), "+D"(di)::"memory");
    check(trap.vector == PF && si == VA + 4096 && di == (ulong)pages[0],
          "MOVSB that faults leaves its registers");
    /* ECX = 0: no access */
    TRY("rep movsb", : "S"(VA + 4096), "D"(VA + 4096), "c"(0) : "memory");
    check_no_fault("REP MOVSB with ECX = 0 touches nothing");
    table[1] = (u32)pages[1] | 3;
}

static void addressing(void)
{
    static u8 buffer[32];
    ulong si, di, cx, ax;

    /* 16-bit addressing: SI, DI and CX only, wrap at 64 KiB; the segment's base puts 64 KiB into the image's
     * memory */
    gdt_set(SEL_FREE, 0x200000, 0xfffff, 0x93, FLAG_G | FLAG_D);
    u8 *big = (u8 *)0x200000;
    for (u32 i = 0; i < 16; i++)
        big[0xfff8 + i] = (u8)i;
    for (u32 i = 0; i < 8; i++)
        big[i] = (u8)(0x80 + i);
    si = 0x1234fff8;
    di = 0x56780100;
    cx = 0xffff0010;
    asm volatile("mov %3, %%es\n\tmov %3, %%fs\n\tcld\n\trep addr16 movsb %%fs:(%%si), %%es:(%%di)\n\tmov "
                 "%%ss, %%eax\n\tmov %%eax, %%es"
                 : "+S"(si), "+D"(di), "+c"(cx)
                 : "r"(SEL_FREE)
                 : "eax", "memory");
    check_eq(si, 0x12340008, "addr16 REP MOVSB: SI wraps, the upper half of ESI stays");
    check_eq(di, 0x56780110, "addr16 REP MOVSB: the upper half of EDI stays");
    check_eq(cx, 0xffff0000, "addr16 REP MOVSB: CX counts, the upper half of ECX stays");
    check(big[0x100] == 0 && big[0x107] == 7 && big[0x108] == 0x80 && big[0x10f] == 0x87,
          "addr16 REP MOVSB: the data wrapped");
    cx = 0x10000;
    di = (ulong)buffer;
    asm volatile("addr16 rep stosb" : "+c"(cx), "+D"(di) : "a"(1) : "memory");
    check_eq(cx, 0x10000, "addr16: CX = 0 is no iteration");

    /* overlap: byte-wise propagation */
    for (u32 i = 0; i < 32; i++)
        buffer[i] = (u8)i;
    si = (ulong)buffer;
    di = (ulong)buffer + 1;
    cx = 16;
    asm volatile("cld\n\trep movsb" : "+S"(si), "+D"(di), "+c"(cx)::"memory");
    check(buffer[16] == 0 && buffer[8] == 0 && buffer[17] == 17,
          "overlapping REP MOVSB propagates the first byte");
    for (u32 i = 0; i < 32; i++)
        buffer[i] = (u8)i;
    si = (ulong)buffer;
    di = (ulong)buffer + 4;
    cx = 3;
    asm volatile("rep movsl" : "+S"(si), "+D"(di), "+c"(cx)::"memory");
    check(buffer[4] == 0 && buffer[8] == 0 && buffer[12] == 0 && buffer[15] == 3,
          "overlapping REP MOVSL propagates dwords");

    /* REPE/REPNE ends and flags */
    for (u32 i = 0; i < 32; i++)
        buffer[i] = (u8)i;
    di = (ulong)buffer;
    cx = 32;
    u8 z;
    asm volatile("repne scasb\n\tsetz %2" : "+D"(di), "+c"(cx), "=q"(z) : "a"(9));
    check(di == (ulong)buffer + 10 && cx == 22 && z, "REPNE SCASB finds");
    cx = 5;
    di = (ulong)buffer;
    asm volatile("repne scasb\n\tsetz %2" : "+D"(di), "+c"(cx), "=q"(z) : "a"(99));
    check(cx == 0 && !z, "REPNE SCASB does not find");
    cx = 0;
    asm volatile("xor %%edx, %%edx\n\trepe cmpsb\n\tsetz %1"
                 : "+c"(cx), "=q"(z)
                 : "S"(buffer), "D"(buffer + 1)
                 : "edx");
    check(z, "REPE CMPSB with ECX = 0 leaves the flags");
    si = (ulong)buffer + 31;
    asm volatile("std\n\tlodsb\n\tcld" : "+S"(si), "=a"(ax));
    check(si == (ulong)buffer + 30 && (ax & 0xff) == 31, "LODSB downwards");
    /* OUTS and INS */
    si = (ulong)buffer + 5;
    cx = 3;
    asm volatile("rep outsb" : "+S"(si), "+c"(cx) : "d"(0x80));
    check(si == (ulong)buffer + 8 && cx == 0, "REP OUTSB");
    di = (ulong)buffer;
    cx = 2;
    outb(0x3f8 + 7, 0x3c);
    asm volatile("rep insb" : "+D"(di), "+c"(cx) : "d"(0x3ff) : "memory");
    check(buffer[0] == 0x3c && buffer[1] == 0x3c && di == (ulong)buffer + 2, "REP INSB");
}

static void interrupted(void)
{
    static u8 *from = (u8 *)0x400000, *to = (u8 *)0x800000;
    ulong si = (ulong)from, di = (ulong)to, cx = 0x200000;

    for (u32 i = 0; i < 0x200000; i += 4)
        *(u32 *)(from + i) = i * 2654435761u;
    lapic_enable();
    trap_handle(0x41, on_irq);
    lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
    lapic_write(LAPIC_LVT_TIMER, 0x20041);
    lapic_write(LAPIC_TIMER_INITIAL, 100000);
    ulong low, high;
    for (int round = 0; round < 5000 && count_seen == 0; round++) {
        si = (ulong)from;
        di = (ulong)to;
        cx = 0x200000;
        asm volatile("movl $1f, ip_low_\n\tmovl $2f, ip_high_\n\tcld\n\tsti\n1:\trep movsb\n2:\tcli"
                     : "+S"(si), "+D"(di), "+c"(cx)::"memory");
        extern volatile ulong ip_low_, ip_high_;
        low = ip_low_;
        high = ip_high_;
        ip_low = low;
        ip_high = high;
    }
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    check(irqs > 0, "interrupts came");
    check(count_seen > 0 && count_seen < 0x200000, "one came in the middle of REP MOVSB (ECX 0x%lx)",
          (ulong)count_seen);
    check(cx == 0 && si == (ulong)from + 0x200000 && di == (ulong)to + 0x200000, "the final registers");
    check(memcmp(from, to, 0x200000) == 0, "the data");
}
asm(".pushsection .bss\n.globl ip_low_, ip_high_\nip_low_: .skip 4\nip_high_: .skip 4\n.popsection");

int main(void)
{
    for (u32 i = 0; i < 1024; i++)
        directory[i] = i << 22 | 0x83;
    directory[0x300] = (u32)table | 7;
    table[0] = (u32)pages[0] | 3;
    cr4_write(CR4_PSE);
    cr3_write((ulong)directory);
    cr0_write(cr0_read() | CR0_PG);
    faults_in_the_middle();
    addressing();
    if (!tcg_cannot("interrupts in REP MOVSB", "takes too long"))
        interrupted();
    return 0;
}
