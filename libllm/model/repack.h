/* repack.h - weights put into the order in which the CPU streams through them (kernels/cpu/pack.h), little by little while a model is used.
 *
 * A file's rows lie one behind the other; one column times such rows reads many places at once, in pages of 4 KiB, and of integer types
 * costs instructions to put rows into lanes. So tensors are copied into one arena of large pages, in the order of the forward pass, and what was copied of the file is let go:
 * there is no second copy but the system's cache of the file, which it may drop. Results are the same, bit for bit, wherever a row is read. A
 * step that generates pays at most a quarter of its own time for it, so that the first token comes as soon as ever.
 *
 * Not done, and said to the log: on request; for the scalar kernels; with a device; where weights may be paged; where less memory is available than
 * the copy takes. Weights laid out anew at load, and types that become floats a row at a time, stay where they are. */
#ifndef LLM_REPACK_H
#define LLM_REPACK_H
#include "model.h"

/* Weights are bound. Nothing is copied yet; where it is not possible m->repack stays NULL. LLM_ERR_MEMORY: the tables, which repack_close frees. */
llm_status repack_open(llm_model *m, llm_error *err);
void repack_close(llm_model *m);
double repack_clock(void);                                      /* seconds */
/* Copies for some seconds, with be's threads; nothing where another session is at it. */
void repack_some(llm_model *m, llm_backend *be, double seconds);
/* All that is left, after a session that is at it; m->progress hears of it. LLM_ERR_CANCELLED. */
llm_status repack_all(llm_model *m, llm_backend *be, llm_error *err);
uint64_t repack_arena(const llm_model *m);                      /* bytes of address space taken */
uint64_t repack_resident(const llm_model *m);                   /* of them, copied so far */
uint64_t repack_tables(const llm_model *m);                     /* bytes beside them */
uint64_t repack_padding(const llm_model *m);                    /* by how much all is larger than it was */
#endif
