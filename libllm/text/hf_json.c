/* hf_json.c - tokenizer.json of Hugging Face tokenizers: normalizer, pre-tokenizer, model, post-processor, decoder, added tokens. What is
 * not supported is refused by its name: a tokenizer that is nearly right is worse than none. */
#include "tokenizer_parts.h"
#include "file.h"
#include "hf_parts.h"
#include "hf_scan.h"
#include <math.h>

enum { MAX_FILE = 512 << 20, MAX_DEPTH = 8 };

typedef struct { const char *text, *path; hf_lists lists; } hf_source;      /* the file and the two lists in it */

static const char *type_of(const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "type"));

    return s ? s : "";
}

static bool truth(const json_t *o, const char *key, bool absent)
{
    const json_t *v = json_object_get(o, key);

    return json_is_boolean(v) ? json_is_true(v) : absent;
}

static const char *text_of(const json_t *o, const char *key, size_t *n)
{
    const json_t *v = json_object_get(o, key);

    *n = json_string_length(v);
    return json_is_string(v) ? json_string_value(v) : NULL;
}

static bool is_blank_mark(const char *s, size_t n) { return s && n == 3 && memcmp(s, "\xe2\x96\x81", 3) == 0; }
static bool is_one_blank(const char *s, size_t n) { return s && n == 1 && *s == ' '; }

static llm_status refuse(const char *what, const char *name, llm_error *err)
{
    return llm_fail(err, LLM_ERR_UNSUPPORTED, "tokenizer.json: %s \"%s\" is not supported", what, name);
}

/* ---- normalizer ---------------------------------------------------------- */

static llm_status read_normalizer(llm_tokenizer *t, const json_t *o, int depth, llm_error *err)
{
    static const struct { const char *name; norm_kind kind; } plain[] = {
        { "NFC", NORM_NFC }, { "NFD", NORM_NFD }, { "NFKC", NORM_NFKC }, { "NFKD", NORM_NFKD }, { "Lowercase", NORM_LOWER },
    };
    const char *type = type_of(o), *a, *b;
    size_t n_a, n_b;
    llm_status st;

    if (o == NULL || json_is_null(o)) return LLM_OK;
    if (depth > MAX_DEPTH) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: normalizers are nested too deep");
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (strcmp(type, plain[i].name) == 0) return tok_add_norm(t, plain[i].kind, NULL, 0, NULL, 0, err);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(o, "normalizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            if ((st = read_normalizer(t, json_array_get(list, i), depth + 1, err)) != LLM_OK) return st;
        return LLM_OK;
    }
    if (strcmp(type, "Prepend") == 0) {
        if ((a = text_of(o, "prepend", &n_a)) == NULL) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: Prepend without a text");
        return tok_add_norm(t, NORM_PREPEND, a, n_a, NULL, 0, err);
    }
    if (strcmp(type, "Replace") == 0) {
        a = text_of(json_object_get(o, "pattern"), "String", &n_a), b = text_of(o, "content", &n_b);
        if (a == NULL || n_a == 0 || b == NULL) return refuse("normalizer", "Replace with a regular expression", err);
        if (is_one_blank(a, n_a) && is_blank_mark(b, n_b)) t->escape = true;
        return tok_add_norm(t, NORM_REPLACE, a, n_a, b, n_b, err);
    }
    if (strcmp(type, "Strip") == 0) {
        if ((st = tok_add_norm(t, NORM_STRIP, NULL, 0, NULL, 0, err)) != LLM_OK) return st;
        t->norm[t->n_norm - 1].left = truth(o, "strip_left", true), t->norm[t->n_norm - 1].right = truth(o, "strip_right", true);
        return LLM_OK;
    }
    return refuse("normalizer", type, err);
}

/* The usual steps of SentencePiece vocabularies as flags, so that they cost no copy: Prepend U+2581 then Replace " ", or Replace alone. */
static void simplify_norm(llm_tokenizer *t)
{
    norm_step *last = t->n_norm ? &t->norm[t->n_norm - 1] : NULL;

    if (last == NULL || !t->escape || last->kind != NORM_REPLACE || !is_one_blank(last->a, last->n_a) || t->n_norm > 2) return;
    if (t->n_norm == 2 && (t->norm[0].kind != NORM_PREPEND || !is_blank_mark(t->norm[0].a, t->norm[0].n_a))) return;
    t->dummy_prefix = t->n_norm == 2;
    for (int i = 0; i < t->n_norm; i++) free(t->norm[i].a), free(t->norm[i].b);
    t->n_norm = 0;
}

