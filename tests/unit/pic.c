/* The 8259A pair, against the data sheet (order number 231468). */
#include "devices/irq/pic.h"

#include "tests/chips.h"

static struct pic *pic;
static struct wire intr;

static void setup(void)
{
    board_setup();
    intr = (struct wire){0};
    CHECK(pic_create(&pic, &board.env, wire_line(&intr, 0), NULL) == 0);
}

static void teardown(void)
{
    pic_destroy(pic);
    board_teardown();
}

static void set(unsigned irq, bool level)
{
    struct irq_line line = pic_line(pic, irq);
    irq_set(&line, level);
}

static void chip_init(u16 port, u8 icw1, u8 icw2, u8 icw3, u8 icw4)
{
    outb(port, icw1);
    outb(port + 1, icw2);
    if (!(icw1 & 2))
        outb(port + 1, icw3);
    if (icw1 & 1)
        outb(port + 1, icw4);
}

/* As every PC does: edge, cascade, vectors 20h and 28h. */
static void pc_init(u8 icw4)
{
    chip_init(0x20, 0x11, 0x20, 0x04, icw4);
    chip_init(0xa0, 0x11, 0x28, 0x02, icw4 & ~0x10);
}

static u8 irr(u16 port)
{
    outb(port, 0x0a);
    return inb(port);
}

static u8 isr(u16 port)
{
    outb(port, 0x0b);
    return inb(port);
}

static void test_vectors_and_priority(void)
{
    setup();
    pc_init(1);
    set(5, true);
    set(3, true);
    CHECK(intr.level && pic_is_pending(pic));
    CHECK_EQ(irr(0x20), 0x28);
    CHECK_EQ(pic_ack(pic), 0x23);
    CHECK(!intr.level); /* 5 is lower than 3, which is in service */
    CHECK_EQ(isr(0x20), 0x08);
    CHECK_EQ(irr(0x20), 0x20);
    set(1, true);
    CHECK(intr.level); /* nests */
    CHECK_EQ(pic_ack(pic), 0x21);
    CHECK_EQ(isr(0x20), 0x0a);
    outb(0x20, 0x20); /* non-specific EOI ends 1, the highest */
    CHECK_EQ(isr(0x20), 0x08);
    outb(0x20, 0x63); /* specific EOI of 3 */
    CHECK_EQ(isr(0x20), 0);
    CHECK(intr.level);
    CHECK_EQ(pic_ack(pic), 0x25);
    teardown();
}

static void test_mask(void)
{
    setup();
    pc_init(1);
    outb(0x21, 0xfd);
    CHECK_EQ(inb(0x21), 0xfd);
    set(0, true);
    CHECK(!intr.level);
    CHECK_EQ(irr(0x20), 1); /* requests are seen in spite of the mask */
    outb(0x21, 0xfc);
    CHECK(intr.level);
    outb(0x21, 0xff);
    CHECK(!intr.level);
    teardown();
}

static void test_cascade(void)
{
    setup();
    pc_init(1);
    set(12, true);
    CHECK(intr.level);
    CHECK_EQ(irr(0x20), 0x04);
    CHECK_EQ(irr(0xa0), 0x10);
    CHECK_EQ(pic_ack(pic), 0x2c);
    CHECK_EQ(isr(0x20), 0x04);
    CHECK_EQ(isr(0xa0), 0x10);
    /* Fully nested: a higher one of the slave has to wait for the master's EOI ... */
    set(9, true);
    CHECK(!intr.level);
    set(1, true); /* ... but not a higher one of the master. */
    CHECK(intr.level);
    CHECK_EQ(pic_ack(pic), 0x21);
    outb(0x20, 0x61);
    outb(0x20, 0x62);
    CHECK(intr.level);
    CHECK_EQ(pic_ack(pic), 0x29);
    outb(0xa0, 0x20); /* ends 9 */
    CHECK_EQ(isr(0xa0), 0x10);
    outb(0x20, 0x20);
    outb(0xa0, 0x20);
    CHECK_EQ(isr(0xa0), 0);
    set(2, true); /* connected to nothing */
    CHECK(!intr.level);
    teardown();
}

