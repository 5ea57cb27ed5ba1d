/* llm-bench: how fast a model runs on this machine, and how near that is to what the machine can do.
 *
 * Tests are named as people know them: ppN reads a prompt of N tokens, tgN generates N tokens one by one, ppP+tgN does
 * both, "xS" does it with S sequences at once, "@ dD" behind D tokens that are in the cache already. Each is run -r times
 * after a warm-up; the mean and the standard deviation of the rate are shown. */
#include "common.h"
#include "memory_plan.h"
#include "options.h"
#include "progress.h"
#include "report.h"
#include "measure.h"
#include "memory.h"
#include "plan.h"
#include "shape.h"
#include "shapes.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LIST = 64, MAX_TEST = 4096 };
typedef struct { int v[MAX_LIST], n; } int_list;

static opt_list models, shapes, pg_text;
static const char *p_text = "512", *n_text = "128", *d_text = "0", *s_text = "1", *t_text, *b_text = "512", *o_text = "md";
static const char *kv_type, *cpu, *device, *compare_path, *limit_text;
static int repetitions = 5;
static bool no_warmup, no_repack, no_limits, list_shapes, deterministic, fill_depth;
static model_choice where;              /* what goes to the device */

static const opt_row rows[] = {
    { "What to run", "model", 'm', OPT_STRS, "MODEL", &models, 0, 0, "GGUF file, folder or name; may be given several times", false },
    { "What to run", "shape", 0, OPT_STRS, "NAME[:TYPE]", &shapes, 0, 0, "random weights of the true shape; a config.json in place of a name", false },
    { "What to run", "list-shapes", 0, OPT_FLAG, NULL, &list_shapes, 0, 0, "the names that --shape knows", false },
    { "What to run", "n-prompt", 'p', OPT_STR, "LIST", &p_text, 0, 0, "prompt lengths (default 512; 0: none)", false },
    { "What to run", "n-gen", 'n', OPT_STR, "LIST", &n_text, 0, 0, "tokens to generate (default 128; 0: none)", false },
    { "What to run", "pg", 0, OPT_STRS, "P,N", &pg_text, 0, 0, "a prompt of P, then N tokens, as one test", false },
    { "What to run", "n-depth", 'd', OPT_STR, "LIST", &d_text, 0, 0, "tokens in the cache beforehand (default 0)", false },
    { "What to run", "fill-depth", 0, OPT_FLAG, NULL, &fill_depth, 0, 0, "fill the cache with made-up keys and values instead of computing them", false },
    { "What to run", "n-seq", 's', OPT_STR, "LIST", &s_text, 0, 0, "sequences that generate together (default 1)", false },
    { "What to run", "threads", 't', OPT_STR, "LIST", &t_text, 0, 0, "threads (default: the cores there are)", false },
    { "What to run", "batch", 'b', OPT_STR, "LIST", &b_text, 0, 0, "rows computed at once (default 512)", false },
    { "What to run", "repetitions", 'r', OPT_INT, "N", &repetitions, 1, 1000, "runs of each test (default 5)", false },
    { "What to run", "kv-type", 0, OPT_STR, "f16|q8_0|f8|f32", &kv_type, 0, 0, "keys and values (default f16)", false },
    { "What to run", "device", 0, OPT_STR, "cpu|cuda", &device, 0, 0, "what computes: the processor (default) or the first NVIDIA GPU", false },
    OFFLOAD_ROWS("What to run", where),
    { "What to run", "deterministic", 0, OPT_FLAG, NULL, &deterministic, 0, 0, "on a device: results that do not depend on the batch", false },
    { "What to run", "cpu", 0, OPT_STR, "SET", &cpu, 0, 0, "kernel set: scalar, avx2, avxvnni, avx512, neon, i8mm (default: $LLM_CPU, else the best)", false },
    { "What to run", "memory-limit", 0, OPT_STR, "SIZE", &limit_text, 0, 0, "a ceiling for weights, cache and buffers together; shapes are cut to it", false },
    { "What to run", "no-warmup", 0, OPT_FLAG, NULL, &no_warmup, 0, 0, "measure the first run too", false },
    { "What to run", "no-repack", 0, OPT_FLAG, NULL, &no_repack, 0, 0, "read weights where they lie in the file, do not put them in order", false },
    { "What to run", "no-limits", 0, OPT_FLAG, NULL, &no_limits, 0, 0, "do not measure the machine (no floor column)", false },
    { "Output", "output", 'o', OPT_STR, "md|csv|json|jsonl|log", &o_text, 0, 0, "format (default md; log: the columns of bench/log.csv)", false },
    { "Output", "compare", 0, OPT_STR, "FILE.json", &compare_path, 0, 0, "add the ratio to the same test in FILE (made with -o json)", false },
};
static const opt_table table = {
    "llm-bench", "-m MODEL | --shape NAME[:TYPE] [-p LIST] [-n LIST] [-d LIST] [-s LIST] [-t LIST]",
    "Measures tokens per second. A LIST is numbers with commas, or FIRST-LAST, FIRST-LAST+STEP, FIRST-LAST*FACTOR.",
    rows, sizeof rows / sizeof rows[0],
    "\"floor\" is the share of what this machine, or with --device the card, could do at best, measured between the repetitions: the longer of\n"
    "reading and computing. Read are the weights once a step (of experts those chosen) and the keys and values there are; products of\n"
    "quantized weights are counted at the int8 peak, attention and products of F32, F16 and BF16 weights at the float peak (on a card:\n"
    "of its matrix instructions).\n"
    "With --device the token of every step is picked there, as llm-run does; the processor's rates are those of the forward pass alone.\n"
    "A shape that does not fit into memory is measured with two numbers of layers and scaled; its rows say so. TYPE is a mix such as\n"
    "q8_0, q4_k_m or iq2_xxs (default: mxfp4 for gpt-oss, q4_k_m for others).\n"
    "Rows that cannot be measured are reported and left out; the exit code is that of the first of them.\n" EXIT_CODES
};

