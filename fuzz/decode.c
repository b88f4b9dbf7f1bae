/*
 * The decoder on arbitrary bytes. Byte 0 chooses the mode, the rest is code. Checked: nothing is read past
 * the input (its copy is allocated exactly), length, determinism, what a shorter input gives, and that the
 * text never overflows.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cpu/decode/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(cond)                                                                                        \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "decode fuzzer: %s\n", #cond);                                                   \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static void check_operands(const struct insn *insn)
{
    u16 read, written;
    REQUIRE(insn->id > INSN_INVALID && insn->id < INSN_COUNT);
    REQUIRE(insn->nopnds <= ARRAY_LEN(insn->opnd));
    for (unsigned i = 0; i < insn->nopnds; i++) {
        const struct opnd *o = &insn->opnd[i];
        REQUIRE(o->kind > OPND_NONE && o->kind <= OPND_KREG);
        REQUIRE(o->kind != OPND_GPR || (o->reg < 16 && o->size && o->size <= 8));
        REQUIRE(o->kind != OPND_SEG || o->reg < 6);
        REQUIRE(o->kind != OPND_VEC || (o->reg < 32 && o->size >= 16 && o->size <= 64));
        REQUIRE((o->kind != OPND_KREG && o->kind != OPND_MMX && o->kind != OPND_ST) || o->reg < 8);
    }
    REQUIRE(insn->mem.seg < 6 && insn->mem.scale < 4);
    REQUIRE(insn->mem.base < 16 || insn->mem.base >= MEM_REG_RIP);
    REQUIRE(insn->mem.index < (insn->mem.vsib ? 32 : 16) || insn->mem.index == MEM_NO_REG);
    insn_gpr_use(insn, &read, &written);
}

static void check_text(const struct insn *insn)
{
    char full[256];
    insn_format(full, sizeof full, insn, 0x123456789abcull);
    REQUIRE(strlen(full) < 160);
    for (size_t size = 0; size < 40; size += 3) {
        char *buf = malloc(size ? size : 1);
        REQUIRE(buf && insn_format(buf, size, insn, 0x123456789abcull) == buf);
        REQUIRE(!size || (strlen(buf) < size && strncmp(buf, full, strlen(buf)) == 0));
        free(buf);
    }
}

/* The first `n` bytes, in an allocation of exactly that size. */
static enum decode_status decode_exact(struct insn *insn, const uint8_t *code, size_t n, unsigned mode)
{
    uint8_t *copy = malloc(n ? n : 1);
    REQUIRE(copy);
    memcpy(copy, code, n);
    enum decode_status status = insn_decode(insn, copy, n, mode);
    free(copy);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct insn insn, again;
    if (size < 1)
        return 0;
    unsigned mode = data[0] & 15;
    const uint8_t *code = data + 1;
    size_t avail = size - 1 < 20 ? size - 1 : 20;
    enum decode_status status = decode_exact(&insn, code, avail, mode);
    REQUIRE(status != DECODE_NEED_MORE || avail < INSN_MAX_LEN);
    REQUIRE(status != DECODE_TOO_LONG || avail >= INSN_MAX_LEN);
    if (status != DECODE_OK)
        return 0;
    REQUIRE(insn.len > 0 && insn.len <= INSN_MAX_LEN && insn.len <= avail);
    for (size_t n = 0; n < insn.len; n++)
        REQUIRE(decode_exact(&again, code, n, mode) == DECODE_NEED_MORE);
    REQUIRE(decode_exact(&again, code, insn.len, mode) == DECODE_OK);
    REQUIRE(memcmp(&insn, &again, sizeof insn) == 0);
    check_operands(&insn);
    check_text(&insn);
    return 0;
}
