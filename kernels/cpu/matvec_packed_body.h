/* matvec_packed_body.h - one to FEW columns times packed rows (pack.h), for matvec_body.h: a row in each lane. All TILE_ROWS rows go at once, in
 * VECTORS vectors, so that activations are brought to all lanes once, and codes are made once for all columns.
 * Bound by memory, which is read in one stretch, up to two columns, and by the ports that multiply and add from four on. Work is about 85
 * instructions for a block of 32 values of 16 rows with AVX2 and codes of four bits, of which 40 multiply and add, and 50 for each further column. */

enum { VECTORS = TILE_ROWS / VN, AHEAD = 2048, FEW = 4 };       /* some 30 lines on their way; columns at once */
/* Vectors of rows at once: where all would have more sums than there are registers, two. */
#define STRIP_VECTORS(n_col) ((n_col) == 1 || VECTORS < 2 ? VECTORS : 2)

/* What a chunk reads: its words, from the first of n.vec vectors of rows on, and the part of each column of x that meets them. d, s, sums: bytes
 * from q on. */
typedef struct { const uint32_t (*w)[TILE_ROWS]; const uint8_t *q[FEW], *zero[FEW]; size_t d, s, sums; } strip;
/* So many vectors of rows and columns at once: known when a kernel is compiled. */
typedef struct { int vec, col; } extent;

/* call for b = 0, step .. end - 1. Several columns, whose sub-blocks are longer, one after the other: all together would be more than a core keeps
 * decoded. */
#define EACH_SUB(end, step, call) \
    if (n.col == 1) { \
        UNROLL for (int b = 0; b < (end); b += (step)) { \
            NOT_YET(); \
            call; \
        } \
    } else { \
        ROLLED for (int b = 0; b < (end); b += (step)) call; \
    }
#define EACH_VECTOR UNROLL for (int r = 0; r < n.vec; r++)
#define EACH_COLUMN UNROLL for (int c = 0; c < n.col; c++)

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

/* Product k of n that make a sum: codes times 4 activations. group: how many may be added in int16 (dot_tile_small), where the set has
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

SIMD_INLINE vi x_at(const strip *p, int c, int at) { return i_dword(p->q[c] + at); }

/* Product k of n_k of all columns: code for vector r, and x from `at` on. One column meets a code as it is made. */
#define MEET(s, k, n_k, group, code, at) \
    if (n.col == 1) EACH_VECTOR meet(&(s)[0][r], &pairs[0][r], k, n_k, group, code, x_at(p, 0, at)); \
    else { \
        vi all[VECTORS]; \
        EACH_VECTOR all[r] = code; \
        EACH_COLUMN { \
            vi x = x_at(p, c, at); \
            EACH_VECTOR meet(&(s)[c][r], &pairs[c][r], k, n_k, group, all[r], x); \
        } \
    }

/* ------------------------------------------------------------ blocks of 32
 * n_block of them; behind their codes are their other fields. */

/* Nibbles of a word: what they mean (table), `add` to each byte, or their fifth bits, of bit 4 * i on. Each may be NULL. */
SIMD_INLINE vi nibbles(vi v, bool high, const int8_t *table, const vi *add, const vi *fifth, int i)
{
    v = high ? high_nibbles(v) : low_nibbles(v);
    if (table) v = i_look(table, v);
    if (add) v = i_add8(v, *add);
    return fifth ? i_or(v, i_bit16(*fifth, high ? 4 + i : i)) : v;
}

/* Sums of a block of nibbles that meets x from `at` on. */
SIMD_INLINE void nibble_sums(vi (*s)[VECTORS], const strip *p, extent n, const uint32_t (*w)[TILE_ROWS], int at, int group, const int8_t *table, const vi *add, const vi *fifth)
{
    vi pairs[FEW][VECTORS];

    UNROLL
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0) stream(w + i, 2);
        MEET(s, 2 * i, 8, group, nibbles(word(w, i, r), false, table, add ? add + r : NULL, fifth ? fifth + r : NULL, i), at + 4 * i)
        MEET(s, 2 * i + 1, 8, group, nibbles(word(w, i, r), true, table, add ? add + r : NULL, fifth ? fifth + r : NULL, i), at + 16 + 4 * i)
    }
}