/* ---- pre-tokenizer -------------------------------------------------------- */

static llm_status read_behavior(const json_t *o, pre_behavior *out, llm_error *err)
{
    static const char *const names[] = { "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous" };
    const char *name = json_string_value(json_object_get(o, "behavior"));

    *out = PRE_ISOLATED;
    if (name == NULL) return LLM_OK;
    for (int i = 0; i < 5; i++)
        if (strcmp(names[i], name) == 0) return *out = (pre_behavior)i, LLM_OK;
    return refuse("split behavior", name, err);
}

static llm_status read_split(llm_tokenizer *t, const json_t *o, llm_error *err)
{
    const json_t *pattern = json_object_get(o, "pattern");
    size_t n;
    const char *s = text_of(pattern, "String", &n);
    pre_behavior b;
    bool invert = truth(o, "invert", false);
    llm_status st = read_behavior(o, &b, err);

    if (st != LLM_OK) return st;
    if (s) {
        if (t->escape && is_one_blank(s, n)) return LLM_OK;         /* no blank is left to split at (Gemma) */
        return pretok_add_literal(&t->pre, s, n, b, invert, err);
    }
    if ((s = text_of(pattern, "Regex", &n)) == NULL) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: Split without a pattern");
    return pretok_add_regex(&t->pre, s, n, b, invert, err);
}

static llm_status read_metaspace(llm_tokenizer *t, const json_t *o, llm_error *err)
{
    const char *scheme = json_string_value(json_object_get(o, "prepend_scheme")), *s;
    size_t n;

    s = text_of(o, "replacement", &n);
    if (!is_blank_mark(s, n)) return refuse("Metaspace replacement", s ? s : "", err);
    if (scheme == NULL) scheme = truth(o, "add_prefix_space", true) ? "always" : "never";
    t->escape = true;
    t->dummy_prefix = strcmp(scheme, "never") != 0, t->prefix_first = strcmp(scheme, "first") == 0;
    t->prefix_if_none = true;
    t->split_blanks = truth(o, "split", true);
    return LLM_OK;
}

static llm_status read_pre(llm_tokenizer *t, const json_t *o, int depth, bool *bytes, llm_error *err)
{
    const char *type = type_of(o);
    llm_status st;

    if (o == NULL || json_is_null(o)) return LLM_OK;
    if (depth > MAX_DEPTH) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: pre-tokenizers are nested too deep");
    if (*bytes) return refuse("a pre-tokenizer behind ByteLevel:", type, err);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(o, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            if ((st = read_pre(t, json_array_get(list, i), depth + 1, bytes, err)) != LLM_OK) return st;
        return LLM_OK;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        *bytes = true;
        t->prefix_space = truth(o, "add_prefix_space", true);
        if (t->prefix_space && t->pre.n > 0) return refuse("pre-tokenizer", "ByteLevel with add_prefix_space behind another", err);
        return truth(o, "use_regex", true) ? pretok_add(&t->pre, pre_gpt2, err) : LLM_OK;
    }
    if (t->dummy_prefix || t->split_blanks) return refuse("a pre-tokenizer with Metaspace:", type, err);
    if (strcmp(type, "Split") == 0) return read_split(t, o, err);
    if (strcmp(type, "Digits") == 0)
        return pretok_add(&t->pre, truth(o, "individual_digits", false) ? pre_digit : pre_digits, err);
    if (strcmp(type, "Punctuation") == 0) {
        pre_behavior b;
        if ((st = read_behavior(o, &b, err)) != LLM_OK) return st;
        return b == PRE_ISOLATED ? pretok_add(&t->pre, pre_punctuation, err) : refuse("pre-tokenizer", "Punctuation that is not Isolated", err);
    }
    if (strcmp(type, "Metaspace") == 0) {
        if (t->pre.n > 0) return refuse("pre-tokenizer", "Metaspace behind another", err);
        return read_metaspace(t, o, err);
    }
    return refuse("pre-tokenizer", type, err);
}

/* ---- post-processor and decoder -------------------------------------------- */

