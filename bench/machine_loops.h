/* machine_loops.h - the loop that products are measured with, whatever the instruction. */
#ifndef BENCH_MACHINE_LOOPS_H
#define BENCH_MACHINE_LOOPS_H
#include <stdint.h>

/* Twelve chains: enough that none waits for its own last instruction. */
#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define CHAIN_START(i) sums a##i = { i };
#define CHAIN_END(i)   all += a##i;

/* uint64_t name(int loops): once a loop STEP(i) adds products of the vectors x and y to each a##i of sums_type, and tells the compiler
 * nothing of what came out. What is returned depends on every chain. */
#define PRODUCT_LOOP(name, sums_type, factor_type, x_value, y_value, STEP) \
    uint64_t name(int loops) \
    { \
        typedef sums_type sums; \
        factor_type x = x_value, y = y_value; \
        sums all = { 0 }; \
        CHAINS(CHAIN_START) \
        for (int k = 0; k < loops; k++) { CHAINS(STEP) } \
        CHAINS(CHAIN_END) \
        return (uint64_t)all[0]; \
    }
#endif
