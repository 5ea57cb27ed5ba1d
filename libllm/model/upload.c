/* upload.c - hands every bound weight to the device of the model. */
#include "model.h"
#include <stdlib.h>

static size_t note(llm_tensor **list, size_t n, llm_tensor *t)
{
    if (!tensor_bound(t)) return n;
    list[n] = t;
    return n + 1;
}

llm_status weights_upload(llm_model *m, llm_error *err)
{
    size_t most = 3 + (size_t)m->config.n_layer * W_COUNT, n = 0;
    llm_tensor **list;
    llm_status st;

    if (m->device == NULL) return LLM_OK;
    if ((list = calloc(most, sizeof *list)) == NULL) return llm_fail_memory(err, most * sizeof *list, "the list of weights");
    n = note(list, n, &m->embed), n = note(list, n, &m->out_norm), n = note(list, n, &m->head);
    for (int il = 0; il < m->config.n_layer; il++) {
        llm_layer *l = &m->layer[il];
#define X(slot, g, h, a, b, c) n = note(list, n, &l->slot);
        LLM_LAYER_WEIGHTS(X)
#undef X
    }
    st = device_import(m->device, list, n, m->progress, m->user, err);
    free(list);
    return st;
}
