/* tok_export.h - a loaded tokenizer as tokenizer.ggml.* keys, whatever it was loaded from. */
#ifndef LLM_TOK_EXPORT_H
#define LLM_TOK_EXPORT_H
#include "gguf_write.h"
#include "tokenizer.h"

/* Adds the keys; t NULL: the model carries none, which GGUF calls "none". n_vocab: rows of the embedding, which ids without a
 * token are padded to. meta: where the chat template and the ids of special tokens are named, or NULL. UNSUPPORTED, with the reason, for
 * tokenizers that GGUF has no words for. */
llm_status tok_export(const llm_tokenizer *t, llm_meta *meta, int n_vocab, gguf_out *out, llm_error *err);
/* Both give the same tokens for every text, as far as can be told from what they are made of and from a few texts: LLM_OK, or
 * UNSUPPORTED with the first difference. */
llm_status tok_same(const llm_tokenizer *a, const llm_tokenizer *b, llm_error *err);
#endif
