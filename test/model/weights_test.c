/* Damaged descriptions and weights: each gets the refusal that names it. And load transforms against their definition. */
#include "../format/gguf_build.h"
#include "llm.h"
#include "dequant.h"
#include "matrix.h"
#include "tensor_rows.h"
#include "weights.h"
#include <jansson.h>
#include <math.h>

#define REF "test/data/ref/"

static buf file_bytes(const char *path)
{
    FILE *f = fopen(path, "rb");
    buf b = { 0 };
    char piece[4096];
    size_t n;

    ck_assert_msg(f != NULL, "cannot read %s", path);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0) buf_put(&b, piece, n);
    fclose(f);
    return b;
}

static llm_status open_dir(const char *dir, llm_error *err)
{
    llm_model_options o = { .size = sizeof o, .path = dir, .n_threads = 1 };
    llm_model *m = NULL;
    llm_status st = llm_model_open(&m, &o, err);

    llm_model_close(m);
    return st;
}

static void expect(const char *what, llm_status got, const llm_error *err, llm_status want, const char *words)
{
    ck_assert_msg(got == want, "%s: %s (%s), want %s", what, llm_status_name(got), got ? err->text : "", llm_status_name(want));
    ck_assert_msg(want == LLM_OK || strstr(err->text, words) != NULL, "%s: \"%s\" does not say \"%s\"", what, err->text, words);
}

/* ---- config.json ---- */

