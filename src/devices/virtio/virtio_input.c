#include "devices/virtio/virtio_input.h"

#include <linux/input-event-codes.h>
#include <stdlib.h>

#include "base/bytes.h"

#define QUEUE_SIZE   64
#define PENDING_MAX  256u /* events that may wait for the guest */
#define PACKET_MAX   16u  /* events that belong together: five buttons, two axes, a wheel, the end mark */
#define KICK_BUDGET  QUEUE_SIZE
#define EVENT_SIZE   8u
#define KEY_BITS_END 248u /* keys of keyboards are below: KEY_MICMUTE is 248 */
#define BUS_VIRTUAL  0x06
enum input_queue { QUEUE_EVENTS, QUEUE_STATUS, QUEUE_COUNT };

/* struct virtio_input_config (5.8.4) and what its select means. */
enum input_config {
    CONFIG_SELECT = 0,
    CONFIG_SUBSELECT = 1,
    CONFIG_LENGTH = 2,
    CONFIG_DATA = 8,
    CONFIG_SIZE = 136
};
enum input_select {
    SELECT_NAME = 0x01,
    SELECT_SERIAL = 0x02,
    SELECT_IDS = 0x03,
    SELECT_PROPERTIES = 0x10,
    SELECT_EVENTS = 0x11,
    SELECT_ABSOLUTE = 0x12,
};

struct event {
    u16 type, code;
    u32 value;
};

struct virtio_input {
    struct virtio_device dev;
    enum virtio_input_kind kind;
    struct input *input;
    struct input_device source;
    u8 select, subselect;
    unsigned buttons; /* those that the guest knows to be down */
    u8 leds;          /* bit per LED_* that the guest turned on */
    struct event pending[PENDING_MAX];
    unsigned pending_count;
    struct virtq_chain chain;
};

static const struct {
    unsigned button;
    u16 code;
} buttons[] = {{INPUT_LEFT, BTN_LEFT},
               {INPUT_RIGHT, BTN_RIGHT},
               {INPUT_MIDDLE, BTN_MIDDLE},
               {INPUT_SIDE, BTN_SIDE},
               {INPUT_EXTRA, BTN_EXTRA}};

static struct virtio_input *input_of(const struct virtio_device *dev)
{
    return container_of(dev, struct virtio_input, dev);
}

/* --- events ---------------------------------------------------------------------------------------------
 */

/* Moves what waits into the guest's buffers, one event each. */
static void pending_deliver(struct virtio_input *in)
{
    struct virtq *q = &in->dev.queue[QUEUE_EVENTS];
    unsigned done = 0;
    while (done < in->pending_count && virtio_is_live(&in->dev) && virtq_pop(q, &in->chain)) {
        u8 bytes[EVENT_SIZE];
        const struct event *e = &in->pending[done];
        store_le16(bytes, e->type);
        store_le16(bytes + 2, e->code);
        store_le32(bytes + 4, e->value);
        virtq_push(q, &in->chain, (u32)virtq_chain_write(&in->chain, 0, bytes, sizeof bytes));
        done++;
    }
    in->pending_count -= done;
    memmove(in->pending, in->pending + done, in->pending_count * sizeof *in->pending);
    if (in->pending_count)
        virtq_set_quiet(q, false);
    virtio_signal(&in->dev, QUEUE_EVENTS);
}

/* Events that belong together, without their end mark: all of them go to the guest, or none. */
static bool packet_send(struct virtio_input *in, const struct event *events, unsigned count)
{
    if (!count || in->pending_count + count + 1 > PENDING_MAX)
        return false;
    memcpy(in->pending + in->pending_count, events, count * sizeof *events);
    in->pending_count += count;
    in->pending[in->pending_count++] = (struct event){EV_SYN, SYN_REPORT, 0};
    pending_deliver(in);
    return true;
}

static bool source_active(void *opaque)
{
    const struct virtio_input *in = opaque;
    return in->dev.status & VIRTIO_DRIVER_OK;
}

static bool source_idle(void *opaque)
{
    return ((const struct virtio_input *)opaque)->pending_count == 0;
}

