#include "gguf_build.h"
#include "safetensors.h"

typedef struct { tensor_list list; uint8_t *data; llm_error err; llm_status status; } parsed;

/* From memory of exactly its size, so that the address sanitizer sees a step too far. */
static parsed parse(const buf *f, size_t size)
{
    parsed p = { .data = malloc(size ? size : 1) };
    ck_assert_ptr_nonnull(p.data);
    if (size) memcpy(p.data, f->data, size);
    p.status = safetensors_parse(&p.list, p.data, size, 0, "t.safetensors", &p.err);
    ck_assert_msg(p.status == LLM_OK || (p.err.status == p.status && p.err.text[0]), "no message");
    return p;
}

static unsigned touch(const parsed *p)
{
    unsigned sum = 0;
    for (size_t i = 0; i < p->list.n; i++)
        for (size_t b = 0; b < p->list.t[i].bytes; b++) sum += ((const uint8_t *)p->list.t[i].data)[b];
    return sum;
}

static void parsed_free(parsed *p)
{
    tensors_close(&p->list);
    free(p->data);
}

static const char sample[] = "{\"__metadata__\":{\"format\":\"pt\"},\"w\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                             "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},\"e\":{\"dtype\":\"F32\",\"shape\":[0,9],\"data_offsets\":[4,4]}}";

START_TEST(reads_the_sample)
{
    buf f = safetensors_bytes(sample, true, NULL, 16);
    parsed p = parse(&f, f.size);
    const store_tensor *t = p.list.t;

    ck_assert_msg(p.status == LLM_OK, "%s", p.err.text);
    ck_assert_uint_eq(p.list.n, 3);
    ck_assert_str_eq(t[0].name, "w");
    ck_assert(t[0].dtype == DT_BF16 && t[0].n_dim == 2 && t[0].dim[0] == 2 && t[0].dim[1] == 3 && t[0].bytes == 12);
    ck_assert_int_eq(*(const uint8_t *)t[0].data, 4);
    ck_assert(t[1].n_dim == 0 && t[1].bytes == 4 && t[2].bytes == 0 && t[2].dim[1] == 9);
    parsed_free(&p);
    buf_free(&f);
}
END_TEST

START_TEST(refuses_a_file_cut_at_any_byte)
{
    buf f = safetensors_bytes(sample, true, NULL, 16);

    for (size_t n = 0; n < f.size; n++) {
        parsed p = parse(&f, n);
        ck_assert_msg(p.status == LLM_ERR_FORMAT, "cut at byte %zu", n);
        parsed_free(&p);
    }
    buf_free(&f);
}
END_TEST

START_TEST(survives_any_byte_changed)
{
    buf f = safetensors_bytes(sample, true, NULL, 16);
    int accepted = 0;

    for (size_t i = 0; i < f.size; i++)
        for (int c = 1; c < 256; c += 1 + (i >= 8)) {           /* all values in the length, every other one behind it */
            parsed p;
            f.data[i] ^= (uint8_t)c;
            p = parse(&f, f.size);
            if (p.status == LLM_OK) accepted++, touch(&p);
            parsed_free(&p);
            f.data[i] ^= (uint8_t)c;
        }
    ck_assert_int_gt(accepted, 0);
    buf_free(&f);
}
END_TEST

START_TEST(knows_every_dtype)
{
    static const struct { const char *name; llm_dtype dtype; int bytes; } rows[] = {
        { "F64", DT_F64, 8 }, { "F32", DT_F32, 4 }, { "F16", DT_F16, 2 }, { "BF16", DT_BF16, 2 }, { "F8_E4M3", DT_F8_E4M3, 1 },
        { "F8_E5M2", DT_F8_E5M2, 1 }, { "F8_E8M0", DT_U8, 1 }, { "I64", DT_I64, 8 }, { "I32", DT_I32, 4 }, { "I16", DT_I16, 2 },
        { "I8", DT_I8, 1 }, { "U64", DT_U64, 8 }, { "U32", DT_U32, 4 }, { "U16", DT_U16, 2 }, { "U8", DT_U8, 1 }, { "BOOL", DT_BOOL, 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char header[128];
        buf f;
        parsed p;
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%d]}}", rows[i].name, 3 * rows[i].bytes);
        f = safetensors_bytes(header, false, NULL, (size_t)(3 * rows[i].bytes));
        p = parse(&f, f.size);
        ck_assert_msg(p.status == LLM_OK && p.list.t[0].dtype == rows[i].dtype, "%s: %s", rows[i].name, p.err.text);
        parsed_free(&p);
        buf_free(&f);
    }
}
END_TEST

