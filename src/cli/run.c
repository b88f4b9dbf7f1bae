/* ring3 run: a virtual machine from a kernel file, with its serial console here. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/disk_option.h"
#include "cli/dump.h"
#include "cli/suggest.h"
#include "cli/terminal.h"
#include "display/typing.h"
#include "display/vnc.h"
#include "machine/machine.h"
#include "manage/control.h"

#define MAX_DUMPS 4

struct run_options {
    struct machine_config machine;
    struct disk_options disks;
    const char *dumps[MAX_DUMPS];
    unsigned dump_count;
    const char *console;        /* NULL: stdio, unless the other one has it */
    const char *virtio_console; /* NULL: none */
    const char *control;        /* NULL: none */
    bool stats;
};

/* --- one setter per option, in the order of the table below --- */

static int set_kernel(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->machine.kernel = value;
    return 0;
}

static int set_boot(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->machine.boot = value;
    return machine_check_boot(value, err);
}

static int set_firmware(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->machine.firmware = value;
    return 0;
}

static int set_nvram(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->machine.nvram = value;
    return 0;
}

static int set_initrd(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    if (o->machine.initrd_count == MACHINE_MAX_INITRDS)
        return error_set(err, E2BIG,
                         "more than %d of them are not possible; pack their files into one archive",
                         MACHINE_MAX_INITRDS);
    o->machine.initrd[o->machine.initrd_count++] = value;
    return 0;
}

static int set_append(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->machine.append = value;
    return 0;
}

static int set_disk(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    return disk_option_parse(&o->disks, &o->machine, false, value, err);
}

static int set_cdrom(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    return disk_option_parse(&o->disks, &o->machine, true, value, err);
}

static int set_floppy(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    for (unsigned i = 0; i < MACHINE_MAX_FLOPPIES; i++)
        if (!o->machine.floppies[i]) {
            o->machine.floppies[i] = value;
            return 0;
        }
    return error_set(err, E2BIG, "more than %d floppy drives are not possible", MACHINE_MAX_FLOPPIES);
}

static int set_memory(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    return value_parse_size(value, &o->machine.memory, err);
}

static int set_cpus(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    u64 n;
    int rc = value_parse_number(value, "number of CPUs", 1, VM_MAX_CPUS, &n, err);
    if (rc == 0)
        o->machine.cpus = (unsigned)n;
    return rc;
}

static int set_cpu(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    struct suggestion s;
    char base[81];
    size_t len = strcspn(value, ",");
    snprintf(base, sizeof base, "%.*s", (int)(len < 80 ? len : 80), value);
    suggestion_init(&s, base);
    for (const char *const *name = cpu_model_names; *name; name++) {
        suggestion_offer(&s, *name);
        if (!strcmp(*name, base)) {
            struct cpu_model unused = {0};
            o->machine.cpu_model = value;
            return cpu_model_edit(&unused, value + len, err);
        }
    }
    return error_set(err, EINVAL, "unknown CPU model '%s'; the nearest known one is %s", base, s.best);
}

static int set_engine(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    struct suggestion s;
    if (!strcmp(value, "auto")) {
        o->machine.engine = NULL;
        return 0;
    }
    suggestion_init(&s, value);
    for (const struct engine_ops *const *engine = machine_engines; *engine; engine++) {
        suggestion_offer(&s, (*engine)->name);
        if (!strcmp((*engine)->name, value)) {
            o->machine.engine = value;
            return 0;
        }
    }
    return error_set(err, EINVAL, "this build has no engine '%.80s'; the nearest it has is %s", value,
                     s.best);
}

#define JIT_CACHE_MIN MIB(1)
#define JIT_CACHE_MAX GIB(16)
static int set_jit_cache(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    int rc = value_parse_size(value, &o->machine.jit_cache, err);
    if (rc == 0 && (o->machine.jit_cache < JIT_CACHE_MIN || o->machine.jit_cache > JIT_CACHE_MAX))
        return error_set(err, EINVAL, "%.80s is not from 1M to 16G", value);
    return rc;
}

