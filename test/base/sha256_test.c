#include "../llm_test.h"
#include "sha256.h"
#include <string.h>

static void hex_of(const void *data, size_t n, size_t cut, char hex[65])
{
    llm_sha256 s;
    uint8_t d[32];

    sha256_begin(&s);
    sha256_add(&s, data, cut);
    sha256_add(&s, (const char *)data + cut, n - cut);
    sha256_end(&s, d);
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", d[i]);
}

/* FIPS 180-4's examples (csrc.nist.gov, SHA256.pdf and SHA2_Additional.pdf). */
START_TEST(published_vectors)
{
    static const struct { const char *text, *want; } c[] = {
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
        { "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
          "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
    };
    char hex[65];

    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        size_t n = strlen(c[i].text);
        for (size_t cut = 0; cut <= n; cut++) {
            hex_of(c[i].text, n, cut, hex);
            ck_assert_str_eq(hex, c[i].want);
        }
    }
}
END_TEST

START_TEST(a_million_a)
{
    size_t n = 1000000;
    char *a = malloc(n), hex[65];

    memset(a, 'a', n);
    hex_of(a, n, 777777, hex);
    ck_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(a);
}
END_TEST

/* Every length around the padding's borders, in pieces and whole. */
START_TEST(cuts_do_not_matter)
{
    uint8_t data[200];
    char whole[65], cut[65];

    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 37);
    for (size_t n = 0; n <= sizeof data; n++) {
        hex_of(data, n, 0, whole);
        for (size_t at = 1; at <= n; at += 13) {
            hex_of(data, n, at, cut);
            ck_assert_str_eq(whole, cut);
        }
    }
}
END_TEST

/* The instructions of x86 against the standard's own rounds, from states that no text leads to as well. */
START_TEST(fast_blocks_are_the_slow_ones)
{
#if defined(__x86_64__)
    uint8_t data[64 * 9];
    uint32_t slow[8], fast[8];

    if (!sha256_has_shani()) { test_skip("base/sha256", "this processor has no SHA extensions"); return; }
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 151 >> 3 ^ i);
    for (size_t n = 0; n <= 9; n++) {
        for (uint32_t i = 0; i < 8; i++) slow[i] = fast[i] = 0x9e3779b9u * (i + 1 + 8 * (uint32_t)n);
        sha256_blocks_ref(slow, data, n);
        sha256_blocks_shani(fast, data, n);
        ck_assert_mem_eq(slow, fast, sizeof slow);
    }
#endif
}
END_TEST

LLM_TEST_MAIN("base/sha256", published_vectors, a_million_a, cuts_do_not_matter, fast_blocks_are_the_slow_ones)
