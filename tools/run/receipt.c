/* receipt.c - what was run and what came out, as JSON, and running it again.
 *
 * A receipt names the model by hashes (llm_model_get_digests), and holds the tokens of prompt and answer with their hashes (of the ids as
 * little-endian int32), every setting that an answer depends on, and the conversation. Threads, kernel set and batch are not in it:
 * the answer does not depend on them. */
#include "receipt.h"
#include "file_text.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void to_hex(const uint8_t digest[32], char out[65])
{
    for (int i = 0; i < 32; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static void hash_ids(const llm_token *ids, size_t n, char out[65])
{
    uint8_t digest[32], *bytes = tool_alloc(n, 4);

    for (size_t i = 0; i < n; i++)
        for (int b = 0; b < 4; b++) bytes[4 * i + (size_t)b] = (uint8_t)((uint32_t)ids[i] >> 8 * b);
    llm_sha256_bytes(bytes, 4 * n, digest);
    to_hex(digest, out);
    free(bytes);
}

static void model_hashes(const llm_model *m, bool full, char weights[65], char tokenizer[65], char chat[65])
{
    llm_model_digests d = { .size = sizeof d };
    llm_error err;

    if (llm_model_get_digests(m, full, &d, &err) != LLM_OK) tool_die(&err);
    to_hex(d.weights, weights), to_hex(d.tokenizer, tokenizer), to_hex(d.chat_template, chat);
}

/* ---- writing ---- */

static json_t *token_list(const llm_token *ids, size_t n)
{
    json_t *list = json_array(), *all;
    char hash[65];

    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
    hash_ids(ids, n, hash);
    all = json_pack("{s:I, s:s, s:o}", "count", (json_int_t)n, "sha256", hash, "tokens", list);
    return all;
}

static json_t *sampler_object(const talk *t)
{
    llm_sampler_options s;
    json_t *all, *bias = json_array();
    char seed[24];

    run_sampler_options(t->o, t->m, t->seed, &s);
    for (size_t i = 0; i < s.n_bias; i++) json_array_append_new(bias, json_pack("[i, f]", (int)s.bias[i].token, (double)s.bias[i].bias));
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)s.seed);        /* a JSON integer holds 63 bits */
    all = json_pack("{s:s, s:f, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:o}", "seed", seed, "temperature", (double)s.temperature, "top_k", s.top_k,
                    "top_p", (double)s.top_p, "min_p", (double)s.min_p, "typical_p", (double)s.typical_p, "repeat_penalty", (double)s.repeat_penalty,
                    "frequency_penalty", (double)s.frequency_penalty, "presence_penalty", (double)s.presence_penalty,
                    "penalty_last_n", s.penalty_last_n, "logit_bias", bias);
    free((void *)(uintptr_t)s.bias);
    return all;
}

static json_t *model_object(const talk *t)
{
    char weights[65], tokenizer[65], chat[65];
    llm_model_info info = { .size = sizeof info };

    llm_model_get_info(t->m, &info);
    model_hashes(t->m, t->o->full_hash, weights, tokenizer, chat);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "path", t->o->choice.path, "name", info.name, "arch", info.arch,
                     "weights_hashed", t->o->full_hash ? "all" : "samples", "weights", weights, "tokenizer", tokenizer, "chat_template", chat);
}

/* The conversation without the answer; null in plain completion. */
static json_t *conversation_object(talk *t)
{
    const char *text;
    size_t len;
    llm_error err;
    json_t *all, *list;

    if (t->c == NULL || llm_chat_save(t->c, &text, &len, &err) != LLM_OK || (all = json_loadb(text, len, 0, NULL)) == NULL) return json_null();
    list = json_object_get(all, "messages");
    if (json_array_size(list) > 0) json_array_remove(list, json_array_size(list) - 1);
    return all;
}

