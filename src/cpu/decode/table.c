/* The instruction table as data: rows, the index by opcode, and the names. */
#include "cpu/decode/form.h"
#include "cpu/decode/spec.h"

/* Names first: a later form of the same mnemonic refers to them. */
#define INSN(id, name, ...) static const char name_##id[] = name;
#define FORM(id, ...)
#include "cpu/decode/insn_table.def"
#undef INSN
#undef FORM

/* A row may give a fact that its class macro presets; the index relies on the last row of an opcode winning.
 */
#pragma GCC diagnostic ignored "-Woverride-init"

#define ROW_HEAD(id_, space_, opcode_, match_)                                                               \
    .match = (match_), .allow = (u32)MATCH_ALLOW((u64)(match_)), .id = INSN_##id_, .space = space_,          \
    .opcode = opcode_
#define INSN(id, text, space, opcode, match, ops, ...)                                                       \
    {ROW_HEAD(id, space, opcode, match), .opnds = ops, .info = {.name = name_##id, __VA_ARGS__}},
#define FORM(id, space, opcode, match, ops, ...)                                                             \
    {ROW_HEAD(id, space, opcode, match), .opnds = ops, .info = {.name = name_##id, __VA_ARGS__}},
const struct insn_form insn_forms[] = {
    {.space = 0xff},
#include "cpu/decode/insn_table.def"
};
#undef INSN
#undef FORM

const unsigned insn_form_count = ARRAY_LEN(insn_forms);

enum { ROW_BASE = __COUNTER__ };
#define INDEX_ENTRY(space, opcode, match)                                                                    \
    [space][(opcode)...(opcode) + MATCH_SPAN((u64)(match))] = __COUNTER__ - ROW_BASE,
#define INSN(id, name, space, opcode, match, ...) INDEX_ENTRY(space, opcode, match)
#define FORM(id, space, opcode, match, ...)       INDEX_ENTRY(space, opcode, match)
const u16 insn_form_index[SPACE_COUNT][256] = {
#include "cpu/decode/insn_table.def"
};
#undef INSN
#undef FORM

static const char *const names[INSN_COUNT] = {
    "(bad)",
#define INSN(id, name, ...) name,
#define FORM(id, ...)
#include "cpu/decode/insn_table.def"
#undef INSN
#undef FORM
};

const char *insn_name(unsigned id)
{
    return names[id < INSN_COUNT ? id : INSN_INVALID];
}
