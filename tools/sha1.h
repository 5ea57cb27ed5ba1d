/* sha1.h - SHA-1 (FIPS 180-4): git names the small files of a Hugging Face repository by it. It finds damage, not attacks. */
#ifndef TOOL_SHA1_H
#define TOOL_SHA1_H
#include <stddef.h>
#include <stdint.h>

typedef struct { uint32_t h[5]; uint64_t n; uint8_t block[64]; } sha1;

void sha1_begin(sha1 *s);
void sha1_add(sha1 *s, const void *data, size_t n);
void sha1_end(sha1 *s, uint8_t digest[20]);
#endif
