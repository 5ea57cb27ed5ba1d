/* template_test.c - the published renderings, the language's corners, hostile templates, and what is trusted. */
#include "../llm_test.h"
#include "template.h"
#include <string.h>

/* Renders text with the variables of a JSON text; the caller frees out. */
static llm_status render(const char *text, const char *vars, const template_options *opt, template_output *out, llm_error *err)
{
    llm_template *t;
    json_t *v = NULL;
    llm_status status = json_read_text(&v, vars, strlen(vars), "variables", err);

    ck_assert(status == LLM_OK);
    *out = (template_output){ 0 };
    status = template_parse(&t, text, strlen(text), err);
    if (status == LLM_OK) status = template_render(t, v, opt, out, err);
    template_close(t);
    json_decref(v);
    return status;
}

/* ---- published renderings ---- */

/* Calls f for each line of a file of the data folder; counts true and false. */
static bool each_line(const char *name, bool (*f)(const json_t *), int *good, int *bad)
{
    char path[600], *line = NULL;
    size_t cap = 0;
    ssize_t n;
    FILE *file;

    if (test_data() == NULL) return false;
    snprintf(path, sizeof path, "%s/%s", test_data(), name);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s is missing", path);
    *good = *bad = 0;
    while ((n = getline(&line, &cap, file)) > 0) {
        json_t *o = NULL;
        llm_error err = { 0 };
        if (n < 3) continue;
        ck_assert_msg(json_read_text(&o, line, (size_t)n, name, &err) == LLM_OK, "%s", err.text);
        if (f(o)) ++*good; else ++*bad;
        json_decref(o);
    }
    free(line);
    fclose(file);
    printf("%s: %d match, %d differ\n", name, *good, *bad);
    return true;
}

static bool render_case(const json_t *o, const json_t *vars, const char *bos)
{
    const json_t *text = json_object_get(o, "template"), *want = json_object_get(o, "expected");
    const char *expected = json_string_value(want);
    llm_template *t;
    template_output out = { 0 };
    llm_error err = { 0 };
    llm_status status = template_parse(&t, json_string_value(text), json_string_length(text), &err);
    bool same;

    if (status == LLM_OK) status = template_render(t, vars, NULL, &out, &err);
    template_close(t);
    same = status == LLM_OK && (strcmp(out.text, expected) == 0
           || (bos && strncmp(out.text, bos, strlen(bos)) == 0 && strcmp(out.text + strlen(bos), expected) == 0));
    if (!same) printf("  %s:\n    got  %s\n    want %s\n", json_string_value(json_object_get(o, "name")), status == LLM_OK ? out.text : err.text, expected);
    template_output_free(&out);
    return same;
}

static bool language_case(const json_t *o) { return render_case(o, json_object_get(o, "vars"), NULL); }
static bool chat_case(const json_t *o) { return render_case(o, o, json_string_value(json_object_get(o, "bos_token"))); }

static bool parse_only(const json_t *o)
{
    const char *key;
    json_t *text;
    bool all = true;

    json_object_foreach((json_t *)o, key, text) {
        llm_template *t;
        llm_error err = { 0 };
        if (template_parse(&t, json_string_value(text), json_string_length(text), &err) != LLM_OK) printf("  %s: %s\n", key, err.text), all = false;
        template_close(t);
    }
    return all;
}

START_TEST(language_renderings)
{
    int good, bad;
    if (!each_line("renderings/jinja.jsonl", language_case, &good, &bad)) { test_skip("text/template language", "no shared data"); return; }
    ck_assert_int_eq(bad, 0);
    ck_assert_int_ge(good, 195);
}
END_TEST

START_TEST(chat_renderings)
{
    int good, bad;
    if (!each_line("renderings/chat-templates.jsonl", chat_case, &good, &bad)) { test_skip("text/template chats", "no shared data"); return; }
    ck_assert_int_eq(bad, 0);
    ck_assert_int_ge(good, 25);
}
END_TEST

START_TEST(published_templates_parse)
{
    int good, bad;
    if (!each_line("templates/ollama.templates.jsonl", parse_only, &good, &bad)) { test_skip("text/template parse", "no shared data"); return; }
    ck_assert_int_eq(bad, 0);
}
END_TEST

LLM_TEST_MAIN("text/template", language_renderings, chat_renderings, published_templates_parse)
