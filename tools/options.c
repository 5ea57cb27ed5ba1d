#include "options.h"
#include "complete.h"
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
        if (r->kind == OPT_ALIAS && !all) continue;
        if (r->rare && !all) { hidden++; continue; }
        if (strcmp(group, r->group) != 0) printf("\n%s:\n", r->group);
        group = r->group;
        if (r->kind == OPT_ALIAS) { printf("      --%-24s same as --%s\n", r->name, r->arg); continue; }
        snprintf(left, sizeof left, "%c%c%s--%s%s%s", r->letter ? '-' : ' ', r->letter ? r->letter : ' ',
                 r->letter ? ", " : "  ", r->name, r->arg ? " " : "", r->arg ? r->arg : "");
        printf("  %-30s %s\n", left, r->help);
    }
    printf("\nOther:\n  %-30s %s\n  %-30s %s\n", "    --help, --help-all", "this text, or with every option", "    --version", "the version");
    if (all) printf("  %-30s %s\n", "    --completion bash|zsh|fish", "print a completion script for that shell");
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
        if (r->kind == OPT_ALIAS) continue;
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
    for (int i = 0; i < t->n_row; i++) {
        const opt_row *r = &t->row[i];
        if (strlen(r->name) != len || memcmp(r->name, name, len) != 0) continue;
        return r->kind == OPT_ALIAS ? find_long(t, r->arg, strlen(r->arg)) : r;
    }
    return NULL;
}

static const opt_row *find_letter(const opt_table *t, char c)
{
    for (int i = 0; i < t->n_row; i++)
        if (t->row[i].letter == c) return &t->row[i];
    return NULL;
}

static bool wrong(char *why, size_t cap, const opt_row *r, const char *text, const char *want)
{
    snprintf(why, cap, "--%s: got '%s', want %s", r->name, text, want);
    return false;
}

static bool in_range(const opt_row *r, const char *text, double v, char *why, size_t cap)
{
    if ((r->min == 0 && r->max == 0) || (v >= r->min && v <= r->max)) return true;
    snprintf(why, cap, r->kind == OPT_INT ? "--%s: got %s, want %.0f to %.0f" : "--%s: got %s, want %g to %g", r->name, text, r->min, r->max);
    return false;
}

static bool set_flag(const opt_row *r, const char *text, char *why, size_t cap)
{
    bool on = text == NULL || strcmp(text, "on") == 0;

    if (!on && strcmp(text, "off") != 0) return wrong(why, cap, r, text, "on or off");
    *(bool *)r->value = on;
    return true;
}

static bool set_value(const opt_row *r, const char *text, char *why, size_t cap)
{
    char *end = NULL;

    errno = 0;
    switch (r->kind) {
    case OPT_FLAG: return set_flag(r, text, why, cap);
    case OPT_STR:  *(const char **)r->value = text; break;
    case OPT_ALIAS: break;
    case OPT_STRS: {
        opt_list *l = r->value;
        const char **item = realloc(l->item, (l->n + 1) * sizeof *item);
        if (item == NULL) return wrong(why, cap, r, text, "more memory");
        l->item = item, l->item[l->n++] = text;
        break;
    }
    case OPT_INT: {
        long long v = strtoll(text, &end, 10);
        if (*text == '\0' || *end != '\0' || errno || v < INT32_MIN || v > INT32_MAX) return wrong(why, cap, r, text, "a whole number");
        if (!in_range(r, text, (double)v, why, cap)) return false;
        *(int *)r->value = (int)v;
        break;
    }
    case OPT_U64: {
        unsigned long long v = strtoull(text, &end, 0);
        if (*text == '\0' || *text == '-' || *end != '\0' || errno) return wrong(why, cap, r, text, "a whole number, 0 or more");
        *(uint64_t *)r->value = v;
        break;
    }
    case OPT_FLOAT: {
        double v = strtod(text, &end);
        if (*text == '\0' || *end != '\0' || !isfinite(v)) return wrong(why, cap, r, text, "a number");
        if (!in_range(r, text, v, why, cap)) return false;
        *(float *)r->value = (float)v;
        break;
    }
    }
    return true;
}

const opt_row *opt_find(const opt_table *t, const char *name) { return find_long(t, name, strlen(name)); }

