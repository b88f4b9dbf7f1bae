#include "firmware/aml.h"

#include <stdlib.h>

#include "base/bytes.h"

enum aml_op {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_DUAL_NAME = 0x2e,
    OP_MULTI_NAME = 0x2f,
    OP_EXT = 0x5b,
    OP_ARG0 = 0x68,
    OP_IF = 0xa0,
    OP_RETURN = 0xa4,
    EXT_REGION = 0x80,
    EXT_FIELD = 0x81,
    EXT_DEVICE = 0x82,
    EXT_PROCESSOR = 0x83,
};

enum resource_tag {
    RES_IRQ = 0x22,
    RES_DMA = 0x2a,
    RES_IO = 0x47,
    RES_END = 0x79,
    RES_MEMORY32_FIXED = 0x86,
    RES_DWORD_RANGE = 0x87,
    RES_WORD_RANGE = 0x88,
    RES_INTERRUPT = 0x89,
    RES_QWORD_RANGE = 0x8a,
};

enum { SPACE_PCI_CONFIG = 2, FIELD_BYTE_PRESERVE = 1 };

enum range_type { RANGE_MEMORY, RANGE_IO, RANGE_BUS };

void aml_init(struct aml *aml)
{
    memset(aml, 0, sizeof *aml);
}

void aml_finish(struct aml *aml)
{
    free(aml->buf);
    aml_init(aml);
}

/* Makes a gap of `len` bytes at `at`. */
static u8 *make_room(struct aml *aml, size_t at, size_t len)
{
    if (aml->failed || !len)
        return NULL;
    if (aml->len + len > aml->capacity) {
        size_t capacity = (aml->len + len) * 2;
        u8 *buf = realloc(aml->buf, capacity);
        if (!buf) {
            aml->failed = true;
            return NULL;
        }
        aml->buf = buf;
        aml->capacity = capacity;
    }
    memmove(aml->buf + at + len, aml->buf + at, aml->len - at);
    aml->len += len;
    return aml->buf + at;
}

static void insert(struct aml *aml, size_t at, const void *data, size_t len)
{
    u8 *gap = make_room(aml, at, len);
    if (gap)
        memcpy(gap, data, len);
}

void aml_bytes(struct aml *aml, const void *data, size_t len)
{
    insert(aml, aml->len, data, len);
}

static void put_le(struct aml *aml, u64 value, unsigned size)
{
    aml_bytes(aml, &value, size);
}

/* --- terms ------------------------------------------------------------------------------------------------
 */

/* The shortest encoding of an integer (20.2.3) into `out`; returns its length. */
static size_t encode_integer(u8 out[9], u64 value)
{
    static const struct {
        u8 op, size;
    } forms[] = {{OP_BYTE, 1}, {OP_WORD, 2}, {OP_DWORD, 4}, {OP_QWORD, 8}};
    unsigned i = 0;
    if (value <= 1) {
        out[0] = value ? OP_ONE : OP_ZERO;
        return 1;
    }
    while (value & ~MASK(forms[i].size * 8u))
        i++;
    out[0] = forms[i].op;
    store_le(out + 1, forms[i].size, value);
    return 1u + forms[i].size;
}

void aml_integer(struct aml *aml, u64 value)
{
    u8 out[9];
    aml_bytes(aml, out, encode_integer(out, value));
}

void aml_string(struct aml *aml, const char *text)
{
    put_le(aml, OP_STRING, 1);
    aml_bytes(aml, text, strlen(text) + 1);
}

void aml_path(struct aml *aml, const char *path)
{
    unsigned segments = 1;
    for (; *path == '\\' || *path == '^'; path++)
        put_le(aml, (u8)*path, 1);
    if (!*path) {
        put_le(aml, 0, 1); /* NullName: the root itself */
        return;
    }
    for (const char *p = path; *p; p++)
        segments += *p == '.';
    if (segments == 2)
        put_le(aml, OP_DUAL_NAME, 1);
    else if (segments > 2)
        put_le(aml, OP_MULTI_NAME | segments << 8, 2);
    for (unsigned i = 0; i < segments; i++) {
        char segment[4] = {'_', '_', '_', '_'};
        size_t len = strcspn(path, ".");
        memcpy(segment, path, MIN(len, sizeof segment));
        aml_bytes(aml, segment, sizeof segment);
        path += len + (path[len] == '.');
    }
}

static unsigned hex_digit(char c)
{
    return c >= 'A' ? (unsigned)(c - 'A') + 10 : (unsigned)(c - '0');
}

