/*
 * Exception and interrupt entry. All 256 vectors come here; trap_dispatch() decides between calling the test's handler
 * (then IRET) and going on at trap_resume with the stack pointer trap_sp, ring 0, all other registers as they were.
 */
#include "asm.h"

	.text
	.balign 16
	.globl trap_stubs
trap_stubs:
	.set vector, 0
	.rept 256
	.balign 16
	.if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
	.else
	push $0
	.endif
#ifdef __x86_64__
	pushq $vector
#else
	pushl $vector
#endif
	jmp trap_common
	.set vector, vector + 1
	.endr

#ifdef __x86_64__
trap_common:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call trap_dispatch
	mov %rbp, %rsp
	mov %eax, %ebx
	test %ebx, %ebx
	jz 1f
	mov $SEL_DATA, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
1:	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	test %ebx, %ebx
	jnz 2f
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq
2:	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	pushq $2
	popfq
	mov trap_sp, %rsp
	jmp *trap_resume
#else
trap_common:
	pusha
	push %ds
	push %es
	push %fs
	push %gs
	mov $SEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	cld
	push %esp
	call trap_dispatch
	add $4, %esp
	test %eax, %eax
	jnz 2f
	pop %gs
	pop %fs
	pop %es
	pop %ds
	popa
	add $8, %esp
	iret
2:	mov $SEL_DATA, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov %eax, %ss
	add $16, %esp
	popa
	pushl $2
	popf
	mov trap_sp, %esp
	jmp *trap_resume
#endif

	.macro shim name, fn
	.globl \name
\name:
	pushf
#ifdef __x86_64__
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	cld
	mov %rsp, %rbp
	and $-16, %rsp
	call \fn
	mov %rbp, %rsp
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
#else
	pusha
	cld
	call \fn
	popa
#endif
	popf
	ret
	.endm
	shim check_fault_asm, check_fault_wanted
	shim check_trap_asm, check_trap_wanted
	shim check_value_asm, check_value_wanted

	.data
	.globl trap, trap_insn, trap_resume, trap_sp, user_flags
	.balign 8
trap:	.fill 16, 8, 0
trap_insn: .quad 0
trap_resume: .quad 0
trap_sp: .quad 0
user_flags: .quad 2
	.globl user_ds
user_ds: .quad SEL_UDATA
