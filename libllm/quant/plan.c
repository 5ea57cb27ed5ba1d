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
