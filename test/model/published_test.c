/* Public configurations (test/data/published_configs.jsonl) against the published parameter counts, without weights: the
 * tensors that each family asks for are counted, then files of their names, shapes and true sizes, but without data
 * (sparse), are opened in both formats. LLM_TEST_CASE=name runs one of them. */
#include "../format/gguf_build.h"
#include "model.h"
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>

#define CONFIGS "test/data/published_configs.jsonl"

/* ---- the tensors of a model, from its config alone ------------------------------------ */

/* Receives tensors one by one; dim outermost first. */
typedef struct {
    bool hf;
    buf json;                           /* safetensors header */
    gguf_build g;
    uint64_t at, n_param;               /* bytes of data so far */
    int n_tensor;
} maker;

static void add(maker *k, const char *name, int dtype, int n_dim, const int64_t *dim)
{
    uint64_t turned[4], n = 1;
    char text[512];
    size_t bytes;

    for (int i = 0; i < n_dim; i++) n *= (uint64_t)dim[i], turned[n_dim - 1 - i] = (uint64_t)dim[i];
    ck_assert(dtype_bytes(dtype, (int64_t)n, &bytes));
    if (k->hf) {
        int at = snprintf(text, sizeof text, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[", k->n_tensor ? "," : "{", name);
        for (int i = 0; i < n_dim; i++) at += snprintf(text + at, sizeof text - (size_t)at, "%s%" PRId64, i ? "," : "", dim[i]);
        at += snprintf(text + at, sizeof text - (size_t)at, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", k->at, k->at + bytes);
        buf_put(&k->json, text, (size_t)at);
    } else {
        gguf_info(&k->g, name, (uint32_t)dtype, (uint32_t)n_dim, turned, k->at);
        bytes = (bytes + 31) / 32 * 32;
    }
    k->at += bytes, k->n_param += n, k->n_tensor++;
}

static const char *spelling(const llm_arch *arch, int slot, bool hf)
{
    for (const llm_alias *a = arch->alias; a && a->slot != W_COUNT; a++)
        if ((int)a->slot == slot && (hf ? a->hf : a->gguf)) return hf ? a->hf : a->gguf;
    return hf ? llm_weight_table[slot].hf : llm_weight_table[slot].gguf;
}

/* Layouts of safetensors that the table of weights does not say. False: it does. */
static bool add_hf_layout(maker *k, const llm_config *c, const llm_arch *arch, int il, int slot, const int64_t dim[3], const char *prefix)
{
    static const char *const proj[] = { "gate_proj", "up_proj", "down_proj" };
    int64_t wide[3] = { dim[0], 0, 0 };
    char name[160];

    if (slot == W_wk_b) {
        snprintf(name, sizeof name, "%sself_attn.kv_b_proj.weight", prefix);
        add(k, name, DT_BF16, 2, (int64_t[]){ (int64_t)c->n_head * (c->d_nope + c->d_v), c->kv_lora });
    } else if (strcmp(arch->hf_name, "qwen") == 0 && (slot == W_wq || slot == W_bq)) {
        snprintf(name, sizeof name, "%sattn.c_attn.%s", prefix, slot == W_wq ? "weight" : "bias");
        add(k, name, DT_BF16, slot == W_wq ? 2 : 1, (int64_t[]){ config_dim(c, il, D_Q) + 2 * config_dim(c, il, D_KV), dim[1] });
    } else if (c->expert_interleaved && (slot == W_up_x || slot == W_down_x)) {
        wide[1] = dim[2], wide[2] = slot == W_up_x ? 2 * dim[1] : dim[1];
        snprintf(name, sizeof name, "%smlp.experts.%s", prefix, slot == W_up_x ? "gate_up_proj" : "down_proj");
        add(k, name, DT_BF16, 3, wide);
    } else if (slot == W_bup_x || slot == W_bdown_x) {
        wide[1] = slot == W_bup_x ? 2 * dim[1] : dim[1];
        snprintf(name, sizeof name, "%smlp.experts.%s", prefix, slot == W_bup_x ? "gate_up_proj_bias" : "down_proj_bias");
        add(k, name, DT_BF16, 2, wide);
    } else if (!c->expert_interleaved && (slot == W_gate_x || slot == W_up_x || slot == W_down_x)) {
        for (int64_t e = 0; e < dim[0]; e++) {
            snprintf(name, sizeof name, "%smlp.experts.%" PRId64 ".%s.weight", prefix, e, proj[slot - W_gate_x]);
            add(k, name, DT_BF16, 2, dim + 1);
        }
    } else if (slot != W_wv_b && slot != W_gate_x && slot != W_bgate_x
               && !(strcmp(arch->hf_name, "qwen") == 0 && (slot == W_wk || slot == W_wv || slot == W_bk || slot == W_bv))) {
        return false;
    }
    return true;
}

static void add_slot(maker *k, const llm_config *c, const llm_arch *arch, int il, int slot, const char *layers)
{
    const llm_sym *sym = llm_weight_table[slot].dim;
    int64_t dim[3], own[3];
    char prefix[96], name[192];
    int n = 0, dtype = DT_BF16;

    snprintf(prefix, sizeof prefix, "%s%d.", layers, il);
    for (int i = 0; i < 3; i++) {
        dim[i] = config_dim(c, il, sym[i]);
        if (sym[i] != _1) own[n++] = dim[i];
    }
    if (k->hf && add_hf_layout(k, c, arch, il, slot, dim, prefix)) return;
    if (!k->hf && n == 1) dtype = DT_F32;
    if (!k->hf && n == 3 && c->expert_interleaved) dtype = DT_MXFP4;
    snprintf(name, sizeof name, "%s%s", prefix, spelling(arch, slot, k->hf));
    if (k->hf && slot == W_gate_inp_s) add(k, name, dtype, 2, dim);                /* [1, d_model] */
    else add(k, name, dtype, n, own);
}

static void add_all(maker *k, const llm_config *c, const llm_arch *arch, const char *inner)
{
    bool qwen1 = strcmp(arch->hf_name, "qwen") == 0;
    int64_t table[2] = { c->n_vocab, c->d_model };
    char layers[64], name[96];

    snprintf(name, sizeof name, "%s%s", inner, qwen1 ? "wte.weight" : "embed_tokens.weight");
    add(k, k->hf ? name : "token_embd.weight", DT_BF16, 2, table);
    snprintf(name, sizeof name, "%s%s", inner, qwen1 ? "ln_f.weight" : "norm.weight");
    add(k, k->hf ? name : "output_norm.weight", k->hf ? DT_BF16 : DT_F32, 1, table + 1);
    if (!c->tied) add(k, k->hf ? "lm_head.weight" : "output.weight", DT_BF16, 2, table);
    snprintf(layers, sizeof layers, "%s%s", inner, qwen1 ? "h." : "layers.");
    for (int il = 0; il < c->n_layer; il++) {
        llm_weight_set set = arch->weights(c, il);
        for (int s = 0; s < W_COUNT; s++)
            if (set.need >> s & 1) add_slot(k, c, arch, il, s, k->hf ? layers : "blk.");
    }
}

/* ---- files of the true size --------------------------------------------------------- */

/* head [n], then bytes of nothing. False: this file system refuses. */
static bool sparse_file(const char *dir, const char *name, const buf *head, uint64_t bytes)
{
    int fd = open(temp_file(dir, name, head->data, head->size), O_WRONLY);
    bool ok = fd >= 0 && ftruncate(fd, (off_t)(head->size + bytes)) == 0;

    if (fd >= 0) close(fd);
    return ok;
}

static void put(maker *k, const char *arch, const char *key, int64_t v)
{
    char full[96];

    snprintf(full, sizeof full, "%s.%s", arch, key);
    gguf_u32(&k->g, full, (uint32_t)v);
}

static void gguf_metadata(maker *k, const llm_config *c, const llm_arch *arch)
{
    const char *a = arch->gguf_name ? arch->gguf_name : "deepseek2";
    bool mla = c->kv_lora > 0;
    char key[96];

    gguf_str(&k->g, "general.architecture", a);
    gguf_str(&k->g, "tokenizer.ggml.model", "none");
    put(k, a, "block_count", c->n_layer), put(k, a, "embedding_length", c->d_model), put(k, a, "context_length", c->n_ctx);
    put(k, a, "feed_forward_length", c->d_ff), put(k, a, "vocab_size", c->n_vocab);      /* Qwen 1 keeps the double in both formats */
    put(k, a, "attention.head_count", c->n_head), put(k, a, "attention.head_count_kv", mla ? 1 : c->n_kv_head);
    put(k, a, "attention.key_length", mla ? c->kv_lora + c->d_rope : c->head_dim);
    put(k, a, "attention.value_length", mla ? c->kv_lora : c->head_dim);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", a);
    gguf_f32(&k->g, key, c->norm_eps);
    if (c->window) put(k, a, "attention.sliding_window", c->window);
    if (c->n_expert) {
        put(k, a, "expert_count", c->n_expert), put(k, a, "expert_used_count", c->n_expert_used);
        put(k, a, "expert_feed_forward_length", c->d_ff_expert), put(k, a, "leading_dense_block_count", c->n_dense_lead);
        put(k, a, "expert_shared_feed_forward_length", c->d_ff_shared), put(k, a, "expert_shared_count", c->n_expert_shared);
        put(k, a, "expert_gating_func", c->gate == GATE_SIGMOID ? 2 : 1);
        put(k, a, "expert_group_count", c->n_group), put(k, a, "expert_group_used_count", c->n_group_used);
    }
    if (!mla) return;
    put(k, a, "attention.key_length_mla", c->d_nope + c->d_rope), put(k, a, "attention.value_length_mla", c->d_v);
    put(k, a, "attention.kv_lora_rank", c->kv_lora), put(k, a, "rope.dimension_count", c->d_rope);
    if (c->q_lora) put(k, a, "attention.q_lora_rank", c->q_lora);
}

/* Opens the file of the tensors in k, whose metadata is config.json beside it or in the file; true if that could be tried. */
static bool open_file(maker *k, const char *dir, const char *name, uint64_t n_param)
{
    const char *file = k->hf ? "model.safetensors" : "model.gguf";
    llm_model_options o = { .size = sizeof o, .path = k->hf ? dir : temp_path(dir, file), .allow_paging = 1 };   /* most need more than any memory */
    llm_model_info info = { .size = sizeof info };
    llm_error err = { LLM_OK, "" };
    llm_model *m = NULL;
    char path[512];
    buf head = { 0 };
    bool ok;

    if (k->hf) {
        buf_put(&k->json, "}", 1), buf_put(&k->json, "", 1);
        head = safetensors_bytes((const char *)k->json.data, true, "", 0);
    } else {
        head = gguf_end(&k->g);
    }
    snprintf(path, sizeof path, "%s", o.path), o.path = path;
    if ((ok = sparse_file(dir, file, &head, k->at))) {
        ck_assert_msg(llm_model_open(&m, &o, &err) == LLM_OK, "%s as %s: %s", name, file, err.text);
        ck_assert_int_eq(llm_model_get_info(m, &info), LLM_OK);
        ck_assert_msg(info.n_param == n_param, "%s as %s: %" PRIu64 " parameters, published %" PRIu64, name, file, info.n_param, n_param);
        llm_model_close(m);
    }
    remove(temp_path(dir, file));
    buf_free(&head);
    return ok;
}

/* Re-laid copies of these would need gigabytes: their other format has to do. */
static bool copies_much(const llm_config *c) { return c->expert_interleaved || (c->kv_lora > 0 && c->n_head > 16); }

/* ---- the cases ------------------------------------------------------------------------ */

typedef struct { llm_store *store; llm_meta *meta; const llm_arch *arch; llm_config c; } shapes;

static void open_config(shapes *s, const char *dir, const char *name)
{
    llm_error err = { LLM_OK, "" };

    ck_assert_msg(store_open(&s->store, dir, true, &err) == LLM_OK, "%s: %s", name, err.text);
    ck_assert_msg(meta_open(&s->meta, s->store, &err) == LLM_OK, "%s: %s", name, err.text);
    ck_assert_msg((s->arch = arch_find(s->meta, &err)) != NULL, "%s: %s", name, err.text);
    ck_assert_msg(config_read(&s->c, s->arch, s->meta, &err) == LLM_OK, "%s: %s", name, err.text);
}

static void close_config(shapes *s)
{
    config_free(&s->c);
    meta_close(s->meta);
    store_close(s->store);
}

/* Returns the number of files opened. */
static int check_config(const char *dir, const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    const json_t *config = json_object_get(row, "config");
    uint64_t n_param = (uint64_t)json_integer_value(json_object_get(row, "params"));
    int n_tensor = (int)json_integer_value(json_object_get(row, "tensors")), n = 0;
    char *text = json_dumps(config, 0);
    const char *inner = json_object_get(config, "text_config") ? "language_model.model." : "model.";
    maker hf = { .hf = true }, gguf = { .g = gguf_begin(3) };
    shapes s;

    ck_assert(text != NULL);
    temp_text(dir, "config.json", text);
    open_config(&s, dir, name);
    if (strcmp(s.arch->hf_name, "qwen") == 0) inner = "transformer.";
    add_all(&hf, &s.c, s.arch, inner);
    ck_assert_msg(hf.n_param == n_param, "%s: the tensors have %" PRIu64 " parameters, published %" PRIu64, name, hf.n_param, n_param);
    ck_assert_msg(hf.n_tensor == n_tensor, "%s: %d tensors, wanted %d", name, hf.n_tensor, n_tensor);
    if (!copies_much(&s.c)) n += open_file(&hf, dir, name, n_param);
    gguf_metadata(&gguf, &s.c, s.arch);
    add_all(&gguf, &s.c, s.arch, inner);
    n += open_file(&gguf, dir, name, n_param);
    close_config(&s);
    buf_free(&hf.json), buf_free(&gguf.g.kv), buf_free(&gguf.g.info), buf_free(&gguf.g.data);
    free(text);
    return n;
}

START_TEST(shapes_and_parameter_counts)
{
    const char *only = getenv("LLM_TEST_CASE");
    FILE *f = fopen(CONFIGS, "r");
    int n_config = 0, n_file = 0;
    json_error_t why;
    char dir[256];

    ck_assert_msg(f != NULL, CONFIGS " is missing; run from the root of the tree");
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);     /* a disk would read ahead megabytes of holes around each byte */
    temp_dir(dir);
    for (json_t *row; (row = json_loadf(f, JSON_DISABLE_EOF_CHECK, &why)) != NULL; json_decref(row)) {
        if (only != NULL && strcmp(only, json_string_value(json_object_get(row, "name"))) != 0) continue;
        n_file += check_config(dir, row), n_config++;
    }
    fclose(f);
    temp_remove(dir);
    printf("  %d public configurations, %d files of their size\n", n_config, n_file);
    ck_assert_msg(only != NULL || n_config >= 70, "%d configurations, want 70 or more", n_config);
    if (n_file < n_config) test_skip("files of the true size", "this file system does not take sparse files that large");
}
END_TEST

/* ---- config.json files as their publishers wrote them ---------------------------------------- */

/* Families that are not built, by the start of the folder's name after "publisher__". */
static const char *const unbuilt[] = { "Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "Qwen3.5", "Qwen3.6", "DeepSeek-V3.2", "DeepSeek-V4", "gemma-4", "Gemma-4",
                                       "Llama-3_3-Nemotron", "embeddinggemma" };

static bool is_unbuilt(const char *folder)
{
    const char *name = strstr(folder, "__") ? strstr(folder, "__") + 2 : folder;

    for (size_t i = 0; i < sizeof unbuilt / sizeof unbuilt[0]; i++)
        if (strncmp(name, unbuilt[i], strlen(unbuilt[i])) == 0) return true;
    return false;
}

START_TEST(publishers_own_configs)
{
    char root[512];
    DIR *d;
    int n = 0, refused = 0;

    if (test_data() == NULL) { test_skip("publishers_own_configs", "no shared test data"); return; }
    snprintf(root, sizeof root, "%s/configs", test_data());
    ck_assert_ptr_nonnull(d = opendir(root));
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        shapes s = { 0 };
        llm_error err = { LLM_OK, "" };
        char dir[800], path[900];
        bool good;

        snprintf(dir, sizeof dir, "%s/%s", root, e->d_name);
        snprintf(path, sizeof path, "%s/config.json", dir);
        if (e->d_name[0] == '.' || strncmp(e->d_name, "toy-", 4) == 0 || access(path, R_OK) != 0) continue;
        ck_assert_msg(store_open(&s.store, dir, true, &err) == LLM_OK && meta_open(&s.meta, s.store, &err) == LLM_OK, "%s: %s", e->d_name, err.text);
        good = (s.arch = arch_find(s.meta, &err)) != NULL && config_read(&s.c, s.arch, s.meta, &err) == LLM_OK;
        if (is_unbuilt(e->d_name)) {
            ck_assert_msg(!good && err.status == LLM_ERR_UNSUPPORTED, "%s: taken, or refused as \"%s\"", e->d_name, err.text);
            refused++;
        } else {
            ck_assert_msg(good, "%s: %s", e->d_name, err.text);
            n++;
        }
        close_config(&s);
    }
    closedir(d);
    printf("  %d configurations taken, %d of families that are not built refused\n", n, refused);
    ck_assert_int_ge(n, 20);
}
END_TEST

LLM_TEST_MAIN("model/published", shapes_and_parameter_counts, publishers_own_configs)
