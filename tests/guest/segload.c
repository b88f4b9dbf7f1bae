/* Loading every descriptor type into every segment register: vector, error code, accessed bit (APM
 * 2, 4.7, 8.2.11-13). */
#include "guest.h"

static const char *const type_names[32] = {
    "system 0",     "TSS16 available", "LDT",         "TSS16 busy",      "call gate 16", "task gate",
    "int gate 16",  "trap gate 16",    "system 8",    "TSS32 available", "system 10",    "TSS32 busy",
    "call gate 32", "system 13",       "int gate 32", "trap gate 32",    "data r",       "data r A",
    "data rw",      "data rw A",       "data r down", "data r down A",   "data rw down", "data rw down A",
    "code x",       "code x A",        "code rx",     "code rx A",       "code x conf",  "code x conf A",
    "code rx conf", "code rx conf A"};

static bool type_is_code(unsigned t)
{
    return t >= 24;
}
static bool type_is_data(unsigned t)
{
    return t >= 16 && t < 24;
}

/* At once: what was loaded may be fit for nothing. */
#define RESTORE "mov %%ecx, %%ds\n\tmov %%ecx, %%es\n\tmov %%ecx, %%ss"

static void load(int reg, u16 sel)
{
    switch (reg) {
    case 0:
        TRY("mov %w0, %%ds\n\t" RESTORE, : "r"(sel), "c"(SEL_DATA) : "memory");
        break;
    case 1:
        TRY("mov %w0, %%es\n\t" RESTORE, : "r"(sel), "c"(SEL_DATA) : "memory");
        break;
    case 2:
        TRY("mov %w0, %%fs\n\t" RESTORE, : "r"(sel), "c"(SEL_DATA) : "memory");
        break;
    case 3:
        TRY("mov %w0, %%gs\n\t" RESTORE, : "r"(sel), "c"(SEL_DATA) : "memory");
        break;
    default:
        TRY("mov %w0, %%ss\n\t" RESTORE, : "r"(sel), "c"(SEL_DATA) : "memory");
        break;
    }
    asm volatile("mov %0, %%ss\n\tmov %0, %%ds\n\tmov %0, %%es" ::"r"(SEL_DATA) : "memory");
}

static const char *const reg_names[] = {"DS", "ES", "FS", "GS", "SS"};

/* What loading a present descriptor of this type, DPL and selector RPL at CPL 0 does. */
static int expected(int reg, unsigned type, unsigned dpl, unsigned rpl)
{
    if (reg == 4)
        return type_is_data(type) && (type & 2) && dpl == 0 && rpl == 0 ? -1 : GP;
    if (type_is_data(type) || (type_is_code(type) && (type & 2) && !(type & 4)))
        return dpl >= rpl ? -1 : GP;
    return type_is_code(type) && (type & 2) ? -1 : GP; /* readable conforming code: no privilege check */
}

