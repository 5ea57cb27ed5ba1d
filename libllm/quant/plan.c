#include "quant_parts.h"
#include <stdlib.h>
#include <string.h>

llm_status plan_add(quant_plan *p, const char *name, const quant_item *item, llm_error *err)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 256;
        quant_item *more = realloc(p->item, cap * sizeof *more);
        if (more == NULL) return llm_fail_memory(err, cap * sizeof *more, "the list of tensors");
        p->item = more, p->cap = cap;
    }
    p->item[p->n] = *item;
    if ((p->item[p->n].name = name_pool_add(&p->text, name, strlen(name))) == NULL) return llm_fail_memory(err, strlen(name), "a tensor's name");
    p->n++;
    return LLM_OK;
}

void plan_free(quant_plan *p)
{
    free(p->item), free(p->owned);
    name_pool_close(&p->text);
    gguf_out_free(&p->out);
    *p = (quant_plan){ 0 };
}

/* ---- types ----------------------------------------------------------------------------- */

static int layer_of(const char *name) { return strncmp(name, "blk.", 4) == 0 ? atoi(name + 4) : -1; }

/* Order of layers, then of names: the one that mixes count tensors in. */
static int by_layer(const void *a, const void *b)
{
    const quant_item *x = *(const quant_item *const *)a, *y = *(const quant_item *const *)b;
    int d = layer_of(x->name) - layer_of(y->name);
    return d ? d : strcmp(x->name, y->name);
}

/* dims without trailing ones in GGUF's order, which are leading ones here. */
static mix_tensor seen_by_mix(const quant_item *it, int value, int down)
{
    int n = it->n_dim;

    for (int i = 0; i < it->n_dim - 1 && it->dim[i] == 1; i++) n--;
    return (mix_tensor){ it->name, n, it->dim[it->n_dim - 1], value, down };
}

bool plan_quantizes(const quant_item *it)
{
    mix_tensor t = seen_by_mix(it, 0, 0);
    return mix_quantizes(&t);
}

static void choose_type(quant_item *it, llm_mix mix, const mix_model *m, int value, int down)
{
    mix_tensor t = seen_by_mix(it, value, down);
    int base = dtype_info(mix_info(mix)->base)->block, block;

    it->dtype = it->stored ? it->stored->dtype : DT_F32, it->fell_back = false;
    if (!mix_quantizes(&t)) return;
    it->dtype = mix_type(mix, m, &t), block = dtype_info(it->dtype)->block;
    it->fell_back = (block == 32 && base == 256 && t.row % 256 != 0) || (it->dtype == DT_F16 && base > 1);
}

llm_status plan_types(quant_plan *p, llm_mix mix, llm_error *err)
{
    quant_item **order = malloc((p->n + 1) * sizeof *order);
    int value = 0, down = 0;

    if (order == NULL) return llm_fail_memory(err, p->n * sizeof *order, "the order of tensors");
    p->mix.n_value = 0;
    for (size_t i = 0; i < p->n; i++) order[i] = &p->item[i], p->mix.n_value += mix_is_value(p->item[i].name);
    qsort(order, p->n, sizeof *order, by_layer);
    for (size_t i = 0; i < p->n; i++) {
        choose_type(order[i], mix, &p->mix, value, down);
        value += mix_is_value(order[i]->name), down += mix_is_down(order[i]->name);
    }
    free(order);
    return LLM_OK;
}
