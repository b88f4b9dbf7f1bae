/* The simple exceptions in 32-bit protected mode: vector, error code, and whether the saved EIP is before or after. */
#include "asm.h"

	.text
	.globl main
main:
	mov $100, %eax
	xor %edx, %edx
	xor %ecx, %ecx
	FAULTS "DIV r32 by zero", DE, 0, div %ecx
	mov $2, %edx
	mov $2, %ecx
	FAULTS "DIV r32 overflow", DE, 0, div %ecx
	IS "EAX unchanged after #DE", %eax, $100
	IS "EDX unchanged after #DE", %edx, $2
	FAULTS "DIV r8 by zero (memory)", DE, 0, divb zero
	mov $0x80000000, %eax
	mov $0xffffffff, %edx
	mov $-1, %ecx
	FAULTS "IDIV most negative by -1", DE, 0, idiv %ecx
	mov $0x8000, %eax
	mov $0xffff, %edx
	FAULTS "IDIV r16 -32768 by -1", DE, 0, idiv %cx
	mov $0x0180, %eax
	mov $1, %ecx
	FAULTS "IDIV r8 quotient 384", DE, 0, idiv %cl
	mov $0x12, %eax
	FAULTS "AAM 0", DE, 0, .byte 0xd4, 0

	TRAPS "INT3", BP, int3
	TRAPS "INT 3 (CD 03)", BP, .byte 0xcd, 3
	mov $0x7f, %al
	add $1, %al
	TRAPS "INTO with OF", OF, into
	xor %eax, %eax
	RUNS "INTO without OF", into
	TRAPS "ICEBP", DB, .byte 0xf1

	mov $5, %eax
	RUNS "BOUND at the lower limit", bound %eax, bounds
	mov $9, %eax
	RUNS "BOUND at the upper limit", bound %eax, bounds
	mov $10, %eax
	FAULTS "BOUND above", BR, 0, bound %eax, bounds
	mov $4, %eax
	FAULTS "BOUND below", BR, 0, bound %eax, bounds
	mov $-1, %ax
	FAULTS "BOUND r16 is signed", BR, 0, bound %ax, bounds16

	FAULTS "UD2", UD, 0, ud2
	FAULTS "UD1", UD, 0, .byte 0x0f, 0xb9, 0xc0
	ret

	.data
zero:	.byte 0
	.balign 4
bounds:	.long 5, 9
bounds16: .word 0, 100
