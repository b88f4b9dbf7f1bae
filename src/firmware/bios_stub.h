/*
 * What is left of a BIOS when a boot loader has started a kernel: real-mode interrupt vectors, interrupt
 * controllers at their PC vectors, and the timer tick. Kernels that come from a PC boot loader (Multiboot)
 * may count on it.
 */
#ifndef RING3_FIRMWARE_BIOS_STUB_H
#define RING3_FIRMWARE_BIOS_STUB_H

#include "mem/mem.h"

/* Vectors 08h-0Fh and 70h-77h acknowledge their interrupt (08h counts the ticks at 0040:006Ch), all others
 * return. Before the kernel is loaded, which may lie there. */
void bios_stub_write(struct mem_space *mem);

/* The PICs are programmed for these vectors with only the timer let through; the timer runs at 18.2 Hz. */
void bios_stub_start(struct mem_space *mem);

#endif
