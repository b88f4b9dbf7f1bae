/*
 * Hardware task switches: JMP, CALL, IRET, task gates in the GDT and IDT, exceptions with error codes; what
 * is saved and loaded, busy bits, NT, the back link, CR0.TS, CR3, the LDT, the T bit; every #TS reason (APM
 * 2, 12.4).
 */
#include "guest.h"

#define SEL_TASK  (SEL_FREE)     /* the other task's TSS */
#define SEL_GATE  (SEL_FREE + 8) /* a task gate to it */
#define SEL_SPARE (SEL_FREE + 16)
static struct task_segment {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    u32 es, cs, ss, ds, fs, gs, ldt;
    u16 trace, iomap;
} task __attribute__((aligned(256)));
static u8 task_stack[4096] __attribute__((aligned(16)));
static volatile u32 runs, seen_eflags, seen_cr0, seen_tr, seen_error;
static u64 other_ldt[4];

static u8 tss_type(u16 sel)
{
    return gdt[sel >> 3] >> 40 & 0x1f;
}

static void task_set(void (*entry)(void))
{
    memset(&task, 0, sizeof(task));
    task.eip = (u32)entry;
    task.eflags = 2;
    task.esp = (u32)(task_stack + sizeof(task_stack));
    task.es = task.ss = task.ds = task.fs = task.gs = SEL_DATA;
    task.cs = SEL_CODE;
    task.cr3 = cr3_read();
    task.iomap = 0x68;
    gdt_set(SEL_TASK, (ulong)&task, 0x67, 0x89, 0);
    gdt[SEL_GATE >> 3] = gate32(SEL_TASK, 0, 0x85, 0);
}

/* Leaves the other task the way a JMP does: back to the main task, wherever that was. */
static void reset_main(void)
{
    gdt_set(SEL_TSS, (ulong)&tss, sizeof(tss) - 1, 0x89, 0);
    asm volatile("ltr %w0\n\tclts\n\tpushl $2\n\tpopf" ::"r"(SEL_TSS));
}

static void note(void)
{
    u32 tr;

    runs++;
    asm volatile("str %0" : "=r"(tr));
    seen_tr = tr;
    seen_cr0 = cr0_read();
    asm volatile("pushf\n\tpopl %0" : "=m"(seen_eflags));
}

static void task_iret(void) /* entered by CALL: returns by IRET, again and again */
{
    for (;;) {
        note();
        asm volatile("iret");
    }
}

static void task_jump(void)
{
    for (;;) {
        note();
        asm volatile("ljmp %0, $0" ::"i"(SEL_TSS));
    }
}

/* A task gate for an exception with an error code. */
static void task_error_resume(void) __attribute__((used));
static void task_error_resume(void)
{
    note();
    tss.eip = trap_resume;
    tss.esp = trap_sp;
}
static void task_error(void) __attribute__((naked));
static void task_error(void)
{
    asm("1:\tpopl %0\n\tcall task_error_resume\n\tiret\n\tjmp 1b" : "=m"(seen_error));
}

static void check_call(void)
{
    ulong eax, ebx, ecx, edx, esi, edi;

    task_set(task_iret);
    tss.esp = 0;
    gdt_set(SEL_SPARE, 0, 0xfffff, 0x93, FLAG_G | FLAG_D);
    asm volatile("mov %0, %%fs" ::"r"(SEL_SPARE));
    TRY("lcall %6, $0", "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx), "=S"(esi), "=D"(edi)
        : "i"(SEL_TASK), "a"(1), "b"(2), "c"(3), "d"(4), "S"(5), "D"(6)
        : "memory");
    check_no_fault("CALL to a TSS");
    check_eq(runs, 1, "the task ran");
    check_eq(eax | ebx << 4 | ecx << 8 | edx << 12 | esi << 16 | edi << 20, 0x654321, "registers come back");
    check_eq(seen_eflags & FL_NT, FL_NT, "CALL sets NT in the new task");
    check_eq(seen_cr0 & CR0_TS, CR0_TS, "a task switch sets CR0.TS");
    check_eq(seen_tr, SEL_TASK, "TR in the new task");
    check_eq(task.link & 0xffff, SEL_TSS, "CALL writes the back link");
    check_eq(tss_type(SEL_TASK), 9, "IRET clears the busy bit of the task it leaves");
    check_eq(tss_type(SEL_TSS), 11, "the first task is busy again, or still");
    check_eq(tss.eax | tss.ebx << 4 | tss.ecx << 8 | tss.edx << 12 | tss.esi << 16 | tss.edi << 20, 0x654321,
             "the outgoing task's registers are in its TSS");
    check_eq(tss.cs, SEL_CODE, "the outgoing task's CS is in its TSS");
    check_eq(tss.fs, SEL_SPARE, "the outgoing task's FS is in its TSS");
    check_eq(tss.esp, trap_sp, "the outgoing task's ESP is in its TSS");
    check(task.eip != (u32)task_iret, "IRET saves the task's EIP: it goes on after its IRET");
    check_eq(task.eflags & FL_NT, 0, "IRET saves EFLAGS with NT clear");
    u32 fs;
    asm volatile("mov %%fs, %0" : "=r"(fs));
    check_eq(fs & 0xffff, SEL_SPARE, "FS comes back");
    asm volatile("clts");
    TRY("lcall %0, $0", : "i"(SEL_TASK) : "memory");
    check_no_fault("CALL to the same TSS again");
    check_eq(runs, 2, "the task went on in its loop");
    TRY("lcall %0, $0", : "i"(SEL_GATE) : "memory");
    check_no_fault("CALL through a task gate");
    check_eq(runs, 3, "the task ran through the gate");
    reset_main();
}

