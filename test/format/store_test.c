#include "gguf_build.h"
#include "meta.h"
#include <signal.h>
#include <setjmp.h>
#include <sys/mman.h>

static char dir[256];
static llm_error err;

static llm_store *open_ok(const char *path, bool vocab_only)
{
    llm_store *s;
    err = (llm_error){ 0 };
    ck_assert_msg(store_open(&s, path, vocab_only, &err) == LLM_OK, "%s: %s", path, err.text);
    return s;
}

/* Refused, with these words in the message. */
static void refused(const char *path, llm_status status, const char *says)
{
    llm_store *s = (llm_store *)dir;
    err = (llm_error){ 0 };
    ck_assert_msg(store_open(&s, path, false, &err) == status && err.status == status, "%s: got %s: %s", path, llm_status_name(err.status), err.text);
    ck_assert_msg(strstr(err.text, says) != NULL, "%s: wanted \"%s\", got: %s", path, says, err.text);
    ck_assert_ptr_null(s);
}

static void write_gguf(const char *name, const char *tensor, int no, int count, int total)
{
    gguf_build b = gguf_begin(3);
    buf f;

    gguf_str(&b, "general.architecture", "llama");
    if (count >= 0) gguf_u16(&b, "split.no", (uint16_t)no), gguf_u16(&b, "split.count", (uint16_t)count);
    if (total >= 0) gguf_i32(&b, "split.tensors.count", total);
    gguf_tensor(&b, tensor, DT_F32, 2, (uint64_t[]){ 3, 2 }, (float[]){ 1, 2, 3, 4, 5, (float)no });
    f = gguf_end(&b);
    temp_file(dir, name, f.data, f.size);
    buf_free(&f);
}

static void write_safetensors(const char *name, const char *tensor)
{
    char header[256];
    buf f;

    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]}}", tensor);
    f = safetensors_bytes(header, true, NULL, 24);
    temp_file(dir, name, f.data, f.size);
    buf_free(&f);
}

START_TEST(single_gguf)
{
    llm_store *s;
    const store_tensor *t;

    temp_dir(dir);
    write_gguf("m.gguf", "a.weight", 0, -1, -1);
    s = open_ok(temp_path(dir, "m.gguf"), false);
    ck_assert_int_eq(store_kind(s), STORE_GGUF);
    ck_assert_str_eq(store_path(s), temp_path(dir, "m.gguf"));
    ck_assert_str_eq(store_dir(s), dir);
    ck_assert_uint_eq(store_n_tensor(s), 1);
    ck_assert_ptr_nonnull(t = store_find(s, "a.weight"));
    ck_assert_ptr_eq(t, store_tensor_at(s, 0));
    ck_assert_ptr_null(store_tensor_at(s, 1));
    ck_assert_ptr_null(store_find(s, "a"));
    ck_assert(t->dim[0] == 2 && t->dim[1] == 3 && t->bytes == 24 && memcmp(t->data, &(float){ 1 }, 4) == 0);
    store_will_need(s, t->data, t->bytes);
    store_release(s, t->data, t->bytes);
    ck_assert_int_eq(memcmp(t->data, &(float){ 1 }, 4), 0);
    ck_assert_str_eq(store_file_of(s, t->data), temp_path(dir, "m.gguf"));
    ck_assert_ptr_null(store_file_of(s, &s));
    ck_assert_str_eq(store_file_name(s, 0), temp_path(dir, "m.gguf"));
    ck_assert_ptr_null(store_file_name(s, 1));
    store_close(s);
    s = open_ok(dir, false);                                    /* the folder stands for its one file */
    ck_assert(store_kind(s) == STORE_GGUF && store_n_tensor(s) == 1);
    store_close(s);
    write_gguf("mmproj-m.gguf", "v", 0, -1, -1);                /* a projector beside it is passed over */
    store_close(open_ok(dir, false));
    write_gguf("other.gguf", "b", 0, -1, -1);
    refused(dir, LLM_ERR_FORMAT, "holds 2 .gguf files, name one of them: ");
    ck_assert(strstr(err.text, "m.gguf") && strstr(err.text, "other.gguf"));
    temp_remove(dir);
}
END_TEST

