/* The firmware tables: structure and checksums as a guest would find them, and the AML encoder's encodings.
 */
#include "firmware/setup.h"
#include "base/bytes.h"
#include "firmware/platform.h"
#include "loop/loop.h"
#include "../tap.h"

#include <stdlib.h>

struct fixture {
    struct loop *loop;
    struct mem_space *mem;
    struct ram_block *ram;
    struct mem_region region;
};

static void setup(struct fixture *f, u64 size)
{
    memset(f, 0, sizeof *f);
    CHECK(loop_create(&f->loop, NULL) == 0);
    CHECK(mem_space_create(&f->mem, loop_mutex(f->loop), NULL, NULL) == 0);
    CHECK(ram_block_create(&f->ram, "ram", size, NULL) == 0);
    f->region = (struct mem_region){.name = "ram", .size = size, .kind = MEM_RAM, .block = f->ram};
    mem_map(f->mem, &f->region);
}

static void teardown(struct fixture *f)
{
    mem_space_destroy(f->mem);
    ram_block_destroy(f->ram);
    loop_destroy(f->loop);
}

static u8 sum(struct fixture *f, u64 gpa, u64 len)
{
    u8 total = 0;
    for (u64 i = 0; i < len; i++)
        total += (u8)mem_read(f->mem, gpa + i, 1);
    return total;
}

/* Checks a table's checksum and returns its address if it has the signature. */
static u64 find_table(struct fixture *f, const char *signature, bool extended)
{
    u64 root = extended ? mem_read(f->mem, FIRMWARE_START + 24, 8) : mem_read(f->mem, FIRMWARE_START + 16, 4);
    u32 length = (u32)mem_read(f->mem, root + 4, 4);
    unsigned entry = extended ? 8 : 4;
    CHECK_EQ(sum(f, root, length), 0);
    for (u64 at = 36; at < length; at += entry) {
        u64 table = mem_read(f->mem, root + at, entry);
        char name[5] = "";
        mem_read_bytes(f->mem, table, name, 4);
        CHECK_EQ(sum(f, table, mem_read(f->mem, table + 4, 4)), 0);
        if (strcmp(name, signature) == 0)
            return table;
    }
    return 0;
}

static void test_tables(void)
{
    struct fixture f;
    struct firmware_config config = {.cpu_count = 4};
    u64 rsdp = 0;
    setup(&f, MIB(64));
    CHECK(ram_layout_init(&config.ram, MIB(64), NULL) == 0);
    CHECK(firmware_setup(f.mem, &config, &rsdp, NULL) == 0);
    CHECK_EQ(rsdp, 0xf0000);
    char sig[9] = "";
    mem_read_bytes(f.mem, rsdp, sig, 8);
    CHECK_STR(sig, "RSD PTR ");
    CHECK_EQ(sum(&f, rsdp, 20), 0);
    CHECK_EQ(sum(&f, rsdp, 36), 0);
    const char *const names[] = {"FACP", "APIC", "HPET"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        CHECK(find_table(&f, names[i], true) != 0);
        CHECK_EQ(find_table(&f, names[i], false), find_table(&f, names[i], true));
        CHECK(find_table(&f, names[i], true) >= acpi_area_start(&config.ram));
    }
    u64 fadt = find_table(&f, "FACP", true);
    u64 facs = mem_read(f.mem, fadt + 36, 4), dsdt = mem_read(f.mem, fadt + 40, 4);
    CHECK_EQ(facs, acpi_nvs_start(&config.ram));
    CHECK_EQ(mem_read(f.mem, facs, 4), 0x53434146); /* "FACS" */
    CHECK_EQ(mem_read(f.mem, dsdt, 4), 0x54445344); /* "DSDT" */
    CHECK_EQ(sum(&f, dsdt, mem_read(f.mem, dsdt + 4, 4)), 0);
    CHECK_EQ(mem_read(f.mem, fadt + 46, 2), PC_IRQ_SCI);
    CHECK_EQ(mem_read(f.mem, fadt + 56, 4), PC_PM_BASE);
    CHECK_EQ(mem_read(f.mem, fadt + 116 + 4, 8), PC_RESET_PORT);
    CHECK_EQ(mem_read(f.mem, 0x40e, 2), 0x9fc0);
    teardown(&f);
}

