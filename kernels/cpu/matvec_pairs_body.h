/* matvec_pairs_body.h - rows in pairs, for matvec_body.h with AVX2 alone. 16 bytes of row r and of row r + 4 are the halves of a
 * vector, which meets the same 16 activations twice. The products of eight rows, in four such vectors, are added up crosswise until a lane has
 * the sum of its row (merge). Rows are read as they lie in the file, from registers alone: there are too few of them to turn 256 values
 * of eight rows into words, and storing the words costs as much as all the rest.
 * Work: about 60 instructions for a block of 32 values of eight rows with codes of four bits. */

/* 16 bytes of row r, and of row r + 4. */
SIMD_INLINE vi pair(const uint8_t *b, steps s, int r)
{
    __m128i low = _mm_loadu_si128((const void *)row_of(b, s, r));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm_loadu_si128((const void *)row_of(b, s, r + 4)), 1);
}
SIMD_INLINE vi twice(const void *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(p)); }

/* The f16 at b of each row. */
SIMD_INLINE vf halves_of(const uint8_t *b, steps s)
{
    __m128i v = _mm_cvtsi32_si128(load_u16(b));
#define X(r) v = _mm_insert_epi16(v, load_u16(row_of(b, s, r)), r);
    X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#undef X
    return _mm256_cvtph_ps(v);
}
/* The byte at b of each row. */
SIMD_INLINE vi bytes_of(const uint8_t *b, steps s)
{
    __m128i v = _mm_cvtsi32_si128(*b);
#define X(r) v = _mm_insert_epi8(v, *row_of(b, s, r), r);
    X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#undef X
    return _mm256_cvtepu8_epi32(v);
}

/* Products of unsigned codes: sums of two in each int16. */
SIMD_INLINE vi times(vi code, vi x) { return _mm256_maddubs_epi16(code, x); }
/* Signed codes: sums of four in each int32. |code| is at most 128. */
SIMD_INLINE vi signed_times(vi code, vi x)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(x, code)), _mm256_set1_epi16(1));
}

/* m[k][i] has sums of block k, rows i and i + 4, eight int16 each: s[k] gets the sums of rows 0 .. 7 added. After a step sums are of
 * twice as many products and must fit into int16 again before they are packed: 32 products of codes up to 15, or 16 of codes up to 31,
 * may be packed to the end (narrow); 32 of codes up to 31, or 16 of codes up to 63, but once. Two blocks go side by side: each waits
 * for itself at every step. */
SIMD_INLINE void merge(vi *s, const vi (*m)[4], int n, bool narrow)
{
    const vi one = _mm256_set1_epi16(1);
    vi a[2][2];

    UNROLL
    for (int h = 0; h < 2; h++) {
        UNROLL
        for (int k = 0; k < n; k++) a[k][h] = _mm256_packs_epi32(_mm256_madd_epi16(m[k][2 * h], one), _mm256_madd_epi16(m[k][2 * h + 1], one));
    }
    UNROLL
    for (int k = 0; k < n; k++) a[k][0] = _mm256_madd_epi16(a[k][0], one), a[k][1] = _mm256_madd_epi16(a[k][1], one);
    UNROLL
    for (int k = 0; k < n; k++)
        s[k] = i_add(s[k], narrow ? _mm256_madd_epi16(_mm256_packs_epi32(a[k][0], a[k][1]), one) : _mm256_hadd_epi32(a[k][0], a[k][1]));
}
/* The same for sums in int32, four of each row. */
SIMD_INLINE void merge32(vi *s, const vi (*m)[4], int n)
{
    vi a[2][2];

    UNROLL
    for (int k = 0; k < n; k++) a[k][0] = _mm256_hadd_epi32(m[k][0], m[k][1]), a[k][1] = _mm256_hadd_epi32(m[k][2], m[k][3]);
    UNROLL
    for (int k = 0; k < n; k++) s[k] = i_add(s[k], _mm256_hadd_epi32(a[k][0], a[k][1]));
}

/* ------------------------------------------------------------ blocks of 32
 * ..._products: of one block, whose codes are at q, for merge or merge32. */

