/* chat_pty_test.c - llm-run at a terminal: a pseudo-terminal types, and a small screen shows what a person would see.
 *
 * The model answers by a script (tools/reference/make_chat_model.py), so every word of the conversation is known. */
#include "../llm_test.h"
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <wchar.h>

#define MODEL  "test/data/chat/scripted.gguf"
#define ANSWER "The answer is 안녕 👋 friend!!"
#define READY  ">>> "
enum { COLUMNS = 100, SEEN = 1 << 20, PATIENCE_MS = 30000 };

typedef struct {
    int fd;
    pid_t pid;
    char *seen;                         /* [n] all output so far */
    size_t n, mark;                     /* mark: behind what the last expect found */
    bool edits;                         /* the build edits lines */
    char home[64];
} terminal;

static const char *program(void)
{
    static char path[600];
    const char *build = getenv("BUILD");

    snprintf(path, sizeof path, "%s/llm-run", build ? build : "build/release");
    return path;
}

/* ---- the terminal ---- */

/* Reads what comes within ms; false: nothing more will come. */
static bool take(terminal *t, int ms)
{
    struct pollfd p = { .fd = t->fd, .events = POLLIN };
    ssize_t got;

    if (poll(&p, 1, ms) <= 0) return true;
    ck_assert_msg(t->n + 4096 < SEEN, "the program does not stop talking");
    got = read(t->fd, t->seen + t->n, 4096);
    if (got <= 0) return false;
    t->n += (size_t)got;
    t->seen[t->n] = '\0';
    return true;
}

static double now_ms(void)
{
    struct timespec s;

    clock_gettime(CLOCK_MONOTONIC, &s);
    return 1e3 * (double)s.tv_sec + 1e-6 * (double)s.tv_nsec;
}

/* Waits until text comes behind what was last expected. */
static void expect(terminal *t, const char *text)
{
    double until = now_ms() + PATIENCE_MS;
    char *at;

    while ((at = memmem(t->seen + t->mark, t->n - t->mark, text, strlen(text))) == NULL) {
        bool more = take(t, 100);
        ck_assert_msg(more && now_ms() < until, "want '%s', got '%.1500s'", text, t->seen + t->mark);
    }
    t->mark = (size_t)(at - t->seen) + strlen(text);
}

static bool has_seen(const terminal *t, const char *text) { return memmem(t->seen, t->n, text, strlen(text)) != NULL; }

static void type(terminal *t, const char *text)
{
    ck_assert_int_eq((int)write(t->fd, text, strlen(text)), (int)strlen(text));
}

/* A line, when the program waits for one. */
static void say(terminal *t, const char *line)
{
    type(t, line);
    type(t, "\r");
}

/* args: words with one blank between. env: NAME=VALUE or NULL. */
static terminal start_with(const char *args, const char *env)
{
    terminal t = { .seen = malloc(SEEN), .home = "/tmp/llm-pty-XXXXXX" };
    struct winsize size = { .ws_row = 30, .ws_col = COLUMNS };
    char copy[400], *argv[40] = { (char *)(size_t)program() };
    int n = 1;

    ck_assert(t.seen != NULL && mkdtemp(t.home) != NULL);
    snprintf(copy, sizeof copy, "%s", args);
    for (char *w = strtok(copy, " "); w && n < 39; w = strtok(NULL, " ")) argv[n++] = w;
    t.pid = forkpty(&t.fd, NULL, NULL, &size);
    ck_assert_int_ge(t.pid, 0);
    if (t.pid == 0) {
        setenv("TERM", "xterm", 1), setenv("XDG_STATE_HOME", t.home, 1), setenv("LC_ALL", "C", 1), setenv("HOME", t.home, 1);
        unsetenv("NO_COLOR");
        if (env) putenv((char *)(size_t)env);
        execv(argv[0], argv);
        _exit(127);
    }
    return t;
}

static terminal start(const char *args)
{
    terminal t = start_with(args, NULL);

    expect(&t, READY);
    t.edits = has_seen(&t, "\033[?2004h");
    return t;
}

