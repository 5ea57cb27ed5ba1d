#include "gguf_build.h"
#include "meta.h"
#include <math.h>
#include <sys/stat.h>

static char dir[256];
static llm_error err;
static llm_store *store;

static llm_status open_meta(llm_meta **m, const char *path, bool vocab_only)
{
    llm_status status;

    err = (llm_error){ 0 };
    ck_assert_msg(store_open(&store, path, vocab_only, &err) == LLM_OK, "%s", err.text);
    status = meta_open(m, store, &err);
    ck_assert((status == LLM_OK) == (*m != NULL));
    return status;
}

static void close_meta(llm_meta *m)
{
    meta_close(m);
    store_close(store);
    store = NULL;
}

/* ---- the same questions to both kinds ------------------------------------------ */

static llm_meta *open_gguf_sample(void)
{
    gguf_build b = gguf_begin(3);
    static const char *const words[] = { "first", "", "\xff\xfe" };
    llm_meta *m;
    buf f;

    gguf_str(&b, "general.architecture", "llama");
    gguf_u32(&b, "llama.block_count", 7);
    gguf_raw(&b, "llama.small", 0, &(uint8_t){ 9 }, 1);
    gguf_raw(&b, "llama.wide", 11, &(int64_t){ -12 }, 8);
    gguf_u32(&b, "llama.too_big", 3000000000u);
    gguf_u64(&b, "llama.huge", UINT64_MAX);
    gguf_f32(&b, "llama.eps", 1e-5f);
    gguf_raw(&b, "llama.theta", 12, &(double){ 1e6 }, 8);
    gguf_raw(&b, "llama.infinite", 12, &(double){ INFINITY }, 8);
    gguf_f32(&b, "llama.nan", NAN);
    gguf_raw(&b, "llama.beyond", 12, &(double){ 1e300 }, 8);
    gguf_flag(&b, "llama.on", 1);
    gguf_str(&b, "llama.text", "words");
    gguf_strn(&b, "llama.nul", "a\0b", 3);
    gguf_str(&b, "llama.bad", "\xc3(");
    gguf_array(&b, "llama.list", 5, 3, (int32_t[]){ 4, -5, 6 }, 12);
    gguf_array(&b, "llama.flags", 7, 3, "\1\0\1", 3);
    gguf_array(&b, "llama.reals", 6, 2, (float[]){ 0.5f, 2 }, 8);
    gguf_strs(&b, "tokenizer.ggml.tokens", words, 3);
    f = gguf_end(&b);
    ck_assert_msg(open_meta(&m, temp_file(dir, "m.gguf", f.data, f.size), false) == LLM_OK, "%s", err.text);
    buf_free(&f);
    return m;
}

static llm_meta *open_hf_sample(void)
{
    llm_meta *m;

    temp_text(dir, "config.json", "{\"model_type\":\"llama\",\"block_count\":7,\"small\":9,\"wide\":-12,\"too_big\":3000000000,"
              "\"huge\":1000000000000000000000000,\"eps\":1e-5,\"theta\":1000000,\"beyond\":1e300,\"on\":true,\"text\":\"words\",\"nul\":\"a\\u0000b\","
              "\"list\":[4,-5,6],\"flags\":[true,false,true],\"reals\":[0.5,2],\"empty\":null,"
              "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"yarn\"}}");
    temp_text(dir, "generation_config.json", "{\"eos_token_id\":[1,2],\"top_k\":40}");
    temp_text(dir, "tokenizer_config.json", "{\"add_bos_token\":true,\"bos_token\":{\"__type\":\"AddedToken\",\"content\":\"<s>\"},"
              "\"eos_token\":\"</s>\",\"model_max_length\":1000000000000000019884624838656}");
    ck_assert_msg(open_meta(&m, dir, true) == LLM_OK, "%s", err.text);
    return m;
}

