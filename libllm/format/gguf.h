/* gguf.h - GGUF versions 1 to 3, little endian. The layout: ggml docs/gguf.md.
 *
 * Works on bytes in memory. Key-values stay views into them: type, place and size, checked. Limits: keys 1..65535 bytes,
 * tensor names 1..255, both UTF-8 without NUL; strings and arrays what the file holds; GGUF_MAX_KV keys; arrays of arrays
 * are refused; alignment a power of two from 8 to 2^24; 1 to 4 dimensions of 1 and more (0 dimensions: a scalar). Tensors
 * may lie in any order and with holes, but must not overlap. */
#ifndef LLM_GGUF_H
#define LLM_GGUF_H
#include "tensors.h"

enum { GGUF_STRIDE = 8, GGUF_MAX_KV = 1 << 16, GGUF_MAX_KEY = 65535, GGUF_MAX_NAME = 255, GGUF_MAX_ALIGN = 1 << 24 };

#define GGUF_TYPE_LIST(X) \
    X(U8, 0, 1) X(I8, 1, 1) X(U16, 2, 2) X(I16, 3, 2) X(U32, 4, 4) X(I32, 5, 4) X(F32, 6, 4) X(BOOL, 7, 1) \
    X(STRING, 8, 0) X(ARRAY, 9, 0) X(U64, 10, 8) X(I64, 11, 8) X(F64, 12, 8)
typedef enum {
#define X(id, number, bytes) GGUF_##id = number,
    GGUF_TYPE_LIST(X)
#undef X
} gguf_type;

typedef struct {
    const char *key;
    gguf_type type;                     /* of the value, or of each element: never GGUF_ARRAY */
    bool array;
    size_t count;                       /* 1 for a scalar */
    const uint8_t *data;                /* [count] numbers back to back, unaligned; a scalar string: its bytes */
    size_t bytes;
    size_t *at;                         /* array of strings: [count / GGUF_STRIDE + 2] where each GGUF_STRIDE-th begins in data, then bytes; else NULL */
} gguf_kv;

typedef struct gguf gguf;

/* Reads the header of data [size], which must outlive *out and the tensors. The tensors are added to list with
 * file as their number. label: the file in messages. On failure *out is NULL; list may hold some tensors. */
llm_status gguf_parse(gguf **out, tensor_list *list, const uint8_t *data, size_t size, int file, const char *label, llm_error *err);
void gguf_close(gguf *g);
size_t gguf_n_kv(const gguf *g);
const gguf_kv *gguf_kv_at(const gguf *g, size_t i);
const gguf_kv *gguf_find(const gguf *g, const char *key);      /* NULL: absent */
/* Element i of a string value: any bytes. False where kv is not of strings or i is past the end. */
bool gguf_string(const gguf *g, const gguf_kv *kv, size_t i, const char **s, size_t *len);
/* Element i of an integer value that fits int64; false for any other type. */
bool gguf_int(const gguf_kv *kv, size_t i, int64_t *out);
bool gguf_real(const gguf_kv *kv, size_t i, double *out);      /* F32 and F64 only */
const char *gguf_type_name(gguf_type type);
#endif
