/* Queues and transport, with a device that answers each chain with the sum of the bytes that it read: chains
 * of all forms, hostile ones, notifications in both directions, the registers of both generations. */
#include "virtio_driver.h"

#define F_OWN BIT(3)
#define F_BAD BIT(4) /* does not go with F_OWN */

struct summer {
    struct virtio_device dev;
    struct virtq_chain chain;
    unsigned chains;
    bool lazy; /* takes nothing */
    u32 config;
};

static void sum_kick(struct virtio_device *dev, unsigned queue)
{
    struct summer *s = container_of(dev, struct summer, dev);
    struct virtq *q = &dev->queue[queue];
    u8 byte;
    while (!s->lazy && virtq_pop(q, &s->chain)) {
        u32 sum = 0;
        for (u64 at = 0; virtq_chain_read(&s->chain, at, &byte, 1); at++)
            sum += byte;
        virtq_push(q, &s->chain, (u32)virtq_chain_write(&s->chain, 0, &sum, sizeof sum));
        s->chains++;
    }
    virtq_set_quiet(q, false);
    virtio_signal(dev, queue);
}

static void sum_config_read(struct virtio_device *dev, u8 *config)
{
    store_le32(config, container_of(dev, struct summer, dev)->config);
}

static void sum_config_write(struct virtio_device *dev, unsigned offset, unsigned size, u32 value)
{
    store_le((u8 *)&container_of(dev, struct summer, dev)->config + offset, size, value);
}

static bool sum_features_check(const struct virtio_device *dev, u64 features)
{
    return !((features & F_OWN) && (features & F_BAD));
}

static const struct virtio_ops sum_ops = {.config_read = sum_config_read,
                                          .config_write = sum_config_write,
                                          .features_check = sum_features_check,
                                          .kick = sum_kick};

static void summer_init(struct rig *r, struct summer *s)
{
    const struct virtio_info info = {.name = "summer",
                                     .type = VIRTIO_RNG,
                                     .features = F_OWN | F_BAD,
                                     .config_size = 6,
                                     .queue_count = 2,
                                     .queue_size = 64};
    rig_init(r);
    memset(s, 0, sizeof *s);
    CHECK(virtio_init(&s->dev, &r->f.env, &sum_ops, &info, NULL) == 0);
    rig_plug(r, &s->dev);
}

static void summer_finish(struct rig *r, struct summer *s)
{
    rig_unplug(r);
    virtio_finish(&s->dev);
    virtq_chain_finish(&s->chain);
    rig_finish(r);
}

static void test_negotiation(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    CHECK_EQ(rig_cfg(&r, 0, 4), 0x10051af4);
    CHECK_EQ(rig_cfg(&r, 0x2c, 4), 0x00041af4);
    CHECK_EQ(rig_features(&r),
             F_OWN | F_BAD | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1);
    rig_write(&r, RIG_COMMON, 4, 2);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 4, 4), 0);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 18, 2), 2);
    CHECK(rig_negotiate(&r, FEATURE_BASE | F_OWN));
    rig_write(&r, RIG_COMMON + 12, 4, F_BAD); /* too late: agreed on already */
    rig_write(&r, RIG_COMMON + 8, 4, 0);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 12, 4), F_OWN);
    CHECK(!rig_negotiate(&r, F_OWN));                        /* no version 1 */
    CHECK(!rig_negotiate(&r, FEATURE_BASE | BIT(20)));       /* not offered */
    CHECK(!rig_negotiate(&r, FEATURE_BASE | F_OWN | F_BAD)); /* not together */
    rig_set_status(&r, VIRTIO_DRIVER_OK);                    /* bits are only added */
    CHECK_EQ(rig_status(&r), VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK);
    rig_set_status(&r, 0);
    CHECK_EQ(rig_status(&r), 0);
    summer_finish(&r, &s);
}

