/* llm-run: runs a model on a prompt. The answer goes to stdout, everything else to stderr. This file: options and main. */
#include "find_model.h"
#include "list_models.h"
#include "memory_plan.h"
#include "receipt.h"
#include "run.h"
#include "verify_model.h"
#include <langinfo.h>
#include <locale.h>
#include <string.h>
#include <unistd.h>

static run_options o = { .n_predict = -1, .budget = -1, .cycle = -1, .top_k = -1, .temperature = -1, .top_p = -1, .min_p = -1, .typical_p = -1 };

static const opt_row rows[] = {
    { "Prompt", "model", 'm', OPT_STR, "MODEL", &o.choice.path, 0, 0, "the model, for those who are used to -m", true },
    { "Prompt", "prompt", 'p', OPT_STR, "TEXT", &o.prompt_text, 0, 0, "the prompt", false },
    { "Prompt", "file", 'f', OPT_STR, "FILE", &o.prompt_file, 0, 0, "read a text from FILE (\"-\": standard input); with -p too, it goes before the prompt", false },
    { "Prompt", "system", 0, OPT_STR, "TEXT", &o.system_text, 0, 0, "system message", false },
    { "Prompt", "interactive", 'i', OPT_FLAG, NULL, &o.interactive, 0, 0, "a chat, even with -p or where standard input is no terminal", false },
    { "Prompt", "raw", 0, OPT_FLAG, NULL, &o.raw, 0, 0, "plain completion: no chat format around the prompt", false },
    { "Prompt", "tools", 0, OPT_STR, "FILE", &o.tools_path, 0, 0, "a JSON list of tools the model may call, as OpenAI's interface has them", false },
    { "Prompt", "load", 0, OPT_STR, "FILE", &o.load_path, 0, 0, "go on with a conversation that --save, /save or a program wrote: {\"messages\": [...]}", false },
    { "Prompt", "tool-result", 0, OPT_STRS, "TEXT", &o.results, 0, 0, "with --load: what the tool says that the model called last; once for each call", false },
    { "Prompt", "save", 0, OPT_STR, "FILE", &o.keep_path, 0, 0, "write the conversation to FILE at the end", false },
    { "Prompt", "chat-format", 0, OPT_STR, "NAME", &o.chat_name, 0, 0, "harmony, chatml, gemma, llama3, deepseek, deepseek-llm, llama2 (default: the model's)", true },
    { "Prompt", "date", 0, OPT_STR, "YYYY-MM-DD", &o.date, 0, 0, "the day that templates tell the model (default: today)", true },
    { "Prompt", "trusted", 0, OPT_FLAG, NULL, &o.trusted, 0, 0, "with --raw: the text of control tokens becomes those tokens", true },
    { "Answer", "n-predict", 'n', OPT_INT, "N", &o.n_predict, -1, 1 << 24, "at most N tokens (default: until the model ends or the context is full)", false },
    { "Answer", "stop", 0, OPT_STRS, "TEXT", &o.stops, 0, 0, "end before TEXT; may be given several times", false },
    { "Answer", "ignore-eos", 0, OPT_FLAG, NULL, &o.ignore_end, 0, 0, "go on past the model's end tokens", true },
    { "Answer", "think", 0, OPT_FLAG, NULL, &o.think, 0, 0, "force thinking on, where the family can", false },
    { "Answer", "no-think", 0, OPT_FLAG, NULL, &o.no_think, 0, 0, "force thinking off, where the family can", false },
    { "Answer", "effort", 0, OPT_STR, "low|medium|high", &o.effort, 0, 0, "gpt-oss reasoning effort", false },
    { "Answer", "reasoning-budget", 0, OPT_INT, "N", &o.budget, -1, 1 << 24, "at most N tokens of thinking, then the answer; 0: none; -1: no limit", false },
    { "Answer", "thinking", 0, OPT_STR, "show|hide|count", &o.thinking, 0, 0, "the thinking: on stderr, not at all, or how long it is (default: show in a chat, else count)", false },
    { "Answer", "show-thinking", 0, OPT_FLAG, NULL, &o.show_thinking, 0, 0, "--thinking show", true },
    { "Answer", "hide-thinking", 0, OPT_FLAG, NULL, &o.hide_thinking, 0, 0, "--thinking hide", true },
    { "Answer", "cycle-break", 0, OPT_INT, "N", &o.cycle, 0, 1 << 20, "end what repeats itself N times over, token for token (default 32 in a chat format; 0: never)", true },
    { "Output", "json", 0, OPT_FLAG, NULL, &o.json, 0, 0, "one JSON object a line: start, prompt, reasoning, answer, tool_call, end, error", false },
    { "Output", "color", 0, OPT_STR, "auto|always|never", &o.color, 0, 0, "dim the thinking (default: on terminals, unless NO_COLOR is set)", true },
    { "Output", "no-history", 0, OPT_FLAG, NULL, &o.no_history, 0, 0, "a chat neither reads nor writes the history of typed lines", false },
    { "Output", "show-tokens", 0, OPT_FLAG, NULL, &o.show_tokens, 0, 0, "print the ids and pieces of the prompt, and run nothing", false },
    { "Output", "verbose-prompt", 0, OPT_FLAG, NULL, &o.show_prompt, 0, 0, "print the prompt before the answer", true },
    { "Output", "quiet", 'q', OPT_FLAG, NULL, &o.quiet, 0, 0, "no progress and no timings", false },
    { "Output", "receipt", 0, OPT_STR, "FILE", &o.receipt_path, 0, 0, "write what was run and what came out, for --replay", false },
    { "Output", "replay", 0, OPT_STR, "FILE", &o.replay_path, 0, 0, "run a receipt again (MODEL may be left out) and say whether the answer is identical", false },
    { "Output", "full-hash", 0, OPT_FLAG, NULL, &o.full_hash, 0, 0, "--receipt: hash every byte of the weights, not samples of them", true },
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
    { "Sampling (defaults: the model's generation_config)", "seed", 's', OPT_U64, "N", &o.seed, 0, 0, "seed of the draws (default 0: the same answer every time)", false },
    { "Models", "list", 0, OPT_FLAG, NULL, &o.list, 0, 0, "the models on this machine, and whether they fit into its memory", false },
    { "Models", "verify", 0, OPT_FLAG, NULL, &o.verify, 0, 0, "read all of MODEL and compare it with the checksums it is stored under", false },
    { "Models", "manifest", 0, OPT_STR, "FILE", &o.manifest, 0, 0, "--verify against FILE, as sha256sum writes it", true },
    { "Models", "quant", 0, OPT_STR, "TYPE", &o.choice.quant, 0, 0, "quantize the weights first (q4_k_m, q8_0, ...; llm-quantize --help lists them); the result is kept", false },
    { "Models", "quant-cache", 0, OPT_STR, "DIR", &o.choice.quant_cache, 0, 0, "where it is kept (default: libllm/quantized in $XDG_CACHE_HOME or ~/.cache)", true },
    { "Models", "imatrix", 0, OPT_STR, "FILE", &o.choice.imatrix, 0, 0, "--quant: importance of columns, from llm-eval imatrix or llama-imatrix", true },
    { "Machine", "threads", 't', OPT_INT, "N", &o.choice.n_threads, 1, 1024, "threads (default: the cores there are)", false },
    { "Machine", "pin", 0, OPT_FLAG, NULL, &o.pin, 0, 0, "every thread stays on a core of its own, of those that taskset or numactl leave", true },
    { "Machine", "ctx-size", 'c', OPT_INT, "N", &o.n_ctx, 1, 1 << 28, "tokens the context holds (default: the trained context, at most 4096, more where the prompt needs it)", false },
    { "Machine", "batch", 'b', OPT_INT, "N", &o.n_batch, 1, 65536, "prompt tokens computed at once (default 512); changes no result", true },
    { "Machine", "kv-type", 0, OPT_STR, "f16|q8_0|f8|f32", &o.kv_type, 0, 0, "keys and values (default f16)", true },
    { "Machine", "plan", 0, OPT_FLAG, NULL, &o.plan, 0, 0, "print every buffer that MODEL would take with these options, and run nothing", false },
    { "Machine", "memory-limit", 0, OPT_STR, "SIZE", &o.memory_limit, 0, 0, "refuse what needs more, weights included: 8G, 500M (default: what the system has)", false },
    { "Machine", "allow-paging", 0, OPT_FLAG, NULL, &o.choice.allow_paging, 0, 0, "run though the weights do not fit into memory, and read them from disk again and again", true },
    { "Machine", "no-repack", 0, OPT_FLAG, NULL, &o.choice.no_repack, 0, 0, "read weights where they lie in the file; do not copy them, while generating, into an order that is read faster", true },
    { "Machine", "device", 0, OPT_STR, "cpu|cuda", &o.choice.device, 0, 0, "what computes: the processor (default) or the first NVIDIA GPU", false },
    OFFLOAD_ROWS("Machine", o.choice),
    { "Machine", "deterministic", 0, OPT_FLAG, NULL, &o.deterministic, 0, 0, "on a device: the same bits however the text is cut into batches (slower; the processor always keeps this)", true },
    { "Machine", "cpu", 0, OPT_STR, "SET", &o.choice.cpu, 0, 0, "kernel set: scalar, avx2, avxvnni, avx512, neon, i8mm (default: $LLM_CPU, else the best there is)", true },
    { "Machine", "save-session", 0, OPT_STR, "FILE", &o.save_path, 0, 0, "keep prompt and answer in FILE", true },
    { "Machine", "restore-session", 0, OPT_STR, "FILE", &o.restore_path, 0, 0, "go on from FILE; the prompt is appended", true },
    { "Names from elsewhere", "sys", 0, OPT_ALIAS, "system", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "system-prompt", 0, OPT_ALIAS, "system", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "cnv", 0, OPT_ALIAS, "interactive", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "conversation", 0, OPT_ALIAS, "interactive", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "no-cnv", 0, OPT_ALIAS, "raw", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "no-conversation", 0, OPT_ALIAS, "raw", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "chat-template", 0, OPT_ALIAS, "chat-format", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "predict", 0, OPT_ALIAS, "n-predict", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "reverse-prompt", 0, OPT_ALIAS, "stop", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "nothink", 0, OPT_ALIAS, "no-think", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "reasoning-effort", 0, OPT_ALIAS, "effort", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "hidethinking", 0, OPT_ALIAS, "hide-thinking", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "colour", 0, OPT_ALIAS, "color", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "temperature", 0, OPT_ALIAS, "temp", NULL, 0, 0, NULL, true },
    { "Names from elsewhere", "batch-size", 0, OPT_ALIAS, "batch", NULL, 0, 0, NULL, true },
    OFFLOAD_ALIASES("Names from elsewhere"),
};
const opt_table run_table = {
    "llm-run", "MODEL [TEXT | -p TEXT] [-f FILE]",
    "Runs a GGUF file or a Hugging Face folder: a chat at a terminal, or the answer to one prompt from -p, -f or standard input.\n" FIND_MODEL_HELP,
    rows, sizeof rows / sizeof rows[0],
    "Ctrl-C stops the answer; what there is of it is kept. A second Ctrl-C ends the program.\n" EXIT_CODES
};

