/* What the drive is and does: identification, modes, features, events, the tray (MMC-6 5 and 6, SPC-3 6). */
#include <stdio.h>

#include "devices/ata/atapi.h"

void atapi_inquiry(struct ata_device *dev)
{
    u8 *b = dev->buffer;
    char text[32];
    if ((dev->packet[1] & 3) || dev->packet[2]) { /* there are no vital product data */
        atapi_bad_field(dev);
        return;
    }
    memset(b, 0, 36);
    b[0] = 0x05; /* CD/DVD */
    b[1] = 0x80; /* removable */
    b[3] = 0x32; /* ATAPI; response format 2 */
    b[4] = 31;
    snprintf(text, sizeof text, "%-8s%-16s%-4.4s", "RING3", "CD-ROM", RING3_VERSION);
    memcpy(b + 8, text, 28);
    atapi_reply(dev, 36, load_be16(dev->packet + 3));
}

void atapi_request_sense(struct ata_device *dev)
{
    u8 *b = dev->buffer;
    if (!dev->sense_key && dev->attention_asc) {
        dev->sense_key = SENSE_UNIT_ATTENTION;
        dev->sense_asc = dev->attention_asc;
        dev->sense_ascq = dev->attention_ascq;
        dev->attention_asc = dev->attention_ascq = 0;
    }
    memset(b, 0, 18);
    b[0] = 0x70;
    b[2] = dev->sense_key;
    b[7] = 10;
    b[12] = dev->sense_asc;
    b[13] = dev->sense_ascq;
    dev->sense_key = dev->sense_asc = dev->sense_ascq = 0;
    atapi_reply(dev, 18, dev->packet[4]);
}

/* --- mode pages --- */

#define PAGE_ALL 0x3f

/* The page at `b`; returns its length, 0: there is no such page. `control`: 0 current, 1 what can be changed,
 * 2 default. */
static u32 mode_page(const struct ata_device *dev, u8 page, u8 control, u8 *b)
{
    bool changeable = control == 1;
    switch (page) {
    case 0x01: /* read error recovery: how often, and what then */
        memset(b, 0, 12);
        b[0] = 0x01;
        b[1] = 10;
        b[2] = changeable ? 0x37 : control == 2 ? 0 : dev->recorded[0];
        b[3] = changeable ? 0xff : control == 2 ? 1 : dev->recorded[1];
        return 12;
    case 0x0e: /* audio control: kept as all others, by nothing */
        memset(b, 0, 16);
        b[0] = 0x0e;
        b[1] = 14;
        if (!changeable) {
            b[2] = 0x04;
            b[8] = 1;
            b[9] = 0xff;
            b[10] = 2;
            b[11] = 0xff;
        }
        return 16;
    case 0x2a: /* capabilities and mechanical status */
        memset(b, 0, 22);
        b[0] = 0x2a;
        b[1] = 20;
        if (changeable)
            return 22;
        b[2] = 0x08; /* reads CD-R, DVD-ROM */
        b[4] = 0x70; /* mode 2 form 1 and 2, multisession */
        b[6] = 0x29; /* tray; locks, ejects */
        b[6] |= dev->locked ? 0x02 : 0;
        store_be16(b + 8, 176 * 24);
        store_be16(b + 12, 512);
        store_be16(b + 14, 176 * 24);
        return 22;
    default:
        return 0;
    }
}

static u8 medium_type(const struct ata_device *dev)
{
    if (dev->tray_open)
        return 0x71;
    return atapi_has_medium(dev) ? 0x01 : 0x70;
}

void atapi_mode_sense(struct ata_device *dev)
{
    static const u8 pages[] = {0x01, 0x0e, 0x2a};
    const u8 *p = dev->packet;
    u8 page = p[2] & 0x3f, control = p[2] >> 6, *b = dev->buffer;
    bool ten = p[0] == 0x5a;
    u32 head = ten ? 8 : 4, len = head;
    if (control == 3) {
        atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED, 0);
        return;
    }
    memset(b, 0, head);
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++)
        if (page == pages[i] || page == PAGE_ALL)
            len += mode_page(dev, pages[i], control, b + len);
    if (len == head) {
        atapi_bad_field(dev);
        return;
    }
    if (ten)
        store_be16(b, len - 2);
    else
        b[0] = (u8)(len - 1);
    b[ten ? 2 : 1] = medium_type(dev);
    atapi_reply(dev, len, ten ? load_be16(p + 7) : p[4]);
}

void atapi_mode_select(struct ata_device *dev)
{
    const u8 *p = dev->packet;
    if (!(p[1] & 0x10) || (p[1] & 1))
        atapi_bad_field(dev);
    else
        atapi_take(dev, p[0] == 0x55 ? load_be16(p + 7) : p[4]);
}

void atapi_mode_selected(struct ata_device *dev)
{
    bool ten = dev->packet[0] == 0x55;
    const u8 *b = dev->buffer;
    u32 at = ten ? 8 : 4, end = dev->fill;
    if (at <= end)
        at += ten ? load_be16(b + 6) : b[3]; /* block descriptors */
    if (at > end) {
        atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH, 0);
        return;
    }
    for (u32 len; at + 2 <= end; at += len) {
        u8 page = b[at] & 0x3f, known[32];
        len = b[at + 1] + 2u;
        if (mode_page(dev, page, 0, known) != len || at + len > end) {
            atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_INVALID_PARAMETER, 0);
            return;
        }
        if (page == 0x01) {
            dev->recorded[0] = b[at + 2] & 0x37;
            dev->recorded[1] = b[at + 3];
        }
    }
    atapi_ok(dev);
}

/* --- features --- */

