/* shim_tiles.h - scalar twins of the matrix instructions (device.h). Included by it. */
#ifndef LLM_CUDA_SHIM_TILES_H
#define LLM_CUDA_SHIM_TILES_H

/* Word `reg` that lane `lane` left. */
static inline uint32_t shim_word(unsigned char (*slot)[shim::SLOT], int lane, int reg)
{
    uint32_t w;
    memcpy(&w, slot[lane] + 4 * reg, sizeof w);
    return w;
}

/* a [16, 4 n] and b [4 n, 8] bytes a word, n words of each along k: n 8 (k32) or 4 (k16). */
static inline void shim_s8(int d[4], const uint32_t *a, const uint32_t *b, int n_a, int n_b)
{
    unsigned char mine[shim::SLOT];
    int lane = shim::e.now->index % 32;

    memcpy(mine, a, 4 * (size_t)n_a), memcpy(mine + 16, b, 4 * (size_t)n_b);
    unsigned char (*slot)[shim::SLOT] = shim::exchange(mine, sizeof mine);
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + 8 * (i / 2), col = lane % 4 * 2 + i % 2;
        for (int w = 0; w < 4 * n_b; w++)
            d[i] = __dp4a((int)shim_word(slot, row % 8 * 4 + w % 4, row / 8 + 2 * (w / 4)), (int)shim_word(slot, col * 4 + w % 4, 4 + w / 4), d[i]);
    }
}
static inline void mma_s8_k32(int d[4], const uint32_t a[4], const uint32_t b[2]) { shim_s8(d, a, b, 4, 2); }
static inline void mma_s8_k16(int d[4], const uint32_t a[2], uint32_t b) { shim_s8(d, a, &b, 2, 1); }

static inline void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    unsigned char mine[shim::SLOT];
    int lane = shim::e.now->index % 32;

    memcpy(mine, a, 16), memcpy(mine + 16, b, 8);
    unsigned char (*slot)[shim::SLOT] = shim::exchange(mine, sizeof mine);
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + 8 * (i / 2), col = lane % 4 * 2 + i % 2;
        for (int w = 0; w < 8; w++) {
            uint32_t x = shim_word(slot, row % 8 * 4 + w % 4, row / 8 + 2 * (w / 4)), y = shim_word(slot, col * 4 + w % 4, 4 + w / 4);
            d[i] = fmaf(f16_float((uint16_t)x), f16_float((uint16_t)y), d[i]);
            d[i] = fmaf(f16_float((uint16_t)(x >> 16)), f16_float((uint16_t)(y >> 16)), d[i]);
        }
    }
}

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
