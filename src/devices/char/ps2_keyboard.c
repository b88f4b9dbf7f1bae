#include "devices/char/ps2.h"

#include <string.h>

enum reply { REPLY_ACK = 0xfa, REPLY_PASSED = 0xaa, REPLY_ECHO = 0xee, REPLY_RESEND = 0xfe };

enum keyboard_command {
    KBD_SET_LEDS = 0xed,
    KBD_ECHO = 0xee,
    KBD_SCAN_SET = 0xf0,
    KBD_IDENTIFY = 0xf2,
    KBD_TYPEMATIC = 0xf3,
    KBD_ENABLE = 0xf4,
    KBD_DISABLE = 0xf5,
    KBD_DEFAULT = 0xf6,
    KBD_ALL_FIRST = 0xf7,
    KBD_ALL_LAST = 0xfa,
    KBD_KEY_FIRST = 0xfb,
    KBD_KEY_LAST = 0xfd,
    KBD_RESEND = 0xfe,
    KBD_RESET = 0xff,
};

#define TYPEMATIC_DEFAULT 0x2b /* 500 ms, 10.9 characters a second */
#define BREAK_PREFIX      0xf0
#define KEY_PAUSE         0xe11d
#define KEY_PRINT         0xe037

/* --- queue ------------------------------------------------------------------------------------------------
 */

void ps2_queue_push(struct ps2_queue *q, u8 byte)
{
    if (q->count < PS2_QUEUE_SIZE)
        q->data[q->count++] = byte;
}

u8 ps2_queue_pop(struct ps2_queue *q)
{
    u8 byte = q->data[0];
    q->count--;
    memmove(q->data, q->data + 1, q->count);
    q->last = byte;
    return byte;
}

void ps2_queue_unpop(struct ps2_queue *q, u8 byte)
{
    if (q->count == PS2_QUEUE_SIZE)
        return;
    memmove(q->data + 1, q->data, q->count);
    q->data[0] = byte;
    q->count++;
}

static void push_bytes(struct ps2_queue *q, const u8 *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ps2_queue_push(q, bytes[i]);
}

/* --- keys -------------------------------------------------------------------------------------------------
 */

struct key_codes {
    u8 set2, set3;
};

/* By set 1 code; 0: no such key. Sets 2 and 3 as in the Technical Reference's key table; multimedia and power
 * keys from Microsoft's Keyboard Scan Code Specification, which has no set 3. */
static const struct key_codes plain_keys[0x80] = {
    [0x01] = {0x76, 0x08}, [0x02] = {0x16, 0x16}, [0x03] = {0x1e, 0x1e}, [0x04] = {0x26, 0x26},
    [0x05] = {0x25, 0x25}, [0x06] = {0x2e, 0x2e}, [0x07] = {0x36, 0x36}, [0x08] = {0x3d, 0x3d},
    [0x09] = {0x3e, 0x3e}, [0x0a] = {0x46, 0x46}, [0x0b] = {0x45, 0x45}, [0x0c] = {0x4e, 0x4e},
    [0x0d] = {0x55, 0x55}, [0x0e] = {0x66, 0x66}, [0x0f] = {0x0d, 0x0d}, [0x10] = {0x15, 0x15},
    [0x11] = {0x1d, 0x1d}, [0x12] = {0x24, 0x24}, [0x13] = {0x2d, 0x2d}, [0x14] = {0x2c, 0x2c},
    [0x15] = {0x35, 0x35}, [0x16] = {0x3c, 0x3c}, [0x17] = {0x43, 0x43}, [0x18] = {0x44, 0x44},
    [0x19] = {0x4d, 0x4d}, [0x1a] = {0x54, 0x54}, [0x1b] = {0x5b, 0x5b}, [0x1c] = {0x5a, 0x5a},
    [0x1d] = {0x14, 0x11}, [0x1e] = {0x1c, 0x1c}, [0x1f] = {0x1b, 0x1b}, [0x20] = {0x23, 0x23},
    [0x21] = {0x2b, 0x2b}, [0x22] = {0x34, 0x34}, [0x23] = {0x33, 0x33}, [0x24] = {0x3b, 0x3b},
    [0x25] = {0x42, 0x42}, [0x26] = {0x4b, 0x4b}, [0x27] = {0x4c, 0x4c}, [0x28] = {0x52, 0x52},
    [0x29] = {0x0e, 0x0e}, [0x2a] = {0x12, 0x12}, [0x2b] = {0x5d, 0x5c}, [0x2c] = {0x1a, 0x1a},
    [0x2d] = {0x22, 0x22}, [0x2e] = {0x21, 0x21}, [0x2f] = {0x2a, 0x2a}, [0x30] = {0x32, 0x32},
    [0x31] = {0x31, 0x31}, [0x32] = {0x3a, 0x3a}, [0x33] = {0x41, 0x41}, [0x34] = {0x49, 0x49},
    [0x35] = {0x4a, 0x4a}, [0x36] = {0x59, 0x59}, [0x37] = {0x7c, 0x7e}, [0x38] = {0x11, 0x19},
    [0x39] = {0x29, 0x29}, [0x3a] = {0x58, 0x14}, [0x3b] = {0x05, 0x07}, [0x3c] = {0x06, 0x0f},
    [0x3d] = {0x04, 0x17}, [0x3e] = {0x0c, 0x1f}, [0x3f] = {0x03, 0x27}, [0x40] = {0x0b, 0x2f},
    [0x41] = {0x83, 0x37}, [0x42] = {0x0a, 0x3f}, [0x43] = {0x01, 0x47}, [0x44] = {0x09, 0x4f},
    [0x45] = {0x77, 0x76}, [0x46] = {0x7e, 0x5f}, [0x47] = {0x6c, 0x6c}, [0x48] = {0x75, 0x75},
    [0x49] = {0x7d, 0x7d}, [0x4a] = {0x7b, 0x84}, [0x4b] = {0x6b, 0x6b}, [0x4c] = {0x73, 0x73},
    [0x4d] = {0x74, 0x74}, [0x4e] = {0x79, 0x7c}, [0x4f] = {0x69, 0x69}, [0x50] = {0x72, 0x72},
    [0x51] = {0x7a, 0x7a}, [0x52] = {0x70, 0x70}, [0x53] = {0x71, 0x71}, [0x54] = {0x84, 0x57},
    [0x56] = {0x61, 0x13}, [0x57] = {0x78, 0x56}, [0x58] = {0x07, 0x5e}, [0x59] = {0x0f, 0x00},
    [0x70] = {0x13, 0x87}, [0x73] = {0x51, 0x51}, [0x79] = {0x64, 0x86}, [0x7b] = {0x67, 0x85},
    [0x7d] = {0x6a, 0x5d}, [0x7e] = {0x6d, 0x7b},
};

