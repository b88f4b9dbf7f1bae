/* ring3 doctor: what this host offers, and for each thing missing the command that would fix it. */
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/host.h"
#include "cli/command.h"
#include "machine/machine.h"

/* How a finding counts. Only BAD makes the exit status 1: a guest would not run, or not with its default
 * size. */
enum verdict { GOOD, NOTE, BAD };

struct report {
    unsigned bad;
};

static void finding(struct report *r, enum verdict verdict, const char *subject, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
static void finding(struct report *r, enum verdict verdict, const char *subject, const char *fmt, ...)
{
    static const char *const marks[] = {[GOOD] = "ok", [NOTE] = "note", [BAD] = "MISSING"};
    va_list args;
    printf("%-8s %-18s ", marks[verdict], subject);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
    r->bad += verdict == BAD;
}

/* The command that mends the finding before it. */
static void remedy(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void remedy(const char *fmt, ...)
{
    va_list args;
    printf("%*sfix: ", 28, "");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

/* --- engines --- */

static void check_engines(struct report *r)
{
    unsigned working = 0;
    for (const struct engine_ops *const *engine = machine_engines; *engine; engine++) {
        struct error err = {0};
        char subject[32];
        snprintf(subject, sizeof subject, "engine %s", (*engine)->name);
        if (!(*engine)->probe || (*engine)->probe(&err) == 0) {
            finding(r, GOOD, subject, "%s", (*engine)->help);
            working++;
        } else {
            finding(r, NOTE, subject, "%s", err.message);
        }
    }
    if (!working)
        finding(r, BAD, "engines", "none works on this host, see above");
}

/* Does the first CPU of /proc/cpuinfo have this flag? */
static bool host_has_flag(const char *flag)
{
    char line[8192];
    bool has = false;
    size_t len = strlen(flag);
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (!f)
        return false;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "flags", 5) != 0)
            continue;
        for (const char *at = line; (at = strstr(at, flag)); at += len)
            has |= at[-1] == ' ' && (at[len] == ' ' || at[len] == '\n');
        break;
    }
    fclose(f);
    return has;
}

static void explain_kvm_permission(void)
{
    struct stat st;
    struct passwd *user = getpwuid(geteuid());
    struct group *group = stat("/dev/kvm", &st) == 0 ? getgrgid(st.st_gid) : NULL;
    if (group && st.st_gid != 0 && (st.st_mode & 0060) == 0060)
        remedy("sudo usermod -aG %s %s     (then log in again)", group->gr_name,
               user ? user->pw_name : "$USER");
    else
        remedy("sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo usermod -aG kvm %s     (then log "
               "in again)",
               user ? user->pw_name : "$USER");
}

static void check_kvm(struct report *r)
{
    const char *module = host_has_flag("svm") ? "kvm_amd" : host_has_flag("vmx") ? "kvm_intel" : NULL;
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        finding(r, GOOD, "/dev/kvm", "usable by this user");
    } else if (errno == EACCES || errno == EPERM) {
        finding(r, NOTE, "/dev/kvm", "exists, but this user may not open it; ring3 does not need it");
        explain_kvm_permission();
    } else if (module) {
        finding(r, NOTE, "/dev/kvm", "missing (%s) though the CPU could; ring3 does not need it",
                strerror(errno));
        remedy("sudo modprobe %s", module);
    } else {
        finding(r, NOTE, "/dev/kvm",
                "none: this host's CPU shows no virtualization hardware; ring3 does not need it");
    }
}

/* --- memory --- */

#define DEFAULT_GUEST_MIB 512 /* ring3 run's default, and some room for ring3 itself */
#define MONITOR_MIB       64

static void check_free_memory(struct report *r)
{
    u64 total_kib = 0, available_kib = 0;
    if (!host_read_number("/proc/meminfo", "MemTotal", &total_kib) ||
        !host_read_number("/proc/meminfo", "MemAvailable", &available_kib)) {
        finding(r, BAD, "memory", "/proc/meminfo cannot be read");
        remedy("sudo mount -t proc proc /proc");
        return;
    }
    u64 mib = available_kib / 1024;
    bool enough = mib >= DEFAULT_GUEST_MIB + MONITOR_MIB;
    finding(r, enough ? GOOD : BAD, "memory", "%" PRIu64 " MiB of %" PRIu64 " MiB available", mib,
            total_kib / 1024);
    if (!enough)
        remedy("close other programs, or run smaller guests: ring3 run --memory %" PRIu64 "M",
               mib > MONITOR_MIB + 96 ? mib - MONITOR_MIB : 96);

    u64 limit;
    if (host_read_number("/sys/fs/cgroup/memory.max", NULL, &limit) && limit < total_kib * 1024)
        finding(r, NOTE, "memory (cgroup)", "this control group may use %" PRIu64 " MiB", limit >> 20);
}

