/* Every file of the shared folder malformed/ against the verdict in its manifest. */
#include "gguf_build.h"
#include "json.h"
#include "meta.h"
#include "safetensors.h"
#include "tokenizer.h"

/* Broken only in what the numbers mean: the container and the tokenizer are well-formed, and the configuration or the
 * weights refuse it. Here they must open. */
static const char *const judged_above[] = {
    "hp_attention.head_count_0.gguf", "hp_attention.head_count_5.gguf", "hp_attention.head_count_kv_3.gguf",
    "hp_embedding_length_4294967295.gguf", "hp_wrong_type.gguf", "hp_missing.gguf", "tensor_wrong_shape.gguf",
};

static bool is_judged_above(const char *file)
{
    for (size_t i = 0; i < sizeof judged_above / sizeof judged_above[0]; i++)
        if (strcmp(file, judged_above[i]) == 0) return true;
    return false;
}

/* The container, its metadata and its tokenizer. */
static llm_status open_gguf_file(const char *path, llm_error *err)
{
    llm_store *s;
    llm_meta *m = NULL;
    llm_tokenizer *t = NULL;
    llm_status status = store_open(&s, path, false, err);

    if (status == LLM_OK) status = meta_open(&m, s, err);
    if (status == LLM_OK) {
        const store_tensor *embed = store_find(s, "token_embd.weight");
        status = tokenizer_open(&t, m, s, embed ? (int)embed->dim[0] : 0, err);
    }
    tokenizer_close(t);
    meta_close(m);
    store_close(s);
    return status;
}

static llm_status open_safetensors_file(const char *path, llm_error *err)
{
    llm_store *s;
    llm_status status = store_open(&s, path, false, err);

    store_close(s);
    return status;
}

static llm_status open_index_file(const char *path, llm_error *err)
{
    shard_index x;
    llm_status status = shard_index_read(&x, path, err);

    shard_index_close(&x);
    return status;
}

static void run_folder(const char *name, llm_status (*open)(const char *, llm_error *))
{
    char dir[512];
    llm_error err = { 0 };
    json_t *list, *row;
    size_t i;
    int right = 0, wrong = 0, either = 0, above = 0;

    if (test_data() == NULL) {
        test_skip(name, "no shared test data");
        return;
    }
    snprintf(dir, sizeof dir, "%s/malformed/%s", test_data(), name);
    ck_assert_msg(json_read_file(&list, temp_path(dir, "manifest.json"), JSON_MAX_BYTES, &err) == LLM_OK, "%s", err.text);
    json_array_foreach(list, i, row) {
        const char *file = json_string_value(json_object_get(row, "file")), *expect = json_string_value(json_object_get(row, "expect"));
        const char *path = temp_path(dir, file);
        bool deferred = is_judged_above(file), ok, want = strcmp(expect, "accept") == 0 || deferred;
        if (access(path, R_OK) != 0) continue;          /* the folder is a sample of what the manifest lists */
        err = (llm_error){ 0 };
        ok = open(path, &err) == LLM_OK;
        ck_assert_msg(ok || (err.status != LLM_OK && err.text[0]), "%s: refused without a message", file);
        if (getenv("LLM_TEST_VERBOSE")) printf("%-40s %-7s %s\n", file, expect, ok ? "opens" : err.text);
        if (strcmp(expect, "either") == 0) either++;
        else if (ok == want) { if (deferred) above++; else right++; }
        else {
            wrong++;
            printf("%s: wanted %s, got %s %s\n", file, expect, ok ? "accepted" : "refused:", err.text);
        }
    }
    printf("malformed/%s: %d as the manifest says, %d of either verdict, %d left to the layers above, %d wrong\n", name, right,
           either, above, wrong);
    json_decref(list);
    ck_assert_int_eq(wrong, 0);
    ck_assert_int_gt(right, 0);
}

START_TEST(gguf_files) { run_folder("gguf", open_gguf_file); } END_TEST
START_TEST(safetensors_files) { run_folder("safetensors", open_safetensors_file); } END_TEST
START_TEST(index_files) { run_folder("index", open_index_file); } END_TEST

LLM_TEST_MAIN("format/malformed", gguf_files, safetensors_files, index_files)
