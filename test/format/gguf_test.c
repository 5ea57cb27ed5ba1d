#include "gguf_build.h"
#include "gguf.h"
#include <math.h>

/* A parsed file in memory of exactly its size, so that the address sanitizer sees a step too far. */
typedef struct { gguf *g; tensor_list list; uint8_t *data; llm_error err; llm_status status; } parsed;

static parsed parse(const uint8_t *data, size_t size)
{
    parsed p = { .data = malloc(size ? size : 1) };
    ck_assert_ptr_nonnull(p.data);
    if (size) memcpy(p.data, data, size);
    p.status = gguf_parse(&p.g, &p.list, p.data, size, 0, "t.gguf", &p.err);
    ck_assert((p.status == LLM_OK) == (p.g != NULL));
    ck_assert_msg(p.status == LLM_OK || (p.err.status == p.status && strncmp(p.err.text, "t.gguf: ", 8) == 0), "%s", p.err.text);
    return p;
}

static void parsed_free(parsed *p)
{
    gguf_close(p->g);
    tensors_close(&p->list);
    free(p->data);
}

/* Reads every byte that the header promises. */
static unsigned touch(const parsed *p)
{
    unsigned sum = 0;

    for (size_t i = 0; i < gguf_n_kv(p->g); i++) {
        const gguf_kv *kv = gguf_kv_at(p->g, i);
        ck_assert_ptr_eq(gguf_find(p->g, kv->key), kv);
        for (size_t k = 0; k < kv->count; k++) {
            const char *s;
            size_t len;
            int64_t v;
            double f;
            if (gguf_string(p->g, kv, k, &s, &len)) for (size_t c = 0; c < len; c++) sum += (unsigned char)s[c];
            else if (gguf_int(kv, k, &v)) sum += (unsigned)v;
            else if (gguf_real(kv, k, &f)) sum += f > 0;
            else sum += kv->data[k];
        }
    }
    for (size_t i = 0; i < p->list.n; i++)
        for (size_t b = 0; b < p->list.t[i].bytes; b++) sum += ((const uint8_t *)p->list.t[i].data)[b];
    return sum;
}

/* One of everything. */
static buf sample(uint32_t version)
{
    gguf_build b = gguf_begin(version);
    static const char *const words[] = { "a", "", "long word", "\xff\x00" };
    static const uint16_t small[] = { 1, 2, 65535 };
    static const float row[4] = { 1, 2, 3, 4 };

    gguf_str(&b, "general.architecture", "llama");
    gguf_u32(&b, "general.alignment", 64);
    gguf_raw(&b, "u8", 0, &(uint8_t){ 200 }, 1);
    gguf_raw(&b, "i8", 1, &(int8_t){ -5 }, 1);
    gguf_u16(&b, "u16", 40000);
    gguf_raw(&b, "i16", 3, &(int16_t){ -3000 }, 2);
    gguf_i32(&b, "i32", -70000);
    gguf_f32(&b, "f32", 0.5f);
    gguf_flag(&b, "yes", 1);
    gguf_u64(&b, "u64", UINT64_MAX);
    gguf_raw(&b, "i64", 11, &(int64_t){ INT64_MIN }, 8);
    gguf_raw(&b, "f64", 12, &(double){ -2.25 }, 8);
    gguf_strs(&b, "words", words, 4);
    gguf_array(&b, "small", 2, 3, small, sizeof small);
    gguf_array(&b, "none", 6, 0, NULL, 0);
    b.align = 64;
    gguf_tensor(&b, "scalar", DT_F32, 0, NULL, row);
    gguf_tensor(&b, "vector", DT_F32, 1, (uint64_t[]){ 4 }, row);
    gguf_tensor(&b, "blocks", DT_Q4_0, 3, (uint64_t[]){ 32, 3, 2 }, NULL);
    return gguf_end(&b);
}

