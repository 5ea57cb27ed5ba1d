/* encode_fit.c - the search in plain C, and which instance a machine runs. */
#define SIMD_SCALAR
#define SIMD_NAME(x) x##_ref
#include "encode_fit_body.h"

const fit_fns *fit_for(llm_isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case ISA_AVX2:
    case ISA_AVXVNNI: return &fit_fns_avx2;
    case ISA_AVX512: return &fit_fns_avx512;
#elif defined(__aarch64__)
    case ISA_NEON:
    case ISA_I8MM:   return &fit_fns_neon;
#endif
    default:         return &fit_fns_ref;
    }
}
