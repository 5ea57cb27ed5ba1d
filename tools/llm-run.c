/* llm-run: runs a model on a prompt. The answer goes to stdout, everything else to stderr. */
#include "answer.h"
#include "common.h"
#include "options.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static model_choice choice;
static const char *prompt_text, *prompt_file, *system_text, *chat_name, *effort, *kv_type, *save_path, *restore_path;
static int n_predict = -1, n_ctx, n_batch, top_k = -1, last_n;
static float temperature = -1, top_p = -1, min_p = -1, typical_p = -1, repeat_penalty, frequency_penalty, presence_penalty;
static uint64_t seed;
static bool raw, show_tokens, show_prompt, quiet, greedy, ignore_end, think, no_think, show_thinking, trusted;
static opt_list stops, biases;

static const opt_row rows[] = {
    { "Prompt", "prompt", 'p', OPT_STR, "TEXT", &prompt_text, 0, 0, "the prompt", false },
    { "Prompt", "file", 'f', OPT_STR, "FILE", &prompt_file, 0, 0, "read a text from FILE (\"-\": standard input); with -p too, it goes before the prompt", false },
    { "Prompt", "system", 's', OPT_STR, "TEXT", &system_text, 0, 0, "system message", false },
    { "Prompt", "raw", 0, OPT_FLAG, NULL, &raw, 0, 0, "plain completion: no chat format around the prompt", false },
    { "Prompt", "chat-format", 0, OPT_STR, "NAME", &chat_name, 0, 0, "harmony, chatml, gemma, llama3, deepseek, deepseek-llm, llama2 (default: the model's)", true },
    { "Prompt", "trusted", 0, OPT_FLAG, NULL, &trusted, 0, 0, "with --raw: the text of control tokens becomes those tokens", true },
    { "Answer", "n-predict", 'n', OPT_INT, "N", &n_predict, -1, 1 << 24, "at most N tokens (default: until the model ends or the context is full)", false },
    { "Answer", "stop", 0, OPT_STRS, "TEXT", &stops, 0, 0, "end before TEXT; may be given several times", false },
    { "Answer", "ignore-eos", 0, OPT_FLAG, NULL, &ignore_end, 0, 0, "go on past the model's end tokens", true },
    { "Answer", "think", 0, OPT_FLAG, NULL, &think, 0, 0, "force thinking on, where the family can", false },
    { "Answer", "no-think", 0, OPT_FLAG, NULL, &no_think, 0, 0, "force thinking off, where the family can", false },
    { "Answer", "effort", 0, OPT_STR, "low|medium|high", &effort, 0, 0, "gpt-oss reasoning effort", false },
    { "Answer", "show-thinking", 0, OPT_FLAG, NULL, &show_thinking, 0, 0, "print gpt-oss analysis on stderr", false },
    { "Answer", "show-tokens", 0, OPT_FLAG, NULL, &show_tokens, 0, 0, "print the ids and pieces of the prompt, and run nothing", false },
    { "Answer", "verbose-prompt", 0, OPT_FLAG, NULL, &show_prompt, 0, 0, "print the prompt before the answer", true },
    { "Sampling (defaults: the model's generation_config)", "greedy", 0, OPT_FLAG, NULL, &greedy, 0, 0, "always the likeliest token", false },
    { "Sampling (defaults: the model's generation_config)", "temp", 0, OPT_FLOAT, "T", &temperature, 0, 100, "temperature; 0 is greedy", false },
    { "Sampling (defaults: the model's generation_config)", "top-k", 0, OPT_INT, "K", &top_k, 0, 1 << 24, "the K likeliest; 0: all", false },
    { "Sampling (defaults: the model's generation_config)", "top-p", 0, OPT_FLOAT, "P", &top_p, 0, 1, "the likeliest that make up P", false },
    { "Sampling (defaults: the model's generation_config)", "min-p", 0, OPT_FLOAT, "P", &min_p, 0, 1, "those at least P times as likely as the best", false },
    { "Sampling (defaults: the model's generation_config)", "typical", 0, OPT_FLOAT, "P", &typical_p, 0, 1, "locally typical sampling", true },
    { "Sampling (defaults: the model's generation_config)", "repeat-penalty", 0, OPT_FLOAT, "X", &repeat_penalty, 0, 100, "make repeated tokens unlikelier (1: off)", true },
    { "Sampling (defaults: the model's generation_config)", "frequency-penalty", 0, OPT_FLOAT, "X", &frequency_penalty, -100, 100, "per occurrence", true },
    { "Sampling (defaults: the model's generation_config)", "presence-penalty", 0, OPT_FLOAT, "X", &presence_penalty, -100, 100, "once present", true },
    { "Sampling (defaults: the model's generation_config)", "repeat-last-n", 0, OPT_INT, "N", &last_n, -1, 1 << 24, "tokens the penalties look back on (default 64, -1: all)", true },
    { "Sampling (defaults: the model's generation_config)", "logit-bias", 0, OPT_STRS, "ID=X", &biases, 0, 0, "add X to the logit of token ID; may be given several times", true },
    { "Sampling (defaults: the model's generation_config)", "seed", 0, OPT_U64, "N", &seed, 0, 0, "seed of the draws (default 0: the same answer every time)", false },
    { "Machine", "threads", 't', OPT_INT, "N", &choice.n_threads, 1, 1024, "threads (default: the cores there are)", false },
    { "Machine", "ctx-size", 'c', OPT_INT, "N", &n_ctx, 1, 1 << 28, "tokens the context holds (default: the trained context, at most 4096)", false },
    { "Machine", "batch", 'b', OPT_INT, "N", &n_batch, 1, 65536, "prompt tokens computed at once (default 512); changes no result", true },
    { "Machine", "kv-type", 0, OPT_STR, "f16|q8_0|f32", &kv_type, 0, 0, "keys and values (default f16)", true },
    { "Machine", "cpu", 0, OPT_STR, "SET", &choice.cpu, 0, 0, "kernel set: scalar, avx2, avx512, neon (default: the best there is)", true },
    { "Machine", "save-session", 0, OPT_STR, "FILE", &save_path, 0, 0, "keep prompt and answer in FILE", true },
    { "Machine", "restore-session", 0, OPT_STR, "FILE", &restore_path, 0, 0, "go on from FILE; the prompt is appended", true },
    { "Machine", "quiet", 'q', OPT_FLAG, NULL, &quiet, 0, 0, "no progress and no timings", false },
};
static const opt_table table = {
    "llm-run", "MODEL [-p TEXT] [-f FILE]", "Runs a GGUF file or a Hugging Face folder. Without -p or -f the prompt is read from standard input.",
    rows, sizeof rows / sizeof rows[0],
    "Ctrl-C stops the answer; what there is of it is kept. A second Ctrl-C ends the program.\n" EXIT_CODES
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    if (interrupted++) _exit(EXIT_INTERRUPTED);
}