static report out;
static int failures;                    /* exit code of the first row that could not be measured, or 0 */

/* ---- lists ------------------------------------------------------------------------- */

static void add(int_list *l, long v, const char *name, const char *text)
{
    if (v < 0 || v > 1 << 28 || l->n == MAX_LIST) opt_fail(&table, "--%s: got '%s', want up to %d numbers below 2^28", name, text, (int)MAX_LIST);
    l->v[l->n++] = (int)v;
}

static int_list parse_list(const char *name, const char *text)
{
    int_list l = { .n = 0 };

    for (const char *s = text; *s;) {
        char *end;
        long first = strtol(s, &end, 10), last = first, step = 1;
        char how = '+';
        if (end == s) opt_fail(&table, "--%s: got '%s', want numbers", name, text);
        if (*end == '-') {
            last = strtol(s = end + 1, &end, 10);
            if (end == s) opt_fail(&table, "--%s: got '%s', want FIRST-LAST", name, text);
            if (*end == '+' || *end == '*') how = *end, step = strtol(end + 1, &end, 10);
        }
        if (step < 1 || step > 1 << 28 || last < first || (how == '*' && (step < 2 || first < 1))) opt_fail(&table, "--%s: got '%s', which leads nowhere", name, text);
        for (long v = first; v <= last; v = how == '*' ? v * step : v + step) add(&l, v, name, text);
        if (*end == ',') end++;
        else if (*end != '\0') opt_fail(&table, "--%s: got '%s' at '%s'", name, text, end);
        s = end;
    }
    if (l.n == 0) opt_fail(&table, "--%s: got '', want numbers", name);
    return l;
}

static int_list parse_range(const char *name, const char *text, int min, int max)
{
    int_list l = parse_list(name, text);

    for (int i = 0; i < l.n; i++)
        if (l.v[i] < min || l.v[i] > max) opt_fail(&table, "--%s: got %d, want %d to %d", name, l.v[i], min, max);
    return l;
}

typedef struct { bench_test test[MAX_TEST]; int n; } test_list;

static void add_test(test_list *l, int threads, work_test w)
{
    if (w.prompt == 0 && w.generate == 0) return;
    if (l->n == MAX_TEST) opt_fail(&table, "these lists make more than %d tests", (int)MAX_TEST);
    l->test[l->n++] = (bench_test){ w, threads };
}

/* Prompts alone are read by one sequence, whatever -s says. */
static void add_depth(test_list *l, int threads, int batch, int depth)
{
    int_list p = parse_list("n-prompt", p_text), g = parse_list("n-gen", n_text), s = parse_range("n-seq", s_text, 1, 256);

    for (int i = 0; i < p.n; i++) add_test(l, threads, (work_test){ .prompt = p.v[i], .depth = depth, .batch = batch, .n_seq = 1 });
    for (int k = 0; k < s.n; k++) {
        for (int i = 0; i < g.n; i++) add_test(l, threads, (work_test){ .generate = g.v[i], .depth = depth, .batch = batch, .n_seq = s.v[k] });
        for (size_t i = 0; i < pg_text.n; i++) {
            int_list pg = parse_list("pg", pg_text.item[i]);
            if (pg.n != 2) opt_fail(&table, "--pg: got '%s', want P,N", pg_text.item[i]);
            add_test(l, threads, (work_test){ pg.v[0], pg.v[1], depth, batch, s.v[k] });
        }
    }
}