static json_t *settings_object(const talk *t)
{
    const run_options *o = t->o;
    json_t *stop = json_array();
    char date[16];

    talk_date(o, date);
    for (size_t i = 0; i < o->stops.n; i++) json_array_append_new(stop, json_string(o->stops.item[i]));
    return json_pack("{s:s, s:i, s:s*, s:s*, s:s, s:i, s:b, s:b, s:i, s:i, s:o}", "kv_type", o->kv_type ? o->kv_type : "f16", "context", llm_session_n_ctx(t->s),
                     "chat_format", o->chat_name, "effort", o->effort, "date", date, "think", o->think ? 1 : o->no_think ? -1 : 0,
                     "plain", t->c == NULL, "ignore_eos", (int)o->ignore_end, "reasoning_budget", o->budget,
                     "cycle_break", turn_cycle(t), "stop", stop);
}

void receipt_write(talk *t, const turn_result *r, const char *path)
{
    json_t *all = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "receipt", 1, "libllm", llm_version(), "model", model_object(t),
                            "settings", settings_object(t), "sampler", sampler_object(t), "conversation", conversation_object(t),
                            "prompt", token_list(t->prompt, t->n_prompt), "answer", token_list(t->made, t->n_made), "finish_reason", r->finish);
    char *text = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    llm_error err;

    if (text == NULL) tool_die_text(EXIT_FAILED, "%s: the receipt cannot be written: out of memory, or a text that is not UTF-8", path);
    if (text_file_write(path, text, strlen(text), &err) != LLM_OK) tool_die_text(EXIT_FAILED, "%s", err.text);
    free(text);
    json_decref(all);
}

/* ---- reading ---- */

typedef struct { const char *path; json_t *all; } receipt;

static json_t *need(const receipt *r, const char *in, const char *key, json_type type)
{
    json_t *from = in ? json_object_get(r->all, in) : r->all, *v = json_object_get(from, key);

    if (v && (json_typeof(v) == type || (type == JSON_REAL && json_is_number(v)) || (type == JSON_TRUE && json_is_boolean(v)))) return v;
    tool_die_text(EXIT_FAILED, "%s: not a receipt: %s%s%s is missing or of the wrong type", r->path, in ? in : "", in ? "." : "", key);
}

static const char *need_text(const receipt *r, const char *in, const char *key) { return json_string_value(need(r, in, key, JSON_STRING)); }

static int need_int(const receipt *r, const char *in, const char *key, int min, int max)
{
    json_int_t v = json_integer_value(need(r, in, key, JSON_INTEGER));

    if (v < min || v > max) tool_die_text(EXIT_FAILED, "%s: %s.%s is %lld, want %d to %d", r->path, in, key, (long long)v, min, max);
    return (int)v;
}

static float need_float(const receipt *r, const char *key)
{
    double v = json_number_value(need(r, "sampler", key, JSON_REAL));

    if (!isfinite(v) || fabs(v) > 1e9) tool_die_text(EXIT_FAILED, "%s: sampler.%s is %g", r->path, key, v);
    return (float)v;
}

static llm_token *need_tokens(const receipt *r, const char *part, size_t *n)
{
    json_t *list = need(r, part, "tokens", JSON_ARRAY), *v;
    llm_token *ids = tool_alloc(json_array_size(list), sizeof *ids);
    char hash[65];
    size_t i;

    json_array_foreach(list, i, v) {
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id > INT32_MAX) tool_die_text(EXIT_FAILED, "%s: token %zu of the %s is not a number", r->path, i, part);
        ids[i] = (llm_token)id;
    }
    *n = json_array_size(list);
    hash_ids(ids, *n, hash);
    if (strcmp(hash, need_text(r, part, "sha256")) != 0)
        tool_die_text(EXIT_FAILED, "%s: the receipt was changed: the tokens of the %s have another hash", r->path, part);
    return ids;
}