/* The exit status when it has ended; what is left of the output is read. */
static int end(terminal *t)
{
    double until = now_ms() + PATIENCE_MS;
    int status = 0;

    while (take(t, 100) && now_ms() < until && waitpid(t->pid, &status, WNOHANG) == 0) continue;
    if (now_ms() >= until) kill(t->pid, SIGKILL);
    waitpid(t->pid, &status, 0);
    close(t->fd);
    free(t->seen);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void forget_home(const terminal *t)
{
    char command[200];

    snprintf(command, sizeof command, "rm -rf %s", t->home);
    ck_assert_int_eq(system(command), 0);
}

static void leave(terminal *t)
{
    say(t, "/bye");
    ck_assert_int_eq(end(t), 0);
    forget_home(t);
}

/* ---- the screen: one line of it ---- */

typedef struct { wchar_t cell[COLUMNS + 2]; int x; } screen;    /* 0: right half of a wide character */

static void put_char(screen *s, wchar_t c)
{
    int w = wcwidth(c);

    if (w <= 0 || s->x + w > COLUMNS) return;
    s->cell[s->x++] = c;
    if (w == 2) s->cell[s->x++] = 0;
}

/* ESC [ number letter, of which libedit uses a few. */
static void control(screen *s, int n, char letter)
{
    int k = n > 0 ? n : 1;

    if (letter == 'C') s->x += k;
    if (letter == 'D') s->x -= k;
    if (letter == 'G') s->x = k - 1;
    if (letter == 'K') for (int i = s->x; i < COLUMNS; i++) s->cell[i] = L' ';
    if (letter == 'P') for (int i = s->x; i < COLUMNS; i++) s->cell[i] = i + k < COLUMNS ? s->cell[i + k] : L' ';
    if (letter == '@') for (int i = COLUMNS - 1; i >= s->x; i--) s->cell[i] = i - k >= s->x ? s->cell[i - k] : L' ';
    s->x = s->x < 0 ? 0 : s->x >= COLUMNS ? COLUMNS - 1 : s->x;
}

/* What the last line looks like, without the blanks at its end. */
static void last_line(const terminal *t, char *out, size_t cap)
{
    screen s;
    mbstate_t state = { 0 };
    wchar_t text[COLUMNS + 2], c;
    int n = 0, end;

    wmemset(s.cell, L' ', COLUMNS + 2), s.x = 0;
    for (size_t i = 0; i < t->n;) {
        size_t len = mbrtowc(&c, t->seen + i, t->n - i, &state);
        if (len == 0 || len > 4) { memset(&state, 0, sizeof state); i++; continue; }
        i += len;
        if (c == 0x1b && t->seen[i] == '[') {
            char *stop = t->seen + i + 1 + strspn(t->seen + i + 1, "?0123456789;");
            control(&s, atoi(t->seen + i + 1), *stop);
            i = (size_t)(stop - t->seen) + 1;
        } else if (c == L'\r') s.x = 0;
        else if (c == L'\b') s.x -= s.x > 0;
        else if (c == L'\n') wmemset(s.cell, L' ', COLUMNS);
        else if (c >= 0x20) put_char(&s, c);
    }
    for (end = COLUMNS; end > 0 && s.cell[end - 1] == L' '; end--) continue;
    for (int i = 0; i < end; i++)
        if (s.cell[i]) text[n++] = s.cell[i];
    text[n] = 0;
    wcstombs(out, text, cap);
}

/* Waits until the line the user edits looks like this. */
static void expect_line(terminal *t, const char *want)
{
    double until = now_ms() + 5000;
    char got[1000];

    do take(t, 50), last_line(t, got, sizeof got);
    while (strcmp(got, want) != 0 && now_ms() < until);
    ck_assert_str_eq(got, want);
}

/* ---- tests ---- */

START_TEST(answers_and_counts)
{
    terminal t = start(MODEL);

    say(&t, "hello");
    expect(&t, "\033[2mI look at the question.\033[0m");
    expect(&t, ANSWER);
    expect(&t, "reasoning 5, answer 7, format 3 tokens");
    expect(&t, READY);
    say(&t, "again");
    expect(&t, "24 cached");
    expect(&t, READY);
    leave(&t);
}
END_TEST

START_TEST(runs_every_command)
{
    terminal t = start(MODEL);
    char command[200];

    say(&t, "/help"), expect(&t, "/nothink"), expect(&t, READY);
    say(&t, "hello"), expect(&t, ANSWER), expect(&t, READY);
    say(&t, "/tokens"), expect(&t, "of 16384 tokens"), expect(&t, "all turns: reasoning 5, answer 7"), expect(&t, READY);
    say(&t, "/nothink"), expect(&t, "without thinking"), expect(&t, READY);
    say(&t, "/regen"), expect(&t, ANSWER), expect(&t, "reasoning 0, answer 7"), expect(&t, READY);
    say(&t, "/think"), expect(&t, "thinks before"), expect(&t, READY);
    say(&t, "/set thinking hide"), expect(&t, "thinking is hide"), expect(&t, READY);
    say(&t, "/set system Be brief."), expect(&t, "is set"), expect(&t, READY);
    say(&t, "/show prompt"), expect(&t, "<|im_start|>system\r\nBe brief.<|im_end|>"), expect(&t, READY);
    say(&t, "/show messages"), expect(&t, "user: hello"), expect(&t, "assistant: "), expect(&t, ANSWER), expect(&t, READY);
    say(&t, "/show"), expect(&t, "Be brief."), expect(&t, READY);
    snprintf(command, sizeof command, "/save %s/talk.json", t.home);
    say(&t, command), expect(&t, "has the conversation"), expect(&t, READY);
    say(&t, "/clear"), expect(&t, "is empty"), expect(&t, READY);
    snprintf(command, sizeof command, "/load %s/talk.json", t.home);
    say(&t, command), expect(&t, "3 messages"), expect(&t, READY);
    say(&t, "/read test/data/demo/expected.json"), expect(&t, "goes before your next message"), expect(&t, "(file) >>> ");
    say(&t, "what is that?"), expect(&t, ANSWER), expect(&t, READY);
    say(&t, "/show messages"), expect(&t, "perplexity"), expect(&t, "what is that?"), expect(&t, READY);
    say(&t, "/no such"), expect(&t, "no command /no"), expect(&t, READY);
    leave(&t);
}
END_TEST

START_TEST(edits_lines)
{
    terminal t = start(MODEL " --no-think");

    if (!t.edits) {
        test_skip("edits_lines", "this build has no libedit");
        leave(&t);
        return;
    }
    type(&t, "helo\033[Dl"), expect_line(&t, ">>> hello");
    say(&t, ""), expect(&t, ANSWER), expect(&t, READY);
    type(&t, "\033[A"), expect_line(&t, ">>> hello");
    type(&t, "\025/he\t"), expect_line(&t, ">>> /help");
    type(&t, "\025"), expect_line(&t, ">>>");
    type(&t, "one\033\rtwo\r"), expect(&t, ANSWER), expect(&t, READY);
    say(&t, "/show messages"), expect(&t, "user: hello"), expect(&t, "user: one\r\ntwo"), expect(&t, READY);
    leave(&t);
}
END_TEST

START_TEST(knows_how_wide_characters_are)
{
    terminal t = start(MODEL " --no-think");

    if (!t.edits) {
        test_skip("knows_how_wide_characters_are", "this build has no libedit");
        leave(&t);
        return;
    }
    type(&t, "안녕하세요"), expect_line(&t, ">>> 안녕하세요");
    type(&t, "\177\177"), expect_line(&t, ">>> 안녕하");
    type(&t, "\033[D\033[D가"), expect_line(&t, ">>> 안가녕하");
    type(&t, "\001👋🏽 "), expect_line(&t, ">>> 👋🏽 안가녕하");
    type(&t, "\005!"), expect_line(&t, ">>> 👋🏽 안가녕하!");
    type(&t, "\001\033[C\033[C\033[3~"), expect_line(&t, ">>> 👋🏽안가녕하!");
    say(&t, ""), expect(&t, ANSWER), expect(&t, READY);
    say(&t, "/show messages"), expect(&t, "user: 👋🏽안가녕하!"), expect(&t, READY);
    leave(&t);
}
END_TEST

START_TEST(takes_several_lines)
{
    terminal t = start(MODEL " --no-think");

    say(&t, "\"\"\"first"), expect(&t, "... "), say(&t, "second"), expect(&t, "... "), say(&t, "third\"\"\""), expect(&t, ANSWER), expect(&t, READY);
    say(&t, "four\\"), expect(&t, "... "), say(&t, "five"), expect(&t, ANSWER), expect(&t, READY);
    if (t.edits) {
        type(&t, "\033[200~six\nseven\tand\n/bye\neight\033[201~"), say(&t, " nine"), expect(&t, ANSWER), expect(&t, READY);
        say(&t, "/show messages"), expect(&t, "user: six\r\nseven\tand\r\n/bye\r\neight nine"), expect(&t, READY);
    }
    say(&t, "/show messages"), expect(&t, "user: first\r\nsecond\r\nthird"), expect(&t, "user: four\r\nfive"), expect(&t, READY);
    leave(&t);
}
END_TEST

START_TEST(stops_and_leaves)
{
    terminal t = start(MODEL " --cycle-break 0");

    type(&t, "half a line"), take(&t, 300), type(&t, "\003"), expect(&t, "Ctrl-D or /bye leaves"), expect(&t, READY);
    say(&t, "go on forever"), expect(&t, "about the house, round"), type(&t, "\003"), expect(&t, "(stopped)"), expect(&t, READY);
    say(&t, "hello"), expect(&t, ANSWER), expect(&t, READY);
    say(&t, "/show messages"), expect(&t, "user: go on forever"), expect(&t, "about the house"), expect(&t, "user: hello"), expect(&t, READY);
    take(&t, 200), type(&t, "\004");
    ck_assert_int_eq(end(&t), 0);
    forget_home(&t);
}
END_TEST

START_TEST(breaks_circles)
{
    terminal t = start(MODEL);

    say(&t, "go on forever"), expect(&t, "went round in circles"), expect(&t, READY);
    leave(&t);
}
END_TEST

START_TEST(colours_only_where_wanted)
{
    static const struct { const char *args, *env; bool colour; } row[] = {
        { MODEL, NULL, true }, { MODEL, "NO_COLOR=1", false }, { MODEL " --color always", "NO_COLOR=1", true }, { MODEL " --color never", NULL, false },
        { MODEL, "TERM=dumb", false },
    };

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        terminal t = start_with(row[i].args, row[i].env);
        expect(&t, READY), say(&t, "hello"), expect(&t, ANSWER), expect(&t, READY);
        ck_assert_msg(has_seen(&t, "\033[2m") == row[i].colour, "%s %s", row[i].args, row[i].env ? row[i].env : "");
        leave(&t);
    }
}
END_TEST

