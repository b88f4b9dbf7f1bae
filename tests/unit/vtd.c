/* The remapping unit, with the edu device as the function whose accesses and interrupts it remaps. */
#include "device_fixture.h"
#include "devices/debug/edu.h"
#include "devices/iommu/vtd.h"
#include "devices/irq/ioapic.h"

#define RAM_SIZE MIB(4)
#define BAR      0xc0000000ull
#define SLOT     3
#define SOURCE   (SLOT << 3)

/* Where the tests keep their tables. */
#define ROOT    0x10000ull
#define CONTEXT 0x11000ull
#define TABLE4  0x12000ull
#define TABLE3  0x13000ull
#define TABLE2  0x14000ull
#define TABLE1  0x15000ull
#define IRTE    0x20000ull
#define QUEUE   0x30000ull
#define STATUS  0x31000ull
#define DATA    0x40000ull

enum {
    GCMD = 0x18,
    GSTS = 0x1c,
    RTADDR = 0x20,
    CCMD = 0x28,
    FSTS = 0x34,
    FECTL = 0x38,
    IQH = 0x80,
    IQT = 0x88,
    IQA = 0x90,
    ICS = 0x9c,
    IECTL = 0xa0,
    IRTA = 0xb8,
    IOTLB = 0xf8,
    FAULTS = 0x220
};
#define REMAP_DMA  0x80000000u
#define SET_ROOT   0x40000000u
#define QUEUED     0x04000000u
#define REMAP_IRQ  0x02000000u
#define SET_IRTA   0x01000000u
#define COMPATIBLE 0x00800000u

struct rig {
    struct fixture f;
    struct ram_block *block;
    struct mem_region ram;
    struct lapic_bus *apics;
    struct lapic *apic;
    struct vtd *vtd;
    struct pci_bus *bus;
    struct edu *edu;
    struct ioapic *ioapic;
    struct probe pin;
    bool intr;
};

static void cpu_set_intr(void *opaque, bool level)
{
    ((struct rig *)opaque)->intr = level;
}

static u64 get(struct rig *r, u64 address, unsigned size)
{
    return mem_read(r->f.mem, address, size);
}

static void put(struct rig *r, u64 address, unsigned size, u64 value)
{
    mem_write(r->f.mem, address, size, value);
}

static u64 reg(struct rig *r, unsigned at, unsigned size)
{
    return get(r, VTD_BASE + at, size);
}

