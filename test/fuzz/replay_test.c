/* Every file of test/fuzz/corpus/NAME through the target of that name; findings of the fuzzer are kept there. */
#include "../llm_test.h"
#include "fuzz.h"
#include <dirent.h>
#include <stdbool.h>
#include <string.h>

static const struct { const char *name; void (*run)(const uint8_t *, size_t); } targets[] = {
#define X(name) { #name, fuzz_##name },
    FUZZ_TARGETS(X)
#undef X
};
enum { N_TARGET = sizeof targets / sizeof targets[0] };

/* In memory of exactly its size, so that the address sanitizer sees a step too far. */
static void replay(const char *path, void (*run)(const uint8_t *, size_t))
{
    FILE *f = fopen(path, "rb");
    uint8_t *data;
    long size;

    ck_assert_msg(f != NULL && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) >= 0, "%s", path);
    rewind(f);
    ck_assert_ptr_nonnull(data = malloc(size ? (size_t)size : 1));
    ck_assert_uint_eq(fread(data, 1, (size_t)size, f), (size_t)size);
    fclose(f);
    run(data, (size_t)size);
    run(data, (size_t)size / 2);
    free(data);
}

static int replay_folder(const char *dir, void (*run)(const uint8_t *, size_t))
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;

    ck_assert_msg(d != NULL, "no folder %s", dir);
    while ((e = readdir(d)) != NULL) {
        char path[600];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        replay(path, run), n++;
    }
    closedir(d);
    return n;
}

START_TEST(every_corpus_file)
{
    for (size_t i = 0; i < N_TARGET; i++) {
        char dir[300];
        int n;
        snprintf(dir, sizeof dir, "test/fuzz/corpus/%s", targets[i].name);
        targets[i].run((const uint8_t *)"", 0);
        n = replay_folder(dir, targets[i].run);
        printf("fuzz/%s: %d files\n", targets[i].name, n);
        ck_assert_int_gt(n, 0);
    }
}
END_TEST

START_TEST(every_folder_has_a_target)
{
    DIR *d = opendir("test/fuzz/corpus");
    struct dirent *e;

    ck_assert_msg(d != NULL, "run from the root of the tree");
    while ((e = readdir(d)) != NULL) {
        bool known = e->d_name[0] == '.';
        for (size_t i = 0; i < N_TARGET; i++) known = known || strcmp(e->d_name, targets[i].name) == 0;
        ck_assert_msg(known, "corpus/%s has no row in fuzz.h", e->d_name);
    }
    closedir(d);
}
END_TEST

LLM_TEST_MAIN("fuzz/replay", every_corpus_file, every_folder_has_a_target)
