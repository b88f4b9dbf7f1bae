/*
 * The PC: which chips there are, and how they are wired.
 *
 *   ISA IRQ n --+--> PIC n ----> INTR -> LINT0 of every local APIC
 *               +--> IOAPIC pin n (IRQ 0: pin 2)
 */
#include "machine/board.h"

#include "devices/char/uart.h"
#include "devices/irq/ioapic.h"
#include "devices/irq/lapic.h"
#include "devices/irq/pic.h"
#include "devices/timer/pit.h"
#include "firmware/acpi_tables.h"
#include "firmware/platform.h"
#include "machine/internal.h"

/* --- wires ------------------------------------------------------------------------------------------------
 */

static void isa_irq_set(void *opaque, unsigned irq, bool level)
{
    struct board *b = opaque;
    struct irq_line pic = pic_line(b->pic, irq);
    struct irq_line ioapic = ioapic_line(b->ioapic, irq == PC_IRQ_PIT ? PC_GSI_PIT : irq);
    irq_set(&pic, level);
    irq_set(&ioapic, level);
}

static struct irq_line isa_irq(struct board *b, unsigned irq)
{
    return (struct irq_line){isa_irq_set, b, irq};
}

/* --- RAM --------------------------------------------------------------------------------------------------
 */

#define LEGACY_HOLE_START 0xa0000ull /* VGA memory */
#define LEGACY_HOLE_END   0xc0000ull

static void ram_map(struct board *b, struct mem_region *region, const char *name, u64 gpa, u64 size,
                    u64 offset)
{
    *region = (struct mem_region){.name = name,
                                  .gpa = gpa,
                                  .size = size,
                                  .kind = MEM_RAM,
                                  .block = b->ram_block,
                                  .block_offset = offset};
    if (size)
        mem_map(b->env.mem, region);
}

static int ram_create(struct board *b, struct error *err)
{
    int rc = ram_layout_init(&b->ram, b->machine->config.memory, err);
    if (!rc)
        rc = ram_block_create(&b->ram_block, "guest memory", ram_layout_size(&b->ram), err);
    if (rc)
        return rc;
    mem_map_begin(b->env.mem);
    ram_map(b, &b->ram_base, "ram below 640K", 0, LEGACY_HOLE_START, 0);
    ram_map(b, &b->ram_low, "ram below 4G", LEGACY_HOLE_END, b->ram.low_size - LEGACY_HOLE_END,
            LEGACY_HOLE_END);
    ram_map(b, &b->ram_high, "ram above 4G", RAM_HIGH_START, b->ram.high_size, b->ram.low_size);
    mem_map_commit(b->env.mem);
    return 0;
}

static void ram_destroy(struct board *b)
{
    ram_block_destroy(b->ram_block);
}

/* --- chips ------------------------------------------------------------------------------------------------
 */

static int apic_bus_create(struct board *b, struct error *err)
{
    return lapic_bus_create(&b->lapic_bus, &b->env, err);
}

static void apic_bus_destroy(struct board *b)
{
    lapic_bus_destroy(b->lapic_bus);
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

static int board_pic_create(struct board *b, struct error *err)
{
    int rc = pic_create(&b->pic, &b->env, lapic_bus_lint(b->lapic_bus, 0), err);
    if (!rc)
        lapic_bus_set_extint(b->lapic_bus, extint_ack, b->pic);
    return rc;
}

static void board_pic_destroy(struct board *b)
{
    pic_destroy(b->pic);
}

static void board_pic_reset(struct board *b)
{
    pic_reset(b->pic);
}

static int board_ioapic_create(struct board *b, struct error *err)
{
    return ioapic_create(&b->ioapic, &b->env, b->lapic_bus, 0, 0, err);
}

static void board_ioapic_destroy(struct board *b)
{
    ioapic_destroy(b->ioapic);
}

static void board_ioapic_reset(struct board *b)
{
    ioapic_reset(b->ioapic);
}

static int board_pit_create(struct board *b, struct error *err)
{
    return pit_create(&b->pit, &b->env, isa_irq(b, PC_IRQ_PIT), err);
}

static void board_pit_destroy(struct board *b)
{
    pit_destroy(b->pit);
}

static void board_pit_reset(struct board *b)
{
    pit_reset(b->pit);
}

static void com1_write(void *opaque, const u8 *data, size_t len)
{
    struct board *b = opaque;
    if (b->console.write)
        b->console.write(b->console.opaque, data, len);
}

static void com1_input_wanted(void *opaque)
{
    struct board *b = opaque;
    if (b->console_room)
        b->console_room(b->console_room_opaque);
}

static int com1_create(struct board *b, struct error *err)
{
    struct uart_config config = {
        .base = PC_COM1_BASE,
        .irq = isa_irq(b, PC_IRQ_COM1),
        .backend = {com1_write, com1_input_wanted, b},
    };
    return uart_create(&b->com1, &b->env, &config, err);
}

static void com1_destroy(struct board *b)
{
    uart_destroy(b->com1);
}

static void com1_reset(struct board *b)
{
    uart_reset(b->com1);
}

/* --- the table --------------------------------------------------------------------------------------------
 */

/* In the order of creation and reset; destroyed backwards. `reset` and `destroy` may be NULL. */
static const struct board_device {
    const char *name;
    int (*create)(struct board *b, struct error *err);
    void (*destroy)(struct board *b);
    void (*reset)(struct board *b);
} devices[] = {
    {"RAM", ram_create, ram_destroy, NULL},
    {"APIC bus", apic_bus_create, apic_bus_destroy, NULL},
    {"local APICs", apics_create, apics_destroy, apics_reset},
    {"8259 PICs", board_pic_create, board_pic_destroy, board_pic_reset},
    {"IOAPIC", board_ioapic_create, board_ioapic_destroy, board_ioapic_reset},
    {"8254 PIT", board_pit_create, board_pit_destroy, board_pit_reset},
    {"COM1", com1_create, com1_destroy, com1_reset},
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
    lapic_set_virtual_wire(b->lapic[0]);
    return 0;
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

int board_setup_firmware(struct board *b, u64 *rsdp, struct error *err)
{
    struct firmware_config config = {.ram = b->ram, .cpu_count = b->machine->vm.cpu_count};
    return firmware_setup(b->env.mem, &config, rsdp, err);
}

/* --- the console ------------------------------------------------------------------------------------------
 */

void machine_set_console(struct machine *m, const struct machine_console *console)
{
    m->board.console = *console;
}

size_t machine_console_input(struct machine *m, const u8 *data, size_t len)
{
    size_t n = MIN(len, uart_can_receive(m->board.com1));
    if (n)
        uart_receive(m->board.com1, data, n);
    return n;
}

void machine_on_console_room(struct machine *m, void (*room)(void *opaque), void *opaque)
{
    m->board.console_room = room;
    m->board.console_room_opaque = opaque;
}
