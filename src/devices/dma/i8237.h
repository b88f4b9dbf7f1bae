/*
 * The PC's pair of 8237A DMA controllers with its page registers: channels 0-3 move bytes, 5-7 words, within
 * 64 KiB or 128 KiB of the lowest 16 MiB. Channel 4 is where the first controller's request enters the
 * second: software puts it into cascade mode, and nothing of channels 0-3 moves before.
 *
 * A transfer takes no time: when a channel's request is active and nothing masks it, the device behind it is
 * granted the bus, and moves what it has with dma_transfer.
 */
#ifndef RING3_DEVICES_DMA_I8237_H
#define RING3_DEVICES_DMA_I8237_H

#include "devices/device.h"

#define DMA_CHANNELS 8

struct i8237;

/* The device behind a channel. */
struct dma_client {
    /* DACK: moves data with dma_transfer as long as it likes, lowers DREQ when it needs no more. Called
     * again while DREQ is high and data moves. */
    void (*granted)(void *opaque);
    void *opaque;
};

/* A device's end of a channel. Copied by value; all zero: not connected. */
struct dma_channel {
    struct i8237 *dma;
    unsigned number;
};

int i8237_create(struct i8237 **out, const struct device_env *env, struct error *err);
void i8237_destroy(struct i8237 *dma);
/* RESET: master clear; address, count and page registers keep what they had. */
void i8237_reset(struct i8237 *dma);
/* What firmware does before it starts an operating system: channel 4 in cascade mode, unmasked. */
void i8237_set_cascade(struct i8237 *dma);

/* `number` is 0-3 or 5-7. */
struct dma_channel dma_connect(struct i8237 *dma, unsigned number, const struct dma_client *client);
/* The DREQ pin, as the device means it (what is active electrically is the command register's). */
void dma_request(const struct dma_channel *channel, bool active);

/*
 * What the device does with the bus. The channel's mode decides what really moves: memory is written if it
 * says "write", read if it says "read", and neither for "verify".
 */
enum dma_direction { DMA_TO_MEMORY, DMA_FROM_MEMORY };

/*
 * Moves at most `len` bytes (whole units of the channel) between `buf` and memory, and returns how many. In
 * single mode it ends after each unit for others to have the bus: that is not visible here. `*tc`: the
 * terminal count was reached with the last one (EOP). Only from `granted`. Data that the controller does not
 * fetch reads as FFh.
 */
size_t dma_transfer(const struct dma_channel *channel, enum dma_direction direction, void *buf, size_t len,
                    bool *tc);

#endif