static void reg_put(struct rig *r, unsigned at, unsigned size, u64 value)
{
    put(r, VTD_BASE + at, size, value);
}

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    CHECK(ram_block_create(&r->block, "ram", RAM_SIZE, NULL) == 0);
    r->ram = (struct mem_region){.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .block = r->block};
    mem_map(r->f.mem, &r->ram);
    CHECK(lapic_bus_create(&r->apics, &r->f.env, NULL) == 0);
    struct lapic_config lapic = {.id = 5, .x2apic = true, .port = {.set_intr = cpu_set_intr, .cpu = r}};
    CHECK(lapic_create(&r->apic, &r->f.env, r->apics, &lapic, NULL) == 0);
    lapic_ops.write(r->apic, 0xf0, 4, 0x1ff);
    CHECK(vtd_create(&r->vtd, &r->f.env, r->apics, NULL) == 0);
    struct pci_bus_config config = {.iommu = vtd_iommu(r->vtd), .msi = vtd_msi(r->vtd)};
    config.links[(SLOT + 3) % PCI_PINS] = probe_line(&r->pin);
    CHECK(pci_bus_create(&r->bus, &r->f.env, &config, NULL) == 0);
    CHECK(edu_create(&r->edu, &r->f.env, r->bus, SLOT, NULL) == 0);
    struct ioapic_config ioapic = {.bus = r->apics, .sink = vtd_msi(r->vtd), .remapping = true};
    CHECK(ioapic_create(&r->ioapic, &r->f.env, &ioapic, NULL) == 0);
    pci_config_write(r->bus, SLOT, 0, PCI_BAR0, 4, BAR);
    pci_config_write(r->bus, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void rig_finish(struct rig *r)
{
    ioapic_destroy(r->ioapic);
    edu_destroy(r->edu);
    pci_bus_destroy(r->bus);
    vtd_destroy(r->vtd);
    lapic_destroy(r->apic);
    lapic_bus_destroy(r->apics);
    mem_unmap(r->f.mem, &r->ram);
    ram_block_destroy(r->block);
    fixture_finish(&r->f);
}

/* --- edu -------------------------------------------------------------------------------------------------
 */

static void advance(struct rig *r)
{
    fixture_advance_to(&r->f, clock_now(loop_clock(r->f.loop)) + 1000000);
}

/* Four bytes between the device's memory at `offset` and `address`. */
static void transfer(struct rig *r, u64 address, unsigned offset, bool to_ram)
{
    put(r, BAR + 0x80, 8, to_ram ? 0x40000 + offset : address);
    put(r, BAR + 0x88, 8, to_ram ? address : 0x40000 + offset);
    put(r, BAR + 0x90, 8, 4);
    put(r, BAR + 0x98, 8, 1 | (to_ram ? 2 : 0));
    CHECK_EQ(get(r, BAR + 0x98, 4) & 1, 1);
    advance(r);
    CHECK_EQ(get(r, BAR + 0x98, 4) & 1, 0);
}

/* Does a write of the device to `address` reach guest memory at `gpa`? */
static bool write_reaches(struct rig *r, u64 address, u64 gpa)
{
    put(r, DATA, 4, 0x600df00d);
    put(r, gpa, 4, 0);
    u32 gsts = (u32)reg(r, GSTS, 4);
    reg_put(r, GCMD, 4, gsts & ~(REMAP_DMA | SET_ROOT | SET_IRTA));
    transfer(r, DATA, 0, false); /* fills the device's memory: unremapped */
    reg_put(r, GCMD, 4, gsts & ~(SET_ROOT | SET_IRTA));
    transfer(r, address, 0, true);
    return get(r, gpa, 4) == 0x600df00d;
}

static void test_edu(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(get(&r, BAR, 4), 0x010000ed);
    CHECK_EQ(get(&r, BAR, 2), 0xffff);
    put(&r, BAR + 4, 4, 0x12345678);
    CHECK_EQ(get(&r, BAR + 4, 4), ~0x12345678u);
    put(&r, BAR + 0x20, 4, 0x80);
    put(&r, BAR + 8, 4, 10);
    CHECK_EQ(get(&r, BAR + 0x20, 4), 0x81);
    advance(&r);
    CHECK_EQ(get(&r, BAR + 0x20, 4), 0x80);
    CHECK_EQ(get(&r, BAR + 8, 4), 3628800);
    CHECK_EQ(get(&r, BAR + 0x24, 4), 1);
    CHECK(r.pin.level);
    put(&r, BAR + 0x64, 4, 1);
    CHECK(!r.pin.level);
    put(&r, BAR + 8, 4, 0xffffffff); /* 0 modulo 2^32, at once */
    advance(&r);
    CHECK_EQ(get(&r, BAR + 8, 4), 0);

    CHECK(write_reaches(&r, 0x1234, 0x1234));
    put(&r, BAR + 0x80, 8, 0x40ffe); /* leaves the device's memory: nothing moves */
    put(&r, BAR + 0x88, 8, 0x2000);
    put(&r, BAR + 0x98, 8, 3);
    advance(&r);
    CHECK_EQ(get(&r, 0x2000, 4), 0);
    pci_config_write(r.bus, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    CHECK(!write_reaches(&r, 0x1234, 0x1234)); /* no bus master */
    pci_config_write(r.bus, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    CHECK(!write_reaches(&r, VTD_BASE + RTADDR, 0x1234)); /* registers are out of reach */
    CHECK_EQ(reg(&r, RTADDR, 4), 0);
    rig_finish(&r);
}

/* --- DMA -------------------------------------------------------------------------------------------------
 */

/* Tables for the function: 4 levels, IOVA page 1 -> page 41h for reading and writing. */
static void tables_init(struct rig *r)
{
    put(r, ROOT, 8, CONTEXT | 1);
    put(r, CONTEXT + 16 * SOURCE, 8, TABLE4 | 1);
    put(r, CONTEXT + 16 * SOURCE + 8, 8, 2 | 7 << 8);
    put(r, TABLE4, 8, TABLE3 | 3);
    put(r, TABLE3, 8, TABLE2 | 3);
    put(r, TABLE2, 8, TABLE1 | 3);
    put(r, TABLE1 + 8, 8, 0x41000 | 3);
    reg_put(r, RTADDR, 8, ROOT);
    reg_put(r, GCMD, 4, SET_ROOT);
    CHECK_EQ(reg(r, GSTS, 4), SET_ROOT);
    reg_put(r, GCMD, 4, REMAP_DMA);
    CHECK_EQ(reg(r, GSTS, 4), SET_ROOT | REMAP_DMA);
}

/* The first fault: its reason, and clears it. */
static unsigned fault_take(struct rig *r, u64 address, bool read)
{
    unsigned status = (unsigned)reg(r, FSTS, 4), at = FAULTS + 16 * (status >> 8);
    if (!(status & 2))
        return 0;
    CHECK_EQ(reg(r, at, 8), address & ~0xfffull);
    CHECK_EQ(reg(r, at + 8, 4), SOURCE);
    u32 reason = (u32)reg(r, at + 12, 4);
    CHECK_EQ(reason >> 30, read ? 3 : 2);
    reg_put(r, at + 12, 4, 0x80000000);
    CHECK_EQ(reg(r, at + 12, 4) >> 31, 0);
    return reason & 0xff;
}

static void test_translation(void)
{
    struct rig r;
    rig_init(&r);
    tables_init(&r);
    CHECK(write_reaches(&r, 0x1010, 0x41010));
    CHECK_EQ(reg(&r, FSTS, 4), 0);
    put(&r, TABLE2 + 8, 8, 0x200000 | 0x83); /* 2 MiB */
    CHECK(write_reaches(&r, 0x245678, 0x245678));
    put(&r, TABLE3, 8, 0x83); /* 1 GiB */
    CHECK(write_reaches(&r, 0x301234, 0x301234));
    put(&r, CONTEXT + 16 * SOURCE, 8, TABLE3 | 1);
    put(&r, CONTEXT + 16 * SOURCE + 8, 8, 1); /* 3 levels */
    CHECK(write_reaches(&r, 0x301234, 0x301234));
    put(&r, CONTEXT + 16 * SOURCE, 8, 1 | 2 << 2); /* pass-through */
    CHECK(write_reaches(&r, 0x2345678 & 0x3fffff, 0x2345678 & 0x3fffff));
    CHECK_EQ(reg(&r, FSTS, 4), 0);
    rig_finish(&r);
}

static void test_dma_faults(void)
{
    struct rig r;
    rig_init(&r);
    tables_init(&r);
    const u64 context = CONTEXT + 16 * SOURCE;
    struct {
        u64 at, value;
        unsigned reason;
    } cases[] = {
        {ROOT, 0, 0x1},          {ROOT, CONTEXT | 3, 0xa},          {ROOT + 8, 1, 0xa},
        {context, 0, 0x2},       {context, TABLE4 | 1 | 0x10, 0xb}, {context + 8, 0, 0x3},
        {context + 8, 3, 0x3},   {context, TABLE4 | 0xd, 0x3},      {context + 8, 2 | 1 << 7, 0xb},
        {TABLE4, 0, 0x5},        {TABLE4, TABLE3 | 0x83, 0xc},      {TABLE3, TABLE2 | 1, 0x5},
        {TABLE1 + 8, 0, 0x5},    {TABLE1 + 8, 0x41001, 0x5},        {TABLE1 + 8, 0x41803, 0xc},
        {TABLE2, 0x100083, 0xc}, {TABLE1 + 8, 1ull << 51 | 3, 0xc},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        u64 old = get(&r, cases[i].at, 8);
        put(&r, cases[i].at, 8, cases[i].value);
        CHECK(!write_reaches(&r, 0x1010, 0x41010));
        CHECK_EQ(fault_take(&r, 0x1010, false), cases[i].reason);
        put(&r, cases[i].at, 8, old);
    }
    CHECK(write_reaches(&r, 0x1010, 0x41010));
    CHECK_EQ(reg(&r, FSTS, 4), 0);

    put(&r, TABLE1 + 8, 8, 0x41002); /* for writing only */
    transfer(&r, 0x1010, 0, false);
    CHECK_EQ(fault_take(&r, 0x1010, true), 0x6);
    put(&r, context, 8, TABLE4 | 2 | 1); /* quiet */
    transfer(&r, 0x1010, 0, false);
    CHECK_EQ(reg(&r, FSTS, 4), 0);
    rig_finish(&r);
}

static void test_fault_events(void)
{
    struct rig r;
    rig_init(&r);
    tables_init(&r);
    reg_put(&r, FECTL + 4, 4, 0x55);
    reg_put(&r, FECTL + 8, 4, 0xfee05000);
    for (unsigned i = 0; i < 9; i++)
        transfer(&r, 0x100000 + 0x1000 * i, 0, true);
    CHECK_EQ(reg(&r, FSTS, 4), 3); /* eight records, the ninth is lost */
    CHECK_EQ(reg(&r, FAULTS + 16 * 7, 8), 0x107000);
    CHECK(!r.intr);
    CHECK_EQ(reg(&r, FECTL, 4), 0xc0000000);
    reg_put(&r, FECTL, 4, 0); /* unmasked: it comes now, once */
    CHECK(r.intr);
    CHECK_EQ(reg(&r, FECTL, 4), 0);
    CHECK_EQ(lapic_ops.ack(r.apic), 0x55);
    lapic_ops.write(r.apic, 0xb0, 4, 0);
    reg_put(&r, FSTS, 4, 1);
    CHECK_EQ(reg(&r, FSTS, 4), 2);
    reg_put(&r, FAULTS + 12, 4, 0x80000000);
    CHECK_EQ(reg(&r, FSTS, 4), 0x102); /* the second is the first now */
    for (unsigned i = 1; i < 8; i++)
        reg_put(&r, FAULTS + 16 * i + 8, 8, 1ull << 63);
    CHECK_EQ(reg(&r, FSTS, 4), 0);
    CHECK(!r.intr);
    transfer(&r, 0x100000, 0, true);
    CHECK(r.intr);
    rig_finish(&r);
}

/* --- interrupts ------------------------------------------------------------------------------------------
 */

static void irte_put(struct rig *r, unsigned index, u64 low, u64 high)
{
    put(r, IRTE + 16 * index, 8, low);
    put(r, IRTE + 16 * index + 8, 8, high);
}

static void interrupts_init(struct rig *r, u64 irta_bits)
{
    reg_put(r, IRTA, 8, IRTE | irta_bits);
    reg_put(r, GCMD, 4, SET_IRTA);
    reg_put(r, GCMD, 4, REMAP_IRQ);
    CHECK_EQ(reg(r, GSTS, 4), SET_IRTA | REMAP_IRQ);
}

/* The function's MSI with this address and data: the vector that the CPU takes, -1 for none. */
static int msi_vector(struct rig *r, u64 address, u32 data)
{
    u8 at = (u8)pci_config_read(r->bus, SLOT, 0, PCI_CAPABILITIES, 1);
    pci_config_write(r->bus, SLOT, 0, at + 4, 4, (u32)address);
    pci_config_write(r->bus, SLOT, 0, at + 8, 4, (u32)(address >> 32));
    pci_config_write(r->bus, SLOT, 0, at + 12, 2, data);
    pci_config_write(r->bus, SLOT, 0, at + 2, 2, 1);
    put(r, BAR + 0x60, 4, 1);
    put(r, BAR + 0x64, 4, 1);
    int vector = lapic_ops.ack(r->apic);
    lapic_ops.write(r->apic, 0xb0, 4, 0);
    return vector;
}

#define REMAPPABLE(index) (0xfee00010ull | ((index)&0x7fff) << 5 | ((index) >> 15) << 2)

static void test_interrupts(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(msi_vector(&r, 0xfee05000, 0x40), 0x40); /* remapping is off */
    interrupts_init(&r, 3);                           /* 16 entries */
    irte_put(&r, 2, 1 | 0x66 << 16 | 5ull << 40, SOURCE | 1 << 18);
    CHECK_EQ(msi_vector(&r, REMAPPABLE(2), 0), 0x66);
    CHECK_EQ(msi_vector(&r, REMAPPABLE(1) | 8, 1), 0x66); /* with a subhandle */
    irte_put(&r, 2, 1 | 0x66 << 16 | 5ull << 40, (SOURCE ^ 1) | 1 << 18);
    CHECK_EQ(msi_vector(&r, REMAPPABLE(2), 0), (u64)-1);
    CHECK_EQ(fault_take(&r, 2ull << 48, false), 0x26);
    irte_put(&r, 2, 1 | 0x66 << 16 | 5ull << 40, (SOURCE ^ 4) | 1 << 18 | 1 << 16); /* bit 2 ignored */
    CHECK_EQ(msi_vector(&r, REMAPPABLE(2), 0), 0x66);
    irte_put(&r, 2, 1 | 0x66 << 16 | 5ull << 40, 0x0000 | 2 << 18); /* buses 0 to 0 */
    CHECK_EQ(msi_vector(&r, REMAPPABLE(2), 0), 0x66);
    CHECK_EQ(msi_vector(&r, REMAPPABLE(3), 0), (u64)-1);
    CHECK_EQ(fault_take(&r, 3ull << 48, false), 0x22);
    CHECK_EQ(msi_vector(&r, REMAPPABLE(16), 0), (u64)-1);
    CHECK_EQ(fault_take(&r, 16ull << 48, false), 0x21);
    irte_put(&r, 2, 1 | 1 << 12 | 0x66 << 16, 0);
    CHECK_EQ(msi_vector(&r, REMAPPABLE(2), 0), (u64)-1);
    CHECK_EQ(fault_take(&r, 2ull << 48, false), 0x24);
    irte_put(&r, 2, 2, 0); /* not present, quiet */
    CHECK_EQ(msi_vector(&r, REMAPPABLE(2), 0), (u64)-1);
    CHECK_EQ(reg(&r, FSTS, 4), 0);
    CHECK_EQ(msi_vector(&r, 0xfee05000, 0x40), (u64)-1);
    CHECK_EQ(fault_take(&r, 0, false), 0x25);
    reg_put(&r, GCMD, 4, REMAP_IRQ | COMPATIBLE);
    CHECK_EQ(msi_vector(&r, 0xfee05000, 0x40), 0x40);
    rig_finish(&r);
}

static void test_interrupts_x2apic(void)
{
    struct rig r;
    rig_init(&r);
    CHECK(lapic_ops.msr_write(r.apic, 0x1b, 0xfee00c00));
    interrupts_init(&r, 0x800 | 15);
    irte_put(&r, 0x9000, 1 | 0x77 << 16 | 5ull << 32, 0);
    CHECK(lapic_ops.msr_write(r.apic, 0x80f, 0x1ff));
    CHECK_EQ(msi_vector(&r, REMAPPABLE(0x9000), 0), 0x77);
    reg_put(&r, GCMD, 4, REMAP_IRQ | COMPATIBLE);
    CHECK_EQ(msi_vector(&r, 0xfee05000, 0x40), (u64)-1); /* not with EIM */
    CHECK_EQ(fault_take(&r, 0, false), 0x25);
    rig_finish(&r);
}

static void test_ioapic(void)
{
    struct rig r;
    rig_init(&r);
    interrupts_init(&r, 3);
    irte_put(&r, 7, 1 | 1 << 4 | 0x88 << 16 | 5ull << 40, 0xffff | 1 << 18); /* level */
    u64 rte = 0x88 | 1 << 15 | 1ull << 48 | 7ull << 49;
    put(&r, IOAPIC_BASE, 4, 0x10 + 2 * 9 + 1);
    put(&r, IOAPIC_BASE + 0x10, 4, rte >> 32);
    put(&r, IOAPIC_BASE, 4, 0x10 + 2 * 9);
    put(&r, IOAPIC_BASE + 0x10, 4, (u32)rte);
    struct irq_line line = ioapic_line(r.ioapic, 9);
    irq_set(&line, true);
    CHECK_EQ(lapic_ops.ack(r.apic), 0x88);
    CHECK_EQ(get(&r, IOAPIC_BASE + 0x10, 4) & BIT(14), BIT(14)); /* remote IRR */
    irq_set(&line, false);
    lapic_ops.write(r.apic, 0xb0, 4, 0);
    CHECK_EQ(get(&r, IOAPIC_BASE + 0x10, 4) & BIT(14), 0);
    rig_finish(&r);
}

/* --- invalidation ----------------------------------------------------------------------------------------
 */

static void descriptor_put(struct rig *r, unsigned index, u64 low, u64 high)
{
    put(r, QUEUE + 16 * index, 8, low);
    put(r, QUEUE + 16 * index + 8, 8, high);
}

static void test_queue(void)
{
    struct rig r;
    rig_init(&r);
    reg_put(&r, IQA, 8, QUEUE);
    reg_put(&r, IQT, 8, 0);
    reg_put(&r, GCMD, 4, QUEUED);
    CHECK_EQ(reg(&r, GSTS, 4), QUEUED);
    descriptor_put(&r, 0, 1 | 1 << 4, 0);
    descriptor_put(&r, 1, 2 | 1 << 4, 0);
    descriptor_put(&r, 2, 4, 0);
    descriptor_put(&r, 3, 5 | 1 << 5 | 0xabcdull << 32, STATUS);
    reg_put(&r, IQT, 8, 0x40);
    CHECK_EQ(reg(&r, IQH, 8), 0x40);
    CHECK_EQ(get(&r, STATUS, 4), 0xabcd);

    reg_put(&r, IECTL + 4, 4, 0x56);
    reg_put(&r, IECTL + 8, 4, 0xfee05000);
    reg_put(&r, IECTL, 4, 0);
    descriptor_put(&r, 4, 5 | 1 << 4, 0); /* an interrupt */
    descriptor_put(&r, 5, 9, 0);          /* nothing that there is */
    descriptor_put(&r, 6, 5 | 1 << 5 | 7ull << 32, STATUS);
    reg_put(&r, IQT, 8, 0x70);
    CHECK_EQ(lapic_ops.ack(r.apic), 0x56);
    lapic_ops.write(r.apic, 0xb0, 4, 0);
    CHECK_EQ(reg(&r, ICS, 4), 1);
    reg_put(&r, ICS, 4, 1);
    CHECK_EQ(reg(&r, ICS, 4), 0);
    CHECK_EQ(reg(&r, IQH, 8), 0x50);
    CHECK_EQ(reg(&r, FSTS, 4), 0x10);
    CHECK_EQ(get(&r, STATUS, 4), 0xabcd);
    descriptor_put(&r, 5, 4, 0);
    reg_put(&r, FSTS, 4, 0x10); /* goes on */
    CHECK_EQ(reg(&r, IQH, 8), 0x70);
    CHECK_EQ(get(&r, STATUS, 4), 7);

    /* A status that would be the unit's own tail register is written nowhere. */
    descriptor_put(&r, 7, 5 | 1 << 5 | 0xf0ull << 32, VTD_BASE + IQT);
    reg_put(&r, IQT, 4, 0x80);
    CHECK_EQ(reg(&r, IQT, 4), 0x80);
    CHECK_EQ(reg(&r, IQH, 4), 0x80);
    reg_put(&r, IQT, 4, 0x1000); /* behind the queue's end */
    CHECK_EQ(reg(&r, FSTS, 4), 0x10);

    /* By registers: done at once, and as asked for. */
    reg_put(&r, CCMD, 8, 1ull << 63 | 2ull << 61);
    CHECK_EQ(reg(&r, CCMD, 8), 2ull << 61 | 2ull << 59);
    reg_put(&r, IOTLB, 8, 1ull << 63 | 3ull << 60);
    CHECK_EQ(reg(&r, IOTLB, 8), 3ull << 60 | 3ull << 57);
    rig_finish(&r);
}

static void test_state(void)
{
    struct rig r;
    rig_init(&r);
    tables_init(&r);
    u8 *buf;
    size_t len;
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    vtd_reset(r.vtd);
    CHECK_EQ(reg(&r, GSTS, 4), 0);
    CHECK(write_reaches(&r, 0x1010, 0x1010));
    CHECK(state_set_load(r.f.state, buf, len, NULL) == 0);
    CHECK_EQ(reg(&r, GSTS, 4), SET_ROOT | REMAP_DMA);
    CHECK(write_reaches(&r, 0x1010, 0x41010));
    free(buf);
    rig_finish(&r);
}

int main(void)
{
    TAP_RUN(test_edu);
    TAP_RUN(test_translation);
    TAP_RUN(test_dma_faults);
    TAP_RUN(test_fault_events);
    TAP_RUN(test_interrupts);
    TAP_RUN(test_interrupts_x2apic);
    TAP_RUN(test_ioapic);
    TAP_RUN(test_queue);
    TAP_RUN(test_state);
    return tap_done();
}
