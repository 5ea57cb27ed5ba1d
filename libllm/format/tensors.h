/* tensors.h - the tensor table that both readers fill, and the check of its byte ranges. */
#ifndef LLM_TENSORS_H
#define LLM_TENSORS_H
#include "names.h"
#include "store.h"

enum { TENSORS_MAX = 1 << 21 };         /* over all files of a store; DeepSeek-V3 with its scales has 92 thousand */

typedef struct {
    store_tensor *t;                    /* [n] */
    size_t n, cap;
    name_pool text;                     /* holds the names */
} tensor_list;

llm_status tensors_reserve(tensor_list *l, size_t more, const char *label, llm_error *err);    /* room for more of them */
void tensors_close(tensor_list *l);

/* Ranges of tensors from..n-1, which lie in data [size]: none overlap. packed: they also leave no hole, from the first
 * byte to the last. label: the file in messages. */
llm_status tensors_check_ranges(const tensor_list *l, size_t from, const uint8_t *data, size_t size, bool packed,
                                const char *label, llm_error *err);
#endif
