/* Any tokens as a model's output: the first bytes choose family, prompt, budget and cycles, the rest are tokens. Every token is counted
 * once, the events are the messages, and the finished message goes into the history, where its text is no control token. */
#include "fuzz_model.h"
#include "chat_history.h"
#include "json.h"
#include "reply.h"

static const char own[] =
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if m.content is string else '' }}{% for c in m.tool_calls or [] %}"
    "<tool_call>{{ {'name': c.function.name, 'arguments': c.function.arguments}|tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}";
static const char *const prompts[] = { "", "<|start|>assistant", "<|im_start|>assistant\n<think>\n", "<think>",
                                       "<|start|>assistant<|channel|>analysis<|message|>a", "<|turn>model\n<|channel>thought\n" };

/* Is the message one that a conversation takes, and do only the template's tokens control? calls: of that message. */
static void into_history(const chat_model *m, const char *json, size_t len)
{
    llm_chat *c;
    const llm_token *ids;
    const char *whole;
    size_t n, k, controls = 0;
    llm_error err;

    if (history_open(&c, m, &(llm_chat_options){ .size = sizeof(llm_chat_options) }, &err) != LLM_OK) abort();
    if (history_set(c, "add_generation_prompt", "false", 5, &err) != LLM_OK || history_add(c, json, len, &err) != LLM_OK) abort();
    if (history_prompt(c, NULL, 0, &ids, &n, &err) != LLM_OK) abort();
    for (size_t i = 0; i < n; i++) controls += tokenizer_is_control(m->tokenizer, ids[i]);
    if (controls != 2) abort();
    if (history_save(c, &whole, &k, &err) != LLM_OK || k < len) abort();
    history_close(c);
}

static void check_events(const llm_event *ev, size_t n, size_t *open, size_t *texts)
{
    for (size_t i = 0; i < n; i++) {
        if (ev[i].kind == LLM_EVENT_BEGIN && *open) abort();
        if (ev[i].kind != LLM_EVENT_BEGIN && !*open) abort();
        if (ev[i].kind == LLM_EVENT_TEXT) {
            json_t *j = json_stringn(ev[i].text, ev[i].len);
            if (j == NULL) abort();                         /* whole characters */
            json_decref(j);
            *texts += ev[i].len;
        }
        if (ev[i].kind != LLM_EVENT_TEXT) *open = ev[i].kind != LLM_EVENT_END;
    }
}

static void run(const chat_model *m, const uint8_t *data, size_t size)
{
    static const char *const families[] = { "harmony", "qwen", "deepseek", "gemma", "plain" };
    llm_token prompt[64];
    llm_reply_options opt = { .size = sizeof opt, .family = families[data[0] % 5], .prompt = prompt, .budget = data[1] % 64 - 1,
                              .no_nudge = data[1] >> 7, .cycle_repeats = data[2] % 5 * 2 };
    const char *text = prompts[data[0] / 5 % 6], *json;
    const llm_event *ev;
    llm_reply *r;
    llm_reply_stats stats = { 0 };
    llm_over over;
    llm_error err;
    size_t n_ev, len, pushed = 0, open = 0, texts = 0;

    if (tokenizer_encode(m->tokenizer, text, strlen(text), LLM_TOKENIZE_SPECIAL, prompt, 64, &opt.n_prompt, &err) != LLM_OK) abort();
    if (reply_open(&r, m, &opt, &err) != LLM_OK) abort();
    open = strstr(text, "<|message|>") && data[0] % 5 == 0;
    for (size_t i = 3; i + 1 < size;) {
        llm_token t = reply_forced(r);
        if (t < 0) t = (llm_token)((data[i] << 8 | data[i + 1]) % (tokenizer_n_vocab(m->tokenizer) + 2)), i += 2;
        if (reply_push(r, t, &ev, &n_ev, &over, &err) != LLM_OK) abort();
        check_events(ev, n_ev, &open, &texts);
        pushed++;
    }
    if (reply_finish(r, &ev, &n_ev, &err) != LLM_OK) abort();
    check_events(ev, n_ev, &open, &texts);
    reply_stats(r, &stats);
    if (open || stats.n_reasoning + stats.n_answer + stats.n_call + stats.n_format != pushed) abort();
    if (reply_message(r, &json, &len, &err) != LLM_OK) abort();
    into_history(m, json, len);
    reply_close(r);
}

FUZZ_TARGET(reply)
{
    static llm_tokenizer *t;
    static chat_model *m;
    llm_error err;

    if (size < 3 || size > 1 << 14) return;
    if (t == NULL && tokenizer_open_path(&t, "test/data/text/chat_tokens.json", &err) != LLM_OK) abort();
    if (m == NULL && chat_model_make(&m, t, own, NULL, &err) != LLM_OK) abort();
    run(m, data, size);
}
