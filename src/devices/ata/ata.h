/*
 * An ATA or ATAPI drive behind a controller's port (ATA/ATAPI-8 ACS; T13/1699D), parallel or serial: the task
 * file, the commands, and the phases in which their data move. The controller (ide_channel.c, ahci_*.c) moves
 * the data of PIO blocks, and says where in guest memory DMA goes.
 *
 * The medium is read and written asynchronously, straight into guest memory for DMA. Saved state: requests
 * are to be drained first (board_drain); a transfer that waits for its controller is saved as it is.
 *
 * Everything here: [lock].
 */
#ifndef RING3_DEVICES_ATA_H
#define RING3_DEVICES_ATA_H

#include "devices/ata/ata_transfer.h"

enum ata_status_bit {
    ATA_ERR = BIT(0), /* CHK for packet devices */
    ATA_DRQ = BIT(3),
    ATA_DSC = BIT(4),
    ATA_DF = BIT(5),
    ATA_DRDY = BIT(6),
    ATA_BSY = BIT(7),
};

enum ata_error_bit {
    ATA_NM = BIT(1), /* no medium */
    ATA_ABRT = BIT(2),
    ATA_IDNF = BIT(4),
    ATA_WP = BIT(6),
    ATA_UNC = BIT(6),
    ATA_ICRC = BIT(7),
};

enum ata_device_bit { ATA_DEV = BIT(4), ATA_LBA = BIT(6), ATA_DEVICE_FUA = BIT(7) };

/* Registers of the command block; 0 is the data port. */
enum ata_register {
    ATA_REG_DATA,
    ATA_REG_FEATURE, /* error */
    ATA_REG_COUNT,
    ATA_REG_LBA0,
    ATA_REG_LBA1,
    ATA_REG_LBA2,
    ATA_REG_DEVICE,
    ATA_REG_COMMAND, /* status */
    ATA_REGISTERS,
};

/* Feature to LBA2, [0] as written last and [1] as before ("HOB"). */
struct ata_taskfile {
    u8 reg[ATA_REG_DEVICE][2];
    u8 device;
};

struct ata_device;

/* What a drive asks of its controller. */
struct ata_port_ops {
    /* A block of a PIO transfer, or (ata_wants_packet) a command packet, is due: ata_block tells where and
     * how long; ata_block_done once it has been moved. Called last. */
    void (*block_ready)(void *port, bool interrupt);
    /* Data are to be moved by DMA: ata_dma_start when it may begin. Called last. */
    void (*dma_wanted)(void *port);
    dma_next_fn *dma_next;
    /* The command has ended; status and error are there. Called last. */
    void (*ended)(void *port, bool interrupt);
    /* A DMA transfer stopped because dma_next did; the drive goes on at the next ata_dma_start. */
    void (*dma_stopped)(void *port);
    /* A reset has been carried out; the signature is in the registers. */
    void (*reset_done)(void *port);
};

struct ata_config {
    struct drive *drive;
    bool cdrom;
    bool serial_ata; /* an AHCI port: SATA's words in IDENTIFY, NCQ */
    unsigned index;  /* for names and saved state: unique among all drives of the machine */
    bool slave;      /* device 1 of a parallel pair: the signature says so in DEV */
    struct pci_function *function;
    const struct ata_port_ops *ops;
    void *port;
};

int ata_device_create(struct ata_device **out, const struct device_env *env, const struct ata_config *config,
                      struct error *err);
/* Nothing is under way. NULL is accepted. */
void ata_device_destroy(struct ata_device *dev);

/* Power-on: nothing is under way. */
void ata_device_power_on(struct ata_device *dev);
/* SRST or COMRESET: BSY, then the signature; at once (reset_done is called from within) unless the medium
 * is at work. */
void ata_device_reset(struct ata_device *dev);
/* Is the medium at work for it? */
bool ata_device_is_working(const struct ata_device *dev);
bool ata_device_is_cdrom(const struct ata_device *dev);

struct ata_taskfile *ata_taskfile(struct ata_device *dev);
u8 ata_status(const struct ata_device *dev);
u8 ata_error(const struct ata_device *dev);
/* The command register is written. */
void ata_command(struct ata_device *dev, u8 command);
/* EXECUTE DEVICE DIAGNOSTIC reaches both drives of a pair: this one does its part without an interrupt. */
void ata_diagnose(struct ata_device *dev);

/* While a block is ready. */
u8 *ata_block(struct ata_device *dev, u32 *len, bool *to_guest);
bool ata_wants_packet(const struct ata_device *dev);
void ata_block_done(struct ata_device *dev);

bool ata_wants_dma(const struct ata_device *dev);
void ata_dma_start(struct ata_device *dev);
/* From dma_stopped: there will be no more memory. What is read is dropped; what was to be written is missing:
 * the command is aborted. */
void ata_dma_discard(struct ata_device *dev);

/* A command of the queued kind (READ/WRITE FPDMA QUEUED), checked by the drive, carried out by the port. */
struct ata_queued {
    bool write, fua;
    u64 sector;
    u32 count;
};
/* What the task file says; false: status and error say why not. */
bool ata_queued_parse(struct ata_device *dev, u8 command, struct ata_queued *out);
/* Status and error after a queued command failed; the log page 10h names `tag`. */
void ata_queued_fail(struct ata_device *dev, unsigned tag, const struct ata_queued *q);
bool ata_writes_are_cached(const struct ata_device *dev);
struct drive *ata_drive(struct ata_device *dev);

/* The user takes the medium out or puts one in (the drive's image has been changed by then). */
void ata_medium_changed(struct ata_device *dev);

#endif
