/*
 * Messages and trace topics. A `struct log` hangs from the VM; everything that reports gets a pointer to it
 * (NULL is allowed and silent). Any thread may write: each message is one write(2).
 */
#ifndef RING3_BASE_LOG_H
#define RING3_BASE_LOG_H

#include <stdio.h>
#include "base/types.h"

/* The trace topics: X(enumerator, name on the command line, what it shows). */
#define TRACE_TOPICS(X)                                                                                      \
    X(INSN, "insn", "every instruction, disassembled")                                                       \
    X(EXC, "exc", "exceptions and interrupts as they are delivered")                                         \
    X(MMU, "mmu", "page walks and TLB flushes")                                                              \
    X(CPU, "cpu", "control registers, mode changes, INIT and SIPI")                                          \
    X(MSR, "msr", "model-specific registers")                                                                \
    X(IO, "io", "port reads and writes")                                                                     \
    X(MMIO, "mmio", "memory-mapped reads and writes")                                                        \
    X(MEMMAP, "memmap", "changes of the physical memory map")                                                \
    X(IRQ, "irq", "interrupt lines, PIC, IOAPIC and local APIC")                                             \
    X(TIMER, "timer", "PIT, HPET, RTC, PM timer and local APIC timer")                                       \
    X(CHAR, "char", "serial ports and keyboard controller")                                                  \
    X(PCI, "pci", "PCI configuration space")                                                                 \
    X(DISK, "disk", "commands to disk and CD-ROM drives")                                                    \
    X(VIRTIO, "virtio", "virtio devices: status, features, queues")                                          \
    X(ACPI, "acpi", "power management and firmware tables")                                                  \
    X(BOOT, "boot", "kernel loading")                                                                        \
    X(FIRMWARE, "firmware", "what the firmware says on its debug port (402h)")                               \
    X(JIT, "jit", "translation, with guest and host code")                                                   \
    X(JITCHECK, "jitcheck", "translated code that has what it must not have (checks every block)")           \
    X(JITMAP, "jitmap", "translated blocks, for perf(1): in /tmp/perf-PID.map")

enum trace_topic {
#define X(id, name, what) TRACE_##id,
    TRACE_TOPICS(X)
#undef X
        TRACE_TOPIC_COUNT
};

struct log {
    FILE *out;  /* borrowed; stderr by default */
    u64 topics; /* bit per enum trace_topic */
    bool crlf;  /* `out` is a terminal in raw mode: lines end in CR LF */
};

/* Messages to stderr, no topic. */
void log_init(struct log *log);

/* Parses "io,irq" into `log->topics`; "help" is not special here. Returns NULL, or the first unknown name
 * (a pointer into a static buffer of the caller: `bad`, of `size` bytes). */
const char *log_parse_topics(struct log *log, const char *list, char *bad, size_t size);

void log_write(struct log *log, const char *tag, const char *fmt, ...) PRINTF_LIKE(3, 4);

static inline bool log_traces(const struct log *log, enum trace_topic topic)
{
    return log && unlikely(log->topics & BIT(topic));
}

const char *trace_topic_name(enum trace_topic topic);
const char *trace_topic_help(enum trace_topic topic);

/* log_trace(log, TRACE_IO, "out %#x", port): costs a load and a branch when the topic is off. */
#define log_trace(log, topic, ...)                                                                           \
    do {                                                                                                     \
        if (log_traces(log, topic))                                                                          \
            log_write(log, trace_topic_name(topic), __VA_ARGS__);                                            \
    } while (0)

#define log_warn(log, ...)                                                                                   \
    do {                                                                                                     \
        if (log)                                                                                             \
            log_write(log, "warning", __VA_ARGS__);                                                          \
    } while (0)

#endif
