/* iq_grids.h - codebooks of the IQ1, IQ2 and IQ3 formats (iq_grids.c, generated).
 * An entry holds the code of value j at bit 2j (8 values of IQ1, IQ2) or 3j (4 values of IQ3); the code picks from the
 * format's values (IQ1: -1, 0, 1). */
#ifndef LLM_CPU_IQ_GRIDS_H
#define LLM_CPU_IQ_GRIDS_H
#include <stdint.h>

/* IQ_GRID(name, n): what a grid is declared as, where iq_grids.c is included for a device. */
#ifndef IQ_GRID
#define IQ_GRID(name, n) const uint16_t name[n]
extern const uint16_t iq2_xxs_grid[256], iq2_xs_grid[512], iq2_s_grid[1024];
extern const uint16_t iq3_xxs_grid[256], iq3_s_grid[512], iq1_grid[2048];
#endif

static const uint8_t iq2_value[4] = { 8, 25, 43, 0 };
static const uint8_t iq3_xxs_value[8] = { 4, 12, 20, 28, 36, 44, 52, 62 };
static const uint8_t iq3_s_value[8] = { 1, 3, 5, 7, 9, 11, 13, 15 };
#endif
