/* machine_neon.h - what machine.c measures with on a processor with NEON and dotprod, or i8mm too; compiled for those (the suffix says so). */
#ifndef BENCH_MACHINE_NEON_H
#define BENCH_MACHINE_NEON_H
#include <stddef.h>
#include <stdint.h>

/* Each returns something that depends on all it did. A loop: 12 instructions of 16 products of 8-bit values (i8mm: 32), of 4 of floats. */
uint64_t read_neon(const uint64_t *p, size_t n);
uint64_t int8_neon(int loops);
uint64_t int8_i8mm(int loops);
uint64_t f32_neon(int loops);
#endif
