#include "devices/char/i8042.h"

#include <stdlib.h>
#include <string.h>

#include "devices/char/ps2.h"

enum status_bit {
    STATUS_OBF = BIT(0),     /* output buffer full */
    STATUS_SYSTEM = BIT(2),  /* self test passed; follows the command byte */
    STATUS_COMMAND = BIT(3), /* the last write went to port 64h */
    STATUS_UNLOCKED = BIT(4),
    STATUS_AUX = BIT(5), /* the output buffer's byte is the mouse's */
};

enum command_byte_bit {
    CB_KBD_INT = BIT(0),
    CB_AUX_INT = BIT(1),
    CB_SYSTEM = BIT(2),
    CB_KBD_OFF = BIT(4),
    CB_AUX_OFF = BIT(5),
    CB_TRANSLATE = BIT(6),
};

enum output_port_bit { OUT_NO_RESET = BIT(0), OUT_A20 = BIT(1), OUT_AUX_INT = BIT(5), OUT_KBD_INT = BIT(4) };

enum controller_command {
    CMD_READ_RAM = 0x20,
    CMD_READ_RAM_LAST = 0x3f,
    CMD_WRITE_RAM = 0x60,
    CMD_WRITE_RAM_LAST = 0x7f,
    CMD_PASSWORD = 0xa4,
    CMD_AUX_OFF = 0xa7,
    CMD_AUX_ON = 0xa8,
    CMD_AUX_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KBD_TEST = 0xab,
    CMD_KBD_OFF = 0xad,
    CMD_KBD_ON = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_A20_OFF = 0xdd, /* of the chip sets since the PS/2, used by boot loaders */
    CMD_A20_ON = 0xdf,
    CMD_WRITE_KBD_BUFFER = 0xd2,
    CMD_WRITE_AUX_BUFFER = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_READ_TEST = 0xe0,
    CMD_PULSE = 0xf0,
};

/* Whose byte stands in the output buffer. */
enum source { SOURCE_CONTROLLER, SOURCE_KEYBOARD, SOURCE_AUX, SOURCE_LAST = SOURCE_AUX };

#define RAM_SIZE 32 /* byte 0 is the command byte */

/* Fixed-width throughout: this is the saved state. */
struct i8042_state {
    struct ps2_keyboard keyboard;
    struct ps2_mouse mouse;
    u8 ram[RAM_SIZE];
    u8 output, source; /* the output buffer, and enum source */
    bool output_full;
    u8 raw;         /* the device's byte before translation, to take it back */
    bool raw_break; /* and whether it followed F0h */
    u8 command;     /* that waits for a byte at port 60h; 0: none */
    bool last_was_command;
    bool break_pending; /* translation has seen F0h */
    bool a20;
    u8 port92; /* bit 0: the reset bit as written */
};

struct i8042 {
    struct device_env env;
    struct i8042_config config;
    struct port_region data_port, command_port, port92;
    struct i8042_state s;
};

/* --- output buffer ----------------------------------------------------------------------------------------
 */

/* Set 2 to set 1 as the controller's ROM does it; from 85h on codes stand for themselves. */
static const u8 translation[0x85] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, 0x65,
    0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, 0x67, 0x2e,
    0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, 0x69, 0x31, 0x30,
    0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17,
    0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a,
    0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a,
    0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01,
    0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41, 0x54,
};

static u8 command_byte(const struct i8042 *kbc)
{
    return kbc->s.ram[0];
}

static void update_irqs(struct i8042 *kbc)
{
    const struct i8042_state *s = &kbc->s;
    bool aux = s->source == SOURCE_AUX;
    u8 cb = command_byte(kbc);
    irq_set(&kbc->config.keyboard_irq, s->output_full && !aux && (cb & CB_KBD_INT) && !(cb & CB_KBD_OFF));
    irq_set(&kbc->config.mouse_irq, s->output_full && aux && (cb & CB_AUX_INT));
}