static void ask_both(llm_meta *m)
{
    int i = -1, list[2] = { 0 }, flags[3];
    float f = -1, reals[4];
    bool on = false;
    const char *s = NULL;
    size_t n = 99;

    ck_assert_str_eq(meta_arch(m), "llama");
    ck_assert(meta_int(m, "block_count", "block_count", &i) && i == 7);
    ck_assert(meta_int(m, "small", "small", &i) && i == 9);
    ck_assert(meta_int(m, "wide", "wide", &i) && i == -12);
    ck_assert(!meta_int(m, "absent", "absent", &i) && !meta_int(m, NULL, NULL, &i) && i == -12);
    ck_assert(meta_f32(m, "eps", "eps", &f) && f == 1e-5f);
    ck_assert(meta_f32(m, "theta", "theta", &f) && f == 1e6f);
    ck_assert(meta_f32(m, "block_count", "block_count", &f) && f == 7);
    ck_assert(meta_bool(m, "on", "on", &on) && on);
    ck_assert(meta_str(m, "text", "text", &s) && strcmp(s, "words") == 0);
    ck_assert(meta_ints(m, "list", "list", list, 2, &n) && n == 3 && list[0] == 4 && list[1] == -5);
    ck_assert(meta_ints(m, "small", "small", list, 2, &n) && n == 1 && list[0] == 9);
    ck_assert(meta_ints(m, "flags", "flags", flags, 3, &n) && n == 3 && flags[0] == 1 && flags[1] == 0);
    ck_assert(meta_f32s(m, "reals", "reals", reals, 4, &n) && n == 2 && reals[0] == 0.5f && reals[1] == 2);
    ck_assert(meta_f32s(m, "list", "list", reals, 4, &n) && n == 3 && reals[1] == -5);
    ck_assert(meta_has(m, "nul", "nul") && !meta_has(m, "absent", "absent"));
    ck_assert_int_eq(meta_error(m, NULL), LLM_OK);
}

/* Each of these sticks; a fresh meta for each. */
static void ask_wrong(llm_meta *(*open)(void), bool gguf)
{
    static const struct { char ask; const char *key, *says; bool gguf_only; } rows[] = {
        { 'i', "too_big", "got integer 3000000000, wanted an integer from -2^31 to 2^31-1", false },
        { 'i', "huge", "wanted an integer", false }, { 'i', "text", "got text 'words', wanted an integer", false },
        { 'i', "eps", "got number 1e-05", true }, { 'i', "on", "got bool true, wanted an integer", false },
        { 'i', "list", "got a list, wanted an integer", false }, { 'f', "text", "got text 'words', wanted a finite number", false },
        { 'f', "beyond", "got number 1e+300, wanted a finite number", false }, { 'f', "infinite", "got number inf", true },
        { 'f', "nan", "got number nan", true }, { 'f', "on", "got bool true", false }, { 'b', "small", "got integer 9, wanted a bool", false },
        { 's', "small", "got integer 9, wanted UTF-8 text", false }, { 's', "nul", "wanted UTF-8 text without NUL", false },
        { 's', "bad", "wanted UTF-8 text without NUL", true }, { 'I', "reals", "wanted an integer", false },
        { 'F', "flags", "wanted a finite number", false }, { 'S', "list", "wanted", false },
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        const char *k = rows[r].key, *s;
        int i;
        float f;
        bool b, got = true;
        size_t n;
        llm_meta *m;
        if (rows[r].gguf_only && !gguf) continue;
        m = open();
        switch (rows[r].ask) {
        case 'i': got = meta_int(m, k, k, &i); break;
        case 'f': got = meta_f32(m, k, k, &f); break;
        case 'b': got = meta_bool(m, k, k, &b); break;
        case 's': got = meta_str(m, k, k, &s); break;
        case 'I': got = meta_ints(m, k, k, &i, 1, &n); break;
        case 'F': got = meta_f32s(m, k, k, &f, 1, &n); break;
        case 'S': got = meta_strs(m, k, k, &n); break;
        }
        ck_assert_msg(!got && meta_error(m, &err) == LLM_ERR_FORMAT, "%c %s", rows[r].ask, k);
        ck_assert_msg(strstr(err.text, k) && strstr(err.text, rows[r].says), "%c %s: %s", rows[r].ask, k, err.text);
        ck_assert(strstr(err.text, gguf ? "m.gguf: " : "config.json: ") != NULL);
        meta_int(m, "on", "on", &i);                            /* a later error does not replace it */
        ck_assert(meta_error(m, &err) == LLM_ERR_FORMAT && strstr(err.text, k));
        close_meta(m);
    }
}

