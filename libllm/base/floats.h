/* floats.h - the floating-point environment that everything is computed in: rounding to nearest, subnormal numbers kept, no traps. The program that calls may
 * have another (-ffast-math flushes subnormal numbers, fesetround rounds otherwise), which threads inherit when they are made; results do not depend
 * on it. Public functions that compute, or make threads, have STANDARD_FLOATS. */
#ifndef LLM_BASE_FLOATS_H
#define LLM_BASE_FLOATS_H
#include <fenv.h>

static inline fenv_t floats_standard(void)
{
    fenv_t host;

    fegetenv(&host);
    fesetenv(FE_DFL_ENV);
    return host;
}

static inline void floats_back(const fenv_t *host) { fesetenv(host); }

/* A declaration: the environment from here to the end of the scope, then the caller's own. */
#define STANDARD_FLOATS const fenv_t host_floats __attribute__((cleanup(floats_back), unused)) = floats_standard()
#endif