START_TEST(split_gguf)
{
    llm_store *s;

    temp_dir(dir);
    write_gguf("m-00001-of-00003.gguf", "a", 0, 3, 3);
    write_gguf("m-00002-of-00003.gguf", "b", 1, 3, 3);
    write_gguf("m-00003-of-00003.gguf", "c", 2, 3, -1);
    for (int i = 1; i <= 4; i++) {                              /* from any part, and from the folder */
        char name[64];
        snprintf(name, sizeof name, "m-%05d-of-00003.gguf", i);
        s = open_ok(i < 4 ? temp_path(dir, name) : dir, false);
        ck_assert(store_n_tensor(s) == 3 && store_n_file(s) == 3);
        ck_assert_int_eq(store_find(s, "c")->file, 2);
        ck_assert_int_eq(memcmp((const float *)store_find(s, "c")->data + 5, &(float){ 2 }, 4), 0);
        ck_assert_str_eq(store_file_of(s, store_find(s, "b")->data), temp_path(dir, "m-00002-of-00003.gguf"));
        store_close(s);
    }
    remove(temp_path(dir, "m-00002-of-00003.gguf"));
    refused(temp_path(dir, "m-00001-of-00003.gguf"), LLM_ERR_IO, "m-00002-of-00003.gguf: cannot be opened: No such file");
    s = open_ok(temp_path(dir, "m-00003-of-00003.gguf"), true);  /* the vocabulary is in the first part */
    ck_assert(store_n_file(s) == 1 && store_find(s, "a") != NULL);
    store_close(s);
    write_gguf("m-00002-of-00003.gguf", "a", 1, 3, 3);
    refused(temp_path(dir, "m-00001-of-00003.gguf"), LLM_ERR_FORMAT, "tensor 'a' is also in");
    write_gguf("m-00002-of-00003.gguf", "b", 2, 3, 3);
    refused(temp_path(dir, "m-00001-of-00003.gguf"), LLM_ERR_FORMAT, "got split.no 2 and split.count 3 (-1: none), wanted 1 and 3");
    write_gguf("m-00002-of-00003.gguf", "b", 1, 2, 3);
    refused(temp_path(dir, "m-00001-of-00003.gguf"), LLM_ERR_FORMAT, "got split.no 1 and split.count 2");
    write_gguf("m-00002-of-00003.gguf", "b", 1, -1, 3);
    refused(temp_path(dir, "m-00001-of-00003.gguf"), LLM_ERR_FORMAT, "got split.no -1");
    write_gguf("m-00002-of-00003.gguf", "b", 1, 3, 3);
    write_gguf("m-00001-of-00003.gguf", "a", 0, 3, 4);
    refused(temp_path(dir, "m-00001-of-00003.gguf"), LLM_ERR_FORMAT, "got split.tensors.count 4, its 3 files hold 3 tensors");
    write_gguf("m-00001-of-00003.gguf", "a", 0, 3, -1);
    refused(temp_path(dir, "m-00001-of-00003.gguf"), LLM_ERR_FORMAT, "no integer 'split.tensors.count'");
    write_gguf("m-00001-of-00003.gguf", "a", 0, 4, 3);
    refused(temp_path(dir, "m-00001-of-00003.gguf"), LLM_ERR_FORMAT, "is part of a model of 4 files");
    write_gguf("m-00001-of-00003.gguf", "a", 0, 60000, 3);
    refused(temp_path(dir, "m-00001-of-00003.gguf"), LLM_ERR_FORMAT, "key 'split.count'");
    temp_remove(dir);
}
END_TEST

