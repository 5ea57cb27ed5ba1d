/* x_group_body.h - rows of x put side by side (x_group.h) for one instruction set. Included by product_body.h.
 * Bound by shuffles: a dword of a record needs about three of them a group. */

#if defined(SIMD_DPBUSD)
enum { CODE_FLIP = (int)0x80808080 };
#else
enum { CODE_FLIP = 0 };
#endif

/* n dwords at `at` of each record: [n][GROUP] from out on. */
static void cross_dwords(const uint8_t *const p[GROUP], size_t at, int n, uint32_t flip, void *out)
{
    uint8_t *to = out;

    for (int i = 0; i + 4 <= n; i += 4) cross8(p, at + 4 * (size_t)i, flip, to + (size_t)i * X_STEP, X_STEP);
    for (int i = n & ~3; i < n; i++)
        for (int c = 0; c < GROUP; c++) {
            uint32_t v = load_u32(p[c] + at + 4 * (size_t)i) ^ flip;
            memcpy(to + (size_t)i * X_STEP + 4 * c, &v, 4);
        }
}

/* The same of codes, n a multiple of 8. */
#if defined(SIMD_I8MM)
static void cross_codes(const uint8_t *const p[GROUP], size_t at, int n, void *out)
{
    uint8_t *to = out;

    for (int i = 0; i < n; i += 4, at += 16, to += 4 * X_STEP)
        for (int h = 0; h < GROUP; h += 2) {            /* the order of codes_order, with columns for rows */
            int64x2_t a = vreinterpretq_s64_s32(i_load(p[h] + at)), b = vreinterpretq_s64_s32(i_load(p[h + 1] + at));
            uint8_t *first = to + h / 4 * 16 + h % 4 / 2 * X_STEP;
            i_store(first, vreinterpretq_s32_s64(vzip1q_s64(a, b)));
            i_store(first + 2 * X_STEP, vreinterpretq_s32_s64(vzip2q_s64(a, b)));
        }
}
#else
static void cross_codes(const uint8_t *const p[GROUP], size_t at, int n, void *out) { cross_dwords(p, at, n, (uint32_t)CODE_FLIP, out); }
#endif

/* start of x_chunk32 and x_chunk256: n sums of n_vec vectors of q each, shifted by 4 or 5. */
#if defined(SIMD_MADDUBS)
static void sum_halves(uint8_t (*q)[GROUP][4], int n, int n_vec, int shift, int16_t (*out)[GROUP][2])
{
    for (int b = 0; b < n; b++, q += n_vec) {
        vi sum = i_zero();
        for (int k = 0; k < n_vec; k++) sum = _mm256_sub_epi16(sum, _mm256_maddubs_epi16(i_bytes(1), i_load(q[k])));
        i_store(out[b], _mm256_slli_epi16(sum, shift));
    }
}
#define SUM_HALVES(...) sum_halves(__VA_ARGS__)
#else
#define SUM_HALVES(...) ((void)0)
#endif

static void group_q32(const uint8_t *const p[GROUP], int64_t cols, x_chunk32 *out)
{
    x_layout l = x_layout_of(X_Q32, cols);

    for (size_t i = 0; (int64_t)i * CHUNK < cols; i++, out++) {
        int n = (int)(cols - (int64_t)i * CHUNK < CHUNK ? (cols - (int64_t)i * CHUNK) / 32 : MAX_BLOCK);
        cross_codes(p, CHUNK * i, 8 * n, out->q);
        cross_dwords(p, l.d + 32 * i, n, 0, out->d);
        cross_dwords(p, l.s + 32 * i, n, 0, out->s);
        SUM_HALVES(out->q, n, 8, 4, out->start);
    }
}

static void group_q256(const uint8_t *const p[GROUP], int64_t cols, x_chunk256 *out)
{
    x_layout l = x_layout_of(X_Q256, cols);

    for (size_t i = 0; (int64_t)i * CHUNK < cols; i++, out++) {
        cross_codes(p, CHUNK * i, CHUNK / 4, out->q);
        cross_dwords(p, l.sum32 + 16 * i, 4, 0, out->sum32);
        cross_dwords(p, l.sum16 + 32 * i, 8, 0, out->sum16);
        cross_dwords(p, l.d + 4 * i, 1, 0, out->d);
        SUM_HALVES(out->q, 16, 4, 5, out->start);
    }
}

static void group_f32(const uint8_t *const p[GROUP], int64_t cols, float *out)
{
    size_t n = ((size_t)cols + 15) / 16, chain = n * GROUP;         /* floats of one partial sum */

    for (size_t i = 0; i < (size_t)cols / 16; i++)
        for (size_t q = 0; q < 4; q++) cross8(p, 64 * i + 16 * q, 0, (uint8_t *)(out + 4 * q * chain + i * GROUP), chain * sizeof *out);
    for (int64_t k = cols & ~(int64_t)15; k < (int64_t)n * 16; k++)
        for (int c = 0; c < GROUP; c++) {
            float v = 0.0f;
            if (k < cols) memcpy(&v, p[c] + 4 * k, sizeof v);
            out[(size_t)(k % 16) * chain + (size_t)(k / 16) * GROUP + (size_t)c] = v;
        }
}

static void group_rows(x_form form, const uint8_t *const row[GROUP], int64_t cols, uint8_t *group)
{
    if (form == X_Q32) group_q32(row, cols, (x_chunk32 *)(void *)group);
    else if (form == X_Q256) group_q256(row, cols, (x_chunk256 *)(void *)group);
    else group_f32(row, cols, (float *)(void *)group);
}
