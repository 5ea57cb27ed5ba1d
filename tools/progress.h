/* progress.h - a progress_bar bar on a terminal: what is done, how fast, how long it still takes. Nothing where stderr is no terminal. */
#ifndef TOOL_PROGRESS_H
#define TOOL_PROGRESS_H
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *unit;           /* "tokens", "bytes", or NULL: only the share is shown */
    double began, drawn;        /* tool_seconds(); began 0: not started */
    bool off, shown;
} progress_bar;

/* done of total, both from 0; drawn at most ten times a second and only once the work has taken a third of a second, so that short
 * work shows nothing. */
void progress_draw(progress_bar *p, const char *what, double done, double total);
void progress_clear(progress_bar *p);           /* takes the bar away again; p is ready for other work */
/* Columns of the terminal behind fd; 80 where it does not say. */
int terminal_width(int fd);
/* "12 s", "3 min 20 s", "2 h 5 min". */
void time_left(char *out, size_t cap, double seconds);
#endif
