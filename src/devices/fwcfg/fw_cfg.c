#include "devices/fwcfg/fw_cfg.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define KEY_COUNT (FW_CFG_FILE_FIRST + FW_CFG_MAX_FILES)

/* Bits 15 and 14 of the selector: architecture-local items (there are none), and write (nothing can be). */
#define KEY_MASK 0x3fff
#define KEY_ARCH 0x8000

/* The DMA control word. */
enum dma_bit {
    DMA_ERROR = BIT(0),
    DMA_READ = BIT(1),
    DMA_SKIP = BIT(2),
    DMA_SELECT = BIT(3),
    DMA_WRITE = BIT(4)
};

/* Longer transfers end here, so that a guest cannot keep the machine lock for long. */
#define DMA_MAX MIB(64)

#define DIR_ENTRY_SIZE 64

struct fw_cfg_item {
    u8 *data;
    u32 size;
};

struct fw_cfg {
    struct mem_space *mem;
    struct log *log;
    struct port_region select_port, data_port, dma_port;
    struct fw_cfg_item items[KEY_COUNT];
    u32 file_count;
    u16 key;
    u32 offset;
    void (*selected)(void *opaque, u16 key);
    void *selected_opaque;
    u32 dma_high; /* upper half of the address of the next DMA request */
};

struct fw_cfg_state {
    u16 key;
    u32 offset, dma_high;
};

/* --- items ------------------------------------------------------------------------------------------ */

int fw_cfg_set(struct fw_cfg *dev, u16 key, const void *data, u32 size)
{
    if (key >= KEY_COUNT)
        return -ENOSPC;
    u8 *copy = malloc(size ? size : 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, data, size);
    free(dev->items[key].data);
    dev->items[key] = (struct fw_cfg_item){copy, size};
    return 0;
}

int fw_cfg_set_int(struct fw_cfg *dev, u16 key, u64 value, unsigned size)
{
    return fw_cfg_set(dev, key, &value, size);
}

/* The directory: a big-endian count, then per file big-endian size, key, reserved, and a name of 56 bytes. */
static int directory_append(struct fw_cfg *dev, const char *name, u32 size, u16 key)
{
    u8 directory[4 + FW_CFG_MAX_FILES * DIR_ENTRY_SIZE] = {0};
    const struct fw_cfg_item *old = &dev->items[FW_CFG_FILE_DIR];
    memcpy(directory, old->data, old->size);
    u8 *entry = directory + 4 + dev->file_count * DIR_ENTRY_SIZE;
    store_le32(directory, __builtin_bswap32(dev->file_count + 1));
    store_le32(entry, __builtin_bswap32(size));
    store_le16(entry + 4, __builtin_bswap16(key));
    memcpy(entry + 8, name, strlen(name) + 1);
    return fw_cfg_set(dev, FW_CFG_FILE_DIR, directory, 4 + (dev->file_count + 1) * DIR_ENTRY_SIZE);
}

int fw_cfg_add_file(struct fw_cfg *dev, const char *name, const void *data, u32 size)
{
    if (dev->file_count == FW_CFG_MAX_FILES || strlen(name) > FW_CFG_NAME_MAX)
        return -ENOSPC;
    u16 key = (u16)(FW_CFG_FILE_FIRST + dev->file_count);
    int rc = fw_cfg_set(dev, key, data, size);
    if (!rc)
        rc = directory_append(dev, name, size, key);
    if (!rc)
        dev->file_count++;
    return rc;
}

u16 fw_cfg_find_file(const struct fw_cfg *dev, const char *name)
{
    const u8 *entry = dev->items[FW_CFG_FILE_DIR].data + 4;
    for (u32 i = 0; i < dev->file_count; i++, entry += DIR_ENTRY_SIZE)
        if (!strcmp((const char *)entry + 8, name))
            return (u16)(FW_CFG_FILE_FIRST + i);
    return 0;
}

void fw_cfg_on_select(struct fw_cfg *dev, void (*selected)(void *opaque, u16 key), void *opaque)
{
    dev->selected = selected;
    dev->selected_opaque = opaque;
}

/* --- reading ---------------------------------------------------------------------------------------- */

static void select_item(struct fw_cfg *dev, u16 key)
{
    dev->key = key;
    dev->offset = 0;
    if (dev->selected)
        dev->selected(dev->selected_opaque, key & KEY_MASK);
}

/* The selected item, or NULL: what is not there reads as zeros. */
static const struct fw_cfg_item *selected_item(const struct fw_cfg *dev)
{
    u16 key = dev->key & KEY_MASK;
    return key < KEY_COUNT && !(dev->key & KEY_ARCH) ? &dev->items[key] : NULL;
}

static u8 next_byte(struct fw_cfg *dev)
{
    const struct fw_cfg_item *item = selected_item(dev);
    return item && dev->offset < item->size ? item->data[dev->offset++] : 0;
}

static u64 select_read(void *opaque, u64 offset, unsigned size)
{
    const struct fw_cfg *dev = opaque;
    return size == 2 ? dev->key : 0xff;
}

static void select_write(void *opaque, u64 offset, unsigned size, u64 value)
{
    if (size == 2 && offset == 0)
        select_item(opaque, (u16)value);
}

static u64 data_read(void *opaque, u64 offset, unsigned size)
{
    return next_byte(opaque);
}

/* --- DMA: the guest writes the big-endian address of {control, length, address}, all big-endian ------ */

