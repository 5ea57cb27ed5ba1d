/* receipt.h - a receipt says what was run and what came out, so that it can be run again and compared. */
#ifndef RECEIPT_H
#define RECEIPT_H
#include "talk.h"

/* After a turn. Written to a temporary name, then renamed; dies on failure. */
void receipt_write(talk *t, const turn_result *r, const char *path);
/* llm-run --replay FILE: the model is path, or the one that the receipt names. The exit code: 0 identical. */
int receipt_replay(run_options *o, const char *path);
#endif