/* 16 bytes of nibbles. table NULL: the nibbles are the codes. more NULL, or what is added to the low and the high ones of each pair. */
SIMD_INLINE void nibble_products(vi m[4], const uint8_t *q, steps step, const uint8_t *x, const int8_t *table, const vi (*more)[2])
{
    vi x0 = twice(x), x1 = twice(x + 16);

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi v = pair(q, step, i), low = low_nibbles(v), high = high_nibbles(v);
        if (table) low = i_look(table, low), high = i_look(table, high);
        if (more) low = i_add8(low, more[i][0]), high = i_add8(high, more[i][1]);
        m[i] = _mm256_add_epi16(times(low, x0), times(high, x1));
        NOW(m[i]);
    }
}

SIMD_INLINE void signed_nibble_products(vi m[4], const uint8_t *q, steps step, const uint8_t *x)
{
    vi x0 = twice(x), x1 = twice(x + 16);

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi v = pair(q, step, i);
        m[i] = i_add(signed_times(i_look(iq4_codes, low_nibbles(v)), x0), signed_times(i_look(iq4_codes, high_nibbles(v)), x1));
        NOW(m[i]);
    }
}

SIMD_INLINE void byte_products(vi m[4], const uint8_t *q, steps step, const uint8_t *x)
{
    vi x0 = twice(x), x1 = twice(x + 16);

    UNROLL
    for (int i = 0; i < 4; i++) {
        m[i] = i_add(signed_times(pair(q, step, i), x0), signed_times(pair(q + 16, step, i), x1));
        NOW(m[i]);
    }
}

/* The word of fifth bits at b, 0..15 those of the low nibbles, then the nibbles. */
SIMD_INLINE void fifth_products(vi m[4], const uint8_t *b, steps step, const uint8_t *x)
{
    const vi mask = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    const vi first = _mm256_set_epi64x(0x0101010101010101, 0, 0x0101010101010101, 0), last = _mm256_add_epi8(first, i_bytes(2));
    vi more[4][2];

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi bits = _mm256_inserti128_si256(i_dwords(load_u32(row_of(b, step, i))), _mm_set1_epi32((int)load_u32(row_of(b, step, i + 4))), 1);
        vi low = i_and(_mm256_shuffle_epi8(bits, first), mask), high = i_and(_mm256_shuffle_epi8(bits, last), mask);
        more[i][0] = i_and(_mm256_cmpeq_epi8(low, mask), i_bytes(16)), more[i][1] = i_and(_mm256_cmpeq_epi8(high, mask), i_bytes(16));
    }
    nibble_products(m, b + 4, step, x, NULL, (const vi (*)[2])more);
}

/* Zero points 0..16 at z: codes - zero + 16 are 0..31. */
SIMD_INLINE void zero_point_products(vi m[4], const uint8_t *z, const uint8_t *q, steps step, const uint8_t *x)
{
    vi more[4][2];

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi zero = _mm256_inserti128_si256(i_bytes(*row_of(z, step, i)), _mm_set1_epi8((char)*row_of(z, step, i + 4)), 1);
        more[i][0] = more[i][1] = i_sub8(i_bytes(16), zero);
    }
    nibble_products(m, q, step, x, NULL, (const vi (*)[2])more);
}

/* Blocks of size bytes, most (1 or 2) at a time. start: what their sums begin with. */
#define BLOCKS(name, size, most, scale, has_min, start, products, merge_all) \
    SIMD_INLINE vf name##_few(const piece *p, int k0, int n, vf acc) \
    { \
        const steps step = p->step; \
        vi m[2][4], s[2]; \
        fetch_share(p, k0, n); \
        UNROLL \
        for (int k = 0; k < n; k++) { \
            const uint8_t *b = p->b + (k0 + k) * (size), *x = p->q + 32 * (k0 + k); \
            products; \
            s[k] = start; \
        } \
        merge_all; \
        UNROLL \
        for (int k = 0; k < n; k++) { \
            const uint8_t *b = p->b + (k0 + k) * (size); \
            acc = scaled(p, k0 + k, scale, s[k], acc); \
            if (has_min) acc = plus_min(p, k0 + k, halves_of(b + 2, step), acc); \
        } \
        return acc; \
    } \
    SIMD_INLINE vf name(const piece *p, int n_block, vf acc) \
    { \
        int k = 0; \
        for (; k + (most) <= n_block; k += (most)) acc = name##_few(p, k, most, acc); \
        return k < n_block ? name##_few(p, k, 1, acc) : acc; \
    }
#define CONST_M (const vi (*)[4])m

