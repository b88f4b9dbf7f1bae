/* CPU features: the names that instructions, CPU models and CPUID share. */
#ifndef RING3_CPU_DECODE_FEATURE_H
#define RING3_CPU_DECODE_FEATURE_H

/* feature.def: FEATURE(id, "name", leaf, subleaf, register letter a|b|c|d, bit). */
enum cpu_feature {
    FEAT_BASE = 0, /* no CPUID bit: 386/486 instructions */
#define FEATURE(id, name, leaf, subleaf, reg, bit) FEAT_##id,
#include "cpu/decode/feature.def"
#undef FEATURE
    FEAT_COUNT
};

#endif
