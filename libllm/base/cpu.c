#include "cpu.h"
#include <string.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#include <asm/hwcap.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const names[] = { "scalar", "avx2", "avxvnni", "avx512", "neon", "i8mm" };

const char *isa_name(llm_isa isa) { return names[isa]; }

#if defined(__x86_64__)
/* Half floats: CPUID leaf 1, ECX bit 29 (Intel SDM vol. 2A, CPUID). clang 14 has no name for it in __builtin_cpu_supports;
 * that the system saves the registers follows from avx2, which is asked beside it. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}

/* Leaf 7, subleaf 1, EAX bit 4. */
static bool has_avxvnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

bool cpu_has_isa(llm_isa isa)
{
    switch (isa) {
    case ISA_SCALAR: return true;
#if defined(__x86_64__)
    case ISA_AVX2:   return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    case ISA_AVXVNNI: return cpu_has_isa(ISA_AVX2) && has_avxvnni();
    case ISA_AVX512: return cpu_has_isa(ISA_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
                         && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
                         && __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
    case ISA_NEON:   return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    case ISA_I8MM:   return cpu_has_isa(ISA_NEON) && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#endif
    default:         return false;
    }
}

llm_isa cpu_best_isa(void)
{
    static const llm_isa best[] = { ISA_AVX512, ISA_AVXVNNI, ISA_AVX2, ISA_I8MM, ISA_NEON };

    for (size_t i = 0; i < sizeof best / sizeof best[0]; i++)
        if (cpu_has_isa(best[i])) return best[i];
    return ISA_SCALAR;
}

llm_status cpu_choose_isa(llm_isa *out, const char *name, llm_error *err)
{
    char have[64] = "";

    if (name == NULL || *name == '\0') { *out = cpu_best_isa(); return LLM_OK; }
    for (int i = ISA_SCALAR; i < N_ISA; i++) {
        if (!cpu_has_isa((llm_isa)i)) continue;
        if (strcmp(name, names[i]) == 0) { *out = (llm_isa)i; return LLM_OK; }
        strcat(strcat(have, " "), names[i]);
    }
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "cpu kernel set '%s': this machine and build have%s", name, have);
}
