/*
 * Leaving long mode and coming back: compatibility mode, paging off, protected mode without and with
 * PAE paging, long mode again.
 */
/* ## mode: x86_64 */
#include "guest.h"

extern volatile u32 seen[16];
volatile u32 seen[16];
extern char to_32[], to_64[];
extern ulong saved_rsp;
ulong saved_rsp;
static u64 pae_pdpt[4] __attribute__((aligned(32)));
extern ulong pae_root;
ulong pae_root;

asm("leave_and_return:\n\t"
    "push %rbx\n\tpush %rbp\n\tmov %rsp, saved_rsp\n\tljmp *far_32\n"
    ".code32\nto_32:\n\t"
    "mov $0x10, %eax\n\tmov %eax, %ss\n\tmov %eax, %ds\n\tmov %eax, %es\n\t"
    "mov %cs, %eax\n\tmov %eax, seen\n\t"
    /* compatibility mode: REX bytes are INC and DEC; addresses are 32 bits */
    "xor %eax, %eax\n\t.byte 0x40\n\t.byte 0x40\n\tmov %eax, seen+4\n\t"
    /* paging off: EFER.LMA goes, LME stays */
    "mov %cr0, %eax\n\tand $0x7fffffff, %eax\n\tmov %eax, %cr0\n\t"
    "mov $0xc0000080, %ecx\n\trdmsr\n\tmov %eax, seen+8\n\t"
    "and $~0x100, %eax\n\twrmsr\n\t"
    /* PAE paging without long mode */
    "mov pae_root, %eax\n\tmov %eax, %cr3\n\tmov %cr0, %eax\n\tor $0x80000000, %eax\n\tmov %eax, %cr0\n\tjmp "
    "1f\n1:\t"
    "rdmsr\n\tmov %eax, seen+12\n\tmov %cr0, %eax\n\tmov %eax, seen+16\n\t"
    "and $0x7fffffff, %eax\n\tmov %eax, %cr0\n\t"
    /* and back: LME, CR3, PG */
    "mov $pml4, %eax\n\tmov %eax, %cr3\n\trdmsr\n\tor $0x100, %eax\n\twrmsr\n\trdmsr\n\tmov %eax, seen+20\n\t"
    "mov %cr0, %eax\n\tor $0x80000000, %eax\n\tmov %eax, %cr0\n\t"
    "rdmsr\n\tmov %eax, seen+24\n\tljmp *far_64\n"
    ".code64\nto_64:\n\t"
    "mov saved_rsp, %rsp\n\tpop %rbp\n\tpop %rbx\n\tret\n"
    ".pushsection .data\nfar_32:\t.long to_32\n\t.word 0x30\nfar_64:\t.long to_64\n\t.word 8\n.popsection");
void leave_and_return(void);

int main(void)
{
    for (u32 i = 0; i < 4; i++)
        pae_pdpt[i] = (ulong)pd + i * 4096 + 1;
    pae_root = (ulong)pae_pdpt;
    bool all = true;
    for (int i = 0; i < 10; i++) {
        memset((void *)seen, 0, sizeof(seen));
        leave_and_return();
        all = all && seen[6] != 0;
    }
    check(all, "ten times out of long mode and back");
    check_eq(seen[0] & 0xffff, SEL_CODE32, "compatibility mode: CS");
    check_eq(seen[1], 2, "compatibility mode: 40 is INC EAX");
    check_eq(seen[2] & (EFER_LME | EFER_LMA), EFER_LME, "paging off: LMA is clear, LME stays");
    check_eq(seen[3] & (EFER_LME | EFER_LMA), 0, "PAE paging without LME: no long mode");
    check_eq(seen[4] >> 31, 1, "PAE paging is on");
    check_eq(seen[5] & (EFER_LME | EFER_LMA), EFER_LME, "LME before paging");
    check_eq(seen[6] & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA, "LMA with paging");
    /* in 64-bit mode paging cannot be switched off */
    if (!tcg_cannot("CR0.PG cleared in 64-bit mode", "is not checked")) {
        TRY("mov %0, %%cr0", : "r"(cr0_read() & ~(ulong)CR0_PG));
        check_fault(GP, 0, "CR0.PG cleared in 64-bit mode");
    }
    return 0;
}
