/* panel_body.h - 256 values of 16 rows of any integer type, brought into one shape: codes as bytes with a row in each
 * dword lane, scales as floats. Included by product_body.h for each instruction set; blocks are described in dequant.c.
 *
 * Bound by shuffles: about one each 12 bytes of the file's form; the products that follow amortize it over columns. */

enum { CHUNK = 256, MAX_BLOCK = CHUNK / 32 };

/* codes[i] holds values 4i .. 4i+3 of each row. d and m are by block of 32, or d[0] and m[0] (dmin) of the super-block, whose
 * sub-scales are sc and whose minima mn hold two sub-blocks in each dword (0|2, 1|3, 4|6, ... : sum_place). */
typedef struct {
    uint8_t codes[CHUNK / 4][TILE_ROWS * 4];
    float d[MAX_BLOCK][TILE_ROWS], m[MAX_BLOCK][TILE_ROWS], sc[16][TILE_ROWS];
    uint32_t mn[8][TILE_ROWS];
} panel;

/* f16 at p of each row, as float. */
SIMD_INLINE void panel_halves(float out[TILE_ROWS], const uint8_t *p, size_t stride)
{
    uint16_t t[TILE_ROWS];

    UNROLL
    for (int r = 0; r < TILE_ROWS; r++) t[r] = load_u16(p + (size_t)r * stride);
    UNROLL
    for (int h = 0; h < TILE_ROWS; h += VN) v_store(out + h, v_load_f16(t + h));
}

SIMD_INLINE void panel_put(panel *p, int i, int h, vi codes) { i_store(p->codes[i] + 4 * h, codes); }
SIMD_INLINE vi low_nibbles(vi v) { return i_and(v, i_bytes(15)); }
SIMD_INLINE vi high_nibbles(vi v) { return i_and(i_shr(v, 4), i_bytes(15)); }

/* 16 bytes of nibbles at qs are values 4*at .. of 32: low ones first. table NULL: the codes themselves, plus add. */
SIMD_INLINE void put_nibbles(panel *p, int at, int h, const uint8_t *qs, size_t stride, const int8_t *table, vi add)
{
    vi v[4];

    field16(qs, stride, v);
    UNROLL
    for (int i = 0; i < 4; i++) {
        vi low = low_nibbles(v[i]), high = high_nibbles(v[i]);
        panel_put(p, at + i, h, i_add8(table ? i_look(table, low) : low, add));
        panel_put(p, at + 4 + i, h, i_add8(table ? i_look(table, high) : high, add));
    }
}

/* ------------------------------------------------------------ blocks of 32 */

enum { NIBBLES, FIFTH_BIT, BYTES };

/* n blocks; quants (and the fifth bits before them) at offset. */
SIMD_INLINE void build32(panel *p, const uint8_t *b, size_t stride, int n, int size, int kind, bool has_min, int offset, const int8_t *table, int add)
{
    for (int i = 0; i < n; i++, b += size) {
        panel_halves(p->d[i], b, stride);
        if (has_min) panel_halves(p->m[i], b + 2, stride);
        for (int h = 0; h < TILE_ROWS; h += VN) {
            const uint8_t *row = b + (size_t)h * stride + offset;
            vi v[4];
            if (kind == NIBBLES) {
                put_nibbles(p, 8 * i, h, row, stride, table, i_bytes(add));
            } else if (kind == BYTES) {
                UNROLL
                for (int half = 0; half < 2; half++) {
                    field16(row + 16 * half, stride, v);
                    UNROLL
                    for (int k = 0; k < 4; k++) panel_put(p, 8 * i + 4 * half + k, h, i_xor(v[k], i_bytes(SIGNED_FLIP)));
                }
            } else {
                uint32_t t[VN];
                vi bits;
                UNROLL
                for (int r = 0; r < VN; r++) t[r] = load_u32(row - 4 + (size_t)r * stride);
                bits = i_load(t);
                field16(row, stride, v);
                UNROLL
                for (int k = 0; k < 4; k++) {
                    panel_put(p, 8 * i + k, h, i_or(low_nibbles(v[k]), i_bit16(bits, k)));
                    panel_put(p, 8 * i + 4 + k, h, i_or(high_nibbles(v[k]), i_bit16(bits, k + 4)));
                }
            }
        }
    }
}

static const int8_t mxfp4_plus16[16] = { 16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4 };

