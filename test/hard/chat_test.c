/* Conversations and replies while the n-th allocation fails, for every n. */
#include "alloc_fail.h"
#include "chat_history.h"
#include "reply.h"
#include <string.h>

static llm_tokenizer *tok;
static const char own[] =
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if m.content is string else '' }}{% for c in m.tool_calls or [] %}"
    "<tool_call>{{ {'name': c.function.name, 'arguments': c.function.arguments}|tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";

static llm_status put(llm_chat *c, const char *json, llm_error *err) { return history_add(c, json, strlen(json), err); }

/* text: a template, or NULL: gpt-oss's own rendering. */
static llm_status render(void *text, llm_error *err)
{
    static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}}}}]";
    llm_chat_options opt = { .size = sizeof opt, .effort = "low", .date = "2026-01-31", .think = 1 };
    llm_token held[600];
    const llm_token *ids;
    const char *json;
    size_t n, len;
    chat_model *m = NULL;
    llm_chat *c = NULL;
    llm_status st = chat_model_make(&m, tok, text, NULL, err);

    if (st == LLM_OK) st = history_open(&c, m, &opt, err);
    if (st == LLM_OK) st = history_set(c, "tools", tools, strlen(tools), err);
    if (st == LLM_OK) st = history_add_text(c, "system", "Be brief.", 9, err);
    if (st == LLM_OK) st = history_add_text(c, "user", "Hi", 2, err);
    if (st == LLM_OK) st = put(c, "{\"role\":\"assistant\",\"content\":\"Look\",\"reasoning_content\":\"r\",\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]}", err);
    if (st == LLM_OK) st = put(c, "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"21\"}", err);
    if (st == LLM_OK) st = history_prompt(c, NULL, 0, &ids, &n, err);
    if (st == LLM_OK && n < 600) {
        memcpy(held, ids, n * sizeof *ids);
        if (n > 10) held[n - 4] = tokenizer_find(tok, "x", 1);
        st = history_prompt(c, held, n, &ids, &n, err);
    }
    if (st == LLM_OK) st = history_save(c, &json, &len, err);
    if (st == LLM_OK) {
        char *copy = strdup(json);
        st = copy ? history_load(c, copy, len, err) : llm_fail_memory(err, len, "a copy");
        free(copy);
    }
    if (st == LLM_OK) st = history_get(c, 1, &json, &len, err);
    history_close(c);
    chat_model_close(m);
    return st;
}

static llm_status take_apart(void *family, llm_error *err)
{
    static const char *const text[] = {
        "<think>\nHm.</think>\n\nHi\xff there <tool_call>{\"name\":\"f\",\"arguments\":{\"a\":[1]}}</tool_call><tool_call><function=f>\n<parameter=a>\n1\n</parameter>\n</function></tool_call><tool_call>x</tool_call><|im_end|>",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json x<|message|>{\"a\":1}<|call|>",
    };
    bool harmony = strcmp(family, "harmony") == 0;
    llm_token ids[600], prompt[64];
    llm_reply_options opt = { .size = sizeof opt, .family = family, .prompt = prompt, .budget = 20, .cycle_repeats = 8 };
    const llm_event *ev;
    const char *json;
    llm_over over;
    size_t n, n_ev, len;
    llm_reply *r = NULL;
    chat_model *m = NULL;
    const char *start = harmony ? "<|start|>assistant<|channel|>analysis<|message|>a<|end|>" : "<|im_start|>assistant\n";
    llm_status st = tokenizer_encode(tok, text[harmony], strlen(text[harmony]), LLM_TOKENIZE_SPECIAL, ids, 600, &n, err);

    if (st == LLM_OK) st = tokenizer_encode(tok, start, strlen(start), LLM_TOKENIZE_SPECIAL, prompt, 64, &opt.n_prompt, err);
    if (st == LLM_OK) st = chat_model_make(&m, tok, NULL, NULL, err);
    if (st == LLM_OK) st = reply_open(&r, m, &opt, err);
    for (size_t i = 0; st == LLM_OK && i < n;) {
        llm_token t = reply_forced(r);
        st = reply_push(r, t >= 0 ? t : ids[i], &ev, &n_ev, &over, err);
        i += t < 0;
    }
    if (st == LLM_OK) st = reply_finish(r, &ev, &n_ev, err);
    if (st == LLM_OK) st = reply_message(r, &json, &len, err);
    reply_close(r);
    chat_model_close(m);
    return st;
}

START_TEST(every_allocation)
{
    static char text[sizeof own], qwen[] = "qwen", harmony[] = "harmony";
    llm_error err;

    memcpy(text, own, sizeof own);
    ck_assert_msg(tokenizer_open_path(&tok, "test/data/text/chat_tokens.json", &err) == LLM_OK, "%s", err.text);
    printf("a conversation by template: %ld allocations\n", alloc_fail_each(render, text));
    printf("a conversation by gpt-oss's format: %ld allocations\n", alloc_fail_each(render, NULL));
    printf("a reply in marks: %ld allocations\n", alloc_fail_each(take_apart, qwen));
    printf("a reply in messages: %ld allocations\n", alloc_fail_each(take_apart, harmony));
    tokenizer_close(tok);
}
END_TEST

LLM_TEST_MAIN("hard/chat", every_allocation)
