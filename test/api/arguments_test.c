/* Every public function says no to nonsense instead of crashing, and says what it wanted. */
#include "../run/subject.h"
#include <limits.h>

static const char *const one = REF_DIR "/llama3/model.gguf";

static void error_is(llm_status got, llm_status want, const llm_error *err, const char *word)
{
    ck_assert_msg(got == want && err->status == want, "got %s: %s", llm_status_name(got), err->text);
    ck_assert_msg(strstr(err->text, word) != NULL, "no \"%s\" in: %s", word, err->text);
}

START_TEST(null_is_an_error_or_nothing)
{
    llm_model *m = NULL;
    llm_session *s = NULL;
    llm_error err;
    size_t n = 9;
    const char *text;

    llm_model_close(NULL), llm_session_close(NULL), llm_sampler_close(NULL), llm_detok_close(NULL), llm_stop_close(NULL);
    llm_session_set_tap(NULL, NULL, NULL), llm_session_set_progress(NULL, NULL, NULL);
    error_is(llm_model_open(NULL, NULL, &err), LLM_ERR_ARG, &err, "out");
    error_is(llm_model_open(&m, NULL, &err), LLM_ERR_ARG, &err, "opt");
    ck_assert_int_eq(llm_model_open(&m, NULL, NULL), LLM_ERR_ARG);
    error_is(llm_session_open(&s, NULL, NULL, &err), LLM_ERR_ARG, &err, "model");
    error_is(llm_session_open(NULL, NULL, NULL, &err), LLM_ERR_ARG, &err, "out");
    error_is(llm_session_plan(NULL, NULL, NULL, &err), LLM_ERR_ARG, &err, "plan");
    error_is(llm_session_decode(NULL, NULL, 0, &err), LLM_ERR_ARG, &err, "session");
    error_is(llm_session_decode_rows(NULL, NULL, 0, &err), LLM_ERR_ARG, &err, "session");
    error_is(llm_session_truncate(NULL, 0, 0, &err), LLM_ERR_ARG, &err, "session");
    error_is(llm_session_copy(NULL, 0, 0, &err), LLM_ERR_ARG, &err, "session");
    error_is(llm_session_save(NULL, "x", &err), LLM_ERR_ARG, &err, "session");
    error_is(llm_session_restore(NULL, "x", &err), LLM_ERR_ARG, &err, "session");
    error_is(llm_tokenize(NULL, "", 0, 0, NULL, 0, &n, &err), LLM_ERR_ARG, &err, "model");
    error_is(llm_sampler_open(NULL, NULL, NULL, &err), LLM_ERR_ARG, &err, "out");
    error_is(llm_sampler_accept(NULL, 0, &err), LLM_ERR_ARG, &err, "sampler");
    ck_assert_int_eq(llm_sampler_pick(NULL, NULL, 0, &err), -1);
    ck_assert_int_eq(llm_session_pick(NULL, 0, NULL, 0, &err), -1);
    error_is(llm_session_pick_rows(NULL, 1, NULL, NULL, NULL, &err), LLM_ERR_ARG, &err, "session");
    ck_assert_int_eq(llm_model_get_info(NULL, NULL), LLM_ERR_ARG);
    ck_assert_int_eq(llm_model_get_tensor(NULL, 0, NULL), LLM_ERR_ARG);
    ck_assert_int_eq(llm_model_get_meta(NULL, 0, NULL, NULL, 0, NULL), LLM_ERR_ARG);
    ck_assert_int_eq(llm_sampler_defaults(NULL, NULL), LLM_ERR_ARG);
    ck_assert_int_eq(llm_session_length(NULL, 0), -1);
    ck_assert_int_eq(llm_session_n_ctx(NULL), 0);
    ck_assert_uint_eq(llm_session_n_logits(NULL), 0);
    ck_assert_ptr_null(llm_session_logits(NULL));
    ck_assert_ptr_null(llm_session_tokens(NULL, 0));
    ck_assert_str_eq(llm_token_bytes(NULL, 0, &n), "");
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(llm_token_find(NULL, "a", 1), -1);
    ck_assert(!llm_token_is_control(NULL, 0) && !llm_token_is_end(NULL, 0));
    ck_assert_int_eq(llm_detok_push(NULL, 0, &text, &n, &err), LLM_ERR_ARG);
    ck_assert_int_eq(llm_detok_flush(NULL, &text, &n, &err), LLM_ERR_ARG);
}
END_TEST