static test_list *make_tests(void)
{
    test_list *l = tool_alloc(1, sizeof *l);
    char cores[16];
    int_list t, b, d = parse_list("n-depth", d_text);

    snprintf(cores, sizeof cores, "%d", limits_cores());
    t = parse_range("threads", t_text ? t_text : cores, 1, 1024), b = parse_range("batch", b_text, 1, 16384);
    for (int i = 0; i < t.n; i++)
        for (int j = 0; j < b.n; j++)
            for (int k = 0; k < d.n; k++) add_depth(l, t.v[i], b.v[j], d.v[k]);
    if (l->n == 0) opt_fail(&table, "nothing to measure: -p, -n and --pg are all 0");
    return l;
}

/* ---- rows ----------------------------------------------------------------------------- */

/* What a row says about its model. */
typedef struct { const char *name, *type; llm_model_info info; model_work work; llm_isa isa; } subject;

static bool on_gpu(void) { return device && strcmp(device, "cuda") == 0; }

/* Of the model's device or the processor; zeros, said once, where the model leaves a device too little memory for it. */
static machine_limits limits(const llm_model *m, int threads)
{
    static bool told;
    machine_limits l;
    llm_error err;

    if (m->device == NULL) return limits_measure(threads);
    if (limits_of_device(m->device, &l, &err) == LLM_OK) return l;
    if (err.status != LLM_ERR_MEMORY) tool_die(&err);
    if (!told) told = true, fprintf(stderr, "llm-bench: no floor: %s\n", err.text);
    return (machine_limits){ 0, 0, 0 };
}

static measure_options options_of(bool paging)
{
    return (measure_options){ .kv_type = tool_kv_type(&table, kv_type), .memory_limit = tool_bytes(&table, "--memory-limit", limit_text), .allow_paging = paging,
                          .warmup = !no_warmup, .repetitions = repetitions, .deterministic = deterministic, .pick = on_gpu(), .fill = fill_depth,
                          .limits = no_limits ? NULL : limits };
}

static llm_dtype kv_dtype(void) { return plan_kv_dtype(tool_kv_type(&table, kv_type)); }

static bool known(const machine_limits *m) { return m->read_gbs > 0 && m->int8_gops > 0 && m->f32_gflops > 0; }

static void complain(const subject *s, const bench_test *t, const llm_error *err)
{
    char name[64];

    measure_name(&t->what, name, sizeof name);
    if (err->status == LLM_ERR_CANCELLED) {
        fprintf(stderr, "%s: stopped during %s of %s; %d row%s complete\n", tool_name, name, s->name, out.n, out.n == 1 ? " is" : "s are");
        report_close(&out);
        exit(EXIT_INTERRUPTED);
    }
    fprintf(stderr, "%s: %s of %s was not measured: %s\n", tool_name, name, s->name, err->text);
    if (failures == 0) failures = tool_exit_code(err->status);
}

static void print_row(const subject *s, const bench_test *t, const measure_result *r, const char *note)
{
    double tokens = (double)(t->what.prompt + t->what.generate) * t->what.n_seq;
    report_row row = { .model = s->name, .arch = s->info.arch, .type = s->type, .device = on_gpu() ? "cuda" : "cpu", .kernels = on_gpu() ? "cuda" : isa_name(s->isa),
                       .kv_type = kv_type ? kv_type : "f16", .note = note, .weight_bytes = s->info.weight_bytes, .n_param = s->info.n_param, .threads = t->threads,
                       .batch = t->what.batch, .rate = r->rate, .deviation = r->rate_dev, .peak_mib = r->peak_mib, .device_share = r->device_share, .limits = r->limits };
    char name[64], notes[160];

    measure_name(&t->what, name, sizeof name);
    row.test = name;
    if (fill_depth && t->what.depth > 0) snprintf(notes, sizeof notes, "%s%sdepth filled, not computed", note, note[0] ? "; " : ""), row.note = notes;
    if (known(&r->limits)) row.floor_share = work_least(&s->work, &t->what, &r->limits).seconds * r->rate / tokens;
    if (!report_add(&out, &row)) tool_die_text(EXIT_FAILED, "standard output does not take the rows");
}

