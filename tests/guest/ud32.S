/* #UD in 32-bit mode, one check for each reason. */
#include "asm.h"

	.text
	.globl main
main:
	mov $word, %edi
	FAULTS "UD2", UD, 0, ud2
	FAULTS "UD0", UD, 0, .byte 0x0f, 0xff, 0xc0
	FAULTS "UD1", UD, 0, .byte 0x0f, 0xb9, 0xc0

	/* LOCK: only the read-modify-write instructions, only with a memory destination (APM 3, "LOCK Prefix"). */
	RUNS "LOCK ADD m32, r32", lock addl %eax, word
	RUNS "LOCK XCHG m32, r32", lock xchgl %eax, word
	RUNS "LOCK NEG m32", lock negl word
	RUNS "LOCK BTS m32, imm8", lock btsl $1, word
	RUNS "LOCK CMPXCHG m32", lock cmpxchgl %ecx, word
	RUNS "LOCK XADD m32", lock xaddl %ecx, word
	RUNS "LOCK CMPXCHG8B", lock cmpxchg8b word
	FAULTS "LOCK ADD r32, r32", UD, 0, .byte 0xf0, 0x01, 0xc0
	FAULTS "LOCK ADD r32, m32", UD, 0, .byte 0xf0, 0x03, 0x07
	FAULTS "LOCK CMP m32, r32", UD, 0, .byte 0xf0, 0x39, 0x07
	FAULTS "LOCK CMP m32, imm8", UD, 0, .byte 0xf0, 0x83, 0x3f, 1
	FAULTS "LOCK TEST m32, r32", UD, 0, .byte 0xf0, 0x85, 0x07
	FAULTS "LOCK MOV m32, r32", UD, 0, .byte 0xf0, 0x89, 0x07
	FAULTS "LOCK NOP", UD, 0, .byte 0xf0, 0x90
	FAULTS "LOCK BT m32, imm8", UD, 0, .byte 0xf0, 0x0f, 0xba, 0x27, 1
	FAULTS "LOCK PUSH", UD, 0, .byte 0xf0, 0x50
	FAULTS "LOCK CLI", UD, 0, .byte 0xf0, 0xfa
	FAULTS "LOCK JMP", UD, 0, .byte 0xf0, 0xeb, 0
	FAULTS "LOCK MOVS", UD, 0, .byte 0xf0, 0xa4
	FAULTS "LOCK MUL m32", UD, 0, .byte 0xf0, 0xf7, 0x27
	FAULTS "LOCK XCHG r32, r32", UD, 0, .byte 0xf0, 0x87, 0xc1
	FAULTS "LOCK CMPXCHG r32, r32", UD, 0, .byte 0xf0, 0x0f, 0xb1, 0xc1

	/* register forms of instructions that need memory, and the reverse */
	FAULTS "LEA with a register", UD, 0, .byte 0x8d, 0xc0
	FAULTS "LES with a register is VEX, refused without CR4.OSXSAVE", UD, 0, .byte 0xc4, 0xe0, 0x00, 0x00
	FAULTS "BOUND with a register is EVEX, refused without CR4.OSXSAVE", UD, 0, .byte 0x62, 0xc0, 0, 0, 0, 0
	FAULTS "LSS with a register", UD, 0, .byte 0x0f, 0xb2, 0xc0
	FAULTS "LFS with a register", UD, 0, .byte 0x0f, 0xb4, 0xc0
	FAULTS "far CALL with a register", UD, 0, .byte 0xff, 0xd8
	FAULTS "far JMP with a register", UD, 0, .byte 0xff, 0xe8
	FAULTS "CMPXCHG8B with a register", UD, 0, .byte 0x0f, 0xc7, 0xc8
	FAULTS "LGDT with a register", UD, 0, .byte 0x0f, 0x01, 0xd7
	FAULTS "0F 01 FF", UD, 0, .byte 0x0f, 0x01, 0xff
	FAULTS "FF /7", UD, 0, .byte 0xff, 0xf8
	FAULTS "FE /2", UD, 0, .byte 0xfe, 0x17
	FAULTS "8F /1", UD, 0, .byte 0x8f, 0xc8
	FAULTS "C6 /1", UD, 0, .byte 0xc6, 0xc8, 0
	FAULTS "0F BA /3", UD, 0, .byte 0x0f, 0xba, 0x1f, 0
	FAULTS "0F 00 /6", UD, 0, .byte 0x0f, 0x00, 0xf0
	FAULTS "0F 0A", UD, 0, .byte 0x0f, 0x0a
	FAULTS "0F 24 (MOV TR)", UD, 0, .byte 0x0f, 0x24, 0xc0
	FAULTS "0F 3F", UD, 0, .byte 0x0f, 0x3f
	FAULTS "FSTP form D9 D1", UD, 0, .byte 0xd9, 0xd1
	FAULTS "D9 E2", UD, 0, .byte 0xd9, 0xe2

	/* segment and control registers that are not there */
	FAULTS "MOV CS, r16", UD, 0, .byte 0x8e, 0xc8
	FAULTS "MOV segment 6, r16", UD, 0, .byte 0x8e, 0xf0
	FAULTS "MOV segment 7, r16", UD, 0, .byte 0x8e, 0xf8
	FAULTS "MOV r32, segment 6", UD, 0, .byte 0x8c, 0xf0
	FAULTS "MOV r32, CR1", UD, 0, .byte 0x0f, 0x20, 0xc8
	FAULTS "MOV r32, CR5", UD, 0, .byte 0x0f, 0x20, 0xe8
	FAULTS "MOV r32, CR6", UD, 0, .byte 0x0f, 0x20, 0xf0
	FAULTS "MOV r32, CR7", UD, 0, .byte 0x0f, 0x20, 0xf8
	FAULTS "MOV CR1, r32", UD, 0, .byte 0x0f, 0x22, 0xc8
	FAULTS "LOCK MOV r32, CR7", UD, 0, .byte 0xf0, 0x0f, 0x20, 0xf8

	/* DR4 and DR5: aliases of DR6 and DR7 without CR4.DE, #UD with it */
	RUNS "MOV r32, DR4 without CR4.DE", .byte 0x0f, 0x21, 0xe0
	RUNS "MOV r32, DR5 without CR4.DE", .byte 0x0f, 0x21, 0xe8
	mov $8, %eax
	mov %eax, %cr4
	FAULTS "MOV r32, DR4 with CR4.DE", UD, 0, .byte 0x0f, 0x21, 0xe0
	FAULTS "MOV r32, DR5 with CR4.DE", UD, 0, .byte 0x0f, 0x21, 0xe8
	FAULTS "MOV DR4, r32 with CR4.DE", UD, 0, .byte 0x0f, 0x23, 0xe0
	xor %eax, %eax
	mov %eax, %cr4

	/* SSE needs CR4.OSFXSR; CR0.EM turns it into #UD as well */
	FAULTS "XORPS without CR4.OSFXSR", UD, 0, xorps %xmm0, %xmm0
	FAULTS "MOVD xmm without CR4.OSFXSR", UD, 0, movd %eax, %xmm0
	FAULTS "STMXCSR without CR4.OSFXSR", UD, 0, stmxcsr word
	RUNS "MMX works without CR4.OSFXSR", movd %eax, %mm0
	RUNS "SFENCE works without CR4.OSFXSR", sfence
	RUNS "PREFETCHNTA works without CR4.OSFXSR", prefetchnta word
	RUNS "EMMS", emms
	mov $0x200, %eax
	mov %eax, %cr4
	RUNS "XORPS with CR4.OSFXSR", xorps %xmm0, %xmm0
	FAULTS "VXORPS without CR4.OSXSAVE", UD, 0, .byte 0xc5, 0xf8, 0x57, 0xc0
	FAULTS "XGETBV without CR4.OSXSAVE", UD, 0, .byte 0x0f, 0x01, 0xd0
	FAULTS "XSAVE without CR4.OSXSAVE", UD, 0, .byte 0x0f, 0xae, 0x27
	mov %cr0, %ebx
	mov %ebx, %eax
	or $4, %eax
	and $~2, %eax
	mov %eax, %cr0
	FAULTS "XORPS with CR0.EM", UD, 0, xorps %xmm0, %xmm0
	FAULTS "MMX with CR0.EM", UD, 0, movd %eax, %mm0
	FAULTS "x87 with CR0.EM is #NM", NM, 0, fnop
	RUNS "WAIT with CR0.EM and no MP", fwait
	mov %ebx, %cr0

	/* 64-bit only */
	FAULTS "SWAPGS", UD, 0, .byte 0x0f, 0x01, 0xf8
	FAULTS "SYSCALL with EFER.SCE=0", UD, 0, .byte 0x0f, 0x05
	FAULTS "SYSRET with EFER.SCE=0", UD, 0, .byte 0x0f, 0x07
	RUNS "a 15-byte instruction", .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
	FAULTS "a 16-byte instruction", GP, 0, .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
	ret

	.data
	.balign 64
word:	.fill 64, 1, 0
