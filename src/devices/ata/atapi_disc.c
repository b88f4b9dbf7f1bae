/* What is on the disc: capacity, table of contents, disc and track information (MMC-6 6). One session, one
 * data track. */
#include "devices/ata/atapi.h"

#define LEAD_OUT   0xaa
#define DATA_TRACK 0x14 /* ADR 1, control: data, no copying */

void atapi_capacity(struct ata_device *dev)
{
    store_be32(dev->buffer, cd_sectors(dev) - 1);
    store_be32(dev->buffer + 4, CD_SECTOR);
    atapi_reply(dev, 8, 8);
}

void atapi_format_capacities(struct ata_device *dev)
{
    bool medium = atapi_has_medium(dev);
    memset(dev->buffer, 0, 12);
    dev->buffer[3] = 8;
    store_be32(dev->buffer + 4, medium ? cd_sectors(dev) : ~0u);
    store_be32(dev->buffer + 8, CD_SECTOR);
    dev->buffer[8] = medium ? 2 : 3; /* formatted, or none */
    atapi_reply(dev, 12, load_be16(dev->packet + 7));
}

static void store_address(u8 *at, u32 lba, bool msf)
{
    if (!msf) {
        store_be32(at, lba);
        return;
    }
    at[0] = 0;
    store_msf(at + 1, lba);
}

static u32 toc_tracks(struct ata_device *dev, bool msf, u8 first)
{
    u8 *at = dev->buffer + 4;
    for (unsigned i = 0; i < 2; i++) {
        if (i == 0 && first > 1)
            continue;
        at[1] = DATA_TRACK;
        at[2] = i ? LEAD_OUT : 1;
        store_address(at + 4, i ? cd_sectors(dev) : 0, msf);
        at += 8;
    }
    return (u32)(at - dev->buffer);
}

static u32 toc_sessions(struct ata_device *dev, bool msf)
{
    dev->buffer[5] = DATA_TRACK;
    dev->buffer[6] = 1;
    store_address(dev->buffer + 8, 0, msf);
    return 12;
}

/* Format 2: the entries of the lead-in's Q channel; times are always MSF. */
static u32 toc_full(struct ata_device *dev)
{
    static const u8 points[] = {0xa0, 0xa1, 0xa2, 1};
    u8 *at = dev->buffer + 4;
    for (unsigned i = 0; i < ARRAY_LEN(points); i++, at += 11) {
        at[0] = 1;
        at[1] = DATA_TRACK;
        at[3] = points[i];
        if (points[i] == 0xa0 || points[i] == 0xa1)
            at[8] = 1; /* first and last track */
        else
            store_msf(at + 8, points[i] == 0xa2 ? cd_sectors(dev) : 0);
    }
    return 4 + 11 * ARRAY_LEN(points);
}

void atapi_toc(struct ata_device *dev)
{
    const u8 *p = dev->packet;
    /* The format was in byte 9 before it moved to byte 2. */
    u8 format = p[2] & 0xf ? p[2] & 0xf : p[9] >> 6, first = p[6];
    bool msf = p[1] & 2;
    u32 len;
    memset(dev->buffer, 0, 64);
    if (format > 2 || (format == 0 && first > 1 && first != LEAD_OUT) || (format == 2 && first > 1)) {
        atapi_bad_field(dev);
        return;
    }
    if (format == 0)
        len = toc_tracks(dev, msf, first);
    else
        len = format == 1 ? toc_sessions(dev, msf) : toc_full(dev);
    store_be16(dev->buffer, len - 2);
    dev->buffer[2] = dev->buffer[3] = 1;
    atapi_reply(dev, len, load_be16(p + 7));
}

void atapi_disc_information(struct ata_device *dev)
{
    u8 *b = dev->buffer;
    if (dev->packet[1] & 7) {
        atapi_bad_field(dev);
        return;
    }
    memset(b, 0, 34);
    b[1] = 32;
    b[2] = 0x0e; /* complete, finalized */
    b[3] = b[4] = b[5] = b[6] = 1;
    b[7] = 0x20;             /* unrestricted use */
    memset(b + 16, 0xff, 8); /* no more sessions */
    atapi_reply(dev, 34, load_be16(dev->packet + 7));
}

void atapi_track_information(struct ata_device *dev)
{
    const u8 *p = dev->packet;
    u32 number = load_be32(p + 2);
    u8 *b = dev->buffer, type = p[1] & 3;
    if (type == 3 || (type == 0 && number >= cd_sectors(dev)) || (type && number != 1)) {
        atapi_bad_field(dev);
        return;
    }
    memset(b, 0, 36);
    b[1] = 34;
    b[2] = b[3] = 1;
    b[5] = DATA_TRACK & 0xf;
    b[6] = 1; /* mode 1 */
    store_be32(b + 24, cd_sectors(dev));
    atapi_reply(dev, 36, load_be16(p + 7));
}

/* Nothing plays: no audio status. */
void atapi_subchannel(struct ata_device *dev)
{
    u8 *b = dev->buffer, format = dev->packet[3];
    u32 len = dev->packet[2] & 0x40 ? format == 1 ? 16 : 24 : 4;
    if ((dev->packet[2] & 0x40) && (format < 1 || format > 3)) {
        atapi_bad_field(dev);
        return;
    }
    memset(b, 0, 24);
    b[1] = 0x15;
    store_be16(b + 2, len - 4);
    if (len > 4)
        b[4] = format;
    if (len == 16) {
        b[5] = DATA_TRACK;
        b[6] = b[7] = 1;
    }
    atapi_reply(dev, len, load_be16(dev->packet + 7));
}

/* Format 0: what a DVD-ROM's lead-in says; 1: no copy protection; FFh: the list of these. */
void atapi_dvd_structure(struct ata_device *dev)
{
    const u8 *p = dev->packet;
    u8 *b = dev->buffer;
    u32 len, allocated = load_be16(p + 8);
    memset(b, 0, 2052);
    if (!medium_is_dvd(dev) || p[6]) {
        atapi_fail(dev, SENSE_ILLEGAL_REQUEST, 0x30, 2); /* cannot read medium - incompatible format */
        return;
    }
    switch (p[7]) {
    case 0:
        len = 2052;
        b[4] = 0x01;                 /* DVD-ROM, version 1 */
        b[5] = 0x0f;                 /* 120 mm, no maximum rate */
        b[6] = 0x01;                 /* one layer */
        store_be32(b + 8, 0x030000); /* first sector of the data area */
        store_be32(b + 12, 0x030000 + cd_sectors(dev) - 1);
        break;
    case 1:
        len = 8;
        break;
    case 0xff:
        len = 12;
        b[4] = 0x00;
        b[5] = 0x40;
        store_be16(b + 6, 2052);
        b[8] = 0x01;
        b[9] = 0x40;
        store_be16(b + 10, 8);
        break;
    default:
        atapi_bad_field(dev);
        return;
    }
    store_be16(b, len - 2);
    atapi_reply(dev, len, allocated);
}
