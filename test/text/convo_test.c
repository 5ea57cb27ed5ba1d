/* convo_test.c - output taken apart: the published harmony cases, each family's forms, and every way to cut the text. */
#include "../llm_test.h"
#include "chat_template.h"
#include "convo.h"
#include "harmony_render.h"
#include <string.h>

/* The messages of a finished parser as one text: "[role channel >recipient #type call !error] text". */
static void show(const convo_parser *p, char *out, size_t cap)
{
    size_t n, at = 0;
    const convo_message *m = convo_messages(p, &n);

    out[0] = '\0';
    for (size_t i = 0; i < n && at < cap; i++) {
        ck_assert(m[i].closed && m[i].role && strlen(m[i].text) <= m[i].len);
        at += (size_t)snprintf(out + at, cap - at, "[%s%s%s%s%s%s%s%s%s%s%s%s] %s\n", m[i].role, m[i].name ? "=" : "", m[i].name ? m[i].name : "",
                               m[i].channel ? " " : "", m[i].channel ? m[i].channel : "", m[i].recipient ? " >" : "", m[i].recipient ? m[i].recipient : "",
                               m[i].call ? " call " : "", m[i].call ? m[i].call : "", m[i].error ? " !" : "", m[i].error ? m[i].error : "", "", m[i].text);
    }
}

/* A text in which \1 switches to the spelling of a control token and back; the rest goes in pieces of at most piece bytes. */
static void parse(convo_family family, bool inside, const char *text, size_t piece, char *out, size_t cap)
{
    convo_parser *p;
    bool control = false;

    ck_assert(convo_open(&p, family, family != CONVO_HARMONY && inside, family == CONVO_HARMONY && inside, NULL) == LLM_OK);
    while (*text) {
        size_t n = strcspn(text, "\1");
        for (size_t at = 0; at < n; at += piece) {
            size_t k = control || n - at < piece ? n - at : piece;
            ck_assert(convo_push(p, text + at, k, control, NULL) == LLM_OK);
            if (control) break;
        }
        text += n + (text[n] == '\1'), control = !control;
    }
    ck_assert(convo_finish(p, NULL) == LLM_OK);
    show(p, out, cap);
    convo_close(p);
}

#define C(t) "\1" t "\1"
#define B "\xef\xbd\x9c"
#define S "\xe2\x96\x81"

