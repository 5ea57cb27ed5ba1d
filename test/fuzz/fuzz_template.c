/* Bytes up to the first NUL are a template, those behind it its variables as JSON (an object; none where it is no JSON). */
#include "fuzz.h"
#include "template.h"
#include <string.h>

FUZZ_TARGET(template)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t len = nul ? (size_t)(nul - data) : size;
    const template_options opt = { .max_steps = 200000, .max_output = 1 << 20, .max_memory = 32 << 20, .now = "2026-02-28 13:05:09" };
    template_output out = { 0 };
    llm_template *t = NULL;
    json_t *vars = NULL;
    llm_error err = { 0 };

    if (nul) json_read_text(&vars, (const char *)nul + 1, size - len - 1, "variables", &err);
    if (!json_is_object(vars)) json_decref(vars), vars = json_object();
    if (template_parse(&t, (const char *)data, len, &err) == LLM_OK && template_render(t, vars, &opt, &out, &err) == LLM_OK) {
        size_t at = 0;
        for (size_t i = 0; i < out.n_trusted; i++) {
            if (out.trusted[i].begin < at || out.trusted[i].end <= out.trusted[i].begin || out.trusted[i].end > out.len) abort();
            at = out.trusted[i].end + 1;
        }
    }
    template_output_free(&out);
    template_close(t);
    json_decref(vars);
}