static void check_jump(void)
{
    runs = 0;
    task_set(task_jump);
    task.link = 0x1234;
    TRY("ljmp %0, $0", : "i"(SEL_TASK) : "memory");
    check_no_fault("JMP to a TSS and back");
    check_eq(runs, 1, "JMP: the task ran");
    check_eq(seen_eflags & FL_NT, 0, "JMP leaves NT");
    check_eq(task.link, 0x1234, "JMP writes no back link");
    check_eq(tss_type(SEL_TASK), 9, "JMP makes the task it leaves available");
    check_eq(tss_type(SEL_TSS), 11, "JMP makes the task it enters busy");
    TRY("ljmp %0, $0", : "i"(SEL_GATE) : "memory");
    check_no_fault("JMP through a task gate");
    reset_main();
    gdt_set(SEL_TASK, (ulong)&task, 0x67, 0x8b, 0);
    TRY("ljmp %0, $0", : "i"(SEL_TASK) : "memory");
    check_fault(GP, SEL_TASK, "JMP to a busy TSS");
    TRY("lcall %0, $0", : "i"(SEL_GATE) : "memory");
    check_fault(GP, SEL_TASK, "CALL through a task gate to a busy TSS");
    gdt_set(SEL_TASK, (ulong)&task, 0x67, 0x09, 0);
    TRY("ljmp %0, $0", : "i"(SEL_TASK) : "memory");
    check_fault(NP, SEL_TASK, "JMP to a not present TSS");
    gdt_set(SEL_TASK, (ulong)&task, 0x66, 0x89, 0);
    TRY("ljmp %0, $0", : "i"(SEL_TASK) : "memory");
    check_fault(TS, SEL_TASK, "JMP to a TSS with a limit of 0x66");
    gdt_set(SEL_TASK, (ulong)&task, 0x67, 0x89, 0);
    USER("ljmp %0, $0", : "i"(SEL_TASK | 3) : "memory");
    check_fault(GP, SEL_TASK, "JMP from ring 3 to a TSS with DPL 0");
    gdt[SEL_GATE >> 3] = gate32(SEL_TASK, 0, 0x05, 0);
    TRY("ljmp %0, $0", : "i"(SEL_GATE) : "memory");
    check_fault(NP, SEL_GATE, "JMP through a not present task gate");
    gdt[SEL_GATE >> 3] = gate32(SEL_DATA, 0, 0x85, 0);
    TRY("ljmp %0, $0", : "i"(SEL_GATE) : "memory");
    check_fault(GP, SEL_DATA, "JMP through a task gate to data");
    gdt[SEL_GATE >> 3] = gate32(0x0c, 0, 0x85, 0);
    TRY("ljmp %0, $0", : "i"(SEL_GATE) : "memory");
    check_fault(GP, 0x0c, "JMP through a task gate into the LDT");
}

