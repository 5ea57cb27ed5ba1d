#include "options.h"
#include "llm.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void opt_fail(const opt_table *t, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", t->tool);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n%s --help shows the options\n", t->tool);
    exit(2);
}

static void print_help(const opt_table *t, bool all)
{
    const char *group = "";
    int hidden = 0;

    printf("usage: %s %s\n%s\n", t->tool, t->usage, t->about);
    for (int i = 0; i < t->n_row; i++) {
        const opt_row *r = &t->row[i];
        char left[64];
        if (r->rare && !all) { hidden++; continue; }
        if (strcmp(group, r->group) != 0) printf("\n%s:\n", r->group);
        group = r->group;
        snprintf(left, sizeof left, "%c%c%s--%s%s%s", r->letter ? '-' : ' ', r->letter ? r->letter : ' ',
                 r->letter ? ", " : "  ", r->name, r->arg ? " " : "", r->arg ? r->arg : "");
        printf("  %-30s %s\n", left, r->help);
    }
    printf("\nOther:\n  %-30s %s\n  %-30s %s\n", "    --help, --help-all", "this text, or with every option", "    --version", "the version");
    if (hidden > 0) printf("(%d more options: --help-all)\n", hidden);
    if (t->epilog) printf("\n%s\n", t->epilog);
}

/* Text of a man page: backslashes, and dots and quotes that begin a line, mean something to roff. */
static void roff(const char *s)
{
    for (bool first = true; *s; first = *s == '\n', s++) {
        if (first && (*s == '.' || *s == '\'')) fputs("\\&", stdout);
        if (*s == '\\') fputs("\\e", stdout);
        else if (*s == '-') fputs("\\-", stdout);
        else putchar(*s);
    }
}

/* The manual page that `make install` puts into man1. */
static void print_man(const opt_table *t)
{
    const char *group = "";

    printf(".TH %s 1 \"\" \"libllm %s\"\n.SH NAME\n%s \\- ", t->tool, llm_version(), t->tool);
    roff(t->about);
    printf("\n.SH SYNOPSIS\n.B %s\n", t->tool);
    roff(t->usage);
    printf("\n.SH OPTIONS\n");
    for (int i = 0; i < t->n_row; i++) {
        const opt_row *r = &t->row[i];
        if (strcmp(group, r->group) != 0) printf(".SS "), roff(r->group), putchar('\n');
        group = r->group;
        printf(".TP\n.B ");
        if (r->letter) printf("\\-%c, ", r->letter);
        printf("\\-\\-"), roff(r->name);
        if (r->arg) putchar(' '), roff(r->arg);
        putchar('\n'), roff(r->help), putchar('\n');
    }
    if (t->epilog) printf(".SH NOTES\n"), roff(t->epilog), putchar('\n');
}

static const opt_row *find_long(const opt_table *t, const char *name, size_t len)
{
    for (int i = 0; i < t->n_row; i++)
        if (strlen(t->row[i].name) == len && memcmp(t->row[i].name, name, len) == 0) return &t->row[i];
    return NULL;
}

static const opt_row *find_letter(const opt_table *t, char c)
{
    for (int i = 0; i < t->n_row; i++)
        if (t->row[i].letter == c) return &t->row[i];
    return NULL;
}

static void check_range(const opt_table *t, const opt_row *r, const char *text, double v)
{
    if ((r->min != 0 || r->max != 0) && !(v >= r->min && v <= r->max))
        opt_fail(t, "--%s: got %s, want %g to %g", r->name, text, r->min, r->max);
}

static void set_value(const opt_table *t, const opt_row *r, const char *text)
{
    char *end = NULL;

    errno = 0;
    switch (r->kind) {
    case OPT_FLAG: *(bool *)r->value = true; return;
    case OPT_STR:  *(const char **)r->value = text; return;
    case OPT_STRS: {
        opt_list *l = r->value;
        const char **item = realloc(l->item, (l->n + 1) * sizeof *item);
        if (item == NULL) opt_fail(t, "--%s: out of memory", r->name);
        l->item = item, l->item[l->n++] = text;
        return;
    }
    case OPT_INT: {
        long long v = strtoll(text, &end, 10);
        if (*text == '\0' || *end != '\0' || errno || v < INT32_MIN || v > INT32_MAX)
            opt_fail(t, "--%s: got '%s', want a whole number", r->name, text);
        check_range(t, r, text, (double)v);
        *(int *)r->value = (int)v;
        return;
    }
    case OPT_U64: {
        unsigned long long v = strtoull(text, &end, 0);
        if (*text == '\0' || *text == '-' || *end != '\0' || errno)
            opt_fail(t, "--%s: got '%s', want a whole number, 0 or more", r->name, text);
        *(uint64_t *)r->value = v;
        return;
    }
    case OPT_FLOAT: {
        double v = strtod(text, &end);
        if (*text == '\0' || *end != '\0' || !isfinite(v)) opt_fail(t, "--%s: got '%s', want a number", r->name, text);
        check_range(t, r, text, v);
        *(float *)r->value = (float)v;
        return;
    }
    }
}

static void parse_long(const opt_table *t, const char *arg, int argc, char **argv, int *i)
{
    const char *eq = strchr(arg, '=');
    size_t len = eq ? (size_t)(eq - arg) : strlen(arg);
    const opt_row *r = find_long(t, arg, len);

    if (strcmp(arg, "help") == 0 || strcmp(arg, "help-all") == 0) { print_help(t, arg[4] != '\0'); exit(0); }
    if (strcmp(arg, "help-man") == 0) { print_man(t); exit(0); }
    if (strcmp(arg, "version") == 0) { printf("%s %s\n", t->tool, llm_version()); exit(0); }
    if (r == NULL) opt_fail(t, "unknown option --%.*s", (int)len, arg);
    if (r->kind == OPT_FLAG) {
        if (eq) opt_fail(t, "--%s takes no value", r->name);
        set_value(t, r, NULL);
    } else if (eq) {
        set_value(t, r, eq + 1);
    } else {
        if (*i + 1 >= argc) opt_fail(t, "--%s needs %s", r->name, r->arg);
        set_value(t, r, argv[++*i]);
    }
}

void opt_parse(const opt_table *t, int argc, char **argv, opt_result *out)
{
    bool only_operands = false;

    memset(out, 0, sizeof *out);
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (!only_operands && strcmp(a, "--") == 0) { only_operands = true; continue; }
        if (!only_operands && a[0] == '-' && a[1] == '-') { parse_long(t, a + 2, argc, argv, &i); continue; }
        if (!only_operands && a[0] == '-' && a[1] != '\0') {
            const opt_row *r = find_letter(t, a[1]);
            if (a[1] == 'h' && r == NULL) { print_help(t, false); exit(0); }
            if (r == NULL) opt_fail(t, "unknown option -%c", a[1]);
            if (r->kind == OPT_FLAG) {
                if (a[2] != '\0') opt_fail(t, "-%c takes no value", a[1]);
                set_value(t, r, NULL);
            } else if (a[2] != '\0') {
                set_value(t, r, a + 2);
            } else {
                if (i + 1 >= argc) opt_fail(t, "-%c needs %s", a[1], r->arg);
                set_value(t, r, argv[++i]);
            }
            continue;
        }
        if (out->n_operand == OPT_MAX_OPERAND) opt_fail(t, "too many arguments at '%s'", a);
        out->operand[out->n_operand++] = a;
    }
}
