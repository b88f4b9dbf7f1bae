/*
 * oracle: compares an engine with the host CPU.
 *
 *   oracle [--engine interp] [--cpu host] [--seed N] [--count N] [--only MNEMONIC] [--class CLASS] [--mode
 * 32|64] [--length N] [--fail N] [-v]
 *
 * Sequence i of a run has seed N + i: a failing one is repeated with --seed and --count 1.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "cpu/engine.h"
#include "cpu/exc.h"
#include "tests/oracle/oracle.h"

static const struct engine_ops *const engines[] = {&interp_engine, &jit_engine};

struct options {
    const char *engine, *cpu;
    u64 seed, count;
    unsigned max_failures;
    bool verbose;
};

static void print_instruction(const struct sequence *s, unsigned i)
{
    struct insn insn;
    char text[128] = "(bad)";
    const u8 *p = s->code + s->start[i];
    unsigned len = s->start[i + 1] - s->start[i];
    if (insn_decode(&insn, p, len, s->code32 ? DECODE_32 : DECODE_64) == DECODE_OK)
        insn_format(text, sizeof text, &insn, sequence_base(s) + s->start[i]);
    printf("#   %llx:", (unsigned long long)(sequence_base(s) + s->start[i]));
    for (unsigned b = 0; b < len; b++)
        printf(" %02x", p[b]);
    printf("  %s%s\n", text, insn.len < len ? " ..." : "");
}

/* The shortest prefix of the sequence that already differs: its last instruction is the culprit. */
static unsigned shrink(struct subject *subject, const struct generator *g, const struct sequence *s)
{
    static struct outcome host, engine;
    for (unsigned n = 1; n < s->count; n++) {
        host_run(g, s, n, &host);
        subject_run(subject, g, s, n, &engine);
        if (!outcome_equal(s, n, &host, &engine, false))
            return n;
    }
    return s->count;
}

static void report(struct subject *subject, const struct generator *g, const struct sequence *s)
{
    static struct outcome before, host, engine;
    unsigned n = shrink(subject, g, s);
    printf("# seed %llu: %s code, difference after instruction %u of %u\n", (unsigned long long)s->seed,
           s->code32 ? "32-bit" : "64-bit", n, s->count);
    for (unsigned i = 0; i < n; i++)
        print_instruction(s, i);
    host_run(g, s, n - 1, &before);
    struct machine_state *m = &before.state;
    printf("#   before it: rflags %llx mxcsr %x fcw %x fsw %x ftw %x\n", (unsigned long long)m->rflags,
           m->vector.mxcsr, m->vector.fcw, m->vector.fsw, m->vector.ftw);
    for (unsigned i = 0; i < 16; i += 4)
        printf("#   r%-2u %016llx %016llx %016llx %016llx\n", i, (unsigned long long)m->gpr[i],
               (unsigned long long)m->gpr[i + 1], (unsigned long long)m->gpr[i + 2],
               (unsigned long long)m->gpr[i + 3]);
    host_run(g, s, n, &host);
    subject_run(subject, g, s, n, &engine);
    if (host.fault != NO_FAULT)
        printf("#   host: exception %u error %x cr2 %llx at %llx\n", host.fault, host.error,
               (unsigned long long)host.cr2, (unsigned long long)host.state.rip);
    outcome_equal(s, n, &host, &engine, true);
    fflush(stdout);
}

#ifdef __SANITIZE_ADDRESS__
#define ORACLE_UNDER_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ORACLE_UNDER_ASAN
#endif
#endif

/* AddressSanitizer's shadow is memory of this process where the sequences expect none (its documented layout
 * on x86-64): a sequence whose access ended there on the engine would not end on the host, but damage it. */
static bool outcome_is_in_shadow(const struct outcome *engine)
{
#ifdef ORACLE_UNDER_ASAN
    return engine->fault == EXC_PF && engine->cr2 >= 0x7fff7000 && engine->cr2 < 0x10007fff8000;
#else
    return false;
#endif
}

