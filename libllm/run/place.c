#include "place.h"
#include "threads.h"
#include <unistd.h>

typedef struct { const volatile uint8_t *data; size_t page, bytes; } pages;

static void read_pages(void *arg, int64_t begin, int64_t end, int thread)
{
    const pages *p = arg;

    (void)thread;
    for (int64_t i = begin; i < end; i++) (void)p->data[(size_t)i * p->page];
}

/* Rows are dealt out in stretches, a thread one, as matrix products do. */
static void read_matrix(llm_pool *pool, const void *data, size_t bytes)
{
    pages p = { data, (size_t)sysconf(_SC_PAGESIZE), bytes };
    int64_t n = (int64_t)((bytes + p.page - 1) / p.page);

    if (data != NULL) pool_run(pool, n, (n + pool_size(pool) - 1) / pool_size(pool), read_pages, &p);
}

static void read_weight(llm_pool *pool, const llm_tensor *t)
{
    bool stack = t->dim[2] > 1;
    int64_t rows = t->dim[stack];

    for (int64_t e = 0; tensor_bound(t) && e < (stack ? t->dim[0] : 1); e++)
        read_matrix(pool, t->part ? t->part[e] : (const uint8_t *)t->data + (size_t)(e * rows) * t->row_bytes, tensor_span(t, rows));
}

llm_status session_place(llm_session *s, const core_list *l, bool pin, llm_error *err)
{
    const llm_model *m = s->model;
    llm_pool *pool = backend_cpu_pool(&s->be[SITE_HOST]);

    pool_place(pool, l, pin);
    if (l->n_node < 2 || pool_size(pool) < 2 || m->allow_paging) return LLM_OK;
    if (site_of_ends(m) == SITE_HOST) read_weight(pool, &m->embed), read_weight(pool, &m->head);
    for (int il = 0; il < m->config.n_layer; il++) {
        const llm_layer *w = &m->layer[il];
#define X(slot, g, h, a, b, c) if (site_of_weight(m, il, W_##slot) == SITE_HOST) read_weight(pool, &w->slot);
        LLM_LAYER_WEIGHTS(X)
#undef X
        if (m->progress && m->progress(m->user, "reading", (uint64_t)il + 1, (uint64_t)m->config.n_layer))
            return llm_fail(err, LLM_ERR_CANCELLED, "stopped while reading the weights");
    }
    return LLM_OK;
}
