/*
 * The stream: "RING3STA", u32 format version, then records: u8 name length, name, u16 version, u32 instance,
 * u32 payload length, payload (the fields in order, each element in `size` bytes); an empty name ends it.
 * All integers are little-endian.
 */
#include "state/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define STREAM_MAGIC   "RING3STA"
#define STREAM_VERSION 1
#define NAME_MAX_LEN   31

struct state_item {
    const struct state_desc *desc;
    void *dev;
    u32 instance;
};

struct state_set {
    struct state_item *items;
    size_t count, capacity;
};

struct state_set *state_set_create(void)
{
    return calloc(1, sizeof(struct state_set));
}

void state_set_destroy(struct state_set *set)
{
    if (!set)
        return;
    free(set->items);
    free(set);
}

int state_set_add(struct state_set *set, const struct state_desc *desc, void *dev, u32 instance)
{
    if (set->count == set->capacity) {
        size_t capacity = set->capacity * 2 + 16;
        struct state_item *items = realloc(set->items, capacity * sizeof *items);
        if (!items)
            return -ENOMEM;
        set->items = items;
        set->capacity = capacity;
    }
    set->items[set->count++] = (struct state_item){desc, dev, instance};
    return 0;
}

/* --- writing ---------------------------------------------------------------------------------------- */

struct buffer {
    u8 *data;
    size_t len, capacity;
    bool failed;
};

static void buffer_put(struct buffer *b, const void *data, size_t len)
{
    if (b->failed)
        return;
    if (b->len + len > b->capacity) {
        size_t capacity = (b->len + len) * 2;
        u8 *grown = realloc(b->data, capacity);
        if (!grown) {
            b->failed = true;
            return;
        }
        b->data = grown;
        b->capacity = capacity;
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static void buffer_put_int(struct buffer *b, u64 value, unsigned size)
{
    buffer_put(b, &value, size); /* the host is little-endian */
}

static u32 payload_size(const struct state_desc *desc)
{
    u32 size = 0;
    for (size_t i = 0; i < desc->field_count; i++)
        size += desc->fields[i].size * desc->fields[i].count;
    return size;
}

static void put_record(struct buffer *b, const struct state_item *item, const u8 *state)
{
    const struct state_desc *desc = item->desc;
    size_t name_len = strlen(desc->name);
    buffer_put_int(b, name_len, 1);
    buffer_put(b, desc->name, name_len);
    buffer_put_int(b, desc->version, 2);
    buffer_put_int(b, item->instance, 4);
    buffer_put_int(b, payload_size(desc), 4);
    for (size_t i = 0; i < desc->field_count; i++)
        buffer_put(b, state + desc->fields[i].offset, (size_t)desc->fields[i].size * desc->fields[i].count);
}

/* The device's saved-state struct, in malloc'ed memory. */
static u8 *item_capture(const struct state_item *item)
{
    u8 *state = calloc(1, item->desc->size);
    if (state)
        item->desc->save(item->dev, state);
    return state;
}

int state_set_save(const struct state_set *set, u8 **buf, size_t *len, struct error *err)
{
    struct buffer b = {0};
    buffer_put(&b, STREAM_MAGIC, 8);
    buffer_put_int(&b, STREAM_VERSION, 4);
    for (size_t i = 0; i < set->count; i++) {
        u8 *state = item_capture(&set->items[i]);
        if (!state) {
            b.failed = true;
            break;
        }
        put_record(&b, &set->items[i], state);
        free(state);
    }
    buffer_put_int(&b, 0, 1);
    if (b.failed) {
        free(b.data);
        return error_set(err, ENOMEM, "out of memory while saving the machine's state");
    }
    *buf = b.data;
    *len = b.len;
    return 0;
}

/* --- reading ---------------------------------------------------------------------------------------- */

struct reader {
    const u8 *at, *end;
};

static bool take(struct reader *r, void *out, size_t len)
{
    if ((size_t)(r->end - r->at) < len)
        return false;
    memcpy(out, r->at, len);
    r->at += len;
    return true;
}

static bool take_int(struct reader *r, u64 *out, unsigned size)
{
    *out = 0;
    return take(r, out, size);
}

static int truncated(struct error *err)
{
    return error_set(err, EINVAL, "the saved state is cut off; save it again or use an older copy");
}

static int decode_fields(const struct state_desc *desc, const u8 *payload, u8 *state, struct error *err)
{
    for (size_t i = 0; i < desc->field_count; i++) {
        const struct state_field *f = &desc->fields[i];
        for (u32 n = 0; n < f->count; n++, payload += f->size) {
            u64 value = load_le(payload, f->size);
            if (value > f->max)
                return error_set(err, EINVAL, "saved state of %s: %s is %#llx, which is more than %#llx",
                                 desc->name, f->name, (unsigned long long)value, (unsigned long long)f->max);
            store_le(state + f->offset + (size_t)n * f->size, f->size, value);
        }
    }
    return 0;
}

static ptrdiff_t find_item(const struct state_set *set, const char *name, u32 instance)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i].instance == instance && !strcmp(set->items[i].desc->name, name))
            return (ptrdiff_t)i;
    return -1;
}

