/* A port's registers (3.3), and its link. */
#include "devices/ata/ahci_impl.h"

#define SSTS_NO_DEVICE 0x000u
#define SSTS_OFFLINE   0x004u
#define SSTS_UP        0x123u /* active, generation 2, device and link */
#define SCTL_DET       0x00fu
#define SCTL_WRITABLE  0xfffu
#define SIG_NONE       0xffffffffu
#define TFD_NONE       0x7fu

/* --- the link --- */

/* The device is found (again): its signature follows when the medium is at rest. */
static void link_up(struct ahci_port *port)
{
    if (!port->dev || !(port->cmd & CMD_SUD) || (port->sctl & SCTL_DET))
        return;
    port->ssts = SSTS_UP;
    port->tfd = ATA_BSY;
    port->serr |= SERR_EXCHANGED | SERR_PHY_CHANGE;
    port->srst = false;
    port->resetting = true;
    ahci_update_irq(port->hba);
    ahci_port_settle(port);
}

void ahci_port_settle(struct ahci_port *port)
{
    if (!port->resetting || port->queued)
        return;
    port->resetting = false;
    ata_device_reset(port->dev);
}

void ahci_port_signature(struct ahci_port *port)
{
    if (port->ssts != SSTS_UP)
        return;
    const struct ata_taskfile *tf = ata_taskfile(port->dev);
    port->tfd = (u32)ata_error(port->dev) << 8 | ata_status(port->dev);
    port->sig = tf->reg[ATA_REG_COUNT][0] | (u32)tf->reg[ATA_REG_LBA0][0] << 8 |
                (u32)tf->reg[ATA_REG_LBA1][0] << 16 | (u32)tf->reg[ATA_REG_LBA2][0] << 24;
    ahci_post_d2h(port, false);
}

static void link_control(struct ahci_port *port, u32 value)
{
    u32 before = port->sctl & SCTL_DET, now = value & SCTL_DET;
    port->sctl = value & SCTL_WRITABLE;
    if (before == now)
        return;
    if (now == 0) {
        link_up(port);
        return;
    }
    /* COMRESET goes on for as long as DET is 1; 4: the port is off. */
    ahci_port_abandon(port);
    port->ssts = now == 4 ? SSTS_OFFLINE : SSTS_NO_DEVICE;
    port->tfd = TFD_NONE;
    port->sig = SIG_NONE;
}

void ahci_port_reset(struct ahci_port *port)
{
    port->clb = port->fb = 0;
    port->is = port->ie = 0;
    port->cmd = CMD_POD;
    port->tfd = TFD_NONE;
    port->sig = SIG_NONE;
    port->ssts = SSTS_NO_DEVICE;
    port->sctl = port->serr = port->sact = port->ci = 0;
    port->next = 0;
    port->stopped = port->srst = false;
}

/* --- PxCMD --- */

static u32 command_read(const struct ahci_port *port)
{
    u32 cmd = port->cmd & ~CMD_CCS;
    if (port->cmd & CMD_FRE)
        cmd |= CMD_FR;
    if ((port->cmd & CMD_ST) || ahci_port_is_working(port))
        cmd |= CMD_CR;
    if (port->cmd & CMD_ST)
        cmd |= port->cmd & CMD_CCS;
    return cmd;
}

static void command_write(struct ahci_port *port, u32 value)
{
    u32 before = port->cmd;
    port->cmd = (before & ~(u32)CMD_WRITABLE) | (value & CMD_WRITABLE);
    if (port->stopped && !(value & CMD_ST))
        port->stopped = false;
    if ((before & CMD_ST) && !(value & CMD_ST)) {
        ahci_port_abandon(port);
        port->cmd &= ~CMD_CCS;
    }
    if ((value & CMD_CLO) && !(value & before & CMD_ST))
        port->tfd &= ~(u32)(ATA_BSY | ATA_DRQ);
    if (!(before & CMD_SUD) && (value & CMD_SUD) && port->ssts != SSTS_UP)
        link_up(port);
    /* What arrived before there was room for it. */
    if (!(before & CMD_FRE) && (value & CMD_FRE) && port->sig != SIG_NONE && !(port->tfd & ATA_BSY))
        ahci_post_d2h(port, false);
    ahci_port_run(port);
}

/* --- registers --- */

u32 ahci_port_interrupts(const struct ahci_port *port)
{
    u32 is = port->is;
    if (port->serr & SERR_EXCHANGED)
        is |= IS_PCS;
    if (port->serr & SERR_PHY_CHANGE)
        is |= IS_PRCS;
    return is;
}

u32 ahci_port_read(struct ahci_port *port, unsigned offset)
{
    switch (offset) {
    case PX_CLB:
        return (u32)port->clb;
    case PX_CLBU:
        return (u32)(port->clb >> 32);
    case PX_FB:
        return (u32)port->fb;
    case PX_FBU:
        return (u32)(port->fb >> 32);
    case PX_IS:
        return ahci_port_interrupts(port);
    case PX_IE:
        return port->ie;
    case PX_CMD:
        return command_read(port);
    case PX_TFD:
        return port->tfd;
    case PX_SIG:
        return port->sig;
    case PX_SSTS:
        return port->ssts;
    case PX_SCTL:
        return port->sctl;
    case PX_SERR:
        return port->serr;
    case PX_SACT:
        return port->sact;
    case PX_CI:
        return port->ci;
    default:
        return 0;
    }
}

void ahci_port_write(struct ahci_port *port, unsigned offset, u32 value)
{
    switch (offset) {
    case PX_CLB:
        port->clb = (port->clb & ~MASK(32)) | (value & ~0x3ffu);
        break;
    case PX_CLBU:
        port->clb = (port->clb & MASK(32)) | (u64)value << 32;
        break;
    case PX_FB:
        port->fb = (port->fb & ~MASK(32)) | (value & ~0xffu);
        break;
    case PX_FBU:
        port->fb = (port->fb & MASK(32)) | (u64)value << 32;
        break;
    case PX_IS:
        port->is &= ~value;
        ahci_update_irq(port->hba);
        break;
    case PX_IE:
        port->ie = value & IS_ALL;
        ahci_update_irq(port->hba);
        break;
    case PX_CMD:
        command_write(port, value);
        break;
    case PX_SCTL:
        link_control(port, value);
        break;
    case PX_SERR:
        port->serr &= ~value;
        ahci_update_irq(port->hba);
        break;
    case PX_SACT:
        if (port->cmd & CMD_ST)
            port->sact |= value;
        break;
    case PX_CI:
        if (port->cmd & CMD_ST)
            port->ci |= value;
        ahci_port_run(port);
        break;
    default:
        break;
    }
}
