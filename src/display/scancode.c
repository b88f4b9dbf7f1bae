/*
 * IBM PS/2 Hardware Interface Technical Reference, keyboards, scan code set 1; the multimedia and power keys
 * from Microsoft's Keyboard Scan Code Specification. Linux numbered its first keys after set 1, so only
 * those beyond are listed.
 */
#include "display/scancode.h"

#include <linux/input-event-codes.h>

/* Keys whose number is their scan code: Esc .. keypad '.', then the key next to the left Shift, F11, F12. */
static bool is_numbered_alike(u16 n)
{
    return (n >= KEY_ESC && n <= KEY_KPDOT) || (n >= KEY_102ND && n <= KEY_F12);
}

static const struct {
    u16 key, scancode;
} others[] = {
    {KEY_KPEQUAL, 0x59},     {KEY_KATAKANAHIRAGANA, 0x70},
    {KEY_RO, 0x73},          {KEY_HENKAN, 0x79},
    {KEY_MUHENKAN, 0x7b},    {KEY_YEN, 0x7d},
    {KEY_KPCOMMA, 0x7e},     {KEY_PREVIOUSSONG, 0xe010},
    {KEY_NEXTSONG, 0xe019},  {KEY_KPENTER, 0xe01c},
    {KEY_RIGHTCTRL, 0xe01d}, {KEY_MUTE, 0xe020},
    {KEY_CALC, 0xe021},      {KEY_PLAYPAUSE, 0xe022},
    {KEY_STOPCD, 0xe024},    {KEY_VOLUMEDOWN, 0xe02e},
    {KEY_VOLUMEUP, 0xe030},  {KEY_HOMEPAGE, 0xe032},
    {KEY_KPSLASH, 0xe035},   {KEY_SYSRQ, 0xe037},
    {KEY_RIGHTALT, 0xe038},  {KEY_HOME, 0xe047},
    {KEY_UP, 0xe048},        {KEY_PAGEUP, 0xe049},
    {KEY_LEFT, 0xe04b},      {KEY_RIGHT, 0xe04d},
    {KEY_END, 0xe04f},       {KEY_DOWN, 0xe050},
    {KEY_PAGEDOWN, 0xe051},  {KEY_INSERT, 0xe052},
    {KEY_DELETE, 0xe053},    {KEY_LEFTMETA, 0xe05b},
    {KEY_RIGHTMETA, 0xe05c}, {KEY_COMPOSE, 0xe05d},
    {KEY_POWER, 0xe05e},     {KEY_SLEEP, 0xe05f},
    {KEY_WAKEUP, 0xe063},    {KEY_MAIL, 0xe06c},
    {KEY_PAUSE, 0xe11d},
};

u16 scancode_from_key(u16 key)
{
    if (is_numbered_alike(key))
        return key;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i].key == key)
            return others[i].scancode;
    return 0;
}

u16 scancode_to_key(u16 scancode)
{
    if (is_numbered_alike(scancode))
        return scancode;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i].scancode == scancode)
            return others[i].key;
    return KEY_RESERVED;
}
