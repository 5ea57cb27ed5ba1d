/* matvec_packed_body.h - one column times packed rows (pack.h), for matvec_body.h. All TILE_ROWS rows go at once, a row in each lane of
 * VECTORS vectors, so that activations are brought to all lanes once.
 * Bound by memory, which is read in one stretch; work is about 85 instructions for a block of 32 values of 16 rows with AVX2 and codes
 * of four bits, of which 40 multiply and add. */

enum { VECTORS = TILE_ROWS / VN, AHEAD = 2048 };        /* some 30 lines on their way */

/* What a chunk reads: its words, and the part of x that meets them. */
typedef struct { const uint32_t (*w)[TILE_ROWS]; const uint8_t *q, *zero, *d, *s, *sums; } strip;

#define EACH_VECTOR UNROLL for (int r = 0; r < VECTORS; r++)

SIMD_INLINE vi word(const uint32_t (*w)[TILE_ROWS], int i, int r) { return i_load(w[i] + r * VN); }
/* What lies AHEAD of n words is on its way when it is come to: a few lines at a time, among the sums, where the compiler must leave them. A
 * burst would wait for places. */
SIMD_INLINE void stream(const uint32_t (*w)[TILE_ROWS], int n)
{
    const uint8_t *p = (const uint8_t *)*w + AHEAD;

    __asm__ volatile("" : "+r"(p));
    UNROLL
    for (int i = 0; i < n; i++) __builtin_prefetch(p + 64 * i, 0, 2);
}

/* Product k of n that make a sum: codes times 4 activations. group: how many may be added in int16 (dot_tile_unsigned), where the set has
 * no better way; 0: the codes are signed. */
SIMD_INLINE void meet(vi *s, vi *pairs, int k, int n, int group, vi code, vi x)
{
#if defined(SIMD_AVX2) && !defined(SIMD_DPBUSD)
    const vi one = _mm256_set1_epi16(1);
    if (group == 0) {
        *s = i_add(*s, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(x, code)), one));
        __asm__ volatile("" : "+x"(*s));
    } else {
        vi p = _mm256_maddubs_epi16(code, x);
        *pairs = k % group == 0 ? p : _mm256_add_epi16(*pairs, p);
        __asm__ volatile("" : "+x"(*pairs));    /* now: the compiler would multiply everything first, and store it */
        if (k % group == group - 1 || k == n - 1) *s = i_add(*s, _mm256_madd_epi16(*pairs, one));
    }
#else
    (void)pairs, (void)k, (void)n;
    *s = i_dot8(*s, code, x, group == 0);
#endif
}

/* ------------------------------------------------------------ blocks of 32
 * n_block of them; behind their codes are their other fields. */

/* A block of nibbles. table: what they mean; add: to each byte; fifth: their bits. Each may be NULL. */
SIMD_INLINE void nibble_sums(vi *s, const uint32_t (*w)[TILE_ROWS], const uint8_t *x, int group, const int8_t *table, const vi *add, const vi *fifth)
{
    vi pairs[VECTORS];

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi x0 = i_dword(x + 4 * i), x1 = i_dword(x + 16 + 4 * i);
        if (i % 2 == 0) stream(w + i, 2);
        EACH_VECTOR {
            vi v = word(w, i, r), low = low_nibbles(v), high = high_nibbles(v);
            if (table) low = i_look(table, low), high = i_look(table, high);
            if (add) low = i_add8(low, add[r]), high = i_add8(high, add[r]);
            if (fifth) low = i_or(low, i_bit16(fifth[r], i)), high = i_or(high, i_bit16(fifth[r], 4 + i));
            meet(&s[r], &pairs[r], 2 * i, 8, group, low, x0);
            meet(&s[r], &pairs[r], 2 * i + 1, 8, group, high, x1);
        }
    }
}

SIMD_INLINE void byte_sums(vi *s, const uint32_t (*w)[TILE_ROWS], const uint8_t *x)
{
    UNROLL
    for (int i = 0; i < 8; i++) {
        vi xi = i_dword(x + 4 * i);
        if (i % 2 == 0) stream(w + i, 2);
        EACH_VECTOR meet(&s[r], NULL, i, 8, 0, i_xor(word(w, i, r), i_bytes(SIGNED_FLIP)), xi);
    }
}

