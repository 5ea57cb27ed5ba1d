/* sha256.h - SHA-256 (FIPS 180-4): identity of models, checksums of saved state. */
#ifndef LLM_BASE_SHA256_H
#define LLM_BASE_SHA256_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t h[8];
    uint64_t n;                         /* bytes seen */
    uint8_t block[64];                  /* the last n % 64 of them */
    void (*blocks)(uint32_t h[8], const uint8_t *p, size_t n);      /* sha256_begin takes the fastest there is */
} llm_sha256;

void sha256_begin(llm_sha256 *s);
void sha256_add(llm_sha256 *s, const void *data, size_t n);     /* data may be NULL where n is 0 */
void sha256_end(llm_sha256 *s, uint8_t digest[32]);             /* s must be begun again after it */

/* n blocks of 64 bytes go into the state h: as the standard writes it, and with the instructions of x86 for it. */
void sha256_blocks_ref(uint32_t h[8], const uint8_t *p, size_t n);
void sha256_blocks_shani(uint32_t h[8], const uint8_t *p, size_t n);
bool sha256_has_shani(void);
extern const uint32_t sha256_round[64];                         /* the constants of the rounds */
#endif
