/* llm-inspect: what a model file holds, what the engine makes of it, and the memory it needs. */
#include "common.h"
#include "find_model.h"
#include "memory_plan.h"
#include "options.h"
#include <stdlib.h>
#include <string.h>

static model_choice choice = { .quiet = true, .plan_only = true };
static bool all_meta, no_tensors, as_f32, plan;
static int n_seq = 1, n_ctx, n_batch;
static const char *kv_type, *memory_limit;

static const opt_row rows[] = {
    { "Show", "meta", 0, OPT_FLAG, NULL, &all_meta, 0, 0, "metadata values in full (they are cut at 100 bytes)", false },
    { "Show", "no-tensors", 0, OPT_FLAG, NULL, &no_tensors, 0, 0, "leave out the list of tensors", false },
    { "Memory", "kv-f32", 0, OPT_FLAG, NULL, &as_f32, 0, 0, "plan with F32 keys and values (default F16)", false },
    { "Memory", "kv-type", 0, OPT_STR, "f16|q8_0|f8|f32", &kv_type, 0, 0, "plan with keys and values of this type", false },
    { "Memory", "plan", 0, OPT_FLAG, NULL, &plan, 0, 0, "only the memory: every buffer, for one context length", false },
    { "Memory", "ctx-size", 'c', OPT_INT, "N", &n_ctx, 1, 1 << 28, "tokens the context holds, for --plan (default: the trained context, at most 4096)", false },
    { "Memory", "batch", 'b', OPT_INT, "N", &n_batch, 1, 65536, "prompt tokens computed at once (default 512)", false },
    { "Memory", "threads", 't', OPT_INT, "N", &choice.n_threads, 1, 1024, "threads (default: the cores there are)", false },
    { "Memory", "device", 0, OPT_STR, "cpu|cuda", &choice.device, 0, 0, "plan for the processor (default) or the first NVIDIA GPU", false },
    OFFLOAD_ROWS("Memory", choice),
    { "Memory", "memory-limit", 0, OPT_STR, "SIZE", &memory_limit, 0, 0, "what may be taken: 8G, 500M (default: what the system has)", false },
    { "Memory", "sequences", 0, OPT_INT, "N", &n_seq, 1, 256, "plan for N sequences", false },
};
static const opt_table table = {
    "llm-inspect", "MODEL", "Shows metadata, every tensor with what it is bound to, and the memory needed per context length.\n" FIND_MODEL_HELP,
    rows, sizeof rows / sizeof rows[0], EXIT_CODES
};

static void show_meta(const llm_model *m)
{
    const char *key;
    char *value = tool_alloc(1, 1 << 16);
    size_t cap = all_meta ? 1 << 16 : 101, n;

    printf("metadata\n");
    for (size_t i = 0; llm_model_get_meta(m, i, &key, value, cap, &n) == LLM_OK; i++)
        printf("  %-44s %s%s\n", key, value, n >= cap ? " ..." : "");
    free(value);
}

static void show_tensors(const llm_model *m)
{
    llm_tensor_info t = { .size = sizeof t };

    printf("\ntensors\n");
    for (size_t i = 0; llm_model_get_tensor(m, i, &t) == LLM_OK; i++) {
        char shape[96] = "";
        for (int d = 0; d < t.n_dim; d++)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%lld", d ? " x " : "", (long long)t.dim[d]);
        printf("  %-48s %-8s %-24s %14llu bytes  %s\n", t.name, t.dtype, shape, (unsigned long long)t.bytes, t.slot ? t.slot : "(not used)");
    }
}

static llm_session_options session_options(int ctx)
{
    return (llm_session_options){ .size = sizeof(llm_session_options), .n_ctx = ctx, .n_seq = n_seq, .n_batch = n_batch, .n_threads = choice.n_threads,
                                  .kv_type = as_f32 ? LLM_KV_F32 : tool_kv_type(&table, kv_type) };
}

static double gib(uint64_t bytes) { return (double)bytes / (1 << 30); }

static void show_memory(llm_model *m, int n_ctx_train)
{
    bool device = choice.device != NULL && strcmp(choice.device, "cpu") != 0;

    printf("\nmemory in GiB, %d sequence%s, %s cache\n  %10s %10s %10s %10s %10s%s\n", n_seq, n_seq > 1 ? "s" : "",
           as_f32 ? "F32" : kv_type ? kv_type : "F16", "context", "weights", "cache", "scratch", device ? "here" : "together", device ? "     device" : "");
    for (int n = 2048;; n *= 2) {
        bool last = n >= n_ctx_train;
        llm_session_options opt = session_options(last ? n_ctx_train : n);
        llm_memory_plan p = { .size = sizeof p };
        llm_error err;
        if (llm_session_plan(m, &opt, &p, &err) != LLM_OK) { printf("  %10d %s\n", opt.n_ctx, err.text); break; }
        printf("  %10d %10.3f %10.3f %10.3f %10.3f", opt.n_ctx, gib(p.mapped_bytes + p.owned_bytes + p.device_weight_bytes), gib(p.kv_bytes),
               gib(p.scratch_bytes), gib(p.total_bytes));
        if (device) printf(" %10.3f", gib(p.device_total_bytes));
        putchar('\n');
        if (last) break;
    }
}

int main(int argc, char **argv)
{
    llm_session_options expected;
    opt_result r;
    llm_model *m;
    llm_model_info i = { .size = sizeof i };

    tool_name = "llm-inspect";
    opt_parse(&table, argc, argv, &r);
    if (r.n_operand != 1) opt_fail(&table, "want one MODEL, got %d", r.n_operand);
    choice.path = r.operand[0];
    choice.memory_limit = tool_bytes(&table, "--memory-limit", memory_limit);
    expected = session_options(n_ctx), choice.expect = &expected;
    m = tool_open_model(&choice);
    if (plan) {
        llm_session_options o = expected;
        int code = print_memory_plan(m, &o);
        llm_model_close(m);
        return code;
    }
    llm_model_get_info(m, &i);
    printf("%s\n  family %s, %d layers, width %d, %d heads, vocabulary %d, context %d", *i.name ? i.name : choice.path,
           i.arch, i.n_layer, i.d_model, i.n_head, i.n_vocab, i.n_ctx_train);
    if (i.n_expert > 0) printf(", %d experts of which %d work on a token", i.n_expert, i.n_expert_used);
    printf("\n  %llu parameters, %.3f GiB of weights\n\n", (unsigned long long)i.n_param, gib(i.weight_bytes));
    show_meta(m);
    if (!no_tensors) show_tensors(m);
    show_memory(m, i.n_ctx_train);
    llm_model_close(m);
    return EXIT_OK;
}
