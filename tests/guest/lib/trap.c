/* Descriptor tables and the dispatch of exceptions and interrupts. */
#include "guest.h"

extern char trap_stubs[], stack0_top[], ist_top[];
#ifdef __x86_64__
u64 idt[512] PAGE_ALIGNED;
#else
u64 idt[256] PAGE_ALIGNED;
#endif
struct table_ptr idt_ptr;
struct tss tss PAGE_ALIGNED;
ulong trap_resume_last;
static trap_handler handlers[256];

int trap_dispatch(struct regs *r);
void guest_init(void);

int trap_dispatch(struct regs *r)
{
    bool same_ring = (r->cs & 3) == 0 && !(r->flags & FL_VM);
    trap_handler fn = handlers[r->vector & 255];

    if (fn != NULL) {
        fn(r);
        return 0;
    }
    trap.vector = r->vector;
    trap.error = r->error;
    trap.ip = r->ip;
    trap.cs = r->cs & 0xffff;
    trap.flags = r->flags;
#ifdef __x86_64__
    same_ring = false; /* long mode always pushes SS:RSP */
#endif
    trap.sp = same_ring ? (ulong)&r->sp : r->sp;
    trap.ss = same_ring ? SEL_DATA : r->ss & 0xffff;
    trap.cr2 = cr2_read();
    trap.dr6 = dr6_read();
    trap.count++;
    if (trap_resume != 0) {
        trap_resume_last = trap_resume;
        return 1;
    }
    print("unexpected: vector %u error 0x%lx at 0x%lx:0x%lx flags 0x%lx cr2 0x%lx\n", (u32)trap.vector,
          trap.error, trap.cs, trap.ip, trap.flags, trap.cr2);
    guest_die("unexpected exception");
}

void trap_handle(int vector, trap_handler fn)
{
    handlers[vector] = fn;
}

u64 descriptor(ulong base, u32 limit, u8 access, u8 flags)
{
    return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
           (u64)(limit >> 16 & 0xf) << 48 | (u64)(flags & 0xf) << 52 | (u64)(base >> 24 & 0xff) << 56;
}

u64 gate32(u16 selector, u32 offset, u8 access, u8 params)
{
    return (offset & 0xffff) | (u64)selector << 16 | (u64)params << 32 | (u64)access << 40 |
           (u64)(offset >> 16) << 48;
}

void gdt_set(unsigned selector, ulong base, u32 limit, u8 access, u8 flags)
{
    gdt[selector >> 3] = descriptor(base, limit, access, flags);
#ifdef __x86_64__
    if (!(access & 0x10)) /* system descriptors have 16 bytes */
        gdt[(selector >> 3) + 1] = base >> 32;
#endif
}

void idt_set(int vector, u16 selector, ulong offset, u8 access, u8 ist)
{
#ifdef __x86_64__
    idt[vector * 2] = gate32(selector, (u32)offset, access, ist);
    idt[vector * 2 + 1] = offset >> 32;
#else
    idt[vector] = gate32(selector, offset, access, ist);
#endif
}

void idt_reset(int vector)
{
    bool for_user = vector == BP || vector == OF || vector == VEC_DONE;

    idt_set(vector, SEL_CODE, (ulong)trap_stubs + (ulong)vector * 16, for_user ? 0xee : 0x8e,
            sizeof(long) == 8 && vector == DF ? 1 : 0);
}

void guest_init(void)
{
    for (int i = 0; i < 256; i++)
        idt_reset(i);
    idt_ptr.limit = sizeof(idt) - 1;
    idt_ptr.base = (ulong)idt;
    asm volatile("lidt %0" ::"m"(idt_ptr));
#ifdef __x86_64__
    tss.rsp0 = (ulong)stack0_top;
    tss.ist[0] = (ulong)ist_top;
#else
    tss.esp0 = (ulong)stack0_top;
    tss.ss0 = SEL_DATA;
#endif
    tss.iomap = offsetof(struct tss, bitmap);
    memset(tss.bitmap, 0xff, sizeof(tss.bitmap));
    gdt_set(SEL_TSS, (ulong)&tss, sizeof(tss) - 1, 0x89, 0);
    asm volatile("lgdt %0\n\tltr %w1" ::"m"(gdt_ptr), "r"(SEL_TSS));
    outb(0x21, 0xff); /* both 8259s masked, whatever firmware left */
    outb(0xa1, 0xff);
    outb(0x3f8 + 1, 0);
    outb(0x3f8 + 3, 0x80); /* 115200 8N1, FIFOs on */
    outb(0x3f8 + 0, 1);
    outb(0x3f8 + 1, 0);
    outb(0x3f8 + 3, 3);
    outb(0x3f8 + 2, 7);
    outb(0x3f8 + 4, 3);
}