static void build_q4_0(panel *p, const uint8_t *b, size_t stride, int n) { build32(p, b, stride, n, 18, NIBBLES, false, 2, NULL, 0); }
static void build_q4_1(panel *p, const uint8_t *b, size_t stride, int n) { build32(p, b, stride, n, 20, NIBBLES, true, 4, NULL, 0); }
static void build_q5_0(panel *p, const uint8_t *b, size_t stride, int n) { build32(p, b, stride, n, 22, FIFTH_BIT, false, 6, NULL, 0); }
static void build_q5_1(panel *p, const uint8_t *b, size_t stride, int n) { build32(p, b, stride, n, 24, FIFTH_BIT, true, 8, NULL, 0); }
static void build_q8_0(panel *p, const uint8_t *b, size_t stride, int n) { build32(p, b, stride, n, 34, BYTES, false, 2, NULL, 0); }
static void build_iq4_nl(panel *p, const uint8_t *b, size_t stride, int n) { build32(p, b, stride, n, 18, NIBBLES, false, 2, iq4_value, SIGNED_FLIP); }

/* E8M0 e as 2^(e-128): (e-1) << 23, or the two subnormals 1 << 21 and 1 << 22. */
static void build_mxfp4(panel *p, const uint8_t *b, size_t stride, int n)
{
    for (int i = 0; i < n; i++, b += 17) {
        uint8_t e[TILE_ROWS];
        UNROLL
        for (int r = 0; r < TILE_ROWS; r++) e[r] = b[(size_t)r * stride];
        for (int h = 0; h < TILE_ROWS; h += VN) {
            vi v = i_load_bytes(e + h), least = i_add(i_shl(i_and(v, i_dwords(1)), 21), i_dwords(1 << 21));
            v_store(p->d[i] + h, i_as_float(i_max(i_sub(i_shl(v, 23), i_dwords(1 << 23)), least)));
            put_nibbles(p, 8 * i, h, b + (size_t)h * stride + 1, stride, mxfp4_plus16, i_zero());
        }
    }
}

/* Zero points 0..16: codes - zero + 16 are 0..31. */
static void build_q4_g(panel *p, const uint8_t *b, size_t stride, int n)
{
    for (int i = 0; i < n; i++, b += 20) {
        uint32_t t[TILE_ROWS];
        UNROLL
        for (int r = 0; r < TILE_ROWS; r++) t[r] = (uint32_t)(16 - b[(size_t)r * stride + 2]) * 0x01010101u;
        panel_halves(p->d[i], b, stride);
        for (int h = 0; h < TILE_ROWS; h += VN) put_nibbles(p, 8 * i, h, b + (size_t)h * stride + 4, stride, NULL, i_load(t + h));
    }
}

/* ------------------------------------------------------ super-blocks of 256 */

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

SIMD_INLINE void put_minima(panel *p, int at, int h, vi v)
{
    i_store(p->mn[at] + h, i_and(v, i_dwords(0x00ff00ff)));
    i_store(p->mn[at + 1] + h, i_and(i_shr(v, 8), i_dwords(0x00ff00ff)));
}

SIMD_INLINE void field32(const uint8_t *p, size_t stride, vi out[8])
{
    field16(p, stride, out);
    field16(p + 16, stride, out + 4);
}

/* Q4_K, and with fifth Q5_K. */
SIMD_INLINE void build_q45_k(panel *p, const uint8_t *b, size_t stride, bool fifth)
{
    const vi six = i_bytes(63), two = i_bytes(0x30);

    panel_halves(p->d[0], b, stride);
    panel_halves(p->m[0], b + 2, stride);
    for (int h = 0; h < TILE_ROWS; h += VN, b += (size_t)VN * stride) {
        vi s[4], high[8], q[8];
        field16(b, stride, s);
        put_scales(p, 0, h, i_and(s[1], six));
        put_scales(p, 4, h, i_or(low_nibbles(s[3]), i_and(i_shr(s[1], 2), two)));
        put_minima(p, 0, h, i_and(s[2], six));
        put_minima(p, 2, h, i_or(high_nibbles(s[3]), i_and(i_shr(s[2], 2), two)));
        if (fifth) field32(b + 16, stride, high);
        for (int t = 0; t < 4; t++) {
            field32(b + (fifth ? 48 : 16) + 32 * t, stride, q);
            UNROLL
            for (int i = 0; i < 8; i++) {
                vi low = low_nibbles(q[i]), top = high_nibbles(q[i]);
                if (fifth) {
                    low = i_or(low, i_shl(i_and(high[i], i_bytes(1)), 4)), top = i_or(top, i_shl(i_and(high[i], i_bytes(2)), 3));
                    high[i] = i_shr(high[i], 2);
                }
                panel_put(p, 16 * t + i, h, low);
                panel_put(p, 16 * t + 8 + i, h, top);
            }
        }
    }
}

static void build_q4_k(panel *p, const uint8_t *b, size_t stride, int n) { (void)n, build_q45_k(p, b, stride, false); }
static void build_q5_k(panel *p, const uint8_t *b, size_t stride, int n) { (void)n, build_q45_k(p, b, stride, true); }

