/* status.h - how a failure is reported inside the library. */
#ifndef LLM_BASE_STATUS_H
#define LLM_BASE_STATUS_H
#include "llm.h"

#if defined(__GNUC__)
#define LLM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define LLM_PRINTF(fmt, args)
#endif

/* Writes status and the message into err (may be NULL) and returns status, so
 * that the one who detects a problem says `return llm_fail(err, ...)`. Bytes that
 * are not printable UTF-8 are replaced by '?': the text may quote hostile input. */
llm_status llm_fail(llm_error *err, llm_status status, const char *fmt, ...) LLM_PRINTF(3, 4);

/* The same for an allocation of n bytes for what: LLM_ERR_MEMORY. */
llm_status llm_fail_memory(llm_error *err, size_t n, const char *what);
#endif