SIMD_INLINE void byte_sums(vi (*s)[VECTORS], const strip *p, extent n, const uint32_t (*w)[TILE_ROWS], int at)
{
    vi pairs[FEW][VECTORS];             /* of signed codes none */

    UNROLL
    for (int i = 0; i < 8; i++) {
        if (i % 2 == 0) stream(w + i, 2);
        MEET(s, i, 8, 0, i_xor(word(w, i, r), i_bytes(SIGNED_FLIP)), at + 4 * i)
    }
}

SIMD_INLINE void fifth_sums(vi (*s)[VECTORS], const strip *p, extent n, const uint32_t (*w)[TILE_ROWS], int at, const uint32_t *bits)
{
    vi fifth[VECTORS];
    EACH_VECTOR fifth[r] = i_load(bits + r * VN);
    nibble_sums(s, p, n, w, at, 4, NULL, NULL, fifth);
}

/* Zero points 0..16 in byte 2 of the head: codes - zero + 16 are 0..31. */
SIMD_INLINE void zero_point_sums(vi (*s)[VECTORS], const strip *p, extent n, const uint32_t (*w)[TILE_ROWS], int at, const uint32_t *head)
{
    vi add[VECTORS];
    EACH_VECTOR {
        vi z = i_sub(i_dwords(16), byte_of(i_load(head + r * VN), 2));
        z = i_or(z, i_shl(z, 8));
        add[r] = i_or(z, i_shl(z, 16));
    }
    nibble_sums(s, p, n, w, at, 4, NULL, add, NULL);
}

/* acc += d * d_x * s, for block k. */
SIMD_INLINE void add_scaled(const strip *p, extent n, int k, const vf *d, vi (*s)[VECTORS], vf (*acc)[VECTORS])
{
    EACH_COLUMN {
        vf xd = set_at(p->q[c] + p->d + 4 * k);
        EACH_VECTOR acc[c][r] = v_fma(v_mul(d[r], xd), i_float(s[c][r]), acc[c][r]);
    }
}
SIMD_INLINE void add_min(const strip *p, extent n, int k, const vf *m, vf (*acc)[VECTORS])
{
    EACH_COLUMN {
        vf xs = set_at(p->q[c] + p->s + 4 * k);
        EACH_VECTOR acc[c][r] = v_fma(m[r], xs, acc[c][r]);
    }
}

/* What sums begin with: nothing, or what takes back that the codes of sub-block k are too high. */
SIMD_INLINE void start(const strip *p, extent n, vi (*s)[VECTORS], bool shifted, int k)
{
    EACH_COLUMN {
        vi v = shifted ? i_dword(p->zero[c] + 4 * k) : i_zero();
        EACH_VECTOR s[c][r] = v;
    }
}

/* A scale of two bytes: two blocks share a word of them. bits: words of fifth bits a block. */
#define PACKED_PAIRS(name, bits, code_words, sums) \
    SIMD_INLINE void name(const strip *p, extent n, int n_block, vf (*acc)[VECTORS]) \
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
                const int at = 32 * (k + j); \
                vi s[FEW][VECTORS]; \
                if (k + j == n_block) break; \
                start(p, n, s, true, k + j); \
                sums; \
                add_scaled(p, n, k + j, d[j], s, acc); \
            } \
        } \
    }

PACKED_PAIRS(packed_q4_0, 0, 4, nibble_sums(s, p, n, w, at, 8, NULL, NULL, NULL))
PACKED_PAIRS(packed_iq4_nl, 0, 4, nibble_sums(s, p, n, w, at, 0, iq4_codes, NULL, NULL))
PACKED_PAIRS(packed_q5_0, 1, 4, fifth_sums(s, p, n, w, at, fifth[j]))
PACKED_PAIRS(packed_q8_0, 0, 8, byte_sums(s, p, n, w, at))

