/* tokenize_pipe.c - a tokenizer behind a pipe, for tokenizer_diff.py. In: u32 flags, u32 length, text. Out: i32 number of ids (-1: error, then i32
 * length and message), the ids, u32 length and the decoded text. */
#include "tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int answer(const llm_tokenizer *t, const char *text, uint32_t flags, uint32_t len)
{
    size_t cap = 20 * (size_t)len + 64, n = 0, n_text = 0;      /* compatibility forms grow */
    llm_token *ids = malloc(cap * sizeof *ids);
    llm_error err = { 0 };
    char *back = NULL;
    int32_t count;

    if (ids == NULL) return 1;
    if (tokenizer_encode(t, text, len, flags, ids, cap, &n, &err) != LLM_OK
        || tokenizer_decode(t, ids, n, true, &back, &n_text, &err) != LLM_OK) {
        int32_t bad[2] = { -1, (int32_t)strlen(err.text) };
        fwrite(bad, sizeof bad, 1, stdout), fwrite(err.text, 1, strlen(err.text), stdout);
    } else {
        uint32_t out = (uint32_t)n_text;
        count = (int32_t)n;
        fwrite(&count, 4, 1, stdout), fwrite(ids, 4, n, stdout), fwrite(&out, 4, 1, stdout), fwrite(back, 1, n_text, stdout);
    }
    free(ids), free(back);
    return fflush(stdout);
}

int main(int argc, char **argv)
{
    llm_tokenizer *t = NULL;
    llm_error err = { 0 };
    uint32_t head[2];

    if (argc != 2 || tokenizer_open_path(&t, argv[1], &err) != LLM_OK) {
        fprintf(stderr, "tokenize_pipe: %s\n", argc == 2 ? err.text : "usage: tokenize_pipe VOCABULARY");
        return 1;
    }
    while (fread(head, sizeof head, 1, stdin) == 1) {
        char *text = malloc((size_t)head[1] + 1);
        if (text == NULL || fread(text, 1, head[1], stdin) != head[1] || answer(t, text, head[0], head[1]) != 0) return 1;
        free(text);
    }
    tokenizer_close(t);
    return 0;
}
