#include "target.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICE = 256, DETERMINISTIC };

/* A number of up to six digits; -1 for anything else. */
static int number(const char *text)
{
    size_t n = strspn(text, "0123456789");
    return n > 0 && n <= 6 && text[n] == '\0' ? atoi(text) : -1;
}

static bool set_device(target *t, const char *name)
{
    t->on_device = strcmp(name, "cuda") == 0;
    if (!t->on_device && strcmp(name, "cpu") != 0) { fprintf(stderr, "%s: --device: got '%s', want cpu or cuda\n", t->name, name); return false; }
    return true;
}

int target_option(target *t, int argc, char **argv, const char *letters)
{
    static const struct option words[] = {
        { "device", required_argument, NULL, DEVICE }, { "deterministic", no_argument, NULL, DETERMINISTIC }, { NULL, 0, NULL, 0 },
    };

    for (int c;;) {
        switch (c = getopt_long(argc, argv, letters, words, NULL)) {
        case 't': t->n_thread = number(optarg), t->cpu_letter = 't'; break;
        case 'k': t->set = optarg, t->cpu_letter = 'k'; break;
        case 'r': t->repeats = number(optarg); break;
        case 'w': t->mb = number(optarg); break;
        case DEVICE: if (!set_device(t, optarg)) return '?'; break;
        case DETERMINISTIC: t->deterministic = true; break;
        case -1: return optind < argc ? '?' : -1;
        default: return c;
        }
    }
}

/* ---- limits ------------------------------------------------------------------------- */

static int wrong(const target *t, const char *what)
{
    fprintf(stderr, "%s: %s\n", t->name, what);
    return 2;
}

static bool measure_limits(target *t, llm_error *err)
{
    llm_device *d = NULL;
    llm_status st;

    if (!t->on_device) {
        if (cpu_choose_isa(&t->isa, t->set, err) != LLM_OK) return false;
        t->limits = limits_measure(t->n_thread);
        return true;
    }
    if ((st = device_open(&d, LLM_BACKEND_CUDA, 0, err)) == LLM_OK) st = limits_of_device(d, &t->limits, err);
    device_close(d);
    return st == LLM_OK;
}

const char *target_floats(const target *t) { return t->on_device ? "f16" : "f32"; }

int target_start(target *t)
{
    llm_error err = { 0 };
    char text[96];

    if (t->n_thread < 1 || t->n_thread > 1024) return wrong(t, "-t: want 1 to 1024 threads");
    if (t->repeats < 1 || t->repeats > 10000) return wrong(t, "-r: want 1 to 10000 rounds");
    if (t->mb < 0) return wrong(t, "-w: want 0 to 999999 MB");
    if (t->deterministic && !t->on_device) return wrong(t, "--deterministic is for a device; the processor's results never depend on the batch");
    if (t->on_device && t->cpu_letter) {
        snprintf(text, sizeof text, "-%c is for the processor and does not go with --device cuda", t->cpu_letter);
        return wrong(t, text);
    }
    if (!measure_limits(t, &err)) { fprintf(stderr, "%s: %s\n", t->name, err.text); return 1; }
    if (t->on_device) printf("device cuda%s\n", t->deterministic ? ", deterministic" : "");
    else printf("kernel set %s, %d threads\n", isa_name(t->isa), t->n_thread);
    printf("limits: read %.1f GB/s, int8 %.0f GOPS, %s %.0f GFLOPS\n", t->limits.read_gbs, t->limits.int8_gops, target_floats(t), t->limits.f32_gflops);
    return 0;
}

/* ---- a backend ------------------------------------------------------------------------ */

static llm_status open_device(const target *t, llm_device **d, llm_tensor **w, size_t n, llm_error *err)
{
    static bool told;
    llm_status st = device_open(d, LLM_BACKEND_CUDA, 0, err);

    if (st == LLM_OK) st = device_import(*d, w, n, NULL, NULL, err);
    if (st == LLM_OK && device_products(*d) != NULL && !told) told = true, fprintf(stderr, "%s: %s\n", t->name, device_products(*d));
    return st;
}

bool target_open(const target *t, llm_device **d, llm_backend *be, llm_tensor **w, size_t n, const llm_limits *limits)
{
    llm_limits l = *limits;
    llm_error err = { 0 };
    llm_status st = LLM_OK;

    l.deterministic = t->deterministic;
    if (t->on_device) st = open_device(t, d, w, n, &err);
    if (st == LLM_OK) st = backend_open(be, *d, t->isa, t->n_thread, &l, &err);
    be->timed = t->on_device;
    if (st != LLM_OK) fprintf(stderr, "%s: %s\n", t->name, err.text);
    return st == LLM_OK;
}

void target_close(llm_device *d, llm_backend *be)
{
    backend_close(be), device_close(d);
}

/* ---- rows ----------------------------------------------------------------------------- */

static size_t bytes_of(llm_rows r) { return (size_t)r.n * (size_t)r.width * sizeof(float); }

llm_rows target_values(llm_backend *be, int n, int width)
{
    llm_rows r = { NULL, n, width, width };
    float *x = malloc(bytes_of(r));
    uint32_t s = 1;

    if (x == NULL || (r.data = backend_alloc(be, bytes_of(r))) == NULL) { free(x); return r; }
    for (size_t i = 0; i < (size_t)n * (size_t)width; i++) s = s * 1664525u + 1013904223u, x[i] = (float)(s >> 8) * 0x1p-23f - 1;
    backend_upload(be, r.data, x, bytes_of(r));
    free(x);
    return r;
}

void target_release(llm_backend *be, llm_rows r) { backend_release(be, r.data, bytes_of(r)); }

bool target_rows_open(target_rows *r, int n, int pos, bool together)
{
    int n_span = together ? n : 1;

    r->span = calloc((size_t)n_span, sizeof *r->span), r->ints = calloc((size_t)n, 3 * sizeof *r->ints), r->want = malloc((size_t)n);
    if (r->span == NULL || r->ints == NULL || r->want == NULL) return false;
    memset(r->want, 1, (size_t)n);
    for (int i = 0; i < n; i++) r->ints[n + i] = together ? pos : pos + i, r->ints[2 * n + i] = together ? i : 0;
    for (int i = 0; i < n_span; i++) r->span[i] = (llm_span){ i, i, together ? 1 : n, pos };
    r->b = (llm_batch){ n, n_span, r->ints, r->ints + n, r->ints + 2 * n, r->span };
    return true;
}

void target_rows_close(target_rows *r)
{
    free(r->span), free(r->ints), free(r->want);
    *r = (target_rows){ 0 };
}

/* ---- time ------------------------------------------------------------------------------ */

static double round_seconds(llm_backend *be, const target_rows *rows, void (*ops)(void *arg), void *arg)
{
    double start = machine_seconds();

    be->seconds = 0;
    if (be->remote) be->remote->begin(be, &rows->b, rows->want);
    ops(arg);
    if (be->remote) be->remote->end(be);
    return be->remote ? be->seconds : machine_seconds() - start;
}

/* On a device the first round of a shape runs as it comes, and the second one is recorded. */
double target_seconds(const target *t, llm_backend *be, const target_rows *rows, void (*ops)(void *arg), void *arg)
{
    double best = 1e30;

    for (int i = be->remote ? -2 : -1; i < t->repeats && be->err.status == LLM_OK; i++) {
        double s = round_seconds(be, rows, ops, arg);
        if (i >= 0 && s < best) best = s;
    }
    if (be->err.status == LLM_OK) return best;
    fprintf(stderr, "%s: %s\n", t->name, be->err.text);
    return 0;
}
