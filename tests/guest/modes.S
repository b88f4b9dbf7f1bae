/*
 * Mode switches: protected -> 16-bit protected -> real -> unreal -> protected; the real-mode IVT, 16-bit wrap, limits in
 * real mode; what survives.
 */
#include "asm.h"

#define REAL_BASE 0x7000

	.text
	.globl main
main:
	/* the 16-bit part runs at REAL_BASE */
	mov $real_start, %esi
	mov $REAL_BASE, %edi
	mov $real_end - real_start, %ecx
	rep movsb
	/* a 64 KiB stack segment's worth of space below 0x7000; results at 0x6000 */
	mov $0x6000, %edi
	mov $0x400, %ecx
	xor %eax, %eax
	rep stosl
	mov %esp, saved_sp
	lidt real_idt
	ljmp $SEL_CODE16, $REAL_BASE
back:
	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov %eax, %ss
	mov saved_sp, %esp
	lidt idt_ptr

	IS "16-bit protected mode ran", 0x6000, $0x1616
	IS "INT n in real mode: handler ran", 0x6004, $0x77
	IS "INT n in real mode pushes FLAGS CS IP: SP", 0x6008, $0x6ffa
	IS "INT n in real mode: IP is the next instruction's", 0x600c, $after_int-real_start+REAL_BASE
	IS "INT n in real mode clears IF and TF in the handler", 0x6010, $0
	IS "DIV by zero in real mode goes through the IVT", 0x6014, $0
	IS "DIV by zero in real mode: IP is the instruction's", 0x6018, $div_insn-real_start+REAL_BASE
	IS "a word at 0xffff in real mode: #GP, vector 13", 0x601c, $13
	IS "a word at SS:0xffff in real mode: #SS, vector 12", 0x6020, $12
	IS "segment base: 16 times the selector", 0x6024, $0x12345678
	IS "the segment limit stays 4 GiB after protected mode (unreal mode)", 0x6028, $0xcafebabe
	IS "PUSH with SP = 0 wraps to 0xfffe", 0x602c, $0xfffe
	IS "16-bit SI wraps in a string instruction", 0x6030, $2
	IS "SGDT in real mode", 0x6034, $0x3ff
	IS "SMSW in real mode: PE clear", 0x6038, $0x32
	IS "LLDT in real mode is #UD", 0x603c, $6
	IS "ARPL in real mode is #UD", 0x6040, $6
	IS "a 32-bit operand in real mode", 0x6044, $0x89abcdef
	IS "far CALL and RETF in real mode", 0x6048, $0x55
	IS "far JMP to another CS:IP form of the same address", 0x604c, $0x66
	IS "IRET in real mode loads IF", 0x6050, $0x200
	IS "CS limit 0xffff: execution beyond it is #GP", 0x6054, $13
	IS "LMSW enters protected mode", 0x6058, $0x33
	IS "HLT, CLI and privileged code run in real mode", 0x605c, $1
	ret

	.code16
real_start:
#define AT(x) (x - real_start + REAL_BASE)
	mov $SEL_DATA16, %ax
	mov %ax, %ds
	mov %ax, %ss
	movl $0x1616, 0x6000
	/* FS: 4 GiB limit, kept for unreal mode */
	mov $SEL_DATA, %ax
	mov %ax, %fs
	mov %cr0, %eax
	and $~1, %al
	mov %eax, %cr0
	ljmp $0, $AT(1f)
1:	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x7000, %sp
	/* the IVT at 0, as real_idt says */
	movw $AT(int_handler), 0x40 * 4
	movw $0, 0x40 * 4 + 2
	movw $AT(de_handler), 0 * 4
	movw $0, 0 * 4 + 2
	movw $AT(gp_handler), 13 * 4
	movw $0, 13 * 4 + 2
	movw $AT(ss_handler), 12 * 4
	movw $0, 12 * 4 + 2
	movw $0x601c, gp_slot
	movw $AT(ud_handler), 6 * 4
	movw $0, 6 * 4 + 2

	int $0x40
after_int:
	movl $0xff, 0x6014
	mov $1, %ax
	xor %dx, %dx
	xor %cx, %cx
div_insn:
	div %cx
	/* a word that crosses the end of the segment */
	movw $AT(2f), resume16
	mov $0xffff, %bx
	mov (%bx), %ax
