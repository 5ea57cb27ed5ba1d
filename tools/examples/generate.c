/* generate.c - a model continues a text: generate MODEL TEXT [COUNT]
 * cc generate.c $(pkg-config --static --cflags --libs libllm) */
#include <llm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(llm_status status, const llm_error *err)
{
    if (status == LLM_OK) return;
    fprintf(stderr, "%s: %s\n", llm_status_name(status), err->text);
    exit(1);
}

int main(int argc, char **argv)
{
    llm_model_options opt = { .size = sizeof opt, .path = argc > 2 ? argv[1] : NULL };
    llm_token prompt[1024], t;
    llm_model *model; llm_session *session; llm_sampler *sampler; llm_detok *detok; llm_error err;
    size_t n, len, left = argc > 3 ? strtoul(argv[3], NULL, 10) : 100;
    const char *text;

    must(llm_model_open(&model, &opt, &err), &err);
    must(llm_session_open(&session, model, NULL, &err), &err);
    must(llm_sampler_open(&sampler, model, NULL, &err), &err);
    must(llm_detok_open(&detok, model, 0, &err), &err);
    must(llm_tokenize(model, argv[2], strlen(argv[2]), LLM_TOKENIZE_BOS, prompt, 1024, &n, &err), &err);
    must(llm_session_decode(session, prompt, n < 1024 ? n : 1024, &err), &err);
    while (left-- > 0) {
        t = llm_session_pick(session, 0, sampler, (uint64_t)llm_session_length(session, 0), &err);
        if (t < 0) must(err.status, &err);
        if (llm_token_is_end(model, t)) break;
        must(llm_detok_push(detok, t, &text, &len, &err), &err);
        fwrite(text, 1, len, stdout);
        must(llm_session_decode(session, &t, 1, &err), &err);
    }
    llm_detok_close(detok), llm_sampler_close(sampler), llm_session_close(session), llm_model_close(model);
    return puts("") == EOF;
}