/* The options of the recorded run; n_answer tokens are made at most. texts [n_text] keep what options point to. */
static void take_settings(const receipt *r, run_options *o, size_t n_answer)
{
    json_t *stop = need(r, "settings", "stop", JSON_ARRAY), *bias = need(r, "sampler", "logit_bias", JSON_ARRAY), *v;
    const char *seed = need_text(r, "sampler", "seed"), *date = need_text(r, "settings", "date");
    const json_t *settings = json_object_get(r->all, "settings");
    int think = need_int(r, "settings", "think", -1, 1);
    char *end;
    size_t i;

    o->chat_name = json_string_value(json_object_get(settings, "chat_format")), o->effort = json_string_value(json_object_get(settings, "effort"));
    o->date = date, o->think = think > 0, o->no_think = think < 0;

    o->kv_type = need_text(r, "settings", "kv_type");
    o->n_ctx = need_int(r, "settings", "context", 1, 1 << 28);
    o->raw = json_is_true(need(r, "settings", "plain", JSON_TRUE)), o->ignore_end = json_is_true(need(r, "settings", "ignore_eos", JSON_TRUE));
    o->budget = need_int(r, "settings", "reasoning_budget", -1, 1 << 24), o->cycle = need_int(r, "settings", "cycle_break", 0, 1 << 20);
    o->n_predict = (int)n_answer;
    o->seed = strtoull(seed, &end, 10);
    if (*seed == '\0' || *end != '\0') tool_die_text(EXIT_FAILED, "%s: sampler.seed is '%s'", r->path, seed);
    o->temperature = need_float(r, "temperature"), o->top_p = need_float(r, "top_p"), o->min_p = need_float(r, "min_p"), o->typical_p = need_float(r, "typical_p");
    o->top_k = need_int(r, "sampler", "top_k", 0, 1 << 24), o->last_n = need_int(r, "sampler", "penalty_last_n", -1, 1 << 24);
    o->repeat_penalty = need_float(r, "repeat_penalty"), o->frequency_penalty = need_float(r, "frequency_penalty");
    o->presence_penalty = need_float(r, "presence_penalty"), o->greedy = false;
    o->stops = (opt_list){ .item = tool_alloc(json_array_size(stop), sizeof *o->stops.item) };
    json_array_foreach(stop, i, v)
        if (json_is_string(v)) o->stops.item[o->stops.n++] = json_string_value(v);
    o->biases = (opt_list){ .item = tool_alloc(json_array_size(bias), sizeof *o->biases.item) };
    json_array_foreach(bias, i, v) {
        char *text = tool_alloc(64, 1);
        snprintf(text, 64, "%lld=%.9g", (long long)json_integer_value(json_array_get(v, 0)), json_number_value(json_array_get(v, 1)));
        o->biases.item[o->biases.n++] = text;
    }
}

/* ---- replay ---- */

/* What is not as it was; printed where the answer differs, and as a note where it does not. Returns how much that is. */
static int differences(const receipt *r, const llm_model *m, FILE *f)
{
    char weights[65], tokenizer[65], chat[65];
    bool full = strcmp(need_text(r, "model", "weights_hashed"), "all") == 0;
    int n = 0;

    model_hashes(m, full, weights, tokenizer, chat);
    if (strcmp(weights, need_text(r, "model", "weights")) != 0) fprintf(f, "  the weights are others\n"), n++;
    if (strcmp(tokenizer, need_text(r, "model", "tokenizer")) != 0) fprintf(f, "  the tokenizer is another\n"), n++;
    if (strcmp(chat, need_text(r, "model", "chat_template")) != 0) fprintf(f, "  the chat template is another\n"), n++;
    if (strcmp(llm_version(), need_text(r, NULL, "libllm")) != 0)
        fprintf(f, "  the receipt was made by libllm %s, this is %s\n", need_text(r, NULL, "libllm"), llm_version()), n++;
    return n;
}

/* The conversation, rendered now: are these the recorded tokens? */
static bool same_prompt(const receipt *r, talk *t, const llm_token *ids, size_t n)
{
    json_t *conversation = json_object_get(r->all, "conversation");
    const llm_token *now;
    size_t n_now;
    char *text;
    llm_error err;
    bool same;

    if (t->c == NULL || !json_is_object(conversation) || (text = json_dumps(conversation, JSON_COMPACT)) == NULL) return true;
    same = llm_chat_load(t->c, text, strlen(text), &err) == LLM_OK && llm_chat_prompt(t->c, ids, n, &now, &n_now, &err) == LLM_OK && n_now <= n &&
           memcmp(now, ids + (n - n_now), n_now * sizeof *ids) == 0;
    free(text);
    return same;
}

