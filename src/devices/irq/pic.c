/*
 * Intel 8259A (order number 231468), as wired in a PC, with the edge/level registers of the EISA chip sets.
 *
 * Names are the data sheet's: IRR, ISR, IMR, ICWn, OCWn. Priority is counted from `lowest + 1`: rotation
 * moves it. A request is latched by a low-to-high transition (edge) or follows the line (level); in both
 * modes it goes away when the line falls before it is acknowledged (data sheet, "Edge and Level Triggered
 * Modes").
 */
#include "devices/irq/pic.h"

#include <stdlib.h>

#define CASCADE 2 /* the master's IR that the slave drives */

enum { ICW1_IC4 = BIT(0), ICW1_SNGL = BIT(1), ICW1_ADI = BIT(2), ICW1_LTIM = BIT(3), ICW1 = BIT(4) };
enum { ICW4_8086 = BIT(0), ICW4_AEOI = BIT(1), ICW4_SFNM = BIT(4) };
enum {
    OCW3_RIS = BIT(0),
    OCW3_RR = BIT(1),
    OCW3_POLL = BIT(2),
    OCW3 = BIT(3),
    OCW3_SMM = BIT(5),
    OCW3_ESMM = BIT(6)
};

struct pic_chip {
    u8 irr, isr, imr;
    u8 lines;  /* levels at the inputs */
    u8 elcr;   /* 1: level-triggered */
    u8 lowest; /* the IR that has the lowest priority */
    u8 icw1, icw2, icw3, icw4;
    u8 init_step; /* the ICW that is expected next at A0 = 1: 2, 3, 4; 0: none */
    bool read_isr, poll, special_mask, rotate_aeoi;
};

enum { MASTER, SLAVE };

struct pic {
    struct pic_chip chip[2];
    bool intr; /* level of the output */
    struct irq_line out;
    struct mem_space *mem;
    struct log *log;
    struct port_region ports[2], elcr;
};

struct pic_state {
    u8 irr[2], isr[2], imr[2], lines[2], elcr[2], lowest[2], icw1[2], icw2[2], icw3[2], icw4[2], init_step[2];
    bool read_isr[2], poll[2], special_mask[2], rotate_aeoi[2];
    bool intr;
};

static u8 chip_level_mask(const struct pic_chip *c)
{
    return c->icw1 & ICW1_LTIM ? 0xff : c->elcr;
}

/* The highest-priority IR in `set`, or -1. */
static int chip_highest(const struct pic_chip *c, u8 set)
{
    for (unsigned i = 1; i <= 8; i++) {
        unsigned ir = (c->lowest + i) & 7;
        if (set & BIT(ir))
            return (int)ir;
    }
    return -1;
}

/* 0 is the highest priority; 8 is lower than all. */
static unsigned chip_rank(const struct pic_chip *c, int ir)
{
    return ir < 0 ? 8 : ((unsigned)ir - c->lowest - 1) & 7;
}

/* The request that the priority resolver lets through, or -1. */
static int chip_request(const struct pic_chip *c, bool master)
{
    int ir = chip_highest(c, c->irr & ~c->imr);
    if (ir < 0)
        return -1;
    /* Special mask mode: a level in service that is masked inhibits nothing. */
    u8 inhibiting = c->special_mask ? c->isr & ~c->imr : c->isr;
    unsigned rank = chip_rank(c, ir), serving = chip_rank(c, chip_highest(c, inhibiting));
    if (rank < serving)
        return ir;
    /* Special fully nested mode: a slave in service does not lock out its own further requests. */
    if (rank == serving && master && (c->icw4 & ICW4_SFNM) && !(c->icw1 & ICW1_SNGL) && (c->icw3 & BIT(ir)))
        return ir;
    return -1;
}

static void chip_set_line(struct pic_chip *c, unsigned ir, bool level)
{
    u8 bit = (u8)BIT(ir);
    if (!level)
        c->irr &= (u8)~bit;
    else if ((chip_level_mask(c) & bit) || !(c->lines & bit))
        c->irr |= bit;
    c->lines = level ? c->lines | bit : c->lines & (u8)~bit;
}

static void pic_update(struct pic *pic)
{
    chip_set_line(&pic->chip[MASTER], CASCADE, chip_request(&pic->chip[SLAVE], false) >= 0);
    bool intr = chip_request(&pic->chip[MASTER], true) >= 0;
    if (intr == pic->intr)
        return;
    pic->intr = intr;
    irq_set(&pic->out, intr);
}

bool pic_is_pending(const struct pic *pic)
{
    return pic->intr;
}