static llm_status read_template(llm_tokenizer *t, const json_t *o, llm_error *err)
{
    const json_t *single = json_object_get(o, "single");
    bool after = false;

    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *part = json_array_get(single, i), *special = json_object_get(part, "SpecialToken"), *ids;
        const char *name = json_string_value(json_object_get(special, "id"));
        llm_token *slot = after ? &t->eos : &t->bos;
        bool *adds = after ? &t->adds_eos : &t->adds_bos;

        if (special == NULL) { after = true; continue; }
        ids = json_object_get(json_object_get(json_object_get(o, "special_tokens"), name ? name : ""), "ids");
        if (name == NULL || json_array_size(ids) != 1 || !json_is_integer(json_array_get(ids, 0)) || *adds)
            return refuse("post-processor", "TemplateProcessing with more than one token on a side", err);
        if (json_integer_value(json_array_get(ids, 0)) < 0 || json_integer_value(json_array_get(ids, 0)) >= VOCAB_MAX)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: special token \"%s\" has no valid id", name);
        *slot = (llm_token)json_integer_value(json_array_get(ids, 0)), *adds = true;
    }
    return LLM_OK;
}

static llm_status read_post(llm_tokenizer *t, const json_t *o, int depth, llm_error *err)
{
    const char *type = type_of(o);

    if (o == NULL || json_is_null(o) || strcmp(type, "ByteLevel") == 0) return LLM_OK;
    if (depth > MAX_DEPTH) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: post-processors are nested too deep");
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(t, o, err);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(o, "processors");
        for (size_t i = 0; i < json_array_size(list); i++) {
            llm_status st = read_post(t, json_array_get(list, i), depth + 1, err);
            if (st != LLM_OK) return st;
        }
        return LLM_OK;
    }
    return refuse("post-processor", type, err);
}

static llm_status read_decoder(llm_tokenizer *t, const json_t *o, int depth, llm_error *err)
{
    const char *type = type_of(o), *s;
    size_t n;

    if (o == NULL || json_is_null(o) || strcmp(type, "ByteLevel") == 0 || strcmp(type, "ByteFallback") == 0 || strcmp(type, "Fuse") == 0)
        return LLM_OK;
    if (depth > MAX_DEPTH) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: decoders are nested too deep");
    if (strcmp(type, "Replace") == 0 && is_blank_mark(text_of(json_object_get(o, "pattern"), "String", &n), 3)) return LLM_OK;
    if (strcmp(type, "Metaspace") == 0) {
        t->strip_first |= t->dummy_prefix;
        return LLM_OK;
    }
    if (strcmp(type, "Strip") == 0) {
        s = text_of(o, "content", &n);
        if (!is_one_blank(s, n) || json_integer_value(json_object_get(o, "start")) > 1 || json_integer_value(json_object_get(o, "stop")) != 0)
            return refuse("decoder", "Strip of more than one leading blank", err);
        t->strip_first |= json_integer_value(json_object_get(o, "start")) == 1;
        return LLM_OK;
    }
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(o, "decoders");
        for (size_t i = 0; i < json_array_size(list); i++) {
            llm_status st = read_decoder(t, json_array_get(list, i), depth + 1, err);
            if (st != LLM_OK) return st;
        }
        return LLM_OK;
    }
    return refuse("decoder", type, err);
}

/* ---- model ----------------------------------------------------------------- */

static llm_status read_vocab(llm_tokenizer *t, const scan_span *span, const hf_source *src, llm_error *err)
{
    scan_list list = { .p = span->s, .end = span->end, .text = src->text, .path = src->path };
    text_buf b = { 0 };
    const char *s;
    size_t n;
    int64_t id = 0;
    bool done = span->s == NULL;
    llm_status st = LLM_OK;

    while (st == LLM_OK && !done) {
        st = scan_vocab_next(&list, &s, &n, &id, &done, err);
        if (st == LLM_OK && !done) st = tok_set_spelled(t, id, s, n, &b, err);
    }
    buf_free(&b), buf_free(&list.b[0]), buf_free(&list.b[1]);
    return st;
}

static llm_status read_merges(llm_tokenizer *t, const scan_span *span, const hf_source *src, llm_error *err)
{
    scan_list list = { .p = span->s, .end = span->end, .text = src->text, .path = src->path };
    merge_queue q = { 0 };
    const char *x, *y;
    size_t n_x, n_y;
    bool done = span->s == NULL;
    llm_status st = tok_begin_merges(t, (size_t)t->vocab.n, true, &q, err);

    while (st == LLM_OK && !done) {
        if (tok_read_merge(t, &list, &q, &st, err)) continue;
        st = scan_merge_next(&list, &x, &n_x, &y, &n_y, &done, err);
        if (st == LLM_OK && !done) st = tok_add_merge(t, x, n_x, y, n_y, &q, err);
    }
    if (st == LLM_OK && list.p != span->end) st = llm_fail(err, LLM_ERR_FORMAT, "%s: the merges are not the last list", src->path);
    st = tok_end_merges(t, &q, st, err);
    buf_free(&list.b[0]), buf_free(&list.b[1]);
    return st;
}

