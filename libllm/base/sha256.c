/* sha256.c - SHA-256 as FIPS 180-4 writes it, section 6.2. */
#include "sha256.h"
#include <string.h>

/* Section 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const uint32_t sha256_round[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* One round: h becomes the next a, d the next e; the caller hands the variables on in turn. kw: the round's constant and its word. */
#define ROUND(a, b, c, d, e, f, g, h, kw) do { \
    uint32_t t1 = h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + (g ^ (e & (f ^ g))) + (kw); \
    d += t1, h = t1 + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) | (c & (a | b))); \
} while (0)

static void compress(uint32_t v[8], const uint8_t *block)
{
    uint32_t w[64], a = v[0], b = v[1], c = v[2], d = v[3], e = v[4], f = v[5], g = v[6], h = v[7];

    for (int t = 0; t < 16; t++) w[t] = be32(block + 4 * t);
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = ror(w[t - 15], 7) ^ ror(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = ror(w[t - 2], 17) ^ ror(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = s1 + w[t - 7] + s0 + w[t - 16];
    }
    for (int t = 0; t < 64; t += 8) {
        const uint32_t *k = sha256_round + t, *m = w + t;
        ROUND(a, b, c, d, e, f, g, h, k[0] + m[0]);
        ROUND(h, a, b, c, d, e, f, g, k[1] + m[1]);
        ROUND(g, h, a, b, c, d, e, f, k[2] + m[2]);
        ROUND(f, g, h, a, b, c, d, e, k[3] + m[3]);
        ROUND(e, f, g, h, a, b, c, d, k[4] + m[4]);
        ROUND(d, e, f, g, h, a, b, c, k[5] + m[5]);
        ROUND(c, d, e, f, g, h, a, b, k[6] + m[6]);
        ROUND(b, c, d, e, f, g, h, a, k[7] + m[7]);
    }
    v[0] += a, v[1] += b, v[2] += c, v[3] += d, v[4] += e, v[5] += f, v[6] += g, v[7] += h;
}

void sha256_blocks_ref(uint32_t h[8], const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) compress(h, p + 64 * i);
}

void sha256_begin(llm_sha256 *s)
{
    /* Section 5.3.3: the fractional parts of the square roots of the first 8 primes. */
    static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    memcpy(s->h, start, sizeof start);
    s->n = 0;
    s->blocks = sha256_blocks_ref;
#if defined(__x86_64__)
    if (sha256_has_shani()) s->blocks = sha256_blocks_shani;
#endif
}

void sha256_add(llm_sha256 *s, const void *data, size_t n)
{
    const uint8_t *p = data;
    size_t have = s->n % 64;

    if (n == 0) return;
    s->n += n;
    if (have != 0) {
        size_t take = n < 64 - have ? n : 64 - have;
        memcpy(s->block + have, p, take);
        if (have + take < 64) return;
        s->blocks(s->h, s->block, 1);
        p += take, n -= take;
    }
    s->blocks(s->h, p, n / 64);
    memcpy(s->block, p + n / 64 * 64, n % 64);
}

void sha256_end(llm_sha256 *s, uint8_t digest[32])
{
    static const uint8_t pad[64] = { 0x80 };
    uint64_t bits = s->n * 8;
    uint8_t length[8];

    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    sha256_add(s, pad, 1 + (119 - s->n % 64) % 64);     /* up to 8 bytes before a border */
    sha256_add(s, length, sizeof length);
    for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}
