/* charsmap.h - SentencePiece's precompiled normalization rules (nmt_nfkc and its kin): longest prefix -> replacement. */
#ifndef LLM_CHARSMAP_H
#define LLM_CHARSMAP_H
#include "status.h"
#include "text_buf.h"

/* A double-array trie (Darts-clone units, little-endian u32) and the replacements, each ended by NUL. All zero: no rules. */
typedef struct { uint32_t *unit; size_t n_unit; char *text; size_t n_text; } llm_charsmap;

void charsmap_free(llm_charsmap *m);
/* blob: u32 size of the trie, the trie, the replacements. Copied. */
llm_status charsmap_open(llm_charsmap *m, const void *blob, size_t len, llm_error *err);
/* The longest rule that begins s [n]: its length, and what it becomes; 0: none. */
size_t charsmap_match(const llm_charsmap *m, const char *s, size_t n, const char **to, size_t *n_to);
#endif
