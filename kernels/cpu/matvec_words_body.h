/* matvec_words_body.h - rows as words, for matvec_body.h. 256 values of VN rows at a time are turned, 4 bytes by 4 bytes as they lie
 * in the file, scales and all: word i holds bytes 4i .. 4i+3 of each row. Every block then finds its parts at the same bytes of the
 * words; codes that straddle words are met by activations rotated likewise (x_turn). Half of what is prefetched for a chunk is so while words
 * are turned, half among the sums. Work beside that is about 90 instructions for a block of 32 values of 16 rows with AVX-512. */

enum { MAX_WORD = 68 };

/* s + products of n vectors of codes with 4 n activations. */
SIMD_INLINE vi dots(vi s, const vi *v, int n, const uint8_t *x, bool is_signed)
{
    UNROLL
    for (int k = 0; k < n; k++) s = i_dot8(s, v[k], i_dword(x + 4 * k), is_signed);
    return s;
}

/* ------------------------------------------------------------ blocks of 32 */

/* n words of codes from byte `at` on; where that is no multiple of 4, the first word takes its first bytes from behind the last. */
SIMD_INLINE void codes_at(const uint32_t (*w)[VN], int at, int n, vi *out)
{
    UNROLL
    for (int i = 0; i < n; i++) out[i] = i_load(w[at / 4 + i]);
    if (at % 4 != 0) {
        vi first = i_dwords((1u << 8 * (at % 4)) - 1);
        out[0] = i_or(i_andnot(first, out[0]), i_and(first, i_load(w[at / 4 + n])));
    }
}

/* Sums of the block whose 16 bytes of nibbles are at `at`. table NULL: the nibbles are the codes. */
SIMD_INLINE vi nibble_sum(vi s, const uint32_t (*w)[VN], int at, const uint8_t *x, const int8_t *table, bool is_signed)
{
    vi v[4], c[8];

    codes_at(w, at, 4, v);
    UNROLL
    for (int i = 0; i < 4; i++) {
        c[i] = table ? i_look(table, low_nibbles(v[i])) : low_nibbles(v[i]);
        c[4 + i] = table ? i_look(table, high_nibbles(v[i])) : high_nibbles(v[i]);
    }
    return dots(s, c, 8, x, is_signed);
}

/* The same with `add` added to each nibble's byte (Q4_G), or with fifth bits. */
SIMD_INLINE vi nibble_sum_plus(vi s, const uint32_t (*w)[VN], int at, const uint8_t *x, vi add)
{
    vi v[4], c[8];

    codes_at(w, at, 4, v);
    UNROLL
    for (int i = 0; i < 4; i++) c[i] = i_add8(low_nibbles(v[i]), add), c[4 + i] = i_add8(high_nibbles(v[i]), add);
    return dots(s, c, 8, x, false);
}

SIMD_INLINE vi nibble_sum_fifth(vi s, const uint32_t (*w)[VN], int at, const uint8_t *x, vi bits)
{
    vi v[4], c[8];

    codes_at(w, at, 4, v);
    UNROLL
    for (int i = 0; i < 4; i++) c[i] = i_or(low_nibbles(v[i]), i_bit16(bits, i)), c[4 + i] = i_or(high_nibbles(v[i]), i_bit16(bits, 4 + i));
    return dots(s, c, 8, x, false);
}

SIMD_INLINE vi byte_sum(vi s, const uint32_t (*w)[VN], int at, const uint8_t *x)
{
    vi v[8];

    codes_at(w, at, 8, v);
    UNROLL
    for (int i = 0; i < 8; i++) v[i] = i_xor(v[i], i_bytes(SIGNED_FLIP));
    return dots(s, v, 8, x, true);
}

/* Blocks of 18, 22 and 34 bytes go in pairs, whose scales are the low half of word 0 and the high half of the middle word. */
SIMD_INLINE void pair_scales(const uint32_t (*w)[VN], int middle, vf d[2])
{
    vi low = i_dwords(0xffff);
    halves(i_or(i_and(low, i_load(w[0])), i_andnot(low, i_load(w[middle]))), &d[0], &d[1]);
}

#define PAIRS(name, size, sum0, sum1) \
    SIMD_INLINE vf name(const piece *p, int n_block, vf acc) \
    { \
        const uint32_t (*w)[VN] = p->w; \
        for (int k = 0; k < n_block; k += 2, w += (size) / 2) { \
            const uint8_t *x = p->q + 32 * k; \
            vf d[2]; \
            fetch_share(p, k, 2); \
            pair_scales(w, (size) / 4, d); \
            acc = scaled(p, k, d[0], sum0, acc); \
            if (k + 1 == n_block) break; \
            x += 32; \
            acc = scaled(p, k + 1, d[1], sum1, acc); \
        } \
        return acc; \
    }