static unsigned source_leds(void *opaque)
{
    const struct virtio_input *in = opaque;
    return (in->leds & BIT(LED_NUML) ? INPUT_LED_NUM : 0u) |
           (in->leds & BIT(LED_CAPSL) ? INPUT_LED_CAPS : 0u) |
           (in->leds & BIT(LED_SCROLLL) ? INPUT_LED_SCROLL : 0u);
}

static void source_key(void *opaque, u16 code, bool pressed)
{
    struct event e = {EV_KEY, code, pressed};
    if (code && code < KEY_BITS_END)
        packet_send(opaque, &e, 1);
}

/* Adds what changed of the buttons and the wheel. */
static unsigned packet_add_buttons(struct virtio_input *in, struct event *events, unsigned count, int wheel,
                                   unsigned now)
{
    for (unsigned i = 0; i < ARRAY_LEN(buttons); i++)
        if ((now ^ in->buttons) & buttons[i].button)
            events[count++] = (struct event){EV_KEY, buttons[i].code, !!(now & buttons[i].button)};
    if (wheel)
        events[count++] = (struct event){EV_REL, REL_WHEEL, (u32)wheel};
    return count;
}

static void pointer_send(struct virtio_input *in, struct event *events, unsigned count, int wheel,
                         unsigned now)
{
    count = packet_add_buttons(in, events, count, wheel, now);
    if (packet_send(in, events, count))
        in->buttons = now;
}

static void source_move(void *opaque, int dx, int dy, int wheel, unsigned now)
{
    struct event events[PACKET_MAX];
    unsigned count = 0;
    if (dx)
        events[count++] = (struct event){EV_REL, REL_X, (u32)dx};
    if (dy)
        events[count++] = (struct event){EV_REL, REL_Y, (u32)dy};
    pointer_send(opaque, events, count, wheel, now);
}

static void source_point(void *opaque, unsigned x, unsigned y, int wheel, unsigned now)
{
    struct event events[PACKET_MAX] = {{EV_ABS, ABS_X, MIN(x, INPUT_ABS_MAX)},
                                       {EV_ABS, ABS_Y, MIN(y, INPUT_ABS_MAX)}};
    pointer_send(opaque, events, 2, wheel, now);
}

/* The guest says what lights are on. */
static void status_serve(struct virtio_input *in)
{
    struct virtq *q = &in->dev.queue[QUEUE_STATUS];
    unsigned budget = KICK_BUDGET;
    while (budget && virtq_pop(q, &in->chain)) {
        u8 e[EVENT_SIZE];
        bool whole = virtq_chain_read(&in->chain, 0, e, sizeof e) == sizeof e;
        if (whole && load_le16(e) == EV_LED && load_le16(e + 2) < 8) {
            u8 led = (u8)BIT(load_le16(e + 2));
            in->leds = (u8)((in->leds & ~led) | (load_le32(e + 4) ? led : 0));
        }
        virtq_push(q, &in->chain, 0);
        budget--;
    }
    virtq_set_quiet(q, false);
    virtio_signal(&in->dev, QUEUE_STATUS);
    if (virtq_has_next(q))
        virtio_notify_later(&in->dev);
}

static void kick(struct virtio_device *dev, unsigned queue)
{
    if (queue == QUEUE_EVENTS)
        pending_deliver(input_of(dev));
    else
        status_serve(input_of(dev));
}

/* --- configuration --------------------------------------------------------------------------------------
 */

static const char *input_name(enum virtio_input_kind kind)
{
    static const char *const names[] = {"ring3 virtio keyboard", "ring3 virtio mouse", "ring3 virtio tablet"};
    return names[kind];
}

static void bit_set(u8 *bits, unsigned bit)
{
    bits[bit / 8] |= (u8)BIT(bit % 8);
}