/* Decodes and checks one record into states[item]; 1 at the end mark. */
static int read_record(const struct state_set *set, struct reader *r, u8 **states, struct error *err)
{
    u64 name_len, version, instance, len;
    char name[NAME_MAX_LEN + 1] = "";
    if (!take_int(r, &name_len, 1))
        return truncated(err);
    if (!name_len)
        return 1;
    if (name_len > NAME_MAX_LEN)
        return error_set(err, EINVAL, "the saved state has a record name of %d characters; it is damaged",
                         (int)name_len);
    if (!take(r, name, name_len) || !take_int(r, &version, 2) || !take_int(r, &instance, 4) ||
        !take_int(r, &len, 4) || (size_t)(r->end - r->at) < len)
        return truncated(err);
    const u8 *payload = r->at;
    r->at += len;

    for (char *c = name; *c; c++)
        if (*c < ' ' || *c > '~')
            return error_set(err, EINVAL,
                             "the saved state has a record name that is not text; it is damaged");
    ptrdiff_t index = find_item(set, name, (u32)instance);
    if (index < 0)
        return error_set(err, EINVAL,
                         "the saved state has a %s (number %d), which this machine has not; "
                         "start it with the same devices and CPUs",
                         name, (int)instance);
    const struct state_item *item = &set->items[index];
    if (states[index])
        return error_set(err, EINVAL, "the saved state has %s twice; it is damaged", name);
    if (version != item->desc->version)
        return error_set(err, EINVAL, "the saved state of %s has version %d; this ring3 reads version %d",
                         name, (int)version, item->desc->version);
    if (len != payload_size(item->desc))
        return error_set(err, EINVAL, "the saved state of %s has %llu bytes instead of %u; it is damaged",
                         name, (unsigned long long)len, payload_size(item->desc));
    states[index] = calloc(1, item->desc->size);
    if (!states[index])
        return error_set(err, ENOMEM, "out of memory for the saved state of %s", name);
    int rc = decode_fields(item->desc, payload, states[index], err);
    if (rc || !item->desc->check)
        return rc;
    rc = item->desc->check(item->dev, states[index], err);
    return rc ? error_prefix(err, "saved state of %s", name) : 0;
}

static int read_all(const struct state_set *set, struct reader *r, u8 **states, struct error *err)
{
    char magic[8];
    u64 version;
    if (!take(r, magic, 8) || memcmp(magic, STREAM_MAGIC, 8) != 0)
        return error_set(err, EINVAL, "this is not a saved state of ring3");
    if (!take_int(r, &version, 4))
        return truncated(err);
    if (version != STREAM_VERSION)
        return error_set(err, EINVAL, "the saved state has format %d; this ring3 reads format %d",
                         (int)version, STREAM_VERSION);
    int rc;
    do
        rc = read_record(set, r, states, err);
    while (!rc);
    if (rc < 0)
        return rc;
    if (r->at != r->end)
        return error_set(err, EINVAL, "the saved state has bytes after its end; it is damaged");
    for (size_t i = 0; i < set->count; i++)
        if (!states[i])
            return error_set(
                err, EINVAL,
                "the saved state has nothing for %s (number %u); start with the devices and CPUs it "
                "was saved with",
                set->items[i].desc->name, set->items[i].instance);
    return 0;
}

int state_set_load(struct state_set *set, const u8 *buf, size_t len, struct error *err)
{
    u8 **states = calloc(set->count + 1, sizeof *states);
    if (!states)
        return error_set(err, ENOMEM, "out of memory while loading a saved state");
    struct reader r = {buf, buf + len};
    int rc = read_all(set, &r, states, err);
    for (size_t i = 0; i < set->count; i++) {
        if (!rc)
            set->items[i].desc->load(set->items[i].dev, states[i]);
        free(states[i]);
    }
    free(states);
    return rc;
}

void state_set_dump(const struct state_set *set, void (*line)(void *opaque, const char *text), void *opaque)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct state_item *item = &set->items[i];
        u8 *state = item_capture(item);
        if (!state)
            return;
        for (size_t j = 0; j < item->desc->field_count; j++) {
            const struct state_field *f = &item->desc->fields[j];
            for (u32 n = 0; n < f->count; n++) {
                char text[128];
                int used = snprintf(text, sizeof text, "%s.%u.%s", item->desc->name, item->instance, f->name);
                if (f->count > 1)
                    used += snprintf(text + used, sizeof text - (size_t)used, "[%u]", n);
                snprintf(text + used, sizeof text - (size_t)used, " = %#llx",
                         (unsigned long long)load_le(state + f->offset + (size_t)n * f->size, f->size));
                line(opaque, text);
            }
        }
        free(state);
    }
}
