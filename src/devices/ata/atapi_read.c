/* Reading: whole sectors straight from the medium, or raw CD sectors put together (ECMA-130). */
#include "devices/ata/atapi.h"

#define PER_CD   (CD_SECTOR / SECTOR_SIZE)
#define RAW_FILL (ATA_BUFFER_SIZE / CD_RAW_SECTOR)

/* READ CD, byte 9: what is wanted of a sector. */
enum raw_part {
    RAW_EDC = BIT(3),
    RAW_USER = BIT(4),
    RAW_HEADER = BIT(5),
    RAW_SUBHEADER = BIT(6), /* mode 1 has none */
    RAW_SYNC = BIT(7),
};

/* --- the checks at a sector's end --- */

/* Error detection code (ECMA-130 14.3): x^32 + x^31 + x^16 + x^15 + x^4 + x^3 + x + 1, least bit first. */
static u32 edc_of(const u8 *p, unsigned len)
{
    u32 edc = 0;
    for (unsigned i = 0; i < len; i++) {
        edc ^= p[i];
        for (unsigned bit = 0; bit < 8; bit++)
            edc = edc >> 1 ^ (edc & 1 ? 0xd8018001u : 0);
    }
    return edc;
}

static u8 gf_double(u8 v)
{
    return (u8)(v << 1 ^ (v & 0x80 ? 0x1d : 0));
}

/* Divides by alpha + 1 in GF(2^8) over 11Dh: the factor of the second parity symbol. */
static u8 gf_divide3(u8 v)
{
    /* alpha + 1 = 3, whose inverse is F4h. */
    u8 factor = 0xf4, product = 0;
    for (; factor; factor >>= 1, v = gf_double(v))
        if (factor & 1)
            product ^= v;
    return product;
}

/* Two parity symbols of each of `rows` code words of `columns` symbols (annex A): P and Q differ in how they
 * run through the bytes from the header on. */
static void ecc_words(u8 *from, unsigned rows, unsigned columns, unsigned row_step, unsigned column_step,
                      u8 *to)
{
    unsigned size = rows * columns;
    for (unsigned row = 0; row < rows; row++) {
        unsigned at = (row >> 1) * row_step + (row & 1);
        u8 a = 0, b = 0;
        for (unsigned column = 0; column < columns; column++) {
            u8 v = from[at];
            at += column_step;
            if (at >= size)
                at -= size;
            a = gf_double(a ^ v);
            b ^= v;
        }
        a = gf_divide3(gf_double(a) ^ b);
        to[row] = a;
        to[row + rows] = a ^ b;
    }
}

/* A mode 1 sector around 2048 bytes of user data. */
static void raw_sector(u8 *raw, u32 lba, const u8 *user)
{
    u8 msf[3];
    memset(raw, 0, CD_RAW_SECTOR);
    memset(raw + 1, 0xff, 10);
    store_msf(msf, lba);
    for (unsigned i = 0; i < 3; i++)
        raw[12 + i] = (u8)(msf[i] / 10 << 4 | msf[i] % 10);
    raw[15] = 1;
    memcpy(raw + 16, user, CD_SECTOR);
    store_le32(raw + 2064, edc_of(raw, 2064));
    ecc_words(raw + 12, 86, 24, 2, 86, raw + 2076);
    ecc_words(raw + 12, 52, 43, 86, 88, raw + 2248);
}

/* --- reading in parts: raw sectors, and PIO --- */

static u32 raw_size(u8 parts)
{
    return (parts & RAW_SYNC ? 12 : 0) + (parts & RAW_HEADER ? 4 : 0) + (parts & RAW_USER ? CD_SECTOR : 0) +
           (parts & RAW_EDC ? 288 : 0);
}

static u32 raw_store(u8 *to, u32 lba, const u8 *user, u8 parts)
{
    u8 raw[CD_RAW_SECTOR];
    u32 len = 0;
    if (parts == RAW_USER) {
        memcpy(to, user, CD_SECTOR);
        return CD_SECTOR;
    }
    raw_sector(raw, lba, user);
    if (parts & RAW_SYNC) {
        memcpy(to, raw, 12);
        len = 12;
    }
    if (parts & RAW_HEADER) {
        memcpy(to + len, raw + 12, 4);
        len += 4;
    }
    if (parts & RAW_USER) {
        memcpy(to + len, raw + 16, CD_SECTOR);
        len += CD_SECTOR;
    }
    if (parts & RAW_EDC) {
        memcpy(to + len, raw + 2064, 288);
        len += 288;
    }
    return len;
}