/* The events of a type that the device has, as a bitmap; returns its length, 0: none. */
static unsigned event_bits(const struct virtio_input *in, unsigned type, u8 *bits)
{
    bool keyboard = in->kind == VIRTIO_KEYBOARD;
    if (type == EV_KEY && keyboard) {
        for (unsigned key = KEY_ESC; key < KEY_BITS_END; key++)
            bit_set(bits, key);
        return (KEY_BITS_END + 7) / 8;
    }
    if (type == EV_KEY) {
        for (unsigned i = 0; i < ARRAY_LEN(buttons); i++)
            bit_set(bits, buttons[i].code);
        return BTN_EXTRA / 8 + 1;
    }
    if (type == EV_LED && keyboard) {
        bits[0] = (u8)(BIT(LED_NUML) | BIT(LED_CAPSL) | BIT(LED_SCROLLL));
        return 1;
    }
    if (type == EV_REP && keyboard) {
        bits[0] = (u8)(BIT(REP_DELAY) | BIT(REP_PERIOD)); /* the guest repeats keys itself */
        return 1;
    }
    if (type == EV_REL && !keyboard) {
        bit_set(bits, REL_WHEEL);
        if (in->kind == VIRTIO_MOUSE)
            bits[0] |= (u8)(BIT(REL_X) | BIT(REL_Y));
        return 2;
    }
    if (type == EV_ABS && in->kind == VIRTIO_TABLET) {
        bits[0] = (u8)(BIT(ABS_X) | BIT(ABS_Y));
        return 1;
    }
    return 0;
}

/* What the selection shows; returns its length, 0: nothing. */
static unsigned config_data(const struct virtio_input *in, u8 *data)
{
    const char *name = input_name(in->kind);
    size_t name_length = strlen(name);
    switch (in->select) {
    case SELECT_NAME:
        for (size_t i = 0; i < name_length; i++)
            data[i] = (u8)name[i];
        return in->subselect ? 0 : (unsigned)name_length;
    case SELECT_IDS:
        store_le16(data, BUS_VIRTUAL);
        store_le16(data + 2, 0x0627); /* as other virtual machine monitors have them */
        store_le16(data + 4, (u16)(1 + in->kind));
        store_le16(data + 6, 1);
        return in->subselect ? 0 : 8;
    case SELECT_EVENTS:
        return event_bits(in, in->subselect, data);
    case SELECT_ABSOLUTE:
        if (in->kind != VIRTIO_TABLET || in->subselect > ABS_Y)
            return 0;
        store_le32(data + 4, INPUT_ABS_MAX); /* struct virtio_input_absinfo: min, max, fuzz, flat, res */
        return 20;
    }
    return 0;
}

static void config_read(struct virtio_device *dev, u8 *config)
{
    const struct virtio_input *in = input_of(dev);
    config[CONFIG_SELECT] = in->select;
    config[CONFIG_SUBSELECT] = in->subselect;
    config[CONFIG_LENGTH] = (u8)config_data(in, config + CONFIG_DATA);
    if (!config[CONFIG_LENGTH])
        memset(config + CONFIG_DATA, 0, CONFIG_SIZE - CONFIG_DATA);
}

static void config_write(struct virtio_device *dev, unsigned offset, unsigned size, u32 value)
{
    struct virtio_input *in = input_of(dev);
    for (unsigned i = 0; i < size; i++) {
        u8 byte = (u8)(value >> (8 * i));
        if (offset + i == CONFIG_SELECT)
            in->select = byte;
        else if (offset + i == CONFIG_SUBSELECT)
            in->subselect = byte;
    }
}

static void reset(struct virtio_device *dev)
{
    struct virtio_input *in = input_of(dev);
    in->select = in->subselect = in->leds = 0;
    in->buttons = 0;
    in->pending_count = 0;
}

static const struct virtio_ops input_ops = {
    .config_read = config_read, .config_write = config_write, .kick = kick, .reset = reset};

/* --- saved state ----------------------------------------------------------------------------------------
 */

struct virtio_input_state {
    u8 kind, select, subselect, buttons, leds;
    u16 pending_count;
    u16 pending_type[PENDING_MAX], pending_code[PENDING_MAX];
    u32 pending_value[PENDING_MAX];
};