START_TEST(families)
{
    static const struct { convo_family family; bool inside; const char *text, *want; } c[] = {
        { CONVO_QWEN, false, C("<think>") "\nHm.\n\nSo\n" C("</think>") "\n\nHi\nthere" C("<|im_end|>"), "[assistant analysis] Hm.\n\nSo\n[assistant final] Hi\nthere\n" },
        { CONVO_QWEN, true, "Hm.\n</think>\n\nHi", "[assistant analysis] Hm.\n[assistant final] Hi\n" },
        { CONVO_QWEN, false, "Hm.\n</think>\n\nHi", "[assistant analysis] Hm.\n[assistant final] Hi\n" },
        { CONVO_QWEN, true, "never ends\n", "[assistant analysis !" CONVO_NO_END "] never ends\n" },
        { CONVO_QWEN, false, "Look:\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, \"x\"]}}\n</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":\"{}\"}</tool_call>" C("<|im_end|>"),
          "[assistant final] Look:\n[assistant commentary call f] {\"a\":[1,\"x\"]}\n[assistant commentary call g] {}\n" },
        { CONVO_QWEN, false, "<tool_call>\n<function=f>\n<parameter=a>\nx y\n</parameter>\n<parameter=b>\n[1,2]\n</parameter>\n</function>\n</tool_call>",
          "[assistant commentary call f] {\"a\":\"x y\",\"b\":[1,2]}\n" },
        { CONVO_QWEN, false, "<tool_call>{\"name\": \"f\", \"argu</tool_call> x", "[assistant commentary !" CONVO_BAD_CALL "] {\"name\": \"f\", \"argu\n[assistant final]  x\n" },
        { CONVO_QWEN, false, "<tool_call>{\"name\": \"f\"", "[assistant commentary !" CONVO_CUT_CALL "] {\"name\": \"f\"\n" },
        { CONVO_QWEN, false, "a < b <thin <tool_cal", "[assistant final] a < b <thin <tool_cal\n" },
        { CONVO_QWEN, false, "x" C("<|im_end|>") "\nmore", "[assistant final] x\n[assistant final !" CONVO_AFTER_END "] more\n" },
        { CONVO_QWEN, false, "x</tool_call>y", "[assistant final !" CONVO_STRAY "] x</tool_call>y\n" },
        { CONVO_QWEN, true, "a <tool_call>{}</tool_call></think>b", "[assistant analysis] a <tool_call>{}</tool_call>\n[assistant final] b\n" },
        { CONVO_QWEN, false, "", "" },
        { CONVO_QWEN, false, "\xed\x95\x9c\xed\x95 \xff\xe2\x82", "[assistant final] \xed\x95\x9c\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\n" },
        { CONVO_DEEPSEEK, false, C("<think>") "why" C("</think>") "ok\n\n" C("<" B "tool" S "calls" S "begin" B ">") C("<" B "tool" S "call" S "begin" B ">")
          "function" C("<" B "tool" S "sep" B ">") "f\n```json\n{\"a\": 1}\n```" C("<" B "tool" S "call" S "end" B ">") C("<" B "tool" S "calls" S "end" B ">")
          C("<" B "end" S "of" S "sentence" B ">"), "[assistant analysis] why\n[assistant final] ok\n[assistant commentary call f] {\"a\":1}\n" },
        { CONVO_DEEPSEEK, true, "</think>" C("<" B "tool" S "call" S "begin" B ">") "f" C("<" B "tool" S "sep" B ">") "{\"a\":\"b\"}" C("<" B "tool" S "call" S "end" B ">"),
          "[assistant commentary call f] {\"a\":\"b\"}\n" },
        { CONVO_DEEPSEEK, false, "So.\n\n<" B "DSML" B "function_calls>\n<" B "DSML" B "invoke name=\"f\">\n<" B "DSML" B "parameter name=\"a\" string=\"true\">1</" B "DSML" B "parameter>\n"
          "<" B "DSML" B "parameter name=\"b\" string=\"false\">[2]</" B "DSML" B "parameter>\n</" B "DSML" B "invoke>\n<" B "DSML" B "invoke name=\"g\">\n</" B "DSML" B "invoke>\n</" B "DSML" B "function_calls>",
          "[assistant final] So.\n[assistant commentary call f] {\"a\":\"1\",\"b\":[2]}\n[assistant commentary call g] {}\n" },
        { CONVO_GEMMA, false, C("<|channel>") "thought\nWell.\n" C("<channel|>") "Yes", "[assistant analysis] Well.\n[assistant final] Yes\n" },
        { CONVO_GEMMA, false, C("<|tool_call>") "call:f{a:" C("<|\"|>") "x, {y}" C("<|\"|>") ",b:[1,true],c:{d:null}}" C("<tool_call|>") C("<|tool_response>"),
          "[assistant commentary call f] {\"a\":\"x, {y}\",\"b\":[1,true],\"c\":{\"d\":null}}\n" },
        { CONVO_GEMMA, false, "plain" C("<end_of_turn>"), "[assistant final] plain\n" },
        { CONVO_PLAIN, false, "<think> is text\n", "[assistant final] <think> is text\n\n" },
        { CONVO_HARMONY, true, C("<|channel|>") "analysis" C("<|message|>") "<|end|> is text" C("<|end|>") C("<|start|>") "assistant" C("<|channel|>") "final" C("<|message|>") "4" C("<|return|>"),
          "[assistant analysis] <|end|> is text\n[assistant final] 4\n" },
        { CONVO_HARMONY, false, C("<|start|>") "assistant to=functions.f" C("<|channel|>") "commentary json" C("<|message|>") "{}" C("<|call|>"),
          "[assistant commentary >functions.f call f] {}\n" },
        { CONVO_HARMONY, true, C("<|channel|>") "commentary to=functions.f " C("<|constrain|>") "json" C("<|message|>") "{\"a", "[assistant commentary >functions.f call f !" CONVO_CUT_CALL "] {\"a\n" },
        { CONVO_HARMONY, false, "lost" C("<|start|>") "assistant" C("<|message|>") "a" C("<|start|>") "x", "[assistant !" CONVO_NO_HEADER "] lost\n[assistant !" CONVO_NO_END "] a\n[assistant !" CONVO_NO_HEADER "] x\n" },
        { CONVO_HARMONY, true, C("<|message|>") "a" C("<|channel|>") "b" C("<|end|>"), "[assistant !" CONVO_STRAY "] a<|channel|>b\n" },
    };
    static char got[4096];

    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++)
        for (size_t piece = 1; piece < 40; piece += piece < 9 ? 1 : 15) {
            parse(c[i].family, c[i].inside, c[i].text, piece, got, sizeof got);
            ck_assert_msg(strcmp(got, c[i].want) == 0, "case %zu, pieces of %zu:\n got  %s\n want %s", i, piece, got, c[i].want);
        }
    test_count("output of every family, whatever the cut", (int)(sizeof c / sizeof c[0]), (int)(sizeof c / sizeof c[0]));
}
END_TEST