/* Fifth bits of a pair: 16 bits lie in the high half of word 0 and the low half of word 1, and codes are rotated by two. */
SIMD_INLINE vi first_bits(const uint32_t (*w)[VN])
{
    vi b = i_or(i_shr(i_load(w[0]), 16), i_shl(i_load(w[1]), 16));
    return i_or(i_and(i_shl(b, 2), i_dwords(0xfffcfffc)), i_and(i_shr(b, 14), i_dwords(0x00030003)));
}

PAIRS(chunk_q4_0, 18, nibble_sum(ZERO(k), w, 2, x, NULL, false), nibble_sum(ZERO(k + 1), w, 20, x, NULL, false))
PAIRS(chunk_iq4_nl, 18, nibble_sum(ZERO(k), w, 2, x, iq4_codes, true), nibble_sum(ZERO(k + 1), w, 20, x, iq4_codes, true))
PAIRS(chunk_q5_0, 22, nibble_sum_fifth(ZERO(k), w, 6, x, first_bits(w)), nibble_sum_fifth(ZERO(k + 1), w, 28, x, i_load(w[6])))
PAIRS(chunk_q8_0, 34, byte_sum(ZERO(k), w, 2, x), byte_sum(ZERO(k + 1), w, 36, x))

#define SINGLES(name, size, has_min, sum) \
    SIMD_INLINE vf name(const piece *p, int n_block, vf acc) \
    { \
        const uint32_t (*w)[VN] = p->w; \
        for (int k = 0; k < n_block; k++, w += (size) / 4) { \
            const uint8_t *x = p->q + 32 * k; \
            vf d, m; \
            fetch_share(p, k, 1); \
            halves(i_load(w[0]), &d, &m); \
            acc = scaled(p, k, d, sum, acc); \
            if (has_min) acc = plus_min(p, k, m, acc); \
        } \
        return acc; \
    }

/* Zero points 0..16: codes - zero + 16 are 0..31. */
SIMD_INLINE vi q4_g_add(vi head)
{
    vi z = i_sub(i_dwords(16), byte_of(head, 2));
    z = i_or(z, i_shl(z, 8));
    return i_or(z, i_shl(z, 16));
}

SINGLES(chunk_q4_1, 20, true, nibble_sum(i_zero(), w, 4, x, NULL, false))
SINGLES(chunk_q5_1, 24, true, nibble_sum_fifth(i_zero(), w, 8, x, i_load(w[1])))
SINGLES(chunk_q4_g, 20, false, nibble_sum_plus(ZERO(k), w, 4, x, q4_g_add(i_load(w[0]))))

/* 17 bytes: in fours, where block j begins at byte j of word 4j. */
SIMD_INLINE vf chunk_mxfp4(const piece *p, int n_block, vf acc)
{
    const uint32_t (*w)[VN] = p->w;

    for (int k = 0; k < n_block; k += 4, w += 17) {
        fetch_share(p, k, 4);
        UNROLL
        for (int j = 0; j < 4; j++) {
            if (k + j >= n_block) break;
            vi s = nibble_sum(ZERO(k + j), w, 17 * j + 1, p->q + 32 * (k + j), mxfp4_plus16, false);
            acc = scaled(p, k + j, exponent_scale(i_load(w[4 * j]), j), s, acc);
        }
    }
    return acc;
}

/* ------------------------------------------------------ super-blocks of 256 */

/* Q4_K, and Q5_K with its words of fifth bits. */
SIMD_INLINE vf super_q45(const piece *p, vf acc, bool five)
{
    const uint32_t (*w)[VN] = p->w, (*high)[VN] = w + 4, (*q)[VN] = five ? w + 12 : w + 4;
    const vi six = i_bytes(63), two = i_bytes(0x30);
    vi s1 = i_load(w[1]), s2 = i_load(w[2]), s3 = i_load(w[3]), sc[2], mn[4], c[8];
    vf d, dmin, t = v_set(0.0f);

    sc[0] = i_and(s1, six), sc[1] = i_or(low_nibbles(s3), i_and(i_shr(s1, 2), two));
    minima(i_and(s2, six), mn), minima(i_or(high_nibbles(s3), i_and(i_shr(s2, 2), two)), mn + 2);
    UNROLL
    for (int b = 0; b < 8; b++) {
        fetch_share(p, b, 1);
        UNROLL
        for (int i = 0; i < 8; i++) {
            vi v = i_load(q[8 * (b / 2) + i]);
            c[i] = b % 2 ? high_nibbles(v) : low_nibbles(v);
            if (five) {
                vi bit = i_load(high[i]);
                c[i] = i_or(c[i], i_and(b < 4 ? i_shl(bit, 4 - b) : i_shr(bit, b - 4), i_bytes(16)));
            }
        }
        t = v_fma(i_float(byte_of(sc[b / 4], b % 4)), i_float(dots(i_zero(), c, 8, p->q + 32 * b, false)), t);
    }
    halves(i_load(w[0]), &d, &dmin);
    return less_min(p->sums, p->d, dmin, mn, 4, super_scaled(p, d, t, acc));
}
SIMD_INLINE vf chunk_q4_k(const piece *p, int n_block, vf acc) { (void)n_block; return super_q45(p, acc, false); }
SIMD_INLINE vf chunk_q5_k(const piece *p, int n_block, vf acc) { (void)n_block; return super_q45(p, acc, true); }

