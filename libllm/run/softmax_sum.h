/* softmax_sum.h - sums of softmax weights that are near, not exact: they tell what exact ones would choose wherever it is not a close call. */
#ifndef LLM_SOFTMAX_SUM_H
#define LLM_SOFTMAX_SUM_H

enum { SOFTMAX_BLOCK = 64 };
#define SOFTMAX_SUM_ERROR 2e-11         /* of the sum, relative, and weights below e^-700 absolute */

/* The sum of exp((x[i] - best) * inverse) over x [SOFTMAX_BLOCK]; best >= all x, which may be -inf; inverse > 0. */
typedef double (*softmax_sum_fn)(const float *x, double best, double inverse);

softmax_sum_fn softmax_sum_best(void);  /* for this machine */
double softmax_sum_any(const float *x, double best, double inverse);
double softmax_sum_avx2(const float *x, double best, double inverse);
#endif
