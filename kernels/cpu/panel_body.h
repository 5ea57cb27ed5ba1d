/* panel_body.h - 256 values of 16 rows of any integer type, brought into one shape: codes as bytes with a row in each
 * dword lane, scales as floats. Included by product_body.h for each instruction set; blocks are described in dequant.c.
 *
 * Each type has a function for its scales and one for its codes.
 * Bound by shuffles: about one each 12 bytes of the file's form. */

enum { CHUNK = 256, MAX_BLOCK = CHUNK / 32 };
#if defined(SIMD_MADDUBS)
enum { SIGNED_PARTS = 2 };              /* any signed bytes are kept as sizes and signs */
#else
enum { SIGNED_PARTS = 1 };
#endif

/* codes[i] holds values 4i .. 4i+3 of each row (with SIMD_I8MM in the order of codes_order, lanes.h); of types of any signed bytes codes[2i]
 * and codes[2i+1] do, where SIGNED_PARTS is 2. d and m are by block of 32, or d[0] and m[0] (dmin) of the super-block, whose sub-scales
 * are sc and whose minima mn hold two sub-blocks in each dword (0|2, 1|3, 4|6, ... : sum_place). start: by sub-block (dot_tile, lanes.h). */
typedef struct {
    uint8_t codes[SIGNED_PARTS * CHUNK / 4][TILE_ROWS * 4];
    float d[MAX_BLOCK][TILE_ROWS], m[MAX_BLOCK][TILE_ROWS], sc[16][TILE_ROWS];
    uint32_t mn[8][TILE_ROWS];
    int32_t start[16][TILE_ROWS];
} panel;

/* A chunk of TILE_ROWS rows: as they lie in the file, the first at b, or packed: words at w, as pack.h says. n_block blocks of size bytes. */
typedef struct { const uint8_t *b; steps step; const uint32_t (*w)[TILE_ROWS]; int n_block; llm_dtype dtype; int size; bool packed; } source;

/* The packed word in which byte `at` of a block is; it must begin a word there, or be a scale. */
SIMD_INLINE int packed_word(const source *s, int block, int at)
{
    int pair = block / 2, in = block % 2, both = s->n_block - 2 * pair > 1 ? 2 : 1;

    switch (s->dtype) {
    case DT_Q4_0: case DT_IQ4_NL: return 9 * pair + (at < 2 ? 0 : 1 + 4 * in + at / 4);
    case DT_Q5_0:                 return 11 * pair + (at < 2 ? 0 : at < 6 ? 1 + in : both + 4 * in + at / 4);
    case DT_Q8_0:                 return 17 * pair + (at < 2 ? 0 : 1 + 8 * in + at / 4);
    case DT_MXFP4:                return 17 * (block / 4) + (at < 1 ? 0 : 1 + 4 * (block % 4) + at / 4);
    case DT_Q3_K:                 return (at < 96 ? at + 16 : at - 96) / 4;
    case DT_Q6_K:                 return at < 128 ? 9 + 24 * (at / 64) + at % 64 / 32 * 4 + at % 32 / 16 * 12 + at % 16 / 4
                                       : at < 192 ? 5 + 24 * ((at - 128) / 32) + at % 32 / 16 * 12 + at % 16 / 4 : (at - 192) / 4;
    default:                      return (block * s->size + at) / 4;
    }
}
/* And which of its bytes that is. */
SIMD_INLINE int packed_byte(const source *s, int block, int at)
{
    switch (s->dtype) {
    case DT_Q4_0: case DT_IQ4_NL: case DT_Q5_0: case DT_Q8_0: return 2 * (block % 2);
    case DT_MXFP4:                                            return block % 4;
    default:                                                  return at % 4;
    }
}

SIMD_INLINE vi shr_bytes(vi v, int n) { return n == 0 ? v : n == 1 ? i_shr(v, 8) : n == 2 ? i_shr(v, 16) : i_shr(v, 24); }

/* The word in which byte `at` of a block is, of VN rows from h on. */
SIMD_INLINE vi word_of(const source *s, int block, int at, int h) { return i_load(s->w[packed_word(s, block, at)] + h); }

