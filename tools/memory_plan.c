#include "memory_plan.h"
#include "common.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

uint64_t tool_bytes(const opt_table *t, const char *option, const char *text)
{
    static const char unit[] = "KMGT";
    char *end;
    double n;
    const char *u;

    if (text == NULL) return 0;
    n = strtod(text, &end);
    if (end != text && *end && (u = strchr(unit, *end & ~0x20)) != NULL) {
        n *= pow(1024, (double)(u - unit + 1)), end++;
        if (strncasecmp(end, "iB", 2) == 0) end += 2;
        else if (strncasecmp(end, "B", 1) == 0) end++;
    }
    if (end != text && !*end && n >= 1 && n < 0x1p63) return (uint64_t)n;
    if (t == NULL) tool_die_text(EXIT_USAGE, "%s: got '%s', want a size like 8G, 500M or 1000000", option, text);
    opt_fail(t, "%s: got '%s', want a size like 8G, 500M or 1000000", option, text);
}

/* 1234567 -> "1,234,567" */
static const char *grouped(uint64_t n, char out[32])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;

    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

static int print_item(void *user, llm_memory_kind kind, const char *what, uint64_t bytes)
{
    static const char *const name[] = { "file", "model", "cache", "buffers", "device", "device", "device" };
    char text[32];

    (void)user;
    printf("%18s  %-8s %s\n", grouped(bytes, text), name[kind], what);
    return 0;
}

static void print_sum(const char *what, uint64_t bytes, uint64_t available)
{
    char text[32];

    printf("%18s  %s (%.1f MiB)", grouped(bytes, text), what, (double)bytes / 1048576);
    if (available < UINT64_MAX) printf(", of %s (%.1f MiB)", grouped(available, text), (double)available / 1048576);
}

int print_memory_plan(llm_model *m, const llm_session_options *o)
{
    llm_memory_plan p = { .size = sizeof p };
    llm_error err;
    llm_status st;

    printf("%18s  %-8s %s\n", "BYTES", "KIND", "WHAT");
    if (llm_session_plan(m, o, &p, &err) != LLM_OK || llm_session_plan_items(m, o, print_item, NULL, &err) != LLM_OK) tool_die(&err);
    if (p.device_total_bytes > 0) {
        print_sum("on the device", p.device_total_bytes, p.device_available_bytes);
        putchar('\n');
    }
    print_sum("together", p.total_bytes, p.available_bytes);
    st = llm_session_fits(m, o, &err);
    printf(": %s\n", st == LLM_OK ? "it fits" : "it does not fit");
    if (st != LLM_OK) fflush(stdout), fprintf(stderr, "%s: %s\n", tool_name, err.text);
    return tool_exit_code(st);
}
