/* llm-bench: how fast a model runs on this machine, and how near that is to what the machine can do.
 *
 * Tests are named as people know them: ppN reads a prompt of N tokens, tgN generates N tokens one by one, ppP+tgN does
 * both, "@ dD" does it behind D tokens that are in the cache already. Each is run -r times after a warm-up;
 * the mean and the standard deviation of the rate are shown. */
#include "common.h"
#include "options.h"
#include "machine.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX_LIST = 64 };
typedef struct { int v[MAX_LIST], n; } int_list;
typedef struct { int prompt, generate, depth, threads, batch; } bench_test;
typedef struct { double mean, dev, floor_share; } bench_rate;

static opt_list models;
static const char *p_text = "512", *n_text = "128", *d_text = "0", *t_text, *b_text = "512", *o_text = "md", *kv_type, *cpu, *device, *compare_path;
static opt_list pg_text;
static int repetitions = 5;
static bool no_warmup, no_limits;

static const opt_row rows[] = {
    { "What to run", "model", 'm', OPT_STRS, "MODEL", &models, 0, 0, "GGUF file or folder; may be given several times", false },
    { "What to run", "n-prompt", 'p', OPT_STR, "LIST", &p_text, 0, 0, "prompt lengths (default 512; 0: none)", false },
    { "What to run", "n-gen", 'n', OPT_STR, "LIST", &n_text, 0, 0, "tokens to generate (default 128; 0: none)", false },
    { "What to run", "pg", 0, OPT_STRS, "P,N", &pg_text, 0, 0, "a prompt of P, then N tokens, as one test", false },
    { "What to run", "n-depth", 'd', OPT_STR, "LIST", &d_text, 0, 0, "tokens in the cache beforehand (default 0)", false },
    { "What to run", "threads", 't', OPT_STR, "LIST", &t_text, 0, 0, "threads (default: the cores there are)", false },
    { "What to run", "batch", 'b', OPT_STR, "LIST", &b_text, 0, 0, "rows computed at once (default 512)", false },
    { "What to run", "repetitions", 'r', OPT_INT, "N", &repetitions, 1, 1000, "runs of each test (default 5)", false },
    { "What to run", "kv-type", 0, OPT_STR, "f16|q8_0|f32", &kv_type, 0, 0, "keys and values (default f16)", false },
    { "What to run", "device", 0, OPT_STR, "cpu|cuda", &device, 0, 0, "what computes: the processor (default) or the first NVIDIA GPU", false },
    { "What to run", "cpu", 0, OPT_STR, "SET", &cpu, 0, 0, "kernel set: scalar, avx2, avxvnni, avx512, neon (default: $LLM_CPU, else the best)", false },
    { "What to run", "no-warmup", 0, OPT_FLAG, NULL, &no_warmup, 0, 0, "measure the first run too", false },
    { "What to run", "no-limits", 0, OPT_FLAG, NULL, &no_limits, 0, 0, "do not measure the machine (no floor column)", false },
    { "Output", "output", 'o', OPT_STR, "md|csv|json|jsonl", &o_text, 0, 0, "format (default md)", false },
    { "Output", "compare", 0, OPT_STR, "FILE.json", &compare_path, 0, 0, "add the ratio to the same test in FILE (made with -o json)", false },
};
static const opt_table table = {
    "llm-bench", "-m MODEL [-p LIST] [-n LIST] [-d LIST] [-t LIST]",
    "Measures tokens per second. A LIST is numbers with commas, or FIRST-LAST, FIRST-LAST+STEP, FIRST-LAST*FACTOR.",
    rows, sizeof rows / sizeof rows[0],
    "\"floor\" is the share of what this machine could do at best, measured in the same minute: for generation the bytes of weights and\n"
    "cache a token must read over the streaming bandwidth; for prompts the multiplications over the int8 peak.\n" EXIT_CODES
};