/* ---- models ----------------------------------------------------------------------------- */

/* The type of most bytes. Codes of gpt-oss's folders are of no type that says what they mean. */
static const char *main_type(const llm_model *m)
{
    double bytes[256] = { 0 };
    int most = 0;
    llm_tensor_info t = { .size = sizeof t };

    for (size_t i = 0; llm_model_get_tensor(m, i, &t) == LLM_OK; i++) {
        const llm_dtype_info *d = t.slot ? dtype_find(strcmp(t.dtype, "U8") == 0 ? "MXFP4" : t.dtype) : NULL;
        if (d && d->dtype >= 0 && d->dtype < 256) bytes[d->dtype] += (double)t.bytes;
    }
    for (int i = 1; i < 256; i++)
        if (bytes[i] > bytes[most]) most = i;
    return dtype_name(most);
}

/* The session that must fit beside the weights on a device. */
static llm_session_options largest_session(const test_list *tests)
{
    measure_options o = options_of(false);
    llm_session_options most = measure_session(&tests->test[0], &o);

    for (int i = 1; i < tests->n; i++) {
        llm_session_options s = measure_session(&tests->test[i], &o);
        if ((int64_t)s.n_ctx * s.n_seq > (int64_t)most.n_ctx * most.n_seq) most = s;
    }
    return most;
}

/* A rate is no rate of the device where the processor computes a part. */
static void tell_split(const llm_model_info *i)
{
    if (on_gpu() && (i->gpu_layers <= i->n_layer || i->cpu_moe > 0))
        fprintf(stderr, "llm-bench: %d of %d layers are on the device, the experts of %d with the processor\n", i->gpu_layers < i->n_layer ? i->gpu_layers : i->n_layer,
                i->n_layer, i->cpu_moe);
}

static void tell_products(const llm_model *m)
{
    static bool told;
    const char *text = device_products(m->device);

    if (text && !told) told = true, fprintf(stderr, "llm-bench: %s\n", text);
}

static model_choice choice_of(const char *path, const llm_session_options *expect)
{
    model_choice c = where;

    c.path = path, c.cpu = cpu, c.device = device, c.memory_limit = options_of(false).memory_limit, c.quiet = true, c.expect = expect, c.no_repack = no_repack;
    return c;
}

static void bench_tests(llm_model *m, const subject *s, const test_list *tests, const measure_options *o, const char *note)
{
    for (int i = 0; i < tests->n; i++) {
        measure_result r;
        llm_error err;
        if (measure_test(m, &tests->test[i], o, &r, &err) == LLM_OK) print_row(s, &tests->test[i], &r, note);
        else complain(s, &tests->test[i], &err);
    }
    llm_model_close(m);
}

static void bench_model(const char *path, const test_list *tests)
{
    llm_session_options expect = largest_session(tests);
    model_choice choice = choice_of(path, &expect);
    llm_model *m = tool_open_model(&choice);
    const char *slash = strrchr(path, '/');
    subject s = { .name = slash && slash[1] ? slash + 1 : path, .type = main_type(m), .info.size = sizeof s.info, .work = work_of(m, kv_dtype()), .isa = m->isa };
    measure_options o = options_of(false);

    llm_model_get_info(m, &s.info);
    tell_split(&s.info), tell_products(m);
    bench_tests(m, &s, tests, &o, "");
}

/* ---- shapes ------------------------------------------------------------------------------- */

static int on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    static progress_bar bar;

    (void)user;
    progress_draw(&bar, what, (double)done, (double)total);
    if (done >= total || measure_stopped()) progress_clear(&bar);
    return measure_stopped();
}

/* Weights of the shape as it is cut. Where they are in memory already and a second copy does not fit, they are read there. */
static llm_model *open_shape(const shape *s)
{
    llm_model_options opt = { .size = sizeof opt, .cpu = cpu ? cpu : getenv("LLM_CPU"), .backend = on_gpu() ? LLM_BACKEND_CUDA : LLM_BACKEND_CPU,
                              .allow_paging = 1, .no_repack = no_repack, .memory_limit = options_of(true).memory_limit };
    llm_model *m = NULL;
    char path[64];
    llm_error err;
    int fd;

    if (shape_write(s, &fd, on_progress, &err) != LLM_OK) tool_die(&err);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    opt.path = path, opt.allow_paging = memory_available() < shape_bytes(s) + ((uint64_t)1 << 30);
    tool_offload(&where, &opt);
    if (on_gpu() && where.gpu_layers == NULL) opt.gpu_layers = LLM_GPU_ALL;     /* cut or not, a shape is measured on one of the two */
    if (llm_model_open(&m, &opt, &err) != LLM_OK) tool_die(&err);
    tell_products(m);
    close(fd);
    return m;
}