static int set_console(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    if (!console_spec_is_valid(value))
        return error_set(err, EINVAL, "'%.80s' is no console; write stdio, file:PATH or none", value);
    o->console = value;
    return 0;
}

static int set_virtio_console(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    if (!console_spec_is_valid(value))
        return error_set(err, EINVAL, "'%.80s' is no console; write stdio, file:PATH or none", value);
    o->virtio_console = value;
    o->machine.virtio_console = true;
    return 0;
}

static int set_rng(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->machine.rng = true;
    return 0;
}

static int set_balloon(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->machine.balloon = true;
    return !strcmp(value, "0") ? 0 : value_parse_size(value, &o->machine.balloon_target, err);
}

static int set_virtio_input(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    if (!strcmp(value, "keyboard"))
        o->machine.virtio_keyboard = true;
    else if (!strcmp(value, "mouse"))
        o->machine.virtio_mouse = true;
    else if (!strcmp(value, "tablet"))
        o->machine.virtio_tablet = true;
    else
        return error_set(err, EINVAL, "unknown input device '%.80s'; there are keyboard, mouse and tablet",
                         value);
    return 0;
}

static int set_type(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    if (o->machine.type_count == MACHINE_MAX_TYPED)
        return error_set(err, E2BIG, "more than %d of them are not possible; join some", MACHINE_MAX_TYPED);
    o->machine.type[o->machine.type_count++] = value;
    return typing_check(value, err);
}

static int set_display(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    struct vnc_config unused;
    o->machine.vnc = NULL;
    if (!strcmp(value, "none"))
        return 0;
    if (strncmp(value, "vnc=", 4) != 0)
        return error_set(err, EINVAL, "'%.80s' is no display; write none, vnc=N or vnc=HOST:N", value);
    o->machine.vnc = value + 4;
    return vnc_config_parse(&unused, o->machine.vnc, err);
}

static int set_control(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->control = value;
    return 0;
}

static int set_timeout(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    u64 n;
    int rc = value_parse_number(value, "number of seconds", 0, 100000000, &n, err);
    if (rc == 0)
        o->machine.timeout = (unsigned)n;
    return rc;
}

static int set_exit_port(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    u64 n;
    int rc = value_parse_number(value, "port", 0, 0xfffc, &n, err);
    if (rc == 0)
        o->machine.exit_port = (int)n;
    return rc;
}

static int set_testdev(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->machine.testdev = true;
    return 0;
}

static int set_iommu(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    if (strcmp(value, "intel") != 0 && strcmp(value, "none") != 0)
        return error_set(err, EINVAL, "unknown remapping unit '%s'; there are intel and none", value);
    o->machine.iommu = !strcmp(value, "intel");
    return 0;
}

static int set_edu(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->machine.edu = true;
    return 0;
}

static int set_vga(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    if (strcmp(value, "std") != 0 && strcmp(value, "none") != 0)
        return error_set(err, EINVAL, "there is no display adapter '%.80s'; write std or none", value);
    o->machine.vga = value;
    return 0;
}

static int set_dump_screen(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    if (!dump_name_is_valid(value))
        return error_set(err, EINVAL, "'%.200s' is neither FILE.png (a picture) nor FILE.txt (text)", value);
    if (o->dump_count == MAX_DUMPS)
        return error_set(err, E2BIG, "more than %d of them are not possible", MAX_DUMPS);
    o->dumps[o->dump_count++] = value;
    return 0;
}

static int set_trace(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    struct log parsed = {.topics = o->machine.trace_topics};
    char unknown[32];
    struct suggestion s;

    if (log_parse_topics(&parsed, value, unknown, sizeof unknown)) {
        suggestion_init(&s, unknown);
        for (int i = 0; i < TRACE_TOPIC_COUNT; i++)
            suggestion_offer(&s, trace_topic_name(i));
        return error_set(err, EINVAL,
                         "unknown topic '%s'; the nearest known one is %s ('ring3 help run' lists them all)",
                         unknown, s.best);
    }
    o->machine.trace_topics = parsed.topics;
    return 0;
}

