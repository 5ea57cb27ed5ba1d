/* gguf_write.h - a GGUF file (version 3) from key-values and a list of tensors whose data follow one by one.
 *
 * The file is written under a temporary name beside its own, and takes its name when it is whole and on the disk: until then, and
 * when anything fails, whatever had the name stays. Space is asked for before the first byte. Two writers of one name do not
 * disturb each other; the last one to finish wins. */
#ifndef LLM_GGUF_WRITE_H
#define LLM_GGUF_WRITE_H
#include "gguf.h"

typedef struct { uint8_t *data; size_t n, cap; bool failed; } gguf_bytes;

/* What goes into the file. All zero to begin with. The names and keys are kept in it. Adding notes a failed allocation, which
 * gguf_writer_begin answers. */
typedef struct {
    gguf_bytes kv, info;
    name_pool text;
    size_t n_kv, n_tensor;
    uint64_t data_bytes;                /* of all tensors, each padded */
    bool twice;                         /* a key was given twice (see gguf_out_has) */
    const char **key;                   /* [n_kv] */
    size_t cap_key;
} gguf_out;

bool gguf_out_has(const gguf_out *o, const char *key);
void gguf_out_u32(gguf_out *o, const char *key, uint32_t v);
void gguf_out_f32(gguf_out *o, const char *key, float v);
void gguf_out_bool(gguf_out *o, const char *key, bool v);
void gguf_out_str(gguf_out *o, const char *key, const char *s, size_t len);
/* Any array of numbers: data [n] elements of type, as they lie in memory. */
void gguf_out_array(gguf_out *o, const char *key, gguf_type type, const void *data, size_t n);
/* An array of n strings: begin, then each. */
void gguf_out_strings(gguf_out *o, const char *key, size_t n);
void gguf_out_next(gguf_out *o, const char *s, size_t len);
/* A key of another file as it is. */
void gguf_out_copy(gguf_out *o, const gguf *g, const gguf_kv *kv);
/* A tensor, dim [n_dim] outermost first; false where its size wraps or its rows are not whole blocks. */
bool gguf_out_tensor(gguf_out *o, const char *name, llm_dtype dtype, const int64_t *dim, int n_dim);
void gguf_out_free(gguf_out *o);

typedef struct {
    int fd;                             /* -1: none */
    char *path, *temporary;
    uint64_t at;                        /* bytes written of the data section */
    llm_error *err;
} gguf_writer;

/* Header, keys and tensor list are written. path is copied. */
llm_status gguf_writer_begin(gguf_writer *w, const gguf_out *o, const char *path, llm_error *err);
/* The same into the file behind fd, which the caller keeps; there is no finish. label: its name in messages, copied. */
llm_status gguf_writer_into(gguf_writer *w, const gguf_out *o, int fd, const char *label, llm_error *err);
/* The next bytes of data; a tensor's last ones are followed by gguf_writer_pad. */
llm_status gguf_writer_put(gguf_writer *w, const void *data, size_t n);
llm_status gguf_writer_pad(gguf_writer *w);
/* To the disk, and into place. */
llm_status gguf_writer_finish(gguf_writer *w, const gguf_out *o);
void gguf_writer_close(gguf_writer *w);     /* without finish: nothing is left behind */

/* text [n] under path, whole or not at all: the same way. */
llm_status file_replace(const char *path, const void *data, size_t n, llm_error *err);
#endif