/* Words: 32 of low bits, 16 of high ones, 4 of scales, d. 32 values of half a super-block share shifts. */
SIMD_INLINE vf chunk_q6_k(const piece *p, int n_block, vf acc)
{
    const uint32_t (*w)[VN] = p->w;
    vf t = v_set(0.0f);

    (void)n_block;
    for (int part = 0; part < 2; part++) {
        UNROLL
        for (int g = 0; g < 4; g++) {
            vi c[8];
            fetch_share(p, 4 * part + g, 1);
            UNROLL
            for (int i = 0; i < 8; i++) {
                vi q = i_load(w[16 * part + 8 * (g % 2) + i]), h = i_load(w[32 + 8 * part + i]);
                h = g == 0 ? i_shl(h, 4) : g == 1 ? i_shl(h, 2) : g == 2 ? h : i_shr(h, 2);
                c[i] = i_or(g < 2 ? low_nibbles(q) : high_nibbles(q), i_and(h, i_bytes(0x30)));
            }
            UNROLL
            for (int i = 0; i < 2; i++) {
                int b = 8 * part + 2 * g + i;
                vi s = dots(ZERO(b), c + 4 * i, 4, p->q + 16 * b, false);
                t = v_fma(i_float(signed_byte_of(i_load(w[48 + 2 * part + g / 2]), (2 * g + i) % 4)), i_float(s), t);
            }
        }
    }
    return super_scaled(p, i_half(i_and(i_load(w[52]), i_dwords(0xffff))), t, acc);
}

SIMD_INLINE vf chunk_q2_k(const piece *p, int n_block, vf acc)
{
    const uint32_t (*w)[VN] = p->w;
    vi mn[8];
    vf d, dmin, t = v_set(0.0f);

    (void)n_block;
    UNROLL
    for (int i = 0; i < 4; i++) minima(high_nibbles(i_load(w[i])), mn + 2 * i);
    UNROLL
    for (int b = 0; b < 16; b++) {
        vi c[4];
        if (b % 2 == 0) fetch_share(p, b / 2, 1);
        UNROLL
        for (int i = 0; i < 4; i++) c[i] = i_and(i_shr(i_load(w[4 + 8 * (b / 8) + 4 * (b % 2) + i]), 2 * (b / 2 % 4)), i_bytes(3));
        t = v_fma(i_float(byte_of(low_nibbles(i_load(w[b / 4])), b % 4)), i_float(dots(i_zero(), c, 4, p->q + 16 * b, false)), t);
    }
    halves(i_load(w[20]), &d, &dmin);
    return less_min(p->sums, p->d, dmin, mn, 8, super_scaled(p, d, t, acc));
}

/* Codes 0..7: the stored bit takes 4 off where it is clear, so codes are 4 too high everywhere. */
SIMD_INLINE vf chunk_q3_k(const piece *p, int n_block, vf acc)
{
    const uint32_t (*w)[VN] = p->w;
    vf t = v_set(0.0f);
    vi sc[4];

    (void)n_block;
    UNROLL
    for (int g = 0; g < 4; g++) {
        vi low = i_load(w[24 + g % 2]), high = i_and(i_shr(i_load(w[26]), 2 * g), i_bytes(3));
        sc[g] = i_sub8(i_or(g < 2 ? low_nibbles(low) : high_nibbles(low), i_shl(high, 4)), i_bytes(32));
    }
    UNROLL
    for (int b = 0; b < 16; b++) {
        vi c[4];
        if (b % 2 == 0) fetch_share(p, b / 2, 1);
        UNROLL
        for (int i = 0; i < 4; i++) {
            vi q = i_shr(i_load(w[8 + 8 * (b / 8) + 4 * (b % 2) + i]), 2 * (b / 2 % 4));
            vi bit = i_and(i_shr(i_load(w[4 * (b % 2) + i]), b / 2), i_bytes(1));
            c[i] = i_or(i_and(q, i_bytes(3)), i_shl(bit, 2));
        }
        t = v_fma(i_float(signed_byte_of(sc[b / 4], b % 4)), i_float(dots(ZERO(b), c, 4, p->q + 16 * b, false)), t);
    }
    return super_scaled(p, i_half(i_and(i_load(w[27]), i_dwords(0xffff))), t, acc);
}

