/* list.h - lists with commas between, as the benches take them. */
#ifndef BENCH_LIST_H
#define BENCH_LIST_H
#include <stdio.h>
#include <string.h>

/* Item i of a list in buf, cut to what that holds; NULL past the end. */
static inline const char *list_item(const char *list, int i, char buf[64])
{
    for (; i > 0 && list; i--) { list = strchr(list, ','); if (list) list++; }
    if (list == NULL || *list == '\0') return NULL;
    snprintf(buf, 64, "%.*s", (int)strcspn(list, ","), list);
    return buf;
}
#endif
