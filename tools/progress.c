#include "progress.h"
#include "common.h"
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int terminal_width(int fd)
{
    struct winsize size;

    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void time_left(char *out, size_t cap, double seconds)
{
    long s = seconds > 1e8 ? 100000000 : (long)(seconds + 0.5);

    if (s < 60) snprintf(out, cap, "%ld s", s);
    else if (s < 3600) snprintf(out, cap, "%ld min %ld s", s / 60, s % 60);
    else snprintf(out, cap, "%ld h %ld min", s / 3600, s / 60 % 60);
}

/* The figures right of the bar; "" where there is no unit. */
static void figures(const progress_bar *p, char *out, size_t cap, double done, double total, double seconds)
{
    double rate = seconds > 0 ? done / seconds : 0;
    char left[32] = "";
    bool bytes = p->unit != NULL && strcmp(p->unit, "bytes") == 0;

    if (rate > 0) time_left(left, sizeof left, (total - done) / rate);
    if (p->unit == NULL) snprintf(out, cap, "%s%s", left, *left ? " left" : "");
    else if (bytes) snprintf(out, cap, "%.2f of %.2f GB  %.2f GB/s  %s left", done / 1e9, total / 1e9, rate / 1e9, left);
    else snprintf(out, cap, "%.0f of %.0f %s  %.1f %s/s  %s left", done, total, p->unit, rate, p->unit, left);
}

void progress_draw(progress_bar *p, const char *what, double done, double total)
{
    enum { MOST = 30 };
    double now = tool_seconds(), share = total > 0 && done < total ? done / total : 1;
    char right[160], bar[MOST + 1];
    int room, n, width = terminal_width(STDERR_FILENO);

    if (p->off || !isatty(STDERR_FILENO)) return;
    if (p->began == 0) p->began = now;
    if (now - p->began < 0.3 || now - p->drawn < 0.1) return;
    p->drawn = now, p->shown = true;
    figures(p, right, sizeof right, done, total, now - p->began);
    room = width - (int)strlen(what) - (int)strlen(right) - 13;
    room = room > MOST ? MOST : room < 0 ? 0 : room;
    n = (int)(share * room);
    memset(bar, '#', (size_t)n), memset(bar + n, '.', (size_t)(room - n));
    bar[room] = '\0';
    if (width < 80) snprintf(right, sizeof right, "%3d %%", (int)(100 * share));     /* a line that wraps could not be drawn over */
    if (width < 80) fprintf(stderr, "\r%.*s %s\033[K", width - 8 > 0 ? width - 8 : 0, what, right);
    else fprintf(stderr, "\r%s [%s] %3d %%  %s\033[K", what, bar, (int)(100 * share), right);
    fflush(stderr);
}

void progress_clear(progress_bar *p)
{
    if (p->shown) fputs("\r\033[K", stderr), fflush(stderr);
    p->shown = false, p->began = p->drawn = 0;
}