/* The 16 bytes at `at` of a block of VN rows: out[i] has dword i of each. */
SIMD_INLINE void bytes16(const source *s, int block, int at, int h, vi out[4])
{
    if (!s->packed) { field16(s->b + (size_t)h * s->step.s1 + block * s->size + at, s->step, out); return; }
    UNROLL
    for (int i = 0; i < 4; i++) out[i] = i_load(s->w[packed_word(s, block, at) + i] + h);
}

/* The same of codes, in the order of a panel. */
SIMD_INLINE void codes16(const source *s, int block, int at, int h, vi out[4])
{
    bytes16(s, block, at, h, out);
    codes_order(out);
}

/* The dword at `at`. */
SIMD_INLINE vi dword_at(const source *s, int block, int at, int h)
{
    uint32_t t[VN];

    if (s->packed) return word_of(s, block, at, h);
    UNROLL
    for (int r = 0; r < VN; r++) t[r] = load_u32(row_of(s->b + (size_t)h * s->step.s1 + block * s->size + at, s->step, r));
    return i_load(t);
}

/* The f16 at `at` of each block of each row. In the file: first all are put side by side with plain stores (the
 * shuffle ports have enough to do), then they are converted, when the stores are through. */
SIMD_INLINE void panel_halves(float out[][TILE_ROWS], const source *s, int at, int n)
{
    uint16_t t[MAX_BLOCK][TILE_ROWS];

    for (int i = 0; i < n && s->packed; i++) {
        UNROLL
        for (int h = 0; h < TILE_ROWS; h += VN)
            v_store(out[i] + h, i_half(i_and(shr_bytes(word_of(s, i, at, h), packed_byte(s, i, at)), i_dwords(0xffff))));
    }
    if (s->packed) return;
    for (int i = 0; i < n; i++) {
        UNROLL
        for (int r = 0; r < TILE_ROWS; r++) {
            t[i][r] = load_u16(row_of(s->b + i * s->size + at, s->step, r));
            __asm__("" : "+m"(t[i][r]));
        }
    }
    for (int i = 0; i < n; i++) {
        UNROLL
        for (int h = 0; h < TILE_ROWS; h += VN) v_store(out[i] + h, v_load_f16(t[i] + h));
    }
}

/* Where vectors of codes go: into a panel from vector `first` on, minus what their type adds to them. */
typedef struct { panel *p; int first, minus; bool is_signed; } sink;

SIMD_INLINE void put(sink to, int i, int h, vi codes)
{
    if (to.minus) codes = i_sub8(codes, i_bytes(to.minus));
#if defined(SIMD_MADDUBS)
    if (to.is_signed) {
        i_store(to.p->codes[2 * (to.first + i)] + 4 * h, _mm256_abs_epi8(codes));
        i_store(to.p->codes[2 * (to.first + i) + 1] + 4 * h, code_signs(codes));
        return;
    }
#endif
    i_store(to.p->codes[to.first + i] + 4 * h, codes);
}
SIMD_INLINE vi low_nibbles(vi v) { return i_and(v, i_bytes(15)); }
SIMD_INLINE vi high_nibbles(vi v) { return i_and(i_shr(v, 4), i_bytes(15)); }

/* 16 bytes of nibbles at `at` are vectors i .. i+7: low ones first. table NULL: the codes themselves, plus add. */
SIMD_INLINE void put_nibbles(sink to, int i, int h, const source *s, int block, int at, const int8_t *table, vi add)
{
    vi v[4];

    codes16(s, block, at, h, v);
    UNROLL
    for (int k = 0; k < 4; k++) put(to, i + k, h, table ? i_look(table, low_nibbles(v[k])) : i_add8(low_nibbles(v[k]), codes_row(add, k)));
    UNROLL
    for (int k = 0; k < 4; k++) put(to, i + 4 + k, h, table ? i_look(table, high_nibbles(v[k])) : i_add8(high_nibbles(v[k]), codes_row(add, k)));
}

/* ------------------------------------------------------------ blocks of 32
 * codes_TYPE: a block of VN rows; row h is the first of them. */

SIMD_INLINE void codes_q4_0(sink to, int h, const source *s, int block) { put_nibbles(to, 0, h, s, block, 2, NULL, i_zero()); }
SIMD_INLINE void codes_q4_1(sink to, int h, const source *s, int block) { put_nibbles(to, 0, h, s, block, 4, NULL, i_zero()); }

