/*
 * 16550A UART (National Semiconductor PC16550D data sheet), as wired in a PC: the interrupt passes through
 * OUT2.
 *
 * Transmission takes no time: a byte is with the backend when the write to THR returns, so THRE and TEMT read
 * as set always. Reception is paced by the guest: uart_can_receive says how many bytes fit in the FIFO.
 */
#ifndef RING3_DEVICES_CHAR_UART_H
#define RING3_DEVICES_CHAR_UART_H

#include "devices/char/char_backend.h"
#include "devices/device.h"

struct uart;

struct uart_config {
    u16 base;     /* first of 8 ports: 3F8h for COM1 */
    u32 instance; /* number in the saved state: 0 for COM1 */
    struct irq_line irq;
    struct char_backend backend;
};

/* -ENOMEM. */
int uart_create(struct uart **out, const struct device_env *env, const struct uart_config *config,
                struct error *err);
void uart_destroy(struct uart *uart);
void uart_reset(struct uart *uart);

/* [lock] Bytes that the receiver can take now without an overrun. */
size_t uart_can_receive(const struct uart *uart);
/* [lock] Bytes from the line. What does not fit is lost and sets LSR.OE, as on the real line. */
void uart_receive(struct uart *uart, const u8 *buf, size_t n);
/* [lock] The line was held low for longer than a character (Linux: magic SysRq). */
void uart_receive_break(struct uart *uart);

#endif
