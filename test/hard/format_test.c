/* Opening models while the n-th allocation fails, for every n. */
#include "alloc_fail.h"
#include "../format/gguf_build.h"
#include "meta.h"

typedef struct { const char *path; bool vocab_only; } model;

/* Opens, asks once of each kind, closes. */
static llm_status load(void *arg, llm_error *err)
{
    const model *md = arg;
    llm_store *s;
    llm_meta *m = NULL;
    const char *text;
    int i;
    size_t n;
    llm_status status = store_open(&s, md->path, md->vocab_only, err);

    if (status == LLM_OK) status = meta_open(&m, s, err);
    if (status == LLM_OK) {
        meta_str(m, "general.name", "name", &text);
        meta_int(m, "block_count", "num_hidden_layers", &i);
        meta_strs(m, "tokenizer.ggml.tokens", "architectures", &n);
        status = meta_error(m, err);
    }
    meta_close(m);
    store_close(s);
    return status;
}

static void write_gguf(const char *dir, const char *name, int no, int count, const char *tensor)
{
    gguf_build b = gguf_begin(3);
    static const char *const words[] = { "a", "b", "c" };
    char key[64];
    buf f;

    gguf_str(&b, "general.architecture", "llama");
    gguf_str(&b, "general.name", "A name");
    gguf_u32(&b, "llama.block_count", 2);
    if (count) gguf_u16(&b, "split.no", (uint16_t)no), gguf_u16(&b, "split.count", (uint16_t)count), gguf_i32(&b, "split.tensors.count", count);
    gguf_strs(&b, "tokenizer.ggml.tokens", words, 3);
    for (int i = 0; i < 100; i++) {                             /* enough for the pool to grow */
        snprintf(key, sizeof key, "llama.some.long.key.number.%d", i);
        gguf_u32(&b, key, 1);
    }
    gguf_tensor(&b, tensor, DT_F32, 1, (uint64_t[]){ 8 }, NULL);
    f = gguf_end(&b);
    temp_file(dir, name, f.data, f.size);
    buf_free(&f);
}

static void write_safetensors(const char *dir, const char *name, const char *tensor)
{
    char header[200];
    buf f;

    snprintf(header, sizeof header, "{\"__metadata__\":{\"format\":\"pt\"},\"%s\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", tensor);
    f = safetensors_bytes(header, true, NULL, 16);
    temp_file(dir, name, f.data, f.size);
    buf_free(&f);
}

START_TEST(gguf_file)
{
    char dir[256];

    temp_dir(dir);
    write_gguf(dir, "m.gguf", 0, 0, "a");
    printf("a GGUF file: %ld allocations\n", alloc_fail_each(load, &(model){ temp_path(dir, "m.gguf"), false }));
    printf("its folder: %ld allocations\n", alloc_fail_each(load, &(model){ dir, false }));
    temp_remove(dir);
}
END_TEST

START_TEST(split_gguf)
{
    char dir[256];

    temp_dir(dir);
    write_gguf(dir, "m-00001-of-00002.gguf", 0, 2, "a");
    write_gguf(dir, "m-00002-of-00002.gguf", 1, 2, "b");
    printf("a split GGUF: %ld allocations\n", alloc_fail_each(load, &(model){ temp_path(dir, "m-00002-of-00002.gguf"), false }));
    temp_remove(dir);
}
END_TEST

START_TEST(safetensors_folder)
{
    char dir[256];

    temp_dir(dir);
    temp_text(dir, "config.json", "{\"model_type\":\"llama\",\"name\":\"A name\",\"num_hidden_layers\":2,\"architectures\":[\"L\"],\"rope\":{\"a\":{\"b\":1}},\"x\":1e30}");
    temp_text(dir, "generation_config.json", "{\"eos_token_id\":[1,2],\"big\":1000000000000000000000}");
    temp_text(dir, "tokenizer_config.json", "{\"bos_token\":{\"content\":\"<s>\"}}");
    write_safetensors(dir, "x.safetensors", "a");
    write_safetensors(dir, "y.safetensors", "b");
    temp_text(dir, "model.safetensors.index.json", "{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"}}");
    printf("sharded safetensors: %ld allocations\n", alloc_fail_each(load, &(model){ dir, false }));
    printf("its vocabulary: %ld allocations\n", alloc_fail_each(load, &(model){ dir, true }));
    temp_remove(dir);
}
END_TEST

LLM_TEST_MAIN("hard/format", gguf_file, split_gguf, safetensors_folder)