static int set_stats(void *target, const char *value, struct error *err)
{
    struct run_options *o = target;
    o->stats = true;
    return 0;
}

static const struct option options[] = {
    {"kernel", "FILE",
     "the kernel: a bzImage, or an ELF file with a PVH entry or a\nMultiboot header; it starts without "
     "firmware",
     set_kernel},
    {"firmware", "WHAT",
     "what starts the machine without a kernel: SeaBIOS (bios), OVMF\n(uefi), or an image", set_firmware},
    {"nvram", "FILE", "where UEFI keeps its variables; made if it is not there", set_nvram},
    {"boot", "ORDER",
     "what firmware tries: disk, cdrom, floppy in the order wanted, and menu to\nbe asked (disks and CDs as "
     "they are listed)",
     set_boot},
    {"initrd", "FILE",
     "the initial RAM disk; for a Multiboot kernel a module, 'FILE ARGS',\nand the option may be repeated",
     set_initrd},
    {"append", "STR", "the kernel's command line", set_append},
    {"disk", "FILE[,KEY=VALUE...]", "a disk, see below; may be repeated", set_disk},
    {"cdrom", "FILE[,KEY=VALUE...]", "a CD-ROM drive with this image in it ('': empty); may be repeated",
     set_cdrom},
    {"floppy", "FILE", "a floppy drive with this image in it, of at most 2.88 MB; may be given twice",
     set_floppy},
    {"memory", "SIZE", "guest memory, with K, M, G or T behind the number (512M)", set_memory},
    {"cpus", "N", "number of CPUs, 1 to 64 (1)", set_cpus},
    {"cpu", "MODEL", "CPU model, see below (x86-64-v3 if this host can)", set_cpu},
    {"engine", "NAME", "what executes the guest, see below (auto: the first that works here)", set_engine},
    {"jit-cache", "SIZE", "memory for translated code, of all CPUs together (128M)", set_jit_cache},
    {"console", "WHERE", "the first serial port: stdio, file:PATH or none (stdio)", set_console},
    {"vga", "ADAPTER",
     "the display adapter: std (a VGA with linear frame buffer) or none;\nstd, but none for a kernel without "
     "firmware",
     set_vga},
    {"dump-screen", "FILE",
     "write the last screen to FILE.png or, as text, to FILE.txt when\nthe run ends; may be repeated",
     set_dump_screen},
    {"display", "WHERE",
     "show the guest's screen: none, or vnc=[HOST:]N for VNC viewers,\n[,password-file=FILE][,tls=DIR], see "
     "below (none)",
     set_display},
    {"virtio-console", "WHERE", "add a virtio console (Linux: hvc0), connected to WHERE", set_virtio_console},
    {"rng", NULL, "add a virtio entropy source", set_rng},
    {"balloon", "SIZE", "add a virtio balloon that asks the guest for SIZE of its memory (or 0)",
     set_balloon},
    {"virtio-input", "KIND", "add a virtio keyboard, mouse or tablet; may be repeated", set_virtio_input},
    {"type", "TEXT[@SECONDS]",
     "type this on the guest's keyboard, SECONDS after power-on; may be\nrepeated, see below", set_type},
    {"control", "PATH", "listen for commands (QMP) on a Unix socket made here", set_control},
    {"timeout", "SECONDS", "stop with status 124 after this time (0: never)", set_timeout},
    {"exit-port", "PORT",
     "a debug-exit device: a write of v to PORT, such as 0xf4, ends\nring3 with status (v<<1)|1",
     set_exit_port},
    {"testdev", NULL, "add the device that bare-metal test images use (pc-testdev)", set_testdev},
    {"edu", NULL, "add QEMU's educational PCI device (edu)", set_edu},
    {"iommu", "KIND", "DMA and interrupt remapping: intel (VT-d) or none (none)", set_iommu},
    {"trace", "TOPICS", "log these topics to stderr, separated by commas (see below)", set_trace},
    {"stats", NULL, "print counters to stderr when the guest has ended", set_stats},
    {0},
};