/* Bytes that the shape as it is cut takes with its largest test, and those there are. */
static llm_memory_plan plan_of(const shape *s, const test_list *tests)
{
    measure_options o = options_of(false);
    llm_memory_plan most = { .size = sizeof most }, p = { .size = sizeof p };
    llm_error err;

    for (int i = 0; i < tests->n; i++) {
        llm_session_options opt = measure_session(&tests->test[i], &o);
        if (llm_session_plan((llm_model *)(uintptr_t)shape_model(s), &opt, &p, &err) != LLM_OK) tool_die(&err);
        if (p.total_bytes >= most.total_bytes) most = p;
    }
    return most;
}

static bool fits(const shape *s, const test_list *tests)
{
    llm_memory_plan p = plan_of(s, tests);
    return p.total_bytes + p.total_bytes / 50 <= p.available_bytes;        /* pages of tables and of the C library */
}

static void cut(shape *s, int n_layer)
{
    llm_error err;
    if (shape_cut(s, n_layer, &err) != LLM_OK) tool_die(&err);
}

/* The most layers that fit, a multiple of the period from all; leaves the shape cut to them. 0: not even two such numbers. */
static int largest_cut(shape *s, const test_list *tests)
{
    int period = shape_period(s), least = shape_least(s);

    for (int n = shape_layers(s) - period; n >= least + period; n -= period) {
        cut(s, n);
        if (fits(s, tests)) return n;
    }
    return 0;
}

typedef struct { int n_layer; model_work work; uint64_t bytes; measure_result *result; bool *good; } part;

static void measure_part(shape *s, const subject *whole, const test_list *tests, part *p)
{
    measure_options o = options_of(true);
    llm_model *m;

    cut(s, p->n_layer);
    p->work = work_of(shape_model(s), kv_dtype()), p->bytes = shape_bytes(s);
    p->result = tool_alloc((size_t)tests->n, sizeof *p->result), p->good = tool_alloc((size_t)tests->n, sizeof *p->good);
    m = open_shape(s);
    for (int i = 0; i < tests->n; i++) {
        llm_error err;
        p->good[i] = measure_test(m, &tests->test[i], &o, &p->result[i], &err) == LLM_OK;
        if (!p->good[i]) complain(whole, &tests->test[i], &err);
    }
    llm_model_close(m);
}

/* A test of the whole model from two of its parts: what the layers of b add to those of a grows as their floor does. */
static bool scale(const subject *whole, const bench_test *t, const part *a, const part *b, const measure_result *ra, const measure_result *rb, measure_result *r)
{
    double more = rb->seconds - ra->seconds, k = (double)(whole->work.n_layer - b->n_layer) / (b->n_layer - a->n_layer), dev;
    double tokens = (double)(t->what.prompt + t->what.generate) * t->what.n_seq;
    const machine_limits *m = &rb->limits;

    if (known(m)) {
        double fa = work_least(&a->work, &t->what, m).seconds, fb = work_least(&b->work, &t->what, m).seconds;
        k = (work_least(&whole->work, &t->what, m).seconds - fb) / (fb - fa);
    }
    if (!(more > 0)) return false;
    r->seconds = rb->seconds + k * more;
    dev = hypot((1 + k) * rb->seconds_dev, k * ra->seconds_dev);
    r->rate = tokens / r->seconds, r->rate_dev = r->rate * dev / r->seconds;
    r->device_share = rb->device_share;
    r->peak_mib = rb->peak_mib + (double)(whole->info.weight_bytes - b->bytes) / (1 << 20);
    r->limits = *m;
    return true;
}

