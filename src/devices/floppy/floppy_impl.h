/*
 * What the controller's files share. floppy.c: registers, phases, saved state. floppy_command.c: commands
 * that move no data, and the table of all. floppy_transfer.c: those that do.
 *
 * A command passes through the phases IDLE -> COMMAND (its bytes come) -> DATA and IO, in turn -> RESULT ->
 * IDLE. DATA: the host has to take or give what is left of `data`. IO:   the drive is reading or writing a
 * sector. `io` may still be busy with one that a reset has abandoned; then the new one waits for its end.
 * Seeks go on in the background, each until its unit's timer expires.
 */
#ifndef RING3_DEVICES_FLOPPY_FLOPPY_IMPL_H
#define RING3_DEVICES_FLOPPY_FLOPPY_IMPL_H

#include "base/bytes.h"
#include "devices/floppy/floppy.h"

#define UNITS         4 /* that commands can name; those from FLOPPY_DRIVES on are never there */
#define COMMAND_MAX   9
#define RESULT_MAX    10
#define MAX_SECTORS   5760 /* of a 2.88M medium */
#define MAX_TRACK     83   /* where the head stops */
#define DELETED_BYTES (MAX_SECTORS / 8)

enum { DOR_SELECT = 0x03, DOR_ENABLE = BIT(2), DOR_GATE = BIT(3) };
enum { DSR_RESET = BIT(7), DSR_POWER_DOWN = BIT(6), DSR_RATE = 0x03 };
enum { MSR_RQM = BIT(7), MSR_DIO = BIT(6), MSR_NON_DMA = BIT(5), MSR_BUSY = BIT(4) };

enum {
    ST0_ABNORMAL = 0x40,
    ST0_INVALID = 0x80,
    ST0_READY_CHANGED = 0xc0,
    ST0_SEEK_END = BIT(5),
    ST0_EQUIPMENT = BIT(4),
};
enum {
    ST1_END_OF_CYLINDER = BIT(7),
    ST1_DATA_ERROR = BIT(5),
    ST1_NO_DATA = BIT(2),
    ST1_NOT_WRITABLE = BIT(1),
    ST1_MISSING_MARK = BIT(0),
};
enum {
    ST2_CONTROL_MARK = BIT(6),
    ST2_DATA_ERROR = BIT(5),
    ST2_WRONG_CYLINDER = BIT(4),
    ST2_SCAN_EQUAL = BIT(3),
    ST2_SCAN_UNSATISFIED = BIT(2),
    ST2_MISSING_DATA_MARK = BIT(0),
};

enum phase { PHASE_IDLE, PHASE_COMMAND, PHASE_DATA, PHASE_IO, PHASE_RESULT };

/* CONFIGURE's second byte. */
enum {
    CONFIG_IMPLIED_SEEK = BIT(6),
    CONFIG_NO_FIFO = BIT(5),
    CONFIG_NO_POLL = BIT(4),
    CONFIG_THRESHOLD = 0x0f
};

struct floppy_format {
    u16 sectors;
    u8 cylinders, heads, per_track;
    u8 rate; /* as DSR and CCR have it */
    u8 type; /* of the drive, as CMOS has it */
};

struct unit {
    struct drive *drive;                /* NULL: there is none */
    const struct floppy_format *format; /* NULL: no medium */
    u8 type;
    u8 track, pcn; /* where the head is, and where the controller thinks that it is */
    bool changed;  /* the disk change line */
    bool seeking;
    u8 seek_st0; /* what SENSE INTERRUPT is to say then */
    u8 seek_track, seek_pcn;
    struct timer timer;
    struct floppy *fdc;
    u8 deleted[DELETED_BYTES]; /* sectors with a deleted data mark: an image cannot say so */
};

enum operation { OP_READ, OP_WRITE, OP_READ_TRACK, OP_VERIFY, OP_FORMAT, OP_SCAN };
enum scan { SCAN_EQUAL, SCAN_LOW_OR_EQUAL, SCAN_HIGH_OR_EQUAL };

struct transfer {
    enum operation op;
    enum scan scan;
    bool multi_track, skip;
    bool deleted; /* the command is for deleted data */
    bool counted; /* VERIFY with EC: `left` sectors */
    bool scan_equal, scan_hit;
    bool tc;
    u8 unit, head; /* head: HDS, the one in use */
    u8 c, h, r, n, eot, step, filler;
    u8 left;  /* sectors to format, verify or, with READ TRACK, read */
    u8 index; /* of READ TRACK: sectors read */
    u8 st1, st2;
    u16 lba;
    u16 pos, len;            /* of `data` */
    u8 data[SECTOR_SIZE];    /* the sector, or four bytes of format */
    u8 compare[SECTOR_SIZE]; /* the host's side of a scan */
};

struct floppy {
    u8 dor, rate, tdr;
    bool powered_down;
    enum phase phase;
    u8 command[COMMAND_MAX], command_at, command_len;
    u8 result[RESULT_MAX], result_at, result_len;
    bool irq_raised;
    u8 seek_ended;    /* units whose seek SENSE INTERRUPT has to tell of */
    u8 reset_pending; /* units whose ready line is to be told of after a reset */
    u8 specify[2], config, precompensation, perpendicular, last_eot;
    bool locked;
    struct unit unit[UNITS];
    struct transfer transfer;

    /* One request at a time. */
    struct block_request io;
    u8 io_data[SECTOR_SIZE];
    bool io_busy, io_abandoned;

    struct irq_line irq;
    struct dma_channel dma;
    struct loop *loop;
    struct mem_space *mem;
    struct log *log;
    struct port_region ports, dir_port;
};

/* floppy.c */
void fdc_interrupt(struct floppy *fdc, bool level);
/* RESULT with the first `len` bytes of `result`; an interrupt says so if the command had an execution phase.
 */
void fdc_result(struct floppy *fdc, unsigned len, bool interrupt);
static inline bool fdc_non_dma(const struct floppy *fdc)
{
    return fdc->specify[1] & 1;
}

/* floppy_command.c */
/* How many bytes the command has that begins with `first`. */
unsigned fdc_command_length(u8 first);
void fdc_command_run(struct floppy *fdc);
void unit_seek_ended(void *unit);

/* floppy_transfer.c */
void transfer_read(struct floppy *fdc);
void transfer_write(struct floppy *fdc);
void transfer_read_track(struct floppy *fdc);
void transfer_verify(struct floppy *fdc);
void transfer_format(struct floppy *fdc);
void transfer_scan(struct floppy *fdc);
void transfer_read_id(struct floppy *fdc);
/* The host reads or writes a byte of the FIFO in PHASE_DATA. */
u8 transfer_take_byte(struct floppy *fdc);
void transfer_give_byte(struct floppy *fdc, u8 value);
bool transfer_to_host(const struct floppy *fdc);
void transfer_granted(void *fdc); /* the DMA controller's call */
/* Starts the sector's I/O again after a load, or abandons it at a reset. */
void transfer_resume(struct floppy *fdc);
void transfer_abandon(struct floppy *fdc);

#endif
