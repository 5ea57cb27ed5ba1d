/* spm_model.c - tokenizer.model: SentencePiece's ModelProto (google/sentencepiece: src/sentencepiece_model.proto), read field by field. */
#include "file.h"
#include "json.h"
#include "tokenizer_parts.h"
#include <math.h>

enum { MAX_FILE = 512 << 20, MAX_PIECES = VOCAB_MAX };

typedef struct { const uint8_t *p, *end; } wire;
typedef struct { uint32_t number, type; uint64_t value; const uint8_t *data; size_t len; } field;

static bool varint(wire *w, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && w->p < w->end; shift += 7) {
        uint8_t b = *w->p++;
        *out |= (uint64_t)(b & 127) << shift;
        if (b < 128) return true;
    }
    return false;
}

/* The next field of a message; false at its end or at a broken one (*broken). */
static bool next_field(wire *w, field *f, bool *broken)
{
    uint64_t tag;
    size_t left;

    if (w->p == w->end) return false;
    *broken = true;
    if (!varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return false;
    *f = (field){ .number = (uint32_t)(tag >> 3), .type = tag & 7 };
    left = (size_t)(w->end - w->p);
    switch (f->type) {
    case 0:
        if (!varint(w, &f->value)) return false;
        break;
    case 1: case 5:
        f->len = f->type == 1 ? 8 : 4;
        if (left < f->len) return false;
        for (size_t i = 0; i < f->len; i++) f->value |= (uint64_t)w->p[i] << 8 * i;
        w->p += f->len;
        break;
    case 2:
        if (!varint(w, &f->value) || f->value > (uint64_t)(w->end - w->p)) return false;
        f->data = w->p, f->len = (size_t)f->value;
        w->p += f->len;
        break;
    default:
        return false;
    }
    *broken = false;
    return true;
}

typedef struct {
    llm_tokenizer *t;
    float *score;
    size_t cap;
    int64_t n;
    int64_t model_type;                 /* 1 unigram, 2 BPE, 3 word, 4 char */
    int64_t unk, bos, eos;
    bool byte_fallback, prefix, trim, escape, suffix;
    const uint8_t *charsmap;
    size_t n_charsmap;
    text_buf b;
} reader;

static llm_status broken_at(const char *what, llm_error *err)
{
    return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.model: %s is cut short or is no protocol buffer", what);
}

static llm_status add_piece(reader *r, const char *s, size_t n, float score, int64_t type, llm_error *err)
{
    llm_tokenizer *t = r->t;
    llm_status st;

    if (r->n == MAX_PIECES) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.model: more than %d pieces", MAX_PIECES);
    if (n == 0) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.model: piece %lld is empty", (long long)r->n);
    if (isnan(score)) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.model: the score of piece %lld is not a number", (long long)r->n);
    if ((size_t)r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 4096;
        float *p = realloc(r->score, cap * sizeof *p);

        if (p == NULL) return llm_fail_memory(err, cap * sizeof *p, "piece scores");
        r->score = p, r->cap = cap;
    }
    r->score[r->n] = score;
    switch (type) {
    case TOK_CONTROL: case TOK_UNKNOWN:
        if ((st = tok_add_special(t, r->n, s, n, ADDED_CONTROL, false, err)) != LLM_OK) return st;
        t->vocab.type[r->n] = (uint8_t)type;
        break;
    case TOK_USER:
        if ((st = tok_set_spelled(t, r->n, s, n, &r->b, err)) != LLM_OK) return st;
        t->vocab.type[r->n] = TOK_USER;
        st = added_put(&t->own, t->vocab.pool.data + t->vocab.off[r->n], t->vocab.len[r->n], (int32_t)r->n, 0, err);
        if (st != LLM_OK) return st;
        break;
    case TOK_BYTE:
        if (byte_token(s, n) < 0)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.model: byte piece %lld is \"%.*s\", wanted <0x00>..<0xFF>", (long long)r->n,
                            (int)(n < 40 ? n : 40), s);
        if ((st = tok_set_spelled(t, r->n, s, n, &r->b, err)) != LLM_OK) return st;
        break;
    case TOK_NORMAL: case TOK_UNUSED:
        if ((st = tok_set_spelled(t, r->n, s, n, &r->b, err)) != LLM_OK) return st;
        if (t->vocab.type[r->n] == TOK_BYTE)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.model: piece %lld, \"%.*s\", is not marked as a byte", (long long)r->n, (int)n, s);
        if (type == TOK_UNUSED) t->vocab.type[r->n] = TOK_UNUSED;
        break;
    default:
        return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.model: piece %lld has type %lld, wanted 1..6", (long long)r->n, (long long)type);
    }
    r->n++;
    return LLM_OK;
}

static llm_status read_piece(reader *r, const field *piece, llm_error *err)
{
    wire w = { piece->data, piece->data + piece->len };
    const char *s = "";
    size_t n = 0;
    float score = 0;
    int64_t type = TOK_NORMAL;
    bool broken = false;
    field f;

    while (next_field(&w, &f, &broken)) {
        uint32_t bits = (uint32_t)f.value;

        if (f.number == 1 && f.type == 2) s = (const char *)f.data, n = f.len;
        if (f.number == 2 && f.type == 5) memcpy(&score, &bits, 4);
        if (f.number == 3 && f.type == 0) type = (int64_t)f.value;
    }
    return broken ? broken_at("a piece", err) : add_piece(r, s, n, score, type, err);
}