BLOCKS(chunk_q4_0, 18, 2, halves_of(b, step), false, ZERO(k0 + k), nibble_products(m[k], b + 2, step, x, NULL, NULL), merge(s, CONST_M, n, true))
BLOCKS(chunk_q4_1, 20, 2, halves_of(b, step), true, i_zero(), nibble_products(m[k], b + 4, step, x, NULL, NULL), merge(s, CONST_M, n, true))
BLOCKS(chunk_q5_0, 22, 1, halves_of(b, step), false, ZERO(k0 + k), fifth_products(m[k], b + 2, step, x), merge(s, CONST_M, n, false))
BLOCKS(chunk_q5_1, 24, 1, halves_of(b, step), true, i_zero(), fifth_products(m[k], b + 4, step, x), merge(s, CONST_M, n, false))
BLOCKS(chunk_q8_0, 34, 1, halves_of(b, step), false, i_zero(), byte_products(m[k], b + 2, step, x), merge32(s, CONST_M, n))
BLOCKS(chunk_iq4_nl, 18, 1, halves_of(b, step), false, i_zero(), signed_nibble_products(m[k], b + 2, step, x), merge32(s, CONST_M, n))
BLOCKS(chunk_mxfp4, 17, 2, exponent_scale(bytes_of(b, step), 0), false, ZERO(k0 + k), nibble_products(m[k], b + 1, step, x, mxfp4_plus16, NULL),
       merge(s, CONST_M, n, false))
BLOCKS(chunk_q4_g, 20, 1, halves_of(b, step), false, ZERO(k0 + k), zero_point_products(m[k], b + 2, b + 4, step, x), merge(s, CONST_M, n, false))

/* ------------------------------------------------------ super-blocks of 256 */

/* The f16 in the low and in the high half of each lane. */
SIMD_INLINE vf low_half(vi v) { return i_half(i_and(v, i_dwords(0xffff))); }
SIMD_INLINE vf high_half(vi v) { return i_half(i_shr(v, 16)); }

/* Sub-block b: half of the nibbles at q. high: fifth bits, or NULL. */
SIMD_INLINE void q45_products(vi m[4], const uint8_t *q, const uint8_t *high, int b, steps step, const uint8_t *x)
{
    vi x0 = twice(x), x1 = twice(x + 16);

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi c[2];
        UNROLL
        for (int h = 0; h < 2; h++) {
            vi v = pair(q + 16 * h, step, i);
            c[h] = b % 2 ? high_nibbles(v) : low_nibbles(v);
            if (high) {
                vi bit = pair(high + 16 * h, step, i);
                c[h] = i_or(c[h], i_and(b < 4 ? i_shl(bit, 4 - b) : i_shr(bit, b - 4), i_bytes(16)));
            }
        }
        m[i] = _mm256_add_epi16(times(c[0], x0), times(c[1], x1));
        NOW(m[i]);
    }
}

/* Q4_K, and Q5_K with its 32 bytes of fifth bits. */
SIMD_INLINE vf super_q45(const piece *p, vf acc, bool five)
{
    const steps step = p->step;
    const vi six = i_bytes(63), two = i_bytes(0x30);
    vi w[4], sc[2], mn[4];
    vf t = v_set(0.0f);

    field16(p->b, step, w);
    sc[0] = i_and(w[1], six), sc[1] = i_or(low_nibbles(w[3]), i_and(i_shr(w[1], 2), two));
    minima(i_and(w[2], six), mn), minima(i_or(high_nibbles(w[3]), i_and(i_shr(w[2], 2), two)), mn + 2);
    UNROLL
    for (int b = 0; b < 8; b++) {
        vi m[1][4], s[1] = { i_zero() };
        fetch_share(p, b, 1);
        q45_products(m[0], p->b + (five ? 48 : 16) + 32 * (b / 2), five ? p->b + 16 : NULL, b, step, p->q + 32 * b);
        merge(s, CONST_M, 1, !five);
        t = v_fma(i_float(byte_of(sc[b / 4], b % 4)), i_float(s[0]), t);
    }
    return less_min(p->sums, p->d, high_half(w[0]), mn, 4, super_scaled(p, low_half(w[0]), t, acc));
}
SIMD_INLINE vf chunk_q4_k(const piece *p, int n_block, vf acc) { (void)n_block; return super_q45(p, acc, false); }
SIMD_INLINE vf chunk_q5_k(const piece *p, int n_block, vf acc) { (void)n_block; return super_q45(p, acc, true); }

/* Rows 2h, 2h + 1, 2h + 4 and 2h + 5 of four sub-blocks of 16: low bits are the halves of 16 bytes at q and at q + 32, high ones of those at
 * high. a[g][h] gets the sums of four products in int16. */