static bool is_text(const json_t *o, const char *key) { return json_string_length(json_object_get(o, key)) > 0; }

static llm_status check_bpe(llm_tokenizer *t, const json_t *model, llm_error *err)
{
    if (json_number_value(json_object_get(model, "dropout")) > 0) return refuse("BPE option", "dropout", err);
    if (is_text(model, "continuing_subword_prefix")) return refuse("BPE option", "continuing_subword_prefix", err);
    if (is_text(model, "end_of_word_suffix")) return refuse("BPE option", "end_of_word_suffix", err);
    t->byte_fallback = truth(model, "byte_fallback", false);
    t->fuse_unk = truth(model, "fuse_unk", false);
    t->ignore_merges = truth(model, "ignore_merges", false);
    return LLM_OK;
}

static void find_unk(llm_tokenizer *t, const json_t *model)
{
    size_t n;
    const char *s = text_of(model, "unk_token", &n);

    for (int id = 0; s && id < t->vocab.n; id++)
        if (t->vocab.type[id] != TOK_HOLE && t->vocab.len[id] == n && memcmp(t->vocab.pool.data + t->vocab.off[id], s, n) == 0) t->unk = id;
}

static llm_status read_unigram(llm_tokenizer *t, const json_t *model, double **score, llm_error *err)
{
    const json_t *vocab = json_object_get(model, "vocab"), *unk = json_object_get(model, "unk_id");
    size_t n = json_array_size(vocab);
    text_buf b = { 0 };
    llm_status st = LLM_OK;

    if (n == 0 || n > VOCAB_MAX) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: %zu pieces, wanted 1..%d", n, VOCAB_MAX);
    t->byte_fallback = truth(model, "byte_fallback", false), t->fuse_unk = true;
    if (json_is_integer(unk)) {
        if (json_integer_value(unk) < 0 || (size_t)json_integer_value(unk) >= n)
            return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: unk_id is not below the %zu pieces", n);
        t->unk = (int32_t)json_integer_value(unk);
    }
    if ((*score = malloc(n * sizeof **score)) == NULL) return llm_fail_memory(err, n * sizeof **score, "piece scores");
    for (size_t i = 0; st == LLM_OK && i < n; i++) {
        const json_t *o = json_array_get(vocab, i), *s = json_array_get(o, 0), *x = json_array_get(o, 1);

        (*score)[i] = json_number_value(x);
        if (!json_is_string(s) || !json_is_number(x) || !isfinite((*score)[i]))
            st = llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: piece %zu is not [text, score]", i);
        else st = tok_set_spelled(t, (int64_t)i, json_string_value(s), json_string_length(s), &b, err);
        if (st == LLM_OK && (int32_t)i == t->unk) t->vocab.type[i] = TOK_UNKNOWN;
    }
    buf_free(&b);
    return st;
}

static llm_status read_added(llm_tokenizer *t, const json_t *list, llm_error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i), *id = json_object_get(o, "id");
        size_t n;
        const char *s = text_of(o, "content", &n);
        /* Normalized tokens are looked for in the normalized text; without a normalizer that is the text. */
        bool late = truth(o, "normalized", !truth(o, "special", false)) && (t->n_norm > 0);
        llm_status st;

        if (!json_is_integer(id) || s == NULL) return llm_fail(err, LLM_ERR_FORMAT, "tokenizer.json: added token %zu has no id or content", i);
        if (n == 0) continue;
        if ((st = tok_add_special(t, json_integer_value(id), s, n, hf_token_flags(o), late, err)) != LLM_OK) return st;
    }
    return LLM_OK;
}

