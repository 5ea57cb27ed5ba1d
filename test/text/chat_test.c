/* chat_test.c - conversations and replies: what goes in comes out again, whatever the family; budgets, cycles, counts. */
#include "../llm_test.h"
#include "chat_history.h"
#include "json.h"
#include "reply.h"
#include <string.h>

typedef struct { llm_tokenizer *t; char *text; chat_model *m; } family;

static char *read_file(const char *path)
{
    char *text = malloc(1 << 16);
    FILE *f = fopen(path, "r");

    ck_assert_msg(f != NULL, "%s is missing", path);
    text[fread(text, 1, (1 << 16) - 1, f)] = '\0';
    fclose(f);
    return text;
}

/* file NULL: no template. */
static family open_family(const char *tokenizer, const char *file)
{
    family f = { 0 };
    char path[600];
    llm_error err = { 0 };

    snprintf(path, sizeof path, "%s/tokenizers/%s", test_data(), tokenizer);
    ck_assert_msg(tokenizer_open_path(&f.t, path, &err) == LLM_OK, "%s", err.text);
    snprintf(path, sizeof path, "%s/templates/%s", test_data(), file ? file : "");
    if (file) f.text = read_file(path);
    ck_assert_msg(chat_model_make(&f.m, f.t, f.text, NULL, &err) == LLM_OK, "%s", err.text);
    return f;
}

static void close_family(family *f)
{
    chat_model_close(f->m);
    tokenizer_close(f->t);
    free(f->text);
}

/* What a reply said: "answer(..) reasoning(..) call:name(..)", with the errors behind. */
typedef struct { char text[8192]; size_t n; llm_over over; llm_reply_stats stats; char message[8192]; size_t n_token; } outcome;

static void add(outcome *o, const char *s, size_t n)
{
    ck_assert(o->n + n < sizeof o->text);
    memcpy(o->text + o->n, s, n);
    o->text[o->n += n] = '\0';
}

static void show(outcome *o, const llm_event *ev, size_t n)
{
    static const char *const part[] = { "answer", "reasoning", "call", "other" };

    for (size_t i = 0; i < n; i++) {
        const char *name = part[ev[i].part];
        if (ev[i].kind == LLM_EVENT_BEGIN || ev[i].kind == LLM_EVENT_RELABEL) add(o, name, strlen(name));
        if (ev[i].kind == LLM_EVENT_BEGIN && ev[i].name) add(o, ":", 1), add(o, ev[i].name, strlen(ev[i].name));
        if (ev[i].kind == LLM_EVENT_BEGIN) add(o, "(", 1);
        if (ev[i].kind == LLM_EVENT_TEXT) add(o, ev[i].text, ev[i].len);
        if (ev[i].kind == LLM_EVENT_END) {
            add(o, ")", 1);
            if (ev[i].error) add(o, "!", 1), add(o, ev[i].error, strlen(ev[i].error));
        }
    }
}

/* The model writes text (control tokens by their spelling) after the prompt; where the reply forces a token it comes first. */
static outcome reply(const family *f, llm_reply_options opt, const char *text)
{
    static outcome o;
    llm_token ids[4096];
    size_t n, n_ev, n_json;
    const llm_event *ev;
    const char *json;
    llm_reply *r;
    llm_error err = { 0 };

    memset(&o, 0, sizeof o);
    ck_assert_msg(reply_open(&r, f->m, &opt, &err) == LLM_OK, "%s", err.text);
    ck_assert(tokenizer_encode(f->t, text, strlen(text), LLM_TOKENIZE_SPECIAL, ids, 4096, &n, &err) == LLM_OK);
    for (size_t i = 0; i < n && !o.over; o.n_token++) {
        llm_token t = reply_forced(r);
        if (t < 0) t = ids[i++];
        ck_assert_msg(reply_push(r, t, &ev, &n_ev, &o.over, &err) == LLM_OK, "%s", err.text);
        show(&o, ev, n_ev);
    }
    ck_assert(reply_finish(r, &ev, &n_ev, &err) == LLM_OK);
    show(&o, ev, n_ev);
    reply_stats(r, &o.stats);
    ck_assert_uint_eq(o.stats.n_reasoning + o.stats.n_answer + o.stats.n_call + o.stats.n_format, o.n_token);
    ck_assert_msg(reply_message(r, &json, &n_json, &err) == LLM_OK, "%s", err.text);
    ck_assert(n_json < sizeof o.message);
    memcpy(o.message, json, n_json + 1);
    reply_close(r);
    return o;
}

START_TEST(harmony_reply)
{
    static const char prompt[] = "<|start|>user<|message|>Hi<|end|><|start|>assistant";
    llm_token ids[64];
    llm_reply_options opt = { .prompt = ids };
    family f;
    outcome o;

    if (test_data() == NULL) { test_skip("text/chat harmony", "no shared data"); return; }
    f = open_family("gpt-oss", NULL);
    ck_assert(f.m->family == CONVO_HARMONY);
    ck_assert(tokenizer_encode(f.t, prompt, strlen(prompt), LLM_TOKENIZE_SPECIAL, ids, 64, &opt.n_prompt, NULL) == LLM_OK);
    o = reply(&f, opt, "<|channel|>analysis<|message|>Two words.<|end|><|start|>assistant<|channel|>final<|message|>Hello there<|return|>");
    ck_assert_str_eq(o.text, "reasoning(Two words.)answer(Hello there)");
    ck_assert_str_eq(o.message, "{\"role\":\"assistant\",\"reasoning_content\":\"Two words.\",\"content\":\"Hello there\"}");
    ck_assert_int_eq(o.over, LLM_OVER_END);
    ck_assert_uint_eq(o.stats.n_reasoning, 3);
    ck_assert_uint_eq(o.stats.n_answer, 2);
    o = reply(&f, opt, "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\":1}<|call|>");
    ck_assert_str_eq(o.text, "call:f({\"a\":1})");
    ck_assert_int_eq(o.over, LLM_OVER_CALLS);
    opt.budget = 5;
    o = reply(&f, opt, "<|channel|>analysis<|message|>One two three four five six seven");
    ck_assert_str_eq(o.text, "reasoning(One two three four five)answer( six seven)");
    ck_assert_uint_eq(o.stats.n_reasoning, 5);
    ck_assert(o.stats.budget_spent);
    close_family(&f);
}
END_TEST

LLM_TEST_MAIN("text/chat", harmony_reply)