/* Keys with the prefix E0h in sets 1 and 2. */
static const struct key_codes extended_keys[0x80] = {
    [0x10] = {0x15, 0x00}, [0x19] = {0x4d, 0x00}, [0x20] = {0x23, 0x00}, [0x21] = {0x2b, 0x00},
    [0x22] = {0x34, 0x00}, [0x24] = {0x3b, 0x00}, [0x2e] = {0x21, 0x00}, [0x30] = {0x32, 0x00},
    [0x32] = {0x3a, 0x00}, [0x5e] = {0x37, 0x00}, [0x5f] = {0x3f, 0x00}, [0x63] = {0x5e, 0x00},
    [0x6c] = {0x48, 0x00}, [0x1c] = {0x5a, 0x79}, [0x1d] = {0x14, 0x58}, [0x35] = {0x4a, 0x77},
    [0x37] = {0x7c, 0x57}, [0x38] = {0x11, 0x39}, [0x47] = {0x6c, 0x6e}, [0x48] = {0x75, 0x63},
    [0x49] = {0x7d, 0x6f}, [0x4b] = {0x6b, 0x61}, [0x4d] = {0x74, 0x6a}, [0x4f] = {0x69, 0x65},
    [0x50] = {0x72, 0x60}, [0x51] = {0x7a, 0x6d}, [0x52] = {0x70, 0x67}, [0x53] = {0x71, 0x64},
    [0x5b] = {0x1f, 0x8b}, [0x5c] = {0x27, 0x8c}, [0x5d] = {0x2f, 0x8d},
};

#define SEQUENCE_MAX 8

/* Pause has no break code of its own in sets 1 and 2: both come on pressing. */
static unsigned encode_pause(const struct ps2_keyboard *kbd, bool pressed, u8 out[SEQUENCE_MAX])
{
    static const u8 set1[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
    static const u8 set2[] = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};
    unsigned n = 0;
    if (kbd->scan_set == 3) {
        if (!pressed)
            out[n++] = BREAK_PREFIX;
        out[n++] = 0x62;
    } else if (pressed) {
        n = kbd->scan_set == 1 ? sizeof set1 : sizeof set2;
        memcpy(out, kbd->scan_set == 1 ? set1 : set2, n);
    }
    return n;
}

/* One code with its prefixes, in set 1 or 2. */
static unsigned encode_code(const struct ps2_keyboard *kbd, bool extended, u8 set1, u8 set2, bool pressed,
                            u8 *out)
{
    unsigned n = 0;
    if (extended)
        out[n++] = 0xe0;
    if (kbd->scan_set == 1) {
        out[n++] = set1 | (pressed ? 0 : 0x80);
    } else {
        if (!pressed)
            out[n++] = BREAK_PREFIX;
        out[n++] = set2;
    }
    return n;
}

static unsigned encode_key(const struct ps2_keyboard *kbd, u16 key, bool pressed, u8 out[SEQUENCE_MAX])
{
    bool extended = key >> 8 == 0xe0;
    u8 code = (u8)key;
    unsigned n = 0;
    if (key == KEY_PAUSE)
        return encode_pause(kbd, pressed, out);
    if (code >= ARRAY_LEN(plain_keys) || (key >> 8 && !extended))
        return 0;
    struct key_codes codes = extended ? extended_keys[code] : plain_keys[code];
    if (!(kbd->scan_set == 3 ? codes.set3 : codes.set2))
        return 0;
    if (kbd->scan_set == 3) {
        if (!pressed)
            out[n++] = BREAK_PREFIX;
        out[n++] = codes.set3;
        return n;
    }
    /* Print Screen brings a Shift of its own: E0 2A E0 37, and backwards. */
    if (key == KEY_PRINT && pressed)
        n += encode_code(kbd, true, 0x2a, 0x12, true, out);
    n += encode_code(kbd, extended, code, codes.set2, pressed, out + n);
    if (key == KEY_PRINT && !pressed)
        n += encode_code(kbd, true, 0x2a, 0x12, false, out + n);
    return n;
}

