#include "display/keymap.h"

#include <linux/input-event-codes.h>
#include <string.h>
#include <strings.h>

/* --- characters ------------------------------------------------------------------------------------- */

/* The keys that type two characters; letters apart. */
static const struct {
    char plain, shifted;
    u16 code;
} us_keys[] = {
    {'1', '!', KEY_1},           {'2', '@', KEY_2},          {'3', '#', KEY_3},
    {'4', '$', KEY_4},           {'5', '%', KEY_5},          {'6', '^', KEY_6},
    {'7', '&', KEY_7},           {'8', '*', KEY_8},          {'9', '(', KEY_9},
    {'0', ')', KEY_0},           {'-', '_', KEY_MINUS},      {'=', '+', KEY_EQUAL},
    {'[', '{', KEY_LEFTBRACE},   {']', '}', KEY_RIGHTBRACE}, {';', ':', KEY_SEMICOLON},
    {'\'', '"', KEY_APOSTROPHE}, {'`', '~', KEY_GRAVE},      {'\\', '|', KEY_BACKSLASH},
    {',', '<', KEY_COMMA},       {'.', '>', KEY_DOT},        {'/', '?', KEY_SLASH},
};

static const u16 letters[] = {
    KEY_A, KEY_B, KEY_C, KEY_D, KEY_E, KEY_F, KEY_G, KEY_H, KEY_I, KEY_J, KEY_K, KEY_L, KEY_M,
    KEY_N, KEY_O, KEY_P, KEY_Q, KEY_R, KEY_S, KEY_T, KEY_U, KEY_V, KEY_W, KEY_X, KEY_Y, KEY_Z,
};

struct keymap_key keymap_from_char(u32 c)
{
    if (c >= 'a' && c <= 'z')
        return (struct keymap_key){letters[c - 'a'], KEYMAP_PLAIN, true};
    if (c >= 'A' && c <= 'Z')
        return (struct keymap_key){letters[c - 'A'], KEYMAP_SHIFTED, true};
    for (size_t i = 0; i < ARRAY_LEN(us_keys); i++) {
        if (c == (u32)us_keys[i].plain)
            return (struct keymap_key){us_keys[i].code, KEYMAP_PLAIN, false};
        if (c == (u32)us_keys[i].shifted)
            return (struct keymap_key){us_keys[i].code, KEYMAP_SHIFTED, false};
    }
    switch (c) {
    case ' ':
        return (struct keymap_key){KEY_SPACE, KEYMAP_ANY, false};
    case '\n':
    case '\r':
        return (struct keymap_key){KEY_ENTER, KEYMAP_ANY, false};
    case '\t':
        return (struct keymap_key){KEY_TAB, KEYMAP_PLAIN, false};
    case '\b':
        return (struct keymap_key){KEY_BACKSPACE, KEYMAP_ANY, false};
    case 0x1b:
        return (struct keymap_key){KEY_ESC, KEYMAP_ANY, false};
    }
    return (struct keymap_key){KEY_RESERVED, KEYMAP_ANY, false};
}

/* --- keysyms ---------------------------------------------------------------------------------------- */

/* X11's keysymdef.h. ISO_Level3_Shift (AltGr) is not here on purpose: it chose a character on the viewer's
 * keyboard, and that character is what is typed. */
static const struct {
    u16 keysym, code;
} function_keys[] = {
    {0xff08, KEY_BACKSPACE},  {0xff09, KEY_TAB},        {0xfe20, KEY_TAB}, /* ISO_Left_Tab: with Shift */
    {0xff0a, KEY_ENTER},      {0xff0d, KEY_ENTER},      {0xff13, KEY_PAUSE},
    {0xff6b, KEY_PAUSE}, /* Break */
    {0xff14, KEY_SCROLLLOCK}, {0xff15, KEY_SYSRQ},      {0xff1b, KEY_ESC},
    {0xff22, KEY_MUHENKAN},   {0xff23, KEY_HENKAN},     {0xff27, KEY_KATAKANAHIRAGANA},
    {0xff50, KEY_HOME},       {0xff51, KEY_LEFT},       {0xff52, KEY_UP},
    {0xff53, KEY_RIGHT},      {0xff54, KEY_DOWN},       {0xff55, KEY_PAGEUP},
    {0xff56, KEY_PAGEDOWN},   {0xff57, KEY_END},        {0xff61, KEY_SYSRQ}, /* Print */
    {0xff63, KEY_INSERT},     {0xff67, KEY_COMPOSE},                         /* Menu */
    {0xff7f, KEY_NUMLOCK},    {0xff8d, KEY_KPENTER},                         /* KP_Enter */
    {0xffe1, KEY_LEFTSHIFT},  {0xffe2, KEY_RIGHTSHIFT}, {0xffe3, KEY_LEFTCTRL},
    {0xffe4, KEY_RIGHTCTRL},  {0xffe5, KEY_CAPSLOCK},   {0xffe7, KEY_LEFTMETA}, /* Meta_L */
    {0xffe8, KEY_RIGHTMETA},  {0xffe9, KEY_LEFTALT},    {0xffea, KEY_RIGHTALT},
    {0xffeb, KEY_LEFTMETA}, /* Super_L */
    {0xffec, KEY_RIGHTMETA},  {0xffff, KEY_DELETE},     {0xffaa, KEY_KPASTERISK},
    {0xffab, KEY_KPPLUS},     {0xffac, KEY_KPCOMMA},    {0xffad, KEY_KPMINUS},
    {0xffaf, KEY_KPSLASH},    {0xffbd, KEY_KPEQUAL},
};

