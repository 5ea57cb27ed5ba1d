/* Models that are partly on the device (or its shim): logits against the CPU's for several splits, the plan against what is taken, and
 * everything a session does while its rows go to and fro. */
#include "../llm_test.h"
#include "llm.h"
#include "npy.h"
#include "session.h"
#include <math.h>
#include <string.h>

#define REF "test/data/ref/"
enum { N_TOKEN = 28, PROMPT = 24, N_CTX = 64 };

#ifdef LLM_CUDA_SHIM
extern size_t shim_memory_left, shim_copies[2];
#endif

/* Dense, sliding windows, experts, shared experts, MLA with experts behind a dense layer, sinks and MXFP4. */
static const char *const dense = REF "llama3/model.gguf", *const window = REF "gemma3/model.gguf", *const moe = REF "qwen3moe/model.gguf",
                  *const mla = REF "deepseek-v2/model.gguf", *const sinks = REF "gpt-oss/model.gguf";

typedef struct { llm_model *m; llm_session *s; int n_vocab, n_layer; bool moe; llm_token token[N_TOKEN]; } subject;

static llm_status try_open(llm_model **m, const char *path, int gpu_layers, int cpu_moe, uint64_t device_memory, int plan_only, llm_error *err)
{
    static const llm_session_options expect = { .size = sizeof expect, .n_ctx = N_CTX, .n_seq = 2, .n_batch = 16 };
    llm_model_options o = { .size = sizeof o, .path = path, .backend = LLM_BACKEND_CUDA, .n_threads = 2, .gpu_layers = gpu_layers, .cpu_moe = cpu_moe,
                            .device_memory = device_memory, .plan_only = plan_only, .expect = &expect };
    return llm_model_open(m, &o, err);
}

static llm_session_options usual(void)
{
    return (llm_session_options){ .size = sizeof(llm_session_options), .n_ctx = N_CTX, .n_seq = 2, .n_batch = 16, .kv_type = LLM_KV_F32 };
}

static void read_subject(subject *t, const char *path)
{
    llm_model_info i = { .size = sizeof i };
    char name[256], why[128] = "";
    npy_array a;

    llm_model_get_info(t->m, &i);
    t->n_vocab = i.n_vocab, t->n_layer = i.n_layer, t->moe = i.n_expert > 0;
    snprintf(name, sizeof name, "%.*s/tokens.npy", (int)(strrchr(path, '/') - path), path);
    ck_assert_msg(npy_read(name, &a, why, sizeof why) && a.cols >= N_TOKEN, "%s: %s", name, why);
    for (int k = 0; k < N_TOKEN; k++) t->token[k] = (llm_token)a.data[k];
    free(a.data);
}

/* For tests that a plan is not enough for, which needs no device: false after saying that there is none. */
static bool device_here(const char *what)
{
    llm_model *m;
    llm_error err;
    llm_status st = try_open(&m, dense, LLM_GPU_ALL, 0, 0, 0, &err);

    if (st == LLM_OK) llm_model_close(m);
    if (st == LLM_ERR_UNSUPPORTED) test_skip(what, err.text);
    return st != LLM_ERR_UNSUPPORTED;
}

static bool split_open(subject *t, const char *path, int gpu_layers, int cpu_moe)
{
    llm_session_options o = usual();
    llm_error err;
    llm_status st = try_open(&t->m, path, gpu_layers, cpu_moe, 0, 0, &err);

    if (st == LLM_ERR_UNSUPPORTED) { test_skip("cuda/offload", err.text); return false; }
    ck_assert_msg(st == LLM_OK, "%s: %s", path, err.text);
    ck_assert_msg(llm_session_open(&t->s, t->m, &o, &err) == LLM_OK, "%s: %s", path, err.text);
    read_subject(t, path);
    return true;
}

static void cpu_open_subject(subject *t, const char *path, llm_kv_type kv_type)
{
    llm_model_options o = { .size = sizeof o, .path = path, .n_threads = 2 };
    llm_session_options so = usual();
    llm_error err;

    so.kv_type = kv_type;
    ck_assert_msg(llm_model_open(&t->m, &o, &err) == LLM_OK && llm_session_open(&t->s, t->m, &so, &err) == LLM_OK, "%s: %s", path, err.text);
    read_subject(t, path);
}

static void subject_close(subject *t) { llm_session_close(t->s), llm_model_close(t->m); }

/* A prompt, then token by token, so that steps are recorded and replayed; logits [N_TOKEN, n_vocab], malloc'ed. */
static float *all_logits(subject *t, int seq)
{
    size_t width = (size_t)t->n_vocab;
    float *out = malloc(N_TOKEN * width * sizeof *out);
    llm_error err;

    for (int i = 0, n; i < N_TOKEN; i += n) {
        llm_row row[PROMPT];
        n = i == 0 ? PROMPT : 1;
        for (int k = 0; k < n; k++) row[k] = (llm_row){ t->token[i + k], seq, 1 };
        ck_assert_msg(llm_session_decode_rows(t->s, row, (size_t)n, &err) == LLM_OK, "token %d: %s", i, err.text);
        memcpy(out + (size_t)i * width, llm_session_logits(t->s), (size_t)n * width * sizeof *out);
    }
    return out;
}

/* The mean over positions of the Kullback-Leibler divergence. */
static double divergence(const float *got, const float *want, int width)
{
    double all = 0;

    for (int i = 0; i < N_TOKEN; i++, got += width, want += width) {
        double zg = 0, zw = 0;
        for (int k = 0; k < width; k++) zg += exp((double)got[k]), zw += exp((double)want[k]);
        for (int k = 0; k < width; k++) all += exp((double)want[k]) / zw * ((double)want[k] - log(zw) - ((double)got[k] - log(zg)));
    }
    return all / N_TOKEN;
}

