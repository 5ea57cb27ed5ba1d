#include "line_edit.h"
#ifndef LLM_EDIT
#include <stddef.h>

line_edit *line_edit_open(const char *history, const char *const *commands) { (void)history, (void)commands; return NULL; }
line_kind line_edit_read(line_edit *e, const char *prompt, char **text) { (void)e, (void)prompt, (void)text; return LINE_END; }
void line_edit_remember(line_edit *e, const char *text) { (void)e, (void)text; }
void line_edit_close(line_edit *e, const char *history) { (void)e, (void)history; }
#else
#include "run.h"
#include <errno.h>
#include <histedit.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

enum { KEPT = 1000, PEND = 8 };     /* lines of history; characters read ahead */

struct line_edit {
    EditLine *el;
    HistoryW *history;
    wchar_t prompt[64];
    const char *const *commands;
    bool pasting, stopped;          /* inside a bracketed paste; Ctrl-C was pressed */
    wchar_t pending[PEND];          /* characters that come before those of the terminal */
    int n_pending;
};

static wchar_t *show_prompt(EditLine *el)
{
    line_edit *e;

    el_wget(el, EL_CLIENTDATA, &e);
    return e->prompt;
}

/* One character of the terminal, UTF-8 taken apart by hand: a wrong byte becomes U+FFFD. 1, 0 at the end, -1 on a signal that ends
 * the line. What is there to be read stays there (noflsh): a terminal that drops it at Ctrl-C would leave read to wait, the signal gone by. */
static int read_char(line_edit *e, wchar_t *out)
{
    unsigned char b;
    uint32_t c = 0;
    int more = 0;

    for (;;) {
        ssize_t n;
        if (!run_wait_input(STDIN_FILENO)) {
            if (run_interrupted || run_leaving) { e->stopped = true; return -1; }
            if (run_resized) run_resized = 0, el_resize(e->el);
            if (run_continued) run_continued = 0, el_wset(e->el, EL_PREP_TERM, 1), el_wset(e->el, EL_REFRESH);
            continue;
        }
        n = read(STDIN_FILENO, &b, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        if (more > 0 && (b & 0xc0) == 0x80) {
            c = c << 6 | (b & 0x3f);
            if (--more > 0) continue;
            *out = c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0xfffd : (wchar_t)c;
            return 1;
        }
        if (b < 0x80) { *out = b; return 1; }
        more = b >= 0xf0 && b < 0xf5 ? 3 : b >= 0xe0 && b < 0xf0 ? 2 : b >= 0xc2 && b < 0xe0 ? 1 : 0;
        if (more == 0) { *out = 0xfffd; return 1; }
        c = b & (0x3f >> more);
    }
}

/* After an Escape: is it the mark that begins or ends a paste, ESC [ 2 0 0 ~ or ESC [ 2 0 1 ~? What was read and is none is
 * pending then. */
static bool paste_mark(line_edit *e)
{
    static const wchar_t mark[] = L"[20";
    wchar_t seen[5];
    int n = 0;

    while (n < 5) {
        if (read_char(e, &seen[n]) != 1) break;
        n++;
        if (n <= 3 ? seen[n - 1] != mark[n - 1] : n == 4 ? seen[3] != L'0' && seen[3] != L'1' : seen[4] != L'~') break;
        if (n == 5) { e->pasting = seen[3] == L'0'; return true; }
    }
    for (int i = n; i-- > 0;) e->pending[e->n_pending++] = seen[i];
    return false;
}

/* libedit's source of characters. Inside a paste control characters are preceded by Ctrl-V, so that a newline is text and does not
 * end the line. A lone Escape waits for the next key, as everywhere in libedit. */
static int next_char(EditLine *el, wchar_t *out)
{
    line_edit *e;
    int got;

    el_wget(el, EL_CLIENTDATA, &e);
    if (e->n_pending > 0) { *out = e->pending[--e->n_pending]; return 1; }
    while ((got = read_char(e, out)) == 1 && *out == 0x1b && paste_mark(e)) continue;
    if (got != 1 || !e->pasting) return got;
    if (*out == L'\r') *out = L'\n';
    if (*out == 0) *out = 0xfffd;
    if (*out < 0x20 || *out == 0x7f) {
        e->pending[e->n_pending++] = *out;
        *out = 0x16;
    }
    return 1;
}

static unsigned char new_line(EditLine *el, int key)
{
    (void)key;
    return el_winsertstr(el, L"\n") == 0 ? CC_REFRESH : CC_ERROR;
}

/* Tab: the command that is begun, if only one fits. */
static unsigned char complete(EditLine *el, int key)
{
    const LineInfoW *line = el_wline(el);
    size_t n = (size_t)(line->cursor - line->buffer);
    const char *found = NULL;
    line_edit *e;

    (void)key;
    el_wget(el, EL_CLIENTDATA, &e);
    if (n == 0 || n > 32 || line->buffer[0] != L'/') return CC_ERROR;
    for (const char *const *c = e->commands; *c; c++) {
        size_t i = 0;
        while (i < n && (*c)[i] && (wchar_t)(*c)[i] == line->buffer[i]) i++;
        if (i < n) continue;
        if (found) return CC_ERROR;
        found = *c;
    }
    if (found == NULL) return CC_ERROR;
    for (found += n; *found; found++) {
        wchar_t one[2] = { (wchar_t)*found, 0 };
        if (el_winsertstr(el, one) != 0) return CC_ERROR;
    }
    return el_winsertstr(el, L" ") == 0 ? CC_REFRESH : CC_ERROR;
}

static void bind_keys(EditLine *el)
{
    static const wchar_t *const key[][2] = {
        { L"^R", L"em-inc-search-prev" }, { L"\033[H", L"ed-move-to-beg" }, { L"\033[F", L"ed-move-to-end" }, { L"\033[1~", L"ed-move-to-beg" },
        { L"\033[4~", L"ed-move-to-end" }, { L"\033[3~", L"ed-delete-next-char" }, { L"\033[1;5C", L"em-next-word" },
        { L"\033[1;5D", L"ed-prev-word" }, { L"^V", L"ed-quoted-insert" }, { L"\033\r", L"llm-newline" }, { L"\033\n", L"llm-newline" }, { L"\t", L"llm-complete" },
    };

    el_wset(el, EL_EDITOR, L"emacs");
    el_wset(el, EL_ADDFN, L"llm-newline", L"a newline in the text", new_line);
    el_wset(el, EL_ADDFN, L"llm-complete", L"completes a command", complete);
    for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) el_wset(el, EL_BIND, key[i][0], key[i][1], NULL);
}