START_TEST(keeps_a_history)
{
    terminal t = start(MODEL);
    char path[200], text[4096] = "";
    struct stat info;
    FILE *f;
    bool edits = t.edits;

    if (!edits) test_skip("keeps_a_history", "this build has no libedit");
    say(&t, "a line to keep"), expect(&t, ANSWER), expect(&t, READY);
    say(&t, " a line to forget"), expect(&t, ANSWER), expect(&t, READY);
    snprintf(path, sizeof path, "%s/libllm/history", t.home);
    say(&t, "/bye");
    ck_assert_int_eq(end(&t), 0);
    if (edits) {
        ck_assert_int_eq(stat(path, &info), 0);
        ck_assert_int_eq((int)(info.st_mode & 0777), 0600);
        f = fopen(path, "r");
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        fclose(f);
        ck_assert_ptr_nonnull(strstr(text, "keep"));
        ck_assert_ptr_null(strstr(text, "forget"));
    }
    forget_home(&t);
    t = start(MODEL " --no-history");
    say(&t, "hello"), expect(&t, ANSWER), expect(&t, READY);
    snprintf(path, sizeof path, "%s/libllm", t.home);
    ck_assert_int_ne(access(path, F_OK), 0);
    leave(&t);
}
END_TEST

START_TEST(asks_for_what_tools_say)
{
    char tools[] = "/tmp/llm-pty-tools-XXXXXX", args[200];
    static const char list[] = "[{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"parameters\": {}}}]";
    int fd = mkstemp(tools);
    terminal t;

    ck_assert(fd >= 0 && write(fd, list, sizeof list - 1) == (ssize_t)sizeof list - 1);
    close(fd);
    snprintf(args, sizeof args, MODEL " --tools %s", tools);
    t = start(args);
    say(&t, "How is the weather?"), expect(&t, "tool_call get_weather {\"city\":\"Seoul\"}"), expect(&t, "get_weather> ");
    say(&t, "21 degrees"), expect(&t, ANSWER), expect(&t, READY);
    say(&t, "/show messages"), expect(&t, "tool: 21 degrees"), expect(&t, READY);
    say(&t, "And tomorrow?"), expect(&t, "get_weather> "), type(&t, "\003"), expect(&t, "taken back"), expect(&t, READY);
    leave(&t);
    unlink(tools);
}
END_TEST