START_TEST(safetensors_folder)
{
    llm_store *s;

    temp_dir(dir);
    refused(dir, LLM_ERR_FORMAT, "holds no weights: wanted model.safetensors, model.safetensors.index.json or a .gguf file");
    store_close(open_ok(dir, true));                            /* the weights may be missing */
    write_safetensors("model.safetensors", "a");
    s = open_ok(dir, false);
    ck_assert(store_kind(s) == STORE_HF && store_n_tensor(s) == 1 && store_find(s, "a")->dim[0] == 3);
    store_close(s);
    s = open_ok(temp_path(dir, "model.safetensors"), false);
    ck_assert(store_kind(s) == STORE_HF && strcmp(store_dir(s), dir) == 0);
    store_close(s);
    write_gguf("model.gguf", "g", 0, -1, -1);                   /* some repositories hold both */
    s = open_ok(dir, false);
    ck_assert_int_eq(store_kind(s), STORE_HF);
    store_close(s);
    rename(temp_path(dir, "model.safetensors"), temp_path(dir, "weights.safetensors"));
    s = open_ok(dir, false);                                    /* the only one, whatever its name */
    ck_assert_uint_eq(store_n_tensor(s), 1);
    store_close(s);
    write_safetensors("more.safetensors", "b");
    refused(dir, LLM_ERR_FORMAT, "holds 2 .safetensors files, but no model.safetensors.index.json");
    temp_remove(dir);
}
END_TEST

static void write_index(const char *map)
{
    char text[512];
    snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":48},\"weight_map\":{%s}}", map);
    temp_text(dir, "model.safetensors.index.json", text);
}

