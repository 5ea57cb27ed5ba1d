#include "tensors.h"
#include <stdlib.h>
#include <string.h>

llm_status tensors_reserve(tensor_list *l, size_t more, const char *label, llm_error *err)
{
    size_t need, bytes, cap = l->cap ? l->cap : 16;
    store_tensor *t;

    if (!ck_add(l->n, more, &need) || need > TENSORS_MAX)
        return llm_fail(err, LLM_ERR_FORMAT, "%s: got %zu tensors after %zu in other files, wanted at most %d", label, more, l->n, TENSORS_MAX);
    if (need <= l->cap) return LLM_OK;
    if (cap < need) cap = l->cap > need / 2 ? 2 * l->cap : need;
    bytes = cap * sizeof *t;                            /* cap is below 2 * TENSORS_MAX */
    if ((t = realloc(l->t, bytes)) == NULL) return llm_fail_memory(err, bytes, "the tensor table");
    l->t = t, l->cap = cap;
    return LLM_OK;
}

void tensors_close(tensor_list *l)
{
    free(l->t);
    name_pool_close(&l->text);
    memset(l, 0, sizeof *l);
}

/* By begin, then by end, so that empty ones come before the one that starts at the same byte. */
static int by_place(const void *a, const void *b)
{
    const store_tensor *x = *(const store_tensor *const *)a, *y = *(const store_tensor *const *)b;
    const uint8_t *dx = x->data, *dy = y->data;

    if (dx != dy) return dx < dy ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

llm_status tensors_check_ranges(const tensor_list *l, size_t from, const uint8_t *data, size_t size, bool packed,
                                const char *label, llm_error *err)
{
    size_t n = l->n - from;
    const store_tensor **order;
    const uint8_t *end = data;
    llm_status status = LLM_OK;

    if ((order = malloc((n + 1) * sizeof *order)) == NULL)
        return llm_fail_memory(err, (n + 1) * sizeof *order, "the order of the tensors");
    for (size_t i = 0; i < n; i++) order[i] = &l->t[from + i];
    qsort(order, n, sizeof *order, by_place);
    for (size_t i = 0; i < n && status == LLM_OK; i++) {
        const uint8_t *begin = order[i]->data;
        if (begin < end)
            status = llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.80s' at byte %zu overlaps '%.80s', which ends at byte %zu",
                              label, order[i]->name, (size_t)(begin - data), order[i - 1]->name, (size_t)(end - data));
        else if (packed && begin > end)
            status = llm_fail(err, LLM_ERR_FORMAT, "%s: tensor '%.80s' begins at byte %zu, wanted %zu: no holes", label,
                              order[i]->name, (size_t)(begin - data), (size_t)(end - data));
        end = begin + order[i]->bytes;
    }
    if (status == LLM_OK && packed && (size_t)(end - data) != size)
        status = llm_fail(err, LLM_ERR_FORMAT, "%s: the tensors take %zu bytes, the file has %zu for them", label,
                          (size_t)(end - data), size);
    free(order);
    return status;
}