/* -f before -p, or standard input; malloc'ed. */
static char *read_prompt(size_t *len)
{
    char *text, *joined;
    size_t extra = prompt_text ? strlen(prompt_text) : 0;

    if (prompt_file == NULL && prompt_text == NULL) {
        if (isatty(STDIN_FILENO)) opt_fail(&table, "want a prompt: -p TEXT, -f FILE or standard input");
        prompt_file = "-";
    }
    if (prompt_file == NULL) {
        text = tool_alloc(extra + 1, 1);
        memcpy(text, prompt_text, extra);
        *len = extra;
        return text;
    }
    text = tool_read_file(prompt_file, len);
    if (prompt_text == NULL) return text;
    joined = tool_alloc(*len + extra + 3, 1);
    memcpy(joined, text, *len);
    memcpy(joined + *len, "\n\n", 2);
    memcpy(joined + *len + 2, prompt_text, extra);
    *len += extra + 2;
    free(text);
    return joined;
}

static llm_token *render(const llm_model *m, const char *text, size_t len, bool first, size_t *n)
{
    llm_chat_message msg[2];
    llm_chat_options opt = { .size = sizeof opt, .format = chat_name, .effort = effort, .think = think ? 1 : no_think ? -1 : 0 };
    size_t n_msg = 0;
    llm_error err;
    llm_token *ids;
    char date[16];
    time_t now = time(NULL);

    if (raw || (chat_name == NULL && llm_chat_format(m) == NULL))
        return tool_tokenize(m, text, len, (first ? LLM_TOKENIZE_BOS : 0u) | (trusted ? LLM_TOKENIZE_SPECIAL : 0u), n);
    if (memchr(text, '\0', len)) tool_die_text(EXIT_FAILED, "the prompt has a NUL byte; use --raw for arbitrary bytes");
    strftime(date, sizeof date, "%Y-%m-%d", localtime(&now));
    opt.date = date;
    if (system_text) msg[n_msg++] = (llm_chat_message){ "system", system_text };
    msg[n_msg++] = (llm_chat_message){ "user", text };
    if (llm_chat_render(m, msg, n_msg, &opt, NULL, 0, n, &err) != LLM_OK) tool_die(&err);
    ids = tool_alloc(*n + 1, sizeof *ids);
    if (llm_chat_render(m, msg, n_msg, &opt, ids, *n, n, &err) != LLM_OK) tool_die(&err);
    return ids;
}

