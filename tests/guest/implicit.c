/*
 * Implicit accesses: descriptor tables, TSS, I/O bitmap and stacks that are not present or read-only.
 * They are supervisor accesses (U/S = 0 in the error code) whatever the CPL; CR2 says where; state is
 * unchanged when they fault.
 */
/* ## mode: x86_64 */
#include "guest.h"

#define P 1ul
#define W 2ul
#define U 4ul
static u64 table[512] PAGE_ALIGNED; /* 4 KiB pages for the 2 MiB at WINDOW */
#define WINDOW 0x3000000ul          /* 48 MiB: an alias of the image at 0 to 2 MiB, page by page */

static void page(ulong alias, u64 bits)
{
    table[(alias >> 12) & 511] = (alias & 0x1ff000) | bits;
    invlpg((void *)alias);
}

static ulong alias_of(const volatile void *p)
{
    return WINDOW + (ulong)p;
}

extern char trap_stubs[];

int main(void)
{
    static u64 other_gdt[512] PAGE_ALIGNED;
    static u64 ldt[512] PAGE_ALIGNED;
    static u8 stack[8192] PAGE_ALIGNED;

    for (u32 i = 0; i < 512; i++)
        table[i] = (u64)i << 12 | P | W | U;
    pd[WINDOW >> 21] = (ulong)table | P | W | U;
    cr3_write(cr3_read());
    cr0_write(cr0_read() | CR0_WP);

    /* the GDT: entries 64 and up on an alias page that can be taken away */
    memcpy(other_gdt, gdt, sizeof(gdt));
    struct table_ptr far_gdt = {4095, alias_of(other_gdt)}, near_gdt = {sizeof(gdt) - 1, (ulong)gdt};
    other_gdt[SEL_FREE >> 3] = descriptor(0, 0xfffff, 0xf2, FLAG_G | FLAG_D); /* not accessed */
    asm volatile("lgdt %0" ::"m"(far_gdt));
    page(far_gdt.base, P); /* read-only, supervisor */
    TRY("mov %0, %%fs", : "r"(SEL_FREE | 3));
    check_fault(PF, P | W, "MOV FS: the accessed bit of a read-only GDT page");
    check_eq(trap.cr2 & ~7ul, far_gdt.base + SEL_FREE, "MOV FS: CR2 is in the descriptor");
    other_gdt[SEL_FREE >> 3] |= 1ull << 40;
    TRY("mov %0, %%fs", : "r"(SEL_FREE | 3));
    check_no_fault("MOV FS: already accessed, nothing is written");
    USER("mov %0, %%fs", : "r"(SEL_FREE | 3));
    check_no_fault("MOV FS in ring 3: the GDT page needs no U bit");
    /* the library's own gates need the GDT too: the absent case runs with the GDT crossing into the absent
     * page */
    far_gdt.base = alias_of(other_gdt) - 0x200; /* the first 64 entries in the page before */
    memcpy((u8 *)other_gdt - 0x200, gdt, 0x200);
    page(far_gdt.base, P | W | U);
    page(alias_of(other_gdt), 0);
    asm volatile("lgdt %0" ::"m"(far_gdt));
    TRY("mov %0, %%fs", : "r"(0x200));
    check_fault(PF, 0, "MOV FS: descriptor on an absent page");
    check_eq(trap.cr2, alias_of(other_gdt), "MOV FS: CR2 is the descriptor");
    USER("mov %0, %%fs", : "r"(0x203));
    check_fault(PF, 0, "MOV FS in ring 3: descriptor on an absent page, a supervisor access");
    USER("lar %0, %%eax", : "r"(0x203) : "rax");
    check_fault(PF, 0, "LAR in ring 3: descriptor on an absent page");
    USER("verr %w0", : "r"(0x203));
    check_fault(PF, 0, "VERR in ring 3: descriptor on an absent page");
    asm volatile("lgdt %0" ::"m"(near_gdt));
    page(alias_of(other_gdt), P | W | U);

    /* the LDT */
    ldt[1] = descriptor(0, 0xfffff, 0xf3, FLAG_G | FLAG_D);
    gdt_set(SEL_LDT, alias_of(ldt), sizeof(ldt) - 1, 0x82, 0);
    asm volatile("lldt %w0" ::"r"(SEL_LDT));
    page(alias_of(ldt), 0);
    TRY("mov %0, %%fs", : "r"(0x0c));
    check_fault(PF, 0, "MOV FS: the LDT's page is absent");
    check_eq(trap.cr2, alias_of(ldt) + 8, "MOV FS: CR2 is the LDT entry");

    /* the IDT: gate 0x90 on an absent page */
    struct table_ptr far_idt = {4095, 0}, near_idt = {4095, (ulong)idt};
    static u64 other_idt[1024] PAGE_ALIGNED;
    memcpy((u8 *)other_idt + 0x800, idt,
           4096); /* gates 0 to 127 in the first page, 128 to 255 in the second */
    far_idt.base = alias_of(other_idt) + 0x800;
    asm volatile("lidt %0" ::"m"(far_idt));
    page(alias_of(other_idt) + 4096, 0);
    TRY("int $0x90", );
    check_fault(PF, 0, "INT n: the gate's page is absent");
    check_eq(trap.cr2, far_idt.base + 0x900, "INT n: CR2 is the gate");
    USER("int $0x90", );
    check_fault(PF, 0, "INT n in ring 3: the gate's page is absent, a supervisor access");
    page(alias_of(other_idt) + 4096, P | W | U);
    asm volatile("lidt %0" ::"m"(near_idt));

    /* ring 0's stack, through IST 3, absent: #PF while pushing, delivered on the ordinary stack */
    tss.ist[2] = alias_of(stack) + 4096;
    page(alias_of(stack), 0);
    idt_set(0x91, SEL_CODE, (ulong)trap_stubs + 0x91 * 16, 0xee, 3);
    TRY("int $0x91", );
    check_fault(PF, W, "INT n: the IST stack is absent");
    check_eq(trap.cr2, alias_of(stack) + 4096 - 8, "INT n: CR2 is the first quadword pushed");
    USER("int $0x91", );
    check_fault(PF, W, "INT n in ring 3: the IST stack is absent, a supervisor access");
    page(alias_of(stack), P | U);
    USER("int $0x91", );
    check_fault(PF, W | P, "INT n in ring 3: the IST stack is read-only");
    page(alias_of(stack), P | W);
    USER("int $0x91", );
    check_eq(trap.vector, 0x91, "INT n in ring 3: the IST stack needs no U bit");

    /* the user's stack, read by IRET and RETF in ring 0, is a supervisor access; PUSH in ring 3 is not */
    page(alias_of(stack), 0);
    TRY("mov %0, %%rsp\n\t" HERE "iretq", : "r"(alias_of(stack)));
    check_fault(PF, 0, "IRET: the stack is absent");
    TRY("mov %0, %%rsp\n\t" HERE "lretq", : "r"(alias_of(stack)));
    check_fault(PF, 0, "RETF: the stack is absent");
    USER("mov %0, %%rsp\n\t" HERE "push %%rax", : "r"(alias_of(stack) + 64));
    check_fault(PF, W | U, "PUSH in ring 3: the stack is absent");
    USER("mov %0, %%rsp\n\t" HERE "call 1f\n1:", : "r"(alias_of(stack) + 64));
    check_fault(PF, W | U, "CALL in ring 3: the stack is absent");
    page(alias_of(stack), P | W | U);

    /* the I/O bitmap */
    ulong tss_at = (ulong)&tss + offsetof(struct tss, bitmap);
    gdt_set(SEL_TSS2, alias_of(&tss), sizeof(tss) - 1, 0x89, 0);
    asm volatile("ltr %w0" ::"r"(SEL_TSS2));
    memset(tss.bitmap, 0, sizeof(tss.bitmap));
    u32 port =
        (u32)(((tss_at | 0xfff) + 1 - tss_at) * 8); /* the first port whose bit is on the second page */
    page(WINDOW + (tss_at | 0xfff) + 1, 0);
    USER("in %%dx, %%al", : "d"(port + 8) : "rax");
    check_fault(PF, 0, "IN in ring 3: the I/O bitmap's page is absent, a supervisor access");
    check_eq(trap.cr2 & ~3ul, WINDOW + (tss_at | 0xfff) + 1, "IN: CR2 is in the bitmap");
    page(WINDOW + (tss_at | 0xfff) + 1, P | W);
    USER("in %%dx, %%al", : "d"(0x84) : "rax");
    check_no_fault("IN in ring 3: the bitmap permits");
    /* SMAP: implicit supervisor accesses to user pages are refused even with AC */
    if (cpuid(7, 0).b & 1u << 20) {
        gdt_set(SEL_LDT, alias_of(ldt), sizeof(ldt) - 1, 0x82, 0);
        page(alias_of(ldt), P | W | U);
        asm volatile("lldt %w0" ::"r"(SEL_LDT));
        for (int i = 0; i < 32; i++)
            pd[i] &= ~U;
        cr3_write(cr3_read());
        pd[WINDOW >> 21] |= U;
        cr4_write(cr4_read() | CR4_SMAP);
        TRY("stac\n\t" HERE "mov %0, %%fs\n\tclac", : "r"(0x0c));
        asm volatile("clac");
        check_fault(PF, P, "SMAP: the LDT on a user page, in ring 0 with AC: explicit accesses only");
        cr4_write(cr4_read() & ~(ulong)CR4_SMAP);
    }
    return 0;
}
