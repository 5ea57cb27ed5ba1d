/* Products through cuBLAS: on a GPU the library itself, on the shim a small one of our own with the same entry points, which notes how it is
 * called (fake_cublas.c). */
#include "cuda_case.h"
#include "fake_cublas.h"
#include "llm.h"
#include <dlfcn.h>
#include <limits.h>

#ifdef LLM_CUDA_SHIM
extern const char *shim_cublas;
#endif

static const llm_limits limits = { .n_batch = 80, .max_cols = 2048, .max_rows = 2048, .n_expert = 1, .n_expert_used = 1, .d_ff_expert = 1, .d_model = 512, .n_head = 8, .max_d_head = 64, .n_ctx = 256 };
static fake_cublas_calls none, *calls = &none;

static void find_fake(void)
{
#ifdef LLM_CUDA_SHIM
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 32);
    void *lib;

    ck_assert_int_gt(n, 0);
    path[n] = '\0';
    strcpy(strrchr(path, '/'), "/fake_cublas.so");
    ck_assert_msg((lib = dlopen(path, RTLD_NOW)) != NULL && (calls = dlsym(lib, "fake_calls")) != NULL, "%s", dlerror());
    memset(calls, 0, sizeof *calls);
    shim_cublas = path;
#endif
}

/* The backend's own device gets these weights. False where the real library is not there: said and counted. */
static bool import(pair *p, llm_tensor **w, size_t n)
{
    llm_error err;

    ck_assert_msg(device_import(p->d, w, n, NULL, NULL, &err) == LLM_OK, "%s", err.text);
    ck_assert_ptr_nonnull(device_products(p->d));
    if (strstr(device_products(p->d), ": cuBLAS ") != NULL) return true;
    test_skip("cuda/blas", device_products(p->d));
    return false;
}

static double tolerance_of(llm_dtype t) { return t == DT_F32 ? 2e-6 : t == DT_F16 ? 5e-4 : 2e-3; }

/* Three products of the same x, one of another width. */
static void products_of(llm_dtype type, int cols, int n, bool deterministic)
{
    llm_limits l = limits;
    llm_tensor w[4], bias = case_tensor(DT_F32, 0, 131, 1), *all[5] = { &w[0], &w[1], &w[2], &w[3], &bias };
    static const int rows[] = { 33, 131, 64, 131 };
    llm_linear lw[4], lg[4];
    int before = calls->products;
    pair p;

    l.deterministic = deterministic;
    if (!pair_open(&p, &l, "cuda/blas")) return;
    for (int i = 0; i < 4; i++) w[i] = case_tensor(i == 2 ? DT_Q8_0 : type, 0, rows[i], cols);
    if (import(&p, all, 5)) {
        llm_rows x = case_rows(n, cols), dx = put_rows(&p.be, x);
        for (int i = 0; i < 4; i++) {
            lw[i] = (llm_linear){ blank_rows(n, rows[i], rows[i] + 3), &w[i], i == 1 ? &bias : NULL };
            lg[i] = (llm_linear){ put_rows(&p.be, lw[i].y), &w[i], lw[i].bias };
        }
        p.ref.op.linear(&p.ref, lw, 4, x), p.be.op.linear(&p.be, lg, 4, dx);
        for (int i = 0; i < 4; i++) check_rows(&p, lg[i].y, lw[i].y, i == 2 ? 2e-6 : tolerance_of(type), "%s, product %d, %d columns, %d rows of x", dtype_name(type), i, cols, n), free(lw[i].y.data);
        p.be.remote->release(&p.be, dx.data), free(x.data);
#ifdef LLM_CUDA_SHIM
        ck_assert_int_eq(calls->products - before, n >= 65 && !deterministic ? 3 : 0);
        if (calls->products > before) {
            ck_assert_msg(calls->wrong == 0 && calls->m == 131 && calls->n == n && calls->k == cols && calls->algorithm == -1 && calls->math == 16, "%d %d %d", calls->m, calls->n, calls->k);
            ck_assert(calls->a_type == (type == DT_F32 ? 0 : type == DT_F16 ? 2 : 14) && calls->compute == (type == DT_F32 ? 69 : 68));
            ck_assert(calls->workspace != NULL && calls->workspace_bytes >= (size_t)4 << 20);
        }
#endif
    }
    (void)before;
    for (int i = 0; i < 4; i++) free((void *)(uintptr_t)w[i].data);
    free((void *)(uintptr_t)bias.data);
    pair_close(&p);
}