SIMD_INLINE void fifth_sums(vi *s, const uint32_t (*w)[TILE_ROWS], const uint8_t *x, const uint32_t *bits)
{
    vi fifth[VECTORS];
    EACH_VECTOR fifth[r] = i_load(bits + r * VN);
    nibble_sums(s, w, x, 4, NULL, NULL, fifth);
}

/* Zero points 0..16 in byte 2 of the head: codes - zero + 16 are 0..31. */
SIMD_INLINE void zero_point_sums(vi *s, const uint32_t (*w)[TILE_ROWS], const uint8_t *x, const uint32_t *head)
{
    vi add[VECTORS];
    EACH_VECTOR {
        vi z = i_sub(i_dwords(16), byte_of(i_load(head + r * VN), 2));
        z = i_or(z, i_shl(z, 8));
        add[r] = i_or(z, i_shl(z, 16));
    }
    nibble_sums(s, w, x, 4, NULL, add, NULL);
}

/* acc += d * d_x * s, for block k. */
SIMD_INLINE void add_scaled(const strip *p, int k, const vf *d, const vi *s, vf *acc)
{
    vf xd = set_at(p->d + 4 * k);
    EACH_VECTOR acc[r] = v_fma(v_mul(d[r], xd), i_float(s[r]), acc[r]);
}
SIMD_INLINE void add_min(const strip *p, int k, const vf *m, vf *acc)
{
    vf xs = set_at(p->s + 4 * k);
    EACH_VECTOR acc[r] = v_fma(m[r], xs, acc[r]);
}

SIMD_INLINE void start(vi *s, vi v) { EACH_VECTOR s[r] = v; }

/* A scale of two bytes: two blocks share a word of them. bits: words of fifth bits a block. */
#define PACKED_PAIRS(name, bits, code_words, sums) \
    SIMD_INLINE void name(const strip *p, int n_block, vf *acc) \
    { \
        const uint32_t (*w)[TILE_ROWS] = p->w; \
        for (int k = 0; k < n_block; k += 2) { \
            const uint32_t (*fifth)[TILE_ROWS] = w + 1; \
            vf d[2][VECTORS]; \
            EACH_VECTOR halves(word(w, 0, r), &d[0][r], &d[1][r]); \
            stream(w, 1); \
            w += 1 + (bits) * (k + 1 < n_block ? 2 : 1); \
            (void)fifth; \
            UNROLL \
            for (int j = 0; j < 2; j++, w += (code_words)) { \
                const uint8_t *x = p->q + 32 * (k + j); \
                vi s[VECTORS]; \
                if (k + j == n_block) break; \
                start(s, ZERO(k + j)); \
                sums; \
                add_scaled(p, k + j, d[j], s, acc); \
            } \
        } \
    }

PACKED_PAIRS(packed_q4_0, 0, 4, nibble_sums(s, w, x, 8, NULL, NULL, NULL))
PACKED_PAIRS(packed_iq4_nl, 0, 4, nibble_sums(s, w, x, 0, iq4_codes, NULL, NULL))
PACKED_PAIRS(packed_q5_0, 1, 4, fifth_sums(s, w, x, fifth[j]))
PACKED_PAIRS(packed_q8_0, 0, 8, byte_sums(s, w, x))

/* A word with a scale and a minimum or a zero point. */
#define PACKED_SINGLES(name, bits, has_min, first, sums) \
    SIMD_INLINE void name(const strip *p, int n_block, vf *acc) \
    { \
        const uint32_t (*w)[TILE_ROWS] = p->w; \
        for (int k = 0; k < n_block; k++, w += 4) { \
            const uint32_t (*head)[TILE_ROWS] = w; \
            const uint8_t *x = p->q + 32 * k; \
            vi s[VECTORS]; \
            vf d[VECTORS], m[VECTORS]; \
            (void)head; \
            EACH_VECTOR halves(word(w, 0, r), &d[r], &m[r]); \
            stream(w, 1); \
            w += 1 + (bits); \
            start(s, first); \
            sums; \
            add_scaled(p, k, d, s, acc); \
            if (has_min) add_min(p, k, m, acc); \
        } \
    }

PACKED_SINGLES(packed_q4_1, 0, true, i_zero(), nibble_sums(s, w, x, 8, NULL, NULL, NULL))
PACKED_SINGLES(packed_q5_1, 1, true, i_zero(), fifth_sums(s, w, x, head[1]))
PACKED_SINGLES(packed_q4_g, 0, false, ZERO(k), zero_point_sums(s, w, x, head[0]))

