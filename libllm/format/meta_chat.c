#include "meta_chat.h"
#include "file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEMPLATE = 16 << 20 };
static const char key[] = "chat_template";

/* A file of dir as a text; *out stays NULL where it is absent. */
static llm_status text_file(json_t **out, const char *dir, const char *name, llm_error *err)
{
    char *path = file_join(dir, name), *text;
    size_t len;
    llm_status st = path ? LLM_OK : llm_fail_memory(err, 256, "a path");

    if (st == LLM_OK && file_exists(path) && (st = file_read(&text, &len, path, MAX_TEMPLATE, err)) == LLM_OK) {
        if (memchr(text, '\0', len) || (*out = json_stringn(text, len)) == NULL) {
            json_t *room = json_stringn("", 0);             /* wrong bytes, or no memory? */
            st = room ? llm_fail(err, LLM_ERR_FORMAT, "%s: wanted UTF-8 text without NUL", file_label(path)) : llm_fail_memory(err, len, "a template");
            json_decref(room), json_decref(*out), *out = NULL;
        }
        free(text);
    }
    free(path);
    return st;
}

static llm_status set(json_t *o, const char *name, json_t *value, llm_error *err)
{
    return json_object_set(o, name, value) == 0 ? LLM_OK : llm_fail_memory(err, 0, "a template");
}

/* [{"name", "template"}] as {name: template}; the first is the default where none is called so. */
static llm_status by_name(json_t *tokenizer, const json_t *list, llm_error *err)
{
    json_t *o = json_object(), *item;
    llm_status st = o ? LLM_OK : llm_fail_memory(err, 0, "templates");
    size_t i;

    json_array_foreach((json_t *)list, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        json_t *text = json_object_get(item, "template");
        if (st != LLM_OK) break;
        if (name == NULL || !json_is_string(text))
            st = llm_fail(err, LLM_ERR_FORMAT, "tokenizer_config.json: chat_template[%zu]: wanted {\"name\": text, \"template\": text}", i);
        else st = set(o, name, text, err);
    }
    item = json_object_get(json_array_get(list, 0), "template");
    if (st == LLM_OK && item && !json_object_get(o, "default")) st = set(o, "default", item, err);
    if (st == LLM_OK) st = json_object_size(o) > 0 ? set(tokenizer, key, o, err) : (json_object_del(tokenizer, key), LLM_OK);
    json_decref(o);
    return st;
}

/* Puts text in as the default, beside the named ones that are there. */
static llm_status replace_default(json_t *tokenizer, json_t *text, llm_error *err)
{
    json_t *have = json_object_get(tokenizer, key);
    return json_is_object(have) ? set(have, "default", text, err) : set(tokenizer, key, text, err);
}

static llm_status add_named(json_t *tokenizer, const char *name, json_t *text, llm_error *err)
{
    json_t *have = json_object_get(tokenizer, key), *o;
    llm_status st;

    if (json_is_object(have)) return set(have, name, text, err);
    if ((o = json_object()) == NULL) return llm_fail_memory(err, 0, "templates");
    st = set(o, "default", have ? have : text, err);
    if (st == LLM_OK) st = set(o, name, text, err);
    if (st == LLM_OK) st = set(tokenizer, key, o, err);
    json_decref(o);
    return st;
}

static llm_status need_object(json_t **tokenizer, llm_error *err)
{
    if (*tokenizer == NULL) *tokenizer = json_object();
    return *tokenizer ? LLM_OK : llm_fail_memory(err, 0, "metadata");
}

static llm_status processor_file(json_t **tokenizer, const char *dir, llm_error *err)
{
    char *path = file_join(dir, "chat_template.json");
    json_t *o = NULL, *text;
    llm_status st = path ? LLM_OK : llm_fail_memory(err, 256, "a path");

    if (st == LLM_OK && file_exists(path)) st = json_read_file(&o, path, MAX_TEMPLATE, err);
    text = json_object_get(o, key);
    if (st == LLM_OK && json_is_string(text) && (st = need_object(tokenizer, err)) == LLM_OK) st = replace_default(*tokenizer, text, err);
    json_decref(o);
    free(path);
    return st;
}

llm_status meta_chat_templates(json_t **tokenizer, const char *dir, llm_error *err)
{
    static const char *const names[] = { NULL, "default", "tool_use" };
    const json_t *list = json_object_get(*tokenizer, key);
    llm_status st = json_is_array(list) ? by_name(*tokenizer, list, err) : LLM_OK;

    if (st == LLM_OK) st = processor_file(tokenizer, dir, err);
    for (size_t i = 0; st == LLM_OK && i < sizeof names / sizeof names[0]; i++) {
        char file[64] = "chat_template.jinja";
        json_t *text = NULL;
        if (names[i]) snprintf(file, sizeof file, "additional_chat_templates/%s.jinja", names[i]);
        st = text_file(&text, dir, file, err);
        if (text) st = need_object(tokenizer, err);
        if (text && st == LLM_OK) st = names[i] ? add_named(*tokenizer, names[i], text, err) : replace_default(*tokenizer, text, err);
        json_decref(text);
    }
    return st;
}