2:	movw $AT(2f), resume16
	mov %ss:(%bx), %ax
2:	mov $0x650, %ax
	mov %ax, %es
	movl $0x12345678, 0x6500
	mov %es:0, %eax
	mov %eax, 0x6024
	/* unreal: 4 MiB up */
	mov $0x400000, %ebx
	movl $0xcafebabe, %fs:(%ebx)
	mov %fs:(%ebx), %eax
	mov %eax, 0x6028
	/* SP wrap: SS 0x1000 so that 0x1fffe is free memory */
	mov $0x1000, %ax
	mov %ax, %ss
	xor %sp, %sp
	push %ax
	movzwl %sp, %eax
	mov %eax, %ds:0x602c
	pop %ax
	xor %ax, %ax
	mov %ax, %ss
	mov $0x7000, %sp
	/* LODSB at 0xffff, then at 0 */
	mov $0xffff, %esi
	cld
	lodsb
	movzwl %si, %edx
	lodsb
	movzwl %si, %eax
	add %edx, %eax
	inc %eax
	mov %eax, 0x6030
	sgdt 0x6100
	movzwl 0x6100, %eax
	mov %eax, 0x6034
	smsw %ax
	movzwl %ax, %eax
	mov %eax, 0x6038
	movw $AT(2f), resume16
	movw $0x603c, ud_slot
	.byte 0x0f, 0x00, 0xd0
2:	movw $AT(2f), resume16
	movw $0x6040, ud_slot
	.byte 0x63, 0xc0
2:	mov $0x89abcdef, %eax
	mov %eax, 0x6044
	lcall $0, $AT(far_fn)
	ljmp $(REAL_BASE >> 4) - 0x10, $alias - real_start + 0x100
alias:	movl $0x66, 0x604c
	ljmp $0, $AT(2f)
2:	pushw $0x202
	pushw $0
	pushw $AT(2f)
	cli
	iret
2:	pushf
	cli
	pop %ax
	and $0x200, %ax
	movzwl %ax, %eax
	mov %eax, 0x6050
	/* run off the end of CS: at 0xffff of segment 0 stands a two-byte instruction; segment 0x1000 here */
	mov $0x1000, %ax
	mov %ax, %es
	movb $0xb0, %es:0xffff
	movb $0xea, %es:1		/* an emulator that wraps or runs on finds its way home */
	movw $AT(2f), %es:2
	movw $0, %es:4
	mov $0x2000, %ax
	mov %ax, %es
	movb $0xea, %es:1
	movw $AT(2f), %es:2
	movw $0, %es:4
	movw $AT(2f), resume16
	movw $0x6054, gp_slot
	ljmp $0x1000, $0xffff
2:	/* back by LMSW */
	movl $1, 0x605c
	lgdtl %cs:AT(gdt_copy)
	smsw %ax
	or $1, %al
	lmsw %ax
	smsw %ax
	movzwl %ax, %eax
	mov %eax, 0x6058
	ljmpl $SEL_CODE, $back

int_handler:
	pushf
	pop %ax
	and $0x300, %ax
	movzwl %ax, %eax
	mov %eax, 0x6010
	movl $0x77, 0x6004
	movzwl %sp, %eax
	mov %eax, 0x6008
	mov %esp, %ebp
	movzwl (%bp), %eax
	mov %eax, 0x600c
	iret
de_handler:
	movl $0, 0x6014
	mov %esp, %ebp
	movzwl (%bp), %eax
	mov %eax, 0x6018
	addw $2, (%bp)
	iret
gp_handler:
	xor %ax, %ax
	mov %ax, %ds
	movw gp_slot, %bx
	movl $13, (%bx)
	jmp 3f
ss_handler:
	movl $12, 0x6020
	jmp 3f
ud_handler:
	movw ud_slot, %bx
	movl $6, (%bx)
3:	mov $0x7000, %sp
	mov $0xffff, %bx
	pushw $2
	pushw $0
	pushw resume16
	iret
far_fn:	movl $0x55, 0x6048
	lret
	.set resume16, 0x6200
	.set gp_slot, 0x6204
	.set ud_slot, 0x6208
	.balign 4
gdt_copy:
	.word 0x3ff
	.long gdt
real_end:

	.code32
	.data
	.balign 4
real_idt:
	.word 0x3ff
	.long 0
saved_sp:
	.long 0