static void check_overcommit(struct report *r)
{
    u64 mode = 0, limit = 0, committed = 0;
    if (!host_read_number("/proc/sys/vm/overcommit_memory", NULL, &mode) || mode != 2) {
        finding(r, GOOD, "overcommit",
                "guest memory is taken as it is touched (vm.overcommit_memory=%" PRIu64 ")", mode);
        return;
    }
    host_read_number("/proc/meminfo", "CommitLimit", &limit);
    host_read_number("/proc/meminfo", "Committed_AS", &committed);
    u64 left_mib = limit > committed ? (limit - committed) / 1024 : 0;
    finding(r, left_mib >= DEFAULT_GUEST_MIB + MONITOR_MIB ? NOTE : BAD, "overcommit",
            "vm.overcommit_memory=2: at most %" PRIu64 " MiB more can be promised to guests", left_mib);
    remedy("sudo sysctl vm.overcommit_memory=0");
}

/* Guest memory and the engines' code live in memfds; code is mapped executable from one. */
static void check_memfd(struct report *r)
{
    int fd = memfd_create("ring3-doctor", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, PAGE_SIZE) < 0) {
        finding(r, BAD, "memfd", "guest memory cannot be made: %s", strerror(errno));
        remedy("use Linux 3.17 or newer, and allow memfd_create in the container's seccomp profile");
    } else {
        void *p = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            finding(r, BAD, "executable memory", "a memfd cannot be mapped executable: %s", strerror(errno));
            remedy("sudo sysctl vm.memfd_noexec=0     (or, with SELinux: sudo setsebool -P "
                   "domain_can_mmap_files on)");
        } else {
            munmap(p, PAGE_SIZE);
            finding(r, GOOD, "memfd", "works, and can hold code");
        }
    }
    if (fd >= 0)
        close(fd);
}

/* --- limits --- */

static void check_limit(struct report *r, int resource, const char *subject, rlim_t needed, const char *why,
                        const char *fix)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) < 0)
        return;
    if (limit.rlim_cur == RLIM_INFINITY)
        finding(r, GOOD, subject, "no limit");
    else if (limit.rlim_cur >= needed)
        finding(r, GOOD, subject, "%" PRIu64, (u64)limit.rlim_cur);
    else {
        finding(r, BAD, subject, "%" PRIu64 "; %s", (u64)limit.rlim_cur, why);
        remedy("%s", fix);
    }
}

static void check_limits(struct report *r)
{
    check_limit(r, RLIMIT_NOFILE, "open files", 256, "a VM needs up to 256", "ulimit -n 1024");
    check_limit(r, RLIMIT_AS, "address space", GIB(16), "guest memory and its mappings need more (bytes)",
                "ulimit -v unlimited");
    check_limit(r, RLIMIT_FSIZE, "file size", GIB(8), "it also bounds guest memory (bytes)",
                "ulimit -f unlimited");
    check_limit(r, RLIMIT_NPROC, "threads", 128, "a VM has one thread per virtual CPU", "ulimit -u 4096");

    u64 maps;
    if (host_read_number("/proc/sys/vm/max_map_count", NULL, &maps)) {
        bool enough = maps >= 65530;
        finding(r, enough ? GOOD : NOTE, "memory mappings", "%" PRIu64 "%s", maps,
                enough ? "" : "; fewer than usual");
        if (!enough)
            remedy("sudo sysctl vm.max_map_count=65530");
    }
}

/* --- CPU --- */

static void check_models(struct report *r)
{
    unsigned working = 0;
    for (const char *const *name = cpu_model_names; *name; name++) {
        struct cpu_model model;
        struct error err = {0};
        char subject[32];
        snprintf(subject, sizeof subject, "CPU %s", *name);
        if (cpu_model_init(&model, *name, 1, &err) == 0) {
            finding(r, GOOD, subject, "can be offered to guests");
            working++;
        } else {
            finding(r, NOTE, subject, "%s", err.message);
        }
    }
    if (!working) {
        finding(r, BAD, "CPU models", "this host's CPU lacks what every model needs");
        remedy("use a host with an x86-64-v2 CPU (made since about 2009); in a VM, choose a newer CPU model "
               "for it");
    }
}

static int doctor_run(const struct command *self, int argc, char **argv)
{
    struct report report = {0};
    int operands, status;

    if (!command_parse(self, argc, argv, NULL, &operands, &status))
        return status;
    check_engines(&report);
    check_kvm(&report);
    check_models(&report);
    check_free_memory(&report);
    check_overcommit(&report);
    check_memfd(&report);
    check_limits(&report);
    if (report.bad)
        printf("\n%u thing%s missing; run 'ring3 doctor' again after the fix.\n", report.bad,
               report.bad == 1 ? " is" : "s are");
    else
        printf("\nThis host can run ring3.\n");
    return report.bad ? EXIT_FAILED : EXIT_OK;
}

static void print_details(void)
{
    printf("\nEach line is ok, a note (something optional) or MISSING, with the command that would fix it.\n"
           "Exit status: 0 guests can run here, 1 something is missing.\n");
}

const struct command command_doctor = {
    .name = "doctor",
    .summary = "say what this host offers to guests, and how to fix what is missing",
    .run = doctor_run,
    .print_details = print_details,
};
