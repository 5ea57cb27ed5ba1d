#include "dtype.h"
#include <strings.h>

/* By id; what is not there has no block. */
static const llm_dtype_info table[] = {
#define X(id, number, name, n, bytes) [number] = { DT_##id, name, n, bytes },
    LLM_DTYPE_LIST(X)
#undef X
};
enum { N_DTYPE = sizeof table / sizeof table[0] };

const llm_dtype_info *dtype_info(int dtype) { return dtype >= 0 && dtype < N_DTYPE && table[dtype].block > 0 ? &table[dtype] : NULL; }

const llm_dtype_info *dtype_find(const char *name)
{
    for (int i = 0; i < N_DTYPE; i++)
        if (table[i].block > 0 && strcasecmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

const char *dtype_name(int dtype)
{
    const llm_dtype_info *t = dtype_info(dtype);
    return t ? t->name : "?";
}

bool dtype_bytes(int dtype, int64_t n, size_t *bytes)
{
    const llm_dtype_info *t = dtype_info(dtype);

    if (t == NULL || n < 0 || n % t->block != 0) return false;
    return ck_mul((size_t)(n / t->block), (size_t)t->block_bytes, bytes);
}