static void check_split(const char *path, const float *want, double allowed, int gpu_layers, int cpu_moe)
{
    subject t;
    float *got;
    double d;

    if (!split_open(&t, path, gpu_layers, cpu_moe)) return;
    got = all_logits(&t, 0);
    d = divergence(got, want, t.n_vocab);
    printf("  %-34s gpu_layers %2d, cpu_moe %2d: divergence %.2g\n", path + strlen(REF), gpu_layers, cpu_moe, d);
    if (gpu_layers == LLM_GPU_NONE) ck_assert_msg(memcmp(got, want, (size_t)N_TOKEN * (size_t)t.n_vocab * sizeof *got) == 0, "%s: nothing is on the device", path);
    else ck_assert_msg(d < allowed, "%s: gpu_layers %d, cpu_moe %d: mean divergence from the CPU's logits %.3g, allowed %.3g", path, gpu_layers, cpu_moe, d, allowed);
    free(got), subject_close(&t);
}

START_TEST(logits_are_the_cpus_wherever_the_border_is)
{
    const char *const path[] = { dense, window, moe, mla, sinks, REF "qwen2moe/model.gguf" };

    for (size_t i = 0; i < sizeof path / sizeof path[0] && test_skipped == 0; i++) {
        subject t, r;
        cpu_open_subject(&t, path[i], LLM_KV_F32), cpu_open_subject(&r, path[i], LLM_KV_F16);
        float *want = all_logits(&t, 0), *rounded = all_logits(&r, 0);
        double limit = fmax(1e-4, 2 * divergence(rounded, want, t.n_vocab));          /* as models_test.c */
        check_split(path[i], want, limit, LLM_GPU_NONE, 0);
        check_split(path[i], want, limit, 1, 0);
        if (t.n_layer > 3) check_split(path[i], want, limit, t.n_layer / 2, 0);
        check_split(path[i], want, limit, t.n_layer, 0);
        if (t.moe) check_split(path[i], want, limit, LLM_GPU_ALL, -1), check_split(path[i], want, limit, t.n_layer + 1, t.n_layer - 1);
        if (t.moe) check_split(path[i], want, limit, t.n_layer - 1, -1);
        free(want), free(rounded), subject_close(&t), subject_close(&r);
    }
}
END_TEST

/* With its experts on the CPU a layer costs one copy down, rows and routing together, and one up. */
START_TEST(experts_elsewhere_cost_one_copy_each_way)
{
#ifdef LLM_CUDA_SHIM
    enum { BATCH = 4 };                 /* copies that bring a step's tokens, positions, sequences and spans */
    subject t;
    llm_error err;

    if (!split_open(&t, sinks, LLM_GPU_ALL, -1)) return;
    ck_assert_msg(llm_session_decode(t.s, t.token, 1, &err) == LLM_OK, "%s", err.text);       /* tables of frequencies go there once */
    for (int i = 1; i < 4; i++) {       /* recorded, replayed */
        size_t down = shim_copies[0], up = shim_copies[1];
        ck_assert_msg(llm_session_decode(t.s, &t.token[i], 1, &err) == LLM_OK, "%s", err.text);
        ck_assert_uint_eq(shim_copies[0] - down, (size_t)t.n_layer);
        ck_assert_uint_eq(shim_copies[1] - up, (size_t)t.n_layer + BATCH);
    }
    subject_close(&t);
#else
    test_skip("cuda/offload copies", "they are counted in the shim");
#endif
}
END_TEST

/* ---- the plan ----------------------------------------------------------------------- */

#ifdef LLM_CUDA_SHIM
typedef struct { uint64_t kind[7]; } sums;
static int add_item(void *user, llm_memory_kind kind, const char *what, uint64_t bytes)
{
    ck_assert(*what != '\0' && bytes > 0);
    ((sums *)user)->kind[kind] += bytes;
    return 0;
}

static void check_items(llm_model *m, const llm_session_options *o, const llm_memory_plan *p)
{
    sums s = { { 0 } };
    llm_error err;

    ck_assert_msg(llm_session_plan_items(m, o, add_item, &s, &err) == LLM_OK, "%s", err.text);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_MAPPED], p->mapped_bytes);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_MODEL], p->owned_bytes);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_KV] + s.kind[LLM_MEMORY_DEVICE_KV], p->kv_bytes);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_SCRATCH] + s.kind[LLM_MEMORY_DEVICE_SCRATCH], p->scratch_bytes);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_DEVICE_MODEL], p->device_weight_bytes);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_DEVICE_KV], p->device_kv_bytes);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_DEVICE_SCRATCH], p->device_scratch_bytes);
    ck_assert_uint_eq(p->device_total_bytes, p->device_weight_bytes + p->device_kv_bytes + p->device_scratch_bytes);
    ck_assert_uint_eq(p->total_bytes, s.kind[LLM_MEMORY_MAPPED] + s.kind[LLM_MEMORY_MODEL] + s.kind[LLM_MEMORY_KV] + s.kind[LLM_MEMORY_SCRATCH]);
}

