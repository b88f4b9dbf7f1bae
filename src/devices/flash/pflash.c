/*
 * The flash's command state machine (Intel 28FxxxJ3 data sheet, chapter 4; JEDEC JEP137 for the CFI table).
 *
 * One difference is deliberate: after CLEAR STATUS REGISTER all of the status reads as zero, SR.7 too, until
 * the next operation. OVMF's driver takes exactly that for the sign that there is flash.
 *
 * Saved state: registers, locks and the write buffer. The contents are a block of guest memory and are saved
 * as such; after a load all of them are reported as changed.
 */
#include "devices/flash/pflash.h"

#include <stdlib.h>
#include <string.h>

enum status {
    STATUS_READY = BIT(7),
    STATUS_ERASE_ERROR = BIT(5),
    STATUS_PROGRAM_ERROR = BIT(4),
    STATUS_LOCKED = BIT(1),
};

enum mode {
    MODE_ARRAY,
    MODE_STATUS,
    MODE_ID,
    MODE_QUERY,
    MODE_PROGRAM, /* a byte to program is next */
    MODE_ERASE,   /* D0h is next */
    MODE_LOCK,    /* 01h, D0h or 2Fh is next */
    MODE_COUNT,   /* the write buffer's count is next */
    MODE_BUFFER,  /* its bytes are next */
    MODE_CONFIRM, /* D0h is next */
    MODE_LAST = MODE_CONFIRM,
};

enum command {
    CMD_PROGRAM = 0x40,
    CMD_PROGRAM_ALT = 0x10,
    CMD_BLOCK_ERASE = 0x20,
    CMD_CLEAR_STATUS = 0x50,
    CMD_LOCK_SETUP = 0x60,
    CMD_READ_STATUS = 0x70,
    CMD_READ_ID = 0x90,
    CMD_QUERY = 0x98,
    CMD_SUSPEND = 0xb0,
    CMD_CONFIRM = 0xd0,
    CMD_WRITE_BUFFER = 0xe8,
    CMD_READ_ARRAY = 0xff,
    LOCK_SET = 0x01,
    LOCK_CLEAR = 0xd0,
};

#define BUFFER_BITS 5
#define BUFFER_SIZE (1u << BUFFER_BITS)
#define CFI_SIZE    0x40

/* Identification: Intel, 28F128J3. */
#define ID_MAKER  0x89
#define ID_DEVICE 0x18

struct pflash {
    enum mode mode;
    u8 status;
    u8 buffer[BUFFER_SIZE];
    u32 buffer_at; /* the offset of buffer[0] in the array */
    u8 buffer_count, buffer_left;
    u64 dirty_start, dirty_end; /* not reported yet; equal: nothing */
    bool locked[PFLASH_MAX_BLOCKS];
    u8 cfi[CFI_SIZE];
    struct pflash_config config;
    struct mem_region region;
    struct mem_space *mem;
};

/* --- what the guest sees ------------------------------------------------------------------------------ */

static void region_map(struct pflash *flash)
{
    bool array = flash->mode == MODE_ARRAY;
    if (flash->region.mapped && array == (flash->region.kind == MEM_ROM))
        return;
    mem_map_begin(flash->mem);
    mem_unmap(flash->mem, &flash->region);
    flash->region.kind = array ? MEM_ROM : MEM_IO;
    mem_map(flash->mem, &flash->region);
    mem_map_commit(flash->mem);
}

static void changes_report(struct pflash *flash)
{
    u64 start = flash->dirty_start, end = flash->dirty_end;
    flash->dirty_start = flash->dirty_end = 0;
    if (start != end && flash->config.changed)
        flash->config.changed(flash->config.opaque, start, end - start);
}

static void mode_set(struct pflash *flash, enum mode mode)
{
    flash->mode = mode;
    region_map(flash);
    if (mode == MODE_ARRAY)
        changes_report(flash);
}

static u8 cfi_read(const struct pflash *flash, u64 offset)
{
    return offset < CFI_SIZE ? flash->cfi[offset] : 0;
}

/* Offsets within a block: maker, device, lock. */
static u8 id_read(const struct pflash *flash, u64 offset)
{
    switch (offset % PFLASH_BLOCK) {
    case 0:
        return ID_MAKER;
    case 1:
        return ID_DEVICE;
    case 2:
        return flash->locked[offset / PFLASH_BLOCK];
    default:
        return 0;
    }
}