static void fill_output(struct i8042 *kbc, enum source source, u8 byte)
{
    kbc->s.output = byte;
    kbc->s.source = (u8)source;
    kbc->s.output_full = true;
    log_trace(kbc->env.log, TRACE_CHAR, "i8042: output buffer %#x (source %u)", byte, source);
}

/* Takes the keyboard's next byte through the translation; false if nothing comes out (a prefix). */
static bool translate(struct i8042 *kbc, u8 byte, u8 *out)
{
    *out = byte;
    kbc->s.raw_break = kbc->s.break_pending;
    if (!(command_byte(kbc) & CB_TRANSLATE))
        return true;
    if (byte == 0xf0) {
        kbc->s.break_pending = true;
        return false;
    }
    if (byte < ARRAY_LEN(translation))
        *out = translation[byte];
    if (kbc->s.break_pending)
        *out |= 0x80;
    kbc->s.break_pending = false;
    return true;
}

/* Moves the next byte of an enabled device to the output buffer, if that is free. */
static void refill(struct i8042 *kbc)
{
    struct i8042_state *s = &kbc->s;
    while (!s->output_full && s->keyboard.out.count && !(command_byte(kbc) & CB_KBD_OFF)) {
        u8 out;
        s->raw = ps2_queue_pop(&s->keyboard.out);
        if (translate(kbc, s->raw, &out))
            fill_output(kbc, SOURCE_KEYBOARD, out);
    }
    if (!s->output_full && s->mouse.out.count && !(command_byte(kbc) & CB_AUX_OFF)) {
        s->raw = ps2_queue_pop(&s->mouse.out);
        fill_output(kbc, SOURCE_AUX, s->raw);
        ps2_mouse_flush(&s->mouse);
    }
}

/* Puts back what a device had sent: an answer of the controller goes first. */
static void unfill_output(struct i8042 *kbc)
{
    struct i8042_state *s = &kbc->s;
    if (s->output_full && s->source == SOURCE_AUX)
        ps2_queue_unpop(&s->mouse.out, s->raw);
    if (s->output_full && s->source == SOURCE_KEYBOARD) {
        ps2_queue_unpop(&s->keyboard.out, s->raw);
        s->break_pending = s->raw_break;
    }
    s->output_full = false;
}

/* The controller itself answers. The interrupt line falls first: each byte is an edge of its own. */
static void answer(struct i8042 *kbc, enum source source, u8 byte)
{
    unfill_output(kbc);
    update_irqs(kbc);
    fill_output(kbc, source, byte);
}

static u8 read_data(struct i8042 *kbc)
{
    struct i8042_state *s = &kbc->s;
    if (s->output_full) {
        s->output_full = false;
        update_irqs(kbc);
        u8 byte = s->output;
        refill(kbc);
        update_irqs(kbc);
        return byte;
    }
    return s->output;
}

/* --- A20 and reset ----------------------------------------------------------------------------------------
 */

static void set_a20(struct i8042 *kbc, bool enabled)
{
    if (kbc->s.a20 != enabled)
        log_trace(kbc->env.log, TRACE_CHAR, "i8042: A20 %s", enabled ? "on" : "off");
    kbc->s.a20 = enabled;
    mem_set_a20(kbc->env.mem, enabled);
}

static u8 output_port(const struct i8042 *kbc)
{
    const struct i8042_state *s = &kbc->s;
    u8 v = OUT_NO_RESET | 0xcc; /* clock and data lines, undefined pins: high */
    if (s->a20)
        v |= OUT_A20;
    if (s->output_full)
        v |= s->source == SOURCE_AUX ? OUT_AUX_INT : OUT_KBD_INT;
    return v;
}

static void write_output_port(struct i8042 *kbc, u8 v)
{
    set_a20(kbc, v & OUT_A20);
    if (!(v & OUT_NO_RESET))
        reset_request(&kbc->config.reset, RESET_CPU);
}

