/* llm-run: runs a model on a prompt. The answer goes to stdout, everything else to stderr. This file: options and main. */
#include "find_model.h"
#include "list_models.h"
#include "run.h"
#include "verify_model.h"

static run_options o = { .n_predict = -1, .top_k = -1, .temperature = -1, .top_p = -1, .min_p = -1, .typical_p = -1 };

static const opt_row rows[] = {
    { "Prompt", "prompt", 'p', OPT_STR, "TEXT", &o.prompt_text, 0, 0, "the prompt", false },
    { "Prompt", "file", 'f', OPT_STR, "FILE", &o.prompt_file, 0, 0, "read a text from FILE (\"-\": standard input); with -p too, it goes before the prompt", false },
    { "Prompt", "system", 's', OPT_STR, "TEXT", &o.system_text, 0, 0, "system message", false },
    { "Prompt", "raw", 0, OPT_FLAG, NULL, &o.raw, 0, 0, "plain completion: no chat format around the prompt", false },
    { "Prompt", "chat-format", 0, OPT_STR, "NAME", &o.chat_name, 0, 0, "harmony, chatml, gemma, llama3, deepseek, deepseek-llm, llama2 (default: the model's)", true },
    { "Prompt", "trusted", 0, OPT_FLAG, NULL, &o.trusted, 0, 0, "with --raw: the text of control tokens becomes those tokens", true },
    { "Answer", "n-predict", 'n', OPT_INT, "N", &o.n_predict, -1, 1 << 24, "at most N tokens (default: until the model ends or the context is full)", false },
    { "Answer", "stop", 0, OPT_STRS, "TEXT", &o.stops, 0, 0, "end before TEXT; may be given several times", false },
    { "Answer", "ignore-eos", 0, OPT_FLAG, NULL, &o.ignore_end, 0, 0, "go on past the model's end tokens", true },
    { "Answer", "think", 0, OPT_FLAG, NULL, &o.think, 0, 0, "force thinking on, where the family can", false },
    { "Answer", "no-think", 0, OPT_FLAG, NULL, &o.no_think, 0, 0, "force thinking off, where the family can", false },
    { "Answer", "effort", 0, OPT_STR, "low|medium|high", &o.effort, 0, 0, "gpt-oss reasoning effort", false },
    { "Answer", "show-thinking", 0, OPT_FLAG, NULL, &o.show_thinking, 0, 0, "print gpt-oss analysis on stderr", false },
    { "Answer", "show-tokens", 0, OPT_FLAG, NULL, &o.show_tokens, 0, 0, "print the ids and pieces of the prompt, and run nothing", false },
    { "Answer", "verbose-prompt", 0, OPT_FLAG, NULL, &o.show_prompt, 0, 0, "print the prompt before the answer", true },
    { "Sampling (defaults: the model's generation_config)", "greedy", 0, OPT_FLAG, NULL, &o.greedy, 0, 0, "always the likeliest token", false },
    { "Sampling (defaults: the model's generation_config)", "temp", 0, OPT_FLOAT, "T", &o.temperature, 0, 100, "temperature; 0 is greedy", false },
    { "Sampling (defaults: the model's generation_config)", "top-k", 0, OPT_INT, "K", &o.top_k, 0, 1 << 24, "the K likeliest; 0: all", false },
    { "Sampling (defaults: the model's generation_config)", "top-p", 0, OPT_FLOAT, "P", &o.top_p, 0, 1, "the likeliest that make up P", false },
    { "Sampling (defaults: the model's generation_config)", "min-p", 0, OPT_FLOAT, "P", &o.min_p, 0, 1, "those at least P times as likely as the best", false },
    { "Sampling (defaults: the model's generation_config)", "typical", 0, OPT_FLOAT, "P", &o.typical_p, 0, 1, "locally typical sampling", true },
    { "Sampling (defaults: the model's generation_config)", "repeat-penalty", 0, OPT_FLOAT, "X", &o.repeat_penalty, 0, 100, "make repeated tokens unlikelier (1: off)", true },
    { "Sampling (defaults: the model's generation_config)", "frequency-penalty", 0, OPT_FLOAT, "X", &o.frequency_penalty, -100, 100, "per occurrence", true },
    { "Sampling (defaults: the model's generation_config)", "presence-penalty", 0, OPT_FLOAT, "X", &o.presence_penalty, -100, 100, "once present", true },
    { "Sampling (defaults: the model's generation_config)", "repeat-last-n", 0, OPT_INT, "N", &o.last_n, -1, 1 << 24, "tokens the penalties look back on (default 64, -1: all)", true },
    { "Sampling (defaults: the model's generation_config)", "logit-bias", 0, OPT_STRS, "ID=X", &o.biases, 0, 0, "add X to the logit of token ID; may be given several times", true },
    { "Sampling (defaults: the model's generation_config)", "seed", 0, OPT_U64, "N", &o.seed, 0, 0, "seed of the draws (default 0: the same answer every time)", false },
    { "Models", "list", 0, OPT_FLAG, NULL, &o.list, 0, 0, "the models on this machine, and whether they fit into its memory", false },
    { "Models", "verify", 0, OPT_FLAG, NULL, &o.verify, 0, 0, "read all of MODEL and compare it with the checksums it is stored under", false },
    { "Models", "manifest", 0, OPT_STR, "FILE", &o.manifest, 0, 0, "--verify against FILE, as sha256sum writes it", true },
    { "Machine", "threads", 't', OPT_INT, "N", &o.choice.n_threads, 1, 1024, "threads (default: the cores there are)", false },
    { "Machine", "ctx-size", 'c', OPT_INT, "N", &o.n_ctx, 1, 1 << 28, "tokens the context holds (default: the trained context, at most 4096)", false },
    { "Machine", "batch", 'b', OPT_INT, "N", &o.n_batch, 1, 65536, "prompt tokens computed at once (default 512); changes no result", true },
    { "Machine", "kv-type", 0, OPT_STR, "f16|q8_0|f32", &o.kv_type, 0, 0, "keys and values (default f16)", true },
    { "Machine", "cpu", 0, OPT_STR, "SET", &o.choice.cpu, 0, 0, "kernel set: scalar, avx2, avx512, neon (default: the best there is)", true },
    { "Machine", "save-session", 0, OPT_STR, "FILE", &o.save_path, 0, 0, "keep prompt and answer in FILE", true },
    { "Machine", "restore-session", 0, OPT_STR, "FILE", &o.restore_path, 0, 0, "go on from FILE; the prompt is appended", true },
    { "Machine", "quiet", 'q', OPT_FLAG, NULL, &o.quiet, 0, 0, "no progress and no timings", false },
};
const opt_table run_table = {
    "llm-run", "MODEL [-p TEXT] [-f FILE]", "Runs a GGUF file or a Hugging Face folder. Without -p or -f the prompt is read from standard input.\n" FIND_MODEL_HELP,
    rows, sizeof rows / sizeof rows[0],
    "Ctrl-C stops the answer; what there is of it is kept. A second Ctrl-C ends the program.\n" EXIT_CODES
};

int main(int argc, char **argv)
{
    double started = tool_seconds();
    opt_result r;
    llm_model *m;
    int code;

    tool_name = "llm-run";
    opt_parse(&run_table, argc, argv, &r);
    if (o.list) return list_models();
    if (r.n_operand != 1) opt_fail(&run_table, r.n_operand ? "want one MODEL, got '%s' too" : "want a MODEL%s", r.n_operand ? r.operand[1] : "");
    if (o.think && o.no_think) opt_fail(&run_table, "--think and --no-think exclude each other");
    if (o.verify || o.manifest) return verify_named(r.operand[0], o.manifest);
    o.choice.path = r.operand[0], o.choice.quiet = o.quiet, o.choice.vocab_only = o.show_tokens;
    m = tool_open_model(&o.choice);
    code = run_once(&o, m, started);
    llm_model_close(m);
    return code;
}