/* Random sequences of marks and text: a list of messages always, the same for every cut, and no text of a plain sequence is lost. */
START_TEST(random_sequences)
{
    static const char *const unit[] = { "a", " ", "\n", "<", "{\"name\":\"f\",\"arguments\":{}}", C("<|start|>"), C("<|channel|>"), C("<|message|>"), C("<|end|>"), C("<|call|>"), C("<|constrain|>"),
        "<think>", "</think>", "<tool_call>", "</tool_call>", C("<|im_end|>"), "analysis", " to=functions.x", "\xed\x95\x9c", "\xed", "<function=f>", "<parameter=a>", "</parameter>", "</function>",
        "<|channel>thought\n", "<channel|>", "<|tool_call>", "call:f{", "}", "<tool_call|>", "<|\"|>", "<" B "tool" S "call" S "begin" B ">", "<" B "tool" S "sep" B ">", "<" B "tool" S "call" S "end" B ">",
        "<" B "DSML" B "function_calls>", "<" B "DSML" B "invoke name=\"f\">", "</" B "DSML" B "invoke>", "</" B "DSML" B "function_calls>", "```json", "```" };
    static char whole[1 << 16], cut[1 << 16];
    unsigned r = 7;

    for (int round = 0; round < 20000; round++) {
        char text[2048] = "";
        convo_family family = (convo_family)(round % 5);
        bool inside = round / 5 % 2;
        size_t n = 0;
#define RANDOM(m) ((r = r * 1664525u + 1013904223u) >> 16) % (m)
        for (unsigned k = RANDOM(12u); k > 0; k--) {
            const char *u = unit[RANDOM(sizeof unit / sizeof unit[0])];
            size_t len = strlen(u);
            memcpy(text + n, u, len + 1), n += len;
        }
        parse(family, inside, text, 4096, whole, sizeof whole);
        parse(family, inside, text, 1 + (size_t)(round % 3), cut, sizeof cut);
        ck_assert_msg(strcmp(whole, cut) == 0, "family %d, %s:\n whole %s\n cut %s", (int)family, text, whole, cut);
    }
    test_count("random output, whatever the cut", 20000, 20000);
}
END_TEST

/* ---- published harmony cases ---- */

static llm_tokenizer *harmony_tokenizer(void)
{
    char path[600];
    llm_tokenizer *t;
    llm_error err = { 0 };

    snprintf(path, sizeof path, "%s/tokenizers/gpt-oss", test_data());
    ck_assert_msg(tokenizer_open_path(&t, path, &err) == LLM_OK, "%s", err.text);
    return t;
}

static void push_ids(convo_parser *p, const llm_tokenizer *t, const llm_token *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *s = tokenizer_bytes(t, ids[i], &len);
        ck_assert(convo_push(p, s, len, tokenizer_is_control(t, ids[i]), NULL) == LLM_OK);
    }
}

