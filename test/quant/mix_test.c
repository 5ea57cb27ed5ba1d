/* The recipes against llama.cpp's own record of the type of every tensor of several models (shared data, quant-snapshots). */
#include "../llm_test.h"
#include "mix.h"
#include <string.h>
#include <strings.h>

enum { MAX_TENSOR = 4096, MAX_LINE = 400 };

typedef struct { char name[96]; mix_tensor t; } entry;
typedef struct { entry *e; int n; mix_model m; bool gpt_oss; } model;

static int layer_of(const char *name) { return strncmp(name, "blk.", 4) == 0 ? atoi(name + 4) : -1; }

static int by_layer_and_name(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int d = layer_of(x->name) - layer_of(y->name);
    return d ? d : strcmp(x->name, y->name);
}

static int header_number(const char *line, const char *key)
{
    const char *at = strstr(line, key);
    return at ? atoi(at + strlen(key)) : 0;
}

/* Rows whose length is not a multiple of 256 are what matters: all of gpt-oss but attn_output, and DeepSeek's attn_k_b. */
static int64_t row_of(const model *m, const char *name)
{
    if (strstr(name, "attn_k_b.")) return 128;
    return m->gpt_oss && !strstr(name, "attn_output") ? 2880 : 4096;
}

static void add(model *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (strcmp(m->e[i].name, name) == 0) return;
    ck_assert_int_lt(m->n, MAX_TENSOR);
    entry *e = &m->e[m->n++];
    snprintf(e->name, sizeof e->name, "%s", name);
    e->t = (mix_tensor){ .n_dim = strstr(name, "_exps.") || strstr(name, "attn_k_b.") ? 3 : 2, .row = row_of(m, name) };
}

/* Every tensor that any section names. */
static void read_model(model *m, FILE *f, bool gpt_oss)
{
    char line[MAX_LINE], name[96], type[32];
    int value = 0, down = 0;

    *m = (model){ .e = malloc(MAX_TENSOR * sizeof *m->e), .gpt_oss = gpt_oss, .m.tied = true };
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "# n_embd", 8) == 0) {
            m->m.n_layer = header_number(line, "n_layer="), m->m.n_head = header_number(line, "n_head=");
            m->m.n_kv_head = header_number(line, "n_head_kv="), m->m.n_expert = header_number(line, "n_expert=");
        }
        if (*line != '#' && *line != '[' && sscanf(line, "%95s %31s", name, type) == 2) add(m, name);
    }
    qsort(m->e, (size_t)m->n, sizeof *m->e, by_layer_and_name);
    for (int i = 0; i < m->n; i++) {
        m->e[i].t.name = m->e[i].name, m->e[i].t.value = value, m->e[i].t.down = down;
        value += mix_is_value(m->e[i].name), down += mix_is_down(m->e[i].name);
        if (strcmp(m->e[i].name, "output.weight") == 0) m->m.tied = false;
        ck_assert_msg(mix_quantizes(&m->e[i].t), "%s", m->e[i].name);
    }
    m->m.n_value = value;
}

/* One section: types [n] of the tensors it names. Compares all of the model's. */
static int compare(const model *m, llm_mix mix, const llm_dtype *listed, const char *file)
{
    for (int i = 0; i < m->n; i++) {
        llm_dtype want = listed[i] != DT_NONE ? listed[i] : mix_info(mix)->base, got = mix_type(mix, &m->m, &m->e[i].t);
        ck_assert_msg(got == want, "%s [%s] %s: got %s, wanted %s", file, mix_info(mix)->name, m->e[i].name, dtype_name(got), dtype_name(want));
    }
    return m->n;
}

