/*
 * #DF: which pairs of exceptions make a double fault, through a task gate (the only way to survive a broken
 * ring 0 stack in 32-bit mode); the error code is 0 (APM 2, 8.2.9).
 */
#include "guest.h"

static struct tss df_tss __attribute__((aligned(256)));
static u8 df_stack[4096];
static volatile u32 df_count, df_error;

static void df_task(void) __attribute__((naked));
static void df_resume(void) __attribute__((used));
static void df_task(void)
{
    asm("1:\tpopl %0\n\tcall df_resume\n\tiret\n\tjmp 1b" : "=m"(df_error));
}
static void df_resume(void)
{
    df_count++;
    tss.eip = trap_resume;
    tss.esp = trap_sp;
    tss.cs = SEL_CODE;
    tss.ss = tss.ds = tss.es = SEL_DATA;
    tss.eflags = 2;
}

static u32 directory[1024] PAGE_ALIGNED;
extern char trap_stubs[];

static void expect(const char *name, u32 want)
{
    asm volatile("clts");
    check_eq(df_count, want, "%s", name);
    if (want)
        check_eq(df_error, 0, "%s: error code 0", name);
    df_count = 0;
}

static void break_gate(int vector)
{
    idt_set(vector, SEL_CODE, (ulong)trap_stubs + (ulong)vector * 16, 0x0e, 0);
} /* #NP */

int main(void)
{
    df_tss.cs = SEL_CODE;
    df_tss.ss = df_tss.ds = df_tss.es = df_tss.fs = df_tss.gs = SEL_DATA;
    df_tss.eip = (u32)df_task;
    df_tss.esp = (u32)(df_stack + sizeof(df_stack));
    df_tss.eflags = 2;
    for (u32 i = 0; i < 1024; i++)
        directory[i] = i << 22 | 0x83;
    directory[0x300] = 0; /* 0xc0000000: nothing */
    tss.cr3 = df_tss.cr3 = (u32)directory;
    gdt_set(SEL_TSS2, (ulong)&df_tss, sizeof(df_tss) - 1, 0x89, 0);
    idt_set(DF, SEL_TSS2, 0, 0x85, 0);
    cr4_write(CR4_PSE);
    cr3_write((ulong)directory);
    cr0_write(cr0_read() | CR0_PG);

    /* contributory: #DE, #TS, #NP, #SS, #GP */
    break_gate(DE);
    TRY("div %0", : "r"(0), "a"(1), "d"(0));
    expect("#DE then #NP", 1);
    break_gate(GP);
    TRY("mov %w0, %%ds", : "r"(0x3f0) : "memory");
    expect("#GP then #NP", 1);
    idt_reset(DE);
    idt_reset(GP);
    break_gate(UD);
    TRY("ud2", );
    check_exception(NP, UD * 8 + 3, "benign #UD then #NP: the #NP is delivered");
    expect("#UD then #NP: no double fault", 0);
    idt_reset(UD);
    break_gate(BR);
    static const u32 bounds[2] = {5, 6};
    TRY("bound %0, %1", : "r"(1), "m"(bounds));
    check_exception(NP, BR * 8 + 3, "benign #BR then #NP: the #NP is delivered");
    idt_reset(BR);
    break_gate(NM);
    cr0_write(cr0_read() | CR0_TS);
    TRY("fnop", );
    check_exception(NP, NM * 8 + 3, "benign #NM then #NP: the #NP is delivered");
    idt_reset(NM);
    break_gate(BP);
    TRY("int3", );
    check_exception(NP, BP * 8 + 2, "INT3 then #NP: no EXT, the #NP is delivered");
    idt_reset(BP);

    /* #PF then contributory or #PF is a double fault; contributory then #PF is not */
    break_gate(PF);
    TRY("mov 0xc0000000, %%eax", ::"eax");
    expect("#PF then #NP", 1);
    idt_reset(PF);
    /* a stack that is not present: #PF while pushing the #PF frame */
    TRY("mov $0xc0000100, %%esp\n\tud2", ::"memory");
    expect("#UD, then #PF pushing its frame, then #PF pushing that one's", 1);
    TRY("mov $0xc0000100, %%esp\n\tpush %%eax", ::"memory");
    expect("#PF on a not present stack", 1);
    cr3_write((ulong)directory);

    /* a gate to a bad code segment: contributory #GP out of #GP */
    idt_set(GP, SEL_DATA, 0, 0x8e, 0);
    TRY("mov %w0, %%ds", : "r"(0x3f0) : "memory");
    expect("#GP then #GP (gate to data)", 1);
    idt_reset(GP);
    return 0;
}