static void push_json(convo_parser *p, const llm_tokenizer *t, const json_t *o)
{
    const json_t *list = json_object_get(o, "ids"), *text = json_object_get(o, "text");
    static llm_token ids[4096];
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(list); i++) ids[n++] = (llm_token)json_integer_value(json_array_get(list, i));
    if (text) ck_assert(tokenizer_encode(t, json_string_value(text), json_string_length(text), LLM_TOKENIZE_SPECIAL, ids, 4096, &n, NULL) == LLM_OK);
    push_ids(p, t, ids, n);
}

static bool same_field(const json_t *want, const char *key, const char *got)
{
    const char *w = json_string_value(json_object_get(want, key));
    bool same = w && got ? strcmp(w, got) == 0 : w == got;
    if (!same) printf("  %s: got %s, want %s\n", key, got ? got : "(none)", w ? w : "(none)");
    return same;
}

static bool harmony_parse_case(const llm_tokenizer *t, const json_t *o)
{
    const json_t *parts = json_object_get(o, "parts"), *want = json_object_get(o, "expected");
    convo_parser *p;
    const convo_message *m;
    size_t n;
    bool same;

    ck_assert(convo_open(&p, CONVO_HARMONY, false, json_is_string(json_object_get(o, "role")), NULL) == LLM_OK);
    push_json(p, t, o);
    for (size_t i = 0; i < json_array_size(parts); i++) push_json(p, t, json_array_get(parts, i));
    ck_assert(convo_finish(p, NULL) == LLM_OK);
    m = convo_messages(p, &n);
    same = n == json_array_size(want);
    for (size_t i = 0; i < n && same; i++) {
        const json_t *w = json_array_get(want, i);
        same = same_field(w, "role", m[i].role) && same_field(w, "content", m[i].text) && same_field(w, "channel", m[i].channel)
               && same_field(w, "recipient", m[i].recipient) && same_field(w, "content_type", m[i].content_type);
    }
    if (!same) printf("  %s: %zu messages\n", json_string_value(json_object_get(o, "test")), n);
    convo_close(p);
    return same;
}

START_TEST(harmony_stream)
{
    char path[600], text[4096];
    static llm_token ids[4096];
    const convo_message *m;
    convo_parser *p;
    llm_tokenizer *t;
    size_t n;
    FILE *f;

    if (test_data() == NULL) { test_skip("text/convo stream", "no shared data"); return; }
    t = harmony_tokenizer();
    snprintf(path, sizeof path, "%s/renderings/harmony-stream.txt", test_data());
    ck_assert((f = fopen(path, "r")) != NULL);
    n = fread(text, 1, sizeof text, f);
    fclose(f);
    ck_assert(tokenizer_encode(t, text, n, LLM_TOKENIZE_SPECIAL, ids, 4096, &n, NULL) == LLM_OK);
    ck_assert(convo_open(&p, CONVO_HARMONY, false, true, NULL) == LLM_OK);
    push_ids(p, t, ids, n);
    ck_assert(convo_finish(p, NULL) == LLM_OK);
    m = convo_messages(p, &n);
    ck_assert_uint_eq(n, 3);
    ck_assert_str_eq(m[0].channel, "analysis");
    ck_assert_str_eq(m[1].call, "browser.search");
    ck_assert_str_eq(m[1].content_type, "code");
    ck_assert_str_eq(m[2].name, "browser.search");
    ck_assert_str_eq(m[2].recipient, "assistant");
    for (size_t i = 0; i < n; i++) ck_assert_ptr_null(m[i].error);
    convo_close(p);
    tokenizer_close(t);
}
END_TEST

