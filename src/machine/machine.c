/* Building a machine, running it, taking it apart. */
#include "machine/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "firmware/loader.h"
#include "machine/board_boot.h"
#include "machine/internal.h"

void machine_config_init(struct machine_config *config)
{
    *config = (struct machine_config){.memory = MIB(512), .cpus = 1, .exit_port = -1};
}

/* --- requests --------------------------------------------------------------------------------------- */

void machine_request_reset(struct machine *m, enum reset_kind kind)
{
    enum machine_request request = kind == RESET_CPU ? REQUEST_RESET_CPUS : REQUEST_RESET;
    if (m->request >= request)
        return;
    m->request = request;
    threads_stop(m); /* they go no further than the access that asked for it */
    loop_quit(m->loop);
}

void machine_request_end(struct machine *m, enum machine_end end, u32 value)
{
    if (m->request == REQUEST_END)
        return;
    m->request = REQUEST_END;
    m->result = (struct machine_result){.end = end, .exit_value = value};
    loop_quit(m->loop);
}

void machine_request_failure(struct machine *m, const char *why)
{
    if (m->request == REQUEST_END)
        return;
    machine_request_end(m, MACHINE_FAILED, 0);
    error_set(&m->result.error, EIO, "%s", why);
}

void machine_quit(struct machine *m)
{
    atomic_store(&m->quit, true);
    loop_quit(m->loop);
}

void machine_restart(struct machine *m)
{
    machine_request_reset(m, RESET_SYSTEM);
}

void machine_set_paused(struct machine *m, bool paused)
{
    if (m->paused == paused)
        return;
    m->paused = paused;
    loop_quit(m->loop); /* machine_run looks again */
}

bool machine_is_paused(struct machine *m)
{
    loop_lock(m->loop);
    bool paused = m->paused;
    loop_unlock(m->loop);
    return paused;
}

static void timeout_expired(void *opaque)
{
    machine_request_end(opaque, MACHINE_TIMEOUT, 0);
}

/* --- building --------------------------------------------------------------------------------------- */

static int config_check(const struct machine_config *config, struct error *err)
{
    if (!config->kernel && !config->firmware && !config->disk_count && !config->floppies[0] &&
        !config->floppies[1])
        return error_set(
            err, EINVAL,
            "there is nothing to run; name a disk with --disk FILE or --cdrom FILE, or a kernel with "
            "--kernel FILE");
    if (config->kernel && config->firmware)
        return error_set(err, EINVAL,
                         "a kernel named with --kernel starts without firmware: leave out --firmware");
    if (config->cpus < 1 || config->cpus > VM_MAX_CPUS)
        return error_set(err, EINVAL, "%u CPUs are not possible; choose 1 to %u with --cpus", config->cpus,
                         VM_MAX_CPUS);
    if (config->initrd_count > MACHINE_MAX_INITRDS)
        return error_set(err, EINVAL, "%u initrds are too many; at most %u are possible",
                         config->initrd_count, MACHINE_MAX_INITRDS);
    /* Memory is taken as the guest touches it: what is promised here and missing later would kill ring3. */
    u64 available = host_memory_available();
    if (config->memory > available)
        return error_set(
            err, ENOMEM,
            "%llu MiB of guest memory are not available: the host has %llu MiB left; choose less with "
            "--memory, or close other programs",
            (unsigned long long)(config->memory >> 20), (unsigned long long)(available >> 20));
    return 0;
}

int machine_check_boot(const char *boot, struct error *err)
{
    struct boot_order order;
    return boot_order_parse(boot, &order, err);
}

static void memory_changed(void *opaque)
{
    struct machine *m = opaque;
    if (m->vm.engine->memory_changed)
        m->vm.engine->memory_changed(&m->vm);
    for (unsigned i = 0; i < m->vm.cpu_count; i++)
        vcpu_post(m->vm.cpu[i], EVENT_TLB_FLUSH);
}

static int vcpus_create(struct machine *m, struct error *err)
{
    struct vm *vm = &m->vm;
    int rc = vm->engine->vm_init ? vm->engine->vm_init(vm, err) : 0;
    for (unsigned i = 0; !rc && i < m->config.cpus; i++) {
        rc = vcpu_create(&vm->cpu[i], vm, i, err);
        if (rc)
            return rc;
        vm->cpu_count = i + 1;
        rc = vm->engine->vcpu_init(vm->cpu[i], err);
    }
    return rc;
}

static int vm_build(struct machine *m, struct error *err)
{
    struct vm *vm = &m->vm;
    vm->clock = loop_clock(m->loop);
    vm->machine_lock = loop_mutex(m->loop);
    vm->log = &m->log;
    vm->state = state_set_create();
    if (!vm->state)
        return error_set(err, ENOMEM, "out of memory for a machine");
    int rc = mem_space_create(&vm->mem, vm->machine_lock, &m->log, err);
    if (rc)
        return rc;
    vm->code_cache = m->config.jit_cache;
    vm->engine = machine_find_engine(m->config.engine, err);
    if (!vm->engine)
        return -err->code;
    rc = cpu_model_init(&vm->model, m->config.cpu_model, m->config.cpus, err);
    if (!rc)
        rc = vm_init(vm);
    if (rc)
        return rc;
    m->vm_ready = true;
    return vcpus_create(m, err);
}

/* Loads the kernel and the tables it reads, and points the bootstrap processor at its entry. Firmware needs
 * none of that: it is there, and so is the processor, at the reset vector. */
