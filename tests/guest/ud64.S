/* #UD in 64-bit mode: what 32-bit mode still has, and forms that need a REX-free or memory operand. */
/* ## mode: x86_64 */
#include "asm.h"

	.text
	.globl main
main:
	mov $word, %edi
	FAULTS "UD2", UD, 0, ud2
	FAULTS "PUSH ES", UD, 0, .byte 0x06
	FAULTS "POP ES", UD, 0, .byte 0x07
	FAULTS "PUSH CS", UD, 0, .byte 0x0e
	FAULTS "PUSH SS", UD, 0, .byte 0x16
	FAULTS "POP SS", UD, 0, .byte 0x17
	FAULTS "PUSH DS", UD, 0, .byte 0x1e
	FAULTS "POP DS", UD, 0, .byte 0x1f
	FAULTS "DAA", UD, 0, .byte 0x27
	FAULTS "DAS", UD, 0, .byte 0x2f
	FAULTS "AAA", UD, 0, .byte 0x37
	FAULTS "AAS", UD, 0, .byte 0x3f
	FAULTS "PUSHA", UD, 0, .byte 0x60
	FAULTS "POPA", UD, 0, .byte 0x61
	FAULTS "82 /0 (alias of 80)", UD, 0, .byte 0x82, 0xc0, 0
	FAULTS "far CALL ptr16:32", UD, 0, .byte 0x9a, 0, 0, 0, 0, 0, 0
	FAULTS "far JMP ptr16:32", UD, 0, .byte 0xea, 0, 0, 0, 0, 0, 0
	FAULTS "AAM", UD, 0, .byte 0xd4, 10
	FAULTS "AAD", UD, 0, .byte 0xd5, 10
	FAULTS "SALC", UD, 0, .byte 0xd6
	FAULTS "INTO", UD, 0, .byte 0xce
	FAULTS "SYSENTER in long mode on AMD", UD, 0, sysenter
	FAULTS "SYSEXIT in long mode on AMD", UD, 0, sysexit
	RUNS "PUSH FS", .byte 0x0f, 0xa0
	FAULTS "LOCK ADD r64, r64", UD, 0, .byte 0xf0, 0x48, 0x01, 0xc0
	RUNS "LOCK ADD m64, r64", lock addq %rax, word
	FAULTS "LOCK MOV m64, r64", UD, 0, .byte 0xf0, 0x48, 0x89, 0x07
	FAULTS "MOV CS, r16", UD, 0, .byte 0x8e, 0xc8
	FAULTS "MOV r64, CR1", UD, 0, .byte 0x0f, 0x20, 0xc8
	FAULTS "MOV r64, CR9", UD, 0, .byte 0x44, 0x0f, 0x20, 0xc8
	FAULTS "MOV r64, CR15", UD, 0, .byte 0x44, 0x0f, 0x20, 0xf8
	RUNS "MOV r64, CR8", mov %cr8, %rax
	FAULTS "MOV r64, DR8", UD, 0, .byte 0x44, 0x0f, 0x21, 0xc0
	FAULTS "MOV DR8, r64", UD, 0, .byte 0x44, 0x0f, 0x23, 0xc0
	FAULTS "SYSCALL with EFER.SCE=0", UD, 0, syscall
	FAULTS "SYSRET with EFER.SCE=0", UD, 0, sysretq
	FAULTS "RDFSBASE without CR4.FSGSBASE", UD, 0, rdfsbase %rax
	FAULTS "WRGSBASE without CR4.FSGSBASE", UD, 0, wrgsbase %rax
	FAULTS "XORPS without CR4.OSFXSR", UD, 0, xorps %xmm0, %xmm0
	FAULTS "CMPXCHG16B with a register", UD, 0, .byte 0x48, 0x0f, 0xc7, 0xc8
	FAULTS "MOVNTI with a register", UD, 0, .byte 0x48, 0x0f, 0xc3, 0xc0
	mov $word + 8, %edi
	FAULTS "CMPXCHG16B misaligned is #GP", GP, 0, cmpxchg16b (%rdi)
	mov $word, %edi
	RUNS "CMPXCHG16B aligned", cmpxchg16b (%rdi)
	RUNS "REX before a legacy prefix is ignored", .byte 0x48, 0x66, 0x90
	RUNS "XCHG r8d, eax is not NOP", .byte 0x41, 0x90
	RUNS "a 15-byte instruction", .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
	FAULTS "a 16-byte instruction", GP, 0, .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
	RUNS "operand-size NOP with REX.W", .byte 0x66, 0x48, 0x90

	/* results are zero-extended to 64 bits only by 32-bit operations */
	mov $-1, %rax
	movb $0x12, %al
	IS "8-bit move keeps the rest", %rax, $0xffffffffffffff12
	mov $-1, %rax
	movw $0x1234, %ax
	IS "16-bit move keeps the rest", %rax, $0xffffffffffff1234
	mov $-1, %rax
	movl %eax, %eax
	IS "32-bit move clears the upper half", %rax, $0xffffffff
	mov $-1, %rax
	xor %ecx, %ecx
	cmovcl %ecx, %eax
	IS "32-bit CMOV without its condition clears the upper half", %rax, $0xffffffff
	ret

	.data
	.balign 64
word:	.fill 64, 1, 0
