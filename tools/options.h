/* options.h - command-line options from one table per tool: parsing, --help, man page and completion come from it. */
#ifndef TOOL_OPTIONS_H
#define TOOL_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { OPT_FLAG, OPT_INT, OPT_U64, OPT_FLOAT, OPT_STR, OPT_STRS,
    OPT_ALIAS                   /* another name, for those who know it from elsewhere: arg is the option it stands for */ } opt_kind;

/* Where OPT_STRS collects: every use of the option appends. */
typedef struct { const char **item; size_t n; } opt_list;

typedef struct {
    const char *group;          /* heading in --help; the same pointer or text as the row before: no new heading */
    const char *name;           /* long name without dashes */
    char letter;                /* 0: none */
    opt_kind kind;
    const char *arg;            /* name of the value in help; NULL for a flag */
    void *value;                /* bool, int, uint64_t, float, const char * or opt_list */
    double min, max;            /* range of a number, both 0: any */
    const char *help;
    bool rare;                  /* only in --help-all */
} opt_row;

typedef struct {
    const char *tool, *usage, *about;   /* usage: "MODEL [-p TEXT | -f FILE]" */
    const opt_row *row;
    int n_row;
    const char *epilog;                 /* after the options: exit codes and the like; may be NULL */
} opt_table;

enum { OPT_MAX_OPERAND = 16 };
typedef struct { const char *operand[OPT_MAX_OPERAND]; int n_operand; } opt_result;

/* Fills the values and the operands (non-options, up to OPT_MAX_OPERAND). --help, --help-all, --help-man (roff), --completion SHELL and
 * --version are answered here and end the program with 0; a mistake ends it with 2 after one line on stderr. A name of several letters
 * may stand behind one dash. */
void opt_parse(const opt_table *t, int argc, char **argv, opt_result *out);
/* Sets one option while the program runs; a flag takes "on" or "off" (NULL: on). text must live as long as the value. False: *why
 * says what is wrong. */
bool opt_set(const opt_table *t, const char *name, const char *text, char *why, size_t cap);
/* The row of that name, or NULL; and its value as text. */
const opt_row *opt_find(const opt_table *t, const char *name);
void opt_value(const opt_row *r, char *out, size_t cap);
/* Ends the program with 2 after "TOOL: message" and a pointer to --help on stderr. */
void opt_fail(const opt_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
#endif
