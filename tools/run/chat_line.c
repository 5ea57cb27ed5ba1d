#include "chat_line.h"
#include "line_edit.h"
#include "run.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct chat_line {
    line_edit *edit;            /* NULL: plain lines */
    char *history;              /* path, or NULL */
};

/* Makes each folder of path up to its last slash. */
static bool make_folders(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) { *p = '/'; return false; }
        *p = '/';
    }
    return true;
}

bool chat_state_file(const char *name, char *path, size_t cap)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;

    if (state && state[0] == '/') n = snprintf(path, cap, "%s/libllm/%s", state, name);
    else if (home && home[0] == '/') n = snprintf(path, cap, "%s/.local/state/libllm/%s", home, name);
    else return false;
    return n > 0 && (size_t)n < cap && make_folders(path);
}

chat_line *chat_line_open(const char *history, const char *const *commands)
{
    chat_line *l = tool_alloc(1, sizeof *l);

    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) l->edit = line_edit_open(history, commands);
    if (history && (l->history = strdup(history)) == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory");
    return l;
}

/* A line as it comes, without editing. getline may stop in the middle of a line for a signal. */
static line_kind plain_line(const char *prompt, char **text)
{
    size_t cap = 0;
    ssize_t n;
    bool terminal = isatty(STDIN_FILENO);

    *text = NULL;
    if (terminal) fputs(prompt, stdout), fflush(stdout);
    while (terminal && !run_wait_input(STDIN_FILENO)) {         /* a terminal hands out whole lines */
        run_resized = run_continued = 0;
        if (run_interrupted) { fputc('\n', stdout); return run_leaving ? LINE_END : LINE_INTERRUPT; }
    }
    errno = 0;
    n = getline(text, &cap, stdin);
    if (n < 0) {
        bool stopped = errno == EINTR && run_interrupted > 0 && !run_leaving;
        free(*text), *text = NULL;
        clearerr(stdin);
        if (terminal || stopped) fputc('\n', stdout);
        return stopped ? LINE_INTERRUPT : LINE_END;
    }
    if (n > 0 && (*text)[n - 1] == '\n') (*text)[--n] = '\0';
    return LINE_TEXT;
}

static line_kind one_line(chat_line *l, const char *prompt, char **text)
{
    return l->edit ? line_edit_read(l->edit, prompt, text) : plain_line(prompt, text);
}

/* a, a newline and b; both are freed. */
static char *join(char *a, char *b)
{
    size_t n = strlen(a), m = strlen(b);
    char *out = realloc(a, n + m + 2);

    if (out == NULL) tool_die_text(EXIT_NO_MEMORY, "out of memory");
    out[n] = '\n';
    memcpy(out + n + 1, b, m + 1);
    free(b);
    return out;
}

/* The rest of a text that began with """, which *text still holds; an end of the input ends it too. */
static line_kind quoted(chat_line *l, char **text)
{
    char *more, *whole = *text;
    line_kind kind = LINE_TEXT;
    size_t n;

    memmove(whole, whole + 3, strlen(whole + 3) + 1);
    for (;;) {
        n = strlen(whole);
        if (n >= 3 && memcmp(whole + n - 3, "\"\"\"", 3) == 0) { whole[n - 3] = '\0'; break; }
        if ((kind = one_line(l, "... ", &more)) != LINE_TEXT) break;
        whole = join(whole, more);
    }
    if (kind == LINE_INTERRUPT) { free(whole); return kind; }
    n = strlen(whole);
    if (whole[0] == '\n') memmove(whole, whole + 1, n--);
    if (n > 0 && whole[n - 1] == '\n') whole[n - 1] = '\0';
    *text = whole;
    return LINE_TEXT;
}

line_kind chat_line_read(chat_line *l, const char *prompt, char **text)
{
    line_kind kind = one_line(l, prompt, text);
    size_t n;

    if (kind != LINE_TEXT) return kind;
    if (strncmp(*text, "\"\"\"", 3) == 0) return quoted(l, text);
    while ((n = strlen(*text)) > 0 && (*text)[n - 1] == '\\') {
        char *more;
        (*text)[n - 1] = '\0';
        kind = one_line(l, "... ", &more);
        if (kind == LINE_INTERRUPT) { free(*text); return kind; }
        if (kind == LINE_END) return LINE_TEXT;
        *text = join(*text, more);
    }
    return LINE_TEXT;
}

void chat_line_remember(chat_line *l, const char *text)
{
    if (l->edit && text[0] != ' ' && text[0] != '\0') line_edit_remember(l->edit, text);
}

void chat_line_close(chat_line *l)
{
    if (l == NULL) return;
    if (l->edit) line_edit_close(l->edit, l->history);
    free(l->history);
    free(l);
}