START_TEST(sharded_safetensors)
{
    static const struct { const char *map; llm_status status; const char *says; } rows[] = {
        { "\"a\":\"x.safetensors\",\"b\":\"x.safetensors\"", LLM_ERR_FORMAT, "tensor 'b' should be in x.safetensors, which lacks it" },
        { "\"a\":\"y.safetensors\",\"b\":\"x.safetensors\"", LLM_ERR_FORMAT, "tensor 'a' should be in y.safetensors, but is in x.safetensors" },
        { "\"a\":\"x.safetensors\",\"b\":\"y.safetensors\",\"c\":\"y.safetensors\"", LLM_ERR_FORMAT, "tensor 'c' should be in y.safetensors" },
        { "\"b\":\"y.safetensors\",\"z\":\"z.safetensors\"", LLM_ERR_IO, "z.safetensors: cannot be opened" },
        { "\"a\":\"x.safetensors\",\"b\":\"y.safetensors\",\"d\":\"copy.safetensors\"", LLM_ERR_FORMAT, "tensor 'a' is also in" },
        { "\"a\":\"x.safetensors\",\"b\":\"../y.safetensors\"", LLM_ERR_FORMAT, "in the same folder" },
        { "\"a\":\"x.safetensors\",\"b\":\"bad.safetensors\"", LLM_ERR_FORMAT, "bad.safetensors: got 5 bytes" },
    };
    llm_store *s;

    temp_dir(dir);
    write_safetensors("x.safetensors", "a");
    write_safetensors("y.safetensors", "b");
    write_safetensors("copy.safetensors", "a");
    temp_text(dir, "bad.safetensors", "12345");
    write_index("\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"");
    s = open_ok(dir, false);
    ck_assert(store_n_tensor(s) == 2 && store_n_file(s) == 2 && store_find(s, "b")->file == 1);
    store_close(s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_index(rows[i].map);
        refused(dir, rows[i].status, rows[i].says);
    }
    write_index("\"b\":\"y.safetensors\"");
    s = open_ok(dir, false);                                    /* files that the index does not name are not looked at */
    ck_assert_uint_eq(store_n_tensor(s), 1);
    store_close(s);
    temp_remove(dir);
}
END_TEST

START_TEST(extra_tensor_in_a_shard)
{
    buf f;

    temp_dir(dir);
    f = safetensors_bytes("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"extra\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
                          true, NULL, 4);
    temp_file(dir, "x.safetensors", f.data, f.size);
    buf_free(&f);
    write_index("\"a\":\"x.safetensors\"");
    refused(dir, LLM_ERR_FORMAT, "tensor 'extra' of x.safetensors is not in the weight_map");
    temp_remove(dir);
}
END_TEST

START_TEST(what_is_not_a_model_file)
{
    char sub[300];

    temp_dir(dir);
    refused("", LLM_ERR_ARG, "no path");
    refused(temp_path(dir, "absent.gguf"), LLM_ERR_IO, "absent.gguf: cannot be opened: No such file");
    refused(temp_file(dir, "empty.gguf", "", 0), LLM_ERR_FORMAT, "empty.gguf: the file is empty");
    refused(temp_file(dir, "empty.safetensors", "", 0), LLM_ERR_FORMAT, "got 0 bytes");
    refused(temp_text(dir, "text.txt", "hello, world"), LLM_ERR_FORMAT, "not a GGUF file");
    refused("/dev/null", LLM_ERR_IO, "is a device, wanted a regular file");
    ck_assert_int_eq(mkfifo(temp_path(dir, "pipe.gguf"), 0600), 0);
    refused(temp_path(dir, "pipe.gguf"), LLM_ERR_IO, "is a pipe, wanted a regular file");
    temp_remove(dir);
    temp_dir(dir);
    snprintf(sub, sizeof sub, "%s/model.safetensors", dir);
    ck_assert_int_eq(mkdir(sub, 0700), 0);
    refused(dir, LLM_ERR_IO, "model.safetensors: is a folder, wanted a regular file");
    rmdir(sub);
    temp_remove(dir);
}
END_TEST

START_TEST(no_permission)
{
    uid_t me = geteuid();

    temp_dir(dir);
    write_gguf("closed.gguf", "a", 0, -1, -1);
    chmod(temp_path(dir, "closed.gguf"), 0);
    if (me == 0 && seteuid(65534) != 0) test_skip("no_permission", "root may read everything");
    else refused(temp_path(dir, "closed.gguf"), LLM_ERR_IO, "cannot be opened: Permission denied");
    if (me == 0) ck_assert_int_eq(seteuid(me), 0);
    temp_remove(dir);
}
END_TEST

START_TEST(names_in_any_script)
{
    static const char name[] = "모델 \xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\xa6\x99 '\"$.gguf";
    llm_store *s;
    char long_path[600];

    temp_dir(dir);
    write_gguf(name, "a", 0, -1, -1);
    s = open_ok(temp_path(dir, name), false);
    ck_assert_str_eq(store_path(s), temp_path(dir, name));
    store_close(s);
    s = open_ok(dir, false);
    store_close(s);
    memset(long_path, 'x', sizeof long_path);                   /* the message keeps the end of the path and the reason */
    snprintf(long_path + 500, 100, "/absent.gguf");
    refused(long_path, LLM_ERR_IO, "/absent.gguf: cannot be opened: ");
    temp_remove(dir);
}
END_TEST

START_TEST(zero_tensors)
{
    gguf_build b = gguf_begin(3);
    buf f;
    llm_store *s;

    temp_dir(dir);
    gguf_str(&b, "general.architecture", "llama");
    f = gguf_end(&b);
    s = open_ok(temp_file(dir, "vocab.gguf", f.data, f.size), true);
    ck_assert(store_n_tensor(s) == 0 && store_find(s, "a") == NULL && store_tensor_at(s, 0) == NULL);
    store_close(s);
    buf_free(&f);
    f = safetensors_bytes("{}", true, NULL, 0);
    s = open_ok(temp_file(dir, "none.safetensors", f.data, f.size), false);
    ck_assert_uint_eq(store_n_tensor(s), 0);
    store_close(s);
    buf_free(&f);
    temp_remove(dir);
}
END_TEST

/* Offsets beyond 4 GiB; the file is sparse. */
START_TEST(larger_than_4_gib)
{
    const uint64_t far = (uint64_t)5 << 30;
    gguf_build b = gguf_begin(3);
    llm_store *s;
    const char *path;
    buf f;
    FILE *file;

    temp_dir(dir);
    gguf_str(&b, "general.architecture", "llama");
    gguf_info(&b, "near", DT_F32, 1, (uint64_t[]){ 4 }, 0);
    gguf_info(&b, "far", DT_F32, 1, (uint64_t[]){ 4 }, far);
    f = gguf_end(&b);
    path = temp_file(dir, "big.gguf", f.data, f.size);
    if (truncate(path, (off_t)(f.size + far + 15)) != 0) {
        test_skip("larger_than_4_gib", "no sparse files here");
        buf_free(&f), temp_remove(dir);
        return;
    }
    refused(path, LLM_ERR_FORMAT, "tensor 'far' needs bytes 5368709120 to +16");
    ck_assert_ptr_nonnull(file = fopen(path, "r+b"));
    ck_assert(fseeko(file, (off_t)(f.size + far), SEEK_SET) == 0 && fwrite("abcdefghijklmnop", 1, 16, file) == 16 && fclose(file) == 0);
    s = open_ok(path, false);
    ck_assert_int_eq(memcmp(store_find(s, "far")->data, "abcdefghijklmnop", 16), 0);
    store_close(s);
    buf_free(&f);
    temp_remove(dir);
}
END_TEST

/* Files that other programs wrote. */
START_TEST(files_of_other_programs)
{
    static const struct { const char *path; llm_store_kind kind; } rows[] = {
        { "weights/llama-2-tiny-random", STORE_GGUF }, { "weights/tiny-minicpm3-mla", STORE_HF },
    };
    if (test_data() == NULL) {
        test_skip("files_of_other_programs", "no shared test data");
        return;
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        llm_store *s = open_ok(temp_path(test_data(), rows[i].path), false);
        ck_assert(store_kind(s) == rows[i].kind && store_n_tensor(s) > 5);
        store_close(s);
    }
}
END_TEST

static sigjmp_buf jump;
static const llm_store *watched;
static const char *lost;

static void on_bus(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)context;
    lost = store_file_of(watched, info->si_addr);
    siglongjmp(jump, 1);
}

