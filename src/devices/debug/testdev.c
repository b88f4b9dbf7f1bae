#include "devices/debug/testdev.h"

#include <stdlib.h>

#include "base/bytes.h"

#define DATA_PORT   0xe0
#define FLUSH_PORT  0xe4
#define BYTE_PORT   0xe8
#define LINE_PORT   0x2000
#define MEMORY_BASE 0xff000000ull
#define MEMORY_SIZE 0x10000

struct testdev {
    struct device_env env;
    struct irq_line lines[TESTDEV_LINES];
    struct port_region data_ports, flush_ports, byte_ports, line_ports;
    struct mem_region memory;
    u8 data[4];
    u8 levels[TESTDEV_LINES];
    u8 bytes[MEMORY_SIZE];
};

/* The dispatch keeps offset + size within the four ports. */
static u64 data_read(void *opaque, u64 offset, unsigned size)
{
    struct testdev *dev = opaque;
    return load_le(dev->data + offset, size);
}

static void data_write(void *opaque, u64 offset, unsigned size, u64 value)
{
    struct testdev *dev = opaque;
    store_le(dev->data + offset, size, value);
}

static const struct io_ops data_ops = {.read = data_read, .write = data_write, .max_size = 4};
static const struct io_ops byte_ops = {.read = data_read, .write = data_write, .max_size = 1};

static void flush_write(void *opaque, u64 offset, unsigned size, u64 value) {}

static const struct io_ops flush_ops = {.write = flush_write, .max_size = 4};

static void line_write(void *opaque, u64 offset, unsigned size, u64 value)
{
    struct testdev *dev = opaque;
    dev->levels[offset] = (u8)value != 0;
    irq_set(&dev->lines[offset], dev->levels[offset]);
}

static const struct io_ops line_ops = {.write = line_write, .max_size = 1};

static u64 memory_read(void *opaque, u64 offset, unsigned size)
{
    struct testdev *dev = opaque;
    return load_le(dev->bytes + offset, size);
}

static void memory_write(void *opaque, u64 offset, unsigned size, u64 value)
{
    struct testdev *dev = opaque;
    store_le(dev->bytes + offset, size, value);
}

static const struct io_ops memory_ops = {.read = memory_read, .write = memory_write, .max_size = 8};

void testdev_reset(struct testdev *dev)
{
    memset(dev->data, 0, sizeof dev->data);
    memset(dev->bytes, 0, sizeof dev->bytes);
    for (unsigned i = 0; i < TESTDEV_LINES; i++) {
        if (dev->levels[i])
            irq_set(&dev->lines[i], false);
        dev->levels[i] = 0;
    }
}

struct testdev_state {
    u8 data[4];
    u8 levels[TESTDEV_LINES];
    u8 bytes[MEMORY_SIZE];
};

static const struct state_field testdev_fields[] = {
    STATE_ARRAY(struct testdev_state, data, u8),
    {"levels", offsetof(struct testdev_state, levels), 1, TESTDEV_LINES, 1},
    STATE_ARRAY(struct testdev_state, bytes, u8),
};

static void testdev_save(const void *opaque, void *out)
{
    const struct testdev *dev = opaque;
    struct testdev_state *s = out;
    memcpy(s->data, dev->data, sizeof s->data);
    memcpy(s->levels, dev->levels, sizeof s->levels);
    memcpy(s->bytes, dev->bytes, sizeof s->bytes);
}

static void testdev_load(void *opaque, const void *state)
{
    struct testdev *dev = opaque;
    const struct testdev_state *s = state;
    memcpy(dev->data, s->data, sizeof dev->data);
    memcpy(dev->levels, s->levels, sizeof dev->levels);
    memcpy(dev->bytes, s->bytes, sizeof dev->bytes);
    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        irq_set(&dev->lines[i], dev->levels[i]);
}

static const struct state_desc testdev_desc = {
    .name = "testdev",
    .version = 1,
    .size = sizeof(struct testdev_state),
    .fields = testdev_fields,
    .field_count = ARRAY_LEN(testdev_fields),
    .save = testdev_save,
    .load = testdev_load,
};

static void map_ports(struct testdev *dev, struct port_region *region, const char *name, u16 base, u32 count,
                      const struct io_ops *ops)
{
    *region = (struct port_region){.name = name, .base = base, .count = count, .ops = ops, .dev = dev};
    port_map(dev->env.mem, region);
}

int testdev_create(struct testdev **out, const struct device_env *env,
                   const struct irq_line lines[TESTDEV_LINES], struct error *err)
{
    struct testdev *dev = calloc(1, sizeof *dev);
    if (!dev)
        return error_set(err, ENOMEM, "no memory for the test device");
    dev->env = *env;
    memcpy(dev->lines, lines, sizeof dev->lines);
    int rc = state_set_add(env->state, &testdev_desc, dev, 0);
    if (rc < 0) {
        free(dev);
        return error_set(err, -rc, "no memory for the test device's saved state");
    }
    map_ports(dev, &dev->data_ports, "testdev-data", DATA_PORT, 4, &data_ops);
    map_ports(dev, &dev->flush_ports, "testdev-flush", FLUSH_PORT, 4, &flush_ops);
    map_ports(dev, &dev->byte_ports, "testdev-bytes", BYTE_PORT, 4, &byte_ops);
    map_ports(dev, &dev->line_ports, "testdev-lines", LINE_PORT, TESTDEV_LINES, &line_ops);
    dev->memory = (struct mem_region){.name = "testdev-memory",
                                      .gpa = MEMORY_BASE,
                                      .size = MEMORY_SIZE,
                                      .kind = MEM_IO,
                                      .ops = &memory_ops,
                                      .dev = dev};
    mem_map(env->mem, &dev->memory);
    *out = dev;
    return 0;
}

void testdev_destroy(struct testdev *dev)
{
    if (!dev)
        return;
    port_unmap(dev->env.mem, &dev->data_ports);
    port_unmap(dev->env.mem, &dev->flush_ports);
    port_unmap(dev->env.mem, &dev->byte_ports);
    port_unmap(dev->env.mem, &dev->line_ports);
    mem_unmap(dev->env.mem, &dev->memory);
    free(dev);
}
