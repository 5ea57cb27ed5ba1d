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

/* m[i] has sums of rows i and i + 4, eight int16 each: the sums of rows 0 .. 7. After a step sums are of twice as many products and must
 * fit into int16 again before they are packed: 32 products of codes up to 15, or 16 of codes up to 31, may be packed to the
 * end (narrow); 32 of codes up to 31, or 16 of codes up to 63, but once. */
SIMD_INLINE vi merge(const vi m[4], bool narrow)
{
    const vi one = _mm256_set1_epi16(1);
    vi a = _mm256_madd_epi16(_mm256_packs_epi32(_mm256_madd_epi16(m[0], one), _mm256_madd_epi16(m[1], one)), one);
    vi b = _mm256_madd_epi16(_mm256_packs_epi32(_mm256_madd_epi16(m[2], one), _mm256_madd_epi16(m[3], one)), one);

    return narrow ? _mm256_madd_epi16(_mm256_packs_epi32(a, b), one) : _mm256_hadd_epi32(a, b);
}
/* The same for sums in int32, four of each row. */
SIMD_INLINE vi merge32(const vi m[4]) { return _mm256_hadd_epi32(_mm256_hadd_epi32(m[0], m[1]), _mm256_hadd_epi32(m[2], m[3])); }

/* ------------------------------------------------------------ blocks of 32 */

/* s + the sums of blocks whose 16 bytes of nibbles are at q. table NULL: the nibbles are the codes. more NULL, or what is added to
 * the low and the high ones of each pair. */
SIMD_INLINE vi nibble_sum(vi s, const uint8_t *q, steps step, const uint8_t *x, const int8_t *table, const vi (*more)[2])
{
    vi x0 = twice(x), x1 = twice(x + 16), m[4];

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi v = pair(q, step, i), low = low_nibbles(v), high = high_nibbles(v);
        if (table) low = i_look(table, low), high = i_look(table, high);
        if (more) low = i_add8(low, more[i][0]), high = i_add8(high, more[i][1]);
        m[i] = _mm256_add_epi16(times(low, x0), times(high, x1));
        __asm__("" : "+x"(m[i]));
    }
    return i_add(s, merge(m, table == NULL && more == NULL));
}

SIMD_INLINE vi signed_nibble_sum(const uint8_t *q, steps step, const uint8_t *x, const int8_t *table)
{
    vi x0 = twice(x), x1 = twice(x + 16), m[4];

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi v = pair(q, step, i);
        m[i] = i_add(signed_times(i_look(table, low_nibbles(v)), x0), signed_times(i_look(table, high_nibbles(v)), x1));
        __asm__("" : "+x"(m[i]));
    }
    return merge32(m);
}

SIMD_INLINE vi byte_sum(const uint8_t *q, steps step, const uint8_t *x)
{
    vi x0 = twice(x), x1 = twice(x + 16), m[4];

    UNROLL
    for (int i = 0; i < 4; i++) {
        m[i] = i_add(signed_times(pair(q, step, i), x0), signed_times(pair(q + 16, step, i), x1));
        __asm__("" : "+x"(m[i]));
    }
    return merge32(m);
}

/* 16 where the fifth bit is set: bits 0..15 of the word at b are those of the low nibbles. */
SIMD_INLINE vi fifth_sum(vi s, const uint8_t *b, steps step, const uint8_t *x)
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
    return nibble_sum(s, b + 4, step, x, NULL, (const vi (*)[2])more);
}

/* Zero points 0..16 at z: codes - zero + 16 are 0..31. */
SIMD_INLINE vi zero_point_sum(vi s, const uint8_t *z, const uint8_t *q, steps step, const uint8_t *x)
{
    vi more[4][2];

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi zero = _mm256_inserti128_si256(i_bytes(*row_of(z, step, i)), _mm_set1_epi8((char)*row_of(z, step, i + 4)), 1);
        more[i][0] = more[i][1] = i_sub8(i_bytes(16), zero);
    }
    return nibble_sum(s, q, step, x, NULL, (const vi (*)[2])more);
}

#define BLOCKS(name, size, has_min, scale, sum) \
    SIMD_INLINE vf name(const piece *p, int n_block, vf acc) \
    { \
        const steps step = p->step; \
        const uint8_t *b = p->b, *x = p->q; \
        for (int k = 0; k < n_block; k++, b += (size), x += 32) { \
            fetch_share(p, k, 1); \
            acc = scaled(p, k, scale, sum, acc); \
            if (has_min) acc = plus_min(p, k, halves_of(b + 2, step), acc); \
        } \
        return acc; \
    }

