/* cpu.h - which instruction sets this machine has, asked at run time. */
#ifndef LLM_BASE_CPU_H
#define LLM_BASE_CPU_H
#include "status.h"
#include <stdbool.h>

typedef enum { ISA_SCALAR, ISA_AVX2, ISA_AVXVNNI, ISA_AVX512, ISA_NEON, ISA_I8MM, N_ISA } llm_isa;

/* AVX2 means AVX2+FMA+F16C; AVXVNNI means AVX-VNNI on top of that; AVX512 means F, BW, VL, DQ and VNNI on top of
 * AVX2 (and the operating system saves the registers); NEON means dotprod too; I8MM means products of int8 matrices on top of that. */
llm_isa cpu_best_isa(void);
bool cpu_has_isa(llm_isa isa);
const char *isa_name(llm_isa isa);              /* "scalar", "avx2", ... */
/* name as in llm_model_options.cpu; NULL: best. An unknown name, or a set that this machine lacks, is
 * LLM_ERR_UNSUPPORTED naming what there is. */
llm_status cpu_choose_isa(llm_isa *out, const char *name, llm_error *err);
#endif