START_TEST(refusals_say_why)
{
#define T(dtype, shape, from, to) "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #from "," #to "]}}"
    static const struct { const char *edge, *header; llm_status status; const char *says; } rows[] = {
        { "as it should be", T("F32", "4", 0, 16), LLM_OK, "" },
        { "rank 5 merges the innermost", T("U8", "1,2,2,2,2", 0, 16), LLM_OK, "" },
        { "not an object", "[1]", LLM_ERR_FORMAT, "does not begin with '{'" },
        { "tensor is a list", "{\"a\":[1]}", LLM_ERR_FORMAT, "tensor 'a': wanted an object" },
        { "unknown dtype", T("F31", "4", 0, 16), LLM_ERR_FORMAT, "unknown dtype 'F31'" },
        { "dtype of others", T("F4", "32", 0, 16), LLM_ERR_UNSUPPORTED, "dtype F4 is not supported" },
        { "negative dimension", T("F32", "-4", 0, 16), LLM_ERR_FORMAT, "dimension 0 is not" },
        { "fractional dimension", T("F32", "4.0", 0, 16), LLM_ERR_FORMAT, "dimension 0 is not" },
        { "dimension beyond int64", T("F32", "18446744073709551620", 0, 16), LLM_ERR_FORMAT, "dimension 0 is not" },
        { "product wraps", T("F32", "4294967296,4294967296,4", 0, 16), LLM_ERR_FORMAT, "does not fit" },
        { "bytes wrap", T("F64", "4611686018427387906", 0, 16), LLM_ERR_FORMAT, "are too many" },
        { "17 dimensions", T("U8", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,16", 0, 16), LLM_ERR_FORMAT, "at most 16" },
        { "range too short", T("F32", "4", 0, 12), LLM_ERR_FORMAT, "give 12 bytes, its shape and dtype F32 take 16" },
        { "range turned round", T("F32", "4", 16, 0), LLM_ERR_FORMAT, "got data_offsets 16 to 0" },
        { "past the end", T("F32", "4", 4, 20), LLM_ERR_FORMAT, "the file has 16 bytes" },
        { "gap in front", T("F32", "3", 4, 16), LLM_ERR_FORMAT, "no holes" },
        { "gap behind", T("F32", "3", 0, 12), LLM_ERR_FORMAT, "take 12 bytes, the file has 16" },
        { "no tensors, but data", "{}", LLM_ERR_FORMAT, "take 0 bytes, the file has 16" },
        { "metadata not text", "{\"__metadata__\":{\"a\":1}}", LLM_ERR_FORMAT, "__metadata__ 'a' is not text" },
        { "NUL in a name", "{\"a\\u0000b\":{}}", LLM_ERR_FORMAT, "NUL" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buf f = safetensors_bytes(rows[i].header, true, NULL, 16);
        parsed p = parse(&f, f.size);
        ck_assert_msg(p.status == rows[i].status && strstr(p.err.text, rows[i].says), "%s: got %s: %s", rows[i].edge,
                      llm_status_name(p.status), p.err.text);
        parsed_free(&p);
        buf_free(&f);
    }
}
END_TEST

START_TEST(index_refusals_say_why)
{
    static const struct { const char *text; llm_status status; const char *says; } rows[] = {
        { "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-1.safetensors\"}}", LLM_OK, "" },
        { "{\"weight_map\":{}}", LLM_OK, "" },
        { "{\"weight_map\":[]}", LLM_ERR_FORMAT, "no object 'weight_map'" },
        { "[]", LLM_ERR_FORMAT, "no object 'weight_map'" },
        { "{\"weight_map\":{\"a\":1}}", LLM_ERR_FORMAT, "is not the name" },
        { "{\"weight_map\":{\"a\":\"x\\u0000.safetensors\"}}", LLM_ERR_FORMAT, "is not the name" },
        { "{\"weight_map\":{\"a\":\"../x.safetensors\"}}", LLM_ERR_FORMAT, "got '../x.safetensors'" },
        { "{\"weight_map\":{\"a\":\"d/x.safetensors\"}}", LLM_ERR_FORMAT, "same folder" },
        { "{\"weight_map\":{\"a\":\"d\\\\x.safetensors\"}}", LLM_ERR_FORMAT, "same folder" },
        { "{\"weight_map\":{\"a\":\"/x.safetensors\"}}", LLM_ERR_FORMAT, "same folder" },
        { "{\"weight_map\":{\"a\":\".safetensors\"}}", LLM_ERR_FORMAT, "same folder" },
        { "{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}", LLM_ERR_FORMAT, "same folder" },
        { "{\"weight_map\":{\"a\":\"\"}}", LLM_ERR_FORMAT, "same folder" },
        { "{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"y.safetensors\"}}", LLM_ERR_FORMAT, "duplicate" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        llm_error err = { 0 };
        shard_index x;
        llm_status status = shard_index_parse(&x, rows[i].text, strlen(rows[i].text), "index.json", &err);
        ck_assert_msg(status == rows[i].status && strstr(err.text, rows[i].says), "%s: %s", rows[i].text, err.text);
        if (i == 0) ck_assert(x.n_shard == 2 && strcmp(x.shard[1], "m-2.safetensors") == 0);
        shard_index_close(&x);
    }
}
END_TEST

LLM_TEST_MAIN("format/safetensors", reads_the_sample, refuses_a_file_cut_at_any_byte, survives_any_byte_changed, knows_every_dtype,
              refusals_say_why, index_refusals_say_why)