/* A word with a scale and a minimum or a zero point. */
#define PACKED_SINGLES(name, bits, has_min, shifted, sums) \
    SIMD_INLINE void name(const strip *p, extent n, int n_block, vf (*acc)[VECTORS]) \
    { \
        const uint32_t (*w)[TILE_ROWS] = p->w; \
        for (int k = 0; k < n_block; k++, w += 4) { \
            const uint32_t (*head)[TILE_ROWS] = w; \
            const int at = 32 * k; \
            vi s[FEW][VECTORS]; \
            vf d[VECTORS], m[VECTORS]; \
            (void)head; \
            EACH_VECTOR halves(word(w, 0, r), &d[r], &m[r]); \
            stream(w, 1); \
            w += 1 + (bits); \
            start(p, n, s, shifted, k); \
            sums; \
            add_scaled(p, n, k, d, s, acc); \
            if (has_min) add_min(p, n, k, m, acc); \
        } \
    }

PACKED_SINGLES(packed_q4_1, 0, true, false, nibble_sums(s, p, n, w, at, 8, NULL, NULL, NULL))
PACKED_SINGLES(packed_q5_1, 1, true, false, fifth_sums(s, p, n, w, at, head[1]))
PACKED_SINGLES(packed_q4_g, 0, false, true, zero_point_sums(s, p, n, w, at, head[0]))

/* Exponents: four blocks share a word. */
SIMD_INLINE void packed_mxfp4(const strip *p, extent n, int n_block, vf (*acc)[VECTORS])
{
    const uint32_t (*w)[TILE_ROWS] = p->w;

    for (int k = 0; k < n_block; k += 4) {
        const uint32_t (*scale)[TILE_ROWS] = w++;
        stream(scale, 1);
        UNROLL
        for (int j = 0; j < 4; j++, w += 4) {
            vi s[FEW][VECTORS];
            vf d[VECTORS];
            if (k + j >= n_block) break;
            start(p, n, s, true, k + j);
            nibble_sums(s, p, n, w, 32 * (k + j), 4, mxfp4_plus16, NULL, NULL);
            EACH_VECTOR d[r] = exponent_scale(i_load(*scale + r * VN), j);
            add_scaled(p, n, k + j, d, s, acc);
        }
    }
}

/* ------------------------------------------------------ super-blocks of 256 */

SIMD_INLINE void add_super(const strip *p, extent n, const vf *d, vf (*t)[VECTORS], vf (*acc)[VECTORS])
{
    EACH_COLUMN {
        vf xd = set_at(p->q[c] + p->d);
        EACH_VECTOR acc[c][r] = v_fma(v_mul(d[r], xd), t[c][r], acc[c][r]);
    }
}
/* t += sub-scales times sums. */
SIMD_INLINE void add_sub(extent n, const vf *sc, vi (*s)[VECTORS], vf (*t)[VECTORS])
{
    EACH_COLUMN { EACH_VECTOR t[c][r] = v_fma(sc[r], i_float(s[c][r]), t[c][r]); }
}
SIMD_INLINE void clear(extent n, vf (*t)[VECTORS]) { EACH_COLUMN { EACH_VECTOR t[c][r] = v_set(0.0f); } }
SIMD_INLINE vf low_half_of(vi v) { return i_half(i_and(v, i_dwords(0xffff))); }

/* Word i of sub-block b of Q4_K, and of Q5_K with its words of fifth bits: 32 bytes of nibbles are two sub-blocks. */
SIMD_INLINE vi q45_codes(const uint32_t (*q)[TILE_ROWS], const uint32_t (*fifth)[TILE_ROWS], int b, int i, int r)
{
    vi v = word(q, 8 * (b / 2) + i, r);

    v = b % 2 ? high_nibbles(v) : low_nibbles(v);
    return fifth ? i_or(v, i_and(b < 4 ? i_shl(word(fifth, i, r), 4 - b) : i_shr(word(fifth, i, r), b - 4), i_bytes(16))) : v;
}

