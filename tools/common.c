#include "common.h"
#include "find_model.h"
#include "memory_plan.h"
#include "progress.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *tool_name = "llm";
void (*tool_on_die)(int code, const char *text);

llm_kv_type tool_kv_type(const opt_table *t, const char *name)
{
    if (name == NULL || strcmp(name, "f16") == 0) return LLM_KV_F16;
    if (strcmp(name, "f32") == 0) return LLM_KV_F32;
    if (strcmp(name, "q8_0") == 0) return LLM_KV_Q8_0;
    if (strcmp(name, "f8") == 0) return LLM_KV_F8_E4M3;
    opt_fail(t, "--kv-type: got '%s', want f16, q8_0, f8 or f32", name);
}

int tool_exit_code(llm_status s)
{
    switch (s) {
    case LLM_OK:              return EXIT_OK;
    case LLM_ERR_ARG:         return EXIT_USAGE;
    case LLM_ERR_IO: case LLM_ERR_FORMAT: case LLM_ERR_UNSUPPORTED: case LLM_ERR_MISMATCH: return EXIT_MODEL;
    case LLM_ERR_MEMORY:      return EXIT_NO_MEMORY;
    case LLM_ERR_CONTEXT:     return EXIT_NO_ROOM;
    case LLM_ERR_CANCELLED:   return EXIT_INTERRUPTED;
    default:                  return EXIT_FAILED;
    }
}

void tool_die(const llm_error *err)
{
    tool_die_text(tool_exit_code(err->status), "%s", err->text);
}

void tool_die_text(int code, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (tool_on_die) tool_on_die(code, text);
    fprintf(stderr, "%s: %s\n", tool_name, text);
    exit(code);
}

static void on_log(void *user, llm_log_level level, const char *line)
{
    const model_choice *c = user;
    if (!c->quiet) fprintf(stderr, "%s: %s%s\n", tool_name, level == LLM_LOG_WARN ? "warning: " : "", line);
}

static int on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    static progress_bar bar;
    const model_choice *c = user;

    if (c->quiet) return 0;
    progress_draw(&bar, what, (double)done, (double)total);
    if (done >= total) progress_clear(&bar);
    return 0;
}

/* Where quantized copies are kept: $XDG_CACHE_HOME or ~/.cache, then libllm/quantized. */
static void usual_cache(char *dir, size_t cap)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    if (base && *base == '/') snprintf(dir, cap, "%s/libllm/quantized", base);
    else if (home && *home) snprintf(dir, cap, "%s/.cache/libllm/quantized", home);
    else tool_die_text(EXIT_FAILED, "neither XDG_CACHE_HOME nor HOME is set: --quant-cache DIR says where the quantized weights go");
}

/* --cpu, else what the environment says. */
static const char *kernel_set(const model_choice *c) { return c->cpu ? c->cpu : getenv("LLM_CPU"); }

/* The quantized copy of the model at path, made now if it is not there; [cap]. */
static void quantized(const model_choice *c, const char *path, char *out, size_t cap)
{
    llm_quantize_options opt = { .size = sizeof opt, .in = path, .type = c->quant, .imatrix = c->imatrix, .n_threads = c->n_threads, .cpu = kernel_set(c),
                                 .log = on_log, .progress = on_progress, .user = (void *)(uintptr_t)c };
    llm_quantize_result made = { .size = sizeof made };
    char dir[4096];
    llm_error err;

    if (c->quant_cache) snprintf(dir, sizeof dir, "%s", c->quant_cache);
    else usual_cache(dir, sizeof dir);
    if (llm_quantize_cached(&opt, dir, out, cap, &made, &err) != LLM_OK) tool_die(&err);
    if (made.bytes > 0 && !c->quiet) fprintf(stderr, "%s: quantized to %s: %.1f MB, kept as %s\n", tool_name, c->quant, (double)made.bytes / 1e6, out);
}

/* Value of --device; a wrong one ends the program. */
static llm_backend_kind device_kind(const char *name)
{
    if (name == NULL || strcmp(name, "cpu") == 0) return LLM_BACKEND_CPU;
    if (strcmp(name, "cuda") == 0) return LLM_BACKEND_CUDA;
    tool_die_text(EXIT_USAGE, "--device: got '%s', want cpu or cuda", name);
}

