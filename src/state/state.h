/*
 * Saved state: typed, versioned, fixed-width records, checked whole before anything is loaded.
 *
 * A device describes a struct of its own (its *saved state*, only fixed-width integers and arrays of them) by
 * a field list. Saving: the device fills the struct, the writer encodes it field by field, little-endian.
 * Loading has two passes over all records: every one is decoded and *checked* first; only if all are good is
 * any *loaded*, which cannot fail. From the one field list also come dump (text) and comparison.
 */
#ifndef RING3_STATE_STATE_H
#define RING3_STATE_STATE_H

#include "base/error.h"

struct state_field {
    const char *name;
    u16 offset;
    u8 size;   /* bytes of one element: 1, 2, 4, 8 */
    u32 count; /* elements */
    u64 max;   /* largest value of an element, inclusive */
};

/* STATE_FIELD(struct uart_state, lcr): a scalar or (one- or more-dimensional) array of u8/u16/u32/u64/bool.
 * STATE_FIELD_MAX adds a bound that is checked before load. */
#define STATE_ELEM_(type, field) (((type *)0)->field)
#define STATE_SCALAR_SIZE_(x)                                                                                \
    _Generic((x), bool : 1, u8 : 1, s8 : 1, u16 : 2, s16 : 2, u32 : 4, s32 : 4, u64 : 8, s64 : 8)
#define STATE_FIELD_MAX(type, field, max_)                                                                   \
    {                                                                                                        \
#field, offsetof(type, field), STATE_SCALAR_SIZE_(STATE_ELEM_(type, field)), 1, max_                 \
    }
#define STATE_FIELD(type, field) STATE_FIELD_MAX(type, field, ~0ull)
#define STATE_BOOL(type, field)  STATE_FIELD_MAX(type, field, 1)
/* An array of `elem` (u8, u16, ...), e.g. STATE_ARRAY(struct s, regs, u32). */
#define STATE_ARRAY(type, field, elem)                                                                       \
    {                                                                                                        \
#field, offsetof(type, field), sizeof(elem), sizeof(STATE_ELEM_(type, field)) / sizeof(elem), ~0ull  \
    }

struct state_desc {
    const char *name; /* at most 31 characters, unique per kind of device */
    u16 version;      /* a record of another version is refused */
    size_t size;      /* of the saved-state struct */
    const struct state_field *fields;
    size_t field_count;
    void (*save)(const void *dev, void *state);
    /* Refuses what the device cannot be in; reads only `state` and what of `dev` never changes. May be NULL.
     */
    int (*check)(const void *dev, const void *state, struct error *err);
    void (*load)(void *dev, const void *state);
};

/* The registry of one VM: what is to be saved, in order. */
struct state_set;
struct state_set *state_set_create(void);
void state_set_destroy(struct state_set *set);
/* Registers `dev` as instance `instance` of `desc` (both borrowed); -ENOMEM. */
int state_set_add(struct state_set *set, const struct state_desc *desc, void *dev, u32 instance);

/* Encodes everything into a malloc'ed buffer (caller frees). */
int state_set_save(const struct state_set *set, u8 **buf, size_t *len, struct error *err);

/* Checks the whole stream against the set, then loads it. On an error nothing has changed. Every registered
 * item must be present exactly once; unknown records are an error that names them. */
int state_set_load(struct state_set *set, const u8 *buf, size_t len, struct error *err);

/* The stream as text, a line per field, for people and for comparing. */
void state_set_dump(const struct state_set *set, void (*line)(void *opaque, const char *text), void *opaque);

#endif