/* t += sub-blocks b, of low nibbles, and b + 1, of high ones; sc: scales, four in each lane. One column takes both as words come. */
SIMD_INLINE void q45_pair(const strip *p, extent n, const uint32_t (*q)[TILE_ROWS], const uint32_t (*fifth)[TILE_ROWS], int b, vi (*sc)[2], vf (*t)[VECTORS])
{
    const int group = fifth ? 4 : 8, at = 32 * b;
    vi s[2][FEW][VECTORS], pairs[FEW][VECTORS], more[VECTORS];

    start(p, n, s[0], false, 0), start(p, n, s[1], false, 0);
    if (n.col == 1) {
        UNROLL
        for (int i = 0; i < 8; i++) {
            if (i % 2 == 0) stream(q + 4 * b + i, 2);
            EACH_VECTOR {
                meet(&s[0][0][r], &pairs[0][r], i, 8, group, q45_codes(q, fifth, b, i, r), x_at(p, 0, at + 4 * i));
                meet(&s[1][0][r], &more[r], i, 8, group, q45_codes(q, fifth, b + 1, i, r), x_at(p, 0, at + 32 + 4 * i));
            }
        }
    } else {
        UNROLL
        for (int i = 0; i < 16; i++) {
            if (i % 4 == 0) stream(q + 4 * b + i / 2, 2);
            MEET(s[i / 8], i % 8, 8, group, q45_codes(q, fifth, b + i / 8, i % 8, r), at + 4 * i)
        }
    }
    UNROLL
    for (int h = 0; h < 2; h++) {
        vf scale[VECTORS];
        EACH_VECTOR scale[r] = i_float(byte_of(sc[r][b / 4], (b + h) % 4));
        add_sub(n, scale, s[h], t);
    }
}

SIMD_INLINE void super_q45_packed(const strip *p, extent n, vf (*acc)[VECTORS], bool five)
{
    const uint32_t (*w)[TILE_ROWS] = p->w, (*fifth)[TILE_ROWS] = five ? w + 4 : NULL, (*q)[TILE_ROWS] = five ? w + 12 : w + 4;
    const vi six = i_bytes(63), two = i_bytes(0x30);
    vf t[FEW][VECTORS], d[VECTORS], dmin[VECTORS];
    vi sc[VECTORS][2];

    stream(w, five ? 12 : 4);
    clear(n, t);
    EACH_VECTOR sc[r][0] = i_and(word(w, 1, r), six), sc[r][1] = i_or(low_nibbles(word(w, 3, r)), i_and(i_shr(word(w, 1, r), 2), two));
    EACH_SUB(8, 2, q45_pair(p, n, q, fifth, b, sc, t))
    EACH_VECTOR halves(word(w, 0, r), &d[r], &dmin[r]);
    add_super(p, n, d, t, acc);
    EACH_VECTOR {
        vi mn[4];
        minima(i_and(word(w, 2, r), six), mn), minima(i_or(high_nibbles(word(w, 3, r)), i_and(i_shr(word(w, 2, r), 2), two)), mn + 2);
        EACH_COLUMN acc[c][r] = less_min(p->q[c] + p->sums, p->q[c] + p->d, dmin[r], mn, 4, acc[c][r]);
    }
}
SIMD_INLINE void packed_q4_k(const strip *p, extent n, int n_block, vf (*acc)[VECTORS]) { (void)n_block; super_q45_packed(p, n, acc, false); }
SIMD_INLINE void packed_q5_k(const strip *p, extent n, int n_block, vf (*acc)[VECTORS]) { (void)n_block; super_q45_packed(p, n, acc, true); }