START_TEST(gguf_answers)
{
    llm_meta *m;
    const char *s;
    size_t n, len;

    temp_dir(dir);
    m = open_gguf_sample();
    ask_both(m);
    ck_assert(meta_strs(m, "tokenizer.ggml.tokens", NULL, &n) && n == 3);
    ck_assert(meta_str_at(m, "tokenizer.ggml.tokens", NULL, 2, &s, &len) && len == 2 && memcmp(s, "\xff\xfe", 2) == 0);
    ck_assert(!meta_str_at(m, "tokenizer.ggml.tokens", NULL, 3, &s, &len));
    ck_assert(meta_str(m, "general.architecture", NULL, &s) && strcmp(s, "llama") == 0);
    ck_assert(!meta_has(m, "llama.block_count", NULL));         /* the prefix is ours to add */
    close_meta(m);
    ask_wrong(open_gguf_sample, true);
    temp_remove(dir);
}
END_TEST

START_TEST(hf_answers)
{
    llm_meta *m;
    const char *s;
    int ids[4], k;
    float f;
    bool b;
    size_t n, len;

    temp_dir(dir);
    m = open_hf_sample();
    ask_both(m);
    ck_assert(!meta_has(m, "x", "empty"));                      /* null counts as absent */
    ck_assert(meta_f32(m, NULL, "rope_scaling.factor", &f) && f == 8);
    ck_assert(!meta_has(m, NULL, "rope_scaling.factor.deeper") && !meta_has(m, NULL, "rope_scaling.x") && !meta_has(m, NULL, ""));
    ck_assert(meta_ints(m, NULL, "generation:eos_token_id", ids, 4, &n) && n == 2 && ids[1] == 2);
    ck_assert(meta_int(m, NULL, "generation:top_k", &k) && k == 40);
    ck_assert(meta_bool(m, NULL, "tokenizer:add_bos_token", &b) && b);
    ck_assert(meta_str(m, NULL, "tokenizer:bos_token", &s) && strcmp(s, "<s>") == 0);
    ck_assert(meta_str(m, NULL, "tokenizer:eos_token", &s) && strcmp(s, "</s>") == 0);
    ck_assert(meta_f32(m, NULL, "tokenizer:model_max_length", &f) && f == 1e30f);
    ck_assert(meta_str_at(m, NULL, "nul", 0, &s, &len) && len == 3);
    ck_assert_int_eq(meta_error(m, NULL), LLM_OK);
    close_meta(m);
    ask_wrong(open_hf_sample, false);
    temp_remove(dir);
}
END_TEST

START_TEST(text_config_comes_first)
{
    llm_meta *m;
    int i;

    temp_dir(dir);
    temp_text(dir, "config.json", "{\"model_type\":\"outer\",\"a\":1,\"b\":2,\"text_config\":{\"model_type\":\"inner\",\"a\":3,\"b\":null}}");
    ck_assert_int_eq(open_meta(&m, dir, true), LLM_OK);
    ck_assert_str_eq(meta_arch(m), "inner");
    ck_assert(meta_int(m, NULL, "a", &i) && i == 3);
    ck_assert(meta_int(m, NULL, "b", &i) && i == 2);
    ck_assert(meta_int(m, NULL, "text_config.a", &i) && i == 3);
    close_meta(m);
    temp_remove(dir);
}
END_TEST