static u64 port92_read(void *dev, u64 offset, unsigned size)
{
    const struct i8042 *kbc = dev;
    return (kbc->s.port92 & 1) | (kbc->s.a20 ? 2 : 0);
}

static void port92_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct i8042 *kbc = dev;
    bool reset = (value & 1) && !(kbc->s.port92 & 1);
    kbc->s.port92 = value & 1;
    set_a20(kbc, value & 2);
    if (reset)
        reset_request(&kbc->config.reset, RESET_CPU);
}

/* --- commands ---------------------------------------------------------------------------------------------
 */

/* Commands that wait for a byte at port 60h. */
static void write_argument(struct i8042 *kbc, u8 command, u8 v)
{
    switch (command) {
    case CMD_WRITE_RAM ... CMD_WRITE_RAM_LAST:
        kbc->s.ram[command & (RAM_SIZE - 1)] = v;
        break;
    case CMD_WRITE_OUTPUT:
        write_output_port(kbc, v);
        break;
    case CMD_WRITE_KBD_BUFFER:
        answer(kbc, SOURCE_CONTROLLER, v);
        break;
    case CMD_WRITE_AUX_BUFFER:
        answer(kbc, SOURCE_AUX, v);
        kbc->s.raw = v;
        break;
    case CMD_WRITE_AUX:
        ps2_mouse_write(&kbc->s.mouse, v);
        break;
    }
}

static void write_command(struct i8042 *kbc, u8 v)
{
    u8 *cb = &kbc->s.ram[0];
    kbc->s.command = 0;
    switch (v) {
    case CMD_READ_RAM ... CMD_READ_RAM_LAST:
        answer(kbc, SOURCE_CONTROLLER, kbc->s.ram[v & (RAM_SIZE - 1)]);
        break;
    case CMD_WRITE_RAM ... CMD_WRITE_RAM_LAST:
    case CMD_WRITE_OUTPUT ... CMD_WRITE_AUX:
        kbc->s.command = v;
        break;
    case CMD_PASSWORD:
        answer(kbc, SOURCE_CONTROLLER, 0xf1); /* none is set */
        break;
    case CMD_AUX_OFF:
        *cb |= CB_AUX_OFF;
        break;
    case CMD_AUX_ON:
        *cb &= (u8)~CB_AUX_OFF;
        break;
    case CMD_SELF_TEST:
        *cb |= CB_SYSTEM;
        answer(kbc, SOURCE_CONTROLLER, 0x55);
        break;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST:
    case CMD_READ_TEST:
        answer(kbc, SOURCE_CONTROLLER, 0x00);
        break;
    case CMD_KBD_OFF:
        *cb |= CB_KBD_OFF;
        break;
    case CMD_KBD_ON:
        *cb &= (u8)~CB_KBD_OFF;
        break;
    case CMD_READ_INPUT:
        answer(kbc, SOURCE_CONTROLLER, 0x80); /* not locked */
        break;
    case CMD_READ_OUTPUT:
        answer(kbc, SOURCE_CONTROLLER, output_port(kbc));
        break;
    case CMD_A20_OFF:
    case CMD_A20_ON:
        set_a20(kbc, v == CMD_A20_ON);
        break;
    case CMD_PULSE ... 0xff: /* the lines whose bits are 0 go low for 6 us: only the reset line does something
                              */
        if (!(v & OUT_NO_RESET))
            reset_request(&kbc->config.reset, RESET_CPU);
        break;
    }
}

static u64 data_read(void *dev, u64 offset, unsigned size)
{
    struct i8042 *kbc = dev;
    u8 v = read_data(kbc);
    log_trace(kbc->env.log, TRACE_CHAR, "i8042: read data %#x", v);
    return v;
}