static void build_q6_k(panel *p, const uint8_t *b, size_t stride, int n)
{
    const vi two = i_bytes(0x30);

    (void)n;
    panel_halves(p->d[0], b + 208, stride);
    for (int h = 0; h < TILE_ROWS; h += VN, b += (size_t)VN * stride) {
        vi s[4], a[8], c[8], high[8];
        field16(b + 192, stride, s);
        UNROLL
        for (int i = 0; i < 4; i++) put_signed_scales(p, 4 * i, h, s[i]);
        for (int half = 0; half < 2; half++) {
            field32(b + 64 * half, stride, a);
            field32(b + 64 * half + 32, stride, c);
            field32(b + 128 + 32 * half, stride, high);
            UNROLL
            for (int i = 0; i < 8; i++) {
                panel_put(p, 32 * half + i, h, i_or(low_nibbles(a[i]), i_and(i_shl(high[i], 4), two)));
                panel_put(p, 32 * half + 8 + i, h, i_or(low_nibbles(c[i]), i_and(i_shl(high[i], 2), two)));
                panel_put(p, 32 * half + 16 + i, h, i_or(high_nibbles(a[i]), i_and(high[i], two)));
                panel_put(p, 32 * half + 24 + i, h, i_or(high_nibbles(c[i]), i_and(i_shr(high[i], 2), two)));
            }
        }
    }
}

static void build_q2_k(panel *p, const uint8_t *b, size_t stride, int n)
{
    (void)n;
    panel_halves(p->d[0], b + 80, stride);
    panel_halves(p->m[0], b + 82, stride);
    for (int h = 0; h < TILE_ROWS; h += VN, b += (size_t)VN * stride) {
        vi s[4], q[8];
        field16(b, stride, s);
        UNROLL
        for (int i = 0; i < 4; i++) {
            put_scales(p, 4 * i, h, low_nibbles(s[i]));
            put_minima(p, 2 * i, h, high_nibbles(s[i]));
        }
        for (int half = 0; half < 2; half++) {
            field32(b + 16 + 32 * half, stride, q);
            UNROLL
            for (int i = 0; i < 8; i++) {
                UNROLL
                for (int j = 0; j < 4; j++) panel_put(p, 32 * half + 8 * j + i, h, i_and(i_shr(q[i], 2 * j), i_bytes(3)));
            }
        }
    }
}

/* Codes 0..7: the stored bit takes 4 off where it is clear, so codes are 4 too high everywhere. */
static void build_q3_k(panel *p, const uint8_t *b, size_t stride, int n)
{
    (void)n;
    panel_halves(p->d[0], b + 108, stride);
    for (int h = 0; h < TILE_ROWS; h += VN, b += (size_t)VN * stride) {
        vi s[4], t[3], high[8], q[8];
        field16(b + 94, stride, s);             /* the 12 bytes of scales begin at 96; the block ends at 110 */
        UNROLL
        for (int i = 0; i < 3; i++) t[i] = i_or(i_shr(s[i], 16), i_shl(s[i + 1], 16));
        for (int g = 0; g < 4; g++) {
            vi low = g < 2 ? low_nibbles(t[g]) : high_nibbles(t[g - 2]);
            put_signed_scales(p, 4 * g, h, i_sub8(i_or(low, i_shl(i_and(t[2], i_bytes(3)), 4)), i_bytes(32)));
            t[2] = i_shr(t[2], 2);
        }
        field32(b, stride, high);
        for (int half = 0; half < 2; half++) {
            field32(b + 32 + 32 * half, stride, q);
            UNROLL
            for (int i = 0; i < 8; i++) {
                UNROLL
                for (int j = 0; j < 4; j++)
                    panel_put(p, 32 * half + 8 * j + i, h,
                              i_or(i_and(i_shr(q[i], 2 * j), i_bytes(3)), i_shl(i_and(i_shr(high[i], j), i_bytes(1)), 2)));
                high[i] = i_shr(high[i], 4);
            }
        }
    }
}

static void build_iq4_xs(panel *p, const uint8_t *b, size_t stride, int n)
{
    (void)n;
    panel_halves(p->d[0], b, stride);
    for (int h = 0; h < TILE_ROWS; h += VN, b += (size_t)VN * stride) {
        vi s[4], high;
        field16(b, stride, s);
        high = i_shr(s[0], 16);
        for (int i = 0; i < 8; i++) {
            vi sc = i_or(i_and(s[1], i_dwords(15)), i_shl(i_and(high, i_dwords(3)), 4));
            v_store(p->sc[i] + h, i_float(i_sub(sc, i_dwords(32))));
            put_nibbles(p, 8 * i, h, b + 8 + 16 * i, stride, iq4_value, i_bytes(SIGNED_FLIP));
            s[1] = i_shr(s[1], 4), high = i_shr(high, 2);
        }
    }
}