static void test_dmar(void)
{
    struct fixture f;
    struct firmware_config config = {.cpu_count = 1};
    u64 rsdp;
    setup(&f, MIB(64));
    CHECK(ram_layout_init(&config.ram, MIB(64), NULL) == 0);
    CHECK(firmware_setup(f.mem, &config, &rsdp, NULL) == 0);
    CHECK_EQ(find_table(&f, "DMAR", true), 0);
    config.iommu = true;
    CHECK(firmware_setup(f.mem, &config, &rsdp, NULL) == 0);
    u64 dmar = find_table(&f, "DMAR", true), unit = dmar + 48, end = unit + mem_read(f.mem, unit + 2, 2);
    CHECK_EQ(sum(&f, dmar, mem_read(f.mem, dmar + 4, 4)), 0);
    CHECK_EQ(dmar + mem_read(f.mem, dmar + 4, 4), end);
    CHECK_EQ(mem_read(f.mem, dmar + 36, 1), PHYS_BITS - 1);
    CHECK_EQ(mem_read(f.mem, unit, 2), 0);
    CHECK_EQ(mem_read(f.mem, unit + 8, 8), PC_VTD_BASE);
    CHECK_EQ(mem_read(f.mem, unit + 16, 1), 3); /* the I/O APIC */
    CHECK_EQ(mem_read(f.mem, unit + 24, 1), 4); /* the HPET */
    CHECK_EQ(unit + 32, end);
    teardown(&f);
}

static void test_madt(void)
{
    struct fixture f;
    struct firmware_config config = {.cpu_count = 64};
    u64 rsdp;
    unsigned count[5] = {0};
    setup(&f, MIB(64));
    CHECK(ram_layout_init(&config.ram, MIB(64), NULL) == 0);
    CHECK(acpi_tables_write(f.mem, &config, &rsdp, NULL) == 0);
    u64 madt = find_table(&f, "APIC", true), length = mem_read(f.mem, madt + 4, 4);
    for (u64 at = 44; at < length; at += mem_read(f.mem, madt + at + 1, 1)) {
        u64 type = mem_read(f.mem, madt + at, 1);
        CHECK(type < ARRAY_LEN(count));
        if (type == 0)
            CHECK_EQ(mem_read(f.mem, madt + at + 3, 1), count[0]);
        count[type]++;
        CHECK(mem_read(f.mem, madt + at + 1, 1) >= 6);
    }
    CHECK_EQ(count[0], 64); /* local APICs */
    CHECK_EQ(count[1], 1);  /* IOAPIC */
    CHECK_EQ(count[2], 5);  /* overrides: PIT, SCI, IRQ 5, 10, 11 */
    CHECK_EQ(count[4], 1);  /* NMI */
    teardown(&f);
}

/* What firmware does with the table loader's script: the result is what we write ourselves. */
static void run_script(struct acpi_image *image, const struct aml *script, const u64 address[ACPI_PARTS])
{
    unsigned placed = 0;
    CHECK_EQ(script->len % 128, 0);
    for (size_t at = 0; at < script->len; at += 128) {
        const u8 *e = script->buf + at;
        unsigned part = 0, target = 0;
        while (part < ACPI_PARTS && strcmp((const char *)e + 4, acpi_part_names[part]) != 0)
            part++;
        CHECK(part < ACPI_PARTS);
        u8 *bytes = image->part[part].buf;
        u32 offset = load_le32(e + 60), start = load_le32(e + 64), length = load_le32(e + 68);
        switch (load_le32(e)) {
        case 1:
            placed |= 1u << part;
            CHECK_EQ(address[part] % offset, 0); /* alignment */
            CHECK_EQ(e[64], part == ACPI_RSDP ? 2 : 1);
            break;
        case 2:
            while (target < ACPI_PARTS && strcmp((const char *)e + 60, acpi_part_names[target]) != 0)
                target++;
            CHECK(target < ACPI_PARTS && (placed >> part & placed >> target & 1));
            offset = load_le32(e + 116);
            CHECK(offset + e[120] <= image->part[part].len);
            CHECK(load_le(bytes + offset, e[120]) < image->part[target].len);
            store_le(bytes + offset, e[120], load_le(bytes + offset, e[120]) + address[target]);
            break;
        case 3:
            CHECK(start + length <= image->part[part].len && offset - start < length);
            for (u32 i = 0; i < length; i++)
                bytes[offset] -= i == offset - start ? 0 : bytes[start + i];
            break;
        default:
            CHECK(false);
        }
    }
    CHECK_EQ(placed, 7);
}

