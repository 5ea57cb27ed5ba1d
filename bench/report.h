/* report.h - rows of results as people and programs read them, and their comparison with rows of another day. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H
#include "machine.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *model, *arch, *type, *device, *kernels, *kv_type, *note;    /* note: "" or what is special about the row */
    const char *test;                   /* "pp512", "tg128 x8 @ d4096" */
    uint64_t weight_bytes, n_param;
    int threads, batch;
    double rate, deviation;             /* tokens per second */
    double floor_share;                 /* of the rate that the limits allow; 0: not measured */
    double device_share;                /* of the time, on the device (measure.h); 0: none. In JSON alone */
    double peak_mib;                    /* resident memory at most while the row was measured */
    machine_limits limits;              /* zeros: not measured */
} report_row;

typedef enum { REPORT_MD, REPORT_CSV, REPORT_JSON, REPORT_JSONL, REPORT_LOG } report_form;
bool report_find(const char *name, report_form *out);

typedef struct {
    report_form form;
    json_t *all, *old;                  /* owned; old: rows to compare with, or NULL */
    int n;
} report;

/* compare: a file made with -o json, or NULL. False with a message in why [cap]. */
bool report_open(report *r, report_form form, const char *compare, char *why, size_t cap);
/* Prints the row, for JSON at the end. False: standard output does not take it. */
bool report_add(report *r, const report_row *row);
bool report_close(report *r);           /* prints what is left, also of a report that was not finished */
/* The processor's own name, or what the system calls its kind. */
const char *report_machine(void);
#endif
