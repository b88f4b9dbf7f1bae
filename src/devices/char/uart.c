#include "devices/char/uart.h"

#include <stdlib.h>
#include <string.h>

#define FIFO_SIZE 16
/* The PC's UART clock: 1.8432 MHz, divided by 16 and by the divisor latch. */
#define UART_CLOCK_HZ 1843200ull

enum uart_reg { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

enum ier_bit { IER_RDA = BIT(0), IER_THRE = BIT(1), IER_RLS = BIT(2), IER_MODEM = BIT(3) };
enum iir_value { IIR_NONE = 1, IIR_MODEM = 0, IIR_THRE = 2, IIR_RDA = 4, IIR_RLS = 6, IIR_TIMEOUT = 0xc };
enum fcr_bit { FCR_ENABLE = BIT(0), FCR_CLEAR_RX = BIT(1), FCR_CLEAR_TX = BIT(2), FCR_DMA = BIT(3) };
enum lcr_bit { LCR_STOP = BIT(2), LCR_PARITY = BIT(3), LCR_BREAK = BIT(6), LCR_DLAB = BIT(7) };
enum mcr_bit {
    MCR_DTR = BIT(0),
    MCR_RTS = BIT(1),
    MCR_OUT1 = BIT(2),
    MCR_OUT2 = BIT(3),
    MCR_LOOP = BIT(4),
    MCR_WRITABLE = 0x1f,
};
enum lsr_bit {
    LSR_DR = BIT(0),
    LSR_OE = BIT(1),
    LSR_PE = BIT(2),
    LSR_FE = BIT(3),
    LSR_BI = BIT(4),
    LSR_THRE = BIT(5),
    LSR_TEMT = BIT(6),
    LSR_FIFO_ERROR = BIT(7),
    LSR_CHAR_ERRORS = LSR_PE | LSR_FE | LSR_BI,
    LSR_ERRORS = LSR_OE | LSR_CHAR_ERRORS,
};
enum msr_bit {
    MSR_DCTS = BIT(0),
    MSR_DDSR = BIT(1),
    MSR_TERI = BIT(2),
    MSR_DDCD = BIT(3),
    MSR_CTS = BIT(4),
    MSR_DSR = BIT(5),
    MSR_RI = BIT(6),
    MSR_DCD = BIT(7),
    MSR_DELTAS = 0x0f,
    /* What a connected terminal holds on. */
    MSR_CONNECTED = MSR_CTS | MSR_DSR | MSR_DCD,
};

struct uart {
    struct device_env env;
    struct port_region ports;
    struct irq_line irq;
    struct char_backend backend;
    struct timer timeout; /* fires 4 character times after the last movement of the receive FIFO */

    /* The receive FIFO, oldest first; one entry in 16450 mode. rx_error: LSR_CHAR_ERRORS of each character.
     */
    u8 rx[FIFO_SIZE];
    u8 rx_error[FIFO_SIZE];
    u8 rx_count;