static u32 fill_sectors(const struct ata_device *dev)
{
    u32 most = dev->raw_parts == RAW_USER ? ATA_BUFFER_SIZE / CD_SECTOR : RAW_FILL;
    return MIN(dev->left / PER_CD, most);
}

static void sectors_arrived(struct ata_device *dev, int result)
{
    u32 count = fill_sectors(dev), len = 0;
    if (result < 0) {
        atapi_fail(dev, SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ, 0);
        return;
    }
    for (u32 i = 0; i < count; i++)
        len += raw_store(dev->buffer + len, (u32)(dev->sector / PER_CD) + i,
                         dev->scratch + (size_t)i * CD_SECTOR, dev->raw_parts);
    dev->sector += (u64)count * PER_CD;
    dev->left -= count * PER_CD;
    ata_data_in(dev, JOB_PACKET_READ, len, dev->packet_dma ? len : dev->byte_limit, dev->packet_dma);
}

void atapi_read_more(struct ata_device *dev)
{
    if (dev->left < PER_CD)
        atapi_ok(dev);
    else
        ata_submit(dev, BLOCK_READ, dev->sector, fill_sectors(dev) * PER_CD, dev->scratch, sectors_arrived);
}

void atapi_direct_done(struct ata_device *dev, enum ata_transfer_end end)
{
    if (end == ATA_TRANSFER_FAILED)
        atapi_fail(dev, SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ, 0);
    else
        atapi_ok(dev);
}

static void read_sectors(struct ata_device *dev, u32 lba, u32 count, u8 parts)
{
    u32 end = cd_sectors(dev);
    if (lba > end || count > end - lba) {
        atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE, 0);
        return;
    }
    /* What a task file's 32-bit count of small sectors holds. */
    if (count > 0x3fffffff) {
        atapi_bad_field(dev);
        return;
    }
    dev->sector = (u64)lba * PER_CD;
    dev->left = count * PER_CD;
    dev->raw_parts = parts;
    if (count && parts == RAW_USER && dev->packet_dma)
        ata_data_direct(dev, JOB_PACKET_READ, false);
    else if (!count || !raw_size(parts))
        atapi_ok(dev);
    else if (atapi_can_move(dev))
        atapi_read_more(dev);
}

/* --- commands --- */

void atapi_read(struct ata_device *dev)
{
    const u8 *p = dev->packet;
    read_sectors(dev, load_be32(p + 2), p[0] == 0xa8 ? load_be32(p + 6) : load_be16(p + 7), RAW_USER);
}

/* The expected sector type may be any, or mode 1; there is no subchannel and no C2 information. */
static void read_cd(struct ata_device *dev, u32 lba, u32 count)
{
    const u8 *p = dev->packet;
    u8 type = p[1] >> 2 & 7, parts = p[9] & 0xf8;
    if (type != 0 && type != 2) {
        atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_ILLEGAL_MODE, 0);
        return;
    }
    if ((p[9] & 0x06) || (p[10] & 7) || medium_is_dvd(dev)) {
        atapi_bad_field(dev);
        return;
    }
    read_sectors(dev, lba, count, parts & (u8)~RAW_SUBHEADER);
}

void atapi_read_cd(struct ata_device *dev)
{
    const u8 *p = dev->packet;
    read_cd(dev, load_be32(p + 2), (u32)p[6] << 16 | load_be16(p + 7));
}

void atapi_read_cd_msf(struct ata_device *dev)
{
    const u8 *p = dev->packet;
    u32 from = ((u32)p[3] * 60 + p[4]) * 75 + p[5], to = ((u32)p[6] * 60 + p[7]) * 75 + p[8];
    if (from < 150 || to < from)
        atapi_bad_field(dev);
    else
        read_cd(dev, from - 150, to - from);
}

void atapi_seek(struct ata_device *dev)
{
    if (load_be32(dev->packet + 2) >= cd_sectors(dev))
        atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE, 0);
    else
        atapi_ok(dev);
}

void atapi_verify(struct ata_device *dev)
{
    u32 lba = load_be32(dev->packet + 2), count = load_be16(dev->packet + 7), end = cd_sectors(dev);
    if (dev->packet[1] & 2)
        atapi_bad_field(dev);
    else if (lba > end || count > end - lba)
        atapi_fail(dev, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE, 0);
    else
        atapi_ok(dev);
}