static void add(int_list *l, long v, const char *name, const char *text)
{
    if (v < 0 || v > 1 << 28 || l->n == MAX_LIST) opt_fail(&table, "--%s: got '%s', want up to %d numbers", name, text, (int)MAX_LIST);
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
        if (step < 1 || (how == '*' && (step < 2 || first < 1))) opt_fail(&table, "--%s: got '%s', the step leads nowhere", name, text);
        for (long v = first; v <= last; v = how == '*' ? v * step : v + step) add(&l, v, name, text);
        if (*end == ',') end++;
        else if (*end != '\0') opt_fail(&table, "--%s: got '%s' at '%s'", name, text, end);
        s = end;
    }
    return l;
}

/* Work of one model, from its tensors: what a token reads and multiplies. */
typedef struct { double read_bytes, macs, head_macs; } model_work;

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

static model_work work_of(const llm_model *m, const llm_model_info *info)
{
    model_work w = { 0 };
    llm_tensor_info t = { .size = sizeof t };
    bool head = false;
    double embed_bytes = 0, embed_macs = 0;

    for (size_t i = 0; llm_model_get_tensor(m, i, &t) == LLM_OK; i++) {
        double n = 1, share = 1;
        if (t.slot == NULL) continue;
        for (int d = 0; d < t.n_dim; d++) n *= (double)t.dim[d];
        if (strstr(t.slot, "_x")) share = (double)info->n_expert_used / info->n_expert;     /* gate_x, up_x, down_x: one of the experts */
        if (ends_with(t.slot, "embed")) { embed_bytes = (double)t.bytes, embed_macs = n; continue; }
        if (ends_with(t.slot, "head")) { head = true, w.head_macs = n; w.read_bytes += (double)t.bytes; continue; }
        w.read_bytes += share * (double)t.bytes;
        if (t.n_dim > 1) w.macs += share * n;
    }
    if (!head) w.read_bytes += embed_bytes, w.head_macs = embed_macs;
    return w;
}

/* Seconds the machine needs at least. */
static double floor_seconds(const model_work *w, const bench_test *t, double kv_bytes, const machine_limits *lim)
{
    double prompt = 2 * (w->macs * t->prompt + (t->prompt ? w->head_macs : 0)) / (lim->int8_gops * 1e9);
    double generate = t->generate * (w->read_bytes + kv_bytes * (t->depth + t->prompt + t->generate / 2.0)) / (lim->read_gbs * 1e9);
    return prompt + generate;
}

static llm_session *open_session(llm_model *m, const bench_test *t)
{
    llm_session_options opt = { .size = sizeof opt, .n_ctx = t->prompt + t->generate + t->depth + 1, .n_batch = t->batch, .n_threads = t->threads };
    llm_session *s;
    llm_error err;

    opt.kv_type = tool_kv_type(&table, kv_type);
    if (llm_session_open(&s, m, &opt, &err) != LLM_OK) tool_die(&err);
    return s;
}

static void feed(llm_session *s, int n, int n_vocab, bool one_by_one)
{
    llm_token *ids = tool_alloc((size_t)n + 1, sizeof *ids);
    llm_error err;

    for (int i = 0; i < n; i++) ids[i] = (llm_token)(((uint64_t)i * 2654435761u + 17) % (uint64_t)n_vocab);
    for (int i = 0; i < n; i += one_by_one ? 1 : n)
        if (llm_session_decode(s, ids + i, one_by_one ? 1 : (size_t)n, &err) != LLM_OK) tool_die(&err);
    free(ids);
}

static void reset(llm_session *s, int depth, int n_vocab)
{
    llm_error err;

    if (llm_session_truncate(s, 0, 0, &err) != LLM_OK) tool_die(&err);
    if (depth > 0) feed(s, depth, n_vocab, false);
}

static bench_rate measure(llm_model *m, const bench_test *t, int n_vocab, double *kv_bytes)
{
    llm_session *s = open_session(m, t);
    llm_session_options opt = { .size = sizeof opt, .n_ctx = llm_session_n_ctx(s), .n_batch = t->batch };
    llm_memory_plan plan = { .size = sizeof plan };
    bench_rate r = { 0 };
    double sum = 0, squares = 0;

    llm_session_plan(m, &opt, &plan, NULL);
    *kv_bytes = (double)plan.kv_bytes / opt.n_ctx;
    for (int i = no_warmup ? 0 : -1; i < repetitions; i++) {
        double start, rate;
        reset(s, t->depth, n_vocab);
        start = tool_seconds();
        if (t->prompt > 0) feed(s, i < 0 && t->prompt > 32 ? 32 : t->prompt, n_vocab, false);
        if (t->generate > 0) feed(s, i < 0 ? 1 : t->generate, n_vocab, true);
        rate = (t->prompt + t->generate) / (tool_seconds() - start);
        if (i >= 0) sum += rate, squares += rate * rate;
    }
    r.mean = sum / repetitions;
    r.dev = repetitions > 1 ? sqrt(fmax(0, (squares - sum * sum / repetitions) / (repetitions - 1))) : 0;
    llm_session_close(s);
    return r;
}

