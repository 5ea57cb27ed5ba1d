/* tokenizer.h - bytes <-> token ids, one face for byte-level BPE and SentencePiece vocabularies. */
#ifndef LLM_TOKENIZER_H
#define LLM_TOKENIZER_H
#include "meta.h"
#include "status.h"
#include "text_span.h"

typedef struct llm_tokenizer llm_tokenizer;

/* From an open model: GGUF keys, or the files beside config.json (tokenizer.json, tokenizer.model, *.tiktoken,
 * vocab.json + merges.txt, with tokenizer_config.json, special_tokens_map.json, added_tokens.json).
 * n_vocab: rows of the embedding (0: unknown); ids at or above it are an error. LLM_OK with *out NULL
 * where the model carries no tokenizer at all (GGUF model "none"). */
llm_status tokenizer_open(llm_tokenizer **out, llm_meta *m, llm_store *s, int n_vocab, llm_error *err);
/* From a single file or folder: .gguf, tokenizer.json, tokenizer.model (SentencePiece), *.tiktoken. */
llm_status tokenizer_open_path(llm_tokenizer **out, const char *path, llm_error *err);
void tokenizer_close(llm_tokenizer *t);

size_t tokenizer_memory(const llm_tokenizer *t);            /* bytes of its tables; patterns compiled by PCRE2 come on top */
int tokenizer_n_vocab(const llm_tokenizer *t);              /* highest id + 1 */
llm_token tokenizer_bos(const llm_tokenizer *t);            /* -1: none */
llm_token tokenizer_eos(const llm_tokenizer *t);
bool tokenizer_adds_bos(const llm_tokenizer *t);
bool tokenizer_adds_eos(const llm_tokenizer *t);
bool tokenizer_adds_blank(const llm_tokenizer *t);              /* in front of a text, and decode takes it off again */
bool tokenizer_is_control(const llm_tokenizer *t, llm_token id);
bool tokenizer_is_end(const llm_tokenizer *t, llm_token id);     /* ends generation */
void tokenizer_set_end(llm_tokenizer *t, llm_token id);          /* while loading: generation_config's eos ids */

/* As llm_tokenize in llm.h (flags LLM_TOKENIZE_*). Any number of threads may encode with one tokenizer. Bytes that are no UTF-8 are kept
 * where the vocabulary has bytes. There can be more ids than bytes (compatibility forms grow): compare *n with cap. Without
 * LLM_TOKENIZE_SPECIAL no control token comes out, whatever the text says; added tokens that are no control tokens (<think>) are found always. */
llm_status tokenizer_encode(const llm_tokenizer *t, const char *text, size_t len, unsigned flags,
                            llm_token *out, size_t cap, size_t *n, llm_error *err);
/* The same for a text of which only the spans trusted [n_trusted] (ascending, apart) may hold control tokens; the text between
 * control tokens is tokenized as one, wherever it came from. No BOS is added. */
llm_status tokenizer_encode_marked(const llm_tokenizer *t, const char *text, size_t len, const text_span *trusted, size_t n_trusted,
                                   llm_token *out, size_t cap, size_t *n, llm_error *err);
/* Bytes of one token, owned by t ("" and 0 for an unknown id). */
const char *tokenizer_bytes(const llm_tokenizer *t, llm_token id, size_t *len);
llm_token tokenizer_find(const llm_tokenizer *t, const char *text, size_t len);
/* All ids at once; the inverse of encode. *text is malloc'ed [len] and the caller's. The blank SentencePiece puts in
 * front of a text is taken off again. with_control: control tokens appear as their spelling, else as nothing. */
llm_status tokenizer_decode(const llm_tokenizer *t, const llm_token *ids, size_t n, bool with_control,
                            char **text, size_t *len, llm_error *err);
/* SHA-256 of the vocabulary, the merges and the rules: the same hash, the same tokens. */
void tokenizer_digest(const llm_tokenizer *t, uint8_t digest[32]);
/* The streaming form is llm_detok of llm.h, made by: */
llm_status detok_open(llm_detok **out, const llm_tokenizer *t, unsigned flags, llm_error *err);
#endif
