/* mix.c - the recipes, as llama.cpp's quantizer has them (src/llama-quant.cpp); its own record of the type of every tensor of
 * several models is what test/quant/mix_test.c compares with. */
#include "mix.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const llm_mix_info mixes[N_MIX] = {
#define X(name, file_type, base) { #name, file_type, DT_##base },
    LLM_MIX_LIST(X)
#undef X
};

const llm_mix_info *mix_info(llm_mix mix) { return &mixes[mix]; }

bool mix_find(const char *name, llm_mix *out)
{
    static const struct { const char *name; llm_mix mix; } other[] = {
        { "Q3_K", MIX_Q3_K_M }, { "Q4_K", MIX_Q4_K_M }, { "Q5_K", MIX_Q5_K_M }, { "MXFP4", MIX_MXFP4_MOE },
    };

    for (int i = 0; i < N_MIX; i++)
        if (strcasecmp(name, mixes[i].name) == 0) { *out = (llm_mix)i; return true; }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (strcasecmp(name, other[i].name) == 0) { *out = other[i].mix; return true; }
    return false;
}

/* ---- what a tensor is ------------------------------------------------------------- */

typedef enum { K_HEAD = 1, K_EMBED = 2, K_VALUE = 4, K_KEY = 8, K_QUERY = 16, K_OUT = 32, K_UP = 64, K_GATE = 128, K_DOWN = 256, K_OTHER = 512,
               K_ANY = 1023 } kind;

static kind kind_of(const char *name)
{
    static const struct { const char *part; kind kind; } parts[] = {
        { "attn_qkv.weight", K_VALUE }, { "attn_kv_b.weight", K_VALUE }, { "attn_v.weight", K_VALUE }, { "attn_k.weight", K_KEY },
        { "attn_q.weight", K_QUERY }, { "attn_output.weight", K_OUT }, { "ffn_up", K_UP }, { "ffn_gate", K_GATE }, { "ffn_down", K_DOWN },
    };

    if (strcmp(name, "output.weight") == 0) return K_HEAD;
    if (strcmp(name, "token_embd.weight") == 0) return K_EMBED;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i].part)) return parts[i].kind;
    return K_OTHER;
}

bool mix_is_value(const char *name) { return kind_of(name) == K_VALUE; }
bool mix_is_down(const char *name) { return kind_of(name) == K_DOWN; }

bool mix_quantizes(const mix_tensor *t)
{
    static const char *const never[] = { "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
                                         "ssm_conv1d", "position_embd", "token_types" };
    size_t n = strlen(t->name);

    if (t->n_dim < 2 || n < 6 || strcmp(t->name + n - 6, "weight") != 0) return false;
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strstr(t->name, never[i])) return false;
    return true;
}

/* ---- the rules ------------------------------------------------------------------------ */

typedef enum { ALWAYS, BROKEN_ROWS, STACKED, GROUPS_OF_4, GROUPS_OF_4_OR_EXPERTS, NO_IMATRIX, EIGHT_EXPERTS, EXTRA_VALUE, FIRST_2, FIRST_4,
               EARLY_8TH, EARLY_8TH_DOWN, EARLY_8TH_PLAIN, EARLY_8TH_IMATRIX, EARLY_16TH, EXTRA_LAYER, EXTRA_EIGHT, MIDDLE } condition;

#define BIT(m) (UINT64_C(1) << MIX_##m)
#define ALL (~UINT64_C(0))
#define LOW (BIT(IQ2_XXS) | BIT(IQ2_XS) | BIT(IQ1_S) | BIT(IQ2_S) | BIT(IQ2_M) | BIT(IQ1_M))
#define IQ2_SM (BIT(IQ2_S) | BIT(IQ2_M))

