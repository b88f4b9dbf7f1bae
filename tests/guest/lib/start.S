/*
 * The common start of every guest: Multiboot 1 entry in 32-bit protected mode, the descriptor tables, for the
 * x86_64 images the way into long mode, then main().
 *
 * Base state that a test finds: ring 0, interrupts off, both 8259s masked; i386: flat segments, paging off;
 * x86_64: the first 4 GiB mapped 1:1 with 2 MiB pages that user mode may reach too (PML4 pml4, PDPT pdpt, PDs pd).
 */
#include "asm.h"

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0x3, -(0x1badb002 + 0x3)

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	mov $stack_top, %esp
	mov %ebx, boot_info
	lgdt gdt_ptr32
#ifdef __x86_64__
	ljmp $SEL_CODE32, $1f
#else
	ljmp $SEL_CODE, $1f
#endif
1:	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov %eax, %ss
	mov $0x33, %eax			/* PE MP ET NE */
	mov %eax, %cr0
	xor %eax, %eax
	mov %eax, %cr4
	lldt %ax
#ifdef __x86_64__
	/* 4 GiB of 2 MiB pages: P RW US PS */
	mov $pd, %edi
	mov $0x87, %eax
	mov $2048, %ecx
2:	mov %eax, (%edi)
	movl $0, 4(%edi)
	add $8, %edi
	add $0x200000, %eax
	loop 2b
	mov $pd + 7, %eax
	mov %eax, pdpt
	add $0x1000, %eax
	mov %eax, pdpt + 8
	add $0x1000, %eax
	mov %eax, pdpt + 16
	add $0x1000, %eax
	mov %eax, pdpt + 24
	movl $pdpt + 7, pml4
	call long_enter
	.code64
	mov $stack_top, %rsp
	call guest_init
	call main
	call guest_exit
	.code32
	/* Switches this CPU to long mode on the tables at pml4; returns in 64-bit mode. */
	.globl long_enter
long_enter:
	pop %esi
	mov $0x20, %eax
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax
	wrmsr
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	ljmp $SEL_CODE, $3f
	.code64
3:	mov %esi, %esi
	jmp *%rsi
#else
	call guest_init
	call main
	call guest_exit
#endif

	.data
	.balign 16
	.globl gdt, gdt_ptr, gdt_ptr32
gdt:	.quad 0
#ifdef __x86_64__
	.quad 0x00af9b000000ffff	/* SEL_CODE: 64-bit */
#else
	.quad 0x00cf9b000000ffff	/* SEL_CODE: 32-bit */
#endif
	.quad 0x00cf93000000ffff	/* SEL_DATA */
	.quad 0x00cffb000000ffff	/* SEL_UCODE32 */
	.quad 0x00cff3000000ffff	/* SEL_UDATA */
	.quad 0x00affb000000ffff	/* SEL_UCODE64 */
	.quad 0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad 0x00009b000000ffff	/* SEL_CODE16 */
	.quad 0x000093000000ffff	/* SEL_DATA16 */
	.fill 128 - 9, 8, 0
gdt_end:
gdt_ptr32:
	.word gdt_end - gdt - 1
	.long gdt
gdt_ptr:
	.word gdt_end - gdt - 1
	.long gdt, 0

	.bss
	.balign 4096
	.globl stack_top, stack0_top, ist_top, boot_info
#ifdef __x86_64__
	.globl pml4, pdpt, pd
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4 * 4096
#endif
	.skip 16384
stack_top:
	.skip 8192
stack0_top:				/* the stack for traps from rings 1 to 3 */
	.skip 8192
ist_top:
boot_info:
	.long 0
