#include "../llm_test.h"
#include "llm.h"
#include <string.h>

enum { CAP = 4096 };

/* Pushes text in pieces of piece bytes; what came out goes to got. Returns whether a stop string was found. */
static int feed(llm_stop *p, const char *text, size_t n, size_t piece, char got[CAP])
{
    const char *out;
    size_t len, have = 0;
    int hit = 0;

    for (size_t i = 0; i < n; i += piece) {
        ck_assert_int_eq(llm_stop_push(p, text + i, n - i < piece ? n - i : piece, &out, &len, &hit, NULL), LLM_OK);
        memcpy(got + have, out, len), have += len;
    }
    ck_assert_int_eq(llm_stop_flush(p, &out, &len, NULL), LLM_OK);
    memcpy(got + have, out, len), have += len;
    got[have] = 0;
    return hit;
}

START_TEST(known_cases)
{
    static const struct { const char *stop[3], *text, *want; int hit; } c[] = {
        { { "END" }, "some textEND and more", "some text", 1 },
        { { "END" }, "some text EN", "some text EN", 0 },
        { { "aab" }, "aaab", "a", 1 },                              /* overlap with itself */
        { { "abab", "zz" }, "abaabab.", "aba", 1 },
        { { "\n\nUser:", "\n" }, "hi\n\nUser: x", "hi", 1 },         /* the one that ends first */
        { { "bcd", "abcd" }, "xabcde", "x", 1 },                    /* two end together: the longer */
        { { "abcde", "bc" }, "abcde", "a", 1 },
        { { "x" }, "", "", 0 },
        { { NULL }, "no stop strings", "no stop strings", 0 },
        { { "\xed\x95\x9c" }, "\xed\x95\x99\xed\x95\x9c!", "\xed\x95\x99", 1 },
    };
    char got[CAP];

    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        size_t n = 0;
        llm_stop *p;
        while (n < 3 && c[i].stop[n] != NULL) n++;
        ck_assert_int_eq(llm_stop_open(&p, c[i].stop, NULL, n, NULL), LLM_OK);
        for (size_t piece = 1; piece < 12; piece++) {               /* the same object again and again: flush resets */
            ck_assert_int_eq(feed(p, c[i].text, strlen(c[i].text), piece, got), c[i].hit);
            ck_assert_str_eq(got, c[i].want);
        }
        llm_stop_close(p);
    }
}
END_TEST

/* Against a search written down plainly: the earliest end, then the longest string. */
START_TEST(random_texts_against_a_plain_search)
{
    unsigned r = 1;

    for (int round = 0; round < 3000; round++) {
        char stop[3][8], text[64], want[CAP], got[CAP];
        const char *ptr[3] = { stop[0], stop[1], stop[2] };
        size_t n = (size_t)(round % 60), cut = n, end;
        int hit = 0;
        llm_stop *p;
#define RANDOM(m) ((r = r * 1664525u + 1013904223u) >> 16) % (m)
        for (int i = 0; i < 3; i++) {
            size_t len = 1 + RANDOM(6u);
            for (size_t j = 0; j < len; j++) stop[i][j] = (char)('a' + RANDOM(2u));
            stop[i][len] = 0;
        }
        for (size_t j = 0; j < n; j++) text[j] = (char)('a' + RANDOM(2u));
        for (end = 1; end <= n && !hit; end++)
            for (int i = 0; i < 3; i++) {
                size_t len = strlen(stop[i]);
                if (len <= end && memcmp(text + end - len, stop[i], len) == 0) {
                    hit = 1;
                    if (end - len < cut) cut = end - len;
                }
            }
        memcpy(want, text, cut), want[cut] = 0;
        ck_assert_int_eq(llm_stop_open(&p, ptr, NULL, 3, NULL), LLM_OK);
        ck_assert_int_eq(feed(p, text, n, 1 + (size_t)round % 7, got), hit);
        ck_assert_str_eq(got, want);
        llm_stop_close(p);
    }
}
END_TEST

START_TEST(bad_arguments)
{
    llm_stop *p;
    llm_error err;
    const char *empty[1] = { "" };

    ck_assert_int_eq(llm_stop_open(&p, empty, NULL, 1, &err), LLM_ERR_ARG);
    ck_assert_ptr_null(p);
    ck_assert_int_eq(llm_stop_open(&p, NULL, NULL, 1, &err), LLM_ERR_ARG);
    ck_assert_int_eq(llm_stop_open(&p, NULL, NULL, 0, &err), LLM_OK);
    ck_assert_int_eq(llm_stop_push(p, "x", 1, NULL, NULL, NULL, &err), LLM_ERR_ARG);
    llm_stop_close(p);
    llm_stop_close(NULL);
}
END_TEST

LLM_TEST_MAIN("run/stop", known_cases, random_texts_against_a_plain_search, bad_arguments)
