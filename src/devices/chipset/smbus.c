#include "devices/chipset/smbus.h"

#include <stdlib.h>
#include <string.h>

enum smbus_register {
    SMB_HOST_STATUS,
    SMB_SLAVE_STATUS,
    SMB_HOST_CONTROL,
    SMB_HOST_COMMAND,
    SMB_HOST_ADDRESS,
    SMB_HOST_DATA0,
    SMB_HOST_DATA1,
    SMB_BLOCK_DATA,
    SMB_SLAVE_CONTROL,
    SMB_SHADOW_COMMAND,
    SMB_SLAVE_EVENT,
    SMB_SLAVE_EVENT_HIGH,
    SMB_SLAVE_DATA,
    SMB_SLAVE_DATA_HIGH,
    SMB_REGISTERS,
};

enum status_bit {
    STATUS_BUSY = BIT(0),
    STATUS_INTR = BIT(1),
    STATUS_DEVICE_ERROR = BIT(2),
    STATUS_BUS_ERROR = BIT(3),
    STATUS_FAILED = BIT(4)
};
#define STATUS_EVENTS (STATUS_INTR | STATUS_DEVICE_ERROR | STATUS_BUS_ERROR | STATUS_FAILED)
enum control_bit {
    CONTROL_INTEREN = BIT(0),
    CONTROL_KILL = BIT(1),
    CONTROL_PROTOCOL = 7 << 2,
    CONTROL_START = BIT(6)
};

#define BLOCK_MAX 32

struct smbus_state {
    u8 reg[SMB_REGISTERS];
    u8 block[BLOCK_MAX];
    u8 block_index;
};

struct smbus {
    struct device_env env;
    struct irq_line irq;
    struct port_region ports;
    struct smbus_state s;
};

static void update_irq(struct smbus *bus)
{
    irq_set(&bus->irq, (bus->s.reg[SMB_HOST_CONTROL] & CONTROL_INTEREN) &&
                           (bus->s.reg[SMB_HOST_STATUS] & STATUS_EVENTS));
}

/* A transfer takes no time: nobody answers to any address. */
static void transfer(struct smbus *bus)
{
    log_trace(bus->env.log, TRACE_ACPI, "smbus: protocol %u, address %#x: nobody there",
              (bus->s.reg[SMB_HOST_CONTROL] & CONTROL_PROTOCOL) >> 2, bus->s.reg[SMB_HOST_ADDRESS] >> 1);
    bus->s.reg[SMB_HOST_STATUS] |= STATUS_DEVICE_ERROR;
}

static u64 smbus_read(void *dev, u64 offset, unsigned size)
{
    struct smbus *bus = dev;
    switch (offset) {
    case SMB_HOST_CONTROL: /* reading it starts the block buffer over */
        bus->s.block_index = 0;
        return bus->s.reg[offset];
    case SMB_BLOCK_DATA: {
        u8 v = bus->s.block[bus->s.block_index];
        bus->s.block_index = (bus->s.block_index + 1) % BLOCK_MAX;
        return v;
    }
    default:
        return offset < SMB_REGISTERS ? bus->s.reg[offset] : 0;
    }
}

static void smbus_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct smbus *bus = dev;
    u8 v = (u8)value;
    switch (offset) {
    case SMB_HOST_STATUS:
        bus->s.reg[offset] &= (u8) ~(v & STATUS_EVENTS);
        break;
    case SMB_SLAVE_STATUS: /* nobody sets these */
    case SMB_SHADOW_COMMAND:
    case SMB_SLAVE_DATA:
    case SMB_SLAVE_DATA_HIGH:
        break;
    case SMB_HOST_CONTROL:
        bus->s.reg[offset] = v & (CONTROL_INTEREN | CONTROL_KILL | CONTROL_PROTOCOL); /* START reads as 0 */
        if (v & CONTROL_KILL)
            bus->s.reg[SMB_HOST_STATUS] |= STATUS_FAILED;
        else if (v & CONTROL_START)
            transfer(bus);
        break;
    case SMB_BLOCK_DATA:
        bus->s.block[bus->s.block_index] = v;
        bus->s.block_index = (bus->s.block_index + 1) % BLOCK_MAX;
        break;
    case SMB_SLAVE_CONTROL:
        bus->s.reg[offset] = v & 0x0f;
        break;
    default:
        if (offset < SMB_REGISTERS)
            bus->s.reg[offset] = v;
        break;
    }
    update_irq(bus);
}

static const struct io_ops smbus_ops = {.read = smbus_read, .write = smbus_write, .max_size = 1};

void smbus_move(struct smbus *bus, u16 base)
{
    if (bus->ports.mapped && bus->ports.base == base)
        return;
    port_unmap(bus->env.mem, &bus->ports);
    bus->ports.base = base;
    if (base)
        port_map(bus->env.mem, &bus->ports);
}

void smbus_reset(struct smbus *bus)
{
    memset(&bus->s, 0, sizeof bus->s);
    update_irq(bus);
}

/* --- saved state ------------------------------------------------------------------------------------------
 */

static const struct state_field smbus_fields[] = {
    STATE_ARRAY(struct smbus_state, reg, u8),
    STATE_ARRAY(struct smbus_state, block, u8),
    STATE_FIELD_MAX(struct smbus_state, block_index, BLOCK_MAX - 1),
};

static void smbus_save(const void *dev, void *out)
{
    *(struct smbus_state *)out = ((const struct smbus *)dev)->s;
}

static int smbus_check(const void *dev, const void *state, struct error *err)
{
    const struct smbus_state *s = state;
    if (s->reg[SMB_HOST_STATUS] & (u8)~STATUS_EVENTS)
        return error_set(err, EINVAL, "smbus: a status (%#x) that it never has", s->reg[SMB_HOST_STATUS]);
    return 0;
}

static void smbus_load(void *dev, const void *state)
{
    struct smbus *bus = dev;
    bus->s = *(const struct smbus_state *)state;
    update_irq(bus);
}

static const struct state_desc smbus_desc = {
    .name = "smbus",
    .version = 1,
    .size = sizeof(struct smbus_state),
    .fields = smbus_fields,
    .field_count = ARRAY_LEN(smbus_fields),
    .save = smbus_save,
    .check = smbus_check,
    .load = smbus_load,
};

int smbus_create(struct smbus **out, const struct device_env *env, struct irq_line irq, struct error *err)
{
    struct smbus *bus = calloc(1, sizeof *bus);
    if (!bus || state_set_add(env->state, &smbus_desc, bus, 0) < 0) {
        free(bus);
        return error_set(err, ENOMEM, "no memory for the SMBus controller");
    }
    bus->env = *env;
    bus->irq = irq;
    bus->ports = (struct port_region){.name = "smbus", .count = SMBUS_PORTS, .ops = &smbus_ops, .dev = bus};
    *out = bus;
    return 0;
}

void smbus_destroy(struct smbus *bus)
{
    if (!bus)
        return;
    port_unmap(bus->env.mem, &bus->ports);
    free(bus);
}