static const int8_t iq4_codes[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };
static const int8_t mxfp4_plus16[16] = { 16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4 };

SIMD_INLINE void codes_iq4_nl(sink to, int h, const source *s, int block) { put_nibbles(to, 0, h, s, block, 2, iq4_codes, i_zero()); }
SIMD_INLINE void codes_mxfp4(sink to, int h, const source *s, int block) { put_nibbles(to, 0, h, s, block, 1, mxfp4_plus16, i_zero()); }

/* Zero points 0..16 in byte 2 of the block: codes - zero + 16 are 0..31. */
SIMD_INLINE void codes_q4_g(sink to, int h, const source *s, int block)
{
    vi z = i_sub(i_dwords(16), i_and(i_shr(dword_at(s, block, 0, h), 16), i_dwords(255)));

    z = i_or(z, i_shl(z, 8));
    put_nibbles(to, 0, h, s, block, 4, NULL, i_or(z, i_shl(z, 16)));
}

/* The word of fifth bits lies before the nibbles at `at`. */
SIMD_INLINE void put_five_bits(sink to, int h, const source *s, int block, int at)
{
    vi v[4], bits = dword_at(s, block, at - 4, h);

    codes16(s, block, at, h, v);
    UNROLL
    for (int k = 0; k < 4; k++) put(to, k, h, i_or(low_nibbles(v[k]), codes_bit16(bits, k)));
    UNROLL
    for (int k = 0; k < 4; k++) put(to, 4 + k, h, i_or(high_nibbles(v[k]), codes_bit16(bits, k + 4)));
}

SIMD_INLINE void codes_q5_0(sink to, int h, const source *s, int block) { put_five_bits(to, h, s, block, 6); }
SIMD_INLINE void codes_q5_1(sink to, int h, const source *s, int block) { put_five_bits(to, h, s, block, 8); }

SIMD_INLINE void codes_q8_0(sink to, int h, const source *s, int block)
{
    vi v[4];

    UNROLL
    for (int half = 0; half < 2; half++) {
        codes16(s, block, 2 + 16 * half, h, v);
        UNROLL
        for (int k = 0; k < 4; k++) put(to, 4 * half + k, h, v[k]);
    }
}

/* E8M0 e as 2^(e-128): (e-1) << 23, or the two subnormals 1 << 21 and 1 << 22. */
SIMD_INLINE void scales_mxfp4(panel *p, const source *s)
{
    uint8_t e[MAX_BLOCK][TILE_ROWS];

    for (int i = 0; i < s->n_block && !s->packed; i++) {
        UNROLL
        for (int r = 0; r < TILE_ROWS; r++) {
            e[i][r] = *row_of(s->b + i * s->size, s->step, r);
            __asm__("" : "+m"(e[i][r]));
        }
    }
    for (int i = 0; i < s->n_block; i++) {
        for (int h = 0; h < TILE_ROWS; h += VN) {
            vi v = s->packed ? i_and(shr_bytes(word_of(s, i, 0, h), packed_byte(s, i, 0)), i_dwords(255)) : i_load_bytes(e[i] + h);
            vi least = i_add(i_shl(i_and(v, i_dwords(1)), 21), i_dwords(1 << 21));
            v_store(p->d[i] + h, i_as_float(i_max(i_sub(i_shl(v, 23), i_dwords(1 << 23)), least)));
        }
    }
}

/* ------------------------------------------------------ super-blocks of 256
 * codes_TYPE: part `part` of the super-block; vectors count from its start. scales_TYPE: d, m, sub-scales and minima. */

/* Bytes 0..3 of v's lanes as sub-scales at, at+1, at+2, at+3. */
SIMD_INLINE void put_scales(panel *p, int at, int h, vi v)
{
    v_store(p->sc[at] + h, i_float(i_and(v, i_dwords(255))));
    v_store(p->sc[at + 1] + h, i_float(i_and(i_shr(v, 8), i_dwords(255))));
    v_store(p->sc[at + 2] + h, i_float(i_and(i_shr(v, 16), i_dwords(255))));
    v_store(p->sc[at + 3] + h, i_float(i_shr(v, 24)));
}

