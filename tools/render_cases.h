/* render_cases.h - llm-eval render: one line of a case file of chat templates, or of gpt-oss's format. */
#ifndef RENDER_CASES_H
#define RENDER_CASES_H
#include "common.h"
#include <jansson.h>

typedef struct {
    const char *path;                   /* of the case file, for messages */
    model_choice *choice;               /* its path: whose vocabulary, or NULL */
    llm_model *model;                   /* opened when a case needs it; the caller closes it */
} render_cases;

/* Runs case c of a line; false, and said on standard output: it fails. */
bool render_case(render_cases *r, const json_t *c, int line);
#endif