static u64 pflash_read(void *dev, u64 offset, unsigned size)
{
    struct pflash *flash = dev;
    switch (flash->mode) {
    case MODE_ARRAY:
        return flash->config.block->hva[offset];
    case MODE_ID:
        return id_read(flash, offset);
    case MODE_QUERY:
        return cfi_read(flash, offset);
    default:
        return flash->status;
    }
}

/* --- operations --------------------------------------------------------------------------------------- */

static void array_changed(struct pflash *flash, u64 offset, u64 len)
{
    struct ram_block *block = flash->config.block;
    for (u64 at = offset & PAGE_MASK; at < offset + len; at += PAGE_SIZE)
        ram_page_mark_dirty(block, at);
    if (flash->dirty_start == flash->dirty_end) {
        flash->dirty_start = offset;
        flash->dirty_end = offset + len;
    } else {
        flash->dirty_start = MIN(flash->dirty_start, offset);
        flash->dirty_end = MAX(flash->dirty_end, offset + len);
    }
    if (atomic_load(&block->page_flags[offset >> PAGE_SHIFT]) & RAM_PAGE_CODE)
        mem_code_written(flash->mem, block->hva + offset, len);
}

/* The block is not locked; otherwise the status says why not. */
static bool block_is_open(struct pflash *flash, u64 offset, u8 error)
{
    if (!flash->locked[offset / PFLASH_BLOCK])
        return true;
    flash->status |= error | STATUS_LOCKED;
    return false;
}

/* Programming can only clear bits. */
static void array_program(struct pflash *flash, u64 offset, const u8 *data, u64 len)
{
    flash->status |= STATUS_READY;
    if (!block_is_open(flash, offset, STATUS_PROGRAM_ERROR))
        return;
    for (u64 i = 0; i < len; i++)
        flash->config.block->hva[offset + i] &= data[i];
    array_changed(flash, offset, len);
}

static void array_erase(struct pflash *flash, u64 offset)
{
    offset = ALIGN_DOWN(offset, (u64)PFLASH_BLOCK);
    flash->status |= STATUS_READY;
    if (!block_is_open(flash, offset, STATUS_ERASE_ERROR))
        return;
    memset(flash->config.block->hva + offset, 0xff, PFLASH_BLOCK);
    array_changed(flash, offset, PFLASH_BLOCK);
}

static void sequence_error(struct pflash *flash)
{
    flash->status |= STATUS_READY | STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR;
    mode_set(flash, MODE_STATUS);
}

/* --- the write buffer --------------------------------------------------------------------------------- */

static void buffer_count(struct pflash *flash, u64 offset, u8 value)
{
    if (value >= BUFFER_SIZE) {
        sequence_error(flash);
        return;
    }
    flash->buffer_count = flash->buffer_left = value + 1;
    memset(flash->buffer, 0xff, sizeof flash->buffer);
    mode_set(flash, MODE_BUFFER);
}

/* The first byte's address is the start; the others lie within the buffer's size behind it. */
static void buffer_byte(struct pflash *flash, u64 offset, u8 value)
{
    if (flash->buffer_left == flash->buffer_count)
        flash->buffer_at = (u32)offset;
    u64 at = offset - flash->buffer_at;
    if (offset < flash->buffer_at || at >= BUFFER_SIZE ||
        offset / PFLASH_BLOCK != flash->buffer_at / PFLASH_BLOCK) {
        sequence_error(flash);
        return;
    }
    flash->buffer[at] = value;
    if (--flash->buffer_left == 0)
        mode_set(flash, MODE_CONFIRM);
}

static void buffer_confirm(struct pflash *flash, u8 value)
{
    u64 room = PFLASH_BLOCK - flash->buffer_at % PFLASH_BLOCK;
    if (value != CMD_CONFIRM) {
        sequence_error(flash);
        return;
    }
    array_program(flash, flash->buffer_at, flash->buffer, MIN(room, (u64)BUFFER_SIZE));
    mode_set(flash, MODE_STATUS);
}

/* --- commands ----------------------------------------------------------------------------------------- */