static void test_queue_registers(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    rig_negotiate(&r, FEATURE_BASE);
    rig_write(&r, RIG_COMMON + 22, 2, 1);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 24, 2), 64);
    rig_write(&r, RIG_COMMON + 24, 2, 48); /* no power of two */
    rig_write(&r, RIG_COMMON + 24, 2, 128);
    rig_write(&r, RIG_COMMON + 24, 2, 0);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 24, 2), 64);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 30, 2), 1);
    rig_write(&r, RIG_COMMON + 26, 2, 3); /* vectors 0..2 */
    CHECK_EQ(rig_read(&r, RIG_COMMON + 26, 2), 0xffff);
    rig_write(&r, RIG_COMMON + 16, 2, 2);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 16, 2), 2);
    rig_queue_enable(&r, 1);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 32, 8), Q_DESC(1));
    CHECK_EQ(rig_read(&r, RIG_COMMON + 28, 2), 1);
    rig_write(&r, RIG_COMMON + 32, 4, 0x5000); /* enabled: stays */
    rig_write(&r, RIG_COMMON + 24, 2, 32);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 32, 8), Q_DESC(1));
    CHECK_EQ(rig_read(&r, RIG_COMMON + 24, 2), Q_SIZE);
    rig_write(&r, RIG_COMMON + 22, 2, 2); /* no such queue */
    CHECK_EQ(rig_read(&r, RIG_COMMON + 24, 2), 0);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 28, 2), 0);
    rig_write(&r, RIG_COMMON + 28, 2, 1);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 56, 4), 0);
    CHECK_EQ(rig_read(&r, RIG_COMMON + 0xffc, 4), 0);
    summer_finish(&r, &s);
}

/* Bytes 1, 2, 3, ... at DATA. */
static void fill_data(struct rig *r)
{
    for (unsigned i = 0; i < 64; i++)
        r->hva[DATA + i] = (u8)(i + 1);
}

static void test_chains(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    rig_start(&r, VIRTIO_F_INDIRECT_DESC, 2);
    fill_data(&r);
    /* Two readable buffers, an empty one, and a writable one in two pieces. */
    rig_desc(&r, Q_DESC(0), 5, DATA, 2, NEXT, 7);
    rig_desc(&r, Q_DESC(0), 7, DATA + 2, 0, NEXT, 1);
    rig_desc(&r, Q_DESC(0), 1, DATA + 2, 1, NEXT, 2);
    rig_desc(&r, Q_DESC(0), 2, DATA + 0x1000, 1, NEXT | WRITE, 3);
    rig_desc(&r, Q_DESC(0), 3, DATA + 0x1001, 7, WRITE, 0);
    rig_offer(&r, 0, 5);
    rig_notify(&r, 0);
    CHECK_EQ(rig_used(&r, 0), 1);
    CHECK_EQ(rig_used_id(&r, 0, 0), 5);
    CHECK_EQ(rig_used_len(&r, 0, 0), 4);
    CHECK_EQ(load_le32(r.hva + DATA + 0x1000), 6);
    CHECK_EQ(r.messages[1], 1);
    CHECK(atomic_load(&r.block->page_flags[(DATA + 0x1000) >> PAGE_SHIFT]) & RAM_PAGE_DIRTY);
    CHECK(atomic_load(&r.block->page_flags[Q_USED(0) >> PAGE_SHIFT]) & RAM_PAGE_DIRTY);
    /* A direct descriptor, then a table that is not in order. */
    rig_desc(&r, Q_DESC(0), 0, DATA, 1, NEXT, 1);
    rig_desc(&r, Q_DESC(0), 1, Q_INDIRECT + 8, 48, INDIRECT, 0);
    rig_desc(&r, Q_INDIRECT + 8, 0, DATA + 9, 1, NEXT, 2);
    rig_desc(&r, Q_INDIRECT + 8, 2, DATA + 19, 1, NEXT, 1);
    rig_desc(&r, Q_INDIRECT + 8, 1, DATA + 0x1000, 4, WRITE, 0);
    rig_offer(&r, 0, 0);
    rig_notify(&r, 0);
    CHECK_EQ(rig_used(&r, 0), 2);
    CHECK_EQ(load_le32(r.hva + DATA + 0x1000), 1 + 10 + 20);
    /* The rings wrap. */
    for (unsigned i = 0; i < 3 * Q_SIZE; i++) {
        rig_offer(&r, 0, 5);
        if (i % 3 == 2)
            rig_notify(&r, 0);
    }
    CHECK_EQ(rig_used(&r, 0), 2 + 3 * Q_SIZE);
    CHECK_EQ(s.chains, 2 + 3 * Q_SIZE);
    CHECK_EQ(rig_status(&r) & VIRTIO_NEEDS_RESET, 0);
    summer_finish(&r, &s);
}