static void pic_set(void *opaque, unsigned n, bool level)
{
    struct pic *pic = opaque;
    if (n == CASCADE)
        return;
    chip_set_line(&pic->chip[n >> 3], n & 7, level);
    pic_update(pic);
}

struct irq_line pic_line(struct pic *pic, unsigned n)
{
    return (struct irq_line){pic_set, pic, n & 15};
}

/* Takes `ir` into service, as the INTA (or poll) sequence does. */
static void chip_take(struct pic_chip *c, int ir)
{
    u8 bit = (u8)BIT(ir);
    if (chip_level_mask(c) & bit)
        c->irr = (c->irr & (u8)~bit) | (c->lines & bit);
    else
        c->irr &= (u8)~bit;
    if (!(c->icw4 & ICW4_AEOI))
        c->isr |= bit;
    else if (c->rotate_aeoi)
        c->lowest = (u8)ir;
}

/* The byte the chip puts on the bus in the last INTA cycle that the CPU looks at. */
static u8 chip_vector(const struct pic_chip *c, int ir)
{
    if (c->icw4 & ICW4_8086)
        return (c->icw2 & 0xf8) | (u8)ir;
    /* MCS-80/85: the low byte of the CALL address is in the second cycle. */
    return c->icw1 & ICW1_ADI ? (c->icw1 & 0xe0) | (u8)(ir << 2) : (c->icw1 & 0xc0) | (u8)(ir << 3);
}

/* The INTA sequence at one chip; returns its IR, 7 if the request is gone. */
static int chip_ack(struct pic_chip *c, bool master)
{
    int ir = chip_request(c, master);
    if (ir < 0)
        return 7; /* "default IR7": ISR is not touched */
    chip_take(c, ir);
    return ir;
}

/* The slave's INT falls in its INTA sequence and rises again for a further request: an edge at the master. */
static void pic_slave_acked(struct pic *pic)
{
    chip_set_line(&pic->chip[MASTER], CASCADE, false);
}

int pic_ack(struct pic *pic)
{
    struct pic_chip *m = &pic->chip[MASTER], *s = &pic->chip[SLAVE];
    bool requested = chip_request(m, true) >= 0;
    int ir = chip_ack(m, true);
    u8 vector = chip_vector(m, ir);
    if (requested && !(m->icw1 & ICW1_SNGL) && (m->icw3 & BIT(ir))) {
        /* The cascade lines name a slave; if none has this identification the bus floats. */
        if (ir == CASCADE && (s->icw3 & 7) == CASCADE) {
            vector = chip_vector(s, chip_ack(s, false));
            pic_slave_acked(pic);
        } else {
            vector = 0xff;
        }
    }
    if (pic->intr && chip_request(m, true) >= 0) /* a further request (automatic EOI): INT fell in between */
        irq_set(&pic->out, pic->intr = false);
    pic_update(pic);
    log_trace(pic->log, TRACE_IRQ, "pic: acknowledged, vector %#x", vector);
    return vector;
}

static void chip_end(struct pic_chip *c, int ir, bool rotate)
{
    if (ir < 0)
        return;
    c->isr &= (u8)~BIT(ir);
    if (rotate)
        c->lowest = (u8)ir;
}

static void chip_write_ocw2(struct pic_chip *c, u8 value)
{
    int level = value & 7;
    bool rotate = value & 0x80;
    /* A non-specific EOI leaves levels alone that are masked in special mask mode. */
    u8 ending = c->special_mask ? c->isr & ~c->imr : c->isr;
    switch (value >> 5) {
    case 0: /* rotate in automatic EOI mode: clear */
    case 4: /* ... set */
        c->rotate_aeoi = rotate;
        break;
    case 1: /* non-specific EOI */
    case 5: /* rotate on non-specific EOI */
        chip_end(c, chip_highest(c, ending), rotate);
        break;
    case 3: /* specific EOI */
    case 7: /* rotate on specific EOI */
        chip_end(c, level, rotate);
        break;
    case 6: /* set priority */
        c->lowest = (u8)level;
        break;
    default: /* no operation */
        break;
    }
}

static void chip_write_ocw3(struct pic_chip *c, u8 value)
{
    if (value & OCW3_ESMM)
        c->special_mask = value & OCW3_SMM;
    if (value & OCW3_POLL)
        c->poll = true;
    else if (value & OCW3_RR)
        c->read_isr = value & OCW3_RIS;
}

/* ICW1 starts the initialization sequence (data sheet, "Initialization Command Word 1"). */
static void chip_write_icw1(struct pic_chip *c, u8 value)
{
    c->icw1 = value;
    c->irr = c->lines & chip_level_mask(c); /* the edge sense circuit is reset */
    c->imr = c->isr = 0;
    c->lowest = 7;
    c->special_mask = c->read_isr = c->poll = c->rotate_aeoi = false;
    c->icw3 = 7;
    if (!(value & ICW1_IC4))
        c->icw4 = 0;
    c->init_step = 2;
}