static int boot_load(struct machine *m, struct error *err)
{
    if (board_has_firmware(&m->board))
        return 0;
    u64 rsdp;
    int rc = board_setup_firmware(&m->board, &rsdp, err);
    if (rc)
        return rc;
    struct kernel_request req = {
        .kernel = m->config.kernel,
        .initrd = m->config.initrd,
        .initrd_count = m->config.initrd_count,
        .cmdline = m->config.append ? m->config.append : "",
        .ram = m->board.ram,
        .rsdp = rsdp,
        .vga = board_has_vga(&m->board),
    };
    board_set_screen(&m->board, req.cmdline, &req.screen);
    return kernel_load(&req, &m->vm, err);
}

static int machine_build(struct machine *m, struct error *err)
{
    int rc = config_check(&m->config, err);
    if (!rc)
        rc = loop_create(&m->loop, err);
    if (!rc)
        rc = vm_build(m, err);
    if (!rc)
        rc = board_open_drives(&m->board, m, err);
    if (rc)
        return rc;
    loop_lock(m->loop);
    rc = board_create(&m->board, m, err);
    if (!rc)
        rc = boot_load(m, err);
    m->listener = (struct mem_listener){.changed = memory_changed, .opaque = m};
    mem_listener_add(m->vm.mem, &m->listener);
    timer_init(&m->timeout, m->loop, timeout_expired, m);
    loop_unlock(m->loop);
    if (!rc)
        rc = threads_create(m, err);
    return rc;
}

int machine_create(struct machine **out, const struct machine_config *config, struct error *err)
{
    struct error local;
    err = err ? err : &local;
    struct machine *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(err, ENOMEM, "out of memory for a machine");
    m->config = *config;
    log_init(&m->log);
    m->log.topics = config->trace_topics;
    pthread_mutex_init(&m->park_lock, NULL);
    pthread_cond_init(&m->park_cond, NULL);
    int rc = machine_build(m, err);
    if (rc) {
        machine_destroy(m);
        return rc;
    }
    *out = m;
    return 0;
}

void machine_destroy(struct machine *m)
{
    if (!m)
        return;
    struct vm *vm = &m->vm;
    threads_join(m);
    if (m->timeout.loop)
        timer_disarm(&m->timeout);
    board_drain(&m->board);
    board_destroy(&m->board);
    board_close_drives(&m->board);
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        if (vm->engine->vcpu_finish)
            vm->engine->vcpu_finish(vm->cpu[i]);
        vcpu_destroy(vm->cpu[i]);
    }
    if (vm->engine && vm->engine->vm_finish)
        vm->engine->vm_finish(vm);
    if (m->vm_ready)
        vm_finish(vm);
    mem_space_destroy(vm->mem);
    state_set_destroy(vm->state);
    loop_destroy(m->loop);
    pthread_mutex_destroy(&m->park_lock);
    pthread_cond_destroy(&m->park_cond);
    free(m);
}

/* --- life ------------------------------------------------------------------------------------------- */

struct loop *machine_loop(struct machine *m)
{
    return m->loop;
}

struct log *machine_log(struct machine *m)
{
    return &m->log;
}

static void clock_go(struct machine *m, bool go)
{
    loop_lock(m->loop);
    if (go)
        clock_start(loop_clock(m->loop));
    else
        clock_stop(loop_clock(m->loop));
    loop_clock_changed(m->loop);
    loop_unlock(m->loop);
}

/* INIT to all processors, nothing else. The vCPUs stand still. */
static void cpus_reset(struct machine *m)
{
    for (unsigned i = 0; i < m->vm.cpu_count; i++)
        vcpu_init(m->vm.cpu[i]);
}

/* Power-on reset with the kernel loaded anew. The vCPUs stand still. */
static int machine_reset(struct machine *m, struct error *err)
{
    loop_lock(m->loop);
    for (unsigned i = 0; i < m->vm.cpu_count; i++)
        vcpu_reset(m->vm.cpu[i]);
    board_reset(&m->board);
    int rc = boot_load(m, err);
    loop_unlock(m->loop);
    return rc;
}

void machine_run(struct machine *m, struct machine_result *result)
{
    if (m->config.timeout) {
        loop_lock(m->loop);
        timer_arm(&m->timeout, clock_now(loop_clock(m->loop)) + m->config.timeout * NS_PER_SEC);
        loop_unlock(m->loop);
    }
    for (;;) {
        bool runs = !machine_is_paused(m);
        if (runs) {
            clock_go(m, true);
            threads_release(m);
        }
        loop_run(m->loop);
        if (runs) {
            threads_park(m);
            clock_go(m, false);
        }

        loop_lock(m->loop);
        enum machine_request request = m->request;
        if (request != REQUEST_END)
            m->request = REQUEST_NONE;
        if (atomic_load(&m->quit))
            machine_request_end(m, MACHINE_QUIT, 0);
        if (m->request == REQUEST_END)
            request = REQUEST_END;
        loop_unlock(m->loop);
        if (request == REQUEST_END)
            break;
        struct error err = {0};
        board_drain(&m->board);
        if (request == REQUEST_RESET_CPUS)
            cpus_reset(m);
        if (request == REQUEST_RESET && machine_reset(m, &err) < 0) {
            *result = (struct machine_result){.end = MACHINE_FAILED, .error = err};
            return;
        }
    }
    board_drain(&m->board);
    *result = m->result;
}

void machine_stats(struct machine *m, void (*line)(void *opaque, const char *text), void *opaque)
{
    for (unsigned i = 0; i < m->vm.cpu_count; i++)
        if (m->vm.engine->stats)
            m->vm.engine->stats(m->vm.cpu[i], line, opaque);
}
