/* shim_tiles.h - scalar twins of the matrix instructions (device.h), which include it. The lane that comes last computes the tile
 * for all. */
#ifndef LLM_CUDA_SHIM_TILES_H
#define LLM_CUDA_SHIM_TILES_H

/* Along k a lane's word of a holds the values of column place l % 4 + 4 (reg / 2), of b l % 4 + 4 reg; N values a word. */
template <class T, int N, int WORDS> struct shim_tile { T a[16][N * WORDS], b[8][N * WORDS], d[16][8]; };

/* Each lane's registers into the tile, then the product, then each lane's share of it. `value` makes value i of a word a T. */
template <class T, int N, int WORDS, class F> static inline void shim_mma(T d[4], const uint32_t *a, const uint32_t *b, F value)
{
    typedef shim_tile<T, N, WORDS> tile;
    shim::fiber *f = shim::e.now;
    tile *t = (tile *)shim::e.w[f->index / 32].tile[f->parity ^= 1];
    int lane = f->index % 32;

    static_assert(sizeof(tile) <= shim::TILE, "the tile fits");
    for (int r = 0; r < WORDS / 2; r++) for (int i = 0; i < N; i++)
        t->a[lane / 4 + 8 * (r % 2)][N * (lane % 4 + 4 * (r / 2)) + i] = value(a[r], i);
    for (int r = 0; r < WORDS / 4; r++) for (int i = 0; i < N; i++)
        t->b[lane / 4][N * (lane % 4 + 4 * r) + i] = value(b[r], i);
    shim::wait(&shim::e.w[f->index / 32].meet, [t] {
        for (int i = 0; i < 16; i++) for (int j = 0; j < 8; j++) {
            T sum = 0;
            for (int k = 0; k < N * WORDS; k++) sum += t->a[i][k] * t->b[j][k];
            t->d[i][j] = sum;
        }
    });
    for (int i = 0; i < 4; i++) d[i] += t->d[lane / 4 + 8 * (i / 2)][lane % 4 * 2 + i % 2];
}

static inline int shim_s8(uint32_t w, int i) { return (int8_t)(w >> 8 * i); }
static inline float shim_half(uint32_t w, int i) { return f16_float((uint16_t)(w >> 16 * i)); }

static inline void mma_s8_k32(int d[4], const uint32_t a[4], const uint32_t b[2]) { shim_mma<int, 4, 8>(d, a, b, shim_s8); }
static inline void mma_s8_k16(int d[4], const uint32_t a[2], uint32_t b) { shim_mma<int, 4, 4>(d, a, &b, shim_s8); }
static inline void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2]) { shim_mma<float, 2, 8>(d, a, b, shim_half); }

static inline void shim_tiles(uint32_t r[4], const void *row, bool turned)
{
    int lane = shim::e.now->index % 32;
    unsigned char (*slot)[shim::SLOT] = shim::exchange(&row, sizeof row);

    if ((uintptr_t)row % 16 != 0) shim::fail("a row of a tile is not aligned to 16 bytes");
    for (int i = 0; i < 4; i++) {
        uint16_t pair[2];
        for (int h = 0; h < 2; h++) {
            const uint16_t *p;
            memcpy(&p, slot[8 * i + (turned ? lane % 4 * 2 + h : lane / 4)], sizeof p);
            pair[h] = p[turned ? lane / 4 : lane % 4 * 2 + h];
        }
        r[i] = (uint32_t)pair[0] | (uint32_t)pair[1] << 16;
    }
}
static inline void load_tiles(uint32_t r[4], const void *row) { shim_tiles(r, row, false); }
static inline void load_tiles_turned(uint32_t r[4], const void *row) { shim_tiles(r, row, true); }
#endif