static void chip_write_icw(struct pic_chip *c, u8 value)
{
    switch (c->init_step) {
    case 2:
        c->icw2 = value;
        c->init_step = c->icw1 & ICW1_SNGL ? (c->icw1 & ICW1_IC4 ? 4 : 0) : 3;
        break;
    case 3:
        c->icw3 = value;
        c->init_step = c->icw1 & ICW1_IC4 ? 4 : 0;
        break;
    default:
        c->icw4 = value & 0x1f;
        c->init_step = 0;
        break;
    }
}

static void chip_write(struct pic_chip *c, unsigned a0, u8 value)
{
    if (!a0 && (value & ICW1))
        chip_write_icw1(c, value);
    else if (!a0 && (value & OCW3))
        chip_write_ocw3(c, value);
    else if (!a0)
        chip_write_ocw2(c, value);
    else if (c->init_step)
        chip_write_icw(c, value);
    else
        c->imr = value;
}

/* A read after OCW3 with P = 1 acknowledges like INTA, at either address. */
static u8 pic_poll(struct pic *pic, unsigned n)
{
    struct pic_chip *c = &pic->chip[n];
    int ir = chip_request(c, n == MASTER);
    c->poll = false;
    if (ir < 0)
        return 0;
    chip_take(c, ir);
    if (n == SLAVE)
        pic_slave_acked(pic);
    return 0x80 | (u8)ir;
}

static u64 pic_read(void *opaque, unsigned n, u64 a0)
{
    struct pic *pic = opaque;
    struct pic_chip *c = &pic->chip[n];
    u8 value;
    if (c->poll) {
        value = pic_poll(pic, n);
        pic_update(pic);
    } else if (a0) {
        value = c->imr;
    } else {
        value = c->read_isr ? c->isr : c->irr;
    }
    return value;
}

static void pic_write(struct pic *pic, unsigned n, u64 a0, u64 value)
{
    log_trace(pic->log, TRACE_IRQ, "pic: %s A0=%u <- %#x", n == MASTER ? "master" : "slave", (unsigned)a0,
              (unsigned)value);
    chip_write(&pic->chip[n], a0 & 1, (u8)value);
    pic_update(pic);
}

static u64 master_read(void *dev, u64 offset, unsigned size)
{
    return pic_read(dev, MASTER, offset);
}

static void master_write(void *dev, u64 offset, unsigned size, u64 value)
{
    pic_write(dev, MASTER, offset, value);
}

static u64 slave_read(void *dev, u64 offset, unsigned size)
{
    return pic_read(dev, SLAVE, offset);
}

static void slave_write(void *dev, u64 offset, unsigned size, u64 value)
{
    pic_write(dev, SLAVE, offset, value);
}

static u64 elcr_read(void *dev, u64 offset, unsigned size)
{
    const struct pic *pic = dev;
    return pic->chip[offset & 1].elcr;
}

static void elcr_write(void *dev, u64 offset, unsigned size, u64 value)
{
    /* IRQ 0, 1, 2, 8 and 13 are always edge-triggered (ICH data sheets, ELCR1 and ELCR2). */
    static const u8 writable[2] = {0xf8, 0xde};
    struct pic *pic = dev;
    struct pic_chip *c = &pic->chip[offset & 1];
    u8 was = chip_level_mask(c);
    c->elcr = (u8)value & writable[offset & 1];
    /* What became level-triggered follows its line at once. */
    u8 now_level = chip_level_mask(c) & (u8)~was;
    c->irr = (c->irr & (u8)~now_level) | (c->lines & now_level);
    pic_update(pic);
}

static const struct io_ops master_ops = {master_read, master_write, .max_size = 1};
static const struct io_ops slave_ops = {slave_read, slave_write, .max_size = 1};
static const struct io_ops elcr_ops = {elcr_read, elcr_write, .max_size = 1};

void pic_reset(struct pic *pic)
{
    for (unsigned n = 0; n < 2; n++) {
        struct pic_chip *c = &pic->chip[n];
        u8 lines = c->lines;
        /* Before its initialization a chip does nothing of use: all inputs are masked. */
        *c = (struct pic_chip){.lines = lines, .imr = 0xff, .lowest = 7, .icw4 = ICW4_8086};
    }
    /* The cascade of a chip set's pair is wired, whatever was programmed before. */
    pic->chip[MASTER].icw3 = BIT(CASCADE);
    pic->chip[SLAVE].icw3 = CASCADE;
    pic_update(pic);
}