static void check_sample(const parsed *p)
{
    const store_tensor *t = p->list.t;
    int64_t v;
    double f;
    const char *s;
    size_t len;

    ck_assert_uint_eq(gguf_n_kv(p->g), 15);
    ck_assert(gguf_int(gguf_find(p->g, "u8"), 0, &v) && v == 200);
    ck_assert(gguf_int(gguf_find(p->g, "i8"), 0, &v) && v == -5);
    ck_assert(gguf_int(gguf_find(p->g, "u16"), 0, &v) && v == 40000);
    ck_assert(gguf_int(gguf_find(p->g, "i16"), 0, &v) && v == -3000);
    ck_assert(gguf_int(gguf_find(p->g, "i32"), 0, &v) && v == -70000);
    ck_assert(!gguf_int(gguf_find(p->g, "u64"), 0, &v));
    ck_assert(gguf_int(gguf_find(p->g, "i64"), 0, &v) && v == INT64_MIN);
    ck_assert(gguf_real(gguf_find(p->g, "f64"), 0, &f) && f == -2.25);
    ck_assert(gguf_int(gguf_find(p->g, "small"), 2, &v) && v == 65535);
    ck_assert(!gguf_int(gguf_find(p->g, "small"), 3, &v));
    ck_assert(gguf_string(p->g, gguf_find(p->g, "words"), 2, &s, &len) && len == 9 && memcmp(s, "long word", 9) == 0);
    ck_assert(gguf_string(p->g, gguf_find(p->g, "words"), 1, &s, &len) && len == 0);
    ck_assert_uint_eq(gguf_find(p->g, "none")->count, 0);
    ck_assert_ptr_null(gguf_find(p->g, "nothing"));
    ck_assert_uint_eq(p->list.n, 3);
    ck_assert(t[0].n_dim == 0 && t[0].bytes == 4 && t[1].n_dim == 1 && t[1].dim[0] == 4);
    ck_assert(t[2].n_dim == 3 && t[2].dim[0] == 2 && t[2].dim[1] == 3 && t[2].dim[2] == 32 && t[2].bytes == 6 * 18);
    ck_assert(((const uint8_t *)t[2].data - p->data) % 64 == 0 && memcmp(t[1].data, &(float){ 1 }, 4) == 0);
}

START_TEST(reads_every_version)
{
    for (uint32_t version = 1; version <= 3; version++) {
        buf f = sample(version);
        parsed p = parse(f.data, f.size);
        ck_assert_msg(p.status == LLM_OK, "version %u: %s", version, p.err.text);
        check_sample(&p);
        touch(&p);
        parsed_free(&p);
        buf_free(&f);
    }
}
END_TEST

/* The last tensor may lack its padding, but not a byte of its own. */
START_TEST(refuses_a_file_cut_at_any_byte)
{
    for (uint32_t version = 1; version <= 3; version += 2) {
        buf f = sample(version);
        for (size_t n = 0; n < f.size; n++) {
            parsed p = parse(f.data, n);
            ck_assert_msg(p.status == LLM_ERR_FORMAT, "version %u cut at byte %zu of %zu", version, n, f.size);
            parsed_free(&p);
        }
        buf_free(&f);
    }
}
END_TEST

START_TEST(survives_any_byte_changed)
{
    static const uint8_t change[] = { 0x01, 0x80, 0xff, 0x20 };

    for (uint32_t version = 1; version <= 3; version += 2) {
        buf f = sample(version);
        int accepted = 0;
        for (size_t i = 0; i < f.size; i++)
            for (size_t c = 0; c < sizeof change; c++) {
                parsed p;
                f.data[i] ^= change[c];
                p = parse(f.data, f.size);
                if (p.status == LLM_OK) accepted++, touch(&p);
                parsed_free(&p);
                f.data[i] ^= change[c];
            }
        ck_assert_int_gt(accepted, 0);
        buf_free(&f);
    }
}
END_TEST

/* ---- refusals: each is a valid file with one change -------------------------- */

static const uint64_t d4[] = { 4 }, d32[] = { 32 }, d33[] = { 33 }, d0[] = { 0 }, big[] = { UINT64_MAX },
                      wraps[] = { (uint64_t)1 << 62, 8 }, five[] = { 1, 1, 1, 1, 4 };