static void test_loader(void)
{
    struct fixture f;
    struct firmware_config config = {.cpu_count = 3, .pm_base = 0xb000, .vga = true, .floppy = true};
    struct acpi_image image;
    struct aml script = {0};
    u64 rsdp;
    setup(&f, MIB(64));
    CHECK(ram_layout_init(&config.ram, MIB(64), NULL) == 0);
    const u64 address[ACPI_PARTS] = {acpi_area_start(&config.ram), acpi_nvs_start(&config.ram),
                                     FIRMWARE_START};
    CHECK(acpi_image_build(&image, &config, NULL) == 0);
    acpi_image_script(&image, &script);
    run_script(&image, &script, address);
    CHECK(acpi_tables_write(f.mem, &config, &rsdp, NULL) == 0);
    for (unsigned i = 0; i < ACPI_PARTS; i++)
        CHECK(memcmp(mem_ram_ptr(f.mem, address[i], image.part[i].len), image.part[i].buf,
                     image.part[i].len) == 0);
    u64 fadt = find_table(&f, "FACP", true);
    CHECK_EQ(mem_read(f.mem, fadt + 56, 4), 0xb000);
    CHECK_EQ(mem_read(f.mem, fadt + 76, 4), 0xb008);
    CHECK_EQ(mem_read(f.mem, fadt + 109, 2), 3); /* legacy devices, 8042, a VGA */
    aml_finish(&script);
    /* Where the ports are changes no size. */
    size_t size = image.part[ACPI_TABLES].len;
    acpi_image_finish(&image);
    config.pm_base = 0;
    CHECK(acpi_image_build(&image, &config, NULL) == 0);
    CHECK_EQ(image.part[ACPI_TABLES].len, size);
    acpi_image_finish(&image);
    teardown(&f);
}

/* SMBIOS: the anchor's sums, and every structure up to the end, as a kernel started directly finds them. */
static void test_smbios(void)
{
    struct fixture f;
    struct firmware_config config = {.cpu_count = 4};
    unsigned types[128] = {0}, count = 0;
    setup(&f, MIB(64));
    CHECK(ram_layout_init(&config.ram, GIB(40), NULL) == 0);
    CHECK(smbios_write(f.mem, &config, NULL) == 0);
    u64 anchor = 0xf0100, at = mem_read(f.mem, anchor + 24, 4);
    CHECK_EQ(mem_read(f.mem, anchor, 4), 0x5f4d535f);
    CHECK_EQ(mem_read(f.mem, anchor + 5, 1), 31);
    CHECK_EQ(mem_read(f.mem, anchor + 6, 2), 0x0802);
    CHECK_EQ(sum(&f, anchor, 31), 0);
    CHECK_EQ(sum(&f, anchor + 16, 15), 0);
    u64 start = at, end = at + mem_read(f.mem, anchor + 22, 2), longest = 0;
    while (at < end) {
        u64 next = at + mem_read(f.mem, at + 1, 1), type = mem_read(f.mem, at, 1);
        CHECK(next >= at + 4 && type < 128);
        if (type == 4)
            CHECK_EQ(mem_read(f.mem, at + 35, 1), 4);
        if (type == 17) { /* too large for the old field */
            CHECK_EQ(mem_read(f.mem, at + 12, 2), 0x7fff);
            CHECK_EQ(mem_read(f.mem, at + 28, 4), 40960);
        }
        types[type & 127]++;
        count++;
        while (mem_read(f.mem, next, 2))
            next++;
        longest = MAX(longest, next + 2 - at);
        at = next + 2;
    }
    CHECK(at == end && start > anchor);
    CHECK_EQ(count, mem_read(f.mem, anchor + 28, 2));
    CHECK_EQ(longest, mem_read(f.mem, anchor + 8, 2));
    static const u8 once[] = {0, 1, 3, 4, 16, 17, 32, 127};
    for (unsigned i = 0; i < ARRAY_LEN(once); i++)
        CHECK_EQ(types[once[i]], 1);
    CHECK_EQ(types[19], 2);
    teardown(&f);
}

