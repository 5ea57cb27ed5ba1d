/* encode_rule.c - the rules in plain C, and which instance a machine runs. */
#define SIMD_SCALAR
#define SIMD_NAME(x) x##_ref
#include "encode_rule_body.h"

const rule_fns *rule_for(llm_isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case ISA_AVX2:
    case ISA_AVXVNNI: return &rule_fns_avx2;
    case ISA_AVX512: return &rule_fns_avx512;
#elif defined(__aarch64__)
    case ISA_NEON:
    case ISA_I8MM:   return &rule_fns_neon;
#endif
    default:         return &rule_fns_ref;
    }
}
