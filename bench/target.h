/* target.h - where kernel-bench and attend-bench compute: the processor, or with --device cuda the first NVIDIA GPU; what it can do at best,
 * and how long some ops take there. Messages go to standard error behind the program's name. */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H
#include "machine.h"

typedef struct {
    const char *name;                   /* the program's */
    int repeats, n_thread, mb;          /* mb: what a line's weights, or keys and values, fill at least, so that none is in a cache when its turn comes again */
    bool on_device, deterministic;
    const char *set;                    /* kernel set, or NULL */
    char cpu_letter;                    /* of an option that was given and concerns the processor alone; 0: none */
    llm_isa isa;
    machine_limits limits;              /* target_start */
} target;

/* What both programs take: threads, kernel set, repeats, size; --device and --deterministic have no letter. */
#define TARGET_LETTERS "t:k:r:w:"
#define TARGET_USAGE "[--device cpu|cuda [--deterministic]] [-t threads] [-k set] [-r repeats] [-w MB]"

/* The next option, as getopt gives it; those of a target are kept in t. letters: TARGET_LETTERS and the program's own. '?' for a mistake, an
 * operand too; -1 at the end. */
int target_option(target *t, int argc, char **argv, const char *letters);
/* After the options: measures the limits and prints them. 0, or the exit code after a message: 2 for options that do not go together. */
int target_start(target *t);
/* What the limit of float products is measured with. */
const char *target_floats(const target *t);

/* A backend for limits, on the device d for which w [n] are copied there; d is NULL for the processor. False after a message; close both. */
bool target_open(const target *t, llm_device **d, llm_backend *be, llm_tensor **w, size_t n, const llm_limits *limits);
void target_close(llm_device *d, llm_backend *be);      /* zeroed ones are fine */

/* n rows of width values in [-1, 1) in be's memory; data is NULL where there is none left. */
llm_rows target_values(llm_backend *be, int n, int width);
void target_release(llm_backend *be, llm_rows r);

/* The rows of a step: n of one sequence from position pos on, as a prompt is read, or one at pos of each of n sequences, as they generate together. */
typedef struct { llm_batch b; llm_span *span; int32_t *ints; uint8_t *want; } target_rows;
bool target_rows_open(target_rows *r, int n, int pos, bool together);
void target_rows_close(target_rows *r);

/* Least seconds of ops in t->repeats rounds, those not counted in which memory is touched first and steps are recorded. A round is a step over
 * rows: on a device what passes there, by its own clock, from the first op to the last. 0 after a failure and a message. */
double target_seconds(const target *t, llm_backend *be, const target_rows *rows, void (*ops)(void *arg), void *arg);
#endif
