/* A factorial and a transfer take some time of the virtual clock, as the specification wants: a driver has to
 * wait for them. */
#include "devices/debug/edu.h"

#include <stdlib.h>
#include <string.h>

#include "devices/pci/msi.h"

#define EDU_BAR_SIZE   MIB(1)
#define EDU_ID         0x010000edu
#define EDU_BUFFER     0x40000u /* where DMA addresses the device's memory */
#define EDU_DMA_BITS   28       /* of RAM addresses */
#define EDU_MEMORY     4096u
#define FACTORIAL_NS   10000u
#define TRANSFER_NS    100000u
#define STATUS_BUSY    BIT(0)
#define STATUS_IRQ     BIT(7) /* raise an interrupt when the factorial is there */
#define IRQ_FACTORIAL  BIT(0)
#define IRQ_DMA        BIT(8)
#define DMA_START      BIT(0)
#define DMA_TO_RAM     BIT(1)
#define DMA_IRQ        BIT(2)
#define DMA_BITS       (DMA_START | DMA_TO_RAM | DMA_IRQ)
#define WIDE_REGISTERS 0x80 /* from here on 8-byte accesses are allowed */

enum edu_register {
    EDU_REG_ID = 0x00,
    EDU_REG_LIVENESS = 0x04,
    EDU_REG_FACTORIAL = 0x08,
    EDU_REG_STATUS = 0x20,
    EDU_REG_IRQ = 0x24,
    EDU_REG_RAISE = 0x60,
    EDU_REG_ACKNOWLEDGE = 0x64,
    EDU_REG_SOURCE = 0x80,
    EDU_REG_DESTINATION = 0x88,
    EDU_REG_COUNT = 0x90,
    EDU_REG_COMMAND = 0x98,
};

struct edu_state {
    u32 liveness, factorial, status, irq;
    u64 source, destination, count, command;
    u64 factorial_at, transfer_at; /* deadlines; 0: not under way */
    u8 memory[EDU_MEMORY];
};

struct edu {
    struct pci_function pci;
    struct edu_state s;
    struct loop *loop;
    struct timer factorial, transfer;
};

static void edu_raise(struct edu *edu, u32 bits)
{
    edu->s.irq |= bits;
    if (!edu->s.irq)
        return;
    if (pci_msi_is_enabled(&edu->pci))
        pci_msi_notify(&edu->pci, 0);
    else
        pci_set_intx(&edu->pci, true);
}

static void edu_acknowledge(struct edu *edu, u32 bits)
{
    edu->s.irq &= ~bits;
    if (!edu->s.irq)
        pci_set_intx(&edu->pci, false);
}

static void factorial_done(void *opaque)
{
    struct edu *edu = opaque;
    u32 n = edu->s.factorial, product = 1;
    /* From 34! on the product is 0 modulo 2^32. */
    for (u32 i = n < 34 ? n : 34; i > 1; i--)
        product *= i;
    edu->s.factorial = product;
    edu->s.status &= ~STATUS_BUSY;
    edu->s.factorial_at = 0;
    if (edu->s.status & STATUS_IRQ)
        edu_raise(edu, IRQ_FACTORIAL);
}

/* The device's memory at a DMA address, or NULL if the transfer leaves it. */
static u8 *edu_memory(struct edu *edu, u64 address)
{
    u64 offset = address - EDU_BUFFER;
    return offset < EDU_MEMORY && edu->s.count <= EDU_MEMORY - offset ? edu->s.memory + offset : NULL;
}

static void transfer_done(void *opaque)
{
    struct edu *edu = opaque;
    struct edu_state *s = &edu->s;
    u8 *memory = edu_memory(edu, s->command & DMA_TO_RAM ? s->source : s->destination);
    u64 address = (s->command & DMA_TO_RAM ? s->destination : s->source) & MASK(EDU_DMA_BITS);
    if (memory && (s->command & DMA_TO_RAM))
        pci_dma_write(&edu->pci, address, memory, s->count);
    else if (memory)
        pci_dma_read(&edu->pci, address, memory, s->count);
    s->command &= ~DMA_START;
    s->transfer_at = 0;
    if (s->command & DMA_IRQ)
        edu_raise(edu, IRQ_DMA);
}

static u64 edu_read(void *dev, u64 offset, unsigned size)
{
    struct edu *edu = dev;
    const struct edu_state *s = &edu->s;
    if (size < 4 || (size == 8 && offset < WIDE_REGISTERS))
        return MASK(8 * size);
    switch (offset) {
    case EDU_REG_ID:
        return EDU_ID;
    case EDU_REG_LIVENESS:
        return s->liveness;
    case EDU_REG_FACTORIAL:
        return s->factorial;
    case EDU_REG_STATUS:
        return s->status;
    case EDU_REG_IRQ:
        return s->irq;
    case EDU_REG_SOURCE:
        return s->source;
    case EDU_REG_DESTINATION:
        return s->destination;
    case EDU_REG_COUNT:
        return s->count;
    case EDU_REG_COMMAND:
        return s->command;
    default:
        return MASK(8 * size);
    }
}

static void factorial_start(struct edu *edu, u32 n)
{
    if (edu->s.status & STATUS_BUSY)
        return;
    edu->s.factorial = n;
    edu->s.status |= STATUS_BUSY;
    edu->s.factorial_at = clock_now(loop_clock(edu->loop)) + FACTORIAL_NS;
    timer_arm(&edu->factorial, edu->s.factorial_at);
}