SIMD_INLINE void q6_products(vi a[4][2], int h, const uint8_t *q, const uint8_t *high, steps step, const uint8_t *x)
{
    const vi one = _mm256_set1_epi16(1), two = i_bytes(0x30);
    vi m[4][2];

    UNROLL
    for (int i = 0; i < 2; i++) {
        vi q0 = pair(q, step, 2 * h + i), q1 = pair(q + 32, step, 2 * h + i), top = pair(high, step, 2 * h + i);
        m[0][i] = _mm256_madd_epi16(times(i_or(low_nibbles(q0), i_and(i_shl(top, 4), two)), twice(x)), one);
        m[1][i] = _mm256_madd_epi16(times(i_or(low_nibbles(q1), i_and(i_shl(top, 2), two)), twice(x + 32)), one);
        m[2][i] = _mm256_madd_epi16(times(i_or(high_nibbles(q0), i_and(top, two)), twice(x + 64)), one);
        m[3][i] = _mm256_madd_epi16(times(i_or(high_nibbles(q1), i_and(i_shr(top, 2), two)), twice(x + 96)), one);
        NOW(m[0][i]);
        NOW(m[1][i]);
        NOW(m[2][i]);
        NOW(m[3][i]);
    }
    UNROLL
    for (int g = 0; g < 4; g++) a[g][h] = _mm256_madd_epi16(_mm256_packs_epi32(m[g][0], m[g][1]), one);
}

/* 128 bytes of low bits, 64 of high ones, 16 of scales, d. */
SIMD_INLINE vf chunk_q6_k(const piece *p, int n_block, vf acc)
{
    const steps step = p->step;
    vi sc[4];
    vf t = v_set(0.0f);

    (void)n_block;
    field16(p->b + 192, step, sc);
    UNROLL
    for (int part = 0; part < 2; part++) {
        vi s[8];
        fetch_share(p, 4 * part, 4);
        UNROLL
        for (int k = 0; k < 2; k++) {
            vi a[4][2];
            UNROLL
            for (int h = 0; h < 2; h++) q6_products(a, h, p->b + 64 * part + 16 * k, p->b + 128 + 32 * part + 16 * k, step, p->q + 128 * part + 16 * k);
            UNROLL
            for (int g = 0; g < 4; g++) s[2 * g + k] = i_add(ZERO(8 * part + 2 * g + k), _mm256_hadd_epi32(a[g][0], a[g][1]));
        }
        UNROLL
        for (int b = 0; b < 8; b++) t = v_fma(i_float(signed_byte_of(sc[2 * part + b / 4], b % 4)), i_float(s[b]), t);
    }
    return super_scaled(p, halves_of(p->b + 208, step), t, acc);
}

/* Sub-blocks b and b + 1 of Q2_K, and of Q3_K with its 32 bytes of third bits. */
SIMD_INLINE void q23_products(vi m[2][4], const uint8_t *q, const uint8_t *high, int b, steps step, const uint8_t *x)
{
    UNROLL
    for (int k = 0; k < 2; k++) {
        vi xk = twice(x + 16 * k);
        UNROLL
        for (int i = 0; i < 4; i++) {
            vi c = i_and(i_shr(pair(q + 32 * (b / 8) + 16 * k, step, i), 2 * (b / 2 % 4)), i_bytes(3));
            if (high) c = i_or(c, i_shl(i_and(i_shr(pair(high + 16 * k, step, i), b / 2), i_bytes(1)), 2));
            m[k][i] = times(c, xk);
            NOW(m[k][i]);
        }
    }
}

SIMD_INLINE vf chunk_q2_k(const piece *p, int n_block, vf acc)
{
    const steps step = p->step;
    vi w[4], mn[8];
    vf t = v_set(0.0f);

    (void)n_block;
    field16(p->b, step, w);
    UNROLL
    for (int i = 0; i < 4; i++) minima(high_nibbles(w[i]), mn + 2 * i);
    UNROLL
    for (int b = 0; b < 16; b += 2) {
        vi m[2][4], s[2] = { i_zero(), i_zero() };
        fetch_share(p, b / 2, 1);
        q23_products(m, p->b + 16, NULL, b, step, p->q + 16 * b);
        merge(s, CONST_M, 2, true);
        t = v_fma(i_float(byte_of(low_nibbles(w[b / 4]), b % 4)), i_float(s[0]), t);
        t = v_fma(i_float(byte_of(low_nibbles(w[b / 4]), b % 4 + 1)), i_float(s[1]), t);
    }
    return less_min(p->sums, p->d, halves_of(p->b + 82, step), mn, 8, super_scaled(p, halves_of(p->b + 80, step), t, acc));
}

