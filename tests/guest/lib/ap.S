/* Where other CPUs start: copied to 0x8000 (SIPI vector 8), real mode, then the BSP's mode. */
#include "asm.h"

	.text
	.globl ap_start, ap_end
	.code16
ap_start:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl ap_gdt_ptr - ap_start + 0x8000
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
#ifdef __x86_64__
	ljmpl $SEL_CODE32, $ap_32
#else
	ljmpl $SEL_CODE, $ap_32
#endif
	.balign 4
ap_gdt_ptr:
	.word 0x3ff
	.long gdt
ap_end:
	.code32
ap_32:	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	mov ap_cr4, %eax
	mov %eax, %cr4
	mov ap_cr3, %eax
	mov %eax, %cr3
	cmpl $0, ap_efer
	je 1f
	mov $0xc0000080, %ecx
	xor %edx, %edx
	mov ap_efer, %eax
	and $~0x400, %eax
	wrmsr
1:	mov ap_cr0, %eax
	mov %eax, %cr0
#ifdef __x86_64__
	ljmp $SEL_CODE, $2f
	.code64
2:
#endif
	mov $1, %eax
	lock xadd %eax, ap_count
	inc %eax
	mov %eax, %ecx
	shl $12, %ecx
	add $ap_stacks, %ecx
	mov R(cx), R(sp)
#ifdef __x86_64__
	mov %eax, %edi
	call ap_main
#else
	push %eax
	call ap_main
#endif
	.data
	.balign 8
	.globl ap_cr0, ap_cr3, ap_cr4, ap_efer, ap_count
ap_cr3:	.quad 0
ap_cr4:	.quad 0
ap_cr0:	.long 0
ap_efer: .long 0
ap_count: .long 0