/* What a guest must not do; each breaks the device until its reset, and nothing else. */
static void offend(struct rig *r, unsigned which)
{
    switch (which) {
    case 0: /* a loop */
        rig_desc(r, Q_DESC(0), 0, DATA, 1, NEXT, 1);
        rig_desc(r, Q_DESC(0), 1, DATA, 1, NEXT, 0);
        break;
    case 1: /* a descriptor that is not there */
        rig_desc(r, Q_DESC(0), 0, DATA, 1, NEXT, Q_SIZE);
        break;
    case 2: /* a buffer in no memory */
        rig_desc(r, Q_DESC(0), 0, RIG_RAM - 1, 2, 0, 0);
        break;
    case 3: /* in a device's memory */
        rig_desc(r, Q_DESC(0), 0, RIG_BAR, 4, WRITE, 0);
        break;
    case 4: /* over the end of the address space */
        rig_desc(r, Q_DESC(0), 0, ~0ull - 3, 8, WRITE, 0);
        break;
    case 5: /* readable after writable */
        rig_desc(r, Q_DESC(0), 0, DATA, 1, NEXT | WRITE, 1);
        rig_desc(r, Q_DESC(0), 1, DATA, 1, 0, 0);
        break;
    case 6: /* a table in a table */
        rig_desc(r, Q_DESC(0), 0, Q_INDIRECT, 16, INDIRECT, 0);
        rig_desc(r, Q_INDIRECT, 0, Q_INDIRECT + 64, 16, INDIRECT, 0);
        break;
    case 7: /* a table with something behind it */
        rig_desc(r, Q_DESC(0), 0, Q_INDIRECT, 16, INDIRECT | NEXT, 1);
        rig_desc(r, Q_INDIRECT, 0, DATA, 1, 0, 0);
        break;
    case 8: /* half an entry */
        rig_desc(r, Q_DESC(0), 0, Q_INDIRECT, 24, INDIRECT, 0);
        break;
    case 9: /* a loop in a table */
        rig_desc(r, Q_DESC(0), 0, Q_INDIRECT, 32, INDIRECT, 0);
        rig_desc(r, Q_INDIRECT, 0, DATA, 1, NEXT, 0);
        break;
    case 10: /* a table that ends before its chain */
        rig_desc(r, Q_DESC(0), 0, Q_INDIRECT, 16, INDIRECT, 0);
        rig_desc(r, Q_INDIRECT, 0, DATA, 1, NEXT, 1);
        break;
    case 11: /* a head that is not there */
        rig_offer(r, 0, Q_SIZE);
        return;
    case 12: /* more available than there are */
        r->avail[0] += Q_SIZE;
        break;
    case 13: /* an empty table */
        rig_desc(r, Q_DESC(0), 0, Q_INDIRECT, 0, INDIRECT, 0);
        break;
    default:
        return;
    }
    rig_offer(r, 0, 0);
}

#define OFFENCES 14

static void test_hostile_chains(void)
{
    for (unsigned which = 0; which < OFFENCES; which++) {
        struct rig r;
        struct summer s;
        summer_init(&r, &s);
        rig_start(&r, VIRTIO_F_INDIRECT_DESC, 2);
        offend(&r, which);
        rig_notify(&r, 0);
        if (s.chains || !(rig_status(&r) & VIRTIO_NEEDS_RESET))
            printf("# offence %u\n", which);
        CHECK_EQ(s.chains, 0);
        CHECK_EQ(rig_status(&r) & VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET);
        CHECK_EQ(r.messages[0], 1); /* the configuration's vector */
        rig_notify(&r, 1);
        rig_notify(&r, 0);
        CHECK_EQ(r.messages[0], 1);
        rig_start(&r, 0, 2); /* and after a reset all is well */
        rig_desc(&r, Q_DESC(0), 0, DATA, 4, WRITE, 0);
        rig_offer(&r, 0, 0);
        rig_notify(&r, 0);
        CHECK_EQ(s.chains, 1);
        summer_finish(&r, &s);
    }
}

static void test_hostile_rings(void)
{
    static const u64 bad[] = {RIG_RAM - 8, 0x10008, RIG_BAR, ~0ull << 4, 1ull << 40};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct rig r;
        struct summer s;
        summer_init(&r, &s);
        rig_negotiate(&r, FEATURE_BASE);
        rig_write(&r, RIG_COMMON + 32, 8, bad[i]);
        rig_write(&r, RIG_COMMON + 40, 8, Q_AVAIL(0));
        rig_write(&r, RIG_COMMON + 48, 8, Q_USED(0));
        rig_write(&r, RIG_COMMON + 28, 2, 1);
        rig_set_status(&r, rig_status(&r) | VIRTIO_DRIVER_OK);
        rig_notify(&r, 0);
        CHECK(rig_status(&r) & VIRTIO_NEEDS_RESET);
        summer_finish(&r, &s);
    }
}

