/* What ends the reasoning is what the family's models write themselves. The nudge of Qwen is the sentence its models were trained
 * to stop at (Qwen3 Technical Report, arXiv 2505.09388, section 4.3). */
#include "reply_control.h"
#include <stdlib.h>
#include <string.h>

#define QWEN_NUDGE "Considering the limited time by the user, I have to give the solution based on the thinking directly now."
#define NUDGE "I have thought about this for long enough and give the answer now."

static const struct { const char *close, *tight, *nudge; } words[] = {
    [CONVO_HARMONY] = { "<|end|><|start|>assistant<|channel|>final<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>", NUDGE },
    [CONVO_QWEN] = { "\n</think>\n\n", "</think>", QWEN_NUDGE },
    [CONVO_DEEPSEEK] = { "\n</think>\n\n", "</think>", NUDGE },
    [CONVO_GEMMA] = { "\n<channel|>", "<channel|>", NUDGE },
};

static llm_status encode(id_list *list, const llm_tokenizer *t, const char *before, const char *text, llm_error *err)
{
    char whole[256];
    size_t n_before = strlen(before), len = n_before + strlen(text), cap = len + 1;
    llm_status st;

    memcpy(whole, before, n_before);
    memcpy(whole + n_before, text, len - n_before);
    if ((list->id = malloc(cap * sizeof *list->id)) == NULL) return llm_fail_memory(err, cap * sizeof *list->id, "forced tokens");
    st = tokenizer_encode(t, whole, len, LLM_TOKENIZE_SPECIAL, list->id, cap, &list->n, err);
    if (st == LLM_OK && list->n > cap) list->n = 0;
    return st;
}

llm_status control_open(reply_control *c, const llm_tokenizer *t, convo_family family, bool tight, int budget, bool nudge, int repeats, llm_error *err)
{
    llm_status st;

    *c = (reply_control){ .budget = budget, .repeats = repeats };
    if (family == CONVO_PLAIN) return c->budget = 0, LLM_OK;
    st = encode(&c->close, t, "", tight ? words[family].tight : words[family].close, err);
    if (st == LLM_OK && nudge) st = encode(&c->nudge, t, "\n\n", words[family].nudge, err);
    if (st == LLM_OK && nudge) st = encode(&c->nudge_line, t, "", words[family].nudge, err);
    return st;
}

void control_close(reply_control *c)
{
    free(c->close.id), free(c->nudge.id), free(c->nudge_line.id);
}

llm_token control_forced(const reply_control *c) { return c->forced ? c->forced->id[c->at] : -1; }
bool control_closing(const reply_control *c) { return c->forced == &c->close; }

static void force(reply_control *c, const id_list *list)
{
    c->forced = list->n > 0 ? list : NULL, c->at = 0;
}

void control_end_reasoning(reply_control *c)
{
    if (!c->closed) memset(c->run, 0, sizeof c->run), c->n_seen = 0;        /* what is forced and what follows begins anew */
    c->closed = true;                                       /* but a model that opens it again and again goes round in circles */
    force(c, &c->close);
}

bool control_push(reply_control *c, llm_token t)
{
    size_t n = c->n_seen++;
    bool hit = false;

    if (c->forced && ++c->at == c->forced->n) c->forced = NULL;
    for (size_t p = 1; c->repeats > 0 && p <= CYCLE_MAX && p <= n; p++) {
        size_t covered;
        c->run[p] = c->last[(n - p) % CYCLE_MAX] == t ? c->run[p] + 1 : 0;
        covered = c->run[p] + p;                            /* the first time round counts too */
        if (!hit && c->run[p] > 0 && covered >= CYCLE_LEAST && covered / p >= (size_t)c->repeats) c->cycle = p, hit = true;
    }
    c->last[n % CYCLE_MAX] = t;
    return hit;
}

void control_watch(reply_control *c, bool reasoning, size_t n, bool line)
{
    size_t budget = c->budget < 0 ? 0 : (size_t)c->budget, room = c->nudge.n + budget / 8;

    if (!reasoning || c->budget == 0 || c->forced) return;
    if (n >= budget) {
        c->spent = true;
        control_end_reasoning(c);
    } else if (!c->nudged && c->nudge.n > 0 && budget >= 3 * c->nudge.n && n + room >= budget && (line || n + c->nudge.n >= budget)) {
        c->nudged = true;
        force(c, line ? &c->nudge_line : &c->nudge);
    }
}