START_TEST(refuses_broken_side_files)
{
    static const struct { const char *file, *text; llm_status status; const char *says; } rows[] = {
        { "config.json", "{}", LLM_OK, "" },
        { "config.json", "[]", LLM_ERR_FORMAT, "config.json: wanted an object" },
        { "config.json", "{", LLM_ERR_FORMAT, "config.json: line 1, column 1" },
        { "config.json", "", LLM_ERR_FORMAT, "config.json: line 1, column 0" },
        { "config.json", "{\"model_type\":1}", LLM_ERR_FORMAT, "key 'model_type': got integer 1, wanted UTF-8 text" },
        { "config.json", "{\"text_config\":[]}", LLM_ERR_FORMAT, "key 'text_config': wanted an object" },
        { "config.json", "{\"text_config\":null}", LLM_OK, "" },
        { "generation_config.json", "{\"a\":1,\"a\":2}", LLM_ERR_FORMAT, "generation_config.json: line 1, column 10: duplicate object key" },
        { "tokenizer_config.json", "null", LLM_ERR_FORMAT, "tokenizer_config.json: wanted an object" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        llm_meta *m;
        llm_status status;
        temp_dir(dir);
        temp_text(dir, rows[i].file, rows[i].text);
        status = open_meta(&m, dir, true);
        ck_assert_msg(status == rows[i].status && strstr(err.text, rows[i].says), "%s %s: %s", rows[i].file, rows[i].text, err.text);
        close_meta(m);
        temp_remove(dir);
    }
}
END_TEST

START_TEST(config_is_needed_beside_weights)
{
    buf f = safetensors_bytes("{}", true, NULL, 0);
    llm_meta *m;

    temp_dir(dir);
    temp_file(dir, "model.safetensors", f.data, f.size);
    buf_free(&f);
    ck_assert_int_eq(open_meta(&m, dir, false), LLM_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "has no config.json"));
    close_meta(m);
    ck_assert_int_eq(open_meta(&m, dir, true), LLM_OK);
    ck_assert_str_eq(meta_arch(m), "");
    close_meta(m);
    temp_remove(dir);
}
END_TEST

/* Every pair as text, with any size of buffer: the start of the same text, NUL-terminated, and its full length. */
static size_t walk(llm_meta *m, const char *wanted_key, const char *wanted_value)
{
    const char *key;
    char text[512], part[512];
    size_t n, n_part, i;
    bool found = false;

    for (i = 0; meta_at(m, i, &key, text, sizeof text, &n); i++) {
        ck_assert(n >= strlen(text) && n < sizeof text);
        for (size_t cap = 0; cap <= n + 1; cap++) {
            memset(part, 'x', sizeof part);
            ck_assert(meta_at(m, i, &key, part, cap, &n_part) && n_part == n);
            ck_assert(part[cap] == 'x' && (cap == 0 || (part[cap - 1] == '\0' && memcmp(part, text, cap - 1) == 0)));
        }
        if (strcmp(key, wanted_key) != 0) continue;
        found = true;
        ck_assert_str_eq(text, wanted_value);
    }
    ck_assert_msg(found, "%s", wanted_key);
    return i;
}

START_TEST(walks_all_pairs)
{
    llm_meta *m;

    temp_dir(dir);
    m = open_gguf_sample();
    ck_assert_uint_eq(walk(m, "llama.list", "[4, -5, 6]"), 19);
    walk(m, "llama.flags", "[true, false, true]");
    walk(m, "llama.eps", "1e-05");
    close_meta(m);
    remove(temp_path(dir, "m.gguf"));
    m = open_hf_sample();
    ck_assert_uint_eq(walk(m, "rope_scaling.rope_type", "yarn"), 18 + 2 + 5);
    walk(m, "generation:eos_token_id", "[1, 2]");
    walk(m, "empty", "null");
    walk(m, "tokenizer:bos_token.content", "<s>");
    close_meta(m);
    temp_remove(dir);
}
END_TEST

