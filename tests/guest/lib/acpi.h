/* ACPI tables as firmware left them. */
#ifndef GUEST_ACPI_H
#define GUEST_ACPI_H
#include "guest.h"
const u8 *acpi_rsdp(void);                   /* NULL: not in 0xe0000 to 0xfffff, nor in the EBDA */
const u8 *acpi_table(const char *signature); /* through RSDT or XSDT; NULL: none */
u32 acpi_u32(const u8 *table, u32 offset);
bool acpi_sum_ok(const u8 *p, u32 size);
#endif
