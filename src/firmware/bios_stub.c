#include "firmware/bios_stub.h"

#include "firmware/layout.h"

#define STUB_SEGMENT (FIRMWARE_START >> 4)
#define VECTORS      256

/* Offsets in the F segment, behind the ACPI root pointer. */
enum stub_offset { STUB_IRET = 0xe000, STUB_TICK = 0xe010, STUB_EOI_FIRST = 0xe030, STUB_EOI_BOTH = 0xe040 };

enum pic_vector { PIC_FIRST_VECTOR = 0x08, PIC_SECOND_VECTOR = 0x70, PIC_LINES = 8 };

static const u8 stub_iret[] = {0xcf};

static const u8 stub_tick[] = {
    0x1e,                               /* push ds */
    0x50,                               /* push ax */
    0x31, 0xc0,                         /* xor ax, ax */
    0x8e, 0xd8,                         /* mov ds, ax */
    0x66, 0x83, 0x06, 0x6c, 0x04, 0x01, /* add dword [046Ch], 1 */
    0xb0, 0x20,                         /* mov al, 20h */
    0xe6, 0x20,                         /* out 20h, al */
    0x58,                               /* pop ax */
    0x1f,                               /* pop ds */
    0xcf,                               /* iret */
};

static const u8 stub_eoi_first[] = {0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf};

static const u8 stub_eoi_both[] = {0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf};

static u16 stub_of(unsigned vector)
{
    if (vector == PIC_FIRST_VECTOR)
        return STUB_TICK;
    if (vector > PIC_FIRST_VECTOR && vector < PIC_FIRST_VECTOR + PIC_LINES)
        return STUB_EOI_FIRST;
    if (vector >= PIC_SECOND_VECTOR && vector < PIC_SECOND_VECTOR + PIC_LINES)
        return STUB_EOI_BOTH;
    return STUB_IRET;
}

void bios_stub_write(struct mem_space *mem)
{
    mem_write_bytes(mem, FIRMWARE_START + STUB_IRET, stub_iret, sizeof stub_iret);
    mem_write_bytes(mem, FIRMWARE_START + STUB_TICK, stub_tick, sizeof stub_tick);
    mem_write_bytes(mem, FIRMWARE_START + STUB_EOI_FIRST, stub_eoi_first, sizeof stub_eoi_first);
    mem_write_bytes(mem, FIRMWARE_START + STUB_EOI_BOTH, stub_eoi_both, sizeof stub_eoi_both);
    for (unsigned v = 0; v < VECTORS; v++)
        mem_write(mem, v * 4, 4, stub_of(v) | (u32)STUB_SEGMENT << 16);
}

/* ICW1..ICW4 (8259A data sheet), then the masks: IRQ 0 and the cascade are open. */
static void program_pics(struct mem_space *mem)
{
    static const u8 first[] = {PIC_FIRST_VECTOR, 0x04, 0x01, 0xfa},
                    second[] = {PIC_SECOND_VECTOR, 0x02, 0x01, 0xff};
    port_write(mem, 0x20, 1, 0x11);
    port_write(mem, 0xa0, 1, 0x11);
    for (unsigned i = 0; i < ARRAY_LEN(first); i++) {
        port_write(mem, 0x21, 1, first[i]);
        port_write(mem, 0xa1, 1, second[i]);
    }
}

/* Counter 0, mode 3, count 65536. */
static void program_timer(struct mem_space *mem)
{
    port_write(mem, 0x43, 1, 0x36);
    port_write(mem, 0x40, 1, 0);
    port_write(mem, 0x40, 1, 0);
}

void bios_stub_start(struct mem_space *mem)
{
    program_pics(mem);
    program_timer(mem);
}
