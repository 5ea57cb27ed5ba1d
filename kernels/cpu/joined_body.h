/* joined_body.h - rows of F4_E2M1, whose scales lie in another place, on their way to the kernels of MXFP4: a chunk of a tile in the form of
 * pack.h. Included by product_body.h and matvec_body.h. In use until such weights are packed (model/repack.h).
 * Bound by shifts: about 50 instructions for a block of 32 values of VN rows. */

/* Bytes 0 and 1 of each lane as bytes 0 and 2. */
SIMD_INLINE vi spread(vi v)
{
    v = i_and(v, i_dwords(0xffff));
    return i_and(i_or(v, i_shl(v, 8)), i_dwords(0x00ff00ff));
}

/* Dwords of 16 bytes with values 2j and 2j+1 in byte j become such with j and j+16: mxfp4_join. */
SIMD_INLINE void join_codes(vi v[4])
{
    const vi low = i_bytes(15), high = i_bytes(0xf0);
    vi out[4];

    UNROLL
    for (int i = 0; i < 2; i++) {
        vi even = i_or(i_and(v[i], low), i_and(i_shl(v[i + 2], 4), high)), odd = i_or(i_and(i_shr(v[i], 4), low), i_and(v[i + 2], high));
        out[2 * i] = i_or(spread(even), i_shl(spread(odd), 8));
        out[2 * i + 1] = i_or(spread(i_shr(even, 16)), i_shl(spread(i_shr(odd, 16)), 8));
    }
    UNROLL
    for (int i = 0; i < 4; i++) v[i] = out[i];
}

/* Values k .. of rows row .. row + TILE_ROWS - 1, n_block blocks of 32 of them. */
static void join_chunk(uint32_t (*to)[TILE_ROWS], const matrix *w, int64_t row, int64_t k, int n_block)
{
    const steps step = steps_of(w->row_bytes);
    const uint8_t *b = w->data + (size_t)row * w->row_bytes + k / 2, *scale = w->scale + (size_t)row * w->scale_row_bytes + k / 32;

    for (int i = 0; i < n_block; i += 4, scale += 4) {
        int n = n_block - i < 4 ? n_block - i : 4;
        for (size_t r = 0; r < TILE_ROWS; r++) {
            const uint8_t *s = scale + r * w->scale_row_bytes;
            to[0][r] = 0;
            if (n == 4) memcpy(&to[0][r], s, 4); else memcpy(&to[0][r], s, (size_t)n);
        }
        to++;
        for (int j = 0; j < n; j++, to += 4, b += 16)
            for (int h = 0; h < TILE_ROWS; h += VN) {
                vi v[4];
                field16(b + (size_t)h * w->row_bytes, step, v);
                join_codes(v);
                for (int q = 0; q < 4; q++) i_store(to[q] + h, v[q]);
            }
    }
}