/* Three letters of five bits, four hexadecimal digits, big-endian (19.6.36, EISAID). */
void aml_eisa_id(struct aml *aml, const char *id)
{
    u16 vendor = (u16)((id[0] & 0x1f) << 10 | (id[1] & 0x1f) << 5 | (id[2] & 0x1f));
    u16 product =
        (u16)(hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 | hex_digit(id[6]));
    u8 out[5] = {OP_DWORD, (u8)(vendor >> 8), (u8)vendor, (u8)(product >> 8), (u8)product};
    aml_bytes(aml, out, sizeof out);
}

void aml_name(struct aml *aml, const char *path)
{
    put_le(aml, OP_NAME, 1);
    aml_path(aml, path);
}

void aml_name_integer(struct aml *aml, const char *path, u64 value)
{
    aml_name(aml, path);
    aml_integer(aml, value);
}

void aml_name_string(struct aml *aml, const char *path, const char *text)
{
    aml_name(aml, path);
    aml_string(aml, text);
}

void aml_name_eisa_id(struct aml *aml, const char *path, const char *id)
{
    aml_name(aml, path);
    aml_eisa_id(aml, id);
}

/* --- blocks -----------------------------------------------------------------------------------------------
 */

static struct aml_mark mark_here(const struct aml *aml)
{
    return (struct aml_mark){.at = aml->len};
}

struct aml_mark aml_scope(struct aml *aml, const char *path)
{
    put_le(aml, OP_SCOPE, 1);
    struct aml_mark mark = mark_here(aml);
    aml_path(aml, path);
    return mark;
}

struct aml_mark aml_device(struct aml *aml, const char *path)
{
    put_le(aml, OP_EXT | EXT_DEVICE << 8, 2);
    struct aml_mark mark = mark_here(aml);
    aml_path(aml, path);
    return mark;
}

struct aml_mark aml_method(struct aml *aml, const char *path, unsigned args)
{
    put_le(aml, OP_METHOD, 1);
    struct aml_mark mark = mark_here(aml);
    aml_path(aml, path);
    put_le(aml, args & 15, 1);
    return mark;
}

struct aml_mark aml_package(struct aml *aml, unsigned elements)
{
    put_le(aml, OP_PACKAGE, 1);
    struct aml_mark mark = mark_here(aml);
    put_le(aml, elements, 1);
    return mark;
}

struct aml_mark aml_resources(struct aml *aml, const char *path)
{
    aml_name(aml, path);
    put_le(aml, OP_BUFFER, 1);
    struct aml_mark mark = mark_here(aml);
    mark.resources = true;
    return mark;
}

/* PkgLength (20.2.4): counts itself; 6 bits in one byte, else 4 bits and up to three bytes more. */
static size_t encode_package_length(u8 out[4], size_t content)
{
    if (content + 1 <= 0x3f) {
        out[0] = (u8)(content + 1);
        return 1;
    }
    unsigned extra = 1;
    while (content + 1 + extra >= 1ull << (4 + 8 * extra))
        extra++;
    size_t total = content + 1 + extra;
    out[0] = (u8)(extra << 6 | (total & 0xf));
    for (unsigned i = 0; i < extra; i++)
        out[1 + i] = (u8)(total >> (4 + 8 * i));
    return 1 + extra;
}

void aml_end(struct aml *aml, struct aml_mark mark)
{
    u8 out[9];
    if (aml->failed)
        return;
    if (mark.resources) {
        /* The end tag; a checksum of 0 means "not used" (6.4.2.9). */
        put_le(aml, RES_END, 2);
        insert(aml, mark.at, out, encode_integer(out, aml->len - mark.at));
    }
    insert(aml, mark.at, out, encode_package_length(out, aml->len - mark.at));
}

void aml_operator(struct aml *aml, enum aml_operator op)
{
    put_le(aml, op, 1);
}

void aml_nowhere(struct aml *aml)
{
    put_le(aml, 0, 1);
}

void aml_arg(struct aml *aml, unsigned n)
{
    put_le(aml, OP_ARG0 + n, 1);
}

struct aml_mark aml_if(struct aml *aml)
{
    put_le(aml, OP_IF, 1);
    return mark_here(aml);
}

void aml_region_pci(struct aml *aml, const char *name, u8 offset, u8 size)
{
    put_le(aml, OP_EXT | EXT_REGION << 8, 2);
    aml_path(aml, name);
    put_le(aml, SPACE_PCI_CONFIG, 1);
    aml_integer(aml, offset);
    aml_integer(aml, size);
}

