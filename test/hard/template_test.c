/* Rendering a conversation while the n-th allocation fails, for every n. */
#include "alloc_fail.h"
#include "chat_template.h"
#include <string.h>

static llm_status render(void *arg, llm_error *err)
{
    static const char vars[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"hello\"}],\"x\":[1,2.5,null,\"a\"]}";
    const char *text = arg;
    llm_template *t = NULL;
    template_output out = { 0 };
    json_t *v = NULL;
    llm_status status = json_read_text(&v, vars, strlen(vars), "variables", err);

    if (status == LLM_OK) status = template_parse(&t, text, strlen(text), err);
    if (status == LLM_OK) status = template_render(t, v, NULL, &out, err);
    template_output_free(&out);
    template_close(t);
    json_decref(v);
    return status;
}

START_TEST(every_allocation)
{
    static char text[] = "{% macro j(a) %}{{ a|tojson }}{% endmacro %}{% for m in messages %}{{ m.role ~ ': ' + m.content|upper }}{{ j(x) }}"
                         "{{ 'x' * 20000 }}{{ '[1,{\"a\":2}]'|from_json }}{% endfor %}{{ [3,1,2]|sort }}";
    printf("a conversation: %ld allocations\n", alloc_fail_each(render, text));
}
END_TEST

LLM_TEST_MAIN("hard/template", every_allocation)
