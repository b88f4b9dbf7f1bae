/* 32-bit paging: the permission matrix for 4 KiB and 4 MiB pages, reserved bits, PSE off, CR2 of accesses
 * that cross pages. */
#include "paging.h"

static u32 directory[1024] PAGE_ALIGNED, table[1024] PAGE_ALIGNED, user_table[1024] PAGE_ALIGNED;
#define VA 0xc0000000u

int main(void)
{
    paging_init();
    for (u32 i = 0; i < 1024; i++)
        directory[i] = i << 22 | 0x83;
    directory[0x200] = (u32)user_table | PTE_ALL;
    user_table[0] = (u32)user_page | PTE_ALL;
    struct walk w = {
        VA,
        2,
        {{&directory[0x300], false, (u32)table, PTE_ALL}, {&table[0], false, (u32)page_under_test, PTE_ALL}},
        0x80000000,
        false};
    level_set(&w.level[0], PTE_ALL);
    cr4_write(CR4_PSE);
    cr3_write((ulong)directory);
    cr0_write(cr0_read() | CR0_PG);
    paging_matrix(&w, "4 KiB");

    /* a 4 MiB page: mapped at an offset so that page_under_test is at VA */
    u32 big = (u32)page_under_test & ~0x3fffffu, offset = (u32)page_under_test & 0x3fffff;
    struct walk w4 = {VA + offset, 1, {{&directory[0x300], false, big | PTE_PS, PTE_ALL}}, 0x80000000, false};
    paging_matrix(&w4, "4 MiB");

    /* reserved: bit 21 of a 4 MiB page's entry; none in a page table entry or directory entry for a table */
    directory[0x300] = big | PTE_PS | PTE_ALL | 1u << 21;
    invlpg((void *)VA);
    for (int kind = READ_0; kind <= FETCH_3; kind++) {
        bool write = kind == WRITE_0 || kind == WRITE_3;
        paging_access(&w4, (enum access_kind)kind, VA + offset);
        check_fault(PF, PFE_P | PFE_RSVD | (write ? PFE_W : 0) | (kind >= READ_3 ? PFE_U : 0),
                    "bit 21 of a 4 MiB entry: %s", access_names[kind]);
    }
    directory[0x300] = (u32)table | PTE_ALL | 0xe00;
    table[0] = (u32)page_under_test | PTE_ALL | 0xe00;
    invlpg((void *)VA);
    paging_access(&w, READ_3, VA);
    check_no_fault("available bits are ignored");
    /* the identity map needs PSE: leave it in 4 KiB pages of one more directory for the CR4.PSE=0 check */
    static u32 small[1024 * 4] PAGE_ALIGNED, small_dir[1024] PAGE_ALIGNED;
    for (u32 i = 0; i < 4096; i++)
        small[i] = i << 12 | 3;
    for (u32 i = 0; i < 4; i++)
        small_dir[i] = (u32)(small + i * 1024) | 3;
    small_dir[0x300] = (u32)table | PTE_ALL | PTE_PS;
    table[0] = (u32)page_under_test | PTE_ALL;
    cr3_write((ulong)small_dir);
    cr4_write(0);
    u32 word;
    *(volatile u32 *)(page_under_test + 256) = 0x12345678;
    TRY("mov (%1), %0", "=r"(word) : "r"(VA + 256));
    check_no_fault("PS is ignored without CR4.PSE");
    check_eq(word, 0x12345678, "PS is ignored without CR4.PSE: value");

    /* accesses across pages: CR2 and nothing written */
    static u8 pages[2][4096] PAGE_ALIGNED;
    table[0] = (u32)pages[0] | PTE_ALL;
    table[1] = 0;
    invlpg((void *)VA);
    memset(pages[0], 0xaa, 4096);
    TRY("movl %0, (%1)", : "r"(0x11223344), "r"(VA + 0xffe) : "memory");
    check_fault(PF, PFE_W, "write across into an absent page");
    check_eq(trap.cr2, VA + 0x1000, "write across into an absent page: CR2 is the second page's start");
    check_eq(*(u16 *)(pages[0] + 0xffe), 0xaaaa,
             "write across into an absent page: the first page is not written");
    table[0] = 0;
    table[1] = (u32)pages[1] | PTE_ALL;
    invlpg((void *)VA);
    TRY("movl %0, (%1)", : "r"(0x11223344), "r"(VA + 0xffe) : "memory");
    check_eq(trap.cr2, VA + 0xffe, "write across from an absent page: CR2");
    table[0] = (u32)pages[0] | PTE_ALL;
    table[1] = (u32)pages[1] | (PTE_ALL & ~PTE_W);
    cr0_write(cr0_read() | CR0_WP);
    invlpg((void *)VA);
    invlpg((void *)(VA + 4096));
    TRY("addl $1, (%0)", : "r"(VA + 0xffd) : "memory");
    check_fault(PF, PFE_W | PFE_P, "read-modify-write across into a read-only page");
    check_eq(trap.cr2, VA + 0x1000, "read-modify-write across into a read-only page: CR2");
    check_eq(pages[0][0xffd], 0xaa, "read-modify-write across: nothing written");
    table[1] = 0;
    invlpg((void *)(VA + 4096));
    TRY("movups %%xmm0, (%0)", : "r"(VA + 0xff8) : "memory");
    check(trap.vector == UD, "SSE without CR4.OSFXSR is #UD before #PF");
    asm volatile("fninit");
    TRY("fldz\n\t" HERE "fstpt (%0)", : "r"(VA + 0xffa) : "memory");
    check_fault(PF, PFE_W, "FSTP m80 across into an absent page");
    check_eq(trap.cr2, VA + 0x1000, "FSTP m80 across into an absent page: CR2");
    /* an instruction that crosses into an absent page */
    pages[0][0xfff] = 0xb8;
    TRY("call *%0", : "r"(VA + 0xfff) : "memory", "eax");
    check_exception(PF, 0, "instruction across into an absent page");
    check_eq(trap.cr2, VA + 0x1000, "instruction across into an absent page: CR2");
    check_eq(trap.ip, VA + 0xfff, "instruction across into an absent page: EIP is its start");
    pages[0][0xfff] = 0xc3;
    TRY("call *%0", : "r"(VA + 0xfff) : "memory", "eax");
    check_no_fault("an instruction that ends at the page's end does not touch the next");
    cr0_write(cr0_read() & ~(ulong)CR0_PG);
    return 0;
}
