/* What assembly and C share: selectors, and for assembly the checking macros. */
#ifndef GUEST_ASM_H
#define GUEST_ASM_H

#define SEL_CODE    0x08 /* 64-bit in x86_64 images, 32-bit in i386 images */
#define SEL_DATA    0x10
#define SEL_UCODE32 0x1b
#define SEL_UDATA   0x23
#define SEL_UCODE64 0x2b
#define SEL_CODE32  0x30
#define SEL_CODE16  0x38
#define SEL_DATA16  0x40
#define SEL_TSS     0x48 /* 16 bytes in x86_64 images */
#define SEL_TSS2    0x58
#define SEL_LDT     0x68
#define SEL_FREE    0x80 /* from here to 0x3f8 a test may use */

#ifdef __x86_64__
#define SEL_UCODE SEL_UCODE64
#else
#define SEL_UCODE SEL_UCODE32
#endif

#define DE       0
#define DB       1
#define NMI      2
#define BP       3
#define OF       4
#define BR       5
#define UD       6
#define NM       7
#define DF       8
#define TS       10
#define NP       11
#define SS       12
#define GP       13
#define PF       14
#define MF       16
#define AC       17
#define XM       19
#define VEC_DONE 0x80 /* user code's way home */

#ifdef __ASSEMBLER__
#ifdef __x86_64__
#define R(x) % r##x
#define PTR  .quad
.macro store_word value, sym
	movq $\value, \sym(%rip)
	.endm
#else
#define R(x) % e##x
#define PTR  .long
.macro store_word value, sym
	movl $\value, \sym
	.endm
#endif

/* Runs one instruction and checks what it does. "FAULTS name, vector, error code, instruction": the saved IP must be the
   instruction itself; TRAPS: the one after it; RUNS: no exception. No register is changed. */
	.macro try_begin name, insn:vararg
	.section .rodata
7770:	.asciz "\name"
	.text
	store_word -1, trap
	store_word 7771f, trap_insn
	store_word 7772f, trap_resume
	mov R(sp), trap_sp
7771:	\insn
7772:	mov trap_sp, R(sp)
	store_word 0, trap_resume
	store_word 7770b, want_name
	.endm

	.macro FAULTS name, vector, error, insn:vararg
	try_begin "\name", \insn
	store_word \vector, want_vector
	store_word \error, want_error
	call check_fault_asm
	.endm

	.macro TRAPS name, vector, insn:vararg
	try_begin "\name", \insn
	store_word \vector, want_vector
	call check_trap_asm
	.endm

	.macro RUNS name, insn:vararg
	try_begin "\name", \insn
	store_word -1, want_vector
	store_word 0, want_error
	call check_fault_asm
	.endm

/* Checks that a register or immediate is what it should be. */
	.macro IS name, got, want
	.section .rodata
7770:	.asciz "\name"
	.text
	push R(ax)
	store_word 7770b, want_name
	mov \got, R(ax)
	mov R(ax), got_value
	mov \want, R(ax)
	mov R(ax), want_value
	pop R(ax)
call check_value_asm.endm
#endif
#endif