static const struct { const char *model, *key, *value; llm_status status; const char *words; } config_row[] = {
    { "qwen3", "num_hidden_layers", "3", LLM_OK, "" },
    { "qwen3", "num_hidden_layers", "0", LLM_ERR_FORMAT, "0 layers" },
    { "qwen3", "num_hidden_layers", "1001", LLM_ERR_FORMAT, "1001 layers" },
    { "qwen3", "num_hidden_layers", "4", LLM_ERR_FORMAT, "model.layers.3.input_layernorm.weight' is missing" },
    { "qwen3", "num_hidden_layers", "\"3\"", LLM_ERR_FORMAT, "num_hidden_layers" },
    { "qwen3", "num_hidden_layers", "null", LLM_ERR_FORMAT, "num_hidden_layers is missing" },
    { "qwen3", "hidden_size", "41", LLM_ERR_FORMAT, "shape is [151, 40], wanted [151, 41]" },
    { "qwen3", "hidden_size", "1", LLM_ERR_FORMAT, "model width is 1" },
    { "qwen3", "hidden_size", "2147483647", LLM_ERR_FORMAT, "model width" },
    { "qwen3", "vocab_size", "2147483647", LLM_ERR_FORMAT, "vocabulary" },
    { "qwen3", "vocab_size", "152", LLM_ERR_FORMAT, "wanted [152, 40]" },
    { "qwen3", "head_dim", "0", LLM_ERR_FORMAT, "head" },
    { "qwen3", "head_dim", "25", LLM_ERR_FORMAT, "even" },
    { "qwen3", "head_dim", "2147483647", LLM_ERR_FORMAT, "width of a head" },
    { "qwen3", "num_attention_heads", "-1", LLM_ERR_FORMAT, "heads" },
    { "qwen3", "num_attention_heads", "2147483647", LLM_ERR_FORMAT, "heads" },
    { "qwen3", "num_key_value_heads", "3", LLM_ERR_FORMAT, "4 heads are no multiple of 3" },
    { "qwen3", "num_key_value_heads", "0", LLM_ERR_FORMAT, "key/value heads is 0" },
    { "qwen3", "intermediate_size", "0", LLM_ERR_FORMAT, "feed-forward width is 0" },
    { "qwen3", "rms_norm_eps", "0", LLM_ERR_FORMAT, "epsilon" },
    { "qwen3", "rope_theta", "0", LLM_ERR_FORMAT, "base 0" },
    { "qwen3", "max_position_embeddings", "0", LLM_ERR_FORMAT, "context is 0" },
    { "qwen3", "hidden_act", "\"relu\"", LLM_ERR_UNSUPPORTED, "'relu'" },
    { "qwen3", "hidden_act", "\"gelu\"", LLM_ERR_UNSUPPORTED, "'gelu'" },
    { "qwen3", "use_sliding_window", "true", LLM_ERR_FORMAT, "sliding_window is 0" },
    { "qwen3", "rope_scaling", "{\"rope_type\":\"longrope\",\"factor\":4}", LLM_ERR_UNSUPPORTED, "\"longrope\"" },
    { "qwen3", "rope_scaling", "{\"rope_type\":\"yarn\"}", LLM_ERR_FORMAT, "factor is missing" },
    { "qwen3", "rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":4,\"beta_fast\":1,\"beta_slow\":2}", LLM_ERR_FORMAT, "beta 1 and 2" },
    { "qwen3", "quantization_config", "{\"quant_method\":\"bitsandbytes\"}", LLM_ERR_UNSUPPORTED, "'bitsandbytes'" },
    { "qwen3", "model_type", "\"qwen3_next\"", LLM_ERR_UNSUPPORTED, "'qwen3_next' is not supported; there is llama, mistral, qwen," },
    { "qwen3", "model_type", "null", LLM_ERR_FORMAT, "model_type" },
    { "llama2", "mlp_bias", "true", LLM_ERR_UNSUPPORTED, "mlp_bias" },
    { "qwen2-gptq", "quantization_config", "{\"quant_method\":\"gptq\",\"bits\":8,\"group_size\":32}", LLM_ERR_UNSUPPORTED, "8 bits" },
    { "qwen2-gptq", "quantization_config", "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":7}", LLM_ERR_UNSUPPORTED, "groups of 7" },
    { "qwen2-gptq", "quantization_config", "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":64}", LLM_ERR_FORMAT, "groups of 64" },
    { "gpt-oss", "layer_types", "[\"full_attention\"]", LLM_ERR_FORMAT, "layer_types has 1 entries, wanted 3" },
    { "gpt-oss", "layer_types", "[\"full_attention\",\"full_attention\",\"linear_attention\"]", LLM_ERR_UNSUPPORTED, "'linear_attention'" },
    { "gpt-oss", "num_local_experts", "6", LLM_ERR_FORMAT, "wanted [6, 64]" },
    { "gpt-oss", "num_local_experts", "1000000", LLM_ERR_FORMAT, "number of experts is 1000000" },
    { "gpt-oss", "num_experts_per_tok", "8", LLM_ERR_FORMAT, "experts per token is 8" },
    { "gpt-oss", "sliding_window", "-3", LLM_ERR_FORMAT, "sliding window is -3" },
    { "deepseek-v3", "n_group", "3", LLM_ERR_FORMAT, "8 experts in 3 groups" },
    { "deepseek-v3", "topk_group", "1", LLM_ERR_FORMAT, "cannot give 3 per token" },
    { "deepseek-v3", "moe_layer_freq", "2", LLM_ERR_UNSUPPORTED, "moe_layer_freq is 2" },
    { "deepseek-v3", "qk_nope_head_dim", "2147483647", LLM_ERR_FORMAT, "head widths 2147483647" },
    { "deepseek-v3", "qk_rope_head_dim", "2147483647", LLM_ERR_FORMAT, "2147483647 rotated" },
    { "deepseek-v3", "kv_lora_rank", "2147483647", LLM_ERR_FORMAT, "kv_lora_rank" },
    { "deepseek-v3", "q_lora_rank", "-5", LLM_ERR_FORMAT, "q_lora_rank" },
    { "deepseek-v3", "v_head_dim", "0", LLM_ERR_FORMAT, "value width" },
    { "deepseek-v3", "n_shared_experts", "2147483647", LLM_ERR_FORMAT, "shared experts" },
    { "deepseek-v3", "scoring_func", "null", LLM_OK, "" },
    { "deepseek-v3-fp8", "quantization_config", "{\"quant_method\":\"fp8\",\"weight_block_size\":[64,64]}", LLM_ERR_FORMAT, "in blocks of 64 x 64, but has another shape" },
    { "gemma3", "query_pre_attn_scalar", "0", LLM_ERR_FORMAT, "query_pre_attn_scalar" },
    { "gemma3", "sliding_window_pattern", "-1", LLM_ERR_FORMAT, "sliding_window_pattern" },
    { "qwen2moe", "decoder_sparse_step", "0", LLM_ERR_FORMAT, "decoder_sparse_step is 0" },
};

