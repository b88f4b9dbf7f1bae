/* ACPI power-off through PM1a_CNT with the SLP_TYP of \_S5: the VMM ends with status 0. */
/* ## exit: off */
#include "acpi.h"

int main(void)
{
    const u8 *fadt = acpi_table("FACP");
    if (!check(fadt != NULL, "FADT is there"))
        return 0;
    const u8 *dsdt = (const u8 *)(ulong)acpi_u32(fadt, 40);
    u32 size = acpi_u32(dsdt, 4), at = 0;
    for (u32 i = 36; i + 8 < size && at == 0; i++)
        if (memcmp(dsdt + i, "_S5_\x12", 5) == 0)
            at = i + 5;
    if (!check(at != 0, "_S5 is in the DSDT"))
        return 0;
    /* PkgLength (1 to 4 bytes), number of elements, then a byte, Zero, One */
    at += (dsdt[at] >> 6) + 2u;
    u8 type = dsdt[at] == 0x0a ? dsdt[at + 1] : dsdt[at];
    u16 control = (u16)acpi_u32(fadt, 64);
    u16 smi = (u16)acpi_u32(fadt, 48);
    if (!(inw(control) & 1) && smi != 0)
        outb(smi, fadt[52]); /* ACPI on */
    delay_us(1000);
    check_eq(inw(control) & 1, 1, "SCI_EN");
    outw(control, (u16)(type << 10 | 1 << 13));
    delay_us(2000000);
    check(false, "powered off");
    return 0;
}