static void check_aml(struct aml *aml, const void *want, size_t len, const char *what)
{
    bool same = aml->len == len && memcmp(aml->buf, want, len) == 0;
    if (!same)
        printf("# %s\n", what);
    CHECK(same);
    aml_finish(aml);
}

#define CHECK_AML(aml, bytes) check_aml(aml, bytes, sizeof(bytes) - 1, #bytes)

static void test_aml(void)
{
    struct aml aml;
    aml_init(&aml);
    aml_name_integer(&aml, "A", 0);
    CHECK_AML(&aml, "\x08"
                    "A___\x00");
    aml_name_integer(&aml, "ABCD", 0x12345);
    CHECK_AML(&aml, "\x08"
                    "ABCD\x0c\x45\x23\x01\x00");
    aml_integer(&aml, 0xff);
    CHECK_AML(&aml, "\x0a\xff");
    aml_integer(&aml, 0x100);
    CHECK_AML(&aml, "\x0b\x00\x01");
    aml_integer(&aml, 0x100000000ull);
    CHECK_AML(&aml, "\x0e\0\0\0\0\x01\0\0\0");
    aml_path(&aml, "\\_SB.PCI0");
    CHECK_AML(&aml, "\\\x2e_SB_PCI0");
    aml_path(&aml, "\\_SB.PCI0.X");
    CHECK_AML(&aml, "\\\x2f\x03_SB_PCI0X___");
    aml_eisa_id(&aml, "PNP0A03");
    CHECK_AML(&aml, "\x0c\x41\xd0\x0a\x03");
    struct aml_mark mark = aml_resources(&aml, "_CRS");
    aml_res_irq(&aml, 4);
    aml_end(&aml, mark);
    CHECK_AML(&aml, "\x08_CRS\x11\x08\x0a\x05\x22\x10\x00\x79\x00");
}

/* Package lengths around the boundaries of their encodings: 1 byte up to 3Fh, 2 up to FFFh, 3 beyond. */
static void test_package_length(void)
{
    static const u8 zeroes[5000];
    static const struct {
        size_t content;
        u8 encoded[3];
        unsigned size;
    } cases[] = {
        {62, {0x3f}, 1},
        {63, {0x41, 0x04}, 2},
        {4093, {0x4f, 0xff}, 2},
        {4094, {0x81, 0x00, 0x01}, 3},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct aml aml;
        aml_init(&aml);
        struct aml_mark mark = aml_scope(&aml, "ABCD");
        aml_bytes(&aml, zeroes, cases[i].content - 4);
        aml_end(&aml, mark);
        CHECK_EQ(aml.len, 1 + cases[i].size + cases[i].content);
        CHECK(memcmp(aml.buf + 1, cases[i].encoded, cases[i].size) == 0);
        aml_finish(&aml);
    }
}