SIMD_INLINE vf chunk_iq4_xs(const piece *p, int n_block, vf acc)
{
    const uint32_t (*w)[VN] = p->w;
    vi head = i_load(w[0]), low = i_load(w[1]), high = i_shr(head, 16);
    vf t = v_set(0.0f);

    (void)n_block;
    UNROLL
    for (int b = 0; b < 8; b++) {
        fetch_share(p, b, 1);
        vi sc = i_or(i_and(i_shr(low, 4 * b), i_dwords(15)), i_shl(i_and(i_shr(high, 2 * b), i_dwords(3)), 4));
        vi s = nibble_sum(ZERO(b), w, 8 + 16 * b, p->q + 32 * b, iq4_codes, true);
        t = v_fma(i_float(i_sub(sc, i_dwords(32))), i_float(s), t);
    }
    return super_scaled(p, i_half(i_and(head, i_dwords(0xffff))), t, acc);
}

/* VN rows, bytes of each (a multiple of 4). Prefetches TURNED bytes for each 16. */
enum { TURNED = VN >= 8 ? 8 * VN : 0 };

SIMD_INLINE void turn(uint32_t (*w)[VN], const uint8_t *b, const uint8_t *ahead, steps step, int bytes)
{
    for (int i = 0; i < bytes; i += 16, w += 4) {
        vi v[4];
        field16(b + i, step, v);
        UNROLL
        for (int k = 0; k < TURNED; k += 64) fetch(ahead + i * (TURNED / 16) + k);
        UNROLL
        for (int k = 0; k < 4; k++) i_store(w[k], v[k]);
    }
}

#define ROWS(type, size, values) \
    static void rows_##type(const tile_args *a, float *y) \
    { \
        _Alignas(64) uint32_t words[MAX_WORD + 4][VN]; \
        const int chunk_bytes = CHUNK / (values) * (size); \
        for (int h = 0; h < TILE_ROWS; h += VN) { \
            const uint8_t *b = a->b + (size_t)h * a->row_bytes, *ahead = a->ahead + (size_t)h * a->row_bytes; \
            piece p = { NULL, a->step, (const uint32_t (*)[VN])words, a->x->q, a->x->zero, a->x->d, a->x->s, a->x->sums, NULL, \
                        (16 * VN - TURNED) * chunk_bytes / 16 / MAX_BLOCK }; \
            vf acc = v_set(0.0f); \
            for (int64_t k = 0; k < a->cols; k += CHUNK) { \
                int n = a->cols - k < CHUNK ? (int)(a->cols - k) / 32 : MAX_BLOCK; \
                turn(words, b, ahead, a->step, n == MAX_BLOCK ? chunk_bytes : (n * (size) + 3) & ~3); \
                p.ahead = ahead + chunk_bytes / 16 * TURNED; \
                acc = chunk_##type(&p, n, acc); \
                b += chunk_bytes, ahead += (size_t)chunk_bytes * VN; \
                p.q += CHUNK, p.d += a->x->d_step, p.s += a->x->d_step, p.zero += a->x->zero_step, p.sums += a->x->sum_step; \
            } \
            v_store(y + h, acc); \
        } \
    }

/* Codes of x, each unit rotated by as many bytes as its block's codes begin behind a word's start; to [n] is room for them. */
static const uint8_t *x_turn(const uint8_t *q, int64_t n, const way *how, int size, uint8_t *to)
{
    const int words = how->unit / 8;

    if (how->unit == 0 || (how->codes % 4 == 0 && size % 4 == 0)) return q;
    for (int64_t k = 0; k < n; k += how->unit) {
        int m = 8 * ((int)(k / 32 % MAX_BLOCK * size + how->codes) % 4);
        for (int i = 0; i < words; i++) {
            uint64_t v = load_u64(q + k + 8 * i), before = load_u64(q + k + 8 * (i > 0 ? i - 1 : words - 1));
            if (m > 0) v = v << m | before >> (64 - m);
            memcpy(to + k + 8 * i, &v, sizeof v);
        }
    }
    return to;
}