static void test_interrupt_suppression(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    rig_start(&r, 0, 2);
    rig_desc(&r, Q_DESC(0), 0, DATA, 4, WRITE, 0);
    store_le16(r.hva + Q_AVAIL(0), 1); /* no interrupt, please */
    rig_offer(&r, 0, 0);
    rig_notify(&r, 0);
    CHECK_EQ(rig_used(&r, 0), 1);
    CHECK_EQ(r.messages[1], 0);
    store_le16(r.hva + Q_AVAIL(0), 0);
    rig_notify(&r, 0); /* nothing new */
    CHECK_EQ(r.messages[1], 0);
    rig_offer(&r, 0, 0);
    rig_notify(&r, 0);
    CHECK_EQ(r.messages[1], 1);
    /* With the event index. */
    rig_start(&r, VIRTIO_F_EVENT_IDX, 2);
    rig_desc(&r, Q_DESC(0), 0, DATA, 4, WRITE, 0);
    rig_used_event(&r, 0, 2);
    for (unsigned i = 0; i < 5; i++) {
        rig_offer(&r, 0, 0);
        rig_notify(&r, 0);
    }
    CHECK_EQ(r.messages[1], 1 + 1); /* for the third */
    CHECK_EQ(rig_avail_event(&r, 0), 5);
    rig_used_event(&r, 0, 6);
    rig_offer(&r, 0, 0);
    rig_offer(&r, 0, 0);
    rig_offer(&r, 0, 0);
    rig_notify(&r, 0); /* 5, 6, 7 at once: it is among them */
    CHECK_EQ(r.messages[1], 1 + 2);
    summer_finish(&r, &s);
}

static void test_pin(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    CHECK(rig_negotiate(&r, FEATURE_BASE));
    rig_queue_enable(&r, 0);
    rig_set_status(&r, rig_status(&r) | VIRTIO_DRIVER_OK);
    struct probe *pin = &r.links[(RIG_SLOT + 3) % 4];
    rig_desc(&r, Q_DESC(0), 0, DATA, 4, WRITE, 0);
    rig_offer(&r, 0, 0);
    rig_notify(&r, 0);
    CHECK(pin->level);
    CHECK_EQ(rig_read(&r, RIG_ISR, 1), 1);
    CHECK(!pin->level);
    CHECK_EQ(rig_read(&r, RIG_ISR, 1), 0);
    u8 generation = (u8)rig_read(&r, RIG_COMMON + 21, 1);
    virtio_config_changed(&s.dev);
    CHECK(pin->level);
    CHECK(rig_read(&r, RIG_COMMON + 21, 1) != generation);
    CHECK_EQ(rig_read(&r, RIG_ISR, 1), 2);
    rig_offer(&r, 0, 0);
    rig_notify(&r, 0);
    rig_set_status(&r, 0);
    CHECK(!pin->level);
    summer_finish(&r, &s);
}

