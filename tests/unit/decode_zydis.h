/*
 * The decoder next to Zydis: one instruction decoded by both and compared field by field, and the list of
 * what is different on purpose. Shared by the tests decode (encodings and operands) and decode_facts
 * (effects).
 */
#ifndef RING3_TESTS_DECODE_ZYDIS_H
#define RING3_TESTS_DECODE_ZYDIS_H

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cpu/decode/decode.h"

enum { PAIR_MODES = 4 };
static const unsigned pair_modes[PAIR_MODES] = {DECODE_16, DECODE_32, DECODE_64, DECODE_64 | DECODE_AMD};
static const char *const pair_mode_names[PAIR_MODES] = {"16", "32", "64", "64amd"};

struct pair {
    u8 bytes[32];
    unsigned mode; /* index of pair_modes */
    enum decode_status status;
    struct insn insn;
    bool zydis_ok;
    ZyanStatus zydis_status;
    ZydisDecodedInstruction zydis;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
};

static void pair_decoders_init(ZydisDecoder decoders[PAIR_MODES])
{
    static const ZydisMachineMode modes[PAIR_MODES] = {
        ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64,
        ZYDIS_MACHINE_MODE_LONG_64};
    static const ZydisStackWidth widths[PAIR_MODES] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
                                                       ZYDIS_STACK_WIDTH_64, ZYDIS_STACK_WIDTH_64};
    for (unsigned i = 0; i < PAIR_MODES; i++) {
        ZydisDecoderInit(&decoders[i], modes[i], widths[i]);
        ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
        ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
        ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
        ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_TRUE);
        ZydisDecoderEnableMode(&decoders[i], ZYDIS_DECODER_MODE_AMD_BRANCHES, i == 3);
    }
}

static void pair_decode(struct pair *p, const ZydisDecoder *decoders)
{
    p->status = insn_decode(&p->insn, p->bytes, sizeof p->bytes, pair_modes[p->mode]);
    p->zydis_status =
        ZydisDecoderDecodeFull(&decoders[p->mode], p->bytes, sizeof p->bytes, &p->zydis, p->ops);
    p->zydis_ok = ZYAN_SUCCESS(p->zydis_status);
}

/* Differences, one line for each kind and mnemonic. */
struct difference {
    const char *what;
    u16 ours, theirs;
    unsigned long count;
    u32 value[2]; /* ours, theirs, where the kind of difference has such */
    u8 bytes[16];
    u8 mode;
};

struct differences {
    struct difference list[512];
    unsigned used;
    unsigned long total;
};

static void difference_add(struct differences *d, const struct pair *p, const char *what, u32 our_value,
                           u32 their_value)
{
    u16 ours = p->status == DECODE_OK ? p->insn.id : 0, theirs = p->zydis_ok ? p->zydis.mnemonic : 0;
    d->total++;
    for (unsigned i = 0; i < d->used; i++) {
        struct difference *x = &d->list[i];
        if (x->what == what && x->ours == ours && x->theirs == theirs) {
            x->count++;
            return;
        }
    }
    if (d->used == ARRAY_LEN(d->list))
        return;
    struct difference *x = &d->list[d->used++];
    *x = (struct difference){what, ours, theirs, 1, {our_value, their_value}, {0}, p->mode};
    memcpy(x->bytes, p->bytes, sizeof x->bytes);
}

static void difference_print_text(const struct difference *x)
{
    ZydisDecoder decoders[PAIR_MODES];
    ZydisFormatter formatter;
    struct pair p = {.mode = x->mode};
    char ours[160] = "-", theirs[160] = "-";
    pair_decoders_init(decoders);
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    memcpy(p.bytes, x->bytes, sizeof x->bytes);
    pair_decode(&p, decoders);
    if (p.status == DECODE_OK)
        insn_format(ours, sizeof ours, &p.insn, 0);
    if (p.zydis_ok)
        ZydisFormatterFormatInstruction(&formatter, &p.zydis, p.ops, p.zydis.operand_count_visible, theirs,
                                        sizeof theirs, 0, NULL);
    printf(" | %s | %s", ours, theirs);
    if (x->value[0] || x->value[1])
        printf(" | %#x, %#x", x->value[0], x->value[1]);
    printf("\n");
}

static void differences_print(const struct differences *d)
{
    for (unsigned i = 0; i < d->used && i < 100; i++) {
        const struct difference *x = &d->list[i];
        printf("# %-12s %8lu x  %-14s %-14s mode %-5s", x->what, x->count, x->ours ? insn_name(x->ours) : "-",
               x->theirs ? ZydisMnemonicGetString(x->theirs) : "-", pair_mode_names[x->mode]);
        for (unsigned b = 0; b < 16; b++)
            printf(" %02x", x->bytes[b]);
        difference_print_text(x);
    }
    if (d->total)
        printf("# %lu differences of %u kinds\n", d->total, d->used);
}

/* A small generator of its own, so that a seed gives the same run everywhere. */
static u64 random_u64(u64 *state)
{
    u64 z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static void random_bytes(u64 *state, u8 *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i += 8) {
        u64 r = random_u64(state);
        memcpy(bytes + i, &r, 8);
    }
}

#endif
