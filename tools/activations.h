/* activations.h - named activations of a forward pass as files, and where two such folders part. */
#ifndef TOOL_ACTIVATIONS_H
#define TOOL_ACTIVATIONS_H
#include "llm.h"
#include <stddef.h>

/* Runs ids [n] in one piece and writes DIR/tap.LAYER.NAME.npy (float32 [n, width]; layer -1 outside layers), and DIR/taps.txt with
 * the files in the order they were computed. DIR is made. Dies on failure. */
void activations_write(llm_session *s, const llm_token *ids, size_t n, const char *dir);
/* Walks the files of a's list that b has too and prints the difference of each (share of its largest value), the last rows compared
 * where their numbers differ. Returns 0 when all are within tol, else 1 after naming the first that is not. Dies when nothing can be compared. */
int activations_compare(const char *a, const char *b, double tol);
#endif
