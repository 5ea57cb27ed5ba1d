/* tokenizer-bench.c - megabytes per second of encoding and decoding, and milliseconds of loading.
 *
 *     tokenizer-bench VOCABULARY TEXT... [-r N]
 *
 * One thread. Times are CPU time of the fastest of N runs (5), so that a busy machine disturbs them little. */
#include "tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double cpu_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static char *read_all(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    long size;

    if (f && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) > 0 && fseek(f, 0, SEEK_SET) == 0 && (data = malloc((size_t)size)))
        *len = fread(data, 1, (size_t)size, f);
    if (f) fclose(f);
    return data;
}

static int load(llm_tokenizer **t, const char *path, int runs)
{
    double best = 1e9;
    llm_error err = { 0 };

    for (int i = 0; i < runs; i++) {
        double start;

        tokenizer_close(*t), *t = NULL;
        start = cpu_seconds();
        if (tokenizer_open_path(t, path, &err) != LLM_OK) return fprintf(stderr, "%s\n", err.text), 1;
        if (cpu_seconds() - start < best) best = cpu_seconds() - start;
    }
    printf("load    %8.1f ms    %d tokens  %s\n", 1e3 * best, tokenizer_n_vocab(*t), path);
    return 0;
}

static int encode(const llm_tokenizer *t, const char *path, int runs)
{
    size_t len = 0, n = 0, back_len = 0;
    char *text = read_all(path, &len), *back = NULL;
    llm_token *ids = malloc((4 * len + 64) * sizeof *ids);
    double enc = 1e9, dec = 1e9;
    llm_error err = { 0 };

    for (int i = 0; text && ids && i < runs; i++) {
        double start = cpu_seconds(), mid;

        if (tokenizer_encode(t, text, len, 0, ids, 4 * len + 64, &n, &err) != LLM_OK) return fprintf(stderr, "%s\n", err.text), 1;
        mid = cpu_seconds();
        free(back);
        if (tokenizer_decode(t, ids, n, true, &back, &back_len, &err) != LLM_OK) return fprintf(stderr, "%s\n", err.text), 1;
        if (mid - start < enc) enc = mid - start;
        if (cpu_seconds() - mid < dec) dec = cpu_seconds() - mid;
    }
    if (text == NULL || ids == NULL) return fprintf(stderr, "%s: cannot be read\n", path), 1;
    printf("encode  %8.1f MB/s  decode %8.1f MB/s  %9zu bytes  %8zu tokens  %s\n", 1e-6 * (double)len / enc, 1e-6 * (double)len / dec, len, n,
           path);
    free(text), free(ids), free(back);
    return 0;
}

int main(int argc, char **argv)
{
    llm_tokenizer *t = NULL;
    int runs = 5, failed = 0;

    if (argc < 2) return fprintf(stderr, "usage: tokenizer-bench VOCABULARY TEXT... [-r N]\n"), 2;
    for (int i = 2; i + 1 < argc; i++)
        if (strcmp(argv[i], "-r") == 0) runs = atoi(argv[i + 1]) > 0 ? atoi(argv[i + 1]) : 1, argv[i] = argv[i + 1] = NULL;
    if (load(&t, argv[1], runs)) return 1;
    for (int i = 2; i < argc; i++)
        if (argv[i]) failed |= encode(t, argv[i], runs);
    tokenizer_close(t);
    return failed;
}