/* Word i of 16 values of group g of four of 32: words of high bits at w, of low bits at q, those of groups g and g ^ 2. */
SIMD_INLINE vi q6_codes(const uint32_t (*w)[TILE_ROWS], const uint32_t (*q)[TILE_ROWS], int g, int i, int r)
{
    vi h = word(w, i, r), v = word(q, i, r);

    h = g == 0 ? i_shl(h, 4) : g == 1 ? i_shl(h, 2) : g == 2 ? h : i_shr(h, 2);
    return i_or(g < 2 ? low_nibbles(v) : high_nibbles(v), i_and(h, i_bytes(0x30)));
}

SIMD_INLINE void q6_add(const strip *p, extent n, int part, int b, vi (*s)[VECTORS], vf (*t)[VECTORS])
{
    vf scale[VECTORS];

    EACH_VECTOR scale[r] = i_float(signed_byte_of(word(p->w, 2 * part + b / 4, r), b % 4));
    add_sub(n, scale, s, t);
}

/* t += sub-block b of a part, of group b / 2. */
SIMD_INLINE void q6_sub(const strip *p, extent n, const uint32_t (*w)[TILE_ROWS], int part, int b, vf (*t)[VECTORS])
{
    const uint32_t (*high)[TILE_ROWS] = w + 12 * (b % 2), (*low)[TILE_ROWS] = high + 4 + 4 * (b / 2 % 2);
    vi s[FEW][VECTORS], pairs[FEW][VECTORS];

    stream(w + 3 * b, 3);
    start(p, n, s, true, 8 * part + b);
    UNROLL
    for (int i = 0; i < 4; i++) MEET(s, i, 4, 2, q6_codes(high, low, b / 2, i, r), 128 * part + 16 * b + 4 * i)
    q6_add(p, n, part, b, s, t);
}

/* t += all of a part, for one column: two groups at a time, as words come. */
SIMD_INLINE void q6_part(const strip *p, extent n, const uint32_t (*w)[TILE_ROWS], int part, vf (*t)[VECTORS])
{
    vi s[8][FEW][VECTORS];

    UNROLL
    for (int k = 0; k < 4; k++) {
        const int g = k % 2, b = 2 * g + k / 2;
        const uint32_t (*high)[TILE_ROWS] = w + 12 * (k / 2), (*low)[TILE_ROWS] = high + 4 + 4 * g;
        vi pairs[VECTORS], more[VECTORS];
        start(p, n, s[b], true, 8 * part + b), start(p, n, s[b + 4], true, 8 * part + b + 4);
        UNROLL
        for (int i = 0; i < 4; i++) {
            if (i % 2 == 0) stream(w + 6 * k + i / 2 * 3, 3);
            EACH_VECTOR {
                meet(&s[b][0][r], &pairs[r], i, 4, 2, q6_codes(high, low, g, i, r), x_at(p, 0, 128 * part + 16 * b + 4 * i));
                meet(&s[b + 4][0][r], &more[r], i, 4, 2, q6_codes(high, low, g + 2, i, r), x_at(p, 0, 128 * part + 16 * b + 64 + 4 * i));
            }
        }
    }
    UNROLL
    for (int b = 0; b < 8; b++) q6_add(p, n, part, b, s[b], t);
}

/* Words: 4 of scales, d, then for each half of the super-block 16 values of each group, and 16 more. Which of two ways a part takes changes no sum. */
SIMD_INLINE void packed_q6_k(const strip *p, extent n, int n_block, vf (*acc)[VECTORS])
{
    const uint32_t (*w)[TILE_ROWS] = p->w + 5;
    vf t[FEW][VECTORS], d[VECTORS];

    (void)n_block;
    stream(p->w, 5);
    clear(n, t);
    for (int part = 0; part < 2; part++, w += 24) {
        if (n.col == 1) q6_part(p, n, w, part, t);
        else UNROLL for (int b = 0; b < 8; b++) q6_sub(p, n, w, part, b, t);
    }
    EACH_VECTOR d[r] = low_half_of(word(p->w, 4, r));
    add_super(p, n, d, t, acc);
}

