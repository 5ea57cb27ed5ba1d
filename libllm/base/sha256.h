/* sha256.h - SHA-256 (FIPS 180-4): identity of models, checksums of saved state. */
#ifndef LLM_BASE_SHA256_H
#define LLM_BASE_SHA256_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t h[8];
    uint64_t n;                         /* bytes seen */
    uint8_t block[64];                  /* the last n % 64 of them */
} llm_sha256;

void sha256_begin(llm_sha256 *s);
void sha256_add(llm_sha256 *s, const void *data, size_t n);     /* data may be NULL where n is 0 */
void sha256_end(llm_sha256 *s, uint8_t digest[32]);             /* s must be begun again after it */
#endif