static void test_special_fully_nested(void)
{
    setup();
    pc_init(0x11);
    set(12, true);
    CHECK_EQ(pic_ack(pic), 0x2c);
    set(14, true);
    CHECK(!intr.level); /* the slave resolves its own priorities */
    set(9, true);
    CHECK(intr.level);
    CHECK_EQ(pic_ack(pic), 0x29);
    set(3, true); /* below the slave in service */
    CHECK(!intr.level);
    outb(0xa0, 0x61);
    outb(0xa0, 0x64);
    CHECK(intr.level);
    CHECK_EQ(pic_ack(pic), 0x2e);
    teardown();
}

static void test_edge_and_level(void)
{
    setup();
    pc_init(1);
    set(5, true);
    CHECK_EQ(pic_ack(pic), 0x25);
    outb(0x20, 0x20);
    CHECK(!intr.level); /* an edge counts once */
    set(5, false);
    set(5, true);
    CHECK(intr.level);
    set(5, false); /* gone before INTA */
    CHECK(!intr.level);
    outb(0x4d0, 0xff);
    outb(0x4d1, 0xff);
    CHECK_EQ(inb(0x4d0), 0xf8); /* 0, 1, 2 are always edge-triggered */
    CHECK_EQ(inb(0x4d1), 0xde); /* 8 and 13, too */
    set(5, true);
    CHECK_EQ(pic_ack(pic), 0x25);
    CHECK_EQ(irr(0x20), 0x20); /* a level asks on */
    outb(0x20, 0x20);
    CHECK(intr.level);
    set(5, false);
    CHECK(!intr.level);
    /* A line that is high when its input becomes level-triggered is a request. */
    outb(0x4d0, 0);
    set(6, true);
    CHECK_EQ(pic_ack(pic), 0x26);
    outb(0x20, 0x20);
    CHECK(!intr.level);
    outb(0x4d0, 0x40);
    CHECK(intr.level);
    teardown();
}

static void test_spurious(void)
{
    setup();
    pc_init(1);
    CHECK_EQ(pic_ack(pic), 0x27);
    CHECK_EQ(isr(0x20), 0);
    /* The slave's request goes away between the master's and its own acknowledge only inside a chip; masking
     * it takes INT down at both. */
    set(10, true);
    outb(0xa1, 0xff);
    CHECK(!intr.level);
    CHECK_EQ(pic_ack(pic), 0x27);
    teardown();
}

static void test_rotation(void)
{
    setup();
    pc_init(1);
    outb(0x20, 0xc3); /* set priority: 3 is lowest, 4 highest */
    set(2, false);
    set(1, true);
    set(4, true);
    set(3, true);
    CHECK_EQ(pic_ack(pic), 0x24);
    outb(0x20, 0xa0); /* rotate on non-specific EOI: 4 becomes lowest, 5 is highest, then 6, 7, 0, 1 */
    CHECK_EQ(pic_ack(pic), 0x21);
    outb(0x20, 0xe1); /* rotate on specific EOI: 1 becomes lowest */
    CHECK_EQ(pic_ack(pic), 0x23);
    set(1, false);
    set(1, true);
    CHECK(!intr.level); /* 1 is below 3 now */
    outb(0x20, 0x20);
    CHECK_EQ(pic_ack(pic), 0x21);
    teardown();
}

static void test_auto_eoi(void)
{
    setup();
    pc_init(3);
    set(4, true);
    set(6, true);
    CHECK_EQ(pic_ack(pic), 0x24);
    CHECK_EQ(isr(0x20), 0);
    CHECK(intr.level);
    CHECK_EQ(intr.rises, 2); /* INT fell between the two */
    CHECK_EQ(pic_ack(pic), 0x26);
    outb(0x20, 0x80); /* rotate in AEOI mode */
    set(4, false);
    set(4, true);
    CHECK_EQ(pic_ack(pic), 0x24); /* now 4 is lowest */
    set(4, false);
    set(4, true);
    set(5, true);
    CHECK_EQ(pic_ack(pic), 0x25);
    CHECK_EQ(pic_ack(pic), 0x24);
    outb(0x20, 0x00); /* cleared: 4 stays lowest, nothing rotates */
    set(5, false);
    set(5, true);
    CHECK_EQ(pic_ack(pic), 0x25);
    set(5, false);
    set(5, true);
    set(6, false);
    set(6, true);
    CHECK_EQ(pic_ack(pic), 0x25);
    teardown();
}

