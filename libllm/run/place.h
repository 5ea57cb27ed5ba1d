/* place.h - which cores a session's threads run on, and on which memory node the weights come to lie. */
#ifndef LLM_PLACE_H
#define LLM_PLACE_H
#include "cores.h"
#include "session.h"

/* Of what the CPU computes: puts the session's threads on the cores of l (pool_place), and where those lie on several nodes reads the
 * weights once, every thread what it will compute with. The system puts a page of a file on the node of whoever reads it first, so a weight
 * is near its thread from then on; pages that were in memory before stay where they are. One node: nothing is read. */
llm_status session_place(llm_session *s, const core_list *l, bool pin, llm_error *err);
#endif
