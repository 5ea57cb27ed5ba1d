/* common.h - what the command-line tools share: opening a model with progress, reading files, exit codes. */
#ifndef TOOL_COMMON_H
#define TOOL_COMMON_H
#include "llm.h"
#include "options.h"
#include <stdbool.h>
#include <stdio.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_MODEL = 3, EXIT_NO_MEMORY = 4, EXIT_NO_ROOM = 5, EXIT_INTERRUPTED = 130 };
#define EXIT_CODES \
    "Exit codes: 0 done, 1 failed while running, 2 wrong use, 3 the model cannot be read or is not supported,\n" \
    "4 not enough memory, 5 the text does not fit into the context, 130 stopped with Ctrl-C before an answer."

extern const char *tool_name;               /* for messages */
extern void (*tool_on_die)(int code, const char *text);     /* may be set: hears why the program ends */

typedef struct {
    const char *path, *cpu, *device;        /* device: "cpu", "cuda", NULL: the default */
    int n_threads;
    bool vocab_only, quiet;
    uint64_t memory_limit;
    bool allow_paging, no_repack, plan_only;
    const char *quant, *quant_cache, *imatrix;      /* quant: a type that the weights are quantized to first (NULL: as they are), kept in
                                                     * quant_cache (NULL: the usual place) */
    const char *gpu_layers, *device_memory;         /* --gpu-layers, --device-memory as written; NULL: the default */
    bool cpu_moe;
    int n_cpu_moe;
    const llm_session_options *expect;              /* as in llm_model_options */
} model_choice;

/* Option rows of what goes to a device, for a model_choice. */
#define OFFLOAD_ROWS(group, c) \
    { group, "gpu-layers", 0, OPT_STR, "N|auto|all", &(c).gpu_layers, 0, 0, "so many of the last layers on the device, the head counting as one (auto: what fits)", false }, \
    { group, "cpu-moe", 0, OPT_FLAG, NULL, &(c).cpu_moe, 0, 0, "the routed experts of all layers stay with the processor", false }, \
    { group, "n-cpu-moe", 0, OPT_INT, "N", &(c).n_cpu_moe, 0, 1 << 20, "those of the first N layers do", true }, \
    { group, "device-memory", 0, OPT_STR, "SIZE", &(c).device_memory, 0, 0, "take no more on the device; with --plan: plan for one with so much free memory", true }
/* Other names of them. */
#define OFFLOAD_ALIASES(group) \
    { group, "n-gpu-layers", 0, OPT_ALIAS, "gpu-layers", NULL, 0, 0, NULL, true }, \
    { group, "ngl", 0, OPT_ALIAS, "gpu-layers", NULL, 0, 0, NULL, true }, \
    { group, "cmoe", 0, OPT_ALIAS, "cpu-moe", NULL, 0, 0, NULL, true }, \
    { group, "ncmoe", 0, OPT_ALIAS, "n-cpu-moe", NULL, 0, 0, NULL, true }

/* Finds (find_model.h) and opens the model with a progress line on stderr (only on a terminal); ends the program with the matching
 * exit code and one line on stderr when that fails. Log lines go to stderr unless quiet. */
llm_model *tool_open_model(const model_choice *c);
/* The options of OFFLOAD_ROWS for the backend of opt; wrong ones, and those that want a device and have none, end the program. */
void tool_offload(const model_choice *c, llm_model_options *opt);
/* Value of --kv-type (NULL: the default); a wrong one ends the program. */
llm_kv_type tool_kv_type(const opt_table *t, const char *name);
int tool_exit_code(llm_status s);
/* "TOOL: message" on stderr, then exit with the code for err. */
void tool_die(const llm_error *err) __attribute__((noreturn));
void tool_die_text(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* Whole file ("-": standard input) as malloc'ed bytes with a NUL behind them; dies on failure. */
char *tool_read_file(const char *path, size_t *len);
/* Ids of text, malloc'ed; dies on failure. */
llm_token *tool_tokenize(const llm_model *m, const char *text, size_t len, unsigned flags, size_t *n);
void *tool_alloc(size_t n, size_t size);    /* zeroed; dies */
double tool_seconds(void);                  /* monotonic */
/* After this a model file that is cut while it is mapped ends the program with a message instead of a bare SIGBUS. */
void tool_guard_mapped_files(const char *path);
#endif
