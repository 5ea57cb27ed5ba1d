/* tokenizer_parts.h - what a tokenizer is made of; for the files of text/ only. */
#ifndef LLM_TOKENIZER_PARTS_H
#define LLM_TOKENIZER_PARTS_H
#include "added.h"
#include "borders.h"
#include "bpe.h"
#include "charsmap.h"
#include "hf_scan.h"
#include "pretok.h"
#include "tokenizer.h"
#include "unigram.h"
#include "word_cache.h"

typedef enum { MODEL_BYTES, MODEL_CHARS, MODEL_UNIGRAM } tok_model;    /* byte-level BPE, BPE over characters, unigram */

typedef enum { NORM_NFC, NORM_NFD, NORM_NFKC, NORM_NFKD, NORM_LOWER, NORM_PREPEND, NORM_REPLACE, NORM_STRIP } norm_kind;
typedef struct { norm_kind kind; char *a, *b; size_t n_a, n_b; bool left, right; } norm_step;  /* a, b: owned texts */

enum { NORM_MAX_STEPS = 16 };

/* Texts of character models are held with U+2581 turned to a blank ("escaped" vocabularies), in tokens and on the way to them. */
struct llm_tokenizer {
    llm_vocab vocab;
    int n_vocab;                        /* ids */
    tok_model model;
    llm_bpe bpe;
    llm_unigram unigram;
    uni_table *classes;
    llm_added added;                    /* found in raw text */
    llm_added added_late;               /* found after normalizing */
    llm_added own;                      /* user-defined pieces of SentencePiece: never merged */
    norm_step norm[NORM_MAX_STEPS];
    int n_norm;
    llm_pretok pre;
    llm_charsmap charsmap;
    int32_t byte_id[256];               /* token of a byte, or -1 */
    int32_t unk;                        /* -1: none */
    bool byte_fallback, fuse_unk, ignore_merges, prefix_space;     /* prefix_space: ByteLevel's add_prefix_space */
    bool newline_whole;                 /* a run of newlines that is a token is that token (Gemma 4) */
    bool escape;                        /* U+2581 stands for a blank */
    bool dummy_prefix, prefix_first;    /* a blank in front of a text; prefix_first: not again after added tokens */
    bool prefix_if_none;                /* Metaspace: no second blank in front of one */
    bool trim, suffix;                  /* remove_extra_whitespaces; treat_whitespace_as_suffix */
    bool split_blanks;                  /* Metaspace with split: each blank begins a word */
    bool strip_first;                   /* decode takes the first blank off */
    llm_borders borders;                /* of byte-level vocabularies */
    uint8_t *joins;                     /* [8192] bit a << 8 | b: bytes a b stand side by side in a token, across characters */
    llm_token bos, eos;
    bool adds_bos, adds_eos;
    uint8_t *end;                       /* [n_vocab / 8 + 1] bits: ends generation */
};

llm_status tok_new(llm_tokenizer **out, llm_error *err);
void tok_renew(llm_tokenizer *t);       /* makes it as new */
llm_status tok_add_norm(llm_tokenizer *t, norm_kind kind, const char *a, size_t n_a, const char *b, size_t n_b, llm_error *err);
/* The last step of every loader: fills what follows from the vocabulary (added tokens by type, end tokens, n_vocab). */
llm_status tok_finish(llm_tokenizer *t, llm_error *err);
/* Puts token id among the added ones; late: found after normalizing. Its type follows control. Before the vocabulary is indexed. */
llm_status tok_add_special(llm_tokenizer *t, int64_t id, const char *s, size_t len, unsigned flags, bool late, llm_error *err);

/* Builders shared by the formats. */
llm_status tok_build_bytes_by_rank(llm_tokenizer *t, llm_error *err);           /* rank = id */
llm_status tok_build_chars_by_score(llm_tokenizer *t, const float *score, llm_error *err);    /* [vocab.n] */
llm_status tok_build_joins(llm_tokenizer *t, llm_error *err);
/* A token as merges spell it, byte by byte from the alphabet. cut[i]: how many of its bytes are text [i]; 0: none, or i is inside a character. */
enum { SPELLED_BYTES = 128, SPELLED_TEXT = 3 * SPELLED_BYTES + 8 };
typedef struct { char text[3]; uint8_t n; } spelled_byte;
typedef struct { int32_t id; size_t n; char text[SPELLED_TEXT]; uint8_t cut[SPELLED_TEXT]; } spelled_token;
/* A list of merges while it is read. The halves of the last n are not looked up yet: the memory is asked for their lines of the index first. All zero
 * to begin with. */