static double peak_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static void test_name(const bench_test *t, char *out, size_t cap)
{
    int n = t->prompt && t->generate ? snprintf(out, cap, "pp%d+tg%d", t->prompt, t->generate)
          : t->prompt ? snprintf(out, cap, "pp%d", t->prompt) : snprintf(out, cap, "tg%d", t->generate);
    if (t->depth > 0 && n > 0 && (size_t)n < cap) snprintf(out + n, cap - (size_t)n, " @ d%d", t->depth);
}

static json_t *result_row(const char *path, const llm_model_info *info, const bench_test *t, const bench_rate *r, const machine_limits *lim)
{
    char name[64];
    const char *base = strrchr(path, '/');

    test_name(t, name, sizeof name);
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "model", base && base[1] ? base + 1 : path,
                     "arch", info->arch, "device", device ? device : "cpu", "size_gib", (double)info->weight_bytes / (1 << 30), "params_b", (double)info->n_param / 1e9,
                     "threads", t->threads, "batch", t->batch, "test", name, "tokens_per_second", r->mean, "deviation", r->dev,
                     "floor_share", r->floor_share, "peak_rss_mib", peak_mib(), "read_gbs", lim->read_gbs, "int8_gops", lim->int8_gops);
}

/* Rate of the same model and test in the file given with --compare, or 0. */
static double compared(json_t *old, json_t *row)
{
    size_t i;
    json_t *o;

    json_array_foreach(old, i, o)
        if (json_equal(json_object_get(o, "model"), json_object_get(row, "model")) && json_equal(json_object_get(o, "test"), json_object_get(row, "test"))
            && json_equal(json_object_get(o, "threads"), json_object_get(row, "threads")))
            return json_number_value(json_object_get(o, "tokens_per_second"));
    return 0;
}

static double num(json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }
static const char *str(json_t *row, const char *key) { return json_string_value(json_object_get(row, key)); }