/* The keypad: the key, what its keysyms are with Num Lock and without, and the keys that mean the same
 * elsewhere. */
static const struct {
    u16 digit_keysym, arrow_keysym, code, digit_code, arrow_code;
} keypad[] = {
    {0xffae, 0xff9f, KEY_KPDOT, KEY_DOT, KEY_DELETE}, {0xffb0, 0xff9e, KEY_KP0, KEY_0, KEY_INSERT},
    {0xffb1, 0xff9c, KEY_KP1, KEY_1, KEY_END},        {0xffb2, 0xff99, KEY_KP2, KEY_2, KEY_DOWN},
    {0xffb3, 0xff9b, KEY_KP3, KEY_3, KEY_PAGEDOWN},   {0xffb4, 0xff96, KEY_KP4, KEY_4, KEY_LEFT},
    {0xffb5, 0xff9d, KEY_KP5, KEY_5, KEY_KP5},        {0xffb6, 0xff98, KEY_KP6, KEY_6, KEY_RIGHT},
    {0xffb7, 0xff95, KEY_KP7, KEY_7, KEY_HOME},       {0xffb8, 0xff97, KEY_KP8, KEY_8, KEY_UP},
    {0xffb9, 0xff9a, KEY_KP9, KEY_9, KEY_PAGEUP},
};

/* Accents that a viewer's keyboard would put on the next letter: typed alone. */
static const struct {
    u16 keysym;
    char c;
} dead_keys[] = {{0xfe50, '`'}, {0xfe51, '\''}, {0xfe52, '^'}, {0xfe53, '~'}, {0xfe57, '"'}};

#define KEYSYM_F1      0xffbeu
#define KEYSYM_F12     0xffc9u
#define KEYSYM_UNICODE 0x01000000u

static struct keymap_key from_keypad(u32 keysym, bool num_lock)
{
    for (size_t i = 0; i < ARRAY_LEN(keypad); i++) {
        if (keysym == keypad[i].digit_keysym)
            return num_lock ? (struct keymap_key){keypad[i].code, KEYMAP_PLAIN, false}
                            : (struct keymap_key){keypad[i].digit_code, KEYMAP_PLAIN, false};
        if (keysym == keypad[i].arrow_keysym)
            return (struct keymap_key){num_lock ? keypad[i].arrow_code : keypad[i].code, KEYMAP_ANY, false};
    }
    return (struct keymap_key){KEY_RESERVED, KEYMAP_ANY, false};
}

struct keymap_key keymap_from_keysym(u32 keysym, bool num_lock)
{
    /* Latin-1 and Unicode keysyms are the characters; the control characters have keysyms of their own. */
    u32 c = keysym >= KEYSYM_UNICODE ? keysym - KEYSYM_UNICODE : keysym;
    if (c < 0x80)
        return c >= ' ' ? keymap_from_char(c) : (struct keymap_key){KEY_RESERVED, KEYMAP_ANY, false};
    if (keysym >= KEYSYM_F1 && keysym <= KEYSYM_F12) {
        unsigned n = keysym - KEYSYM_F1;
        return (struct keymap_key){(u16)(n < 10 ? KEY_F1 + n : KEY_F11 + n - 10), KEYMAP_ANY, false};
    }
    for (size_t i = 0; i < ARRAY_LEN(function_keys); i++)
        if (function_keys[i].keysym == keysym)
            return (struct keymap_key){function_keys[i].code, KEYMAP_ANY, false};
    for (size_t i = 0; i < ARRAY_LEN(dead_keys); i++)
        if (dead_keys[i].keysym == keysym)
            return keymap_from_char((u32)dead_keys[i].c);
    return from_keypad(keysym, num_lock);
}

/* --- names ------------------------------------------------------------------------------------------ */

