/* The stub cache: code memory and look-up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "engine/interp/stub.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif

#define CODE_HEAD  64u /* constants: the host's MXCSR */
#define HOST_MXCSR 0x1f80u

static int code_map(struct native *n, struct error *err)
{
    int fd = memfd_create("ring3-stubs", MFD_CLOEXEC | MFD_EXEC);
    if (fd < 0) /* before Linux 6.3 */
        fd = memfd_create("ring3-stubs", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, STUB_CODE_SIZE) < 0) {
        int code = errno;
        if (fd >= 0)
            close(fd);
        return error_set(err, code, "no memory for native code: %s", strerror(code));
    }
    n->code_rw = mmap(NULL, STUB_CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    n->code_rx = mmap(NULL, STUB_CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    int code = errno;
    close(fd);
    if (n->code_rw == MAP_FAILED || n->code_rx == MAP_FAILED)
        return error_set(err, code,
                         "executable memory is refused: %s (is the host's policy against executable memfds, "
                         "vm.memfd_noexec or SELinux?)",
                         strerror(code));
    return 0;
}

static void code_reset(struct native *n)
{
    store_le32(n->code_rw, HOST_MXCSR);
    n->code_used = CODE_HEAD;
    n->stub_count = 0;
    memset(n->bucket, 0, sizeof n->bucket);
    n->generation += n->generation == UINT32_MAX ? 2 : 1;
}

int stub_cache_create(struct native **out, const struct cpu_model *model, struct error *err)
{
    int r = host_fault_install(err);
    if (r < 0)
        return r;
    struct native *n = aligned_alloc(64, ALIGN_UP(sizeof *n, 64));
    if (!n)
        return error_set(err, ENOMEM, "no memory for the native stubs");
    memset(n, 0, sizeof *n);
    n->code_rw = MAP_FAILED;
    n->code_rx = MAP_FAILED;
    r = code_map(n, err);
    if (r < 0) {
        stub_cache_destroy(n);
        return r;
    }
    n->opmask64 = model_has(model, FEAT_AVX512BW);
    n->vector_bytes = model_has(model, FEAT_AVX512F) ? 64 : model_has(model, FEAT_AVX) ? 32 : 16;
    n->scope.lo = n->code_rx;
    n->scope.hi = n->code_rx + STUB_CODE_SIZE;
    code_reset(n);
    *out = n;
    return 0;
}

void stub_cache_destroy(struct native *n)
{
    if (!n)
        return;
    if (n->code_rw != MAP_FAILED)
        munmap(n->code_rw, STUB_CODE_SIZE);
    if (n->code_rx != MAP_FAILED)
        munmap((void *)(uintptr_t)n->code_rx, STUB_CODE_SIZE);
    free(n);
}

static u32 key_bucket(const struct stub_key *key)
{
    u64 hash = 0xcbf29ce484222325ull;
    const u8 *p = (const u8 *)key;
    for (unsigned i = 0; i < sizeof *key; i += 8)
        hash = (hash ^ load_le64(p + i)) * 0x9e3779b97f4a7c15ull;
    return (u32)(hash >> 40) % STUB_BUCKETS;
}

static u32 stub_build(struct native *n, const struct insn *insn, const struct stub_key *key)
{
    if (n->stub_count == STUB_MAX || n->code_used + STUB_SPACE > STUB_CODE_SIZE)
        code_reset(n);
    u32 slot = n->stub_count++, bucket = key_bucket(key);
    struct stub *stub = &n->stub[slot];
    unsigned resume = 0;
    unsigned len = stub_emit(n, insn, key, n->code_rw + n->code_used, -(s32)n->code_used, &resume);
    stub->code = n->code_rx + n->code_used;
    stub->resume = stub->code + resume;
    stub->key = *key;
    stub->next = n->bucket[bucket];
    n->bucket[bucket] = (u16)(slot + 1);
    n->code_used += ALIGN_UP(len, 16);
    return slot;
}

const struct stub *stub_find(struct native *n, const struct insn *insn, enum stub_kind kind)
{
    struct stub_key key = {.kind = kind, .id = insn->id, .gpr = {0xff, 0xff, 0xff}};
    stub_encode(insn, &key);
    u32 i = n->bucket[key_bucket(&key)];
    while (i && memcmp(&n->stub[i - 1].key, &key, sizeof key) != 0)
        i = n->stub[i - 1].next;
    u32 slot = i ? i - 1 : stub_build(n, insn, &key);
    /* The note is the engine's own field of a decode-cache entry, which is writable memory. */
    struct insn *entry = (struct insn *)(uintptr_t)insn;
    entry->aux.generation = n->generation;
    entry->aux.slot = slot;
    return &n->stub[slot];
}
