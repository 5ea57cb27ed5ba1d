/* softmax_sum.h - softmax weights of many logits, for the sampler: a block at a time, the same bits on every machine. */
#ifndef LLM_CPU_SOFTMAX_SUM_H
#define LLM_CPU_SOFTMAX_SUM_H

enum { SOFTMAX_BLOCK = 64 };

/* w[i] = e^((x[i] - best) * inverse), by the exponential of math_body.h, over x [SOFTMAX_BLOCK]; returns their sum, by 16 lanes (simd.h).
 * best >= all x, which may be -inf; 0 < inverse < inf. Each w is off by at most 2^-23 times |ln w| + 1. */
typedef float (*softmax_sum_fn)(const float *x, float best, float inverse, float w[SOFTMAX_BLOCK]);

softmax_sum_fn softmax_sum_best(void);  /* for this machine */
float softmax_sum_ref(const float *x, float best, float inverse, float w[SOFTMAX_BLOCK]);
float softmax_sum_avx2(const float *x, float best, float inverse, float w[SOFTMAX_BLOCK]);
float softmax_sum_neon(const float *x, float best, float inverse, float w[SOFTMAX_BLOCK]);
#endif
