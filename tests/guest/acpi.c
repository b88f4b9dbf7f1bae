/*
 * ACPI as a kernel finds it: RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, HPET and their checksums; the
 * PM timer's rate.
 */
/* ## cpus: 3 */
#include "acpi.h"

static void table_ok(const char *signature, const u8 *t)
{
    check(t != NULL && memcmp(t, signature, 4) == 0, "%s is there", signature);
    if (t != NULL)
        check(acpi_sum_ok(t, acpi_u32(t, 4)), "%s: checksum", signature);
}

static void check_madt(const u8 *madt)
{
    u32 cpus = 0, ioapics = 0, irq0_gsi = 99, size = acpi_u32(madt, 4);
    bool bsp = false;

    check_eq(acpi_u32(madt, 36), 0xfee00000, "MADT: local APIC address");
    check_eq(acpi_u32(madt, 40) & 1, 1, "MADT: PC-compatible 8259s");
    for (u32 at = 44; at + 2 <= size && madt[at + 1] >= 2; at += madt[at + 1]) {
        const u8 *e = madt + at;
        if (e[0] == 0 && (e[4] & 1)) {
            cpus++;
            bsp = bsp || e[3] == cpuid(1, 0).b >> 24;
        }
        if (e[0] == 1) {
            ioapics++;
            check_eq(acpi_u32(e, 4), 0xfec00000, "MADT: I/O APIC address");
            check_eq(acpi_u32(e, 8), 0, "MADT: I/O APIC's first GSI");
        }
        if (e[0] == 2 && e[2] == 0 && e[3] == 0)
            irq0_gsi = acpi_u32(e, 4);
    }
    check_eq(cpus, 3, "MADT: enabled CPUs");
    check(bsp, "MADT: this CPU's APIC ID");
    check_eq(ioapics, 1, "MADT: one I/O APIC");
    check_eq(irq0_gsi, 2, "MADT: IRQ 0 is GSI 2");
}

static u16 pm_port;
static u32 pm_read(void)
{
    return inl(pm_port);
}

static void check_fadt(const u8 *fadt)
{
    u32 facs = acpi_u32(fadt, 36), dsdt = acpi_u32(fadt, 40), pm_timer = acpi_u32(fadt, 76),
        flags = acpi_u32(fadt, 112);

    if (facs != 0)
        check(memcmp((const u8 *)(ulong)facs, "FACS", 4) == 0, "FACS is there");
    table_ok("DSDT", (const u8 *)(ulong)dsdt);
    check(acpi_u32(fadt, 56) != 0, "FADT: PM1a event block");
    check(acpi_u32(fadt, 64) != 0, "FADT: PM1a control block");
    check(fadt[88] >= 4 && fadt[89] >= 2, "FADT: PM1 lengths");
    if (!check(pm_timer != 0 && fadt[91] == 4, "FADT: PM timer"))
        return;
    /* 3.579545 MHz, 24 or 32 bits */
    u32 mask = flags & 0x100 ? 0xffffffff : 0xffffff, a, b;
    pm_port = (u16)pm_timer;
    check_range(counter_rate(pm_read, mask, 100000), 353, 362, "the PM timer runs at 3.58 MHz by the TSC");
    b = pm_read();
    bool forward = true;
    for (int i = 0; i < 1000; i++) {
        a = b;
        b = inl((u16)pm_timer);
        forward = forward && ((b - a) & mask) < 0x100000;
    }
    check(forward, "the PM timer never goes back");
    if (mask == 0xffffff)
        check(b <= 0xffffff, "24-bit PM timer: the upper byte is 0");
}

int main(void)
{
    const u8 *rsdp = acpi_rsdp();
    if (!check(rsdp != NULL, "RSDP is there"))
        return 0;
    table_ok("RSDT", acpi_table("RSDT"));
    if (rsdp[15] >= 2) {
        check(acpi_sum_ok(rsdp, acpi_u32(rsdp, 20)), "RSDP: extended checksum");
        const u8 *xsdt = (const u8 *)(ulong)acpi_u32(rsdp, 24);
        table_ok("XSDT", xsdt);
        const u8 *rsdt = acpi_table("RSDT");
        bool same = (acpi_u32(xsdt, 4) - 36) / 8 == (acpi_u32(rsdt, 4) - 36) / 4;
        for (u32 i = 0; same && i < (acpi_u32(rsdt, 4) - 36) / 4; i++)
            same = acpi_u32(xsdt, 36 + i * 8) == acpi_u32(rsdt, 36 + i * 4);
        check(same, "XSDT and RSDT list the same tables");
    }
    const u8 *fadt = acpi_table("FACP"), *madt = acpi_table("APIC"), *hpet = acpi_table("HPET");
    table_ok("FACP", fadt);
    table_ok("APIC", madt);
    table_ok("HPET", hpet);
    if (hpet != NULL)
        check_eq(acpi_u32(hpet, 44), 0xfed00000, "HPET: address");
    if (madt != NULL)
        check_madt(madt);
    if (fadt != NULL)
        check_fadt(fadt);
    return 0;
}
