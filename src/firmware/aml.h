/*
 * An encoder for ACPI machine language (ACPI 6.4 chapter 20): just what our DSDT needs.
 *
 * Blocks (scope, device, method, package, resource template) are opened by a function that returns a mark and
 * closed by aml_end(mark), innermost first; the length is put in on closing. Names are paths as in ASL
 * ("\\_SB.PCI0", "_HID"); segments are padded to four characters.
 */
#ifndef RING3_FIRMWARE_AML_H
#define RING3_FIRMWARE_AML_H

#include "base/types.h"

struct aml {
    u8 *buf;
    size_t len, capacity;
    bool failed; /* no memory: everything after that is ignored */
};

struct aml_mark {
    size_t at;      /* where the package length goes */
    bool resources; /* a resource template: the buffer's size goes in too */
};

void aml_init(struct aml *aml);
void aml_finish(struct aml *aml);

void aml_bytes(struct aml *aml, const void *data, size_t len);

/* Terms. */
void aml_integer(struct aml *aml, u64 value);
void aml_string(struct aml *aml, const char *text);
void aml_path(struct aml *aml, const char *path);  /* a name as a value, or to call a method */
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0A03" */

/* Name(path, ...): the value is the next term. */
void aml_name(struct aml *aml, const char *path);
void aml_name_integer(struct aml *aml, const char *path, u64 value);
void aml_name_string(struct aml *aml, const char *path, const char *text);
void aml_name_eisa_id(struct aml *aml, const char *path, const char *id);

/* Blocks. */
struct aml_mark aml_scope(struct aml *aml, const char *path) MUST_CHECK;
struct aml_mark aml_device(struct aml *aml, const char *path) MUST_CHECK;
/* `args`: how many, perhaps with AML_SERIALIZED (a method that creates names). */
#define AML_SERIALIZED 8u
struct aml_mark aml_method(struct aml *aml, const char *path, unsigned args) MUST_CHECK;
struct aml_mark aml_package(struct aml *aml, unsigned elements) MUST_CHECK;
/* Name(path, ResourceTemplate() { ... }) */
struct aml_mark aml_resources(struct aml *aml, const char *path) MUST_CHECK;
void aml_end(struct aml *aml, struct aml_mark mark);

/* Code of methods: an operator is followed by its operands and, but for AML_LESS, by where the result goes
 * (aml_path, or aml_nowhere). Indices of AML_DWORD_FIELD are in bytes; its last operand is the new name. */
enum aml_operator {
    AML_STORE = 0x70, /* value, where */
    AML_AND = 0x7b,
    AML_OR = 0x7d,
    AML_DWORD_FIELD = 0x8a, /* CreateDWordField(buffer, index, name) */
    AML_LESS = 0x95,
    AML_RETURN = 0xa4,
};
void aml_operator(struct aml *aml, enum aml_operator op);
void aml_nowhere(struct aml *aml);
void aml_arg(struct aml *aml, unsigned n);
/* If (the next term) { ... } */
struct aml_mark aml_if(struct aml *aml) MUST_CHECK;

/* OperationRegion(name, PCI_Config, offset, size), and Field(region, ByteAcc, NoLock, Preserve) { ... } with
 * units of at most 63 bits. */
void aml_region_pci(struct aml *aml, const char *name, u8 offset, u8 size);
struct aml_mark aml_field(struct aml *aml, const char *region) MUST_CHECK;
void aml_field_unit(struct aml *aml, const char *name, u8 bits);

/* Processor(path, id, 0, 0) {} */
void aml_processor(struct aml *aml, const char *path, u8 id);
/* Return(value), in a method. */
void aml_return_integer(struct aml *aml, u64 value);

/* Resource descriptors (6.4). */
void aml_res_io(struct aml *aml, u16 base, u8 count);
void aml_res_irq(struct aml *aml, unsigned irq);     /* ISA: edge, active high, exclusive */
void aml_res_dma(struct aml *aml, unsigned channel); /* 8 bits, compatibility timing */
void aml_res_memory32(struct aml *aml, u32 base, u32 size, bool writable);
/* Interrupt(ResourceConsumer, Level, ActiveHigh, Shared), one or several to choose from. */
void aml_res_interrupt_level(struct aml *aml, u32 gsi);
void aml_res_interrupts_level(struct aml *aml, const u8 *gsi, u8 count);
/* Ranges that a bridge produces; both ends inclusive. */
void aml_res_bus_range(struct aml *aml, u16 first, u16 last);
void aml_res_io_range(struct aml *aml, u16 first, u16 last);
void aml_res_memory_range32(struct aml *aml, u32 first, u32 last);
void aml_res_memory_range64(struct aml *aml, u64 first, u64 last);

#endif