enum { MERGE_QUEUE = 64 };
typedef struct { uint64_t key; size_t line; } queued_half;
typedef struct {
    bpe_list list;
    size_t n_room;
    queued_half half[MERGE_QUEUE][2];
    int n;
    spelled_byte alphabet[256];
    spelled_token token;                /* that was made last */
    text_buf bytes;
} merge_queue;
/* Merges, in order: begin after the vocabulary is in, then add each, then end. */
llm_status tok_begin_merges(llm_tokenizer *t, size_t n, bool strict, merge_queue *q, llm_error *err);   /* strict: the same token twice is an error */
/* The merge a c; c NULL: a is "A B", cut at the first blank behind its first character. */
llm_status tok_add_merge(llm_tokenizer *t, const char *a, size_t n_a, const char *c, size_t n_c, merge_queue *q, llm_error *err);
/* The next one of a list in tokenizer.json, where it makes the same token as the one before or the next; *st: how that went. False: it does not, and
 * nothing was read. */
bool tok_read_merge(llm_tokenizer *t, scan_list *l, merge_queue *q, llm_status *st, llm_error *err);
/* st: how it went so far, which is returned unless this fails; q is freed in any case. */
llm_status tok_end_merges(llm_tokenizer *t, merge_queue *q, llm_status st, llm_error *err);
/* A token as a byte-level or escaped vocabulary spells it. */
llm_status tok_set_spelled(llm_tokenizer *t, int64_t id, const char *s, size_t n, text_buf *b, llm_error *err);
/* Byte-level alphabet of GPT-2: the text of a token as bytes; false where a character is not of the alphabet. */
bool byte_level_decode(const char *s, size_t n, text_buf *out);
/* The character that stands for a byte: its length, at most 2. */
size_t byte_level_char(uint8_t byte, char *out);
/* <0xNN>: the byte, or -1. */
int byte_token(const char *s, size_t n);

/* Loaders: each fills a fresh tokenizer. dir: folder for the companions, or NULL. */
llm_status tok_load_gguf(llm_tokenizer *t, llm_meta *m, llm_error *err);
/* What a name in tokenizer.ggml.pre says beside the split: text becomes NFC; a word that is a token is it. */
bool tok_pre_nfc(const char *pre);
bool tok_pre_whole(const char *pre);
llm_status tok_load_tiktoken(llm_tokenizer *t, const char *path, const char *dir, llm_error *err);
llm_status tok_load_hf(llm_tokenizer *t, const char *path, const char *dir, llm_error *err);
llm_status tok_load_vocab_merges(llm_tokenizer *t, const char *dir, llm_error *err);
llm_status tok_load_spm(llm_tokenizer *t, const char *path, const char *dir, llm_error *err);
/* tokenizer_config.json, special_tokens_map.json, added_tokens.json: added tokens, BOS and EOS and whether they are added. Before the
 * vocabulary is indexed. */
llm_status tok_load_companions(llm_tokenizer *t, const char *dir, llm_error *err);

enum { WORD_QUEUE = 16 };
typedef struct { const char *s; size_t n; uint64_t key; } queued_word;      /* key: vocab_key */

/* One encode call. */
typedef struct {
    const llm_tokenizer *t;
    llm_token *out;
    size_t cap, n;
    bool special, last_unk;             /* last_unk: the last token out was unk for unknown text */
    const text_span *trusted;           /* [n_trusted] where control tokens may be; NULL: special says */
    size_t n_trusted;
    bool begun;                         /* text or a token was there before this fragment */
    queued_word queue[WORD_QUEUE];      /* of byte-level vocabularies, and the next three */
    int n_queue;
    word_cache cache;
    int32_t word[CACHED_TOKENS];        /* the first tokens of the word or the part of one that is being merged */
    size_t n_word;                      /* and their number; SIZE_MAX: unknown text was among them */
    bpe_work bpe;
    pre_work pre;
    unigram_work unigram;
    text_buf norm[2], piece;
} tok_encoder;

static inline void tok_emit(tok_encoder *e, llm_token id)
{
    if (e->n < e->cap) e->out[e->n] = id;
    e->n++;
    e->last_unk = false;
}
/* Text no token covers: its bytes, or unk. */
llm_status tok_emit_unknown(tok_encoder *e, const char *s, size_t n, llm_error *err);
/* A fragment of a character model: its words, by merging or by the unigram model. */
llm_status chars_encode(tok_encoder *e, const char *s, size_t n, llm_error *err);
/* SentencePiece's normalizing: prefix, blanks, charsmap. first: nothing stands before this fragment. */
llm_status chars_normalize(const llm_tokenizer *t, const char *s, size_t n, bool first, text_buf *out, llm_error *err);
#endif
