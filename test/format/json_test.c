#include "gguf_build.h"
#include "json.h"

/* Valid by RFC 8259, refused on purpose or by jansson: each with its reason. */
static const struct { const char *file, *why; } refused[] = {
    { "y_object_duplicated_key.json", "a key twice: readers disagree on which one counts" },
    { "y_object_duplicated_key_and_value.json", "a key twice" },
    { "y_object_escaped_null_in_key.json", "jansson holds keys as C strings" },
};

static bool is_refused(const char *file)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (strcmp(file, refused[i].file) == 0) return true;
    return false;
}

/* 'y', 'n' or 'i' leads the name. */
static bool right(const char *file, bool ok)
{
    if (is_refused(file)) return !ok;
    return file[0] == 'y' ? ok : file[0] == 'n' ? !ok : true;
}

START_TEST(json_test_suite)
{
    char dir[512];
    struct dirent *e;
    DIR *d;
    int n[128] = { 0 }, accepted = 0;

    if (test_data() == NULL) {
        test_skip("json_test_suite", "no shared test data");
        return;
    }
    snprintf(dir, sizeof dir, "%s/json/JSONTestSuite", test_data());
    ck_assert_ptr_nonnull(d = opendir(dir));
    while ((e = readdir(d)) != NULL) {
        llm_error err = { 0 };
        json_t *j;
        bool ok;
        if (e->d_name[0] == '.') continue;
        ok = json_read_file(&j, temp_path(dir, e->d_name), JSON_MAX_BYTES, &err) == LLM_OK;
        ck_assert_msg(right(e->d_name, ok), "%s: %s %s", e->d_name, ok ? "accepted" : "refused:", err.text);
        ck_assert(ok == (j != NULL) && (ok || err.text[0]));
        n[e->d_name[0] & 127]++, accepted += e->d_name[0] == 'i' && ok;
        json_decref(j);
    }
    closedir(d);
    printf("JSONTestSuite: %d y, %d n, %d i (%d of them accepted)\n", n['y'], n['n'], n['i'], accepted);
    ck_assert(n['y'] > 0 && n['n'] > 0);
}
END_TEST

static json_t *read_ok(const char *text, size_t len)
{
    llm_error err = { 0 };
    json_t *j;
    ck_assert_msg(json_read_text(&j, text, len, "text", &err) == LLM_OK, "%s", err.text);
    return j;
}

START_TEST(large_integers_become_reals)
{
    static const char text[] = "{\"model_max_length\": 1000000000000000019884624838656, \"s\": \"\\\"1000000000000000019884624838656\","
                               " \"a\": [9223372036854775807, -9223372036854775808, 9223372036854775808, -9223372036854775809, 3, 1e5]}";
    json_t *j = read_ok(text, strlen(text)), *a = json_object_get(j, "a");

    ck_assert_double_eq(json_real_value(json_object_get(j, "model_max_length")), 1e30);
    ck_assert_str_eq(json_string_value(json_object_get(j, "s")), "\"1000000000000000019884624838656");
    ck_assert(json_integer_value(json_array_get(a, 0)) == INT64_MAX);
    ck_assert(json_integer_value(json_array_get(a, 1)) == INT64_MIN);
    ck_assert_double_eq(json_real_value(json_array_get(a, 2)), 9223372036854775808.0);
    ck_assert_double_eq(json_real_value(json_array_get(a, 3)), -9223372036854775808.0);
    ck_assert(json_integer_value(json_array_get(a, 4)) == 3);
    ck_assert(json_is_real(json_array_get(a, 5)));
    json_decref(j);
}
END_TEST

START_TEST(nul_is_kept_in_values)
{
    static const char text[] = "[\"a\\u0000b\"]";
    json_t *j = read_ok(text, strlen(text));

    ck_assert_uint_eq(json_string_length(json_array_get(j, 0)), 3);
    ck_assert_int_eq(memcmp(json_string_value(json_array_get(j, 0)), "a\0b", 3), 0);
    json_decref(j);
}
END_TEST

static void nested(char *text, int depth)
{
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
}

START_TEST(depth_has_a_limit)
{
    char text[2 * JSON_MAX_DEPTH + 2];
    llm_error err = { 0 };
    json_t *j;

    nested(text, JSON_MAX_DEPTH);
    json_decref(read_ok(text, 2 * JSON_MAX_DEPTH));
    nested(text, JSON_MAX_DEPTH + 1);
    ck_assert_int_eq(json_read_text(&j, text, 2 * JSON_MAX_DEPTH + 2, "deep.json", &err), LLM_ERR_FORMAT);
    ck_assert_ptr_null(j);
    ck_assert_str_eq(err.text, "deep.json: JSON nested deeper than 200 levels");
    memset(text, '[', sizeof text);                 /* brackets in a string do not count */
    text[0] = text[sizeof text - 1] = '"';
    json_decref(read_ok(text, sizeof text));
}
END_TEST

START_TEST(messages_name_the_place)
{
    static const struct { const char *text, *want; } rows[] = {
        { "{\"a\": 1,\n \"a\": 2}", "f.json: line 2, column 4: duplicate object key near '\"a\"'" },
        { "{\"a\": tru}", "f.json: line 1, column 9: invalid token near 'tru'" },
        { "", "f.json: line 1, column 0: unexpected token near end of file" },
        { "[1] 2", "f.json: line 1, column 5: end of file expected near '2'" },
        { "[1e999]", "f.json: line 1, column 6: real number overflow near '1e999'" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        llm_error err = { 0 };
        json_t *j;
        ck_assert_int_eq(json_read_text(&j, rows[i].text, strlen(rows[i].text), "f.json", &err), LLM_ERR_FORMAT);
        ck_assert_str_eq(err.text, rows[i].want);
    }
}
END_TEST

START_TEST(size_has_a_limit)
{
    char dir[256];
    llm_error err = { 0 };
    json_t *j;

    temp_dir(dir);
    ck_assert_int_eq(json_read_file(&j, temp_text(dir, "a.json", "[1, 2]"), 5, &err), LLM_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "got 6 bytes, wanted at most 5"));
    ck_assert_int_eq(json_read_file(&j, temp_path(dir, "a.json"), 6, &err), LLM_OK);
    json_decref(j);
    ck_assert_int_eq(json_read_file(&j, temp_path(dir, "b.json"), 6, &err), LLM_ERR_IO);
    temp_remove(dir);
}
END_TEST

LLM_TEST_MAIN("format/json", json_test_suite, large_integers_become_reals, nul_is_kept_in_values, depth_has_a_limit,
              messages_name_the_place, size_has_a_limit)
