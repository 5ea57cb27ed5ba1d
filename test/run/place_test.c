/* A session whose threads are told where to run, on a machine that is said to have two nodes: the same bits, and all weights read once. */
#include "subject.h"
#include "place.h"
#include "threads.h"

enum { STEP = 40 };
static int read_layers, stop_at;

static int note_reading(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    if (strcmp(what, "reading") != 0) return 0;
    ck_assert_uint_le(done, total);
    return ++read_layers == stop_at;
}

static llm_model *open_model(const char *path)
{
    llm_model_options o = { .size = sizeof o, .path = path, .progress = note_reading };
    llm_model *m;
    llm_error err;

    ck_assert_msg(llm_model_open(&m, &o, &err) == LLM_OK, "%s: %s", path, err.text);
    return m;
}

static llm_session *open_session(llm_model *m, int pin)
{
    llm_session_options o = { .size = sizeof o, .n_ctx = 64, .n_threads = 3, .pin_threads = pin };
    llm_session *s;
    llm_error err;

    ck_assert_msg(llm_session_open(&s, m, &o, &err) == LLM_OK, "%s", err.text);
    return s;
}

static core_list two_nodes(void)
{
    core_list here, l = { .n = 2, .n_node = 2, .core = { { .node = 0 }, { .node = 1 } } };

    threads_cores(&here);
    for (int i = 0; i < 2; i++) l.core[i].cpu = here.core[i % here.n].cpu;
    return l;
}

START_TEST(places_change_no_bit)
{
    static char path[MAX_SUBJECT + 1][512];
    int n = subject_list(path);

    for (int i = 0; i < n; i++) {
        llm_model *m = open_model(path[i]);
        llm_session *plain = open_session(m, 0), *pinned = open_session(m, 1), *spread = open_session(m, 0);
        llm_model_info info = { .size = sizeof info };
        llm_token t[STEP];
        llm_error err;
        core_list two = two_nodes();
        size_t bytes;
        ck_assert_int_eq(llm_model_get_info(m, &info), LLM_OK);
        for (int k = 0; k < STEP; k++) t[k] = k * 7 % info.n_vocab;
        read_layers = 0;
        ck_assert_int_eq(session_place(spread, &two, false, &err), LLM_OK);
        ck_assert_int_eq(read_layers, info.n_layer);
        ck_assert_int_eq(llm_session_decode(plain, t, STEP, &err), LLM_OK);
        ck_assert_int_eq(llm_session_decode(pinned, t, STEP, &err), LLM_OK);
        ck_assert_int_eq(llm_session_decode(spread, t, STEP, &err), LLM_OK);
        bytes = (size_t)info.n_vocab * sizeof(float);
        ck_assert_mem_eq(llm_session_logits(plain), llm_session_logits(pinned), bytes);
        ck_assert_mem_eq(llm_session_logits(plain), llm_session_logits(spread), bytes);
        llm_session_close(plain), llm_session_close(pinned), llm_session_close(spread);
        llm_model_close(m);
    }
}
END_TEST

START_TEST(one_node_reads_nothing_and_two_can_be_stopped)
{
    llm_model *m = open_model("tools/demo/demo-gpt-oss.gguf");
    llm_session *s = open_session(m, 0);
    core_list one = two_nodes(), two = one;
    llm_error err;

    one.n_node = 1, one.core[1].node = 0;
    read_layers = 0;
    ck_assert_int_eq(session_place(s, &one, true, &err), LLM_OK);
    ck_assert_int_eq(read_layers, 0);
    stop_at = 2;
    ck_assert_int_eq(session_place(s, &two, false, &err), LLM_ERR_CANCELLED);
    stop_at = 0;
    llm_session_close(s);
    llm_model_close(m);
}
END_TEST

LLM_TEST_MAIN("run/place", places_change_no_bit, one_node_reads_nothing_and_two_can_be_stopped)
