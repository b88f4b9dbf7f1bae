/* Between the files of the AHCI controller. Section numbers are AHCI 1.3's. */
#ifndef RING3_DEVICES_AHCI_IMPL_H
#define RING3_DEVICES_AHCI_IMPL_H

#include "base/bytes.h"
#include "devices/ata/ahci.h"

#define AHCI_SLOTS 32

/* Port registers (3.3), by offset. */
enum ahci_port_register {
    PX_CLB = 0x00,
    PX_CLBU = 0x04,
    PX_FB = 0x08,
    PX_FBU = 0x0c,
    PX_IS = 0x10,
    PX_IE = 0x14,
    PX_CMD = 0x18,
    PX_TFD = 0x20,
    PX_SIG = 0x24,
    PX_SSTS = 0x28,
    PX_SCTL = 0x2c,
    PX_SERR = 0x30,
    PX_SACT = 0x34,
    PX_CI = 0x38,
    PX_SNTF = 0x3c,
};

enum ahci_command_bit {
    CMD_ST = BIT(0),
    CMD_SUD = BIT(1),
    CMD_POD = BIT(2),
    CMD_CLO = BIT(3),
    CMD_FRE = BIT(4),
    CMD_FR = BIT(14),
    CMD_CR = BIT(15),
    CMD_ATAPI = BIT(24),
    CMD_DLAE = BIT(25),
    CMD_ALPE = BIT(26),
    CMD_ASP = BIT(27),
    CMD_CCS_SHIFT = 8,
};
#define CMD_ICC      0xf0000000u
#define CMD_CCS      0x00001f00u
#define CMD_WRITABLE (CMD_ST | CMD_SUD | CMD_FRE | CMD_ATAPI | CMD_DLAE | CMD_ALPE | CMD_ASP)

/* PxIS, PxIE. */
enum ahci_interrupt {
    IS_DHRS = BIT(0),
    IS_PSS = BIT(1),
    IS_DSS = BIT(2),
    IS_SDBS = BIT(3),
    IS_UFS = BIT(4),
    IS_DPS = BIT(5),
    IS_PCS = BIT(6),
    IS_PRCS = BIT(22),
    IS_OFS = BIT(24),
    IS_IFS = BIT(27),
    IS_HBDS = BIT(28),
    IS_HBFS = BIT(29),
    IS_TFES = BIT(30),
};
#define IS_ALL 0x7dc0007fu
/* Shown by PxSERR's bits, not cleared here. */
#define IS_FROM_SERR (IS_UFS | IS_PCS | IS_PRCS)

enum ahci_serr_bit { SERR_PHY_CHANGE = BIT(16), SERR_EXCHANGED = BIT(26) };

/* FIS types (SATA 2.6, 10.3), and where in the received FIS area they go (4.2.1). */
enum fis_type { FIS_H2D = 0x27, FIS_D2H = 0x34, FIS_SDB = 0xa1, FIS_PIO_SETUP = 0x5f };
enum fis_offset { RFIS_PIO = 0x20, RFIS_D2H = 0x40, RFIS_SDB = 0x58 };

/* Where in the PRD table of a slot a transfer is. */
struct ahci_cursor {
    u64 table;
    u32 left_entries;
    u64 address;
    u32 left;  /* bytes of the present entry */
    u32 moved; /* bytes, of all */
};

/* The command in a slot, read once. */
struct ahci_slot {
    struct ahci_port *port;
    u64 header, table; /* guest addresses */
    struct ahci_cursor cursor;
    struct ata_queued queued;
    struct ata_transfer *transfer; /* of a queued command under way */
    bool forgotten;                /* the transfer's end is nobody's business any more */
};

/* What is saved: X(type, name, largest value) of a port. No command is under way then. */
/* clang-format off */
#define AHCI_PORT_FIELDS(X)                                                                                  \
    X(u64, clb, ~0ull) X(u64, fb, ~0ull) X(u32, is, IS_ALL) X(u32, ie, IS_ALL) X(u32, cmd, ~0u)              \
    X(u32, tfd, 0xffff) X(u32, sig, ~0u) X(u32, ssts, 0xfff) X(u32, sctl, 0xfff) X(u32, serr, ~0u)           \
    X(u32, sact, ~0u) X(u32, ci, ~0u) X(u8, next, AHCI_SLOTS - 1) X(bool, stopped, 1) X(bool, srst, 1)
/* clang-format on */

struct ahci;

struct ahci_port {
    struct ahci *hba;
    unsigned number;
    struct ata_device *dev; /* NULL: nothing there */
#define X(type, name, max) type name;
    /* next: slot where the look for the next command starts; stopped: by an error, until ST is cleared; srst:
     * the drive is held in reset by SRST */
    AHCI_PORT_FIELDS(X)
#undef X
    struct ahci_slot slot[AHCI_SLOTS];
    unsigned current; /* slot of the command that the drive carries out; AHCI_SLOTS: none */
    unsigned queued;  /* transfers of queued commands under way, also of forgotten ones */
    bool resetting;   /* COMRESET waits for them */
    bool running;     /* within ahci_port_run */
    bool moving, block_pending, block_interrupt; /* PIO blocks, one after the other */
};

struct ahci {
    struct device_env env;
    struct pci_function function;
    u32 ghc, is;
    struct ahci_port port[AHCI_PORTS];
};

/* --- ahci.c --- */

/* PxIS bits come up; the interrupt follows. */
void ahci_raise(struct ahci_port *port, u32 bits);
void ahci_update_irq(struct ahci *hba);

/* --- ahci_port.c --- */

/* PxIS: with what PxSERR says. */
u32 ahci_port_interrupts(const struct ahci_port *port);
u32 ahci_port_read(struct ahci_port *port, unsigned offset);
void ahci_port_write(struct ahci_port *port, unsigned offset, u32 value);
/* What HBA reset does to a port; the drive is another matter. */
void ahci_port_reset(struct ahci_port *port);
/* The drive's answer to COMRESET. */
void ahci_port_signature(struct ahci_port *port);

/* --- ahci_command.c --- */

extern const struct ata_port_ops ahci_port_ops;

/* Starts what can be started. */
void ahci_port_run(struct ahci_port *port);
/* Is the medium at work? ST's end has to wait for that. */
bool ahci_port_is_working(const struct ahci_port *port);
/* ST was cleared, or COMRESET: commands are forgotten as soon as the medium is idle. */
void ahci_port_abandon(struct ahci_port *port);
/* Goes on with a COMRESET that waited, if it can. */
void ahci_port_settle(struct ahci_port *port);
/* Posts a register device-to-host FIS. */
void ahci_post_d2h(struct ahci_port *port, bool interrupt);

#endif