enum profile { PROFILE_NONE, PROFILE_CD = 0x08, PROFILE_DVD = 0x10 };

enum feature_current { CURRENT_ALWAYS = 1, CURRENT_CD = 2, CURRENT_DVD = 4, CURRENT_ANY = 6 };

static const struct {
    u16 code;
    u8 version_persistent, current, len, data[8];
} features[] = {
    {0x0001, 0x0b, CURRENT_ALWAYS, 8, {0, 0, 0, 2, 1}},             /* core: ATAPI */
    {0x0002, 0x07, CURRENT_ALWAYS, 4, {0x02}},                      /* morphing: events by polling */
    {0x0003, 0x03, CURRENT_ALWAYS, 4, {0x29}},                      /* removable: tray, eject, lock */
    {0x0010, 0x00, CURRENT_ANY, 8, {0, 0, 0x08, 0, 0, 0x10, 0, 0}}, /* random readable: 2048, blocks of 16 */
    {0x001e, 0x08, CURRENT_CD, 4, {0}},                             /* CD read */
    {0x001f, 0x00, CURRENT_DVD, 4, {0}},                            /* DVD read */
    {0x0100, 0x03, CURRENT_ALWAYS, 0, {0}},                         /* power management */
    {0x0105, 0x03, CURRENT_ALWAYS, 4, {0}},                         /* time-out */
    {0x0107, 0x04, CURRENT_ANY, 4, {0}},                            /* real-time streaming: SET CD SPEED */
};

static enum profile current_profile(const struct ata_device *dev)
{
    if (!atapi_has_medium(dev))
        return PROFILE_NONE;
    return medium_is_dvd(dev) ? PROFILE_DVD : PROFILE_CD;
}

static u32 profile_list(enum profile current, u8 *b)
{
    memset(b, 0, 12);
    b[2] = 0x03;
    b[3] = 8;
    store_be16(b + 4, PROFILE_DVD);
    b[6] = current == PROFILE_DVD;
    store_be16(b + 8, PROFILE_CD);
    b[10] = current == PROFILE_CD;
    return 12;
}

static bool feature_is_current(u8 current, enum profile profile)
{
    return current == CURRENT_ALWAYS || (profile == PROFILE_CD && (current & CURRENT_CD)) ||
           (profile == PROFILE_DVD && (current & CURRENT_DVD));
}

void atapi_get_configuration(struct ata_device *dev)
{
    const u8 *p = dev->packet;
    u8 request = p[1] & 3, *b = dev->buffer;
    u16 start = load_be16(p + 2);
    enum profile profile = current_profile(dev);
    u32 len = 8;
    if (request == 3) {
        atapi_bad_field(dev);
        return;
    }
    memset(b, 0, 8);
    store_be16(b + 6, profile);
    if (start == 0)
        len += profile_list(profile, b + len);
    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        bool current = feature_is_current(features[i].current, profile);
        if (features[i].code < start || (request == 2 && features[i].code != start) ||
            (request == 1 && !current))
            continue;
        u8 *f = b + len;
        store_be16(f, features[i].code);
        f[2] = (u8)((features[i].version_persistent & ~1u) | current);
        f[3] = features[i].len;
        memcpy(f + 4, features[i].data, 8);
        len += 4u + features[i].len;
    }
    store_be32(b, len - 4);
    atapi_reply(dev, len, load_be16(p + 7));
}

/* --- events, the tray --- */

void atapi_event_status(struct ata_device *dev)
{
    const u8 *p = dev->packet;
    u8 *b = dev->buffer;
    if (!(p[1] & 1)) { /* only by polling */
        atapi_bad_field(dev);
        return;
    }
    memset(b, 0, 8);
    b[3] = 0x10; /* media events */
    if (!(p[4] & 0x10)) {
        b[1] = 2;
        b[2] = 0x80; /* no such event */
        atapi_reply(dev, 4, load_be16(p + 7));
        return;
    }
    b[1] = 6;
    b[2] = 4;
    b[4] = dev->media_event;
    b[5] = (u8)((dev->tray_open ? 1 : 0) | (atapi_has_medium(dev) ? 2 : 0));
    if (load_be16(p + 7) > 4)
        dev->media_event = MEDIA_NO_EVENT;
    atapi_reply(dev, 8, load_be16(p + 7));
}

void atapi_mechanism_status(struct ata_device *dev)
{
    memset(dev->buffer, 0, 8);
    dev->buffer[1] = dev->tray_open ? 0x10 : 0;
    atapi_reply(dev, 8, load_be16(dev->packet + 8));
}

void atapi_start_stop(struct ata_device *dev)
{
    bool start = dev->packet[4] & 1, load_eject = dev->packet[4] & 2;
    if (dev->packet[4] >> 4 || !load_eject) { /* a power condition; or spinning, which it does not need */
        if (!(dev->packet[4] >> 4) && start && !atapi_has_medium(dev))
            atapi_fail(dev, SENSE_NOT_READY, ASC_NO_MEDIUM, dev->tray_open ? 2 : 1);
        else
            atapi_ok(dev);
        return;
    }
    if (!start && dev->locked && atapi_has_medium(dev)) {
        atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_REMOVAL_PREVENTED, 2);
        return;
    }
    if (start && dev->tray_open) {
        ata_medium_changed(dev);
    } else if (!start && !dev->tray_open) {
        dev->tray_open = true;
        dev->media_event = MEDIA_REMOVAL;
    }
    atapi_ok(dev);
}

void atapi_prevent_allow(struct ata_device *dev)
{
    dev->locked = dev->packet[4] & 1;
    atapi_ok(dev);
}

void atapi_set_speed(struct ata_device *dev)
{
    atapi_ok(dev);
}