/* MODEL, and where no -p or -f says it, a prompt as the second operand. */
static void take_operands(const opt_result *r)
{
    int i = 0;

    if (o.choice.path == NULL && r->n_operand > 0) o.choice.path = r->operand[i++];
    if (o.choice.path == NULL) opt_fail(&run_table, "want a MODEL");
    if (i < r->n_operand && o.prompt_text == NULL && o.prompt_file == NULL) o.prompt_text = r->operand[i++];
    if (i < r->n_operand) opt_fail(&run_table, "want one MODEL, got '%s' too", r->operand[i]);
}

static bool one_of(const char *got, const char *a, const char *b, const char *c)
{
    return got == NULL || strcmp(got, a) == 0 || strcmp(got, b) == 0 || strcmp(got, c) == 0;
}

static bool is_date(const char *s)
{
    int y, m, d, n = 0;
    return sscanf(s, "%4d-%2d-%2d%n", &y, &m, &d, &n) == 3 && n == 10 && s[n] == '\0' && y > 0 && m >= 1 && m <= 12 && d >= 1 && d <= 31;
}

static void check_options(void)
{
    if (!one_of(o.effort, "low", "medium", "high")) opt_fail(&run_table, "--effort: got '%s', want low, medium or high", o.effort);
    if (o.date && !is_date(o.date)) opt_fail(&run_table, "--date: got '%s', want YYYY-MM-DD", o.date);
    if (o.think && o.no_think) opt_fail(&run_table, "--think and --no-think exclude each other");
    if (!one_of(o.thinking, "show", "hide", "count")) opt_fail(&run_table, "--thinking: got '%s', want show, hide or count", o.thinking);
    if (!one_of(o.color, "auto", "always", "never")) opt_fail(&run_table, "--color: got '%s', want auto, always or never", o.color);
    if (o.interactive && o.json) opt_fail(&run_table, "--interactive and --json exclude each other");
    if (o.raw && o.tools_path) opt_fail(&run_table, "--raw and --tools exclude each other");
}

