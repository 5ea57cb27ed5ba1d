/* api_parts.h - what the files of public functions share: structs that say their size, arguments that are NULL. */
#ifndef LLM_API_PARTS_H
#define LLM_API_PARTS_H
#include "status.h"
#include <string.h>

/* Copies a caller's options into ours [own bytes], which may be older or newer. */
static inline llm_status take(void *ours, size_t own, const void *theirs, const char *name, llm_error *err)
{
    uint32_t size;
    const char *p = theirs;

    memcpy(&size, theirs, sizeof size);
    if (size < sizeof size || size > 1 << 16)
        return llm_fail(err, LLM_ERR_ARG, "%s.size is %u, want sizeof(%s), which is %zu here", name, (unsigned)size, name, own);
    for (size_t i = own; i < size; i++)
        if (p[i] != 0)
            return llm_fail(err, LLM_ERR_UNSUPPORTED, "%s has a field set that this library (%s) does not know", name, LLM_VERSION);
    memset(ours, 0, own);
    memcpy(ours, theirs, size < own ? size : own);
    return LLM_OK;
}

/* Fills a caller's struct from ours [own bytes], as far as it goes. */
static inline llm_status give(void *theirs, const void *ours, size_t own)
{
    uint32_t size;
    char *p = theirs;

    memcpy(&size, theirs, sizeof size);
    if (size < sizeof size || size > 1 << 16) return LLM_ERR_ARG;
    memset(p + sizeof size, 0, size - sizeof size);
    memcpy(p + sizeof size, (const char *)ours + sizeof size, (size < own ? size : own) - sizeof size);
    return LLM_OK;
}

static inline llm_status null_arg(const char *function, const char *what, llm_error *err)
{
    return llm_fail(err, LLM_ERR_ARG, "%s: %s is NULL", function, what);
}
#endif