static llm_status read_model(llm_tokenizer *t, const json_t *root, const hf_source *src, const char *dir, llm_error *err)
{
    const json_t *model = json_object_get(root, "model");
    const char *type = type_of(model);
    bool unigram = strcmp(type, "Unigram") == 0;
    double *score = NULL;
    llm_status st;

    /* Old files leave the type out; merges tell. */
    if (!unigram && strcmp(type, "BPE") != 0 && !(*type == 0 && src->lists.merges.s)) return refuse("model", type, err);
    if (unigram && t->model == MODEL_BYTES) return refuse("model", "Unigram over bytes", err);
    if (unigram) t->model = MODEL_UNIGRAM;
    if (unigram) st = read_unigram(t, model, &score, err);
    else if ((st = check_bpe(t, model, err)) == LLM_OK && (st = read_vocab(t, &src->lists.vocab, src, err)) == LLM_OK)
        find_unk(t, model);
    if (st == LLM_OK) st = read_added(t, json_object_get(root, "added_tokens"), err);
    if (st == LLM_OK && (st = read_post(t, json_object_get(root, "post_processor"), 0, err)) == LLM_OK && dir)
        st = tok_load_companions(t, dir, err);
    if (st == LLM_OK && unigram && (size_t)t->vocab.n > json_array_size(json_object_get(model, "vocab"))) {
        double *more = realloc(score, (size_t)t->vocab.n * sizeof *more);    /* added tokens stand behind the pieces */
        if (more == NULL) st = llm_fail_memory(err, (size_t)t->vocab.n * sizeof *more, "piece scores");
        else {
            score = more;
            for (size_t i = json_array_size(json_object_get(model, "vocab")); i < (size_t)t->vocab.n; i++) score[i] = 0;
        }
    }
    if (st == LLM_OK && unigram) st = vocab_index(&t->vocab, 1u << TOK_NORMAL, false, err);
    if (st == LLM_OK) st = unigram ? unigram_init(&t->unigram, &t->vocab, score, false, t->escape, err) : read_merges(t, &src->lists.merges, src, err);
    if (st == LLM_OK && t->model == MODEL_CHARS) st = tok_build_joins(t, err);
    free(score);
    return st;
}

static llm_status read_tree(llm_tokenizer *t, const json_t *root, const hf_source *src, const char *dir, llm_error *err)
{
    bool bytes = false;
    llm_status st;

    if (!json_is_object(json_object_get(root, "model")))
        return llm_fail(err, LLM_ERR_FORMAT, "%s: no \"model\" object: not a tokenizer.json", src->path);
    t->model = MODEL_CHARS;
    if ((st = read_normalizer(t, json_object_get(root, "normalizer"), 0, err)) != LLM_OK) return st;
    if ((st = read_pre(t, json_object_get(root, "pre_tokenizer"), 0, &bytes, err)) != LLM_OK) return st;
    if (bytes) t->model = MODEL_BYTES, t->escape = false;
    if (t->pre.n == 0 && !bytes) simplify_norm(t);
    if ((st = read_decoder(t, json_object_get(root, "decoder"), 0, err)) != LLM_OK) return st;
    return read_model(t, root, src, dir, err);
}

static llm_status load(llm_tokenizer *t, const file_map *file, const char *path, const char *dir, bool merges_last, llm_error *err)
{
    hf_source src = { .path = path, .text = file->data ? (const char *)file->data : "" };
    json_t *root = NULL;
    llm_status st = hf_scan(&src.lists, src.text, file->size, path, merges_last, err);

    if (st == LLM_OK) st = json_read_text(&root, src.lists.rest.data ? src.lists.rest.data : "", src.lists.rest.len, path, err);
    if (st == LLM_OK) st = read_tree(t, root, &src, dir, err);
    if (st == LLM_OK && src.lists.end_taken && t->model == MODEL_UNIGRAM)       /* which reads no merges */
        st = llm_fail(err, LLM_ERR_FORMAT, "%s: merges beside pieces with scores", path);
    json_decref(root);
    buf_free(&src.lists.rest);
    return st;
}

/* The merges are most of the file and mostly the last thing in it: then they need not be passed over to find their end. Where anything is wrong with that,
 * the file is read once more without it. */
llm_status tok_load_hf(llm_tokenizer *t, const char *path, const char *dir, llm_error *err)
{
    file_map file;
    llm_status st = file_map_open(&file, path, err);

    if (st != LLM_OK) return st;
    if (file.size > MAX_FILE) st = llm_fail(err, LLM_ERR_FORMAT, "%s: got %zu bytes, wanted at most %d", file_label(path), file.size, MAX_FILE);
    else if ((st = load(t, &file, path, dir, true, err)) != LLM_OK && st != LLM_ERR_MEMORY) tok_renew(t), st = load(t, &file, path, dir, false, err);
    file_map_close(&file);
    return st;
}