static void print_tokens(const llm_model *m, const llm_token *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const unsigned char *b = (const unsigned char *)llm_token_bytes(m, ids[i], &len);
        printf("%7d  %s\"", ids[i], llm_token_is_control(m, ids[i]) ? "control " : "");
        for (size_t k = 0; k < len; k++) {
            if (b[k] == '"' || b[k] == '\\') printf("\\%c", b[k]);
            else if (b[k] == '\n') printf("\\n");
            else if (b[k] < 0x20 || b[k] == 0x7f) printf("\\x%02x", b[k]);
            else putchar(b[k]);
        }
        printf("\"\n");
    }
}

static llm_sampler *open_sampler(const llm_model *m)
{
    llm_sampler_options o = { .size = sizeof o };
    llm_logit_bias *bias = tool_alloc(biases.n + 1, sizeof *bias);
    llm_sampler *p;
    llm_error err;

    llm_sampler_defaults(m, &o);
    o.seed = seed;
    if (temperature >= 0) o.temperature = temperature;
    if (greedy) o.temperature = 0;
    if (top_k >= 0) o.top_k = top_k;
    if (top_p >= 0) o.top_p = top_p;
    if (min_p >= 0) o.min_p = min_p;
    if (typical_p >= 0) o.typical_p = typical_p;
    if (repeat_penalty > 0) o.repeat_penalty = repeat_penalty;
    if (frequency_penalty != 0) o.frequency_penalty = frequency_penalty;
    if (presence_penalty != 0) o.presence_penalty = presence_penalty;
    if (last_n != 0) o.penalty_last_n = last_n;
    for (size_t i = 0; i < biases.n; i++) {
        char *end, *end2;
        long id = strtol(biases.item[i], &end, 10);
        double x = *end == '=' ? strtod(end + 1, &end2) : 0;
        if (end == biases.item[i] || *end != '=' || end2 == end + 1 || *end2 || id < 0 || id > INT32_MAX || !isfinite(x))
            opt_fail(&table, "--logit-bias: got '%s', want ID=NUMBER", biases.item[i]);
        bias[i] = (llm_logit_bias){ (llm_token)id, (float)x };
    }
    o.bias = bias, o.n_bias = biases.n;
    if (llm_sampler_open(&p, m, &o, &err) != LLM_OK) tool_die(&err);
    free(bias);
    return p;
}

typedef struct { double load, prompt, answer; size_t n_prompt, n_answer; } timings;

static void print_timings(const timings *t)
{
    fprintf(stderr, "load %.2f s | prompt %zu tokens, %.2f s, %.1f tokens/s | answer %zu tokens, %.2f s, %.1f tokens/s\n", t->load,
            t->n_prompt, t->prompt, t->prompt > 0 ? (double)t->n_prompt / t->prompt : 0, t->n_answer, t->answer,
            t->answer > 0 && t->n_answer > 1 ? (double)(t->n_answer - 1) / t->answer : 0);
}

/* Computes the prompt in pieces, so that Ctrl-C is heard and a terminal sees how far it is. */
static void run_prompt(llm_session *s, const llm_token *ids, size_t n)
{
    size_t piece = n_batch > 0 ? (size_t)n_batch : 512, room = (size_t)(llm_session_n_ctx(s) - llm_session_length(s, 0));
    bool terminal = !quiet && isatty(STDERR_FILENO);
    llm_error err;

    if (n > room)
        tool_die_text(EXIT_NO_ROOM, "the prompt has %zu tokens and the context holds %d (%zu free); -c gives a larger one", n, llm_session_n_ctx(s), room);
    for (size_t at = 0; at < n && !interrupted; at += piece) {
        if (llm_session_decode(s, ids + at, n - at < piece ? n - at : piece, &err) != LLM_OK) tool_die(&err);
        if (terminal && n > piece) fprintf(stderr, "\rprompt %3d %%", (int)(100 * (at + piece < n ? at + piece : n) / n));
    }
    if (terminal && n > piece) fprintf(stderr, "\r\033[K");
    if (interrupted) exit(EXIT_INTERRUPTED);
}