static void check_taken(const char *path, int gpu_layers, int cpu_moe)
{
    llm_session_options o = usual();
    llm_memory_plan a = { .size = sizeof a }, b = a;
    size_t before = shim_memory_left, with_model, with_session;
    llm_model *plan;
    llm_error err;
    subject t;

    ck_assert_msg(try_open(&plan, path, gpu_layers, cpu_moe, (uint64_t)1 << 40, 1, &err) == LLM_OK, "%s: %s", path, err.text);
    ck_assert_int_eq(llm_session_plan(plan, &o, &a, &err), LLM_OK);
    check_items(plan, &o, &a);
    ck_assert_uint_eq(a.device_available_bytes, (uint64_t)1 << 40);
    ck_assert_uint_eq(shim_memory_left, before);                        /* a plan takes nothing there */
    llm_model_close(plan);
    ck_assert_msg(try_open(&t.m, path, gpu_layers, cpu_moe, 0, 0, &err) == LLM_OK, "%s", err.text);
    with_model = shim_memory_left;
    ck_assert_uint_eq(before - with_model, a.device_weight_bytes);
    ck_assert_msg(llm_session_open(&t.s, t.m, &o, &err) == LLM_OK, "%s", err.text);
    with_session = shim_memory_left;
    ck_assert_uint_eq(with_model - with_session, a.device_kv_bytes + a.device_scratch_bytes);
    read_subject(&t, path);
    free(all_logits(&t, 1));
    ck_assert_uint_eq(shim_memory_left, with_session);                  /* no more while computing */
    ck_assert_int_eq(llm_session_plan(t.m, &o, &b, &err), LLM_OK);
    ck_assert(a.mapped_bytes == b.mapped_bytes && a.owned_bytes == b.owned_bytes && a.total_bytes == b.total_bytes && a.device_total_bytes == b.device_total_bytes);
    subject_close(&t);
    ck_assert_uint_eq(shim_memory_left, before);
}
#endif

START_TEST(the_plan_is_what_is_taken)
{
#ifdef LLM_CUDA_SHIM
    check_taken(dense, LLM_GPU_ALL, 0), check_taken(dense, 1, 0), check_taken(dense, LLM_GPU_NONE, 0);
    check_taken(window, 3, 0), check_taken(window, 7, 0);
    check_taken(mla, 2, 0), check_taken(mla, LLM_GPU_ALL, 2);
    check_taken(sinks, LLM_GPU_ALL, -1), check_taken(REF "deepseek-v3-fp8/hf", LLM_GPU_ALL, 0);
    check_taken(REF "gpt-oss/hf", LLM_GPU_ALL, 0), check_taken(REF "gpt-oss/hf", 2, 1), check_taken(REF "qwen2-gptq/hf", LLM_GPU_ALL, 0), check_taken(REF "qwen2-awq/hf", 1, 0);
#else
    test_skip("cuda/offload plan", "what a real device has left is not exact");
#endif
}
END_TEST

static uint64_t owned_bytes(const char *path, int gpu_layers, int cpu_moe, int plan_only)
{
    llm_session_options o = usual();
    llm_memory_plan p = { .size = sizeof p };
    llm_model *m;
    llm_error err;

    ck_assert_msg(try_open(&m, path, gpu_layers, cpu_moe, (uint64_t)1 << 40, plan_only, &err) == LLM_OK && llm_session_plan(m, &o, &p, &err) == LLM_OK, "%s", err.text);
    llm_model_close(m);
    return p.owned_bytes;
}

/* Experts in MXFP4 of the published layout, and int4, are laid out anew; what is on the device is not kept here a second time. */
START_TEST(relaid_weights_are_not_kept_twice)
{
    const char *const path[] = { REF "gpt-oss/hf", REF "qwen2-gptq/hf" };

    if (!device_here("cuda/offload re-laid")) return;
    for (int i = 0; i < 2; i++) {
        uint64_t none = owned_bytes(path[i], LLM_GPU_NONE, 0, 1), some = owned_bytes(path[i], 1, 0, 1), all = owned_bytes(path[i], LLM_GPU_ALL, 0, 1);
        ck_assert_msg(all + 10000 < some && some + 5000 < none, "%s: %llu, %llu, %llu", path[i], (unsigned long long)none, (unsigned long long)some, (unsigned long long)all);
        ck_assert_uint_eq(owned_bytes(path[i], LLM_GPU_NONE, 0, 0), none);
        ck_assert_uint_eq(owned_bytes(path[i], 1, 0, 0), some);
        ck_assert_uint_eq(owned_bytes(path[i], LLM_GPU_ALL, 0, 0), all);
    }
    ck_assert_uint_gt(owned_bytes(path[0], LLM_GPU_ALL, 2, 0), owned_bytes(path[0], LLM_GPU_ALL, 0, 0));       /* experts that stay here are read here */
}
END_TEST

/* Bytes of the file that the CPU reads, by the names of tensors. */
static void check_mapped(const char *path, int gpu_layers, int cpu_moe)
{
    llm_session_options o = usual();
    llm_memory_plan p = { .size = sizeof p };
    llm_model_info i = { .size = sizeof i };
    llm_tensor_info t = { .size = sizeof t };
    uint64_t want = 0;
    llm_model *m;
    llm_error err;

    ck_assert_msg(try_open(&m, path, gpu_layers, cpu_moe, (uint64_t)1 << 40, 1, &err) == LLM_OK && llm_session_plan(m, &o, &p, &err) == LLM_OK, "%s", err.text);
    llm_model_get_info(m, &i);
    for (size_t k = 0; llm_model_get_tensor(m, k, &t) == LLM_OK; k++) {
        int il = strncmp(t.name, "blk.", 4) == 0 ? atoi(t.name + 4) : -1;
        bool device = il < 0 ? i.gpu_layers > i.n_layer : il >= i.n_layer - i.gpu_layers && (strstr(t.name, "_exps.") == NULL || il >= i.cpu_moe);
        if (!device && t.slot != NULL && strcmp(t.slot, "rope_freqs") != 0) want += t.bytes;
    }
    ck_assert_msg(p.mapped_bytes == want, "%s: gpu_layers %d, cpu_moe %d: %llu bytes are read here, want %llu", path, gpu_layers, cpu_moe,
                  (unsigned long long)p.mapped_bytes, (unsigned long long)want);
    llm_model_close(m);
}