    u8 ier, fcr, lcr, mcr, scr;
    u8 lsr_errors; /* LSR_ERRORS as latched for the character at the FIFO's head */
    u8 msr;
    u16 divisor;
    bool thre_pending;    /* the transmitter became empty, and nobody has been told yet */
    bool timeout_pending; /* characters below the trigger level have waited too long */
    bool starved;         /* uart_can_receive has said 0: tell the backend when there is room */
};

static bool fifo_is_enabled(const struct uart *uart)
{
    return uart->fcr & FCR_ENABLE;
}

static unsigned fifo_capacity(const struct uart *uart)
{
    return fifo_is_enabled(uart) ? FIFO_SIZE : 1;
}

static unsigned fifo_trigger(const struct uart *uart)
{
    static const u8 level[4] = {1, 4, 8, 14};
    return fifo_is_enabled(uart) ? level[uart->fcr >> 6] : 1;
}

static u8 word_mask(const struct uart *uart)
{
    return (u8)MASK(5 + (uart->lcr & 3));
}

/* Nanoseconds that one character takes on the line. */
static u64 char_time(const struct uart *uart)
{
    unsigned bits = 1 + 5 + (uart->lcr & 3) + !!(uart->lcr & LCR_PARITY) + 1 + !!(uart->lcr & LCR_STOP);
    u64 divisor = uart->divisor ? uart->divisor : 0x10000;
    return mul_div(bits * 16 * divisor, NS_PER_SEC, UART_CLOCK_HZ);
}

/* The interrupt of the highest priority that is due and enabled (data sheet table IV). */
static u8 interrupt_id(const struct uart *uart)
{
    if ((uart->ier & IER_RLS) && uart->lsr_errors)
        return IIR_RLS;
    if ((uart->ier & IER_RDA) && uart->rx_count >= fifo_trigger(uart))
        return IIR_RDA;
    if ((uart->ier & IER_RDA) && uart->timeout_pending)
        return IIR_TIMEOUT;
    if ((uart->ier & IER_THRE) && uart->thre_pending)
        return IIR_THRE;
    if ((uart->ier & IER_MODEM) && (uart->msr & MSR_DELTAS))
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(struct uart *uart)
{
    irq_set(&uart->irq, (uart->mcr & MCR_OUT2) && interrupt_id(uart) != IIR_NONE);
}

/* Restarts the character time-out: it runs while the FIFO holds something (data sheet, FIFO interrupt mode).
 */
static void restart_timeout(struct uart *uart)
{
    uart->timeout_pending = false;
    if (fifo_is_enabled(uart) && uart->rx_count)
        timer_arm(&uart->timeout, clock_now(loop_clock(uart->env.loop)) + 4 * char_time(uart));
    else
        timer_disarm(&uart->timeout);
}

static void timeout_expired(void *opaque)
{
    struct uart *uart = opaque;
    uart->timeout_pending = uart->rx_count != 0;
    update_irq(uart);
}

static void clear_rx(struct uart *uart)
{
    uart->rx_count = 0;
    uart->lsr_errors = 0;
    restart_timeout(uart);
}

/* Tells a backend that was turned away that it may come again. The call may feed us at once. */
static void invite_input(struct uart *uart)
{
    if (!uart->starved || uart->rx_count >= fifo_capacity(uart) || (uart->mcr & MCR_LOOP))
        return;
    uart->starved = false;
    if (uart->backend.input_wanted)
        uart->backend.input_wanted(uart->backend.opaque);
}

/* One character arrives at the receiver. */
static void receive_char(struct uart *uart, u8 c, u8 error)
{
    if (uart->rx_count >= fifo_capacity(uart)) {
        uart->lsr_errors |= LSR_OE;
        /* Without FIFO the new character destroys the old one; with it, the new one is lost. */
        if (fifo_is_enabled(uart))
            return;
        uart->rx_count = 0;
    }
    if (uart->rx_count == 0)
        uart->lsr_errors |= error;
    uart->rx[uart->rx_count] = c & word_mask(uart);
    uart->rx_error[uart->rx_count] = error;
    uart->rx_count++;
    restart_timeout(uart);
}

static void transmit_char(struct uart *uart, u8 c)
{
    c &= word_mask(uart);
    if (uart->mcr & MCR_LOOP)
        receive_char(uart, c, 0);
    else if (uart->backend.write)
        uart->backend.write(uart->backend.opaque, &c, 1);
    uart->thre_pending = true;
}

static u8 read_rbr(struct uart *uart)
{
    if (!uart->rx_count)
        return uart->rx[0]; /* the last character stays readable */
    u8 c = uart->rx[0];
    uart->rx_count--;
    memmove(uart->rx, uart->rx + 1, uart->rx_count);
    memmove(uart->rx_error, uart->rx_error + 1, uart->rx_count);
    if (!uart->rx_count)
        uart->rx[0] = c;
    uart->lsr_errors &= (u8)~LSR_CHAR_ERRORS;
    if (uart->rx_count)
        uart->lsr_errors |= uart->rx_error[0];
    restart_timeout(uart);
    return c;
}

static u8 read_lsr(struct uart *uart)
{
    u8 v = LSR_THRE | LSR_TEMT | uart->lsr_errors;
    if (uart->rx_count)
        v |= LSR_DR;
    if (fifo_is_enabled(uart)) {
        for (unsigned i = 0; i < uart->rx_count; i++)
            v |= uart->rx_error[i] ? LSR_FIFO_ERROR : 0;
    }
    uart->lsr_errors = 0;
    uart->rx_error[0] = 0;
    return v;
}

/* The modem inputs have (new) levels: MSR bits 7:4. */
static void set_modem_inputs(struct uart *uart, u8 inputs)
{
    u8 old = uart->msr & 0xf0;
    u8 changed = (old ^ inputs) & 0xf0;
    u8 deltas = changed >> 4 & (MSR_DCTS | MSR_DDSR | MSR_DDCD);
    if ((changed & MSR_RI) && !(inputs & MSR_RI))
        deltas |= MSR_TERI; /* the trailing edge only */
    uart->msr = (uart->msr & MSR_DELTAS) | deltas | inputs;
}

static u8 modem_inputs(const struct uart *uart)
{
    if (!(uart->mcr & MCR_LOOP))
        return MSR_CONNECTED;
    u8 v = 0;
    v |= uart->mcr & MCR_RTS ? MSR_CTS : 0;
    v |= uart->mcr & MCR_DTR ? MSR_DSR : 0;
    v |= uart->mcr & MCR_OUT1 ? MSR_RI : 0;
    v |= uart->mcr & MCR_OUT2 ? MSR_DCD : 0;
    return v;
}

static void write_fcr(struct uart *uart, u8 v)
{
    bool toggled = (uart->fcr ^ v) & FCR_ENABLE;
    if (toggled || ((v & FCR_ENABLE) && (v & FCR_CLEAR_RX)))
        clear_rx(uart);
    if (toggled || ((v & FCR_ENABLE) && (v & FCR_CLEAR_TX)))
        uart->thre_pending = true;
    /* The other bits are only taken together with bit 0; the clear bits clear themselves. */
    uart->fcr = v & FCR_ENABLE ? v & (u8) ~(FCR_CLEAR_RX | FCR_CLEAR_TX | 0x30) : 0;
}

static void write_lcr(struct uart *uart, u8 v)
{
    bool break_starts = (v & ~uart->lcr) & LCR_BREAK;
    uart->lcr = v;
    if (break_starts && (uart->mcr & MCR_LOOP))
        receive_char(uart, 0, LSR_BI);
}

static void write_ier(struct uart *uart, u8 v)
{
    /* Enabling the THRE interrupt while the transmitter is empty raises it. */
    if ((v & ~uart->ier) & IER_THRE)
        uart->thre_pending = true;
    uart->ier = v & 0x0f;
}

static u8 read_iir(struct uart *uart)
{
    u8 id = interrupt_id(uart);
    if (id == IIR_THRE)
        uart->thre_pending = false;
    return id | (fifo_is_enabled(uart) ? 0xc0 : 0);
}

static u64 uart_port_read(void *dev, u64 offset, unsigned size)
{
    struct uart *uart = dev;
    u8 v = 0xff;
    switch (offset) {
    case REG_DATA:
        v = uart->lcr & LCR_DLAB ? (u8)uart->divisor : read_rbr(uart);
        break;
    case REG_IER:
        v = uart->lcr & LCR_DLAB ? (u8)(uart->divisor >> 8) : uart->ier;
        break;
    case REG_IIR_FCR:
        v = read_iir(uart);
        break;
    case REG_LCR:
        v = uart->lcr;
        break;
    case REG_MCR:
        v = uart->mcr;
        break;
    case REG_LSR:
        v = read_lsr(uart);
        break;
    case REG_MSR:
        v = uart->msr;
        uart->msr &= (u8)~MSR_DELTAS;
        break;
    case REG_SCR:
        v = uart->scr;
        break;
    }
    log_trace(uart->env.log, TRACE_CHAR, "uart %#x: read %u: %#x", uart->ports.base, (unsigned)offset, v);
    update_irq(uart);
    invite_input(uart);
    return v;
}

static void uart_port_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct uart *uart = dev;
    u8 v = (u8)value;
    log_trace(uart->env.log, TRACE_CHAR, "uart %#x: write %u: %#x", uart->ports.base, (unsigned)offset, v);
    switch (offset) {
    case REG_DATA:
        if (uart->lcr & LCR_DLAB)
            uart->divisor = (uart->divisor & 0xff00) | v;
        else
            transmit_char(uart, v);
        break;
    case REG_IER:
        if (uart->lcr & LCR_DLAB)
            uart->divisor = (u16)((uart->divisor & 0xff) | v << 8);
        else
            write_ier(uart, v);
        break;
    case REG_IIR_FCR:
        write_fcr(uart, v);
        break;
    case REG_LCR:
        write_lcr(uart, v);
        break;
    case REG_MCR:
        uart->mcr = v & MCR_WRITABLE;
        set_modem_inputs(uart, modem_inputs(uart));
        break;
    case REG_LSR: /* factory test */
    case REG_MSR:
        break;
    case REG_SCR:
        uart->scr = v;
        break;
    }
    update_irq(uart);
    invite_input(uart);
}

static const struct io_ops uart_io_ops = {.read = uart_port_read, .write = uart_port_write, .max_size = 1};

size_t uart_can_receive(const struct uart *uart)
{
    size_t room = uart->mcr & MCR_LOOP ? 0 : fifo_capacity(uart) - uart->rx_count;
    if (!room)
        ((struct uart *)uart)->starved = true;
    return room;
}

void uart_receive(struct uart *uart, const u8 *buf, size_t n)
{
    if (uart->mcr & MCR_LOOP)
        return; /* the input is disconnected (data sheet 8.6.6) */
    for (size_t i = 0; i < n; i++)
        receive_char(uart, buf[i], 0);
    update_irq(uart);
}

void uart_receive_break(struct uart *uart)
{
    if (uart->mcr & MCR_LOOP)
        return;
    receive_char(uart, 0, LSR_BI);
    update_irq(uart);
}

void uart_reset(struct uart *uart)
{
    /* The data sheet leaves RBR, SCR and the divisor alone; power-on clears them. */
    memset(uart->rx, 0, sizeof uart->rx);
    memset(uart->rx_error, 0, sizeof uart->rx_error);
    uart->rx_count = 0;
    uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->scr = 0;
    uart->lsr_errors = 0;
    uart->msr = MSR_CONNECTED;
    uart->divisor = 12; /* 9600 baud, as firmware would leave it */
    uart->thre_pending = uart->timeout_pending = false;
    timer_disarm(&uart->timeout);
    update_irq(uart);
    invite_input(uart);
}

/* Saved state. */

struct uart_state {
    u8 rx[FIFO_SIZE], rx_error[FIFO_SIZE];
    u8 rx_count;
    u8 ier, fcr, lcr, mcr, scr, lsr_errors, msr;
    u16 divisor;
    bool thre_pending, timeout_pending, timeout_armed;
    u64 timeout_deadline; /* virtual ns */
};

static const struct state_field uart_fields[] = {
    STATE_ARRAY(struct uart_state, rx, u8),
    STATE_ARRAY(struct uart_state, rx_error, u8),
    STATE_FIELD_MAX(struct uart_state, rx_count, FIFO_SIZE),
    STATE_FIELD_MAX(struct uart_state, ier, 0x0f),
    STATE_FIELD(struct uart_state, fcr),
    STATE_FIELD(struct uart_state, lcr),
    STATE_FIELD_MAX(struct uart_state, mcr, MCR_WRITABLE),
    STATE_FIELD(struct uart_state, scr),
    STATE_FIELD_MAX(struct uart_state, lsr_errors, LSR_ERRORS),
    STATE_FIELD(struct uart_state, msr),
    STATE_FIELD(struct uart_state, divisor),
    STATE_BOOL(struct uart_state, thre_pending),
    STATE_BOOL(struct uart_state, timeout_pending),
    STATE_BOOL(struct uart_state, timeout_armed),
    STATE_FIELD(struct uart_state, timeout_deadline),
};

static void uart_save(const void *dev, void *out)
{
    const struct uart *uart = dev;
    struct uart_state *s = out;
    memcpy(s->rx, uart->rx, sizeof s->rx);
    memcpy(s->rx_error, uart->rx_error, sizeof s->rx_error);
    s->rx_count = uart->rx_count;
    s->ier = uart->ier;
    s->fcr = uart->fcr;
    s->lcr = uart->lcr;
    s->mcr = uart->mcr;
    s->scr = uart->scr;
    s->lsr_errors = uart->lsr_errors;
    s->msr = uart->msr;
    s->divisor = uart->divisor;
    s->thre_pending = uart->thre_pending;
    s->timeout_pending = uart->timeout_pending;
    s->timeout_armed = timer_is_armed(&uart->timeout);
    s->timeout_deadline = s->timeout_armed ? uart->timeout.deadline : 0;
}

static int uart_check(const void *dev, const void *state, struct error *err)
{
    const struct uart_state *s = state;
    if (s->fcr & ~(u8)(FCR_ENABLE | FCR_DMA | 0xc0) || (s->fcr && !(s->fcr & FCR_ENABLE)))
        return error_set(err, EINVAL, "uart: FIFO control register %#x cannot be", s->fcr);
    if (!(s->fcr & FCR_ENABLE) && s->rx_count > 1)
        return error_set(err, EINVAL, "uart: %u characters received while the FIFO is off", s->rx_count);
    if (s->lsr_errors & 1)
        return error_set(err, EINVAL, "uart: line status errors %#x cannot be", s->lsr_errors);
    for (unsigned i = 0; i < FIFO_SIZE; i++) {
        if (s->rx_error[i] & ~(u8)LSR_CHAR_ERRORS)
            return error_set(err, EINVAL, "uart: error flags %#x of a received character cannot be",
                             s->rx_error[i]);
    }
    return 0;
}

static void uart_load(void *dev, const void *state)
{
    struct uart *uart = dev;
    const struct uart_state *s = state;
    memcpy(uart->rx, s->rx, sizeof uart->rx);
    memcpy(uart->rx_error, s->rx_error, sizeof uart->rx_error);
    uart->rx_count = s->rx_count;
    uart->ier = s->ier;
    uart->fcr = s->fcr;
    uart->lcr = s->lcr;
    uart->mcr = s->mcr;
    uart->scr = s->scr;
    uart->lsr_errors = s->lsr_errors;
    uart->msr = s->msr;
    uart->divisor = s->divisor;
    uart->thre_pending = s->thre_pending;
    uart->timeout_pending = s->timeout_pending;
    if (s->timeout_armed)
        timer_arm(&uart->timeout, s->timeout_deadline);
    else
        timer_disarm(&uart->timeout);
    update_irq(uart);
    uart->starved = true; /* whoever feeds us may have asked before the load */
    invite_input(uart);
}

static const struct state_desc uart_desc = {
    .name = "uart",
    .version = 1,
    .size = sizeof(struct uart_state),
    .fields = uart_fields,
    .field_count = ARRAY_LEN(uart_fields),
    .save = uart_save,
    .check = uart_check,
    .load = uart_load,
};

int uart_create(struct uart **out, const struct device_env *env, const struct uart_config *config,
                struct error *err)
{
    struct uart *uart = calloc(1, sizeof *uart);
    if (!uart)
        return error_set(err, ENOMEM, "no memory for the serial port");
    uart->env = *env;
    uart->irq = config->irq;
    uart->backend = config->backend;
    timer_init(&uart->timeout, env->loop, timeout_expired, uart);
    int rc = state_set_add(env->state, &uart_desc, uart, config->instance);
    if (rc < 0) {
        free(uart);
        return error_set(err, -rc, "no memory for the serial port's saved state");
    }
    uart->ports = (struct port_region){
        .name = "uart", .base = config->base, .count = 8, .ops = &uart_io_ops, .dev = uart};
    port_map(env->mem, &uart->ports);
    uart_reset(uart);
    *out = uart;
    return 0;
}

void uart_destroy(struct uart *uart)
{
    if (!uart)
        return;
    timer_disarm(&uart->timeout);
    port_unmap(uart->env.mem, &uart->ports);
    free(uart);
}