static void print_token(const llm_model *m, llm_token id)
{
    size_t len;
    const char *b = llm_token_bytes(m, id, &len);

    printf("%d \"", id);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)b[i] < 0x20) printf("\\x%02x", b[i]);
        else putchar(b[i]);
    putchar('"');
}

static int verdict(const receipt *r, talk *t, const llm_token *want, size_t n_want, bool same)
{
    size_t at = 0, n = n_want < t->n_made ? n_want : t->n_made;
    int other;

    while (at < n && want[at] == t->made[at]) at++;
    if (at == n_want && t->n_made == n_want) {
        printf("identical: %zu tokens of prompt, %zu of answer\n", t->n_prompt, n_want);
        if (!same) printf("  but the conversation is rendered to other tokens now\n");
        differences(r, t->m, stdout);
        return EXIT_OK;
    }
    printf("differs at token %zu of %zu of the answer: recorded ", at, n_want);
    if (at < n_want) print_token(t->m, want[at]);
    else printf("the end");
    printf(", now ");
    if (at < t->n_made) print_token(t->m, t->made[at]);
    else printf("the end");
    printf("\nbecause\n");
    other = differences(r, t->m, stdout);
    if (other == 0) printf("  of nothing that the receipt records: another machine's mathematical library, or changed settings\n");
    return EXIT_FAILED;
}

static FILE *nowhere(void)
{
    FILE *f = fopen("/dev/null", "w");

    if (f == NULL) tool_die_text(EXIT_FAILED, "/dev/null cannot be opened");
    return f;
}

int receipt_replay(run_options *o, const char *path)
{
    receipt r = { .path = o->replay_path };
    show_options look = { .thinking = THINK_HIDE, .quiet = true };
    llm_token *want, *prompt;
    size_t n_want, n_prompt, len;
    turn_result result = { 0 };
    llm_error err;
    json_error_t why;
    char *text;
    llm_model *m;
    talk t;
    bool same;
    int code;

    if ((text = text_file_read(r.path, &len, &err)) == NULL) tool_die(&err);
    if ((r.all = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why)) == NULL) tool_die_text(EXIT_FAILED, "%s: line %d: %s", r.path, why.line, why.text);
    if (json_integer_value(need(&r, NULL, "receipt", JSON_INTEGER)) != 1) tool_die_text(EXIT_FAILED, "%s: a receipt of a later version", r.path);
    want = need_tokens(&r, "answer", &n_want), prompt = need_tokens(&r, "prompt", &n_prompt);
    if (n_prompt == 0 || n_want > 1 << 24) tool_die_text(EXIT_FAILED, "%s: not a receipt: no prompt, or too long an answer", r.path);
    take_settings(&r, o, n_want);
    o->choice.path = path ? path : need_text(&r, "model", "path"), o->choice.quiet = true;
    look.out = look.think = nowhere();
    m = tool_open_model(&o->choice);
    talk_open(&t, o, m, show_open(&look));
    same = same_prompt(&r, &t, prompt, n_prompt);
    run_catch_interrupt();
    if (talk_session(&t, n_prompt, &err) != LLM_OK) tool_die(&err);
    t.prompt = prompt, t.n_prompt = n_prompt;
    if (talk_compute(&t, o->seed, &result, &err) == LLM_OK) code = verdict(&r, &t, want, n_want, same);
    else printf("cannot be run again: %s\n", err.text), differences(&r, m, stdout), code = tool_exit_code(err.status);
    show_close(t.out);
    fclose(look.out);
    talk_close(&t);
    llm_model_close(m);
    for (size_t i = 0; i < o->biases.n; i++) free((void *)(uintptr_t)o->biases.item[i]);
    free(o->biases.item), free(o->stops.item), free(want), free(text);
    json_decref(r.all);
    return code;
}
