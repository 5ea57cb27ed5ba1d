#include "gguf_build.h"
#include "names.h"

START_TEST(pool_keeps_its_strings)
{
    enum { N = 5000 };
    static const char *kept[N];
    static char big[200000];
    name_pool p = { 0 };
    char text[64];

    memset(big, 'b', sizeof big);
    for (int i = 0; i < N; i++) {
        int n = snprintf(text, sizeof text, "name %d", i);
        ck_assert_ptr_nonnull(kept[i] = i == 100 ? name_pool_add(&p, big, sizeof big) : name_pool_add(&p, text, (size_t)n));
    }
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "name %d", i);
        if (i == 100) ck_assert(strlen(kept[i]) == sizeof big);
        else ck_assert_str_eq(kept[i], text);
    }
    ck_assert_str_eq(name_pool_add(&p, NULL, 0), "");
    ck_assert_ptr_null(name_pool_add(&p, text, SIZE_MAX));
    name_pool_close(&p);
}
END_TEST

START_TEST(index_finds_each_name_once)
{
    enum { N = 3000 };
    static char names[N][16];
    name_index x;
    uint32_t id;

    ck_assert(name_index_open(&x, N));
    for (uint32_t i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "n%u", i);
        ck_assert(!name_index_find(&x, names[i], &id));
        ck_assert_int_eq(name_index_add(&x, names[i], i), NAME_ADDED);
    }
    for (uint32_t i = 0; i < N; i++) {
        ck_assert(name_index_find(&x, names[i], &id) && id == i);
        ck_assert_int_eq(name_index_add(&x, names[i], 0), NAME_TWICE);
    }
    name_index_close(&x);
    ck_assert(!name_index_find(&x, "n0", &id));                 /* empty again */
}
END_TEST

/* Names made to fall into one slot are refused, in bounded time. */
START_TEST(crowded_names_are_refused)
{
    enum { N = NAME_MAX_PROBE + 10 };
    static char names[N][16];
    name_index x;
    name_result last = NAME_ADDED;
    int n = 0, added = 0;

    ck_assert(name_index_open(&x, N));
    for (uint32_t i = 0; n < N; i++) {
        snprintf(names[n], sizeof names[n], "%u", i);
        if ((name_hash(names[n]) & x.mask) == 5) n++;
    }
    for (int i = 0; i < N && last == NAME_ADDED; i++) {
        last = name_index_add(&x, names[i], (uint32_t)i);
        added += last == NAME_ADDED;
    }
    ck_assert_int_eq(last, NAME_CROWDED);
    ck_assert_int_eq(added, NAME_MAX_PROBE + 1);
    for (int i = 0; i < added; i++) {
        uint32_t id;
        ck_assert(name_index_find(&x, names[i], &id) && id == (uint32_t)i);
    }
    name_index_close(&x);
}
END_TEST

START_TEST(utf8)
{
    static const struct { const char *s; bool ok; } rows[] = {
        { "", true }, { "a", true }, { "\x7f", true }, { "\xc2\x80", true }, { "\xdf\xbf", true }, { "\xe0\xa0\x80", true },
        { "\xed\x9f\xbf", true }, { "\xee\x80\x80", true }, { "\xef\xbf\xbf", true }, { "\xf0\x90\x80\x80", true }, { "\xf4\x8f\xbf\xbf", true },
        { "\x80", false }, { "\xc0\x80", false }, { "\xc1\xbf", false }, { "\xc2", false }, { "\xc2\x41", false }, { "\xe0\x9f\xbf", false },
        { "\xed\xa0\x80", false }, { "\xed\xbf\xbf", false }, { "\xe2\x82", false }, { "\xf0\x8f\xbf\xbf", false }, { "\xf4\x90\x80\x80", false },
        { "\xf5\x80\x80\x80", false }, { "\xff", false }, { "\xf0\x90\x80", false }, { "ok \xe2\x82\xac \xe2\x28\xa1", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = strlen(rows[i].s);
        char *exact = malloc(n ? n : 1);
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, rows[i].s, n);
        ck_assert_msg(utf8_valid(exact, n) == rows[i].ok, "row %zu", i);
        free(exact);
    }
}
END_TEST

LLM_TEST_MAIN("format/names", pool_keeps_its_strings, index_finds_each_name_once, crowded_names_are_refused, utf8)
