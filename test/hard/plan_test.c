/* The memory plan against what is really allocated, to the byte; and refusals that name what would fit. */
#include "../run/subject.h"
#include "tokenizer_parts.h"
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* ---- every allocation of the library, counted in bytes ---- */

enum { MAX_PIECE = 1 << 16 };
static struct { bool on; size_t n; uint64_t bytes; struct { void *p; size_t size; } piece[MAX_PIECE]; } counted;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
int __real_posix_memalign(void **p, size_t align, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *p, size_t n);

static void *more(void *p, size_t n)
{
    if (p == NULL || !counted.on) return p;
    if (counted.n == MAX_PIECE) abort();
    counted.piece[counted.n].p = p, counted.piece[counted.n++].size = n, counted.bytes += n;
    return p;
}

static void less(const void *p)
{
    for (size_t i = counted.n; p && i-- > 0;)
        if (counted.piece[i].p == p) {
            counted.bytes -= counted.piece[i].size;
            counted.piece[i] = counted.piece[--counted.n];
            return;
        }
}

void *__wrap_malloc(size_t n) { return more(__real_malloc(n), n); }
void *__wrap_calloc(size_t n, size_t size) { return more(__real_calloc(n, size), n * size); }
char *__wrap_strdup(const char *s) { return more(__real_strdup(s), strlen(s) + 1); }
char *__wrap_strndup(const char *s, size_t n) { return more(__real_strndup(s, n), strnlen(s, n) + 1); }
void *__wrap_aligned_alloc(size_t align, size_t n) { return more(__real_aligned_alloc(align, n), n); }
void *__wrap_realloc(void *p, size_t n)
{
    less(p);
    return more(__real_realloc(p, n), n);
}
int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
    int code = __real_posix_memalign(p, align, n);
    if (code == 0) more(*p, n);
    return code;
}
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    void *p = __real_mmap(at, n, prot, flags, fd, offset);
    if (p != MAP_FAILED && fd < 0) more(p, n);
    return p;
}
int __wrap_munmap(void *p, size_t n)
{
    less(p);
    return __real_munmap(p, n);
}
void __wrap_free(void *p)
{
    less(p);
    __real_free(p);
}

/* ---- the plan is what is taken ---- */

static llm_model *open_model(const char *path, int plan_only, uint64_t limit)
{
    llm_model_options o = { .size = sizeof o, .path = path, .n_threads = 2, .plan_only = plan_only, .memory_limit = limit };
    llm_model *m;
    llm_error err;

    ck_assert_msg(llm_model_open(&m, &o, &err) == LLM_OK, "%s: %s", path, err.text);
    return m;
}

static const llm_session_options shape[] = {
    { .size = sizeof *shape },
    { .size = sizeof *shape, .n_ctx = 100, .n_seq = 3, .n_batch = 7, .n_threads = 1, .kv_type = LLM_KV_F32 },
    { .size = sizeof *shape, .n_ctx = 333, .n_batch = 64, .n_threads = 3 },
};
enum { N_SHAPE = sizeof shape / sizeof shape[0] };

typedef struct { uint64_t kind[7]; } sums;
static int add_item(void *user, llm_memory_kind kind, const char *what, uint64_t bytes)
{
    ck_assert(*what != '\0' && bytes > 0);
    ((sums *)user)->kind[kind] += bytes;
    return 0;
}
static int stop_at_once(void *user, llm_memory_kind kind, const char *what, uint64_t bytes)
{
    (void)kind, (void)what, (void)bytes;
    ++*(int *)user;
    return 1;
}