static void print_details(void)
{
    printf("\nEngines:\n");
    for (const struct engine_ops *const *engine = machine_engines; *engine; engine++)
        printf("  %-12s%s\n", (*engine)->name, (*engine)->help);
    printf("\nCPU models:");
    for (const char *const *name = cpu_model_names; *name; name++)
        printf(" %s", *name);
    printf("\nEdits may follow the name: ,+FEATURE ,-FEATURE ,vendor=AuthenticAMD ,vendor=GenuineIntel\n"
           "(--cpu host,-pcid)\n");
    printf("\nTrace topics:\n");
    for (int i = 0; i < TRACE_TOPIC_COUNT; i++)
        printf("  %-12s%s\n", trace_topic_name(i), trace_topic_help(i));
    printf(
        "\n"
        "Disks: if=ide|ahci|virtio (ide), format=raw|qcow2|... (found out), readonly, snapshot=on\n"
        "(what is written is gone in the end), serial=STRING. A comma in a file's name is written twice.\n");
    printf(
        "\n"
        "VNC: display N is TCP port 5900 + N, on this computer alone unless HOST is an address of it "
        "(0.0.0.0\n"
        "is all). The password is the first line of FILE; DIR has server-cert.pem and server-key.pem. Any\n"
        "number of viewers up to 16 may look and type at once.\n");
    printf(
        "\n"
        "Keys of --type: \\n is Enter, \\t Tab, \\e Esc, \\b Backspace, \\\\ \\{ \\@ the character itself;\n"
        "{down} {f10} {del} a key by its name, {ctrl-c} {ctrl-alt-del} with others held; {wait 2} a pause.\n"
        "The time is virtual, as the guest's; without it a text follows the one before.\n");
    printf(
        "\n"
        "On a terminal every key goes to the guest, but for Ctrl-]: Ctrl-] q quits, Ctrl-] Ctrl-] types one\n"
        "Ctrl-], Ctrl-] ? helps. Other input is passed on as it is; its end leaves the guest running.\n"
        "\n"
        "Exit status: 0 the guest powered off, or Ctrl-] q was typed; 3 the guest crashed (its registers "
        "are\n"
        "on stderr); 124 time-out; 2 usage error; 1 any other failure; with --exit-port what the guest "
        "chose.\n");
}

/* --- the run --- */

static void print_stat(void *opaque, const char *text)
{
    fprintf(stderr, "ring3: %s\n", text);
}

/* Dies of the signal that asked ring3 to quit, so that the shell sees what happened. */
static int die_of(int sig)
{
    signal(sig, SIG_DFL);
    raise(sig);
    return 128 + sig;
}

static int exit_status(const struct machine_result *result, struct console *const *consoles)
{
    struct error err = {0};

    for (unsigned i = 0; i < CONSOLE_PORTS; i++) {
        if (consoles[i] && console_check_output(consoles[i], &err) < 0) {
            report_error(&err);
            return EXIT_FAILED;
        }
    }
    switch (result->end) {
    case MACHINE_POWEROFF:
        return EXIT_OK;
    case MACHINE_CRASHED:
        fprintf(stderr, "ring3: the guest crashed (triple fault); the registers are above\n");
        return EXIT_CRASHED;
    case MACHINE_TIMEOUT:
        fprintf(stderr, "ring3: the time given with --timeout is over; the guest was stopped\n");
        return EXIT_TIMEOUT;
    case MACHINE_DEBUG_EXIT:
        return (int)((result->exit_value << 1 | 1) & 0xff);
    case MACHINE_QUIT:
        return EXIT_OK;
    case MACHINE_FAILED:
        break;
    }
    report_error(&result->error);
    return EXIT_FAILED;
}

