/* linear.h - the matrix products: op.linear, op.embed, op.moe, op.absorb.
 *
 * The order of every sum, which all kernel sets share bit for bit (K = cols, ascending everywhere; fma = one rounding):
 *
 * 1. Float weights, and types without an integer form after dequantization to f32 (FP8: times its scale, rounded to f32):
 *    16 partial sums; sum j takes k = j, j+16, j+32, ... with fma from 0; K is padded with zero products to a multiple of 16;
 *    then sum j += sum j+8 (j < 8), += j+4 (j < 4), += j+2 (j < 2), += j+1; y = that (+ bias, one addition).
 *
 * 2. Blocks of 32 (Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4 F4_E2M1 Q4_G) times X_Q32: for each block
 *      isum = sum of 32 w * q, exact in int32 (at most 32*128*127 < 2^24, so its conversion to float is exact too)
 *      acc  = fma(d_w * d_x (rounded), (float)isum, acc), from acc = 0
 *      acc  = fma(m_w, s_x, acc)                                   Q4_1 and Q5_1, whose w are unsigned
 *
 * 3. Super-blocks of 256 times X_Q256. w and the sub-scales sc, mn are integers; b runs over sub-blocks of 32 (Q6_K, IQ2_XS, IQ2_S and IQ1_M: of 16).
 *      Q4_K Q5_K Q6_K IQ4_XS:  t = 0; t = fma((float)sc_b, (float)isum_b, t), b ascending
 *      Q2_K Q3_K:              t = (float)(sum over b of sc_b * isum_b), exact in int32: at most 256*128*127 < 2^24
 *      IQ1 IQ2 IQ3 TQ1_0 TQ2_0 Q8_K (codebook.h):  the same, at most 256*31*62*127 < 2^26, and rounded once, to the nearest float
 *      acc = fma(d_w * d_x (rounded), t, acc)
 *      acc = fma(-(dmin_w * d_x (rounded)), (float)(sum over b of mn_b * sum_b), acc)      Q2_K Q4_K Q5_K; exact, < 2^22
 *    |isum_b| <= 32*31*127 (Q5_K), 16*128*127 (Q6_K), 32*128*127 (IQ4_XS, Q8_K): all below 2^24.
 *
 * 4. Experts: y = 0, then y = fma(w_u, d_u, y) for u = 0, 1, 2, ...; d_u has its bias already.
 *
 * The outputs of a row of x depend on that row alone. */
#ifndef LLM_CPU_LINEAR_H
#define LLM_CPU_LINEAR_H
#include "backend.h"

/* Set embed, linear, moe and absorb. */
void linear_ops_ref(llm_ops *op, llm_blocks *block);
void linear_ops_avx2(llm_ops *op, llm_blocks *block);
void linear_ops_avxvnni(llm_ops *op, llm_blocks *block);
void linear_ops_avx512(llm_ops *op, llm_blocks *block);
void linear_ops_neon(llm_ops *op, llm_blocks *block);
void linear_ops_i8mm(llm_ops *op, llm_blocks *block);

/* Bytes for cpu_impl.linear; 0 when the size wraps. */
size_t linear_scratch_bytes(const llm_limits *limits, int n_thread);
#endif
