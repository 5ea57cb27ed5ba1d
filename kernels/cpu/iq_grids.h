/* iq_grids.h - codebooks of the IQ1, IQ2 and IQ3 formats (iq_grids.c, generated).
 * The file has an entry as codes: that of value j at bit 2j (8 values of IQ1, IQ2) or 3j (4 values of IQ3); a code picks from the format's values (IQ1: -1, 0,
 * 1). Here an entry is spread: byte j has the value itself, of IQ1 eight times the code. */
#ifndef LLM_CPU_IQ_GRIDS_H
#define LLM_CPU_IQ_GRIDS_H
#include <stdint.h>

/* IQ_GRID(name, n, kind): what a grid is declared as, where iq_grids.c is included for a device, whose grids have entries IQ1(codes), IQ2(codes) ... */
#ifndef IQ_GRID
#define IQ_GRID(name, n, kind) const kind##_entry name[n]
typedef uint64_t IQ1_entry, IQ2_entry;
typedef uint32_t IQ3_XXS_entry, IQ3_S_entry;
extern const uint64_t iq2_xxs_grid[256], iq2_xs_grid[512], iq2_s_grid[1024], iq1_grid[2048];
extern const uint32_t iq3_xxs_grid[256], iq3_s_grid[512];

#define IQ_BYTE(value, type, codes, bits, j) (type)value((codes) >> (bits) * (j) & ((1 << (bits)) - 1)) << 8 * (j)
#define IQ_FOUR(value, type, codes, bits) \
    (IQ_BYTE(value, type, codes, bits, 0) | IQ_BYTE(value, type, codes, bits, 1) | IQ_BYTE(value, type, codes, bits, 2) | IQ_BYTE(value, type, codes, bits, 3))
#define IQ1_VALUE(c) (8 * (c))
#define IQ2_VALUE(c) ((c) == 0 ? 8 : (c) == 1 ? 25 : 43)
#define IQ3_XXS_VALUE(c) ((c) == 7 ? 62 : 8 * (c) + 4)
#define IQ3_S_VALUE(c) (2 * (c) + 1)
#define IQ1(codes) (IQ_FOUR(IQ1_VALUE, uint64_t, codes, 2) | IQ_FOUR(IQ1_VALUE, uint64_t, (codes) >> 8, 2) << 32)
#define IQ2(codes) (IQ_FOUR(IQ2_VALUE, uint64_t, codes, 2) | IQ_FOUR(IQ2_VALUE, uint64_t, (codes) >> 8, 2) << 32)
#define IQ3_XXS(codes) IQ_FOUR(IQ3_XXS_VALUE, uint32_t, codes, 3)
#define IQ3_S(codes) IQ_FOUR(IQ3_S_VALUE, uint32_t, codes, 3)
#endif
#endif