static void command_first(struct pflash *flash, u8 value)
{
    switch (value) {
    case CMD_PROGRAM:
    case CMD_PROGRAM_ALT:
        mode_set(flash, MODE_PROGRAM);
        break;
    case CMD_BLOCK_ERASE:
        mode_set(flash, MODE_ERASE);
        break;
    case CMD_CLEAR_STATUS:
        flash->status = 0;
        mode_set(flash, MODE_ARRAY);
        break;
    case CMD_LOCK_SETUP:
        mode_set(flash, MODE_LOCK);
        break;
    case CMD_READ_STATUS:
        mode_set(flash, MODE_STATUS);
        break;
    case CMD_READ_ID:
        mode_set(flash, MODE_ID);
        break;
    case CMD_QUERY:
        mode_set(flash, MODE_QUERY);
        break;
    case CMD_WRITE_BUFFER:
        flash->status |= STATUS_READY;
        mode_set(flash, MODE_COUNT);
        break;
    case CMD_SUSPEND: /* nothing is ever under way */
    case CMD_CONFIRM:
        mode_set(flash, MODE_STATUS);
        break;
    default: /* READ ARRAY, and what is no command */
        mode_set(flash, MODE_ARRAY);
        break;
    }
}

static void command_lock(struct pflash *flash, u64 offset, u8 value)
{
    if (value != LOCK_SET && value != LOCK_CLEAR) {
        sequence_error(flash);
        return;
    }
    if (!flash->config.readonly)
        flash->locked[offset / PFLASH_BLOCK] = value == LOCK_SET;
    flash->status |= STATUS_READY;
    mode_set(flash, MODE_STATUS);
}

static void pflash_write(void *dev, u64 offset, unsigned size, u64 raw)
{
    struct pflash *flash = dev;
    u8 value = (u8)raw;
    switch (flash->mode) {
    case MODE_ARRAY:
    case MODE_STATUS:
    case MODE_ID:
    case MODE_QUERY:
        command_first(flash, value);
        break;
    case MODE_PROGRAM:
        array_program(flash, offset, &value, 1);
        mode_set(flash, MODE_STATUS);
        break;
    case MODE_ERASE:
        if (value == CMD_CONFIRM) {
            array_erase(flash, offset);
            mode_set(flash, MODE_STATUS);
        } else {
            sequence_error(flash);
        }
        break;
    case MODE_LOCK:
        command_lock(flash, offset, value);
        break;
    case MODE_COUNT:
        buffer_count(flash, offset, value);
        break;
    case MODE_BUFFER:
        buffer_byte(flash, offset, value);
        break;
    case MODE_CONFIRM:
        buffer_confirm(flash, value);
        break;
    }
}

static const struct io_ops pflash_ops = {pflash_read, pflash_write, .max_size = 1};

/* Times are powers of two: microseconds to program, milliseconds to erase. */
static void cfi_fill(struct pflash *flash)
{
    static const u8 head[] = {'Q',  'R',  'Y',  0x01, 0x00, 0x31, 0x00, 0x00, 0x00, 0x00, 0x00, 0x45,
                              0x55, 0x00, 0x00, 0x07, 0x07, 0x0a, 0x00, 0x04, 0x04, 0x04, 0x00};
    static const u8 primary[] = {'P',  'R',  'I',  '1',  '0',  0x00, 0x00,
                                 0x00, 0x00, 0x00, 0x01, 0x01, 0x00, 0x50};
    u64 blocks = flash->config.size / PFLASH_BLOCK - 1;
    memcpy(flash->cfi + 0x10, head, sizeof head);
    while ((1ull << flash->cfi[0x27]) < flash->config.size)
        flash->cfi[0x27]++;
    flash->cfi[0x2a] = BUFFER_BITS;
    flash->cfi[0x2c] = 1; /* regions of equal blocks */
    flash->cfi[0x2d] = (u8)blocks;
    flash->cfi[0x2e] = (u8)(blocks >> 8);
    flash->cfi[0x2f] = (u8)(PFLASH_BLOCK >> 8);
    flash->cfi[0x30] = (u8)(PFLASH_BLOCK >> 16);
    memcpy(flash->cfi + 0x31, primary, sizeof primary);
}

/* --- saved state -------------------------------------------------------------------------------------- */

struct pflash_state {
    u8 mode, status, buffer[BUFFER_SIZE], buffer_count, buffer_left;
    u32 buffer_at;
    bool locked[PFLASH_MAX_BLOCKS];
};

