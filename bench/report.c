#include "report.h"
#include "names.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

bool report_find(const char *name, report_form *out)
{
    static const char *const names[] = { "md", "csv", "json", "jsonl", "log" };

    for (int i = 0; i < 5; i++)
        if (strcmp(name, names[i]) == 0) { *out = (report_form)i; return true; }
    return false;
}

const char *report_machine(void)
{
    static char name[128];
    struct utsname u;
    char line[256];
    const char *value;
    FILE *f;

    if (*name || (f = fopen("/proc/cpuinfo", "re")) == NULL) return name;
    while (*name == '\0' && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0 && (value = strstr(line, ": ")) != NULL)
            snprintf(name, sizeof name, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
    fclose(f);
    if (*name == '\0' && uname(&u) == 0) snprintf(name, sizeof name, "%.120s", u.machine);
    return name;
}

/* ---- rows ---------------------------------------------------------------------------- */

bool report_open(report *r, report_form form, const char *compare, char *why, size_t cap)
{
    json_error_t je;

    *r = (report){ .form = form, .all = json_array() };
    if (compare == NULL) return true;
    r->old = json_load_file(compare, 0, &je);
    if (json_is_array(r->old)) return true;
    snprintf(why, cap, "%s: %s", compare, r->old ? "not a list made with -o json" : je.text);
    return false;
}

static json_t *row_json(const report_row *r)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s}", "machine", report_machine(),
                     "model", r->model, "arch", r->arch, "type", r->type, "device", r->device, "kernels", r->kernels, "kv_type", r->kv_type, "threads", r->threads,
                     "batch", r->batch, "test", r->test, "size_gib", (double)r->weight_bytes / (1 << 30), "params_b", (double)r->n_param / 1e9,
                     "tokens_per_second", r->rate, "deviation", r->deviation, "floor_share", r->floor_share, "device_share", r->device_share, "peak_rss_mib", r->peak_mib,
                     "read_gbs", r->limits.read_gbs, "int8_gops", r->limits.int8_gops, "f32_gflops", r->limits.f32_gflops, "note", r->note);
}

static bool same(const json_t *a, const json_t *b, const char *key)
{
    json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x && y && json_equal(x, y);
}

/* Rate of the same test in the rows to compare with, or 0. */
static double compared(const json_t *old, const json_t *row)
{
    static const char *const keys[] = { "model", "type", "test", "threads", "batch", "device", "kv_type" };
    size_t i;
    json_t *o;

    json_array_foreach(old, i, o) {
        bool all = true;
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) all = all && same(o, row, keys[k]);
        if (all) return json_number_value(json_object_get(o, "tokens_per_second"));
    }
    return 0;
}

/* A file's name may have any bytes: control characters, and what is no UTF-8, are shown as '?'. */
static const char *plain(const char *name, char *out, size_t cap)
{
    bool valid = utf8_valid(name, strlen(name));
    size_t n = 0;

    for (; *name && n + 1 < cap; name++) out[n++] = (unsigned char)*name < 0x20 || *name == 0x7f || (!valid && (unsigned char)*name >= 0x80) ? '?' : *name;
    out[n] = '\0';
    return out;
}

/* special: what means something in this form (a quote in CSV, a bar in Markdown), and what it is escaped with. */
static void print_name(const char *name, char special, char before)
{
    for (; *name; name++) {
        if (*name == special) putchar(before);
        putchar(*name);
    }
}

static void print_quoted(const char *name) { putchar('"'), print_name(name, '"', '"'), putchar('"'); }

static void print_csv(const report_row *r, bool first, const char *ratio)
{
    if (first) printf("machine,model,arch,type,size_gib,params_b,device,kernels,threads,batch,kv_type,test,tokens_per_second,deviation,floor_share,"
                      "read_gbs,int8_gops,f32_gflops,peak_rss_mib,note,ratio\n");
    print_quoted(report_machine()), putchar(','), print_quoted(r->model);
    printf(",%s,%s,%.3f,%.3f,%s,%s,%d,%d,%s,%s,%.3f,%.3f,%.3f,%.1f,%.0f,%.0f,%.0f,\"%s\",%s\n", r->arch, r->type, (double)r->weight_bytes / (1 << 30),
           (double)r->n_param / 1e9, r->device, r->kernels, r->threads, r->batch, r->kv_type, r->test, r->rate, r->deviation, r->floor_share, r->limits.read_gbs,
           r->limits.int8_gops, r->limits.f32_gflops, r->peak_mib, r->note, ratio);
}

/* The columns of bench/log.csv behind commit and date. */
static void print_log(const report_row *r)
{
    printf("\"%s, %s\",", report_machine(), r->kernels);
    print_quoted(r->model);
    printf(",%s,%s,%d,%s,%.2f,%.2f,%.3f,%.1f,%.0f,%.0f,%.0f,\"%s\"\n", r->type, r->device, r->threads, r->test, r->rate, r->deviation, r->floor_share,
           r->limits.read_gbs, r->limits.int8_gops, r->limits.f32_gflops, r->peak_mib, r->note);
}

static void print_md(const report_row *r, bool first, bool compares, const char *ratio)
{
    if (first) printf("| model | type | size | params | device | threads | test | tokens/s | floor | peak memory |%s note |\n"
                      "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |%s --- |\n", compares ? " ratio |" : "", compares ? " ---: |" : "");
    printf("| "), print_name(r->model, '|', '\\');
    printf(" | %s | %.2f GiB | %.2f B | %s | %d | %s | %.2f ± %.2f | ", r->type, (double)r->weight_bytes / (1 << 30), (double)r->n_param / 1e9,
           r->device, r->threads, r->test, r->rate, r->deviation);
    if (r->floor_share > 0) printf("%.0f %%", 100 * r->floor_share);
    printf(" | %.0f MiB |", r->peak_mib);
    if (compares) printf(" %s |", ratio);
    printf(" %s |\n", r->note);
}

bool report_add(report *r, const report_row *given)
{
    report_row copy = *given, *row = &copy;
    char name[PATH_MAX], ratio[32] = "";
    double before;
    json_t *j;

    copy.model = plain(given->model, name, sizeof name);
    j = row_json(row);
    before = r->old ? compared(r->old, j) : 0;
    if (before > 0) {
        json_object_set_new(j, "ratio", json_real(row->rate / before));
        snprintf(ratio, sizeof ratio, "%.3f", row->rate / before);
    }
    switch (r->form) {
    case REPORT_JSONL: json_dumpf(j, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER), putchar('\n'); break;
    case REPORT_CSV:   print_csv(row, r->n == 0, ratio); break;
    case REPORT_LOG:   print_log(row); break;
    case REPORT_MD:    print_md(row, r->n == 0, r->old != NULL, ratio); break;
    case REPORT_JSON:  break;
    }
    json_array_append_new(r->all, j);
    r->n++;
    return fflush(stdout) == 0 && !ferror(stdout);
}

bool report_close(report *r)
{
    if (r->form == REPORT_JSON && r->all) json_dumpf(r->all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER), putchar('\n');
    json_decref(r->all), json_decref(r->old);
    r->all = r->old = NULL;
    return fflush(stdout) == 0 && !ferror(stdout);
}
