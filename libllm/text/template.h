/* template.h - the Jinja subset of published chat templates, as a closed evaluator.
 *
 * The language is Jinja's with trim_blocks, lstrip_blocks and the loopcontrols extension on, and raise_exception, strftime_now,
 * tojson and from_json, as Hugging Face transformers sets it up. A template sees the variables it is given and nothing else.
 * Every byte of the output knows whether it was written by the template or came from a variable ("input marking"). */
#ifndef LLM_TEMPLATE_H
#define LLM_TEMPLATE_H
#include "json.h"
#include "text_span.h"
#include <stdbool.h>

typedef struct llm_template llm_template;

/* text [len] is copied. The message names line and column. */
llm_status template_parse(llm_template **out, const char *text, size_t len, llm_error *err);
void template_close(llm_template *t);

/* Zero means the default in brackets. */
typedef struct {
    size_t max_steps;                   /* [20 million] nodes evaluated, items and bytes handled counted in */
    size_t max_output;                  /* [64 MiB] bytes of output */
    size_t max_memory;                  /* [512 MiB] bytes of values */
    const char *now;                    /* for strftime_now: "YYYY-MM-DD[ HH:MM:SS]"; NULL: the function is an error */
    const json_t *trusted;              /* variables that count as the template's own text: bos_token, eos_token */
} template_options;

typedef struct {
    char *text;                         /* [len], NUL behind it */
    size_t len;
    text_span *trusted;                 /* [n_trusted], ascending, apart from each other: what the template itself wrote */
    size_t n_trusted;
} template_output;

/* vars is an object. out is empty on failure; else the caller's (template_output_free). Thread-safe: t is not changed. */
llm_status template_render(const llm_template *t, const json_t *vars, const template_options *opt, template_output *out, llm_error *err);
void template_output_free(template_output *out);
#endif