/* Bit n of each byte as bit 2. */
SIMD_INLINE vi bit_as_4(vi v, int n) { return i_and(n < 2 ? i_shl(v, 2 - n) : i_shr(v, n - 2), i_bytes(4)); }

/* Two bits of the values of word `at`, and a third of those of word `high`, if that is not negative. */
SIMD_INLINE vi q23_codes(const uint32_t (*w)[TILE_ROWS], int at, int high, int b, int r)
{
    vi v = i_and(i_shr(word(w, at, r), 2 * (b / 2 % 4)), i_bytes(3));
    return high < 0 ? v : i_or(v, bit_as_4(word(w, high, r), b / 2));
}

/* Two bits of 16 values each, and of Q3_K a third one; sub-blocks b = 8 * part + 2 * shift + half. sc: scales, four in each lane. */
SIMD_INLINE void q23_sub(const strip *p, extent n, int codes, int high, int b, vi (*sc)[VECTORS], bool is_signed, vf (*t)[VECTORS])
{
    const uint32_t (*w)[TILE_ROWS] = p->w;
    const int first = codes + 8 * (b / 8) + 4 * (b % 2);
    vi s[FEW][VECTORS], pairs[FEW][VECTORS];
    vf scale[VECTORS];

    if (b % 8 < 4) stream(w + codes + 8 * (b / 8) + 2 * (b % 8), 2);
    start(p, n, s, is_signed, b);
    UNROLL
    for (int i = 0; i < 4; i++) MEET(s, i, 4, 8, q23_codes(w, first + i, high < 0 ? high : high + 4 * (b % 2) + i, b, r), 16 * b + 4 * i)
    EACH_VECTOR scale[r] = i_float(is_signed ? signed_byte_of(sc[b / 4][r], b % 4) : byte_of(sc[b / 4][r], b % 4));
    add_sub(n, scale, s, t);
}

SIMD_INLINE void packed_q2_k(const strip *p, extent n, int n_block, vf (*acc)[VECTORS])
{
    vf t[FEW][VECTORS], d[VECTORS], dmin[VECTORS];
    vi sc[4][VECTORS];

    (void)n_block;
    stream(p->w, 4), stream(p->w + 20, 1);
    EACH_VECTOR {
        UNROLL
        for (int i = 0; i < 4; i++) sc[i][r] = low_nibbles(word(p->w, i, r));
        halves(word(p->w, 20, r), &d[r], &dmin[r]);
    }
    clear(n, t);
    EACH_SUB(16, 1, q23_sub(p, n, 4, -1, b, sc, false, t))
    add_super(p, n, d, t, acc);
    EACH_VECTOR {
        vi mn[8];
        UNROLL
        for (int i = 0; i < 4; i++) minima(high_nibbles(word(p->w, i, r)), mn + 2 * i);
        EACH_COLUMN acc[c][r] = less_min(p->q[c] + p->sums, p->q[c] + p->d, dmin[r], mn, 8, acc[c][r]);
    }
}

/* Codes 0..7: the stored bit takes 4 off where it is clear, so codes are 4 too high everywhere. */
SIMD_INLINE void packed_q3_k(const strip *p, extent n, int n_block, vf (*acc)[VECTORS])
{
    vf t[FEW][VECTORS], d[VECTORS];
    vi sc[4][VECTORS];

    (void)n_block;
    stream(p->w, 12);
    EACH_VECTOR {
        UNROLL
        for (int g = 0; g < 4; g++) {
            vi low = word(p->w, g % 2, r), high = i_and(i_shr(word(p->w, 2, r), 2 * g), i_bytes(3));
            sc[g][r] = i_sub8(i_or(g < 2 ? low_nibbles(low) : high_nibbles(low), i_shl(high, 4)), i_bytes(32));
        }
        d[r] = low_half_of(word(p->w, 3, r));
    }
    clear(n, t);
    EACH_SUB(16, 1, q23_sub(p, n, 12, 4, b, sc, true, t))
    add_super(p, n, d, t, acc);
}

