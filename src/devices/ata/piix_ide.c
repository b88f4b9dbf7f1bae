#include "devices/ata/piix_ide.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "devices/ata/ide_channel.h"

/* IDETIM (2.3.8): timings, and whether the channel's ports are decoded. */
#define IDETIM         0x40u
#define IDETIM_ENABLE  BIT(15)
#define SIDETIM        0x44u
#define BM_BAR         4u
#define CLASS_IDE      0x010180u /* bus master; both channels in compatibility mode, which is fixed */
#define BM_TOTAL_PORTS (IDE_CHANNELS * IDE_BM_PORTS)

struct piix_ide {
    struct pci_function function;
    struct ide_channel channel[IDE_CHANNELS];
};

static void decode_update(struct piix_ide *ide)
{
    bool io = load_le16(ide->function.config + PCI_COMMAND) & PCI_COMMAND_IO;
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        ide_channel_map(&ide->channel[i],
                        io && load_le16(ide->function.config + IDETIM + (size_t)2 * i) & IDETIM_ENABLE);
}

static void config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    decode_update(container_of(f, struct piix_ide, function));
}

static u64 bm_read(void *dev, u64 offset, unsigned size)
{
    struct piix_ide *ide = dev;
    u64 value = 0;
    for (unsigned i = 0; i < size && offset + i < BM_TOTAL_PORTS; i++) {
        unsigned at = (unsigned)offset + i;
        value |= (u64)ide_bm_read(&ide->channel[at / IDE_BM_PORTS], at % IDE_BM_PORTS) << (8 * i);
    }
    return value;
}

static void bm_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct piix_ide *ide = dev;
    for (unsigned i = 0; i < size && offset + i < BM_TOTAL_PORTS; i++) {
        unsigned at = (unsigned)offset + i;
        ide_bm_write(&ide->channel[at / IDE_BM_PORTS], at % IDE_BM_PORTS, (u8)(value >> (8 * i)));
    }
}

static const struct io_ops bm_ops = {bm_read, bm_write, .max_size = 4};

/* The part comes up with both channels off; OVMF never turns them on, since the one that it knows (QEMU's)
 * always decodes. */
void piix_ide_reset(struct piix_ide *ide)
{
    memset(ide->function.config + IDETIM, 0, SIDETIM + 1 - IDETIM);
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        store_le16(ide->function.config + IDETIM + (size_t)2 * i, IDETIM_ENABLE);
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        ide_channel_reset(&ide->channel[i]);
    decode_update(ide);
}

int piix_ide_create(struct piix_ide **out, const struct device_env *env, const struct piix_ide_config *config,
                    struct error *err)
{
    const struct pci_ids ids = {.vendor = 0x8086, .device = 0x7010, .class_code = CLASS_IDE};
    struct piix_ide *ide = calloc(1, sizeof *ide);
    if (!ide)
        return error_set(err, ENOMEM, "no memory for the IDE controller");
    struct pci_function *f = &ide->function;
    pci_function_init(f, "PIIX3 IDE", &ids);
    f->config_written = config_written;
    memset(f->writable + IDETIM, 0xff, SIDETIM + 1 - IDETIM);
    pci_bar_io(f, BM_BAR, BM_TOTAL_PORTS, &bm_ops, ide);
    int rc = 0;
    for (unsigned i = 0; !rc && i < IDE_CHANNELS; i++)
        rc = ide_channel_init(&ide->channel[i], env, f, config, i, err);
    if (!rc)
        rc = pci_add(config->bus, f, config->slot, config->function, err);
    if (rc) {
        piix_ide_destroy(ide);
        return rc;
    }
    piix_ide_reset(ide);
    *out = ide;
    return 0;
}

void piix_ide_destroy(struct piix_ide *ide)
{
    if (!ide)
        return;
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        ide_channel_finish(&ide->channel[i]);
    pci_remove(&ide->function);
    free(ide);
}