static int run(const struct options *o, struct generator *g, struct subject *subject)
{
    static struct outcome host, engine;
    static struct sequence s;
    u64 failed = 0, instructions = 0, faults = 0, done = 0, left_out = 0;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (; done < o->count && failed < o->max_failures; done++) {
        sequence_generate(g, &s, o->seed + done);
        if (!s.count)
            continue;
        if (o->verbose) {
            printf("# seed %llu\n", (unsigned long long)s.seed);
            for (unsigned i = 0; i < s.count; i++)
                print_instruction(&s, i);
            fflush(stdout);
        }
        subject_run(subject, g, &s, s.count, &engine);
        if (outcome_is_in_shadow(&engine)) {
            left_out++;
            continue;
        }
        host_run(g, &s, s.count, &host);
        instructions += s.count;
        faults += host.fault != NO_FAULT;
        if (!outcome_equal(&s, s.count, &host, &engine, false)) {
            failed++;
            report(subject, g, &s);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    double seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    printf("# %llu sequences, %llu instructions, %llu ended by an exception, %u + %u table rows, %.1f s\n",
           (unsigned long long)done, (unsigned long long)instructions, (unsigned long long)faults,
           g->form_count[0], g->form_count[1], seconds);
    if (left_out)
        printf("# %llu more sequences reach into the sanitizer's own memory and were left out\n",
               (unsigned long long)left_out);
    printf("%llu passed, %llu failed\n", (unsigned long long)(done - failed - left_out),
           (unsigned long long)failed);
    return failed != 0;
}

static int find_class(const char *name)
{
    static const char *const names[] = {
        [CLASS_INT] = "int", [CLASS_BRANCH] = "branch", [CLASS_STRING] = "string", [CLASS_SYSTEM] = "system",
        [CLASS_IO] = "io",   [CLASS_X87] = "x87",       [CLASS_MMX] = "mmx",       [CLASS_SSE] = "sse",
        [CLASS_VEX] = "vex", [CLASS_EVEX] = "evex"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(names[i], name))
            return (int)i;
    fprintf(stderr, "oracle: no class \"%s\"\n", name);
    exit(2);
}

static const struct engine_ops *find_engine(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(engines); i++)
        if (!strcmp(engines[i]->name, name))
            return engines[i];
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"engine", 1, 0, 'e'}, {"cpu", 1, 0, 'c'},
        {"seed", 1, 0, 's'},   {"count", 1, 0, 'n'},
        {"only", 1, 0, 'o'},   {"mode", 1, 0, 'm'},
        {"fail", 1, 0, 'f'},   {"length", 1, 0, 'l'},
        {"class", 1, 0, 'k'},  {0},
    };
    struct options o = {.engine = "interp", .cpu = "host", .seed = 1, .count = 100000, .max_failures = 10};
    static struct generator g = {.klass = -1};
    for (int c; (c = getopt_long(argc, argv, "v", long_options, NULL)) != -1;) {
        switch (c) {
        case 'e':
            o.engine = optarg;
            break;
        case 'c':
            o.cpu = optarg;
            break;
        case 's':
            o.seed = strtoull(optarg, NULL, 0);
            break;
        case 'n':
            o.count = strtoull(optarg, NULL, 0);
            break;
        case 'o':
            g.only = optarg;
            break;
        case 'k':
            g.klass = find_class(optarg);
            break;
        case 'm':
            g.mode = atoi(optarg);
            break;
        case 'f':
            o.max_failures = (unsigned)atoi(optarg);
            break;
        case 'l':
            g.length = (unsigned)atoi(optarg) > SEQUENCE_MAX ? SEQUENCE_MAX : (unsigned)atoi(optarg);
            break;
        case 'v':
            o.verbose = true;
            break;
        default:
            return 2;
        }
    }
    const struct engine_ops *engine = find_engine(o.engine);
    struct error err = {0};
    static struct cpu_model model;
    if (!engine) {
        fprintf(stderr, "oracle: no engine \"%s\"\n", o.engine);
        return 2;
    }
    if (cpu_model_init(&model, o.cpu, 1, &err) < 0) {
        fprintf(stderr, "oracle: %s\n", err.message);
        return 2;
    }
    /* The engine first: its signal handlers get what happens outside host_run. */
    struct subject *subject = subject_create(engine, &model);
    if (!subject || generator_init(&g, &model) < 0 || host_init() < 0)
        return 2;
    g.whole_host = !strcmp(o.cpu, "host");
    generator_select(&g);
    int result = run(&o, &g, subject);
    subject_destroy(subject);
    return result;
}