BLOCKS(chunk_q4_0, 18, false, halves_of(b, step), nibble_sum(ZERO(k), b + 2, step, x, NULL, NULL))
BLOCKS(chunk_q4_1, 20, true, halves_of(b, step), nibble_sum(i_zero(), b + 4, step, x, NULL, NULL))
BLOCKS(chunk_q5_0, 22, false, halves_of(b, step), fifth_sum(ZERO(k), b + 2, step, x))
BLOCKS(chunk_q5_1, 24, true, halves_of(b, step), fifth_sum(i_zero(), b + 4, step, x))
BLOCKS(chunk_q8_0, 34, false, halves_of(b, step), byte_sum(b + 2, step, x))
BLOCKS(chunk_iq4_nl, 18, false, halves_of(b, step), signed_nibble_sum(b + 2, step, x, iq4_codes))
BLOCKS(chunk_mxfp4, 17, false, exponent_scale(bytes_of(b, step), 0), nibble_sum(ZERO(k), b + 1, step, x, mxfp4_plus16, NULL))
BLOCKS(chunk_q4_g, 20, false, halves_of(b, step), zero_point_sum(ZERO(k), b + 2, b + 4, step, x))

/* ------------------------------------------------------ super-blocks of 256 */

/* The f16 in the low and in the high half of each lane. */
SIMD_INLINE vf low_half(vi v) { return i_half(i_and(v, i_dwords(0xffff))); }
SIMD_INLINE vf high_half(vi v) { return i_half(i_shr(v, 16)); }

/* Q4_K, and Q5_K with its 32 bytes of fifth bits. */
SIMD_INLINE vf super_q45(const piece *p, vf acc, bool five)
{
    const steps step = p->step;
    const vi six = i_bytes(63), two = i_bytes(0x30);
    vi w[4], sc[2], mn[4], m[4];
    vf t = v_set(0.0f);

    field16(p->b, step, w);
    sc[0] = i_and(w[1], six), sc[1] = i_or(low_nibbles(w[3]), i_and(i_shr(w[1], 2), two));
    minima(i_and(w[2], six), mn), minima(i_or(high_nibbles(w[3]), i_and(i_shr(w[2], 2), two)), mn + 2);
    UNROLL
    for (int b = 0; b < 8; b++) {
        const uint8_t *q = p->b + (five ? 48 : 16) + 32 * (b / 2);
        vi x0 = twice(p->q + 32 * b), x1 = twice(p->q + 32 * b + 16);
        fetch_share(p, b, 1);
        UNROLL
        for (int i = 0; i < 4; i++) {
            vi c[2];
            UNROLL
            for (int h = 0; h < 2; h++) {
                vi v = pair(q + 16 * h, step, i);
                c[h] = b % 2 ? high_nibbles(v) : low_nibbles(v);
                if (five) {
                    vi bit = pair(p->b + 16 + 16 * h, step, i);
                    c[h] = i_or(c[h], i_and(b < 4 ? i_shl(bit, 4 - b) : i_shr(bit, b - 4), i_bytes(16)));
                }
            }
            m[i] = _mm256_add_epi16(times(c[0], x0), times(c[1], x1));
            __asm__("" : "+x"(m[i]));
        }
        t = v_fma(i_float(byte_of(sc[b / 4], b % 4)), i_float(merge(m, !five)), t);
    }
    return super_min(p, high_half(w[0]), mn, 4, super_scaled(p, low_half(w[0]), t, acc));
}
SIMD_INLINE vf chunk_q4_k(const piece *p, int n_block, vf acc) { (void)n_block; return super_q45(p, acc, false); }
SIMD_INLINE vf chunk_q5_k(const piece *p, int n_block, vf acc) { (void)n_block; return super_q45(p, acc, true); }