static void compare(const char *path, llm_model *plan, llm_model *real, const llm_session_options *o)
{
    llm_memory_plan a = { .size = sizeof a }, b = { .size = sizeof b };
    sums s = { { 0 } };
    uint64_t opened, used = 0;
    llm_session *session;
    llm_token token[50] = { 0 };
    llm_status st;
    llm_error err;

    ck_assert_msg(llm_session_plan(plan, o, &a, &err) == LLM_OK, "%s: %s", path, err.text);
    ck_assert_int_eq(llm_session_plan(real, o, &b, &err), LLM_OK);
    ck_assert_msg(a.total_bytes == b.total_bytes && a.owned_bytes == b.owned_bytes && a.mapped_bytes == b.mapped_bytes,
                  "%s: planned %llu, open %llu", path, (unsigned long long)a.total_bytes, (unsigned long long)b.total_bytes);
    ck_assert_int_eq(llm_session_plan_items(plan, o, add_item, &s, &err), LLM_OK);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_MAPPED], a.mapped_bytes);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_MODEL], a.owned_bytes);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_KV], a.kv_bytes);
    ck_assert_uint_eq(s.kind[LLM_MEMORY_SCRATCH], a.scratch_bytes);
    ck_assert_uint_eq(a.total_bytes, a.mapped_bytes + a.owned_bytes + a.kv_bytes + a.scratch_bytes);
    counted.n = 0, counted.bytes = 0, counted.on = true;            /* Check allocates too: nothing is asserted meanwhile */
    st = llm_session_open(&session, real, o, &err), opened = counted.bytes;
    if (st == LLM_OK) st = llm_session_decode(session, token, 50, &err), used = counted.bytes;
    llm_session_close(session);
    counted.on = false;
    ck_assert_msg(st == LLM_OK, "%s: %s", path, err.text);
    ck_assert_msg(opened == a.kv_bytes + a.scratch_bytes, "%s: planned %llu, took %llu", path, (unsigned long long)(a.kv_bytes + a.scratch_bytes),
                  (unsigned long long)opened);
    ck_assert_msg(used == opened, "%s: %lld more while computing", path, (long long)(used - opened));
    ck_assert_uint_eq(counted.bytes, 0);
}

START_TEST(plans_are_exact)
{
    static char path[MAX_SUBJECT + 1][512];
    int n = subject_list(path);

    ck_assert_int_gt(n, 10);
    for (int i = 0; i < n; i++) {
        llm_model *plan = open_model(path[i], 1, 0), *real = open_model(path[i], 0, 0);
        for (int k = 0; k < N_SHAPE; k++) compare(path[i], plan, real, &shape[k]);
        llm_model_close(plan), llm_model_close(real);
    }
}
END_TEST

START_TEST(tokenizers_are_counted_exactly)
{
    static const char *const dir[] = { "test/data/text", "tools/demo" };
    int n = 0;

    for (size_t i = 0; i < 2; i++) {
        struct dirent **entry;
        int files = scandir(dir[i], &entry, NULL, alphasort);
        for (int k = 0; k < files; k++) {
            char path[600];
            llm_tokenizer *t;
            llm_error err;
            llm_status st;
            size_t want = 0;
            bool patterns = false;
            uint64_t got;
            snprintf(path, sizeof path, "%s/%s", dir[i], entry[k]->d_name);
            free(entry[k]);
            counted.n = 0, counted.bytes = 0, counted.on = true;
            st = tokenizer_open_path(&t, path, &err);
            counted.on = false;
            got = counted.bytes;
            if (st != LLM_OK) continue;                     /* not a tokenizer */
            want = tokenizer_memory(t);
            for (int s = 0; s < t->pre.n; s++) patterns |= t->pre.stage[s].regex != NULL;
            tokenizer_close(t);
            if (patterns) continue;
            ck_assert_msg(got == want, "%s: holds %llu bytes, says %zu", path, (unsigned long long)got, want);
            n++;
        }
        if (files >= 0) free(entry);
    }
    ck_assert_int_ge(n, 5);
}
END_TEST

START_TEST(a_plan_is_no_model)
{
    llm_model *m = open_model(REF_DIR "/gpt-oss/hf", 1, 0);
    llm_session *s;
    llm_error err;
    int calls = 0;

    ck_assert_int_eq(llm_session_open(&s, m, NULL, &err), LLM_ERR_ARG);
    ck_assert_ptr_nonnull(strstr(err.text, "plan only"));
    ck_assert_int_eq(llm_session_plan_items(m, NULL, stop_at_once, &calls, &err), LLM_ERR_CANCELLED);
    ck_assert_int_eq(calls, 1);
    ck_assert_int_eq(llm_session_plan_items(m, NULL, NULL, NULL, &err), LLM_ERR_ARG);
    llm_model_close(m);
}
END_TEST

/* ---- refusals ---- */

static uint64_t total_of(llm_model *m, const llm_session_options *o)
{
    llm_memory_plan p = { .size = sizeof p };
    llm_error err;

    ck_assert_int_eq(llm_session_plan(m, o, &p, &err), LLM_OK);
    return p.total_bytes;
}