line_edit *line_edit_open(const char *history, const char *const *commands)
{
    const char *term = getenv("TERM");
    line_edit *e;
    HistEventW ev;

    if (term == NULL || *term == '\0' || strcmp(term, "dumb") == 0) return NULL;
    e = tool_alloc(1, sizeof *e);
    e->commands = commands;
    e->el = el_init(tool_name, stdin, stdout, stderr);
    e->history = history_winit();
    if (e->el == NULL || e->history == NULL) { line_edit_close(e, NULL); return NULL; }
    el_wset(e->el, EL_CLIENTDATA, e);
    el_wset(e->el, EL_SIGNAL, 0);
    el_wset(e->el, EL_PROMPT, show_prompt);
    el_wset(e->el, EL_GETCFN, next_char);
    el_wset(e->el, EL_SETTY, L"-d", L"+noflsh", NULL);
    bind_keys(e->el);
    history_w(e->history, &ev, H_SETSIZE, KEPT);
    history_w(e->history, &ev, H_SETUNIQUE, 1);
    if (history) history_w(e->history, &ev, H_LOAD, history);
    el_wset(e->el, EL_HIST, history_w, e->history);
    el_source(e->el, NULL);
    return e;
}

/* The characters as UTF-8, malloc'ed; the last newline is left out. */
static char *to_utf8(const wchar_t *s, int n)
{
    char *out = tool_alloc((size_t)n * 4 + 1, 1), *p = out;

    if (n > 0 && s[n - 1] == L'\n') n--;
    for (int i = 0; i < n; i++) {
        uint32_t c = (uint32_t)s[i];
        if (c < 0x80) *p++ = (char)c;
        else if (c < 0x800) *p++ = (char)(0xc0 | c >> 6), *p++ = (char)(0x80 | (c & 63));
        else if (c < 0x10000) *p++ = (char)(0xe0 | c >> 12), *p++ = (char)(0x80 | (c >> 6 & 63)), *p++ = (char)(0x80 | (c & 63));
        else *p++ = (char)(0xf0 | c >> 18), *p++ = (char)(0x80 | (c >> 12 & 63)), *p++ = (char)(0x80 | (c >> 6 & 63)), *p++ = (char)(0x80 | (c & 63));
    }
    return out;
}

line_kind line_edit_read(line_edit *e, const char *prompt, char **text)
{
    const wchar_t *line;
    int n = 0;

    swprintf(e->prompt, sizeof e->prompt / sizeof e->prompt[0], L"%s", prompt);
    e->stopped = e->pasting = false, e->n_pending = 0;
    el_wset(e->el, EL_PREP_TERM, 1);                    /* libedit would do so behind the prompt, and what is typed between came twice */
    fputs("\033[?2004h", stdout), fflush(stdout);       /* the terminal marks what is pasted */
    line = el_wgets(e->el, &n);
    fputs("\033[?2004l", stdout), fflush(stdout);
    if (e->stopped) tcflush(STDIN_FILENO, TCIFLUSH);
    if (e->stopped && !run_leaving) { fputs("^C\n", stdout); return LINE_INTERRUPT; }
    if (line == NULL || n <= 0 || run_leaving) { fputc('\n', stdout); return LINE_END; }
    *text = to_utf8(line, n);
    return LINE_TEXT;
}

void line_edit_remember(line_edit *e, const char *text)
{
    size_t n = mbstowcs(NULL, text, 0);
    wchar_t *wide;
    HistEventW ev;

    if (n == (size_t)-1) return;
    wide = tool_alloc(n + 1, sizeof *wide);
    mbstowcs(wide, text, n + 1);
    history_w(e->history, &ev, H_ENTER, wide);
    free(wide);
}

/* A lost history is no reason to fail: the chat is over. */
static void save_history(line_edit *e, const char *path)
{
    char temporary[4096];
    HistEventW ev;
    mode_t mask = umask(077);

    if (snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid()) < (int)sizeof temporary) {
        if (history_w(e->history, &ev, H_SAVE, temporary) < 0 || rename(temporary, path) != 0) unlink(temporary);
    }
    umask(mask);
}

void line_edit_close(line_edit *e, const char *history)
{
    if (e->el && e->history && history) save_history(e, history);
    if (e->el) el_end(e->el);
    if (e->history) history_wend(e->history);
    free(e);
}
#endif