static u32 dma_transfer(struct fw_cfg *dev, u32 control, u32 length, u64 address)
{
    if (control & DMA_SELECT)
        select_item(dev, (u16)(control >> 16));
    if (control & DMA_WRITE || length > DMA_MAX)
        return DMA_ERROR;
    const struct fw_cfg_item *item = selected_item(dev);
    u32 left = item && dev->offset < item->size ? item->size - dev->offset : 0;
    u32 there = MIN(left, length);
    if (control & DMA_READ) {
        if (there)
            mem_write_bytes(dev->mem, address, item->data + dev->offset, there);
        static const u8 zeros[256];
        for (u32 done = there; done < length; done += MIN(length - done, (u32)sizeof zeros))
            mem_write_bytes(dev->mem, address + done, zeros, MIN(length - done, sizeof zeros));
    }
    if (control & (DMA_READ | DMA_SKIP))
        dev->offset += there;
    return 0;
}

static void dma_run(struct fw_cfg *dev, u64 request)
{
    u8 raw[16];
    mem_read_bytes(dev->mem, request, raw, sizeof raw);
    u32 control = __builtin_bswap32(load_le32(raw));
    u32 length = __builtin_bswap32(load_le32(raw + 4));
    u64 address = __builtin_bswap64(load_le64(raw + 8));
    u8 result[4];
    store_le32(result, __builtin_bswap32(dma_transfer(dev, control, length, address)));
    mem_write_bytes(dev->mem, request, result, sizeof result);
}

static u64 dma_read(void *opaque, u64 offset, unsigned size)
{
    static const u8 signature[8] = "QEMU CFG"; /* big-endian */
    u64 value = 0;
    for (unsigned i = 0; i < size && offset + i < 8; i++)
        value |= (u64)signature[offset + i] << (i * 8);
    return value;
}

static void dma_write(void *opaque, u64 offset, unsigned size, u64 value)
{
    struct fw_cfg *dev = opaque;
    if (size == 8 && offset == 0) {
        dma_run(dev, __builtin_bswap64(value));
    } else if (size == 4 && offset == 0) {
        dev->dma_high = __builtin_bswap32((u32)value);
    } else if (size == 4 && offset == 4) {
        u64 request = (u64)dev->dma_high << 32 | __builtin_bswap32((u32)value);
        dev->dma_high = 0;
        dma_run(dev, request);
    }
}

static const struct io_ops select_ops = {select_read, select_write, 2};
static const struct io_ops data_ops = {data_read, NULL, 1};
static const struct io_ops dma_ops = {dma_read, dma_write, 8};

/* --- saved state ------------------------------------------------------------------------------------ */

static void fw_cfg_save(const void *opaque, void *state)
{
    const struct fw_cfg *dev = opaque;
    *(struct fw_cfg_state *)state = (struct fw_cfg_state){dev->key, dev->offset, dev->dma_high};
}

static void fw_cfg_load(void *opaque, const void *state)
{
    struct fw_cfg *dev = opaque;
    const struct fw_cfg_state *s = state;
    dev->key = s->key;
    dev->offset = s->offset;
    dev->dma_high = s->dma_high;
}

static const struct state_field fw_cfg_fields[] = {
    STATE_FIELD(struct fw_cfg_state, key),
    STATE_FIELD(struct fw_cfg_state, offset),
    STATE_FIELD(struct fw_cfg_state, dma_high),
};

static const struct state_desc fw_cfg_desc = {
    .name = "fw_cfg",
    .version = 1,
    .size = sizeof(struct fw_cfg_state),
    .fields = fw_cfg_fields,
    .field_count = ARRAY_LEN(fw_cfg_fields),
    .save = fw_cfg_save,
    .load = fw_cfg_load,
};

/* --- lifecycle -------------------------------------------------------------------------------------- */

int fw_cfg_create(struct fw_cfg **out, const struct device_env *env, struct error *err)
{
    struct fw_cfg *dev = calloc(1, sizeof *dev);
    if (!dev)
        return error_set(err, ENOMEM, "out of memory for the firmware configuration device");
    dev->mem = env->mem;
    dev->log = env->log;
    u32 no_files = 0;
    int rc = fw_cfg_set(dev, FW_CFG_SIGNATURE, "QEMU", 4);
    if (!rc)
        rc = fw_cfg_set_int(dev, FW_CFG_ID, 3, 4);
    if (!rc)
        rc = fw_cfg_set(dev, FW_CFG_FILE_DIR, &no_files, 4);
    if (!rc)
        rc = state_set_add(env->state, &fw_cfg_desc, dev, 0);
    if (rc) {
        fw_cfg_destroy(dev);
        return error_set(err, -rc, "out of memory for the firmware configuration device");
    }
    dev->select_port = (struct port_region){
        .name = "fw_cfg select", .base = FW_CFG_BASE, .count = 2, .ops = &select_ops, .dev = dev};
    dev->data_port = (struct port_region){
        .name = "fw_cfg data", .base = FW_CFG_BASE + 1, .count = 1, .ops = &data_ops, .dev = dev};
    dev->dma_port = (struct port_region){
        .name = "fw_cfg DMA", .base = FW_CFG_BASE + 4, .count = 8, .ops = &dma_ops, .dev = dev};
    port_map(env->mem, &dev->select_port);
    port_map(env->mem, &dev->data_port);
    port_map(env->mem, &dev->dma_port);
    *out = dev;
    return 0;
}

void fw_cfg_destroy(struct fw_cfg *dev)
{
    if (!dev)
        return;
    port_unmap(dev->mem, &dev->select_port);
    port_unmap(dev->mem, &dev->data_port);
    port_unmap(dev->mem, &dev->dma_port);
    for (unsigned i = 0; i < KEY_COUNT; i++)
        free(dev->items[i].data);
    free(dev);
}

void fw_cfg_reset(struct fw_cfg *dev)
{
    select_item(dev, 0);
    dev->dma_high = 0;
}
