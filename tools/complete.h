/* complete.h - completion scripts for shells, from the option table. */
#ifndef TOOL_COMPLETE_H
#define TOOL_COMPLETE_H
#include "options.h"

/* Prints the script for "bash", "zsh" or "fish". False: no such shell. */
bool complete_print(const opt_table *t, const char *shell);
#endif
