/* math_body.h - exp, sigmoid and tanh, written once over simd.h; each instance gives the same bits.
 * Errors, largest seen against a double-precision libm over every 997th float (elementwise_test.c), in units in the last
 * place: exp 0.87, sigmoid 2.11, tanh 1.30. */

/* e^x. x = n ln 2 + r with |r| <= ln(2)/2 in two steps (Cody and Waite, Software Manual for the Elementary Functions,
 * ch. 6), then 1 + r + r^2 q(r) with q of degree 4 (minimax, relative error 3.2e-9), times 2^n; results
 * below the normal range are rounded, not flushed. Below -104 exactly 0, above 88.73 infinity; NaN stays NaN.
 * One vector waits for itself: some twenty steps, each for the last. Several side by side, a step of all before the next of any, take each other's
 * waiting time (a processor looks ahead by the steps of two or three vectors). n_side: up to SIDE. */
enum { SIDE = 4 };
SIMD_INLINE void v_exp_of(int n_side, vf *x)
{
    static const float term[] = { 0x1.123ac8p-7f, 0x1.5558a2p-5f, 0x1.555490p-3f, 0x1.fffffcp-2f };
    const vf magic = v_set(0x1.8p23f);                   /* adding it rounds to a whole number */
    vf n[SIDE], q[SIDE];

    UNROLL for (int i = 0; i < n_side; i++) x[i] = v_min(v_set(89.0f), v_max(v_set(-104.0f), x[i]));     /* the operands' order lets NaN through */
    UNROLL for (int i = 0; i < n_side; i++) n[i] = v_sub(v_fma(x[i], v_set(0x1.715476p+0f), magic), magic);
    UNROLL for (int i = 0; i < n_side; i++) x[i] = v_fnma(n[i], v_set(0x1.7f7d1cp-20f), v_fnma(n[i], v_set(0x1.62e4p-1f), x[i]));
    UNROLL for (int i = 0; i < n_side; i++) q[i] = v_set(0x1.6a5e04p-10f);
    UNROLL for (int t = 0; t < 4; t++) UNROLL for (int i = 0; i < n_side; i++) q[i] = v_fma(q[i], x[i], v_set(term[t]));
    UNROLL for (int i = 0; i < n_side; i++) q[i] = v_fma(v_fma(q[i], x[i], v_set(1.0f)), x[i], v_set(1.0f));
    UNROLL for (int i = 0; i < n_side; i++) x[i] = v_scale(q[i], n[i]);
}

SIMD_INLINE vf v_exp(vf x)
{
    v_exp_of(1, &x);
    return x;
}

/* 1 / (1 + e^-x), through e^-|x| so that neither end loses digits. */
SIMD_INLINE vf v_sigmoid(vf x)
{
    vf e = v_exp(v_sub(v_set(0.0f), v_abs(x)));
    return v_div(v_lt(x, v_set(0.0f), e, v_set(1.0f)), v_add(v_set(1.0f), e));
}

/* Below 0.625 x + x^3 t(x^2) with t of degree 4 (minimax, relative error 4.6e-9), above 1 - 2 / (e^2|x| + 1) with x's sign. */
SIMD_INLINE vf v_tanh(vf x)
{
    vf a = v_abs(x), z = v_mul(x, x), t = v_set(-0x1.758facp-8f);
    vf big = v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(v_exp(v_add(a, a)), v_set(1.0f))));

    t = v_fma(t, z, v_set(0x1.5211c4p-6f));
    t = v_fma(t, z, v_set(-0x1.b838a0p-5f));
    t = v_fma(t, z, v_set(0x1.110704p-3f));
    t = v_fma(t, z, v_set(-0x1.555532p-2f));
    t = v_fma(v_mul(t, z), x, x);
    return v_lt(a, v_set(0.625f), t, v_lt(x, v_set(0.0f), v_sub(v_set(0.0f), big), big));
}
