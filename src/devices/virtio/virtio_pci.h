/*
 * A virtio device on the PCI bus (Virtual I/O Device Version 1.2, section 4.1): the registers of version 1 in
 * a memory BAR and, unless it is `modern` only, those of before in an I/O BAR.
 */
#ifndef RING3_DEVICES_VIRTIO_PCI_H
#define RING3_DEVICES_VIRTIO_PCI_H

#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"

struct virtio_pci;

struct virtio_pci_config {
    struct pci_bus *bus;
    unsigned slot, function;
    u32 class_code;
    bool modern; /* types that never had a legacy interface are anyway */
};

/* `dev` stays its owner's, who destroys it after this. */
int virtio_pci_create(struct virtio_pci **out, const struct device_env *env, struct virtio_device *dev,
                      const struct virtio_pci_config *config, struct error *err);
void virtio_pci_destroy(struct virtio_pci *p);
/* The PCI function's configuration is reset by the bus. */
void virtio_pci_reset(struct virtio_pci *p);

#endif