static void data_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct i8042 *kbc = dev;
    u8 command = kbc->s.command;
    log_trace(kbc->env.log, TRACE_CHAR, "i8042: write data %#x", (unsigned)value);
    kbc->s.last_was_command = false;
    kbc->s.command = 0;
    if (command) {
        write_argument(kbc, command, (u8)value);
    } else {
        kbc->s.ram[0] &= (u8)~CB_KBD_OFF; /* sending turns the interface on */
        ps2_keyboard_write(&kbc->s.keyboard, (u8)value);
    }
    refill(kbc);
    update_irqs(kbc);
}

static u64 command_read(void *dev, u64 offset, unsigned size)
{
    const struct i8042_state *s = &((struct i8042 *)dev)->s;
    u8 v = STATUS_UNLOCKED;
    v |= s->output_full ? STATUS_OBF : 0;
    v |= s->output_full && s->source == SOURCE_AUX ? STATUS_AUX : 0;
    v |= s->ram[0] & CB_SYSTEM ? STATUS_SYSTEM : 0;
    v |= s->last_was_command ? STATUS_COMMAND : 0;
    return v;
}

static void command_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct i8042 *kbc = dev;
    log_trace(kbc->env.log, TRACE_CHAR, "i8042: command %#x", (unsigned)value);
    kbc->s.last_was_command = true;
    write_command(kbc, (u8)value);
    refill(kbc);
    update_irqs(kbc);
}

static const struct io_ops data_ops = {.read = data_read, .write = data_write, .max_size = 1};
static const struct io_ops command_ops = {.read = command_read, .write = command_write, .max_size = 1};
static const struct io_ops port92_ops = {.read = port92_read, .write = port92_write, .max_size = 1};

/* --- events -----------------------------------------------------------------------------------------------
 */

void i8042_key_event(struct i8042 *kbc, u16 key, bool pressed)
{
    ps2_keyboard_key(&kbc->s.keyboard, key, pressed);
    refill(kbc);
    update_irqs(kbc);
}

void i8042_mouse_event(struct i8042 *kbc, int dx, int dy, int dz, u8 buttons)
{
    ps2_mouse_move(&kbc->s.mouse, dx, dy, dz, buttons);
    refill(kbc);
    update_irqs(kbc);
}

bool i8042_keyboard_is_idle(const struct i8042 *kbc)
{
    const struct i8042_state *s = &kbc->s;
    return !s->keyboard.out.count && !(s->output_full && s->source == SOURCE_KEYBOARD);
}

u8 i8042_leds(const struct i8042 *kbc)
{
    return kbc->s.keyboard.leds;
}

bool i8042_mouse_is_active(const struct i8042 *kbc)
{
    return (kbc->s.mouse.reporting || kbc->s.mouse.remote) && !(command_byte(kbc) & CB_AUX_OFF);
}

void i8042_reset(struct i8042 *kbc)
{
    memset(&kbc->s, 0, sizeof kbc->s);
    ps2_keyboard_reset(&kbc->s.keyboard);
    ps2_mouse_reset(&kbc->s.mouse);
    /* As firmware leaves it: interrupts of the keyboard on, its codes translated, the mouse off. */
    kbc->s.ram[0] = CB_KBD_INT | CB_SYSTEM | CB_AUX_OFF | CB_TRANSLATE;
    set_a20(kbc, true);
    update_irqs(kbc);
}

/* --- saved state ------------------------------------------------------------------------------------------
 */

#define FIELD(f)             STATE_FIELD(struct i8042_state, f)
#define FIELD_BOOL(f)        STATE_BOOL(struct i8042_state, f)
#define FIELD_MAX(f, max)    STATE_FIELD_MAX(struct i8042_state, f, max)
#define FIELD_ARRAY(f, elem) STATE_ARRAY(struct i8042_state, f, elem)

