/* offload.c - how much of a model its device holds. The last layers go there, as llama.cpp has it, so that logits are made there first of all;
 * of a model with experts that does not fit, rather the routed experts of its first layers stay here: a token reads few of them. */
#include "plan.h"
#include <stdio.h>

enum { AUTO = LLM_GPU_AUTO, ALL = LLM_GPU_ALL, NONE = LLM_GPU_NONE };

llm_place place_of(const llm_model *m, int gpu_layers, int host_experts)
{
    int n = m->config.n_layer;
    return (llm_place){ .n_layer = gpu_layers < n ? gpu_layers : n, .host_experts = host_experts, .whole = gpu_layers > n };
}

int place_most_layers(const llm_model *m, const llm_session_options *o, int most, int host_experts)
{
    int low = 0, high = most > 0 ? most : 0;            /* low fits, high + 1 does not */

    while (low < high) {
        int mid = low + (high - low + 1) / 2;
        if (plan_place_fits(m, place_of(m, mid, host_experts), o)) low = mid; else high = mid - 1;
    }
    return low;
}

int place_fewest_experts(const llm_model *m, const llm_session_options *o)
{
    int all = m->config.n_layer, low = 0, high = all;    /* high fits, low - 1 does not */

    if (!plan_place_fits(m, place_of(m, all + 1, all), o)) return -1;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (plan_place_fits(m, place_of(m, all + 1, mid), o)) high = mid; else low = mid + 1;
    }
    return high;
}

/* As much as fits. host_experts: what was asked for, -1: as few as make everything else fit. */
static llm_place place_auto(const llm_model *m, const llm_session_options *o, int host_experts)
{
    int all = m->config.n_layer;

    if (host_experts < 0 && (host_experts = place_fewest_experts(m, o)) >= 0) return place_of(m, all + 1, host_experts);
    if (host_experts < 0) host_experts = all;
    return place_of(m, place_most_layers(m, o, all + 1, host_experts), host_experts);
}

/* What stays here is said. */
static void tell(const llm_model *m)
{
    const llm_place *p = &m->place;
    char line[200], experts[80] = "";

    if (m->log == NULL || !model_uses(m, SITE_HOST)) return;
    if (p->host_experts > m->config.n_layer - p->n_layer) snprintf(experts, sizeof experts, ", without the experts of the first %d layers", p->host_experts);
    snprintf(line, sizeof line, "%d of %d layers%s run on the device (%.1f MiB of weights)%s; the CPU computes the rest", p->n_layer, m->config.n_layer,
             p->whole ? " and the head" : "", (double)m->placed.device / 1048576, experts);
    m->log(m->user, LLM_LOG_INFO, line);
}

static llm_status range(const llm_model *m, int gpu_layers, int cpu_moe, llm_error *err)
{
    if (gpu_layers < NONE)
        return llm_fail(err, LLM_ERR_ARG, "llm_model_open: gpu_layers is %d, want a number of layers, 0 (auto), -1 (all) or -2 (none)", gpu_layers);
    if (cpu_moe < -1) return llm_fail(err, LLM_ERR_ARG, "llm_model_open: cpu_moe is %d, want a number of layers or -1 (all)", cpu_moe);
    if (cpu_moe != 0 && m->config.n_expert == 0) return llm_fail(err, LLM_ERR_ARG, "llm_model_open: cpu_moe is %d, and the model has no experts", cpu_moe);
    return LLM_OK;
}

llm_status place_model(llm_model *m, int gpu_layers, int cpu_moe, const llm_session_options *o, bool must_fit, llm_error *err)
{
    int n = m->config.n_layer, experts = cpu_moe < 0 || cpu_moe > n ? n : cpu_moe;
    llm_place place;
    llm_status st;

    if ((st = range(m, gpu_layers, cpu_moe, err)) != LLM_OK) return st;
    if (gpu_layers == AUTO && (st = weights_place(m, place_of(m, n + 1, experts), err)) != LLM_OK) return st;    /* auto goes by memory, not by types */
    if (gpu_layers == AUTO) place = place_auto(m, o, cpu_moe == 0 && m->config.n_expert > 0 ? -1 : experts);
    else place = place_of(m, gpu_layers == NONE ? 0 : gpu_layers == ALL || gpu_layers > n ? n + 1 : gpu_layers, experts);
    if (gpu_layers == AUTO && place.n_layer == 0) place = place_of(m, 1, experts);      /* so that the error below says what one layer takes */
    if (place.n_layer == 0) place.host_experts = 0;
    if ((st = weights_place(m, place, err)) != LLM_OK) return st;
    if (!must_fit) return LLM_OK;
    tell(m);
    return plan_device_fits(m, o, err);
}