static void check_interrupts(void)
{
    runs = 0;
    task_set(task_iret);
    idt_set(0x40, SEL_TASK, 0, 0x85, 0);
    TRY("int $0x40", ::"memory");
    check_no_fault("INT n through a task gate");
    check_eq(runs, 1, "INT n through a task gate: the task ran");
    check_eq(seen_eflags & FL_NT, FL_NT, "INT n through a task gate sets NT");
    reset_main();
    USER("int $0x40", );
    check_fault(GP, 0x40 * 8 + 2, "INT n from ring 3 through a task gate with DPL 0");
    task_set(task_iret);
    idt_set(0x40, SEL_TASK, 0, 0xe5, 0);
    runs = 0;
    USER("int $0x40", );
    check_no_fault("INT n from ring 3 through a task gate with DPL 3");
    check_eq(runs, 1, "INT n from ring 3: the task ran, and back in ring 3");
    reset_main();
    idt_reset(0x40);

    task_set(task_error);
    idt_set(GP, SEL_TASK, 0, 0x85, 0);
    runs = 0;
    TRY("mov %w0, %%ds", : "r"(0x3f0) : "memory");
    check_eq(runs, 1, "#GP through a task gate: the task ran");
    check_eq(seen_error, 0x3f0, "#GP through a task gate: the error code is on the task's stack");
    asm volatile("mov %0, %%ds\n\tmov %0, %%es\n\tmov %0, %%fs\n\tmov %0, %%gs" ::"r"(SEL_DATA));
    reset_main();
    idt_reset(GP);
}

/*
 * #TS, #NP and #SS come in the new task's context, perhaps without a stack: their handlers are tasks
 * themselves. They go back to the main task with a JMP.
 */
#define SEL_FAULT_TASKS (SEL_FREE + 0x40)
static struct task_segment fault_tasks[3] __attribute__((aligned(256)));
static u8 fault_stack[3][1024];
static const u8 fault_vectors[3] = {TS, NP, SS};
static volatile u32 seen_vector;
static void fault_task(void) __attribute__((naked));
static void fault_task(void)
{
    asm("popl %0\n\tmov %%ebx, %1\n\tljmp %2, $0" : "=m"(seen_error), "=m"(seen_vector) : "i"(SEL_TSS));
}

static void fault_tasks_set(void)
{
    for (int i = 0; i < 3; i++) {
        struct task_segment *t = &fault_tasks[i];
        memset(t, 0, sizeof(*t));
        t->eip = (u32)fault_task;
        t->eflags = 2;
        t->ebx = fault_vectors[i];
        t->esp = (u32)(fault_stack[i] + sizeof(fault_stack[i]));
        t->es = t->ss = t->ds = t->fs = t->gs = SEL_DATA;
        t->cs = SEL_CODE;
        gdt_set((unsigned)(SEL_FAULT_TASKS + i * 8), (ulong)t, 0x67, 0x89, 0);
        idt_set(fault_vectors[i], (u16)(SEL_FAULT_TASKS + i * 8), 0, 0x85, 0);
    }
    seen_vector = seen_error = 0xffffffff;
}

static void switch_fails(const char *name, int vector, ulong error)
{
    fault_tasks_set();
    trap.vector = (ulong)-1;
    asm volatile("ljmp %0, $0" ::"i"(SEL_TASK) : "memory");
    reset_main();
    check_eq(seen_vector, (u32)vector, "JMP to a TSS with %s: vector", name);
    check_eq(seen_error, error, "JMP to a TSS with %s: error code", name);
    check_eq(task.eip, (u32)task_jump, "JMP to a TSS with %s: EIP is the new task's first", name);
}