/* All of the weights are either here or there. */
START_TEST(weights_are_in_one_place)
{
    const char *const path[] = { window, moe, sinks, REF "qwen2moe/model.gguf" };
    llm_session_options o = usual();
    llm_memory_plan none = { .size = sizeof none }, some = none, all = none;
    llm_model *m;
    llm_error err;

    for (int i = 0; i < 3; i++) {
        llm_status st = try_open(&m, window, i == 0 ? LLM_GPU_NONE : i == 1 ? 4 : LLM_GPU_ALL, 0, (uint64_t)1 << 40, 1, &err);
        if (st == LLM_ERR_UNSUPPORTED) { test_skip("cuda/offload", err.text); return; }
        ck_assert_msg(st == LLM_OK && llm_session_plan(m, &o, i == 0 ? &none : i == 1 ? &some : &all, &err) == LLM_OK, "%s", err.text);
        llm_model_close(m);
    }
    ck_assert(none.device_total_bytes == 0 && none.mapped_bytes == none.weight_bytes);
    ck_assert(all.mapped_bytes == 0 && all.device_weight_bytes >= all.weight_bytes);
    ck_assert(some.mapped_bytes > 0 && some.mapped_bytes < none.mapped_bytes && some.mapped_bytes + some.device_weight_bytes >= some.weight_bytes);
    ck_assert(some.kv_bytes > some.device_kv_bytes && some.device_kv_bytes > 0);
    for (size_t i = 0; i < 4; i++) {
        check_mapped(path[i], LLM_GPU_NONE, 0), check_mapped(path[i], 1, 0), check_mapped(path[i], 2, 0), check_mapped(path[i], LLM_GPU_ALL, 0);
        if (i > 0) check_mapped(path[i], LLM_GPU_ALL, 1), check_mapped(path[i], LLM_GPU_ALL, -1), check_mapped(path[i], 1, -1);
    }
}
END_TEST

/* ---- how much goes there ---------------------------------------------------------------- */

static uint64_t device_bytes(llm_model *m)
{
    llm_session_options o = usual();
    llm_memory_plan p = { .size = sizeof p };

    o.kv_type = LLM_KV_DEFAULT;             /* as try_open expects */
    ck_assert_int_eq(llm_session_plan(m, &o, &p, NULL), LLM_OK);
    return p.device_total_bytes;
}

/* What a device with so much memory is given: layers * 100 - layers whose experts stay; -1: not one layer fits. */
static int placed(const char *path, uint64_t memory, int cpu_moe, uint64_t *bytes)
{
    llm_model_info i = { .size = sizeof i };
    llm_session_options o = usual();
    llm_model *m;
    llm_error err;
    llm_status st;

    o.kv_type = LLM_KV_DEFAULT;
    ck_assert_msg(try_open(&m, path, LLM_GPU_AUTO, cpu_moe, memory, 1, &err) == LLM_OK, "%s", err.text);
    st = llm_session_fits(m, &o, &err);
    llm_model_get_info(m, &i);
    *bytes = device_bytes(m);
    if (st != LLM_OK) ck_assert_msg(*bytes > memory && strstr(err.text, "device: 1 of "), "%llu: %s", (unsigned long long)memory, err.text);
    llm_model_close(m);
    return st == LLM_OK ? i.gpu_layers * 100 - i.cpu_moe : -1;
}

static void check_auto(const char *path, int cpu_moe)
{
    uint64_t all, bytes, low;
    int whole = placed(path, (uint64_t)1 << 40, cpu_moe, &all), last = whole, kinds = 1;

    ck_assert_int_eq(placed(path, all, cpu_moe, &bytes), whole);            /* to the byte */
    ck_assert_uint_eq(bytes, all);
    for (uint64_t memory = all - 1; last >= 0; memory = low - 1) {
        int p = placed(path, memory, cpu_moe, &bytes);
        ck_assert_msg(p < last, "%s: %llu bytes: %d, with more %d", path, (unsigned long long)memory, p, last);
        if (p >= 0) ck_assert_uint_le(bytes, memory);
        last = p, low = bytes, kinds++;
    }
    ck_assert_int_ge(kinds, 4);
}

START_TEST(auto_takes_what_fits_and_never_more)
{
    llm_model *m;
    llm_error err;

    if (try_open(&m, dense, LLM_GPU_AUTO, 0, (uint64_t)1 << 40, 1, &err) == LLM_ERR_UNSUPPORTED) { test_skip("cuda/offload", err.text); return; }
    llm_model_close(m);
    check_auto(dense, 0), check_auto(window, 0), check_auto(sinks, 0), check_auto(mla, 0), check_auto(sinks, -1);
}
END_TEST

static void keep_line(void *user, llm_log_level level, const char *line) { if (level == LLM_LOG_INFO && strstr(line, "layers")) snprintf(user, 256, "%s", line); }

