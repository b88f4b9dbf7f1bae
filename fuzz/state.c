/* Saved-state streams from an enemy: refused or loaded within the declared bounds, never half. */
#include <stdlib.h>
#include <string.h>

#include "state/state.h"

struct thing {
    u64 wide;
    u8 small;
    bool on;
    u16 list[5];
};

static void thing_save(const void *dev, void *state)
{
    memcpy(state, dev, sizeof(struct thing));
}

static int thing_check(const void *dev, const void *state, struct error *err)
{
    const struct thing *s = state;
    return s->small > 9 ? error_set(err, EINVAL, "small is %u", s->small) : 0;
}

static void thing_load(void *dev, const void *state)
{
    memcpy(dev, state, sizeof(struct thing));
}

static const struct state_field thing_fields[] = {
    STATE_FIELD(struct thing, wide),
    STATE_FIELD(struct thing, small),
    STATE_BOOL(struct thing, on),
    STATE_ARRAY(struct thing, list, u16),
};

static const struct state_desc thing_desc = {
    "thing",    1,           sizeof(struct thing), thing_fields, ARRAY_LEN(thing_fields),
    thing_save, thing_check, thing_load,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct thing things[2] = {{.wide = 1}, {.wide = 2}}, before[2];
    memcpy(before, things, sizeof before);
    struct state_set *set = state_set_create();
    for (u32 i = 0; i < 2; i++)
        state_set_add(set, &thing_desc, &things[i], i);
    struct error err = {0};
    if (state_set_load(set, data, size, &err) < 0) {
        if (!err.message[0] || memcmp(before, things, sizeof before) != 0)
            abort();
    } else {
        for (u32 i = 0; i < 2; i++)
            if (things[i].small > 9)
                abort();
    }
    state_set_destroy(set);
    return 0;
}