static void print_row(json_t *row, json_t *old, bool first)
{
    double before = old ? compared(old, row) : 0;
    char ratio[32] = "";

    if (before > 0) json_object_set_new(row, "ratio", json_real(num(row, "tokens_per_second") / before));
    if (before > 0) snprintf(ratio, sizeof ratio, "%.3f", num(row, "ratio"));
    if (strcmp(o_text, "jsonl") == 0) {
        json_dumpf(row, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        putchar('\n');
    } else if (strcmp(o_text, "csv") == 0) {
        if (first) printf("model,arch,size_gib,params_b,threads,batch,test,tokens_per_second,deviation,floor_share,peak_rss_mib,ratio\n");
        printf("\"%s\",%s,%.3f,%.3f,%d,%d,%s,%.3f,%.3f,%.3f,%.0f,%s\n", str(row, "model"), str(row, "arch"), num(row, "size_gib"), num(row, "params_b"),
               (int)num(row, "threads"), (int)num(row, "batch"), str(row, "test"), num(row, "tokens_per_second"), num(row, "deviation"),
               num(row, "floor_share"), num(row, "peak_rss_mib"), ratio);
    } else if (strcmp(o_text, "md") == 0) {
        if (first) printf("| model | size | params | threads | test | tokens/s | floor | peak memory |%s\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |%s\n",
                          old ? " ratio |" : "", old ? " ---: |" : "");
        printf("| %s | %.2f GiB | %.2f B | %d | %s | %.2f ± %.2f | ", str(row, "model"), num(row, "size_gib"), num(row, "params_b"), (int)num(row, "threads"),
               str(row, "test"), num(row, "tokens_per_second"), num(row, "deviation"));
        if (num(row, "floor_share") > 0) printf("%.0f %%", 100 * num(row, "floor_share"));
        printf(" | %.0f MiB |", num(row, "peak_rss_mib"));
        if (old) printf(" %s |", ratio);
        putchar('\n');
    }
    fflush(stdout);
}

static json_t *load_old(void)
{
    json_error_t je;
    json_t *old;

    if (compare_path == NULL) return NULL;
    old = json_load_file(compare_path, 0, &je);
    if (!json_is_array(old)) tool_die_text(EXIT_FAILED, "%s: %s", compare_path, old ? "not a list made with -o json" : je.text);
    return old;
}

static int make_tests(bench_test *out, int cap, int threads, int batch)
{
    int_list p = parse_list("n-prompt", p_text), g = parse_list("n-gen", n_text), d = parse_list("n-depth", d_text);
    int n = 0;

    for (int k = 0; k < d.n; k++) {
        for (int i = 0; i < p.n; i++)
            if (p.v[i] > 0 && n < cap) out[n++] = (bench_test){ p.v[i], 0, d.v[k], threads, batch };
        for (int i = 0; i < g.n; i++)
            if (g.v[i] > 0 && n < cap) out[n++] = (bench_test){ 0, g.v[i], d.v[k], threads, batch };
        for (size_t i = 0; i < pg_text.n; i++) {
            int_list pg = parse_list("pg", pg_text.item[i]);
            if (pg.n != 2) opt_fail(&table, "--pg: got '%s', want P,N", pg_text.item[i]);
            if (n < cap) out[n++] = (bench_test){ pg.v[0], pg.v[1], d.v[k], threads, batch };
        }
    }
    return n;
}

static void bench_model(const char *path, int threads, int batch, json_t *all, json_t *old)
{
    model_choice choice = { .path = path, .cpu = cpu, .device = device, .n_threads = threads, .quiet = true };
    llm_model *m = tool_open_model(&choice);
    llm_model_info info = { .size = sizeof info };
    bench_test tests[4 * MAX_LIST];
    int n = make_tests(tests, 4 * MAX_LIST, threads, batch);
    machine_limits lim = { 0 };
    model_work work;

    llm_model_get_info(m, &info);
    work = work_of(m, &info);
    for (int i = 0; i < n; i++) {
        double kv_bytes;
        bench_rate r = measure(m, &tests[i], info.n_vocab, &kv_bytes);
        json_t *row;
        if (!no_limits) {
            lim = limits_measure(threads);
            r.floor_share = floor_seconds(&work, &tests[i], kv_bytes, &lim) * r.mean / (tests[i].prompt + tests[i].generate);
        }
        row = result_row(path, &info, &tests[i], &r, &lim);
        print_row(row, old, json_array_size(all) == 0);
        json_array_append_new(all, row);
    }
    llm_model_close(m);
}

int main(int argc, char **argv)
{
    opt_result r;
    json_t *all = json_array(), *old;
    char cores[16];
    int_list threads, batches;

    tool_name = "llm-bench";
    opt_parse(&table, argc, argv, &r);
    if (device != NULL && strcmp(device, "cuda") == 0) no_limits = true;       /* those of the processor are not its own */
    if (r.n_operand > 0) opt_fail(&table, "got '%s'; a model is given with -m", r.operand[0]);
    if (models.n == 0) opt_fail(&table, "want a model: -m MODEL");
    if (strcmp(o_text, "md") && strcmp(o_text, "csv") && strcmp(o_text, "json") && strcmp(o_text, "jsonl"))
        opt_fail(&table, "--output: got '%s', want md, csv, json or jsonl", o_text);
    snprintf(cores, sizeof cores, "%d", limits_cores());
    threads = parse_list("threads", t_text ? t_text : cores), batches = parse_list("batch", b_text);
    old = load_old();
    for (size_t i = 0; i < models.n; i++)
        for (int k = 0; k < threads.n; k++)
            for (int j = 0; j < batches.n; j++) bench_model(models.item[i], threads.v[k], batches.v[j], all, old);
    if (strcmp(o_text, "json") == 0) {
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        putchar('\n');
    }
    json_decref(all), json_decref(old);
    return EXIT_OK;
}
