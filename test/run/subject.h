/* subject.h - the reference models as the tests of the runtime use them: every family, both layouts, 200 tokens each. */
#ifndef LLM_TEST_SUBJECT_H
#define LLM_TEST_SUBJECT_H
#include "../llm_test.h"
#include "llm.h"
#include <dirent.h>
#include <stdbool.h>
#include <string.h>

enum { N_TOKEN = TEST_IS_SLOW ? 100 : 200 };   /* with 100 the windows' cells still come round */
enum { MAX_SUBJECT = 96 };
#ifndef REF_DIR
#define REF_DIR "test/data/ref"
#endif

typedef struct {
    char path[512];
    llm_model *model;
    int n_vocab;
    llm_token token[N_TOKEN];           /* those of the reference, then random ones */
} subject;

/* Paths of all reference models and the bundled one, in a fixed order. */
static inline int subject_list(char path[MAX_SUBJECT + 1][512])
{
#ifdef LLM_TEST_PLAIN                   /* there is no JSON (plain_text.c), and large models take too long */
    static const char *const layout[] = { "model.gguf" }, bundled[] = "";
#else
    static const char *const layout[] = { "hf", "model.gguf" }, bundled[] = "tools/demo/demo-gpt-oss.gguf";
#endif
    struct dirent **entry;
    int n = scandir(REF_DIR, &entry, NULL, alphasort), found = 0;

    for (int i = 0; i < n; i++) {
        for (size_t k = 0; k < sizeof layout / sizeof layout[0] && found < MAX_SUBJECT && entry[i]->d_name[0] != '.'; k++) {
            snprintf(path[found], 512, "%s/%.100s/%s", REF_DIR, entry[i]->d_name, layout[k]);
            if (access(path[found], R_OK) == 0) found++;
        }
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    if (access(bundled, R_OK) == 0) strcpy(path[found++], bundled);
    return found;
}

static inline void subject_open(subject *s, const char *path, const char *cpu, int n_threads)
{
    llm_model_options o = { .size = sizeof o, .path = path, .cpu = cpu, .n_threads = n_threads };
    llm_model_info info = { .size = sizeof info };
    uint32_t random = 12345;
    char name[600];
    llm_error err;
    FILE *f;
    int n = 0;

    snprintf(s->path, sizeof s->path, "%s", path);
    ck_assert_msg(llm_model_open(&s->model, &o, &err) == LLM_OK, "%s: %s", path, err.text);
    ck_assert_int_eq(llm_model_get_info(s->model, &info), LLM_OK);
    s->n_vocab = info.n_vocab;
    snprintf(name, sizeof name, "%.*s/tokens.npy", (int)(strrchr(path, '/') - path), path);
    if ((f = fopen(name, "rb")) != NULL) {          /* int32, one dimension; 128 bytes of header */
        if (fseek(f, 128, SEEK_SET) == 0) n = (int)fread(s->token, sizeof *s->token, N_TOKEN, f);
        fclose(f);
    }
    for (; n < N_TOKEN; n++) {
        random = random * 1664525u + 1013904223u;
        s->token[n] = (int)(random >> 8) % s->n_vocab;
    }
}

static inline llm_session *subject_session(const subject *s, llm_session_options o)
{
    llm_session *session;
    llm_error err;

    o.size = sizeof o;
    if (o.n_ctx == 0) o.n_ctx = 256;
    ck_assert_msg(llm_session_open(&session, s->model, &o, &err) == LLM_OK, "%s: %s", s->path, err.text);
    return session;
}

/* Appends tokens begin .. end - 1 of the subject to a sequence; their logits go to out + begin rows. */
static inline void subject_decode(const subject *s, llm_session *session, int seq, int begin, int end, float *out)
{
    llm_row row[N_TOKEN];
    llm_error err;
    size_t n = (size_t)(end - begin), width = (size_t)s->n_vocab;

    for (size_t i = 0; i < n; i++) row[i] = (llm_row){ .token = s->token[begin + (int)i], .seq = seq, .want_logits = 1 };
    ck_assert_msg(llm_session_decode_rows(session, row, n, &err) == LLM_OK, "%s: %s", s->path, err.text);
    ck_assert_uint_eq(llm_session_n_logits(session), n);
    memcpy(out + (size_t)begin * width, llm_session_logits(session), n * width * sizeof *out);
}

/* All logits [N_TOKEN, n_vocab], prompt at once; malloc'ed. */
static inline float *subject_logits(const subject *s, llm_session_options o)
{
    float *out = malloc((size_t)N_TOKEN * (size_t)s->n_vocab * sizeof *out);
    llm_session *session = subject_session(s, o);

    subject_decode(s, session, 0, 0, N_TOKEN, out);
    llm_session_close(session);
    return out;
}

/* Fails with the first position and id whose bits differ. */
static inline void subject_same(const subject *s, const char *what, const float *got, const float *want)
{
    size_t n = (size_t)N_TOKEN * (size_t)s->n_vocab;

    if (memcmp(got, want, n * sizeof *got) == 0) return;
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            ck_abort_msg("%s: %s: position %zu, id %zu: got %.9g, want %.9g", s->path, what, i / (size_t)s->n_vocab,
                         i % (size_t)s->n_vocab, (double)got[i], (double)want[i]);
}

#endif