START_TEST(chat_arguments)
{
    llm_model_options mo = { .size = sizeof mo, .path = "test/data/text/chat_tokens.json", .vocab_only = 1 };
    llm_chat_options co = { .size = sizeof co, .format = "nonsense" };
    llm_reply_options ro = { .size = sizeof ro, .budget = -2 };
    llm_chat_info info = { .size = sizeof info };
    llm_reply_stats stats = { .size = 2 };
    const llm_event *ev;
    const llm_token *ids;
    const char *json;
    llm_model *m;
    llm_chat *c;
    llm_reply *r;
    llm_error err;
    size_t n;

    llm_chat_close(NULL), llm_reply_close(NULL);
    error_is(llm_chat_open(NULL, NULL, NULL, &err), LLM_ERR_ARG, &err, "out");
    error_is(llm_chat_open(&c, NULL, NULL, &err), LLM_ERR_ARG, &err, "model");
    error_is(llm_reply_open(&r, NULL, NULL, &err), LLM_ERR_ARG, &err, "model");
    error_is(llm_chat_prompt(NULL, NULL, 0, &ids, &n, &err), LLM_ERR_ARG, &err, "conversation");
    error_is(llm_chat_add(NULL, "", 0, &err), LLM_ERR_ARG, &err, "conversation");
    error_is(llm_reply_push(NULL, 0, &ev, &n, NULL, &err), LLM_ERR_ARG, &err, "reply");
    error_is(llm_reply_finish(NULL, &ev, &n, &err), LLM_ERR_ARG, &err, "reply");
    error_is(llm_reply_message(NULL, &json, &n, &err), LLM_ERR_ARG, &err, "reply");
    error_is(llm_harmony_render(NULL, 0, NULL, 0, &n, &err), LLM_ERR_ARG, &err, "conversation");
    ck_assert_int_eq(llm_reply_forced(NULL), -1);
    ck_assert_uint_eq(llm_chat_count(NULL), 0);
    ck_assert_int_eq(llm_chat_get_info(NULL, &info), LLM_ERR_ARG);
    ck_assert_msg(llm_model_open(&m, &mo, &err) == LLM_OK, "%s", err.text);
    ck_assert(llm_chat_get_info(m, &info) == LLM_OK && !info.has_template && strcmp(info.family, "harmony") == 0);
    ck_assert_msg(llm_chat_open(&c, m, &co, &err) == LLM_OK, "%s", err.text);
    error_is(llm_chat_add(c, "[]", 2, &err), LLM_ERR_ARG, &err, "object");
    error_is(llm_chat_add(c, "{}", 2, &err), LLM_ERR_ARG, &err, "role");
    error_is(llm_chat_add(c, "{", 1, &err), LLM_ERR_FORMAT, &err, "message");
    error_is(llm_chat_add_text(c, "user", "\xff", 1, &err), LLM_ERR_ARG, &err, "UTF-8");
    error_is(llm_chat_set(c, "tools", "{}", 2, &err), LLM_ERR_ARG, &err, "list");
    error_is(llm_chat_set(c, "messages", "[]", 2, &err), LLM_ERR_ARG, &err, "llm_chat_add");
    error_is(llm_chat_load(c, "{\"messages\":[1]}", 16, &err), LLM_ERR_ARG, &err, "object");
    error_is(llm_chat_get(c, 0, &json, &n, &err), LLM_ERR_ARG, &err, "message 0 of 0");
    error_is(llm_chat_drop(c, 1, &err), LLM_ERR_ARG, &err, "1 messages");
    ck_assert_int_eq(llm_chat_add_text(c, "user", "Hi", 2, &err), LLM_OK);
    error_is(llm_chat_prompt(c, NULL, 0, &ids, &n, &err), LLM_ERR_UNSUPPORTED, &err, "nonsense");
    llm_chat_close(c);
    error_is(llm_reply_open(&r, m, &ro, &err), LLM_ERR_ARG, &err, "-2");
    ro.budget = 0, ro.cycle_repeats = 1;
    error_is(llm_reply_open(&r, m, &ro, &err), LLM_ERR_ARG, &err, "cycle_repeats is 1");
    ro.cycle_repeats = 0, ro.family = "klingon";
    error_is(llm_reply_open(&r, m, &ro, &err), LLM_ERR_ARG, &err, "klingon");
    ck_assert_int_eq(llm_reply_open(&r, m, NULL, &err), LLM_OK);
    error_is(llm_reply_message(r, &json, &n, &err), LLM_ERR_ARG, &err, "not finished");
    ck_assert_int_eq(llm_reply_get_stats(r, &stats), LLM_ERR_ARG);
    ck_assert_int_eq(llm_reply_push(r, -5, &ev, &n, NULL, &err), LLM_OK);      /* unknown ids are nothing */
    ck_assert_int_eq(llm_reply_finish(r, &ev, &n, &err), LLM_OK);
    error_is(llm_reply_push(r, 1, &ev, &n, NULL, &err), LLM_ERR_ARG, &err, "finished");
    llm_reply_close(r);
    llm_model_close(m);
}
END_TEST