/* Characters are UTF-8 wherever the terminal is told nothing else; numbers stay as in C. */
static void set_characters(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

static int plan_named(void)
{
    llm_session_options s = run_session_options(&o);
    llm_model *m;
    int code;

    o.choice.quiet = o.choice.plan_only = true, o.choice.expect = &s;
    m = tool_open_model(&o.choice);
    code = print_memory_plan(m, &s);
    llm_model_close(m);
    return code;
}

int main(int argc, char **argv)
{
    static llm_session_options expected;
    double started = tool_seconds();
    opt_result r;
    llm_model *m;
    bool chat;
    int code;

    tool_name = "llm-run";
    set_characters();
    opt_parse(&run_table, argc, argv, &r);
    if (o.list) return list_models();
    check_options();
    if (o.replay_path) return receipt_replay(&o, r.n_operand ? r.operand[0] : o.choice.path);
    take_operands(&r);
    if (o.verify || o.manifest) return verify_named(o.choice.path, o.manifest);
    o.choice.memory_limit = tool_bytes(&run_table, "--memory-limit", o.memory_limit);
    if (o.plan) return plan_named();
    chat = o.interactive || (isatty(STDIN_FILENO) && !o.prompt_text && !o.prompt_file && !o.raw && !o.show_tokens && !o.json && !o.load_path);
    if (!chat && isatty(STDIN_FILENO) && !o.prompt_text && !o.prompt_file && !o.load_path)
        opt_fail(&run_table, "want a prompt: -p TEXT, -f FILE or standard input");
    o.choice.quiet = o.quiet, o.choice.vocab_only = o.show_tokens;
    expected = run_session_options(&o), o.choice.expect = &expected;
    m = tool_open_model(&o.choice);
    code = chat ? run_chat(&o, m, started) : run_once(&o, m, started);
    llm_model_close(m);
    return code;
}