static const struct state_field virtio_input_fields[] = {
    STATE_FIELD_MAX(struct virtio_input_state, kind, VIRTIO_TABLET),
    STATE_FIELD(struct virtio_input_state, select),
    STATE_FIELD(struct virtio_input_state, subselect),
    STATE_FIELD_MAX(struct virtio_input_state, buttons, 2 * INPUT_EXTRA - 1),
    STATE_FIELD(struct virtio_input_state, leds),
    STATE_FIELD_MAX(struct virtio_input_state, pending_count, PENDING_MAX),
    STATE_ARRAY(struct virtio_input_state, pending_type, u16),
    STATE_ARRAY(struct virtio_input_state, pending_code, u16),
    STATE_ARRAY(struct virtio_input_state, pending_value, u32),
};

static void virtio_input_save(const void *opaque, void *out)
{
    const struct virtio_input *in = opaque;
    struct virtio_input_state *s = out;
    s->kind = (u8)in->kind;
    s->select = in->select;
    s->subselect = in->subselect;
    s->buttons = (u8)in->buttons;
    s->leds = in->leds;
    s->pending_count = (u16)in->pending_count;
    for (unsigned i = 0; i < in->pending_count; i++) {
        s->pending_type[i] = in->pending[i].type;
        s->pending_code[i] = in->pending[i].code;
        s->pending_value[i] = in->pending[i].value;
    }
}

static int virtio_input_check(const void *opaque, const void *state, struct error *err)
{
    const struct virtio_input *in = opaque;
    const struct virtio_input_state *s = state;
    if (s->kind != in->kind)
        return error_set(err, EINVAL, "%s: the saved device is a %s", in->dev.name,
                         input_name((enum virtio_input_kind)s->kind));
    return 0;
}

/* After virtio_load, which resets the device. */
static void virtio_input_load(void *opaque, const void *state)
{
    struct virtio_input *in = opaque;
    const struct virtio_input_state *s = state;
    in->select = s->select;
    in->subselect = s->subselect;
    in->buttons = s->buttons;
    in->leds = s->leds;
    in->pending_count = s->pending_count;
    for (unsigned i = 0; i < in->pending_count; i++)
        in->pending[i] = (struct event){s->pending_type[i], s->pending_code[i], s->pending_value[i]};
}

static const struct state_desc virtio_input_desc = {
    .name = "virtio-input",
    .version = 1,
    .size = sizeof(struct virtio_input_state),
    .fields = virtio_input_fields,
    .field_count = ARRAY_LEN(virtio_input_fields),
    .save = virtio_input_save,
    .check = virtio_input_check,
    .load = virtio_input_load,
};

/* --- life -----------------------------------------------------------------------------------------------
 */

static void source_connect(struct virtio_input *in)
{
    in->source = (struct input_device){.active = source_active, .opaque = in};
    if (in->kind == VIRTIO_KEYBOARD) {
        in->source.key = source_key;
        in->source.idle = source_idle;
        in->source.leds = source_leds;
    } else if (in->kind == VIRTIO_MOUSE) {
        in->source.move = source_move;
    } else {
        in->source.point = source_point;
    }
    if (in->input)
        input_connect(in->input, &in->source);
}

int virtio_input_create(struct virtio_input **out, const struct device_env *env,
                        const struct virtio_input_config *config, struct error *err)
{
    const struct virtio_info info = {.name = input_name(config->kind),
                                     .type = VIRTIO_INPUT,
                                     .instance = config->instance,
                                     .config_size = CONFIG_SIZE,
                                     .queue_count = QUEUE_COUNT,
                                     .queue_size = QUEUE_SIZE};
    struct virtio_input *in = calloc(1, sizeof *in);
    if (!in)
        return error_set(err, ENOMEM, "out of memory for the %s", info.name);
    in->kind = config->kind;
    if (virtio_init(&in->dev, env, &input_ops, &info, NULL) < 0 ||
        state_set_add(env->state, &virtio_input_desc, in, config->instance) < 0) {
        virtio_input_destroy(in);
        return error_set(err, ENOMEM, "out of memory for the %s", info.name);
    }
    in->input = config->input;
    source_connect(in);
    *out = in;
    return 0;
}

void virtio_input_destroy(struct virtio_input *in)
{
    if (!in)
        return;
    if (in->input)
        input_disconnect(in->input, &in->source);
    virtio_finish(&in->dev);
    virtq_chain_finish(&in->chain);
    free(in);
}

struct virtio_device *virtio_input_device(struct virtio_input *in)
{
    return &in->dev;
}
