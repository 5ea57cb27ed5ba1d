/* cuts.c - collecting what stands around character borders inside tokens. */
#include "cuts.h"

void cuts_free(llm_cuts *c)
{
    free(c->window), free(c->edge);
    *c = (llm_cuts){ 0 };
}

llm_status cuts_init(llm_cuts *c, const llm_vocab *v, unsigned types, llm_error *err)
{
    c->window = calloc(CUT_WINDOW_BITS / 64, sizeof *c->window);
    c->edge = calloc(8192, 1);
    if (c->window == NULL || c->edge == NULL) return llm_fail_memory(err, CUT_WINDOW_BITS / 8 + 8192, "a tokenizer");
    for (int id = 0; id < v->n; id++) {
        size_t n;
        const char *s = vocab_bytes(v, id, &n);

        for (size_t k = 1; types >> v->type[id] & 1 && k < n; k++) {
            unsigned pair = (unsigned)(uint8_t)s[k - 1] << 8 | (uint8_t)s[k];

            if ((uint8_t)s[k] < 0xe0) continue;
            if (k < 2 || k + 1 >= n) c->edge[pair >> 3] |= (uint8_t)(1 << (pair & 7));
            else c->window[cut_hash(s + k) >> 6] |= (uint64_t)1 << (cut_hash(s + k) & 63);
        }
    }
    return LLM_OK;
}