/* Codes 0..7: the stored bit takes 4 off where it is clear, so codes are 4 too high everywhere. */
SIMD_INLINE vf chunk_q3_k(const piece *p, int n_block, vf acc)
{
    const steps step = p->step;
    vi w[4], six[3], sc[4];
    vf t = v_set(0.0f);

    (void)n_block;
    field16(p->b + 94, step, w);              /* the 12 bytes of scales begin at 96, d is at 108 */
    UNROLL
    for (int g = 0; g < 3; g++) six[g] = i_or(i_shr(w[g], 16), i_shl(w[g + 1], 16));
    UNROLL
    for (int g = 0; g < 4; g++) {
        vi low = six[g % 2], high = i_and(i_shr(six[2], 2 * g), i_bytes(3));
        sc[g] = i_sub8(i_or(g < 2 ? low_nibbles(low) : high_nibbles(low), i_shl(high, 4)), i_bytes(32));
    }
    UNROLL
    for (int b = 0; b < 16; b += 2) {
        vi m[2][4], s[2] = { ZERO(b), ZERO(b + 1) };
        fetch_share(p, b / 2, 1);
        q23_products(m, p->b + 32, p->b, b, step, p->q + 16 * b);
        merge(s, CONST_M, 2, true);
        t = v_fma(i_float(signed_byte_of(sc[b / 4], b % 4)), i_float(s[0]), t);
        t = v_fma(i_float(signed_byte_of(sc[b / 4], b % 4 + 1)), i_float(s[1]), t);
    }
    return super_scaled(p, high_half(w[3]), t, acc);
}

SIMD_INLINE vf chunk_iq4_xs(const piece *p, int n_block, vf acc)
{
    const steps step = p->step;
    vi w[4], high;
    vf t = v_set(0.0f);

    (void)n_block;
    field16(p->b, step, w);
    high = i_shr(w[0], 16);
    UNROLL
    for (int b = 0; b < 8; b += 2) {
        vi m[2][4], s[2] = { i_zero(), i_zero() };
        fetch_share(p, b, 2);
        UNROLL
        for (int k = 0; k < 2; k++) signed_nibble_products(m[k], p->b + 8 + 16 * (b + k), step, p->q + 32 * (b + k));
        merge32(s, CONST_M, 2);
        UNROLL
        for (int k = 0; k < 2; k++) {
            vi sc = i_or(i_and(i_shr(w[1], 4 * (b + k)), i_dwords(15)), i_shl(i_and(i_shr(high, 2 * (b + k)), i_dwords(3)), 4));
            t = v_fma(i_float(i_sub(sc, i_dwords(32))), i_float(s[k]), t);
        }
    }
    return super_scaled(p, low_half(w[0]), t, acc);
}

/* -------------------------------------------------------------------- tiles */

#define ROWS(type, size, values) \
    static void rows_##type(const tile_args *a, float *y) \
    { \
        const int chunk_bytes = CHUNK / (values) * (size); \
        for (int h = 0; h < TILE_ROWS; h += VN) { \
            piece p = { a->b + (size_t)h * a->row_bytes, a->step, NULL, a->x->q, a->x->zero, a->x->d, a->x->s, a->x->sums, \
                        a->ahead + (size_t)h * a->row_bytes, VN * chunk_bytes / MAX_BLOCK }; \
            vf acc = v_set(0.0f); \
            for (int64_t k = 0; k < a->cols; k += CHUNK) { \
                acc = chunk_##type(&p, a->cols - k < CHUNK ? (int)(a->cols - k) / 32 : MAX_BLOCK, acc); \
                p.b += chunk_bytes, p.ahead += VN * chunk_bytes; \
                p.q += CHUNK, p.d += a->x->d_step, p.s += a->x->d_step, p.zero += a->x->zero_step, p.sums += a->x->sum_step; \
            } \
            v_store(y + h, acc); \
        } \
    }

/* Activations are met where they are. */
static const uint8_t *x_turn(const uint8_t *q, int64_t n, const way *how, int size, uint8_t *to)
{
    (void)n, (void)how, (void)size, (void)to;
    return q;
}
