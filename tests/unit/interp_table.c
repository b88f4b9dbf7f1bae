/* Every instruction of the table has a handler: in dispatch.def, or a native one. */
#include "engine/interp/dispatch.h"
#include "engine/interp/native.h"
#include <string.h>
#include "tests/tap.h"

/* The ids that some byte string decodes to, with a form of each. */
static struct insn seen[INSN_COUNT];

static void try_bytes(const u8 *bytes, unsigned mode)
{
    struct insn insn;
    if (insn_decode(&insn, bytes, 15, mode) == DECODE_OK && !seen[insn.id].id)
        seen[insn.id] = insn;
}

static void collect(void)
{
    static const u8 prefixes[] = {0, 0x66, 0xf2, 0xf3};
    static const unsigned modes[] = {DECODE_64 | DECODE_AMD, DECODE_32 | DECODE_AMD, DECODE_64, DECODE_32};
    for (unsigned m = 0; m < 4; m++)
        for (unsigned p = 0; p < 4; p++)
            for (unsigned map = 0; map < 4; map++)
                for (unsigned op = 0; op < 256; op++)
                    for (unsigned modrm = 0; modrm < 256; modrm++) {
                        u8 b[16] = {0};
                        unsigned n = 0;
                        if (prefixes[p])
                            b[n++] = prefixes[p];
                        if (modes[m] & DECODE_64 && (op & 1))
                            b[n++] = 0x48;
                        if (map)
                            b[n++] = 0x0f;
                        if (map > 1)
                            b[n++] = map == 2 ? 0x38 : 0x3a;
                        b[n++] = (u8)op;
                        b[n++] = (u8)modrm;
                        try_bytes(b, modes[m]);
                        if (map == 1 && !(op & 1)) { /* CMPXCHG16B and its like */
                            u8 w[16] = {0x48, 0x0f, (u8)op, (u8)modrm};
                            try_bytes(w, modes[m]);
                        }
                        if (map && modes[m] & DECODE_64)
                            for (unsigned w = 0; w < 4; w++) {
                                u8 vex[16] = {0xc4, (u8)(0xe0 | map),
                                              (u8)((w & 1) << 7 | 0x78 | (w & 2) << 1 | p), (u8)op,
                                              (u8)modrm};
                                try_bytes(vex, modes[m]);
                            }
                    }
}

static void test_all(void)
{
    unsigned covered = 0;
    collect();
    for (unsigned id = 1; id < INSN_COUNT; id++) {
        const struct dispatch *row = &interp_dispatch[id];
        if (!seen[id].id) {
            continue; /* EVEX only: native by class */
        }
        covered++;
        bool native = seen[id].info->klass >= CLASS_X87;
        if (native && row->handler)
            printf("# %s has a row, but is native\n", insn_name(id));
        CHECK(!(native && row->handler));
        interp_handler h = row->handler ? row->handler : native_handler(&seen[id]);
        if (!h)
            printf("# %s has no handler\n", insn_name(id));
        CHECK(h != NULL);
        /* An integer instruction without a row is one of the XSAVE family. */
        if (!native && !row->handler && strncmp(insn_name(id), "x", 1) != 0 &&
            strncmp(insn_name(id), "fx", 2) != 0) {
            printf("# %s has no row\n", insn_name(id));
            CHECK(false);
        }
    }
    CHECK(covered > 500);
}

int main(void)
{
    TAP_RUN(test_all);
    return tap_done();
}