static int check_file(const char *dir, const char *file, int *n_section)
{
    char path[1024], line[MAX_LINE], name[96], type[32];
    static llm_dtype listed[MAX_TENSOR];
    int n = 0;
    llm_mix mix = N_MIX;
    model m;
    FILE *f;

    snprintf(path, sizeof path, "%s/quant-snapshots/%s", dir, file);
    ck_assert_msg((f = fopen(path, "r")) != NULL, "%s", path);
    read_model(&m, f, strncmp(file, "gpt-oss", 7) == 0);
    rewind(f);
    while (fgets(line, sizeof line, f)) {
        if (*line == '[' && sscanf(line, "[%95[^]]] %31s", name, type) == 2) {
            if (mix != N_MIX) n += compare(&m, mix, listed, file), (*n_section)++;
            ck_assert_msg(mix_find(name, &mix), "%s", name);
            ck_assert_msg(strcasecmp(dtype_name(mix_info(mix)->base), type) == 0, "%s: base %s", name, type);
            for (int i = 0; i < MAX_TENSOR; i++) listed[i] = DT_NONE;
        }
        else if (*line != '#' && sscanf(line, "%95s %31s", name, type) == 2) {
            int i = 0;
            while (i < m.n && strcmp(m.e[i].name, name) != 0) i++;
            ck_assert_int_lt(i, m.n);
            ck_assert_msg(dtype_find(type) != NULL, "%s", type);
            listed[i] = dtype_find(type)->dtype;
        }
    }
    n += compare(&m, mix, listed, file), (*n_section)++;
    fclose(f), free(m.e);
    return n;
}

START_TEST(every_tensor_of_the_snapshots)
{
    static const char *const files[] = { "deepseek-v3.1.schema", "gemma-3-4b-it.schema", "gpt-oss-120b.schema", "qwen3-0.6b.schema",
                                         "qwen3-coder-next.schema", "qwen3.5-397b-a17b.schema" };
    const char *dir = test_data();
    int n = 0, n_section = 0;

    if (dir == NULL) { test_skip("quant/mix", "no shared data"); return; }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) n += check_file(dir, files[i], &n_section);
    printf("  %d types of tensors in %d mixes of 6 models\n", n, n_section);
    ck_assert_int_eq(n_section, 6 * 33);
}
END_TEST

START_TEST(what_the_snapshots_do_not_hold)
{
    mix_model eight = { .n_layer = 32, .n_head = 32, .n_kv_head = 8, .n_expert = 8, .n_value = 32 },
             big = { .n_layer = 80, .n_head = 64, .n_kv_head = 8, .n_value = 80, .eighty = true };
    mix_model with = { .n_layer = 32, .n_head = 32, .n_kv_head = 8, .n_value = 32, .imatrix = true };
    mix_tensor v = { "blk.10.attn_v.weight", 2, 4096, 10, 10 }, o = { "blk.10.attn_output.weight", 2, 4096, 11, 10 }, down = { "blk.0.ffn_down.weight", 2, 4096, 1, 0 };
    mix_tensor odd = { "blk.0.ffn_down.weight", 2, 100, 1, 0 }, norm = { "blk.0.attn_norm.weight", 2, 100, 0, 0 }, bias = { "blk.0.ffn_up_exps.bias", 2, 128, 0, 0 };
    llm_mix mix;

    ck_assert_int_eq(mix_type(MIX_Q4_K_M, &eight, &v), DT_Q8_0);
    ck_assert_int_eq(mix_type(MIX_Q4_K_M, &eight, &o), DT_Q5_K);
    ck_assert_int_eq(mix_type(MIX_Q3_K_L, &eight, &o), DT_Q3_K);
    v.value = 12;                                                       /* not one that Q4_K_M gives more bits */
    ck_assert_int_eq(mix_type(MIX_Q4_K_S, &big, &v), DT_Q5_K);
    ck_assert_int_eq(mix_type(MIX_Q4_0, &with, &down), DT_Q4_1);
    ck_assert_int_eq(mix_type(MIX_Q5_0, &with, &down), DT_Q5_1);
    ck_assert_int_eq(mix_type(MIX_Q4_K_M, &with, &odd), DT_F16);
    ck_assert_int_eq(mix_type(MIX_F16, &with, &odd), DT_F16);
    ck_assert(!mix_quantizes(&norm) && !mix_quantizes(&bias));
    ck_assert(mix_find("q4_k", &mix) && mix == MIX_Q4_K_M);
    ck_assert(mix_find("mxfp4", &mix) && mix == MIX_MXFP4_MOE);
    ck_assert(!mix_find("Q4_K_XXL", &mix));
}
END_TEST

LLM_TEST_MAIN("quant/mix", every_tensor_of_the_snapshots, what_the_snapshots_do_not_hold)