START_TEST(model_options)
{
    struct { llm_model_options o; int newer; } future = { { .size = sizeof future, .path = one }, 0 };
    llm_model_options o = { .size = sizeof o };
    llm_model *m;
    llm_error err;

    error_is(llm_model_open(&m, &o, &err), LLM_ERR_ARG, &err, "path");
    o.path = "no/such/file.gguf";
    error_is(llm_model_open(&m, &o, &err), LLM_ERR_IO, &err, "no/such/file.gguf");
    ck_assert_ptr_null(m);
    o.backend = (llm_backend_kind)7;
    error_is(llm_model_open(&m, &o, &err), LLM_ERR_UNSUPPORTED, &err, "7");
    o.backend = LLM_BACKEND_CPU, o.n_threads = 5000;
    error_is(llm_model_open(&m, &o, &err), LLM_ERR_ARG, &err, "5000");
    o.n_threads = 0, o.cpu = "z80";
    error_is(llm_model_open(&m, &o, &err), LLM_ERR_UNSUPPORTED, &err, "z80");
    o.size = 0;
    error_is(llm_model_open(&m, &o, &err), LLM_ERR_ARG, &err, "size is 0");
    future.newer = 1;
    error_is(llm_model_open(&m, &future.o, &err), LLM_ERR_UNSUPPORTED, &err, "llm_model_options");
    if (access(one, R_OK) != 0) { test_skip("a newer program's options", "no reference models"); return; }
    future.newer = 0;
    ck_assert_msg(llm_model_open(&m, &future.o, &err) == LLM_OK, "%s", err.text);
    llm_model_close(m);
}
END_TEST

START_TEST(session_options_and_plan)
{
    static const struct { llm_session_options o; const char *word; } bad[] = {
        { { .n_ctx = -1 }, "n_ctx is -1" }, { { .n_ctx = INT_MAX }, "n_ctx is 2147483647" }, { { .n_seq = 257 }, "n_seq is 257" }, { { .n_seq = -5 }, "n_seq" },
        { { .n_batch = 1 << 20 }, "n_batch is 1048576" }, { { .n_threads = 1025 }, "n_threads is 1025" }, { { .kv_type = (llm_kv_type)9 }, "kv_type is 9" },
    };
    llm_session_options o;
    llm_memory_plan plan = { .size = sizeof plan }, wide = plan;
    subject m;
    llm_session *s;
    llm_error err;

    if (access(one, R_OK) != 0) { test_skip("session options", "no reference models"); return; }
    subject_open(&m, one, NULL, 1);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        o = bad[i].o, o.size = sizeof o;
        error_is(llm_session_open(&s, m.model, &o, &err), LLM_ERR_ARG, &err, bad[i].word);
        ck_assert_ptr_null(s);
        error_is(llm_session_plan(m.model, &o, &plan, &err), LLM_ERR_ARG, &err, bad[i].word);
    }
    o = (llm_session_options){ .size = sizeof o, .n_ctx = 1 << 24, .n_seq = 256 };
    error_is(llm_session_open(&s, m.model, &o, &err), LLM_ERR_MEMORY, &err, "256 x 16777216 tokens need");
    ck_assert_int_eq(llm_session_plan(m.model, &o, &wide, &err), LLM_OK);       /* a plan may be absurd */
    ck_assert_uint_gt(wide.kv_bytes, UINT64_C(1) << 38);
    o = (llm_session_options){ .size = sizeof o, .n_ctx = 100 };
    ck_assert_int_eq(llm_session_plan(m.model, &o, &plan, &err), LLM_OK);
    ck_assert(plan.kv_bytes > 0 && plan.scratch_bytes > 0 && plan.weight_bytes > 100000);
    o.n_seq = 2;
    ck_assert_int_eq(llm_session_plan(m.model, &o, &wide, &err), LLM_OK);
    ck_assert_uint_eq(wide.kv_bytes, 2 * plan.kv_bytes);
    plan.size = 0;
    error_is(llm_session_plan(m.model, &o, &plan, &err), LLM_ERR_ARG, &err, "size");
    ck_assert_int_eq(llm_session_open(&s, m.model, NULL, &err), LLM_OK);        /* NULL: all defaults */
    ck_assert_int_eq(llm_session_n_ctx(s), 512);
    ck_assert_ptr_null(llm_session_logits(s));
    ck_assert_int_eq(llm_session_length(s, 1), -1);
    error_is(llm_session_decode(s, NULL, 3, &err), LLM_ERR_ARG, &err, "tok");
    error_is(llm_session_decode(s, (llm_token[]){ 131 }, 1, &err), LLM_ERR_ARG, &err, "0..130");
    error_is(llm_session_copy(s, 0, 1, &err), LLM_ERR_ARG, &err, "sequence 1");
    error_is(llm_session_truncate(s, 0, 1, &err), LLM_ERR_ARG, &err, "cannot be cut to 1");
    llm_session_close(s), llm_model_close(m.model);
}
END_TEST

