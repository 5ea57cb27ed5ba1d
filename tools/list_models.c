/* list_models.c - what there is on this machine to run. */
#include "list_models.h"
#include "common.h"
#include "stores.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int by_name(const void *a, const void *b)
{
    const store_entry *x = a, *y = b;
    int d = strcasecmp(x->name, y->name);

    if (d == 0) d = strcasecmp(x->tag, y->tag);
    return d != 0 ? d : (int)x->place - (int)y->place;
}

/* The type that most bytes of the weights have. */
static const char *main_type(const llm_model *m)
{
    struct { const char *name; uint64_t bytes; } type[64] = { { "", 0 } };
    llm_tensor_info t = { .size = sizeof t };
    size_t n = 0, best = 0;

    for (size_t i = 0; llm_model_get_tensor(m, i, &t) == LLM_OK; i++) {
        size_t k = 0;
        while (k < n && strcmp(type[k].name, t.dtype) != 0) k++;
        if (k == sizeof type / sizeof type[0]) continue;
        if (k == n) type[n].name = t.dtype, type[n].bytes = 0, n++;
        if ((type[k].bytes += t.bytes) > type[best].bytes) best = k;
    }
    return type[best].name;
}

static void size_text(uint64_t bytes, char out[16])
{
    if (bytes >= 1u << 30) snprintf(out, 16, "%.1f GiB", (double)bytes / (1 << 30));
    else snprintf(out, 16, "%.1f MiB", (double)bytes / (1 << 20));
}

static void params_text(uint64_t n, char out[16])
{
    if (n >= 999500000) snprintf(out, 16, "%.1fB", (double)n / 1e9);
    else snprintf(out, 16, "%.1fM", (double)n / 1e6);
}

/* "yes", "no: 12.3 GiB" */
static void fit_text(llm_model *m, char out[40])
{
    llm_memory_plan p = { .size = sizeof p };
    char need[16];
    llm_error err;

    if (llm_session_plan(m, NULL, &p, &err) != LLM_OK) { snprintf(out, 40, "no plan"); return; }
    size_text(p.total_bytes, need);
    snprintf(out, 40, "%s %s", llm_session_fits(m, NULL, &err) == LLM_OK ? "yes," : "NO, needs", need);
}

static void print_entry(const store_entry *e)
{
    llm_model_options o = { .size = sizeof o, .path = e->path, .n_threads = 1, .plan_only = 1 };
    llm_model_info info = { .size = sizeof info };
    char size[16], params[16], fit[40];
    llm_model *m;
    llm_error err;
    char *name = stores_text("%s%s%s", e->name, *e->tag ? ":" : "", e->tag);

    size_text(e->bytes, size);
    if (e->fault) {
        printf("%-44s %-11s %s\n", name, place_prefix(e->place), e->fault);
    } else if (llm_model_open(&m, &o, &err) != LLM_OK) {
        printf("%-44s %-11s %10s  %s\n", name, place_prefix(e->place), size, err.text);
    } else {
        llm_model_get_info(m, &info);
        params_text(info.n_param, params);
        fit_text(m, fit);
        printf("%-44s %-11s %10s  %-12s %7s  %-8s %s\n", name, place_prefix(e->place), size, info.arch, params, main_type(m), fit);
        llm_model_close(m);
    }
    free(name);
}

int list_models(void)
{
    store_list list = { 0 };

    stores_search(&list, &(store_query){ NULL, NULL, PLACE_PATH });
    if (list.n > 0) qsort(list.item, list.n, sizeof *list.item, by_name);
    if (list.n > 0) printf("%-44s %-11s %10s  %-12s %7s  %-8s %s\n", "MODEL", "WHERE", "SIZE", "FAMILY", "WEIGHTS", "TYPE", "FITS");
    for (size_t i = 0; i < list.n; i++) print_entry(&list.item[i]);
    if (list.n == 0) fprintf(stderr, "%s: no models found. Looked for:\n%s", tool_name, list.looked ? list.looked : "");
    stores_free(&list);
    return EXIT_OK;
}
