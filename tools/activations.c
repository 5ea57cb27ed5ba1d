#include "activations.h"
#include "common.h"
#include "npy.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct { const char *dir; FILE *list; } writer;

static void on_tap(void *user, const char *name, int il, const float *data, int n, int width)
{
    writer *w = user;
    size_t count = (size_t)n * (size_t)width;
    char path[4096];
    FILE *f;

    snprintf(path, sizeof path, "%s/tap.%d.%s.npy", w->dir, il, name);
    f = fopen(path, "wb");
    if (f == NULL || !npy_write_header(f, (size_t)n, (size_t)width) || fwrite(data, sizeof *data, count, f) != count || fclose(f) != 0)
        tool_die_text(EXIT_FAILED, "%s: %s", path, strerror(errno));
    fprintf(w->list, "tap.%d.%s.npy\n", il, name);
}

void activations_write(llm_session *s, const llm_token *ids, size_t n, const char *dir)
{
    writer w = { .dir = dir };
    llm_row *row = tool_alloc(n, sizeof *row);
    char path[4096];
    llm_error err;

    if (mkdir(dir, 0777) != 0 && errno != EEXIST) tool_die_text(EXIT_FAILED, "%s: %s", dir, strerror(errno));
    snprintf(path, sizeof path, "%s/taps.txt", dir);
    if ((w.list = fopen(path, "w")) == NULL) tool_die_text(EXIT_FAILED, "%s: %s", path, strerror(errno));
    for (size_t i = 0; i < n; i++) row[i] = (llm_row){ ids[i], 0, 1 };
    llm_session_set_tap(s, on_tap, &w);
    if (llm_session_decode_rows(s, row, n, &err) != LLM_OK) tool_die(&err);
    llm_session_set_tap(s, NULL, NULL);
    if (fclose(w.list) != 0) tool_die_text(EXIT_FAILED, "%s: %s", path, strerror(errno));
    free(row);
}

/* Largest difference of the last rows that both have, as a share of the largest value; HUGE_VAL where the widths differ. */
static double differ(const npy_array *a, const npy_array *b)
{
    size_t rows = a->rows < b->rows ? a->rows : b->rows, n = rows * a->cols;
    const float *x = a->data + (a->rows - rows) * a->cols, *y = b->data + (b->rows - rows) * b->cols;
    double max = 0, scale = 0;

    if (a->cols != b->cols) return HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - y[i]);
        if (npy_further(d, max)) max = d;
        if (fabs((double)y[i]) > scale) scale = fabs((double)y[i]);
    }
    return max == 0 ? 0 : scale > 0 ? max / scale : HUGE_VAL;
}

int activations_compare(const char *a, const char *b, double tol)
{
    char list[4096], name[300], path[4400], why[256];
    char first[300] = "";
    int n = 0;
    FILE *f;

    snprintf(list, sizeof list, "%s/taps.txt", a);
    if ((f = fopen(list, "r")) == NULL) tool_die_text(EXIT_FAILED, "%s: %s (made by llm-eval activations)", list, strerror(errno));
    while (fgets(name, sizeof name, f)) {
        npy_array x, y;
        double d;
        name[strcspn(name, "\n")] = '\0';
        snprintf(path, sizeof path, "%s/%s", b, name);
        if (!npy_read(path, &y, why, sizeof why)) continue;
        snprintf(path, sizeof path, "%s/%s", a, name);
        if (!npy_read(path, &x, why, sizeof why)) tool_die_text(EXIT_FAILED, "%s: %s", path, why);
        d = differ(&x, &y);
        printf("%-32s %.3g\n", name, d);
        if (!(d <= tol) && *first == '\0') snprintf(first, sizeof first, "%s", name);
        free(x.data), free(y.data);
        n++;
    }
    fclose(f);
    if (n == 0) tool_die_text(EXIT_FAILED, "%s and %s have no activation in common", a, b);
    if (*first) printf("first to differ by more than %g: %s\n", tol, first);
    return *first ? EXIT_FAILED : EXIT_OK;
}