static void copy_weights(const char *model, const char *dir)
{
    char from[256];
    DIR *d;

    snprintf(from, sizeof from, REF "%s/hf", model);
    d = opendir(from);
    ck_assert_msg(d != NULL, "%s is missing; run from the root of the tree", from);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "config.json") == 0) continue;
        buf b = file_bytes(temp_path(from, e->d_name));
        temp_file(dir, e->d_name, b.data, b.size);
        buf_free(&b);
    }
    closedir(d);
}

static json_t *config_of(const char *model)
{
    char path[256];
    json_t *c;

    snprintf(path, sizeof path, REF "%s/hf/config.json", model);
    ck_assert_ptr_nonnull(c = json_load_file(path, 0, NULL));
    return c;
}

static void write_config(const char *dir, json_t *c)
{
    char *text = json_dumps(c, 0);

    ck_assert_ptr_nonnull(text);
    temp_text(dir, "config.json", text);
    free(text);
    json_decref(c);
}

START_TEST(refuses_a_config_that_cannot_be)
{
    for (size_t i = 0; i < sizeof config_row / sizeof config_row[0]; i++) {
        json_t *c = config_of(config_row[i].model), *value = json_loads(config_row[i].value, JSON_DECODE_ANY, NULL);
        llm_error err = { LLM_OK, "" };
        char dir[256], what[256];

        ck_assert_ptr_nonnull(value);
        json_object_set_new(c, config_row[i].key, value);
        temp_dir(dir);
        copy_weights(config_row[i].model, dir);
        write_config(dir, c);
        snprintf(what, sizeof what, "%s with %s %s", config_row[i].model, config_row[i].key, config_row[i].value);
        expect(what, open_dir(dir, &err), &err, config_row[i].status, config_row[i].words);
        temp_remove(dir);
    }
}
END_TEST

/* ---- tensors ---- */