START_TEST(shows_progress)
{
    char text[] = "/tmp/llm-pty-text-XXXXXX", command[200];
    int fd = mkstemp(text);
    terminal t = start(MODEL " -c 60000 --no-think -b 128");

    for (int i = 0; i < 5500; i++) ck_assert_int_eq((int)write(fd, "long text ", 10), 10);
    close(fd);
    snprintf(command, sizeof command, "/read %s What is it?", text);
    say(&t, command), expect(&t, "prompt ["), expect(&t, "of 550"), expect(&t, "tokens/s"), expect(&t, "left");
    type(&t, "\003"), expect(&t, "stopped before the answer"), expect(&t, READY);
    say(&t, "/show messages"), expect(&t, "/show messages"), expect(&t, READY);
    ck_assert_msg(memmem(t.seen, t.n, "user: ", 6) == NULL, "a message that was not answered stayed");
    leave(&t);
    t = start(MODEL " -c 1000");
    say(&t, command), expect(&t, "the prompt has 55032 tokens and the context holds 1000 tokens"), expect(&t, READY);
    leave(&t);
    unlink(text);
}
END_TEST

START_TEST(ends_with_its_terminal)
{
    terminal t = start(MODEL " --cycle-break 0 -c 60000");
    int status = 0;
    double until = now_ms() + PATIENCE_MS;

    say(&t, "go on forever"), expect(&t, "about the house, round");
    close(t.fd);
    while (waitpid(t.pid, &status, WNOHANG) == 0 && now_ms() < until) usleep(20000);
    ck_assert_msg(now_ms() < until, "it goes on without a terminal");
    free(t.seen);
    forget_home(&t);
}
END_TEST

int main(void)
{
    const TTest *const all[] = {
        answers_and_counts, runs_every_command, edits_lines, knows_how_wide_characters_are, takes_several_lines, stops_and_leaves, breaks_circles,
        colours_only_where_wanted, keeps_a_history, asks_for_what_tools_say, shows_progress, ends_with_its_terminal,
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    if (access(MODEL, R_OK) != 0 || access(program(), X_OK) != 0) {
        printf("SKIP tools/chat_pty: no %s or no %s\ntools/chat_pty: 0 passed, 0 failed, 1 skipped\n", MODEL, program());
        return 0;
    }
    return test_main("tools/chat_pty", all, sizeof all / sizeof all[0]);
}
