/* memory_plan.h - --plan: every buffer of a session, before any weights are read; and sizes as users write them. */
#ifndef TOOL_MEMORY_PLAN_H
#define TOOL_MEMORY_PLAN_H
#include "llm.h"
#include "options.h"

/* Prints the items, their sum, what is available and, where it does not fit, what would. EXIT_OK or EXIT_NO_MEMORY. The model
 * may have been opened with plan_only. */
int print_memory_plan(llm_model *m, const llm_session_options *o);
/* "8G", "500M", "1.5GiB", "1000000": bytes, K, M, G and T being powers of 1024; NULL: 0. A wrong one ends the program. t may be NULL. */
uint64_t tool_bytes(const opt_table *t, const char *option, const char *text);
#endif
