/* sha256_shani.c - SHA-256 with the SHA extensions of x86 (Intel SDM vol. 2B, SHA256RNDS2, SHA256MSG1, SHA256MSG2).
 * The state is kept as the instructions want it: (a, b, e, f) and (c, d, g, h), the first in the highest lane. */
#include "sha256.h"
#include <cpuid.h>
#include <immintrin.h>

/* CPUID leaf 7, EBX bit 29: SHA; leaf 1, ECX bits 9 and 19: SSSE3 and SSE4.1 for the shuffles. */
bool sha256_has_shani(void)
{
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 9 & 1) || !(c >> 19 & 1)) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}

/* Rounds 4t to 4t + 3 on the words w. */
#define ROUNDS(t, w) do { \
    __m128i k = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)(const void *)(sha256_round + 4 * (t)))); \
    cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k); \
    abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0e)); \
} while (0)
/* w0 <- the four words that follow w0, w1, w2, w3 in the message schedule. */
#define NEXT(w0, w1, w2, w3) \
    w0 = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4)), w3)
#define LOAD(i) _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * (i))), swap)

void sha256_blocks_shani(uint32_t h[8], const uint8_t *p, size_t n)
{
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)h), hgfe = _mm_loadu_si128((const __m128i *)(const void *)(h + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b), feba, dchg;
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

    for (; n > 0; n--, p += 64) {
        __m128i abef0 = abef, cdgh0 = cdgh, w0 = LOAD(0), w1 = LOAD(1), w2 = LOAD(2), w3 = LOAD(3);
        ROUNDS(0, w0); ROUNDS(1, w1); ROUNDS(2, w2); ROUNDS(3, w3);
        for (int t = 4; t < 16; t += 4) {
            NEXT(w0, w1, w2, w3); ROUNDS(t, w0);
            NEXT(w1, w2, w3, w0); ROUNDS(t + 1, w1);
            NEXT(w2, w3, w0, w1); ROUNDS(t + 2, w2);
            NEXT(w3, w0, w1, w2); ROUNDS(t + 3, w3);
        }
        abef = _mm_add_epi32(abef, abef0), cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)(void *)h, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}