/* Exponents: four blocks share a word. */
SIMD_INLINE void packed_mxfp4(const strip *p, int n_block, vf *acc)
{
    const uint32_t (*w)[TILE_ROWS] = p->w;

    for (int k = 0; k < n_block; k += 4) {
        const uint32_t (*scale)[TILE_ROWS] = w++;
        stream(scale, 1);
        UNROLL
        for (int j = 0; j < 4; j++, w += 4) {
            vi s[VECTORS];
            vf d[VECTORS];
            if (k + j >= n_block) break;
            start(s, ZERO(k + j));
            nibble_sums(s, w, p->q + 32 * (k + j), 4, mxfp4_plus16, NULL, NULL);
            EACH_VECTOR d[r] = exponent_scale(i_load(*scale + r * VN), j);
            add_scaled(p, k + j, d, s, acc);
        }
    }
}

/* ------------------------------------------------------ super-blocks of 256 */

SIMD_INLINE void add_super(const strip *p, const vf *d, const vf *t, vf *acc)
{
    vf xd = set_at(p->d);
    EACH_VECTOR acc[r] = v_fma(v_mul(d[r], xd), t[r], acc[r]);
}
SIMD_INLINE vf low_half_of(vi v) { return i_half(i_and(v, i_dwords(0xffff))); }

/* Q4_K, and Q5_K with its words of fifth bits: 32 bytes of nibbles are two sub-blocks. */
SIMD_INLINE void super_q45_packed(const strip *p, vf *acc, bool five)
{
    const uint32_t (*w)[TILE_ROWS] = p->w, (*high)[TILE_ROWS] = w + 4, (*q)[TILE_ROWS] = five ? w + 12 : w + 4;
    const vi six = i_bytes(63), two = i_bytes(0x30);
    vf t[VECTORS], d[VECTORS], dmin[VECTORS];
    vi sc[VECTORS][2];

    stream(w, five ? 12 : 4);
    EACH_VECTOR {
        sc[r][0] = i_and(word(w, 1, r), six), sc[r][1] = i_or(low_nibbles(word(w, 3, r)), i_and(i_shr(word(w, 1, r), 2), two));
        t[r] = v_set(0.0f);
    }
    UNROLL
    for (int b = 0; b < 8; b += 2) {
        vi s[2][VECTORS], pairs[2][VECTORS];
        start(s[0], i_zero()), start(s[1], i_zero());
        UNROLL
        for (int i = 0; i < 8; i++) {
            vi x0 = i_dword(p->q + 32 * b + 4 * i), x1 = i_dword(p->q + 32 * b + 32 + 4 * i);
            if (i % 2 == 0) stream(q + 4 * b + i, 2);
            EACH_VECTOR {
                vi v = word(q, 4 * b + i, r), low = low_nibbles(v), up = high_nibbles(v);
                if (five) {
                    vi bit = word(high, i, r);
                    low = i_or(low, i_and(b < 4 ? i_shl(bit, 4 - b) : i_shr(bit, b - 4), i_bytes(16)));
                    up = i_or(up, i_and(b < 3 ? i_shl(bit, 3 - b) : i_shr(bit, b - 3), i_bytes(16)));
                }
                meet(&s[0][r], &pairs[0][r], i, 8, five ? 4 : 8, low, x0);
                meet(&s[1][r], &pairs[1][r], i, 8, five ? 4 : 8, up, x1);
            }
        }
        EACH_VECTOR {
            t[r] = v_fma(i_float(byte_of(sc[r][b / 4], b % 4)), i_float(s[0][r]), t[r]);
            t[r] = v_fma(i_float(byte_of(sc[r][b / 4], b % 4 + 1)), i_float(s[1][r]), t[r]);
        }
    }
    EACH_VECTOR halves(word(w, 0, r), &d[r], &dmin[r]);
    add_super(p, d, t, acc);
    EACH_VECTOR {
        vi mn[4];
        minima(i_and(word(w, 2, r), six), mn), minima(i_or(high_nibbles(word(w, 3, r)), i_and(i_shr(word(w, 2, r), 2), two)), mn + 2);
        acc[r] = less_min(p->sums, p->d, dmin[r], mn, 4, acc[r]);
    }
}
SIMD_INLINE void packed_q4_k(const strip *p, int n_block, vf *acc) { (void)n_block; super_q45_packed(p, acc, false); }
SIMD_INLINE void packed_q5_k(const strip *p, int n_block, vf *acc) { (void)n_block; super_q45_packed(p, acc, true); }