/* Value of --gpu-layers; a wrong one ends the program. */
static int gpu_layers(const char *text)
{
    char *end;
    long n;

    if (text == NULL || strcmp(text, "auto") == 0) return LLM_GPU_AUTO;
    if (strcmp(text, "all") == 0) return LLM_GPU_ALL;
    n = strtol(text, &end, 10);
    if (end == text || *end || n < 0 || n > 1 << 20) tool_die_text(EXIT_USAGE, "--gpu-layers: got '%s', want a number of layers, auto or all", text);
    return n == 0 ? LLM_GPU_NONE : (int)n;
}

void tool_offload(const model_choice *c, llm_model_options *opt)
{
    const char *given = c->gpu_layers ? "--gpu-layers" : c->cpu_moe ? "--cpu-moe" : c->n_cpu_moe ? "--n-cpu-moe" : c->device_memory ? "--device-memory" : NULL;

    if (given && opt->backend == LLM_BACKEND_CPU) tool_die_text(EXIT_USAGE, "%s wants --device cuda", given);
    opt->gpu_layers = gpu_layers(c->gpu_layers), opt->cpu_moe = c->cpu_moe ? -1 : c->n_cpu_moe, opt->expect = c->expect;
    opt->device_memory = tool_bytes(NULL, "--device-memory", c->device_memory);
}

llm_model *tool_open_model(const model_choice *c)
{
    static char copy[4200];
    llm_model_options opt = { .size = sizeof opt, .path = c->path, .n_threads = c->n_threads, .cpu = kernel_set(c), .backend = device_kind(c->device),
                              .log = on_log, .progress = on_progress, .user = (void *)(uintptr_t)c, .vocab_only = c->vocab_only,
                              .memory_limit = c->memory_limit, .allow_paging = c->allow_paging, .no_repack = c->no_repack, .plan_only = c->plan_only };
    const store_entry *found;
    store_list list;
    llm_error err;
    llm_model *m;

    tool_offload(c, &opt);
    find_model(c->path, &list, &found);
    opt.path = found->path;
    if (c->quant && !c->vocab_only) quantized(c, found->path, copy, sizeof copy), opt.path = copy;
    tool_guard_mapped_files(opt.path);
    if (llm_model_open(&m, &opt, &err) != LLM_OK) tool_die(&err);
    stores_free(&list);
    return m;
}

char *tool_read_file(const char *path, size_t *len)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char *text = NULL;
    size_t n = 0, cap = 0;

    if (f == NULL) tool_die_text(EXIT_FAILED, "%s: %s", path, strerror(errno));
    for (;;) {
        size_t got;
        if (cap - n < 2) {
            char *more = realloc(text, cap = cap ? cap * 2 : 1 << 16);
            if (more == NULL) tool_die_text(EXIT_NO_MEMORY, "%s: out of memory after %zu bytes", path, n);
            text = more;
        }
        got = fread(text + n, 1, cap - n - 1, f);
        if (got == 0) break;
        n += got;
    }
    if (ferror(f)) tool_die_text(EXIT_FAILED, "%s: %s", path, strerror(errno));
    if (f != stdin) fclose(f);
    text[n] = '\0';
    *len = n;
    return text;
}

llm_token *tool_tokenize(const llm_model *m, const char *text, size_t len, unsigned flags, size_t *n)
{
    llm_error err;
    llm_token *ids;

    if (llm_tokenize(m, text, len, flags, NULL, 0, n, &err) != LLM_OK) tool_die(&err);
    ids = tool_alloc(*n + 1, sizeof *ids);
    if (llm_tokenize(m, text, len, flags, ids, *n, n, &err) != LLM_OK) tool_die(&err);
    return ids;
}

void *tool_alloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (p == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory: %zu x %zu bytes", n, size);
    return p;
}

double tool_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static char bus_message[600];

static void on_bus(int sig)
{
    ssize_t ignored = write(STDERR_FILENO, bus_message, strlen(bus_message));
    (void)ignored, (void)sig;
    _exit(EXIT_MODEL);
}

void tool_guard_mapped_files(const char *path)
{
    struct sigaction act;

    snprintf(bus_message, sizeof bus_message,
             "%s: %.400s: the file was cut short or could not be read while it was in use\n", tool_name, path);
    memset(&act, 0, sizeof act);
    act.sa_handler = on_bus;
    sigaction(SIGBUS, &act, NULL);
}
