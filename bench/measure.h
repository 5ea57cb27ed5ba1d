/* measure.h - one test of llm-bench on an open model. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H
#include "llm.h"
#include "machine.h"
#include "work.h"

typedef struct { work_test what; int threads; } bench_test;     /* see work.h; threads of the session */
/* pick: after each step of generating the token of every sequence is picked where the logits lie, as a program would (greedily).
 * fill: the depth of a test is not computed: every key and value there is the same made-up one, which takes as long to read.
 * limits: what model and threads could do at best, just now; called before the first repetition and between them. NULL: not wanted. */
typedef struct {
    llm_kv_type kv_type;
    uint64_t memory_limit;
    bool allow_paging, warmup;
    int repetitions;
    bool deterministic, pick, fill;
    machine_limits (*limits)(const llm_model *m, int threads);
} measure_options;

/* Means and standard deviations over the repetitions. rate: tokens of all sequences per second. peak_mib: resident memory at most. device_share: of
 * the time of one more run, by the device's own clock, what passed there between the first and the last op of each step; 0: on the processor.
 * limits: the means of those that were taken, or zeros. */
typedef struct { double seconds, seconds_dev, rate, rate_dev, peak_mib, device_share; machine_limits limits; } measure_result;

/* "pp512", "tg128 x8 @ d4096", "pp512+tg128". */
void measure_name(const work_test *t, char *out, size_t cap);
/* What the session of a test is opened with. */
llm_session_options measure_session(const bench_test *t, const measure_options *o);
/* LLM_ERR_CANCELLED after measure_stop. */
llm_status measure_test(llm_model *m, const bench_test *t, const measure_options *o, measure_result *out, llm_error *err);
void measure_stop(void);                    /* may be called by a signal handler */
bool measure_stopped(void);
#endif