/* A tensor of a safetensors file is renamed, given another type or shape of as many bytes, or gets a value. */
static const struct { const char *model, *tensor, *rename, *dtype, *shape; const char *value; llm_status status; const char *words; } bad_tensor[] = {
    { "qwen3", "model.layers.1.self_attn.q_norm.weight", "model.layers.1.self_attn.q_nerm.weight", NULL, NULL, NULL, LLM_ERR_FORMAT,
      "'model.layers.1.self_attn.q_norm.weight' is missing (layer 1, q_norm)" },
    { "qwen3", "model.norm.weight", "model.nerm.weight", NULL, NULL, NULL, LLM_ERR_FORMAT, "'model.norm.weight' is missing" },
    { "qwen3", "model.embed_tokens.weight", "x", NULL, NULL, NULL, LLM_ERR_FORMAT, "'model.embed_tokens.weight' is missing" },
    { "llama2", "model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.self_attn.strange.weight", NULL, NULL, NULL, LLM_ERR_UNSUPPORTED,
      "'model.layers.0.self_attn.strange.weight': no part of a llama layer uses it" },
    { "llama2", "model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.7.self_attn.strange.weight", NULL, NULL, NULL, LLM_OK, "" },
    { "llama2", "model.layers.0.self_attn.rotary_emb.inv_freq", "strange.weight", NULL, NULL, NULL, LLM_OK, "" },
    { "qwen3", "model.layers.0.self_attn.k_norm.weight", NULL, "F16", "[48]", NULL, LLM_ERR_FORMAT, "shape is [48], wanted [24]" },
    { "qwen3", "model.layers.0.self_attn.k_norm.weight", NULL, "U8", "[4, 24]", NULL, LLM_ERR_UNSUPPORTED, "type U8 cannot be a vector" },
    { "qwen3", "model.layers.0.self_attn.k_norm.weight", NULL, "I32", "[24]", NULL, LLM_ERR_UNSUPPORTED, "type I32 cannot be a vector" },
    { "qwen3", "model.layers.0.mlp.up_proj.weight", NULL, NULL, "[40, 72]", NULL, LLM_ERR_FORMAT, "shape is [40, 72], wanted [72, 40]" },
    { "qwen3", "model.layers.0.mlp.up_proj.weight", NULL, "I32", NULL, NULL, LLM_ERR_UNSUPPORTED, "type I32 cannot be a weight" },
    { "qwen3", "model.layers.0.self_attn.k_norm.weight", NULL, NULL, NULL, "\0\0\xc0\x7f", LLM_ERR_FORMAT, "value 1 is not finite" },
    { "qwen3", "model.layers.0.mlp.up_proj.weight", NULL, NULL, NULL, "\0\0\x80\x7f", LLM_ERR_FORMAT, "up_proj.weight': value 1 is not finite" },
    { "gpt-oss-f32", "model.layers.0.mlp.experts.gate_up_proj_bias", NULL, NULL, "[1, 5, 40]", NULL, LLM_ERR_FORMAT, "shape is [1, 5, 40], wanted [5, 40]" },
    { "gpt-oss-f32", "model.layers.0.mlp.experts.gate_up_proj_bias", NULL, NULL, "[40, 5]", NULL, LLM_ERR_FORMAT, "wanted [5, 40]" },
    { "gpt-oss-f32", "model.layers.0.mlp.experts.gate_up_proj", NULL, NULL, "[5, 1, 40, 40]", NULL, LLM_ERR_FORMAT, "wanted [5, 40, 40]" },
    { "gpt-oss-f32", "model.layers.0.mlp.experts.gate_up_proj", NULL, NULL, NULL, "\0\0\xc0\x7f", LLM_ERR_FORMAT, "is not finite" },
    { "gpt-oss-f32", "model.layers.0.self_attn.sinks", NULL, NULL, "[2, 2]", NULL, LLM_ERR_FORMAT, "wanted [4]" },
    { "deepseek-v3-fp8", "model.layers.0.mlp.up_proj.weight_scale_inv", "model.layers.0.mlp.up_proj.weight_scale_xyz", NULL, NULL, NULL, LLM_ERR_FORMAT,
      "there is no scale 'model.layers.0.mlp.up_proj.weight_scale_inv'" },
    { "deepseek-v3-fp8", "model.layers.0.mlp.up_proj.weight_scale_inv", NULL, NULL, NULL, "\0\0\x80\x7f", LLM_ERR_FORMAT, "weight_scale_inv': value 1 is not finite" },
    { "qwen2-gptq", "model.layers.0.mlp.up_proj.qzeros", "model.layers.0.mlp.up_proj.qxeros", NULL, NULL, NULL, LLM_ERR_FORMAT, "qzeros or scales are missing" },
    { "qwen2-gptq", "model.layers.0.mlp.up_proj.scales", NULL, NULL, NULL, "\0\x7c\0\x7c", LLM_ERR_FORMAT, "scales': value 2 is not finite" },
    { "qwen2moe", "model.layers.1.mlp.experts.6.down_proj.weight", "model.layers.1.mlp.experts.9.down_proj.weight", NULL, NULL, NULL, LLM_ERR_FORMAT,
      "lacks 'mlp.experts.6.down_proj.weight', the model has 7 experts" },
};

/* Writes the tensor's file of dir back with the change. False: the tensor is not in it. */
static bool change(const char *dir, size_t i)
{
    buf b = file_bytes(temp_path(dir, "model.safetensors")), out;
    uint64_t n;
    json_t *header, *t, *parsed;
    char *text;

    memcpy(&n, b.data, 8);
    ck_assert_ptr_nonnull(header = json_loadb((const char *)b.data + 8, (size_t)n, 0, NULL));
    ck_assert_msg((t = json_incref(json_object_get(header, bad_tensor[i].tensor))) != NULL, "%s is not in %s", bad_tensor[i].tensor, bad_tensor[i].model);
    if (bad_tensor[i].value) {
        json_int_t at = json_integer_value(json_array_get(json_object_get(t, "data_offsets"), 0));
        memcpy(b.data + 8 + n + (size_t)at + 4, bad_tensor[i].value, 4);
    }
    if (bad_tensor[i].dtype) json_object_set_new(t, "dtype", json_string(bad_tensor[i].dtype));
    if (bad_tensor[i].shape && (parsed = json_loads(bad_tensor[i].shape, 0, NULL)) != NULL) json_object_set_new(t, "shape", parsed);
    if (bad_tensor[i].rename) {
        json_object_del(header, bad_tensor[i].tensor);
        json_object_set(header, bad_tensor[i].rename, t);
    }
    json_decref(t);
    text = json_dumps(header, JSON_COMPACT);
    out = safetensors_bytes(text, true, b.data + 8 + n, b.size - 8 - (size_t)n);
    temp_file(dir, "model.safetensors", out.data, out.size);
    free(text), json_decref(header), buf_free(&b), buf_free(&out);
    return true;
}

