/* The decoder's working state, shared by decode.c (prefixes, opcode, checks) and operand.c (memory,
 * operands). */
#ifndef RING3_CPU_DECODE_DECODER_H
#define RING3_CPU_DECODE_DECODER_H

#include "base/bytes.h"
#include "cpu/decode/form.h"

struct decoder {
    const u8 *bytes;
    unsigned pos, limit; /* limit: what is available, at most 15 */
    bool over;           /* a read hit the limit */
    bool bad;            /* illegal: #UD */

    struct insn *insn;
    const struct insn_form *form;
    u8 bits;    /* enum decode_mode without flags */
    u8 segment; /* override, or MEM_NO_REG */
    bool opsize66, repeat_f2, repeat_f3, lock;
    /* Register extension bits of REX, VEX or EVEX, in place: 0 or 8 (0 or 16 for the high ones). */
    u8 r, x, b, r2, x2;
    u8 vvvv; /* VEX, EVEX: with V', not inverted */
    u8 v2;   /* EVEX.V' as bit 4 */
};

static inline u8 decoder_u8(struct decoder *d)
{
    if (unlikely(d->pos >= d->limit)) {
        d->over = true;
        return 0;
    }
    return d->bytes[d->pos++];
}

static inline u64 decoder_read(struct decoder *d, unsigned bytes)
{
    u64 v = 0;
    if (unlikely(d->limit - d->pos < bytes)) {
        d->over = true;
        d->pos = d->limit;
        return 0;
    }
    __builtin_memcpy(&v, d->bytes + d->pos, bytes);
    d->pos += bytes;
    return v;
}

/* An immediate or displacement of `bytes` bytes, sign-extended; 0 bytes are 0. */
static inline u64 signed_field(u64 v, unsigned bytes)
{
    return bytes ? sign_extend(v, 8 * bytes) : 0;
}

/* Reads the rest of the instruction after ModRM and fills in the operands. */
void decoder_operands(struct decoder *d);

#endif