/* 16 values of two of four groups of 32, pair 0 or 1: 4 words of high bits at w, 4 of low bits of groups `pair` and `pair` + 2 at q. */
SIMD_INLINE void q6_sums(vi s[2][VECTORS], const uint32_t (*w)[TILE_ROWS], const uint32_t (*q)[TILE_ROWS], int pair, const uint8_t *x)
{
    const vi two = i_bytes(0x30);
    vi pairs[2][VECTORS];

    UNROLL
    for (int i = 0; i < 4; i++) {
        vi x0 = i_dword(x + 32 * pair + 4 * i), x1 = i_dword(x + 64 + 32 * pair + 4 * i);
        if (i % 2 == 0) stream(pair ? q + i : w + i, pair ? 2 : 4);
        EACH_VECTOR {
            vi h = word(w, i, r), v = word(q, i, r);
            meet(&s[0][r], &pairs[0][r], i, 4, 2, i_or(low_nibbles(v), i_and(pair ? i_shl(h, 2) : i_shl(h, 4), two)), x0);
            meet(&s[1][r], &pairs[1][r], i, 4, 2, i_or(high_nibbles(v), i_and(pair ? i_shr(h, 2) : h, two)), x1);
        }
    }
}

/* Words: 4 of scales, d, then for each half of the super-block 16 values of each group, and 16 more. */
SIMD_INLINE void packed_q6_k(const strip *p, int n_block, vf *acc)
{
    const uint32_t (*w)[TILE_ROWS] = p->w + 5;
    vf t[VECTORS], d[VECTORS];

    (void)n_block;
    stream(p->w, 5);
    EACH_VECTOR t[r] = v_set(0.0f);
    for (int part = 0; part < 2; part++, w += 24) {
        vi s[4][2][VECTORS];        /* group, half */
        UNROLL
        for (int half = 0; half < 2; half++) {
            UNROLL
            for (int pair = 0; pair < 2; pair++) {
                vi of[2][VECTORS];
                start(of[0], ZERO(8 * part + 2 * pair + half)), start(of[1], ZERO(8 * part + 4 + 2 * pair + half));
                q6_sums(of, w + 12 * half, w + 12 * half + 4 + 4 * pair, pair, p->q + 128 * part + 16 * half);
                EACH_VECTOR s[pair][half][r] = of[0][r], s[pair + 2][half][r] = of[1][r];
            }
        }
        UNROLL
        for (int b = 0; b < 8; b++) {
            EACH_VECTOR t[r] = v_fma(i_float(signed_byte_of(word(p->w, 2 * part + b / 4, r), b % 4)), i_float(s[b / 2][b % 2][r]), t[r]);
        }
    }
    EACH_VECTOR d[r] = low_half_of(word(p->w, 4, r));
    add_super(p, d, t, acc);
}

/* Bit n of each byte as bit 2. */
SIMD_INLINE vi bit_as_4(vi v, int n) { return i_and(n < 2 ? i_shl(v, 2 - n) : i_shr(v, n - 2), i_bytes(4)); }

/* Two bits of 16 values each, and of Q3_K a third one; sub-blocks b = 8 * part + 2 * shift + half. sc: scales, four in each lane. */
SIMD_INLINE void super_q23(const strip *p, int codes, int high, vi (*sc)[VECTORS], bool is_signed, vf *t)
{
    const uint32_t (*w)[TILE_ROWS] = p->w;

    UNROLL
    for (int b = 0; b < 16; b++) {
        const int first = codes + 8 * (b / 8) + 4 * (b % 2);
        vi s[VECTORS], pairs[VECTORS];
        if (b % 8 < 4) stream(w + codes + 8 * (b / 8) + 2 * (b % 8), 2);
        start(s, is_signed ? ZERO(b) : i_zero());
        UNROLL
        for (int i = 0; i < 4; i++) {
            vi x = i_dword(p->q + 16 * b + 4 * i);
            EACH_VECTOR {
                vi c = i_and(i_shr(word(w, first + i, r), 2 * (b / 2 % 4)), i_bytes(3));
                if (high >= 0) c = i_or(c, bit_as_4(word(w, high + 4 * (b % 2) + i, r), b / 2));
                meet(&s[r], &pairs[r], i, 4, 8, c, x);
            }
        }
        EACH_VECTOR t[r] = v_fma(i_float(is_signed ? signed_byte_of(sc[b / 4][r], b % 4) : byte_of(sc[b / 4][r], b % 4)), i_float(s[r]), t[r]);
    }
}