static const struct state_field i8042_fields[] = {
    FIELD_ARRAY(keyboard.out.data, u8),
    FIELD_MAX(keyboard.out.count, PS2_QUEUE_SIZE),
    FIELD(keyboard.out.last),
    FIELD_MAX(keyboard.scan_set, 3),
    FIELD(keyboard.leds),
    FIELD(keyboard.typematic),
    FIELD(keyboard.command),
    FIELD_BOOL(keyboard.scanning),
    FIELD_ARRAY(mouse.out.data, u8),
    FIELD_MAX(mouse.out.count, PS2_QUEUE_SIZE),
    FIELD(mouse.out.last),
    FIELD(mouse.dx),
    FIELD(mouse.dy),
    FIELD(mouse.dz),
    FIELD_MAX(mouse.buttons, 0x1f),
    FIELD_MAX(mouse.reported_buttons, 0x1f),
    FIELD(mouse.id),
    FIELD(mouse.rate),
    FIELD_MAX(mouse.resolution, 3),
    FIELD_ARRAY(mouse.rates, u8),
    FIELD(mouse.command),
    FIELD_BOOL(mouse.reporting),
    FIELD_BOOL(mouse.scaling),
    FIELD_BOOL(mouse.remote),
    FIELD_BOOL(mouse.wrap),
    FIELD_ARRAY(ram, u8),
    FIELD(output),
    FIELD_MAX(source, SOURCE_LAST),
    FIELD_BOOL(output_full),
    FIELD(raw),
    FIELD_BOOL(raw_break),
    FIELD(command),
    FIELD_BOOL(last_was_command),
    FIELD_BOOL(break_pending),
    FIELD_BOOL(a20),
    FIELD_MAX(port92, 1),
};

static void i8042_save(const void *dev, void *out)
{
    *(struct i8042_state *)out = ((const struct i8042 *)dev)->s;
}

static int i8042_check(const void *dev, const void *state, struct error *err)
{
    const struct i8042_state *s = state;
    int rc = ps2_keyboard_check(&s->keyboard, err);
    return rc < 0 ? rc : ps2_mouse_check(&s->mouse, err);
}

static void i8042_load(void *dev, const void *state)
{
    struct i8042 *kbc = dev;
    kbc->s = *(const struct i8042_state *)state;
    set_a20(kbc, kbc->s.a20);
    update_irqs(kbc);
}

static const struct state_desc i8042_desc = {
    .name = "i8042",
    .version = 1,
    .size = sizeof(struct i8042_state),
    .fields = i8042_fields,
    .field_count = ARRAY_LEN(i8042_fields),
    .save = i8042_save,
    .check = i8042_check,
    .load = i8042_load,
};

int i8042_create(struct i8042 **out, const struct device_env *env, const struct i8042_config *config,
                 struct error *err)
{
    struct i8042 *kbc = calloc(1, sizeof *kbc);
    if (!kbc)
        return error_set(err, ENOMEM, "no memory for the keyboard controller");
    kbc->env = *env;
    kbc->config = *config;
    int rc = state_set_add(env->state, &i8042_desc, kbc, 0);
    if (rc < 0) {
        free(kbc);
        return error_set(err, -rc, "no memory for the keyboard controller's saved state");
    }
    kbc->data_port =
        (struct port_region){.name = "i8042-data", .base = 0x60, .count = 1, .ops = &data_ops, .dev = kbc};
    kbc->command_port = (struct port_region){
        .name = "i8042-command", .base = 0x64, .count = 1, .ops = &command_ops, .dev = kbc};
    kbc->port92 =
        (struct port_region){.name = "port92", .base = 0x92, .count = 1, .ops = &port92_ops, .dev = kbc};
    port_map(env->mem, &kbc->data_port);
    port_map(env->mem, &kbc->command_port);
    port_map(env->mem, &kbc->port92);
    i8042_reset(kbc);
    *out = kbc;
    return 0;
}

void i8042_destroy(struct i8042 *kbc)
{
    if (!kbc)
        return;
    port_unmap(kbc->env.mem, &kbc->data_port);
    port_unmap(kbc->env.mem, &kbc->command_port);
    port_unmap(kbc->env.mem, &kbc->port92);
    free(kbc);
}