static void no_change(gguf_build *b) { (void)b; }
static void twice(gguf_build *b) { gguf_u32(b, "k", 1), gguf_u32(b, "k", 1); }
static void key_empty(gguf_build *b) { gguf_u32(b, "", 1); }
static void key_utf8(gguf_build *b) { gguf_u32(b, "k\xc3(", 1); }
static void type_13(gguf_build *b) { gguf_raw(b, "k", 13, "abcd", 4); }
static void nested_array(gguf_build *b) { gguf_array(b, "k", 9, 0, NULL, 0); }
static void bool_2(gguf_build *b) { gguf_flag(b, "k", 2); }
static void bools_2(gguf_build *b) { gguf_array(b, "k", 7, 3, "\0\1\2", 3); }
static void array_long(gguf_build *b) { gguf_array(b, "k", 4, 1u << 30, "abcd", 4); }
static void array_wraps(gguf_build *b) { gguf_array(b, "k", 10, ((uint64_t)1 << 61) + 1, "abcdefgh", 8); }
static void array_max(gguf_build *b) { gguf_array(b, "k", 8, UINT64_MAX, "abcdefgh", 8); }
static void string_long(gguf_build *b) { gguf_raw(b, "k", 8, &(uint64_t){ UINT64_MAX }, 8); }
static void align_0(gguf_build *b) { gguf_u32(b, "general.alignment", 0); }
static void align_4(gguf_build *b) { gguf_u32(b, "general.alignment", 4); }
static void align_48(gguf_build *b) { gguf_u32(b, "general.alignment", 48); }
static void align_huge(gguf_build *b) { gguf_u32(b, "general.alignment", 1u << 31); }
static void align_text(gguf_build *b) { gguf_str(b, "general.alignment", "32"); }
static void name_empty(gguf_build *b) { gguf_tensor(b, "", DT_F32, 1, d4, NULL); }
static void name_long(gguf_build *b)
{
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    gguf_tensor(b, name, DT_F32, 1, d4, NULL);
}
static void dim_0(gguf_build *b) { gguf_info(b, "b", DT_F32, 1, d0, 32); }
static void dim_negative(gguf_build *b) { gguf_info(b, "b", DT_F32, 1, big, 32); }
static void dims_wrap(gguf_build *b) { gguf_info(b, "b", DT_F32, 2, wraps, 32); }
static void dims_5(gguf_build *b) { gguf_info(b, "b", DT_F32, 5, five, 32); }
static void bytes_wrap(gguf_build *b) { gguf_info(b, "b", DT_F64, 1, wraps, 32); }
static void half_block(gguf_build *b) { gguf_info(b, "b", DT_Q4_0, 1, d33, 32); }
static void scalar_block(gguf_build *b) { gguf_info(b, "b", DT_Q4_0, 0, NULL, 32); }
static void type_4(gguf_build *b) { gguf_info(b, "b", 4, 1, d32, 32); }
static void type_nvfp4(gguf_build *b) { gguf_info(b, "b", 40, 1, d32, 32); }
static void type_own(gguf_build *b) { gguf_info(b, "b", DT_F8_E4M3, 1, d32, 32); }
static void type_max(gguf_build *b) { gguf_info(b, "b", UINT32_MAX, 1, d32, 32); }
static void unaligned(gguf_build *b) { gguf_info(b, "b", DT_F32, 1, d4, 16); }
static void beyond(gguf_build *b) { gguf_info(b, "b", DT_F32, 1, d4, 64); }
static void beyond_far(gguf_build *b) { gguf_info(b, "b", DT_F32, 1, d4, UINT64_MAX - 31); }
static void same_place(gguf_build *b) { gguf_info(b, "b", DT_F32, 1, d4, 0); }