static llm_status try_open(llm_model *m, const llm_session_options *o, llm_error *err)
{
    llm_session *s;
    llm_status st = llm_session_open(&s, m, o, err);

    if (st == LLM_OK) llm_session_close(s);
    else ck_assert_ptr_null(s);
    ck_assert_int_eq(llm_session_fits(m, o, NULL), st);
    return st;
}

START_TEST(the_limit_is_hard_to_the_byte)
{
    llm_session_options o = { .size = sizeof o, .n_ctx = 4096, .kv_type = LLM_KV_F32 };
    llm_model *m = open_model(REF_DIR "/qwen3/hf", 0, 0), *limited;
    uint64_t total = total_of(m, &o);
    llm_session *one, *two;
    llm_error err;
    const char *at;

    o.memory_limit = total;
    ck_assert_int_eq(try_open(m, &o, &err), LLM_OK);
    o.memory_limit = total - 1;
    ck_assert_int_eq(try_open(m, &o, &err), LLM_ERR_MEMORY);
    ck_assert_msg((at = strstr(err.text, "would fit with kv_type F16")) != NULL, "%s", err.text);
    o.kv_type = LLM_KV_F16;
    ck_assert_int_eq(try_open(m, &o, &err), LLM_OK);
    /* and the context that is named fits, 256 tokens more do not */
    o.kv_type = LLM_KV_F32, o.memory_limit = total * 3 / 4;
    ck_assert_int_eq(try_open(m, &o, &err), LLM_ERR_MEMORY);
    ck_assert_msg((at = strstr(err.text, "n_ctx ")) != NULL, "%s", err.text);
    ck_assert_msg(sscanf(at, "n_ctx %d", &o.n_ctx) == 1 && o.n_ctx >= 256 && o.n_ctx < 4096, "%s", err.text);
    ck_assert_int_eq(try_open(m, &o, &err), LLM_OK);
    o.n_ctx += 256;
    ck_assert_int_eq(try_open(m, &o, &err), LLM_ERR_MEMORY);
    llm_model_close(m);
    /* two sessions share one limit */
    o = (llm_session_options){ .size = sizeof o, .n_ctx = 1024 };
    limited = open_model(REF_DIR "/qwen3/hf", 0, total);
    o.memory_limit = 2 * total_of(limited, &o) - 1;         /* the weights count once: two sessions fit */
    ck_assert_int_eq(llm_session_open(&one, limited, &o, &err), LLM_OK);
    ck_assert_int_eq(llm_session_open(&two, limited, &o, &err), LLM_OK);
    ck_assert_int_eq(try_open(limited, &o, &err), LLM_ERR_MEMORY);
    llm_session_close(one);
    ck_assert_int_eq(try_open(limited, &o, &err), LLM_OK);
    llm_session_close(two);
    llm_model_close(limited);
}
END_TEST

START_TEST(weights_that_do_not_fit_are_refused)
{
    llm_model_options o = { .size = sizeof o, .path = "tools/demo/demo-gpt-oss.gguf", .memory_limit = 5 << 20 };
    llm_session_options so = { .size = sizeof so, .n_ctx = 256 };
    llm_model *m;
    llm_error err;

    ck_assert_int_eq(llm_model_open(&m, &o, &err), LLM_ERR_MEMORY);
    ck_assert_ptr_null(m);
    ck_assert_msg(strstr(err.text, "memory limit; it would fit with smaller weights") != NULL, "%s", err.text);
    o.memory_limit = 0;
    ck_assert_int_eq(llm_model_open(&m, &o, &err), LLM_OK);
    so.memory_limit = 8 << 20;
    ck_assert_int_eq(try_open(m, &so, &err), LLM_ERR_MEMORY);
    so.allow_paging = 1;                                    /* that is about the system, not about the limit */
    ck_assert_int_eq(try_open(m, &so, &err), LLM_ERR_MEMORY);
    so.memory_limit = 0;
    ck_assert_int_eq(try_open(m, &so, &err), LLM_OK);
    llm_model_close(m);
}
END_TEST

START_TEST(more_than_any_machine_has)
{
    llm_session_options o = { .size = sizeof o, .n_ctx = 1 << 24, .n_seq = 256, .n_batch = 1 << 14 };
    llm_model *m = open_model("tools/demo/demo-gpt-oss.gguf", 0, 0);
    llm_error err;

    ck_assert_int_eq(try_open(m, &o, &err), LLM_ERR_MEMORY);
    ck_assert_msg(strstr(err.text, "256 x 16777216 tokens") && strstr(err.text, "would fit with n_ctx"), "%s", err.text);
    llm_model_close(m);
}
END_TEST

