/*
 * The PC: which chips there are, and how they are wired.
 *
 *   ISA IRQ n --+--> PIC n ----> INTR -> LINT0 of every local APIC
 *               +--> IOAPIC pin n (IRQ 0: pin 2)
 */
#include "machine/board.h"

#include <string.h>
#include <time.h>

#include "devices/char/i8042.h"
#include "devices/char/uart.h"
#include "devices/debug/debug_exit.h"
#include "devices/debug/edu.h"
#include "devices/debug/testdev.h"
#include "devices/dma/i8237.h"
#include "devices/irq/ioapic.h"
#include "devices/irq/lapic.h"
#include "devices/irq/pic.h"
#include "devices/pci/pci.h"
#include "devices/timer/hpet.h"
#include "devices/timer/pit.h"
#include "devices/timer/rtc.h"
#include "machine/board_rows.h"

/* --- wires ------------------------------------------------------------------------------------------ */

/* `pin`: the interrupt, and the source in the bits above. */
#define ISA_SOURCE_SHIFT 4

static void isa_irq_set(void *opaque, unsigned pin, bool level)
{
    struct board *b = opaque;
    unsigned irq = pin & 15, source = pin >> ISA_SOURCE_SHIFT;
    if (level)
        b->isa_sources[irq] |= (u8)BIT(source);
    else
        b->isa_sources[irq] &= (u8)~BIT(source);
    level = b->isa_sources[irq] != 0;
    struct irq_line pic = pic_line(b->pic, irq);
    struct irq_line ioapic = ioapic_line(b->ioapic, irq == PC_IRQ_PIT ? PC_GSI_PIT : irq);
    irq_set(&pic, level);
    irq_set(&ioapic, level);
}

struct irq_line board_isa_irq_from(struct board *b, unsigned irq, enum isa_source source)
{
    return (struct irq_line){isa_irq_set, b, irq | (unsigned)source << ISA_SOURCE_SHIFT};
}

struct irq_line board_isa_irq(struct board *b, unsigned irq)
{
    return board_isa_irq_from(b, irq, ISA_DEVICE);
}

/* A reset of the processors alone is for firmware that goes on where it was: the PC's. UEFI, and a kernel
 * without any firmware, start over. */
static void reset_requested(void *opaque, enum reset_kind kind)
{
    struct board *b = opaque;
    bool resumes = board_has_firmware(b) && !uefi_is_wanted(b);
    machine_request_reset(b->machine, kind == RESET_CPU && resumes ? RESET_CPU : RESET_SYSTEM);
}

struct reset_line board_reset_line(struct board *b)
{
    return (struct reset_line){reset_requested, b};
}

/* The IOAPIC's pins that no other device has: the HPET's timers may have them. */
#define HPET_FIRST_PIN 20

/* --- chips ------------------------------------------------------------------------------------------ */

CHIP_DESTROY(static, lapic_bus)
CHIP_DESTROY_RESET(static, pic)
CHIP_DESTROY_RESET(static, ioapic)
CHIP_DESTROY_RESET(static, hpet)
CHIP_DESTROY_RESET(static, pit)
CHIP_DESTROY_RESET(static, rtc)
CHIP_DESTROY(static, input)
CHIP_DESTROY_RESET(static, uart)
CHIP_DESTROY(static, debug_exit)
CHIP_DESTROY_RESET(static, testdev)
CHIP_DESTROY_RESET(static, edu)

static int lapic_bus_row_create(struct board *b, struct error *err)
{
    return lapic_bus_create(&b->lapic_bus, &b->env, err);
}

static int apics_create(struct board *b, struct error *err)
{
    struct vm *vm = &b->machine->vm;
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        struct lapic_config config = {
            .id = i,
            .bsp = i == 0,
            .x2apic = model_has(&vm->model, FEAT_X2APIC),
            .tsc_deadline = model_has(&vm->model, FEAT_TSC_DEADLINE),
            .port = vcpu_port(vm->cpu[i]),
        };
        int rc = lapic_create(&b->lapic[i], &b->env, b->lapic_bus, &config, err);
        if (rc)
            return rc;
        vcpu_connect_apic(vm->cpu[i], &lapic_ops, b->lapic[i]);
    }
    return 0;
}

static void apics_destroy(struct board *b)
{
    for (unsigned i = 0; i < VM_MAX_CPUS; i++)
        lapic_destroy(b->lapic[i]);
}

static void apics_reset(struct board *b)
{
    for (unsigned i = 0; i < b->machine->vm.cpu_count; i++)
        lapic_reset(b->lapic[i]);
    lapic_set_virtual_wire(b->lapic[0]);
}

static int extint_ack(void *pic)
{
    return pic_ack(pic);
}

