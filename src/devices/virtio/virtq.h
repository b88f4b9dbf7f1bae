/*
 * A split virtqueue, the device's side (Virtual I/O Device Version 1.2, section 2.7).
 *
 * The rings and everything they lead to are written by a hostile guest while we read. What keeps that
 * harmless:
 *   1. every field is read once, checked, and only the checked copy is used;
 *   2. a chain is at most VIRTQ_CHAIN_MAX descriptors long, whatever they say, so loops end;
 *   3. rings and buffers are resolved to RAM before use: all of a chain, or the chain is refused;
 *   4. a guest that breaks the rules finds the queue *broken*: nothing of it is looked at until its reset.
 *
 * Guest RAM is read and written while vCPUs run; the memory barriers are those of the specification (2.7.7,
 * 2.7.10, 2.7.13). Everything here: [lock].
 */
#ifndef RING3_DEVICES_VIRTIO_VIRTQ_H
#define RING3_DEVICES_VIRTIO_VIRTQ_H

#include <sys/uio.h>

#include "devices/device.h"

#define VIRTQ_SIZE_MAX  1024
#define VIRTQ_CHAIN_MAX 1024
#define VIRTQ_NO_VECTOR 0xffff

/* What a buffer of a chain is for the guest; iov[] at the same index is the same for us. */
struct virtq_segment {
    u64 gpa;
    u32 len;
};

/* A descriptor chain, resolved: first what the device reads, then what it writes. Lives in a request and is
 * used again for the next one. */
struct virtq_chain {
    u16 head;
    u32 epoch;                    /* the queue's when it was taken */
    unsigned out_count, in_count; /* of iov[] */
    u64 out_len, in_len;
    struct iovec *iov; /* the user may change these, to cut off a header for instance */
    struct virtq_segment *segment;
    unsigned capacity;
};

/* A part of the ring in guest memory, and where we see it. */
struct virtq_part {
    u64 gpa;
    u8 *hva;
};

struct virtq {
    struct mem_space *mem;
    /* Set by the guest. */
    u16 size; /* a power of two, up to size_max */
    bool enabled;
    u16 vector;
    struct virtq_part desc, avail, used;
    /* Ours. */
    u16 size_max;
    bool event_idx; /* negotiated; likewise `indirect` */
    bool indirect;
    bool broken;
    u32 epoch;         /* counts resets: chains of an earlier one are not given back */
    bool quiet;        /* the guest need not notify us */
    u16 avail_next;    /* of the entry of the available ring that we take next */
    u16 used_next;     /* of the entry of the used ring that we write next */
    u16 used_told;     /* used_next when we last asked whether the guest wants an interrupt */
    u64 generation;    /* of the memory map that the parts' hva are of */
    struct virtq_run { /* RAM that buffers were found in */
        u64 gpa, len;
        u8 *hva;
    } run[2];
};

void virtq_init(struct virtq *q, struct mem_space *mem, u16 size_max);
/* As after power-on: disabled, without addresses. Chains that are still out become void. */
void virtq_reset(struct virtq *q);

/* `size_max` unless the guest chose a smaller one: a power of two. False: no such size. */
bool virtq_set_size(struct virtq *q, u16 size);

void virtq_chain_init(struct virtq_chain *chain);
void virtq_chain_finish(struct virtq_chain *chain);

/* Is there something to take? False for a queue that is not enabled or broken. */
bool virtq_has_next(struct virtq *q);
/* Resolves the next chain without taking it. False: nothing there, or broken. */
bool virtq_peek(struct virtq *q, struct virtq_chain *chain);
/* Takes the chain that was peeked at. */
void virtq_take(struct virtq *q);
/* Both. */
bool virtq_pop(struct virtq *q, struct virtq_chain *chain);

/* Gives a chain back, `written` bytes of whose writable part hold something. Tells nobody. */
void virtq_push(struct virtq *q, const struct virtq_chain *chain, u32 written);
/* Does the guest want an interrupt for what was pushed since the last call? */
bool virtq_wants_interrupt(struct virtq *q);

/* The guest need not (or must again) notify us of new chains. Having been told that it must, look at the
 * queue once more: it may have added some before it saw that. */
void virtq_set_quiet(struct virtq *q, bool quiet);

/* Copies from the readable or to the writable part, from its byte `offset` on; returns how many bytes that
 * were. */
size_t virtq_chain_read(const struct virtq_chain *chain, u64 offset, void *buf, size_t len);
size_t virtq_chain_write(const struct virtq_chain *chain, u64 offset, const void *buf, size_t len);

#endif
