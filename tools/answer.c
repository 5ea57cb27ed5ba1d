#include "answer.h"
#include "common.h"
#include <stdlib.h>
#include <string.h>

typedef enum { IN_HEADER, IN_ANSWER, IN_THINKING } answer_part;

struct answer {
    const llm_model *m;
    answer_options opt;
    llm_detok *detok;
    answer_part part;
    char header[256];                   /* harmony: what stands between <|start|> and <|message|> */
    size_t header_len;
    llm_stop *stop;                     /* NULL: no stop strings */
};

answer *answer_open(const llm_model *m, const answer_options *opt)
{
    answer *a = tool_alloc(1, sizeof *a);
    llm_error err;

    a->m = m, a->opt = *opt, a->part = opt->harmony ? IN_HEADER : IN_ANSWER;
    if (llm_detok_open(&a->detok, m, 0, &err) != LLM_OK) tool_die(&err);
    if (opt->n_stop > 0 && llm_stop_open(&a->stop, opt->stop, NULL, opt->n_stop, &err) != LLM_OK) tool_die(&err);
    return a;
}

static bool put_answer(answer *a, const char *text, size_t len)
{
    llm_error err;
    int hit = 0;

    if (a->stop && llm_stop_push(a->stop, text, len, &text, &len, &hit, &err) != LLM_OK) tool_die(&err);
    fwrite(text, 1, len, a->opt.out);
    return hit;
}

static bool put(answer *a, const char *text, size_t len)
{
    if (len == 0) return false;
    if (a->part == IN_ANSWER) return put_answer(a, text, len);
    if (a->part == IN_THINKING) {
        if (a->opt.thinking) fwrite(text, 1, len, a->opt.thinking);
        return false;
    }
    if (len > sizeof a->header - 1 - a->header_len) len = sizeof a->header - 1 - a->header_len;
    memcpy(a->header + a->header_len, text, len);
    a->header_len += len;
    return false;
}

/* harmony: <|start|> opens a header, <|message|> ends it; the channel named in it says where the text goes. */
static void on_control(answer *a, const char *name)
{
    if (!a->opt.harmony) return;
    if (strcmp(name, "<|message|>") == 0) {
        a->header[a->header_len] = '\0';
        a->part = strstr(a->header, "final") ? IN_ANSWER : IN_THINKING;
        if (a->part == IN_ANSWER && a->opt.thinking) fputc('\n', a->opt.thinking);
    } else if (strcmp(name, "<|start|>") == 0 || strcmp(name, "<|channel|>") == 0) {
        a->part = IN_HEADER, a->header_len = 0;
    }
}

bool answer_push(answer *a, llm_token t)
{
    const char *text;
    size_t len;
    llm_error err;
    bool over;

    if (llm_token_is_control(a->m, t)) {
        char name[64] = "";
        const char *bytes = llm_token_bytes(a->m, t, &len);
        memcpy(name, bytes, len < sizeof name - 1 ? len : sizeof name - 1);
        on_control(a, name);
    }
    if (llm_detok_push(a->detok, t, &text, &len, &err) != LLM_OK) tool_die(&err);
    over = put(a, text, len);
    fflush(a->opt.out);
    return over;
}

void answer_close(answer *a)
{
    const char *text;
    size_t len;
    llm_error err;

    if (a == NULL) return;
    if (llm_detok_flush(a->detok, &text, &len, &err) == LLM_OK) put(a, text, len);
    if (a->stop && llm_stop_flush(a->stop, &text, &len, &err) == LLM_OK) fwrite(text, 1, len, a->opt.out);
    fflush(a->opt.out);
    llm_detok_close(a->detok);
    llm_stop_close(a->stop);
    free(a);
}
