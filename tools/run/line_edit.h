/* line_edit.h - a line typed at a terminal, edited with libedit. A build without it answers NULL to line_edit_open. */
#ifndef LINE_EDIT_H
#define LINE_EDIT_H
#include "chat_line.h"

typedef struct line_edit line_edit;
/* NULL: not in this build, or the terminal cannot move its cursor. history: read if there; NULL: none is kept. */
line_edit *line_edit_open(const char *history, const char *const *commands);
/* As chat_line_read, for one line. */
line_kind line_edit_read(line_edit *e, const char *prompt, char **text);
void line_edit_remember(line_edit *e, const char *text);
/* history: where it is written; NULL: nowhere. */
void line_edit_close(line_edit *e, const char *history);
#endif