START_TEST(refusals_say_why)
{
    static const struct { const char *edge; void (*change)(gguf_build *); llm_status status; const char *says; } rows[] = {
        { "nothing wrong", no_change, LLM_OK, "" },
        { "key twice", twice, LLM_ERR_FORMAT, "key 'k' appears twice" },
        { "empty key", key_empty, LLM_ERR_FORMAT, "got 0 bytes, wanted 1 to 65535" },
        { "key not UTF-8", key_utf8, LLM_ERR_FORMAT, "is not UTF-8" },
        { "value type 13", type_13, LLM_ERR_FORMAT, "got value type 13" },
        { "array of arrays", nested_array, LLM_ERR_UNSUPPORTED, "array of arrays" },
        { "bool 2", bool_2, LLM_ERR_FORMAT, "got a bool of 2" },
        { "bool 2 in an array", bools_2, LLM_ERR_FORMAT, "got a bool of 2" },
        { "array longer than the file", array_long, LLM_ERR_FORMAT, "got 1073741824 values in an array, but only" },
        { "array size wraps", array_wraps, LLM_ERR_FORMAT, "2305843009213693953" },
        { "array count -1", array_max, LLM_ERR_FORMAT, "18446744073709551615" },
        { "string length -1", string_long, LLM_ERR_FORMAT, "got a length of 18446744073709551615" },
        { "alignment 0", align_0, LLM_ERR_FORMAT, "got 0, wanted a power of two" },
        { "alignment 4", align_4, LLM_ERR_FORMAT, "got 4, wanted a power of two" },
        { "alignment 48", align_48, LLM_ERR_FORMAT, "got 48, wanted a power of two" },
        { "alignment 2^31", align_huge, LLM_ERR_FORMAT, "got 2147483648, wanted a power of two" },
        { "alignment as text", align_text, LLM_ERR_FORMAT, "got STRING, wanted U32" },
        { "name empty", name_empty, LLM_ERR_FORMAT, "got 0 bytes, wanted 1 to 255" },
        { "name of 256 bytes", name_long, LLM_ERR_FORMAT, "got 256 bytes, wanted 1 to 255" },
        { "dimension 0", dim_0, LLM_ERR_FORMAT, "got dimension 0 of 0" },
        { "dimension -1", dim_negative, LLM_ERR_FORMAT, "got dimension 0 of 18446744073709551615" },
        { "product wraps", dims_wrap, LLM_ERR_FORMAT, "got dimension 1 of 8" },
        { "five dimensions", dims_5, LLM_ERR_FORMAT, "got 5 dimensions" },
        { "bytes wrap", bytes_wrap, LLM_ERR_FORMAT, "are too many" },
        { "part of a block", half_block, LLM_ERR_FORMAT, "got rows of 33 values, Q4_0 wants a multiple of 32" },
        { "a scalar of blocks", scalar_block, LLM_ERR_FORMAT, "got rows of 1 values" },
        { "removed type", type_4, LLM_ERR_FORMAT, "removed" },
        { "NVFP4", type_nvfp4, LLM_ERR_UNSUPPORTED, "NVFP4" },
        { "one of our own numbers", type_own, LLM_ERR_FORMAT, "unknown type 64" },
        { "type 2^32-1", type_max, LLM_ERR_FORMAT, "unknown type 4294967295" },
        { "offset not aligned", unaligned, LLM_ERR_FORMAT, "got offset 16, wanted a multiple of 32" },
        { "past the end", beyond, LLM_ERR_FORMAT, "needs bytes 64 to +16" },
        { "offset near 2^64", beyond_far, LLM_ERR_FORMAT, "needs bytes 18446744073709551584" },
        { "overlap", same_place, LLM_ERR_FORMAT, "overlaps" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gguf_build b = gguf_begin(3);
        buf f;
        parsed p;
        gguf_tensor(&b, "a", DT_F32, 1, d4, NULL);
        rows[i].change(&b);
        f = gguf_end(&b);
        p = parse(f.data, f.size);
        ck_assert_msg(p.status == rows[i].status, "%s: got %s: %s", rows[i].edge, llm_status_name(p.status), p.err.text);
        ck_assert_msg(strstr(p.err.text, rows[i].says) != NULL, "%s: %s", rows[i].edge, p.err.text);
        parsed_free(&p);
        buf_free(&f);
    }
}
END_TEST

START_TEST(tensors_in_any_order_and_with_holes)
{
    gguf_build b = gguf_begin(3);
    buf f;
    parsed p;

    gguf_info(&b, "late", DT_F32, 1, d4, 128);
    gguf_info(&b, "early", DT_F32, 1, d4, 0);
    buf_put(&b.data, NULL, 128 + 16);
    f = gguf_end(&b);
    p = parse(f.data, f.size);
    ck_assert_msg(p.status == LLM_OK, "%s", p.err.text);
    ck_assert_int_eq((int)((const uint8_t *)p.list.t[0].data - (const uint8_t *)p.list.t[1].data), 128);
    parsed_free(&p);
    buf_free(&f);
}
END_TEST

START_TEST(no_tensors_need_no_padding)
{
    gguf_build b = gguf_begin(3);
    buf f;
    parsed p;

    gguf_str(&b, "general.architecture", "llama");
    f = gguf_end(&b);
    p = parse(f.data, f.size);
    ck_assert_msg(p.status == LLM_OK && p.list.n == 0, "%s", p.err.text);
    parsed_free(&p);
    buf_free(&f);
}
END_TEST

/* Counts of 2^16 keys and 2^21 tensors are the limits; a count is refused before memory is taken for it. */
START_TEST(many_keys_are_found)
{
    enum { N = 20000 };
    gguf_build b = gguf_begin(3);
    buf f;
    parsed p;
    char key[32];

    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "key.%d", i);
        gguf_u32(&b, key, (uint32_t)i);
    }
    f = gguf_end(&b);
    p = parse(f.data, f.size);
    ck_assert_msg(p.status == LLM_OK, "%s", p.err.text);
    for (int i = 0; i < N; i++) {
        int64_t v = -1;
        snprintf(key, sizeof key, "key.%d", i);
        ck_assert(gguf_int(gguf_find(p.g, key), 0, &v) && v == i);
    }
    parsed_free(&p);
    buf_free(&f);
}
END_TEST

LLM_TEST_MAIN("format/gguf", reads_every_version, refuses_a_file_cut_at_any_byte, survives_any_byte_changed, refusals_say_why,
              tensors_in_any_order_and_with_holes, no_tensors_need_no_padding, many_keys_are_found)
