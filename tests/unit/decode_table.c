/* The instruction table's own rules: what a row must say so that the decoder finds and reads it as meant. */
#include "../tap.h"
#include "cpu/decode/form.h"

#define ROW_CHECK(form, cond)                                                                                \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            printf("# row %u (%s, space %u, opcode %02x): %s\n", (unsigned)((form)-insn_forms),              \
                   (form)->info.name, (form)->space, (form)->opcode, #cond);                                 \
            tap_case_failures++;                                                                             \
        }                                                                                                    \
    } while (0)

#define FOR_EACH_FORM(form)                                                                                  \
    for (const struct insn_form *form = insn_forms + 1; form < insn_forms + insn_form_count; form++)

static bool form_covers(const struct insn_form *form, unsigned space, unsigned opcode)
{
    return form->space == space && opcode >= form->opcode && opcode - form->opcode <= MATCH_SPAN(form->match);
}

/* The decoder walks back from the index while rows cover the opcode: every row must be on its opcodes' walks.
 */
static void test_every_row_is_reached(void)
{
    FOR_EACH_FORM(form)
    for (unsigned op = form->opcode; op <= form->opcode + MATCH_SPAN(form->match); op++) {
        const struct insn_form *walk = insn_forms + insn_form_index[form->space][op];
        while (walk > form && form_covers(walk, form->space, op))
            walk--;
        ROW_CHECK(form, walk == form);
    }
}

/* A row that a later one hides altogether is a mistake. */
static void test_no_row_is_hidden(void)
{
    FOR_EACH_FORM(form)
    for (const struct insn_form *later = form + 1;
         later < insn_forms + insn_form_count && form_covers(later, form->space, form->opcode); later++)
        ROW_CHECK(form, MATCH_SPAN(form->match) || (form->allow & ~later->allow));
}

static const u16 *form_operand(const struct insn_form *form, unsigned first, unsigned end)
{
    for (unsigned i = 0; i < OPERANDS_MAX && form->opnds[i]; i++)
        if (SPEC_SOURCE(form->opnds[i]) >= first && SPEC_SOURCE(form->opnds[i]) < end)
            return &form->opnds[i];
    return NULL;
}

static bool form_may_have_memory(const struct insn_form *form)
{
    return (form->allow & (u32)MEM) && form_operand(form, SRC_RM, SRC_REG);
}

static void test_operands_agree_with_match(void)
{
    FOR_EACH_FORM(form)
    {
        const u16 *rm = form_operand(form, SRC_RM, SRC_REG);
        unsigned source = rm ? SPEC_SOURCE(*rm) : SRC_NONE;
        if (source == SRC_M || source == SRC_VM)
            ROW_CHECK(form, !(form->allow & (u32)REG));
        if (source == SRC_R || source == SRC_N || source == SRC_U || source == SRC_KR || source == SRC_STI)
            ROW_CHECK(form, !(form->allow & (u32)MEM) || (form->match & NOMOD));
        if (form->space >= V1 && !(form->match & (NP | P66 | PF3 | PF2)))
            ROW_CHECK(form, !"VEX and EVEX rows name their prefix");
        /* Bytes are consumed in the order of operands. */
        const u16 *bytes = form_operand(form, SRC_BYTES, SRC_RM);
        ROW_CHECK(form, !bytes || !rm || bytes > rm);
    }
}

static void test_facts_are_consistent(void)
{
    FOR_EACH_FORM(form)
    {
        const struct insn_info *info = &form->info;
        u32 attrs = info->attrs;
        ROW_CHECK(form, !(info->flags_undef & ~info->flags_write));
        ROW_CHECK(form, !(attrs & ATTR_LOCKABLE) || SPEC_ACCESS(form->opnds[0]) == ACCESS_RW);
        ROW_CHECK(form, !(attrs & ATTR_ALIGNED) || form_may_have_memory(form));
        ROW_CHECK(form, !(attrs & ATTR_MASK_ELEMENT) || (info->element && form_may_have_memory(form)));
        ROW_CHECK(form, !((attrs & ATTR_ALIGNED) && (attrs & ATTR_UNALIGNED_OK)));
        ROW_CHECK(form, !(attrs & (ATTR_CALL | ATTR_RET | ATTR_COND)) || (attrs & ATTR_ENDS_BLOCK));
        ROW_CHECK(form, info->klass < CLASS_X87 || info->feature != FEAT_BASE);
        ROW_CHECK(form, (info->klass == CLASS_EVEX) == (form->space >= E1));
        ROW_CHECK(form, info->klass != CLASS_VEX || (form->space >= V1 && form->space <= V3));
        ROW_CHECK(form, !(form->match & K) || info->element);
    }
}

static void test_names(void)
{
    CHECK_STR(insn_name(INSN_ADD), "add");
    CHECK_STR(insn_name(INSN_MOVSD_SSE), "movsd");
    CHECK_STR(insn_name(INSN_INVALID), "(bad)");
    CHECK_STR(insn_name(INSN_COUNT), "(bad)");
    FOR_EACH_FORM(form)
    ROW_CHECK(form, strcmp(insn_name(form->id), form->info.name) == 0);
}

int main(void)
{
    TAP_RUN(test_every_row_is_reached);
    TAP_RUN(test_no_row_is_hidden);
    TAP_RUN(test_operands_agree_with_match);
    TAP_RUN(test_facts_are_consistent);
    TAP_RUN(test_names);
    return tap_done();
}