static void pflash_save(const void *dev, void *out)
{
    const struct pflash *flash = dev;
    struct pflash_state *s = out;
    s->mode = (u8)flash->mode;
    s->status = flash->status;
    memcpy(s->buffer, flash->buffer, sizeof s->buffer);
    s->buffer_count = flash->buffer_count;
    s->buffer_left = flash->buffer_left;
    s->buffer_at = flash->buffer_at;
    memcpy(s->locked, flash->locked, sizeof s->locked);
}

static int pflash_check(const void *dev, const void *in, struct error *err)
{
    const struct pflash *flash = dev;
    const struct pflash_state *s = in;
    bool filling = s->mode == MODE_BUFFER;
    if (s->buffer_at >= flash->config.size || s->buffer_left > s->buffer_count ||
        (filling && !s->buffer_left))
        return error_set(err, EINVAL, "pflash: %s is in no possible state", flash->config.name);
    return 0;
}

static void pflash_load(void *dev, const void *in)
{
    struct pflash *flash = dev;
    const struct pflash_state *s = in;
    flash->status = s->status;
    memcpy(flash->buffer, s->buffer, sizeof s->buffer);
    flash->buffer_count = s->buffer_count;
    flash->buffer_left = s->buffer_left;
    flash->buffer_at = s->buffer_at;
    if (!flash->config.readonly)
        memcpy(flash->locked, s->locked, sizeof s->locked);
    flash->mode = (enum mode)s->mode;
    region_map(flash);
    flash->dirty_start = 0;
    flash->dirty_end = flash->config.readonly ? 0 : flash->config.size;
}

static const struct state_field pflash_fields[] = {
    STATE_FIELD_MAX(struct pflash_state, mode, MODE_LAST),
    STATE_FIELD(struct pflash_state, status),
    STATE_ARRAY(struct pflash_state, buffer, u8),
    STATE_FIELD_MAX(struct pflash_state, buffer_count, BUFFER_SIZE),
    STATE_FIELD_MAX(struct pflash_state, buffer_left, BUFFER_SIZE),
    STATE_FIELD(struct pflash_state, buffer_at),
    {"locked", offsetof(struct pflash_state, locked), 1, PFLASH_MAX_BLOCKS, 1},
};

static const struct state_desc pflash_desc = {
    .name = "pflash",
    .version = 1,
    .size = sizeof(struct pflash_state),
    .fields = pflash_fields,
    .field_count = ARRAY_LEN(pflash_fields),
    .save = pflash_save,
    .check = pflash_check,
    .load = pflash_load,
};

/* --- lifecycle ---------------------------------------------------------------------------------------- */

void pflash_reset(struct pflash *flash)
{
    flash->status = STATUS_READY;
    memset(flash->locked, flash->config.readonly, sizeof flash->locked);
    mode_set(flash, MODE_ARRAY);
}

int pflash_create(struct pflash **out, const struct device_env *env, const struct pflash_config *config,
                  struct error *err)
{
    if (!config->size || config->size % PFLASH_BLOCK || config->size > config->block->size ||
        config->size / PFLASH_BLOCK > PFLASH_MAX_BLOCKS)
        return error_set(err, EINVAL, "%s cannot have %llu bytes: it is flash of up to %u blocks of %u",
                         config->name, (unsigned long long)config->size, PFLASH_MAX_BLOCKS, PFLASH_BLOCK);
    struct pflash *flash = calloc(1, sizeof *flash);
    if (!flash || state_set_add(env->state, &pflash_desc, flash, config->instance) < 0) {
        free(flash);
        return error_set(err, ENOMEM, "no memory for a flash chip");
    }
    flash->config = *config;
    flash->mem = env->mem;
    flash->region = (struct mem_region){
        .name = config->name,
        .gpa = config->gpa,
        .size = config->size,
        .kind = MEM_ROM,
        .block = config->block,
        .ops = &pflash_ops,
        .dev = flash,
    };
    cfi_fill(flash);
    pflash_reset(flash);
    *out = flash;
    return 0;
}

void pflash_destroy(struct pflash *flash)
{
    if (!flash)
        return;
    changes_report(flash);
    mem_unmap(flash->mem, &flash->region);
    free(flash);
}
