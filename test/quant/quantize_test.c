/* Files that llm_quantize writes: every tiny reference model as GGUF gives the official logits; bytes that do not depend on
 * threads or kernels; broken input; nothing left behind. */
#include "../llm_test.h"
#include "llm.h"
#include "npy.h"
#include <dirent.h>
#include <fenv.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define ROOT "test/data/ref"
enum { MAX_TOKEN = 256 };
static char dir[64];

static void make_dir(void)
{
    strcpy(dir, "/tmp/llm-quantize-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static int files_in(const char *path)
{
    DIR *d = opendir(path);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void remove_dir(void)
{
    DIR *d = opendir(dir);
    char path[512];
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') snprintf(path, sizeof path, "%s/%s", dir, e->d_name), unlink(path);
    closedir(d);
    ck_assert_int_eq(rmdir(dir), 0);
}

static llm_status quantize(const char *in, const char *out, const char *type, int threads, const char *cpu, llm_error *err)
{
    llm_quantize_options o = { .size = sizeof o, .in = in, .out = out, .type = type, .n_threads = threads, .cpu = cpu };
    return llm_quantize(&o, NULL, err);
}

/* The largest distance from the official logits, as a share of the largest one. */
static double off_by(const char *path, const npy_array *tokens, const npy_array *logits)
{
    llm_model_options mo = { .size = sizeof mo, .path = path, .n_threads = 2 };
    llm_session_options so = { .size = sizeof so, .n_ctx = MAX_TOKEN, .kv_type = LLM_KV_F32 };
    llm_row row[MAX_TOKEN];
    llm_model *m = NULL;
    llm_session *s = NULL;
    llm_error err = { LLM_OK, "" };
    double scale = 0, worst = 0;

    for (size_t i = 0; i < tokens->cols; i++) row[i] = (llm_row){ (llm_token)tokens->data[i], 0, 1 };
    ck_assert_msg(llm_model_open(&m, &mo, &err) == LLM_OK, "%s: %s", path, err.text);
    ck_assert_msg(llm_session_open(&s, m, &so, &err) == LLM_OK, "%s: %s", path, err.text);
    ck_assert_msg(llm_session_decode_rows(s, row, tokens->cols, &err) == LLM_OK, "%s: %s", path, err.text);
    for (size_t i = 0; i < tokens->cols * logits->cols; i++) {
        double d = fabs((double)llm_session_logits(s)[i] - (double)logits->data[i]);
        if (!(d <= worst)) worst = d;
        if (fabs((double)logits->data[i]) > scale) scale = fabs((double)logits->data[i]);
    }
    llm_session_close(s);
    llm_model_close(m);
    return worst / scale;
}

static void read_npy(const char *name, const char *file, npy_array *out)
{
    char path[256], why[128] = "";
    snprintf(path, sizeof path, ROOT "/%s/%s", name, file);
    ck_assert_msg(npy_read(path, out, why, sizeof why), "%s: %s", path, why);
}

/* What GGUF has no words for is refused, and says so. */
static bool refused(const char *name)
{
    static const char *const list[] = { "gemma3-mm", "qwen1-long", "qwen2moe-mixed" };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (strcmp(list[i], name) == 0) return true;
    return false;
}

static int check_case(const char *name)
{
    char in[256], out[256];
    npy_array tokens, logits;
    struct stat info;
    llm_error err = { LLM_OK, "" };
    llm_status st;
    double off;

    snprintf(in, sizeof in, ROOT "/%s/hf", name), snprintf(out, sizeof out, "%s/%s.gguf", dir, name);
    if (stat(in, &info) != 0) return 0;
    st = quantize(in, out, "F32", 2, NULL, &err);
    if (refused(name)) {
        ck_assert_msg(st == LLM_ERR_UNSUPPORTED && strstr(err.text, "cannot be written as GGUF"), "%s: %s", name, err.text);
        return 1;
    }
    ck_assert_msg(st == LLM_OK, "%s: %s", name, err.text);
    read_npy(name, "tokens.npy", &tokens), read_npy(name, "logits.npy", &logits);
    off = off_by(out, &tokens, &logits);
    printf("  %-18s as F32 GGUF: %.2g of the largest logit\n", name, off);
    ck_assert_msg(off <= 2e-4, "%s: off by %g", name, off);
    free(tokens.data), free(logits.data);
    return 1;
}

START_TEST(folders_become_files_with_the_official_logits)
{
    DIR *d = opendir(ROOT);
    int n = 0;

    ck_assert_msg(d != NULL, ROOT " is missing; run from the root of the tree");
    make_dir();
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') n += check_case(e->d_name);
    closedir(d);
    ck_assert_int_ge(n, 26);
    ck_assert_int_eq(files_in(dir), n - 3);
    remove_dir();
}
END_TEST

static char *whole(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *p;
    ck_assert_msg(f != NULL, "%s", path);
    fseek(f, 0, SEEK_END), *n = (size_t)ftell(f), rewind(f);
    p = malloc(*n + 1);
    ck_assert_uint_eq(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

START_TEST(bytes_depend_on_source_and_type_alone)
{
    static const char *const types[] = { "Q4_K_M", "q2_k", "Q8_0", "MXFP4_MOE", "IQ4_XS", "Q5_1" };
    char a[256], b[256];
    llm_error err = { LLM_OK, "" };

    make_dir();
    snprintf(a, sizeof a, "%s/a.gguf", dir), snprintf(b, sizeof b, "%s/b.gguf", dir);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        size_t n, k;
        ck_assert_msg(quantize("tools/demo/demo-gpt-oss.gguf", a, types[i], 1, "scalar", &err) == LLM_OK, "%s", err.text);
        fesetround(FE_UPWARD);
        ck_assert_msg(quantize("tools/demo/demo-gpt-oss.gguf", b, types[i], 3, NULL, &err) == LLM_OK, "%s", err.text);
        ck_assert_int_eq(fegetround(), FE_UPWARD);
        fesetround(FE_TONEAREST);
        char *x = whole(a, &n), *y = whole(b, &k);
        ck_assert_msg(n == k && memcmp(x, y, n) == 0, "%s: one thread of plain C and three of the best kernels, of a program that rounds upwards, differ", types[i]);
        free(x), free(y);
    }
    remove_dir();
}
END_TEST

static const char *type_of(const llm_model *m, const char *name)
{
    llm_tensor_info t = { .size = sizeof t };
    for (size_t i = 0; llm_model_get_tensor(m, i, &t) == LLM_OK; i++)
        if (strcmp(t.name, name) == 0) return t.dtype;
    return "absent";
}

START_TEST(patterns_name_types)
{
    const char *const tensor[] = { "blk.0.attn_*=q8_0", "blk.*.attn_v.weight=F16", "output.weight=q5_1" };
    char out[256];
    llm_quantize_options o = { .size = sizeof o, .in = "tools/demo/demo-gpt-oss.gguf", .type = "q4_0", .tensor = tensor, .n_tensor = 3, .out = out };
    llm_model_options mo = { .size = sizeof mo, .path = out };
    llm_quantize_result r = { .size = sizeof r };
    llm_model *m;
    llm_error err = { LLM_OK, "" };

    make_dir();
    snprintf(out, sizeof out, "%s/p.gguf", dir);
    ck_assert_msg(llm_quantize(&o, &r, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(llm_model_open(&m, &mo, &err) == LLM_OK, "%s", err.text);
    ck_assert_str_eq(type_of(m, "blk.0.attn_v.weight"), "Q8_0");
    ck_assert_str_eq(type_of(m, "blk.1.attn_v.weight"), "F16");
    ck_assert_str_eq(type_of(m, "blk.1.attn_q.weight"), "Q4_0");
    ck_assert_str_eq(type_of(m, "output.weight"), "Q5_1");
    ck_assert_str_eq(type_of(m, "output_norm.weight"), "F32");
    ck_assert_uint_gt(r.n_tensor, 10);
    ck_assert_uint_gt(r.bytes, 1000);
    llm_model_close(m);
    const char *const none[] = { "no.such.tensor=q8_0" };
    o.n_tensor = 1, o.tensor = none;
    ck_assert_int_eq(llm_quantize(&o, NULL, &err), LLM_ERR_ARG);
    ck_assert_msg(strstr(err.text, "no.such.tensor"), "%s", err.text);
    remove_dir();
}
END_TEST

static int stop_halfway(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user, (void)what;
    return done > total / 2;
}

START_TEST(failures_leave_what_was_there)
{
    static const struct { const char *in, *type, *imatrix, *tensor, *out, *says; llm_status status; } rows[] = {
        { "tools/demo/demo-gpt-oss.gguf", "Q4_K_XXL", NULL, NULL, NULL, "unknown type 'Q4_K_XXL'", LLM_ERR_ARG },
        { "tools/demo/demo-gpt-oss.gguf", "IQ2_XS", NULL, NULL, NULL, "can be read, but not written", LLM_ERR_UNSUPPORTED },
        { "tools/demo/demo-gpt-oss.gguf", "Q8_0", "/nonexistent", NULL, NULL, "nonexistent", LLM_ERR_IO },
        { "tools/demo/demo-gpt-oss.gguf", "Q8_0", "Makefile", NULL, NULL, "importance matrix", LLM_ERR_FORMAT },
        { "tools/demo/demo-gpt-oss.gguf", "Q8_0", "tools/demo/demo-gpt-oss.gguf", NULL, NULL, "holds no importance matrix", LLM_ERR_FORMAT },
        { "tools/demo/demo-gpt-oss.gguf", "Q8_0", NULL, "attn_v", NULL, "PATTERN=TYPE", LLM_ERR_ARG },
        { "tools/demo/demo-gpt-oss.gguf", "Q8_0", NULL, "x=iq1_s", NULL, "no type that can be written", LLM_ERR_ARG },
        { "tools/demo/demo-gpt-oss.gguf", "Q8_0", NULL, NULL, "/nonexistent/a.gguf", "cannot be written", LLM_ERR_IO },
        { "tools/demo/demo-gpt-oss.gguf", "Q8_0", NULL, NULL, "/", "is a folder", LLM_ERR_IO },
        { "tools/demo/demo-gpt-oss.gguf", "Q8_0", NULL, NULL, "tools/demo/../demo/demo-gpt-oss.gguf", "is the file to be read", LLM_ERR_ARG },
        { "/nonexistent", "Q8_0", NULL, NULL, NULL, "nonexistent", LLM_ERR_IO },
        { "Makefile", "Q8_0", NULL, NULL, NULL, "GGUF", LLM_ERR_FORMAT },
    };
    char out[256];
    llm_error err = { LLM_OK, "" };
    FILE *f;

    make_dir();
    snprintf(out, sizeof out, "%s/kept.gguf", dir);
    ck_assert_ptr_nonnull(f = fopen(out, "w"));
    fputs("kept", f), fclose(f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *tensor[1] = { rows[i].tensor };
        llm_quantize_options o = { .size = sizeof o, .in = rows[i].in, .type = rows[i].type, .imatrix = rows[i].imatrix, .out = rows[i].out ? rows[i].out : out,
                                   .tensor = tensor, .n_tensor = rows[i].tensor != NULL };
        ck_assert_msg(llm_quantize(&o, NULL, &err) == rows[i].status, "row %zu: %s", i, err.text);
        ck_assert_msg(strstr(err.text, rows[i].says), "row %zu: %s", i, err.text);
    }
    llm_quantize_options o = { .size = sizeof o, .in = "tools/demo/demo-gpt-oss.gguf", .type = "Q6_K", .out = out, .progress = stop_halfway };
    ck_assert_int_eq(llm_quantize(&o, NULL, &err), LLM_ERR_CANCELLED);
    size_t n;
    char *text = whole(out, &n);
    ck_assert(n == 4 && memcmp(text, "kept", 4) == 0);
    free(text);
    ck_assert_int_eq(files_in(dir), 1);
    remove_dir();
}
END_TEST

/* The demo model with one weight made NaN: the tensor, the row and the column are named. */
START_TEST(a_weight_that_is_no_number)
{
    char in[256], out[256];
    llm_error err = { LLM_OK, "" };
    size_t n;

    make_dir();
    snprintf(in, sizeof in, "%s/in.gguf", dir), snprintf(out, sizeof out, "%s/out.gguf", dir);
    ck_assert_msg(quantize("tools/demo/demo-gpt-oss.gguf", in, "F32", 1, NULL, &err) == LLM_OK, "%s", err.text);
    char *file = whole(in, &n);
    float bad = NAN;
    memcpy(file + n - 64 * 4, &bad, 4);                                /* inside the last tensor, which is a matrix or a long vector */
    FILE *f = fopen(in, "wb");
    fwrite(file, 1, n, f), fclose(f), free(file);
    ck_assert_int_eq(quantize(in, out, "Q4_K_M", 2, NULL, &err), LLM_ERR_FORMAT);
    ck_assert_msg(strstr(err.text, "tensor '") && strstr(err.text, "row "), "%s", err.text);
    ck_assert_int_eq(files_in(dir), 1);
    remove_dir();
}
END_TEST

LLM_TEST_MAIN("quant/quantize", folders_become_files_with_the_official_logits, bytes_depend_on_source_and_type_alone, patterns_name_types,
              failures_leave_what_was_there, a_weight_that_is_no_number)
