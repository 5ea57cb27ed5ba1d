/* api_quantize.c - the public functions that write models. */
#include "api_parts.h"
#include "cache.h"
#include "floats.h"
#include "quantize.h"
#include <stdbool.h>

static llm_status check(const llm_quantize_options *o, const char *fn, bool out, llm_error *err)
{
    if (o->in == NULL || *o->in == 0) return llm_fail(err, LLM_ERR_ARG, "%s: in is missing", fn);
    if (out && (o->out == NULL || *o->out == 0)) return llm_fail(err, LLM_ERR_ARG, "%s: out is missing", fn);
    if (o->type == NULL || *o->type == 0) return llm_fail(err, LLM_ERR_ARG, "%s: type is missing", fn);
    if (o->n_threads < 0 || o->n_threads > 1024) return llm_fail(err, LLM_ERR_ARG, "%s: n_threads is %d, want 0 (default) or 1..1024", fn, o->n_threads);
    return LLM_OK;
}

llm_status llm_quantize(const llm_quantize_options *opt, llm_quantize_result *result, llm_error *err)
{
    STANDARD_FLOATS;
    llm_quantize_options o;
    llm_quantize_result r = { 0 };
    llm_status st;

    if (opt == NULL) return null_arg("llm_quantize", "opt", err);
    if ((st = take(&o, sizeof o, opt, "llm_quantize_options", err)) != LLM_OK || (st = check(&o, "llm_quantize", true, err)) != LLM_OK) return st;
    st = quantize_run(&o, &r, err);
    return st == LLM_OK && result ? give(result, &r, sizeof r) : st;
}

llm_status llm_quantize_cached(const llm_quantize_options *opt, const char *folder, char *path, size_t cap, llm_quantize_result *result, llm_error *err)
{
    STANDARD_FLOATS;
    llm_quantize_options o;
    llm_quantize_result r = { 0 };
    llm_status st;

    if (opt == NULL || folder == NULL || path == NULL) return null_arg("llm_quantize_cached", "opt, folder or path", err);
    if (*folder == 0) return llm_fail(err, LLM_ERR_ARG, "llm_quantize_cached: folder is empty");
    if ((st = take(&o, sizeof o, opt, "llm_quantize_options", err)) != LLM_OK || (st = check(&o, "llm_quantize_cached", false, err)) != LLM_OK) return st;
    st = quant_cached(&o, folder, path, cap, &r, err);
    return st == LLM_OK && result ? give(result, &r, sizeof r) : st;
}
