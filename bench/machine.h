/* machine.h - what this machine can do at best, measured: the yardstick of every bench. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H
#include "backend.h"

/* read_gbs: all threads streaming through their own huge-page memory, 1e9 bytes per second.
 * int8_gops: multiplications and additions of 8-bit values on registers, 1e9 per second: by the instruction that sums four products
 * (VNNI, dotprod), else AVX2's products of byte pairs, widened one by one; codes of 4 bits allow several before they are widened, so
 * that their products can come out above it. f32_gflops: fused multiply-adds, counted as two. */
typedef struct { double read_gbs, int8_gops, f32_gflops; } machine_limits;

double machine_seconds(void);                   /* a clock that only goes forward */
int limits_cores(void);                         /* cores this process may use */
/* Takes about half a second with all threads busy; zeros where memory or threads cannot be had. */
machine_limits limits_measure(int n_thread);
/* The same of a device: f32_gflops is then what its matrix instructions do with halves (device_limits). */
llm_status limits_of_device(llm_device *d, machine_limits *out, llm_error *err);
#endif
