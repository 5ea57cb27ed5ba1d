#include "complete.h"
#include <stdio.h>
#include <string.h>

/* Options that every tool answers (options.c). */
static const struct { const char *name, *arg, *help; } common[] = {
    { "help", NULL, "the options" }, { "help-all", NULL, "every option" }, { "version", NULL, "the version" },
    { "completion", "bash|zsh|fish", "a completion script" },
};
enum { N_COMMON = sizeof common / sizeof common[0] };

static bool takes_file(const char *arg) { return arg && (strcmp(arg, "FILE") == 0 || strcmp(arg, "FOLDER") == 0 || strcmp(arg, "MODEL") == 0); }
static bool has_words(const char *arg) { return arg && strchr(arg, '|') != NULL; }

/* The words of "a|b|c", each followed by a blank. */
static void put_words(const char *arg)
{
    for (; *arg; arg++) putchar(*arg == '|' ? ' ' : *arg);
}

/* Text between single quotes of a shell; what stands in cut is left out too. */
static void put_quoted(const char *s, const char *cut)
{
    for (; *s; s++) {
        if (strchr(cut, *s)) continue;
        if (*s == '\'') fputs("'\\''", stdout);
        else putchar(*s);
    }
}

static const char *row_name(const opt_table *t, int i) { return i < t->n_row ? t->row[i].name : common[i - t->n_row].name; }
static const char *row_arg(const opt_table *t, int i) { return i < t->n_row ? t->row[i].arg : common[i - t->n_row].arg; }
static const char *row_help(const opt_table *t, int i) { return i < t->n_row ? t->row[i].help : common[i - t->n_row].help; }
static char row_letter(const opt_table *t, int i) { return i < t->n_row ? t->row[i].letter : '\0'; }

static bool is_alias(const opt_table *t, int i) { return i < t->n_row && t->row[i].kind == OPT_ALIAS; }

static void put_pattern(const opt_table *t, int i)
{
    if (row_letter(t, i)) printf("-%c|", row_letter(t, i));
    printf("--%s", row_name(t, i));
}

static void print_bash(const opt_table *t)
{
    int n = t->n_row + N_COMMON;

    printf("# bash completion for %s\n_complete_%s()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n", t->tool, t->tool);
    printf("    COMPREPLY=()\n    case $prev in\n");
    for (int i = 0; i < n; i++) {
        const char *arg = row_arg(t, i);
        if (arg == NULL || is_alias(t, i)) continue;
        printf("    "), put_pattern(t, i), printf(") ");
        if (has_words(arg)) printf("COMPREPLY=($(compgen -W '"), put_words(arg), printf("' -- \"$cur\")); return ;;\n");
        else if (takes_file(arg)) printf("compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n");
        else printf("return ;;\n");
    }
    printf("    esac\n    if [[ $cur == -* ]]; then\n        COMPREPLY=($(compgen -W '");
    for (int i = 0; i < n; i++)
        if (!is_alias(t, i)) printf("--%s ", row_name(t, i));
    printf("' -- \"$cur\"))\n    else\n        compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\ncomplete -F _complete_%s %s\n", t->tool, t->tool);
}

static void print_zsh(const opt_table *t)
{
    printf("#compdef %s\n_arguments \\\n", t->tool);
    for (int i = 0; i < t->n_row + N_COMMON; i++) {
        const char *arg = row_arg(t, i);
        char letter = row_letter(t, i);
        bool many = i < t->n_row && t->row[i].kind == OPT_STRS;
        for (int form = is_alias(t, i) ? 2 : letter ? 0 : 1; form < 2; form++) {
            printf("    '%s", many ? "*" : "");
            if (form == 0) printf("-%c%s", letter, arg ? "+" : "");
            else printf("--%s%s", row_name(t, i), arg ? "=" : "");
            putchar('['), put_quoted(row_help(t, i), "[]:\\"), putchar(']');
            if (arg) printf(": :");
            if (has_words(arg)) putchar('('), put_words(arg), putchar(')');
            else if (takes_file(arg)) printf("_files");
            printf("' \\\n");
        }
    }
    printf("    '*: :_files'\n");
}

static void print_fish(const opt_table *t)
{
    for (int i = 0; i < t->n_row + N_COMMON; i++) {
        const char *arg = row_arg(t, i);
        if (is_alias(t, i)) continue;
        printf("complete -c %s", t->tool);
        if (row_letter(t, i)) printf(" -s %c", row_letter(t, i));
        printf(" -l %s", row_name(t, i));
        if (has_words(arg)) printf(" -x -a '"), put_words(arg), printf("'");
        else if (takes_file(arg)) printf(" -r -F");
        else if (arg) printf(" -x");
        printf(" -d '"), put_quoted(row_help(t, i), "\\"), printf("'\n");
    }
}

bool complete_print(const opt_table *t, const char *shell)
{
    if (strcmp(shell, "bash") == 0) print_bash(t);
    else if (strcmp(shell, "zsh") == 0) print_zsh(t);
    else if (strcmp(shell, "fish") == 0) print_fish(t);
    else return false;
    return true;
}