START_TEST(float_weights_with_many_rows)
{
    static const llm_dtype types[] = { DT_F32, DT_F16, DT_BF16 };
    static const struct { int cols, n; bool deterministic; } cases[] = { { 96, 65, false }, { 512, 80, false }, { 96, 64, false }, { 96, 80, true } };

    find_fake();
    for (int i = 0; i < 12 && test_skipped == 0; i++) products_of(types[i / 4], cases[i % 4].cols, cases[i % 4].n, cases[i % 4].deterministic);
    ck_assert_int_eq(calls->open, 0);       /* all closed */
}
END_TEST

/* Many rows through gate and up, which few rows have in one. */
START_TEST(gated_products)
{
    llm_tensor gate = case_tensor(DT_F32, 0, 64, 96), up = case_tensor(DT_F32, 0, 64, 96), *all[2] = { &gate, &up };
    llm_rows x = case_rows(70, 96), g = blank_rows(70, 64, 64), u = blank_rows(70, 64, 64);
    llm_linear both[2] = { { g, &gate, NULL }, { u, &up, NULL } };
    pair p;

    find_fake();
    if (!pair_open(&p, &limits, "cuda/blas gated")) return;
    if (import(&p, all, 2)) {
        llm_rows dx = put_rows(&p.be, x), dg = put_rows(&p.be, g), du = put_rows(&p.be, u);
        p.ref.op.linear(&p.ref, both, 2, x), p.ref.op.glu(&p.ref, g, g, u, ACT_SILU, 0);
        p.be.block.gated(&p.be, dg, du, &gate, &up, dx, ACT_SILU, 0);
        check_rows(&p, dg, g, 2e-6, "gated");
        p.be.remote->release(&p.be, dx.data), p.be.remote->release(&p.be, du.data);
#ifdef LLM_CUDA_SHIM
        ck_assert_int_eq(calls->products, 2);
#endif
    }
    pair_close(&p), free(x.data), free(g.data), free(u.data), free((void *)(uintptr_t)gate.data), free((void *)(uintptr_t)up.data);
}
END_TEST