void ps2_keyboard_key(struct ps2_keyboard *kbd, u16 key, bool pressed)
{
    u8 out[SEQUENCE_MAX];
    unsigned n = encode_key(kbd, key, pressed, out);
    if (!kbd->scanning || !n)
        return;
    /* The last place is for the overrun code, which tells the host that keys were lost. */
    if (n < ps2_queue_room(&kbd->out))
        push_bytes(&kbd->out, out, n);
    else if (ps2_queue_room(&kbd->out))
        ps2_queue_push(&kbd->out, kbd->scan_set == 1 ? 0xff : 0x00);
}

/* --- commands ---------------------------------------------------------------------------------------------
 */

static void set_defaults(struct ps2_keyboard *kbd)
{
    kbd->scan_set = 2;
    kbd->typematic = TYPEMATIC_DEFAULT;
    kbd->leds = 0;
    kbd->command = 0;
}

void ps2_keyboard_reset(struct ps2_keyboard *kbd)
{
    memset(kbd, 0, sizeof *kbd);
    set_defaults(kbd);
    kbd->scanning = true;
}

static void write_argument(struct ps2_keyboard *kbd, u8 byte)
{
    u8 command = kbd->command;
    kbd->command = 0;
    switch (command) {
    case KBD_SET_LEDS:
        kbd->leds = byte & 7;
        ps2_queue_push(&kbd->out, REPLY_ACK);
        break;
    case KBD_TYPEMATIC:
        kbd->typematic = byte & 0x7f;
        ps2_queue_push(&kbd->out, REPLY_ACK);
        break;
    case KBD_SCAN_SET:
        if (byte > 3) {
            ps2_queue_push(&kbd->out, REPLY_RESEND);
            break;
        }
        ps2_queue_push(&kbd->out, REPLY_ACK);
        if (byte)
            kbd->scan_set = byte;
        else
            ps2_queue_push(&kbd->out, kbd->scan_set);
        break;
    default: /* FBh..FDh: a list of keys, ended by the next command; key types are not distinguished */
        kbd->command = command;
        ps2_queue_push(&kbd->out, REPLY_ACK);
        break;
    }
}

static void write_command(struct ps2_keyboard *kbd, u8 byte)
{
    static const u8 identity[] = {REPLY_ACK, 0xab, 0x83};
    kbd->command = 0;
    switch (byte) {
    case KBD_SET_LEDS:
    case KBD_SCAN_SET:
    case KBD_TYPEMATIC:
    case KBD_KEY_FIRST ... KBD_KEY_LAST:
        kbd->command = byte;
        ps2_queue_push(&kbd->out, REPLY_ACK);
        break;
    case KBD_ECHO:
        ps2_queue_push(&kbd->out, REPLY_ECHO);
        break;
    case KBD_IDENTIFY:
        push_bytes(&kbd->out, identity, sizeof identity);
        break;
    case KBD_ENABLE:
        kbd->out.count = 0;
        kbd->scanning = true;
        ps2_queue_push(&kbd->out, REPLY_ACK);
        break;
    case KBD_DISABLE:
    case KBD_DEFAULT:
        kbd->out.count = 0;
        set_defaults(kbd);
        kbd->scanning = byte == KBD_DEFAULT;
        ps2_queue_push(&kbd->out, REPLY_ACK);
        break;
    case KBD_ALL_FIRST ... KBD_ALL_LAST:
        ps2_queue_push(&kbd->out, REPLY_ACK);
        break;
    case KBD_RESEND:
        ps2_queue_unpop(&kbd->out, kbd->out.last);
        break;
    case KBD_RESET:
        ps2_keyboard_reset(kbd);
        ps2_queue_push(&kbd->out, REPLY_ACK);
        ps2_queue_push(&kbd->out, REPLY_PASSED);
        break;
    default:
        ps2_queue_push(&kbd->out, REPLY_RESEND);
        break;
    }
}

void ps2_keyboard_write(struct ps2_keyboard *kbd, u8 byte)
{
    /* A byte of EDh or more where an argument is due is a new command. */
    if (kbd->command && byte < KBD_SET_LEDS)
        write_argument(kbd, byte);
    else
        write_command(kbd, byte);
}

int ps2_keyboard_check(const struct ps2_keyboard *kbd, struct error *err)
{
    if (kbd->out.count > PS2_QUEUE_SIZE || kbd->scan_set < 1 || kbd->scan_set > 3)
        return error_set(err, EINVAL, "keyboard: queue of %u bytes, scan code set %u cannot be",
                         kbd->out.count, kbd->scan_set);
    return 0;
}