struct aml_mark aml_field(struct aml *aml, const char *region)
{
    put_le(aml, OP_EXT | EXT_FIELD << 8, 2);
    struct aml_mark mark = mark_here(aml);
    aml_path(aml, region);
    put_le(aml, FIELD_BYTE_PRESERVE, 1);
    return mark;
}

void aml_field_unit(struct aml *aml, const char *name, u8 bits)
{
    aml_path(aml, name);
    put_le(aml, bits & 0x3f, 1);
}

void aml_processor(struct aml *aml, const char *path, u8 id)
{
    put_le(aml, OP_EXT | EXT_PROCESSOR << 8, 2);
    struct aml_mark mark = mark_here(aml);
    aml_path(aml, path);
    put_le(aml, id, 1);
    put_le(aml, 0, 4); /* no P_BLK */
    put_le(aml, 0, 1);
    aml_end(aml, mark);
}

void aml_return_integer(struct aml *aml, u64 value)
{
    put_le(aml, OP_RETURN, 1);
    aml_integer(aml, value);
}

/* --- resources --------------------------------------------------------------------------------------------
 */

void aml_res_io(struct aml *aml, u16 base, u8 count)
{
    put_le(aml, RES_IO, 1);
    put_le(aml, 1, 1); /* decodes 16 bits */
    put_le(aml, base, 2);
    put_le(aml, base, 2);
    put_le(aml, 1, 1); /* alignment */
    put_le(aml, count, 1);
}

void aml_res_irq(struct aml *aml, unsigned irq)
{
    put_le(aml, RES_IRQ, 1);
    put_le(aml, 1u << irq, 2);
}

void aml_res_dma(struct aml *aml, unsigned channel)
{
    put_le(aml, RES_DMA, 1);
    put_le(aml, 1u << channel, 1);
    put_le(aml, 0, 1);
}

static void large_item(struct aml *aml, enum resource_tag tag, u16 len)
{
    put_le(aml, tag, 1);
    put_le(aml, len, 2);
}

void aml_res_memory32(struct aml *aml, u32 base, u32 size, bool writable)
{
    large_item(aml, RES_MEMORY32_FIXED, 9);
    put_le(aml, writable, 1);
    put_le(aml, base, 4);
    put_le(aml, size, 4);
}

static void interrupt_item(struct aml *aml, u8 count)
{
    large_item(aml, RES_INTERRUPT, (u16)(2 + 4 * count));
    put_le(aml, 0x09, 1); /* consumer, level, active high, shared */
    put_le(aml, count, 1);
}

void aml_res_interrupt_level(struct aml *aml, u32 gsi)
{
    interrupt_item(aml, 1);
    put_le(aml, gsi, 4);
}

void aml_res_interrupts_level(struct aml *aml, const u8 *gsi, u8 count)
{
    interrupt_item(aml, count);
    for (unsigned i = 0; i < count; i++)
        put_le(aml, gsi[i], 4);
}

/* An address space descriptor (6.4.3.5) with fields of `size` bytes: produced, positive decode, both ends
 * fixed. */
static void address_range(struct aml *aml, enum resource_tag tag, enum range_type type, u8 flags, u64 first,
                          u64 last, unsigned size)
{
    large_item(aml, tag, (u16)(3 + 5 * size));
    put_le(aml, type, 1);
    put_le(aml, 0x0c, 1);
    put_le(aml, flags, 1);
    put_le(aml, 0, size); /* granularity */
    put_le(aml, first, size);
    put_le(aml, last, size);
    put_le(aml, 0, size); /* translation */
    put_le(aml, last - first + 1, size);
}

void aml_res_bus_range(struct aml *aml, u16 first, u16 last)
{
    address_range(aml, RES_WORD_RANGE, RANGE_BUS, 0, first, last, 2);
}

void aml_res_io_range(struct aml *aml, u16 first, u16 last)
{
    address_range(aml, RES_WORD_RANGE, RANGE_IO, 3, first, last, 2); /* entire range */
}

void aml_res_memory_range32(struct aml *aml, u32 first, u32 last)
{
    address_range(aml, RES_DWORD_RANGE, RANGE_MEMORY, 1, first, last, 4); /* not cacheable, writable */
}

void aml_res_memory_range64(struct aml *aml, u64 first, u64 last)
{
    address_range(aml, RES_QWORD_RANGE, RANGE_MEMORY, 1, first, last, 8);
}
