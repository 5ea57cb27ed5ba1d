/* Codebook formats: groups of 4 or 8 values are one grid entry, with separate signs (formulas as in dequant.c). */
#include "dequant.h"
#include "narrow.h"
#include "iq_grids.h"

/* The sign index of 8 values holds 7 bits; the eighth makes the number of minus signs even. */
static unsigned sign_bits(unsigned index) { return index | (unsigned)__builtin_parity(index) << 7; }

/* n values (8 or 4) of a grid entry: code j of bits bits picks a magnitude; bit j of sign negates. */
static inline void grid_values(float *y, int n, unsigned entry, int bits, const uint8_t *value, unsigned sign, float db)
{
    for (int j = 0; j < n; j++) {
        float v = db * (float)value[entry >> bits * j & ((1u << bits) - 1)];
        y[j] = bits_float(float_bits(v) ^ (sign >> j & 1) << 31);
    }
}

void dequant_iq2_xxs(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i;
        uint32_t s = load_u32(qs + 4);
        float db = d * (0.5f + (float)(s >> 28)) * 0.25f;
        for (int l = 0; l < 4; l++, y += 8)
            grid_values(y, 8, iq2_xxs_grid[qs[l]], 2, iq2_value, sign_bits(s >> 7 * l & 127), db);
    }
}

void dequant_iq2_xs(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 32; i++, y += 8) {
        unsigned q = load_u16(b + 2 + 2 * i);
        float db = d * (0.5f + (float)(b[66 + i / 4] >> (i % 4 / 2) * 4 & 15)) * 0.25f;
        grid_values(y, 8, iq2_xs_grid[q & 511], 2, iq2_value, sign_bits(q >> 9), db);
    }
}

void dequant_iq2_s(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 32; i++, y += 8) {
        unsigned entry = b[2 + i] | (b[66 + i / 4] >> 2 * (i % 4) & 3u) << 8;
        float db = d * (0.5f + (float)(b[74 + i / 4] >> (i % 4 / 2) * 4 & 15)) * 0.25f;
        grid_values(y, 8, iq2_s_grid[entry], 2, iq2_value, b[34 + i], db);
    }
}

void dequant_iq3_xxs(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 8; i++) {
        const uint8_t *qs = b + 2 + 8 * i;
        uint32_t s = load_u32(b + 66 + 4 * i);
        float db = d * (0.5f + (float)(s >> 28)) * 0.5f;
        for (int l = 0; l < 4; l++, y += 8) {
            unsigned sign = sign_bits(s >> 7 * l & 127);
            grid_values(y, 4, iq3_xxs_grid[qs[2 * l]], 3, iq3_xxs_value, sign, db);
            grid_values(y + 4, 4, iq3_xxs_grid[qs[2 * l + 1]], 3, iq3_xxs_value, sign >> 4, db);
        }
    }
}

void dequant_iq3_s(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 32; i++, y += 8) {
        int group = i / 4;
        const uint8_t *qs = b + 2 + 2 * i;
        unsigned qh = b[66 + group], sign = b[74 + i];
        float db = d * (float)(1 + 2 * (b[106 + group / 2] >> 4 * (group % 2) & 15));
        grid_values(y, 4, iq3_s_grid[qs[0] | (qh >> 2 * (i % 4) & 1) << 8], 3, iq3_s_value, sign, db);
        grid_values(y + 4, 4, iq3_s_grid[qs[1] | (qh >> (2 * (i % 4) + 1) & 1) << 8], 3, iq3_s_value, sign >> 4, db);
    }
}

static void iq1_values(float *y, unsigned entry, bool minus, float dl)
{
    float delta = minus ? -0.125f : 0.125f;

    for (int j = 0; j < 8; j++) y[j] = dl * ((float)(int)(iq1_grid[entry] >> 2 * j & 3) - 1.0f + delta);
}

void dequant_iq1_s(const uint8_t *b, float *y)
{
    float d = f16_to_float(load_u16(b));

    for (int i = 0; i < 8; i++) {
        unsigned qh = load_u16(b + 34 + 2 * i);
        float dl = d * (float)(2 * (qh >> 12 & 7) + 1);
        for (int l = 0; l < 4; l++, y += 8)
            iq1_values(y, b[2 + 4 * i + l] | (qh >> 3 * l & 7) << 8, qh & 0x8000, dl);
    }
}

/* The f16 scale is spread over the top nibbles of the four scale words. */
float iq1_m_scale(const uint8_t *b)
{
    unsigned d = 0;

    for (int i = 0; i < 4; i++) d |= (unsigned)load_u16(b + 48 + 2 * i) >> 12 << 4 * i;
    return f16_to_float((uint16_t)d);
}

void dequant_iq1_m(const uint8_t *b, float *y)
{
    float d = iq1_m_scale(b);

    for (int i = 0; i < 32; i++, y += 8) {
        int half = i / 2;               /* groups of 16 share a scale and a byte of qh */
        unsigned scale = (unsigned)load_u16(b + 48 + 2 * (half / 4)) >> 3 * (half % 4) & 7;
        unsigned qh = (unsigned)b[32 + half] >> 4 * (i % 2);
        iq1_values(y, b[i] | (qh & 7) << 8, qh & 8, d * (float)(2 * scale + 1));
    }
}