/* A file cut short while it is mapped: the one who catches the signal learns which file it was. */
START_TEST(file_cut_while_mapped)
{
    struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO }, before;
    gguf_build b = gguf_begin(3);
    volatile unsigned char seen = 0;
    llm_store *s;
    buf f;

    temp_dir(dir);
    gguf_str(&b, "general.architecture", "llama");
    gguf_tensor(&b, "a", DT_F32, 1, (uint64_t[]){ 65536 }, NULL);
    f = gguf_end(&b);
    watched = s = open_ok(temp_file(dir, "m.gguf", f.data, f.size), false);
    buf_free(&f);
    ck_assert_int_eq(truncate(temp_path(dir, "m.gguf"), 4096), 0);
    sigaction(SIGBUS, &action, &before);
    lost = NULL;
    if (sigsetjmp(jump, 1) == 0) seen = ((const unsigned char *)store_find(s, "a")->data)[200000];
    sigaction(SIGBUS, &before, NULL);
    ck_assert_msg(lost != NULL, "no signal, byte %d", seen);
    ck_assert_str_eq(lost, temp_path(dir, "m.gguf"));
    store_close(s);
    temp_remove(dir);
}
END_TEST

LLM_TEST_MAIN("format/store", single_gguf, split_gguf, safetensors_folder, sharded_safetensors, extra_tensor_in_a_shard,
              what_is_not_a_model_file, no_permission, names_in_any_script, zero_tensors,
              larger_than_4_gib, files_of_other_programs, file_cut_while_mapped)