START_TEST(refuses_tensors_that_do_not_fit)
{
    for (size_t i = 0; i < sizeof bad_tensor / sizeof bad_tensor[0]; i++) {
        llm_error err = { LLM_OK, "" };
        char dir[256];

        temp_dir(dir);
        copy_weights(bad_tensor[i].model, dir);
        write_config(dir, config_of(bad_tensor[i].model));
        change(dir, i);
        expect(bad_tensor[i].tensor, open_dir(dir, &err), &err, bad_tensor[i].status, bad_tensor[i].words);
        temp_remove(dir);
    }
}
END_TEST

/* ---- load transforms ---- */

enum { HEADS = 3, NOPE = 8, VALUE = 4, LATENT = 32, ROWS = HEADS * (NOPE + VALUE) };

/* wk_b and wv_b hold the values of kv_b at their places, whatever it is stored as. */
static void check_kv_b(llm_dtype dtype, int tile_rows, int tile_cols, llm_dtype wanted_k, llm_dtype wanted_v)
{
    static float row[LATENT], k_row[NOPE], v_row[LATENT];
    static uint8_t data[ROWS * LATENT * 4];
    static float scale[ROWS * LATENT];
    llm_model m = { .n_thread = 1 };
    llm_error err = { LLM_OK, "" };
    binder b = { .m = &m, .err = &err };
    llm_tensor src = { .data = data, .dtype = dtype, .dim = { ROWS, LATENT, 1 } }, wk = { 0 }, wv = { 0 };
    matrix all;

    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 37 % 113);
    for (int i = 0; i < ROWS * LATENT; i++) scale[i] = 1.0f + (float)i;
    if (dtype == DT_Q8_0)
        for (size_t i = 0; i < ROWS * LATENT / 32; i++) data[34 * i] = 0, data[34 * i + 1] = (uint8_t)(0x30 + i % 8);    /* finite scales */
    ck_assert(dtype_bytes(dtype, LATENT, &src.row_bytes));
    if (tile_rows) src.scale = (llm_scale){ .data = scale, .dtype = DT_F32, .tile_rows = tile_rows, .tile_cols = tile_cols };
    ck_assert_msg(relayout_kv_b(&b, &wk, &wv, &src, HEADS, NOPE, VALUE) == LLM_OK, "%s", err.text);
    ck_assert_int_eq((int)wk.dtype, (int)wanted_k);
    ck_assert_int_eq((int)wv.dtype, (int)wanted_v);
    all = matrix_of(&src, NULL, -1);
    for (int h = 0; h < HEADS; h++) {
        matrix k = matrix_of(&wk, NULL, h), v = matrix_of(&wv, NULL, h);
        ck_assert(k.rows == LATENT && k.cols == NOPE && v.rows == VALUE && v.cols == LATENT);
        for (int n = 0; n < NOPE + VALUE; n++) {
            matrix_row(&all, h * (NOPE + VALUE) + n, row);
            if (n >= NOPE) {
                matrix_row(&v, n - NOPE, v_row);
                ck_assert_mem_eq(v_row, row, sizeof v_row);
            }
            for (int c = 0; n < NOPE && c < LATENT; c++) {
                matrix_row(&k, c, k_row);
                ck_assert_msg(k_row[n] == row[c], "%s, head %d: k[%d][%d] is %g, want %g", dtype_name(dtype), h, c, n, (double)k_row[n], (double)row[c]);
            }
        }
    }
    weights_free(&m);
}