/* Published configs: all open, and say which model they are of. */
START_TEST(published_configs_open)
{
    char configs[512];
    DIR *d;
    struct dirent *e;
    int n = 0, named = 0;

    if (test_data() == NULL) {
        test_skip("published_configs_open", "no shared test data");
        return;
    }
    snprintf(configs, sizeof configs, "%s/configs", test_data());
    ck_assert_ptr_nonnull(d = opendir(configs));
    while ((e = readdir(d)) != NULL) {
        char path[1024];
        llm_meta *m;
        snprintf(path, sizeof path, "%s/%s/config.json", configs, e->d_name);
        if (e->d_name[0] == '.' || access(path, R_OK) != 0) continue;
        *strrchr(path, '/') = '\0';
        ck_assert_msg(open_meta(&m, path, true) == LLM_OK, "%s: %s", path, err.text);
        n++, named += meta_arch(m)[0] != '\0';
        close_meta(m);
    }
    closedir(d);
    printf("%d published configs, %d name their model type\n", n, named);
    ck_assert_int_gt(named, 20);
}
END_TEST

/* ---- chat templates, wherever a folder keeps them ---- */

static void expect_template(const char *name, const char *want)
{
    char path[64];
    const char *text = NULL;
    llm_meta *m;

    ck_assert_msg(open_meta(&m, dir, true) == LLM_OK, "%s", err.text);
    snprintf(path, sizeof path, "tokenizer:chat_template%s%s", *name ? "." : "", name);
    if (want == NULL) ck_assert(!meta_has(m, NULL, path));
    else ck_assert_msg(meta_str(m, NULL, path, &text) && strcmp(text, want) == 0, "%s: %s", path, text ? text : "(none)");
    close_meta(m);
}

START_TEST(chat_templates)
{
    char sub[300];
    llm_meta *m;

    temp_dir(dir);
    temp_text(dir, "config.json", "{\"model_type\":\"llama\"}");
    expect_template("", NULL);
    temp_text(dir, "tokenizer_config.json", "{\"chat_template\":\"plain\"}");
    expect_template("", "plain");
    temp_text(dir, "tokenizer_config.json", "{\"chat_template\":[{\"name\":\"default\",\"template\":\"a\"},{\"name\":\"tool_use\",\"template\":\"b\"}]}");
    expect_template("default", "a");
    expect_template("tool_use", "b");
    temp_text(dir, "tokenizer_config.json", "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"r\"}]}");
    expect_template("default", "r");
    temp_text(dir, "tokenizer_config.json", "{\"chat_template\":[]}");
    expect_template("", NULL);
    temp_text(dir, "tokenizer_config.json", "{\"chat_template\":[{\"name\":1}]}");
    ck_assert(open_meta(&m, dir, true) == LLM_ERR_FORMAT && strstr(err.text, "chat_template[0]"));
    store_close(store), store = NULL;
    temp_text(dir, "tokenizer_config.json", "{}");
    temp_text(dir, "chat_template.json", "{\"chat_template\":\"processor\"}");
    expect_template("", "processor");
    temp_text(dir, "chat_template.jinja", "file\n");
    expect_template("", "file\n");
    snprintf(sub, sizeof sub, "%s/additional_chat_templates", dir);
    ck_assert(mkdir(sub, 0700) == 0);
    temp_text(sub, "tool_use.jinja", "tools");
    expect_template("default", "file\n");
    expect_template("tool_use", "tools");
    temp_text(dir, "chat_template.jinja", "\xff");
    ck_assert(open_meta(&m, dir, true) == LLM_ERR_FORMAT && strstr(err.text, "chat_template.jinja"));
    store_close(store), store = NULL;
}
END_TEST

LLM_TEST_MAIN("format/meta", gguf_answers, hf_answers, text_config_comes_first, refuses_broken_side_files, config_is_needed_beside_weights,
              walks_all_pairs, published_configs_open, chat_templates)