/* 128 bytes of low bits, 64 of high ones, 16 of scales, d. 32 values of half a super-block share shifts. */
SIMD_INLINE vf chunk_q6_k(const piece *p, int n_block, vf acc)
{
    const steps step = p->step;
    vi sc[4], m[4];
    vf t = v_set(0.0f);

    (void)n_block;
    field16(p->b + 192, step, sc);
    UNROLL
    for (int b = 0; b < 16; b++) {
        int part = b / 8, g = b / 2 % 4;
        vi x = twice(p->q + 16 * b);
        if (b % 2 == 0) fetch_share(p, b / 2, 1);
        UNROLL
        for (int i = 0; i < 4; i++) {
            vi q = pair(p->b + 64 * part + 32 * (g % 2) + 16 * (b % 2), step, i), h = pair(p->b + 128 + 32 * part + 16 * (b % 2), step, i);
            h = g == 0 ? i_shl(h, 4) : g == 1 ? i_shl(h, 2) : g == 2 ? h : i_shr(h, 2);
            m[i] = times(i_or(g < 2 ? low_nibbles(q) : high_nibbles(q), i_and(h, i_bytes(0x30))), x);
            __asm__("" : "+x"(m[i]));
        }
        t = v_fma(i_float(signed_byte_of(sc[b / 4], b % 4)), i_float(i_add(ZERO(b), merge(m, false))), t);
    }
    return super_scaled(p, halves_of(p->b + 208, step), t, acc);
}

SIMD_INLINE vf chunk_q2_k(const piece *p, int n_block, vf acc)
{
    const steps step = p->step;
    vi w[4], mn[8], m[4];
    vf t = v_set(0.0f);

    (void)n_block;
    field16(p->b, step, w);
    UNROLL
    for (int i = 0; i < 4; i++) minima(high_nibbles(w[i]), mn + 2 * i);
    UNROLL
    for (int b = 0; b < 16; b++) {
        vi x = twice(p->q + 16 * b);
        if (b % 2 == 0) fetch_share(p, b / 2, 1);
        UNROLL
        for (int i = 0; i < 4; i++) {
            m[i] = times(i_and(i_shr(pair(p->b + 16 + 32 * (b / 8) + 16 * (b % 2), step, i), 2 * (b / 2 % 4)), i_bytes(3)), x);
            __asm__("" : "+x"(m[i]));
        }
        t = v_fma(i_float(byte_of(low_nibbles(w[b / 4]), b % 4)), i_float(merge(m, true)), t);
    }
    return super_min(p, halves_of(p->b + 82, step), mn, 8, super_scaled(p, halves_of(p->b + 80, step), t, acc));
}

/* Codes 0..7: the stored bit takes 4 off where it is clear, so codes are 4 too high everywhere. */
SIMD_INLINE vf chunk_q3_k(const piece *p, int n_block, vf acc)
{
    const steps step = p->step;
    vi w[4], six[3], sc[4], m[4];
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
    for (int b = 0; b < 16; b++) {
        vi x = twice(p->q + 16 * b);
        if (b % 2 == 0) fetch_share(p, b / 2, 1);
        UNROLL
        for (int i = 0; i < 4; i++) {
            vi q = i_shr(pair(p->b + 32 + 32 * (b / 8) + 16 * (b % 2), step, i), 2 * (b / 2 % 4));
            vi bit = i_and(i_shr(pair(p->b + 16 * (b % 2), step, i), b / 2), i_bytes(1));
            m[i] = times(i_or(i_and(q, i_bytes(3)), i_shl(bit, 2)), x);
            __asm__("" : "+x"(m[i]));
        }
        t = v_fma(i_float(signed_byte_of(sc[b / 4], b % 4)), i_float(i_add(ZERO(b), merge(m, true))), t);
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
    for (int b = 0; b < 8; b++) {
        vi sc = i_or(i_and(i_shr(w[1], 4 * b), i_dwords(15)), i_shl(i_and(i_shr(high, 2 * b), i_dwords(3)), 4));
        fetch_share(p, b, 1);
        t = v_fma(i_float(i_sub(sc, i_dwords(32))), i_float(signed_nibble_sum(p->b + 8 + 16 * b, step, p->q + 32 * b, iq4_codes)), t);
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
ROWS(q4_0, 18, 32)
ROWS(q4_1, 20, 32)
ROWS(q5_0, 22, 32)
ROWS(q5_1, 24, 32)
ROWS(q8_0, 34, 32)
ROWS(iq4_nl, 18, 32)
ROWS(mxfp4, 17, 32)
ROWS(q4_g, 20, 32)
ROWS(q2_k, 84, 256)
ROWS(q3_k, 110, 256)
ROWS(q4_k, 144, 256)
ROWS(q5_k, 176, 256)
ROWS(q6_k, 210, 256)
ROWS(iq4_xs, 136, 256)

/* Activations are met where they are. */
static const uint8_t *x_turn(const uint8_t *q, int64_t n, const way *how, int size, uint8_t *to)
{
    (void)n, (void)how, (void)size, (void)to;
    return q;
}