static int dump_screens(const struct run_options *o, struct machine *machine, int status)
{
    for (unsigned i = 0; i < o->dump_count; i++) {
        struct error err = {0};
        if (dump_screen(machine, o->dumps[i], &err) < 0) {
            report_error(&err);
            status = EXIT_FAILED;
        }
    }
    return status;
}

/* The consoles that there are; the serial one has the standard streams unless the other one does. */
static int consoles_open(const struct run_options *o, struct console **consoles, struct error *err)
{
    bool other = o->virtio_console && !strcmp(o->virtio_console, "stdio");
    const char *specs[CONSOLE_PORTS] = {
        [CONSOLE_SERIAL] = o->console ? o->console
                           : other    ? "none"
                                      : "stdio",
        [CONSOLE_VIRTIO] = o->virtio_console,
    };
    if (other && !strcmp(specs[CONSOLE_SERIAL], "stdio"))
        return error_set(err, EINVAL,
                         "two consoles cannot both be on stdio; give one of --console and "
                         "--virtio-console a file or none");
    for (unsigned i = 0; i < CONSOLE_PORTS; i++) {
        if (specs[i] && console_open(&consoles[i], specs[i], o->machine.timeout, err) < 0)
            return -err->code;
    }
    return 0;
}

static void consoles_detach(struct console *const *consoles)
{
    for (unsigned i = 0; i < CONSOLE_PORTS; i++)
        console_detach(consoles[i]);
}

static int run_machine(const struct run_options *o, struct machine *machine, struct console *const *consoles)
{
    struct machine_result result = {0};
    struct error err = {0};
    int status, rc = 0;

    signals_set_machine(machine);
    for (unsigned i = 0; i < CONSOLE_PORTS && rc == 0; i++)
        rc = consoles[i] ? console_attach(consoles[i], machine, (enum console_port)i, &err) : 0;
    if (rc < 0) {
        report_error(&err);
        status = EXIT_FAILED;
    } else {
        machine_run(machine, &result);
        consoles_detach(consoles);
        if (o->stats)
            machine_stats(machine, print_stat, NULL);
        status = dump_screens(o, machine, exit_status(&result, consoles));
    }
    consoles_detach(consoles);
    signals_set_machine(NULL);
    return status;
}

static int run_run(const struct command *self, int argc, char **argv)
{
    struct run_options o = {0};
    struct console *consoles[CONSOLE_PORTS] = {NULL};
    struct machine *machine = NULL;
    struct control *control = NULL;
    struct error err = {0};
    int operands, status;

    machine_config_init(&o.machine);
    if (!command_parse(self, argc, argv, &o, &operands, &status)) {
        disk_options_finish(&o.disks);
        return status;
    }
    if (!o.machine.kernel && !o.machine.firmware && !o.machine.disk_count && !o.machine.floppies[0] &&
        !o.machine.floppies[1]) {
        fprintf(
            stderr,
            "ring3: there is nothing to run; name a disk with --disk FILE or --cdrom FILE, or a kernel with "
            "--kernel FILE ('ring3 help run' tells more)\n");
        disk_options_finish(&o.disks);
        return EXIT_USAGE;
    }

    status = EXIT_FAILED;
    signals_install();
    if (machine_create(&machine, &o.machine, &err) < 0 || consoles_open(&o, consoles, &err) < 0 ||
        (o.control && control_create(&control, machine, o.control, &err) < 0))
        report_error(&err);
    else
        status = run_machine(&o, machine, consoles);
    control_destroy(control);
    for (unsigned i = 0; i < CONSOLE_PORTS; i++)
        console_close(consoles[i]);
    machine_destroy(machine);
    disk_options_finish(&o.disks);
    return signals_caught() ? die_of(signals_caught()) : status;
}

const struct command command_run = {
    .name = "run",
    .summary = "run a virtual machine; its first serial port is the console",
    .print_details = print_details,
    .options = options,
    .run = run_run,
};