/* The same for signed bytes. */
SIMD_INLINE void put_signed_scales(panel *p, int at, int h, vi v)
{
    v_store(p->sc[at] + h, i_float(i_sar(i_shl(v, 24), 24)));
    v_store(p->sc[at + 1] + h, i_float(i_sar(i_shl(v, 16), 24)));
    v_store(p->sc[at + 2] + h, i_float(i_sar(i_shl(v, 8), 24)));
    v_store(p->sc[at + 3] + h, i_float(i_sar(v, 24)));
}

/* A dword of each row as sub-scale at, where sums stay whole (panel_kind): a float, or for products of int16 twice a word. */
SIMD_INLINE void put_whole_scale(panel *p, int at, int h, vi v)
{
#if defined(SIMD_MADDUBS)
    i_store(p->sc[at] + h, i_or(i_and(v, i_dwords(0xffff)), i_shl(v, 16)));
#else
    v_store(p->sc[at] + h, i_float(v));
#endif
}

SIMD_INLINE void put_minima(panel *p, int at, int h, vi v)
{
    i_store(p->mn[at] + h, i_and(v, i_dwords(0x00ff00ff)));
    i_store(p->mn[at + 1] + h, i_and(i_shr(v, 8), i_dwords(0x00ff00ff)));
}

SIMD_INLINE void codes32(const source *s, int at, int h, vi out[8])
{
    codes16(s, 0, at, h, out);
    codes16(s, 0, at + 16, h, out + 4);
}

SIMD_INLINE void scales_q45_k(panel *p, const source *s)
{
    const vi six = i_bytes(63), two = i_bytes(0x30);

    for (int h = 0; h < TILE_ROWS; h += VN) {
        vi v[4];
        bytes16(s, 0, 0, h, v);
        v_store(p->d[0] + h, i_half(i_and(v[0], i_dwords(0xffff))));
        v_store(p->m[0] + h, i_half(i_shr(v[0], 16)));
        put_scales(p, 0, h, i_and(v[1], six));
        put_scales(p, 4, h, i_or(low_nibbles(v[3]), i_and(i_shr(v[1], 2), two)));
        put_minima(p, 0, h, i_and(v[2], six));
        put_minima(p, 2, h, i_or(high_nibbles(v[3]), i_and(i_shr(v[2], 2), two)));
    }
}

SIMD_INLINE void codes_q4_k(sink to, int part, int h, const source *s)
{
    vi q[8];

    UNROLL
    for (int t = 0; t < 2; t++) {
        codes32(s, 16 + 64 * part + 32 * t, h, q);
        UNROLL
        for (int i = 0; i < 8; i++) put(to, 16 * t + i, h, low_nibbles(q[i])), put(to, 16 * t + 8 + i, h, high_nibbles(q[i]));
    }
}

SIMD_INLINE void codes_q5_k(sink to, int part, int h, const source *s)
{
    vi q[8], high[8];

    (void)part;
    codes32(s, 16, h, high);
    UNROLL
    for (int t = 0; t < 4; t++) {
        codes32(s, 48 + 32 * t, h, q);
        UNROLL
        for (int i = 0; i < 8; i++) {
            vi bits = i_shr(high[i], 2 * t);
            put(to, 16 * t + i, h, i_or(low_nibbles(q[i]), i_shl(i_and(bits, i_bytes(1)), 4)));
            put(to, 16 * t + 8 + i, h, i_or(high_nibbles(q[i]), i_shl(i_and(bits, i_bytes(2)), 3)));
        }
    }
}

SIMD_INLINE void scales_q6_k(panel *p, const source *s)
{
    panel_halves(p->d, s, 208, 1);
    for (int h = 0; h < TILE_ROWS; h += VN) {
        vi v[4];
        bytes16(s, 0, 192, h, v);
        UNROLL
        for (int i = 0; i < 4; i++) put_signed_scales(p, 4 * i, h, v[i]);
    }
}

SIMD_INLINE void codes_q6_k(sink to, int part, int h, const source *s)
{
    const vi two = i_bytes(0x30);
    vi q[8], high[8];

    codes32(s, 128 + 32 * part, h, high);
    UNROLL
    for (int t = 0; t < 2; t++) {
        codes32(s, 64 * part + 32 * t, h, q);
        UNROLL
        for (int i = 0; i < 8; i++) {
            vi low = t ? i_shl(high[i], 2) : i_shl(high[i], 4), top = t ? i_shr(high[i], 2) : high[i];
            put(to, 8 * t + i, h, i_or(low_nibbles(q[i]), i_and(low, two)));
            put(to, 16 + 8 * t + i, h, i_or(high_nibbles(q[i]), i_and(top, two)));
        }
    }
}

