/* attend_dots_body.h - scores against keys of 8 bits: sums of products of codes are whole numbers, so only the steps at the
 * end of every group of 32 round (attend_ref.c). Four codes of a key lie together (kv.h), and meet four codes of the query in
 * every 32-bit lane. Bound: the bytes of the keys for few rows; for many 8 multiply-adds and 3 float operations a group, a
 * third of what floats take. */

/* Rows that fit the registers beside their sums as floats; two vectors of keys each. */
enum { DOT_NV = 2, DOT_COLS = DOT_NV * VN };
#if defined(SIMD_AVX512)
enum { DOT_ROWS = 6 };
typedef __m512i vi;             /* keys are made unsigned by adding 128, which start takes off again */
SIMD_INLINE vi i_keys(const uint8_t *p) { return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128)); }
SIMD_INLINE vi i_start(int32_t sum) { return _mm512_set1_epi32(-128 * sum); }
SIMD_INLINE vi i_dot(vi acc, vi k, int32_t q) { return _mm512_dpbusd_epi32(acc, k, _mm512_set1_epi32(q)); }
SIMD_INLINE vf i_float(vi a) { return _mm512_cvtepi32_ps(a); }
#elif defined(SIMD_AVX2)
enum { DOT_ROWS = 2 };
typedef __m256i vi;             /* |k| * (q with k's sign): two such products are at most 2 * 127 * 127 < 2^15 */
SIMD_INLINE vi i_keys(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
SIMD_INLINE vi i_start(int32_t sum) { (void)sum; return _mm256_setzero_si256(); }
SIMD_INLINE vi i_dot(vi acc, vi k, int32_t q)
{
    vi pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(k), _mm256_sign_epi8(_mm256_set1_epi32(q), k));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
SIMD_INLINE vf i_float(vi a) { return _mm256_cvtepi32_ps(a); }
#else
enum { DOT_ROWS = 4 };
typedef int32x4_t vi;
SIMD_INLINE vi i_keys(const uint8_t *p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
SIMD_INLINE vi i_start(int32_t sum) { (void)sum; return vdupq_n_s32(0); }
SIMD_INLINE vi i_dot(vi acc, vi k, int32_t q) { return vdotq_s32(acc, vreinterpretq_s8_s32(k), vreinterpretq_s8_s32(vdupq_n_s32(q))); }
SIMD_INLINE vf i_float(vi a) { return vcvtq_f32_s32(a); }
#endif

/* Rounded queries in w->q: codes [tile, d_k], then factors and sums of codes [tile, d_k / 32]. */
typedef struct { int8_t *code; float *unit; int32_t *sum; int d_k, groups; } dot_rows;

static dot_rows dots_at(const attend_job *j, const attend_work *w, int row)
{
    int d_k = j->kv->d_k, groups = d_k / KV_GROUP;
    float *unit = w->q + ATTEND_TILE * d_k / 4;

    return (dot_rows){ (int8_t *)w->q + row * d_k, unit + row * groups, (int32_t *)(void *)(unit + ATTEND_TILE * groups) + row * groups, d_k, groups };
}

static void dot_query(const attend_job *j, attend_work *w, int row, const float *q)
{
    dot_rows r = dots_at(j, w, row);
    uint16_t scale[ATTEND_MAX_D / KV_GROUP];

    j->row->to_q8(scale, r.code, q, r.d_k);
    for (int g = 0; g < r.groups; g++) {
        r.unit[g] = f16_to_float(scale[g]), r.sum[g] = 0;
        for (int i = 0; i < KV_GROUP; i++) r.sum[g] += r.code[g * KV_GROUP + i];
    }
}

/* Scores of mr rows against DOT_COLS keys, the first of which is at `key` of the block's first group. ahead: fetched meanwhile, pace bytes
 * with each group. */
SIMD_INLINE void dot_micro(int mr, float *p, dot_rows r, const uint8_t *block, int key, const uint8_t *ahead, size_t pace)
{
    vf s[DOT_ROWS][DOT_NV];

    UNROLL for (int i = 0; i < mr; i++) UNROLL for (int v = 0; v < DOT_NV; v++) s[i][v] = v_set(0.0f);
    for (int g = 0; g < r.groups; g++, block += KV_GROUP_BYTES) {
        const uint8_t *codes = block + KV_BLOCK * 2 + key * 4;
        vi acc[DOT_ROWS][DOT_NV];
        fetch(ahead, pace), ahead += pace;
        UNROLL for (int i = 0; i < mr; i++) UNROLL for (int v = 0; v < DOT_NV; v++) acc[i][v] = i_start(r.sum[i * r.groups + g]);
        for (int d = 0; d < KV_GROUP; d += 4, codes += KV_BLOCK * 4) {
            vi y[DOT_NV];
            UNROLL for (int v = 0; v < DOT_NV; v++) y[v] = i_keys(codes + v * VN * 4);
            UNROLL for (int i = 0; i < mr; i++) {
                int32_t q;
                memcpy(&q, r.code + i * r.d_k + g * KV_GROUP + d, sizeof q);
                UNROLL for (int v = 0; v < DOT_NV; v++) acc[i][v] = i_dot(acc[i][v], y[v], q);
            }
        }
        UNROLL for (int v = 0; v < DOT_NV; v++) {
            vf unit = v_load_f16((const uint16_t *)(const void *)block + key + v * VN);
            UNROLL for (int i = 0; i < mr; i++) s[i][v] = v_fma(i_float(acc[i][v]), v_mul(v_set(r.unit[i * r.groups + g]), unit), s[i][v]);
        }
    }
    UNROLL for (int i = 0; i < mr; i++) UNROLL for (int v = 0; v < DOT_NV; v++) v_store(p + i * KV_BLOCK + v * VN, s[i][v]);
}

/* As scores() of attend_body.h, for keys of 8 bits. */
static void dot_scores(const attend_job *j, const attend_tile *t, attend_work *w, const sides *s, int64_t base, int first, int last)
{
    int b, b1, e0, e;

    for (int i = first, m; i < last; i += m) {
        dot_rows r = dots_at(j, w, i);
        bool fetches = i == first && s->ahead_k;
        const uint8_t *ahead = fetches ? s->ahead_k : s->k.b;
        m = (last - i + DOT_ROWS - 1) / DOT_ROWS, m = (last - i + m - 1) / m;
        key_range(j, t, base, i / t->heads, &b, &e0);
        key_range(j, t, base, (i + m - 1) / t->heads, &b1, &e);
        b = b / DOT_COLS * DOT_COLS;
        int groups = (e - b + DOT_COLS - 1) / DOT_COLS * r.groups;
        size_t pace = fetches ? (s->k_bytes / (size_t)groups + 63) & ~(size_t)63 : 0;
        for (; b < e; b += DOT_COLS) {
            float *p = w->p + i * KV_BLOCK + b;
            switch (m) {
            case 1: dot_micro(1, p, r, s->k.b, b, ahead, pace); break;
            case 2: dot_micro(2, p, r, s->k.b, b, ahead, pace); break;
            case 3: dot_micro(DOT_ROWS > 2 ? 3 : 1, p, r, s->k.b, b, ahead, pace); break;
            case 4: dot_micro(DOT_ROWS > 2 ? 4 : 1, p, r, s->k.b, b, ahead, pace); break;
            case 5: dot_micro(DOT_ROWS > 4 ? 5 : 1, p, r, s->k.b, b, ahead, pace); break;
            case 6: dot_micro(DOT_ROWS > 4 ? 6 : 1, p, r, s->k.b, b, ahead, pace); break;
            }
            ahead += (size_t)r.groups * pace;
        }
    }
}
