/* chat_line.h - reads what the user types: line editing and history where the build has libedit and there is a terminal, plain lines
 * otherwise. */
#ifndef CHAT_LINE_H
#define CHAT_LINE_H
#include <stdbool.h>
#include <stddef.h>

typedef struct chat_line chat_line;
typedef enum { LINE_TEXT, LINE_INTERRUPT, LINE_END } line_kind;

/* history: file that the typed lines are kept in, or NULL for none. commands: NULL-terminated words that Tab completes. */
chat_line *chat_line_open(const char *history, const char *const *commands);
/* One input: a line; several where a line ends with a backslash; or everything between two """. A paste may hold newlines. TEXT:
 * *text is malloc'ed, without the last newline. INTERRUPT: Ctrl-C, the line is thrown away. END: Ctrl-D, or the input is over. */
line_kind chat_line_read(chat_line *l, const char *prompt, char **text);
/* Keeps text in the history, unless it begins with a blank. */
void chat_line_remember(chat_line *l, const char *text);
/* Writes the history (to a temporary name, then renamed) and frees. */
void chat_line_close(chat_line *l);

/* Where the history belongs by the XDG rules: $XDG_STATE_HOME/libllm/NAME or ~/.local/state/libllm/NAME; the folder is made, for the
 * user alone. False: no home, or it cannot be made. */
bool chat_state_file(const char *name, char *path, size_t cap);
#endif
