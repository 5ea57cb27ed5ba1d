/* Saved sessions: what is wrong with a file is said, and leaves the session empty. */
#include "subject.h"
#include <sys/stat.h>

static const char *const one = REF_DIR "/gpt-oss-f32/model.gguf";
static char dir[] = "/tmp/llm-state-test-XXXXXX", file[64], broken[64];

static bool ready(subject *s)
{
    if (access(one, R_OK) != 0) {
        test_skip("saved state", "no reference models in " REF_DIR);
        return false;
    }
    if (file[0] == 0) {
        ck_assert_ptr_nonnull(mkdtemp(dir));
        snprintf(file, sizeof file, "%s/state", dir), snprintf(broken, sizeof broken, "%s/broken", dir);
    }
    subject_open(s, one, NULL, 1);
    return true;
}

static char *read_all(const char *name, size_t *n)
{
    FILE *f = fopen(name, "rb");
    char *data;

    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END), *n = (size_t)ftell(f), rewind(f);
    data = malloc(*n + 1);
    ck_assert_uint_eq(fread(data, 1, *n, f), *n);
    fclose(f);
    return data;
}

static void write_all(const char *name, const char *data, size_t n)
{
    FILE *f = fopen(name, "wb");
    ck_assert(f != NULL && fwrite(data, 1, n, f) == n && fclose(f) == 0);
}

static llm_session *saved(subject *s, int n, size_t *bytes, char **data)
{
    llm_session *session = subject_session(s, (llm_session_options){ .n_seq = 2 });
    llm_error err;

    ck_assert_int_eq(llm_session_decode(session, s->token, (size_t)n, NULL), LLM_OK);
    ck_assert_msg(llm_session_save(session, file, &err) == LLM_OK, "%s", err.text);
    *data = read_all(file, bytes);
    return session;
}

static void refused(llm_session *session, llm_status want, const char *what)
{
    llm_error err = { 0 };
    llm_status st;

    ck_assert_int_eq(llm_session_decode(session, (llm_token[]){ 1, 2 }, 2, NULL), LLM_OK);      /* something to lose */
    st = llm_session_restore(session, broken, &err);
    ck_assert_msg(st != LLM_OK, "%s is restored", what);
    ck_assert_msg(want == LLM_OK || st == want, "%s: got %s: %s", what, llm_status_name(st), err.text);
    ck_assert_int_eq(err.status, st);
    ck_assert_ptr_nonnull(strstr(err.text, broken));
    for (int i = 0; i < 2; i++) ck_assert_int_eq(llm_session_length(session, i), 0);
}

START_TEST(every_cut_is_refused)
{
    subject s;
    llm_session *session;
    size_t n;
    char *data;

    if (!ready(&s)) return;
    session = saved(&s, 3, &n, &data);
    for (size_t cut = 0; cut < n; cut += cut < 200 || n - cut < 64 ? 1 : 37) {
        write_all(broken, data, cut);
        refused(session, LLM_ERR_FORMAT, "a cut file");
    }
    data = realloc(data, n + 1), data[n] = 0;
    write_all(broken, data, n + 1);
    refused(session, LLM_ERR_FORMAT, "a file with a byte to spare");
    free(data), llm_session_close(session), llm_model_close(s.model);
}
END_TEST

START_TEST(every_flipped_bit_is_refused)
{
    subject s;
    llm_session *session;
    size_t n;
    char *data;

    if (!ready(&s)) return;
    session = saved(&s, 3, &n, &data);
    for (size_t i = 0; i < n; i += i < 120 ? 1 : 11) {
        data[i] ^= (char)(1 << i % 8);
        write_all(broken, data, n);
        refused(session, LLM_OK, "a file with a flipped bit");
        data[i] ^= (char)(1 << i % 8);
    }
    write_all(broken, data, n);
    ck_assert_int_eq(llm_session_restore(session, broken, NULL), LLM_OK);
    ck_assert_int_eq(llm_session_length(session, 0), 3);
    free(data), llm_session_close(session), llm_model_close(s.model);
}
END_TEST

START_TEST(foreign_files_are_refused)
{
    subject s, other;
    llm_session *session, *small, *floats;
    llm_error err;
    size_t n;
    char *data;

    if (!ready(&s)) return;
    session = saved(&s, 100, &n, &data);
    write_all(broken, data, n);
    small = subject_session(&s, (llm_session_options){ .n_seq = 2, .n_ctx = 99 });
    refused(small, LLM_ERR_CONTEXT, "a longer sequence than fits");
    floats = subject_session(&s, (llm_session_options){ .n_seq = 2, .kv_type = LLM_KV_F32 });
    refused(floats, LLM_ERR_MISMATCH, "a cache of another type");
    llm_session_close(small), llm_session_close(floats);

    subject_open(&other, REF_DIR "/gpt-oss/model.gguf", NULL, 1);       /* the same shape but for its weights */
    small = subject_session(&other, (llm_session_options){ .n_seq = 2 });
    refused(small, LLM_ERR_MISMATCH, "another model's state");
    llm_session_close(small), llm_model_close(other.model);

    ck_assert_int_eq(unlink(broken), 0);
    refused(session, LLM_ERR_IO, "a file that is not there");
    ck_assert_int_eq(mkdir(broken, 0700), 0);
    refused(session, LLM_OK, "a folder");
    ck_assert_int_eq(rmdir(broken), 0);
    ck_assert_int_eq(mkfifo(broken, 0600), 0);
    refused(session, LLM_OK, "a pipe");
    ck_assert_int_eq(unlink(broken), 0);
    ck_assert_int_eq(llm_session_save(session, "/nonexistent/x", &err), LLM_ERR_IO);
    ck_assert_int_eq(llm_session_save(session, "", &err), LLM_ERR_ARG);
    ck_assert_int_eq(llm_session_save(session, dir, &err), LLM_ERR_IO);         /* a folder cannot be replaced */
    free(data), llm_session_close(session), llm_model_close(s.model);
}
END_TEST

START_TEST(a_failed_save_leaves_the_old_file)
{
    subject s;
    llm_session *session;
    llm_error err;
    size_t n, m;
    char *data, *again;

    if (!ready(&s)) return;
    session = saved(&s, 5, &n, &data);
    ck_assert_int_eq(chmod(dir, 0500), 0);
    if (geteuid() != 0) {                   /* root may write anyway */
        ck_assert_int_eq(llm_session_decode(session, s.token, 5, NULL), LLM_OK);
        ck_assert_int_eq(llm_session_save(session, file, &err), LLM_ERR_IO);
    }
    ck_assert_int_eq(chmod(dir, 0700), 0);
    again = read_all(file, &m);
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(data, again, n);
    free(again), free(data), llm_session_close(session), llm_model_close(s.model);
    unlink(file), rmdir(dir);               /* nothing else is left in the folder */
    ck_assert_int_ne(access(dir, F_OK), 0);
}
END_TEST

LLM_TEST_MAIN("run/state", every_cut_is_refused, every_flipped_bit_is_refused, foreign_files_are_refused, a_failed_save_leaves_the_old_file)