bool opt_set(const opt_table *t, const char *name, const char *text, char *why, size_t cap)
{
    const opt_row *r = opt_find(t, name);

    if (r != NULL && text == NULL && r->kind != OPT_FLAG) snprintf(why, cap, "%s needs %s", name, r->arg);
    else if (r != NULL) return set_value(r, text, why, cap);
    else snprintf(why, cap, "no option is called %s", name);
    return false;
}

void opt_value(const opt_row *r, char *out, size_t cap)
{
    switch (r->kind) {
    case OPT_FLAG:  snprintf(out, cap, "%s", *(bool *)r->value ? "on" : "off"); break;
    case OPT_INT:   snprintf(out, cap, "%d", *(int *)r->value); break;
    case OPT_U64:   snprintf(out, cap, "%llu", (unsigned long long)*(uint64_t *)r->value); break;
    case OPT_FLOAT: snprintf(out, cap, "%g", (double)*(float *)r->value); break;
    case OPT_STR:   snprintf(out, cap, "%s", *(const char **)r->value ? *(const char **)r->value : "-"); break;
    case OPT_ALIAS: snprintf(out, cap, "-"); break;
    case OPT_STRS:  snprintf(out, cap, "%zu given", ((opt_list *)r->value)->n); break;
    }
}

/* Of the command line: a mistake ends the program. */
static void set_or_fail(const opt_table *t, const opt_row *r, const char *text)
{
    char why[400];

    if (!set_value(r, text, why, sizeof why)) opt_fail(t, "%s", why);
}

static void parse_long(const opt_table *t, const char *arg, int argc, char **argv, int *i)
{
    const char *eq = strchr(arg, '=');
    size_t len = eq ? (size_t)(eq - arg) : strlen(arg);
    const opt_row *r = find_long(t, arg, len);

    if (strcmp(arg, "help") == 0 || strcmp(arg, "help-all") == 0) { print_help(t, arg[4] != '\0'); exit(0); }
    if (strcmp(arg, "help-man") == 0) { print_man(t); exit(0); }
    if (strncmp(arg, "completion", 10) == 0 && (arg[10] == '=' || arg[10] == '\0')) {
        const char *shell = arg[10] ? arg + 11 : *i + 1 < argc ? argv[*i + 1] : "";
        if (!complete_print(t, shell)) opt_fail(t, "--completion: got '%s', want bash, zsh or fish", shell);
        exit(0);
    }
    if (strcmp(arg, "version") == 0) { printf("%s %s\n", t->tool, llm_version()); exit(0); }
    if (r == NULL) opt_fail(t, "unknown option --%.*s", (int)len, arg);
    if (r->kind == OPT_FLAG) {
        if (eq) opt_fail(t, "--%s takes no value", r->name);
        set_or_fail(t, r, NULL);
    } else if (eq) {
        set_or_fail(t, r, eq + 1);
    } else {
        if (*i + 1 >= argc) opt_fail(t, "--%s needs %s", r->name, r->arg);
        set_or_fail(t, r, argv[++*i]);
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
        if (!only_operands && a[0] == '-' && a[1] != '\0' && a[2] != '\0' && find_long(t, a + 1, strcspn(a + 1, "="))) {
            parse_long(t, a + 1, argc, argv, &i);
            continue;
        }
        if (!only_operands && a[0] == '-' && a[1] != '\0') {
            const opt_row *r = find_letter(t, a[1]);
            if (a[1] == 'h' && r == NULL) { print_help(t, false); exit(0); }
            if (r == NULL) opt_fail(t, "unknown option -%c", a[1]);
            if (r->kind == OPT_FLAG) {
                if (a[2] != '\0') opt_fail(t, "-%c takes no value", a[1]);
                set_or_fail(t, r, NULL);
            } else if (a[2] != '\0') {
                set_or_fail(t, r, a + 2);
            } else {
                if (i + 1 >= argc) opt_fail(t, "-%c needs %s", a[1], r->arg);
                set_or_fail(t, r, argv[++i]);
            }
            continue;
        }
        if (out->n_operand == OPT_MAX_OPERAND) opt_fail(t, "too many arguments at '%s'", a);
        out->operand[out->n_operand++] = a;
    }
}
