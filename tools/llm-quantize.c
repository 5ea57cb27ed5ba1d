/* llm-quantize: writes a GGUF file of chosen types from a safetensors folder or another GGUF file. */
#include "common.h"
#include "find_model.h"
#include "options.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static llm_quantize_options quant = { .size = sizeof quant };
static opt_list tensors;
static bool quiet;
static volatile sig_atomic_t stopped;

static const opt_row rows[] = {
    { "Types", "imatrix", 0, OPT_STR, "FILE", &quant.imatrix, 0, 0, "importance of columns, from llm-eval imatrix or llama-imatrix", false },
    { "Types", "tensor", 0, OPT_STRS, "PATTERN=TYPE", &tensors, 0, 0, "type of the tensors whose GGUF name matches, e.g. 'blk.*.attn_v.weight=q8_0'", false },
    { "Running", "threads", 't', OPT_INT, "N", &quant.n_threads, 1, 1024, "threads (default: the cores there are)", false },
    { "Running", "cpu", 0, OPT_STR, "SET", &quant.cpu, 0, 0, "instruction set: scalar, avx2, avxvnni, avx512, neon, i8mm; changes no byte", true },
    { "Running", "quiet", 'q', OPT_FLAG, NULL, &quiet, 0, 0, "no progress and no notes", false },
};
static const opt_table table = {
    "llm-quantize", "IN OUT.gguf TYPE [--imatrix FILE] [--tensor PATTERN=TYPE]",
    "Writes a model as a GGUF file with smaller weights. IN is a safetensors folder, which is converted on\nthe way, or a GGUF file, or a name as for llm-run.",
    rows, sizeof rows / sizeof rows[0],
    "TYPE is one of F32 F16 BF16, Q8_0 Q6_K, Q5_K_M Q5_K_S Q5_1 Q5_0, Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS,\n"
    "Q3_K_L Q3_K_M Q3_K_S, Q2_K Q2_K_S, or MXFP4_MOE (experts MXFP4, the rest Q8_0). The mixes give each tensor the type\n"
    "that llama.cpp's do. A tensor whose rows are not whole blocks gets the nearest type that fits, which is said.\n"
    "OUT.gguf appears when it is whole; until then, and when anything fails, what had that name stays.\n" EXIT_CODES
};

static void on_signal(int sig)
{
    (void)sig;
    stopped = 1;
}

static int show(void *user, const char *what, uint64_t done, uint64_t total)
{
    static double begun, last;
    double now = tool_seconds();

    (void)user, (void)what;
    if (begun == 0) begun = now;
    if (!quiet && isatty(2) && (now - last > 0.1 || done == total)) {
        double share = total ? (double)done / (double)total : 1;
        fprintf(stderr, "\rquantizing %3.0f %%  %.0f s left ", 100 * share, share > 0 ? (now - begun) / share * (1 - share) : 0);
        if (done == total) fputc('\n', stderr);
        last = now;
    }
    return stopped;
}

static void note(void *user, llm_log_level level, const char *line)
{
    (void)user;
    if (!quiet) fprintf(stderr, "%s%s\n", level == LLM_LOG_WARN ? "warning: " : "", line);
}

int main(int argc, char **argv)
{
    llm_quantize_result done = { .size = sizeof done };
    const store_entry *found;
    store_list list;
    opt_result r;
    llm_error err;

    tool_name = "llm-quantize";
    opt_parse(&table, argc, argv, &r);
    if (r.n_operand != 3) opt_fail(&table, "wanted IN, OUT.gguf and TYPE, got %d names", r.n_operand);
    find_model(r.operand[0], &list, &found);
    quant.in = found->path, quant.out = r.operand[1], quant.type = r.operand[2];
    quant.tensor = tensors.item, quant.n_tensor = tensors.n;
    quant.log = note, quant.progress = show;
    signal(SIGINT, on_signal), signal(SIGTERM, on_signal);
    if (llm_quantize(&quant, &done, &err) != LLM_OK) {
        if (err.status == LLM_ERR_CANCELLED) tool_die_text(EXIT_INTERRUPTED, "stopped; nothing was written");
        tool_die(&err);
    }
    stores_free(&list);
    if (!quiet)
        printf("%s: %.1f MB, %.2f bits per weight, %llu tensors\n", quant.out, (double)done.bytes / 1e6, 8 * (double)done.bytes / (double)done.n_value,
               (unsigned long long)done.n_tensor);
    return EXIT_OK;
}