/* trainer_spec: what of it matters when the model is used. */
static llm_status read_trainer(reader *r, const field *spec, llm_error *err)
{
    wire w = { spec->data, spec->data + spec->len };
    bool broken = false;
    field f;

    while (next_field(&w, &f, &broken)) {
        if (f.type != 0) continue;
        if (f.number == 3) r->model_type = (int64_t)f.value;
        if (f.number == 24) r->suffix = f.value != 0;
        if (f.number == 35) r->byte_fallback = f.value != 0;
        if (f.number == 40) r->unk = (int32_t)f.value;
        if (f.number == 41) r->bos = (int32_t)f.value;
        if (f.number == 42) r->eos = (int32_t)f.value;
    }
    return broken ? broken_at("trainer_spec", err) : LLM_OK;
}

static llm_status read_normalizer(reader *r, const field *spec, llm_error *err)
{
    wire w = { spec->data, spec->data + spec->len };
    bool broken = false;
    field f;

    while (next_field(&w, &f, &broken)) {
        if (f.number == 2 && f.type == 2) r->charsmap = f.data, r->n_charsmap = f.len;
        if (f.number == 3 && f.type == 0) r->prefix = f.value != 0;
        if (f.number == 4 && f.type == 0) r->trim = f.value != 0;
        if (f.number == 5 && f.type == 0) r->escape = f.value != 0;
    }
    return broken ? broken_at("normalizer_spec", err) : LLM_OK;
}

/* Pieces come first in the file, but the specs say how to read them: two passes. */
static llm_status read_model(reader *r, const uint8_t *data, size_t len, llm_error *err)
{
    llm_tokenizer *t = r->t;

    for (int pass = 0; pass < 2; pass++) {
        wire w = { data, data + len };
        bool broken = false;
        field f;

        while (next_field(&w, &f, &broken)) {
            llm_status st = LLM_OK;

            if (f.type != 2) continue;
            if (pass == 0 && f.number == 2) st = read_trainer(r, &f, err);
            if (pass == 0 && f.number == 3) st = read_normalizer(r, &f, err);
            if (pass == 1 && f.number == 1) st = read_piece(r, &f, err);
            if (st != LLM_OK) return st;
        }
        if (broken) return broken_at("the file", err);
        if (pass == 1) break;
        if (r->model_type != 1 && r->model_type != 2)
            return llm_fail(err, LLM_ERR_UNSUPPORTED, "tokenizer.model: model type %lld is neither unigram (1) nor BPE (2)",
                            (long long)r->model_type);
        t->model = r->model_type == 1 ? MODEL_UNIGRAM : MODEL_CHARS;
        t->byte_fallback = r->byte_fallback, t->escape = r->escape, t->dummy_prefix = r->prefix, t->trim = r->trim;
        t->suffix = r->suffix;
    }
    if (r->n == 0) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.model: no pieces");
    return LLM_OK;
}

static llm_token of_type(const reader *r, int64_t id, tok_type type)
{
    return id >= 0 && id < r->n && r->t->vocab.type[id] == type ? (llm_token)id : -1;
}

static llm_status build(reader *r, const char *dir, llm_error *err)
{
    llm_tokenizer *t = r->t;
    double *score;
    llm_status st;

    t->fuse_unk = true, t->strip_first = t->dummy_prefix || t->trim;
    t->unk = of_type(r, r->unk, TOK_UNKNOWN), t->bos = of_type(r, r->bos, TOK_CONTROL), t->eos = of_type(r, r->eos, TOK_CONTROL);
    t->adds_bos = t->bos >= 0;
    if (r->n_charsmap && (st = charsmap_open(&t->charsmap, r->charsmap, r->n_charsmap, err)) != LLM_OK) return st;
    if (dir && (st = tok_load_companions(t, dir, err)) != LLM_OK) return st;
    if ((size_t)t->vocab.n > r->cap) {                      /* companions may add tokens behind the pieces */
        float *p = realloc(r->score, (size_t)t->vocab.n * sizeof *p);
        if (p == NULL) return llm_fail_memory(err, (size_t)t->vocab.n * sizeof *p, "piece scores");
        r->score = p, r->cap = (size_t)t->vocab.n;
    }
    for (int i = (int)r->n; i < t->vocab.n; i++) r->score[i] = 0;
    if (t->model == MODEL_CHARS) return tok_build_chars_by_score(t, r->score, err);
    if ((score = malloc((size_t)t->vocab.n * sizeof *score)) == NULL) return llm_fail_memory(err, (size_t)t->vocab.n * 8, "piece scores");
    for (int i = 0; i < t->vocab.n; i++) score[i] = r->score[i];
    st = vocab_index(&t->vocab, 1u << TOK_NORMAL, true, err);
    if (st == LLM_OK) st = unigram_init(&t->unigram, &t->vocab, score, true, t->escape, err);
    free(score);
    return st;
}

llm_status tok_load_spm(llm_tokenizer *t, const char *path, const char *dir, llm_error *err)
{
    reader r = { .t = t, .model_type = 1, .unk = 0, .bos = 1, .eos = 2, .prefix = true, .trim = true, .escape = true };
    char *data;
    size_t len;
    llm_status st = file_read(&data, &len, path, MAX_FILE, err);

    if (st != LLM_OK) return st;
    st = read_model(&r, (const uint8_t *)data, len, err);
    if (st == LLM_OK) st = build(&r, dir, err);
    free(r.score);
    buf_free(&r.b);
    free(data);
    return st;
}