/* The first rule that fits decides; where none does, the mix's base type. */
static const struct { int kinds; uint64_t mixes; condition when; llm_dtype type; } rules[] = {
    { K_HEAD, BIT(MXFP4_MOE), ALWAYS, DT_Q8_0 },
    { K_HEAD, ALL, BROKEN_ROWS, DT_Q8_0 },
    { K_HEAD, LOW | BIT(IQ3_XXS), ALWAYS, DT_Q5_K },
    { K_HEAD, ALL & ~BIT(Q8_0), ALWAYS, DT_Q6_K },

    { K_ANY, BIT(MXFP4_MOE), STACKED, DT_MXFP4 },
    { K_ANY, BIT(MXFP4_MOE), ALWAYS, DT_Q8_0 },

    { K_EMBED, BIT(IQ2_XXS) | BIT(IQ2_XS) | BIT(IQ1_S) | BIT(IQ1_M), ALWAYS, DT_Q2_K },
    { K_EMBED, IQ2_SM | BIT(IQ3_XXS), ALWAYS, DT_IQ3_S },
    { K_EMBED, BIT(TQ1_0) | BIT(TQ2_0), ALWAYS, DT_Q4_K },

    { K_VALUE, LOW, GROUPS_OF_4_OR_EXPERTS, DT_Q4_K },
    { K_VALUE, IQ2_SM, ALWAYS, DT_IQ3_S },
    { K_VALUE, LOW, ALWAYS, DT_Q2_K },
    { K_KEY, LOW, EIGHT_EXPERTS, DT_Q4_K },
    { K_DOWN, IQ2_SM, EARLY_8TH_DOWN, DT_IQ3_S },
    { K_DOWN, LOW, EARLY_8TH_DOWN, DT_Q2_K },
    { K_OUT, LOW, EIGHT_EXPERTS, DT_Q5_K },
    { K_OUT, BIT(IQ1_S) | BIT(IQ1_M), ALWAYS, DT_IQ2_XXS },
    { K_OUT, IQ2_SM, ALWAYS, DT_IQ3_S },

    { K_VALUE, ALL & ~LOW, EIGHT_EXPERTS, DT_Q8_0 },
    { K_VALUE, BIT(Q2_K) | BIT(Q2_K_S), GROUPS_OF_4, DT_Q4_K },
    { K_VALUE, BIT(Q2_K), ALWAYS, DT_Q3_K },
    { K_VALUE, BIT(IQ3_XXS) | BIT(IQ3_XS) | BIT(IQ3_S), GROUPS_OF_4, DT_Q4_K },
    { K_VALUE, BIT(IQ3_XXS), NO_IMATRIX, DT_IQ3_S },
    { K_VALUE, BIT(IQ3_M), ALWAYS, DT_Q4_K },
    { K_VALUE, BIT(Q3_K_M), FIRST_2, DT_Q5_K },
    { K_VALUE, BIT(Q3_K_M), ALWAYS, DT_Q4_K },
    { K_VALUE, BIT(Q3_K_L), ALWAYS, DT_Q5_K },
    { K_VALUE, BIT(IQ4_NL) | BIT(IQ4_XS), GROUPS_OF_4, DT_Q5_K },
    { K_VALUE, BIT(Q4_K_M) | BIT(Q5_K_M), EXTRA_VALUE, DT_Q6_K },
    { K_VALUE, BIT(Q4_K_S), FIRST_4, DT_Q5_K },

    { K_KEY, ALL, EIGHT_EXPERTS, DT_Q8_0 },
    { K_KEY | K_QUERY, BIT(IQ3_XS), ALWAYS, DT_IQ3_XXS },
    { K_KEY | K_QUERY, BIT(IQ3_XXS), ALWAYS, DT_IQ2_S },

    { K_DOWN, BIT(Q2_K), ALWAYS, DT_Q3_K },
    { K_DOWN, BIT(Q2_K_S), EARLY_8TH, DT_Q4_K },
    { K_DOWN, BIT(IQ3_XXS), EARLY_8TH_PLAIN, DT_Q4_K },
    { K_DOWN, BIT(IQ3_XXS), NO_IMATRIX, DT_Q3_K },
    { K_DOWN, BIT(Q3_K_M), EARLY_16TH, DT_Q5_K },
    { K_DOWN, BIT(Q3_K_M), ALWAYS, DT_Q4_K },
    { K_DOWN, BIT(IQ3_M), EARLY_8TH, DT_Q4_K },
    { K_DOWN, BIT(IQ3_M), EXTRA_EIGHT, DT_Q4_K },
    { K_DOWN, BIT(Q3_K_L), ALWAYS, DT_Q5_K },
    { K_DOWN, BIT(Q4_K_M) | BIT(Q5_K_M), EXTRA_LAYER, DT_Q6_K },
    { K_DOWN, BIT(IQ4_NL) | BIT(IQ4_XS), EARLY_8TH_PLAIN, DT_Q5_K },
    { K_DOWN, BIT(Q4_K_S), EARLY_8TH, DT_Q5_K },
    { K_DOWN, BIT(Q4_0), EARLY_8TH_IMATRIX, DT_Q4_1 },
    { K_DOWN, BIT(Q5_0), EARLY_8TH_IMATRIX, DT_Q5_1 },

    { K_OUT, BIT(Q2_K) | BIT(Q3_K_S) | BIT(Q3_K_M) | BIT(Q4_K_S) | BIT(Q4_K_M) | BIT(IQ4_NL) | BIT(IQ4_XS) | BIT(IQ3_XS) | BIT(IQ3_XXS) | BIT(IQ3_S)
             | BIT(IQ3_M), EIGHT_EXPERTS, DT_Q5_K },
    { K_OUT, BIT(Q3_K_L), EIGHT_EXPERTS, DT_Q3_K },
    { K_OUT, BIT(Q2_K), ALWAYS, DT_Q3_K },
    { K_OUT, BIT(Q3_K_M) | BIT(IQ3_M), ALWAYS, DT_Q4_K },
    { K_OUT, BIT(Q3_K_L), ALWAYS, DT_Q5_K },
    { K_OUT, BIT(IQ3_XXS), ALWAYS, DT_IQ3_S },

    { K_UP | K_GATE, BIT(IQ3_XS), MIDDLE, DT_IQ3_XXS },
};