static void test_not_live(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    CHECK(rig_negotiate(&r, FEATURE_BASE));
    rig_queue_enable(&r, 0);
    rig_desc(&r, Q_DESC(0), 0, DATA, 4, WRITE, 0);
    rig_offer(&r, 0, 0);
    rig_notify(&r, 0); /* not ready yet */
    CHECK_EQ(s.chains, 0);
    rig_cfg_write(&r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    rig_set_status(&r, rig_status(&r) | VIRTIO_DRIVER_OK);
    CHECK_EQ(s.chains, 0); /* no bus master */
    rig_cfg_write(&r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    CHECK_EQ(s.chains, 1);
    rig_notify(&r, 1); /* not enabled */
    rig_notify(&r, 7);
    rig_write(&r, RIG_NOTIFY + 0xffc, 4, 0);
    CHECK_EQ(s.chains, 1);
    summer_finish(&r, &s);
}

/* A chain that comes back after a reset is not given to the new driver. */
static void test_void_chain(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    rig_start(&r, 0, 1);
    s.lazy = true;
    rig_desc(&r, Q_DESC(0), 0, DATA, 4, WRITE, 0);
    rig_offer(&r, 0, 0);
    CHECK(virtq_pop(&s.dev.queue[0], &s.chain));
    s.dev.in_flight = 1;
    u8 before = rig_status(&r);
    rig_set_status(&r, 0);
    CHECK_EQ(rig_status(&r), before); /* not complete */
    s.dev.in_flight = 0;
    CHECK_EQ(rig_status(&r), 0);
    rig_start(&r, 0, 1);
    virtq_push(&s.dev.queue[0], &s.chain, 4);
    CHECK_EQ(rig_used(&r, 0), 0);
    summer_finish(&r, &s);
}

static void test_config(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    s.config = 0x44332211;
    CHECK_EQ(rig_read(&r, RIG_CONFIG, 4), 0x44332211);
    CHECK_EQ(rig_read(&r, RIG_CONFIG + 3, 1), 0x44);
    CHECK_EQ(rig_read(&r, RIG_CONFIG + 1, 2), 0x3322);
    CHECK_EQ(rig_read(&r, RIG_CONFIG + 6, 4), 0);
    rig_write(&r, RIG_CONFIG + 2, 2, 0xabcd);
    CHECK_EQ(s.config, 0xabcd2211);
    rig_write(&r, RIG_CONFIG + 4, 4, ~0u); /* over its end */
    rig_write(&r, RIG_CONFIG + 0x800, 4, ~0u);
    CHECK_EQ(s.config, 0xabcd2211);
    CHECK_EQ(port_read(r.f.mem, RIG_PORT + 20, 4), 0xabcd2211); /* legacy, without MSI-X */
    rig_msix_enable(&r, 1);
    CHECK_EQ(port_read(r.f.mem, RIG_PORT + 24, 4), 0xabcd2211);
    summer_finish(&r, &s);
}

/* The window in the configuration space reaches the same registers. */
static void test_window(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    u8 at = (u8)rig_cfg(&r, PCI_CAPABILITIES, 1);
    while (rig_cfg(&r, at, 1) != 9 || rig_cfg(&r, at + 3u, 1) != 5)
        at = (u8)rig_cfg(&r, at + 1u, 1);
    rig_cfg_write(&r, at + 4u, 1, 4); /* BAR 4 */
    rig_cfg_write(&r, at + 8u, 4, 20);
    rig_cfg_write(&r, at + 12u, 4, 1);
    rig_cfg_write(&r, at + 16u, 4, VIRTIO_ACKNOWLEDGE);
    CHECK_EQ(rig_status(&r), VIRTIO_ACKNOWLEDGE);
    CHECK_EQ(rig_cfg(&r, at + 16u, 1), VIRTIO_ACKNOWLEDGE);
    rig_cfg_write(&r, at + 8u, 4, 0x2000);
    rig_cfg_write(&r, at + 12u, 4, 4);
    s.config = 0x01020304;
    CHECK_EQ(rig_cfg(&r, at + 16u, 4), 0x01020304);
    /* Wrong lengths, places and BARs do nothing. */
    static const u32 wrong[][3] = {{4, 20, 3}, {4, 21, 4},   {4, 0x4000, 4},
                                   {3, 0, 4},  {0xff, 0, 4}, {4, 20, 0}};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        rig_cfg_write(&r, at + 4u, 1, wrong[i][0]);
        rig_cfg_write(&r, at + 8u, 4, wrong[i][1]);
        rig_cfg_write(&r, at + 12u, 4, wrong[i][2]);
        rig_cfg_write(&r, at + 16u, 4, 0);
        (void)rig_cfg(&r, at + 16u, 4);
    }
    CHECK_EQ(rig_status(&r), VIRTIO_ACKNOWLEDGE);
    summer_finish(&r, &s);
}

static void test_legacy(void)
{
    struct rig r;
    struct summer s;
    summer_init(&r, &s);
    struct mem_space *m = r.f.mem;
    port_write(m, RIG_PORT + 18, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    u32 features = (u32)port_read(m, RIG_PORT, 4);
    CHECK_EQ(features, F_OWN | F_BAD | VIRTIO_F_ANY_LAYOUT | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX);
    port_write(m, RIG_PORT + 4, 4, F_OWN | VIRTIO_F_INDIRECT_DESC | BIT(1));
    CHECK_EQ(port_read(m, RIG_PORT + 4, 4), F_OWN | VIRTIO_F_INDIRECT_DESC);
    port_write(m, RIG_PORT + 14, 2, 1);
    CHECK_EQ(port_read(m, RIG_PORT + 12, 2), 64);
    CHECK_EQ(port_read(m, RIG_PORT + 8, 4), 0);
    port_write(m, RIG_PORT + 8, 4, DATA >> 12);
    CHECK_EQ(port_read(m, RIG_PORT + 8, 4), DATA >> 12);
    u64 avail = DATA + 64 * 16, used = DATA + 4096; /* 1 KiB of descriptors, 134 bytes of available ring */
    memset(r.hva + DATA, 0, 3 * 4096);
    rig_desc(&r, DATA, 3, DATA + 0x10000, 4, WRITE, 0);
    store_le16(r.hva + avail + 4, 3);
    store_le16(r.hva + avail + 2, 1);
    port_write(m, RIG_PORT + 16, 2, 1); /* before DRIVER_OK: old drivers do that */
    CHECK_EQ(load_le16(r.hva + used + 2), 1);
    CHECK_EQ(load_le32(r.hva + used + 4), 3);
    CHECK(r.links[(RIG_SLOT + 3) % 4].level);
    CHECK_EQ(port_read(m, RIG_PORT + 19, 1), 1);
    CHECK_EQ(port_read(m, RIG_PORT + 19, 1), 0);
    port_write(m, RIG_PORT + 8, 4, 0); /* off */
    store_le16(r.hva + avail + 2, 2);
    port_write(m, RIG_PORT + 16, 2, 1);
    CHECK_EQ(s.chains, 1);
    port_write(m, RIG_PORT + 18, 1, 0);
    CHECK_EQ(port_read(m, RIG_PORT + 18, 1), 0);
    CHECK_EQ(port_read(m, RIG_PORT + 4, 4), 0);
    summer_finish(&r, &s);
}

static void test_saved_state(void)
{
    struct rig r, other;
    struct summer s, t;
    u8 *buf, *again;
    size_t len, len2;
    summer_init(&r, &s);
    rig_start(&r, VIRTIO_F_EVENT_IDX | F_OWN, 2);
    rig_desc(&r, Q_DESC(0), 0, DATA, 4, WRITE, 0);
    for (unsigned i = 0; i < 3; i++) {
        rig_offer(&r, 0, 0);
        rig_notify(&r, 0);
    }
    s.lazy = true;
    rig_offer(&r, 0, 0);
    rig_notify(&r, 0);
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    summer_init(&other, &t);
    memcpy(other.hva, r.hva, RIG_RAM);
    CHECK(state_set_load(other.f.state, buf, len, NULL) == 0);
    CHECK(state_set_save(other.f.state, &again, &len2, NULL) == 0);
    CHECK(len == len2 && !memcmp(buf, again, len));
    loop_run_timers(other.f.loop, 0); /* what was waiting is seen without a notification */
    CHECK_EQ(t.chains, 1);
    CHECK_EQ(rig_used(&other, 0), 4);
    CHECK_EQ(rig_status(&other), rig_status(&r));
    CHECK_EQ(rig_read(&other, RIG_COMMON + 32, 8), rig_read(&r, RIG_COMMON + 32, 8));
    free(again);
    free(buf);
    /* What cannot be is refused. */
    struct virtq *q = &s.dev.queue[1];
    u16 size = q->size;
    q->size = 48;
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    CHECK(state_set_load(other.f.state, buf, len, NULL) < 0);
    free(buf);
    q->size = size;
    s.dev.features |= BIT(20);
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    CHECK(state_set_load(other.f.state, buf, len, NULL) < 0);
    free(buf);
    CHECK_EQ(rig_used(&other, 0), 4);
    summer_finish(&other, &t);
    summer_finish(&r, &s);
}

int main(void)
{
    TAP_RUN(test_negotiation);
    TAP_RUN(test_queue_registers);
    TAP_RUN(test_chains);
    TAP_RUN(test_hostile_chains);
    TAP_RUN(test_hostile_rings);
    TAP_RUN(test_interrupt_suppression);
    TAP_RUN(test_pin);
    TAP_RUN(test_not_live);
    TAP_RUN(test_void_chain);
    TAP_RUN(test_config);
    TAP_RUN(test_window);
    TAP_RUN(test_legacy);
    TAP_RUN(test_saved_state);
    return tap_done();
}