static void pic_save(const void *dev, void *out)
{
    const struct pic *pic = dev;
    struct pic_state *s = out;
    for (unsigned n = 0; n < 2; n++) {
        const struct pic_chip *c = &pic->chip[n];
        s->irr[n] = c->irr, s->isr[n] = c->isr, s->imr[n] = c->imr;
        s->lines[n] = c->lines, s->elcr[n] = c->elcr, s->lowest[n] = c->lowest;
        s->icw1[n] = c->icw1, s->icw2[n] = c->icw2, s->icw3[n] = c->icw3, s->icw4[n] = c->icw4;
        s->init_step[n] = c->init_step;
        s->read_isr[n] = c->read_isr, s->poll[n] = c->poll;
        s->special_mask[n] = c->special_mask, s->rotate_aeoi[n] = c->rotate_aeoi;
    }
    s->intr = pic->intr;
}

static int pic_check(const void *dev, const void *in, struct error *err)
{
    const struct pic_state *s = in;
    for (unsigned n = 0; n < 2; n++)
        if (s->init_step[n] == 1 || s->init_step[n] > 4)
            return error_set(err, EINVAL, "pic: no initialization sequence has a step %u", s->init_step[n]);
    return 0;
}

/* Drives nothing: whoever listens to the output has a record of its own. */
static void pic_load(void *dev, const void *in)
{
    struct pic *pic = dev;
    const struct pic_state *s = in;
    for (unsigned n = 0; n < 2; n++)
        pic->chip[n] = (struct pic_chip){
            .irr = s->irr[n],
            .isr = s->isr[n],
            .imr = s->imr[n],
            .lines = s->lines[n],
            .elcr = s->elcr[n],
            .lowest = s->lowest[n],
            .icw1 = s->icw1[n],
            .icw2 = s->icw2[n],
            .icw3 = s->icw3[n],
            .icw4 = s->icw4[n],
            .init_step = s->init_step[n],
            .read_isr = s->read_isr[n],
            .poll = s->poll[n],
            .special_mask = s->special_mask[n],
            .rotate_aeoi = s->rotate_aeoi[n],
        };
    pic->intr = s->intr;
}

#define BYTES(field) STATE_ARRAY(struct pic_state, field, u8)
#define BYTES_MAX(field, m)                                                                                  \
    {                                                                                                        \
#field, offsetof(struct pic_state, field), 1, 2, m                                                   \
    }
static const struct state_field pic_fields[] = {
    BYTES(irr),
    BYTES(isr),
    BYTES(imr),
    BYTES(lines),
    BYTES(elcr),
    BYTES_MAX(lowest, 7),
    BYTES(icw1),
    BYTES(icw2),
    BYTES(icw3),
    BYTES_MAX(icw4, 0x1f),
    BYTES_MAX(init_step, 4),
    BYTES_MAX(read_isr, 1),
    BYTES_MAX(poll, 1),
    BYTES_MAX(special_mask, 1),
    BYTES_MAX(rotate_aeoi, 1),
    STATE_BOOL(struct pic_state, intr),
};

static const struct state_desc pic_desc = {
    .name = "pic",
    .version = 1,
    .size = sizeof(struct pic_state),
    .fields = pic_fields,
    .field_count = ARRAY_LEN(pic_fields),
    .save = pic_save,
    .check = pic_check,
    .load = pic_load,
};

int pic_create(struct pic **out, const struct device_env *env, struct irq_line intr, struct error *err)
{
    struct pic *pic = calloc(1, sizeof *pic);
    if (!pic || state_set_add(env->state, &pic_desc, pic, 0) < 0) {
        free(pic);
        return error_set(err, ENOMEM, "no memory for the interrupt controllers");
    }
    pic->out = intr;
    pic->mem = env->mem;
    pic->log = env->log;
    pic->ports[MASTER] = (struct port_region){"pic master", 0x20, 2, &master_ops, pic};
    pic->ports[SLAVE] = (struct port_region){"pic slave", 0xa0, 2, &slave_ops, pic};
    pic->elcr = (struct port_region){"elcr", 0x4d0, 2, &elcr_ops, pic};
    port_map(env->mem, &pic->ports[MASTER]);
    port_map(env->mem, &pic->ports[SLAVE]);
    port_map(env->mem, &pic->elcr);
    pic_reset(pic);
    *out = pic;
    return 0;
}

void pic_destroy(struct pic *pic)
{
    if (!pic)
        return;
    port_unmap(pic->mem, &pic->ports[MASTER]);
    port_unmap(pic->mem, &pic->ports[SLAVE]);
    port_unmap(pic->mem, &pic->elcr);
    free(pic);
}