SIMD_INLINE void scales_q2_k(panel *p, const source *s)
{
    panel_halves(p->d, s, 80, 1);
    panel_halves(p->m, s, 82, 1);
    for (int h = 0; h < TILE_ROWS; h += VN) {
        vi v[4];
        bytes16(s, 0, 0, h, v);
        UNROLL
        for (int i = 0; i < 4; i++) {
            UNROLL
            for (int k = 0; k < 4; k++) put_whole_scale(p, 4 * i + k, h, i_and(i_shr(v[i], 8 * k), i_dwords(15)));
            put_minima(p, 2 * i, h, high_nibbles(v[i]));
        }
    }
}

SIMD_INLINE void codes_q2_k(sink to, int part, int h, const source *s)
{
    vi q[8];

    codes32(s, 16 + 32 * part, h, q);
    UNROLL
    for (int j = 0; j < 4; j++) {
        UNROLL
        for (int i = 0; i < 8; i++) put(to, 8 * j + i, h, i_and(i_shr(q[i], 2 * j), i_bytes(3)));
    }
}

SIMD_INLINE void scales_q3_k(panel *p, const source *s)
{
    for (int h = 0; h < TILE_ROWS; h += VN) {
        vi v[4];
        bytes16(s, 0, s->packed ? 96 : 94, h, v);        /* the 12 bytes of scales begin at 96, d is at 108, where a block of the file ends */
        if (!s->packed) {
            vi last = i_shr(v[3], 16);
            UNROLL
            for (int i = 0; i < 3; i++) v[i] = i_or(i_shr(v[i], 16), i_shl(v[i + 1], 16));
            v[3] = last;
        }
        v_store(p->d[0] + h, i_half(i_and(v[3], i_dwords(0xffff))));
        UNROLL
        for (int g = 0; g < 4; g++) {
            vi low = g < 2 ? low_nibbles(v[g]) : high_nibbles(v[g - 2]);
            vi sc = i_sub8(i_or(low, i_shl(i_and(i_shr(v[2], 2 * g), i_bytes(3)), 4)), i_bytes(32));
            UNROLL
            for (int k = 0; k < 4; k++) put_whole_scale(p, 4 * g + k, h, i_sar(i_shl(sc, 24 - 8 * k), 24));
        }
    }
}

SIMD_INLINE void codes_q3_k(sink to, int part, int h, const source *s)
{
    vi q[8], high[8];

    codes32(s, 0, h, high);
    codes32(s, 32 + 32 * part, h, q);
    UNROLL
    for (int j = 0; j < 4; j++) {
        UNROLL
        for (int i = 0; i < 8; i++) {
            vi bit = i_and(part ? i_shr(high[i], j + 4) : i_shr(high[i], j), i_bytes(1));
            put(to, 8 * j + i, h, i_or(i_and(i_shr(q[i], 2 * j), i_bytes(3)), i_shl(bit, 2)));
        }
    }
}

SIMD_INLINE void scales_iq4_xs(panel *p, const source *s)
{
    for (int h = 0; h < TILE_ROWS; h += VN) {
        vi v[4], high;
        bytes16(s, 0, 0, h, v);
        v_store(p->d[0] + h, i_half(i_and(v[0], i_dwords(0xffff))));
        high = i_shr(v[0], 16);
        for (int i = 0; i < 8; i++) {
            v_store(p->sc[i] + h, i_float(i_sub(i_or(i_and(v[1], i_dwords(15)), i_shl(i_and(high, i_dwords(3)), 4)), i_dwords(32))));
            v[1] = i_shr(v[1], 4), high = i_shr(high, 2);
        }
    }
}

SIMD_INLINE void codes_iq4_xs(sink to, int part, int h, const source *s)
{
    UNROLL
    for (int i = 0; i < 4; i++) put_nibbles(to, 8 * i, h, s, 0, 8 + 64 * part + 16 * i, iq4_codes, i_zero());
}