static void test_special_mask(void)
{
    setup();
    pc_init(1);
    set(3, true);
    CHECK_EQ(pic_ack(pic), 0x23);
    set(5, true);
    CHECK(!intr.level);
    outb(0x21, 0x08); /* mask 3, set special mask mode: lower levels come through */
    outb(0x20, 0x68);
    CHECK(intr.level);
    CHECK_EQ(pic_ack(pic), 0x25);
    outb(0x20, 0x20); /* a non-specific EOI does not see the masked level */
    CHECK_EQ(isr(0x20), 0x08);
    outb(0x20, 0x20);
    CHECK_EQ(isr(0x20), 0x08);
    outb(0x20, 0x48); /* out of it again */
    outb(0x20, 0x20);
    CHECK_EQ(isr(0x20), 0);
    teardown();
}

static void test_poll(void)
{
    setup();
    pc_init(1);
    outb(0x20, 0x0c);
    CHECK_EQ(inb(0x20) & 0x80, 0);
    set(6, true);
    set(1, true);
    outb(0x20, 0x0c);
    CHECK_EQ(inb(0x21), 0x81); /* at either address */
    CHECK_EQ(isr(0x20), 0x02);
    CHECK_EQ(inb(0x21), 0x00); /* once */
    outb(0x20, 0x20);
    set(11, true);
    outb(0x20, 0x0c);
    CHECK_EQ(inb(0x20), 0x82);
    outb(0xa0, 0x0c);
    CHECK_EQ(inb(0xa0), 0x83);
    CHECK_EQ(isr(0xa0), 0x08);
    teardown();
}

static void test_init(void)
{
    setup();
    set(4, true);
    set(4, false);
    set(4, true);
    CHECK(!intr.level); /* power-on: nothing comes through */
    set(4, false);
    pc_init(1);
    set(3, true);
    CHECK_EQ(pic_ack(pic), 0x23);
    outb(0x21, 0x55);
    outb(0x20, 0xc3);
    outb(0x20, 0x0b);
    set(7, true);
    outb(0x20, 0x11); /* ICW1: IMR, edges, priorities, status read */
    CHECK(!intr.level);
    CHECK_EQ(inb(0x20), 0); /* IRR again */
    outb(0x21, 0x40);
    outb(0x21, 0x04);
    outb(0x21, 0x01);
    CHECK_EQ(inb(0x21), 0);
    set(7, false);
    set(7, true);
    CHECK_EQ(pic_ack(pic), 0x47);
    /* Single, no ICW4: ICW2 is the last; the MCS-80 low address byte with interval 4 (ADI) and 8. */
    chip_init(0x20, 0xb6, 0x77, 0, 0);
    outb(0x21, 0);
    set(5, true);
    CHECK_EQ(pic_ack(pic), 0xb4); /* A7..A5 = 101, level << 2 */
    chip_init(0x20, 0xf2, 0x77, 0, 0);
    set(5, false);
    set(5, true);
    CHECK_EQ(pic_ack(pic), 0xe8); /* A7, A6, level << 3 */
    /* LTIM: level-triggered whatever ELCR says. */
    chip_init(0x20, 0x19, 0x20, 4, 1);
    CHECK_EQ(pic_ack(pic), 0x23); /* 3, 5 and 7 are still high */
    teardown();
}

static void test_state(void)
{
    setup();
    pc_init(1);
    outb(0x4d1, 0x08);
    set(11, true);
    set(4, true);
    CHECK_EQ(pic_ack(pic), 0x2b);
    struct snapshot s = board_save();
    outb(0x20, 0x20);
    outb(0xa0, 0x20);
    pic_reset(pic);
    CHECK_EQ(inb(0x4d1), 0);
    board_restore(s);
    CHECK_EQ(inb(0x4d1), 0x08);
    CHECK_EQ(isr(0x20), 0x04);
    CHECK_EQ(isr(0xa0), 0x08);
    CHECK_EQ(irr(0x20), 0x10);
    set(11, false);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    CHECK_EQ(pic_ack(pic), 0x24);
    teardown();
}

int main(void)
{
    TAP_RUN(test_vectors_and_priority);
    TAP_RUN(test_mask);
    TAP_RUN(test_cascade);
    TAP_RUN(test_special_fully_nested);
    TAP_RUN(test_edge_and_level);
    TAP_RUN(test_spurious);
    TAP_RUN(test_rotation);
    TAP_RUN(test_auto_eoi);
    TAP_RUN(test_special_mask);
    TAP_RUN(test_poll);
    TAP_RUN(test_init);
    TAP_RUN(test_state);
    return tap_done();
}