int main(void)
{
    /* every type into every register */
    for (int reg = 0; reg < 5; reg++) {
        for (unsigned type = 0; type < 32; type++) {
            u8 access = (u8)(0x80 | type);
            gdt_set(SEL_FREE, 0, 0xfffff, access, FLAG_G | FLAG_D);
            load(reg, SEL_FREE);
            int want = expected(reg, type, 0, 0);
            check_fault(want, want < 0 ? 0 : SEL_FREE, "%s <- %s", reg_names[reg], type_names[type]);
            if (type >= 16)
                check_eq(gdt[SEL_FREE >> 3] >> 40 & 1, want < 0 ? 1 : type & 1, "%s <- %s: accessed bit",
                         reg_names[reg], type_names[type]);
        }
    }
    /* privilege: all DPL x RPL for data and conforming code */
    for (int reg = 0; reg < 5; reg += 4)
        for (unsigned dpl = 0; dpl < 4; dpl++)
            for (unsigned rpl = 0; rpl < 4; rpl++) {
                gdt_set(SEL_FREE, 0, 0xfffff, 0x93 | DPL(dpl), FLAG_G | FLAG_D);
                load(reg, (u16)(SEL_FREE | rpl));
                int want = expected(reg, 19, dpl, rpl);
                check_fault(want, want < 0 ? 0 : SEL_FREE, "%s <- data DPL %u RPL %u", reg_names[reg], dpl,
                            rpl);
            }
    gdt_set(SEL_FREE, 0, 0xfffff, 0x9e, FLAG_G | FLAG_D);
    load(0, SEL_FREE | 3);
    check_fault(-1, 0, "DS <- conforming readable code DPL 0 with RPL 3");
    gdt_set(SEL_FREE, 0, 0xfffff, 0x9a, FLAG_G | FLAG_D);
    load(0, SEL_FREE | 3);
    check_fault(GP, SEL_FREE, "DS <- nonconforming readable code DPL 0 with RPL 3");

    /* not present */
    for (int reg = 0; reg < 5; reg++) {
        gdt_set(SEL_FREE, 0, 0xfffff, 0x12, FLAG_G | FLAG_D);
        load(reg, SEL_FREE);
        check_fault(reg == 4 ? SS : NP, SEL_FREE, "%s <- not present", reg_names[reg]);
        check_eq(gdt[SEL_FREE >> 3] >> 40 & 1, 0, "%s <- not present: not marked accessed", reg_names[reg]);
    }
    gdt_set(SEL_FREE, 0, 0xfffff, 0x18, FLAG_G | FLAG_D);
    load(0, SEL_FREE);
    check_fault(GP, SEL_FREE, "DS <- execute-only, not present: type comes first");

    /* null selectors */
    for (int reg = 0; reg < 4; reg++)
        for (u16 sel = 0; sel < 4; sel++) {
            load(reg, sel);
            check_fault(-1, 0, "%s <- null selector %u", reg_names[reg], sel);
        }
    for (u16 sel = 0; sel < 4; sel++) {
        load(4, sel);
        check_fault(GP, 0, "SS <- null selector %u", sel);
    }
    asm volatile("mov %0, %%fs" ::"r"(0));
    TRY("mov %%fs:0, %%eax", ::"eax");
    check_fault(GP, 0, "read through a null FS");
    asm volatile("mov %0, %%fs" ::"r"(0));
    TRY("mov %%eax, %%fs:0", ::);
    check_fault(GP, 0, "write through a null FS");
    asm volatile("mov %0, %%fs" ::"r"(0));
    TRY("lea %%fs:0, %%eax", ::"eax");
    check_fault(-1, 0, "LEA through a null FS");

    /* beyond the table; no LDT; LDT beyond its limit */
    load(0, 0x400);
    check_fault(GP, 0x400, "DS <- beyond the GDT limit");
    load(0, 0xfffb);
    check_fault(GP, 0xfff8, "DS <- last selector, RPL not in the error code");
    load(0, 0x0c);
    check_fault(GP, 0x0c, "DS <- LDT selector without an LDT");
    static u64 ldt[4];
    gdt_set(SEL_LDT, (ulong)ldt, sizeof(ldt) - 1, 0x82, 0);
    asm volatile("lldt %w0" ::"r"(SEL_LDT));
    ldt[0] = ldt[1] = ldt[3] = descriptor(0, 0xfffff, 0x92, FLAG_G | FLAG_D);
    load(0, 0x0c);
    check_fault(-1, 0, "DS <- LDT entry 1");
    check_eq(ldt[1] >> 40 & 1, 1, "the LDT entry is marked accessed");
    load(0, 0x04);
    check_fault(-1, 0, "DS <- LDT entry 0 is not null");
    load(0, 0x17);
    check_fault(GP, 0x14, "DS <- empty LDT entry: TI in the error code");
    load(0, 0x24);
    check_fault(GP, 0x24, "DS <- beyond the LDT limit");
    gdt_set(SEL_LDT, (ulong)ldt, 14, 0x82, 0);
    asm volatile("lldt %w0" ::"r"(SEL_LDT));
    load(0, 0x0c);
    check_fault(GP, 0x0c, "DS <- LDT entry whose last byte is beyond the limit");
    load(0, 0x04);
    check_fault(-1, 0, "DS <- LDT entry within the shortened limit");

    /* LLDT and LTR themselves */
    TRY("lldt %w0", : "r"(0));
    check_fault(-1, 0, "LLDT null");
    TRY("lldt %w0", : "r"(SEL_DATA));
    check_fault(GP, SEL_DATA, "LLDT of a data segment");
    TRY("lldt %w0", : "r"(0x0c));
    check_fault(GP, 0x0c, "LLDT with TI");
    gdt_set(SEL_FREE, 0, 7, 0x02, 0);
    TRY("lldt %w0", : "r"(SEL_FREE));
    check_fault(NP, SEL_FREE, "LLDT not present");
    TRY("ltr %w0", : "r"(0));
    check_fault(GP, 0, "LTR null");
    TRY("ltr %w0", : "r"(SEL_DATA));
    check_fault(GP, SEL_DATA, "LTR of a data segment");
    TRY("ltr %w0", : "r"(SEL_TSS));
    check_fault(GP, SEL_TSS, "LTR of a busy TSS");
    TRY("ltr %w0", : "r"(0x0c));
    check_fault(GP, 0x0c, "LTR with TI");
    gdt_set(SEL_FREE, 0, 0x67, 0x09, 0);
    TRY("ltr %w0", : "r"(SEL_FREE));
    check_fault(NP, SEL_FREE, "LTR not present");
    gdt_set(SEL_FREE, (ulong)&tss, 0x67, 0x89, 0);
    TRY("ltr %w0", : "r"(SEL_FREE));
    check_fault(-1, 0, "LTR of an available TSS");
    check_eq(gdt[SEL_FREE >> 3] >> 40 & 0x1f, 0x0b, "LTR marks the TSS busy");
    u32 tr = 0;
    asm volatile("str %0" : "=r"(tr));
    check_eq(tr, SEL_FREE, "STR");

    /* POP and LxS take the same checks */
    gdt_set(SEL_FREE, 0, 0xfffff, 0x12, FLAG_G | FLAG_D);
    asm volatile("push %0" ::"r"(SEL_FREE));
    TRY("pop %%ds", ::"memory");
    check_fault(NP, SEL_FREE, "POP DS not present");
    check_eq(trap.sp, trap_sp, "POP DS that faults leaves ESP");
    asm volatile("pop %%eax" ::: "eax");
    struct {
        u32 offset;
        u16 sel;
    } __attribute__((packed)) ptr = {0x1234, SEL_FREE};
    u32 bx = 7;
    TRY("lfs %1, %0", "+b"(bx) : "m"(ptr));
    check_fault(NP, SEL_FREE, "LFS not present");
    check_eq(bx, 7, "LFS that faults leaves its register");
    ptr.sel = SEL_DATA;
    TRY("lgs %1, %0", "+b"(bx) : "m"(ptr));
    check_eq(bx, 0x1234, "LGS loads its register");
    return 0;
}