/* True when the answer ended because the context is full. */
static bool generate(const llm_model *m, llm_session *s, llm_sampler *p, answer *a, timings *t)
{
    llm_error err;

    for (int i = 0; (n_predict < 0 || i < n_predict) && !interrupted; i++) {
        int pos = llm_session_length(s, 0);
        llm_token id = llm_sampler_pick(p, llm_session_logits(s), (uint64_t)pos, &err);
        if (id < 0) tool_die(&err);
        if (!ignore_end && llm_token_is_end(m, id)) return false;
        t->n_answer++;
        if (answer_push(a, id)) return false;
        if (i + 1 == n_predict) return false;
        if (pos >= llm_session_n_ctx(s)) return true;
        if (llm_sampler_accept(p, id, &err) != LLM_OK || llm_session_decode(s, &id, 1, &err) != LLM_OK) tool_die(&err);
    }
    return false;
}

static llm_session *open_session(llm_model *m)
{
    llm_session_options opt = { .size = sizeof opt, .n_ctx = n_ctx, .n_batch = n_batch, .n_threads = choice.n_threads };
    llm_session *s;
    llm_error err;

    opt.kv_type = tool_kv_type(&table, kv_type);
    if (llm_session_open(&s, m, &opt, &err) != LLM_OK) tool_die(&err);
    if (restore_path && llm_session_restore(s, restore_path, &err) != LLM_OK) tool_die(&err);
    return s;
}

static int run(llm_model *m, double started)
{
    timings t = { 0 };
    size_t len, n;
    char *text = read_prompt(&len);
    llm_session *s = show_tokens ? NULL : open_session(m);
    llm_token *ids = render(m, text, len, s == NULL || llm_session_length(s, 0) == 0, &n);
    answer_options ao = { .out = stdout, .thinking = show_thinking ? stderr : NULL, .stop = stops.item, .n_stop = stops.n };
    llm_sampler *p;
    answer *a;
    llm_error err;
    bool full;

    if (show_tokens) { print_tokens(m, ids, n); free(ids), free(text); return EXIT_OK; }
    if (n == 0) tool_die_text(EXIT_FAILED, "the prompt is empty and this model has no beginning token");
    ao.harmony = !raw && strcmp(chat_name ? chat_name : llm_chat_format(m) ? llm_chat_format(m) : "", "harmony") == 0;
    p = open_sampler(m);
    for (size_t i = 0; i < n; i++)
        if (llm_sampler_accept(p, ids[i], &err) != LLM_OK) tool_die(&err);
    t.load = tool_seconds() - started, t.n_prompt = n;
    signal(SIGINT, on_interrupt);
    run_prompt(s, ids, n);
    t.prompt = tool_seconds() - started - t.load;
    if (show_prompt) fwrite(text, 1, len, stdout);
    a = answer_open(m, &ao);
    full = generate(m, s, p, a, &t);
    answer_close(a);
    t.answer = tool_seconds() - started - t.load - t.prompt;
    fputc('\n', stdout), fflush(stdout);
    if (full) fprintf(stderr, "llm-run: the context of %d tokens is full; -c gives a larger one\n", llm_session_n_ctx(s));
    if (!quiet) print_timings(&t);
    if (save_path && llm_session_save(s, save_path, &err) != LLM_OK) tool_die(&err);
    llm_sampler_close(p);
    llm_session_close(s);
    free(ids), free(text);
    return fflush(stdout) != 0 ? EXIT_FAILED : interrupted && t.n_answer == 0 ? EXIT_INTERRUPTED : EXIT_OK;
}

int main(int argc, char **argv)
{
    double started = tool_seconds();
    opt_result r;
    llm_model *m;
    int code;

    tool_name = "llm-run";
    opt_parse(&table, argc, argv, &r);
    if (r.n_operand != 1) opt_fail(&table, r.n_operand ? "want one MODEL, got '%s' too" : "want a MODEL%s", r.n_operand ? r.operand[1] : "");
    if (think && no_think) opt_fail(&table, "--think and --no-think exclude each other");
    choice.path = r.operand[0], choice.quiet = quiet, choice.vocab_only = show_tokens;
    m = tool_open_model(&choice);
    code = run(m, started);
    llm_model_close(m);
    return code;
}