/* The whole DSDT parses: every block's length ends where its parent's content goes on. */
static void test_dsdt(void)
{
    struct firmware_config config = {.cpu_count = 64};
    struct aml aml;
    CHECK(ram_layout_init(&config.ram, GIB(6), NULL) == 0);
    aml_init(&aml);
    dsdt_encode(&aml, &config);
    CHECK(!aml.failed);
    /* Scope(\_SB) with a three-byte length, followed by Name(\_S5, Package(4) {0, 0, 0, 0}). */
    static const u8 s5[] = {0x08, '\\', '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0, 0, 0, 0};
    size_t scope = (aml.buf[1] & 0xfu) | (size_t)aml.buf[2] << 4 | (size_t)aml.buf[3] << 12;
    CHECK_EQ(aml.buf[0], 0x10);
    CHECK_EQ(aml.buf[1] >> 6, 2);
    CHECK_EQ(1 + scope + sizeof s5, aml.len);
    CHECK(memcmp(aml.buf + 1 + scope, s5, sizeof s5) == 0);
    /* For a look with iasl -d: the table, where the environment says. */
    const char *dump = getenv("DSDT_DUMP");
    if (dump) {
        struct fixture f;
        u64 rsdp;
        setup(&f, MIB(64));
        ram_layout_init(&config.ram, MIB(64), NULL);
        acpi_tables_write(f.mem, &config, &rsdp, NULL);
        const char *const names[] = {"FACP", "APIC", "HPET", "DSDT"};
        for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
            u64 fadt = find_table(&f, "FACP", true);
            u64 at = i == 3 ? mem_read(f.mem, fadt + 40, 4) : find_table(&f, names[i], true);
            char path[256];
            snprintf(path, sizeof path, "%s/%s.aml", dump, names[i]);
            FILE *out = fopen(path, "wb");
            if (out) {
                u32 len = (u32)mem_read(f.mem, at + 4, 4);
                fwrite(mem_ram_ptr(f.mem, at, len), 1, len, out);
                fclose(out);
            }
        }
        teardown(&f);
    }
    aml_finish(&aml);
}

static void test_layout(void)
{
    struct ram_layout ram;
    struct error err;
    CHECK(ram_layout_init(&ram, GIB(6), NULL) == 0);
    CHECK_EQ(ram.low_size, GIB(3));
    CHECK_EQ(ram.high_size, GIB(3));
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(&ram, map);
    u64 end = 0, total = 0;
    for (unsigned i = 0; i < n; i++) {
        CHECK(map[i].addr >= end);
        end = map[i].addr + map[i].size;
        total += map[i].type == E820_RAM ? map[i].size : 0;
    }
    CHECK_EQ(total, GIB(6) - KIB(64) - (MIB(1) - 0x9fc00));
    CHECK_EQ(end, GIB(7));
    CHECK(e820_is_ram(&ram, 0, 0x9fc00));
    CHECK(!e820_is_ram(&ram, 0, 0x9fc01));
    CHECK(!e820_is_ram(&ram, 0x100000, 0));
    CHECK(!e820_is_ram(&ram, 0x100000, ~0ull));
    CHECK(!e820_is_ram(&ram, ~0ull, 2));
    CHECK(e820_is_ram(&ram, GIB(4), GIB(3)));
    CHECK_EQ(ram_layout_init(&ram, MIB(1), &err), -EINVAL);
    CHECK_STR(err.message, "1024 KiB of memory are too little for a PC: give it at least 2 MiB");
    CHECK_EQ(ram_layout_init(&ram, MIB(64) + 1, &err), -EINVAL);
    CHECK_EQ(ram_layout_init(&ram, GIB(1024), &err), -EINVAL);
    CHECK_STR(err.message, "1024 GiB of memory are more than the virtual CPU can address: at most 1023 GiB");
    CHECK(ram_layout_init(&ram, GIB(1023), &err) == 0);
}

int main(void)
{
    TAP_RUN(test_tables);
    TAP_RUN(test_dmar);
    TAP_RUN(test_madt);
    TAP_RUN(test_loader);
    TAP_RUN(test_smbios);
    TAP_RUN(test_aml);
    TAP_RUN(test_package_length);
    TAP_RUN(test_dsdt);
    TAP_RUN(test_layout);
    return tap_done();
}
