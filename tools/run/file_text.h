/* file_text.h - whole files, with the failure as an llm_error and not as the program's end. */
#ifndef FILE_TEXT_H
#define FILE_TEXT_H
#include "llm.h"

/* Bytes with a NUL behind them, malloc'ed; NULL: err. A folder or a device is refused. */
char *text_file_read(const char *path, size_t *len, llm_error *err);
/* To a temporary name beside it, then renamed: path holds all or is as it was. A device or a pipe is written to as it is. */
llm_status text_file_write(const char *path, const char *text, size_t len, llm_error *err);
#endif
