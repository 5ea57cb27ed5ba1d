/* The folder malformed/gguf through the public API: what its manifest rejects must be refused with a message, by the reader or by
 * the model; nothing may crash. What opens decodes one token. */
#include "../llm_test.h"
#include "llm.h"
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

/* Opens the file and, where that works, runs one token. */
static llm_status open_and_run(const char *path, bool *opened, llm_error *err)
{
    llm_model_options mo = { .size = sizeof mo, .path = path, .n_threads = 1 };
    llm_session_options so = { .size = sizeof so, .n_ctx = 8, .n_batch = 8 };
    llm_token t = 0;
    llm_model *m = NULL;
    llm_session *s = NULL;
    llm_status st = llm_model_open(&m, &mo, err);

    *opened = st == LLM_OK;
    ck_assert(*opened == (m != NULL));
    if (*opened && (st = llm_session_open(&s, m, &so, err)) == LLM_OK) st = llm_session_decode(s, &t, 1, err);
    llm_session_close(s);
    llm_model_close(m);
    return st;
}

START_TEST(every_file_gets_the_verdict_of_its_manifest)
{
    const char *data = test_data();
    char path[600];
    json_t *list, *row;
    json_error_t je;
    size_t i;
    int opened = 0, refused = 0, wrong = 0;

    if (data == NULL) {
        test_skip("malformed/gguf as models", "no shared test data");
        return;
    }
    snprintf(path, sizeof path, "%.400s/malformed/gguf/manifest.json", data);
    ck_assert_msg((list = json_load_file(path, 0, &je)) != NULL, "%s: %s", path, je.text);
    json_array_foreach(list, i, row) {
        const char *file = json_string_value(json_object_get(row, "file")), *expect = json_string_value(json_object_get(row, "expect"));
        llm_error err = { LLM_OK, "" };
        llm_status st;
        bool ok;

        snprintf(path, sizeof path, "%.400s/malformed/gguf/%.150s", data, file);
        if (access(path, R_OK) != 0) continue;          /* the folder is a sample of what the manifest lists */
        st = open_and_run(path, &ok, &err);
        if (ok) opened++; else refused++;
        if (getenv("LLM_TEST_VERBOSE")) printf("%-40s %-7s %s %s\n", file, expect, ok ? "opens" : "refused", err.text);
        ck_assert_msg(st == LLM_OK || (err.status == st && err.text[0] != '\0'), "%s: refused without a message", file);
        if (strcmp(expect, "either") == 0 || ok == (strcmp(expect, "accept") == 0)) continue;
        printf("%s: wanted %s, got %s %s\n", file, expect, ok ? "accepted" : "refused:", err.text);
        wrong++;
    }
    json_decref(list);
    printf("malformed/gguf as models: %d opened, %d refused, %d wrong\n", opened, refused, wrong);
    ck_assert_int_eq(wrong, 0);
    ck_assert_int_gt(opened, 5);
    ck_assert_int_gt(refused, 50);
}
END_TEST

LLM_TEST_MAIN("model/malformed", every_file_gets_the_verdict_of_its_manifest)