static void transfer_start(struct edu *edu, u64 command)
{
    edu->s.command = command & DMA_BITS;
    if (!(command & DMA_START))
        return;
    edu->s.transfer_at = clock_now(loop_clock(edu->loop)) + TRANSFER_NS;
    timer_arm(&edu->transfer, edu->s.transfer_at);
}

/* The registers of a transfer keep their values while one is under way. */
static void transfer_write(struct edu *edu, u64 offset, u64 value)
{
    if (edu->s.command & DMA_START)
        return;
    switch (offset) {
    case EDU_REG_SOURCE:
        edu->s.source = value;
        break;
    case EDU_REG_DESTINATION:
        edu->s.destination = value;
        break;
    case EDU_REG_COUNT:
        edu->s.count = value;
        break;
    case EDU_REG_COMMAND:
        transfer_start(edu, value);
        break;
    default:
        break;
    }
}

static void edu_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct edu *edu = dev;
    if (size < 4 || (size == 8 && offset < WIDE_REGISTERS))
        return;
    switch (offset) {
    case EDU_REG_LIVENESS:
        edu->s.liveness = ~(u32)value;
        break;
    case EDU_REG_FACTORIAL:
        factorial_start(edu, (u32)value);
        break;
    case EDU_REG_STATUS:
        edu->s.status = (edu->s.status & ~STATUS_IRQ) | (value & STATUS_IRQ);
        break;
    case EDU_REG_RAISE:
        edu_raise(edu, (u32)value);
        break;
    case EDU_REG_ACKNOWLEDGE:
        edu_acknowledge(edu, (u32)value);
        break;
    default:
        transfer_write(edu, offset, value);
        break;
    }
}

static const struct io_ops edu_ops = {.read = edu_read, .write = edu_write, .max_size = 8};

static const struct state_field edu_fields[] = {
    STATE_FIELD(struct edu_state, liveness),
    STATE_FIELD(struct edu_state, factorial),
    STATE_FIELD_MAX(struct edu_state, status, STATUS_IRQ | STATUS_BUSY),
    STATE_FIELD(struct edu_state, irq),
    STATE_FIELD(struct edu_state, source),
    STATE_FIELD(struct edu_state, destination),
    STATE_FIELD(struct edu_state, count),
    STATE_FIELD_MAX(struct edu_state, command, DMA_BITS),
    STATE_FIELD(struct edu_state, factorial_at),
    STATE_FIELD(struct edu_state, transfer_at),
    STATE_ARRAY(struct edu_state, memory, u8),
};

static void edu_save(const void *dev, void *out)
{
    const struct edu *edu = dev;
    memcpy(out, &edu->s, sizeof edu->s);
}

static int edu_check(const void *dev, const void *state, struct error *err)
{
    const struct edu_state *s = state;
    if (!!(s->status & STATUS_BUSY) != !!s->factorial_at || !!(s->command & DMA_START) != !!s->transfer_at)
        return error_set(err, EINVAL,
                         "edu: the saved state has work under way without its end, or its end "
                         "without work");
    return 0;
}

static void timer_follow(struct timer *timer, u64 deadline)
{
    if (deadline)
        timer_arm(timer, deadline);
    else
        timer_disarm(timer);
}

static void edu_load(void *dev, const void *state)
{
    struct edu *edu = dev;
    memcpy(&edu->s, state, sizeof edu->s);
    timer_follow(&edu->factorial, edu->s.factorial_at);
    timer_follow(&edu->transfer, edu->s.transfer_at);
}

static const struct state_desc edu_desc = {
    .name = "edu",
    .version = 1,
    .size = sizeof(struct edu_state),
    .fields = edu_fields,
    .field_count = ARRAY_LEN(edu_fields),
    .save = edu_save,
    .check = edu_check,
    .load = edu_load,
};

void edu_reset(struct edu *edu)
{
    timer_disarm(&edu->factorial);
    timer_disarm(&edu->transfer);
    edu->s = (struct edu_state){0};
    pci_set_intx(&edu->pci, false);
}

int edu_create(struct edu **out, const struct device_env *env, struct pci_bus *bus, unsigned slot,
               struct error *err)
{
    static const struct pci_ids ids = {
        .vendor = 0x1234, .device = 0x11e8, .class_code = 0xff0000, .revision = 0x10, .interrupt_pin = 1};
    struct edu *edu = calloc(1, sizeof *edu);
    if (!edu)
        return error_set(err, ENOMEM, "no memory for the edu device");
    edu->loop = env->loop;
    timer_init(&edu->factorial, env->loop, factorial_done, edu);
    timer_init(&edu->transfer, env->loop, transfer_done, edu);
    pci_function_init(&edu->pci, "edu", &ids);
    pci_bar_memory(&edu->pci, 0, PCI_BAR_MEMORY32, false, EDU_BAR_SIZE, &edu_ops, edu);
    int rc = pci_msi_add(&edu->pci, 1);
    if (!rc)
        rc = state_set_add(env->state, &edu_desc, edu, 0);
    if (rc)
        error_set(err, -rc, "no room for the edu device's capability or state");
    else
        rc = pci_add(bus, &edu->pci, slot, 0, err);
    if (rc) {
        free(edu);
        return rc;
    }
    *out = edu;
    return 0;
}

void edu_destroy(struct edu *edu)
{
    if (!edu)
        return;
    timer_disarm(&edu->factorial);
    timer_disarm(&edu->transfer);
    pci_remove(&edu->pci);
    free(edu);
}
