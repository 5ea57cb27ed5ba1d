/* Quantized copies: made once, used while they are what they were made from, made again when source, options or file change. */
#include "../llm_test.h"
#include "llm.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[64], source[128], folder[128], path[4096];

static void copy_file(const char *from, const char *to)
{
    char buf[65536];
    size_t n;
    FILE *f = fopen(from, "rb"), *g = fopen(to, "wb");
    ck_assert_msg(f && g, "%s to %s", from, to);
    while ((n = fread(buf, 1, sizeof buf, f)) > 0) fwrite(buf, 1, n, g);
    fclose(f), fclose(g);
}

static void begin(void)
{
    strcpy(dir, "/tmp/llm-cache-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(source, sizeof source, "%s/model.gguf", dir), snprintf(folder, sizeof folder, "%s/a/cache", dir);
    copy_file("tools/demo/demo-gpt-oss.gguf", source);
}

static void end(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static char said[512];

static void on_log(void *user, llm_log_level level, const char *line)
{
    (void)user, (void)level;
    snprintf(said, sizeof said, "%s", line);
}

/* The path, and whether it had to be made. */
static bool made(const char *type)
{
    llm_quantize_options o = { .size = sizeof o, .in = source, .type = type, .n_threads = 2, .log = on_log };
    llm_quantize_result r = { .size = sizeof r };
    llm_error err = { LLM_OK, "" };

    *said = '\0';
    ck_assert_msg(llm_quantize_cached(&o, folder, path, sizeof path, &r, &err) == LLM_OK, "%s", err.text);
    return r.bytes > 0;
}

static void opens(void)
{
    llm_model_options o = { .size = sizeof o, .path = path };
    llm_model *m;
    llm_error err = { LLM_OK, "" };
    ck_assert_msg(llm_model_open(&m, &o, &err) == LLM_OK, "%s", err.text);
    llm_model_close(m);
}

/* Writes one byte at `at`, counted from the end where negative, and puts the time back if keep_time. */
static void damage(const char *file, long at, bool keep_time)
{
    struct stat st;
    FILE *f = fopen(file, "r+b");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(stat(file, &st), 0);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    fputc(c ^ 1, f), fclose(f);
    struct timespec both[2] = { st.st_atim, st.st_mtim };
    if (keep_time) ck_assert_int_eq(utimensat(AT_FDCWD, file, both, 0), 0);
}

START_TEST(made_once_and_again_when_it_must_be)
{
    char first[4096];
    struct timespec now[2] = { { 0, UTIME_NOW }, { 1000, 0 } };

    begin();
    ck_assert(made("q8_0"));
    opens();
    strcpy(first, path);
    ck_assert(!made("Q8_0"));
    ck_assert_str_eq(first, path);
    ck_assert(made("q4_0"));
    ck_assert_str_ne(first, path);
    ck_assert(!made("q8_0"));

    damage(path, -5000, true);
    ck_assert(made("q8_0"));
    ck_assert_msg(strstr(said, "damaged"), "%s", said);
    opens();
    ck_assert_int_eq(truncate(path, 100000), 0);
    ck_assert(made("q8_0"));
    ck_assert_msg(strstr(said, "size"), "%s", said);
    ck_assert_int_eq(utimensat(AT_FDCWD, path, now, 0), 0);             /* a copy: the same bytes at another time */
    ck_assert(!made("q8_0"));

    damage(source, -5000, true);
    ck_assert(made("q8_0"));
    ck_assert_msg(strstr(said, "source"), "%s", said);
    ck_assert(!made("q8_0"));
    char record[4096];
    snprintf(record, sizeof record, "%.*s.json", (int)strlen(path) - 5, path);
    FILE *f = fopen(record, "w");
    fputs("{ broken", f), fclose(f);
    ck_assert(made("q8_0"));
    unlink(record);
    ck_assert(made("q8_0"));
    unlink(path);
    ck_assert(made("q8_0"));
    ck_assert(!made("q8_0"));
    end();
}
END_TEST

START_TEST(several_at_once_make_one)
{
    enum { N = 4 };
    int count = 0;
    pid_t pid[N];

    begin();
    for (int i = 0; i < N; i++)
        if ((pid[i] = fork()) == 0) _exit(made("q5_0") ? 10 : 0);
    for (int i = 0; i < N; i++) {
        int status;
        ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
        ck_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 10));
        count += WEXITSTATUS(status) == 10;
    }
    ck_assert_int_eq(count, 1);
    ck_assert(!made("q5_0"));
    opens();
    end();
}
END_TEST

START_TEST(wrong_arguments)
{
    llm_quantize_options o = { .size = sizeof o, .in = "tools/demo/demo-gpt-oss.gguf", .type = "Q8_0" };
    llm_error err;
    char file[128];

    ck_assert_int_eq(llm_quantize_cached(&o, NULL, path, sizeof path, NULL, &err), LLM_ERR_ARG);
    ck_assert_int_eq(llm_quantize_cached(NULL, "x", path, sizeof path, NULL, &err), LLM_ERR_ARG);
    begin();
    snprintf(file, sizeof file, "%s/model.gguf/cache", dir);
    ck_assert_int_eq(llm_quantize_cached(&o, file, path, sizeof path, NULL, &err), LLM_ERR_IO);
    ck_assert_int_eq(llm_quantize_cached(&o, folder, path, 10, NULL, &err), LLM_ERR_ARG);
    o.type = "Q9";
    ck_assert_int_eq(llm_quantize_cached(&o, folder, path, sizeof path, NULL, &err), LLM_ERR_ARG);
    o.type = "Q8_0", o.in = "/nonexistent";
    ck_assert_int_eq(llm_quantize_cached(&o, folder, path, sizeof path, NULL, &err), LLM_ERR_IO);
    end();
}
END_TEST

LLM_TEST_MAIN("quant/cache", made_once_and_again_when_it_must_be, several_at_once_make_one, wrong_arguments)