START_TEST(the_address_space_is_heeded)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)    /* they map terabytes */
    llm_session_options o = { .size = sizeof o, .n_ctx = 1 << 20 };
    llm_model *m = open_model("tools/demo/demo-gpt-oss.gguf", 0, 0);
    struct rlimit old, limit;
    unsigned long pages;
    llm_error err;
    FILE *f = fopen("/proc/self/statm", "r");

    ck_assert(f != NULL && fscanf(f, "%lu", &pages) == 1);
    fclose(f);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &old), 0);
    limit = old, limit.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (200 << 20);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    ck_assert_int_eq(try_open(m, &o, &err), LLM_ERR_MEMORY);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &old), 0);
    ck_assert_msg(strstr(err.text, "ulimit -v"), "%s", err.text);
    llm_model_close(m);
#endif
}
END_TEST

/* ---- fallbacks that are said ---- */

static void keep_line(void *user, llm_log_level level, const char *line)
{
    if (level == LLM_LOG_WARN) snprintf(user, 256, "%s", line);
}

START_TEST(more_threads_than_cores_are_said)
{
    char line[256] = "", *want = "this process may use";
    llm_model_options o = { .size = sizeof o, .path = REF_DIR "/qwen3/hf", .log = keep_line, .user = line };
    llm_session_options so = { .size = sizeof so, .n_ctx = 64, .n_threads = 1000 };
    llm_session *s;
    llm_token t = 1;
    llm_model *m;
    llm_error err;

    ck_assert_int_eq(llm_model_open(&m, &o, &err), LLM_OK);
    so.n_threads = (int)sysconf(_SC_NPROCESSORS_CONF) + 1;
    ck_assert_int_eq(llm_session_open(&s, m, &so, &err), LLM_OK);
    ck_assert_msg(strstr(line, want) != NULL, "%s", line);
    ck_assert_int_eq(llm_session_decode(s, &t, 1, &err), LLM_OK);
    llm_session_close(s);
    line[0] = '\0', so.n_threads = 1;
    ck_assert_int_eq(llm_session_open(&s, m, &so, &err), LLM_OK);
    ck_assert_ptr_null(strstr(line, want));
    llm_session_close(s);
    llm_model_close(m);
}
END_TEST

START_TEST(a_cache_type_that_heads_do_not_allow)
{
    static char path[MAX_SUBJECT + 1][512];
    llm_session_options o = { .size = sizeof o, .n_ctx = 64, .kv_type = LLM_KV_Q8_0 };
    int n = subject_list(path), taken = 0, refused = 0;

    for (int i = 0; i < n; i++) {
        llm_model *m = open_model(path[i], 0, 0);
        llm_error err;
        llm_status st = try_open(m, &o, &err);
        if (st == LLM_OK) taken++;
        else {
            ck_assert_msg(st == LLM_ERR_UNSUPPORTED && strstr(err.text, "multiple of 32, layer "), "%s: %s", path[i], err.text);
            refused++;
        }
        llm_model_close(m);
    }
    ck_assert(taken > 0 && refused > 0);
}
END_TEST

START_TEST(a_kernel_set_that_is_not_here)
{
#if defined(__x86_64__)
    const char *other = "neon";
#else
    const char *other = "avx2";
#endif
    llm_model_options o = { .size = sizeof o, .path = REF_DIR "/qwen3/hf", .cpu = other };
    llm_model *m;
    llm_error err;

    ck_assert_int_eq(llm_model_open(&m, &o, &err), LLM_ERR_UNSUPPORTED);
    ck_assert_msg(strstr(err.text, other) && strstr(err.text, "scalar"), "%s", err.text);
}
END_TEST

LLM_TEST_MAIN("hard/plan", plans_are_exact, tokenizers_are_counted_exactly, a_plan_is_no_model, the_limit_is_hard_to_the_byte,
              weights_that_do_not_fit_are_refused, more_than_any_machine_has, the_address_space_is_heeded, more_threads_than_cores_are_said,
              a_cache_type_that_heads_do_not_allow, a_kernel_set_that_is_not_here)