static bool harmony_render_case(const llm_tokenizer *t, const json_t *o)
{
    const char *mode = json_string_value(json_object_get(o, "mode")), *want = json_string_value(json_object_get(o, "expected"));
    const char *last = json_string_value(json_object_get(o, "expected_last_token"));
    harmony_mode m = strcmp(mode, "for_completion") == 0 ? HARMONY_COMPLETION : strcmp(mode, "for_training") == 0 ? HARMONY_TRAINING : HARMONY_CONVERSATION;
    static llm_token a[8192], b[8192];
    size_t n_a, n_b;
    template_output out;
    llm_error err = { 0 };
    bool same;

    if (harmony_render(json_object_get(o, "conversation"), m, json_string_value(json_object_get(o, "next_role")),
                       json_is_false(json_object_get(json_object_get(o, "config"), "auto_drop_analysis")), &out, &err) != LLM_OK) return printf("  %s\n", err.text), false;
    same = want ? strcmp(out.text, want) == 0 : strcmp(out.text + out.len - strlen(last), last) == 0;
    if (!same) printf("  %s:\n got  %s\n want %s\n", json_string_value(json_object_get(o, "test")), out.text, want ? want : last);
    /* and the tokens are those of the whole text */
    ck_assert(chat_template_tokens(t, &out, a, 8192, &n_a, &err) == LLM_OK);
    ck_assert(tokenizer_encode(t, out.text, out.len, LLM_TOKENIZE_SPECIAL, b, 8192, &n_b, &err) == LLM_OK);
    if (n_a != n_b || memcmp(a, b, n_a * sizeof *a) != 0) printf("  %s: other tokens\n", json_string_value(json_object_get(o, "test"))), same = false;
    template_output_free(&out);
    return same;
}

/* Bytes of ids; false where one is unknown or they are no UTF-8. */
static bool decode_strictly(const llm_tokenizer *t, const json_t *list, char *out)
{
    size_t n = 0;
    json_t *j;

    for (size_t i = 0; i < json_array_size(list); i++) {
        size_t len;
        const char *s = tokenizer_bytes(t, (llm_token)json_integer_value(json_array_get(list, i)), &len);
        if (len == 0) return false;
        memcpy(out + n, s, len), n += len;
    }
    out[n] = '\0';
    j = json_stringn(out, n);
    json_decref(j);
    return j != NULL;
}

static bool harmony_encode_case(const llm_tokenizer *t, const json_t *o)
{
    const json_t *decode = json_object_get(o, "decode_utf8"), *text = json_object_get(o, "encode"), *want = json_object_get(o, "ids");
    llm_token ids[64];
    size_t n;
    char got[256];

    if (json_object_get(o, "conversation")) return harmony_render_case(t, o);
    if (decode) return decode_strictly(t, decode, got) ? strcmp(got, json_string_value(json_object_get(o, "expected")) ? json_string_value(json_object_get(o, "expected")) : "\1") == 0
                                                       : json_is_true(json_object_get(o, "expected_error"));
    ck_assert(tokenizer_encode(t, json_string_value(text), json_string_length(text),
                               json_object_get(json_object_get(o, "options"), "allowed_special") ? LLM_TOKENIZE_SPECIAL : 0, ids, 64, &n, NULL) == LLM_OK);
    for (size_t i = 0; i < n; i++)
        if (n != json_array_size(want) || ids[i] != json_integer_value(json_array_get(want, i))) return false;
    return n > 0;
}

static void harmony_file(const char *name, bool (*run)(const llm_tokenizer *, const json_t *), int least)
{
    char path[600], *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int good = 0, bad = 0;
    llm_tokenizer *t = harmony_tokenizer();
    FILE *f;

    snprintf(path, sizeof path, "%s/renderings/%s", test_data(), name);
    ck_assert((f = fopen(path, "r")) != NULL);
    while ((len = getline(&line, &cap, f)) > 0) {
        json_t *o = NULL;
        ck_assert(json_read_text(&o, line, (size_t)len, path, NULL) == LLM_OK);
        if (run(t, o)) good++; else bad++, printf("  %s differs\n", json_string_value(json_object_get(o, "test")));
        json_decref(o);
    }
    fclose(f);
    free(line);
    tokenizer_close(t);
    snprintf(path, sizeof path, "renderings/%s", name);
    test_count(path, good, good + bad);
    ck_assert_int_eq(bad, 0);
    ck_assert_int_ge(good, least);
}

START_TEST(harmony_renderings)
{
    if (test_data() == NULL) { test_skip("text/convo renderings", "no shared data"); return; }
    harmony_file("harmony-parse.jsonl", harmony_parse_case, 9);
    harmony_file("harmony-render.jsonl", harmony_render_case, 15);
    harmony_file("harmony-encode.jsonl", harmony_encode_case, 8);
}
END_TEST

LLM_TEST_MAIN("text/convo", families, random_sequences, harmony_stream, harmony_renderings)