#ifdef LLM_CUDA_SHIM
static void check_missing(const char *library, const char *word)
{
    llm_tensor w = case_tensor(DT_F16, 0, 33, 96), *all[1] = { &w };
    llm_error err;
    llm_device *d;

    shim_cublas = library;
    ck_assert_msg(device_open(&d, LLM_BACKEND_CUDA, 0, &err) == LLM_OK && device_import(d, all, 1, NULL, NULL, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(device_products(d) != NULL && strstr(device_products(d), "own kernels") != NULL && strstr(device_products(d), word) != NULL, "%s", device_products(d));
    device_close(d), free((void *)(uintptr_t)w.data);
}
#endif

START_TEST(a_library_that_is_not_there_is_said)
{
#ifdef LLM_CUDA_SHIM
    llm_tensor q = case_tensor(DT_Q8_0, 0, 512, 256), router = case_tensor(DT_F32, 0, 16, 256), *all[2] = { &q, &router };
    llm_error err;
    llm_device *d;

    check_missing(NULL, "cannot open shared object file"), check_missing("libm.so.6", "no cublasCreate_v2");
    ck_assert(device_open(&d, LLM_BACKEND_CUDA, 0, &err) == LLM_OK && device_import(d, all, 2, NULL, NULL, &err) == LLM_OK);
    ck_assert_ptr_null(device_products(d));             /* too little for it to do */
    device_close(d), free((void *)(uintptr_t)q.data), free((void *)(uintptr_t)router.data);
#else
    test_skip("cuda/blas missing", "the library of a real device is not taken away");
#endif
}
END_TEST

START_TEST(a_failure_names_the_product)
{
#ifdef LLM_CUDA_SHIM
    llm_tensor w = case_tensor(DT_BF16, 0, 33, 96), *all[1] = { &w };
    llm_rows x = case_rows(70, 96), y = blank_rows(70, 33, 33);
    pair p;

    find_fake();
    ck_assert(pair_open(&p, &limits, "cuda/blas") && import(&p, all, 1));
    llm_rows dx = put_rows(&p.be, x), dy = put_rows(&p.be, y);
    llm_linear l = { dy, &w, NULL };
    calls->fail = 13, p.be.layer = 5;
    p.be.op.linear(&p.be, &l, 1, dx);
    ck_assert_msg(p.be.err.status == LLM_ERR_INTERNAL && strstr(p.be.err.text, "cuBLAS 130100: product of layer 5 (70 rows, 33 by 96 of BF16): status 13"), "%s", p.be.err.text);
    calls->fail = 0;
    p.be.remote->release(&p.be, dx.data), p.be.remote->release(&p.be, dy.data);
    pair_close(&p), free(x.data), free(y.data), free((void *)(uintptr_t)w.data);
#else
    test_skip("cuda/blas failure", "a real device does not fail to order");
#endif
}
END_TEST

/* ---- a model ---------------------------------------------------------------------------- */

enum { N = 72 };
static void keep_line(void *user, llm_log_level level, const char *line) { if (level == LLM_LOG_INFO && strstr(line, "cuBLAS")) snprintf(user, 300, "%s", line); }

static float *logits_of(const char *path, llm_backend_kind kind, int deterministic, char *line)
{
    llm_model_options mo = { .size = sizeof mo, .path = path, .backend = kind, .n_threads = 2, .log = keep_line, .user = line };
    llm_session_options so = { .size = sizeof so, .n_ctx = 128, .deterministic = deterministic };
    llm_model_info i = { .size = sizeof i };
    llm_token token[N];
    llm_session *s;
    llm_model *m;
    llm_error err;
    llm_status st = llm_model_open(&m, &mo, &err);

    if (st == LLM_ERR_UNSUPPORTED) { test_skip("cuda/blas model", err.text); return NULL; }
    ck_assert_msg(st == LLM_OK && llm_session_open(&s, m, &so, &err) == LLM_OK, "%s", err.text);
    llm_model_get_info(m, &i);
    for (int k = 0; k < N; k++) token[k] = 1 + k * 7 % (i.n_vocab - 1);
    ck_assert_msg(llm_session_decode(s, token, N, &err) == LLM_OK, "%s", err.text);
    float *out = malloc((size_t)(i.n_vocab + 1) * sizeof *out);
    out[0] = (float)i.n_vocab, memcpy(out + 1, llm_session_logits(s), (size_t)i.n_vocab * sizeof *out);
    llm_session_close(s), llm_model_close(m);
    return out;
}

START_TEST(a_prompt_through_the_library)
{
    const char *const path = "test/data/ref/llama3/hf";
    char line[300] = "";

    find_fake();
    float *got = logits_of(path, LLM_BACKEND_CUDA, 0, line);
    if (got == NULL) return;
    int products = calls->products;
    float *again = logits_of(path, LLM_BACKEND_CUDA, 0, line), *want = logits_of(path, LLM_BACKEND_CPU, 0, line);
    double error = 0, size = 0;
    for (int i = 1; i <= (int)want[0]; i++) error += (got[i] - want[i]) * (double)(got[i] - want[i]), size += want[i] * (double)want[i];
    ck_assert_msg(sqrt(error / size) < 2e-3, "relative error %.3g", sqrt(error / size));
    ck_assert(memcmp(got, again, (size_t)(want[0] + 1) * sizeof *got) == 0);
    ck_assert_msg(strstr(line, "65 rows or more") != NULL, "'%s'", line);
#ifdef LLM_CUDA_SHIM
    ck_assert(products > 0 && calls->wrong == 0);
    products = calls->products;
    free(logits_of(path, LLM_BACKEND_CUDA, 1, line));
    ck_assert_int_eq(calls->products, products);
#endif
    (void)products;
    free(got), free(again), free(want);
}
END_TEST

/* The rate of float products is that of the library where it is higher: it is asked. */
START_TEST(the_library_is_measured)
{
    llm_device_limits l = { 0, 0, 0 };
    llm_device *d;
    llm_error err;
    llm_status st = device_open(&d, LLM_BACKEND_CUDA, 0, &err);

    if (st == LLM_ERR_UNSUPPORTED) { test_skip("cuda/blas limits", err.text); return; }
    find_fake();
    ck_assert_msg(device_limits(d, &l, &err) == LLM_OK && l.float_gflops > 0, "%s", err.text);
#ifdef LLM_CUDA_SHIM
    ck_assert(calls->products == 2 && calls->wrong == 0 && calls->open == 0 && calls->m == calls->n && calls->n == calls->k && calls->a_type == 14);
    calls->fail = 13;
    ck_assert(device_limits(d, &l, &err) == LLM_ERR_INTERNAL && calls->open == 0);
    ck_assert_msg(strstr(err.text, "cuBLAS: a product of 16 by 16: status 13") != NULL, "%s", err.text);
    calls->fail = 0;
#endif
    device_close(d);
}
END_TEST

LLM_TEST_MAIN("cuda/blas", float_weights_with_many_rows, gated_products, a_library_that_is_not_there_is_said, a_failure_names_the_product, a_prompt_through_the_library, the_library_is_measured)