static void check_bad_tasks(void)
{
    static const struct {
        u16 sel;
        u8 access;
        u16 field; /* offset in the TSS */
        int vector;
        ulong error;
        const char *name;
    } cases[] = {
        {0, 0, 0x4c, TS, 0, "CS null"},
        {SEL_SPARE, 0x93, 0x4c, TS, SEL_SPARE, "CS data"},
        {SEL_SPARE, 0x1b, 0x4c, NP, SEL_SPARE, "CS not present"},
        {SEL_SPARE, 0xfb, 0x4c, TS, SEL_SPARE, "CS nonconforming, DPL 3, RPL 0"},
        {0x400, 0, 0x4c, TS, 0x400, "CS beyond the GDT"},
        {0, 0, 0x50, TS, 0, "SS null"},
        {SEL_SPARE, 0x9b, 0x50, TS, SEL_SPARE, "SS code"},
        {SEL_SPARE, 0x91, 0x50, TS, SEL_SPARE, "SS read-only"},
        {SEL_SPARE, 0xf3, 0x50, TS, SEL_SPARE, "SS DPL 3"},
        {SEL_SPARE | 3, 0x93, 0x50, TS, SEL_SPARE, "SS RPL 3"},
        {SEL_SPARE, 0x13, 0x50, SS, SEL_SPARE, "SS not present"},
        {SEL_SPARE, 0x99, 0x54, TS, SEL_SPARE, "DS execute-only"},
        {SEL_SPARE, 0x13, 0x54, NP, SEL_SPARE, "DS not present"},
        {SEL_SPARE | 3, 0x93, 0x48, TS, SEL_SPARE, "ES DPL 0 with RPL 3"},
        {0x400, 0, 0x58, TS, 0x400, "FS beyond the GDT"},
        {SEL_SPARE, 0x8b, 0x5c, TS, SEL_SPARE, "GS a TSS"},
        {SEL_SPARE, 0x93, 0x60, TS, SEL_SPARE, "LDTR data"},
        {SEL_SPARE, 0x02, 0x60, TS, SEL_SPARE, "LDTR not present"},
        {0x0c, 0, 0x60, TS, 0x0c, "LDTR in the LDT"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        task_set(task_jump);
        gdt_set(SEL_SPARE, 0, 0xfffff, cases[i].access, FLAG_G | FLAG_D);
        *(u32 *)((u8 *)&task + cases[i].field) = cases[i].sel;
        switch_fails(cases[i].name, cases[i].vector, cases[i].error);
    }
    for (int i = 0; i < 3; i++)
        idt_reset(fault_vectors[i]);
}

static void check_context(void)
{
    static u32 directory[1024] PAGE_ALIGNED;
    /* LDT: loaded from the TSS; a data segment through it */
    gdt_set(SEL_LDT, (ulong)other_ldt, sizeof(other_ldt) - 1, 0x82, 0);
    other_ldt[1] = descriptor(0, 0xfffff, 0x93, FLAG_G | FLAG_D);
    task_set(task_jump);
    task.ldt = SEL_LDT;
    task.fs = 0x0c;
    TRY("ljmp %0, $0", : "i"(SEL_TASK) : "memory");
    check_no_fault("task with an LDT");
    u32 ldtr = 1;
    asm volatile("sldt %0" : "=r"(ldtr));
    check_eq(ldtr, tss.ldt, "LDTR of the first task again");
    reset_main();

    /* CR3 is loaded when paging is on */
    for (u32 i = 0; i < 1024; i++)
        directory[i] = i << 22 | 0x83;
    static u32 directory2[1024] PAGE_ALIGNED;
    memcpy(directory2, directory, sizeof(directory));
    cr4_write(CR4_PSE);
    cr3_write((ulong)directory);
    cr0_write(cr0_read() | CR0_PG);
    task_set(task_jump);
    task.cr3 = (u32)directory2;
    tss.cr3 = (u32)directory;
    TRY("ljmp %0, $0", : "i"(SEL_TASK) : "memory");
    check_no_fault("task with its own CR3");
    check_eq(cr3_read(), (ulong)directory, "CR3 of the first task again");
    tss.cr3 = (u32)directory2;
    task_set(task_jump);
    TRY("ljmp %0, $0", : "i"(SEL_TASK) : "memory");
    check_eq(cr3_read(), (ulong)directory2, "CR3 comes from the TSS that is entered, and is not saved in it");
    cr0_write(cr0_read() & ~(ulong)CR0_PG);
    cr4_write(0);
    reset_main();

    /* the T bit: #DB after the switch, before the first instruction, DR6.BT */
    task_set(task_jump);
    task.trace = 1;
    dr6_write(0);
    /* the library's handler runs in the new task's context: all registers are that task's */
    asm volatile("push %%ebp\n\t" TRY_BEGIN "880:\tljmp %0, $0" TRY_END "pop %%ebp" ::"i"(SEL_TASK)
                 : "eax", "ebx", "ecx", "edx", "esi", "edi", "memory");
    reset_main();
    check_exception(DB, 0, "T bit");
    check_eq(trap.ip, (ulong)task_jump, "T bit: #DB before the task's first instruction");
    check_eq(trap.dr6 & 0xe00f, 0x8000, "T bit: DR6.BT");
    dr6_write(0);
}

int main(void)
{
    tss.cr3 = cr3_read();
    tss.ldt = 0;
    check_call();
    check_jump();
    check_interrupts();
    check_bad_tasks();
    check_context();
    return 0;
}
