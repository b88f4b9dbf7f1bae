/* See acpi.h. */
#include "acpi.h"

u32 acpi_u32(const u8 *t, u32 o)
{
    return t[o] | (u32)t[o + 1] << 8 | (u32)t[o + 2] << 16 | (u32)t[o + 3] << 24;
}

bool acpi_sum_ok(const u8 *p, u32 size)
{
    u8 sum = 0;
    for (u32 i = 0; i < size; i++)
        sum = (u8)(sum + p[i]);
    return sum == 0;
}

static const u8 *rsdp_in(ulong from, ulong to)
{
    for (ulong a = from; a < to; a += 16)
        if (memcmp((const void *)a, "RSD PTR ", 8) == 0 && acpi_sum_ok((const u8 *)a, 20))
            return (const u8 *)a;
    return NULL;
}

const u8 *acpi_rsdp(void)
{
    ulong ebda = (ulong) * (volatile u16 *)0x40e << 4;
    const u8 *p = ebda >= 0x80000 && ebda < 0xa0000 ? rsdp_in(ebda, ebda + 1024) : NULL;
    return p != NULL ? p : rsdp_in(0xe0000, 0x100000);
}

const u8 *acpi_table(const char *signature)
{
    const u8 *rsdp = acpi_rsdp();
    if (rsdp == NULL)
        return NULL;
    const u8 *rsdt = (const u8 *)(ulong)acpi_u32(rsdp, 16);
    if (memcmp(signature, "RSDT", 4) == 0)
        return rsdt;
    u32 count = (acpi_u32(rsdt, 4) - 36) / 4;
    for (u32 i = 0; i < count; i++) {
        const u8 *t = (const u8 *)(ulong)acpi_u32(rsdt, 36 + i * 4);
        if (memcmp(t, signature, 4) == 0)
            return t;
    }
    return NULL;
}