SIMD_INLINE void packed_q2_k(const strip *p, int n_block, vf *acc)
{
    vf t[VECTORS], d[VECTORS], dmin[VECTORS];
    vi sc[4][VECTORS];

    (void)n_block;
    stream(p->w, 4), stream(p->w + 20, 1);
    EACH_VECTOR {
        UNROLL
        for (int i = 0; i < 4; i++) sc[i][r] = low_nibbles(word(p->w, i, r));
        t[r] = v_set(0.0f);
        halves(word(p->w, 20, r), &d[r], &dmin[r]);
    }
    super_q23(p, 4, -1, sc, false, t);
    add_super(p, d, t, acc);
    EACH_VECTOR {
        vi mn[8];
        UNROLL
        for (int i = 0; i < 4; i++) minima(high_nibbles(word(p->w, i, r)), mn + 2 * i);
        acc[r] = less_min(p->sums, p->d, dmin[r], mn, 8, acc[r]);
    }
}

/* Codes 0..7: the stored bit takes 4 off where it is clear, so codes are 4 too high everywhere. */
SIMD_INLINE void packed_q3_k(const strip *p, int n_block, vf *acc)
{
    vf t[VECTORS], d[VECTORS];
    vi sc[4][VECTORS];

    (void)n_block;
    stream(p->w, 12);
    EACH_VECTOR {
        UNROLL
        for (int g = 0; g < 4; g++) {
            vi low = word(p->w, g % 2, r), high = i_and(i_shr(word(p->w, 2, r), 2 * g), i_bytes(3));
            sc[g][r] = i_sub8(i_or(g < 2 ? low_nibbles(low) : high_nibbles(low), i_shl(high, 4)), i_bytes(32));
        }
        t[r] = v_set(0.0f);
        d[r] = low_half_of(word(p->w, 3, r));
    }
    super_q23(p, 12, 4, sc, true, t);
    add_super(p, d, t, acc);
}

SIMD_INLINE void packed_iq4_xs(const strip *p, int n_block, vf *acc)
{
    const uint32_t (*w)[TILE_ROWS] = p->w;
    vf t[VECTORS], d[VECTORS];

    (void)n_block;
    stream(w, 2);
    EACH_VECTOR t[r] = v_set(0.0f), d[r] = low_half_of(word(w, 0, r));
    UNROLL
    for (int b = 0; b < 8; b++) {
        vi s[VECTORS];
        start(s, ZERO(b));
        nibble_sums(s, w + 2 + 4 * b, p->q + 32 * b, 0, iq4_codes, NULL, NULL);
        EACH_VECTOR {
            vi sc = i_or(i_and(i_shr(word(w, 1, r), 4 * b), i_dwords(15)), i_shl(i_and(i_shr(word(w, 0, r), 16 + 2 * b), i_dwords(3)), 4));
            t[r] = v_fma(i_float(i_sub(sc, i_dwords(32))), i_float(s[r]), t[r]);
        }
    }
    add_super(p, d, t, acc);
}

/* -------------------------------------------------------------------- tiles */

/* One tile: y [TILE_ROWS]. */
typedef void (*packed_fn)(const uint8_t *tile, int64_t cols, const x_view *x, float *y);

#define PACKED_ROWS(type, size, values) \
    static void packed_rows_##type(const uint8_t *tile, int64_t cols, const x_view *x, float *y) \
    { \
        const int words = (CHUNK / (values) * (size) + 3) / 4; \
        strip p = { (const uint32_t (*)[TILE_ROWS])(const void *)tile, x->q, x->zero, x->d, x->s, x->sums }; \
        vf acc[VECTORS]; \
        EACH_VECTOR acc[r] = v_set(0.0f); \
        for (int64_t k = 0; k < cols; k += CHUNK) { \
            packed_##type(&p, cols - k < CHUNK ? (int)(cols - k) / 32 : MAX_BLOCK, acc); \
            p.w += words, p.q += CHUNK, p.d += x->d_step, p.s += x->d_step, p.zero += x->zero_step, p.sums += x->sum_step; \
        } \
        EACH_VECTOR v_store(y + r * VN, acc[r]); \
    }
