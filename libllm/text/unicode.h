/* unicode.h - UTF-8, character classes and normal forms, over utf8proc's tables. */
#ifndef LLM_UNICODE_H
#define LLM_UNICODE_H
#include "text_buf.h"

enum {                                  /* classes of a code point; UP and LOW as the o200k pattern has them */
    UC_L = 1, UC_N = 2, UC_M = 4, UC_P = 8, UC_S = 16, UC_WS = 32,
    UC_UP = 64,                         /* Lu Lt Lm Lo M */
    UC_LOW = 128                        /* Ll Lm Lo M */
};
#define UC_INVALID 0xffffffffu          /* "code point" of a byte that is not part of a UTF-8 character; of no class */

/* Classes of the first 65536 code points, and which code points NFC never touches. 72 KiB, made once per tokenizer. */
typedef struct { uint8_t cls[65536]; uint8_t unsafe[8192]; } uni_table;

void uni_init(uni_table *u);
uint8_t uni_class_slow(uint32_t cp);    /* any code point, from utf8proc */

static inline uint8_t uni_class(const uni_table *u, uint32_t cp)
{
    return cp < 65536 ? u->cls[cp] : cp == UC_INVALID ? 0 : uni_class_slow(cp);
}

int utf8_decode_slow(const uint8_t *s, const uint8_t *end, uint32_t *cp);
/* The character at s < end and its length in bytes; an invalid byte is UC_INVALID, of length 1. */
static inline int utf8_decode(const uint8_t *s, const uint8_t *end, uint32_t *cp)
{
    uint32_t c = *s;

    if (c < 0x80) return *cp = c, 1;
    if (c >= 0xe1 && c < 0xed && end - s >= 3 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80)       /* none of these is invalid */
        return *cp = (c & 15) << 12 | (s[1] & 63u) << 6 | (s[2] & 63u), 3;
    if (c >= 0xc2 && c < 0xe0 && end - s >= 2 && (s[1] & 0xc0) == 0x80) return *cp = (c & 31) << 6 | (s[1] & 63u), 2;
    return utf8_decode_slow(s, end, cp);
}
int utf8_encode(uint32_t cp, char *out);            /* 1..4 bytes */
/* Bytes missing from the valid but incomplete character at s (n bytes are there), 0 if it is complete or can never be valid. */
int utf8_missing(const uint8_t *s, size_t n);

typedef enum { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD } uni_form;
/* Appends the normal form of s [n]; invalid bytes are kept as they are. False where memory ran out. */
bool uni_normalize(const uni_table *u, uni_form form, const char *s, size_t n, text_buf *out);
/* True where NFC certainly changes nothing. */
bool uni_is_nfc(const uni_table *u, const char *s, size_t n);
/* Appends the lower-case form, character by character. */
bool uni_lower(const char *s, size_t n, text_buf *out);
#endif
