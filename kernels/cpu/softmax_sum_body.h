/* softmax_sum_body.h - one block, for the instruction set of the file that includes it. Some twenty operations for VN weights; it is bound by these. */
#include "softmax_sum.h"
#include "simd.h"
#include "math_body.h"

float SIMD_NAME(softmax_sum)(const float *x, float best, float inverse, float w[SOFTMAX_BLOCK])
{
    vf sum[VL];
    float lane[LANES];

    UNROLL for (int k = 0; k < VL; k++) sum[k] = v_set(0.0f);
    UNROLL
    for (int k = 0; k < SOFTMAX_BLOCK / VN; k += SIDE) {
        vf e[SIDE];
        UNROLL for (int i = 0; i < SIDE; i++) e[i] = v_mul(v_sub(v_load(x + (k + i) * VN), v_set(best)), v_set(inverse));
        v_exp_of(SIDE, e);
        UNROLL
        for (int i = 0; i < SIDE; i++) {
            v_store(w + (k + i) * VN, e[i]);
            sum[(k + i) % VL] = v_add(sum[(k + i) % VL], e[i]);
        }
    }
    UNROLL
    for (int k = 0; k < VL; k++) v_store(lane + k * VN, sum[k]);
    return lanes_sum(lane);
}