static void bench_parts(shape *s, const subject *whole, const test_list *tests, int n_layer)
{
    int period = shape_period(s), least = shape_least(s);
    part a = { .n_layer = n_layer - (n_layer - least) / period * period }, b = { .n_layer = n_layer };
    llm_memory_plan p;
    char note[96];

    cut(s, shape_layers(s));
    p = plan_of(s, tests);
    fprintf(stderr, "%s: %s %s needs %.1f GB, there are %.1f: measured with %d and %d of its %d layers, and scaled\n", tool_name, whole->name, whole->type,
            (double)p.total_bytes / 1e9, (double)p.available_bytes / 1e9, a.n_layer, b.n_layer, shape_layers(s));
    snprintf(note, sizeof note, "scaled from %d and %d of %d layers", a.n_layer, b.n_layer, shape_layers(s));
    measure_part(s, whole, tests, &a);
    measure_part(s, whole, tests, &b);
    for (int i = 0; i < tests->n; i++) {
        llm_error err = { LLM_ERR_INTERNAL, "more layers took no more time: it is too short to be scaled" };
        measure_result r;
        if (!a.good[i] || !b.good[i]) continue;
        if (scale(whole, &tests->test[i], &a, &b, &a.result[i], &b.result[i], &r)) print_row(whole, &tests->test[i], &r, note);
        else complain(whole, &tests->test[i], &err);
    }
    free(a.result), free(a.good), free(b.result), free(b.good);
}

static void bench_shape(const char *text, const test_list *tests)
{
    measure_options o = options_of(true);
    llm_error err;
    shape *s;
    subject whole;
    int n_layer;

    if (shape_open(&s, text, &err) != LLM_OK) tool_die(&err);
    whole = (subject){ .name = shape_name(s), .type = shape_type(s), .work = work_of(shape_model(s), kv_dtype()) };
    whole.info = (llm_model_info){ .size = sizeof whole.info, .arch = shape_model(s)->arch->gguf_name, .n_param = shape_params(s), .weight_bytes = shape_bytes(s) };
    if (whole.info.arch == NULL) whole.info.arch = shape_model(s)->arch->hf_name;
    if (cpu_choose_isa(&whole.isa, cpu ? cpu : getenv("LLM_CPU"), &err) != LLM_OK) tool_die(&err);
    if (fits(s, tests)) bench_tests(open_shape(s), &whole, tests, &o, "random weights");
    else if ((n_layer = largest_cut(s, tests)) > 0) bench_parts(s, &whole, tests, n_layer);
    else {
        llm_memory_plan p = plan_of(s, tests);
        tool_die_text(EXIT_NO_MEMORY, "%s %s: %d of its %d layers need %.1f GB, there are %.1f; as many have to fit for it to be scaled", whole.name, whole.type,
                      shape_model(s)->config.n_layer, shape_layers(s), (double)p.total_bytes / 1e9, (double)p.available_bytes / 1e9);
    }
    shape_close(s);
}

/* ---- the program ---------------------------------------------------------------------------- */

static void on_interrupt(int sig) { (void)sig; measure_stop(); }

/* Rows that were measured are not lost with the program. */
static void on_die(int code, const char *text) { (void)code, (void)text; report_close(&out); }

static void catch_interrupts(void)
{
    struct sigaction act;

    memset(&act, 0, sizeof act);
    act.sa_handler = on_interrupt, act.sa_flags = (int)SA_RESETHAND;       /* the second one ends the program at once */
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
}

static int print_shapes(void)
{
    for (size_t i = 0; shapes_at(i); i++) puts(shapes_at(i)->name);
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    opt_result r;
    report_form form;
    test_list *tests;
    char why[600];

    tool_name = "llm-bench";
    opt_parse(&table, argc, argv, &r);
    if (list_shapes) return print_shapes();
    if (r.n_operand > 0) opt_fail(&table, "got '%s'; a model is given with -m", r.operand[0]);
    if (models.n == 0 && shapes.n == 0) opt_fail(&table, "want a model: -m MODEL, or --shape NAME");
    if (!report_find(o_text, &form)) opt_fail(&table, "--output: got '%s', want md, csv, json, jsonl or log", o_text);
    if (device && strcmp(device, "cpu") != 0 && strcmp(device, "cuda") != 0) opt_fail(&table, "--device: got '%s', want cpu or cuda", device);
    options_of(false);                                              /* wrong values end the program before any work */
    tests = make_tests();
    if (!report_open(&out, form, compare_path, why, sizeof why)) tool_die_text(EXIT_FAILED, "%s", why);
    tool_on_die = on_die;
    catch_interrupts();
    for (size_t i = 0; i < models.n; i++) bench_model(models.item[i], tests);
    for (size_t i = 0; i < shapes.n; i++) bench_shape(shapes.item[i], tests);
    free(tests);
    if (!report_close(&out)) tool_die_text(EXIT_FAILED, "standard output does not take the rows");
    return failures;
}