START_TEST(structs_of_older_and_newer_programs)
{
    llm_model_info info;
    struct { llm_model_info i; uint64_t newer; } future = { { .size = sizeof future }, 77 };
    llm_tensor_info t = { .size = sizeof t };
    llm_sampler_options defaults = { .size = sizeof defaults, .top_k = 5 };
    subject m;
    size_t n = 0, len;
    const char *key;
    char value[8];

    if (access(one, R_OK) != 0) { test_skip("struct sizes", "no reference models"); return; }
    subject_open(&m, one, NULL, 1);
    memset(&info, 0x55, sizeof info);
    info.size = offsetof(llm_model_info, n_layer) + sizeof info.n_layer;        /* a header that ended there */
    ck_assert_int_eq(llm_model_get_info(m.model, &info), LLM_OK);
    ck_assert_str_eq(info.arch, "llama");
    ck_assert_int_gt(info.n_layer, 0);
    ck_assert_int_eq(info.d_model, 0x55555555);
    ck_assert_int_eq(llm_model_get_info(m.model, &future.i), LLM_OK);
    ck_assert_uint_eq(future.newer, 0);
    ck_assert_uint_eq(future.i.size, sizeof future);
    ck_assert_int_eq(future.i.n_vocab, 131);
    ck_assert_uint_gt(future.i.n_param, 40000);
    info.size = 0;
    ck_assert_int_eq(llm_model_get_info(m.model, &info), LLM_ERR_ARG);
    while (llm_model_get_tensor(m.model, n, &t) == LLM_OK) {
        ck_assert(t.name != NULL && t.dtype != NULL && t.n_dim >= 1 && t.bytes > 0);
        n++;
    }
    ck_assert_uint_gt(n, 10);
    for (n = 0; llm_model_get_meta(m.model, n, &key, value, sizeof value, &len) == LLM_OK; n++)
        ck_assert(strlen(key) > 0 && memchr(value, 0, sizeof value) != NULL);
    ck_assert_uint_gt(n, 5);
    ck_assert_int_eq(llm_sampler_defaults(m.model, &defaults), LLM_OK);
    ck_assert_int_eq(defaults.top_k, 0);                    /* the file recommends nothing: greedy */
    ck_assert(defaults.temperature == 0);
    llm_model_close(m.model);
}
END_TEST

START_TEST(a_model_without_a_tokenizer_says_so)
{
    subject m;
    llm_detok *d;
    llm_error err;
    size_t n;

    if (access(one, R_OK) != 0) { test_skip("no tokenizer", "no reference models"); return; }
    subject_open(&m, one, NULL, 1);
    error_is(llm_tokenize(m.model, "a", 1, 0, NULL, 0, &n, &err), LLM_ERR_UNSUPPORTED, &err, "no tokenizer");
    error_is(llm_detok_open(&d, m.model, 0, &err), LLM_ERR_UNSUPPORTED, &err, "no tokenizer");
    error_is(llm_detok_open(&d, m.model, 64, &err), LLM_ERR_ARG, &err, "0x40");
    error_is(llm_tokenize(m.model, "a", 1, 512, NULL, 0, &n, &err), LLM_ERR_ARG, &err, "0x200");
    ck_assert_int_eq(llm_token_find(m.model, "a", 1), -1);
    llm_model_close(m.model);
}
END_TEST

START_TEST(status_texts)
{
    ck_assert_str_eq(llm_status_name(LLM_ERR_CONTEXT), "context");
    ck_assert_ptr_nonnull(llm_status_text((llm_status)12345));
    ck_assert_str_eq(llm_version(), LLM_VERSION);
}
END_TEST

LLM_TEST_MAIN("api/arguments", null_is_an_error_or_nothing, chat_arguments, model_options, session_options_and_plan,
              structs_of_older_and_newer_programs,
              a_model_without_a_tokenizer_says_so, status_texts)