SIMD_INLINE void iq4_xs_sub(const strip *p, extent n, int b, vf (*t)[VECTORS])
{
    vi s[FEW][VECTORS];
    vf scale[VECTORS];

    start(p, n, s, true, b);
    nibble_sums(s, p, n, p->w + 2 + 4 * b, 32 * b, 0, iq4_codes, NULL, NULL);
    EACH_VECTOR {
        vi sc = i_or(i_and(i_shr(word(p->w, 1, r), 4 * b), i_dwords(15)), i_shl(i_and(i_shr(word(p->w, 0, r), 16 + 2 * b), i_dwords(3)), 4));
        scale[r] = i_float(i_sub(sc, i_dwords(32)));
    }
    add_sub(n, scale, s, t);
}

SIMD_INLINE void packed_iq4_xs(const strip *p, extent n, int n_block, vf (*acc)[VECTORS])
{
    const uint32_t (*w)[TILE_ROWS] = p->w;
    vf t[FEW][VECTORS], d[VECTORS];

    (void)n_block;
    stream(w, 2);
    clear(n, t);
    EACH_VECTOR d[r] = low_half_of(word(w, 0, r));
    EACH_SUB(8, 1, iq4_xs_sub(p, n, b, t))
    add_super(p, n, d, t, acc);
}

/* -------------------------------------------------------------------- tiles */

/* packed_rows_TYPE: one tile and n_col columns (1, 2 or FEW), whose views are at x: y [n_col][TILE_ROWS]. */
#define PACKED_ROWS(type, size, values) \
    SIMD_INLINE void packed_columns_##type(const uint8_t *tile, int64_t cols, const x_view *x, int n_col, float *y) \
    { \
        const int words = (CHUNK / (values) * (size) + 3) / 4; \
        strip s = { .d = (size_t)(x->d - x->q), .s = (size_t)(x->s - x->q), .sums = (size_t)(x->sums - x->q) }; \
        const extent n = { STRIP_VECTORS(n_col), n_col }; \
        vf all[VECTORS][FEW][VECTORS]; \
        UNROLL for (int c = 0; c < n_col; c++) { \
            s.q[c] = x[c].q, s.zero[c] = x[c].zero; \
            UNROLL for (int r = 0; r < VECTORS; r++) all[r / n.vec][c][r % n.vec] = v_set(0.0f); \
        } \
        for (int64_t k = 0; k < cols; k += CHUNK) { \
            for (int r = 0; r < VECTORS; r += n.vec) { \
                s.w = (const uint32_t (*)[TILE_ROWS])(const void *)(tile + (size_t)r * (4 * VN)); \
                packed_##type(&s, n, cols - k < CHUNK ? (int)(cols - k) / 32 : MAX_BLOCK, all[r / n.vec]); \
            } \
            tile += (size_t)words * (4 * TILE_ROWS); \
            s.d += (size_t)x->d_step - CHUNK, s.s += (size_t)x->d_step - CHUNK, s.sums += (size_t)x->sum_step - CHUNK; \
            UNROLL for (int c = 0; c < n_col; c++) s.q[c] += CHUNK, s.zero[c] += x->zero_step; \
        } \
        UNROLL for (int c = 0; c < n_col; c++) UNROLL for (int r = 0; r < VECTORS; r++) v_store(y + c * TILE_ROWS + r * VN, all[r / n.vec][c][r % n.vec]); \
    } \
    static void packed_rows_##type(const uint8_t *tile, int64_t cols, const x_view *x, int n_col, float *y) \
    { \
        if (n_col == 1) packed_columns_##type(tile, cols, x, 1, y); \
        else if (n_col == 2) packed_columns_##type(tile, cols, x, 2, y); \
        else packed_columns_##type(tile, cols, x, FEW, y); \
    }
