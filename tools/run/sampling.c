#include "run.h"
#include <math.h>
#include <stdlib.h>

static void set_options(const run_options *o, const llm_model *m, llm_sampler_options *so)
{
    llm_sampler_defaults(m, so);
    if (o->temperature >= 0) so->temperature = o->temperature;
    if (o->greedy) so->temperature = 0;
    if (o->top_k >= 0) so->top_k = o->top_k;
    if (o->top_p >= 0) so->top_p = o->top_p;
    if (o->min_p >= 0) so->min_p = o->min_p;
    if (o->typical_p >= 0) so->typical_p = o->typical_p;
    if (o->repeat_penalty > 0) so->repeat_penalty = o->repeat_penalty;
    if (o->frequency_penalty != 0) so->frequency_penalty = o->frequency_penalty;
    if (o->presence_penalty != 0) so->presence_penalty = o->presence_penalty;
    if (o->last_n != 0) so->penalty_last_n = o->last_n;
}

void run_sampler_options(const run_options *o, const llm_model *m, uint64_t seed, llm_sampler_options *so)
{
    llm_logit_bias *bias = NULL;

    so->size = sizeof *so;
    set_options(o, m, so);
    so->seed = seed;
    if (o->biases.n > 0) bias = tool_alloc(o->biases.n, sizeof *bias);
    for (size_t i = 0; i < o->biases.n; i++) {
        char *end, *end2;
        long id = strtol(o->biases.item[i], &end, 10);
        double x = *end == '=' ? strtod(end + 1, &end2) : 0;
        if (end == o->biases.item[i] || *end != '=' || end2 == end + 1 || *end2 || id < 0 || id > INT32_MAX || !isfinite(x))
            opt_fail(&run_table, "--logit-bias: got '%s', want ID=NUMBER", o->biases.item[i]);
        bias[i] = (llm_logit_bias){ (llm_token)id, (float)x };
    }
    so->bias = bias, so->n_bias = o->biases.n;
}

llm_sampler *run_open_sampler(const run_options *o, const llm_model *m, uint64_t seed)
{
    llm_sampler_options so;
    llm_sampler *p;
    llm_error err;

    run_sampler_options(o, m, seed, &so);
    if (llm_sampler_open(&p, m, &so, &err) != LLM_OK) tool_die(&err);
    free((void *)(uintptr_t)so.bias);
    return p;
}