START_TEST(kv_b_comes_apart)
{
    check_kv_b(DT_BF16, 0, 0, DT_BF16, DT_BF16);
    check_kv_b(DT_F16, 0, 0, DT_F16, DT_F16);
    check_kv_b(DT_Q8_0, 0, 0, DT_F32, DT_Q8_0);
    check_kv_b(DT_F8_E4M3, 0, 0, DT_F8_E4M3, DT_F8_E4M3);
    check_kv_b(DT_F8_E4M3, 4, 16, DT_F8_E4M3, DT_F8_E4M3);        /* tiles end where the parts of a head do */
    check_kv_b(DT_F8_E4M3, 4, 24, DT_F8_E4M3, DT_F8_E4M3);
    check_kv_b(DT_F8_E4M3, 1, LATENT, DT_F8_E4M3, DT_F8_E4M3);    /* a scale for each row */
    check_kv_b(DT_F8_E4M3, 16, 16, DT_F32, DT_F32);               /* tiles cross them */
    check_kv_b(DT_F8_E4M3, ROWS, LATENT, DT_F32, DT_F32);
}
END_TEST

static llm_model *open_ref(const char *path)
{
    llm_model_options o = { .size = sizeof o, .path = path, .n_threads = 1 };
    llm_model *m = NULL;
    llm_error err;

    ck_assert_msg(llm_model_open(&m, &o, &err) == LLM_OK, "%s: %s", path, err.text);
    return m;
}

/* Experts of a folder: codes and scales stay where they lie, and mean what the blocks of the GGUF file do. */
START_TEST(experts_with_scales_apart)
{
    static const llm_slot slots[] = { W_gate_x, W_up_x, W_down_x };
    llm_model *hf = open_ref(REF "gpt-oss/hf"), *gguf = open_ref(REF "gpt-oss/model.gguf");

    for (int il = 0; il < hf->config.n_layer; il++) for (int k = 0; k < 3; k++) {
        const llm_tensor *a = weights_slot(&hf->layer[il], slots[k]), *b = weights_slot(&gguf->layer[il], slots[k]);
        int64_t e = a->dim[0], rows = a->dim[1], n = rows * a->dim[2];
        float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
        ck_assert_int_eq(a->dtype, DT_F4_E2M1);
        ck_assert_int_eq(b->dtype, DT_MXFP4);
        ck_assert_mem_eq(a->dim, b->dim, sizeof a->dim);
        ck_assert_ptr_nonnull(store_file_of(hf->store, a->data));
        ck_assert_ptr_nonnull(store_file_of(hf->store, a->scale.data));
        for (int64_t i = 0; i < e; i++) {
            ck_assert(tensor_rows(a, i, 0, rows, x) && tensor_rows(b, i, 0, rows, y));
            ck_assert_mem_eq(x, y, (size_t)n * sizeof *x);
        }
        free(x), free(y);
    }
    llm_model_close(hf), llm_model_close(gguf);
}
END_TEST

/* A scale that is no number is found at load, as in whole blocks. */
START_TEST(a_scale_apart_that_is_no_number)
{
    static const char file[] = "model-00000-of-00002.safetensors";
    llm_error err = { LLM_OK, "" };
    json_t *header, *at;
    char dir[256];
    uint64_t n;
    buf b;

    temp_dir(dir);
    copy_weights("gpt-oss", dir), write_config(dir, config_of("gpt-oss"));
    b = file_bytes(temp_path(dir, file));
    memcpy(&n, b.data, 8);
    ck_assert_ptr_nonnull(header = json_loadb((const char *)b.data + 8, (size_t)n, 0, NULL));
    ck_assert_ptr_nonnull(at = json_object_get(json_object_get(header, "model.layers.0.mlp.experts.gate_up_proj_scales"), "data_offsets"));
    b.data[8 + n + (size_t)json_integer_value(json_array_get(at, 0)) + 7] = 255;
    temp_file(dir, file, b.data, b.size);
    expect("a scale of 255", open_dir(dir, &err), &err, LLM_ERR_FORMAT, "gate_up_proj_scales': value 7 is not finite");
    json_decref(header), buf_free(&b), temp_remove(dir);
}
END_TEST

LLM_TEST_MAIN("model/weights", refuses_a_config_that_cannot_be, refuses_tensors_that_do_not_fit, kv_b_comes_apart, experts_with_scales_apart,
              a_scale_apart_that_is_no_number)