static int pic_row_create(struct board *b, struct error *err)
{
    int rc = pic_create(&b->pic, &b->env, lapic_bus_lint(b->lapic_bus, 0), err);
    if (!rc)
        lapic_bus_set_extint(b->lapic_bus, extint_ack, b->pic);
    return rc;
}

static int ioapic_row_create(struct board *b, struct error *err)
{
    struct ioapic_config config = {.bus = b->lapic_bus, .sink = board_msi(b), .remapping = b->vtd};
    return ioapic_create(&b->ioapic, &b->env, &config, err);
}

static int hpet_row_create(struct board *b, struct error *err)
{
    struct hpet_config config = {
        .legacy = {board_isa_irq(b, PC_IRQ_PIT), board_isa_irq(b, PC_IRQ_RTC)},
        .msi = board_msi(b),
    };
    for (unsigned pin = HPET_FIRST_PIN; pin < IOAPIC_PINS; pin++) {
        config.pin[pin] = ioapic_line(b->ioapic, pin);
        config.pin_mask |= 1u << pin;
    }
    return hpet_create(&b->hpet, &b->env, &config, err);
}

static int pit_row_create(struct board *b, struct error *err)
{
    return pit_create(&b->pit, &b->env, hpet_legacy_line(b->hpet, 0), err);
}

static int rtc_row_create(struct board *b, struct error *err)
{
    int rc = rtc_create(&b->rtc, &b->env, hpet_legacy_line(b->hpet, 1), time(NULL), err);
    if (!rc)
        rtc_set_memory(b->rtc, b->ram.low_size, b->ram.high_size);
    return rc;
}

static int input_row_create(struct board *b, struct error *err)
{
    return input_create(&b->input, err);
}

static void input_row_reset(struct board *b)
{
    input_release_all(b->input);
}

static int i8042_row_create(struct board *b, struct error *err)
{
    struct i8042_config config = {
        .keyboard_irq = board_isa_irq(b, PC_IRQ_KEYBOARD),
        .mouse_irq = board_isa_irq(b, PC_IRQ_MOUSE),
        .reset = board_reset_line(b),
    };
    int rc = i8042_create(&b->i8042, &b->env, &config, err);
    if (!rc)
        ps2_input_connect(&b->ps2_input, b->i8042, b->input);
    return rc;
}

static void i8042_row_destroy(struct board *b)
{
    ps2_input_disconnect(&b->ps2_input);
    i8042_destroy(b->i8042);
}

static void i8042_row_reset(struct board *b)
{
    i8042_reset(b->i8042);
}

static void uart_write_console(void *opaque, const u8 *data, size_t len)
{
    struct board *b = opaque;
    board_console_write(b, CONSOLE_SERIAL, data, len);
}

static void uart_input_wanted(void *opaque)
{
    struct board *b = opaque;
    board_console_invite(b, CONSOLE_SERIAL);
}

static int uart_row_create(struct board *b, struct error *err)
{
    struct uart_config config = {
        .base = PC_COM1_BASE,
        .irq = board_isa_irq(b, PC_IRQ_COM1),
        .backend = {uart_write_console, uart_input_wanted, b},
    };
    return uart_create(&b->uart, &b->env, &config, err);
}

static void debug_exit_written(void *opaque, u32 value)
{
    struct board *b = opaque;
    machine_request_end(b->machine, MACHINE_DEBUG_EXIT, value);
}

static int debug_exit_row_create(struct board *b, struct error *err)
{
    if (b->machine->config.exit_port < 0)
        return 0;
    struct debug_exit_config config = {(u16)b->machine->config.exit_port, debug_exit_written, b};
    return debug_exit_create(&b->debug_exit, &b->env, &config, err);
}

static int testdev_row_create(struct board *b, struct error *err)
{
    if (!b->machine->config.testdev)
        return 0;
    struct irq_line lines[TESTDEV_LINES];
    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        lines[i] = i < 16 ? board_isa_irq(b, i) : ioapic_line(b->ioapic, i);
    return testdev_create(&b->testdev, &b->env, lines, err);
}

static int edu_row_create(struct board *b, struct error *err)
{
    return b->machine->config.edu ? edu_create(&b->edu, &b->env, b->pci_bus, PC_SLOT_EDU, err) : 0;
}

/* --- the table -------------------------------------------------------------------------------------- */