START_TEST(what_does_not_fit_is_refused_with_what_would)
{
    char line[256] = "";
    llm_model_options o = { .size = sizeof o, .path = window, .backend = LLM_BACKEND_CUDA, .log = keep_line, .user = line };
    llm_session_options so = { .size = sizeof so, .n_ctx = 64, .n_batch = 16 }, larger = { .size = sizeof larger, .n_ctx = 512, .n_batch = 16, .kv_type = LLM_KV_F32 };
    llm_model_info info = { .size = sizeof info };
    llm_session *s, *t;
    llm_model *m;
    llm_error err;
    llm_token token = 1;
    int n;

    if (!device_here("cuda/offload refusals")) return;
    o.expect = &so, o.device_memory = (uint64_t)1 << 40, o.plan_only = 1;
    ck_assert_int_eq(llm_model_open(&m, &o, &err), LLM_OK);
    llm_memory_plan p = { .size = sizeof p };
    ck_assert_int_eq(llm_session_plan(m, &so, &p, &err), LLM_OK);
    llm_model_close(m);
    o.plan_only = 0, o.device_memory = p.device_total_bytes - 1, o.gpu_layers = LLM_GPU_ALL;
    ck_assert_int_eq(llm_model_open(&m, &o, &err), LLM_ERR_MEMORY);
    ck_assert_msg(strstr(err.text, "allowed by device_memory") && strstr(err.text, "gpu_layers "), "%s", err.text);
    n = atoi(strstr(err.text, "gpu_layers ") + strlen("gpu_layers "));
    ck_assert_msg(n > 0 && n <= 7, "%s", err.text);
    o.gpu_layers = n;
    ck_assert_msg(llm_model_open(&m, &o, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(strstr(line, "layers run on the device") || strstr(line, "layers"), "%s", line);
    ck_assert_msg(llm_session_open(&s, m, &so, &err) == LLM_OK, "%s", err.text);
    ck_assert_int_eq(llm_session_open(&t, m, &larger, &err), LLM_ERR_MEMORY);
    ck_assert_msg(strstr(err.text, "device: ") != NULL, "%s", err.text);
    ck_assert_msg(llm_session_decode(s, &token, 1, &err) == LLM_OK, "%s", err.text);
    llm_session_close(s), llm_model_close(m);
    o.gpu_layers = LLM_GPU_AUTO;
    ck_assert_msg(llm_model_open(&m, &o, &err) == LLM_OK, "%s", err.text);
    llm_model_get_info(m, &info);
    ck_assert_int_eq(info.gpu_layers, n);
    llm_model_close(m);
}
END_TEST

START_TEST(wrong_options)
{
    static const struct { llm_model_options o; const char *word; } bad[] = {
        { { .path = REF "llama3/model.gguf", .gpu_layers = 3 }, "want a device" }, { { .path = REF "llama3/model.gguf", .cpu_moe = 1 }, "want a device" },
        { { .path = REF "llama3/model.gguf", .device_memory = 5 }, "want a device" },
        { { .path = REF "llama3/model.gguf", .backend = LLM_BACKEND_CUDA, .gpu_layers = -3 }, "gpu_layers is -3" },
        { { .path = REF "llama3/model.gguf", .backend = LLM_BACKEND_CUDA, .cpu_moe = -2 }, "cpu_moe is -2" },
        { { .path = REF "llama3/model.gguf", .backend = LLM_BACKEND_CUDA, .cpu_moe = 1 }, "no experts" },
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        llm_model_options o = bad[i].o;
        llm_model *m;
        llm_error err;
        o.size = sizeof o;
        if (o.backend != LLM_BACKEND_CPU) o.device_memory = 1 << 30, o.plan_only = 1;
        llm_status st = llm_model_open(&m, &o, &err);
        if (st == LLM_ERR_UNSUPPORTED) { test_skip("cuda/offload", err.text); return; }
        ck_assert_msg(st == LLM_ERR_ARG && strstr(err.text, bad[i].word), "%s", err.text);
    }
}
END_TEST

/* ---- types that the device has no kernels for ------------------------------------------- */

/* A copy of a GGUF file, as an open file without a name: tensor `name` becomes of GGUF type `type`, with zeros as data behind all others. */
static int with_type(const char *path, const char *name, uint32_t type)
{
    FILE *f = fopen(path, "rb"), *to = tmpfile();
    unsigned char *bytes = NULL, *at, *data;
    uint64_t offset, start, moved;
    uint32_t n_dim;
    size_t size, values = 1;
    llm_store *s;
    llm_error err;
    long n = 0;

    ck_assert_msg(f && to && fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) > 0 && (bytes = malloc((size_t)n)) && fseek(f, 0, SEEK_SET) == 0 && fread(bytes, 1, (size_t)n, f) == (size_t)n, "%s", path);
    ck_assert_msg(store_open(&s, path, false, &err) == LLM_OK && store_find(s, name) != NULL, "%s: %s", path, name);
    data = memmem(bytes, (size_t)n, store_find(s, name)->data, 128), at = memmem(bytes, (size_t)n, name, strlen(name));
    ck_assert(data && at && data > at);
    for (int i = 0; i < store_find(s, name)->n_dim; i++) values *= (size_t)store_find(s, name)->dim[i];
    memcpy(&n_dim, at + strlen(name), 4);
    at += strlen(name) + 4 + 8 * n_dim;
    memcpy(&offset, at + 4, 8);
    start = (uint64_t)(data - bytes) - offset, moved = ((uint64_t)n - start + 31) & ~(uint64_t)31;
    memcpy(at, &type, 4), memcpy(at + 4, &moved, 8);
    ck_assert(dtype_bytes((llm_dtype)type, (int64_t)values, &size));
    ck_assert(fwrite(bytes, 1, (size_t)n, to) == (size_t)n && fflush(to) == 0 && ftruncate(fileno(to), (off_t)(start + moved + size)) == 0);
    fclose(f), free(bytes), store_close(s);
    int fd = dup(fileno(to));
    fclose(to);
    return fd;
}

static void check_refusal(const char *path, const char *name, uint32_t type, int gpu_layers, int cpu_moe, const char *const *word)
{
    int fd = with_type(path, name, type);
    char self[64];
    llm_model *m;
    llm_error err;

    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ck_assert_int_eq(try_open(&m, self, gpu_layers, cpu_moe, (uint64_t)1 << 40, 1, &err), LLM_ERR_UNSUPPORTED);
    for (; *word; word++) ck_assert_msg(strstr(err.text, *word) != NULL, "no '%s' in: %s", *word, err.text);
    ck_assert_msg(strstr(err.text, self) != NULL && strstr(err.text, name) != NULL, "%s", err.text);
    close(fd);
}

/* The message names what would help, and that helps. */
START_TEST(a_type_without_kernels_is_named_with_a_way_out)
{
    enum { F64 = 28 };
    const char *const demo = "tools/demo/demo-gpt-oss.gguf", *const dense_k = REF "llama-kquants/model.gguf";
    const char *const in_layer[] = { "F64 [64, 256]", "gpu_layers 1 (--gpu-layers) leaves", NULL }, *const last[] = { "[256, 256]", "(--gpu-layers 0) leaves", NULL };
    const char *const table[] = { "F64 [101, 256]", "gpu_layers 2 (--gpu-layers)", NULL };
    const char *const expert[] = { "F64 [16, 96, 256]", "(--gpu-layers) leaves", "cpu_moe 2 (--n-cpu-moe)", NULL };
    llm_session_options o = usual();
    llm_model_info i = { .size = sizeof i };
    llm_token token = 7;
    char self[64];
    llm_session *s;
    llm_model *m;
    llm_error err;
    int fd;

    if (!device_here("cuda/offload types")) return;
    check_refusal(dense_k, "blk.0.attn_k.weight", F64, LLM_GPU_ALL, 0, in_layer), check_refusal(dense_k, "blk.0.attn_k.weight", F64, LLM_GPU_AUTO, 0, in_layer);
    check_refusal(dense_k, "blk.1.attn_q.weight", F64, 1, 0, last), check_refusal(dense_k, "token_embd.weight", F64, LLM_GPU_ALL, 0, table);
    check_refusal(demo, "blk.1.ffn_gate_exps.weight", F64, LLM_GPU_ALL, 0, expert), check_refusal(demo, "blk.1.ffn_gate_exps.weight", F64, LLM_GPU_AUTO, 1, expert);
    fd = with_type(demo, "blk.1.ffn_gate_exps.weight", F64);
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    for (int k = 0; k < 2; k++) {
        ck_assert_msg(try_open(&m, self, k ? LLM_GPU_AUTO : LLM_GPU_ALL, 2, 0, 0, &err) == LLM_OK, "%s", err.text);
        llm_model_get_info(m, &i);
        ck_assert(i.cpu_moe == 2 && i.gpu_layers == i.n_layer + 1);
        ck_assert_msg(llm_session_open(&s, m, &o, &err) == LLM_OK && llm_session_decode(s, &token, 1, &err) == LLM_OK, "%s", err.text);
        llm_session_close(s), llm_model_close(m);
    }
    ck_assert_msg(try_open(&m, self, i.n_layer - 2, 0, (uint64_t)1 << 40, 1, &err) == LLM_OK, "%s", err.text);
    llm_model_close(m), close(fd);
}
END_TEST

/* ---- what sessions do ------------------------------------------------------------------- */

static const struct { const char *const *path; int gpu_layers, cpu_moe; } splits[] = { { &window, 3, 0 }, { &mla, LLM_GPU_ALL, 2 }, { &sinks, 2, -1 } };
enum { N_SPLIT = sizeof splits / sizeof splits[0] };

static void step(subject *t, llm_session *s, int i, int seq, float *out)
{
    llm_row row = { t->token[i], seq, 1 };
    llm_error err;

    ck_assert_msg(llm_session_decode_rows(s, &row, 1, &err) == LLM_OK, "%s", err.text);
    memcpy(out, llm_session_logits(s), (size_t)t->n_vocab * sizeof *out);
}

static void check_state(subject *t, const float *want)
{
    char path[] = "/tmp/llm-offload-XXXXXX";
    size_t width = (size_t)t->n_vocab, bytes = width * sizeof(float);
    float *got = malloc(bytes), *last = malloc(bytes);
    llm_session_options o = usual();
    llm_session *r;
    llm_error err;
    int fd = mkstemp(path);

    memcpy(last, want + (N_TOKEN - 1) * width, bytes);
    ck_assert_msg(llm_session_truncate(t->s, 0, N_TOKEN - 1, &err) == LLM_OK, "%s", err.text);
    ck_assert_msg(llm_session_copy(t->s, 0, 1, &err) == LLM_OK && llm_session_save(t->s, path, &err) == LLM_OK, "%s", err.text);
    step(t, t->s, N_TOKEN - 1, 0, got), ck_assert_msg(memcmp(got, last, bytes) == 0, "cut");
    step(t, t->s, N_TOKEN - 1, 1, got), ck_assert_msg(memcmp(got, last, bytes) == 0, "copied");
    ck_assert_msg(llm_session_open(&r, t->m, &o, &err) == LLM_OK && llm_session_restore(r, path, &err) == LLM_OK, "%s", err.text);
    step(t, r, N_TOKEN - 1, 0, got), ck_assert_msg(memcmp(got, last, bytes) == 0, "restored");
    llm_session_close(r), close(fd), unlink(path), free(got), free(last);
}

/* A file from a split session goes on in one of the CPU alone: which backend wrote it is no part of it. */
static void check_state_elsewhere(subject *t, const char *model, const float *want)
{
    char path[] = "/tmp/llm-offload-XXXXXX";
    float *got = malloc((size_t)t->n_vocab * sizeof *got);
    subject cpu;
    llm_error err;
    int fd = mkstemp(path);
    double worst = 0, size = 0;

    cpu_open_subject(&cpu, model, LLM_KV_F32);
    ck_assert_msg(llm_session_truncate(t->s, 0, N_TOKEN - 1, &err) == LLM_OK && llm_session_save(t->s, path, &err) == LLM_OK
                  && llm_session_restore(cpu.s, path, &err) == LLM_OK, "%s", err.text);
    step(&cpu, cpu.s, N_TOKEN - 1, 0, got);
    want += (size_t)(N_TOKEN - 1) * (size_t)t->n_vocab;
    for (int k = 0; k < t->n_vocab; k++) worst = fmax(worst, fabs((double)got[k] - (double)want[k])), size = fmax(size, fabs((double)want[k]));
    ck_assert_msg(worst < 0.05 * size, "off by %.3g of %.3g", worst, size);
    subject_close(&cpu), close(fd), unlink(path), free(got);
}

static int stop_at(void *user, const char *what, uint64_t done, uint64_t total) { (void)what, (void)done, (void)total; return --*(int *)user < 0; }

/* Stopped before any layer, the step leaves nothing behind. */
static void check_stops(subject *t, const float *want)
{
    size_t width = (size_t)t->n_vocab;
    float *got = malloc(width * sizeof *got);
    llm_error err;

    for (int il = 0; il < t->n_layer; il++) {
        int left = il;
        llm_row row = { t->token[N_TOKEN - 1], 0, 1 };
        ck_assert(llm_session_truncate(t->s, 0, N_TOKEN - 1, &err) == LLM_OK);
        llm_session_set_progress(t->s, stop_at, &left);
        ck_assert_int_eq(llm_session_decode_rows(t->s, &row, 1, &err), LLM_ERR_CANCELLED);
        ck_assert_int_eq(llm_session_length(t->s, 0), N_TOKEN - 1);
        llm_session_set_progress(t->s, NULL, NULL);
        step(t, t->s, N_TOKEN - 1, 0, got);
        ck_assert_msg(memcmp(got, want + (N_TOKEN - 1) * width, width * sizeof *got) == 0, "stopped before layer %d", il);
    }
    free(got);
}

static int ops_left;
static void (*real_add)(llm_backend *be, llm_rows x, llm_rows y);
static void failing_add(llm_backend *be, llm_rows x, llm_rows y)
{
    if (ops_left-- == 0) llm_fail(&be->err, LLM_ERR_INTERNAL, "layer %d was told to fail", be->layer);
    real_add(be, x, y);
}
static void (*real_add_norm)(llm_backend *be, llm_rows x, llm_rows o, llm_rows h, const llm_tensor *w, float eps, float offset);
static void failing_add_norm(llm_backend *be, llm_rows x, llm_rows o, llm_rows h, const llm_tensor *w, float eps, float offset)
{
    if (ops_left-- == 0) llm_fail(&be->err, LLM_ERR_INTERNAL, "layer %d was told to fail", be->layer);
    real_add_norm(be, x, o, h, w, eps, offset);
}

/* An op fails in the middle, here or there: the step is an error that says where, and the next one is right. */
static void check_failures(subject *t, const float *want)
{
    size_t width = (size_t)t->n_vocab;
    float *got = malloc(width * sizeof *got);
    llm_error err;

    for (int site = 0; site < N_SITE; site++) {
        llm_backend *be = &t->s->be[site];
        real_add = be->op.add, real_add_norm = be->block.add_norm;
        for (int k = 0; k < 3; k++) {
            llm_row row = { t->token[N_TOKEN - 1], 0, 1 };
            ck_assert(llm_session_truncate(t->s, 0, N_TOKEN - 1, &err) == LLM_OK);
            ops_left = k, be->op.add = failing_add;
            if (real_add_norm) be->block.add_norm = failing_add_norm;
            llm_status st = llm_session_decode_rows(t->s, &row, 1, &err);
            be->op.add = real_add, be->block.add_norm = real_add_norm;
            if (ops_left >= 0) continue;            /* a backend that is asked for experts alone does not add */
            ck_assert_msg(st == LLM_ERR_INTERNAL && strstr(err.text, "was told to fail"), "%d %s", st, err.text);
            ck_assert_int_eq(llm_session_length(t->s, 0), N_TOKEN - 1);
            step(t, t->s, N_TOKEN - 1, 0, got);
            ck_assert_msg(memcmp(got, want + (N_TOKEN - 1) * width, width * sizeof *got) == 0, "after a failure");
        }
    }
    free(got);
}

typedef struct { int n, layers; float sum; } tapped;
static void on_tap(void *user, const char *name, int il, const float *data, int n, int width)
{
    tapped *t = user;

    for (int i = 0; i < n * width; i++) t->sum += data[i] * data[i];
    ck_assert_msg(t->sum == t->sum, "%s of layer %d", name, il);
    if (strcmp(name, "layer_out") == 0) ck_assert_int_eq(il, t->layers++);
    t->n++;
}

/* With a tap nothing is recorded. */
static void check_taps(subject *t, const float *want)
{
    size_t width = (size_t)t->n_vocab;
    float *got = malloc(width * sizeof *got);
    tapped seen = { 0 };
    llm_error err;

    ck_assert(llm_session_truncate(t->s, 0, N_TOKEN - 1, &err) == LLM_OK);
    llm_session_set_tap(t->s, on_tap, &seen);
    step(t, t->s, N_TOKEN - 1, 0, got);
    llm_session_set_tap(t->s, NULL, NULL);
    ck_assert(memcmp(got, want + (N_TOKEN - 1) * width, width * sizeof *got) == 0);
    ck_assert_int_eq(seen.layers, t->n_layer);
    ck_assert_int_gt(seen.n, 4 * t->n_layer);
    free(got);
}

/* Wherever the logits are. */
static void check_picks(subject *t, const float *want)
{
    llm_sampler_options o = { .size = sizeof o };
    llm_row row = { t->token[N_TOKEN - 1], 0, 1 };
    llm_sampler *p;
    llm_error err;
    int best = 0;

    want += (size_t)(N_TOKEN - 1) * (size_t)t->n_vocab;
    for (int k = 1; k < t->n_vocab; k++) if (want[k] > want[best]) best = k;
    ck_assert_msg(llm_sampler_open(&p, t->m, &o, &err) == LLM_OK && llm_session_truncate(t->s, 0, N_TOKEN - 1, &err) == LLM_OK
                  && llm_session_decode_rows(t->s, &row, 1, &err) == LLM_OK, "%s", err.text);
    ck_assert_int_eq(llm_session_pick(t->s, 0, p, 0, &err), best);
    ck_assert(memcmp(llm_session_logits(t->s), want, (size_t)t->n_vocab * sizeof *want) == 0);
    llm_sampler_close(p);
}

START_TEST(a_split_session_does_all_that_others_do)
{
    for (int i = 0; i < N_SPLIT; i++) {
        subject t;
        llm_error err;
        if (!split_open(&t, *splits[i].path, splits[i].gpu_layers, splits[i].cpu_moe)) return;
        float *want = all_logits(&t, 0);
        check_state(&t, want), check_stops(&t, want), check_taps(&t, want), check_picks(&t, want), check_failures(&t, want), check_state_elsewhere(&t, *splits[i].path, want);
        ck_assert(llm_session_truncate(t.s, 0, 0, &err) == LLM_OK && llm_session_truncate(t.s, 1, 0, &err) == LLM_OK);
        float *again = all_logits(&t, 0), *other = all_logits(&t, 1);           /* one sequence beside another, and again */
        ck_assert(memcmp(want, again, (size_t)N_TOKEN * (size_t)t.n_vocab * sizeof *want) == 0);
        ck_assert(memcmp(want, other, (size_t)N_TOKEN * (size_t)t.n_vocab * sizeof *want) == 0);
        free(want), free(again), free(other), subject_close(&t);
    }
}
END_TEST

/* Two sequences in one batch: rows of both cross the border together. */
START_TEST(sequences_side_by_side)
{
    for (int i = 0; i < N_SPLIT; i++) {
        subject t;
        if (!split_open(&t, *splits[i].path, splits[i].gpu_layers, splits[i].cpu_moe)) return;
        float *want = all_logits(&t, 0);
        size_t width = (size_t)t.n_vocab;
        llm_error err;
        ck_assert(llm_session_truncate(t.s, 0, PROMPT, &err) == LLM_OK && llm_session_copy(t.s, 0, 1, &err) == LLM_OK);
        for (int k = PROMPT; k < N_TOKEN; k++) {
            llm_row row[2] = { { t.token[k], 1, 1 }, { t.token[k], 0, 1 } };
            ck_assert_msg(llm_session_decode_rows(t.s, row, 2, &err) == LLM_OK, "%s", err.text);
            ck_assert(memcmp(llm_session_logits(t.s), llm_session_logits(t.s) + width, width * sizeof *want) == 0);
            for (size_t v = 0; v < width; v++)
                ck_assert_msg(fabsf(llm_session_logits(t.s)[v] - want[(size_t)k * width + v]) < 0.05f * (1 + fabsf(want[(size_t)k * width + v])), "token %d", k);
        }
        free(want), subject_close(&t);
    }
}
END_TEST

START_TEST(memory_of_the_device_that_runs_out)
{
#ifdef LLM_CUDA_SHIM
    size_t all = shim_memory_left, with_session;
    llm_session_options o = { .size = sizeof o, .n_ctx = 4096, .n_batch = 64 };
    llm_session *more;
    llm_error err;
    int refused = 0;
    subject t;

    if (!split_open(&t, window, 3, 0)) return;
    float *want = all_logits(&t, 0);
    with_session = shim_memory_left;
    for (size_t left = 1 << 16; left < (size_t)1 << 27; left *= 2) {
        shim_memory_left = left;
        if (llm_session_open(&more, t.m, &o, &err) == LLM_OK) llm_session_close(more);
        else {
            ck_assert_int_eq(err.status, LLM_ERR_MEMORY);
            ck_assert_msg(strstr(err.text, "device") && strstr(err.text, "MiB"), "%s", err.text);
            refused++;
        }
        ck_assert_uint_eq(shim_memory_left, left);
    }
    ck_assert_int_gt(refused, 3);
    shim_memory_left = with_session;
    ck_assert(llm_session_truncate(t.s, 0, 0, &err) == LLM_OK);
    float *got = all_logits(&t, 0);
    ck_assert(memcmp(want, got, (size_t)N_TOKEN * (size_t)t.n_vocab * sizeof *want) == 0);
    free(want), free(got), subject_close(&t);
    ck_assert_uint_eq(shim_memory_left, all);
#else
    test_skip("cuda/offload memory", "the memory of a real device is not taken away");
#endif
}
END_TEST

LLM_TEST_MAIN("cuda/offload", logits_are_the_cpus_wherever_the_border_is, experts_elsewhere_cost_one_copy_each_way, the_plan_is_what_is_taken, relaid_weights_are_not_kept_twice, weights_are_in_one_place,
              auto_takes_what_fits_and_never_more, what_does_not_fit_is_refused_with_what_would, wrong_options, a_type_without_kernels_is_named_with_a_way_out, a_split_session_does_all_that_others_do,
              sequences_side_by_side, memory_of_the_device_that_runs_out)