/* The first and last eighth, and every third between them. */
static bool extra(int i, int n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

static int layer_of(const char *name) { return strncmp(name, "blk.", 4) == 0 ? atoi(name + 4) : 0; }

static bool holds(condition when, llm_mix mix, const mix_model *m, const mix_tensor *t)
{
    int layer = layer_of(t->name), n = m->n_layer, block = dtype_info(mixes[mix].base)->block;
    bool grouped = m->n_kv_head > 0 && m->n_head / m->n_kv_head >= 4;

    switch (when) {
    case ALWAYS:                 return true;
    case BROKEN_ROWS:            return t->row % block != 0;
    case STACKED:                return t->n_dim > 2;
    case GROUPS_OF_4:            return grouped;
    case GROUPS_OF_4_OR_EXPERTS: return grouped || m->n_expert >= 4;
    case NO_IMATRIX:             return !m->imatrix;
    case EIGHT_EXPERTS:          return m->n_expert == 8;
    case EXTRA_VALUE:            return extra(t->value, m->n_value);
    case FIRST_2:                return t->value < 2;
    case FIRST_4:                return t->value < 4;
    case EARLY_8TH:              return layer < n / 8;
    case EARLY_8TH_DOWN:         return t->down < n / 8;
    case EARLY_8TH_PLAIN:        return layer < n / 8 && !m->imatrix;
    case EARLY_8TH_IMATRIX:      return layer < n / 8 && m->imatrix;
    case EARLY_16TH:             return layer < n / 16;
    case EXTRA_LAYER:            return extra(layer, n);
    case EXTRA_EIGHT:            return m->n_expert == 8 && extra(layer, n);
    case MIDDLE:                 return layer >= n / 8 && layer < 7 * n / 8;
    }
    return false;
}

llm_dtype mix_fallback(llm_dtype type, int64_t row)
{
    const llm_dtype_info *info = dtype_info(type);

    if (info->block == 1 || row % info->block == 0) return type;
    switch (type) {
    case DT_Q2_K: case DT_Q3_K: case DT_TQ1_0: case DT_TQ2_0: type = DT_Q4_0; break;
    case DT_Q4_K: type = DT_Q5_0; break;
    case DT_Q5_K: type = DT_Q5_1; break;
    case DT_Q6_K: type = DT_Q8_0; break;
    case DT_IQ1_S: case DT_IQ1_M: case DT_IQ2_XXS: case DT_IQ2_XS: case DT_IQ2_S: case DT_IQ3_XXS: case DT_IQ3_S: case DT_IQ4_XS: type = DT_IQ4_NL; break;
    default: break;
    }
    return row % 32 == 0 ? type : DT_F16;
}

llm_dtype mix_type(llm_mix mix, const mix_model *m, const mix_tensor *t)
{
    kind k = kind_of(t->name);
    llm_dtype type = mixes[mix].base;
    uint64_t bit = UINT64_C(1) << mix;

    if (dtype_info(type)->block == 1) return type;
    if (k == K_EMBED && m->tied) k = K_HEAD;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (!(rules[i].kinds & (int)k) || !(rules[i].mixes & bit) || !holds(rules[i].when, mix, m, t)) continue;
        type = rules[i].type;
        break;
    }
    if (k == K_VALUE && m->eighty && !(bit & LOW) && (type == DT_Q3_K || type == DT_Q4_K)) type = DT_Q5_K;
    return mix_fallback(type, t->row);
}