/* In the order of creation and reset; destroyed backwards. `reset` and `destroy` may be NULL. */
static const struct board_device {
    const char *name;
    int (*create)(struct board *b, struct error *err);
    void (*destroy)(struct board *b);
    void (*reset)(struct board *b);
} devices[] = {
    {"RAM", ram_row_create, ram_row_destroy, NULL},
    {"APIC bus", lapic_bus_row_create, lapic_bus_row_destroy, NULL},
    {"local APICs", apics_create, apics_destroy, apics_reset},
    {"8259 interrupt controllers", pic_row_create, pic_row_destroy, pic_row_reset},
    {"DMA and interrupt remapping", vtd_row_create, vtd_row_destroy, vtd_row_reset},
    {"IOAPIC", ioapic_row_create, ioapic_row_destroy, ioapic_row_reset},
    {"HPET", hpet_row_create, hpet_row_destroy, hpet_row_reset},
    {"8254 timer", pit_row_create, pit_row_destroy, pit_row_reset},
    {"RTC", rtc_row_create, rtc_row_destroy, rtc_row_reset},
    {"keyboard and pointer input", input_row_create, input_row_destroy, input_row_reset},
    {"keyboard controller", i8042_row_create, i8042_row_destroy, i8042_row_reset},
    {"DMA controllers", i8237_row_create, i8237_row_destroy, i8237_row_reset},
    {"floppy controller", floppy_row_create, floppy_row_destroy, floppy_row_reset},
    {"PCI bus", pci_bus_row_create, pci_bus_row_destroy, pci_bus_row_reset},
    {"host bridge", i440fx_row_create, i440fx_row_destroy, i440fx_row_reset},
    {"ISA bridge", piix3_row_create, piix3_row_destroy, piix3_row_reset},
    {"IDE controller", piix_ide_row_create, piix_ide_row_destroy, piix_ide_row_reset},
    {"AHCI controller", ahci_row_create, ahci_row_destroy, ahci_row_reset},
    {"ACPI power management", acpi_pm_row_create, acpi_pm_row_destroy, acpi_pm_row_reset},
    {"power management function", piix4_pm_row_create, piix4_pm_row_destroy, piix4_pm_row_reset},
    {"firmware configuration", fw_cfg_row_create, fw_cfg_row_destroy, fw_cfg_row_reset},
    {"firmware", rom_row_create, rom_row_destroy, rom_row_reset},
    {"firmware's debug port", debug_console_row_create, debug_console_row_destroy, NULL},
    {"display", display_row_create, display_row_destroy, NULL},
    {"VGA", vga_row_create, vga_row_destroy, vga_row_reset},
    {"script's keys", typing_row_create, typing_row_destroy, NULL},
    {"VNC server", vnc_row_create, vnc_row_destroy, NULL},
    {"virtio devices", virtio_row_create, virtio_row_destroy, virtio_row_reset},
    {"COM1", uart_row_create, uart_row_destroy, uart_row_reset},
    {"exit port", debug_exit_row_create, debug_exit_row_destroy, NULL},
    {"test device", testdev_row_create, testdev_row_destroy, testdev_row_reset},
    {"edu", edu_row_create, edu_row_destroy, edu_row_reset},
};

int board_create(struct board *b, struct machine *m, struct error *err)
{
    b->machine = m;
    b->env = (struct device_env){m->loop, m->vm.mem, m->vm.state, &m->log};
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        b->created = i + 1; /* destroy accepts what create left half-done */
        int rc = devices[i].create(b, err);
        if (rc)
            return rc;
    }
    m->vm.ferr = board_isa_irq(b, PC_IRQ_FPU);
    lapic_set_virtual_wire(b->lapic[0]);
    return firmware_describe(b, err);
}

void board_destroy(struct board *b)
{
    for (size_t i = b->created; i-- > 0;)
        if (devices[i].destroy)
            devices[i].destroy(b);
}

void board_reset(struct board *b)
{
    for (size_t i = 0; i < ARRAY_LEN(devices); i++)
        if (devices[i].reset)
            devices[i].reset(b);
}

struct input *machine_input(struct machine *m)
{
    return m->board.input;
}

/* --- the console ------------------------------------------------------------------------------------ */

void machine_set_console(struct machine *m, enum console_port port, const struct machine_console *console)
{
    m->board.console[port].out = *console;
}

size_t machine_console_input(struct machine *m, enum console_port port, const u8 *data, size_t len)
{
    struct board *b = &m->board;
    if (port == CONSOLE_VIRTIO)
        return board_virtio_console_input(b, data, len);
    size_t n = MIN(len, uart_can_receive(b->uart));
    if (n)
        uart_receive(b->uart, data, n);
    return n;
}

void machine_on_console_room(struct machine *m, enum console_port port, void (*room)(void *opaque),
                             void *opaque)
{
    m->board.console[port].room = room;
    m->board.console[port].room_opaque = opaque;
}

void board_console_write(struct board *b, enum console_port port, const u8 *data, size_t len)
{
    const struct machine_console *out = &b->console[port].out;
    if (out->write)
        out->write(out->opaque, data, len);
}

void board_console_invite(struct board *b, enum console_port port)
{
    if (b->console[port].room)
        b->console[port].room(b->console[port].room_opaque);
}