/* The first of a key's names is QMP's QKeyCode. */
static const struct {
    const char *name;
    u16 code;
} names[] = {
    {"shift", KEY_LEFTSHIFT},
    {"shift_r", KEY_RIGHTSHIFT},
    {"alt", KEY_LEFTALT},
    {"alt_r", KEY_RIGHTALT},
    {"altgr", KEY_RIGHTALT},
    {"ctrl", KEY_LEFTCTRL},
    {"ctrl_r", KEY_RIGHTCTRL},
    {"control", KEY_LEFTCTRL},
    {"meta_l", KEY_LEFTMETA},
    {"meta_r", KEY_RIGHTMETA},
    {"win", KEY_LEFTMETA},
    {"super", KEY_LEFTMETA},
    {"menu", KEY_COMPOSE},
    {"compose", KEY_COMPOSE},
    {"esc", KEY_ESC},
    {"escape", KEY_ESC},
    {"ret", KEY_ENTER},
    {"enter", KEY_ENTER},
    {"return", KEY_ENTER},
    {"spc", KEY_SPACE},
    {"space", KEY_SPACE},
    {"tab", KEY_TAB},
    {"backspace", KEY_BACKSPACE},
    {"up", KEY_UP},
    {"down", KEY_DOWN},
    {"left", KEY_LEFT},
    {"right", KEY_RIGHT},
    {"home", KEY_HOME},
    {"end", KEY_END},
    {"pgup", KEY_PAGEUP},
    {"pageup", KEY_PAGEUP},
    {"pgdn", KEY_PAGEDOWN},
    {"pagedown", KEY_PAGEDOWN},
    {"insert", KEY_INSERT},
    {"ins", KEY_INSERT},
    {"delete", KEY_DELETE},
    {"del", KEY_DELETE},
    {"caps_lock", KEY_CAPSLOCK},
    {"capslock", KEY_CAPSLOCK},
    {"num_lock", KEY_NUMLOCK},
    {"numlock", KEY_NUMLOCK},
    {"scroll_lock", KEY_SCROLLLOCK},
    {"scrolllock", KEY_SCROLLLOCK},
    {"print", KEY_SYSRQ},
    {"sysrq", KEY_SYSRQ},
    {"pause", KEY_PAUSE},
    {"f1", KEY_F1},
    {"f2", KEY_F2},
    {"f3", KEY_F3},
    {"f4", KEY_F4},
    {"f5", KEY_F5},
    {"f6", KEY_F6},
    {"f7", KEY_F7},
    {"f8", KEY_F8},
    {"f9", KEY_F9},
    {"f10", KEY_F10},
    {"f11", KEY_F11},
    {"f12", KEY_F12},
    {"minus", KEY_MINUS},
    {"equal", KEY_EQUAL},
    {"bracket_left", KEY_LEFTBRACE},
    {"bracket_right", KEY_RIGHTBRACE},
    {"semicolon", KEY_SEMICOLON},
    {"apostrophe", KEY_APOSTROPHE},
    {"grave_accent", KEY_GRAVE},
    {"backslash", KEY_BACKSLASH},
    {"comma", KEY_COMMA},
    {"dot", KEY_DOT},
    {"slash", KEY_SLASH},
    {"less", KEY_102ND},
    {"kp_0", KEY_KP0},
    {"kp_1", KEY_KP1},
    {"kp_2", KEY_KP2},
    {"kp_3", KEY_KP3},
    {"kp_4", KEY_KP4},
    {"kp_5", KEY_KP5},
    {"kp_6", KEY_KP6},
    {"kp_7", KEY_KP7},
    {"kp_8", KEY_KP8},
    {"kp_9", KEY_KP9},
    {"kp_add", KEY_KPPLUS},
    {"kp_subtract", KEY_KPMINUS},
    {"kp_multiply", KEY_KPASTERISK},
    {"kp_divide", KEY_KPSLASH},
    {"kp_enter", KEY_KPENTER},
    {"kp_decimal", KEY_KPDOT},
    {"kp_equals", KEY_KPEQUAL},
    {"kp_comma", KEY_KPCOMMA},
    {"henkan", KEY_HENKAN},
    {"muhenkan", KEY_MUHENKAN},
    {"hiragana", KEY_KATAKANAHIRAGANA},
    {"katakanahiragana", KEY_KATAKANAHIRAGANA},
    {"ro", KEY_RO},
    {"yen", KEY_YEN},
    {"power", KEY_POWER},
    {"sleep", KEY_SLEEP},
    {"wake", KEY_WAKEUP},
    {"audiomute", KEY_MUTE},
    {"volumedown", KEY_VOLUMEDOWN},
    {"volumeup", KEY_VOLUMEUP},
    {"audionext", KEY_NEXTSONG},
    {"audioprev", KEY_PREVIOUSSONG},
    {"audioplay", KEY_PLAYPAUSE},
    {"audiostop", KEY_STOPCD},
    {"calculator", KEY_CALC},
    {"mail", KEY_MAIL},
    {"ac_home", KEY_HOMEPAGE},
};

u16 keymap_from_name(const char *name, size_t len)
{
    if (len == 1)
        return keymap_from_char((u8)name[0]).code;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i].name) == len && !strncasecmp(names[i].name, name, len))
            return names[i].code;
    return KEY_RESERVED;
}
