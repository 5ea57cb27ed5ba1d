/* product.h - the kernel sets. */
#ifndef LLM_CPU_PRODUCT_H
#define LLM_CPU_PRODUCT_H
#include "matrix.h"

extern const linear_set linear_set_ref, linear_set_avx2, linear_set_avx512, linear_set_neon;
#endif
