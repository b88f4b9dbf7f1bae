/* Code segments as targets of far transfers: checks and commit. */
#include "cpu/desc.h"

void code_check_target(struct vcpu *v, const struct desc *d, u64 rip)
{
    if (v->long_mode && desc_l(d)) {
        if (!is_canonical(rip))
            cpu_raise_gp0(v);
    } else if (rip > desc_limit(d)) {
        cpu_raise_gp0(v);
    }
}

void code_check_mode(struct vcpu *v, const struct desc *d)
{
    if (v->long_mode && desc_l(d) && desc_db(d))
        cpu_raise_error(v, EXC_GP, selector_error(d->selector));
}

void code_commit(struct vcpu *v, const struct desc *d, unsigned cpl, u64 rip)
{
    desc_to_segreg(d, cpl, &v->seg[CS]);
    if (v->long_mode && desc_l(d)) {
        v->seg[CS].base = 0;
        v->seg[CS].limit = 0xffffffff;
    }
    v->rip = rip;
}
